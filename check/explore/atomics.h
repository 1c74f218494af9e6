/* SPDX-License-Identifier: MIT */
/*
 * atomics.h - what base/atomic.h leads to in a checking build
 *
 * The shipped code's atomic_*_explicit() become events of the explorer.  Only
 * the forms that the project uses are here; an implicit order does not
 * compile.
 *
 * Two fences stand for one of the processor's each: a compiler fence and a
 * membarrier(2), of which base/fence.h makes an asymmetric pair, count as the
 * full fences that the pair amounts to.
 */
#ifndef TIDE_CHECK_ATOMICS_H
#define TIDE_CHECK_ATOMICS_H

#include <stdatomic.h>

#include "explore.h"

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#undef atomic_fetch_xor_explicit
#undef atomic_thread_fence
#undef atomic_signal_fence

/* The type behind an atomic pointer, without _Atomic: a comma's right side
 * has no qualifiers. */
#define EXPLORE_TYPE(at) __typeof__((void)0, *(at))

#define EXPLORE_FROM(type, bits_)                               \
	({                                                      \
		uint64_t explore_bits = (bits_);                \
		type explore_value;                             \
                                                                \
		__builtin_memcpy(&explore_value, &explore_bits, \
				 sizeof(explore_value));        \
		explore_value;                                  \
	})
#define EXPLORE_BITS(type, value_)                              \
	({                                                      \
		type explore_given = (value_);                  \
		uint64_t explore_bits = 0;                      \
                                                                \
		__builtin_memcpy(&explore_bits, &explore_given, \
				 sizeof(explore_given));        \
		explore_bits;                                   \
	})
#define EXPLORE_PLACE(at) ((volatile void *)(uintptr_t)(at))

#define atomic_load_explicit(at, order)                                        \
	EXPLORE_FROM(EXPLORE_TYPE(at),                                         \
		     explore_load(EXPLORE_PLACE(at), sizeof(EXPLORE_TYPE(at)), \
				  (order), EXPLORE_HERE))
#define atomic_store_explicit(at, value, order)                       \
	explore_store(EXPLORE_PLACE(at), sizeof(EXPLORE_TYPE(at)),    \
		      EXPLORE_BITS(EXPLORE_TYPE(at), value), (order), \
		      EXPLORE_HERE)
#define EXPLORE_RMW(at, op, value, order)                                     \
	EXPLORE_FROM(EXPLORE_TYPE(at),                                        \
		     explore_rmw(EXPLORE_PLACE(at), sizeof(EXPLORE_TYPE(at)), \
				 (op), EXPLORE_BITS(EXPLORE_TYPE(at), value), \
				 (order), EXPLORE_HERE))
#define atomic_exchange_explicit(at, value, order) \
	EXPLORE_RMW(at, EXPLORE_EXCHANGE, value, order)
#define atomic_fetch_add_explicit(at, value, order) \
	EXPLORE_RMW(at, EXPLORE_ADD, value, order)
#define atomic_fetch_sub_explicit(at, value, order) \
	EXPLORE_RMW(at, EXPLORE_SUB, value, order)
#define atomic_fetch_or_explicit(at, value, order) \
	EXPLORE_RMW(at, EXPLORE_OR, value, order)
#define atomic_fetch_and_explicit(at, value, order) \
	EXPLORE_RMW(at, EXPLORE_AND, value, order)
#define atomic_fetch_xor_explicit(at, value, order) \
	EXPLORE_RMW(at, EXPLORE_XOR, value, order)
/* A weak one that fails for no reason is tried again by its caller, and does
 * nothing that a strong one does not. */
#define atomic_compare_exchange_weak_explicit \
	atomic_compare_exchange_strong_explicit
#define atomic_compare_exchange_strong_explicit(at, expected, desired, order, \
						failure)                      \
	explore_cas(EXPLORE_PLACE(at), sizeof(EXPLORE_TYPE(at)), (expected),  \
		    EXPLORE_BITS(EXPLORE_TYPE(at), desired), (order),         \
		    (failure), EXPLORE_HERE)
#define atomic_thread_fence(order) explore_fence((order), EXPLORE_HERE)
#define atomic_signal_fence(order) explore_fence((order), EXPLORE_HERE)

#endif
