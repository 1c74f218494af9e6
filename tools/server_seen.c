/* SPDX-License-Identifier: MIT */
/*
 * server_seen.c - what a server says of a process: sums, and the last interval
 *
 * Theory of operation
 * -------------------
 * A process may have thousands of mappings, and each would be a time series.
 * The SEEN_MAPPINGS with the most written pages have one; what is written in
 * the others in an interval goes to a sum of its own.  Which these are may
 * change, so a series may begin or end, but as long as it is there it is the
 * sum over all intervals since the mapping came, and never falls.  A mapping's
 * id is in its labels: another one at the same address is another series.
 */
#include "server_seen.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <tidemark/base.h>
#include <tidemark/version.h>
#include <unistd.h>

static uint64_t mapping_pages(const struct tide_mapping *mapping)
{
	return (mapping->end - mapping->start) / TIDE_PAGE_SIZE;
}

const char *seen_mapping_name(const struct tide_mapping *mapping)
{
	return mapping->name[0] ? mapping->name : "anonymous";
}

static void read_name(struct seen *seen)
{
	char path[32];
	ssize_t n = -1;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)seen->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, seen->name, sizeof(seen->name) - 1);
		(void)close(fd);
	}
	if (n < 0)
		return; /* it has ended, and keeps the name it had */
	seen->name[n] = '\0';
	seen->name[strcspn(seen->name, "\n")] = '\0';
}

/* ---- sums ---- */

/* Is @a to be shown before @b? */
static int is_before(const struct sample_row *a, const struct sample_row *b)
{
	if (a->all_pages != b->all_pages)
		return a->all_pages > b->all_pages;
	return a->id < b->id;
}

/* Most rows are behind the last one, once there are enough. */
static void add_row(struct seen *seen, const struct sample_row *row)
{
	uint32_t at = seen->nfirst;

	seen->mapped_pages += mapping_pages(&row->mapping);
	if (at == SEEN_MAPPINGS) {
		if (!is_before(row, &seen->first[--at])) {
			seen->other_last_pages += row->pages;
			return;
		}
		seen->other_last_pages += seen->first[at].pages;
	} else {
		seen->nfirst++;
	}
	for (; at > 0 && is_before(row, &seen->first[at - 1]); at--)
		seen->first[at] = seen->first[at - 1];
	seen->first[at] = *row;
}

static void take_rows(struct seen *seen, const struct sample *sample)
{
	seen->processes = sample->processes;
	seen->mappings = sample->nrows;
	seen->left_out = sample->left_out;
	seen->left_out_bytes = sample->left_out_bytes;
	seen->mapped_pages = 0;
	seen->nfirst = 0;
	seen->other_last_pages = 0;
	for (uint32_t i = 0; i < sample->nrows; i++)
		add_row(seen, &sample->rows[i]);
	seen->held_ns += sample->held_ns;
}

void seen_init(struct seen *seen, pid_t pid, uint64_t interval_ns,
	       const struct sample *first)
{
	*seen = (struct seen){
		.up = true,
		.pid = pid,
		.interval_ns = interval_ns,
	};
	read_name(seen);
	take_rows(seen, first);
}

void seen_add(struct seen *seen, const struct sample *sample)
{
	read_name(seen); /* it may have executed another program */
	take_rows(seen, sample);
	seen->other_pages += seen->other_last_pages;
	seen->intervals++;
	seen->last_ns = sample->end_ns - sample->begin_ns;
	seen->last_pages = sample->pages;
	seen->last_harvest_ns = sample->harvest_ns;
	seen->watched_ns += seen->last_ns;
	seen->pages += sample->pages;
	seen->harvest_ns += sample->harvest_ns;
	seen->changes += sample->changes;
	if (sample->window_ns) {
		seen->window_ns = sample->window_ns;
		seen->window_pages = sample->window_pages;
	}
}

/* ---- as metrics ---- */

static void describe(struct text *text, const char *name, const char *type,
		     const char *help)
{
	text_addf(text, "# HELP tidemark_%s %s\n# TYPE tidemark_%s %s\n", name,
		  help, name, type);
}

static void add_metric(struct text *text, const char *name, const char *type,
		       const char *help, uint64_t value)
{
	describe(text, name, type, help);
	text_addf(text, "tidemark_%s ", name);
	text_add_number(text, value);
	text_add(text, "\n");
}

