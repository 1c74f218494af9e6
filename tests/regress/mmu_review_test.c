/* SPDX-License-Identifier: MIT */
/*
 * mmu_review_test.c - what a reading of the software MMU found, each once
 *
 * None of them is a bug that KVM had; they are ours.
 */
#undef NDEBUG
#include <errno.h>

#include "mmu_stage.h"

#define RAM 0x400u
#define TABLES 0x1000u
#define MOVED 0x3000u
#define GVA 0x40000000ull
#define PAGE(page) MRIG_GPA(RAM + (page))

/* RAM, and the guest's tables on the backing. */
static const struct mrig_config backed_tables = {
	.areas = { { .id = 0,
		     .gfn = RAM,
		     .npages = 64,
		     .flags = MMU_REGION_LOG },
		   { .id = 1,
		     .gfn = TABLES,
		     .npages = 32,
		     .flags = MMU_REGION_LOG,
		     .memory = MRIG_BACKED } },
	.backing_pages = 32,
	.frames = 32,
	.flush_timeout_ms = 10000,
};

static void discard_a_table(enum tide_paging_mode mode)
{
	struct mrig rig;
	struct guest_tables tables;
	uint64_t leaf, value;

	mrig_create(&rig, &backed_tables);
	tables_init(&tables, &rig, mode, MRIG_GPA(TABLES));
	leaf = tables_map(&tables, GVA, PAGE(3), 1, PTE_WRITABLE);
	tables_load(&tables, rig.vcpu[0], 0);
	mrig_store(rig.vcpu[0], GVA, 1);
	assert_int_equal(tide_backing_discard(rig.backing,
					      leaf / TIDE_PAGE_SIZE - TABLES,
					      1),
			 0);
	assert_int_equal(mrig_peek(&rig, leaf), 0);
	assert_int_equal(mrig_try_load(rig.vcpu[0], GVA, &value),
			 TIDE_EXIT_GUEST_FAULT);
	mrig_destroy(&rig);
}

/* Fails when the shadow of a table outlives what the table said. */
static void test_discard_of_a_table_is_followed(void **state)
{
	(void)state;
	discard_a_table(TIDE_PAGING_X86_64);
	discard_a_table(TIDE_PAGING_SV39);
}

static void run_translate_in_guest(void *opaque)
{
	struct access *access = opaque;
	uint64_t gpa;

	assert_int_equal(tide_vcpu_enter(access->vcpu), 0);
	assert_int_equal(
		tide_vcpu_load(access->vcpu, access->gva, 8, &access->value),
		0);
	actor_stop("guest");
	access->result = tide_vcpu_translate(access->vcpu, access->gva,
					     TIDE_ACCESS_READ, &gpa);
	assert_int_equal(gpa, PAGE(3));
	assert_int_equal(tide_vcpu_exit(access->vcpu), 0);
}

struct swap {
	struct mrig *rig;
	uint64_t page;
	int result;
};

static void run_swap_out(void *opaque)
{
	struct swap *swap = opaque;

	swap->result = tide_backing_swap_out(swap->rig->backing, swap->page, 1);
}

/* Fails when translate waits in guest mode for a lock, whose holder waits for
 * the vCPU. */
static void test_translate_in_guest_mode_holds_nobody_up(void **state)
{
	struct mrig rig;
	struct guest_tables tables;
	struct access access;
	struct actor guest, swapper;
	struct swap swap;

	(void)state;
	mrig_create(&rig, &backed_tables);
	tables_init(&tables, &rig, TIDE_PAGING_X86_64, MRIG_GPA(TABLES));
	(void)tables_map(&tables, GVA, PAGE(3), 1, PTE_WRITABLE);
	tables_load(&tables, rig.vcpu[0], 0);
	/* Something that is mapped, so that there is a flush. */
	mrig_store(rig.vcpu[1], MRIG_GPA(TABLES + 20), 1);
	access = (struct access){ rig.vcpu[0], GVA, 0, -1 };
	actor_start(&guest, "guest", run_translate_in_guest, &access);
	swap = (struct swap){ &rig, 20, 0 };
	actor_start(&swapper, "flush.requested", run_swap_out, &swap);
	actor_go(&guest);
	for (int i = 0; i < 1000; i++)
		(void)sched_yield();
	actor_end(&swapper);
	actor_end(&guest);
	assert_int_equal(access.result, 0);
	assert_int_equal(swap.result, 1);
	mrig_destroy(&rig);
}

