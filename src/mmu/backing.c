/* SPDX-License-Identifier: MIT */
/*
 * backing.c - pages, frames and references of a backing
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
 * The second look sees the change: the reference acquires what publish, or
 * the leave of a frame that was not frozen, released.  Had the reference come
 * before the freeze, that would have failed.  It may fail by such a reference
 * that is on its way back, too; then the frame is passed by as if pinned.
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
 *   frame.publish, frame.leave  the page's new state -> pin.take
 *   frame.put  what the holder did -> frame.freeze, frame.leave, frame.reap
 */
#include "mmu/backing_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <tidemark/vcpu.h> /* relaxed loads of guest memory */

#include "base/options.h"
#include "base/pause_point.h"

#define PAGES_MAX (1ull << 31)
#define FRAMES_MIN 16u
/* Pages that are discarded in one go, with one flush. */
#define DISCARD_PAGES 256u

_Static_assert(PAGES_MAX < BACKING_NONE, "pages and frames have 32 bits");

static uint32_t page_at(const struct tide_backing *backing, uint64_t host)
{
	assert(backing_has(backing, host, 1));
	return (uint32_t)((host - backing->host) >> TIDE_PAGE_SHIFT);
}

static struct backing_frame *frame_at(struct tide_backing *backing,
				      uint64_t pfn)
{
	uint64_t frame = pfn - ((uintptr_t)backing->pool >> TIDE_PAGE_SHIFT);

	assert(frame < backing->nframes);
	return &backing->frames[frame];
}

static uint8_t *pfn_memory(const struct tide_backing *backing, uint64_t pfn)
{
	return backing->pool +
	       ((pfn << TIDE_PAGE_SHIFT) - (uintptr_t)backing->pool);
}

int backing_invalidate_start(struct tide_backing *backing, uint32_t page,
			     uint32_t npages)
{
	if (!backing->notifier)
		return 0;
	return backing->notifier->invalidate_start(
		backing->notified,
		backing->host + (uint64_t)page * TIDE_PAGE_SIZE, npages);
}

void backing_invalidate_end(struct tide_backing *backing, uint32_t page,
			    uint32_t npages)
{
	if (backing->notifier)
		backing->notifier->invalidate_end(
			backing->notified,
			backing->host + (uint64_t)page * TIDE_PAGE_SIZE,
			npages);
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
	    /* ACQ_REL(frame.leave) pairs with RELEASE(frame.put) and
	     * ACQUIRE(pin.take): all holders are done with a frame that
	     * becomes free; who takes a reference of one that does not sees
	     * that the page has left. */
	    atomic_fetch_sub_explicit(&own->count, 1, memory_order_acq_rel) ==
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

static int file_is_fit(int fd)
{
	struct stat file;
	int flags;

	if (fd == -1)
		return 0;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fstat(fd, &file) || (flags & O_ACCMODE) != O_RDWR)
		return -EBADF;
	if (!S_ISREG(file.st_mode) && !S_ISBLK(file.st_mode))
		return -EBADF;
	/* pwrite(2) would ignore its offset. */
	return flags & O_APPEND ? -EINVAL : 0;
}

