/* SPDX-License-Identifier: MIT */
/*
 * mark_cost.c - what a mark costs, against one bare atomic fetch-or
 *
 * Both walk the same pages in the same scattered order, in loops that do
 * nothing else; the bare one sets bits of a bitmap of the same size.
 */
#include "bench.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <tidemark/tidemark.h>

#define PAGES (1u << 18)
#define STRIDE 40503u /* odd: a permutation of the pages */

struct marks {
	struct tide_space *space;
	struct tide_client *client;
	void *host;
	_Atomic uint64_t *bare;
};

static int drain(struct tide_client *client)
{
	struct tide_harvest *harvest;
	struct tide_extent extent;
	int ret = tide_harvest_begin(client, &harvest);

	if (ret)
		return ret;
	while ((ret = tide_harvest_next(harvest, &extent)) > 0)
		;
	return ret ? ret : tide_harvest_commit(harvest);
}

static double time_marks(struct marks *marks)
{
	uint64_t begin_ns = bench_now_ns();

	for (uint32_t i = 0, page = 0; i < PAGES; i++) {
		(void)tide_mark(marks->space, page);
		page = (page + STRIDE) % PAGES;
	}
	return (double)(bench_now_ns() - begin_ns) / PAGES;
}

static double time_bare(struct marks *marks)
{
	uint64_t begin_ns = bench_now_ns();

	for (uint32_t i = 0, page = 0; i < PAGES; i++) {
		/* Relaxed: x86 knows no cheaper fetch-or, and there is only
		 * this thread. */
		atomic_fetch_or_explicit(&marks->bare[page / 64],
					 1ull << page % 64,
					 memory_order_relaxed);
		page = (page + STRIDE) % PAGES;
	}
	return (double)(bench_now_ns() - begin_ns) / PAGES;
}

static void clear_bare(struct marks *marks)
{
	for (uint32_t i = 0; i < PAGES / 64; i++)
		/* Relaxed: only this thread. */
		atomic_store_explicit(&marks->bare[i], 0, memory_order_relaxed);
}

static int setup(struct marks *marks)
{
	struct tide_slot_config slot = { .id = 0, .npages = PAGES };
	int err;

	marks->bare = calloc(PAGES / 64, sizeof(*marks->bare));
	marks->host = mmap(NULL, (size_t)PAGES * TIDE_PAGE_SIZE, PROT_READ,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!marks->bare || marks->host == MAP_FAILED)
		return -ENOMEM;
	slot.host = marks->host;
	err = tide_space_create(&marks->space);
	if (!err)
		err = tide_slot_add(marks->space, &slot);
	if (!err)
		err = tide_client_open(marks->space, "bench", TIDE_START_CLEAN,
				       &marks->client);
	return err;
}

int bench_mark(const struct bench_options *options)
{
	static struct bench_figure clean = {
		.name = "mark-clean-ratio",
		.unit = "ratio",
		.against = "one atomic fetch-or in the same loop",
		.goal = 2.5,
	};
	static struct bench_figure dirty = {
		.name = "mark-dirty-ratio",
		.unit = "ratio",
		.against = "one atomic fetch-or in the same loop",
		.goal = 1.2,
	};
	unsigned int rounds = options->rounds ? options->rounds : 101;
	struct marks marks = { 0 };
	int err = setup(&marks);

	for (unsigned int i = 0; !err && i < rounds; i++) {
		double bare, bare_dirty;

		clear_bare(&marks);
		bare = time_bare(&marks);
		bench_add(&clean, time_marks(&marks) / bare);
		bare_dirty = time_bare(&marks);
		bench_add(&dirty, time_marks(&marks) / bare_dirty);
		err = drain(marks.client);
	}
	bench_report(options, &clean);
	bench_report(options, &dirty);
	tide_client_close(marks.client);
	tide_space_destroy(marks.space);
	munmap(marks.host, (size_t)PAGES * TIDE_PAGE_SIZE);
	free(marks.bare);
	return err ? bench_skip(options, "mark", "could not set up") : 0;
}
