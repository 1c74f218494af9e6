/* SPDX-License-Identifier: MIT */
/* progress.h - one line on a terminal that says how far it is */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdint.h>

struct progress {
	int on; /* stderr is a terminal and nobody asked for JSON */
	uint64_t last_ns;
};

/* @quiet: never show anything */
void progress_init(struct progress *progress, int quiet);

/* Draw "what [####....] 45% text", at most ten times a second; without a bar
 * if @all is 0: nobody knows. */
void progress_draw(struct progress *progress, const char *what, uint64_t done,
		   uint64_t all, const char *text);

/* The same for a migration: rates and times that are not known are 0. */
void progress_transfer(struct progress *progress, uint64_t round, uint64_t done,
		       uint64_t all, uint64_t bandwidth, uint64_t downtime_ns);

/* Wipe the line, before something else is printed. */
void progress_clear(struct progress *progress);

#endif
