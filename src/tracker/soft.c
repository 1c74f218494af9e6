/* SPDX-License-Identifier: MIT */
/*
 * soft.c - the software MMU's slots and bitmaps as a tracker
 *
 * Theory of operation
 * -------------------
 * The MMU answers as KVM does (mmu/kvm_calls.h), so this is kvm_slots.c,
 * kvm_get.c and kvm_clear.c over function calls, with two differences.
 *
 * Its log is read word by word, and only the words that are not 0, so that
 * collecting from a huge and idle slot costs next to nothing.
 *
 * It may time out: a vCPU that passes no safe point keeps translations from
 * before the call.  KVM's flush waits for ever instead.  What the call was to
 * do is done by then, so what the space is told is kept true by doing the
 * opposite (a slot that could not be removed is there again), and whatever
 * such a vCPU writes unseen is covered by unflushed: the next collect flushes
 * first, and then every page of every slot is dirty.
 *
 * sync lets every vCPU pass a safe point.  That is more than draining (there
 * is no hardware buffer): a fast page fault makes an entry writable and then
 * marks, and another vCPU may write through it in between.  After a safe point
 * of all vCPUs those marks are made, and a write that was over when begin was
 * called is found by it (C1).
 *
 * Synchronisation
 *   soft.late   a call timed out -> soft.mend in the next collect; atomic
 *               because sync runs without slots_lock
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/clock.h"
#include "tracker/soft_tracker.h"

uint32_t tide_soft_slot_key(const struct tide_soft *soft,
			    const struct tide_slot *slot)
{
	return soft->config.address_space << 16 | tide_slot_id(slot);
}

int tide_soft_note(struct tide_soft *soft, int err)
{
	/* RELEASE(soft.late) pairs with ACQUIRE(soft.mend): what was left
	 * undone, before who makes it good. */
	if (err == -ETIMEDOUT)
		atomic_store_explicit(&soft->unflushed, true,
				      memory_order_release);
	return err;
}

void tide_soft_fail_closed_all(struct tide_soft *soft)
{
	for (struct tide_slot *slot = tide_slot_first(soft->space); slot;
	     slot = tide_slot_next(slot))
		tide_slot_fail_closed(slot);
}

int tide_soft_make_good(struct tide_soft *soft)
{
	int err;

	/* ACQUIRE(soft.mend) pairs with RELEASE(soft.late).  A time-out that
	 * comes after this exchange is for the next collect. */
	if (!atomic_exchange_explicit(&soft->unflushed, false,
				      memory_order_acquire))
		return 0;
	err = tide_soft_note(soft, mmu_flush_all(soft->config.mmu));
	/* After the flush: what was written unseen was written before it. */
	tide_soft_fail_closed_all(soft);
	return err;
}

/* The slot as the MMU is to have it; @npages 0 deletes it. */
static int set_region(struct tide_soft *soft, const struct tide_slot *slot,
		      uint64_t first_gfn, uint64_t npages, bool log)
{
	struct mmu_region region = {
		.slot = tide_soft_slot_key(soft, slot),
		.gpa = first_gfn << TIDE_PAGE_SHIFT,
		.memory_bytes = npages << TIDE_PAGE_SHIFT,
		.host = (uintptr_t)tide_slot_host(slot),
	};

	if (tide_slot_flags(slot) & TIDE_SLOT_READONLY)
		region.flags |= MMU_REGION_READONLY;
	if (log)
		region.flags |= MMU_REGION_LOG;
	return tide_soft_note(soft, mmu_set_region(soft->config.mmu, &region));
}

/* After a time-out: as it was before, so that the space is told the truth. */
static void put_back(struct tide_soft *soft, const struct tide_slot *slot,
		     bool log)
{
	/* That it times out again says nothing new. */
	(void)set_region(soft, slot, tide_slot_first_gfn(slot),
			 tide_slot_npages(slot), log);
}

int tide_soft_slot_add(void *tracker, struct tide_slot *slot)
{
	if (tide_slot_id(slot) >= MMU_SLOT_IDS)
		return -EINVAL;
	return set_region(tracker, slot, tide_slot_first_gfn(slot),
			  tide_slot_npages(slot), false);
}

int tide_soft_slot_remove(void *tracker, struct tide_slot *slot)
{
	int err =
		set_region(tracker, slot, tide_slot_first_gfn(slot), 0, false);

	if (err == -ETIMEDOUT)
		put_back(tracker, slot, tide_slot_logged(slot));
	return err;
}

int tide_soft_slot_move(void *tracker, struct tide_slot *slot,
			uint64_t first_gfn)
{
	int err = set_region(tracker, slot, first_gfn, tide_slot_npages(slot),
			     tide_slot_logged(slot));

	if (err == -ETIMEDOUT)
		put_back(tracker, slot, tide_slot_logged(slot));
	return err;
}

