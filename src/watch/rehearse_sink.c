/* SPDX-License-Identifier: MIT */
/*
 * rehearse_sink.c - the records of a rehearsal, and where they go
 *
 * Theory of operation
 * -------------------
 * Records are collected and written together.  A descriptor may be anything:
 * poll first, a slice at a time, so that whoever wants to stop is heard while a
 * reader sleeps; then write as much as does not block.  A pipe that poll calls
 * writable takes PIPE_BUF bytes, and more may block.  A socket is told not to.
 *
 * A library takes no signals.  A socket is asked not to send SIGPIPE; with
 * everything else SIGPIPE and SIGXFSZ are blocked for the duration of the
 * write, and the one that it has caused is taken off this thread's list.
 */
#include "watch/rehearse_sink.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "base/xxh3.h"

#define MAGIC 0x31524d54u /* "TMR1" */
#define HEAD_TYPE 4
#define HEAD_FIRST 8
#define HEAD_COUNT 16
#define HEAD_DATA_CHECK 24
#define HEAD_CHECK 32

static void put32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

static void put64(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, sizeof(value));
}

void sink_put(struct sink *sink, enum sink_type type, uint64_t first,
	      uint64_t count, const void *data, size_t nbytes)
{
	uint8_t *head = sink->heads[sink->records];

	assert(sink->records < SINK_RECORDS_MAX);
	sink->records++;
	put32(head, MAGIC);
	put32(head + HEAD_TYPE, type);
	put64(head + HEAD_FIRST, first);
	put64(head + HEAD_COUNT, count);
	put64(head + HEAD_DATA_CHECK, XXH3_64bits(data, nbytes));
	put64(head + HEAD_CHECK, XXH3_64bits(head, HEAD_CHECK));
	sink->iov[sink->vectors++] = (struct iovec){ head, SINK_HEAD_BYTES };
	if (nbytes)
		sink->iov[sink->vectors++] = (struct iovec){
			.iov_base = (void *)(uintptr_t)data,
			.iov_len = nbytes,
		};
	sink->bytes += SINK_HEAD_BYTES + nbytes;
}

int sink_init(struct sink *sink, int fd, int (*tick)(void *opaque),
	      void *opaque)
{
	struct stat about = { 0 };

	*sink = (struct sink){ .fd = fd, .tick = tick, .opaque = opaque };
	if (fd < 0)
		return 0;
	if (fstat(fd, &about))
		return -errno;
	sink->is_socket = S_ISSOCK(about.st_mode);
	if (S_ISFIFO(about.st_mode))
		sink->write_max = PIPE_BUF;
	return 0;
}

/* Return: 0: something can be written, or it will say why not. */
static int wait_for_room(const struct sink *sink)
{
	const struct timespec slice = { .tv_nsec = SINK_WAIT_NS };

	for (;;) {
		struct pollfd pollfd = { .fd = sink->fd, .events = POLLOUT };
		int ready = ppoll(&pollfd, 1, &slice, NULL);
		int err;

		if (ready > 0)
			return 0;
		if (ready < 0 && errno != EINTR)
			return -errno;
		err = sink->tick(sink->opaque);
		if (err)
			return err;
	}
}

/* As writev, without the signals that it may send to its own thread. */
static ssize_t write_quietly(int fd, const struct iovec *iov, int count)
{
	const struct timespec now = { 0 };
	sigset_t ours, old, pending;
	ssize_t n;

	(void)sigemptyset(&ours);
	(void)sigaddset(&ours, SIGPIPE);
	(void)sigaddset(&ours, SIGXFSZ);
	(void)pthread_sigmask(SIG_BLOCK, &ours, &old);
	(void)sigpending(&pending);
	n = writev(fd, iov, count);
	if (n < 0 && (errno == EPIPE || errno == EFBIG)) {
		int err = errno;
		int number = err == EPIPE ? SIGPIPE : SIGXFSZ;

		(void)sigemptyset(&ours);
		(void)sigaddset(&ours, number);
		/* One that was there before is somebody else's. */
		if (!sigismember(&pending, number))
			(void)sigtimedwait(&ours, NULL, &now);
		errno = err;
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return n;
}

/* Return: how many bytes; 0: none at this moment; a negative errno. */
static ssize_t write_some(const struct sink *sink, struct iovec *iov,
			  uint32_t count)
{
	struct iovec little = *iov;
	ssize_t n;

	if (sink->is_socket) {
		const struct msghdr message = {
			.msg_iov = iov,
			.msg_iovlen = count,
		};

		n = sendmsg(sink->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	} else if (sink->write_max) {
		if (little.iov_len > sink->write_max)
			little.iov_len = sink->write_max;
		n = write_quietly(sink->fd, &little, 1);
	} else {
		n = write_quietly(sink->fd, iov, (int)count);
	}
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	return n ? n : -EIO;
}

int64_t sink_flush(struct sink *sink)
{
	int64_t bytes = (int64_t)sink->bytes;
	struct iovec *iov = sink->iov, *end = iov + sink->vectors;

	sink->records = sink->vectors = 0;
	sink->bytes = 0;
	while (sink->fd >= 0 && iov < end) {
		int err = wait_for_room(sink);
		ssize_t n = err ? err
				: write_some(sink, iov, (uint32_t)(end - iov));

		if (n < 0)
			return n;
		for (; iov < end && (size_t)n >= iov->iov_len; iov++)
			n -= (ssize_t)iov->iov_len;
		if (n) {
			iov->iov_base = (char *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return bytes;
}
