/* SPDX-License-Identifier: MIT */
/*
 * screen.h - the terminal view: its panes, and what they share
 *
 * A pane draws into a rectangle, from the picture, and takes keys when it has
 * the focus.  Drawing is from nothing each time; curses sends the difference.
 */
#ifndef SCREEN_H
#define SCREEN_H

#include "screen_picture.h"
#include "watch_view.h"

struct rect {
	int y, x, rows, columns;
};

enum pane { PANE_TABLE, PANE_MAP, PANE_RANGES, PANE_COUNT };

enum sort { SORT_WRITTEN, SORT_TOTAL, SORT_NAME, SORT_ADDRESS, SORT_COUNT };

/* What is looked at; moved by the keys of any pane. */
struct cursor {
	pid_t pid;
	uint64_t address;
};

struct table {
	enum sort sort;
	uint32_t *order; /* of mappings, by index */
	uint32_t count;
	uint64_t version; /* of the picture that it is of */
	uint32_t now;
	uint32_t top;
	int page; /* rows that were drawn */
};

struct map {
	unsigned int zoom; /* log2 of the pages in a cell */
	bool fits;	   /* follow what there is, so that all can be seen */
	uint64_t *cells;   /* before each mapping, and all of them */
	uint32_t count;
	uint64_t version;
	unsigned int zoom_of_cells;
	uint64_t top; /* row */
	int columns, rows;
	struct cursor seen; /* the cursor that is known to be in sight */
};

struct screen {
	struct view view;
	struct sampler *sampler;
	int command_output;
	uint64_t interval_ns;
	uint32_t window;
	uint64_t write_ns; /* estimated cost of a first write */
	char since[16];	   /* wall clock */

	struct picture live, frozen;
	bool paused, ended, help;

	enum pane focus;
	struct cursor cursor;
	bool moved; /* it is where somebody has put it */
	struct table table;
	struct map map;
	uint32_t range, range_top; /* chosen */
	int range_page;
};

/* What is shown: as it is, or as it was when it was paused. */
const struct picture *screen_picture(const struct screen *screen);

/* The mapping that the cursor is in: an index; there is one at least. */
uint32_t screen_chosen(const struct screen *screen);
void screen_go_to(struct screen *screen, pid_t pid, uint64_t address);

/* A head over a pane; what does not fit is left out. */
void screen_head(const struct screen *screen, enum pane pane, struct rect *rect,
		 const char *text);

/* screen_top.c: all that is not a pane */
int top_rows(int rows, int columns);
void top_draw(const struct screen *screen, struct rect rect);
int bottom_rows(const struct screen *screen);
void bottom_draw(const struct screen *screen, struct rect rect);
void help_draw(struct rect rect);

/* Each: what remains of the rectangle is the pane's.  Keys: true if it was
 * one for it. */
void table_draw(struct screen *screen, struct rect rect);
bool table_key(struct screen *screen, int key);
void table_sort(struct screen *screen, enum sort sort);
void table_fini(struct table *table);

void map_draw(struct screen *screen, struct rect rect);
bool map_key(struct screen *screen, int key);
void map_fini(struct map *map);

void ranges_draw(struct screen *screen, struct rect rect);
bool ranges_key(struct screen *screen, int key);

#endif
