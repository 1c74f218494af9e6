/* SPDX-License-Identifier: MIT */
/*
 * model.h - what every client must and may be told: plain sets
 *
 * The model of the contract (C1 to C7) that the conformance engine compares
 * the library with.  For every client and page it keeps what the client must
 * be told (MUST), what it may be told (MAY, SHARED), and a copy of what the
 * client read when the page was handed out: the oracle of C4.
 *
 * It knows nothing of trackers, and nothing of how the library works.
 */
#ifndef TIDE_TEST_MODEL_H
#define TIDE_TEST_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tidemark/client.h>
#include <tidemark/space.h>

#define MODEL_CLIENTS 4

enum model_state {
	MODEL_MUST = 1 << 0,   /* written or given back: has to be yielded */
	MODEL_MAY = 1 << 1,    /* there is a reason to yield it */
	MODEL_SHARED = 1 << 2, /* another client's re-arm may have added it */
	MODEL_HANDED = 1 << 3, /* handed out by the open harvest */
	MODEL_BEGIN = 1 << 4,  /* was MUST when the open harvest began */
	MODEL_START = 1 << 5,  /* dirty in the kernel when the client came */
	MODEL_LATER = 1 << 6,  /* SHARED, from the next harvest on too */
};

struct model_view {	     /* what one client should know of one slot */
	uint8_t *state;	     /* enum model_state, one a page */
	uint64_t *committed; /* content at the last committed hand-out */
	uint64_t *held;	     /* content at the open harvest's hand-out */
	uint64_t next_page;  /* the open harvest hands out none below */
	bool in_hand;	     /* the open harvest holds an extent of it */
	bool reordered;	     /* moved under the open harvest */
};

struct model_slot {
	struct model_slot *next;
	bool gone;  /* removed; clients may not all have heard */
	bool whole; /* content is the whole page, not only what we write */
	uint32_t id;
	uint32_t flags;
	uint64_t first_gfn;
	uint64_t npages;
	uint8_t *host;
	uint32_t added_at;    /* operation */
	uint32_t *written_at; /* operation of the last write */
	uint8_t *touched;     /* was it ever written? */
	uint8_t *wild;	      /* may be written behind the model's back */
	struct model_view view[MODEL_CLIENTS];
};

struct model_client {
	bool open;
	bool harvest;	/* one is open */
	bool failed;	/* and has failed: only abort is left */
	uint32_t began; /* operation that began it */
	uint64_t yielded, harvests, commits, aborts;
};

struct model {
	/* How to read host memory; NULL: it is simply there. */
	int (*host_read)(void *opaque, const void *host, void *buffer,
			 size_t nbytes);
	void *opaque;
	struct model_slot *slots;
	struct model_client clients[MODEL_CLIENTS];
	uint32_t now; /* operation number */
	bool shared_is_legal;
	bool start_is_all;	/* turning logging on makes everything dirty */
	uint64_t extras_shared; /* allowed by C6, counted */
	uint64_t extras_start;	/* a clean start that could not be */
	uint64_t extras_gone;	/* pages of removed slots nobody wrote */
	char error[256];	/* the first thing that was wrong */
};

void model_fini(struct model *m);

/** model_fail() - note what is wrong, once.  Return: -1. */
int model_fail(struct model *m, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Slots.  add returns NULL without memory. */
struct model_slot *
model_slot_add(struct model *m, const struct tide_slot_info *info, bool whole);
void model_slot_remove(struct model *m, struct model_slot *slot);
void model_slot_move(struct model *m, struct model_slot *slot,
		     uint64_t first_gfn);
struct model_slot *model_slot_by_id(struct model *m, uint32_t id);
struct model_slot *model_slot_by_gfn(struct model *m, uint64_t gfn);
bool model_range_free(struct model *m, const struct model_slot *except,
		      uint64_t first_gfn, uint64_t npages);
/** model_slot_dirty() - all pages: MUST and MAY, or only MAY */
void model_slot_dirty(struct model *m, struct model_slot *slot, bool must);
void model_all_may(struct model *m);
/** model_busy() - open harvests that hold extents of slots with this id */
int model_busy(struct model *m, uint32_t id);

/** model_write() - a page of @slot was written or marked */
void model_write(struct model *m, struct model_slot *slot, uint64_t page);
uint64_t model_content(struct model *m, const struct model_slot *slot,
		       uint64_t page);

/* Clients and harvests, in step with the library's calls.  Those that return
 * a value: 0, or -1 with the reason in error. */
void model_client_open(struct model *m, int client, enum tide_start start);
void model_client_close(struct model *m, int client);
/** model_before_begin() - what must be in the harvest that begins now */
void model_before_begin(struct model *m, int client);
void model_begun(struct model *m, int client, int result);
int model_yield(struct model *m, int client, const struct tide_extent *extent);
int model_end(struct model *m, int client);
void model_next_failed(struct model *m, int client);
void model_commit(struct model *m, int client);
void model_abort(struct model *m, int client);
/** model_share() - what @client knows may reach all others (C6) */
void model_share(struct model *m, int client);

/** model_at_rest() - C4: every page equals what @client committed */
int model_at_rest(struct model *m, int client);

#endif
