/* SPDX-License-Identifier: MIT */
/*
 * lock.h - mutexes with a place in the order, which debug builds assert
 *
 * Every lock of the project is one of these, or its card in docs/locking.md
 * says why not.  With TIDE_CHECKS (meson -Dchecks=true) a thread remembers
 * what it holds: taking a lock whose rank is not higher than that of every
 * lock it has, releasing one it has not, and tide_lock_assert_held() of one it
 * does not hold, abort with the names of both.  Without, it is a
 * pthread_mutex_t and nothing else.
 */
#ifndef TIDE_BASE_LOCK_H
#define TIDE_BASE_LOCK_H

#include <pthread.h>
#include <time.h>

/* Outermost first; docs/locking.md has the cards. */
enum tide_lock_rank {
	TIDE_RANK_SPACE_SLOTS = 1, /* tide_space.slots_lock */
	TIDE_RANK_MMU_SLOTS,	   /* tide_mmu.slots_lock */
	TIDE_RANK_MMU_TURN,	   /* tide_mmu.turn_lock */
	TIDE_RANK_BACKING,	   /* tide_backing.lock */
	TIDE_RANK_MMU,		   /* tide_mmu.mmu_lock */
	TIDE_RANK_VM,		   /* tide_vm.lock: a leaf */
	TIDE_RANK_SIGSEGV,	   /* sigsegv.c's all.lock: a leaf */
};

#ifdef __clang__
#define TIDE_CAPABILITY __attribute__((capability("mutex")))
#define TIDE_ACQUIRES(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define TIDE_RELEASES(...) __attribute__((release_capability(__VA_ARGS__)))
#define TIDE_MUST_HOLD(...) __attribute__((requires_capability(__VA_ARGS__)))
#define TIDE_ASSERTS(...) __attribute__((assert_capability(__VA_ARGS__)))
#define TIDE_UNCHECKED __attribute__((no_thread_safety_analysis))
#else
#define TIDE_CAPABILITY
#define TIDE_ACQUIRES(...)
#define TIDE_RELEASES(...)
#define TIDE_MUST_HOLD(...)
#define TIDE_ASSERTS(...)
#define TIDE_UNCHECKED
#endif

struct TIDE_CAPABILITY tide_lock {
	pthread_mutex_t mutex;
#ifdef TIDE_CHECKS
	enum tide_lock_rank rank;
#endif
};

#ifdef TIDE_CHECKS
#define TIDE_LOCK_INITIALIZER(its_rank)                                \
	{                                                              \
		.mutex = PTHREAD_MUTEX_INITIALIZER, .rank = (its_rank) \
	}
#else
#define TIDE_LOCK_INITIALIZER(its_rank)            \
	{                                          \
		.mutex = PTHREAD_MUTEX_INITIALIZER \
	}
#endif

/* Return: 0; -ENOMEM and such. */
int tide_lock_init(struct tide_lock *lock, enum tide_lock_rank rank);
void tide_lock_fini(struct tide_lock *lock);
void tide_lock_acquire(struct tide_lock *lock) TIDE_ACQUIRES(*lock);
void tide_lock_release(struct tide_lock *lock) TIDE_RELEASES(*lock);
/* Gives the lock up while it waits; the caller has it again afterwards. */
void tide_lock_wait(struct tide_lock *lock, pthread_cond_t *cond)
	TIDE_MUST_HOLD(*lock);
/* The same, no longer than @until of the clock that @cond was made with; the
 * caller looks for itself whether what it waits for has come. */
void tide_lock_wait_until(struct tide_lock *lock, pthread_cond_t *cond,
			  const struct timespec *until) TIDE_MUST_HOLD(*lock);

/* The calling thread holds @lock.  Says nothing without TIDE_CHECKS. */
void tide_lock_assert_held(const struct tide_lock *lock) TIDE_ASSERTS(*lock);
/* It holds none at all. */
void tide_lock_assert_none(void);

#endif
