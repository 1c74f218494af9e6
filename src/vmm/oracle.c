/* SPDX-License-Identifier: MIT */
/*
 * oracle.c - is memory exactly what the workload must have left?
 *
 * Theory of operation
 * -------------------
 * Each vCPU writes pages in an order that is known beforehand and counts its
 * writes, so its count says what every page of its own must hold, and several
 * counts what a shared page must.  A write that is done and not yet counted
 * shows in the vCPU's instruction pointer (enum guest_rip; a software CPU
 * stops where there is none).  Nothing is left
 * to tolerate: a page that is one write old, or new, or has one wrong bit
 * anywhere, fails.
 *
 * The strength of each:
 *
 *   walker   QEMU's rule (bytes fall by one in at most one place) holds too,
 *            but here the place is known.
 *   random   the stamp is the number of the write, so the last writer of each
 *            page is found by running the generator backwards.  The iteration
 *            number beside it is only bounded: it never falls from one write
 *            to the next, and is not beyond the host's.
 *   atomic   sum over the vCPUs of their visits to the page.
 *   hot      as walker, and the cold pages are filled or not by count.
 *   script   one weighted sum over all pages: many wrong pages could cancel
 *            out, one cannot.
 *   device   as walker.
 *
 * What it does not check: the image, the page tables and the counts
 * themselves, which the guest could not run without.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "vmm/machine.h"
#include "vmm/vm.h"

#define PAGE_WORDS (TIDE_PAGE_SIZE / sizeof(uint64_t))

#define NOTHING_IN_FLIGHT UINT64_MAX

struct oracle {
	struct tide_vm *vm;
	const struct vm_layout *layout;
	uint32_t vcpus;
	/* Per vCPU: done, counted or not. */
	uint64_t writes[GUEST_VCPUS_MAX];
	uint64_t filled[GUEST_VCPUS_MAX];
	bool half_written[GUEST_VCPUS_MAX]; /* random: no stamp yet */

	char *message;
	size_t message_size;
};

void oracle_say(char *message, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	/* A text that is cut short is still a text. */
	(void)vsnprintf(message, message ? size : 0, format, args);
	va_end(args);
}

static int read_counts(struct oracle *oracle, const struct vcpu *vcpu)
{
	const struct guest_params *params = oracle->vm->params;
	const struct guest_vcpu *counts = &params->vcpu[vcpu->index];
	enum guest_rip rip;
	int err = vcpu->vm->machine->in_flight(vcpu, &rip);

	if (err)
		return err;
	oracle->writes[vcpu->index] =
		counts->writes +
		(rip == GUEST_RIP_BYTE || rip == GUEST_RIP_LOCKED ||
		 rip == GUEST_RIP_WORD || rip == GUEST_RIP_STAMP);
	oracle->filled[vcpu->index] = counts->filled + (rip == GUEST_RIP_FILL);
	oracle->half_written[vcpu->index] = rip == GUEST_RIP_ITERATION;
	return 0;
}

static const uint64_t *work_page(const struct oracle *oracle, uint64_t index)
{
	uint64_t gfn = guest_work_gfn(index, oracle->layout->work_low_pages);

	return (const void *)(oracle->vm->base + (gfn << TIDE_PAGE_SHIFT));
}

static bool is_zero(const uint64_t *words, size_t count)
{
	uint64_t any = 0;

	for (size_t i = 0; i < count; i++)
		any |= words[i];
	return !any;
}

/* Does the page at @gfn begin with these two words, and is the rest zero? */
static int expect_page(const struct oracle *oracle, const uint64_t *page,
		       uint64_t first, uint64_t second)
{
	uint64_t gfn = (uint64_t)((const uint8_t *)page - oracle->vm->base) >>
		       TIDE_PAGE_SHIFT;

	if (page[0] != first || page[1] != second) {
		oracle_say(oracle->message, oracle->message_size,
			   "page 0x%" PRIx64 ": 0x%" PRIx64 ", 0x%" PRIx64
			   " where 0x%" PRIx64 ", 0x%" PRIx64 " must be",
			   gfn, page[0], page[1], first, second);
		return 1;
	}
	if (!is_zero(page + 2, PAGE_WORDS - 2)) {
		oracle_say(oracle->message, oracle->message_size,
			   "page 0x%" PRIx64
			   ": not zero beyond its first 16 bytes",
			   gfn);
		return 1;
	}
	return 0;
}

/* How often a walk of @writes steps over @pages came by page @at. */
static uint64_t visits(uint64_t writes, uint64_t pages, uint64_t at)
{
	return writes / pages + (at < writes % pages);
}

static int check_walker(struct oracle *oracle)
{
	uint64_t pages = oracle->layout->work_pages;

	for (uint32_t v = 0; v < oracle->vcpus; v++) {
		uint64_t first = guest_part(pages, v, oracle->vcpus);
		uint64_t end = guest_part(pages, v + 1, oracle->vcpus);

		for (uint64_t i = first; i < end; i++) {
			uint64_t value = visits(oracle->writes[v], end - first,
						i - first) &
					 0xff;

			if (expect_page(oracle, work_page(oracle, i), value, 0))
				return 1;
		}
	}
	return 0;
}

