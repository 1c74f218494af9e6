/* SPDX-License-Identifier: MIT */
/*
 * mmu_slot_bugs_test.c - slots that go, move and change, and a host that takes
 * frames, while a fault is on its way
 *
 * Each test forbids the wrong outcome of one bug that KVM once had;
 * tests/regress/README.md lists them with their origin.
 */
#undef NDEBUG
#include <errno.h>
#include <sys/mman.h>

#include "mmu_stage.h"

#define RAM 0x400u
#define TABLES 0x1000u
#define MOVED 0x3000u
#define GVA 0x40000000ull
#define PAGE(page) MRIG_GPA(RAM + (page))

/* Turns that a thread gets to do what it must not do: some 20 ms. */
#define LONG_ENOUGH 40000

static const struct mrig_config plain = {
	.areas = { { .id = 0,
		     .gfn = RAM,
		     .npages = 128,
		     .flags = MMU_REGION_LOG },
		   { .id = 1, .gfn = TABLES, .npages = 32 },
		   /* Of the same place as 0, when 0 is gone. */
		   { .id = 3,
		     .gfn = RAM,
		     .npages = 128,
		     .flags = MMU_REGION_LOG | MRIG_LATER } },
	.vcpus = 3,
};

static const struct mrig_config backed = {
	.areas = { { .id = 0,
		     .gfn = RAM,
		     .npages = 64,
		     .flags = MMU_REGION_LOG,
		     .memory = MRIG_BACKED },
		   { .id = 1, .gfn = TABLES, .npages = 32 } },
	.backing_pages = 64,
	.frames = 16,
	.vcpus = 3,
};

static uint64_t *word_of(struct mrig *rig, int area, uint64_t page)
{
	return (uint64_t *)(void *)(rig->host[area] + page * TIDE_PAGE_SIZE);
}

/* A fault that has resolved its page is held at @where; meanwhile the slot
 * goes, and another with other memory takes its place, or none. */
static void slot_goes(const char *where, bool replace)
{
	struct mrig rig;
	struct access store;
	struct actor writer;

	mrig_create(&rig, &plain);
	mrig_store(rig.vcpu[0], PAGE(3), 1);
	(void)mrig_get(&rig, 0);
	if (strcmp(where, "slow_fault.resolved") == 0) {
		assert_int_equal(mrig_flags(&rig, 0, 0), 0);
		assert_int_equal(mrig_region(&rig, 0, 0, RAM, 0), 0);
		assert_int_equal(mrig_flags(&rig, 0, MMU_REGION_LOG), 0);
	}
	store = (struct access){ rig.vcpu[0], PAGE(3), 2, -1 };
	actor_start(&writer, where, run_store, &store);
	assert_int_equal(mrig_region(&rig, 0, 0, RAM, 0), 0);
	if (replace)
		assert_int_equal(mrig_flags(&rig, 2, MMU_REGION_LOG), 0);
	actor_end(&writer);
	assert_int_equal(*word_of(&rig, 0, 3), 1);
	if (replace) {
		assert_int_equal(store.result, 0);
		assert_int_equal(*word_of(&rig, 2, 3), 2);
		MRIG_EXPECT(&rig, 2, 3);
		mrig_store(rig.vcpu[0], PAGE(3), 3);
		MRIG_EXPECT(&rig, 2, 3);
	} else {
		assert_int_equal(store.result, TIDE_EXIT_MMIO);
	}
	mrig_destroy(&rig);
}

/* Fails when a mapping is made of what was resolved before the slot went. */
static void test_k25(void **state)
{
	(void)state;
	slot_goes("slow_fault.resolved", false);
	slot_goes("slow_fault.resolved", true);
}

