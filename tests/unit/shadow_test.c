/* SPDX-License-Identifier: MIT */
/*
 * shadow_test.c - guests that build page tables and change them
 *
 * A guest makes its tables by its own stores, uses them, and goes on changing
 * them.  Every access is held against a walk of plain memory by mmu_rig.c: its
 * result, the accessed and dirty bits, the dirty log.  What the tests assert
 * themselves is only that the case they are named after did come up.  Then two
 * vCPUs on two threads, one of which changes what the other uses.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <pthread.h>

#include "base/atomic.h"
#include "mmu_rig.h"
#include "test_support.h"

/* Pages of the guest's tables; data from DATA on. */
enum { ROOT = 1, WINDOW_A, WINDOW_B, MIDDLE, LAST, SPARE, SPARE_2, ROOT_2 };
#define DATA 100u

/* Shows gpa 0 to 4 MiB, by large pages. */
#define WINDOW 0xffffffffffc00000ull

enum rights {
	MAY_WRITE = 1,
	MAY_USER = 2,
	MAY_EXEC = 4,
	NOT_ANY_MORE = 8, /* A and D are set already */
};

struct guest {
	struct rig *rig;
	bool x86;
	enum tide_paging_mode mode;
	uint64_t area; /* gva of LAST's first page */
	uint32_t flags;
};

static const bool formats[] = { false, true };
#define NX (1ull << 63)

static uint64_t table(const struct guest *guest, uint64_t page)
{
	return guest->x86 ? page << 12 | 7 : page << 10 | 1;
}

static uint64_t leaf(const struct guest *guest, uint64_t gfn,
		     unsigned int rights)
{
	uint64_t entry;

	if (guest->x86) {
		entry = gfn << 12 | 1;
		entry |= rights & MAY_WRITE ? 2 : 0;
		entry |= rights & MAY_USER ? 4 : 0;
		entry |= rights & MAY_EXEC ? 0 : NX;
		return entry | (rights & NOT_ANY_MORE ? 0x60 : 0);
	}
	entry = gfn << 10 | 3;
	entry |= rights & MAY_WRITE ? 4 : 0;
	entry |= rights & MAY_USER ? 0x10 : 0;
	entry |= rights & MAY_EXEC ? 8 : 0;
	return entry | (rights & NOT_ANY_MORE ? 0xc0 : 0);
}

static uint64_t large(const struct guest *guest, uint64_t gfn,
		      unsigned int rights)
{
	return leaf(guest, gfn, rights) | (guest->x86 ? 0x80 : 0);
}

static bool is_accessed(const struct guest *guest, uint64_t entry)
{
	return entry & (guest->x86 ? 0x20 : 0x40);
}

static bool is_dirty(const struct guest *guest, uint64_t entry)
{
	return entry & (guest->x86 ? 0x40 : 0x80);
}

static uint64_t without_bits(const struct guest *guest, uint64_t entry)
{
	return entry & ~(guest->x86 ? 0x60ull : 0xc0ull);
}

/* gpa of an entry */
static uint64_t at(uint32_t page, uint32_t index)
{
	return (uint64_t)page * TIDE_PAGE_SIZE + index * 8;
}

static int access_on(struct guest *guest, uint32_t vcpu, enum rig_op op,
		     uint64_t gva, uint64_t value, uint64_t *ret_value)
{
	const struct rig_access access = {
		.op = op, .gva = gva, .nbytes = 8, .value = value
	};

	return rig_access(guest->rig, vcpu, &access, ret_value);
}

static int load(struct guest *guest, uint64_t gva, uint64_t *ret_value)
{
	return access_on(guest, 0, RIG_LOAD, gva, 0, ret_value);
}

static int store(struct guest *guest, uint64_t gva, uint64_t value)
{
	return access_on(guest, 0, RIG_STORE, gva, value, NULL);
}

static int fetch(struct guest *guest, uint64_t gva)
{
	return access_on(guest, 0, RIG_FETCH, gva, 0, NULL);
}

/* The guest's own store to its tables. */
static void set(struct guest *guest, uint32_t page, uint32_t index,
		uint64_t entry)
{
	uint64_t window = guest->mode == TIDE_PAGING_NONE ? 0 : WINDOW;

	assert_int_equal(store(guest, window + at(page, index), entry), 0);
}

static uint64_t get(struct guest *guest, uint32_t page, uint32_t index)
{
	return rig_peek(guest->rig, at(page, index));
}

static uint64_t load_ok(struct guest *guest, uint64_t gva)
{
	uint64_t value = 0;

	assert_int_equal(load(guest, gva, &value), 0);
	return value;
}

static uint64_t page_gva(const struct guest *guest, uint64_t index)
{
	return guest->area + index * TIDE_PAGE_SIZE;
}

static void use(struct guest *guest, uint32_t vcpu, uint32_t root,
		uint32_t flags)
{
	const struct tide_paging paging = {
		.size = sizeof(paging),
		.mode = guest->mode,
		.flags = flags,
		.root = (uint64_t)root * TIDE_PAGE_SIZE + 0xabc,
	};

	rig_set_paging(guest->rig, vcpu, &paging);
}

static void build(struct guest *guest, uint32_t root)
{
	const unsigned int all = MAY_WRITE | MAY_EXEC;
	uint32_t last = guest->x86 ? WINDOW_B : WINDOW_A;

	set(guest, root, 511, table(guest, WINDOW_A));
	if (guest->x86)
		set(guest, WINDOW_A, 511, table(guest, WINDOW_B));
	set(guest, last, 510, large(guest, 0, all));
	set(guest, last, 511, large(guest, 512, all));
	/* x86 has one level more: root, SPARE_2, MIDDLE, LAST. */
	if (guest->x86) {
		set(guest, root, 1, table(guest, SPARE_2));
		set(guest, SPARE_2, 0, table(guest, MIDDLE));
	} else {
		set(guest, root, 1, table(guest, MIDDLE));
	}
	set(guest, MIDDLE, 0, table(guest, LAST));
}

