/* SPDX-License-Identifier: MIT */
/*
 * script.c - make the guest write what the caller says, and wait for it
 *
 * The host puts a job into the vCPU's mailbox while the vCPU is idle, that is
 * inside script_wait(); the vCPU does it and becomes idle again.  The mailbox
 * is guest memory that the host wrote: it is marked.
 */
#include <errno.h>
#include <string.h>
#include <tidemark/mark.h>

#include "vmm/vm.h"

static bool has_job(const struct tide_vm *vm, uint32_t index)
{
	return vm->params->mailbox[index].sequence !=
	       vm->params->vcpu[index].script_done;
}

void script_wait(struct vcpu *vcpu)
{
	struct tide_vm *vm = vcpu->vm;

	tide_lock_assert_held(&vm->lock);
	vcpu->idle = true;
	pthread_cond_broadcast(&vm->left);
	while (vm->running && !vm->quit && !has_job(vm, vcpu->index))
		tide_lock_wait(&vm->lock, &vm->go);
	vcpu->idle = false;
}

static int wait_idle(struct tide_vm *vm, const struct vcpu *vcpu)
	TIDE_MUST_HOLD(vm->lock)
{
	while (vm->running && !vcpu->error &&
	       (!vcpu->idle || has_job(vm, vcpu->index)))
		tide_lock_wait(&vm->lock, &vm->left);
	if (vcpu->error)
		return vcpu->error;
	return vm->running ? 0 : -ECANCELED;
}

/* At most GUEST_MAILBOX_GFNS of them. */
static int write_some(struct tide_vm *vm, struct vcpu *vcpu,
		      const uint64_t *gfns, size_t count, uint64_t value)
	TIDE_MUST_HOLD(vm->lock)
{
	struct guest_mailbox *box = &vm->params->mailbox[vcpu->index];
	int err = wait_idle(vm, vcpu);

	if (err)
		return err;
	memcpy(box->gfn, gfns, count * sizeof(*gfns));
	box->count = count;
	box->value = value;
	box->sequence++;
	err = tide_mark_host(vm->space, box, sizeof(*box));
	if (err)
		return err;
	pthread_cond_broadcast(&vm->go);
	return wait_idle(vm, vcpu);
}

static bool are_work(const struct tide_vm *vm, const uint64_t *gfns,
		     size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!vm_layout_is_work(&vm->layout, gfns[i]))
			return false;
	}
	return true;
}

int tide_vm_write(struct tide_vm *vm, uint32_t vcpu, const uint64_t *gfns,
		  size_t count, uint64_t value)
{
	int err = 0;

	if (vm->config.workload != TIDE_WORKLOAD_SCRIPT ||
	    vcpu >= vm->vcpu_count || !are_work(vm, gfns, count))
		return -EINVAL;

	tide_lock_acquire(&vm->lock);
	if (!vm->running)
		err = -EINVAL;
	while (!err && count) {
		size_t some =
			count < GUEST_MAILBOX_GFNS ? count : GUEST_MAILBOX_GFNS;

		err = write_some(vm, &vm->vcpu[vcpu], gfns, some, value);
		gfns += some;
		count -= some;
	}
	tide_lock_release(&vm->lock);
	return err;
}
