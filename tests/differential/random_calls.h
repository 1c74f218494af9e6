/* SPDX-License-Identifier: MIT */
/*
 * random_calls.h - a random trace of dirty-log calls on two sides, every answer
 * compared
 *
 * Operation i of a trace takes its random numbers from (seed, i) and reads
 * them against what both sides agreed on so far, so that operations can be
 * left out: a failure is made smaller before it is told.
 *
 * Threads.  One trace, one thread.
 */
#ifndef TIDE_TEST_TRACE_H
#define TIDE_TEST_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "side.h"

enum trace_mode {
	TRACE_BITMAP, /* GET clears */
	TRACE_MANUAL, /* manual protect, with CLEAR */
	TRACE_RING,
	TRACE_ANY, /* whatever is turned on in whatever order */
	TRACE_MODES
};

/* Where the two may differ, and why; trace_known_text() has the words. */
enum trace_known {
	KNOWN_GPA_END,
	KNOWN_SPACES,
	KNOWN_RING_SIZE,
	KNOWN_TWICE,
	KNOWN_BEFORE_RESET,
	KNOWN_FILLING,
	KNOWN_RING_ALL_SET,
	KNOWN_STALE_ENTRY,
	KNOWN_COUNT
};

struct trace_stats {
	uint64_t traces, operations, errors, writes, bits, entries, fills;
	uint64_t known[KNOWN_COUNT]; /* how often each was seen */
};

struct trace_options {
	const struct side *left, *right; /* the left one is right */
	enum trace_mode mode;
	uint64_t seed;
	struct trace_stats *stats; /* added to */
};

/**
 * trace_run() - run one trace on both sides
 * @message: on a difference: seed, operations, and both answers
 *
 * Return: 0; 1: they differ; a negative errno: the left side is not to be had.
 */
int trace_run(const struct trace_options *options, char *message, size_t size);

const char *trace_known_text(enum trace_known known);
/* What is not compared at all; ended by NULL. */
extern const char *const trace_not_compared[];

#endif
