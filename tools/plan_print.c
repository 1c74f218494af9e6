/* SPDX-License-Identifier: MIT */
/* plan_print.c - what tidemark plan has found out, for people and programs */
#include "plan_print.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "units.h"

#define NS_PER_S 1000000000ull
#define WINDOWS_MAX 16u
#define TENTH_GBIT 12500000ull /* bytes */

/* ---- windows that are worth a line ---- */

/* The interval, then tenths, ones and tens of seconds, and the trace. */
static size_t choose_windows(const struct plan_report *report,
			     uint64_t windows[static WINDOWS_MAX])
{
	uint64_t interval_ns = report->info.interval_ns;
	uint64_t trace_ns = report->info.trace_ns;
	uint64_t window_ns = 1;
	size_t n = 0;

	windows[n++] = interval_ns;
	while (window_ns <= interval_ns + interval_ns / 2)
		window_ns *= 10;
	for (; n < WINDOWS_MAX - 1 && window_ns < trace_ns / 4 * 3;
	     window_ns *= 10)
		windows[n++] = window_ns;
	if (trace_ns > interval_ns)
		windows[n++] = trace_ns;
	return n;
}

static double percent_of(double part, double all)
{
	return all > 0 ? 100 * part / all : 0;
}

/* Of the time of one processor. */
static double watching_percent(const struct plan_report *report)
{
	return percent_of((double)report->info.harvest_ns,
			  (double)report->info.trace_ns);
}

/* Of the time of the threads that wrote. */
static double slowed_percent(const struct plan_report *report)
{
	return percent_of((double)report->info.written_pages *
				  report->first_write_ns,
			  (double)report->info.trace_ns);
}

static uint64_t bytes_of(double pages)
{
	return (uint64_t)(pages * (double)TIDE_PAGE_SIZE);
}

/* ---- for people ---- */

static struct units_text rate_text(uint64_t bandwidth)
{
	struct units_text out, size;

	if (bandwidth && bandwidth % TENTH_GBIT == 0) {
		(void)snprintf(out.text, sizeof(out.text), "%g Gbit/s",
			       (double)bandwidth * 8 / 1e9);
		return out;
	}
	size = units_size(bandwidth);
	(void)snprintf(out.text, sizeof(out.text), "%.20s/s", size.text);
	return out;
}

static void print_curve(const struct plan_report *report)
{
	uint64_t windows[WINDOWS_MAX];
	size_t n = choose_windows(report, windows);

	printf("distinct pages written in a window (10th to 90th percentile of "
	       "windows):\n");
	for (size_t i = 0; i < n; i++) {
		struct tide_curve_point point;

		tide_curve_at(report->curve, windows[i], &point);
		printf("  %9s %10.0f pages %11s  (%s to %s)\n",
		       units_time(windows[i]).text, point.pages,
		       units_size(bytes_of(point.pages)).text,
		       units_size(bytes_of(point.low)).text,
		       units_size(bytes_of(point.high)).text);
	}
}

static void print_head(const struct plan_report *report)
{
	const struct tide_curve_info *info = &report->info;

	printf("process %" PRIu32 " (%s), for %s in %" PRIu64
	       " intervals of %s%s\n",
	       report->trace.pid, report->trace.command,
	       units_time(info->trace_ns).text, info->intervals,
	       units_time(info->interval_ns).text,
	       report->ended ? "; then it has ended" : "");
	printf("memory with content: %" PRIu64 " pages, %s, of which %.0f %% "
	       "are zeros only\n",
	       info->memory_pages,
	       units_size(info->memory_pages * TIDE_PAGE_SIZE).text,
	       percent_of((double)(info->memory_pages - info->data_pages),
			  (double)info->memory_pages));
	print_curve(report);
	printf("watching it took %.2f %% of a processor, and held a thread of "
	       "it for %s",
	       watching_percent(report), units_time(info->held_ns).text);
	if (report->watched)
		printf("; a first write\nto a page in an interval costs it "
		       "about %.0f ns, so it ran about %.2f %% slower",
		       report->first_write_ns, slowed_percent(report));
	printf("\n");
}

