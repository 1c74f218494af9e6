/* SPDX-License-Identifier: MIT */
/*
 * ring.h - a dirty ring: KVM's, entry for entry
 *
 * Two rings in one (thread 3): produced, from the vCPU that writes to the
 * harvester, and harvested, from the harvester to reset.  An entry is invalid,
 * then dirty (push), then harvested (collect), then invalid again (reset).
 *
 * Threads.  "-" may run at the same time, "X" the caller must serialise:
 *
 *                push  collect  reset  used
 *     push         X      -       -      -
 *     collect      -      X       -      -
 *     reset        -      -       X      -
 *
 * Progress.  Everything is wait-free; only init allocates.
 *
 * An entry's fields are validated by whoever uses them: the memory may be
 * shared with somebody hostile (K47, K48).
 */
#ifndef TIDE_LOG_RING_H
#define TIDE_LOG_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

#define TIDE_RING_RESERVED 64u /* entries past the soft limit */
#define TIDE_RING_ENTRIES_MAX 65536u
#define TIDE_RING_F_DIRTY 1u
#define TIDE_RING_F_RESET 2u

struct tide_ring_entry { /* struct kvm_dirty_gfn */
	_Atomic uint32_t flags;
	_Atomic uint32_t slot;	 /* address space << 16 | id */
	_Atomic uint64_t offset; /* page in the slot */
};

struct tide_ring {
	/* Constant after init. */
	struct tide_ring_entry *entries;
	uint32_t size;
	uint32_t soft_limit;
	/* Free-running.  Each is written by one side only. */
	_Alignas(64) _Atomic uint32_t dirty_index; /* push */
	_Alignas(64) _Atomic uint32_t reset_index; /* reset */
	_Alignas(64) uint32_t fetch_index;	   /* collect's own */
};

/* @entries: a power of two in [128, TIDE_RING_ENTRIES_MAX].
 * Return: 0; -EINVAL; -ENOMEM. */
int tide_ring_init(struct tide_ring *ring, uint32_t entries);
void tide_ring_fini(struct tide_ring *ring);

/* The vCPU's thread.  False: the ring is full to the last entry and nothing
 * was pushed (asserted not to happen while the caller honours soft_full). */
bool tide_ring_push(struct tide_ring *ring, uint32_t slot, uint64_t offset);
/* used >= soft_limit: the vCPU must not write any more. */
bool tide_ring_soft_full(const struct tide_ring *ring);
/* Entries between reset and dirty index; a snapshot. */
uint32_t tide_ring_used(const struct tide_ring *ring);

/* Hands every dirty entry to @found, in order, and makes it harvested.
 * Return: how many. */
uint32_t tide_ring_collect(struct tide_ring *ring,
			   void (*found)(void *opaque, uint32_t slot,
					 uint64_t offset),
			   void *opaque);

/* Invalidates harvested entries in order and hands them to @rearm in batches
 * of pages of one 64-page window: bit i of @mask is page offset + i (KVM's
 * coalescing).  Stops after @max entries.
 * Return: how many entries. */
uint32_t tide_ring_reset(struct tide_ring *ring, uint32_t max,
			 void (*rearm)(void *opaque, uint32_t slot,
				       uint64_t offset, uint64_t mask),
			 void *opaque);

/* Hands every entry to @found that is not invalidated yet, harvested or not,
 * and leaves them; push, collect and reset are over. */
void tide_ring_leftover(const struct tide_ring *ring,
			void (*found)(void *opaque, uint32_t slot,
				      uint64_t offset),
			void *opaque);

#endif
