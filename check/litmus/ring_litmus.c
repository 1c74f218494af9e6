/* SPDX-License-Identifier: MIT */
/*
 * ring_litmus.c - the dirty ring: producer, harvester, reset (thread 3)
 *
 * What    src/log/ring.c as shipped, both sides of it.
 * Claim   the harvester sees whole entries, in order; reset hands to re-arm
 *         what was harvested, all of it and nothing else; an entry is filled
 *         again only after that; what was pushed and not harvested is still
 *         there at the end.  So with a page behind the entries: what a vCPU
 *         wrote is in the copy that is made after the reset, or comes again.
 * Bounds  2 entries, so that the third push is the first to overwrite, and is
 *         written beside a harvest and a reset of what it overwrites.  A fourth
 *         would meet the second entry as the third met the first.  One side is
 *         one thread each, as ring.h's table asks for; more rings share
 *         nothing.
 *
 * K40  reset beside a harvest that goes on      ring-3-cpus
 * K41  fields older than their flags            ring-3-cpus
 * K42  flags published before the fields        ring-3-cpus
 * K43  the soft limit passed unseen             ring-full; that a vCPU looks
 *      before it enters: flush_litmus.c
 * K44  a batch of nothing                       ring-batch
 * K45  a reset without an end                   ring-bounded
 * K46  slots_lock dropped within a reset        fault_and_get_litmus.c; here
 *      there is one reset at a time, as ring.h asks for
 * K47  an offset that wraps                     ring-wrapped, ring-scribbled
 */
#include "litmus.h"

#include <string.h>

#include "log/ring.h"

#define ENTRIES 2u
#define ENTRIES_MAX 8u
#define PUSHES 3u
#define SLOT 7u

static struct tide_ring_entry entries[ENTRIES_MAX];
static struct tide_ring ring;
static uint64_t accepted, harvested, rearmed; /* each by one thread */

static void setup_ring(uint32_t size, uint32_t soft_limit)
{
	memset(entries, 0, sizeof(entries));
	memset(&ring, 0, sizeof(ring));
	ring.entries = entries;
	ring.size = size;
	ring.soft_limit = soft_limit;
	accepted = harvested = rearmed = 0;
}

static void setup(void)
{
	setup_ring(ENTRIES, ENTRIES);
}

static void push(uint64_t offset)
{
	explore_assert(tide_ring_push(&ring, SLOT, offset),
		       "a ring that is not full takes an entry", EXPLORE_HERE);
	accepted++;
}

static void produce(void)
{
	for (uint64_t i = 0; i < PUSHES; i++) {
		explore_assume(!tide_ring_soft_full(&ring));
		push(100 * i);
	}
}

static void found(void *opaque, uint32_t slot, uint64_t offset)
{
	(void)opaque;
	explore_assert(slot == SLOT && offset == 100 * harvested,
		       "harvested whole and in order", EXPLORE_HERE);
	harvested++;
}

static void harvest_once(void)
{
	explore_assert(tide_ring_collect(&ring, found, NULL) <= ENTRIES,
		       "once round at most", EXPLORE_HERE);
}

static void harvest(void)
{
	harvest_once();
	harvest_once();
}

/* Pages 100 apart do not share a batch. */
static void rearm(void *opaque, uint32_t slot, uint64_t offset, uint64_t mask)
{
	(void)opaque;
	explore_assert(slot == SLOT && offset == 100 * rearmed && mask == 1,
		       "re-armed what was harvested", EXPLORE_HERE);
	rearmed++;
}

static void reset(void)
{
	(void)tide_ring_reset(&ring, PUSHES, rearm, NULL);
	(void)tide_ring_reset(&ring, PUSHES, rearm, NULL);
}

/* What is left comes out, and leaves an empty ring. */
static void all_comes_out(void)
{
	harvest();
	reset();
	explore_assert(harvested == accepted && rearmed == accepted,
		       "pushed, harvested, re-armed: once each", EXPLORE_HERE);
	explore_assert(!tide_ring_used(&ring) && !tide_ring_soft_full(&ring),
		       "an empty ring", EXPLORE_HERE);
	for (uint32_t i = 0; i < ENTRIES; i++)
		push(100 * accepted);
	explore_assert(!tide_ring_push(&ring, SLOT, 0), "a full ring",
		       EXPLORE_HERE);
}

