/* SPDX-License-Identifier: MIT */
/*
 * presence.h - which pages need not be read to know that they are zero
 *
 * /proc/self/pagemap says of every page of this process whether it is in
 * memory or in swap.  A page of private anonymous memory that is neither was
 * never written, and is zero.
 */
#ifndef TIDE_MIGRATE_PRESENCE_H
#define TIDE_MIGRATE_PRESENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIDE_PRESENCE_PAGES_MAX 2048u /* looked up at once */

struct tide_presence {
	int fd; /* -1: pagemap cannot be read */
	uint64_t entries[TIDE_PRESENCE_PAGES_MAX];
};

void tide_presence_init(struct tide_presence *presence);
void tide_presence_fini(struct tide_presence *presence);

/**
 * tide_presence_look() - look up @npages pages, at most
 * TIDE_PRESENCE_PAGES_MAX, from @host on
 *
 * What cannot be looked up counts as there.  The answer holds from the call
 * on only because of what the caller knows, see presence.c.
 */
void tide_presence_look(struct tide_presence *presence, const void *host,
			uint32_t npages);

/** Of the pages looked up last: must page @index be read? */
bool tide_presence_has(const struct tide_presence *presence, uint32_t index);

/** tide_page_is_zero() - @page is TIDE_PAGE_SIZE bytes, aligned */
bool tide_page_is_zero(const void *page);

#endif
