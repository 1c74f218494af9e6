/* SPDX-License-Identifier: MIT */
/*
 * spte.h - the entries of the shadow page table, and which may be what
 *
 * A leaf (at level 1, or LARGE at level 2) maps guest pages to a frame:
 *
 *   PRESENT         everything else counts only with it
 *   W               the write runs now; without it, it faults
 *   HOST_WRITABLE   the host lets us write the frame: it is not merged with
 *                   another, the slot is not read-only.  Constant while present
 *   MMU_WRITABLE    W may be set without the mmu_lock: only dirty logging
 *                   took it away.  Not so for shadowed page tables, and for
 *                   pages whose guest entry still lacks its dirty bit
 *   A, D            the page was read or written through this entry
 *   READ .. USER    what the guest's own entries grant (guest_paging.h)
 *   CLAIM           the number, plus 1, of the vCPU that is about to set W
 *                   (fast_fault.c)
 *
 * Legal leaves (HOST, MMU, W): (1,1,1) writable; (1,1,0) protected for dirty
 * logging; (1,0,0) protected because of what the page is; (0,0,0) read-only at
 * the host.  I6: W => MMU_WRITABLE => HOST_WRITABLE.
 *
 * A non-leaf is PRESENT and the address of the next table.
 *
 * Who may change what.  Anything: under the mmu_lock, and by an atomic
 * read-modify-write, because these two run without it: a fast page fault sets
 * CLAIM, and W where the claim still stands; a TLB fill sets A and D (I8,
 * thread 2's third hazard).  MMU_WRITABLE is cleared only under the mmu_lock,
 * with a flush before that is dropped (I7, the second hazard).
 */
#ifndef TIDE_MMU_SPTE_H
#define TIDE_MMU_SPTE_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "mmu/guest_paging.h"

typedef _Atomic uint64_t spte_t;

#define SPTE_PRESENT (1ull << 0)
#define SPTE_W (1ull << 1)
#define SPTE_ACCESS GUEST_ALL /* bits 2, 3, 4 and 8 */
#define SPTE_A (1ull << 5)
#define SPTE_D (1ull << 6)
#define SPTE_LARGE (1ull << 7)
#define SPTE_HOST_WRITABLE (1ull << 9)
#define SPTE_MMU_WRITABLE (1ull << 10)
#define SPTE_ADDRESS 0x0000fffffffff000ull
#define SPTE_CLAIM_SHIFT 48
#define SPTE_CLAIM (0xfffull << SPTE_CLAIM_SHIFT)

#define SPT_ENTRIES GUEST_ENTRIES
#define SPT_LEVELS 4u
#define LARGE_LEVEL 2u
#define LARGE_PAGES GUEST_ENTRIES

static inline bool spte_present(uint64_t spte)
{
	return (spte & SPTE_PRESENT) != 0;
}

static inline bool spte_is_leaf(uint64_t spte, uint32_t level)
{
	return level == 1 || (spte & SPTE_LARGE);
}

/* Host address of the mapped memory, or of the next table. */
static inline uint64_t spte_address(uint64_t spte)
{
	return spte & SPTE_ADDRESS;
}

static inline uint64_t spte_pfn(uint64_t spte)
{
	return (spte & SPTE_ADDRESS) >> TIDE_PAGE_SHIFT;
}

/* I6 */
static inline bool spte_leaf_is_valid(uint64_t spte)
{
	return !((spte & SPTE_W) && !(spte & SPTE_MMU_WRITABLE)) &&
	       !((spte & SPTE_MMU_WRITABLE) && !(spte & SPTE_HOST_WRITABLE)) &&
	       !((spte & SPTE_D) && !(spte & SPTE_HOST_WRITABLE));
}

static inline uint64_t spte_read(const spte_t *sptep)
{
	/* ACQUIRE(spte.read) pairs with RELEASE(spte.publish),
	 * RELEASE(spte.change) and RELEASE(spte.commit): the table behind a
	 * non-leaf, and what belongs to a leaf, is there; the mark of one that
	 * is writable. */
	return atomic_load_explicit(sptep, memory_order_acquire);
}

/* Not present before; under the mmu_lock. */
static inline void spte_publish(spte_t *sptep, uint64_t spte)
{
	/* RELEASE(spte.publish) pairs with ACQUIRE(spte.read) and
	 * ACQUIRE(spte.claim) */
	atomic_store_explicit(sptep, spte, memory_order_release);
}

/* Under the mmu_lock.  Return: the entry as it was, with what others had set
 * in it till then. */
static inline uint64_t spte_exchange(spte_t *sptep, uint64_t spte)
{
	/* Relaxed: a claim that stood is over, by the order of this entry
	 * alone; what is stored after it for who comes next is released
	 * (gfns.set, spte.publish), and a flush follows. */
	return atomic_exchange_explicit(sptep, spte, memory_order_relaxed);
}

/* Under the mmu_lock: take bits away.  Return: the entry as it was. */
static inline uint64_t spte_remove_bits(spte_t *sptep, uint64_t bits)
{
	/* Relaxed: as spte_exchange(); who has taken a mark sees the claim
	 * that came before it, or the commit. */
	return atomic_fetch_and_explicit(sptep, ~bits, memory_order_relaxed);
}

#endif
