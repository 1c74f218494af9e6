/* SPDX-License-Identifier: MIT */
/*
 * extra_orders_litmus.c - flushes of a slow fault, and the guest's own order
 *
 * What    src/mmu/{fault,shadow_page,flush,notifier,access,walk,map}.* as
 *         shipped, over a host whose frames stay where they are.  A flush
 *         looks once at a vCPU that is in guest mode and then fails, as if its
 *         time was up (flush_calls.h, a timeout of 0).
 * Thread  2: tables (K22), a flush that is owed; contract, slow faults.
 * Claim   while a vCPU may still write to a guest's table nothing is mapped by
 *         it; a frame is the host's again only when no vCPU can write to it; a
 *         walk that sees a table's link sees the table.
 * Bounds  tables of two entries instead of 512 (GUEST_INDEX_BITS), of which
 *         nothing but the length of loops depends.  A flush that succeeds late
 *         is one that fails and is paid for by the next; more looks at the
 *         word are in flush_litmus.  One fault or two, one write.
 */
#include "base/atomic.h"

#include "mmu/mmu_internal.h"

#include "check/litmus/flush_calls.h"
#include "check/shim/arena_model.h"
#include "check/shim/rcu_model.h"
#include "litmus.h"

#include <stdlib.h>

/* Guest frame numbers: RAM; the tables of GVA, the root first, and one more of
 * level 1. */
enum { A, B, FAR, RAM_PAGES = 4, TABLES = 8, TABLE_PAGES = 5 };
#define GPA(gfn) ((uint64_t)(gfn)*TIDE_PAGE_SIZE)
#define GVA 0ull
#define ENTRY GPA(TABLES + 2) /* of GVA, in the table of level 1 */
/* vCPUs 0 and 1 use the tables, the others are in direct mode. */
#define VCPUS 4u
#define DIRECT 2u
#define HOST 0x10000000ull /* of RAM */

/* Sv39 */
#define PTE_V 1u
#define PTE_R 2u
#define PTE_W 4u
#define PTE_AD 192u
/* x86 */
#define X86_TABLE 7u
#define X86_A 32u
#define X86_AD 96u

struct tide_backing {
	char any;
};
static struct tide_backing host;

uint32_t flush_spins; /* 0 */

static struct tide_mmu *mmu;
static struct mmu_vcpu *vcpu[VCPUS];
static uint64_t *ram, *table[TABLE_PAGES]; /* first words */
/* The frame is the host's. */
static uint32_t is_taken;
/* By one thread. */
static bool was_taken, written;

static void must(bool done)
{
	if (!done)
		abort();
}

long flush_futex(void *word, int operation, uint32_t value)
{
	(void)word;
	(void)operation;
	(void)value;
	abort(); /* nobody waits */
}

int *flush_errno(void)
{
	static int error;

	return &error;
}

uint64_t flush_now_ns(void)
{
	return 0;
}

int backing_set_notifier(struct tide_backing *backing,
			 const struct backing_notifier *notifier, void *opaque)
{
	(void)backing;
	(void)notifier;
	(void)opaque;
	return 0;
}

bool backing_has(const struct tide_backing *backing, uint64_t at,
		 uint64_t npages)
{
	(void)backing;
	return at >= HOST && at + GPA(npages) <= HOST + GPA(RAM_PAGES);
}

bool backing_has_any(const struct tide_backing *backing, uint64_t at,
		     uint64_t npages)
{
	return backing_has(backing, at, npages);
}

int backing_get(struct tide_backing *backing, uint64_t at, bool write,
		struct host_page *ret_page)
{
	(void)backing;
	(void)write;
	ret_page->pfn = ((uintptr_t)ram + (at - HOST)) >> TIDE_PAGE_SHIFT;
	ret_page->writable = true;
	return 0;
}

void backing_put(struct tide_backing *backing, uint64_t pfn)
{
	(void)backing;
	(void)pfn;
}

bool backing_pin(struct tide_backing *backing, uint64_t at, uint64_t pfn)
{
	(void)backing;
	(void)at;
	(void)pfn;
	return true;
}

void backing_page_dirty(struct tide_backing *backing, uint64_t pfn)
{
	(void)backing;
	(void)pfn;
}

void backing_page_accessed(struct tide_backing *backing, uint64_t pfn)
{
	(void)backing;
	(void)pfn;
}

/* The set-up */

static uint64_t leaf_to(uint64_t gfn)
{
	return gfn << 10 | PTE_V | PTE_R | PTE_W | PTE_AD;
}

static uint64_t table_at(uint64_t gfn)
{
	return gfn << 10 | PTE_V;
}

