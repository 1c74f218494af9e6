/* SPDX-License-Identifier: MIT */
/*
 * notifier_litmus.c - the host takes a frame away while vCPUs use the page
 *
 * What    src/mmu/{notifier,fault,emulate,region,map,flush,...}.c as shipped,
 *         over a host that is simpler than the backing and promises less: its
 *         get takes no lock and no reference, as the kernel's fast
 *         get_user_pages; so nothing but start, end and the retry keeps a page
 *         and its frame together.  Section 2.11 of what KVM does:
 *         mmu_invalidate_seq; thread 2, case 1; K6, K7, K26.
 * Claim   after invalidate_start nobody writes to the frame until the host has
 *         read it, and after invalidate_end no entry leads to it: what a vCPU
 *         wrote is in the page afterwards.  The host learns of every write
 *         (D), so that it may drop a frame that nobody wrote to.  Pages that
 *         are given other contents are marked (C1).
 * Bounds  one page, or two that are moved in one another's invalidation; one
 *         move, which takes every page from one frame to another.  A second
 *         move begins with the state that the first one leaves, and final
 *         makes one more.  A fault asks the host three times at most: before
 *         the move, in it, and after it; more rounds in it are as one.
 */
#include "base/atomic.h"

#include "mmu/mmu_internal.h"

#include "check/shim/arena_model.h"
#include "check/shim/rcu_model.h"
#include "litmus.h"

#include <stdlib.h>
#include <string.h>

#undef memset

#define HOST 0x10000000ull /* only a name */
#define PAGES 2u
#define ROUNDS 3u
#define POISON 99u

/* The host.  Page i begins in frame i, and moves to frame PAGES + i. */
struct tide_backing {
	struct tide_lock lock;
	const struct backing_notifier *notifier;
	void *notified;
};

static struct tide_backing host;
static uint64_t *frame[3 * PAGES]; /* their memory */
static uint64_t frame_of[PAGES];   /* of a page */
static uint64_t is_dirty[3 * PAGES];
static uint64_t file[PAGES]; /* what a frame that is not dirty has, too */
static uint32_t rounds[EXPLORE_THREADS_MAX];

static struct tide_mmu *mmu;
static struct mmu_vcpu *vcpu[2];
static struct mmu_slot *slot;
static uint64_t copy; /* of page 0, by a harvest */

static uint64_t host_of(uint32_t page)
{
	return HOST + page * TIDE_PAGE_SIZE;
}

static uint32_t number_of(uint64_t pfn)
{
	uint32_t i = 0;

	while ((uintptr_t)frame[i] >> TIDE_PAGE_SHIFT != pfn)
		i++;
	return i;
}

static uint64_t where_is(uint32_t page)
{
	return explore_load(&frame_of[page], 8, __ATOMIC_ACQUIRE, EXPLORE_HERE);
}

int backing_set_notifier(struct tide_backing *backing,
			 const struct backing_notifier *notifier, void *opaque)
{
	backing->notifier = notifier;
	backing->notified = opaque;
	return 0;
}

bool backing_has(const struct tide_backing *backing, uint64_t at,
		 uint64_t npages)
{
	(void)backing;
	return at >= HOST && at + npages * TIDE_PAGE_SIZE <= host_of(PAGES);
}

bool backing_has_any(const struct tide_backing *backing, uint64_t at,
		     uint64_t npages)
{
	return backing_has(backing, at, npages);
}

int backing_get(struct tide_backing *backing, uint64_t at, bool write,
		struct host_page *ret_page)
{
	uint32_t page = (uint32_t)((at - HOST) >> TIDE_PAGE_SHIFT);

	(void)backing;
	(void)write;
	explore_assume(rounds[explore_self()]++ < ROUNDS);
	ret_page->pfn = (uintptr_t)frame[where_is(page)] >> TIDE_PAGE_SHIFT;
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
	return where_is((uint32_t)((at - HOST) >> TIDE_PAGE_SHIFT)) ==
	       number_of(pfn);
}

void backing_page_dirty(struct tide_backing *backing, uint64_t pfn)
{
	(void)backing;
	explore_store(&is_dirty[number_of(pfn)], 8, 1, __ATOMIC_RELAXED,
		      EXPLORE_HERE);
}

void backing_page_accessed(struct tide_backing *backing, uint64_t pfn)
{
	(void)backing;
	(void)pfn;
}

