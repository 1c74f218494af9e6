/* SPDX-License-Identifier: MIT */
/*
 * rcu_model.h - what base/rcu.h leads to in a checking build
 *
 * liburcu's promise, by the simplest algorithm that keeps it: a reader raises
 * a flag of its own, and a grace period waits until each flag was seen down.
 * With the fences: a reading section that is not over when a grace period
 * begins is over when it ends, or sees what was done before it began.
 */
#ifndef TIDE_CHECK_RCU_MODEL_H
#define TIDE_CHECK_RCU_MODEL_H

#include "explore.h"

extern uint32_t rcu_model_reading[EXPLORE_THREADS_MAX];

/* In a program's init. */
void rcu_model_init(void);

static inline void tide_rcu_lock(void)
{
	explore_store(&rcu_model_reading[explore_self()], 4, 1,
		      __ATOMIC_RELAXED, "rcu_lock");
	explore_fence(__ATOMIC_SEQ_CST, "rcu_lock");
}

static inline void tide_rcu_unlock(void *tag)
{
	(void)tag;
	explore_store(&rcu_model_reading[explore_self()], 4, 0,
		      __ATOMIC_RELEASE, "rcu_unlock");
}

void tide_rcu_wait(void *tag);

#endif
