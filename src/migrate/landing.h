/* SPDX-License-Identifier: MIT */
/*
 * landing.h - the destination's memory: where pages go, and which have
 * contents
 */
#ifndef TIDE_MIGRATE_LANDING_H
#define TIDE_MIGRATE_LANDING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "migrate/stream.h"

struct tide_landing_slot {
	struct tide_slot_info info;
	uint64_t *filled; /* bit i: page i may differ from zero */
	bool shared;	  /* its memory overlaps another slot's */
};

struct tide_landing {
	struct tide_landing_slot *slots; /* by id */
	uint32_t count;
	uint64_t npages;
	uint64_t npages_max; /* UINT64_MAX: no limit */
	struct tide_sentence *why;
};

void tide_landing_init(struct tide_landing *landing, uint64_t memory_bytes_max,
		       struct tide_sentence *why);
void tide_landing_fini(struct tide_landing *landing);

/** tide_landing_check() - may this slot be added, or take @replaced's place?
 * Return: 0; -EPROTO for an overlap or a taken id; -EFBIG beyond a limit. */
int tide_landing_check(const struct tide_landing *landing,
		       const struct tide_slot_info *info,
		       const struct tide_landing_slot *replaced);

/** tide_landing_add() - a slot that passed the check, with its memory.
 * Return: 0; -EINVAL for memory that is not page-aligned; -ENOMEM. */
int tide_landing_add(struct tide_landing *landing,
		     const struct tide_slot_info *info);

/** tide_landing_remove() - @slot is one of landing's */
void tide_landing_remove(struct tide_landing *landing,
			 struct tide_landing_slot *slot);

/** tide_landing_find() - the slot with that id, or NULL */
struct tide_landing_slot *tide_landing_find(const struct tide_landing *landing,
					    uint32_t id);

/**
 * tide_landing_place() - where the pages of @runs go; neighbours are merged
 *
 * Every run is checked before a page of any is marked as filled.
 *
 * Return: how many of @ret are used; -EPROTO for a page in no slot.
 */
int tide_landing_place(struct tide_landing *landing,
		       const struct tide_run *runs, uint32_t count,
		       struct iovec ret[TIDE_FRAME_RUNS_MAX]);

/** tide_landing_zero() - make the pages of @runs zero.
 * Return: 0; -EPROTO for a page in no slot. */
int tide_landing_zero(struct tide_landing *landing, const struct tide_run *runs,
		      uint32_t count);

#endif
