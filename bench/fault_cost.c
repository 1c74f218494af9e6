/* SPDX-License-Identifier: MIT */
/*
 * fault_cost.c - a first write to a write-protected page, by the fast path
 * and by the slow one, while another thread harvests in a loop
 *
 * Two guests that differ in TIDE_MMU_NO_FAST_FAULT only.  Before a round the
 * harvester has been through twice with the vCPU at rest, so that every page
 * is write-protected and no TLB entry is left; then the vCPU writes to each
 * page once, in scattered order, and the harvester goes on meanwhile.  Only
 * the stores are timed, a batch between two safe points at a time: what the
 * vCPU waits for the harvester at a safe point is no part of a fault, what it
 * waits for a lock in one is.  The MMU's counters say which path was taken; a
 * round in which more than 1 % took another one is not counted.
 */
#include "bench.h"

#include "mmu_bench.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/atomic.h"

#define PAGES 4096u
#define STRIDE 1021u /* odd: a permutation of the pages */

enum path { FAST, SLOW, PATHS };

struct faults {
	struct bench_guest guest[PATHS];
	char *memory[PATHS];
	pthread_t harvester;
	bool running;
	_Atomic(struct bench_guest *) target; /* of the harvester; NULL: end */
	_Atomic uint64_t harvests;
	_Atomic int harvest_err;
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

/* Two whole harvests of the harvester's target from now on, and what is left
 * of the one it is in. */
static int await_harvests(struct faults *faults)
{
	/* Relaxed: only a number to count from. */
	uint64_t begin =
		atomic_load_explicit(&faults->harvests, memory_order_relaxed);

	/* ACQUIRE(bench.await) pairs with RELEASE(bench.harvested): the
	 * pages are protected. */
	while (atomic_load_explicit(&faults->harvests, memory_order_acquire) <
	       begin + 3)
		sched_yield();
	/* Relaxed: the number alone. */
	return atomic_load_explicit(&faults->harvest_err, memory_order_relaxed);
}

/* A batch of stores, timed, then a safe point, not timed, until every page
 * was written to once. */
static int write_pages(struct tide_vcpu *vcpu, double *ret_ns)
{
	uint64_t page = 0, total_ns = 0;
	int ret = tide_vcpu_enter(vcpu);

	for (uint32_t done = 0; !ret && done < PAGES;
	     done += BENCH_SAFE_POINT) {
		uint64_t begin_ns = bench_now_ns();

		for (uint32_t i = 0; !ret && i < BENCH_SAFE_POINT; i++) {
			ret = tide_vcpu_store(vcpu, bench_address(page), 8, i);
			page = (page + STRIDE) % PAGES;
		}
		total_ns += bench_now_ns() - begin_ns;
		if (!ret)
			ret = tide_vcpu_safe_point(vcpu);
	}
	*ret_ns = (double)total_ns / PAGES;
	return ret ? bench_exit_error(ret) : tide_vcpu_exit(vcpu);
}

/* Return: 1: every page took @path, and *ret_ns is a fault's; 0: too many did
 * not; a negative errno. */
static int one_round(struct faults *faults, enum path path, double *ret_ns)
{
	struct bench_guest *guest = &faults->guest[path];
	struct tide_mmu_stats before, after;
	uint64_t taken;
	int err;

	aim(faults, guest);
	err = await_harvests(faults);
	if (err)
		return err;
	tide_mmu_stats(guest->mmu, &before);
	err = write_pages(guest->vcpu[0], ret_ns);
	tide_mmu_stats(guest->mmu, &after);
	taken = path == FAST ? after.faults_fast - before.faults_fast
			     : after.faults_slow - before.faults_slow;
	if (err)
		return err;
	return taken >= PAGES - PAGES / 100;
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

int bench_fault(const struct bench_options *options)
{
	static struct bench_figure speedup = {
		.name = "fast-fault-speedup",
		.unit = "times",
		.against = "the same faults with TIDE_MMU_NO_FAST_FAULT",
		.goal_least = 4,
	};
	static struct bench_figure each[PATHS] = {
		{ .name = "fast-fault-ns",
		  .unit = "ns",
		  .against = "nothing: a part of fast-fault-speedup" },
		{ .name = "slow-fault-ns",
		  .unit = "ns",
		  .against = "nothing: a part of fast-fault-speedup" },
	};
	unsigned int rounds = options->rounds ? options->rounds : 201;
	static struct faults faults;
	int ret = setup(&faults);

	for (unsigned int i = 0; ret >= 0 && i < rounds; i++) {
		enum path first = i & 1 ? SLOW : FAST;
		double ns[PATHS];

		ret = one_round(&faults, first, &ns[first]);
		if (ret == 1)
			ret = one_round(&faults, !first, &ns[!first]);
		if (ret != 1)
			continue;
		bench_add(&speedup, ns[SLOW] / ns[FAST]);
		bench_add(&each[FAST], ns[FAST]);
		bench_add(&each[SLOW], ns[SLOW]);
	}
	tear_down(&faults);
	if (ret < 0)
		return bench_skip(options, "fault", strerror(-ret));
	if (speedup.n < rounds / 2)
		return bench_skip(options, "fault",
				  "most faults took another path");
	bench_report(options, &speedup);
	bench_report(options, &each[FAST]);
	bench_report(options, &each[SLOW]);
	return 0;
}