static struct guest begin(void **state, const struct rig_config *config)
{
	const bool x86 = *(const bool *)*state;
	struct guest guest = {
		.rig = rig_create(config),
		.x86 = x86,
		.area = 1ull << (x86 ? 39 : 30),
		.flags = x86 ? TIDE_PAGING_WP | TIDE_PAGING_NX : 0,
	};

	/* Without paging first, as a guest boots. */
	for (uint32_t i = 0; i < 64; i++)
		assert_int_equal(
			store(&guest, (DATA + i) * TIDE_PAGE_SIZE, DATA + i),
			0);
	guest.mode = TIDE_PAGING_NONE;
	build(&guest, ROOT);
	guest.mode = x86 ? TIDE_PAGING_X86_64 : TIDE_PAGING_SV39;
	use(&guest, 0, ROOT, guest.flags);
	use(&guest, 1, ROOT, guest.flags);
	return guest;
}

static const struct rig_config logged = { .log = true };
static const struct rig_config unlogged;

static void end(struct guest *guest)
{
	rig_get(guest->rig, RIG_BIG);
	rig_get(guest->rig, RIG_SMALL);
	rig_destroy(guest->rig);
}

static void test_remaps(void **state)
{
	struct guest guest = begin(state, &logged);
	const uint64_t gva = page_gva(&guest, 0);

	assert_int_equal(load(&guest, gva, NULL), TIDE_EXIT_GUEST_FAULT);
	for (uint64_t i = 0; i < 20; i++) {
		set(&guest, LAST, 0, leaf(&guest, DATA + i, MAY_WRITE));
		assert_int_equal(load_ok(&guest, gva), DATA + i);
		assert_int_equal(store(&guest, gva + 8, i), 0);
		if (i % 3)
			continue;
		set(&guest, LAST, 0, 0);
		assert_int_equal(load(&guest, gva, NULL),
				 TIDE_EXIT_GUEST_FAULT);
		rig_get(guest.rig, RIG_BIG);
	}
	/* A table of its own for the whole range. */
	set(&guest, SPARE, 0, leaf(&guest, DATA + 40, 0));
	set(&guest, MIDDLE, 0, table(&guest, SPARE));
	assert_int_equal(load_ok(&guest, gva), DATA + 40);
	assert_int_equal(store(&guest, gva, 1), TIDE_EXIT_GUEST_FAULT);
	set(&guest, MIDDLE, 0, table(&guest, LAST));
	assert_int_equal(load_ok(&guest, gva), DATA + 19);
	/* Writes that nobody made are in no log. */
	rig_get(guest.rig, RIG_BIG);
	assert_int_equal(guest.rig->invented, 0);
	end(&guest);
}

static void test_permissions(void **state)
{
	struct guest guest = begin(state, &logged);
	const uint64_t gva = page_gva(&guest, 3);
	uint32_t flags = guest.flags;

	for (unsigned int rights = 0; rights < 8; rights++) {
		set(&guest, LAST, 3, leaf(&guest, DATA, rights));
		for (uint32_t f = 0; f < 128; f++) {
			use(&guest, 0, ROOT, f);
			(void)load(&guest, gva, NULL);
			(void)store(&guest, gva, f);
			(void)fetch(&guest, gva);
		}
		use(&guest, 0, ROOT, flags);
	}
	set(&guest, LAST, 3, leaf(&guest, DATA, MAY_WRITE));
	assert_int_equal(store(&guest, gva, 5), 0);
	assert_int_equal(fetch(&guest, gva), TIDE_EXIT_GUEST_FAULT);
	set(&guest, LAST, 3, leaf(&guest, DATA, MAY_EXEC));
	assert_int_equal(store(&guest, gva, 6), TIDE_EXIT_GUEST_FAULT);
	assert_int_equal(fetch(&guest, gva), 0);
	assert_int_equal(load_ok(&guest, gva), 5);
	end(&guest);
}

/* What the entries themselves mean depends on a flag. */
static void test_reserved_by_flag(void **state)
{
	struct guest guest = begin(state, &logged);
	const uint64_t gva = page_gva(&guest, 3);

	set(&guest, LAST, 3, leaf(&guest, DATA, MAY_WRITE));
	for (int i = 0; i < 3; i++) {
		use(&guest, 0, ROOT, guest.flags);
		assert_int_equal(load_ok(&guest, gva), DATA);
		use(&guest, 0, ROOT, guest.flags & ~(uint32_t)TIDE_PAGING_NX);
		assert_int_equal(load(&guest, gva, NULL),
				 guest.x86 ? TIDE_EXIT_GUEST_FAULT : 0);
	}
	end(&guest);
}

