/* SPDX-License-Identifier: MIT */
/*
 * curve_test.c - the dirty curve against what it is defined to be
 *
 * Random traces, with mappings that come and go.  What the curve says is held
 * against windows that are really looked at, one after the other, page by page:
 * every window of whole intervals where these are equally long, and every
 * window in time, which is piece by piece, where they are not.
 */
#undef NDEBUG
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tidemark/plan.h>
#include <tidemark/trace.h>

#include "test_support.h"

#define MAPPINGS 4u
#define PAGES 1100u /* of the largest written: more than two chunks */
#define INTERVALS 90u
#define MS 1000000ull

struct mapping {
	uint64_t npages;
	uint32_t came, gone; /* before this interval; INTERVALS: never */
};

/* What was written, the plain way. */
struct model {
	uint32_t n;
	uint64_t end_ns[INTERVALS];
	struct mapping mappings[MAPPINGS];
	bool written[INTERVALS][MAPPINGS][PAGES];
};

static struct model model;
static uint64_t seed;
static int allocations_left = -1; /* -1: any number */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);

static bool may_allocate(void)
{
	if (allocations_left > 0)
		allocations_left--;
	return allocations_left != 0;
}

void *__wrap_malloc(size_t size)
{
	return may_allocate() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return may_allocate() ? __real_calloc(n, size) : NULL;
}

void *__wrap_realloc(void *old, size_t size)
{
	return may_allocate() ? __real_realloc(old, size) : NULL;
}

