/* SPDX-License-Identifier: MIT */
/*
 * arena_model.c - malloc, mmap and their kind out of one arena
 *
 * Nothing is ever freed: the arena begins anew with the next execution.
 *
 * An MMU is 700 KB and an execution changes some hundred bytes of it, so the
 * explorer says which (explore_before_write), and only the lines in which they
 * lie are copied back.  Whether it has said all of them is looked at now and
 * then.
 */
#include "arena_model.h"

#undef malloc
#undef calloc
#undef aligned_alloc
#undef free
#undef mmap
#undef munmap
#undef memset
#undef memcpy
#undef memmove

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "explore.h"

#define PAGE 4096u
#define ARENA_BYTES (64ull << 20)
#define PARTS (1u + EXPLORE_THREADS_MAX)
#define PART_BYTES (ARENA_BYTES / PARTS / PAGE * PAGE)
#define LINE 64u
#define LINES_MAX 65536u /* that an execution may change */
#define CHECK_EVERY 4096u

static struct {
	char *memory, *copy;
	/* Number 0 is for build.  Each thread takes from a part of its own, so
	 * that what it gets does not depend on who else takes first. */
	struct {
		size_t used, most_used;
	} part[PARTS];
	bool is_built;
	void (*built)(const void *how);
	const void *built_how;
	/* What differs from the copy, or may. */
	bool is_changed[ARENA_BYTES / LINE];
	uint32_t changed[LINES_MAX];
	uint32_t changes;
	uint64_t resets;
	uint32_t calloc_fails; /* 0: never; 1: the next */
} arena;

/* Always zero.  Its size lies before it. */
static void *take(size_t alignment, size_t nbytes)
{
	uint32_t part = arena.is_built ? 1 + explore_self() : 0;
	size_t used = arena.part[part].used;
	size_t begin =
		(used + sizeof(nbytes) + alignment - 1) & ~(alignment - 1);
	char *memory = arena.memory + part * PART_BYTES + begin;
	char *size = memory - sizeof(nbytes);

	assert(arena.memory && begin + nbytes <= PART_BYTES);
	if (explore_before_write)
		explore_before_write(size, sizeof(nbytes));
	memcpy(size, &nbytes, sizeof(nbytes));
	arena.part[part].used = begin + nbytes;
	if (arena.part[part].used > arena.part[part].most_used)
		arena.part[part].most_used = arena.part[part].used;
	return memory;
}

void *arena_malloc(size_t nbytes)
{
	return take(16, nbytes);
}

void arena_calloc_fails(uint32_t number)
{
	arena.calloc_fails = number;
}

void *arena_calloc(size_t count, size_t nbytes)
{
	if (arena.calloc_fails && !--arena.calloc_fails)
		return NULL;
	return take(16, count * nbytes);
}

void *arena_aligned_alloc(size_t alignment, size_t nbytes)
{
	return take(alignment, nbytes);
}

/* For the race check as if all of it were written: who may still read it at
 * the same time reads what is not there any more. */
void arena_free(void *memory)
{
	size_t nbytes;

	if (!memory)
		return;
	memcpy(&nbytes, (char *)memory - sizeof(nbytes), sizeof(nbytes));
	explore_touch(memory, nbytes, true, __builtin_return_address(0));
}

void *arena_mmap(void *at, size_t nbytes, int prot, int flags, int fd,
		 off_t offset)
{
	(void)prot;
	(void)offset;
	assert(!at && (flags & MAP_ANONYMOUS) && fd == -1);
	return take(PAGE, nbytes);
}

int arena_munmap(void *at, size_t nbytes)
{
	explore_touch(at, nbytes, true, __builtin_return_address(0));
	return 0;
}

void *arena_memset(void *at, int value, size_t nbytes)
{
	explore_touch(at, nbytes, true, __builtin_return_address(0));
	return memset(at, value, nbytes);
}

void *arena_memcpy(void *to, const void *from, size_t nbytes)
{
	explore_touch(from, nbytes, false, __builtin_return_address(0));
	explore_touch(to, nbytes, true, __builtin_return_address(0));
	return memcpy(to, from, nbytes);
}

void *arena_memmove(void *to, const void *from, size_t nbytes)
{
	explore_touch(from, nbytes, false, __builtin_return_address(0));
	explore_touch(to, nbytes, true, __builtin_return_address(0));
	return memmove(to, from, nbytes);
}

static void note_write(const void *at, size_t nbytes)
{
	uintptr_t begin = (uintptr_t)at - (uintptr_t)arena.memory;

	if (begin >= ARENA_BYTES || !nbytes)
		return;
	for (uintptr_t line = begin / LINE; line <= (begin + nbytes - 1) / LINE;
	     line++) {
		if (arena.is_changed[line])
			continue;
		assert(arena.changes < LINES_MAX);
		arena.is_changed[line] = true;
		arena.changed[arena.changes++] = (uint32_t)line;
	}
}

static void *map_zero(void *at)
{
	void *memory = mmap(at, ARENA_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
				    (at ? MAP_FIXED : 0),
			    -1, 0);

	assert(memory != MAP_FAILED);
	return memory;
}

static void build_anew(void (*build)(const void *how), const void *how)
{
	explore_before_write = NULL;
	arena.memory = map_zero(arena.memory);
	arena.copy = map_zero(arena.copy);
	memset(arena.is_changed, 0, sizeof(arena.is_changed));
	arena.changes = 0;
	memset(arena.part, 0, sizeof(arena.part));
	arena.is_built = false;
	arena.resets = 0;
	arena.built = build;
	arena.built_how = how;
	build(how);
	memcpy(arena.copy, arena.memory, arena.part[0].used);
	arena.is_built = true;
	explore_before_write = note_write;
}

static void check_copy(void)
{
	for (uint32_t i = 0; i < PARTS; i++)
		assert(!memcmp(arena.memory + i * PART_BYTES,
			       arena.copy + i * PART_BYTES,
			       arena.part[i].most_used));
}

void arena_reset(void (*build)(const void *how), const void *how)
{
	arena.calloc_fails = 0;
	if (arena.built != build || arena.built_how != how) {
		build_anew(build, how);
		return;
	}
	for (uint32_t i = 0; i < arena.changes; i++) {
		size_t at = (size_t)arena.changed[i] * LINE;

		memcpy(arena.memory + at, arena.copy + at, LINE);
		arena.is_changed[arena.changed[i]] = false;
	}
	arena.changes = 0;
	for (uint32_t i = 1; i < PARTS; i++)
		arena.part[i].used = 0;
	if (arena.resets++ % CHECK_EVERY < 4)
		check_copy();
}
