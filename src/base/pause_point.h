/* SPDX-License-Identifier: MIT */
/*
 * pause_point.h - places where a test can hold a thread up
 *
 * A race is tested by stopping one side in the middle.  With TIDE_CHECKS
 * tide_pause() calls what the test has put into tide_pause_hook; without, it
 * is nothing at all.
 */
#ifndef TIDE_BASE_PAUSE_POINT_H
#define TIDE_BASE_PAUSE_POINT_H

#include "base/atomic.h"

#ifdef TIDE_CHECKS
/* @where: as in the tide_pause() call.  Set while nothing runs. */
extern _Atomic(void (*)(const char *where)) tide_pause_hook;

static inline void tide_pause(const char *where)
{
	/* Relaxed: set before the threads that come here exist. */
	void (*hook)(const char *) =
		atomic_load_explicit(&tide_pause_hook, memory_order_relaxed);

	if (hook)
		hook(where);
}
#else
#define tide_pause(where) ((void)0)
#endif

#endif
