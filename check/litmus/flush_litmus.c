/* SPDX-License-Identifier: MIT */
/*
 * flush_litmus.c - guest mode, requests, and who waits for whom
 *
 * What    src/mmu/flush.c, tlb.c and vcpu.c as shipped, over an MMU of one or
 *         two entries that is put together by hand.  F11, K43.
 * Claim   an entry loses W and then a flush succeeds: no vCPU writes through
 *         what it had before, and what it wrote before is seen.  The same when
 *         the vCPU was in guest mode, enters, leaves, belongs to another thread
 *         than last time, or does not exist yet; with two flushers; and when a
 *         flush failed first and another one has paid for it.  A kick stops the
 *         vCPU once, and shows what its sender did before.  Whoever sleeps is
 *         woken, and leaves no trace in the word.
 * Bounds  A vCPU's word goes round once for each safe point, and is compared as
 *         a whole, so one vCPU that writes, acknowledges, and writes again
 *         meets each place of a flush.  Vcpus share nothing with each other.
 *         The number of acknowledgements does not wrap.
 */
#include "litmus.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <string.h>

#include "base/atomic.h"
#include "check/shim/arena_model.h"
#include "flush_calls.h"
#include "mmu/mmu_internal.h"

#define PAGES 2u
#define LATE_NS 2u /* more than the timeout */

/* In init and final, where nothing runs. */
#define put(at, value) \
	atomic_store_explicit((at), (value), memory_order_relaxed)
#define get(at) atomic_load_explicit((at), memory_order_relaxed)

static struct tide_mmu mmu;
static struct mmu_vcpu vcpu;
static struct shadow_page root;
static spte_t table[512];
static union {
	uint64_t first; /* what is written of it */
	char bytes[TIDE_PAGE_SIZE];
} page[PAGES] __attribute__((aligned(4096)));
static uint64_t copy[PAGES];
static bool copied[PAGES];

uint32_t flush_spins;
/* The clock goes on by that much with each look of that thread. */
static uint64_t tick_ns[EXPLORE_THREADS_MAX], now_ns[EXPLORE_THREADS_MAX];

uint64_t flush_now_ns(void)
{
	uint32_t self = explore_self();
	uint64_t now = now_ns[self];

	now_ns[self] += tick_ns[self];
	return now;
}

int *flush_errno(void)
{
	static int numbers[EXPLORE_THREADS_MAX];

	return &numbers[explore_self()];
}

/*
 * The futex: who waits is put to sleep, in one step with the look at the word;
 * that it is never woken is then a dead-lock.
 */
static struct explore_mutex bucket, asleep[EXPLORE_THREADS_MAX];
static bool sleeps[EXPLORE_THREADS_MAX]; /* under bucket */

static void wake_all(void)
{
	explore_lock(&bucket, "futex_wake");
	for (uint32_t i = 0; i < EXPLORE_THREADS_MAX; i++) {
		if (sleeps[i])
			explore_unlock(&asleep[i], "futex_wake");
		sleeps[i] = false;
	}
	explore_unlock(&bucket, "futex_wake");
}

static void sleep_if(const void *word, uint32_t value)
{
	explore_lock(&bucket, "futex_wait");
	if (explore_load(word, 4, __ATOMIC_RELAXED, "futex_wait") != value) {
		explore_unlock(&bucket, "futex_wait");
		return;
	}
	sleeps[explore_self()] = true;
	explore_unlock(&bucket, "futex_wait");
	explore_lock(&asleep[explore_self()], "asleep");
}

long flush_futex(void *word, int operation, uint32_t value)
{
	/* With a deadline, it would wake up at that. */
	if (operation == FUTEX_WAKE_PRIVATE)
		wake_all();
	else if (!tick_ns[explore_self()])
		sleep_if(word, value);
	return 0;
}

static uint64_t entry_of(uint64_t number, bool writable)
{
	return (uint64_t)(uintptr_t)&page[number] | SPTE_PRESENT | SPTE_A |
	       SPTE_D | (writable ? SPTE_W : 0);
}

