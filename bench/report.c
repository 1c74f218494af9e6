/* SPDX-License-Identifier: MIT */
/* report.c - samples in, one line out */
#include "bench.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t bench_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void bench_add(struct bench_figure *figure, double sample)
{
	if (figure->n < BENCH_SAMPLES_MAX)
		figure->sample[figure->n++] = sample;
}

static int ascending(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

double bench_quantile(double *samples, size_t n, double q)
{
	qsort(samples, n, sizeof(*samples), ascending);
	return samples[(size_t)(q * (double)(n - 1) + 0.5)];
}

void bench_report(const struct bench_options *options,
		  struct bench_figure *figure)
{
	double median, p99;

	if (!figure->n ||
	    (options->name && strcmp(options->name, figure->name) != 0))
		return;
	median = bench_quantile(figure->sample, figure->n, 0.5);
	p99 = bench_quantile(figure->sample, figure->n, 0.99);
	if (options->json) {
		json_t *line =
			json_pack("{s:s, s:f, s:s, s:I, s:f, s:f, s:f, s:s}",
				  "name", figure->name, "value", median, "unit",
				  figure->unit, "n", (json_int_t)figure->n,
				  "min", figure->sample[0], "median", median,
				  "p99", p99, "against", figure->against);

		if (line && figure->goal > 0)
			json_object_set_new(line, "goal_at_most",
					    json_real(figure->goal));
		if (line && figure->goal_least > 0)
			json_object_set_new(line, "goal_at_least",
					    json_real(figure->goal_least));
		if (line)
			json_dumpf(line, stdout, JSON_REAL_PRECISION(6));
		json_decref(line);
		puts("");
	} else {
		printf("%-24s %10.4g %-6s min %.4g  p99 %.4g  n %zu  (%s)",
		       figure->name, median, figure->unit, figure->sample[0],
		       p99, figure->n, figure->against);
		if (figure->goal > 0)
			printf("  goal: at most %.4g", figure->goal);
		if (figure->goal_least > 0)
			printf("  goal: at least %.4g", figure->goal_least);
		puts("");
	}
	fflush(stdout);
}

int bench_skip(const struct bench_options *options, const char *name,
	       const char *why)
{
	if (options->json)
		printf("{\"name\": \"%s\", \"skipped\": \"%s\"}\n", name, why);
	else
		printf("%-24s skipped: %s\n", name, why);
	return 1;
}
