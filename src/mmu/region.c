/* SPDX-License-Identifier: MIT */
/*
 * region.c - KVM_SET_USER_MEMORY_REGION: slots come, go, move, change flags
 *
 * The checks are KVM's, in KVM's order (reference 1.2).  Under slots_lock; what
 * vCPUs see changes in one hold of the mmu_lock: every mapping of a slot that
 * goes or moves is dropped, and every shadow of a guest table that lies in it;
 * a flush; and only if that succeeds, a new table and one more on the
 * generation, so that nobody finds a slot gone that stays.  Then a grace period
 * for those who found the slot in the old table: a fast page fault may be
 * marking in it (K1, K25).
 *
 * Logging on.  The flag first; a grace period, after which nobody acts on its
 * absence (I10); then large leaves are split and every leaf is protected, with
 * vCPUs running; then one flush.  With "initially all set" every bit is set
 * and nothing is protected.  Off: the flag, a grace period, then the log goes
 * and 2 MiB leaves may come back.
 *
 * Synchronisation
 *   slot.flags   a slot's log -> slot.look, by marks under RCU
 */
#include <errno.h>
#include <stdlib.h>

#include "base/rcu.h"
#include "mmu/mmu_internal.h"

#define SLOT_PAGES_MAX ((1ull << 31) - 1)
/* Where a process's memory ends, as access_ok() has it: arm64 maps up to 48
 * bits, and an entry (spte.h) has no more. */
#if defined(__aarch64__)
#define USER_END (1ull << 48)
#else
#define USER_END (1ull << 47)
#endif

static int check_region(const struct mmu_region *region)
{
	const uint64_t in_page = TIDE_PAGE_SIZE - 1;
	uint64_t npages = region->memory_bytes >> TIDE_PAGE_SHIFT;

	if ((region->slot & 0xffff) >= MMU_SLOT_IDS)
		return -EINVAL;
	if (region->flags & ~(MMU_REGION_LOG | MMU_REGION_READONLY))
		return -EINVAL;
	if ((region->memory_bytes & in_page) || (region->gpa & in_page))
		return -EINVAL;
	if ((region->host & in_page) || region->host >= USER_END ||
	    region->memory_bytes > USER_END - region->host)
		return -EINVAL;
	if (region->slot >> 16 >= MMU_ADDRESS_SPACES)
		return -EINVAL;
	if (region->gpa + region->memory_bytes < region->gpa)
		return -EINVAL;
	return npages > SLOT_PAGES_MAX ? -EINVAL : 0;
}

/* Is [gfn, gfn + npages) free but for @except?  Under slots_lock. */
static bool is_free(const struct tide_mmu *mmu, uint32_t address_space,
		    const struct mmu_slot *except, uint64_t gfn,
		    uint64_t npages)
{
	/* Relaxed: replaced under slots_lock, which we have. */
	const struct slot_table *table = atomic_load_explicit(
		&mmu->table[address_space], memory_order_relaxed);

	for (uint32_t i = 0; table && i < table->count; i++) {
		const struct slot_entry *entry = &table->entry[i];

		if (entry->slot != except &&
		    gfn < entry->base_gfn + entry->npages &&
		    entry->base_gfn < gfn + npages)
			return false;
	}
	return true;
}

static void set_flags(struct mmu_slot *slot, uint32_t flags)
{
	/* RELEASE(slot.flags) pairs with ACQUIRE(slot.look): who sees the flag
	 * before the grace period is over sees the log, too. */
	atomic_store_explicit(&slot->flags, flags, memory_order_release);
}

/* The mmu_lock, with no invalidation between its start and its end (I18). */
static void lock_for_slots(struct tide_mmu *mmu) TIDE_ACQUIRES(mmu->mmu_lock)
{
	tide_lock_acquire(&mmu->mmu_lock);
	while (mmu->invalidating)
		tide_lock_wait(&mmu->mmu_lock, &mmu->invalidated);
}

