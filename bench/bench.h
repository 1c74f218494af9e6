/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what the benchmarks share: samples, and how they are reported
 *
 * A figure is a ratio of two things measured in turn in one run: what the
 * library does, and the raw mechanism or a peer doing the same.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_SAMPLES_MAX 1000u

struct bench_figure {
	const char *name;
	const char *unit;    /* "ratio", "ns", ... */
	const char *against; /* what it was compared with */
	double goal;	     /* at most; 0: none is set */
	double goal_least;   /* at least; 0: none is set */
	size_t n;
	double sample[BENCH_SAMPLES_MAX];
};

struct bench_options {
	const char *name; /* the only figure to report; NULL: all */
	const char *against;
	bool json;
	unsigned int rounds; /* 0: the benchmark's own choice */
};

/* One benchmark.  Return: 0; 1 if it could not run here (it said why);
 * -EBADMSG if what was measured did not do its work, or another negative
 * errno: nothing more should run. */
struct bench {
	const char *name;
	const char *figures; /* the names of its figures */
	int (*run)(const struct bench_options *options);
};

int bench_mark(const struct bench_options *options);
int bench_harvest(const struct bench_options *options);
int bench_wp(const struct bench_options *options);
int bench_rollback(const struct bench_options *options);
int bench_plan(const struct bench_options *options);
int bench_trace(const struct bench_options *options);
int bench_attach(const struct bench_options *options);
int bench_redis(const struct bench_options *options);
int bench_idle(const struct bench_options *options);
int bench_empty(const struct bench_options *options);
int bench_migrate(const struct bench_options *options);
int bench_tlb(const struct bench_options *options);
int bench_fault(const struct bench_options *options);
int bench_scaling(const struct bench_options *options);
int bench_log(const struct bench_options *options);
int bench_flush(const struct bench_options *options);
int bench_overhead(const struct bench_options *options);
int bench_tables(const struct bench_options *options);
int bench_large(const struct bench_options *options);

void bench_add(struct bench_figure *figure, double sample);
/* Sorts the samples and prints the figure, one JSON object a line with
 * --json; value is the median. */
void bench_report(const struct bench_options *options,
		  struct bench_figure *figure);
/* This benchmark, or a part of it, cannot run here. */
int bench_skip(const struct bench_options *options, const char *name,
	       const char *why);

/* The sample at @q of 1; sorts. */
double bench_quantile(double *samples, size_t n, double q);

uint64_t bench_now_ns(void);

#endif
