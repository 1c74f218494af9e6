/* SPDX-License-Identifier: MIT */
/*
 * mmu_api_test.c - the software MMU against <tidemark/mmu.h>, <tidemark/vcpu.h>
 * and the soft half of <tidemark/tracker.h>
 *
 * Every misuse and what it answers, then what each call does in direct mode:
 * against a plain array with the same holes and read-only pages.  Only public
 * headers; what happens inside has tests of its own.
 */
#undef NDEBUG /* a test without its asserts tests nothing */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tidemark/tidemark.h>

#include "test_support.h"

/*
 * Guest physical memory, in pages from gfn GFN:
 *
 *   0..3    nothing
 *   4..9    slot 1
 *   10..13  slot 2, behind it without a gap, elsewhere in memory
 *   14..15  nothing
 *   16..17  slot 3, read-only
 *   18..19  slot 4
 *   20..23  nothing
 */
#define GFN 0x100u
#define PAGES 24u
#define PAGE TIDE_PAGE_SIZE
#define GPA(page) ((uint64_t)(GFN + (page)) * PAGE)
#define BYTES ((size_t)PAGES * PAGE)

static const struct {
	uint32_t id, flags, first, npages;
	uint32_t host_page; /* in memory[] */
} slots[] = {
	{ 1, 0, 4, 6, 12 },
	{ 2, 0, 10, 4, 1 },
	{ 3, TIDE_SLOT_READONLY, 16, 2, 20 },
	{ 4, 0, 18, 2, 6 },
};
#define SLOTS (sizeof(slots) / sizeof(slots[0]))

static _Alignas(4096) uint8_t memory[BYTES];
static _Alignas(4096) uint8_t more[2 * PAGE];

struct rig {
	struct tide_mmu *mmu;
	struct tide_space *space;
	struct tide_vcpu *vcpu;
	struct tide_client *client;
};

static struct tide_mmu *create_mmu(void)
{
	struct tide_mmu_config config = { .flags = 0 };
	struct tide_mmu *mmu;

	assert_int_equal(tide_mmu_create(&config, &mmu), 0);
	return mmu;
}

static struct tide_space *create_space(void)
{
	struct tide_space *space;

	assert_int_equal(tide_space_create(&space), 0);
	return space;
}

static int attach(struct tide_space *space, enum tide_tracker tracker,
		  struct tide_mmu *mmu, uint32_t address_space)
{
	struct tide_soft_config config = { .mmu = mmu,
					   .address_space = address_space,
					   .ring_entries = 256 };

	return tide_space_attach(space, tracker, &config);
}

static int add_slot(struct tide_space *space, uint32_t i)
{
	struct tide_slot_config config = {
		.id = slots[i].id,
		.flags = slots[i].flags,
		.first_gfn = GFN + slots[i].first,
		.npages = slots[i].npages,
		.host = memory + slots[i].host_page * PAGE,
	};

	return tide_slot_add(space, &config);
}

static void set_up_with(struct rig *rig, enum tide_tracker tracker)
{
	for (size_t i = 0; i < sizeof(memory); i++)
		memory[i] = (uint8_t)(i * 131 + i / PAGE);
	rig->mmu = create_mmu();
	rig->space = create_space();
	assert_int_equal(attach(rig->space, tracker, rig->mmu, 0), 0);
	for (uint32_t i = 0; i < SLOTS; i++)
		assert_int_equal(add_slot(rig->space, i), 0);
	assert_int_equal(tide_vcpu_create(rig->mmu, &rig->vcpu), 0);
	assert_int_equal(tide_client_open(rig->space, "test", TIDE_START_CLEAN,
					  &rig->client),
			 0);
}

static void set_up(struct rig *rig)
{
	set_up_with(rig, TIDE_TRACKER_SOFT_BITMAP);
}

static void tear_down(struct rig *rig)
{
	(void)tide_vcpu_exit(rig->vcpu); /* if it is in guest mode */
	tide_client_close(rig->client);
	tide_vcpu_destroy(rig->vcpu);
	tide_space_destroy(rig->space);
	tide_mmu_destroy(rig->mmu);
}

static void enter(struct rig *rig)
{
	assert_int_equal(tide_vcpu_enter(rig->vcpu), 0);
}

static bool in_guest(struct rig *rig)
{
	return tide_vcpu_enter(rig->vcpu) == -EBUSY;
}

/* Where the byte at @gpa is, or NULL. */
static uint8_t *byte_at(uint64_t gpa, bool write)
{
	for (uint32_t i = 0; i < SLOTS; i++) {
		uint64_t first = GPA(slots[i].first);

		if (gpa >= first && gpa - first < slots[i].npages * PAGE)
			return write && (slots[i].flags & TIDE_SLOT_READONLY)
				       ? NULL
				       : memory + slots[i].host_page * PAGE +
						 (gpa - first);
	}
	return NULL;
}

/* Pages of one harvest, as bits from gfn GFN. */
static uint64_t harvest(struct rig *rig)
{
	struct tide_harvest *open;
	struct tide_extent extent;
	uint64_t pages = 0;
	int ret;

	assert_int_equal(tide_harvest_begin(rig->client, &open), 0);
	while ((ret = tide_harvest_next(open, &extent)) > 0) {
		for (uint64_t i = 0; i < extent.npages; i++)
			pages |= 1ull << ((extent.first_gfn + i - GFN) % 64);
	}
	assert_int_equal(ret, 0);
	assert_int_equal(tide_harvest_commit(open), 0);
	return pages;
}

static void test_bad_mmu_configs(void **state)
{
	struct {
		struct tide_mmu_config config;
		uint64_t later;
	} larger = { .config = { .size = sizeof(larger) }, .later = 1 };
	struct tide_mmu_config config = { .flags = 1u << 2 };
	struct tide_mmu *mmu = (struct tide_mmu *)(void *)memory;

	(void)state;
	assert_int_equal(tide_mmu_create(NULL, &mmu), -EINVAL);
	assert_int_equal(tide_mmu_create(&config, &mmu), -EINVAL);
	config.flags = 1u << 31;
	assert_int_equal(tide_mmu_create(&config, &mmu), -EINVAL);
	config.flags = 0;
	config.table_pages_max = 63;
	assert_int_equal(tide_mmu_create(&config, &mmu), -EINVAL);
	config.table_pages_max = 64;
	config.size = sizeof(config) - 1;
	assert_int_equal(tide_mmu_create(&config, &mmu), -EINVAL);
	assert_int_equal(tide_mmu_create(&larger.config, &mmu), -E2BIG);
	/* A result is left alone on failure. */
	assert_ptr_equal(mmu, memory);

	larger.later = 0;
	assert_int_equal(tide_mmu_create(&larger.config, &mmu), 0);
	tide_mmu_destroy(mmu);
	config.size = sizeof(config);
	config.flags = TIDE_MMU_NO_FAST_FAULT | TIDE_MMU_NO_LARGE_PAGES;
	assert_int_equal(tide_mmu_create(&config, &mmu), 0);
	tide_mmu_destroy(mmu);
	tide_mmu_destroy(NULL);
	tide_vcpu_destroy(NULL);
}

