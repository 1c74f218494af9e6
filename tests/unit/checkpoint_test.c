/* SPDX-License-Identifier: MIT */
/*
 * checkpoint_test.c - memory as it was, against whole copies of it
 *
 * On wp, where this process's own writes are caught, and without a tracker,
 * where the test marks what it writes.
 */
#undef NDEBUG
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <tidemark/checkpoint.h>
#include <tidemark/client.h>
#include <tidemark/mark.h>
#include <tidemark/probe.h>
#include <tidemark/space.h>
#include <tidemark/tracker.h>

#include "sim_kernel.h"
#include "test_support.h"
#include "tracker/wp_abi.h"

#define PAGE TIDE_PAGE_SIZE
#define SLOTS 2
#define PAGES 200u /* of each */
#define GFN(slot, page) ((slot)*1000u + (page))

struct rig {
	struct tide_space *space;
	bool caught; /* writes are */
	unsigned char *memory[SLOTS];
};

static void rig_create(struct rig *rig, bool caught, const char *name)
{
	struct tide_probe_result result;

	memset(rig, 0, sizeof(*rig));
	rig->caught = caught;
	if (caught) {
		assert_int_equal(tide_probe(TIDE_TRACKER_WP, &result), 0);
		if (!result.works)
			SKIP(name, "%s", result.why);
	}
	assert_int_equal(tide_space_create(&rig->space), 0);
	if (caught)
		assert_int_equal(
			tide_space_attach(rig->space, TIDE_TRACKER_WP, NULL),
			0);
	for (uint32_t i = 0; i < SLOTS; i++) {
		rig->memory[i] =
			mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_ptr_not_equal(rig->memory[i], MAP_FAILED);
		assert_int_equal(
			tide_slot_add(rig->space,
				      &(struct tide_slot_config){
					      .id = i,
					      .first_gfn = GFN(i, 0),
					      .npages = PAGES,
					      .host = rig->memory[i] }),
			0);
	}
}

static void rig_destroy(struct rig *rig)
{
	tide_space_destroy(rig->space);
	for (int i = 0; i < SLOTS; i++)
		munmap(rig->memory[i], PAGES * PAGE);
}

static void write_byte(struct rig *rig, uint32_t slot, uint64_t offset,
		       unsigned char value)
{
	rig->memory[slot][offset] = value;
	if (!rig->caught)
		assert_int_equal(
			tide_mark(rig->space, GFN(slot, offset / PAGE)), 0);
}

static struct tide_checkpoint *take(struct rig *rig,
				    struct tide_checkpoint *parent)
{
	struct tide_checkpoint *checkpoint;

	assert_int_equal(
		tide_checkpoint_create(rig->space, parent, &checkpoint), 0);
	return checkpoint;
}

static void expect_rollback(struct tide_checkpoint *checkpoint, uint64_t pages)
{
	uint64_t copied;

	assert_int_equal(tide_checkpoint_rollback(checkpoint, &copied), 0);
	assert_int_equal(copied, pages);
	assert_int_equal(tide_checkpoint_compare(checkpoint, NULL), 0);
}

/* Fails when a page is not brought back, or one that nobody wrote is copied. */
static void back_and_again(bool caught)
{
	struct tide_checkpoint *checkpoint;
	struct rig rig;

	rig_create(&rig, caught, "back");
	write_byte(&rig, 0, 5 * PAGE + 7, 1);
	checkpoint = take(&rig, NULL);
	expect_rollback(checkpoint, 0);
	for (int round = 0; round < 3; round++) {
		write_byte(&rig, 0, 5 * PAGE + 7, 2);
		write_byte(&rig, 0, 6 * PAGE, 3);
		write_byte(&rig, 1, PAGES * PAGE - 1, 4);
		expect_rollback(checkpoint, 3);
		assert_int_equal(rig.memory[0][5 * PAGE + 7], 1);
		assert_int_equal(rig.memory[0][6 * PAGE], 0);
		assert_int_equal(rig.memory[1][PAGES * PAGE - 1], 0);
		expect_rollback(checkpoint, 0);
	}
	tide_checkpoint_destroy(checkpoint);
	rig_destroy(&rig);
}

