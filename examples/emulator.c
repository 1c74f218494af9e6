/* SPDX-License-Identifier: MIT */
/*
 * emulator.c - a CPU of your own on the software MMU
 *
 * An interpreter of RV64IA in supervisor mode, with Sv39, a console, a clock
 * that writes to memory by itself, and a power button.  Its guest turns paging
 * on, maps pages as they fault, and adds 1 to a counter in each of 512 pages,
 * round after round, while this program keeps a copy of memory up to date by
 * copying only what was written.  At the end the copy equals the memory.
 *
 *     cc -pthread -o emulator emulator.c $(pkg-config --cflags --libs tidemark)
 *     ./emulator [soft-bitmap | soft-ring]
 *
 * What to copy into a CPU of yours: cpu_run(), the loop of enter, safe points
 * and exits; that an instruction changes no register before its access
 * succeeded, so that it can be made again; and harvest().
 *
 * It is C11 and C++17 at once.  Exit status: 0 the copy is equal; 1 it is
 * not, or a call failed.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidemark/tidemark.h>

#include "emulator_guest.h"

static uint8_t ram[RAM_PAGES * TIDE_PAGE_SIZE] __attribute__((aligned(4096)));
static uint8_t copy[sizeof(ram)]; /* to be equal after a harvest */

/* What a step says beyond 0 and enum tide_exit_reason. */
#define STOP_ECALL 1000

enum { STVEC = 0x105, SEPC = 0x141, SCAUSE, STVAL, SATP = 0x180 }; /* CSRs */
enum { FETCH_ACCESS = 1, ILLEGAL, LOAD_ACCESS = 5, STORE_ACCESS = 7 };

struct cpu {
	struct tide_space *space;
	struct tide_mmu *mmu;
	struct tide_vcpu *vcpu;
	uint64_t x[32], pc, csr[4096];
	uint64_t reserved_gva, reserved_value; /* of LR; 1: nothing */
	/* The load or store under way, should a device have to answer it. */
	uint32_t rd, nbytes;
	uint64_t value;
	bool is_signed;
	/* Devices. */
	uint64_t time; /* instructions */
	uint64_t power_off;
	char line[80];
	size_t line_length;
	unsigned exits[TIDE_EXIT_COUNT];
};

/* The library reports errors as return values; what to do is up to you. */
static void need(const char *what, int err)
{
	if (err >= 0)
		return;
	fprintf(stderr, "emulator: %s: %s\n", what, strerror(-err));
	exit(1);
}
#define NEED(call) need(#call, call)

/* The low @bits of @value, with their sign. */
static uint64_t extend(uint64_t value, uint32_t bits)
{
	return (uint64_t)((int64_t)(value << (64 - bits)) >> (64 - bits));
}

/* The end of most instructions, and the only place that changes x[]. */
static int finish(struct cpu *cpu, uint32_t rd, uint64_t value, uint64_t pc)
{
	if (rd)
		cpu->x[rd] = value;
	cpu->pc = pc;
	return 0;
}

static int trap(struct cpu *cpu, uint64_t cause, uint64_t value)
{
	cpu->csr[SCAUSE] = cause;
	cpu->csr[STVAL] = value;
	cpu->csr[SEPC] = cpu->pc;
	cpu->pc = cpu->csr[STVEC];
	cpu->reserved_gva = 1;
	return 0;
}

/* TLBs and shadow page tables are the library's, and follow what the guest
 * writes to its tables: SFENCE.VMA has nothing left to do. */
static void write_satp(struct cpu *cpu, uint64_t satp)
{
	struct tide_paging paging;

	memset(&paging, 0, sizeof(paging));
	paging.size = sizeof(paging);
	paging.mode = satp >> 60 == 8 ? TIDE_PAGING_SV39 : TIDE_PAGING_NONE;
	paging.root = (satp & 0xfffffffffff) << 12;
	NEED(tide_vcpu_set_paging(cpu->vcpu, &paging));
}