static void test_one_mmu_per_backing(void **state)
{
	struct tide_backing_config config = { .npages = 64,
					      .nframes = 16,
					      .swap_fd = -1 };
	struct tide_mmu_config mmu_config = { .flags = 0 };
	struct tide_mmu *mmu, *second;

	(void)state;
	assert_int_equal(tide_backing_create(&config, &mmu_config.backing), 0);
	assert_int_equal(tide_mmu_create(&mmu_config, &mmu), 0);
	assert_int_equal(tide_mmu_create(&mmu_config, &second), -EBUSY);
	tide_mmu_destroy(mmu);
	assert_int_equal(tide_mmu_create(&mmu_config, &second), 0);
	tide_mmu_destroy(second);
	tide_backing_destroy(mmu_config.backing);
}

static void test_bad_soft_configs(void **state)
{
	static const struct {
		bool no_mmu;
		uint32_t address_space, ring_entries;
		uint64_t chunk_pages;
	} bad[] = {
		{ .no_mmu = true },
		{ .address_space = 2 },
		{ .address_space = UINT32_MAX },
		{ .chunk_pages = 32 },
		{ .chunk_pages = 96 },
		{ .chunk_pages = 1ull << 32 },
		{ .ring_entries = 128 },
		{ .ring_entries = 257 },
		{ .ring_entries = 131072 },
	};
	struct {
		struct tide_soft_config config;
		uint64_t later;
	} larger = { .config = { .size = sizeof(larger) }, .later = 1 };
	struct tide_mmu *mmu = create_mmu();
	struct tide_space *space = create_space();

	(void)state;
	larger.config.mmu = mmu;
	for (int soft = TIDE_TRACKER_SOFT_BITMAP;
	     soft <= TIDE_TRACKER_SOFT_RING; soft++) {
		enum tide_tracker tracker = (enum tide_tracker)soft;

		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			struct tide_soft_config config = {
				.mmu = bad[i].no_mmu ? NULL : mmu,
				.address_space = bad[i].address_space,
				.chunk_pages = bad[i].chunk_pages,
				.ring_entries = bad[i].ring_entries,
			};

			assert_int_equal(
				tide_space_attach(space, tracker, &config),
				-EINVAL);
		}
		assert_int_equal(tide_space_attach(space, tracker, NULL),
				 -EINVAL);
		assert_int_equal(tide_space_attach(space, tracker, &larger),
				 -E2BIG);
		assert_int_equal(tide_space_tracker(space), TIDE_TRACKER_NONE);
	}
	assert_int_equal(attach(space, TIDE_TRACKER_COUNT, mmu, 0), -EINVAL);
	tide_space_destroy(space);
	tide_mmu_destroy(mmu);
}

static void test_double_attach(void **state)
{
	struct tide_soft_config get = { .get_clears = 1, .address_space = 1 };
	struct tide_space *other = create_space();
	struct tide_mmu *mmu = create_mmu();
	struct rig rig;

	(void)state;
	set_up(&rig);
	get.mmu = rig.mmu;
	assert_int_equal(
		attach(rig.space, TIDE_TRACKER_SOFT_BITMAP, rig.mmu, 0),
		-EBUSY);
	assert_int_equal(attach(rig.space, TIDE_TRACKER_SOFT_RING, mmu, 0),
			 -EBUSY);
	/* Two spaces on one memory would take each other's pages. */
	assert_int_equal(attach(other, TIDE_TRACKER_SOFT_BITMAP, rig.mmu, 0),
			 -EBUSY);
	/* Manual protect and rings are the whole MMU's. */
	assert_int_equal(
		tide_space_attach(other, TIDE_TRACKER_SOFT_BITMAP, &get),
		-EBUSY);
	assert_int_equal(attach(other, TIDE_TRACKER_SOFT_RING, rig.mmu, 1),
			 -EBUSY);
	assert_int_equal(tide_space_tracker(other), TIDE_TRACKER_NONE);
	assert_int_equal(tide_space_tracker(rig.space),
			 TIDE_TRACKER_SOFT_BITMAP);
	/* The first goes on. */
	enter(&rig);
	assert_int_equal(tide_vcpu_store(rig.vcpu, GPA(5), 1, 1), 0);
	assert_int_equal(harvest(&rig), 1ull << 5);
	/* When it goes, somebody else may come. */
	assert_int_equal(tide_vcpu_exit(rig.vcpu), 0);
	assert_int_equal(tide_space_detach(rig.space), 0);
	assert_int_equal(attach(other, TIDE_TRACKER_SOFT_BITMAP, rig.mmu, 0),
			 0);
	tide_space_destroy(other);
	tear_down(&rig);
	tide_mmu_destroy(mmu);
}

static void test_rings_are_alone(void **state)
{
	struct tide_mmu *mmu = create_mmu();
	struct tide_space *space = create_space(), *other = create_space();

	(void)state;
	assert_int_equal(attach(space, TIDE_TRACKER_SOFT_RING, mmu, 0), 0);
	assert_int_equal(attach(other, TIDE_TRACKER_SOFT_RING, mmu, 1), -EBUSY);
	assert_int_equal(attach(other, TIDE_TRACKER_SOFT_BITMAP, mmu, 1),
			 -EBUSY);
	tide_space_destroy(other);
	tide_space_destroy(space);
	tide_mmu_destroy(mmu);
}

static void test_ring_before_vcpus(void **state)
{
	struct tide_mmu *mmu = create_mmu();
	struct tide_space *space = create_space();
	struct tide_vcpu *vcpu;

	(void)state;
	assert_int_equal(tide_vcpu_create(mmu, &vcpu), 0);
	assert_int_equal(attach(space, TIDE_TRACKER_SOFT_RING, mmu, 0), -EBUSY);
	assert_int_equal(tide_space_tracker(space), TIDE_TRACKER_NONE);
	assert_int_equal(attach(space, TIDE_TRACKER_SOFT_BITMAP, mmu, 0), 0);
	assert_int_equal(tide_soft_ring_full(space), -ENODEV);
	tide_vcpu_destroy(vcpu);
	tide_space_destroy(space);
	tide_mmu_destroy(mmu);
}

