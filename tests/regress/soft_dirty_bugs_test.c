/* SPDX-License-Identifier: MIT */
/*
 * soft_dirty_bugs_test.c - what a naive user of soft-dirty bits gets wrong
 *
 * The tracked memory is this process's.  Where the kernel has no such bits the
 * tests are skipped, with the reason; tests/boot runs them on one that has.
 * The calls between the hooks are wrapped: to fail, to lie, and to see that
 * they are the only ones.
 */
#undef NDEBUG
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tidemark/checkpoint.h>
#include <tidemark/client.h>
#include <tidemark/mark.h>
#include <tidemark/probe.h>
#include <tidemark/space.h>
#include <tidemark/tracker.h>

#include "sim_kernel.h"
#include "test_support.h"
#include "tracker/wp_abi.h"

#define PAGE TIDE_PAGE_SIZE
#define PAGES 256u
#define HUGE_PAGES 512u /* of one huge page */
#define MANY 4096u
#define WRITERS 3
#define SOFT_DIRTY (1ull << 55)

enum fault { FAULT_EARLY, FAULT_LATE, FAULT_INTERRUPTED, FAULT_SHORT };
#define FAULTS 4

/* What the kernel does wrong, and what it was asked. */
static struct {
	bool blind;	  /* no page has a bit */
	bool sticky;	  /* clearing does nothing, and says that it did */
	bool half_sticky; /* it does so for all but the first page asked for */
	bool deaf;	  /* no page has a bit after the third clear */
	unsigned int clears, scans;

	bool stopped; /* between the hooks */
	unsigned int calls, allocations;
	unsigned int fail_at; /* the call that fails, from 1 on; 0: none */
	enum fault fault;
	int stop_error, resume_error;
	unsigned int stops, resumes;
} kernel;

ssize_t __real_pread64(int fd, void *buffer, size_t nbytes, off_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t nbytes, off_t offset);
ssize_t __real_pwrite64(int fd, const void *buffer, size_t nbytes,
			off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buffer, size_t nbytes,
			off_t offset);
ssize_t __real_read(int fd, void *buffer, size_t nbytes);
ssize_t __wrap_read(int fd, void *buffer, size_t nbytes);
void *__real_malloc(size_t nbytes);
void *__wrap_malloc(size_t nbytes);
void *__real_calloc(size_t count, size_t nbytes);
void *__wrap_calloc(size_t count, size_t nbytes);
void *__real_realloc(void *old, size_t nbytes);
void *__wrap_realloc(void *old, size_t nbytes);
void __real_free(void *old);
void __wrap_free(void *old);

/* Is this the call that fails? */
static bool is_due(void)
{
	return kernel.stopped && ++kernel.calls == kernel.fail_at;
}

static ssize_t refuse(int error)
{
	errno = error;
	return -1;
}

/* The entries of a pagemap as a bad kernel has them. */
static void lie(uint64_t *entries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (kernel.blind || (kernel.deaf && kernel.clears > 3))
			entries[i] &= ~SOFT_DIRTY;
		if (kernel.half_sticky && count > 1)
			entries[i] |= SOFT_DIRTY;
	}
}

ssize_t __wrap_pread64(int fd, void *buffer, size_t nbytes, off_t offset)
{
	bool due = is_due();
	ssize_t n;

	if (due && kernel.fault == FAULT_INTERRUPTED)
		return refuse(EINTR);
	if (due && kernel.fault == FAULT_SHORT && nbytes > 8)
		nbytes = 8;
	n = __real_pread64(fd, buffer, nbytes, offset);
	if (n > 0)
		lie(buffer, (size_t)n / sizeof(uint64_t));
	return due && kernel.fault <= FAULT_LATE ? refuse(EIO) : n;
}

ssize_t __wrap_pwrite64(int fd, const void *buffer, size_t nbytes, off_t offset)
{
	bool due = is_due();
	ssize_t n = (ssize_t)nbytes;

	if (due && kernel.fault == FAULT_INTERRUPTED)
		return refuse(EINTR);
	if (due && kernel.fault == FAULT_EARLY)
		return refuse(ENOMEM);
	kernel.clears++;
	if (!kernel.sticky)
		n = __real_pwrite64(fd, buffer, nbytes, offset);
	return due && kernel.fault == FAULT_LATE ? refuse(ENOMEM) : n;
}

ssize_t __wrap_read(int fd, void *buffer, size_t nbytes)
{
	bool due = is_due();
	ssize_t n;

	if (due && kernel.fault == FAULT_INTERRUPTED)
		return refuse(EINTR);
	if (due && kernel.fault == FAULT_SHORT && nbytes > 100)
		nbytes = 100;
	n = __real_read(fd, buffer, nbytes);
	return due && kernel.fault <= FAULT_LATE ? refuse(EIO) : n;
}

void *__wrap_malloc(size_t nbytes)
{
	kernel.allocations += kernel.stopped;
	return __real_malloc(nbytes);
}

