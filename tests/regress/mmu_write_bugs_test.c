/* SPDX-License-Identifier: MIT */
/*
 * mmu_write_bugs_test.c - every way to write: atomic, emulated, across pages,
 * by the host, by another address space, to page tables
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

static const enum tide_paging_mode modes[] = { TIDE_PAGING_X86_64,
					       TIDE_PAGING_SV39 };

#define EACH_MODE(mode)                                                   \
	for (const enum tide_paging_mode *mode = modes; mode < modes + 2; \
	     mode++)

/* Tables are logged too. */
static const struct mrig_config logged = {
	.areas = { { .id = 0,
		     .gfn = RAM,
		     .npages = 128,
		     .flags = MMU_REGION_LOG },
		   { .id = 1,
		     .gfn = TABLES,
		     .npages = 32,
		     .flags = MMU_REGION_LOG } },
	.vcpus = 4,
};

/* The tables of a guest that is running: vCPU 0 sees page 3 at GVA, page 4 at
 * the next page; vCPU 2 is in direct mode. */
struct guest {
	struct mrig rig;
	enum tide_paging_mode mode;
	uint64_t entry;	     /* gpa of GVA's */
	uint64_t table_page; /* where it lies in area 1 */
};

static void guest_create(struct guest *guest, const struct mrig_config *config,
			 enum tide_paging_mode mode)
{
	struct guest_tables tables;

	mrig_create(&guest->rig, config);
	guest->mode = mode;
	tables_init(&tables, &guest->rig, mode, MRIG_GPA(TABLES));
	guest->entry = tables_map(&tables, GVA, PAGE(3), 1, PTE_WRITABLE);
	(void)tables_map(&tables, GVA + 0x1000, PAGE(4), 1, PTE_WRITABLE);
	guest->table_page = (guest->entry >> 12) - TABLES;
	mrig_poke(&guest->rig, PAGE(3), 33);
	mrig_poke(&guest->rig, PAGE(9), 99);
	tables_load(&tables, guest->rig.vcpu[0], 0);
	tables_load(&tables, guest->rig.vcpu[1], 0);
	assert_int_equal(mrig_load(guest->rig.vcpu[0], GVA), 33);
	(void)mrig_get(&guest->rig, 0);
	(void)mrig_get(&guest->rig, 1);
}

static uint64_t leaf(const struct guest *guest, uint64_t page)
{
	return tables_leaf(guest->mode, PAGE(page), 1, PTE_WRITABLE);
}

static void cmpxchg(struct tide_vcpu *vcpu, uint64_t gva, uint64_t *expected,
		    uint64_t desired)
{
	assert_int_equal(tide_vcpu_enter(vcpu), 0);
	assert_int_equal(tide_vcpu_cmpxchg(vcpu, gva, 8, expected, desired), 0);
	(void)tide_vcpu_exit(vcpu);
}

/* Fails when an atomic instruction that is emulated, or one that compares
 * unequal, leaves no mark, or when the shadow does not follow it. */
static void test_k19(void **state)
{
	(void)state;
	EACH_MODE(mode)
	{
		struct guest guest;
		struct mrig *rig = &guest.rig;
		uint64_t expected, old;

		guest_create(&guest, &logged, *mode);
		expected = leaf(&guest, 3);
		cmpxchg(rig->vcpu[2], guest.entry, &expected, leaf(&guest, 9));
		assert_int_equal(expected, leaf(&guest, 3));
		MRIG_EXPECT(rig, 1, guest.table_page);
		assert_int_equal(mrig_load(rig->vcpu[0], GVA), 99);
		expected = 1;
		cmpxchg(rig->vcpu[2], guest.entry, &expected, 2);
		assert_int_equal(expected, leaf(&guest, 9));
		MRIG_EXPECT(rig, 1, guest.table_page);
		assert_int_equal(mrig_load(rig->vcpu[0], GVA), 99);

		/* The same by the fast path and the slow. */
		for (int round = 0; round < 2; round++) {
			expected = 12345;
			cmpxchg(rig->vcpu[2], PAGE(3), &expected, 2);
			MRIG_EXPECT(rig, 0, 3);
			assert_int_equal(tide_vcpu_enter(rig->vcpu[2]), 0);
			assert_int_equal(tide_vcpu_fetch_add(rig->vcpu[2],
							     PAGE(3), 8, 1,
							     &old),
					 0);
			(void)tide_vcpu_exit(rig->vcpu[2]);
			MRIG_EXPECT(rig, 0, 3);
		}
		mrig_destroy(rig);
	}
}

