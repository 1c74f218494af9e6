/* SPDX-License-Identifier: MIT */
/*
 * vcpu_thread.c - the thread of a vCPU: enter the guest, serve its exits, park
 *
 * Theory of operation
 * -------------------
 * A vCPU is in one of three places (enum vcpu_place), and every change of
 * place is made by its own thread under vm->lock.  To get it out of the guest
 * one sets what it should find outside and kicks it.  How it enters, what it
 * comes out with and what a kick is, the machine knows (machine.h).
 *
 * Invariants
 *   I1  kicked only in VCPU_GUEST
 */
#include <assert.h>
#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "vmm/machine.h"
#include "vmm/vm.h"

#define NS_PER_S 1000000000ull

void vcpu_kick(struct vcpu *vcpu)
{
	tide_lock_assert_held(&vcpu->vm->lock);
	if (vcpu->place != VCPU_GUEST || vcpu->kicked)
		return;
	vcpu->kicked = true;
	vcpu->vm->machine->kick(vcpu);
}

void vcpu_sync_all(void *opaque)
{
	struct tide_vm *vm = opaque;
	uint64_t exits[GUEST_VCPUS_MAX] = { 0 };
	bool inside[GUEST_VCPUS_MAX] = { false };

	tide_lock_acquire(&vm->lock);
	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		exits[i] = vm->vcpu[i].exits;
		inside[i] = vm->vcpu[i].place == VCPU_GUEST;
		vcpu_kick(&vm->vcpu[i]);
	}
	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		/* One that enters only now was outside: it has no kick that
		 * would end the wait. */
		while (inside[i] && vm->vcpu[i].exits == exits[i])
			tide_lock_wait(&vm->lock, &vm->left);
	}
	tide_lock_release(&vm->lock);
}

static void console_put(struct tide_vm *vm, char byte)
{
	vm->console[vm->console_end++ % VM_CONSOLE_SIZE] = byte;
	if (vm->console_end - vm->console_begin > VM_CONSOLE_SIZE)
		vm->console_begin = vm->console_end - VM_CONSOLE_SIZE;
}

/* A batch is done: hold the vCPU until the next one is due.  What it fell
 * behind is made up for, but never by more than one batch. */
static void pace_wait(struct vcpu *vcpu)
{
	struct tide_vm *vm = vcpu->vm;
	uint64_t due = vcpu->pace_due_ns + vm->pace_ns;
	uint64_t now = tide_now_ns();
	struct timespec until;

	tide_lock_assert_held(&vm->lock);
	if (due + vm->pace_ns < now || due > now + vm->pace_ns)
		due = now;
	vcpu->pace_due_ns = due;
	until.tv_sec = (time_t)(due / NS_PER_S);
	until.tv_nsec = (long)(due % NS_PER_S);
	while (vm->running && !vm->quit && tide_now_ns() < due)
		tide_lock_wait_until(&vm->lock, &vm->go, &until);
}

void vcpu_port_out(struct vcpu *vcpu, uint16_t port, const void *data,
		   size_t nbytes)
{
	const char *bytes = data;

	switch (port) {
	case GUEST_PORT_SERIAL:
		for (size_t i = 0; i < nbytes; i++)
			console_put(vcpu->vm, bytes[i]);
		break;
	case GUEST_PORT_PACE:
		pace_wait(vcpu);
		break;
	case GUEST_PORT_SCRIPT:
		script_wait(vcpu);
		break;
	default: /* nobody listens */
		break;
	}
}

/* Return: may it run, or false to leave the thread. */
static bool park_until_go(struct vcpu *vcpu)
{
	struct tide_vm *vm = vcpu->vm;

	tide_lock_assert_held(&vm->lock);
	while (!vm->quit && (!vm->running || vcpu->error)) {
		if (vm->machine->park)
			vm->machine->park(vcpu);
		vcpu->place = VCPU_PARKED;
		pthread_cond_broadcast(&vm->left);
		tide_lock_wait(&vm->lock, &vm->go);
		vcpu->place = VCPU_HOST;
	}
	return !vm->quit;
}

static void *vcpu_thread(void *opaque)
{
	struct vcpu *vcpu = opaque;
	struct tide_vm *vm = vcpu->vm;

	tide_lock_acquire(&vm->lock);
	while (park_until_go(vcpu)) {
		int err;

		assert(!vcpu->kicked); /* I1 */
		vcpu->place = VCPU_GUEST;
		tide_lock_release(&vm->lock);
		err = vm->machine->enter(vcpu);
		tide_lock_acquire(&vm->lock);
		vcpu->place = VCPU_HOST;
		vcpu->exits++;
		pthread_cond_broadcast(&vm->left);

		err = vm->machine->leave(vcpu, err);
		if (err && err != -EINTR)
			vcpu->error = err;
	}
	vcpu->place = VCPU_PARKED;
	pthread_cond_broadcast(&vm->left);
	tide_lock_release(&vm->lock);
	return NULL;
}

/* What it leaves behind when it fails, vcpu_destroy() clears away. */
int vcpu_create(struct tide_vm *vm, uint32_t index)
{
	struct vcpu *vcpu = &vm->vcpu[index];

	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->place = VCPU_PARKED;
	return vm->machine->vcpu_create(vcpu);
}

int vcpu_start_thread(struct vcpu *vcpu)
{
	sigset_t old;
	int err;

	vm_signals_block(&old);
	err = -pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
	vm_signals_restore(&old);
	vcpu->has_thread = !err;
	return err;
}

/* After vm->quit was set. */
void vcpu_join(struct vcpu *vcpu)
{
	if (!vcpu->has_thread)
		return;
	(void)pthread_join(vcpu->thread, NULL); /* it is ours and joinable */
	vcpu->has_thread = false;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	if (vcpu->vm)
		vcpu->vm->machine->vcpu_destroy(vcpu);
}
