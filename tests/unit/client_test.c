/* SPDX-License-Identifier: MIT */
/*
 * client_test.c - clients and harvests against their promises in
 * <tidemark/client.h>
 *
 * Edges: nothing to do, wrong order, extents at word, chunk and slot borders,
 * statistics.  Without a tracker; the trackers are the conformance suite's.
 */
#undef NDEBUG /* a test without its asserts tests nothing */
#include <errno.h>

#include <tidemark/client.h>
#include <tidemark/mark.h>
#include <tidemark/space.h>

#include "test_support.h"

#define PAGES 300u
#define GFN 0x1001u

static _Alignas(4096) uint8_t memory[PAGES * TIDE_PAGE_SIZE];

struct fixture {
	struct tide_space *space;
	struct tide_client *client;
};

static void set_up(struct fixture *f, enum tide_start start)
{
	assert_int_equal(tide_space_create(&f->space), 0);
	assert_int_equal(
		tide_slot_add(f->space,
			      &(struct tide_slot_config){ .id = 4,
							  .first_gfn = GFN,
							  .npages = PAGES,
							  .host = memory }),
		0);
	assert_int_equal(tide_client_open(f->space, "test", start, &f->client),
			 0);
}

static void tear_down(struct fixture *f)
{
	tide_client_close(f->client);
	tide_space_destroy(f->space);
}

static void expect_extent(struct tide_harvest *harvest, uint64_t page,
			  uint64_t npages)
{
	struct tide_extent e;

	assert_int_equal(tide_harvest_next(harvest, &e), 1);
	assert_int_equal(e.first_gfn, GFN + page);
	assert_int_equal(e.npages, npages);
	assert_ptr_equal(e.host, memory + page * TIDE_PAGE_SIZE);
	assert_int_equal(e.slot, 4);
	assert_int_equal(e.flags, 0);
}

static void expect_end(struct tide_harvest *harvest)
{
	struct tide_extent e;

	assert_int_equal(tide_harvest_next(harvest, &e), 0);
	assert_int_equal(tide_harvest_next(harvest, &e), 0);
	assert_int_equal(tide_harvest_commit(harvest), 0);
}

static void test_empty(void **state)
{
	struct tide_harvest *harvest;
	struct tide_client *client;
	struct tide_space *space;
	struct tide_extent e;

	(void)state;
	assert_int_equal(tide_space_create(&space), 0);
	assert_int_equal(
		tide_client_open(space, NULL, TIDE_START_ALL_DIRTY, &client),
		0);
	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	assert_int_equal(tide_harvest_next(harvest, &e), 0);
	assert_int_equal(tide_harvest_commit(harvest), 0);
	assert_int_equal(tide_client_pending(client), 0);
	tide_client_close(client);
	tide_client_close(NULL);
	tide_harvest_abort(NULL);
	tide_space_destroy(space);
}

static void test_bad_start(void **state)
{
	struct tide_client *client = NULL;
	struct tide_space *space;

	(void)state;
	assert_int_equal(tide_space_create(&space), 0);
	assert_int_equal(
		tide_client_open(space, "x", (enum tide_start)2, &client),
		-EINVAL);
	assert_null(client);
	tide_space_destroy(space);
}

static void test_one_harvest(void **state)
{
	struct tide_harvest *harvest, *second = NULL;
	struct fixture f;

	(void)state;
	set_up(&f, TIDE_START_CLEAN);
	assert_int_equal(tide_harvest_begin(f.client, &harvest), 0);
	assert_int_equal(tide_harvest_begin(f.client, &second), -EBUSY);
	assert_null(second);
	tide_harvest_abort(harvest);
	assert_int_equal(tide_harvest_begin(f.client, &harvest), 0);
	tear_down(&f); /* close aborts it */
}

/* Runs are as long as they can be, across words, and end with the slot. */
static void test_extents(void **state)
{
	struct tide_harvest *harvest;
	struct fixture f;

	(void)state;
	set_up(&f, TIDE_START_ALL_DIRTY);
	assert_int_equal(tide_harvest_begin(f.client, &harvest), 0);
	expect_extent(harvest, 0, PAGES);
	expect_end(harvest);
	assert_int_equal(tide_mark_range(f.space, GFN + 60, 70), 0);
	assert_int_equal(tide_mark(f.space, GFN + 131), 0);
	assert_int_equal(tide_mark(f.space, GFN), 0);
	assert_int_equal(tide_mark_range(f.space, GFN + 192, 64), 0);
	assert_int_equal(tide_mark(f.space, GFN + PAGES - 1), 0);
	assert_int_equal(tide_harvest_begin(f.client, &harvest), 0);
	expect_extent(harvest, 0, 1);
	expect_extent(harvest, 60, 70);
	expect_extent(harvest, 131, 1);
	expect_extent(harvest, 192, 64);
	expect_extent(harvest, PAGES - 1, 1);
	expect_end(harvest);
	tear_down(&f);
}

