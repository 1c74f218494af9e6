/* SPDX-License-Identifier: MIT */
/* control.c - the control socket of a running vm: JSON, line by line */
#include "control.h"

#include "interrupt.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void control_init(struct control *control, int fd)
{
	control->fd = fd;
	control->used = 0;
}

static int send_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		data += sent;
		size -= (size_t)sent;
	}
	return 0;
}

int control_send(int fd, json_t *object)
{
	char line[CONTROL_LINE_MAX];
	size_t length = json_dumpb(object, line, sizeof(line) - 1,
				   JSON_COMPACT | JSON_PRESERVE_ORDER);

	json_decref(object);
	if (length == 0)
		return -ENOMEM;
	if (length >= sizeof(line))
		return -EMSGSIZE;
	line[length] = '\n';
	return send_all(fd, line, length + 1);
}

/* Take the first line out of the buffer.  Return: 1; 0: none; -EPROTO. */
static int take_line(struct control *control, json_t **ret)
{
	char *end = memchr(control->buffer, '\n', control->used);
	size_t length;
	json_t *object;

	if (!end)
		return control->used == sizeof(control->buffer) ? -EPROTO : 0;
	length = (size_t)(end - control->buffer);
	object = json_loadb(control->buffer, length, 0, NULL);
	control->used -= length + 1;
	memmove(control->buffer, end + 1, control->used);
	if (!json_is_object(object)) {
		json_decref(object);
		return -EPROTO;
	}
	*ret = object;
	return 1;
}

/* Return: 1 when there is something to read, 0, or a negative errno. */
static int wait_readable(int fd, int timeout_ms)
{
	struct pollfd fds[] = { { .fd = fd, .events = POLLIN },
				{ .fd = interrupt_fd(), .events = POLLIN } };
	int count = poll(fds, 2, timeout_ms);

	if (count < 0)
		return errno == EINTR ? 0 : -errno;
	if (count == 0)
		return -ETIMEDOUT;
	if (fds[0].revents)
		return 1;
	return -EINTR;
}

int control_receive(struct control *control, int timeout_ms, json_t **ret)
{
	for (;;) {
		ssize_t got;
		int err = take_line(control, ret);

		if (err)
			return err;
		err = wait_readable(control->fd, timeout_ms);
		if (err < 0)
			return err;
		if (err == 0)
			continue;
		got = recv(control->fd, control->buffer + control->used,
			   sizeof(control->buffer) - control->used, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return control->used ? -EPROTO : 0;
		control->used += (size_t)got;
	}
}

int control_hung_up(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLRDHUP };

	return poll(&poll_fd, 1, 0) > 0 &&
	       (poll_fd.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

const char *control_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

uint64_t control_number(const json_t *object, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(object, key));

	return value > 0 ? (uint64_t)value : 0;
}
