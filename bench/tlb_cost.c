/* SPDX-License-Identifier: MIT */
/*
 * tlb_cost.c - a store and a load that hit the TLB, against raw ones
 *
 * Both loops draw an offset in 4 MiB from the same generator, multiply-add and
 * shift, and access 8 bytes there as a relaxed atomic, which no compiler drops
 * or merges.  The guest's loop goes by tide_vcpu_store() or _load(); the raw
 * one adds the offset to the host address.  Every page was touched before, so
 * that each access hits.  A load's value goes into the sum of all.
 *
 * A sample is the ratio of the fastest of a few short loops of each, run in
 * turn: a loop that shared its core or its cache with a neighbour says nothing
 * of either.
 */
#include "bench.h"

#include "mmu_bench.h"

#include <string.h>

#include "base/atomic.h"

#define PAGES 1024u /* 4 MiB */
#define ACCESSES (1u << 14)
#define TRIES 9u
#define MULTIPLIER 6364136223846793005ull

struct tlb {
	struct bench_guest guest;
	char *memory;
	uint64_t seed;
	uint64_t sum;
};

static inline uint64_t next_offset(uint64_t *seed)
{
	*seed = *seed * MULTIPLIER + 1;
	return *seed >> 42 & ~7ull; /* 22 bits, in steps of 8 */
}

static double ns_each(uint64_t begin_ns)
{
	return (double)(bench_now_ns() - begin_ns) / ACCESSES;
}

static double time_raw_stores(struct tlb *tlb)
{
	uint64_t seed = tlb->seed, begin_ns = bench_now_ns();

	for (uint32_t i = 0; i < ACCESSES; i++) {
		char *to = tlb->memory + next_offset(&seed);

		/* Relaxed: what it is compared with is relaxed. */
		atomic_store_explicit((_Atomic(uint64_t) *)(void *)to, i,
				      memory_order_relaxed);
	}
	return ns_each(begin_ns);
}

static double time_raw_loads(struct tlb *tlb)
{
	uint64_t seed = tlb->seed, sum = 0, begin_ns = bench_now_ns();

	for (uint32_t i = 0; i < ACCESSES; i++) {
		char *from = tlb->memory + next_offset(&seed);

		/* Relaxed: what it is compared with is relaxed. */
		sum += atomic_load_explicit((_Atomic(uint64_t) *)(void *)from,
					    memory_order_relaxed);
	}
	tlb->sum += sum;
	return ns_each(begin_ns);
}

static int time_guest_stores(struct tlb *tlb, double *ret_ns)
{
	struct tide_vcpu *vcpu = tlb->guest.vcpu[0];
	uint64_t seed = tlb->seed, begin_ns = bench_now_ns();

	for (uint32_t i = 0; i < ACCESSES; i++) {
		int ret = tide_vcpu_store(vcpu, next_offset(&seed), 8, i);

		if (ret)
			return bench_exit_error(ret);
	}
	*ret_ns = ns_each(begin_ns);
	return 0;
}

static int time_guest_loads(struct tlb *tlb, double *ret_ns)
{
	struct tide_vcpu *vcpu = tlb->guest.vcpu[0];
	uint64_t seed = tlb->seed, sum = 0, begin_ns = bench_now_ns();

	for (uint32_t i = 0; i < ACCESSES; i++) {
		uint64_t value;
		int ret = tide_vcpu_load(vcpu, next_offset(&seed), 8, &value);

		if (ret)
			return bench_exit_error(ret);
		sum += value;
	}
	tlb->sum -= sum;
	*ret_ns = ns_each(begin_ns);
	return 0;
}

static int setup(struct tlb *tlb)
{
	struct bench_guest_config config = { .npages = PAGES, .vcpus = 1 };
	int err;

	tlb->memory = bench_memory_map(PAGES, BENCH_POPULATED);
	config.memory = tlb->memory;
	err = bench_guest_create(&tlb->guest, &config);
	if (!err)
		err = bench_guest_log(&tlb->guest, TIDE_START_CLEAN);
	return err ? err
		   : bench_exit_error(tide_vcpu_enter(tlb->guest.vcpu[0]));
}

struct best {
	double raw_store, store, raw_load, load; /* ns */
};

static void keep_less(double *best, double ns)
{
	if (ns < *best)
		*best = ns;
}

/* Each kind of access once, the raw one first or last. */
static int one_try(struct tlb *tlb, bool raw_first, struct best *best)
{
	double ns = 0;
	int err;

	if (raw_first)
		keep_less(&best->raw_store, time_raw_stores(tlb));
	err = time_guest_stores(tlb, &ns);
	keep_less(&best->store, ns);
	if (!raw_first)
		keep_less(&best->raw_store, time_raw_stores(tlb));
	if (raw_first)
		keep_less(&best->raw_load, time_raw_loads(tlb));
	if (!err)
		err = time_guest_loads(tlb, &ns);
	keep_less(&best->load, ns);
	if (!raw_first)
		keep_less(&best->raw_load, time_raw_loads(tlb));
	tlb->seed = tlb->seed * MULTIPLIER + 1;
	return err;
}

static int one_round(struct tlb *tlb, double *ret_stores, double *ret_loads)
{
	struct best best = { 1e9, 1e9, 1e9, 1e9 };
	int err = 0;

	for (unsigned int i = 0; !err && i < TRIES; i++)
		err = one_try(tlb, i & 1, &best);
	*ret_stores = best.store / best.raw_store;
	*ret_loads = best.load / best.raw_load;
	return err;
}

int bench_tlb(const struct bench_options *options)
{
	static struct bench_figure stores = {
		.name = "tlb-hit-ratio",
		.unit = "ratio",
		.against = "a raw 8-byte store in the same loop",
		.goal = 1.15,
	};
	static struct bench_figure loads = {
		.name = "tlb-hit-load-ratio",
		.unit = "ratio",
		.against = "a raw 8-byte load in the same loop",
	};
	unsigned int rounds = options->rounds ? options->rounds : 301;
	struct tlb tlb = { .seed = 42 };
	double store, load;
	int err = setup(&tlb);

	/* The first round, not counted, fills the TLB. */
	if (!err)
		err = one_round(&tlb, &store, &load);
	for (unsigned int i = 0; !err && i < rounds; i++) {
		err = one_round(&tlb, &store, &load);
		bench_add(&stores, store);
		bench_add(&loads, load);
	}
	if (!err && tlb.sum)
		err = -EBADMSG; /* both saw the same values, all along */
	if (!err)
		err = tide_vcpu_exit(tlb.guest.vcpu[0]);
	if (!err) {
		bench_report(options, &stores);
		bench_report(options, &loads);
	}
	bench_guest_destroy(&tlb.guest);
	bench_memory_unmap(tlb.memory, PAGES);
	if (err == -EBADMSG)
		return err;
	return err ? bench_skip(options, "tlb", strerror(-err)) : 0;
}
