/* SPDX-License-Identifier: MIT */
/* litmus.c - run the programs of a file, as TAP */
#include "litmus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "outcome.h"

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* As the arguments say. */
static struct explore_options options;

bool litmus_is_asked_for(const char *name, int argc, char **argv)
{
	bool named = false;

	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "--random=", 9))
			options.random = strtoull(argv[i] + 9, NULL, 10);
		else if (!strncmp(argv[i], "--seed=", 7))
			options.seed = strtoull(argv[i] + 7, NULL, 10);
		else if (!strncmp(argv[i], "--replay=", 9))
			options.replay = argv[i] + 9;
		else if (!strcmp(name, argv[i]))
			return true;
		else
			named = true;
	}
	return !named;
}

static bool is_right(const struct litmus *litmus, int err,
		     const struct explore_result *result)
{
	if (err)
		return false;
	/* Some executions show neither how many there are nor all that they
	 * lead to. */
	if (options.random || options.replay)
		return litmus->violation || !result->violated;
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

/* Does the text lead to the violation again? */
static bool replays(const struct explore_program *program, const char *text)
{
	static struct explore_result again;
	const struct explore_options one = { .replay = text };

	return !explore(program, &one, &again) && again.violated;
}

bool litmus_run(const struct litmus *litmus, int number)
{
	static struct explore_result result;
	char message[256] = "";
	double begin = now();
	int err = explore(&litmus->program, &options, &result);
	bool right = is_right(litmus, err, &result);

	if (litmus->outcomes && !result.violated && !result.bounded)
		right &= outcome_compare(litmus->outcomes, message,
					 sizeof(message));
	if (result.violated && !replays(&litmus->program, result.replay)) {
		right = false;
		printf("# %s does not replay\n", result.replay);
	}
	printf("%sok %d - %s (%llu executions, %llu blocked, %.2f s)\n",
	       right ? "" : "not ", number, litmus->program.name,
	       (unsigned long long)result.executions,
	       (unsigned long long)result.blocked, now() - begin);
	if (!right) {
		printf("# error %d, expected %llu executions; %s%s\n", err,
		       (unsigned long long)litmus->executions, message,
		       result.message);
		print_trace(result.trace);
		if (result.violated)
			printf("# again: %s --replay=%s\n",
			       litmus->program.name, result.replay);
	}
	(void)fflush(stdout);
	return right;
}

/* Slow ones run when they are asked for by name, or all are. */
static bool is_skipped(const struct litmus *litmus, int argc, char **argv)
{
	if (!litmus->slow || getenv("TIDE_CHECK_LONG"))
		return false;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], litmus->program.name))
			return false;
	}
	return true;
}

/* What there is, for tools/mutants.py. */
static int print_list(const struct litmus *all, size_t count)
{
	for (size_t i = 0; i < count; i++)
		printf("%s%s%s\n", all[i].program.name,
		       all[i].slow ? " slow" : "",
		       all[i].violation ? " violates" : "");
	return 0;
}

int litmus_main(const struct litmus *all, size_t count, int argc, char **argv)
{
	int failed = 0, number = 0;

	if (argc == 2 && !strcmp(argv[1], "--list"))
		return print_list(all, count);
	for (size_t i = 0; i < count; i++) {
		if (!litmus_is_asked_for(all[i].program.name, argc, argv))
			continue;
		if (is_skipped(&all[i], argc, argv))
			printf("ok %d - %s # SKIP long: make check-model\n",
			       ++number, all[i].program.name);
		else
			failed += !litmus_run(&all[i], ++number);
	}
	printf("1..%d\n", number);
	return failed || !number;
}