static const struct mrig_config plain = {
	.areas = { { .id = 0,
		     .gfn = RAM,
		     .npages = 64,
		     .flags = MMU_REGION_LOG } },
	.flush_timeout_ms = 200,
};

/* Fails when the moment at which to give up comes round before now. */
static void test_a_flush_may_wait_for_ever(void **state)
{
	struct mrig_config config = plain;
	struct mrig rig;
	struct access access;
	struct actor guest, getter;
	struct get get;

	(void)state;
	config.flush_timeout_ms = UINT64_MAX; /* about as many ns */
	mrig_create(&rig, &config);
	access = (struct access){ rig.vcpu[0], PAGE(3), 7, -1 };
	actor_start(&guest, "guest", run_in_guest, &access);
	get = (struct get){ .rig = &rig };
	actor_begin(&getter, NULL, run_get, &get);
	assert_true(flush_awaits(&getter, rig.vcpu[0]));
	actor_end(&guest);
	actor_end(&getter);
	assert_int_equal(get.result, 0);
	assert_int_equal(get.words[0], 1u << 3);
	mrig_destroy(&rig);
}

struct set_region {
	struct mrig *rig;
	uint64_t npages;
	int result;
};

static void run_delete(void *opaque)
{
	struct set_region *set = opaque;

	set->result = mrig_region(set->rig, 0, MMU_REGION_LOG, RAM, 0);
}

/* Fails when others see a slot go that stays. */
static void test_a_slot_that_stays_was_never_gone(void **state)
{
	struct mrig rig;
	struct access access, store;
	struct actor guest, deleter, writer;
	struct set_region set;

	(void)state;
	mrig_create(&rig, &plain);
	access = (struct access){ rig.vcpu[0], PAGE(3), 7, -1 };
	actor_start(&guest, "guest", run_in_guest, &access);
	set = (struct set_region){ &rig, 0, 0 };
	actor_start(&deleter, "flush.requested", run_delete, &set);
	store = (struct access){ rig.vcpu[1], PAGE(5), 9, -1 };
	actor_begin(&writer, NULL, run_store, &store);
	for (int i = 0; i < 1000; i++)
		(void)sched_yield();
	/* A device, too. */
	mrig_poke(&rig, PAGE(6), 10);
	actor_end(&deleter);
	assert_int_equal(set.result, -ETIMEDOUT);
	actor_end(&guest);
	actor_end(&writer);
	/* It may have been told that the flush is still owed. */
	assert_true(store.result == 0 || store.result == TIDE_EXIT_ERROR);
	mrig_destroy(&rig);
}

static void run_move_and_log(void *opaque)
{
	struct set_region *set = opaque;

	set->result = mrig_region(set->rig, 0, MMU_REGION_LOG, MOVED, 64);
}

static void run_stay_in_guest(void *opaque)
{
	struct tide_vcpu *vcpu = opaque;

	assert_int_equal(tide_vcpu_enter(vcpu), 0);
	actor_stop("guest");
	assert_int_equal(tide_vcpu_exit(vcpu), 0);
}

/* Fails when the slot has moved by the time that its flags cannot change. */
static void test_a_move_is_made_or_not(void **state)
{
	struct mrig_config config = plain;
	struct mrig rig;
	struct actor guest, mover;
	struct set_region set;

	(void)state;
	config.areas[0].flags = 0;
	mrig_create(&rig, &config);
	mrig_store(rig.vcpu[1], PAGE(4), 1);
	set = (struct set_region){ &rig, 64, 0 };
	/* After the first flush has been asked for, so that a second fails. */
	actor_start(&mover, "flush.requested", run_move_and_log, &set);
	actor_start(&guest, "guest", run_stay_in_guest, rig.vcpu[0]);
	actor_end(&mover);
	actor_end(&guest);
	assert_int_equal(set.result, -ETIMEDOUT);
	mrig_poke(&rig, PAGE(5), 1);
	assert_int_equal(mmu_get_dirty_log(rig.mmu, 0, rig.words), -ENOENT);
	mrig_destroy(&rig);
}

