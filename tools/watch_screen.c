/* SPDX-License-Identifier: MIT */
/* watch_screen.c - what watch sees, on a terminal */
#include <curses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "screen.h"
#include "screen_cost.h"
#include "screen_term.h"
#include "screen_text.h"
#include "tool.h"

#define NS_PER_MS 1000000ull

const struct picture *screen_picture(const struct screen *screen)
{
	return screen->paused ? &screen->frozen : &screen->live;
}

uint32_t screen_chosen(const struct screen *screen)
{
	const struct picture *picture = screen_picture(screen);
	const struct table *table = &screen->table;

	if (screen->moved)
		return picture_find(picture, screen->cursor.pid,
				    screen->cursor.address);
	if (table->count && table->version == picture->version)
		return table->order[0];
	return 0;
}

void screen_go_to(struct screen *screen, pid_t pid, uint64_t address)
{
	screen->cursor = (struct cursor){ .pid = pid, .address = address };
	screen->moved = true;
}

void screen_head(const struct screen *screen, enum pane pane, struct rect *rect,
		 const char *text)
{
	term_style(screen->focus == pane ? STYLE_FOCUS : STYLE_HEAD);
	(void)mvhline(rect->y, rect->x, ' ', rect->columns);
	(void)text_put(rect->y, rect->x + 1, rect->columns - 1, "%s", text);
	rect->y++;
	rect->rows--;
}

/* ---- layout ---- */

static void draw_pane(struct screen *screen, enum pane pane, struct rect rect)
{
	if (pane == PANE_MAP)
		map_draw(screen, rect);
	else if (pane == PANE_TABLE)
		table_draw(screen, rect);
	else
		ranges_draw(screen, rect);
}

/* The one that is not the map. */
static enum pane list_of(const struct screen *screen)
{
	return screen->focus == PANE_RANGES ? PANE_RANGES : PANE_TABLE;
}

static void draw_below(struct screen *screen, struct rect rect, enum pane a,
		       enum pane b, int rows_of_a)
{
	struct rect above = rect;

	above.rows = rows_of_a;
	rect.y += rows_of_a;
	rect.rows -= rows_of_a;
	draw_pane(screen, a, above);
	draw_pane(screen, b, rect);
}

/* The map at the left, lists at the right. */
static void draw_beside(struct screen *screen, struct rect rect)
{
	struct rect left = rect;

	left.columns = rect.columns * 11 / 20;
	rect.x += left.columns + 1;
	rect.columns -= left.columns + 1;
	draw_pane(screen, PANE_MAP, left);
	if (rect.rows >= 20)
		draw_below(screen, rect, PANE_TABLE, PANE_RANGES,
			   rect.rows * 3 / 5);
	else
		draw_pane(screen, list_of(screen), rect);
}

/* As many panes as are of use. */
static void draw_panes(struct screen *screen, struct rect rect)
{
	if (rect.columns >= 160) {
		draw_beside(screen, rect);
	} else if (rect.rows >= 28) {
		struct rect lists = rect;

		lists.rows = rect.rows * 11 / 20;
		rect.y += lists.rows;
		rect.rows -= lists.rows;
		draw_below(screen, lists, PANE_TABLE, PANE_RANGES,
			   lists.rows * 3 / 5);
		draw_pane(screen, PANE_MAP, rect);
	} else if (rect.rows >= 18) {
		draw_below(screen, rect, list_of(screen), PANE_MAP,
			   rect.rows / 2);
	} else {
		draw_pane(screen, screen->focus, rect);
	}
}

static void draw_too_small(void)
{
	term_style(STYLE_PLAIN);
	(void)text_put(0, 0, COLS, "too small: %d x %d", COLS, LINES);
	(void)text_put(1, 0, COLS, "at least %d x %d", TERM_COLUMNS_MIN,
		       TERM_ROWS_MIN);
}

static void draw(struct screen *screen)
{
	struct rect all = { .rows = LINES, .columns = COLS };
	struct rect panes = all, bottom = all;

	term_style(STYLE_PLAIN);
	(void)erase();
	if (COLS < TERM_COLUMNS_MIN || LINES < TERM_ROWS_MIN) {
		draw_too_small();
		(void)refresh();
		return;
	}
	bottom.rows = bottom_rows(screen);
	bottom.y = LINES - bottom.rows;
	panes.y = top_rows(LINES, COLS);
	panes.rows = bottom.y - panes.y;
	/* What is chosen may depend on the order of the table. */
	draw_panes(screen, panes);
	top_draw(screen, all);
	bottom_draw(screen, bottom);
	if (screen->help)
		help_draw(all);
	(void)refresh();
}

/* ---- keys ---- */

static void pause_or_go_on(struct screen *screen)
{
	if (screen->paused) {
		picture_fini(&screen->frozen);
		screen->paused = false;
	} else if (!picture_copy(&screen->live, &screen->frozen)) {
		screen->paused = true;
	} else {
		(void)beep();
	}
}

/* Return: true if it was one. */
static bool sort_key(struct screen *screen, int key)
{
	static const char keys[SORT_COUNT] = {
		[SORT_WRITTEN] = 'w',
		[SORT_TOTAL] = 't',
		[SORT_NAME] = 'n',
		[SORT_ADDRESS] = 'a',
	};

	if (key == 's') {
		table_sort(screen, (screen->table.sort + 1) % SORT_COUNT);
		return true;
	}
	for (int i = 0; i < SORT_COUNT; i++) {
		if (key == keys[i]) {
			table_sort(screen, (enum sort)i);
			return true;
		}
	}
	return false;
}

