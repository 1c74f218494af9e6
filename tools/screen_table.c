/* SPDX-License-Identifier: MIT */
/* screen_table.c - the mappings, sorted by what they write */
#include <curses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tidemark/base.h>

#include "screen.h"
#include "screen_term.h"
#include "screen_text.h"
#include "units.h"

#define STRIP 16

static const char *const sort_names[SORT_COUNT] = {
	[SORT_WRITTEN] = "what they wrote",
	[SORT_TOTAL] = "their total",
	[SORT_NAME] = "name",
	[SORT_ADDRESS] = "address",
};

/* ---- order ---- */

struct order_by {
	const struct mapping *mappings;
	enum sort sort;
};

static int more(uint64_t x, uint64_t y)
{
	return (x < y) - (x > y);
}

static int compare(const void *a, const void *b, void *opaque)
{
	const struct order_by *by = opaque;
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	const struct mapping *x = &by->mappings[i], *y = &by->mappings[j];
	int order = 0;

	if (by->sort == SORT_WRITTEN)
		order = more(x->pages, y->pages);
	if (by->sort == SORT_NAME)
		order = strcmp(mapping_name(x), mapping_name(y));
	if (!order && by->sort != SORT_ADDRESS)
		order = more(x->all_pages, y->all_pages);
	/* They are by process and address. */
	return order ? order : (i > j) - (i < j);
}

/* Return: 0, or -1: there is no memory, and it is as it was. */
static int bring_in_order(struct table *table, const struct picture *picture)
{
	struct order_by by = {
		.mappings = picture->mappings,
		.sort = table->sort,
	};

	if (table->order && table->version == picture->version &&
	    table->now == picture->now)
		return 0;
	if (!table->order || table->count != picture->nmappings) {
		uint32_t *order = realloc(table->order, (picture->nmappings +
							 1u) * sizeof(*order));

		if (!order)
			return -1;
		table->order = order;
		table->count = picture->nmappings;
	}
	for (uint32_t i = 0; i < table->count; i++)
		table->order[i] = i;
	if (table->count)
		qsort_r(table->order, table->count, sizeof(*table->order),
			compare, &by);
	table->version = picture->version;
	table->now = picture->now;
	return 0;
}

void table_sort(struct screen *screen, enum sort sort)
{
	screen->table.sort = sort;
	screen->table.now = UINT32_MAX;
	screen->table.top = 0;
}

void table_fini(struct table *table)
{
	free(table->order);
	table->order = NULL;
}

/* Where that mapping is in it. */
static uint32_t place_of(const struct table *table, uint32_t mapping)
{
	for (uint32_t i = 0; i < table->count; i++) {
		if (table->order[i] == mapping)
			return i;
	}
	return 0;
}

/* ---- drawing ---- */

/* What there is room for. */
struct columns {
	bool size, share, total, address, strip, pid;
};

static struct columns columns_for(const struct picture *picture, int columns)
{
	return (struct columns){
		.size = columns >= 48,
		.share = columns >= 56,
		.total = columns >= 78,
		.address = columns >= 96,
		.strip = columns >= 118,
		.pid = picture->processes > 1 && columns >= 64,
	};
}

static void draw_titles(struct rect rect, struct columns has)
{
	char text[TEXT_MAX];

	(void)snprintf(text, sizeof(text), "%8s %10s%s%s%s%s%s%s  name",
		       "pages", "bytes", has.share ? "   share" : "",
		       has.size ? "       size" : "",
		       has.total ? "     total      bytes" : "",
		       has.address ? "  address     " : "",
		       has.strip ? "  heat            " : "",
		       has.pid ? "      pid" : "");
	term_style(STYLE_DIM);
	(void)text_put(rect.y, rect.x, rect.columns, "%s", text);
}

/* A mapping's heat, from its first page to its last. */
static void draw_strip(const struct picture *picture,
		       const struct mapping *mapping, int y, int x)
{
	uint64_t npages = mapping_pages(mapping);
	uint64_t cells = npages < STRIP ? npages : STRIP;

	for (uint64_t i = 0; i < cells; i++) {
		uint64_t first = npages * i / cells;
		uint64_t n = npages * (i + 1) / cells - first;
		bool written;
		double heat =
			picture_heat(picture, mapping, first, n, &written);

		(void)text_put(y, x + (int)i, 1, "%s",
			       term_heat(picture_level(heat, n, written),
					 MARK_NONE, false));
	}
}

