/* SPDX-License-Identifier: MIT */
/*
 * fault_and_get_litmus.c - a write that is caught, against a harvest
 *
 * What    src/mmu/{fault,map,access,protect,dirty_calls,dirty_sink,emulate,
 *         host_page}.c and src/log/dirty_log.c as shipped, in direct mode.
 * Thread  1: the page-fault path, the emulated write, the last GET; K1, K2.
 * Claim   a write is in the copy that is read after a harvest which took the
 *         page, or the page is in the next harvest (C1, C2).  A harvest after
 *         the vCPUs have stopped leaves nothing (C4, C6: exact, I19).
 * Bounds  one page: the log's words, and a page's entry, are taken and
 *         protected one after the other, and what is said of one holds for
 *         each; that a batch ends between two words, words-and-get has.
 *         One write, or two of one vCPU; one harvest, or two, beside them and
 *         two afterwards, since each begins with the state that it finds:
 *         unmapped, clean, dirty, in the vCPU's TLB.  A second vCPU to write
 *         through what the first has made writable, a second harvester to come
 *         in between.  The fast page fault's own races, the flush and shadowed
 *         tables have files of their own.
 *
 * caught write     mark, then make writable    told-*
 * marked write     write, then mark            emulated-*, device-*
 * harvest          take, re-arm, flush, read   write-*, slow-*, tlb-*
 * last harvest     stop, then harvest          last-*
 * K1  protected before the bit is taken        write-and-get, write-and-clear
 * K2  a GET between mark and writable          slow-and-get
 */
#include "base/rcu.h"
#include "mmu_setup.h"

#define SETUP(name, ...)                                         \
	static void name(void)                                   \
	{                                                        \
		static const struct mmu_setup how = __VA_ARGS__; \
                                                                 \
		mmu_setup(&how);                                 \
	}

#define BY_CLEAR MMU_MANUAL_ENABLE
#define ALL_SET (MMU_MANUAL_ENABLE | MMU_MANUAL_INITIALLY_SET)

/* Not writable because of the log, which says clean. */
SETUP(clean, { .vcpus = 2, .mapped = SETUP_READ })
SETUP(clean_slow,
      { .vcpus = 2, .mapped = SETUP_READ, .flags = TIDE_MMU_NO_FAST_FAULT })
SETUP(clean_by_clear, { .vcpus = 2, .mapped = SETUP_READ, .manual = BY_CLEAR })
SETUP(clean_slow_by_clear, { .vcpus = 2,
			     .mapped = SETUP_READ,
			     .flags = TIDE_MMU_NO_FAST_FAULT,
			     .manual = BY_CLEAR })
SETUP(clean_by_ring,
      { .vcpus = 2, .mapped = SETUP_READ, .ring_bytes = TIDE_PAGE_SIZE })
SETUP(clean_slow_by_ring, { .vcpus = 2,
			    .mapped = SETUP_READ,
			    .flags = TIDE_MMU_NO_FAST_FAULT,
			    .ring_bytes = TIDE_PAGE_SIZE })
SETUP(clean_by_both, { .vcpus = 2,
		       .mapped = SETUP_READ,
		       .ring_bytes = TIDE_PAGE_SIZE,
		       .ring_with_bitmap = true })
SETUP(clean_words, { .vcpus = 1, .mapped = SETUP_READ, .far_page = true })
/* Nobody was there. */
SETUP(unmapped, { .vcpus = 2 })
/* Not writable, but the log says dirty. */
SETUP(clean_slow_words_all_set, { .vcpus = 1,
				  .mapped = SETUP_READ,
				  .far_page = true,
				  .flags = TIDE_MMU_NO_FAST_FAULT,
				  .manual = ALL_SET })
SETUP(clean_all_set, { .vcpus = 1, .mapped = SETUP_READ, .manual = ALL_SET })
SETUP(unmapped_all_set, { .vcpus = 1, .manual = ALL_SET })
/* Writable, and the log says so. */
SETUP(dirty, { .vcpus = 2, .mapped = SETUP_WRITTEN })
/* The vCPU is in guest mode, and can write by its TLB. */
SETUP(in_tlb, { .vcpus = 2, .mapped = SETUP_WRITTEN, .in_guest = true })
SETUP(in_tlb_by_clear, { .vcpus = 2,
			 .mapped = SETUP_WRITTEN,
			 .in_guest = true,
			 .manual = BY_CLEAR })
