/* SPDX-License-Identifier: MIT */
/*
 * extra_tables_litmus.c - the MMU's own tables, taken down beside other calls
 *
 * What    src/mmu/{region,protect,shadow_page,fast_fault,fault,check,vcpu}.c as
 *         shipped, in direct mode, with tables of two entries instead of 512
 *         and a lock that is yielded after four blocks instead of 32
 *         (GUEST_INDEX_BITS, YIELD_BLOCKS), of which nothing but the length of
 *         loops depends.
 * Thread  2: tables are freed past a grace period only (K25).
 * Claim   two calls at once do what one after the other would: no data race,
 *         and no table is freed that somebody walks.
 * Bounds  two threads, one call each.  A slot of six blocks, of which the
 *         fourth is mapped by small pages that could be a large one: turning
 *         logging off takes its table down, after which the lock is yielded.
 *         Garbage is collected in lots of 128; all of a lot but the table is
 *         counted and not there.
 */
#include "base/atomic.h"

#include "mmu/mmu_internal.h"

#include "base/rcu.h"
#include "check/shim/arena_model.h"
#include "check/shim/rcu_model.h"
#include "litmus.h"

#include <stdlib.h>

#define BLOCK_BYTES (2ull * TIDE_PAGE_SIZE)
#define BLOCKS 6u
#define LAST_BEFORE_YIELD (3 * BLOCK_BYTES)
#define AFTER_YIELD (5 * BLOCK_BYTES)
#define HOST (1ull << 40) /* nobody looks there */
#define GARBAGE_ENOUGH 128u

static struct tide_mmu *mmu;
static struct mmu_vcpu *vcpu[2];

static void fault_at(struct mmu_vcpu *self, uint64_t gva)
{
	struct mmu_fault at = { .gva = gva, .what = TIDE_ACCESS_READ };

	explore_assert(mmu_slow_fault(self, &at) == MMU_FAULT_FIXED,
		       "a slow fault", EXPLORE_HERE);
}

static int set_log(uint32_t flags)
{
	const struct mmu_region region = {
		.flags = flags,
		.memory_bytes = BLOCKS * BLOCK_BYTES,
		.host = HOST,
	};

	return mmu_set_region(mmu, &region);
}

/* @how: of the rings, or NULL. */
static void build(const void *how)
{
	const struct tide_mmu_config config = { .flags = 0 };
	const uint32_t *ring_bytes = how;
	struct tide_vcpu *public;

	if (tide_mmu_create(&config, &mmu) ||
	    (ring_bytes && mmu_enable_ring(mmu, *ring_bytes)) ||
	    set_log(MMU_REGION_LOG))
		abort();
	for (uint32_t i = 0; i < 2; i++) {
		if (tide_vcpu_create(mmu, &public))
			abort();
		vcpu[i] = mmu_vcpu_of(public);
		fault_at(vcpu[i], LAST_BEFORE_YIELD);
	}
}

static void setup(void)
{
	arena_reset(build, NULL);
	rcu_model_init();
}

static void setup_rings(void)
{
	static const uint32_t ring_bytes = TIDE_PAGE_SIZE;

	arena_reset(build, &ring_bytes);
	rcu_model_init();
}

/* The next table that goes completes a lot. */
static void setup_garbage(void)
{
	setup();
	mmu->garbage_count = GARBAGE_ENOUGH - 1;
	mmu->table_pages += GARBAGE_ENOUGH - 1;
}

static void log_off(void)
{
	explore_assert(!set_log(0), "logging is off", EXPLORE_HERE);
}

static void fault_after_yield(void)
{
	fault_at(vcpu[0], AFTER_YIELD);
}

/* In a table that may be going. */
static void fast_fault(void)
{
	struct spte_walk walk;

	tide_rcu_lock();
	if (mmu_walk(vcpu[0], LAST_BEFORE_YIELD, &walk))
		(void)mmu_fast_fault(vcpu[0], LAST_BEFORE_YIELD,
				     TIDE_ACCESS_WRITE, &walk);
	tide_rcu_unlock(&mmu->rcu_tag);
}

static void stats(void)
{
	struct tide_mmu_stats all;

	tide_mmu_stats(mmu, &all);
	explore_assert(all.table_pages >= 3, "a root and what is below it",
		       EXPLORE_HERE);
}

static void check(void)
{
	mmu_check(mmu);
}

static void destroy_vcpu(void)
{
	tide_vcpu_destroy(&vcpu[1]->public);
}

#define TWO(name_, init_, first_, second_, executions_)           \
	{                                                         \
		.program = { .name = (name_),                     \
			     .threads = 2,                        \
			     .init = (init_),                     \
			     .thread = { (first_), (second_) } }, \
		.executions = (executions_)                       \
	}

static const struct litmus all[] = {
	TWO("off-and-fault-after-yield", setup, log_off, fault_after_yield, 35),
	TWO("garbage-and-fast-fault", setup_garbage, log_off, fast_fault, 10),
	TWO("garbage-and-stats", setup_garbage, log_off, stats, 5),
	TWO("check-and-fault", setup, check, fault_after_yield, 3),
	TWO("check-and-destroy", setup_rings, check, destroy_vcpu, 3),
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
