/* SPDX-License-Identifier: MIT */
/*
 * dirty_calls.c - KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG, KVM_RESET_DIRTY_RINGS
 *
 * GET and CLEAR are the generic routine (log/dirty_log.h) over the hooks of
 * this MMU: lock the mmu_lock, protect by rmap, flush every vCPU.  The flush
 * is under slots_lock, so that whoever comes next finds nothing half done
 * (K9, K46).  A flush that failed earlier is made good even if nothing is
 * dirty now: pages may have been protected that somebody can still write.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/pause_point.h"
#include "mmu/mmu_internal.h"

int mmu_slot_log_init(const struct tide_mmu *mmu, struct mmu_slot *slot)
{
	int err;

	if (mmu->ring_entries && !mmu->ring_with_bitmap)
		return 0;
	err = tide_dirty_log_init(&slot->log, slot->npages);
	if (err)
		return err;
	slot->has_log = true;
	if (mmu->manual & MMU_MANUAL_INITIALLY_SET)
		tide_bitmap_set_range(&slot->log.dirty, 0, slot->npages);
	return 0;
}

struct harvest {
	struct tide_mmu *mmu;
	struct mmu_slot *slot;
};

static void harvest_begin(void *opaque) TIDE_UNCHECKED
{
	const struct harvest *harvest = opaque;

	tide_lock_acquire(&harvest->mmu->mmu_lock);
}

static void harvest_protect(void *opaque, uint64_t word, uint64_t mask)
{
	const struct harvest *harvest = opaque;

	mmu_protect_pages(harvest->mmu, harvest->slot, word * TIDE_WORD_BITS,
			  mask);
}

static void harvest_end(void *opaque) TIDE_UNCHECKED
{
	const struct harvest *harvest = opaque;

	/* Splitting may have dropped a leaf; the flush that follows is for
	 * that, too. */
	tide_lock_release(&harvest->mmu->mmu_lock);
	tide_pause("get.protected");
}

static int harvest_flush(void *opaque)
{
	const struct harvest *harvest = opaque;

	return mmu_flush(harvest->mmu);
}

static const struct tide_dirty_log_hooks hooks = {
	.begin = harvest_begin,
	.protect = harvest_protect,
	.end = harvest_end,
	.flush = harvest_flush,
};

/* KVM's checks.  Under slots_lock. */
static int find_log(struct tide_mmu *mmu, uint32_t slot,
		    struct harvest *harvest)
{
	if (mmu->ring_entries && !mmu->ring_with_bitmap)
		return -ENXIO;
	if (slot >> 16 >= MMU_ADDRESS_SPACES || (slot & 0xffff) >= MMU_SLOT_IDS)
		return -EINVAL;
	harvest->mmu = mmu;
	harvest->slot = mmu->slots[slot >> 16][slot & 0xffff];
	return 0;
}

static int has_log(const struct harvest *harvest)
{
	return harvest->slot && harvest->slot->has_log ? 0 : -ENOENT;
}

/* Under slots_lock, of a slot that has a log. */
static int take(struct harvest *harvest,
		void (*found)(void *opaque, uint64_t word, uint64_t bits),
		void *opaque)
{
	struct tide_dirty_log *log = &harvest->slot->log;
	int err = mmu_flush_owed(harvest->mmu);

	if (err)
		return err;
	if (!harvest->mmu->manual)
		return tide_dirty_log_get(log, &hooks, harvest, found, opaque);
	tide_dirty_log_peek(log, found, opaque);
	return 0;
}

int mmu_take_dirty_log(struct tide_mmu *mmu, uint32_t slot,
		       void (*found)(void *opaque, uint64_t word,
				     uint64_t bits),
		       void *opaque)
{
	struct harvest harvest;
	int err;

	tide_lock_acquire(&mmu->slots_lock);
	err = find_log(mmu, slot, &harvest);
	if (!err)
		err = has_log(&harvest);
	if (!err)
		err = take(&harvest, found, opaque);
	tide_lock_release(&mmu->slots_lock);
	mmu_check_now_and_then(mmu);
	return err;
}

static void put_word(void *opaque, uint64_t word, uint64_t bits)
{
	uint64_t *words = opaque;

	words[word] = bits;
}

int mmu_get_dirty_log(struct tide_mmu *mmu, uint32_t slot, uint64_t *words)
{
	struct harvest harvest;
	int err;

	tide_lock_acquire(&mmu->slots_lock);
	err = find_log(mmu, slot, &harvest);
	if (!err)
		err = has_log(&harvest);
	if (!err) {
		memset(words, 0,
		       tide_words(harvest.slot->npages) * sizeof(*words));
		err = take(&harvest, put_word, words);
	}
	tide_lock_release(&mmu->slots_lock);
	mmu_check_now_and_then(mmu);
	return err;
}

int mmu_clear_dirty_log(struct tide_mmu *mmu, uint32_t slot,
			uint64_t first_page, uint32_t npages,
			const uint64_t *words)
{
	struct harvest harvest;
	uint64_t rest;
	int err;

	tide_lock_acquire(&mmu->slots_lock);
	err = find_log(mmu, slot, &harvest);
	if (!err && first_page % TIDE_WORD_BITS)
		err = -EINVAL;
	if (!err)
		err = has_log(&harvest);
	if (!err && first_page > harvest.slot->npages)
		err = -EINVAL;
	if (!err) {
		rest = harvest.slot->npages - first_page;
		if (npages > rest || (npages < rest && npages % TIDE_WORD_BITS))
			err = -EINVAL;
	}
	if (!err)
		err = mmu_flush_owed(mmu);
	if (!err && npages)
		err = tide_dirty_log_clear(&harvest.slot->log, &hooks, &harvest,
					   first_page / TIDE_WORD_BITS, npages,
					   words);
	tide_lock_release(&mmu->slots_lock);
	mmu_check_now_and_then(mmu);
	return err;
}

