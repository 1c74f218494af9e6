/* SPDX-License-Identifier: MIT */
/*
 * dropped_litmus.c - what an entry no longer says, a TLB may still have
 *
 * What    src/mmu/{protect,region,fault,flush,shadow_page}.c as shipped: who
 *         drops an entry and lets go of the mmu_lock before he is done, or has
 *         no memory for another in its place, sees to it that it is flushed;
 *         and who finds a flush owed pays for it.  F10, I7, K22.
 * Claim   a page that was writable when its entry was dropped, and becomes a
 *         guest's table afterwards, has a shadow that is never behind it:
 *         nobody who makes a shadow can see that there was an entry.  And a
 *         fault that is alone comes to an end, whatever flush has failed
 *         before it.
 * Bounds  two threads, one call each, and tables of two entries instead of 512
 *         (GUEST_INDEX_BITS, YIELD_BLOCKS), of which nothing but the length of
 *         loops depends.  A slot of four blocks: the last is the one after
 *         which turning logging off lets go of the lock, and the only one that
 *         is mapped, so that no later one asks for a flush.  Memory is
 *         missing once, where a leaf has been dropped and the next is not made.
 */
#include "base/atomic.h"

#include "mmu/mmu_internal.h"

#include "check/shim/arena_model.h"
#include "check/shim/rcu_model.h"
#include "litmus.h"

#include <sched.h>
#include <stdlib.h>

#define PAGES 8u
#define LAST 6u	  /* the first page of the last block */
#define SECOND 1u /* of the first block */
/* Where vCPU 1 has tables, of levels 3 to 1, that lead to page 0. */
#define TABLES 3u
/* Sv39: four pages from gfn 0 on, as in memslot_litmus.c, with A and D. */
#define TABLE_ENTRY (15u | 192u)

static struct tide_mmu *mmu;
static struct mmu_vcpu *vcpu[2];
static uint8_t *memory;
static uint64_t gfn;	/* of a table of vCPU 1's, in vCPU 0's TLB */
static uint64_t *table; /* that */
static bool alone;	/* no fault need begin again */

static void must(bool done)
{
	if (!done)
		abort();
}

/* In the place of the C library's, for src/mmu/fault.c. */
int sched_yield(void)
{
	explore_assert(!alone, "nobody else is there to wait for",
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
	must(!tide_mmu_create(&config, &mmu) && !set_log(flags));
	for (uint32_t i = 0; i < 2; i++) {
		struct tide_vcpu *public;

		must(!tide_vcpu_create(mmu, &public));
		vcpu[i] = mmu_vcpu_of(public);
	}
}

static uint64_t *page_at(uint64_t number)
{
	return (uint64_t *)(void *)(memory + number * TIDE_PAGE_SIZE);
}

static void set_root(uint64_t root)
{
	const struct tide_paging paging = {
		.mode = TIDE_PAGING_SV39,
		.root = root * TIDE_PAGE_SIZE,
	};

	must(!tide_vcpu_set_paging(&vcpu[1]->public, &paging));
}

/* vCPU 0 may write to what is a table for vCPU 1 when that runs next. */
static void use_table(void)
{
	must(!tide_vcpu_enter(&vcpu[0]->public) &&
	     !tide_vcpu_store(&vcpu[0]->public, gfn * TIDE_PAGE_SIZE, 8,
			      TABLE_ENTRY));
	/* Relaxed: nothing runs.  Thread 0's. */
	atomic_store_explicit(&vcpu[0]->owner, 1, memory_order_relaxed);
	set_root(gfn);
}

static void build_last(const void *how)
{
	(void)how;
	gfn = LAST;
	create(MMU_REGION_LOG);
	table = page_at(gfn);
	use_table();
}

/* The block is one leaf for vCPU 0, and its first page one for vCPU 1. */
static void build_large(const void *how)
{
	uint64_t value;

	(void)how;
	gfn = SECOND;
	create(0);
	table = page_at(gfn);
	*page_at(TABLES) = (TABLES + 1) << 10 | 1;
	*page_at(TABLES + 1) = (TABLES + 2) << 10 | 1;
	*page_at(TABLES + 2) = TABLE_ENTRY;
	set_root(TABLES);
	must(!tide_vcpu_enter(&vcpu[1]->public) &&
	     !tide_vcpu_load(&vcpu[1]->public, 0, 8, &value) &&
	     !tide_vcpu_exit(&vcpu[1]->public));
	use_table();
}

/* A flush has failed, and the vCPU that did not answer has left since. */
static void build_owed(const void *how)
{
	(void)how;
	create(0);
	/* Relaxed: nothing runs. */
	atomic_store_explicit(&mmu->flush_failed, 1, memory_order_relaxed);
}

static void setup_last(void)
{
	arena_reset(build_last, NULL);
	rcu_model_init();
	alone = false;
}

/* The shadow of the root has memory, and the table that is to take the large
 * leaf's place; that its first page has one leaf more has none. */
static void setup_large(void)
{
	arena_reset(build_large, NULL);
	rcu_model_init();
	arena_calloc_fails(3);
	alone = false;
}

static void setup_owed(void)
{
	arena_reset(build_owed, NULL);
	rcu_model_init();
	alone = true;
}

/* Empties vCPU 1's table. */
static void store_0(void)
{
	explore_assert(
		!tide_vcpu_store(&vcpu[0]->public, gfn * TIDE_PAGE_SIZE, 8, 0),
		"there is memory", EXPLORE_HERE);
	explore_assert(!tide_vcpu_exit(&vcpu[0]->public), "exits",
		       EXPLORE_HERE);
}

static void walk(void)
{
	uint64_t value;
	int ret;

	explore_assert(!tide_vcpu_enter(&vcpu[1]->public), "enters",
		       EXPLORE_HERE);
	ret = tide_vcpu_load(&vcpu[1]->public, 2 * TIDE_PAGE_SIZE, 8, &value);
	explore_assert(!ret || ret == TIDE_EXIT_GUEST_FAULT,
		       "read, or no such page", EXPLORE_HERE);
	if (!ret)
		explore_assert(!tide_vcpu_exit(&vcpu[1]->public), "exits",
			       EXPLORE_HERE);
}

static void log_off_and_walk(void)
{
	explore_assert(!set_log(0), "logging is off", EXPLORE_HERE);
	walk();
}

static void shadowed_as_it_is(void)
{
	struct spte_walk at;

	explore_assert(*table || !mmu_walk(vcpu[1], 2 * TIDE_PAGE_SIZE, &at),
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
		       .init = setup_last,
		       .final = shadowed_as_it_is,
		       .thread = { store_0, log_off_and_walk } },
	  .executions = 3 },
	{ .program = { .name = "no-memory-to-split",
		       .threads = 2,
		       .init = setup_large,
		       .final = shadowed_as_it_is,
		       .thread = { store_0, walk } },
	  .executions = 4 },
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
