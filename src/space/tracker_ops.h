/* SPDX-License-Identifier: MIT */
/*
 * tracker_ops.h - what a mechanism has to do, and what the space does for it
 *
 * A tracker is a table of functions over an object of its own.  Every
 * function but sync and destroy runs under the space's slots_lock, so that
 * collecting, re-arming and changes of slots never overlap (KVM's rule for
 * GET, CLEAR, RESET and memslot updates).
 *
 * A tracker reports pages by tide_found_*(); on an error that may have
 * consumed reports it calls tide_slot_fail_closed() for what it cannot
 * account for, and returns the error.
 */
#ifndef TIDE_SPACE_TRACKER_OPS_H
#define TIDE_SPACE_TRACKER_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include <tidemark/client.h>
#include <tidemark/space.h>
#include <tidemark/tracker.h>

struct tide_slot;
struct tide_space;

struct tide_tracker_ops {
	enum tide_tracker kind;

	/* collect copies and does not clear: the space keeps `known`, and
	 * calls rearm chunk by chunk.  Without it collect re-arms itself. */
	bool manual;
	/* With manual: turning logging on makes every page dirty (initially
	 * all set) instead of arming it. */
	bool initially_set;

	/* Add the slot to the VM, or take it over, logged or not. */
	int (*slot_add)(void *tracker, struct tide_slot *slot, bool log);
	/* Remove it from the VM.  What its log still held is lost. */
	int (*slot_remove)(void *tracker, struct tide_slot *slot);
	/* slot->first_gfn is still the old one.  The log moves along. */
	int (*slot_move)(void *tracker, struct tide_slot *slot,
			 uint64_t first_gfn);
	/* Take the slot away from the guest, so that nothing is written to it
	 * any more, but keep its log for one more collect.  slot_move brings it
	 * back to where it was. */
	int (*slot_park)(void *tracker, struct tide_slot *slot);
	/* Logging on or off, of a slot that is added if it is missing; then
	 * every write is caught (or, with initially_set, every page is
	 * dirty). */
	int (*slot_log)(void *tracker, struct tide_slot *slot, bool on);

	/* Report everything, or everything of @only, if the mechanism can. */
	int (*collect)(void *tracker, struct tide_slot *only);
	/* manual: clear and re-arm exactly the pages whose bits are set in
	 * words (bit 0 of words[0] is page @first, a multiple of 64), and
	 * flush.  @npages is a multiple of 64 or ends at the slot's end. */
	int (*rearm)(void *tracker, struct tide_slot *slot, uint64_t first,
		     uint64_t npages, const uint64_t *words);

	/* Without slots_lock: every writer leaves the guest once, so that what
	 * it wrote is in the log.  False: that cannot be had, and a removed
	 * slot is then dirty as a whole. */
	bool (*sync)(void *tracker);

	void (*destroy)(void *tracker);
};

/* What of a slot a tracker may read. */
uint32_t tide_slot_id(const struct tide_slot *slot);
uint32_t tide_slot_flags(const struct tide_slot *slot);
uint64_t tide_slot_first_gfn(const struct tide_slot *slot);
uint64_t tide_slot_npages(const struct tide_slot *slot);
void *tide_slot_host(const struct tide_slot *slot);
bool tide_slot_logged(const struct tide_slot *slot);

/* The slots of a space, slots that are being removed included; NULL ends. */
struct tide_slot *tide_slot_first(struct tide_space *space);
struct tide_slot *tide_slot_next(struct tide_slot *slot);
/* The same, or only @only, if it is not NULL. */
static inline struct tide_slot *tide_slot_first_of(struct tide_space *space,
						   struct tide_slot *only)
{
	return only ? only : tide_slot_first(space);
}

static inline struct tide_slot *tide_slot_next_of(struct tide_slot *slot,
						  struct tide_slot *only)
{
	return only ? NULL : tide_slot_next(slot);
}

/* By id, or NULL. */
struct tide_slot *tide_slot_find(struct tide_space *space, uint32_t id);

/* manual: where collect puts the whole live bitmap (tide_words(npages) words)
 * before it calls tide_found_snapshot(). */
uint64_t *tide_slot_scratch(struct tide_slot *slot);
void tide_found_snapshot(struct tide_slot *slot);

/* Any tracker whose log is sparse: pages of one word of 64 (bit i is page
 * 64 * word + i), found in the live bitmap if it is manual, else taken. */
void tide_found_bits(struct tide_slot *slot, uint64_t word, uint64_t bits);

/* The other trackers: pages that were taken from the mechanism. */
void tide_found_words(struct tide_slot *slot, const uint64_t *words);
void tide_found_page(struct tide_slot *slot, uint64_t page);

/* Every page of the slot is dirty for every client (C7). */
void tide_slot_fail_closed(struct tide_slot *slot);

/* The kernel's call that ended now began at @begin_ns and may have held up
 * writers. */
void tide_space_held(struct tide_space *space, uint64_t begin_ns);

/* What only the ring counts. */
struct tide_space_stats *tide_space_counters(struct tide_space *space);

/* Attach any table of functions; takes over @tracker also on failure.  The
 * public tide_space_attach() is built on this. */
int tide_space_attach_ops(struct tide_space *space,
			  const struct tide_tracker_ops *ops, void *tracker);
/* Pages that are re-armed at once; a power of two >= 64. */
void tide_space_chunk_set(struct tide_space *space, uint64_t pages);
/* The object behind the attached tracker, if its kind is @kind, else NULL. */
void *tide_space_tracker_object(struct tide_space *space,
				enum tide_tracker kind);
/* The lock that every function above but sync and destroy needs. */
void tide_space_lock(struct tide_space *space);
void tide_space_unlock(struct tide_space *space);

#endif
