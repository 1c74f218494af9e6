/* SPDX-License-Identifier: MIT */
/*
 * shadow_page.c - the pages of the shadow page table
 *
 * Theory of operation
 * -------------------
 * A direct page maps a run of gfns; an indirect one shadows one guest table,
 * and that table is tracked from then on: nobody can write to it but through
 * us (emulate.c), so the shadow is never behind the guest's table and there is
 * nothing to sync.  Pages are found again by gfn and role, in a hash.
 *
 * Tables live in arenas of 2 MiB, so that an entry's address leads to its
 * page's description by arithmetic.
 *
 * A page that is zapped leaves the hash, its parents and its entries at once.
 * Walkers without a lock may still be inside, so its memory is reused only
 * after a grace period (sp_collect_garbage), and never while it is a vCPU's
 * root.
 *
 * Write flooding.  A guest that stops using a page as a table goes on writing
 * to it, and each write would be emulated for ever.  After FLOOD_MAX writes
 * without a walk through it the shadow is given up, and the page is writable
 * again (KVM's detect_write_flooding, which stops at 3; there an emulated write
 * is a VM exit, here a new shadow costs as much as some 50 of them).
 *
 * Synchronisation
 *   gfns.set    the gfn of a leaf, before the leaf -> gfns.get.  The leaf is
 *               published after it and read before it.
 *   track.look    in host_page.c, a device's data -> track.count
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/pause_point.h"
#include "base/rcu.h"
#include "mmu/mmu_internal.h"

#define ARENA_BYTES (2ull << 20)
#define ARENA_TABLES (ARENA_BYTES / TIDE_PAGE_SIZE - 1)
#define FLOOD_MAX 64u
#define GARBAGE_MIN 128u

/* The first page of an arena is this, the others are tables. */
struct spt_arena {
	struct spt_arena *next;
	spte_t *free; /* the first word of a free table is the next one */
	uint32_t used;
	struct shadow_page *page[ARENA_TABLES + 1 - 4];
};

/* The description of table n is in page[n - 1]. */
#define ARENA_USABLE (ARENA_TABLES - 4)

_Static_assert(sizeof(struct spt_arena) <= TIDE_PAGE_SIZE, "in one page");

static struct spt_arena *arena_of(const spte_t *sptep)
{
	return (struct spt_arena *)((uintptr_t)sptep & ~(ARENA_BYTES - 1));
}

static uint64_t table_number(const spte_t *sptep)
{
	return ((uintptr_t)sptep & (ARENA_BYTES - 1)) >> TIDE_PAGE_SHIFT;
}

struct shadow_page *sp_of(const spte_t *sptep)
{
	return arena_of(sptep)->page[table_number(sptep) - 1];
}

