/* SPDX-License-Identifier: MIT */
/* backing_internal.h - what backing.c, frame.c, swap.c and merge.c share */
#ifndef TIDE_MMU_BACKING_INTERNAL_H
#define TIDE_MMU_BACKING_INTERNAL_H

#include <assert.h>

#include <tidemark/backing.h>

#include "base/atomic.h"
#include "base/lock.h"
#include "mmu/host.h"

#define BACKING_NONE UINT32_MAX /* no page, no frame */
/* To take a shared frame away, all of its pages are invalidated and perhaps
 * written; so there is a limit to them, as in KSM. */
#define BACKING_SHARERS_MAX 256u

enum page_kind {
	PAGE_ABSENT, /* reads as zero */
	PAGE_ALONE,  /* has a frame to itself */
	PAGE_SHARED, /* in a frame that nobody may write to */
	PAGE_SWAPPED,
};

/* A page's state: kind, whether its place in the swap file holds its contents
 * too, frame.  The pages of the swap file are those of the backing, in order:
 * nothing to allocate, and a swapped page always finds room. */
#define PAGE_KIND_MASK 3ull
#define PAGE_SAVED (1ull << 2)
#define PAGE_FRAME_SHIFT 32

struct backing_page {
	_Atomic uint64_t state; /* changed under the lock, see frame.c */
	uint64_t sum;		/* XXH3 of what the swap file should hold */
	uint32_t next;		/* that shares the frame, or NONE */
};

struct backing_frame {
	_Atomic uint32_t count; /* references; 0: cannot be pinned */
	atomic_bool dirty;	/* its page's copy in the file is stale */
	atomic_bool accessed;	/* the clock passes it by once */
	bool free;		/* in the list of free frames */
	uint32_t sharers;	/* pages in it */
	uint32_t first;		/* of them, or the next free frame, or NONE */
};

struct tide_backing {
	/* Constant after create. */
	uint64_t npages, nframes;
	uint64_t host; /* of page 0: PROT_NONE */
	uint8_t *pool; /* the frames' memory */
	struct backing_page *pages;
	struct backing_frame *frames;
	int swap_fd;

	struct tide_lock lock;
	/* Under the lock, as is what is not atomic in pages and frames. */
	const struct backing_notifier *notifier;
	void *notified;
	uint32_t first_free; /* frame */
	uint32_t hand;	     /* of the clock: the next frame to look at */
	struct tide_backing_stats stats;
};

static inline uint32_t page_at(const struct tide_backing *backing,
			       uint64_t host)
{
	assert(backing_has(backing, host, 1));
	return (uint32_t)((host - backing->host) >> TIDE_PAGE_SHIFT);
}

static inline uint64_t page_state(const struct tide_backing *backing,
				  uint32_t page)
{
	/* Relaxed: it changes under the lock, which the caller holds. */
	return atomic_load_explicit(&backing->pages[page].state,
				    memory_order_relaxed);
}

static inline enum page_kind page_kind(const struct tide_backing *backing,
				       uint32_t page)
{
	return (enum page_kind)(page_state(backing, page) & PAGE_KIND_MASK);
}

static inline uint32_t page_frame(const struct tide_backing *backing,
				  uint32_t page)
{
	return (uint32_t)(page_state(backing, page) >> PAGE_FRAME_SHIFT);
}

static inline bool page_is_resident(const struct tide_backing *backing,
				    uint32_t page)
{
	enum page_kind kind = page_kind(backing, page);

	return kind == PAGE_ALONE || kind == PAGE_SHARED;
}

static inline void page_set(struct tide_backing *backing, uint32_t page,
			    enum page_kind kind, uint64_t saved, uint32_t frame)
{
	uint64_t state = (uint64_t)frame << PAGE_FRAME_SHIFT | saved | kind;

	/* Relaxed: only pin reads it without the lock, after an acquire of
	 * the frame's count, which is what orders the two. */
	atomic_store_explicit(&backing->pages[page].state, state,
			      memory_order_relaxed);
}

static inline uint8_t *frame_memory(const struct tide_backing *backing,
				    uint32_t frame)
{
	return backing->pool + (uint64_t)frame * TIDE_PAGE_SIZE;
}

/* All of these with the lock held. */

/* backing.c */

/* Tells the MMU.  The end must follow, whatever start returned. */
int backing_invalidate_start(struct tide_backing *backing, uint32_t page,
			     uint32_t npages);
void backing_invalidate_end(struct tide_backing *backing, uint32_t page,
			    uint32_t npages);

/* frame.c */

/* Takes the last references, so that no pin can come; fails if there are
 * others than the pages' own.  Publish gives the pages theirs. */
bool backing_freeze(struct backing_frame *frame);
void backing_publish(struct backing_frame *frame);
/* Of a frozen frame whose mappings are gone: what its D bits said. */
void backing_settle_dirty(struct tide_backing *backing, uint32_t frame);
/* Into a frozen frame.  The page keeps the PAGE_SAVED that it is given. */
void backing_enter(struct tide_backing *backing, uint32_t page, uint32_t frame,
		   enum page_kind kind, uint64_t saved);
/* Out of a frame, frozen or not, of which it has one reference; the frame is
 * free then, or waits for its last reference.  True: it was the last page. */
bool backing_leave(struct tide_backing *backing, uint32_t page);
/* There is one; frozen, empty, clean. */
uint32_t backing_frame_take(struct tide_backing *backing);
void backing_frame_free(struct tide_backing *backing, uint32_t frame);

/* swap.c */

/* Copies a swapped page out of the file.  Return: 0; the disk's error;
 * -EBADMSG. */
int backing_swap_read(struct tide_backing *backing, uint32_t page,
		      void *buffer);
/* Into a free frame, of which there is one.  Return: as above. */
int backing_swap_in(struct tide_backing *backing, uint32_t page);
/* A frame becomes free.  Return: 0; the first error of the disk; -ETIMEDOUT;
 * -ENOMEM without a swap file, or if every frame is referenced. */
int backing_make_room(struct tide_backing *backing);

#endif
