/* SPDX-License-Identifier: MIT */
/*
 * tracker_model.h - a guest, a kernel's log, and clients that keep copies
 *
 * What the programs over src/space share.  Behind struct tide_tracker_ops is a
 * small kernel: a bit in a log for each page that was written since it was
 * armed.  A guest's write is one step for it: caught if the page is armed, and
 * then made, under one lock with arming.  That takes the flush along: KVM's
 * re-arming call returns when every vCPU has left what it began before.  Only
 * GET of a manual tracker reads the log without that lock, as KVM does.
 *
 * Each client has a copy of each page, made when next yields it, and valid
 * from commit on.  What the programs claim is about those: at rest, after one
 * more harvest, the copy is what the page is (C1, C3, C4, C5).
 *
 * A page's content is relaxed, so only what the library orders is ordered.
 */
#ifndef TIDE_CHECK_TRACKER_MODEL_H
#define TIDE_CHECK_TRACKER_MODEL_H

#include <tidemark/client.h>
#include <tidemark/mark.h>
#include <tidemark/space.h>

#include "explore.h"
#include "space/tracker_ops.h"

#define MODEL_CLIENTS 2
/* Pages 0, 2 and 64 have contents: two in one word, which are two extents, and
 * one in the next word, which is the next chunk. */
#define MODEL_PAGES 3
#define MODEL_GONE UINT64_MAX
/* The slot is at gfn 0, or there. */
#define MODEL_MOVED_GFN 1000u

struct model_options {
	bool empty;	  /* without the slot, which is at gfn 0 */
	uint32_t clients; /* opened clean */
	uint32_t flags;	  /* of the slot */
	uint64_t npages;  /* 0: 1 */
	bool marks_only;  /* no tracker */
	bool manual;	  /* GET copies, CLEAR re-arms */
	bool sparse;	  /* reports bits or pages, not the whole log */
	bool buffered;	  /* a log that only a sync empties into GET's */
	bool symmetric;	  /* no membarrier on this host */
	bool initially_set;
	void (*then)(void); /* whatever else comes before the threads */
};

struct model_client {
	struct tide_client *client;
	struct tide_harvest *harvest;
	/* What the client holds, and what it is about to hold. */
	uint64_t copy[MODEL_PAGES]; /* MODEL_GONE: it was told so */
	uint64_t fresh[MODEL_PAGES];
	bool is_fresh[MODEL_PAGES];
	uint32_t yields[MODEL_PAGES];
	uint64_t gfn;	 /* of the last extent's first page */
	bool in_hand;	 /* it may read the slot's memory */
	uint32_t errors; /* that it was told */
};

struct model {
	struct tide_space *space;
	struct explore_mutex mmu_lock;
	/* The slot in the VM; under the mmu_lock, but for GET's reading. */
	bool mapped, logged; /* for the guest; its flag */
	bool armed[MODEL_PAGES];
	uint64_t log[2], buffer[2]; /* log: atomic */
	/* What lies in the pages; atomic. */
	uint64_t memory[MODEL_PAGES];
	struct model_client client[MODEL_CLIENTS];
	bool buffered, sparse, destroyed;
	/* The guest writes only while that is logged; what it writes otherwise
	 * is nobody's concern. */
	bool only_logged;
	/* Pages that nobody wrote may be yielded. */
	bool may_invent;
	/* A mark came too late or too early to find the slot; set by who made
	 * it. */
	bool missed;
	uint64_t said; /* one thread tells another; atomic */
	/* Copying reads this, too, which is written when the slot's memory is
	 * unmapped. */
	bool may_unmap;
	uint64_t mapping;
	/* The next call fails with that: a negative errno, or 0.  What of them
	 * a client must be told is counted. */
	uint32_t failures;
	int fail_fence;
	int fail_rearm, fail_collect, fail_remove, fail_park, fail_move;
};

extern struct model model;

/* In a program's init: a space with slots and clients, as new. */
void model_reset(const struct model_options *options);
/* The tracker, of a space that has only marks. */
void model_attach(void);
struct tide_slot_config model_slot_config(void);

/* A program's init. */
#define MODEL_SETUP(name, ...)                                           \
	static void name(void)                                           \
	{                                                                \
		static const struct model_options how = { __VA_ARGS__ }; \
                                                                         \
		model_reset(&how);                                       \
	}

/* Of a program: its threads. */
#define MODEL_THREADS(...)                                     \
	.threads = sizeof((void (*[])(void)){ __VA_ARGS__ }) / \
		   sizeof(void (*)(void)),                     \
	.thread = { __VA_ARGS__ }

/* A guest's store.  Return: the guest could reach the page. */
bool model_guest_write(uint64_t page, uint64_t value);
/* A device's, or an emulated one, that the kernel does not see: memory, then
 * its mark.  Return: tide_mark's, and if not 0 the model's missed is set. */
int model_device_write(uint64_t page, uint64_t value);
/* The slot's memory goes. */
void model_unmap(void);
void model_store(uint64_t page, uint64_t value);

/* One client's harvest, step by step, or as a whole.  next returns whether
 * there was an extent, and makes fresh copies of its pages. */
void model_begin(uint32_t client);
bool model_next(uint32_t client);
void model_commit(uint32_t client);
void model_abort(uint32_t client);
void model_harvest(uint32_t client);
/* What is left of one that was begun. */
void model_rest(uint32_t client);

/* The same, but if begin or next fails the harvest is aborted. */
void model_try_harvest(uint32_t client);
void model_try_rest(uint32_t client);
/* The client, opened in a thread.  If it starts clean it reads page 0 then;
 * else it holds nothing. */
void model_open(uint32_t client, enum tide_start start);
void model_close(uint32_t client);

/* In a program's final: every client harvests once more, and then its copies
 * are what the pages are, or it was told that the pages are gone.  Pages that
 * nobody wrote were not yielded, and a second harvest yields nothing. */
void model_at_rest(void);

#endif
