/* SPDX-License-Identifier: MIT */
/*
 * report_trace.h - what a report knows of a trace
 *
 * A trace is read several times: first for what was mapped and for how long,
 * then for what was written.  Mappings that are the same thing to people (a
 * heap that grew comes and goes as many mappings) are one area; areas that
 * share addresses are one segment, the unit that the map is laid out by.
 */
#ifndef REPORT_TRACE_H
#define REPORT_TRACE_H

#include <stddef.h>
#include <stdint.h>
#include <tidemark/trace.h>

/* More would be neither seen nor drawn. */
#define REPORT_SEGMENTS_MAX 16384u
/* 256 TiB: nobody has it, and it bounds what a made-up trace costs. */
#define REPORT_PAGES_MAX (1ull << 36)

struct report_mapping {
	uint32_t id, area;
	struct tide_trace_mapping mapping;
	uint64_t from_ns, to_ns; /* when it was there */
};

/* Mappings of a process with the same name, that touch or overlap. */
struct report_area {
	uint32_t pid, segment, mappings;
	int shared;
	const char *name;
	uint64_t first_gfn, npages;
	uint64_t from_ns, to_ns;
	uint64_t populated_pages; /* as they came, the most in an interval */
	uint64_t populated_now;	  /* while it is read */

	uint64_t distinct_pages;      /* written at least once */
	uint64_t written_pages;	      /* sum over the intervals */
	uint64_t interval_pages;      /* while it is read */
	uint64_t peak_pages, peak_ns; /* in the interval that began then */
	uint64_t hottest_gfn, hottest_npages; /* the cell with the most */
	uint64_t hottest_written_pages;
	struct report_pages *pages; /* which; NULL: none yet */
};

struct report_segment {
	uint32_t pid, areas, label; /* label: the area to name it after */
	uint64_t first_gfn, npages;
	uint64_t from_ns, to_ns;
	uint64_t first_row; /* in the cells */
};

struct report_trace {
	struct tide_trace_info info;
	struct report_mapping *mappings; /* by id */
	size_t nmappings, mappings_max;
	struct report_area *areas;
	size_t nareas;
	struct report_segment *segments; /* by process and address */
	size_t nsegments;

	int changed; /* since the last interval was counted */

	uint64_t intervals, trace_ns, written_pages;
	uint64_t harvest_ns, harvest_ns_max;
	uint64_t held_ns, held_ns_max;
};

/* The first time: what is there, and how long.  Return: 0; -ENOMEM */
int report_trace_put(struct report_trace *trace,
		     const struct tide_trace_event *event);

/* When that is over.  Return: 0; -ENODATA: there is no interval; -E2BIG: more
 * memory than REPORT_PAGES_MAX; -ENOMEM */
int report_trace_lay_out(struct report_trace *trace);

/* The mapping with this id; every id that the reader gives is known. */
struct report_mapping *report_trace_mapping(const struct report_trace *trace,
					    uint32_t id);

/* The second time: a mapping came or went. */
void report_trace_change(struct report_trace *trace,
			 const struct tide_trace_event *event);

/* Count one interval's runs.  Return: 0; -ENOMEM */
int report_trace_count(struct report_trace *trace,
		       const struct tide_trace_interval *interval);

void report_trace_fini(struct report_trace *trace);

#endif
