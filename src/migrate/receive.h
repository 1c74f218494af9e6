/* SPDX-License-Identifier: MIT */
/* receive.h - the destination of a migration, over anything that has frames */
#ifndef TIDE_MIGRATE_RECEIVE_H
#define TIDE_MIGRATE_RECEIVE_H

#include <tidemark/migrate.h>

#include "migrate/framing.h"

struct tide_channel;

/**
 * tide_receive_run() - from HELLO to RUNNING
 * @channel: the socket below @framing, or NULL when there is none (then no
 *           deadline, no progress, and no look for bytes behind the end)
 *
 * Return: as tide_migrate_receive().
 */
int tide_receive_run(struct tide_framing *framing, struct tide_channel *channel,
		     const struct tide_migrate_receive_config *config,
		     struct tide_migrate_stats *stats);

#endif
