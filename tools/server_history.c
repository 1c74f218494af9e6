/* SPDX-License-Identifier: MIT */
/*
 * server_history.c - the last intervals, for a map of them
 *
 * Theory of operation
 * -------------------
 * A column has at most RUNS_MAX runs.  They are taken from the sample in order,
 * and when there are too many, runs of a mapping whose pages are in the same
 * block of 2^k are joined, for a k that grows until they are few.  A run that
 * is longer than a block stays as it is.  Where even one run a mapping is too
 * many, the mappings with the fewest pages are left out, and counted; so are
 * those beyond SEGMENTS_MAX in all the columns.
 *
 * A ring has the last COLUMNS columns, from number oldest to newest.
 *
 * Invariants
 *   I1  column n, if it is there, is columns[n % COLUMNS]
 *   I2  segments are sorted by the id of the mapping, each once
 *   I3  a segment that is not in any column is not there
 */
#include "server_history.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <tidemark/base.h>

#include "server_seen.h"

#define COLUMNS 600u
#define COLUMNS_AT_ONCE 60u
#define RUNS_MAX 400u
#define ROOM (2 * RUNS_MAX)
#define SEGMENTS_MAX 1000u
#define BLOCK_MAX 52u /* 2^52 pages are an address space */

struct run {
	uint32_t id, row;	/* in the sample */
	uint64_t first, npages; /* pages; in the mapping */
	uint64_t pages;		/* of them that were written */
};

struct column {
	uint64_t begin_ns;
	uint32_t newest_id; /* of the mappings that were there */
	struct text json;   /* made once, and given many times */
};

struct segment {
	uint32_t id;
	pid_t pid;
	struct tide_mapping mapping;
	uint64_t from_ns, to_ns; /* to_ns 0: it is there */
	uint64_t last;		 /* column that it is in */
};

struct history {
	struct column columns[COLUMNS];
	uint64_t oldest, newest; /* 1, 0: none */
	struct segment *segments;
	uint32_t nsegments, max_segments;
	uint64_t segments_changed; /* with this column */
	uint32_t first_newest_id;
};

/* Runs of an interval, while they are taken. */
struct taking {
	struct run runs[ROOM];
	uint32_t nruns;
	unsigned int block; /* k */
	uint64_t left_out;
};

/* ---- fewer runs ---- */

static int join(struct run *run, const struct run *next, unsigned int block)
{
	uint64_t end = next->first + next->npages;

	if (run->id != next->id || run->first >> block != (end - 1) >> block)
		return 0;
	run->npages = end - run->first;
	run->pages += next->pages;
	return 1;
}

static int by_pages(const void *a, const void *b)
{
	const struct run *x = a, *y = b;

	if (x->pages != y->pages)
		return x->pages < y->pages ? 1 : -1;
	return (x->id > y->id) - (x->id < y->id);
}

/* One run a mapping, and yet too many. */
static void leave_out(struct taking *taking)
{
	qsort(taking->runs, taking->nruns, sizeof(taking->runs[0]), by_pages);
	for (uint32_t i = RUNS_MAX / 2; i < taking->nruns; i++)
		taking->left_out += taking->runs[i].pages;
	taking->nruns = RUNS_MAX / 2;
}

static void make_fewer(struct taking *taking)
{
	while (taking->nruns > RUNS_MAX && taking->block < BLOCK_MAX) {
		uint32_t kept = 0;

		taking->block++;
		for (uint32_t i = 1; i < taking->nruns; i++) {
			if (!join(&taking->runs[kept], &taking->runs[i],
				  taking->block))
				taking->runs[++kept] = taking->runs[i];
		}
		taking->nruns = kept + 1;
	}
	if (taking->nruns > RUNS_MAX)
		leave_out(taking);
}

