/* SPDX-License-Identifier: MIT */
/*
 * large_cost.c - 2 MiB leaves against 4 KiB ones, and what it costs to split
 * them when logging starts
 *
 * Two guests that differ in TIDE_MMU_NO_LARGE_PAGES only, of 1 GiB, new in
 * each round, with memory that the host has mapped already:
 *   touch        one store to every page of the slot, which is not logged
 *   log-start    a client is opened, all dirty
 *   log-harvest  its first harvest, of all pages
 *   log-touch    one store to every page again
 * A store's time is per 4 KiB page.
 */
#include "bench.h"

#include "mmu_bench.h"

#include <string.h>

#define PAGES (1ull << 18) /* 1 GiB */

enum leaf { LARGE, SMALL, LEAVES };
enum phase { TOUCH, LOG_START, LOG_HARVEST, LOG_TOUCH, PHASES };

static const struct {
	const char *name[LEAVES];
	const char *unit;
	double scale; /* nanoseconds in it */
} phases[PHASES] = {
	[TOUCH] = { { "large-touch-ns", "small-touch-ns" },
		    "ns",
		    (double)PAGES },
	[LOG_START] = { { "large-log-start-ms", "small-log-start-ms" },
			"ms",
			1e6 },
	[LOG_HARVEST] = { { "large-log-harvest-ms", "small-log-harvest-ms" },
			  "ms",
			  1e6 },
	[LOG_TOUCH] = { { "large-log-touch-ns", "small-log-touch-ns" },
			"ns",
			(double)PAGES },
};

static int run_phase(struct bench_guest *guest, enum phase phase)
{
	uint64_t npages = 0;
	int err;

	if (phase == LOG_START)
		return bench_guest_log(guest, TIDE_START_ALL_DIRTY);
	if (phase != LOG_HARVEST)
		return bench_guest_touch(guest, 0, PAGES, 1);
	err = bench_guest_harvest(guest, &npages);
	return err ? err : npages == PAGES ? 0 : -EBADMSG;
}

static int one_round(void *memory, enum leaf leaf, double ret[PHASES])
{
	struct bench_guest_config config = {
		.npages = PAGES,
		.memory = memory,
		.vcpus = 1,
		.mmu_flags = leaf == SMALL ? TIDE_MMU_NO_LARGE_PAGES : 0,
	};
	struct tide_mmu_stats stats = { 0 };
	struct bench_guest guest;
	int err = bench_guest_create(&guest, &config);

	for (enum phase i = TOUCH; !err && i < PHASES; i++) {
		uint64_t begin_ns = bench_now_ns();

		err = run_phase(&guest, i);
		ret[i] = (double)(bench_now_ns() - begin_ns) / phases[i].scale;
	}
	if (!err)
		tide_mmu_stats(guest.mmu, &stats);
	bench_guest_destroy(&guest);
	if (!err && !stats.large_splits == (leaf == LARGE))
		err = -ENOTSUP; /* what was measured is something else */
	return err;
}

int bench_large(const struct bench_options *options)
{
	static struct bench_figure figure[LEAVES][PHASES];
	unsigned int rounds = options->rounds ? options->rounds : 11;
	void *memory = bench_memory_map(PAGES, BENCH_REPEATED);
	int err = memory ? 0 : -ENOMEM;

	for (unsigned int i = 0; !err && i < rounds * LEAVES; i++) {
		enum leaf leaf = (i + i / LEAVES) % LEAVES ? SMALL : LARGE;
		double took[PHASES];

		err = one_round(memory, leaf, took);
		for (enum phase p = TOUCH; !err && p < PHASES; p++)
			bench_add(&figure[leaf][p], took[p]);
	}
	bench_memory_unmap(memory, PAGES);
	if (err == -EBADMSG)
		return err;
	if (err)
		return bench_skip(options, "large", strerror(-err));
	for (enum phase p = TOUCH; p < PHASES; p++)
		for (enum leaf leaf = LARGE; leaf < LEAVES; leaf++) {
			figure[leaf][p].name = phases[p].name[leaf];
			figure[leaf][p].unit = phases[p].unit;
			figure[leaf][p].against = phases[p].name[!leaf];
			bench_report(options, &figure[leaf][p]);
		}
	return 0;
}
