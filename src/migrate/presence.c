/* SPDX-License-Identifier: MIT */
/*
 * presence.c - which pages need not be read to know that they are zero
 *
 * Theory of operation
 * -------------------
 * One 64-bit entry a page, read in bulk: bit 63 says present, bit 62 swapped
 * out (also: under migration inside the kernel, or a marker for userfaultfd).
 * Neither: nothing is mapped, and a read would find zero.  Reading the page
 * instead would map the zero page, one fault for each 4 KiB, or populate a
 * huge page that the guest never asked for.
 *
 * Why the look does not race with a guest that runs.  The pages come from
 * tide_harvest_next(), so they were re-armed before they were handed out (C2).
 * Suppose a page is looked up as absent at time t, and sent as zero:
 *
 *   a write that completed before t    would have populated it; an absent
 *                                      page of private anonymous memory has
 *                                      no such write (or it was discarded
 *                                      since, and then zero is right);
 *   a write that completes after t     comes after the re-arm, so that the
 *                                      page is dirty again and the next round
 *                                      or the last one sends it;
 *   a marked write (a device)          the write populates before t or after
 *                                      t, as above, and its mark comes after
 *                                      the write: after t it makes the page
 *                                      dirty again.
 *
 * Nothing depends on the entry staying true.  The same argument covers the
 * test for zero on a page that is being written, and the copy of one.
 *
 * Fail closed: no pagemap, a host with other pages than ours, a short read, or
 * an error makes every page of the look "there", and it is read.
 *
 * Invariants
 *   I1  a page is absent only on the kernel's word
 *
 * Synchronisation
 *   None of its own; see above.
 */
#include "migrate/presence.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <tidemark/base.h>

#define PRESENT_OR_SWAPPED (3ull << 62)

_Static_assert(sizeof(((struct tide_presence *)0)->entries[0]) == 8,
	       "a pagemap entry has 64 bits");

void tide_presence_init(struct tide_presence *presence)
{
	/* An entry is about a page of the host, which may be larger. */
	presence->fd =
		sysconf(_SC_PAGESIZE) == (long)TIDE_PAGE_SIZE
			? open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)
			: -1;
}

void tide_presence_fini(struct tide_presence *presence)
{
	if (presence->fd >= 0)
		(void)close(presence->fd); /* only read */
	presence->fd = -1;
}

void tide_presence_look(struct tide_presence *presence, const void *host,
			uint32_t npages)
{
	size_t nbytes = npages * sizeof(presence->entries[0]);
	off_t at = (off_t)((uintptr_t)host / TIDE_PAGE_SIZE *
			   sizeof(presence->entries[0]));

	assert(npages <= TIDE_PRESENCE_PAGES_MAX);
	if (presence->fd < 0 || pread(presence->fd, presence->entries, nbytes,
				      at) != (ssize_t)nbytes)
		memset(presence->entries, 0xff, nbytes); /* I1 */
}

bool tide_presence_has(const struct tide_presence *presence, uint32_t index)
{
	return presence->entries[index] & PRESENT_OR_SWAPPED;
}

/* The guest may be writing to the page.  What a look at half a write says does
 * not matter, since the page comes again then (C2); so ThreadSanitizer, which
 * sees a software guest's writes, need not tell. */
__attribute__((no_sanitize("thread"))) bool tide_page_is_zero(const void *page)
{
	const uint64_t *words = page;
	const size_t count = TIDE_PAGE_SIZE / sizeof(*words);

	/* Most pages with contents show it in the first or the last word. */
	if (words[0] || words[count - 1])
		return false;
	/* In strides that the compiler turns into vectors. */
	for (size_t i = 0; i < count; i += 32) {
		uint64_t any = 0;

		for (size_t k = 0; k < 32; k++)
			any |= words[i + k];
		if (any)
			return false;
	}
	return true;
}
