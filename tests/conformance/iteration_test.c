/* SPDX-License-Identifier: MIT */
/*
 * iteration_test.c - value against iteration, as dirty_log_test of Linux 6.14
 *
 * The guest writes the number of the iteration to random pages.  In each
 * iteration the host harvests once while the guest runs and once after it was
 * stopped.  A page that came must hold the iteration's number, a page that did
 * not come must hold an older one: no write missed, and none invented.
 *
 * A vCPU of KVM may be stopped after its fault was logged and before its write
 * ran; the page is then older than it should be, and the write comes in the
 * next iteration with the old number.  That is two pages a vCPU.  A software
 * CPU stops at safe points, when no write is under way.
 */
#undef NDEBUG
#include <stdbool.h>

#include <tidemark/client.h>
#include <tidemark/vmm.h>

#include "test_support.h"

#define VCPUS 2
#define SLOTS 3
#define MEMORY (16ull << 20)
#define PAGES (MEMORY >> TIDE_PAGE_SHIFT)
#define WORK_GFN 0x200u
#define WRITES_MIN 0x100u

struct kind {
	const char *name;
	enum tide_tracker tracker;
	bool real; /* needs /dev/kvm */
	enum tide_paging_mode paging;
};

struct test {
	bool real;
	struct tide_vm *vm;
	struct tide_client *client;
	unsigned char dirty[PAGES];
	uint64_t found;
};

static uint64_t value_of(const struct test *test, uint64_t gfn)
{
	uint64_t value;

	memcpy(&value, tide_vm_memory(test->vm, gfn), sizeof(value));
	return value;
}

static void harvest(struct test *test)
{
	struct tide_harvest *harvest;
	struct tide_extent e;
	int more;

	assert_int_equal(tide_harvest_begin(test->client, &harvest), 0);
	while ((more = tide_harvest_next(harvest, &e)) > 0) {
		assert_true(e.first_gfn + e.npages <= PAGES);
		memset(test->dirty + e.first_gfn, 1, e.npages);
		test->found += e.npages;
	}
	assert_int_equal(more, 0);
	assert_int_equal(tide_harvest_commit(harvest), 0);
}

static void run_for(struct test *test, uint64_t writes)
{
	struct timespec moment = { 0, 1000000 };
	uint64_t from = tide_vm_writes(test->vm);

	while (tide_vm_writes(test->vm) - from < writes)
		nanosleep(&moment, NULL);
}

static void verify(const struct test *test, uint64_t iteration)
{
	unsigned int late = 0;

	for (uint64_t gfn = WORK_GFN; gfn < PAGES; gfn++) {
		uint64_t value = value_of(test, gfn);

		assert_true(value <= iteration);
		if (!test->dirty[gfn] && value == iteration)
			fail_msg("iteration %ju: gfn %#jx missed",
				 (uintmax_t)iteration, (uintmax_t)gfn);
		late += test->dirty[gfn] && value != iteration;
	}
	if (late > (test->real ? 2 * VCPUS : 0))
		fail_msg("iteration %ju: %u pages invented",
			 (uintmax_t)iteration, late);
}

static void iterate(struct test *test, uint64_t iteration)
{
	memset(test->dirty, 0, sizeof(test->dirty));
	tide_vm_iteration(test->vm, iteration);
	assert_int_equal(tide_vm_run(test->vm), 0);
	run_for(test, WRITES_MIN);
	harvest(test);
	run_for(test, WRITES_MIN);
	assert_int_equal(tide_vm_stop(test->vm), 0);
	harvest(test);
	verify(test, iteration);
}

static void test_iterations(void **state)
{
	static struct test test;
	const struct kind *kind = *state;
	struct tide_vm_config config = { .size = sizeof(config),
					 .workload = TIDE_WORKLOAD_RANDOM,
					 .vcpus = VCPUS,
					 .memory_bytes = MEMORY,
					 .slots = SLOTS,
					 .seed = test_seed(),
					 .tracker = kind->tracker,
					 .paging = kind->paging,
					 .chunk_pages = 256,
					 .ring_entries = 1024 };
	char message[256];
	int err;

	memset(&test, 0, sizeof(test));
	test.real = kind->real;
	err = tide_vm_create(&config, &test.vm);
	if (err && kind->real)
		SKIP(kind->name, "%s", strerror(-err));
	assert_int_equal(err, 0);
	assert_int_equal(tide_client_open(tide_vm_space(test.vm), "iteration",
					  TIDE_START_CLEAN, &test.client),
			 0);
	for (uint64_t i = 1; i <= 12 * test_long(); i++)
		iterate(&test, i);
	printf("# %s: %ju pages yielded, %ju written\n", kind->name,
	       (uintmax_t)test.found, (uintmax_t)tide_vm_writes(test.vm));
	if (tide_vm_check(test.vm, message, sizeof(message)))
		fail_msg("%s", message);
	tide_client_close(test.client);
	tide_vm_destroy(test.vm);
}

static const struct kind kinds[] = {
	{ "kvm-get", TIDE_TRACKER_KVM_GET, true, TIDE_PAGING_NONE },
	{ "kvm-clear", TIDE_TRACKER_KVM_CLEAR, true, TIDE_PAGING_NONE },
	{ "kvm-ring", TIDE_TRACKER_KVM_RING, true, TIDE_PAGING_NONE },
	{ "soft-bitmap", TIDE_TRACKER_SOFT_BITMAP, false, TIDE_PAGING_NONE },
	{ "soft-bitmap-x86", TIDE_TRACKER_SOFT_BITMAP, false,
	  TIDE_PAGING_X86_64 },
	{ "soft-bitmap-sv39", TIDE_TRACKER_SOFT_BITMAP, false,
	  TIDE_PAGING_SV39 },
	{ "soft-ring", TIDE_TRACKER_SOFT_RING, false, TIDE_PAGING_NONE },
	{ "soft-ring-x86", TIDE_TRACKER_SOFT_RING, false, TIDE_PAGING_X86_64 },
	{ "soft-ring-sv39", TIDE_TRACKER_SOFT_RING, false, TIDE_PAGING_SV39 },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

int main(void)
{
	struct CMUnitTest tests[KINDS];
	char names[KINDS][64];

	memset(tests, 0, sizeof(tests));
	for (size_t i = 0; i < KINDS; i++) {
		snprintf(names[i], sizeof(names[i]),
			 "%s: value and iteration agree", kinds[i].name);
		tests[i].name = names[i];
		tests[i].test_func = test_iterations;
		tests[i].initial_state = (void *)(uintptr_t)&kinds[i];
	}
	return cmocka_run_group_tests_name("iteration", tests, NULL, NULL);
}
