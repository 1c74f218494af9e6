/* SPDX-License-Identifier: MIT */
/*
 * server_text.h - text that grows, and what is quoted in it
 *
 * A call that finds no memory makes the text failed, and the ones after it do
 * nothing: only the end has to be looked at.
 */
#ifndef SERVER_TEXT_H
#define SERVER_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct text {
	char *data; /* malloc()ed, size bytes, not terminated */
	size_t size, max;
	int failed;
};

void text_add(struct text *text, const char *more);
void text_add_text(struct text *text, const struct text *more);
void text_addf(struct text *text, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* @number, in decimal: what there is the most of. */
void text_add_number(struct text *text, uint64_t number);
/* @ns as seconds, exactly. */
void text_add_seconds(struct text *text, uint64_t ns);

/*
 * In double quotes, as JSON has it, or as the value of a label in Prometheus'
 * text format.  What is not UTF-8 in @words becomes U+FFFD; control characters
 * too in a label, where only the end of a line can be written.
 */
void text_add_json(struct text *text, const char *words);
void text_add_label(struct text *text, const char *words);

void text_free(struct text *text);

#endif