SETUP(in_tlb_all_set, { .vcpus = 2,
			.mapped = SETUP_READ,
			.logged_late = true,
			.in_guest = true,
			.manual = ALL_SET })
SETUP(in_tlb_by_ring, { .vcpus = 2,
			.mapped = SETUP_WRITTEN,
			.in_guest = true,
			.ring_bytes = TIDE_PAGE_SIZE })
SETUP(in_tlb_by_both, { .vcpus = 2,
			.mapped = SETUP_WRITTEN,
			.in_guest = true,
			.ring_bytes = TIDE_PAGE_SIZE,
			.ring_with_bitmap = true })

/* Writers. */

static void write_once(void)
{
	guest_write(vcpu[0], 0, 1);
}

/* Through what another vCPU has made writable; if it is not, not. */
static void write_without_fault(void)
{
	struct spte_walk walk;
	uint64_t at;

	guest_enter(vcpu[1]);
	tide_rcu_lock();
	at = mmu_tlb_fill(vcpu[1], 0, TIDE_ACCESS_WRITE, &walk);
	tide_rcu_unlock(&mmu->rcu_tag);
	if (at)
		guest_store(vcpu[1], 0, 2);
	guest_exit(vcpu[1]);
}

static void write_too(void)
{
	guest_write(vcpu[1], 0, 2);
}

static void write_twice(void)
{
	write_once();
	guest_write(vcpu[0], 0, 2);
}

static void write_by_tlb(void)
{
	guest_store(vcpu[0], 0, 1);
	guest_exit(vcpu[0]);
}

/* By the TLB, and then perhaps after a flush. */
static void write_past_safe_point(void)
{
	guest_store(vcpu[0], 0, 1);
	(void)guest_goes_on(vcpu[0]);
	guest_store(vcpu[0], 0, 2);
	guest_exit(vcpu[0]);
}

static void write_two_pages(void)
{
	guest_enter(vcpu[0]);
	guest_store(vcpu[0], 1, 1);
	guest_store(vcpu[0], 0, 1);
	guest_exit(vcpu[0]);
}

static void write_far_page(void)
{
	guest_write(vcpu[0], 1, 1);
}

static void emulate(void)
{
	struct mmu_write write = { .op = MMU_OP_STORE,
				   .nbytes = 8,
				   .value = 1 };

	explore_assert(!mmu_emulate_write(mmu, vcpu[0], 0, 0, &write),
		       "is emulated", EXPLORE_HERE);
}

static void device_writes(void)
{
	const uint64_t value = 1;

	explore_assert(!tide_mmu_write(mmu, 0, &value, sizeof(value)),
		       "a device's write", EXPLORE_HERE);
}

/* Harvesters. */

static void harvest_twice(void)
{
	(void)harvest();
	(void)harvest();
}

static void only_reset(void)
{
	explore_assert(mmu_reset_dirty_rings(mmu) >= 0, "RESET succeeds",
		       EXPLORE_HERE);
}

/*
 * A RESET has protected the page, and its flush has failed: no entry is left
 * that names the page, and the vCPU can still write.  Who was told so takes
 * every page for dirty, and reads it after the next call that succeeds, be it
 * GET, CLEAR or RESET (tidemark/mmu.h).
 */
static void ignore_entry(void *opaque, uint32_t name, uint64_t offset)
{
	(void)opaque;
	(void)name;
	(void)offset;
}

static void protect_entry(void *opaque, uint32_t name, uint64_t offset,
			  uint64_t mask)
{
	(void)opaque;
	(void)name;
	mmu_protect_pages(mmu, slot, offset, mask);
}

