/* SPDX-License-Identifier: MIT */
/*
 * backing.c - guest memory with fewer frames than pages: the calls
 *
 * Theory of operation
 * -------------------
 * A page that somebody asks for is brought into a frame: with zero, from the
 * swap file, or by copying what it shares with others.  If no frame is free,
 * swap.c makes room first; that may take any frame, also that of the page
 * itself, so that bring_in() looks at the page again.
 *
 * Every change of a page or a frame happens under the lock, disk I/O and the
 * notifier's calls included.  What is lock-free, and why, is in frame.c.
 *
 * Invariants: frame.c.
 * Synchronisation: the lock.
 */
#include "mmu/backing_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/options.h"
#include "mmu/mmu_internal.h" /* guest_copy */

#define PAGES_MAX (1ull << 31)
#define FRAMES_MIN 16u
/* Pages that are discarded in one go, with one flush. */
#define DISCARD_PAGES 256u

_Static_assert(PAGES_MAX < BACKING_NONE, "pages and frames have 32 bits");

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

bool backing_has_any(const struct tide_backing *backing, uint64_t host,
		     uint64_t npages)
{
	return host < backing->host + backing->npages * TIDE_PAGE_SIZE &&
	       host + npages * TIDE_PAGE_SIZE > backing->host;
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

/* Whether [host, host + nbytes) lies in the backing. */
static bool has_bytes(const struct tide_backing *backing, uint64_t host,
		      size_t nbytes)
{
	uint64_t size = backing->npages * TIDE_PAGE_SIZE;

	return host >= backing->host && host - backing->host <= size &&
	       nbytes <= size - (host - backing->host);
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
	guest_copy(buffer,
		   pfn_memory(backing, page.pfn) + host % TIDE_PAGE_SIZE,
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
	guest_copy(pfn_memory(backing, page.pfn) + host % TIDE_PAGE_SIZE,
		   buffer, nbytes);
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
