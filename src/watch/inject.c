/* SPDX-License-Identifier: MIT */
/*
 * inject.c - a userfaultfd of another process, without its help
 *
 * Theory of operation
 * -------------------
 * A userfaultfd belongs to the memory of whoever calls userfaultfd(2), so one
 * thread of the target has to.  It is stopped by ptrace, makes the call, the
 * descriptor is taken by pidfd_getfd(2), and the thread closes its own.  All
 * other threads run on.
 *
 * Between these steps a thread runs on registers that are not its own, and the
 * target has a descriptor that it does not know of.  Nobody who does this may
 * die there.  So a helper does it, a process of its own in a session of its
 * own with every signal blocked: a kill -9 of the caller, or of its process
 * group, leaves it to finish, which takes it some hundred microseconds.  It is
 * the tracer, too, so that no wait of the caller's is disturbed.
 *
 * A thread that does not stop, in the uninterruptible sleep of a slow disk or
 * of vfork() for example, is left alone and another one is asked, and later it
 * is asked once more.
 */
#include "watch/inject.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tracker/wp_abi.h"
#include "watch/maps.h"

#define STOP_TIMEOUT_NS 200000000u /* of one thread */
#define TRY_NS 2000000000u	   /* all of them, over and over */
#define TRY_PAUSE_NS 5000000u
#define STOP_LOOK_NS 20000u
#define HELPER_TIMEOUT_MS 10000
#define CHUNK 65536u
#define LOOK_MAX (64u << 20) /* bytes of one mapping */
#define PIDFD_THREAD O_EXCL  /* newer than our headers */
#define UFFD_FLAGS (O_CLOEXEC | O_NONBLOCK | WP_USER_MODE_ONLY)

static int fail(struct inject_result *result, int err, const char *why)
{
	result->err = err;
	snprintf(result->why, sizeof(result->why), "%s", why);
	return err;
}

/* ---- an instruction ---- */

static uint64_t look_in(pid_t tid, uint64_t start, uint64_t end)
{
	static unsigned char bytes[CHUNK];

	if (end - start > LOOK_MAX)
		end = start + LOOK_MAX;
	/* Overlapping by one byte, so that none hides on a border. */
	for (uint64_t at = start; at + 1 < end; at += CHUNK - 1) {
		size_t want = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
		struct iovec to = { bytes, want };
		struct iovec from = { (void *)(uintptr_t)at, want };
		ssize_t n = process_vm_readv(tid, &to, 1, &from, 1, 0);

		for (ssize_t i = 0; i + 1 < n; i++) {
			if (bytes[i] == 0x0f && bytes[i + 1] == 0x05)
				return at + (uint64_t)i;
		}
	}
	return 0;
}

uint64_t inject_find_instruction(pid_t tid)
{
	uint64_t at = 0;

	/* The kernel's own page has one; the libraries if there is none. */
	for (int pass = 0; pass < 2 && !at; pass++) {
		struct map_file maps;
		struct map map;

		if (maps_open(&maps, tid))
			return 0;
		while (!at && maps_next(&maps, &map) > 0) {
			bool vdso = !strcmp(map.name, "[vdso]");

			if (vdso == (pass == 0) && map.executable &&
			    map.readable && strcmp(map.name, "[vsyscall]") != 0)
				at = look_in(tid, map.start, map.end);
		}
		maps_close(&maps);
	}
	return at;
}

/* ---- the helper ---- */

/* The value of "key:" in the thread's status; "" if it has none. */
static void read_status(pid_t tid, const char *key, char value[static 64])
{
	char path[64], line[128];
	size_t length = strlen(key);
	FILE *file;

	value[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, key, length) &&
		    sscanf(line + length, ": %63s", value) == 1)
			break;
	}
	if (file)
		fclose(file);
}

