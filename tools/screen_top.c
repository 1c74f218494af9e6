/* SPDX-License-Identifier: MIT */
/* screen_top.c - the figures of the whole process, the last lines, the help */
#include <curses.h>
#include <stdio.h>
#include <string.h>

#include <tidemark/base.h>

#include "screen.h"
#include "screen_output.h"
#include "screen_term.h"
#include "screen_text.h"
#include "units.h"

#define FIGURES 5
#define FIGURES_FEW 2
#define FIGURES_WIDTH 80
#define LABEL 13
#define LABEL_SHORT 9
#define PART_MAX 128
#define AXIS 16
#define WIDE 120 /* columns from which the graph is beside the figures */

static const char *bytes_of(uint64_t pages, struct units_text *room)
{
	*room = units_size(pages * TIDE_PAGE_SIZE);
	return room->text;
}

/* ---- the first line ---- */

static const char *state_of(const struct screen *screen, char state)
{
	static const struct {
		char state;
		const char *text;
	} names[] = {
		{ 'R', "running" },   { 'S', "sleeping" }, { 'D', "waiting" },
		{ 'T', "stopped" },   { 't', "traced" },   { 'I', "idle" },
		{ 'Z', "has ended" },
	};

	if (screen->ended)
		return "has ended";
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (names[i].state == state)
			return names[i].text;
	}
	return "?";
}

/* At the right of the first line, as much as there is room for. */
static void tell_process(const struct screen *screen, int columns, char *ret,
			 size_t size)
{
	const struct picture *picture = screen_picture(screen);
	char processes[32] = "", more[80] = "";

	if (picture->processes > 1)
		(void)snprintf(processes, sizeof(processes), " of %u",
			       picture->processes);
	if (columns >= 72)
		(void)snprintf(more, sizeof(more), "  every %s  %s%s",
			       units_time(screen->interval_ns).text,
			       columns >= 100 ? "since " : "", screen->since);
	(void)snprintf(ret, size, "%s  pid %d%s %s%s ",
		       screen->paused ? "  PAUSED" : "", (int)picture->pid,
		       processes, state_of(screen, picture->state), more);
}

static void draw_bar(const struct screen *screen, struct rect rect)
{
	char right[160];
	int room;

	tell_process(screen, rect.columns, right, sizeof(right));
	room = rect.columns - (int)strlen(right);
	term_style(screen->paused ? STYLE_WARNING : STYLE_BAR);
	(void)mvhline(rect.y, rect.x, ' ', rect.columns);
	if (room > 0)
		(void)text_put(rect.y, rect.x, room, " %s%s",
			       rect.columns >= 72 ? "tidemark  " : "",
			       screen_picture(screen)->command);
	(void)text_put(rect.y, rect.x + (room > 0 ? room : 0), rect.columns,
		       "%s", right);
}

/* ---- figures ---- */

static int label_columns(struct rect rect)
{
	return rect.columns < 60 ? LABEL_SHORT : LABEL;
}

static void put_label(struct rect rect, int row, const char *text)
{
	term_style(STYLE_DIM);
	(void)text_put(rect.y + row, rect.x + 1, label_columns(rect) - 2, "%s",
		       text);
}

/* Of those, as many as there is room for, of the first at least a part. */
static void put_parts(struct rect rect, int row, char parts[][PART_MAX],
		      int count)
{
	int x = label_columns(rect), gap = 0;

	for (int i = 0; i < count; i++) {
		int length = (int)strlen(parts[i]);

		if (i && x + gap + length > rect.columns)
			break;
		if (gap) {
			term_style(STYLE_DIM);
			(void)text_put(rect.y + row, rect.x + x, gap, " %s ",
				       term_glyphs()->dot);
		}
		term_style(i ? STYLE_PLAIN : STYLE_STRONG);
		(void)text_put(rect.y + row, rect.x + x + gap, length, "%s",
			       parts[i]);
		x += gap + length;
		gap = 3;
	}
}

static void put_instead(struct rect rect, int row, const char *text)
{
	int label = label_columns(rect);

	term_style(STYLE_PLAIN);
	(void)text_put(rect.y + row, rect.x + label, rect.columns - label, "%s",
		       text);
}

static void draw_written(const struct picture *picture, struct rect rect,
			 int row)
{
	uint64_t rate = text_rate(picture->last.pages, picture->last.ns);
	struct units_text a, b;
	char parts[2][PART_MAX];

	put_label(rect, row, "written");
	if (!picture->now) {
		put_instead(rect, row, "the first interval is not over yet");
		return;
	}
	(void)snprintf(parts[0], PART_MAX, "%s, %s in %s",
		       text_pages(picture->last.pages).text,
		       bytes_of(picture->last.pages, &a),
		       units_time(picture->last.ns).text);
	(void)snprintf(parts[1], PART_MAX, "%s/s, %s/s", text_pages(rate).text,
		       bytes_of(rate, &b));
	put_parts(rect, row, parts, 2);
}