/* Shadows of guest tables that lie in the slot. */
static void zap_tables_in(struct tide_mmu *mmu, const struct mmu_slot *slot)
{
	struct shadow_page *sp = mmu->oldest, *newer;

	for (; sp; sp = newer) {
		newer = sp->newer;
		if (!sp->role.direct &&
		    sp->role.address_space == slot->address_space &&
		    sp->gfn >= slot->base_gfn &&
		    sp->gfn - slot->base_gfn < slot->npages)
			sp_zap(mmu, sp);
	}
}

/* @slot at @gfn, or (NO_GFN) nowhere, as far as vCPUs can see.  If a vCPU
 * cannot be flushed the slot stays where it was, with nothing mapped: no new
 * mapping is made before the mmu_lock is dropped. */
static int replace(struct tide_mmu *mmu, struct mmu_slot *slot, uint64_t gfn)
{
	struct slot_table *table, *unused;
	int err = mmu_table_make(mmu, slot->address_space, slot, gfn, &table);

	if (err)
		return err;
	lock_for_slots(mmu);
	zap_tables_in(mmu, slot);
	mmu_zap_pages(mmu, slot, 0, slot->npages);
	if (slot->ever_mapped || mmu->need_flush)
		err = mmu_flush(mmu);
	mmu->need_flush = false;
	unused = err ? table
		     : mmu_table_publish(mmu, slot->address_space, table);
	if (!err && gfn != NO_GFN)
		slot->base_gfn = gfn;
	tide_lock_release(&mmu->mmu_lock);
	tide_rcu_wait(&mmu->rcu_tag);
	free(unused);
	sp_collect_garbage(mmu, false);
	return err;
}

/* Then those pages would be taken for memory, which they are not. */
static bool is_partly_backed(const struct tide_mmu *mmu,
			     const struct mmu_region *region)
{
	const struct tide_backing *backing = mmu->config.backing;
	uint64_t npages = region->memory_bytes >> TIDE_PAGE_SHIFT;

	return backing && backing_has_any(backing, region->host, npages) &&
	       !backing_has(backing, region->host, npages);
}

static int create(struct tide_mmu *mmu, const struct mmu_region *region)
{
	uint64_t gfn = region->gpa >> TIDE_PAGE_SHIFT;
	struct slot_table *table, *old;
	struct mmu_slot *slot;
	int err;

	if (mmu->total_pages + (region->memory_bytes >> TIDE_PAGE_SHIFT) <
	    mmu->total_pages)
		return -EINVAL;
	if (!is_free(mmu, region->slot >> 16, NULL, gfn,
		     region->memory_bytes >> TIDE_PAGE_SHIFT))
		return -EEXIST;
	if (gfn + (region->memory_bytes >> TIDE_PAGE_SHIFT) > MMU_GFN_END ||
	    is_partly_backed(mmu, region))
		return -EINVAL;
	err = mmu_slot_create(mmu, region, &slot);
	if (err)
		return err;
	if (region->flags & MMU_REGION_LOG)
		err = mmu_slot_log_init(mmu, slot);
	set_flags(slot, region->flags);
	if (!err)
		err = mmu_table_make(mmu, slot->address_space, slot, gfn,
				     &table);
	if (err) {
		mmu_slot_destroy(slot);
		return err;
	}
	mmu->slots[slot->address_space][slot->id] = slot;
	mmu->total_pages += slot->npages;
	lock_for_slots(mmu);
	old = mmu_table_publish(mmu, slot->address_space, table);
	tide_lock_release(&mmu->mmu_lock);
	tide_rcu_wait(&mmu->rcu_tag);
	free(old);
	return 0;
}

static int delete_slot(struct tide_mmu *mmu, struct mmu_slot *slot)
{
	int err = replace(mmu, slot, NO_GFN);

	if (err)
		return err;
	mmu->slots[slot->address_space][slot->id] = NULL;
	mmu->total_pages -= slot->npages;
	mmu_slot_destroy(slot);
	return 0;
}

static void drop_log(struct mmu_slot *slot)
{
	if (slot->has_log)
		tide_dirty_log_fini(&slot->log);
	slot->has_log = false;
}

