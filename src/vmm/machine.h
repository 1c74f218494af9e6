/* SPDX-License-Identifier: MIT */
/*
 * machine.h - what runs the vCPUs of a VM: KVM, or software on the MMU
 *
 * The rest of the VMM knows memory, threads, the device, the script and the
 * oracle, which are the same for both.  The tracker says which machine a VM
 * has.
 */
#ifndef TIDE_VMM_MACHINE_H
#define TIDE_VMM_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tidemark/tracker.h>

#include "guest/params.h"

struct tide_vm;
struct vcpu;

struct machine {
	const char *name; /* for messages */
	/* A vCPU's piece of a migration stream. */
	const char *state_name;
	size_t state_bytes; /* exactly */

	/* The VM, before it has a space.  Return: 0; an error, and then close
	 * follows. */
	int (*open)(struct tide_vm *vm);
	/* The config's tracker to vm->space, before there are slots. */
	int (*attach)(struct tide_vm *vm);
	/* Without a tracker nobody else does it.  NULL: there always is one. */
	int (*add_memory)(struct tide_vm *vm, uint32_t id, uint64_t gpa,
			  uint64_t bytes);
	/* The guest into memory, vm_configure() and each vCPU's first state. */
	int (*boot)(struct tide_vm *vm);
	/* Space and vCPUs are gone. */
	void (*close)(struct tide_vm *vm);
	/* A device writes: write, then mark. */
	int (*write)(struct tide_vm *vm, uint64_t gpa, const void *buffer,
		     size_t nbytes);

	/* Return: 0; an error, and then vcpu_destroy follows. */
	int (*vcpu_create)(struct vcpu *vcpu);
	void (*vcpu_destroy)(struct vcpu *vcpu);
	/* In the vCPU's thread, without vm->lock.  Return: 0 for something to
	 * serve; -EINTR; another error. */
	int (*enter)(struct vcpu *vcpu);
	/* Then, under vm->lock: take back the kick and serve.  @err: of enter.
	 * Return: 0 or -EINTR; the error that stops the vCPU for good, with
	 * vcpu->reason. */
	int (*leave)(struct vcpu *vcpu, int err);
	/* Under vm->lock, before it parks; what goes wrong is vcpu->error.
	 * NULL: nothing is left to do. */
	void (*park)(struct vcpu *vcpu);
	/* Under vm->lock: enter returns soon, or the next one at once. */
	void (*kick)(struct vcpu *vcpu);

	/* The vCPU is parked. */
	/* What is done and not counted; GUEST_RIP_COUNT: nothing. */
	int (*in_flight)(const struct vcpu *vcpu, enum guest_rip *ret);
	/* @state: state_bytes, aligned to 8.  Return: 0; an error. */
	int (*save)(const struct vcpu *vcpu, void *ret_state);
	/* -EINVAL: it makes no sense. */
	int (*load)(struct vcpu *vcpu, const void *state);
};

/* The one on hosts that cannot refuses the other's guests by it. */
#define KVM_STATE_NAME "tidemark-vcpu"

extern const struct machine machine_kvm;
extern const struct machine machine_soft;

#define MACHINE_STATE_MAX 4096u /* bytes of any machine's vCPU */

/* Is there a machine for it?  Some track processes, and not guests. */
static inline bool machine_has(enum tide_tracker tracker)
{
	return (unsigned int)tracker < TIDE_TRACKER_COUNT &&
	       tracker != TIDE_TRACKER_WP && tracker != TIDE_TRACKER_SIGSEGV &&
	       tracker != TIDE_TRACKER_SOFT_DIRTY;
}

static inline const struct machine *machine_of(enum tide_tracker tracker)
{
	return tracker == TIDE_TRACKER_SOFT_BITMAP ||
			       tracker == TIDE_TRACKER_SOFT_RING
		       ? &machine_soft
		       : &machine_kvm;
}

#endif
