/* SPDX-License-Identifier: MIT */
/*
 * tidemark/mark.h - what a writer that the tracker cannot see says
 *
 * A device model, DMA, a vhost back-end or an emulated instruction writes to
 * guest memory behind the tracker's back.  It writes first and marks
 * afterwards; from the return of the mark on, every client's next begin
 * yields the page (C1).  The other order loses the write when a harvest
 * falls between mark and write.
 *
 * What it does not do: it does not look at the memory, and it does not tell
 * the tracker: a marked page may also be reported by the tracker.
 *
 * Threads.  Every call from any thread at any time between create and
 * destroy of the space.  Not from a signal handler on a thread's first call
 * (liburcu registers the thread then).
 *
 * Progress.  Wait-free for one page; a mark of a page that is already marked
 * does not write to shared memory.  Nothing is allocated after a thread's
 * first call.
 *
 * Errors.  0, or -ENOENT when a page lies in no slot; the pages that do lie
 * in one are marked all the same.  A range that wraps is -EINVAL, and
 * nothing is marked.  Pages of an unlogged slot are skipped in silence.
 *
 * Manual: tide_mark(3).
 */
#ifndef TIDEMARK_MARK_H
#define TIDEMARK_MARK_H

#include <tidemark/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tide_space;

/** tide_mark() - the page @gfn was written.  Return: 0; -ENOENT. */
TIDE_API int tide_mark(struct tide_space *space, uint64_t gfn);

/**
 * tide_mark_range() - @npages pages from @first_gfn on were written
 *
 * Return: 0, also for no pages; -ENOENT; -EINVAL.
 */
TIDE_API int tide_mark_range(struct tide_space *space, uint64_t first_gfn,
			     uint64_t npages);

/**
 * tide_mark_bytes() - @nbytes bytes from guest physical address @gpa on were
 * written; a write across a page border marks both pages
 *
 * Return: 0, also for no bytes; -ENOENT; -EINVAL.
 */
TIDE_API int tide_mark_bytes(struct tide_space *space, uint64_t gpa,
			     uint64_t nbytes);

/**
 * tide_mark_host() - @nbytes bytes at the host address @hva were written;
 * every slot that maps them is marked, aliases included
 *
 * Return: 0, also for no bytes; -ENOENT if a byte lies in no slot's memory;
 * -EINVAL.
 */
TIDE_API int tide_mark_host(struct tide_space *space, const void *hva,
			    size_t nbytes);

/**
 * tide_mark_bitmap() - merge somebody else's dirty log (vhost, VFIO)
 * @words: bit i%64 of words[i/64] set: page @first_gfn + i was written;
 *         (npages + 63) / 64 words; bits beyond @npages are ignored
 *
 * Return: 0; -ENOENT; -EINVAL.
 */
TIDE_API int tide_mark_bitmap(struct tide_space *space, uint64_t first_gfn,
			      uint64_t npages, const uint64_t *words);

#ifdef __cplusplus
}
#endif
#endif
