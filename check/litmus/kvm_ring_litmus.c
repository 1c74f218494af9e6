/* SPDX-License-Identifier: MIT */
/*
 * kvm_ring_litmus.c - our harvester on a ring that the kernel fills (thread 3)
 *
 * What    src/tracker/kvm_ring.c as shipped.  The kernel's side is
 *         src/log/ring.c, which is KVM's entry for entry, but where the kernel
 *         overruns its ring: what it does then is modelled here, after
 *         virt/kvm/dirty_ring.c.  So are the space, memory slots, and the
 *         ioctls: RESET protects under the mmu_lock, all of it under the
 *         kernel's slots_lock.  K40, K41, K43, K46, K48, K51.
 * Claim   what a vCPU wrote is in the copy that was made after collect, or
 *         comes with the next.  Also when two vCPUs write, when a vCPU leaves
 *         with a full ring, when somebody else resets or the ioctl is
 *         interrupted, and when entries were lost; and afterwards writes are
 *         caught again.
 * Bounds  Rings of 2 entries, so that the third push overwrites the first;
 *         where only a part is overwritten, 4.  One entry is kept free, the
 *         kernel keeps 64 or 576; and a reset does a vCPU at a time.  Neither
 *         changes what an entry goes through.
 * Limits  A vCPU that has overrun its ring leaves the guest until it is empty,
 *         but in two programs, where it may leave for ever: when somebody else
 *         resets too, and when it overruns an entry while a RESET is under way
 *         that has freed others.  The kernel's place is not known then; what
 *         is written is.  Left out: an overrun of the very entry that is being
 *         reset, of which nobody can see what it lost (the mmu_lock around
 *         each).
 */
#include "litmus.h"

#include <errno.h>
#include <string.h>

#include "base/atomic.h"
#include "tracker/kvm_tracker.h"

#define RINGS 2u
#define ENTRIES 2u /* but for one program */
#define ENTRIES_MAX 4u
#define PAGES 5u
#define SLOT 5u
#define FD 10	     /* of vCPU 0 */
#define EXITS_MAX 4u /* until a ring that was overrun is empty */

struct tide_slot {
	uint32_t id;
};

static struct tide_slot slot = { SLOT };
static struct tide_space_stats stats;
static struct tide_kvm kvm;
static struct tide_kvm_ring our_rings[RINGS];
static struct tide_ring_entry entries[RINGS][ENTRIES_MAX];

/* The kernel's. */
static struct tide_ring rings[RINGS];
static struct explore_mutex slots_lock, mmu_lock;
static bool logged, writable[PAGES]; /* under mmu_lock */
/* Of a kernel that does not stop at a full ring, one with one vCPU; under
 * mmu_lock. */
static struct {
	bool on;
	uint32_t blind; /* writes until it looks for a full ring again */
	uint32_t dirty_index, reset_index;
	bool pushed[ENTRIES_MAX]; /* and not reset since */
} overrun;
static bool interrupts; /* the next RESET */

/* The space's. */
static struct explore_mutex space_lock;
static bool dirty[PAGES]; /* of its one client; under space_lock */

static uint64_t page[PAGES], copy[PAGES];

/* The space. */

uint32_t tide_slot_id(const struct tide_slot *of)
{
	return of->id;
}

uint64_t tide_slot_npages(const struct tide_slot *of)
{
	(void)of;
	return PAGES;
}

bool tide_slot_logged(const struct tide_slot *of)
{
	(void)of;
	return true;
}

struct tide_slot *tide_slot_first(struct tide_space *space)
{
	(void)space;
	return &slot;
}

struct tide_slot *tide_slot_next(struct tide_slot *of)
{
	(void)of;
	return NULL;
}

struct tide_slot *tide_slot_find(struct tide_space *space, uint32_t id)
{
	(void)space;
	return id == SLOT ? &slot : NULL;
}

void tide_found_page(struct tide_slot *of, uint64_t number)
{
	(void)of;
	dirty[number] = true;
}

void tide_slot_fail_closed(struct tide_slot *of)
{
	(void)of;
	memset(dirty, true, sizeof(dirty));
}

