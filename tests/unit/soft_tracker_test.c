/* SPDX-License-Identifier: MIT */
/*
 * soft_tracker_test.c - the trackers on the software MMU against tracker.h
 *
 * What the conformance suite cannot see: what is refused, what is exact though
 * it need not be, and what is left after a call that timed out.
 */
#undef NDEBUG /* a test without its asserts tests nothing */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include <tidemark/client.h>
#include <tidemark/mmu.h>
#include <tidemark/space.h>
#include <tidemark/tracker.h>
#include <tidemark/vcpu.h>

#include "test_support.h"

#define PAGES 200u
#define FIRST_GFN 0x333u
#define STUCK 5u
#define STUCK_GPA ((FIRST_GFN + STUCK) << TIDE_PAGE_SHIFT)
#define SPARSE_PAGES (1ull << 22) /* 16 GiB */

struct rig {
	struct tide_mmu *mmu;
	struct tide_space *space;
	struct tide_vcpu *vcpu;
	struct tide_client *client;
	uint64_t npages;
	void *memory;
};

struct kind {
	enum tide_tracker tracker;
	int get_clears;
};

static const struct kind by_clear = { TIDE_TRACKER_SOFT_BITMAP, 0 };
static const struct kind by_get = { TIDE_TRACKER_SOFT_BITMAP, 1 };
static const struct kind by_ring = { TIDE_TRACKER_SOFT_RING, 0 };

static struct tide_mmu *new_mmu(void)
{
	struct tide_mmu_config config = { .size = sizeof(config),
					  .flush_timeout_ns = 1000000 };
	struct tide_mmu *mmu;

	assert_int_equal(tide_mmu_create(&config, &mmu), 0);
	return mmu;
}

static struct tide_space *new_space(void)
{
	struct tide_space *space;

	assert_int_equal(tide_space_create(&space), 0);
	return space;
}

static void set_up(struct rig *rig, const struct kind *kind, uint64_t npages)
{
	struct tide_soft_config config = { .size = sizeof(config),
					   .get_clears = kind->get_clears,
					   .ring_entries = 256 };
	struct tide_slot_config slot = { .id = 1,
					 .first_gfn = FIRST_GFN,
					 .npages = npages };

	rig->mmu = config.mmu = new_mmu();
	rig->space = new_space();
	rig->npages = npages;
	rig->memory =
		mmap(NULL, npages * TIDE_PAGE_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(rig->memory, MAP_FAILED);
	slot.host = rig->memory;
	assert_int_equal(tide_space_attach(rig->space, kind->tracker, &config),
			 0);
	assert_int_equal(tide_slot_add(rig->space, &slot), 0);
	assert_int_equal(tide_vcpu_create(rig->mmu, &rig->vcpu), 0);
	assert_int_equal(tide_client_open(rig->space, "test", TIDE_START_CLEAN,
					  &rig->client),
			 0);
}

static void tear_down(struct rig *rig)
{
	tide_client_close(rig->client);
	tide_space_destroy(rig->space);
	tide_vcpu_destroy(rig->vcpu);
	tide_mmu_destroy(rig->mmu);
	munmap(rig->memory, rig->npages * TIDE_PAGE_SIZE);
}

/* The guest writes to page @page of the slot that is at @first_gfn. */
static int guest_write(const struct rig *rig, uint64_t first_gfn, uint64_t page)
{
	int why = tide_vcpu_enter(rig->vcpu);

	if (!why)
		why = tide_vcpu_store(rig->vcpu,
				      (first_gfn + page) << TIDE_PAGE_SHIFT, 8,
				      page + 1);
	(void)tide_vcpu_exit(rig->vcpu); /* unless it is out */
	return why;
}

/* Return: pages yielded.  @ret_sum: of their numbers; @ret_flags: or-ed. */
static uint64_t harvest(struct rig *rig, uint64_t first_gfn, uint64_t *ret_sum,
			uint32_t *ret_flags)
{
	struct tide_harvest *harvest;
	struct tide_extent e;
	uint64_t found = 0;
	int more;

	*ret_sum = 0;
	*ret_flags = 0;
	assert_int_equal(tide_harvest_begin(rig->client, &harvest), 0);
	while ((more = tide_harvest_next(harvest, &e)) > 0) {
		for (uint64_t i = 0; i < e.npages; i++)
			*ret_sum += e.first_gfn - first_gfn + i;
		*ret_flags |= e.flags;
		found += e.npages;
	}
	assert_int_equal(more, 0);
	assert_int_equal(tide_harvest_commit(harvest), 0);
	return found;
}

static void expect_pages(struct rig *rig, uint64_t first_gfn, uint64_t count,
			 uint64_t sum)
{
	uint64_t got;
	uint32_t flags;

	assert_int_equal(harvest(rig, first_gfn, &got, &flags), count);
	assert_int_equal(got, sum);
	assert_int_equal(flags, 0);
}

static void *enter_and_write(void *opaque)
{
	const struct rig *rig = opaque;

	assert_int_equal(tide_vcpu_enter(rig->vcpu), 0);
	assert_int_equal(tide_vcpu_store(rig->vcpu, STUCK_GPA, 8, 1), 0);
	return NULL;
}

/* In guest mode, with a translation of page STUCK, and no safe point.  By a
 * thread of its own: nobody waits for himself. */
static void get_stuck(struct rig *rig)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, enter_and_write, rig),
			 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

