/* SPDX-License-Identifier: MIT */
/*
 * bitmap.h - an atomic dirty bitmap with summary levels
 *
 * Any number of threads mark, one at a time takes.  Two summary levels above
 * the bits make an empty take cost nbits / 2^17 words and a sparse one what
 * its dirty words cost.  A long range is set without its words being touched.
 *
 * Threads.  "-" may run at the same time, "X" the caller must serialise:
 *
 *               mark/set  test/peek  take/clear  fini
 *     mark/set      -         -          -        X
 *     test/peek     -         -          -        X
 *     take/clear    -         -          X        X
 *
 * A peek beside a take may miss what that take finds, and beside a clear what
 * is set meanwhile in the word that it empties.
 *
 * Progress.  mark, set and test are wait-free.  Only init allocates.
 */
#ifndef TIDE_LOG_BITMAP_H
#define TIDE_LOG_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/fence.h"

#define TIDE_BITMAP_LEVELS 3

struct tide_bitmap {
	/* Constant after init. */
	uint64_t nbits;
	size_t nwords[TIDE_BITMAP_LEVELS];
	/* level[0]: the bits.  Bit w of level n + 1 is set whenever word w of
	 * level n is not 0 (it may be set when that is 0). */
	_Atomic uint64_t *level[TIDE_BITMAP_LEVELS];
	/* As level 2, a bit for each word of level 1, 4096 bits: they are all
	 * set, whatever level 0 says. */
	_Atomic uint64_t *full;
};

/* All clear.  Return: 0; -EINVAL for no bits; -ENOMEM. */
int tide_bitmap_init(struct tide_bitmap *bitmap, uint64_t nbits);
void tide_bitmap_fini(struct tide_bitmap *bitmap);

/* The slow half of tide_bitmap_mark: sets the bit on every level. */
void tide_bitmap_set(struct tide_bitmap *bitmap, uint64_t bit);

/* Sets bits [first, first + count): 2^18 at a time where it can, or a word. */
void tide_bitmap_set_range(struct tide_bitmap *bitmap, uint64_t first,
			   uint64_t count);

/* Sets the bits of @bits in word @word. */
void tide_bitmap_set_word(struct tide_bitmap *bitmap, uint64_t word,
			  uint64_t bits);

bool tide_bitmap_test(const struct tide_bitmap *bitmap, uint64_t bit);

/* Takes (exchanges with 0) every word that is not 0 and hands it to @found.
 * Return: the number of bits taken. */
uint64_t tide_bitmap_take(struct tide_bitmap *bitmap,
			  void (*found)(void *opaque, uint64_t word,
					uint64_t bits),
			  void *opaque);

/* Hands every word that is not 0 to @found and leaves it.  It costs what take
 * costs; a bit that is set this moment may be missed. */
void tide_bitmap_peek(const struct tide_bitmap *bitmap,
		      void (*found)(void *opaque, uint64_t word, uint64_t bits),
		      void *opaque);

/* Clears the bits of @bits in word @word.  Return: those that were set. */
uint64_t tide_bitmap_and_not(struct tide_bitmap *bitmap, uint64_t word,
			     uint64_t bits);

/* No bit was set for some time; one that is set this moment may be missed. */
bool tide_bitmap_looks_empty(const struct tide_bitmap *bitmap);
/* The same of words [first_word, end_word), and perhaps of others near them. */
bool tide_bitmap_looks_empty_in(const struct tide_bitmap *bitmap,
				uint64_t first_word, uint64_t end_word);

/*
 * tide_bitmap_mark() - set a bit after having written what it stands for
 *
 * With @asymmetric fences a bit that is set on every level is left alone: its
 * cache line is only read.  The caller of take, and of and_not, runs
 * tide_fence_heavy(asymmetric) between taking a bit and reading what it
 * stands for.
 */
static inline void tide_bitmap_mark(struct tide_bitmap *bitmap, uint64_t bit,
				    bool asymmetric)
{
	uint64_t index = bit;
	int set = 0;

	if (!asymmetric) {
		tide_bitmap_set(bitmap, bit);
		return;
	}
	/* FENCE(mark.skip) pairs with FENCE(collect.read) and
	 * FENCE(rearm.read): the write before, the test after. */
	tide_fence_light(true);
	for (int n = 0; n < TIDE_BITMAP_LEVELS; n++) {
		/* SEQ_CST(bitmap.seen) pairs with SEQ_CST(bitmap.take) and
		 * SEQ_CST(bitmap.lower): the bit may be another writer's who
		 * has yet to raise the levels above.  We see them as they are
		 * after it was set, not as a taker found them before. */
		uint64_t word = atomic_load_explicit(
			&bitmap->level[n][index / TIDE_WORD_BITS],
			memory_order_seq_cst);

		set += (word & tide_bit(index)) != 0;
		index /= TIDE_WORD_BITS;
	}
	if (set != TIDE_BITMAP_LEVELS)
		tide_bitmap_set(bitmap, bit);
}

#endif
