/* SPDX-License-Identifier: MIT */
/*
 * backend_vm.c - the conformance engine under the project's own VMM
 *
 * Slots and memory are the VMM's; the guest's own pages may change whenever it
 * is told to write.
 */
#include <errno.h>
#include <stdlib.h>

#include <tidemark/vmm.h>

#include "backends.h"

#define VM_VCPUS 2
#define VM_BYTES (16ull << 20)
#define VM_WORK_GFN 0x200u /* below are the guest's own pages */
#define VM_JOB 200u	   /* pages that it is told at a time */

struct vm {
	struct tide_vm *vm;
	uint32_t turn; /* which vCPU writes next */
};

struct vm_kind {
	struct conform_backend backend;
	enum tide_paging_mode paging; /* the soft ones */
};

static void vm_destroy(void *opaque)
{
	struct vm *self = opaque;

	tide_vm_destroy(self->vm);
	free(self);
}

static int vm_create(const struct conform_backend *backend,
		     const struct conform_options *options, uint64_t seed,
		     void **ret_self)
{
	/* The backend is the first member. */
	const struct vm_kind *kind = (const void *)backend;
	struct tide_vm_config config = { .size = sizeof(config),
					 .workload = TIDE_WORKLOAD_SCRIPT,
					 .vcpus = VM_VCPUS,
					 .memory_bytes = VM_BYTES,
					 .slots = options->slots,
					 .seed = seed,
					 .tracker = backend->tracker,
					 .paging = kind->paging,
					 .chunk_pages = 128,
					 .ring_entries = 1024 };
	struct vm *self = calloc(1, sizeof(*self));
	int err;

	if (!self)
		return -ENOMEM;
	err = tide_vm_create(&config, &self->vm);
	if (!err)
		err = tide_vm_run(self->vm);
	if (err) {
		vm_destroy(self);
		return err;
	}
	*ret_self = self;
	return 0;
}

static struct tide_space *vm_space(void *opaque)
{
	struct vm *self = opaque;

	return tide_vm_space(self->vm);
}

static int vm_guest_write(void *opaque, const uint64_t *gfns, size_t count,
			  uint64_t value)
{
	struct vm *self = opaque;

	for (size_t at = 0; at < count; at += VM_JOB) {
		size_t n = count - at < VM_JOB ? count - at : VM_JOB;
		int err = tide_vm_write(self->vm, self->turn++ % VM_VCPUS,
					gfns + at, n, value);

		if (err)
			return err;
	}
	return (int)count;
}

static bool vm_reserved(void *opaque, uint64_t gfn)
{
	(void)opaque;
	return gfn < VM_WORK_GFN;
}

#define VM_BACKEND(its_name, its_tracker, its_properties)       \
	.backend = {                                            \
		.name = (its_name),                             \
		.tracker = (its_tracker),                       \
		.properties = CONFORM_FIXED | (its_properties), \
		.create = vm_create,                            \
		.destroy = vm_destroy,                          \
		.space = vm_space,                              \
		.guest_write = vm_guest_write,                  \
		.reserved = vm_reserved,                        \
	}

static const struct vm_kind vm_get = {
	VM_BACKEND("vm-get", TIDE_TRACKER_KVM_GET, 0),
};
static const struct vm_kind vm_clear = {
	VM_BACKEND("vm-clear", TIDE_TRACKER_KVM_CLEAR, CONFORM_SHARED),
};
static const struct vm_kind vm_ring = {
	VM_BACKEND("vm-ring", TIDE_TRACKER_KVM_RING, 0),
};

static const struct vm_kind vm_soft = {
	VM_BACKEND("vm-soft", TIDE_TRACKER_SOFT_BITMAP, CONFORM_SHARED),
	.paging = TIDE_PAGING_X86_64,
};
static const struct vm_kind vm_soft_ring = {
	VM_BACKEND("vm-soft-ring", TIDE_TRACKER_SOFT_RING, 0),
	.paging = TIDE_PAGING_SV39,
};

const struct conform_backend *const conform_vm[] = {
	&vm_get.backend,  &vm_clear.backend,	 &vm_ring.backend,
	&vm_soft.backend, &vm_soft_ring.backend, NULL,
};
