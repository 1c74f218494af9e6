/* SPDX-License-Identifier: MIT */
/* mmu_setup.c - what litmus programs over the software MMU share */
#include "mmu_setup.h"

#include <stdlib.h>
#include <string.h>

#include "check/shim/arena_model.h"

struct tide_mmu *mmu;
struct mmu_vcpu *vcpu[SETUP_VCPUS_MAX];
struct mmu_slot *slot;
uint64_t *page[SETUP_PAGES_MAX];
uint64_t copy[SETUP_PAGES_MAX];

static const struct mmu_setup *setup;

static void must(bool done)
{
	if (!done)
		abort();
}

static void add_slot(void)
{
	uint64_t count = setup->pages ? setup->pages : 1;
	char *memory =
		arena_aligned_alloc(TIDE_PAGE_SIZE, count * TIDE_PAGE_SIZE);
	const struct mmu_region region = {
		.slot = 0,
		.flags = setup->unlogged ? 0 : MMU_REGION_LOG,
		.memory_bytes = count * TIDE_PAGE_SIZE,
		.host = (uintptr_t)memory,
	};

	must(count <= SETUP_PAGES_MAX);
	must(!mmu_set_region(mmu, &region));
	for (uint64_t i = 0; i < count; i++)
		page[i] = (uint64_t *)(void *)(memory + i * TIDE_PAGE_SIZE);
	slot = mmu->slots[0][0];
}

static void add_vcpu(uint32_t number)
{
	struct tide_vcpu *public;

	must(!tide_vcpu_create(mmu, &public));
	vcpu[number] = mmu_vcpu_of(public);
	for (uint64_t i = 0; i < slot->npages; i++) {
		struct mmu_fault fault = {
			.gva = i * TIDE_PAGE_SIZE,
			.what = setup->mapped == SETUP_WRITTEN && !number
					? TIDE_ACCESS_WRITE
					: TIDE_ACCESS_READ,
		};

		if (setup->mapped != SETUP_NOT_MAPPED)
			must(mmu_slow_fault(vcpu[number], &fault) ==
			     MMU_FAULT_FIXED);
	}
}

static void build(const void *how)
{
	const struct tide_mmu_config config = { 0 };

	setup = how;
	must(setup->vcpus <= SETUP_VCPUS_MAX);
	must(!tide_mmu_create(&config, &mmu));
	if (setup->ring_bytes)
		must(!mmu_enable_ring(mmu, setup->ring_bytes));
	if (setup->ring_with_bitmap)
		must(!mmu_enable_ring_with_bitmap(mmu));
	must(!mmu_enable_manual_protect(mmu, setup->manual));
	add_slot();
	for (uint32_t i = 0; i < setup->vcpus; i++)
		add_vcpu(i);
}

void mmu_setup(const struct mmu_setup *how)
{
	arena_reset(build, how);
	rcu_model_init();
	memset(copy, 0, sizeof(copy));
}

void guest_write(struct mmu_vcpu *self, uint64_t number, uint64_t value)
{
	explore_assert(!tide_vcpu_enter(&self->public), "enters", EXPLORE_HERE);
	explore_assert(!tide_vcpu_store(&self->public, number * TIDE_PAGE_SIZE,
					8, value),
		       "a store to memory succeeds", EXPLORE_HERE);
	explore_assert(!tide_vcpu_exit(&self->public), "exits", EXPLORE_HERE);
}

static void copy_pages(void *opaque, uint64_t word, uint64_t bits)
{
	(void)opaque;
	explore_assert(!word && bits && bits < 1ull << slot->npages,
		       "pages of the slot", EXPLORE_HERE);
	for (; bits; bits &= bits - 1) {
		uint32_t i = tide_lowest(bits);

		copy[i] = explore_load(page[i], 8, __ATOMIC_RELAXED,
				       EXPLORE_HERE);
	}
}

void get_and_copy(void)
{
	explore_assert(!mmu_take_dirty_log(mmu, 0, copy_pages, NULL),
		       "GET succeeds", EXPLORE_HERE);
}

void get_clear_and_copy(void)
{
	uint64_t words[1];

	explore_assert(!mmu_get_dirty_log(mmu, 0, words), "GET succeeds",
		       EXPLORE_HERE);
	explore_assert(
		!mmu_clear_dirty_log(mmu, 0, 0, (uint32_t)slot->npages, words),
		"CLEAR succeeds", EXPLORE_HERE);
	if (words[0])
		copy_pages(NULL, 0, words[0]);
}

void last_harvest_is_complete(void)
{
	if (setup->manual)
		get_clear_and_copy();
	else
		get_and_copy();
	for (uint64_t i = 0; i < slot->npages; i++)
		explore_assert(copy[i] == *page[i], "copied as it is, or dirty",
			       EXPLORE_HERE);
}
