/* SPDX-License-Identifier: MIT */
/*
 * mmu_large_bugs_test.c - 2 MiB leaves: never writable while logged, split,
 * recovered; slots that do not fit them; one host page behind two gfns
 *
 * Each test forbids the wrong outcome of one bug that KVM once had;
 * tests/regress/README.md lists them with their origin.
 */
#undef NDEBUG
#include <errno.h>

#include "mmu_stage.h"

#define RAM 0x400u /* a multiple of 512 */
#define ALIAS 0x2000u
#define TABLES 0x4000u
#define GVA 0x40000000ull
#define PAGE(page) MRIG_GPA(RAM + (page))

/* Two large pages, not logged. */
static const struct mrig_config two_large = {
	.areas = { { .id = 0, .gfn = RAM, .npages = 1024 },
		   { .id = 1, .gfn = TABLES, .npages = 32 } },
	.vcpus = 3,
};

static struct spte_walk leaf_of(struct mrig *rig, int vcpu, uint64_t gva)
{
	struct spte_walk walk;

	assert_true(mrig_walk(rig, vcpu, gva, &walk));
	return walk;
}

static bool is_large(struct mrig *rig, uint64_t page)
{
	return leaf_of(rig, 0, PAGE(page)).level == LARGE_LEVEL;
}

static void log_on(struct mrig *rig)
{
	assert_int_equal(mrig_flags(rig, 0, MMU_REGION_LOG), 0);
}

static void log_off(struct mrig *rig)
{
	assert_int_equal(mrig_flags(rig, 0, 0), 0);
}

/* The same guest writes and reads once in each large page. */
static void touch_both(struct mrig *rig)
{
	mrig_store(rig->vcpu[0], PAGE(5), 5);
	mrig_store(rig->vcpu[0], PAGE(517), 17);
}

/* Fails when the fast path makes a large leaf of a logged slot writable: 511
 * pages would be written unseen. */
static void test_k14(void **state)
{
	struct mrig_config config = two_large;
	struct spte_walk walk;
	struct mrig rig;

	(void)state;
	config.manual = MMU_MANUAL_ENABLE | MMU_MANUAL_INITIALLY_SET;
	mrig_create(&rig, &config);
	touch_both(&rig);
	log_on(&rig); /* protects nothing: every bit is set */
	walk = leaf_of(&rig, 0, PAGE(5));
	assert_int_equal(walk.level, LARGE_LEVEL);
	/* As a walk leaves it that protects without splitting. */
	(void)spte_remove_bits(walk.sptep, SPTE_W);
	assert_int_equal(mmu_flush_all(rig.mmu), 0);
	mrig_store(rig.vcpu[0], PAGE(5), 6);
	walk = leaf_of(&rig, 0, PAGE(6));
	assert_false(walk.level == LARGE_LEVEL && (walk.spte & SPTE_W));
	assert_int_equal(mrig_load(rig.vcpu[0], PAGE(517)), 17);
	mrig_destroy(&rig);
}

/* Fails when logging starts and a large leaf stays writable, or the vCPU keeps
 * what it had of one (K24), or a page's data is lost on the way. */
static void test_k24(void **state)
{
	struct mrig rig;

	(void)state;
	mrig_create(&rig, &two_large);
	touch_both(&rig);
	assert_true(is_large(&rig, 5) && is_large(&rig, 517));
	log_on(&rig);
	assert_int_equal(mrig_stats(&rig).large_splits, 2);
	assert_false(is_large(&rig, 5) || is_large(&rig, 517));
	MRIG_EXPECT_NONE(&rig, 0);
	/* By translations of the large leaf, if any are left. */
	mrig_store(rig.vcpu[0], PAGE(5), 6);
	mrig_store(rig.vcpu[0], PAGE(1023), 6);
	mrig_store(rig.vcpu[1], PAGE(512), 6);
	MRIG_EXPECT(&rig, 0, 5, 512, 1023);
	assert_int_equal(mrig_load(rig.vcpu[0], PAGE(517)), 17);
	mrig_destroy(&rig);
}