static void test_unknown_slots(void **state)
{
	struct rig rig;
	struct tide_slot_config config = {
		.id = 32764, .first_gfn = 1, .npages = 1, .host = more
	};

	(void)state;
	set_up(&rig);
	assert_int_equal(tide_slot_remove(rig.space, 99), -ENOENT);
	assert_int_equal(tide_slot_move(rig.space, 99, 0), -ENOENT);
	assert_int_equal(tide_slot_set_flags(rig.space, 99, 0), -ENOENT);
	/* KVM's limits: 32764 slots, and 48 bits of address. */
	assert_int_equal(tide_slot_add(rig.space, &config), -EINVAL);
	config.id = 32763;
	config.first_gfn = 1ull << 36;
	assert_int_equal(tide_slot_add(rig.space, &config), -EINVAL);
	config.first_gfn--;
	assert_int_equal(tide_slot_add(rig.space, &config), 0);
	enter(&rig);
	assert_int_equal(
		tide_vcpu_store(rig.vcpu, config.first_gfn * PAGE, 1, 77), 0);
	assert_int_equal(more[0], 77);
	tear_down(&rig);
}

static void test_vcpus_max(void **state)
{
	static struct tide_vcpu *vcpus[1025];
	struct tide_mmu *mmu = create_mmu();

	(void)state;
	for (int i = 0; i < 1024; i++)
		assert_int_equal(tide_vcpu_create(mmu, &vcpus[i]), 0);
	assert_int_equal(tide_vcpu_create(mmu, &vcpus[1024]), -ENOSPC);
	assert_null(vcpus[1024]);
	tide_vcpu_destroy(vcpus[500]);
	assert_int_equal(tide_vcpu_create(mmu, &vcpus[500]), 0);
	for (int i = 0; i < 1024; i++)
		tide_vcpu_destroy(vcpus[i]);
	tide_mmu_destroy(mmu);
}

/* Each way to memory, at @gva; *@value is left alone unless it returns 0. */
enum way {
	LOAD,
	FETCH,
	STORE,
	CMPXCHG,
	FETCH_ADD,
	BLOCK_READ,
	BLOCK_WRITE,
	WAYS
};

static int go(struct rig *rig, enum way way, uint64_t gva, size_t nbytes,
	      uint64_t *value)
{
	switch (way) {
	case LOAD:
		return tide_vcpu_load(rig->vcpu, gva, nbytes, value);
	case FETCH:
		return tide_vcpu_fetch(rig->vcpu, gva, nbytes, value);
	case STORE:
		return tide_vcpu_store(rig->vcpu, gva, nbytes, *value);
	case CMPXCHG:
		return tide_vcpu_cmpxchg(rig->vcpu, gva, nbytes, value, 5);
	case FETCH_ADD:
		return tide_vcpu_fetch_add(rig->vcpu, gva, nbytes, 5, value);
	case BLOCK_READ:
		return tide_vcpu_read(rig->vcpu, gva, value, nbytes, NULL);
	case BLOCK_WRITE:
		return tide_vcpu_write(rig->vcpu, gva, value, nbytes, NULL);
	case WAYS:
	default:
		return 0;
	}
}

static void test_outside_guest_mode(void **state)
{
	static uint8_t before[BYTES];
	struct rig rig;

	(void)state;
	set_up(&rig);
	memcpy(before, memory, sizeof(before));
	/* Never in it; then out of it again, with a warm TLB. */
	for (int warm = 0; warm < 2; warm++) {
		for (enum way way = LOAD; way < WAYS; way++) {
			uint64_t value = 0x1234;

			assert_int_equal(go(&rig, way, GPA(6), 8, &value),
					 -EPERM);
			assert_int_equal(value, 0x1234);
		}
		assert_int_equal(tide_vcpu_safe_point(rig.vcpu), -EPERM);
		assert_int_equal(tide_vcpu_exit(rig.vcpu), -EPERM);
		assert_memory_equal(memory, before, sizeof(before));

		enter(&rig);
		for (enum way way = LOAD; way < WAYS; way++) {
			uint64_t value = 0x1234;

			assert_int_equal(go(&rig, way, GPA(6), 8, &value), 0);
		}
		assert_int_equal(tide_vcpu_exit(rig.vcpu), 0);
		memcpy(before, memory, sizeof(before));
	}
	tear_down(&rig);
}

static void test_bad_sizes(void **state)
{
	static const size_t sizes[] = { 0, 3, 5, 6, 7, 9, 16, SIZE_MAX };
	static uint8_t before[BYTES];
	struct rig rig;

	(void)state;
	set_up(&rig);
	memcpy(before, memory, sizeof(before));
	enter(&rig);
	for (int warm = 0; warm < 2; warm++) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			for (enum way way = LOAD; way <= FETCH_ADD; way++) {
				uint64_t value = 0x1234;
				int err =
					go(&rig, way, GPA(6), sizes[i], &value);

				assert_int_equal(err, -EINVAL);
				assert_int_equal(value, 0x1234);
			}
		}
		assert_memory_equal(memory, before, sizeof(before));
		assert_true(in_guest(&rig));
		/* Now all of them hit the TLB. */
		uint64_t value = 0;

		assert_int_equal(go(&rig, LOAD, GPA(6), 8, &value), 0);
		assert_int_equal(go(&rig, FETCH, GPA(6), 8, &value), 0);
		assert_int_equal(go(&rig, STORE, GPA(6), 8, &value), 0);
		memcpy(before, memory, sizeof(before));
	}
	tear_down(&rig);
}

static void test_unaligned_atomics(void **state)
{
	static uint8_t before[BYTES];
	struct rig rig;

	(void)state;
	set_up(&rig);
	memcpy(before, memory, sizeof(before));
	enter(&rig);
	for (uint64_t offset = 1; offset < 16; offset++) {
		for (size_t nbytes = 2; nbytes <= 8; nbytes *= 2) {
			uint64_t value = 0x1234;

			if (offset % nbytes == 0)
				continue;
			assert_int_equal(go(&rig, CMPXCHG, GPA(6) + offset,
					    nbytes, &value),
					 -EINVAL);
			assert_int_equal(go(&rig, FETCH_ADD, GPA(6) + offset,
					    nbytes, &value),
					 -EINVAL);
			assert_int_equal(value, 0x1234);
		}
	}
	assert_true(in_guest(&rig));
	assert_memory_equal(memory, before, sizeof(before));
	assert_int_equal(harvest(&rig), 0);
	tear_down(&rig);
}