static int seize(pid_t tid, struct inject_result *result)
{
	char value[64];
	int err;

	if (!ptrace(PTRACE_SEIZE, tid, 0, 0))
		return 0;
	err = -errno;
	/* One that is ending is refused like a stranger's. */
	read_status(tid, "State", value);
	if (err == -ESRCH || !value[0] || strchr("ZXx", value[0]))
		return fail(result, -ESRCH, "it has ended");
	read_status(tid, "TracerPid", value);
	if (strtol(value, NULL, 10))
		return fail(result, -EBUSY, "it is being traced");
	return fail(result, -EPERM, "no permission to trace it");
}

static int stop(pid_t tid, struct inject_result *result)
{
	uint64_t deadline_ns = tide_now_ns() + STOP_TIMEOUT_NS;
	struct timespec pause = { 0, STOP_LOOK_NS };
	int status;

	if (ptrace(PTRACE_INTERRUPT, tid, 0, 0))
		return fail(result, -errno, "it cannot be interrupted");
	while (tide_now_ns() < deadline_ns) {
		pid_t got = waitpid(tid, &status, __WALL | WNOHANG);

		if (got < 0 || (got == tid && !WIFSTOPPED(status)))
			return fail(result, -ESRCH, "it has ended");
		if (got == 0) {
			nanosleep(&pause, NULL);
			continue;
		}
		if (status >> 16 == PTRACE_EVENT_STOP)
			return 0;
		/* A signal on its way: it gets it, and then our stop. */
		if (ptrace(PTRACE_CONT, tid, 0, (long)WSTOPSIG(status)))
			return fail(result, -errno, "it cannot be continued");
	}
	return fail(result, -ETIMEDOUT, "no thread of it can be stopped");
}

static int check_filter(pid_t tid, struct inject_result *result)
{
	static const uint32_t calls[] = { SYS_userfaultfd, SYS_close };
	char value[64];
	long mode;

	read_status(tid, "Seccomp", value);
	mode = strtol(value, NULL, 10);
	for (int i = 0; mode && i < 2; i++) {
		if (mode != 2 || inject_is_allowed(tid, calls[i]) != 1)
			return fail(result, -EPERM,
				    "its seccomp filter forbids userfaultfd, "
				    "or cannot be read");
	}
	return 0;
}

/* Not of its process, whose first thread may have ended, descriptors and all;
 * before Linux 6.9 there is no other. */
static int open_thread(pid_t tid)
{
	int fd = (int)syscall(SYS_pidfd_open, tid, PIDFD_THREAD);

	return fd < 0 ? (int)syscall(SYS_pidfd_open, tid, 0) : fd;
}

/* The thread is stopped.  Return: our descriptor, or a negative errno. */
static int fetch(pid_t tid, uint64_t at, struct inject_result *result)
{
	int64_t theirs, closed;
	int err, pidfd, fd;

	theirs = inject_call(tid, at, SYS_userfaultfd, UFFD_FLAGS, &err);
	if (err == -ENOEXEC)
		return fail(result, -EOPNOTSUPP, "it is a 32-bit process");
	if (err)
		return fail(result, err, "it could not be made to call");
	if (theirs == -EINVAL) /* before Linux 5.11 */
		theirs = inject_call(tid, at, SYS_userfaultfd,
				     O_CLOEXEC | O_NONBLOCK, &err);
	if (err || theirs < 0)
		return fail(result, err ? err : (int)theirs,
			    "userfaultfd is refused to it");
	pidfd = open_thread(tid);
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, (int)theirs, 0);
	if (pidfd >= 0)
		close(pidfd);
	if (fd < 0)
		(void)fail(result, -errno, "its descriptor cannot be taken");
	closed = inject_call(tid, at, SYS_close, (uint64_t)theirs, &err);
	if (fd >= 0 && (err || closed))
		(void)fail(result, err ? err : (int)closed,
			   "its descriptor cannot be closed");
	return fd < 0 ? result->err : fd;
}

static int help(pid_t tid, uint64_t at, struct inject_result *result)
{
	uint64_t begin_ns;
	int fd, err = seize(tid, result);

	if (err)
		return err;
	begin_ns = tide_now_ns();
	err = stop(tid, result);
	if (err)
		return err; /* our end lets it go */
	fd = check_filter(tid, result);
	if (!fd)
		fd = fetch(tid, at, result);
	(void)ptrace(PTRACE_DETACH, tid, 0, 0);
	result->stopped_ns = tide_now_ns() - begin_ns;
	return fd;
}

