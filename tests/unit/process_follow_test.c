/* SPDX-License-Identifier: MIT */
/*
 * process_follow_test.c - a target's mappings change, and nothing is lost
 *
 * Shared memory that is large and let go of, memory that may be written only
 * now and then, mappings that come and go for days, and whatever else.
 */
#undef NDEBUG
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
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

/* ---- anything ---- */

#define ARENA_PAGES 256u
#define ROUNDS 300u
#define KINDS 10u

static unsigned char *arena;
static int arena_file;

/* What of [@page, @page + @n) is mapped is @fill in its first bytes. */
static void fill(size_t page, size_t n, unsigned char value)
{
	int fd[2];

	if (pipe(fd))
		_exit(3);
	for (size_t i = page; i < page + n; i++) {
		unsigned char *at = arena + i * PAGE;

		/* By a call, which fails where it may not be written. */
		if (write(fd[1], &value, 1) != 1 || read(fd[0], at, 1) == 1)
			continue;
		if (read(fd[0], &value, 1) != 1)
			_exit(4);
	}
	close(fd[0]);
	close(fd[1]);
}

/* Shared, the file's, or of neither. */
static void map_anew(unsigned char *at, size_t size, size_t choice)
{
	int flags = MAP_FIXED;

	flags |= choice % 3 == 0 ? MAP_SHARED : MAP_PRIVATE;
	flags |= choice % 3 == 1 ? 0 : MAP_ANONYMOUS;
	(void)mmap(at, size, PROT_READ | PROT_WRITE, flags,
		   choice % 3 == 1 ? arena_file : -1, at - arena);
}

/* Pages are shared with a child for a moment. */
static void have_child(void)
{
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	if (child < 0 || waitpid(child, NULL, 0) != child)
		_exit(6);
}

/* The kind, two places and a number, of one command. */
static void obey_anything(int command)
{
	unsigned int word = (unsigned int)command;
	size_t page = word / KINDS % ARENA_PAGES;
	size_t n = 1 + word / KINDS / ARENA_PAGES % 32;
	size_t other = word / KINDS / ARENA_PAGES / 32 % ARENA_PAGES;
	unsigned char *at = arena + page * PAGE;

	if (n > ARENA_PAGES - page)
		n = ARENA_PAGES - page;
	if (other > ARENA_PAGES - n)
		other = ARENA_PAGES - n;
	switch (word % KINDS) {
	case 0:
		(void)munmap(at, n * PAGE);
		break;
	case 1:
		map_anew(at, n * PAGE, other);
		break;
	case 2:
		(void)mprotect(at, n * PAGE, PROT_READ);
		break;
	case 3:
		(void)mprotect(at, n * PAGE, PROT_NONE);
		break;
	case 4:
		(void)mprotect(at, n * PAGE, PROT_READ | PROT_WRITE);
		break;
	case 5:
		(void)madvise(at, n * PAGE, MADV_DONTNEED);
		break;
	case 6:
		if (other + n <= page || page + n <= other)
			(void)mremap(at, n * PAGE, n * PAGE,
				     MREMAP_MAYMOVE | MREMAP_FIXED,
				     arena + other * PAGE);
		break;
	case 7:
		have_child();
		break;
	default:
		fill(page, n, (unsigned char)(word >> 3));
		break;
	}
}

static void do_anything(void)
{
	rig_obey(obey_anything);
}

/* Every page that comes, as it is then. */
static void copy_harvest(struct tide_process *process,
			 struct tide_client *client, unsigned char *copy)
{
	struct tide_harvest *harvest;
	struct tide_extent e;

	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	while (tide_harvest_next(harvest, &e) > 0) {
		for (uint64_t i = 0; i < e.npages; i++) {
			uint64_t page = e.first_gfn + i - gfn_of(arena);

			if (page >= ARENA_PAGES || e.flags & TIDE_EXTENT_GONE)
				continue;
			/* What may not be read comes again when it may. */
			if (tide_process_read(process, (e.first_gfn + i) * PAGE,
					      &copy[page], 1) != 1)
				copy[page] = 0;
		}
	}
	assert_int_equal(tide_harvest_commit(harvest), 0);
}

static bool is_in_slot(struct tide_process *process, uint64_t address)
{
	struct tide_mapping mapping;

	for (uint32_t i = 0; !tide_process_mapping(process, i, &mapping); i++) {
		if (address >= mapping.start && address < mapping.end)
			return true;
	}
	return false;
}

/* Return: how many pages could be compared. */
static uint32_t compare(struct tide_process *process, const unsigned char *copy,
			uint32_t round)
{
	uint32_t compared = 0;

	for (uint32_t i = 0; i < ARENA_PAGES; i++) {
		uint64_t address = (gfn_of(arena) + i) * PAGE;
		unsigned char now;

		if (tide_process_read(process, address, &now, 1) != 1)
			continue;
		/* Shared memory that may only be read need not be. */
		if (!is_in_slot(process, address))
			continue;
		compared++;
		if (now != copy[i])
			fail_msg("round %u: page %u is %#x, its copy %#x",
				 (unsigned)round, (unsigned)i, now, copy[i]);
	}
	return compared;
}

/* Fails when a copy that is kept up to date by harvests is not what the memory
 * is, whatever the target does to its mappings. */
static void test_anything(void **state)
{
	unsigned char copy[ARENA_PAGES] = { 0 };
	struct tide_process *process;
	struct tide_client *client;
	uint32_t compared = 0;
	pid_t pid;

	(void)state;
	rig_need("any change of mappings");
	srand((unsigned int)test_seed());
	arena = mmap(NULL, ARENA_PAGES * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(arena != MAP_FAILED);
	arena_file = memfd_create("arena", MFD_CLOEXEC);
	assert_true(arena_file >= 0);
	for (uint32_t i = 0; i < ARENA_PAGES; i++)
		assert_int_equal(pwrite(arena_file, &i, 1, (off_t)(i * PAGE)),
				 1);
	pid = rig_start(do_anything);
	process = rig_attach(pid);
	client = rig_client(process);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		unsigned int n = 1 + (unsigned int)rand() % 8;

		for (unsigned int i = 0; i < n; i++)
			rig_command(1 + rand() % (INT32_MAX - 1));
		assert_true(tide_process_update(process) >= 0);
		copy_harvest(process, client, copy);
		compared += compare(process, copy, round);
	}
	assert_true(compared > ROUNDS);
	tide_client_close(client);
	tide_process_detach(process);
	rig_finish(pid);
	munmap(arena, ARENA_PAGES * PAGE);
	close(arena_file);
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
		cmocka_unit_test(test_anything),
	};

	if (!rig_init())
		return 1;
	return cmocka_run_group_tests_name("process follow", tests, NULL, NULL);
}
