/* SPDX-License-Identifier: MIT */
/*
 * backend_sim.c - the conformance engine on the simulated kernel
 */
#include <errno.h>
#include <stdlib.h>

#include <tidemark/tracker.h>

#include "backends.h"
#include "sim_kernel.h"

struct sim {
	int vcpu_fd[2];
	struct tide_space *space;
	struct sim_vm *vm;
	uint64_t turn; /* which vCPU writes next */
	bool in_hook;
	void (*hook)(void *opaque);
	void *opaque;
};

struct sim_kind {
	struct conform_backend backend;
	struct sim_config config;
	uint64_t chunk_pages;
};

static void sim_sync(void *opaque)
{
	struct sim *self = opaque;

	sim_kick(self->vm);
}

static int sim_attach(struct sim *self, const struct sim_kind *kind)
{
	struct tide_kvm_config config = {
		.size = sizeof(config),
		.vm_fd = sim_vm_fd(self->vm),
		.chunk_pages = kind->chunk_pages,
		.ring_entries = 1024,
		.sync_vcpus = sim_sync,
		.opaque = self,
	};
	int err =
		tide_space_attach(self->space, kind->backend.tracker, &config);

	for (int v = 0; v < 2 && !err; v++) {
		int fd = sim_vcpu_create(self->vm);

		err = fd < 0 ? fd : tide_kvm_vcpu_add(self->space, fd);
		self->vcpu_fd[v] = fd;
	}
	return err;
}

static void sim_destroy(void *opaque)
{
	struct sim *self = opaque;

	tide_space_destroy(self->space);
	sim_vm_destroy(self->vm);
	free(self);
}

static int sim_create(const struct conform_backend *backend,
		      const struct conform_options *options, uint64_t seed,
		      void **ret_self)
{
	/* The backend is the first member. */
	const struct sim_kind *kind = (const void *)backend;
	struct sim *self = calloc(1, sizeof(*self));
	int err;

	(void)options;
	if (!self)
		return -ENOMEM;
	self->turn = seed;
	err = sim_vm_create(&kind->config, &self->vm);
	if (!err)
		err = tide_space_create(&self->space);
	if (!err)
		err = sim_attach(self, kind);
	if (err) {
		sim_destroy(self);
		return err;
	}
	*ret_self = self;
	return 0;
}

static struct tide_space *sim_space(void *opaque)
{
	struct sim *self = opaque;

	return self->space;
}

/* A full ring is emptied, unless we are in the middle of a call: then the
 * vCPU stays outside. */
static int write_one(struct sim *self, uint64_t gfn, uint64_t value)
{
	uint32_t vcpu = (uint32_t)(self->turn++ / 5 % 2);
	int err = sim_write(self->vm, vcpu, gfn, value);

	while (err == -EAGAIN && !self->in_hook) {
		err = tide_kvm_ring_full(self->space, self->vcpu_fd[vcpu]);
		if (err >= 0) /* the hook may have filled it again */
			err = sim_write(self->vm, vcpu, gfn, value);
	}
	return err;
}

static int sim_guest_write(void *opaque, const uint64_t *gfns, size_t count,
			   uint64_t value)
{
	struct sim *self = opaque;
	int done = 0;

	for (size_t i = 0; i < count; i++) {
		int err = write_one(self, gfns[i], value);

		if (err == -EAGAIN || (err && self->in_hook))
			break;
		if (err && !done)
			return err;
		if (err)
			break;
		done++;
	}
	return done;
}

static bool sim_backend_armed(void *opaque, uint64_t gfn)
{
	struct sim *self = opaque;

	return sim_armed(self->vm, gfn);
}

static void sim_on_stage(void *opaque, unsigned long request,
			 enum sim_stage stage)
{
	struct sim *self = opaque;

	(void)stage;
	if (request == KVM_SET_USER_MEMORY_REGION || self->in_hook)
		return;
	self->in_hook = true;
	if (self->hook)
		self->hook(self->opaque);
	self->in_hook = false;
}

static void sim_set_hook(void *opaque, void (*hook)(void *opaque),
			 void *hook_opaque)
{
	struct sim *self = opaque;

	self->hook = hook;
	self->opaque = hook_opaque;
	sim_hook(self->vm, hook ? sim_on_stage : NULL, self);
}

static void sim_inject(void *opaque, uint64_t random)
{
	static const int errors[] = { EFAULT, ENOMEM, EIO, EINTR };
	struct sim *self = opaque;

	sim_fail(self->vm, 0, 1 + (uint32_t)(random % 3),
		 errors[random / 3 % 4], random / 12 % 2);
	sim_fail_times(self->vm, random / 24 % 3 ? 1 : 3);
}

static uint32_t sim_calm(void *opaque)
{
	struct sim *self = opaque;

	return sim_fail_clear(self->vm);
}

#define SIM_BACKEND(its_name, its_tracker, its_properties) \
	.backend = {                                       \
		.name = (its_name),                        \
		.tracker = (its_tracker),                  \
		.properties = (its_properties),            \
		.create = sim_create,                      \
		.destroy = sim_destroy,                    \
		.space = sim_space,                        \
		.guest_write = sim_guest_write,            \
		.armed = sim_backend_armed,                \
		.hook = sim_set_hook,                      \
		.inject = sim_inject,                      \
		.calm = sim_calm,                          \
	}

static const struct sim_kind sim_get = {
	SIM_BACKEND("sim-get", TIDE_TRACKER_KVM_GET, 0),
};
static const struct sim_kind sim_get_pml = {
	SIM_BACKEND("sim-get-pml", TIDE_TRACKER_KVM_GET, 0),
	.config = { .pml_entries = 20 },
};
static const struct sim_kind sim_clear = {
	SIM_BACKEND("sim-clear", TIDE_TRACKER_KVM_CLEAR, CONFORM_SHARED),
};
/* A kernel that does not offer initially all set, and chunks of a word. */
static const struct sim_kind sim_clear_small = {
	SIM_BACKEND("sim-clear-small", TIDE_TRACKER_KVM_CLEAR, CONFORM_SHARED),
	.config = { .no_initially_set = true },
	.chunk_pages = 64,
};
static const struct sim_kind sim_clear_pml = {
	SIM_BACKEND("sim-clear-pml", TIDE_TRACKER_KVM_CLEAR, CONFORM_SHARED),
	.config = { .pml_entries = 20 },
	.chunk_pages = 128,
};
static const struct sim_kind sim_ring_kind = {
	SIM_BACKEND("sim-ring", TIDE_TRACKER_KVM_RING, 0),
	.config = { .ring_reserved = 1024 - 60 },
};
static const struct sim_kind sim_ring_pml = {
	SIM_BACKEND("sim-ring-pml", TIDE_TRACKER_KVM_RING, 0),
	.config = { .pml_entries = 20, .ring_reserved = 1024 - 60 },
};

const struct conform_backend *const conform_sim[] = {
	&sim_get.backend,	&sim_get_pml.backend,
	&sim_clear.backend,	&sim_clear_small.backend,
	&sim_clear_pml.backend, &sim_ring_kind.backend,
	&sim_ring_pml.backend,	NULL,
};