void tide_space_held(struct tide_space *space, uint64_t begin_ns)
{
	(void)space, (void)begin_ns;
}

struct tide_space_stats *tide_space_counters(struct tide_space *space)
{
	(void)space;
	return &stats;
}

void *tide_space_tracker_object(struct tide_space *space,
				enum tide_tracker kind)
{
	(void)space;
	return kind == TIDE_TRACKER_KVM_RING ? &kvm : NULL;
}

void tide_space_lock(struct tide_space *space)
{
	(void)space;
	explore_lock(&space_lock, "tide_space_lock");
}

void tide_space_unlock(struct tide_space *space)
{
	(void)space;
	explore_unlock(&space_lock, "tide_space_unlock");
}

/* The kernel. */

/* Under mmu_lock. */
static void protect_page(uint32_t key, uint64_t offset)
{
	if (key == SLOT && offset < PAGES)
		writable[offset] = false;
}

static void protect(void *opaque, uint32_t key, uint64_t offset, uint64_t mask)
{
	(void)opaque;
	explore_lock(&mmu_lock, "protect");
	for (uint64_t i = 0; i < 64; i++) {
		if (mask >> i & 1)
			protect_page(key, offset + i);
	}
	explore_unlock(&mmu_lock, "protect");
}

static struct tide_ring_entry *entry_at(uint32_t index)
{
	return &entries[0][index % rings[0].size];
}

/* kvm_dirty_ring_push; under mmu_lock */
static void push_blindly(uint64_t offset)
{
	struct tide_ring_entry *entry = entry_at(overrun.dirty_index);

	overrun.pushed[overrun.dirty_index++ % rings[0].size] = true;
	atomic_store_explicit(&entry->slot, SLOT, memory_order_relaxed);
	atomic_store_explicit(&entry->offset, offset, memory_order_relaxed);
	atomic_store_explicit(&entry->flags, KVM_DIRTY_GFN_F_DIRTY,
			      memory_order_release);
}

/* kvm_dirty_ring_reset, of one entry; under mmu_lock */
static bool reset_entry(void)
{
	struct tide_ring_entry *entry = entry_at(overrun.reset_index);
	bool *pushed = &overrun.pushed[overrun.reset_index % rings[0].size];
	uint64_t offset;
	uint32_t key;

	if (!(atomic_load_explicit(&entry->flags, memory_order_acquire) &
	      KVM_DIRTY_GFN_F_RESET))
		return false;
	key = atomic_load_explicit(&entry->slot, memory_order_relaxed);
	offset = atomic_load_explicit(&entry->offset, memory_order_relaxed);
	atomic_store_explicit(&entry->flags, 0, memory_order_release);
	/* Else it may lie beyond a slot that is smaller by now, and then the
	 * kernel drops what it would have reset together with it (K48). */
	explore_assert(*pushed || key != SLOT, "an empty entry has no page",
		       EXPLORE_HERE);
	*pushed = false;
	overrun.reset_index++;
	protect_page(key, offset);
	return true;
}

static uint32_t reset_blindly(void)
{
	uint32_t count = 0;
	bool more = true;

	while (more) {
		explore_lock(&mmu_lock, "reset");
		more = reset_entry();
		explore_unlock(&mmu_lock, "reset");
		count += more;
	}
	return count;
}

/* kvm_dirty_ring_soft_full */
static bool is_full(uint32_t vcpu)
{
	bool full;

	if (!overrun.on)
		return tide_ring_soft_full(&rings[vcpu]);
	explore_lock(&mmu_lock, "full?");
	full = overrun.dirty_index - overrun.reset_index >= rings[0].soft_limit;
	explore_unlock(&mmu_lock, "full?");
	return full;
}

static uint32_t reset_all(uint32_t max)
{
	uint32_t count = 0;

	explore_lock(&slots_lock, "KVM_RESET_DIRTY_RINGS");
	if (overrun.on)
		count = reset_blindly();
	for (uint32_t i = 0; !overrun.on && i < RINGS; i++)
		count += tide_ring_reset(&rings[i], max - count, protect, NULL);
	explore_unlock(&slots_lock, "KVM_RESET_DIRTY_RINGS");
	return count;
}

