/* SPDX-License-Identifier: MIT */
/*
 * clock.h - monotonic nanoseconds
 *
 * In a checking build time stands still: an execution is the same each time
 * (check/explore).
 */
#ifndef TIDE_BASE_CLOCK_H
#define TIDE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#ifdef TIDE_EXPLORE
static inline uint64_t tide_now_ns(void)
{
	return 0;
}
#else
static inline uint64_t tide_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
#endif

#endif
