/* SPDX-License-Identifier: MIT */
/*
 * relax.h - what a thread does between two looks in a loop that waits
 *
 * A hint to the CPU.  In a checking build the thread goes on only in the
 * executions in which its last look saw what it waits for (check/explore).
 */
#ifndef TIDE_BASE_RELAX_H
#define TIDE_BASE_RELAX_H

#ifdef TIDE_EXPLORE
#include "check/explore/explore.h"

static inline void tide_relax(void)
{
	explore_assume(false);
}
#else
static inline void tide_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}
#endif

#endif