static void draw_over_time(const struct picture *picture, struct rect rect,
			   int row)
{
	uint64_t rate = text_rate(picture->all.pages, picture->all.ns);
	struct units_text a, b;
	char parts[2][PART_MAX];

	put_label(rect, row, "over time");
	(void)snprintf(parts[0], PART_MAX, "average %s/s, %s/s",
		       text_pages(rate).text, bytes_of(rate, &a));
	(void)snprintf(parts[1], PART_MAX, "peak %s/s, %s/s",
		       text_pages(picture->peak).text,
		       bytes_of(picture->peak, &b));
	put_parts(rect, row, parts, 2);
}

static void draw_working_set(const struct screen *screen, struct rect rect,
			     int row)
{
	const struct picture *picture = screen_picture(screen);
	struct units_text a;
	uint64_t ago_ns;
	char parts[2][PART_MAX];

	put_label(rect, row, "working set");
	if (!picture->window_ns) {
		(void)snprintf(parts[0], PART_MAX, "known after %u intervals",
			       screen->window);
		put_instead(rect, row, parts[0]);
		return;
	}
	(void)snprintf(parts[0], PART_MAX, "%s, %s in %s",
		       text_pages(picture->window_pages).text,
		       bytes_of(picture->window_pages, &a),
		       units_time(picture->window_ns).text);
	ago_ns = picture->end_ns - picture->window_end_ns;
	(void)snprintf(parts[1], PART_MAX, "%u intervals, until %s%s",
		       screen->window, ago_ns ? units_time(ago_ns).text : "now",
		       ago_ns ? " ago" : "");
	put_parts(rect, row, parts, 2);
}

/* A look follows the interval that it is about, and may take longer. */
static struct text percent_of_time(uint64_t ns, uint64_t of_ns)
{
	return text_percent((double)ns, (double)(of_ns > ns ? of_ns : ns));
}

static void draw_looking(const struct picture *picture, struct rect rect,
			 int row)
{
	char parts[3][PART_MAX];

	put_label(rect, row, "cost");
	(void)snprintf(parts[1], PART_MAX, "held %s",
		       units_time(picture->held_ns).text);
	if (picture->attaches > 1)
		(void)snprintf(parts[1], PART_MAX, "held %s, %u%s",
			       units_time(picture->held_ns).text,
			       picture->attaches, term_glyphs()->times);
	(void)snprintf(
		parts[0], PART_MAX, "looking %s in %s, %s of a core",
		units_time(picture->harvest_ns).text,
		units_time(picture->last.ns).text,
		percent_of_time(picture->harvest_ns, picture->last.ns).text);
	(void)snprintf(
		parts[2], PART_MAX, "average %s",
		percent_of_time(picture->all_harvest_ns, picture->all.ns).text);
	put_parts(rect, row, parts, 3);
}

static void draw_faults(const struct screen *screen, struct rect rect, int row)
{
	const struct picture *picture = screen_picture(screen);
	uint64_t ns = picture->last.pages * screen->write_ns;
	char parts[2][PART_MAX];

	put_label(rect, row, "");
	if (!screen->write_ns) {
		put_instead(rect, row, "faults cannot be measured here");
		return;
	}
	(void)snprintf(parts[0], PART_MAX, "faults ~%s in %s, %s of a core",
		       units_time(ns).text, units_time(picture->last.ns).text,
		       text_percent((double)ns, (double)picture->last.ns).text);
	(void)snprintf(parts[1], PART_MAX, "%s, %s each",
		       text_pages(picture->last.pages).text,
		       units_time(screen->write_ns).text);
	put_parts(rect, row, parts, 2);
}

/* ---- the graph ---- */

/* Column by column, the newest at the right; the scale is that of what can be
 * seen. */
static void draw_bars(const struct picture *picture, struct rect rect,
		      uint64_t top)
{
	term_style(STYLE_GRAPH);
	for (int x = 0; x < rect.columns; x++) {
		uint64_t rate, eighths;

		if (!top ||
		    !picture_rate(picture, (uint32_t)(rect.columns - 1 - x),
				  &rate))
			continue;
		eighths = (uint64_t)((double)rate / (double)top *
					     (8.0 * rect.rows) +
				     0.5);
		if (rate && !eighths)
			eighths = 1;
		for (int y = rect.rows - 1; y >= 0 && eighths; y--) {
			uint64_t part = eighths < 8 ? eighths : 8;

			(void)text_put(rect.y + y, rect.x + x, 1, "%s",
				       term_glyphs()->bars[part]);
			eighths -= part;
		}
	}
}

