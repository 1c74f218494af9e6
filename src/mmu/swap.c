/* SPDX-License-Identifier: MIT */
/*
 * swap.c - pages between their frames and the swap file
 *
 * Theory of operation
 * -------------------
 * A page leaves its frame in this order:
 *
 *     invalidate_start      no mapping is left; D bits are in frame.dirty
 *     freeze                no reference is left, none can come
 *     write, if need be     the file has what the frame has
 *     the page is swapped, the frame is free
 *     invalidate_end        faults may ask for the page again
 *
 * If one step fails, the page is in its frame as before.  A frame that equal
 * pages share goes out with all of them, each to its own place in the file.
 *
 * What is written is remembered by its checksum, so that a file that somebody
 * scribbled on is an error and not a guest's memory.  A page that came back
 * from the file and was not written since needs no second write.  To write
 * destroys the copy that was there, also if it fails: PAGE_SAVED is gone by
 * then.
 *
 * The clock.  Frames are looked at in turn; one that was asked for since the
 * last look is passed by once.
 *
 * Invariants: frame.c.
 * Synchronisation: the lock; see frame.c for frame.freeze and frame.reap.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "base/xxh3.h"
#include "mmu/backing_internal.h"

/* Writes that fail before one call gives up.  The next one goes on with other
 * frames, so clean ones are found in the end. */
#define EVICT_ERRORS_MAX 16u

/* Return: 0; -errno; -EIO for a part of the page. */
static int whole_page(ssize_t done)
{
	if (done < 0)
		return -errno;
	return done == (ssize_t)TIDE_PAGE_SIZE ? 0 : -EIO;
}

static int write_page(struct tide_backing *backing, uint32_t page,
		      uint32_t frame)
{
	const void *memory = frame_memory(backing, frame);
	ssize_t done;
	int err;

	assert(!(page_state(backing, page) & PAGE_SAVED)); /* I5 */
	do
		done = pwrite(backing->swap_fd, memory, TIDE_PAGE_SIZE,
			      (off_t)((uint64_t)page * TIDE_PAGE_SIZE));
	while (done < 0 && errno == EINTR);
	err = whole_page(done);
	if (err) {
		backing->stats.swap_errors++;
		return err;
	}
	backing->pages[page].sum = XXH3_64bits(memory, TIDE_PAGE_SIZE);
	page_set(backing, page, page_kind(backing, page), PAGE_SAVED, frame);
	return 0;
}

int backing_swap_read(struct tide_backing *backing, uint32_t page, void *buffer)
{
	ssize_t done;
	int err;

	assert(page_kind(backing, page) == PAGE_SWAPPED);
	do
		done = pread(backing->swap_fd, buffer, TIDE_PAGE_SIZE,
			     (off_t)((uint64_t)page * TIDE_PAGE_SIZE));
	while (done < 0 && errno == EINTR);
	err = whole_page(done);
	if (!err &&
	    XXH3_64bits(buffer, TIDE_PAGE_SIZE) != backing->pages[page].sum)
		err = -EBADMSG;
	if (err)
		backing->stats.swap_errors++;
	return err;
}

int backing_swap_in(struct tide_backing *backing, uint32_t page)
{
	uint32_t frame = backing_frame_take(backing);
	int err =
		backing_swap_read(backing, page, frame_memory(backing, frame));

	if (err) {
		backing_frame_free(backing, frame);
		return err;
	}
	backing_enter(backing, page, frame, PAGE_ALONE, PAGE_SAVED);
	backing_publish(&backing->frames[frame]);
	backing->stats.swapped--;
	backing->stats.swap_ins++;
	return 0;
}

/* All pages of a frozen frame to the file, as far as it has them not. */
static int save_pages(struct tide_backing *backing, uint32_t frame)
{
	uint32_t page = backing->frames[frame].first;

	backing_settle_dirty(backing, frame);
	for (; page != BACKING_NONE; page = backing->pages[page].next) {
		int err;

		if (page_state(backing, page) & PAGE_SAVED)
			continue;
		err = write_page(backing, page, frame);
		if (err)
			return err;
	}
	return 0;
}

/* Calls end for the first @count pages of what is, or was, a frame's list. */
static void end_pages(struct tide_backing *backing, uint32_t page,
		      uint32_t count)
{
	for (; count; count--) {
		backing_invalidate_end(backing, page, 1);
		page = backing->pages[page].next;
	}
}

