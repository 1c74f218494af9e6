/* SPDX-License-Identifier: MIT */
/*
 * kvm_elsewhere.c - machine_kvm on hosts that are not x86-64: there is none
 *
 * It does not open, so the rest of its functions is never called.
 */
#include <errno.h>

#include "vmm/machine.h"
#include "vmm/vm.h"

static int kvm_open(struct tide_vm *vm)
{
	(void)vm;
	return -EOPNOTSUPP;
}

static void kvm_close(struct tide_vm *vm)
{
	(void)vm;
}

const struct machine machine_kvm = {
	.name = "KVM",
	.state_name = KVM_STATE_NAME,
	.open = kvm_open,
	.close = kvm_close,
};

int tide_guest_image(const struct tide_vm_config *config, void *buffer,
		     size_t size)
{
	(void)config;
	(void)buffer;
	(void)size;
	return -EOPNOTSUPP;
}
