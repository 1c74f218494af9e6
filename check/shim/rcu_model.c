/* SPDX-License-Identifier: MIT */
/* rcu_model.c - grace periods under the explorer; see rcu_model.h */
#include "rcu_model.h"

#include <string.h>

uint32_t rcu_model_reading[EXPLORE_THREADS_MAX];

void rcu_model_init(void)
{
	memset(rcu_model_reading, 0, sizeof(rcu_model_reading));
}

void tide_rcu_wait(void *tag)
{
	(void)tag;
	explore_fence(__ATOMIC_SEQ_CST, "rcu_wait");
	for (uint32_t i = 0; i < EXPLORE_THREADS_MAX; i++) {
		if (i != explore_self())
			explore_assume(!explore_load(&rcu_model_reading[i], 4,
						     __ATOMIC_ACQUIRE,
						     "rcu_wait"));
	}
	explore_fence(__ATOMIC_SEQ_CST, "rcu_wait");
}