static void draw_graph(const struct screen *screen, struct rect rect)
{
	const struct picture *picture = screen_picture(screen);
	struct rect bars = rect;
	uint64_t top = 0;

	bars.x += AXIS;
	bars.columns -= AXIS + 1;
	if (bars.columns < 8)
		return;
	for (int i = 0; i < bars.columns; i++) {
		uint64_t rate;

		if (picture_rate(picture, (uint32_t)i, &rate) && rate > top)
			top = rate;
	}
	term_style(STYLE_DIM);
	(void)text_put(rect.y, rect.x, AXIS - 1, "%*s/s", AXIS - 3,
		       units_size(top * TIDE_PAGE_SIZE).text);
	(void)text_put(rect.y + 1, rect.x, AXIS - 1, "%*s/s", AXIS - 3,
		       text_pages(top).text);
	(void)text_put(rect.y + rect.rows - 1, rect.x, AXIS - 1, "%*s",
		       AXIS - 1, "0");
	if (rect.rows > 3)
		(void)text_put(rect.y + rect.rows - 2, rect.x, AXIS - 1,
			       "a bar %*s", AXIS - 7,
			       units_time(screen->interval_ns).text);
	draw_bars(picture, bars, top);
}

/* ---- all of that ---- */

static int figures_of(int rows)
{
	return rows < 14 ? FIGURES_FEW : FIGURES;
}

static int graph_rows(int rows, int columns)
{
	if (columns >= WIDE || rows < 20)
		return 0;
	return rows < 30 ? 3 : 4;
}

int top_rows(int rows, int columns)
{
	return 1 + figures_of(rows) + graph_rows(rows, columns);
}

void top_draw(const struct screen *screen, struct rect rect)
{
	const struct picture *picture = screen_picture(screen);
	struct rect figures = rect, graph = rect;

	draw_bar(screen, rect);
	figures.y++;
	figures.rows = figures_of(LINES);
	graph.y = figures.y + figures.rows;
	graph.rows = graph_rows(LINES, rect.columns);
	if (rect.columns >= WIDE && figures.rows == FIGURES) {
		figures.columns = FIGURES_WIDTH;
		graph = figures;
		graph.x += FIGURES_WIDTH;
		graph.columns = rect.columns - FIGURES_WIDTH;
	}
	draw_written(picture, figures, 0);
	draw_working_set(screen, figures, 1);
	if (figures.rows == FIGURES) {
		draw_over_time(picture, figures, 2);
		draw_looking(picture, figures, 3);
		draw_faults(screen, figures, 4);
	}
	if (graph.rows > 1)
		draw_graph(screen, graph);
}

/* ---- the last lines ---- */

static int draw_last_line(struct rect rect, const char *label, int fd)
{
	char line[1024];

	if (fd < 0)
		return 0;
	output_last_line(fd, line, sizeof(line));
	term_style(STYLE_DIM);
	(void)text_put(rect.y, rect.x, rect.columns, " %s", label);
	term_style(STYLE_PLAIN);
	(void)text_put(rect.y, rect.x + LABEL, rect.columns - LABEL, "%s",
		       line);
	return 1;
}

int bottom_rows(const struct screen *screen)
{
	return 1 + (screen->command_output >= 0) + (term_said() >= 0);
}

void bottom_draw(const struct screen *screen, struct rect rect)
{
	int y;

	rect.y += draw_last_line(rect, "output", screen->command_output);
	rect.y += draw_last_line(rect, "said", term_said());
	y = rect.y;
	term_style(screen->ended ? STYLE_WARNING : STYLE_BAR);
	(void)mvhline(y, rect.x, ' ', rect.columns);
	if (screen->ended)
		(void)text_put(y, rect.x, rect.columns,
			       " The process has ended.  q quits.");
	else
		(void)text_put(y, rect.x, rect.columns,
			       " q quit  ? help  Tab pane  s sort  p %s  "
			       "+ - zoom  Enter show  i interval",
			       screen->paused ? "go on" : "pause");
}

/* ---- help ---- */

void help_draw(struct rect rect)
{
	static const char *const lines[] = {
		"Tab, 1 2 3   mappings, heat map, hottest ranges",
		"arrows, page up and down, home, end",
		"Enter        show it in the heat map",
		"+ -  f       zoom the heat map; fit all of it",
		"s            sort by the next: w, t, n, a",
		"w t n a      written, total, name, address",
		"p            pause what is shown; watching goes on",
		"i  I         longer, shorter intervals",
		"q            quit",
		"Heat is the share of the last intervals in which",
		"a page was written; one interval counts half as",
		"much as the third after it.  A cell of the map is",
		"the mean of its pages.  Faults are estimated: the",
		"pages, and what a first write costs in our memory.",
	};
	const int count = (int)(sizeof(lines) / sizeof(lines[0]));
	int columns = rect.columns < 56 ? rect.columns : 56;
	int rows = rect.rows < count + 2 ? rect.rows : count + 2;
	int y = rect.y + (rect.rows - rows) / 2;
	int x = rect.x + (rect.columns - columns) / 2;

	for (int i = 0; i < rows; i++) {
		term_style(STYLE_HEAD);
		(void)mvhline(y + i, x, ' ', columns);
		if (i > 0 && i <= count)
			(void)text_put(y + i, x + 2, columns - 3, "%s",
				       lines[i - 1]);
	}
	term_style(STYLE_FOCUS);
	(void)mvhline(y, x, ' ', columns);
	(void)text_put(y, x + 1, columns - 1, "Keys; any of them goes back");
}
