/* SPDX-License-Identifier: MIT */
/*
 * vcpu.c - software vCPUs: life, guest mode, paging
 *
 * A vCPU's object stays until its MMU goes, and is used again by the next
 * create: a flush walks all of them without a lock.
 *
 * Synchronisation
 *   vcpus.counted  a new object -> vcpus.seen in mmu_flush
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "mmu/mmu_internal.h"

/* The first version of struct tide_paging ends with address_space. */
#define PAGING_FIRST \
	(offsetof(struct tide_paging, address_space) + sizeof(uint32_t))
#define PAGING_FLAGS                                             \
	(TIDE_PAGING_USER | TIDE_PAGING_WP | TIDE_PAGING_NX |    \
	 TIDE_PAGING_SMEP | TIDE_PAGING_SMAP | TIDE_PAGING_SUM | \
	 TIDE_PAGING_MXR)

static uint32_t state_of(const struct mmu_vcpu *vcpu)
{
	/* Relaxed: the vCPU's own thread asks; what others add is a request,
	 * and counts when it is seen. */
	return atomic_load_explicit(&vcpu->public.state, memory_order_relaxed);
}

/* An object that is not in use, or a new one.  Under slots_lock. */
static struct mmu_vcpu *take_object(struct tide_mmu *mmu)
{
	/* Relaxed: changed under slots_lock, which we have. */
	uint32_t count =
		atomic_load_explicit(&mmu->vcpu_count, memory_order_relaxed);
	struct mmu_vcpu *vcpu;

	for (uint32_t i = 0; i < count; i++) {
		/* Relaxed: as above. */
		vcpu = atomic_load_explicit(&mmu->vcpu[i],
					    memory_order_relaxed);
		if (!vcpu->in_use)
			return vcpu;
	}
	if (count == MMU_VCPUS_MAX)
		return NULL;
	vcpu = aligned_alloc(64, (sizeof(*vcpu) + 63) & ~(size_t)63);
	if (!vcpu)
		return NULL;
	memset(vcpu, 0, sizeof(*vcpu));
	vcpu->mmu = mmu;
	vcpu->number = count;
	mmu_vcpu_flush_own(vcpu);
	mmu_vcpu_out_of_guest(vcpu);
	/* Relaxed: published by the count. */
	atomic_store_explicit(&mmu->vcpu[count], vcpu, memory_order_relaxed);
	/* RELEASE(vcpus.counted) pairs with ACQUIRE(vcpus.seen) and
	 * ACQUIRE(vcpus.stats) */
	atomic_store_explicit(&mmu->vcpu_count, count + 1,
			      memory_order_release);
	return vcpu;
}

static int create(struct tide_mmu *mmu, struct mmu_vcpu **ret_vcpu)
{
	struct mmu_vcpu *vcpu = take_object(mmu);

	if (!vcpu) {
		/* Relaxed: changed under slots_lock, which we have. */
		return atomic_load_explicit(&mmu->vcpu_count,
					    memory_order_relaxed) ==
				       MMU_VCPUS_MAX
			       ? -ENOSPC
			       : -ENOMEM;
	}
	if (mmu->ring_entries) {
		int err = tide_ring_init(&vcpu->ring, mmu->ring_entries);

		if (err)
			return err;
		vcpu->has_ring = true;
	}
	memset(&vcpu->paging, 0, sizeof(vcpu->paging));
	memset(&vcpu->exit, 0, sizeof(vcpu->exit));
	vcpu->format = NULL;
	vcpu->in_use = true;
	*ret_vcpu = vcpu;
	return 0;
}

int tide_vcpu_create(struct tide_mmu *mmu, struct tide_vcpu **ret_vcpu)
{
	struct mmu_vcpu *vcpu;
	int err;

	tide_lock_acquire(&mmu->slots_lock);
	err = create(mmu, &vcpu);
	tide_lock_release(&mmu->slots_lock);
	if (!err)
		*ret_vcpu = &vcpu->public;
	return err;
}

static void drop_root(struct mmu_vcpu *vcpu)
{
	struct tide_mmu *mmu = vcpu->mmu;

	if (!vcpu->root)
		return;
	tide_lock_acquire(&mmu->mmu_lock);
	sp_put_root(mmu, vcpu->root);
	vcpu->root = NULL;
	tide_lock_release(&mmu->mmu_lock);
}

/* An entry of a ring that goes; its memory is not trusted. */
static void mark_leftover(void *opaque, uint32_t name, uint64_t offset)
{
	struct tide_mmu *mmu = opaque;
	struct mmu_slot *slot;

	if (name >> 16 >= MMU_ADDRESS_SPACES || (name & 0xffff) >= MMU_SLOT_IDS)
		return;
	slot = mmu->slots[name >> 16][name & 0xffff];
	if (slot && offset < slot->npages)
		mmu_mark_dirty(mmu, NULL, slot, offset);
}

/* Its pages are writable, also for other vCPUs, and only a RESET of its ring
 * would change that.  So they move to the bitmaps, whose GET protects them. */
static void drop_ring(struct mmu_vcpu *vcpu)
{
	if (!vcpu->has_ring)
		return;
	tide_ring_leftover(&vcpu->ring, mark_leftover, vcpu->mmu);
	tide_ring_fini(&vcpu->ring);
	vcpu->has_ring = false;
}

