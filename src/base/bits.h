/* SPDX-License-Identifier: MIT */
/*
 * bits.h - arrays of bits in 64-bit words
 *
 * Bit i of an array is bit i % 64 of words[i / 64], KVM's order on a
 * little-endian host.  It knows nothing of pages.
 */
#ifndef TIDE_BASE_BITS_H
#define TIDE_BASE_BITS_H

#include <assert.h>
#include <stdint.h>

#define TIDE_WORD_BITS 64u

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "KVM's bitmaps are little-endian; swap words before you port");

/* Words that hold @nbits bits. */
static inline uint64_t tide_words(uint64_t nbits)
{
	return (nbits + TIDE_WORD_BITS - 1) / TIDE_WORD_BITS;
}

static inline uint64_t tide_bit(uint64_t index)
{
	return 1ull << (index % TIDE_WORD_BITS);
}

/* Bits [first, first + count) of one word; first < 64, first + count <= 64. */
static inline uint64_t tide_mask(unsigned int first, unsigned int count)
{
	assert(first < TIDE_WORD_BITS && first + count <= TIDE_WORD_BITS);
	if (!count)
		return 0;
	return (~0ull >> (TIDE_WORD_BITS - count)) << first;
}

/* The bits of word @word that belong to an array of @nbits bits. */
static inline uint64_t tide_word_mask(uint64_t nbits, uint64_t word)
{
	uint64_t begin = word * TIDE_WORD_BITS;

	assert(begin < nbits);
	if (nbits - begin >= TIDE_WORD_BITS)
		return ~0ull;
	return tide_mask(0, (unsigned int)(nbits - begin));
}

/* The bits of word @word that lie in [first, end). */
static inline uint64_t tide_range_mask(uint64_t first, uint64_t end,
				       uint64_t word)
{
	uint64_t begin = word * TIDE_WORD_BITS;
	uint64_t lo = first > begin ? first - begin : 0;
	uint64_t hi =
		end - begin < TIDE_WORD_BITS ? end - begin : TIDE_WORD_BITS;

	assert(begin < end && lo < TIDE_WORD_BITS);
	return lo < hi ? tide_mask((unsigned int)lo, (unsigned int)(hi - lo))
		       : 0;
}

/* Index of the lowest set bit; word must not be 0. */
static inline unsigned int tide_lowest(uint64_t word)
{
	assert(word);
	return (unsigned int)__builtin_ctzll(word);
}

static inline unsigned int tide_popcount(uint64_t word)
{
	return (unsigned int)__builtin_popcountll(word);
}

#endif