static void test_aliases(void **state)
{
	struct guest guest = begin(state, &logged);
	const uint64_t one = page_gva(&guest, 1), two = page_gva(&guest, 2);

	set(&guest, LAST, 1, leaf(&guest, DATA, MAY_WRITE));
	set(&guest, LAST, 2, leaf(&guest, DATA, MAY_WRITE));
	assert_int_equal(store(&guest, one, 11), 0);
	assert_int_equal(load_ok(&guest, two), 11);
	/* Only the entry that was written through is dirty. */
	assert_true(is_dirty(&guest, get(&guest, LAST, 1)));
	assert_false(is_dirty(&guest, get(&guest, LAST, 2)));
	rig_get(guest.rig, RIG_BIG);
	assert_int_equal(store(&guest, two, 12), 0);
	rig_get(guest.rig, RIG_BIG);
	assert_int_equal(store(&guest, one, 13), 0);
	set(&guest, LAST, 1, leaf(&guest, DATA, 0));
	assert_int_equal(store(&guest, one, 14), TIDE_EXIT_GUEST_FAULT);
	assert_int_equal(store(&guest, two, 15), 0);
	set(&guest, LAST, 2, 0);
	assert_int_equal(load_ok(&guest, one), 15);
	assert_int_equal(load(&guest, two, NULL), TIDE_EXIT_GUEST_FAULT);
	/* A table that two entries share, one of which grants less. */
	set(&guest, MIDDLE, 5,
	    guest.x86 ? table(&guest, LAST) & ~2ull : table(&guest, LAST));
	set(&guest, LAST, 2, leaf(&guest, DATA, MAY_WRITE));
	assert_int_equal(store(&guest, two, 16), 0);
	assert_int_equal(store(&guest, two + (5ull << 21), 17),
			 guest.x86 ? TIDE_EXIT_GUEST_FAULT : 0);
	assert_int_equal(store(&guest, two, 18), 0);
	end(&guest);
}

static void test_large_pages(void **state)
{
	const struct rig_config *configs[] = { &logged, &unlogged };

	for (size_t i = 0; i < 2; i++) {
		struct guest guest = begin(state, configs[i]);
		const uint64_t gva = guest.area + (7ull << 21);
		const uint64_t data = DATA * TIDE_PAGE_SIZE;

		set(&guest, MIDDLE, 7, large(&guest, 0, MAY_WRITE));
		assert_int_equal(load_ok(&guest, gva + data), DATA);
		assert_false(is_dirty(&guest, get(&guest, MIDDLE, 7)));
		assert_int_equal(store(&guest, gva + data, 21), 0);
		assert_true(is_dirty(&guest, get(&guest, MIDDLE, 7)));
		/* The tables lie in it, too. */
		assert_int_equal(
			store(&guest, gva + at(LAST, 9), leaf(&guest, DATA, 0)),
			0);
		assert_int_equal(load_ok(&guest, page_gva(&guest, 9)), 21);
		/* Logging begins while it is in use. */
		assert_int_equal(
			rig_set_flags(guest.rig, RIG_BIG, MMU_REGION_LOG), 0);
		assert_int_equal(store(&guest, gva + data, 22), 0);
		rig_get(guest.rig, RIG_BIG);
		assert_int_equal(store(&guest, gva + data, 23), 0);
		set(&guest, MIDDLE, 7, large(&guest, 512, MAY_WRITE));
		assert_int_equal(store(&guest, gva + data, 24), 0);
		rig_get(guest.rig, RIG_BIG);
		assert_int_equal(rig_set_flags(guest.rig, RIG_BIG, 0), 0);
		assert_int_equal(store(&guest, gva + data + 4096, 25), 0);
		set(&guest, MIDDLE, 7, large(&guest, 512, 0));
		assert_int_equal(store(&guest, gva + data, 26),
				 TIDE_EXIT_GUEST_FAULT);
		assert_int_equal(load_ok(&guest, gva + data), 24);
		/* Small ones in its place, and back. */
		set(&guest, MIDDLE, 7, table(&guest, LAST));
		assert_int_equal(load_ok(&guest, gva + (9 << 12)), 23);
		set(&guest, MIDDLE, 7, large(&guest, 512, MAY_WRITE));
		assert_int_equal(load_ok(&guest, gva + data), 24);
		end(&guest);
	}
}

static void test_gigabyte_pages(void **state)
{
	struct guest guest = begin(state, &logged);
	const uint32_t page = guest.x86 ? SPARE_2 : ROOT;
	const uint64_t gva = guest.x86 ? guest.area + (2ull << 30) : 2ull << 30;

	set(&guest, page, 2, large(&guest, 0, MAY_WRITE));
	assert_int_equal(load_ok(&guest, gva + (DATA << 12)), DATA);
	assert_int_equal(store(&guest, gva + (DATA << 12), 31), 0);
	assert_int_equal(store(&guest, gva + (RIG_SMALL_GFN << 12), 32), 0);
	assert_int_equal(store(&guest, gva + (RIG_ROM_GFN << 12), 33),
			 TIDE_EXIT_MMIO);
	assert_int_equal(load(&guest, gva + (1 << 29), NULL), TIDE_EXIT_MMIO);
	set(&guest, page, 2, large(&guest, 1 << 18, MAY_WRITE));
	assert_int_equal(load(&guest, gva, NULL), TIDE_EXIT_MMIO);
	end(&guest);
}

/* Two large entries for the same memory, one of which is clean for the guest,
 * and writes that need no right to write (CR0.WP clear). */
static void large_aliases(void **state, const struct rig_config *config)
{
	struct guest guest = begin(state, config);
	const uint64_t one = guest.area + (7ull << 21) + 0x5000;
	const uint64_t two = guest.area + (8ull << 21) + 0x5000;

	for (unsigned int rights = 0; rights < 2; rights++) {
		uint32_t flags =
			rights == MAY_WRITE ? guest.flags : TIDE_PAGING_NX;
		int expected = guest.x86 || rights ? 0 : TIDE_EXIT_GUEST_FAULT;

		set(&guest, MIDDLE, 7, large(&guest, 512, rights));
		set(&guest, MIDDLE, 8, large(&guest, 512, rights));
		use(&guest, 0, ROOT, flags);
		assert_int_equal(load(&guest, two, NULL), 0);
		assert_int_equal(store(&guest, one, 41), expected);
		assert_int_equal(load(&guest, two, NULL), 0);
		assert_int_equal(store(&guest, one, 42), expected);
		assert_int_equal(store(&guest, two, 43), expected);
		use(&guest, 0, ROOT, guest.flags);
		assert_int_equal(is_dirty(&guest, get(&guest, MIDDLE, 8)),
				 !expected);
	}
	end(&guest);
}

