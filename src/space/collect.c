/* SPDX-License-Identifier: MIT */
/*
 * collect.c - from the marks and the tracker into every client's dirty set
 *
 * Theory of operation
 * -------------------
 * A bit, once taken from the mark log or cleared in the kernel, is gone for
 * everybody, so whatever is found goes to every client at once (C5).  A
 * manual tracker's collect does not clear: its snapshot holds pages that were
 * found before and not re-armed yet.  Those are `known`; only the others are
 * news.
 *
 * Invariants (thread 4)
 *   I1  every page in known is in the dirty or taken set of every client and
 *       has not been handed out since it was found
 *   I2  so clearing a page of known in the kernel loses nothing: whoever
 *       reads the page later reads it after the clear
 *
 * Synchronisation: all under slots_lock; fence.heavy between taking marks and
 * any client's read of those pages.  If that fails every page is dirty, but
 * they too must be read after a fence: it is owed, and the next collect fails
 * until it succeeds.
 */
#include <string.h>

#include "base/clock.h"
#include "space/space_internal.h"

static void found_word(struct tide_slot *slot, uint64_t word, uint64_t bits)
{
	for (struct tide_watch *watch = slot->watches; watch;
	     watch = watch->next_in_slot)
		tide_page_set_add_word(&watch->dirty, word, bits);
}

void tide_found_page(struct tide_slot *slot, uint64_t page)
{
	assert(page < slot->npages);
	found_word(slot, page / TIDE_WORD_BITS, tide_bit(page));
}

void tide_found_bits(struct tide_slot *slot, uint64_t word, uint64_t bits)
{
	assert(!(bits & ~tide_word_mask(slot->npages, word)));
	if (slot->known) {
		uint64_t news = bits & ~slot->known[word];

		slot->known[word] |= bits;
		slot->known_any = true;
		bits = news;
	}
	if (bits)
		found_word(slot, word, bits);
}

static void found_block(struct tide_slot *slot, uint64_t block,
			const uint64_t words[TIDE_WORD_BITS],
			uint64_t not_empty)
{
	for (struct tide_watch *watch = slot->watches; watch;
	     watch = watch->next_in_slot)
		tide_page_set_add_block(&watch->dirty, block, words, not_empty);
}

/* One block of @n words that are not all 0; @known may be NULL. */
static void found_news(struct tide_slot *slot, uint64_t block, uint64_t n,
		       const uint64_t *words, const uint64_t *known)
{
	const uint64_t last = tide_words(slot->npages) - 1;
	uint64_t news[TIDE_WORD_BITS] = { 0 };
	uint64_t not_empty = 0;

	for (uint64_t i = 0; i < n; i++)
		news[i] = known ? words[i] & ~known[i] : words[i];
	/* Beyond the end of the slot: nonsense. */
	if (last / TIDE_WORD_BITS == block)
		news[last % TIDE_WORD_BITS] &=
			tide_word_mask(slot->npages, last);
	for (uint64_t i = 0; i < n; i++)
		not_empty |= (uint64_t)(news[i] != 0) << i;
	if (not_empty)
		found_block(slot, block, news, not_empty);
}

/* A whole slot's words, less those in @known, a block of 64 at a time. */
static void found_all(struct tide_slot *slot, const uint64_t *words,
		      const uint64_t *known)
{
	const uint64_t nwords = tide_words(slot->npages);

	for (uint64_t first = 0; first < nwords; first += TIDE_WORD_BITS) {
		uint64_t n = nwords - first < TIDE_WORD_BITS ? nwords - first
							     : TIDE_WORD_BITS;
		uint64_t any = 0;

		for (uint64_t i = 0; i < n; i++)
			any |= words[first + i];
		if (any)
			found_news(slot, first / TIDE_WORD_BITS, n,
				   words + first, known ? known + first : NULL);
	}
}

void tide_found_words(struct tide_slot *slot, const uint64_t *words)
{
	found_all(slot, words, NULL);
}

void tide_found_snapshot(struct tide_slot *slot)
{
	uint64_t *old = slot->known;

	found_all(slot, slot->scratch, slot->known_any ? old : NULL);
	slot->known = slot->scratch;
	slot->scratch = old;
	slot->known_any = true;
}

void tide_slot_fail_closed(struct tide_slot *slot)
{
	tide_lock_assert_held(&slot->space->slots_lock);
	for (struct tide_watch *watch = slot->watches; watch;
	     watch = watch->next_in_slot)
		tide_page_set_fill(&watch->dirty);
	slot->space->stats.failed_closed++;
}

static void found_marks(void *opaque, uint64_t word, uint64_t bits)
{
	struct tide_slot *slot = opaque;

	found_word(slot, word, bits);
	if (slot->known && slot->watches)
		tide_page_set_add_word(&slot->marked, word, bits);
}

static int collect_marks(struct tide_space *space, struct tide_slot *only)
{
	uint64_t taken = 0;
	int err;

	for (struct tide_slot *slot = tide_slot_first_of(space, only); slot;
	     slot = tide_slot_next_of(slot, only))
		taken += tide_bitmap_take(&slot->marks, found_marks, slot);
	if (!taken && !space->fence_owed)
		return 0;
	space->stats.pages_marked += taken;
	/* FENCE(collect.read) pairs with FENCE(mark.skip): between taking the
	 * bits and reading the pages.  A mark that was skipped because its bit
	 * was set is covered by our later read. */
	err = tide_fence_heavy(space->asymmetric);
	space->fence_owed = err != 0;
	if (err) {
		for (struct tide_slot *slot = space->slots; slot;
		     slot = slot->next)
			tide_slot_fail_closed(slot);
	}
	return err;
}

/* Logging that an error left off comes on again.  What was written meanwhile
 * nobody knows (C7). */
static int mend_logging(struct tide_space *space, struct tide_slot *only)
{
	int err = 0;

	for (struct tide_slot *slot = tide_slot_first_of(space, only); slot;
	     slot = tide_slot_next_of(slot, only)) {
		int ret;

		if (slot->logged || slot->removing ||
		    tide_slot_flags_now(slot) & TIDE_SLOT_UNLOGGED)
			continue;
		ret = tide_slot_log_set(slot, true);
		tide_slot_fail_closed(slot);
		if (!err)
			err = ret;
	}
	return err;
}

int tide_space_collect(struct tide_space *space, struct tide_slot *only)
{
	int err;

	tide_lock_assert_held(&space->slots_lock);
	err = collect_marks(space, only);
	space->stats.collects++;
	if (space->ops && space->clients) {
		int mended = mend_logging(space, only);
		int ret = space->ops->collect(space->tracker, only);

		if (!err)
			err = mended;
		if (!err)
			err = ret;
	}
	return err;
}

void tide_space_held(struct tide_space *space, uint64_t begin_ns)
{
	uint64_t ns = tide_now_ns() - begin_ns;
	unsigned int bucket = ns ? 63u - (unsigned int)__builtin_clzll(ns) : 0;

	if (bucket >= TIDE_HOLD_BUCKETS)
		bucket = TIDE_HOLD_BUCKETS - 1;
	space->stats.hold_ns[bucket]++;
	if (ns > space->stats.hold_ns_max)
		space->stats.hold_ns_max = ns;
}