/* Writes once more, by the translation that it had, and goes. */
static void get_loose(const struct rig *rig)
{
	assert_int_equal(tide_vcpu_store(rig->vcpu, STUCK_GPA, 8, 99), 0);
	assert_int_equal(tide_vcpu_exit(rig->vcpu), 0);
}

static void test_names(void **state)
{
	enum tide_tracker tracker = TIDE_TRACKER_NONE;

	(void)state;
	assert_int_equal(tide_tracker_by_name("soft", &tracker), 0);
	assert_int_equal(tracker, TIDE_TRACKER_SOFT_BITMAP);
	assert_int_equal(tide_tracker_by_name("soft-ring", &tracker), 0);
	assert_int_equal(tracker, TIDE_TRACKER_SOFT_RING);
	assert_int_equal(tide_tracker_by_name("soft-", &tracker), -ENOENT);
}

/* A ring after the first vCPU, or bitmaps while vCPUs write to rings. */
static void test_too_late(void **state)
{
	struct tide_mmu *mmu = new_mmu();
	struct tide_space *space = new_space();
	const struct tide_soft_config config = { .mmu = mmu };
	struct tide_vcpu *vcpu;

	(void)state;
	assert_int_equal(tide_vcpu_create(mmu, &vcpu), 0);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_SOFT_RING, &config),
		-EBUSY);
	tide_vcpu_destroy(vcpu);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_SOFT_RING, &config), 0);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_SOFT_BITMAP, &config),
		-EBUSY);
	assert_int_equal(tide_space_detach(space), 0);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_SOFT_BITMAP, &config),
		-EBUSY);
	tide_space_destroy(space);
	tide_mmu_destroy(mmu);
}

static void test_wrong_family(void **state)
{
	struct rig rig;

	(void)state;
	set_up(&rig, &by_clear, PAGES);
	assert_int_equal(tide_kvm_vcpu_add(rig.space, 0), -ENODEV);
	assert_int_equal(tide_kvm_ring_full(rig.space, 0), -ENODEV);
	assert_int_equal(tide_soft_ring_full(rig.space), -ENODEV);
	tear_down(&rig);
	set_up(&rig, &by_ring, PAGES);
	assert_int_equal(tide_kvm_vcpu_add(rig.space, 0), -ENODEV);
	assert_int_equal(tide_kvm_ring_full(rig.space, 0), -ENODEV);
	assert_int_equal(tide_soft_ring_full(rig.space), 0);
	tear_down(&rig);
}

static void test_slot_id(void **state)
{
	struct tide_slot_config slot = { .first_gfn = 0x10000, .npages = 1 };
	struct tide_slot_info info;
	struct rig rig;

	(void)state;
	set_up(&rig, &by_clear, PAGES);
	slot.host = rig.memory;
	slot.id = 32764; /* KVM's first that is not the user's */
	assert_int_equal(tide_slot_add(rig.space, &slot), -EINVAL);
	slot.id = 0x10001; /* not slot 1 of address space 1 */
	assert_int_equal(tide_slot_add(rig.space, &slot), -EINVAL);
	assert_int_equal(tide_slot_get(rig.space, 1, &info), -ENOENT);
	slot.id = 32763;
	assert_int_equal(tide_slot_add(rig.space, &slot), 0);
	tear_down(&rig);
}