static void *map(uint64_t nbytes, int prot)
{
	void *memory = mmap(NULL, nbytes, prot,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static void unmap(void *memory, uint64_t nbytes)
{
	if (memory)
		(void)munmap(memory, nbytes); /* a mapping of ours */
}

static void backing_fini(struct tide_backing *backing)
{
	/* NOLINTNEXTLINE(performance-no-int-to-ptr): an address is a number */
	unmap((void *)(uintptr_t)backing->host,
	      backing->npages * TIDE_PAGE_SIZE);
	unmap(backing->pool, backing->nframes * TIDE_PAGE_SIZE);
	unmap(backing->pages, backing->npages * sizeof(*backing->pages));
	unmap(backing->frames, backing->nframes * sizeof(*backing->frames));
	free(backing);
}

static int backing_init(struct tide_backing *backing)
{
	backing->host =
		(uintptr_t)map(backing->npages * TIDE_PAGE_SIZE, PROT_NONE);
	backing->pool =
		map(backing->nframes * TIDE_PAGE_SIZE, PROT_READ | PROT_WRITE);
	/* Zero is PAGE_ABSENT; what is never used takes no memory. */
	backing->pages = map(backing->npages * sizeof(*backing->pages),
			     PROT_READ | PROT_WRITE);
	backing->frames = map(backing->nframes * sizeof(*backing->frames),
			      PROT_READ | PROT_WRITE);
	if (!backing->host || !backing->pool || !backing->pages ||
	    !backing->frames)
		return -ENOMEM;
	backing->first_free = BACKING_NONE;
	for (uint64_t i = backing->nframes; i-- > 0;)
		backing_frame_free(backing, (uint32_t)i);
	return tide_lock_init(&backing->lock, TIDE_RANK_BACKING);
}

int tide_backing_create(const struct tide_backing_config *config,
			struct tide_backing **ret_backing)
{
	struct tide_backing_config own;
	struct tide_backing *backing;
	int err = tide_options_copy(&own, sizeof(own), config, sizeof(own));

	if (err)
		return err;
	if (!ret_backing || !own.npages || own.npages > PAGES_MAX ||
	    own.nframes < FRAMES_MIN || own.nframes > PAGES_MAX)
		return -EINVAL;
	err = file_is_fit(own.swap_fd);
	if (err)
		return err;
	backing = calloc(1, sizeof(*backing));
	if (!backing)
		return -ENOMEM;
	backing->npages = own.npages;
	backing->nframes = own.nframes;
	backing->swap_fd = own.swap_fd;
	err = backing_init(backing);
	if (err) {
		backing_fini(backing);
		return err;
	}
	*ret_backing = backing;
	return 0;
}

void tide_backing_destroy(struct tide_backing *backing)
{
	if (!backing)
		return;
	assert(!backing->notifier);
#ifdef TIDE_CHECKS
	backing_check(backing);
#endif
	tide_lock_fini(&backing->lock);
	backing_fini(backing);
}

void *tide_backing_host(struct tide_backing *backing)
{
	/* NOLINTNEXTLINE(performance-no-int-to-ptr): an address is a number */
	return (void *)(uintptr_t)backing->host;
}

int backing_set_notifier(struct tide_backing *backing,
			 const struct backing_notifier *notifier, void *opaque)
{
	int err = 0;

	tide_lock_acquire(&backing->lock);
	if (notifier && backing->notifier) {
		err = -EBUSY;
	} else {
		backing->notifier = notifier;
		backing->notified = opaque;
	}
	tide_lock_release(&backing->lock);
	return err;
}

bool backing_has(const struct tide_backing *backing, uint64_t host,
		 uint64_t npages)
{
	uint64_t offset = host - backing->host;
	uint64_t page = offset >> TIDE_PAGE_SHIFT;

	return host >= backing->host && page < backing->npages &&
	       npages <= backing->npages - page;
}

/* The last page of a shared frame has it to itself again, if nobody has a
 * reference that he got by way of another page. */
static bool keep_frame(struct tide_backing *backing, uint32_t page)
{
	uint32_t frame = page_frame(backing, page);
	struct backing_frame *own = &backing->frames[frame];

	if (own->sharers > 1 || !backing_freeze(own))
		return false;
	page_set(backing, page, PAGE_ALONE,
		 page_state(backing, page) & PAGE_SAVED, frame);
	backing_publish(own);
	return true;
}

/* A frame of its own for a page that shares one; there is a free frame. */
static int break_sharing(struct tide_backing *backing, uint32_t page)
{
	uint64_t saved = page_state(backing, page) & PAGE_SAVED;
	/* Its mapping is read-only, but of the old frame. */
	int err = backing_invalidate_start(backing, page, 1);

	if (!err) {
		uint32_t frame = backing_frame_take(backing);

		memcpy(frame_memory(backing, frame),
		       frame_memory(backing, page_frame(backing, page)),
		       TIDE_PAGE_SIZE);
		(void)backing_leave(backing, page); /* free or not */
		backing_enter(backing, page, frame, PAGE_ALONE, saved);
		backing_publish(&backing->frames[frame]);
	}
	backing_invalidate_end(backing, page, 1);
	return err;
}

static int fill_with_zero(struct tide_backing *backing, uint32_t page)
{
	uint32_t frame = backing_frame_take(backing);

	memset(frame_memory(backing, frame), 0, TIDE_PAGE_SIZE);
	backing_enter(backing, page, frame, PAGE_ALONE, 0);
	backing_publish(&backing->frames[frame]);
	return 0;
}

/* The page gets a frame, for @write one of its own. */
static int bring_in(struct tide_backing *backing, uint32_t page, bool write)
{
	for (;;) {
		enum page_kind kind = page_kind(backing, page);
		int err;

		if (kind == PAGE_ALONE || (kind == PAGE_SHARED && !write))
			return 0;
		if (kind == PAGE_SHARED && keep_frame(backing, page)) {
			backing->stats.breaks++;
			return 0;
		}
		if (backing->first_free == BACKING_NONE) {
			err = backing_make_room(backing);
			if (err)
				return err;
			continue; /* it may have taken this page's frame */
		}
		if (kind == PAGE_ABSENT)
			return fill_with_zero(backing, page);
		if (kind == PAGE_SWAPPED)
			return backing_swap_in(backing, page);
		err = break_sharing(backing, page);
		if (!err)
			backing->stats.breaks++;
		return err;
	}
}

int backing_get(struct tide_backing *backing, uint64_t host, bool write,
		struct host_page *ret_page)
{
	uint32_t page = page_at(backing, host);
	int err;

	tide_lock_acquire(&backing->lock);
	err = bring_in(backing, page, write);
	if (!err) {
		uint32_t frame = page_frame(backing, page);
		struct backing_frame *own = &backing->frames[frame];

		/* Relaxed: the page cannot leave, we have the lock. */
		atomic_fetch_add_explicit(&own->count, 1, memory_order_relaxed);
		/* Relaxed: a hint. */
		atomic_store_explicit(&own->accessed, true,
				      memory_order_relaxed);
		ret_page->pfn = (uintptr_t)frame_memory(backing, frame) >>
				TIDE_PAGE_SHIFT;
		ret_page->writable = page_kind(backing, page) == PAGE_ALONE;
	}
	tide_lock_release(&backing->lock);
	return err;
}

void backing_put(struct tide_backing *backing, uint64_t pfn)
{
	/* RELEASE(frame.put) pairs with ACQUIRE(frame.freeze),
	 * ACQ_REL(frame.leave) and ACQUIRE(frame.reap): who takes the frame
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
		/* ACQUIRE(pin.take) pairs with RELEASE(frame.publish) and
		 * ACQ_REL(frame.leave): if the frame is not the page's any
		 * more, the state that we look at next says so. */
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

/* Whether [host, host + nbytes) lies in the backing. */
static bool has_bytes(const struct tide_backing *backing, uint64_t host,
		      size_t nbytes)
{
	uint64_t size = backing->npages * TIDE_PAGE_SIZE;

	return host >= backing->host && host - backing->host <= size &&
	       nbytes <= size - (host - backing->host);
}

/* Out of memory that a guest may be writing to. */
static void copy_out(uint8_t *to, const uint8_t *from, size_t nbytes)
{
	while (nbytes) {
		size_t n = 1;

		if ((uintptr_t)from % 8 == 0 && nbytes >= 8) {
			/* Relaxed: which of two concurrent values is read
			 * does not matter. */
			uint64_t word =
				TIDE_LOAD_RELAXED(uint64_t, (uintptr_t)from);

			n = 8;
			memcpy(to, &word, n);
		} else {
			*to = TIDE_LOAD_RELAXED(uint8_t, (uintptr_t)from);
		}
		to += n;
		from += n;
		nbytes -= n;
	}
}

/* Tries to read a whole page without giving it a frame.  Return: 0; a
 * negative errno; -EAGAIN: it has a frame. */
static int read_without_frame(struct tide_backing *backing, uint64_t host,
			      void *buffer)
{
	uint32_t page = page_at(backing, host);
	int err = -EAGAIN;

	tide_lock_acquire(&backing->lock);
	switch (page_kind(backing, page)) {
	case PAGE_ABSENT:
		memset(buffer, 0, TIDE_PAGE_SIZE);
		err = 0;
		break;
	case PAGE_SWAPPED:
		err = backing_swap_read(backing, page, buffer);
		break;
	case PAGE_ALONE:
	case PAGE_SHARED:
		break;
	}
	tide_lock_release(&backing->lock);
	return err;
}

static int read_part(struct tide_backing *backing, uint64_t host, void *buffer,
		     size_t nbytes)
{
	struct host_page page;
	int err = nbytes == TIDE_PAGE_SIZE
			  ? read_without_frame(backing, host, buffer)
			  : -EAGAIN;

	if (err != -EAGAIN)
		return err;
	err = backing_get(backing, host, false, &page);
	if (err)
		return err;
	copy_out(buffer, pfn_memory(backing, page.pfn) + host % TIDE_PAGE_SIZE,
		 nbytes);
	backing_put(backing, page.pfn);
	return 0;
}

static int write_part(struct tide_backing *backing, uint64_t host,
		      const void *buffer, size_t nbytes)
{
	struct host_page page;
	int err = backing_get(backing, host, true, &page);

	if (err)
		return err;
	memcpy(pfn_memory(backing, page.pfn) + host % TIDE_PAGE_SIZE, buffer,
	       nbytes);
	backing_page_dirty(backing, page.pfn);
	backing_put(backing, page.pfn);
	return 0;
}

static size_t part_of_page(uint64_t host, size_t nbytes)
{
	size_t left = TIDE_PAGE_SIZE - host % TIDE_PAGE_SIZE;

	return nbytes < left ? nbytes : left;
}

int tide_backing_read(struct tide_backing *backing, const void *host,
		      void *buffer, size_t nbytes)
{
	uint64_t at = (uintptr_t)host;
	uint8_t *to = buffer;

	if (!has_bytes(backing, at, nbytes))
		return -EFAULT;
	while (nbytes) {
		size_t part = part_of_page(at, nbytes);
		int err = read_part(backing, at, to, part);

		if (err)
			return err;
		at += part;
		to += part;
		nbytes -= part;
	}
	return 0;
}

int tide_backing_write(struct tide_backing *backing, void *host,
		       const void *buffer, size_t nbytes)
{
	uint64_t at = (uintptr_t)host;
	const uint8_t *from = buffer;

	if (!has_bytes(backing, at, nbytes))
		return -EFAULT;
	while (nbytes) {
		size_t part = part_of_page(at, nbytes);
		int err = write_part(backing, at, from, part);

		if (err)
			return err;
		at += part;
		from += part;
		nbytes -= part;
	}
	return 0;
}

static int discard(struct tide_backing *backing, uint32_t first,
		   uint32_t npages)
{
	int err = backing_invalidate_start(backing, first, npages);

	for (uint32_t page = first; !err && page < first + npages; page++) {
		enum page_kind kind = page_kind(backing, page);

		if (kind == PAGE_ABSENT)
			continue;
		if (kind == PAGE_SWAPPED) {
			page_set(backing, page, PAGE_ABSENT, 0, 0);
			backing->stats.swapped--;
		} else {
			(void)backing_leave(backing, page); /* free or not */
		}
		backing->stats.discards++;
	}
	if (!err && backing->notifier)
		backing->notifier->written(
			backing->notified,
			backing->host + (uint64_t)first * TIDE_PAGE_SIZE,
			npages);
	backing_invalidate_end(backing, first, npages);
	return err;
}

int tide_backing_discard(struct tide_backing *backing, uint64_t first,
			 uint64_t npages)
{
	int err = 0;

	if (first > backing->npages || npages > backing->npages - first)
		return -EINVAL;
	while (!err && npages) {
		uint32_t part = npages < DISCARD_PAGES ? (uint32_t)npages
						       : DISCARD_PAGES;

		tide_lock_acquire(&backing->lock);
		err = discard(backing, (uint32_t)first, part);
		tide_lock_release(&backing->lock);
		first += part;
		npages -= part;
	}
	return err;
}

void tide_backing_stats(struct tide_backing *backing,
			struct tide_backing_stats *ret_stats)
{
	tide_lock_acquire(&backing->lock);
	*ret_stats = backing->stats;
	tide_lock_release(&backing->lock);
}