static void start(uint32_t page, uint32_t npages)
{
	explore_assert(!host.notifier->invalidate_start(host.notified,
							host_of(page), npages),
		       "every vCPU is flushed", EXPLORE_HERE);
}

static void end(uint32_t page, uint32_t npages)
{
	host.notifier->invalidate_end(host.notified, host_of(page), npages);
}

/* Between start and end.  The old frame is somebody else's at once. */
static void change_frame(uint32_t page, uint32_t to)
{
	uint64_t old = where_is(page), value = file[page];

	if (explore_load(&is_dirty[old], 8, __ATOMIC_RELAXED, EXPLORE_HERE))
		value = explore_plain_load(frame[old], 8, EXPLORE_HERE);
	explore_plain_store(frame[to], 8, value, EXPLORE_HERE);
	explore_plain_store(frame[old], 8, POISON, EXPLORE_HERE);
	file[page] = value; /* by one thread at a time, and then by final */
	explore_store(&is_dirty[to], 8, 0, __ATOMIC_RELAXED, EXPLORE_HERE);
	explore_store(&frame_of[page], 8, to, __ATOMIC_RELEASE, EXPLORE_HERE);
}

static void move_to(uint32_t page, uint32_t to)
{
	tide_lock_acquire(&host.lock);
	start(page, 1);
	change_frame(page, to);
	end(page, 1);
	tide_lock_release(&host.lock);
}

/* The set-up. */

struct how {
	uint32_t npages;
	bool mapped; /* by vCPU 0, and written */
	bool read;   /* only read, but writable */
	bool in_tlb; /* so, and in guest mode */
	bool owed;   /* so, but the entry is gone, and was not flushed */
	bool logged;
	bool table; /* page 0 is vCPU 0's, and leads to page 1 */
};

/* Sv39: valid, to read, write and execute, A and D; from gfn 0 on. */
#define TABLE_ENTRY 207u

static void must(bool done)
{
	if (!done)
		abort();
}

static void add_slot(const struct how *how)
{
	const struct mmu_region region = {
		.memory_bytes = how->npages * TIDE_PAGE_SIZE,
		.flags = how->logged ? MMU_REGION_LOG : 0,
		.host = HOST,
	};

	must(!mmu_set_region(mmu, &region));
	slot = mmu->slots[0][0];
}

/* Nothing has been written by it. */
static void unmap(uint32_t page)
{
	struct spte_walk walk;

	must(mmu_walk(vcpu[0], page * TIDE_PAGE_SIZE, &walk));
	sp_drop_entry(mmu, sp_of(walk.sptep), sp_index(walk.sptep));
	mmu->need_flush = false;
}

/* The tables are there in any case: each that a fault has to make is ten
 * events more. */
static void use_pages(const struct how *how)
{
	uint32_t first = how->table;

	if (how->table) {
		const struct tide_paging paging = { .mode = TIDE_PAGING_SV39 };

		*frame[0] = TABLE_ENTRY;
		must(!tide_vcpu_set_paging(&vcpu[0]->public, &paging));
	}
	must(!tide_vcpu_enter(&vcpu[0]->public));
	for (uint32_t i = how->npages; i-- > first;) {
		uint64_t at = i * TIDE_PAGE_SIZE, value;

		must(how->read
			     ? !tide_vcpu_load(&vcpu[0]->public, at, 8, &value)
			     : !tide_vcpu_store(&vcpu[0]->public, at, 8, 0));
	}
	if (!how->in_tlb)
		must(!tide_vcpu_exit(&vcpu[0]->public));
	else /* thread 0's */
		atomic_store_explicit(&vcpu[0]->owner, 1, memory_order_relaxed);
	for (uint32_t i = first; i < how->npages && (how->owed || !how->mapped);
	     i++)
		unmap(i);
	if (!how->mapped)
		mmu_vcpu_flush_own(vcpu[0]);
	if (how->owed)
		atomic_store_explicit(&mmu->flush_failed, 1,
				      memory_order_relaxed);
	/* Written to so often that the next time its shadow is given up: to
	 * drop the entries of a whole page one by one is too long. */
	if (how->table)
		vcpu[0]->root->flood = 1000;
}

