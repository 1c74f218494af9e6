/* SPDX-License-Identifier: MIT */
/*
 * cmd_rehearse.c - tidemark rehearse: would it converge?  Really try
 *
 * A line a round while it goes, and what came of it.  The sink is nothing, a
 * file, or somebody who listens.  A file that is not complete is removed.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tidemark/process.h>
#include <tidemark/rehearse.h>

#include "address.h"
#include "cmdline.h"
#include "interrupt.h"
#include "progress.h"
#include "spawn.h"
#include "tool.h"
#include "units.h"

struct rehearse_args {
	uint64_t pid, bandwidth, downtime_ns, rounds;
	const char *to;
	int json;
};

struct rehearsal {
	struct rehearse_args args;
	pid_t child; /* the command that we started; 0: none */
	int fd;	     /* the sink; -1: nowhere */
	int is_file; /* and ours to remove */
	struct tide_process *process;
	struct progress progress;
	struct tide_rehearse_stats stats;
	uint64_t held_ns; /* that attach held a thread */
};

/* ---- what is printed ---- */

static json_int_t page_bytes(uint64_t pages)
{
	uint64_t bytes = pages * TIDE_PAGE_SIZE;

	return (json_int_t)bytes;
}

static json_t *round_json(const struct tide_rehearse_stats *stats)
{
	return json_pack("{s:s,s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "event",
			 "round", "round", (int)stats->rounds, "pages",
			 (json_int_t)stats->round_pages, "page_bytes",
			 page_bytes(stats->round_pages), "zero_pages",
			 (json_int_t)stats->round_zero_pages, "bytes_sent",
			 (json_int_t)stats->round_bytes, "round_ns",
			 (json_int_t)stats->round_ns, "rest_pages",
			 (json_int_t)stats->rest_pages, "rest_bytes",
			 page_bytes(stats->rest_pages), "downtime_ns",
			 (json_int_t)stats->downtime_ns);
}

static json_t *end_json(const struct rehearsal *rehearsal)
{
	const struct tide_rehearse_stats *stats = &rehearsal->stats;
	json_t *end = json_pack("{s:s,s:b,s:i,s:I,s:I,s:I,s:I,s:I,s:I}",
				"event", "end", "converged", stats->converged,
				"rounds", (int)stats->rounds, "total_ns",
				(json_int_t)stats->total_ns, "memory_pages",
				(json_int_t)stats->memory_pages, "memory_bytes",
				page_bytes(stats->memory_pages), "pages_sent",
				(json_int_t)stats->pages, "zero_pages",
				(json_int_t)stats->zero_pages, "bytes_sent",
				(json_int_t)stats->bytes);
	json_t *rest =
		json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "rest_pages",
			  (json_int_t)stats->rest_pages, "rest_bytes",
			  page_bytes(stats->rest_pages), "downtime_ns",
			  (json_int_t)stats->downtime_ns, "downtime_goal_ns",
			  (json_int_t)rehearsal->args.downtime_ns, "bandwidth",
			  (json_int_t)rehearsal->args.bandwidth, "harvest_ns",
			  (json_int_t)stats->harvest_ns, "attach_held_ns",
			  (json_int_t)rehearsal->held_ns);

	(void)json_object_update(end, rest);
	json_decref(rest);
	return end;
}

