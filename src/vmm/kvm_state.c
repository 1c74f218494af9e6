/* SPDX-License-Identifier: MIT */
/*
 * kvm_state.c - the registers of a vCPU of KVM, out of it and into another
 *
 * The CPUID is not carried: both sides show the guest what their host has,
 * and these guests do not look.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/kvm_machine.h"
#include "vmm/vm.h"

#define MSR_TSC 0x10

/* One MSR, as KVM wants it. */
struct one_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

static int get_tsc(int fd, uint64_t *ret)
{
	struct one_msr msr = { .head.nmsrs = 1, .entry.index = MSR_TSC };
	int count = ioctl(fd, KVM_GET_MSRS, &msr);

	if (count < 0)
		return -errno;
	*ret = msr.entry.data;
	return count == 1 ? 0 : -EIO;
}

static int set_tsc(int fd, uint64_t tsc)
{
	struct one_msr msr = {
		.head.nmsrs = 1,
		.entry = { .index = MSR_TSC, .data = tsc },
	};
	int count = ioctl(fd, KVM_SET_MSRS, &msr);

	if (count < 0)
		return -errno;
	return count == 1 ? 0 : -EIO;
}

static bool has_xcrs(const struct vcpu *vcpu)
{
	return ioctl(vcpu->vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XCRS) > 0;
}

int kvm_state_save(const struct vcpu *vcpu, void *ret_state)
{
	struct kvm_state *ret = ret_state;
	int fd = vcpu->fd;

	memset(ret, 0, sizeof(*ret));
	ret->version = KVM_STATE_VERSION;
	ret->has_xcrs = has_xcrs(vcpu);
	if (ioctl(fd, KVM_GET_REGS, &ret->regs) ||
	    ioctl(fd, KVM_GET_SREGS, &ret->sregs) ||
	    ioctl(fd, KVM_GET_FPU, &ret->fpu) ||
	    ioctl(fd, KVM_GET_VCPU_EVENTS, &ret->events) ||
	    ioctl(fd, KVM_GET_MP_STATE, &ret->mp_state))
		return -errno;
	if (ret->has_xcrs && ioctl(fd, KVM_GET_XCRS, &ret->xcrs))
		return -errno;
	return get_tsc(fd, &ret->tsc);
}

int kvm_state_load(struct vcpu *vcpu, const void *opaque)
{
	const struct kvm_state *state = opaque;
	int fd = vcpu->fd;

	if (state->version != KVM_STATE_VERSION)
		return -EINVAL;
	/* What sets the modes comes before what depends on them. */
	if (ioctl(fd, KVM_SET_SREGS, &state->sregs) ||
	    ioctl(fd, KVM_SET_REGS, &state->regs))
		return -errno;
	if (state->has_xcrs && has_xcrs(vcpu) &&
	    ioctl(fd, KVM_SET_XCRS, &state->xcrs))
		return -errno;
	if (ioctl(fd, KVM_SET_FPU, &state->fpu) ||
	    ioctl(fd, KVM_SET_VCPU_EVENTS, &state->events) ||
	    ioctl(fd, KVM_SET_MP_STATE, &state->mp_state))
		return -errno;
	return set_tsc(fd, state->tsc);
}
