/* SPDX-License-Identifier: MIT */
/*
 * probe_test.c - the probe believes only what it sees (C8)
 *
 * ioctl and open are wrapped, so that a kernel can lie: it answers every call
 * and logs nothing, never clears, loses the write after the clear, or lacks
 * the mechanism.  So are the calls of the software MMU.  Without lies the
 * probe's verdict must fit what the host offers.
 */
#undef NDEBUG
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tidemark/probe.h>

#include "mmu/kvm_calls.h"
#include "test_support.h"

static struct lies {
	bool no_device;	   /* /dev/kvm is not there */
	bool no_extension; /* the mechanism is not offered */
	bool blind;	   /* the log is always empty */
	bool sticky;	   /* CLEAR does nothing, and says that it did */
	bool once;	   /* the log is empty from the third GET on */
	bool no_reset;	   /* RESET does nothing, and says that it did */
	unsigned int gets;
	int collected; /* entries of rings, not reset yet */
} lie;

int __real_ioctl(int fd, unsigned long request, void *argument);
int __wrap_ioctl(int fd, unsigned long request, void *argument);
int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);

int __wrap_open64(const char *path, int flags, ...)
{
	if (lie.no_device && !strcmp(path, "/dev/kvm")) {
		errno = ENOENT;
		return -1;
	}
	return __real_open64(path, flags);
}

static bool is_dirty_log_extension(const void *argument)
{
	switch ((uintptr_t)argument) {
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
	case KVM_CAP_DIRTY_LOG_RING:
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
		return true;
	default:
		return false;
	}
}

int __wrap_ioctl(int fd, unsigned long request, void *argument)
{
	int ret;

	if (request == KVM_CHECK_EXTENSION && lie.no_extension &&
	    is_dirty_log_extension(argument))
		return 0;
	if (request == KVM_CLEAR_DIRTY_LOG && lie.sticky)
		return 0;
	ret = __real_ioctl(fd, request, argument);
	if (request == KVM_GET_DIRTY_LOG && !ret) {
		const struct kvm_dirty_log *log = argument;

		if (lie.blind || (lie.once && ++lie.gets > 2))
			memset(log->dirty_bitmap, 0, 8); /* 64 pages */
	}
	return ret;
}

int __real_mmu_take_dirty_log(struct tide_mmu *mmu, uint32_t slot,
			      void (*found)(void *opaque, uint64_t word,
					    uint64_t bits),
			      void *opaque);
int __wrap_mmu_take_dirty_log(struct tide_mmu *mmu, uint32_t slot,
			      void (*found)(void *opaque, uint64_t word,
					    uint64_t bits),
			      void *opaque);
int __real_mmu_clear_dirty_log(struct tide_mmu *mmu, uint32_t slot,
			       uint64_t first_page, uint32_t npages,
			       const uint64_t *words);
int __wrap_mmu_clear_dirty_log(struct tide_mmu *mmu, uint32_t slot,
			       uint64_t first_page, uint32_t npages,
			       const uint64_t *words);
int __real_mmu_collect_dirty_rings(struct tide_mmu *mmu,
				   void (*found)(void *opaque, uint32_t slot,
						 uint64_t offset),
				   void *opaque);
int __wrap_mmu_collect_dirty_rings(struct tide_mmu *mmu,
				   void (*found)(void *opaque, uint32_t slot,
						 uint64_t offset),
				   void *opaque);
int __real_mmu_reset_dirty_rings(struct tide_mmu *mmu);
int __wrap_mmu_reset_dirty_rings(struct tide_mmu *mmu);

int __wrap_mmu_take_dirty_log(struct tide_mmu *mmu, uint32_t slot,
			      void (*found)(void *opaque, uint64_t word,
					    uint64_t bits),
			      void *opaque)
{
	return lie.blind ? 0
			 : __real_mmu_take_dirty_log(mmu, slot, found, opaque);
}

int __wrap_mmu_clear_dirty_log(struct tide_mmu *mmu, uint32_t slot,
			       uint64_t first_page, uint32_t npages,
			       const uint64_t *words)
{
	return lie.sticky ? 0
			  : __real_mmu_clear_dirty_log(mmu, slot, first_page,
						       npages, words);
}

int __wrap_mmu_collect_dirty_rings(struct tide_mmu *mmu,
				   void (*found)(void *opaque, uint32_t slot,
						 uint64_t offset),
				   void *opaque)
{
	lie.collected =
		lie.blind ? 0
			  : __real_mmu_collect_dirty_rings(mmu, found, opaque);
	return lie.collected;
}

int __wrap_mmu_reset_dirty_rings(struct tide_mmu *mmu)
{
	int collected = lie.collected;

	lie.collected = 0;
	return lie.no_reset ? collected : __real_mmu_reset_dirty_rings(mmu);
}

static void need_kvm(const char *name)
{
	if (access("/dev/kvm", R_OK | W_OK))
		SKIP(name, "no /dev/kvm, or it is not ours");
}