/* Fails when what is partly in the backing is taken for memory. */
static void test_a_slot_is_in_the_backing_or_not(void **state)
{
	struct mrig rig;
	struct mmu_region region = { .slot = 5,
				     .gpa = MRIG_GPA(MOVED),
				     .memory_bytes = 2 * TIDE_PAGE_SIZE };
	uint64_t first;

	(void)state;
	mrig_create(&rig, &backed_tables);
	first = (uintptr_t)tide_backing_host(rig.backing);
	region.host = first + 31 * TIDE_PAGE_SIZE;
	assert_int_equal(mmu_set_region(rig.mmu, &region), -EINVAL);
	region.host = first - TIDE_PAGE_SIZE;
	assert_int_equal(mmu_set_region(rig.mmu, &region), -EINVAL);
	region.memory_bytes = 34 * TIDE_PAGE_SIZE;
	assert_int_equal(mmu_set_region(rig.mmu, &region), -EINVAL);
	region.memory_bytes = TIDE_PAGE_SIZE;
	assert_int_equal(mmu_set_region(rig.mmu, &region), 0);
	mrig_destroy(&rig);
}

#define CROWD 8u
#define CROWD_PAGES 32u

/* A fault needs five pages at once, eight faults far more than there are. */
static const struct mrig_config crowd = {
	.areas = { { .id = 1,
		     .gfn = RAM,
		     .npages = 512,
		     .memory = MRIG_BACKED } },
	.backing_pages = 512,
	.frames = 16,
	.vcpus = CROWD,
};

static void *round_the_pages(void *opaque)
{
	struct tide_vcpu *vcpu = opaque;

	for (uint64_t i = 0; i < 64ull * CROWD_PAGES; i++)
		mrig_store(vcpu, GVA + i * 7 % CROWD_PAGES * TIDE_PAGE_SIZE, i);
	return NULL;
}

/* Fails when each takes from the others what they need to go on, and a fault
 * begins again some hundred times, or for ever.  Plain threads: an actor's
 * pauses let others go on. */
static void test_a_crowd_goes_one_after_the_other(void **state)
{
	struct mrig rig;
	pthread_t threads[CROWD];
	struct tide_mmu_stats stats;
	uint64_t next = PAGE(CROWD * CROWD_PAGES);

	(void)state;
	mrig_create(&rig, &crowd);
	for (uint32_t i = 0; i < CROWD; i++) {
		struct guest_tables tables;

		tables_init(&tables, &rig, TIDE_PAGING_X86_64, next);
		for (uint64_t page = 0; page < CROWD_PAGES; page++)
			(void)tables_map(&tables, GVA + page * TIDE_PAGE_SIZE,
					 PAGE(i * CROWD_PAGES + page), 1,
					 PTE_WRITABLE);
		next = tables.next;
		tables_load(&tables, rig.vcpu[i], 0);
	}
	for (uint32_t i = 0; i < CROWD; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						round_the_pages, rig.vcpu[i]),
				 0);
	for (uint32_t i = 0; i < CROWD; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	stats = mrig_stats(&rig);
	fprintf(stderr, "# %ju faults, %ju rounds more\n",
		(uintmax_t)stats.faults_slow, (uintmax_t)stats.faults_retried);
	assert_true(stats.faults_retried < 12 * stats.faults_slow);
	mrig_destroy(&rig);
}

#define ROOTS 70u

static const struct mrig_config few_tables = {
	.areas = { { .id = 0, .gfn = RAM, .npages = 64 },
		   { .id = 1, .gfn = TABLES, .npages = 32 + ROOTS } },
	.table_pages_max = 64,
};

/* Another root, of which entry 0 is that of @tables. */
static struct tide_vcpu *vcpu_of_its_own(struct mrig *rig,
					 const struct guest_tables *tables,
					 uint64_t root)
{
	struct guest_tables own = *tables;
	struct tide_vcpu *vcpu;

	assert_int_equal(tide_vcpu_create(rig->mmu, &vcpu), 0);
	mrig_poke(rig, root, mrig_peek(rig, tables->root));
	own.root = root;
	tables_load(&own, vcpu, 0);
	return vcpu;
}

/* Fails, and never ends, when tables that cannot be zapped count as too many:
 * then the fault on one page takes away what that on the other has mapped. */
static void test_roots_are_not_too_many_tables(void **state)
{
	struct mrig rig;
	struct guest_tables tables;
	struct tide_vcpu *vcpus[ROOTS];

	(void)state;
	mrig_create(&rig, &few_tables);
	tables_init(&tables, &rig, TIDE_PAGING_X86_64, MRIG_GPA(TABLES));
	/* Of two tables each. */
	(void)tables_map(&tables, GVA - TIDE_PAGE_SIZE, PAGE(3), 1,
			 PTE_WRITABLE);
	(void)tables_map(&tables, GVA, PAGE(4), 1, PTE_WRITABLE);
	for (uint32_t i = 0; i < ROOTS; i++) {
		vcpus[i] = vcpu_of_its_own(&rig, &tables,
					   MRIG_GPA(TABLES + 32 + i));
		mrig_store(vcpus[i], GVA, i);
	}
	mrig_store(vcpus[0], GVA - 4, 0x0102030405060708);
	assert_int_equal(mrig_peek(&rig, PAGE(4)) & UINT32_MAX, 0x01020304);
	for (uint32_t i = 0; i < ROOTS; i++)
		tide_vcpu_destroy(vcpus[i]);
	mrig_destroy(&rig);
}