static struct spt_arena *arena_create(void)
{
	/* Twice as much, to cut an aligned one out of it. */
	uint8_t *memory =
		mmap(NULL, 2 * ARENA_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *begin;

	if (memory == MAP_FAILED)
		return NULL;
	begin = (uint8_t *)(((uintptr_t)memory + ARENA_BYTES - 1) &
			    ~(ARENA_BYTES - 1));
	if (begin != memory)
		(void)munmap(memory, (size_t)(begin - memory));
	if (begin + ARENA_BYTES != memory + 2 * ARENA_BYTES)
		(void)munmap(begin + ARENA_BYTES,
			     (size_t)(memory + ARENA_BYTES - begin));
	return (struct spt_arena *)(void *)begin;
}

static spte_t *table_take(struct spt_arena *arena)
{
	spte_t *spt = arena->free;

	if (spt) {
		/* Relaxed: a free table is nobody's but ours. */
		arena->free = (spte_t *)(uintptr_t)atomic_load_explicit(
			&spt[0], memory_order_relaxed);
		/* Relaxed: as above. */
		atomic_store_explicit(&spt[0], 0, memory_order_relaxed);
		return spt;
	}
	if (arena->used == ARENA_USABLE)
		return NULL;
	arena->used++;
	return (spte_t *)((uintptr_t)arena +
			  (uint64_t)arena->used * TIDE_PAGE_SIZE);
}

/* All its entries are 0. */
static spte_t *table_alloc(struct tide_mmu *mmu)
{
	struct spt_arena *arena;
	spte_t *spt;

	for (arena = mmu->arenas; arena; arena = arena->next) {
		spt = table_take(arena);
		if (spt)
			return spt;
	}
	arena = arena_create();
	if (!arena)
		return NULL;
	arena->next = mmu->arenas;
	mmu->arenas = arena;
	return table_take(arena);
}

static void table_free(spte_t *spt)
{
	struct spt_arena *arena = arena_of(spt);

	/* Relaxed: past the grace period, under the mmu_lock. */
	atomic_store_explicit(&spt[0], (uintptr_t)arena->free,
			      memory_order_relaxed);
	arena->free = spt;
}

static uint32_t bucket_of(uint64_t gfn)
{
	return (uint32_t)((gfn * 0x9e3779b97f4a7c15ull) >> 50) % SP_BUCKETS;
}

static bool same_role(struct sp_role a, struct sp_role b)
{
	return a.level == b.level && a.direct == b.direct &&
	       a.address_space == b.address_space && a.mode == b.mode &&
	       a.nx == b.nx && a.clean == b.clean && a.access == b.access;
}

uint64_t sp_leaf_gfn(const struct shadow_page *sp, uint32_t index)
{
	if (sp->role.direct)
		return sp->gfn + index * guest_leaf_pages(sp->role.level);
	/* ACQUIRE(gfns.get) pairs with RELEASE(gfns.set) */
	return atomic_load_explicit(&sp->gfns[index], memory_order_acquire);
}

/* The guest table of @sp is tracked, or no longer. */
static void track(struct tide_mmu *mmu, const struct shadow_page *sp, bool on)
{
	uint64_t base;
	struct mmu_slot *slot =
		mmu_slot_at(mmu, sp->role.address_space, sp->gfn, &base);
	struct mmu_block *block;

	/* A slot that leaves has its shadows zapped before (region.c). */
	assert(slot);
	block = mmu_block_of(slot, sp->gfn);
	if (!on) {
		assert(slot->track[sp->gfn - base] && block->tracked);
		if (!--slot->track[sp->gfn - base])
			block->tracked--;
		/* Relaxed: nothing hangs on it; a count too high costs a
		 * lock. */
		(void)atomic_fetch_sub_explicit(&mmu->indirect_pages, 1,
						memory_order_relaxed);
		return;
	}
	if (!slot->track[sp->gfn - base]++)
		block->tracked++;
	/* ACQUIRE(track.count) pairs with RELEASE(track.look): a writer that
	 * does not go through the mmu_lock either sees the count, or its data
	 * is there when the table's entries are read (K22). */
	(void)atomic_fetch_add_explicit(&mmu->indirect_pages, 1,
					memory_order_acquire);
	mmu_protect_table(mmu, slot, sp->gfn);
}

static void list_add(struct tide_mmu *mmu, struct shadow_page *sp)
{
	uint32_t bucket = bucket_of(sp->gfn);

	sp->hash_next = mmu->buckets[bucket];
	mmu->buckets[bucket] = sp;
	sp->older = mmu->newest;
	sp->newer = NULL;
	*(mmu->newest ? &mmu->newest->newer : &mmu->oldest) = sp;
	mmu->newest = sp;
}

static void list_remove(struct tide_mmu *mmu, struct shadow_page *sp)
{
	struct shadow_page **at = &mmu->buckets[bucket_of(sp->gfn)];

	while (*at != sp)
		at = &(*at)->hash_next;
	*at = sp->hash_next;
	*(sp->older ? &sp->older->newer : &mmu->oldest) = sp->newer;
	*(sp->newer ? &sp->newer->older : &mmu->newest) = sp->older;
}

static void sp_free(struct tide_mmu *mmu, struct shadow_page *sp)
{
	table_free(sp->spt);
	mmu->table_pages--;
	free(sp->gfns);
	free(sp);
}

static struct shadow_page *sp_create(struct tide_mmu *mmu, uint64_t gfn,
				     struct sp_role role)
{
	struct shadow_page *sp = calloc(1, sizeof(*sp));

	if (!sp)
		return NULL;
	sp->gfn = gfn;
	sp->role = role;
	if (!role.direct && role.level <= LARGE_LEVEL) {
		sp->gfns = calloc(SPT_ENTRIES, sizeof(*sp->gfns));
		if (!sp->gfns)
			goto fail;
	}
	sp->spt = table_alloc(mmu);
	if (!sp->spt)
		goto fail;
	arena_of(sp->spt)->page[table_number(sp->spt) - 1] = sp;
	mmu->table_pages++;
	return sp;
fail:
	free(sp->gfns);
	free(sp);
	return NULL;
}

int sp_get(struct tide_mmu *mmu, uint64_t gfn, struct sp_role role,
	   struct shadow_page **ret_sp)
{
	struct shadow_page *sp;