void *__wrap_calloc(size_t count, size_t nbytes)
{
	kernel.allocations += kernel.stopped;
	return __real_calloc(count, nbytes);
}

void *__wrap_realloc(void *old, size_t nbytes)
{
	kernel.allocations += kernel.stopped;
	return __real_realloc(old, nbytes);
}

void __wrap_free(void *old)
{
	kernel.allocations += kernel.stopped;
	__real_free(old);
}

/* ---- the rig ---- */

struct rig {
	struct tide_space *space;
	struct tide_client *client;
	unsigned char *memory;
	uint64_t npages;
};

struct set {
	uint64_t count;
	unsigned char has[MANY];
};

static int stop(void *opaque)
{
	assert_false(kernel.stopped);
	assert_ptr_equal(opaque, &kernel);
	kernel.stops++;
	if (kernel.stop_error)
		return kernel.stop_error;
	kernel.calls = 0;
	kernel.stopped = true;
	return 0;
}

static int resume(void *opaque)
{
	assert_true(kernel.stopped);
	assert_ptr_equal(opaque, &kernel);
	kernel.stopped = false;
	kernel.resumes++;
	return kernel.resume_error;
}

static const struct tide_soft_dirty_config config = { .size = sizeof(config),
						      .stop = stop,
						      .resume = resume,
						      .opaque = &kernel };

static void need_soft_dirty(const char *name)
{
	struct tide_probe_result result;

	memset(&kernel, 0, sizeof(kernel));
	assert_int_equal(tide_probe(TIDE_TRACKER_SOFT_DIRTY, &result), 0);
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
	assert_true(npages <= MANY);
	rig->memory = memory;
	rig->npages = npages;
	assert_int_equal(tide_space_create(&rig->space), 0);
	assert_int_equal(
		tide_space_attach(rig->space, TIDE_TRACKER_SOFT_DIRTY, &config),
		0);
	assert_int_equal(add(rig->space, 0, memory, npages), 0);
	assert_int_equal(tide_client_open(rig->space, "test", TIDE_START_CLEAN,
					  &rig->client),
			 0);
}

/* Of pages that are all there and not zero, and not huge. */
static void rig_create(struct rig *rig, const char *name, uint64_t npages)
{
	unsigned char *memory;

	need_soft_dirty(name);
	memory = map(npages, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	(void)madvise(memory, npages * PAGE, MADV_NOHUGEPAGE);
	memset(memory, 1, npages * PAGE);
	rig_over(rig, memory, npages);
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

/* Each of @pages, ended by UINT64_MAX, and no other. */
static void expect_pages(struct rig *rig, const uint64_t *pages)
{
	struct set set;
	uint64_t n = 0;

	assert_int_equal(harvest(rig, &set), 0);
	for (; pages[n] != UINT64_MAX; n++)
		assert_int_equal(set.has[pages[n]], 1);
	assert_int_equal(set.count, n);
}
#define EXPECT(rig, ...) \
	expect_pages((rig), (const uint64_t[]){ __VA_ARGS__, UINT64_MAX })

static unsigned char *at(const struct rig *rig, uint64_t page)
{
	return rig->memory + page * PAGE;
}

static void write_page(struct rig *rig, uint64_t page)
{
	*(volatile unsigned char *)at(rig, page) += 1;
}

static unsigned char read_page(struct rig *rig, uint64_t page)
{
	return *(volatile unsigned char *)at(rig, page);
}

static uint64_t failed_closed(struct rig *rig)
{
	struct tide_space_stats stats;

	tide_space_stats_get(rig->space, &stats);
	return stats.failed_closed;
}

/* ---- whether it works ---- */

static void found_out(const char *why)
{
	struct tide_probe_result result;
	struct tide_space *space;

	assert_int_equal(tide_probe(TIDE_TRACKER_SOFT_DIRTY, &result), 0);
	assert_false(result.works);
	if (!strstr(result.why, why))
		fail_msg("it says: %s", result.why);
	assert_int_equal(tide_space_create(&space), 0);
	tide_space_destroy(space);
}

/* CubeSandbox#1115.  Fails when a kernel without the bits, which lets them be
 * cleared all the same, is taken for one that has them. */
static void test_no_bits(void **state)
{
	struct tide_space *space;

	(void)state;
	memset(&kernel, 0, sizeof(kernel));
	kernel.blind = true;
	found_out("written has no soft-dirty bit");
	assert_int_equal(tide_space_create(&space), 0);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_SOFT_DIRTY, NULL),
		-EOPNOTSUPP);
	tide_space_destroy(space);
}

/* bdwgc#479.  Fails when a kernel that clears nothing, not all, or too much for
 * ever is believed. */
