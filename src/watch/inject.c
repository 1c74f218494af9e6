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
 * the tracer, too, so that no wait of the caller's is disturbed.  Nor is it a
 * child that waits for any child find, or whose end sends a signal; it is made
 * without fork(), whose handlers are the caller's, and so it uses nothing that
 * could need a lock another thread had: no malloc, no stdio.
 *
 * Its own death is the one that does harm: a thread that is let go between two
 * steps goes on with registers that are not its own.  It takes somebody who
 * kills every process of the caller's cgroup, or the OOM killer.
 *
 * A thread that does not stop, in the uninterruptible sleep of a slow disk or
 * of vfork() for example, is left alone and another one is asked, and later it
 * is asked once more.
 */
#include "watch/inject.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
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
#define LOOK_NS 100000000u	   /* without being told to */
#define TRY_PAUSE_NS 5000000u
#define HELPER_TIMEOUT_NS 10000000000u
#define CHUNK 65536u
#define LOOK_MAX (64u << 20) /* bytes of one mapping */
#define PIDFD_THREAD O_EXCL  /* newer than our headers */
#define STATUS_BYTES 4096u
/* Descriptors whose closing a filter must allow before there is one. */
#define CLOSE_FIRST 3u
#define CLOSE_COUNT 64u
#define INSIST 3u
#define SECCOMP_UNKNOWN (-1)
#define UFFD_FLAGS (O_CLOEXEC | O_NONBLOCK | WP_USER_MODE_ONLY)

static int fail(struct inject_result *result, int err, const char *why)
{
	result->err = err;
	snprintf(result->why, sizeof(result->why), "%s", why);
	return err;
}

/* ---- an instruction ---- */

/* Return: 0; -ESTALE: none is there; a negative errno. */
static int look_in(pid_t tid, uint64_t start, uint64_t end, uint64_t *ret)
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

		if (n < 0 && errno != EFAULT)
			return -errno;
		for (ssize_t i = 0; i + 1 < n; i++) {
			if (bytes[i] == 0x0f && bytes[i + 1] == 0x05) {
				*ret = at + (uint64_t)i;
				return 0;
			}
		}
	}
	return -ESTALE;
}

int inject_find_instruction(pid_t tid, uint64_t *ret)
{
	int err = -ESTALE;

	/* The kernel's own page has one; the libraries if there is none. */
	for (int pass = 0; pass < 2 && err == -ESTALE; pass++) {
		struct map_file maps;
		struct map map;
		int more = maps_open(&maps, tid);

		if (more)
			return more;
		while (err == -ESTALE && (more = maps_next(&maps, &map)) > 0) {
			bool vdso = !strcmp(map.name, "[vdso]");

			if (vdso == (pass == 0) && map.executable &&
			    map.readable && strcmp(map.name, "[vsyscall]") != 0)
				err = look_in(tid, map.start, map.end, ret);
		}
		maps_close(&maps);
		if (more < 0)
			return more;
	}
	return err;
}

/* ---- the helper ---- */

/* The value of "\nkey:\t" in the thread's status; "" if it has none. */
static void read_status(pid_t tid, const char *key, char value[static 16])
{
	char path[64], text[STATUS_BYTES];
	const char *at;
	ssize_t n;
	int fd;

	value[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n < 0)
		return;
	text[n] = '\0';
	at = strstr(text, key);
	if (!at)
		return;
	at += strlen(key);
	for (size_t i = 0; i < 15 && at[i] && at[i] != '\n'; i++) {
		value[i] = at[i];
		value[i + 1] = '\0';
	}
}

static int seize(pid_t tid, struct inject_result *result)
{
	char value[16];
	int err;

	if (!ptrace(PTRACE_SEIZE, tid, 0, 0))
		return 0;
	err = -errno;
	/* One that is ending is refused like a stranger's. */
	read_status(tid, "\nState:\t", value);
	if (err == -ESRCH || !value[0] || strchr("ZXx", value[0]))
		return fail(result, -ESRCH, "it has ended");
	read_status(tid, "\nTracerPid:\t", value);
	if (strtol(value, NULL, 10))
		return fail(result, -EBUSY, "it is being traced");
	return fail(result, -EPERM, "no permission to trace it");
}

