/* SPDX-License-Identifier: MIT */
/*
 * commit.pml - the handshake of a migration, with failure at any point
 *
 * What    src/migrate/protocol.c, tide_source_step() and tide_dest_step(), as
 *         drive() of send.c and of receive.c carry them out: stop, last round,
 *         state, END, ACK, GO, RUNNING.  docs/stream.md, "Handshake".
 * Claim   Never two: the guest never runs on one side after it ran on the
 *         other.  Never lost: when both sides have returned, the guest runs, or
 *         the source said -ENOTRECOVERABLE, or the side that had it was killed;
 *         and where it runs it is whole.  What each side returns is true.
 *         Never stuck: both return, without a deadline.
 * Bounds  Two faults, each at any moment: the connection is lost, and with it
 *         any number of the last frames of each direction; a frame is damaged;
 *         a side fails by itself (a callback, no memory, cancel, deadline); a
 *         side is killed.  One fault ends the transfer, and the second hits how
 *         the sides part.  One round before the last, a guest that writes
 *         once, two frames under way in each direction: enough for a frame to
 *         be late, and for a writer to wait.
 * Left out  HELLO and WELCOME, which come before all this; what is in a frame
 *         but the version of memory that it carries; slots, which are in
 *         slots.pml; a resume that fails, which send.c reports.
 *
 * Steps and code
 *   Source   the phases of enum tide_source_phase; from `failed` on,
 *            source_fail() and act_failed().
 *   Dest     the phases of enum tide_dest_phase, act() and take_end(); from
 *            `failed` on, dest_fail() and part().
 *   say      tide_framing_send(), write_all() of channel.c.
 *   cut      a reader gets what was under way, or -ECONNRESET at any frame; a
 *            writer an error, or nothing, and its frame is lost.
 *   ended    by that side, its direction: shutdown() in tide_channel_part(), or
 *            the caller's close().  A reader gets what is before, and then
 *            -ECONNRESET.
 *   is_gone  that side's close(): writing to it fails.
 *
 * Mistakes, each of which must be found, by -D: see MISTAKES in run.py.
 */
#define FAULTS 2
#define GARBAGE 255

mtype = { ROUND, LAST, END, GO, ACK, RUNNING, ERROR }
/* What a side returns. */
mtype = { BUSY, FAILED, UNKNOWN, DONE, KILLED }

#define SOURCE 0
#define DEST 1

/* From the other side to that one: type, version of memory, damaged. */
chan to[2] = [2] of { mtype, byte, bool }
bool cut, ended[2], is_gone[2];

bool fails[2], killed[2], damaged[2]; /* by Faults */
mtype is[2] = BUSY;

bool runs_here = true, runs_there, ran_there;
byte memory, memory_there;
bool said_go;

inline say(self, type, version)
{
	if
	:: atomic { !cut && !is_gone[1 - self] && nfull(to[1 - self]) ->
		to[1 - self]!type, version, damaged[1 - self];
		damaged[1 - self] = false }
	:: cut || is_gone[1 - self] -> skip /* lost on the way */
	:: cut || is_gone[1 - self] -> goto failed
	:: fails[self] -> goto failed
	fi
}

inline hear(self)
{
	if
	:: to[self]?type, version, bad
	:: cut || (ended[1 - self] && empty(to[self])) -> goto failed
	:: fails[self] -> goto failed
	fi
}

inline say_error(self)
{
	if
	:: atomic { !cut && nfull(to[1 - self]) ->
		to[1 - self]!ERROR, 0, damaged[1 - self];
		damaged[1 - self] = false }
	:: true /* a frame was cut short, or the deadline for it passed */
	fi
}

/* tide_channel_part(): reads on until the other side has closed, or for some
 * time; then close(), which loses what was not read. */
inline part(self)
{
	ended[self] = true;
	do
	:: nempty(to[self]) -> to[self]?type, version, bad
	:: break
	od;
	atomic {
		if
		:: len(to[self]) > 0 -> cut = true
		:: else
		fi;
		is_gone[self] = true
	}
}

active proctype Guest()
{
end:
	atomic { runs_here -> memory = 1 }
}

active proctype Faults()
{
	byte count;

	do
	:: atomic { count < FAULTS ->
		if
		:: !cut -> cut = true
		:: is[SOURCE] == BUSY -> fails[SOURCE] = true
		:: is[DEST] == BUSY -> fails[DEST] = true
		:: !is_gone[SOURCE] -> killed[SOURCE] = true
		:: !is_gone[DEST] -> killed[DEST] = true
		:: is[SOURCE] == BUSY -> damaged[SOURCE] = true
		:: is[DEST] == BUSY -> damaged[DEST] = true
		:: else
		fi;
		count++ }
	:: break
	od
}