static void test_wrong_clear(void **state)
{
	(void)state;
	need_soft_dirty("a wrong clear_refs");
	kernel.sticky = true;
	found_out("leaves the soft-dirty bit");
	kernel.sticky = false;
	kernel.half_sticky = true;
	found_out("did not become clean");
	kernel.half_sticky = false;
	kernel.clears = 0;
	kernel.deaf = true;
	found_out("did not become clean"); /* all is dirty: see who clears */
}

/* bdwgc#479, later.  Fails when a harvest takes a clear that has cleared
 * nothing for a clear. */
static void test_clear_stops_working(void **state)
{
	struct rig rig;
	struct set set;

	(void)state;
	rig_create(&rig, "clear_refs stops working", PAGES);
	write_page(&rig, 3);
	kernel.sticky = true;
	assert_int_equal(harvest(&rig, &set), -EIO);
	kernel.sticky = false;
	EXPECT(&rig, 3);
	expect(&rig, 0);
	rig_destroy(&rig);
}

static int count_scans(int fd, unsigned long request, void *argument)
{
	kernel.scans += request == WP_PAGEMAP_SCAN;
	return sim_foreign_real(fd, request, argument);
}

/* CRIU#2334.  Fails when the tracker needs PAGE_IS_SOFT_DIRTY of PAGEMAP_SCAN,
 * which is not everywhere that the bits are. */
static void test_no_scan(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, "without PAGEMAP_SCAN", PAGES);
	sim_foreign(count_scans);
	write_page(&rig, 9);
	EXPECT(&rig, 9);
	sim_foreign(NULL);
	assert_int_equal(kernel.scans, 0);
	rig_destroy(&rig);
}

/* ---- what the bit does not tell ---- */

/* Fails when a page that was discarded is not reported, because it has no bit;
 * or a page that is not there is reported each time. */
static void test_discard(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, "discarded", MANY);
	write_page(&rig, 9);
	assert_int_equal(madvise(at(&rig, 9), PAGE, MADV_DONTNEED), 0);
	EXPECT(&rig, 9);
	expect(&rig, 0);
	assert_int_equal(madvise(at(&rig, 7), PAGE, MADV_DONTNEED), 0);
	EXPECT(&rig, 7);
	expect(&rig, 0);
	write_page(&rig, 9);
	EXPECT(&rig, 9);
	assert_int_equal(madvise(rig.memory, MANY * PAGE, MADV_DONTNEED), 0);
	expect(&rig, MANY - 1); /* page 7 had gone already */
	expect(&rig, 0);
	rig_destroy(&rig);
}

/* e2e infra#2092.  Fails when a discarded page that is read, and so is there
 * again, zero and without a bit, is thought to be what it was; or reading what
 * was never there counts as a write. */
static void test_discard_and_read(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, "discarded and read", PAGES);
	assert_int_equal(madvise(at(&rig, 9), PAGE, MADV_DONTNEED), 0);
	assert_int_equal(read_page(&rig, 9), 0);
	EXPECT(&rig, 9);
	expect(&rig, 0);
	assert_int_equal(madvise(at(&rig, 9), PAGE, MADV_DONTNEED), 0);
	expect(&rig, 0);
	assert_int_equal(read_page(&rig, 9), 0);
	expect(&rig, 0);
	write_page(&rig, 9);
	EXPECT(&rig, 9);
	rig_destroy(&rig);
}

/* Fails when what the kernel writes for a system call is not seen. */
static void test_kernel_writes(void **state)
{
	struct rig rig;
	int zero, self;

	(void)state;
	rig_create(&rig, "the kernel writes", PAGES);
	zero = open("/dev/zero", O_RDONLY);
	self = open("/proc/self/mem", O_RDWR);
	assert_true(zero >= 0 && self >= 0);
	assert_int_equal(read(zero, at(&rig, 5), 10), 10);
	EXPECT(&rig, 5);
	assert_int_equal(
		__real_pwrite64(self, "x", 1, (off_t)(uintptr_t)at(&rig, 6)),
		1);
	EXPECT(&rig, 6);
	close(zero);
	close(self);
	rig_destroy(&rig);
}

/* Return: how many of the rig's pages are swapped out. */
static uint64_t count_swapped(const struct rig *rig)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry, n = 0;

	assert_true(fd >= 0);
	for (uint64_t page = 0; page < rig->npages; page++) {
		assert_int_equal(
			__real_pread64(fd, &entry, sizeof(entry),
				       (off_t)((uintptr_t)at(rig, page) / PAGE *
					       sizeof(entry))),
			sizeof(entry));
		n += entry >> 62 & 1;
	}
	close(fd);
	return n;
}

/* wasmtime#14357.  Fails when swapping a page out or in hides that it was
 * written, or counts as writing it. */
