/* SPDX-License-Identifier: MIT */
/*
 * plan_test.c - pre-copy on curves of which it can be said by hand
 *
 * 100 intervals of 10 ms; what is in them differs from test to test.  At the
 * bandwidth PAGE_MS a page takes a millisecond.
 */
#undef NDEBUG
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tidemark/plan.h>
#include <tidemark/trace.h>

#include "test_support.h"

#define MS 1000000ull
#define PAGE_MS (1000ull * TIDE_PAGE_SIZE)
#define INTERVALS 100u

/* The pages of interval @i: [*first, *first + the result).  0: none. */
typedef uint64_t write_fn(uint32_t i, uint64_t *first);

static uint64_t write_hot(uint32_t i, uint64_t *first)
{
	(void)i;
	*first = 100;
	return 20;
}

static uint64_t write_none(uint32_t i, uint64_t *first)
{
	(void)i;
	(void)first;
	return 0;
}

/* 5 pages in each, no page twice. */
static uint64_t write_on(uint32_t i, uint64_t *first)
{
	*first = 5ull * i;
	return 5;
}

/* For a fifth of the time 500 pages, else 1. */
static uint64_t write_bursts(uint32_t i, uint64_t *first)
{
	*first = 0;
	return i / 10 % 5 ? 1 : 500;
}

static uint64_t interval_ns = 10 * MS;