active proctype Source()
{
	mtype type;
	byte version;
	bool bad, stop_called, acked;

	{
		/* PRECOPY */
		say(SOURCE, ROUND, memory);
#ifdef LAST_ROUND_FIRST
		say(SOURCE, LAST, memory);
#endif
		/* STOPPING: the callback may fail, and have stopped some. */
#ifndef STAY_HALF_STOPPED
		stop_called = true;
#endif
		runs_here = false;
		if
		:: fails[SOURCE] -> goto failed
		:: true
		fi;
		stop_called = true;
#ifndef LAST_ROUND_FIRST
		/* LAST_ROUND, SAVING */
		say(SOURCE, LAST, memory);
#endif
		/* WAIT_ACK */
		say(SOURCE, END, 0);
#ifdef GO_EARLY
		said_go = true;
		say(SOURCE, GO, 0);
#endif
		hear(SOURCE);
		if
		:: bad || type != ACK -> goto failed
		:: else
		fi;
		/* WAIT_RUNNING: no way back. */
		acked = true;
#ifndef GO_EARLY
		said_go = true;
		say(SOURCE, GO, 0);
#endif
		hear(SOURCE);
		if
		:: bad || type != RUNNING -> goto failed
		:: else
		fi;
		is[SOURCE] = DONE;
		goto close;
failed:
		if
#ifndef RESUME_ALWAYS
		:: acked -> is[SOURCE] = UNKNOWN; goto close
#endif
		:: else
		fi;
		if
#ifndef STAY_STOPPED
		:: stop_called ->
			assert(!ran_there); /* never two */
			runs_here = true
#endif
		:: else
		fi;
		is[SOURCE] = FAILED;
#ifdef LEAVE_OPEN
		goto end;
#endif
		say_error(SOURCE);
close:
		part(SOURCE);
end:
		skip
	} unless { killed[SOURCE] };
	if
	:: atomic { killed[SOURCE] && !is_gone[SOURCE] ->
		runs_here = false;
		cut = true;
		ended[SOURCE] = true;
		is_gone[SOURCE] = true;
		is[SOURCE] = KILLED }
	:: else
	fi
}

active proctype Dest()
{
	mtype type;
	byte version;
	bool bad, last;

	{
		/* PAGES, STATE */
		do
		:: hear(DEST);
#ifndef NO_CHECKSUM
			if
			:: bad -> goto failed
			:: else
			fi;
#endif
			if
			:: type == ROUND || type == LAST ->
				memory_there = (bad -> GARBAGE : version);
				last = (type == LAST)
			:: type == END -> break
			:: else -> goto failed
			fi
		od;
		if
		:: !last || bad || len(to[DEST]) > 0 -> goto failed
		:: else
		fi;
		/* WAIT_GO */
		say(DEST, ACK, 0);
#ifndef START_ON_END
		hear(DEST);
		if
		:: bad || type != GO -> goto failed
		:: else
		fi;
#endif
		/* STARTING */
#ifdef RUNNING_FIRST
		say(DEST, RUNNING, 0);
#endif
		if
		:: fails[DEST] -> goto failed
		:: true
		fi;
		atomic {
			assert(!runs_here); /* never two */
			assert(memory_there == memory); /* whole */
			runs_there = true;
			ran_there = true
		}
		/* RUNNING: what becomes of the frame does not matter. */
#ifdef FAIL_AFTER_START
		say(DEST, RUNNING, 0);
#else
#ifndef RUNNING_FIRST
		if
		:: atomic { !cut && !is_gone[SOURCE] && nfull(to[SOURCE]) ->
			to[SOURCE]!RUNNING, 0, damaged[SOURCE];
			damaged[SOURCE] = false }
		:: cut || is_gone[SOURCE] || fails[DEST]
		fi;
#endif
#endif
		is[DEST] = DONE;
		goto close;
failed:
		is[DEST] = FAILED;
#ifdef LEAVE_OPEN
		goto end;
#endif
		say_error(DEST);
close:
		part(DEST);
end:
		skip
	} unless { killed[DEST] };
	if
	:: atomic { killed[DEST] && !is_gone[DEST] ->
		runs_there = false;
		cut = true;
		ended[DEST] = true;
		is_gone[DEST] = true;
		is[DEST] = KILLED }
	:: else
	fi
}

/* Waits for both, or for ever: never stuck. */
active proctype Operator()
{
	atomic {
		is[SOURCE] != BUSY && is[DEST] != BUSY ->
		assert(!(runs_here && runs_there));
		/* What a side returned is true. */
		assert(is[SOURCE] != FAILED || (runs_here && !ran_there));
		assert(is[SOURCE] != UNKNOWN || (!runs_here && said_go));
		assert(is[SOURCE] != DONE || ran_there);
		assert(is[DEST] != FAILED || !ran_there);
		assert(is[DEST] != DONE || ran_there);
		/* Never lost. */
		assert(runs_here || runs_there || is[SOURCE] == UNKNOWN ||
		       is[SOURCE] == KILLED || is[DEST] == KILLED)
	}
}
