/* SPDX-License-Identifier: MIT */
/*
 * landing.c - the destination's memory: where pages go, and which have
 * contents
 *
 * Theory of operation
 * -------------------
 * The memory that the embedder supplies is zero and untouched.  A bitmap for
 * each slot remembers which pages were filled since.  A zero run over pages
 * that were not is skipped: writing zeros would populate them.  A page that
 * was filled and turns zero is cleared (a restored guest would otherwise see
 * what was there in an earlier round), and is skipped from then on.
 *
 * Clearing is memset.  MADV_DONTNEED would also give the memory back, but
 * leaves the old contents in place where the embedder's memory is shared or a
 * file, and whether it is cannot be told from here.
 *
 * Slots may share memory (aliases); then a page may have been filled through
 * the other slot, the bitmap of this one does not know, and nothing is
 * skipped.  Shared means: the same host addresses.  An embedder that maps one
 * file twice supplies one mapping.
 *
 * Invariants
 *   I1  a page whose bit is clear is zero, unless the slot is shared
 *   I2  no address outside a slot's memory is ever produced
 *   I3  slots are sorted by id, do not overlap in gfns, and together have at
 *       most npages_max pages
 *
 * Synchronisation
 *   None: one thread; the guest does not run yet.
 */
#include "migrate/landing.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bits.h"

void tide_landing_init(struct tide_landing *landing, uint64_t memory_bytes_max,
		       struct tide_sentence *why)
{
	*landing = (struct tide_landing){
		.npages_max = memory_bytes_max
				      ? memory_bytes_max / TIDE_PAGE_SIZE
				      : UINT64_MAX,
		.why = why,
	};
}

void tide_landing_fini(struct tide_landing *landing)
{
	for (uint32_t i = 0; i < landing->count; i++)
		free(landing->slots[i].filled);
	free(landing->slots);
	landing->slots = NULL;
	landing->count = 0;
}

int tide_landing_check(const struct tide_landing *landing,
		       const struct tide_slot_info *info,
		       const struct tide_landing_slot *replaced)
{
	uint64_t others =
		landing->npages - (replaced ? replaced->info.npages : 0);

	if (!replaced && landing->count == TIDE_STREAM_SLOTS_MAX)
		return tide_say(landing->why, -EFBIG,
				"the source has more than %u slots",
				TIDE_STREAM_SLOTS_MAX);
	if (info->npages > landing->npages_max - others)
		return tide_say(landing->why, -EFBIG,
				"slot %u with %llu pages exceeds the limit of "
				"%llu pages of memory",
				info->id, (unsigned long long)info->npages,
				(unsigned long long)landing->npages_max);
	for (uint32_t i = 0; i < landing->count; i++) {
		const struct tide_slot_info *other = &landing->slots[i].info;

		if (&landing->slots[i] == replaced)
			continue;
		if (other->id == info->id)
			return tide_say(landing->why, -EPROTO,
					"slot %u is announced twice", info->id);
		if (info->first_gfn < other->first_gfn + other->npages &&
		    other->first_gfn < info->first_gfn + info->npages)
			return tide_say(landing->why, -EPROTO,
					"slots %u and %u overlap", other->id,
					info->id);
	}
	return 0;
}

/* Index of the first slot whose id is not below @id. */
static uint32_t position_of(const struct tide_landing *landing, uint32_t id)
{
	uint32_t begin = 0, end = landing->count;

	while (begin < end) {
		uint32_t middle = begin + (end - begin) / 2;

		if (landing->slots[middle].info.id < id)
			begin = middle + 1;
		else
			end = middle;
	}
	return begin;
}

static bool share_memory(const struct tide_slot_info *a,
			 const struct tide_slot_info *b)
{
	uintptr_t a_begin = (uintptr_t)a->host;
	uintptr_t b_begin = (uintptr_t)b->host;

	return a_begin < b_begin + b->npages * TIDE_PAGE_SIZE &&
	       b_begin < a_begin + a->npages * TIDE_PAGE_SIZE;
}

static void note_sharing(struct tide_landing *landing,
			 struct tide_landing_slot *slot)
{
	for (uint32_t i = 0; i < landing->count; i++) {
		struct tide_landing_slot *other = &landing->slots[i];

		if (other != slot && share_memory(&other->info, &slot->info)) {
			other->shared = true;
			slot->shared = true;
		}
	}
}