static void take(struct taking *taking, const struct sample *sample)
{
	for (size_t i = 0; i < sample->nruns; i++) {
		const struct sample_run *from = &sample->runs[i];
		const struct run run = {
			.id = sample->rows[from->row].id,
			.row = from->row,
			.first = from->first_page,
			.npages = from->npages,
			.pages = from->npages,
		};

		if (taking->nruns &&
		    join(&taking->runs[taking->nruns - 1], &run, taking->block))
			continue;
		if (taking->nruns == ROOM)
			make_fewer(taking);
		taking->runs[taking->nruns++] = run;
	}
	make_fewer(taking);
}

/* ---- segments ---- */

/* Where the one with @id is, or should be. */
static uint32_t place_of(const struct history *history, uint32_t id)
{
	uint32_t low = 0, high = history->nsegments;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (history->segments[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct segment *find(struct history *history, uint32_t id)
{
	uint32_t at = place_of(history, id);

	return at < history->nsegments && history->segments[at].id == id
		       ? &history->segments[at]
		       : NULL;
}

/* When the mapping came: ids are given in that order. */
static uint64_t came_at(const struct history *history, uint32_t id)
{
	if (id <= history->first_newest_id)
		return 0;
	for (uint64_t n = history->oldest; n <= history->newest; n++) {
		const struct column *column = &history->columns[n % COLUMNS];

		if (column->newest_id >= id)
			return column->begin_ns;
	}
	assert(!"the newest column has its id");
	return 0;
}

static int add_segment(struct history *history, const struct sample_row *row)
{
	uint32_t at = place_of(history, row->id);

	if (history->nsegments == history->max_segments) {
		uint32_t max = history->max_segments * 2 + 64;
		struct segment *segments =
			realloc(history->segments, max * sizeof(*segments));

		if (!segments)
			return -ENOMEM;
		history->segments = segments;
		history->max_segments = max;
	}
	memmove(&history->segments[at + 1], &history->segments[at],
		(history->nsegments - at) * sizeof(history->segments[0]));
	history->nsegments++;
	history->segments[at] = (struct segment){
		.id = row->id,
		.pid = row->pid,
		.mapping = row->mapping,
		.from_ns = came_at(history, row->id),
	};
	history->segments_changed = history->newest;
	return 0;
}

/* The segments of what was taken; where they are too many, it is left out. */
static int take_segments(struct history *history, const struct sample *sample,
			 struct taking *taking)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < sample->ngone; i++) {
		struct segment *segment = find(history, sample->gone[i]);

		if (!segment)
			continue;
		segment->to_ns = sample->begin_ns;
		history->segments_changed = history->newest;
	}
	for (uint32_t i = 0; i < taking->nruns; i++) {
		const struct run run = taking->runs[i];

		if (!find(history, run.id) &&
		    history->nsegments < SEGMENTS_MAX &&
		    add_segment(history, &sample->rows[run.row]))
			return -ENOMEM;
		if (find(history, run.id)) {
			find(history, run.id)->last = history->newest;
			taking->runs[kept++] = run;
		} else {
			taking->left_out += run.pages;
		}
	}
	taking->nruns = kept;
	return 0;
}

/* Those that are in no column any more.  I3 */
static void forget_segments(struct history *history)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < history->nsegments; i++) {
		if (history->segments[i].last < history->oldest)
			continue;
		history->segments[kept++] = history->segments[i];
	}
	if (kept < history->nsegments)
		history->segments_changed = history->newest;
	history->nsegments = kept;
}

/* ---- columns ---- */

static uint32_t newest_id(const struct sample *sample)
{
	uint32_t newest = 0;

	for (uint32_t i = 0; i < sample->nrows; i++) {
		if (sample->rows[i].id > newest)
			newest = sample->rows[i].id;
	}
	return newest;
}

struct history *history_create(const struct sample *first)
{
	struct history *history = calloc(1, sizeof(*history));

	if (!history)
		return NULL;
	history->oldest = 1;
	history->first_newest_id = newest_id(first);
	return history;
}

void history_destroy(struct history *history)
{
	if (!history)
		return;
	for (uint32_t i = 0; i < COLUMNS; i++)
		text_free(&history->columns[i].json);
	free(history->segments);
	free(history);
}

