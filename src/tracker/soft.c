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
 * before the call.  KVM's flush waits for ever instead.  A slot is then as it
 * was, taken bits are set again, and the next GET, CLEAR or RESET flushes
 * first, so that whatever such a vCPU wrote is before it.  Here the error only
 * has to be passed on, and what could not be read is dirty.
 *
 * sync has nothing to do: there is no hardware buffer to drain, and a page is
 * marked before anybody can write to it (mmu/fast_fault.c).
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/clock.h"
#include "tracker/soft_tracker.h"

/* The address space and id of a slot in one number, as KVM has it. */
static uint32_t slot_key(const struct tide_soft *soft,
			 const struct tide_slot *slot)
{
	return soft->config.address_space << 16 | tide_slot_id(slot);
}

/* The slot as the MMU is to have it; @npages 0 deletes it. */
static int set_region(struct tide_soft *soft, const struct tide_slot *slot,
		      uint64_t first_gfn, uint64_t npages, bool log)
{
	struct mmu_region region = {
		.slot = slot_key(soft, slot),
		.gpa = first_gfn << TIDE_PAGE_SHIFT,
		.memory_bytes = npages << TIDE_PAGE_SHIFT,
		.host = (uintptr_t)tide_slot_host(slot),
	};

	if (tide_slot_flags(slot) & TIDE_SLOT_READONLY)
		region.flags |= MMU_REGION_READONLY;
	if (log)
		region.flags |= MMU_REGION_LOG;
	return mmu_set_region(soft->config.mmu, &region);
}

int tide_soft_slot_add(void *tracker, struct tide_slot *slot, bool log)
{
	if (tide_slot_id(slot) >= MMU_SLOT_IDS)
		return -EINVAL;
	return set_region(tracker, slot, tide_slot_first_gfn(slot),
			  tide_slot_npages(slot), log);
}

int tide_soft_slot_remove(void *tracker, struct tide_slot *slot)
{
	return set_region(tracker, slot, tide_slot_first_gfn(slot), 0, false);
}

int tide_soft_slot_move(void *tracker, struct tide_slot *slot,
			uint64_t first_gfn)
{
	return set_region(tracker, slot, first_gfn, tide_slot_npages(slot),
			  tide_slot_logged(slot));
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
	return err;
}

bool tide_soft_sync(void *tracker)
{
	(void)tracker;
	return true;
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
	int err = mmu_take_dirty_log(soft->config.mmu, slot_key(soft, slot),
				     found, slot);

	if (!soft->manual) /* else it was a copy, without a lock */
		tide_space_held(soft->space, begin_ns);
	if (err)
		tide_slot_fail_closed(slot);
	return err;
}

int tide_soft_collect_bitmaps(void *tracker, struct tide_slot *only)
{
	struct tide_soft *soft = tracker;
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

static int clear_rearm(void *tracker, struct tide_slot *slot, uint64_t first,
		       uint64_t npages, const uint64_t *words)
{
	struct tide_soft *soft = tracker;
	uint64_t begin_ns = tide_now_ns();
	int err;

	assert(first % TIDE_WORD_BITS == 0);
	assert(npages % TIDE_WORD_BITS == 0 ||
	       first + npages == tide_slot_npages(slot));
	err = mmu_clear_dirty_log(soft->config.mmu, slot_key(soft, slot), first,
				  (uint32_t)npages, words);
	tide_space_held(soft->space, begin_ns);
	return err;
}

const struct tide_tracker_ops tide_soft_get_ops = {
	.kind = TIDE_TRACKER_SOFT_BITMAP,
	.slot_add = tide_soft_slot_add,
	.slot_remove = tide_soft_slot_remove,
	.slot_move = tide_soft_slot_move,
	.slot_park = tide_soft_slot_park,
	.slot_log = tide_soft_slot_log,
	.collect = tide_soft_collect_bitmaps,
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
	.collect = tide_soft_collect_bitmaps,
	.rearm = clear_rearm,
	.sync = tide_soft_sync,
	.destroy = tide_soft_destroy,
};