/* Whoever looks at the flags can rely on collect to see as much. */
static void harvest_what_is_seen(void)
{
	explore_assume(explore_load(&entries[0].flags, 4, __ATOMIC_ACQUIRE,
				    EXPLORE_HERE) == TIDE_RING_F_DIRTY);
	explore_assert(tide_ring_collect(&ring, found, NULL) > 0,
		       "an entry that is seen is collected", EXPLORE_HERE);
}

static void push_once(void)
{
	push(0);
}

/* Does not ask whether there is room. */
static void push_into_full(void)
{
	for (uint64_t i = 0; i < PUSHES; i++) {
		bool soft = tide_ring_soft_full(&ring);

		explore_assert(soft || !i ||
				       explore_load(&ring.reset_index, 4,
						    __ATOMIC_RELAXED,
						    EXPLORE_HERE),
			       "full from the soft limit on, until a reset",
			       EXPLORE_HERE);
		if (tide_ring_push(&ring, SLOT, 100 * accepted))
			accepted++;
	}
	explore_assert(accepted >= ENTRIES, "full is not before full",
		       EXPLORE_HERE);
}

static void setup_full(void)
{
	setup_ring(ENTRIES, 1);
}

static void harvest_and_reset(void)
{
	harvest_once();
	(void)tide_ring_reset(&ring, PUSHES, rearm, NULL);
}

static void reset_bounded(void)
{
	explore_assert(tide_ring_reset(&ring, 1, rearm, NULL) <= 1,
		       "no more than asked for", EXPLORE_HERE);
}

/* Three that share a batch, one whose batch would push another's page out, and
 * one of another slot. */
#define BATCHED 5u
static const struct {
	uint32_t slot;
	uint64_t offset;
} batched[BATCHED] = {
	{ SLOT, 5 }, { SLOT, 3 }, { SLOT, 66 }, { SLOT, 2 }, { SLOT + 1, 1 }
};
static uint32_t batch_armed, batches; /* armed: a bit for each of them */

static void setup_batch(void)
{
	setup_ring(ENTRIES_MAX, ENTRIES_MAX);
	batch_armed = batches = 0;
	for (uint32_t i = 0; i < BATCHED; i++)
		(void)tide_ring_push(&ring, batched[i].slot, batched[i].offset);
}

static void found_in_batch(void *opaque, uint32_t slot, uint64_t offset)
{
	(void)opaque;
	explore_assert(slot == batched[harvested].slot &&
			       offset == batched[harvested].offset,
		       "harvested whole and in order", EXPLORE_HERE);
	harvested++;
}

static void arm_one(uint32_t slot, uint64_t offset)
{
	uint32_t i = 0;

	while (i < BATCHED &&
	       (batched[i].slot != slot || batched[i].offset != offset))
		i++;
	explore_assert(i < BATCHED && !(batch_armed >> i & 1),
		       "pages that were pushed, once each", EXPLORE_HERE);
	batch_armed |= 1u << i;
}

static void rearm_batch(void *opaque, uint32_t slot, uint64_t offset,
			uint64_t mask)
{
	(void)opaque;
	explore_assert(mask & 1, "a batch begins with a page", EXPLORE_HERE);
	for (uint32_t i = 0; i < 64; i++) {
		if (mask >> i & 1)
			arm_one(slot, offset + i);
	}
	batches++;
}

static void harvest_batch(void)
{
	(void)tide_ring_collect(&ring, found_in_batch, NULL);
}

static void reset_batch(void)
{
	uint32_t n = tide_ring_reset(&ring, UINT32_MAX, rearm_batch, NULL);

	explore_assert(batch_armed == (1u << n) - 1,
		       "what is reset is re-armed before it returns",
		       EXPLORE_HERE);
	explore_assert(batches == 0u + (n > 0) + (n > 3) + (n > 4),
		       "neighbours share a batch", EXPLORE_HERE);
}

