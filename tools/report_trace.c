/* SPDX-License-Identifier: MIT */
/* report_trace.c - what a report knows of a trace */
#include "report_trace.h"

#include "report_pages.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- mappings, as they are read ---- */

static int put_mapping(struct report_trace *trace,
		       const struct tide_trace_mapping *mapping)
{
	if (trace->nmappings == trace->mappings_max) {
		size_t max = trace->mappings_max * 2 + 64;
		struct report_mapping *mappings =
			realloc(trace->mappings, max * sizeof(*mappings));

		if (!mappings)
			return -ENOMEM;
		trace->mappings = mappings;
		trace->mappings_max = max;
	}
	trace->mappings[trace->nmappings++] = (struct report_mapping){
		.id = mapping->id,
		.mapping = *mapping,
		.from_ns = trace->trace_ns,
		.to_ns = UINT64_MAX,
	};
	return 0;
}

struct report_mapping *report_trace_mapping(const struct report_trace *trace,
					    uint32_t id)
{
	size_t low = 0, high = trace->nmappings;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (trace->mappings[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	assert(low < trace->nmappings && trace->mappings[low].id == id);
	return &trace->mappings[low];
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

int report_trace_put(struct report_trace *trace,
		     const struct tide_trace_event *event)
{
	const struct tide_trace_interval *interval = &event->interval;

	switch (event->kind) {
	case TIDE_TRACE_MAPPING:
		return put_mapping(trace, &event->mapping);
	case TIDE_TRACE_GONE:
		report_trace_mapping(trace, event->mapping.id)->to_ns =
			trace->trace_ns;
		return 0;
	case TIDE_TRACE_INTERVAL:
		break;
	}
	trace->intervals++;
	trace->trace_ns = interval->end_ns;
	trace->written_pages += interval->pages;
	trace->harvest_ns += interval->harvest_ns;
	trace->held_ns += interval->held_ns;
	trace->harvest_ns_max =
		larger(trace->harvest_ns_max, interval->harvest_ns);
	trace->held_ns_max = larger(trace->held_ns_max, interval->held_ns);
	return 0;
}

/* ---- areas ---- */

/* Pointers to mappings: process, name, shared or not, address. */
static int by_area(const void *a, const void *b)
{
	const struct report_mapping *const *left = a, *const *right = b;
	const struct tide_trace_mapping *x = &(*left)->mapping;
	const struct tide_trace_mapping *y = &(*right)->mapping;
	int names = strcmp(x->name, y->name);

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	if (names)
		return names;
	if (x->shared != y->shared)
		return x->shared - y->shared;
	if (x->first_gfn != y->first_gfn)
		return x->first_gfn < y->first_gfn ? -1 : 1;
	return 0;
}

static uint64_t area_end(const struct report_area *area)
{
	return area->first_gfn + area->npages;
}

static int belongs(const struct report_area *area,
		   const struct tide_trace_mapping *mapping)
{
	return area->pid == mapping->pid &&
	       strcmp(area->name, mapping->name) == 0 &&
	       !area->shared == !mapping->shared &&
	       mapping->first_gfn <= area_end(area);
}

static void put_in_area(struct report_trace *trace,
			struct report_mapping *mapping)
{
	const struct tide_trace_mapping *from = &mapping->mapping;
	struct report_area *area =
		trace->nareas ? &trace->areas[trace->nareas - 1] : NULL;

	if (!area || !belongs(area, from)) {
		area = &trace->areas[trace->nareas++];
		*area = (struct report_area){
			.pid = from->pid,
			.shared = from->shared,
			.name = from->name,
			.first_gfn = from->first_gfn,
			.npages = from->npages,
			.from_ns = mapping->from_ns,
			.to_ns = mapping->to_ns,
		};
	}
	mapping->area = (uint32_t)(trace->nareas - 1);
	area->mappings++;
	area->npages = larger(area_end(area), from->first_gfn + from->npages) -
		       area->first_gfn;
	area->to_ns = larger(area->to_ns, mapping->to_ns);
	if (mapping->from_ns < area->from_ns)
		area->from_ns = mapping->from_ns;
}

static int make_areas(struct report_trace *trace)
{
	size_t count = trace->nmappings;
	struct report_mapping **order =
		calloc(count + 1, sizeof(struct report_mapping *));

	trace->nareas = 0;
	trace->areas = calloc(count + 1, sizeof(*trace->areas));
	if (!order || !trace->areas) {
		free(order);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		struct report_mapping *mapping = &trace->mappings[i];

		if (mapping->to_ns > trace->trace_ns)
			mapping->to_ns = trace->trace_ns;
		order[i] = mapping;
	}
	qsort(order, count, sizeof(struct report_mapping *), by_area);
	for (size_t i = 0; i < count; i++)
		put_in_area(trace, order[i]);
	free(order);
	return 0;
}

/* ---- segments ---- */

static int by_address(const void *a, const void *b)
{
	const struct report_area *const *left = a, *const *right = b;
	const struct report_area *x = *left, *y = *right;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	if (x->first_gfn != y->first_gfn)
		return x->first_gfn < y->first_gfn ? -1 : 1;
	return 0;
}

/* @gap: pages between areas that do not part them. */
static void put_in_segment(struct report_trace *trace, struct report_area *area,
			   uint64_t gap)
{
	struct report_segment *segment =
		trace->nsegments ? &trace->segments[trace->nsegments - 1]
				 : NULL;
	uint64_t end = segment ? segment->first_gfn + segment->npages : 0;

	/* Touching is not overlapping. */
	if (!segment || segment->pid != area->pid ||
	    area->first_gfn >= end + gap) {
		segment = &trace->segments[trace->nsegments++];
		*segment = (struct report_segment){
			.pid = area->pid,
			.first_gfn = area->first_gfn,
			.from_ns = area->from_ns,
			.to_ns = area->to_ns,
		};
		end = area->first_gfn;
	}
	area->segment = (uint32_t)(trace->nsegments - 1);
	segment->areas++;
	segment->npages = larger(end, area_end(area)) - segment->first_gfn;
	segment->to_ns = larger(segment->to_ns, area->to_ns);
	if (area->from_ns < segment->from_ns)
		segment->from_ns = area->from_ns;
}

static int make_segments(struct report_trace *trace)
{
	size_t count = trace->nareas;
	struct report_area **order =
		calloc(count + 1, sizeof(struct report_area *));
	uint64_t gap = 0;

	trace->segments = calloc(count + 1, sizeof(*trace->segments));
	if (!order || !trace->segments) {
		free(order);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++)
		order[i] = &trace->areas[i];
	qsort(order, count, sizeof(struct report_area *), by_address);
	/* Too many to be drawn: those that are near each other become one. */
	do {
		trace->nsegments = 0;
		for (size_t i = 0; i < count; i++)
			put_in_segment(trace, order[i], gap);
		gap = gap * 4 + 1;
	} while (trace->nsegments > REPORT_SEGMENTS_MAX && gap < 1ull << 60);
	free(order);
	return trace->nsegments > REPORT_SEGMENTS_MAX ? -E2BIG : 0;
}

int report_trace_lay_out(struct report_trace *trace)
{
	uint64_t pages = 0;
	int err;

	if (trace->intervals == 0)
		return -ENODATA;
	err = make_areas(trace);
	for (size_t i = 0; !err && i < trace->nareas; i++) {
		pages += trace->areas[i].npages;
		if (pages > REPORT_PAGES_MAX)
			return -E2BIG;
	}
	return err ? err : make_segments(trace);
}

/* ---- what was written ---- */

void report_trace_change(struct report_trace *trace,
			 const struct tide_trace_event *event)
{
	const struct report_mapping *mapping =
		report_trace_mapping(trace, event->mapping.id);
	struct report_area *area = &trace->areas[mapping->area];

	if (event->kind == TIDE_TRACE_GONE)
		area->populated_now -= mapping->mapping.populated_pages;
	else
		area->populated_now += mapping->mapping.populated_pages;
	trace->changed = 1;
}

/* Only now: what takes the place of something may come before that goes. */
static void count_populated(struct report_trace *trace)
{
	for (size_t i = 0; trace->changed && i < trace->nareas; i++) {
		struct report_area *area = &trace->areas[i];

		area->populated_pages =
			larger(area->populated_pages, area->populated_now);
	}
	trace->changed = 0;
}

static int count_run(struct report_trace *trace,
		     const struct tide_trace_run *run)
{
	const struct report_mapping *mapping =
		report_trace_mapping(trace, run->mapping);
	struct report_area *area = &trace->areas[mapping->area];
	uint64_t first =
		mapping->mapping.first_gfn - area->first_gfn + run->first_page;

	if (!area->pages) {
		area->pages = report_pages_create(area->npages);
		if (!area->pages)
			return -ENOMEM;
	}
	area->written_pages += run->npages;
	area->interval_pages += run->npages;
	return report_pages_set(area->pages, first, run->npages,
				&area->distinct_pages);
}

int report_trace_count(struct report_trace *trace,
		       const struct tide_trace_interval *interval)
{
	count_populated(trace);
	for (size_t i = 0; i < interval->nruns; i++) {
		int err = count_run(trace, &interval->runs[i]);

		if (err)
			return err;
	}
	for (size_t i = 0; i < interval->nruns; i++) {
		const struct report_mapping *mapping =
			report_trace_mapping(trace, interval->runs[i].mapping);
		struct report_area *area = &trace->areas[mapping->area];

		if (area->interval_pages > area->peak_pages) {
			area->peak_pages = area->interval_pages;
			area->peak_ns = interval->begin_ns;
		}
		area->interval_pages = 0;
	}
	return 0;
}

void report_trace_fini(struct report_trace *trace)
{
	for (size_t i = 0; i < trace->nareas; i++)
		report_pages_destroy(trace->areas[i].pages);
	free(trace->segments);
	free(trace->areas);
	free(trace->mappings);
}
