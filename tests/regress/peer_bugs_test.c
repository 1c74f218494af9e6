/* SPDX-License-Identifier: MIT */
/*
 * peer_bugs_test.c - what users of other trackers of a process's memory met
 *
 * Named after the projects' issues; README.md says where those are tested that
 * are not here.
 */
#undef NDEBUG
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tidemark/checkpoint.h>
#include <tidemark/client.h>
#include <tidemark/probe.h>
#include <tidemark/process.h>
#include <tidemark/space.h>
#include <tidemark/tracker.h>

#include "swap_file.h"
#include "test_support.h"

#define PAGE TIDE_PAGE_SIZE
#define PAGES 256u
#define NOBODY 65534u

static void need(enum tide_tracker tracker, const char *name)
{
	struct tide_probe_result result;

	assert_int_equal(tide_probe(tracker, &result), 0);
	if (!result.works)
		SKIP(name, "%s", result.why);
}

static void need_attach(const char *name)
{
#ifndef __x86_64__
	SKIP(name, "%s", "attach is for x86-64 so far");
#endif
	need(TIDE_TRACKER_WP, name);
}

static unsigned char *map(void)
{
	void *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static struct tide_space *make_space(enum tide_tracker tracker, void *memory)
{
	const struct tide_slot_config slot = { .npages = PAGES,
					       .host = memory };
	struct tide_space *space;

	assert_int_equal(tide_space_create(&space), 0);
	assert_int_equal(tide_space_attach(space, tracker, NULL), 0);
	assert_int_equal(tide_slot_add(space, &slot), 0);
	return space;
}

static struct tide_client *open_client(struct tide_space *space,
				       enum tide_start start)
{
	struct tide_client *client;

	assert_int_equal(tide_client_open(space, "test", start, &client), 0);
	return client;
}

/* Of the PAGES pages from @first_gfn on.  Return: how many. */
static uint64_t harvest(struct tide_client *client, uint64_t first_gfn,
			unsigned char has[static PAGES])
{
	struct tide_harvest *harvest;
	struct tide_extent e;
	uint64_t count = 0;

	memset(has, 0, PAGES);
	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	while (tide_harvest_next(harvest, &e) > 0) {
		for (uint64_t i = 0; i < e.npages; i++) {
			uint64_t page = e.first_gfn + i - first_gfn;

			if (page >= PAGES || (e.flags & TIDE_EXTENT_GONE))
				continue;
			has[page] = 1;
			count++;
		}
	}
	assert_int_equal(tide_harvest_commit(harvest), 0);
	return count;
}

static void touch(unsigned char *memory, uint64_t page)
{
	((volatile unsigned char *)memory)[page * PAGE] += 1;
}

/* Firecracker 4545: a diff snapshot that failed had lost its pages.  Fails when
 * a harvest that is given up takes any along. */
static void test_given_up(void **state)
{
	unsigned char *memory = map(), has[PAGES];
	struct tide_harvest *harvest_open;
	struct tide_client *client;
	struct tide_space *space;
	struct tide_extent e;

	(void)state;
	need(TIDE_TRACKER_WP, "given up");
	space = make_space(TIDE_TRACKER_WP, memory);
	client = open_client(space, TIDE_START_CLEAN);
	for (uint64_t page = 0; page < 50; page += 2)
		touch(memory, page);
	assert_int_equal(tide_harvest_begin(client, &harvest_open), 0);
	for (int i = 0; i < 7; i++)
		assert_int_equal(tide_harvest_next(harvest_open, &e), 1);
	touch(memory, 99);
	tide_harvest_abort(harvest_open);
	assert_int_equal(harvest(client, 0, has), 26);
	assert_int_equal(has[0] + has[48] + has[99], 3);
	assert_int_equal(harvest(client, 0, has), 0);
	tide_client_close(client);
	tide_space_destroy(space);
	munmap(memory, PAGES * PAGE);
}

/* Firecracker 4543: after a full snapshot the log was not empty, so that the
 * next difference was relative to nothing.  Fails when the whole is not the
 * base of what comes next. */
static void test_whole_then_difference(void **state)
{
	unsigned char *memory = map(), has[PAGES];
	struct tide_client *client;
	struct tide_space *space;

	(void)state;
	need(TIDE_TRACKER_WP, "whole");
	for (uint64_t page = 0; page < PAGES; page += 3)
		touch(memory, page);
	space = make_space(TIDE_TRACKER_WP, memory);
	client = open_client(space, TIDE_START_ALL_DIRTY);
	assert_int_equal(harvest(client, 0, has), PAGES);
	touch(memory, 9);
	touch(memory, 200);
	assert_int_equal(harvest(client, 0, has), 2);
	assert_int_equal(has[9] + has[200], 2);
	tide_client_close(client);
	tide_space_destroy(space);
	munmap(memory, PAGES * PAGE);
}

/* ---- another process ---- */

/* It writes a page for each byte that it reads. */
static void write_by_order(unsigned char *memory, int from, int to)
{
	unsigned char page;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(from, &page, 1) == 1) {
		touch(memory, page);
		if (write(to, &page, 1) != 1)
			break;
	}
	_exit(0);
}

