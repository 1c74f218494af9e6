/* SPDX-License-Identifier: MIT */
/*
 * bare_vm_elsewhere.c - bare_vm on hosts that are not x86-64: there is none
 *
 * What needs it skips itself.
 */
#include "bare_vm.h"

#include <errno.h>

int bare_ioctl(int fd, unsigned long request, const void *argument)
{
	(void)fd;
	(void)request;
	(void)argument;
	return -EOPNOTSUPP;
}

int bare_vm_create(struct bare_vm *vm, uint64_t npages)
{
	(void)npages;
	*vm = (struct bare_vm){ .kvm_fd = -1, .vm_fd = -1, .vcpu_fd = -1 };
	return -EOPNOTSUPP;
}

int bare_vm_vcpu(struct bare_vm *vm)
{
	(void)vm;
	return -EOPNOTSUPP;
}

void bare_vm_destroy(struct bare_vm *vm)
{
	(void)vm;
}

int bare_vm_write(struct bare_vm *vm, const uint32_t *pages, size_t count,
		  int (*full)(void *opaque), void *opaque)
{
	(void)vm;
	(void)pages;
	(void)count;
	(void)full;
	(void)opaque;
	return -EOPNOTSUPP;
}