int tide_landing_add(struct tide_landing *landing,
		     const struct tide_slot_info *info)
{
	if (!info->host || (uintptr_t)info->host % TIDE_PAGE_SIZE)
		return tide_say(landing->why, -EINVAL,
				"the memory for slot %u is not page-aligned",
				info->id);

	uint64_t *filled = calloc(tide_words(info->npages), sizeof(*filled));
	void *more = realloc(landing->slots,
			     (landing->count + 1) * sizeof(*landing->slots));

	if (more)
		landing->slots = more;
	if (!filled || !more) {
		free(filled);
		return tide_say_errno(landing->why, -ENOMEM, "slot");
	}

	uint32_t at = position_of(landing, info->id);
	struct tide_landing_slot *slot = &landing->slots[at];

	memmove(slot + 1, slot, (landing->count - at) * sizeof(*slot));
	*slot = (struct tide_landing_slot){ .info = *info, .filled = filled };
	landing->count++;
	landing->npages += info->npages;
	assert(landing->npages <= landing->npages_max); /* I3 */
	note_sharing(landing, slot);
	/* Fewer and larger faults while it fills; a wish, not a need. */
	(void)madvise(info->host, info->npages * TIDE_PAGE_SIZE, MADV_HUGEPAGE);
	return 0;
}

void tide_landing_remove(struct tide_landing *landing,
			 struct tide_landing_slot *slot)
{
	size_t behind = (size_t)(landing->slots + landing->count - (slot + 1));

	assert(slot >= landing->slots &&
	       slot < landing->slots + landing->count);
	landing->npages -= slot->info.npages;
	free(slot->filled);
	memmove(slot, slot + 1, behind * sizeof(*slot));
	landing->count--;
}

struct tide_landing_slot *tide_landing_find(const struct tide_landing *landing,
					    uint32_t id)
{
	uint32_t at = position_of(landing, id);

	if (at == landing->count || landing->slots[at].info.id != id)
		return NULL;
	return &landing->slots[at];
}

/* The slot of a run that lies in it entirely, or NULL and a sentence. */
static struct tide_landing_slot *slot_of_run(const struct tide_landing *landing,
					     const struct tide_run *run)
{
	struct tide_landing_slot *slot = tide_landing_find(landing, run->slot);

	if (!slot) {
		(void)tide_say(landing->why, -EPROTO,
			       "pages come for slot %u, which there is not",
			       run->slot);
		return NULL;
	}
	if (run->first >= slot->info.npages ||
	    run->npages > slot->info.npages - run->first) {
		(void)tide_say(landing->why, -EPROTO,
			       "pages %llu to %llu are not in slot %u",
			       (unsigned long long)run->first,
			       (unsigned long long)run->first + run->npages - 1,
			       run->slot);
		return NULL;
	}
	return slot;
}

static void mark_filled(uint64_t *filled, uint64_t first, uint64_t end)
{
	for (uint64_t word = first / TIDE_WORD_BITS;
	     word <= (end - 1) / TIDE_WORD_BITS; word++)
		filled[word] |= tide_range_mask(first, end, word);
}

int tide_landing_place(struct tide_landing *landing,
		       const struct tide_run *runs, uint32_t count,
		       struct iovec ret[TIDE_FRAME_RUNS_MAX])
{
	int used = 0;

	assert(count <= TIDE_FRAME_RUNS_MAX);
	for (uint32_t i = 0; i < count; i++) {
		const struct tide_landing_slot *slot =
			slot_of_run(landing, &runs[i]);

		if (!slot)
			return -EPROTO;

		char *host = (char *)slot->info.host +
			     runs[i].first * TIDE_PAGE_SIZE; /* I2 */
		size_t nbytes = runs[i].npages * TIDE_PAGE_SIZE;

		if (used &&
		    (char *)ret[used - 1].iov_base + ret[used - 1].iov_len ==
			    host) {
			ret[used - 1].iov_len += nbytes;
			continue;
		}
		ret[used].iov_base = host;
		ret[used].iov_len = nbytes;
		used++;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct tide_landing_slot *slot =
			tide_landing_find(landing, runs[i].slot);

		mark_filled(slot->filled, runs[i].first,
			    runs[i].first + runs[i].npages); /* I1 */
	}
	return used;
}

static void zero_page(const struct tide_landing_slot *slot, uint64_t page)
{
	memset((char *)slot->info.host + page * TIDE_PAGE_SIZE, 0,
	       TIDE_PAGE_SIZE);
}

static void zero_run(struct tide_landing_slot *slot, uint64_t first,
		     uint64_t end)
{
	for (uint64_t word = first / TIDE_WORD_BITS;
	     word <= (end - 1) / TIDE_WORD_BITS; word++) {
		uint64_t mask = tide_range_mask(first, end, word);
		uint64_t bits = slot->shared ? mask : slot->filled[word] & mask;

		slot->filled[word] &= ~mask;
		while (bits) {
			zero_page(slot,
				  word * TIDE_WORD_BITS + tide_lowest(bits));
			bits &= bits - 1;
		}
	}
}

int tide_landing_zero(struct tide_landing *landing, const struct tide_run *runs,
		      uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct tide_landing_slot *slot = slot_of_run(landing, &runs[i]);

		if (!slot)
			return -EPROTO;
		zero_run(slot, runs[i].first, runs[i].first + runs[i].npages);
	}
	return 0;
}
