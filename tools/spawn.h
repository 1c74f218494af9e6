/* SPDX-License-Identifier: MIT */
/* spawn.h - a command that we start in order to look at it */
#ifndef SPAWN_H
#define SPAWN_H

#include <sys/types.h>

/* @output: its stdout and stderr, and then it has nothing to read; -1: all as
 * ours.  Returns when it has its own
 * memory.  Return: -1 with *ret filled, or an exit status. */
int spawn_start(char **command, int output, pid_t *ret);

/* SIGTERM, and SIGKILL if it does not end by that; reaps it. */
void spawn_end(pid_t pid);

#endif