static void test_back(void **state)
{
	(void)state;
	back_and_again(false);
	back_and_again(true);
}

/* Fails when a discarded page is not brought back. */
static void test_discard(void **state)
{
	struct tide_checkpoint *checkpoint;
	struct rig rig;

	(void)state;
	rig_create(&rig, true, "discarded");
	write_byte(&rig, 0, 5 * PAGE, 1);
	checkpoint = take(&rig, NULL);
	assert_int_equal(madvise(rig.memory[0], PAGES * PAGE, MADV_DONTNEED),
			 0);
	assert_int_equal(tide_checkpoint_compare(checkpoint, NULL), 1);
	assert_int_equal(tide_checkpoint_rollback(checkpoint, NULL), 0);
	assert_int_equal(tide_checkpoint_compare(checkpoint, NULL), 0);
	assert_int_equal(rig.memory[0][5 * PAGE], 1);
	tide_checkpoint_destroy(checkpoint);
	rig_destroy(&rig);
}

#define TREE 8

struct oracle {
	struct tide_checkpoint *checkpoint[TREE];
	unsigned char *copy[TREE];
};

static void oracle_take(struct rig *rig, struct oracle *oracle, int i,
			struct tide_checkpoint *parent)
{
	oracle->checkpoint[i] = take(rig, parent);
	for (int s = 0; s < SLOTS; s++)
		memcpy(oracle->copy[i] + (size_t)s * PAGES * PAGE,
		       rig->memory[s], PAGES * PAGE);
}

static void oracle_back(struct rig *rig, struct oracle *oracle, int i)
{
	assert_int_equal(tide_checkpoint_rollback(oracle->checkpoint[i], NULL),
			 0);
	for (int s = 0; s < SLOTS; s++)
		assert_memory_equal(oracle->copy[i] + (size_t)s * PAGES * PAGE,
				    rig->memory[s], PAGES * PAGE);
}

static void write_some(struct rig *rig)
{
	for (int n = rand() % 12; n >= 0; n--) {
		uint32_t slot = (uint32_t)rand() % SLOTS;
		uint64_t page = (uint64_t)rand() % PAGES;

		for (int run = rand() % 4; run >= 0 && page < PAGES;
		     run--, page++)
			write_byte(rig, slot,
				   page * PAGE + (uint64_t)rand() % PAGE,
				   (unsigned char)rand());
	}
}

/* Any of a tree, in any order; parents go while children stay. */
static void random_tree(bool caught, uint64_t seed)
{
	struct oracle oracle = { 0 };
	struct rig rig;

	rig_create(&rig, caught, "a tree");
	srand((unsigned int)seed);
	for (int i = 0; i < TREE; i++)
		oracle.copy[i] = malloc(SLOTS * PAGES * PAGE);
	for (int step = 0; step < 300; step++) {
		int i = rand() % TREE, j = rand() % TREE;

		write_some(&rig);
		if (!oracle.checkpoint[i]) {
			oracle_take(&rig, &oracle, i, oracle.checkpoint[j]);
		} else if (rand() % 6 == 0) {
			tide_checkpoint_destroy(oracle.checkpoint[i]);
			oracle.checkpoint[i] = NULL;
		} else {
			oracle_back(&rig, &oracle, i);
		}
	}
	for (int i = 0; i < TREE; i++) {
		if (oracle.checkpoint[i])
			oracle_back(&rig, &oracle, i);
		tide_checkpoint_destroy(oracle.checkpoint[i]);
		free(oracle.copy[i]);
	}
	rig_destroy(&rig);
}

static void test_tree(void **state)
{
	uint64_t seed = test_seed();

	(void)state;
	random_tree(false, seed);
	random_tree(true, seed);
}

