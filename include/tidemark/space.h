/* SPDX-License-Identifier: MIT */
/*
 * tidemark/space.h - what is tracked: a space and its slots
 *
 * A space is a set of slots; a slot is a run of pages with a first gfn, a
 * length in pages, host memory and flags.  Slots of one space do not overlap
 * in gfn; they may share host memory (aliases).
 *
 * What it does not do: it does not own host memory, and it does not start a
 * thread.  Without a tracker (tidemark/tracker.h) a space knows only what
 * writers tell it (tidemark/mark.h).
 *
 * Threads.  Every call may run at the same time as every other call on the
 * same space, marks and harvests included, except create and destroy, which
 * the caller serialises against everything.
 *
 * Progress.  Calls block on the space's slots_lock (docs/locking.md); remove
 * and move also wait for an RCU grace period (liburcu).
 *
 * Errors.  0 or a count, or a negative errno value.  errno is not touched
 * and nothing is printed.
 *
 * Manual:  tide_space_create(3), tide_slot_add(3), tidemark(7).
 */
#ifndef TIDEMARK_SPACE_H
#define TIDEMARK_SPACE_H

#include <tidemark/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tide_space; /* opaque */

enum tide_slot_flags {
	/* Writes are not logged.  Setting it collects what was logged first;
	 * clearing it makes every page of the slot dirty for every client. */
	TIDE_SLOT_UNLOGGED = 1u << 0,
	/* The guest cannot write it; the tracker maps it read-only. */
	TIDE_SLOT_READONLY = 1u << 1,
	/* host is private anonymous memory: a page that was never touched is
	 * known to be zero, so that migration need not read it. */
	TIDE_SLOT_ANONYMOUS = 1u << 2,
};

struct tide_slot_config {
	size_t size;	    /* of this struct; 0: the first version */
	uint32_t id;	    /* the caller's name for it; KVM: slot id, < 2^16 */
	uint32_t flags;	    /* enum tide_slot_flags */
	uint64_t first_gfn; /* guest frame number of the first page */
	uint64_t npages;    /* pages, in [1, TIDE_SLOT_PAGES_MAX] */
	void *host;	    /* page-aligned; npages pages; stays the caller's */
};

struct tide_slot_info {
	uint32_t id;
	uint32_t flags;
	uint64_t first_gfn;
	uint64_t npages;
	void *host;
};

/**
 * tide_space_create() - an empty space
 *
 * Return: 0; -ENOMEM.
 */
TIDE_API TIDE_MUST_CHECK int tide_space_create(struct tide_space **ret_space);

/**
 * tide_space_destroy() - detach the tracker and free the space
 *
 * Every client must be closed first (asserted).  NULL is fine.  Slots that
 * the tracker added to a VM stay in that VM, with logging off.
 */
TIDE_API void tide_space_destroy(struct tide_space *space);

/**
 * tide_slot_add() - start tracking a run of pages
 *
 * The slot is dirty as a whole for every client that is open: none of them
 * has seen it.  With a KVM tracker attached this is also the
 * KVM_SET_USER_MEMORY_REGION call; a slot that the embedder already added
 * with the same gfn, size and address is taken over.
 *
 * Return: 0; -EINVAL for an unaligned host address, no pages, too many, a
 * gfn range that wraps, or unknown flags; -EEXIST when the id is taken or
 * the gfns overlap another slot; -ENOMEM; -E2BIG (base.h); or the tracker's
 * error, and then the slot is not there.
 */
TIDE_API TIDE_MUST_CHECK int
tide_slot_add(struct tide_space *space, const struct tide_slot_config *config);

/**
 * tide_slot_remove() - stop tracking a slot, and remove it from the VM
 *
 * What the slot's log still holds is collected first.  Each client's next
 * begin yields those pages as extents with TIDE_EXTENT_GONE; if the tracker
 * cannot account for every write up to the removal, that is all of them.
 *
 * A harvest that has an extent of the slot in hand keeps reading its memory:
 * unmap it only when tide_slot_busy() says 0.
 *
 * Return: 0; a positive number of harvests that still hold extents of it;
 * -ENOENT for an unknown id; or the tracker's error, and then the slot is
 * still there and every page of it is dirty.
 */
TIDE_API int tide_slot_remove(struct tide_space *space, uint32_t id);

/**
 * tide_slot_busy() - how many harvests may still read a removed slot's memory
 *
 * Return: 0 when memory of removed slots with this id may be unmapped, else
 * the number of open harvests that hold extents of one.
 */
TIDE_API int tide_slot_busy(struct tide_space *space, uint32_t id);

/**
 * tide_slot_move() - the same memory at another gfn
 *
 * Dirty pages stay dirty, under the new gfn.
 *
 * Return: 0; -ENOENT; -EEXIST if the new range overlaps another slot;
 * -EINVAL if it wraps; or the tracker's error, and then it has not moved.
 */
TIDE_API TIDE_MUST_CHECK int tide_slot_move(struct tide_space *space,
					    uint32_t id, uint64_t first_gfn);

/**
 * tide_slot_set_flags() - replace a slot's flags
 *
 * Changing TIDE_SLOT_READONLY re-creates a KVM slot: the caller keeps its
 * vCPUs out of the guest meanwhile.
 * What is written while this call sets TIDE_SLOT_UNLOGGED counts as written
 * after it: a caller that wants it keeps its writers out, too.
 *
 * Return: 0; -ENOENT; -EINVAL for unknown flags; or the tracker's error, and
 * then the flags are as before and every page of the slot is dirty.
 */
TIDE_API TIDE_MUST_CHECK int tide_slot_set_flags(struct tide_space *space,
						 uint32_t id, uint32_t flags);

/**
 * tide_slot_get() - the slot with the index-th lowest gfn (0-based)
 *
 * Return: 0; -ENOENT past the last one.
 */
TIDE_API TIDE_MUST_CHECK int tide_slot_get(struct tide_space *space,
					   uint32_t index,
					   struct tide_slot_info *ret_info);

#ifdef __cplusplus
}
#endif
#endif
