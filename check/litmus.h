/* SPDX-License-Identifier: MIT */
/*
 * litmus.h - a file of litmus programs, and its main
 *
 * Each program is explored in full; a line of TAP says its name, how many
 * executions it has, and how long that took.
 */
#ifndef TIDE_CHECK_LITMUS_H
#define TIDE_CHECK_LITMUS_H

#include "explore.h"

struct litmus {
	struct explore_program program;
	/* Complete executions, worked out by hand or found once; 0: any. */
	uint64_t executions;
	/* It must be found wrong, and this is part of the message; NULL: it
	 * must hold. */
	const char *violation;
	/* It takes more than a few seconds: skipped, unless it is named or
	 * TIDE_CHECK_LONG is set, as `make check-model` does. */
	bool slow;
	/* What outcome.h must have recorded: all of it and nothing else; NULL:
	 * the program records nothing. */
	const char *outcomes;
};

/* Explores one; prints its line of TAP.  Return: it is as it should be. */
bool litmus_run(const struct litmus *litmus, int number);
/* Is the program called @name among those that the arguments ask for? */
bool litmus_is_asked_for(const char *name, int argc, char **argv);

/*
 * Arguments: names of programs; none: all.
 *   --random=N     N executions at random, of a program that is too large
 *   --seed=N       other ones
 *   --replay=TEXT  the one execution of a violation, as its report says
 *   --list         no execution: the names, and which are slow or violate
 * Return: an exit status.
 */
int litmus_main(const struct litmus *all, size_t count, int argc, char **argv);

#endif
