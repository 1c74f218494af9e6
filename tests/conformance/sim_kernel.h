/* SPDX-License-Identifier: MIT */
/*
 * sim_kernel.h - the part of KVM that logs dirty pages, in user space
 *
 * Memory slots, shadow page table, a TLB for each vCPU that only a flush
 * empties, PML, the live dirty bitmap and the dirty rings, with KVM's rules
 * for arguments, errno values and order.  A test that links it with
 * -Wl,--wrap=ioctl can hand its descriptors to the library's KVM trackers,
 * which then run unchanged on a host without KVM, and can let a guest write
 * at every step of a call, or let the call fail.
 *
 * What it does not do: it executes no guest code; sim_write() is the guest.
 *
 * Threads.  Any call from any thread; one vCPU from one thread at a time.
 * Hooks are called without the simulator's locks and may write.
 */
#ifndef TIDE_TEST_SIM_KERNEL_H
#define TIDE_TEST_SIM_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/kvm.h>

#define SIM_VCPUS_MAX 4

struct sim_vm; /* opaque */

enum sim_stage {
	SIM_ENTER, /* a GET, CLEAR, RESET or memory-region call begins */
	SIM_TAKEN, /* bits or entries consumed, protected, not flushed */
	SIM_DONE,  /* flushed; the results are copied out after this */
};

struct sim_config {
	bool no_manual; /* a kernel without manual protect */
	bool no_initially_set;
	bool no_ring;
	bool no_acq_rel;
	uint32_t pml_entries;	/* 0: no PML, writes are caught by protection */
	uint32_t ring_reserved; /* 0: as the kernel; more: full early */
	/* Writes between two looks at the full ring: a KVM that emulates many
	 * instructions in a row overruns it. */
	uint32_t ring_blind;
	bool dirty_tail; /* GET sets bits beyond the end of the slot */
};

/** sim_vm_create() - Return: 0; -ENOMEM or an errno of memfd_create. */
int sim_vm_create(const struct sim_config *config, struct sim_vm **ret);
void sim_vm_destroy(struct sim_vm *vm);
/** sim_vm_fd() - for struct tide_kvm_config; an ioctl on it comes here */
int sim_vm_fd(const struct sim_vm *vm);
/** sim_vcpu_create() - Return: a descriptor, or a negative errno */
int sim_vcpu_create(struct sim_vm *vm);

/**
 * sim_write() - vCPU @vcpu writes @value to the first 8 bytes of a page
 *
 * Return: 0; -EAGAIN: it left with KVM_EXIT_DIRTY_RING_FULL before it wrote;
 * -EFAULT: no slot there, or a read-only one.
 */
int sim_write(struct sim_vm *vm, uint32_t vcpu, uint64_t gfn, uint64_t value);
/** sim_fault() - vCPU @vcpu faults on a page, which is logged, and leaves
 * before it has written.  Return: 0; -EFAULT: it would not fault. */
int sim_fault(struct sim_vm *vm, uint32_t vcpu, uint64_t gfn);
/** sim_kick() - every vCPU leaves guest mode once: PML is drained */
void sim_kick(struct sim_vm *vm);

/** sim_armed() - is the next write of each vCPU to the page sure to be logged,
 * or is it in the log already? */
bool sim_armed(struct sim_vm *vm, uint64_t gfn);

/** sim_hook() - call @hook at each stage of each call; NULL: never */
void sim_hook(struct sim_vm *vm,
	      void (*hook)(void *opaque, unsigned long request,
			   enum sim_stage stage),
	      void *opaque);

/** sim_fail() - the @countdown-th call of @request from now on (1: the next;
 * request 0: of any log or memory-region call) fails with -@error.  With
 * @late it does its work first and fails copying the result out; RESET then
 * has done half of its work. */
void sim_fail(struct sim_vm *vm, unsigned long request, uint32_t countdown,
	      int error, bool late);
/** sim_fail_times() - after sim_fail: not one call but @times in a row */
void sim_fail_times(struct sim_vm *vm, uint32_t times);
/** sim_fail_clear() - no more of that.  Return: failures since sim_fail */
uint32_t sim_fail_clear(struct sim_vm *vm);

/** sim_foreign() - every ioctl that is no simulated VM's is @its_call's from
 * now on; NULL: the kernel's again, as it always is by sim_foreign_real() */
void sim_foreign(int (*its_call)(int fd, unsigned long request, void *arg));
int sim_foreign_real(int fd, unsigned long request, void *arg);

/** sim_calls() - how often @request was made, failures included */
uint64_t sim_calls(const struct sim_vm *vm, unsigned long request);
/** sim_last_clear() - the arguments of the last KVM_CLEAR_DIRTY_LOG */
struct kvm_clear_dirty_log sim_last_clear(const struct sim_vm *vm);
/** sim_flags() - flags of a memory slot, or -1 when there is none */
int sim_flags(struct sim_vm *vm, uint32_t slot);
/** sim_ring() - the entries that vCPU and user space share */
struct kvm_dirty_gfn *sim_ring(struct sim_vm *vm, uint32_t vcpu,
			       uint32_t *ret_entries);
/** sim_bit() - the live dirty bit of a page */
bool sim_bit(struct sim_vm *vm, uint64_t gfn);

#endif
