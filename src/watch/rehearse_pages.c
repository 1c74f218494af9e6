/* SPDX-License-Identifier: MIT */
/* rehearse_pages.c - a set of pages of an address space */
#include "watch/rehearse_pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

size_t pages_find(const struct pages *pages, uint64_t number)
{
	size_t low = 0, high = pages->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (pages->chunks[middle]->number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct pages_chunk *pages_chunk(const struct pages *pages,
				      uint64_t number)
{
	size_t at = pages_find(pages, number);

	if (at == pages->count || pages->chunks[at]->number != number)
		return NULL;
	return pages->chunks[at];
}

struct pages_chunk *pages_make(struct pages *pages, uint64_t number)
{
	size_t at = pages_find(pages, number);
	struct pages_chunk *chunk;

	if (at < pages->count && pages->chunks[at]->number == number)
		return pages->chunks[at];
	if (pages->count == pages->max) {
		size_t max = pages->max * 2 + 64;
		struct pages_chunk **chunks = realloc(
			pages->chunks, max * sizeof(struct pages_chunk *));

		if (!chunks)
			return NULL;
		pages->chunks = chunks;
		pages->max = max;
	}
	chunk = calloc(1, sizeof(*chunk));
	if (!chunk)
		return NULL;
	chunk->number = number;
	memmove(&pages->chunks[at + 1], &pages->chunks[at],
		(pages->count - at) * sizeof(struct pages_chunk *));
	pages->chunks[at] = chunk;
	pages->count++;
	return chunk;
}

int pages_add(struct pages *pages, uint64_t gfn, uint64_t npages)
{
	while (npages) {
		struct pages_chunk *chunk =
			pages_make(pages, gfn / PAGES_CHUNK);
		uint64_t bit = gfn % PAGES_CHUNK;
		uint64_t end =
			PAGES_CHUNK - bit < npages ? PAGES_CHUNK : bit + npages;

		if (!chunk)
			return -ENOMEM;
		gfn += end - bit;
		npages -= end - bit;
		while (bit < end) {
			uint64_t first = bit % TIDE_WORD_BITS;
			uint64_t n = TIDE_WORD_BITS - first;

			if (n > end - bit)
				n = end - bit;
			chunk->words[bit / TIDE_WORD_BITS] |=
				tide_mask((unsigned int)first, (unsigned int)n);
			bit += n;
		}
	}
	return 0;
}

void pages_drop(struct pages *pages, uint64_t gfn)
{
	size_t at = pages_find(pages, gfn / PAGES_CHUNK);
	uint64_t bit = gfn % PAGES_CHUNK;

	if (at < pages->count && pages->chunks[at]->number == gfn / PAGES_CHUNK)
		pages->chunks[at]->words[bit / TIDE_WORD_BITS] &=
			~tide_bit(bit);
}

/* The first bit at or behind @bit; PAGES_CHUNK: none. */
static uint64_t next_bit(const struct pages_chunk *chunk, uint64_t bit)
{
	uint64_t word = bit / TIDE_WORD_BITS, bits;

	if (bit >= PAGES_CHUNK)
		return PAGES_CHUNK;
	bits = chunk->words[word] & (UINT64_MAX << bit % TIDE_WORD_BITS);
	while (!bits) {
		if (++word == PAGES_WORDS)
			return PAGES_CHUNK;
		bits = chunk->words[word];
	}
	return word * TIDE_WORD_BITS + tide_lowest(bits);
}

static uint64_t run_length(const struct pages_chunk *chunk, uint64_t bit,
			   uint64_t max)
{
	uint64_t length = 0;

	while (length < max && bit < PAGES_CHUNK) {
		uint64_t rest = ~chunk->words[bit / TIDE_WORD_BITS] >>
				bit % TIDE_WORD_BITS;
		uint64_t in_word = TIDE_WORD_BITS - bit % TIDE_WORD_BITS;
		uint64_t n = rest ? tide_lowest(rest) : in_word;

		length += n;
		bit += n;
		if (n < in_word)
			break;
	}
	return length < max ? length : max;
}

uint64_t pages_next(const struct pages *pages, uint64_t gfn, uint64_t max,
		    uint64_t *ret_gfn)
{
	for (size_t at = pages_find(pages, gfn / PAGES_CHUNK);
	     at < pages->count; at++) {
		const struct pages_chunk *chunk = pages->chunks[at];
		uint64_t first = chunk->number * PAGES_CHUNK;
		uint64_t bit = next_bit(chunk, gfn > first ? gfn - first : 0);

		if (bit == PAGES_CHUNK)
			continue;
		*ret_gfn = first + bit;
		return run_length(chunk, bit, max);
	}
	return 0;
}

void pages_clear(struct pages *pages)
{
	for (size_t i = 0; i < pages->count; i++)
		free(pages->chunks[i]);
	free(pages->chunks);
	*pages = (struct pages){ 0 };
}
