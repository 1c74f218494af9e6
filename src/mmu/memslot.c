/* SPDX-License-Identifier: MIT */
/*
 * memslot.c - slots of the MMU, and finding one by gfn without a lock
 *
 * A slot's arrays have one element a page, or one for 512, and are mapped
 * without being touched: a sparse slot of 1 TiB costs what is used of it.
 *
 * Synchronisation
 *   slots.publish   a new table -> slots.find, in every lookup.  The old one,
 *                   and a slot that is no longer in the new, are freed after a
 *                   grace period.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/rcu.h"
#include "mmu/mmu_internal.h"

static void *map_array(uint64_t count, size_t nbytes)
{
	void *array = mmap(NULL, count * nbytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return array == MAP_FAILED ? NULL : array;
}

static void unmap_array(void *array, uint64_t count, size_t nbytes)
{
	if (array)
		(void)munmap(array, count * nbytes);
}

/* Whatever its gfn, a run of pages touches no more. */
static uint64_t blocks_max(uint64_t npages)
{
	return npages / LARGE_PAGES + 2;
}

int mmu_slot_create(const struct tide_mmu *mmu, const struct mmu_region *region,
		    struct mmu_slot **ret_slot)
{
	struct mmu_slot *slot = calloc(1, sizeof(*slot));

	if (!slot)
		return -ENOMEM;
	slot->address_space = region->slot >> 16;
	slot->id = region->slot & 0xffff;
	slot->npages = region->memory_bytes >> TIDE_PAGE_SHIFT;
	slot->host = region->host;
	slot->base_gfn = region->gpa >> TIDE_PAGE_SHIFT;
	slot->backed =
		mmu->config.backing &&
		backing_has(mmu->config.backing, slot->host, slot->npages);
	slot->rmap = map_array(slot->npages, sizeof(*slot->rmap));
	slot->track = map_array(slot->npages, sizeof(*slot->track));
	slot->blocks =
		map_array(blocks_max(slot->npages), sizeof(*slot->blocks));
	if (!slot->rmap || !slot->track || !slot->blocks) {
		mmu_slot_destroy(slot);
		return -ENOMEM;
	}
	*ret_slot = slot;
	return 0;
}

void mmu_slot_destroy(struct mmu_slot *slot)
{
	if (!slot)
		return;
	if (slot->has_log)
		tide_dirty_log_fini(&slot->log);
	unmap_array(slot->rmap, slot->npages, sizeof(*slot->rmap));
	unmap_array(slot->track, slot->npages, sizeof(*slot->track));
	unmap_array(slot->blocks, blocks_max(slot->npages),
		    sizeof(*slot->blocks));
	free(slot);
}

static uint64_t resident_bytes(const void *array, uint64_t nbytes)
{
	enum { CHUNK_PAGES = 4096 };
	unsigned char in_core[CHUNK_PAGES];
	uint64_t pages = (nbytes + TIDE_PAGE_SIZE - 1) >> TIDE_PAGE_SHIFT;
	uint64_t found = 0;

	for (uint64_t at = 0; at < pages; at += CHUNK_PAGES) {
		uint64_t n =
			pages - at < CHUNK_PAGES ? pages - at : CHUNK_PAGES;

		if (mincore((char *)(uintptr_t)array + at * TIDE_PAGE_SIZE,
			    n * TIDE_PAGE_SIZE, in_core))
			return found * TIDE_PAGE_SIZE;
		for (uint64_t i = 0; i < n; i++)
			found += in_core[i] & 1;
	}
	return found * TIDE_PAGE_SIZE;
}

uint64_t mmu_slot_bytes(const struct mmu_slot *slot)
{
	uint64_t bytes = sizeof(*slot);

	bytes += resident_bytes(slot->rmap, slot->npages * sizeof(*slot->rmap));
	bytes += resident_bytes(slot->track,
				slot->npages * sizeof(*slot->track));
	bytes += resident_bytes(slot->blocks, blocks_max(slot->npages) *
						      sizeof(*slot->blocks));
	if (slot->has_log)
		bytes += slot->npages / 8;
	return bytes;
}

struct mmu_slot *mmu_slot_at(struct tide_mmu *mmu, uint32_t address_space,
			     uint64_t gfn, uint64_t *ret_base)
{
	/* ACQUIRE(slots.find) pairs with RELEASE(slots.publish): the table and
	 * its slots are there. */
	const struct slot_table *table = atomic_load_explicit(
		&mmu->table[address_space], memory_order_acquire);
	uint32_t first = 0, end = table ? table->count : 0;

	while (first < end) {
		uint32_t middle = first + (end - first) / 2;
		const struct slot_entry *entry = &table->entry[middle];

		if (gfn < entry->base_gfn) {
			end = middle;
		} else if (gfn - entry->base_gfn >= entry->npages) {
			first = middle + 1;
		} else {
			*ret_base = entry->base_gfn;
			return entry->slot;
		}
	}
	return NULL;
}

int mmu_table_make(const struct tide_mmu *mmu, uint32_t address_space,
		   struct mmu_slot *slot, uint64_t base_gfn,
		   struct slot_table **ret_table)
{
	/* Relaxed: only who has slots_lock, as the caller, replaces it. */
	const struct slot_table *old = atomic_load_explicit(
		&mmu->table[address_space], memory_order_relaxed);
	uint32_t old_count = old ? old->count : 0;
	struct slot_table *table = malloc(
		sizeof(*table) + (old_count + 1) * sizeof(table->entry[0]));
	bool placed = base_gfn == NO_GFN;

	if (!table)
		return -ENOMEM;
	table->count = 0;
	for (uint32_t i = 0; i < old_count; i++) {
		if (old->entry[i].slot == slot)
			continue;
		if (!placed && old->entry[i].base_gfn > base_gfn) {
			table->entry[table->count++] =
				(struct slot_entry){ base_gfn, slot->npages,
						     slot };
			placed = true;
		}
		table->entry[table->count++] = old->entry[i];
	}
	if (!placed)
		table->entry[table->count++] =
			(struct slot_entry){ base_gfn, slot->npages, slot };
	*ret_table = table;
	return 0;
}

struct slot_table *mmu_table_publish(struct tide_mmu *mmu,
				     uint32_t address_space,
				     struct slot_table *table)
{
	/* Relaxed: only this thread, with slots_lock, replaces it. */
	struct slot_table *old = atomic_load_explicit(
		&mmu->table[address_space], memory_order_relaxed);

	tide_lock_assert_held(&mmu->slots_lock);
	tide_lock_assert_held(&mmu->mmu_lock);
	assert(!mmu->invalidating); /* I18 */
	/* RELEASE(slots.publish) pairs with ACQUIRE(slots.find) */
	atomic_store_explicit(&mmu->table[address_space], table,
			      memory_order_release);
	/* RELEASE(slots.count) pairs with ACQUIRE(fault.generation) and
	 * ACQUIRE(emulate.generation): who reads the new number finds the new
	 * table; who read the old one is sent round again under the mmu_lock
	 * (I16). */
	(void)atomic_fetch_add_explicit(&mmu->slots_generation, 1,
					memory_order_release);
	return old;
}
