/* SPDX-License-Identifier: MIT */
/*
 * fence.h - two full fences, one of them free
 *
 * Store buffering (Dekker): a writer stores A and then loads B, a harvester
 * stores B and then loads A, and at least one of them must see the other.
 * Both need a full fence in between.  Writers are many and hot, harvesters
 * few: membarrier(2) lets the writer's fence be a compiler barrier and makes
 * the harvester's run a full fence on every CPU that runs this process.
 *
 * Where membarrier is missing, light and heavy are both a real fence.  The
 * caller keeps the answer of tide_fence_probe() and passes it to both, so
 * that the two sides always agree; there is no global state.
 *
 * The idea: liburcu's membarrier flavour; kernel
 * Documentation/scheduler/membarrier.rst.
 */
#ifndef TIDE_BASE_FENCE_H
#define TIDE_BASE_FENCE_H

#include <stdbool.h>

#include "base/atomic.h"

/* Registers this process for expedited membarriers.  True: use them. */
bool tide_fence_probe(void);

static inline void tide_fence_light(bool asymmetric)
{
	if (asymmetric) {
		/* SEQ_CST(fence.light) pairs with SEQ_CST(fence.heavy): the
		 * compiler may not move accesses across it, and the heavy
		 * side stops this CPU for a full fence. */
		atomic_signal_fence(memory_order_seq_cst);
	} else {
		/* SEQ_CST(fence.light_full) pairs with
		 * SEQ_CST(fence.heavy_full): ordinary Dekker. */
		atomic_thread_fence(memory_order_seq_cst);
	}
}

/* Return: 0; a negative errno if the kernel refused, and then nothing is
 * ordered. */
int tide_fence_heavy(bool asymmetric);

#endif