struct adder {
	struct tide_vcpu *vcpu;
	uint64_t gva, times;
};

static void run_adder(void *opaque)
{
	const struct adder *adder = opaque;
	uint64_t old;

	for (uint64_t i = 0; i < adder->times; i++) {
		assert(!tide_vcpu_enter(adder->vcpu));
		assert(!tide_vcpu_fetch_add(adder->vcpu, adder->gva, 8, 2,
					    &old));
		(void)tide_vcpu_exit(adder->vcpu);
	}
}

/* Two vCPUs add to one word of a page that is a table, then is none, then is
 * one again (write flooding gives it up, a walk takes it back).
 * Fails when an emulated atomic is a load and a store. */
static void test_k20(void **state)
{
	(void)state;
	EACH_MODE(mode)
	{
		struct guest guest;
		struct mrig *rig = &guest.rig;
		struct adder adders[2];
		struct actor actors[2];
		uint64_t word, times = 3000 * test_long();

		guest_create(&guest, &logged, *mode);
		/* An entry of nothing, at the table's end. */
		word = guest.entry / 4096 * 4096 + 4088;
		for (int i = 0; i < 2; i++) {
			adders[i] =
				(struct adder){ rig->vcpu[2 + i], word, times };
			actor_begin(&actors[i], NULL, run_adder, &adders[i]);
		}
		while (!actor_has_ended(&actors[0]) ||
		       !actor_has_ended(&actors[1])) {
			assert_int_equal(mrig_load(rig->vcpu[0], GVA), 33);
			assert_int_equal(mrig_load(rig->vcpu[0], GVA + 0x1000),
					 0);
		}
		actor_end(&actors[0]);
		actor_end(&actors[1]);
		assert_int_equal(mrig_peek(rig, word), 4 * times);
		(void)mrig_get(rig, 1);
		assert_true(mrig_bit(rig, guest.table_page));
		mrig_destroy(rig);
	}
}

/* Fails when a write by another address space is marked in this one's slot, or
 * in none. */
static void test_k21(void **state)
{
	struct mrig_config config = logged;
	struct tide_paging paging = { .address_space = 1 };
	struct mrig rig;

	(void)state;
	/* The same gfns, the same memory. */
	config.areas[1] = (struct mrig_area){ .id = 1u << 16,
					      .gfn = RAM,
					      .npages = 128,
					      .flags = MMU_REGION_LOG,
					      .memory = MRIG_ALIAS };
	mrig_create(&rig, &config);
	assert_int_equal(tide_vcpu_set_paging(rig.vcpu[1], &paging), 0);
	mrig_store(rig.vcpu[1], PAGE(3), 1);
	MRIG_EXPECT_NONE(&rig, 0);
	MRIG_EXPECT(&rig, 1, 3);
	mrig_store(rig.vcpu[0], PAGE(3), 2);
	MRIG_EXPECT(&rig, 0, 3);
	MRIG_EXPECT_NONE(&rig, 1);
	mrig_store(rig.vcpu[1], PAGE(3), 3);
	mrig_store(rig.vcpu[1], PAGE(4), 3);
	MRIG_EXPECT(&rig, 1, 3, 4);
	assert_int_equal(mrig_load(rig.vcpu[0], PAGE(4)), 3);
	mrig_poke(&rig, PAGE(5), 1); /* devices: space 0 */
	MRIG_EXPECT(&rig, 0, 5);
	MRIG_EXPECT_NONE(&rig, 1);
	mrig_destroy(&rig);
}

/* Writes to a table while its shadow is being made, by a device and by a vCPU.
 * Fails when neither sees the other: the shadow is made of an entry that was
 * read before, and is not told. */
