/* SPDX-License-Identifier: MIT */
/*
 * vmstate.c - the source side: what a migration carries besides memory
 *
 * The CPUID is not carried: both sides show the guest what their host has,
 * and these guests do not look.
 */
#include "vmm/vmstate.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

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

int vmstate_save_vcpu(const struct vcpu *vcpu, struct vmstate_vcpu *ret)
{
	int fd = vcpu->fd;

	memset(ret, 0, sizeof(*ret));
	ret->version = VMSTATE_VERSION;
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

int vmstate_load_vcpu(const struct vcpu *vcpu, const struct vmstate_vcpu *state)
{
	int fd = vcpu->fd;

	if (state->version != VMSTATE_VERSION)
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

void vmstate_save_vm(const struct tide_vm *vm, struct vmstate_vm *ret)
{
	*ret = (struct vmstate_vm){
		.version = VMSTATE_VERSION,
		.workload = vm->config.workload,
		.vcpus = vm->config.vcpus,
		.device = vm->config.device != 0,
		.memory_bytes = vm->config.memory_bytes,
		.seed = vm->config.seed,
		.hot_pages = vm->config.hot_pages,
		.writes_per_second = vm->config.writes_per_second,
		.params_gpa = vm->params_gpa,
		.device_count = vm->device.count,
		.work_pages = vm->config.work_pages,
	};
}

static int save(void *opaque, struct tide_migrate *migrate)
{
	const struct tide_vm *vm = opaque;
	struct vmstate_vcpu vcpu;
	struct vmstate_vm state;
	int err;

	vmstate_save_vm(vm, &state);
	err = tide_migrate_put_state(migrate, VMSTATE_VM, 0, &state,
				     sizeof(state));
	for (uint32_t i = 0; i < vm->vcpu_count && !err; i++) {
		err = vmstate_save_vcpu(&vm->vcpu[i], &vcpu);
		if (!err)
			err = tide_migrate_put_state(migrate, VMSTATE_VCPU, i,
						     &vcpu, sizeof(vcpu));
	}
	return err;
}

static int stop(void *opaque)
{
	return tide_vm_stop(opaque);
}

static int resume(void *opaque)
{
	return tide_vm_run(opaque);
}

void tide_vm_send_config(struct tide_vm *vm,
			 struct tide_migrate_send_config *ret_config)
{
	*ret_config = (struct tide_migrate_send_config){
		.size = sizeof(*ret_config),
		.stop = stop,
		.resume = resume,
		.save = save,
		.opaque = vm,
	};
}
