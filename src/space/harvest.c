/* SPDX-License-Identifier: MIT */
/*
 * harvest.c - one client's transaction over its dirty set
 *
 * Theory of operation
 * -------------------
 * begin collects and then exchanges the client's dirty set with the empty
 * taken set: what is taken belongs to this harvest, what comes from now on to
 * the next.  next walks the taken set; before the first page of a chunk it
 * re-arms the chunk (rearm.c).  commit empties the taken set, except what was
 * not handed out, and abort merges all of it back into dirty.
 *
 * Invariants
 *   I1  a page is in taken only while a harvest is open
 *   I2  every page handed out lies in a chunk that was re-armed after begin
 *
 * Synchronisation: slots_lock, except that the owner of the open harvest
 * walks its taken set and moves its cursor without it.
 */
#include <errno.h>

#include "base/clock.h"
#include "space/space_internal.h"

static void exchange_sets(struct tide_client *client)
{
	for (struct tide_watch *watch = client->watches; watch;
	     watch = watch->next_in_client) {
		struct tide_page_set empty = watch->taken;

		assert(tide_page_set_empty(&empty)); /* I1 */
		watch->taken = watch->dirty;
		watch->dirty = empty;
	}
}

static int begin_locked(struct tide_client *client)
{
	struct tide_harvest *harvest = &client->harvest;
	struct tide_space *space = client->space;
	uint64_t begin_ns;
	int err;

	if (harvest->open)
		return -EBUSY;
	/* Without the lock meanwhile; the owner is here, so it stays closed. */
	(void)tide_space_sync(space);
	begin_ns = tide_now_ns();
	err = tide_space_collect(space, NULL);
	client->stats.collect_ns += tide_now_ns() - begin_ns;
	if (err)
		return err;
	exchange_sets(client);
	*harvest = (struct tide_harvest){
		.client = client,
		.open = true,
		.watch = client->watches,
	};
	client->stats.harvests++;
	return 0;
}

int tide_harvest_begin(struct tide_client *client, struct tide_harvest **ret)
{
	int err;

	tide_space_lock(client->space);
	err = begin_locked(client);
	tide_space_unlock(client->space);
	if (!err)
		*ret = &client->harvest;
	return err;
}

/* Gone slots that this client has heard everything about. */
static void forget_gone(struct tide_client *client)
{
	struct tide_watch *next;

	for (struct tide_watch *watch = client->watches; watch; watch = next) {
		next = watch->next_in_client;
		if (watch->slot->gone && tide_page_set_empty(&watch->dirty))
			tide_watch_destroy(watch);
	}
}

static void put_back(struct tide_harvest *harvest)
{
	struct tide_client *client = harvest->client;

	for (struct tide_watch *watch = client->watches; watch;
	     watch = watch->next_in_client) {
		tide_page_set_merge(&watch->dirty, &watch->taken);
		tide_page_set_clear(&watch->taken);
	}
	client->stats.aborts++;
	client->stats.pages_put_back += harvest->yielded;
	client->stats.pages_yielded += harvest->yielded;
	harvest->yielded = 0;
	harvest->watch = NULL;
	harvest->word = 0;
	harvest->armed = NULL;
}

/* Its memory may be unmapped now (tide_slot_busy). */
static void let_go(struct tide_harvest *harvest)
{
	for (struct tide_watch *watch = harvest->client->watches; watch;
	     watch = watch->next_in_client)
		watch->in_hand = false;
	harvest->armed = NULL;
	harvest->open = false;
}

/* The next chunk with pages in it.  Return: 1; 0 at the end; an error. */
static int next_chunk(struct tide_harvest *harvest)
{
	struct tide_space *space = harvest->client->space;
	struct tide_watch *watch = harvest->watch;
	struct tide_slot *slot;
	uint64_t word, done, first, end, begin_ns;
	int err;

	harvest->armed = NULL;
	done = word = harvest->next_word;
	while (watch && (word = tide_page_set_next(&watch->taken, word)) ==
				watch->taken.nwords) {
		watch = watch->next_in_client;
		done = word = 0;
	}
	harvest->watch = watch;
	harvest->next_word = word;
	if (!watch)
		return 0;

	slot = watch->slot;
	/* Without re-arming there is nothing to do late, or in pieces. */
	first = slot->known ? word * TIDE_WORD_BITS & ~(space->chunk_pages - 1)
			    : 0;
	end = !slot->known || slot->npages - first < space->chunk_pages
		      ? slot->npages
		      : first + space->chunk_pages;
	/* Chunks may have grown; what was handed out is not ours any more. */
	if (first < done * TIDE_WORD_BITS)
		first = done * TIDE_WORD_BITS;
	begin_ns = tide_now_ns();
	err = tide_watch_rearm(watch, first, end);
	harvest->client->stats.rearm_ns += tide_now_ns() - begin_ns;
	if (err)
		return err;
	harvest->end_word = tide_words(end);
	/* Relaxed: only a number; who wants the new one after a move ordered
	 * its calls. */
	atomic_store_explicit(&harvest->first_gfn, slot->first_gfn,
			      memory_order_relaxed);
	harvest->slot_id = slot->id;
	harvest->host = slot->gone ? NULL : slot->host;
	harvest->extent_flags = slot->gone ? TIDE_EXTENT_GONE : 0;
	harvest->armed = slot->gone ? NULL : slot;
	if (!slot->gone)
		watch->in_hand = true;
	return 1;
}

__attribute__((noinline)) static int refill(struct tide_harvest *harvest)
{
	struct tide_space *space = harvest->client->space;
	int ret;

	if (harvest->failed)
		return -ECANCELED;
	tide_space_lock(space);
	ret = next_chunk(harvest);
	if (ret < 0) {
		put_back(harvest);
		harvest->failed = true;
	}
	tide_space_unlock(space);
	return ret;
}

