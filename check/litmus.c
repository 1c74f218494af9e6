/* SPDX-License-Identifier: MIT */
/* litmus.c - run the programs of a file, as TAP */
#include "litmus.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "outcome.h"

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

bool litmus_is_asked_for(const char *name, int argc, char **argv)
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
	return !result->violated && (result->executions || litmus->outcomes) &&
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

bool litmus_run(const struct litmus *litmus, int number)
{
	static struct explore_result result;
	char message[256] = "";
	double begin = now();
	int err = explore(&litmus->program, NULL, &result);
	bool right = is_right(litmus, err, &result);

	if (litmus->outcomes && !result.violated)
		right &= outcome_compare(litmus->outcomes, message,
					 sizeof(message));
	printf("%sok %d - %s (%llu executions, %llu blocked, %.2f s)\n",
	       right ? "" : "not ", number, litmus->program.name,
	       (unsigned long long)result.executions,
	       (unsigned long long)result.blocked, now() - begin);
	if (!right) {
		printf("# error %d, expected %llu executions; %s%s\n", err,
		       (unsigned long long)litmus->executions, message,
		       result.message);
		print_trace(result.trace);
	}
	(void)fflush(stdout);
	return right;
}

int litmus_main(const struct litmus *all, size_t count, int argc, char **argv)
{
	int failed = 0, number = 0;

	for (size_t i = 0; i < count; i++) {
		if (litmus_is_asked_for(all[i].program.name, argc, argv))
			failed += !litmus_run(&all[i], ++number);
	}
	printf("1..%d\n", number);
	return failed || !number;
}
