/* SPDX-License-Identifier: MIT */
/*
 * server_http.c - a few pages over HTTP, in the caller's own loop
 *
 * Theory of operation
 * -------------------
 * libmicrohttpd reads and writes; what it waits for is in an epoll descriptor
 * of its own.  That one and a timer are in ours, which the caller polls, so
 * that it needs to know nothing about when.
 *
 * Nobody is trusted.  A request has REQUEST_NS, from the connection or from the
 * last answer on it until it is answered and has been read; then the connection
 * is shut, however slowly bytes still come.  Beyond CONNECTIONS_WANTED the
 * oldest has to go for a new one, so that those who only hold connections keep
 * nobody out.  What a request may be long is bounded by MEMORY.  What one
 * http_run() does is bounded by RUN_NS, after which pages that have to be made
 * are put off until the next one, and by SEND_BUFFER, all that is sent at once.
 *
 * A page that waits is a connection that libmicrohttpd has put aside.  It does
 * not see its end then; it is asked again after HTTP_WAIT_NS at the latest.
 *
 * Invariants
 *   I1  connection->waiting is not NULL if and only if it is put aside
 */
#include "server_http.h"

#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "server_host.h"
#include "tool.h"
#include "units.h"

#define NS_PER_S 1000000000ull
#define REQUEST_NS (HTTP_WAIT_NS + 5 * NS_PER_S)
#define CONNECTIONS_WANTED 48u
#define CONNECTIONS_MAX 64u
#define MEMORY ((size_t)16 << 10)
#define SWEEP_MS 1000u
#define RUN_NS 2000000u
#define SEND_BUFFER (64 << 10)

struct connection {
	int fd; /* -1: free */
	int shut;
	uint64_t since_ns; /* it was made, or its last answer was read */
	struct MHD_Connection *waiting;
	uint64_t waiting_since_ns;
	int asked;   /* and all of the answer has not been sent */
	int waited;  /* the page of this request has made it wait once */
	int put_off; /* it waits for the next run only */
};

struct http {
	struct MHD_Daemon *daemon;
	const char *name;
	const struct http_page *pages;
	void *context;
	int epoll_fd, timer_fd;
	unsigned int nwaiting, nput_off; /* the former without the latter */
	uint64_t run_until_ns;
	struct connection connections[CONNECTIONS_MAX];
};

struct http_request {
	struct MHD_Connection *connection;
	int may_wait;
};

/* The page itself has a policy for what it loads; these cannot be in it. */
static const char *const headers[][2] = {
	{ "Content-Security-Policy",
	  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'" },
	{ "X-Content-Type-Options", "nosniff" },
	{ "Cross-Origin-Resource-Policy", "same-origin" },
	{ "Referrer-Policy", "no-referrer" },
	{ "Cache-Control", "no-store" },
};

/* ---- connections ---- */

static void resume(struct http *http, struct connection *connection)
{
	struct MHD_Connection *waiting = connection->waiting;

	if (!waiting)
		return;
	connection->waiting = NULL;
	if (connection->put_off)
		http->nput_off--;
	else
		http->nwaiting--;
	connection->put_off = 0;
	MHD_resume_connection(waiting);
}

/* libmicrohttpd sees the end, and closes it. */
static void shut(struct http *http, struct connection *connection)
{
	connection->shut = 1;
	(void)shutdown(connection->fd, SHUT_RDWR); /* may be gone already */
	resume(http, connection);
}

/* Does @a have to go before @b?  Those who wait for us are the last to go. */
static int goes_before(const struct connection *a, const struct connection *b)
{
	if (!a->waiting != !b->waiting)
		return !a->waiting;
	return a->since_ns < b->since_ns;
}

/* For a new one. */
static void shut_oldest(struct http *http)
{
	struct connection *oldest = NULL;

	for (unsigned int i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *other = &http->connections[i];

		if (other->fd >= 0 && !other->shut &&
		    (!oldest || goes_before(other, oldest)))
			oldest = other;
	}
	if (oldest)
		shut(http, oldest);
}

static void sweep(struct http *http)
{
	uint64_t now_ns = tool_now_ns();

	for (unsigned int i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *connection = &http->connections[i];

		if (connection->fd < 0 || connection->shut)
			continue;
		if (connection->waiting &&
		    now_ns - connection->waiting_since_ns > HTTP_WAIT_NS)
			resume(http, connection);
		else if (!connection->waiting &&
			 now_ns - connection->since_ns > REQUEST_NS)
			shut(http, connection);
	}
}

static struct connection *started(struct http *http, int fd)
{
	struct connection *connection = NULL;
	unsigned int count = 0;

	for (unsigned int i = 0; i < CONNECTIONS_MAX; i++) {
		if (http->connections[i].fd < 0)
			connection = &http->connections[i];
		else
			count += !http->connections[i].shut;
	}
	assert(connection); /* libmicrohttpd makes no more of them */
	if (count >= CONNECTIONS_WANTED)
		shut_oldest(http);
	*connection =
		(struct connection){ .fd = fd, .since_ns = tool_now_ns() };
	return connection;
}

static void notify_connection(void *context, struct MHD_Connection *made,
			      void **ret_connection,
			      enum MHD_ConnectionNotificationCode what)
{
	struct http *http = context;
	struct connection *connection = *ret_connection;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		const union MHD_ConnectionInfo *info = MHD_get_connection_info(
			made, MHD_CONNECTION_INFO_CONNECTION_FD);

		*ret_connection = started(http, info->connect_fd);
	} else if (connection) {
		assert(!connection->waiting); /* I1 */
		connection->fd = -1;
	}
}

