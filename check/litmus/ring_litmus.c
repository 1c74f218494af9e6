/* SPDX-License-Identifier: MIT */
/*
 * ring_litmus.c - the dirty ring: producer, harvester, reset (thread 3)
 *
 * What    src/log/ring.c as shipped, both sides of it.  K40 to K42.
 * Claim   the harvester sees whole entries, in order; reset hands to re-arm
 *         what was harvested; an entry is filled again only after that.
 * Bounds  3 threads, 2 entries, 3 pushes, so that the ring wraps once and the
 *         third entry overwrites the first.
 */
#include "litmus.h"

#include <string.h>

#include "log/ring.h"

#define ENTRIES 2u
#define PUSHES 3u
#define SLOT 7u

static struct tide_ring_entry entries[ENTRIES];
static struct tide_ring ring;
static uint64_t harvested, rearmed; /* each by one thread */

static void setup(void)
{
	memset(entries, 0, sizeof(entries));
	memset(&ring, 0, sizeof(ring));
	ring.entries = entries;
	ring.size = ENTRIES;
	ring.soft_limit = ENTRIES;
	harvested = rearmed = 0;
}

static void produce(void)
{
	for (uint64_t i = 0; i < PUSHES; i++) {
		explore_assume(!tide_ring_soft_full(&ring));
		explore_assert(tide_ring_push(&ring, SLOT, 100 * i),
			       "a ring that is not full takes an entry",
			       EXPLORE_HERE);
	}
}

static void found(void *opaque, uint32_t slot, uint64_t offset)
{
	(void)opaque;
	explore_assert(slot == SLOT && offset == 100 * harvested,
		       "harvested whole and in order", EXPLORE_HERE);
	harvested++;
}

static void harvest(void)
{
	(void)tide_ring_collect(&ring, found, NULL);
	(void)tide_ring_collect(&ring, found, NULL);
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

int main(int argc, char **argv)
{
	static const struct litmus all[] = {
		{ .program = { .name = "ring-3-cpus",
			       .threads = 3,
			       .init = setup,
			       .thread = { produce, harvest, reset } },
		  .executions = 2829 },
	};

	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