static struct tide_probe_result probe(enum tide_tracker tracker)
{
	struct tide_probe_result result;

	assert_int_equal(tide_probe(tracker, &result), 0);
	lie = (struct lies){ 0 };
	assert_int_equal(result.tracker, tracker);
	/* It says why if and only if it does not work. */
	assert_int_equal(result.works, result.why[0] == 0);
	assert_int_equal(result.works, result.error == 0);
	if (result.works) {
		assert_true(result.supported);
		assert_true(result.pages && result.arm_ns);
		assert_true(result.harvest_dirty_ns);
	}
	return result;
}

static void test_truth(void **state)
{
	(void)state;
	need_kvm("truth");
	for (int t = TIDE_TRACKER_KVM_GET; t < TIDE_TRACKER_COUNT; t++) {
		struct tide_probe_result result = probe((enum tide_tracker)t);

		printf("# %s: %s%s\n", tide_tracker_name(result.tracker),
		       result.works ? "works" : "does not work: ", result.why);
		assert_int_equal(result.works, result.supported);
	}
	assert_true(probe(TIDE_TRACKER_KVM_GET).works); /* any KVM has it */
}

static void test_no_device(void **state)
{
	struct tide_probe_result result;

	(void)state;
	lie.no_device = true;
	result = probe(TIDE_TRACKER_KVM_CLEAR);
	assert_false(result.supported);
	assert_int_equal(result.error, -ENOENT);
	assert_non_null(strstr(result.why, "/dev/kvm"));
}

static void test_not_offered(void **state)
{
	(void)state;
	need_kvm("not offered");
	for (int t = TIDE_TRACKER_KVM_CLEAR; t <= TIDE_TRACKER_KVM_RING; t++) {
		struct tide_probe_result result;

		lie.no_extension = true;
		result = probe((enum tide_tracker)t);
		assert_false(result.supported);
		assert_int_equal(result.error, -EOPNOTSUPP);
	}
}

static void found_out(enum tide_tracker tracker, const char *why)
{
	struct tide_probe_result result = probe(tracker);

	assert_true(result.supported);
	assert_false(result.works);
	assert_non_null(strstr(result.why, why));
}

static void test_blind(void **state)
{
	(void)state;
	need_kvm("blind");
	lie.blind = true;
	found_out(TIDE_TRACKER_KVM_GET, "was not seen");
	lie.blind = true;
	found_out(TIDE_TRACKER_KVM_CLEAR, "was not seen");
}

static void test_sticky(void **state)
{
	(void)state;
	need_kvm("sticky");
	if (!probe(TIDE_TRACKER_KVM_CLEAR).works)
		SKIP("sticky", "kvm-clear does not work here");
	lie.sticky = true;
	found_out(TIDE_TRACKER_KVM_CLEAR, "become clean");
}

/* The collect of opening a client is the first GET, the second finds the
 * writes, the third is the clean one, the fourth should find them again. */
static void test_loses_the_next(void **state)
{
	(void)state;
	need_kvm("loses the next");
	lie.once = true;
	found_out(TIDE_TRACKER_KVM_GET, "after clearing was lost");
}

static void test_soft(void **state)
{
	(void)state;
	lie.no_device = true; /* it needs none */
	assert_true(probe(TIDE_TRACKER_SOFT_BITMAP).works);
	lie.no_device = true;
	assert_true(probe(TIDE_TRACKER_SOFT_RING).works);
}

static void test_soft_lies(void **state)
{
	(void)state;
	lie.blind = true;
	found_out(TIDE_TRACKER_SOFT_BITMAP, "was not seen");
	lie.sticky = true;
	found_out(TIDE_TRACKER_SOFT_BITMAP, "become clean");
	lie.blind = true;
	found_out(TIDE_TRACKER_SOFT_RING, "was not seen");
	lie.no_reset = true;
	found_out(TIDE_TRACKER_SOFT_RING, "after clearing was lost");
}

static void test_bad_tracker(void **state)
{
	struct tide_probe_result result;

	(void)state;
	assert_int_equal(tide_probe(TIDE_TRACKER_NONE, &result), -EINVAL);
	assert_int_equal(tide_probe(TIDE_TRACKER_COUNT, &result), -EINVAL);
}

#define TEST(function, claim)                     \
	{                                         \
		claim, function, NULL, NULL, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_truth, "without lies: what is offered works"),
		TEST(test_no_device, "no /dev/kvm is said to be missing"),
		TEST(test_not_offered, "what is not offered is not supported"),
		TEST(test_blind, "a log that stays empty is found out"),
		TEST(test_sticky, "a clear that does nothing is found out"),
		TEST(test_loses_the_next, "a log that works once is found out"),
		TEST(test_soft, "the software MMU works without /dev/kvm"),
		TEST(test_soft_lies, "an MMU that lies is found out"),
		TEST(test_bad_tracker, "no mechanism, no probe"),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
