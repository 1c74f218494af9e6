/* SPDX-License-Identifier: MIT */
/* cmd_watch.c - tidemark watch: what a running process writes */
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmdline.h"
#include "interrupt.h"
#include "sample.h"
#include "screen_output.h"
#include "screen_term.h"
#include "tool.h"
#include "watch_view.h"

#define WINDOW 10u /* intervals */
#define VIEWS_MAX 2u
#define NS_PER_S 1000000000ull

struct watch_args {
	uint64_t pid, interval_ns, time_ns;
	const char *prometheus;
	int json, follow_children;
};

struct watch {
	struct watch_args args;
	struct sampler *sampler;
	struct view *views[VIEWS_MAX];
	uint32_t nviews;
	int listen_fd;	    /* for the server, until it has it; -1: none */
	bool screen;	    /* one of them is the terminal's */
	int command_output; /* what the command writes meanwhile; or -1 */
};

/* Until the interval is over, or @forever; those who want to be told are.
 * Return: -1, or an exit status. */
static int wait_for_it(struct watch *watch, bool forever)
{
	while (!interrupt_pending()) {
		struct pollfd fds[VIEWS_MAX + 1] = {
			{ .fd = interrupt_fd(), .events = POLLIN },
		};
		uint64_t now_ns = tool_now_ns();
		uint64_t due_ns =
			forever ? UINT64_MAX : sampler_due_ns(watch->sampler);
		struct timespec left;

		if (now_ns >= due_ns)
			break;
		left.tv_sec = (time_t)((due_ns - now_ns) / NS_PER_S);
		left.tv_nsec = (long)((due_ns - now_ns) % NS_PER_S);
		for (uint32_t i = 0; i < watch->nviews; i++)
			fds[i + 1] = watch->views[i]->poll;
		if (ppoll(fds, watch->nviews + 1, &left, NULL) <= 0)
			continue;
		for (uint32_t i = 0; i < watch->nviews; i++) {
			struct view *view = watch->views[i];
			int status =
				fds[i + 1].revents ? view->ready(view) : -1;

			if (status >= 0)
				return status;
		}
	}
	return -1;
}

static int show(struct watch *watch, const struct sample *sample)
{
	for (uint32_t i = 0; i < watch->nviews; i++) {
		struct view *view = watch->views[i];
		int status = view->show(view, sample);

		if (status < 0 && view->ready)
			status = view->ready(view);
		if (status >= 0)
			return status;
	}
	return -1;
}

/* The process has ended; who wants to look at that for longer? */
static int stay(struct watch *watch)
{
	bool stays = false;
	int status = -1;

	for (uint32_t i = 0; i < watch->nviews; i++) {
		struct view *view = watch->views[i];

		stays |= view->ended && view->ended(view);
	}
	if (stays)
		status = wait_for_it(watch, true);
	return status < 0 ? TOOL_OK : status;
}

static int run(struct watch *watch)
{
	while (!sampler_is_over(watch->sampler)) {
		struct sample sample;
		int status = wait_for_it(watch, false);
		int ret;

		if (status >= 0)
			return status;
		if (interrupt_pending())
			break;
		ret = sampler_look(watch->sampler, &sample);
		if (ret <= 0)
			return ret ? TOOL_HOST : stay(watch);
		status = show(watch, &sample);
		if (status >= 0)
			return status;
	}
	return TOOL_OK;
}

/* The server before the screen: it says where it is. */
static int open_server(struct watch *watch, const struct watch_info *info)
{
	int fd = watch->listen_fd;
	int status;

	watch->listen_fd = -1;
	status = view_server_open(info, watch->args.prometheus, fd,
				  &watch->views[watch->nviews]);
	if (status < 0)
		watch->nviews++;
	return status;
}