static void test_wraps(void **state)
{
	uint8_t buffer[16] = { 0 };
	size_t done = 7;
	struct rig rig;

	(void)state;
	set_up(&rig);
	enter(&rig);
	assert_int_equal(
		tide_vcpu_read(rig.vcpu, UINT64_MAX - 7, buffer, 9, &done),
		-EINVAL);
	assert_int_equal(
		tide_vcpu_write(rig.vcpu, UINT64_MAX, buffer, 2, &done),
		-EINVAL);
	assert_int_equal(
		tide_vcpu_write(rig.vcpu, GPA(5), buffer, SIZE_MAX, &done),
		-EINVAL);
	assert_int_equal(tide_mmu_read(rig.mmu, UINT64_MAX - 7, buffer, 9),
			 -EINVAL);
	assert_int_equal(tide_mmu_write(rig.mmu, UINT64_MAX, buffer, 2),
			 -EINVAL);
	assert_true(in_guest(&rig));
	/* Up to the end is no wrap, and nothing is no range. */
	assert_int_equal(tide_mmu_read(rig.mmu, UINT64_MAX - 7, buffer, 8),
			 -EFAULT);
	assert_int_equal(tide_mmu_write(rig.mmu, UINT64_MAX, buffer, 0), 0);
	assert_int_equal(tide_vcpu_write(rig.vcpu, 0, buffer, 0, &done), 0);
	assert_int_equal(done, 0);
	/* A store there has no page to go to. */
	assert_int_equal(tide_vcpu_store(rig.vcpu, UINT64_MAX - 3, 8, 1),
			 TIDE_EXIT_MMIO);
	assert_int_equal(tide_vcpu_last_exit(rig.vcpu)->gva, UINT64_MAX - 3);
	/* Nor has one behind the last physical address, which is not address
	 * GPA(5) once more. */
	enter(&rig);
	assert_int_equal(tide_vcpu_store(rig.vcpu, GPA(5), 8, 1), 0);
	assert_int_equal(tide_vcpu_store(rig.vcpu, (1ull << 48) + GPA(5), 8, 2),
			 TIDE_EXIT_MMIO);
	enter(&rig);
	assert_int_equal(tide_vcpu_store(rig.vcpu, (1ull << 52) + GPA(5), 8, 2),
			 TIDE_EXIT_MMIO);
	assert_int_equal(harvest(&rig), 1ull << 5);
	tear_down(&rig);
}

static void test_bad_paging(void **state)
{
	static const struct tide_paging bad[] = {
		{ .mode = TIDE_PAGING_MODE_COUNT },
		{ .mode = (enum tide_paging_mode)UINT32_MAX },
		{ .mode = TIDE_PAGING_X86_64, .flags = 1u << 7 },
		{ .mode = TIDE_PAGING_SV39, .flags = 1u << 31 },
		{ .mode = TIDE_PAGING_NONE, .flags = UINT32_MAX },
		{ .mode = TIDE_PAGING_NONE, .address_space = 2 },
		{ .mode = TIDE_PAGING_SV39, .address_space = UINT32_MAX },
		{ .size = 8, .mode = TIDE_PAGING_SV39 },
	};
	struct {
		struct tide_paging paging;
		uint64_t later;
	} larger = { .paging = { .size = sizeof(larger),
				 .mode = TIDE_PAGING_SV39 },
		     .later = 1 };
	uint64_t value;
	struct rig rig;

	(void)state;
	set_up(&rig);
	enter(&rig);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(tide_vcpu_set_paging(rig.vcpu, &bad[i]),
				 -EINVAL);
	assert_int_equal(tide_vcpu_set_paging(rig.vcpu, NULL), -EINVAL);
	assert_int_equal(tide_vcpu_set_paging(rig.vcpu, &larger.paging),
			 -E2BIG);
	/* It pages as it did: not at all. */
	assert_int_equal(tide_vcpu_load(rig.vcpu, GPA(4), 8, &value), 0);
	assert_memory_equal(&value, byte_at(GPA(4), false), 8);

	/* A root that is nowhere is the guest's mistake. */
	larger.later = 0;
	larger.paging.root = UINT64_MAX;
	assert_int_equal(tide_vcpu_set_paging(rig.vcpu, &larger.paging), 0);
	assert_true(in_guest(&rig));
	assert_int_equal(tide_vcpu_load(rig.vcpu, GPA(4), 8, &value),
			 TIDE_EXIT_GUEST_FAULT);
	assert_int_equal(tide_vcpu_last_exit(rig.vcpu)->fault_code, 13);
	assert_int_equal(tide_vcpu_last_exit(rig.vcpu)->gva, GPA(4));
	tear_down(&rig);
}

static void test_enter_and_exit(void **state)
{
	struct rig rig;

	(void)state;
	set_up(&rig);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(tide_vcpu_exit(rig.vcpu), -EPERM);
		assert_int_equal(tide_vcpu_enter(rig.vcpu), 0);
		assert_int_equal(tide_vcpu_enter(rig.vcpu), -EBUSY);
		assert_int_equal(tide_vcpu_safe_point(rig.vcpu), 0);
		assert_int_equal(tide_vcpu_exit(rig.vcpu), 0);
	}
	tear_down(&rig);
}

