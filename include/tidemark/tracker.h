/* SPDX-License-Identifier: MIT */
/*
 * tidemark/tracker.h - the mechanisms that catch writes, and how to attach one
 *
 * kvm-get    KVM_GET_DIRTY_LOG in its first form: one call returns, clears
 *            and re-protects a whole slot.
 * kvm-clear  manual protect: GET copies, KVM_CLEAR_DIRTY_LOG re-arms chunk by
 *            chunk, as late as possible; initially all set.
 * kvm-ring   one dirty ring per vCPU, shared with the kernel.
 * soft-bitmap, soft-ring
 *            the software MMU (tidemark/mmu.h), with a bitmap or with a ring
 *            per vCPU.
 * wp         ordinary memory of a process, by userfaultfd's asynchronous
 *            write-protect and PAGEMAP_SCAN (Linux 6.7).
 * sigsegv    this process's memory on older kernels, by mprotect(2) and a
 *            signal handler.
 * soft-dirty this process's private anonymous memory, by the kernel's
 *            soft-dirty bits, where it has them; whoever writes stands still
 *            during each collect.
 *
 * The embedder keeps its VM and vCPU descriptors and its run loop.  From
 * attach to detach the space makes the KVM_SET_USER_MEMORY_REGION calls.
 *
 * What it does not do: it does not fall back.  A mechanism that the kernel
 * lacks is -EOPNOTSUPP; tidemark/probe.h tells beforehand, by a real write.
 *
 * Threads.  attach and detach: serialise with each other; everything else may
 * run meanwhile.  tide_kvm_vcpu_add and _ring_full: any thread.
 *
 * Errors.  0 or a count, or a negative errno value.
 *
 * Manual: tide_space_attach(3), tide_kvm_vcpu_add(3).
 */
#ifndef TIDEMARK_TRACKER_H
#define TIDEMARK_TRACKER_H

#include <tidemark/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tide_space;

enum tide_tracker {
	TIDE_TRACKER_NONE, /* marks only */
	TIDE_TRACKER_KVM_GET,
	TIDE_TRACKER_KVM_CLEAR,
	TIDE_TRACKER_KVM_RING,
	TIDE_TRACKER_SOFT_BITMAP,
	TIDE_TRACKER_SOFT_RING,
	TIDE_TRACKER_WP,
	TIDE_TRACKER_SIGSEGV,
	TIDE_TRACKER_SOFT_DIRTY,
	TIDE_TRACKER_COUNT
};

struct tide_kvm_config {
	size_t size;		/* of this struct; 0: the first version */
	int vm_fd;		/* stays the caller's; open until detach */
	uint32_t address_space; /* KVM address space id, normally 0 */

	/* kvm-clear: pages re-armed at once; a power of two in [64, 2^31];
	 * 0: 2^18, 1 GiB of 4 KiB pages.  Smaller holds writers up for less
	 * at a time and costs a flush more often. */
	uint64_t chunk_pages;

	/* kvm-ring: entries of each vCPU's ring, a power of two in
	 * [1024, 65536]; 0: 65536.  The ring must be on before the VM's first
	 * vCPU exists: attach before that, or turn it on yourself and say so
	 * in ring_enabled. */
	uint32_t ring_entries;
	int ring_enabled;

	/* Make every vCPU leave guest mode at least once before it returns, so
	 * that hardware buffers (PML) are drained.  Called without slots_lock,
	 * from begin and from remove; a vCPU thread that is in
	 * tide_kvm_ring_full() counts as outside.  NULL: the caller promises
	 * that no hardware buffer exists or that it stops the vCPUs itself
	 * before the last harvest; a removed slot is then dirty as a whole. */
	void (*sync_vcpus)(void *opaque);
	void *opaque;
};

struct tide_mmu;

struct tide_soft_config {
	size_t size;		/* of this struct; 0: the first version */
	struct tide_mmu *mmu;	/* stays the caller's; outlives the attach */
	uint32_t address_space; /* 0 or 1 */

