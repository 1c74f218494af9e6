/* SPDX-License-Identifier: MIT */
/*
 * fast_fault.c - repair a write-protect fault without the mmu_lock
 *
 * Theory of operation
 * -------------------
 * Dirty logging took W from an entry and left MMU_WRITABLE: the write is
 * allowed, it only has to be written down.  Thread 2 does it with one
 * compare-exchange and marks afterwards.  That leaves two windows.  Between
 * the two, another vCPU can write through the entry, and a harvest does not
 * find the page.  And on an entry that shadows a guest's table, the gfn that
 * is marked may not be the one that the entry maps when it becomes writable
 * (the ABA of thread 2): the frame was given to another gfn meanwhile, and the
 * entry looks the same.
 *
 * So it takes two compare-exchanges here:
 *
 *   claim    the entry, as read  ->  the same with our vCPU's number
 *   gfn      of the entry: whatever it maps, it maps it as long as the claim
 *            stands
 *   pin      indirect pages on a backing: the gfn keeps its frame (thread 2's
 *            gfn_to_pfn_atomic); the swapper leaves it alone
 *   mark     the gfn is dirty
 *   commit   the entry, claimed by us  ->  W, A and D, and no claim
 *
 * Everybody who changes an entry drops a claim: GET and CLEAR when they
 * protect (protect.c), zap, another vCPU's claim.  Then the commit fails and we
 * begin again.  Only we can make a claim with our number, so there is no ABA.
 * The pin alone would not do: two gfns may have one frame lawfully, by two
 * slots on the same memory.
 *
 * Why mark before commit loses nothing: a GET that takes our mark protects the
 * entry after that, sees the claim, and drops it.  So W => the bit is set (I1).
 *
 * A large leaf of a logged slot is never made writable (K14): one mark says
 * nothing about 511 other pages.  At most RETRIES times (K29), then the slow
 * path has it.
 *
 * Synchronisation
 *   spte.publish  -> spte.claim: the leaf's gfn.
 *   spte.commit   the mark -> spte.read, by whoever writes through the entry.
 *   The claim itself is seen by whoever takes the mark, since it comes before
 *   that, and is dropped or committed in the entry's order of modification.
 */
#include "base/pause_point.h"
#include "mmu/mmu_internal.h"

#define RETRIES 5u

enum repair {
	REPAIR_DONE,
	REPAIR_AGAIN, /* the entry changed */
	REPAIR_SLOW
};

static bool commit(spte_t *sptep, uint64_t claimed)
{
	uint64_t writable = (claimed & ~SPTE_CLAIM) | SPTE_W | SPTE_A | SPTE_D;

	tide_pause("fast_fault.commit");
	/* RELEASE(spte.commit) pairs with ACQUIRE(spte.read): who writes by it
	 * comes after the mark.  It reads our own claim, or fails.  Relaxed on
	 * failure: everything is looked at again. */
	return atomic_compare_exchange_strong_explicit(
		sptep, &claimed, writable, memory_order_release,
		memory_order_relaxed);
}

/* The entry is claimed, with the value @claimed. */
static enum repair mark_and_commit(struct mmu_vcpu *vcpu,
				   const struct spte_walk *walk,
				   uint64_t claimed)
{
	struct tide_mmu *mmu = vcpu->mmu;
	const struct shadow_page *sp = sp_of(walk->sptep);
	uint64_t gfn = sp_leaf_gfn(sp, sp_index(walk->sptep)), base, page;
	struct mmu_slot *slot =
		mmu_slot_at(mmu, sp->role.address_space, gfn, &base);
	bool pinned = false;
	enum repair repair;

	if (!slot)
		return REPAIR_SLOW;
	if (walk->level > 1 && (mmu_slot_flags(slot) & MMU_REGION_LOG))
		return REPAIR_SLOW;
	page = gfn - base;
	if (!sp->role.direct && slot->backed) {
		pinned = backing_pin(mmu->config.backing,
				     slot->host + page * TIDE_PAGE_SIZE,
				     spte_pfn(claimed));
		if (!pinned)
			return REPAIR_SLOW;
	}
	tide_pause("fast_fault.claimed");
	mmu_mark_dirty(mmu, vcpu, slot, page);
	repair = commit(walk->sptep, claimed) ? REPAIR_DONE : REPAIR_AGAIN;
	if (pinned)
		backing_put(mmu->config.backing, spte_pfn(claimed));
	return repair;
}

static enum repair repair(struct mmu_vcpu *vcpu, struct spte_walk *walk)
{
	uint64_t claimed = (walk->spte & ~SPTE_CLAIM) |
			   (uint64_t)(vcpu->number + 1) << SPTE_CLAIM_SHIFT;

	tide_pause("fast_fault.read");
	/* ACQUIRE(spte.claim) pairs with RELEASE(spte.publish): the gfn of the
	 * leaf that is claimed, which need not be the one that was read.
	 * Relaxed on failure: everything is looked at again. */
	if (!atomic_compare_exchange_strong_explicit(
		    walk->sptep, &walk->spte, claimed, memory_order_acquire,
		    memory_order_relaxed))
		return REPAIR_AGAIN;
	return mark_and_commit(vcpu, walk, claimed);
}

static bool is_permitted(const struct mmu_vcpu *vcpu, uint64_t spte)
{
	return !vcpu->format ||
	       vcpu->format->permits(spte & SPTE_ACCESS, TIDE_ACCESS_WRITE,
				     vcpu->paging.flags);
}

static bool is_leaf(const struct spte_walk *walk)
{
	return spte_present(walk->spte) &&
	       spte_is_leaf(walk->spte, walk->level);
}

bool mmu_fast_fault(struct mmu_vcpu *vcpu, uint64_t gva, enum tide_access what,
		    struct spte_walk *walk)
{
	if (what != TIDE_ACCESS_WRITE ||
	    (vcpu->mmu->config.flags & TIDE_MMU_NO_FAST_FAULT))
		return false;
	for (uint32_t i = 0; i < RETRIES; i++) {
		enum repair result;

		if (i && !mmu_walk(vcpu, gva, walk))
			return false;
		if (!is_leaf(walk) || !is_permitted(vcpu, walk->spte))
			return false;
		if (walk->spte & SPTE_W) {
			mmu_count_own(&vcpu->faults_spurious);
			return true;
		}
		if (!(walk->spte & SPTE_MMU_WRITABLE))
			return false;
		result = repair(vcpu, walk);
		if (result == REPAIR_DONE)
			mmu_count_own(&vcpu->faults_fast);
		if (result != REPAIR_AGAIN)
			return result == REPAIR_DONE;
	}
	return false;
}