static void run_log_on(void *opaque)
{
	assert(!mrig_flags(opaque, 0, MMU_REGION_LOG));
}

/* The same with a vCPU that is in guest mode all the time (K30: it must be
 * told before the call returns). */
static void test_k30(void **state)
{
	struct mrig rig;
	struct access in_guest;
	struct actor writer, logger;

	(void)state;
	mrig_create(&rig, &two_large);
	in_guest = (struct access){ rig.vcpu[0], PAGE(5), 1, -1 };
	actor_start(&writer, "guest", run_in_guest, &in_guest);
	actor_begin(&logger, NULL, run_log_on, &rig);
	assert_true(flush_awaits(&logger, rig.vcpu[0]));
	assert_true(actor_on(&writer, "guest.late"));
	assert_false(actor_has_ended(&logger));
	actor_end(&writer);
	actor_end(&logger);
	/* The late write came before the call returned; later ones count. */
	(void)mrig_get(&rig, 0);
	mrig_store(rig.vcpu[0], PAGE(5), 3);
	MRIG_EXPECT(&rig, 0, 5);
	mrig_destroy(&rig);
}

/* A write while logging is being turned on, after the flush was asked for,
 * belongs to the log.  Fails when the flag comes last. */
static void test_flag_first(void **state)
{
	struct mrig rig;
	struct actor logger;

	(void)state;
	mrig_create(&rig, &two_large);
	touch_both(&rig);
	actor_start(&logger, "flush.requested", run_log_on, &rig);
	mrig_store(rig.vcpu[0], PAGE(5), 6);
	mrig_store(rig.vcpu[0], PAGE(600), 6);
	actor_end(&logger);
	MRIG_EXPECT(&rig, 0, 5, 600);
	mrig_store(rig.vcpu[0], PAGE(600), 7);
	MRIG_EXPECT(&rig, 0, 600);
	mrig_destroy(&rig);
}

static void run_clear(void *opaque)
{
	assert(!mrig_clear(opaque, 0, 0, ~0ull));
}

/* Fails when a TLB fill sets its bits in what was a large leaf and is a
 * pointer to a table by now. */
static void test_k12(void **state)
{
	struct mrig_config config = two_large;
	struct access store;
	struct actor writer, clearer;
	struct spte_walk walk;
	struct mrig rig;

	(void)state;
	config.manual = MMU_MANUAL_ENABLE | MMU_MANUAL_INITIALLY_SET;
	mrig_create(&rig, &config);
	/* Mapped by a read: no D yet. */
	assert_int_equal(mrig_load(rig.vcpu[0], PAGE(5)), 0);
	log_on(&rig);
	walk = leaf_of(&rig, 0, PAGE(5));
	assert_int_equal(walk.level, LARGE_LEVEL);
	assert_int_equal(walk.spte & (SPTE_W | SPTE_D), SPTE_W);
	store = (struct access){ rig.vcpu[0], PAGE(5), 6, -1 };
	actor_start(&writer, "tlb_fill.read", run_store, &store);
	/* CLEAR splits it, and waits for vCPU 0. */
	actor_start(&clearer, "flush.requested", run_clear, &rig);
	actor_go(&clearer);
	actor_end(&writer);
	actor_end(&clearer);
	assert_int_equal(store.result, 0);
	assert_int_equal(mrig_load(rig.vcpu[0], PAGE(5)), 6);
	assert_int_equal(mrig_load(rig.vcpu[1], PAGE(5)), 6);
	walk = leaf_of(&rig, 0, PAGE(6));
	assert_int_equal(walk.level, 1);
	assert_int_equal(walk.spte & SPTE_W, 0);
	mrig_destroy(&rig);
}

