/* SPDX-License-Identifier: MIT */
/*
 * space_test.c - slots and attach against their promises in
 * <tidemark/space.h> and <tidemark/tracker.h>
 *
 * Every refusal, then what each call leaves behind; what clients see of it is
 * the conformance suite's.  The kernel is the simulated one.
 */
#undef NDEBUG /* a test without its asserts tests nothing */
#include <errno.h>
#include <unistd.h>

#include <tidemark/client.h>
#include <tidemark/space.h>
#include <tidemark/tracker.h>

#include "sim_kernel.h"
#include "test_support.h"

static _Alignas(4096) uint8_t memory[16 * TIDE_PAGE_SIZE];

static struct tide_slot_config slot_config(uint32_t id, uint64_t first_gfn,
					   uint64_t npages)
{
	return (struct tide_slot_config){ .id = id,
					  .first_gfn = first_gfn,
					  .npages = npages,
					  .host = memory };
}

static struct tide_space *create(void)
{
	struct tide_space *space;

	assert_int_equal(tide_space_create(&space), 0);
	return space;
}

static int add(struct tide_space *space, uint32_t id, uint64_t first_gfn,
	       uint64_t npages)
{
	struct tide_slot_config config = slot_config(id, first_gfn, npages);

	return tide_slot_add(space, &config);
}

static void test_bad_slots(void **state)
{
	static const struct {
		uint64_t first_gfn, npages;
		size_t host;
		uint32_t flags;
	} bad[] = {
		{ 0, 0, 0, 0 },
		{ 0, TIDE_SLOT_PAGES_MAX + 1, 0, 0 },
		{ UINT64_MAX, 1, 0, 0 },
		{ UINT64_MAX - 3, 8, 0, 0 },
		{ UINT64_MAX >> TIDE_PAGE_SHIFT, 2, 0, 0 },
		{ 0, 1, 1, 0 },
		{ 0, 1, 2048, 0 },
		{ 0, 1, 0, 1u << 3 },
		{ 0, 1, 0, 1u << 31 },
	};
	struct tide_space *space = create();
	struct tide_slot_info info;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct tide_slot_config config = {
			.first_gfn = bad[i].first_gfn,
			.npages = bad[i].npages,
			.host = memory + bad[i].host,
			.flags = bad[i].flags,
		};

		assert_int_equal(tide_slot_add(space, &config), -EINVAL);
	}
	assert_int_equal(tide_slot_get(space, 0, &info), -ENOENT);
	tide_space_destroy(space);
}

static void test_overlaps(void **state)
{
	struct tide_space *space = create();

	(void)state;
	assert_int_equal(add(space, 1, 100, 10), 0);
	assert_int_equal(add(space, 1, 200, 1), -EEXIST); /* the id */
	assert_int_equal(add(space, 2, 109, 1), -EEXIST);
	assert_int_equal(add(space, 2, 95, 6), -EEXIST);
	assert_int_equal(add(space, 2, 90, 16), -EEXIST);
	assert_int_equal(add(space, 2, 103, 2), -EEXIST);
	assert_int_equal(add(space, 2, 110, 5), 0);
	assert_int_equal(add(space, 3, 95, 5), 0);
	tide_space_destroy(space);
}

static void test_order(void **state)
{
	struct tide_space *space = create();
	struct tide_slot_info info;

	(void)state;
	assert_int_equal(add(space, 7, 300, 1), 0);
	assert_int_equal(add(space, 8, 100, 2), 0);
	assert_int_equal(add(space, 9, 200, 3), 0);
	assert_int_equal(tide_slot_get(space, 0, &info), 0);
	assert_int_equal(info.id, 8);
	assert_int_equal(info.first_gfn, 100);
	assert_int_equal(info.npages, 2);
	assert_ptr_equal(info.host, memory);
	assert_int_equal(tide_slot_get(space, 1, &info), 0);
	assert_int_equal(info.id, 9);
	assert_int_equal(tide_slot_move(space, 8, 400), 0);
	assert_int_equal(tide_slot_get(space, 2, &info), 0);
	assert_int_equal(info.id, 8);
	assert_int_equal(tide_slot_get(space, 3, &info), -ENOENT);
	assert_int_equal(tide_slot_remove(space, 7), 0);
	assert_int_equal(tide_slot_get(space, 2, &info), -ENOENT);
	tide_space_destroy(space);
}

