/* SPDX-License-Identifier: MIT */
/*
 * extra_calls_litmus.c - the software MMU's calls, two at a time
 *
 * What    src/mmu/{dirty_calls,region,mmu,vcpu,fault,map,shadow_page}.c as
 *         shipped, in direct mode: what their locks are for.
 * Thread  none of the five: every call may come from any thread (2, 3).
 * Claim   two calls at once do what one after the other would: no data race,
 *         nobody is given what another has, nothing is counted twice.
 * Bounds  two threads, one call each, in every pair that shares something that
 *         the locks protect.  A lock's sections exclude each other whoever
 *         else is there, so a third thread would only wait.
 */
#include "mmu_setup.h"

#include <stdlib.h>

#include "base/rcu.h"
#include "check/shim/arena_model.h"

#define SLOT_1_GPA (1ull << 30)
/* A slot of so many blocks that a walk over it lets others have the lock. */
#define BLOCK_BYTES (2ull << 20)
#define BLOCKS 34u
#define LAST_BEFORE_YIELD (31 * BLOCK_BYTES)
#define AFTER_YIELD (33 * BLOCK_BYTES)
#define BIG_HOST (1ull << 40) /* nobody looks there */

#define SETUP(name, ...)                                         \
	static void name(void)                                   \
	{                                                        \
		static const struct mmu_setup how = __VA_ARGS__; \
                                                                 \
		mmu_setup(&how);                                 \
	}

SETUP(no_vcpu, { .vcpus = 0 })
SETUP(idle, { .vcpus = 2 })
SETUP(mapped, { .vcpus = 2, .mapped = SETUP_READ })
SETUP(written, { .vcpus = 1, .mapped = SETUP_WRITTEN })
SETUP(written_manual,
      { .vcpus = 1, .mapped = SETUP_WRITTEN, .manual = MMU_MANUAL_ENABLE })
SETUP(rings, { .vcpus = 2,
	       .mapped = SETUP_WRITTEN,
	       .ring_bytes = TIDE_PAGE_SIZE,
	       .ring_with_bitmap = true })

SETUP(all_set,
      { .vcpus = 1, .manual = MMU_MANUAL_ENABLE | MMU_MANUAL_INITIALLY_SET })
SETUP(in_tlb, { .vcpus = 1, .mapped = SETUP_WRITTEN, .in_guest = true })
SETUP(two_pages, { .vcpus = 1, .far_page = true })
SETUP(unlogged, { .vcpus = 1, .unlogged = true })

/* Of the execution. */
static struct tide_vcpu *made[2];
static uint32_t users, found;

static void forget(void)
{
	made[0] = made[1] = NULL;
	users = found = 0;
}

static void make(struct tide_vcpu **ret_made)
{
	explore_assert(!tide_vcpu_create(mmu, ret_made), "a vCPU is made",
		       EXPLORE_HERE);
}

static void make_vcpu(void)
{
	make(&made[0]);
}

static void make_another(void)
{
	make(&made[1]);
}

static void destroy_vcpu(void)
{
	tide_vcpu_destroy(&vcpu[1]->public);
}

static void stats(void)
{
	struct tide_mmu_stats all;

	tide_mmu_stats(mmu, &all);
	explore_assert(!all.writes_emulated, "as nothing else was done",
		       EXPLORE_HERE);
}

static void add_slot(uint32_t id, uint64_t gpa)
{
	const struct mmu_region region = {
		.slot = id,
		.gpa = gpa,
		.memory_bytes = TIDE_PAGE_SIZE,
		.host = (uintptr_t)page[0],
	};

	if (!mmu_set_region(mmu, &region))
		explore_store(&found, 4, 1, __ATOMIC_RELAXED, EXPLORE_HERE);
}

static void add_slot_1(void)
{
	add_slot(1, SLOT_1_GPA);
}

/* Where slot 1 would be. */
static void add_slot_2(void)
{
	add_slot(2, SLOT_1_GPA);
}

