/* SPDX-License-Identifier: MIT */
/* address.c - connect or listen: unix:PATH, tcp:HOST:PORT or fd:N */
#include "address.h"

#include "tool.h"
#include "units.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define CONNECT_SECONDS 10

static int unix_address(const char *path, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (path[0] == '\0')
		return tool_error("unix: the path is missing");
	if (strlen(path) >= sizeof(ret->sun_path))
		return tool_error("unix:%s: use a path below %zu bytes", path,
				  sizeof(ret->sun_path));
	memcpy(ret->sun_path, path, strlen(path) + 1);
	return -1;
}

/* A number that is too large would be cut to another port, in silence. */
static int is_port(const char *text)
{
	size_t length = strlen(text);

	if (isalpha((unsigned char)text[0]))
		return 1; /* a service's name, perhaps */
	return length <= 5 && strspn(text, "0123456789") == length &&
	       strtoul(text, NULL, 10) <= UINT16_MAX;
}

/* "HOST:PORT" or "[HOST]:PORT" to a list of addresses.  @shown: how it was
 * given, with what is in front of it. */
static int tcp_addresses(const char *shown, const char *text, int flags,
			 struct addrinfo **ret)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC,
					.ai_socktype = SOCK_STREAM,
					.ai_flags = flags };
	const char *colon = strrchr(text, ':');
	const char *host = text;
	size_t length;
	char name[256];
	int err;

	if (!colon || colon[1] == '\0')
		return tool_error("%s: write %.*sHOST:PORT", shown,
				  (int)(text - shown), shown);
	if (!is_port(colon + 1))
		return tool_error("%s: a port is a number from 0 to 65535",
				  shown);
	length = (size_t)(colon - text);
	if (length >= 2 && text[0] == '[' && colon[-1] == ']') {
		host++;
		length -= 2;
	}
	if (length >= sizeof(name))
		return tool_error("%s: the host name is too long", shown);
	memcpy(name, host, length);
	name[length] = '\0';

	err = getaddrinfo(length ? name : NULL, colon + 1, &hints, ret);
	if (err)
		return tool_error("%s: %s", shown, gai_strerror(err));
	return -1;
}

static int given_fd(const char *text, int *ret_fd)
{
	uint64_t number;
	int type;
	socklen_t length = sizeof(type);

	if (units_parse_count(text, &number) || number > INT32_MAX)
		return tool_error("fd:%s: not a descriptor number", text);
	if (getsockopt((int)number, SOL_SOCKET, SO_TYPE, &type, &length) != 0)
		return tool_error("fd:%s: %s: hand in a connected socket", text,
				  strerror(errno));
	*ret_fd = (int)number;
	(void)fcntl(*ret_fd, F_SETFD, FD_CLOEXEC); /* only our children see */
	return -1;
}

/* Connect within CONNECT_SECONDS.  Return: 0 or a negative errno. */
static int connect_soon(int fd, const struct sockaddr *address, socklen_t size)
{
	const struct timeval limit = { .tv_sec = CONNECT_SECONDS };
	const struct timeval none = { 0 };

	/* Linux obeys the send time-out in connect, too. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, address, size) != 0)
		return errno == EINPROGRESS ? -ETIMEDOUT : -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
	return 0;
}

static int unix_connect(const char *text, const char *path, int *ret_fd)
{
	struct sockaddr_un address;
	int status = unix_address(path, &address);
	int err;
	int fd;

	if (status >= 0)
		return status;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return tool_error("%s: %s", text, strerror(errno));
	err = connect_soon(fd, (const struct sockaddr *)&address,
			   sizeof(address));
	if (err) {
		close(fd);
		return tool_error("%s: %s: is anybody listening there?", text,
				  strerror(-err));
	}
	*ret_fd = fd;
	return -1;
}

static void no_delay(int fd)
{
	const int on = 1;

	/* Only speed is at stake. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static int tcp_connect(const char *text, int *ret_fd)
{
	struct addrinfo *list = NULL;
	int err = -EHOSTUNREACH;
	int status = tcp_addresses(text, text + 4, 0, &list);

	if (status >= 0)
		return status;
	for (struct addrinfo *a = list; a && err; a = a->ai_next) {
		int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC,
				a->ai_protocol);

		if (fd < 0) {
			err = -errno;
			continue;
		}
		err = connect_soon(fd, a->ai_addr, a->ai_addrlen);
		if (err) {
			close(fd);
			continue;
		}
		no_delay(fd);
		*ret_fd = fd;
	}
	freeaddrinfo(list);
	if (err)
		return tool_error("%s: %s: is anybody listening there?", text,
				  strerror(-err));
	return -1;
}

static int bad_address(const char *text)
{
	return tool_error("'%s': write unix:PATH, tcp:HOST:PORT or fd:N", text);
}

int address_connect(const char *text, int *ret_fd)
{
	if (strncmp(text, "unix:", 5) == 0)
		return unix_connect(text, text + 5, ret_fd);
	if (strncmp(text, "tcp:", 4) == 0)
		return tcp_connect(text, ret_fd);
	if (strncmp(text, "fd:", 3) == 0)
		return given_fd(text + 3, ret_fd);
	return bad_address(text);
}

/* Is somebody listening at this path, or is it only a left-over name? */
static int is_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int refused;

	if (fd < 0)
		return 0;
	refused = connect(fd, (const struct sockaddr *)address,
			  sizeof(*address)) != 0 &&
		  errno == ECONNREFUSED;
	close(fd);
	return refused;
}

