/* SPDX-License-Identifier: MIT */
/*
 * hazard_litmus.c - the three hazards of a fast page fault, and their kin
 *
 * What    src/mmu/{fast_fault,tlb,protect,spte,map,shadow_page,rmap,fault,
 *         emulate,host_page,flush,region,notifier}.* as shipped, with guest
 *         page tables (Sv39) and large pages; the host under it is a model
 *         that promises no more than mmu/host.h.
 * Thread  2: gfn and frame (K3), the flush that MMU_WRITABLE asks for (K4, K5,
 *         K9, K28), bits that change meanwhile (K6, K12), large leaves (K14,
 *         K24, K30), tables (K22, K23).
 * Claim   a write to a page is found by a harvest of that page's slot, and of
 *         no other page's (C1, C4); a guest's table and its shadow agree when
 *         nobody writes any more, and at once for whoever knows that a write
 *         to it is over; who knows that a right was taken away cannot use it;
 *         what was written to a frame, the host learns (D).
 * Bounds  one entry and what it is made from: two pages of RAM, one table for
 *         each level, of two entries instead of 512 (GUEST_INDEX_BITS), of
 *         which nothing but the length of loops depends.  One operation of
 *         each side; final does one more.  A harvester is a third thread where
 *         the bug needs one that is half-way; K4 begins with it there.
 *
 * K23 is a table that is out of step for a while (unsync).  Here there is
 * none: a shadowed table is not writable, so that "out of step, and writable"
 * has no flag that could be seen too late.  What remains of it is that a
 * write which is over is seen by the next walk: k23-written-then-walked.
 */
#include "base/atomic.h"

#include "mmu/mmu_internal.h"

#include "base/rcu.h"
#include "check/shim/arena_model.h"
#include "check/shim/rcu_model.h"
#include "litmus.h"

#include <stdlib.h>
#include <string.h>

#undef memset

/* Guest frame numbers.  A and B are the RAM, two pages that a large leaf can
 * map; ALIAS is the same memory in another slot; the tables are of three
 * levels, and the first entry of each leads on. */
enum { A, B, RAM_PAGES, ALIAS = 4, TABLES = 8, TABLE_PAGES = 3 };
enum { RAM_SLOT, TABLE_SLOT, ALIAS_SLOT };
#define GPA(gfn) ((uint64_t)(gfn)*TIDE_PAGE_SIZE)
#define ENTRY GPA(TABLES + 2) /* of GVA, in the table of level 1 */
#define GVA 0ull
/* vCPUs 0 and 1 use the tables, vCPU 2 is in direct mode. */
#define VCPUS 3u
#define DIRECT 2u
#define HOST 0x10000000ull /* of a RAM that is on the model of a host */

#define PTE_V 1u
#define PTE_R 2u
#define PTE_W 4u
#define PTE_AD 192u

/* What each execution begins with. */
struct stage {
	uint32_t ram_flags, table_flags;
	bool alias;    /* the second slot */
	bool backed;   /* RAM is on the host's model */
	bool shadowed; /* vCPUs 0 and 1 have read GVA; the logs are clean */
	bool large;    /* vCPU 2 has read A, by a large leaf */
	bool mapped;   /* vCPU 2 has written the table's page; logs are clean */
	void (*more)(void);
};

static struct tide_mmu *mmu;
static struct mmu_vcpu *vcpu[VCPUS];
static uint64_t *ram[RAM_PAGES], *table[TABLE_PAGES]; /* first words */
static uint64_t copy[RAM_PAGES];
/* Something is over. */
static uint32_t is_told;
/* Each by one thread. */
static bool was_told, written;

/* The host: page i in frame i, until it is moved. */
#define NOWHERE RAM_PAGES
struct tide_backing {
	char any;
};
static struct tide_backing host;
static uint32_t page_in[RAM_PAGES]; /* by frame; PINNED for each reference */
#define PINNED 16u
static uint32_t is_dirty[RAM_PAGES]; /* frame */
static uint32_t pin_refuses;	     /* thread, plus 1 */

static void must(bool done)
{
	if (!done)
		abort();
}

