/* SPDX-License-Identifier: MIT */
/*
 * dirty_log.c - GET and CLEAR of a dirty bitmap, over any mechanism's hooks
 *
 * Theory of operation
 * -------------------
 * A bit is cleared before its page is protected: a write between the two is
 * not caught, but its page is in the snapshot, and is read after the flush.
 * The other way round a write between the two would set the bit that is then
 * cleared, on a page that nothing protects any more.  Both happen in one hold
 * of the mechanism's lock, so that no fault makes the page writable between
 * them.
 *
 * The snapshot is a second bitmap and not an array of words: it is as sparse
 * as what was dirty, and a failed flush finds in it what to put back.  Putting
 * back bits of pages that are protected by now is harmless: they are dirty
 * once too often.
 *
 * Invariants
 *   I1  between calls taken is empty
 *   I2  a bit leaves dirty for taken only, and taken for found only, or back
 */
#include "log/dirty_log.h"

#include <assert.h>
#include <errno.h>

/* One GET or CLEAR. */
struct round {
	struct tide_dirty_log *log;
	const struct tide_dirty_log_hooks *hooks;
	void *hooked;
	bool any;
};

int tide_dirty_log_init(struct tide_dirty_log *log, uint64_t npages)
{
	int err = tide_bitmap_init(&log->dirty, npages);

	if (err)
		return err;
	err = tide_bitmap_init(&log->taken, npages);
	if (err)
		tide_bitmap_fini(&log->dirty);
	return err;
}

void tide_dirty_log_fini(struct tide_dirty_log *log)
{
	tide_bitmap_fini(&log->taken);
	tide_bitmap_fini(&log->dirty);
}

static void take_and_protect(void *opaque, uint64_t word, uint64_t bits)
{
	struct round *round = opaque;

	round->any = true;
	tide_bitmap_set_word(&round->log->taken, word, bits);
	round->hooks->protect(round->hooked, word, bits);
}

static void put_back(void *opaque, uint64_t word, uint64_t bits)
{
	struct tide_dirty_log *log = opaque;

	tide_bitmap_set_word(&log->dirty, word, bits);
}

/* Flushes if a bit was taken.  On failure everything is as it was. */
static int flush(struct round *round)
{
	int err = round->any ? round->hooks->flush(round->hooked) : 0;

	if (err)
		(void)tide_bitmap_take(&round->log->taken, put_back,
				       round->log);
	return err;
}

int tide_dirty_log_get(struct tide_dirty_log *log,
		       const struct tide_dirty_log_hooks *hooks, void *hooked,
		       void (*found)(void *opaque, uint64_t word,
				     uint64_t bits),
		       void *opaque)
{
	struct round round = { .log = log, .hooks = hooks, .hooked = hooked };
	int err;

	assert(tide_bitmap_looks_empty(&log->taken)); /* I1 */
	hooks->begin(hooked);
	(void)tide_bitmap_take(&log->dirty, take_and_protect, &round);
	hooks->end(hooked);
	err = flush(&round);
	if (!err)
		(void)tide_bitmap_take(&log->taken, found, opaque);
	return err;
}

void tide_dirty_log_peek(const struct tide_dirty_log *log,
			 void (*found)(void *opaque, uint64_t word,
				       uint64_t bits),
			 void *opaque)
{
	tide_bitmap_peek(&log->dirty, found, opaque);
}

static void forget(void *opaque, uint64_t word, uint64_t bits)
{
	(void)opaque;
	(void)word;
	(void)bits;
}

int tide_dirty_log_clear(struct tide_dirty_log *log,
			 const struct tide_dirty_log_hooks *hooks, void *hooked,
			 uint64_t first_word, uint64_t npages,
			 const uint64_t *words)
{
	struct round round = { .log = log, .hooks = hooks, .hooked = hooked };
	int err;

	assert(first_word <= tide_words(log->dirty.nbits));
	assert(!npages ||
	       npages <= log->dirty.nbits - first_word * TIDE_WORD_BITS);
	assert(tide_bitmap_looks_empty(&log->taken)); /* I1 */
	hooks->begin(hooked);
	for (uint64_t i = 0; i < tide_words(npages); i++) {
		uint64_t bits = tide_bitmap_and_not(
			&log->dirty, first_word + i,
			words[i] & tide_word_mask(npages, i));

		if (bits)
			take_and_protect(&round, first_word + i, bits);
	}
	hooks->end(hooked);
	err = flush(&round);
	if (!err)
		(void)tide_bitmap_take(&log->taken, forget, NULL);
	return err;
}