static void reset_vcpu(void)
{
	/* What the first execution makes stays; see below. */
	if (!vcpu.mmu) {
		vcpu.mmu = &mmu;
		vcpu.in_use = true;
		mmu.config.flush_timeout_ns = 1;
		root.spt = table;
		root.role.level = 1;
	}
	vcpu.has_ring = false;
	vcpu.root = &root;
	mmu_vcpu_flush_own(&vcpu);
	put(&vcpu.public.state, 0);
	mmu_vcpu_out_of_guest(&vcpu);
	/* Who had it last is the one who flushes now. */
	put(&vcpu.owner, 1 + 1);
	put(&mmu.vcpu[0], &vcpu);
	put(&mmu.vcpu_count, 1);
}

static void setup(void)
{
	bucket.word = 0;
	for (uint32_t i = 0; i < EXPLORE_THREADS_MAX; i++) {
		asleep[i].word = 1;
		sleeps[i] = false;
		tick_ns[i] = now_ns[i] = 0;
	}
	flush_spins = 1;
	put(&mmu.flush_failed, 0);
	put(&mmu.flush_paid, 0);
	put(&mmu.flushes, 0);
	put(&mmu.flush_ns_max, 0);
	memset(&mmu.mmu_lock, 0, sizeof(mmu.mmu_lock));
	memset(&mmu.slots_lock, 0, sizeof(mmu.slots_lock));
	for (uint64_t i = 0; i < PAGES; i++) {
		put(&table[i], entry_of(i, true));
		page[i].first = copy[i] = 0;
		copied[i] = false;
	}
	reset_vcpu();
}

static void fill(struct mmu_vcpu *of, uint64_t number)
{
	struct spte_walk walk;

	(void)mmu_tlb_fill(of, number * TIDE_PAGE_SIZE, TIDE_ACCESS_WRITE,
			   &walk);
}

/* Outside guest mode, with both pages in its TLB. */
static void setup_outside(void)
{
	setup();
	for (uint64_t i = 0; i < PAGES; i++)
		fill(&vcpu, i);
}

static void setup_inside(void)
{
	setup_outside();
	mmu_vcpu_into_guest(&vcpu);
	/* By thread 0. */
	put(&vcpu.owner, 0 + 1);
}

static void setup_sleeper(void)
{
	setup_inside();
	flush_spins = 0;
}

/* The guest's store, if its TLB or the table permits it. */
static void write_as(struct mmu_vcpu *by, uint64_t number, uint64_t value)
{
	const uint64_t gva = number * TIDE_PAGE_SIZE;
	uint64_t host;

	if (!tide_vcpu_hit(&by->public, gva, 8, TIDE_ACCESS_WRITE, &host)) {
		fill(by, number);
		if (!tide_vcpu_hit(&by->public, gva, 8, TIDE_ACCESS_WRITE,
				   &host))
			return;
	}
	explore_store((void *)(uintptr_t)host, 8, value, __ATOMIC_RELAXED,
		      EXPLORE_HERE);
}

static void write_page(uint64_t number, uint64_t value)
{
	write_as(&vcpu, number, value);
}

static void run_inside(void)
{
	write_page(0, 1);
	(void)tide_vcpu_safe_point(&vcpu.public);
	write_page(0, 2);
	(void)tide_vcpu_exit(&vcpu.public);
}

static void leave(void)
{
	uint64_t host;

	(void)tide_vcpu_exit(&vcpu.public);
	explore_assert(
		!tide_vcpu_hit(&vcpu.public, 0, 8, TIDE_ACCESS_WRITE, &host),
		"nothing is reached outside guest mode", EXPLORE_HERE);
}

static void run_outside(void)
{
	explore_assert(!tide_vcpu_enter(&vcpu.public), "enters", EXPLORE_HERE);
	write_page(0, 1);
	leave();
	explore_assert(!tide_vcpu_enter(&vcpu.public), "enters", EXPLORE_HERE);
	write_page(0, 2);
	(void)tide_vcpu_exit(&vcpu.public);
}

