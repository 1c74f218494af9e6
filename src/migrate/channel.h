/* SPDX-License-Identifier: MIT */
/*
 * channel.h - bytes over a socket, with a deadline and somebody who may cancel
 *
 * The descriptor's own flags are left alone: every call says MSG_DONTWAIT for
 * itself and waits in poll, in slices, so that the deadline and the caller's
 * wish to stop are noticed while the other side says nothing.
 */
#ifndef TIDE_MIGRATE_CHANNEL_H
#define TIDE_MIGRATE_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/framing.h"

/* How often tick is called while waiting or working. */
#define TIDE_TICK_NS 50000000u

struct tide_channel {
	int fd;
	uint64_t deadline_at_ns; /* 0: none */
	/* Non-zero ends whatever is waiting with that error. */
	int (*tick)(void *opaque);
	void *opaque;
	uint64_t next_tick_ns;
	/* While writing, input means that the other side gave up: write ends
	 * with -EREMOTEIO and the caller reads what it says. */
	bool watch_input;
	uint64_t write_ns; /* time in sending and waiting to send */
};

extern const struct tide_framing_ops tide_channel_ops;

/** tide_channel_init() - Return: 0; -ENOTSOCK and other errors of @fd;
 * -EINVAL if it is no stream socket. */
int tide_channel_init(struct tide_channel *channel, int fd,
		      uint64_t deadline_ns, int (*tick)(void *opaque),
		      void *opaque);

/** tide_channel_check() - deadline and tick, between two pieces of work.
 * Return: 0; -ETIMEDOUT; the error of tick. */
int tide_channel_check(struct tide_channel *channel);

/** tide_channel_pause() - wait, and watch the input if that is on.
 * Return: 0; -EREMOTEIO; as check. */
int tide_channel_pause(struct tide_channel *channel, uint64_t ns);

/** tide_channel_has_input() - is there something to read?  The end of the
 * connection is nothing, and comes up where one reads or writes. */

bool tide_channel_has_input(const struct tide_channel *channel);

/** tide_channel_part() - after a failure: no more from us; give the other
 * side a moment to read our last words before a close() resets them. */
void tide_channel_part(struct tide_channel *channel);

#endif