static void print_json(json_t *object)
{
	(void)json_dumpf(object, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(object);
	(void)fflush(stdout);
}

static struct units_text pages_size(uint64_t pages)
{
	return units_size(pages * TIDE_PAGE_SIZE);
}

static void print_round(const struct tide_rehearse_stats *stats)
{
	printf("round %2u: %llu pages (%s), %llu of them zero; %s sent in %s\n",
	       stats->rounds, (unsigned long long)stats->round_pages,
	       pages_size(stats->round_pages).text,
	       (unsigned long long)stats->round_zero_pages,
	       units_size(stats->round_bytes).text,
	       units_time(stats->round_ns).text);
	printf("          %llu pages (%s) written meanwhile: a downtime of "
	       "%s\n",
	       (unsigned long long)stats->rest_pages,
	       pages_size(stats->rest_pages).text,
	       units_time(stats->downtime_ns).text);
	(void)fflush(stdout);
}

static void print_end(const struct rehearsal *rehearsal)
{
	const struct tide_rehearse_stats *stats = &rehearsal->stats;

	printf("%s %u round%s and %s: %llu pages (%s), %llu of them zero; %s "
	       "sent at %s/s\n",
	       stats->converged ? "converges: after"
				: "does not converge: given up after",
	       stats->rounds, stats->rounds == 1 ? "" : "s",
	       units_time(stats->total_ns).text,
	       (unsigned long long)stats->pages, pages_size(stats->pages).text,
	       (unsigned long long)stats->zero_pages,
	       units_size(stats->bytes).text,
	       units_size(rehearsal->args.bandwidth).text);
	printf("last set: %llu pages (%s), not sent: a downtime of %s, and %s "
	       "is the goal\n",
	       (unsigned long long)stats->rest_pages,
	       pages_size(stats->rest_pages).text,
	       units_time(stats->downtime_ns).text,
	       units_time(rehearsal->args.downtime_ns).text);
	printf("cost: attaching held one thread for %s; looking for written "
	       "pages took %s in all\n",
	       units_time(rehearsal->held_ns).text,
	       units_time(stats->harvest_ns).text);
}

static int on_progress(void *opaque, const struct tide_rehearse_stats *stats,
		       int round_over)
{
	struct rehearsal *rehearsal = opaque;
	char what[32], text[2 * UNITS_TEXT + 8];

	rehearsal->stats = *stats;
	if (interrupt_pending())
		return 1;
	if (round_over) {
		progress_clear(&rehearsal->progress);
		if (rehearsal->args.json)
			print_json(round_json(stats));
		else
			print_round(stats);
		return 0;
	}
	(void)snprintf(what, sizeof(what), "round %u", stats->rounds + 1);
	(void)snprintf(text, sizeof(text), "%s of %s",
		       pages_size(stats->round_pages_done).text,
		       pages_size(stats->round_pages).text);
	progress_draw(&rehearsal->progress, what, stats->round_pages_done,
		      stats->round_pages, text);
	return 0;
}

/* ---- the sink ---- */

/* HOST:PORT, which is no path? */
static int is_host_port(const char *text)
{
	const char *colon = strrchr(text, ':');

	if (!colon || strchr(text, '/') || !colon[1])
		return 0;
	for (const char *at = colon + 1; *at; at++) {
		if (!isdigit((unsigned char)*at))
			return 0;
	}
	return 1;
}

static int open_file(struct rehearsal *rehearsal)
{
	const char *path = rehearsal->args.to;
	struct stat about;

	/* Memory is nobody else's business. */
	rehearsal->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
			     S_IRUSR | S_IWUSR);
	if (rehearsal->fd < 0 || fstat(rehearsal->fd, &about))
		return tool_error("%s: %s", path, strerror(errno));
	rehearsal->is_file = S_ISREG(about.st_mode);
	return -1;
}

static int open_sink(struct rehearsal *rehearsal)
{
	const char *to = rehearsal->args.to;
	char address[300];
	int status;

	if (!to)
		return -1;
	if (strncmp(to, "unix:", 5) == 0 || strncmp(to, "tcp:", 4) == 0 ||
	    strncmp(to, "fd:", 3) == 0) {
		status = address_connect(to, &rehearsal->fd);
	} else if (is_host_port(to) && strlen(to) < sizeof(address) - 4) {
		(void)snprintf(address, sizeof(address), "tcp:%s", to);
		status = address_connect(address, &rehearsal->fd);
	} else {
		return open_file(rehearsal);
	}
	if (status < 0) /* Ctrl-C wakes whoever waits for the other side */
		interrupt_shuts(rehearsal->fd);
	return status;
}

static int close_sink(struct rehearsal *rehearsal, int status)
{
	if (rehearsal->fd < 0)
		return status;
	interrupt_shuts(-1);
	if (close(rehearsal->fd) && status == TOOL_OK)
		status = tool_error("%s: %s", rehearsal->args.to,
				    strerror(errno));
	if (status != TOOL_OK && rehearsal->is_file)
		(void)unlink(rehearsal->args.to); /* it is what it can be */
	return status;
}

/* ---- the command ---- */

static int attach(struct rehearsal *rehearsal)
{
	struct tide_process_stats stats;
	char why[128];

	if (tide_process_attach((pid_t)rehearsal->args.pid, &rehearsal->process,
				why, sizeof(why)))
		return tool_error("process %llu: %s",
				  (unsigned long long)rehearsal->args.pid, why);
	tide_process_stats_get(rehearsal->process, &stats);
	rehearsal->held_ns = stats.stopped_ns;
	return -1;
}

