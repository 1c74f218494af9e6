/* SPDX-License-Identifier: MIT */
/*
 * mark_test.c - marks against their promises in <tidemark/mark.h>
 *
 * Return values of every call at every border, then random calls against a
 * plain array of pages.
 */
#undef NDEBUG /* a test without its asserts tests nothing */
#include <errno.h>
#include <stdbool.h>

#include <tidemark/client.h>
#include <tidemark/mark.h>
#include <tidemark/space.h>

#include "test_support.h"

#define PAGES 200u
#define GFN 0x305u
#define HOLE 20u /* pages [HOLE, HOLE_END) lie in no slot */
#define HOLE_END 30u

/* The last page is no slot's. */
static _Alignas(4096) uint8_t memory[(PAGES + 1) * TIDE_PAGE_SIZE];

struct fixture {
	struct tide_space *space;
	struct tide_client *client;
};

static void add(struct fixture *f, uint32_t id, uint64_t first, uint64_t end,
		uint32_t flags)
{
	struct tide_slot_config config = {
		.id = id,
		.flags = flags,
		.first_gfn = GFN + first,
		.npages = end - first,
		.host = memory + first * TIDE_PAGE_SIZE,
	};

	assert_int_equal(tide_slot_add(f->space, &config), 0);
}

/* [0, 20), a hole, [30, 95), [95, 200) */
static void set_up(struct fixture *f)
{
	assert_int_equal(tide_space_create(&f->space), 0);
	add(f, 0, 0, HOLE, 0);
	add(f, 1, HOLE_END, 95, 0);
	add(f, 2, 95, PAGES, 0);
	assert_int_equal(tide_client_open(f->space, "test", TIDE_START_CLEAN,
					  &f->client),
			 0);
}

static void tear_down(struct fixture *f)
{
	tide_client_close(f->client);
	tide_space_destroy(f->space);
}

static void read_dirty(struct fixture *f, bool dirty[PAGES])
{
	struct tide_harvest *harvest;
	struct tide_extent e;

	memset(dirty, 0, PAGES * sizeof(*dirty));
	assert_int_equal(tide_harvest_begin(f->client, &harvest), 0);
	while (tide_harvest_next(harvest, &e) > 0)
		for (uint64_t i = 0; i < e.npages; i++)
			dirty[e.first_gfn - GFN + i] = true;
	assert_int_equal(tide_harvest_commit(harvest), 0);
}

static uint64_t count_dirty(struct fixture *f)
{
	bool dirty[PAGES];
	uint64_t count = 0;

	read_dirty(f, dirty);
	for (uint64_t i = 0; i < PAGES; i++)
		count += dirty[i];
	return count;
}

static void test_nothing(void **state)
{
	uint64_t word = ~0ull;
	struct fixture f;

	(void)state;
	set_up(&f);
	assert_int_equal(tide_mark_range(f.space, GFN, 0), 0);
	assert_int_equal(tide_mark_range(f.space, 0, 0), 0);
	assert_int_equal(tide_mark_bytes(f.space, GFN << 12, 0), 0);
	assert_int_equal(tide_mark_bytes(f.space, UINT64_MAX, 0), 0);
	assert_int_equal(tide_mark_host(f.space, memory, 0), 0);
	assert_int_equal(tide_mark_host(f.space, NULL, 0), 0);
	assert_int_equal(tide_mark_bitmap(f.space, GFN, 0, &word), 0);
	assert_int_equal(count_dirty(&f), 0);
	tear_down(&f);
}

static void test_nowhere(void **state)
{
	uint64_t word = 7;
	struct fixture f;

	(void)state;
	set_up(&f);
	assert_int_equal(tide_mark(f.space, GFN - 1), -ENOENT);
	assert_int_equal(tide_mark(f.space, GFN + HOLE), -ENOENT);
	assert_int_equal(tide_mark(f.space, GFN + PAGES), -ENOENT);
	assert_int_equal(tide_mark(f.space, UINT64_MAX), -ENOENT);
	assert_int_equal(tide_mark_bytes(f.space, (GFN << 12) - 1, 1), -ENOENT);
	assert_int_equal(
		tide_mark_host(f.space, memory + PAGES * TIDE_PAGE_SIZE, 1),
		-ENOENT);
	assert_int_equal(tide_mark_host(f.space, &word, 8), -ENOENT);
	assert_int_equal(tide_mark_bitmap(f.space, 0, 3, &word), -ENOENT);
	assert_int_equal(count_dirty(&f), 0);
	tear_down(&f);
}