/* The same for a slot that moves: its memory is elsewhere by then. */
static void test_k25_move(void **state)
{
	struct mrig rig;
	struct access store;
	struct actor writer;

	(void)state;
	mrig_create(&rig, &plain);
	store = (struct access){ rig.vcpu[0], PAGE(3), 2, -1 };
	actor_start(&writer, "slow_fault.resolved", run_store, &store);
	assert_int_equal(mrig_region(&rig, 0, MMU_REGION_LOG, MOVED, 128), 0);
	actor_end(&writer);
	assert_int_equal(store.result, TIDE_EXIT_MMIO);
	assert_int_equal(*word_of(&rig, 0, 3), 0);
	mrig_store(rig.vcpu[0], MRIG_GPA(MOVED + 3), 4);
	MRIG_EXPECT(&rig, 0, 3);
	/* By a part of its own length: the same page of it elsewhere. */
	assert_int_equal(mrig_region(&rig, 0, MMU_REGION_LOG, MOVED + 1, 128),
			 0);
	mrig_store(rig.vcpu[0], MRIG_GPA(MOVED + 3), 5);
	assert_int_equal(*word_of(&rig, 0, 2), 5);
	assert_int_equal(*word_of(&rig, 0, 3), 4);
	MRIG_EXPECT(&rig, 0, 2);
	mrig_destroy(&rig);
}

/* A dirty bit moves with its slot, and goes with it. */
static void test_bits_move(void **state)
{
	struct mrig rig;

	(void)state;
	mrig_create(&rig, &plain);
	mrig_store(rig.vcpu[0], PAGE(3), 1);
	assert_int_equal(mrig_region(&rig, 0, MMU_REGION_LOG, MOVED, 128), 0);
	MRIG_EXPECT(&rig, 0, 3);
	mrig_store(rig.vcpu[0], MRIG_GPA(MOVED + 4), 1);
	assert_int_equal(mrig_region(&rig, 0, 0, MOVED, 0), 0);
	assert_int_equal(mrig_flags(&rig, 0, MMU_REGION_LOG), 0);
	MRIG_EXPECT_NONE(&rig, 0);
	mrig_destroy(&rig);
}

struct change {
	struct mrig *rig;
	uint64_t gfn, npages;
	int result;
};

static void run_region(void *opaque)
{
	struct change *change = opaque;

	change->result = mrig_region(change->rig, 0, MMU_REGION_LOG,
				     change->gfn, change->npages);
}

/* A fast page fault that is held with its claim while its slot goes or moves:
 * the grace period waits for it, and it makes nothing writable. */
static void fast_fault_and_slot(const char *where, uint64_t npages)
{
	struct mrig rig;
	struct access store;
	struct actor writer, changer;
	struct change change = { &rig, MOVED, npages, -1 };

	mrig_create(&rig, &plain);
	mrig_store(rig.vcpu[0], PAGE(3), 1);
	(void)mrig_get(&rig, 0);
	store = (struct access){ rig.vcpu[0], PAGE(3), 2, -1 };
	actor_start(&writer, where, run_store, &store);
	actor_begin(&changer, NULL, run_region, &change);
	for (int i = 0; i < LONG_ENOUGH; i++)
		(void)sched_yield();
	assert_false(actor_has_ended(&changer)); /* it is in use */
	actor_end(&writer);
	actor_end(&changer);
	assert_int_equal(change.result, 0);
	if (store.result == 0) { /* it came before */
		assert_int_equal(*word_of(&rig, 0, 3), 2);
	} else {
		assert_int_equal(store.result, TIDE_EXIT_MMIO);
		assert_int_equal(*word_of(&rig, 0, 3), 1);
	}
	assert_int_equal(mrig_try_store(rig.vcpu[1], PAGE(3), 7),
			 TIDE_EXIT_MMIO);
	if (npages) {
		(void)mrig_get(&rig, 0);
		assert_true(mrig_bit(&rig, 3));
	}
	mrig_destroy(&rig);
}

static void test_k25_fast(void **state)
{
	(void)state;
	fast_fault_and_slot("fast_fault.claimed", 0);
	fast_fault_and_slot("fast_fault.commit", 0);
	fast_fault_and_slot("fast_fault.claimed", 128);
	fast_fault_and_slot("fast_fault.commit", 128);
}

static void run_slot_goes(void *opaque)
{
	struct change *change = opaque;
	struct mrig *rig = change->rig;

	change->result = mrig_region(rig, 1, 0, TABLES, 0);
	/* Whose memory it is may unmap it now. */
	assert(!mprotect(rig->host[1], 32 * TIDE_PAGE_SIZE, PROT_NONE));
}

/* A walk that is held in a guest's table while that table's slot goes, and
 * with it its memory.  Fails, by a fault of the host, when nobody waits for
 * the walk. */
