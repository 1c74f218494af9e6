/* SPDX-License-Identifier: MIT */
/* screen_ranges.c - where most is written, of late */
#include <curses.h>
#include <stdio.h>

#include <tidemark/base.h>

#include "screen.h"
#include "screen_term.h"
#include "screen_text.h"
#include "units.h"

/* What there is room for. */
static bool has_heat(struct rect rect)
{
	return rect.columns >= 52;
}

static bool has_ends(struct rect rect)
{
	return rect.columns >= 84;
}

static void draw_titles(const struct picture *picture, struct rect rect)
{
	term_style(STYLE_DIM);
	(void)text_put(rect.y, rect.x, rect.columns,
		       "%9s %10s%s  %-12s%s %10s%s  name", "pages", "bytes",
		       has_heat(rect) ? "    heat" : "", "from",
		       has_ends(rect) ? "-to          " : "", "size",
		       picture->processes > 1 ? "      pid" : "");
}

static void draw_range(const struct picture *picture, const struct range *range,
		       struct rect rect, bool chosen)
{
	uint64_t bytes = range->npages * TIDE_PAGE_SIZE;
	uint64_t heat_bytes = (uint64_t)(range->heat * (double)TIDE_PAGE_SIZE);
	uint64_t until = range->start + bytes;
	int x = rect.x, end = rect.x + rect.columns;

	term_style(chosen ? STYLE_SELECTED : STYLE_PLAIN);
	if (chosen)
		(void)mvhline(rect.y, x, ' ', rect.columns);
	x += text_put(rect.y, x, end - x, "%9.1f %10s", range->heat,
		      units_size(heat_bytes).text);
	if (has_heat(rect))
		x += text_put(
			rect.y, x, end - x, " %7s",
			text_percent(range->heat, (double)range->npages).text);
	x += text_put(rect.y, x, end - x, "  %012llx",
		      (unsigned long long)range->start);
	if (has_ends(rect))
		x += text_put(rect.y, x, end - x, "-%012llx",
			      (unsigned long long)until);
	x += text_put(rect.y, x, end - x, " %10s", units_size(bytes).text);
	if (picture->processes > 1)
		x += text_put(rect.y, x, end - x, " %8d",
			      (int)picture->mappings[range->mapping].pid);
	(void)text_put_end(rect.y, x + 2, end - x - 2, term_glyphs()->cut,
			   mapping_name(&picture->mappings[range->mapping]));
}

void ranges_draw(struct screen *screen, struct rect rect)
{
	const struct picture *picture = screen_picture(screen);
	uint32_t rows;
	char text[128];

	(void)snprintf(text, sizeof(text),
		       "Hottest ranges, by pages they write in %s of late",
		       units_time(screen->interval_ns).text);
	screen_head(screen, PANE_RANGES, &rect, text);
	if (rect.rows < 2)
		return;
	draw_titles(picture, rect);
	rect.y++;
	rect.rows--;
	screen->range_page = rect.rows;
	rows = (uint32_t)rect.rows;
	if (screen->range >= picture->nranges)
		screen->range = picture->nranges ? picture->nranges - 1 : 0;
	if (screen->range < screen->range_top)
		screen->range_top = screen->range;
	if (screen->range >= screen->range_top + rows)
		screen->range_top = screen->range - rows + 1;
	for (uint32_t i = screen->range_top;
	     i < picture->nranges && i < screen->range_top + rows; i++) {
		draw_range(picture, &picture->ranges[i], rect,
			   screen->focus == PANE_RANGES && i == screen->range);
		rect.y++;
	}
}

bool ranges_key(struct screen *screen, int key)
{
	const struct picture *picture = screen_picture(screen);
	int64_t at = screen->range, last = (int64_t)picture->nranges - 1;

	if (last < 0)
		return false;
	switch (key) {
	case KEY_UP:
		at--;
		break;
	case KEY_DOWN:
		at++;
		break;
	case KEY_PPAGE:
		at -= screen->range_page;
		break;
	case KEY_NPAGE:
		at += screen->range_page;
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
	at = at < 0 ? 0 : at > last ? last : at;
	screen->range = (uint32_t)at;
	screen_go_to(screen, picture->mappings[picture->ranges[at].mapping].pid,
		     picture->ranges[at].start);
	return true;
}