static int step_system(struct cpu *cpu, uint32_t insn, uint32_t rd, uint64_t a)
{
	uint32_t kind = insn >> 12 & 3;
	uint64_t *csr = &cpu->csr[insn >> 20], old = *csr;

	if (insn == 0x00000073) /* ECALL: to the firmware, that is, to us */
		return STOP_ECALL;
	if (insn == 0x10200073) /* SRET; there is no other mode than S */
		return finish(cpu, 0, 0, cpu->csr[SEPC]);
	if (insn >> 25 == 9 && !kind) /* SFENCE.VMA */
		return finish(cpu, 0, 0, cpu->pc + 4);
	if (!kind)
		return trap(cpu, ILLEGAL, insn);
	if (insn >> 14 & 1) /* an immediate instead of a register */
		a = insn >> 15 & 31;
	*csr = kind == 1 ? a : kind == 2 ? old | a : old & ~a;
	if (insn >> 20 == SATP && *csr != old)
		write_satp(cpu, *csr);
	return finish(cpu, rd, old, cpu->pc + 4);
}

static uint64_t alu(uint32_t kind, bool other, uint64_t a, uint64_t b)
{
	switch (kind) {
	case 0:
		return other ? a - b : a + b;
	case 1:
		return a << (b & 63);
	case 2:
		return (int64_t)a < (int64_t)b;
	case 3:
		return a < b;
	case 4:
		return a ^ b;
	case 5:
		return other ? (uint64_t)((int64_t)a >> (b & 63))
			     : a >> (b & 63);
	case 6:
		return a | b;
	default:
		return a & b;
	}
}

/* On 32 bits: ADDW, SUBW, SLLW, SRLW, SRAW */
static uint64_t alu_word(uint32_t kind, bool other, uint64_t a, uint64_t b)
{
	a = other ? extend(a, 32) : (uint32_t)a;
	return extend(alu(kind, other, a, kind ? b & 31 : b), 32);
}

/* LR, SC, AMOADD and AMOSWAP; the others as AMOSWAP.  Each is one access: no
 * other vCPU sees a half of it. */
static int step_amo(struct cpu *cpu, uint32_t insn, uint32_t rd, uint64_t gva,
		    uint64_t b)
{
	uint32_t op = insn >> 27, nbytes = insn >> 12 & 1 ? 8 : 4;
	uint64_t old = 0, guess;
	int why = 0;

	if (gva % nbytes)
		return trap(cpu, STORE_ACCESS, gva);
	if (op == 0) {
		why = tide_vcpu_fetch_add(cpu->vcpu, gva, nbytes, b, &old);
	} else if (op == 2) { /* LR */
		why = tide_vcpu_load(cpu->vcpu, gva, nbytes, &old);
		cpu->reserved_gva = why ? 1 : gva;
		cpu->reserved_value = old;
	} else if (op == 3) { /* SC: succeeds if the value is as it was */
		bool reserved = cpu->reserved_gva == gva;

		guess = cpu->reserved_value;
		if (reserved)
			why = tide_vcpu_cmpxchg(cpu->vcpu, gva, nbytes, &guess,
						b);
		if (!why)
			cpu->reserved_gva = 1;
		old = !reserved || guess != cpu->reserved_value;
	} else if (op == 1) {
		do { /* the first guess, 0, tells what is there */
			guess = old;
			why = tide_vcpu_cmpxchg(cpu->vcpu, gva, nbytes, &old,
						b);
		} while (!why && old != guess);
	} else {
		return trap(cpu, ILLEGAL, insn);
	}
	return why ? why
		   : finish(cpu, rd, extend(old, 8 * nbytes), cpu->pc + 4);
}