/* Parked and read in peace: no more than what was written comes. */
static void test_remove_is_exact(void **state)
{
	struct rig rig;
	uint64_t sum;
	uint32_t flags;

	set_up(&rig, *state, PAGES);
	assert_int_equal(guest_write(&rig, FIRST_GFN, 7), 0);
	assert_int_equal(guest_write(&rig, FIRST_GFN, 150), 0);
	assert_int_equal(tide_slot_remove(rig.space, 1), 0);
	assert_int_equal(guest_write(&rig, FIRST_GFN, 8), TIDE_EXIT_MMIO);
	assert_int_equal(harvest(&rig, FIRST_GFN, &sum, &flags), 2);
	assert_int_equal(sum, 7 + 150);
	assert_int_equal(flags, TIDE_EXTENT_GONE);
	tear_down(&rig);
}

static void test_move_keeps_the_log(void **state)
{
	struct rig rig;

	set_up(&rig, *state, PAGES);
	assert_int_equal(guest_write(&rig, FIRST_GFN, 3), 0);
	assert_int_equal(tide_slot_move(rig.space, 1, 0x5000), 0);
	assert_int_equal(guest_write(&rig, 0x5000, 64), 0);
	expect_pages(&rig, 0x5000, 2, 3 + 64);
	expect_pages(&rig, 0x5000, 0, 0);
	tear_down(&rig);
}

/* Through the MMU, by nobody's vCPU: in the bitmap, also beside a ring. */
static void test_device_writes(void **state)
{
	const uint64_t value = 1;
	struct rig rig;

	set_up(&rig, *state, PAGES);
	assert_int_equal(tide_mmu_write(rig.mmu,
					(FIRST_GFN + 63) << TIDE_PAGE_SHIFT,
					&value, sizeof(value)),
			 0);
	assert_int_equal(guest_write(&rig, FIRST_GFN, 64), 0);
	expect_pages(&rig, FIRST_GFN, 2, 63 + 64);
	expect_pages(&rig, FIRST_GFN, 0, 0);
	tear_down(&rig);
}

/* Every page of a slot that is larger than the ring, several times. */
static void test_full_ring(void **state)
{
	struct tide_space_stats stats;
	uint64_t harvested = 0;
	struct rig rig;

	(void)state;
	set_up(&rig, &by_ring, 1000);
	for (uint64_t page = 0; page < 1000; page++) {
		int why;

		while ((why = guest_write(&rig, FIRST_GFN, page)) ==
		       TIDE_EXIT_RING_FULL) {
			int entries = tide_soft_ring_full(rig.space);

			assert_true(entries > 0);
			harvested += (uint64_t)entries;
		}
		assert_int_equal(why, 0);
	}
	tide_space_stats_get(rig.space, &stats);
	assert_true(stats.ring_full >= 1000 / 256);
	assert_int_equal(stats.ring_entries, harvested);
	expect_pages(&rig, FIRST_GFN, 1000, 999 * 1000 / 2);
	tear_down(&rig);
}

/* A few pages of 16 GiB: exact, first word and last. */
static void test_sparse(void **state)
{
	static const uint64_t pages[] = { 0,	      63,
					  64,	      1ull << 18,
					  1ull << 21, SPARSE_PAGES - 1 };
	uint64_t sum = 0;
	struct rig rig;

	set_up(&rig, *state, SPARSE_PAGES);
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		assert_int_equal(guest_write(&rig, FIRST_GFN, pages[i]), 0);
		sum += pages[i];
	}
	expect_pages(&rig, FIRST_GFN, 6, sum);
	assert_int_equal(guest_write(&rig, FIRST_GFN, 64), 0);
	expect_pages(&rig, FIRST_GFN, 1, 64);
	tear_down(&rig);
}

/* Nobody unmaps memory under the hands of a vCPU that may still write it. */
static void test_stuck_remove(void **state)
{
	struct rig rig;
	uint64_t sum;
	uint32_t flags;

	set_up(&rig, *state, PAGES);
	get_stuck(&rig);
	assert_int_equal(tide_slot_remove(rig.space, 1), -ETIMEDOUT);
	get_loose(&rig);
	/* Still there, and dirty as a whole. */
	assert_int_equal(harvest(&rig, FIRST_GFN, &sum, &flags), PAGES);
	assert_int_equal(flags, 0);
	assert_int_equal(guest_write(&rig, FIRST_GFN, 6), 0);
	expect_pages(&rig, FIRST_GFN, 1, 6);
	assert_int_equal(tide_slot_remove(rig.space, 1), 0);
	tear_down(&rig);
}

