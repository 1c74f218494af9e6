/* SPDX-License-Identifier: MIT */
/*
 * arena_calls.h - memory calls of the explored sources, led to the arena
 *
 * Included ahead of a source by the compiler's -include.  Only the sources
 * under test take from the arena: the explorer's own memory outlives an
 * execution.  Filling and copying are announced as gcc's instrumentation
 * announces other plain accesses: for the race check, and for the arena.
 */
#ifndef TIDE_CHECK_ARENA_CALLS_H
#define TIDE_CHECK_ARENA_CALLS_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void *arena_malloc(size_t nbytes);
void *arena_calloc(size_t count, size_t nbytes);
void *arena_aligned_alloc(size_t alignment, size_t nbytes);
void arena_free(void *memory);
void *arena_mmap(void *at, size_t nbytes, int prot, int flags, int fd,
		 off_t offset);
int arena_munmap(void *at, size_t nbytes);
void *arena_memset(void *at, int value, size_t nbytes);
void *arena_memcpy(void *to, const void *from, size_t nbytes);
void *arena_memmove(void *to, const void *from, size_t nbytes);

#define malloc(nbytes) arena_malloc(nbytes)
#define calloc(count, nbytes) arena_calloc(count, nbytes)
#define aligned_alloc(alignment, nbytes) arena_aligned_alloc(alignment, nbytes)
#define free(memory) arena_free(memory)
#define mmap(at, nbytes, prot, flags, fd, offset) \
	arena_mmap(at, nbytes, prot, flags, fd, offset)
#define munmap(at, nbytes) arena_munmap(at, nbytes)
#define memset(at, value, nbytes) arena_memset(at, value, nbytes)
#define memcpy(to, from, nbytes) arena_memcpy(to, from, nbytes)
#define memmove(to, from, nbytes) arena_memmove(to, from, nbytes)

#endif
