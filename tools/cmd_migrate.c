/* SPDX-License-Identifier: MIT */
/* cmd_migrate.c - tidemark migrate: ask a running vm to move its guest */
#include "address.h"
#include "cmdline.h"
#include "control.h"
#include "interrupt.h"
#include "progress.h"
#include "tool.h"
#include "units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct migrate_args {
	const char *control;
	const char *to;
	uint64_t downtime_ns;
	uint64_t bandwidth;
	uint64_t rounds_max;
	uint64_t deadline_ns;
	int json;
};

static int parse(struct migrate_args *args, int argc, char **argv)
{
	const struct option_spec specs[] = {
		{ "control", OPTION_TEXT, &args->control, "PATH",
		  "control socket of the vm", 0, 0 },
		{ "to", OPTION_TEXT, &args->to, "ADDRESS",
		  "unix:PATH, tcp:HOST:PORT or fd:N", 0, 0 },
		{ "downtime", OPTION_TIME_MS, &args->downtime_ns, "MS",
		  "allowed, default 300", 0, 0 },
		{ "bandwidth", OPTION_SIZE, &args->bandwidth, "RATE",
		  "bytes a second at most, such as 100M", 1, 0 },
		{ "rounds", OPTION_COUNT, &args->rounds_max, "N",
		  "then stop and send the rest, default 30", 1, 100000 },
		{ "deadline", OPTION_TIME_MS, &args->deadline_ns, "TIME",
		  "give up after this", 1, 0 },
		{ "json", OPTION_FLAG, &args->json, NULL,
		  "one object about the result", 0, 0 },
		{ 0 },
	};
	const struct options options = {
		.usage = "migrate --control PATH --to ADDRESS [OPTION]...",
		.summary = "Ask a running vm to move its guest.  Ctrl-C "
			   "cancels.",
		.specs = specs,
	};
	int first;
	int status = options_parse(&options, argc, argv, &first);

	if (status >= 0)
		return status;
	if (!args->control)
		return tool_error("--control: say which vm to move");
	if (!args->to)
		return tool_error("--to: say where to move it");
	return -1;
}

static json_t *to_request(const struct migrate_args *args)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "command", "migrate",
			 "to", args->to, "downtime_ns",
			 (json_int_t)args->downtime_ns, "bandwidth",
			 (json_int_t)args->bandwidth, "rounds_max",
			 (json_int_t)args->rounds_max, "deadline_ns",
			 (json_int_t)args->deadline_ns);
}

static void show(struct progress *progress, const json_t *event)
{
	progress_transfer(progress, control_number(event, "rounds"),
			  control_number(event, "round_pages_done"),
			  control_number(event, "round_pages"),
			  control_number(event, "bandwidth"),
			  control_number(event, "expected_downtime_ns"));
}

static int report_done(const struct migrate_args *args, const json_t *event)
{
	if (args->json) {
		(void)json_dumpf(event, stdout,
				 JSON_INDENT(2) | JSON_PRESERVE_ORDER);
		putchar('\n');
		return TOOL_OK;
	}
	printf("moved to %s: %llu rounds, %s in %s, downtime %s\n", args->to,
	       (unsigned long long)control_number(event, "rounds"),
	       units_size(control_number(event, "bytes_sent")).text,
	       units_time(control_number(event, "total_ns")).text,
	       units_time(control_number(event, "downtime_ns")).text);
	return TOOL_OK;
}

/* Return: -1 to go on waiting, else the exit status. */
static int handle(const struct migrate_args *args, const json_t *event,
		  struct progress *progress)
{
	const char *name = control_text(event, "event");

	if (strcmp(name, "progress") == 0) {
		show(progress, event);
		return -1;
	}
	progress_clear(progress);
	if (strcmp(name, "done") == 0)
		return report_done(args, event);
	if (strcmp(name, "failed") == 0 || strcmp(name, "error") == 0)
		return tool_error("%s", control_text(event, "message"));
	return -1; /* of a newer vm */
}

static int follow(const struct migrate_args *args, int fd)
{
	struct control control;
	struct progress progress;
	int status = -1;

	control_init(&control, fd);
	progress_init(&progress, args->json);
	while (status < 0) {
		json_t *event;
		int got = control_receive(&control, -1, &event);

		if (got == 1) {
			status = handle(args, event, &progress);
			json_decref(event);
			continue;
		}
		progress_clear(&progress);
		if (got == -EINTR)
			return tool_error("interrupted: the vm cancels if it "
					  "still can: ask it for its status");
		if (got == -EPROTO)
			return tool_error("%s: no tidemark vm is there",
					  args->control);
		return tool_error("%s: the vm is gone: %s", args->control,
				  got ? strerror(-got) : "it hung up");
	}
	return status;
}

int cmd_migrate(int argc, char **argv)
{
	struct migrate_args args = { 0 };
	char address[256];
	int status = parse(&args, argc, argv);
	int err;
	int fd;

	if (status >= 0)
		return status;
	status = interrupt_start();
	if (status >= 0)
		return status;
	(void)snprintf(address, sizeof(address), "%s%s",
		       strncmp(args.control, "unix:", 5) == 0 ||
				       strncmp(args.control, "fd:", 3) == 0
			       ? ""
			       : "unix:",
		       args.control);
	status = address_connect(address, &fd);
	if (status >= 0)
		return status;
	err = control_send(fd, to_request(&args));
	status = err ? tool_error("%s: %s", args.control, strerror(-err))
		     : follow(&args, fd);
	close(fd);
	return status;
}