static void test_stuck_move(void **state)
{
	struct rig rig;

	set_up(&rig, *state, PAGES);
	get_stuck(&rig);
	assert_int_equal(tide_slot_move(rig.space, 1, 0x5000), -ETIMEDOUT);
	get_loose(&rig);
	assert_int_equal(guest_write(&rig, 0x5000, 6), TIDE_EXIT_MMIO);
	assert_int_equal(guest_write(&rig, FIRST_GFN, 6), 0);
	expect_pages(&rig, FIRST_GFN, 2, STUCK + 6);
	tear_down(&rig);
}

/* No harvest while a page may be written by an old translation: begin fails,
 * or next does, and nothing is lost. */
static void test_stuck_harvest(void **state)
{
	struct tide_harvest *open;
	struct tide_extent e;
	struct rig rig;
	uint64_t sum;
	uint32_t flags;
	int err;

	set_up(&rig, *state, PAGES);
	get_stuck(&rig);
	for (int i = 0; i < 2; i++) {
		err = tide_harvest_begin(rig.client, &open);
		if (!err) {
			err = tide_harvest_next(open, &e);
			tide_harvest_abort(open);
		}
		assert_int_equal(err, -ETIMEDOUT);
	}
	get_loose(&rig);
	assert_true(harvest(&rig, FIRST_GFN, &sum, &flags) >= 1);
	assert_true(sum >= STUCK);
	expect_pages(&rig, FIRST_GFN, 0, 0);
	assert_int_equal(guest_write(&rig, FIRST_GFN, STUCK), 0);
	expect_pages(&rig, FIRST_GFN, 1, STUCK);
	tear_down(&rig);
}

/* A slot that is new has no translations: an add that fails is undone. */
static void test_stuck_add(void **state)
{
	struct tide_slot_config slot = { .id = 2,
					 .first_gfn = 0x9000,
					 .npages = 64 };
	struct rig rig;

	set_up(&rig, *state, PAGES);
	slot.host =
		mmap(NULL, slot.npages * TIDE_PAGE_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(slot.host, MAP_FAILED);
	get_stuck(&rig);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(tide_slot_add(rig.space, &slot), 0);
		(void)tide_slot_remove(rig.space, 1); /* now one is owed */
		assert_int_equal(tide_slot_remove(rig.space, 2), 0);
	}
	get_loose(&rig);
	munmap(slot.host, slot.npages * TIDE_PAGE_SIZE);
	tear_down(&rig);
}

#define ON_EACH(claim, function)                       \
	{ "clear: " claim, function, NULL, NULL,       \
	  (void *)(uintptr_t)&by_clear },              \
		{ "get: " claim, function, NULL, NULL, \
		  (void *)(uintptr_t)&by_get },        \
	{                                              \
		"ring: " claim, function, NULL, NULL,  \
			(void *)(uintptr_t)&by_ring    \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "\"soft\" is soft-bitmap", test_names, NULL, NULL, NULL },
		{ "rings come before vCPUs, and stay", test_too_late, NULL,
		  NULL, NULL },
		{ "calls of the other family answer ENODEV", test_wrong_family,
		  NULL, NULL, NULL },
		{ "a slot id fits beside the address space", test_slot_id, NULL,
		  NULL, NULL },
		ON_EACH("a removed slot's last writes come, and no more",
			test_remove_is_exact),
		ON_EACH("a move keeps the log", test_move_keeps_the_log),
		ON_EACH("what is written without a vCPU comes",
			test_device_writes),
		{ "a full ring is emptied and the vCPU goes on", test_full_ring,
		  NULL, NULL, NULL },
		ON_EACH("a sparse slot is exact", test_sparse),
		ON_EACH("a slot that cannot be flushed stays",
			test_stuck_remove),
		ON_EACH("a slot that cannot be flushed does not move",
			test_stuck_move),
		ON_EACH("a new slot needs no flush", test_stuck_add),
		ON_EACH("no page is handed out that may still be written",
			test_stuck_harvest),
	};

	return cmocka_run_group_tests_name("soft_tracker", tests, NULL, NULL);
}
