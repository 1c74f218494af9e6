/* SPDX-License-Identifier: MIT */
/*
 * classic.h - classic litmus tests, a line each
 *
 * The explorer's own tests.  A program is written as its threads, with '|'
 * between two, each a list of words; what is after ';' are the locations whose
 * last values are part of the outcome.  Locations are x, y, z and so on, all 0
 * at first.
 *
 *   Wx1    x = 1              Wx$    x = what this thread has read last
 *   Rx     read x             F      a fence
 *   Ax1    fetch_add(x, 1)    Xx1    exchange(x, 1)
 *   Cx01   compare_exchange(x, 0, 1)
 *   ?1     go on only where 1 was read last: explore_assume()
 *   &1     end the thread unless 1 was read last
 *   La Ua  lock, unlock mutex a
 *   [ ] G  reading section of RCU, grace period
 *   wx1 rx as Wx1.na and Rx.na, but not announced: by classic_touch.c
 *
 * An order follows a point: rlx (or nothing), acq, rel, ar, sc; na is a plain
 * access; of a compare-exchange that of the failure follows a slash, and is
 * relaxed without.  Everything that reads records the value, in the order in
 * which it is written here.
 */
#ifndef TIDE_CHECK_CLASSIC_H
#define TIDE_CHECK_CLASSIC_H

#include <stddef.h>
#include <stdint.h>

struct classic {
	const char *name;
	const char *text;
	const char *outcomes;  /* all that are allowed */
	uint64_t executions;   /* 0: not worked out */
	const char *violation; /* part of its message; then nothing else */
};

/* As litmus_main().  --lines: programs come from the standard input instead, a
 * line each; a line for each goes to the standard output: its executions, 1 if
 * it was found wrong or else 0, its outcomes. */
int classic_main(const struct classic *all, size_t count, int argc,
		 char **argv);

/* classic_touch.c: plain accesses that the explorer is not told of. */
uint32_t classic_read(const uint32_t *at);
void classic_write(uint32_t *at, uint32_t value);

#endif
