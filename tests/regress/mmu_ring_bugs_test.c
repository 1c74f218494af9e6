/* SPDX-License-Identifier: MIT */
/*
 * mmu_ring_bugs_test.c - dirty rings of the software MMU: full, hostile, reset
 * while somebody looks away
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
#define PAGE(page) MRIG_GPA(RAM + (page))
#define ENTRIES 256u /* the smallest ring: a page of entries */
#define SOFT (ENTRIES - TIDE_RING_RESERVED)

static const struct mrig_config rings = {
	.areas = { { .id = 0,
		     .gfn = RAM,
		     .npages = 1024,
		     .flags = MMU_REGION_LOG },
		   { .id = 1,
		     .gfn = TABLES,
		     .npages = 32,
		     .flags = MMU_REGION_LOG } },
	.vcpus = 3,
	.ring_bytes = ENTRIES * sizeof(struct tide_ring_entry),
};

struct harvest {
	uint32_t count;
	uint32_t slot[4096];
	uint64_t offset[4096];
};

static void note(void *opaque, uint32_t slot, uint64_t offset)
{
	struct harvest *harvest = opaque;

	assert_true(harvest->count < 4096);
	harvest->slot[harvest->count] = slot;
	harvest->offset[harvest->count++] = offset;
}

static bool harvest_has(const struct harvest *harvest, uint32_t slot,
			uint64_t offset)
{
	for (uint32_t i = 0; i < harvest->count; i++) {
		if (harvest->slot[i] == slot && harvest->offset[i] == offset)
			return true;
	}
	return false;
}

/* Collect, then reset. */
static void harvest_all(struct mrig *rig, struct harvest *harvest)
{
	int entries;

	harvest->count = 0;
	entries = mmu_collect_dirty_rings(rig->mmu, note, harvest);
	assert_int_equal(entries, harvest->count);
	assert_int_equal(mmu_reset_dirty_rings(rig->mmu), entries);
}

/* K2 with a ring: the entry is harvested and reset between mark and commit. */
static void test_k2(void **state)
{
	static struct harvest harvest;
	struct access store;
	struct actor writer;
	struct mrig rig;

	(void)state;
	mrig_create(&rig, &rings);
	mrig_store(rig.vcpu[0], PAGE(3), 1);
	harvest_all(&rig, &harvest);
	store = (struct access){ rig.vcpu[0], PAGE(3), 2, -1 };
	actor_start(&writer, "fast_fault.commit", run_store, &store);
	harvest_all(&rig, &harvest);
	assert_true(harvest_has(&harvest, 0, 3));
	assert_int_equal(mrig_peek(&rig, PAGE(3)), 1);
	actor_end(&writer);
	assert_int_equal(store.result, 0);
	harvest_all(&rig, &harvest);
	assert_true(harvest_has(&harvest, 0, 3));
	mrig_destroy(&rig);
}

/* Fails when the harvester sees an entry before its fields are there. */
static void test_k42(void **state)
{
	static struct harvest harvest;
	struct access store;
	struct actor writer;
	struct mrig rig;

	(void)state;
	mrig_create(&rig, &rings);
	/* The ring has been round once: every entry has old fields. */
	for (uint64_t i = 0; i < 2 * ENTRIES; i++) {
		mrig_store(rig.vcpu[0], PAGE(i), 1);
		if (i % 64 == 63)
			harvest_all(&rig, &harvest);
	}
	store = (struct access){ rig.vcpu[0], PAGE(700), 2, -1 };
	/* Held where it publishes, if it does so too early. */
	actor_begin(&writer, "ring.push", run_store, &store);
	(void)actor_wait(&writer);
	harvest.count = 0;
	(void)mmu_collect_dirty_rings(rig.mmu, note, &harvest);
	assert_true(harvest.count == 0 ||
		    (harvest.count == 1 && harvest.offset[0] == 700));
	actor_end(&writer);
	(void)mmu_collect_dirty_rings(rig.mmu, note, &harvest);
	assert_int_equal(harvest.count, 1);
	assert_int_equal(harvest.offset[0], 700);
	assert_int_equal(mmu_reset_dirty_rings(rig.mmu), 1);
	mrig_destroy(&rig);
}