int inject_wait(pid_t tid, uint64_t deadline_ns, int *ret_status)
{
	sigset_t children;

	(void)sigemptyset(&children);
	(void)sigaddset(&children, SIGCHLD);
	for (;;) {
		pid_t got = waitpid(tid, ret_status, __WALL | WNOHANG);
		uint64_t now_ns = tide_now_ns();
		struct timespec left = { 0 };
		uint64_t left_ns;

		/* ECHILD: another thread's exec has taken its place. */
		if ((got < 0 && errno == ECHILD) ||
		    (got == tid && !WIFSTOPPED(*ret_status)))
			return -ESRCH;
		if (got == tid)
			return 0;
		if (now_ns >= deadline_ns)
			return -ETIMEDOUT;
		if (got < 0)
			continue;
		/* The helper blocks it; it says only that one should look. */
		left_ns = deadline_ns - now_ns;
		if (left_ns > LOOK_NS)
			left_ns = LOOK_NS; /* exec says nothing */
		left.tv_nsec = (long)left_ns;
		(void)sigtimedwait(&children, NULL, &left);
	}
}

static int stop(pid_t tid, struct inject_result *result)
{
	uint64_t deadline_ns = tide_now_ns() + STOP_TIMEOUT_NS;
	int status, err;

	if (ptrace(PTRACE_INTERRUPT, tid, 0, 0))
		return fail(result, -errno, "it cannot be interrupted");
	for (;;) {
		err = inject_wait(tid, deadline_ns, &status);
		if (err == -ETIMEDOUT)
			return fail(result, err,
				    "no thread of it can be stopped");
		if (err)
			return fail(result, err, "it has ended");
		if (status >> 16 == PTRACE_EVENT_STOP)
			return 0;
		/* A signal on its way: it gets it, and then our stop. */
		if (ptrace(PTRACE_CONT, tid, 0, (long)WSTOPSIG(status)))
			return fail(result, -errno, "it cannot be continued");
	}
}

/* A filter's answer may be to kill, so whether there is one must be known. */
static int seccomp_mode(pid_t tid)
{
	char value[16];

	read_status(tid, "\nSeccomp:\t", value);
	return value[0] ? (int)strtol(value, NULL, 10) : SECCOMP_UNKNOWN;
}

/* The call with each of @count arguments from @argument on. */
static int check_filter(pid_t tid, uint64_t at, uint32_t nr, uint64_t argument,
			uint32_t count, struct inject_result *result)
{
	int mode = seccomp_mode(tid);

	if (!mode)
		return 0;
	if (mode == SECCOMP_MODE_FILTER &&
	    inject_is_allowed(tid, at, nr, argument, count) == 1)
		return 0;
	return fail(result, -EPERM,
		    "its seccomp filter forbids userfaultfd, "
		    "or cannot be read");
}

/* Not of its process, whose first thread may have ended, descriptors and all;
 * before Linux 6.9 there is no other. */
static int open_thread(pid_t tid)
{
	int fd = (int)syscall(SYS_pidfd_open, tid, PIDFD_THREAD);

	return fd < 0 ? (int)syscall(SYS_pidfd_open, tid, 0) : fd;
}

/* Return: the thread's new descriptor; a negative errno. */
static int call_userfaultfd(pid_t tid, uint64_t at, uint64_t flags,
			    struct inject_result *result)
{
	int64_t theirs;
	int err = check_filter(tid, at, SYS_userfaultfd, flags, 1, result);

	if (err)
		return err;
	theirs = inject_call(tid, at, SYS_userfaultfd, flags, &err);
	if (err == -ENOEXEC)
		return fail(result, -EOPNOTSUPP, "it is a 32-bit process");
	if (err == -ESTALE)
		return fail(result, err, "it executes another program");
	if (err == -ETIMEDOUT)
		return fail(result, err, "it does not run: is it frozen?");
	if (err)
		return fail(result, err, "it could not be made to call");
	if (theirs < 0)
		return fail(result, (int)theirs,
			    "userfaultfd is refused to it");
	return (int)theirs;
}