struct other {
	pid_t pid;
	int to, from;
	struct tide_process *process;
	uint64_t first_gfn;
};

static void other_start(struct other *other, unsigned char *memory)
{
	int there[2], back[2];
	char why[128] = "";

	assert_int_equal(pipe(there), 0);
	assert_int_equal(pipe(back), 0);
	other->pid = fork();
	assert_true(other->pid >= 0);
	if (other->pid == 0) {
		close(there[1]);
		write_by_order(memory, there[0], back[1]);
	}
	close(there[0]);
	close(back[1]);
	other->to = there[1];
	other->from = back[0];
	other->first_gfn = (uintptr_t)memory / PAGE;
	if (tide_process_attach(other->pid, &other->process, why, sizeof(why)))
		fail_msg("%s", why);
}

static void other_order(const struct other *other, unsigned char page)
{
	assert_int_equal(write(other->to, &page, 1), 1);
	assert_int_equal(read(other->from, &page, 1), 1);
}

static void other_end(struct other *other)
{
	tide_process_detach(other->process);
	close(other->to);
	close(other->from);
	assert_int_equal(waitpid(other->pid, NULL, 0), other->pid);
}

/* KubeVirt 17504, Propolis 232: who measured took the pages from who migrated,
 * and a second migration missed those of the first.  Fails when two that look
 * at one process disturb each other. */
static void test_two_consumers(void **state)
{
	struct tide_client *display, *migration;
	unsigned char *memory = map(), has[PAGES];
	struct tide_space *space;
	struct other other;

	(void)state;
	need_attach("two consumers");
	other_start(&other, memory);
	space = tide_process_space(other.process);
	display = open_client(space, TIDE_START_CLEAN);
	migration = open_client(space, TIDE_START_CLEAN);
	for (unsigned char page = 0; page < 100; page++) {
		other_order(&other, page);
		assert_int_equal(harvest(display, other.first_gfn, has), 1);
		assert_int_equal(has[page], 1);
	}
	assert_int_equal(harvest(migration, other.first_gfn, has), 100);
	tide_client_close(migration);
	other_order(&other, 7);
	migration = open_client(space, TIDE_START_ALL_DIRTY);
	assert_int_equal(harvest(migration, other.first_gfn, has), PAGES);
	assert_int_equal(harvest(display, other.first_gfn, has), 1);
	assert_int_equal(has[7], 1);
	tide_client_close(migration);
	tide_client_close(display);
	other_end(&other);
	munmap(memory, PAGES * PAGE);
}

/* e2b infra 2092: a page that was swapped out was taken for empty, and left out
 * of the snapshot.  Fails when it does not count as content. */
static void test_swapped_is_content(void **state)
{
	unsigned char *memory = map();
	uint64_t words[PAGES / 64], swapped = 0;
	struct other other;
	FILE *status;
	char line[128];
	int err;

	(void)state;
	need_attach("swapped");
	err = swap_file_on();
	if (err) {
		munmap(memory, PAGES * PAGE);
		SKIP("swapped", "no swap file can be used here: %s",
		     strerror(err));
	}
	for (uint64_t page = 0; page < 100; page++)
		touch(memory, page);
	assert_int_equal(madvise(memory, PAGES * PAGE, MADV_PAGEOUT), 0);
	other_start(&other, memory);
	snprintf(line, sizeof(line), "/proc/%d/status", (int)other.pid);
	status = fopen(line, "re");
	assert_non_null(status);
	while (fgets(line, sizeof(line), status)) {
		if (!strncmp(line, "VmSwap:", 7))
			swapped = strtoull(line + 7, NULL, 10);
	}
	(void)fclose(status);
	assert_true(swapped >= 200); /* KiB: half of them at the least */
	assert_int_equal(tide_process_populated(other.process, other.first_gfn,
						PAGES, words),
			 100);
	other_end(&other);
	munmap(memory, PAGES * PAGE);
	swap_file_off();
}

