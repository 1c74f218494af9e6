/* SPDX-License-Identifier: MIT */
/*
 * walk_model.h - what a guest's CPU does with its page tables, bit by bit
 *
 * Written from the manuals' sentences and not from src/mmu, so that one can be
 * held against the other: slow, no masks, no table of functions.
 */
#ifndef TIDE_FUZZ_WALK_MODEL_H
#define TIDE_FUZZ_WALK_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include <tidemark/vcpu.h>

struct model_paging {
	enum tide_paging_mode mode; /* NONE: gva is gpa */
	uint32_t flags;
	uint64_t root;
	/* The guest's memory.  Return: the aligned word at @gpa; NULL where
	 * none is. */
	uint64_t *(*word)(void *opaque, uint64_t gpa);
	void *opaque;
};

struct model_answer {
	bool fault;
	uint32_t code; /* of the fault */
	uint64_t gpa;  /* that gva is, without a fault */
	uint32_t level;
	bool dirty; /* the leaf's dirty bit, or none is needed */
};

/* @set_bits: set accessed and dirty bits, of an access that does not fault. */
struct model_answer model_walk(const struct model_paging *paging, uint64_t gva,
			       enum tide_access what, bool set_bits);

#endif