static uint64_t below(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

/* ---- the model as a trace ---- */

static void put_runs(struct tide_trace_writer *writer, uint32_t interval)
{
	static struct tide_trace_run runs[MAPPINGS * PAGES];
	struct tide_trace_interval out = {
		.begin_ns = interval ? model.end_ns[interval - 1] : 0,
		.end_ns = model.end_ns[interval],
		.harvest_ns = 7,
		.held_ns = 3,
		.runs = runs,
	};

	for (uint32_t m = 0; m < MAPPINGS; m++) {
		const bool *written = model.written[interval][m];

		for (uint64_t page = 0; page < PAGES; page++) {
			if (!written[page])
				continue;
			if (page && written[page - 1])
				runs[out.nruns - 1].npages++;
			else
				runs[out.nruns++] =
					(struct tide_trace_run){ m + 1, page,
								 1 };
		}
	}
	assert_int_equal(tide_trace_put_interval(writer, &out), 0);
}

/* Return: a descriptor at its beginning. */
static int write_trace(void)
{
	const struct tide_trace_info info = { .interval_ns = 50 * MS };
	struct tide_trace_writer *writer;
	int fd = memfd_create("trace", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(tide_trace_create(fd, &info, &writer), 0);
	for (uint32_t i = 0; i <= model.n; i++) {
		for (uint32_t m = 0; m < MAPPINGS; m++) {
			const struct mapping *mapping = &model.mappings[m];
			const struct tide_trace_mapping put = {
				.id = m + 1,
				.first_gfn = (m + 1) * 0x10000,
				.npages = mapping->npages,
				.populated_pages = i ? 0 : mapping->npages / 2,
				.zero_pages = i ? 0 : mapping->npages / 4,
			};

			if (mapping->came == i)
				assert_int_equal(
					tide_trace_put_mapping(writer, &put),
					0);
		}
		for (uint32_t m = 0; m < MAPPINGS; m++)
			if (model.mappings[m].gone == i && i < INTERVALS)
				assert_int_equal(
					tide_trace_put_gone(writer, m + 1), 0);
		if (i < model.n)
			put_runs(writer, i);
	}
	assert_int_equal(tide_trace_finish(writer), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static int read_curve(int fd, struct tide_curve **ret)
{
	struct tide_trace_reader *reader;
	struct tide_trace_info info;
	int err;

	assert_int_equal(tide_trace_open(fd, &reader, &info, NULL, 0), 0);
	err = tide_curve_create(reader, ret);
	tide_trace_close(reader);
	return err;
}

static struct tide_curve *curve_of_model(void)
{
	struct tide_curve *curve;
	int fd = write_trace();

	assert_int_equal(read_curve(fd, &curve), 0);
	close(fd);
	return curve;
}

/* ---- random models ---- */

static void make_mappings(void)
{
	uint32_t came = 0;

	for (uint32_t m = 0; m < MAPPINGS; m++) {
		struct mapping *mapping = &model.mappings[m];

		mapping->npages = m == 1 ? PAGES : 1 + below(PAGES);
		mapping->gone = INTERVALS;
		if (m > 1)
			came += (uint32_t)below(model.n / 2);
		mapping->came = came;
		/* One may go at the end, before or after the last interval. */
		if (m != 1 && below(2))
			mapping->gone =
				came + 1 + (uint32_t)below(model.n - came);
	}
}

/* Runs of all lengths, whole chunks and all of it among them. */
static void write_pages(uint32_t interval, uint32_t m)
{
	uint64_t npages = model.mappings[m].npages;
	uint64_t count = below(6);

	if (interval < model.mappings[m].came ||
	    interval >= model.mappings[m].gone)
		return;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t first = below(4) ? below(npages) : 0;
		uint64_t n = below(3) ? 1 + below(20) : 1 + below(npages);

		for (uint64_t page = first; page < npages && n; page++, n--)
			model.written[interval][m][page] = true;
	}
}

static void make_model(bool equal)
{
	uint64_t now_ns = 0;

	memset(&model, 0, sizeof(model));
	model.n = 8 + (uint32_t)below(INTERVALS - 8);
	make_mappings();
	for (uint32_t i = 0; i < model.n; i++) {
		if (equal)
			now_ns += 50 * MS;
		else /* the first one is late */
			now_ns += i ? 1 + below(150 * MS)
				    : 50 * MS + below(400 * MS);
		model.end_ns[i] = now_ns;
		for (uint32_t m = 0; m < MAPPINGS; m++)
			if (below(3))
				write_pages(i, m);
	}
}

/* Written in the intervals [first, end), and there when `end` has not ended. */
static uint64_t distinct(uint32_t first, uint32_t end)
{
	uint64_t count = 0;

	for (uint32_t m = 0; m < MAPPINGS; m++) {
		if (end > model.mappings[m].gone)
			continue;
		for (uint64_t page = 0; page < PAGES; page++) {
			uint32_t i = first;

			while (i < end && !model.written[i][m][page])
				i++;
			count += i < end;
		}
	}
	return count;
}

static int ascending(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void assert_near(double is, double wanted)
{
	double most = fabs(wanted) * 1e-9 + 1e-9;

	if (fabs(is - wanted) > most)
		fail_msg("%.12g, wanted %.12g", is, wanted);
}

static void check_windows(const struct tide_curve *curve, uint32_t length)
{
	uint32_t n = model.n - length + 1;
	struct tide_curve_point point;
	double seen[INTERVALS], sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		seen[i] = (double)distinct(i, i + length);
		sum += seen[i];
	}
	tide_curve_at(curve, (uint64_t)length * 50 * MS, &point);
	assert_near(point.pages, sum / n);
	/* Powers of two, and those times 1.5, of which four fit the trace. */
	while (length > 3 && length % 2 == 0)
		length /= 2;
	if (length > 3 || 4 * (model.n - n + 1) > model.n)
		return;
	qsort(seen, n, sizeof(seen[0]), ascending);
	assert_near(point.low, seen[(uint32_t)(0.1 * (n - 1) + 0.5)]);
	assert_near(point.high, seen[(uint32_t)(0.9 * (n - 1) + 0.5)]);
}

static void test_windows(void **state)
{
	(void)state;
	seed = test_seed() | 1;
	for (uint32_t round = 0; round < 6 * test_long(); round++) {
		struct tide_curve *curve;

		make_model(true);
		curve = curve_of_model();
		for (uint32_t length = 1; length <= model.n; length++)
			check_windows(curve, length);
		tide_curve_destroy(curve);
	}
}

/* ---- windows in time ---- */

/* Distinct pages of the window (end - window, end], each interval's writes
 * being at its end, and a mapping there until the end of the first interval
 * that is without it. */
static uint64_t distinct_in_time(double end, double window)
{
	uint32_t first = 0, until;

	while (first < model.n && (double)model.end_ns[first] <= end - window)
		first++;
	for (until = first;
	     until < model.n && (double)model.end_ns[until] <= end;)
		until++;
	return distinct(first, until);
}

static double mean_in_time(double window)
{
	double all = (double)model.end_ns[model.n - 1];
	double points[2 * INTERVALS + 2], sum = 0;
	uint32_t n = 0;

	all += all / model.n;
	points[n++] = window;
	points[n++] = all;
	for (uint32_t i = 0; i < model.n; i++) {
		double at = (double)model.end_ns[i];

		if (at > window)
			points[n++] = at;
		if (at + window < all)
			points[n++] = at + window;
	}
	qsort(points, n, sizeof(points[0]), ascending);
	for (uint32_t i = 1; i < n; i++) {
		double length = points[i] - points[i - 1];

		if (length > 0)
			sum += length *
			       (double)distinct_in_time(
				       points[i - 1] + length / 2, window);
	}
	return sum / (all - window);
}

static void test_windows_in_time(void **state)
{
	(void)state;
	seed = test_seed() | 1;
	for (uint32_t round = 0; round < 6 * test_long(); round++) {
		struct tide_curve *curve;
		uint64_t length;

		make_model(false);
		curve = curve_of_model();
		for (length = 50 * MS; length <= model.end_ns[model.n - 1];
		     length += 50 * MS) {
			struct tide_curve_point point;

			/* Shorter than the mean interval is another test. */
			if (length * model.n < model.end_ns[model.n - 1])
				continue;
			tide_curve_at(curve, length, &point);
			assert_near(point.pages, mean_in_time((double)length));
		}
		tide_curve_destroy(curve);
	}
}

/* ---- beyond what is known ---- */

/* One mapping, and @write pages written in each interval, the next ones if it
 * is a @sweep. */
static void make_plain(uint32_t n, uint64_t npages, uint64_t write, bool sweep)
{
	memset(&model, 0, sizeof(model));
	model.n = n;
	for (uint32_t m = 0; m < MAPPINGS; m++)
		model.mappings[m] = (struct mapping){ npages, INTERVALS + 1,
						      INTERVALS + 1 };
	model.mappings[0].came = 0;
	for (uint32_t i = 0; i < n; i++) {
		model.end_ns[i] = (i + 1ull) * 50 * MS;
		for (uint64_t page = 0; page < write; page++)
			model.written[i][0][((sweep ? i * write : 0) + page) %
					    npages] = true;
	}
}

static double pages_at(const struct tide_curve *curve, uint64_t ns)
{
	struct tide_curve_point point;

	tide_curve_at(curve, ns, &point);
	return point.pages;
}

static void test_shorter(void **state)
{
	struct tide_curve_point point;
	struct tide_curve *curve;

	(void)state;
	/* No page twice: a straight line to zero. */
	make_plain(40, 2000, 10, true);
	curve = curve_of_model();
	assert_near(pages_at(curve, 0), 0);
	assert_near(pages_at(curve, 5 * MS), 1);
	assert_near(pages_at(curve, 25 * MS), 5);
	assert_near(pages_at(curve, 50 * MS), 10);
	tide_curve_destroy(curve);
	/* The same in each: all of them always, or each once, who knows? */
	make_plain(40, 1000, 10, false);
	curve = curve_of_model();
	tide_curve_at(curve, 5 * MS, &point);
	assert_near(point.low, 1);
	assert_near(point.high, 10);
	assert_near(point.pages, 5.5);
	assert_near(pages_at(curve, 0), 0);
	assert_near(pages_at(curve, 50 * MS), 10);
	tide_curve_destroy(curve);
}

static void test_longer(void **state)
{
	struct tide_curve *curve;

	(void)state;
	/* The same pages again: no more of them, however long. */
	make_plain(40, 1000, 10, false);
	curve = curve_of_model();
	assert_near(pages_at(curve, 2000 * MS), 10);
	assert_near(pages_at(curve, 1000000 * MS), 10);
	tide_curve_destroy(curve);
	/* Others each time: in a line, until that is all there is. */
	make_plain(40, 2000, 10, true);
	curve = curve_of_model();
	assert_near(pages_at(curve, 2000 * MS), 400);
	assert_near(pages_at(curve, 3000 * MS), 600);
	assert_near(pages_at(curve, 4000 * MS), 800);
	assert_near(pages_at(curve, 4500 * MS), 900);
	assert_near(pages_at(curve, 9000 * MS), 1000); /* populated */
	assert_near(pages_at(curve, UINT64_MAX), 1000);
	tide_curve_destroy(curve);
	/* And more memory than there was before. */
	make_plain(40, 1000, 10, true);
	model.mappings[0].came = 1;
	memset(model.written[0], 0, sizeof(model.written[0]));
	curve = curve_of_model();
	assert_true(pages_at(curve, 9000 * MS) > 1500);
	tide_curve_destroy(curve);
}

static void test_info(void **state)
{
	struct tide_curve_info info;
	struct tide_curve *curve;

	(void)state;
	make_plain(40, 1000, 10, true);
	curve = curve_of_model();
	tide_curve_info_get(curve, &info);
	assert_int_equal(info.trace_ns, 2000 * MS);
	assert_int_equal(info.interval_ns, 50 * MS);
	assert_int_equal(info.intervals, 40);
	assert_int_equal(info.memory_pages, 500);
	assert_int_equal(info.data_pages, 250);
	assert_int_equal(info.dirty_pages, 400);
	assert_int_equal(info.written_pages, 400);
	assert_int_equal(info.harvest_ns, 40 * 7);
	assert_int_equal(info.held_ns, 40 * 3);
	assert_near(info.rate, 200);
	tide_curve_destroy(curve);
	/* What has gone at the end is no memory. */
	model.mappings[0].gone = 40;
	curve = curve_of_model();
	tide_curve_info_get(curve, &info);
	assert_int_equal(info.memory_pages, 0);
	assert_int_equal(info.data_pages, 0);
	assert_int_equal(info.dirty_pages, 400);
	tide_curve_destroy(curve);
}

static void test_many_intervals(void **state)
{
	const uint32_t n = 20000;
	const struct tide_trace_info info = { .interval_ns = MS };
	const struct tide_trace_mapping mapping = { .id = 1, .npages = 64 };
	struct tide_trace_writer *writer;
	struct tide_curve_point point;
	struct tide_curve *curve;
	int fd = memfd_create("trace", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(tide_trace_create(fd, &info, &writer), 0);
	assert_int_equal(tide_trace_put_mapping(writer, &mapping), 0);
	/* 8 pages in three of four intervals, 64 in the fourth. */
	for (uint32_t i = 0; i < n; i++) {
		const struct tide_trace_run run = { 1, 0, i % 4 ? 8 : 64 };
		const struct tide_trace_interval interval = {
			.begin_ns = (uint64_t)i * MS,
			.end_ns = (i + 1ull) * MS,
			.runs = &run,
			.nruns = 1,
		};

		assert_int_equal(tide_trace_put_interval(writer, &interval), 0);
	}
	assert_int_equal(tide_trace_finish(writer), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(read_curve(fd, &curve), 0);
	close(fd);
	tide_curve_at(curve, MS, &point);
	assert_near(point.pages, 22);
	assert_near(point.low, 8);
	assert_near(point.high, 64);
	tide_curve_at(curve, 2 * MS, &point);
	assert_true(fabs(point.pages - 36) < 0.01);
	tide_curve_destroy(curve);
}

/* ---- what fails ---- */

static void test_nothing(void **state)
{
	struct tide_curve *curve = NULL;
	int fd;

	(void)state;
	make_plain(0, 10, 0, false);
	fd = write_trace();
	assert_int_equal(read_curve(fd, &curve), -ENODATA);
	close(fd);
	make_plain(10, 10, 5, false);
	fd = write_trace();
	assert_int_equal(ftruncate(fd, lseek(fd, 0, SEEK_END) - 1), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(read_curve(fd, &curve), -ENODATA);
	close(fd);
	assert_null(curve);
	tide_curve_destroy(NULL);
}

/* As many times as it comes and goes, but not twice at a time. */
static void test_too_large(void **state)
{
	const struct tide_trace_info info = { .interval_ns = MS };
	const struct tide_trace_interval interval = { .end_ns = MS };

	(void)state;
	for (int twice = 0; twice < 2; twice++) {
		struct tide_trace_writer *writer;
		struct tide_curve *curve = NULL;
		int fd = memfd_create("trace", MFD_CLOEXEC);

		assert_int_equal(tide_trace_create(fd, &info, &writer), 0);
		assert_int_equal(tide_trace_put_interval(writer, &interval), 0);
		for (uint32_t id = 1; id <= 3; id++) {
			const struct tide_trace_mapping mapping = {
				.id = id,
				.npages = 1ull << 36,
			};

			assert_int_equal(
				tide_trace_put_mapping(writer, &mapping), 0);
			if (!twice)
				assert_int_equal(
					tide_trace_put_gone(writer, id), 0);
		}
		assert_int_equal(tide_trace_finish(writer), 0);
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		assert_int_equal(read_curve(fd, &curve), twice ? -EFBIG : 0);
		close(fd);
		assert_true(twice ? !curve : !!curve);
		tide_curve_destroy(curve);
	}
}

static void test_no_memory(void **state)
{
	struct tide_curve *curve = NULL;
	struct tide_trace_reader *reader;
	struct tide_trace_info info;
	int fd, err = -ENOMEM, tries = 0;

	(void)state;
	seed = test_seed() | 1;
	make_model(false);
	fd = write_trace();
	while (err == -ENOMEM) {
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		assert_int_equal(tide_trace_open(fd, &reader, &info, NULL, 0),
				 0);
		allocations_left = ++tries;
		err = tide_curve_create(reader, &curve);
		allocations_left = -1;
		tide_trace_close(reader);
		assert_true(!err || !curve);
	}
	assert_int_equal(err, 0);
	assert_true(tries > 10);
	tide_curve_destroy(curve);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_windows_in_time),
		cmocka_unit_test(test_shorter),
		cmocka_unit_test(test_longer),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_many_intervals),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
