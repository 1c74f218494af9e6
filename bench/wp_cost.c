/* SPDX-License-Identifier: MIT */
/*
 * wp_cost.c - first writes and their harvest by wp, against the plain ioctls
 *
 * Two regions of this process's memory, each with a userfaultfd of its own, are
 * written at the same pages and harvested: one by the library, the other by one
 * PAGEMAP_SCAN whose vector has room for every range.  Both hand each run of
 * pages to a consumer that adds them up; the sums must be equal.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <tidemark/tidemark.h>

#include "tracker/wp_abi.h"

#define PAGES (1u << 16) /* 256 MiB */
#define BYTES (PAGES * TIDE_PAGE_SIZE)

struct run {
	unsigned char *raw, *ours;
	int uffd, pagemap_fd;
	struct wp_region *regions; /* of the raw scan */
	struct tide_space *space;
	struct tide_client *client;
	uint32_t *pages;
	uint64_t seed;
};

static int raw_setup(struct run *run)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = WP_FEATURE_UNPOPULATED | WP_FEATURE_ASYNC,
	};
	struct uffdio_register range = {
		.range = { (uintptr_t)run->raw, BYTES },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect protect = {
		.range = range.range,
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	run->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	run->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (run->uffd < 0 || run->pagemap_fd < 0 ||
	    ioctl(run->uffd, UFFDIO_API, &api) ||
	    ioctl(run->uffd, UFFDIO_REGISTER, &range) ||
	    ioctl(run->uffd, UFFDIO_WRITEPROTECT, &protect))
		return -errno;
	return 0;
}

static uint64_t sum_of(uint64_t first, uint64_t n)
{
	return first * n + n * (n - 1) / 2;
}

static int raw_harvest(struct run *run, uint64_t *ret_sum)
{
	struct wp_scan scan = {
		.size = sizeof(scan),
		.flags = PAGEMAP_WP_MATCHING | PAGEMAP_CHECK_WPASYNC,
		.start = (uintptr_t)run->raw,
		.end = (uintptr_t)run->raw + BYTES,
		.vec = (uintptr_t)run->regions,
		.vec_len = PAGES,
		.category_mask = PAGEMAP_WRITTEN,
		.return_mask = PAGEMAP_WRITTEN,
	};
	int n = ioctl(run->pagemap_fd, WP_PAGEMAP_SCAN, &scan);

	*ret_sum = 0;
	for (int i = 0; i < n; i++)
		*ret_sum +=
			sum_of((run->regions[i].start - (uintptr_t)run->raw) /
				       TIDE_PAGE_SIZE,
			       (run->regions[i].end - run->regions[i].start) /
				       TIDE_PAGE_SIZE);
	return n < 0 ? -errno : 0;
}

static int ours_setup(struct run *run)
{
	struct tide_slot_config slot = { .npages = PAGES, .host = run->ours };
	int err = tide_space_create(&run->space);

	if (!err)
		err = tide_space_attach(run->space, TIDE_TRACKER_WP, NULL);
	if (!err)
		err = tide_slot_add(run->space, &slot);
	if (!err)
		err = tide_client_open(run->space, "bench", TIDE_START_CLEAN,
				       &run->client);
	return err;
}

static int ours_harvest(struct run *run, uint64_t *ret_sum)
{
	struct tide_harvest *harvest;
	struct tide_extent extent;
	int ret = tide_harvest_begin(run->client, &harvest);

	*ret_sum = 0;
	if (ret)
		return ret;
	while ((ret = tide_harvest_next(harvest, &extent)) > 0)
		*ret_sum += sum_of(extent.first_gfn, extent.npages);
	if (ret) {
		tide_harvest_abort(harvest);
		return ret;
	}
	return tide_harvest_commit(harvest);
}

/* A random set of @count different pages, in random order. */
static void choose(struct run *run, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t j;
		uint32_t swap;

		run->seed = run->seed * 6364136223846793005ull + 1;
		j = i + (run->seed >> 33) % (PAGES - i);
		swap = run->pages[i];
		run->pages[i] = run->pages[j];
		run->pages[j] = swap;
	}
}

