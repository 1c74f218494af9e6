/* SPDX-License-Identifier: MIT */
/*
 * channel.c - bytes over a socket, with a deadline and somebody who may cancel
 *
 * Theory of operation
 * -------------------
 * Every call is tried without waiting first; only when the socket says EAGAIN
 * do we poll.  A wait is cut into slices of TIDE_TICK_NS, and after each
 * slice the deadline is compared and tick called.  EINTR and short counts are
 * ordinary: the loops go on where they were.
 *
 * Parting: a close() while unread input is queued makes TCP send a reset,
 * which may overtake the ERROR frame that was just written.  So after a
 * failure we shut down our direction, and read and throw away for a bounded
 * time until the other side has closed too.
 *
 * Synchronisation
 *   None: one thread per channel.
 */
#include "migrate/channel.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"

/* Bytes asked for in each direction of a unix socket; the kernel gives what
 * it allows.  More is slower: it does not stay in the cache, and what is
 * queued when the guest stops is downtime.  TCP sizes its own buffers. */
#define UNIX_BUFFER (512 << 10)

/* How long the other side has for noticing that we are gone. */
#define PART_NS 500000000u

static void iov_advance(struct iovec **iov, int *count, size_t nbytes)
{
	while (*count && nbytes >= (*iov)->iov_len) {
		nbytes -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (nbytes) {
		assert(*count);
		(*iov)->iov_base = (char *)(*iov)->iov_base + nbytes;
		(*iov)->iov_len -= nbytes;
	}
}

int tide_channel_init(struct tide_channel *channel, int fd,
		      uint64_t deadline_ns, int (*tick)(void *opaque),
		      void *opaque)
{
	int type = 0;
	int domain = 0;
	int buffer = UNIX_BUFFER;
	int on = 1;
	socklen_t size = sizeof(int);
	uint64_t now_ns = tide_now_ns();

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size))
		return -errno;
	if (type != SOCK_STREAM)
		return -EINVAL;
	if (domain == AF_UNIX) {
		/* The default works too, only slower. */
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, size);
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, size);
	}
	/* Frames are written whole, and the last ones of the handshake are
	 * small: held back for an acknowledgement they cost 40 ms each. */
	if (domain == AF_INET || domain == AF_INET6)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, size);
	*channel = (struct tide_channel){
		.fd = fd,
		.tick = tick,
		.opaque = opaque,
		.next_tick_ns = now_ns + TIDE_TICK_NS,
	};
	if (deadline_ns)
		channel->deadline_at_ns = now_ns + deadline_ns < now_ns
						  ? UINT64_MAX
						  : now_ns + deadline_ns;
	return 0;
}

int tide_channel_check(struct tide_channel *channel)
{
	uint64_t now_ns = tide_now_ns();

	if (channel->deadline_at_ns && now_ns >= channel->deadline_at_ns)
		return -ETIMEDOUT;
	if (now_ns < channel->next_tick_ns)
		return 0;
	channel->next_tick_ns = now_ns + TIDE_TICK_NS;
	return channel->tick(channel->opaque);
}

/* Waits for @events or the end of the slice, whichever comes first.
 * Return: what poll saw, 0 at the end of the slice; a negative errno. */
static int wait_slice(struct tide_channel *channel, short events, uint64_t ns)
{
	struct pollfd pollfd = { .fd = channel->fd, .events = events };
	uint64_t now_ns = tide_now_ns();
	int err = tide_channel_check(channel);

	if (err)
		return err;
	if (ns > TIDE_TICK_NS)
		ns = TIDE_TICK_NS;
	if (channel->deadline_at_ns && channel->deadline_at_ns > now_ns &&
	    channel->deadline_at_ns - now_ns < ns)
		ns = channel->deadline_at_ns - now_ns;

	struct timespec timeout = { .tv_nsec = (long)ns };
	int ready = ppoll(&pollfd, 1, &timeout, NULL);

	if (ready < 0)
		return errno == EINTR ? 0 : -errno;
	return ready ? pollfd.revents : 0;
}

static int write_all(struct tide_channel *channel, struct iovec *iov, int count)
{
	short events = channel->watch_input ? POLLIN | POLLOUT : POLLOUT;

	iov_advance(&iov, &count, 0);
	while (count) {
		struct msghdr message = {
			.msg_iov = iov,
			.msg_iovlen = (size_t)count,
		};
		ssize_t sent = sendmsg(channel->fd, &message,
				       MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent >= 0) {
			iov_advance(&iov, &count, (size_t)sent);
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;

		int ready = wait_slice(channel, events, TIDE_TICK_NS);

		if (ready < 0)
			return ready;
		if (channel->watch_input && (ready & POLLIN))
			return -EREMOTEIO;
	}
	return 0;
}

static int channel_write(void *opaque, struct iovec *iov, int count)
{
	struct tide_channel *channel = opaque;
	uint64_t begin_ns = tide_now_ns();
	int err = write_all(channel, iov, count);

	channel->write_ns += tide_now_ns() - begin_ns;
	return err;
}

static int channel_read(void *opaque, struct iovec *iov, int count)
{
	struct tide_channel *channel = opaque;

	iov_advance(&iov, &count, 0);
	while (count) {
		struct msghdr message = {
			.msg_iov = iov,
			.msg_iovlen = (size_t)count,
		};
		ssize_t got = recvmsg(channel->fd, &message, MSG_DONTWAIT);

		if (got > 0) {
			iov_advance(&iov, &count, (size_t)got);
			continue;
		}
		if (!got)
			return -ECONNRESET; /* the other side has closed */
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;

		int ready = wait_slice(channel, POLLIN, TIDE_TICK_NS);

		if (ready < 0)
			return ready;
	}
	return 0;
}

const struct tide_framing_ops tide_channel_ops = {
	.write = channel_write,
	.read = channel_read,
};

int tide_channel_pause(struct tide_channel *channel, uint64_t ns)
{
	uint64_t end_ns = tide_now_ns() + ns;

	for (;;) {
		uint64_t now_ns = tide_now_ns();

		if (now_ns >= end_ns)
			return 0;

		int ready =
			wait_slice(channel, channel->watch_input ? POLLIN : 0,
				   end_ns - now_ns);

		if (ready < 0)
			return ready;
		if (ready & POLLIN)
			return -EREMOTEIO;
		if (ready & (POLLHUP | POLLERR))
			return -ECONNRESET;
	}
}

bool tide_channel_has_input(const struct tide_channel *channel)
{
	char byte;

	return recv(channel->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void tide_channel_part(struct tide_channel *channel)
{
	uint64_t end_ns = tide_now_ns() + PART_NS;
	char rubbish[4096];

	/* Fails if the connection is gone, and that is all we want. */
	if (shutdown(channel->fd, SHUT_WR))
		return;
	for (uint64_t now_ns = tide_now_ns(); now_ns < end_ns;
	     now_ns = tide_now_ns()) {
		struct pollfd pollfd = { .fd = channel->fd, .events = POLLIN };
		int ms = (int)((end_ns - now_ns) / 1000000u) + 1;

		if (poll(&pollfd, 1, ms) < 0 && errno != EINTR)
			return;

		ssize_t got = recv(channel->fd, rubbish, sizeof(rubbish),
				   MSG_DONTWAIT);

		if (!got || (got < 0 && errno != EINTR && errno != EAGAIN))
			return;
	}
}