int mmu_enable_manual_protect(struct tide_mmu *mmu, uint64_t flags)
{
	const uint64_t both = MMU_MANUAL_ENABLE | MMU_MANUAL_INITIALLY_SET;

	if ((flags & ~both) || flags == MMU_MANUAL_INITIALLY_SET)
		return -EINVAL;
	tide_lock_acquire(&mmu->slots_lock);
	mmu->manual = flags;
	tide_lock_release(&mmu->slots_lock);
	return 0;
}

static bool has_vcpu(const struct tide_mmu *mmu)
{
	/* Relaxed: changed under slots_lock, which we have. */
	uint32_t count =
		atomic_load_explicit(&mmu->vcpu_count, memory_order_relaxed);

	for (uint32_t i = 0; i < count; i++) {
		/* Relaxed: as above. */
		if (atomic_load_explicit(&mmu->vcpu[i], memory_order_relaxed)
			    ->in_use)
			return true;
	}
	return false;
}

int mmu_enable_ring(struct tide_mmu *mmu, uint32_t bytes)
{
	const uint32_t entry = sizeof(struct tide_ring_entry);
	int err = 0;

	if (!bytes || (bytes & (bytes - 1)) ||
	    bytes < TIDE_RING_RESERVED * entry || bytes < TIDE_PAGE_SIZE)
		return -EINVAL;
	if (bytes > TIDE_RING_ENTRIES_MAX * entry)
		return -E2BIG;
	tide_lock_acquire(&mmu->slots_lock);
	if (mmu->ring_entries || has_vcpu(mmu))
		err = -EINVAL;
	else
		mmu->ring_entries = bytes / entry;
	tide_lock_release(&mmu->slots_lock);
	return err;
}

int mmu_enable_ring_with_bitmap(struct tide_mmu *mmu)
{
	int err = 0;

	tide_lock_acquire(&mmu->slots_lock);
	if (!mmu->ring_entries || mmu->total_pages)
		err = -EINVAL;
	else
		mmu->ring_with_bitmap = true;
	tide_lock_release(&mmu->slots_lock);
	return err;
}

/* A batch of one ring's entries; the ring's memory is not trusted. */
static void rearm(void *opaque, uint32_t name, uint64_t offset, uint64_t mask)
{
	struct tide_mmu *mmu = opaque;
	struct mmu_slot *slot;

	if (name >> 16 >= MMU_ADDRESS_SPACES || (name & 0xffff) >= MMU_SLOT_IDS)
		return;
	slot = mmu->slots[name >> 16][name & 0xffff];
	if (!slot || offset >= slot->npages) /* K47: before anything wraps */
		return;
	/* Only what is out of range is dropped, not the batch (K48). */
	if (slot->npages - offset < TIDE_WORD_BITS)
		mask &= tide_mask(0, (unsigned int)(slot->npages - offset));
	tide_lock_acquire(&mmu->mmu_lock);
	if (mmu_slot_flags(slot) & MMU_REGION_LOG)
		mmu_protect_pages(mmu, slot, offset, mask);
	tide_lock_release(&mmu->mmu_lock);
}

/* Every vCPU's ring; under slots_lock. */
static int64_t reset_all(struct tide_mmu *mmu)
{
	/* Relaxed: changed under slots_lock, which we have. */
	uint32_t count =
		atomic_load_explicit(&mmu->vcpu_count, memory_order_relaxed);
	int64_t entries = 0;

	for (uint32_t i = 0; i < count && entries < INT32_MAX; i++) {
		/* Relaxed: as above. */
		struct mmu_vcpu *vcpu = atomic_load_explicit(
			&mmu->vcpu[i], memory_order_relaxed);

		if (vcpu->has_ring)
			entries += tide_ring_reset(
				&vcpu->ring, (uint32_t)(INT32_MAX - entries),
				rearm, mmu);
	}
	return entries;
}

int mmu_reset_dirty_rings(struct tide_mmu *mmu)
{
	int64_t entries;
	int err = 0;

	tide_lock_acquire(&mmu->slots_lock);
	if (!mmu->ring_entries) {
		tide_lock_release(&mmu->slots_lock);
		return -EINVAL;
	}
	entries = reset_all(mmu);
	tide_pause("reset.protected");
	err = entries ? mmu_flush(mmu) : mmu_flush_owed(mmu);
	tide_lock_release(&mmu->slots_lock);
	mmu_check_now_and_then(mmu);
	return err ? err : (int)entries;
}

int mmu_collect_dirty_rings(struct tide_mmu *mmu,
			    void (*found)(void *opaque, uint32_t slot,
					  uint64_t offset),
			    void *opaque)
{
	int entries = 0;

	tide_lock_acquire(&mmu->slots_lock);
	/* Relaxed: changed under slots_lock, which we have. */
	for (uint32_t i = 0, count = atomic_load_explicit(&mmu->vcpu_count,
							  memory_order_relaxed);
	     i < count; i++) {
		/* Relaxed: as above. */
		struct mmu_vcpu *vcpu = atomic_load_explicit(
			&mmu->vcpu[i], memory_order_relaxed);

		if (vcpu->has_ring)
			entries += (int)tide_ring_collect(&vcpu->ring, found,
							  opaque);
	}
	tide_lock_release(&mmu->slots_lock);
	return entries;
}