static int say_why(const struct rehearsal *rehearsal, int err)
{
	unsigned long long pid = rehearsal->args.pid;

	switch (err) {
	case -ESRCH:
		return tool_error("process %llu: it has ended", pid);
	case -ESTALE:
		return tool_error("process %llu: it has executed another "
				  "program: its memory is not the one that was "
				  "sent",
				  pid);
	case -ECANCELED:
		return tool_error("interrupted after %u rounds",
				  rehearsal->stats.rounds);
	default:
		break;
	}
	if (rehearsal->fd >= 0)
		return tool_error("process %llu, to %s: %s", pid,
				  rehearsal->args.to, strerror(-err));
	return tool_error("process %llu: %s", pid, strerror(-err));
}

static int run(struct rehearsal *rehearsal)
{
	const struct tide_rehearse_config config = {
		.size = sizeof(config),
		.bandwidth = rehearsal->args.bandwidth,
		.downtime_ns = rehearsal->args.downtime_ns,
		.rounds_max = (uint32_t)rehearsal->args.rounds,
		.fd = rehearsal->fd,
		.progress = on_progress,
		.opaque = rehearsal,
	};
	int err;

	progress_init(&rehearsal->progress, rehearsal->args.json);
	err = tide_rehearse(rehearsal->process, &config, &rehearsal->stats);
	progress_clear(&rehearsal->progress);
	if (err && interrupt_pending())
		err = -ECANCELED; /* the sink was shut down for it */
	if (err)
		return say_why(rehearsal, err);
	if (rehearsal->args.json)
		print_json(end_json(rehearsal));
	else
		print_end(rehearsal);
	return TOOL_OK;
}

static int rehearse(struct rehearsal *rehearsal, char **command)
{
	int status = interrupt_start();

	if (status < 0)
		status = open_sink(rehearsal);
	/* What it prints is not for who reads our JSON. */
	if (status < 0 && *command)
		status = spawn_start(command,
				     rehearsal->args.json ? STDERR_FILENO : -1,
				     &rehearsal->child);
	if (rehearsal->child)
		rehearsal->args.pid = (uint64_t)rehearsal->child;
	if (status < 0)
		status = attach(rehearsal);
	if (status < 0)
		status = run(rehearsal);
	tide_process_detach(rehearsal->process);
	if (rehearsal->child)
		spawn_end(rehearsal->child);
	return close_sink(rehearsal, status);
}

int cmd_rehearse(int argc, char **argv)
{
	struct rehearsal rehearsal = {
		.args = { .downtime_ns = 300000000, .rounds = 30 },
		.fd = -1,
	};
	struct rehearse_args *args = &rehearsal.args;
	const struct option_spec specs[] = {
		{ "pid", OPTION_COUNT, &args->pid, "PID",
		  "the process; or a command after --", 1, INT32_MAX },
		{ "bandwidth", OPTION_SIZE, &args->bandwidth, "SIZE",
		  "bytes a second, such as 100M", 1, 0 },
		{ "downtime", OPTION_TIME_MS, &args->downtime_ns, "TIME",
		  "that the last set may take (300ms)", 1, 0 },
		{ "rounds", OPTION_COUNT, &args->rounds, "N",
		  "at most so many (30)", 1, UINT32_MAX },
		{ "to", OPTION_TEXT, &args->to, "SINK",
		  "FILE, HOST:PORT or unix:PATH (nowhere)", 0, 0 },
		{ "json", OPTION_FLAG, &args->json, NULL,
		  "an object a round, and one at the end", 0, 0 },
		{ 0 },
	};
	const struct options options = {
		.usage = "rehearse -p PID --bandwidth SIZE [OPTION]... | "
			 "rehearse --bandwidth SIZE [OPTION]... -- COMMAND "
			 "[ARGUMENT]...",
		.summary = "Pre-copy a running process's memory, without "
			   "stopping or moving it.",
		.specs = specs,
		.letters = "p",
		.operands_max = UINT16_MAX,
	};
	int first;
	int status = options_parse(&options, argc, argv, &first);

	if (status >= 0)
		return status;
	if (!args->pid == (first == argc))
		return tool_error("which process? -p PID, or -- COMMAND");
	if (!args->bandwidth)
		return tool_error("how fast? --bandwidth 100M is 100 MiB a "
				  "second");
	return rehearse(&rehearsal, argv + first);
}
