/* SPDX-License-Identifier: MIT */
/*
 * fast_fault_litmus.c - the fast page fault against GET and its flush
 *
 * What    src/mmu/{fast_fault,tlb,protect,flush,map,shadow_page,...}.c and
 *         src/log/{dirty_log,bitmap}.c as shipped.  Threads 1 and 2; K1, K2.
 * Claim   a write that a vCPU has made is in the copy that is read after a GET
 *         which took the page, or the page is dirty afterwards (C1, C4).
 * Bounds  one page, protected by logging; one vCPU that faults and writes
 *         once, one harvester that GETs once, flushes and copies; in a second
 *         program another vCPU that writes through what the first has
 *         repaired.  One GET suffices: what is claimed is about a page's state
 *         after any GET, and each begins with the state that it finds.
 */
#include "litmus.h"

#include <stdlib.h>

#include "check/shim/arena_model.h"
#include "check/shim/rcu_model.h"
#include "mmu/mmu_internal.h"

static struct tide_mmu *mmu;
static struct mmu_vcpu *vcpu[2];
static struct mmu_slot *slot;
/* Set up anew for each execution. */
static uint64_t page, copy;

static void build(const void *how)
{
	const struct tide_mmu_config config = { 0 };
	struct mmu_region region = { .slot = 0, .flags = MMU_REGION_LOG };
	struct tide_vcpu *public;
	void *memory = arena_aligned_alloc(TIDE_PAGE_SIZE, TIDE_PAGE_SIZE);

	(void)how;
	region.host = (uintptr_t)memory;
	region.memory_bytes = TIDE_PAGE_SIZE;
	if (tide_mmu_create(&config, &mmu) || mmu_set_region(mmu, &region))
		abort();
	for (int i = 0; i < 2; i++) {
		struct mmu_fault fault = { .what = TIDE_ACCESS_READ };

		if (tide_vcpu_create(mmu, &public))
			abort();
		vcpu[i] = mmu_vcpu_of(public);
		/* Mapped by a read, so not writable. */
		if (mmu_slow_fault(vcpu[i], &fault) != MMU_FAULT_FIXED)
			abort();
	}
	slot = mmu->slots[0][0];
}

static void setup(void)
{
	arena_reset(build, NULL);
	rcu_model_init();
	page = copy = 0;
}

/* The guest's store, through the TLB if that permits it. */
static void write_once(struct mmu_vcpu *self)
{
	struct spte_walk walk;

	mmu_vcpu_into_guest(self);
	tide_rcu_lock();
	if (mmu_tlb_fill(self, 0, TIDE_ACCESS_WRITE, &walk))
		explore_store(&page, 8, 1, __ATOMIC_RELAXED, EXPLORE_HERE);
	tide_rcu_unlock(NULL);
	mmu_vcpu_out_of_guest(self);
}

static void fault_and_write(void)
{
	struct spte_walk walk;

	tide_rcu_lock();
	explore_assume(mmu_walk(vcpu[0], 0, &walk) &&
		       mmu_fast_fault(vcpu[0], 0, TIDE_ACCESS_WRITE, &walk));
	tide_rcu_unlock(NULL);
	write_once(vcpu[0]);
}

static void only_write(void)
{
	write_once(vcpu[1]);
}

static void found(void *opaque, uint64_t word, uint64_t bits)
{
	(void)opaque;
	explore_assert(!word && bits == 1, "the page and no other",
		       EXPLORE_HERE);
	copy = explore_load(&page, 8, __ATOMIC_RELAXED, EXPLORE_HERE);
}

static void harvest(void)
{
	explore_assert(!mmu_take_dirty_log(mmu, 0, found, NULL), "GET succeeds",
		       EXPLORE_HERE);
}

static void nothing_lost(void)
{
	explore_assert(copy == page || tide_bitmap_test(&slot->log.dirty, 0),
		       "copied as it is, or dirty", EXPLORE_HERE);
}

int main(int argc, char **argv)
{
	static const struct litmus all[] = {
		{ .program = { .name = "fast-fault-and-get",
			       .threads = 2,
			       .init = setup,
			       .final = nothing_lost,
			       .thread = { fault_and_write, harvest } } },
		{ .program = { .name = "fast-fault-get-and-another-vcpu",
			       .threads = 3,
			       .init = setup,
			       .final = nothing_lost,
			       .thread = { fault_and_write, harvest,
					   only_write } } },
	};

	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