/* shadPS4 1680, CRIU 3035, mitos 820: without the right to userfaultfd there
 * was an assertion, or a message about something else.  Fails when nobody's own
 * memory is neither tracked nor refused with a reason, or when somebody else's
 * process is not refused with one. */
static void test_unprivileged(void **state)
{
	unsigned char *memory = map(), has[PAGES];
	int status;
	pid_t pid;

	(void)state;
	need(TIDE_TRACKER_WP, "unprivileged");
	if (geteuid() != 0)
		SKIP("unprivileged", "%s", "needs root to become nobody");
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct tide_probe_result result;
		struct tide_process *process;
		struct tide_client *client;
		struct tide_space *space;
		char why[128] = "";

		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(2);
		if (tide_probe(TIDE_TRACKER_WP, &result) ||
		    (!result.works && !result.why[0]))
			_exit(3);
		if (result.works) {
			space = make_space(TIDE_TRACKER_WP, memory);
			client = open_client(space, TIDE_START_CLEAN);
			touch(memory, 5);
			if (harvest(client, 0, has) != 1 || !has[5])
				_exit(4);
			tide_client_close(client);
			tide_space_destroy(space);
		}
#ifdef __x86_64__
		if (tide_process_attach(getppid(), &process, why,
					sizeof(why)) != -EPERM ||
		    !strstr(why, "permission"))
			_exit(5);
#endif
		(void)process;
		(void)why;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	munmap(memory, PAGES * PAGE);
}

/* ---- checkpoints ---- */

static struct tide_checkpoint *take(struct tide_space *space,
				    struct tide_checkpoint *parent)
{
	struct tide_checkpoint *checkpoint;

	assert_int_equal(tide_checkpoint_create(space, parent, &checkpoint), 0);
	return checkpoint;
}

static uint64_t back_to(struct tide_checkpoint *checkpoint)
{
	uint64_t pages = 0;

	assert_int_equal(tide_checkpoint_rollback(checkpoint, &pages), 0);
	assert_int_equal(tide_checkpoint_compare(checkpoint, NULL), 0);
	return pages;
}

/* CRIU 550, Firecracker 2802: after a restore no increment could be taken, or
 * it missed what the restore had changed.  Fails when a child that is made
 * after a rollback holds the wrong bytes, or a rollback copies more than was
 * written. */
static void test_increment_after_restore(void **state)
{
	struct tide_checkpoint *base, *child;
	unsigned char *memory = map();
	struct tide_space *space;

	(void)state;
	need(TIDE_TRACKER_WP, "increment");
	space = make_space(TIDE_TRACKER_WP, memory);
	memory[0] = 1;
	base = take(space, NULL);
	memory[0] = 2;
	memory[PAGE] = 2;
	assert_int_equal(back_to(base), 2);
	memory[PAGE] = 3;
	memory[2 * PAGE] = 3;
	child = take(space, base);
	memset(memory, 9, 4 * PAGE);
	assert_int_equal(back_to(child), 4);
	assert_int_equal(memory[0], 1);
	assert_int_equal(memory[PAGE] + memory[2 * PAGE], 6);
	assert_int_equal(memory[3 * PAGE], 0);
	/* The pages that the other rollback wrote are among them. */
	assert_int_equal(back_to(base), 4);
	assert_int_equal(memory[PAGE] + memory[2 * PAGE], 0);
	tide_checkpoint_destroy(child);
	tide_checkpoint_destroy(base);
	tide_space_destroy(space);
	munmap(memory, PAGES * PAGE);
}

static uint64_t resident_pages(void)
{
	unsigned long long size, resident = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	assert_non_null(file);
	/* NOLINTNEXTLINE(cert-err34-c): the kernel writes numbers here */
	assert_int_equal(fscanf(file, "%llu %llu", &size, &resident), 2);
	(void)fclose(file);
	return resident;
}

/* LibAFL's QEMU 128: 200 MB a minute were lost to snapshots.  Fails when ten
 * thousand rollbacks and a thousand checkpoints leave more than half a MiB. */
