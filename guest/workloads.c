/* SPDX-License-Identifier: MIT */
/*
 * workloads.c - the self-checking workloads
 *
 * Each writes pages in an order that the host can work out from the counts
 * in guest_params, so that every page has exactly one right content
 * (src/vmm/oracle.c).  Few instructions a page: where a hypervisor emulates
 * the guest, each one costs a microsecond.
 */
#include "params.h"

_Static_assert(GUEST_STACK_SIZE == 1 << 12, "entry.S shifts by 12");

/* entry.S */
void guest_write_byte(uint8_t *page, uint64_t *count);
void guest_write_locked(uint64_t *page, uint64_t *count);
void guest_write_word(uint64_t *page, uint64_t *count);
void guest_write_fill(uint64_t *word, uint64_t *count, uint64_t value);
void guest_write_iteration(uint64_t *page, const uint64_t *iteration,
			   uint64_t stamp, uint64_t *count);
extern const char guest_byte_written[], guest_locked_written[],
	guest_word_written[], guest_fill_written[], guest_iteration_written[],
	guest_stamp_written[];

extern struct guest_params guest_params;
_Noreturn void guest_main(uint32_t vcpu);

struct guest_params guest_params = {
	.magic = GUEST_MAGIC,
	.params_size = sizeof(struct guest_params),
	.workload = GUEST_WALKER,
	.vcpus = 1,
	.batch = 1024,
	.work_pages = 100 << 8,
	.low_pages = 100 << 8,
	.stride = 1,
	.hot_pages = 1600,
	.rip = {
		[GUEST_RIP_BYTE] = (uintptr_t)guest_byte_written,
		[GUEST_RIP_LOCKED] = (uintptr_t)guest_locked_written,
		[GUEST_RIP_WORD] = (uintptr_t)guest_word_written,
		[GUEST_RIP_FILL] = (uintptr_t)guest_fill_written,
		[GUEST_RIP_ITERATION] = (uintptr_t)guest_iteration_written,
		[GUEST_RIP_STAMP] = (uintptr_t)guest_stamp_written,
	},
	.iteration = 1,
};

/* About a tenth of a second between two 'B'. */
#define MARK_TICKS (1ull << 28)

struct pace {
	uint32_t left;	   /* writes of this batch */
	uint64_t due;	   /* TSC: the next batch may begin */
	uint64_t mark_due; /* TSC: the next 'B' */
	uint32_t marks;	   /* vCPU 0 says it for all of them */
};

static void port_write(uint16_t port, uint8_t byte)
{
	__asm__ volatile("outb %0, %1" : : "a"(byte), "Nd"(port) : "memory");
}

static uint64_t ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static void *page_at(uint64_t index)
{
	uint64_t gfn = guest_work_gfn(index, guest_params.low_pages);

	return (void *)(uintptr_t)(gfn << 12);
}

/* Kept out of the loops: the common case there is one decrement. */
__attribute__((noinline)) static void pace_batch(struct pace *pace)
{
	const struct guest_params *params = &guest_params;
	uint64_t now;

	pace->left = params->batch;
	if (params->pace_port)
		port_write(GUEST_PORT_PACE, 0);
	do {
		now = ticks();
	} while (params->ticks_per_batch && (int64_t)(pace->due - now) > 0);
	/* Time lost is not made up for: a burst would not be a limit. */
	pace->due = now + params->ticks_per_batch;

	if (pace->marks && (int64_t)(now - pace->mark_due) >= 0) {
		port_write(GUEST_PORT_SERIAL, 'B');
		pace->mark_due = now + MARK_TICKS;
	}
}

static struct pace pace_start(uint32_t vcpu)
{
	uint64_t now = ticks();

	return (struct pace){ .left = guest_params.batch,
			      .due = now + guest_params.ticks_per_batch,
			      .mark_due = now,
			      .marks = vcpu == 0 };
}

static void pace_write(struct pace *pace)
{
	if (!--pace->left)
		pace_batch(pace);
}

/* One byte a page, in address order, each vCPU in its own part. */
_Noreturn static void guest_walker(uint64_t first, uint64_t end,
				   struct guest_vcpu *self, uint32_t vcpu)
{
	struct pace pace = pace_start(vcpu);

