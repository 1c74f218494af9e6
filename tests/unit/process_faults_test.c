/* SPDX-License-Identifier: MIT */
/*
 * process_faults_test.c - whatever happens at any step of attach and harvest
 *
 * Each system call of attaching, updating, harvesting and detaching fails once
 * in each way, or finds the target, the caller or the helper dead.  Then the
 * result is right, or an error with a reason; no write is lost; and nothing is
 * left in the target, which goes on with what it does.
 */
#undef NDEBUG
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tidemark/space.h>

#include "process_faults.h"
#include "process_rig.h"
#include "test_support.h"

#define PAGE TIDE_PAGE_SIZE
#define STEPS_MAX 5000
#define NEW_PAGES 4u

/* A sanitizer's target has terabytes of shadow, which is tracked like all else,
 * and takes its time: there one step of so many is tried. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STRIDE 17
#else
#define STRIDE 1
#endif

static const int errors[] = { EINTR, EPERM, EFAULT, EAGAIN, ENOMEM, 0 };

static uint64_t gfn_of(const void *at)
{
	return (uintptr_t)at >> TIDE_PAGE_SHIFT;
}

/* @err 0: short results. */
static void arm(int n, int err)
{
	faults_arm(err ? FAULT_ERRNO : FAULT_SHORT, n, err, 0);
}

/* A write of the target from now on comes, whatever else does. */
static void expect_writes(struct tide_process *process,
			  struct tide_client *client, int page)
{
	unsigned char has[RIG_PAGES];
	int ret;

	rig_order(page);
	ret = tide_process_update(process);
	if (ret < 0)
		fail_msg("update: %s", strerror(-ret));
	(void)rig_harvest(client, gfn_of(rig_memory), RIG_PAGES, has);
	assert_true(has[page]);
}

static void expect_running(pid_t pid)
{
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	rig_order(0);
}

/* Fails when an error in the middle of attaching is not told, is told without a
 * reason, leaves something behind, or is taken for success. */
static void test_attach(void **state)
{
	int descriptors, steps = 0, failed = 0;
	pid_t pid;

	(void)state;
	rig_need("faults while attaching");
	pid = rig_start(rig_write_by_order);
	descriptors = rig_descriptors(pid);
	for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
		const char *hit = "";

		for (int n = 1; hit && n < STEPS_MAX; n += STRIDE, steps++) {
			struct tide_process *process = NULL;
			char why[128] = "";
			int err;

			arm(n, errors[e]);
			err = tide_process_attach(pid, &process, why,
						  sizeof(why));
			hit = faults_disarm();
			if (err < 0 && (!why[0] || !hit))
				fail_msg("%s at %d, %s: %s (%s)",
					 strerror(errors[e]), n,
					 hit ? hit : "nothing", strerror(-err),
					 why);
			if (err < 0) {
				assert_null(process);
				failed++;
			} else {
				struct tide_client *client =
					rig_client(process);

				expect_writes(process, client, n % 200);
				tide_client_close(client);
				tide_process_detach(process);
			}
			rig_await_as_before(pid, descriptors);
			expect_running(pid);
		}
	}
	printf("# %d steps, %d failed\n", steps, failed);
	assert_true(failed > 0);
	rig_finish(pid);
}

static uint32_t count_mappings(const struct tide_process *process)
{
	struct tide_mapping mapping;
	uint32_t count = 0;

	while (!tide_process_mapping(process, count, &mapping))
		count++;
	return count;
}

static unsigned char *old_place, *new_place;

