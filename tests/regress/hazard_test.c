/* SPDX-License-Identifier: MIT */
/*
 * hazard_test.c - the three hazards of a fast page fault (thread 2), and what
 * stands around them
 *
 * Each test holds one side between two steps and lets the other run.  Each
 * fails when its guard is taken out: tests/regress/guards.
 */
#undef NDEBUG
#include <errno.h>

#include "mmu_stage.h"

#define RAM 0x400u
#define TABLES 0x1000u
#define OTHER 0x2000u
#define GVA 0x40000000ull
#define PAGE(area_gfn, page) MRIG_GPA((area_gfn) + (page))

static const enum tide_paging_mode modes[] = { TIDE_PAGING_X86_64,
					       TIDE_PAGING_SV39 };

#define EACH_MODE(mode)                                                   \
	for (const enum tide_paging_mode *mode = modes; mode < modes + 2; \
	     mode++)

/* Logged RAM on a backing, and tables beside it. */
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

/* Logged RAM, the same memory once more in another slot, and tables. */
static const struct mrig_config aliased = {
	.areas = { { .id = 0,
		     .gfn = RAM,
		     .npages = 64,
		     .flags = MMU_REGION_LOG },
		   { .id = 2,
		     .gfn = OTHER,
		     .npages = 64,
		     .flags = MMU_REGION_LOG,
		     .memory = MRIG_ALIAS },
		   { .id = 1, .gfn = TABLES, .npages = 32 } },
	.vcpus = 3,
};

/* vCPUs 0 and 1 see page @page at GVA; vCPU 2 is in direct mode.
 * Return: gpa of GVA's entry. */
static uint64_t guest_create(struct mrig *rig, const struct mrig_config *config,
			     enum tide_paging_mode mode, uint64_t page)
{
	struct guest_tables tables;
	uint64_t entry;

	mrig_create(rig, config);
	tables_init(&tables, rig, mode, MRIG_GPA(TABLES));
	entry = tables_map(&tables, GVA, PAGE(RAM, page), 1, PTE_WRITABLE);
	tables_load(&tables, rig->vcpu[0], 0);
	tables_load(&tables, rig->vcpu[1], 0);
	return entry;
}

static uint64_t spte_of(struct mrig *rig, int vcpu)
{
	struct spte_walk walk;

	assert_true(mrig_walk(rig, vcpu, GVA, &walk));
	assert_int_equal(walk.level, 1);
	return walk.spte;
}

static void remap(struct mrig *rig, uint64_t entry, enum tide_paging_mode mode,
		  uint64_t gpa)
{
	mrig_poke(rig, entry, tables_leaf(mode, gpa, 1, PTE_WRITABLE));
}

/* 1: gfn and frame */

/* Fails when the gfn that is marked was not read under the claim: the entry
 * has the value that was read, and maps another gfn. */
static void test_aba_swapped(void **state)
{
	(void)state;
	EACH_MODE(mode)
	{
		struct mrig rig;
		uint64_t entry = guest_create(&rig, &backed, *mode, 3), before;
		struct access store = { rig.vcpu[0], GVA, 77, -1 };
		struct actor fixer;

		mrig_store(rig.vcpu[0], GVA, 1);
		MRIG_EXPECT(&rig, 0, 3);
		before = spte_of(&rig, 0);
		actor_start(&fixer, "fast_fault.read", run_store, &store);
		/* gfn 3's frame becomes gfn 9's. */
		assert_true(mrig_swap_out(&rig, 3));
		remap(&rig, entry, *mode, PAGE(RAM, 9));
		mrig_store(rig.vcpu[1], GVA, 2);
		MRIG_EXPECT(&rig, 0, 9);
		assert_int_equal(spte_of(&rig, 1), before);
		actor_end(&fixer);
		assert_int_equal(store.result, 0);
		assert_int_equal(mrig_peek(&rig, PAGE(RAM, 9)), 77);
		assert_int_equal(mrig_peek(&rig, PAGE(RAM, 3)), 1);
		MRIG_EXPECT(&rig, 0, 9);
		mrig_destroy(&rig);
	}
}

/* The same with two gfns on one frame, where the pin says nothing: held after
 * the read, and between mark and commit.  Fails when the commit does not ask
 * for the claim. */