static void pages_swapped(struct tide_backing *backing, uint32_t frame)
{
	struct backing_frame *own = &backing->frames[frame];

	while (own->sharers) {
		uint32_t page = own->first;

		assert(page_state(backing, page) & PAGE_SAVED); /* I5 */
		(void)backing_leave(backing, page); /* the last frees it */
		page_set(backing, page, PAGE_SWAPPED, PAGE_SAVED, 0);
		backing->stats.swapped++;
		backing->stats.swap_outs++;
	}
}

/* Return: how many pages left the frame; -EBUSY if somebody has a reference;
 * the disk's error; -ETIMEDOUT. */
static int evict(struct tide_backing *backing, uint32_t frame)
{
	struct backing_frame *own = &backing->frames[frame];
	const uint32_t first = own->first, count = own->sharers;
	uint32_t started = 0;
	int err = 0;

	/* Relaxed: only to spare the mappings; the freeze decides. */
	if (atomic_load_explicit(&own->count, memory_order_relaxed) != count)
		return -EBUSY;
	for (uint32_t page = first; !err && page != BACKING_NONE;
	     page = backing->pages[page].next) {
		err = backing_invalidate_start(backing, page, 1);
		started++;
	}
	if (!err && !backing_freeze(own))
		err = -EBUSY;
	else if (!err) {
		err = save_pages(backing, frame);
		if (err)
			backing_publish(own);
		else
			pages_swapped(backing, frame);
	}
	end_pages(backing, first, started);
	return err ? err : (int)count;
}

/* A frame without pages, whose last reference is gone by now. */
static bool reap(struct tide_backing *backing, uint32_t frame)
{
	struct backing_frame *own = &backing->frames[frame];

	assert(!own->sharers && !own->free);
	/* ACQUIRE(frame.reap) pairs with RELEASE(frame.put): the holder is
	 * done with the frame. */
	if (atomic_load_explicit(&own->count, memory_order_acquire))
		return false;
	backing_frame_free(backing, frame);
	return true;
}

/* Whether the clock may take the frame in its first round. */
static bool not_accessed(struct backing_frame *frame)
{
	/* Relaxed: a hint. */
	return !atomic_exchange_explicit(&frame->accessed, false,
					 memory_order_relaxed);
}

/* No use in trying other frames.  The next flush would wait as long again. */
static bool is_enough(int err, unsigned int errors)
{
	return err == -ETIMEDOUT || errors == EVICT_ERRORS_MAX;
}

int backing_make_room(struct tide_backing *backing)
{
	unsigned int errors = 0;
	int first = 0;

	for (uint64_t n = 0; n < 2 * backing->nframes; n++) {
		uint32_t frame = backing->hand;
		struct backing_frame *own = &backing->frames[frame];
		int ret;

		backing->hand = (uint32_t)((frame + 1ull) % backing->nframes);
		if (!own->sharers) {
			if (reap(backing, frame))
				return 0;
			continue;
		}
		if (backing->swap_fd == -1 ||
		    (!not_accessed(own) && n < backing->nframes))
			continue;
		ret = evict(backing, frame);
		if (ret > 0)
			return 0;
		if (ret == -EBUSY)
			continue;
		if (!first)
			first = ret;
		if (is_enough(ret, ++errors))
			break;
	}
	return first ? first : -ENOMEM;
}

/* Return: as evict; 0 if the page is not in a frame. */
static int swap_out(struct tide_backing *backing, uint32_t page)
{
	int ret = 0;

	tide_lock_acquire(&backing->lock);
	if (page_is_resident(backing, page))
		ret = evict(backing, page_frame(backing, page));
	tide_lock_release(&backing->lock);
	return ret;
}

int tide_backing_swap_out(struct tide_backing *backing, uint64_t first,
			  uint64_t npages)
{
	const uint64_t end = first + npages;
	unsigned int errors = 0;
	uint64_t gone = 0;
	int err = 0;

	if (first > backing->npages || npages > backing->npages - first)
		return -EINVAL;
	if (backing->swap_fd == -1)
		return -ENODEV;
	for (uint64_t page = first; page < end; page++) {
		/* Between any two pages others may have the lock. */
		int ret = swap_out(backing, (uint32_t)page);

		if (ret >= 0) {
			gone += (uint64_t)ret;
		} else if (ret != -EBUSY) {
			if (!err)
				err = ret;
			if (is_enough(ret, ++errors))
				break;
		}
	}
	if (!gone)
		return err;
	return gone < INT_MAX ? (int)gone : INT_MAX;
}
