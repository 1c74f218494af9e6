/* SPDX-License-Identifier: MIT */
/*
 * kvm_calls.h - the software MMU's side of KVM's ioctls: same checks, in the
 * same order, same errno values
 *
 * Reference: Documentation/virt/kvm/api.rst and virt/kvm/kvm_main.c.  Each
 * call takes the MMU's slots_lock, so they are serialised against each other.
 * A slot is named as in the ABI: address space << 16 | id.
 */
#ifndef TIDE_MMU_KVM_CALLS_H
#define TIDE_MMU_KVM_CALLS_H

#include <stdint.h>

#include <tidemark/mmu.h>
#include <tidemark/vcpu.h>

#include "log/ring.h"

#define MMU_ADDRESS_SPACES 2u
#define MMU_SLOT_IDS 32764u /* KVM_USER_MEM_SLOTS on x86 */
#define MMU_REGION_LOG (1u << 0)
#define MMU_REGION_READONLY (1u << 1)
#define MMU_MANUAL_ENABLE (1ull << 0)
#define MMU_MANUAL_INITIALLY_SET (1ull << 1)
#define MMU_GFN_END (1ull << 36) /* four levels of tables */

struct mmu_region { /* struct kvm_userspace_memory_region */
	uint32_t slot;
	uint32_t flags;	       /* MMU_REGION_* */
	uint64_t gpa;	       /* bytes */
	uint64_t memory_bytes; /* 0: delete */
	uint64_t host;	       /* address */
};

/* KVM_SET_USER_MEMORY_REGION: create, delete, move, or change flags.
 * Return: 0; -EINVAL; -EEXIST; -ENOMEM; -ETIMEDOUT: a vCPU could not be
 * flushed, and nothing has changed. */
int mmu_set_region(struct tide_mmu *mmu, const struct mmu_region *region);

/* KVM_GET_DIRTY_LOG.  @words: one bit a page, ALIGN(npages, 64) of them.
 * Return: 0; -ENXIO, -EINVAL, -ENOENT; -ETIMEDOUT: the bits are set again. */
int mmu_get_dirty_log(struct tide_mmu *mmu, uint32_t slot, uint64_t *words);
/* The same, sparse: @found for each word that is not 0, after the flush. */
int mmu_take_dirty_log(struct tide_mmu *mmu, uint32_t slot,
		       void (*found)(void *opaque, uint64_t word,
				     uint64_t bits),
		       void *opaque);
/* KVM_CLEAR_DIRTY_LOG */
int mmu_clear_dirty_log(struct tide_mmu *mmu, uint32_t slot,
			uint64_t first_page, uint32_t npages,
			const uint64_t *words);

/* KVM_ENABLE_CAP: KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_CAP_DIRTY_LOG_RING,
 * KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP (ours is needed: writes without a vCPU
 * go there). */
int mmu_enable_manual_protect(struct tide_mmu *mmu, uint64_t flags);
int mmu_enable_ring(struct tide_mmu *mmu, uint32_t bytes);
int mmu_enable_ring_with_bitmap(struct tide_mmu *mmu);
/* KVM_RESET_DIRTY_RINGS.  Return: entries; -EINVAL without rings;
 * -ETIMEDOUT. */
int mmu_reset_dirty_rings(struct tide_mmu *mmu);

/* The harvester's side of every vCPU's ring: tide_ring_collect() on each,
 * under slots_lock.  Return: entries. */
int mmu_collect_dirty_rings(struct tide_mmu *mmu,
			    void (*found)(void *opaque, uint32_t slot,
					  uint64_t offset),
			    void *opaque);
/* The ring of one vCPU, or NULL: as the mapping of a vCPU descriptor. */
struct tide_ring *mmu_vcpu_ring(struct tide_vcpu *vcpu);

/* Who reads the logs: one in each address space, by the same mechanism, since
 * manual protect and rings are the whole MMU's, and alone if by rings, since
 * an entry that is taken is gone for the other. */
enum mmu_user { MMU_USER_NONE, MMU_USER_GET, MMU_USER_CLEAR, MMU_USER_RING };
/* Return: 0; -EBUSY. */
int mmu_user_add(struct tide_mmu *mmu, uint32_t address_space,
		 enum mmu_user user);
void mmu_user_remove(struct tide_mmu *mmu, uint32_t address_space);

/* Every vCPU passes a safe point, or is outside guest mode.  Return: 0;
 * -ETIMEDOUT. */
int mmu_flush_all(struct tide_mmu *mmu);

/* Asserts the invariants I1 to I19 that can be seen from outside a call (the
 * reference's list, section 2.13).  Stops nothing; slow.  A test calls it;
 * with TIDE_CHECKS the library itself does, now and then. */
void mmu_check(struct tide_mmu *mmu);

#endif