static void test_swap(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, "swap", PAGES);
	write_page(&rig, 17);
	assert_int_equal(madvise(rig.memory, PAGES * PAGE, MADV_PAGEOUT), 0);
	if (!count_swapped(&rig)) {
		rig_destroy(&rig);
		SKIP("swap", "this machine swaps nothing out");
	}
	assert_true(count_swapped(&rig) > PAGES / 2);
	EXPECT(&rig, 17);
	expect(&rig, 0);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(read_page(&rig, page), 1 + (page == 17));
	expect(&rig, 0);
	assert_int_equal(madvise(rig.memory, PAGES * PAGE, MADV_PAGEOUT), 0);
	write_page(&rig, 40);
	EXPECT(&rig, 40);
	assert_int_equal(madvise(rig.memory, PAGES * PAGE, MADV_PAGEOUT), 0);
	assert_int_equal(madvise(at(&rig, 3), PAGE, MADV_DONTNEED), 0);
	EXPECT(&rig, 3);
	rig_destroy(&rig);
}

/* Fails when a write to a huge page is lost, or more comes than that page. */
static void test_huge_page(void **state)
{
	const uint64_t size = HUGE_PAGES * PAGE;
	unsigned char *all, *aligned;
	struct rig rig;
	struct set set;

	(void)state;
	need_soft_dirty("huge pages");
	all = map(4 * HUGE_PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	aligned = all + (-(uintptr_t)all & (size - 1));
	(void)madvise(aligned, 2 * size, MADV_HUGEPAGE);
	memset(aligned, 1, 2 * size);
	rig_over(&rig, aligned, 2 * HUGE_PAGES);
	expect(&rig, 0);
	write_page(&rig, 300);
	assert_int_equal(harvest(&rig, &set), 0);
	assert_int_equal(set.has[300], 1);
	assert_true(set.count == 1 || set.count == HUGE_PAGES);
	for (uint64_t page = HUGE_PAGES; page < 2 * HUGE_PAGES; page++)
		assert_int_equal(set.has[page], 0);
	printf("# one page was written, %ju are dirty\n", (uintmax_t)set.count);
	expect(&rig, 0);
	assert_int_equal(madvise(rig.memory, size, MADV_DONTNEED), 0);
	assert_int_equal(read_page(&rig, 5), 0); /* perhaps a huge zero page */
	expect(&rig, HUGE_PAGES);
	expect(&rig, 0);
	rig.memory = all;
	rig.npages = 4 * HUGE_PAGES;
	rig_destroy(&rig);
}

/* Fails when memory that comes in the place of a slot's is thought to be clean:
 * mapped anew, moved there, grown into. */
static void test_mapped_anew(void **state)
{
	unsigned char *other;
	struct rig rig;
	struct set set;

	(void)state;
	rig_create(&rig, "mapped anew", PAGES);
	assert_ptr_equal(mmap(at(&rig, 50), 5 * PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 at(&rig, 50));
	assert_int_equal(harvest(&rig, &set), 0);
	for (uint64_t page = 50; page < 55; page++)
		assert_int_equal(set.has[page], 1);
	other = map(4, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	memset(other, 7, 4 * PAGE);
	expect(&rig, 0);
	assert_ptr_equal(mremap(other, 4 * PAGE, 4 * PAGE,
				MREMAP_MAYMOVE | MREMAP_FIXED, at(&rig, 80)),
			 at(&rig, 80));
	assert_int_equal(harvest(&rig, &set), 0);
	for (uint64_t page = 80; page < 84; page++)
		assert_int_equal(set.has[page], 1);
	expect(&rig, 0);
	rig_destroy(&rig);
}

/* Fails when a new mapping that mprotect() merges with an older one, and that
 * may lose its bits in that, is thought to be what was there before. */
static void test_merged_mapping(void **state)
{
	struct rig rig;
	struct set set;

	(void)state;
	rig_create(&rig, "a merged mapping", PAGES);
	assert_ptr_equal(mmap(at(&rig, 50), 5 * PAGE, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 at(&rig, 50));
	(void)madvise(at(&rig, 50), 5 * PAGE, MADV_NOHUGEPAGE);
	assert_int_equal(
		mprotect(at(&rig, 50), 5 * PAGE, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(read_page(&rig, 52), 0);
	assert_int_equal(harvest(&rig, &set), 0);
	for (uint64_t page = 50; page < 55; page++)
		assert_int_equal(set.has[page], 1);
	expect(&rig, 0);
	rig_destroy(&rig);
}

/* Fails when a hole in a slot looks like pages that nobody wrote, or its error
 * loses what was written elsewhere. */
static void test_hole(void **state)
{
	struct rig rig;
	struct set set;

	(void)state;
	rig_create(&rig, "a hole", PAGES);
	write_page(&rig, 7);
	write_page(&rig, 200);
	munmap(at(&rig, 50), 5 * PAGE);
	assert_int_equal(harvest(&rig, &set), -EFAULT);
	assert_int_equal(add(rig.space, 1, at(&rig, 49), 5), -EFAULT);
	assert_ptr_equal(mmap(at(&rig, 50), 5 * PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 at(&rig, 50));
	assert_int_equal(harvest(&rig, &set), 0);
	assert_true(set.has[7] && set.has[200] && set.has[50] && set.has[54]);
	expect(&rig, 0);
	munmap(at(&rig, 0), 5 * PAGE);
	assert_int_equal(tide_slot_remove(rig.space, 0), 0);
	expect(&rig, PAGES); /* it cannot be told what of it was written */
	rig_destroy(&rig);
}

/* Fails when memory is taken whose pages lose their bits when they are
 * reclaimed, or have none. */
static void test_other_memory(void **state)
{
	unsigned char *shared, *huge;
	struct rig rig;
	struct set set;
	int fd;

	(void)state;
	rig_create(&rig, "other memory", PAGES);
	fd = memfd_create("shared", MFD_CLOEXEC);
	assert_true(fd >= 0 && !ftruncate(fd, 8 * PAGE));
	shared = map(8, MAP_SHARED, fd);
	assert_int_equal(add(rig.space, 1, shared, 8), -EINVAL);
	munmap(shared, 8 * PAGE);
	shared = map(8, MAP_PRIVATE, fd);
	assert_int_equal(add(rig.space, 1, shared, 8), -EINVAL);
	munmap(shared, 8 * PAGE);
	shared = map(8, MAP_SHARED | MAP_ANONYMOUS, -1);
	assert_int_equal(add(rig.space, 1, shared, 8), -EINVAL);
	munmap(shared, 8 * PAGE);
	huge = mmap(NULL, HUGE_PAGES * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE,
		    -1, 0);
	if (huge != MAP_FAILED) {
		assert_int_equal(add(rig.space, 1, huge, HUGE_PAGES), -EINVAL);
		munmap(huge, HUGE_PAGES * PAGE);
	}
	write_page(&rig, 7);
	assert_ptr_equal(mmap(at(&rig, 50), 5 * PAGE, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED, fd, 0),
			 at(&rig, 50));
	assert_int_equal(harvest(&rig, &set), -EINVAL);
	assert_ptr_equal(mmap(at(&rig, 50), 5 * PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 at(&rig, 50));
	assert_int_equal(harvest(&rig, &set), 0);
	assert_true(set.has[7] && set.has[50]);
	close(fd);
	rig_destroy(&rig);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		(void)!write(fd, text, strlen(text));
		close(fd);
	}
}

static unsigned long get(const char *path)
{
	char text[32] = "0";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		(void)!__real_read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	return strtoul(text, NULL, 10);
}

#define KSM "/sys/kernel/mm/ksm/"

/* Until it has been over all memory twice since it merged something; that is of
 * @others, if not of ours.  Return: it has. */
static bool let_merge(unsigned char *others)
{
	struct timespec time = { 0, 10000000 };
	unsigned long scans = 0;
	bool merged = false;

	memset(others, 3, PAGES * PAGE);
	put(KSM "sleep_millisecs", "1");
	put(KSM "pages_to_scan", "1000");
	put(KSM "run", "1");
	for (int i = 0; i < 6000; i++) {
		if (!merged) {
			merged = get(KSM "pages_sharing") > PAGES / 2;
			scans = get(KSM "full_scans");
		} else if (get(KSM "full_scans") >= scans + 2) {
			break;
		}
		nanosleep(&time, NULL);
	}
	put(KSM "run", "0");
	return merged;
}

/* Fails when pages that the kernel finds to be equal, and puts together without
 * their bits, are not taken out of that. */
static void test_merging(void **state)
{
	unsigned char *memory, *others;
	struct rig rig;
	bool merged;

	(void)state;
	need_soft_dirty("merging");
	memory = map(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	others = map(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (access(KSM "run", W_OK) ||
	    madvise(others, PAGES * PAGE, MADV_MERGEABLE) ||
	    madvise(memory, PAGES * PAGE, MADV_MERGEABLE)) {
		munmap(memory, PAGES * PAGE);
		munmap(others, PAGES * PAGE);
		SKIP("merging", "this kernel merges no pages, or we may not");
	}
	memset(memory, 1, PAGES * PAGE);
	rig_over(&rig, memory, PAGES);
	memset(at(&rig, 20), 2, 10 * PAGE);
	merged = let_merge(others);
	EXPECT(&rig, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29);
	rig_destroy(&rig);
	munmap(others, PAGES * PAGE);
	if (!merged)
		SKIP("merging", "this kernel has merged nothing in a minute");
}

/* ---- who else uses the bits ---- */

/* Fails when a second space is let in, whose clear would take the first one's
 * bits. */
static void test_two_spaces(void **state)
{
	struct tide_probe_result result;
	struct tide_space *other;
	struct rig rig;

	(void)state;
	rig_create(&rig, "two spaces", PAGES);
	write_page(&rig, 3);
	assert_int_equal(tide_space_create(&other), 0);
	assert_int_equal(
		tide_space_attach(other, TIDE_TRACKER_SOFT_DIRTY, NULL),
		-EBUSY);
	assert_int_equal(tide_probe(TIDE_TRACKER_SOFT_DIRTY, &result), 0);
	assert_false(result.works);
	assert_int_equal(result.error, -EBUSY);
	EXPECT(&rig, 3);
	assert_int_equal(failed_closed(&rig), 0);
	rig_destroy(&rig);
	assert_int_equal(
		tide_space_attach(other, TIDE_TRACKER_SOFT_DIRTY, NULL), 0);
	tide_space_destroy(other);
}

static void clear_as_others_do(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "4", 1), 1);
	close(fd);
}

/* Fails when another program that clears the bits takes writes with it. */
static void test_foreign_clear(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, "a foreign clear", PAGES);
	write_page(&rig, 3);
	clear_as_others_do();
	expect(&rig, PAGES);
	assert_int_equal(failed_closed(&rig), 1);
	write_page(&rig, 4);
	EXPECT(&rig, 4);
	assert_int_equal(failed_closed(&rig), 1);
	rig_destroy(&rig);
}

/* In the child: a harvest of the parent's space, and a space of its own.
 * Return: what is wrong; 0: nothing. */
static int child_main(struct rig *rig)
{
	struct tide_harvest *theirs;
	struct rig own;
	struct set set;

	if (tide_harvest_begin(rig->client, &theirs) != -ESTALE)
		return 1;
	if (add(rig->space, 1, rig->memory, 1) != -ESTALE)
		return 2;
	tide_client_close(rig->client);
	tide_space_destroy(rig->space);
	rig_over(&own, rig->memory, rig->npages);
	write_page(&own, 8);
	if (harvest(&own, &set) || set.count != 1 || !set.has[8])
		return 3;
	rig_destroy(&own);
	return 0;
}

/* Fails when a child clears the bits of its parent, whose files it has
 * inherited, or cannot track memory of its own. */
static void test_child(void **state)
{
	struct rig rig;
	int status;
	pid_t pid;

	(void)state;
	rig_create(&rig, "a child", PAGES);
	write_page(&rig, 3);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(child_main(&rig));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	EXPECT(&rig, 3);
	assert_int_equal(failed_closed(&rig), 0);
	rig_destroy(&rig);
}

/* Fails when pages that are shared with a child all count as written, or one
 * that is discarded and read meanwhile does not. */
static void test_parent(void **state)
{
	struct rig rig;
	int wait[2];
	char byte;
	pid_t pid;

	(void)state;
	rig_create(&rig, "a parent", PAGES);
	assert_int_equal(pipe(wait), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(wait[1]);
		_exit(__real_read(wait[0], &byte, 1) != 0);
	}
	close(wait[0]);
	expect(&rig, 0);
	write_page(&rig, 3);
	assert_int_equal(madvise(at(&rig, 9), PAGE, MADV_DONTNEED), 0);
	assert_int_equal(read_page(&rig, 9), 0);
	EXPECT(&rig, 3, 9);
	close(wait[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	expect(&rig, 0);
	rig_destroy(&rig);
}

/* Fails when slots that share pages take them from each other. */
static void test_shared_pages(void **state)
{
	struct rig rig;
	struct set set;

	(void)state;
	rig_create(&rig, "slots that share pages", PAGES);
	assert_int_equal(add(rig.space, 1, at(&rig, 200), 10), 0);
	expect(&rig, 10); /* it is new */
	write_page(&rig, 203);
	write_page(&rig, 100);
	assert_int_equal(harvest(&rig, &set), 0);
	assert_true(set.has[203] && set.has[100] && set.has[3]);
	assert_int_equal(set.count, 3);
	rig_destroy(&rig);
}

/* ---- the hooks ---- */

/* Fails when something of a config that makes no sense is taken. */
static void test_config(void **state)
{
	struct tide_soft_dirty_config bad = config;
	struct tide_space *space;

	(void)state;
	need_soft_dirty("config");
	assert_int_equal(tide_space_create(&space), 0);
	bad.resume = NULL;
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_SOFT_DIRTY, &bad),
		-EINVAL);
	bad = config;
	bad.stop = NULL;
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_SOFT_DIRTY, &bad),
		-EINVAL);
	bad = config;
	bad.size = 3;
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_SOFT_DIRTY, &bad),
		-EINVAL);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_SOFT_DIRTY, &config), 0);
	assert_int_equal(
		tide_space_attach(space, TIDE_TRACKER_SOFT_DIRTY, &config),
		-EBUSY);
	tide_space_destroy(space);
}