static void build(const void *opaque)
{
	const struct how *how = opaque;
	const struct tide_mmu_config config = { .backing = &host };

	memset(&host, 0, sizeof(host));
	for (uint32_t i = 0; i < 3 * PAGES; i++)
		frame[i] = arena_aligned_alloc(TIDE_PAGE_SIZE, TIDE_PAGE_SIZE);
	for (uint32_t i = 0; i < PAGES; i++)
		frame_of[i] = i;
	must(!tide_lock_init(&host.lock, TIDE_RANK_BACKING));
	must(!tide_mmu_create(&config, &mmu));
	add_slot(how);
	for (uint32_t i = 0; i < 2; i++) {
		struct tide_vcpu *public;

		must(!tide_vcpu_create(mmu, &public));
		vcpu[i] = mmu_vcpu_of(public);
	}
	use_pages(how);
}

static void setup(const struct how *how)
{
	memset(rounds, 0, sizeof(rounds));
	arena_reset(build, how);
	rcu_model_init();
	memset(rounds, 0, sizeof(rounds));
	memset(is_dirty, 0, sizeof(is_dirty));
	memset(file, 0, sizeof(file));
	is_dirty[0] = how->owed;
	for (uint32_t i = 0; i < PAGES; i++)
		frame_of[i] = i;
	copy = 0;
}

static void not_mapped(void)
{
	static const struct how how = { .npages = 1 };

	setup(&how);
}

static void two_not_mapped(void)
{
	static const struct how how = { .npages = 2 };

	setup(&how);
}

static void mapped(void)
{
	static const struct how how = { .npages = 1, .mapped = true };

	setup(&how);
}

static void mapped_by_a_read(void)
{
	static const struct how how = { .npages = 1,
					.mapped = true,
					.read = true };

	setup(&how);
}

static void in_tlb(void)
{
	static const struct how how = { .npages = 1,
					.mapped = true,
					.in_tlb = true };

	setup(&how);
}

static void owed(void)
{
	static const struct how how = {
		.npages = 1, .mapped = true, .in_tlb = true, .owed = true
	};

	setup(&how);
}

static void logged(void)
{
	static const struct how how = { .npages = 1,
					.mapped = true,
					.logged = true };

	setup(&how);
}

static void a_table(void)
{
	static const struct how how = { .npages = 2, .table = true };

	setup(&how);
}

static void a_table_in_tlb(void)
{
	static const struct how how = {
		.npages = 2, .table = true, .mapped = true, .in_tlb = true
	};

	setup(&how);
}

/* Threads. */

static void store(struct mmu_vcpu *self, uint32_t page, uint64_t value)
{
	explore_assert(!tide_vcpu_store(&self->public, page * TIDE_PAGE_SIZE, 8,
					value),
		       "a store to memory succeeds", EXPLORE_HERE);
}

static void enter_and_store(struct mmu_vcpu *self, uint32_t page,
			    uint64_t value)
{
	explore_assert(!tide_vcpu_enter(&self->public), "enters", EXPLORE_HERE);
	store(self, page, value);
	explore_assert(!tide_vcpu_exit(&self->public), "exits", EXPLORE_HERE);
}

static void write_0(void)
{
	enter_and_store(vcpu[0], 0, 1);
}

static void write_1(void)
{
	enter_and_store(vcpu[0], 1, 1);
}

static void write_on(void)
{
	store(vcpu[0], 0, 1);
	explore_assert(!tide_vcpu_safe_point(&vcpu[0]->public), "goes on",
		       EXPLORE_HERE);
	store(vcpu[0], 0, 2);
	explore_assert(!tide_vcpu_exit(&vcpu[0]->public), "exits",
		       EXPLORE_HERE);
}

static void read_0(void)
{
	uint64_t value;

	explore_assert(!tide_vcpu_enter(&vcpu[0]->public), "enters",
		       EXPLORE_HERE);
	explore_assert(!tide_vcpu_load(&vcpu[0]->public, 0, 8, &value),
		       "a load from memory succeeds", EXPLORE_HERE);
	explore_assert(!value, "not what is another page's", EXPLORE_HERE);
	explore_assert(!tide_vcpu_exit(&vcpu[0]->public), "exits",
		       EXPLORE_HERE);
}

static void emulate_by(struct mmu_vcpu *self, uint64_t value)
{
	struct mmu_write write = { .op = MMU_OP_STORE,
				   .nbytes = 8,
				   .value = value };

	explore_assert(!mmu_emulate_write(mmu, self, 0, 0, &write),
		       "there is memory", EXPLORE_HERE);
}