/* CLEAR with initially all set, where every large leaf is still writable. */
static void set_initially(struct mrig *rig, const struct mrig_config *config)
{
	struct mrig_config own = *config;

	own.manual = MMU_MANUAL_ENABLE | MMU_MANUAL_INITIALLY_SET;
	mrig_create(rig, &own);
	for (uint64_t page = 5; page < own.areas[0].npages; page += 256)
		mrig_store(rig->vcpu[0], PAGE(page), 1);
	log_on(rig);
}

/* Fails when the range that is split is one page short, or one too long. */
static void test_k13(void **state)
{
	struct mrig rig;

	(void)state;
	set_initially(&rig, &two_large);
	assert_int_equal(mrig_clear(&rig, 0, 7, ~0ull), 0);
	assert_false(is_large(&rig, 5));
	assert_true(is_large(&rig, 517));
	assert_int_equal(mrig_stats(&rig).large_splits, 1);
	mrig_store(rig.vcpu[0], PAGE(511), 2);
	mrig_store(rig.vcpu[0], PAGE(448), 2);
	assert_int_equal(mrig_get(&rig, 0), 1024 - 62);
	assert_true(mrig_bit(&rig, 511) && mrig_bit(&rig, 448) &&
		    mrig_bit(&rig, 447) && mrig_bit(&rig, 512));
	mrig_destroy(&rig);
}

/* Fails when a mask over the end of one large page and the start of the next
 * protects only the first. */
static void test_k15(void **state)
{
	struct mrig_config config = two_large;
	struct mrig rig;

	(void)state;
	/* From page 32 of its large page on: word 7 has pages of two. */
	config.areas[0].npages = 1500;
	for (int how = 0; how < 2; how++) {
		config.areas[0].gfn = RAM + 32;
		config.areas[0].skew = 32;
		config.manual = MMU_MANUAL_ENABLE | MMU_MANUAL_INITIALLY_SET;
		mrig_create(&rig, &config);
		/* Blocks 1 and 2 are whole, 0 is not. */
		for (uint64_t gfn = RAM + 40; gfn < RAM + 1500; gfn += 256)
			mrig_store(rig.vcpu[0], MRIG_GPA(gfn), 1);
		assert_int_equal(leaf_of(&rig, 0, MRIG_GPA(RAM + 600)).level,
				 LARGE_LEVEL);
		assert_int_equal(leaf_of(&rig, 0, MRIG_GPA(RAM + 40)).level, 1);
		log_on(&rig);
		/* Pages 960 to 1023 are gfns RAM + 992 to RAM + 1055. */
		assert_int_equal(mrig_clear(&rig, 0, how ? 15 : 7, ~0ull), 0);
		if (how) {
			mrig_store(rig.vcpu[0], MRIG_GPA(RAM + 992), 2);
			mrig_store(rig.vcpu[0], MRIG_GPA(RAM + 1055), 2);
		} else { /* gfns RAM + 480 to RAM + 543 */
			mrig_store(rig.vcpu[0], MRIG_GPA(RAM + 480), 2);
			mrig_store(rig.vcpu[0], MRIG_GPA(RAM + 543), 2);
		}
		assert_int_equal(mrig_get(&rig, 0), 1500 - 62);
		assert_true(mrig_bit(&rig, how ? 960 : 448));
		assert_true(mrig_bit(&rig, how ? 1023 : 511));
		mrig_destroy(&rig);
	}
}

/* Fails when logging on, off, on leaves a large leaf writable, or when large
 * leaves do not come back while it is off. */
static void test_k27(void **state)
{
	struct mrig rig;

	(void)state;
	mrig_create(&rig, &two_large);
	for (uint64_t round = 1; round < 5; round++) {
		touch_both(&rig);
		assert_true(is_large(&rig, 5) && is_large(&rig, 517));
		log_on(&rig);
		mrig_store(rig.vcpu[0], PAGE(round), round);
		mrig_store(rig.vcpu[1], PAGE(600 + round), round);
		MRIG_EXPECT(&rig, 0, round, 600 + round);
		log_off(&rig);
		assert_int_equal(mmu_get_dirty_log(rig.mmu, 0, rig.words),
				 -ENOENT);
	}
	for (uint64_t round = 1; round < 5; round++) {
		assert_int_equal(mrig_load(rig.vcpu[0], PAGE(600 + round)),
				 round);
	}
	mrig_destroy(&rig);
}