static void expect_stops(unsigned int stops)
{
	assert_int_equal(kernel.stops, stops);
	assert_int_equal(kernel.resumes, stops);
	kernel.stops = kernel.resumes = 0;
}

/* Fails when another call than those that tidemark/tracker.h names stops the
 * writers, or one of them does not. */
static void test_which_calls(void **state)
{
	struct tide_harvest *harvest;
	struct tide_client *client;
	struct tide_extent extent;
	struct rig rig;

	(void)state;
	rig_create(&rig, "which calls", PAGES);
	expect_stops(1); /* the client's, clean */
	assert_int_equal(tide_client_open(rig.space, "other",
					  TIDE_START_ALL_DIRTY, &client),
			 0);
	expect_stops(0);
	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	expect_stops(1);
	assert_int_equal(tide_harvest_next(harvest, &extent), 1);
	assert_int_equal(tide_harvest_commit(harvest), 0);
	assert_int_equal(add(rig.space, 1, at(&rig, 10), 10), 0);
	(void)tide_mark(rig.space, 0);
	tide_client_close(client);
	assert_int_equal(tide_slot_move(rig.space, 1, 0x55555), 0);
	expect_stops(0);
	assert_int_equal(tide_slot_set_flags(rig.space, 1, TIDE_SLOT_UNLOGGED),
			 0);
	assert_true(kernel.stops);
	expect_stops(kernel.stops);
	assert_int_equal(tide_slot_remove(rig.space, 0), 0);
	expect_stops(1);
	assert_int_equal(tide_space_detach(rig.space), 0);
	expect_stops(0);
	rig_destroy(&rig);
}

