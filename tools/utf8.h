/* SPDX-License-Identifier: MIT */
/*
 * utf8.h - text that somebody else wrote
 *
 * Names of files and command lines are any bytes: what is no UTF-8, what a
 * terminal would obey, and what is not seen becomes U+FFFD where they are
 * shown.
 */
#ifndef UTF8_H
#define UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_REPLACEMENT 0xfffdu
#define UTF8_REPLACEMENT_TEXT "\xef\xbf\xbd"
/* A text of so many bytes, its end among them, is at most so long then. */
#define UTF8_CLEAN_MAX(bytes) (3 * (bytes))

/* The character at @text, which ends with a 0 somewhere, and how many bytes it
 * has.  Return: UTF8_REPLACEMENT for a byte that is of none. */
uint32_t utf8_decode(const char *text, size_t *ret_size);

/* A control character, or one that is not seen, or turns the text around it. */
int utf8_is_hidden(uint32_t code);

/* @text, harmless, and as much of it as there is room for. */
void utf8_clean(const char *text, char *to, size_t size);

#endif
