/* SPDX-License-Identifier: MIT */
/*
 * watch_server.c - watch: metrics for Prometheus, and a live page
 *
 * The page asks for what is newer than what it has (/data?since=N), and is
 * answered when there is something.  When watching is over, those who wait are
 * told before the port is closed.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"
#include "server_history.h"
#include "server_http.h"
#include "server_seen.h"
#include "tool.h"
#include "watch_view.h"
#include "web.h"

#define NS_PER_MS 1000000ull
#define BACKLOG 128
#define GOODBYE_NS (2000 * NS_PER_MS)
/* A page that has asked so long ago will ask again. */
#define PAGE_NS (2000 * NS_PER_MS)
/* Of a name in the DNS, and the null. */
#define NAME_SIZE 256

struct server {
	struct view view; /* the first, for server_of() */
	struct seen seen;
	struct history *history;
	struct http *http;
	uint64_t instance; /* tells a page that it is another server now */
	const char *over;  /* why; NULL: it goes on */
	uint64_t asked_ns; /* for data, the last time */
	unsigned int pages_to_tell, goodbyes; /* that it is over */
	struct http_page pages[4];
	char name[NAME_SIZE];
};

static struct server *server_of(struct view *view)
{
	return (struct server *)(void *)view;
}

/* ---- pages ---- */

static enum http_made make_metrics(void *context,
				   const struct http_request *request,
				   struct text *ret)
{
	const struct server *server = context;

	(void)request;
	seen_metrics(&server->seen, ret);
	return HTTP_MADE;
}

static enum http_made
make_data(void *context, const struct http_request *request, struct text *ret)
{
	struct server *server = context;
	uint64_t since = http_argument(request, "since");

	server->asked_ns = tool_now_ns();
	if (!server->over && since == history_newest(server->history) &&
	    http_argument(request, "wait") && http_may_wait(request))
		return HTTP_WAIT;
	text_addf(ret, "{\"instance\":%llu,\"over\":",
		  (unsigned long long)server->instance);
	if (server->over) {
		text_add_json(ret, server->over);
		server->goodbyes++;
	} else {
		text_add(ret, "null");
	}
	text_add(ret, ",");
	seen_json(&server->seen, ret);
	text_add(ret, ",");
	history_json(server->history, since, ret);
	text_add(ret, "}\n");
	return HTTP_MADE;
}

/* ---- the view ---- */

static int show(struct view *view, const struct sample *sample)
{
	struct server *server = server_of(view);
	int err;

	seen_add(&server->seen, sample);
	err = history_add(server->history, sample);
	if (err)
		return tool_error("the server: %s", strerror(-err));
	http_wake(server->http);
	return -1;
}

static int ready(struct view *view)
{
	http_run(server_of(view)->http);
	return -1;
}

/* Those who wait are answered by the next http_run(). */
static void tell_pages(struct server *server, const char *why)
{
	uint64_t now_ns = tool_now_ns();

	server->over = why;
	server->pages_to_tell = http_waiting(server->http);
	/* Between an answer and the next question? */
	if (!server->pages_to_tell && server->asked_ns &&
	    now_ns - server->asked_ns < PAGE_NS)
		server->pages_to_tell = 1;
	http_wake(server->http);
}

static bool ended(struct view *view)
{
	struct server *server = server_of(view);

	server->seen.up = false;
	tell_pages(server, "the process has ended");
	http_run(server->http);
	return false; /* though a screen may stay */
}

/* A page that nobody tells would say that it has lost us. */
static void say_goodbye(struct server *server)
{
	uint64_t end_ns = tool_now_ns() + GOODBYE_NS;

	if (!server->over)
		tell_pages(server, "watching has been stopped");
	if (!server->pages_to_tell)
		return;
	while (tool_now_ns() < end_ns) {
		http_run(server->http);
		if (server->goodbyes >= server->pages_to_tell &&
		    !http_answering(server->http))
			break;
		(void)poll(&server->view.poll, 1, 5);
	}
}

static void destroy(struct server *server)
{
	http_close(server->http);
	history_destroy(server->history);
	free(server);
}

static void close_view(struct view *view)
{
	say_goodbye(server_of(view));
	destroy(server_of(view));
}

/* ---- open ---- */

int view_server_listen(const char *address, int *ret_fd)
{
	struct listener listener;
	int status = address_listen_tcp(address, &listener);

	if (status >= 0)
		return status;
	/* Those who only connect keep nobody out. */
	(void)listen(listener.fd, BACKLOG);
	*ret_fd = listener.fd;
	return -1;
}

/* Which port it is, is only known now. */
static void say_where(int listen_fd)
{
	struct sockaddr_storage address = { 0 };
	socklen_t size = sizeof(address);
	char host[INET6_ADDRSTRLEN] = "", port[8] = "";
	int is_six;

	if (getsockname(listen_fd, (struct sockaddr *)&address, &size) != 0 ||
	    getnameinfo((struct sockaddr *)&address, size, host, sizeof(host),
			port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return; /* a socket that listens has an address */
	is_six = address.ss_family == AF_INET6;
	fprintf(stderr,
		"tidemark: watch: a live page on http://%s%s%s:%s/, metrics "
		"on /metrics\n",
		is_six ? "[" : "", host, is_six ? "]" : "", port);
}

/* The ADDR of ADDR:PORT, as a browser says it in Host. */
static void take_name(struct server *server, const char *address)
{
	const char *colon = strrchr(address, ':');
	size_t length = colon ? (size_t)(colon - address) : 0;

	if (length < sizeof(server->name))
		memcpy(server->name, address, length);
}

static int open_server(struct server *server, const struct watch_info *info,
		       const char *address, int listen_fd)
{
	const struct http_page pages[] = {
		{ .path = "/",
		  .type = "text/html; charset=utf-8",
		  .text = (const char *)web_live[0].text,
		  .size = web_live[0].size },
		{ .path = "/metrics",
		  .type = "text/plain; version=0.0.4; charset=utf-8",
		  .make = make_metrics },
		{ .path = "/data",
		  .type = "application/json",
		  .make = make_data },
		{ 0 },
	};
	int status;

	memcpy(server->pages, pages, sizeof(pages));
	take_name(server, address);
	server->instance = tool_now_ns();
	seen_init(&server->seen, sampler_pid(info->sampler), info->interval_ns,
		  info->first);
	server->history = history_create(info->first);
	if (!server->history) {
		(void)close(listen_fd);
		return tool_error("no memory for the server");
	}
	status = http_open(listen_fd, server->name, server->pages, server,
			   &server->http);
	if (status < 0)
		say_where(listen_fd);
	return status;
}

int view_server_open(const struct watch_info *info, const char *address,
		     int listen_fd, struct view **ret)
{
	struct server *server = calloc(1, sizeof(*server));
	int status;

	if (!server) {
		(void)close(listen_fd);
		return tool_error("no memory for the server");
	}
	status = open_server(server, info, address, listen_fd);
	if (status >= 0) {
		destroy(server);
		return status;
	}
	server->view = (struct view){
		.show = show,
		.ready = ready,
		.ended = ended,
		.close = close_view,
		.poll = { .fd = http_fd(server->http), .events = POLLIN },
	};
	*ret = &server->view;
	return -1;
}
