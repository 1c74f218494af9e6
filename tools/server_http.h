/* SPDX-License-Identifier: MIT */
/*
 * server_http.h - a few pages over HTTP, in the caller's own loop
 *
 * No thread: the caller polls http_fd() and calls http_run(), which serves
 * what is ready and never blocks.  GET and HEAD; everything else is an error
 * of the client's.
 */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include "server_text.h"

struct http; /* opaque */
struct http_request;

enum http_made {
	HTTP_MADE,
	HTTP_WAIT, /* not yet: asked again after http_wake(), and after
		    * HTTP_WAIT_NS for the last time */
};

#define HTTP_WAIT_NS 10000000000ull

struct http_page {
	const char *path; /* NULL ends a table of them */
	const char *type;
	/* That never changes; size 0: */
	const char *text;
	size_t size;
	/* makes it.  A text that failed is answered for. */
	enum http_made (*make)(void *context,
			       const struct http_request *request,
			       struct text *ret);
};

/* @listen_fd: a socket that listens; closed by http_close()
 * @name: the ADDR of ADDR:PORT, one more name that we may be asked by
 * Return: -1, or an exit status, and why has been said. */
int http_open(int listen_fd, const char *name, const struct http_page *pages,
	      void *context, struct http **ret);

/* Readable when http_run() has something to do. */
int http_fd(const struct http *http);
void http_run(struct http *http);

/* Whoever waits is asked again, at the next http_run(). */
void http_wake(struct http *http);

/* How many wait. */
unsigned int http_waiting(const struct http *http);

/* How many are being answered: not all of it has been sent. */
unsigned int http_answering(const struct http *http);

/* NULL is fine. */
void http_close(struct http *http);

/* For make: the argument @name of the query as a number; 0: there is none. */
uint64_t http_argument(const struct http_request *request, const char *name);
/* For make: it may be answered HTTP_WAIT. */
int http_may_wait(const struct http_request *request);

#endif