struct toggler {
	struct mrig *rig;
	struct tide_vcpu *vcpu;
	uint64_t page, *last, rounds;
};

static void run_writer(void *opaque)
{
	struct toggler *writer = opaque;

	for (uint64_t i = 1; i <= writer->rounds; i++) {
		mrig_store(writer->vcpu, PAGE(writer->page + i % 3 * 200), i);
		writer->last[i % 3] = i;
	}
}

/* The same with writers: what is in no GET has not been written since. */
static void test_k27_writers(void **state)
{
	struct mrig rig;
	struct actor actors[2];
	struct toggler writers[2];
	static uint64_t last[2][3], copy[1024];

	(void)state;
	memset(last, 0, sizeof(last));
	mrig_create(&rig, &two_large);
	for (uint64_t i = 0; i < 2; i++) {
		writers[i] = (struct toggler){ &rig, rig.vcpu[i], 10 + i * 300,
					       last[i], 3000 * test_long() };
		actor_begin(&actors[i], NULL, run_writer, &writers[i]);
	}
	while (!actor_has_ended(&actors[0]) || !actor_has_ended(&actors[1])) {
		log_on(&rig);
		for (uint64_t page = 0; page < 1024; page++)
			copy[page] = mrig_peek(&rig, PAGE(page));
		for (int i = 0; i < 3; i++) {
			(void)mrig_get(&rig, 0);
			for (uint64_t page = 0; page < 1024; page++) {
				if (mrig_bit(&rig, page))
					copy[page] =
						mrig_peek(&rig, PAGE(page));
			}
		}
		mmu_check(rig.mmu);
		if (actor_has_ended(&actors[0]) && actor_has_ended(&actors[1]))
			break;
		log_off(&rig);
	}
	actor_end(&actors[0]);
	actor_end(&actors[1]);
	if (mmu_get_dirty_log(rig.mmu, 0, rig.words) == 0) {
		for (uint64_t page = 0; page < 1024; page++) {
			if (mrig_bit(&rig, page))
				copy[page] = mrig_peek(&rig, PAGE(page));
			assert_int_equal(copy[page],
					 mrig_peek(&rig, PAGE(page)));
		}
	}
	for (uint64_t i = 0; i < 6; i++)
		assert_int_equal(
			mrig_peek(&rig, PAGE(10 + i / 3 * 300 + i % 3 * 200)),
			last[i / 3][i % 3]);
	mrig_destroy(&rig);
}

/* Fails when a slot whose gfns and memory do not fit each other, or that is
 * logged, or that ends within a large page, gets a large leaf there. */
static void test_k54(void **state)
{
	struct mrig_config config = two_large;
	struct mrig rig;

	(void)state;
	config.areas[0].npages = 1000;
	mrig_create(&rig, &config);
	mrig_store(rig.vcpu[0], PAGE(5), 1);
	mrig_store(rig.vcpu[0], PAGE(999), 1);
	assert_true(is_large(&rig, 5));
	assert_false(is_large(&rig, 999));
	assert_int_equal(mrig_try_store(rig.vcpu[0], PAGE(1000), 1),
			 TIDE_EXIT_MMIO);
	mrig_destroy(&rig);

	config.areas[0].flags = MMU_REGION_LOG;
	mrig_create(&rig, &config);
	mrig_store(rig.vcpu[0], PAGE(5), 1);
	assert_false(is_large(&rig, 5));
	MRIG_EXPECT(&rig, 0, 5);
	mrig_destroy(&rig);
}

