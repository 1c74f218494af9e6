/* SPDX-License-Identifier: MIT */
/* backing_rig.c - a guest of fake mappings, and a disk that fails on demand */
#undef NDEBUG
#include "backing_rig.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test_support.h"

struct disk disk;

ssize_t __real_pread64(int fd, void *buffer, size_t nbytes, off_t at);
ssize_t __wrap_pread64(int fd, void *buffer, size_t nbytes, off_t at);
ssize_t __real_pwrite64(int fd, const void *buffer, size_t nbytes, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *buffer, size_t nbytes, off_t at);

void disk_reset(void)
{
	disk = (struct disk){ .fault = DISK_FINE };
}

/* Return: how many bytes to do; below 0, and errno is set. */
static ssize_t disk_says(size_t nbytes)
{
	disk.calls++;
	if (disk.fault == DISK_FINE || disk.calls < disk.first ||
	    disk.calls - disk.first >= disk.count)
		return (ssize_t)nbytes;
	disk.failed++;
	switch (disk.fault) {
	case DISK_SHORT:
		return (ssize_t)nbytes / 2;
	case DISK_NOTHING:
		return 0;
	case DISK_ENOSPC:
		errno = ENOSPC;
		return -1;
	case DISK_EINTR:
		errno = EINTR;
		return -1;
	case DISK_EIO:
	case DISK_FINE:
	case DISK_FAULTS:
		break;
	}
	errno = EIO;
	return -1;
}

ssize_t __wrap_pread64(int fd, void *buffer, size_t nbytes, off_t at)
{
	ssize_t part = disk_says(nbytes);

	disk.reads++;
	return part > 0 ? __real_pread64(fd, buffer, (size_t)part, at) : part;
}

ssize_t __wrap_pwrite64(int fd, const void *buffer, size_t nbytes, off_t at)
{
	ssize_t part = disk_says(nbytes);

	disk.writes++;
	return part > 0 ? __real_pwrite64(fd, buffer, (size_t)part, at) : part;
}

static uint32_t page_at(const struct rig *rig, uint64_t host, uint64_t npages)
{
	assert_true(host % TIDE_PAGE_SIZE == 0 && npages > 0);
	assert_true(backing_has(rig->backing, host, npages));
	return (uint32_t)((host - rig->host) / TIDE_PAGE_SIZE);
}

static void drop(struct rig *rig, uint32_t page)
{
	struct rig_mapping *map = &rig->map[page];

	if (map->present && map->dirty)
		backing_page_dirty(rig->backing, map->pfn);
	if (map->present && map->accessed)
		backing_page_accessed(rig->backing, map->pfn);
	*map = (struct rig_mapping){ .present = false };
}

static int invalidate_start(void *opaque, uint64_t host, uint64_t npages)
{
	struct rig *rig = opaque;
	uint32_t first = page_at(rig, host, npages);

	rig->starts++;
	for (uint32_t i = 0; i < npages; i++)
		rig->inside[first + i]++;
	if (rig->fail_start && rig->starts >= rig->fail_start &&
	    rig->starts - rig->fail_start < rig->fail_count)
		return -ETIMEDOUT; /* mappings may be left: all of them are */
	for (uint32_t i = 0; i < npages; i++)
		drop(rig, first + i);
	if (rig->middle)
		rig->middle(rig, first);
	return 0;
}

static void invalidate_end(void *opaque, uint64_t host, uint64_t npages)
{
	struct rig *rig = opaque;
	uint32_t first = page_at(rig, host, npages);

	rig->ends++;
	for (uint32_t i = 0; i < npages; i++)
		assert_true(rig->inside[first + i]-- > 0);
}

static void written(void *opaque, uint64_t host, uint64_t npages)
{
	struct rig *rig = opaque;
	uint32_t first = page_at(rig, host, npages);

	for (uint32_t i = 0; i < npages; i++)
		rig->marked[first + i]++;
}

static const struct backing_notifier notifier = {
	.invalidate_start = invalidate_start,
	.invalidate_end = invalidate_end,
	.written = written,
};

void rig_init(struct rig *rig, bool swap)
{
	struct tide_backing_config config = {
		.npages = RIG_PAGES,
		.nframes = RIG_FRAMES,
		.swap_fd = -1,
	};

	memset(rig, 0, sizeof(*rig));
	disk_reset();
	if (swap)
		config.swap_fd = memfd_create("swap", MFD_CLOEXEC);
	rig->fd = config.swap_fd;
	assert_int_equal(tide_backing_create(&config, &rig->backing), 0);
	rig->host = (uintptr_t)tide_backing_host(rig->backing);
	assert_int_equal(backing_set_notifier(rig->backing, &notifier, rig), 0);
}

void rig_fini(struct rig *rig)
{
	assert_int_equal(rig->starts, rig->ends);
	for (uint32_t page = 0; page < RIG_PAGES; page++)
		assert_int_equal(rig->inside[page], 0);
	backing_check(rig->backing);
	assert_int_equal(backing_set_notifier(rig->backing, NULL, NULL), 0);
	tide_backing_destroy(rig->backing);
	if (rig->fd >= 0)
		close(rig->fd);
}

uint64_t rig_host(const struct rig *rig, uint32_t page)
{
	return rig->host + (uint64_t)page * TIDE_PAGE_SIZE;
}

void *rig_memory(uint64_t pfn)
{
	return (void *)(uintptr_t)(pfn << TIDE_PAGE_SHIFT);
}

int rig_touch(struct rig *rig, uint32_t page, bool write)
{
	struct rig_mapping *map = &rig->map[page];
	struct host_page got;
	int err;

	if (!map->present || (write && !map->writable)) {
		err = backing_get(rig->backing, rig_host(rig, page), write,
				  &got);
		if (err)
			return err;
		assert_true(got.writable || !write);
		/* What was mapped before was dropped, or is the same. */
		assert_true(!map->present || map->pfn == got.pfn);
		map->present = true;
		map->pfn = got.pfn;
		map->writable = got.writable;
		backing_put(rig->backing, got.pfn);
	}
	map->accessed = true;
	map->dirty |= write;
	return 0;
}

int rig_store(struct rig *rig, uint32_t page, uint32_t word, uint64_t value)
{
	int err = rig_touch(rig, page, true);

	if (err)
		return err;
	((uint64_t *)rig_memory(rig->map[page].pfn))[word] = value;
	rig->model[page][word] = value;
	return 0;
}

int rig_load(struct rig *rig, uint32_t page, uint32_t word, uint64_t *ret_value)
{
	int err = rig_touch(rig, page, false);

	if (!err)
		*ret_value = ((uint64_t *)rig_memory(rig->map[page].pfn))[word];
	return err;
}

void rig_compare(struct rig *rig)
{
	static uint64_t now[RIG_WORDS];

	backing_check(rig->backing);
	for (uint32_t page = 0; page < RIG_PAGES; page++) {
		const void *host = (void *)(uintptr_t)rig_host(rig, page);

		assert_int_equal(
			tide_backing_read(rig->backing, host, now, sizeof(now)),
			0);
		assert_memory_equal(now, rig->model[page], sizeof(now));
		/* What the guest has mapped is the page, not another. */
		if (rig->map[page].present)
			assert_memory_equal(rig_memory(rig->map[page].pfn),
					    rig->model[page], sizeof(now));
	}
}
