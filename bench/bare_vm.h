/* SPDX-License-Identifier: MIT */
/*
 * bare_vm.h - the smallest VM that writes pages, for raw ioctls
 *
 * One vCPU in ring 3, where this runs at full speed with real faults, that
 * stores a word to each page of a list and comes out by a port.  The
 * benchmark makes two: one is harvested by ioctls written straight, the other
 * by the library.
 */
#ifndef BARE_VM_H
#define BARE_VM_H

#include <stddef.h>
#include <stdint.h>

#define BARE_SLOT 1u

struct bare_vm {
	int kvm_fd, vm_fd, vcpu_fd;
	void *run;
	size_t run_size;
	unsigned char *low;    /* slot 0: tables, code, the list of pages */
	unsigned char *memory; /* slot 1 */
	void *mapped;
	size_t mapped_size;
	uint64_t npages;
	uint64_t first_gfn;
};

/* The VM and its memory; slot 0 is there, slot 1 is the caller's to add.
 * Return: 0 or a negative errno. */
int bare_vm_create(struct bare_vm *vm, uint64_t npages);
/* The vCPU; after the ring was turned on. */
int bare_vm_vcpu(struct bare_vm *vm);
void bare_vm_destroy(struct bare_vm *vm);

/* The guest writes to pages[0..count) of slot 1.  When the ring is full
 * @full(opaque) empties it. */
int bare_vm_write(struct bare_vm *vm, const uint32_t *pages, size_t count,
		  int (*full)(void *opaque), void *opaque);

int bare_ioctl(int fd, unsigned long request, const void *argument);

#endif
