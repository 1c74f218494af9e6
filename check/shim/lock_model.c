/* SPDX-License-Identifier: MIT */
/*
 * lock_model.c - the project's mutexes under the explorer (base/lock.h)
 *
 * A wait on a condition gives the lock up and takes it again.  Whoever waits
 * in a loop comes back at most once: the executions in which it would wait
 * again are those in which another thread's change comes later, and those are
 * explored with the first wait.
 */
#include "base/lock.h"

#include "explore.h"

static struct explore_mutex *mutex_of(const struct tide_lock *lock)
{
	return (struct explore_mutex *)(uintptr_t)&lock->mutex;
}

int tide_lock_init(struct tide_lock *lock, enum tide_lock_rank rank)
{
	(void)rank;
	mutex_of(lock)->word = 0;
	return 0;
}

void tide_lock_fini(struct tide_lock *lock)
{
	(void)lock;
}

void tide_lock_acquire(struct tide_lock *lock)
{
	explore_lock(mutex_of(lock), "tide_lock_acquire");
}

void tide_lock_release(struct tide_lock *lock)
{
	explore_unlock(mutex_of(lock), "tide_lock_release");
}

void tide_lock_wait(struct tide_lock *lock, pthread_cond_t *cond)
{
	(void)cond;
	tide_lock_release(lock);
	tide_lock_acquire(lock);
}

void tide_lock_assert_held(const struct tide_lock *lock)
{
	(void)lock;
}

void tide_lock_assert_none(void)
{
}
