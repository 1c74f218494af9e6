/* SPDX-License-Identifier: MIT */
/*
 * screen_text.h - text on the screen that cannot do harm
 *
 * Names of files and command lines are somebody else's: what a terminal would
 * obey, what has no width, and what is no text at all is shown as '?'.  All
 * text goes through here.
 */
#ifndef SCREEN_TEXT_H
#define SCREEN_TEXT_H

#include <stdint.h>

#define TEXT_MAX 512 /* columns */

/* With the attributes that are set, at most @columns, and never beyond the
 * right edge.  Return: columns that it took. */
int text_put(int y, int x, int columns, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* The same, but the end of a text that is too long, and a mark that it is. */
int text_put_end(int y, int x, int columns, const char *mark, const char *text);

struct text {
	char text[32];
};

/* "12 pages", "1 page" */
struct text text_pages(uint64_t pages);
/* "12.3 %" */
struct text text_percent(double part, double whole);
/* A rate: so many in so long, in a second. */
uint64_t text_rate(uint64_t count, uint64_t ns);

#endif
