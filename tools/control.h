/* SPDX-License-Identifier: MIT */
/*
 * control.h - the control socket of a running vm: one JSON object a line
 *
 * To the vm:   {"command": "status"}
 *              {"command": "migrate", "to": ADDRESS, "downtime_ns": N,
 *               "bandwidth": N, "rounds_max": N, "deadline_ns": N}
 *              {"command": "stop"}    stop the guest and check its memory
 *              {"command": "quit"}
 * From the vm: {"event": "status" | "progress" | "done" | "failed" |
 *               "stopped" | "error", ...}
 *
 * Hanging up during "migrate" cancels it while that is still possible.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define CONTROL_LINE_MAX 8192

struct control {
	int fd;
	size_t used;
	char buffer[CONTROL_LINE_MAX];
};

void control_init(struct control *control, int fd);

/* Send and forget @object (its reference is taken).  Return: 0 or -errno. */
int control_send(int fd, json_t *object);

/*
 * The next object, waiting at most @timeout_ms (-1: for ever).
 * Return: 1; 0 at the end; -ETIMEDOUT; -EPROTO for what is no JSON object;
 * -EINTR when interrupted; another -errno.
 */
int control_receive(struct control *control, int timeout_ms, json_t **ret);

/* Has the other side hung up?  What it sent stays unread. */
int control_hung_up(int fd);

/* Members with a default, so that callers need not check the type. */
const char *control_text(const json_t *object, const char *key);
uint64_t control_number(const json_t *object, const char *key);

#endif
