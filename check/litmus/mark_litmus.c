/* SPDX-License-Identifier: MIT */
/*
 * mark_litmus.c - a mark that is skipped, against take, clear and copy
 *
 * What    tide_bitmap_mark() of src/log/bitmap.h with take and and_not of
 *         bitmap.c, and both halves of src/base/fence.[ch], as shipped; then
 *         all of it as src/space/{mark,collect,rearm,harvest}.c put it
 *         together.  Contract, "a marked write"; docs/locking.md, 2.3.
 * Claim   what was written before a mark is in the copy of a harvest that took
 *         the bit, or the bit is found by the next one; and a take that begins
 *         after a mark has returned finds the page, also where that mark was
 *         skipped because of another writer's that is not over yet (C1, C2).
 * Bounds  one page.  Writers write once, one word of the page each, then mark:
 *         a skipped mark changes nothing, so a second one of the same thread
 *         would only read again.  The harvester takes or clears once beside
 *         the writers, once behind one of them, and once when all have ended.
 *         A writer that is not over is a thread, or a bit that was set before
 *         and is never carried up.
 *
 * membarrier(2) stands here as what it promises and not more: at some moment
 * of the call every other thread is interrupted and runs a full fence.  A
 * thread's compiler fence says only on which side of that moment it is, so two
 * compiler fences of two writers order nothing.  It is a read-modify-write of a
 * word of the thread, which the call changes, too.  The programs over a whole
 * space have the fence that check/explore/atomics.h makes of it instead.
 */
#include "litmus.h"

#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <tidemark/mark.h>

#include "check/shim/rcu_model.h"

static void compiler_fence(int order, const char *where);

#include "base/atomic.h"
#undef atomic_signal_fence
#define atomic_signal_fence(order) compiler_fence((order), EXPLORE_HERE)

#include "base/fence.h"
#include "log/bitmap.h"
#include "space/space_internal.h"

#define NBITS (2u * 64 * 64)
#define THREADS 3u

/* A word of the page for each writer, and what the harvester saw of it. */
static uint64_t page[2], copy[2];
static uint32_t done;
static uint64_t interrupted[THREADS];
static bool asymmetric;

static struct tide_bitmap bitmap;
static _Atomic uint64_t words[NBITS / 64 + 8];

/* A weaker one lets the compiler move a load before a store: there is no moment
 * between them to be interrupted in. */
static void compiler_fence(int order, const char *where)
{
	if (order == __ATOMIC_SEQ_CST)
		(void)explore_rmw(&interrupted[explore_self()], 8, EXPLORE_ADD,
				  0, __ATOMIC_ACQ_REL, where);
	else
		explore_fence(order, where);
}

/* The one system call of src/base/fence.c. */
long syscall(long number, ...)
{
	if (number != SYS_membarrier)
		abort();
	explore_fence(__ATOMIC_SEQ_CST, "membarrier");
	for (uint32_t i = 0; i < THREADS; i++) {
		if (i != explore_self())
			(void)explore_rmw(&interrupted[i], 8, EXPLORE_ADD, 0,
					  __ATOMIC_ACQ_REL, "membarrier");
	}
	explore_fence(__ATOMIC_SEQ_CST, "membarrier");
	return 0;
}

/* As tide_bitmap_init(), without its malloc. */
static void bitmap_of(struct tide_bitmap *at, uint64_t nbits)
{
	_Atomic uint64_t *next = words;
	uint64_t n = nbits;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		atomic_init(&words[i], 0);
	at->nbits = nbits;
	for (int level = 0; level < TIDE_BITMAP_LEVELS; level++) {
		n = tide_words(n);
		at->nwords[level] = n;
		at->level[level] = next;
		next += n;
	}
	at->full = next;
}

static void setup(void)
{
	bitmap_of(&bitmap, NBITS);
	memset(page, 0, sizeof(page));
	memset(copy, 0, sizeof(copy));
	memset(interrupted, 0, sizeof(interrupted));
	done = 0;
	asymmetric = true;
}

static void setup_marked(void)
{
	setup();
	tide_bitmap_set(&bitmap, 0);
}

static void setup_marked_symmetric(void)
{
	setup_marked();
	asymmetric = false;
}

/* Levels 1 and 2 are set over a word that is empty. */
static void setup_summary(void)
{
	setup_marked();
	atomic_init(&bitmap.level[0][0], 0);
}

