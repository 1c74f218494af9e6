/* SPDX-License-Identifier: MIT */
/* file_faults.c - files and memory that fail on demand */
#include "file_faults.h"

#include <errno.h>
#include <string.h>
#include <sys/types.h>

ssize_t __real_read(int fd, void *to, size_t size);
ssize_t __wrap_read(int fd, void *to, size_t size);
ssize_t __real_write(int fd, const void *from, size_t size);
ssize_t __wrap_write(int fd, const void *from, size_t size);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);

struct file_faults faults = { .until = UINT64_MAX, .allocations = -1 };

void no_faults(void)
{
	memset(&faults, 0, sizeof(faults));
	faults.until = UINT64_MAX;
	faults.allocations = -1;
}

void use_faults(void)
{
	no_faults();
	faults.on = 1;
}

/* How much of @size may go; -1 with errno. */
static ssize_t allowed(size_t size)
{
	if (!faults.on)
		return (ssize_t)size;
	if (faults.interrupt && faults.calls++ % 2) {
		errno = EINTR;
		return -1;
	}
	if (!faults.until && faults.err) {
		errno = faults.err;
		return -1;
	}
	if (faults.short_max && size > faults.short_max)
		size = faults.short_max;
	return size > faults.until ? (ssize_t)faults.until : (ssize_t)size;
}

ssize_t __wrap_read(int fd, void *to, size_t size)
{
	ssize_t n = allowed(size);

	n = n > 0 ? __real_read(fd, to, (size_t)n) : n;
	if (faults.on && n > 0 && faults.until != UINT64_MAX)
		faults.until -= (uint64_t)n;
	return n;
}

ssize_t __wrap_write(int fd, const void *from, size_t size)
{
	ssize_t n = allowed(size);

	n = n > 0 ? __real_write(fd, from, (size_t)n) : n;
	if (faults.on && n > 0 && faults.until != UINT64_MAX)
		faults.until -= (uint64_t)n;
	return n;
}

static int allocation_fails(size_t size)
{
	if (!faults.on)
		return 0;
	if (size > faults.largest)
		faults.largest = size;
	if (faults.allocations < 0)
		return 0;
	return faults.allocations-- == 0;
}

void *__wrap_malloc(size_t size)
{
	return allocation_fails(size) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return allocation_fails(count * size) ? NULL
					      : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return allocation_fails(size) ? NULL : __real_realloc(old, size);
}
