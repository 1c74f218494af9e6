/* SPDX-License-Identifier: MIT */
/*
 * tlb.c - from the shadow page table into a vCPU's TLB
 *
 * What hardware does on a TLB miss: walk the tables without a lock, see
 * whether the leaf permits the access, set A, and D for a write, and cache the
 * translation.  Runs in guest mode: whoever changes an entry after we read it
 * waits for our next safe point before it relies on the change, so a cached
 * translation is never older than that.
 *
 * Synchronisation
 *   A and D are set by compare-exchange, so never in an entry that has become
 *   something else (K12).
 */
#include "base/bits.h"
#include "base/pause_point.h"
#include "mmu/mmu_internal.h"

bool mmu_walk(const struct mmu_vcpu *vcpu, uint64_t gva, struct spte_walk *walk)
{
	const struct shadow_page *root = vcpu->root;
	spte_t *spt;
	uint32_t level;

	if (!root || (vcpu->format ? !vcpu->format->gva_valid(gva)
				   : gva >> GUEST_PA_BITS))
		return false;
	spt = root->spt;
	for (level = root->role.level;; level--) {
		walk->sptep = &spt[guest_index(gva, level)];
		walk->spte = spte_read(walk->sptep);
		walk->level = level;
		if (!spte_present(walk->spte))
			return false;
		if (spte_is_leaf(walk->spte, level))
			return true;
		spt = (spte_t *)(uintptr_t)spte_address(walk->spte);
	}
}

static bool permitted(const struct mmu_vcpu *vcpu, uint64_t spte,
		      enum tide_access what)
{
	if (what == TIDE_ACCESS_WRITE && !(spte & SPTE_W))
		return false;
	return !vcpu->format || vcpu->format->permits(spte & SPTE_ACCESS, what,
						      vcpu->paging.flags);
}

/* Return: the entry permits it and has its bits. */
static bool touch(const struct mmu_vcpu *vcpu, struct spte_walk *walk,
		  enum tide_access what)
{
	uint64_t bits = what == TIDE_ACCESS_WRITE ? SPTE_A | SPTE_D : SPTE_A;

	for (;;) {
		if (!spte_present(walk->spte) ||
		    !spte_is_leaf(walk->spte, walk->level) ||
		    !permitted(vcpu, walk->spte, what))
			return false;
		if ((walk->spte & bits) == bits)
			return true;
		tide_pause("tlb_fill.read");
		/* Relaxed: what the walk has read it acquired, and until our
		 * next safe point nothing but rights and bits change. */
		if (atomic_compare_exchange_weak_explicit(
			    walk->sptep, &walk->spte, walk->spte | bits,
			    memory_order_relaxed, memory_order_relaxed))
			return true;
	}
}

uint64_t mmu_tlb_fill(struct mmu_vcpu *vcpu, uint64_t gva,
		      enum tide_access what, struct spte_walk *walk)
{
	uint64_t page = gva & ~(uint64_t)(TIDE_PAGE_SIZE - 1);
	uint32_t index = (gva >> TIDE_PAGE_SHIFT) % TIDE_TLB_ENTRIES;
	struct tide_tlb_entry *entry = &vcpu->tlb[what][index];
	uint64_t within, host;

	if (!mmu_walk(vcpu, gva, walk)) {
		walk->spte = 0;
		return 0;
	}
	if (!touch(vcpu, walk, what))
		return 0;
	within = (guest_leaf_pages(walk->level) - 1) * TIDE_PAGE_SIZE;
	host = spte_address(walk->spte) + (page & within);
	entry->tag = page;
	vcpu->tlb_used[what] |= tide_bit(index / TLB_GROUP);
	entry->addend = host - page;
	return host + (gva - page);
}