/* Fails when a hook's error is not the call's, or anything is lost by it. */
static void test_hook_errors(void **state)
{
	struct rig rig;
	struct set set;

	(void)state;
	rig_create(&rig, "errors of hooks", PAGES);
	write_page(&rig, 3);
	kernel.stop_error = -ETIMEDOUT;
	kernel.stops = kernel.resumes = kernel.clears = 0;
	assert_int_equal(harvest(&rig, &set), -ETIMEDOUT);
	assert_int_equal(kernel.stops, 1);
	assert_int_equal(kernel.resumes, 0);
	assert_int_equal(kernel.clears, 0);
	kernel.stop_error = 0;
	kernel.resume_error = -EPERM;
	assert_int_equal(harvest(&rig, &set), -EPERM);
	kernel.resume_error = 0;
	EXPECT(&rig, 3);
	expect(&rig, 0);
	rig_destroy(&rig);
}

/* Each call between the hooks fails once in each way.
 * Return: there was such a call. */
static bool fail_one(struct rig *rig, unsigned int call, enum fault fault)
{
	struct set set;
	int err;

	write_page(rig, 3);
	assert_int_equal(madvise(at(rig, 5), PAGE, MADV_DONTNEED), 0);
	kernel.fail_at = call;
	kernel.fault = fault;
	err = harvest(rig, &set);
	kernel.fail_at = 0;
	assert_false(kernel.stopped);
	if (fault == FAULT_INTERRUPTED || fault == FAULT_SHORT)
		assert_int_equal(err, 0);
	if (err) {
		write_page(rig, 4);
		assert_int_equal(harvest(rig, &set), 0);
		assert_int_equal(set.has[4], 1);
	}
	assert_true(set.has[3] && set.has[5]);
	write_page(rig, 5);
	EXPECT(rig, 5);
	expect(rig, 0);
	return kernel.calls >= call;
}