static void set_slot(uint32_t id, uint64_t gfn, uint64_t npages, uint64_t at)
{
	const struct mmu_region region = { .slot = id,
					   .gpa = GPA(gfn),
					   .memory_bytes = GPA(npages),
					   .host = at };

	must(!mmu_set_region(mmu, &region));
}

/* Return: reason to exit, or 0. */
static int fault(uint32_t number, uint64_t gva, enum tide_access what)
{
	struct mmu_fault at = { .gva = gva, .what = what };

	if (mmu_slow_fault(vcpu[number], &at) == MMU_FAULT_FIXED)
		return 0;
	return (int)vcpu[number]->exit.reason;
}

static void make_memory(void)
{
	char *at = arena_aligned_alloc(TIDE_PAGE_SIZE,
				       GPA(RAM_PAGES + TABLE_PAGES));

	ram = (uint64_t *)(void *)at;
	for (uint32_t i = 0; i < RAM_PAGES; i++)
		*(uint64_t *)(void *)(at + GPA(i)) = i;
	for (uint32_t i = 0; i < TABLE_PAGES; i++)
		table[i] = (uint64_t *)(void *)(at + GPA(RAM_PAGES + i));
	*table[0] = table_at(TABLES + 1);
	*table[1] = table_at(TABLES + 2);
	*table[2] = leaf_to(A);
	*table[3] = 0;
}

static void make_vcpus(void)
{
	const struct tide_paging paging = { .mode = TIDE_PAGING_SV39,
					    .root = GPA(TABLES) };

	for (uint32_t i = 0; i < VCPUS; i++) {
		struct tide_vcpu *public;

		must(!tide_vcpu_create(mmu, &public));
		vcpu[i] = mmu_vcpu_of(public);
		must(i >= DIRECT || !tide_vcpu_set_paging(public, &paging));
	}
}

/* vCPU 2 is in guest mode for @thread, with @gpa in its TLB to write. */
static void in_tlb(uint64_t gpa, uint32_t thread)
{
	uint64_t value = 0;

	must(!tide_vcpu_cmpxchg(&vcpu[DIRECT]->public, gpa, 8, &value, value));
	/* Relaxed: nothing runs. */
	atomic_store_explicit(&vcpu[DIRECT]->owner, thread + 1,
			      memory_order_relaxed);
}

static void build(const void *how)
{
	const struct tide_mmu_config config = {
		.backing = &host, .flags = TIDE_MMU_NO_LARGE_PAGES
	};
	void (*const *more)(void) = how;

	make_memory();
	must(!tide_mmu_create(&config, &mmu));
	mmu->config.flush_timeout_ns = 0;
	set_slot(0, A, RAM_PAGES, HOST);
	set_slot(1, TABLES, TABLE_PAGES, (uintptr_t)table[0]);
	make_vcpus();
	must(!tide_vcpu_enter(&vcpu[DIRECT]->public));
	(*more)();
}

#define STAGE(name)                                      \
	static void name(void)                           \
	{                                                \
		static void (*more)(void) = name##_more; \
                                                         \
		is_taken = 0;                            \
		was_taken = written = false;             \
		arena_reset(build, &more);               \
		rcu_model_init();                        \
	}

/* A table that is tracked, and a flush that failed */

/* It does not come to a safe point before final. */
static void entry_in_tlb_more(void)
{
	in_tlb(ENTRY, 2);
}

STAGE(entry_in_tlb)

static void fault_0(void)
{
	(void)fault(0, GVA, TIDE_ACCESS_READ);
}

static void fault_1(void)
{
	(void)fault(1, GVA, TIDE_ACCESS_READ);
}

/* What vCPU 2 still can write, vCPU 1 sees when vCPU 2 has left. */
static void shadow_follows(void)
{
	uint64_t at, value;

	written = tide_vcpu_hit(&vcpu[DIRECT]->public, ENTRY, 8,
				TIDE_ACCESS_WRITE, &at);
	if (written)
		TIDE_STORE_RELAXED(uint64_t, at, leaf_to(B));
	must(!tide_vcpu_exit(&vcpu[DIRECT]->public));
	must(!tide_vcpu_enter(&vcpu[1]->public));
	explore_assert(!tide_vcpu_load(&vcpu[1]->public, GVA, 8, &value),
		       "loads", EXPLORE_HERE);
	explore_assert(value == (written ? B : A), "the shadow is not stale",
		       EXPLORE_HERE);
}

/* Tables that make room */

/* One table may be there: that of FAR, which is newer than A's. */
static void a_in_tlb_more(void)
{
	in_tlb(GPA(A), 0);
	must(!fault(DIRECT + 1, GPA(FAR), TIDE_ACCESS_READ));
	mmu->config.table_pages_max = 1;
}

STAGE(a_in_tlb)

