/* SPDX-License-Identifier: MIT */
/*
 * watch_view.h - the ways in which watch shows what it sees
 *
 * One of lines, JSON and the screen, and with it the server if it is asked for.
 */
#ifndef WATCH_VIEW_H
#define WATCH_VIEW_H

#include <poll.h>
#include <stdbool.h>

#include "sample.h"

struct watch_info {
	struct sampler *sampler;
	char **command;	    /* that we have started; NULL: a process that ran */
	int command_output; /* a file that it writes to; -1: none */
	uint64_t interval_ns;
	uint32_t window;	    /* intervals */
	const struct sample *first; /* the rows as they were found */
};

struct view {
	/* An interval is over.  Return: -1, or an exit status. */
	int (*show)(struct view *view, const struct sample *sample);
	/* poll.fd is ready; called after each show, too.  May be NULL.
	 * Return: -1, or an exit status. */
	int (*ready)(struct view *view);
	/* The process has ended.  Return: true to stay until ready() says that
	 * it is enough.  May be NULL: no. */
	bool (*ended)(struct view *view);
	/* The terminal, too, is as it was. */
	void (*close)(struct view *view);
	struct pollfd poll; /* fd -1: none */
};

/* Return: -1 with *ret filled, or an exit status, and why has been said. */
int view_lines_open(const struct watch_info *info, struct view **ret);
int view_json_open(const struct watch_info *info, struct view **ret);
/* The terminal view: after term_check(), see screen_term.h. */
int view_screen_open(const struct watch_info *info, struct view **ret);
/* Listen at ADDR:PORT, before the process is touched.  Then serve there, which
 * takes over @listen_fd. */
int view_server_listen(const char *address, int *ret_fd);
int view_server_open(const struct watch_info *info, const char *address,
		     int listen_fd, struct view **ret);

#endif
