/* SPDX-License-Identifier: MIT */
/*
 * frame.c - who is in a frame, and who has a reference to it
 *
 * Theory of operation
 * -------------------
 * Every change of a page or a frame happens under the lock, disk I/O and the
 * notifier's calls included.  Lock-free are only: backing_pin, backing_put,
 * and setting a frame's dirty and accessed flag.
 *
 * A frame's count is one for each page in it, and one for each reference that
 * somebody holds.  Whoever wants the frame itself (swap.c, merge.c) first has
 * its mappings dropped, and then freezes it: the count goes from that of its
 * pages to 0 in one step, which fails if there is another reference.  Nothing
 * takes a reference on a count of 0, so a frozen frame has no user at all.
 *
 * A page may also leave a frame that is not frozen: one that is discarded, or
 * written while it shares the frame.  References may be left on such a frame;
 * their holders read what was there, or write to what has been discarded.
 * Without pages it is no free frame until the last reference is gone, and the
 * clock (swap.c) finds that.
 *
 * backing_pin against a freeze, for page p in frame f:
 *
 *     pin                                 taker
 *     p is alone in f?
 *                                         freeze f: 1 -> 0
 *                                         p goes elsewhere
 *     reference of f: fails, count is 0
 *                                         page q comes into f
 *                                         publish f: 0 -> 1
 *     or here: succeeds, count is 2
 *     p is alone in f?  no: put
 *
 * The second look sees the change: the reference acquires what publish
 * released.  Had the reference come before the freeze, that would have failed.
 * It may fail by such a reference that is on its way back, too; then the frame
 * is passed by as if pinned.
 *
 * A page that is discarded leaves a frame that is not frozen, and who pins it
 * then may not see that yet: as if he had pinned it just before.
 *
 * Frames are handed out filled, so nobody sees the page before.
 *
 * Invariants (backing_check)
 *   I1  a page is in at most one frame, and in that frame's list
 *   I2  the count of a frame that is not frozen is at least that of its pages
 *   I3  free frames have count 0 and no page
 *   I4  a page that is PAGE_ALONE has no other in its frame; a PAGE_SHARED one
 *       may have; its frame is not written to, nor marked dirty
 *   I5  PAGE_SAVED and not dirty: the swap file has the page's contents
 *
 * Synchronisation
 *   frame.publish  the page's new state -> pin.take
 *   frame.put  what the holder did -> frame.freeze, frame.leave, frame.reap
 */
#include <assert.h>

#include "base/pause_point.h"
#include "mmu/backing_internal.h"

static struct backing_frame *frame_at(struct tide_backing *backing,
				      uint64_t pfn)
{
	uint64_t frame = pfn - ((uintptr_t)backing->pool >> TIDE_PAGE_SHIFT);

	assert(frame < backing->nframes);
	return &backing->frames[frame];
}

bool backing_freeze(struct backing_frame *frame)
{
	uint32_t own = frame->sharers;

	assert(own); /* a page's references, not nobody's */
	/* ACQUIRE(frame.freeze) pairs with RELEASE(frame.put): what the last
	 * holder did to the frame, its dirty flag included, is done. */
	return atomic_compare_exchange_strong_explicit(&frame->count, &own, 0,
						       memory_order_acquire,
						       memory_order_relaxed);
}

void backing_publish(struct backing_frame *frame)
{
	/* RELEASE(frame.publish) pairs with ACQUIRE(pin.take): pages that
	 * came and went while the count was 0.  No other thread writes to a
	 * count of 0. */
	atomic_store_explicit(&frame->count, frame->sharers,
			      memory_order_release);
}

void backing_settle_dirty(struct tide_backing *backing, uint32_t frame)
{
	struct backing_frame *own = &backing->frames[frame];

	/* Relaxed: mappings and references that could set it are gone, by the
	 * notifier's lock and the freeze. */
	if (!atomic_exchange_explicit(&own->dirty, false, memory_order_relaxed))
		return;
	assert(own->sharers == 1); /* I4 */
	page_set(backing, own->first, page_kind(backing, own->first), 0, frame);
}

void backing_enter(struct tide_backing *backing, uint32_t page, uint32_t frame,
		   enum page_kind kind, uint64_t saved)
{
	struct backing_frame *own = &backing->frames[frame];

