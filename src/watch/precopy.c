/* SPDX-License-Identifier: MIT */
/* precopy.c - when pre-copy is over, or hopeless */
#include "watch/precopy.h"

enum precopy_verdict precopy_round(struct precopy *precopy, uint64_t rest_ns,
				   uint64_t downtime_ns)
{
	precopy->rounds++;
	if (rest_ns <= downtime_ns)
		return PRECOPY_CONVERGED;
	if (precopy->rounds == 1 ||
	    rest_ns < precopy->least_ns - precopy->least_ns / 20) {
		precopy->least_ns = rest_ns;
		precopy->stalled = 0;
	} else {
		precopy->stalled++;
	}
	if (precopy->stalled == PRECOPY_STALL_ROUNDS ||
	    precopy->rounds == precopy->rounds_max)
		return PRECOPY_HOPELESS;
	return PRECOPY_GO_ON;
}