/* The old mapping goes, and a new one comes. */
static void obey_moves(int command)
{
	unsigned char *at = command % 2 ? old_place : new_place;
	unsigned char *other = command % 2 ? new_place : old_place;

	if (mmap(at, NEW_PAGES * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at)
		_exit(3);
	munmap(other, NEW_PAGES * PAGE);
	at[PAGE]++;
	rig_memory[(unsigned int)command % RIG_PAGES * PAGE]++;
}

static void move(void)
{
	rig_obey(obey_moves);
}

/* Fails when an error in an update, or a harvest, loses a write, or a mapping
 * that has come, or all that are there. */
static void test_follow(void **state)
{
	unsigned char *room = mmap(NULL, 16 * PAGE, PROT_NONE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int steps = 0, failed = 0, command = 0;
	struct tide_process *process;
	struct tide_client *client;
	pid_t pid;

	(void)state;
	rig_need("faults while following");
	assert_true(room != MAP_FAILED);
	old_place = room + PAGE;
	new_place = room + 8 * PAGE;
	pid = rig_start(move);
	process = rig_attach(pid);
	client = rig_client(process);
	for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
		const char *hit = "";

		for (int n = 1; hit && n < STEPS_MAX; n += STRIDE, steps++) {
			unsigned char has[RIG_PAGES];
			unsigned char *at =
				++command % 2 ? old_place : new_place;
			struct tide_harvest *harvest;
			uint32_t count;
			int ret;

			rig_command(command);
			count = count_mappings(process);
			arm(n, errors[e]);
			ret = tide_process_update(process);
			if (ret >= 0)
				ret = tide_harvest_begin(client, &harvest);
			hit = faults_disarm();
			if (ret < 0 && !hit)
				fail_msg("%s", strerror(-ret));
			if (ret >= 0)
				tide_harvest_abort(harvest);
			/* One has gone, and one or two that were refused. */
			assert_true(count_mappings(process) + 3 >= count);
			failed += ret < 0;
			assert_true(tide_process_update(process) >= 0);
			assert_int_equal(
				rig_harvest(client, gfn_of(at), NEW_PAGES, has),
				NEW_PAGES);
			command++;
			rig_command(command);
			assert_true(tide_process_update(process) > 0);
			(void)rig_harvest(client, gfn_of(rig_memory), RIG_PAGES,
					  has);
			assert_true(has[(unsigned int)command % RIG_PAGES]);
		}
	}
	printf("# %d steps, %d failed\n", steps, failed);
	assert_true(failed > 0);
	tide_client_close(client);
	tide_process_detach(process);
	rig_finish(pid);
	munmap(room, 16 * PAGE);
}

/* Fails when an error in a harvest does not make everything dirty, of which it
 * is not known what was taken. */
static void test_harvest(void **state)
{
	int steps = 0, failed = 0;
	struct tide_process *process;
	struct tide_client *client;
	pid_t pid;

	(void)state;
	rig_need("faults while harvesting");
	pid = rig_start(rig_write_by_order);
	process = rig_attach(pid);
	client = rig_client(process);
	for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
		const char *hit = "";

		for (int n = 1; hit && n < STEPS_MAX; n += STRIDE, steps++) {
			struct tide_space *space = tide_process_space(process);
			struct tide_space_stats before, after;
			struct tide_harvest *harvest;
			unsigned char has[RIG_PAGES];
			int err, page = steps % (int)RIG_PAGES;

			rig_order(page);
			tide_space_stats_get(space, &before);
			arm(n, errors[e]);
			err = tide_harvest_begin(client, &harvest);
			hit = faults_disarm();
			tide_space_stats_get(space, &after);
			if (!err)
				tide_harvest_abort(harvest);
			failed += err < 0;
			/* A mapping that is armed anew is no error, but dirty.
			 */
			if (hit && err)
				assert_true(after.failed_closed >
					    before.failed_closed);
			(void)rig_harvest(client, gfn_of(rig_memory), RIG_PAGES,
					  has);
			assert_true(has[page]);
		}
	}
	printf("# %d steps, %d failed\n", steps, failed);
	assert_true(failed > 0);
	tide_client_close(client);
	tide_process_detach(process);
	rig_finish(pid);
}