static void alias(enum tide_paging_mode mode, const char *where)
{
	struct mrig rig;
	uint64_t entry = guest_create(&rig, &aliased, mode, 3), before;
	struct access store = { rig.vcpu[0], GVA, 77, -1 };
	struct actor fixer;

	mrig_store(rig.vcpu[0], GVA, 1);
	MRIG_EXPECT(&rig, 0, 3);
	before = spte_of(&rig, 0);
	actor_start(&fixer, where, run_store, &store);
	remap(&rig, entry, mode, PAGE(OTHER, 3));
	mrig_store(rig.vcpu[1], GVA, 2);
	MRIG_EXPECT(&rig, 1, 3);
	assert_int_equal(spte_of(&rig, 1), before);
	actor_end(&fixer);
	assert_int_equal(store.result, 0);
	assert_int_equal(mrig_peek(&rig, PAGE(OTHER, 3)), 77);
	MRIG_EXPECT(&rig, 1, 3);
	mrig_destroy(&rig);
}

static void test_aba_alias_read(void **state)
{
	(void)state;
	EACH_MODE(mode) alias(*mode, "fast_fault.read");
}

static void test_aba_alias_claimed(void **state)
{
	(void)state;
	EACH_MODE(mode)
	{
		alias(*mode, "fast_fault.claimed");
		alias(*mode, "fast_fault.commit");
	}
}

/* Fails without the pin. */
static void test_pinned_stays(void **state)
{
	(void)state;
	EACH_MODE(mode)
	{
		struct mrig rig;
		struct access store;
		struct actor fixer;

		(void)guest_create(&rig, &backed, *mode, 3);
		store = (struct access){ rig.vcpu[0], GVA, 77, -1 };
		mrig_store(rig.vcpu[0], GVA, 1);
		MRIG_EXPECT(&rig, 0, 3);
		actor_start(&fixer, "fast_fault.claimed", run_store, &store);
		assert_false(mrig_swap_out(&rig, 3));
		actor_end(&fixer);
		assert_int_equal(store.result, 0);
		assert_true(mrig_swap_out(&rig, 3));
		assert_int_equal(mrig_peek(&rig, PAGE(RAM, 3)), 77);
		MRIG_EXPECT(&rig, 0, 3);
		mrig_destroy(&rig);
	}
}

/* Fails when a pin is taken of a frame that two pages share: the write would
 * be seen in both. */
static void test_merged_is_not_pinned(void **state)
{
	struct mrig rig;
	struct access store;
	struct actor fixer;

	(void)state;
	(void)guest_create(&rig, &backed, TIDE_PAGING_X86_64, 3);
	store = (struct access){ rig.vcpu[0], GVA, 77, -1 };
	mrig_store(rig.vcpu[0], GVA, 1);
	mrig_poke(&rig, PAGE(RAM, 4), 1);
	(void)mrig_get(&rig, 0);
	actor_start(&fixer, "fast_fault.read", run_store, &store);
	assert_int_equal(tide_backing_merge(rig.backing, 3, 2), 1);
	assert_int_equal(mrig_load(rig.vcpu[1], GVA), 1);
	actor_end(&fixer);
	assert_int_equal(store.result, 0);
	assert_int_equal(mrig_peek(&rig, PAGE(RAM, 3)), 77);
	assert_int_equal(mrig_peek(&rig, PAGE(RAM, 4)), 1);
	MRIG_EXPECT(&rig, 0, 3);
	mrig_destroy(&rig);
}

/* 2: the flush that MMU_WRITABLE asks for, and not W */

/* The page of tables that holds @gpa is written by vCPU 2, which keeps its
 * translation; GET takes W away and does not flush yet; vCPU 1 makes the page
 * a table of its own; vCPU 2 writes by what it has.
 * Fails when protecting a table flushes only if W was set, or when the flush
 * comes after the shadow has been filled for good. */
