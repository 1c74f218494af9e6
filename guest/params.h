/* SPDX-License-Identifier: MIT */
/*
 * params.h - what the guest and its host say to each other
 *
 * One block in the image, at the symbol guest_params.  The host fills it in
 * before the guest starts: the VMM in guest memory, anyone else in a copy of
 * the ELF file (tide_guest_image() in <tidemark/vmm.h>).  As it stands in the
 * image it makes one vCPU walk 100 MiB.
 *
 * The work area is a run of pages with an index from 0 on.  It begins at
 * GUEST_WORK_GFN and leaves out the hole below 4 GiB, as memory does on a PC.
 *
 * Every count here is exact when the vCPU is stopped, but for one write that
 * is done and not yet counted.  The vCPU's instruction pointer then says so:
 * it is one of guest_params.rip[].
 */
#ifndef TIDE_GUEST_PARAMS_H
#define TIDE_GUEST_PARAMS_H

/* Where things are, in guest physical memory. */
#define GUEST_IMAGE_GPA 0x100000
#define GUEST_DEVICE_GFN 0x180 /* the VMM's device model writes here */
#define GUEST_DEVICE_PAGES 128
#define GUEST_WORK_GFN 0x200
#define GUEST_HOLE_GFN 0xc0000	/* 3 GiB; no memory from here */
#define GUEST_HIGH_GFN 0x100000 /* to here, 4 GiB */

/* Segment selectors in the GDT of both hosts, in the order of SYSRET. */
#define GUEST_KERNEL_CS 0x08
#define GUEST_KERNEL_DS 0x10
#define GUEST_USER_DS 0x1b
#define GUEST_USER_CS 0x23

/* RFLAGS with port access from ring 3 (IOPL 3), and bit 1, always set. */
#define GUEST_RFLAGS 0x3002

/* Ports, written one byte at a time.  QEMU ignores the last two. */
#define GUEST_PORT_SERIAL 0x3f8 /* 'A' at the start, then 'B' now and then */
#define GUEST_PORT_PACE 0x5f0	/* a batch is done: wait for the next one */
#define GUEST_PORT_SCRIPT 0x5f4 /* idle, or the job in the mailbox is done */

#define GUEST_VCPUS_MAX 4
#define GUEST_STACK_SIZE 4096

#ifndef __ASSEMBLER__
#include <stdint.h>

#define GUEST_MAGIC 0x4b52414d45444954ull /* "TIDEMARK" */

/* The same numbers as enum tide_workload. */
enum guest_workload {
	GUEST_WALKER,
	GUEST_RANDOM,
	GUEST_ATOMIC,
	GUEST_HOT,
	GUEST_SCRIPT,
	GUEST_WORKLOAD_COUNT
};

/* What it means when a stopped vCPU's next instruction is rip[i]. */
enum guest_rip {
	GUEST_RIP_BYTE,	     /* walker: byte written, not counted */
	GUEST_RIP_LOCKED,    /* atomic: added, not counted */
	GUEST_RIP_WORD,	     /* hot: added, not counted */
	GUEST_RIP_FILL,	     /* hot: filled, not counted */
	GUEST_RIP_ITERATION, /* random: iteration written, stamp not */
	GUEST_RIP_STAMP,     /* random: both written, not counted */
	GUEST_RIP_COUNT
};

/* Written by its vCPU only; a cache line. */
struct guest_vcpu {
	uint64_t writes;      /* page writes, the fill not included */
	uint64_t filled;      /* hot: pages of its part that are filled */
	uint64_t sum;	      /* script: see guest_script() */
	uint64_t script_done; /* mailbox.sequence of the last job done */
	uint64_t unused[4];
};

#define GUEST_MAILBOX_GFNS 253

/* script: written by the host while the vCPU is idle; not quite a page. */
struct guest_mailbox {
	uint64_t sequence; /* changes when there is a new job */
	uint64_t value;	   /* for the first 8 bytes of each page */
	uint64_t count;
	uint64_t gfn[GUEST_MAILBOX_GFNS];
};

struct guest_params {
	uint64_t magic;
	uint32_t params_size; /* sizeof(struct guest_params) */
	uint32_t workload;    /* enum guest_workload */
	uint32_t vcpus;	      /* in [1, GUEST_VCPUS_MAX] */

	/* Writes between two looks at the clock, at least 1; then a byte to
	 * GUEST_PORT_PACE if pace_port is not 0, and a wait until
	 * ticks_per_batch TSC ticks have passed since the batch began. */
	uint32_t batch;
	uint32_t pace_port;
	uint32_t unused;
	uint64_t ticks_per_batch;

	uint64_t work_pages; /* at least one for each vCPU */
	uint64_t low_pages;  /* of these, how many lie below the hole */
	uint64_t stride;     /* atomic: of the walk, prime to work_pages */
	uint64_t seed;
	uint64_t hot_pages; /* in [vcpus, work_pages] */

	uint64_t rip[GUEST_RIP_COUNT];

	/* random: what is written from now on.  Written by the host. */
	_Alignas(64) uint64_t iteration;

	_Alignas(64) struct guest_vcpu vcpu[GUEST_VCPUS_MAX];
	struct guest_mailbox mailbox[GUEST_VCPUS_MAX];
};

/* The pages of vCPU @vcpu's own part: [guest_part(.., vcpu, ..), that of
 * vcpu + 1). */
static inline uint64_t guest_part(uint64_t pages, uint32_t vcpu, uint32_t vcpus)
{
	return pages / vcpus * vcpu + (vcpu == vcpus ? pages % vcpus : 0);
}

static inline uint64_t guest_work_gfn(uint64_t index, uint64_t low_pages)
{
	uint64_t gfn = GUEST_WORK_GFN + index;

	return index < low_pages ? gfn : gfn + GUEST_HIGH_GFN - GUEST_HOLE_GFN;
}

/* random: a full-period generator modulo 2^64 (Knuth's MMIX); the high half
 * picks the page, since the low bits of such a generator are not random. */
#define GUEST_LCG_FACTOR 6364136223846793005ull
#define GUEST_LCG_TERM 1442695040888963407ull

static inline uint64_t guest_random_seed(uint64_t seed, uint32_t vcpu)
{
	return seed + vcpu * 0x9e3779b97f4a7c15ull;
}

static inline uint64_t guest_random_page(uint64_t state, uint64_t pages)
{
	return ((state >> 32) * pages) >> 32;
}

/* hot: where hot page @hot lies, and what a filled page begins with. */
static inline uint64_t guest_hot_index(uint64_t hot, uint64_t work_pages,
				       uint64_t hot_pages)
{
	return hot * (work_pages / hot_pages);
}

static inline uint64_t guest_fill_value(uint64_t seed, uint64_t index)
{
	return (seed ^ index) * 0x9e3779b97f4a7c15ull | 1;
}

/* script: the weight of a page in guest_vcpu.sum; odd, so never lost. */
static inline uint64_t guest_script_weight(uint64_t gfn)
{
	return 2 * gfn + 1;
}

#endif /* !__ASSEMBLER__ */
#endif