/* All of it, one after the other.  Return: 0, or the first error. */
static int go_through(pid_t pid)
{
	struct tide_process *process;
	struct tide_client *client = NULL;
	struct tide_harvest *harvest;
	struct tide_extent extent;
	char why[128] = "";
	int ret = tide_process_attach(pid, &process, why, sizeof(why));

	if (ret)
		return why[0] ? ret : -ENOMSG;
	ret = tide_client_open(tide_process_space(process), "test",
			       TIDE_START_CLEAN, &client);
	if (ret >= 0)
		ret = tide_process_update(process);
	if (ret >= 0)
		ret = tide_harvest_begin(client, &harvest);
	if (ret >= 0) {
		while (tide_harvest_next(harvest, &extent) > 0)
			;
		ret = tide_harvest_commit(harvest);
	}
	tide_client_close(client);
	tide_process_detach(process);
	return ret < 0 ? ret : 0;
}

/* Fails when the end of the target, at any step, is not told, or hangs. */
static void test_target_dies(void **state)
{
	const char *hit = "";
	int n, gone = 0;

	(void)state;
	rig_need("the target's end");
	for (n = 1; hit && n < STEPS_MAX; n += STRIDE) {
		pid_t pid = rig_start(rig_write_by_order);
		int err, status;

		faults_arm(FAULT_KILL, n, 0, pid);
		err = go_through(pid);
		hit = faults_disarm();
		/* It may be over when the target ends, or another of its
		 * threads' ids is asked for in vain. */
		if (err && err != -ESRCH && err != -ESTALE)
			fail_msg("at %d, %s: %s", n, hit ? hit : "nothing",
				 strerror(-err));
		gone += err != 0;
		(void)kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
	}
	printf("# %d steps, %d of them told\n", n / STRIDE, gone);
	assert_true(gone > n / STRIDE / 4);
}

/* Fails when the death of the caller, at any step of its own or its helper's,
 * leaves anything in the target or disturbs it. */
static void test_caller_dies(void **state)
{
	int descriptors, n, died = 0;
	const char *hit = "";
	pid_t pid;

	(void)state;
	rig_need("the caller's end");
	pid = rig_start(rig_write_by_order);
	descriptors = rig_descriptors(pid);
	for (n = 1; hit && n < STEPS_MAX; n += STRIDE) {
		pid_t caller = fork();
		int status;

		if (caller == 0) {
			faults_arm(FAULT_KILL, n, 0, getpid());
			_exit(go_through(pid) ? 1 : 0);
		}
		assert_int_equal(waitpid(caller, &status, 0), caller);
		hit = faults_disarm();
		died += WIFSIGNALED(status);
		assert_true(WIFSIGNALED(status) || !WEXITSTATUS(status));
		rig_await_as_before(pid, descriptors);
		expect_running(pid);
	}
	printf("# %d steps, died at %d\n", n / STRIDE, died);
	assert_true(died > 50 / STRIDE);
	rig_finish(pid);
}

/* Fails when the caller hangs, or finds success, after its helper was killed.
 * What becomes of the target then is counted: this is the one death that is
 * not harmless. */
static void test_helper_dies(void **state)
{
	const char *hit = "";
	int n, unharmed = 0;

	(void)state;
	rig_need("the helper's end");
	for (n = 1; hit && n < STEPS_MAX; n += STRIDE) {
		pid_t pid = rig_start(rig_write_by_order);
		int descriptors = rig_descriptors(pid);
		int err, status;

		faults_arm(FAULT_HELPER, n, 0, 0);
		err = go_through(pid);
		hit = faults_disarm();
		if (hit)
			assert_true(err < 0 || !strcmp(hit, "close"));
		else
			assert_int_equal(err, 0);
		rig_nap_ms(2);
		if (waitpid(pid, &status, WNOHANG) == 0) {
			unharmed += hit && rig_is_as_before(pid, descriptors);
			(void)kill(pid, SIGKILL);
			assert_int_equal(waitpid(pid, &status, 0), pid);
		}
	}
	printf("# of %d steps of a helper, its death is harmless at %d\n",
	       (n - 2) / STRIDE, unharmed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attach),
		cmocka_unit_test(test_follow),
		cmocka_unit_test(test_harvest),
		cmocka_unit_test(test_target_dies),
		cmocka_unit_test(test_caller_dies),
		cmocka_unit_test(test_helper_dies),
	};

	if (!rig_init() || !faults_init())
		return 1;
	return cmocka_run_group_tests_name("process faults", tests, NULL, NULL);
}
