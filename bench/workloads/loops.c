/* SPDX-License-Identifier: MIT */
/*
 * loops.c - loops that write memory, each in its own way
 *
 * Ticks of a millisecond or so; a loop that was held up does not catch up.
 */
#include "workloads.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tidemark/base.h>

#define PAGES 32768u /* 128 MiB */
#define NS_PER_S 1000000000u
#define TICK_NS 1000000u

static uint64_t seed = 88172645463325252u;

static uint64_t below(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static volatile unsigned char *memory_of(uint64_t npages)
{
	unsigned char *memory =
		mmap(NULL, npages * TIDE_PAGE_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		_exit(1);
	for (uint64_t i = 0; i < npages; i++)
		memset(memory + i * TIDE_PAGE_SIZE, (int)(i % 255 + 1), 64);
	return memory;
}

static void nap(uint64_t ns)
{
	const struct timespec time = {
		.tv_sec = (time_t)(ns / NS_PER_S),
		.tv_nsec = (long)(ns % NS_PER_S),
	};

	(void)nanosleep(&time, NULL);
}

static void touch(volatile unsigned char *memory, uint64_t page)
{
	memory[page * TIDE_PAGE_SIZE + below(64) * 64]++;
}

static void loop_sequential(void)
{
	volatile unsigned char *memory = memory_of(PAGES);

	for (uint64_t page = 0;; page = (page + 16) % PAGES) {
		for (uint64_t i = 0; i < 16; i++)
			touch(memory, page + i);
		nap(TICK_NS);
	}
}

static void loop_random(void)
{
	volatile unsigned char *memory = memory_of(PAGES);

	for (;; nap(TICK_NS))
		for (int i = 0; i < 10; i++)
			touch(memory, below(PAGES));
}

/* Page n with probability 1/n, about: the power of something uniform. */
static void loop_zipf(void)
{
	volatile unsigned char *memory = memory_of(PAGES);

	for (;; nap(TICK_NS)) {
		for (int i = 0; i < 200; i++) {
			uint64_t bits = below(16);

			/* A power of two, then one of its pages; scattered. */
			touch(memory, ((1u << bits) + below(1u << bits)) *
					      40503u % PAGES);
		}
	}
}

static void loop_hot_set(void)
{
	volatile unsigned char *memory = memory_of(PAGES);

	for (;;)
		for (uint64_t page = 0; page < 4096; page++)
			touch(memory, 1000 + page);
}

/* A second of little, half a second of much, elsewhere each time. */
static void loop_phases(void)
{
	volatile unsigned char *memory = memory_of(PAGES);

	for (uint64_t phase = 0;; phase++) {
		uint64_t end_ns =
			now_ns() + (phase % 2 ? NS_PER_S / 2 : NS_PER_S);
		uint64_t first = below(PAGES - 8192);

		while (now_ns() < end_ns) {
			for (int i = 0; i < 20; i++)
				touch(memory, phase % 2 ? first + below(8192)
							: below(200));
			nap(TICK_NS);
		}
	}
}

/* 8 MiB/s of new memory, which is given back when it is 300 MiB. */
static void loop_growing(void)
{
	volatile unsigned char *memory = memory_of(PAGES / 4);

	for (;;) {
		volatile unsigned char *more =
			mmap(NULL, 64 * TIDE_PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (more == MAP_FAILED)
			_exit(1);
		for (uint64_t i = 0; i < 64; i++) {
			more[i * TIDE_PAGE_SIZE] = 1;
			touch(memory, below(1000));
			if (i % 2)
				nap(TICK_NS);
		}
	}
}

static void loop_bursts(void)
{
	volatile unsigned char *memory = memory_of(PAGES);

	for (;; nap(200 * (uint64_t)TICK_NS))
		for (uint64_t i = 0; i < 300; i++)
			touch(memory, below(PAGES));
}

static void loop_idle(void)
{
	(void)memory_of(PAGES);
	for (;;)
		pause();
}

/* All of it is read, again and again; a few pages are counted in. */
static void loop_reader(void)
{
	volatile unsigned char *memory = memory_of(PAGES);

	for (uint64_t page = 0, sum = 0;; page = (page + 1) % PAGES) {
		for (uint64_t i = 0; i < TIDE_PAGE_SIZE; i += 256)
			sum += memory[page * TIDE_PAGE_SIZE + i];
		if (page % 32 == 0)
			touch(memory, (page + sum) % (PAGES / 16));
		if (page % 64 == 0)
			nap(TICK_NS);
	}
}

const struct workload workloads[] = {
	{ "sequential", loop_sequential, NULL },
	{ "random", loop_random, NULL },
	{ "zipf", loop_zipf, NULL },
	{ "hot-set", loop_hot_set, NULL },
	{ "phases", loop_phases, NULL },
	{ "growing", loop_growing, NULL },
	{ "bursts", loop_bursts, NULL },
	{ "idle", loop_idle, NULL },
	{ "reader", loop_reader, NULL },
	{ "redis", NULL, program_redis },
	{ "compiler", NULL, program_compiler },
	{ "sqlite", NULL, program_sqlite },
	{ "json", NULL, program_json },
	{ "xz", NULL, program_xz },
	{ "guest", NULL, program_guest },
};
const size_t workload_count = sizeof(workloads) / sizeof(workloads[0]);

int workload_start(const struct workload *workload, struct running *ret,
		   const char **what)
{
	*ret = (struct running){ 0 };
	if (workload->start)
		return workload->start(ret, what);
	ret->pid = fork();
	if (ret->pid < 0) {
		*what = "fork";
		return -errno;
	}
	if (ret->pid)
		return 0;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	workload->loop();
	_exit(1);
}

static void stop(pid_t pid)
{
	if (pid <= 0)
		return;
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

void workload_stop(struct running *running)
{
	stop(running->helper);
	stop(running->pid);
	if (running->file[0])
		(void)unlink(running->file);
	*running = (struct running){ 0 };
}
