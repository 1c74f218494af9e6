/* SPDX-License-Identifier: MIT */
/*
 * client.c - open and close clients, and what they can ask
 *
 * Theory of operation
 * -------------------
 * A client watches every slot: a watch holds its dirty set of one slot.  The
 * first client turns logging on, the last one turns it off.
 *
 * A client that starts clean needs every page armed.  Pages that are known
 * but not re-armed stay writable, and a write to them would be no news to the
 * next collect; so what is known is re-armed before the client exists.
 *
 * Synchronisation: all under slots_lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "space/slots.h"
#include "space/space_internal.h"

int tide_watch_create(struct tide_client *client, struct tide_slot *slot)
{
	struct tide_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return -ENOMEM;
	if (tide_page_set_init(&watch->dirty, slot->npages) ||
	    tide_page_set_init(&watch->taken, slot->npages)) {
		tide_page_set_fini(&watch->dirty);
		free(watch);
		return -ENOMEM;
	}
	watch->client = client;
	watch->slot = slot;
	slot->refs++;
	watch->next_in_slot = slot->watches;
	slot->watches = watch;
	/* At the end: an open harvest finds nothing taken in it. */
	watch->at_in_client = client->watches_end;
	*watch->at_in_client = watch;
	client->watches_end = &watch->next_in_client;
	return 0;
}

void tide_watch_destroy(struct tide_watch *watch)
{
	struct tide_watch **at = watch->at_in_client;

	*at = watch->next_in_client;
	if (watch->next_in_client)
		watch->next_in_client->at_in_client = at;
	else
		watch->client->watches_end = at;
	at = &watch->slot->watches;
	while (*at != watch)
		at = &(*at)->next_in_slot;
	*at = watch->next_in_slot;
	tide_page_set_fini(&watch->dirty);
	tide_page_set_fini(&watch->taken);
	tide_slot_put(watch->slot);
	free(watch);
}

static void destroy_watches(struct tide_client *client)
{
	/* Destroying takes it off the list, which the analyser loses sight of
	 * behind *at. */
	while (client->watches) {
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		tide_watch_destroy(client->watches);
	}
}

/* Logging off everywhere; there is no client to tell about an error. */
static void stop_logging(struct tide_space *space)
{
	for (struct tide_slot *slot = space->slots; slot; slot = slot->next) {
		if (slot->logged)
			(void)tide_slot_log_set(slot, false);
	}
}

static int start_logging(struct tide_space *space)
{
	for (struct tide_slot *slot = space->slots; slot; slot = slot->next) {
		int err;

		if (slot->logged || slot->removing ||
		    tide_slot_flags_now(slot) & TIDE_SLOT_UNLOGGED)
			continue;
		err = tide_slot_log_set(slot, true);
		if (err) {
			stop_logging(space);
			return err;
		}
	}
	return 0;
}

/* Slots that are being removed too: if that fails, they stay. */
static int watch_all(struct tide_client *client)
{
	for (struct tide_slot *slot = client->space->slots; slot;
	     slot = slot->next) {
		int err = tide_watch_create(client, slot);

		if (err)
			return err;
	}
	return 0;
}

/* What was written until now is for the others; from now on it is for this
 * client too. */
static int start_clean(struct tide_client *client)
{
	struct tide_space *space = client->space;
	int err = tide_space_collect(space, NULL);

	for (struct tide_slot *slot = space->slots; slot && !err;
	     slot = slot->next)
		err = tide_slot_rearm_known(slot);
	for (struct tide_watch *watch = client->watches; watch;
	     watch = watch->next_in_client)
		tide_page_set_clear(&watch->dirty);
	return err;
}

static int client_start(struct tide_client *client, enum tide_start start)
{
	struct tide_space *space = client->space;
	bool first = !space->clients;
	int err = watch_all(client);

	if (err)
		return err;
	client->next = space->clients;
	space->clients = client;
	if (first && space->ops)
		err = start_logging(space);
	if (!err && start == TIDE_START_CLEAN)
		err = start_clean(client);
	if (err) {
		space->clients = client->next;
		if (first)
			stop_logging(space);
		return err;
	}
	if (start == TIDE_START_ALL_DIRTY) {
		for (struct tide_watch *watch = client->watches; watch;
		     watch = watch->next_in_client)
			tide_page_set_fill(&watch->dirty);
	}
	return 0;
}

int tide_client_open(struct tide_space *space, const char *name,
		     enum tide_start start, struct tide_client **ret_client)
{
	struct tide_client *client;
	int err;

	if (start != TIDE_START_CLEAN && start != TIDE_START_ALL_DIRTY)
		return -EINVAL;
	client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	client->space = space;
	client->harvest.client = client;
	client->watches_end = &client->watches;
	if (name)
		strncpy(client->name, name, sizeof(client->name) - 1);

	tide_space_lock(space);
	err = client_start(client, start);
	if (err)
		destroy_watches(client);
	tide_space_unlock(space);
	if (err) {
		free(client);
		return err;
	}
	*ret_client = client;
	return 0;
}

void tide_client_close(struct tide_client *client)
{
	struct tide_space *space;
	struct tide_client **at;

	if (!client)
		return;
	if (client->harvest.open)
		tide_harvest_abort(&client->harvest);
	space = client->space;
	tide_space_lock(space);
	at = &space->clients;
	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	destroy_watches(client);
	if (!space->clients)
		stop_logging(space);
	tide_space_unlock(space);
	free(client);
}

void tide_client_forget(struct tide_client *client)
{
	struct tide_watch *next;

	assert(!client->harvest.open);
	tide_space_lock(client->space);
	for (struct tide_watch *watch = client->watches; watch; watch = next) {
		next = watch->next_in_client;
		tide_page_set_clear(&watch->dirty);
		if (watch->slot->gone)
			tide_watch_destroy(watch);
	}
	tide_space_unlock(client->space);
}

void tide_client_dirty_all(struct tide_client *client)
{
	tide_space_lock(client->space);
	for (struct tide_watch *watch = client->watches; watch;
	     watch = watch->next_in_client)
		tide_page_set_fill(&watch->dirty);
	tide_space_unlock(client->space);
}

uint64_t tide_client_pending(struct tide_client *client)
{
	uint64_t pages = 0;

	tide_space_lock(client->space);
	for (struct tide_watch *watch = client->watches; watch;
	     watch = watch->next_in_client)
		pages += tide_page_set_count(&watch->dirty);
	tide_space_unlock(client->space);
	return pages;
}

void tide_client_stats_get(struct tide_client *client,
			   struct tide_client_stats *ret)
{
	tide_space_lock(client->space);
	*ret = client->stats;
	tide_space_unlock(client->space);
}