static struct tide_curve *curve_of(write_fn *write, uint64_t populated,
				   uint64_t zero)
{
	const struct tide_trace_info info = { .interval_ns = interval_ns };
	const struct tide_trace_mapping mapping = {
		.id = 1,
		.npages = 1000,
		.populated_pages = populated,
		.zero_pages = zero,
	};
	struct tide_trace_writer *writer;
	struct tide_trace_reader *reader;
	struct tide_trace_info read_info;
	struct tide_curve *curve;
	int fd = memfd_create("trace", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(tide_trace_create(fd, &info, &writer), 0);
	assert_int_equal(tide_trace_put_mapping(writer, &mapping), 0);
	for (uint32_t i = 0; i < INTERVALS; i++) {
		struct tide_trace_run run = { .mapping = 1 };
		struct tide_trace_interval interval = {
			.begin_ns = i * interval_ns,
			.end_ns = (i + 1) * interval_ns,
			.runs = &run,
		};

		run.npages = write(i, &run.first_page);
		interval.nruns = run.npages != 0;
		assert_int_equal(tide_trace_put_interval(writer, &interval), 0);
	}
	assert_int_equal(tide_trace_finish(writer), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(tide_trace_open(fd, &reader, &read_info, NULL, 0), 0);
	assert_int_equal(tide_curve_create(reader, &curve), 0);
	tide_trace_close(reader);
	close(fd);
	return curve;
}

static struct tide_plan plan(const struct tide_curve *curve, uint64_t bandwidth,
			     uint64_t downtime_ns)
{
	const struct tide_plan_config config = {
		.size = sizeof(config),
		.bandwidth = bandwidth,
		.downtime_ns = downtime_ns,
	};
	struct tide_plan result;

	assert_int_equal(tide_plan(curve, &config, &result), 0);
	return result;
}

static void test_idle(void **state)
{
	struct tide_curve *curve = curve_of(write_none, 1000, 400);
	struct tide_plan result = plan(curve, PAGE_MS, 300 * MS);
	const struct tide_plan_config config = { .size = sizeof(config) };
	uint64_t bandwidth;

	(void)state;
	assert_true(result.converges && result.certain);
	assert_int_equal(result.rounds, 1);
	assert_int_equal(result.bytes, 600 * TIDE_PAGE_SIZE);
	assert_int_equal(result.bytes_low, result.bytes);
	assert_int_equal(result.bytes_high, result.bytes);
	assert_int_equal(result.total_ns, 600 * MS);
	assert_int_equal(result.downtime_ns, 0);
	assert_false(result.extrapolated);
	assert_int_equal(tide_plan_bandwidth(curve, &config, &bandwidth), 0);
	assert_true(bandwidth < 10);
	tide_curve_destroy(curve);
}

/* 20 pages, however long it takes. */
static void test_hot_set(void **state)
{
	struct tide_curve *curve = curve_of(write_hot, 1000, 0);
	struct tide_plan result = plan(curve, PAGE_MS, 20 * MS);

	(void)state;
	assert_true(result.converges && result.certain);
	assert_int_equal(result.rounds, 1);
	assert_int_equal(result.bytes, 1020 * TIDE_PAGE_SIZE);
	assert_int_equal(result.total_ns, 1020 * MS);
	assert_int_equal(result.downtime_ns, 20 * MS);
	assert_false(result.extrapolated);
	/* The rest of each round is the same: 5 rounds after the first. */
	result = plan(curve, PAGE_MS, 19 * MS);
	assert_true(!result.converges && result.certain);
	assert_int_equal(result.rounds, 6);
	assert_int_equal(result.bytes, (1000 + 6 * 20) * TIDE_PAGE_SIZE);
	/* Slower: longer than the trace, which changes nothing else. */
	result = plan(curve, PAGE_MS / 2, 40 * MS);
	assert_true(result.converges && result.extrapolated);
	tide_curve_destroy(curve);
}

/* Half a page a millisecond: each round is half as long as the one before. */
static void test_shrinking(void **state)
{
	struct tide_curve *curve = curve_of(write_on, 1000, 0);
	struct tide_plan result = plan(curve, PAGE_MS, 30 * MS);

	(void)state;
	assert_true(result.converges && result.certain);
	/* 500, 250, 125, 62.5, 31.25, 15.6 left */
	assert_int_equal(result.rounds, 6);
	assert_int_equal(result.total_ns / MS, 1984);
	assert_int_equal(result.downtime_ns / MS, 15);
	result = plan(curve, PAGE_MS / 2, 30 * MS);
	assert_false(result.converges);
	tide_curve_destroy(curve);
}

static void test_uncertain(void **state)
{
	struct tide_curve *curve = curve_of(write_bursts, 500, 0);
	struct tide_plan result = plan(curve, 20 * PAGE_MS, 10 * MS);

	(void)state;
	assert_false(result.certain);
	assert_true(result.bytes_low < result.bytes_high);
	assert_true(result.bytes_low <= result.bytes &&
		    result.bytes <= result.bytes_high);
	assert_true(result.total_ns_low < result.total_ns_high);
	assert_true(result.downtime_ns_low < result.downtime_ns_high);
	result = plan(curve, 20 * PAGE_MS, 1000 * MS);
	assert_true(result.converges && result.certain);
	tide_curve_destroy(curve);
}

static void test_bandwidth(void **state)
{
	write_fn *const writers[] = { write_hot, write_on, write_bursts };

	(void)state;
	for (size_t i = 0; i < sizeof(writers) / sizeof(writers[0]); i++) {
		struct tide_curve *curve = curve_of(writers[i], 1000, 0);

		for (uint64_t ms = 1; ms < 1000; ms *= 3) {
			const struct tide_plan_config config = {
				.size = sizeof(config),
				.downtime_ns = ms * MS,
			};
			uint64_t bandwidth;

			assert_int_equal(
				tide_plan_bandwidth(curve, &config, &bandwidth),
				0);
			assert_true(plan(curve, bandwidth, ms * MS).converges);
			assert_false(
				plan(curve, bandwidth - bandwidth / 50, ms * MS)
					.converges);
		}
		tide_curve_destroy(curve);
	}
}

/* 20 pages in 10 ns are more than a tebibyte a second. */
static void test_hopeless(void **state)
{
	const struct tide_plan_config config = {
		.size = sizeof(config),
		.downtime_ns = 1,
	};
	struct tide_curve *curve;
	uint64_t bandwidth = 77;

	(void)state;
	interval_ns = 10;
	curve = curve_of(write_hot, 1000, 0);
	interval_ns = 10 * MS;
	assert_int_equal(tide_plan_bandwidth(curve, &config, &bandwidth),
			 -ERANGE);
	assert_int_equal(bandwidth, 77);
	tide_curve_destroy(curve);
}

static void test_arguments(void **state)
{
	struct {
		struct tide_plan_config config;
		uint64_t later;
	} large = { .config = { .size = sizeof(large), .bandwidth = 1 } };
	struct tide_curve *curve = curve_of(write_on, 1000, 0);
	struct tide_plan_config config = { .downtime_ns = 1 };
	struct tide_plan result, untouched;
	uint64_t bandwidth = 77;

	(void)state;
	memset(&result, 0x55, sizeof(result));
	untouched = result;
	assert_int_equal(tide_plan(curve, &config, &result), -EINVAL);
	large.later = 1;
	assert_int_equal(tide_plan(curve, &large.config, &result), -E2BIG);
	assert_int_equal(tide_plan_bandwidth(curve, &large.config, &bandwidth),
			 -E2BIG);
	assert_memory_equal(&result, &untouched, sizeof(result));
	assert_int_equal(bandwidth, 77);
	large.later = 0;
	assert_int_equal(tide_plan(curve, &large.config, &result), 0);
	/* The smallest there is, and the largest: no overflow. */
	assert_true(result.total_ns > 1000ull * 1000000000);
	result = plan(curve, UINT64_MAX, 0);
	assert_true(result.converges && result.certain);
	/* 30 rounds, if they are not limited. */
	config = (struct tide_plan_config){
		.bandwidth = PAGE_MS,
		.downtime_ns = 1,
		.rounds_max = 3,
	};
	assert_int_equal(tide_plan(curve, &config, &result), 0);
	assert_int_equal(result.rounds, 3);
	config.rounds_max = 0;
	assert_int_equal(tide_plan(curve, &config, &result), 0);
	assert_int_equal(result.rounds, 30);
	tide_curve_destroy(curve);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_hot_set),
		cmocka_unit_test(test_shrinking),
		cmocka_unit_test(test_uncertain),
		cmocka_unit_test(test_bandwidth),
		cmocka_unit_test(test_hopeless),
		cmocka_unit_test(test_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