static void test_large_aliases(void **state)
{
	large_aliases(state, &unlogged);
	large_aliases(state, &logged);
}

/* In x86, a root that is its own next level; in Sv39, where the last level
 * must be a leaf, a table that maps its own page. */
static void test_tables_that_map_themselves(void **state)
{
	struct guest guest = begin(state, &logged);
	const uint64_t own = page_gva(&guest, LAST);

	set(&guest, LAST, LAST, leaf(&guest, LAST, MAY_WRITE));
	assert_int_equal(store(&guest, own + 8 * 20, leaf(&guest, DATA, 0)), 0);
	assert_int_equal(load_ok(&guest, page_gva(&guest, 20)), DATA);
	assert_int_equal(store(&guest, own + 8 * 20, 0), 0);
	assert_int_equal(load(&guest, page_gva(&guest, 20), NULL),
			 TIDE_EXIT_GUEST_FAULT);
	/* The entry of the table takes itself away. */
	assert_int_equal(store(&guest, own + 8 * LAST,
			       leaf(&guest, DATA + 1, MAY_WRITE)),
			 0);
	assert_int_equal(load_ok(&guest, own), DATA + 1);

	set(&guest, ROOT, 3, table(&guest, ROOT));
	for (uint32_t levels = 1; guest.x86 && levels <= 4; levels++) {
		uint64_t gva = 0;

		for (uint32_t level = 4; level >= 1; level--)
			gva |= (level > 4 - levels ? 3ull : 1ull)
			       << (12 + 9 * (level - 1));
		(void)load(&guest, gva, NULL);
		(void)store(&guest, gva + 8 * 300, table(&guest, SPARE));
		(void)load(&guest, gva + 8 * 300, NULL);
	}
	if (guest.x86)
		assert_int_equal(get(&guest, ROOT, 300), table(&guest, SPARE));
	end(&guest);
}

/* A store across a page border, the first part of which makes the entry that
 * maps both pages one that is reserved. */
static void test_store_across_its_own_entry(void **state)
{
	struct guest guest = begin(state, &logged);
	const uint64_t gva = WINDOW + at(ROOT, 511) + 5;

	assert_int_equal(store(&guest, gva, ~0ull), 0);
	assert_int_equal(store(&guest, gva, 0), TIDE_EXIT_GUEST_FAULT);
	assert_int_equal(rig_peek(guest.rig, at(ROOT, 512)) & 0xffffffffff,
			 0xffffffffff);
	end(&guest);
}

static uint64_t emulated(struct guest *guest)
{
	struct tide_mmu_stats stats;

	tide_mmu_stats(guest->rig->mmu, &stats);
	return stats.writes_emulated;
}

/* A page that was a table is one no longer, as far as the guest goes. */
static void test_tables_become_data(void **state)
{
	struct guest guest = begin(state, &logged);
	const uint64_t gva = page_gva(&guest, 4);

	set(&guest, SPARE, 0, leaf(&guest, DATA, MAY_WRITE));
	set(&guest, MIDDLE, 9, table(&guest, SPARE));
	assert_int_equal(load_ok(&guest, guest.area + (9ull << 21)), DATA);
	/* Its page is written as data while it is one. */
	set(&guest, LAST, 4, leaf(&guest, SPARE, MAY_WRITE));
	assert_int_equal(store(&guest, gva + 8, leaf(&guest, DATA + 1, 0)), 0);
	assert_int_equal(load_ok(&guest, guest.area + (9ull << 21) + 4096),
			 DATA + 1);

	uint64_t before = emulated(&guest);

	set(&guest, MIDDLE, 9, 0);
	for (uint32_t i = 0; i < 400; i++)
		assert_int_equal(
			store(&guest, gva + 16 + 8 * (i % 100), i * 0x10001u),
			0);
	assert_in_range(emulated(&guest) - before, 1, 80);
	/* And a table once more. */
	set(&guest, MIDDLE, 9, table(&guest, SPARE));
	assert_int_equal(load_ok(&guest, guest.area + (9ull << 21) + 4096),
			 DATA + 1);
	assert_int_equal(store(&guest, gva + 8, leaf(&guest, DATA + 2, 0)), 0);
	assert_int_equal(load_ok(&guest, guest.area + (9ull << 21) + 4096),
			 DATA + 2);
	end(&guest);
}

