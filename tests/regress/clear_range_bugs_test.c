/* SPDX-License-Identifier: MIT */
/*
 * clear_range_bugs_test.c - GET and CLEAR: ranges, words, ends, other bits
 *
 * Each test forbids the wrong outcome of one bug that KVM or a VMM once had;
 * tests/regress/README.md lists them with their origin.
 */
#undef NDEBUG
#include <errno.h>
#include <sys/ioctl.h>

#include "rig.h"

#define GFN(page) (RIG_GFN + (page))

static const struct rig_config clear_config = {
	.tracker = TIDE_TRACKER_KVM_CLEAR,
	.chunk_pages = 64,
	.sizes = { 200 },
};

/* Fails when re-arming passes the whole slot instead of the chunk: pages that
 * nobody was handed lose their bits. */
static void test_k31(void **state)
{
	struct tide_harvest *harvest;
	struct tide_extent e;
	struct rig rig;
	struct tide_client *client;

	(void)state;
	rig_create(&rig, &clear_config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_write(&rig, GFN(3));
	rig_write(&rig, GFN(150));
	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	assert_int_equal(tide_harvest_next(harvest, &e), 1);
	assert_int_equal(e.first_gfn, GFN(3));
	assert_true(sim_last_clear(rig.sim).num_pages <= 64);
	assert_false(sim_bit(rig.sim, GFN(3)));
	assert_true(sim_bit(rig.sim, GFN(150)));
	tide_harvest_abort(harvest);
	rig_destroy(&rig);
}

static void last_word(bool real, enum tide_tracker tracker, uint64_t npages)
{
	struct rig_config config = { .tracker = tracker,
				     .real = real,
				     .sizes = { npages } };
	struct tide_client *client;
	struct rig rig;

	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	for (int round = 0; round < 3; round++) {
		rig_write(&rig, GFN(npages - 1));
		RIG_EXPECT(client, GFN(npages - 1));
		rig_expect_none(client);
	}
	rig_destroy(&rig);
}

/* Fails when re-arming rounds the number of pages down to words: the last
 * pages are reported for ever. */
static void test_k32(void **state)
{
	(void)state;
	for (uint64_t n = 64; n < 200; n += 13)
		last_word(false, TIDE_TRACKER_KVM_CLEAR, n);
}

static void test_k32_real(void **state)
{
	(void)state;
	last_word(true, TIDE_TRACKER_KVM_CLEAR, 130);
	last_word(true, TIDE_TRACKER_KVM_CLEAR, 65);
}

/* Fails when the number of pages is rounded up beyond the slot's end, or when
 * a count that is not a multiple of 64 ends before it: the kernel answers
 * EINVAL, and next fails. */
static void test_k33(void **state)
{
	static const uint64_t sizes[] = { 1, 63, 64, 65, 127, 128, 129, 191 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		last_word(false, TIDE_TRACKER_KVM_CLEAR, sizes[i]);
		last_word(false, TIDE_TRACKER_KVM_GET, sizes[i]);
		last_word(false, TIDE_TRACKER_KVM_RING, sizes[i]);
	}
}

static void test_k33_real(void **state)
{
	(void)state;
	last_word(true, TIDE_TRACKER_KVM_CLEAR, 1);
	last_word(true, TIDE_TRACKER_KVM_CLEAR, 63);
	last_word(true, TIDE_TRACKER_KVM_GET, 129);
	last_word(true, TIDE_TRACKER_KVM_RING, 1);
}

static int clear_raw(int fd, uint64_t first, uint32_t npages)
{
	uint64_t words[4] = { 0 };
	struct kvm_clear_dirty_log log = { .slot = 0,
					   .num_pages = npages,
					   .first_page = first,
					   .padding2 = (uintptr_t)words };

	return ioctl(fd, KVM_CLEAR_DIRTY_LOG, &log) ? -errno : 0;
}

static const struct {
	uint64_t first;
	uint32_t npages;
	int result;
} clears[] = {
	{ 0, 200, 0 },
	{ 64, 136, 0 },
	{ 0, 64, 0 },
	{ 128, 72, 0 },
	{ 0, 0, 0 },
	{ 192, 8, 0 },
	{ 1, 64, -EINVAL },
	{ 0, 63, -EINVAL },
	{ 0, 201, -EINVAL },
	{ 192, 9, -EINVAL },
	{ 256, 0, -EINVAL },
	{ 256, 64, -EINVAL },
	{ -64ull, 64, -EINVAL },
	{ -64ull, 128, -EINVAL },
};

static void check_clears(bool real)
{
	struct rig_config config = clear_config;
	struct rig rig;
	int fd;

	config.real = real;
	rig_create(&rig, &config);
	rig_client(&rig, 0, TIDE_START_CLEAN);
	fd = real ? small_vm_fd(rig.real) : sim_vm_fd(rig.sim);
	for (size_t i = 0; i < sizeof(clears) / sizeof(clears[0]); i++)
		assert_int_equal(
			clear_raw(fd, clears[i].first, clears[i].npages),
			clears[i].result);
	rig_destroy(&rig);
}

/* The rules that the library relies on: the simulated kernel and the real one
 * give the same answers.  Fails when one of them accepts a wild range. */
static void test_k34(void **state)
{
	(void)state;
	check_clears(false);
}

static void test_k34_real(void **state)
{
	(void)state;
	check_clears(true);
}

/* Fails when GET's failure is treated as "nothing was dirty": its bits were
 * cleared before the copy failed. */
static void test_k37(void **state)
{
	struct rig_config config = { .tracker = TIDE_TRACKER_KVM_GET,
				     .sizes = { 200 } };
	struct tide_space_stats stats;
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;

	(void)state;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_write(&rig, GFN(7));
	sim_fail(rig.sim, KVM_GET_DIRTY_LOG, 1, EFAULT, true);
	assert_int_equal(rig_harvest(client, &set), -EFAULT);
	assert_true(sim_fail_clear(rig.sim));
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_true(rig_has(&set, GFN(7)));
	tide_space_stats_get(rig.space, &stats);
	assert_true(stats.failed_closed > 0);
	rig_destroy(&rig);
}

/* Fails when bits beyond the slot's end reach a dirty set: they would be
 * pages of nobody, or an access beyond it. */
static void test_k38(void **state)
{
	struct rig_config config = { .tracker = TIDE_TRACKER_KVM_GET,
				     .sim = { .dirty_tail = true },
				     .sizes = { 67, 3 } };
	struct tide_client *client;
	struct rig rig;

	(void)state;
	for (int i = 0; i < 2; i++) {
		rig_create(&rig, &config);
		client = rig_client(&rig, 0, TIDE_START_CLEAN);
		rig_write(&rig, GFN(66));
		RIG_EXPECT(client, GFN(66));
		rig_expect_none(client);
		rig_destroy(&rig);
		config.tracker = TIDE_TRACKER_KVM_CLEAR;
	}
}

static bool q1_written;

/* A write to the next chunk in the middle of the CLEAR of this one. */
static void q1_hook(void *opaque, unsigned long request, enum sim_stage stage)
{
	struct rig *rig = opaque;

	if (request == KVM_CLEAR_DIRTY_LOG && stage == SIM_ENTER &&
	    !q1_written) {
		q1_written = true;
		rig_write(rig, GFN(64));
		rig_write(rig, GFN(127));
	}
}

/* Fails when CLEAR gets more words than the chunk has, or all ones: pages 64
 * and 127 were never in a GET. */
static void test_q1(void **state)
{
	struct tide_harvest *harvest;
	struct tide_extent e;
	struct tide_client *client;
	struct rig rig;

	(void)state;
	q1_written = false;
	rig_create(&rig, &clear_config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_write(&rig, GFN(63));
	rig_write(&rig, GFN(70));
	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	sim_hook(rig.sim, q1_hook, &rig);
	while (tide_harvest_next(harvest, &e) > 0)
		continue;
	assert_int_equal(tide_harvest_commit(harvest), 0);
	sim_hook(rig.sim, NULL, NULL);
	assert_true(q1_written);
	RIG_EXPECT(client, GFN(64), GFN(127));
	rig_destroy(&rig);
}

/* Fails when CLEAR begins anywhere but at the chunk's first known word. */
static void test_q2(void **state)
{
	struct rig_config config = clear_config;
	struct tide_client *client;
	struct rig rig;

	(void)state;
	config.chunk_pages = 128;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_write(&rig, GFN(195));
	RIG_EXPECT(client, GFN(195));
	assert_int_equal(sim_last_clear(rig.sim).first_page, 192);
	assert_int_equal(sim_last_clear(rig.sim).num_pages, 8);
	assert_false(sim_bit(rig.sim, GFN(195)));
	assert_true(sim_armed(rig.sim, GFN(195)));
	rig_destroy(&rig);
}

/* Fails when only the first of several slots is re-armed: the rest is never
 * reported again, or for ever. */
static void test_q3(void **state)
{
	struct rig_config config = { .tracker = TIDE_TRACKER_KVM_CLEAR,
				     .sizes = { 70, 1, 65, 130 } };
	struct tide_client *client;
	struct rig rig;

	(void)state;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	for (int round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < rig.slots; i++)
			rig_write(&rig, rig.first_gfn[i]);
		RIG_EXPECT(client, rig.first_gfn[0], rig.first_gfn[1],
			   rig.first_gfn[2], rig.first_gfn[3]);
		rig_expect_none(client);
	}
	rig_destroy(&rig);
}

static void unknown_bit(bool real)
{
	struct rig_config config = clear_config;
	struct tide_harvest *harvest;
	struct tide_client *client;
	struct tide_extent e;
	struct rig rig;

	config.real = real;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_write(&rig, GFN(5));
	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	rig_write(&rig, GFN(6)); /* after the GET, same word */
	assert_int_equal(tide_harvest_next(harvest, &e), 1);
	assert_int_equal(e.first_gfn, GFN(5));
	assert_int_equal(e.npages, 1);
	assert_int_equal(tide_harvest_next(harvest, &e), 0);
	assert_int_equal(tide_harvest_commit(harvest), 0);
	RIG_EXPECT(client, GFN(6));
	rig_destroy(&rig);
}

/* Thread 4.  Fails when re-arming clears words or ranges instead of known
 * bits. */
static void test_q6(void **state)
{
	(void)state;
	unknown_bit(false);
}

static void test_q6_real(void **state)
{
	(void)state;
	unknown_bit(true);
}

static void stale_snapshot(bool real)
{
	struct rig_config config = clear_config;
	struct tide_harvest *old;
	struct tide_client *one, *two;
	struct tide_extent e;
	struct rig rig;

	config.real = real;
	rig_create(&rig, &config);
	one = rig_client(&rig, 0, TIDE_START_CLEAN);
	two = rig_client(&rig, 1, TIDE_START_CLEAN);
	rig_write(&rig, GFN(9));
	assert_int_equal(tide_harvest_begin(two, &old), 0); /* knows 9 */
	RIG_EXPECT(one, GFN(9));			    /* clears 9 */
	rig_write(&rig, GFN(9));			    /* anew */
	assert_int_equal(tide_harvest_next(old, &e), 1);
	assert_int_equal(tide_harvest_commit(old), 0);
	RIG_EXPECT(one, GFN(9)); /* two's old snapshot did not clear it */
	RIG_EXPECT(two, GFN(9));
	rig_destroy(&rig);
}

/* Fails when each client clears by its own snapshot: a bit set since another
 * client cleared it is cleared unseen. */
static void test_q7(void **state)
{
	(void)state;
	stale_snapshot(false);
}

static void test_q7_real(void **state)
{
	(void)state;
	stale_snapshot(true);
}

/* Fails when a range that begins or ends within a word is refused or asserted
 * against: RIG_GFN is odd, and so are the sizes. */
static void test_q17(void **state)
{
	struct rig_config config = { .tracker = TIDE_TRACKER_KVM_CLEAR,
				     .sizes = { 3, 67, 129, 31 } };
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;

	(void)state;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_ALL_DIRTY);
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_int_equal(set.count, 3 + 67 + 129 + 31);
	rig_expect_none(client);
	rig_destroy(&rig);
}

