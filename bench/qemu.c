/* SPDX-License-Identifier: MIT */
/* qemu.c - a QEMU with our guest in it, driven over QMP */
#include "qemu.h"

#include "interrupt.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "qemu-system-x86_64"
#define ANSWER_MS 20000
#define MIGRATE_NS (60 * 1000000000ull)
#define POLL_MS 10
#define UNLIMITED (1ll << 50) /* bytes a second */

const char *qemu_path(void)
{
	static char path[4096];
	const char *search = getenv("PATH");
	char *save, *folder, *copy = search ? strdup(search) : NULL;
	const char *found = NULL;

	if (!copy)
		return NULL;
	folder = strtok_r(copy, ":", &save);
	for (; folder && !found; folder = strtok_r(NULL, ":", &save)) {
		(void)snprintf(path, sizeof(path), "%s/" PROGRAM, folder);
		if (access(path, X_OK) == 0)
			found = path;
	}
	free(copy);
	return found;
}

/* In the child. */
static void become_qemu(const int fds[4], uint64_t memory_bytes)
{
	char memory[32], kernel[32], qmp[48], serial[48], stream[32];
	const char *const argv[] = {
		PROGRAM,
		"-nodefaults",
		"-no-user-config",
		"-display",
		"none",
		"-machine",
		"pc,accel=kvm:tcg",
		"-m",
		memory,
		"-kernel",
		kernel,
		"-chardev",
		qmp,
		"-mon",
		"chardev=qmp,mode=control",
		"-chardev",
		serial,
		"-serial",
		"chardev:serial",
		fds[3] >= 0 ? "-incoming" : NULL,
		stream,
		NULL,
	};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)snprintf(memory, sizeof(memory), "%" PRIu64 "M",
		       memory_bytes >> 20);
	(void)snprintf(kernel, sizeof(kernel), "/proc/self/fd/%d", fds[0]);
	(void)snprintf(qmp, sizeof(qmp), "socket,id=qmp,fd=%d", fds[1]);
	(void)snprintf(serial, sizeof(serial), "socket,id=serial,fd=%d",
		       fds[2]);
	(void)snprintf(stream, sizeof(stream), "fd:%d", fds[3]);
	for (unsigned int i = 0; i < 4; i++)
		(void)fcntl(fds[i], F_SETFD, 0); /* none is bad but -1 */
	/* It warns about CPU features that do not matter here. */
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		(void)dup2(null, fd);
	interrupt_child();
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody listens then */
	execv(qemu_path(), (char *const *)(uintptr_t)argv);
	_exit(127);
}

static uint64_t event_us(const json_t *event)
{
	const json_t *at = json_object_get(event, "timestamp");

	return control_number(at, "seconds") * 1000000 +
	       control_number(at, "microseconds");
}

static void note_event(struct qemu *qemu, const json_t *event)
{
	const char *name = control_text(event, "event");

	if (strcmp(name, "STOP") == 0)
		qemu->stopped_us = event_us(event);
	else if (strcmp(name, "RESUME") == 0)
		qemu->resumed_us = event_us(event);
}

/* The next answer; events on the way are noted.  Return: 0 or -errno. */
static int receive_answer(struct qemu *qemu, json_t **ret)
{
	for (;;) {
		json_t *message;
		int got = control_receive(&qemu->qmp, ANSWER_MS, &message);

		if (got < 1)
			return got ? got : -ECONNRESET;
		if (!json_object_get(message, "event")) {
			*ret = message;
			return 0;
		}
		note_event(qemu, message);
		json_decref(message);
	}
}

/* Of the command @name.  @ret: what it returned, or NULL.
 * Return: 0; a negative errno, and one line was printed. */
static int take_result(struct qemu *qemu, const char *name, json_t **ret)
{
	json_t *answer, *result;
	int err = receive_answer(qemu, &answer);

	if (err) {
		(void)tool_error("QEMU: %s: %s", name, strerror(-err));
		return err;
	}
	result = json_object_get(answer, "return");
	if (!result) {
		err = -EPROTO;
		(void)tool_error(
			"QEMU: %s: %s", name,
			control_text(json_object_get(answer, "error"), "desc"));
	}
	if (ret)
		*ret = json_incref(result);
	json_decref(answer);
	return err;
}

