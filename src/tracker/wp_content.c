/* SPDX-License-Identifier: MIT */
/*
 * wp_content.c - pages whose content went away without a write
 *
 * A page that is written between two looks and discarded before the second has
 * lost its protection with the write, so the scan reports it.  One that is
 * discarded between the scan and the look that follows it was there at the look
 * before, or has been reported by this very scan and is read afterwards.
 */
#include "tracker/wp_content.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "tracker/own_maps.h"

#define ENTRIES 512u
/* An entry of the pagemap. */
#define ENTRY_PRESENT (1ull << 63)
#define ENTRY_PLACE ((1ull << 55) - 1) /* 0: it is hidden from us */
#define ENTRY_SWAP_TYPE 0x1fu
#define SWAP_TYPE_MARKER 0x1fu /* the kernel's last one, on every version */

/* Of another process its owner says so, by the flag. */
static int is_plain(const struct tide_wp *wp, const struct tide_slot *slot)
{
	uintptr_t begin = wp_slot_begin(slot);
	uintptr_t end = begin + wp_slot_bytes(slot);
	struct own_mapping mapping;
	struct own_maps maps;
	int ret, plain = 1;

	if (wp->remote || (tide_slot_flags(slot) & TIDE_SLOT_ANONYMOUS))
		return (tide_slot_flags(slot) & TIDE_SLOT_ANONYMOUS) != 0;
	ret = own_maps_open(&maps);
	if (ret)
		return ret;
	while ((ret = own_maps_next(&maps, &mapping)) > 0) {
		if (mapping.start < end && begin < mapping.end)
			plain &= mapping.is_plain;
	}
	own_maps_close(&maps);
	return ret < 0 ? ret : plain;
}

static bool has_content(uint64_t entry)
{
	if (entry & ENTRY_PRESENT)
		return true;
	return (entry & ENTRY_PLACE) &&
	       (entry & ENTRY_SWAP_TYPE) != SWAP_TYPE_MARKER;
}

static void set(uint64_t *words, uint64_t page)
{
	words[page / TIDE_WORD_BITS] |= UINT64_C(1) << (page % TIDE_WORD_BITS);
}

/* What the scan calls swapped may be the marker. */
static int look_at_swapped(const struct tide_wp *wp, const struct wp_slot *of,
			   const struct wp_region *region)
{
	uint64_t entries[ENTRIES];
	uint64_t gfn = region->start >> TIDE_PAGE_SHIFT;
	uint64_t end = region->end >> TIDE_PAGE_SHIFT;
	uint64_t first = wp_slot_begin(of->slot) >> TIDE_PAGE_SHIFT;

	while (gfn < end) {
		uint64_t want = end - gfn < ENTRIES ? end - gfn : ENTRIES;
		int saved = errno;
		ssize_t n = pread(wp->pagemap_fd, entries,
				  want * sizeof(entries[0]),
				  (off_t)(gfn * sizeof(entries[0])));

		if (n < (ssize_t)sizeof(entries[0])) {
			int err = n < 0 ? -errno : -ESRCH;

			errno = saved;
			return err;
		}
		n /= (ssize_t)sizeof(entries[0]);
		for (ssize_t i = 0; i < n; i++, gfn++) {
			if (has_content(entries[i]))
				set(of->now, gfn - first);
		}
	}
	return 0;
}

static int look_at(const struct tide_wp *wp, const struct wp_slot *of,
		   const struct wp_region *region)
{
	uint64_t begin = wp_slot_begin(of->slot);

	if (region->categories & PAGEMAP_SWAPPED)
		return look_at_swapped(wp, of, region);
	for (uint64_t page = (region->start - begin) >> TIDE_PAGE_SHIFT;
	     page < (region->end - begin) >> TIDE_PAGE_SHIFT; page++)
		set(of->now, page);
	return 0;
}

/* Which pages are there, into now. */
static int look(struct tide_wp *wp, const struct wp_slot *of)
{
	struct wp_scan args = {
		.size = sizeof(args),
		.start = wp_slot_begin(of->slot),
		.end = wp_slot_begin(of->slot) + wp_slot_bytes(of->slot),
		.vec = (uintptr_t)wp->regions,
		.vec_len = WP_REGIONS,
		.category_anyof_mask = PAGEMAP_PRESENT | PAGEMAP_SWAPPED,
		.return_mask = PAGEMAP_PRESENT | PAGEMAP_SWAPPED,
	};
	int n;

	memset(of->now, 0,
	       tide_words(tide_slot_npages(of->slot)) * sizeof(*of->now));
	do {
		n = wp_ioctl(wp->pagemap_fd, WP_PAGEMAP_SCAN, &args);
		for (int i = 0; i < n; i++) {
			int err = look_at(wp, of, &wp->regions[i]);

			if (err)
				return err;
		}
		if (n > 0)
			args.start = wp->regions[n - 1].end;
	} while (n == (int)WP_REGIONS && args.start < args.end);
	return n < 0 ? n : 0;
}

static void turn(struct wp_slot *of)
{
	uint64_t *had = of->had;

	of->had = of->now;
	of->now = had;
}

int wp_content_start(struct tide_wp *wp, struct wp_slot *of)
{
	size_t nwords = tide_words(tide_slot_npages(of->slot));
	int ret = is_plain(wp, of->slot);

	if (ret) {
		wp_content_fini(of);
		return ret < 0 ? ret : 0;
	}
	if (!of->had) {
		of->had = calloc(nwords, sizeof(*of->had));
		of->now = calloc(nwords, sizeof(*of->now));
	}
	if (!of->had || !of->now) {
		wp_content_fini(of);
		return -ENOMEM;
	}
	ret = look(wp, of);
	if (!ret)
		turn(of);
	return ret;
}

int wp_content_look(struct tide_wp *wp, struct wp_slot *of)
{
	size_t nwords = tide_words(tide_slot_npages(of->slot));
	int err;

	if (!of->had)
		return 0;
	err = look(wp, of);
	if (err) {
		memset(of->had, 0xff, nwords * sizeof(*of->had));
		of->had[nwords - 1] =
			tide_word_mask(tide_slot_npages(of->slot), nwords - 1);
		return err;
	}
	for (size_t i = 0; i < nwords; i++) {
		uint64_t gone = of->had[i] & ~of->now[i];

		if (gone)
			tide_found_bits(of->slot, i, gone);
	}
	turn(of);
	return 0;
}

void wp_content_fini(struct wp_slot *of)
{
	free(of->had);
	free(of->now);
	of->had = of->now = NULL;
}