/* Fails when the cursor does not skip the clean end of a slot: every later
 * slot's pages are reported at the wrong place. */
static void test_v3(void **state)
{
	struct rig_config config = { .tracker = TIDE_TRACKER_KVM_CLEAR,
				     .chunk_pages = 64,
				     .sizes = { 300, 200, 130, 65 } };
	struct tide_client *client;
	struct rig rig;

	(void)state;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_write(&rig, rig.first_gfn[0] + 2);
	rig_write(&rig, rig.first_gfn[1]);
	rig_write(&rig, rig.first_gfn[2] + 64);
	rig_write(&rig, rig.first_gfn[3] + 1);
	RIG_EXPECT(client, rig.first_gfn[0] + 2, rig.first_gfn[1],
		   rig.first_gfn[2] + 64, rig.first_gfn[3] + 1);
	rig_destroy(&rig);
}

/* Fails, under ASan at the latest, when the last word's loop runs beyond the
 * slot: sizes around a word, everything dirty, exactly the slot comes. */
static void test_v5(void **state)
{
	(void)state;
	for (uint64_t n = 1; n < 140; n += n % 64 < 2 ? 1 : 31) {
		struct rig_config config = { .tracker = TIDE_TRACKER_KVM_GET,
					     .sizes = { n, 64 } };
		struct tide_client *client;
		struct rig_set set;
		struct rig rig;

		rig_create(&rig, &config);
		client = rig_client(&rig, 0, TIDE_START_ALL_DIRTY);
		assert_int_equal(rig_harvest(client, &set), 0);
		assert_int_equal(set.count, n + 64);
		assert_int_equal(set.gfn[set.count - 1], GFN(n + 63));
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
		TEST(test_k31, "K31 CLEAR takes the range, not the slot"),
		TEST(test_k32, "K32 the last partial word is cleared"),
		TEST(test_k32_real, "K32 the last partial word, real kernel"),
		TEST(test_k33, "K33 slots of any size can be cleared"),
		TEST(test_k33_real, "K33 slots of any size, real kernel"),
		TEST(test_k34, "K34 wild CLEAR ranges are refused"),
		TEST(test_k34_real, "K34 wild CLEAR ranges, real kernel"),
		TEST(test_k37, "K37 a GET that fails is all dirty"),
		TEST(test_k38, "K38 bits beyond the end are ignored"),
		TEST(test_q1, "Q1 the next words are not cleared"),
		TEST(test_q2, "Q2 CLEAR begins where the chunk does"),
		TEST(test_q3, "Q3 every slot is re-armed"),
		TEST(test_q6, "Q6 an unknown bit is not cleared"),
		TEST(test_q6_real, "Q6 an unknown bit, real kernel"),
		TEST(test_q7, "Q7 an old snapshot clears nothing new"),
		TEST(test_q7_real, "Q7 an old snapshot, real kernel"),
		TEST(test_q17, "Q17 unaligned ranges are legal"),
		TEST(test_v3, "V3 the cursor skips clean ends of slots"),
		TEST(test_v5, "V5 the last word ends with the slot"),
	};

	return cmocka_run_group_tests_name("clear range bugs", tests, NULL,
					   NULL);
}
