/* SPDX-License-Identifier: MIT */
/*
 * mark.c - writers that the tracker cannot see
 *
 * Theory of operation
 * -------------------
 * A mark sets one bit in the slot's mark log, however many clients there are;
 * the next collect distributes it.  The slot is found in the slot table under
 * RCU, without a lock.
 *
 * Synchronisation
 *   table.read   the table and its slots are complete   <- table.publish
 *   bitmap.set, bitmap.seen, fence.light: see log/bitmap.c
 */
#include <errno.h>

#include <tidemark/mark.h>

#include "base/rcu.h"
#include "space/space_internal.h"

static inline const struct tide_slot_table *read_table(struct tide_space *space)
{
	/* ACQUIRE(table.read) pairs with RELEASE(table.publish): what the
	 * table points at is complete. */
	return atomic_load_explicit(&space->table, memory_order_acquire);
}

/* The last entry that begins at or below @gfn, or NULL. */
static inline const struct tide_slot_entry *
find_below(const struct tide_slot_table *table, uint64_t gfn)
{
	uint32_t lo = 0;
	uint32_t hi = table->count;

	while (lo < hi) {
		uint32_t middle = lo + (hi - lo) / 2;

		if (table->entry[middle].first_gfn <= gfn)
			lo = middle + 1;
		else
			hi = middle;
	}
	return lo ? &table->entry[lo - 1] : NULL;
}

static inline bool is_logged(const struct tide_slot *slot)
{
	return !(tide_slot_flags_now(slot) & TIDE_SLOT_UNLOGGED);
}

int tide_mark(struct tide_space *space, uint64_t gfn)
{
	const struct tide_slot_entry *entry;
	int err = -ENOENT;

	tide_rcu_lock();
	entry = find_below(read_table(space), gfn);
	if (entry && gfn - entry->first_gfn < entry->npages) {
		if (is_logged(entry->slot))
			tide_bitmap_mark(&entry->slot->marks,
					 gfn - entry->first_gfn,
					 space->asymmetric);
		err = 0;
	}
	tide_rcu_unlock(&space->rcu_tag);
	return err;
}

/* Marks what of [first, first + npages) lies in the entry.  Return: pages. */
static uint64_t mark_entry(const struct tide_slot_entry *entry, uint64_t first,
			   uint64_t npages)
{
	uint64_t end = entry->first_gfn + entry->npages;
	uint64_t from = first > entry->first_gfn ? first : entry->first_gfn;
	uint64_t to = first + npages < end ? first + npages : end;

	if (from >= to)
		return 0;
	if (is_logged(entry->slot))
		tide_bitmap_set_range(&entry->slot->marks,
				      from - entry->first_gfn, to - from);
	return to - from;
}

int tide_mark_range(struct tide_space *space, uint64_t first_gfn,
		    uint64_t npages)
{
	const struct tide_slot_table *table;
	const struct tide_slot_entry *entry, *end;
	uint64_t marked = 0;

	if (first_gfn + npages < first_gfn)
		return -EINVAL;
	if (!npages)
		return 0;
	tide_rcu_lock();
	table = read_table(space);
	end = table->entry + table->count;
	entry = find_below(table, first_gfn);
	for (entry = entry ? entry : table->entry;
	     entry < end && entry->first_gfn < first_gfn + npages; entry++)
		marked += mark_entry(entry, first_gfn, npages);
	tide_rcu_unlock(&space->rcu_tag);
	return marked == npages ? 0 : -ENOENT;
}

int tide_mark_bytes(struct tide_space *space, uint64_t gpa, uint64_t nbytes)
{
	uint64_t first, last;

	if (!nbytes)
		return 0;
	if (gpa + nbytes - 1 < gpa)
		return -EINVAL;
	first = gpa >> TIDE_PAGE_SHIFT;
	last = (gpa + nbytes - 1) >> TIDE_PAGE_SHIFT;
	return tide_mark_range(space, first, last - first + 1);
}

/* Marks the pages of the entry whose memory meets [begin, end). */
static void mark_alias(const struct tide_slot_entry *entry, uintptr_t begin,
		       uintptr_t end)
{
	uintptr_t host = (uintptr_t)entry->slot->host;
	uintptr_t host_end = host + entry->npages * TIDE_PAGE_SIZE;
	uintptr_t from = begin > host ? begin : host;
	uintptr_t to = end < host_end ? end : host_end;
	uint64_t first, last;

	if (from >= to || !is_logged(entry->slot))
		return;
	first = (from - host) >> TIDE_PAGE_SHIFT;
	last = (to - 1 - host) >> TIDE_PAGE_SHIFT;
	tide_bitmap_set_range(&entry->slot->marks, first, last - first + 1);
}

/* The first address at or after @at that no slot's memory covers, or @end. */
static uintptr_t covered_until(const struct tide_slot_table *table,
			       uintptr_t at, uintptr_t end)
{
	for (uint32_t i = 0; i < table->count && at < end; i++) {
		uintptr_t host = (uintptr_t)table->entry[i].slot->host;
		uintptr_t host_end =
			host + table->entry[i].npages * TIDE_PAGE_SIZE;

		if (at < host || at >= host_end)
			continue;
		at = host_end;
		i = (uint32_t)-1; /* from the first entry again */
	}
	return at < end ? at : end;
}

int tide_mark_host(struct tide_space *space, const void *hva, size_t nbytes)
{
	uintptr_t begin = (uintptr_t)hva;
	uintptr_t end = begin + nbytes;
	const struct tide_slot_table *table;
	bool covered;

	if (end < begin)
		return -EINVAL;
	if (!nbytes)
		return 0;
	tide_rcu_lock();
	table = read_table(space);
	for (uint32_t i = 0; i < table->count; i++)
		mark_alias(&table->entry[i], begin, end);
	covered = covered_until(table, begin, end) == end;
	tide_rcu_unlock(&space->rcu_tag);
	return covered ? 0 : -ENOENT;
}

int tide_mark_bitmap(struct tide_space *space, uint64_t first_gfn,
		     uint64_t npages, const uint64_t *words)
{
	int ret = 0;

	if (first_gfn + npages < first_gfn)
		return -EINVAL;
	for (uint64_t word = 0; word < tide_words(npages); word++) {
		uint64_t bits = words[word] & tide_word_mask(npages, word);

		while (bits) {
			unsigned int bit = tide_lowest(bits);
			uint64_t rest = ~(bits >> bit);
			unsigned int run =
				rest ? tide_lowest(rest) : TIDE_WORD_BITS;
			int err = tide_mark_range(
				space, first_gfn + word * TIDE_WORD_BITS + bit,
				run);

			if (err)
				ret = err;
			bits &= ~tide_mask(bit, run);
		}
	}
	return ret;
}