static void stale_table_write(enum tide_paging_mode mode, const char *where)
{
	struct mrig rig;
	struct mrig_config config = aliased;
	struct guest_tables tables;
	struct access in_guest, load;
	struct actor writer, getter, walker;
	struct get get;
	uint64_t entry;

	config.areas[2].flags = MMU_REGION_LOG;
	mrig_create(&rig, &config);
	tables_init(&tables, &rig, mode, MRIG_GPA(TABLES));
	entry = tables_map(&tables, GVA, PAGE(RAM, 3), 1, PTE_WRITABLE);
	mrig_poke(&rig, PAGE(RAM, 3), 33);
	mrig_poke(&rig, PAGE(RAM, 9), 99);
	tables_load(&tables, rig.vcpu[1], 0);

	/* The second store makes it page 9. */
	in_guest = (struct access){ rig.vcpu[2], entry, 0, -1 };
	in_guest.value = tables_leaf(mode, PAGE(RAM, 9), 1, PTE_WRITABLE) - 1;
	actor_start(&writer, "guest", run_in_guest, &in_guest);
	mrig_poke(&rig, entry,
		  tables_leaf(mode, PAGE(RAM, 3), 1, PTE_WRITABLE));
	get = (struct get){ .rig = &rig, .area = 2 };
	actor_start(&getter, where, run_get, &get);

	load = (struct access){ rig.vcpu[1], GVA, 0, -1 };
	actor_begin(&walker, "flush.requested", run_load, &load);
	(void)actor_wait(&walker);
	actor_go(&walker);
	/* vCPU 2 has passed no safe point since its first store. */
	assert_true(actor_on(&writer, "guest.late"));
	actor_end(&writer);
	actor_end(&getter);
	actor_end(&walker);
	assert_int_equal(get.result, 0);
	assert_int_equal(load.result, 0);
	assert_int_equal(in_guest.result, 0);
	assert_true(load.value == 33 || load.value == 99);
	assert_int_equal(mrig_load(rig.vcpu[1], GVA), 99);
	mrig_destroy(&rig);
}

static void test_stale_table_write(void **state)
{
	(void)state;
	EACH_MODE(mode) stale_table_write(*mode, "get.protected");
}

/* Fails when a page that becomes a table keeps MMU_WRITABLE where W is clear
 * already: the fast page fault would make the table writable (K5). */
static void test_table_is_not_repaired(const char *where)
{
	EACH_MODE(mode)
	{
		struct mrig rig;
		struct mrig_config config = aliased;
		struct guest_tables tables;
		struct access store = { .result = -1 };
		struct actor fixer;

		config.areas[2].flags = MMU_REGION_LOG;
		mrig_create(&rig, &config);
		tables_init(&tables, &rig, *mode, MRIG_GPA(TABLES));
		store.gva =
			tables_map(&tables, GVA, PAGE(RAM, 3), 1, PTE_WRITABLE);
		store.vcpu = rig.vcpu[2];
		store.value = tables_leaf(*mode, PAGE(RAM, 9), 1, PTE_WRITABLE);
		mrig_poke(&rig, PAGE(RAM, 9), 99);
		/* Mapped for vCPU 2, and protected by GET. */
		mrig_store(rig.vcpu[2], store.gva,
			   tables_leaf(*mode, PAGE(RAM, 3), 1, PTE_WRITABLE));
		assert_true(mrig_get(&rig, 2) > 0);
		if (where)
			actor_start(&fixer, where, run_store, &store);
		tables_load(&tables, rig.vcpu[1], 0);
		assert_int_equal(mrig_load(rig.vcpu[1], GVA), 0);
		if (where)
			actor_end(&fixer);
		else
			run_store(&store);
		assert_int_equal(store.result, 0);
		assert_int_equal(mrig_load(rig.vcpu[1], GVA), 99);
		mrig_destroy(&rig);
	}
}

static void test_k5(void **state)
{
	(void)state;
	test_table_is_not_repaired(NULL);
}

static void test_k5_claimed(void **state)
{
	(void)state;
	test_table_is_not_repaired("fast_fault.read");
	test_table_is_not_repaired("fast_fault.claimed");
	test_table_is_not_repaired("fast_fault.commit");
}

/* Fails when a GET may return while another one's flush is still to come
 * (K9): the second finds nothing to do, and must not say so too early. */
static void test_k9(void **state)
{
	struct mrig rig;
	struct access in_guest;
	struct actor writer, first, second;
	struct get one, two;

	(void)state;
	mrig_create(&rig, &aliased);
	in_guest = (struct access){ rig.vcpu[2], PAGE(RAM, 3), 1, -1 };
	actor_start(&writer, "guest", run_in_guest, &in_guest);
	one = two = (struct get){ .rig = &rig };
	actor_start(&first, "get.protected", run_get, &one);
	actor_begin(&second, NULL, run_get, &two);
	for (int i = 0; i < 1000; i++)
		(void)sched_yield();
	assert_false(actor_has_ended(&second));
	actor_go(&first);
	for (int i = 0; i < 1000; i++)
		(void)sched_yield();
	assert_false(actor_has_ended(&first));
	assert_false(actor_has_ended(&second));
	/* Written after both have protected; in the first's snapshot, which
	 * is not handed out yet. */
	actor_end(&writer);
	actor_end(&first);
	actor_end(&second);
	assert_int_equal(one.result, 0);
	assert_int_equal(one.words[0], 1u << 3);
	assert_int_equal(two.words[0], 0);
	assert_int_equal(mrig_peek(&rig, PAGE(RAM, 3)), 2);
	mrig_store(rig.vcpu[2], PAGE(RAM, 3), 3);
	MRIG_EXPECT(&rig, 0, 3);
	mrig_destroy(&rig);
}

