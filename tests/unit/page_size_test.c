/* SPDX-License-Identifier: MIT */
/*
 * page_size_test.c - a host whose pages have not 4 KiB
 *
 * As arm64 kernels may have: sysconf says 64 KiB here.  What counts in host
 * pages refuses, or does without; the rest has pages of its own.
 */
#undef NDEBUG
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tidemark/space.h>
#include <tidemark/tracker.h>

#include "migrate/presence.h"
#include "test_support.h"

static long page_size;

long __real_sysconf(int name);
long __wrap_sysconf(int name);

long __wrap_sysconf(int name)
{
	return name == _SC_PAGESIZE ? page_size : __real_sysconf(name);
}

static int attach(enum tide_tracker tracker, const void *config)
{
	struct tide_space *space;
	int err;

	assert_int_equal(tide_space_create(&space), 0);
	err = tide_space_attach(space, tracker, config);
	tide_space_destroy(space);
	return err;
}

static void kvm_is_refused(void **state)
{
	static const enum tide_tracker trackers[] = { TIDE_TRACKER_KVM_GET,
						      TIDE_TRACKER_KVM_CLEAR,
						      TIDE_TRACKER_KVM_RING };
	struct tide_kvm_config config = { .size = sizeof(config), .vm_fd = -1 };

	(void)state;
	for (int i = 0; i < 3; i++) {
		page_size = 4096;
		assert_int_equal(attach(trackers[i], &config), -EBADF);
		page_size = 65536;
		assert_int_equal(attach(trackers[i], &config), -EOPNOTSUPP);
	}
}

static void wp_is_refused(void **state)
{
	struct tide_wp_config config = { .size = sizeof(config),
					 .uffd = -1,
					 .pagemap_fd = -1 };

	(void)state;
	page_size = 4096;
	assert_int_not_equal(attach(TIDE_TRACKER_WP, &config), -EOPNOTSUPP);
	page_size = 65536;
	assert_int_equal(attach(TIDE_TRACKER_WP, &config), -EOPNOTSUPP);
	assert_int_equal(attach(TIDE_TRACKER_WP, NULL), -EOPNOTSUPP);
}

/* An entry of pagemap is about a host page, so that the one with our page's
 * number is about another. */
static void no_page_is_absent(void **state)
{
	static struct tide_presence presence;
	void *memory = mmap(NULL, 16 * TIDE_PAGE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(memory, MAP_FAILED);
	page_size = 65536;
	tide_presence_init(&presence);
	tide_presence_look(&presence, memory, 16);
	for (uint32_t i = 0; i < 16; i++)
		assert_true(tide_presence_has(&presence, i));
	tide_presence_fini(&presence);
	munmap(memory, 16 * TIDE_PAGE_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kvm_is_refused),
		cmocka_unit_test(wp_is_refused),
		cmocka_unit_test(no_page_is_absent),
	};

	return cmocka_run_group_tests_name("page_size", tests, NULL, NULL);
}
