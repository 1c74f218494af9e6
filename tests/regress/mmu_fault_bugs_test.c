/* SPDX-License-Identifier: MIT */
/*
 * mmu_fault_bugs_test.c - page faults against GET, guests' tables, and each
 * other
 *
 * Each test forbids the wrong outcome of one bug that KVM once had;
 * tests/regress/README.md lists them with their origin.
 */
#undef NDEBUG
#include <errno.h>

#include "mmu_stage.h"

#define RAM 0x400u
#define TABLES 0x1000u
#define GVA 0x40000000ull
#define GVA2 0x40400000ull
#define PAGE(page) MRIG_GPA(RAM + (page))

static const enum tide_paging_mode modes[] = { TIDE_PAGING_X86_64,
					       TIDE_PAGING_SV39 };

#define EACH_MODE(mode)                                                   \
	for (const enum tide_paging_mode *mode = modes; mode < modes + 2; \
	     mode++)

static const struct mrig_config logged = {
	.areas = { { .id = 0,
		     .gfn = RAM,
		     .npages = 128,
		     .flags = MMU_REGION_LOG },
		   { .id = 1, .gfn = TABLES, .npages = 32 } },
	.vcpus = 4,
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

/* Fails when GET protects a page and then takes its bit: a fault between the
 * two makes it writable, and its mark is taken away with the bit. */
static void test_k1(void **state)
{
	struct mrig rig;
	struct get get = { .rig = &rig };
	struct actor getter;

	(void)state;
	mrig_create(&rig, &logged);
	mrig_store(rig.vcpu[0], PAGE(3), 1);
	assert_int_equal(mrig_load(rig.vcpu[1], PAGE(3)), 1);
	/* Held with W gone and the mmu_lock taken: the fast path needs none. */
	actor_start(&getter, "protect.done", run_get, &get);
	mrig_store(rig.vcpu[1], PAGE(3), 3);
	actor_end(&getter);
	assert_int_equal(get.words[0], 1u << 3);
	mrig_store(rig.vcpu[1], PAGE(3), 4);
	MRIG_EXPECT(&rig, 0, 3);
	mrig_destroy(&rig);
}

/* A write that is held at @where while a whole GET runs is in the next. */
static void get_within(const char *where, bool first_write)
{
	struct mrig rig;
	struct access store;
	struct actor writer;
	uint64_t copy;

	mrig_create(&rig, &logged);
	if (!first_write)
		mrig_store(rig.vcpu[0], PAGE(3), 1);
	(void)mrig_get(&rig, 0);
	store = (struct access){ rig.vcpu[0], PAGE(3), 2, -1 };
	actor_start(&writer, where, run_store, &store);
	(void)mrig_get(&rig, 0);
	copy = mrig_peek(&rig, PAGE(3));
	assert_int_not_equal(copy, 2);
	actor_end(&writer);
	assert_int_equal(store.result, 0);
	assert_int_equal(mrig_peek(&rig, PAGE(3)), 2);
	MRIG_EXPECT(&rig, 0, 3);
	MRIG_EXPECT_NONE(&rig, 0);
	mrig_store(rig.vcpu[0], PAGE(3), 3);
	MRIG_EXPECT(&rig, 0, 3);
	mrig_destroy(&rig);
}

/* Fails when an entry becomes writable by a mark that GET has taken. */
static void test_k2(void **state)
{
	(void)state;
	get_within("fast_fault.read", false);
	get_within("fast_fault.claimed", false);
	get_within("fast_fault.commit", false);
}

/* Fails when the slow path marks before it has the mmu_lock. */
static void test_k2_slow(void **state)
{
	(void)state;
	get_within("slow_fault.resolved", true);
}

/* Held at the commit, with a second vCPU that repairs the same page. */
static void test_k2_two(void **state)
{
	struct mrig rig;
	struct access store;
	struct actor writer;

	(void)state;
	mrig_create(&rig, &logged);
	mrig_store(rig.vcpu[0], PAGE(3), 1);
	(void)mrig_get(&rig, 0);
	store = (struct access){ rig.vcpu[0], PAGE(3), 2, -1 };
	actor_start(&writer, "fast_fault.commit", run_store, &store);
	mrig_store(rig.vcpu[1], PAGE(3), 3);
	MRIG_EXPECT(&rig, 0, 3);
	actor_end(&writer);
	assert_int_equal(mrig_peek(&rig, PAGE(3)), 2);
	MRIG_EXPECT(&rig, 0, 3);
	mrig_destroy(&rig);
}

/* GVA to page @page of a backed guest, for vCPUs 0 and 1. */
static uint64_t map_gva(struct mrig *rig, enum tide_paging_mode mode,
			uint64_t page, uint32_t flags)
{
	struct guest_tables tables;
	uint64_t entry;

	tables_init(&tables, rig, mode, MRIG_GPA(TABLES));
	entry = tables_map(&tables, GVA, PAGE(page), 1, flags);
	tables_load(&tables, rig->vcpu[0], TIDE_PAGING_WP);
	tables_load(&tables, rig->vcpu[1], TIDE_PAGING_WP);
	return entry;
}

/* Fails when a guest that takes away its own right to write also takes away
 * what the host knows of the writes before. */
static void test_k7(void **state)
{
	(void)state;
	EACH_MODE(mode)
	{
		struct mrig rig;
		uint64_t entry;

		mrig_create(&rig, &backed);
		entry = map_gva(&rig, *mode, 3, PTE_WRITABLE);
		mrig_store(rig.vcpu[0], GVA, 1);
		assert_true(mrig_swap_out(&rig, 3));
		assert_int_equal(mrig_load(rig.vcpu[0], GVA), 1);
		mrig_store(rig.vcpu[0], GVA, 2);
		mrig_store(rig.vcpu[2], entry,
			   tables_leaf(*mode, PAGE(3), 1, 0));
		assert_int_equal(mrig_load(rig.vcpu[0], GVA), 2);
		assert_int_equal(mrig_try_store(rig.vcpu[0], GVA, 3),
				 TIDE_EXIT_GUEST_FAULT);
		assert_true(mrig_swap_out(&rig, 3));
		assert_int_equal(mrig_load(rig.vcpu[0], GVA), 2);
		MRIG_EXPECT(&rig, 0, 3);
		mrig_destroy(&rig);
	}
}

/* Fails when two mappings of one large guest page, with different rights,
 * share a table whose entries become what one of them may do. */
static void test_k8(void **state)
{
	(void)state;
	EACH_MODE(mode)
	{
		struct mrig_config config = logged;
		struct guest_tables tables;
		struct mrig rig;

		config.areas[0].npages = 512;
		mrig_create(&rig, &config);
		tables_init(&tables, &rig, *mode, MRIG_GPA(TABLES));
		(void)tables_map(&tables, GVA, PAGE(0), 2, PTE_WRITABLE);
		(void)tables_map(&tables, GVA2, PAGE(0), 2, 0);
		tables_load(&tables, rig.vcpu[0], TIDE_PAGING_WP);
		tables_load(&tables, rig.vcpu[1], TIDE_PAGING_WP);
		assert_int_equal(mrig_load(rig.vcpu[1], GVA2 + 0x5000), 0);
		mrig_store(rig.vcpu[0], GVA + 0x5000, 1);
		assert_int_equal(mrig_load(rig.vcpu[1], GVA2 + 0x5000), 1);
		assert_int_equal(mrig_try_store(rig.vcpu[1], GVA2 + 0x5000, 2),
				 TIDE_EXIT_GUEST_FAULT);
		(void)mrig_get(&rig, 0);
		assert_int_equal(mrig_try_store(rig.vcpu[1], GVA2 + 0x5000, 2),
				 TIDE_EXIT_GUEST_FAULT);
		mrig_store(rig.vcpu[0], GVA + 0x5000, 3);
		assert_int_equal(mrig_try_store(rig.vcpu[1], GVA2 + 0x5000, 2),
				 TIDE_EXIT_GUEST_FAULT);
		MRIG_EXPECT(&rig, 0, 5);
		mrig_destroy(&rig);
	}
}

#define HAMMERS 3u
#define PAGES_EACH 21u

struct hammer {
	struct tide_vcpu *vcpu;
	uint64_t first;
	_Atomic bool *over;
	_Atomic uint64_t rounds;
};

static uint64_t rounds_of(const struct hammer *hammer)
{
	/* Relaxed: only a count; the end is a join. */
	return atomic_load_explicit(&hammer->rounds, memory_order_relaxed);
}

/* Each page of its own gets the round's number. */
static void run_hammer(void *opaque)
{
	struct hammer *hammer = opaque;

	/* Relaxed: to end, some time. */
	while (!atomic_load_explicit(hammer->over, memory_order_relaxed)) {
		uint64_t round = rounds_of(hammer) + 1;

		for (uint64_t i = 0; i < PAGES_EACH; i++)
			mrig_store(hammer->vcpu,
				   PAGE(hammer->first + i * HAMMERS), round);
		/* Relaxed: as rounds_of(). */
		atomic_store_explicit(&hammer->rounds, round,
				      memory_order_relaxed);
	}
}

static void copy_dirty(struct mrig *rig, bool clear, uint64_t *copy)
{
	(void)mrig_get(rig, 0);
	if (clear)
		assert_int_equal(mrig_clear(rig, 0, 0, rig->words[0]), 0);
	for (uint64_t page = 0; page < 64; page++) {
		if (mrig_bit(rig, page))
			copy[page] = mrig_peek(rig, PAGE(page));
	}
}

/* Three vCPUs write to pages of one word while it is taken, by GET or by
 * CLEAR; the copies must end up as the pages. */
static void one_word(bool clear)
{
	struct mrig rig;
	struct mrig_config config = logged;
	struct hammer hammers[HAMMERS] = { 0 };
	struct actor actors[HAMMERS];
	uint64_t copy[64] = { 0 };
	_Atomic bool over = false;

	config.manual = clear ? MMU_MANUAL_ENABLE : 0;
	mrig_create(&rig, &config);
	for (uint64_t i = 0; i < HAMMERS; i++) {
		hammers[i].vcpu = rig.vcpu[i];
		hammers[i].first = i;
		hammers[i].over = &over;
		actor_begin(&actors[i], NULL, run_hammer, &hammers[i]);
	}
	for (uint32_t i = 0; i < HAMMERS; i++) {
		while (rounds_of(&hammers[i]) < 500 * test_long())
			copy_dirty(&rig, clear, copy);
	}
	/* Relaxed: as there. */
	atomic_store_explicit(&over, true, memory_order_relaxed);
	for (uint32_t i = 0; i < HAMMERS; i++)
		actor_end(&actors[i]);
	copy_dirty(&rig, clear, copy);
	for (uint64_t page = 0; page < HAMMERS * PAGES_EACH; page++)
		assert_int_equal(copy[page],
				 rounds_of(&hammers[page % HAMMERS]));
	mrig_destroy(&rig);
}

/* Fails when a mark is a plain read, or, write of its word. */
static void test_k10(void **state)
{
	(void)state;
	one_word(false);
}

/* Fails when CLEAR writes back a word that it has read. */
static void test_k11(void **state)
{
	(void)state;
	one_word(true);
}

/* Fails when an entry is written over by one with fewer rights, and a vCPU
 * keeps the old ones. */
static void test_k28(void **state)
{
	(void)state;
	EACH_MODE(mode)
	{
		struct mrig rig;
		struct access in_guest, change;
		struct actor writer, changer;
		uint64_t entry;

		mrig_create(&rig, &logged);
		entry = map_gva(&rig, *mode, 3, PTE_WRITABLE);
		in_guest = (struct access){ rig.vcpu[0], GVA, 1, -1 };
		change = (struct access){ rig.vcpu[2], entry,
					  tables_leaf(*mode, PAGE(3), 1, 0),
					  -1 };
		actor_start(&writer, "guest", run_in_guest, &in_guest);
		actor_begin(&changer, NULL, run_store, &change);
		assert_true(flush_awaits(&changer, rig.vcpu[0]));
		actor_end(&writer); /* writes 2 before it lets go */
		actor_end(&changer);
		assert_int_equal(change.result, 0);
		assert_int_equal(mrig_try_store(rig.vcpu[0], GVA, 3),
				 TIDE_EXIT_GUEST_FAULT);
		assert_int_equal(mrig_load(rig.vcpu[0], GVA), 2);
		mrig_destroy(&rig);
	}
}

/* Fails when a fast page fault tries for ever while somebody takes away what
 * it does. */
static void test_k29(void **state)
{
	struct mrig rig;
	struct access store;
	struct actor writer;
	int rounds = 0;

	(void)state;
	mrig_create(&rig, &logged);
	mrig_store(rig.vcpu[0], PAGE(3), 1);
	(void)mrig_get(&rig, 0);
	store = (struct access){ rig.vcpu[0], PAGE(3), 2, -1 };
	actor_start(&writer, "fast_fault.commit", run_store, &store);
	do {
		assert_true(++rounds < 100);
		assert_int_equal(mrig_get(&rig, 0), 1);
	} while (actor_on(&writer, "fast_fault.commit"));
	actor_end(&writer);
	assert_true(rounds > 1); /* it did try again */
	assert_int_equal(store.result, 0);
	MRIG_EXPECT(&rig, 0, 3);
	mrig_destroy(&rig);
}

/* Fails when an access that is not made is marked, or one that is made by any
 * way of mapping is not. */
static void test_k55(void **state)
{
	struct mrig rig;

	(void)state;
	mrig_create(&rig, &logged);
	(void)map_gva(&rig, TIDE_PAGING_X86_64, 3, 0);
	(void)mrig_get(&rig, 0);
	assert_int_equal(mrig_try_store(rig.vcpu[0], GVA, 1),
			 TIDE_EXIT_GUEST_FAULT);
	assert_int_equal(mrig_try_store(rig.vcpu[2], PAGE(128), 1),
			 TIDE_EXIT_MMIO);
	assert_int_equal(mrig_load(rig.vcpu[2], PAGE(4)), 0);
	assert_int_equal(mrig_load(rig.vcpu[0], GVA), 0);
	MRIG_EXPECT_NONE(&rig, 0);
	/* Mapped by a read before, not mapped, and mapped twice. */
	mrig_store(rig.vcpu[2], PAGE(4), 1);
	mrig_store(rig.vcpu[2], PAGE(5), 1);
	mrig_store(rig.vcpu[2], PAGE(3), 1);
	MRIG_EXPECT(&rig, 0, 3, 4, 5);
	mrig_destroy(&rig);
}

/* Fails when a guest that clears its own dirty bit clears the host's log with
 * it, or when the next write does not set both again. */
static void test_k57(void **state)
{
	(void)state;
	EACH_MODE(mode)
	{
		struct mrig rig;
		uint64_t entry, clean, used;

		mrig_create(&rig, &backed);
		clean = tables_leaf(*mode, PAGE(3), 1,
				    PTE_WRITABLE | PTE_CLEAN);
		used = tables_leaf(*mode, PAGE(3), 1, PTE_WRITABLE);
		entry = map_gva(&rig, *mode, 3, PTE_WRITABLE | PTE_CLEAN);
		mrig_store(rig.vcpu[0], GVA, 1);
		assert_int_equal(mrig_load(rig.vcpu[2], entry), used);
		mrig_store(rig.vcpu[2], entry, clean);
		assert_int_equal(mrig_load(rig.vcpu[0], GVA), 1);
		assert_true(mrig_load(rig.vcpu[2], entry) != used);
		MRIG_EXPECT(&rig, 0, 3);
		assert_true(mrig_swap_out(&rig, 3));
		assert_int_equal(mrig_load(rig.vcpu[0], GVA), 1);
		mrig_store(rig.vcpu[0], GVA, 2);
		assert_int_equal(mrig_load(rig.vcpu[2], entry), used);
		MRIG_EXPECT(&rig, 0, 3);
		assert_true(mrig_swap_out(&rig, 3));
		assert_int_equal(mrig_load(rig.vcpu[0], GVA), 2);
		mrig_destroy(&rig);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CLAIM("K1 a fault while GET protects is in the next GET",
		      test_k1),
		CLAIM("K2 no page becomes writable by a mark that GET took",
		      test_k2),
		CLAIM("K2 nor by the slow path", test_k2_slow),
		CLAIM("K2 nor where two repair it", test_k2_two),
		CLAIM("K7 what was written before a guest's change is known "
		      "after it",
		      test_k7),
		CLAIM("K8 a table is not shared between different rights",
		      test_k8),
		CLAIM("K10 vCPUs that mark one word lose no bit", test_k10),
		CLAIM("K11 CLEAR of a word loses no bit that is set meanwhile",
		      test_k11),
		CLAIM("K28 fewer rights are flushed", test_k28),
		CLAIM("K29 a fast page fault gives up in the end", test_k29),
		CLAIM("K55 a write is marked if and only if it was made",
		      test_k55),
		CLAIM("K57 a guest's own dirty bit is not the host's",
		      test_k57),
	};

	mrig_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
