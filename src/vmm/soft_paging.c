/* SPDX-License-Identifier: MIT */
/*
 * soft_paging.c - the page tables of a native guest, and what it does to them
 *
 * Theory of operation
 * -------------------
 * Every vCPU has a root of its own, as a process has, and two ways to a page:
 *
 *   the identity   all of memory by 2 MiB pages, at its own address.  These
 *                  tables are shared: the first vCPU writes them.
 *   the window     at WINDOW, 8 MiB in WINDOW_GROUPS groups, by tables of the
 *                  vCPU's own.  A group is mapped by a table of 512 pages of
 *                  4 KiB, or as one page of 2 MiB.
 *
 * Before each page write the vCPU picks one by a generator of its own.  The
 * window never shows what is wanted, so it is changed all the time: an entry
 * is pointed to the page, two entries change places, a group becomes a large
 * page or a table again.  Whatever the way, the write must arrive at the same
 * page: a translation that outlives its entry writes to a wrong one, and the
 * oracle finds it.
 *
 * The tables lie in the first MiB, where the guests of guest/ have theirs, and
 * are written with stores of the vCPU: first with paging off, then through
 * the identity.
 *
 * Invariants
 *   I1  words of the tables are written in the order of soft_regs.booted;
 *       paging is on if and only if one more than all is counted there
 */
#include <assert.h>
#include <sched.h>

#include "vmm/soft_machine.h"
#include "vmm/vm.h"

#define ENTRIES 512u
#define GIB_PAGES (1ull << 18)
#define GIB_MAX (VM_MEMORY_MAX / (1ull << 30) + 1) /* with the hole */

/* Table pages, by gfn.  The first word of page 0 says that the identity is
 * there; then OWN_PAGES of each vCPU, then the identity, a page a GiB. */
#define READY_GPA 0ull
#define OWN_GFN 1u
#define OWN_PAGES 8u
#define IDENTITY_GFN (OWN_GFN + OWN_PAGES * GUEST_VCPUS_MAX)

enum own_page { OWN_TOP, OWN_ROOT, OWN_WINDOW, OWN_GROUP };

/* Inside the lower half of Sv39, above all memory. */
#define WINDOW_GIB 192u
#define WINDOW ((uint64_t)WINDOW_GIB << 30)
#define WINDOW_GROUPS 4u
#define WINDOW_SLOTS (WINDOW_GROUPS * ENTRIES)

_Static_assert((IDENTITY_GFN + GIB_MAX) << TIDE_PAGE_SHIFT <= GUEST_IMAGE_GPA,
	       "the tables end below the parameter block");
_Static_assert(OWN_GROUP + WINDOW_GROUPS <= OWN_PAGES, "a vCPU's own fit in");
_Static_assert(GIB_MAX <= WINDOW_GIB && WINDOW_GIB < 256,
	       "the window is above all memory and in reach of Sv39");

/* How entries are written. */
struct soft_format {
	uint32_t levels;
	uint32_t flags;	    /* enum tide_paging_flags */
	uint32_t gfn_shift; /* of the gfn in an entry */
	uint64_t table, leaf, large;
	uint64_t hardware; /* bits that the MMU sets: accessed and dirty */
};

static const struct soft_format formats[TIDE_PAGING_MODE_COUNT] = {
	/* Present, writable; page size. */
	[TIDE_PAGING_X86_64] = { .levels = 4,
				 .flags = TIDE_PAGING_WP,
				 .gfn_shift = 12,
				 .table = 0x3,
				 .leaf = 0x3,
				 .large = 0x83,
				 .hardware = 0x60 },
	/* Valid; readable and writable in leaves. */
	[TIDE_PAGING_SV39] = { .levels = 3,
			       .gfn_shift = 10,
			       .table = 0x1,
			       .leaf = 0x7,
			       .large = 0x7,
			       .hardware = 0xc0 },
};

static const struct soft_format *format_of(const struct soft_vcpu *self)
{
	return &formats[self->vm->config.paging];
}

static uint64_t own_gfn(const struct soft_vcpu *self, uint32_t page)
{
	return OWN_GFN + self->index * OWN_PAGES + page;
}