/* @arguments: may be NULL; its reference is taken.  Return: likewise. */
static int command(struct qemu *qemu, const char *name, json_t *arguments,
		   json_t **ret)
{
	json_t *request = json_pack("{s:s}", "execute", name);
	int err;

	if (arguments)
		(void)json_object_set_new(request, "arguments", arguments);
	err = control_send(qemu->qmp.fd, request);
	if (err) {
		(void)tool_error("QEMU: %s: %s", name, strerror(-err));
		return err;
	}
	return take_result(qemu, name, ret);
}

/* Hand @fd over, to be called "stream" there.  Return: as command(). */
static int give_stream(struct qemu *qemu, int fd)
{
	static char line[] = "{\"execute\": \"getfd\", "
			     "\"arguments\": {\"fdname\": \"stream\"}}\n";
	struct iovec text = { .iov_base = line, .iov_len = sizeof(line) - 1 };
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)),
				  .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS } };
	const struct msghdr message = { .msg_iov = &text,
					.msg_iovlen = 1,
					.msg_control = &control,
					.msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	/* A line this short goes in one piece. */
	if (sendmsg(qemu->qmp.fd, &message, MSG_NOSIGNAL) !=
	    (ssize_t)text.iov_len) {
		(void)tool_error("QEMU: getfd: %s", strerror(errno));
		return -EIO;
	}
	return take_result(qemu, "getfd", NULL);
}

static int greet(struct qemu *qemu)
{
	json_t *answer;
	int err = receive_answer(qemu, &answer);

	if (err) {
		(void)tool_error("QEMU does not start: %s", strerror(-err));
		return err;
	}
	json_decref(answer); /* the greeting */
	err = command(qemu, "qmp_capabilities", NULL, NULL);
	if (!err)
		err = command(qemu, "query-kvm", NULL, &answer);
	if (err)
		return err;
	qemu->kvm = json_is_true(json_object_get(answer, "enabled"));
	json_decref(answer);
	return 0;
}

int qemu_version(struct qemu *qemu, char *text, size_t size)
{
	const json_t *version;
	json_t *answer;
	int err = command(qemu, "query-version", NULL, &answer);

	if (err)
		return err;
	version = json_object_get(answer, "qemu");
	(void)snprintf(text, size, "%" PRIu64 ".%" PRIu64 ".%" PRIu64,
		       control_number(version, "major"),
		       control_number(version, "minor"),
		       control_number(version, "micro"));
	json_decref(answer);
	return 0;
}

int qemu_start(struct qemu *qemu, int kernel_fd, int stream_fd,
	       uint64_t memory_bytes)
{
	const int type = SOCK_STREAM | SOCK_CLOEXEC;
	int qmp[2] = { -1, -1 }, serial[2] = { -1, -1 };
	pid_t pid = -1;
	int err = 0;

	*qemu = (struct qemu){ .qmp.fd = -1, .serial_fd = -1 };
	if (socketpair(AF_UNIX, type, 0, qmp) == 0 &&
	    socketpair(AF_UNIX, type, 0, serial) == 0)
		pid = fork();
	if (pid < 0)
		err = -errno;
	if (pid == 0) {
		const int fds[] = { kernel_fd, qmp[1], serial[1], stream_fd };

		become_qemu(fds, memory_bytes);
	}
	close(qmp[1]);
	close(serial[1]);
	control_init(&qemu->qmp, qmp[0]);
	qemu->serial_fd = serial[0];
	if (err) {
		(void)tool_error("QEMU: %s", strerror(-err));
		return err;
	}
	qemu->pid = pid;
	return greet(qemu);
}