/* Fails when the limit is looked at on enter only, or not there: a vCPU in
 * guest mode would run over its ring's end. */
static void test_k43(void **state)
{
	static struct harvest harvest;
	struct tide_vcpu *vcpu;
	struct mrig rig;
	uint64_t page = 0;
	int why;

	(void)state;
	mrig_create(&rig, &rings);
	vcpu = rig.vcpu[0];
	assert_int_equal(tide_vcpu_enter(vcpu), 0);
	while (!(why = tide_vcpu_store(vcpu, PAGE(page), 8, page + 1)))
		assert_true(++page < ENTRIES);
	assert_int_equal(why, TIDE_EXIT_RING_FULL);
	assert_int_equal(page, SOFT);
	assert_int_equal(mrig_peek(&rig, PAGE(page)), 0); /* not made */
	assert_int_equal(tide_vcpu_enter(vcpu), TIDE_EXIT_RING_FULL);
	/* Collecting is not enough: what it may use again comes by reset. */
	harvest.count = 0;
	(void)mmu_collect_dirty_rings(rig.mmu, note, &harvest);
	assert_int_equal(tide_vcpu_enter(vcpu), TIDE_EXIT_RING_FULL);
	assert_int_equal(mmu_reset_dirty_rings(rig.mmu), SOFT);
	mrig_store(vcpu, PAGE(page), 1);
	harvest_all(&rig, &harvest);
	assert_int_equal(harvest.count, 1);
	mrig_destroy(&rig);
}

/* T7: a fault that is sent round again and again, each time after it has set
 * bits in the guest's tables, which are logged: it must leave before the ring
 * is over-full.  Fails when the limit is looked at once for each access. */
static void test_k43_rounds(void **state)
{
	const uint64_t clean = tables_leaf(TIDE_PAGING_X86_64, PAGE(3), 1,
					   PTE_WRITABLE | PTE_CLEAN);
	struct guest_tables tables;
	struct access store;
	struct actor writer;
	struct mrig rig;
	uint64_t entry;
	int rounds = 0;

	(void)state;
	mrig_create(&rig, &rings);
	tables_init(&tables, &rig, TIDE_PAGING_X86_64, MRIG_GPA(TABLES));
	entry = tables_map(&tables, GVA, PAGE(3), 1, PTE_WRITABLE | PTE_CLEAN);
	tables_load(&tables, rig.vcpu[0], 0);
	store = (struct access){ rig.vcpu[0], GVA, 1, -1 };
	actor_start(&writer, "slow_fault.resolved", run_store, &store);
	do {
		mrig_poke(&rig, entry, clean);
	} while (++rounds < 1000 && actor_on(&writer, "slow_fault.resolved"));
	actor_end(&writer);
	assert_true(store.result == 0 || store.result == TIDE_EXIT_RING_FULL);
	mrig_destroy(&rig);
}

/* Fails when a reset of nothing protects something, or flushes for it. */
static void test_k44(void **state)
{
	static struct harvest harvest;
	struct spte_walk walk;
	struct mrig rig;
	uint64_t flushes;

	(void)state;
	mrig_create(&rig, &rings);
	mrig_store(rig.vcpu[0], PAGE(0), 1);
	flushes = mrig_stats(&rig).flushes;
	assert_int_equal(mmu_reset_dirty_rings(rig.mmu), 0);
	assert_true(mrig_walk(&rig, 0, PAGE(0), &walk));
	assert_true(walk.spte & SPTE_W);
	assert_int_equal(mrig_stats(&rig).flushes, flushes);
	harvest_all(&rig, &harvest);
	assert_true(mrig_walk(&rig, 0, PAGE(0), &walk));
	assert_false(walk.spte & SPTE_W);
	assert_int_equal(mrig_stats(&rig).flushes, flushes + 1);
	mrig_destroy(&rig);
}