static void reset_has_failed(void)
{
	in_tlb_by_both();
	(void)mmu_collect_dirty_rings(mmu, ignore_entry, NULL);
	(void)tide_ring_reset(&vcpu[0]->ring, 1, protect_entry, NULL);
	/* Relaxed: nothing runs. */
	atomic_store_explicit(&mmu->flush_failed, 1, memory_order_relaxed);
	/* Relaxed: as above. */
	(void)atomic_fetch_or_explicit(&vcpu[0]->public.state, VCPU_FLUSH,
				       memory_order_relaxed);
}

static void copy_all(void)
{
	copy[0] = explore_load(page[0], 8, __ATOMIC_RELAXED, EXPLORE_HERE);
}

static void reset_and_copy_all(void)
{
	only_reset();
	copy_all();
}

static void get_and_copy_all(void)
{
	uint64_t word;

	explore_assert(!mmu_get_dirty_log(mmu, 0, &word) && !word,
		       "no page is dirty by the bitmap", EXPLORE_HERE);
	copy_all();
}

static void clear_and_copy_all(void)
{
	const uint64_t word = 1;

	explore_assert(!mmu_clear_dirty_log(mmu, 0, 0, 1, &word),
		       "CLEAR of a page that is clean", EXPLORE_HERE);
	copy_all();
}

/*
 * The last harvest (C4): every writer has stopped, that is its thread is done
 * with guest mode.  It is complete, and leaves nothing.
 */
static uint32_t told;  /* of each execution */
static uint64_t order; /* what is said with a kick */

static void tell(void)
{
	explore_store(&told, 4, 1, __ATOMIC_RELEASE, EXPLORE_HERE);
}

static bool is_told(void)
{
	return explore_load(&told, 4, __ATOMIC_ACQUIRE, EXPLORE_HERE);
}

#define SETUP_TOLD(name, before) \
	static void name(void)   \
	{                        \
		before();        \
		order = 0;       \
		told = 0;        \
	}

SETUP_TOLD(nothing_told, clean)
SETUP_TOLD(nothing_told_by_clear, clean_by_clear)
SETUP_TOLD(nothing_told_by_ring, clean_by_ring)

static void run_until_kicked(void)
{
	for (uint64_t i = 1; i <= 2 && guest_enters(vcpu[0]); i++) {
		guest_store(vcpu[0], 0, i);
		guest_exit(vcpu[0]);
	}
	tell();
}

static void expect_copied(void)
{
	explore_assert(copy[0] == explore_load(page[0], 8, __ATOMIC_RELAXED,
					       EXPLORE_HERE),
		       "complete after the stop", EXPLORE_HERE);
	explore_assert(!harvest(), "exact after the stop", EXPLORE_HERE);
}

static void stop_and_harvest(void)
{
	(void)harvest();
	tide_vcpu_kick(&vcpu[0]->public);
	explore_assume(is_told());
	(void)harvest();
	expect_copied();
}

/* A vCPU that is kicked does not enter, once; and it learns what came before
 * the kick. */
static void kick_and_tell(void)
{
	explore_plain_store(&order, 8, 1, EXPLORE_HERE);
	tide_vcpu_kick(&vcpu[0]->public);
	tell();
}

static void look_and_enter(void)
{
	bool kicked = is_told();

	if (guest_enters(vcpu[0])) {
		explore_assert(!kicked, "a kick is not lost", EXPLORE_HERE);
		kicked = !guest_goes_on(vcpu[0]);
		if (!kicked)
			guest_exit(vcpu[0]);
	} else {
		kicked = true;
	}
	if (!kicked)
		return;
	explore_assert(explore_plain_load(&order, 8, EXPLORE_HERE) == 1,
		       "said before the kick", EXPLORE_HERE);
	guest_enter(vcpu[0]);
	guest_exit(vcpu[0]);
}

/*
 * A guest's own atomic operations are sequentially consistent (tidemark/vcpu.h)
 * on their way through the TLB: each of two vCPUs adds to one word and then
 * reads the other, by a compare-exchange that cannot succeed.
 */
static uint64_t seen[2];

static void nothing_seen(void)
{
	dirty();
	seen[0] = seen[1] = 0;
}

