/* SPDX-License-Identifier: MIT */
/*
 * soft_machine.c - a machine whose vCPUs are native workloads on the MMU
 *
 * Nothing is booted: the parameter block lies where an image would begin, and
 * a vCPU's first state is its registers.  The space's tracker tells the MMU
 * of the slots.
 */
#include "vmm/soft_machine.h"

#include <errno.h>
#include <stdlib.h>
#include <tidemark/mmu.h>

#include "vmm/vm.h"

static int soft_open(struct tide_vm *vm)
{
	const struct tide_mmu_config config = { .size = sizeof(config) };

	return tide_mmu_create(&config, &vm->mmu);
}

static int soft_attach(struct tide_vm *vm)
{
	const struct tide_soft_config config = {
		.size = sizeof(config),
		.mmu = vm->mmu,
		.chunk_pages = vm->config.chunk_pages,
		.ring_entries = vm->config.ring_entries,
	};

	return tide_space_attach(vm->space, vm->config.tracker, &config);
}

static int soft_boot(struct tide_vm *vm)
{
	int err = vm_configure(vm, GUEST_IMAGE_GPA);

	if (err)
		return err;
	*vm->params = (struct guest_params){
		.magic = GUEST_MAGIC,
		.params_size = sizeof(*vm->params),
	};
	vm_params_set(vm->params, &vm->config, &vm->layout);
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		soft_workload_init(vm->vcpu[i].soft);
	return 0;
}

static void soft_close(struct tide_vm *vm)
{
	tide_mmu_destroy(vm->mmu);
}

static int soft_write(struct tide_vm *vm, uint64_t gpa, const void *buffer,
		      size_t nbytes)
{
	return tide_mmu_write(vm->mmu, gpa, buffer, nbytes);
}

static int soft_vcpu_create(struct vcpu *vcpu)
{
	struct soft_vcpu *self = calloc(1, sizeof(*self));

	if (!self)
		return -ENOMEM;
	self->vm = vcpu->vm;
	self->index = vcpu->index;
	vcpu->soft = self;
	return tide_vcpu_create(vcpu->vm->mmu, &self->vcpu);
}

static void soft_vcpu_destroy(struct vcpu *vcpu)
{
	if (vcpu->soft)
		tide_vcpu_destroy(vcpu->soft->vcpu);
	free(vcpu->soft);
	vcpu->soft = NULL;
}

/* It stops between two steps only. */
static int soft_in_flight(const struct vcpu *vcpu, enum guest_rip *ret)
{
	(void)vcpu;
	*ret = GUEST_RIP_COUNT;
	return 0;
}

static int soft_save(const struct vcpu *vcpu, void *ret_state)
{
	struct soft_state *state = ret_state;

	*state = (struct soft_state){
		.version = SOFT_STATE_VERSION,
		.workload = vcpu->vm->config.workload,
		.paging = vcpu->vm->config.paging,
		.regs = vcpu->soft->regs,
	};
	return 0;
}

/* The first vCPU says for all of them what their paging is. */
static int soft_load_state(struct vcpu *vcpu, const void *opaque)
{
	const struct soft_state *state = opaque;
	struct tide_vm *vm = vcpu->vm;
	struct soft_vcpu *self = vcpu->soft;

	if (state->version != SOFT_STATE_VERSION ||
	    state->workload != (uint32_t)vm->config.workload || state->unused ||
	    state->paging >= TIDE_PAGING_MODE_COUNT ||
	    (vcpu->index && state->paging != (uint32_t)vm->config.paging))
		return -EINVAL;
	vm->config.paging = (enum tide_paging_mode)state->paging;
	if (!soft_workload_has(self, &state->regs) ||
	    !soft_paging_has(self, &state->regs))
		return -EINVAL;
	self->regs = state->regs;
	return soft_paging_resume(self);
}

const struct machine machine_soft = {
	.name = "soft",
	.state_name = SOFT_STATE_NAME,
	.state_bytes = sizeof(struct soft_state),
	.open = soft_open,
	.attach = soft_attach,
	.boot = soft_boot,
	.close = soft_close,
	.write = soft_write,
	.vcpu_create = soft_vcpu_create,
	.vcpu_destroy = soft_vcpu_destroy,
	.enter = soft_vcpu_enter,
	.leave = soft_vcpu_leave,
	.kick = soft_vcpu_kick,
	.in_flight = soft_in_flight,
	.save = soft_save,
	.load = soft_load_state,
};
