/* SPDX-License-Identifier: MIT */
/*
 * small_vm_elsewhere.c - small_vm on hosts that are not x86-64: there is none
 *
 * It is never created, so the rest of its functions is never called.
 */
#include "small_vm.h"

#include <errno.h>

int small_vm_create(struct small_vm **ret)
{
	(void)ret;
	return -EOPNOTSUPP;
}

void small_vm_destroy(struct small_vm *vm)
{
	(void)vm;
}

int small_vm_fd(const struct small_vm *vm)
{
	(void)vm;
	return -EOPNOTSUPP;
}

int small_vm_vcpu(struct small_vm *vm)
{
	(void)vm;
	return -EOPNOTSUPP;
}

void small_vm_space(struct small_vm *vm, struct tide_space *space)
{
	(void)vm;
	(void)space;
}

int small_vm_attach(struct small_vm *vm, struct tide_space *space,
		    enum tide_tracker tracker, uint64_t chunk_pages,
		    uint32_t ring_entries)
{
	(void)vm;
	(void)space;
	(void)tracker;
	(void)chunk_pages;
	(void)ring_entries;
	return -EOPNOTSUPP;
}

int small_vm_write(struct small_vm *vm, uint32_t vcpu, const uint64_t *gfns,
		   size_t count, uint64_t value)
{
	(void)vm;
	(void)vcpu;
	(void)gfns;
	(void)count;
	(void)value;
	return -EOPNOTSUPP;
}

void small_vm_sync(void *opaque)
{
	(void)opaque;
}
