/* SPDX-License-Identifier: MIT */
/*
 * backing_check.c - do pages, frames, references and counters agree?
 *
 * The invariants of frame.c, looked at from both sides: from each frame to
 * its pages, and from each page to its frame.
 */
#undef NDEBUG
#include <assert.h>

#include "mmu/backing_internal.h"

struct tally {
	uint64_t free, resident, merged, swapped;
};

static void check_frame(const struct tide_backing *backing, uint32_t frame,
			struct tally *tally)
{
	const struct backing_frame *own = &backing->frames[frame];
	/* Relaxed: holders may come and go; the pages' share stays. */
	uint32_t count =
		atomic_load_explicit(&own->count, memory_order_relaxed);
	/* Relaxed: as above. */
	bool dirty = atomic_load_explicit(&own->dirty, memory_order_relaxed);
	uint32_t page = own->first;

	if (own->free) {
		assert(!count && !own->sharers); /* I3 */
		tally->free++;
		return;
	}
	assert(count >= own->sharers); /* I2 */
	assert(own->sharers <= BACKING_SHARERS_MAX);
	for (uint32_t n = 0; n < own->sharers; n++) {
		assert(page < backing->npages);
		assert(page_is_resident(backing, page));
		assert(page_frame(backing, page) == frame); /* I1 */
		if (page_kind(backing, page) == PAGE_ALONE)
			assert(own->sharers == 1); /* I4 */
		else
			assert(!dirty); /* I4 */
		page = backing->pages[page].next;
	}
	assert(page == BACKING_NONE);
	tally->resident += own->sharers;
	tally->merged += own->sharers > 1 ? own->sharers : 0;
}

static void check_free_list(const struct tide_backing *backing)
{
	uint64_t length = 0;

	for (uint32_t frame = backing->first_free; frame != BACKING_NONE;
	     frame = backing->frames[frame].first) {
		assert(frame < backing->nframes);
		assert(backing->frames[frame].free);
		length++;
		assert(length <= backing->stats.frames_free);
	}
	assert(length == backing->stats.frames_free);
}

void backing_check(struct tide_backing *backing)
{
	struct tally tally = { 0 };
	uint64_t resident = 0;

	tide_lock_acquire(&backing->lock);
	check_free_list(backing);
	for (uint32_t frame = 0; frame < backing->nframes; frame++)
		check_frame(backing, frame, &tally);
	for (uint32_t page = 0; page < backing->npages; page++) {
		resident += page_is_resident(backing, page);
		tally.swapped += page_kind(backing, page) == PAGE_SWAPPED;
	}
	/* With check_frame: each resident page is in its frame's list. */
	assert(resident == tally.resident);
	assert(tally.free == backing->stats.frames_free);
	assert(tally.resident == backing->stats.resident);
	assert(tally.merged == backing->stats.merged);
	assert(tally.swapped == backing->stats.swapped);
	tide_lock_release(&backing->lock);
}
