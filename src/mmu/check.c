/* SPDX-License-Identifier: MIT */
/*
 * check.c - assert the invariants while everything runs
 *
 * Holds slots_lock and the mmu_lock, so that no GET, CLEAR or change of slots
 * is half done; vCPUs run, and fast page faults with them.  So what is seen
 * holds at every moment, not only at rest.  By the numbers of the reference,
 * section 2.13:
 *
 *   I1   W in a logged slot => the page's bit is set (bitmaps; a ring's
 *        entries may be with the harvester).  Stronger than KVM's, because a
 *        fast page fault marks first.
 *   I2   no large leaf is writable in a logged slot, but those whose 512 bits
 *        are still set since logging began
 *   I6   W => MMU_WRITABLE => HOST_WRITABLE
 *   I7   nobody writes to a shadowed table: not MMU_WRITABLE
 *   I9   an entry's frame is its page's
 *   I12  a ring is not fuller than it can be
 *   I16  no mapping of what is in no slot
 *
 * I3 to I5, I8, I10, I11, I13 to I15, I17 and I18 are asserted, or made
 * impossible, where they could be broken; I19 is the oracles'.
 */
#include "mmu/mmu_internal.h"

static bool list_has(const struct rmap_head *head, const spte_t *sptep)
{
	struct rmap_cursor cursor;

	for (const spte_t *at = rmap_first(head, &cursor); at;
	     at = rmap_next(&cursor)) {
		if (at == sptep)
			return true;
	}
	return false;
}

static void check_written(const struct mmu_slot *slot, uint64_t page,
			  uint64_t npages)
{
	if (!slot->has_log)
		return;
	for (uint64_t i = 0; i < npages; i++)
		assert(tide_bitmap_test(&slot->log.dirty, page + i));
}

static void check_leaf(struct tide_mmu *mmu, const struct shadow_page *sp,
		       uint32_t index, uint64_t spte)
{
	uint64_t gfn = sp_leaf_gfn(sp, index), base, page;
	bool large = sp->role.level > 1;
	struct mmu_slot *slot =
		mmu_slot_at(mmu, sp->role.address_space, gfn, &base);
	uint32_t flags;

	assert(spte_leaf_is_valid(spte));	/* I6 */
	assert(slot && base == slot->base_gfn); /* I16 */
	assert(!(spte & SPTE_LARGE) == !large);
	page = gfn - base;
	flags = mmu_slot_flags(slot);
	assert(list_has(large ? &mmu_block_of(slot, gfn)->large
			      : &slot->rmap[page],
			&sp->spt[index]));
	assert(slot->backed ||
	       spte_address(spte) == slot->host + page * TIDE_PAGE_SIZE);
	assert(!(flags & MMU_REGION_READONLY) || !(spte & SPTE_HOST_WRITABLE));
	assert(!slot->track[page] || !(spte & SPTE_MMU_WRITABLE)); /* I7 */
	assert(!large || !mmu_block_of(slot, gfn)->tracked);
	if (!(spte & SPTE_W) || !(flags & MMU_REGION_LOG))
		return;
	assert(!large || slot->has_log); /* I2 */
	if (!mmu->ring_entries || large)
		check_written(slot, page, large ? LARGE_PAGES : 1); /* I1 */
}

static void check_entry(struct tide_mmu *mmu, struct shadow_page *sp,
			uint32_t index)
{
	uint64_t spte = spte_read(&sp->spt[index]);
	struct shadow_page *child;

	if (!spte_present(spte)) {
		assert(!spte);
		return;
	}
	if (spte_is_leaf(spte, sp->role.level)) {
		check_leaf(mmu, sp, index, spte);
		return;
	}
	child = sp_of((spte_t *)(uintptr_t)spte_address(spte));
	assert(!child->invalid);
	assert(child->role.level == sp->role.level - 1);
	assert((spte & ~SPTE_ADDRESS) == SPTE_PRESENT);
	assert(list_has(&child->parents, &sp->spt[index]));
}

static void check_rings(struct tide_mmu *mmu)
{
	/* Relaxed: changed under slots_lock, which we have. */
	uint32_t count =
		atomic_load_explicit(&mmu->vcpu_count, memory_order_relaxed);

	for (uint32_t i = 0; i < count; i++) {
		/* Relaxed: as above. */
		const struct mmu_vcpu *vcpu = atomic_load_explicit(
			&mmu->vcpu[i], memory_order_relaxed);

		assert(!vcpu->has_ring ||
		       tide_ring_used(&vcpu->ring) <= vcpu->ring.size);
	}
}

void mmu_check(struct tide_mmu *mmu)
{
	uint64_t pages = 0;

	tide_lock_acquire(&mmu->slots_lock);
	tide_lock_acquire(&mmu->mmu_lock);
	for (struct shadow_page *sp = mmu->oldest; sp; sp = sp->newer) {
		assert(!sp->invalid);
		for (uint32_t i = 0; i < SPT_ENTRIES; i++)
			check_entry(mmu, sp, i);
		pages++;
	}
	assert(pages + mmu->garbage_count <= mmu->table_pages);
	check_rings(mmu);
	tide_lock_release(&mmu->mmu_lock);
	tide_lock_release(&mmu->slots_lock);
}

#ifdef TIDE_CHECKS
#define CALLS 32u

void mmu_check_now_and_then(struct tide_mmu *mmu)
{
	/* Relaxed: any of them will do. */
	if (atomic_fetch_add_explicit(&mmu->calls, 1, memory_order_relaxed) %
		    CALLS ==
	    CALLS - 1)
		mmu_check(mmu);
}
#endif
