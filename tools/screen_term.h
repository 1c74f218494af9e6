/* SPDX-License-Identifier: MIT */
/*
 * screen_term.h - the terminal: taken, read, coloured, and given back
 *
 * There is one.  It is given back at close, and by whatever signal ends us
 * that can be caught.
 */
#ifndef SCREEN_TERM_H
#define SCREEN_TERM_H

#include <stdbool.h>

#define TERM_COLUMNS_MIN 40
#define TERM_ROWS_MIN 10
#define TERM_HEAT_LEVELS 10 /* 0: never written */

enum term_event {
	TERM_NOTHING =
		-1, /* what else is returned is a key, as curses has it */
	TERM_GONE = -2,
};

enum term_style {
	STYLE_PLAIN,
	STYLE_BAR, /* the first line and the last one */
	STYLE_HEAD,
	STYLE_FOCUS, /* the head of the pane that the keys are for */
	STYLE_DIM,
	STYLE_STRONG,
	STYLE_GRAPH,
	STYLE_SELECTED,
	STYLE_WARNING,
	STYLE_COUNT
};

enum term_mark {
	MARK_NONE,
	MARK_BEGIN, /* of a mapping */
	MARK_CURSOR,
};

/* What a terminal without UTF-8 has something else for. */
struct term_glyphs {
	const char *cut, *dot, *times;
	const char *const *bars; /* 0 to 8 eighths */
};

/* Can there be a screen?  Return: -1, or an exit status, and why was said. */
int term_check(void);

/* After that.  What is written to stderr meanwhile is kept. */
int term_open(void);
/* What was written to stderr is, now.  Without an open one, nothing. */
void term_close(void);

/* What that was until now: a file; -1: nothing. */
int term_said(void);

int term_fd(void);
/* A key, or that the size has changed, or enum term_event. */
int term_next(void);

void term_style(enum term_style style);
const struct term_glyphs *term_glyphs(void);

/* Set what shows that heat, and return its glyph, one column. */
const char *term_heat(int level, enum term_mark mark, bool selected);

#endif
