/* SPDX-License-Identifier: MIT */
/*
 * fault_cost.c - a first write to a write-protected page, by the fast path
 * and by the slow one, while another thread harvests in a loop
 *
 * Two guests of 256 MiB that differ in TIDE_MMU_NO_FAST_FAULT only.  Before a
 * round the harvester has been through with the vCPU at rest, so that every
 * page is write-protected and no TLB entry is left; then the vCPU writes to
 * 4,096 pages, once each, scattered over the slot or one after the other, and
 * the harvester goes on meanwhile.  Only the stores are timed, a batch between
 * two safe points at a time: what the vCPU waits for the harvester at a safe
 * point is no part of a fault, what it waits for a lock in one is.
 *
 * The MMU's counters say which path was taken, and the harvester how often it
 * went through.  A round in which more than 1 % of the faults took another
 * path, or in which the harvester had no CPU, is not counted.
 */
#include "bench.h"

#include "mmu_bench.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/atomic.h"

#define PAGES (1u << 16) /* 256 MiB */
#define WRITES 4096u	 /* of a round */
#define HARVESTS_MIN 3u	 /* of a round */

enum path { FAST, SLOW, PATHS };
enum order { SCATTERED, IN_ORDER, ORDERS };

/* Odd: a permutation of the pages. */
static const uint64_t strides[ORDERS] = { 40503, 1 };

struct faults {
	struct bench_guest guest[PATHS];
	char *memory[PATHS];
	pthread_t harvester;
	bool running;
	_Atomic(struct bench_guest *) target; /* of the harvester; NULL: end */
	_Atomic uint64_t harvests;
	_Atomic int harvest_err;
	uint64_t page[PATHS]; /* to write to next */
};

static void *harvest_loop(void *opaque)
{
	struct faults *faults = opaque;

	for (;;) {
		/* ACQUIRE(bench.harvester) pairs with
		 * RELEASE(bench.target): a guest that is set up. */
		struct bench_guest *target = atomic_load_explicit(
			&faults->target, memory_order_acquire);
		int err;

		if (!target)
			return NULL;
		err = bench_guest_harvest(target, NULL);
		if (err)
			/* Relaxed: the number alone. */
			atomic_store_explicit(&faults->harvest_err, err,
					      memory_order_relaxed);
		/* RELEASE(bench.harvested) pairs with
		 * ACQUIRE(bench.await): its pages are protected. */
		atomic_fetch_add_explicit(&faults->harvests, 1,
					  memory_order_release);
	}
}

static void aim(struct faults *faults, struct bench_guest *guest)
{
	/* RELEASE(bench.target) pairs with ACQUIRE(bench.harvester): the
	 * guest is set up. */
	atomic_store_explicit(&faults->target, guest, memory_order_release);
}

static uint64_t harvests_now(struct faults *faults)
{
	/* ACQUIRE(bench.await) pairs with RELEASE(bench.harvested): the
	 * pages are protected. */
	return atomic_load_explicit(&faults->harvests, memory_order_acquire);
}

/* Two whole harvests of the harvester's target from now on, and what is left
 * of the one it is in. */
static int await_harvests(struct faults *faults)
{
	uint64_t begin = harvests_now(faults);

	while (harvests_now(faults) < begin + 3)
		sched_yield();
	/* Relaxed: the number alone. */
	return atomic_load_explicit(&faults->harvest_err, memory_order_relaxed);
}

/* A batch of stores, timed, then a safe point, not timed, until WRITES pages
 * from *@page on were written to. */
static int write_pages(struct tide_vcpu *vcpu, uint64_t stride, uint64_t *page,
		       double *ret_ns)
{
	uint64_t total_ns = 0;
	int ret = tide_vcpu_enter(vcpu);

	for (uint32_t done = 0; !ret && done < WRITES;
	     done += BENCH_SAFE_POINT) {
		uint64_t begin_ns = bench_now_ns();

		for (uint32_t i = 0; !ret && i < BENCH_SAFE_POINT; i++) {
			ret = tide_vcpu_store(vcpu, bench_address(*page), 8, i);
			*page = (*page + stride) % PAGES;
		}
		total_ns += bench_now_ns() - begin_ns;
		if (!ret)
			ret = tide_vcpu_safe_point(vcpu);
	}
	*ret_ns = (double)total_ns / WRITES;
	return ret ? bench_exit_error(ret) : tide_vcpu_exit(vcpu);
}

/* Return: 1: it counts, and *ret_ns is a fault's time; 0: it does not; a
 * negative errno. */