int tide_soft_slot_park(void *tracker, struct tide_slot *slot)
{
	/* 128, 64 and 32 TiB: addressable, and no machine has memory there.
	 * Several, because as many removals may be under way. */
	static const uint64_t gfns[] = { 1ull << 35, 1ull << 34, 1ull << 33 };
	int err = -EEXIST;

	_Static_assert((1ull << 35) + TIDE_SLOT_PAGES_MAX <= MMU_GFN_END,
		       "the largest slot has room there");
	for (size_t i = 0; err == -EEXIST && i < sizeof(gfns) / sizeof(gfns[0]);
	     i++)
		err = tide_soft_slot_move(tracker, slot, gfns[i]);
	return err;
}

int tide_soft_slot_log(void *tracker, struct tide_slot *slot, bool on)
{
	struct tide_soft *soft = tracker;
	uint64_t begin_ns = tide_now_ns();
	int err = set_region(soft, slot, tide_slot_first_gfn(slot),
			     tide_slot_npages(slot), on);

	tide_space_held(soft->space, begin_ns);
	if (err != -ETIMEDOUT)
		return err;
	if (!on)
		return 0; /* nothing is lost by writes that nobody logs */
	put_back(soft, slot, false);
	return err;
}

bool tide_soft_sync(void *tracker)
{
	struct tide_soft *soft = tracker;

	return !tide_soft_note(soft, mmu_flush_all(soft->config.mmu));
}

void tide_soft_destroy(void *tracker)
{
	struct tide_soft *soft = tracker;

	if (soft->added)
		mmu_user_remove(soft->config.mmu, soft->config.address_space);
	free(soft);
}

static void found(void *opaque, uint64_t word, uint64_t bits)
{
	tide_found_bits(opaque, word, bits);
}

static int collect_bitmap(struct tide_soft *soft, struct tide_slot *slot)
{
	uint64_t begin_ns = tide_now_ns();
	int err = mmu_take_dirty_log(
		soft->config.mmu, tide_soft_slot_key(soft, slot), found, slot);

	if (!soft->manual) /* else it was a copy, without a lock */
		tide_space_held(soft->space, begin_ns);
	if (err)
		tide_slot_fail_closed(slot);
	return tide_soft_note(soft, err);
}

int tide_soft_collect_bitmaps(struct tide_soft *soft, struct tide_slot *only)
{
	int err = 0;

	for (struct tide_slot *slot = tide_slot_first(soft->space); slot;
	     slot = tide_slot_next(slot)) {
		int ret;

		if (!tide_slot_logged(slot) || (only && slot != only))
			continue;
		ret = collect_bitmap(soft, slot);
		if (!err)
			err = ret;
	}
	return err;
}

int tide_soft_bitmap_setup(struct tide_soft *soft)
{
	struct tide_mmu *mmu = soft->config.mmu;

	/* With rings the vCPUs' writes would go there, and never here. */
	if (mmu_reset_dirty_rings(mmu) != -EINVAL)
		return -EBUSY;
	soft->manual = !soft->config.get_clears;
	return mmu_enable_manual_protect(
		mmu, soft->manual ? MMU_MANUAL_ENABLE | MMU_MANUAL_INITIALLY_SET
				  : 0);
}

static int bitmap_collect(void *tracker, struct tide_slot *only)
{
	int err = tide_soft_make_good(tracker);

	return err ? err : tide_soft_collect_bitmaps(tracker, only);
}

static int clear_rearm(void *tracker, struct tide_slot *slot, uint64_t first,
		       uint64_t npages, const uint64_t *words)
{
	struct tide_soft *soft = tracker;
	uint64_t begin_ns = tide_now_ns();
	int err;

	assert(first % TIDE_WORD_BITS == 0);
	assert(npages % TIDE_WORD_BITS == 0 ||
	       first + npages == tide_slot_npages(slot));
	err = mmu_clear_dirty_log(soft->config.mmu,
				  tide_soft_slot_key(soft, slot), first,
				  (uint32_t)npages, words);
	tide_space_held(soft->space, begin_ns);
	return tide_soft_note(soft, err);
}

const struct tide_tracker_ops tide_soft_get_ops = {
	.kind = TIDE_TRACKER_SOFT_BITMAP,
	.slot_add = tide_soft_slot_add,
	.slot_remove = tide_soft_slot_remove,
	.slot_move = tide_soft_slot_move,
	.slot_park = tide_soft_slot_park,
	.slot_log = tide_soft_slot_log,
	.collect = bitmap_collect,
	.sync = tide_soft_sync,
	.destroy = tide_soft_destroy,
};

const struct tide_tracker_ops tide_soft_clear_ops = {
	.kind = TIDE_TRACKER_SOFT_BITMAP,
	.manual = true,
	.initially_set = true,
	.slot_add = tide_soft_slot_add,
	.slot_remove = tide_soft_slot_remove,
	.slot_move = tide_soft_slot_move,
	.slot_park = tide_soft_slot_park,
	.slot_log = tide_soft_slot_log,
	.collect = bitmap_collect,
	.rearm = clear_rearm,
	.sync = tide_soft_sync,
	.destroy = tide_soft_destroy,
};
