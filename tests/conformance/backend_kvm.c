/* SPDX-License-Identifier: MIT */
/*
 * backend_kvm.c - the conformance engine on /dev/kvm, slots as it likes them
 */
#include <errno.h>
#include <stdlib.h>

#include "backends.h"
#include "small_vm.h"

struct kvm {
	struct tide_space *space;
	struct small_vm *vm;
	uint32_t turn; /* which vCPU writes next */
};

struct kvm_kind {
	struct conform_backend backend;
	uint64_t chunk_pages;
};

static void kvm_destroy(void *opaque)
{
	struct kvm *self = opaque;

	tide_space_destroy(self->space);
	small_vm_destroy(self->vm);
	free(self);
}

static int kvm_create(const struct conform_backend *backend,
		      const struct conform_options *options, uint64_t seed,
		      void **ret_self)
{
	/* The backend is the first member. */
	const struct kvm_kind *kind = (const void *)backend;
	struct kvm *self = calloc(1, sizeof(*self));
	int err;

	(void)options;
	(void)seed;
	if (!self)
		return -ENOMEM;
	err = small_vm_create(&self->vm);
	if (!err)
		err = tide_space_create(&self->space);
	if (!err)
		err = small_vm_attach(self->vm, self->space, backend->tracker,
				      kind->chunk_pages, 1024);
	if (err) {
		kvm_destroy(self);
		return err;
	}
	*ret_self = self;
	return 0;
}

static struct tide_space *kvm_space(void *opaque)
{
	struct kvm *self = opaque;

	return self->space;
}

static int kvm_guest_write(void *opaque, const uint64_t *gfns, size_t count,
			   uint64_t value)
{
	struct kvm *self = opaque;
	int err = small_vm_write(self->vm, self->turn++ % SMALL_VM_VCPUS, gfns,
				 count, value);

	return err ? err : (int)count;
}

#define KVM_BACKEND(its_name, its_tracker, its_properties) \
	.backend = {                                       \
		.name = (its_name),                        \
		.tracker = (its_tracker),                  \
		.properties = (its_properties),            \
		.create = kvm_create,                      \
		.destroy = kvm_destroy,                    \
		.space = kvm_space,                        \
		.guest_write = kvm_guest_write,            \
	}

static const struct kvm_kind kvm_get = {
	KVM_BACKEND("kvm-get", TIDE_TRACKER_KVM_GET, 0),
};
static const struct kvm_kind kvm_clear = {
	KVM_BACKEND("kvm-clear", TIDE_TRACKER_KVM_CLEAR, CONFORM_SHARED),
	.chunk_pages = 128,
};
static const struct kvm_kind kvm_ring = {
	KVM_BACKEND("kvm-ring", TIDE_TRACKER_KVM_RING, 0),
};

const struct conform_backend *const conform_kvm[] = {
	&kvm_get.backend,
	&kvm_clear.backend,
	&kvm_ring.backend,
	NULL,
};