static void log_is(uint32_t flags)
{
	const struct mmu_region region = {
		.flags = flags,
		.memory_bytes = slot->npages * TIDE_PAGE_SIZE,
		.host = slot->host,
	};

	explore_assert(!mmu_set_region(mmu, &region), "logging changes",
		       EXPLORE_HERE);
}

static void log_off(void)
{
	log_is(0);
}

static void log_on(void)
{
	log_is(MMU_REGION_LOG);
}

static void remove_slot(void)
{
	const struct mmu_region gone = { .slot = 0 };

	explore_assert(!mmu_set_region(mmu, &gone), "the slot goes",
		       EXPLORE_HERE);
}

static void enable_ring(void)
{
	(void)mmu_enable_ring(mmu, TIDE_PAGE_SIZE);
}

static void enable_bitmap(void)
{
	(void)mmu_enable_ring_with_bitmap(mmu);
}

static void enable_manual(void)
{
	explore_assert(!mmu_enable_manual_protect(mmu, MMU_MANUAL_ENABLE),
		       "manual protect", EXPLORE_HERE);
}

/* -ENOENT: the log is off by then. */
static void get(void)
{
	uint64_t word = 0;

	if (!mmu_get_dirty_log(mmu, 0, &word) && word)
		explore_assert(word == 1, "the page", EXPLORE_HERE);
}

static void take_word(void *opaque, uint64_t word, uint64_t bits)
{
	(void)opaque;
	explore_assert(!word && bits == 1, "the page", EXPLORE_HERE);
}

static void take(void)
{
	(void)mmu_take_dirty_log(mmu, 0, take_word, NULL);
}

static void clear(void)
{
	const uint64_t word = 1;

	(void)mmu_clear_dirty_log(mmu, 0, 0, 1, &word);
}

static void count_entry(void *opaque, uint32_t name, uint64_t offset)
{
	(void)opaque;
	explore_assert(!name && !offset, "the page", EXPLORE_HERE);
	(void)explore_rmw(&found, 4, EXPLORE_ADD, 1, __ATOMIC_RELAXED,
			  EXPLORE_HERE);
}

static void collect(void)
{
	(void)mmu_collect_dirty_rings(mmu, count_entry, NULL);
}

static void reset(void)
{
	explore_assert(mmu_reset_dirty_rings(mmu) >= 0, "RESET succeeds",
		       EXPLORE_HERE);
}

/* Alone, as a user by rings is. */
static void use(void)
{
	if (mmu_user_add(mmu, explore_self(), MMU_USER_RING))
		return;
	explore_assert(!explore_rmw(&users, 4, EXPLORE_ADD, 1, __ATOMIC_RELAXED,
				    EXPLORE_HERE),
		       "alone", EXPLORE_HERE);
	(void)explore_rmw(&users, 4, EXPLORE_SUB, 1, __ATOMIC_RELAXED,
			  EXPLORE_HERE);
	mmu_user_remove(mmu, explore_self());
}

/* Memory, or the slot has gone. */
static void fault_at(struct mmu_vcpu *self, uint64_t gva)
{
	struct mmu_fault at = { .gva = gva, .what = TIDE_ACCESS_READ };
	enum mmu_fault_result result = mmu_slow_fault(self, &at);

	explore_assert(result == MMU_FAULT_FIXED || result == MMU_FAULT_EXIT,
		       "a slow fault", EXPLORE_HERE);
}

static void fault_0(void)
{
	fault_at(vcpu[0], 0);
}

static void fault_1(void)
{
	fault_at(vcpu[1], 0);
}

static void fault_after_yield(void)
{
	fault_at(vcpu[0], AFTER_YIELD);
}

static void flush_all(void)
{
	explore_assert(!mmu_flush_all(mmu), "flushes", EXPLORE_HERE);
}

/* Of a page whose bit is gone. */
static void protect_flush_copy(void)
{
	tide_lock_acquire(&mmu->mmu_lock);
	mmu_protect_pages(mmu, slot, 0, 1);
	tide_lock_release(&mmu->mmu_lock);
	flush_all();
	copy[0] = explore_load(page[0], 8, __ATOMIC_RELAXED, EXPLORE_HERE);
}

