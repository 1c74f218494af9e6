/* SPDX-License-Identifier: MIT */
/*
 * soft_workloads.c - what the guests of guest/ do, step by step
 *
 * The same writes in the same order as guest/workloads.c, counted in the same
 * block, so that the same oracle holds.  A step is one page write with its
 * count, or a word of the page tables at the beginning.
 *
 * soft_regs.at:
 *   walker   the next page, from the first of the vCPU's part on
 *   random   writes so far, which is the stamp of the last
 *   atomic   the next page
 *   hot      the next hot page, from the first of the vCPU's on
 *   script   items of the present job that are done
 */
#include <stddef.h>

#include "base/clock.h"
#include "vmm/soft_machine.h"
#include "vmm/vm.h"

#define SAY_NS 100000000ull /* between two 'B' */
#define BATCH_MAX 1024u	    /* of layout.c */

struct part {
	uint64_t first, pages;
};

static struct part part_of(const struct soft_vcpu *self, uint64_t pages)
{
	uint32_t vcpus = self->vm->config.vcpus;
	uint64_t first = guest_part(pages, self->index, vcpus);

	return (struct part){
		.first = first,
		.pages = guest_part(pages, self->index + 1, vcpus) - first,
	};
}

static struct part work_part(const struct soft_vcpu *self)
{
	return part_of(self, self->vm->layout.work_pages);
}

static struct part hot_part(const struct soft_vcpu *self)
{
	return part_of(self, self->vm->config.hot_pages);
}

/* The parameter block is mapped where it is. */
static uint64_t params_gva(const struct soft_vcpu *self, size_t offset)
{
	return self->vm->params_gpa + offset;
}

#define PARAMS_GVA(self, member) \
	params_gva(self, offsetof(struct guest_params, member))

static uint64_t counts_gva(const struct soft_vcpu *self, size_t offset)
{
	return params_gva(
		self, offsetof(struct guest_params, vcpu) +
			      self->index * sizeof(struct guest_vcpu) + offset);
}

#define COUNTS_GVA(self, member) \
	counts_gva(self, offsetof(struct guest_vcpu, member))

static uint64_t mailbox_gva(const struct soft_vcpu *self, size_t offset)
{
	return params_gva(self,
			  offsetof(struct guest_params, mailbox) +
				  self->index * sizeof(struct guest_mailbox) +
				  offset);
}

/* Add without a lock: nobody else writes there. */
static int bump(struct soft_vcpu *self, uint64_t gva, size_t nbytes,
		uint64_t addend)
{
	uint64_t value;
	int err = soft_load(self, gva, nbytes, &value);

	return err ? err : soft_store(self, gva, nbytes, value + addend);
}

static int reach_index(struct soft_vcpu *self, uint64_t index,
		       uint64_t *ret_gva)
{
	uint64_t low = self->vm->layout.work_low_pages;

	return soft_paging_reach(self, guest_work_gfn(index, low), ret_gva);
}

/* A batch is done: out to the host, to wait or to say that we are there. */
static int end_batch(struct soft_vcpu *self)
{
	uint64_t batch;
	int err = soft_load(self, PARAMS_GVA(self, batch), sizeof(uint32_t),
			    &batch);

	if (err)
		return err;
	self->regs.left = batch && batch <= BATCH_MAX ? (uint32_t)batch : 1;
	if (self->vm->pace_ns)
		self->port = GUEST_PORT_PACE;
	if (self->index == 0 && tide_now_ns() >= self->say_due_ns) {
		self->says = 'B';
		self->say_due_ns = tide_now_ns() + SAY_NS;
	}
	return 0;
}

static int count_write(struct soft_vcpu *self)
{
	int err = bump(self, COUNTS_GVA(self, writes), sizeof(uint64_t), 1);

	if (!err && !--self->regs.left)
		err = end_batch(self);
	return err;
}

static int step_walker(struct soft_vcpu *self)
{
	struct part part = work_part(self);
	uint64_t gva;
	int err = reach_index(self, part.first + self->regs.at, &gva);

	if (!err)
		err = bump(self, gva, sizeof(uint8_t), 1);
	if (err)
		return err;
	if (++self->regs.at == part.pages)
		self->regs.at = 0;
	return count_write(self);
}

static int step_random(struct soft_vcpu *self)
{
	struct part part = work_part(self);
	uint64_t iteration, gva;
	uint64_t random = self->regs.random * GUEST_LCG_FACTOR + GUEST_LCG_TERM;
	int err = reach_index(
		self, part.first + guest_random_page(random, part.pages), &gva);

	if (!err)
		err = soft_load(self, PARAMS_GVA(self, iteration),
				sizeof(iteration), &iteration);
	if (!err)
		err = soft_store(self, gva, sizeof(iteration), iteration);
	if (!err)
		err = soft_store(self, gva + sizeof(iteration),
				 sizeof(uint64_t), self->regs.at + 1);
	if (err)
		return err;
	self->regs.random = random;
	self->regs.at++;
	return count_write(self);
}

static int step_atomic(struct soft_vcpu *self)
{
	uint64_t pages = self->vm->layout.work_pages;
	uint64_t stride, old, gva;
	int err = reach_index(self, self->regs.at, &gva);

	if (!err)
		err = soft_add(self, gva, 1, &old);
	if (!err)
		err = soft_load(self, PARAMS_GVA(self, stride), sizeof(stride),
				&stride);
	if (err)
		return err;
	self->regs.at = (self->regs.at + stride) % pages;
	return count_write(self);
}