static void batch_is_done(void)
{
	harvest_batch();
	(void)tide_ring_reset(&ring, UINT32_MAX, rearm_batch, NULL);
	explore_assert(batch_armed == (1u << BATCHED) - 1,
		       "each page is re-armed", EXPLORE_HERE);
}

/* Offsets that are 63 apart if nobody minds the end. */
static const uint64_t wrapped_pages[] = { UINT64_MAX - 62, 0, UINT64_MAX };

static void setup_wrapped(void)
{
	setup_ring(ENTRIES_MAX, ENTRIES_MAX);
	for (uint32_t i = 0; i < 3; i++)
		(void)tide_ring_push(&ring, SLOT, wrapped_pages[i]);
}

static void ignore(void *opaque, uint32_t slot, uint64_t offset)
{
	(void)opaque, (void)slot, (void)offset;
	harvested++;
}

static void rearm_sane(void *opaque, uint32_t slot, uint64_t offset,
		       uint64_t mask)
{
	(void)opaque, (void)slot;
	explore_assert(mask & 1, "a batch has its first page", EXPLORE_HERE);
	explore_assert((uint64_t)(63 - __builtin_clzll(mask)) <=
			       UINT64_MAX - offset,
		       "a batch does not wrap", EXPLORE_HERE);
	rearmed += (uint64_t)__builtin_popcountll(mask);
}

static void harvest_anything(void)
{
	(void)tide_ring_collect(&ring, ignore, NULL);
}

static void reset_anything(void)
{
	(void)tide_ring_reset(&ring, UINT32_MAX, rearm_sane, NULL);
}

static void wrapped_is_done(void)
{
	harvest_anything();
	reset_anything();
	explore_assert(harvested == 3 && rearmed == 3, "three pages",
		       EXPLORE_HERE);
}

static void push_twice(void)
{
	for (uint64_t i = 0; i < ENTRIES; i++)
		push(i ? 0 : UINT64_MAX - 62);
}

/* Somebody who has the ring's memory, and means no good. */
static void scribble(void)
{
	explore_store(&entries[1].flags, 4, TIDE_RING_F_DIRTY, __ATOMIC_RELAXED,
		      EXPLORE_HERE);
	explore_store(&entries[0].flags, 4, TIDE_RING_F_RESET, __ATOMIC_RELAXED,
		      EXPLORE_HERE);
	explore_store(&entries[1].offset, 8, UINT64_MAX, __ATOMIC_RELAXED,
		      EXPLORE_HERE);
}

static void harvest_and_reset_anything(void)
{
	harvest_anything();
	reset_anything();
	harvest_anything();
}

/* Pages may be lost.  The producer stays in its ring, and so do we. */
static void indices_are_sane(void)
{
	explore_assert(harvested <= accepted,
		       "nothing was collected that was not pushed",
		       EXPLORE_HERE);
	explore_assert(ring.reset_index <= accepted,
		       "nothing was reset that was not pushed", EXPLORE_HERE);
}

/*
 * Pages behind the entries.  A vCPU's write is one step with its look at the
 * entry of the page table, which is what the flush before the copy makes of it
 * (flush_litmus.c).
 */
#define PAGES 2u
static struct explore_mutex mmu_lock;
static bool writable[PAGES];
static uint64_t page[PAGES];
static uint64_t copy[PAGES];
static bool taken[PAGES];

static void setup_pages(void)
{
	setup_ring(ENTRIES, ENTRIES);
	mmu_lock.word = 0;
	memset(writable, 0, sizeof(writable));
	memset(page, 0, sizeof(page));
	memset(copy, 0, sizeof(copy));
	memset(taken, 0, sizeof(taken));
}