static void test_accessed_and_dirty(void **state)
{
	struct guest guest = begin(state, &logged);
	const uint64_t gva = page_gva(&guest, 6);

	set(&guest, LAST, 6, leaf(&guest, DATA, MAY_WRITE));
	for (int i = 0; i < 10; i++) {
		uint64_t entry;

		assert_int_equal(load(&guest, gva, NULL), 0);
		entry = get(&guest, LAST, 6);
		assert_true(is_accessed(&guest, entry));
		assert_false(is_dirty(&guest, entry));
		assert_int_equal(store(&guest, gva, 7), 0);
		assert_true(is_dirty(&guest, get(&guest, LAST, 6)));
		rig_get(guest.rig, RIG_BIG);
		/* By a store, by a compare-exchange, by a device, above. */
		entry = without_bits(&guest, get(&guest, LAST, 6));
		if (i % 3 == 0) {
			set(&guest, LAST, 6, entry);
		} else if (i % 3 == 1) {
			const struct rig_access exchange = {
				.op = RIG_CMPXCHG,
				.gva = WINDOW + at(LAST, 6),
				.nbytes = 8,
				.expected = get(&guest, LAST, 6),
				.value = entry,
			};

			assert_int_equal(
				rig_access(guest.rig, 1, &exchange, NULL), 0);
		} else {
			rig_poke(guest.rig, at(LAST, 6), entry);
		}
		assert_int_equal(get(&guest, LAST, 6), entry);
		if (!guest.x86)
			continue;
		set(&guest, MIDDLE, 0, table(&guest, LAST));
		assert_int_equal(load(&guest, gva, NULL), 0);
		assert_true(is_accessed(&guest, get(&guest, MIDDLE, 0)));
	}
	end(&guest);
}

static void test_roots(void **state)
{
	struct guest guest = begin(state, &logged);
	const uint64_t gva = page_gva(&guest, 0);
	/* Where the other root has its own. */
	const uint32_t upper = guest.x86 ? SPARE : ROOT_2;
	const struct tide_paging none = { .size = sizeof(none) };

	set(&guest, LAST, 0, leaf(&guest, DATA, MAY_WRITE));
	build(&guest, ROOT_2);
	if (guest.x86) {
		set(&guest, ROOT_2, 1, table(&guest, SPARE));
		set(&guest, SPARE, 1, table(&guest, MIDDLE));
	}
	set(&guest, upper, 0, large(&guest, 0, MAY_WRITE));
	for (uint32_t i = 0; i < 10; i++) {
		uint64_t low = guest.x86 ? guest.area : 0;

		use(&guest, 0, ROOT_2, guest.flags);
		assert_int_equal(load_ok(&guest, low + (DATA << 12)), DATA + i);
		use(&guest, 0, ROOT, guest.flags);
		assert_int_equal(load_ok(&guest, gva), DATA + i);
		assert_int_equal(store(&guest, gva, DATA + i + 1), 0);
		/* The other one sees what the first changes. */
		use(&guest, 1, ROOT_2, guest.flags);
		set(&guest, LAST, 1, leaf(&guest, DATA + i, 0));
		assert_int_equal(access_on(&guest, 1, RIG_LOAD,
					   WINDOW + at(LAST, 1), 0, NULL),
				 0);
		rig_set_paging(guest.rig, 1, &none);
		assert_int_equal(
			access_on(&guest, 1, RIG_LOAD, DATA << 12, 0, NULL), 0);
	}
	/* A root that is also a table of the last level. */
	use(&guest, 0, LAST, guest.flags);
	(void)load(&guest, 0, NULL);
	/* The same tables, as the other format has them. */
	guest.mode = guest.x86 ? TIDE_PAGING_SV39 : TIDE_PAGING_X86_64;
	use(&guest, 0, ROOT, guest.flags);
	(void)load(&guest, gva, NULL);
	(void)load(&guest, WINDOW, NULL);
	end(&guest);
}

/* Page 40 for the one, 160 for the other. */
static void test_one_table_in_two_formats(void **state)
{
	struct guest guest = begin(state, &logged), other = guest;
	const uint64_t gva = page_gva(&guest, 2);
	const uint64_t other_gva = 1ull << 30 | 1ull << 21 | 2ull << 12;

	other.x86 = false;
	other.mode = TIDE_PAGING_SV39;
	set(&guest, ROOT_2, 1, table(&other, MIDDLE));
	set(&guest, MIDDLE, 1, table(&other, LAST));
	set(&guest, LAST, 2, 40ull << 12 | 7);
	use(&guest, 0, ROOT, TIDE_PAGING_WP);
	use(&other, 1, ROOT_2, 0);
	for (uint64_t i = 0; i < 4; i++) {
		uint64_t value = 0;

		assert_int_equal(store(&guest, gva, i), 0);
		assert_int_equal(
			access_on(&other, 1, RIG_LOAD, other_gva, 0, &value),
			0);
		assert_int_equal(value, i ? i + 99 : 160);
		assert_int_equal(access_on(&other, 1, RIG_STORE, other_gva,
					   i + 100, NULL),
				 0);
		assert_int_equal(load_ok(&guest, gva), i);
	}
	end(&guest);
}

static void test_readonly_tables(void **state)
{
	struct guest guest = begin(state, &logged);
	const uint64_t gva = guest.area + (9ull << 21);

	rig_fill(guest.rig, at(RIG_ROM_GFN, 0), leaf(&guest, DATA, MAY_WRITE));
	rig_fill(guest.rig, at(RIG_ROM_GFN, 1),
		 leaf(&guest, DATA, MAY_WRITE | NOT_ANY_MORE));
	set(&guest, MIDDLE, 9, table(&guest, RIG_ROM_GFN));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(load(&guest, gva, NULL), 0);
		assert_int_equal(store(&guest, gva, 51), 0);
		assert_int_equal(store(&guest, gva + 4096, 52), 0);
		assert_int_equal(load_ok(&guest, gva), 52);
		rig_get(guest.rig, RIG_BIG);
	}
	assert_false(is_accessed(&guest, get(&guest, RIG_ROM_GFN, 0)));
	end(&guest);
}

