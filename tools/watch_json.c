/* SPDX-License-Identifier: MIT */
/* watch_json.c - what watch sees, an object an interval */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "tool.h"
#include "utf8.h"
#include "watch_view.h"

static json_t *row_json(const struct sample_row *row)
{
	char name[UTF8_CLEAN_MAX(sizeof(row->mapping.name))];

	utf8_clean(row->mapping.name, name, sizeof(name));
	return json_pack("{s:i,s:I,s:I,s:s,s:b,s:I}", "pid", (int)row->pid,
			 "start", (json_int_t)row->mapping.start, "end",
			 (json_int_t)row->mapping.end, "name", name, "shared",
			 row->mapping.shared, "dirty_pages",
			 (json_int_t)row->pages);
}

static int by_pages(const void *a, const void *b)
{
	const struct sample_row *x = *(const struct sample_row *const *)a;
	const struct sample_row *y = *(const struct sample_row *const *)b;

	if (x->pages != y->pages)
		return x->pages < y->pages ? 1 : -1;
	return x < y ? -1 : 1;
}

/* Those that were written, the most written first. */
static json_t *rows_json(const struct sample *sample)
{
	const struct sample_row **written = calloc(
		sample->nrows ? sample->nrows : 1, sizeof(struct sample_row *));
	json_t *rows = json_array();
	uint32_t count = 0;

	for (uint32_t i = 0; written && i < sample->nrows; i++) {
		if (sample->rows[i].pages)
			written[count++] = &sample->rows[i];
	}
	if (count)
		qsort((void *)written, count, sizeof(struct sample_row *),
		      by_pages);
	for (uint32_t i = 0; i < count; i++)
		(void)json_array_append_new(rows, row_json(written[i]));
	free((void *)written);
	return rows;
}

static int show_json(struct view *view, const struct sample *sample)
{
	json_t *object = json_pack(
		"{s:I,s:I,s:I,s:I,s:I,s:I,s:i,s:i,s:I,s:I,s:i,s:o}", "time_ns",
		(json_int_t)sample->end_ns, "interval_ns",
		(json_int_t)(sample->end_ns - sample->begin_ns), "dirty_pages",
		(json_int_t)sample->pages, "dirty_bytes",
		(json_int_t)(sample->pages * TIDE_PAGE_SIZE), "harvest_ns",
		(json_int_t)sample->harvest_ns, "held_ns",
		(json_int_t)sample->held_ns, "mapping_changes",
		(int)sample->changes, "mappings_count", (int)sample->nrows,
		"left_out_mappings", (json_int_t)sample->left_out,
		"left_out_bytes", (json_int_t)sample->left_out_bytes,
		"processes", (int)sample->processes, "mappings",
		rows_json(sample));

	(void)view;
	if (!object)
		return tool_error("no memory");
	if (sample->window_ns) {
		(void)json_object_set_new(
			object, "window_ns",
			json_integer((json_int_t)sample->window_ns));
		(void)json_object_set_new(
			object, "window_dirty_pages",
			json_integer((json_int_t)sample->window_pages));
	}
	(void)json_dumpf(object, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
	putchar('\n');
	(void)fflush(stdout);
	json_decref(object);
	/* Nobody reads any more, or the disk is full: main says so. */
	return ferror(stdout) ? TOOL_OK : -1;
}

static void close_json(struct view *view)
{
	free(view);
}

int view_json_open(const struct watch_info *info, struct view **ret)
{
	struct view *view = calloc(1, sizeof(*view));

	(void)info;
	if (!view)
		return tool_error("no memory");
	*view = (struct view){
		.show = show_json,
		.close = close_json,
		.poll.fd = -1,
	};
	*ret = view;
	return -1;
}