static void test_k25_walk(void **state)
{
	static const char *const where[] = { "walk.load", "walk.update" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct guest_tables tables;
		struct mrig rig;
		struct access store;
		struct actor writer, changer;
		struct change change = { .rig = &rig, .result = -1 };

		mrig_create(&rig, &plain);
		tables_init(&tables, &rig, TIDE_PAGING_X86_64,
			    MRIG_GPA(TABLES));
		(void)tables_map(&tables, GVA, PAGE(3), 1,
				 PTE_WRITABLE | PTE_CLEAN);
		tables_load(&tables, rig.vcpu[0], 0);
		store = (struct access){ rig.vcpu[0], GVA, 2, -1 };
		actor_start(&writer, where[i], run_store, &store);
		actor_begin(&changer, NULL, run_slot_goes, &change);
		for (int n = 0; n < 1000; n++)
			(void)sched_yield();
		actor_end(&writer);
		actor_end(&changer);
		assert_int_equal(change.result, 0);
		assert_true(store.result == 0 ||
			    store.result == TIDE_EXIT_GUEST_FAULT);
		assert_int_equal(mrig_try_store(rig.vcpu[0], GVA, 3),
				 TIDE_EXIT_GUEST_FAULT);
		mrig_destroy(&rig);
	}
}

static void run_log(void *opaque)
{
	struct change *change = opaque;

	/* npages: the flags. */
	change->result = mrig_flags(change->rig, 0, (uint32_t)change->npages);
}

/* A fast page fault that has seen no log, and is about to commit, while
 * logging comes on: nothing counts as protected before it is over (I10). */
static void test_log_on_waits(void **state)
{
	struct mrig rig;
	struct access store;
	struct actor writer, logger;
	struct change on = { .rig = &rig, .npages = MMU_REGION_LOG };

	(void)state;
	mrig_create(&rig, &plain);
	mrig_store(rig.vcpu[0], PAGE(3), 1);
	(void)mrig_get(&rig, 0);
	/* Too small for large leaves: it stays as GET left it. */
	assert_int_equal(mrig_flags(&rig, 0, 0), 0);
	store = (struct access){ rig.vcpu[0], PAGE(3), 2, -1 };
	actor_start(&writer, "fast_fault.commit", run_store, &store);
	actor_begin(&logger, NULL, run_log, &on);
	for (int i = 0; i < LONG_ENOUGH; i++)
		(void)sched_yield();
	assert_false(actor_has_ended(&logger));
	actor_end(&writer);
	actor_end(&logger);
	assert_int_equal(store.result, 0);
	assert_int_equal(on.result, 0);
	(void)mrig_get(&rig, 0);
	mrig_store(rig.vcpu[0], PAGE(3), 3);
	MRIG_EXPECT(&rig, 0, 3);
	mrig_destroy(&rig);
}

/* A mark on its way while logging goes off: the log is there until it is made.
 * Fails, and AddressSanitizer says so, when the log goes first. */
static void test_log_off_waits(void **state)
{
	struct mrig rig;
	struct access store;
	struct actor writer, logger;
	struct change off = { .rig = &rig };

	(void)state;
	mrig_create(&rig, &plain);
	mrig_store(rig.vcpu[0], PAGE(3), 1);
	(void)mrig_get(&rig, 0);
	store = (struct access){ rig.vcpu[0], PAGE(3), 2, -1 };
	actor_start(&writer, "fast_fault.claimed", run_store, &store);
	actor_begin(&logger, NULL, run_log, &off);
	for (int i = 0; i < LONG_ENOUGH; i++)
		(void)sched_yield();
	assert_false(actor_has_ended(&logger));
	actor_end(&writer);
	actor_end(&logger);
	assert_int_equal(store.result, 0);
	assert_int_equal(off.result, 0);
	mrig_destroy(&rig);
}

/* Fails when what was resolved before the host took it back is mapped (I17),
 * though nothing is under way any more. */
static void test_invalidated(void **state)
{
	struct mrig rig;
	struct access store;
	struct actor writer;
	uint64_t host, retried;

	(void)state;
	mrig_create(&rig, &backed);
	host = (uintptr_t)rig.host[0] + 3 * TIDE_PAGE_SIZE;
	store = (struct access){ rig.vcpu[2], PAGE(3), 2, -1 };
	retried = mrig_stats(&rig).faults_retried;
	actor_start(&writer, "slow_fault.resolved", run_store, &store);
	assert_int_equal(mmu_notifier.invalidate_start(rig.mmu, host, 1), 0);
	mmu_notifier.invalidate_end(rig.mmu, host, 1);
	actor_end(&writer);
	assert_int_equal(store.result, 0);
	assert_true(mrig_stats(&rig).faults_retried > retried);
	MRIG_EXPECT(&rig, 0, 3);
	mrig_destroy(&rig);
}