static const struct mrig_config ring = {
	.areas = { { .id = 0,
		     .gfn = RAM,
		     .npages = 64,
		     .flags = MMU_REGION_LOG } },
	.ring_bytes = 4096,
};

static void count_entry(void *opaque, uint32_t slot, uint64_t offset)
{
	uint64_t *pages = opaque;

	assert_int_equal(slot, 0);
	*pages |= 1ull << offset;
}

/* As a harvest: rings, reset, bitmap. */
static uint64_t harvest(struct mrig *rig)
{
	uint64_t pages = 0;

	(void)mmu_collect_dirty_rings(rig->mmu, count_entry, &pages);
	assert_true(mmu_reset_dirty_rings(rig->mmu) >= 0);
	(void)mrig_get(rig, 0);
	return pages | rig->words[0];
}

/* Fails when the pages that a vCPU wrote stay writable after it, with nobody
 * to say so. */
static void test_a_vcpu_leaves_its_log_behind(void **state)
{
	struct mrig rig;

	(void)state;
	mrig_create(&rig, &ring);
	/* So that it has tables, and the next fault is a fast one. */
	(void)mrig_load(rig.vcpu[1], PAGE(3));
	(void)harvest(&rig);
	mrig_store(rig.vcpu[0], PAGE(3), 1);
	mrig_store(rig.vcpu[0], PAGE(4), 1);
	tide_vcpu_destroy(rig.vcpu[0]);
	rig.vcpu[0] = NULL;
	assert_int_equal(harvest(&rig), 3u << 3);
	mrig_store(rig.vcpu[1], PAGE(3), 2);
	assert_int_equal(harvest(&rig), 1u << 3);
	mrig_destroy(&rig);
}

/* The same between the two halves of a harvest. */
static void test_a_vcpu_leaves_what_was_collected(void **state)
{
	uint64_t pages = 0;
	struct mrig rig;

	(void)state;
	mrig_create(&rig, &ring);
	(void)mrig_load(rig.vcpu[1], PAGE(3));
	(void)harvest(&rig);
	mrig_store(rig.vcpu[0], PAGE(3), 1);
	assert_int_equal(mmu_collect_dirty_rings(rig.mmu, count_entry, &pages),
			 1);
	tide_vcpu_destroy(rig.vcpu[0]);
	rig.vcpu[0] = NULL;
	assert_true(mmu_reset_dirty_rings(rig.mmu) >= 0);
	(void)mrig_get(&rig, 0);
	mrig_store(rig.vcpu[1], PAGE(3), 2);
	assert_int_equal(harvest(&rig), 1u << 3);
	mrig_destroy(&rig);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CLAIM("a table that is discarded is empty for the guest, too",
		      test_discard_of_a_table_is_followed),
		CLAIM("translate in guest mode holds nobody up",
		      test_translate_in_guest_mode_holds_nobody_up),
		CLAIM("a flush may wait for ever",
		      test_a_flush_may_wait_for_ever),
		CLAIM("a slot that cannot be deleted was never gone",
		      test_a_slot_that_stays_was_never_gone),
		CLAIM("a move with other flags is made or not",
		      test_a_move_is_made_or_not),
		CLAIM("a slot is in the backing, or not",
		      test_a_slot_is_in_the_backing_or_not),
		CLAIM("vCPUs that need more frames than there are go on",
		      test_a_crowd_goes_one_after_the_other),
		CLAIM("a store goes on where there are more roots than tables",
		      test_roots_are_not_too_many_tables),
		CLAIM("a vCPU that goes leaves its log behind",
		      test_a_vcpu_leaves_its_log_behind),
		CLAIM("a vCPU that goes leaves what was collected of it",
		      test_a_vcpu_leaves_what_was_collected),
	};

	return mrig_main(argc, argv) ||
	       cmocka_run_group_tests_name("mmu review", tests, NULL, NULL);
}
