/* SPDX-License-Identifier: MIT */
/*
 * merge.c - equal pages share a frame
 *
 * Theory of operation
 * -------------------
 * Pages are hashed one by one while the guest runs; that says only which
 * pairs are worth a closer look.  For that, the mappings of both are dropped
 * and their frames frozen, so that nobody can write to either while they are
 * compared byte by byte.  A frame that is shared already needs neither: it is
 * not written to.
 *
 * Pages that are all zero are merged like others; they do not become absent.
 * A page that changed between hash and comparison is left for the next call.
 *
 * Invariants: frame.c.
 * Synchronisation: the lock.  The hash reads memory that the guest may be
 * writing to, on purpose: what it makes of that is checked.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/xxh3.h"
#include "mmu/backing_internal.h"

struct candidate {
	uint64_t hash;
	uint32_t page;
};

static int by_hash(const void *left, const void *right)
{
	const struct candidate *a = left, *b = right;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	return a->page < b->page ? -1 : a->page > b->page;
}

/* A page that is alone in its frame needs that frozen. */
static bool freeze_page(struct tide_backing *backing, uint32_t page)
{
	uint32_t frame = page_frame(backing, page);

	if (page_kind(backing, page) == PAGE_SHARED)
		return true;
	if (!backing_freeze(&backing->frames[frame]))
		return false;
	backing_settle_dirty(backing, frame);
	return true;
}

static void thaw_page(struct tide_backing *backing, uint32_t page)
{
	if (page_kind(backing, page) == PAGE_ALONE)
		backing_publish(&backing->frames[page_frame(backing, page)]);
}

/* Both pages cannot be written to; @gone moves in with @stays.
 * Return: whether that freed a frame. */
static bool move_in(struct tide_backing *backing, uint32_t stays, uint32_t gone)
{
	uint32_t frame = page_frame(backing, stays);
	uint64_t saved = page_state(backing, gone) & PAGE_SAVED;
	bool frozen = page_kind(backing, stays) == PAGE_ALONE;
	bool last = backing_leave(backing, gone);

	page_set(backing, stays, PAGE_SHARED,
		 page_state(backing, stays) & PAGE_SAVED, frame);
	backing_enter(backing, gone, frame, PAGE_SHARED, saved);
	if (frozen)
		backing_publish(&backing->frames[frame]);
	backing->stats.merges++;
	return last;
}

/* With all their mappings dropped.  Return: as merge_pair. */
static int merge_if_equal(struct tide_backing *backing, uint32_t stays,
			  uint32_t gone)
{
	if (!freeze_page(backing, stays))
		return -EAGAIN;
	if (!freeze_page(backing, gone)) {
		thaw_page(backing, stays);
		return -EAGAIN;
	}
	if (!memcmp(frame_memory(backing, page_frame(backing, stays)),
		    frame_memory(backing, page_frame(backing, gone)),
		    TIDE_PAGE_SIZE))
		return move_in(backing, stays, gone);
	thaw_page(backing, stays);
	thaw_page(backing, gone);
	return -EAGAIN;
}

/* Return: how many frames it freed, 0 or 1; -EAGAIN: not these two now;
 * -ETIMEDOUT. */
static int merge_pair(struct tide_backing *backing, uint32_t stays,
		      uint32_t gone)
{
	bool alone;
	int ret;

	if (!page_is_resident(backing, stays) ||
	    !page_is_resident(backing, gone))
		return -EAGAIN;
	if (page_frame(backing, stays) == page_frame(backing, gone))
		return 0;
	if (backing->frames[page_frame(backing, stays)].sharers >=
	    BACKING_SHARERS_MAX)
		return -EAGAIN;
	alone = page_kind(backing, stays) == PAGE_ALONE;
	ret = backing_invalidate_start(backing, gone, 1);
	if (!ret && alone) {
		ret = backing_invalidate_start(backing, stays, 1);
		if (!ret)
			ret = merge_if_equal(backing, stays, gone);
		backing_invalidate_end(backing, stays, 1);
	} else if (!ret) {
		ret = merge_if_equal(backing, stays, gone);
	}
	backing_invalidate_end(backing, gone, 1);
	return ret;
}

/* Return: how many of [first, end) have a frame, @max at most. */
static size_t find_candidates(struct tide_backing *backing, uint64_t first,
			      uint64_t end, struct candidate *found, size_t max)
{
	size_t count = 0;

	for (uint64_t at = first; at < end && count < max; at++) {
		uint32_t page = (uint32_t)at;

		/* Between any two pages others may have the lock. */
		tide_lock_acquire(&backing->lock);
		if (page_is_resident(backing, page)) {
			found[count].page = page;
			found[count++].hash = XXH3_64bits(
				frame_memory(backing,
					     page_frame(backing, page)),
				TIDE_PAGE_SIZE);
		}
		tide_lock_release(&backing->lock);
	}
	return count;
}

static int merge_candidates(struct tide_backing *backing,
			    const struct candidate *found, size_t count)
{
	uint64_t freed = 0;
	size_t stays = 0;

	for (size_t i = 1; i < count; i++) {
		int ret = -EAGAIN;

		if (found[i].hash == found[stays].hash) {
			tide_lock_acquire(&backing->lock);
			ret = merge_pair(backing, found[stays].page,
					 found[i].page);
			tide_lock_release(&backing->lock);
		}
		if (ret == -EAGAIN)
			stays = i;
		else if (ret < 0)
			return freed ? (int)freed : ret;
		else
			freed += (uint64_t)ret;
	}
	return (int)freed;
}

int tide_backing_merge(struct tide_backing *backing, uint64_t first,
		       uint64_t npages)
{
	struct tide_backing_stats stats;
	struct candidate *found;
	uint64_t max;
	int ret;

	if (first > backing->npages || npages > backing->npages - first)
		return -EINVAL;
	tide_backing_stats(backing, &stats);
	max = npages < stats.resident ? npages : stats.resident;
	if (max < 2)
		return 0;
	found = malloc(max * sizeof(*found));
	if (!found)
		return -ENOMEM;
	max = find_candidates(backing, first, first + npages, found, max);
	qsort(found, max, sizeof(*found), by_hash);
	ret = merge_candidates(backing, found, max);
	free(found);
	return ret;
}
