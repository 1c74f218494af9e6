/* SPDX-License-Identifier: MIT */
/*
 * mark_bugs_test.c - devices, vhost and bitmaps: writes that nobody caught
 *
 * Each test forbids the wrong outcome of one bug that KVM, QEMU or a VMM once
 * had; tests/regress/README.md lists them with their origin.
 */
#undef NDEBUG
#include <errno.h>
#include <pthread.h>

#include "rig.h"

#define GFN(page) (RIG_GFN + (page))

static const struct rig_config marks_only = { .sizes = { 70, 65 } };

struct racer {
	struct rig *rig;
	uint64_t page, writes;
	int *go;
	int how;
};

/* Writes a counter to its page and marks it, again and again. */
static void *race(void *opaque)
{
	struct racer *racer = opaque;
	uint64_t *at = (uint64_t *)(void *)(racer->rig->host[0] +
					    racer->page * TIDE_PAGE_SIZE);

	while (!__atomic_load_n(racer->go, __ATOMIC_ACQUIRE))
		continue;
	for (uint64_t i = 1; i <= racer->writes; i++) {
		uint64_t bit = 1;

		__atomic_store_n(at, i, __ATOMIC_RELAXED);
		if (racer->how == 0)
			(void)tide_mark(racer->rig->space, GFN(racer->page));
		else if (racer->how == 1)
			(void)tide_mark_range(racer->rig->space,
					      GFN(racer->page), 1);
		else
			(void)tide_mark_bitmap(racer->rig->space,
					       GFN(racer->page), 1, &bit);
	}
	return NULL;
}

/* Copies what is handed out. */
static void copy_dirty(struct rig *rig, uint64_t *copy)
{
	struct tide_harvest *harvest;
	struct tide_extent e;

	assert_int_equal(tide_harvest_begin(rig->client[0], &harvest), 0);
	while (tide_harvest_next(harvest, &e) > 0) {
		for (uint64_t i = 0; i < e.npages; i++) {
			const char *at = (char *)e.host + i * TIDE_PAGE_SIZE;

			copy[e.first_gfn - RIG_GFN + i] = __atomic_load_n(
				(const uint64_t *)(const void *)at,
				__ATOMIC_RELAXED);
		}
	}
	assert_int_equal(tide_harvest_commit(harvest), 0);
}

/* @threads mark pages of one word; one harvests; at the end the copies must be
 * the last values. */
