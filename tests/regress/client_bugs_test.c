/* SPDX-License-Identifier: MIT */
/*
 * client_bugs_test.c - what is consumed must be given back, and to everybody
 *
 * Each test forbids the wrong outcome of one bug that a VMM once had;
 * tests/regress/README.md lists them with their origin.
 */
#undef NDEBUG
#include <errno.h>

#include "rig.h"

#define GFN(page) (RIG_GFN + (page))

static const enum tide_tracker trackers[] = { TIDE_TRACKER_KVM_GET,
					      TIDE_TRACKER_KVM_CLEAR,
					      TIDE_TRACKER_KVM_RING };

#define EACH_TRACKER(i) for (size_t i = 0; i < 3; i++)

static struct rig_config config_of(enum tide_tracker tracker, bool real)
{
	return (struct rig_config){ .tracker = tracker,
				    .real = real,
				    .chunk_pages = 64,
				    .sizes = { 200, 65 } };
}

static void failed_snapshot(enum tide_tracker tracker, bool real, bool abort_it)
{
	struct rig_config config = config_of(tracker, real);
	struct tide_harvest *harvest;
	struct tide_client *client;
	struct tide_extent e;
	struct rig rig;

	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_write(&rig, GFN(1));
	rig_write(&rig, GFN(100));
	rig_write(&rig, rig.first_gfn[1]);
	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	assert_int_equal(tide_harvest_next(harvest, &e), 1);
	rig_write(&rig, GFN(199)); /* and one that comes meanwhile */
	if (abort_it) {
		tide_harvest_abort(harvest);
		RIG_EXPECT(client, GFN(1), GFN(100), rig.first_gfn[1],
			   GFN(199));
	} else {
		assert_int_equal(tide_harvest_commit(harvest), 0);
		RIG_EXPECT(client, GFN(100), rig.first_gfn[1], GFN(199));
	}
	rig_destroy(&rig);
}

/* Fails when abort gives back less than everything: the next diff misses what
 * the failed snapshot had consumed. */
static void test_v1(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	failed_snapshot(trackers[i], false, true);
}

static void test_v1_real(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	failed_snapshot(trackers[i], true, true);
}

/* Fails when commit takes pages that were not handed out. */
static void test_v1_rest(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	failed_snapshot(trackers[i], false, false);
}

/* Fails when a full snapshot leaves the log as it was (the first diff would
 * be too large), or takes too much of it (a diff without its base). */
static void test_v2(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	{
		struct rig_config config = config_of(trackers[i], false);
		struct tide_client *client;
		struct rig_set set;
		struct rig rig;

		rig_create(&rig, &config);
		rig_client(&rig, 1, TIDE_START_CLEAN); /* logging is on */
		rig_write(&rig, GFN(5));
		client = rig_client(&rig, 0, TIDE_START_ALL_DIRTY);
		assert_int_equal(rig_harvest(client, &set), 0);
		assert_int_equal(set.count, 265);
		rig_expect_none(client);
		rig_write(&rig, GFN(6));
		RIG_EXPECT(client, GFN(6));
		RIG_EXPECT(rig.client[1], GFN(5), GFN(6));
		rig_destroy(&rig);
	}
}

/* Fails when an error in the middle keeps what was handed out, or commit
 * hides it. */
static void test_v7(void **state)
{
	struct rig_config config = config_of(TIDE_TRACKER_KVM_CLEAR, false);
	struct tide_harvest *harvest;
	struct tide_client *client;
	struct tide_extent e;
	struct rig_set set;
	struct rig rig;

	(void)state;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_write(&rig, GFN(1));
	rig_write(&rig, GFN(100));
	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	assert_int_equal(tide_harvest_next(harvest, &e), 1);
	sim_fail(rig.sim, KVM_CLEAR_DIRTY_LOG, 1, EIO, false);
	assert_int_equal(tide_harvest_next(harvest, &e), -EIO);
	assert_true(tide_harvest_next(harvest, &e) < 0);
	assert_int_equal(tide_harvest_commit(harvest), -ECANCELED);
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_true(rig_has(&set, GFN(1)) && rig_has(&set, GFN(100)));
	rig_destroy(&rig);
}

/* Fails when closing a client with an open harvest takes its pages from
 * anybody else, or from a client that comes after it. */
