/* SPDX-License-Identifier: MIT */
/*
 * rehearse_pages.h - a set of pages of an address space
 *
 * Bitmaps of CHUNK pages, those that have any, sorted: memory for where pages
 * are, and not for the terabytes between them.
 */
#ifndef TIDE_WATCH_REHEARSE_PAGES_H
#define TIDE_WATCH_REHEARSE_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGES_CHUNK 32768u
#define PAGES_WORDS (PAGES_CHUNK / 64)

struct pages_chunk {
	uint64_t number; /* of the first page / PAGES_CHUNK */
	uint64_t words[PAGES_WORDS];
};

struct pages {
	struct pages_chunk **chunks; /* by number */
	size_t count, max;
};

/* Of the first chunk whose number is at least @number; count: none. */
size_t pages_find(const struct pages *pages, uint64_t number);
/* The chunk; NULL: it has no pages. */
const struct pages_chunk *pages_chunk(const struct pages *pages,
				      uint64_t number);
/* The same, made if need be; NULL: no memory. */
struct pages_chunk *pages_make(struct pages *pages, uint64_t number);

/* Return: 0; -ENOMEM. */
int pages_add(struct pages *pages, uint64_t gfn, uint64_t npages);
void pages_drop(struct pages *pages, uint64_t gfn);

/* The first run at or behind @gfn, of at most @max pages.
 * Return: its length; 0: there is none. */
uint64_t pages_next(const struct pages *pages, uint64_t gfn, uint64_t max,
		    uint64_t *ret_gfn);

/* None, and no memory. */
void pages_clear(struct pages *pages);

#endif
