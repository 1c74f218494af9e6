/* SPDX-License-Identifier: MIT */
/* screen_cost.c - what the first write to a watched page costs its writer */
#include "screen_cost.h"

#include <sys/mman.h>
#include <tidemark/client.h>
#include <tidemark/space.h>
#include <tidemark/tracker.h>

#include "tool.h"

#define PAGES 1024u
#define ROUNDS 5

static uint64_t write_all(volatile unsigned char *memory)
{
	uint64_t begin_ns = tool_now_ns();

	for (uint64_t i = 0; i < PAGES; i++)
		memory[i * TIDE_PAGE_SIZE]++;
	return tool_now_ns() - begin_ns;
}

static int rearm(struct tide_client *client)
{
	struct tide_harvest *harvest;
	struct tide_extent extent;
	int ret = tide_harvest_begin(client, &harvest);

	if (ret)
		return ret;
	do {
		ret = tide_harvest_next(harvest, &extent);
	} while (ret > 0);
	if (ret) {
		tide_harvest_abort(harvest);
		return ret;
	}
	return tide_harvest_commit(harvest);
}

/* The least of a few rounds, without what writing costs anyway. */
static uint64_t measure(struct tide_client *client, unsigned char *memory)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t armed, plain;

		if (rearm(client))
			return 0;
		armed = write_all(memory);
		plain = write_all(memory);
		if (armed > plain && armed - plain < least)
			least = armed - plain;
	}
	return least == UINT64_MAX ? 0 : least / PAGES;
}

uint64_t cost_of_write_ns(void)
{
	const size_t nbytes = PAGES * TIDE_PAGE_SIZE;
	unsigned char *memory = mmap(NULL, nbytes, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const struct tide_slot_config slot = {
		.size = sizeof(slot),
		.npages = PAGES,
		.host = memory,
	};
	struct tide_space *space = NULL;
	struct tide_client *client = NULL;
	uint64_t cost = 0;

	if (memory == MAP_FAILED)
		return 0;
	/* As in most processes: large pages are split when they are armed. */
	(void)madvise(memory, nbytes, MADV_NOHUGEPAGE);
	(void)write_all(memory);
	if (!tide_space_create(&space) && !tide_slot_add(space, &slot) &&
	    !tide_space_attach(space, TIDE_TRACKER_WP, NULL) &&
	    !tide_client_open(space, "cost", TIDE_START_CLEAN, &client))
		cost = measure(client, memory);
	tide_client_close(client);
	tide_space_destroy(space);
	(void)munmap(memory, nbytes);
	return cost;
}
