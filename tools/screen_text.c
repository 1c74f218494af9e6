/* SPDX-License-Identifier: MIT */
/* screen_text.c - text on the screen that cannot do harm */
#include "screen_text.h"

#include <curses.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

/* The next character, made harmless.  Return: the bytes that it has; 0: the
 * end. */
static size_t next(const char *text, mbstate_t *state, wchar_t *ret)
{
	size_t bytes = mbrtowc(ret, text, MB_CUR_MAX, state);

	if (bytes == 0)
		return 0;
	if (bytes == (size_t)-1 || bytes == (size_t)-2) {
		memset(state, 0, sizeof(*state));
		*ret = L'?';
		return 1;
	}
	if (!iswprint((wint_t)*ret) || wcwidth(*ret) < 1)
		*ret = L'?';
	return bytes;
}

/* As many as fit into @columns.  Return: columns that they take. */
static int fit(const char *text, int columns, wchar_t ret[static TEXT_MAX + 1])
{
	mbstate_t state = { 0 };
	int used = 0, n = 0;
	wchar_t one;
	size_t bytes;

	if (columns > TEXT_MAX)
		columns = TEXT_MAX;
	while ((bytes = next(text, &state, &one)) > 0 &&
	       used + wcwidth(one) <= columns) {
		ret[n++] = one;
		used += wcwidth(one);
		text += bytes;
	}
	ret[n] = L'\0';
	return used;
}

static int columns_of(const char *text)
{
	mbstate_t state = { 0 };
	wchar_t one;
	size_t bytes;
	int columns = 0;

	while ((bytes = next(text, &state, &one)) > 0) {
		columns += wcwidth(one);
		text += bytes;
	}
	return columns;
}

/* The same, but the end of it, behind the mark. */
static int fit_end(const char *text, int columns, const char *mark,
		   wchar_t ret[static TEXT_MAX + 1])
{
	mbstate_t state = { 0 };
	int excess, used;
	wchar_t one;

	if (columns > TEXT_MAX)
		columns = TEXT_MAX;
	excess = columns_of(text) - columns;
	if (excess <= 0)
		return fit(text, columns, ret);
	if (columns < 1)
		return fit("", 0, ret);
	/* The mark takes one. */
	for (excess++; excess > 0; excess -= wcwidth(one))
		text += next(text, &state, &one);
	used = fit(mark, 1, ret);
	return used + fit(text, columns - used, ret + used);
}

static int put(int y, int x, int columns, const wchar_t *text)
{
	if (columns > 0)
		(void)mvaddwstr(y, x, text);
	return columns;
}

/* Of the columns that are wanted. */
static int room(int y, int x, int columns)
{
	if (y < 0 || y >= LINES || x < 0 || x >= COLS)
		return 0;
	return columns < COLS - x ? columns : COLS - x;
}

int text_put(int y, int x, int columns, const char *format, ...)
{
	wchar_t wide[TEXT_MAX + 1];
	char text[4 * TEXT_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args); /* cut is fine */
	va_end(args);
	return put(y, x, fit(text, room(y, x, columns), wide), wide);
}

int text_put_end(int y, int x, int columns, const char *mark, const char *text)
{
	wchar_t wide[TEXT_MAX + 1];

	columns = room(y, x, columns);
	return put(y, x, fit_end(text, columns, mark, wide), wide);
}

struct text text_pages(uint64_t pages)
{
	struct text out;

	(void)snprintf(out.text, sizeof(out.text), "%llu page%s",
		       (unsigned long long)pages, pages == 1 ? "" : "s");
	return out;
}

struct text text_percent(double part, double whole)
{
	struct text out;
	double percent = whole > 0 ? part / whole * 100 : 0;
	int digits = percent < 1 ? 2 : percent < 99.95;

	(void)snprintf(out.text, sizeof(out.text), "%.*f %%", digits, percent);
	return out;
}

uint64_t text_rate(uint64_t count, uint64_t ns)
{
	return ns ? (uint64_t)((double)count * 1e9 / (double)ns + 0.5) : 0;
}