static int unix_bind(int fd, const struct sockaddr_un *address)
{
	const struct sockaddr *generic = (const struct sockaddr *)address;

	if (bind(fd, generic, sizeof(*address)) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -1;
	if (!is_stale(address)) {
		errno = EADDRINUSE; /* is_stale() may have changed it */
		return -1;
	}
	if (unlink(address->sun_path) != 0)
		return -1;
	return bind(fd, generic, sizeof(*address));
}

static int unix_listen(const char *text, struct listener *ret)
{
	struct sockaddr_un address;
	int status = unix_address(text + 5, &address);
	int fd;

	if (status >= 0)
		return status;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return tool_error("%s: %s", text, strerror(errno));
	if (unix_bind(fd, &address) != 0) {
		status = tool_error("%s: %s: use another path", text,
				    strerror(errno));
		close(fd);
		return status;
	}
	memcpy(ret->path, address.sun_path, sizeof(ret->path));
	ret->fd = fd;
	if (listen(fd, 8) == 0)
		return -1;
	status = tool_error("%s: %s", text, strerror(errno));
	address_unlisten(ret);
	return status;
}

/* The first of its addresses that this host has; if that one is in use, the
 * next would be another place than the one that was meant. */
static int tcp_listen(const char *shown, const char *text, struct listener *ret)
{
	const int on = 1;
	struct addrinfo *list = NULL;
	int status = tcp_addresses(shown, text, AI_PASSIVE, &list);
	int err = EADDRNOTAVAIL;

	if (status >= 0)
		return status;
	for (struct addrinfo *a = list; a && ret->fd < 0 && err != EADDRINUSE;
	     a = a->ai_next) {
		int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC,
				a->ai_protocol);

		if (fd < 0) {
			err = errno;
			continue;
		}
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on,
				 sizeof(on)); /* spares a wait at most */
		if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 &&
		    listen(fd, 8) == 0) {
			ret->fd = fd;
			continue;
		}
		err = errno;
		close(fd);
	}
	freeaddrinfo(list);
	if (ret->fd < 0)
		return tool_error("%s: %s: use another address", shown,
				  strerror(err));
	return -1;
}

int address_listen_tcp(const char *text, struct listener *ret)
{
	*ret = (struct listener){ .fd = -1 };
	return tcp_listen(text, text, ret);
}

int address_listen(const char *text, struct listener *ret)
{
	*ret = (struct listener){ .fd = -1 };
	if (strncmp(text, "unix:", 5) == 0)
		return unix_listen(text, ret);
	if (strncmp(text, "tcp:", 4) == 0)
		return tcp_listen(text, text + 4, ret);
	if (strncmp(text, "fd:", 3) == 0) {
		ret->connected = 1;
		return given_fd(text + 3, &ret->fd);
	}
	return bad_address(text);
}

int address_accept(struct listener *listener, int *ret_fd)
{
	int fd;

	if (listener->connected) {
		*ret_fd = listener->fd;
		listener->fd = -1; /* once only */
		return -1;
	}
	fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return tool_error("accept: %s", strerror(errno));
	no_delay(fd);
	*ret_fd = fd;
	return -1;
}

void address_unlisten(struct listener *listener)
{
	if (listener->fd >= 0)
		close(listener->fd);
	if (listener->path[0] != '\0')
		(void)unlink(listener->path); /* somebody may have done it */
	listener->fd = -1;
	listener->path[0] = '\0';
}
