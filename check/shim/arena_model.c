/* SPDX-License-Identifier: MIT */
/*
 * arena_model.c - malloc, mmap and their kind out of one arena
 *
 * Linked with -Wl,--wrap.  Nothing is ever freed: the arena begins anew with
 * the next execution.  Before the first reset the wrapped calls go through.
 */
#include "arena_model.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ARENA_BYTES (64ull << 20)
#define PAGE 4096u

struct arena {
	size_t used;
};

static struct arena *arena; /* its first page */
static int arena_fd = -1;
static void (*built)(void);

void *__real_malloc(size_t nbytes);
void *__real_calloc(size_t count, size_t nbytes);
void *__real_aligned_alloc(size_t alignment, size_t nbytes);
void __real_free(void *memory);
void *__real_mmap(void *at, size_t nbytes, int prot, int flags, int fd,
		  off_t offset);
int __real_munmap(void *at, size_t nbytes);

void *__wrap_malloc(size_t nbytes);
void *__wrap_calloc(size_t count, size_t nbytes);
void *__wrap_aligned_alloc(size_t alignment, size_t nbytes);
void __wrap_free(void *memory);
void *__wrap_mmap(void *at, size_t nbytes, int prot, int flags, int fd,
		  off_t offset);
int __wrap_munmap(void *at, size_t nbytes);

static bool is_in_arena(const void *at)
{
	return arena && (uintptr_t)at - (uintptr_t)arena < ARENA_BYTES;
}

/* Always zero. */
static void *take(size_t alignment, size_t nbytes)
{
	size_t begin = (arena->used + alignment - 1) & ~(alignment - 1);

	assert(begin + nbytes <= ARENA_BYTES);
	arena->used = begin + nbytes;
	return (char *)arena + begin;
}

void *__wrap_malloc(size_t nbytes)
{
	return arena ? take(16, nbytes) : __real_malloc(nbytes);
}

void *__wrap_calloc(size_t count, size_t nbytes)
{
	return arena ? take(16, count * nbytes) : __real_calloc(count, nbytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t nbytes)
{
	return arena ? take(alignment, nbytes)
		     : __real_aligned_alloc(alignment, nbytes);
}

void __wrap_free(void *memory)
{
	if (!is_in_arena(memory))
		__real_free(memory);
}

void *__wrap_mmap(void *at, size_t nbytes, int prot, int flags, int fd,
		  off_t offset)
{
	if (!arena || !(flags & MAP_ANONYMOUS))
		return __real_mmap(at, nbytes, prot, flags, fd, offset);
	return take(PAGE, nbytes);
}

int __wrap_munmap(void *at, size_t nbytes)
{
	return is_in_arena(at) ? 0 : __real_munmap(at, nbytes);
}

static void map_arena(int flags)
{
	void *at = __real_mmap(arena, ARENA_BYTES, PROT_READ | PROT_WRITE,
			       flags | (arena ? MAP_FIXED : 0), arena_fd, 0);

	assert(at != MAP_FAILED);
	arena = at;
}

void arena_reset(void (*build)(void))
{
	if (built == build) {
		map_arena(MAP_PRIVATE);
		return;
	}
	if (arena_fd >= 0)
		close(arena_fd);
	arena_fd = memfd_create("arena", MFD_CLOEXEC);
	assert(arena_fd >= 0);
	if (ftruncate(arena_fd, (off_t)ARENA_BYTES))
		assert(!"room in memory");
	map_arena(MAP_SHARED);
	arena->used = PAGE;
	built = build;
	build();
	map_arena(MAP_PRIVATE);
}
