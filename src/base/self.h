/* SPDX-License-Identifier: MIT */
/* self.h - a number for the calling thread; never 0 */
#ifndef TIDE_BASE_SELF_H
#define TIDE_BASE_SELF_H

#include <stdint.h>

#ifdef TIDE_EXPLORE
#include "check/explore/explore.h"

static inline uintptr_t tide_self(void)
{
	return explore_self() + 1u;
}
#else
#include <pthread.h>

static inline uintptr_t tide_self(void)
{
	return (uintptr_t)pthread_self();
}
#endif

#endif
