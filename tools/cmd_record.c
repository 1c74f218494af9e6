/* SPDX-License-Identifier: MIT */
/*
 * cmd_record.c - tidemark record: which pages are written when, as a file
 *
 * The sampler looks, the recording writes it down; here is the file, how far it
 * is, and what it has cost.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <tidemark/process.h>

#include "cmdline.h"
#include "interrupt.h"
#include "progress.h"
#include "record_file.h"
#include "recording.h"
#include "sample.h"
#include "tool.h"
#include "units.h"

#define INTERVAL_NS 100000000ull
#define NS_PER_S 1000000000ull

struct record_args {
	uint64_t pid, interval_ns, time_ns;
	const char *path;
	int json, follow_children;
};

struct record {
	struct record_args args;
	struct sampler *sampler;
	struct recording *recording;
	struct record_file file;
	struct progress progress;
	FILE *out; /* for what is said: not where the trace goes */

	uint64_t time_ns, intervals, pages;
	uint64_t harvest_ns, held_ns;
	int64_t file_bytes; /* -1: nobody knows */
};

static void draw(struct record *record)
{
	int64_t nbytes = record_file_size(&record->file);
	uint64_t nbytes_written = record->pages * TIDE_PAGE_SIZE;
	char what[32], text[96];
	int n;

	(void)snprintf(what, sizeof(what), "%s",
		       units_time(record->time_ns).text);
	n = snprintf(text, sizeof(text), "%" PRIu64 " pages, %s", record->pages,
		     units_size(nbytes_written).text);
	if (nbytes >= 0)
		(void)snprintf(text + n, sizeof(text) - (size_t)n, "; file %s",
			       units_size((uint64_t)nbytes).text);
	progress_draw(&record->progress, what, record->time_ns,
		      record->args.time_ns, text);
}

static int put(struct record *record, const struct sample *sample)
{
	record->time_ns = sample->end_ns;
	record->intervals++;
	record->pages += sample->pages;
	record->harvest_ns += sample->harvest_ns;
	record->held_ns += sample->held_ns;
	draw(record);
	return recording_put(record->recording, sample);
}

/* Return: -1, or an exit status. */
static int run(struct record *record)
{
	struct sample sample;
	int ret;

	while ((ret = sampler_next(record->sampler, &sample)) > 0) {
		int status = put(record, &sample);

		if (status >= 0)
			return status;
	}
	/* Ctrl-C ends the last interval early; it is not lost. */
	if (!ret && interrupt_pending()) {
		ret = sampler_look(record->sampler, &sample);
		if (ret > 0)
			return put(record, &sample);
	}
	return ret ? TOOL_HOST : -1;
}

/* ---- what is said at the end ---- */

static uint64_t cpu_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now); /* cannot fail */
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static const char *name_of(const struct record *record)
{
	return record->out == stdout ? record->args.path : "stdout";
}

static void say_json(const struct record *record)
{
	uint64_t nbytes = record->pages * TIDE_PAGE_SIZE;
	json_t *object = json_pack(
		"{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "file",
		name_of(record), "time_ns", (json_int_t)record->time_ns,
		"interval_ns", (json_int_t)record->args.interval_ns,
		"intervals", (json_int_t)record->intervals, "written_pages",
		(json_int_t)record->pages, "written_bytes", (json_int_t)nbytes,
		"harvest_ns", (json_int_t)record->harvest_ns, "held_ns",
		(json_int_t)record->held_ns, "cpu_ns", (json_int_t)cpu_ns());

	if (record->file_bytes >= 0) {
		(void)json_object_set_new(
			object, "file_bytes",
			json_integer((json_int_t)record->file_bytes));
		if (record->intervals)
			(void)json_object_set_new(
				object, "file_bytes_per_interval",
				json_real((double)record->file_bytes /
					  (double)record->intervals));
	}
	(void)json_dumpf(object, record->out,
			 JSON_COMPACT | JSON_PRESERVE_ORDER);
	(void)fputc('\n', record->out);
	json_decref(object);
}

