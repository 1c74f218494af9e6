/* SPDX-License-Identifier: MIT */
/*
 * soft_ring.c - the software MMU's dirty rings as a tracker
 *
 * Theory of operation
 * -------------------
 * A vCPU's writes are in its ring, everybody else's (a device by
 * tide_mmu_write(), a discarded page) in the bitmap beside it, as on arm64.
 * One pass takes all filled entries of all rings, resets them, which re-arms
 * their pages and flushes, and then takes the bitmaps.  Nothing is handed out
 * before the pass is over (K51), which the space guarantees.
 *
 * What an entry says is checked, as in kvm_ring.c: of a slot that is gone it
 * is counted and dropped, beyond the end of its slot it makes that slot dirty.
 * The rings are emptied once more after a slot was deleted, so that none of
 * its entries can be taken for those of a new slot with its id (K48).
 *
 * There is no overflow here: the MMU looks at the ring before every write that
 * would need an entry.
 *
 * Initially-all-set is never combined with the ring (K50): setup turns manual
 * protect off.
 *
 * Synchronisation: slots_lock; the ring's own edges are log/ring.c's.
 */
#include <errno.h>

#include "base/clock.h"
#include "tracker/soft_tracker.h"

int tide_soft_ring_setup(struct tide_soft *soft)
{
	struct tide_mmu *mmu = soft->config.mmu;
	int err = mmu_enable_manual_protect(mmu, 0);

	if (!err)
		err = mmu_enable_ring(
			mmu, soft->config.ring_entries *
				     (uint32_t)sizeof(struct tide_ring_entry));
	if (!err)
		err = mmu_enable_ring_with_bitmap(mmu);
	/* The config was checked: a vCPU, a slot or a ring is there. */
	return err == -EINVAL ? -EBUSY : err;
}

static void fail_closed_all(struct tide_soft *soft)
{
	for (struct tide_slot *slot = tide_slot_first(soft->space); slot;
	     slot = tide_slot_next(slot))
		tide_slot_fail_closed(slot);
}

/* The page of an entry, into every client's dirty set. */
static void take_entry(void *opaque, uint32_t key, uint64_t offset)
{
	struct tide_soft *soft = opaque;
	struct tide_space_stats *stats = tide_space_counters(soft->space);
	struct tide_slot *slot = NULL;

	stats->ring_entries++;
	if (key >> 16 == soft->config.address_space)
		slot = tide_slot_find(soft->space, key & 0xffff);
	if (!slot) {
		stats->ring_entries_stale++;
	} else if (offset >= tide_slot_npages(slot)) {
		stats->ring_entries_bad++;
		tide_slot_fail_closed(slot);
	} else {
		tide_found_page(slot, offset);
	}
}

/* Return: entries harvested, and their pages are re-armed; an error, and
 * everything is dirty. */
static int harvest_rings(struct tide_soft *soft)
{
	struct tide_mmu *mmu = soft->config.mmu;
	uint64_t begin_ns = tide_now_ns();
	int taken = mmu_collect_dirty_rings(mmu, take_entry, soft);
	int left = taken;
	int reset;

	/* Also without new ones: an error may have left some harvested. */
	do {
		reset = mmu_reset_dirty_rings(mmu);
		left -= reset;
	} while (left > 0 && reset > 0);
	if (taken)
		tide_space_held(soft->space, begin_ns);
	if (reset >= 0 && left <= 0)
		return taken;
	fail_closed_all(soft);
	return reset < 0 ? reset : -EIO;
}

static int ring_collect(void *tracker, struct tide_slot *only)
{
	int taken = harvest_rings(tracker);
	int err = tide_soft_collect_bitmaps(tracker, only);

	return taken < 0 ? taken : err;
}

static int ring_slot_remove(void *tracker, struct tide_slot *slot)
{
	int err = tide_soft_slot_remove(tracker, slot);

	/* No entry may outlive its slot; an error has made all dirty. */
	if (!err)
		(void)harvest_rings(tracker);
	return err;
}

int tide_soft_ring_full(struct tide_space *space)
{
	struct tide_soft *soft;
	int ret = -ENODEV;

	tide_space_lock(space);
	soft = tide_space_tracker_object(space, TIDE_TRACKER_SOFT_RING);
	if (soft) {
		tide_space_counters(space)->ring_full++;
		ret = harvest_rings(soft);
	}
	tide_space_unlock(space);
	return ret;
}

const struct tide_tracker_ops tide_soft_ring_ops = {
	.kind = TIDE_TRACKER_SOFT_RING,
	.slot_add = tide_soft_slot_add,
	.slot_remove = ring_slot_remove,
	.slot_move = tide_soft_slot_move,
	.slot_park = tide_soft_slot_park,
	.slot_log = tide_soft_slot_log,
	.collect = ring_collect,
	.sync = tide_soft_sync,
	.destroy = tide_soft_destroy,
};