static void add_and_look(uint32_t self)
{
	uint64_t old, expected = 7;

	guest_enter(vcpu[self]);
	explore_assert(
		!tide_vcpu_fetch_add(&vcpu[self]->public, 8 * self, 8, 1, &old),
		"adds", EXPLORE_HERE);
	explore_assert(!tide_vcpu_cmpxchg(&vcpu[self]->public, 8 * !self, 8,
					  &expected, 8),
		       "compares", EXPLORE_HERE);
	seen[self] = expected;
	guest_exit(vcpu[self]);
}

static void add_and_look_0(void)
{
	add_and_look(0);
}

static void add_and_look_1(void)
{
	add_and_look(1);
}

static void one_was_seen(void)
{
	explore_assert(seen[0] || seen[1], "one comes first", EXPLORE_HERE);
}

/* The same with a compare-exchange that succeeds in the place of the add. */
static void exchange_and_look(uint32_t self)
{
	uint64_t expected = 0;

	guest_enter(vcpu[self]);
	explore_assert(!tide_vcpu_cmpxchg(&vcpu[self]->public, 8 * self, 8,
					  &expected, 1) &&
			       !expected,
		       "exchanges", EXPLORE_HERE);
	expected = 7;
	explore_assert(!tide_vcpu_cmpxchg(&vcpu[self]->public, 8 * !self, 8,
					  &expected, 8),
		       "compares", EXPLORE_HERE);
	seen[self] = expected;
	guest_exit(vcpu[self]);
}

static void exchange_and_look_0(void)
{
	exchange_and_look(0);
}

static void exchange_and_look_1(void)
{
	exchange_and_look(1);
}

/*
 * Any write, once it is complete (C1): vCPU 1 may write through what vCPU 0
 * has made writable, and never fault itself.  A harvest that begins after the
 * write has it.
 */
static void only_fault(void)
{
	struct mmu_fault fault = { .what = TIDE_ACCESS_WRITE };

	explore_assert(mmu_slow_fault(vcpu[0], &fault) == MMU_FAULT_FIXED,
		       "a slow fault", EXPLORE_HERE);
}

static void write_and_tell(void)
{
	guest_enter(vcpu[1]);
	guest_store(vcpu[1], 0, 1);
	tell();
	guest_exit(vcpu[1]);
}

static void harvest_what_was_told(void)
{
	explore_assume(is_told());
	(void)harvest();
	explore_assert(copy[0] == 1, "a write that is complete is yielded",
		       EXPLORE_HERE);
}

#define TWO(name_, executions_, init_, writer_, harvester_)           \
	{                                                             \
		.program = { .name = (name_),                         \
			     .threads = 2,                            \
			     .init = (init_),                         \
			     .final = last_harvest_is_complete,       \
			     .thread = { (writer_), (harvester_) } }, \
		.executions = (executions_)                           \
	}
#define THREE(name_, executions_, init_, first_, second_, third_)           \
	{                                                                   \
		.program = { .name = (name_),                               \
			     .threads = 3,                                  \
			     .init = (init_),                               \
			     .final = last_harvest_is_complete,             \
			     .thread = { (first_), (second_), (third_) } }, \
		.executions = (executions_)                                 \
	}

