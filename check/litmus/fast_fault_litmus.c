/* SPDX-License-Identifier: MIT */
/*
 * fast_fault_litmus.c - the fast page fault: claim, mark, commit
 *
 * What    src/mmu/{fast_fault,tlb,protect,spte,map,shadow_page}.* as shipped,
 *         in direct mode.
 * Thread  2; K2, K29.
 * Claim   what a vCPU writes by way of a fast page fault, its own or another
 *         vCPU's, is in the copy of a harvest that took the page, or the page
 *         is in a later one; a write that is over when a harvest begins is in
 *         a copy when that ends (C1, C4).  A fault ends,
 *         whatever others do (K29).
 * Bounds  one page, since an entry is all that the threads share beside the
 *         log.  Two faulting vCPUs: a claim is dropped by whoever comes next,
 *         and a third would do what the second does.  One harvest beside them,
 *         or two; one and two more in final.  Five attempts are all that a
 *         fault makes, and six interferences more than it can bear.
 *
 * The page that faults and becomes a table, gfn and frame, and large leaves:
 * hazard_litmus.c.  A single writer against one harvest, by the fast and the
 * slow path: fault_and_get_litmus.c.
 */
#include "base/rcu.h"
#include "mmu_setup.h"

#define ATTEMPTS 5u /* of one fault */

/* Some write is over. */
static uint32_t is_over;
/* What a thread did; each by one thread. */
static bool written[SETUP_VCPUS_MAX];
static uint32_t claims_dropped;
/* A page whose table is not there yet, of a second slot. */
#define FAR_GFN 8ull

static void begin(const struct mmu_setup *how)
{
	mmu_setup(how);
	is_over = claims_dropped = 0;
	written[0] = written[1] = false;
}

/* Not writable because of the log, which says clean. */
static void clean(void)
{
	static const struct mmu_setup how = { .vcpus = 2,
					      .mapped = SETUP_READ };

	begin(&how);
}

static void clean_by_clear(void)
{
	static const struct mmu_setup how = { .vcpus = 1,
					      .mapped = SETUP_READ,
					      .manual = MMU_MANUAL_ENABLE };

	begin(&how);
}

static void clean_by_ring(void)
{
	static const struct mmu_setup how = { .vcpus = 2,
					      .mapped = SETUP_READ,
					      .ring_bytes = TIDE_PAGE_SIZE };

	begin(&how);
}

/* The same for the slow path. */
static void clean_slow(void)
{
	static const struct mmu_setup how = { .vcpus = 2,
					      .mapped = SETUP_READ,
					      .flags = TIDE_MMU_NO_FAST_FAULT };

	begin(&how);
}

static void clean_slow_by_ring(void)
{
	static const struct mmu_setup how = { .vcpus = 2,
					      .mapped = SETUP_READ,
					      .flags = TIDE_MMU_NO_FAST_FAULT,
					      .ring_bytes = TIDE_PAGE_SIZE };

	begin(&how);
}

static void not_mapped_by_ring(void)
{
	clean_slow_by_ring();
	tide_lock_acquire(&mmu->mmu_lock);
	mmu_zap_pages(mmu, slot, 0, 1);
	(void)mmu_unlock_flush(mmu);
}

/* Writable and never written; the log says dirty. */
static void not_touched(void)
{
	static const struct mmu_setup how = {
		.vcpus = 2,
		.mapped = SETUP_READ,
		.logged_late = true,
		.manual = MMU_MANUAL_ENABLE | MMU_MANUAL_INITIALLY_SET,
	};

	begin(&how);
}

/* A fault, with the walk that it begins with. */
static bool fault(struct mmu_vcpu *self, uint64_t gva)
{
	struct spte_walk walk;
	bool repaired;

	tide_rcu_lock();
	repaired = mmu_walk(self, gva, &walk) &&
		   mmu_fast_fault(self, gva, TIDE_ACCESS_WRITE, &walk);
	tide_rcu_unlock(&mmu->rcu_tag);
	return repaired;
}

/* Through the TLB, or not at all.  Return: written. */
static bool write_if_permitted(struct mmu_vcpu *self, uint64_t value)
{
	struct spte_walk walk;
	uint64_t at;

	guest_enter(self);
	tide_rcu_lock();
	at = mmu_tlb_fill(self, 0, TIDE_ACCESS_WRITE, &walk);
	tide_rcu_unlock(&mmu->rcu_tag);
	if (at)
		TIDE_STORE_RELAXED(uint64_t, at, value);
	guest_exit(self);
	return at != 0;
}

static void say_it_is_over(void)
{
	explore_store(&is_over, 4, 1, __ATOMIC_RELEASE, EXPLORE_HERE);
}

static void fault_and_write(void)
{
	(void)fault(vcpu[0], 0);
	written[0] = write_if_permitted(vcpu[0], 1);
	if (written[0])
		say_it_is_over();
}

static void fault_and_write_too(void)
{
	(void)fault(vcpu[1], 0);
	written[1] = write_if_permitted(vcpu[1], 2);
}

static void write_and_say(void)
{
	guest_write(vcpu[0], 0, 1);
	say_it_is_over();
}