/* Fails when a child keeps more than what its parent does not have. */
static void test_child_is_small(void **state)
{
	struct tide_checkpoint *root, *child;
	struct rig rig;

	(void)state;
	rig_create(&rig, true, "a child");
	root = take(&rig, NULL);
	write_byte(&rig, 0, 0, 1);
	write_byte(&rig, 1, 0, 1);
	child = take(&rig, root);
	expect_rollback(child, 0);
	write_byte(&rig, 0, 9 * PAGE, 1);
	expect_rollback(child, 1);
	assert_int_equal(rig.memory[0][0], 1);
	expect_rollback(root, 3); /* those two, and what child's copy wrote */
	tide_checkpoint_destroy(root);
	expect_rollback(child, 3);
	assert_int_equal(rig.memory[1][0], 1);
	tide_checkpoint_destroy(child);
	rig_destroy(&rig);
}

/* Fails when another client is not told what a rollback wrote. */
static void others_see_it(bool caught)
{
	struct tide_checkpoint *checkpoint;
	struct tide_harvest *harvest;
	struct tide_client *other;
	struct tide_extent extent;
	struct rig rig;

	rig_create(&rig, caught, "others");
	checkpoint = take(&rig, NULL);
	write_byte(&rig, 0, 3 * PAGE, 1);
	assert_int_equal(
		tide_client_open(rig.space, "other", TIDE_START_CLEAN, &other),
		0);
	assert_int_equal(tide_harvest_begin(other, &harvest), 0);
	while (tide_harvest_next(harvest, &extent) > 0)
		;
	assert_int_equal(tide_harvest_commit(harvest), 0);
	expect_rollback(checkpoint, 1);
	assert_int_equal(tide_harvest_begin(other, &harvest), 0);
	assert_int_equal(tide_harvest_next(harvest, &extent), 1);
	assert_int_equal(extent.first_gfn, GFN(0, 3));
	assert_int_equal(tide_harvest_next(harvest, &extent), 0);
	assert_int_equal(tide_harvest_commit(harvest), 0);
	tide_client_close(other);
	tide_checkpoint_destroy(checkpoint);
	rig_destroy(&rig);
}

static void test_others(void **state)
{
	(void)state;
	others_see_it(false);
	others_see_it(true);
}

/* Fails when compare believes the tracker, or names another byte. */
static void test_compare(void **state)
{
	struct tide_checkpoint_difference difference;
	struct tide_checkpoint *checkpoint;
	struct rig rig;

	(void)state;
	rig_create(&rig, false, "compare");
	checkpoint = take(&rig, NULL);
	rig.memory[1][7 * PAGE + 90] = 5; /* and no mark */
	rig.memory[1][8 * PAGE + 1] = 6;
	assert_int_equal(tide_checkpoint_rollback(checkpoint, NULL), 0);
	assert_int_equal(tide_checkpoint_compare(checkpoint, &difference), 1);
	assert_int_equal(difference.slot, 1);
	assert_int_equal(difference.offset, 7 * PAGE + 90);
	assert_int_equal(difference.have, 5);
	assert_int_equal(difference.want, 0);
	tide_checkpoint_destroy(checkpoint);
	rig_destroy(&rig);
}

/* Fails when a checkpoint is rolled back over slots that are not its own. */
static void test_stale(void **state)
{
	struct tide_checkpoint *checkpoint, *child;
	struct rig rig;

	(void)state;
	rig_create(&rig, false, "stale");
	checkpoint = take(&rig, NULL);
	write_byte(&rig, 0, 0, 1);
	assert_int_equal(tide_slot_move(rig.space, 1, 5000), 0);
	assert_int_equal(tide_checkpoint_rollback(checkpoint, NULL), -ESTALE);
	assert_int_equal(tide_checkpoint_compare(checkpoint, NULL), -ESTALE);
	assert_int_equal(tide_checkpoint_create(rig.space, checkpoint, &child),
			 -ESTALE);
	assert_int_equal(rig.memory[0][0], 1);
	assert_int_equal(tide_slot_move(rig.space, 1, GFN(1, 0)), 0);
	expect_rollback(checkpoint, 1);
	assert_int_equal(tide_slot_remove(rig.space, 1), 0);
	assert_int_equal(tide_checkpoint_rollback(checkpoint, NULL), -ESTALE);
	tide_checkpoint_destroy(checkpoint);
	rig_destroy(&rig);
}

static int fail_at;