int tide_kvm_ioctl(int fd, unsigned long request, void *argument)
{
	(void)fd, (void)argument;
	explore_assert(request == KVM_RESET_DIRTY_RINGS, "RESET", EXPLORE_HERE);
	if (interrupts) {
		interrupts = false;
		(void)reset_all(1);
		return -EINTR;
	}
	return (int)reset_all(INT32_MAX);
}

/* Off, nothing is caught; on, everything. */
int tide_kvm_slot_log(void *tracker, struct tide_slot *of, bool on)
{
	(void)tracker, (void)of;
	explore_lock(&slots_lock, "KVM_SET_USER_MEMORY_REGION");
	explore_lock(&mmu_lock, "KVM_SET_USER_MEMORY_REGION");
	logged = on;
	if (on)
		memset(writable, false, sizeof(writable));
	explore_unlock(&mmu_lock, "KVM_SET_USER_MEMORY_REGION");
	explore_unlock(&slots_lock, "KVM_SET_USER_MEMORY_REGION");
	return 0;
}

/* Named in the tracker's table, and never called. */
static int never(void)
{
	explore_assert(false, "not called", EXPLORE_HERE);
	return 0;
}

int tide_kvm_extension(const struct tide_kvm *of, int extension)
{
	(void)of, (void)extension;
	return never();
}

int tide_kvm_enable(const struct tide_kvm *of, uint32_t cap, uint64_t arg)
{
	(void)of, (void)cap, (void)arg;
	return never();
}

int tide_kvm_words_for(struct tide_kvm *of, const struct tide_slot *for_slot)
{
	(void)of, (void)for_slot;
	return never();
}

int tide_kvm_slot_add(void *tracker, struct tide_slot *of, bool log)
{
	(void)tracker, (void)of, (void)log;
	return never();
}

int tide_kvm_slot_remove(void *tracker, struct tide_slot *of)
{
	(void)tracker, (void)of;
	return never();
}

int tide_kvm_slot_move(void *tracker, struct tide_slot *of, uint64_t first_gfn)
{
	(void)tracker, (void)of, (void)first_gfn;
	return never();
}

int tide_kvm_slot_park(void *tracker, struct tide_slot *of)
{
	(void)tracker, (void)of;
	return never();
}

int tide_kvm_get_collect(void *tracker, struct tide_slot *only)
{
	(void)tracker, (void)only;
	return never();
}

bool tide_kvm_sync(void *tracker)
{
	(void)tracker;
	return never();
}

void tide_kvm_destroy(void *tracker)
{
	(void)tracker;
	(void)never();
}

/* The programs. */

static void setup_ring(uint32_t size, uint32_t soft_limit)
{
	space_lock.word = slots_lock.word = mmu_lock.word = 0;
	memset(entries, 0, sizeof(entries));
	memset(rings, 0, sizeof(rings));
	memset(&kvm, 0, sizeof(kvm));
	memset(&stats, 0, sizeof(stats));
	memset(our_rings, 0, sizeof(our_rings));
	kvm.config.ring_entries = size;
	kvm.rings = our_rings;
	kvm.nrings = RINGS;
	for (uint32_t i = 0; i < RINGS; i++) {
		rings[i].entries = our_rings[i].entries = entries[i];
		rings[i].size = size;
		rings[i].soft_limit = soft_limit;
		our_rings[i].vcpu_fd = FD + (int)i;
	}
	logged = true;
	interrupts = false;
	memset(&overrun, 0, sizeof(overrun));
	for (uint64_t i = 0; i < PAGES; i++) {
		writable[i] = dirty[i] = false;
		page[i] = copy[i] = 0;
	}
}

static void setup(void)
{
	setup_ring(ENTRIES, ENTRIES - 1);
}

/* The vCPU fills the whole ring. */
static void setup_to_the_brim(void)
{
	setup_ring(ENTRIES, ENTRIES);
}

static void setup_interrupted(void)
{
	setup();
	interrupts = true;
}

