/* SPDX-License-Identifier: MIT */
/*
 * rcu.h - liburcu, the flavour that asks nothing of the caller's threads
 *
 * urcu-bp registers a thread on its first read lock.  Pointers are published
 * and read with C11 atomics, so that the compiler and ThreadSanitizer see
 * them; liburcu gives the grace periods.  ThreadSanitizer does not see those,
 * because liburcu is not instrumented: the annotations tell it.
 */
#ifndef TIDE_BASE_RCU_H
#define TIDE_BASE_RCU_H

#ifdef TIDE_EXPLORE
#include "check/shim/rcu_model.h"
#else

#if defined(__SANITIZE_THREAD__)
#define TIDE_TSAN 1
#elif defined(__SANITIZE_ADDRESS__)
#define TIDE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TIDE_TSAN 1
#elif __has_feature(address_sanitizer)
#define TIDE_ASAN 1
#endif
#endif

/* The project's licence allows the inline form.  Two do without it: clang's
 * analyser does not see that a registered thread has a reader, and UBSan
 * (built with ASan) sees that liburcu 0.13 misaligns it. */
#if !defined(TIDE_ASAN) && !defined(__clang_analyzer__)
#define _LGPL_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-dcl*) */
#endif
#include <urcu/urcu-bp.h>

#ifdef TIDE_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#endif

/* @tag: an address that readers and updaters of one structure share, and that
 * is no lock's or atomic's: ThreadSanitizer would take their releases for the
 * readers'. */
static inline void tide_rcu_lock(void)
{
	urcu_bp_read_lock();
}

static inline void tide_rcu_unlock(void *tag)
{
#ifdef TIDE_TSAN
	__tsan_release(tag);
#else
	(void)tag;
#endif
	urcu_bp_read_unlock();
}

/* Every read section that could have seen the old pointer is over. */
static inline void tide_rcu_wait(void *tag)
{
	urcu_bp_synchronize_rcu();
#ifdef TIDE_TSAN
	__tsan_acquire(tag);
#else
	(void)tag;
#endif
}

#endif /* !TIDE_EXPLORE */
#endif