static void one_word(uint64_t writes, int how)
{
	struct racer racers[4];
	pthread_t threads[4];
	uint64_t copy[70] = { 0 };
	struct rig rig;
	int go = 0;

	rig_create(&rig, &marks_only);
	rig_client(&rig, 0, TIDE_START_CLEAN);
	for (uint64_t i = 0; i < 4; i++) {
		racers[i] = (struct racer){ &rig, i * 13, writes, &go, how };
		assert_int_equal(
			pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	__atomic_store_n(&go, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 200; i++)
		copy_dirty(&rig, copy);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	copy_dirty(&rig, copy);
	for (int i = 0; i < 4; i++)
		assert_int_equal(copy[racers[i].page], writes);
	rig_destroy(&rig);
}

/* Fails when setting a bit is a plain read, or, write of its word. */
static void test_k10(void **state)
{
	(void)state;
	for (int round = 0; round < 30; round++)
		one_word(1, round % 3);
}

/* Fails when taking a word is a read and a store of zero, or when a mark that
 * finds its bit set lacks the fence that makes the harvest see its write. */
static void test_k11(void **state)
{
	(void)state;
	one_word(200000 * test_long(), 0);
}

/* The same for whole words at once. */
static void test_q23(void **state)
{
	(void)state;
	one_word(50000 * test_long(), 1);
	one_word(50000 * test_long(), 2);
}

/* Fails when the length is not counted from the offset in the page, or bytes
 * are taken for pages. */
static void test_k59(void **state)
{
	const uint64_t gpa = (uint64_t)RIG_GFN << TIDE_PAGE_SHIFT;
	struct tide_client *client;
	struct rig rig;

	(void)state;
	rig_create(&rig, &marks_only);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	assert_int_equal(tide_mark_bytes(rig.space, gpa + 4095, 2), 0);
	RIG_EXPECT(client, GFN(0), GFN(1));
	assert_int_equal(tide_mark_bytes(rig.space, gpa + 1, 8192), 0);
	RIG_EXPECT(client, GFN(0), GFN(1), GFN(2));
	assert_int_equal(tide_mark_bytes(rig.space, gpa + 4096, 4096), 0);
	RIG_EXPECT(client, GFN(1));
	assert_int_equal(tide_mark_host(rig.space, rig.host[0] + 4095, 2), 0);
	RIG_EXPECT(client, GFN(0), GFN(1));
	assert_int_equal(tide_mark_host(rig.space, rig.host[0] + 1, 8192), 0);
	RIG_EXPECT(client, GFN(0), GFN(1), GFN(2));
	rig_destroy(&rig);
}

/* Fails when only one of several slots that map the memory is marked. */
static void test_k60(void **state)
{
	struct tide_slot_config alias = { .id = 9,
					  .first_gfn = GFN(1000),
					  .npages = 10 };
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;

	(void)state;
	rig_create(&rig, &marks_only);
	alias.host = rig.host[0] + 5 * TIDE_PAGE_SIZE;
	assert_int_equal(tide_slot_add(rig.space, &alias), 0);
	client = rig_client(&rig, 0, TIDE_START_ALL_DIRTY);
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_int_equal(
		tide_mark_host(rig.space, rig.host[0] + 7 * TIDE_PAGE_SIZE, 8),
		0);
	RIG_EXPECT(client, GFN(7), GFN(1002));
	assert_int_equal(tide_mark_host(rig.space,
					rig.host[0] + 5 * TIDE_PAGE_SIZE - 1,
					2),
			 0);
	RIG_EXPECT(client, GFN(4), GFN(5), GFN(1000));
	rig_destroy(&rig);
}

/* Fails when a mark counts for a harvest that began before it: what was read
 * then need not hold the write. */
static void test_k61(void **state)
{
	struct tide_client *client;
	struct rig rig;

	(void)state;
	rig_create(&rig, &marks_only);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	memset(rig.host[0], 1, 8);
	rig_expect_none(client); /* falls between write and mark */
	assert_int_equal(tide_mark(rig.space, GFN(0)), 0);
	RIG_EXPECT(client, GFN(0));
	rig_destroy(&rig);
}

/* Fails when a transfer of many pages marks only the first, or stops at the
 * end of a slot. */
static void test_q24(void **state)
{
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;

	(void)state;
	rig_create(&rig, &marks_only);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	assert_int_equal(tide_mark_range(rig.space, GFN(1), 130), 0);
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_int_equal(set.count, 130);
	assert_true(rig_has(&set, GFN(1)) && rig_has(&set, GFN(69)) &&
		    rig_has(&set, GFN(70)) && rig_has(&set, GFN(130)));
	rig_destroy(&rig);
}

/* Fails when a slot of less than a word, or one that begins within a word of
 * gfns, loses pages or gives them to its neighbour. */
static void test_q25(void **state)
{
	struct rig_config config = { .sizes = { 1, 63, 64, 65 } };
	struct tide_client *client;
	struct rig rig;

	(void)state;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	for (uint64_t page = 0; page < 1 + 63 + 64 + 65; page++) {
		assert_int_equal(tide_mark(rig.space, GFN(page)), 0);
		RIG_EXPECT(client, GFN(page));
	}
	rig_destroy(&rig);
}

/* Fails when marks that nobody watched reach a client that starts clean
 * later (cost only), or stay in the log for ever. */
static void test_q29(void **state)
{
	struct tide_client *client;
	struct rig rig;

	(void)state;
	rig_create(&rig, &marks_only);
	assert_int_equal(tide_mark_range(rig.space, GFN(0), 70), 0);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_expect_none(client);
	assert_int_equal(tide_mark(rig.space, GFN(3)), 0);
	RIG_EXPECT(client, GFN(3));
	rig_destroy(&rig);
}

/* Fails when stopping the log throws away what devices said last. */
static void test_q31(void **state)
{
	struct rig_config config = { .tracker = TIDE_TRACKER_KVM_CLEAR,
				     .sizes = { 70, 65 } };
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;

	(void)state;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	assert_int_equal(tide_mark(rig.space, GFN(3)), 0);
	assert_int_equal(tide_slot_set_flags(rig.space, 0, TIDE_SLOT_UNLOGGED),
			 0);
	RIG_EXPECT(client, GFN(3));
	assert_int_equal(tide_mark(rig.space, GFN(71)), 0);
	rig_write(&rig, GFN(72));
	assert_int_equal(tide_space_detach(rig.space), 0);
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_true(rig_has(&set, GFN(71)) && rig_has(&set, GFN(72)));
	rig_destroy(&rig);
}

/* Fails when a ring address from a hostile guest wraps, or marks anything. */
static void test_q32(void **state)
{
	uint64_t words[2] = { ~0ull, ~0ull };
	struct tide_client *client;
	struct rig rig;

	(void)state;
	rig_create(&rig, &marks_only);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	assert_int_equal(tide_mark_bytes(rig.space, UINT64_MAX - 5, 100),
			 -EINVAL);
	assert_int_equal(tide_mark_range(rig.space, UINT64_MAX, 2), -EINVAL);
	assert_int_equal(
		tide_mark_range(rig.space, GFN(0), UINT64_MAX - RIG_GFN + 1),
		-EINVAL);
	assert_int_equal(tide_mark_host(rig.space, rig.host[0], SIZE_MAX),
			 -EINVAL);
	assert_int_equal(
		tide_mark_bitmap(rig.space, UINT64_MAX - 3, 100, words),
		-EINVAL);
	rig_expect_none(client);
	assert_int_equal(tide_mark_range(rig.space, GFN(130), 100), -ENOENT);
	RIG_EXPECT(client, GFN(130), GFN(131), GFN(132), GFN(133), GFN(134));
	rig_destroy(&rig);
}

/* Fails when a log that begins at another gfn is merged from its own first
 * bit, or bits beyond the range count. */
static void test_q32_base(void **state)
{
	const uint64_t words[2] = { 1ull << 63 | 1, ~0ull };
	struct tide_client *client;
	struct rig rig;

	(void)state;
	rig_create(&rig, &marks_only);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	assert_int_equal(tide_mark_bitmap(rig.space, GFN(20), 66, words), 0);
	RIG_EXPECT(client, GFN(20), GFN(83), GFN(84), GFN(85));
	rig_destroy(&rig);
}

/* Fails when one of the five calls does not reach the log: a device that
 * fills a buffer says so with whichever suits it. */
static void test_v4(void **state)
{
	const uint64_t word = 1;
	struct tide_client *client;
	struct rig rig;

	(void)state;
	rig_create(&rig, &marks_only);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	assert_int_equal(tide_mark(rig.space, GFN(1)), 0);
	assert_int_equal(tide_mark_range(rig.space, GFN(3), 1), 0);
	assert_int_equal(tide_mark_bytes(rig.space, GFN(5) << 12, 1), 0);
	assert_int_equal(
		tide_mark_host(rig.space, rig.host[0] + 7 * TIDE_PAGE_SIZE, 1),
		0);
	assert_int_equal(tide_mark_bitmap(rig.space, GFN(9), 1, &word), 0);
	RIG_EXPECT(client, GFN(1), GFN(3), GFN(5), GFN(7), GFN(9));
	rig_destroy(&rig);
}

#define TEST(function, name)                     \
	{                                        \
		name, function, NULL, NULL, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_k10, "K10 threads set bits of one word"),
		TEST(test_k11, "K11 bits set while the word is taken"),
		TEST(test_q23, "Q23 taking is one step"),
		TEST(test_k59, "K59 a write across a page border"),
		TEST(test_k60, "K60 every alias is marked"),
		TEST(test_k61, "K61 write first, mark afterwards"),
		TEST(test_q24, "Q24 every page of a transfer"),
		TEST(test_q25, "Q25 slots within a word"),
		TEST(test_q29, "Q29 marks that nobody watched"),
		TEST(test_q31, "Q31 the last pass of a device counts"),
		TEST(test_q32, "Q32 wild ranges are refused"),
		TEST(test_q32_base, "Q32 a log with a base of its own"),
		TEST(test_v4, "V4 a device's writes are marked"),
	};

	return cmocka_run_group_tests_name("mark bugs", tests, NULL, NULL);
}
