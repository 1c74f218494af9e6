/* SPDX-License-Identifier: MIT */
/*
 * destination.h - the demo's other process: this executable again, as
 * "tidemark vm --listen fd:N", with three sockets to it
 */
#ifndef DESTINATION_H
#define DESTINATION_H

#include "control.h"

#include <stdbool.h>
#include <sys/types.h>
#include <tidemark/tracker.h>

struct destination {
	pid_t pid;
	int stream_fd; /* the guest goes through this one */
	int prove_fd;  /* and its memory, as it arrived, comes back */
	struct control control;
};

/* @prove: memory as it arrived is sent to prove_fd, which needs a fork there.
 * Return: -1 with *ret running, else the exit status. */
int destination_start(enum tide_tracker tracker, bool prove,
		      struct destination *ret);

/*
 * destination_stop_guest() - stop the guest there and let it be checked
 * @message: why it failed, or empty
 * @ret_writes: page writes that the guest has counted
 *
 * Return: 0 memory is right; 1 it is not; a negative errno.
 */
int destination_stop_guest(struct destination *destination, char *message,
			   size_t size, uint64_t *ret_writes);

/* Let it end, and wait for that. */
void destination_end(struct destination *destination);

#endif
