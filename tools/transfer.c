/* SPDX-License-Identifier: MIT */
/* transfer.c - one migration from the source's side */
#include "transfer.h"

#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int forward_stop(void *opaque)
{
	struct transfer *transfer = opaque;

	return transfer->base.stop(transfer->base.opaque);
}

static int forward_resume(void *opaque)
{
	struct transfer *transfer = opaque;

	return transfer->base.resume(transfer->base.opaque);
}

/* A writer that breaks its promise: stopped, last harvest done, no mark. */
static int lose_page(struct tide_vm *vm)
{
	struct tide_slot_info slot;
	unsigned char *page;

	if (tide_slot_get(tide_vm_space(vm), 0, &slot) != 0)
		return -EINVAL;
	page = tide_vm_memory(vm, slot.first_gfn + slot.npages - 1);
	if (!page)
		return -EINVAL;
	page[TIDE_PAGE_SIZE - 1] ^= 1;
	return 0;
}

static int forward_save(void *opaque, struct tide_migrate *migrate)
{
	struct transfer *transfer = opaque;

	if (transfer->lose_page) {
		int err = lose_page(transfer->vm);

		if (err)
			return err;
	}
	return transfer->base.save(transfer->base.opaque, migrate);
}

static void note_round(struct transfer *transfer,
		       const struct tide_migrate_stats *stats)
{
	struct transfer_round *round;

	if (stats->rounds == 0 || stats->rounds > TRANSFER_ROUNDS)
		return;
	transfer->round_count = stats->rounds;
	round = &transfer->rounds[stats->rounds - 1];
	round->pages = stats->round_pages;
	round->bytes = stats->bytes_sent;
	round->ns = tool_now_ns() - transfer->start_ns;
}

static int forward_progress(void *opaque,
			    const struct tide_migrate_stats *stats)
{
	struct transfer *transfer = opaque;

	note_round(transfer, stats);
	return transfer->watch ? transfer->watch(transfer->opaque, stats) : 0;
}

static void to_config(struct transfer *transfer,
		      struct tide_migrate_send_config *config)
{
	tide_vm_send_config(transfer->vm, &transfer->base);
	*config = transfer->base;
	config->downtime_target_ns = transfer->downtime_ns;
	config->bandwidth_max = transfer->bandwidth;
	config->rounds_max = (uint32_t)transfer->rounds_max;
	config->deadline_ns = transfer->deadline_ns;
	config->stop = forward_stop;
	config->resume = forward_resume;
	config->save = forward_save;
	config->progress = forward_progress;
	config->opaque = transfer;
	config->message = transfer->message;
	config->message_size = sizeof(transfer->message);
}

int transfer_send(struct transfer *transfer, struct tide_vm *vm, int fd)
{
	struct tide_space *space = tide_vm_space(vm);
	struct tide_migrate_send_config config;
	struct tide_client *client;
	int err;

	transfer->vm = vm;
	transfer->round_count = 0;
	transfer->message[0] = '\0';
	transfer->start_ns = tool_now_ns();
	to_config(transfer, &config);

	err = tide_client_open(space, "migration", TIDE_START_ALL_DIRTY,
			       &client);
	if (err) {
		(void)snprintf(transfer->message, sizeof(transfer->message),
			       "logging could not be turned on: %s",
			       strerror(-err));
		return err;
	}
	err = tide_migrate_send(space, client, fd, &config, &transfer->stats);
	tide_space_stats_get(space, &transfer->space);
	tide_client_close(client);
	if (err && transfer->message[0] == '\0')
		(void)snprintf(transfer->message, sizeof(transfer->message),
			       "%s", strerror(-err));
	return err;
}

const char *transfer_phase(enum tide_migrate_phase phase)
{
	switch (phase) {
	case TIDE_MIGRATE_SETUP:
		return "setup";
	case TIDE_MIGRATE_PRECOPY:
		return "precopy";
	case TIDE_MIGRATE_STOPPED:
		return "stopped";
	case TIDE_MIGRATE_HANDOVER:
		return "handover";
	case TIDE_MIGRATE_DONE:
		return "done";
	case TIDE_MIGRATE_FAILED:
		return "failed";
	case TIDE_MIGRATE_UNKNOWN:
		return "unknown";
	}
	return "unknown";
}

static void put(json_t *object, const char *key, uint64_t value)
{
	/* Fails when memory is out; then the member is missing. */
	(void)json_object_set_new(object, key, json_integer((json_int_t)value));
}

json_t *transfer_stats_json(const struct tide_migrate_stats *stats)
{
	json_t *object = json_object();

	(void)json_object_set_new(object, "phase",
				  json_string(transfer_phase(stats->phase)));
	put(object, "rounds", stats->rounds);
	put(object, "total_ns", stats->total_ns);
	put(object, "downtime_ns", stats->downtime_ns);
	put(object, "memory_bytes", stats->memory_bytes);
	put(object, "bytes_sent", stats->bytes_sent);
	put(object, "pages_sent", stats->pages_sent);
	put(object, "pages_zero", stats->pages_zero);
	put(object, "round_pages", stats->round_pages);
	put(object, "round_pages_done", stats->round_pages_done);
	put(object, "remaining_pages", stats->remaining_pages);
	put(object, "bandwidth", stats->bandwidth);
	put(object, "expected_downtime_ns", stats->expected_downtime_ns);
	put(object, "stop_ns", stats->stop_ns);
	put(object, "final_harvest_ns", stats->final_harvest_ns);
	put(object, "state_ns", stats->state_ns);
	put(object, "handover_ns", stats->handover_ns);
	return object;
}

json_t *transfer_rounds_json(const struct transfer *transfer)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < transfer->round_count; i++) {
		json_t *round = json_object();

		put(round, "round", i + 1);
		put(round, "pages", transfer->rounds[i].pages);
		put(round, "bytes_sent", transfer->rounds[i].bytes);
		put(round, "at_ns", transfer->rounds[i].ns);
		(void)json_array_append_new(list, round);
	}
	return list;
}

json_t *transfer_holds_json(const struct tide_space_stats *space)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < TIDE_HOLD_BUCKETS; i++) {
		json_t *pair;

		if (space->hold_ns[i] == 0)
			continue;
		pair = json_array();
		(void)json_array_append_new(pair,
					    json_integer((json_int_t)1 << i));
		(void)json_array_append_new(
			pair, json_integer((json_int_t)space->hold_ns[i]));
		(void)json_array_append_new(list, pair);
	}
	return list;
}