/* Only level 2 is. */
static void setup_top(void)
{
	setup_summary();
	atomic_init(&bitmap.level[1][0], 0);
}

/* Another writer has stopped for good behind its first step; the levels above
 * are from before. */
static void setup_half(void)
{
	setup();
	atomic_init(&bitmap.level[0][0], 1);
}

static void setup_half_top(void)
{
	setup_top();
	atomic_init(&bitmap.level[0][0], 1);
}

static void write_and_mark(uint32_t i)
{
	explore_store(&page[i], 8, 1, __ATOMIC_RELAXED, EXPLORE_HERE);
	tide_bitmap_mark(&bitmap, 0, asymmetric);
}

static void write_0(void)
{
	write_and_mark(0);
}

static void write_1(void)
{
	write_and_mark(1);
}

static void write_1_is_done(void)
{
	write_and_mark(1);
	explore_store(&done, 4, 1, __ATOMIC_RELEASE, EXPLORE_HERE);
}

static void set_other_word(void)
{
	tide_bitmap_set(&bitmap, 64);
}

static void read_page(void)
{
	for (uint32_t i = 0; i < 2; i++)
		copy[i] = explore_load(&page[i], 8, __ATOMIC_RELAXED,
				       EXPLORE_HERE);
}

static bool has_bit;

static void found(void *opaque, uint64_t word, uint64_t bits)
{
	(void)opaque;
	has_bit |= !word && (bits & 1);
}

static void read_if_found(void)
{
	if (!has_bit)
		return;
	explore_assert(!tide_fence_heavy(asymmetric), "the fence is to be had",
		       EXPLORE_HERE);
	read_page();
}

/* As src/space/collect.c. */
static void take(void)
{
	has_bit = false;
	(void)tide_bitmap_take(&bitmap, found, NULL);
	read_if_found();
}

/* As src/space/rearm.c. */
static void clear(void)
{
	has_bit = tide_bitmap_and_not(&bitmap, 0, 1);
	read_if_found();
}

static void wait_until_done(void)
{
	explore_assume(explore_load(&done, 4, __ATOMIC_ACQUIRE, EXPLORE_HERE));
}

static void take_after_it(void)
{
	wait_until_done();
	take();
	explore_assert(copy[1] == 1, "a take finds what was marked before it",
		       EXPLORE_HERE);
}

static void take_before_and_after_it(void)
{
	take();
	take_after_it();
}

static void clear_before_take_after_it(void)
{
	clear();
	take_after_it();
}

static void nothing_lost(void)
{
	take();
	explore_assert(copy[0] == page[0] && copy[1] == page[1],
		       "in a copy, or found by the next take", EXPLORE_HERE);
}

/* The fences alone, both ways: Dekker. */
static uint64_t flag[2];
static bool missed[2];

static void setup_dekker(void)
{
	setup();
	memset(flag, 0, sizeof(flag));
}

static void setup_dekker_symmetric(void)
{
	setup_dekker();
	asymmetric = false;
}

static void raise_and_look(void)
{
	explore_store(&flag[0], 8, 1, __ATOMIC_RELAXED, EXPLORE_HERE);
	tide_fence_light(asymmetric);
	missed[0] = !explore_load(&flag[1], 8, __ATOMIC_RELAXED, EXPLORE_HERE);
}

static void raise_heavily_and_look(void)
{
	explore_store(&flag[1], 8, 1, __ATOMIC_RELAXED, EXPLORE_HERE);
	(void)tide_fence_heavy(asymmetric);
	missed[1] = !explore_load(&flag[0], 8, __ATOMIC_RELAXED, EXPLORE_HERE);
}

static void one_sees_the_other(void)
{
	explore_assert(!missed[0] || !missed[1], "one sees the other",
		       EXPLORE_HERE);
}

/*
 * The same through a space of one slot of one page and one client, built by
 * hand where the library would allocate.
 */
static struct tide_space space;
static struct tide_client client;
static struct tide_slot slot;
static struct tide_watch watch;
static uint64_t set_words[2][3];
static union {
	struct tide_slot_table table;
	unsigned char room[sizeof(struct tide_slot_table) +
			   sizeof(struct tide_slot_entry)];
} table;