/* Fails when GET returns before every vCPU has let go. */
static void test_flush_is_waited_for(void **state)
{
	struct mrig_config config = aliased;
	struct mrig rig;
	struct access in_guest;
	struct actor writer;

	(void)state;
	config.flush_timeout_ms = 20;
	mrig_create(&rig, &config);
	in_guest = (struct access){ rig.vcpu[2], PAGE(RAM, 3), 1, -1 };
	actor_start(&writer, "guest", run_in_guest, &in_guest);
	/* Nobody lets vCPU 2 go on, so there is one answer only; and the bit
	 * is not lost by it. */
	assert_int_equal(mmu_get_dirty_log(rig.mmu, 0, rig.words), -ETIMEDOUT);
	actor_end(&writer);
	MRIG_EXPECT(&rig, 0, 3);
	assert_int_equal(mrig_peek(&rig, PAGE(RAM, 3)), 2);
	mrig_destroy(&rig);
}

/* Fails when a frame is taken before every vCPU has let go of it. */
static void test_invalidate_flushes(void **state)
{
	struct mrig_config config = backed;
	struct mrig rig;
	struct access in_guest;
	struct actor writer;

	(void)state;
	config.flush_timeout_ms = 20;
	mrig_create(&rig, &config);
	in_guest = (struct access){ rig.vcpu[2], PAGE(RAM, 3), 1, -1 };
	actor_start(&writer, "guest", run_in_guest, &in_guest);
	assert_int_equal(tide_backing_swap_out(rig.backing, 3, 1), -ETIMEDOUT);
	actor_end(&writer);
	assert_int_equal(in_guest.result, 0);
	assert_int_equal(mrig_peek(&rig, PAGE(RAM, 3)), 2);
	assert_true(mrig_swap_out(&rig, 3));
	assert_int_equal(mrig_peek(&rig, PAGE(RAM, 3)), 2);
	mrig_destroy(&rig);
}

/* 3: what others change in an entry meanwhile */

/* Page 3 is in its frame and in the swap file, and mapped writable, not
 * dirty: if D is lost, the backing drops the frame. */
static void make_clean(struct mrig *rig, uint32_t flags)
{
	struct mrig_config config = backed;
	struct spte_walk walk;

	config.areas[0].flags = flags;
	mrig_create(rig, &config);
	mrig_store(rig->vcpu[2], PAGE(RAM, 3), 1);
	assert_true(mrig_swap_out(rig, 3));
	assert_int_equal(mrig_load(rig->vcpu[2], PAGE(RAM, 3)), 1);
	assert_true(mrig_walk(rig, 2, PAGE(RAM, 3), &walk));
	assert_int_equal(walk.spte & (SPTE_W | SPTE_D), SPTE_W);
}

static void run_swap_out(void *opaque)
{
	(void)mrig_swap_out(opaque, 3);
}

/* Fails when an entry is dropped by a read and a store of 0. */
static void test_d_survives_drop(void **state)
{
	struct mrig rig;
	struct actor swapper;

	(void)state;
	make_clean(&rig, 0);
	actor_start(&swapper, "entry.drop", run_swap_out, &rig);
	mrig_store(rig.vcpu[2], PAGE(RAM, 3), 2);
	actor_end(&swapper);
	assert_int_equal(mrig_load(rig.vcpu[2], PAGE(RAM, 3)), 2);
	mrig_destroy(&rig);
}

static void run_log_on(void *opaque)
{
	assert(!mrig_flags(opaque, 0, MMU_REGION_LOG));
}

/* Fails when W is taken away by a read and a store. */
static void test_d_survives_protect(void **state)
{
	struct mrig rig;
	struct actor logger;

	(void)state;
	make_clean(&rig, 0);
	actor_start(&logger, "protect.page", run_log_on, &rig);
	mrig_store(rig.vcpu[2], PAGE(RAM, 3), 2);
	actor_end(&logger);
	assert_true(mrig_swap_out(&rig, 3));
	assert_int_equal(mrig_load(rig.vcpu[2], PAGE(RAM, 3)), 2);
	mrig_destroy(&rig);
}

