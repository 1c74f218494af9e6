/* SPDX-License-Identifier: MIT */
/*
 * attach_cost.c - how long attaching holds its target, and takes
 *
 * One target writes and has 100 mappings; one has 2,000 threads that sleep.
 * Attaching holds one thread, from its stop until it goes on.  Then it arms
 * every mapping while the target runs, of which a third target has 10,000.
 */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tidemark/tidemark.h>

#define MAPPINGS 100ul
#define MANY_MAPPINGS 10000ul
#define THREADS 2000u
#define ATTACHES 100u
#define STACK_BYTES 65536u

static void write_in(size_t mappings, const int *ready)
{
	volatile unsigned char *memory = mmap(
		NULL, 2 * mappings * TIDE_PAGE_SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return;
	for (size_t i = 0; i < mappings; i++)
		(void)mprotect(
			(void *)(uintptr_t)(memory + 2 * i * TIDE_PAGE_SIZE),
			TIDE_PAGE_SIZE, PROT_READ);
	(void)!write(ready[1], "x", 1);
	for (size_t i = 0;; i++)
		memory[(2 * (i % mappings) + 1) * TIDE_PAGE_SIZE]++;
}

static void write_on(const int *ready)
{
	write_in(MAPPINGS, ready);
}

static void write_in_many(const int *ready)
{
	write_in(MANY_MAPPINGS, ready);
}

static void *sleep_on(void *opaque)
{
	(void)opaque;
	for (;;)
		pause();
	return NULL;
}

static void sleep_by_thousands(const int *ready)
{
	pthread_attr_t attributes;
	pthread_t thread;

	(void)pthread_attr_init(&attributes);
	(void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
	for (unsigned int i = 1; i < THREADS; i++) {
		if (pthread_create(&thread, &attributes, sleep_on, NULL))
			return;
	}
	(void)!write(ready[1], "x", 1);
	(void)sleep_on(NULL);
}

/* Return: the target, ready; -1. */
static pid_t start(void (*body)(const int *ready))
{
	int ready[2];
	pid_t pid;
	char byte;
	ssize_t got;

	if (pipe(ready))
		return -1;
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]);
		body(ready);
		_exit(1);
	}
	close(ready[1]);
	got = pid > 0 ? read(ready[0], &byte, 1) : 0;
	close(ready[0]);
	if (got == 1 || pid < 0)
		return pid;
	(void)waitpid(pid, NULL, 0);
	return -1;
}

/* @held: how long a thread was held, else how long all of it took */
static int measure(void (*body)(const int *ready), uint32_t attaches, bool held,
		   double *ret_us, char *why, size_t size)
{
	pid_t pid = start(body);
	int err = 0;

	if (pid < 0) {
		snprintf(why, size, "the target did not start");
		return -EAGAIN;
	}
	for (uint32_t i = 0; i < attaches && !err; i++) {
		struct tide_process_stats stats;
		struct tide_process *process;
		uint64_t ns = bench_now_ns();

		err = tide_process_attach(pid, &process, why, size);
		if (err)
			break;
		ns = bench_now_ns() - ns;
		tide_process_stats_get(process, &stats);
		ret_us[i] = (double)(held ? stats.stopped_ns : ns) / 1000;
		tide_process_detach(process);
	}
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	return err;
}

int bench_attach(const struct bench_options *options)
{
	static struct bench_figure p50 = {
		.name = "attach-p50-us",
		.unit = "us",
		.against = "nothing: a target with 100 mappings",
	};
	static struct bench_figure p99 = {
		.name = "attach-p99-us",
		.unit = "us",
		.against = "nothing: a target with 100 mappings",
		.goal = 1000,
	};
	static struct bench_figure threads = {
		.name = "attach-2000-threads-ms",
		.unit = "ms",
		.against = "nothing: a target with 2,000 threads",
		.goal = 20,
	};
	static struct bench_figure many = {
		.name = "attach-10000-mappings-ms",
		.unit = "ms",
		.against = "nothing: until 10,000 mappings are armed",
	};
	uint32_t attaches = options->rounds ? options->rounds : ATTACHES;
	double us[BENCH_SAMPLES_MAX];
	char why[128];

	if (attaches > BENCH_SAMPLES_MAX)
		attaches = BENCH_SAMPLES_MAX;
	if (measure(write_on, attaches, true, us, why, sizeof(why)))
		return bench_skip(options, "attach", why);
	for (uint32_t i = 0; i < attaches; i++)
		bench_add(&p50, us[i]);
	bench_add(&p99, bench_quantile(us, attaches, 0.99));
	bench_report(options, &p50);
	bench_report(options, &p99);
	attaches = attaches < 10 ? attaches : 10;
	if (measure(sleep_by_thousands, attaches, true, us, why, sizeof(why)))
		return bench_skip(options, "attach-2000-threads-ms", why);
	for (uint32_t i = 0; i < attaches; i++)
		bench_add(&threads, us[i] / 1000);
	bench_report(options, &threads);
	if (measure(write_in_many, attaches, false, us, why, sizeof(why)))
		return bench_skip(options, "attach-10000-mappings-ms", why);
	for (uint32_t i = 0; i < attaches; i++)
		bench_add(&many, us[i] / 1000);
	bench_report(options, &many);
	return 0;
}
