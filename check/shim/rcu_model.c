/* SPDX-License-Identifier: MIT */
/* rcu_model.c - grace periods under the explorer; see rcu_model.h */
#include "rcu_model.h"

#include <string.h>

uint32_t rcu_model_count[EXPLORE_THREADS_MAX];
uint32_t rcu_model_depth[EXPLORE_THREADS_MAX];

void rcu_model_init(void)
{
	memset(rcu_model_count, 0, sizeof(rcu_model_count));
	memset(rcu_model_depth, 0, sizeof(rcu_model_depth));
}

void tide_rcu_wait(void *tag)
{
	(void)tag;
	for (uint32_t i = 0; i < explore_threads(); i++) {
		uint64_t count;

		if (i == explore_self())
			continue;
		/* Release: what was done before is for sections that follow.
		 * To acquire here would order readers with each other. */
		count = explore_rmw(&rcu_model_count[i], 4, EXPLORE_ADD, 0,
				    __ATOMIC_RELEASE, "rcu_wait");
		explore_assume(!(count & 1));
	}
	explore_fence(__ATOMIC_ACQUIRE, "rcu_wait");
}