static uint32_t frame_of_pfn(uint64_t pfn)
{
	return (uintptr_t)ram[1] >> TIDE_PAGE_SHIFT == pfn;
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

static bool take_reference(uint32_t frame, uint32_t page)
{
	uint32_t now = (uint32_t)explore_load(&page_in[frame], 4,
					      __ATOMIC_RELAXED, EXPLORE_HERE);

	return now % PINNED == page &&
	       explore_cas(&page_in[frame], 4, &now, now + PINNED,
			   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED, EXPLORE_HERE);
}

int backing_get(struct tide_backing *backing, uint64_t at, bool write,
		struct host_page *ret_page)
{
	uint32_t page = (uint32_t)((at - HOST) >> TIDE_PAGE_SHIFT);
	uint32_t frame = 0;

	(void)backing;
	(void)write;
	while (frame < RAM_PAGES && !take_reference(frame, page))
		frame++;
	/* It is brought in by nobody: that is not of interest. */
	explore_assume(frame < RAM_PAGES);
	ret_page->pfn = (uintptr_t)ram[frame] >> TIDE_PAGE_SHIFT;
	ret_page->writable = true;
	return 0;
}

void backing_put(struct tide_backing *backing, uint64_t pfn)
{
	(void)backing;
	(void)explore_rmw(&page_in[frame_of_pfn(pfn)], 4, EXPLORE_SUB, PINNED,
			  __ATOMIC_RELEASE, EXPLORE_HERE);
}

bool backing_pin(struct tide_backing *backing, uint64_t at, uint64_t pfn)
{
	(void)backing;
	return explore_self() + 1 != pin_refuses &&
	       take_reference(frame_of_pfn(pfn),
			      (uint32_t)((at - HOST) >> TIDE_PAGE_SHIFT));
}

void backing_page_dirty(struct tide_backing *backing, uint64_t pfn)
{
	(void)backing;
	explore_store(&is_dirty[frame_of_pfn(pfn)], 4, 1, __ATOMIC_RELAXED,
		      EXPLORE_HERE);
}

void backing_page_accessed(struct tide_backing *backing, uint64_t pfn)
{
	(void)backing;
	(void)pfn;
}

/* The set-up */

static uint64_t leaf_to(uint64_t gfn, uint64_t bits)
{
	return gfn << 10 | PTE_V | PTE_R | PTE_AD | bits;
}

static uint64_t table_at(uint64_t gfn)
{
	return gfn << 10 | PTE_V;
}

static void set_slot(uint32_t id, uint64_t gfn, uint64_t npages, uint32_t flags,
		     uint64_t at)
{
	const struct mmu_region region = { .slot = id,
					   .flags = flags,
					   .gpa = GPA(gfn),
					   .memory_bytes = GPA(npages),
					   .host = at };

	explore_assert(!mmu_set_region(mmu, &region), "a slot changes",
		       EXPLORE_HERE);
}

static void set_ram_flags(const struct stage *stage, uint32_t flags)
{
	set_slot(RAM_SLOT, A, RAM_PAGES, flags,
		 stage->backed ? HOST : (uintptr_t)ram[A]);
}

static void fault(uint32_t number, uint64_t gva, enum tide_access what)
{
	struct mmu_fault fault = { .gva = gva, .what = what };

	explore_assert(mmu_slow_fault(vcpu[number], &fault) != MMU_FAULT_EXIT,
		       "memory is there", EXPLORE_HERE);
}

/* Return: the log's word. */
static uint64_t get(uint32_t slot)
{
	uint64_t words[1];

	explore_assert(!mmu_get_dirty_log(mmu, slot, words), "GET succeeds",
		       EXPLORE_HERE);
	return words[0];
}

static void make_memory(void)
{
	char *at = arena_aligned_alloc(TIDE_PAGE_SIZE,
				       GPA(RAM_PAGES + TABLE_PAGES));

	for (uint32_t i = 0; i < RAM_PAGES; i++)
		ram[i] = (uint64_t *)(void *)(at + GPA(i));
	for (uint32_t i = 0; i < TABLE_PAGES; i++) {
		table[i] = (uint64_t *)(void *)(at + GPA(RAM_PAGES + i));
		*table[i] = i + 1 < TABLE_PAGES ? table_at(TABLES + i + 1)
						: leaf_to(A, PTE_W);
	}
	*ram[A] = A;
	*ram[B] = B;
}

static void make_vcpus(void)
{
	const struct tide_paging paging = { .mode = TIDE_PAGING_SV39,
					    .root = GPA(TABLES) };

	for (uint32_t i = 0; i < VCPUS; i++) {
		struct tide_vcpu *public;

		must(!tide_vcpu_create(mmu, &public));
		vcpu[i] = mmu_vcpu_of(public);
		must(i == DIRECT || !tide_vcpu_set_paging(public, &paging));
	}
}

static void build(const void *how)
{
	const struct stage *stage = how;
	const struct tide_mmu_config config = { .backing = stage->backed
								   ? &host
								   : NULL };

	make_memory();
	must(!tide_mmu_create(&config, &mmu));
	set_ram_flags(stage, stage->ram_flags);
	if (stage->alias)
		set_slot(ALIAS_SLOT, ALIAS, RAM_PAGES, MMU_REGION_LOG,
			 (uintptr_t)ram[A]);
	set_slot(TABLE_SLOT, TABLES, TABLE_PAGES, stage->table_flags,
		 (uintptr_t)table[0]);
	make_vcpus();
	if (stage->shadowed) {
		fault(0, GVA, TIDE_ACCESS_READ);
		fault(1, GVA, TIDE_ACCESS_READ);
	}
	if (stage->large)
		fault(DIRECT, GPA(A), TIDE_ACCESS_READ);
	if (stage->mapped) {
		fault(DIRECT, ENTRY, TIDE_ACCESS_WRITE);
		must(get(TABLE_SLOT));
	}
	if (stage->more)
		stage->more();
}

static void set_stage(const struct stage *stage)
{
	for (uint32_t i = 0; i < RAM_PAGES; i++) {
		copy[i] = i;
		page_in[i] = i;
		is_dirty[i] = 0;
	}
	pin_refuses = is_told = 0;
	was_told = written = false;
	arena_reset(build, stage);
	rcu_model_init();
	copy[A] = *ram[A];
}

#define STAGE(name, ...)                                     \
	static void name(void)                               \
	{                                                    \
		static const struct stage how = __VA_ARGS__; \
                                                             \
		set_stage(&how);                             \
	}

/* What threads do */

static void tell(void)
{
	explore_store(&is_told, 4, 1, __ATOMIC_RELEASE, EXPLORE_HERE);
}

static bool is_known(void)
{
	return explore_load(&is_told, 4, __ATOMIC_ACQUIRE, EXPLORE_HERE);
}

static void enter(uint32_t number)
{
	explore_assert(!tide_vcpu_enter(&vcpu[number]->public), "enters",
		       EXPLORE_HERE);
}

static void leave(uint32_t number)
{
	explore_assert(!tide_vcpu_exit(&vcpu[number]->public), "exits",
		       EXPLORE_HERE);
}

static uint64_t load(uint32_t number, uint64_t gva)
{
	uint64_t value;

	enter(number);
	explore_assert(!tide_vcpu_load(&vcpu[number]->public, gva, 8, &value),
		       "loads", EXPLORE_HERE);
	leave(number);
	return value;
}

static void store(uint32_t number, uint64_t gva, uint64_t value)
{
	enter(number);
	explore_assert(!tide_vcpu_store(&vcpu[number]->public, gva, 8, value),
		       "stores", EXPLORE_HERE);
	leave(number);
}

static bool fill(uint32_t number, uint64_t gva, uint64_t *ret_at)
{
	struct spte_walk walk;

	tide_rcu_lock();
	*ret_at = mmu_tlb_fill(vcpu[number], gva, TIDE_ACCESS_WRITE, &walk);
	tide_rcu_unlock(&mmu->rcu_tag);
	return *ret_at != 0;
}

/* Through the TLB, or not at all. */
static bool store_if_permitted(uint32_t number, uint64_t gva, uint64_t value)
{
	uint64_t at;
	bool permitted;

	enter(number);
	permitted = fill(number, gva, &at);
	if (permitted)
		TIDE_STORE_RELAXED(uint64_t, at, value);
	leave(number);
	return permitted;
}

/* As thread 0, in guest mode, with a TLB entry to write. */
static void stay_in_guest(uint32_t number, uint64_t gva)
{
	uint64_t at;

	enter(number);
	must(fill(number, gva, &at));
	/* Relaxed: nothing runs. */
	atomic_store_explicit(&vcpu[number]->owner, 1, memory_order_relaxed);
}

static void fast_fault(uint32_t number, uint64_t gva)
{
	struct spte_walk walk;

	tide_rcu_lock();
	if (mmu_walk(vcpu[number], gva, &walk))
		(void)mmu_fast_fault(vcpu[number], gva, TIDE_ACCESS_WRITE,
				     &walk);
	tide_rcu_unlock(&mmu->rcu_tag);
}

/* A device writes to the guest's table. */
static void write_entry(uint64_t entry)
{
	explore_assert(!tide_mmu_write(mmu, ENTRY, &entry, sizeof(entry)),
		       "a device writes", EXPLORE_HERE);
}

static void get_and_copy(void)
{
	for (uint64_t bits = get(RAM_SLOT); bits; bits &= bits - 1) {
		uint32_t i = tide_lowest(bits);

		copy[i] =
			explore_load(ram[i], 8, __ATOMIC_RELAXED, EXPLORE_HERE);
	}
}

static void nothing_lost(void)
{
	get_and_copy();
	for (uint32_t i = 0; i < RAM_PAGES; i++)
		explore_assert(copy[i] == *ram[i], "copied as it is, or dirty",
			       EXPLORE_HERE);
}

/* K3: gfn and frame */

STAGE(two_gfns,
      { .ram_flags = MMU_REGION_LOG, .alias = true, .shadowed = true })
STAGE(on_host,
      { .ram_flags = MMU_REGION_LOG, .backed = true, .shadowed = true })

/* The fault begins when GVA is A; the write comes when it is another page. */
static void fault_then_write(void)
{
	fast_fault(0, GVA);
	explore_assume(is_known());
	written = store_if_permitted(0, GVA, 7);
}

/* GVA is the same memory by its other gfn: the entry looks as it did. */
static void remap_to_alias(void)
{
	write_entry(leaf_to(ALIAS + A, PTE_W));
	fault(1, GVA, TIDE_ACCESS_READ);
	tell();
}

static void alias_is_marked(void)
{
	explore_assert(!written || get(ALIAS_SLOT) == 1,
		       "marked as the page it is", EXPLORE_HERE);
}

/* A's frame becomes B's, unless somebody has a reference.  Then the guest
 * makes GVA page B. */
static void move_frame(void)
{
	uint32_t old = A;
	bool moved;

	explore_assert(!mmu_notifier.invalidate_start(mmu, HOST, 1), "flushed",
		       EXPLORE_HERE);
	moved = explore_cas(&page_in[A], 4, &old, B, __ATOMIC_ACQ_REL,
			    __ATOMIC_RELAXED, EXPLORE_HERE);
	mmu_notifier.invalidate_end(mmu, HOST, 1);
	explore_assume(moved);
	write_entry(leaf_to(B, PTE_W));
	fault(1, GVA, TIDE_ACCESS_READ);
	tell();
}

/* B was in no frame. */
static void a_in_frame(void)
{
	on_host();
	page_in[1] = NOWHERE;
}

static void b_is_marked(void)
{
	explore_assert(!written || get(RAM_SLOT) & 1u << B,
		       "marked as the page it is", EXPLORE_HERE);
}

/* vCPU 1 is refused the pin, and leaves its claim as it is. */
static void pin_is_refused(void)
{
	on_host();
	pin_refuses = 2;
}

static void fault_and_write(void)
{
	fast_fault(0, GVA);
	(void)store_if_permitted(0, GVA, 7);
}

static void only_claim(void)
{
	fast_fault(1, GVA);
}

/* K4, K5: a page becomes a table */

STAGE(table_clean, { .table_flags = MMU_REGION_LOG, .mapped = true })

/* GET has taken W away, and not flushed yet. */
static void table_in_tlb_more(void)
{
	fault(DIRECT, ENTRY, TIDE_ACCESS_WRITE);
	stay_in_guest(DIRECT, ENTRY);
	tide_lock_acquire(&mmu->mmu_lock);
	mmu_protect_pages(mmu, mmu->slots[0][TABLE_SLOT], TABLE_PAGES - 1, 1);
	tide_lock_release(&mmu->mmu_lock);
}

STAGE(table_in_tlb,
      { .table_flags = MMU_REGION_LOG, .more = table_in_tlb_more })

static void write_table_by_tlb(void)
{
	explore_assert(!tide_vcpu_store(&vcpu[DIRECT]->public, ENTRY, 8,
					leaf_to(B, PTE_W)),
		       "stores", EXPLORE_HERE);
	leave(DIRECT);
	written = true;
}

static void fault_and_write_table(void)
{
	fast_fault(DIRECT, ENTRY);
	written = store_if_permitted(DIRECT, ENTRY, leaf_to(B, PTE_W));
}

static void shadow(void)
{
	fault(0, GVA, TIDE_ACCESS_READ);
}

/* vCPU 2 has the first two tables in a large leaf. */
static void tables_in_large_more(void)
{
	fault(DIRECT, GPA(TABLES), TIDE_ACCESS_WRITE);
}

STAGE(tables_in_large, { .more = tables_in_large_more })

static void fault_and_cut_table(void)
{
	written = store_if_permitted(DIRECT, GPA(TABLES + 1), 0);
}

/* It may be cut already. */
static void shadow_or_not(void)
{
	struct mmu_fault read = { .gva = GVA, .what = TIDE_ACCESS_READ };

	(void)mmu_slow_fault(vcpu[0], &read);
}

static void table_is_cut(void)
{
	uint64_t value;
	int ret;

	enter(0);
	ret = tide_vcpu_load(&vcpu[0]->public, GVA, 8, &value);
	explore_assert(ret == (written ? TIDE_EXIT_GUEST_FAULT : 0),
		       "the shadow is not stale", EXPLORE_HERE);
	if (!ret)
		leave(0);
}

static void get_table_slot(void)
{
	(void)get(TABLE_SLOT);
}

/* The guest's table says B, or still A. */
static void shadow_follows(void)
{
	explore_assert(load(0, GVA) == (written ? B : A),
		       "the shadow is not stale", EXPLORE_HERE);
}

/* K22, K23 */

STAGE(no_shadow, { .table_flags = 0 })
STAGE(shadowed, { .shadowed = true })

static void device_writes_table(void)
{
	write_entry(leaf_to(B, PTE_W));
	written = true;
}

static void guest_writes_table(void)
{
	(void)load(DIRECT, ENTRY);
	store(DIRECT, ENTRY, leaf_to(B, PTE_W));
	written = true;
	tell();
}

static void walk_after(void)
{
	bool known = is_known();
	uint64_t value = load(0, GVA);

	explore_assert(value == B || (!known && value == A),
		       "what is over is seen", EXPLORE_HERE);
}

/* K28: fewer rights; K9: a GET that finds nothing */

static void gva_in_tlb_more(void)
{
	fault(0, GVA, TIDE_ACCESS_WRITE);
	stay_in_guest(0, GVA);
}

STAGE(gva_in_tlb, { .shadowed = true, .more = gva_in_tlb_more })

static void write_by_tlb(void)
{
	uint64_t at;

	was_told = is_known();
	written =
		tide_vcpu_hit(&vcpu[0]->public, GVA, 8, TIDE_ACCESS_WRITE, &at);
	leave(0);
}

static void guest_takes_right(void)
{
	store(DIRECT, ENTRY, leaf_to(A, 0));
	tell();
}

/* The same leaf, with fewer rights. */
static void map_once_more(uint64_t access, bool guest_dirty)
{
	struct spte_walk walk;
	const struct mmu_map map = {
		.vcpu = vcpu[1],
		.slot = mmu->slots[0][RAM_SLOT],
		.gfn = A,
		.page = { (uintptr_t)ram[A] >> TIDE_PAGE_SHIFT, true },
		.access = access,
		.guest_dirty = guest_dirty,
	};

	tide_lock_acquire(&mmu->mmu_lock);
	explore_assert(mmu_walk(vcpu[1], GVA, &walk) &&
			       !mmu_map_leaf(mmu, &map, sp_of(walk.sptep),
					     sp_index(walk.sptep)) &&
			       !mmu_unlock_flush(mmu),
		       "mapped and flushed", EXPLORE_HERE);
	tell();
}

static void map_clean(void)
{
	map_once_more(GUEST_READ | GUEST_WRITE, false);
}

static void map_to_be_read(void)
{
	map_once_more(GUEST_READ, true);
}

static void right_is_gone(void)
{
	explore_assert(!was_told || !written, "a right that was taken away",
		       EXPLORE_HERE);
}

/* A is dirty, and in vCPU 2's TLB. */
static void dirty_in_tlb_more(void)
{
	fault(DIRECT, GPA(A), TIDE_ACCESS_WRITE);
	stay_in_guest(DIRECT, GPA(A));
}

STAGE(dirty_in_tlb, { .ram_flags = MMU_REGION_LOG, .more = dirty_in_tlb_more })

static void write_ram_by_tlb(void)
{
	was_told = is_known();
	explore_assert(!tide_vcpu_store(&vcpu[DIRECT]->public, GPA(A), 8, 7),
		       "stores", EXPLORE_HERE);
	leave(DIRECT);
}

static void get_first(void)
{
	(void)get(RAM_SLOT);
}

static void get_and_tell(void)
{
	(void)get(RAM_SLOT);
	tell();
}

static void caught_after_get(void)
{
	explore_assert(!was_told || get(RAM_SLOT) & 1,
		       "a write after GET is caught", EXPLORE_HERE);
}

/* K6: bits that come meanwhile */

/* vCPU 2 may write A and has only read it. */
static void writable_not_dirty_more(void)
{
	fault(DIRECT, GPA(A), TIDE_ACCESS_READ);
}

STAGE(writable_not_dirty, { .backed = true, .more = writable_not_dirty_more })

static void write_a_page(void)
{
	written = store_if_permitted(DIRECT, GPA(A), 7);
}

static void protect_page(void)
{
	tide_lock_acquire(&mmu->mmu_lock);
	mmu_protect_pages(mmu, mmu->slots[0][RAM_SLOT], A, 1);
	tide_lock_release(&mmu->mmu_lock);
}

static void protect_as_table(void)
{
	tide_lock_acquire(&mmu->mmu_lock);
	mmu_protect_table(mmu, mmu->slots[0][RAM_SLOT], A);
	(void)mmu_unlock_flush(mmu);
}

static void map_again(void)
{
	fault(DIRECT, GPA(A), TIDE_ACCESS_READ);
}

static void drop_page(void)
{
	explore_assert(!mmu_notifier.invalidate_start(mmu, HOST, 1), "flushed",
		       EXPLORE_HERE);
	mmu_notifier.invalidate_end(mmu, HOST, 1);
}

/* Whatever was done to the entry, when it goes the host knows. */
static void host_knows(void)
{
	drop_page();
	explore_assert(!written || is_dirty[A], "the frame is dirty",
		       EXPLORE_HERE);
}

/* Large leaves: K12, K14, K24, K30 */

STAGE(large, { .large = true })

static void large_in_tlb_more(void)
{
	fault(DIRECT, GPA(A), TIDE_ACCESS_WRITE);
	stay_in_guest(DIRECT, GPA(A));
}

STAGE(large_in_tlb, { .large = true, .more = large_in_tlb_more })

static void log_and_copy(void)
{
	static const struct stage how = { .large = true };

	set_ram_flags(&how, MMU_REGION_LOG);
	for (uint32_t i = 0; i < RAM_PAGES; i++)
		copy[i] =
			explore_load(ram[i], 8, __ATOMIC_RELAXED, EXPLORE_HERE);
}

static void store_to_b(void)
{
	store(DIRECT, GPA(B), 7);
}

/* Entries as spte.h says, and no loss. */
static void large_is_split(void)
{
	nothing_lost();
	mmu_check(mmu);
	explore_assert(load(DIRECT, GPA(A)) == *ram[A] &&
			       load(DIRECT, GPA(B)) == *ram[B],
		       "the same memory", EXPLORE_HERE);
}

/* A large leaf without W in a slot that is logged, and clean: as a walk would
 * leave it that protects without a split. */
static void large_protected_more(void)
{
	const struct stage how = { .large = true };
	struct spte_walk walk;

	must(!mmu_enable_manual_protect(mmu, MMU_MANUAL_ENABLE |
						     MMU_MANUAL_INITIALLY_SET));
	set_ram_flags(&how, MMU_REGION_LOG);
	must(!mmu_enable_manual_protect(mmu, 0));
	must(mmu_walk(vcpu[DIRECT], GPA(A), &walk) && walk.level > 1);
	(void)spte_remove_bits(walk.sptep, SPTE_W);
	tide_bitmap_fini(&mmu->slots[0][RAM_SLOT]->log.dirty);
	must(!tide_bitmap_init(&mmu->slots[0][RAM_SLOT]->log.dirty, RAM_PAGES));
}

STAGE(large_protected, { .large = true, .more = large_protected_more })

/* The leaf's mark would be A's; B lies in the same large page. */
static void fault_a_write_b(void)
{
	fast_fault(DIRECT, GPA(A));
	(void)store_if_permitted(DIRECT, GPA(B), 7);
}

/* Tables that go while somebody walks them */

static void fault_if_mapped(void)
{
	fast_fault(0, GVA);
}

static struct shadow_page *lowest_table(void)
{
	struct shadow_page *sp = mmu->oldest;

	while (sp && (sp->role.direct || sp->role.level > 1))
		sp = sp->newer;
	return sp;
}

static void zap_lowest(void)
{
	struct shadow_page *sp;

	tide_lock_acquire(&mmu->mmu_lock);
	sp = lowest_table();
	if (sp)
		sp_zap(mmu, sp);
	(void)mmu_unlock_flush(mmu);
}

/* And is used again at once. */
static void zap_and_free(void)
{
	zap_lowest();
	sp_collect_garbage(mmu, true);
	fault(1, GVA, TIDE_ACCESS_READ);
}

/* A table waits to be freed, and there is another to be zapped. */
static void garbage_more(void)
{
	zap_lowest();
	fault(1, GVA, TIDE_ACCESS_READ);
}

STAGE(garbage, { .shadowed = true, .more = garbage_more })

static void free_garbage(void)
{
	sp_collect_garbage(mmu, true);
}

static void zap_and_fault(void)
{
	zap_lowest();
	fault(0, GVA, TIDE_ACCESS_READ);
}

static void tables_are_sound(void)
{
	mmu_check(mmu);
	explore_assert(load(0, GVA) == A, "mapped", EXPLORE_HERE);
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
#define THREE(name_, executions_, init_, final_, first_, second_, third_)   \
	{                                                                   \
		.program = { .name = (name_),                               \
			     .threads = 3,                                  \
			     .init = (init_),                               \
			     .final = (final_),                             \
			     .thread = { (first_), (second_), (third_) } }, \
		.executions = (executions_)                                 \
	}

static const struct litmus all[] = {
	TWO("k3-two-gfns", 12, two_gfns, alias_is_marked, fault_then_write,
	    remap_to_alias),
	TWO("k3-frame-moves", 48, a_in_frame, b_is_marked, fault_then_write,
	    move_frame),
	THREE("k3-claim-of-another", 1679, pin_is_refused, nothing_lost,
	      fault_and_write, only_claim, get_and_copy),
	TWO("k4-flush-by-mmu-writable", 6, table_in_tlb, shadow_follows,
	    write_table_by_tlb, shadow),
	TWO("k5-table-is-not-repaired", 54, table_clean, shadow_follows,
	    fault_and_write_table, shadow),
	THREE("k5-and-get", 11937, table_clean, shadow_follows,
	      fault_and_write_table, shadow, get_table_slot),
	TWO("k5-table-in-large-leaf", 18, tables_in_large, table_is_cut,
	    fault_and_cut_table, shadow_or_not),
	TWO("k22-device-and-shadow", 19, no_shadow, shadow_follows,
	    device_writes_table, shadow),
	TWO("k23-written-then-walked", 16, shadowed, shadow_follows,
	    guest_writes_table, walk_after),
	TWO("k28-guest-takes-right", 3, gva_in_tlb, right_is_gone, write_by_tlb,
	    guest_takes_right),
	TWO("k28-leaf-has-fewer-rights", 3, gva_in_tlb, right_is_gone,
	    write_by_tlb, map_clean),
	TWO("k28-leaf-loses-access", 3, gva_in_tlb, right_is_gone, write_by_tlb,
	    map_to_be_read),
	THREE("k9-get-that-finds-nothing", 6, dirty_in_tlb, caught_after_get,
	      write_ram_by_tlb, get_first, get_and_tell),
	TWO("k6-dirty-and-protect", 4, writable_not_dirty, host_knows,
	    write_a_page, protect_page),
	TWO("k6-dirty-and-table", 14, writable_not_dirty, host_knows,
	    write_a_page, protect_as_table),
	TWO("k6-dirty-and-map", 5, writable_not_dirty, host_knows, write_a_page,
	    map_again),
	TWO("k6-dirty-and-drop", 14, writable_not_dirty, host_knows,
	    write_a_page, drop_page),
	TWO("freed-while-walked", 10, two_gfns, tables_are_sound,
	    fault_if_mapped, zap_and_free),
	TWO("freed-while-zapped", 52, garbage, tables_are_sound, zap_and_fault,
	    free_garbage),
	TWO("k12-fill-and-split", 175, large, large_is_split, store_to_b,
	    log_and_copy),
	TWO("k24-split-is-flushed", 3, large_in_tlb, large_is_split,
	    write_ram_by_tlb, log_and_copy),
	TWO("k14-large-stays-protected", 1, large_protected, nothing_lost,
	    fault_a_write_b, get_and_copy),
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
