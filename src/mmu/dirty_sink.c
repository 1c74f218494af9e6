/* SPDX-License-Identifier: MIT */
/*
 * dirty_sink.c - where a write is written down: the one sink of the MMU
 *
 * A vCPU's write goes to its ring, if there are rings; everybody else's, and
 * everybody's without rings, to the slot's bitmap (mark_page_dirty_in_slot).
 * Only the flag decides; the log is there while the flag is seen.
 */
#include "mmu/mmu_internal.h"

void mmu_mark_dirty(struct tide_mmu *mmu, struct mmu_vcpu *vcpu,
		    struct mmu_slot *slot, uint64_t page)
{
	bool pushed;

	(void)mmu;
	assert(page < slot->npages);
	if (!(mmu_slot_flags(slot) & MMU_REGION_LOG))
		return;
	if (!vcpu || !vcpu->has_ring) {
		if (slot->has_log)
			tide_bitmap_set(&slot->log.dirty, page);
		return;
	}
	pushed = tide_ring_push(&vcpu->ring,
				slot->address_space << 16 | slot->id, page);
	/* Every fault looks at soft_full first, and marks few pages (I12). */
	assert(pushed);
	(void)pushed;
}