static int check_atomic(struct oracle *oracle)
{
	uint64_t pages = oracle->layout->work_pages;
	uint64_t stride = oracle->vm->params->stride;

	for (uint64_t i = 0, at = 0; i < pages; i++) {
		uint64_t sum = 0;

		for (uint32_t v = 0; v < oracle->vcpus; v++)
			sum += visits(oracle->writes[v], pages, i);
		if (expect_page(oracle, work_page(oracle, at), sum, 0))
			return 1;
		at = (at + stride) % pages;
	}
	return 0;
}

/* Which vCPU's part of @count things is @at in? */
static uint32_t owner(uint64_t count, uint64_t at, uint32_t vcpus)
{
	uint32_t v = 0;

	while (at >= guest_part(count, v + 1, vcpus))
		v++;
	return v;
}

static uint64_t hot_value(const struct oracle *oracle, uint64_t index)
{
	uint64_t pages = oracle->layout->work_pages;
	uint64_t hot = oracle->vm->config.hot_pages;
	uint64_t step = guest_hot_index(1, pages, hot);
	uint64_t at = index / step;
	uint64_t first, end;
	uint32_t v;

	if (index % step || at >= hot)
		return 0;
	v = owner(hot, at, oracle->vcpus);
	first = guest_part(hot, v, oracle->vcpus);
	end = guest_part(hot, v + 1, oracle->vcpus);
	return visits(oracle->writes[v], end - first, at - first);
}

static int check_hot(struct oracle *oracle)
{
	uint64_t pages = oracle->layout->work_pages;
	uint64_t seed = oracle->vm->config.seed;

	for (uint64_t i = 0; i < pages; i++) {
		uint32_t v = owner(pages, i, oracle->vcpus);
		uint64_t first = guest_part(pages, v, oracle->vcpus);
		bool filled = i - first < oracle->filled[v];

		if (expect_page(oracle, work_page(oracle, i),
				hot_value(oracle, i),
				filled ? guest_fill_value(seed, i) : 0))
			return 1;
	}
	return 0;
}

/* The generator's state after @steps steps from @state. */
static uint64_t random_jump(uint64_t state, uint64_t steps)
{
	uint64_t factor = GUEST_LCG_FACTOR, term = GUEST_LCG_TERM;

	for (; steps; steps >>= 1) {
		if (steps & 1)
			state = state * factor + term;
		term *= factor + 1;
		factor *= factor;
	}
	return state;
}

/* The inverse of an odd number modulo 2^64, by Newton's iteration. */
static uint64_t inverse(uint64_t odd)
{
	uint64_t x = odd; /* right in the lowest three bits */

	for (int i = 0; i < 5; i++)
		x *= 2 - odd * x;
	return x;
}

/* One vCPU's part, from its last write back to its first. */
struct replay {
	uint64_t first, pages; /* its part of the work area */
	uint64_t *seen;	       /* bits: pages whose last write is known */
	uint64_t left;	       /* pages not seen yet */
	uint64_t newest;       /* iteration that the next older one may have */
	uint64_t half_written; /* page of the write in flight */
};

static int replay_write(struct oracle *oracle, struct replay *replay,
			uint64_t at, uint64_t stamp)
{
	const uint64_t *page = work_page(oracle, replay->first + at);
	uint64_t *word = &replay->seen[at / TIDE_WORD_BITS];
	/* The write in flight is newer than any with a stamp. */
	bool newest = at == replay->half_written;
	uint64_t bound =
		newest ? oracle->vm->params->iteration : replay->newest;

	if (*word & tide_bit(at))
		return 0;
	*word |= tide_bit(at);
	replay->left--;
	if (page[0] > bound) {
		oracle_say(oracle->message, oracle->message_size,
			   "page index 0x%" PRIx64 ": iteration %" PRIu64
			   " where a later write has %" PRIu64,
			   replay->first + at, page[0], bound);
		return 1;
	}
	if (!newest)
		replay->newest = page[0];
	return expect_page(oracle, page, page[0], stamp);
}

static int replay_rest(struct oracle *oracle, struct replay *replay)
{
	for (uint64_t at = 0; at < replay->pages; at++) {
		const uint64_t *page = work_page(oracle, replay->first + at);

		if (replay->seen[at / TIDE_WORD_BITS] & tide_bit(at))
			continue;
		if (expect_page(oracle, page,
				at == replay->half_written ? page[0] : 0, 0))
			return 1;
	}
	return 0;
}

