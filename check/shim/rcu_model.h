/* SPDX-License-Identifier: MIT */
/*
 * rcu_model.h - what base/rcu.h leads to in a checking build
 *
 * RCU's promise and nothing beyond it: a reading section is over when a grace
 * period ends, or it sees what was done before the grace period began.
 *
 * Each thread counts in a word of its own how often it went in and out.  A
 * grace period adds nothing to each word, so that a section comes either
 * before that or after it; in executions in which it would fall into the
 * middle of one it comes later as well, and those are enough.  There is no
 * full fence in it, and two readers do not order each other: liburcu may
 * happen to do both, and a program must not need it.
 */
#ifndef TIDE_CHECK_RCU_MODEL_H
#define TIDE_CHECK_RCU_MODEL_H

#include "explore.h"

/* Odd: the thread is in a section. */
extern uint32_t rcu_model_count[EXPLORE_THREADS_MAX];
extern uint32_t rcu_model_depth[EXPLORE_THREADS_MAX]; /* the thread's own */

/* In a program's init. */
void rcu_model_init(void);

static inline void tide_rcu_lock(void)
{
	uint32_t self = explore_self();

	if (!rcu_model_depth[self]++)
		(void)explore_rmw(&rcu_model_count[self], 4, EXPLORE_ADD, 1,
				  __ATOMIC_ACQUIRE, "rcu_lock");
}

static inline void tide_rcu_unlock(void *tag)
{
	uint32_t self = explore_self();

	(void)tag;
	if (!--rcu_model_depth[self])
		(void)explore_rmw(&rcu_model_count[self], 4, EXPLORE_ADD, 1,
				  __ATOMIC_RELEASE, "rcu_unlock");
}

void tide_rcu_wait(void *tag);

#endif
