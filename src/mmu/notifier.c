/* SPDX-License-Identifier: MIT */
/*
 * notifier.c - the host takes a page's frame away
 *
 * As KVM's mmu notifiers: start drops the mappings of a range of host
 * addresses in every slot, flushes before the mmu_lock is dropped (F5), and
 * counts; end counts back and moves the sequence number on.  A fault that
 * resolved its page before, and any that would map inside the range between
 * start and end, begins again (I17).  Slots do not change in between (I18).
 *
 * Dropping a mapping neither marks the page nor clears its mark: its contents
 * stay as they are for the guest.  A page that is discarded has other contents:
 * what it was as a guest's table is forgotten, too.
 */
#include "mmu/mmu_internal.h"

/* The part of the slot's pages that [host, host + npages pages) covers. */
static bool overlap(const struct mmu_slot *slot, uint64_t host, uint64_t npages,
		    uint64_t *first, uint64_t *count)
{
	uint64_t end = host + npages * TIDE_PAGE_SIZE;
	uint64_t slot_end = slot->host + slot->npages * TIDE_PAGE_SIZE;

	if (end <= slot->host || host >= slot_end)
		return false;
	if (host < slot->host)
		host = slot->host;
	if (end > slot_end)
		end = slot_end;
	*first = (host - slot->host) / TIDE_PAGE_SIZE;
	*count = (end - host) / TIDE_PAGE_SIZE;
	return true;
}

/* Every slot with one of these pages; under the mmu_lock. */
static void
for_each_overlap(struct tide_mmu *mmu, uint64_t host, uint64_t npages,
		 void (*act)(struct tide_mmu *mmu, struct mmu_slot *slot,
			     uint64_t first, uint64_t count))
{
	for (uint32_t as = 0; as < MMU_ADDRESS_SPACES; as++) {
		/* Relaxed: replaced under the mmu_lock, which we have. */
		const struct slot_table *table = atomic_load_explicit(
			&mmu->table[as], memory_order_relaxed);
		uint64_t first, count;

		for (uint32_t i = 0; table && i < table->count; i++) {
			struct mmu_slot *slot = table->entry[i].slot;

			if (slot->backed &&
			    overlap(slot, host, npages, &first, &count))
				act(mmu, slot, first, count);
		}
	}
}

static int invalidate_start(void *opaque, uint64_t host, uint64_t npages)
{
	struct tide_mmu *mmu = opaque;
	uint64_t end = host + npages * TIDE_PAGE_SIZE;

	tide_lock_acquire(&mmu->mmu_lock);
	if (!mmu->invalidating++) {
		mmu->invalidate_first = host;
		mmu->invalidate_end = end;
	} else {
		if (host < mmu->invalidate_first)
			mmu->invalidate_first = host;
		if (end > mmu->invalidate_end)
			mmu->invalidate_end = end;
	}
	for_each_overlap(mmu, host, npages, mmu_zap_pages);
	/* What was dropped before, and could not be flushed: no mapping is
	 * left that would say so, but a vCPU may use it still. */
	if (mmu_is_flush_owed(mmu))
		mmu->need_flush = true;
	return mmu_unlock_flush(mmu);
}

static void invalidate_end(void *opaque, uint64_t host, uint64_t npages)
{
	struct tide_mmu *mmu = opaque;

	(void)host;
	(void)npages;
	tide_lock_acquire(&mmu->mmu_lock);
	assert(mmu->invalidating);
	/* RELEASE(invalidate.seq) pairs with ACQUIRE(fault.seq) and
	 * ACQUIRE(emulate.seq) */
	(void)atomic_fetch_add_explicit(&mmu->invalidate_seq, 1,
					memory_order_release);
	if (!--mmu->invalidating)
		(void)pthread_cond_broadcast(&mmu->invalidated);
	tide_lock_release(&mmu->mmu_lock);
}

static void follow_and_mark(struct tide_mmu *mmu, struct mmu_slot *slot,
			    uint64_t first, uint64_t count)
{
	for (uint64_t page = first; page < first + count; page++) {
		if (slot->track[page])
			sp_guest_wrote(mmu, slot->address_space,
				       slot->base_gfn + page, 0,
				       TIDE_PAGE_SIZE);
		mmu_mark_dirty(mmu, NULL, slot, page);
	}
}

/* Written, then followed, then marked, as by a device.  A flush that fails is
 * owed, as in emulate.c. */
static void written(void *opaque, uint64_t host, uint64_t npages)
{
	struct tide_mmu *mmu = opaque;

	tide_lock_acquire(&mmu->mmu_lock);
	for_each_overlap(mmu, host, npages, follow_and_mark);
	(void)mmu_unlock_flush(mmu);
}

const struct backing_notifier mmu_notifier = {
	.invalidate_start = invalidate_start,
	.invalidate_end = invalidate_end,
	.written = written,
};

bool mmu_invalidate_retry(const struct tide_mmu *mmu, uint64_t seq,
			  uint64_t host)
{
	tide_lock_assert_held(&mmu->mmu_lock);
	if (mmu->invalidating && host >= mmu->invalidate_first &&
	    host < mmu->invalidate_end)
		return true;
	/* Relaxed: changed under the mmu_lock, which we have. */
	return atomic_load_explicit(&mmu->invalidate_seq,
				    memory_order_relaxed) != seq;
}