static void send_result(int channel, const struct inject_result *result, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)result, sizeof(*result) };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		struct cmsghdr *header;

		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	}
	(void)sendmsg(channel, &message, MSG_NOSIGNAL);
}

/* ---- the caller ---- */

static int receive_result(int channel, struct inject_result *result)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	struct iovec iov = { result, sizeof(*result) };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control.bytes,
				  .msg_controllen = sizeof(control.bytes) };
	struct pollfd wait = { .fd = channel, .events = POLLIN };
	const struct cmsghdr *header;
	int fd = -1;

	if (poll(&wait, 1, HELPER_TIMEOUT_MS) <= 0 ||
	    recvmsg(channel, &message, MSG_CMSG_CLOEXEC) !=
		    (ssize_t)sizeof(*result))
		return fail(result, -ETIMEDOUT, "the helper did not answer");
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	if (result->err && fd >= 0) {
		close(fd);
		fd = -1;
	}
	return fd >= 0 ? fd : result->err;
}

/* Another session, deaf to signals, and reaped by whoever forked it. */
static int run_helper(pid_t tid, uint64_t at, struct inject_result *result)
{
	sigset_t all, old;
	int channel[2], ret;
	pid_t helper;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel))
		return fail(result, -errno, "no socket");
	sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, &old);
	helper = fork();
	if (helper == 0) {
		(void)setsid();
		ret = help(tid, at, result);
		send_result(channel[1], result, ret);
		_exit(0);
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(channel[1]);
	if (helper < 0)
		ret = fail(result, -errno, "no helper process");
	else
		ret = receive_result(channel[0], result);
	close(channel[0]);
	while (helper > 0 && waitpid(helper, NULL, 0) < 0 && errno == EINTR)
		;
	return ret;
}

static bool is_worth_trying(pid_t pid, pid_t tid, const char *not_in)
{
	char path[64], text[256];
	const char *state;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid,
		 (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n < 0)
		return false;
	text[n] = '\0';
	state = strrchr(text, ')');
	return state && state[1] && !strchr(not_in, state[2]);
}

/* Thread after thread, until one can be stopped. */
static int try_each(pid_t pid, uint64_t at, const char *not_in,
		    uint64_t deadline_ns, struct inject_result *result)
{
	const struct dirent *entry;
	char path[64];
	int ret = fail(result, -ETIMEDOUT, "no thread of it can be stopped");
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks)
		return fail(result, -ESRCH, "there is no such process");
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours alone */
	while ((entry = readdir(tasks))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (tid <= 0 || !is_worth_trying(pid, tid, not_in))
			continue;
		memset(result, 0, sizeof(*result));
		ret = run_helper(tid, at, result);
		/* This thread was on its way out, or stuck. */
		if ((ret != -ESRCH && ret != -ETIMEDOUT) ||
		    tide_now_ns() >= deadline_ns)
			break;
	}
	closedir(tasks);
	return ret;
}

static int try_threads(pid_t pid, uint64_t at, struct inject_result *result)
{
	uint64_t deadline_ns = tide_now_ns() + TRY_NS;
	struct timespec pause = { 0, TRY_PAUSE_NS };
	const char *not_in = "ZXxD";

	for (;;) {
		int ret = try_each(pid, at, not_in, deadline_ns, result);

		if (ret != -ETIMEDOUT || tide_now_ns() >= deadline_ns)
			return ret;
		nanosleep(&pause, NULL);
		not_in = "ZXx"; /* it may end while we wait for it */
	}
}

int inject_userfaultfd(pid_t pid, pid_t live, struct inject_result *ret)
{
	uint64_t at;

	memset(ret, 0, sizeof(*ret));
	at = inject_find_instruction(live);
	if (!at)
		return fail(ret, -EPERM, "its memory cannot be read");
	return try_threads(pid, at, ret);
}
