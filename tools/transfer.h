/* SPDX-License-Identifier: MIT */
/*
 * transfer.h - one migration from the source's side, with what to tell about
 * it: the rounds, the hold histogram, the figures as JSON
 */
#ifndef TRANSFER_H
#define TRANSFER_H

#include <jansson.h>
#include <tidemark/client.h>
#include <tidemark/migrate.h>
#include <tidemark/vmm.h>

#define TRANSFER_ROUNDS 128

struct transfer_round {
	uint64_t pages; /* to send in this round */
	uint64_t bytes; /* on the wire, up to its last progress report */
	uint64_t ns;	/* since the start, likewise */
};

struct transfer {
	/* Filled in by the caller. */
	uint64_t downtime_ns;
	uint64_t bandwidth;
	uint64_t rounds_max;
	uint64_t deadline_ns;
	int lose_page; /* write one page behind the tracker's back */
	/* Called with each progress report; non-zero cancels. */
	int (*watch)(void *opaque, const struct tide_migrate_stats *stats);
	void *opaque;

	/* Results. */
	struct tide_migrate_stats stats;
	struct tide_space_stats space; /* of the source's space */
	struct transfer_round rounds[TRANSFER_ROUNDS];
	uint32_t round_count;
	char message[256];

	/* Of transfer.c. */
	struct tide_vm *vm;
	struct tide_migrate_send_config base;
	uint64_t start_ns;
};

/* Return: as tide_migrate_send(); transfer->message says what went wrong. */
int transfer_send(struct transfer *transfer, struct tide_vm *vm, int fd);

/* "stopped" and so on. */
const char *transfer_phase(enum tide_migrate_phase phase);

json_t *transfer_stats_json(const struct tide_migrate_stats *stats);
json_t *transfer_rounds_json(const struct transfer *transfer);
/* [[from_ns, count], ...], empty buckets left out */
json_t *transfer_holds_json(const struct tide_space_stats *space);

#endif