static int one_path(struct faults *faults, enum path path, enum order order,
		    double *ret_ns)
{
	struct bench_guest *guest = &faults->guest[path];
	struct tide_mmu_stats before, after;
	uint64_t taken, harvests;
	int err;

	aim(faults, guest);
	err = await_harvests(faults);
	if (err)
		return err;
	tide_mmu_stats(guest->mmu, &before);
	harvests = harvests_now(faults);
	err = write_pages(guest->vcpu[0], strides[order], &faults->page[path],
			  ret_ns);
	harvests = harvests_now(faults) - harvests;
	tide_mmu_stats(guest->mmu, &after);
	taken = path == FAST ? after.faults_fast - before.faults_fast
			     : after.faults_slow - before.faults_slow;
	if (err)
		return err;
	return taken >= WRITES - WRITES / 100 && harvests >= HARVESTS_MIN;
}

static int setup(struct faults *faults)
{
	int err = 0;

	for (unsigned int i = 0; !err && i < PATHS; i++) {
		struct bench_guest_config config = {
			.npages = PAGES,
			.vcpus = 1,
			.mmu_flags = i == SLOW ? TIDE_MMU_NO_FAST_FAULT : 0,
		};

		faults->memory[i] = bench_memory_map(PAGES, BENCH_POPULATED);
		config.memory = faults->memory[i];
		err = bench_guest_create(&faults->guest[i], &config);
		if (!err)
			err = bench_guest_log(&faults->guest[i],
					      TIDE_START_CLEAN);
		/* The mappings are there, so that a write only needs its
		 * permission back. */
		if (!err)
			err = bench_guest_touch(&faults->guest[i], 0, PAGES, 1);
	}
	if (err)
		return err;
	aim(faults, &faults->guest[FAST]);
	err = -pthread_create(&faults->harvester, NULL, harvest_loop, faults);
	faults->running = !err;
	return err;
}

static void tear_down(struct faults *faults)
{
	if (faults->running) {
		aim(faults, NULL);
		pthread_join(faults->harvester, NULL);
	}
	for (unsigned int i = 0; i < PATHS; i++) {
		bench_guest_destroy(&faults->guest[i]);
		bench_memory_unmap(faults->memory[i], PAGES);
	}
}

struct figures {
	struct bench_figure speedup, ns[PATHS];
};

static int rounds_of(struct faults *faults, enum order order,
		     unsigned int rounds, struct figures *figures)
{
	int ret = 0;

	for (unsigned int i = 0; ret >= 0 && i < rounds; i++) {
		enum path first = i & 1 ? SLOW : FAST;
		double ns[PATHS] = { 0 };

		ret = one_path(faults, first, order, &ns[first]);
		if (ret == 1)
			ret = one_path(faults, !first, order, &ns[!first]);
		if (ret != 1)
			continue;
		bench_add(&figures->speedup, ns[SLOW] / ns[FAST]);
		bench_add(&figures->ns[FAST], ns[FAST]);
		bench_add(&figures->ns[SLOW], ns[SLOW]);
	}
	return ret < 0 ? ret : 0;
}

static void report(const struct bench_options *options, unsigned int rounds,
		   struct figures *figures)
{
	if (figures->speedup.n < (rounds + 9) / 10) {
		(void)bench_skip(options, figures->speedup.name,
				 "another path, or no CPU for the harvester");
		return;
	}
	bench_report(options, &figures->speedup);
	bench_report(options, &figures->ns[FAST]);
	bench_report(options, &figures->ns[SLOW]);
}

#define PART "nothing: a part of fast-fault-speedup"

int bench_fault(const struct bench_options *options)
{
	static struct figures figures[ORDERS] = {
		[SCATTERED] = {
			{ .name = "fast-fault-speedup",
			  .unit = "times",
			  .against = "the same with TIDE_MMU_NO_FAST_FAULT",
			  .goal_least = 4 },
			{ { .name = "fast-fault-ns",
			    .unit = "ns",
			    .against = PART },
			  { .name = "slow-fault-ns",
			    .unit = "ns",
			    .against = PART } },
		},
		[IN_ORDER] = {
			{ .name = "fast-fault-speedup-in-order",
			  .unit = "times",
			  .against = "the same with TIDE_MMU_NO_FAST_FAULT" },
			{ { .name = "fast-fault-ns-in-order",
			    .unit = "ns",
			    .against = PART "-in-order" },
			  { .name = "slow-fault-ns-in-order",
			    .unit = "ns",
			    .against = PART "-in-order" } },
		},
	};
	unsigned int rounds = options->rounds ? options->rounds : 201;
	static struct faults faults;
	int err = setup(&faults);

	for (enum order order = 0; !err && order < ORDERS; order++)
		err = rounds_of(&faults, order, rounds, &figures[order]);
	tear_down(&faults);
	if (err)
		return bench_skip(options, "fault", strerror(-err));
	for (enum order order = 0; order < ORDERS; order++)
		report(options, rounds, &figures[order]);
	return 0;
}