static const char *verdict(const struct tide_plan *plan)
{
	if (plan->certain)
		return plan->converges ? "converges" : "does not";
	return plan->converges ? "uncertain: yes?" : "uncertain: no?";
}

static void print_row(const struct plan_row *row)
{
	const struct tide_plan *plan = &row->plan;
	char span[3 * UNITS_TEXT];

	printf("%8s  %12s  %-15s %c %6" PRIu32 "  %9s  %10s",
	       units_time(row->goal_ns).text, rate_text(row->bandwidth).text,
	       verdict(plan), plan->extrapolated ? '*' : ' ', plan->rounds,
	       units_time(plan->total_ns).text, units_size(plan->bytes).text);
	(void)snprintf(span, sizeof(span), "(%s to %s)",
		       units_time(plan->downtime_ns_low).text,
		       units_time(plan->downtime_ns_high).text);
	printf("  %9s %s\n", units_time(plan->downtime_ns).text, span);
}

static void print_borders(const struct plan_report *report)
{
	for (size_t i = 0; i < report->nborders; i++) {
		const struct plan_border *border = &report->borders[i];

		printf("downtime %s: ", units_time(border->goal_ns).text);
		if (!border->exists)
			printf("no bandwidth up to 1 TiB/s converges\n");
		else if (border->bandwidth < TIDE_PAGE_SIZE)
			printf("any bandwidth converges%s\n",
			       border->extrapolated ? " *" : "");
		else
			printf("the smallest bandwidth that converges is "
			       "%s/s%s\n",
			       units_size(border->bandwidth).text,
			       border->extrapolated ? " *" : "");
	}
}

/* Read off the curve at less than an interval: the first round, or a later one,
 * which took as long as the rest before it. */
static int has_short_round(const struct plan_report *report,
			   const struct plan_row *row)
{
	const struct tide_curve_info *info = &report->info;
	double first_s = (double)(info->data_pages * TIDE_PAGE_SIZE) /
			 (double)row->bandwidth;

	return first_s * (double)NS_PER_S < (double)info->interval_ns ||
	       (row->plan.rounds > 1 &&
		row->plan.downtime_ns < info->interval_ns);
}

static void print_doubts(const struct plan_report *report)
{
	const struct tide_curve_info *info = &report->info;
	int extrapolated = 0, uncertain = 0, short_rests = 0;

	for (size_t i = 0; i < report->nrows; i++) {
		const struct tide_plan *plan = &report->rows[i].plan;

		extrapolated |= plan->extrapolated;
		uncertain |= !plan->certain;
		short_rests |= has_short_round(report, &report->rows[i]);
	}
	for (size_t i = 0; i < report->nborders; i++)
		extrapolated |= report->borders[i].extrapolated;
	printf("\nHow sure is that?  It is what the process did in %s; nobody "
	       "knows what it does next.\n",
	       units_time(info->trace_ns).text);
	if (uncertain)
		printf("uncertain: windows differ so much that the tenth and "
		       "the 90th percentile end\n  differently.\n");
	if (extrapolated)
		printf("*: a round is longer than the trace, so what is "
		       "written in it is extrapolated.\n  Watch it for longer "
		       "(--for) to know.\n");
	if (short_rests)
		printf("What is written in less than an interval (%s) is not "
		       "known: the low end is as if no\n  page were written "
		       "twice in it, the high end as if the same pages were "
		       "written always.\n",
		       units_time(info->interval_ns).text);
}

void plan_print_lines(const struct plan_report *report)
{
	print_head(report);
	printf("\n%8s  %12s  %-15s   %6s  %9s  %10s  %s\n", "downtime",
	       "bandwidth", "verdict", "rounds", "total", "sent",
	       "expected downtime");
	for (size_t i = 0; i < report->nrows; i++) {
		if (i && report->rows[i].goal_ns != report->rows[i - 1].goal_ns)
			printf("\n");
		print_row(&report->rows[i]);
	}
	printf("\n");
	print_borders(report);
	print_doubts(report);
}