static void run_reset(void *opaque)
{
	struct get *get = opaque;

	get->result = mmu_reset_dirty_rings(get->rig->mmu);
}

/* Fails when a second reset, which finds nothing, returns before the first has
 * protected and flushed. */
static void test_k46(void **state)
{
	static struct harvest harvest;
	struct get one, two;
	struct actor first, second;
	struct mrig rig;

	(void)state;
	mrig_create(&rig, &rings);
	mrig_store(rig.vcpu[0], PAGE(3), 1);
	harvest.count = 0;
	(void)mmu_collect_dirty_rings(rig.mmu, note, &harvest);
	one = two = (struct get){ .rig = &rig };
	actor_start(&first, "reset.protected", run_reset, &one);
	actor_begin(&second, NULL, run_reset, &two);
	for (int i = 0; i < 1000; i++)
		(void)sched_yield();
	assert_false(actor_has_ended(&second));
	actor_end(&first);
	actor_end(&second);
	assert_int_equal(one.result, 1);
	assert_int_equal(two.result, 0);
	mrig_destroy(&rig);
}

/* What stands in a ring that is shared memory: any numbers at all.  Fails when
 * they are used before they are looked at (K47), or when one that is out of
 * range takes its neighbours with it (K48). */
static void test_k47_k48(void **state)
{
	static const struct {
		uint32_t slot;
		uint64_t offset;
	} wild[] = { { 0, 0xffffffffffffffc1ull },
		     { 0, 0 },
		     { 7, 3 },
		     { 0xffffffff, 3 },
		     { 0, 1024 },
		     { 0, 1 },
		     { 0, 0x7fffffffffffffffull },
		     { 2u << 16, 3 },
		     { 32764, 1 },
		     { 0, 1023 },
		     { 1, 31 },
		     { 1, 32 },
		     { 1, 33 } };
	struct tide_ring *ring;
	struct spte_walk walk;
	struct mrig rig;

	(void)state;
	mrig_create(&rig, &rings);
	for (uint32_t i = 0; i < 13; i++)
		mrig_store(rig.vcpu[0], PAGE(100 + i), 1);
	mrig_store(rig.vcpu[1], PAGE(0), 1);
	mrig_store(rig.vcpu[1], PAGE(1), 1);
	mrig_store(rig.vcpu[1], PAGE(1023), 1);
	mrig_store(rig.vcpu[1], MRIG_GPA(TABLES + 31), 1);
	ring = mmu_vcpu_ring(rig.vcpu[0]);
	for (uint32_t i = 0; i < 13; i++) {
		struct tide_ring_entry *entry = &ring->entries[i];

		/* Relaxed: nothing else runs. */
		atomic_store_explicit(&entry->slot, wild[i].slot,
				      memory_order_relaxed);
		/* Relaxed: as above. */
		atomic_store_explicit(&entry->offset, wild[i].offset,
				      memory_order_relaxed);
		/* Relaxed: as above. */
		atomic_store_explicit(&entry->flags,
				      TIDE_RING_F_DIRTY | TIDE_RING_F_RESET,
				      memory_order_relaxed);
	}
	assert_int_equal(mmu_reset_dirty_rings(rig.mmu), 13);
	/* The good ones are protected. */
	assert_true(mrig_walk(&rig, 1, PAGE(0), &walk));
	assert_false(walk.spte & SPTE_W);
	assert_true(mrig_walk(&rig, 1, PAGE(1), &walk));
	assert_false(walk.spte & SPTE_W);
	assert_true(mrig_walk(&rig, 1, PAGE(1023), &walk));
	assert_false(walk.spte & SPTE_W);
	assert_true(mrig_walk(&rig, 1, MRIG_GPA(TABLES + 31), &walk));
	assert_false(walk.spte & SPTE_W);
	assert_true(mrig_walk(&rig, 0, PAGE(100), &walk));
	assert_true(walk.spte & SPTE_W);
	mrig_destroy(&rig);
}