static void test_tables_nowhere(void **state)
{
	struct guest guest = begin(state, &logged);
	const uint64_t gva = guest.area + (9ull << 21);

	set(&guest, MIDDLE, 9, table(&guest, 0x8000));
	assert_int_equal(load(&guest, gva, NULL), TIDE_EXIT_GUEST_FAULT);
	set(&guest, MIDDLE, 9, table(&guest, RIG_SMALL_GFN));
	assert_int_equal(load(&guest, gva, NULL), TIDE_EXIT_GUEST_FAULT);
	/* A slot that goes takes tables with it that are in use. */
	rig_poke(guest.rig, at(RIG_SMALL_GFN, 0), leaf(&guest, DATA, 0));
	assert_int_equal(load_ok(&guest, gva), DATA);
	assert_int_equal(rig_move(guest.rig, RIG_SMALL, 0x900), 0);
	assert_int_equal(load(&guest, gva, NULL), TIDE_EXIT_GUEST_FAULT);
	set(&guest, MIDDLE, 9, table(&guest, 0x900));
	assert_int_equal(load_ok(&guest, gva), DATA);
	assert_int_equal(rig_delete(guest.rig, RIG_SMALL), 0);
	assert_int_equal(load(&guest, gva, NULL), TIDE_EXIT_GUEST_FAULT);
	assert_int_equal(rig_add(guest.rig, RIG_SMALL, 0x900, 0), 0);
	assert_int_equal(load_ok(&guest, gva), DATA);
	/* A root that is nowhere. */
	use(&guest, 0, 0x8000, guest.flags);
	assert_int_equal(load(&guest, gva, NULL), TIDE_EXIT_GUEST_FAULT);
	use(&guest, 0, ROOT, guest.flags);
	end(&guest);
}

/* Swapped out, merged with others, and given back: the host's doings do not
 * show, but that a page that was given back is zeroes. */
static void test_tables_in_a_backing(void **state)
{
	const struct rig_config config = { .log = true, .backed = true };
	struct guest guest = begin(state, &config);
	const uint64_t gva = guest.area + (9ull << 21);

	set(&guest, MIDDLE, 9, table(&guest, RIG_SMALL_GFN));
	for (uint64_t i = 0; i < 8; i++) {
		rig_poke(guest.rig, at(RIG_SMALL_GFN, 0),
			 leaf(&guest, RIG_SMALL_GFN + 1 + i, MAY_WRITE));
		assert_int_equal(load_ok(&guest, gva), 0);
		assert_int_equal(store(&guest, gva, i), 0);
		rig_swap_out(guest.rig, 0, RIG_SMALL_PAGES);
		assert_int_equal(load_ok(&guest, gva), i);
		rig_merge(guest.rig, 0, RIG_SMALL_PAGES);
		assert_int_equal(store(&guest, gva, 0), 0);
		rig_get(guest.rig, RIG_SMALL);
	}
	assert_int_equal(load_ok(&guest, gva), 0);
	rig_discard(guest.rig, 0, 1);
	assert_int_equal(load(&guest, gva, NULL), TIDE_EXIT_GUEST_FAULT);
	end(&guest);
}

