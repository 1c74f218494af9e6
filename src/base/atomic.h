/* SPDX-License-Identifier: MIT */
/*
 * atomic.h - the one way to <stdatomic.h>
 *
 * Every atomic of the project comes through here, so that a checking build
 * can put its own definitions in this place (check/explore).  In every other
 * build this is exactly <stdatomic.h> (tests/house/atomic_object_test.py).
 */
#ifndef TIDE_BASE_ATOMIC_H
#define TIDE_BASE_ATOMIC_H

#ifdef TIDE_EXPLORE
#include "check/explore/atomics.h"
#else
#include <stdatomic.h>
#endif

/* It makes the same of a compare-exchange with release, which we have, as of
 * a relaxed one: the order of the failure decides there about the fence. */
#if defined(__riscv) && !defined(__clang__) && \
	__GNUC__ * 100 + __GNUC_MINOR__ < 1303
#error "gcc before 13.3 leaves out memory order on RISC-V; clang 14 does not"
#endif

#endif