static void emulate(void)
{
	emulate_by(vcpu[0], 1);
}

static void emulate_by_another(void)
{
	emulate_by(vcpu[1], 2);
}

static void move(void)
{
	move_to(0, PAGES);
}

/* As merging does, page 0's around that of page 1. */
static void move_both(void)
{
	tide_lock_acquire(&host.lock);
	start(0, 1);
	start(1, 1);
	change_frame(1, PAGES + 1);
	end(1, 1);
	change_frame(0, PAGES);
	end(0, 1);
	tide_lock_release(&host.lock);
}

/* As discarding does: other contents. */
static void discard(void)
{
	tide_lock_acquire(&host.lock);
	start(0, 1);
	file[0] = 7;
	explore_store(&is_dirty[0], 8, 0, __ATOMIC_RELAXED, EXPLORE_HERE);
	change_frame(0, PAGES);
	host.notifier->written(host.notified, HOST, 1);
	end(0, 1);
	tide_lock_release(&host.lock);
}

/* Page 1 by way of the table; no more, once that is gone. */
static bool store_by_table(uint64_t value)
{
	int ret = tide_vcpu_store(&vcpu[0]->public, TIDE_PAGE_SIZE, 8, value);

	explore_assert(!ret || ret == TIDE_EXIT_GUEST_FAULT,
		       "written, or no such page", EXPLORE_HERE);
	return !ret;
}

static void write_by_table(void)
{
	explore_assert(!tide_vcpu_enter(&vcpu[0]->public), "enters",
		       EXPLORE_HERE);
	if (store_by_table(1))
		explore_assert(!tide_vcpu_exit(&vcpu[0]->public), "exits",
			       EXPLORE_HERE);
}

static void write_on_by_table(void)
{
	must(store_by_table(1));
	explore_assert(!tide_vcpu_safe_point(&vcpu[0]->public), "goes on",
		       EXPLORE_HERE);
	if (store_by_table(2))
		explore_assert(!tide_vcpu_exit(&vcpu[0]->public), "exits",
			       EXPLORE_HERE);
}

/* All zero, so that it leads nowhere: who knows that, like this thread, can do
 * with page 1 what he likes.  A walk may read the old frame a little longer. */
static void discard_table(void)
{
	tide_lock_acquire(&host.lock);
	start(0, 1);
	explore_store(&frame_of[0], 8, PAGES, __ATOMIC_RELEASE, EXPLORE_HERE);
	host.notifier->written(host.notified, HOST, 1);
	end(0, 1);
	tide_lock_release(&host.lock);
	explore_plain_store(frame[1], 8, POISON, EXPLORE_HERE);
}

static void copy_page(void *opaque, uint64_t word, uint64_t bits)
{
	(void)opaque;
	explore_assert(!word && bits == 1, "the page and no other",
		       EXPLORE_HERE);
	/* The host reads it. */
	tide_lock_acquire(&host.lock);
	copy = explore_load(frame[where_is(0)], 8, __ATOMIC_RELAXED,
			    EXPLORE_HERE);
	tide_lock_release(&host.lock);
}

static void harvest(void)
{
	explore_assert(!mmu_take_dirty_log(mmu, 0, copy_page, NULL),
		       "GET succeeds", EXPLORE_HERE);
}

static void delete_slot(void)
{
	const struct mmu_region none = { .slot = 0 };

	explore_assert(!mmu_set_region(mmu, &none), "deleted", EXPLORE_HERE);
}

static void move_slot(void)
{
	const struct mmu_region region = { .gpa = 4 * TIDE_PAGE_SIZE,
					   .memory_bytes = TIDE_PAGE_SIZE,
					   .host = HOST };

	explore_assert(!mmu_set_region(mmu, &region), "moved", EXPLORE_HERE);
}

/* What must hold afterwards. */

/* No entry leads to an old frame (I9, I17).  And after one more move, for
 * which the host reads only what it was told of: what was written is there. */
static uint64_t settled(uint32_t page)
{
	struct spte_walk walk;

	for (uint32_t i = 0; i < 2; i++) {
		if (mmu_walk(vcpu[i], page * TIDE_PAGE_SIZE, &walk))
			explore_assert(spte_address(walk.spte) ==
					       (uintptr_t)frame[frame_of[page]],
				       "mapped where it is", EXPLORE_HERE);
	}
	explore_assert(!mmu->invalidating, "every start has its end",
		       EXPLORE_HERE);
	move_to(page, 2 * PAGES + page);
	return *frame[frame_of[page]];
}

