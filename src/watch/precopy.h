/* SPDX-License-Identifier: MIT */
/*
 * precopy.h - when pre-copy is over, or hopeless
 *
 * One set of rules for the plan, which plays it on a curve, and the rehearsal,
 * which does it; so that the two can be held against each other.
 */
#ifndef TIDE_WATCH_PRECOPY_H
#define TIDE_WATCH_PRECOPY_H

#include <stdint.h>

#define PRECOPY_ROUNDS_MAX 30u
#define PRECOPY_DOWNTIME_NS 300000000u
/* So many rounds in a row without a rest that is a twentieth smaller than the
 * smallest before are hopeless. */
#define PRECOPY_STALL_ROUNDS 5u

enum precopy_verdict {
	PRECOPY_GO_ON,
	PRECOPY_CONVERGED, /* the rest fits the downtime */
	PRECOPY_HOPELESS,
};

struct precopy {
	uint32_t rounds_max;
	uint32_t rounds; /* done */
	uint32_t stalled;
	uint64_t least_ns; /* the smallest rest so far */
};

/* A round is over.  @rest_ns: that the rest would take at the bandwidth */
enum precopy_verdict precopy_round(struct precopy *precopy, uint64_t rest_ns,
				   uint64_t downtime_ns);

#endif
