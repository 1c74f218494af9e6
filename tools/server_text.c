/* SPDX-License-Identifier: MIT */
/* server_text.c - text that grows, and what is quoted in it */
#include "server_text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1000000000ull
#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Room for @more bytes, and a null that printf puts behind them. */
static int make_room(struct text *text, size_t more)
{
	size_t max = text->max ? text->max : 4096;
	char *data;

	if (text->failed)
		return 0;
	if (more < text->max - text->size)
		return 1;
	while (max - text->size <= more)
		max *= 2;
	data = realloc(text->data, max);
	if (!data) {
		text->failed = 1;
		return 0;
	}
	text->data = data;
	text->max = max;
	return 1;
}

static void add_bytes(struct text *text, const char *bytes, size_t size)
{
	if (!make_room(text, size))
		return;
	memcpy(text->data + text->size, bytes, size);
	text->size += size;
}

void text_add(struct text *text, const char *more)
{
	add_bytes(text, more, strlen(more));
}

void text_add_text(struct text *text, const struct text *more)
{
	add_bytes(text, more->data, more->size);
}

void text_addf(struct text *text, const char *format, ...)
{
	va_list args;
	int size;

	va_start(args, format);
	size = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (size < 0) {
		text->failed = 1;
		return;
	}
	if (!make_room(text, (size_t)size))
		return;
	va_start(args, format);
	(void)vsnprintf(text->data + text->size, (size_t)size + 1, format,
			args);
	va_end(args);
	text->size += (size_t)size;
}

void text_add_number(struct text *text, uint64_t number)
{
	char digits[20];
	size_t first = sizeof(digits);

	do {
		digits[--first] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	add_bytes(text, digits + first, sizeof(digits) - first);
}

void text_add_seconds(struct text *text, uint64_t ns)
{
	text_addf(text, "%llu.%09llu", (unsigned long long)(ns / NS_PER_S),
		  (unsigned long long)(ns % NS_PER_S));
}

/* How many bytes the character at @at has; 0 if it is none: no UTF-8, longer
 * than it must be, a surrogate, or beyond the last. */
static size_t utf8_length(const unsigned char *at)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t length;
	uint32_t character;

	if (at[0] < 0x80)
		return 1;
	if (at[0] < 0xc0 || at[0] >= 0xf8)
		return 0;
	length = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
	character = at[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		/* The null at the end is no such byte either. */
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		character = character << 6 | (at[i] & 0x3fu);
	}
	if (character < least[length] || character > 0x10ffff ||
	    (character >= 0xd800 && character < 0xe000))
		return 0;
	return length;
}

/* What is not @is_label is JSON. */
static void add_quoted(struct text *text, const char *words, int is_label)
{
	const unsigned char *at = (const unsigned char *)words;

	add_bytes(text, "\"", 1);
	while (*at) {
		size_t length = utf8_length(at);
		const char *plain = (const char *)at;
		bool is_control = *at < 0x20 || *at == 0x7f;

		if (*at == '\n')
			add_bytes(text, "\\n", 2);
		else if (length == 0 || (is_control && is_label))
			add_bytes(text, REPLACEMENT, 3);
		else if (is_control)
			text_addf(text, "\\u%04x", *at);
		else if (*at == '"' || *at == '\\')
			text_addf(text, "\\%c", *at);
		else
			add_bytes(text, plain, length);
		at += length ? length : 1;
	}
	add_bytes(text, "\"", 1);
}

void text_add_json(struct text *text, const char *words)
{
	add_quoted(text, words, 0);
}

void text_add_label(struct text *text, const char *words)
{
	add_quoted(text, words, 1);
}

void text_free(struct text *text)
{
	free(text->data);
	*text = (struct text){ 0 };
}