static void add_seconds(struct text *text, const char *name, const char *type,
			const char *help, uint64_t ns)
{
	describe(text, name, type, help);
	text_addf(text, "tidemark_%s ", name);
	text_add_seconds(text, ns);
	text_add(text, "\n");
}

static void add_about(const struct seen *seen, struct text *text)
{
	add_metric(text, "up", "gauge",
		   "1: the process is being watched; 0: it has ended.",
		   seen->up);
	describe(text, "build_info", "gauge",
		 "1, with the version of tidemark.");
	text_add(text, "tidemark_build_info{version=");
	text_add_label(text, tide_version());
	text_add(text, "} 1\n");
	describe(text, "target_info", "gauge",
		 "1, with the process that is watched.");
	text_addf(text,
		  "tidemark_target_info{pid=\"%d\",name=", (int)seen->pid);
	text_add_label(text, seen->name);
	text_add(text, "} 1\n");
	add_metric(text, "page_size_bytes", "gauge", "The size of a page.",
		   TIDE_PAGE_SIZE);
	add_seconds(text, "interval_seconds", "gauge",
		    "The interval between two looks that was asked for.",
		    seen->interval_ns);
}

static void add_sums(const struct seen *seen, struct text *text)
{
	add_metric(text, "intervals_total", "counter",
		   "Intervals that are over.", seen->intervals);
	add_seconds(text, "watched_seconds_total", "counter",
		    "The length of all intervals.", seen->watched_ns);
	add_metric(text, "dirty_pages_total", "counter",
		   "Pages that were written, each once in an interval.",
		   seen->pages);
	add_metric(text, "dirty_bytes_total", "counter",
		   "Bytes of the pages that were written, each page once in "
		   "an interval.",
		   seen->pages * TIDE_PAGE_SIZE);
	add_seconds(text, "harvest_seconds_total", "counter",
		    "Time that looking took.", seen->harvest_ns);
	add_seconds(text, "held_seconds_total", "counter",
		    "Time that a thread of a process was held, to attach.",
		    seen->held_ns);
	add_metric(text, "mapping_changes_total", "counter",
		   "Mappings that came or went.", seen->changes);
}

static void add_last(const struct seen *seen, struct text *text)
{
	if (seen->intervals) {
		add_seconds(text, "last_interval_seconds", "gauge",
			    "The length of the last interval.", seen->last_ns);
		add_metric(text, "last_interval_dirty_pages", "gauge",
			   "Pages that were written in the last interval.",
			   seen->last_pages);
		add_metric(text, "last_interval_dirty_bytes", "gauge",
			   "Bytes of the pages that were written in the last "
			   "interval.",
			   seen->last_pages * TIDE_PAGE_SIZE);
		add_seconds(text, "last_interval_harvest_seconds", "gauge",
			    "Time that looking took in the last interval.",
			    seen->last_harvest_ns);
	}
	if (seen->window_ns) {
		add_seconds(text, "window_seconds", "gauge",
			    "The length of the last window of intervals.",
			    seen->window_ns);
		add_metric(text, "window_dirty_pages", "gauge",
			   "Working set: distinct pages that were written in "
			   "the last window.",
			   seen->window_pages);
		add_metric(text, "window_dirty_bytes", "gauge",
			   "Working set: bytes of the distinct pages that were "
			   "written in the last window.",
			   seen->window_pages * TIDE_PAGE_SIZE);
	}
	add_metric(text, "processes", "gauge", "Processes that are watched.",
		   seen->processes);
	add_metric(text, "mappings", "gauge", "Mappings that are watched.",
		   seen->mappings);
	add_metric(text, "left_out_mappings", "gauge",
		   "Mappings that cannot be watched.", seen->left_out);
	add_metric(text, "left_out_bytes", "gauge",
		   "Bytes of the mappings that cannot be watched.",
		   seen->left_out_bytes);
	add_metric(text, "mapped_bytes", "gauge",
		   "Bytes of the mappings that are watched.",
		   seen->mapped_pages * TIDE_PAGE_SIZE);
}

