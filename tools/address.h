/* SPDX-License-Identifier: MIT */
/*
 * address.h - where to connect or listen: unix:PATH, tcp:HOST:PORT or fd:N
 *
 * fd:N is a connected stream socket that was handed in; listening on it
 * means using it at once.  HOST may be an IPv6 address in brackets.
 */
#ifndef ADDRESS_H
#define ADDRESS_H

#include <sys/un.h>

struct listener {
	int fd;
	int connected; /* fd:N: there is nothing to accept */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* to unlink */
};

/* Return: -1 with *ret_fd open, else the exit status (one line printed). */
int address_connect(const char *text, int *ret_fd);

/* A unix path that a dead process left behind is taken over.  Same return. */
int address_listen(const char *text, struct listener *ret);

/* HOST:PORT, without tcp: in front.  Port 0: the kernel chooses one.  Same
 * return. */
int address_listen_tcp(const char *text, struct listener *ret);

/* The next connection.  Return: -1 with *ret_fd, else the exit status. */
int address_accept(struct listener *listener, int *ret_fd);

/* Close and unlink. */
void address_unlisten(struct listener *listener);

#endif
