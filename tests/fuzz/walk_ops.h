/* SPDX-License-Identifier: MIT */
/*
 * walk_ops.h - what an input of walk_fuzz.c can ask for
 *
 * The first byte of an input says which format it is for: bit 0, Sv39.
 */
#ifndef TIDE_FUZZ_WALK_OPS_H
#define TIDE_FUZZ_WALK_OPS_H

#define WALK_FUZZ_PAGES 8u

enum walk_op {
	WALK_OP_PUT,	 /* u16 index of a word, an entry (walk_input.h) */
	WALK_OP_PUT_RAW, /* u16 index of a word, u64 */
	WALK_OP_WALK,	 /* u8 flags, u8 access (bit 7: set bits), address */
	WALK_OP_MEDDLE,	 /* u8 before which update, u16 index, an entry */
	WALK_OP_ROOT,	 /* u64 */
	WALK_OP_COUNT
};

#endif
