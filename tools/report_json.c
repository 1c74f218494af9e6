/* SPDX-License-Identifier: MIT */
/* report_json.c - the figures of a report, for scripts and for its page */
#include "report_json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <tidemark/version.h>

#include "utf8.h"

/* Areas that are told apart; the others are summed up. */
#define AREAS_MAX 2000u
#define CURVE_STEP 1.25

/* ---- text ---- */

static void put_character(uint32_t code, FILE *out)
{
	if (utf8_is_hidden(code))
		code = UTF8_REPLACEMENT;
	if (code < 0x7f && !strchr("\"\\<>&'", (int)code))
		fputc((int)code, out);
	else if (code < 0x10000)
		fprintf(out, "\\u%04" PRIx32, code);
	else
		fprintf(out, "\\u%04" PRIx32 "\\u%04" PRIx32,
			0xd800 + ((code - 0x10000) >> 10),
			0xdc00 + ((code - 0x10000) & 0x3ff));
}

static void put_text(const char *text, FILE *out)
{
	fputc('"', out);
	while (*text) {
		size_t size;

		put_character(utf8_decode(text, &size), out);
		text += size;
	}
	fputc('"', out);
}

static void put_base64(const unsigned char *bytes, size_t size, FILE *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < size; i += 3) {
		uint32_t three = (uint32_t)bytes[i] << 16;

		if (i + 1 < size)
			three |= (uint32_t)bytes[i + 1] << 8;
		if (i + 2 < size)
			three |= bytes[i + 2];
		fputc(digits[three >> 18], out);
		fputc(digits[three >> 12 & 63], out);
		fputc(i + 1 < size ? digits[three >> 6 & 63] : '=', out);
		fputc(i + 2 < size ? digits[three & 63] : '=', out);
	}
}

/* ---- the parts ---- */

static void put_head(const struct report_figures *figures, FILE *out)
{
	const struct report_trace *trace = figures->trace;
	struct tide_curve_info info;

	tide_curve_info_get(figures->curve, &info);
	fprintf(out, "{\"version\":\"%s\",\"command\":", tide_version());
	put_text(trace->info.command, out);
	fprintf(out,
		",\"pid\":%" PRIu32 ",\"start_ns\":%" PRIu64
		",\"interval_ns\":%" PRIu64 ",\"trace_ns\":%" PRIu64
		",\"intervals\":%" PRIu64,
		trace->info.pid, trace->info.start_ns, trace->info.interval_ns,
		trace->trace_ns, trace->intervals);
	fprintf(out,
		",\"harvest_ns\":%" PRIu64 ",\"harvest_ns_max\":%" PRIu64
		",\"held_ns\":%" PRIu64 ",\"held_ns_max\":%" PRIu64,
		trace->harvest_ns, trace->harvest_ns_max, trace->held_ns,
		trace->held_ns_max);
	fprintf(out,
		",\"page_bytes\":%u,\"memory_pages\":%" PRIu64
		",\"data_pages\":%" PRIu64 ",\"dirty_pages\":%" PRIu64
		",\"written_pages\":%" PRIu64 ",\"rate_pages\":%.9g",
		(unsigned int)TIDE_PAGE_SIZE, info.memory_pages,
		info.data_pages, info.dirty_pages, trace->written_pages,
		info.rate);
}

/* Windows from an interval to the trace, each longer than the last by a factor,
 * and all of them whole intervals. */
static void put_curve(const struct report_figures *figures, FILE *out)
{
	const struct report_trace *trace = figures->trace;
	double mean_ns = (double)trace->trace_ns / (double)trace->intervals;
	double wanted = 1;
	uint64_t last = 0;

	fputs(",\"curve\":[", out);
	while (last < trace->intervals) {
		uint64_t intervals = (uint64_t)wanted;
		struct tide_curve_point point;
		uint64_t window_ns;

		wanted *= CURVE_STEP;
		if (intervals == last)
			continue;
		if (intervals > trace->intervals)
			intervals = trace->intervals;
		window_ns = (uint64_t)(mean_ns * (double)intervals);
		tide_curve_at(figures->curve, window_ns, &point);
		fprintf(out,
			"%s{\"window_ns\":%" PRIu64
			",\"pages\":%.9g,\"low\":%.9g,\"high\":%.9g}",
			last ? "," : "", window_ns, point.pages, point.low,
			point.high);
		last = intervals;
	}
	fputc(']', out);
}

