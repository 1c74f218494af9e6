/* SPDX-License-Identifier: MIT */
/*
 * small_vm.h - a guest of seven instructions on /dev/kvm
 *
 * It writes one value to the first 8 bytes of each page of a list.  Slots are
 * whatever the test makes them, gfns up to 16 GiB; the guest's own code and
 * page tables lie in a slot that nobody tracks.
 *
 * Threads.  small_vm_write on one vCPU from one thread at a time; different
 * vCPUs, and small_vm_sync, at the same time as all of it.
 */
#ifndef TIDE_TEST_SMALL_VM_H
#define TIDE_TEST_SMALL_VM_H

#include <stddef.h>
#include <stdint.h>

#include <tidemark/tracker.h>

#define SMALL_VM_VCPUS 2
#define SMALL_VM_LIST 2048u	 /* pages a call can write */
#define SMALL_VM_FIRST_GFN 0x40u /* below is the guest's own */

struct small_vm; /* opaque */

/** small_vm_create() - a VM without vCPUs.  Return: 0; a negative errno. */
int small_vm_create(struct small_vm **ret);
void small_vm_destroy(struct small_vm *vm);
int small_vm_fd(const struct small_vm *vm);
/** small_vm_vcpu() - Return: its descriptor, or a negative errno */
int small_vm_vcpu(struct small_vm *vm);
/** small_vm_space() - whom to tell when a ring is full */
void small_vm_space(struct small_vm *vm, struct tide_space *space);

/** small_vm_attach() - attach @tracker and create both vCPUs, as an embedder
 * does.  Return: 0; a negative errno. */
int small_vm_attach(struct small_vm *vm, struct tide_space *space,
		    enum tide_tracker tracker, uint64_t chunk_pages,
		    uint32_t ring_entries);

/** small_vm_write() - the guest writes @value to each page, in order.
 * Return: 0; -EFAULT when a page is in no slot or a read-only one (the rest
 * is written); a negative errno. */
int small_vm_write(struct small_vm *vm, uint32_t vcpu, const uint64_t *gfns,
		   size_t count, uint64_t value);

/** small_vm_sync() - for struct tide_kvm_config; @opaque is the VM */
void small_vm_sync(void *opaque);

#endif
