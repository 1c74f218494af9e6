/* SPDX-License-Identifier: MIT */
/*
 * migrate_rig.h - a space whose writer marks, and its migration over sockets
 *
 * Source and destination are two threads of one process over a socketpair.
 * The "guest" is a function that writes pages and marks them, called from the
 * source's callbacks, so that every run is repeatable.
 */
#ifndef TIDE_TESTS_MIGRATE_RIG_H
#define TIDE_TESTS_MIGRATE_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include <tidemark/client.h>
#include <tidemark/migrate.h>
#include <tidemark/space.h>

#include "wire_faults.h"

#define RIG_SLOTS_MAX 8u
#define RIG_STATE_MAX 512u

struct rig_slot {
	struct tide_slot_info info;
	bool here; /* in the space, or at the destination */
	bool mapped;
};

struct rig {
	struct tide_space *space;
	struct tide_client *client;
	struct rig_slot slots[RIG_SLOTS_MAX]; /* the source's */
	uint64_t random;

	/* What the writer does. */
	uint32_t writes; /* pages, while the source sends a frame */
	bool guest_runs; /* nobody writes while it does not */
	uint32_t rounds_seen;
	/* Called while the source sends a frame, if set; and by the source's
	 * progress calls. */
	void (*hook)(struct rig *rig);
	void (*progress)(struct rig *rig,
			 const struct tide_migrate_stats *stats);
	struct tide_migrate_stats now; /* of the last progress call */
	void *opaque;

	/* What happens to one migration; cleared by rig_migrate(). */
	uint32_t stops, resumes, saves, starts;
	uint32_t source_calls, dest_calls; /* of progress */
	int source_result, dest_result;
	char source_message[200], dest_message[200];
	struct tide_migrate_stats source_stats, dest_stats;
	struct rig_slot dest_slots[RIG_SLOTS_MAX]; /* by number, not by id */
	char dest_state[RIG_STATE_MAX];
};

/* One migration; zero is a good one. */
struct rig_options {
	struct wire_faults *source_faults, *dest_faults;
	struct tide_migrate_send_config send; /* limits only */
	uint64_t receive_deadline_ns, memory_bytes_max;
	uint32_t cancel_source_at, cancel_dest_at; /* progress call, from 1 */
	int stop_error, resume_error, save_error;
	int slot_error, load_error, start_error;
	bool no_slot_change;
	bool block_slot; /* the destination sleeps until the source is back */
};

struct rig *rig_create(uint64_t seed);
void rig_destroy(struct rig *rig);
void rig_slot_add(struct rig *rig, uint32_t id, uint64_t first_gfn,
		  uint64_t npages, uint32_t flags);
void rig_slot_remove(struct rig *rig, uint32_t id);
struct rig_slot *rig_slot_find(struct rig *rig, uint32_t id);
uint64_t rig_pages(const struct rig *rig);

/* Write (or clear) a page, then mark it. */
void rig_write(struct rig *rig, uint32_t id, uint64_t page);
void rig_clear(struct rig *rig, uint32_t id, uint64_t page);
/* About a third of all pages get contents. */
void rig_fill(struct rig *rig);
uint64_t rig_draw(struct rig *rig);

void rig_migrate(struct rig *rig, const struct rig_options *options);
/* Drops what the destination has of the last migration. */
void rig_forget(struct rig *rig);

/* The destination has every slot and byte of the source. */
void rig_check_equal(struct rig *rig);
/* What must hold however the migration ended. */
void rig_check_outcome(struct rig *rig);
/* After a failure: every page is back, and the next attempt succeeds. */
void rig_check_again(struct rig *rig);

#endif
