/* SPDX-License-Identifier: MIT */
/*
 * roster.h - the slots that the destination has been told about
 */
#ifndef TIDE_MIGRATE_ROSTER_H
#define TIDE_MIGRATE_ROSTER_H

#include <stdbool.h>
#include <stdint.h>

#include <tidemark/space.h>

#include "migrate/framing.h"

struct tide_roster {
	struct tide_slot_info
		*slots; /* by gfn, as tide_slot_get() gives them */
	uint32_t count;
	uint32_t *gone; /* ids that were taken back at some time */
	uint32_t gone_count;
};

/** What a call to tide_roster_sync() found. */
enum tide_roster_change {
	TIDE_ROSTER_CHANGED = 1u << 0, /* frames were sent */
	TIDE_ROSTER_RETURNED = 1u << 1 /* an id that had been taken back is
					* there again: send all of it */
};

void tide_roster_fini(struct tide_roster *roster);

/**
 * tide_roster_sync() - read the space's slots and announce what is new,
 * changed or gone
 *
 * Return: 0 or enum tide_roster_change; -E2BIG for too many slots; -EAGAIN if
 * slots change faster than they can be read; -ENOMEM; the error of sending.
 */
int tide_roster_sync(struct tide_roster *roster, struct tide_space *space,
		     struct tide_framing *framing);

/** tide_roster_find() - the announced slot @id whose memory holds @npages
 * pages at @host, or NULL */
const struct tide_slot_info *tide_roster_find(const struct tide_roster *roster,
					      uint32_t id, const void *host,
					      uint64_t npages);

uint64_t tide_roster_pages(const struct tide_roster *roster);

/** Pages of slots with all of @flags. */
uint64_t tide_roster_pages_with(const struct tide_roster *roster,
				uint32_t flags);

#endif
