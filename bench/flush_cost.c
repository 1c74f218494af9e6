/* SPDX-License-Identifier: MIT */
/*
 * flush_cost.c - a remote flush of two vCPUs that never rest
 *
 * Each of two threads stores to a page of its own in a tight loop, with a safe
 * point every 64 stores.  A third thread calls begin of a harvest with a GET
 * that clears: it takes two words of the log, protects two pages, asks both
 * vCPUs for a flush and waits for both.  All of that is timed; a sample is a
 * quantile over the harvests of one round.  Between two harvests it sleeps.
 *
 * On a machine with fewer than three free CPUs the third thread takes the CPU
 * of one of the two, which then reaches its safe point only after it has got
 * it back.  What that alone costs is measured beside it: the same loops
 * without an MMU, that answer a word each, with a wake-up.
 */
#include "bench.h"

#include "mmu_bench.h"

#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"

#define THREADS 2u
#define FLUSHES 100u /* of a round */
#define PAUSE_NS 200000

struct flushes;

struct spinner {
	struct flushes *all;
	pthread_t thread;
	bool running;
	unsigned int index;
	int err; /* after join */
	_Atomic uint64_t stores;
	/* Without an MMU: asked counts up, answered follows. */
	_Alignas(64) _Atomic uint32_t asked;
	_Atomic uint32_t answered;
};

struct flushes {
	struct bench_guest guest;
	char *memory;
	struct spinner spinner[THREADS];
	_Alignas(64) _Atomic bool stop;
};

static bool stopped(struct spinner *spinner)
{
	/* Relaxed: only the end; join orders the rest. */
	return atomic_load_explicit(&spinner->all->stop, memory_order_relaxed);
}

/* The main thread waits for the first. */
static void count_batch(struct spinner *spinner)
{
	/* Relaxed: this thread alone counts. */
	uint64_t stores =
		atomic_load_explicit(&spinner->stores, memory_order_relaxed);

	/* Relaxed: the number alone. */
	atomic_store_explicit(&spinner->stores, stores + BENCH_SAFE_POINT,
			      memory_order_relaxed);
}

static void *mmu_main(void *opaque)
{
	struct spinner *spinner = opaque;
	struct tide_vcpu *vcpu = spinner->all->guest.vcpu[spinner->index];
	int ret = tide_vcpu_enter(vcpu);

	while (!ret && !stopped(spinner)) {
		for (uint64_t i = 0; !ret && i < BENCH_SAFE_POINT; i++)
			ret = tide_vcpu_store(
				vcpu,
				(spinner->index << TIDE_PAGE_SHIFT) + 8 * i, 8,
				i);
		if (!ret)
			ret = tide_vcpu_safe_point(vcpu);
		count_batch(spinner);
	}
	spinner->err = ret ? bench_exit_error(ret) : tide_vcpu_exit(vcpu);
	return NULL;
}

static void answer(struct spinner *spinner)
{
	/* ACQUIRE(bench.asked) pairs with RELEASE(bench.ask). */
	uint32_t asked =
		atomic_load_explicit(&spinner->asked, memory_order_acquire);

	/* Relaxed: this thread alone answers. */
	if (atomic_load_explicit(&spinner->answered, memory_order_relaxed) ==
	    asked)
		return;
	/* RELEASE(bench.answer) pairs with ACQUIRE(bench.answered). */
	atomic_store_explicit(&spinner->answered, asked, memory_order_release);
	syscall(SYS_futex, &spinner->answered, FUTEX_WAKE_PRIVATE, 1, NULL,
		NULL, 0);
}

static void *raw_main(void *opaque)
{
	struct spinner *spinner = opaque;
	char *page = spinner->all->memory + (spinner->index << TIDE_PAGE_SHIFT);

	while (!stopped(spinner)) {
		for (uint64_t i = 0; i < BENCH_SAFE_POINT; i++)
			/* Relaxed: as a guest's. */
			atomic_store_explicit(
				(_Atomic(uint64_t) *)(void *)(page + 8 * i), i,
				memory_order_relaxed);
		answer(spinner);
		count_batch(spinner);
	}
	return NULL;
}

static void ask_raw(struct flushes *flushes)
{
	for (unsigned int i = 0; i < THREADS; i++)
		/* RELEASE(bench.ask) pairs with ACQUIRE(bench.asked). */
		atomic_fetch_add_explicit(&flushes->spinner[i].asked, 1,
					  memory_order_release);
	for (unsigned int i = 0; i < THREADS; i++) {
		struct spinner *spinner = &flushes->spinner[i];
		/* Relaxed: this thread alone asks. */
		uint32_t asked = atomic_load_explicit(&spinner->asked,
						      memory_order_relaxed);
		uint32_t answered;

		for (;;) {
			/* ACQUIRE(bench.answered) pairs with
			 * RELEASE(bench.answer). */
			answered = atomic_load_explicit(&spinner->answered,
							memory_order_acquire);
			if (answered == asked)
				break;
			syscall(SYS_futex, &spinner->answered,
				FUTEX_WAIT_PRIVATE, answered, NULL, NULL, 0);
		}
	}
}

