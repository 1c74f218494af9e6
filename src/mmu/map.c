/* SPDX-License-Identifier: MIT */
/*
 * map.c - make an entry, mark before it is writable, and forget one
 *
 * What a new leaf may do is worked out from what the host allows, what the
 * page is (a guest table is never writable), and whether writes are logged: a
 * page that was only read is mapped without W while its slot is logged, so
 * that nobody is told of a write that was none (as on arm64; x86 marks it).
 */
#include <errno.h>

#include "mmu/mmu_internal.h"

bool mmu_large_allowed(const struct tide_mmu *mmu, const struct mmu_slot *slot,
		       uint64_t gfn)
{
	uint64_t first = gfn & ~(uint64_t)(LARGE_PAGES - 1);

	return !(mmu->config.flags & TIDE_MMU_NO_LARGE_PAGES) &&
	       !slot->backed && !(mmu_slot_flags(slot) & MMU_REGION_LOG) &&
	       first >= slot->base_gfn &&
	       first + LARGE_PAGES <= slot->base_gfn + slot->npages &&
	       !mmu_block_of(slot, gfn)->tracked;
}

static uint64_t make_leaf(const struct mmu_map *map, uint32_t level)
{
	uint32_t flags = mmu_slot_flags(map->slot);
	uint64_t spte = SPTE_PRESENT | SPTE_A | map->access |
			map->page.pfn << TIDE_PAGE_SHIFT;
	uint64_t page = map->gfn - map->slot->base_gfn;

	if (level == LARGE_LEVEL)
		spte |= SPTE_LARGE;
	if (flags & MMU_REGION_READONLY || !map->page.writable)
		return spte;
	spte |= SPTE_HOST_WRITABLE;
	if (map->slot->track[page] || !map->guest_dirty)
		return spte;
	spte |= SPTE_MMU_WRITABLE;
	if (map->write)
		spte |= SPTE_W | SPTE_D;
	else if (!(flags & MMU_REGION_LOG))
		spte |= SPTE_W;
	return spte;
}

static struct rmap_head *rmap_of(struct mmu_slot *slot, uint64_t gfn,
				 uint32_t level)
{
	return level == LARGE_LEVEL ? &mmu_block_of(slot, gfn)->large
				    : &slot->rmap[gfn - slot->base_gfn];
}

void mmu_leaf_dropped(struct tide_mmu *mmu, struct shadow_page *sp,
		      uint32_t index, uint64_t old)
{
	uint32_t level = sp->role.level;
	uint64_t gfn = sp_leaf_gfn(sp, index), base;
	struct mmu_slot *slot =
		mmu_slot_at(mmu, sp->role.address_space, gfn, &base);

	/* A slot that leaves or moves has its leaves dropped before. */
	assert(slot && base == slot->base_gfn);
	assert(spte_leaf_is_valid(old)); /* I6 */
	rmap_remove(mmu, rmap_of(slot, gfn, level), &sp->spt[index]);
	if (level == 1) {
		assert(mmu_block_of(slot, gfn)->mapped);
		mmu_block_of(slot, gfn)->mapped--;
	}
	if (!slot->backed)
		return;
	if (old & SPTE_D)
		backing_page_dirty(mmu->config.backing, spte_pfn(old));
	if (old & SPTE_A)
		backing_page_accessed(mmu->config.backing, spte_pfn(old));
}

/* The same page by the same frame: more rights, or fewer. */
static void change_leaf(struct tide_mmu *mmu, spte_t *sptep, uint64_t spte)
{
	uint64_t old = spte_read(sptep), changed;

	uint64_t keep = SPTE_A | (spte & SPTE_HOST_WRITABLE ? SPTE_D : 0) |
			(spte & SPTE_MMU_WRITABLE ? SPTE_W : 0);

	/* A, D and W may come meanwhile, and stay; a claim does not. */
	do {
		changed = spte | (old & keep);
		/* RELEASE(spte.change) pairs with ACQUIRE(spte.read): who
		 * writes by it comes after the mark.  Relaxed on failure: only
		 * the value is looked at. */
	} while (!atomic_compare_exchange_weak_explicit(sptep, &old, changed,
							memory_order_release,
							memory_order_relaxed));
	/* I7, K28 */
	if ((old & SPTE_MMU_WRITABLE) && !(changed & SPTE_MMU_WRITABLE))
		mmu->need_flush = true;
	if ((old & SPTE_ACCESS) & ~(changed & SPTE_ACCESS))
		mmu->need_flush = true;
}