static void only_fault(void)
{
	(void)fault(vcpu[0], 0);
}

static void only_slow_fault(void)
{
	struct mmu_fault write = { .what = TIDE_ACCESS_WRITE };

	explore_assert(mmu_slow_fault(vcpu[0], &write) == MMU_FAULT_FIXED,
		       "mapped", EXPLORE_HERE);
}

/* By what vCPU 0 has repaired. */
static void only_write_too(void)
{
	written[1] = write_if_permitted(vcpu[1], 2);
	if (written[1])
		say_it_is_over();
}

/* A write of 1 that is over is in a copy. */
static void harvest_what_is_over(void)
{
	bool over = explore_load(&is_over, 4, __ATOMIC_ACQUIRE, EXPLORE_HERE);

	(void)harvest();
	explore_assert(!over || copy[0], "what is over is copied",
		       EXPLORE_HERE);
}

static void two_harvests(void)
{
	(void)harvest();
	harvest_what_is_over();
}

/* What GET and CLEAR do to an entry, as often as they like (K29). */
static void drop_claims(void)
{
	struct spte_walk walk;

	tide_rcu_lock();
	explore_assert(mmu_walk(vcpu[0], 0, &walk), "mapped", EXPLORE_HERE);
	for (uint32_t i = 0; i < ATTEMPTS + 1; i++) {
		uint64_t old =
			spte_remove_bits(walk.sptep, SPTE_W | SPTE_CLAIM);

		claims_dropped += (old & SPTE_CLAIM) != 0;
	}
	tide_rcu_unlock(&mmu->rcu_tag);
}

static void gave_up(void)
{
	explore_assert(claims_dropped <= ATTEMPTS, "attempts are bounded",
		       EXPLORE_HERE);
}

/* Both vCPUs have a root; the table for FAR_GFN is still to be made. */
static void far_slot(void)
{
	static uint64_t far_page[TIDE_PAGE_SIZE / sizeof(uint64_t)]
		__attribute__((aligned(TIDE_PAGE_SIZE)));
	const struct mmu_region region = {
		.slot = 1,
		.flags = MMU_REGION_LOG,
		.gpa = FAR_GFN * LARGE_PAGES * TIDE_PAGE_SIZE,
		.memory_bytes = TIDE_PAGE_SIZE,
		.host = (uintptr_t)far_page,
	};

	clean();
	explore_assert(!mmu_set_region(mmu, &region), "a slot", EXPLORE_HERE);
}

static void map_far(void)
{
	struct mmu_fault read = {
		.gva = FAR_GFN * LARGE_PAGES * TIDE_PAGE_SIZE,
		.what = TIDE_ACCESS_READ,
	};

	explore_assert(mmu_slow_fault(vcpu[0], &read) == MMU_FAULT_FIXED,
		       "mapped", EXPLORE_HERE);
}

static void fault_far(void)
{
	written[1] = fault(vcpu[1], FAR_GFN * LARGE_PAGES * TIDE_PAGE_SIZE);
}

static void far_is_marked(void)
{
	explore_assert(!written[1] || tide_bitmap_test(
					      &mmu->slots[0][1]->log.dirty, 0),
		       "marked", EXPLORE_HERE);
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
	/* The claim is dropped between mark and commit, once and twice. */
	TWO("fault-and-two-gets", 2416, clean, last_harvest_is_complete,
	    write_and_say, two_harvests),
	TWO("fault-and-two-clears", 2535, clean_by_clear,
	    last_harvest_is_complete, write_and_say, two_harvests),
	TWO("fault-and-two-resets", 8398, clean_by_ring,
	    last_harvest_is_complete, write_and_say, two_harvests),
	/* What one vCPU repairs is for all of them. */
	THREE("fault-get-and-another-vcpu", 71, clean, last_harvest_is_complete,
	      only_fault, only_write_too, harvest_and_copy),
	THREE("another-vcpu-then-get", 72, clean, last_harvest_is_complete,
	      only_fault, only_write_too, harvest_what_is_over),
	THREE("slow-fault-another-vcpu-then-get", 32, clean_slow,
	      last_harvest_is_complete, only_slow_fault, only_write_too,
	      harvest_what_is_over),
	THREE("slow-fault-another-vcpu-then-reset", 34, clean_slow_by_ring,
	      last_harvest_is_complete, only_slow_fault, only_write_too,
	      harvest_what_is_over),
	THREE("new-leaf-another-vcpu-then-reset", 42, not_mapped_by_ring,
	      last_harvest_is_complete, only_slow_fault, only_write_too,
	      harvest_what_is_over),
	/* The other vCPU sets D, and finds another entry than it has read. */
	THREE("touched-meanwhile", 546, not_touched, last_harvest_is_complete,
	      only_fault, only_write_too, two_harvests),
	/* Two claims on one entry: dropped, or spurious. */
	TWO("two-faults", 220, clean_by_ring, last_harvest_is_complete,
	    fault_and_write, fault_and_write_too),
	TWO("gives-up", 1868, clean, gave_up, only_fault, drop_claims),
	TWO("new-table", 3, far_slot, far_is_marked, map_far, fault_far),
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