static void test_k22(void **state)
{
	(void)state;
	EACH_MODE(mode)
	{
		for (int device = 0; device < 2; device++) {
			struct guest guest;
			struct mrig *rig = &guest.rig;
			struct access load;
			struct actor walker;
			struct tide_paging none = { 0 };
			struct guest_tables again = { rig, *mode,
						      MRIG_GPA(TABLES), 0 };

			guest_create(&guest, &logged, *mode);
			/* Nobody uses the tables: what they shadow goes. */
			for (int i = 0; i < 2; i++)
				assert_int_equal(tide_vcpu_set_paging(
							 rig->vcpu[i], &none),
						 0);
			assert_int_equal(mrig_region(rig, 1, MMU_REGION_LOG,
						     TABLES + 64, 32),
					 0);
			assert_int_equal(
				mrig_region(rig, 1, MMU_REGION_LOG, TABLES, 32),
				0);
			again.root = MRIG_GPA(TABLES);
			tables_load(&again, rig->vcpu[1], 0);
			load = (struct access){ rig->vcpu[1], GVA, 0, -1 };
			/* It has read the entry, and tracks nothing yet. */
			actor_start(&walker, "slow_fault.resolved", run_load,
				    &load);
			if (device)
				mrig_poke(rig, guest.entry, leaf(&guest, 9));
			else
				mrig_store(rig->vcpu[2], guest.entry,
					   leaf(&guest, 9));
			actor_end(&walker);
			assert_int_equal(load.result, 0);
			assert_int_equal(load.value, 99);
			assert_int_equal(mrig_load(rig->vcpu[1], GVA), 99);
			mrig_destroy(rig);
		}
	}
}

struct poke {
	struct mrig *rig;
	uint64_t gpa, value;
};

static void run_poke(void *opaque)
{
	struct poke *poke = opaque;

	assert(!tide_mmu_write(poke->rig->mmu, poke->gpa, &poke->value, 8));
}

/* The other order: the device has written, and looks at what is tracked
 * later. */
static void test_k22_written(void **state)
{
	(void)state;
	EACH_MODE(mode)
	{
		struct guest guest;
		struct mrig *rig = &guest.rig;
		struct poke poke;
		struct actor device;

		guest_create(&guest, &logged, *mode);
		poke = (struct poke){ rig, guest.entry, leaf(&guest, 9) };
		actor_start(&device, "device.written", run_poke, &poke);
		/* Shadowed already; may be the old one still. */
		(void)mrig_load(rig->vcpu[0], GVA);
		actor_end(&device);
		assert_int_equal(mrig_load(rig->vcpu[0], GVA), 99);
		assert_int_equal(mrig_load(rig->vcpu[1], GVA), 99);
		MRIG_EXPECT(rig, 1, guest.table_page);
		mrig_destroy(rig);
	}
}

/* Fails when a device's write is made twice: the guest's answer to the first
 * would be lost. */
static void test_written_once(void **state)
{
	struct guest guest;
	struct mrig *rig = &guest.rig;
	struct poke poke;
	struct actor device;

	(void)state;
	guest_create(&guest, &logged, TIDE_PAGING_X86_64);
	poke = (struct poke){ rig, PAGE(9), 1 };
	actor_start(&device, "device.written", run_poke, &poke);
	assert_int_equal(mrig_load(rig->vcpu[2], PAGE(9)), 1);
	mrig_store(rig->vcpu[2], PAGE(9), 2);
	actor_end(&device);
	assert_int_equal(mrig_load(rig->vcpu[2], PAGE(9)), 2);
	mrig_destroy(rig);
}

/* A vCPU that has the old translation in its TLB, in guest mode, while another
 * changes the table: when the change is over, the old one is gone.
 * Fails when it is told of the write and not of the shadow. */
