/* SPDX-License-Identifier: MIT */
/*
 * flush_calls.h - futex, errno and clock of a flush, led to models
 *
 * Included ahead of a source by the compiler's -include.  flush_litmus.c has
 * the functions.
 */
#ifndef TIDE_CHECK_FLUSH_CALLS_H
#define TIDE_CHECK_FLUSH_CALLS_H

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#include "base/clock.h"

long flush_futex(void *word, int operation, uint32_t value);
int *flush_errno(void);
uint64_t flush_now_ns(void);
/* How often a waiter looks before it sleeps. */
extern uint32_t flush_spins;

#define syscall(number, word, operation, value, time, second, third) \
	((void)(time), flush_futex((word), (operation), (uint32_t)(value)))
#define tide_now_ns() flush_now_ns()
/* The threads of a program have one thread's local variables. */
#undef errno
#define errno (*flush_errno())
#define FLUSH_SPINS flush_spins

#endif
