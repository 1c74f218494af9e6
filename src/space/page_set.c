/* SPDX-License-Identifier: MIT */
/*
 * page_set.c - a set of pages that one thread at a time touches
 *
 * Invariants
 *   I1  bit w of block is set if and only if word[w] is not 0, and bit b of
 *       top if and only if block[b] is not 0
 *   I2  no page at or beyond npages is in the set
 */
#include "space/page_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int tide_page_set_init(struct tide_page_set *set, uint64_t npages)
{
	uint64_t *words;

	set->npages = npages;
	set->nwords = tide_words(npages);
	set->nblocks = tide_words(set->nwords);
	set->ntops = tide_words(set->nblocks);
	words = calloc(set->nwords + set->nblocks + set->ntops, sizeof(*words));
	if (!words)
		return -ENOMEM;
	set->word = words;
	set->block = set->word + set->nwords;
	set->top = set->block + set->nblocks;
	return 0;
}

void tide_page_set_fini(struct tide_page_set *set)
{
	free(set->word);
	*set = (struct tide_page_set){ 0 };
}

static void fill_level(uint64_t *words, uint64_t nbits)
{
	uint64_t nwords = tide_words(nbits);

	memset(words, 0xff, nwords * sizeof(*words));
	words[nwords - 1] = tide_word_mask(nbits, nwords - 1); /* I2 */
}

/* Memory that is about to be written as a whole: in one call, not a page fault
 * each.  It is only faster: an old kernel need not know it. */
static void populate(void *words, size_t nbytes)
{
	const uintptr_t page = 4096;
	uintptr_t begin = ((uintptr_t)words + page - 1) & ~(page - 1);
	uintptr_t end = ((uintptr_t)words + nbytes) & ~(page - 1);

	if (end > begin)
		(void)madvise((void *)begin, end - begin, MADV_POPULATE_WRITE);
}

void tide_page_set_fill(struct tide_page_set *set)
{
	populate(set->word, set->nwords * sizeof(*set->word));
	fill_level(set->word, set->npages);
	fill_level(set->block, set->nwords);
	fill_level(set->top, set->nblocks);
}

/* Words of block @index: 64, or fewer at the end of the set. */
static uint64_t block_words(const struct tide_page_set *set, uint64_t index)
{
	uint64_t first = index * TIDE_WORD_BITS;

	return set->nwords - first < TIDE_WORD_BITS ? set->nwords - first
						    : TIDE_WORD_BITS;
}

/* A block with few words is not worth reading the others. */
#define FEW_WORDS 8u

static void clear_block(struct tide_page_set *set, uint64_t index)
{
	uint64_t *words = &set->word[index * TIDE_WORD_BITS];
	uint64_t rest = set->block[index];

	if (tide_popcount(rest) > FEW_WORDS)
		memset(words, 0, block_words(set, index) * sizeof(*words));
	else
		for (; rest; rest &= rest - 1)
			words[tide_lowest(rest)] = 0;
	set->block[index] = 0;
}

void tide_page_set_clear(struct tide_page_set *set)
{
	for (uint64_t i = 0; i < set->ntops; i++) {
		for (uint64_t top = set->top[i]; top; top &= top - 1) {
			uint64_t block = i * TIDE_WORD_BITS + tide_lowest(top);

			clear_block(set, block);
		}
		set->top[i] = 0;
	}
}

void tide_page_set_merge(struct tide_page_set *set,
			 const struct tide_page_set *from)
{
	assert(set->npages == from->npages);
	for (uint64_t word = tide_page_set_next(from, 0); word < from->nwords;
	     word = tide_page_set_next(from, word + 1))
		tide_page_set_add_word(set, word, from->word[word]);
}

uint64_t tide_page_set_count(const struct tide_page_set *set)
{
	uint64_t count = 0;

	for (uint64_t word = tide_page_set_next(set, 0); word < set->nwords;
	     word = tide_page_set_next(set, word + 1))
		count += tide_popcount(set->word[word]);
	return count;
}

void tide_page_set_add_block(struct tide_page_set *set, uint64_t index,
			     const uint64_t words[TIDE_WORD_BITS],
			     uint64_t not_empty)
{
	uint64_t *to = &set->word[index * TIDE_WORD_BITS];

	assert(index < set->nblocks && not_empty);
	if (!set->block[index] && block_words(set, index) == TIDE_WORD_BITS) {
		memcpy(to, words, TIDE_WORD_BITS * sizeof(*words));
	} else {
		for (uint64_t rest = not_empty; rest; rest &= rest - 1)
			to[tide_lowest(rest)] |= words[tide_lowest(rest)];
	}
	set->block[index] |= not_empty;
	set->top[index / TIDE_WORD_BITS] |= tide_bit(index);
}

uint64_t tide_page_set_next(const struct tide_page_set *set, uint64_t word)
{
	uint64_t block = word / TIDE_WORD_BITS;
	uint64_t rest;
	uint64_t i;

	if (word >= set->nwords)
		return set->nwords;
	rest = set->block[block] >> (word % TIDE_WORD_BITS);
	if (rest)
		return word + tide_lowest(rest);
	block++;
	for (i = block / TIDE_WORD_BITS; i < set->ntops; i++) {
		rest = set->top[i];
		if (i == block / TIDE_WORD_BITS)
			rest &= ~0ull << (block % TIDE_WORD_BITS);
		if (rest) {
			block = i * TIDE_WORD_BITS + tide_lowest(rest);
			return block * TIDE_WORD_BITS +
			       tide_lowest(set->block[block]);
		}
	}
	return set->nwords;
}

static bool level_is_valid(const uint64_t *words, const uint64_t *above,
			   uint64_t nwords)
{
	for (uint64_t w = 0; w < nwords; w++) {
		bool said = above[w / TIDE_WORD_BITS] & tide_bit(w);

		if (said != (words[w] != 0))
			return false;
	}
	return true;
}

bool tide_page_set_is_valid(const struct tide_page_set *set)
{
	uint64_t last = set->nwords - 1;

	return level_is_valid(set->word, set->block, set->nwords) && /* I1 */
	       level_is_valid(set->block, set->top, set->nblocks) &&
	       !(set->word[last] & ~tide_word_mask(set->npages, last)); /* I2 */
}