/* K6 from the other side.  Fails when a TLB fill sets D in an entry that is
 * gone: its write goes to a frame that nobody knows to be dirty. */
static void test_fill_of_dropped(void **state)
{
	struct mrig rig;
	struct access store;
	struct actor writer, swapper;

	(void)state;
	make_clean(&rig, 0);
	store = (struct access){ rig.vcpu[2], PAGE(RAM, 3), 2, -1 };
	actor_start(&writer, "tlb_fill.read", run_store, &store);
	actor_start(&swapper, "flush.requested", run_swap_out, &rig);
	actor_go(&swapper); /* and waits for vCPU 2 */
	actor_end(&writer);
	actor_end(&swapper);
	assert_int_equal(store.result, 0);
	assert_int_equal(mrig_load(rig.vcpu[2], PAGE(RAM, 3)), 2);
	(void)mrig_swap_out(&rig, 3);
	assert_int_equal(mrig_load(rig.vcpu[2], PAGE(RAM, 3)), 2);
	mrig_destroy(&rig);
}

/* The same with logging in place of swap.  Fails when the fill makes the
 * entry what it was, and W comes back unseen. */
static void test_fill_of_protected(void **state)
{
	struct mrig rig;
	struct access store;
	struct actor writer, logger;

	(void)state;
	make_clean(&rig, 0);
	assert_int_equal(mrig_flags(&rig, 0, MMU_REGION_LOG), 0);
	mrig_store(rig.vcpu[2], PAGE(RAM, 3), 5);
	/* W and D; A is clear, so that the fill has something to set. */
	{
		struct spte_walk walk;

		assert_true(mrig_walk(&rig, 2, PAGE(RAM, 3), &walk));
		(void)spte_remove_bits(walk.sptep, SPTE_A);
		assert_int_equal(mmu_flush_all(rig.mmu), 0);
	}
	store = (struct access){ rig.vcpu[2], PAGE(RAM, 3), 6, -1 };
	actor_start(&writer, "tlb_fill.read", run_store, &store);
	{
		struct get get = { .rig = &rig };

		actor_start(&logger, "get.protected", run_get, &get);
		actor_go(&logger);
		actor_end(&writer);
		actor_end(&logger);
		assert_int_equal(get.result, 0);
		assert_int_equal(get.words[0], 1u << 3);
	}
	assert_int_equal(store.result, 0);
	assert_int_equal(mrig_peek(&rig, PAGE(RAM, 3)), 6);
	/* Written before the flush, so it is in that GET; or it faulted. */
	mrig_store(rig.vcpu[2], PAGE(RAM, 3), 7);
	(void)mrig_get(&rig, 0);
	assert_true(mrig_bit(&rig, 3));
	mrig_destroy(&rig);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CLAIM("K3 a frame that went from gfn to gfn is marked as the "
		      "latter",
		      test_aba_swapped),
		CLAIM("K3 two gfns on one frame: the one that is mapped when "
		      "it is claimed is marked",
		      test_aba_alias_read),
		CLAIM("K3 two gfns on one frame: no commit after the entry "
		      "changed",
		      test_aba_alias_claimed),
		CLAIM("K3 a pinned page is not swapped out", test_pinned_stays),
		CLAIM("K3 a merged page is not repaired",
		      test_merged_is_not_pinned),
		CLAIM("K4 a page that becomes a table is flushed where W was "
		      "clear",
		      test_stale_table_write),
		CLAIM("K5 a page that is a table is not made writable by the "
		      "fast path",
		      test_k5),
		CLAIM("K5 nor by one that was on its way", test_k5_claimed),
		CLAIM("K9 a GET that finds nothing waits for the other's flush",
		      test_k9),
		CLAIM("a flush is waited for, and a bit is not lost with it",
		      test_flush_is_waited_for),
		CLAIM("a frame is not taken before everybody let go of it",
		      test_invalidate_flushes),
		CLAIM("K6 D that comes while an entry is dropped is not lost",
		      test_d_survives_drop),
		CLAIM("K6 D that comes while an entry is protected is not "
		      "lost",
		      test_d_survives_protect),
		CLAIM("K6 no D in an entry that was dropped meanwhile",
		      test_fill_of_dropped),
		CLAIM("K6 no W back in an entry that was protected meanwhile",
		      test_fill_of_protected),
	};

	mrig_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
