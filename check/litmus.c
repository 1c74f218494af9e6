/* SPDX-License-Identifier: MIT */
/* litmus.c - run the programs of a file, as TAP */
#include "litmus.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static bool is_asked_for(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(name, argv[i]))
			return true;
	}
	return argc < 2;
}

static bool is_right(const struct litmus *litmus, int err,
		     const struct explore_result *result)
{
	if (err)
		return false;
	if (litmus->violation)
		return result->violated &&
		       strstr(result->message, litmus->violation);
	return !result->violated && result->executions &&
	       (!litmus->executions ||
		litmus->executions == result->executions);
}

static void print_trace(const char *trace)
{
	while (*trace) {
		const char *end = strchr(trace, '\n');
		size_t n = end ? (size_t)(end - trace) : strlen(trace);

		printf("# %.*s\n", (int)n, trace);
		trace += end ? n + 1 : n;
	}
}

int litmus_main(const struct litmus *all, size_t count, int argc, char **argv)
{
	static struct explore_result result;
	int failed = 0, number = 0;

	for (size_t i = 0; i < count; i++) {
		const struct litmus *litmus = &all[i];
		double begin = now();
		int err;

		if (!is_asked_for(litmus->program.name, argc, argv))
			continue;
		err = explore(&litmus->program, NULL, &result);
		bool right = is_right(litmus, err, &result);

		printf("%sok %d - %s (%llu executions, %llu blocked, %.2f s)\n",
		       right ? "" : "not ", ++number, litmus->program.name,
		       (unsigned long long)result.executions,
		       (unsigned long long)result.blocked, now() - begin);
		if (!right) {
			failed++;
			printf("# error %d, expected %llu executions; %s\n",
			       err, (unsigned long long)litmus->executions,
			       result.message);
			print_trace(result.trace);
		}
		(void)fflush(stdout);
	}
	printf("1..%d\n", number);
	return failed || !number;
}
