/* SPDX-License-Identifier: MIT */
/*
 * tidemark/client.h - who wants to know: clients and their harvests
 *
 * A client has a dirty set of its own.  It reads it as a transaction: begin,
 * next ... next, then commit, or abort and everything comes back (C3).  When
 * next returns an extent its pages are re-armed and flushed (C2), so that
 * what the client reads from then on is either final or will be yielded
 * again.  No client's harvest takes a page from another client (C5).
 *
 * What it does not do: it does not stop the writers.  For an exact last
 * harvest stop every writer, let the tracker drain hardware buffers
 * (tide_kvm_config.sync_vcpus), then harvest once more.
 *
 * Threads.  Different clients are independent.  Calls on one client and its
 * harvest are serialised by the caller, but need not come from one thread:
 * whoever notices that the harvesting thread died calls abort.
 *
 * Progress.  begin, and next once a chunk (tide_kvm_config.chunk_pages), take
 * slots_lock and may call into the kernel; every other next is wait-free.
 * Nothing is allocated between begin and commit.
 *
 * Errors.  0 or a count, or a negative errno value.
 *
 * Manual: tide_client_open(3), tide_harvest_begin(3), tidemark(7).
 */
#ifndef TIDEMARK_CLIENT_H
#define TIDEMARK_CLIENT_H

#include <tidemark/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tide_space;
struct tide_client;  /* opaque */
struct tide_harvest; /* opaque; one per client, not allocated by begin */

enum tide_start {
	TIDE_START_CLEAN,     /* only what is written from now on */
	TIDE_START_ALL_DIRTY, /* every page of every slot, then the same */
};

enum tide_extent_flags {
	/* The slot was removed: host is NULL.  What the client holds of these
	 * gfns is stale and has no successor here. */
	TIDE_EXTENT_GONE = 1u << 0,
};

struct tide_extent {
	uint64_t first_gfn;
	uint64_t npages; /* pages; never 0 */
	void *host;	 /* of the first page; NULL with TIDE_EXTENT_GONE */
	uint32_t slot;	 /* id */
	uint32_t flags;	 /* enum tide_extent_flags */
};

/* Writers held up: element i counts holds of [2^i, 2^(i+1)) ns. */
#define TIDE_HOLD_BUCKETS 40

struct tide_client_stats {
	uint64_t harvests; /* begun */
	uint64_t commits;
	uint64_t aborts; /* by the caller or by an error */
	uint64_t pages_yielded;
	uint64_t pages_put_back;
	uint64_t pages_from_others; /* added because another client's re-arm
				     * could have cleared them unseen */
	uint64_t collect_ns;	    /* spent in begin collecting, total */
	uint64_t rearm_ns;	    /* spent in next re-arming, total */
};

struct tide_space_stats {
	uint64_t collects;
	uint64_t pages_marked;
	uint64_t rearms;	/* calls into the tracker to re-arm a chunk */
	uint64_t failed_closed; /* times a whole range was made dirty because
				 * of an error (C7) */
	uint64_t ring_entries;
	uint64_t ring_entries_stale; /* of a slot that is gone: dropped */
	uint64_t ring_entries_bad;   /* made no sense: its slot made dirty */
	uint64_t ring_full;	     /* tide_kvm_ring_full() calls */
	uint64_t ring_overflows; /* the kernel overran a ring: all made dirty */
	/* How long writers may have been held up by one call that arms or
	 * clears: the duration of the kernel's call, an upper bound. */
	uint64_t hold_ns[TIDE_HOLD_BUCKETS];
	uint64_t hold_ns_max;
};

/**
 * tide_client_open() - a new client with a dirty set of its own
 * @name: for statistics and messages; copied, at most 31 bytes are kept
 *
 * The first client turns logging on in the tracker, the last close turns it
 * off.
 *
 * Return: 0; -EINVAL for a bad start; -ENOMEM; or the tracker's error.
 */
TIDE_API TIDE_MUST_CHECK int tide_client_open(struct tide_space *space,
					      const char *name,
					      enum tide_start start,
					      struct tide_client **ret_client);

/** tide_client_close() - abort its harvest, if any, and forget the client;
 * NULL is fine. */
TIDE_API void tide_client_close(struct tide_client *client);

/**
 * tide_harvest_begin() - collect, and open a harvest of what is dirty
 *
 * Return: 0; -EBUSY if the client has a harvest open; or the tracker's error,
 * and then no harvest is open and what could not be read is dirty.
 */
TIDE_API TIDE_MUST_CHECK int tide_harvest_begin(struct tide_client *client,
						struct tide_harvest **ret);

/**
 * tide_harvest_next() - the next run of dirty pages, in gfn order in a slot
 *
 * Return: 1 with *ret filled; 0 at the end; a negative errno from the tracker,
 * and then every page of this harvest has been put back, nothing is lost, and
 * only abort is left to do (commit answers -ECANCELED).
 */
TIDE_API TIDE_MUST_CHECK int tide_harvest_next(struct tide_harvest *harvest,
					       struct tide_extent *ret);

/**
 * tide_harvest_commit() - the client has safely used what it was given
 *
 * Pages that next has not handed out stay dirty.  The handle is gone.
 *
 * Return: 0; -ECANCELED if next had failed (everything is put back).
 */
TIDE_API int tide_harvest_commit(struct tide_harvest *harvest);

/** tide_harvest_abort() - give every page back to this client's next begin;
 * the handle is gone.  NULL is fine. */
TIDE_API void tide_harvest_abort(struct tide_harvest *harvest);

/**
 * tide_client_dirty_all() - every page of every slot is dirty for this client
 *
 * For a client whose copy is lost: a destination that died, a base that is
 * gone.  A harvest that is open is not touched.
 */
TIDE_API void tide_client_dirty_all(struct tide_client *client);

/**
 * tide_client_pending() - pages in the client's dirty set, an open harvest's
 * not included; what the tracker has not reported yet is not counted
 */
TIDE_API uint64_t tide_client_pending(struct tide_client *client);

TIDE_API void tide_client_stats_get(struct tide_client *client,
				    struct tide_client_stats *ret);
TIDE_API void tide_space_stats_get(struct tide_space *space,
				   struct tide_space_stats *ret);

#ifdef __cplusplus
}
#endif
#endif
