/* SPDX-License-Identifier: MIT */
/* mmu_setup.c - what litmus programs over the software MMU share */
#include "mmu_setup.h"

#include <stdlib.h>
#include <string.h>

#include "base/rcu.h"
#include "check/shim/arena_model.h"

/* The page that is page[1]: in the log's third word, so that the second can
 * end a batch, and this one be taken in another. */
#define FAR (2 * TIDE_WORD_BITS)
#define WORDS_MAX 3u

struct tide_mmu *mmu;
struct mmu_vcpu *vcpu[SETUP_VCPUS_MAX];
struct mmu_slot *slot;
uint64_t *page[SETUP_PAGES_MAX];
uint64_t copy[SETUP_PAGES_MAX];

static const struct mmu_setup *setup;
static uint32_t pages; /* that page[] has */

static void must(bool done)
{
	if (!done)
		abort();
}

static uint64_t gva_of(uint64_t number)
{
	return number * FAR * TIDE_PAGE_SIZE;
}

static void set_region(uint32_t flags, uint64_t npages, void *memory)
{
	const struct mmu_region region = {
		.slot = 0,
		.flags = flags,
		.memory_bytes = npages * TIDE_PAGE_SIZE,
		.host = (uintptr_t)memory,
	};

	must(!mmu_set_region(mmu, &region));
}

static void map_page(uint64_t number)
{
	struct mmu_fault fault = {
		.gva = gva_of(number),
		.what = setup->mapped == SETUP_WRITTEN ? TIDE_ACCESS_WRITE
						       : TIDE_ACCESS_READ,
	};

	must(mmu_slow_fault(vcpu[0], &fault) == MMU_FAULT_FIXED);
}

/* Every vCPU has a root, and the other pages' tables are there. */
static void add_vcpus(void)
{
	struct tide_vcpu *public;

	for (uint32_t i = 0; i < setup->vcpus; i++) {
		must(!tide_vcpu_create(mmu, &public));
		vcpu[i] = mmu_vcpu_of(public);
	}
	for (uint32_t i = 0; setup->mapped != SETUP_NOT_MAPPED && i < pages;
	     i++)
		map_page(i);
	for (uint32_t i = 1;
	     setup->mapped != SETUP_NOT_MAPPED && i < setup->vcpus; i++) {
		struct mmu_fault fault = { .what = TIDE_ACCESS_READ };

		must(mmu_slow_fault(vcpu[i], &fault) == MMU_FAULT_FIXED);
	}
}

static void put_into_guest(void)
{
	struct spte_walk walk;

	guest_enter(vcpu[0]);
	tide_rcu_lock();
	must(mmu_tlb_fill(vcpu[0], 0, TIDE_ACCESS_WRITE, &walk));
	tide_rcu_unlock(&mmu->rcu_tag);
	/* Relaxed: nothing runs. */
	atomic_store_explicit(&vcpu[0]->owner, 1, memory_order_relaxed);
}

static void build(const void *how)
{
	struct tide_mmu_config config = { 0 };
	uint64_t npages;
	char *memory;

	setup = how;
	pages = setup->far_page ? 2 : 1;
	npages = (pages - 1) * FAR + 1;
	memory = arena_aligned_alloc(TIDE_PAGE_SIZE, npages * TIDE_PAGE_SIZE);
	must(setup->vcpus <= SETUP_VCPUS_MAX);
	config.flags = setup->flags;
	must(!tide_mmu_create(&config, &mmu));
	if (setup->ring_bytes)
		must(!mmu_enable_ring(mmu, setup->ring_bytes));
	if (setup->ring_with_bitmap)
		must(!mmu_enable_ring_with_bitmap(mmu));
	must(!mmu_enable_manual_protect(mmu, setup->manual));
	set_region(setup->unlogged || setup->logged_late ? 0 : MMU_REGION_LOG,
		   npages, memory);
	for (uint32_t i = 0; i < pages; i++)
		page[i] = (uint64_t *)(void *)(memory + gva_of(i));
	slot = mmu->slots[0][0];
	add_vcpus();
	if (setup->logged_late)
		set_region(MMU_REGION_LOG, npages, memory);
	/* So that each word of the log is a batch of its own. */
	if (slot->has_log)
		slot->log.taken_max = 1;
	if (setup->in_guest)
		put_into_guest();
}

void mmu_setup(const struct mmu_setup *how)
{
	arena_reset(build, how);
	rcu_model_init();
	memset(copy, 0, sizeof(copy));
}