static uint64_t entry_gpa(uint64_t table_gfn, uint64_t index)
{
	return (table_gfn << TIDE_PAGE_SHIFT) + index * sizeof(uint64_t);
}

static uint64_t entry_to(const struct soft_format *format, uint64_t gfn,
			 uint64_t bits)
{
	return gfn << format->gfn_shift | bits;
}

struct word {
	uint64_t gpa, value;
};

/* How many words the identity has, and how many a vCPU's own tables. */
static uint64_t identity_words(const struct soft_vcpu *self)
{
	return (self->vm->layout.end_gfn + ENTRIES - 1) / ENTRIES;
}

static uint64_t identity_tables(const struct soft_vcpu *self)
{
	return (self->vm->layout.end_gfn + GIB_PAGES - 1) / GIB_PAGES;
}

static uint64_t shared_words(const struct soft_vcpu *self)
{
	return self->index == 0 ? identity_words(self) : 0;
}

static uint64_t all_words(const struct soft_vcpu *self)
{
	if (self->vm->config.paging == TIDE_PAGING_NONE)
		return 0;
	return shared_words(self) + WINDOW_GROUPS + 2 + identity_tables(self);
}

/* Word @n: what comes later points to what came before. */
static struct word boot_word(const struct soft_vcpu *self, uint64_t n)
{
	const struct soft_format *format = format_of(self);
	uint64_t shared = shared_words(self);
	uint64_t table, at;

	if (n < shared)
		return (struct word){ entry_gpa(IDENTITY_GFN, n),
				      entry_to(format, n * ENTRIES,
					       format->large) };
	n -= shared;
	if (n < WINDOW_GROUPS) {
		table = own_gfn(self, OWN_GROUP + (uint32_t)n);
		at = entry_gpa(own_gfn(self, OWN_WINDOW), n);
	} else if (n == WINDOW_GROUPS) {
		table = own_gfn(self, OWN_WINDOW);
		at = entry_gpa(own_gfn(self, OWN_ROOT), WINDOW_GIB);
	} else if (n == WINDOW_GROUPS + 1) {
		table = own_gfn(self, OWN_ROOT); /* Sv39 has no use for it */
		at = entry_gpa(own_gfn(self, OWN_TOP), 0);
	} else {
		n -= WINDOW_GROUPS + 2;
		table = IDENTITY_GFN + n;
		at = entry_gpa(own_gfn(self, OWN_ROOT), n);
	}
	return (struct word){ at, entry_to(format, table, format->table) };
}

static int turn_on(struct soft_vcpu *self)
{
	const struct soft_format *format = format_of(self);
	const struct tide_paging paging = {
		.size = sizeof(paging),
		.mode = self->vm->config.paging,
		.flags = format->flags,
		.root = own_gfn(self, format->levels == 4 ? OWN_TOP : OWN_ROOT)
			<< TIDE_PAGE_SHIFT,
	};

	return tide_vcpu_set_paging(self->vcpu, &paging);
}

/* Own tables are there.  Is the identity, too? */
static int wait_ready(struct soft_vcpu *self)
{
	uint64_t mine = self->index == 0;
	uint64_t ready;
	int err = soft_add(self, READY_GPA, mine, &ready);

	if (err)
		return err;
	if (!ready && !mine) {
		sched_yield();
		return 0;
	}
	self->regs.booted++; /* I1 */
	return turn_on(self);
}

int soft_paging_boot(struct soft_vcpu *self, bool *ret_done)
{
	uint64_t all = all_words(self);
	struct word word;
	int err;

	*ret_done = !all || self->regs.booted > all;
	if (*ret_done)
		return 0;
	if (self->regs.booted == all)
		return wait_ready(self);
	word = boot_word(self, self->regs.booted);
	err = soft_store(self, word.gpa, sizeof(word.value), word.value);
	if (!err)
		self->regs.booted++;
	return err;
}

bool soft_paging_has(const struct soft_vcpu *self, const struct soft_regs *regs)
{
	uint64_t all = all_words(self);

	return regs->booted <= (all ? all + 1 : 0);
}