static int failing(int fd, unsigned long request, void *arg)
{
	if (request == WP_PAGEMAP_SCAN && fail_at && --fail_at == 0) {
		errno = ENOMEM;
		return -1;
	}
	return sim_foreign_real(fd, request, arg);
}

/* Fails when an error in the middle makes a later rollback incomplete. */
static void test_errors(void **state)
{
	struct tide_checkpoint *root, *child;
	struct rig rig;

	(void)state;
	rig_create(&rig, true, "errors");
	sim_foreign(failing);
	for (int at = 1; at <= 6; at++) {
		root = take(&rig, NULL);
		write_byte(&rig, 0, 4 * PAGE, 1);
		fail_at = at;
		child = NULL;
		if (!tide_checkpoint_create(rig.space, root, &child))
			write_byte(&rig, 0, 4 * PAGE, 2);
		if (tide_checkpoint_rollback(root, NULL))
			assert_int_equal(tide_checkpoint_rollback(root, NULL),
					 0);
		fail_at = 0;
		assert_int_equal(tide_checkpoint_compare(root, NULL), 0);
		if (child) {
			assert_int_equal(tide_checkpoint_rollback(child, NULL),
					 0);
			assert_int_equal(rig.memory[0][4 * PAGE], 1);
		}
		tide_checkpoint_destroy(child);
		tide_checkpoint_destroy(root);
	}
	sim_foreign(NULL);
	rig_destroy(&rig);
}

static void test_bad_arguments(void **state)
{
	struct tide_checkpoint *checkpoint, *other;
	struct tide_space *elsewhere;
	struct rig rig;

	(void)state;
	rig_create(&rig, false, "arguments");
	assert_int_equal(tide_space_create(&elsewhere), 0);
	checkpoint = take(&rig, NULL);
	assert_int_equal(tide_checkpoint_create(NULL, NULL, &other), -EINVAL);
	assert_int_equal(tide_checkpoint_create(elsewhere, checkpoint, &other),
			 -EINVAL);
	tide_checkpoint_destroy(checkpoint);
	tide_checkpoint_destroy(NULL);
	tide_space_destroy(elsewhere);
	rig_destroy(&rig);
}

static void slots_that_went(bool caught)
{
	struct tide_slot_config slot = { .npages = PAGES };
	struct tide_checkpoint *root, *child;
	struct rig rig;

	rig_create(&rig, caught, "slots that went");
	write_byte(&rig, 0, 0, 1);
	root = take(&rig, NULL);
	/* One comes and goes. */
	slot.id = 9;
	slot.first_gfn = GFN(5, 0);
	slot.host = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(slot.host, MAP_FAILED);
	assert_int_equal(tide_slot_add(rig.space, &slot), 0);
	assert_int_equal(tide_slot_remove(rig.space, 9), 0);
	munmap(slot.host, PAGES * PAGE);
	/* One goes and comes, written meanwhile. */
	assert_int_equal(tide_slot_remove(rig.space, 0), 0);
	rig.memory[0][3 * PAGE] = 1;
	slot.id = 0;
	slot.first_gfn = GFN(0, 0);
	slot.host = rig.memory[0];
	assert_int_equal(tide_slot_add(rig.space, &slot), 0);
	child = take(&rig, root);
	write_byte(&rig, 0, 4 * PAGE, 1);
	assert_int_equal(tide_checkpoint_rollback(child, NULL), 0);
	assert_int_equal(tide_checkpoint_compare(child, NULL), 0);
	assert_int_equal(rig.memory[0][3 * PAGE], 1);
	assert_int_equal(tide_checkpoint_rollback(root, NULL), 0);
	assert_int_equal(tide_checkpoint_compare(root, NULL), 0);
	assert_int_equal(rig.memory[0][3 * PAGE], 0);
	tide_checkpoint_destroy(child);
	tide_checkpoint_destroy(root);
	rig_destroy(&rig);
}

/* Fails when a slot that was removed, and is there again, or never belonged to
 * the checkpoint, is taken for memory. */
static void test_gone(void **state)
{
	(void)state;
	slots_that_went(false);
	slots_that_went(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_back),
		cmocka_unit_test(test_discard),
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_child_is_small),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_stale),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_bad_arguments),
	};

	return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