static void write_page(uint64_t number, uint64_t value)
{
	explore_lock(&mmu_lock, EXPLORE_HERE);
	if (!writable[number]) {
		/* Not one that waits: full, it leaves the guest. */
		if (tide_ring_soft_full(&ring)) {
			explore_unlock(&mmu_lock, EXPLORE_HERE);
			return;
		}
		push(number);
		writable[number] = true;
	}
	page[number] = value;
	explore_unlock(&mmu_lock, EXPLORE_HERE);
}

static void write_pages(void)
{
	write_page(0, 1);
	write_page(1, 2);
	write_page(0, 3);
}

static void take_page(void *opaque, uint32_t slot, uint64_t offset)
{
	(void)opaque;
	explore_assert(slot == SLOT && offset < PAGES, "a page that there is",
		       EXPLORE_HERE);
	taken[offset] = true;
}

static void protect(void *opaque, uint32_t slot, uint64_t offset, uint64_t mask)
{
	(void)opaque, (void)slot;
	explore_lock(&mmu_lock, EXPLORE_HERE);
	for (uint64_t i = 0; i + offset < PAGES; i++) {
		if (mask >> i & 1)
			writable[offset + i] = false;
	}
	explore_unlock(&mmu_lock, EXPLORE_HERE);
}

static void harvest_pages(void)
{
	(void)tide_ring_collect(&ring, take_page, NULL);
	(void)tide_ring_reset(&ring, UINT32_MAX, protect, NULL);
	for (uint64_t i = 0; i < PAGES; i++) {
		if (!taken[i])
			continue;
		explore_lock(&mmu_lock, EXPLORE_HERE);
		copy[i] = page[i];
		explore_unlock(&mmu_lock, EXPLORE_HERE);
	}
}

static void pages_are_copied(void)
{
	memset(taken, 0, sizeof(taken));
	(void)tide_ring_collect(&ring, take_page, NULL);
	for (uint64_t i = 0; i < PAGES; i++)
		explore_assert(copy[i] == page[i] || taken[i],
			       "in the copy, or comes again", EXPLORE_HERE);
}

int main(int argc, char **argv)
{
	static const struct litmus all[] = {
		{ .program = { .name = "ring-3-cpus",
			       .threads = 3,
			       .init = setup,
			       .final = all_comes_out,
			       .thread = { produce, harvest, reset } },
		  .executions = 2829 },
		{ .program = { .name = "ring-seen",
			       .threads = 2,
			       .init = setup,
			       .final = all_comes_out,
			       .thread = { push_once, harvest_what_is_seen } },
		  .executions = 1 },
		{ .program = { .name = "ring-full",
			       .threads = 2,
			       .init = setup_full,
			       .final = all_comes_out,
			       .thread = { push_into_full,
					   harvest_and_reset } },
		  .executions = 54 },
		{ .program = { .name = "ring-bounded",
			       .threads = 3,
			       .init = setup,
			       .final = all_comes_out,
			       .thread = { produce, harvest_once,
					   reset_bounded } },
		  .executions = 15 },
		{ .program = { .name = "ring-batch",
			       .threads = 2,
			       .init = setup_batch,
			       .final = batch_is_done,
			       .thread = { harvest_batch, reset_batch } },
		  .executions = 6 },
		{ .program = { .name = "ring-wrapped",
			       .threads = 2,
			       .init = setup_wrapped,
			       .final = wrapped_is_done,
			       .thread = { harvest_anything, reset_anything } },
		  .executions = 4 },
		{ .program = { .name = "ring-scribbled",
			       .threads = 3,
			       .init = setup,
			       .final = indices_are_sane,
			       .thread = { push_twice,
					   harvest_and_reset_anything,
					   scribble } },
		  .executions = 11256 },
		{ .program = { .name = "ring-scribbled-ahead",
			       .threads = 3,
			       .init = setup,
			       .final = indices_are_sane,
			       .thread = { push_once,
					   harvest_and_reset_anything,
					   scribble } },
		  .executions = 119 },
		{ .program = { .name = "ring-page",
			       .threads = 2,
			       .init = setup_pages,
			       .final = pages_are_copied,
			       .thread = { write_pages, harvest_pages } },
		  .executions = 43 },
	};

	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
