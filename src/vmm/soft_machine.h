/* SPDX-License-Identifier: MIT */
/*
 * soft_machine.h - a machine without a CPU: native workloads on the software
 * MMU
 *
 * A workload is a function that makes one page write and counts it.  It
 * reaches guest memory by the calls of <tidemark/vcpu.h> alone, and keeps
 * nothing between two calls but its registers, so that it can stop, and move
 * to another process, between any two.
 *
 *   soft_machine.c    the VM, and the vCPUs' place in it
 *   soft_vcpu.c       into guest mode and out of it; accesses
 *   soft_workloads.c  what the guests of guest/ do, step by step
 *   soft_paging.c     the page tables that they build and change
 */
#ifndef TIDE_VMM_SOFT_MACHINE_H
#define TIDE_VMM_SOFT_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tidemark/vcpu.h>

#include "vmm/machine.h"

#define SOFT_STATE_NAME "tidemark-soft-vcpu"
#define SOFT_STATE_VERSION 1u

/* Between two steps this is all there is of a vCPU. */
struct soft_regs {
	uint64_t booted;  /* words of page tables that are written */
	uint64_t at;	  /* where the workload is; see soft_workloads.c */
	uint64_t filled;  /* hot: pages of its part that are filled */
	uint64_t random;  /* random: the generator */
	uint64_t choice;  /* another: by which mapping to reach a page */
	uint32_t left;	  /* page writes until the batch is done */
	uint32_t greeted; /* the first vCPU has said that it is there */
};

/* In a migration stream. */
struct soft_state {
	uint32_t version;  /* SOFT_STATE_VERSION */
	uint32_t workload; /* enum tide_workload */
	uint32_t paging;   /* enum tide_paging_mode */
	uint32_t unused;   /* 0 */
	struct soft_regs regs;
};

_Static_assert(sizeof(struct soft_state) == 64, "no padding");
_Static_assert(sizeof(struct soft_state) <= MACHINE_STATE_MAX, "it fits in");

struct soft_vcpu {
	/* Constant after create. */
	struct tide_vm *vm;
	uint32_t index;
	struct tide_vcpu *vcpu;

	struct soft_regs regs;

	/* Of the present stay in the guest. */
	bool kicked;	     /* leave after this step */
	uint16_t port;	     /* leave, and do what the port is for; 0: none */
	char says;	     /* leave, and print this; 0: nothing */
	uint32_t reason;     /* the exit that came with an error */
	uint64_t say_due_ns; /* when it says something next */
};

/*
 * soft_vcpu.c.  Return, here and in all that calls them: 0; a negative errno
 * that ends the vCPU.  What can be mended (a full ring) is, and a kick waits
 * for the end of the step.
 */
int soft_load(struct soft_vcpu *self, uint64_t gva, size_t nbytes,
	      uint64_t *ret_value);
int soft_store(struct soft_vcpu *self, uint64_t gva, size_t nbytes,
	       uint64_t value);
/* To a counter that others may add to; sequentially consistent. */
int soft_add(struct soft_vcpu *self, uint64_t gva, uint64_t addend,
	     uint64_t *ret_old);
int soft_vcpu_enter(struct vcpu *vcpu);
int soft_vcpu_leave(struct vcpu *vcpu, int err);
void soft_vcpu_kick(struct vcpu *vcpu);

/* soft_workloads.c */
void soft_workload_init(struct soft_vcpu *self);
int soft_workload_step(struct soft_vcpu *self);
/* Could a workload have left these registers? */
bool soft_workload_has(const struct soft_vcpu *self,
		       const struct soft_regs *regs);

/* soft_paging.c */
bool soft_paging_has(const struct soft_vcpu *self,
		     const struct soft_regs *regs);
/* The registers were loaded: the vCPU's mode to match.  Return: 0; an error. */
int soft_paging_resume(struct soft_vcpu *self);
/* One more word of the tables; *ret_done: nothing is left to do. */
int soft_paging_boot(struct soft_vcpu *self, bool *ret_done);
/* An address that leads to the first byte of @gfn, until the next call. */
int soft_paging_reach(struct soft_vcpu *self, uint64_t gfn, uint64_t *ret_gva);

#endif
