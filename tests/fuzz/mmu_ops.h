/* SPDX-License-Identifier: MIT */
/*
 * mmu_ops.h - what an input of mmu_fuzz.c can ask for
 *
 * An input begins with a byte of enum mmu_fuzz_setup bits and one of manual
 * protect (bits 0 and 1), of logging from the beginning (bit 2) and of how full
 * the ring of vCPU 0 is by then (bits 3 to 7, eights of entries); then
 * operations.  An operation's byte has the vCPU in bit 7.
 *
 * A place is a page of MMU_FUZZ_TABLES in bits 5 to 7 and one of its first or
 * last 16 words in bits 0 to 4.  An address is u16 offset in the page and, for
 * each level from the last to the root, a byte as in a place; bit 7 of the
 * root's makes it one that is not valid.
 */
#ifndef TIDE_FUZZ_MMU_OPS_H
#define TIDE_FUZZ_MMU_OPS_H

/* Pages of the big slot where entries are put. */
#define MMU_FUZZ_TABLES 8u
#define MMU_FUZZ_FILL_GFN 300u
#define MMU_FUZZ_WINDOW_GVA 0xffffffffffc00000ull

enum mmu_fuzz_setup {
	MMU_FUZZ_NO_FAST_FAULT = 1u << 0,
	MMU_FUZZ_NO_LARGE_PAGES = 1u << 1,
	MMU_FUZZ_BACKED = 1u << 2,
	MMU_FUZZ_RING = 1u << 3,
	MMU_FUZZ_SV39 = 1u << 4, /* what the window is built for */
	/* Root at page 1, where MMU_FUZZ_WINDOW_GVA shows gpa 0 to 4 MiB by
	 * large pages. */
	MMU_FUZZ_WINDOW = 1u << 5,
	MMU_FUZZ_FEW_TABLES = 1u << 6
};

enum mmu_fuzz_op {
	/* A word of a table: u8 place, an entry (walk_input.h); by a device,
	 * or by the vCPU, through the window. */
	FUZZ_OP_POKE_ENTRY,
	FUZZ_OP_STORE_ENTRY,
	FUZZ_OP_ACCESS, /* u8 operation and log2 of size, address, u8 value */
	FUZZ_OP_BLOCK,	/* u8 write, u16 bytes, address, u8 seed */
	FUZZ_OP_TRANSLATE,  /* u8 access, address */
	FUZZ_OP_SET_PAGING, /* u8 mode, u8 flags, u8 page of the root */
	FUZZ_OP_DEVICE,	    /* u8 write, u32 gpa, u16 bytes, u8 seed */
	FUZZ_OP_GUEST_MODE, /* u8: leave, or a safe point */
	FUZZ_OP_GET,	    /* u8 slot */
	FUZZ_OP_CLEAR,	    /* u8 slot, u16 first, u16 pages */
	FUZZ_OP_COLLECT,
	FUZZ_OP_RESET,
	FUZZ_OP_SCRIBBLE, /* u8 index, u8 flags, u8 slot, u64 offset */
	FUZZ_OP_FLAGS,	  /* u8 slot, u8 flags */
	FUZZ_OP_MOVE,	  /* u8 slot, u16 gfn */
	FUZZ_OP_DELETE,	  /* u8 slot */
	FUZZ_OP_ADD,	  /* u8 slot, u16 gfn, u8 flags */
	FUZZ_OP_SWAP_OUT, /* u8 first, u8 pages */
	FUZZ_OP_MERGE,	  /* u8 first, u8 pages */
	FUZZ_OP_CHECK,
	FUZZ_OP_DISCARD, /* u8 first, u8 pages */
	FUZZ_OP_COUNT
};

#endif