static void put_columns(const struct report_figures *figures, FILE *out)
{
	const struct report_cells *cells = figures->cells;

	fputs(",\"columns\":[", out);
	for (size_t i = 0; i < cells->ncolumns; i++) {
		const struct report_column *column = &cells->columns[i];

		fprintf(out,
			"%s{\"begin_ns\":%" PRIu64 ",\"end_ns\":%" PRIu64
			",\"intervals\":%" PRIu64 ",\"pages\":%" PRIu64
			",\"rate_min\":%.9g,\"rate_max\":%.9g}",
			i ? "," : "", column->begin_ns, column->end_ns,
			column->intervals, column->pages, column->rate_min,
			column->rate_max);
	}
	fputc(']', out);
}

static void put_area(const struct report_area *area, FILE *out)
{
	fprintf(out,
		"{\"pid\":%" PRIu32 ",\"first_gfn\":%" PRIu64
		",\"npages\":%" PRIu64 ",\"shared\":%s,\"mappings\":%" PRIu32
		",\"from_ns\":%" PRIu64 ",\"to_ns\":%" PRIu64 ",\"name\":",
		area->pid, area->first_gfn, area->npages,
		area->shared ? "true" : "false", area->mappings, area->from_ns,
		area->to_ns);
	put_text(area->name, out);
	fprintf(out,
		",\"populated_pages\":%" PRIu64 ",\"distinct_pages\":%" PRIu64
		",\"written_pages\":%" PRIu64 ",\"peak_pages\":%" PRIu64
		",\"peak_ns\":%" PRIu64,
		area->populated_pages, area->distinct_pages,
		area->written_pages, area->peak_pages, area->peak_ns);
	fprintf(out,
		",\"hottest_gfn\":%" PRIu64 ",\"hottest_npages\":%" PRIu64
		",\"hottest_written_pages\":%" PRIu64 "}",
		area->hottest_gfn, area->hottest_npages,
		area->hottest_written_pages);
}

/* Pointers to areas: the most written first, then the largest. */
static int by_written(const void *a, const void *b)
{
	const struct report_area *const *left = a, *const *right = b;
	const struct report_area *x = *left, *y = *right;

	if (x->written_pages != y->written_pages)
		return x->written_pages < y->written_pages ? 1 : -1;
	if (x->npages != y->npages)
		return x->npages < y->npages ? 1 : -1;
	return x < y ? -1 : x > y;
}

static void put_areas(const struct report_trace *trace, FILE *out)
{
	const struct report_area **order =
		calloc(trace->nareas + 1, sizeof(struct report_area *));
	uint64_t count = 0, npages = 0, distinct = 0, written = 0;

	fputs(",\"mappings\":[", out);
	for (size_t i = 0; order && i < trace->nareas; i++)
		order[i] = &trace->areas[i];
	if (order)
		qsort(order, trace->nareas, sizeof(struct report_area *),
		      by_written);
	for (size_t i = 0; i < trace->nareas; i++) {
		/* Without memory, in the order of their names. */
		const struct report_area *area =
			order ? order[i] : &trace->areas[i];

		if (i < AREAS_MAX) {
			fputs(i ? "," : "", out);
			put_area(area, out);
			continue;
		}
		count++;
		npages += area->npages;
		distinct += area->distinct_pages;
		written += area->written_pages;
	}
	fprintf(out,
		"],\"other_mappings\":{\"count\":%" PRIu64
		",\"npages\":%" PRIu64 ",\"distinct_pages\":%" PRIu64
		",\"written_pages\":%" PRIu64 "}",
		count, npages, distinct, written);
	free(order);
}

static void put_map(const struct report_figures *figures, FILE *out)
{
	const struct report_trace *trace = figures->trace;
	const struct report_cells *cells = figures->cells;

	fputs(",\"segments\":[", out);
	for (size_t i = 0; i < trace->nsegments; i++) {
		const struct report_segment *segment = &trace->segments[i];

		fprintf(out,
			"%s[%" PRIu32 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
			",%" PRIu64 ",%" PRIu32 ",",
			i ? "," : "", segment->pid, segment->first_gfn,
			segment->npages, segment->from_ns, segment->to_ns,
			segment->areas);
		put_text(trace->areas[segment->label].name, out);
		fputc(']', out);
	}
	fputs("],\"sizes\":[", out);
	for (size_t i = 0; i < cells->ncolumns; i++)
		fprintf(out, "%s%zu", i ? "," : "", cells->columns[i].size);
	fputs("],\"cells\":\"", out);
	put_base64(cells->bytes, cells->size, out);
	fputc('"', out);
}

void report_json_put(const struct report_figures *figures, FILE *out)
{
	put_head(figures, out);
	fprintf(out,
		",\"cell_pages\":%" PRIu64 ",\"column_intervals\":%" PRIu64,
		figures->cells->cell_pages, figures->cells->column_intervals);
	put_curve(figures, out);
	put_columns(figures, out);
	put_areas(figures->trace, out);
	if (figures->map)
		put_map(figures, out);
	fputs("}\n", out);
}