static int check_random_vcpu(struct oracle *oracle, uint32_t v)
{
	uint64_t work = oracle->layout->work_pages;
	uint64_t first = guest_part(work, v, oracle->vcpus);
	uint64_t pages = guest_part(work, v + 1, oracle->vcpus) - first;
	uint64_t writes = oracle->writes[v];
	uint64_t backwards = inverse(GUEST_LCG_FACTOR);
	uint64_t state = guest_random_seed(oracle->vm->config.seed, v);
	struct replay replay = {
		.first = first,
		.pages = pages,
		.left = pages,
		.newest = oracle->vm->params->iteration,
		.half_written = NOTHING_IN_FLIGHT,
	};
	int bad = 0;

	replay.seen = calloc(tide_words(pages), sizeof(*replay.seen));
	if (!replay.seen)
		return -ENOMEM;
	state = random_jump(state, writes);
	if (oracle->half_written[v])
		replay.half_written =
			guest_random_page(random_jump(state, 1), pages);
	for (uint64_t stamp = writes; stamp && replay.left && !bad; stamp--) {
		bad = replay_write(oracle, &replay,
				   guest_random_page(state, pages), stamp);
		state = (state - GUEST_LCG_TERM) * backwards;
	}
	if (!bad)
		bad = replay_rest(oracle, &replay);
	free(replay.seen);
	return bad;
}

static int check_random(struct oracle *oracle)
{
	int bad = 0;

	for (uint32_t v = 0; v < oracle->vcpus && !bad; v++)
		bad = check_random_vcpu(oracle, v);
	return bad;
}

static int check_script(struct oracle *oracle)
{
	uint64_t low = oracle->layout->work_low_pages;
	uint64_t counted = 0, found = 0;

	for (uint32_t v = 0; v < oracle->vcpus; v++)
		counted += oracle->vm->params->vcpu[v].sum;
	for (uint64_t i = 0; i < oracle->layout->work_pages; i++) {
		const uint64_t *page = work_page(oracle, i);

		found += page[0] * guest_script_weight(guest_work_gfn(i, low));
		if (expect_page(oracle, page, page[0], 0))
			return 1;
	}
	if (found == counted)
		return 0;
	oracle_say(oracle->message, oracle->message_size,
		   "weighted sum of all pages is 0x%" PRIx64
		   ", the guest's is 0x%" PRIx64,
		   found, counted);
	return 1;
}

/* Without a device the count is 0, and so are its pages. */
static int check_device(struct oracle *oracle)
{
	const uint64_t *pages =
		(const void *)(oracle->vm->base +
			       ((uint64_t)GUEST_DEVICE_GFN << TIDE_PAGE_SHIFT));
	uint64_t count = oracle->vm->device.count;
	uint64_t expected[GUEST_DEVICE_PAGES] = { 0 };
	uint64_t first =
		count > GUEST_DEVICE_PAGES ? count - GUEST_DEVICE_PAGES : 0;

	for (uint64_t n = first + 1; n <= count; n++)
		expected[device_page(n)] = n;
	for (uint64_t i = 0; i < GUEST_DEVICE_PAGES; i++) {
		const uint64_t *page = pages + i * PAGE_WORDS;
		uint64_t last = expected[i] ? ~expected[i] : 0;

		if (page[0] == expected[i] && page[PAGE_WORDS - 1] == last &&
		    is_zero(page + 1, PAGE_WORDS - 2))
			continue;
		oracle_say(oracle->message, oracle->message_size,
			   "device page %" PRIu64 ": 0x%" PRIx64
			   " where write %" PRIu64 " of %" PRIu64 " must be",
			   i, page[0], expected[i], count);
		return 1;
	}
	return 0;
}

static int check_vcpus(struct oracle *oracle)
{
	for (uint32_t v = 0; v < oracle->vcpus; v++) {
		const struct vcpu *vcpu = &oracle->vm->vcpu[v];
		int err;

		if (vcpu->error) {
			oracle_say(oracle->message, oracle->message_size,
				   "vCPU %" PRIu32 " is dead: %s exit %" PRIu32
				   ", error %d",
				   v, vcpu->vm->machine->name, vcpu->reason,
				   -vcpu->error);
			return 1;
		}
		err = read_counts(oracle, vcpu);
		if (err)
			return err;
	}
	return 0;
}

static int check_work(struct oracle *oracle)
{
	switch (oracle->vm->config.workload) {
	case TIDE_WORKLOAD_WALKER:
		return check_walker(oracle);
	case TIDE_WORKLOAD_RANDOM:
		return check_random(oracle);
	case TIDE_WORKLOAD_ATOMIC:
		return check_atomic(oracle);
	case TIDE_WORKLOAD_HOT:
		return check_hot(oracle);
	case TIDE_WORKLOAD_SCRIPT:
		return check_script(oracle);
	case TIDE_WORKLOAD_COUNT:
		break;
	}
	return -EINVAL;
}

int tide_vm_check(struct tide_vm *vm, char *message, size_t message_size)
{
	struct oracle oracle = {
		.vm = vm,
		.layout = &vm->layout,
		.vcpus = vm->vcpu_count,
		.message = message,
		.message_size = message_size,
	};
	int bad;

	if (vm_is_running(vm))
		return -EINVAL;
	oracle_say(message, message_size, "%s", "");
	bad = check_vcpus(&oracle);
	if (!bad)
		bad = check_device(&oracle);
	if (!bad)
		bad = check_work(&oracle);
	return bad;
}