static uint64_t random64(uint64_t *seed)
{
	uint64_t x = *seed += 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* Into tables, data, the other slots, or nowhere. */
static uint64_t random_entry(const struct guest *guest, uint64_t *seed)
{
	uint64_t x = random64(seed);
	unsigned int rights = x & 15;

	switch (x >> 8 & 7) {
	case 0:
	case 1:
		return table(guest, 1 + (x >> 16) % 8);
	case 2:
		return large(guest, (x >> 16 & 3) * 512, rights);
	case 3:
		return leaf(guest, RIG_SMALL_GFN + (x >> 16) % 48, rights);
	case 4:
		return leaf(guest, 1 + (x >> 16) % 8, rights);
	case 5:
		return leaf(guest, x >> 16 & 0xfff, rights) ^
		       1ull << (x >> 40 & 63);
	default:
		return leaf(guest, DATA + (x >> 16) % 8, rights);
	}
}

static uint64_t random_gva(const struct guest *guest, uint64_t *seed)
{
	uint64_t x = random64(seed);
	uint64_t gva = WINDOW + (x & 0xffff);

	if (x >> 60 < 3)
		return gva;
	gva = guest->area + (x & 3) * TIDE_PAGE_SIZE + (x >> 4 & 3) * (2 << 20);
	if (x >> 60 < 5)
		gva += (x >> 6 & 3) << 30;
	return gva + (x >> 32 & 1 ? 4096 - 8 + (x >> 8 & 7) : x >> 8 & 0xff8);
}

static void random_step(struct guest *guest, uint64_t *seed)
{
	uint64_t x = random64(seed);
	uint32_t vcpu = x & 1;
	struct rig_access access = {
		.op = (enum rig_op)((x >> 1) % 5),
		.gva = random_gva(guest, seed),
		.nbytes = 1u << (x >> 8 & 3),
		.value = x >> 3,
	};

	switch (x >> 32 & 31) {
	case 0:
		use(guest, vcpu, x >> 40 & 3 ? ROOT : ROOT_2,
		    (x >> 44 & 3 ? guest->flags : 0) |
			    (x >> 46 & 3 ? 0 : x >> 50 & 127));
		break;
	case 1:
		rig_get(guest->rig, x >> 40 & 1 ? RIG_BIG : RIG_SMALL);
		break;
	case 2:
		(void)rig_set_flags(guest->rig, RIG_BIG,
				    x >> 40 & 3 ? MMU_REGION_LOG : 0);
		break;
	case 3:
		(void)rig_write(guest->rig, vcpu, access.gva, x >> 50, x);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
	case 8:
		rig_poke(guest->rig, at(MIDDLE + (x >> 40 & 3), x >> 48 & 3),
			 random_entry(guest, seed));
		break;
	case 9:
		(void)rig_translate(guest->rig, vcpu, access.gva,
				    (enum tide_access)(x % TIDE_ACCESS_COUNT));
		break;
	case 10:
	case 11:
		access = (struct rig_access){
			.op = RIG_STORE,
			.nbytes = 8,
			.gva = WINDOW + at(MIDDLE + (x >> 40 & 3), x >> 48 & 3),
			.value = random_entry(guest, seed),
		};
		(void)rig_access(guest->rig, vcpu, &access, NULL);
		break;
	default:
		(void)rig_access(guest->rig, vcpu, &access, NULL);
	}
}

static void test_random_guests(void **state)
{
	uint64_t seed = test_seed(), done = 0, faults = 0;

	for (uint32_t i = 0; i < 60 * test_long(); i++) {
		const struct rig_config config = {
			.log = true,
			.backed = i & 1,
			.mmu.flags = i & 2 ? TIDE_MMU_NO_FAST_FAULT : 0,
			.mmu.table_pages_max = i & 4 ? 64 : 0,
		};
		struct guest guest = begin(state, &config);

		for (uint32_t n = 0; n < 1000; n++) {
			random_step(&guest, &seed);
			if (n % 64 == 0)
				rig_check(guest.rig);
		}
		done += guest.rig->done;
		faults += guest.rig->faults;
		end(&guest);
	}
	assert_true(done > faults / 10 && faults > done / 100);
}

/* Two threads. */
#define VERSIONS 500u
#define FRAMES 4u
#define LAG 2u

struct shared {
	struct tide_vcpu *vcpu[2];
	uint64_t gva, entry_gva;
	bool x86;
	/* Of the mapping: begun and done. */
	_Atomic uint32_t begun, done;
	_Atomic uint32_t used; /* the version of the last turn's accesses */
	uint32_t seen[2];
	_Atomic bool stop;
};

static int checked(int ret)
{
	assert(ret >= 0);
	return ret;
}

/* One access on a real vCPU.  Return: an exit reason or 0. */
static int run_load(struct tide_vcpu *vcpu, uint64_t gva, uint64_t *ret_value)
{
	int ret = checked(tide_vcpu_load(vcpu, gva, 8, ret_value));

	if (ret)
		assert(tide_vcpu_enter(vcpu) == 0);
	return ret;
}

static int run_store(struct tide_vcpu *vcpu, uint64_t gva, uint64_t value)
{
	int ret = checked(tide_vcpu_store(vcpu, gva, 8, value));

	if (ret)
		assert(tide_vcpu_enter(vcpu) == 0);
	return ret;
}

/* Version v maps frame v % FRAMES, and may be written if v is even. */
static void *use_mapping(void *opaque)
{
	struct shared *shared = opaque;
	struct tide_vcpu *vcpu = shared->vcpu[1];
	uint32_t last;

	assert(tide_vcpu_enter(vcpu) == 0);
	do {
		/* ACQUIRE(test.version) pairs with RELEASE(test.mapped) */
		uint32_t from = atomic_load_explicit(&shared->done,
						     memory_order_acquire);
		uint64_t value = 0;
		int loaded = run_load(vcpu, shared->gva, &value);
		int stored = run_store(vcpu, shared->gva + 8, from);
		uint32_t to;
		bool fits = false, writable = false, readonly = false;

		/* Relaxed: it only has to be no older than what the accesses
		 * saw, and they go through an emulated write's lock. */
		to = atomic_load_explicit(&shared->begun, memory_order_relaxed);
		assert(!loaded);
		for (uint32_t v = from; v <= to; v++) {
			fits |= value == v % FRAMES;
			writable |= v % 2 == 0;
			readonly |= v % 2 == 1;
		}
		assert(fits);
		assert(stored ? readonly : writable);
		shared->seen[!stored]++;
		last = from;
		/* Relaxed: it only keeps the two in step. */
		atomic_store_explicit(&shared->used, from,
				      memory_order_relaxed);
		assert(tide_vcpu_safe_point(vcpu) == 0);
	} while (last < VERSIONS);
	assert(tide_vcpu_exit(vcpu) == 0);
	return NULL;
}

static void share(struct shared *shared, const struct guest *guest)
{
	memset(shared, 0, sizeof(*shared));
	shared->vcpu[0] = guest->rig->vcpu[0];
	shared->vcpu[1] = guest->rig->vcpu[1];
	shared->x86 = guest->x86;
	shared->gva = page_gva(guest, 0);
	shared->entry_gva = WINDOW + at(LAST, 0);
	rig_leave(guest->rig, 0);
	rig_leave(guest->rig, 1);
	assert(tide_vcpu_enter(shared->vcpu[0]) == 0);
}

/* The rig's mirror knows nothing of what two threads did. */
static void end_shared(struct guest *guest)
{
	struct rig *rig = guest->rig;

	assert(tide_vcpu_exit(rig->vcpu[0]) == 0);
	for (uint32_t i = 0; i < RIG_SLOT_COUNT; i++)
		memcpy(rig->slot[i].mirror, rig->slot[i].host,
		       rig->slot[i].npages * TIDE_PAGE_SIZE);
	rig_destroy(rig);
}

/* What the entry says is seen by the next access that follows the store to
 * it, on every vCPU. */
static void test_remap_under_another_vcpu(void **state)
{
	struct guest guest = begin(state, &unlogged);
	struct shared shared;
	pthread_t thread;

	for (uint32_t i = 0; i < FRAMES; i++)
		set(&guest, DATA + i, 0, i);
	set(&guest, LAST, 0, leaf(&guest, DATA, MAY_WRITE | NOT_ANY_MORE));
	share(&shared, &guest);
	assert_int_equal(pthread_create(&thread, NULL, use_mapping, &shared),
			 0);
	for (uint32_t v = 1; v <= VERSIONS; v++) {
		uint64_t entry =
			leaf(&guest, DATA + v % FRAMES,
			     v % 2 ? NOT_ANY_MORE : NOT_ANY_MORE | MAY_WRITE);

		/* Relaxed: the store below locks. */
		atomic_store_explicit(&shared.begun, v, memory_order_relaxed);
		assert(run_store(shared.vcpu[0], shared.entry_gva, entry) == 0);
		/* RELEASE(test.mapped) pairs with ACQUIRE(test.version) */
		atomic_store_explicit(&shared.done, v, memory_order_release);
		do
			assert(tide_vcpu_safe_point(shared.vcpu[0]) == 0);
		/* Relaxed: as there; some versions behind, not all. */
		while (atomic_load_explicit(&shared.used,
					    memory_order_relaxed) +
			       LAG <
		       v);
	}
	assert(tide_vcpu_exit(shared.vcpu[0]) == 0);
	pthread_join(thread, NULL);
	assert(tide_vcpu_enter(shared.vcpu[0]) == 0);
	assert_true(shared.seen[0] && shared.seen[1]);
	end_shared(&guest);
}

#define TRACKED_PAGES 16u
#define TRACK_ROUNDS 60u

static void *write_pages(void *opaque)
{
	struct shared *shared = opaque;
	struct tide_vcpu *vcpu = shared->vcpu[1];
	uint64_t seed = 1;

	assert(tide_vcpu_enter(vcpu) == 0);
	/* Relaxed: nothing hangs on when it is seen. */
	while (!atomic_load_explicit(&shared->stop, memory_order_relaxed)) {
		uint64_t x = random64(&seed);

		assert(run_store(vcpu,
				 shared->gva +
					 x % TRACKED_PAGES * TIDE_PAGE_SIZE,
				 x) == 0);
		assert(tide_vcpu_safe_point(vcpu) == 0);
	}
	assert(tide_vcpu_exit(vcpu) == 0);
	return NULL;
}

/* Takes the dirty bit of page @i, as a guest's kernel does. */
static bool take_dirty(struct shared *shared, uint32_t i)
{
	const uint64_t bit = shared->x86 ? 0x40 : 0x80;
	uint64_t gva = shared->entry_gva + i * 8, old = 0, seen;

	assert(run_load(shared->vcpu[0], gva, &old) == 0);
	for (seen = old; seen & bit; old = seen) {
		assert(tide_vcpu_cmpxchg(shared->vcpu[0], gva, 8, &seen,
					 old & ~bit) == 0);
		if (seen == old)
			return true;
	}
	return false;
}

static void harvest_pages(struct shared *shared, uint64_t *copy)
{
	for (uint32_t i = 0; i < TRACKED_PAGES; i++) {
		if (take_dirty(shared, i))
			assert(run_load(shared->vcpu[0],
					WINDOW + at(DATA + i, 0),
					&copy[i]) == 0);
		assert(tide_vcpu_safe_point(shared->vcpu[0]) == 0);
	}
}

/* The guest tracks writes with its own dirty bits, and must not miss one. */
static void test_guest_harvests_dirty_bits(void **state)
{
	struct guest guest = begin(state, &logged);
	uint64_t copy[TRACKED_PAGES] = { 0 };
	struct shared shared;
	pthread_t thread;

	for (uint32_t i = 0; i < TRACKED_PAGES; i++) {
		set(&guest, DATA + i, 0, 0);
		set(&guest, LAST, i, leaf(&guest, DATA + i, MAY_WRITE));
	}
	share(&shared, &guest);
	assert_int_equal(pthread_create(&thread, NULL, write_pages, &shared),
			 0);
	for (uint32_t round = 0; round < TRACK_ROUNDS; round++)
		harvest_pages(&shared, copy);
	/* Relaxed: as above. */
	atomic_store_explicit(&shared.stop, true, memory_order_relaxed);
	/* It waits for nobody that is in guest mode. */
	assert(tide_vcpu_exit(shared.vcpu[0]) == 0);
	pthread_join(thread, NULL);
	assert(tide_vcpu_enter(shared.vcpu[0]) == 0);
	harvest_pages(&shared, copy);
	for (uint32_t i = 0; i < TRACKED_PAGES; i++) {
		uint64_t value;

		assert(run_load(shared.vcpu[0], WINDOW + at(DATA + i, 0),
				&value) == 0);
		assert_int_equal(value, copy[i]);
	}
	end_shared(&guest);
}

#define BOTH(test)                                                             \
	{ #test " (Sv39)", test, NULL, NULL, (void *)(uintptr_t)&formats[0] }, \
	{                                                                      \
#test " (x86-64)", test, NULL, NULL,                           \
			(void *)(uintptr_t)&formats[1]                         \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_remaps),
		BOTH(test_permissions),
		BOTH(test_reserved_by_flag),
		BOTH(test_aliases),
		BOTH(test_large_pages),
		BOTH(test_gigabyte_pages),
		BOTH(test_large_aliases),
		BOTH(test_tables_that_map_themselves),
		BOTH(test_store_across_its_own_entry),
		BOTH(test_tables_become_data),
		BOTH(test_accessed_and_dirty),
		BOTH(test_roots),
		cmocka_unit_test_prestate(test_one_table_in_two_formats,
					  (void *)(uintptr_t)&formats[1]),
		BOTH(test_readonly_tables),
		BOTH(test_tables_nowhere),
		BOTH(test_tables_in_a_backing),
		BOTH(test_random_guests),
		BOTH(test_remap_under_another_vcpu),
		BOTH(test_guest_harvests_dirty_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