/* Memory that begins in the middle of a 2 MiB page of the host, and gfns that
 * do: whatever is mapped, each page leads to its own memory, and is logged. */
static void test_k54_skewed(void **state)
{
	static const struct {
		uint64_t gfn, skew;
	} cases[] = {
		{ RAM, 3 }, { RAM + 3, 0 }, { RAM + 3, 3 }, { RAM + 511, 1 }
	};
	struct mrig rig;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct mrig_config config = two_large;

		config.areas[0].npages = 1100;
		config.areas[0].gfn = cases[i].gfn;
		config.areas[0].skew = cases[i].skew;
		mrig_create(&rig, &config);
		for (uint64_t page = 0; page < 1100; page += 7)
			mrig_store(rig.vcpu[0], MRIG_GPA(cases[i].gfn + page),
				   page + 1);
		log_on(&rig);
		for (uint64_t page = 0; page < 1100; page += 7) {
			assert_int_equal(
				*(uint64_t *)(void *)(rig.host[0] +
						      page * TIDE_PAGE_SIZE),
				page + 1);
		}
		mrig_store(rig.vcpu[0], MRIG_GPA(cases[i].gfn + 700), 1);
		mrig_store(rig.vcpu[0], MRIG_GPA(cases[i].gfn), 1);
		mrig_store(rig.vcpu[1], MRIG_GPA(cases[i].gfn + 1099), 1);
		MRIG_EXPECT(&rig, 0, 0, 700, 1099);
		mrig_destroy(&rig);
	}
}

/* One host page behind two gfns, by two slots on the same memory: each slot's
 * log says what was written by its own gfns, and a page stays caught in one
 * when it is repaired in the other. */
static void test_alias_slots(void **state)
{
	struct mrig_config config = two_large;
	struct mrig rig;

	(void)state;
	config.areas[1] = (struct mrig_area){
		.id = 2, .gfn = ALIAS, .npages = 1024, .memory = MRIG_ALIAS
	};
	mrig_create(&rig, &config);
	mrig_store(rig.vcpu[0], PAGE(5), 1);
	mrig_store(rig.vcpu[0], MRIG_GPA(ALIAS + 5), 2);
	assert_int_equal(mrig_load(rig.vcpu[1], PAGE(5)), 2);
	/* Logged by one and not by the other: large here, small there. */
	log_on(&rig);
	mrig_store(rig.vcpu[0], MRIG_GPA(ALIAS + 5), 3);
	MRIG_EXPECT_NONE(&rig, 0);
	mrig_store(rig.vcpu[0], PAGE(5), 4);
	MRIG_EXPECT(&rig, 0, 5);
	assert_int_equal(leaf_of(&rig, 0, MRIG_GPA(ALIAS + 5)).level,
			 LARGE_LEVEL);
	assert_int_equal(mrig_flags(&rig, 1, MMU_REGION_LOG), 0);
	mrig_store(rig.vcpu[0], MRIG_GPA(ALIAS + 6), 5);
	mrig_store(rig.vcpu[0], PAGE(7), 5);
	MRIG_EXPECT(&rig, 0, 7);
	MRIG_EXPECT(&rig, 1, 6);
	mrig_store(rig.vcpu[0], PAGE(6), 6);
	mrig_store(rig.vcpu[0], MRIG_GPA(ALIAS + 7), 6);
	MRIG_EXPECT(&rig, 0, 6);
	MRIG_EXPECT(&rig, 1, 7);
	mrig_destroy(&rig);
}

/* One gfn behind two guest addresses, large in the guest's tables and small:
 * every way to it is protected. */