static void set_of(struct tide_page_set *set, uint64_t at[3])
{
	memset(at, 0, 3 * sizeof(*at));
	*set = (struct tide_page_set){ .npages = 1,
				       .nwords = 1,
				       .nblocks = 1,
				       .ntops = 1,
				       .word = &at[0],
				       .block = &at[1],
				       .top = &at[2] };
}

static void setup_space(void)
{
	setup();
	rcu_model_init();
	memset(&space, 0, sizeof(space));
	memset(&client, 0, sizeof(client));
	memset(&slot, 0, sizeof(slot));
	memset(&watch, 0, sizeof(watch));
	(void)tide_lock_init(&space.slots_lock, TIDE_RANK_SPACE_SLOTS);
	space.asymmetric = true;
	space.chunk_pages = TIDE_CHUNK_PAGES_DEFAULT;
	space.slots = &slot;
	space.clients = &client;
	slot.space = &space;
	slot.npages = 1;
	slot.host = page;
	slot.refs = 2;
	slot.watches = &watch;
	bitmap_of(&slot.marks, 1);
	client.space = &space;
	client.harvest.client = &client;
	client.watches = &watch;
	watch.client = &client;
	watch.slot = &slot;
	set_of(&watch.dirty, set_words[0]);
	set_of(&watch.taken, set_words[1]);
	table.table.count = 1;
	table.table.entry[0].first_gfn = 0;
	table.table.entry[0].npages = 1;
	table.table.entry[0].slot = &slot;
	atomic_init(&space.table, &table.table);
}

/* Marked before, by a write that nobody has harvested. */
static void setup_space_marked(void)
{
	setup_space();
	tide_bitmap_set(&slot.marks, 0);
}

/* Found before: yielded in any case, and marks of it are late ones. */
static void setup_space_dirty(void)
{
	setup_space();
	tide_page_set_fill(&watch.dirty);
}

static void setup_space_symmetric(void)
{
	setup_space_dirty();
	space.asymmetric = false;
}

static void write_and_tell(uint32_t i)
{
	explore_store(&page[i], 8, 1, __ATOMIC_RELAXED, EXPLORE_HERE);
	explore_assert(!tide_mark(&space, 0), "the slot is found",
		       EXPLORE_HERE);
}

static void tell_0(void)
{
	write_and_tell(0);
}

static void tell_1(void)
{
	write_and_tell(1);
}

static void tell_1_is_done(void)
{
	write_and_tell(1);
	explore_store(&done, 4, 1, __ATOMIC_RELEASE, EXPLORE_HERE);
}

static void tell_range_1(void)
{
	explore_store(&page[1], 8, 1, __ATOMIC_RELAXED, EXPLORE_HERE);
	explore_assert(!tide_mark_range(&space, 0, 1), "the slot is found",
		       EXPLORE_HERE);
}

static void harvest(void)
{
	struct tide_harvest *open;
	struct tide_extent extent;

	explore_assert(!tide_harvest_begin(&client, &open), "begin",
		       EXPLORE_HERE);
	while (tide_harvest_next(open, &extent) > 0)
		read_page();
	explore_assert(!tide_harvest_commit(open), "commit", EXPLORE_HERE);
}

static void harvest_after_it(void)
{
	wait_until_done();
	harvest();
	explore_assert(copy[1] == 1, "a harvest yields what was marked before",
		       EXPLORE_HERE);
}

static void harvest_before_and_after_it(void)
{
	harvest();
	harvest_after_it();
}

static void nothing_lost_by_harvest(void)
{
	harvest();
	explore_assert(copy[0] == page[0] && copy[1] == page[1],
		       "in a copy, or yielded by the next harvest",
		       EXPLORE_HERE);
}

#define PROGRAM(name_, setup_, final_, ...)                                 \
	.program = { .name = (name_),                                       \
		     .threads = sizeof((void (*[])(void)){ __VA_ARGS__ }) / \
				sizeof(void (*)(void)),                     \
		     .init = (setup_),                                      \
		     .final = (final_),                                     \
		     .thread = { __VA_ARGS__ } }