static int step_load(struct cpu *cpu, uint32_t kind, uint32_t rd, uint64_t gva)
{
	cpu->rd = rd;
	cpu->nbytes = 1u << (kind & 3);
	cpu->is_signed = kind < 4;

	int why = tide_vcpu_load(cpu->vcpu, gva, cpu->nbytes, &cpu->value);

	if (why) /* nothing has changed: the instruction can be made again */
		return why;
	if (cpu->is_signed)
		cpu->value = extend(cpu->value, 8 * cpu->nbytes);
	return finish(cpu, rd, cpu->value, cpu->pc + 4);
}

static int step_store(struct cpu *cpu, uint32_t kind, uint64_t gva, uint64_t b)
{
	cpu->nbytes = 1u << (kind & 3);
	cpu->value = b;

	int why = tide_vcpu_store(cpu->vcpu, gva, cpu->nbytes, b);

	return why ? why : finish(cpu, 0, 0, cpu->pc + 4);
}

static uint64_t branch(uint32_t i, uint64_t pc, uint64_t a, uint64_t b)
{
	uint32_t kind = i >> 12 & 7;
	uint64_t yes = kind < 2 ? a == b : alu(kind < 6 ? 2 : 3, false, a, b);
	uint32_t offset = (i >> 31 << 12) | (i << 4 & 0x800) |
			  (i >> 20 & 0x7e0) | (i >> 7 & 0x1e);

	return yes == (kind & 1) ? pc + 4 : pc + extend(offset, 13);
}

static uint64_t jump(uint32_t i, uint64_t pc)
{
	uint32_t offset = (i >> 31 << 20) | (i & 0xff000) | (i >> 9 & 0x800) |
			  (i >> 20 & 0x7fe);

	return pc + extend(offset, 21);
}

/* One instruction.  Return: 0, or why not; then it has not happened. */
static int step(struct cpu *cpu)
{
	uint64_t insn;

	cpu->nbytes = 0;
	int why = tide_vcpu_fetch(cpu->vcpu, cpu->pc, 4, &insn);

	if (why)
		return why;
	uint32_t i = (uint32_t)insn;
	uint32_t rd = i >> 7 & 31, kind = i >> 12 & 7;
	uint64_t a = cpu->x[i >> 15 & 31], b = cpu->x[i >> 20 & 31];
	uint64_t imm = extend(i >> 20, 12), upper = extend(i & ~0xfffu, 32);
	uint64_t pc = cpu->pc, next = pc + 4;
	/* SUB, SRA, SRAI; in an ADDI the bit is part of the immediate. */
	bool other = i >> 30 & 1 && (i & 0x20 || kind == 5);

	cpu->time++;
	switch (i & 0x7f) {
	case 0x03:
		return step_load(cpu, kind, rd, a + imm);
	case 0x0f: /* FENCE: atomic_thread_fence(), with a second hart */
		return finish(cpu, 0, 0, next);
	case 0x13:
		return finish(cpu, rd, alu(kind, other, a, imm), next);
	case 0x17:
		return finish(cpu, rd, pc + upper, next);
	case 0x1b:
		return finish(cpu, rd, alu_word(kind, other, a, imm), next);
	case 0x23:
		return step_store(cpu, kind, a + ((imm & ~31ull) | rd), b);
	case 0x2f:
		return step_amo(cpu, i, rd, a, b);
	case 0x33:
		return finish(cpu, rd, alu(kind, other, a, b), next);
	case 0x37:
		return finish(cpu, rd, upper, next);
	case 0x3b:
		return finish(cpu, rd, alu_word(kind, other, a, b), next);
	case 0x63:
		return finish(cpu, 0, 0, branch(i, pc, a, b));
	case 0x67:
		return finish(cpu, rd, next, (a + imm) & ~1ull);
	case 0x6f:
		return finish(cpu, rd, next, jump(i, pc));
	case 0x73:
		return step_system(cpu, i, rd, a);
	default:
		return trap(cpu, ILLEGAL, i);
	}
}

static void print_character(struct cpu *cpu, char c)
{
	if (c != '\n' && cpu->line_length < sizeof(cpu->line) - 1) {
		cpu->line[cpu->line_length++] = c;
		return;
	}
	printf("guest      %.*s\n", (int)cpu->line_length, cpu->line);
	cpu->line_length = 0;
}

