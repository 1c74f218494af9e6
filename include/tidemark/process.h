/* SPDX-License-Identifier: MIT */
/*
 * tidemark/process.h - another process's memory as a space
 *
 * Attaching stops one thread of the target for a fraction of a millisecond, in
 * which it makes one system call, userfaultfd(2), whose result moves to the
 * caller and is closed there.  Everything else happens from outside, while the
 * target runs.  Its writable mappings become slots, and of its private memory
 * without a file what can be read, too, which may be written later: the first
 * gfn is the address divided by the page size, and host is the address, which
 * means nothing in this process.
 *
 * The target keeps nothing: when the caller ends, by any death, the kernel
 * takes the registrations away.  A helper process does what has to be done in
 * the target, so that the death of the caller in the middle of it does no harm
 * either.  The death of that helper does: a thread that is let go in the middle
 * of a step has lost its place.  Only who kills it by its id, or everything in
 * the caller's cgroup, meets that fraction of a millisecond.
 *
 * What it does not do: it follows no fork (the child is another process), and
 * does not see writes by another process to memory that both share.
 *
 * Threads.  Calls on one process are serialised by the caller; harvests of its
 * space by their own rules.  attach makes a process that no wait for any child
 * finds, and that sends no signal.
 *
 * Errors.  0 or a count, or a negative errno value; attach says why in words.
 * x86-64 only; elsewhere -EOPNOTSUPP.
 *
 * Manual: tide_process_attach(3).
 */
#ifndef TIDEMARK_PROCESS_H
#define TIDEMARK_PROCESS_H

#include <sys/types.h>

#include <tidemark/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tide_process; /* opaque */
struct tide_space;

struct tide_mapping {
	uint32_t slot;	     /* its id in the space */
	uint64_t start, end; /* addresses */
	int shared;
	char name[64]; /* the file's or the kernel's; its end, if longer; "" */
};

/* Why writable memory is not tracked. */
enum tide_left_out {
	/* The process has registered it with a userfaultfd of its own, after
	 * attach. */
	TIDE_LEFT_REGISTERED,
	/* The kernel cannot protect it: a device's, for example; or it would
	 * take too much, as of shared mappings of more than a TiB. */
	TIDE_LEFT_REFUSED,
	TIDE_LEFT_COUNT
};

struct tide_process_stats {
	uint64_t stopped_ns; /* that attach held a thread of the target */
	uint64_t arm_ns;     /* from then until everything was armed */
	uint64_t updates;    /* times that mappings were found changed */
	/* What the last update left out, by enum tide_left_out; the next one
	 * tries it again. */
	struct {
		uint64_t mappings, bytes;
	} left_out[TIDE_LEFT_COUNT];
};

/**
 * tide_process_attach() - track what the process @pid writes
 * @why: of @size bytes: if it fails, why, in one line; may be NULL
 *
 * Every page is clean for clients that are opened afterwards with
 * TIDE_START_CLEAN.
 *
 * Return: 0; -ESRCH: there is no such process; -EPERM: it may not be done by
 * the caller, or the target's seccomp filter forbids the call; -EBUSY: it is
 * being traced, or its memory is registered with a userfaultfd already;
 * -EINVAL: it is this process; -EOPNOTSUPP: a 32-bit process, a kernel thread,
 * or the kernel cannot; -ETIMEDOUT: no thread of it could be stopped in
 * two seconds; -ESTALE: it executes one program after another;
 * -ECANCELED: the helper was killed; -ENOMEM.
 */
TIDE_API TIDE_MUST_CHECK int tide_process_attach(pid_t pid,
						 struct tide_process **ret,
						 char *why, size_t size);

/** tide_process_space() - its mappings as slots, with a tracker attached; the
 * process's until detach.  Clients are closed before that. */
TIDE_API struct tide_space *tide_process_space(struct tide_process *process);

/**
 * tide_process_update() - look at the target's mappings again
 *
 * New mappings become slots, all of whose pages are dirty; those that are gone
 * or can be neither read nor written are removed; one that has shrunk is both,
 * and of one that has grown the rest is new.  Of a private mapping of more than
 * 16 GiB only what is populated becomes slots, in blocks of 2 MiB, and blocks
 * that are new are dirty as a whole, too.  What cannot be tracked is left out
 * (struct tide_process_stats).  Before a harvest.
 *
 * Return: how many slots have come or gone; -ESRCH: the process has ended;
 * -ESTALE: it has executed another program, whose memory is new: detach, and
 * attach again; or the tracker's error.
 */
TIDE_API int tide_process_update(struct tide_process *process);

/** tide_process_mapping() - slot number @index, in no order.  Return: 0;
 * -ENOENT: there are no more. */
TIDE_API TIDE_MUST_CHECK int
tide_process_mapping(const struct tide_process *process, uint32_t index,
		     struct tide_mapping *ret);

/**
 * tide_process_populated() - which pages have content of their own
 * @words: a bit a page from @first_gfn on, (@npages + 63) / 64 words: 1 for a
 *         page that is present or swapped out, 0 for one that was never
 *         touched, or only read: zeros, or as its file has it
 *
 * Any range; what is not in a slot has no content.
 *
 * Return: how many pages have; -ESRCH: the process has ended, or has executed
 * another program; -EINVAL: the range wraps; or the kernel's error.
 */
TIDE_API TIDE_MUST_CHECK int64_t
tide_process_populated(const struct tide_process *process, uint64_t first_gfn,
		       uint64_t npages, uint64_t *words);

/**
 * tide_process_read() - copy from the process's memory, while it runs
 *
 * A page that is being written may come as neither before nor after; its next
 * harvest has it again.
 *
 * Return: @nbytes, or less up to where the memory ends; -EFAULT: not even the
 * first byte is there; -ESRCH; -EPERM.
 */
TIDE_API TIDE_MUST_CHECK int64_t
tide_process_read(const struct tide_process *process, uint64_t address,
		  void *to, size_t nbytes);

TIDE_API void tide_process_stats_get(const struct tide_process *process,
				     struct tide_process_stats *ret);

/** tide_process_detach() - the target is as it was; NULL is fine */
TIDE_API void tide_process_detach(struct tide_process *process);

#ifdef __cplusplus
}
#endif
#endif