static void write_by_tlb(void)
{
	guest_store(vcpu[0], 0, 1);
	guest_exit(vcpu[0]);
}

static void copied_or_dirty(void)
{
	explore_assert(copy[0] == *page[0] ||
			       tide_bitmap_test(&slot->log.dirty, 0),
		       "flushed before it is copied", EXPLORE_HERE);
}

/* One guest address, and in each address space other memory. */
static void expect_value(uint64_t expected)
{
	uint64_t value = 0;

	guest_enter(vcpu[0]);
	explore_assert(!tide_vcpu_load(&vcpu[0]->public, 0, 8, &value) &&
			       value == expected,
		       "what this address space has there", EXPLORE_HERE);
	guest_exit(vcpu[0]);
}

static void use_space(uint32_t address_space)
{
	const struct tide_paging paging = { .size = sizeof(paging),
					    .address_space = address_space };

	explore_assert(!tide_vcpu_set_paging(&vcpu[0]->public, &paging),
		       "paging is set", EXPLORE_HERE);
}

static void use_first_space(void)
{
	use_space(0);
	expect_value(1);
}

/* The next one is the same object. */
static void destroy_and_make(void)
{
	tide_vcpu_destroy(&vcpu[0]->public);
	make_vcpu();
	explore_assert(made[0] == &vcpu[0]->public, "the same", EXPLORE_HERE);
	expect_value(1);
}

static void nothing(void)
{
}

static void two_vcpus(void)
{
	explore_assert(made[0] != made[1], "each its own", EXPLORE_HERE);
}

static void one_slot(void)
{
	explore_assert(found == 1 && (!mmu->slots[0][1] ^ !mmu->slots[0][2]),
		       "one of two that overlap", EXPLORE_HERE);
}

static void found_once(void)
{
	explore_assert(found == 1, "collected once", EXPLORE_HERE);
}

/* Its last mapped block is the one before the yield. */
static void build_big(const void *how)
{
	const struct tide_mmu_config config = {
		.flags = TIDE_MMU_NO_LARGE_PAGES,
	};
	const struct mmu_region region = {
		.memory_bytes = BLOCKS * BLOCK_BYTES,
		.host = BIG_HOST,
	};
	struct tide_vcpu *public;

	(void)how;
	if (tide_mmu_create(&config, &mmu) || mmu_set_region(mmu, &region) ||
	    tide_vcpu_create(mmu, &public))
		abort();
	slot = mmu->slots[0][0];
	vcpu[0] = mmu_vcpu_of(public);
	fault_at(vcpu[0], LAST_BEFORE_YIELD);
}

static void big(void)
{
	arena_reset(build_big, NULL);
	rcu_model_init();
}

static void in_tlb_and_clean(void)
{
	in_tlb();
	(void)tide_bitmap_and_not(&slot->log.dirty, 0, 1);
}

static void two_spaces(void)
{
	struct mmu_region region = {
		.slot = 1u << 16,
		.memory_bytes = TIDE_PAGE_SIZE,
	};

	two_pages();
	region.host = (uintptr_t)page[1];
	if (mmu_set_region(mmu, &region))
		abort();
	guest_write(vcpu[0], 0, 1);
	use_space(1);
	guest_write(vcpu[0], 0, 2);
	expect_value(2);
}

static void with_ring(void)
{
	no_vcpu();
	enable_ring();
}

/* An entry is harvested, and its page is mapped no more. */
static void harvested(void)
{
	rings();
	collect();
	tide_lock_acquire(&mmu->mmu_lock);
	mmu_zap_pages(mmu, slot, 0, 1);
	mmu->need_flush = false;
	tide_lock_release(&mmu->mmu_lock);
}

/* vCPU 0 has no root, vCPU 1 has one. */
static void one_root(void)
{
	idle();
	fault_1();
}

