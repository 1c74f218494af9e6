/* SPDX-License-Identifier: MIT */
/*
 * vmstate.h - what a migration carries besides memory
 *
 * Two kinds of pieces, in this order: one VMSTATE_VM, and one VMSTATE_VCPU
 * for each vCPU.  Little-endian, naturally aligned, exactly of these sizes;
 * the parts of a vCPU are KVM's own structs for x86-64.
 */
#ifndef TIDE_VMM_VMSTATE_H
#define TIDE_VMM_VMSTATE_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#define VMSTATE_VM "tidemark-vm"
#define VMSTATE_VCPU "tidemark-vcpu"
#define VMSTATE_VERSION 1u

struct vcpu;
struct tide_vm;

struct vmstate_vm {
	uint32_t version; /* VMSTATE_VERSION */
	uint32_t workload;
	uint32_t vcpus;
	uint32_t device;
	uint64_t memory_bytes;
	uint64_t seed;
	uint64_t hot_pages;
	uint64_t writes_per_second;
	uint64_t params_gpa;
	uint64_t device_count;
	uint64_t work_pages;
};

struct vmstate_vcpu {
	uint32_t version; /* VMSTATE_VERSION */
	uint32_t has_xcrs;
	uint64_t tsc;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_fpu fpu;
	struct kvm_xcrs xcrs;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	uint32_t unused;
};

_Static_assert(sizeof(struct vmstate_vm) == 72, "no padding");
_Static_assert(sizeof(struct vmstate_vcpu) ==
		       24 + sizeof(struct kvm_regs) + sizeof(struct kvm_sregs) +
			       sizeof(struct kvm_fpu) +
			       sizeof(struct kvm_xcrs) +
			       sizeof(struct kvm_vcpu_events),
	       "no padding");

/* The vCPU is parked.  Return: 0; the kernel's error. */
int vmstate_save_vcpu(const struct vcpu *vcpu, struct vmstate_vcpu *ret);
/* Return: 0; -EINVAL for another version; the kernel's error. */
int vmstate_load_vcpu(const struct vcpu *vcpu,
		      const struct vmstate_vcpu *state);

void vmstate_save_vm(const struct tide_vm *vm, struct vmstate_vm *ret);

#endif