/* What does lie in a slot is marked all the same. */
static void test_partly(void **state)
{
	uint64_t words[2] = { ~0ull, ~0ull };
	struct fixture f;

	(void)state;
	set_up(&f);
	assert_int_equal(tide_mark_range(f.space, GFN - 3, 4), -ENOENT);
	assert_int_equal(count_dirty(&f), 1);
	assert_int_equal(tide_mark_range(f.space, GFN + 10, 30), -ENOENT);
	assert_int_equal(count_dirty(&f), 20);
	assert_int_equal(tide_mark_range(f.space, 0, GFN + 1000), -ENOENT);
	assert_int_equal(count_dirty(&f), PAGES - 10);
	assert_int_equal(tide_mark_host(f.space, memory + 19 * TIDE_PAGE_SIZE,
					2 * TIDE_PAGE_SIZE),
			 -ENOENT);
	assert_int_equal(count_dirty(&f), 1);
	assert_int_equal(tide_mark_bitmap(f.space, GFN + 15, 80, words),
			 -ENOENT);
	assert_int_equal(count_dirty(&f), 70);
	tear_down(&f);
}

/* Pages of an unlogged slot are skipped in silence. */
static void test_unlogged(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	assert_int_equal(tide_slot_set_flags(f.space, 1, TIDE_SLOT_UNLOGGED),
			 0);
	assert_int_equal(tide_mark(f.space, GFN + 40), 0);
	assert_int_equal(tide_mark_range(f.space, GFN + 94, 2), 0);
	assert_int_equal(
		tide_mark_host(f.space, memory + 50 * TIDE_PAGE_SIZE, 1), 0);
	assert_int_equal(count_dirty(&f), 1);
	assert_int_equal(tide_slot_set_flags(f.space, 1, 0), 0);
	assert_int_equal(count_dirty(&f), 65);
	tear_down(&f);
}

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

static bool is_there(uint64_t page)
{
	return page < HOLE || (page >= HOLE_END && page < PAGES);
}

static int mark_any(struct fixture *f, uint64_t first, uint64_t n,
		    uint64_t random)
{
	uint64_t words[PAGES / 64 + 1] = { 0 };

	switch (random % 4) {
	case 0:
		return tide_mark_range(f->space, GFN + first, n);
	case 1:
		return tide_mark_bytes(f->space,
				       ((GFN + first) << 12) + random % 4096,
				       (n - 1) * TIDE_PAGE_SIZE + 1);
	case 2:
		return tide_mark_host(f->space,
				      memory + first * TIDE_PAGE_SIZE +
					      random % 4096,
				      (n - 1) * TIDE_PAGE_SIZE + 1);
	default:
		for (uint64_t i = 0; i < n; i++)
			words[i / 64] |= 1ull << (i % 64);
		return tide_mark_bitmap(f->space, GFN + first, n, words);
	}
}

static void test_random(void **state)
{
	uint64_t random = test_seed();
	struct fixture f;

	(void)state;
	set_up(&f);
	for (uint32_t i = 0; i < 20000 * test_long(); i++) {
		uint64_t first = next_random(&random) % PAGES;
		uint64_t n = 1 + next_random(&random) % (PAGES - first);
		bool dirty[PAGES];
		int expected = 0;

		for (uint64_t p = first; p < first + n; p++)
			if (!is_there(p))
				expected = -ENOENT;
		assert_int_equal(mark_any(&f, first, n, next_random(&random)),
				 expected);
		read_dirty(&f, dirty);
		for (uint64_t p = 0; p < PAGES; p++)
			assert_int_equal(dirty[p], p >= first &&
							   p < first + n &&
							   is_there(p));
	}
	tear_down(&f);
}

#define TEST(function, name)                     \
	{                                        \
		name, function, NULL, NULL, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nothing, "no pages is nothing"),
		TEST(test_nowhere, "pages of no slot"),
		TEST(test_partly, "what lies in a slot is marked"),
		TEST(test_unlogged, "unlogged slots are skipped"),
		TEST(test_random, "random marks match an array"),
	};

	return cmocka_run_group_tests_name("mark", tests, NULL, NULL);
}
