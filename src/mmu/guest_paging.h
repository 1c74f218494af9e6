/* SPDX-License-Identifier: MIT */
/*
 * guest_paging.h - the formats of guest page tables, each a table of functions
 *
 * A third format is one more file with one more struct paging_format.  Nothing
 * here touches guest memory: the walker (walk.c) reads an entry and asks the
 * format what it means.  Entries hold anything the guest likes, so every
 * answer is defined for every 64-bit value.
 */
#ifndef TIDE_MMU_GUEST_PAGING_H
#define TIDE_MMU_GUEST_PAGING_H

#include <stdbool.h>
#include <stdint.h>

#include <tidemark/vcpu.h>

/* What a guest's entry grants.  The bits are spte.h's. */
#define GUEST_READ (1ull << 8)
#define GUEST_WRITE (1ull << 3)
#define GUEST_EXEC (1ull << 4)
#define GUEST_USER (1ull << 2)
#define GUEST_ALL (GUEST_READ | GUEST_WRITE | GUEST_EXEC | GUEST_USER)

#define GUEST_LEVELS_MAX 4
/* Of an address, for each level: both formats have tables of 512 entries.  A
 * checking build may have smaller ones, where a split or a zap touches few. */
#ifndef GUEST_INDEX_BITS
#define GUEST_INDEX_BITS 9
#endif
#define GUEST_ENTRIES (1u << GUEST_INDEX_BITS)
#define GUEST_PA_BITS 48 /* wider is a reserved bit */

enum gpte_kind {
	GPTE_TABLE, /* points to the next level */
	GPTE_LEAF,
	GPTE_NOT_PRESENT,
	GPTE_RESERVED /* present, with a bit set that must not be */
};

struct gpte {
	enum gpte_kind kind;
	uint64_t gfn;	 /* of the next table, or of the mapped page's first */
	uint64_t access; /* GUEST_* granted by this entry alone */
	bool accessed;	 /* TABLE in a format without: true */
	bool dirty;
};

struct paging_format {
	enum tide_paging_mode mode;
	uint32_t levels;

	/* May @gva be translated at all (canonical)?  If not, an x86 CPU
	 * raises #GP and not #PF; the walk reports a page that is not present,
	 * and the CPU tells by the address. */
	bool (*gva_valid)(uint64_t gva);
	/* What @entry at @level (1 is the last) means under @flags. */
	struct gpte (*read)(uint64_t entry, uint32_t level, uint32_t flags);
	/* The entry with its accessed bit, and if @dirty its dirty bit, set. */
	uint64_t (*mark)(uint64_t entry, uint32_t level, bool dirty);
	/* Does @access (accumulated GUEST_* of all levels) permit @what? */
	bool (*permits)(uint64_t access, enum tide_access what, uint32_t flags);
	/* tide_exit.fault_code.  @present: a translation was found that does
	 * not permit it; @reserved: because of a reserved bit. */
	uint32_t (*fault_code)(enum tide_access what, uint32_t flags,
			       bool present, bool reserved);
};

extern const struct paging_format paging_x86_64;
extern const struct paging_format paging_sv39;
/* NULL for TIDE_PAGING_NONE and unknown ones. */
const struct paging_format *paging_format_of(enum tide_paging_mode mode);

/* Index into a table of @level for @gva. */
static inline uint32_t guest_index(uint64_t gva, uint32_t level)
{
	return (uint32_t)(gva >> (12 + GUEST_INDEX_BITS * (level - 1))) %
	       GUEST_ENTRIES;
}

/* Pages that a leaf at @level maps. */
static inline uint64_t guest_leaf_pages(uint32_t level)
{
	return 1ull << (GUEST_INDEX_BITS * (level - 1));
}

/* One walk of the guest's tables, to be held against them later. */
struct guest_walk {
	uint64_t table_gfn[GUEST_LEVELS_MAX + 1];    /* by level */
	uint64_t entry[GUEST_LEVELS_MAX + 1];	     /* as the walk left it */
	uint32_t level;				     /* of the leaf */
	uint64_t access;			     /* all levels and-ed */
	uint64_t table_access[GUEST_LEVELS_MAX + 1]; /* of those above level */
	uint64_t gfn; /* that @gva's page maps to */
	/* A write has no bit left to set: the leaf is dirty, after the walk,
	 * or was just written through and lies in a read-only slot. */
	bool dirty;
	uint32_t fault_code;
};

struct guest_walk_ops {
	/* The 64-bit entry at @gpa, of the level in walk->level.  Return: 0;
	 * -EFAULT where no memory is; another negative errno from the host. */
	int (*load)(void *opaque, uint64_t gpa, uint64_t *ret_entry);
	/* If it still is @old, make it @entry, and mark.  Return: 0; -EAGAIN
	 * when it changed; -EROFS in a read-only slot, and then the bits stay
	 * as they are, as in KVM; as load. */
	int (*update)(void *opaque, uint64_t gpa, uint64_t old, uint64_t entry);
};

/*
 * guest_walk() - translate @gva as the guest's CPU would
 * @set_bits: set accessed bits, and dirty for a write, as the format asks; of
 *            an access that is permitted only
 *
 * Return: 0, and *walk is filled; TIDE_EXIT_GUEST_FAULT, with
 * walk->fault_code; -EAGAIN when entries changed under every one of a bounded
 * number of tries: let others in, and try again; another negative errno of
 * the ops (-EFAULT: a table lies outside every slot; the caller makes that a
 * guest fault too, fault_code is set).
 */
int guest_walk(const struct paging_format *format,
	       const struct guest_walk_ops *ops, void *opaque, uint64_t root,
	       uint32_t flags, uint64_t gva, enum tide_access what,
	       bool set_bits, struct guest_walk *walk);

#endif
