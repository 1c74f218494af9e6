/* SPDX-License-Identifier: MIT */
/*
 * screen_map.c - the heat map: all mappings, one after another
 *
 * A cell is 2^zoom pages of a mapping; a mapping begins with a new cell.  Where
 * each begins is kept, so that what is drawn is found by bisection.
 */
#include <curses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tidemark/base.h>

#include "screen.h"
#include "screen_term.h"
#include "screen_text.h"
#include "units.h"

#define ADDRESS 14
#define ZOOM_MAX 30u

/* ---- layout ---- */

static uint64_t cells_of(const struct mapping *mapping, unsigned int zoom)
{
	return (mapping_pages(mapping) + (1ull << zoom) - 1) >> zoom;
}

static uint64_t cells_of_all(const struct picture *picture, unsigned int zoom)
{
	uint64_t cells = 0;

	for (uint32_t i = 0; i < picture->nmappings; i++)
		cells += cells_of(&picture->mappings[i], zoom);
	return cells;
}

/* So that all of it can be seen; or, of very many, not much more than that. */
static unsigned int zoom_that_fits(const struct picture *picture, uint64_t room)
{
	unsigned int zoom = 0;

	if (room < picture->nmappings * 2ull)
		room = picture->nmappings * 2ull;
	while (zoom < ZOOM_MAX && cells_of_all(picture, zoom) > room)
		zoom++;
	return zoom;
}

/* Return: 0, or -1: there is no memory, and it is as it was. */
static int lay_out(struct map *map, const struct picture *picture)
{
	uint64_t room = (uint64_t)map->columns * (uint64_t)map->rows;
	uint64_t *cells;

	if (map->fits)
		map->zoom = zoom_that_fits(picture, room);
	if (map->cells && map->version == picture->version &&
	    map->zoom_of_cells == map->zoom)
		return 0;
	cells = realloc(map->cells, (picture->nmappings + 1u) * sizeof(*cells));
	if (!cells)
		return -1;
	cells[0] = 0;
	for (uint32_t i = 0; i < picture->nmappings; i++)
		cells[i + 1] =
			cells[i] + cells_of(&picture->mappings[i], map->zoom);
	map->cells = cells;
	map->count = picture->nmappings;
	map->version = picture->version;
	map->zoom_of_cells = map->zoom;
	return 0;
}

void map_fini(struct map *map)
{
	free(map->cells);
	map->cells = NULL;
}