int mmu_map_leaf(struct tide_mmu *mmu, const struct mmu_map *map,
		 struct shadow_page *sp, uint32_t index)
{
	uint32_t level = sp->role.level;
	uint64_t spte = make_leaf(map, level), old;
	spte_t *sptep = &sp->spt[index];
	int err;

	tide_lock_assert_held(&mmu->mmu_lock);
	assert(spte_leaf_is_valid(spte)); /* I6 */
	if ((spte & SPTE_W) && (mmu_slot_flags(map->slot) & MMU_REGION_LOG)) {
		assert(level == 1); /* I2 */
		/* Before it is writable (thread 1). */
		mmu_mark_dirty(mmu, map->vcpu, map->slot,
			       map->gfn - map->slot->base_gfn);
	}
	old = spte_read(sptep);
	if (spte_present(old) && spte_is_leaf(old, level) &&
	    spte_address(old) == spte_address(spte) &&
	    sp_leaf_gfn(sp, index) == map->gfn) {
		change_leaf(mmu, sptep, spte);
		return 0;
	}
	/* I9: from one frame to another only by way of nothing. */
	if (spte_present(old))
		sp_drop_entry(mmu, sp, index);
	if (!sp->role.direct) {
		/* RELEASE(gfns.set) pairs with ACQUIRE(gfns.get) */
		atomic_store_explicit(&sp->gfns[index], map->gfn,
				      memory_order_release);
	}
	map->slot->ever_mapped = true;
	err = rmap_add(mmu, rmap_of(map->slot, map->gfn, level), sptep);
	if (err)
		return err;
	if (level == 1)
		mmu_block_of(map->slot, map->gfn)->mapped++;
	spte_publish(sptep, spte);
	return 0;
}

int mmu_map_direct(struct tide_mmu *mmu, const struct mmu_map *map,
		   struct shadow_page *sp)
{
	struct mmu_map large = *map;
	struct sp_role role = sp->role;
	int err;

	role.direct = true;
	while (sp->role.level > 1) {
		uint32_t level = sp->role.level;
		uint32_t index =
			guest_index(map->gfn << TIDE_PAGE_SHIFT, level);
		uint64_t spte = spte_read(&sp->spt[index]);
		uint64_t mask = guest_leaf_pages(level) - 1;
		struct shadow_page *child;

		assert(sp->role.direct);
		if (level == LARGE_LEVEL &&
		    mmu_large_allowed(mmu, map->slot, map->gfn) &&
		    (!spte_present(spte) || (spte & SPTE_LARGE))) {
			large.gfn = map->gfn & ~mask;
			large.page.pfn -= map->gfn & mask;
			return mmu_map_leaf(mmu, &large, sp, index);
		}
		if (level == LARGE_LEVEL && (spte & SPTE_LARGE)) {
			mmu_split_block(mmu, map->slot,
					mmu_block_of(map->slot, map->gfn));
			spte = spte_read(&sp->spt[index]);
		}
		if (!spte_present(spte)) {
			role.level = (uint8_t)(level - 1);
			err = sp_get(mmu, map->gfn & ~mask, role, &child);
			if (!err)
				err = sp_link(mmu, &sp->spt[index], child);
			if (err)
				return err;
			spte = spte_read(&sp->spt[index]);
		}
		sp = sp_of((spte_t *)(uintptr_t)spte_address(spte));
	}
	return mmu_map_leaf(mmu, map, sp,
			    guest_index(map->gfn << TIDE_PAGE_SHIFT, 1));
}
