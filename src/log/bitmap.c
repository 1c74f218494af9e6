/* SPDX-License-Identifier: MIT */
/*
 * bitmap.c - an atomic dirty bitmap with summary levels
 *
 * Theory of operation
 * -------------------
 * Level 0 holds the bits, level n + 1 one bit for each word of level n.  A
 * writer sets bottom-up, a taker exchanges top-down.  Suppose that a writer
 * finds a summary bit set and leaves it: either no taker has exchanged that
 * summary word since, and the next one finds the bit; or one has, and it goes
 * on to exchange the word below, in which the writer's bit already was.  That
 * either-or is store buffering (the writer stores below and loads above, the
 * taker stores above and loads below), so all of it is sequentially
 * consistent.  A summary bit over an empty word is harmless and goes away
 * with the next take.
 *
 * Leaving a level-0 bit alone because it is already set is the same pattern
 * once more, with the written data in the place of the bit: the writer stores
 * data and loads the bit, the taker clears the bit and loads data.  Its two
 * fences are in tide_bitmap_mark() and with the taker's caller.  Without them
 * a C11 checker finds the lost write in two executions; x86 tests never do.
 *
 * Invariants
 *   I1  a word that is not 0 has its summary bit set, or a writer is between
 *       its level n and its level n + 1, or a taker has taken the summary bit
 *       and not yet reached the word
 *   I2  no bit at or beyond nbits is ever set on level 0
 *
 * Synchronisation
 *   bitmap.set    publishes what was written before  -> bitmap.take, .clear,
 *                                                       .peek
 *   bitmap.take   clears, and acquires the set       -> bitmap.seen, .above
 */
#include "log/bitmap.h"

#include <errno.h>
#include <stdlib.h>

int tide_bitmap_init(struct tide_bitmap *bitmap, uint64_t nbits)
{
	uint64_t n = nbits;
	uint64_t total = 0;
	_Atomic uint64_t *words;

	if (!nbits)
		return -EINVAL;
	for (int level = 0; level < TIDE_BITMAP_LEVELS; level++) {
		n = tide_words(n);
		bitmap->nwords[level] = n;
		total += n;
	}
	/* calloc takes large runs from the kernel, untouched and zero. */
	words = calloc(total, sizeof(*words));
	if (!words)
		return -ENOMEM;
	bitmap->nbits = nbits;
	for (int level = 0; level < TIDE_BITMAP_LEVELS; level++) {
		bitmap->level[level] = words;
		words += bitmap->nwords[level];
	}
	return 0;
}

void tide_bitmap_fini(struct tide_bitmap *bitmap)
{
	free(bitmap->level[0]);
	*bitmap = (struct tide_bitmap){ 0 };
}

/* Word @word of level 0 has just been given bits: say so above. */
static void summarise(struct tide_bitmap *bitmap, uint64_t word)
{
	uint64_t index = word;

	for (int n = 1; n < TIDE_BITMAP_LEVELS; n++) {
		_Atomic uint64_t *above =
			&bitmap->level[n][index / TIDE_WORD_BITS];

		/* SEQ_CST(bitmap.above) pairs with SEQ_CST(bitmap.take) and
		 * SEQ_CST(bitmap.look): we stored below and look above, a
		 * taker stores above and looks below; one of us sees the
		 * other. */
		if (!(atomic_load_explicit(above, memory_order_seq_cst) &
		      tide_bit(index))) {
			/* SEQ_CST(bitmap.raise) pairs with
			 * SEQ_CST(bitmap.take) and ACQUIRE(bitmap.peek): in
			 * the same order. */
			atomic_fetch_or_explicit(above, tide_bit(index),
						 memory_order_seq_cst);
		}
		index /= TIDE_WORD_BITS;
	}
}

void tide_bitmap_set_word(struct tide_bitmap *bitmap, uint64_t word,
			  uint64_t bits)
{
	assert(word < bitmap->nwords[0]);
	assert(!(bits & ~tide_word_mask(bitmap->nbits, word))); /* I2 */
	if (!bits)
		return;
	/* SEQ_CST(bitmap.set) pairs with SEQ_CST(bitmap.take),
	 * SEQ_CST(bitmap.clear) and ACQUIRE(bitmap.peek): who finds the bit
	 * sees what was written before it was set. */
	atomic_fetch_or_explicit(&bitmap->level[0][word], bits,
				 memory_order_seq_cst);
	summarise(bitmap, word);
}

void tide_bitmap_set(struct tide_bitmap *bitmap, uint64_t bit)
{
	tide_bitmap_set_word(bitmap, bit / TIDE_WORD_BITS, tide_bit(bit));
}