static void test_k23(void **state)
{
	(void)state;
	EACH_MODE(mode)
	{
		struct guest guest;
		struct mrig *rig = &guest.rig;
		struct access in_guest, change;
		struct actor writer, changer;

		guest_create(&guest, &logged, *mode);
		in_guest = (struct access){ rig->vcpu[0], GVA, 1, -1 };
		actor_start(&writer, "guest", run_in_guest, &in_guest);
		change = (struct access){ rig->vcpu[2], guest.entry,
					  leaf(&guest, 9), -1 };
		actor_begin(&changer, NULL, run_store, &change);
		assert_true(flush_awaits(&changer, rig->vcpu[0]));
		actor_end(&writer);
		actor_end(&changer);
		assert_int_equal(change.result, 0);
		assert_int_equal(mrig_load(rig->vcpu[0], GVA), 99);
		assert_int_equal(mrig_load(rig->vcpu[1], GVA), 99);
		assert_int_equal(mrig_peek(rig, PAGE(3)), 2);
		mrig_destroy(rig);
	}
}

/* A write to a table, held between data and mark while a GET runs: page and
 * log agree afterwards.
 * Fails without the mark, and when it comes before the data (K61). */
static void emulated_and_get(int how)
{
	EACH_MODE(mode)
	{
		struct guest guest;
		struct mrig *rig = &guest.rig;
		struct access store;
		struct poke poke;
		struct actor writer;
		uint64_t copy;
		bool seen;

		guest_create(&guest, &logged, *mode);
		store = (struct access){ rig->vcpu[2], guest.entry,
					 leaf(&guest, 9), -1 };
		poke = (struct poke){ rig, guest.entry, leaf(&guest, 9) };
		actor_start(&writer, how ? "device.written" : "emulate.written",
			    how ? run_poke : run_store,
			    how ? (void *)&poke : (void *)&store);
		if (how) {
			/* A device has no lock: the GET goes between. */
			(void)mrig_get(rig, 1);
			copy = mrig_peek(rig, guest.entry);
			actor_end(&writer);
		} else {
			struct get get = { .rig = rig, .area = 1 };
			struct actor getter;

			actor_begin(&getter, NULL, run_get, &get);
			actor_end(&writer);
			actor_end(&getter);
			memcpy(rig->words, get.words, sizeof(get.words));
			copy = mrig_peek(rig, guest.entry);
		}
		seen = mrig_bit(rig, guest.table_page);
		(void)mrig_get(rig, 1);
		/* Either the copy has it, or the next GET says so. */
		assert_true(mrig_bit(rig, guest.table_page) ||
			    (seen && copy == leaf(&guest, 9)));
		assert_int_equal(mrig_load(rig->vcpu[0], GVA), 99);
		mrig_destroy(rig);
	}
}

static void test_k61(void **state)
{
	(void)state;
	emulated_and_get(0);
}

static void test_k61_device(void **state)
{
	(void)state;
	emulated_and_get(1);
}

/* A store over the end of a table: its last entry becomes nonsense.  Fails when
 * only the first byte's page, or only the last's, is looked at. */
static void test_over_end(void **state)
{
	(void)state;
	EACH_MODE(mode)
	{
		const uint64_t last_gva = GVA + 511 * TIDE_PAGE_SIZE;
		struct guest guest;
		struct mrig *rig = &guest.rig;
		uint64_t end, value;

		guest_create(&guest, &logged, *mode);
		end = (guest.entry | (TIDE_PAGE_SIZE - 1)) + 1;
		mrig_poke(rig, end - 8, leaf(&guest, 9));
		assert_int_equal(mrig_load(rig->vcpu[0], last_gva), 99);
		(void)mrig_get(rig, 1);
		mrig_store(rig->vcpu[2], end - 4, 0x1122334480000000ull);
		assert_int_equal(mrig_peek(rig, end), 0x11223344);
		MRIG_EXPECT(rig, 1, guest.table_page, guest.table_page + 1);
		assert_int_equal(mrig_try_load(rig->vcpu[0], last_gva, &value),
				 TIDE_EXIT_GUEST_FAULT);
		/* And from the page before into the table. */
		mrig_poke(rig, end - 8, leaf(&guest, 9));
		assert_int_equal(mrig_load(rig->vcpu[0], last_gva), 99);
		assert_int_equal(mrig_load(rig->vcpu[0], GVA), 33);
		(void)mrig_get(rig, 1);
		mrig_store(rig->vcpu[2], end - TIDE_PAGE_SIZE - 4,
			   (leaf(&guest, 9) & 0xffffffff) << 32);
		assert_int_equal(mrig_load(rig->vcpu[0], GVA), 99);
		MRIG_EXPECT(rig, 1, guest.table_page - 1, guest.table_page);
		mrig_destroy(rig);
	}
}

