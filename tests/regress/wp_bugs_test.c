/* SPDX-License-Identifier: MIT */
/*
 * wp_bugs_test.c - what the kernel does that a naive user of userfaultfd's
 * asynchronous write-protect and of PAGEMAP_SCAN gets wrong
 *
 * The tracked memory is this process's, or a child's.  Where the kernel has no
 * such thing the tests are skipped, with the reason.
 */
#undef NDEBUG
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tidemark/client.h>
#include <tidemark/mark.h>
#include <tidemark/probe.h>
#include <tidemark/space.h>
#include <tidemark/tracker.h>

#include "swap_file.h"
#include "test_support.h"

#define PAGE TIDE_PAGE_SIZE
#define MIB (1ull << 20)

struct rig {
	struct tide_space *space;
	struct tide_client *client;
	unsigned char *memory;
	uint64_t npages;
};

struct set {
	uint64_t count;
	unsigned char has[16384];
};

static void need_wp(const char *name)
{
	struct tide_probe_result result;

	assert_int_equal(tide_probe(TIDE_TRACKER_WP, &result), 0);
	if (!result.works)
		SKIP(name, "%s", result.why);
}

static unsigned char *map(uint64_t npages, int flags, int fd)
{
	void *memory =
		mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static int add(struct tide_space *space, uint32_t id, void *host,
	       uint64_t npages)
{
	return tide_slot_add(space,
			     &(struct tide_slot_config){ .id = id,
							 .first_gfn = id << 16,
							 .npages = npages,
							 .host = host });
}

/* Clean, and everything that is written from now on is seen. */
static void rig_over(struct rig *rig, void *memory, uint64_t npages)
{
	assert_true(npages <= sizeof(((struct set *)NULL)->has));
	rig->memory = memory;
	rig->npages = npages;
	assert_int_equal(tide_space_create(&rig->space), 0);
	assert_int_equal(tide_space_attach(rig->space, TIDE_TRACKER_WP, NULL),
			 0);
	assert_int_equal(add(rig->space, 0, memory, npages), 0);
	assert_int_equal(tide_client_open(rig->space, "test", TIDE_START_CLEAN,
					  &rig->client),
			 0);
}

static void rig_create(struct rig *rig, const char *name, uint64_t npages)
{
	need_wp(name);
	rig_over(rig, map(npages, MAP_PRIVATE | MAP_ANONYMOUS, -1), npages);
}

static void rig_destroy(struct rig *rig)
{
	tide_client_close(rig->client);
	tide_space_destroy(rig->space);
	munmap(rig->memory, rig->npages * PAGE);
}

static int harvest(struct rig *rig, struct set *ret)
{
	struct tide_harvest *harvest;
	struct tide_extent e;
	int err = tide_harvest_begin(rig->client, &harvest);

	memset(ret, 0, sizeof(*ret));
	if (err)
		return err;
	while ((err = tide_harvest_next(harvest, &e)) > 0) {
		ret->count += e.npages;
		memset(ret->has + (e.first_gfn & 0xffff), 1, e.npages);
	}
	assert_int_equal(err, 0);
	return tide_harvest_commit(harvest);
}

static void expect(struct rig *rig, uint64_t count)
{
	struct set set;

	assert_int_equal(harvest(rig, &set), 0);
	assert_int_equal(set.count, count);
}

static void expect_page(struct rig *rig, uint64_t page)
{
	struct set set;

	assert_int_equal(harvest(rig, &set), 0);
	assert_int_equal(set.count, 1);
	assert_int_equal(set.has[page], 1);
}

static void write_page(struct rig *rig, uint64_t page)
{
	*(volatile unsigned char *)(rig->memory + page * PAGE) += 1;
}

/* Fails when walk_end is believed: it stops short with more than 512 ranges in
 * one scan; or when a full vector is taken for the end. */
static void test_many_ranges(void **state)
{
	static const uint64_t sizes[] = { 1200, 4096, 4098, 8194, 16384 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct rig rig;
		struct set set;

		rig_create(&rig, "many ranges", sizes[i]);
		for (uint64_t page = 0; page < sizes[i]; page += 2)
			write_page(&rig, page);
		assert_int_equal(harvest(&rig, &set), 0);
		assert_int_equal(set.count, sizes[i] / 2);
		for (uint64_t page = 0; page < sizes[i]; page++)
			assert_int_equal(set.has[page], page % 2 == 0);
		expect(&rig, 0);
		rig_destroy(&rig);
	}
}

/* Fails when an error of the scan, which has protected the pages before the
 * bad mapping already, drops what it had found; or when memory that was mapped
 * anew is passed over in silence from then on. */
static void test_error_after_consuming(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, "an error after consuming", 100);
	for (uint64_t page = 0; page < 10; page++)
		write_page(&rig, page);
	assert_ptr_equal(mmap(rig.memory + 50 * PAGE, 5 * PAGE,
			      PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 rig.memory + 50 * PAGE);
	write_page(&rig, 52);
	expect(&rig, 100);
	write_page(&rig, 53);
	expect_page(&rig, 53);
	expect(&rig, 0);
	rig_destroy(&rig);
}

/* Fails when a hole in a slot looks like pages that nobody wrote. */
static void test_hole(void **state)
{
	struct rig rig;
	struct set set;

	(void)state;
	rig_create(&rig, "a hole", 100);
	write_page(&rig, 7);
	munmap(rig.memory + 50 * PAGE, 5 * PAGE);
	assert_int_equal(harvest(&rig, &set), -EFAULT);
	assert_int_equal(add(rig.space, 1, rig.memory + 50 * PAGE, 5), -EEXIST);
	assert_ptr_equal(mmap(rig.memory + 50 * PAGE, 5 * PAGE,
			      PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 rig.memory + 50 * PAGE);
	expect(&rig, 100);
	expect(&rig, 0);
	rig_destroy(&rig);
}

/* Fails when memory that was moved away by mremap is thought to be clean. */
static void test_mremap(void **state)
{
	struct rig rig;
	struct set set;
	unsigned char *to;

	(void)state;
	rig_create(&rig, "mremap", 100);
	to = map(5, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	assert_ptr_equal(mremap(rig.memory + 50 * PAGE, 5 * PAGE, 5 * PAGE,
				MREMAP_MAYMOVE | MREMAP_FIXED, to),
			 to);
	to[0] = 1;
	assert_int_equal(harvest(&rig, &set), -EFAULT);
	assert_int_equal(tide_slot_remove(rig.space, 0), 0);
	assert_int_equal(add(rig.space, 0, rig.memory, 100), -EFAULT);
	munmap(to, 5 * PAGE);
	rig_destroy(&rig);
}

/* Fails when what was discarded is not reported, a page or a whole table of
 * them; its content has changed. */
static void test_discard(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, "discarded", 4096);
	for (uint64_t page = 0; page < 4096; page++)
		write_page(&rig, page);
	expect(&rig, 4096);
	assert_int_equal(madvise(rig.memory + 9 * PAGE, PAGE, MADV_DONTNEED),
			 0);
	expect_page(&rig, 9);
	expect(&rig, 0);
	assert_int_equal(madvise(rig.memory, 4096 * PAGE, MADV_DONTNEED), 0);
	expect(&rig, 4096);
	expect(&rig, 0);
	write_page(&rig, 100);
	expect_page(&rig, 100);
	rig_destroy(&rig);
}

/* Fails when a private copy of a file's page that is discarded is not reported:
 * the kernel keeps its protection, and the page is the file's again. */
static void test_discard_of_a_file(void **state)
{
	unsigned char *memory;
	struct rig rig;
	int fd;

	(void)state;
	need_wp("a file's page discarded");
	fd = memfd_create("file", MFD_CLOEXEC);
	assert_true(fd >= 0 && !ftruncate(fd, 200 * PAGE));
	memory = map(200, MAP_PRIVATE, fd);
	memory[150 * PAGE] = 1; /* there before anybody looks */
	rig_over(&rig, memory, 200);
	assert_int_equal(madvise(memory + 150 * PAGE, PAGE, MADV_DONTNEED), 0);
	expect_page(&rig, 150);
	expect(&rig, 0);
	write_page(&rig, 3);
	write_page(&rig, 4);
	expect(&rig, 2);
	assert_int_equal(madvise(memory + 3 * PAGE, PAGE, MADV_DONTNEED), 0);
	expect_page(&rig, 3);
	expect(&rig, 0);
	/* And between two looks. */
	write_page(&rig, 5);
	assert_int_equal(madvise(memory + 5 * PAGE, PAGE, MADV_DONTNEED), 0);
	expect_page(&rig, 5);
	expect(&rig, 0);
	close(fd);
	rig_destroy(&rig);
}

/* Fails when a hole that the process makes in shared memory is not reported,
 * for the same reason. */
static void test_hole_in_shared(void **state)
{
	struct rig rig;

	(void)state;
	need_wp("a hole in shared memory");
	rig_over(&rig, map(200, MAP_SHARED | MAP_ANONYMOUS, -1), 200);
	for (uint64_t page = 0; page < 100; page++)
		write_page(&rig, page);
	expect(&rig, 100);
	assert_int_equal(madvise(rig.memory + 70 * PAGE, PAGE, MADV_REMOVE), 0);
	assert_int_equal(rig.memory[71 * PAGE], 1);
	expect_page(&rig, 70);
	expect(&rig, 0);
	rig_destroy(&rig);
}

/* Fails when reading a page that is not there yet counts as a write (without
 * WP_UNPOPULATED), or writing it does not. */
static void test_absent(void **state)
{
	struct rig rig;
	volatile unsigned char sum = 0;

	(void)state;
	rig_create(&rig, "absent pages", 2048);
	for (uint64_t page = 0; page < 2048; page++)
		sum += rig.memory[page * PAGE];
	(void)sum; /* reading was all */
	expect(&rig, 0);
	write_page(&rig, 1000);
	expect_page(&rig, 1000);
	rig_destroy(&rig);
}

/* Fails when what the kernel writes for a system call is not seen. */
static void test_kernel_writes(void **state)
{
	struct rig rig;
	int zero, self;

	(void)state;
	rig_create(&rig, "the kernel writes", 64);
	zero = open("/dev/zero", O_RDONLY);
	self = open("/proc/self/mem", O_RDWR);
	assert_true(zero >= 0 && self >= 0);
	assert_int_equal(read(zero, rig.memory + 5 * PAGE, 10), 10);
	expect_page(&rig, 5);
	assert_int_equal(
		pwrite(self, "x", 1, (off_t)(uintptr_t)(rig.memory + 6 * PAGE)),
		1);
	expect_page(&rig, 6);
	close(zero);
	close(self);
	rig_destroy(&rig);
}

/* Fails when arming or scanning reports a whole huge page for one write. */
static void test_huge_page(void **state)
{
	unsigned char *all, *aligned;
	struct rig rig;

	(void)state;
	need_wp("huge pages");
	all = map(2048, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	aligned = all + (-(uintptr_t)all & (2 * MIB - 1));
	(void)madvise(aligned, 2 * MIB, MADV_HUGEPAGE);
	memset(aligned, 1, 2 * MIB);
	rig_over(&rig, aligned, 512);
	write_page(&rig, 300);
	expect_page(&rig, 300);
	write_page(&rig, 301);
	expect_page(&rig, 301);
	expect(&rig, 0);
	rig.memory = all;
	rig.npages = 2048;
	rig_destroy(&rig);
}

/* Fails when shared memory or a file's cannot be tracked; or when a write by
 * another mapping, which cannot be seen, comes without its mark. */
static void test_shared(void **state)
{
	struct rig rig;
	unsigned char *alias;
	int fd;

	(void)state;
	need_wp("shared memory");
	fd = memfd_create("shared", MFD_CLOEXEC);
	assert_true(fd >= 0 && !ftruncate(fd, 64 * PAGE));
	alias = map(64, MAP_SHARED, fd);
	rig_over(&rig, map(64, MAP_SHARED, fd), 64);
	write_page(&rig, 3);
	expect_page(&rig, 3);
	alias[4 * PAGE] = 1;
	expect(&rig, 0); /* as tidemark/tracker.h says */
	assert_int_equal(tide_mark(rig.space, 4), 0);
	expect_page(&rig, 4);
	rig_destroy(&rig);
	rig_over(&rig, map(64, MAP_PRIVATE, fd), 64);
	write_page(&rig, 8);
	expect_page(&rig, 8);
	expect(&rig, 0);
	rig_destroy(&rig);
	munmap(alias, 64 * PAGE);
	close(fd);
}

/* Return: how many there were; -1: cannot be changed. */
static int reserve_huge_pages(int more)
{
	FILE *file = fopen("/proc/sys/vm/nr_hugepages", "r+");
	int count = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%d", &count) == 1) {
		rewind(file);
		fprintf(file, "%d", count + more);
	}
	fclose(file);
	return count;
}

static void test_hugetlb(void **state)
{
	struct rig rig;
	void *memory;

	(void)state;
	need_wp("hugetlb");
	if (reserve_huge_pages(2) < 0)
		SKIP("hugetlb", "no huge pages can be reserved here");
	memory = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	(void)reserve_huge_pages(-2); /* back, when ours are unmapped */
	if (memory == MAP_FAILED)
		SKIP("hugetlb", "there are not enough huge pages here");
	rig_over(&rig, memory, 1024);
	write_page(&rig, 700);
	expect(&rig, 512); /* one page, and that is its size */
	expect(&rig, 0);
	assert_int_equal(tide_slot_remove(rig.space, 0), 0);
	/* A part of a huge page cannot be protected. */
	assert_true(add(rig.space, 0, memory, 100) < 0);
	rig_destroy(&rig);
}

static uint64_t count_swapped(const struct rig *rig)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entries[256], n = 0;

	assert_int_equal(pread(fd, entries, sizeof(entries),
			       (off_t)((uintptr_t)rig->memory / PAGE * 8)),
			 sizeof(entries));
	close(fd);
	for (int i = 0; i < 256; i++)
		n += entries[i] >> 62 & 1;
	return n;
}

/* Fails when swapping a page out or in counts as writing it, or hides that it
 * was written. */
static void test_swap(void **state)
{
	volatile unsigned char sum = 0;
	struct rig rig;
	int err;

	(void)state;
	rig_create(&rig, "swap", 256);
	err = swap_file_on();
	if (err) {
		rig_destroy(&rig);
		SKIP("swap", "no swap file can be used here: %s",
		     strerror(err));
	}
	for (uint64_t page = 0; page < 256; page++)
		write_page(&rig, page);
	expect(&rig, 256);
	write_page(&rig, 17);
	assert_int_equal(madvise(rig.memory, 256 * PAGE, MADV_PAGEOUT), 0);
	assert_true(count_swapped(&rig) > 100);
	expect_page(&rig, 17);
	for (uint64_t page = 0; page < 256; page++)
		sum += rig.memory[page * PAGE];
	(void)sum; /* reading was all */
	expect(&rig, 0);
	assert_int_equal(madvise(rig.memory, 256 * PAGE, MADV_PAGEOUT), 0);
	write_page(&rig, 40);
	expect_page(&rig, 40);
	expect(&rig, 0);
	rig_destroy(&rig);
	swap_file_off();
}

/* Fails when two slots share memory, where a scan for one takes the other's;
 * or two spaces do. */
static void test_twice(void **state)
{
	struct tide_space *other;
	struct tide_client *client;
	struct rig rig;

	(void)state;
	rig_create(&rig, "the same memory twice", 64);
	assert_int_equal(add(rig.space, 1, rig.memory + 63 * PAGE, 10),
			 -EEXIST);
	assert_int_equal(tide_space_create(&other), 0);
	assert_int_equal(tide_space_attach(other, TIDE_TRACKER_WP, NULL), 0);
	assert_int_equal(add(other, 0, rig.memory, 10), 0);
	assert_int_equal(
		tide_client_open(other, "other", TIDE_START_CLEAN, &client),
		-EBUSY);
	tide_space_destroy(other);
	write_page(&rig, 1);
	expect_page(&rig, 1);
	rig_destroy(&rig);
}

/* Fails when a fork of the tracked process confuses the parent's tracking. */
static void test_fork(void **state)
{
	struct rig rig;
	pid_t child;
	int status;

	(void)state;
	rig_create(&rig, "fork", 64);
	write_page(&rig, 1);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		write_page(&rig, 2);
		write_page(&rig, 3);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	write_page(&rig, 4);
	expect(&rig, 2); /* 1 and 4 */
	write_page(&rig, 2);
	expect_page(&rig, 2);
	rig_destroy(&rig);
}

/* Fails when anything is left behind by a detach: the next one starts anew. */
static void test_detach(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, "detach", 64);
	write_page(&rig, 1);
	assert_int_equal(tide_space_detach(rig.space), 0);
	expect(&rig, 64);
	write_page(&rig, 2);
	expect(&rig, 0);
	assert_int_equal(tide_space_attach(rig.space, TIDE_TRACKER_WP, NULL),
			 0);
	expect(&rig, 64);
	write_page(&rig, 3);
	expect_page(&rig, 3);
	rig_destroy(&rig);
}

