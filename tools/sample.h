/* SPDX-License-Identifier: MIT */
/*
 * sample.h - look at a process, again and again
 *
 * What watch, record and plan have in common.  A sampler attaches to a process
 * or starts a command, follows what it executes and, if asked, the children
 * that it forks, and says for each interval which pages were written.  Two
 * clients look at the same log: one is harvested each interval, the other each
 * window, so that its count is of the distinct pages in that time, the working
 * set.
 *
 * Functions that fail have said why (tool_error).
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <stdint.h>
#include <sys/types.h>

#include <tidemark/process.h>

#define SAMPLE_INTERVAL_NS_MIN 10000000ull

struct sample_row {
	uint32_t id; /* of the mapping; never used again */
	pid_t pid;
	struct tide_mapping mapping;
	uint64_t pages;	    /* written in this interval */
	uint64_t all_pages; /* the sum over all intervals until now */
};

struct sample_run {
	uint32_t row;	     /* index in the sample's rows */
	uint64_t first_page; /* in the mapping */
	uint64_t npages;
};

/* One interval.  Everything is the sampler's, until its next look. */
struct sample {
	uint64_t begin_ns, end_ns; /* since the sampler's beginning */
	uint64_t pages;
	uint64_t harvest_ns; /* that looking took, all of it */
	uint64_t held_ns; /* that a thread of the target was held: an attach */
	uint64_t window_ns;    /* a window has ended, of this length; 0: no */
	uint64_t window_pages; /* distinct pages in it */
	uint32_t changes;      /* mappings that have come or gone */
	uint32_t processes;
	/* Mappings that cannot be looked at (tide_process_stats.left_out). */
	uint64_t left_out, left_out_bytes;

	struct sample_row *rows; /* mappings that are there, by process and
				  * address */
	uint32_t nrows;
	struct sample_run *runs; /* by row and page, and they do not touch */
	size_t nruns;
	uint32_t *gone; /* ids of mappings that were there the last time */
	uint32_t ngone;
};

struct sampler_config {
	pid_t pid;	    /* or */
	char **command;	    /* with its arguments; NULL: none */
	int command_output; /* its stdout and stderr, and its stdin is
			     * empty; -1: all as ours */
	uint64_t interval_ns;
	uint64_t time_ns; /* how long; 0: until it ends */
	uint32_t window;  /* intervals; 0: no windows */
	int follow_children;
};

struct sampler; /* opaque */

/* Attach, or start and attach.  Call interrupt_start() before.
 * Return: -1, or an exit status. */
int sampler_open(const struct sampler_config *config, struct sampler **ret);

/* The rows as they were found first, before any interval: what a recording
 * begins with.  As in a sample; no runs.  Return: -1, or an exit status. */
int sampler_first(struct sampler *sampler, struct sample *ret);

/* From the interval that has begun on. */
void sampler_set_interval(struct sampler *sampler, uint64_t interval_ns);

/* When the next interval ends, as tool_now_ns() tells the time. */
uint64_t sampler_due_ns(const struct sampler *sampler);
/* The time is up before that, or Ctrl-C was pressed. */
int sampler_is_over(const struct sampler *sampler);

/* The interval is over, now.  Return: 1 with *ret filled; 0: the process, or
 * with children the last of them, has ended; -1: it failed. */
int sampler_look(struct sampler *sampler, struct sample *ret);

/* Wait until it is over, and look.  Return: as above; 0 too when the time is
 * up, and at Ctrl-C. */
int sampler_next(struct sampler *sampler, struct sample *ret);

/* The process, to ask for more: NULL if that one is not there any more. */
struct tide_process *sampler_process(struct sampler *sampler, pid_t pid);
/* The one that was asked for, or the command. */
pid_t sampler_pid(const struct sampler *sampler);

/* Let go, and end the command if it was started here, with the children that
 * were followed.  NULL is fine. */
void sampler_close(struct sampler *sampler);

#endif