/* Fails when a mark goes with the mapping that it was made by: with the root,
 * the vCPU, the frame. */
static void test_k56(void **state)
{
	struct mrig_config config = logged;
	struct tide_paging none = { 0 };
	struct guest guest;
	struct mrig *rig = &guest.rig;

	(void)state;
	config.table_pages_max = 64;
	guest_create(&guest, &config, TIDE_PAGING_X86_64);
	mrig_store(rig->vcpu[0], GVA, 1);
	assert_int_equal(tide_vcpu_set_paging(rig->vcpu[0], &none), 0);
	tide_vcpu_destroy(rig->vcpu[0]);
	rig->vcpu[0] = NULL;
	assert_int_equal(mrig_region(rig, 1, 0, TABLES, 0), 0);
	MRIG_EXPECT(rig, 0, 3);
	mrig_destroy(rig);
}

/* Fails when what the host writes is not in the log; or a write over a page's
 * border is in it with one page. */
static void test_k58(void **state)
{
	uint8_t block[3 * TIDE_PAGE_SIZE];
	struct mrig rig;

	(void)state;
	memset(block, 0x5a, sizeof(block));
	mrig_create(&rig, &logged);
	mrig_poke(&rig, PAGE(3) + 8, 1);
	MRIG_EXPECT(&rig, 0, 3);
	mrig_poke(&rig, PAGE(4) - 4, 0x1122334455667788ull);
	MRIG_EXPECT(&rig, 0, 3, 4);
	assert_int_equal(
		tide_mmu_write(rig.mmu, PAGE(9) + 1, block, 2 * TIDE_PAGE_SIZE),
		0);
	MRIG_EXPECT(&rig, 0, 9, 10, 11);
	/* Where memory ends: what was written is marked. */
	assert_int_equal(
		tide_mmu_write(rig.mmu, PAGE(127), block, 2 * TIDE_PAGE_SIZE),
		-EFAULT);
	MRIG_EXPECT(&rig, 0, 127);
	/* The same by a vCPU. */
	assert_int_equal(tide_vcpu_enter(rig.vcpu[0]), 0);
	assert_int_equal(tide_vcpu_store(rig.vcpu[0], PAGE(21) - 3, 8, 7), 0);
	assert_int_equal(tide_vcpu_write(rig.vcpu[0], PAGE(30) + 1, block,
					 2 * TIDE_PAGE_SIZE, NULL),
			 0);
	(void)tide_vcpu_exit(rig.vcpu[0]);
	MRIG_EXPECT(&rig, 0, 20, 21, 30, 31, 32);
	/* A second time, by what the TLB has, and after GET by the fast
	 * path. */
	assert_int_equal(tide_vcpu_enter(rig.vcpu[0]), 0);
	assert_int_equal(tide_vcpu_store(rig.vcpu[0], PAGE(21) - 3, 8, 8), 0);
	(void)tide_vcpu_exit(rig.vcpu[0]);
	MRIG_EXPECT(&rig, 0, 20, 21);
	mrig_destroy(&rig);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CLAIM("K19 an atomic access is marked, also when it compares "
		      "unequal",
		      test_k19),
		CLAIM("K20 atomic accesses to a table are atomic", test_k20),
		CLAIM("K21 a write is marked in its own address space",
		      test_k21),
		CLAIM("K22 a write to a table that is about to be shadowed is "
		      "seen",
		      test_k22),
		CLAIM("K22 and one that was made already", test_k22_written),
		CLAIM("K23 after a change of a table nobody has the old entry",
		      test_k23),
		CLAIM("a store over a table's end is one to the table",
		      test_over_end),
		CLAIM("K56 a mark does not go with its mapping", test_k56),
		CLAIM("K58 what the host writes is logged", test_k58),
		CLAIM("K61 an emulated write and its log agree", test_k61),
		CLAIM("K61 a device's write and its log agree",
		      test_k61_device),
		CLAIM("a device's write is made once", test_written_once),
	};

	mrig_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