void tide_bitmap_set_range(struct tide_bitmap *bitmap, uint64_t first,
			   uint64_t count)
{
	uint64_t end = first + count;

	assert(end >= first && end <= bitmap->nbits);
	for (uint64_t word = first / TIDE_WORD_BITS;
	     word * TIDE_WORD_BITS < end; word++)
		tide_bitmap_set_word(bitmap, word,
				     tide_range_mask(first, end, word));
}

bool tide_bitmap_test(const struct tide_bitmap *bitmap, uint64_t bit)
{
	assert(bit < bitmap->nbits);
	/* Relaxed: an answer about a bit that others change is old anyhow. */
	return atomic_load_explicit(&bitmap->level[0][bit / TIDE_WORD_BITS],
				    memory_order_relaxed) &
	       tide_bit(bit);
}

/* Exchanges word @word of level @n with 0, looking first: an empty word is
 * not worth a locked instruction. */
static uint64_t take_word(struct tide_bitmap *bitmap, int n, uint64_t word)
{
	_Atomic uint64_t *from = &bitmap->level[n][word];

	/* SEQ_CST(bitmap.look) pairs with SEQ_CST(bitmap.above): seen as 0
	 * after the summary above was taken, the writer has yet to look at
	 * that summary, and will raise it again. */
	if (!atomic_load_explicit(from, memory_order_seq_cst))
		return 0;
	/* SEQ_CST(bitmap.take) pairs with SEQ_CST(bitmap.set),
	 * SEQ_CST(bitmap.above), SEQ_CST(bitmap.raise) and
	 * ACQUIRE(bitmap.seen): see Theory of operation. */
	return atomic_exchange_explicit(from, 0, memory_order_seq_cst);
}

uint64_t tide_bitmap_take(struct tide_bitmap *bitmap,
			  void (*found)(void *opaque, uint64_t word,
					uint64_t bits),
			  void *opaque)
{
	uint64_t taken = 0;

	for (uint64_t i = 0; i < bitmap->nwords[2]; i++) {
		uint64_t top = take_word(bitmap, 2, i);

		for (; top; top &= top - 1) {
			uint64_t j = i * TIDE_WORD_BITS + tide_lowest(top);
			uint64_t middle = take_word(bitmap, 1, j);

			for (; middle; middle &= middle - 1) {
				uint64_t word = j * TIDE_WORD_BITS +
						tide_lowest(middle);
				uint64_t bits = take_word(bitmap, 0, word);

				if (!bits)
					continue;
				taken += tide_popcount(bits);
				found(opaque, word, bits);
			}
		}
	}
	return taken;
}

static uint64_t peek_word(const struct tide_bitmap *bitmap, int n,
			  uint64_t word)
{
	/* ACQUIRE(bitmap.peek) pairs with SEQ_CST(bitmap.set) and
	 * SEQ_CST(bitmap.raise): what was written before the bit was set is
	 * seen with it, and the level below with the one above. */
	return atomic_load_explicit(&bitmap->level[n][word],
				    memory_order_acquire);
}

void tide_bitmap_peek(const struct tide_bitmap *bitmap,
		      void (*found)(void *opaque, uint64_t word, uint64_t bits),
		      void *opaque)
{
	for (uint64_t i = 0; i < bitmap->nwords[2]; i++) {
		uint64_t top = peek_word(bitmap, 2, i);

		for (; top; top &= top - 1) {
			uint64_t j = i * TIDE_WORD_BITS + tide_lowest(top);
			uint64_t middle = peek_word(bitmap, 1, j);

			for (; middle; middle &= middle - 1) {
				uint64_t word = j * TIDE_WORD_BITS +
						tide_lowest(middle);
				uint64_t bits = peek_word(bitmap, 0, word);

				if (bits)
					found(opaque, word, bits);
			}
		}
	}
}

uint64_t tide_bitmap_and_not(struct tide_bitmap *bitmap, uint64_t word,
			     uint64_t bits)
{
	assert(word < bitmap->nwords[0]);
	/* Relaxed: a bit set this moment is left for the next take. */
	if (!(atomic_load_explicit(&bitmap->level[0][word],
				   memory_order_relaxed) &
	      bits))
		return 0;
	/* SEQ_CST(bitmap.clear) pairs with SEQ_CST(bitmap.set): as take.  The
	 * summary stays: at worst it stands over an empty word. */
	return atomic_fetch_and_explicit(&bitmap->level[0][word], ~bits,
					 memory_order_seq_cst) &
	       bits;
}

bool tide_bitmap_looks_empty(const struct tide_bitmap *bitmap)
{
	for (size_t i = 0; i < bitmap->nwords[2]; i++) {
		/* Relaxed: a hint. */
		if (atomic_load_explicit(&bitmap->level[2][i],
					 memory_order_relaxed))
			return false;
	}
	return true;
}