static void say_line(const struct record *record)
{
	FILE *out = record->out;
	double time_ns = record->time_ns ? (double)record->time_ns : 1;

	(void)fprintf(out,
		      "%s: %s in %" PRIu64 " intervals of %s; %" PRIu64
		      " pages (%s) written, each once an interval; ",
		      name_of(record), units_time(record->time_ns).text,
		      record->intervals,
		      units_time(record->args.interval_ns).text, record->pages,
		      units_size(record->pages * TIDE_PAGE_SIZE).text);
	if (record->file_bytes >= 0 && record->intervals)
		(void)fprintf(out,
			      "%" PRId64 " bytes, %" PRIu64 " an interval; ",
			      record->file_bytes,
			      (uint64_t)record->file_bytes / record->intervals);
	(void)fprintf(out, "cost: %.2f %% of a core, and it was held for %s\n",
		      100 * (double)cpu_ns() / time_ns,
		      units_time(record->held_ns).text);
}

/* ---- the command ---- */

static int open_all(struct record *record, char **command)
{
	const struct sampler_config config = {
		.pid = (pid_t)record->args.pid,
		.command = command,
		/* What it prints is no part of ours. */
		.command_output = record->file.path && !record->args.json
					  ? -1
					  : STDERR_FILENO,
		.interval_ns = record->args.interval_ns,
		.time_ns = record->args.time_ns,
		.follow_children = record->args.follow_children,
	};
	struct tide_process_stats stats;
	struct tide_process *process;
	int status = sampler_open(&config, &record->sampler);

	if (status >= 0)
		return status;
	process =
		sampler_process(record->sampler, sampler_pid(record->sampler));
	if (process) {
		tide_process_stats_get(process, &stats);
		record->held_ns = stats.stopped_ns;
	}
	return recording_open(record->sampler, record->file.fd,
			      record->args.interval_ns, &record->recording);
}

static int record_it(struct record *record, char **command)
{
	/* First: a bad name is no reason to touch the process. */
	int status = record_file_begin(&record->file, record->args.path);

	if (status >= 0)
		return status;
	record->out = record->file.path ? stdout : stderr;
	status = open_all(record, command);
	if (status < 0)
		status = run(record);
	progress_clear(&record->progress);
	if (status < 0)
		status = recording_finish(record->recording);
	else
		recording_abandon(record->recording);
	sampler_close(record->sampler);
	record->file_bytes = record_file_size(&record->file);
	if (status < 0)
		status = record_file_end(&record->file);
	else
		record_file_abandon(&record->file);
	if (status >= 0)
		return status;
	if (record->args.json)
		say_json(record);
	else
		say_line(record);
	return TOOL_OK;
}

int cmd_record(int argc, char **argv)
{
	struct record record = { .args = { .interval_ns = INTERVAL_NS } };
	struct record_args *args = &record.args;
	const struct option_spec specs[] = {
		{ "pid", OPTION_COUNT, &args->pid, "PID",
		  "the process; or a command after --", 1, INT32_MAX },
		{ "output", OPTION_TEXT, &args->path, "FILE",
		  "the trace; - is stdout", 0, 0 },
		{ "interval", OPTION_TIME_MS, &args->interval_ns, "TIME",
		  "between two looks (100ms)", SAMPLE_INTERVAL_NS_MIN, 0 },
		{ "for", OPTION_TIME_MS, &args->time_ns, "TIME",
		  "how long (until it ends, or Ctrl-C)", 1, 0 },
		{ "follow-children", OPTION_FLAG, &args->follow_children, NULL,
		  "and the processes that it forks", 0, 0 },
		{ "json", OPTION_FLAG, &args->json, NULL,
		  "the summary as an object", 0, 0 },
		{ 0 },
	};
	const struct options options = {
		.usage = "record -p PID -o FILE [OPTION]... | "
			 "record -o FILE [OPTION]... -- COMMAND [ARGUMENT]...",
		.summary = "Record which memory a running process writes.",
		.specs = specs,
		.letters = "po",
		.operands_max = UINT16_MAX,
	};
	int first;
	int status = options_parse(&options, argc, argv, &first);

	if (status >= 0)
		return status;
	if (!args->pid == (first == argc))
		return tool_error("which process? -p PID, or -- COMMAND");
	if (!args->path)
		return tool_error("where to? -o FILE, or -o - for stdout");
	progress_init(&record.progress, args->json);
	status = interrupt_start();
	if (status < 0)
		status = record_it(&record, first < argc ? argv + first : NULL);
	return status;
}