	tide_lock_assert_held(&mmu->mmu_lock);
	for (sp = mmu->buckets[bucket_of(gfn)]; sp; sp = sp->hash_next) {
		if (sp->gfn == gfn && same_role(sp->role, role)) {
			sp->flood = 0;
			*ret_sp = sp;
			return 0;
		}
	}
	sp = sp_create(mmu, gfn, role);
	if (!sp)
		return -ENOMEM;
	list_add(mmu, sp);
	if (!role.direct)
		track(mmu, sp, true);
	*ret_sp = sp;
	return 0;
}

int sp_link(struct tide_mmu *mmu, spte_t *sptep, struct shadow_page *child)
{
	int err = rmap_add(mmu, &child->parents, sptep);

	if (!err)
		spte_publish(sptep,
			     (uint64_t)(uintptr_t)child->spt | SPTE_PRESENT);
	return err;
}

void sp_drop_entry(struct tide_mmu *mmu, struct shadow_page *sp, uint32_t index)
{
	spte_t *sptep = &sp->spt[index];
	uint64_t old;

	tide_pause("entry.drop");
	old = spte_exchange(sptep, 0);
	if (!spte_present(old))
		return;
	if (spte_is_leaf(old, sp->role.level)) {
		mmu_leaf_dropped(mmu, sp, index, old);
	} else {
		struct shadow_page *child =
			sp_of((spte_t *)(uintptr_t)spte_address(old));

		rmap_remove(mmu, &child->parents, sptep);
	}
	mmu->need_flush = true;
}

static void garbage_add(struct tide_mmu *mmu, struct shadow_page *sp)
{
	sp->next_garbage = mmu->garbage;
	mmu->garbage = sp;
	mmu->garbage_count++;
}

void sp_zap(struct tide_mmu *mmu, struct shadow_page *sp)
{
	struct rmap_cursor cursor;
	spte_t *parent;

	tide_lock_assert_held(&mmu->mmu_lock);
	assert(!sp->invalid);
	while ((parent = rmap_first(&sp->parents, &cursor)))
		sp_drop_entry(mmu, sp_of(parent), sp_index(parent));
	for (uint32_t i = 0; i < SPT_ENTRIES; i++)
		sp_drop_entry(mmu, sp, i);
	if (!sp->role.direct)
		track(mmu, sp, false);
	list_remove(mmu, sp);
	sp->invalid = true;
	mmu_count(&mmu->zaps);
	if (!sp->root_count)
		garbage_add(mmu, sp);
}

void sp_take_root(struct tide_mmu *mmu, struct shadow_page *sp)
{
	if (!sp->root_count++)
		mmu->root_pages++;
}

void sp_put_root(struct tide_mmu *mmu, struct shadow_page *sp)
{
	assert(sp->root_count);
	if (--sp->root_count)
		return;
	mmu->root_pages--;
	if (sp->invalid)
		garbage_add(mmu, sp);
}

/* The guest wrote to the table that @sp shadows. */
static void follow_write(struct tide_mmu *mmu, struct shadow_page *sp,
			 uint32_t offset, uint32_t nbytes)
{
	if (++sp->flood > FLOOD_MAX) {
		sp_zap(mmu, sp);
		return;
	}
	for (uint32_t i = offset / sizeof(spte_t);
	     i <= (offset + nbytes - 1) / sizeof(spte_t); i++)
		sp_drop_entry(mmu, sp, i);
}

void sp_guest_wrote(struct tide_mmu *mmu, uint32_t address_space, uint64_t gfn,
		    uint32_t offset, uint32_t nbytes)
{
	struct shadow_page *sp = mmu->buckets[bucket_of(gfn)], *next;

	tide_lock_assert_held(&mmu->mmu_lock);
	assert(nbytes && offset + nbytes <= TIDE_PAGE_SIZE);
	for (; sp; sp = next) {
		next = sp->hash_next;
		if (sp->gfn == gfn && !sp->role.direct &&
		    sp->role.address_space == address_space)
			follow_write(mmu, sp, offset, nbytes);
	}
}

/* That could be zapped.  Were others counted, there could be too many for
 * ever, and each fault would zap what the one before it had mapped: a store
 * across two pages would never end. */
static uint64_t pages_in_the_way(const struct tide_mmu *mmu)
{
	return mmu->table_pages - mmu->root_pages - mmu->garbage_count -
	       mmu->freeing_count;
}

void sp_make_room(struct tide_mmu *mmu)
{
	struct shadow_page *sp = mmu->oldest, *newer;
	uint64_t most = mmu->config.table_pages_max;

	if (pages_in_the_way(mmu) < most)
		return;
	/* A part, so that it is not done for every fault. */
	most -= most / 8;
	for (; sp && pages_in_the_way(mmu) > most; sp = newer) {
		newer = sp->newer;
		if (!sp->root_count)
			sp_zap(mmu, sp);
	}
}

void sp_collect_garbage(struct tide_mmu *mmu, bool all)
{
	struct shadow_page *sp, *next;
	uint32_t count;

	tide_lock_acquire(&mmu->mmu_lock);
	if (mmu->garbage_count < (all ? 1 : GARBAGE_MIN)) {
		tide_lock_release(&mmu->mmu_lock);
		return;
	}
	sp = mmu->garbage;
	count = mmu->garbage_count;
	mmu->garbage = NULL;
	mmu->garbage_count = 0;
	mmu->freeing_count += count;
	tide_lock_release(&mmu->mmu_lock);

	tide_rcu_wait(&mmu->rcu_tag);
	tide_lock_acquire(&mmu->mmu_lock);
	for (; sp; sp = next) {
		next = sp->next_garbage;
		sp_free(mmu, sp);
	}
	mmu->freeing_count -= count;
	tide_lock_release(&mmu->mmu_lock);
}

void sp_fini(struct tide_mmu *mmu)
{
	struct spt_arena *arena, *next;

	tide_lock_acquire(&mmu->mmu_lock);
	while (mmu->oldest)
		sp_zap(mmu, mmu->oldest);
	mmu->need_flush = false; /* there is no vCPU */
	tide_lock_release(&mmu->mmu_lock);
	sp_collect_garbage(mmu, true);
	for (arena = mmu->arenas; arena; arena = next) {
		next = arena->next;
		(void)munmap(arena, ARENA_BYTES);
	}
}