static void add_labels(struct text *text, const char *name,
		       const struct sample_row *row)
{
	text_addf(text,
		  "tidemark_%s{pid=\"%d\",mapping=\"%u\",start=\"0x%llx\","
		  "name=",
		  name, (int)row->pid, row->id,
		  (unsigned long long)row->mapping.start);
	text_add_label(text, seen_mapping_name(&row->mapping));
	text_add(text, "} ");
}

static void add_dirty_of_mappings(const struct seen *seen, struct text *text,
				  const char *name, const char *help,
				  uint64_t unit)
{
	describe(text, name, "counter", help);
	for (uint32_t i = 0; i < seen->nfirst; i++) {
		add_labels(text, name, &seen->first[i]);
		text_add_number(text, seen->first[i].all_pages * unit);
		text_add(text, "\n");
	}
	text_addf(text,
		  "tidemark_%s{pid=\"\",mapping=\"\",start=\"\","
		  "name=\"other\"} ",
		  name);
	text_add_number(text, seen->other_pages * unit);
	text_add(text, "\n");
}

void seen_metrics(const struct seen *seen, struct text *ret)
{
	add_about(seen, ret);
	add_sums(seen, ret);
	add_last(seen, ret);
	add_dirty_of_mappings(
		seen, ret, "mapping_dirty_pages_total",
		"Pages of the mapping that were written, each once in an "
		"interval, for the 50 mappings that have the most, and for "
		"those that were not among these at the time, as other.",
		1);
	add_dirty_of_mappings(
		seen, ret, "mapping_dirty_bytes_total",
		"Bytes of the pages of the mapping that were written, each "
		"page once in an interval; mappings as above.",
		TIDE_PAGE_SIZE);
	describe(ret, "mapping_size_bytes", "gauge",
		 "The size of the mapping.");
	for (uint32_t i = 0; i < seen->nfirst; i++) {
		const struct sample_row *row = &seen->first[i];

		add_labels(ret, "mapping_size_bytes", row);
		text_add_number(ret, row->mapping.end - row->mapping.start);
		text_add(ret, "\n");
	}
}
_Static_assert(SEEN_MAPPINGS == 50, "a help above says so");

/* ---- as JSON ---- */

static void add_member(struct text *text, const char *name, uint64_t value)
{
	text_addf(text, "\"%s\":", name);
	text_add_number(text, value);
	text_add(text, ",");
}

void seen_json(const struct seen *seen, struct text *ret)
{
	add_member(ret, "pid", (uint64_t)seen->pid);
	text_add(ret, "\"name\":");
	text_add_json(ret, seen->name);
	text_add(ret, ",");
	add_member(ret, "interval_ns", seen->interval_ns);
	add_member(ret, "intervals", seen->intervals);
	add_member(ret, "watched_ns", seen->watched_ns);
	add_member(ret, "dirty_pages", seen->pages);
	add_member(ret, "harvest_ns", seen->harvest_ns);
	add_member(ret, "held_ns", seen->held_ns);
	add_member(ret, "window_ns", seen->window_ns);
	add_member(ret, "window_dirty_pages", seen->window_pages);
	add_member(ret, "processes", seen->processes);
	add_member(ret, "mappings_count", seen->mappings);
	add_member(ret, "mapped_pages", seen->mapped_pages);
	add_member(ret, "other_last_pages", seen->other_last_pages);
	text_add(ret, "\"mappings\":[");
	for (uint32_t i = 0; i < seen->nfirst; i++) {
		const struct sample_row *row = &seen->first[i];

		text_add(ret, i ? ",{" : "{");
		add_member(ret, "id", row->id);
		add_member(ret, "pid", (uint64_t)row->pid);
		text_addf(ret, "\"start\":\"%llx\",\"end\":\"%llx\",",
			  (unsigned long long)row->mapping.start,
			  (unsigned long long)row->mapping.end);
		add_member(ret, "pages", mapping_pages(&row->mapping));
		add_member(ret, "dirty_pages", row->pages);
		add_member(ret, "all_dirty_pages", row->all_pages);
		text_addf(ret, "\"shared\":%s,\"name\":",
			  row->mapping.shared ? "true" : "false");
		text_add_json(ret, seen_mapping_name(&row->mapping));
		text_add(ret, "}");
	}
	text_add(ret, "]");
}