/* Fails when a page is mapped between invalidate's start and its end; or when
 * two that overlap end with the first's end. */
static void test_invalidating(void **state)
{
	struct mrig rig;
	struct access store;
	struct actor writer;
	struct spte_walk walk;
	uint64_t host;

	(void)state;
	mrig_create(&rig, &backed);
	host = (uintptr_t)rig.host[0];
	store = (struct access){ rig.vcpu[2], PAGE(3), 2, -1 };
	actor_start(&writer, "slow_fault.resolved", run_store, &store);
	assert_int_equal(mmu_notifier.invalidate_start(rig.mmu, host, 2), 0);
	assert_int_equal(mmu_notifier.invalidate_start(
				 rig.mmu, host + 3 * TIDE_PAGE_SIZE, 1),
			 0);
	mmu_notifier.invalidate_end(rig.mmu, host, 2);
	actor_go(&writer);
	while (!actor_has_ended(&writer) && mrig_stats(&rig).faults_retried < 3)
		(void)sched_yield();
	assert_false(actor_has_ended(&writer));
	assert_false(mrig_walk(&rig, 2, PAGE(3), &walk));
	mmu_notifier.invalidate_end(rig.mmu, host + 3 * TIDE_PAGE_SIZE, 1);
	actor_end(&writer);
	assert_int_equal(store.result, 0);
	MRIG_EXPECT(&rig, 0, 3);
	mrig_destroy(&rig);
}

/* Fails when slots change between invalidate's start and its end, which would
 * then count for different slots (I18), or the count does not come back to
 * 0: faults would go round for ever. */
static void test_k26(void **state)
{
	struct mrig rig;
	struct actor changer;
	struct change change = { &rig, RAM, 0, -1 };
	uint64_t host;

	(void)state;
	mrig_create(&rig, &backed);
	host = (uintptr_t)rig.host[0];
	assert_int_equal(mmu_notifier.invalidate_start(rig.mmu, host, 4), 0);
	actor_begin(&changer, NULL, run_region, &change);
	for (int i = 0; i < LONG_ENOUGH; i++)
		(void)sched_yield();
	assert_false(actor_has_ended(&changer));
	mmu_notifier.invalidate_end(rig.mmu, host, 4);
	actor_end(&changer);
	assert_int_equal(change.result, 0);
	assert_int_equal(rig.mmu->invalidating, 0);
	assert_int_equal(mrig_try_store(rig.vcpu[2], PAGE(3), 1),
			 TIDE_EXIT_MMIO);
	assert_int_equal(mrig_flags(&rig, 0, MMU_REGION_LOG), 0);
	mrig_store(rig.vcpu[2], PAGE(3), 2);
	MRIG_EXPECT(&rig, 0, 3);
	mrig_destroy(&rig);
}

/* Fails when swapping, merging or a new frame clears a page's bit or sets
 * one. */
static void test_host_side(void **state)
{
	struct mrig rig;

	(void)state;
	mrig_create(&rig, &backed);
	mrig_store(rig.vcpu[2], PAGE(3), 7);
	mrig_store(rig.vcpu[2], PAGE(4), 7);
	assert_true(mrig_swap_out(&rig, 3));
	MRIG_EXPECT(&rig, 0, 3, 4);
	assert_int_equal(mrig_load(rig.vcpu[2], PAGE(3)), 7);
	assert_int_equal(tide_backing_merge(rig.backing, 3, 2), 1);
	assert_int_equal(mrig_load(rig.vcpu[2], PAGE(4)), 7);
	MRIG_EXPECT_NONE(&rig, 0);
	mrig_store(rig.vcpu[2], PAGE(4), 8);
	assert_int_equal(mrig_load(rig.vcpu[2], PAGE(3)), 7);
	MRIG_EXPECT(&rig, 0, 4);
	assert_int_equal(tide_backing_discard(rig.backing, 4, 1), 0);
	assert_int_equal(mrig_load(rig.vcpu[2], PAGE(4)), 0);
	MRIG_EXPECT(&rig, 0, 4); /* its contents did change */
	mrig_destroy(&rig);
}

