/* SPDX-License-Identifier: MIT */
/*
 * cmd_report.c - tidemark report: a trace as a page that draws it
 *
 * The trace is read three times: for what was mapped, for what was written in
 * it, and for its dirty curve.  What it all takes is the memory of one map and
 * of one bit a page that was written, however long the trace is.
 */
#include "cmdline.h"
#include "progress.h"
#include "report_cells.h"
#include "report_file.h"
#include "report_json.h"
#include "tool.h"
#include "units.h"
#include "web.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct report {
	const char *path;
	const char *output;
	int json;

	int fd;
	struct stat stat;
	char why[160];
	struct progress progress;
	struct report_trace trace;
	struct report_cells cells;
	struct tide_curve *curve;
};

static int failed(struct report *report, int err)
{
	progress_clear(&report->progress);
	return tool_error("%s: %s", report->path,
			  report->why[0] ? report->why : strerror(-err));
}

/* From the beginning.  Return: 0 or a negative errno value. */
static int rewind_trace(struct report *report,
			struct tide_trace_reader **ret_reader)
{
	if (lseek(report->fd, 0, SEEK_SET) < 0)
		return -errno;
	return tide_trace_open(report->fd, ret_reader, &report->trace.info,
			       report->why, sizeof(report->why));
}

static void draw(struct report *report, const char *what)
{
	off_t at = lseek(report->fd, 0, SEEK_CUR);

	if (at >= 0)
		progress_draw(&report->progress, what, (uint64_t)at,
			      (uint64_t)report->stat.st_size, report->path);
}

static int read_mappings(struct report *report)
{
	struct tide_trace_reader *reader = NULL;
	struct tide_trace_event event;
	int ret = rewind_trace(report, &reader);

	if (ret)
		return ret;
	while ((ret = tide_trace_next(reader, &event)) > 0) {
		ret = report_trace_put(&report->trace, &event);
		if (ret)
			break;
		draw(report, "mappings");
	}
	tide_trace_close(reader);
	return ret ? ret : report_trace_lay_out(&report->trace);
}

static int read_written(struct report *report)
{
	struct tide_trace_reader *reader = NULL;
	struct tide_trace_event event;
	int ret = rewind_trace(report, &reader);

	if (ret)
		return ret;
	ret = report_cells_init(&report->cells, &report->trace);
	while (!ret && (ret = tide_trace_next(reader, &event)) > 0) {
		ret = 0;
		if (event.kind != TIDE_TRACE_INTERVAL) {
			report_trace_change(&report->trace, &event);
			continue;
		}
		ret = report_trace_count(&report->trace, &event.interval);
		if (!ret)
			ret = report_cells_put(&report->cells, &report->trace,
					       &event.interval);
		draw(report, "map");
	}
	tide_trace_close(reader);
	return ret ? ret : report_cells_finish(&report->cells, &report->trace);
}

static int read_curve(struct report *report)
{
	struct tide_trace_reader *reader = NULL;
	int ret = rewind_trace(report, &reader);

	if (ret)
		return ret;
	progress_draw(&report->progress, "curve", 1, 1, report->path);
	ret = tide_curve_create(reader, &report->curve);
	tide_trace_close(reader);
	return ret;
}

/* Return: -1, or the exit status. */
static int read_all(struct report *report)
{
	int err = read_mappings(report);

	if (err == -ENODATA && !report->why[0])
		return tool_error("%s: nothing was recorded: it has no "
				  "interval",
				  report->path);
	if (err == -E2BIG)
		return tool_error("%s: it maps more memory than a machine has",
				  report->path);
	if (!err)
		err = read_written(report);
	if (!err)
		err = read_curve(report);
	return err ? failed(report, err) : -1;
}

static void put_piece(const struct web_piece *piece, FILE *out)
{
	(void)fwrite(piece->text, 1, piece->size, out); /* ferror() says */
}

static int write_page(struct report *report)
{
	const struct report_figures figures = {
		.trace = &report->trace,
		.cells = &report->cells,
		.curve = report->curve,
		.map = 1,
	};
	struct report_file file;
	int status = report_file_begin(&file, report->output);

	if (status >= 0)
		return status;
	put_piece(&web_report[0], file.out);
	report_json_put(&figures, file.out);
	put_piece(&web_report[1], file.out);
	return report_file_end(&file);
}

static void say(const struct report *report)
{
	struct report_figures figures = {
		.trace = &report->trace,
		.cells = &report->cells,
		.curve = report->curve,
	};
	struct tide_curve_info info;

	if (report->json) {
		report_json_put(&figures, stdout);
		return;
	}
	tide_curve_info_get(report->curve, &info);
	printf("%s: %llu pages (%s) were written in %s, in intervals of %s; "
	       "%llu pages (%s) have content\n",
	       report->output, (unsigned long long)info.dirty_pages,
	       units_size(info.dirty_pages * TIDE_PAGE_SIZE).text,
	       units_time(report->trace.trace_ns).text,
	       units_time(info.interval_ns).text,
	       (unsigned long long)info.memory_pages,
	       units_size(info.memory_pages * TIDE_PAGE_SIZE).text);
}

/* The trace, and the name of what becomes of it, which is to be freed. */
static int open_trace(struct report *report, char **ret_output)
{
	char *name = NULL;
	int status;

	report->fd = open(report->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (report->fd < 0 || fstat(report->fd, &report->stat))
		return tool_error("%s: %s", report->path, strerror(errno));
	if (!S_ISREG(report->stat.st_mode))
		return tool_error("%s: not a file: a trace is read more than "
				  "once",
				  report->path);
	if (!report->output && asprintf(&name, "%s.html", report->path) < 0)
		return tool_error("%s", strerror(ENOMEM));
	status = report_file_check(name ? name : report->output, &report->stat,
				   ret_output);
	free(name);
	return status;
}

static int run(struct report *report)
{
	char *output = NULL;
	int status = open_trace(report, &output);

	report->output = output;
	if (status < 0)
		status = read_all(report);
	if (status < 0)
		status = write_page(report);
	progress_clear(&report->progress);
	if (status < 0)
		say(report);
	tide_curve_destroy(report->curve);
	report_cells_fini(&report->cells);
	report_trace_fini(&report->trace);
	free(output);
	if (report->fd >= 0)
		(void)close(report->fd);
	return status < 0 ? TOOL_OK : status;
}

int cmd_report(int argc, char **argv)
{
	struct report report = { .fd = -1 };
	const struct option_spec specs[] = {
		{ .name = "output",
		  .type = OPTION_TEXT,
		  .value = &report.output,
		  .argument = "FILE",
		  .help = "where to write the page, default TRACE.html" },
		{ .name = "json",
		  .type = OPTION_FLAG,
		  .value = &report.json,
		  .help = "the figures, too, as an object on stdout" },
		{ 0 },
	};
	const struct options options = {
		.usage = "report TRACE [-o FILE.html] [--json]",
		.summary = "Draw what a trace of tidemark record holds, as one "
			   "HTML file.",
		.specs = specs,
		.letters = "o",
		.operands_max = 1,
	};
	int first;
	int status = options_parse(&options, argc, argv, &first);

	if (status >= 0)
		return status;
	if (first == argc)
		return tool_error("which trace? --help shows the usage");
	report.path = argv[first];
	progress_init(&report.progress, report.json);
	return run(&report);
}
