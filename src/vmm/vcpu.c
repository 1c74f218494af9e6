/* SPDX-License-Identifier: MIT */
/*
 * vcpu.c - the thread of a vCPU: enter the guest, serve its exits, park
 *
 * Theory of operation
 * -------------------
 * A vCPU is in one of three places (enum vcpu_place), and every change of
 * place is made by its own thread under vm->lock.  To get it out of the guest
 * one sets what it should find outside and kicks it.
 *
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
 *   I1  kicked only in VCPU_GUEST; a signal is in the queue only if kicked
 *   I2  a parked vCPU has no unfinished instruction, unless it has an error
 */
#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "vmm/vm.h"

#define KICK_SIGNAL SIGRTMAX
#define NS_PER_S 1000000000ull

/* The kernel's sigset_t; glibc's is larger. */
#define KERNEL_SIGSET_BYTES 8u

void vcpu_kick(struct vcpu *vcpu)
{
	if (vcpu->place != VCPU_GUEST || vcpu->kicked)
		return;
	vcpu->kicked = true;
	/* EAGAIN: this user has too many signals queued, for the moment.  A
	 * kick that is lost would be waited for for ever. */
	while (pthread_kill(vcpu->thread, KICK_SIGNAL) == EAGAIN)
		sched_yield();
}

void vcpu_sync_all(void *opaque)
{
	struct tide_vm *vm = opaque;
	uint64_t exits[GUEST_VCPUS_MAX] = { 0 };
	bool inside[GUEST_VCPUS_MAX] = { false };

	pthread_mutex_lock(&vm->lock);
	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		exits[i] = vm->vcpu[i].exits;
		inside[i] = vm->vcpu[i].place == VCPU_GUEST;
		vcpu_kick(&vm->vcpu[i]);
	}
	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		/* One that enters only now was outside: it has no kick that
		 * would end the wait. */
		while (inside[i] && vm->vcpu[i].exits == exits[i])
			pthread_cond_wait(&vm->left, &vm->lock);
	}
	pthread_mutex_unlock(&vm->lock);
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

static int enter_guest(struct vcpu *vcpu)
{
	int err = ioctl(vcpu->fd, KVM_RUN, 0) ? -errno : 0;

	return err == -EINTR || err == -EAGAIN ? -EINTR : err;
}

/* Once in and out without a step, see the head of this file. */
static void finish_instruction(struct vcpu *vcpu)
{
	int err;

	if (!vcpu->unfinished)
		return;
	vcpu->run->immediate_exit = 1;
	err = enter_guest(vcpu);
	vcpu->run->immediate_exit = 0;
	vcpu->unfinished = false;
	if (err != -EINTR && !vcpu->error) {
		vcpu->error = err ? err : -EIO;
		vcpu->reason = vcpu->run->exit_reason;
	}
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

	if (due + vm->pace_ns < now || due > now + vm->pace_ns)
		due = now;
	vcpu->pace_due_ns = due;
	until.tv_sec = (time_t)(due / NS_PER_S);
	until.tv_nsec = (long)(due % NS_PER_S);
	while (vm->running && !vm->quit && tide_now_ns() < due)
		(void)pthread_cond_timedwait(&vm->go, &vm->lock, &until);
}

static void port_out(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	const char *data = (const char *)run + run->io.data_offset;

	switch (run->io.port) {
	case GUEST_PORT_SERIAL:
		for (uint32_t i = 0; i < run->io.size * run->io.count; i++)
			console_put(vcpu->vm, data[i]);
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

/* Under vm->lock.  The tracker's locks come first, so drop ours. */
static int ring_full(struct vcpu *vcpu)
{
	struct tide_vm *vm = vcpu->vm;
	int count;

	pthread_mutex_unlock(&vm->lock);
	count = tide_kvm_ring_full(vm->space, vcpu->fd);
	pthread_mutex_lock(&vm->lock);
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
		port_out(vcpu);
		return 0;
	case KVM_EXIT_DIRTY_RING_FULL:
		return ring_full(vcpu);
	case KVM_EXIT_INTR:
		return 0;
	default: /* a triple fault, or what KVM cannot do */
		return -EIO;
	}
}

/* Under vm->lock.  Return: may it run, or false to leave the thread. */
static bool park_until_go(struct vcpu *vcpu)
{
	struct tide_vm *vm = vcpu->vm;

	while (!vm->quit && (!vm->running || vcpu->error)) {
		finish_instruction(vcpu);
		vcpu->place = VCPU_PARKED;
		pthread_cond_broadcast(&vm->left);
		pthread_cond_wait(&vm->go, &vm->lock);
		vcpu->place = VCPU_HOST;
	}
	return !vm->quit;
}

static void *vcpu_thread(void *opaque)
{
	struct vcpu *vcpu = opaque;
	struct tide_vm *vm = vcpu->vm;

	pthread_mutex_lock(&vm->lock);
	while (park_until_go(vcpu)) {
		int err;

		assert(!vcpu->kicked); /* I1 */
		vcpu->place = VCPU_GUEST;
		vcpu->unfinished = false;
		pthread_mutex_unlock(&vm->lock);
		err = enter_guest(vcpu);
		pthread_mutex_lock(&vm->lock);
		vcpu->place = VCPU_HOST;
		vcpu->exits++;
		take_kick(vcpu);
		pthread_cond_broadcast(&vm->left);

		if (!err)
			err = serve_exit(vcpu);
		if (err && err != -EINTR) {
			vcpu->error = err;
			vcpu->reason = vcpu->run->exit_reason;
		}
	}
	vcpu->place = VCPU_PARKED;
	pthread_cond_broadcast(&vm->left);
	pthread_mutex_unlock(&vm->lock);
	return NULL;
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

/* What it leaves behind when it fails, vcpu_destroy() clears away. */
int vcpu_create(struct tide_vm *vm, uint32_t index)
{
	struct vcpu *vcpu = &vm->vcpu[index];
	int err;

	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->place = VCPU_PARKED;
	vcpu->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
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
	if (vcpu->run)
		munmap(vcpu->run, vcpu->run_bytes);
	vcpu->run = NULL;
	if (vcpu->fd >= 0)
		(void)close(vcpu->fd); /* nothing is buffered */
	vcpu->fd = -1;
}
