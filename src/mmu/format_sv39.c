/* SPDX-License-Identifier: MIT */
/*
 * format_sv39.c - RISC-V Sv39 page tables
 *
 * Reference: The RISC-V Instruction Set Manual, volume II (privileged), 4.3.2
 * "Virtual Address Translation Process" and 4.4 "Sv39".
 *
 * Modelled: V, R, W, X, U, A, D and the reserved bits of a hart with Svadu
 * (hardware sets A and D) and without Svnapot and Svpbmt.  Only a leaf grants
 * or denies.  G and the bits for software change nothing.
 */
#include "mmu/guest_paging.h"

#define PTE_V (1ull << 0)
#define PTE_R (1ull << 1)
#define PTE_W (1ull << 2)
#define PTE_X (1ull << 3)
#define PTE_U (1ull << 4)
#define PTE_A (1ull << 6)
#define PTE_D (1ull << 7)
#define PTE_PPN_SHIFT 10

/* Bits [first, end). */
#define BITS(first, end) ((1ull << (end)) - (1ull << (first)))

/* A PPN as wide as the guest's physical addresses; what is above it is
 * reserved, or an address that no guest has. */
#define PTE_PPN BITS(PTE_PPN_SHIFT, PTE_PPN_SHIFT + GUEST_PA_BITS - 12)
#define PTE_BEYOND_PPN (~0ull << (PTE_PPN_SHIFT + GUEST_PA_BITS - 12))

#define SCAUSE_FETCH_PAGE_FAULT 12u
#define SCAUSE_LOAD_PAGE_FAULT 13u
#define SCAUSE_STORE_PAGE_FAULT 15u

static bool sv39_gva_valid(uint64_t gva)
{
	uint64_t top = gva >> 38;

	return top == 0 || top == BITS(0, 26);
}

static bool is_leaf(uint64_t entry)
{
	return entry & (PTE_R | PTE_X);
}

static bool is_reserved(uint64_t entry, uint32_t level)
{
	if (entry & PTE_BEYOND_PPN)
		return true;
	if ((entry & PTE_W) && !(entry & PTE_R))
		return true;
	if (!is_leaf(entry)) /* the last level has no next one */
		return level == 1 || (entry & (PTE_A | PTE_D | PTE_U));
	/* A superpage lies on a multiple of its size. */
	return entry & BITS(PTE_PPN_SHIFT,
			    PTE_PPN_SHIFT + GUEST_INDEX_BITS * (level - 1));
}

static struct gpte sv39_read(uint64_t entry, uint32_t level, uint32_t flags)
{
	struct gpte gpte = { .kind = GPTE_NOT_PRESENT };

	(void)flags; /* none of them changes what an entry means */
	if (!(entry & PTE_V))
		return gpte;
	if (is_reserved(entry, level)) {
		gpte.kind = GPTE_RESERVED;
		return gpte;
	}
	gpte.gfn = (entry & PTE_PPN) >> PTE_PPN_SHIFT;
	if (!is_leaf(entry)) {
		gpte.kind = GPTE_TABLE;
		gpte.access = GUEST_ALL;
		gpte.accessed = true;
		return gpte;
	}
	gpte.kind = GPTE_LEAF;
	if (entry & PTE_R)
		gpte.access |= GUEST_READ;
	if (entry & PTE_W)
		gpte.access |= GUEST_WRITE;
	if (entry & PTE_X)
		gpte.access |= GUEST_EXEC;
	if (entry & PTE_U)
		gpte.access |= GUEST_USER;
	gpte.accessed = entry & PTE_A;
	gpte.dirty = entry & PTE_D;
	return gpte;
}

static uint64_t sv39_mark(uint64_t entry, uint32_t level, bool dirty)
{
	(void)level; /* the entry says itself whether it is a leaf */
	if (!is_leaf(entry))
		return entry;
	return entry | PTE_A | (dirty ? PTE_D : 0);
}

static bool sv39_permits(uint64_t access, enum tide_access what, uint32_t flags)
{
	bool user_page = access & GUEST_USER;

	if (flags & TIDE_PAGING_USER) {
		if (!user_page)
			return false;
	} else if (user_page &&
		   (what == TIDE_ACCESS_FETCH || !(flags & TIDE_PAGING_SUM))) {
		return false; /* S-mode never executes a user's page */
	}
	if (what == TIDE_ACCESS_WRITE)
		return access & GUEST_WRITE;
	if (what == TIDE_ACCESS_FETCH)
		return access & GUEST_EXEC;
	return (access & GUEST_READ) ||
	       ((flags & TIDE_PAGING_MXR) && (access & GUEST_EXEC));
}

static uint32_t sv39_fault_code(enum tide_access what, uint32_t flags,
				bool present, bool reserved)
{
	(void)flags;
	(void)present;
	(void)reserved;
	if (what == TIDE_ACCESS_WRITE)
		return SCAUSE_STORE_PAGE_FAULT;
	if (what == TIDE_ACCESS_FETCH)
		return SCAUSE_FETCH_PAGE_FAULT;
	return SCAUSE_LOAD_PAGE_FAULT;
}

const struct paging_format paging_sv39 = {
	.mode = TIDE_PAGING_SV39,
	.levels = 3,
	.gva_valid = sv39_gva_valid,
	.read = sv39_read,
	.mark = sv39_mark,
	.permits = sv39_permits,
	.fault_code = sv39_fault_code,
};
