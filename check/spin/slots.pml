/* SPDX-License-Identifier: MIT */
/*
 * slots.pml - changes of slots against harvests and a migration
 *
 * What    src/space/slots.c: tide_slot_add, _remove (with park, sync and undo),
 *         _move and _set_flags; src/space/{mark,collect,rearm,harvest}.c;
 *         src/migrate/send.c with roster.c as the client.
 * Claim   Never lost: every begin yields what was written before it, unless it
 *         was handed out since (C1); a slot goes only when its clients know all
 *         that its log held; and when the source says END, the destination has
 *         the slots that there are, with what is in them.  Never stuck: every
 *         thread comes to its end, whatever the others do.
 * Bounds  One slot at a time, of two pages: one that a vCPU writes, through a
 *         manual tracker, one that a device writes and marks.  Each is written
 *         once, at any moment.  Two changes of any kind: a slot is removed and
 *         another added in its place, with the same or with other memory;
 *         logging goes off and comes on; a removal fails, and something else
 *         follows.  One round that is committed or aborted, and the last one,
 *         with the guest stopped.
 * Left out  Reads of the slot table one entry at a time (roster.c reads until
 *         two are equal); a second client and late marks of its pages, which
 *         check/litmus/known_litmus.c has; tide_space_detach; memory order, a
 *         mark and its skip: here they are one step (mark_litmus.c); the
 *         page of a vCPU's that is marked, too.
 *
 * Steps and code
 *   Cpu        writes to a mapped slot go to PML (buffer) if D is not set
 *              (seen), and to the kernel's bitmap (log) when the vCPU leaves
 *              the guest: for a kick, to stop, or in tide_kvm_ring_full(),
 *              which takes slots_lock.
 *   Device     writes, then tide_mark(): the table under RCU (reading).
 *   Changer    remove is slot_remove_locked(), collect_last(), undo_remove()
 *              and unlink_slot(); add is slot_add_locked(); set_unlogged is
 *              set_flags_locked(); grace is tide_rcu_wait() under slots_lock.
 *   Migration  take is begin_locked() with tide_space_sync(); rearm is
 *              next_chunk() with tide_watch_rearm(); extents_of is next() and
 *              add_extent(); roster_sync is sync_slots(); the end is
 *              send_rest().
 *   differs    the destination's copy is another than the memory: set by each
 *              write, cleared by reading, all set when SLOT_GONE drops it.
 *   owed       written (and marked) in a logged slot, not handed out since.
 *
 * Mistakes, each of which must be found, by -D: see MISTAKES in run.py.
 */
#define CHANGES 2
#define WRITES 1
#define ROUNDS 1 /* before the last */
#define NONE 2
#define CPU 1	 /* the page that the vCPU writes */
#define DEVICE 2 /* the page that the device writes, and marks */
#define BOTH 3

/* The slot as it is, and as it is after it was removed and added again. */
bool in_list[2], gone[2], logged[2], in_vm[2], unlogged[2];
byte marks[2], known[2], dirty[2], taken[2];
byte log[2], buffer[2], seen[2]; /* kernel's bitmap, PML, bits D */
byte memory_of[2];
bool moved;
byte table = NONE; /* what marks find */

/* By memory: the destination has something else. */
byte differs[2];
/* By slot: written, and marked if need be, and not read since. */
byte owed[2];

bool lock, reading, open;
bool kick, stop, cpu_stopped, device_stopped;

/* The roster, which is what the destination has. */
bool there, there_unlogged, there_moved, was_gone;
byte there_memory;

inline acquire()
{
	atomic { !lock -> lock = true }
}

inline release()
{
	lock = false
}

inline drain()
{
	log[0] = log[0] | buffer[0];
	log[1] = log[1] | buffer[1];
	buffer[0] = 0;
	buffer[1] = 0
}

inline sync()
{
#ifdef SYNC_LOCKED
	kick = true;
#else
	atomic { release(); kick = true };
#endif
	!kick || cpu_stopped;
#ifndef SYNC_LOCKED
	acquire()
#endif
}

inline collect(o)
{
	d_step {
		if
		:: in_list[o] ->
			dirty[o] = dirty[o] | marks[o];
			marks[o] = 0;
			if
			:: logged[o] ->
				dirty[o] = dirty[o] |
					   (log[o] & (BOTH - known[o]));
				known[o] = log[o]
			:: else
			fi
		:: else
		fi
	}
}

inline grace()
{
#ifndef NO_GRACE
	!reading
#else
	skip
#endif
}

