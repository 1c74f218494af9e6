/* SPDX-License-Identifier: MIT */
/*
 * format_x86.c - x86-64 four-level page tables
 *
 * Reference: Intel SDM volume 3, chapter 4, "Paging": 4.5 (four-level paging
 * and the entries' formats), 4.6 (access rights), 4.7 (page-fault error code),
 * 4.8 (accessed and dirty).
 *
 * Modelled: P, R/W, U/S, A, D, PS, NX, and the reserved bits of a processor
 * with MAXPHYADDR = GUEST_PA_BITS.  PWT, PCD, PAT and G do not change what an
 * access may do; protection keys are off, so that their bits are ignored.
 */
#include "mmu/guest_paging.h"

#define PTE_P (1ull << 0)
#define PTE_RW (1ull << 1)
#define PTE_US (1ull << 2)
#define PTE_A (1ull << 5)
#define PTE_D (1ull << 6)
#define PTE_PS (1ull << 7) /* levels 2 and 3; PAT at level 1 */
#define PTE_NX (1ull << 63)

/* Bits [first, end). */
#define BITS(first, end) ((1ull << (end)) - (1ull << (first)))

#define PTE_ADDRESS BITS(12, GUEST_PA_BITS)
/* Of an entry at any level; bits 52 and up are ignored, but for NX. */
#define PTE_BEYOND_PA BITS(GUEST_PA_BITS, 52)
#define PTE_LARGE_PAT (1ull << 12)

#define PFEC_P (1u << 0)
#define PFEC_WR (1u << 1)
#define PFEC_US (1u << 2)
#define PFEC_RSVD (1u << 3)
#define PFEC_ID (1u << 4)

static bool x86_gva_valid(uint64_t gva)
{
	uint64_t top = gva >> 47;

	return top == 0 || top == BITS(0, 17);
}

/* The bits below the address of a page that a leaf at @level maps. */
static uint64_t offset_mask(uint32_t level)
{
	return BITS(12, 12 + GUEST_INDEX_BITS * (level - 1));
}

static uint64_t reserved_bits(uint64_t entry, uint32_t level, uint32_t flags)
{
	uint64_t reserved = PTE_BEYOND_PA;

	if (!(flags & TIDE_PAGING_NX))
		reserved |= PTE_NX;
	if (level == 4)
		reserved |= PTE_PS;
	else if (level > 1 && (entry & PTE_PS))
		reserved |= offset_mask(level) & ~PTE_LARGE_PAT;
	return reserved;
}

static struct gpte x86_read(uint64_t entry, uint32_t level, uint32_t flags)
{
	struct gpte gpte = { .kind = GPTE_NOT_PRESENT };

	if (!(entry & PTE_P))
		return gpte;
	if (entry & reserved_bits(entry, level, flags)) {
		gpte.kind = GPTE_RESERVED;
		return gpte;
	}

	uint64_t address = entry & PTE_ADDRESS;
	bool leaf = level == 1 || (entry & PTE_PS);

	gpte.kind = leaf ? GPTE_LEAF : GPTE_TABLE;
	gpte.gfn = (leaf ? address & ~offset_mask(level) : address) >> 12;
	gpte.access = GUEST_READ;
	if (entry & PTE_RW)
		gpte.access |= GUEST_WRITE;
	if (entry & PTE_US)
		gpte.access |= GUEST_USER;
	if (!(entry & PTE_NX)) /* reserved without TIDE_PAGING_NX: 0 by now */
		gpte.access |= GUEST_EXEC;
	gpte.accessed = entry & PTE_A;
	gpte.dirty = leaf && (entry & PTE_D);
	return gpte;
}

static uint64_t x86_mark(uint64_t entry, uint32_t level, bool dirty)
{
	(void)level; /* the bits are in the same place at each */
	return entry | PTE_A | (dirty ? PTE_D : 0);
}

static bool user_permits(uint64_t access, enum tide_access what)
{
	if (!(access & GUEST_USER))
		return false;
	if (what == TIDE_ACCESS_WRITE)
		return access & GUEST_WRITE;
	if (what == TIDE_ACCESS_FETCH)
		return access & GUEST_EXEC;
	return true;
}

static bool supervisor_permits(uint64_t access, enum tide_access what,
			       uint32_t flags)
{
	bool user_page = access & GUEST_USER;

	if (what == TIDE_ACCESS_FETCH)
		return (access & GUEST_EXEC) &&
		       !(user_page && (flags & TIDE_PAGING_SMEP));
	if (user_page && (flags & TIDE_PAGING_SMAP))
		return false;
	if (what == TIDE_ACCESS_WRITE)
		return (access & GUEST_WRITE) || !(flags & TIDE_PAGING_WP);
	return true;
}

static bool x86_permits(uint64_t access, enum tide_access what, uint32_t flags)
{
	return flags & TIDE_PAGING_USER
		       ? user_permits(access, what)
		       : supervisor_permits(access, what, flags);
}

static uint32_t x86_fault_code(enum tide_access what, uint32_t flags,
			       bool present, bool reserved)
{
	uint32_t code = 0;

	if (present || reserved)
		code |= PFEC_P;
	if (what == TIDE_ACCESS_WRITE)
		code |= PFEC_WR;
	if (flags & TIDE_PAGING_USER)
		code |= PFEC_US;
	if (reserved)
		code |= PFEC_RSVD;
	/* Not told apart from a read by a processor that can forbid no
	 * fetches. */
	if (what == TIDE_ACCESS_FETCH &&
	    (flags & (TIDE_PAGING_NX | TIDE_PAGING_SMEP)))
		code |= PFEC_ID;
	return code;
}

const struct paging_format paging_x86_64 = {
	.mode = TIDE_PAGING_X86_64,
	.levels = 4,
	.gva_valid = x86_gva_valid,
	.read = x86_read,
	.mark = x86_mark,
	.permits = x86_permits,
	.fault_code = x86_fault_code,
};
