/* SPDX-License-Identifier: MIT */
/*
 * lock_model.c - the project's mutexes under the explorer (base/lock.h)
 *
 * A wait on a condition gives the lock up and takes it again after another
 * thread has had it; before that nothing can have changed.  So a loop that
 * waits goes round no more often than others take the lock.
 */
#include "base/lock.h"

#include "explore.h"

/* In the room of a pthread_mutex_t. */
struct mutex {
	struct explore_mutex mutex;
	uint32_t owner; /* who had it last */
};
_Static_assert(sizeof(struct mutex) <= sizeof(pthread_mutex_t), "no room");

static struct mutex *mutex_of(const struct tide_lock *lock)
{
	return (struct mutex *)(uintptr_t)&lock->mutex;
}

int tide_lock_init(struct tide_lock *lock, enum tide_lock_rank rank)
{
	(void)rank;
	mutex_of(lock)->mutex.word = 0;
	return 0;
}

void tide_lock_fini(struct tide_lock *lock)
{
	(void)lock;
}

static void become_owner(struct mutex *mutex)
{
	explore_touch(&mutex->owner, sizeof(mutex->owner), true,
		      __builtin_return_address(0));
	mutex->owner = explore_self();
}

void tide_lock_acquire(struct tide_lock *lock)
{
	explore_lock(&mutex_of(lock)->mutex, "tide_lock_acquire");
	become_owner(mutex_of(lock));
}

void tide_lock_release(struct tide_lock *lock)
{
	explore_unlock(&mutex_of(lock)->mutex, "tide_lock_release");
}

void tide_lock_wait(struct tide_lock *lock, pthread_cond_t *cond)
{
	(void)cond;
	tide_lock_release(lock);
	explore_lock(&mutex_of(lock)->mutex, "tide_lock_wait");
	explore_assume(mutex_of(lock)->owner != explore_self());
	become_owner(mutex_of(lock));
}

void tide_lock_assert_held(const struct tide_lock *lock)
{
	(void)lock;
}

void tide_lock_assert_none(void)
{
}
