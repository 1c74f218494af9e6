/* SPDX-License-Identifier: MIT */
/*
 * slots_test.c - many slots at once
 *
 * The tracker is a table of functions that refuses what it is told to.
 */
#undef NDEBUG
#include <errno.h>

#include <tidemark/client.h>
#include <tidemark/mark.h>

#include "space/slots.h"
#include "space/tracker_ops.h"
#include "test_support.h"

#define COUNT 1000u
#define NPAGES 4u
#define REFUSED ((COUNT + 2) / 3)
/* Slot number i has the id 7 * i + 1, and its gfns at 10 * i. */
#define ID(i) (7 * (i) + 1)
#define GFN(i) (10ull * (i))

static unsigned char memory[1]
	__attribute__((aligned(TIDE_PAGE_SIZE))); /* of nobody, never read */

static struct {
	uint32_t refuse_each; /* add: every so many; 0: none */
	uint32_t keep;	      /* remove: this id */
	uint32_t adds, removes, collects;
} tracker;

static int fake_add(void *opaque, struct tide_slot *slot, bool log)
{
	uint32_t number = (tide_slot_id(slot) - 1) / 7;

	(void)opaque;
	(void)log;
	tracker.adds++;
	return tracker.refuse_each && number % tracker.refuse_each == 0 ? -EBUSY
									: 0;
}

static int fake_remove(void *opaque, struct tide_slot *slot)
{
	(void)opaque;
	tracker.removes++;
	return tide_slot_id(slot) == tracker.keep ? -EIO : 0;
}

static int fake_move(void *opaque, struct tide_slot *slot, uint64_t first_gfn)
{
	(void)opaque;
	(void)slot;
	(void)first_gfn;
	return 0;
}

static int fake_park(void *opaque, struct tide_slot *slot)
{
	(void)opaque;
	(void)slot;
	return 0;
}

static int fake_log(void *opaque, struct tide_slot *slot, bool on)
{
	(void)opaque;
	(void)slot;
	(void)on;
	return 0;
}

static int fake_collect(void *opaque, struct tide_slot *only)
{
	(void)opaque;
	(void)only;
	tracker.collects++;
	return 0;
}

static bool fake_sync(void *opaque)
{
	(void)opaque;
	return true;
}

static void fake_destroy(void *opaque)
{
	(void)opaque;
}

static const struct tide_tracker_ops fake_ops = {
	.kind = TIDE_TRACKER_NONE,
	.slot_add = fake_add,
	.slot_remove = fake_remove,
	.slot_move = fake_move,
	.slot_park = fake_park,
	.slot_log = fake_log,
	.collect = fake_collect,
	.sync = fake_sync,
	.destroy = fake_destroy,
};

static struct tide_space *space;
static struct tide_client *client;
static struct tide_slot_config configs[COUNT];
static struct tide_slot_removal removals[COUNT];
static int errs[COUNT];

static int begin(void **state)
{
	(void)state;
	memset(&tracker, 0, sizeof(tracker));
	for (uint32_t i = 0; i < COUNT; i++) {
		configs[i] = (struct tide_slot_config){
			.size = sizeof(configs[i]),
			.id = ID(i),
			.first_gfn = GFN(i),
			.npages = NPAGES,
			.host = memory,
		};
		removals[i].id = ID(COUNT - 1 - i);
		errs[i] = 1;
	}
	return tide_space_create(&space) ||
	       tide_space_attach_ops(space, &fake_ops, &tracker) ||
	       tide_client_open(space, "test", TIDE_START_CLEAN, &client);
}

static int end(void **state)
{
	(void)state;
	tide_client_close(client);
	tide_space_destroy(space);
	return 0;
}

static uint32_t count_slots(void)
{
	struct tide_slot_info info;
	uint64_t last = 0;
	uint32_t count = 0;

	while (!tide_slot_get(space, count, &info)) {
		assert_true(info.first_gfn >= last);
		last = info.first_gfn + info.npages;
		count++;
	}
	return count;
}

/* Pages that come: of slots that are there, and of others. */
static void harvest(uint64_t *ret_there, uint64_t *ret_gone)
{
	struct tide_harvest *open;
	struct tide_extent e;

	*ret_there = *ret_gone = 0;
	assert_int_equal(tide_harvest_begin(client, &open), 0);
	while (tide_harvest_next(open, &e) > 0) {
		if (e.flags & TIDE_EXTENT_GONE)
			*ret_gone += e.npages;
		else
			*ret_there += e.npages;
	}
	assert_int_equal(tide_harvest_commit(open), 0);
}

