/* SPDX-License-Identifier: MIT */
/* inject.h - one system call in another process */
#ifndef TIDE_WATCH_INJECT_H
#define TIDE_WATCH_INJECT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct inject_result {
	int err;	     /* 0 or a negative errno */
	char why[96];	     /* why not */
	uint64_t stopped_ns; /* that the thread was held */
};

/*
 * inject_userfaultfd() - a userfaultfd of the process @pid, as a descriptor of
 * ours; none is left in the target
 * @live: a thread that has the process's memory, to look at
 *
 * Return: the descriptor; a negative errno, with why in *@ret.
 */
int inject_userfaultfd(pid_t pid, pid_t live, struct inject_result *ret);

/* For the helper: wait until the thread @tid, which it traces, has stopped.
 * Return: 0; -ESRCH: it has ended; -ETIMEDOUT. */
int inject_wait(pid_t tid, uint64_t deadline_ns, int *ret_status);

/*
 * In the thread @tid, which this process has stopped by ptrace: the call @nr
 * with one argument, the others 0, made by the instruction at @at.
 *
 * Return: what the call returned, or the negative errno that it failed with;
 * *@ret_err: 0, or why it could not be made.
 */
int64_t inject_call(pid_t tid, uint64_t at, uint64_t nr, uint64_t argument,
		    int *ret_err);

/* An address in the memory of the thread @tid where the instruction for a
 * system call is.  Return: 0; -ESTALE: there is none, as where a program is
 * being made; a negative errno. */
int inject_find_instruction(pid_t tid, uint64_t *ret);

/* Do the seccomp filters of the stopped thread @tid let it make the call @nr by
 * the instruction at @at, with any of @count arguments from @argument on?
 * Return: 1, 0, or a negative errno if a filter cannot be read. */
int inject_is_allowed(pid_t tid, uint64_t at, uint32_t nr, uint64_t argument,
		      uint32_t count);

#endif
