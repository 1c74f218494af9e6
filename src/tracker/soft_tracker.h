/* SPDX-License-Identifier: MIT */
/*
 * soft_tracker.h - what the trackers on the software MMU share
 *
 * Everything is under the space's slots_lock, except sync.  Inside, the calls
 * take the MMU's slots_lock (mmu/kvm_calls.h).
 */
#ifndef TIDE_TRACKER_SOFT_TRACKER_H
#define TIDE_TRACKER_SOFT_TRACKER_H

#include <stdbool.h>
#include <stdint.h>

#include "mmu/kvm_calls.h"
#include "space/tracker_ops.h"

struct tide_soft {
	struct tide_space *space;
	struct tide_soft_config config;
	bool manual; /* GET copies, CLEAR re-arms */
	bool added;  /* mmu_user_add() */
};

/* The slot functions of struct tide_tracker_ops. */
int tide_soft_slot_add(void *tracker, struct tide_slot *slot, bool log);
int tide_soft_slot_remove(void *tracker, struct tide_slot *slot);
int tide_soft_slot_move(void *tracker, struct tide_slot *slot,
			uint64_t first_gfn);
int tide_soft_slot_park(void *tracker, struct tide_slot *slot);
int tide_soft_slot_log(void *tracker, struct tide_slot *slot, bool on);
bool tide_soft_sync(void *tracker);
void tide_soft_destroy(void *tracker);

/* collect: the bitmaps of every logged slot, or of @only. */
int tide_soft_collect_bitmaps(void *tracker, struct tide_slot *only);

/* Turn a mechanism on in the MMU.  Return: 0 or a negative errno. */
int tide_soft_bitmap_setup(struct tide_soft *soft);
int tide_soft_ring_setup(struct tide_soft *soft);
extern const struct tide_tracker_ops tide_soft_get_ops;
extern const struct tide_tracker_ops tide_soft_clear_ops;
extern const struct tide_tracker_ops tide_soft_ring_ops;

#endif