static void setup_overrun(void)
{
	setup();
	kvm.nrings = 1;
	overrun.on = true;
	overrun.blind = kvm.config.ring_entries + 1;
}

/* It never looks. */
static void setup_blind(void)
{
	setup_overrun();
	overrun.blind = UINT32_MAX;
}

static void setup_large_overrun(void)
{
	setup_ring(ENTRIES_MAX, ENTRIES_MAX - 1);
	kvm.nrings = 1;
	overrun.on = true;
	overrun.blind = kvm.config.ring_entries + 1;
}

/* Out of the guest, as long as the kernel says so: once, if it has not overrun
 * the ring. */
static void leave_while_full(uint32_t vcpu)
{
	uint32_t exits = overrun.on ? EXITS_MAX : 1;

	while (exits-- && is_full(vcpu))
		explore_assert(tide_kvm_ring_full(NULL, FD + (int)vcpu) >= 0,
			       "a full ring is harvested", EXPLORE_HERE);
	explore_assert(!is_full(vcpu), "a full ring is emptied", EXPLORE_HERE);
}

/* A write of the guest.  That it is one step with the look at the page table
 * is what the flush within RESET makes of it. */
static void write_page(uint32_t vcpu, uint64_t number, uint64_t value)
{
	if (overrun.blind)
		overrun.blind--;
	else
		leave_while_full(vcpu);
	explore_lock(&mmu_lock, "page fault");
	if (logged && !writable[number]) {
		if (overrun.on)
			push_blindly(number);
		else
			explore_assert(
				tide_ring_push(&rings[vcpu], SLOT, number),
				"whoever may run has room", EXPLORE_HERE);
	}
	writable[number] = true;
	explore_store(&page[number], 8, value, __ATOMIC_RELAXED, EXPLORE_HERE);
	explore_unlock(&mmu_lock, "page fault");
}

/* A harvest: collect, take, hand out, read. */
static void harvest(void)
{
	bool taken[PAGES];

	tide_space_lock(NULL);
	explore_assert(!tide_kvm_ring_ops.collect(&kvm, NULL), "collects",
		       EXPLORE_HERE);
	memcpy(taken, dirty, sizeof(taken));
	memset(dirty, false, sizeof(dirty));
	tide_space_unlock(NULL);
	for (uint64_t i = 0; i < PAGES; i++) {
		if (taken[i])
			copy[i] = explore_load(&page[i], 8, __ATOMIC_RELAXED,
					       EXPLORE_HERE);
	}
}

static void run_0(void)
{
	write_page(0, 0, 1);
	write_page(0, 1, 1);
	write_page(0, 0, 2);
}

static void run_1(void)
{
	write_page(1, 1, 3);
}

static void run_1_on(void)
{
	write_page(1, 1, 3);
	write_page(1, 1, 4);
}

static void run_once(void)
{
	write_page(0, 0, 1);
}

static void run_far(void)
{
	for (uint64_t i = 0; i < ENTRIES + 1; i++)
		write_page(0, i, 1);
}

static void run_far_in_large(void)
{
	for (uint64_t i = 0; i < ENTRIES_MAX + 1; i++)
		write_page(0, i, 1);
}

static void run_further(void)
{
	run_far();
	write_page(0, 0, 2);
}

/* The kernel frees some entries, which are filled again, and then overruns one
 * that it has not come to. */
static void setup_large_blind(void)
{
	setup_large_overrun();
	overrun.blind = UINT32_MAX;
}

static void run_round_in_large(void)
{
	run_far_in_large();
	write_page(0, 0, 2);
}

/* The kernel's place is ahead of ours. */
static void setup_after_overrun(void)
{
	setup_large_overrun();
	run_far_in_large();
	harvest();
}

/* And an entry appears behind the gap. */
static void setup_gap(void)
{
	setup_after_overrun();
	write_page(0, 0, 2);
}

static void harvest_twice(void)
{
	harvest();
	harvest();
}

static void reset_too(void)
{
	(void)reset_all(INT32_MAX);
}

static void nothing_is_lost(void)
{
	harvest();
	for (uint64_t i = 0; i < PAGES; i++)
		explore_assert(copy[i] == page[i],
			       "in the copy, or in the next harvest",
			       EXPLORE_HERE);
}