/* Does @wrong end in an assert?  In a child that leaves no core. */
static bool is_asserted(void (*wrong)(struct rig *rig), struct rig *rig)
{
	const struct rlimit none = { 0, 0 };
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		(void)signal(SIGABRT, SIG_DFL);
		(void)setrlimit(RLIMIT_CORE, &none);
		(void)close(STDERR_FILENO);
		wrong(rig);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void destroy_in_guest(struct rig *rig)
{
	tide_vcpu_destroy(rig->vcpu);
}

static void destroy_with_vcpu(struct rig *rig)
{
	tide_client_close(rig->client);
	tide_space_destroy(rig->space);
	tide_mmu_destroy(rig->mmu);
}

static void destroy_attached(struct rig *rig)
{
	tide_vcpu_destroy(rig->vcpu);
	tide_mmu_destroy(rig->mmu);
}

static void test_asserts(void **state)
{
	struct rig rig;

	(void)state;
	set_up(&rig);
	assert_true(is_asserted(destroy_with_vcpu, &rig));
	assert_true(is_asserted(destroy_attached, &rig));
	enter(&rig);
	assert_true(is_asserted(destroy_in_guest, &rig));
	tear_down(&rig);
}

static void test_kicks(void **state)
{
	struct rig rig;
	uint64_t value;

	(void)state;
	set_up(&rig);
	tide_vcpu_kick(rig.vcpu);
	tide_vcpu_kick(rig.vcpu);
	assert_int_equal(tide_vcpu_enter(rig.vcpu), TIDE_EXIT_KICKED);
	assert_int_equal(tide_vcpu_last_exit(rig.vcpu)->reason,
			 TIDE_EXIT_KICKED);
	assert_int_equal(tide_vcpu_load(rig.vcpu, GPA(4), 1, &value), -EPERM);

	enter(&rig); /* twice was once */
	tide_vcpu_kick(rig.vcpu);
	tide_vcpu_kick(rig.vcpu);
	/* An access is not a safe point, whether or not it faults. */
	assert_int_equal(tide_vcpu_load(rig.vcpu, GPA(4), 1, &value), 0);
	assert_int_equal(tide_vcpu_store(rig.vcpu, GPA(5), 1, 1), 0);
	assert_int_equal(tide_vcpu_safe_point(rig.vcpu), TIDE_EXIT_KICKED);
	assert_int_equal(tide_vcpu_safe_point(rig.vcpu), -EPERM);

	enter(&rig);
	tide_vcpu_kick(rig.vcpu);
	assert_int_equal(tide_vcpu_exit(rig.vcpu), 0); /* not seen: it stays */
	assert_int_equal(tide_vcpu_enter(rig.vcpu), TIDE_EXIT_KICKED);
	enter(&rig);
	assert_int_equal(tide_vcpu_safe_point(rig.vcpu), 0);
	tear_down(&rig);
}

static void expect_mmio(struct rig *rig, int why, enum tide_access access,
			uint64_t gpa, uint32_t nbytes)
{
	const struct tide_exit *at = tide_vcpu_last_exit(rig->vcpu);

	assert_int_equal(why, TIDE_EXIT_MMIO);
	assert_int_equal(at->reason, TIDE_EXIT_MMIO);
	assert_int_equal(at->access, access);
	assert_int_equal(at->gva, gpa);
	assert_int_equal(at->gpa, gpa);
	assert_int_equal(at->nbytes, nbytes);
	assert_false(in_guest(rig)); /* which enters */
}

static void test_mmio_says_what(void **state)
{
	static const enum tide_access access[] = {
		[LOAD] = TIDE_ACCESS_READ,
		[FETCH] = TIDE_ACCESS_FETCH,
		[STORE] = TIDE_ACCESS_WRITE,
		[CMPXCHG] = TIDE_ACCESS_WRITE,
		[FETCH_ADD] = TIDE_ACCESS_WRITE,
		[BLOCK_READ] = TIDE_ACCESS_READ,
		[BLOCK_WRITE] = TIDE_ACCESS_WRITE,
	};
	struct rig rig;
	uint64_t value = 0x1234;

	(void)state;
	set_up(&rig);
	enter(&rig);
	for (enum way way = LOAD; way < WAYS; way++) {
		for (uint32_t nbytes = 1; nbytes <= 8; nbytes *= 2) {
			uint64_t gpa = GPA(15) + 8 * nbytes;
			int why = go(&rig, way, gpa, nbytes, &value);

			expect_mmio(&rig, why, access[way], gpa, nbytes);
			assert_int_equal(value, 0x1234);
		}
	}
	/* The half that is a device's, of one that crosses. */
	expect_mmio(&rig, go(&rig, LOAD, GPA(14) - 3, 8, &value),
		    TIDE_ACCESS_READ, GPA(14), 5);
	expect_mmio(&rig, go(&rig, STORE, GPA(14) - 3, 8, &value),
		    TIDE_ACCESS_WRITE, GPA(14), 5);
	expect_mmio(&rig, go(&rig, FETCH, GPA(4) - 3, 4, &value),
		    TIDE_ACCESS_FETCH, GPA(4) - 3, 3);
	expect_mmio(&rig, go(&rig, STORE, GPA(4) - 3, 4, &value),
		    TIDE_ACCESS_WRITE, GPA(4) - 3, 3);
	assert_int_equal(harvest(&rig) & ~(1ull << 4 | 1ull << 13), 0);
	tear_down(&rig);
}

static void test_read_only(void **state)
{
	static uint8_t before[BYTES];
	struct rig rig;
	uint64_t value, gpa = GPA(16) + 24;

	(void)state;
	set_up(&rig);
	memcpy(before, memory, sizeof(before));
	enter(&rig);
	for (int warm = 0; warm < 2; warm++) {
		assert_int_equal(go(&rig, LOAD, gpa, 8, &value), 0);
		assert_memory_equal(&value, byte_at(gpa, false), 8);
		assert_int_equal(go(&rig, FETCH, gpa, 4, &value), 0);
		value = 3;
		expect_mmio(&rig, go(&rig, STORE, gpa, 8, &value),
			    TIDE_ACCESS_WRITE, gpa, 8);
		expect_mmio(&rig, go(&rig, CMPXCHG, gpa, 8, &value),
			    TIDE_ACCESS_WRITE, gpa, 8);
		expect_mmio(&rig, go(&rig, FETCH_ADD, gpa, 8, &value),
			    TIDE_ACCESS_WRITE, gpa, 8);
		expect_mmio(&rig, go(&rig, BLOCK_WRITE, gpa, 8, &value),
			    TIDE_ACCESS_WRITE, gpa, 8);
		assert_int_equal(tide_mmu_write(rig.mmu, gpa, &value, 8),
				 -EFAULT);
		assert_int_equal(tide_mmu_read(rig.mmu, gpa, &value, 8), 0);
		assert_memory_equal(&value, byte_at(gpa, false), 8);
	}
	assert_memory_equal(memory, before, sizeof(before));
	assert_int_equal(harvest(&rig), 0);
	tear_down(&rig);
}

static void test_blocks_stop_at_a_hole(void **state)
{
	static uint8_t buffer[6 * PAGE], text[6 * PAGE];
	size_t done = 99, part = 2 * PAGE + 100;
	struct rig rig;

	(void)state;
	set_up(&rig);
	memset(text, 0xa5, sizeof(text));
	enter(&rig);
	expect_mmio(&rig,
		    tide_vcpu_write(rig.vcpu, GPA(14) - part, text,
				    sizeof(text), &done),
		    TIDE_ACCESS_WRITE, GPA(14), PAGE);
	assert_int_equal(done, part);
	for (uint64_t i = 0; i < part; i++)
		assert_int_equal(*byte_at(GPA(14) - part + i, true), 0xa5);
	assert_int_not_equal(*byte_at(GPA(14) - part - 1, true), 0xa5);
	assert_int_equal(harvest(&rig), 7ull << 11);

	expect_mmio(&rig,
		    tide_vcpu_read(rig.vcpu, GPA(14) - part, buffer,
				   sizeof(buffer), &done),
		    TIDE_ACCESS_READ, GPA(14), PAGE);
	assert_int_equal(done, part);
	assert_memory_equal(buffer, text, part);
	for (size_t i = part; i < sizeof(buffer); i++)
		assert_int_equal(buffer[i], 0);

	/* The host's copies do likewise. */
	memset(text, 0x5a, sizeof(text));
	assert_int_equal(
		tide_mmu_write(rig.mmu, GPA(14) - part, text, sizeof(text)),
		-EFAULT);
	assert_int_equal(harvest(&rig), 7ull << 11);
	assert_int_equal(
		tide_mmu_read(rig.mmu, GPA(14) - part, buffer, sizeof(buffer)),
		-EFAULT);
	assert_memory_equal(buffer, text, part);
	assert_int_equal(tide_mmu_write(rig.mmu, GPA(13), text, PAGE), 0);
	assert_int_equal(harvest(&rig), 1ull << 13);
	tear_down(&rig);
}

static void test_every_write_is_yielded(void **state)
{
	struct rig rig;
	uint64_t value;

	(void)state;
	set_up(&rig);
	enter(&rig);
	for (int again = 0; again < 3; again++) {
		assert_int_equal(go(&rig, LOAD, GPA(4), 8, &value), 0);
		assert_int_equal(go(&rig, FETCH, GPA(4), 8, &value), 0);
		assert_int_equal(harvest(&rig), 0);
		assert_int_equal(go(&rig, STORE, GPA(4), 8, &value), 0);
		/* In slots 1 and 2. */
		assert_int_equal(go(&rig, STORE, GPA(10) - 1, 2, &value), 0);
		assert_int_equal(go(&rig, FETCH_ADD, GPA(6), 4, &value), 0);
		assert_int_equal(go(&rig, BLOCK_WRITE, GPA(7) - 4, 8, &value),
				 0);
		assert_int_equal(harvest(&rig), 1ull << 4 | 1ull << 9 |
							1ull << 10 | 3ull << 6);
		/* One that succeeds, and one that does not. */
		value = memory[(12 + 1) * PAGE];
		assert_int_equal(go(&rig, CMPXCHG, GPA(5), 1, &value), 0);
		value = memory[(12 + 4) * PAGE] ^ 1u;
		assert_int_equal(go(&rig, CMPXCHG, GPA(8), 1, &value), 0);
		assert_int_equal(harvest(&rig), 1ull << 5 | 1ull << 8);
		assert_int_equal(
			tide_mmu_write(rig.mmu, GPA(19) - 1, &value, 2), 0);
		assert_int_equal(harvest(&rig), 3ull << 18);
	}
	tear_down(&rig);
}

static void test_translate(void **state)
{
	struct rig rig;
	uint64_t gpa = 1;

	(void)state;
	set_up(&rig);
	for (int inside = 0; inside < 2; inside++) {
		assert_int_equal(tide_vcpu_translate(rig.vcpu, GPA(5) + 7,
						     TIDE_ACCESS_WRITE, &gpa),
				 0);
		assert_int_equal(gpa, GPA(5) + 7);
		assert_int_equal(tide_vcpu_translate(rig.vcpu, GPA(14) + 9,
						     TIDE_ACCESS_READ, &gpa),
				 TIDE_EXIT_MMIO);
		assert_int_equal(gpa, GPA(14) + 9);
		assert_int_equal(tide_vcpu_translate(rig.vcpu, GPA(16),
						     TIDE_ACCESS_READ, &gpa),
				 0);
		assert_int_equal(tide_vcpu_translate(rig.vcpu, GPA(16),
						     TIDE_ACCESS_WRITE, &gpa),
				 TIDE_EXIT_MMIO);
		assert_int_equal(tide_vcpu_translate(rig.vcpu, GPA(5),
						     TIDE_ACCESS_COUNT, &gpa),
				 -EINVAL);
		/* It stays where it is. */
		if (inside)
			assert_true(in_guest(&rig));
		else
			assert_int_equal(tide_vcpu_safe_point(rig.vcpu),
					 -EPERM);
		if (!inside)
			enter(&rig);
	}
	assert_int_equal(harvest(&rig), 0);
	tear_down(&rig);
}

static void test_ring_full(void **state)
{
	struct rig rig;
	uint64_t value = 1;

	(void)state;
	set_up_with(&rig, TIDE_TRACKER_SOFT_RING);
	enter(&rig);
	assert_int_equal(go(&rig, STORE, GPA(4), 8, &value), 0);
	assert_int_equal(tide_soft_ring_full(rig.space), 1);
	assert_int_equal(tide_soft_ring_full(rig.space), 0);
	/* Harvested, and not yet asked for. */
	assert_int_equal(harvest(&rig), 1ull << 4);

	/* Ten pages, over and over: each is in it once. */
	for (uint32_t i = 0; i < 1000; i++) {
		assert_int_equal(go(&rig, STORE, GPA(4 + i % 10), 8, &value),
				 0);
		assert_int_equal(tide_vcpu_safe_point(rig.vcpu), 0);
	}
	assert_int_equal(tide_soft_ring_full(rig.space), 10);
	assert_int_equal(harvest(&rig), 0x3ffull << 4);
	tear_down(&rig);
}

struct stuck {
	struct rig *rig;
	sem_t inside, go_on;
};

static void *sit_in_guest(void *opaque)
{
	struct stuck *stuck = opaque;
	uint64_t value = 1;

	enter(stuck->rig);
	assert_int_equal(go(stuck->rig, STORE, GPA(5), 8, &value), 0);
	assert_int_equal(sem_post(&stuck->inside), 0);
	while (sem_wait(&stuck->go_on))
		assert_int_equal(errno, EINTR);
	/* By the translation that nobody could take away. */
	value = 0x77;
	assert_int_equal(go(stuck->rig, STORE, GPA(5), 1, &value), 0);
	assert_int_equal(tide_vcpu_exit(stuck->rig->vcpu), 0);
	return NULL;
}

static void test_stuck_vcpu(void **state)
{
	struct tide_mmu_config config = { .flush_timeout_ns = 1000000 };
	struct stuck stuck;
	struct tide_harvest *open;
	pthread_t thread;
	struct rig rig;

	(void)state;
	set_up(&rig); /* and once more, with less patience */
	tear_down(&rig);
	assert_int_equal(tide_mmu_create(&config, &rig.mmu), 0);
	rig.space = create_space();
	assert_int_equal(
		attach(rig.space, TIDE_TRACKER_SOFT_BITMAP, rig.mmu, 0), 0);
	assert_int_equal(add_slot(rig.space, 0), 0);
	assert_int_equal(tide_vcpu_create(rig.mmu, &rig.vcpu), 0);
	assert_int_equal(tide_client_open(rig.space, "test", TIDE_START_CLEAN,
					  &rig.client),
			 0);
	stuck.rig = &rig;
	assert_int_equal(sem_init(&stuck.inside, 0, 0), 0);
	assert_int_equal(sem_init(&stuck.go_on, 0, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, sit_in_guest, &stuck),
			 0);
	while (sem_wait(&stuck.inside))
		assert_int_equal(errno, EINTR);

	/* Not for ever; at the latest when the page is to be re-armed. */
	struct tide_extent extent;
	int err = tide_harvest_begin(rig.client, &open);

	if (!err) {
		err = tide_harvest_next(open, &extent);
		tide_harvest_abort(open);
	}
	assert_int_equal(err, -ETIMEDOUT);
	assert_int_equal(sem_post(&stuck.go_on), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	/* It is over, and nothing was lost: every page of the slot is dirty,
	 * and the late write is among them. */
	assert_int_equal(harvest(&rig), 0x3full << 4);
	assert_int_equal(*byte_at(GPA(5), true), 0x77);
	assert_int_equal(harvest(&rig), 0);
	tear_down(&rig);
}

static void test_address_spaces(void **state)
{
	struct tide_paging paging = { .address_space = 1 };
	struct tide_slot_config config = {
		.id = 1, .first_gfn = GFN + 4, .npages = 1, .host = more
	};
	struct tide_space *other = create_space();
	struct rig rig;
	uint64_t value = 0x11;

	(void)state;
	memset(more, 0, sizeof(more));
	set_up(&rig);
	assert_int_equal(attach(other, TIDE_TRACKER_SOFT_BITMAP, rig.mmu, 1),
			 0);
	assert_int_equal(tide_slot_add(other, &config), 0);
	enter(&rig);
	assert_int_equal(go(&rig, STORE, GPA(4), 1, &value), 0);
	assert_int_equal(more[0], 0);
	assert_int_equal(tide_vcpu_set_paging(rig.vcpu, &paging), 0);
	value = 0x22;
	assert_int_equal(go(&rig, STORE, GPA(4), 1, &value), 0);
	assert_int_equal(more[0], 0x22);
	assert_int_equal(*byte_at(GPA(4), true), 0x11);
	assert_int_equal(go(&rig, LOAD, GPA(5), 1, &value), TIDE_EXIT_MMIO);
	/* tide_mmu_write() is for address space 0. */
	value = 0x33;
	assert_int_equal(tide_mmu_write(rig.mmu, GPA(4), &value, 1), 0);
	assert_int_equal(*byte_at(GPA(4), true), 0x33);
	assert_int_equal(more[0], 0x22);
	tide_space_destroy(other);
	tear_down(&rig);
}

/* Whole pages, one after the other, at one of two addresses. */
struct device {
	struct tide_mmu *mmu;
	uint64_t gpa[2];
	uint32_t npages;
	bool insists; /* on writing each, once; else until stop */
	sem_t done, stop;
};

static void *device_thread(void *opaque)
{
	static uint8_t text[PAGE];
	struct device *device = opaque;

	for (uint32_t i = 0;
	     device->insists ? i < device->npages : sem_trywait(&device->stop);
	     i++) {
		uint64_t offset = i % device->npages * PAGE;
		int err;

		memset(text, (int)i + 1, sizeof(text));
		do {
			err = tide_mmu_write(device->mmu,
					     device->gpa[0] + offset, text,
					     sizeof(text));
			if (err)
				err = tide_mmu_write(device->mmu,
						     device->gpa[1] + offset,
						     text, sizeof(text));
		} while (err && device->insists);
	}
	assert_int_equal(sem_post(&device->done), 0);
	return NULL;
}

static pthread_t start(struct device *device)
{
	pthread_t thread;

	assert_int_equal(sem_init(&device->done, 0, 0), 0);
	assert_int_equal(sem_init(&device->stop, 0, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, device_thread, device),
			 0);
	return thread;
}

#define AREA 64u /* pages */

static void *map_area(void)
{
	void *area = mmap(NULL, AREA * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(area, MAP_FAILED);
	return area;
}

static void test_device_while_slot_goes(void **state)
{
	struct tide_slot_config config = { .id = 9,
					   .first_gfn = 0x1000,
					   .npages = AREA };
	struct device device = { .gpa = { 0x1000 * PAGE, 0x1000 * PAGE },
				 .npages = AREA };
	pthread_t thread;
	struct rig rig;

	(void)state;
	set_up(&rig);
	device.mmu = rig.mmu;
	thread = start(&device);
	for (uint32_t i = 0; i < 1500 * test_long(); i++) {
		config.host = map_area();
		assert_int_equal(tide_slot_add(rig.space, &config), 0);
		/* What nobody holds may be unmapped. */
		assert_int_equal(tide_slot_remove(rig.space, 9), 0);
		assert_int_equal(munmap(config.host, AREA * PAGE), 0);
	}
	assert_int_equal(sem_post(&device.stop), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	tear_down(&rig);
}

static void copy_dirty(struct rig *rig, const uint8_t *area, uint8_t *copy)
{
	struct tide_harvest *open;
	struct tide_extent extent;
	int ret;

	assert_int_equal(tide_harvest_begin(rig->client, &open), 0);
	while ((ret = tide_harvest_next(open, &extent)) > 0)
		memcpy(copy + ((uint8_t *)extent.host - area), extent.host,
		       extent.npages * PAGE);
	assert_int_equal(ret, 0);
	assert_int_equal(tide_harvest_commit(open), 0);
}

static void test_device_while_slot_moves(void **state)
{
	static const uint64_t gfns[] = { 0x1000, 0x2000 };
	static uint8_t copy[AREA * PAGE];
	struct device device = { .gpa = { gfns[0] * PAGE, gfns[1] * PAGE },
				 .npages = AREA,
				 .insists = true };
	struct tide_slot_config config = { .id = 9,
					   .first_gfn = gfns[0],
					   .npages = AREA,
					   .host = map_area() };
	uint32_t moves = 0;
	struct rig rig;

	(void)state;
	set_up(&rig);
	device.mmu = rig.mmu;
	assert_int_equal(tide_slot_add(rig.space, &config), 0);
	for (uint32_t i = 0; i < 100 * test_long(); i++) {
		memset(config.host, 0, AREA * PAGE);
		memset(copy, 0, sizeof(copy));
		(void)harvest(&rig);
		pthread_t thread = start(&device);

		while (sem_trywait(&device.done))
			assert_int_equal(
				tide_slot_move(rig.space, 9, gfns[++moves % 2]),
				0);
		assert_int_equal(pthread_join(thread, NULL), 0);
		/* Each page was written once, here or there. */
		copy_dirty(&rig, config.host, copy);
		assert_memory_equal(config.host, copy, sizeof(copy));
	}
	tear_down(&rig);
	assert_int_equal(munmap(config.host, AREA * PAGE), 0);
}

/* The same memory once more, that everything is done to by hand. */
struct model {
	uint8_t memory[BYTES];
	uint64_t written; /* pages, from GFN */
};

/* Bytes that can be reached from @gpa on, up to @nbytes. */
static size_t reachable(uint64_t gpa, size_t nbytes, bool write)
{
	size_t n = 0;

	while (n < nbytes && byte_at(gpa + n, write))
		n++;
	return n;
}

static void model_write(struct model *model, uint64_t gpa, const void *from,
			size_t nbytes)
{
	for (size_t i = 0; i < nbytes; i++) {
		size_t at = (size_t)(byte_at(gpa + i, true) - memory);

		model->memory[at] = ((const uint8_t *)from)[i];
		model->written |= 1ull << ((gpa + i) / PAGE - GFN);
	}
}

static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return *seed >> 17;
}

/* What the exit must say about the first byte that is not there. */
static void expect_stop(struct rig *rig, int why, uint64_t gpa, size_t done,
			size_t nbytes, enum tide_access access)
{
	uint64_t at = gpa + done;
	size_t rest = PAGE - at % PAGE;

	if (rest > nbytes - done)
		rest = nbytes - done;
	expect_mmio(rig, why, access, at, (uint32_t)rest);
}

static void random_block(struct rig *rig, struct model *model, uint64_t gpa,
			 size_t nbytes, bool write, uint64_t *seed)
{
	static uint8_t buffer[3 * PAGE], right[3 * PAGE];
	size_t can = reachable(gpa, nbytes, write), done;
	int why;

	for (size_t i = 0; i < nbytes; i++)
		buffer[i] = (uint8_t)next_random(seed);
	memcpy(right, buffer, nbytes);
	if (write) {
		model_write(model, gpa, buffer, can);
		why = tide_vcpu_write(rig->vcpu, gpa, buffer, nbytes, &done);
	} else {
		for (size_t i = 0; i < can; i++)
			right[i] = *byte_at(gpa + i, false);
		why = tide_vcpu_read(rig->vcpu, gpa, buffer, nbytes, &done);
	}
	assert_memory_equal(buffer, right, nbytes);
	assert_int_equal(done, can);
	if (can == nbytes)
		assert_int_equal(why, 0);
	else
		expect_stop(rig, why, gpa, can, nbytes,
			    write ? TIDE_ACCESS_WRITE : TIDE_ACCESS_READ);
}

static void random_access(struct rig *rig, struct model *model, enum way way,
			  uint64_t gpa, size_t nbytes, uint64_t value)
{
	bool write = way >= STORE;
	size_t can = reachable(gpa, nbytes, write);
	uint64_t old = 0, expected = value, given = value;
	uint64_t mask = nbytes == 8 ? UINT64_MAX : (1ull << 8 * nbytes) - 1;
	int why;

	if (can == nbytes) {
		for (size_t i = 0; i < nbytes; i++)
			old |= (uint64_t)*byte_at(gpa + i, false) << 8 * i;
		/* Every second one succeeds. */
		if (way == CMPXCHG && (value & 1))
			given = value = old;
		if (way != STORE)
			expected = old;
		uint64_t new_value = way == FETCH_ADD	     ? old + 5
				     : way == STORE	     ? value
				     : old == (value & mask) ? 5
							     : old;

		if (write)
			model_write(model, gpa, &new_value, nbytes);
	}
	why = go(rig, way, gpa, nbytes, &given);
	assert_int_equal(given, expected);
	if (can == nbytes)
		assert_int_equal(why, 0);
	else
		expect_stop(rig, why, gpa, can, nbytes,
			    way == FETCH ? TIDE_ACCESS_FETCH
			    : write	 ? TIDE_ACCESS_WRITE
					 : TIDE_ACCESS_READ);
}

/* Half of them near a page's end, and all sizes. */
static void random_step(struct rig *rig, struct model *model, uint64_t *seed)
{
	enum way way = (enum way)(next_random(seed) % WAYS);
	size_t nbytes = (size_t)1 << next_random(seed) % 4;
	uint64_t gpa = GPA(0) + PAGE + next_random(seed) % (BYTES - 5 * PAGE);

	if (next_random(seed) % 2)
		gpa = (gpa & ~(uint64_t)(PAGE - 1)) - 8 +
		      next_random(seed) % 16;
	if (way == BLOCK_READ || way == BLOCK_WRITE) {
		random_block(rig, model, gpa, next_random(seed) % (3 * PAGE),
			     way == BLOCK_WRITE, seed);
		return;
	}
	if (way == CMPXCHG || way == FETCH_ADD)
		gpa &= ~(uint64_t)(nbytes - 1);
	random_access(rig, model, way, gpa, nbytes, next_random(seed));
}

static void test_against_an_array(void **state)
{
	static struct model model;
	uint64_t seed = test_seed();
	uint32_t steps = 20000 * test_long();
	struct rig rig;

	(void)state;
	set_up(&rig);
	memcpy(model.memory, memory, sizeof(memory));
	enter(&rig);
	for (uint32_t i = 0; i < steps; i++) {
		random_step(&rig, &model, &seed);
		assert_memory_equal(memory, model.memory, sizeof(memory));
		if (next_random(&seed) % 64 == 0) {
			/* A fault may have marked the first page of a store
			 * that then had no second one: more, never less. */
			uint64_t yielded = harvest(&rig);

			assert_int_equal(model.written & ~yielded, 0);
			model.written = 0;
		}
		if (next_random(&seed) % 16 == 0)
			assert_int_equal(tide_vcpu_safe_point(rig.vcpu), 0);
	}
	tear_down(&rig);
}

#define TEST(function, name)                     \
	{                                        \
		name, function, NULL, NULL, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_bad_mmu_configs, "a bad MMU config is refused"),
		TEST(test_one_mmu_per_backing, "a backing has one MMU"),
		TEST(test_bad_soft_configs, "a bad tracker config is refused"),
		TEST(test_double_attach,
		     "a second attach is refused, the first goes on"),
		TEST(test_rings_are_alone, "rings are one space's alone"),
		TEST(test_ring_before_vcpus, "rings come before vCPUs"),
		TEST(test_unknown_slots,
		     "unknown slots, and KVM's limits of slots"),
		TEST(test_vcpus_max, "1024 vCPUs and no more"),
		TEST(test_outside_guest_mode,
		     "outside guest mode nothing is reached"),
		TEST(test_bad_sizes, "sizes other than 1, 2, 4, 8 are refused"),
		TEST(test_unaligned_atomics,
		     "atomics that are not aligned are refused"),
		TEST(test_wraps, "ranges that wrap are refused"),
		TEST(test_bad_paging,
		     "nonsense of paging is refused and changes nothing"),
		TEST(test_enter_and_exit,
		     "guest mode is entered and left once"),
		TEST(test_asserts,
		     "what must not be destroyed yet is asserted"),
		TEST(test_kicks, "a kick counts once, before enter and inside"),
		TEST(test_mmio_says_what, "MMIO says what, where and how much"),
		TEST(test_read_only,
		     "a read-only slot is read, and its writes are MMIO"),
		TEST(test_blocks_stop_at_a_hole,
		     "copies say how far they came"),
		TEST(test_every_write_is_yielded,
		     "every way to write is yielded"),
		TEST(test_translate,
		     "translate needs no guest mode and keeps it"),
		TEST(test_ring_full, "a page is in the ring once"),
		TEST(test_stuck_vcpu,
		     "without safe points: an error, and nothing lost"),
		TEST(test_address_spaces,
		     "two address spaces are two memories"),
		TEST(test_device_while_slot_goes,
		     "a device writes while its slot goes"),
		TEST(test_device_while_slot_moves,
		     "a device's write moves with its slot"),
		TEST(test_against_an_array,
		     "random accesses do what a plain array says"),
	};

	return cmocka_run_group_tests_name("mmu_api", tests, NULL, NULL);
}
