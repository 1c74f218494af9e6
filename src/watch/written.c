/* SPDX-License-Identifier: MIT */
/*
 * written.c - in which interval each page was written last
 *
 * Theory of operation
 * -------------------
 * A mapping has a table of chunks.  A chunk whose pages were all written last
 * in the same interval, or never, is that one number; others have a number a
 * page.  So a trace of long runs costs a step a chunk, and memory that is not
 * written costs next to nothing.
 */
#include "watch/written.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_PAGES 512u

struct written_chunk {
	uint32_t *lasts; /* NULL: all of them are: */
	uint32_t last;
};

/* ---- tally ---- */

int tally_grow(struct tally *tally, uint32_t last)
{
	size_t max = last + (size_t)last / 2 + 64;
	uint64_t *pages;
	uint32_t *touched;

	if (last < tally->max)
		return 0;
	if (max > UINT32_MAX)
		return -ENOMEM;
	pages = realloc(tally->pages, max * sizeof(*pages));
	if (!pages)
		return -ENOMEM;
	tally->pages = pages;
	touched = realloc(tally->touched, max * sizeof(*touched));
	if (!touched)
		return -ENOMEM;
	tally->touched = touched;
	memset(pages + tally->max, 0, (max - tally->max) * sizeof(*pages));
	tally->max = (uint32_t)max;
	return 0;
}

static void tally_add(struct tally *tally, uint32_t last, uint64_t npages)
{
	if (!tally->pages[last])
		tally->touched[tally->count++] = last;
	tally->pages[last] += npages;
}

void tally_clear(struct tally *tally)
{
	while (tally->count)
		tally->pages[tally->touched[--tally->count]] = 0;
}

void tally_fini(struct tally *tally)
{
	free(tally->pages);
	free(tally->touched);
	memset(tally, 0, sizeof(*tally));
}

/* ---- chunks ---- */

static uint64_t chunk_count(const struct written_mapping *mapping)
{
	return mapping->npages / CHUNK_PAGES +
	       (mapping->npages % CHUNK_PAGES != 0);
}

/* Pages of chunk number @index: the last one may be shorter. */
static uint32_t chunk_pages(const struct written_mapping *mapping,
			    uint64_t index)
{
	uint64_t left = mapping->npages - index * CHUNK_PAGES;

	return left < CHUNK_PAGES ? (uint32_t)left : CHUNK_PAGES;
}

static void tally_lasts(struct tally *tally, const uint32_t *lasts, uint32_t n)
{
	uint32_t begin = 0;

	for (uint32_t i = 1; i <= n; i++) {
		if (i < n && lasts[i] == lasts[begin])
			continue;
		tally_add(tally, lasts[begin], i - begin);
		begin = i;
	}
}

/* Return: a number a page; NULL: no memory. */
static uint32_t *chunk_split(const struct written_chunk *chunk)
{
	uint32_t *lasts = malloc(CHUNK_PAGES * sizeof(*lasts));

	for (uint32_t i = 0; lasts && i < CHUNK_PAGES; i++)
		lasts[i] = chunk->last;
	return lasts;
}

static int chunk_write(struct written_chunk *chunk, uint32_t first, uint32_t n,
		       uint32_t whole, uint32_t now, struct tally *tally)
{
	uint32_t *lasts = chunk->lasts;

	if (n == whole) {
		if (lasts)
			tally_lasts(tally, lasts, n);
		else
			tally_add(tally, chunk->last, n);
		free(lasts);
		chunk->lasts = NULL;
		chunk->last = now;
		return 0;
	}
	if (!lasts) {
		lasts = chunk_split(chunk);
		if (!lasts)
			return -ENOMEM;
		chunk->lasts = lasts;
	}
	tally_lasts(tally, lasts + first, n);
	for (uint32_t i = first; i < first + n; i++)
		lasts[i] = now;
	return 0;
}

/* ---- mappings ---- */

int written_add(struct written *written,
		const struct tide_trace_mapping *mapping, bool is_first)
{
	struct written_mapping added = {
		.id = mapping->id,
		.is_first = is_first,
		.populated_pages = mapping->populated_pages,
		.zero_pages = mapping->zero_pages,
		.npages = mapping->npages,
		.from = UINT64_MAX,
	};

	if (mapping->npages > WRITTEN_PAGES_MAX - written->npages)
		return -EFBIG;
	if (written->count == written->max) {
		uint32_t max = written->max * 2 + 64;
		struct written_mapping *mappings =
			realloc(written->mappings, max * sizeof(*mappings));

		if (!mappings)
			return -ENOMEM;
		written->mappings = mappings;
		written->max = max;
	}
	added.chunks = calloc(chunk_count(&added), sizeof(*added.chunks));
	if (!added.chunks)
		return -ENOMEM;
	written->mappings[written->count++] = added;
	written->npages += added.npages;
	return 0;
}

/* The reader knows that it is there. */
static struct written_mapping *find(struct written *written, uint32_t id)
{
	uint32_t low = 0, high = written->count - 1;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (written->mappings[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return &written->mappings[low];
}

int written_run(struct written *written, const struct tide_trace_run *run,
		uint32_t now, struct tally *tally)
{
	struct written_mapping *mapping = find(written, run->mapping);
	uint64_t page = run->first_page;
	uint64_t end = page + run->npages;
	uint64_t never = tally->pages[0];

	if (page / CHUNK_PAGES < mapping->from)
		mapping->from = page / CHUNK_PAGES;
	if ((end - 1) / CHUNK_PAGES >= mapping->to)
		mapping->to = (end - 1) / CHUNK_PAGES + 1;

	while (page < end) {
		uint64_t index = page / CHUNK_PAGES;
		uint32_t first = (uint32_t)(page % CHUNK_PAGES);
		uint32_t whole = chunk_pages(mapping, index);
		uint32_t n = whole - first;
		int err;

		if (n > end - page)
			n = (uint32_t)(end - page);
		err = chunk_write(&mapping->chunks[index], first, n, whole, now,
				  tally);
		if (err)
			return err;
		page += n;
	}
	mapping->pages += tally->pages[0] - never;
	return 0;
}

static void free_chunks(struct written_mapping *mapping)
{
	if (!mapping->chunks)
		return;
	for (uint64_t i = mapping->from; i < mapping->to; i++)
		free(mapping->chunks[i].lasts);
	free(mapping->chunks);
	mapping->chunks = NULL;
}

void written_gone(struct written *written, uint32_t id, struct tally *tally)
{
	struct written_mapping *mapping = find(written, id);

	for (uint64_t i = mapping->from; i < mapping->to; i++) {
		const struct written_chunk *chunk = &mapping->chunks[i];
		uint32_t n = chunk_pages(mapping, i);

		if (chunk->lasts)
			tally_lasts(tally, chunk->lasts, n);
		else
			tally_add(tally, chunk->last, n);
	}
	free_chunks(mapping);
	written->npages -= mapping->npages;
	mapping->is_gone = true;
}

void written_fini(struct written *written)
{
	for (uint32_t i = 0; i < written->count; i++)
		free_chunks(&written->mappings[i]);
	free(written->mappings);
	memset(written, 0, sizeof(*written));
}
