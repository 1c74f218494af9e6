/* SPDX-License-Identifier: MIT */
/*
 * atomic.h - the one way to <stdatomic.h>
 *
 * Every atomic of the project comes through here, so that a checking build
 * can put its own definitions in this place (check/explore).  In every other
 * build this is exactly <stdatomic.h>.
 */
#ifndef TIDE_BASE_ATOMIC_H
#define TIDE_BASE_ATOMIC_H

#ifdef TIDE_EXPLORE
#include "check/explore/atomics.h"
#else
#include <stdatomic.h>
#endif

#endif