static int take(pid_t tid, int theirs, struct inject_result *result)
{
	int pidfd = open_thread(tid);
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, theirs, 0);
	int err = fd < 0 ? -errno : 0;

	if (pidfd >= 0)
		close(pidfd);
	/* Another thread of it closes whatever there is. */
	if (err == -EBADF && pidfd >= 0)
		err = -ESTALE;
	return err ? fail(result, err, "its descriptor cannot be taken") : fd;
}

/* The thread is stopped.  Return: our descriptor, or a negative errno. */
static int fetch(pid_t tid, uint64_t at, struct inject_result *result)
{
	int64_t closed = 0;
	int theirs, fd;
	int err = check_filter(tid, at, SYS_close, CLOSE_FIRST, CLOSE_COUNT,
			       result);

	if (err)
		return err;
	theirs = call_userfaultfd(tid, at, UFFD_FLAGS, result);
	if (theirs == -EINVAL) /* before Linux 5.11 */
		theirs = call_userfaultfd(tid, at, O_CLOEXEC | O_NONBLOCK,
					  result);
	if (theirs < 0)
		return theirs;
	*result = (struct inject_result){ 0 };
	fd = take(tid, theirs, result);
	if ((unsigned int)theirs - CLOSE_FIRST >= CLOSE_COUNT)
		err = check_filter(tid, at, SYS_close, (uint64_t)theirs, 1,
				   result);
	if (err)
		return err;
	for (uint32_t i = 0; i < INSIST; i++) {
		closed =
			inject_call(tid, at, SYS_close, (uint64_t)theirs, &err);
		if (!err || err == -ESRCH)
			break;
	}
	if (!err && closed && closed != -EBADF)
		err = (int)closed;
	if (fd >= 0 && err)
		return fail(result, err, "its descriptor cannot be closed");
	return fd;
}

/* If our end lets it go instead, the step that it stopped after becomes a
 * signal of its own. */
static void let_go(pid_t tid)
{
	for (uint32_t i = 0; i < INSIST; i++) {
		if (!ptrace(PTRACE_DETACH, tid, 0, 0) || errno == ESRCH)
			break;
	}
}

static int help(pid_t tid, uint64_t at, struct inject_result *result)
{
	uint64_t begin_ns;
	int fd, err = seize(tid, result);

	if (err)
		return err;
	err = stop(tid, result);
	if (err)
		return err; /* our end lets it go */
	begin_ns = tide_now_ns();
	fd = fetch(tid, at, result);
	let_go(tid);
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
	for (uint32_t i = 0; i < INSIST; i++) {
		if (sendmsg(channel, &message, MSG_NOSIGNAL) >= 0)
			break;
	}
}

/* ---- the caller ---- */

/* Signals are the caller's own affair.  Return: there is an answer, or there
 * will be none. */
static bool await_answer(int channel)
{
	uint64_t deadline_ns = tide_now_ns() + HELPER_TIMEOUT_NS;
	struct pollfd wait = { .fd = channel, .events = POLLIN };

	for (;;) {
		uint64_t now_ns = tide_now_ns();
		int n;

		if (now_ns >= deadline_ns)
			return false;
		n = poll(&wait, 1, (int)((deadline_ns - now_ns) / 1000000 + 1));
		if (n > 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
			return true;
	}
}

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
	const struct cmsghdr *header;
	ssize_t got;
	int fd = -1;

	if (!await_answer(channel))
		return fail(result, -ENODATA, "the helper did not answer");
	do {
		got = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got != (ssize_t)sizeof(*result))
		return fail(result, got < 0 ? -errno : -ECANCELED,
			    "the helper was killed");
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	if (result->err && fd >= 0) {
		close(fd);
		fd = -1;
	}
	return fd >= 0 ? fd : result->err;
}

/* Another session, deaf to signals. */
static void be_helper(pid_t tid, uint64_t at, int channel,
		      struct inject_result *result)
{
	struct sigaction plain = { .sa_handler = SIG_DFL };

