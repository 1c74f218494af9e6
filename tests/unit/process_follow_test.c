/* SPDX-License-Identifier: MIT */
/*
 * process_follow_test.c - a target's mappings change, and nothing is lost
 *
 * Shared memory that is large and let go of, memory that may be written only
 * now and then, and mappings that come and go for days.
 */
#undef NDEBUG
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "process_rig.h"
#include "test_support.h"

#define PAGE TIDE_PAGE_SIZE
#define GIB (1ull << 30)

static uint64_t gfn_of(const unsigned char *at)
{
	return (uintptr_t)at >> TIDE_PAGE_SHIFT;
}

/* ---- large memory that is shared ---- */

#define SHARED_BYTES (17 * GIB)
#define SHARED_PAGE (5 * GIB / PAGE + 77)

static unsigned char *shared;

/* Its page tables forget the page, its content stays. */
static void obey_shared(int command)
{
	shared[SHARED_PAGE * PAGE] = (unsigned char)command;
	(void)madvise(shared + SHARED_PAGE * PAGE, PAGE, MADV_DONTNEED);
	if (command == 9 && shared[SHARED_PAGE * PAGE] != 9)
		_exit(5);
}

static void have_shared(void)
{
	rig_obey(obey_shared);
}

/* Fails when a write to large shared memory is lost, because the page has left
 * the page tables before anybody looked. */
static void test_large_shared(void **state)
{
	struct tide_process *process;
	struct tide_client *client;
	pid_t pid;

	(void)state;
	rig_need("large shared memory");
	shared = mmap(NULL, SHARED_BYTES, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (shared == MAP_FAILED)
		SKIP("large shared memory", "%s", "so much cannot be reserved");
	pid = rig_start(have_shared);
	process = rig_attach(pid);
	client = rig_client(process);
	for (int i = 1; i < 4; i++) {
		rig_command(i);
		assert_true(tide_process_update(process) >= 0);
		assert_int_equal(rig_harvest(client,
					     gfn_of(shared) + SHARED_PAGE, 1,
					     NULL),
				 1);
	}
	tide_client_close(client);
	tide_process_detach(process);
	rig_finish(pid);
	munmap(shared, SHARED_BYTES);
}

/* ---- mappings that come and go ---- */

#define GUEST_BYTES (GIB)

static void obey_guest(int command)
{
	static unsigned char *guest;

	if (command == 1) {
		guest = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			     0);
		if (guest == MAP_FAILED)
			_exit(3);
	} else {
		munmap(guest, GUEST_BYTES);
	}
}

static void have_guests(void)
{
	rig_obey(obey_guest);
}

static void come_and_go(struct tide_process *process,
			struct tide_client *client, int times)
{
	for (int i = 0; i < times; i++) {
		rig_command(1);
		assert_true(tide_process_update(process) > 0);
		(void)rig_harvest(client, 0, 1, NULL);
		rig_command(2);
		assert_true(tide_process_update(process) > 0);
		(void)rig_harvest(client, 0, 1, NULL);
	}
}

static size_t bytes_in_use(void)
{
	struct mallinfo2 now = mallinfo2();

	return now.uordblks + now.hblkhd;
}

/* Fails when something is kept of each mapping that ever was. */
static void test_come_and_go(void **state)
{
	struct tide_process *process;
	struct tide_client *client;
	size_t before;
	pid_t pid;

	(void)state;
	rig_need("mappings that come and go");
	pid = rig_start(have_guests);
	process = rig_attach(pid);
	client = rig_client(process);
	come_and_go(process, client, 4);
	before = bytes_in_use();
	come_and_go(process, client, 50);
	/* A bit a page of one of them is 32 KiB. */
	assert_true(bytes_in_use() < before + 50 * 8192);
	tide_client_close(client);
	tide_process_detach(process);
	rig_finish(pid);
}

/* ---- memory that may be written now and then ---- */

#define CODE_PAGES 64u

/* As a compiler does that never has code writable and executable at once. */
static void obey_code(int command)
{
	size_t size = CODE_PAGES * PAGE;

	if (mprotect(rig_memory, size, PROT_READ | PROT_WRITE))
		_exit(3);
	rig_memory[(unsigned int)command * PAGE]++;
	if (mprotect(rig_memory, size, PROT_READ))
		_exit(3);
}

static void compile(void)
{
	rig_obey(obey_code);
}

/* Fails when what was written while nobody looked, in memory that was writable
 * once, is lost because it is not writable when somebody looks; or when more
 * than that is dirty. */
static void test_now_and_then(void **state)
{
	static unsigned char has[CODE_PAGES];
	struct tide_process *process;
	struct tide_client *client;
	pid_t pid;

	(void)state;
	rig_need("writable now and then");
	pid = rig_start(compile);
	process = rig_attach(pid);
	client = rig_client(process);
	for (int i = 1; i < 4; i++) {
		rig_command(i);
		assert_true(tide_process_update(process) >= 0);
		assert_int_equal(rig_harvest(client, gfn_of(rig_memory),
					     CODE_PAGES, has),
				 1);
		assert_true(has[i]);
	}
	tide_client_close(client);
	tide_process_detach(process);
	rig_finish(pid);
}

/* ---- mappings that change while they are listed ---- */

#define PARTS 512u
#define UPDATES 1000

/* More lines than the kernel gives at once; each next look may be at a mapping
 * that has become one with what was listed before. */
static void part_and_merge(void)
{
	unsigned int seed = 1;
	unsigned char *parts = mmap(NULL, PARTS * PAGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (parts == MAP_FAILED)
		_exit(3);
	for (size_t i = 0; i < PARTS; i += 2)
		(void)mprotect(parts + i * PAGE, PAGE, PROT_NONE);
	rig_set(&rig_shared->ready, 1);
	while (!rig_get(&rig_shared->stop)) {
		size_t i = (size_t)rand_r(&seed) % PARTS;
		int may = seed & 0x100 ? PROT_READ | PROT_WRITE : PROT_NONE;

		(void)mprotect(parts + i * PAGE, PAGE, may);
	}
}

/* Fails when memory that is listed twice is an error. */
static void test_listed_twice(void **state)
{
	struct tide_process *process;
	pid_t pid;

	(void)state;
	rig_need("mappings that change while they are listed");
	pid = rig_start(part_and_merge);
	process = rig_attach(pid);
	for (int i = 0; i < UPDATES; i++)
		assert_true(tide_process_update(process) >= 0);
	tide_process_detach(process);
	rig_finish(pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_large_shared),
		cmocka_unit_test(test_come_and_go),
		cmocka_unit_test(test_now_and_then),
		cmocka_unit_test(test_listed_twice),
	};

	if (!rig_init())
		return 1;
	return cmocka_run_group_tests_name("process follow", tests, NULL, NULL);
}