static void test_no_leak(void **state)
{
	struct tide_checkpoint *base, *child;
	unsigned char *memory = map();
	struct tide_space *space;
	uint64_t before = 0;

	(void)state;
	need(TIDE_TRACKER_WP, "leak");
#if defined(__SANITIZE_ADDRESS__)
	SKIP("leak", "%s", "the sanitizer keeps freed memory");
#endif
	space = make_space(TIDE_TRACKER_WP, memory);
	base = take(space, NULL);
	for (unsigned int round = 0; round < 11000; round++) {
		if (round == 1000)
			before = resident_pages();
		for (unsigned int i = 0; i < 4; i++)
			touch(memory, (round * 7 + i * 31) % PAGES);
		if (round % 10 == 0) {
			child = take(space, base);
			touch(memory, round % PAGES);
			assert_int_equal(back_to(child), 1);
			tide_checkpoint_destroy(child);
		}
		assert_int_equal(tide_checkpoint_rollback(base, NULL), 0);
	}
	assert_true(resident_pages() < before + 128);
	tide_checkpoint_destroy(base);
	tide_space_destroy(space);
	munmap(memory, PAGES * PAGE);
}

/* ---- trackers ---- */

/* bdwgc 553: two mechanisms disagreed about what was dirty.  Fails when wp and
 * sigsegv do, on the same writes. */
static void test_trackers_agree(void **state)
{
	enum tide_tracker trackers[] = { TIDE_TRACKER_WP,
					 TIDE_TRACKER_SIGSEGV };
	unsigned char *memory[2] = { map(), map() }, has[2][PAGES];
	struct tide_space *space[2];
	struct tide_client *client[2];
	unsigned int seed = 550;

	(void)state;
	for (int i = 0; i < 2; i++) {
		need(trackers[i], "agree");
		space[i] = make_space(trackers[i], memory[i]);
		client[i] = open_client(space[i], TIDE_START_CLEAN);
	}
	for (int round = 0; round < 200; round++) {
		for (int n = rand_r(&seed) % 60; n > 0; n--) {
			uint64_t page = (uint64_t)rand_r(&seed) % PAGES;

			touch(memory[0], page);
			touch(memory[1], page);
		}
		for (int i = 0; i < 2; i++)
			(void)harvest(client[i], 0, has[i]);
		assert_memory_equal(has[0], has[1], PAGES);
	}
	for (int i = 0; i < 2; i++) {
		tide_client_close(client[i]);
		tide_space_destroy(space[i]);
		munmap(memory[i], PAGES * PAGE);
	}
}

/* prosper 1147: a fault in a function that keeps data below its stack pointer.
 * Fails when catching the write destroys them. */
static void test_red_zone(void **state)
{
#ifdef __x86_64__
	unsigned char *memory = map(), has[PAGES];
	struct tide_client *client;
	struct tide_space *space;
	uint64_t below = 0;

	(void)state;
	need(TIDE_TRACKER_SIGSEGV, "red zone");
	space = make_space(TIDE_TRACKER_SIGSEGV, memory);
	client = open_client(space, TIDE_START_CLEAN);
	/* The compiler may keep something there itself: go beyond it, and
	 * leave the fault 128 bytes of our own. */
	__asm__ volatile(
		"lea -256(%%rsp), %%rsp\n\t"
		"movq %[value], -8(%%rsp)\n\t"
		"movq %[value], -128(%%rsp)\n\t"
		"movb $1, (%[page])\n\t"
		"movq -8(%%rsp), %[below]\n\t"
		"xorq -128(%%rsp), %[below]\n\t"
		"addq -128(%%rsp), %[below]\n\t"
		"lea 256(%%rsp), %%rsp"
		: [below] "=&r"(below)
		: [value] "r"(UINT64_C(0x1122334455667788)), [page] "r"(
								     memory +
								     3 * PAGE)
		: "memory", "cc");
	assert_int_equal(below, UINT64_C(0x1122334455667788));
	assert_int_equal(harvest(client, 0, has), 1);
	assert_int_equal(has[3], 1);
	tide_client_close(client);
	tide_space_destroy(space);
	munmap(memory, PAGES * PAGE);
#else
	(void)state;
	SKIP("red zone", "%s", "x86-64 has one");
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_whole_then_difference),
		cmocka_unit_test(test_two_consumers),
		cmocka_unit_test(test_swapped_is_content),
		cmocka_unit_test(test_unprivileged),
		cmocka_unit_test(test_increment_after_restore),
		cmocka_unit_test(test_no_leak),
		cmocka_unit_test(test_trackers_agree),
		cmocka_unit_test(test_red_zone),
	};

	return cmocka_run_group_tests_name("peers", tests, NULL, NULL);
}
