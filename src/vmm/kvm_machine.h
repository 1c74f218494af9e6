/* SPDX-License-Identifier: MIT */
/*
 * kvm_machine.h - the parts of machine_kvm, and what a migration carries of
 * its vCPUs
 */
#ifndef TIDE_VMM_KVM_MACHINE_H
#define TIDE_VMM_KVM_MACHINE_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/machine.h"

#define KVM_STATE_VERSION 1u

/* KVM's own structs for x86-64, exactly of this size. */
struct kvm_state {
	uint32_t version; /* KVM_STATE_VERSION */
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

_Static_assert(sizeof(struct kvm_state) ==
		       24 + sizeof(struct kvm_regs) + sizeof(struct kvm_sregs) +
			       sizeof(struct kvm_fpu) +
			       sizeof(struct kvm_xcrs) +
			       sizeof(struct kvm_vcpu_events),
	       "no padding");
_Static_assert(sizeof(struct kvm_state) <= MACHINE_STATE_MAX, "it fits in");

/* kvm_vcpu.c */
int kvm_vcpu_create(struct vcpu *vcpu);
void kvm_vcpu_destroy(struct vcpu *vcpu);
int kvm_vcpu_enter(struct vcpu *vcpu);
int kvm_vcpu_leave(struct vcpu *vcpu, int err);
void kvm_vcpu_park(struct vcpu *vcpu);
void kvm_vcpu_kick(struct vcpu *vcpu);
int kvm_vcpu_in_flight(const struct vcpu *vcpu, enum guest_rip *ret);

/* kvm_state.c */
int kvm_state_save(const struct vcpu *vcpu, void *ret_state);
int kvm_state_load(struct vcpu *vcpu, const void *opaque);

/* boot.c */
void boot_write_tables(uint8_t *base, uint64_t end_gfn);
int boot_set_vcpu(const struct vcpu *vcpu, uint64_t entry);

#endif