/* Fails when an error between looking and clearing, or an interrupted or short
 * call, loses a write. */
static void test_every_fault(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, "every fault", PAGES);
	for (int fault = 0; fault < FAULTS; fault++) {
		unsigned int call = 1;

		while (fail_one(&rig, call, (enum fault)fault))
			call++;
		assert_true(call > 5);
	}
	rig_destroy(&rig);
}

/* Fails when the library takes malloc's locks while threads may be stopped that
 * hold them. */
static void test_no_allocation(void **state)
{
	struct rig rig;

	(void)state;
	rig_create(&rig, "no allocation", PAGES);
	for (uint64_t page = 0; page < PAGES; page += 3)
		write_page(&rig, page);
	expect(&rig, (PAGES + 2) / 3);
	assert_int_equal(tide_slot_remove(rig.space, 0), 0);
	assert_int_equal(kernel.allocations, 0);
	rig_destroy(&rig);
}

static pthread_rwlock_t writing =
	PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static _Atomic int over;

/* Its pages are number, number + WRITERS, ... */
static void *write_on(void *opaque)
{
	const struct rig *rig = ((void **)opaque)[0];
	uint64_t number = (uintptr_t)((void **)opaque)[1];
	uint64_t random = number + 1;

	/* Relaxed: pthread_join() orders what it writes. */
	while (!atomic_load_explicit(&over, memory_order_relaxed)) {
		uint64_t page;

		random = random * 6364136223846793005u + 1442695040888963407u;
		page = (random >> 33) % (PAGES / WRITERS) * WRITERS + number;
		(void)pthread_rwlock_rdlock(&writing);
		if (random >> 60 == 0)
			(void)madvise(at(rig, page), PAGE, MADV_DONTNEED);
		++*(volatile uint64_t *)(void *)at(rig, page);
		(void)pthread_rwlock_unlock(&writing);
	}
	return NULL;
}

