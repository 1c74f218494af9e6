/* SPDX-License-Identifier: MIT */
/*
 * walk.c - walk a guest's page tables as its CPU would
 *
 * Theory of operation
 * -------------------
 * One pass reads an entry per level, from the root to a leaf, then asks the
 * format whether all levels together permit the access, and only then sets
 * accessed and dirty bits, each by a compare-exchange against the entry that
 * was read.  An entry that changed meanwhile may mean something else by now,
 * so that the walk begins again; a guest that keeps changing it is handed
 * back to the caller after WALK_TRIES passes.
 *
 * Bits are set for accesses that are permitted only.  A CPU may set accessed
 * bits on its way to a fault, but need not.
 *
 * Whatever the tables hold, a pass reads at most format->levels entries.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>

#include "mmu/guest_paging.h"

#define WALK_TRIES 8

struct walker {
	const struct paging_format *format;
	const struct guest_walk_ops *ops;
	void *opaque;
	uint64_t gva;
	uint32_t flags;
	enum tide_access what;
};

const struct paging_format *paging_format_of(enum tide_paging_mode mode)
{
	if (mode == TIDE_PAGING_X86_64)
		return &paging_x86_64;
	if (mode == TIDE_PAGING_SV39)
		return &paging_sv39;
	return NULL;
}

static uint64_t entry_gpa(const struct walker *walker,
			  const struct guest_walk *walk, uint32_t level)
{
	return (walk->table_gfn[level] << TIDE_PAGE_SHIFT) +
	       8ull * guest_index(walker->gva, level);
}

static int fault(const struct walker *walker, struct guest_walk *walk,
		 bool present, bool reserved)
{
	walk->fault_code = walker->format->fault_code(
		walker->what, walker->flags, present, reserved);
	return TIDE_EXIT_GUEST_FAULT;
}

/* From the root down to a leaf that permits the access, or not. */
static int read_tables(const struct walker *walker, uint64_t root,
		       struct guest_walk *walk)
{
	const struct paging_format *format = walker->format;
	uint64_t access = GUEST_ALL;
	uint64_t next = root >> TIDE_PAGE_SHIFT;
	struct gpte gpte;

	for (uint32_t level = format->levels;; level--) {
		assert(level >= 1 && level <= GUEST_LEVELS_MAX);
		walk->level = level;
		walk->table_gfn[level] = next;
		walk->table_access[level] = access;

		int err = walker->ops->load(walker->opaque,
					    entry_gpa(walker, walk, level),
					    &walk->entry[level]);

		if (err)
			return err;
		gpte = format->read(walk->entry[level], level, walker->flags);
		if (gpte.kind == GPTE_NOT_PRESENT)
			return fault(walker, walk, false, false);
		if (gpte.kind == GPTE_RESERVED)
			return fault(walker, walk, true, true);
		access &= gpte.access;
		if (gpte.kind == GPTE_LEAF)
			break;
		next = gpte.gfn;
	}

	uint64_t pages = guest_leaf_pages(walk->level);

	assert(!(gpte.gfn & (pages - 1)));
	walk->access = access;
	walk->gfn = gpte.gfn + ((walker->gva >> TIDE_PAGE_SHIFT) & (pages - 1));
	walk->dirty = gpte.dirty;
	if (!format->permits(access, walker->what, walker->flags))
		return fault(walker, walk, true, false);
	return 0;
}

/* The accessed bit of every level that has one, and the leaf's dirty bit. */
static int set_bits_of(const struct walker *walker, struct guest_walk *walk)
{
	const struct paging_format *format = walker->format;

	for (uint32_t level = format->levels; level >= walk->level; level--) {
		bool dirty = level == walk->level &&
			     walker->what == TIDE_ACCESS_WRITE;
		uint64_t old = walk->entry[level];
		uint64_t entry = format->mark(old, level, dirty);

		if (entry == old)
			continue;

		int err = walker->ops->update(walker->opaque,
					      entry_gpa(walker, walk, level),
					      old, entry);

		if (err == -EROFS)
			continue;
		if (err)
			return err;
		walk->entry[level] = entry;
	}
	walk->dirty |= walker->what == TIDE_ACCESS_WRITE;
	return 0;
}

int guest_walk(const struct paging_format *format,
	       const struct guest_walk_ops *ops, void *opaque, uint64_t root,
	       uint32_t flags, uint64_t gva, enum tide_access what,
	       bool set_bits, struct guest_walk *walk)
{
	const struct walker walker = {
		.format = format,
		.ops = ops,
		.opaque = opaque,
		.gva = gva,
		.flags = flags,
		.what = what,
	};
	int err = -EAGAIN;

	assert(what < TIDE_ACCESS_COUNT);
	/* What a table outside of memory is: not there. */
	(void)fault(&walker, walk, false, false);
	if (!format->gva_valid(gva))
		return TIDE_EXIT_GUEST_FAULT;
	for (int i = 0; i < WALK_TRIES && err == -EAGAIN; i++) {
		err = read_tables(&walker, root, walk);
		if (!err && set_bits)
			err = set_bits_of(&walker, walk);
	}
	return err;
}
