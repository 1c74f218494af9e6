/* SPDX-License-Identifier: MIT */
/*
 * dropped_litmus.c - what an entry no longer says, a TLB may still have
 *
 * What    src/mmu/{protect,region,fault,flush,shadow_page}.c as shipped: who
 *         drops an entry and lets go of the mmu_lock before he is done has
 *         flushed, and who finds a flush owed pays for it.  F10, I7, K22.
 * Claim   a page that was writable when its entry was dropped, and becomes a
 *         guest's table afterwards, has a shadow that is never behind it:
 *         nobody who makes a shadow can see that there was an entry.  And a
 *         fault that is alone comes to an end, whatever flush has failed
 *         before it.
 * Bounds  two threads, one call each, and tables of two entries instead of 512
 *         (GUEST_INDEX_BITS, YIELD_BLOCKS), of which nothing but the length of
 *         loops depends.  A slot of four blocks: the last is the one after
 *         which turning logging off lets go of the lock, and the only one that
 *         is mapped, so that no later one asks for a flush.
 */
#include "base/atomic.h"

#include "mmu/mmu_internal.h"

#include "check/shim/arena_model.h"
#include "check/shim/rcu_model.h"
#include "litmus.h"

#include <sched.h>
#include <stdlib.h>

#define PAGES 8u
#define TABLE 6u /* the first page of the last block */
/* Sv39: four pages from gfn 0 on, as in memslot_litmus.c, with A and D. */
#define TABLE_ENTRY (15u | 192u)

static struct tide_mmu *mmu;
static struct mmu_vcpu *vcpu[2];
static uint8_t *memory;
static uint64_t *table; /* of vCPU 1, in vCPU 0's TLB */
static uint32_t rounds; /* that a fault had to begin again */

static void must(bool done)
{
	if (!done)
		abort();
}

/* In the place of the C library's, for src/mmu/fault.c. */
int sched_yield(void)
{
	explore_assert(!rounds++, "once at most, where nobody else is",
		       EXPLORE_HERE);
	return 0;
}

static int set_log(uint32_t flags)
{
	const struct mmu_region region = {
		.flags = flags,
		.memory_bytes = PAGES * TIDE_PAGE_SIZE,
		.host = (uintptr_t)memory,
	};

	return mmu_set_region(mmu, &region);
}

static void create(uint32_t flags)
{
	const struct tide_mmu_config config = { 0 };

	memory = arena_aligned_alloc(TIDE_PAGE_SIZE, PAGES * TIDE_PAGE_SIZE);
	table = (uint64_t *)(void *)(memory + TABLE * TIDE_PAGE_SIZE);
	must(!tide_mmu_create(&config, &mmu) && !set_log(flags));
	for (uint32_t i = 0; i < 2; i++) {
		struct tide_vcpu *public;

		must(!tide_vcpu_create(mmu, &public));
		vcpu[i] = mmu_vcpu_of(public);
	}
}

static void build_table(const void *how)
{
	const struct tide_paging paging = {
		.mode = TIDE_PAGING_SV39,
		.root = TABLE * TIDE_PAGE_SIZE,
	};

	(void)how;
	create(MMU_REGION_LOG);
	*table = TABLE_ENTRY;
	must(!tide_vcpu_set_paging(&vcpu[1]->public, &paging));
	must(!tide_vcpu_enter(&vcpu[0]->public) &&
	     !tide_vcpu_store(&vcpu[0]->public, TABLE * TIDE_PAGE_SIZE, 8,
			      TABLE_ENTRY));
	/* Relaxed: nothing runs.  Thread 0's. */
	atomic_store_explicit(&vcpu[0]->owner, 1, memory_order_relaxed);
}

/* A flush has failed, and the vCPU that did not answer has left since. */
static void build_owed(const void *how)
{
	(void)how;
	create(0);
	/* Relaxed: nothing runs. */
	atomic_store_explicit(&mmu->flush_failed, 1, memory_order_relaxed);
}

static void setup_table(void)
{
	arena_reset(build_table, NULL);
	rcu_model_init();
}

static void setup_owed(void)
{
	arena_reset(build_owed, NULL);
	rcu_model_init();
	rounds = 0;
}

/* Empties vCPU 1's table. */
static void store_0(void)
{
	explore_assert(!tide_vcpu_store(&vcpu[0]->public,
					TABLE * TIDE_PAGE_SIZE, 8, 0),
		       "there is memory", EXPLORE_HERE);
	explore_assert(!tide_vcpu_exit(&vcpu[0]->public), "exits",
		       EXPLORE_HERE);
}

static void log_off_and_walk(void)
{
	uint64_t value;
	int ret;

	explore_assert(!set_log(0), "logging is off", EXPLORE_HERE);
	explore_assert(!tide_vcpu_enter(&vcpu[1]->public), "enters",
		       EXPLORE_HERE);
	ret = tide_vcpu_load(&vcpu[1]->public, TIDE_PAGE_SIZE, 8, &value);
	explore_assert(!ret || ret == TIDE_EXIT_GUEST_FAULT,
		       "read, or no such page", EXPLORE_HERE);
	if (!ret)
		explore_assert(!tide_vcpu_exit(&vcpu[1]->public), "exits",
			       EXPLORE_HERE);
}

static void shadowed_as_it_is(void)
{
	struct spte_walk walk;

	explore_assert(*table || !mmu_walk(vcpu[1], TIDE_PAGE_SIZE, &walk),
		       "no mapping of a table that is empty", EXPLORE_HERE);
}

static void fault_alone(void)
{
	struct mmu_fault fault = { .what = TIDE_ACCESS_WRITE };

	explore_assert(mmu_slow_fault(vcpu[0], &fault) == MMU_FAULT_FIXED,
		       "a slow fault", EXPLORE_HERE);
}

static const struct litmus all[] = {
	{ .program = { .name = "log-off-and-a-new-table",
		       .threads = 2,
		       .init = setup_table,
		       .final = shadowed_as_it_is,
		       .thread = { store_0, log_off_and_walk } },
	  .executions = 3 },
	{ .program = { .name = "owed-and-alone",
		       .threads = 1,
		       .init = setup_owed,
		       .thread = { fault_alone } },
	  .executions = 1 },
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