/* Every length at every place of a word, one at a time. */
static void test_runs(void **state)
{
	struct tide_harvest *harvest;
	struct fixture f;

	(void)state;
	set_up(&f, TIDE_START_CLEAN);
	for (uint64_t first = 60; first < 68; first++) {
		for (uint64_t n = 1; n < 140; n++) {
			assert_int_equal(
				tide_mark_range(f.space, GFN + first, n), 0);
			assert_int_equal(tide_harvest_begin(f.client, &harvest),
					 0);
			expect_extent(harvest, first, n);
			expect_end(harvest);
		}
	}
	tear_down(&f);
}

/* A slot that comes in a harvest is for the next one. */
static void test_slot_in_harvest(void **state)
{
	static _Alignas(4096) uint8_t more[3 * TIDE_PAGE_SIZE];
	struct tide_harvest *harvest;
	struct tide_extent e;
	struct fixture f;

	(void)state;
	set_up(&f, TIDE_START_CLEAN);
	assert_int_equal(tide_mark(f.space, GFN + 5), 0);
	assert_int_equal(tide_harvest_begin(f.client, &harvest), 0);
	assert_int_equal(
		tide_slot_add(f.space,
			      &(struct tide_slot_config){ .id = 5,
							  .first_gfn = 1,
							  .npages = 3,
							  .host = more }),
		0);
	expect_extent(harvest, 5, 1);
	expect_end(harvest);
	assert_int_equal(tide_client_pending(f.client), 3);
	assert_int_equal(tide_harvest_begin(f.client, &harvest), 0);
	assert_int_equal(tide_harvest_next(harvest, &e), 1);
	assert_int_equal(e.first_gfn, 1);
	assert_int_equal(e.npages, 3);
	assert_ptr_equal(e.host, more);
	expect_end(harvest);
	tear_down(&f);
}

static void test_gone(void **state)
{
	struct tide_harvest *harvest;
	struct tide_extent e;
	struct fixture f;

	(void)state;
	set_up(&f, TIDE_START_CLEAN);
	assert_int_equal(tide_mark(f.space, GFN + 9), 0);
	assert_int_equal(tide_slot_remove(f.space, 4), 0);
	assert_int_equal(tide_mark(f.space, GFN + 9), -ENOENT);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(tide_harvest_begin(f.client, &harvest), 0);
		assert_int_equal(tide_harvest_next(harvest, &e), 1);
		assert_int_equal(e.first_gfn, GFN + 9);
		assert_int_equal(e.npages, 1);
		assert_null(e.host);
		assert_int_equal(e.slot, 4);
		assert_int_equal(e.flags, TIDE_EXTENT_GONE);
		assert_int_equal(tide_slot_busy(f.space, 4), 0);
		if (i)
			expect_end(harvest);
		else
			tide_harvest_abort(harvest); /* once more, please */
	}
	assert_int_equal(tide_client_pending(f.client), 0);
	tear_down(&f);
}

static void test_stats(void **state)
{
	struct tide_client_stats stats;
	struct tide_space_stats space_stats;
	struct tide_harvest *harvest;
	struct fixture f;

	(void)state;
	set_up(&f, TIDE_START_CLEAN);
	assert_int_equal(tide_mark_range(f.space, GFN, 10), 0);
	assert_int_equal(tide_client_pending(f.client), 0); /* not collected */
	assert_int_equal(tide_harvest_begin(f.client, &harvest), 0);
	assert_int_equal(tide_client_pending(f.client), 0); /* taken */
	expect_extent(harvest, 0, 10);
	tide_harvest_abort(harvest);
	assert_int_equal(tide_client_pending(f.client), 10);
	assert_int_equal(tide_harvest_begin(f.client, &harvest), 0);
	expect_extent(harvest, 0, 10);
	expect_end(harvest);
	tide_client_stats_get(f.client, &stats);
	assert_int_equal(stats.harvests, 2);
	assert_int_equal(stats.commits, 1);
	assert_int_equal(stats.aborts, 1);
	assert_int_equal(stats.pages_yielded, 20);
	assert_int_equal(stats.pages_put_back, 10);
	assert_int_equal(stats.pages_from_others, 0);
	tide_space_stats_get(f.space, &space_stats);
	assert_int_equal(space_stats.pages_marked, 10);
	assert_int_equal(space_stats.failed_closed, 0);
	tear_down(&f);
}

#define TEST(function, name)                     \
	{                                        \
		name, function, NULL, NULL, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_empty, "a space without slots"),
		TEST(test_bad_start, "a bad start is refused"),
		TEST(test_one_harvest, "one harvest at a time"),
		TEST(test_extents, "extents are maximal runs"),
		TEST(test_runs, "runs of every length at every place"),
		TEST(test_slot_in_harvest, "a new slot waits for the next one"),
		TEST(test_gone, "pages of a removed slot"),
		TEST(test_stats, "the statistics are right"),
	};

	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
