/* SPDX-License-Identifier: MIT */
/*
 * rearm.c - re-arm a chunk before its first page is handed out
 *
 * Theory of operation
 * -------------------
 * Late and in chunks: pages written between collecting and re-arming are not
 * reported twice, and the mmu lock is held for one chunk only (QEMU's
 * clear_bmap).  The pages that may be cleared in the kernel are
 *
 *   known          every client has them pending, so nothing is lost;
 *   marked         those of this client's pages that came from marks.  The
 *                  kernel may have them dirty too, unseen.  Clearing saves
 *                  the second copy that thread 4 complains of, but might
 *                  clear what other clients have not seen, so the pages go
 *                  into every other client's dirty set first.
 *
 * Marks that arrived since the collect, on pages that are about to be handed
 * out, are taken here for the same reason.
 *
 * Synchronisation: all under slots_lock; fence.heavy as in collect.c.
 */
#include <errno.h>
#include <string.h>

#include "space/space_internal.h"

static void add_to_others(struct tide_watch *watch, uint64_t word,
			  uint64_t bits)
{
	for (struct tide_watch *other = watch->slot->watches; other;
	     other = other->next_in_slot) {
		if (other == watch)
			continue;
		tide_page_set_add_word(&other->dirty, word, bits);
		other->client->stats.pages_from_others += tide_popcount(bits);
	}
}

/* Takes marks of pages in the chunk that are about to be handed out. */
static int take_late_marks(struct tide_watch *watch, uint64_t first_word,
			   uint64_t end_word)
{
	struct tide_slot *slot = watch->slot;
	uint64_t taken = 0;

	if (tide_bitmap_looks_empty_in(&slot->marks, first_word, end_word))
		return 0;
	for (uint64_t word = tide_page_set_next(&watch->taken, first_word);
	     word < end_word;
	     word = tide_page_set_next(&watch->taken, word + 1)) {
		uint64_t bits = tide_bitmap_and_not(&slot->marks, word,
						    watch->taken.word[word]);

		if (!bits)
			continue;
		taken += tide_popcount(bits);
		add_to_others(watch, word, bits);
		if (slot->known)
			tide_page_set_add_word(&slot->marked, word, bits);
	}
	if (!taken)
		return 0;
	slot->space->stats.pages_marked += taken;
	/* FENCE(rearm.read) pairs with FENCE(mark.skip): as in collect.c. */
	return tide_fence_heavy(slot->space->asymmetric);
}

/* Lets known grow by this client's marked pages, which other clients get
 * first: I1 of collect.c holds for them. */
static void know_marked(struct tide_watch *watch, uint64_t first_word,
			uint64_t end_word)
{
	struct tide_slot *slot = watch->slot;
	struct tide_page_set *marked = &slot->marked;

	for (uint64_t word = tide_page_set_next(marked, first_word);
	     word < end_word; word = tide_page_set_next(marked, word + 1)) {
		uint64_t mine = marked->word[word] & watch->taken.word[word];
		uint64_t unseen = mine & ~slot->known[word];

		if (unseen) {
			add_to_others(watch, word, unseen);
			slot->known[word] |= unseen;
			slot->known_any = true;
		}
		if (mine)
			tide_page_set_drop(marked, word, mine);
	}
}

/* Clears known pages [first_word, end_word) in the kernel. */
static int rearm_words(struct tide_slot *slot, uint64_t first_word,
		       uint64_t end_word)
{
	struct tide_space *space = slot->space;
	uint64_t first, npages;
	int err;

	while (first_word < end_word && !slot->known[first_word])
		first_word++;
	while (first_word < end_word && !slot->known[end_word - 1])
		end_word--;
	if (first_word == end_word)
		return 0;
	first = first_word * TIDE_WORD_BITS;
	npages = (end_word - first_word) * TIDE_WORD_BITS;
	if (npages > slot->npages - first)
		npages = slot->npages - first; /* K33: the last word */
	space->stats.rearms++;
	err = space->ops->rearm(space->tracker, slot, first, npages,
				&slot->known[first_word]);
	/* On an error too: an empty known is always true, and what is in it is
	 * dirty in the kernel and comes back with the next collect. */
	memset(&slot->known[first_word], 0,
	       (end_word - first_word) * sizeof(*slot->known));
	return err;
}

/* The end of the last word in [@first, @end) that is not empty, or @first. */
static uint64_t end_of_words(const struct tide_page_set *set, uint64_t first,
			     uint64_t end)
{
	while (first < end) {
		uint64_t block = (end - 1) / TIDE_WORD_BITS;
		uint64_t begin = block * TIDE_WORD_BITS;
		uint64_t bits = set->block[block] &
				tide_mask(0, (unsigned int)(end - begin));

		if (bits) {
			end = begin + 64 - (uint64_t)__builtin_clzll(bits);
			return end > first ? end : first;
		}
		end = begin;
	}
	return first;
}

/*
 * Makes pages [first, end) of the watch ready to be handed out.  On an error
 * the pages of the slot are dirty for everybody.
 */
int tide_watch_rearm(struct tide_watch *watch, uint64_t first, uint64_t end)
{
	struct tide_slot *slot = watch->slot;
	uint64_t first_word = first / TIDE_WORD_BITS;
	uint64_t end_word = tide_words(end);
	int err;

	tide_lock_assert_held(&slot->space->slots_lock);
	if (slot->gone)
		return 0; /* nobody writes it any more */
	/* Only where something is handed out: what else is known waits for
	 * who hands it out. */
	first_word = tide_page_set_next(&watch->taken, first_word);
	end_word = end_of_words(&watch->taken, first_word, end_word);
	err = take_late_marks(watch, first_word, end_word);
	if (err)
		slot->space->fence_owed = true; /* see collect.c */
	if (!err && slot->known && slot->logged) {
		know_marked(watch, first_word, end_word);
		if (slot->known_any)
			err = rearm_words(slot, first_word, end_word);
	}
	if (err)
		tide_slot_fail_closed(slot);
	return err;
}

int tide_slot_rearm_known(struct tide_slot *slot)
{
	uint64_t chunk = slot->space->chunk_pages;

	tide_lock_assert_held(&slot->space->slots_lock);
	if (!slot->known_any || !slot->logged)
		return 0;
	for (uint64_t first = 0; first < slot->npages; first += chunk) {
		uint64_t end = slot->npages - first < chunk ? slot->npages
							    : first + chunk;
		int err = rearm_words(slot, first / TIDE_WORD_BITS,
				      tide_words(end));

		if (err) {
			tide_slot_fail_closed(slot);
			return err;
		}
	}
	slot->known_any = false;
	return 0;
}