void qemu_end(struct qemu *qemu)
{
	if (qemu->qmp.fd >= 0)
		close(qemu->qmp.fd);
	if (qemu->serial_fd >= 0)
		close(qemu->serial_fd);
	if (qemu->pid) {
		(void)kill(qemu->pid, SIGKILL); /* ours, and not waited for */
		while (waitpid(qemu->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	*qemu = (struct qemu){ .qmp.fd = -1, .serial_fd = -1 };
}

static unsigned int count_marks(const char *text, ssize_t size)
{
	unsigned int marks = 0;

	for (ssize_t i = 0; i < size; i++)
		marks += text[i] == 'B';
	return marks;
}

int qemu_wait_marks(struct qemu *qemu, unsigned int marks, int timeout_ms)
{
	uint64_t until_ns = tool_now_ns() + (uint64_t)timeout_ms * 1000000;
	unsigned int seen = 0;

	while (seen < marks) {
		struct pollfd fds[] = {
			{ .fd = qemu->serial_fd, .events = POLLIN },
			{ .fd = interrupt_fd(), .events = POLLIN }
		};
		uint64_t now_ns = tool_now_ns();
		char text[64];
		ssize_t got;

		if (now_ns >= until_ns ||
		    poll(fds, 2, (int)((until_ns - now_ns) / 1000000)) == 0)
			return -ETIMEDOUT;
		if (fds[1].revents)
			return -EINTR;
		got = recv(qemu->serial_fd, text, sizeof(text), MSG_DONTWAIT);
		if (got == 0)
			return -ECONNRESET;
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		seen += count_marks(text, got);
	}
	return 0;
}

static uint64_t wall_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail on Linux */
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* Look again in a while.  Return: 0; -EINTR. */
static int pause_poll(void)
{
	struct pollfd interrupt = { .fd = interrupt_fd(), .events = POLLIN };

	return poll(&interrupt, 1, POLL_MS) > 0 ? -EINTR : 0;
}

/* Return: 1 when it is done; 0 not yet; a negative errno. */
static int look(struct qemu *source, struct qemu_times *times)
{
	const json_t *ram;
	json_t *answer;
	const char *status;
	int ret = command(source, "query-migrate", NULL, &answer);

	if (ret)
		return ret;
	status = control_text(answer, "status");
	ram = json_object_get(answer, "ram");
	times->total_ms = (double)control_number(answer, "total-time");
	times->downtime_ms = (double)control_number(answer, "downtime");
	times->rounds = control_number(ram, "dirty-sync-count");
	if (strcmp(status, "completed") == 0) {
		/* It says so a moment before it knows how long it took. */
		ret = times->total_ms > 0;
	} else if (strcmp(status, "failed") == 0) {
		(void)tool_error("QEMU: the migration failed: %s",
				 control_text(answer, "error-desc"));
		ret = -EPROTO;
	}
	json_decref(answer);
	return ret;
}

static int await_end(struct qemu *source, struct qemu *destination,
		     struct qemu_times *times)
{
	uint64_t until_ns = tool_now_ns() + MIGRATE_NS;
	int ret;

	do {
		ret = pause_poll();
		if (!ret)
			ret = look(source, times);
	} while (!ret && tool_now_ns() < until_ns);
	/* Events come before the answer to a later command. */
	while (ret == 1 && !destination->resumed_us &&
	       tool_now_ns() < until_ns) {
		int err = pause_poll();

		if (!err)
			err = command(destination, "query-status", NULL, NULL);
		if (err)
			ret = err;
	}
	if (ret < 0)
		return ret;
	if (ret == 1 && source->stopped_us && destination->resumed_us)
		return 0;
	(void)tool_error("QEMU: the migration does not end");
	return -ETIMEDOUT;
}

int qemu_migrate(struct qemu *source, struct qemu *destination, int stream_fd,
		 uint64_t downtime_ms, struct qemu_times *ret)
{
	struct qemu_times times = { 0 };
	uint64_t began_us;
	int err = give_stream(source, stream_fd);

	destination->resumed_us = 0;
	if (!err)
		err = command(source, "migrate-set-parameters",
			      json_pack("{s:I, s:I}", "downtime-limit",
					(json_int_t)downtime_ms,
					"max-bandwidth", (json_int_t)UNLIMITED),
			      NULL);
	if (err)
		return err;
	began_us = wall_us();
	err = command(source, "migrate", json_pack("{s:s}", "uri", "fd:stream"),
		      NULL);
	if (!err)
		err = await_end(source, destination, &times);
	if (err)
		return err;
	times.outside_total_ms =
		(double)(destination->resumed_us - began_us) / 1000;
	times.outside_downtime_ms =
		(double)(destination->resumed_us - source->stopped_us) / 1000;
	*ret = times;
	return 0;
}
