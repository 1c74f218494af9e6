/* SPDX-License-Identifier: MIT */
/*
 * cmd_plan.c - tidemark plan: would it converge?
 *
 * From a trace, or from a process that is recorded into memory first.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tidemark/plan.h>
#include <tidemark/probe.h>
#include <tidemark/trace.h>

#include "cmdline.h"
#include "interrupt.h"
#include "plan_print.h"
#include "progress.h"
#include "recording.h"
#include "sample.h"
#include "tool.h"
#include "units.h"
#include "utf8.h"

#define NS_PER_S 1000000000ull
#define LIST_MAX 16u
#define PROBES 5u
#define INTERVAL_NS 50000000ull
#define TIME_NS (30 * NS_PER_S)
/* 1, 10, 25 and 100 Gbit/s, in bytes */
#define BANDWIDTHS "125e6,1250e6,3125e6,12500e6"
#define DOWNTIMES "50ms,300ms,1s"

struct list {
	uint64_t value[LIST_MAX];
	size_t count;
};

struct plan_args {
	uint64_t pid, interval_ns, time_ns;
	const char *bandwidths, *downtimes;
	const char *file;
	int json;
};

struct planner {
	struct plan_args args;
	struct list bandwidths, downtimes;
	struct plan_report report;
	struct plan_row rows[LIST_MAX * LIST_MAX];
	struct plan_border borders[LIST_MAX];
	struct tide_curve *curve;
};

/* ---- lists ---- */

static int parse_time_ms(const char *text, uint64_t *ret)
{
	return units_parse_time(text, 1000000, ret);
}

/* Return: -1, or an exit status. */
static int parse_list(const char *option, const char *text,
		      int (*parse)(const char *text, uint64_t *ret),
		      const char *wanted, struct list *ret)
{
	while (*text || !ret->count) {
		size_t length = strcspn(text, ",");
		char word[64];

		if (ret->count == LIST_MAX)
			return tool_error("--%s: at most %u of them", option,
					  LIST_MAX);
		(void)snprintf(word, sizeof(word), "%.*s", (int)length, text);
		if (length >= sizeof(word) ||
		    parse(word, &ret->value[ret->count]))
			return tool_error("--%s: '%s' is not %s", option, word,
					  wanted);
		if (!ret->value[ret->count])
			return tool_error("--%s: %s is too little", option,
					  word);
		ret->count++;
		text += length;
		text += *text == ',';
	}
	return -1;
}

static int parse_lists(struct planner *planner)
{
	int status = parse_list(
		"bandwidth", planner->args.bandwidths, units_parse_size,
		"a size a second such as 125M", &planner->bandwidths);

	if (status >= 0)
		return status;
	return parse_list("downtime", planner->args.downtimes, parse_time_ms,
			  "a time such as 300ms", &planner->downtimes);
}

/* ---- a process ---- */

static void show_progress(struct progress *progress,
			  const struct planner *planner,
			  const struct sample *sample)
{
	char text[3 * UNITS_TEXT];

	(void)snprintf(text, sizeof(text), "%s written in %s",
		       units_size(sample->pages * TIDE_PAGE_SIZE).text,
		       units_time(sample->end_ns - sample->begin_ns).text);
	progress_draw(progress, "watching", sample->end_ns,
		      planner->args.time_ns, text);
}

static int record_into(struct planner *planner, struct sampler *sampler,
		       struct recording *recording)
{
	struct progress progress;
	struct sample sample;
	uint64_t looks = 0;
	int ret;

	progress_init(&progress, planner->args.json);
	while ((ret = sampler_next(sampler, &sample)) > 0) {
		int status = recording_put(recording, &sample);

		if (status >= 0)
			return status;
		looks++;
		show_progress(&progress, planner, &sample);
	}
	progress_clear(&progress);
	if (ret < 0)
		return TOOL_HOST;
	planner->report.ended = !sampler_is_over(sampler);
	if (!looks)
		return tool_error("process %d: it was watched for less than an "
				  "interval",
				  (int)planner->args.pid);
	return -1;
}

/* What a write that is caught takes longer than another one, here: the least of
 * a few, since somebody else may run in between. */
static double first_write_ns(void)
{
	uint64_t least_ns = UINT64_MAX;

	for (uint32_t i = 0; i < PROBES; i++) {
		struct tide_probe_result result;

		if (tide_probe(TIDE_TRACKER_WP, &result) || !result.works ||
		    result.write_ns < result.write_again_ns)
			continue;
		if (result.write_ns - result.write_again_ns < least_ns)
			least_ns = result.write_ns - result.write_again_ns;
	}
	return least_ns == UINT64_MAX ? 0 : (double)least_ns;
}

static int record(struct planner *planner, int fd)
{
	const struct sampler_config config = {
		.pid = (pid_t)planner->args.pid,
		.command_output = -1,
		.interval_ns = planner->args.interval_ns,
		.time_ns = planner->args.time_ns,
	};
	struct recording *recording = NULL;
	struct sampler *sampler;
	int status = interrupt_start();

	if (status < 0)
		status = sampler_open(&config, &sampler);
	if (status >= 0)
		return status;
	status = recording_open(sampler, fd, config.interval_ns, &recording);
	if (status < 0)
		status = record_into(planner, sampler, recording);
	if (status < 0)
		status = recording_finish(recording);
	else
		recording_abandon(recording);
	sampler_close(sampler);
	planner->report.watched = 1;
	planner->report.first_write_ns = first_write_ns();
	return status;
}