active proctype Cpu()
{
	byte writes, o;

	do
	:: stop -> break
	:: atomic { kick -> drain(); kick = false }
	:: atomic { writes < WRITES && (in_vm[0] || in_vm[1]) ->
		o = (in_vm[0] -> 0 : 1);
		writes++;
		differs[memory_of[o]] = differs[memory_of[o]] | CPU;
		if
		:: logged[o] ->
			owed[o] = owed[o] | CPU;
			if
			:: !(seen[o] & CPU) ->
				seen[o] = seen[o] | CPU;
				buffer[o] = buffer[o] | CPU
			:: else
			fi
		:: else
		fi;
		o = 0 }
	:: writes == WRITES ->
		/* tide_kvm_ring_full(), once */
		atomic { !lock ->
			drain();
			collect(0);
			collect(1);
			writes++ }
	od;
	atomic { drain(); cpu_stopped = true }
}

active proctype Device()
{
	byte o = NONE, writes;

	do
	:: stop -> break
	:: writes == WRITES -> break
	:: atomic { table != NONE && writes < WRITES ->
		o = table;
		writes++;
		differs[memory_of[o]] = differs[memory_of[o]] | DEVICE };
		/* tide_mark() */
		reading = true;
#ifdef MARK_LOCKS
		acquire();
		release();
#endif
		if
		:: atomic { table == o && !unlogged[o] -> skip };
			atomic {
				assert(in_list[o]);
				marks[o] = marks[o] | DEVICE;
				owed[o] = owed[o] | DEVICE
			}
		:: atomic { table != o || unlogged[o] -> skip }
		fi;
		atomic { reading = false; o = NONE }
	od;
	device_stopped = true
}

/* Changes of slots, each with slots_lock. */

inline fail_closed(o)
{
	dirty[o] = BOTH
}

/* What the kernel had of it, and what of that is known. */
inline forget(o)
{
	log[o] = 0;
	buffer[o] = 0;
	seen[o] = 0;
	known[o] = 0
}

inline untrack(o)
{
	in_vm[o] = false;
	logged[o] = false;
	forget(o)
}

inline unlink(o)
{
	d_step {
		in_list[o] = false;
		gone[o] = true;
		logged[o] = false;
		assert(!(owed[o] & (BOTH - (dirty[o] | taken[o])))); /* C1 */
		owed[o] = 0;
		marks[o] = 0
	}
}

inline remove(o)
{
	table = NONE;
	grace();
	complete = logged[o];
	if
	:: logged[o] ->
#ifndef NO_PARK
		if
		:: in_vm[o] = false /* slot_park */
		:: complete = false /* ... fails */
		fi;
#endif
#ifndef NO_SYNC
		if
		:: complete -> sync(); complete = logged[o]
		:: else
		fi
#endif
	:: else
	fi;
#ifndef REMOVE_THEN_COLLECT
	collect(o);
#endif
	if
	:: d_step { untrack(o) }; /* slot_remove */
		if
		:: !complete -> fail_closed(o)
		:: else
		fi;
		unlink(o)
	:: d_step { /* ... fails: undo_remove */
			in_vm[o] = true;
#ifndef UNDO_IN_SILENCE
			fail_closed(o)
#endif
		};
		table = o;
		grace()
	fi
}

inline add(o)
{
	d_step {
		dirty[o] = BOTH;
		differs[memory_of[o]] = BOTH;
		in_list[o] = true;
		in_vm[o] = true;
		logged[o] = true
	};
	table = o
}

inline set_unlogged(o)
{
	collect(o);
	if
	:: unlogged[o] ->
		d_step { forget(o); logged[o] = true };
		unlogged[o] = false
	:: else ->
		d_step { forget(o); logged[o] = false };
		unlogged[o] = true
	fi;
	grace();
	collect(o);
#ifndef LOGGED_AS_IF_ALWAYS
	if
	:: !unlogged[o] -> fail_closed(o)
	:: else
	fi
#endif
}

active proctype Changer()
{
	byte changes, o;
	bool complete;

	/* The slot that is added may have the memory of the one before. */
	if
	:: memory_of[1] = 0
	:: memory_of[1] = 1
	fi;
	d_step {
		in_list[0] = true;
		in_vm[0] = true;
		logged[0] = true;
		dirty[0] = BOTH;
		differs[0] = BOTH;
		differs[1] = BOTH;
		table = 0;
		open = true
	};
	do
	:: atomic { changes < CHANGES && !lock ->
		lock = true;
		changes++;
		o = (gone[0] -> 1 : 0) };
		if
		:: in_list[o] -> remove(o)
		:: !in_list[o] && !gone[o] -> add(o)
		:: in_list[o] -> moved = !moved
		:: in_list[o] -> set_unlogged(o)
		:: gone[o]
		fi;
		atomic { release(); complete = false; o = 0 }
	:: break
	od
}