/*
 * What no slot has is a device's: do what it does, and finish the instruction.
 * The clock writes to memory on its own, and by tide_mmu_write(): that writes,
 * then marks, and follows the guest's page tables if it hits one.
 */
static int do_mmio(struct cpu *cpu, const struct tide_exit *at)
{
	bool is_store = at->access == TIDE_ACCESS_WRITE;
	uint64_t answer = at->gpa == POWER ? cpu->power_off : 0;

	if (at->access == TIDE_ACCESS_FETCH)
		return trap(cpu, FETCH_ACCESS, cpu->pc);
	/* Not atomics, and not the half of an access that crosses a page. */
	if (at->nbytes != cpu->nbytes)
		return trap(cpu, is_store ? STORE_ACCESS : LOAD_ACCESS,
			    at->gva);
	if (!is_store && cpu->is_signed)
		answer = extend(answer, 8 * at->nbytes);
	if (!is_store)
		return finish(cpu, cpu->rd, answer, cpu->pc + 4);
	if (at->gpa == CONSOLE)
		print_character(cpu, (char)cpu->value);
	else if (at->gpa == CLOCK &&
		 tide_mmu_write(cpu->mmu, cpu->value, &cpu->time, 8))
		return trap(cpu, STORE_ACCESS, at->gva);
	return finish(cpu, 0, 0, cpu->pc + 4);
}

/*
 * Until the guest stops; NULL if somebody kicked the vCPU.  Every 64
 * instructions there is a safe point: whoever harvests waits for it there.  An
 * exit leaves guest mode; only then may it take long, or wait for anything.
 */
static void *cpu_run(void *opaque)
{
	struct cpu *cpu = (struct cpu *)opaque;

	for (;;) {
		int why = tide_vcpu_enter(cpu->vcpu);

		while (!why) {
			for (int i = 0; i < 64 && !why; i++)
				why = step(cpu);
			if (!why)
				why = tide_vcpu_safe_point(cpu->vcpu);
		}

		const struct tide_exit *at = tide_vcpu_last_exit(cpu->vcpu);

		if (why > 0 && why < TIDE_EXIT_COUNT)
			cpu->exits[why]++;
		if (why == STOP_ECALL) /* our own reason: still in guest mode */
			(void)tide_vcpu_exit(cpu->vcpu);
		if (why == STOP_ECALL || why == TIDE_EXIT_KICKED)
			return why == STOP_ECALL ? cpu : NULL;
		if (why == TIDE_EXIT_GUEST_FAULT)
			trap(cpu, at->fault_code, at->gva);
		else if (why == TIDE_EXIT_MMIO)
			do_mmio(cpu, at);
		else if (why == TIDE_EXIT_RING_FULL)
			NEED(tide_soft_ring_full(cpu->space));
		else /* the host has no memory, or we called it wrongly */
			need("the access",
			     why == TIDE_EXIT_ERROR ? at->error : why);
	}
}

/* Copies what was written.  The guest may go on writing: what it writes after
 * next handed a page out is yielded by the next harvest. */
static uint64_t harvest(struct tide_client *client)
{
	struct tide_harvest *open;
	struct tide_extent extent;
	uint64_t pages = 0;
	int more;

	NEED(tide_harvest_begin(client, &open));
	while ((more = tide_harvest_next(open, &extent)) > 0) {
		memcpy(copy + ((uint8_t *)extent.host - ram), extent.host,
		       extent.npages * TIDE_PAGE_SIZE);
		pages += extent.npages;
	}
	NEED(more);
	NEED(tide_harvest_commit(open));
	return pages;
}