static void test_v7_close(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	{
		struct rig_config config = config_of(trackers[i], false);
		struct tide_harvest *harvest;
		struct tide_client *two;
		struct tide_extent e;
		struct rig rig;

		rig_create(&rig, &config);
		rig_client(&rig, 0, TIDE_START_CLEAN);
		two = rig_client(&rig, 1, TIDE_START_CLEAN);
		rig_write(&rig, GFN(1));
		rig_write(&rig, GFN(100));
		assert_int_equal(tide_harvest_begin(rig.client[0], &harvest),
				 0);
		assert_int_equal(tide_harvest_next(harvest, &e), 1);
		rig_close(&rig, 0);
		rig_write(&rig, GFN(100));
		RIG_EXPECT(two, GFN(1), GFN(100));
		rig_write(&rig, GFN(1));
		rig_client(&rig, 0, TIDE_START_CLEAN);
		rig_write(&rig, GFN(100));
		RIG_EXPECT(rig.client[0], GFN(100));
		RIG_EXPECT(two, GFN(1), GFN(100));
		rig_destroy(&rig);
	}
}

/* Fails when "clean" is said of memory that the client has never seen: a slot
 * that came later, or came back. */
static void test_v8(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	{
		struct rig_config config = config_of(trackers[i], false);
		struct tide_slot_config again = { .id = 1, .npages = 65 };
		struct tide_client *client;
		struct rig_set set;
		struct rig rig;
		uint32_t present = 0;

		rig_create(&rig, &config);
		client = rig_client(&rig, 0, TIDE_START_CLEAN);
		again.first_gfn = rig.first_gfn[1];
		again.host = rig.host[1];
		assert_int_equal(tide_slot_remove(rig.space, 1), 0);
		assert_int_equal(tide_slot_add(rig.space, &again), 0);
		assert_int_equal(rig_harvest(client, &set), 0);
		for (uint32_t n = 0; n < set.count; n++)
			present += !set.gone[n];
		assert_int_equal(present, 65);
		rig_destroy(&rig);
	}
}

/* Fails when opening a client hides an error of the log, or a first harvest
 * after it says "nothing". */
static void test_v8_error(void **state)
{
	struct rig_config config = config_of(TIDE_TRACKER_KVM_GET, false);
	struct tide_client *client = NULL;
	struct rig rig;

	(void)state;
	rig_create(&rig, &config);
	sim_fail(rig.sim, KVM_SET_USER_MEMORY_REGION, 2, ENOMEM, false);
	assert_int_equal(
		tide_client_open(rig.space, "x", TIDE_START_CLEAN, &client),
		-ENOMEM);
	assert_null(client);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_write(&rig, GFN(3));
	rig_write(&rig, rig.first_gfn[1]);
	RIG_EXPECT(client, GFN(3), rig.first_gfn[1]);
	rig_destroy(&rig);
}

/* Fails when the first fill is bits 1 to n instead of 0 to n - 1, or counts
 * what is not there. */
static void test_q26(void **state)
{
	static const uint64_t sizes[] = { 1, 63, 64, 65, 4096, 4097 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct rig_config config = { .sizes = { sizes[i] } };
		struct tide_client *client;
		struct rig_set set;
		struct rig rig;

		rig_create(&rig, &config);
		client = rig_client(&rig, 0, TIDE_START_ALL_DIRTY);
		assert_int_equal(tide_client_pending(client), sizes[i]);
		assert_int_equal(rig_harvest(client, &set), 0);
		assert_int_equal(set.count, sizes[i]);
		assert_int_equal(set.gfn[0], GFN(0));
		assert_int_equal(set.gfn[set.count - 1], GFN(sizes[i] - 1));
		assert_int_equal(tide_client_pending(client), 0);
		rig_destroy(&rig);
	}
}

#define TEST(function, name)                     \
	{                                        \
		name, function, NULL, NULL, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_v1, "V1 a failed snapshot gives back"),
		TEST(test_v1_real, "V1 a failed snapshot, real kernel"),
		TEST(test_v1_rest, "V1 commit keeps what was not read"),
		TEST(test_v2, "V2 a full snapshot is a base"),
		TEST(test_v7, "V7 an error gives everything back"),
		TEST(test_v7_close, "V7 a client that goes takes nothing"),
		TEST(test_v8, "V8 clean needs something seen before"),
		TEST(test_v8_error, "V8 an error at the start is told"),
		TEST(test_q26, "Q26 the first fill is every page"),
	};

	return cmocka_run_group_tests_name("client bugs", tests, NULL, NULL);
}