/* In the child: a descriptor, a page to write to, and orders from a pipe. */
static void child_main(int orders, int answers, unsigned char *memory)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1);
	unsigned char page;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (write(answers, &fd, sizeof(fd)) != sizeof(fd))
		_exit(1);
	while (read(orders, &page, 1) == 1) {
		memory[page * PAGE]++;
		if (write(answers, &page, 1) != 1)
			_exit(1);
	}
	_exit(0);
}

struct child {
	pid_t pid;
	int orders, answers;
	struct tide_wp_config config;
};

static void child_start(struct child *child, unsigned char *memory)
{
	int orders[2], answers[2], fd, pidfd;
	char path[64];

	assert_int_equal(pipe(orders), 0);
	assert_int_equal(pipe(answers), 0);
	child->pid = fork();
	assert_true(child->pid >= 0);
	if (child->pid == 0) {
		close(orders[1]);
		child_main(orders[0], answers[1], memory);
	}
	close(orders[0]);
	close(answers[1]);
	child->orders = orders[1];
	child->answers = answers[0];
	assert_int_equal(read(child->answers, &fd, sizeof(fd)), sizeof(fd));
	pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
	assert_true(fd >= 0 && pidfd >= 0);
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)child->pid);
	child->config = (struct tide_wp_config){
		.size = sizeof(child->config),
		.uffd = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0),
		.pagemap_fd = open(path, O_RDONLY | O_CLOEXEC),
	};
	close(pidfd);
}

