/* SPDX-License-Identifier: MIT */
/*
 * tidemark/mmu.h - the software MMU: what KVM's MMU does for dirty tracking,
 * for guests whose CPU is software
 *
 * An MMU is to a software CPU what a VM descriptor is to KVM.  It gets its
 * slots from a space: create an MMU, attach it with TIDE_TRACKER_SOFT_BITMAP
 * or TIDE_TRACKER_SOFT_RING (tidemark/tracker.h), add slots to the space,
 * create vCPUs (tidemark/vcpu.h).  Inside: a shadow page table of atomic
 * entries, lock-free fast page faults, rmap, remote TLB flush, GET, CLEAR and
 * dirty rings with KVM's rules.
 *
 * What it does not do: it starts no thread, and it does not see writes that
 * bypass it.  A device model writes with tide_mmu_write(), which marks; who
 * writes to a slot's host memory directly marks by tidemark/mark.h, and must
 * not write to the guest's page tables that way.
 *
 * Threads.  Every call at any time from any thread, except create and
 * destroy, which the caller serialises against everything.  A thread takes its
 * own vCPU out of guest mode first: others may wait for that while they hold
 * what the call needs.
 *
 * A vCPU that stays in guest mode without a safe point for longer than
 * flush_timeout_ns makes the call that waits for it fail with -ETIMEDOUT;
 * then every page of the slots concerned is dirty, and the flush is made good
 * by the next call.
 *
 * Errors.  0 or a count, or a negative errno value.
 *
 * Manual: tide_mmu_create(3), tidemark(7).  After: Linux
 * Documentation/virt/kvm/{mmu,locking}.rst; Xiao Guangrong, "KVM: MMU: fast
 * page fault" (2012).
 */
#ifndef TIDEMARK_MMU_H
#define TIDEMARK_MMU_H

#include <tidemark/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tide_backing;
struct tide_mmu; /* opaque */

enum tide_mmu_flags {
	/* Every fault takes the lock: to measure and to compare with. */
	TIDE_MMU_NO_FAST_FAULT = 1u << 0,
	/* 4 KiB leaves only. */
	TIDE_MMU_NO_LARGE_PAGES = 1u << 1,
};

struct tide_mmu_config {
	size_t size;	/* of this struct; 0: the first version */
	uint32_t flags; /* enum tide_mmu_flags */
	/* How long a flush waits for a vCPU's safe point; 0: 10 s. */
	uint64_t flush_timeout_ns;
	/* Page-table pages at most, beside the vCPUs' roots; then the oldest
	 * are zapped; at least 64; 0: 2^20, 4 GiB of tables. */
	uint64_t table_pages_max;
	/* Slots inside its memory are backed by its frames; NULL: host memory
	 * is simply there.  Stays the caller's, and outlives the MMU. */
	struct tide_backing *backing;
};

/* Grows at the end only. */
struct tide_mmu_stats {
	uint64_t faults_fast;	  /* repaired without a lock */
	uint64_t faults_spurious; /* somebody else had repaired it */
	uint64_t faults_slow;
	uint64_t faults_retried;  /* of these: the host or a slot changed */
	uint64_t writes_emulated; /* to shadowed page tables */
	uint64_t flushes;	  /* remote, of all vCPUs */
	uint64_t flush_ns_max;
	uint64_t large_splits;
	uint64_t table_pages; /* in use now */
	uint64_t table_bytes; /* of memory for tables, rmap and logs, now */
	uint64_t zaps;	      /* page-table pages, ever */
};

/** tide_mmu_create() - Return: 0; -EINVAL; -E2BIG; -EBUSY if the backing has
 * an MMU already; -ENOMEM. */
TIDE_API TIDE_MUST_CHECK int
tide_mmu_create(const struct tide_mmu_config *config,
		struct tide_mmu **ret_mmu);

/** tide_mmu_destroy() - its tracker detached, its vCPUs destroyed (asserted).
 * NULL is fine. */
TIDE_API void tide_mmu_destroy(struct tide_mmu *mmu);

/**
 * tide_mmu_read() - host and devices: copy out of guest physical memory
 * tide_mmu_write() - write, then mark; shadowed page tables are followed
 *
 * Swapped pages are brought in.  In address space 0.
 *
 * Return: 0; -EFAULT where no slot is, or a read-only one is written; what
 * lies before it is copied; -EINVAL if the range wraps; the backing's error.
 */
TIDE_API TIDE_MUST_CHECK int tide_mmu_read(struct tide_mmu *mmu, uint64_t gpa,
					   void *buffer, size_t nbytes);
TIDE_API TIDE_MUST_CHECK int tide_mmu_write(struct tide_mmu *mmu, uint64_t gpa,
					    const void *buffer, size_t nbytes);

/** tide_mmu_stats() - a snapshot; counters of running vCPUs may lag */
TIDE_API void tide_mmu_stats(struct tide_mmu *mmu,
			     struct tide_mmu_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
