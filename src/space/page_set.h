/* SPDX-License-Identifier: MIT */
/*
 * page_set.h - a set of pages that one thread at a time touches
 *
 * The dirty sets of clients: plain words with the same two summary levels as
 * the atomic bitmap, so that an empty or sparse set costs what it holds.  Who
 * may touch one is said where it is embedded.
 */
#ifndef TIDE_SPACE_PAGE_SET_H
#define TIDE_SPACE_PAGE_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"

struct tide_page_set {
	uint64_t npages; /* constant after init */
	uint64_t *word;	 /* a bit a page */
	uint64_t *block; /* a bit a word: set if and only if it is not 0 */
	uint64_t *top;	 /* a bit a word of block, in the same way */
	uint64_t nwords, nblocks, ntops;
};

/* Empty.  Return: 0; -ENOMEM. */
int tide_page_set_init(struct tide_page_set *set, uint64_t npages);
void tide_page_set_fini(struct tide_page_set *set);

/* Every page. */
void tide_page_set_fill(struct tide_page_set *set);
/* No page; costs what the set holds. */
void tide_page_set_clear(struct tide_page_set *set);
/* Everything of @from as well. */
void tide_page_set_merge(struct tide_page_set *set,
			 const struct tide_page_set *from);
uint64_t tide_page_set_count(const struct tide_page_set *set);

/* Adds up to 64 words' worth at once, from block @index on. */
void tide_page_set_add_block(struct tide_page_set *set, uint64_t index,
			     const uint64_t words[TIDE_WORD_BITS],
			     uint64_t not_empty);

/* The first word at or after @word that is not 0, or nwords. */
uint64_t tide_page_set_next(const struct tide_page_set *set, uint64_t word);

/* The invariant on summaries; for asserts and tests. */
bool tide_page_set_is_valid(const struct tide_page_set *set);

static inline bool tide_page_set_empty(const struct tide_page_set *set)
{
	for (uint64_t i = 0; i < set->ntops; i++) {
		if (set->top[i])
			return false;
	}
	return true;
}

static inline void tide_page_set_add_word(struct tide_page_set *set,
					  uint64_t word, uint64_t bits)
{
	uint64_t block = word / TIDE_WORD_BITS;

	assert(word < set->nwords && bits);
	set->word[word] |= bits;
	set->block[block] |= tide_bit(word);
	set->top[block / TIDE_WORD_BITS] |= tide_bit(block);
}

static inline void tide_page_set_drop(struct tide_page_set *set, uint64_t word,
				      uint64_t bits)
{
	uint64_t block = word / TIDE_WORD_BITS;

	set->word[word] &= ~bits;
	if (set->word[word])
		return;
	set->block[block] &= ~tide_bit(word);
	if (!set->block[block])
		set->top[block / TIDE_WORD_BITS] &= ~tide_bit(block);
}

#endif
