/* SPDX-License-Identifier: MIT */
/* destination.c - the demo's other process */
#include "destination.h"

#include "interrupt.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCKETS 3
#define STOP_MS 60000

enum { STREAM, PROVE, CONTROL };

/* In the child.  @fds: its ends of the three pairs. */
static void become_vm(const int *fds, enum tide_tracker tracker, bool prove)
{
	char address[SOCKETS][32];
	const char *const argv[] = {
		"tidemark",
		"vm",
		"--quiet",
		"--tracker",
		tide_tracker_name(tracker),
		"--listen",
		address[STREAM],
		"--control",
		address[CONTROL],
		prove ? "--prove" : NULL,
		address[PROVE],
		NULL,
	};

	for (unsigned int i = 0; i < SOCKETS; i++) {
		(void)snprintf(address[i], sizeof(address[i]), "fd:%d", fds[i]);
		(void)fcntl(fds[i], F_SETFD, 0); /* vm says if it is bad */
	}
	interrupt_child();
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody listens then */
	execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
	_exit(127);
}

static void close_pairs(int pairs[SOCKETS][2], unsigned int count,
			unsigned int end)
{
	for (unsigned int i = 0; i < count; i++)
		close(pairs[i][end]);
}

static int make_pairs(int pairs[SOCKETS][2])
{
	for (unsigned int i = 0; i < SOCKETS; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
			       pairs[i]) == 0)
			continue;
		(void)tool_error("socketpair: %s", strerror(errno));
		close_pairs(pairs, i, 0);
		close_pairs(pairs, i, 1);
		return TOOL_HOST;
	}
	return -1;
}

int destination_start(enum tide_tracker tracker, bool prove,
		      struct destination *ret)
{
	int pairs[SOCKETS][2];
	int status = make_pairs(pairs);
	pid_t pid;

	if (status >= 0)
		return status;
	pid = fork();
	if (pid == 0) {
		const int fds[] = { pairs[0][1], pairs[1][1], pairs[2][1] };

		become_vm(fds, tracker, prove);
	}
	close_pairs(pairs, SOCKETS, 1);
	if (pid < 0) {
		close_pairs(pairs, SOCKETS, 0);
		return tool_error("fork: %s", strerror(errno));
	}
	ret->pid = pid;
	ret->stream_fd = pairs[STREAM][0];
	ret->prove_fd = pairs[PROVE][0];
	control_init(&ret->control, pairs[CONTROL][0]);
	return -1;
}

int destination_stop_guest(struct destination *destination, char *message,
			   size_t size, uint64_t *ret_writes)
{
	json_t *event = NULL;
	int check;
	int got = control_send(destination->control.fd,
			       json_pack("{s:s}", "command", "stop"));

	(void)snprintf(message, size, "the destination does not answer");
	if (got)
		return got;
	got = control_receive(&destination->control, STOP_MS, &event);
	if (got < 1)
		return got ? got : -ECONNRESET;
	if (strcmp(control_text(event, "event"), "stopped") != 0) {
		json_decref(event);
		return -EPROTO;
	}
	(void)snprintf(message, size, "%s", control_text(event, "message"));
	*ret_writes = control_number(event, "writes");
	check = (int)json_integer_value(json_object_get(event, "check"));
	json_decref(event);
	return check;
}

void destination_end(struct destination *destination)
{
	/* It ends when its control socket does, even without "quit". */
	close(destination->stream_fd);
	close(destination->prove_fd);
	close(destination->control.fd);
	while (waitpid(destination->pid, NULL, 0) < 0 && errno == EINTR)
		;
}