int soft_paging_resume(struct soft_vcpu *self)
{
	uint64_t all = all_words(self);

	return all && self->regs.booted > all ? turn_on(self) : 0;
}

/* The entry at @gpa becomes @entry, unless it is that but for the MMU's
 * bits. */
static int point(struct soft_vcpu *self, uint64_t gpa, uint64_t entry)
{
	uint64_t old;
	int err = soft_load(self, gpa, sizeof(old), &old);

	if (err || !((old ^ entry) & ~format_of(self)->hardware))
		return err;
	return soft_store(self, gpa, sizeof(entry), entry);
}

/* Every second vCPU sets the MMU's bits itself, as kernels do that want no
 * walk to write to their tables: then nothing but its stores does. */
static uint64_t leaf_bits(const struct soft_vcpu *self, uint64_t bits)
{
	return self->index % 2 ? bits | format_of(self)->hardware : bits;
}

/* The word in the vCPU's own tables that maps slot @slot of the window. */
static uint64_t slot_gpa(const struct soft_vcpu *self, uint64_t slot)
{
	uint32_t group = (uint32_t)(slot / ENTRIES);

	return entry_gpa(own_gfn(self, OWN_GROUP + group), slot % ENTRIES);
}

static int reach_small(struct soft_vcpu *self, uint64_t slot, uint64_t gfn,
		       uint64_t *ret_gva)
{
	const struct soft_format *format = format_of(self);
	uint32_t group = (uint32_t)(slot / ENTRIES);
	int err = point(self, entry_gpa(own_gfn(self, OWN_WINDOW), group),
			entry_to(format, own_gfn(self, OWN_GROUP + group),
				 format->table));

	*ret_gva = WINDOW + (slot << TIDE_PAGE_SHIFT);
	return err ? err
		   : point(self, slot_gpa(self, slot),
			   entry_to(format, gfn,
				    leaf_bits(self, format->leaf)));
}

static int reach_large(struct soft_vcpu *self, uint64_t group, uint64_t gfn,
		       uint64_t *ret_gva)
{
	const struct soft_format *format = format_of(self);
	uint64_t in_group = gfn % ENTRIES;

	*ret_gva = WINDOW + ((group * ENTRIES + in_group) << TIDE_PAGE_SHIFT);
	return point(self, entry_gpa(own_gfn(self, OWN_WINDOW), group),
		     entry_to(format, gfn - in_group,
			      leaf_bits(self, format->large)));
}

/* Two pages of the window change places. */
static int swap(struct soft_vcpu *self, uint64_t slot, uint64_t other)
{
	uint64_t entry, other_entry;
	int err = soft_load(self, slot_gpa(self, slot), sizeof(entry), &entry);

	if (!err)
		err = soft_load(self, slot_gpa(self, other),
				sizeof(other_entry), &other_entry);
	if (!err)
		err = soft_store(self, slot_gpa(self, slot),
				 sizeof(other_entry), other_entry);
	if (!err)
		err = soft_store(self, slot_gpa(self, other), sizeof(entry),
				 entry);
	return err;
}

int soft_paging_reach(struct soft_vcpu *self, uint64_t gfn, uint64_t *ret_gva)
{
	uint64_t choice, slot, other;
	int err = 0;

	*ret_gva = gfn << TIDE_PAGE_SHIFT;
	if (self->vm->config.paging == TIDE_PAGING_NONE)
		return 0;
	choice = self->regs.choice * GUEST_LCG_FACTOR + GUEST_LCG_TERM;
	self->regs.choice = choice;
	slot = choice >> 24 & (WINDOW_SLOTS - 1);
	other = choice >> 40 & (WINDOW_SLOTS - 1);
	switch (choice >> 60) {
	case 0: /* a page and another one, then what came of it */
		err = swap(self, slot, other);
		return err ? err : reach_small(self, slot, gfn, ret_gva);
	case 1:
		return reach_large(self, slot / ENTRIES, gfn, ret_gva);
	case 2:
	case 3:
	case 4:
	case 5:
	case 6:
	case 7:
		return reach_small(self, slot, gfn, ret_gva);
	default:
		return 0;
	}
}
