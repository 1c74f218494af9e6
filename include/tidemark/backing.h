/* SPDX-License-Identifier: MIT */
/*
 * tidemark/backing.h - guest memory larger than the host gives it: frames,
 * swap, merged pages
 *
 * A backing is a run of pages with an address each, and fewer frames to hold
 * them.  A page is absent (reads as zero), in a frame, in a frame that it
 * shares with equal pages, or in the swap file.  Slots whose host memory lies
 * in it get their frames page by page, by the software MMU's slow path;
 * before a frame is taken away, the MMU is told and has dropped every mapping
 * of it (KVM's mmu notifiers).
 *
 * What it does not do: tide_backing_host() is an address, not memory; reading
 * it directly faults.  Read pages with tide_backing_read().
 *
 * Threads.  Every call from any thread, except create and destroy.  A call
 * may do disk I/O and hold up vCPUs that need a page meanwhile.
 *
 * Bad disk.  A write that fails or is short leaves the page where it is; a
 * read that fails, is short or does not match its checksum leaves it in the
 * swap file.  The vCPU or the caller gets the error; no page is lost, and the
 * access can be tried again.
 *
 * Errors.  0 or a count, or a negative errno value.
 *
 * Manual: tide_backing_create(3).  After: Linux mm (swap, KSM) and
 * virt/kvm/kvm_main.c (mmu notifiers).
 */
#ifndef TIDEMARK_BACKING_H
#define TIDEMARK_BACKING_H

#include <tidemark/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tide_backing; /* opaque */

struct tide_backing_config {
	size_t size;	  /* of this struct; 0: the first version */
	uint64_t npages;  /* at least 1, at most 2^31 */
	uint64_t nframes; /* to hold them, at least 16, at most 2^31 */
	/* A file for the pages that have no frame, used from offset 0 on; stays
	 * the caller's, open until destroy.  -1: none, and a page that needs a
	 * frame when none is free is -ENOMEM. */
	int swap_fd;
};

/* Grows at the end only.  Pages. */
struct tide_backing_stats {
	uint64_t frames_free;
	uint64_t resident; /* pages in a frame */
	uint64_t swapped;  /* pages in the swap file only */
	uint64_t merged;   /* pages that share a frame with others */
	uint64_t swap_outs, swap_ins, merges, breaks, discards; /* ever */
	uint64_t swap_errors;
};

/** tide_backing_create() - all pages absent.  Return: 0; -EINVAL; -E2BIG;
 * -EBADF if swap_fd is not a file open for reading and writing; -ENOMEM. */
TIDE_API TIDE_MUST_CHECK int
tide_backing_create(const struct tide_backing_config *config,
		    struct tide_backing **ret_backing);
/** tide_backing_destroy() - no MMU uses it (asserted).  NULL is fine. */
TIDE_API void tide_backing_destroy(struct tide_backing *backing);

/** tide_backing_host() - the address of page 0, for tide_slot_config.host */
TIDE_API void *tide_backing_host(struct tide_backing *backing);

/** tide_backing_read() - copy out @nbytes from @host on, an address in the
 * backing; a page that is swapped out stays so if @nbytes is all of it.
 * Return: 0; -EFAULT outside the backing; the disk's error; -EBADMSG. */
TIDE_API TIDE_MUST_CHECK int tide_backing_read(struct tide_backing *backing,
					       const void *host, void *buffer,
					       size_t nbytes);
/** tide_backing_write() - fill memory before the guest runs: not marked.
 * Return: as read; -ENOMEM. */
TIDE_API TIDE_MUST_CHECK int tide_backing_write(struct tide_backing *backing,
						void *host, const void *buffer,
						size_t nbytes);

/**
 * tide_backing_swap_out() - move pages [first, first + npages) to the file
 *
 * A page that is pinned by a page fault just now is left alone.
 *
 * Return: how many pages left their frame; -EINVAL; without any, the first
 * error: the disk's, -ENOSPC, -ENODEV without a swap file, -ETIMEDOUT
 * (tidemark/mmu.h).
 */
TIDE_API int tide_backing_swap_out(struct tide_backing *backing, uint64_t first,
				   uint64_t npages);

/**
 * tide_backing_merge() - let equal pages among [first, first + npages) share
 * a frame, read-only; the next write to one gives it a frame of its own
 *
 * Candidates by XXH3, then compared byte by byte with every mapping dropped.
 *
 * Return: how many frames that freed; -EINVAL; -ENOMEM; -ETIMEDOUT.
 */
TIDE_API int tide_backing_merge(struct tide_backing *backing, uint64_t first,
				uint64_t npages);

/**
 * tide_backing_discard() - pages [first, first + npages) become absent: they
 * read as zero (a balloon).  Counts as a write: they are marked.
 *
 * Return: 0; -EINVAL; -ETIMEDOUT.
 */
TIDE_API TIDE_MUST_CHECK int tide_backing_discard(struct tide_backing *backing,
						  uint64_t first,
						  uint64_t npages);

/** tide_backing_stats() - a snapshot */
TIDE_API void tide_backing_stats(struct tide_backing *backing,
				 struct tide_backing_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