uint64_t history_newest(const struct history *history)
{
	return history->newest;
}

static void make_json(struct column *column, uint64_t number,
		      const struct sample *sample, const struct taking *taking)
{
	const struct {
		const char *name;
		uint64_t value;
	} members[] = {
		{ "{\"number\":", number },
		{ ",\"begin_ns\":", sample->begin_ns },
		{ ",\"end_ns\":", sample->end_ns },
		{ ",\"dirty_pages\":", sample->pages },
		{ ",\"harvest_ns\":", sample->harvest_ns },
		{ ",\"window_ns\":", sample->window_ns },
		{ ",\"window_dirty_pages\":", sample->window_pages },
		{ ",\"left_out_pages\":", taking->left_out },
	};
	struct text *text = &column->json;

	text_free(text);
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		text_add(text, members[i].name);
		text_add_number(text, members[i].value);
	}
	text_add(text, ",\"runs\":[");
	for (uint32_t i = 0; i < taking->nruns; i++) {
		const struct run *run = &taking->runs[i];
		const uint64_t numbers[] = { run->id, run->first, run->npages,
					     run->pages };

		for (uint32_t j = 0; j < 4; j++) {
			if (i || j)
				text_add(text, ",");
			text_add_number(text, numbers[j]);
		}
	}
	text_add(text, "]}");
}

int history_add(struct history *history, const struct sample *sample)
{
	struct taking taking = { .nruns = 0 };
	struct column *column;

	take(&taking, sample);
	column = &history->columns[++history->newest % COLUMNS]; /* I1 */
	if (history->newest - history->oldest == COLUMNS)
		history->oldest++;
	column->begin_ns = sample->begin_ns;
	column->newest_id = newest_id(sample);
	forget_segments(history);
	if (take_segments(history, sample, &taking))
		return -ENOMEM;
	make_json(column, history->newest, sample, &taking);
	return column->json.failed ? -ENOMEM : 0;
}

/* ---- as JSON ---- */

static void add_segments(const struct history *history, struct text *text)
{
	text_add(text, "\"segments\":[");
	for (uint32_t i = 0; i < history->nsegments; i++) {
		const struct segment *segment = &history->segments[i];
		const struct tide_mapping *mapping = &segment->mapping;

		text_addf(text,
			  "%s{\"id\":%u,\"pid\":%d,\"first\":%llu,"
			  "\"npages\":%llu,\"from_ns\":%llu,",
			  i ? "," : "", segment->id, (int)segment->pid,
			  (unsigned long long)(mapping->start / TIDE_PAGE_SIZE),
			  (unsigned long long)((mapping->end - mapping->start) /
					       TIDE_PAGE_SIZE),
			  (unsigned long long)segment->from_ns);
		if (segment->to_ns)
			text_addf(text, "\"to_ns\":%llu,",
				  (unsigned long long)segment->to_ns);
		text_add(text, "\"name\":");
		text_add_json(text, seen_mapping_name(mapping));
		text_add(text, "}");
	}
	text_add(text, "],");
}

void history_json(const struct history *history, uint64_t since,
		  struct text *ret)
{
	uint64_t from, to;

	/* From another life of ours? */
	if (since > history->newest)
		since = 0;
	from = since + 1 < history->oldest ? history->oldest : since + 1;
	to = history->newest;
	if (to - from + 1 > COLUMNS_AT_ONCE)
		to = from + COLUMNS_AT_ONCE - 1;
	if (!since || history->segments_changed > since)
		add_segments(history, ret);
	text_addf(ret, "\"oldest\":%llu,\"newest\":%llu,\"more\":%s,",
		  (unsigned long long)history->oldest,
		  (unsigned long long)history->newest,
		  to < history->newest ? "true" : "false");
	text_add(ret, "\"columns\":[");
	for (uint64_t n = from; n <= to; n++) {
		if (n > from)
			text_add(ret, ",");
		text_add_text(ret, &history->columns[n % COLUMNS].json);
	}
	text_add(ret, "]");
}