/* The weakest change: that others see it is the flush's business. */
static void protect(uint64_t number)
{
	explore_store(&table[number], 8, entry_of(number, false),
		      __ATOMIC_RELAXED, EXPLORE_HERE);
}

static void copy_page(uint64_t number)
{
	copy[number] = explore_load(&page[number].first, 8, __ATOMIC_RELAXED,
				    EXPLORE_HERE);
	copied[number] = true;
}

static void flush(void)
{
	explore_assert(!mmu_flush_all(&mmu),
		       "a flush without a deadline succeeds", EXPLORE_HERE);
}

static void protect_and_copy(void)
{
	protect(0);
	flush();
	copy_page(0);
}

static void copies_are_final(void)
{
	uint32_t state = get(&vcpu.public.state);

	for (uint64_t i = 0; i < PAGES; i++)
		explore_assert(!copied[i] || copy[i] == page[i].first,
			       "nothing was written after the copy",
			       EXPLORE_HERE);
	explore_assert(!(state & VCPU_WAITER) || (state & TIDE_VCPU_IN_GUEST &&
						  state & VCPU_FLUSH),
		       "nobody is thought to wait", EXPLORE_HERE);
}

static void run_both(void)
{
	write_page(0, 1);
	write_page(1, 1);
	(void)tide_vcpu_safe_point(&vcpu.public);
	write_page(0, 2);
	write_page(1, 2);
	(void)tide_vcpu_exit(&vcpu.public);
}

static void protect_and_copy_other(void)
{
	protect(1);
	flush();
	copy_page(1);
}

static void wait_for_request(void)
{
	explore_assume(explore_load(&vcpu.public.state, 4, __ATOMIC_RELAXED,
				    EXPLORE_HERE) &
		       VCPU_FLUSH);
}

/* Stays in guest mode, and comes to a safe point when it is asked to: who
 * waits is woken by that alone. */
static void run_and_stay(void)
{
	write_page(0, 1);
	wait_for_request();
	(void)tide_vcpu_safe_point(&vcpu.public);
	write_page(0, 2);
}

/* One answer is enough for who asked before it, whoever asks after it. */
static void answer_once(void)
{
	write_page(0, 1);
	wait_for_request();
	(void)tide_vcpu_safe_point(&vcpu.public);
}

static void ask_too(void)
{
	wait_for_request();
	tick_ns[2] = LATE_NS;
	(void)mmu_flush(&mmu);
}

static void run_and_leave(void)
{
	write_page(0, 1);
	(void)tide_vcpu_exit(&vcpu.public);
}

/* The flush is the vCPU's own, inside guest mode. */
static void flush_own(void)
{
	write_page(0, 1);
	protect_and_copy();
	write_page(0, 2);
	(void)tide_vcpu_exit(&vcpu.public);
}

/*
 * A flush that fails is owed.  The first of thread 1 has no time to wait; then
 * it relies on a flush only if none is owed any more.
 */
static void fail_and_look(void)
{
	int err;

	protect(0);
	tick_ns[1] = LATE_NS;
	err = mmu_flush(&mmu);
	explore_assert(!err || err == -ETIMEDOUT, "done or too late",
		       EXPLORE_HERE);
	if (!err || !mmu_is_flush_owed(&mmu))
		copy_page(0);
}

static void fail_and_pay(void)
{
	protect(0);
	tick_ns[1] = LATE_NS;
	if (mmu_flush(&mmu)) {
		explore_assert(mmu_is_flush_owed(&mmu),
			       "a flush that failed is owed", EXPLORE_HERE);
		tick_ns[1] = 0;
		explore_assert(!mmu_flush_owed(&mmu), "what is owed is paid",
			       EXPLORE_HERE);
	}
	explore_assert(!mmu_is_flush_owed(&mmu), "nothing is owed",
		       EXPLORE_HERE);
	copy_page(0);
}