static const struct litmus all[] = {
	{ PROGRAM("fence-asymmetric", setup_dekker, one_sees_the_other,
		  raise_and_look, raise_heavily_and_look),
	  .executions = 4 },
	{ PROGRAM("fence-symmetric", setup_dekker_symmetric, one_sees_the_other,
		  raise_and_look, raise_heavily_and_look),
	  .executions = 3 },
	/* One writer, whose mark is skipped or sets the bit again. */
	{ PROGRAM("mark-and-take", setup_marked, nothing_lost, write_0, take),
	  .executions = 11 },
	{ PROGRAM("mark-and-clear", setup_marked, nothing_lost, write_0, clear),
	  .executions = 54 },
	/* Two; from no mark on, from one, from a summary that says too much. */
	{ PROGRAM("mark-two-and-take", setup, nothing_lost, write_0, write_1,
		  take),
	  .executions = 414 },
	{ PROGRAM("mark-two-marked-and-take", setup_marked, nothing_lost,
		  write_0, write_1, take),
	  .executions = 3715 },
	{ PROGRAM("mark-two-marked-and-clear", setup_marked, nothing_lost,
		  write_0, write_1, clear),
	  .executions = 29137 },
	{ PROGRAM("mark-two-summary-and-take", setup_summary, nothing_lost,
		  write_0, write_1, take),
	  .executions = 2922 },
	/* A mark that relies on another's, which is not over. */
	{ PROGRAM("mark-then-take", setup, nothing_lost, write_0,
		  write_1_is_done, take_after_it),
	  .executions = 207 },
	{ PROGRAM("mark-top-then-take", setup_top, nothing_lost, write_0,
		  write_1_is_done, take_before_and_after_it),
	  .executions = 2800 },
	{ PROGRAM("mark-summary-then-take", setup_summary, nothing_lost,
		  write_0, write_1_is_done, take_before_and_after_it),
	  .executions = 5958 },
	{ PROGRAM("mark-marked-then-take", setup_marked, nothing_lost, write_0,
		  write_1_is_done, take_before_and_after_it),
	  .executions = 8032 },
	{ PROGRAM("mark-clear-then-take", setup_marked, nothing_lost, write_0,
		  write_1_is_done, clear_before_take_after_it),
	  .executions = 55258 },
	/* The same, beside one who raises the levels for another word. */
	{ PROGRAM("mark-half-then-take", setup_half, nothing_lost,
		  set_other_word, write_1_is_done, take_before_and_after_it),
	  .executions = 139 },
	{ PROGRAM("mark-half-top-then-take", setup_half_top, nothing_lost,
		  set_other_word, write_1_is_done, take_before_and_after_it),
	  .executions = 396 },
	{ PROGRAM("mark-other-word-then-take", setup_marked, nothing_lost,
		  set_other_word, write_1_is_done, take_before_and_after_it),
	  .executions = 882 },
	{ PROGRAM("mark-other-word-clear-then-take", setup_marked, nothing_lost,
		  set_other_word, write_1_is_done, clear_before_take_after_it),
	  .executions = 10187 },
	/* Without membarrier. */
	{ PROGRAM("mark-symmetric-and-take", setup_marked_symmetric,
		  nothing_lost, write_0, write_1, take),
	  .executions = 416 },
	{ PROGRAM("mark-symmetric-and-clear", setup_marked_symmetric,
		  nothing_lost, write_0, write_1, clear),
	  .executions = 4070 },
	/* Through a space. */
	{ PROGRAM("mark-and-harvest", setup_space_marked,
		  nothing_lost_by_harvest, tell_0, tell_1, harvest),
	  .executions = 16027 },
	{ PROGRAM("mark-late-and-harvest", setup_space_dirty,
		  nothing_lost_by_harvest, tell_0, harvest),
	  .executions = 6 },
	{ PROGRAM("mark-late-two-and-harvest", setup_space_dirty,
		  nothing_lost_by_harvest, tell_0, tell_1, harvest),
	  .executions = 2604 },
	{ PROGRAM("mark-then-harvest", setup_space_marked,
		  nothing_lost_by_harvest, tell_0, tell_1_is_done,
		  harvest_before_and_after_it),
	  .executions = 29808, .slow = true },
	{ PROGRAM("mark-range-and-harvest", setup_space_dirty,
		  nothing_lost_by_harvest, tell_0, tell_range_1, harvest),
	  .executions = 491 },
	{ PROGRAM("mark-symmetric-and-harvest", setup_space_symmetric,
		  nothing_lost_by_harvest, tell_0, tell_1, harvest),
	  .executions = 766 },
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
