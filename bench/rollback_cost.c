/* SPDX-License-Identifier: MIT */
/*
 * rollback_cost.c - 100 scattered pages of 128 MiB, written and rolled back
 *
 * Against the least that it can be done with, which is one scan and the copies
 * of these pages; and against a copy of the whole region.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tidemark/tidemark.h>

#include "tracker/wp_abi.h"

#define PAGES (1u << 15) /* 128 MiB */
#define BYTES (PAGES * TIDE_PAGE_SIZE)
#define DIRTY 100u
#define ROUNDS 301u

struct run {
	unsigned char *memory, *copy;
	int pagemap_fd;
	struct wp_region regions[DIRTY];
	struct tide_space *space;
	struct tide_checkpoint *checkpoint;
	uint32_t pages[DIRTY];
	uint64_t seed;
	double us[BENCH_SAMPLES_MAX];
	uint32_t n;
	struct bench_figure ratio, speedup, p50, p99;
};

static int setup(struct run *run)
{
	struct tide_slot_config slot = { .npages = PAGES };
	int err;

	run->seed = 42;
	run->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	run->memory = mmap(NULL, 2 * BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (run->pagemap_fd < 0 || run->memory == MAP_FAILED)
		return -errno;
	run->copy = run->memory + BYTES;
	slot.host = run->memory;
	memset(run->memory, 1, 2 * BYTES);
	err = tide_space_create(&run->space);
	if (!err)
		err = tide_space_attach(run->space, TIDE_TRACKER_WP, NULL);
	if (!err)
		err = tide_slot_add(run->space, &slot);
	if (!err)
		err = tide_checkpoint_create(run->space, NULL,
					     &run->checkpoint);
	return err;
}

static void write_some(struct run *run)
{
	for (uint32_t i = 0; i < DIRTY; i++) {
		run->seed = run->seed * 6364136223846793005ull + 1;
		run->pages[i] = (uint32_t)((run->seed >> 33) % PAGES);
		memset(run->memory + run->pages[i] * TIDE_PAGE_SIZE,
		       (int)(run->seed >> 20), 64);
	}
}

/* One scan that changes nothing, and the copies.  Return: ns, or -errno. */
static int64_t least(struct run *run)
{
	struct wp_scan scan = {
		.size = sizeof(scan),
		.start = (uintptr_t)run->memory,
		.end = (uintptr_t)run->memory + BYTES,
		.vec = (uintptr_t)run->regions,
		.vec_len = DIRTY,
		.category_mask = PAGEMAP_WRITTEN,
		.return_mask = PAGEMAP_WRITTEN,
	};
	uint64_t begin_ns = bench_now_ns();
	int n = ioctl(run->pagemap_fd, WP_PAGEMAP_SCAN, &scan);

	for (int i = 0; i < n; i++) {
		uint64_t at = run->regions[i].start - (uintptr_t)run->memory;

		memcpy(run->memory + at, run->copy + at,
		       run->regions[i].end - run->regions[i].start);
	}
	return n < 0 ? -errno : (int64_t)(bench_now_ns() - begin_ns);
}

static int64_t ours(struct run *run)
{
	uint64_t begin_ns = bench_now_ns();
	int err = tide_checkpoint_rollback(run->checkpoint, NULL);

	return err ? err : (int64_t)(bench_now_ns() - begin_ns);
}

static int64_t whole(struct run *run)
{
	uint64_t begin_ns = bench_now_ns();

	memcpy(run->memory, run->copy, BYTES);
	return (int64_t)(bench_now_ns() - begin_ns);
}

static int one_round(struct run *run, uint32_t number)
{
	int64_t least_ns, our_ns, whole_ns;

	write_some(run);
	least_ns = least(run);
	(void)ours(run); /* to the scan these pages are still written */
	write_some(run);
	our_ns = ours(run);
	if (least_ns < 0 || our_ns < 0)
		return least_ns < 0 ? (int)least_ns : (int)our_ns;
	bench_add(&run->ratio, (double)our_ns / (double)least_ns);
	bench_add(&run->p50, (double)our_ns / 1000);
	if (run->n < BENCH_SAMPLES_MAX)
		run->us[run->n++] = (double)our_ns / 1000;
	if (number % 10)
		return 0;
	(void)whole(run); /* the first meets protected pages */
	whole_ns = whole(run);
	bench_add(&run->speedup, (double)whole_ns / (double)our_ns);
	return (int)(ours(run) < 0);
}

static void name_figures(struct run *run)
{
	run->ratio = (struct bench_figure){
		.name = "rollback-ratio",
		.unit = "ratio",
		.against = "one scan and 100 page copies",
		.goal = 3,
	};
	run->speedup = (struct bench_figure){
		.name = "rollback-speedup",
		.unit = "times",
		.against = "a copy of all 128 MiB",
		.goal_least = 20,
	};
	run->p50 = (struct bench_figure){
		.name = "rollback-p50-us",
		.unit = "us",
		.against = "nothing: 100 pages of 128 MiB",
	};
	run->p99 = run->p50;
	run->p99.name = "rollback-p99-us";
}

int bench_rollback(const struct bench_options *options)
{
	static struct run run;
	uint32_t rounds = options->rounds ? options->rounds : ROUNDS;
	struct tide_checkpoint_difference difference;
	int err = setup(&run);

	name_figures(&run);
	for (uint32_t i = 0; i < rounds && !err; i++)
		err = one_round(&run, i);
	if (!err && tide_checkpoint_compare(run.checkpoint, &difference))
		err = -EBADMSG;
	if (!err) {
		bench_add(&run.p99, bench_quantile(run.us, run.n, 0.99));
		bench_report(options, &run.ratio);
		bench_report(options, &run.speedup);
		bench_report(options, &run.p50);
		bench_report(options, &run.p99);
	}
	tide_checkpoint_destroy(run.checkpoint);
	tide_space_destroy(run.space);
	if (run.memory && run.memory != MAP_FAILED)
		munmap(run.memory, 2 * BYTES);
	if (run.pagemap_fd >= 0)
		close(run.pagemap_fd);
	if (err == -EBADMSG)
		return err;
	return err ? bench_skip(options, "rollback", strerror(-err)) : 0;
}