/* Fails when slots that come together are not what they are one by one. */
static void test_add(void **state)
{
	uint64_t there, gone;

	(void)state;
	assert_int_equal(tide_slots_add(space, configs, COUNT, errs), 0);
	for (uint32_t i = 0; i < COUNT; i++)
		assert_int_equal(errs[i], 0);
	assert_int_equal(count_slots(), COUNT);
	harvest(&there, &gone);
	assert_int_equal(there, COUNT * NPAGES);
	assert_int_equal(gone, 0);
	for (uint32_t i = 0; i < COUNT; i += 3)
		assert_int_equal(tide_mark(space, GFN(i) + 1), 0);
	assert_int_equal(tide_mark(space, GFN(5) + NPAGES), -ENOENT);
	harvest(&there, &gone);
	assert_int_equal(there, (COUNT + 2) / 3);
}

/* Fails when one that the tracker refuses is there, or keeps others out. */
static void test_refused(void **state)
{
	uint64_t there, gone;

	(void)state;
	tracker.refuse_each = 3; /* the first, and the last, too */
	assert_int_equal(tide_slots_add(space, configs, COUNT, errs), 0);
	for (uint32_t i = 0; i < COUNT; i++)
		assert_int_equal(errs[i], i % 3 ? 0 : -EBUSY);
	assert_int_equal(count_slots(), COUNT - REFUSED);
	harvest(&there, &gone);
	assert_int_equal(there, (COUNT - REFUSED) * NPAGES);
	/* They may come later; and all may be refused. */
	tracker.refuse_each = 1;
	assert_int_equal(tide_slots_add(space, &configs[3], 1, errs), 0);
	assert_int_equal(errs[0], -EBUSY);
	tracker.refuse_each = 0;
	assert_int_equal(tide_slots_add(space, &configs[3], 1, errs), 0);
	assert_int_equal(errs[0], 0);
	assert_int_equal(count_slots(), COUNT - REFUSED + 1);
}

static void expect_none(int err)
{
	tracker.adds = 0;
	assert_int_equal(tide_slots_add(space, configs, COUNT, errs), err);
	assert_int_equal(tracker.adds, 0);
}

/* Fails when a call that is wrong adds some of its slots. */
static void test_wrong(void **state)
{
	(void)state;
	configs[500].npages = 0;
	expect_none(-EINVAL);
	configs[500].npages = NPAGES + 7; /* into the next one */
	expect_none(-EINVAL);
	configs[500].npages = NPAGES;
	configs[500].id = ID(501);
	expect_none(-EINVAL);
	configs[500].id = ID(500);
	configs[0].id = ID(500) + 3; /* in the way, by its gfns */
	configs[0].first_gfn = GFN(700) + NPAGES - 1;
	assert_int_equal(tide_slot_add(space, &configs[0]), 0);
	configs[0].id = ID(0);
	configs[0].first_gfn = GFN(0);
	expect_none(-EEXIST);
	assert_int_equal(tide_slot_remove(space, ID(500) + 3), 0);
	configs[0].id = ID(300); /* by its id */
	configs[0].first_gfn = GFN(COUNT);
	assert_int_equal(tide_slot_add(space, &configs[0]), 0);
	configs[0].id = ID(0);
	configs[0].first_gfn = GFN(0);
	expect_none(-EEXIST);
	assert_int_equal(tide_slot_remove(space, ID(300)), 0);
	assert_int_equal(count_slots(), 0);
	assert_int_equal(tide_slots_add(space, configs, COUNT, errs), 0);
	assert_int_equal(count_slots(), COUNT);
}

/* Fails when slots that go together take a mark along, or one that the tracker
 * keeps, or one that is not there goes unsaid. */
static void test_remove(void **state)
{
	uint64_t there, gone;

	(void)state;
	assert_int_equal(tide_slots_add(space, configs, COUNT, errs), 0);
	harvest(&there, &gone);
	assert_int_equal(tide_slot_remove(space, ID(10)), 0);
	for (uint32_t i = 100; i < 200; i++)
		assert_int_equal(tide_mark(space, GFN(i)), 0);
	tracker.keep = ID(20);
	/* The last 100 of them stay: removals begins with the highest ids. */
	assert_int_equal(tide_slots_remove(space, removals + 100, COUNT - 100),
			 0);
	for (uint32_t i = 0; i < COUNT - 100; i++) {
		const struct tide_slot_removal *removal = &removals[100 + i];

		assert_int_equal(removal->id, ID(i));
		assert_int_equal(removal->err, i == 10	 ? -ENOENT
					       : i == 20 ? -EIO
							 : 0);
	}
	assert_int_equal(count_slots(), 101);
	assert_int_equal(tide_mark(space, GFN(150)), -ENOENT);
	harvest(&there, &gone);
	assert_int_equal(gone, 100);
	assert_int_equal(there, NPAGES); /* the one that was kept */
	tracker.keep = 0;
	assert_int_equal(tide_slot_remove(space, ID(20)), 0);
	assert_int_equal(tide_slots_add(space, configs, COUNT - 100, errs), 0);
	assert_int_equal(count_slots(), COUNT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_add, begin, end),
		cmocka_unit_test_setup_teardown(test_refused, begin, end),
		cmocka_unit_test_setup_teardown(test_wrong, begin, end),
		cmocka_unit_test_setup_teardown(test_remove, begin, end),
	};

	return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
