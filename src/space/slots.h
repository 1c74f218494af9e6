/* SPDX-License-Identifier: MIT */
/*
 * slots.h - many slots at once, and slots that come and go
 *
 * As tide_slot_add() and tide_slot_remove() one by one, but with one table and
 * one grace period for all, in time about linear in the slots.
 */
#ifndef TIDE_SPACE_SLOTS_H
#define TIDE_SPACE_SLOTS_H

#include <stdint.h>

#include <tidemark/client.h>
#include <tidemark/space.h>

struct tide_slot_removal {
	uint32_t id;
	int err; /* 0; -ENOENT; the tracker's error, and then it is there */
	struct tide_slot *slot; /* meanwhile */
};

/*
 * tide_slots_add() - @configs (of the full size) ascend by id and by gfn
 * @ret_errs: for each, if the call succeeds: 0, or the tracker's error or
 *            -ENOMEM, and then this one is left out
 *
 * Return: 0; -EINVAL, -EEXIST or -ENOMEM, and then none was added.
 */
int tide_slots_add(struct tide_space *space,
		   const struct tide_slot_config *configs, uint32_t count,
		   int *ret_errs);

/* tide_slots_remove() - sorts @removals, and says in each what became of it.
 * Return: 0; -ENOMEM, and then all are still there. */
int tide_slots_remove(struct tide_space *space,
		      struct tide_slot_removal *removals, uint32_t count);

/* tide_client_forget() - for a client that never harvests: nothing is dirty for
 * it, and it keeps no slot that is gone. */
void tide_client_forget(struct tide_client *client);

#endif