/* Kicks.  `news` is what the sender did before. */
static uint64_t news;
static uint32_t kicked;

static void setup_kick(void)
{
	setup_outside();
	flush_spins = 0;
	news = kicked = 0;
}

static void kick(void)
{
	explore_store(&news, 8, 1, __ATOMIC_RELAXED, EXPLORE_HERE);
	tide_vcpu_kick(&vcpu.public);
}

static bool is_stopped(int why)
{
	if (!why)
		return false;
	explore_assert(why == TIDE_EXIT_KICKED &&
			       tide_vcpu_last_exit(&vcpu.public)->reason ==
				       TIDE_EXIT_KICKED,
		       "stopped by a kick", EXPLORE_HERE);
	explore_assert(explore_load(&news, 8, __ATOMIC_RELAXED, EXPLORE_HERE),
		       "a kick brings what was done before it", EXPLORE_HERE);
	kicked++;
	return true;
}

static void run_until_kicked(void)
{
	if (is_stopped(tide_vcpu_enter(&vcpu.public)))
		return;
	write_page(0, 1);
	if (is_stopped(tide_vcpu_safe_point(&vcpu.public)))
		return;
	(void)tide_vcpu_exit(&vcpu.public);
	(void)is_stopped(tide_vcpu_enter(&vcpu.public));
	(void)tide_vcpu_exit(&vcpu.public);
}

static void kick_is_there(void)
{
	bool waits = get(&vcpu.public.state) & VCPU_KICK;

	explore_assert(kicked + waits == 1, "a kick stops the vCPU once",
		       EXPLORE_HERE);
	explore_assert(!(get(&vcpu.public.state) & TIDE_VCPU_IN_GUEST),
		       "out of guest mode", EXPLORE_HERE);
	explore_assert(!waits || tide_vcpu_enter(&vcpu.public) ==
					 TIDE_EXIT_KICKED,
		       "who was kicked does not enter", EXPLORE_HERE);
	copies_are_final();
}

/* A ring that is full to the soft limit keeps the vCPU out (K43). */
static struct tide_ring_entry entries[2];

static void setup_ring(void)
{
	setup();
	vcpu.has_ring = true;
	memset(&vcpu.ring, 0, sizeof(vcpu.ring));
	memset(entries, 0, sizeof(entries));
	vcpu.ring.entries = entries;
	vcpu.ring.size = 2;
	vcpu.ring.soft_limit = 1;
}

/* What it does in guest mode adds an entry each time. */
static void run_with_ring(void)
{
	for (uint32_t i = 0; i < 3; i++) {
		int why = tide_vcpu_enter(&vcpu.public);

		if (why) {
			explore_assert(why == TIDE_EXIT_RING_FULL, "it is full",
				       EXPLORE_HERE);
			continue;
		}
		explore_assert(tide_ring_push(&vcpu.ring, 0, 0),
			       "whoever may run has room", EXPLORE_HERE);
		(void)tide_vcpu_exit(&vcpu.public);
	}
}

static void found(void *opaque, uint32_t slot, uint64_t offset)
{
	(void)opaque, (void)slot, (void)offset;
}

static void rearm(void *opaque, uint32_t slot, uint64_t offset, uint64_t mask)
{
	(void)opaque, (void)slot, (void)offset, (void)mask;
}

static void empty_ring(void)
{
	for (uint32_t i = 0; i < 2; i++) {
		(void)tide_ring_collect(&vcpu.ring, found, NULL);
		(void)tide_ring_reset(&vcpu.ring, 1, rearm, NULL);
	}
}

/* A vCPU that is made while somebody flushes.  Until then another object is in
 * its place, one that never runs; really it is NULL. */
static struct tide_vcpu *made;
static struct mmu_vcpu nobody;

static void build_nothing(const void *how)
{
	(void)how;
}

static void setup_none(void)
{
	arena_reset(build_nothing, NULL);
	setup();
	put(&nobody.public.state, 0);
	put(&mmu.vcpu[0], &nobody);
	put(&mmu.vcpu_count, 0);
	flush_spins = 0;
	made = NULL;
}

