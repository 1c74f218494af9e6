/* SPDX-License-Identifier: MIT */
/*
 * protect.c - take the right to write away, split large leaves, drop leaves
 *
 * For dirty logging W goes and MMU_WRITABLE stays: the fast page fault may
 * give W back.  A claim (fast_fault.c) goes as well, also where W is not set:
 * whoever claimed has marked the page before the bit was taken, or is about
 * to, and must mark it again.  No flush here; the caller's one flush follows
 * (reference 2.9, F2).
 *
 * For a guest table MMU_WRITABLE goes too, and a flush is needed if it was
 * set, whatever W was: somebody may have taken W away for dirty logging and
 * not have flushed yet (thread 2, case 2; K4, K9).
 */
#include "base/pause_point.h"
#include "base/rcu.h"
#include "mmu/mmu_internal.h"

#ifndef YIELD_BLOCKS /* a checking build has fewer */
#define YIELD_BLOCKS 32u
#endif

static void protect_for_log(const struct rmap_head *head)
{
	struct rmap_cursor cursor;

	for (spte_t *sptep = rmap_first(head, &cursor); sptep;
	     sptep = rmap_next(&cursor)) {
		/* Not a plain store, even if W is clear: a fast page fault or
		 * a TLB fill may be changing the entry (I8). */
		if (!(spte_read(sptep) & (SPTE_W | SPTE_CLAIM)))
			continue;
		tide_pause("protect.page");
		(void)spte_remove_bits(sptep, SPTE_W | SPTE_CLAIM);
	}
}

/* The 512 leaves that take the place of a large one.  They translate as it
 * did, so that nothing has to be flushed for it. */
static int split_leaf(struct tide_mmu *mmu, struct mmu_slot *slot,
		      spte_t *sptep)
{
	struct shadow_page *parent = sp_of(sptep), *child;
	uint64_t gfn = sp_leaf_gfn(parent, sp_index(sptep));
	uint64_t old = spte_read(sptep);
	struct sp_role role = parent->role;
	int err;

	role.level = 1;
	role.direct = true;
	/* As map_guest_large() has it; in a read-only slot it is all one. */
	if (!parent->role.direct)
		role.clean = (old & SPTE_HOST_WRITABLE) &&
			     !(old & SPTE_MMU_WRITABLE);
	role.access = (uint16_t)(old & SPTE_ACCESS);
	err = sp_get(mmu, gfn, role, &child);
	if (err)
		return err;
	/* W, A and D may come until the exchange; they are copied after it,
	 * and until then the page has none of its own. */
	old = spte_exchange(sptep, 0);
	mmu_leaf_dropped(mmu, parent, sp_index(sptep), old);
	for (uint32_t i = 0; i < SPT_ENTRIES; i++) {
		uint64_t leaf = (old & ~(SPTE_LARGE | SPTE_CLAIM)) +
				(uint64_t)i * TIDE_PAGE_SIZE;

		if (spte_present(spte_read(&child->spt[i])))
			continue;
		err = rmap_add(mmu, &slot->rmap[gfn + i - slot->base_gfn],
			       &child->spt[i]);
		if (err)
			return err;
		mmu_block_of(slot, gfn)->mapped++;
		spte_publish(&child->spt[i], leaf);
	}
	mmu_count(&mmu->large_splits);
	return sp_link(mmu, sptep, child);
}

void mmu_split_block(struct tide_mmu *mmu, struct mmu_slot *slot,
		     struct mmu_block *block)
{
	struct rmap_cursor cursor;
	spte_t *sptep;

	tide_lock_assert_held(&mmu->mmu_lock);
	while ((sptep = rmap_first(&block->large, &cursor))) {
		if (!split_leaf(mmu, slot, sptep))
			continue;
		/* Without memory: what is not mapped is caught, too, when no
		 * TLB has the large leaf any more. */
		if (spte_present(spte_read(sptep)))
			sp_drop_entry(mmu, sp_of(sptep), sp_index(sptep));
		mmu->need_flush = true;
	}
}

/* The bits of @mask for pages beyond the block of @page. */
static uint64_t after_block(const struct mmu_slot *slot, uint64_t first_page,
			    uint64_t page, uint64_t mask)
{
	uint64_t next =
		((slot->base_gfn + page) / LARGE_PAGES + 1) * LARGE_PAGES -
		slot->base_gfn - first_page;

	return next < 64 ? mask & ~0ull << next : 0;
}

void mmu_protect_pages(struct tide_mmu *mmu, struct mmu_slot *slot,
		       uint64_t first_page, uint64_t mask)
{
	tide_lock_assert_held(&mmu->mmu_lock);
	while (mask) {
		uint64_t page = first_page + tide_lowest(mask);
		struct mmu_block *block =
			mmu_block_of(slot, slot->base_gfn + page);

		/* Each page asks for its own block: 64 pages may lie in two
		 * (K15). */
		if (block->large.value)
			mmu_split_block(mmu, slot, block);
		if (!block->mapped) {
			/* A sparse slot is not walked page by page. */
			mask = after_block(slot, first_page, page, mask);
			continue;
		}
		protect_for_log(&slot->rmap[page]);
		mask &= mask - 1;
	}
	tide_pause("protect.done");
}

