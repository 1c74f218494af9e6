/* SPDX-License-Identifier: MIT */
/*
 * lock.c - mutexes with a place in the order, which debug builds assert
 *
 * Theory of operation
 * -------------------
 * With TIDE_CHECKS every thread has a stack of the locks that it holds.  The
 * check comes before the mutex is asked for: a thread that is about to close
 * a circle says so, whether or not somebody else is on the other half of it
 * this time.
 *
 * Invariants, with TIDE_CHECKS
 *   I1  ranks rise strictly from the bottom of a thread's stack to its top,
 *       also across a release in the middle and a wait
 */
#include "base/lock.h"

#include <assert.h>
#include <stddef.h>

#ifdef TIDE_CHECKS
#include <stdio.h>
#include <stdlib.h>

/* One of each rank at most (I1). */
#define HELD_MAX (TIDE_RANK_VM + 1)

static _Thread_local const struct tide_lock *held[HELD_MAX];
static _Thread_local size_t nheld;

static const char *name_of(const struct tide_lock *lock)
{
	static const char *const names[] = {
		[TIDE_RANK_SPACE_SLOTS] = "tide_space.slots_lock",
		[TIDE_RANK_MMU_SLOTS] = "tide_mmu.slots_lock",
		[TIDE_RANK_MMU_TURN] = "tide_mmu.turn_lock",
		[TIDE_RANK_BACKING] = "tide_backing.lock",
		[TIDE_RANK_MMU] = "tide_mmu.mmu_lock",
		[TIDE_RANK_VM] = "tide_vm.lock",
	};

	return names[lock->rank];
}

/* The mistake is ours, and the program is not to go on.  A library that was
 * built to check itself may say so. */
static _Noreturn void complain(const struct tide_lock *lock, const char *what,
			       const struct tide_lock *other)
{
	(void)fprintf(stderr, "tidemark: %s %s%s%s\n",
		      lock ? name_of(lock) : "locks", what, other ? " " : "",
		      other ? name_of(other) : "");
	abort();
}

static void check_order(const struct tide_lock *lock)
{
	if (nheld && held[nheld - 1]->rank >= lock->rank)
		complain(lock, "taken while holding", held[nheld - 1]);
}

static void remember(const struct tide_lock *lock)
{
	assert(nheld < HELD_MAX); /* I1 */
	held[nheld++] = lock;
}

static void forget(const struct tide_lock *lock)
{
	size_t i = nheld;

	while (i && held[i - 1] != lock)
		i--;
	if (!i)
		complain(lock, "released, but not held", NULL);
	for (; i < nheld; i++)
		held[i - 1] = held[i];
	nheld--;
}

void tide_lock_assert_held(const struct tide_lock *lock)
{
	for (size_t i = 0; i < nheld; i++) {
		if (held[i] == lock)
			return;
	}
	complain(lock, "is not held", NULL);
}

void tide_lock_assert_none(void)
{
	if (nheld)
		complain(NULL, "must not be held here, but so is",
			 held[nheld - 1]);
}

static void set_rank(struct tide_lock *lock, enum tide_lock_rank rank)
{
	assert(rank >= TIDE_RANK_SPACE_SLOTS && rank <= TIDE_RANK_VM);
	lock->rank = rank;
}

#else

static inline void check_order(const struct tide_lock *lock)
{
	(void)lock;
}

static inline void remember(const struct tide_lock *lock)
{
	(void)lock;
}

static inline void forget(const struct tide_lock *lock)
{
	(void)lock;
}

static inline void set_rank(struct tide_lock *lock, enum tide_lock_rank rank)
{
	(void)lock;
	(void)rank;
}

void tide_lock_assert_held(const struct tide_lock *lock)
{
	(void)lock;
}

void tide_lock_assert_none(void)
{
}
#endif

int tide_lock_init(struct tide_lock *lock, enum tide_lock_rank rank)
{
	set_rank(lock, rank);
	return -pthread_mutex_init(&lock->mutex, NULL);
}

void tide_lock_fini(struct tide_lock *lock)
{
	(void)pthread_mutex_destroy(&lock->mutex); /* nobody holds it */
}

/* The four that follow are what the analysis takes for granted elsewhere. */

void tide_lock_acquire(struct tide_lock *lock) TIDE_UNCHECKED
{
	check_order(lock);
	(void)pthread_mutex_lock(&lock->mutex); /* cannot fail: no options */
	remember(lock);
}

void tide_lock_release(struct tide_lock *lock) TIDE_UNCHECKED
{
	forget(lock);
	(void)pthread_mutex_unlock(&lock->mutex); /* ours */
}

void tide_lock_wait(struct tide_lock *lock, pthread_cond_t *cond)
{
	forget(lock);
	check_order(lock); /* of taking it again */
	(void)pthread_cond_wait(cond, &lock->mutex);
	remember(lock);
}

void tide_lock_wait_until(struct tide_lock *lock, pthread_cond_t *cond,
			  const struct timespec *until)
{
	forget(lock);
	check_order(lock); /* of taking it again */
	/* In time or not: the caller looks at what it waits for. */
	(void)pthread_cond_timedwait(cond, &lock->mutex, until);
	remember(lock);
}