/* What is chosen in the pane, in the map. */
static void go_to_map(struct screen *screen)
{
	const struct picture *picture = screen_picture(screen);
	const struct range *range = &picture->ranges[screen->range];
	const struct mapping *mapping =
		&picture->mappings[screen_chosen(screen)];

	if (screen->focus == PANE_RANGES && screen->range < picture->nranges)
		screen_go_to(screen, picture->mappings[range->mapping].pid,
			     range->start);
	else if (screen->focus == PANE_TABLE && !screen->moved)
		screen_go_to(screen, mapping->pid, mapping->start);
	screen->focus = PANE_MAP;
}

static bool focus_key(struct screen *screen, int key)
{
	switch (key) {
	case '\t':
		screen->focus = (screen->focus + 1) % PANE_COUNT;
		return true;
	case KEY_BTAB:
		screen->focus = (screen->focus + PANE_COUNT - 1) % PANE_COUNT;
		return true;
	case '1':
	case '2':
	case '3':
		screen->focus = (enum pane)(key - '1');
		return true;
	case '\r':
	case '\n':
	case KEY_ENTER:
		go_to_map(screen);
		return true;
	default:
		return false;
	}
}

static void change_interval(struct screen *screen, bool longer)
{
	static const uint64_t ms[] = { 100,  200,  500,	  1000,
				       2000, 5000, 10000, 30000 };
	const int count = (int)(sizeof(ms) / sizeof(ms[0]));
	uint64_t next = screen->interval_ns;

	for (int i = 0; i < count; i++) {
		uint64_t ns = ms[longer ? i : count - 1 - i] * NS_PER_MS;

		if (longer ? ns > next : ns < next) {
			next = ns;
			break;
		}
	}
	screen->interval_ns = next;
	sampler_set_interval(screen->sampler, next);
}

static void pane_key(struct screen *screen, int key)
{
	switch (screen->focus) {
	case PANE_TABLE:
		if (!table_key(screen, key))
			(void)map_key(screen, key);
		break;
	case PANE_RANGES:
		if (!ranges_key(screen, key))
			(void)map_key(screen, key);
		break;
	case PANE_MAP:
	case PANE_COUNT:
		(void)map_key(screen, key);
		break;
	}
}

/* Return: -1, or an exit status. */
static int take_key(struct screen *screen, int key)
{
	if (key == KEY_RESIZE)
		return -1;
	if (screen->help) {
		screen->help = false;
		return -1;
	}
	if (key == 'q' || key == 'Q')
		return TOOL_OK;
	if (key == '?' || key == 'h')
		screen->help = true;
	else if (key == 'p' || key == ' ')
		pause_or_go_on(screen);
	else if (key == 'i' || key == 'I')
		change_interval(screen, key == 'i');
	else if (!focus_key(screen, key) && !sort_key(screen, key) &&
		 screen_picture(screen)->nmappings)
		pane_key(screen, key);
	return -1;
}

/* ---- the view ---- */

static int take_keys(struct view *view)
{
	struct screen *screen = (struct screen *)view;
	bool any = false;
	int key;

	while ((key = term_next()) >= 0) {
		int status = take_key(screen, key);

		if (status >= 0)
			return status;
		any = true;
	}
	if (key == TERM_GONE)
		return tool_error("the terminal is gone");
	if (any)
		draw(screen);
	return -1;
}

static int show_screen(struct view *view, const struct sample *sample)
{
	struct screen *screen = (struct screen *)view;

	if (picture_add(&screen->live, sample, screen->interval_ns))
		return tool_error("no memory for what was seen");
	draw(screen);
	return -1;
}

/* The last figures stay until somebody has seen them. */
static bool end_screen(struct view *view)
{
	struct screen *screen = (struct screen *)view;

	screen->ended = true;
	draw(screen);
	return true;
}

static void close_screen(struct view *view)
{
	struct screen *screen = (struct screen *)view;

	term_close();
	if (screen->paused)
		picture_fini(&screen->frozen);
	picture_fini(&screen->live);
	table_fini(&screen->table);
	map_fini(&screen->map);
	free(screen);
}

static void tell_time(char *ret, size_t size)
{
	time_t now = time(NULL);
	struct tm tm;

	if (!localtime_r(&now, &tm) || !strftime(ret, size, "%H:%M:%S", &tm))
		ret[0] = '\0';
}

int view_screen_open(const struct watch_info *info, struct view **ret)
{
	struct screen *screen = calloc(1, sizeof(*screen));
	int status;

	if (!screen)
		return tool_error("no memory");
	*screen = (struct screen){
		.view = { .show = show_screen,
			  .ready = take_keys,
			  .ended = end_screen,
			  .close = close_screen },
		.sampler = info->sampler,
		.command_output = info->command_output,
		.interval_ns = info->interval_ns,
		.window = info->window,
		.write_ns = cost_of_write_ns(),
		.map.fits = true,
	};
	tell_time(screen->since, sizeof(screen->since));
	if (picture_init(&screen->live, sampler_pid(info->sampler),
			 info->first)) {
		free(screen);
		return tool_error("no memory");
	}
	status = term_open();
	if (status >= 0) {
		close_screen(&screen->view);
		return status;
	}
	screen->view.poll =
		(struct pollfd){ .fd = term_fd(), .events = POLLIN };
	draw(screen);
	*ret = &screen->view;
	return -1;
}