static const struct litmus all[] = {
	/* A write that faults. */
	TWO("write-and-get", 83, clean, write_once, harvest_and_copy),
	TWO("slow-and-get", 72, clean_slow, write_once, harvest_and_copy),
	TWO("unmapped-and-get", 72, unmapped, write_once, harvest_and_copy),
	TWO("write-and-clear", 84, clean_by_clear, write_once,
	    harvest_and_copy),
	TWO("slow-and-clear", 74, clean_slow_by_clear, write_once,
	    harvest_and_copy),
	TWO("write-and-initially-set", 10420, clean_all_set, write_once,
	    harvest_and_copy),
	TWO("unmapped-and-initially-set", 190, unmapped_all_set, write_once,
	    harvest_and_copy),
	TWO("write-and-ring", 164, clean_by_ring, write_once, harvest_and_copy),
	TWO("slow-and-ring", 109, clean_slow_by_ring, write_once,
	    harvest_and_copy),
	TWO("write-and-get-twice", 2333, clean, write_once, harvest_twice),
	TWO("write-twice-and-get-twice", 23822, clean, write_twice,
	    harvest_twice),
	TWO("words-and-get", 1328, clean_words, write_two_pages,
	    harvest_and_copy),
	TWO("words-slow-and-clear", 10921, clean_slow_words_all_set,
	    write_far_page, harvest_and_copy),
	/* A write that need not fault. */
	TWO("tlb-and-get", 3, in_tlb, write_by_tlb, harvest_and_copy),
	TWO("tlb-and-clear", 3, in_tlb_by_clear, write_by_tlb,
	    harvest_and_copy),
	TWO("tlb-and-initially-set", 3, in_tlb_all_set, write_by_tlb,
	    harvest_and_copy),
	TWO("tlb-and-ring", 3, in_tlb_by_ring, write_by_tlb, harvest_and_copy),
	THREE("tlb-ring-and-another-reset", 9, in_tlb_by_ring, write_by_tlb,
	      harvest_and_copy, only_reset),
	TWO("owed-and-reset", 3, reset_has_failed, write_by_tlb,
	    reset_and_copy_all),
	TWO("owed-and-get", 3, reset_has_failed, write_by_tlb,
	    get_and_copy_all),
	TWO("owed-and-clear", 3, reset_has_failed, write_by_tlb,
	    clear_and_copy_all),
	TWO("safe-point-and-get", 17, in_tlb, write_past_safe_point,
	    harvest_and_copy),
	TWO("safe-point-and-ring", 17, in_tlb_by_ring, write_past_safe_point,
	    harvest_and_copy),
	/* A write that is marked. */
	TWO("emulated-and-get", 2, clean, emulate, harvest_and_copy),
	TWO("emulated-dirty-and-get", 3, dirty, emulate, harvest_and_copy),
	TWO("emulated-and-ring", 3, clean_by_ring, emulate, harvest_and_copy),
	TWO("device-and-get", 2, clean, device_writes, harvest_and_copy),
	TWO("device-dirty-and-get", 6, dirty, device_writes, harvest_and_copy),
	TWO("device-and-both", 2, clean_by_both, device_writes,
	    harvest_and_copy),
	/* The last harvest. */
	TWO("last-get", 2181, nothing_told, run_until_kicked, stop_and_harvest),
	TWO("last-clear", 2192, nothing_told_by_clear, run_until_kicked,
	    stop_and_harvest),
	TWO("last-ring", 5005, nothing_told_by_ring, run_until_kicked,
	    stop_and_harvest),
	TWO("kick", 9, nothing_told, look_and_enter, kick_and_tell),
	/* Two vCPUs. */
	THREE("told-and-get", 1599, nothing_told, only_fault, write_and_tell,
	      harvest_what_was_told),
	THREE("told-and-clear", 1887, nothing_told_by_clear, only_fault,
	      write_and_tell, harvest_what_was_told),
	THREE("told-and-ring", 252, nothing_told_by_ring, only_fault,
	      write_and_tell, harvest_what_was_told),
	THREE("slow-and-get-and-another-vcpu", 2306, clean_slow, write_once,
	      write_without_fault, harvest_and_copy),
	THREE("slow-and-ring-and-another-vcpu", 3487, clean_slow_by_ring,
	      write_once, write_without_fault, harvest_and_copy),
	{ .program = { .name = "two-slow-and-get",
		       .threads = 3,
		       .init = clean_slow,
		       .final = last_harvest_is_complete,
		       .thread = { write_once, write_too, harvest_and_copy } },
	  .executions = 257713,
	  .slow = true },
	{ .program = { .name = "guest-adds",
		       .threads = 2,
		       .init = nothing_seen,
		       .final = one_was_seen,
		       .thread = { add_and_look_0, add_and_look_1 } },
	  .executions = 3 },
	{ .program = { .name = "guest-exchanges",
		       .threads = 2,
		       .init = nothing_seen,
		       .final = one_was_seen,
		       .thread = { exchange_and_look_0, exchange_and_look_1 } },
	  .executions = 3 },
	/* Two harvesters. */
	THREE("write-and-two-harvesters", 4666, clean, write_once,
	      harvest_and_copy, harvest_and_copy),
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