static void child_write(struct child *child, unsigned char page)
{
	assert_int_equal(write(child->orders, &page, 1), 1);
	assert_int_equal(read(child->answers, &page, 1), 1);
}

/* Fails when another process's writes are not seen by descriptors that were
 * handed in, ours are taken for its, or its end is taken for silence. */
static void test_other_process(void **state)
{
	struct child child;
	struct rig rig;
	struct set set;

	(void)state;
	need_wp("another process");
	rig.npages = 64;
	rig.memory = map(64, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	child_start(&child, rig.memory);
	if (child.config.uffd < 0 || child.config.pagemap_fd < 0)
		SKIP("another process", "%s", strerror(errno));
	assert_int_equal(tide_space_create(&rig.space), 0);
	assert_int_equal(
		tide_space_attach(rig.space, TIDE_TRACKER_WP, &child.config),
		0);
	assert_int_equal(add(rig.space, 0, rig.memory, 64), 0);
	assert_int_equal(tide_client_open(rig.space, "test", TIDE_START_CLEAN,
					  &rig.client),
			 0);
	write_page(&rig, 3);
	expect(&rig, 0);
	child_write(&child, 9);
	expect_page(&rig, 9);
	close(child.orders);
	assert_int_equal(waitpid(child.pid, NULL, 0), child.pid);
	assert_int_equal(harvest(&rig, &set), -ESRCH);
	rig_destroy(&rig);
	close(child.answers);
	close(child.config.uffd);
	close(child.config.pagemap_fd);
}

/* Fails when descriptors of another kind are taken. */
static void test_wrong_descriptors(void **state)
{
	struct tide_wp_config config = { .size = sizeof(config) };
	struct tide_space *space;

	(void)state;
	need_wp("wrong descriptors");
	assert_int_equal(tide_space_create(&space), 0);
	config.uffd = config.pagemap_fd = -1;
	assert_int_equal(tide_space_attach(space, TIDE_TRACKER_WP, &config),
			 -EBADF);
	config.uffd = open("/dev/null", O_RDWR);
	config.pagemap_fd = config.uffd;
	assert_int_equal(tide_space_attach(space, TIDE_TRACKER_WP, &config),
			 -EBADF);
	close(config.uffd);
	config.size = 1;
	assert_int_equal(tide_space_attach(space, TIDE_TRACKER_WP, &config),
			 -EINVAL);
	tide_space_destroy(space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_ranges),
		cmocka_unit_test(test_error_after_consuming),
		cmocka_unit_test(test_hole),
		cmocka_unit_test(test_mremap),
		cmocka_unit_test(test_discard),
		cmocka_unit_test(test_discard_of_a_file),
		cmocka_unit_test(test_hole_in_shared),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_kernel_writes),
		cmocka_unit_test(test_huge_page),
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_hugetlb),
		cmocka_unit_test(test_swap),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_detach),
		cmocka_unit_test(test_other_process),
		cmocka_unit_test(test_wrong_descriptors),
	};

	return cmocka_run_group_tests_name("wp bugs", tests, NULL, NULL);
}