void guest_enter(struct mmu_vcpu *self)
{
	explore_assert(!tide_vcpu_enter(&self->public), "enters", EXPLORE_HERE);
}

/* @why: of an enter or a safe point. */
static bool is_not_kicked(int why)
{
	explore_assert(!why || why == TIDE_EXIT_KICKED,
		       "in guest mode, or kicked", EXPLORE_HERE);
	return !why;
}

bool guest_enters(struct mmu_vcpu *self)
{
	return is_not_kicked(tide_vcpu_enter(&self->public));
}

bool guest_goes_on(struct mmu_vcpu *self)
{
	return is_not_kicked(tide_vcpu_safe_point(&self->public));
}

void guest_store(struct mmu_vcpu *self, uint64_t number, uint64_t value)
{
	explore_assert(
		!tide_vcpu_store(&self->public, gva_of(number), 8, value),
		"a store to memory succeeds", EXPLORE_HERE);
}

void guest_exit(struct mmu_vcpu *self)
{
	explore_assert(!tide_vcpu_exit(&self->public), "exits", EXPLORE_HERE);
}

void guest_write(struct mmu_vcpu *self, uint64_t number, uint64_t value)
{
	guest_enter(self);
	guest_store(self, number, value);
	guest_exit(self);
}

static void copy_page(uint64_t offset)
{
	uint64_t number = offset / FAR;

	explore_assert(number < pages && offset % FAR == 0, "a page of ours",
		       EXPLORE_HERE);
	copy[number] =
		explore_load(page[number], 8, __ATOMIC_RELAXED, EXPLORE_HERE);
}

static void copy_word(void *opaque, uint64_t word, uint64_t bits)
{
	uint32_t *found = opaque;

	for (; bits; bits &= bits - 1) {
		uint64_t offset = word * TIDE_WORD_BITS + tide_lowest(bits);

		/* Of one that is dirty as a whole. */
		if (offset % FAR)
			continue;
		copy_page(offset);
		(*found)++;
	}
}

static uint32_t harvest_log(void)
{
	uint32_t found = 0;

	explore_assert(!mmu_take_dirty_log(mmu, 0, copy_word, &found),
		       "GET succeeds", EXPLORE_HERE);
	return found;
}

static uint32_t harvest_and_clear_log(void)
{
	uint64_t words[WORDS_MAX];
	uint32_t found = 0;

	explore_assert(!mmu_get_dirty_log(mmu, 0, words), "GET succeeds",
		       EXPLORE_HERE);
	explore_assert(
		!mmu_clear_dirty_log(mmu, 0, 0, (uint32_t)slot->npages, words),
		"CLEAR succeeds", EXPLORE_HERE);
	for (uint64_t i = 0; i < tide_words(slot->npages); i++)
		copy_word(&found, i, words[i]);
	return found;
}

#define COLLECTED_MAX 16u /* two faults of five attempts each */

struct collected {
	uint64_t offset[COLLECTED_MAX];
	uint32_t count;
};

static void collect_entry(void *opaque, uint32_t name, uint64_t offset)
{
	struct collected *all = opaque;

	explore_assert(!name && all->count < COLLECTED_MAX, "the slot",
		       EXPLORE_HERE);
	all->offset[all->count++] = offset;
}

static uint32_t harvest_rings(void)
{
	struct collected all = { .count = 0 };
	int entries = mmu_collect_dirty_rings(mmu, collect_entry, &all);

	explore_assert((uint32_t)entries == all.count, "counts", EXPLORE_HERE);
	explore_assert(mmu_reset_dirty_rings(mmu) >= 0, "RESET succeeds",
		       EXPLORE_HERE);
	for (uint32_t i = 0; i < all.count; i++)
		copy_page(all.offset[i]);
	return all.count;
}

uint32_t harvest(void)
{
	uint32_t found = 0;

	if (setup->ring_bytes)
		found = harvest_rings();
	if (setup->ring_bytes && !setup->ring_with_bitmap)
		return found;
	return found +
	       (setup->manual ? harvest_and_clear_log() : harvest_log());
}

void harvest_and_copy(void)
{
	(void)harvest();
}

void last_harvest_is_complete(void)
{
	(void)harvest();
	for (uint64_t i = 0; i < pages; i++)
		explore_assert(copy[i] == *page[i], "copied as it is, or dirty",
			       EXPLORE_HERE);
	explore_assert(!harvest(), "dirty until it is harvested", EXPLORE_HERE);
}