	(void)setsid();
	/* So that a stop of the thread is said to us by a signal. */
	(void)sigaction(SIGCHLD, &plain, NULL);
	send_result(channel, result, help(tid, at, result));
	_exit(0);
}

static int run_helper(pid_t tid, uint64_t at, struct inject_result *result)
{
	sigset_t all, old;
	int channel[2], ret;
	pid_t helper;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel))
		return fail(result, -errno, "no socket");
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, &old);
	/* fork() without its handlers, and without a signal at the end. */
	helper = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
	if (helper == 0)
		be_helper(tid, at, channel[1], result);
	ret = helper < 0 ? -errno : 0;
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(channel[1]);
	if (helper < 0)
		ret = fail(result, ret, "no helper process");
	else
		ret = receive_result(channel[0], result);
	close(channel[0]);
	/* One that does not answer may have a frozen thread in its hands, and
	 * stays. */
	while (helper > 0 && ret != -ENODATA &&
	       waitpid(helper, NULL, __WALL) < 0 && errno == EINTR)
		;
	return ret == -ENODATA ? -ETIMEDOUT : ret;
}

/* As in its stat; 0: it is not there any more; '?': it cannot be read. */
static char state_of(pid_t pid, pid_t tid)
{
	char path[64], text[256];
	const char *state;
	ssize_t n = -1;
	int fd, err = 0;

	if (tid <= 0)
		return 0; /* "." and ".." */
	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid,
		 (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		err = errno;
	if (fd >= 0)
		close(fd);
	if (err == ENOENT || err == ESRCH)
		return 0;
	if (n < 0)
		return '?';
	text[n] = '\0';
	state = strrchr(text, ')');
	if (state && state[1])
		return state[2];
	return '?';
}

/* Thread after thread, until one can be stopped; those that sleep deeply too?
 */
static int try_each(pid_t pid, uint64_t at, bool deep, uint64_t deadline_ns,
		    struct inject_result *result)
{
	const struct dirent *entry;
	char path[64];
	int ret = fail(result, -ESRCH, "it has ended");
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks && errno == ENOENT)
		return ret;
	if (!tasks)
		return fail(result, -errno, "its threads cannot be listed");
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours alone */
	while ((entry = readdir(tasks))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
		char state = state_of(pid, tid);

		if (!state || strchr("ZXx", state))
			continue;
		if (state == 'D' && !deep) {
			ret = fail(result, -ETIMEDOUT,
				   "no thread of it can be stopped");
			continue;
		}
		memset(result, 0, sizeof(*result));
		ret = run_helper(tid, at, result);
		/* It was on its way out, which others need not be; or stuck. */
		if (ret == -ESRCH)
			ret = fail(result, -ETIMEDOUT,
				   "no thread of it can be stopped");
		if (ret != -ETIMEDOUT || tide_now_ns() >= deadline_ns)
			break;
	}
	closedir(tasks);
	return ret;
}

static int try_threads(pid_t pid, uint64_t at, struct inject_result *result)
{
	uint64_t deadline_ns = tide_now_ns() + TRY_NS;
	struct timespec pause = { 0, TRY_PAUSE_NS };
	bool deep = false;

	for (;;) {
		int ret = try_each(pid, at, deep, deadline_ns, result);

		if (ret != -ETIMEDOUT || tide_now_ns() >= deadline_ns)
			return ret;
		nanosleep(&pause, NULL);
		deep = true; /* it may end while we wait for it */
	}
}

int inject_userfaultfd(pid_t pid, pid_t live, struct inject_result *ret)
{
	uint64_t at = 0;
	int err;

	memset(ret, 0, sizeof(*ret));
	err = inject_find_instruction(live, &at);
	if (err == -ESTALE)
		return fail(ret, err,
			    "it has no instruction for a system call");
	if (err == -ESRCH)
		return fail(ret, err, "it has ended");
	if (err)
		return fail(ret, err, "its memory cannot be read");
	return try_threads(pid, at, ret);
}