static int stop_threads(void *opaque)
{
	return pthread_rwlock_wrlock(&writing) ? -EDEADLK : stop(opaque);
}

static int resume_threads(void *opaque)
{
	int err = resume(opaque);

	return pthread_rwlock_unlock(&writing) ? -EINVAL : err;
}

/* Reads what it is handed while the writers go on. */
static void copy_dirty(struct rig *rig, uint64_t *copy)
{
	struct tide_harvest *harvest;
	struct tide_extent e;

	assert_int_equal(tide_harvest_begin(rig->client, &harvest), 0);
	while (tide_harvest_next(harvest, &e) > 0) {
		for (uint64_t i = e.first_gfn; i < e.first_gfn + e.npages; i++)
			copy[i] = *(volatile uint64_t *)(void *)at(rig, i);
	}
	assert_int_equal(tide_harvest_commit(harvest), 0);
}

/* CubeSandbox#1343, #1709.  Fails when a write that falls between looking and
 * clearing, which the hooks keep out, is lost. */
static void test_threads(void **state)
{
	struct tide_soft_dirty_config with_threads = config;
	struct timespec pause = { 0, 1000000 };
	void *arguments[WRITERS][2];
	pthread_t threads[WRITERS];
	uint64_t copy[PAGES];
	struct rig rig;

	(void)state;
	rig_create(&rig, "threads", PAGES);
	tide_client_close(rig.client);
	assert_int_equal(tide_space_detach(rig.space), 0);
	with_threads.stop = stop_threads;
	with_threads.resume = resume_threads;
	assert_int_equal(tide_space_attach(rig.space, TIDE_TRACKER_SOFT_DIRTY,
					   &with_threads),
			 0);
	assert_int_equal(tide_client_open(rig.space, "copy",
					  TIDE_START_ALL_DIRTY, &rig.client),
			 0);
	atomic_store_explicit(&over, 0, memory_order_relaxed);
	for (uintptr_t i = 0; i < WRITERS; i++) {
		arguments[i][0] = &rig;
		arguments[i][1] = (void *)i;
		assert_int_equal(pthread_create(&threads[i], NULL, write_on,
						arguments[i]),
				 0);
	}
	for (int i = 0; i < 50 * (int)test_long(); i++) {
		copy_dirty(&rig, copy);
		nanosleep(&pause, NULL);
	}
	atomic_store_explicit(&over, 1, memory_order_relaxed);
	for (int i = 0; i < WRITERS; i++)
		(void)pthread_join(threads[i], NULL);
	copy_dirty(&rig, copy);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_memory_equal(&copy[page], at(&rig, page), 8);
	expect(&rig, 0);
	rig_destroy(&rig);
}

/* Fails when a checkpoint's own copies count as written, or what was discarded
 * is not brought back. */
static void test_checkpoint(void **state)
{
	struct tide_checkpoint *checkpoint;
	uint64_t pages;
	struct rig rig;

	(void)state;
	rig_create(&rig, "a checkpoint", PAGES);
	assert_int_equal(tide_checkpoint_create(rig.space, NULL, &checkpoint),
			 0);
	for (int i = 0; i < 3; i++) {
		write_page(&rig, 3);
		assert_int_equal(madvise(at(&rig, 9), PAGE, MADV_DONTNEED), 0);
		assert_int_equal(read_page(&rig, 9), 0);
		assert_int_equal(tide_checkpoint_rollback(checkpoint, &pages),
				 0);
		assert_int_equal(pages, 2);
		assert_int_equal(tide_checkpoint_compare(checkpoint, NULL), 0);
	}
	tide_checkpoint_destroy(checkpoint);
	rig_destroy(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_bits),
		cmocka_unit_test(test_wrong_clear),
		cmocka_unit_test(test_clear_stops_working),
		cmocka_unit_test(test_no_scan),
		cmocka_unit_test(test_discard),
		cmocka_unit_test(test_discard_and_read),
		cmocka_unit_test(test_kernel_writes),
		cmocka_unit_test(test_swap),
		cmocka_unit_test(test_huge_page),
		cmocka_unit_test(test_mapped_anew),
		cmocka_unit_test(test_merged_mapping),
		cmocka_unit_test(test_hole),
		cmocka_unit_test(test_other_memory),
		cmocka_unit_test(test_merging),
		cmocka_unit_test(test_two_spaces),
		cmocka_unit_test(test_foreign_clear),
		cmocka_unit_test(test_child),
		cmocka_unit_test(test_parent),
		cmocka_unit_test(test_shared_pages),
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_which_calls),
		cmocka_unit_test(test_hook_errors),
		cmocka_unit_test(test_every_fault),
		cmocka_unit_test(test_no_allocation),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_checkpoint),
	};

	return cmocka_run_group_tests_name("soft-dirty bugs", tests, NULL,
					   NULL);
}