static void written_0(void)
{
	explore_assert(settled(0) == 1, "no write is lost", EXPLORE_HERE);
}

static void written_again(void)
{
	explore_assert(settled(0) == 2, "no write is lost", EXPLORE_HERE);
}

static void written_by_either(void)
{
	uint64_t value = settled(0);

	explore_assert(value == 1 || value == 2, "no write is lost",
		       EXPLORE_HERE);
}

static void not_written(void)
{
	explore_assert(!settled(0), "as it was", EXPLORE_HERE);
}

static void written_1(void)
{
	explore_assert(!settled(0) && settled(1) == 1, "no write is lost",
		       EXPLORE_HERE);
}

static void written_0_of_two(void)
{
	explore_assert(settled(0) == 1 && !settled(1), "no write is lost",
		       EXPLORE_HERE);
}

static void nothing_lost(void)
{
	harvest();
	explore_assert(copy == *frame[frame_of[0]], "copied as it is, or dirty",
		       EXPLORE_HERE);
	(void)settled(0);
}

static void led_nowhere(void)
{
	struct spte_walk walk;

	explore_assert(!mmu_walk(vcpu[0], TIDE_PAGE_SIZE, &walk),
		       "no mapping of a table that is gone", EXPLORE_HERE);
	explore_assert(*frame[1] == POISON, "not written any more",
		       EXPLORE_HERE);
}

static void nothing_mapped(void)
{
	struct spte_walk walk;

	explore_assert(!mmu->invalidating, "every start has its end",
		       EXPLORE_HERE);
	explore_assert(!mmu_walk(vcpu[0], 0, &walk), "not mapped there",
		       EXPLORE_HERE);
}

#define PROGRAM(name_, init_, final_, ...)                                  \
	.program = { .name = name_,                                         \
		     .threads = sizeof((void (*[])(void)){ __VA_ARGS__ }) / \
				sizeof(void (*)(void)),                     \
		     .init = init_,                                         \
		     .final = final_,                                       \
		     .thread = { __VA_ARGS__ } }

static const struct litmus all[] = {
	{ PROGRAM("move-and-fault", not_mapped, written_0, write_0, move),
	  .executions = 45 },
	{ PROGRAM("move-and-write", mapped, written_0, write_0, move),
	  .executions = 58 },
	{ PROGRAM("move-and-first-write", mapped_by_a_read, written_0, write_0,
		  move),
	  .executions = 124 },
	{ PROGRAM("move-and-write-on", in_tlb, written_again, write_on, move),
	  .executions = 25 },
	{ PROGRAM("move-while-a-flush-is-owed", owed, written_again, write_on,
		  move),
	  .executions = 377 },
	{ PROGRAM("move-and-read", not_mapped, not_written, read_0, move),
	  .executions = 45 },
	{ PROGRAM("move-and-emulated-write", not_mapped, written_0, emulate,
		  move),
	  .executions = 12 },
	{ PROGRAM("moves-in-one-another-and-fault", two_not_mapped, written_1,
		  write_1, move_both),
	  .executions = 198 },
	{ PROGRAM("moves-in-one-another-and-the-outer", two_not_mapped,
		  written_0_of_two, write_0, move_both),
	  .executions = 127 },
	{ PROGRAM("discard-and-get", logged, nothing_lost, harvest, discard),
	  .executions = 12 },
	{ PROGRAM("discard-table-and-fault", a_table, led_nowhere,
		  write_by_table, discard_table),
	  .executions = 124 },
	{ PROGRAM("discard-table-and-write-on", a_table_in_tlb, led_nowhere,
		  write_on_by_table, discard_table),
	  .executions = 9 },
	{ PROGRAM("move-and-delete-slot", mapped, nothing_mapped, delete_slot,
		  move),
	  .executions = 5 },
	{ PROGRAM("move-and-move-slot", mapped, nothing_mapped, move_slot,
		  move),
	  .executions = 5 },
	{ PROGRAM("move-write-and-emulated-write", mapped, written_by_either,
		  write_0, move, emulate_by_another),
	  .executions = 7744, .slow = true },
	{ PROGRAM("move-fault-and-emulated-write", not_mapped,
		  written_by_either, write_0, move, emulate_by_another),
	  .executions = 5147, .slow = true },
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