/* The source of a migration, which is the one client. */

#define CHANGED 1
#define RETURNED 2

inline roster_sync()
{
	atomic {
		!lock ->
		change = 0;
		if
		:: there && (table == NONE ||
			     memory_of[table] != there_memory) ->
			there = false; /* SLOT_GONE */
			was_gone = true;
			change = CHANGED;
			differs[there_memory] = BOTH;
			there_memory = 0
		:: else
		fi;
		if
		:: table != NONE && !there ->
			there = true;
			there_memory = memory_of[table];
			there_unlogged = unlogged[table];
			there_moved = moved;
			change = (was_gone -> RETURNED : CHANGED)
		:: table != NONE && there &&
		   (there_unlogged != unlogged[table] ||
		    there_moved != moved) -> /* SLOT_CHANGE */
			there_unlogged = unlogged[table];
			there_moved = moved;
			change = CHANGED
		:: else
		fi;
		whole = !there || !differs[there_memory]
	}
	if
	:: change == RETURNED ->
		atomic { !lock ->
			dirty[0] = (in_list[0] || gone[0] -> BOTH : 0);
			dirty[1] = (in_list[1] || gone[1] -> BOTH : 0) }
	:: else
	fi
}

inline take()
{
	atomic {
		must[0] = owed[0];
		must[1] = owed[1]
	};
	acquire();
	sync();
	atomic {
		collect(0);
		collect(1);
		taken[0] = dirty[0];
		taken[1] = dirty[1];
		dirty[0] = 0;
		dirty[1] = 0;
		/* C1 */
		assert(!(logged[0] && must[0] & owed[0] & (BOTH - taken[0])));
		assert(!(logged[1] && must[1] & owed[1] & (BOTH - taken[1])));
		must[0] = 0;
		must[1] = 0;
		release()
	}
}

inline put_back()
{
	atomic { !lock ->
#ifndef ABORT_FORGETS
		dirty[0] = dirty[0] | taken[0];
		dirty[1] = dirty[1] | taken[1];
#endif
		taken[0] = 0;
		taken[1] = 0
	}
}

inline commit()
{
	atomic { !lock ->
		taken[0] = 0;
		taken[1] = 0
	}
}

inline read(o)
{
	differs[memory_of[o]] = differs[memory_of[o]] & (BOTH - taken[o])
}

#ifdef DIRTY_AT_THE_END
#define IS_ALL true
#else
#define IS_ALL (!dirty[0] && !dirty[1])
#endif

inline begin_round()
{
	do
	:: take();
		roster_sync();
		if
		:: change != RETURNED -> break
		:: else -> put_back()
		fi
	od
}

inline rearm(o)
{
	atomic { !lock ->
		if
		:: in_list[o] ->
			marks[o] = marks[o] & (BOTH - taken[o]);
			if
			:: logged[o] ->
				log[o] = log[o] &
					 (BOTH - (known[o] & taken[o]));
				seen[o] = seen[o] &
					  (BOTH - (known[o] & taken[o]));
				known[o] = known[o] & (BOTH - taken[o])
			:: else
			fi
		:: else
		fi;
		owed[o] = owed[o] & (BOTH - taken[o]);
		is_gone = gone[o]
	}
}

inline extents_of(o)
{
	if
	:: taken[o] ->
#ifdef READ_THEN_REARM
		read(o);
#endif
		rearm(o);
		if
		:: is_gone || !there || there_memory != memory_of[o] ->
			roster_sync()
		:: else
		fi;
		if
		:: !is_gone && there && there_memory == memory_of[o] &&
		   !there_unlogged ->
#ifndef READ_THEN_REARM
			read(o)
#else
			skip
#endif
		:: else
		fi
	:: else
	fi
}

inline extents()
{
	extents_of(0);
	extents_of(1)
}

active proctype Migration()
{
	byte must[2], change, rounds;
	bool is_gone, whole;

	open;
	/* Rounds while the guest runs, one of which may be put back. */
	do
	:: rounds < ROUNDS ->
		begin_round();
		if
		:: extents(); commit()
		:: put_back()
		fi;
		rounds++
	:: else -> break
	od;
	stop = true;
	cpu_stopped && device_stopped;
	begin_round();
	extents();
	do
	:: if
		:: there && there_unlogged -> differs[there_memory] = 0
		:: else
		fi;
		roster_sync();
		if
		:: change -> break /* -EBUSY */
		:: else
		fi;
		if
		:: atomic { !lock && IS_ALL -> assert(whole) }; break
		:: atomic { !lock && !(IS_ALL) -> skip };
			commit();
			begin_round();
			extents()
		fi
	od
}