static int open_views(struct watch *watch, char **command)
{
	struct sample first;
	struct watch_info info = {
		.sampler = watch->sampler,
		.command = command,
		.command_output = watch->command_output,
		.interval_ns = watch->args.interval_ns,
		.window = WINDOW,
		.first = &first,
	};
	struct view **view;
	int status = sampler_first(watch->sampler, &first);

	if (status < 0 && watch->listen_fd >= 0)
		status = open_server(watch, &info);
	if (status >= 0)
		return status;
	view = &watch->views[watch->nviews];
	if (watch->screen)
		status = view_screen_open(&info, view);
	else if (watch->args.json)
		status = view_json_open(&info, view);
	else
		status = view_lines_open(&info, view);
	if (status < 0)
		watch->nviews++;
	return status;
}

/* On a terminal, unless it asks for something else.
 * Return: -1, or an exit status. */
static int prepare_screen(struct watch *watch, char **command)
{
	int status;

	watch->screen = !watch->args.json && isatty(STDOUT_FILENO);
	if (!watch->screen)
		return -1;
	status = term_check();
	if (status >= 0 || !command)
		return status;
	watch->command_output = output_open();
	return watch->command_output < 0 ? TOOL_HOST : -1;
}

static int watch_it(struct watch *watch, char **command)
{
	const struct sampler_config config = {
		.pid = (pid_t)watch->args.pid,
		.command = command,
		.command_output = watch->command_output,
		.interval_ns = watch->args.interval_ns,
		.time_ns = watch->args.time_ns,
		.window = WINDOW,
		.follow_children = watch->args.follow_children,
	};
	int status = -1;

	/* First: a port in use is no reason to touch the process. */
	if (watch->args.prometheus)
		status = view_server_listen(watch->args.prometheus,
					    &watch->listen_fd);
	if (status < 0)
		status = sampler_open(&config, &watch->sampler);
	if (status < 0)
		status = open_views(watch, command);
	if (status < 0)
		status = run(watch);
	for (uint32_t i = 0; i < watch->nviews; i++)
		watch->views[i]->close(watch->views[i]);
	sampler_close(watch->sampler);
	if (watch->listen_fd >= 0)
		(void)close(watch->listen_fd);
	/* With its last words. */
	output_print(watch->command_output);
	return status;
}

int cmd_watch(int argc, char **argv)
{
	struct watch watch = {
		.args = { .interval_ns = NS_PER_S },
		.listen_fd = -1,
		.command_output = -1,
	};
	struct watch_args *args = &watch.args;
	const struct option_spec specs[] = {
		{ "pid", OPTION_COUNT, &args->pid, "PID",
		  "the process; or a command after --", 1, INT32_MAX },
		{ "interval", OPTION_TIME_MS, &args->interval_ns, "TIME",
		  "between two looks (1s)", SAMPLE_INTERVAL_NS_MIN, 0 },
		{ "for", OPTION_TIME_MS, &args->time_ns, "TIME",
		  "how long (until it ends, or Ctrl-C)", 1, 0 },
		{ "follow-children", OPTION_FLAG, &args->follow_children, NULL,
		  "and the processes that it forks", 0, 0 },
		{ "json", OPTION_FLAG, &args->json, NULL,
		  "an object an interval, one a line", 0, 0 },
		{ "prometheus", OPTION_TEXT, &args->prometheus, "ADDR:PORT",
		  "serve metrics, and a live page in a browser", 0, 0 },
		{ 0 },
	};
	const struct options options = {
		.usage = "watch -p PID [OPTION]... | "
			 "watch [OPTION]... -- COMMAND [ARGUMENT]...",
		.summary = "See which memory a running process writes.",
		.specs = specs,
		.letters = "p",
		.operands_max = UINT16_MAX,
	};
	char **command;
	int first;
	int status = options_parse(&options, argc, argv, &first);

	if (status >= 0)
		return status;
	if (!args->pid == (first == argc))
		return tool_error("which process? -p PID, or -- COMMAND");
	command = first < argc ? argv + first : NULL;
	status = prepare_screen(&watch, command);
	if (status < 0)
		status = interrupt_start();
	if (status < 0)
		status = watch_it(&watch, command);
	return status;
}
