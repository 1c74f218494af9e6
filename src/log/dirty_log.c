/* SPDX-License-Identifier: MIT */
/*
 * dirty_log.c - GET and CLEAR of a dirty bitmap, over any mechanism's hooks
 *
 * Theory of operation
 * -------------------
 * A bit is cleared before its page is protected: a write between the two is
 * not caught, but its page is in the snapshot, and is read after the flush.
 * The other way round a write between the two would set the bit that is then
 * cleared, on a page that nothing protects any more.  Pages are protected under
 * the mechanism's lock, so that no fault is then between its mark and its
 * writable entry.  One that comes between clearing and protecting, where a full
 * batch lets go of the lock, marks its page anew.
 *
 * The snapshot is an array of the words that were not empty, so that a sparse
 * log costs what is dirty, and a failed flush finds there what to put back.
 * The array is finite: when it is full its words are flushed and handed out,
 * and a new batch begins, which lets others have the mechanism's lock.  Putting
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
#include <stdlib.h>

/* One GET or CLEAR. */
struct round {
	struct tide_dirty_log *log;
	const struct tide_dirty_log_hooks *hooks;
	void *hooked;
	void (*found)(void *opaque, uint64_t word, uint64_t bits);
	void *opaque;
	int err; /* of a flush: nothing is taken any more */
};

int tide_dirty_log_init(struct tide_dirty_log *log, uint64_t npages)
{
	uint64_t words = tide_words(npages);
	int err = tide_bitmap_init(&log->dirty, npages);

	if (err)
		return err;
	log->taken_count = 0;
	log->taken_max = words < TIDE_DIRTY_LOG_BATCH ? (uint32_t)words
						      : TIDE_DIRTY_LOG_BATCH;
	log->taken = malloc(log->taken_max * sizeof(*log->taken));
	if (!log->taken) {
		tide_bitmap_fini(&log->dirty);
		return -ENOMEM;
	}
	return 0;
}

void tide_dirty_log_fini(struct tide_dirty_log *log)
{
	free(log->taken);
	log->taken = NULL;
	tide_bitmap_fini(&log->dirty);
}

/* Protected: flush, and hand out; or put back. */
static void end_batch(struct round *round)
{
	struct tide_dirty_log *log = round->log;

	round->hooks->end(round->hooked);
	if (log->taken_count)
		round->err = round->hooks->flush(round->hooked);
	for (uint32_t i = 0; i < log->taken_count; i++) {
		const struct tide_dirty_word *taken = &log->taken[i];

		if (round->err)
			tide_bitmap_set_word(&log->dirty, taken->word,
					     taken->bits);
		else if (round->found)
			round->found(round->opaque, taken->word, taken->bits);
	}
	log->taken_count = 0;
}

static void take_and_protect(void *opaque, uint64_t word, uint64_t bits)
{
	struct round *round = opaque;
	struct tide_dirty_log *log = round->log;

	if (!round->err && log->taken_count == log->taken_max) {
		end_batch(round);
		round->hooks->begin(round->hooked);
	}
	if (round->err) {
		tide_bitmap_set_word(&log->dirty, word, bits);
		return;
	}
	log->taken[log->taken_count++] = (struct tide_dirty_word){ word, bits };
	round->hooks->protect(round->hooked, word, bits);
}

static void begin_round(struct round *round)
{
	assert(!round->log->taken_count); /* I1 */
	round->hooks->begin(round->hooked);
}

static int end_round(struct round *round)
{
	if (round->err)
		round->hooks->end(round->hooked);
	else
		end_batch(round);
	return round->err;
}

int tide_dirty_log_get(struct tide_dirty_log *log,
		       const struct tide_dirty_log_hooks *hooks, void *hooked,
		       void (*found)(void *opaque, uint64_t word,
				     uint64_t bits),
		       void *opaque)
{
	struct round round = { .log = log,
			       .hooks = hooks,
			       .hooked = hooked,
			       .found = found,
			       .opaque = opaque };

	begin_round(&round);
	(void)tide_bitmap_take(&log->dirty, take_and_protect, &round);
	return end_round(&round);
}

void tide_dirty_log_peek(const struct tide_dirty_log *log,
			 void (*found)(void *opaque, uint64_t word,
				       uint64_t bits),
			 void *opaque)
{
	tide_bitmap_peek(&log->dirty, found, opaque);
}

int tide_dirty_log_clear(struct tide_dirty_log *log,
			 const struct tide_dirty_log_hooks *hooks, void *hooked,
			 uint64_t first_word, uint64_t npages,
			 const uint64_t *words)
{
	struct round round = { .log = log, .hooks = hooks, .hooked = hooked };

	assert(first_word <= tide_words(log->dirty.nbits));
	assert(!npages ||
	       npages <= log->dirty.nbits - first_word * TIDE_WORD_BITS);
	begin_round(&round);
	for (uint64_t i = 0; i < tide_words(npages) && !round.err; i++) {
		uint64_t bits = tide_bitmap_and_not(
			&log->dirty, first_word + i,
			words[i] & tide_word_mask(npages, i));

		if (bits)
			take_and_protect(&round, first_word + i, bits);
	}
	return end_round(&round);
}