static int log_off(struct tide_mmu *mmu, struct mmu_slot *slot, uint32_t flags)
{
	lock_for_slots(mmu);
	set_flags(slot, flags);
	tide_lock_release(&mmu->mmu_lock);
	tide_rcu_wait(&mmu->rcu_tag);
	drop_log(slot);
	tide_lock_acquire(&mmu->mmu_lock);
	mmu_recover_large(mmu, slot);
	/* If it fails it is owed; old translations lead to the same memory. */
	(void)mmu_unlock_flush(mmu);
	sp_collect_garbage(mmu, false);
	return 0;
}

static int log_on(struct tide_mmu *mmu, struct mmu_slot *slot, uint32_t flags)
{
	int err = mmu_slot_log_init(mmu, slot);
	bool mapped;

	if (err)
		return err;
	lock_for_slots(mmu);
	set_flags(slot, flags);
	tide_lock_release(&mmu->mmu_lock);
	tide_rcu_wait(&mmu->rcu_tag);
	/* The bits are set already, so that a write before the first clear
	 * needs no catching.  Rings have no bits (K50). */
	if ((mmu->manual & MMU_MANUAL_INITIALLY_SET) && slot->has_log)
		return 0;
	if (flags & MMU_REGION_READONLY)
		return 0;
	tide_lock_acquire(&mmu->mmu_lock);
	mmu_protect_slot(mmu, slot);
	mapped = slot->ever_mapped;
	tide_lock_release(&mmu->mmu_lock);
	/* F1: unconditional.  But a slot that is new can be added, and taken
	 * away again, whatever some vCPU has of others. */
	err = mapped ? mmu_flush(mmu) : 0;
	if (err)
		(void)log_off(mmu, slot, flags & ~MMU_REGION_LOG);
	return err;
}

static int change_flags(struct tide_mmu *mmu, struct mmu_slot *slot,
			uint32_t flags)
{
	if ((flags ^ mmu_slot_flags(slot)) & MMU_REGION_LOG)
		return flags & MMU_REGION_LOG ? log_on(mmu, slot, flags)
					      : log_off(mmu, slot, flags);
	return 0;
}

static int move(struct tide_mmu *mmu, struct mmu_slot *slot,
		const struct mmu_region *region)
{
	uint64_t gfn = region->gpa >> TIDE_PAGE_SHIFT;
	uint32_t old = mmu_slot_flags(slot);
	int err;

	if (!is_free(mmu, slot->address_space, slot, gfn, slot->npages))
		return -EEXIST;
	if (gfn + slot->npages > MMU_GFN_END)
		return -EINVAL;
	/* Logging comes first and goes last: only to turn it on can fail. */
	err = change_flags(mmu, slot, old | region->flags);
	if (err)
		return err;
	err = replace(mmu, slot, gfn);
	(void)change_flags(mmu, slot, err ? old : region->flags);
	return err;
}

static int modify(struct tide_mmu *mmu, struct mmu_slot *slot,
		  const struct mmu_region *region)
{
	if (region->host != slot->host ||
	    region->memory_bytes >> TIDE_PAGE_SHIFT != slot->npages ||
	    ((region->flags ^ mmu_slot_flags(slot)) & MMU_REGION_READONLY))
		return -EINVAL;
	if (region->gpa >> TIDE_PAGE_SHIFT != slot->base_gfn)
		return move(mmu, slot, region);
	return change_flags(mmu, slot, region->flags);
}

int mmu_set_region(struct tide_mmu *mmu, const struct mmu_region *region)
{
	struct mmu_slot *slot;
	int err = check_region(region);

	if (err)
		return err;
	tide_lock_acquire(&mmu->slots_lock);
	slot = mmu->slots[region->slot >> 16][region->slot & 0xffff];
	if (!region->memory_bytes)
		err = slot ? delete_slot(mmu, slot) : -EINVAL;
	else if (!slot)
		err = create(mmu, region);
	else
		err = modify(mmu, slot, region);
	tide_lock_release(&mmu->slots_lock);
	mmu_check_now_and_then(mmu);
	return err;
}
