/* SPDX-License-Identifier: MIT */
/*
 * space_internal.h - the objects behind spaces, slots, clients and harvests
 *
 * Everything is under slots_lock unless a field says otherwise.  Marks read
 * the slot table under RCU and set bits in slot->marks; that is the only way
 * in without the lock.
 */
#ifndef TIDE_SPACE_SPACE_INTERNAL_H
#define TIDE_SPACE_SPACE_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <tidemark/client.h>
#include <tidemark/space.h>

#include "base/atomic.h"
#include "base/lock.h"
#include "log/bitmap.h"
#include "space/page_set.h"
#include "space/tracker_ops.h"

#define TIDE_CHUNK_PAGES_DEFAULT (1ull << 18)

/* A slot as one client sees it. */
struct tide_watch {
	struct tide_client *client;
	struct tide_slot *slot; /* holds a reference */
	struct tide_watch *next_in_client;
	struct tide_watch **at_in_client; /* what points to it there */
	struct tide_watch *next_in_slot;
	/* Pages that the client's next begin yields. */
	struct tide_page_set dirty;
	/* Pages of the open harvest.  Between begin and commit its owner reads
	 * them without the lock; nobody else touches them. */
	struct tide_page_set taken;
	/* The open harvest was given pages of it, with memory to read. */
	bool in_hand;
};

struct tide_slot {
	/* Constant while the slot is in the list. */
	struct tide_space *space;
	uint32_t id;
	uint64_t npages;
	void *host;

	/* Read by marks without the lock. */
	_Atomic uint32_t flags;
	/* Set by marks, taken under slots_lock. */
	struct tide_bitmap marks;

	uint64_t first_gfn;
	struct tide_slot *next;
	struct tide_slot **at; /* what points to it in the list */
	struct tide_watch *watches;
	uint32_t refs; /* one for the list, one per watch */
	bool removing; /* out of the table, its last log being read */
	bool gone;     /* out of the list */
	bool logged;   /* the tracker logs it now */
	bool missing;  /* a change failed, and its undoing: the VM lacks it */

	/* Manual trackers only.  known: dirty in the kernel, seen by us, not
	 * yet cleared; every page of it is in every watch's dirty or taken
	 * set and has not been handed out.  scratch: for collect. */
	uint64_t *known;
	uint64_t *scratch;
	bool known_any; /* false: known is all zero */
	/* Pages that came from marks and were not cleared in the kernel since:
	 * re-arming them too saves a second copy (thread 4). */
	struct tide_page_set marked;
};

struct tide_slot_entry {
	uint64_t first_gfn;
	uint64_t npages;
	struct tide_slot *slot;
};

/* Slots by gfn; replaced as a whole, freed after a grace period. */
struct tide_slot_table {
	uint32_t count;
	struct tide_slot_entry entry[];
};

struct tide_harvest {
	struct tide_client *client;
	bool open;
	bool failed;

	/* The cursor; the owner's without the lock. */
	struct tide_watch *watch;
	uint64_t next_word; /* of watch->taken, not looked at yet */
	uint64_t end_word;  /* of the chunk that is armed */
	uint64_t word;	    /* bits of word next_word - 1 to hand out */
	uint64_t word_page; /* its first page */
	uint32_t slot_id;
	uint32_t extent_flags;
	unsigned char *host;
	uint64_t yielded;
	/* Written under slots_lock: the slot of the armed chunk, unless it is
	 * gone, and where that begins; a move of the slot moves it too. */
	struct tide_slot *armed;
	_Atomic uint64_t first_gfn;
};

struct tide_client {
	struct tide_space *space;
	struct tide_client *next;
	struct tide_watch *watches;
	struct tide_watch **watches_end;
	struct tide_harvest harvest;
	struct tide_client_stats stats;
	char name[32];
};

struct tide_space {
	struct tide_lock slots_lock;
	bool asymmetric; /* constant: which fences (base/fence.h) */
	char rcu_tag;	 /* only its address is used (base/rcu.h) */

	/* RCU: read by marks, replaced under slots_lock. */
	_Atomic(struct tide_slot_table *) table;

	struct tide_slot *slots;
	struct tide_slot **slots_end;
	struct tide_client *clients;
	/* Marks were taken, and the fence after that has failed. */
	bool fence_owed;
	uint64_t chunk_pages; /* a power of two >= 64 */

	const struct tide_tracker_ops *ops; /* NULL: marks only */
	void *tracker;
	/* Threads in ops->sync, without the lock; detach waits for them. */
	uint32_t syncing;
	pthread_cond_t sync_over;

	struct tide_space_stats stats;
};

static inline uint32_t tide_slot_flags_now(const struct tide_slot *slot)
{
	/* Relaxed: a mark that races with a change of flags may go either
	 * way; set_flags waits for a grace period before it relies on it. */
	return atomic_load_explicit(&slot->flags, memory_order_relaxed);
}

/* space.c: lets every writer leave the guest; drops the lock meanwhile. */
bool tide_space_sync(struct tide_space *space);

/* slots.c */
void tide_slot_put(struct tide_slot *slot);
/* Tells the tracker of the slot, without logging. */
int tide_slot_attach(struct tide_slot *slot);
int tide_slot_log_set(struct tide_slot *slot, bool on);

/* collect.c */
int tide_space_collect(struct tide_space *space, struct tide_slot *only);

/* rearm.c */
int tide_watch_rearm(struct tide_watch *watch, uint64_t first, uint64_t end);
int tide_slot_rearm_known(struct tide_slot *slot);

/* client.c */
int tide_watch_create(struct tide_client *client, struct tide_slot *slot);
void tide_watch_destroy(struct tide_watch *watch);

#endif