static void made_is_final(void)
{
	explore_assert(!get(&nobody.public.state), "who is counted is there",
		       EXPLORE_HERE);
	copies_are_final();
}

static void make_and_run(void)
{
	explore_assert(!tide_vcpu_create(&mmu, &made), "made", EXPLORE_HERE);
	/* As the first page fault does; nothing is cached before it. */
	tide_lock_acquire(&mmu.mmu_lock);
	mmu_vcpu_of(made)->root = &root;
	tide_lock_release(&mmu.mmu_lock);
	explore_assert(!tide_vcpu_enter(made), "enters", EXPLORE_HERE);
	write_as(mmu_vcpu_of(made), 0, 1);
	(void)tide_vcpu_exit(made);
}

static void protect_locked(void)
{
	tide_lock_acquire(&mmu.mmu_lock);
	protect(0);
	tide_lock_release(&mmu.mmu_lock);
}

static void protect_locked_and_copy(void)
{
	protect_locked();
	flush();
	copy_page(0);
}

static void fail_locked_and_look(void)
{
	protect_locked();
	tick_ns[1] = LATE_NS;
	if (!mmu_flush(&mmu) || !mmu_is_flush_owed(&mmu))
		copy_page(0);
}

/* clang-format off */
#define PROGRAM(title, nexecutions, nthreads, how, last, ...) \
	{ .program = { .name = (title), \
		       .threads = (nthreads), \
		       .init = (how), \
		       .final = (last), \
		       .thread = { __VA_ARGS__ } }, \
	  .executions = (nexecutions) }
/* clang-format on */

int main(int argc, char **argv)
{
	static const struct litmus all[] = {
		PROGRAM("flush-inside", 5, 2, setup_inside, copies_are_final,
			run_inside, protect_and_copy),
		PROGRAM("flush-outside", 31, 2, setup_outside, copies_are_final,
			run_outside, protect_and_copy),
		PROGRAM("flush-twice", 208, 3, setup_inside, copies_are_final,
			run_both, protect_and_copy, protect_and_copy_other),
		PROGRAM("flush-own", 179, 2, setup_sleeper, copies_are_final,
			flush_own, protect_and_copy_other),
		PROGRAM("flush-sleeps", 54, 2, setup_sleeper, copies_are_final,
			run_inside, protect_and_copy),
		PROGRAM("flush-sleeps-until-exit", 14, 2, setup_sleeper,
			copies_are_final, run_and_leave, protect_and_copy),
		PROGRAM("flush-two-sleep", 3664, 3, setup_sleeper,
			copies_are_final, run_and_leave, protect_and_copy,
			protect_and_copy_other),
		PROGRAM("flush-stays", 20, 2, setup_sleeper, copies_are_final,
			run_and_stay, protect_and_copy),
		PROGRAM("flush-owed", 180, 2, setup_sleeper, copies_are_final,
			run_inside, fail_and_pay),
		PROGRAM("flush-paid-by-another", 15556, 3, setup_sleeper,
			copies_are_final, run_both, fail_and_look,
			protect_and_copy_other),
		PROGRAM("flush-asked-again", 3824, 3, setup_sleeper,
			copies_are_final, answer_once, protect_and_copy,
			ask_too),
		PROGRAM("kick", 14, 2, setup_kick, kick_is_there,
			run_until_kicked, kick),
		PROGRAM("kick-and-flush", 18222, 3, setup_kick, kick_is_there,
			run_until_kicked, kick, protect_and_copy),
		PROGRAM("vcpu-ring-full", 16, 2, setup_ring, NULL,
			run_with_ring, empty_ring),
		PROGRAM("vcpu-made", 101, 2, setup_none, made_is_final,
			make_and_run, protect_locked_and_copy),
		PROGRAM("vcpu-made-and-owed", 17156, 3, setup_none,
			made_is_final, make_and_run, fail_locked_and_look,
			flush),
	};

	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