#define INIT(name, before)     \
	static void name(void) \
	{                      \
		before();      \
		forget();      \
	}

INIT(init_no_vcpu, no_vcpu)
INIT(init_idle, idle)
INIT(init_mapped, mapped)
INIT(init_written, written)
INIT(init_written_manual, written_manual)
INIT(init_rings, rings)
INIT(init_all_set, all_set)
INIT(init_unlogged, unlogged)
INIT(init_with_ring, with_ring)
INIT(init_harvested, harvested)
INIT(init_one_root, one_root)
INIT(init_big, big)
INIT(init_two_spaces, two_spaces)
INIT(init_in_tlb, in_tlb_and_clean)

#define TWO(name_, init_, final_, first_, second_, executions_)   \
	{                                                         \
		.program = { .name = (name_),                     \
			     .threads = 2,                        \
			     .init = (init_),                     \
			     .final = (final_),                   \
			     .thread = { (first_), (second_) } }, \
		.executions = (executions_)                       \
	}

static const struct litmus all[] = {
	TWO("create-and-create", init_no_vcpu, two_vcpus, make_vcpu,
	    make_another, 2),
	TWO("create-and-stats", init_no_vcpu, NULL, make_vcpu, stats, 3),
	TWO("create-and-ring", init_no_vcpu, NULL, make_vcpu, enable_ring, 2),
	TWO("create-and-collect", init_rings, NULL, make_vcpu, collect, 2),
	TWO("destroy-and-reset", init_rings, NULL, destroy_vcpu, reset, 2),
	TWO("destroy-and-fault", init_mapped, NULL, destroy_vcpu, fault_0, 3),
	TWO("add-and-stats", init_idle, NULL, add_slot_1, stats, 2),
	TWO("add-and-add", init_idle, one_slot, add_slot_1, add_slot_2, 2),
	TWO("add-and-bitmap", init_with_ring, NULL, add_slot_1, enable_bitmap,
	    2),
	TWO("create-and-flush", init_no_vcpu, NULL, make_vcpu, flush_all, 2),
	TWO("tlb-and-flush-all", init_in_tlb, copied_or_dirty, write_by_tlb,
	    protect_flush_copy, 3),
	TWO("two-address-spaces", init_two_spaces, NULL, use_first_space,
	    nothing, 1),
	TWO("destroy-and-create", init_two_spaces, NULL, destroy_and_make,
	    nothing, 1),
	TWO("destroy-and-first-fault", init_one_root, NULL, destroy_vcpu,
	    fault_0, 3),
	TWO("remove-and-fault", init_idle, NULL, remove_slot, fault_0, 16),
	TWO("on-and-fault", init_unlogged, NULL, log_on, fault_0, 12),
	TWO("on-and-fault-after-yield", init_big, NULL, log_on,
	    fault_after_yield, 22),
	TWO("clear-and-fault", init_all_set, NULL, clear, fault_0, 3),
	TWO("reset-and-fault", init_harvested, NULL, reset, fault_0, 3),
	TWO("manual-and-get", init_written, NULL, enable_manual, get, 2),
	TWO("get-and-get", init_written, NULL, get, get, 2),
	TWO("take-and-take", init_written, NULL, take, take, 2),
	TWO("clear-and-clear", init_written_manual, NULL, clear, clear, 2),
	TWO("collect-and-collect", init_rings, found_once, collect, collect, 2),
	TWO("reset-and-reset", init_rings, NULL, reset, reset, 2),
	TWO("off-and-get", init_written, NULL, log_off, get, 2),
	TWO("off-and-clear", init_written_manual, NULL, log_off, clear, 2),
	TWO("off-and-reset", init_rings, NULL, log_off, reset, 2),
	TWO("use-and-use", init_no_vcpu, NULL, use, use, 4),
	TWO("fault-and-fault", init_idle, NULL, fault_0, fault_1, 6),
	TWO("fault-and-stats", init_idle, NULL, fault_0, stats, 6),
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