static int half(struct run *run, size_t count, bool ours, uint64_t *ret_sum,
		uint64_t *ret_ns)
{
	volatile unsigned char *memory = ours ? run->ours : run->raw;
	uint64_t begin_ns = bench_now_ns();
	int err;

	for (size_t i = 0; i < count; i++)
		memory[run->pages[i] * TIDE_PAGE_SIZE]++;
	err = ours ? ours_harvest(run, ret_sum) : raw_harvest(run, ret_sum);
	*ret_ns = bench_now_ns() - begin_ns;
	return err;
}

static int one_round(struct run *run, size_t count, bool ours_first,
		     double *ret_ratio)
{
	uint64_t sum[2], ns[2];
	int err;

	choose(run, count);
	err = half(run, count, ours_first, &sum[ours_first], &ns[ours_first]);
	if (!err)
		err = half(run, count, !ours_first, &sum[!ours_first],
			   &ns[!ours_first]);
	if (!err && sum[0] != sum[1])
		err = -EBADMSG;
	if (!err)
		*ret_ratio = (double)ns[1] / (double)ns[0];
	return err;
}

static int setup(struct run *run)
{
	double ratio;
	int err;

	*run = (struct run){ .seed = 42, .uffd = -1, .pagemap_fd = -1 };
	run->raw = mmap(NULL, 2 * BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (run->raw == MAP_FAILED) {
		run->raw = NULL;
		return -ENOMEM;
	}
	run->ours = run->raw + BYTES;
	(void)madvise(run->raw, 2 * BYTES, MADV_NOHUGEPAGE);
	memset(run->raw, 1, 2 * BYTES);
	run->pages = calloc(PAGES, sizeof(*run->pages));
	run->regions = calloc(PAGES, sizeof(*run->regions));
	if (!run->pages || !run->regions)
		return -ENOMEM;
	for (uint32_t i = 0; i < PAGES; i++)
		run->pages[i] = i;
	err = raw_setup(run);
	if (!err)
		err = ours_setup(run);
	return err ? err : one_round(run, PAGES, false, &ratio); /* warm up */
}

static void tear_down(struct run *run)
{
	tide_client_close(run->client);
	tide_space_destroy(run->space);
	if (run->uffd >= 0)
		close(run->uffd);
	if (run->pagemap_fd >= 0)
		close(run->pagemap_fd);
	if (run->raw)
		munmap(run->raw, 2 * BYTES);
	free(run->pages);
	free(run->regions);
}

int bench_wp(const struct bench_options *options)
{
	static const struct {
		unsigned int percent, rounds;
	} parts[] = { { 1, 201 }, { 10, 61 }, { 100, 21 } };
	struct run run;
	int err = setup(&run);

	for (size_t p = 0; !err && p < 3; p++) {
		static struct bench_figure figure;
		unsigned int rounds =
			options->rounds ? options->rounds : parts[p].rounds;
		char name[64];

		snprintf(name, sizeof(name), "wp-ratio-%u", parts[p].percent);
		figure = (struct bench_figure){
			.name = name,
			.unit = "ratio",
			.against = "writes and one raw PAGEMAP_SCAN",
			.goal = 1.05,
		};
		for (unsigned int i = 0; !err && i < rounds; i++) {
			double ratio = 0;

			err = one_round(&run,
					(size_t)PAGES / 100 * parts[p].percent,
					i & 1, &ratio);
			bench_add(&figure, ratio);
		}
		if (!err)
			bench_report(options, &figure);
	}
	tear_down(&run);
	if (err == -EBADMSG)
		return err;
	return err ? bench_skip(options, "wp", strerror(-err)) : 0;
}
