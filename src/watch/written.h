/* SPDX-License-Identifier: MIT */
/*
 * written.h - in which interval each page was written last
 *
 * Intervals are numbered from 1; 0 is never.
 */
#ifndef TIDE_WATCH_WRITTEN_H
#define TIDE_WATCH_WRITTEN_H

#include <stdbool.h>
#include <stdint.h>

#include <tidemark/trace.h>

/* 256 TiB: nobody has it, and it bounds what a made-up trace costs. */
#define WRITTEN_PAGES_MAX (1ull << 36)

/* Pages by the interval in which they were written last. */
struct tally {
	uint64_t *pages;   /* by interval, 0 too */
	uint32_t *touched; /* the intervals that have some */
	uint32_t count;
	uint32_t max; /* intervals that there is room for */
};

/* Room for intervals up to @last.  Return: 0; -ENOMEM. */
int tally_grow(struct tally *tally, uint32_t last);
void tally_clear(struct tally *tally);
void tally_fini(struct tally *tally);

struct written_mapping {
	uint32_t id;
	bool is_gone;
	bool is_first; /* was there before the first interval */
	uint64_t populated_pages, zero_pages;
	uint64_t pages; /* ever written */
	uint64_t npages;
	struct written_chunk *chunks;
	uint64_t from, to; /* none but these were ever written */
};

struct written {
	struct written_mapping *mappings; /* by id; those that are gone, too */
	uint32_t count, max;
	uint64_t npages; /* of those that are there */
};

/* Return: 0; -EFBIG: with it there would be more than WRITTEN_PAGES_MAX;
 * -ENOMEM. */
int written_add(struct written *written,
		const struct tide_trace_mapping *mapping, bool is_first);

/* The pages of @run are written in interval @now.  They are added to @tally by
 * the interval they were written in before.  Return: 0; -ENOMEM. */
int written_run(struct written *written, const struct tide_trace_run *run,
		uint32_t now, struct tally *tally);

/* A mapping is gone; its pages are added to @tally. */
void written_gone(struct written *written, uint32_t id, struct tally *tally);

void written_fini(struct written *written);

#endif
