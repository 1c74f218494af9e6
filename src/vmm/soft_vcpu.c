/* SPDX-License-Identifier: MIT */
/*
 * soft_vcpu.c - a software vCPU: into guest mode, steps, out again
 *
 * Theory of operation
 * -------------------
 * The loop of <tidemark/vcpu.h>: enter, a step of the workload, a safe point.
 * An exit may come in the middle of a step, from any access.  A full ring is
 * emptied on the spot and the access made again; a kick is only noted, and
 * the step goes on to its end, so that what it wrote is counted whenever the
 * vCPU is outside (the oracle relies on it).  Steps are short: a kick is
 * obeyed within microseconds.
 */
#include <errno.h>

#include "vmm/soft_machine.h"
#include "vmm/vm.h"

/* The vCPU has left guest mode with @why: bring it back. */
static int resume(struct soft_vcpu *self, int why)
{
	while (why > 0) {
		const struct tide_exit *last = tide_vcpu_last_exit(self->vcpu);

		self->reason = (uint32_t)why;
		if (why == TIDE_EXIT_RING_FULL) {
			int count = tide_soft_ring_full(self->vm->space);

			if (count < 0)
				return count;
		} else if (why == TIDE_EXIT_KICKED) {
			self->kicked = true;
		} else if (why == TIDE_EXIT_ERROR) {
			return last->error;
		} else { /* the workloads' tables and addresses are right */
			return -EFAULT;
		}
		why = tide_vcpu_enter(self->vcpu);
	}
	return why;
}

int soft_load(struct soft_vcpu *self, uint64_t gva, size_t nbytes,
	      uint64_t *ret_value)
{
	int err;

	do {
		int why = tide_vcpu_load(self->vcpu, gva, nbytes, ret_value);

		if (!why)
			return 0;
		err = resume(self, why);
	} while (!err);
	return err;
}

int soft_store(struct soft_vcpu *self, uint64_t gva, size_t nbytes,
	       uint64_t value)
{
	int err;

	do {
		int why = tide_vcpu_store(self->vcpu, gva, nbytes, value);

		if (!why)
			return 0;
		err = resume(self, why);
	} while (!err);
	return err;
}

int soft_add(struct soft_vcpu *self, uint64_t gva, uint64_t addend,
	     uint64_t *ret_old)
{
	int err;

	do {
		int why = tide_vcpu_fetch_add(self->vcpu, gva, sizeof(*ret_old),
					      addend, ret_old);

		if (!why)
			return 0;
		err = resume(self, why);
	} while (!err);
	return err;
}

int soft_vcpu_enter(struct vcpu *vcpu)
{
	struct soft_vcpu *self = vcpu->soft;
	int err;

	self->kicked = false;
	self->port = 0;
	self->says = 0;
	err = resume(self, tide_vcpu_enter(self->vcpu));
	while (!err && !self->kicked && !self->port && !self->says) {
		err = soft_workload_step(self);
		if (!err)
			err = resume(self, tide_vcpu_safe_point(self->vcpu));
	}
	/* -EPERM when the error took it out. */
	(void)tide_vcpu_exit(self->vcpu);
	if (err)
		return err;
	return self->port || self->says ? 0 : -EINTR;
}

int soft_vcpu_leave(struct vcpu *vcpu, int err)
{
	struct soft_vcpu *self = vcpu->soft;

	/* A kick that came too late is taken by the next enter. */
	vcpu->kicked = false;
	vcpu->reason = self->reason;
	if (err)
		return err;
	if (self->says)
		vcpu_port_out(vcpu, GUEST_PORT_SERIAL, &self->says, 1);
	if (self->port)
		vcpu_port_out(vcpu, self->port, NULL, 0);
	return 0;
}

void soft_vcpu_kick(struct vcpu *vcpu)
{
	tide_vcpu_kick(vcpu->soft->vcpu);
}
