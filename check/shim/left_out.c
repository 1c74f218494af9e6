/* SPDX-License-Identifier: MIT */
/*
 * left_out.c - what tools/mutants.py puts into a source beside its mistake
 *
 * A lock that is not taken must not be released either, and that may happen in
 * another function or file.  So a mutant's acquire says here what it leaves
 * out, and release asks; linked with -Wl,--wrap.  And a list of the places that
 * a program has come by, printed when it ends.
 */
#include "left_out.h"

#include <stdio.h>
#include <string.h>

#include "explore.h"

#define PLACES_MAX 4096u

/* By thread; every execution begins with none. */
static const struct tide_lock *left_out[EXPLORE_THREADS_MAX];
static bool come_by[PLACES_MAX];
static struct explore_program explored;
static void (*explored_init)(void);

void left_out_lock(struct tide_lock *lock)
{
	left_out[explore_self()] = lock;
}

static bool was_left_out(const struct tide_lock *lock)
{
	if (left_out[explore_self()] != lock)
		return false;
	left_out[explore_self()] = NULL;
	return true;
}

void __real_tide_lock_release(struct tide_lock *lock);
void __wrap_tide_lock_release(struct tide_lock *lock);
void __wrap_tide_lock_release(struct tide_lock *lock)
{
	if (!was_left_out(lock))
		__real_tide_lock_release(lock);
}

/* Whoever waits has the lock afterwards, even if not before. */
void __real_tide_lock_wait(struct tide_lock *lock, pthread_cond_t *cond);
void __wrap_tide_lock_wait(struct tide_lock *lock, pthread_cond_t *cond);
void __wrap_tide_lock_wait(struct tide_lock *lock, pthread_cond_t *cond)
{
	if (was_left_out(lock))
		tide_lock_acquire(lock);
	else
		__real_tide_lock_wait(lock, cond);
}

static void init(void)
{
	memset(left_out, 0, sizeof(left_out));
	if (explored_init)
		explored_init();
}

int __real_explore(const struct explore_program *program,
		   const struct explore_options *options,
		   struct explore_result *ret_result);
int __wrap_explore(const struct explore_program *program,
		   const struct explore_options *options,
		   struct explore_result *ret_result);
int __wrap_explore(const struct explore_program *program,
		   const struct explore_options *options,
		   struct explore_result *ret_result)
{
	explored = *program;
	explored_init = program->init;
	explored.init = init;
	return __real_explore(&explored, options, ret_result);
}

void left_out_come_by(unsigned int place)
{
	if (place < PLACES_MAX)
		come_by[place] = true;
}

__attribute__((destructor)) static void print_places(void)
{
	bool any = false;

	for (unsigned int i = 0; i < PLACES_MAX; i++) {
		if (come_by[i])
			printf("%s %u", any ? "" : "# came by", i);
		any |= come_by[i];
	}
	if (any)
		printf("\n");
}
