/* SPDX-License-Identifier: MIT */
/*
 * server_seen.h - what a server says of a process: sums, and the last interval
 *
 * Sums only grow, whatever the process does.
 */
#ifndef SERVER_SEEN_H
#define SERVER_SEEN_H

#include <stdbool.h>

#include "sample.h"
#include "server_text.h"

#define SEEN_MAPPINGS 50u

struct seen {
	bool up; /* it has not ended */
	pid_t pid;
	char name[32];
	uint64_t interval_ns; /* that was asked for */
	/* Sums. */
	uint64_t intervals, watched_ns, pages, harvest_ns, held_ns, changes;
	uint64_t other_pages; /* in mappings that were not among the first */
	/* The last interval, and the last window; 0 intervals: none yet. */
	uint64_t last_ns, last_pages, last_harvest_ns;
	uint64_t window_ns, window_pages;
	/* What is there. */
	uint32_t processes, mappings;
	uint64_t left_out, left_out_bytes;
	uint64_t mapped_pages;
	/* Those with the largest sums, largest first. */
	struct sample_row first[SEEN_MAPPINGS];
	uint32_t nfirst;
	uint64_t other_last_pages; /* in all the others, in this interval */
};

/* @first: what was there before any interval */
void seen_init(struct seen *seen, pid_t pid, uint64_t interval_ns,
	       const struct sample *first);
void seen_add(struct seen *seen, const struct sample *sample);

/* In Prometheus' text format, version 0.0.4. */
void seen_metrics(const struct seen *seen, struct text *ret);
/* As members of a JSON object, without braces. */
void seen_json(const struct seen *seen, struct text *ret);

/* What to call a mapping that may have no name. */
const char *seen_mapping_name(const struct tide_mapping *mapping);

#endif