static void write_a(void)
{
	uint64_t at;

	was_taken = explore_load(&is_taken, 4, __ATOMIC_ACQUIRE, EXPLORE_HERE);
	written = tide_vcpu_hit(&vcpu[DIRECT]->public, GPA(A), 8,
				TIDE_ACCESS_WRITE, &at);
	must(!tide_vcpu_exit(&vcpu[DIRECT]->public));
}

/* No entry leads to A any more, when the host asks for it. */
static void make_room_and_take(void)
{
	(void)fault(DIRECT + 1, GPA(FAR + 1), TIDE_ACCESS_READ);
	if (!mmu_notifier.invalidate_start(mmu, HOST, 1))
		explore_store(&is_taken, 4, 1, __ATOMIC_RELEASE, EXPLORE_HERE);
	mmu_notifier.invalidate_end(mmu, HOST, 1);
}

static void not_written_when_taken(void)
{
	explore_assert(!was_taken || !written, "the frame is the host's",
		       EXPLORE_HERE);
}

/* A table that is filled, and linked */

/* By vCPU 2: where, and what. */
static struct {
	uint64_t entry, leaf;
	uint64_t link, old, table;
} linking;

static void sv39_more(void)
{
	linking.entry = GPA(TABLES + 3);
	linking.leaf = leaf_to(B);
	linking.link = GPA(TABLES + 1);
	linking.old = table_at(TABLES + 2);
	linking.table = table_at(TABLES + 3);
	in_tlb(linking.entry, 0);
	in_tlb(linking.link, 0);
}

STAGE(sv39)

/* Four levels; a table has an accessed bit, which the new one lacks. */
static void x86_more(void)
{
	const struct tide_paging paging = { .mode = TIDE_PAGING_X86_64,
					    .root = GPA(TABLES) };

	for (uint64_t i = 0; i < 3; i++)
		*table[i] = GPA(TABLES + i + 1) | X86_TABLE | X86_A;
	*table[3] = GPA(A) | X86_TABLE | X86_AD;
	for (uint32_t i = 0; i < DIRECT; i++)
		must(!tide_vcpu_set_paging(&vcpu[i]->public, &paging));
	linking.entry = GPA(TABLES + 4);
	linking.leaf = GPA(B) | X86_TABLE | X86_AD;
	linking.link = GPA(TABLES + 2);
	linking.old = *table[2];
	linking.table = GPA(TABLES + 4) | X86_TABLE;
	in_tlb(linking.entry, 0);
	in_tlb(linking.link, 0);
}

STAGE(x86)

/* GVA is always mapped: to A by the old table, or to B by the new one. */
static void fill_and_link(void)
{
	uint64_t expected = linking.old;

	must(!tide_vcpu_store(&vcpu[DIRECT]->public, linking.entry, 8,
			      linking.leaf));
	must(!tide_vcpu_cmpxchg(&vcpu[DIRECT]->public, linking.link, 8,
				&expected, linking.table));
	must(!tide_vcpu_exit(&vcpu[DIRECT]->public));
}

static void walk_to_the_end(void)
{
	explore_assert(fault(0, GVA, TIDE_ACCESS_READ) != TIDE_EXIT_GUEST_FAULT,
		       "a table that is linked is filled", EXPLORE_HERE);
}

/* It may see the link with the bit that the other walk has set in it. */
static void translate(void)
{
	uint64_t gpa;

	explore_assert(!tide_vcpu_translate(&vcpu[1]->public, GVA,
					    TIDE_ACCESS_READ, &gpa),
		       "a table that is linked is filled", EXPLORE_HERE);
}

#define TWO(name_, executions_, init_, final_, first_, second_)   \
	{                                                         \
		.program = { .name = (name_),                     \
			     .threads = 2,                        \
			     .init = (init_),                     \
			     .final = (final_),                   \
			     .thread = { (first_), (second_) } }, \
		.executions = (executions_)                       \
	}

#define THREE(name_, executions_, init_, first_, second_, third_)           \
	{                                                                   \
		.program = { .name = (name_),                               \
			     .threads = 3,                                  \
			     .init = (init_),                               \
			     .thread = { (first_), (second_), (third_) } }, \
		.executions = (executions_)                                 \
	}

static const struct litmus all[] = {
	TWO("owed-and-fault", 14, entry_in_tlb, shadow_follows, fault_0,
	    fault_1),
	TWO("room-and-take", 11, a_in_tlb, not_written_when_taken, write_a,
	    make_room_and_take),
	TWO("filled-then-linked", 12, sv39, NULL, fill_and_link,
	    walk_to_the_end),
	THREE("linked-then-accessed", 78, x86, fill_and_link, walk_to_the_end,
	      translate),
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