/* The mapping that has this cell. */
static uint32_t mapping_of(const struct map *map, uint64_t cell)
{
	uint32_t low = 0, high = map->count - 1;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (map->cells[middle + 1] <= cell)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static uint64_t cell_of_cursor(const struct screen *screen)
{
	const struct picture *picture = screen_picture(screen);
	uint32_t index = screen_chosen(screen);
	const struct mapping *mapping = &picture->mappings[index];
	uint64_t address = screen->cursor.address;

	/* Between mappings: the next one, or the last. */
	if (screen->cursor.pid != mapping->pid || address < mapping->start)
		address = mapping->start;
	if (address >= mapping->end)
		address = mapping->end - 1;
	return screen->map.cells[index] +
	       ((address - mapping->start) / TIDE_PAGE_SIZE >>
		screen->map.zoom);
}

static uint64_t rows_of(const struct map *map)
{
	uint64_t columns = (uint64_t)map->columns;

	return (map->cells[map->count] + columns - 1) / columns;
}

/* The cursor has moved: it is to be seen. */
static void follow(struct screen *screen)
{
	struct map *map = &screen->map;
	uint64_t rows = (uint64_t)map->rows, all = rows_of(map);
	uint64_t row = cell_of_cursor(screen) / (uint64_t)map->columns;

	if (screen->moved && (map->seen.pid != screen->cursor.pid ||
			      map->seen.address != screen->cursor.address)) {
		bool known = map->seen.pid != 0;

		map->seen = screen->cursor;
		/* After zooming anyway. */
		if (!known || row < map->top || row >= map->top + rows)
			map->top = row > rows / 3 ? row - rows / 3 : 0;
	}
	if (map->top + rows > all)
		map->top = all > rows ? all - rows : 0;
}

/* ---- drawing ---- */

struct cell {
	const struct mapping *mapping;
	uint64_t first, npages; /* in it */
	double heat;
	bool written;
};

static uint64_t address_of(const struct screen *screen, uint32_t index,
			   uint64_t cell)
{
	const struct map *map = &screen->map;

	return screen_picture(screen)->mappings[index].start +
	       ((cell - map->cells[index]) << map->zoom) * TIDE_PAGE_SIZE;
}

static struct cell cell_at(const struct screen *screen, uint32_t index,
			   uint64_t cell)
{
	const struct map *map = &screen->map;
	const struct picture *picture = screen_picture(screen);
	struct cell ret = { .mapping = &picture->mappings[index] };
	uint64_t left;

	ret.first = (cell - map->cells[index]) << map->zoom;
	left = mapping_pages(ret.mapping) - ret.first;
	ret.npages = 1ull << map->zoom;
	ret.npages = left < ret.npages ? left : ret.npages;
	ret.heat = picture_heat(picture, ret.mapping, ret.first, ret.npages,
				&ret.written);
	return ret;
}

/* What begins in a row, or goes on in it. */
static void draw_name(const struct screen *screen, struct rect rect,
		      uint64_t first, uint64_t last)
{
	const struct map *map = &screen->map;
	const struct picture *picture = screen_picture(screen);
	uint32_t from = mapping_of(map, first), to = mapping_of(map, last);
	bool begins = map->cells[from] == first;
	const char *name, *base;
	char more[24] = "";
	uint32_t named = begins || from == to ? from : from + 1;

	if (to > named)
		(void)snprintf(more, sizeof(more), " +%u", to - named);
	name = mapping_name(&picture->mappings[named]);
	base = strrchr(name, '/');
	name = base && base[1] ? base + 1 : name;
	term_style(begins || from != to ? STYLE_PLAIN : STYLE_DIM);
	rect.columns -= (int)strlen(more);
	rect.x += text_put_end(rect.y, rect.x, rect.columns, term_glyphs()->cut,
			       name);
	(void)text_put(rect.y, rect.x, (int)strlen(more), "%s", more);
}

static void draw_cells(const struct screen *screen, int y, int x,
		       uint64_t first, uint64_t last)
{
	const struct map *map = &screen->map;
	uint32_t chosen = screen_chosen(screen);
	uint64_t cursor = screen->moved ? cell_of_cursor(screen) : UINT64_MAX;
	uint32_t index = mapping_of(map, first);

	for (uint64_t i = first; i <= last; i++) {
		enum term_mark mark = MARK_NONE;
		struct cell cell;

		if (i == map->cells[index + 1])
			index++;
		cell = cell_at(screen, index, i);
		if (i == map->cells[index])
			mark = MARK_BEGIN;
		if (i == cursor)
			mark = MARK_CURSOR;
		(void)text_put(y, x++, 1, "%s",
			       term_heat(picture_level(cell.heat, cell.npages,
						       cell.written),
					 mark,
					 screen->moved && index == chosen));
	}
}

static void draw_legend(struct rect rect)
{
	static const char *const least[TERM_HEAT_LEVELS] = {
		"never", "<0.4", "0.4", "0.8", "1.6",
		"3",	 "6",	 "13",	"25",  "50 %",
	};
	const bool figures = rect.columns >= 68;
	int x = rect.x + 1, end = rect.x + rect.columns;

	term_style(STYLE_DIM);
	x += text_put(rect.y, x, end - x, "heat ");
	for (int i = 0; i < TERM_HEAT_LEVELS; i++) {
		const char *glyph = term_heat(i, MARK_NONE, false);

		x += text_put(rect.y, x, end - x, "%s%s", glyph, glyph);
		term_style(STYLE_DIM);
		if (figures || i == 0)
			x += text_put(rect.y, x, end - x, " %s ", least[i]);
	}
	if (!figures)
		(void)text_put(rect.y, x, end - x, " always");
}

static void draw_cursor(const struct screen *screen, struct rect rect)
{
	uint64_t at = cell_of_cursor(screen);
	uint32_t index = mapping_of(&screen->map, at);
	struct cell cell = cell_at(screen, index, at);
	const struct mapping *mapping = cell.mapping;
	uint64_t address = mapping->start + cell.first * TIDE_PAGE_SIZE;
	int x = rect.x + 1, end = rect.x + rect.columns;

	term_style(STYLE_PLAIN);
	x += text_put(rect.y, x, end - x, "%012llx  %s, %s  heat %s  ",
		      (unsigned long long)address, text_pages(cell.npages).text,
		      units_size(cell.npages * TIDE_PAGE_SIZE).text,
		      text_percent(cell.heat, (double)cell.npages).text);
	if (screen_picture(screen)->processes > 1)
		x += text_put(rect.y, x, end - x, "pid %d  ",
			      (int)mapping->pid);
	(void)text_put_end(rect.y, x, end - x, term_glyphs()->cut,
			   mapping_name(mapping));
}

static void draw_rows(const struct screen *screen, struct rect rect,
		      struct rect names)
{
	const struct map *map = &screen->map;
	uint64_t columns = (uint64_t)map->columns;
	uint64_t all = map->cells[map->count];

	for (int i = 0; i < map->rows; i++) {
		uint64_t first = (map->top + (uint64_t)i) * columns;
		uint64_t last = first + columns - 1;
		uint32_t index;

		if (first >= all)
			break;
		last = last < all ? last : all - 1;
		index = mapping_of(map, first);
		term_style(STYLE_DIM);
		(void)text_put(
			rect.y + i, rect.x + 1, ADDRESS, "%012llx",
			(unsigned long long)address_of(screen, index, first));
		draw_cells(screen, rect.y + i, rect.x + ADDRESS, first, last);
		names.y = rect.y + i;
		if (names.columns > 0)
			draw_name(screen, names, first, last);
	}
}

static void draw_head(const struct screen *screen, struct rect *rect)
{
	const struct map *map = &screen->map;
	uint64_t pages = 1ull << map->zoom;
	uint64_t all = map->cells ? rows_of(map) : 0;
	uint64_t last = map->top + (uint64_t)map->rows;
	char text[128];

	(void)snprintf(text, sizeof(text),
		       "Heat map: a cell is %s, %s; rows %llu-%llu of %llu",
		       text_pages(pages).text,
		       units_size(pages * TIDE_PAGE_SIZE).text,
		       (unsigned long long)map->top + 1,
		       (unsigned long long)(last < all ? last : all),
		       (unsigned long long)all);
	screen_head(screen, PANE_MAP, rect, text);
}

void map_draw(struct screen *screen, struct rect rect)
{
	struct map *map = &screen->map;
	int below = rect.rows < 5 ? 0 : rect.rows < 8 ? 1 : 2;
	struct rect names = rect;

	names.columns = rect.columns >= 100 ? 24 : rect.columns >= 70 ? 16 : 0;
	names.x += rect.columns - names.columns;
	map->columns = rect.columns - ADDRESS;
	map->columns -= names.columns ? names.columns + 1 : 0;
	map->rows = rect.rows - 1 - below;
	if (map->columns < 8 || map->rows < 1 ||
	    !screen_picture(screen)->nmappings ||
	    lay_out(map, screen_picture(screen)))
		return;
	follow(screen);
	draw_head(screen, &rect);
	draw_rows(screen, rect, names);
	rect.y += map->rows;
	if (below > 1)
		draw_cursor(screen, rect);
	rect.y += below - 1;
	if (below > 0)
		draw_legend(rect);
}

/* ---- keys ---- */

static void go_to_cell(struct screen *screen, uint64_t cell)
{
	const struct map *map = &screen->map;
	uint32_t index = mapping_of(map, cell);
	const struct mapping *mapping =
		&screen_picture(screen)->mappings[index];

	screen_go_to(screen, mapping->pid,
		     mapping->start +
			     ((cell - map->cells[index]) << map->zoom) *
				     TIDE_PAGE_SIZE);
}

static bool zoom_key(struct screen *screen, int key)
{
	struct map *map = &screen->map;
	const struct mapping *mapping =
		&screen_picture(screen)->mappings[screen_chosen(screen)];

	switch (key) {
	case '+':
	case '=':
		map->zoom -= map->zoom > 0;
		break;
	case '-':
	case '_':
		map->zoom += map->zoom < ZOOM_MAX;
		break;
	case 'f':
		break;
	default:
		return false;
	}
	map->fits = key == 'f';
	/* What is chosen is kept in sight. */
	if (!screen->moved)
		screen_go_to(screen, mapping->pid, mapping->start);
	map->seen = (struct cursor){ 0 };
	return true;
}

bool map_key(struct screen *screen, int key)
{
	struct map *map = &screen->map;
	int64_t at, last, row, page;

	if (!map->cells || lay_out(map, screen_picture(screen)))
		return false;
	if (zoom_key(screen, key))
		return true;
	at = (int64_t)cell_of_cursor(screen);
	last = (int64_t)map->cells[map->count] - 1;
	row = map->columns;
	page = row * map->rows;
	switch (key) {
	case KEY_LEFT:
		at--;
		break;
	case KEY_RIGHT:
		at++;
		break;
	case KEY_UP:
		at -= at >= row ? row : 0;
		break;
	case KEY_DOWN:
		at += at + row <= last ? row : 0;
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
		at = last;
		break;
	default:
		return false;
	}
	go_to_cell(screen, (uint64_t)(at < 0 ? 0 : at > last ? last : at));
	return true;
}
