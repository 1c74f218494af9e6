/* SPDX-License-Identifier: MIT */
/*
 * report_pages.c - a set of pages, of which most are alike
 *
 * A bitmap in chunks.  A chunk that is empty or full has no bits of its own,
 * so that a mapping that says it has a TiB costs what is written in it.
 */
#include "report_pages.h"

#include <errno.h>
#include <stdlib.h>

#define CHUNK_PAGES 32768u
#define CHUNK_WORDS (CHUNK_PAGES / 64)

struct chunk {
	uint64_t *words; /* NULL: all are like full */
	uint32_t count;
};

struct report_pages {
	struct chunk *chunks;
	uint64_t nchunks;
};

struct report_pages *report_pages_create(uint64_t npages)
{
	struct report_pages *pages = calloc(1, sizeof(*pages));

	if (!pages)
		return NULL;
	pages->nchunks = npages / CHUNK_PAGES + 1;
	pages->chunks = calloc(pages->nchunks, sizeof(*pages->chunks));
	if (!pages->chunks) {
		free(pages);
		return NULL;
	}
	return pages;
}

/* [first, first + count) of one chunk. */
static int set_in_chunk(struct chunk *chunk, uint32_t first, uint32_t count)
{
	if (chunk->count == CHUNK_PAGES)
		return 0;
	if (count == CHUNK_PAGES) {
		free(chunk->words);
		*chunk = (struct chunk){ .count = CHUNK_PAGES };
		return 0;
	}
	if (!chunk->words) {
		chunk->words = calloc(CHUNK_WORDS, sizeof(*chunk->words));
		if (!chunk->words)
			return -ENOMEM;
	}
	for (uint32_t at = first; at < first + count;) {
		uint32_t bit = at % 64;
		uint32_t bits = 64 - bit;
		uint64_t *word = &chunk->words[at / 64];
		uint64_t mask;

		if (bits > first + count - at)
			bits = first + count - at;
		mask = (bits == 64 ? UINT64_MAX : (1ull << bits) - 1) << bit;
		chunk->count += (uint32_t)__builtin_popcountll(mask & ~*word);
		*word |= mask;
		at += bits;
	}
	return 0;
}

int report_pages_set(struct report_pages *pages, uint64_t first,
		     uint64_t npages, uint64_t *count)
{
	while (npages) {
		struct chunk *chunk = &pages->chunks[first / CHUNK_PAGES];
		uint32_t offset = (uint32_t)(first % CHUNK_PAGES);
		uint32_t before = chunk->count;
		uint32_t here = CHUNK_PAGES - offset;
		int err;

		if (here > npages)
			here = (uint32_t)npages;
		err = set_in_chunk(chunk, offset, here);
		if (err)
			return err;
		*count += chunk->count - before;
		first += here;
		npages -= here;
	}
	return 0;
}

void report_pages_destroy(struct report_pages *pages)
{
	if (!pages)
		return;
	for (uint64_t i = 0; i < pages->nchunks; i++)
		free(pages->chunks[i].words);
	free(pages->chunks);
	free(pages);
}
