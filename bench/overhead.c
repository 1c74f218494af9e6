/* SPDX-License-Identifier: MIT */
/*
 * overhead.c - memory for tables, rmap and logs of a fully mapped 4 GiB slot
 *
 * Logging is on, so that every page has a 4 KiB leaf.  The guest's memory is
 * one file of 2 MiB, mapped 2048 times, so that all anonymous memory that the
 * process gains is the library's: its growth, as the kernel counts it, is the
 * figure, and what tide_mmu_stats says of itself stands beside it.
 */
#include "bench.h"

#include "mmu_bench.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGES (1ull << 20) /* 4 GiB */

/* Bytes of anonymous memory of this process; 0: the kernel does not say. */
static uint64_t anonymous_bytes(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	static const char name[] = "Anonymous:";
	uint64_t kib = 0;
	char line[256];

	while (file && !kib && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, sizeof(name) - 1))
			kib = strtoull(line + sizeof(name) - 1, NULL, 10);
	if (file)
		(void)fclose(file); /* only read */
	return kib * 1024;
}

static double percent(uint64_t nbytes)
{
	return 100.0 * (double)nbytes / (PAGES * TIDE_PAGE_SIZE);
}

static int one_round(void *memory, double *ret_grown, double *ret_says)
{
	struct bench_guest_config config = { .npages = PAGES,
					     .memory = memory,
					     .vcpus = 1 };
	struct bench_guest guest = { 0 };
	struct tide_mmu_stats stats;
	uint64_t before, after, npages = 0;
	int err;

	malloc_trim(0); /* what is free already would not be seen to grow */
	before = anonymous_bytes();
	err = bench_guest_create(&guest, &config);
	if (!err)
		err = bench_guest_log(&guest, TIDE_START_CLEAN);
	if (!err)
		err = bench_guest_touch(&guest, 0, PAGES, 1);
	after = anonymous_bytes();
	if (!err) {
		tide_mmu_stats(guest.mmu, &stats);
		err = bench_guest_harvest(&guest, &npages);
	}
	bench_guest_destroy(&guest);
	if (err)
		return err;
	if (!before)
		return -ENODATA;
	if (npages != PAGES)
		return -EBADMSG;
	*ret_grown = percent(after - before);
	*ret_says = percent(stats.table_bytes);
	return 0;
}

int bench_overhead(const struct bench_options *options)
{
	static struct bench_figure grown = {
		.name = "mmu-overhead-percent",
		.unit = "%",
		.against = "4 GiB; growth of anonymous memory",
		.goal = 1,
	};
	static struct bench_figure says = {
		.name = "mmu-table-percent",
		.unit = "%",
		.against = "4 GiB; tide_mmu_stats.table_bytes",
	};
	unsigned int rounds = options->rounds ? options->rounds : 3;
	void *memory = bench_memory_map(PAGES, BENCH_REPEATED);
	int err = memory ? 0 : -ENOMEM;

	for (unsigned int i = 0; !err && i < rounds; i++) {
		double grown_percent, says_percent;

		err = one_round(memory, &grown_percent, &says_percent);
		if (err)
			break;
		bench_add(&grown, grown_percent);
		bench_add(&says, says_percent);
	}
	bench_memory_unmap(memory, PAGES);
	if (err == -EBADMSG)
		return err;
	if (err)
		return bench_skip(options, "overhead", strerror(-err));
	bench_report(options, &grown);
	bench_report(options, &says);
	return 0;
}