/* Nor is what is written from then on, one page at a time. */
static void nothing_is_lost_ever(void)
{
	nothing_is_lost();
	for (uint64_t i = 0; i < 2 * PAGES; i++) {
		write_page(0, i % PAGES, 10 + i);
		nothing_is_lost();
	}
}

static void nothing_is_lost_or_bad(void)
{
	nothing_is_lost_ever();
	explore_assert(!stats.ring_entries_bad && !stats.ring_entries_stale,
		       "every entry makes sense", EXPLORE_HERE);
}

static void nothing_is_lost_or_more(void)
{
	nothing_is_lost_or_bad();
	explore_assert(!stats.ring_overflows, "nothing was made up",
		       EXPLORE_HERE);
}

static const struct litmus all[] = {
	{ .program = { .name = "kvm-ring",
		       .threads = 2,
		       .init = setup,
		       .final = nothing_is_lost_or_more,
		       .thread = { run_0, harvest } },
	  .executions = 20 },
	{ .program = { .name = "kvm-ring-harvest-twice",
		       .threads = 2,
		       .init = setup,
		       .final = nothing_is_lost_or_more,
		       .thread = { run_0, harvest_twice } },
	  .executions = 80 },
	{ .program = { .name = "kvm-ring-2-vcpus",
		       .threads = 3,
		       .init = setup,
		       .final = nothing_is_lost_or_more,
		       .thread = { run_0, run_1, harvest } },
	  .executions = 237 },
	{ .program = { .name = "kvm-ring-another-reset",
		       .threads = 3,
		       .init = setup,
		       .final = nothing_is_lost_or_bad,
		       .thread = { run_0, harvest, reset_too } },
	  .executions = 211 },
	{ .program = { .name = "kvm-ring-full-and-another-reset",
		       .threads = 3,
		       .init = setup_to_the_brim,
		       .final = nothing_is_lost_or_bad,
		       .thread = { run_far, harvest, reset_too } },
	  .executions = 862 },
	{ .program = { .name = "kvm-ring-interrupted",
		       .threads = 3,
		       .init = setup_interrupted,
		       .final = nothing_is_lost_or_more,
		       .thread = { run_once, run_1_on, harvest } },
	  .executions = 108 },
	{ .program = { .name = "kvm-ring-overrun",
		       .threads = 2,
		       .init = setup_overrun,
		       .final = nothing_is_lost_or_bad,
		       .thread = { run_far, harvest } },
	  .executions = 25 },
	{ .program = { .name = "kvm-ring-overrun-further",
		       .threads = 2,
		       .init = setup_overrun,
		       .final = nothing_is_lost_or_bad,
		       .thread = { run_further, harvest_twice } },
	  .executions = 1332 },
	{ .program = { .name = "kvm-ring-overrun-in-part",
		       .threads = 2,
		       .init = setup_large_overrun,
		       .final = nothing_is_lost_or_bad,
		       .thread = { run_far_in_large, harvest } },
	  .executions = 77 },
	{ .program = { .name = "kvm-ring-overrun-in-reset",
		       .threads = 2,
		       .init = setup_large_blind,
		       .final = nothing_is_lost_ever,
		       .thread = { run_round_in_large, harvest } },
	  .executions = 289 },
	{ .program = { .name = "kvm-ring-after-overrun",
		       .threads = 2,
		       .init = setup_after_overrun,
		       .final = nothing_is_lost_or_bad,
		       .thread = { run_0, harvest_twice } },
	  .executions = 1285 },
	{ .program = { .name = "kvm-ring-overrun-and-reset",
		       .threads = 3,
		       .init = setup_blind,
		       .final = nothing_is_lost_or_bad,
		       .thread = { run_far, harvest_twice, reset_too } },
	  .executions = 714 },
	{ .program = { .name = "kvm-ring-gap-and-reset",
		       .threads = 2,
		       .init = setup_gap,
		       .final = nothing_is_lost_or_bad,
		       .thread = { harvest, reset_too } },
	  .executions = 4 },
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