	for (;;) {
		for (uint64_t i = first; i < end; i++) {
			guest_write_byte(page_at(i), &self->writes);
			pace_write(&pace);
		}
	}
}

/* The iteration, then the number of this write, to a page at random. */
_Noreturn static void guest_random(uint64_t first, uint64_t end,
				   struct guest_vcpu *self, uint32_t vcpu)
{
	uint64_t state = guest_random_seed(guest_params.seed, vcpu);
	uint64_t pages = end - first;
	struct pace pace = pace_start(vcpu);

	for (uint64_t stamp = 1;; stamp++) {
		state = state * GUEST_LCG_FACTOR + GUEST_LCG_TERM;
		guest_write_iteration(
			page_at(first + guest_random_page(state, pages)),
			&guest_params.iteration, stamp, &self->writes);
		pace_write(&pace);
	}
}

/* Every vCPU adds to every page, in strides. */
_Noreturn static void guest_atomic(struct guest_vcpu *self, uint32_t vcpu)
{
	uint64_t pages = guest_params.work_pages;
	uint64_t stride = guest_params.stride;
	struct pace pace = pace_start(vcpu);

	for (uint64_t i = 0;;) {
		guest_write_locked(page_at(i), &self->writes);
		pace_write(&pace);
		i += stride;
		if (i >= pages)
			i -= pages;
	}
}

/* Fill this vCPU's part of memory once, then go round its hot pages. */
_Noreturn static void guest_hot(uint64_t first, uint64_t end,
				struct guest_vcpu *self, uint32_t vcpu)
{
	const struct guest_params *params = &guest_params;
	uint64_t hot_first = guest_part(params->hot_pages, vcpu, params->vcpus);
	uint64_t hot_end =
		guest_part(params->hot_pages, vcpu + 1, params->vcpus);
	uint64_t step = params->work_pages / params->hot_pages;
	struct pace pace = pace_start(vcpu);

	for (uint64_t i = first; i < end; i++) {
		uint64_t *page = page_at(i);

		guest_write_fill(&page[1], &self->filled,
				 guest_fill_value(params->seed, i));
	}
	for (;;) {
		for (uint64_t i = hot_first; i < hot_end; i++) {
			guest_write_word(page_at(i * step), &self->writes);
			pace_write(&pace);
		}
	}
}

/*
 * Idle until the host has put a job into the mailbox.  The sum over all pages
 * of weight times content equals the sum over the vCPUs of guest_vcpu.sum.
 */
_Noreturn static void guest_script(struct guest_vcpu *self,
				   const struct guest_mailbox *box)
{
	for (;;) {
		port_write(GUEST_PORT_SCRIPT, 0);
		if (box->sequence == self->script_done)
			continue;
		for (uint64_t i = 0; i < box->count; i++) {
			uint64_t gfn = box->gfn[i];
			uint64_t *page = (uint64_t *)(uintptr_t)(gfn << 12);

			self->sum +=
				(box->value - *page) * guest_script_weight(gfn);
			*page = box->value;
			self->writes++;
		}
		self->script_done = box->sequence;
	}
}

_Noreturn void guest_main(uint32_t vcpu)
{
	const struct guest_params *params = &guest_params;
	struct guest_vcpu *self = &guest_params.vcpu[vcpu];
	uint64_t first = guest_part(params->work_pages, vcpu, params->vcpus);
	uint64_t end = guest_part(params->work_pages, vcpu + 1, params->vcpus);

	if (vcpu == 0)
		port_write(GUEST_PORT_SERIAL, 'A');

	switch ((enum guest_workload)params->workload) {
	case GUEST_RANDOM:
		guest_random(first, end, self, vcpu);
	case GUEST_ATOMIC:
		guest_atomic(self, vcpu);
	case GUEST_HOT:
		guest_hot(first, end, self, vcpu);
	case GUEST_SCRIPT:
		guest_script(self, &guest_params.mailbox[vcpu]);
	case GUEST_WALKER:
	case GUEST_WORKLOAD_COUNT:
	default:
		guest_walker(first, end, self, vcpu);
	}
}