static int step_fill(struct soft_vcpu *self)
{
	uint64_t index = work_part(self).first + self->regs.filled;
	uint64_t gva;
	int err = reach_index(self, index, &gva);

	if (!err)
		err = soft_store(
			self, gva + sizeof(uint64_t), sizeof(uint64_t),
			guest_fill_value(self->vm->config.seed, index));
	if (err)
		return err;
	self->regs.filled++;
	return bump(self, COUNTS_GVA(self, filled), sizeof(uint64_t), 1);
}

static int step_hot(struct soft_vcpu *self)
{
	struct part part = hot_part(self);
	uint64_t gva;
	int err;

	if (self->regs.filled < work_part(self).pages)
		return step_fill(self);
	err = reach_index(self,
			  guest_hot_index(part.first + self->regs.at,
					  self->vm->layout.work_pages,
					  self->vm->config.hot_pages),
			  &gva);
	if (!err)
		err = bump(self, gva, sizeof(uint64_t), 1);
	if (err)
		return err;
	if (++self->regs.at == part.pages)
		self->regs.at = 0;
	return count_write(self);
}

static int load_mailbox(struct soft_vcpu *self, size_t offset,
			uint64_t *ret_value)
{
	return soft_load(self, mailbox_gva(self, offset), sizeof(uint64_t),
			 ret_value);
}

/* One item of a job: the page, and what it adds to the sum. */
static int script_item(struct soft_vcpu *self)
{
	uint64_t gfn, value, old, gva;
	int err = load_mailbox(self,
			       offsetof(struct guest_mailbox, gfn) +
				       self->regs.at * sizeof(gfn),
			       &gfn);

	if (!err)
		err = load_mailbox(self, offsetof(struct guest_mailbox, value),
				   &value);
	if (!err)
		err = soft_paging_reach(self, gfn, &gva);
	if (!err)
		err = soft_load(self, gva, sizeof(old), &old);
	if (!err)
		err = soft_store(self, gva, sizeof(value), value);
	if (!err)
		err = bump(self, COUNTS_GVA(self, sum), sizeof(uint64_t),
			   (value - old) * guest_script_weight(gfn));
	if (err)
		return err;
	self->regs.at++;
	return bump(self, COUNTS_GVA(self, writes), sizeof(uint64_t), 1);
}

static int step_script(struct soft_vcpu *self)
{
	uint64_t sequence, done, count;
	int err = load_mailbox(self, offsetof(struct guest_mailbox, sequence),
			       &sequence);

	if (!err)
		err = soft_load(self, COUNTS_GVA(self, script_done),
				sizeof(done), &done);
	if (!err)
		err = load_mailbox(self, offsetof(struct guest_mailbox, count),
				   &count);
	if (err)
		return err;
	if (sequence == done) {
		self->port = GUEST_PORT_SCRIPT;
		return 0;
	}
	if (self->regs.at < count && self->regs.at < GUEST_MAILBOX_GFNS)
		return script_item(self);
	self->regs.at = 0;
	return soft_store(self, COUNTS_GVA(self, script_done), sizeof(done),
			  sequence);
}

void soft_workload_init(struct soft_vcpu *self)
{
	self->regs.random =
		guest_random_seed(self->vm->config.seed, self->index);
	self->regs.choice = self->regs.random;
	self->regs.left = self->vm->params->batch;
}

int soft_workload_step(struct soft_vcpu *self)
{
	static int (*const steps[TIDE_WORKLOAD_COUNT])(struct soft_vcpu *) = {
		[TIDE_WORKLOAD_WALKER] = step_walker,
		[TIDE_WORKLOAD_RANDOM] = step_random,
		[TIDE_WORKLOAD_ATOMIC] = step_atomic,
		[TIDE_WORKLOAD_HOT] = step_hot,
		[TIDE_WORKLOAD_SCRIPT] = step_script,
	};
	bool ready;
	int err = soft_paging_boot(self, &ready);

	if (err || !ready)
		return err;
	if (self->index == 0 && !self->regs.greeted) {
		self->regs.greeted = 1;
		self->says = 'A';
		return 0;
	}
	return steps[self->vm->config.workload](self);
}

static uint64_t at_max(const struct soft_vcpu *self)
{
	switch (self->vm->config.workload) {
	case TIDE_WORKLOAD_WALKER:
		return work_part(self).pages - 1;
	case TIDE_WORKLOAD_ATOMIC:
		return self->vm->layout.work_pages - 1;
	case TIDE_WORKLOAD_HOT:
		return hot_part(self).pages - 1;
	case TIDE_WORKLOAD_SCRIPT:
		return GUEST_MAILBOX_GFNS;
	case TIDE_WORKLOAD_RANDOM:
	case TIDE_WORKLOAD_COUNT:
	default:
		return UINT64_MAX;
	}
}

bool soft_workload_has(const struct soft_vcpu *self,
		       const struct soft_regs *regs)
{
	return regs->at <= at_max(self) &&
	       regs->filled <= work_part(self).pages && regs->left >= 1 &&
	       regs->left <= BATCH_MAX && regs->greeted <= 1;
}