	/* soft-bitmap: GET clears and re-arms, as kvm-get, instead of manual
	 * protect with CLEAR and initially all set, as kvm-clear. */
	int get_clears;
	/* soft-bitmap: as in struct tide_kvm_config. */
	uint64_t chunk_pages;
	/* soft-ring: entries of each vCPU's ring, a power of two in
	 * [256, 65536]; 0: 4096.  The MMU has no vCPU yet. */
	uint32_t ring_entries;
};

/*
 * For wp a slot's host is an address in the tracked process, whose gfns are
 * only names.  Its memory stays mapped there, every page of it, until the slot
 * is removed; a part that is unmapped and mapped anew makes the whole slot
 * dirty, a hole makes the harvest fail with -EFAULT (unnoticed in another
 * process).  Private and shared, anonymous and file memory will do; of huge
 * pages (hugetlb) only whole ones.  Seen are the process's own writes and those
 * of system calls that it makes; a page that is discarded (MADV_DONTNEED)
 * counts as written, and of a file or of shared memory one that the kernel has
 * reclaimed, too.  Not seen, and to be marked: writes by another mapping of
 * shared memory, or to its file, and holes that somebody else makes in that.
 * TIDE_SLOT_ANONYMOUS spares the slot a look for what was discarded; of one's
 * own memory it is found out when it is armed.  A forked child is not tracked.
 * The end of another process makes its harvests fail with -ESRCH; its memory
 * stays registered, and the first write to each page costs it a fault, until
 * the descriptor is closed.
 */
struct tide_wp_config {
	size_t size; /* of this struct; 0: the first version */
	/* Another process's, from userfaultfd(2) called in that process, no
	 * UFFDIO_API made yet; and its /proc/PID/pagemap, open for reading.
	 * Both stay the caller's, open until detach. */
	int uffd;
	int pagemap_fd;
};

/*
 * sigsegv has no config.  Its slots are readable and writable memory of this
 * process, under wp's rules, at most 1024 of them, a page in one space only.
 * It has the handler of SIGSEGV from attach to detach and calls the one before
 * it for faults that are not its own; a handler that is installed later has to
 * do the same, and a thread that blocks SIGSEGV must not write.  Not seen, and
 * to be marked, are pages that are discarded; a system call that writes into an
 * armed page fails with EFAULT.  Where the kernel has no mappings left to part
 * armed pages from others (vm.max_map_count), larger blocks are dirty; a huge
 * page (hugetlb) is, from its first write on, each time.
 */

/*
 * soft-dirty looks at the bits and then clears those of the whole process.  A
 * write in between would be lost, so nobody writes tracked memory, and nobody
 * changes mappings, from stop to resume.  That is in each of
 *
 *   tide_harvest_begin(), and so the calls on checkpoints and migration,
 *   tide_client_open() with TIDE_START_CLEAN,
 *   tide_slot_remove() and tide_slot_set_flags().
 *
 * An error of stop is that call's, which then has done nothing to the bits; so
 * is an error of resume.  The hooks run in the calling thread, with the space
 * locked: they make no call on it, and a thread that is in such a call counts
 * as standing still.  From stop to resume the library neither allocates nor
 * uses a stream, so that a thread may be stopped anywhere.  Memory that it
 * writes itself, malloc's or the caller's stack, is not for slots.
 *
 * Slots are private anonymous memory of this process and may share pages.  A
 * part that is mapped anew is dirty; a hole makes the harvest fail with
 * -EFAULT, and a part that is shared, a file's or of hugetlb with -EINVAL; both
 * lose nothing.  Seen are the process's own writes, those of its system calls,
 * and pages that are discarded.  Not seen, and to be marked, is input that is
 * under way during a collect (asynchronous, or of a thread that is in read(2)).
 * More than was written is dirty where pages are huge; and, once, a page of
 * zeros after a fork.  Slots are taken out of merging (MADV_MERGEABLE), which
 * loses the bits; it must not be asked for again.
 *
 * The bits have one user.  Other programs that clear them are noticed, and
 * everything is dirty (failed_closed counts).  In a child of fork() the space
 * is the parent's: its harvests fail with -ESTALE.
 */
struct tide_soft_dirty_config {
	size_t size; /* of this struct; 0: the first version */
	/* Both, or neither: the caller promises that nobody writes during the
	 * calls above.  Return: 0 or a negative errno. */
	int (*stop)(void *opaque);
	int (*resume)(void *opaque);
	void *opaque;
};