static void test_unknown(void **state)
{
	struct tide_space *space = create();

	(void)state;
	assert_int_equal(add(space, 1, 0, 4), 0);
	assert_int_equal(tide_slot_remove(space, 2), -ENOENT);
	assert_int_equal(tide_slot_move(space, 2, 8), -ENOENT);
	assert_int_equal(tide_slot_set_flags(space, 2, 0), -ENOENT);
	assert_int_equal(tide_slot_busy(space, 2), 0);
	assert_int_equal(tide_slot_set_flags(space, 1, 8), -EINVAL);
	assert_int_equal(tide_slot_move(space, 1, UINT64_MAX - 1), -EINVAL);
	assert_int_equal(tide_slot_move(space, 1, UINT64_MAX >> 12), -EINVAL);
	assert_int_equal(tide_slot_remove(space, 1), 0);
	assert_int_equal(tide_slot_remove(space, 1), -ENOENT);
	tide_space_destroy(space);
	tide_space_destroy(NULL);
}

/* A newer caller's struct: fine when what we do not know is zero. */
static void test_sizes(void **state)
{
	struct tide_space *space = create();
	struct {
		struct tide_slot_config known;
		uint64_t unknown;
	} config = { .known = slot_config(1, 0, 1) };

	(void)state;
	config.known.size = sizeof(config);
	assert_int_equal(tide_slot_add(space, &config.known), 0);
	config.known = slot_config(2, 10, 1);
	config.known.size = sizeof(config);
	config.unknown = 1;
	assert_int_equal(tide_slot_add(space, &config.known), -E2BIG);
	config.known.size = sizeof(config.known);
	assert_int_equal(tide_slot_add(space, &config.known), 0);
	config.known.size = 8;
	assert_int_equal(tide_slot_add(space, &config.known), -EINVAL);
	tide_space_destroy(space);
}

static void test_names(void **state)
{
	enum tide_tracker tracker;

	(void)state;
	for (unsigned int i = 0; i < TIDE_TRACKER_COUNT; i++) {
		const char *name = tide_tracker_name((enum tide_tracker)i);

		assert_non_null(name);
		assert_int_equal(tide_tracker_by_name(name, &tracker), 0);
		assert_int_equal(tracker, i);
	}
	assert_null(tide_tracker_name(TIDE_TRACKER_COUNT));
	assert_int_equal(tide_tracker_by_name("kvm", &tracker), -ENOENT);
	assert_int_equal(tide_tracker_by_name("", &tracker), -ENOENT);
}

static void test_bad_attach(void **state)
{
	const struct sim_config none = { .no_manual = true, .no_ring = true };
	struct tide_kvm_config config = { .size = sizeof(config) };
	struct tide_space *space = create();
	struct sim_vm *vm;

	(void)state;
	assert_int_equal(sim_vm_create(&none, &vm), 0);
	config.vm_fd = STDIN_FILENO;
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_KVM_GET, &config),
		-EBADF);
	config.vm_fd = sim_vm_fd(vm);
	assert_int_equal(tide_space_attach(space, TIDE_TRACKER_NONE, &config),
			 -EINVAL);
	assert_int_equal(tide_space_attach(space, TIDE_TRACKER_COUNT, &config),
			 -EINVAL);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_KVM_CLEAR, &config),
		-EOPNOTSUPP);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_KVM_RING, &config),
		-EOPNOTSUPP);
	config.chunk_pages = 65;
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_KVM_GET, &config),
		-EINVAL);
	config.chunk_pages = 32;
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_KVM_GET, &config),
		-EINVAL);
	config.chunk_pages = 0;
	config.ring_entries = 1000;
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_KVM_RING, &config),
		-EINVAL);
	assert_int_equal(tide_space_tracker(space), TIDE_TRACKER_NONE);
	assert_int_equal(tide_kvm_vcpu_add(space, 0), -ENODEV);
	assert_int_equal(tide_space_detach(space), 0);
	tide_space_destroy(space);
	sim_vm_destroy(vm);
}

static void test_attach_twice(void **state)
{
	struct tide_kvm_config config = { .size = sizeof(config) };
	const struct sim_config all = { 0 };
	struct tide_space *space = create();
	struct sim_vm *vm;

	(void)state;
	assert_int_equal(sim_vm_create(&all, &vm), 0);
	config.vm_fd = sim_vm_fd(vm);
	assert_int_equal(add(space, 3, 64, 16), 0);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_KVM_CLEAR, &config), 0);
	assert_int_equal(tide_space_tracker(space), TIDE_TRACKER_KVM_CLEAR);
	assert_int_equal(sim_flags(vm, 3), 0);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_KVM_GET, &config),
		-EBUSY);
	assert_int_equal(tide_space_detach(space), 0);
	assert_int_equal(tide_space_detach(space), 0);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_KVM_GET, &config), 0);
	tide_space_destroy(space);
	sim_vm_destroy(vm);
}

