/* SPDX-License-Identifier: MIT */
/* message.c - one line on stderr, and what was probably meant */
#include "tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define WORD_MAX 32u

static const char *command_name = "tidemark";
static char last_error[1024];

void tool_set_command(const char *name)
{
	command_name = name;
}

int tool_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(last_error, sizeof(last_error), format,
			args); /* cut is fine */
	va_end(args);

	/* One call, so that lines of two processes do not mix. */
	if (strcmp(command_name, "tidemark") == 0)
		fprintf(stderr, "tidemark: %s\n", last_error);
	else
		fprintf(stderr, "tidemark: %s: %s\n", command_name, last_error);
	return TOOL_HOST;
}

const char *tool_last_error(void)
{
	return last_error;
}

static unsigned int min3(unsigned int a, unsigned int b, unsigned int c)
{
	unsigned int least = a < b ? a : b;

	return least < c ? least : c;
}

/* Levenshtein's distance; words beyond WORD_MAX are far from everything. */
static unsigned int edit_distance(const char *a, const char *b)
{
	unsigned int row[WORD_MAX + 1];
	size_t a_len = strlen(a);
	size_t b_len = strlen(b);

	if (a_len > WORD_MAX || b_len > WORD_MAX)
		return WORD_MAX;
	for (unsigned int j = 0; j <= b_len; j++)
		row[j] = j;

	for (unsigned int i = 1; i <= a_len; i++) {
		unsigned int diagonal = row[0];

		row[0] = i;
		for (unsigned int j = 1; j <= b_len; j++) {
			unsigned int above = row[j];

			row[j] = min3(above + 1, row[j - 1] + 1,
				      diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[b_len];
}

const char *tool_nearest(const char *word, const char *const *names,
			 unsigned int count)
{
	const char *best = NULL;
	unsigned int best_distance = 3; /* further apart is no typo */

	for (unsigned int i = 0; i < count; i++) {
		unsigned int distance = edit_distance(word, names[i]);

		if (distance < best_distance && distance < strlen(word)) {
			best = names[i];
			best_distance = distance;
		}
	}
	return best;
}

uint64_t tool_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail on Linux */
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