static void draw_row(const struct picture *picture,
		     const struct mapping *mapping, struct rect rect,
		     struct columns has, bool chosen)
{
	uint64_t size = mapping->end - mapping->start;
	enum term_style style = chosen		 ? STYLE_SELECTED
				: mapping->pages ? STYLE_PLAIN
						 : STYLE_DIM;
	int y = rect.y, x = rect.x, end = rect.x + rect.columns;

	term_style(style);
	if (chosen)
		(void)mvhline(y, x, ' ', rect.columns);
	x += text_put(y, x, end - x, "%8llu %10s",
		      (unsigned long long)mapping->pages,
		      units_size(mapping->pages * TIDE_PAGE_SIZE).text);
	if (has.share)
		x += text_put(y, x, end - x, " %7s",
			      text_percent((double)mapping->pages *
						   (double)TIDE_PAGE_SIZE,
					   (double)size)
				      .text);
	if (has.size)
		x += text_put(y, x, end - x, " %10s", units_size(size).text);
	if (has.total)
		x += text_put(
			y, x, end - x, " %9llu %10s",
			(unsigned long long)mapping->all_pages,
			units_size(mapping->all_pages * TIDE_PAGE_SIZE).text);
	if (has.address)
		x += text_put(y, x, end - x, "  %012llx",
			      (unsigned long long)mapping->start);
	if (has.strip) {
		draw_strip(picture, mapping, y, x + 2);
		term_style(style);
		x += 2 + STRIP;
	}
	if (has.pid)
		x += text_put(y, x, end - x, " %8d", (int)mapping->pid);
	(void)text_put_end(y, x + 2, end - x - 2, term_glyphs()->cut,
			   mapping_name(mapping));
}

void table_draw(struct screen *screen, struct rect rect)
{
	const struct picture *picture = screen_picture(screen);
	struct table *table = &screen->table;
	struct columns has = columns_for(picture, rect.columns);
	uint32_t chosen, rows;
	char text[192], left_out[80] = "";

	if (bring_in_order(table, picture))
		return;
	if (picture->left_out)
		(void)snprintf(left_out, sizeof(left_out),
			       " and %llu not looked at (%s)",
			       (unsigned long long)picture->left_out,
			       units_size(picture->left_out_bytes).text);
	(void)snprintf(text, sizeof(text), "Mappings: %u%s", picture->nmappings,
		       left_out);
	if (picture->now)
		(void)snprintf(text, sizeof(text),
			       "Mappings: %u%s, written in %s, by %s",
			       picture->nmappings, left_out,
			       units_time(picture->last.ns).text,
			       sort_names[table->sort]);
	screen_head(screen, PANE_TABLE, &rect, text);
	if (rect.rows < 2)
		return;
	draw_titles(rect, has);
	rect.y++;
	rect.rows--;
	table->page = rect.rows;
	rows = (uint32_t)rect.rows;
	if (table->top + rows > table->count)
		table->top = table->count > rows ? table->count - rows : 0;
	chosen = screen_chosen(screen);
	for (uint32_t i = 0; i < rows && table->top + i < table->count; i++) {
		uint32_t index = table->order[table->top + i];

		draw_row(picture, &picture->mappings[index], rect, has,
			 index == chosen);
		rect.y++;
	}
}

/* ---- keys ---- */

bool table_key(struct screen *screen, int key)
{
	const struct picture *picture = screen_picture(screen);
	struct table *table = &screen->table;
	int64_t at, page = table->page > 0 ? table->page : 1;

	if (bring_in_order(table, picture) || !table->count)
		return false;
	at = place_of(table, screen_chosen(screen));
	switch (key) {
	case KEY_UP:
		at--;
		break;
	case KEY_DOWN:
		at++;
		break;
	case KEY_PPAGE:
		at -= page;
		break;
	case KEY_NPAGE:
		at += page;
		break;
	case KEY_HOME:
		at = 0;
		break;
	case KEY_END:
		at = table->count - 1;
		break;
	default:
		return false;
	}
	at = at < 0 ? 0 : at >= table->count ? table->count - 1 : at;
	if (at < table->top)
		table->top = (uint32_t)at;
	if (at >= table->top + page)
		table->top = (uint32_t)(at - page + 1);
	screen_go_to(screen, picture->mappings[table->order[at]].pid,
		     picture->mappings[table->order[at]].start);
	return true;
}