static struct connection *connection_of(struct MHD_Connection *connection)
{
	return MHD_get_connection_info(connection,
				       MHD_CONNECTION_INFO_SOCKET_CONTEXT)
		->socket_context;
}

static void notify_completed(void *context, struct MHD_Connection *connection,
			     void **request,
			     enum MHD_RequestTerminationCode how)
{
	(void)context;
	(void)request;
	(void)how;
	connection_of(connection)->since_ns = tool_now_ns();
	connection_of(connection)->waited = 0;
	connection_of(connection)->asked = 0;
}

/* ---- answers ---- */

static enum MHD_Result answer(struct MHD_Connection *connection,
			      unsigned int status, const char *type,
			      struct MHD_Response *response)
{
	enum MHD_Result result = MHD_NO;

	if (!response)
		return MHD_NO; /* the connection is closed */
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
		(void)MHD_add_response_header(response, headers[i][0],
					      headers[i][1]);
	if (MHD_add_response_header(response, "Content-Type", type) == MHD_YES)
		result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response); /* it is counted */
	return result;
}

/* @allow: what else could have been asked; may be NULL */
static enum MHD_Result refuse(struct MHD_Connection *connection,
			      unsigned int status, const char *why,
			      const char *allow)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		strlen(why), (void *)(uintptr_t)why, MHD_RESPMEM_PERSISTENT);

	if (response && allow)
		(void)MHD_add_response_header(response, "Allow", allow);
	/* There may be a body that we do not want to read. */
	if (response)
		(void)MHD_add_response_header(response, "Connection", "close");
	return answer(connection, status, "text/plain; charset=utf-8",
		      response);
}

/* Until http_wake() or, @put_off, until the next run. */
static enum MHD_Result put_aside(struct http *http,
				 struct MHD_Connection *connection, int put_off)
{
	struct connection *ours = connection_of(connection);

	ours->waiting = connection;
	ours->waiting_since_ns = tool_now_ns();
	ours->put_off = put_off;
	if (put_off) {
		http->nput_off++;
	} else {
		http->nwaiting++;
		ours->waited = 1;
	}
	MHD_suspend_connection(connection);
	return MHD_YES;
}

static enum MHD_Result give(struct http *http, const struct http_page *page,
			    struct MHD_Connection *connection, int is_get)
{
	const struct http_request request = {
		.connection = connection,
		.may_wait = is_get && !connection_of(connection)->waited,
	};
	struct text text = { 0 };

	if (page->size)
		return answer(connection, MHD_HTTP_OK, page->type,
			      MHD_create_response_from_buffer(
				      page->size, (void *)(uintptr_t)page->text,
				      MHD_RESPMEM_PERSISTENT));
	if (tool_now_ns() > http->run_until_ns)
		return put_aside(http, connection, 1);
	if (page->make(http->context, &request, &text) == HTTP_WAIT) {
		text_free(&text);
		return put_aside(http, connection, 0);
	}
	if (text.failed) {
		text_free(&text);
		return refuse(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
			      "no memory\n", NULL);
	}
	return answer(connection, MHD_HTTP_OK, page->type,
		      MHD_create_response_from_buffer(text.size, text.data,
						      MHD_RESPMEM_MUST_FREE));
}

static const char *header(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/* What is refused is refused before a body is read. */
static enum MHD_Result
check(struct http *http, struct MHD_Connection *connection, const char *method)
{
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
			      "GET or HEAD\n", "GET, HEAD");
	if (header(connection, "Content-Length") ||
	    header(connection, "Transfer-Encoding"))
		return refuse(connection, MHD_HTTP_BAD_REQUEST,
			      "a request has no body here\n", NULL);
	if (!server_host_is_ours(header(connection, "Host"), http->name))
		return refuse(connection, MHD_HTTP_MISDIRECTED_REQUEST,
			      "Ask by an address, localhost, the host's name, "
			      "or the name given to --prometheus.\n",
			      NULL);
	return MHD_YES;
}

