/* SPDX-License-Identifier: MIT */
/*
 * side.h - one machine that answers KVM's dirty-log calls: the kernel's, or
 * the software MMU
 *
 * Both sides hold the guest's own 64 pages at gpa 0 in slot OWN_SLOT, which
 * nobody logs.  Everything else is what the trace makes it.  A side answers
 * with 0, a count or a negative errno, exactly as its implementation does.
 *
 * Threads.  None.
 */
#ifndef TIDE_TEST_SIDE_H
#define TIDE_TEST_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIDE_VCPUS 2u
#define SIDE_OWN_SLOT 500u
#define SIDE_OWN_PAGES 0x40u

struct side_region { /* struct kvm_userspace_memory_region */
	uint32_t slot, flags;
	uint64_t gpa, bytes, host;
};

struct side {
	const char *name;
	/* @paged: the guest's writes go through page tables of its own, if the
	 * side can do without.  Return: 0; a negative errno: not here. */
	int (*create)(bool paged, void **ret_self);
	void (*destroy)(void *self);

	int (*region)(void *self, const struct side_region *region);
	int (*get)(void *self, uint32_t slot, uint64_t *words);
	int (*clear)(void *self, uint32_t slot, uint64_t first_page,
		     uint32_t npages, const uint64_t *words);
	int (*manual)(void *self, uint64_t options);
	int (*ring)(void *self, uint64_t bytes);
	int (*reset)(void *self);
	/* How many address spaces it has. */
	uint32_t (*spaces)(void *self);

	int (*vcpu)(void *self);
	/* 8 bytes of @value to the start of each page, in order.  Return: 0;
	 * -EFAULT if one was nowhere, or read-only, and the rest is written;
	 * -ENOSPC: the ring is full. */
	int (*write)(void *self, uint32_t vcpu, const uint64_t *gfns,
		     size_t count, uint64_t value);
	/* Every ring's filled entries, in order.  Return: how many. */
	int (*harvest)(void *self,
		       void (*found)(void *opaque, uint32_t slot,
				     uint64_t offset),
		       void *opaque);
};

extern const struct side side_kvm;
extern const struct side side_soft;

#endif