/* The ring must be on before a vCPU exists. */
static void test_late_ring(void **state)
{
	struct tide_kvm_config config = { .size = sizeof(config) };
	const struct sim_config all = { 0 };
	struct tide_space *space = create();
	struct sim_vm *vm;

	(void)state;
	assert_int_equal(sim_vm_create(&all, &vm), 0);
	config.vm_fd = sim_vm_fd(vm);
	assert_true(sim_vcpu_create(vm) >= 0);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_KVM_RING, &config),
		-EBUSY);
	assert_int_equal(tide_space_tracker(space), TIDE_TRACKER_NONE);
	tide_space_destroy(space);
	sim_vm_destroy(vm);
}

/* The kernel refuses the second slot.  The first may have been the embedder's
 * before: it stays, not logged. */
static void test_attach_fails_midway(void **state)
{
	struct tide_kvm_config config = { .size = sizeof(config) };
	const struct sim_config all = { 0 };
	struct tide_space *space = create();
	struct sim_vm *vm;

	(void)state;
	assert_int_equal(sim_vm_create(&all, &vm), 0);
	config.vm_fd = sim_vm_fd(vm);
	assert_int_equal(add(space, 1, 0, 4), 0);
	assert_int_equal(add(space, 2, 4, 4), 0);
	sim_fail(vm, KVM_SET_USER_MEMORY_REGION, 2, ENOMEM, false);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_KVM_GET, &config),
		-ENOMEM);
	assert_int_equal(tide_space_tracker(space), TIDE_TRACKER_NONE);
	assert_int_equal(sim_flags(vm, 1), 0);
	assert_int_equal(sim_flags(vm, 2), -1);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_KVM_GET, &config), 0);
	tide_space_destroy(space);
	sim_vm_destroy(vm);
}

/* A slot that the tracker refuses is not there. */
static void test_add_fails(void **state)
{
	struct tide_kvm_config config = { .size = sizeof(config) };
	const struct sim_config all = { 0 };
	struct tide_space *space = create();
	struct tide_slot_info info;
	struct sim_vm *vm;

	(void)state;
	assert_int_equal(sim_vm_create(&all, &vm), 0);
	config.vm_fd = sim_vm_fd(vm);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_KVM_GET, &config), 0);
	sim_fail(vm, KVM_SET_USER_MEMORY_REGION, 1, EINVAL, false);
	assert_int_equal(add(space, 1, 0, 4), -EINVAL);
	assert_int_equal(tide_slot_get(space, 0, &info), -ENOENT);
	assert_int_equal(add(space, 0x10000, 0, 4), -EINVAL); /* id too big */
	assert_int_equal(add(space, 1, 0, 4), 0);
	sim_fail(vm, KVM_SET_USER_MEMORY_REGION, 1, EINVAL, false);
	assert_int_equal(tide_slot_move(space, 1, 100), -EINVAL);
	assert_int_equal(tide_slot_get(space, 0, &info), 0);
	assert_int_equal(info.first_gfn, 0);
	tide_space_destroy(space);
	sim_vm_destroy(vm);
}

/* Slots of a destroyed space stay in the VM, not logged. */
static void test_destroy_keeps_slots(void **state)
{
	struct tide_kvm_config config = { .size = sizeof(config) };
	const struct sim_config all = { 0 };
	struct tide_space *space = create();
	struct tide_client *client;
	struct sim_vm *vm;

	(void)state;
	assert_int_equal(sim_vm_create(&all, &vm), 0);
	config.vm_fd = sim_vm_fd(vm);
	assert_int_equal(add(space, 1, 0, 4), 0);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_KVM_GET, &config), 0);
	assert_int_equal(
		tide_client_open(space, "c", TIDE_START_CLEAN, &client), 0);
	assert_int_equal(sim_flags(vm, 1), KVM_MEM_LOG_DIRTY_PAGES);
	tide_client_close(client);
	tide_space_destroy(space);
	assert_int_equal(sim_flags(vm, 1), 0);
	sim_vm_destroy(vm);
}

#define TEST(function, name)                     \
	{                                        \
		name, function, NULL, NULL, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_bad_slots, "bad slots are refused"),
		TEST(test_overlaps, "slots do not overlap"),
		TEST(test_order, "slots come in gfn order"),
		TEST(test_unknown, "unknown ids and flags are refused"),
		TEST(test_sizes, "structs of other sizes"),
		TEST(test_names, "trackers have names"),
		TEST(test_bad_attach, "bad attaches are refused"),
		TEST(test_attach_twice, "one tracker at a time"),
		TEST(test_late_ring, "a ring comes before the vCPUs"),
		TEST(test_attach_fails_midway,
		     "a failed attach leaves no logging"),
		TEST(test_add_fails, "a refused slot is not there"),
		TEST(test_destroy_keeps_slots,
		     "a destroyed space's slots stay"),
	};

	return cmocka_run_group_tests_name("space", tests, NULL, NULL);
}
