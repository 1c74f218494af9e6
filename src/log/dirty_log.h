/* SPDX-License-Identifier: MIT */
/*
 * dirty_log.h - GET and CLEAR of a dirty bitmap, over any mechanism's hooks
 *
 * Thread 5: 1. take a snapshot of the bits and clear them, 2. protect the
 * pages, 3. flush TLBs if there were any, 4. hand the snapshot out.  What
 * "protect" and "flush" are, the mechanism says.
 *
 * Threads.  Calls on one log are serialised by the caller (KVM: slots_lock);
 * bits may be set meanwhile by anybody.
 */
#ifndef TIDE_LOG_DIRTY_LOG_H
#define TIDE_LOG_DIRTY_LOG_H

#include <stdint.h>

#include "log/bitmap.h"

/* Words that are taken, protected and flushed together. */
#define TIDE_DIRTY_LOG_BATCH 4096u

struct tide_dirty_word {
	uint64_t word;
	uint64_t bits;
};

struct tide_dirty_log {
	struct tide_bitmap dirty;
	struct tide_dirty_word *taken; /* TIDE_DIRTY_LOG_BATCH, or fewer */
	uint32_t taken_max;
	uint32_t taken_count; /* 0 between calls */
};

struct tide_dirty_log_hooks {
	/* Around the protect calls of a batch: the mmu lock. */
	void (*begin)(void *opaque);
	/* Make the next write to each page be caught: bit i of @mask is page
	 * 64 * @word + i.  Their bits are cleared already. */
	void (*protect)(void *opaque, uint64_t word, uint64_t mask);
	void (*end)(void *opaque);
	/* Once a batch, without the mmu lock.  Return: 0; a
	 * negative errno: some writer may still have a stale translation. */
	int (*flush)(void *opaque);
};

/* Return: 0; -EINVAL for no pages; -ENOMEM. */
int tide_dirty_log_init(struct tide_dirty_log *log, uint64_t npages);
void tide_dirty_log_fini(struct tide_dirty_log *log);

/* Calls @found for each word with dirty pages, after the flush of its batch.
 * Return: 0; flush's error: then every bit that was taken and not handed to
 * @found is set again. */
int tide_dirty_log_get(struct tide_dirty_log *log,
		       const struct tide_dirty_log_hooks *hooks, void *hooked,
		       void (*found)(void *opaque, uint64_t word,
				     uint64_t bits),
		       void *opaque);

/* Manual protect's GET: calls @found for each word, clears nothing. */
void tide_dirty_log_peek(const struct tide_dirty_log *log,
			 void (*found)(void *opaque, uint64_t word,
				       uint64_t bits),
			 void *opaque);

/* Clears and protects those pages of [64 * first_word, + npages) whose bits
 * are set in @words and in the log; bits beyond @npages are ignored.
 * Return: 0; flush's error: then every bit that was cleared and not flushed is
 * set again. */
int tide_dirty_log_clear(struct tide_dirty_log *log,
			 const struct tide_dirty_log_hooks *hooks, void *hooked,
			 uint64_t first_word, uint64_t npages,
			 const uint64_t *words);

#endif