static int flush_mmu(struct flushes *flushes, uint64_t *ret_ns)
{
	struct tide_harvest *harvest;
	struct tide_extent extent;
	uint64_t begin_ns = bench_now_ns();
	int ret = tide_harvest_begin(flushes->guest.client, &harvest);

	*ret_ns = bench_now_ns() - begin_ns;
	if (ret)
		return ret;
	while ((ret = tide_harvest_next(harvest, &extent)) > 0)
		;
	return ret ? ret : tide_harvest_commit(harvest);
}

static int flush_raw(struct flushes *flushes, uint64_t *ret_ns)
{
	uint64_t begin_ns = bench_now_ns();

	ask_raw(flushes);
	*ret_ns = bench_now_ns() - begin_ns;
	return 0;
}

static int one_round(struct flushes *flushes,
		     int (*flush)(struct flushes *flushes, uint64_t *ret_ns),
		     struct bench_figure *p50, struct bench_figure *p99)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	double us[FLUSHES];

	for (unsigned int i = 0; i < FLUSHES; i++) {
		uint64_t ns;
		int err;

		nanosleep(&pause, NULL);
		err = flush(flushes, &ns);
		if (err)
			return err;
		us[i] = (double)ns / 1e3;
	}
	bench_add(p50, bench_quantile(us, FLUSHES, 0.5));
	bench_add(p99, bench_quantile(us, FLUSHES, 0.99));
	return 0;
}

static int spin_start(struct flushes *flushes, void *(*body)(void *opaque))
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	int err = 0;

	/* Relaxed: pthread_create orders it. */
	atomic_store_explicit(&flushes->stop, false, memory_order_relaxed);
	for (unsigned int i = 0; !err && i < THREADS; i++) {
		struct spinner *spinner = &flushes->spinner[i];

		*spinner = (struct spinner){ .all = flushes, .index = i };
		err = -pthread_create(&spinner->thread, NULL, body, spinner);
		spinner->running = !err;
		/* Relaxed: the number alone. */
		while (!err && !atomic_load_explicit(&spinner->stores,
						     memory_order_relaxed))
			nanosleep(&pause, NULL);
	}
	return err;
}

static int spin_stop(struct flushes *flushes)
{
	int err = 0;

	/* Relaxed: only the end. */
	atomic_store_explicit(&flushes->stop, true, memory_order_relaxed);
	for (unsigned int i = 0; i < THREADS; i++) {
		if (!flushes->spinner[i].running)
			continue;
		pthread_join(flushes->spinner[i].thread, NULL);
		flushes->spinner[i].running = false;
		if (flushes->spinner[i].err)
			err = flushes->spinner[i].err;
	}
	return err;
}

static int spin(struct flushes *flushes, void *(*body)(void *opaque),
		int (*flush)(struct flushes *flushes, uint64_t *ret_ns),
		unsigned int rounds, struct bench_figure *p50,
		struct bench_figure *p99)
{
	int err = spin_start(flushes, body), stop_err;

	for (unsigned int i = 0; !err && i < rounds; i++)
		err = one_round(flushes, flush, p50, p99);
	stop_err = spin_stop(flushes);
	return err ? err : stop_err;
}

static int measure(struct flushes *flushes, unsigned int rounds,
		   struct bench_figure *figure)
{
	struct bench_guest_config config = {
		.npages = BENCH_LARGE_PAGES,
		.vcpus = THREADS,
		.get_clears = true,
	};
	struct tide_mmu_stats before, after;
	int err;

	flushes->memory = bench_memory_map(config.npages, BENCH_POPULATED);
	config.memory = flushes->memory;
	err = bench_guest_create(&flushes->guest, &config);
	if (!err)
		err = bench_guest_log(&flushes->guest, TIDE_START_CLEAN);
	if (err)
		return err;
	tide_mmu_stats(flushes->guest.mmu, &before);
	err = spin(flushes, mmu_main, flush_mmu, rounds, &figure[0],
		   &figure[1]);
	tide_mmu_stats(flushes->guest.mmu, &after);
	if (!err && after.flushes - before.flushes < (uint64_t)rounds * FLUSHES)
		err = -EBADMSG; /* a harvest without a flush */
	return err ? err
		   : spin(flushes, raw_main, flush_raw, rounds, &figure[2],
			  &figure[3]);
}

int bench_flush(const struct bench_options *options)
{
	static struct bench_figure figure[] = {
		{ .name = "flush-p50-us",
		  .unit = "us",
		  .against = "two vCPUs in a tight loop",
		  .goal = 10 },
		{ .name = "flush-p99-us",
		  .unit = "us",
		  .against = "two vCPUs in a tight loop" },
		{ .name = "flush-raw-p50-us",
		  .unit = "us",
		  .against = "the same loops, a word and a futex each" },
		{ .name = "flush-raw-p99-us",
		  .unit = "us",
		  .against = "the same loops, a word and a futex each" },
	};
	unsigned int rounds = options->rounds ? options->rounds : 21;
	static struct flushes flushes;
	int err = measure(&flushes, rounds, figure);

	bench_guest_destroy(&flushes.guest);
	bench_memory_unmap(flushes.memory, BENCH_LARGE_PAGES);
	if (err == -EBADMSG)
		return err;
	if (err)
		return bench_skip(options, "flush", strerror(-err));
	for (size_t i = 0; i < 4; i++)
		bench_report(options, &figure[i]);
	return 0;
}