/* @bits of word @word are to be handed out next. */
static void load_word(struct tide_harvest *harvest, uint64_t bits,
		      uint64_t word)
{
	harvest->word = bits;
	harvest->word_page = word * TIDE_WORD_BITS;
	harvest->next_word = word + 1;
}

/* The run at the end of harvest->word goes on in the words after it, to the
 * end of the chunk at most.  Return: how many pages. */
__attribute__((noinline)) static uint64_t
extend_run(struct tide_harvest *harvest)
{
	const uint64_t *taken = harvest->watch->taken.word;
	uint64_t npages = 0;

	while (harvest->next_word < harvest->end_word) {
		uint64_t word = taken[harvest->next_word];
		unsigned int run = ~word ? tide_lowest(~word) : TIDE_WORD_BITS;

		if (!run)
			break;
		npages += run;
		load_word(harvest, word & ~tide_mask(0, run),
			  harvest->next_word);
		if (run < TIDE_WORD_BITS)
			break;
	}
	return npages;
}

/* Makes harvest->word the next one that is not 0.  Return: 1; 0 at the end;
 * an error. */
__attribute__((noinline)) static int next_word(struct tide_harvest *harvest)
{
	for (;;) {
		uint64_t word = harvest->next_word;
		int more;

		if (word < harvest->end_word) {
			const struct tide_page_set *taken =
				&harvest->watch->taken;

			if (!taken->word[word])
				word = tide_page_set_next(taken, word);
			if (word < harvest->end_word) {
				load_word(harvest, taken->word[word], word);
				return 1;
			}
		}
		harvest->next_word = harvest->end_word;
		harvest->end_word = 0;
		more = refill(harvest);
		if (more <= 0)
			return more;
	}
}

/* Hands out @npages pages from page @bit of the loaded word on. */
static inline int hand_out(struct tide_harvest *harvest, unsigned int bit,
			   uint64_t npages, struct tide_extent *ret)
{
	uint64_t page = harvest->word_page + bit;

	/* Relaxed: see next_chunk. */
	ret->first_gfn = page + atomic_load_explicit(&harvest->first_gfn,
						     memory_order_relaxed);
	ret->npages = npages;
	ret->host =
		harvest->host ? harvest->host + page * TIDE_PAGE_SIZE : NULL;
	ret->slot = harvest->slot_id;
	ret->flags = harvest->extent_flags;
	harvest->yielded += npages;
	return 1;
}

/* No word is loaded, or its last run may go on in the next word. */
__attribute__((noinline)) static int next_long(struct tide_harvest *harvest,
					       struct tide_extent *ret)
{
	unsigned int bit, run;
	uint64_t ones;

	if (!harvest->word) {
		int more = next_word(harvest);

		if (more <= 0)
			return more;
	}
	bit = tide_lowest(harvest->word);
	ones = ~(harvest->word >> bit);
	run = ones ? tide_lowest(ones) : TIDE_WORD_BITS;
	harvest->word &= ~tide_mask(bit, run);
	/* Filled in before extend_run moves on to other words. */
	(void)hand_out(harvest, bit, run, ret);
	if (bit + run == TIDE_WORD_BITS) {
		uint64_t npages = extend_run(harvest);

		ret->npages += npages;
		harvest->yielded += npages;
	}
	return 1;
}

/* Most extents lie inside the word that was loaded for the one before; that
 * path is short and calls nothing. */
int tide_harvest_next(struct tide_harvest *harvest, struct tide_extent *ret)
{
	uint64_t word = harvest->word;
	/* Adding the lowest bit clears its run and sets the bit above it; 0 if
	 * there is no bit above, or no run. */
	uint64_t carry = word + (word & -word);
	unsigned int bit;

	if (!carry)
		return next_long(harvest, ret);
	bit = tide_lowest(word);
	harvest->word = word & carry;
	return hand_out(harvest, bit, tide_lowest(carry) - bit, ret);
}

/* What next did not hand out stays dirty. */
static void keep_rest(struct tide_harvest *harvest)
{
	struct tide_watch *watch = harvest->watch;
	uint64_t word = harvest->next_word;

	if (!watch)
		return;
	if (harvest->word)
		tide_page_set_add_word(&watch->dirty, word - 1, harvest->word);
	for (; watch; watch = watch->next_in_client, word = 0) {
		const struct tide_page_set *taken = &watch->taken;

		for (word = tide_page_set_next(taken, word);
		     word < taken->nwords;
		     word = tide_page_set_next(taken, word + 1))
			tide_page_set_add_word(&watch->dirty, word,
					       taken->word[word]);
	}
}

int tide_harvest_commit(struct tide_harvest *harvest)
{
	struct tide_client *client = harvest->client;
	bool failed = harvest->failed;

	if (!harvest->open)
		return -EINVAL;
	tide_space_lock(client->space);
	if (!failed) {
		keep_rest(harvest);
		for (struct tide_watch *watch = client->watches; watch;
		     watch = watch->next_in_client)
			tide_page_set_clear(&watch->taken);
		client->stats.commits++;
		client->stats.pages_yielded += harvest->yielded;
	}
	let_go(harvest);
	forget_gone(client);
	tide_space_unlock(client->space);
	return failed ? -ECANCELED : 0;
}

void tide_harvest_abort(struct tide_harvest *harvest)
{
	struct tide_client *client;

	if (!harvest || !harvest->open)
		return;
	client = harvest->client;
	tide_space_lock(client->space);
	if (!harvest->failed)
		put_back(harvest);
	let_go(harvest);
	tide_space_unlock(client->space);
}
