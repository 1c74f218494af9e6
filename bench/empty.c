/* SPDX-License-Identifier: MIT */
/*
 * empty.c - an empty harvest of a 1 TiB space, against a flat scan
 *
 * The space has no tracker: what is measured is the log, the clients and the
 * harvest, the tracker's own system calls aside.  The flat scan reads the
 * bitmap of a 1 TiB slot, 32 MiB, word by word.
 */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <tidemark/tidemark.h>

#define PAGES (1ull << 28)
#define WORDS (PAGES / 64)
#define HARVESTS 1000u

struct empty {
	struct tide_space *space;
	struct tide_client *client;
	void *host;
	uint64_t *flat;
};

static int setup(struct empty *empty)
{
	struct tide_slot_config slot = { .id = 0, .npages = PAGES };
	int err;

	empty->host = mmap(NULL, PAGES * TIDE_PAGE_SIZE, PROT_READ,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	/* Touched, so that the scan reads memory and not the zero page. */
	empty->flat =
		mmap(NULL, WORDS * sizeof(uint64_t), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (empty->host == MAP_FAILED || empty->flat == MAP_FAILED)
		return -ENOMEM;
	slot.host = empty->host;
	err = tide_space_create(&empty->space);
	if (!err)
		err = tide_slot_add(empty->space, &slot);
	if (!err)
		err = tide_client_open(empty->space, "bench", TIDE_START_CLEAN,
				       &empty->client);
	return err;
}

static int time_empty(struct empty *empty, double *ret_ns)
{
	uint64_t begin_ns = bench_now_ns();

	for (unsigned int i = 0; i < HARVESTS; i++) {
		struct tide_harvest *harvest;
		struct tide_extent extent;
		int ret = tide_harvest_begin(empty->client, &harvest);

		if (!ret)
			ret = tide_harvest_next(harvest, &extent);
		if (!ret)
			ret = tide_harvest_commit(harvest);
		if (ret)
			return ret;
	}
	*ret_ns = (double)(bench_now_ns() - begin_ns) / HARVESTS;
	return 0;
}

static double time_flat(const struct empty *empty)
{
	uint64_t begin_ns = bench_now_ns();
	uint64_t found = 0;

	for (uint64_t i = 0; i < WORDS; i++) {
		if (empty->flat[i])
			found++;
	}
	/* Keeps the compiler from dropping the loop. */
	__asm__ volatile("" : : "r"(found));
	return (double)(bench_now_ns() - begin_ns);
}

int bench_empty(const struct bench_options *options)
{
	static struct bench_figure ratio = {
		.name = "empty-harvest-ratio",
		.unit = "ratio",
		.against = "flat scan of the 32 MiB bitmap",
		.goal = 1.0 / 30,
	};
	unsigned int rounds = options->rounds ? options->rounds : 51;
	struct empty empty = { 0 };
	int err = setup(&empty);

	for (unsigned int i = 0; !err && i < rounds; i++) {
		double flat = time_flat(&empty);
		double ns = 0;

		err = time_empty(&empty, &ns);
		bench_add(&ratio, ns / flat);
	}
	bench_report(options, &ratio);
	tide_client_close(empty.client);
	tide_space_destroy(empty.space);
	munmap(empty.host, PAGES * TIDE_PAGE_SIZE);
	munmap(empty.flat, WORDS * sizeof(uint64_t));
	return err ? bench_skip(options, "empty", "could not set up") : 0;
}
