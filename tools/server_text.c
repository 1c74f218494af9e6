/* SPDX-License-Identifier: MIT */
/* server_text.c - text that grows, and what is quoted in it */
#include "server_text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

#define NS_PER_S 1000000000ull

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

/* What is not @is_label is JSON. */
static void add_quoted(struct text *text, const char *words, int is_label)
{
	add_bytes(text, "\"", 1);
	while (*words) {
		size_t length;
		uint32_t code = utf8_decode(words, &length);
		bool is_control = code < 0x20 || code == 0x7f;

		if (code == '\n')
			add_bytes(text, "\\n", 2);
		else if (code == UTF8_REPLACEMENT || (is_control && is_label))
			text_add(text, UTF8_REPLACEMENT_TEXT);
		else if (is_control)
			text_addf(text, "\\u%04x", code);
		else if (code == '"' || code == '\\')
			text_addf(text, "\\%c", code);
		else
			add_bytes(text, words, length);
		words += length;
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