void tide_vcpu_destroy(struct tide_vcpu *public)
{
	struct mmu_vcpu *vcpu = mmu_vcpu_of(public);
	struct tide_mmu *mmu;

	if (!public)
		return;
	mmu = vcpu->mmu;
	assert(!(state_of(vcpu) & TIDE_VCPU_IN_GUEST));
	drop_root(vcpu);
	tide_lock_acquire(&mmu->slots_lock);
	drop_ring(vcpu);
	/* Relaxed: a kick that comes now is nobody's. */
	(void)atomic_fetch_and_explicit(&vcpu->public.state, ~VCPU_KICK,
					memory_order_relaxed);
	mmu_vcpu_flush_own(vcpu);
	vcpu->in_use = false;
	tide_lock_release(&mmu->slots_lock);
}

int tide_vcpu_set_paging(struct tide_vcpu *public,
			 const struct tide_paging *paging)
{
	struct mmu_vcpu *vcpu = mmu_vcpu_of(public);
	struct tide_paging taken;
	int err =
		tide_options_copy(&taken, sizeof(taken), paging, PAGING_FIRST);

	if (err)
		return err;
	if ((unsigned int)taken.mode >= TIDE_PAGING_MODE_COUNT ||
	    (taken.flags & ~(uint32_t)PAGING_FLAGS) ||
	    taken.address_space >= MMU_ADDRESS_SPACES)
		return -EINVAL;
	taken.root &= ~(uint64_t)(TIDE_PAGE_SIZE - 1);
	if (taken.mode == TIDE_PAGING_NONE)
		taken.root = 0;
	if (taken.mode != vcpu->paging.mode ||
	    taken.root != vcpu->paging.root ||
	    ((taken.flags ^ vcpu->paging.flags) & TIDE_PAGING_NX) ||
	    taken.address_space != vcpu->paging.address_space) {
		/* The lock is not for under guest mode's eyes: who holds it may
		 * be waiting for us. */
		bool inside = state_of(vcpu) & TIDE_VCPU_IN_GUEST;

		if (inside)
			mmu_vcpu_out_of_guest(vcpu);
		drop_root(vcpu);
		if (inside)
			mmu_vcpu_into_guest(vcpu);
	}
	vcpu->paging = taken;
	vcpu->format = paging_format_of(taken.mode);
	mmu_vcpu_flush_own(vcpu);
	return 0;
}

static bool take_kick(struct mmu_vcpu *vcpu)
{
	/* ACQUIRE(kick.taken) pairs with RELEASE(kick.given): what the one who
	 * kicks had done before. */
	return atomic_fetch_and_explicit(&vcpu->public.state, ~VCPU_KICK,
					 memory_order_acquire) &
	       VCPU_KICK;
}

/* Kicked, or the ring is full.  Return: an exit reason, or 0. */
static int why_not_run(struct mmu_vcpu *vcpu)
{
	if (vcpu->has_ring && tide_ring_soft_full(&vcpu->ring))
		return TIDE_EXIT_RING_FULL; /* I12 */
	if ((state_of(vcpu) & VCPU_KICK) && take_kick(vcpu))
		return TIDE_EXIT_KICKED;
	return 0;
}

int tide_vcpu_enter(struct tide_vcpu *public)
{
	struct mmu_vcpu *vcpu = mmu_vcpu_of(public);
	int why;

	if (state_of(vcpu) & TIDE_VCPU_IN_GUEST)
		return -EBUSY;
	why = why_not_run(vcpu);
	if (why)
		return mmu_exit_set(vcpu, (enum tide_exit_reason)why,
				    TIDE_ACCESS_READ, 0, 0);
	mmu_vcpu_into_guest(vcpu);
	return 0;
}

int tide_vcpu_exit(struct tide_vcpu *public)
{
	struct mmu_vcpu *vcpu = mmu_vcpu_of(public);

	if (!(state_of(vcpu) & TIDE_VCPU_IN_GUEST))
		return -EPERM;
	mmu_vcpu_out_of_guest(vcpu);
	return 0;
}

int tide_vcpu_safe_point_slow(struct tide_vcpu *public)
{
	struct mmu_vcpu *vcpu = mmu_vcpu_of(public);
	int why;

	if (!(state_of(vcpu) & TIDE_VCPU_IN_GUEST))
		return -EPERM;
	mmu_vcpu_acknowledge(vcpu);
	why = why_not_run(vcpu);
	if (!why)
		return 0;
	mmu_vcpu_out_of_guest(vcpu);
	return mmu_exit_set(vcpu, (enum tide_exit_reason)why, TIDE_ACCESS_READ,
			    0, 0);
}

void tide_vcpu_kick(struct tide_vcpu *public)
{
	/* RELEASE(kick.given) pairs with ACQUIRE(kick.taken) */
	(void)atomic_fetch_or_explicit(&public->state, VCPU_KICK,
				       memory_order_release);
}

const struct tide_exit *tide_vcpu_last_exit(const struct tide_vcpu *public)
{
	return &((const struct mmu_vcpu *)(const void *)public)->exit;
}

int mmu_exit_set(struct mmu_vcpu *vcpu, enum tide_exit_reason reason,
		 enum tide_access what, uint64_t gva, uint64_t gpa)
{
	vcpu->exit = (struct tide_exit){
		.reason = reason, .access = what, .gva = gva, .gpa = gpa
	};
	return (int)reason;
}

struct tide_ring *mmu_vcpu_ring(struct tide_vcpu *vcpu)
{
	struct mmu_vcpu *own = mmu_vcpu_of(vcpu);

	return own->has_ring ? &own->ring : NULL;
}