/* ---- the plan ---- */

static int read_trace(struct planner *planner, int fd, const char *name)
{
	struct tide_trace_reader *reader;
	struct tide_trace_info *trace = &planner->report.trace;
	char command[sizeof(trace->command)];
	char why[256] = "";
	int err = tide_trace_open(fd, &reader, trace, why, sizeof(why));

	if (!err) {
		err = tide_curve_create(reader, &planner->curve);
		tide_trace_close(reader);
	}
	if (err == -ENODATA && !why[0])
		return tool_error("%s: it has no interval", name);
	if (err)
		return tool_error("%s: %s", name,
				  why[0] ? why : strerror(-err));
	utf8_clean(trace->command, command, sizeof(command));
	memcpy(trace->command, command, sizeof(command));
	planner->report.curve = planner->curve;
	tide_curve_info_get(planner->curve, &planner->report.info);
	return -1;
}

static int plan_border(const struct planner *planner, uint64_t goal_ns,
		       struct plan_border *border)
{
	struct tide_plan_config config = {
		.size = sizeof(config),
		.downtime_ns = goal_ns,
	};
	struct tide_plan plan;
	int err =
		tide_plan_bandwidth(planner->curve, &config, &config.bandwidth);

	*border = (struct plan_border){ .goal_ns = goal_ns };
	if (err == -ERANGE)
		return 0;
	if (!err)
		err = tide_plan(planner->curve, &config, &plan);
	if (err)
		return err;
	border->exists = 1;
	border->bandwidth = config.bandwidth;
	border->extrapolated = plan.extrapolated;
	return 0;
}

static int plan_all(struct planner *planner)
{
	struct plan_report *report = &planner->report;
	int err = 0;

	report->rows = planner->rows;
	report->borders = planner->borders;
	for (size_t i = 0; i < planner->downtimes.count && !err; i++) {
		uint64_t goal_ns = planner->downtimes.value[i];

		for (size_t k = 0; k < planner->bandwidths.count && !err; k++) {
			struct plan_row *row = &report->rows[report->nrows++];
			const struct tide_plan_config config = {
				.size = sizeof(config),
				.bandwidth = planner->bandwidths.value[k],
				.downtime_ns = goal_ns,
			};

			row->goal_ns = goal_ns;
			row->bandwidth = config.bandwidth;
			err = tide_plan(planner->curve, &config, &row->plan);
		}
		if (!err)
			err = plan_border(planner, goal_ns,
					  &report->borders[report->nborders++]);
	}
	return err ? tool_error("%s", strerror(-err)) : -1;
}

static int run(struct planner *planner)
{
	struct plan_args *args = &planner->args;
	int fd = args->file ? open(args->file, O_RDONLY | O_CLOEXEC)
			    : memfd_create("trace", MFD_CLOEXEC);
	int status = -1;

	if (fd < 0)
		return tool_error("%s: %s", args->file ? args->file : "memory",
				  strerror(errno));
	if (!args->file)
		status = record(planner, fd);
	if (status < 0 && !args->file && lseek(fd, 0, SEEK_SET))
		status = tool_error("memory: %s", strerror(errno));
	if (status < 0)
		status = read_trace(planner, fd,
				    args->file ? args->file : "the trace");
	if (status < 0)
		status = plan_all(planner);
	if (status < 0) {
		status = TOOL_OK;
		if (args->json)
			plan_print_json(&planner->report);
		else
			plan_print_lines(&planner->report);
	}
	tide_curve_destroy(planner->curve);
	(void)close(fd); /* only read */
	return status;
}

int cmd_plan(int argc, char **argv)
{
	struct planner planner = { .args = { .interval_ns = INTERVAL_NS,
					     .time_ns = TIME_NS,
					     .bandwidths = BANDWIDTHS,
					     .downtimes = DOWNTIMES } };
	struct plan_args *args = &planner.args;
	const struct option_spec specs[] = {
		{ "pid", OPTION_COUNT, &args->pid, "PID",
		  "record this process first", 1, INT32_MAX },
		{ "for", OPTION_TIME_MS, &args->time_ns, "TIME",
		  "how long (30s)", 1, 0 },
		{ "interval", OPTION_TIME_MS, &args->interval_ns, "TIME",
		  "between two looks at it (50ms)", SAMPLE_INTERVAL_NS_MIN, 0 },
		{ "bandwidth", OPTION_TEXT, &args->bandwidths, "LIST",
		  "sizes a second (1, 10, 25 and 100 Gbit/s)", 0, 0 },
		{ "downtime", OPTION_TEXT, &args->downtimes, "LIST",
		  "goals (" DOWNTIMES ")", 0, 0 },
		{ "json", OPTION_FLAG, &args->json, NULL, "one object", 0, 0 },
		{ 0 },
	};
	const struct options options = {
		.usage = "plan FILE [OPTION]... | plan -p PID [OPTION]...",
		.summary = "Would pre-copy of a process converge, at which "
			   "bandwidth?",
		.specs = specs,
		.letters = "p",
		.operands_max = 1,
	};
	int first;
	int status = options_parse(&options, argc, argv, &first);

	if (status >= 0)
		return status;
	if (!args->pid == (first == argc))
		return tool_error("what? a FILE of tidemark record, or -p PID");
	if (first < argc)
		args->file = argv[first];
	status = parse_lists(&planner);
	return status >= 0 ? status : run(&planner);
}