	assert(!page_is_resident(backing, page)); /* I1 */
	backing->pages[page].next = own->first;
	own->first = page;
	own->sharers++;
	page_set(backing, page, kind, saved, frame);
	backing->stats.resident++;
	if (own->sharers > 1)
		backing->stats.merged += own->sharers == 2 ? 2 : 1;
	/* Relaxed: only a publish is followed by pins. */
	if (atomic_load_explicit(&own->count, memory_order_relaxed))
		/* Relaxed: as above. */
		atomic_fetch_add_explicit(&own->count, 1, memory_order_relaxed);
}

bool backing_leave(struct tide_backing *backing, uint32_t page)
{
	uint32_t frame = page_frame(backing, page);
	struct backing_frame *own = &backing->frames[frame];
	uint32_t *link = &own->first;

	while (*link != page)
		link = &backing->pages[*link].next;
	*link = backing->pages[page].next;
	page_set(backing, page, PAGE_ABSENT, 0, 0);
	if (own->sharers > 1)
		backing->stats.merged -= own->sharers == 2 ? 2 : 1;
	backing->stats.resident--;
	own->sharers--;
	/* Relaxed: 0 is our own doing, a freeze. */
	if (!atomic_load_explicit(&own->count, memory_order_relaxed) ||
	    /* ACQUIRE(frame.leave) pairs with RELEASE(frame.put): all holders
	     * are done with a frame that becomes free. */
	    atomic_fetch_sub_explicit(&own->count, 1, memory_order_acquire) ==
		    1) {
		if (!own->sharers)
			backing_frame_free(backing, frame);
	}
	return !own->sharers;
}

uint32_t backing_frame_take(struct tide_backing *backing)
{
	uint32_t frame = backing->first_free;
	struct backing_frame *own = &backing->frames[frame];

	assert(frame != BACKING_NONE && own->free);
	backing->first_free = own->first;
	backing->stats.frames_free--;
	own->first = BACKING_NONE;
	own->free = false;
	/* Relaxed: nobody has a reference. */
	atomic_store_explicit(&own->dirty, false, memory_order_relaxed);
	return frame;
}

void backing_frame_free(struct tide_backing *backing, uint32_t frame)
{
	struct backing_frame *own = &backing->frames[frame];

	assert(!own->free && !own->sharers); /* I3 */
	own->free = true;
	own->first = backing->first_free;
	backing->first_free = frame;
	backing->stats.frames_free++;
}

void backing_put(struct tide_backing *backing, uint64_t pfn)
{
	/* RELEASE(frame.put) pairs with ACQUIRE(frame.freeze),
	 * ACQUIRE(frame.leave) and ACQUIRE(frame.reap): who takes the frame
	 * comes after what we did with it. */
	uint32_t before = atomic_fetch_sub_explicit(
		&frame_at(backing, pfn)->count, 1, memory_order_release);

	assert(before); /* I2: it was ours */
	(void)before;
}

/* The page is alone in @frame. */
static bool is_alone_in(const struct tide_backing *backing, uint32_t page,
			uint64_t frame)
{
	return (page_state(backing, page) & ~PAGE_SAVED) ==
	       (frame << PAGE_FRAME_SHIFT | PAGE_ALONE);
}

bool backing_pin(struct tide_backing *backing, uint64_t host, uint64_t pfn)
{
	uint32_t page = page_at(backing, host);
	uint64_t frame = pfn - ((uintptr_t)backing->pool >> TIDE_PAGE_SHIFT);
	struct backing_frame *own;
	uint32_t count;

	if (frame >= backing->nframes || !is_alone_in(backing, page, frame))
		return false;
	own = &backing->frames[frame];
	tide_pause("backing_pin.looked");
	/* Relaxed: the exchange checks it. */
	count = atomic_load_explicit(&own->count, memory_order_relaxed);
	do {
		if (!count)
			return false;
		/* ACQUIRE(pin.take) pairs with RELEASE(frame.publish): if the
		 * frame is another page's, the state that we look at next says
		 * so. */
	} while (!atomic_compare_exchange_weak_explicit(
		&own->count, &count, count + 1, memory_order_acquire,
		memory_order_relaxed));
	tide_pause("backing_pin.taken");
	if (is_alone_in(backing, page, frame))
		return true;
	backing_put(backing, pfn);
	return false;
}

void backing_page_dirty(struct tide_backing *backing, uint64_t pfn)
{
	/* Relaxed: ordered by the notifier's lock, or by the put. */
	atomic_store_explicit(&frame_at(backing, pfn)->dirty, true,
			      memory_order_relaxed);
}

void backing_page_accessed(struct tide_backing *backing, uint64_t pfn)
{
	/* Relaxed: a hint. */
	atomic_store_explicit(&frame_at(backing, pfn)->accessed, true,
			      memory_order_relaxed);
}
