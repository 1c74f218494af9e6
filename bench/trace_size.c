/* SPDX-License-Identifier: MIT */
/*
 * trace_size.c - what a page that was written costs in a trace
 *
 * Intervals in which every tenth page of 1 GiB was written: other pages in each
 * of them, against the least number of bits that can tell which; and the same
 * pages again.  What is read back must be what was put.
 */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tidemark/tidemark.h>

#define PAGES (1u << 18) /* 1 GiB */
#define DIRTY 10u	 /* percent */
/* The least that tells which: -p log2(p) - (1 - p) log2(1 - p), p = 0.1. */
#define BITS_PER_PAGE 0.46899559358928122
#define INTERVALS 20u
#define ROUNDS 21u

struct run {
	int fd;
	struct tide_trace_writer *writer;
	struct tide_trace_run *runs;
	uint64_t seed, now_ns;
	uint64_t pages, read_pages; /* in all intervals of a round */
	struct bench_figure fresh, entropy, again, write_ns, read_ns;
};

/* Others each time.  Return: how many runs. */
static size_t choose(struct run *run, uint64_t *ret_pages)
{
	size_t count = 0;

	*ret_pages = 0;
	for (uint32_t page = 0; page < PAGES; page++) {
		struct tide_trace_run *last = &run->runs[count];

		run->seed = run->seed * 6364136223846793005ull + 1;
		if ((run->seed >> 33) % 100 >= DIRTY)
			continue;
		++*ret_pages;
		if (count && last[-1].first_page + last[-1].npages == page)
			last[-1].npages++;
		else
			run->runs[count++] = (struct tide_trace_run){
				.first_page = page,
				.npages = 1,
			};
	}
	return count;
}

static int begin(struct run *run)
{
	const struct tide_trace_info info = { .interval_ns = 100000000 };
	const struct tide_trace_mapping mapping = { .npages = PAGES };
	int err;

	if (ftruncate(run->fd, 0) || lseek(run->fd, 0, SEEK_SET))
		return -errno;
	err = tide_trace_create(run->fd, &info, &run->writer);
	run->now_ns = run->pages = 0;
	return err ? err : tide_trace_put_mapping(run->writer, &mapping);
}

/* Return: ns that it took, or -errno. */
static int64_t put(struct run *run, size_t nruns, uint64_t pages)
{
	const struct tide_trace_interval interval = {
		.begin_ns = run->now_ns,
		.end_ns = run->now_ns + 100000000,
		.harvest_ns = 1000000,
		.runs = run->runs,
		.nruns = nruns,
	};
	uint64_t begin_ns = bench_now_ns();
	int err = tide_trace_put_interval(run->writer, &interval);

	run->now_ns = interval.end_ns;
	run->pages += pages;
	return err ? err : (int64_t)(bench_now_ns() - begin_ns);
}

/* Return: ns that it took, or -errno. */
static int64_t read_back(struct run *run)
{
	struct tide_trace_reader *reader;
	struct tide_trace_event event;
	struct tide_trace_info info;
	uint64_t begin_ns = bench_now_ns();
	int got;

	if (lseek(run->fd, 0, SEEK_SET))
		return -errno;
	got = tide_trace_open(run->fd, &reader, &info, NULL, 0);
	if (got)
		return got;
	run->read_pages = 0;
	while ((got = tide_trace_next(reader, &event)) == 1)
		run->read_pages += event.interval.pages;
	tide_trace_close(reader);
	if (!got && run->read_pages != run->pages)
		return -EBADMSG;
	return got ? got : (int64_t)(bench_now_ns() - begin_ns);
}

/* @again: the same pages in each interval; the first one does not count. */
static int one_round(struct run *run, bool again)
{
	uint64_t pages = 0;
	size_t nruns = choose(run, &pages);
	int64_t ns = 0, read_ns;
	int err = begin(run);
	double nbytes;
	off_t before;

	if (!err && put(run, nruns, pages) < 0)
		err = -EIO;
	before = lseek(run->fd, 0, SEEK_CUR);
	for (uint32_t i = 0; i < INTERVALS && !err; i++) {
		int64_t took;

		if (!again)
			nruns = choose(run, &pages);
		took = put(run, nruns, pages);
		err = took < 0 ? (int)took : 0;
		ns += took;
	}
	nbytes = (double)(lseek(run->fd, 0, SEEK_CUR) - before) / INTERVALS;
	if (!err)
		err = tide_trace_finish(run->writer);
	else
		tide_trace_abandon(run->writer);
	read_ns = err ? err : read_back(run);
	if (read_ns < 0)
		return (int)read_ns;
	if (again) {
		bench_add(&run->again, nbytes / (double)pages);
		return 0;
	}
	bench_add(&run->fresh, nbytes / (double)pages);
	bench_add(&run->entropy, nbytes * 8 / (PAGES * BITS_PER_PAGE));
	bench_add(&run->write_ns, (double)ns / INTERVALS / (double)pages);
	bench_add(&run->read_ns, (double)read_ns / (double)run->pages);
	return 0;
}

static void name_figures(struct run *run)
{
	run->fresh = (struct bench_figure){
		.name = "trace-bytes-per-page",
		.unit = "bytes",
		.against = "nothing: a tenth of 1 GiB, others each time",
	};
	run->entropy = (struct bench_figure){
		.name = "trace-entropy-ratio",
		.unit = "ratio",
		.against = "the least that can tell which pages",
	};
	run->again = (struct bench_figure){
		.name = "trace-bytes-per-page-again",
		.unit = "bytes",
		.against = "nothing: the same tenth of 1 GiB again",
	};
	run->write_ns = (struct bench_figure){
		.name = "trace-write-ns",
		.unit = "ns",
		.against = "nothing: for each page",
	};
	run->read_ns = run->write_ns;
	run->read_ns.name = "trace-read-ns";
}

int bench_trace(const struct bench_options *options)
{
	static struct run run;
	uint32_t rounds = options->rounds ? options->rounds : ROUNDS;
	int err = 0;

	run.seed = 42;
	run.fd = memfd_create("trace", MFD_CLOEXEC);
	run.runs = malloc(PAGES * sizeof(*run.runs));
	name_figures(&run);
	if (run.fd < 0 || !run.runs)
		err = run.fd < 0 ? -errno : -ENOMEM;
	for (uint32_t i = 0; i < rounds && !err; i++) {
		err = one_round(&run, false);
		if (!err)
			err = one_round(&run, true);
	}
	if (!err) {
		bench_report(options, &run.fresh);
		bench_report(options, &run.entropy);
		bench_report(options, &run.again);
		bench_report(options, &run.write_ns);
		bench_report(options, &run.read_ns);
	}
	free(run.runs);
	if (run.fd >= 0)
		close(run.fd);
	if (err == -EBADMSG)
		return err;
	return err ? bench_skip(options, "trace", strerror(-err)) : 0;
}