/* Two slots on the same pages of a backing.  Fails when the host takes a frame
 * and drops, or asks for D, in one of them only; or when a mark of one is taken
 * for the other's. */
static void test_backed_alias(void **state)
{
	struct mrig_config config = backed;
	struct mrig rig;

	(void)state;
	config.areas[1] = (struct mrig_area){ .id = 2,
					      .gfn = MOVED,
					      .npages = 64,
					      .flags = MMU_REGION_LOG,
					      .memory = MRIG_BACKED };
	mrig_create(&rig, &config);
	mrig_store(rig.vcpu[0], PAGE(3), 1);
	assert_int_equal(mrig_load(rig.vcpu[0], MRIG_GPA(MOVED + 3)), 1);
	for (uint64_t value = 2; value < 6; value++) {
		struct spte_walk walk;
		bool by_second = value % 2;
		uint64_t gpa = by_second ? MRIG_GPA(MOVED + 3) : PAGE(3);

		(void)mrig_get(&rig, 0);
		(void)mrig_get(&rig, 1);
		mrig_store(rig.vcpu[0], gpa, value);
		assert_true(mrig_swap_out(&rig, 3));
		assert_false(mrig_walk(&rig, 0, PAGE(3), &walk));
		assert_false(mrig_walk(&rig, 0, MRIG_GPA(MOVED + 3), &walk));
		MRIG_EXPECT(&rig, by_second, 3);
		MRIG_EXPECT_NONE(&rig, !by_second);
		assert_int_equal(mrig_load(rig.vcpu[1], PAGE(3)), value);
		assert_int_equal(mrig_load(rig.vcpu[1], MRIG_GPA(MOVED + 3)),
				 value);
	}
	/* What the host changes is dirty in both. */
	assert_int_equal(tide_backing_discard(rig.backing, 3, 1), 0);
	MRIG_EXPECT(&rig, 0, 3);
	MRIG_EXPECT(&rig, 1, 3);
	mrig_destroy(&rig);
}

/* A guest's table in a slot that goes: its shadow goes with it. */
static void test_table_slot_goes(void **state)
{
	struct guest_tables tables;
	struct mrig rig;

	(void)state;
	mrig_create(&rig, &plain);
	tables_init(&tables, &rig, TIDE_PAGING_X86_64, MRIG_GPA(TABLES));
	(void)tables_map(&tables, GVA, PAGE(3), 1, PTE_WRITABLE);
	tables_load(&tables, rig.vcpu[0], 0);
	mrig_store(rig.vcpu[0], GVA, 1);
	assert_int_equal(mrig_region(&rig, 1, 0, TABLES, 0), 0);
	assert_int_equal(mrig_try_store(rig.vcpu[0], GVA, 2),
			 TIDE_EXIT_GUEST_FAULT);
	assert_int_equal(*word_of(&rig, 0, 3), 1);
	assert_int_equal(mrig_flags(&rig, 1, 0), 0);
	mrig_store(rig.vcpu[0], GVA, 3);
	assert_int_equal(*word_of(&rig, 0, 3), 3);
	mrig_destroy(&rig);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CLAIM("K25 no mapping of a slot that went", test_k25),
		CLAIM("K25 nor of one that moved", test_k25_move),
		CLAIM("K25 a fast page fault holds its slot until it is over",
		      test_k25_fast),
		CLAIM("K25 a walk holds the slots of its tables",
		      test_k25_walk),
		CLAIM("K25 no mapping of what the host took back meanwhile",
		      test_invalidated),
		CLAIM("K25 nor of what it is taking back", test_invalidating),
		CLAIM("K26 slots wait for the end of an invalidation",
		      test_k26),
		CLAIM("logging is on when nobody acts on its absence",
		      test_log_on_waits),
		CLAIM("a log stays until the last mark in it is made",
		      test_log_off_waits),
		CLAIM("bits move with their slot, and go with it",
		      test_bits_move),
		CLAIM("what the host does to a frame is no write",
		      test_host_side),
		CLAIM("two slots on one backing go and come together",
		      test_backed_alias),
		CLAIM("a guest's tables go with their slot",
		      test_table_slot_goes),
	};

	mrig_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