/* ---- for programs ---- */

static json_t *integer(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static json_t *trace_json(const struct plan_report *report)
{
	const struct tide_curve_info *info = &report->info;
	json_t *trace = json_pack(
		"{s:I,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:f,s:o,s:o,s:f,s:b}",
		"pid", (json_int_t)report->trace.pid, "command",
		report->trace.command, "trace_ns", integer(info->trace_ns),
		"interval_ns", integer(info->interval_ns), "intervals",
		integer(info->intervals), "memory_pages",
		integer(info->memory_pages), "memory_bytes",
		integer(info->memory_pages * TIDE_PAGE_SIZE), "data_pages",
		integer(info->data_pages), "dirty_pages",
		integer(info->dirty_pages), "written_pages",
		integer(info->written_pages), "rate_pages_per_s", info->rate,
		"harvest_ns", integer(info->harvest_ns), "held_ns",
		integer(info->held_ns), "watching_percent",
		watching_percent(report), "ended", report->ended);

	if (trace && report->watched) {
		(void)json_object_set_new(trace, "first_write_ns",
					  json_real(report->first_write_ns));
		(void)json_object_set_new(trace, "slowed_percent",
					  json_real(slowed_percent(report)));
	}
	return trace;
}

static json_t *curve_json(const struct plan_report *report)
{
	uint64_t windows[WINDOWS_MAX];
	size_t n = choose_windows(report, windows);
	json_t *curve = json_array();

	for (size_t i = 0; i < n; i++) {
		struct tide_curve_point point;

		tide_curve_at(report->curve, windows[i], &point);
		(void)json_array_append_new(
			curve, json_pack("{s:o,s:f,s:f,s:f}", "window_ns",
					 integer(windows[i]), "pages",
					 point.pages, "pages_low", point.low,
					 "pages_high", point.high));
	}
	return curve;
}

static json_t *row_json(const struct plan_row *row)
{
	const struct tide_plan *plan = &row->plan;

	return json_pack(
		"{s:o,s:o,s:b,s:b,s:b,s:i,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}",
		"downtime_goal_ns", integer(row->goal_ns), "bandwidth",
		integer(row->bandwidth), "converges", plan->converges,
		"certain", plan->certain, "extrapolated", plan->extrapolated,
		"rounds", (int)plan->rounds, "total_ns",
		integer(plan->total_ns), "total_ns_low",
		integer(plan->total_ns_low), "total_ns_high",
		integer(plan->total_ns_high), "bytes", integer(plan->bytes),
		"bytes_low", integer(plan->bytes_low), "bytes_high",
		integer(plan->bytes_high), "downtime_ns",
		integer(plan->downtime_ns), "downtime_ns_low",
		integer(plan->downtime_ns_low), "downtime_ns_high",
		integer(plan->downtime_ns_high));
}

void plan_print_json(const struct plan_report *report)
{
	json_t *rows = json_array(), *borders = json_array();
	json_t *all;

	for (size_t i = 0; i < report->nrows; i++)
		(void)json_array_append_new(rows, row_json(&report->rows[i]));
	for (size_t i = 0; i < report->nborders; i++) {
		const struct plan_border *border = &report->borders[i];

		(void)json_array_append_new(
			borders,
			json_pack("{s:o,s:o,s:b}", "downtime_goal_ns",
				  integer(border->goal_ns), "bandwidth",
				  border->exists ? integer(border->bandwidth)
						 : json_null(),
				  "extrapolated", border->extrapolated));
	}
	all = json_pack("{s:o,s:o,s:o,s:o}", "trace", trace_json(report),
			"curve", curve_json(report), "plans", rows,
			"smallest_bandwidths", borders);
	(void)json_dumpf(all, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(all);
}
