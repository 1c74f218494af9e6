/* SPDX-License-Identifier: MIT */
/*
 * host.h - what the MMU asks of a backing, and what the backing tells the MMU
 *
 * Pages are named by their host virtual address, inside the backing's run.  A
 * frame is named by its pfn: the address of its memory in this process,
 * shifted; so are pages of slots outside a backing, which need none of this.
 *
 * References.  A page in a frame holds one reference per page that shares it;
 * backing_get and backing_pin take one more.  A frame is taken away only while
 * no other reference is left.
 */
#ifndef TIDE_MMU_HOST_H
#define TIDE_MMU_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include <tidemark/backing.h>

/* Called with the backing's lock held; the MMU takes its mmu_lock inside. */
struct backing_notifier {
	/* Drop every mapping of [host, host + npages pages) and flush; until
	 * end no new one is made.  Return: 0; -ETIMEDOUT: a vCPU may still
	 * have a translation, so the frame must stay.  end is called in both
	 * cases. */
	int (*invalidate_start)(void *opaque, uint64_t host, uint64_t npages);
	void (*invalidate_end)(void *opaque, uint64_t host, uint64_t npages);
	/* The contents of these pages changed, between start and end. */
	void (*written)(void *opaque, uint64_t host, uint64_t npages);
};

/* One user.  Return: 0; -EBUSY.  NULL notifier: no longer. */
int backing_set_notifier(struct tide_backing *backing,
			 const struct backing_notifier *notifier, void *opaque);

/* Is [host, host + npages pages) inside? */
bool backing_has(const struct tide_backing *backing, uint64_t host,
		 uint64_t npages);
/* Is any of them? */
bool backing_has_any(const struct tide_backing *backing, uint64_t host,
		     uint64_t npages);

struct host_page {
	uint64_t pfn;
	bool writable; /* not shared with another page */
};

/*
 * The frame of the page at @host, brought in if need be; for @write alone in
 * its frame.  With a reference that backing_put gives back.  Takes the
 * backing's lock, may do I/O, may call the notifier.  No lock below it held.
 * Return: 0; -ENOMEM: no frame and no swap file, or every frame referenced;
 * the disk's error; -EBADMSG; -ETIMEDOUT.
 */
int backing_get(struct tide_backing *backing, uint64_t host, bool write,
		struct host_page *ret_page);
void backing_put(struct tide_backing *backing, uint64_t pfn);

/* Lock-free (thread 2's gfn_to_pfn_atomic): a reference, if the page at @host
 * is in frame @pfn now and alone in it.  Until backing_put it stays so, or the
 * page is discarded; then the frame stays the reference's own. */
bool backing_pin(struct tide_backing *backing, uint64_t host, uint64_t pfn);

/* A mapping that is being dropped had its D, or its A bit set.  Lock-free;
 * under the mmu_lock of a notifier call or at any time with a reference. */
void backing_page_dirty(struct tide_backing *backing, uint64_t pfn);
void backing_page_accessed(struct tide_backing *backing, uint64_t pfn);

/* Asserts that pages, frames, references and counters agree; slow.  A test
 * calls it at any time; with TIDE_CHECKS destroy does. */
void backing_check(struct tide_backing *backing);

#endif
