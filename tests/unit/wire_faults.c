/* SPDX-License-Identifier: MIT */
/* wire_faults.c - a socket that does what sockets may do, on demand */
#undef NDEBUG
#include "wire_faults.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define CALL_BYTES_MAX (1u << 20)

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
int __real_ppoll(struct pollfd *fds, nfds_t count,
		 const struct timespec *timeout, const sigset_t *mask);
int __wrap_ppoll(struct pollfd *fds, nfds_t count,
		 const struct timespec *timeout, const sigset_t *mask);
int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);

static _Thread_local struct wire_faults *own;
static _Thread_local uint8_t buffer[CALL_BYTES_MAX];

struct wire_faults wire_faults_none(void)
{
	return (struct wire_faults){
		.cut_at = WIRE_NEVER,
		.flip_at = WIRE_NEVER,
	};
}

void wire_faults_use(struct wire_faults *faults)
{
	own = faults;
}

static size_t gather(const struct msghdr *message, size_t limit)
{
	size_t nbytes = 0;

	for (size_t i = 0; i < message->msg_iovlen && nbytes < limit; i++) {
		size_t more = message->msg_iov[i].iov_len;

		if (more > limit - nbytes)
			more = limit - nbytes;
		if (more)
			memcpy(buffer + nbytes, message->msg_iov[i].iov_base,
			       more);
		nbytes += more;
	}
	return nbytes;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	if (!own)
		return __real_sendmsg(fd, message, flags);
	if (own->hook)
		own->hook(own->opaque);
	if (own->interrupt && own->calls++ % 2) {
		errno = EINTR;
		return -1;
	}
	if (own->sent >= own->cut_at) {
		(void)shutdown(fd, SHUT_RDWR);
		errno = EPIPE;
		return -1;
	}

	size_t limit = own->short_max ? own->short_max : CALL_BYTES_MAX;

	if (limit > own->cut_at - own->sent)
		limit = (size_t)(own->cut_at - own->sent);

	size_t nbytes = gather(message, limit);

	if (own->flip_at >= own->sent && own->flip_at - own->sent < nbytes)
		buffer[own->flip_at - own->sent] ^= own->flip_mask;

	ssize_t sent = send(fd, buffer, nbytes, flags);

	if (sent > 0) {
		own->sent += (uint64_t)sent;
		own->now_ns += (uint64_t)sent * own->ns_per_kib / 1024;
	}
	return sent;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	if (!own)
		return __real_recvmsg(fd, message, flags);
	if (own->interrupt && own->calls++ % 2) {
		errno = EINTR;
		return -1;
	}
	if (!own->short_max)
		return __real_recvmsg(fd, message, flags);

	size_t nbytes = message->msg_iov[0].iov_len;

	if (nbytes > own->short_max)
		nbytes = own->short_max;
	return recv(fd, message->msg_iov[0].iov_base, nbytes, flags);
}

int __wrap_ppoll(struct pollfd *fds, nfds_t count,
		 const struct timespec *timeout, const sigset_t *mask)
{
	struct timespec moment = { .tv_nsec = 100000 };

	if (!own)
		return __real_ppoll(fds, count, timeout, mask);
	if (own->interrupt && own->calls++ % 2) {
		errno = EINTR;
		return -1;
	}
	if (!own->clock)
		return __real_ppoll(fds, count, timeout, mask);

	int ready = __real_ppoll(fds, count, &moment, mask);

	if (!ready && !(fds[0].events & POLLOUT)) {
		/* Nobody to wait for: the time is over at once. */
		own->now_ns += (uint64_t)timeout->tv_nsec;
		own->waited_ns += (uint64_t)timeout->tv_nsec;
	}
	return ready;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
	if (!own || !own->clock)
		return __real_clock_gettime(clock, ret);
	ret->tv_sec = (time_t)(own->now_ns / 1000000000u);
	ret->tv_nsec = (long)(own->now_ns % 1000000000u);
	return 0;
}