static bool protect_for_table(const struct rmap_head *head)
{
	struct rmap_cursor cursor;
	bool flush = false;

	for (spte_t *sptep = rmap_first(head, &cursor); sptep;
	     sptep = rmap_next(&cursor)) {
		uint64_t old = spte_remove_bits(
			sptep, SPTE_W | SPTE_MMU_WRITABLE | SPTE_CLAIM);

		flush |= (old & SPTE_MMU_WRITABLE) != 0;
	}
	return flush;
}

void mmu_protect_table(struct tide_mmu *mmu, struct mmu_slot *slot,
		       uint64_t gfn)
{
	struct mmu_block *block = mmu_block_of(slot, gfn);

	tide_lock_assert_held(&mmu->mmu_lock);
	if (block->large.value)
		mmu_split_block(mmu, slot, block);
	if (protect_for_table(&slot->rmap[gfn - slot->base_gfn]))
		mmu->need_flush = true;
}

/* The pages of block @n that are the slot's: [*first, *end), from 0. */
static void block_pages(const struct mmu_slot *slot, uint64_t n,
			uint64_t *first, uint64_t *end)
{
	uint64_t gfn = (slot->base_gfn / LARGE_PAGES + n) * LARGE_PAGES;

	*first = gfn > slot->base_gfn ? gfn - slot->base_gfn : 0;
	*end = gfn + LARGE_PAGES - slot->base_gfn;
	if (*end > slot->npages)
		*end = slot->npages;
}

/* Let others have the mmu_lock; slots_lock keeps the slot as it is. */
static void yield(struct tide_mmu *mmu) TIDE_MUST_HOLD(mmu->mmu_lock)
{
	tide_lock_release(&mmu->mmu_lock);
	tide_lock_acquire(&mmu->mmu_lock);
}

void mmu_protect_slot(struct tide_mmu *mmu, struct mmu_slot *slot)
{
	uint64_t first, end;

	tide_lock_assert_held(&mmu->slots_lock);
	for (uint64_t n = 0; n < mmu_slot_block_count(slot); n++) {
		struct mmu_block *block = &slot->blocks[n];

		if (block->large.value)
			mmu_split_block(mmu, slot, block);
		if (!block->mapped)
			continue;
		block_pages(slot, n, &first, &end);
		for (; first < end; first++)
			protect_for_log(&slot->rmap[first]);
		if (n % YIELD_BLOCKS == YIELD_BLOCKS - 1)
			yield(mmu);
	}
}

static void zap_list(struct tide_mmu *mmu, struct rmap_head *head)
{
	struct rmap_cursor cursor;
	spte_t *sptep;

	while ((sptep = rmap_first(head, &cursor)))
		sp_drop_entry(mmu, sp_of(sptep), sp_index(sptep));
}

void mmu_zap_pages(struct tide_mmu *mmu, struct mmu_slot *slot, uint64_t first,
		   uint64_t npages)
{
	uint64_t last = first + npages, begin = first, end;

	tide_lock_assert_held(&mmu->mmu_lock);
	assert(last <= slot->npages);
	for (; begin < last; begin = end) {
		struct mmu_block *block =
			mmu_block_of(slot, slot->base_gfn + begin);

		block_pages(slot, (uint64_t)(block - slot->blocks), &begin,
			    &end);
		zap_list(mmu, &block->large);
		if (begin < first)
			begin = first;
		if (end > last)
			end = last;
		for (; block->mapped && begin < end; begin++)
			zap_list(mmu, &slot->rmap[begin]);
	}
}

/* The direct table that maps the block, if any: a large leaf can take its
 * place once it is gone. */
static void recover_block(struct tide_mmu *mmu, struct mmu_slot *slot,
			  uint64_t first, uint64_t end)
{
	struct rmap_cursor cursor;

	for (; first < end; first++) {
		spte_t *sptep = rmap_first(&slot->rmap[first], &cursor);

		while (sptep) {
			struct shadow_page *sp = sp_of(sptep);

			if (sp->role.direct) {
				sp_zap(mmu, sp);
				sptep = rmap_first(&slot->rmap[first], &cursor);
			} else {
				sptep = rmap_next(&cursor);
			}
		}
	}
}

void mmu_recover_large(struct tide_mmu *mmu, struct mmu_slot *slot)
{
	tide_lock_assert_held(&mmu->slots_lock);
	for (uint64_t n = 0; n < mmu_slot_block_count(slot); n++) {
		struct mmu_block *block = &slot->blocks[n];
		uint64_t first, end;

		block_pages(slot, n, &first, &end);
		if (!block->mapped ||
		    !mmu_large_allowed(mmu, slot, slot->base_gfn + first))
			continue;
		recover_block(mmu, slot, first, end);
		if (n % YIELD_BLOCKS == YIELD_BLOCKS - 1) {
			/* Others could rely on what was dropped (F10). */
			(void)mmu_unlock_flush(mmu);
			tide_lock_acquire(&mmu->mmu_lock);
		}
	}
}
