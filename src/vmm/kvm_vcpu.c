/* SPDX-License-Identifier: MIT */
/*
 * kvm_vcpu.c - a vCPU of KVM: into the guest, out of it, and what it wanted
 *
 * Theory of operation
 * -------------------
 * A kick is a signal to that one thread.  It is blocked everywhere but inside
 * KVM_RUN (KVM_SET_SIGNAL_MASK), so that KVM_RUN ends with -EINTR however
 * early the signal came, no handler is needed, and no disposition of the
 * process is touched.  The thread takes it from its queue afterwards.
 *
 * An instruction that left the guest for us (a port write) is finished by the
 * next KVM_RUN.  Before a vCPU parks, one that returns at once finishes it,
 * so that the registers of a parked vCPU are between two instructions.
 *
 * Invariants
 *   I1  a signal is in the queue only if kicked
 *   I2  a parked vCPU has no unfinished instruction, unless it has an error
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vmm/kvm_machine.h"
#include "vmm/vm.h"

#define KICK_SIGNAL SIGRTMAX

/* The kernel's sigset_t; glibc's is larger. */
#define KERNEL_SIGSET_BYTES 8u

void kvm_vcpu_kick(struct vcpu *vcpu)
{
	/* EAGAIN: this user has too many signals queued, for the moment.  A
	 * kick that is lost would be waited for for ever. */
	while (pthread_kill(vcpu->thread, KICK_SIGNAL) == EAGAIN)
		sched_yield();
}

/* The kick that was sent, and there is exactly one, is in the queue (I1). */
static void take_kick(struct vcpu *vcpu)
{
	static const struct timespec at_once = { 0, 0 };
	sigset_t set;

	if (!vcpu->kicked)
		return;
	sigemptyset(&set);
	sigaddset(&set, KICK_SIGNAL);
	(void)sigtimedwait(&set, NULL, &at_once); /* it is there */
	vcpu->kicked = false;
}

static int run_guest(struct vcpu *vcpu)
{
	int err = ioctl(vcpu->fd, KVM_RUN, 0) ? -errno : 0;

	return err == -EINTR || err == -EAGAIN ? -EINTR : err;
}

int kvm_vcpu_enter(struct vcpu *vcpu)
{
	vcpu->unfinished = false;
	return run_guest(vcpu);
}

/* Once in and out without a step, see the head of this file. */
void kvm_vcpu_park(struct vcpu *vcpu)
{
	int err;

	if (!vcpu->unfinished)
		return;
	vcpu->run->immediate_exit = 1;
	err = run_guest(vcpu);
	vcpu->run->immediate_exit = 0;
	vcpu->unfinished = false;
	if (err != -EINTR && !vcpu->error) {
		vcpu->error = err ? err : -EIO;
		vcpu->reason = vcpu->run->exit_reason;
	}
}

/* The tracker's locks come first, so drop ours. */
static int ring_full(struct vcpu *vcpu) TIDE_UNCHECKED
{
	struct tide_vm *vm = vcpu->vm;
	int count;

	tide_lock_release(&vm->lock);
	count = tide_kvm_ring_full(vm->space, vcpu->fd);
	tide_lock_acquire(&vm->lock);
	return count < 0 ? count : 0;
}

static int serve_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		vcpu->unfinished = true;
		if (run->io.direction != KVM_EXIT_IO_OUT)
			return -EIO; /* the guests have no use for it */
		vcpu_port_out(vcpu, run->io.port,
			      (const char *)run + run->io.data_offset,
			      (size_t)run->io.size * run->io.count);
		return 0;
	case KVM_EXIT_DIRTY_RING_FULL:
		return ring_full(vcpu);
	case KVM_EXIT_INTR:
		return 0;
	default: /* a triple fault, or what KVM cannot do */
		return -EIO;
	}
}

int kvm_vcpu_leave(struct vcpu *vcpu, int err)
{
	take_kick(vcpu);
	vcpu->reason = vcpu->run->exit_reason;
	return err ? err : serve_exit(vcpu);
}

static int set_signal_mask(const struct vcpu *vcpu)
{
	struct {
		struct kvm_signal_mask head;
		uint8_t set[KERNEL_SIGSET_BYTES];
	} mask = { .head = { .len = KERNEL_SIGSET_BYTES } };
	sigset_t all_but_kick;

	_Static_assert(sizeof(mask) == sizeof(mask.head) + sizeof(mask.set),
		       "the set follows the length");
	sigfillset(&all_but_kick);
	sigdelset(&all_but_kick, KICK_SIGNAL);
	memcpy(mask.set, &all_but_kick, sizeof(mask.set));
	return ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, &mask) ? -errno : 0;
}

static int map_run(struct vcpu *vcpu)
{
	int bytes = ioctl(vcpu->vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	void *run;

	if (bytes < 0)
		return -errno;
	run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		   vcpu->fd, 0);
	if (run == MAP_FAILED)
		return -errno;
	vcpu->run = run;
	vcpu->run_bytes = (size_t)bytes;
	return 0;
}

int kvm_vcpu_create(struct vcpu *vcpu)
{
	struct tide_vm *vm = vcpu->vm;
	int err;

	vcpu->fd =
		ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)vcpu->index);
	if (vcpu->fd < 0)
		return -errno;
	err = map_run(vcpu);
	/* What the host has; the guest asks for none of it. */
	if (!err && ioctl(vcpu->fd, KVM_SET_CPUID2, vm->cpuid))
		err = -errno;
	if (!err)
		err = set_signal_mask(vcpu);
	if (!err && vm->config.tracker != TIDE_TRACKER_NONE)
		err = tide_kvm_vcpu_add(vm->space, vcpu->fd);
	return err;
}

void kvm_vcpu_destroy(struct vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, vcpu->run_bytes);
	vcpu->run = NULL;
	if (vcpu->fd >= 0)
		(void)close(vcpu->fd); /* nothing is buffered */
	vcpu->fd = -1;
}

int kvm_vcpu_in_flight(const struct vcpu *vcpu, enum guest_rip *ret)
{
	const struct guest_params *params = vcpu->vm->params;
	struct kvm_regs regs;
	unsigned int at = 0;

	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs))
		return -errno;
	while (at < GUEST_RIP_COUNT && params->rip[at] != regs.rip)
		at++;
	*ret = (enum guest_rip)at;
	return 0;
}