/* Called when the headers are there, when all of the request is there, and
 * after each wait.  @asked: NULL the first time. */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection,
			      const char *path, const char *method,
			      const char *version, const char *data,
			      size_t *size, void **asked)
{
	struct http *http = context;

	(void)version;
	(void)data;
	(void)size;
	if (!*asked) {
		*asked = http;
		connection_of(connection)->asked = 1;
		return check(http, connection, method);
	}
	for (const struct http_page *page = http->pages; page->path; page++) {
		if (strcmp(path, page->path) == 0)
			return give(http, page, connection,
				    strcmp(method, "GET") == 0);
	}
	return refuse(connection, MHD_HTTP_NOT_FOUND,
		      "/ is the page, and /metrics is for Prometheus\n", NULL);
}

uint64_t http_argument(const struct http_request *request, const char *name)
{
	const char *text = MHD_lookup_connection_value(
		request->connection, MHD_GET_ARGUMENT_KIND, name);
	uint64_t number;

	return text && units_parse_count(text, &number) == 0 ? number : 0;
}

int http_may_wait(const struct http_request *request)
{
	return request->may_wait;
}

/* ---- the loop ---- */

/* When http_run() has to be called though nothing is ready. */
static void set_timer(struct http *http)
{
	MHD_UNSIGNED_LONG_LONG ms = SWEEP_MS;
	struct itimerspec when = { 0 };
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(
		http->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

	if (info->num_connections > 0) {
		/* Bytes that it has read, and not looked at: at once. */
		if (MHD_get_timeout(http->daemon, &ms) != MHD_YES ||
		    ms > SWEEP_MS)
			ms = SWEEP_MS;
		if (http->nput_off)
			ms = 0;
		when.it_value.tv_sec = (time_t)(ms / 1000);
		when.it_value.tv_nsec = (long)(ms % 1000) * 1000000 + 1;
	}
	(void)timerfd_settime(http->timer_fd, 0, &when, NULL);
}

int http_fd(const struct http *http)
{
	return http->epoll_fd;
}

unsigned int http_waiting(const struct http *http)
{
	return http->nwaiting;
}

unsigned int http_answering(const struct http *http)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < CONNECTIONS_MAX; i++) {
		const struct connection *connection = &http->connections[i];

		count += connection->fd >= 0 && !connection->shut &&
			 connection->asked;
	}
	return count - http->nwaiting;
}

void http_run(struct http *http)
{
	sweep(http);
	for (unsigned int i = 0; http->nput_off && i < CONNECTIONS_MAX; i++) {
		if (http->connections[i].put_off)
			resume(http, &http->connections[i]);
	}
	http->run_until_ns = tool_now_ns() + RUN_NS;
	(void)MHD_run(http->daemon); /* that it was started for this */
	set_timer(http);
}

void http_wake(struct http *http)
{
	for (unsigned int i = 0; i < CONNECTIONS_MAX; i++) {
		if (http->connections[i].fd >= 0)
			resume(http, &http->connections[i]);
	}
	set_timer(http);
}

static int watch_fd(struct http *http, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int start(struct http *http, int listen_fd)
{
	const int buffer = SEND_BUFFER;

	/* Connections that are accepted have the same.  If it cannot be set,
	 * more is sent at once. */
	(void)setsockopt(listen_fd, SOL_SOCKET, SO_SNDBUF, &buffer,
			 sizeof(buffer));
	/* Memory is the most likely reason, and it tells none. */
	errno = ENOMEM;
	http->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, handle,
		http, MHD_OPTION_LISTEN_SOCKET, listen_fd,
		MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, MEMORY,
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_CONNECTION,
		notify_connection, http, MHD_OPTION_NOTIFY_COMPLETED,
		notify_completed, http, MHD_OPTION_END);
	if (!http->daemon) {
		(void)close(listen_fd);
		return -1;
	}
	http->timer_fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (http->timer_fd < 0 || http->epoll_fd < 0 ||
	    watch_fd(http, http->timer_fd) != 0)
		return -1;
	return watch_fd(http, MHD_get_daemon_info(http->daemon,
						  MHD_DAEMON_INFO_EPOLL_FD)
				      ->epoll_fd);
}

int http_open(int listen_fd, const char *name, const struct http_page *pages,
	      void *context, struct http **ret)
{
	struct http *http = calloc(1, sizeof(*http));
	int status;

	if (!http) {
		(void)close(listen_fd);
		return tool_error("%s", strerror(ENOMEM));
	}
	http->name = name;
	http->pages = pages;
	http->context = context;
	http->epoll_fd = http->timer_fd = -1;
	for (unsigned int i = 0; i < CONNECTIONS_MAX; i++)
		http->connections[i].fd = -1;
	if (start(http, listen_fd) != 0) {
		status = tool_error("the server: %s", strerror(errno));
		http_close(http);
		return status;
	}
	*ret = http;
	return -1;
}

void http_close(struct http *http)
{
	if (!http)
		return;
	if (http->daemon) {
		http_wake(http);
		MHD_stop_daemon(http->daemon);
	}
	if (http->timer_fd >= 0)
		(void)close(http->timer_fd);
	if (http->epoll_fd >= 0)
		(void)close(http->epoll_fd);
	free(http);
}
