/* SPDX-License-Identifier: MIT */
/* maps.h - the mappings of a process, from /proc/PID/maps */
#ifndef TIDE_WATCH_MAPS_H
#define TIDE_WATCH_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct map {
	uint64_t start, end;
	bool readable, writable, executable, shared;
	char name[64]; /* its end, if it is longer */
};

/* A name of 4096 bytes, each escaped, and what stands before it. */
#define MAPS_TEXT_BYTES 20480u

struct map_file {
	int fd;
	size_t at, end; /* what of text is still to be parsed */
	char text[MAPS_TEXT_BYTES];
};

/* A thread of the process that has its memory, which the first one has not if
 * it has ended.  Return: its id; -ESRCH: there is none; -EPERM: it may not be
 * looked at; a negative errno. */
pid_t maps_live_thread(pid_t pid);

/* Of a process, by any of its threads that is alive.
 * Return: 0 or a negative errno. */
int maps_open(struct map_file *maps, pid_t tid);
/* Return: 1 with *ret filled; 0: there are no more; -EINVAL: a line that makes
 * no sense; a negative errno. */
int maps_next(struct map_file *maps, struct map *ret);
void maps_close(struct map_file *maps);

/* One line of the file.  Return: it made sense. */
bool maps_parse(const char *line, struct map *ret);

#endif