/* An MMU, tracked by a space, with one slot and one vCPU. */
static void make_machine(struct cpu *cpu, enum tide_tracker tracker)
{
	struct tide_mmu_config mmu;
	struct tide_soft_config config;
	struct tide_slot_config slot;

	memset(cpu, 0, sizeof(*cpu));
	memset(&mmu, 0, sizeof(mmu)); /* 0 is the default of everything */
	NEED(tide_mmu_create(&mmu, &cpu->mmu));
	NEED(tide_space_create(&cpu->space));
	memset(&config, 0, sizeof(config));
	config.size = sizeof(config);
	config.mmu = cpu->mmu;
	config.ring_entries = 256; /* so few that they fill up */
	NEED(tide_space_attach(cpu->space, tracker, &config));

	memset(&slot, 0, sizeof(slot));
	slot.size = sizeof(slot);
	slot.first_gfn = RAM / TIDE_PAGE_SIZE;
	slot.npages = RAM_PAGES;
	slot.host = ram;
	NEED(tide_slot_add(cpu->space, &slot));

	NEED(tide_vcpu_create(cpu->mmu, &cpu->vcpu));
	cpu->pc = RAM;
	cpu->reserved_gva = 1;
	NEED(tide_mmu_write(cpu->mmu, RAM, &guest_image, sizeof(guest_image)));
}

/* Does every counter say what the guest counted in a register? */
static bool counters_are_right(struct cpu *cpu)
{
	uint64_t right = 0;

	for (uint64_t i = 0; i < WINDOW_PAGES; i++) {
		uint64_t gva = WINDOW + i * TIDE_PAGE_SIZE, gpa, counter;

		NEED(tide_vcpu_translate(cpu->vcpu, gva, TIDE_ACCESS_READ,
					 &gpa));
		NEED(tide_mmu_read(cpu->mmu, gpa, &counter, sizeof(counter)));
		right += counter == cpu->x[S8];
	}
	printf("counters   %u of %u are right\n", (unsigned)right,
	       WINDOW_PAGES);
	return right == WINDOW_PAGES;
}

static bool report(const char *when, uint64_t pages)
{
	bool equal = memcmp(ram, copy, sizeof(ram)) == 0;

	printf("%-10s %4u pages, the copy is %s\n", when, (unsigned)pages,
	       equal ? "equal" : "NOT EQUAL");
	return equal;
}

int main(int argc, char **argv)
{
	enum tide_tracker tracker = TIDE_TRACKER_SOFT_BITMAP;
	struct tide_client *client;
	struct cpu cpu;
	pthread_t thread;
	uint64_t pages = 0;

	if (argc > 1)
		need(argv[1], tide_tracker_by_name(argv[1], &tracker));
	make_machine(&cpu, tracker);
	NEED(tide_client_open(cpu.space, "copy", TIDE_START_ALL_DIRTY,
			      &client));
	bool equal = report("at first", harvest(client));

	NEED(-pthread_create(&thread, NULL, cpu_run, &cpu));
	while (pages < 4 * WINDOW_PAGES) /* until it has been round it */
		pages += harvest(client);
	printf("running    %4u pages, while the guest wrote\n",
	       (unsigned)pages);

	/* The last harvest comes after the last writer has stopped. */
	tide_vcpu_kick(cpu.vcpu);
	NEED(-pthread_join(thread, NULL));
	equal &= report("kicked", harvest(client));

	cpu.power_off = 1;
	equal &= cpu_run(&cpu) != NULL; /* in another thread now */
	equal &= report("off", harvest(client));
	equal &= counters_are_right(&cpu);
	printf("exits      %u guest faults, %u MMIO, %u ring full, %u kicks\n",
	       cpu.exits[TIDE_EXIT_GUEST_FAULT], cpu.exits[TIDE_EXIT_MMIO],
	       cpu.exits[TIDE_EXIT_RING_FULL], cpu.exits[TIDE_EXIT_KICKED]);

	tide_client_close(client);
	tide_space_destroy(cpu.space);
	tide_vcpu_destroy(cpu.vcpu);
	tide_mmu_destroy(cpu.mmu);
	return equal ? 0 : 1;
}