/* Fails when a write without a vCPU is in no log. */
static void test_k49(void **state)
{
	static struct harvest harvest;
	struct mrig rig;

	(void)state;
	mrig_create(&rig, &rings);
	mrig_poke(&rig, PAGE(7), 1);
	mrig_store(rig.vcpu[0], PAGE(8), 1);
	harvest_all(&rig, &harvest);
	assert_int_equal(harvest.count, 1);
	MRIG_EXPECT(&rig, 0, 7);
	/* Not by the bitmap: that page is the ring's. */
	mrig_store(rig.vcpu[0], PAGE(9), 1);
	MRIG_EXPECT_NONE(&rig, 0);
	mrig_destroy(&rig);
}

/* Fails when logging comes on with "initially all set", which protects nothing
 * since every bit is set, and there is no bit because there are rings. */
static void test_k50(void **state)
{
	static struct harvest harvest;
	struct mrig_config config = rings;
	struct mrig rig;

	(void)state;
	config.areas[0].flags = 0;
	mrig_create(&rig, &config);
	mrig_store(rig.vcpu[0], PAGE(5), 1);
	harvest_all(&rig, &harvest);
	assert_int_equal(
		mmu_enable_manual_protect(
			rig.mmu, MMU_MANUAL_ENABLE | MMU_MANUAL_INITIALLY_SET),
		0);
	assert_int_equal(mrig_flags(&rig, 0, MMU_REGION_LOG), 0);
	mrig_store(rig.vcpu[0], PAGE(5), 2);
	harvest_all(&rig, &harvest);
	assert_true(harvest_has(&harvest, 0, 5) ||
		    (mrig_get(&rig, 0) && mrig_bit(&rig, 5)));
	mrig_destroy(&rig);
}

/* Fails when what is written between collect and reset is lost: the page is
 * read after reset, and it must be caught from then on. */
static void test_k51(void **state)
{
	static struct harvest harvest;
	struct access in_guest;
	struct actor writer, resetter;
	struct get reset;
	struct mrig rig;

	(void)state;
	mrig_create(&rig, &rings);
	in_guest = (struct access){ rig.vcpu[0], PAGE(3), 1, -1 };
	actor_start(&writer, "guest", run_in_guest, &in_guest);
	harvest.count = 0;
	(void)mmu_collect_dirty_rings(rig.mmu, note, &harvest);
	assert_true(harvest_has(&harvest, 0, 3));
	reset = (struct get){ .rig = &rig };
	actor_start(&resetter, "flush.requested", run_reset, &reset);
	actor_go(&resetter);
	assert_true(actor_on(&writer, "guest.late")); /* writes 2 */
	assert_false(actor_has_ended(&resetter));
	actor_end(&writer);
	actor_end(&resetter);
	assert_int_equal(mrig_peek(&rig, PAGE(3)), 2);
	mrig_store(rig.vcpu[0], PAGE(3), 3);
	harvest_all(&rig, &harvest);
	assert_int_equal(harvest.count, 1);
	mrig_destroy(&rig);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CLAIM("K2 a page is not writable by an entry that was reset",
		      test_k2),
		CLAIM("K42 an entry is seen with its fields", test_k42),
		CLAIM("K43 a vCPU in guest mode stops before its ring is full",
		      test_k43),
		CLAIM("K43 so does one whose fault goes round and round",
		      test_k43_rounds),
		CLAIM("K44 a reset of nothing does nothing", test_k44),
		CLAIM("K46 a reset that finds nothing waits for the other's "
		      "flush",
		      test_k46),
		CLAIM("K47 K48 wild entries are dropped, and nothing else",
		      test_k47_k48),
		CLAIM("K49 a write without a vCPU goes to the bitmap",
		      test_k49),
		CLAIM("K50 rings and initially all set lose nothing", test_k50),
		CLAIM("K51 what is written until reset returns is read or "
		      "caught",
		      test_k51),
	};

	mrig_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
