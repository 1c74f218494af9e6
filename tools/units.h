/* SPDX-License-Identifier: MIT */
/*
 * units.h - sizes and times, as people write and read them
 *
 * Sizes: bytes, or a number with K, M, G or T (powers of two; "MiB" and "MB"
 * are the same).  Times: a number with ns, us, ms, s or m.
 */
#ifndef UNITS_H
#define UNITS_H

#include <stddef.h>
#include <stdint.h>

/* Return: 0; -EINVAL if @text is no number or has an unknown suffix; -ERANGE */
int units_parse_count(const char *text, uint64_t *ret);
int units_parse_size(const char *text, uint64_t *ret_bytes);
/* @plain_ns: what a number without a suffix means, in nanoseconds */
int units_parse_time(const char *text, uint64_t plain_ns, uint64_t *ret_ns);

/* Room for any of the texts below. */
#define UNITS_TEXT 32

struct units_text {
	char text[UNITS_TEXT];
};

struct units_text units_size(uint64_t bytes);
struct units_text units_time(uint64_t ns);

#endif