static void test_alias_gvas(void **state)
{
	static const enum tide_paging_mode modes[] = { TIDE_PAGING_X86_64,
						       TIDE_PAGING_SV39 };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct guest_tables tables;
		struct mrig rig;

		mrig_create(&rig, &two_large);
		tables_init(&tables, &rig, modes[i], MRIG_GPA(TABLES));
		(void)tables_map(&tables, GVA, PAGE(0), 2, PTE_WRITABLE);
		(void)tables_map(&tables, GVA + MRIG_LARGE, PAGE(5), 1,
				 PTE_WRITABLE);
		(void)tables_map(&tables, GVA + 2 * MRIG_LARGE, PAGE(5), 1,
				 PTE_WRITABLE);
		tables_load(&tables, rig.vcpu[1], 0);
		for (int round = 0; round < 3; round++) {
			if (round == 1)
				log_on(&rig);
			mrig_store(rig.vcpu[0], PAGE(5), 1);
			mrig_store(rig.vcpu[1], GVA + 0x5000, 2);
			mrig_store(rig.vcpu[1], GVA + MRIG_LARGE, 3);
			mrig_store(rig.vcpu[1], GVA + 2 * MRIG_LARGE, 4);
			if (round)
				MRIG_EXPECT(&rig, 0, 5);
		}
		mrig_store(rig.vcpu[1], GVA + 0x5000, 5);
		MRIG_EXPECT(&rig, 0, 5);
		mrig_store(rig.vcpu[1], GVA + 2 * MRIG_LARGE, 6);
		MRIG_EXPECT(&rig, 0, 5);
		assert_int_equal(mrig_load(rig.vcpu[0], PAGE(5)), 6);
		mrig_destroy(&rig);
	}
}

/* Fails when a page that becomes a guest table lies in a large leaf that stays
 * writable, or when the large leaf does not come back at all. */
static void test_table_in_large(void **state)
{
	struct guest_tables tables;
	struct mrig rig;
	uint64_t entry;

	(void)state;
	mrig_create(&rig, &two_large);
	tables_init(&tables, &rig, TIDE_PAGING_X86_64, PAGE(8));
	entry = tables_map(&tables, GVA, PAGE(600), 1, PTE_WRITABLE);
	mrig_poke(&rig, PAGE(600), 600);
	mrig_poke(&rig, PAGE(601), 601);
	mrig_store(rig.vcpu[0], PAGE(5), 1);
	assert_true(is_large(&rig, 5));
	tables_load(&tables, rig.vcpu[1], 0);
	assert_int_equal(mrig_load(rig.vcpu[1], GVA), 600);
	assert_false(is_large(&rig, 5));
	mrig_store(rig.vcpu[0], entry,
		   tables_leaf(TIDE_PAGING_X86_64, PAGE(601), 1, 0));
	assert_int_equal(mrig_load(rig.vcpu[1], GVA), 601);
	assert_int_equal(mrig_stats(&rig).writes_emulated, 1);
	mrig_destroy(&rig);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CLAIM("K12 no bit of a leaf in what became a table", test_k12),
		CLAIM("K13 CLEAR splits its own large page, and no other",
		      test_k13),
		CLAIM("K14 a large leaf of a logged slot is never made "
		      "writable by the fast path",
		      test_k14),
		CLAIM("K15 a mask over two large pages protects both",
		      test_k15),
		CLAIM("K24 a large translation does not survive the split",
		      test_k24),
		CLAIM("K27 on, off, on: large leaves only while it is off",
		      test_k27),
		CLAIM("K27 the same with writers", test_k27_writers),
		CLAIM("K30 a running vCPU is told before logging counts as on",
		      test_k30),
		CLAIM("K30 what is written while logging comes on is logged",
		      test_flag_first),
		CLAIM("K54 no large leaf where it does not fit", test_k54),
		CLAIM("K54 memory and gfns that do not line up",
		      test_k54_skewed),
		CLAIM("two slots on the same memory have logs of their own",
		      test_alias_slots),
		CLAIM("every guest address of a page is protected",
		      test_alias_gvas),
		CLAIM("a table inside a large leaf is written through us",
		      test_table_in_large),
	};

	mrig_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
