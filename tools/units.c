/* SPDX-License-Identifier: MIT */
/* units.c - sizes and times, as people write and read them */
#include "units.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct suffix {
	const char *text;
	uint64_t factor;
};

static const struct suffix size_suffixes[] = {
	{ "", 1 },	     { "K", 1ull << 10 }, { "M", 1ull << 20 },
	{ "G", 1ull << 30 }, { "T", 1ull << 40 },
};

static const struct suffix time_suffixes[] = {
	{ "ns", 1 },
	{ "us", 1000 },
	{ "ms", 1000000 },
	{ "s", 1000000000 },
	{ "m", 60ull * 1000000000 },
	{ "min", 60ull * 1000000000 },
};

/* The number at the start of @text; *ret_rest is what follows it. */
static int leading_number(const char *text, double *ret, const char **ret_rest)
{
	char *rest;
	double number;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL; /* no sign, no blank, no "inf", no "nan" */
	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		return -EINVAL;

	number = strtod(text, &rest);
	if (rest == text)
		return -EINVAL;
	*ret = number;
	*ret_rest = rest;
	return 0;
}

static int scaled(double number, uint64_t factor, uint64_t *ret)
{
	double product = number * (double)factor;

	if (product >= 9.2e18)
		return -ERANGE;
	*ret = (uint64_t)(product + 0.5);
	return 0;
}

int units_parse_count(const char *text, uint64_t *ret)
{
	char *rest;
	unsigned long long number;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &rest, 0);
	if (*rest != '\0')
		return -EINVAL;
	if (errno == ERANGE || number > INT64_MAX)
		return -ERANGE;
	*ret = number;
	return 0;
}

int units_parse_size(const char *text, uint64_t *ret_bytes)
{
	const size_t count = sizeof(size_suffixes) / sizeof(size_suffixes[0]);
	const char *rest;
	double number;
	int err = leading_number(text, &number, &rest);

	if (err)
		return err;
	for (size_t i = 0; i < count; i++) {
		const char *suffix = size_suffixes[i].text;
		size_t length = strlen(suffix);

		if (strncasecmp(rest, suffix, length) != 0)
			continue;
		if (rest[length] != '\0' &&
		    strcasecmp(rest + length, "B") != 0 &&
		    (length == 0 || strcasecmp(rest + length, "iB") != 0))
			continue;
		return scaled(number, size_suffixes[i].factor, ret_bytes);
	}
	return -EINVAL;
}

int units_parse_time(const char *text, uint64_t plain_ns, uint64_t *ret_ns)
{
	const size_t count = sizeof(time_suffixes) / sizeof(time_suffixes[0]);
	const char *rest;
	double number;
	int err = leading_number(text, &number, &rest);

	if (err)
		return err;
	if (*rest == '\0')
		return scaled(number, plain_ns, ret_ns);
	for (size_t i = 0; i < count; i++)
		if (strcasecmp(rest, time_suffixes[i].text) == 0)
			return scaled(number, time_suffixes[i].factor, ret_ns);
	return -EINVAL;
}

struct units_text units_size(uint64_t bytes)
{
	static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	struct units_text out;
	double number = (double)bytes;
	unsigned int i = 0;

	while (number >= 1024 && i < 4) {
		number /= 1024;
		i++;
	}
	(void)snprintf(out.text, sizeof(out.text), "%.*f %s",
		       i == 0 || number == (double)(uint64_t)number ? 0 : 1,
		       number, names[i]);
	return out;
}

struct units_text units_time(uint64_t ns)
{
	struct units_text out;

	if (ns < 1000)
		(void)snprintf(out.text, sizeof(out.text), "%u ns",
			       (unsigned int)ns);
	else if (ns < 1000000)
		(void)snprintf(out.text, sizeof(out.text), "%.1f us",
			       (double)ns / 1e3);
	else if (ns < 1000000000)
		(void)snprintf(out.text, sizeof(out.text), "%.1f ms",
			       (double)ns / 1e6);
	else
		(void)snprintf(out.text, sizeof(out.text), "%.2f s",
			       (double)ns / 1e9);
	return out;
}