/**
 * tide_space_attach() - let a mechanism report writes into this space
 * @config: struct tide_kvm_config for the KVM trackers, struct
 *          tide_soft_config for the software MMU's, struct tide_wp_config for
 *          wp; NULL with wp: this process's own memory; NULL with sigsegv;
 *          struct tide_soft_dirty_config or NULL for soft-dirty
 *
 * Every slot is added to the VM, or taken over, and is dirty as a whole for
 * clients that are open already.
 *
 * Return: 0; -EINVAL for an unknown tracker or a bad config; -EBUSY if one is
 * attached, if another space is attached to this address space of the MMU, or
 * to the other one by another mechanism or any by soft-ring, if the ring cannot
 * be turned on any more because a vCPU exists, if another userfaultfd has wp's
 * memory or another space has sigsegv's, or the process's soft-dirty bits;
 * -EBADF if a descriptor is not what it should be; -EOPNOTSUPP if the kernel
 * lacks it; -EPERM if wp may not be used; -EEXIST for two slots of wp or
 * sigsegv with a page of memory in common; -EFAULT if one is not mapped; for
 * soft-dirty -EINVAL if one is not private anonymous memory;
 * -ENOSPC for too many of sigsegv; -ENOMEM; -E2BIG; or the kernel's error for a
 * slot.  On failure no tracker is attached; slots that are in the VM by then
 * stay there, not logged.
 */
TIDE_API TIDE_MUST_CHECK int tide_space_attach(struct tide_space *space,
					       enum tide_tracker tracker,
					       const void *config);

/** tide_space_detach() - turn logging off and forget the tracker; what it
 * knew is collected first, and what it could not tell is dirty.
 * Return: 0, also without a tracker; the first error of the tracker. */
TIDE_API int tide_space_detach(struct tide_space *space);

/** tide_space_tracker() - what is attached */
TIDE_API enum tide_tracker tide_space_tracker(struct tide_space *space);

/** tide_tracker_name() - "kvm-clear" and so on; NULL for an unknown one */
TIDE_API const char *tide_tracker_name(enum tide_tracker tracker);

/** tide_tracker_by_name() - Return: 0; -ENOENT for an unknown name */
TIDE_API TIDE_MUST_CHECK int tide_tracker_by_name(const char *name,
						  enum tide_tracker *ret);

/**
 * tide_kvm_vcpu_add() - kvm-ring: map the ring of a new vCPU
 *
 * Call it before the vCPU first runs, once; a vCPU that has run under another
 * attach is not found again, so that detaching a VM with a ring is final.  For
 * the other KVM trackers it does nothing.
 *
 * Return: 0; -ENODEV without a KVM tracker; -ENOSPC beyond 1024 vCPUs;
 * -EBADF and other errors of mmap.
 */
TIDE_API TIDE_MUST_CHECK int tide_kvm_vcpu_add(struct tide_space *space,
					       int vcpu_fd);

/**
 * tide_kvm_ring_full() - the vCPU left with KVM_EXIT_DIRTY_RING_FULL: empty
 * the rings, so that it can go on
 * @vcpu_fd: of that vCPU, as given to tide_kvm_vcpu_add(); it stays outside
 *           the guest until the call returns
 *
 * A kernel that overran a ring lost entries.  That is noticed: every page is
 * re-armed and dirty for every client (ring_overflows in the statistics).
 *
 * Return: entries harvested; -ENODEV without kvm-ring; -ENOENT for a vCPU that
 * was not added; the kernel's error.
 */
TIDE_API int tide_kvm_ring_full(struct tide_space *space, int vcpu_fd);

/**
 * tide_soft_ring_full() - a vCPU left with TIDE_EXIT_RING_FULL: empty the
 * rings, so that it can go on; the calling thread has no vCPU in guest mode
 *
 * Return: entries harvested; -ENODEV without soft-ring; -ETIMEDOUT
 * (tidemark/mmu.h).
 */
TIDE_API int tide_soft_ring_full(struct tide_space *space);

#ifdef __cplusplus
}
#endif
#endif
