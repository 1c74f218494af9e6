/* SPDX-License-Identifier: MIT */
/*
 * heat_test.c - heat against an array of numbers that decay at once
 */
#undef NDEBUG
#include "heat.h"

#include <math.h>
#include <stdlib.h>

#include "test_support.h"

#define PAGES 20011u /* some blocks, and a part of one */
#define INTERVALS 60u

struct rig {
	struct heat *heat;
	double pages[PAGES];
	bool written[PAGES];
	uint32_t now;
};

/* The sum, and whether any was written. */
static double expected(const struct rig *rig, uint64_t first, uint64_t npages,
		       bool *ret_written)
{
	double sum = 0;

	*ret_written = false;
	for (uint64_t i = first; i < first + npages; i++) {
		sum += rig->pages[i];
		*ret_written |= rig->written[i];
	}
	return sum;
}

/* A byte of logarithm is right within a few percent. */
static void expect(const struct rig *rig, const struct heat *heat,
		   uint64_t first, uint64_t npages)
{
	bool written, is_written;
	double sum = expected(rig, first, npages, &written);
	double is = heat_of(heat, first, npages, rig->now, &is_written);

	assert_int_equal(is_written, written);
	assert_true(fabs(is - sum) <= 0.06 * sum + 1e-4 * (double)npages);
}

static void pass_interval(struct rig *rig)
{
	for (uint64_t i = 0; i < PAGES; i++)
		rig->pages[i] *= exp2(-1.0 / HEAT_HALF_LIFE);
	rig->now++;
}

static void write_pages(struct rig *rig, uint64_t first, uint64_t npages)
{
	assert_int_equal(heat_add(rig->heat, first, npages, rig->now), 0);
	for (uint64_t i = first; i < first + npages; i++) {
		rig->pages[i] += 1 - exp2(-1.0 / HEAT_HALF_LIFE);
		rig->written[i] = true;
	}
}

static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return *seed >> 20;
}

static void setup(struct rig *rig)
{
	*rig = (struct rig){ .heat = heat_create(PAGES) };
	assert_non_null(rig->heat);
}

/* Fails when a range is not the sum of its pages, wherever it lies. */
static void test_against_model(void **state)
{
	static struct rig rig;
	uint64_t seed = test_seed();

	(void)state;
	setup(&rig);
	expect(&rig, rig.heat, 0, PAGES);
	for (uint32_t i = 0; i < INTERVALS; i++) {
		uint64_t at = next_random(&seed) % 900;

		pass_interval(&rig);
		/* Not in every interval, so that decay is put off. */
		while (next_random(&seed) % 8 && at < PAGES) {
			uint64_t n = 1 + next_random(&seed) % 700;

			n = n < PAGES - at ? n : PAGES - at;
			write_pages(&rig, at, n);
			at += n + next_random(&seed) % 3000;
		}
		for (int j = 0; j < 200; j++) {
			uint64_t first = next_random(&seed) % PAGES;

			expect(&rig, rig.heat, first,
			       next_random(&seed) % (PAGES - first + 1));
		}
		expect(&rig, rig.heat, 0, PAGES);
	}
	heat_destroy(rig.heat);
}

/* Fails when a page that is always written is not fully hot, or does not cool
 * by half in the time that is said. */
static void test_decay(void **state)
{
	static struct rig rig;
	bool written;

	(void)state;
	setup(&rig);
	for (uint32_t i = 0; i < 40; i++) {
		pass_interval(&rig);
		write_pages(&rig, 700, 1);
	}
	assert_true(heat_of(rig.heat, 700, 1, 40, &written) > 0.97);
	assert_true(heat_of(rig.heat, 700, 1, 40, &written) <= 1);
	assert_true(
		fabs(heat_of(rig.heat, 700, 1, 40 + HEAT_HALF_LIFE, &written) -
		     0.5) < 0.02);
	assert_true(heat_of(rig.heat, 700, 1, 400, &written) < 1e-6);
	assert_true(written);
	assert_true(heat_of(rig.heat, 701, 1, 400, &written) == 0);
	assert_false(written);
	heat_destroy(rig.heat);
}

/* Fails when a copy is another, or follows what it was copied from. */
static void test_copy(void **state)
{
	static struct rig rig;
	struct heat *copy;

	(void)state;
	setup(&rig);
	copy = heat_copy(rig.heat);
	expect(&rig, copy, 0, PAGES);
	heat_destroy(copy);
	for (int i = 0; i < 9; i++) {
		pass_interval(&rig);
		write_pages(&rig, 511, 2);
		write_pages(&rig, PAGES - 1, 1);
	}
	copy = heat_copy(rig.heat);
	assert_int_equal(heat_add(rig.heat, 0, PAGES, rig.now + 1), 0);
	for (uint64_t first = 0; first < PAGES; first += 97)
		expect(&rig, copy, first, PAGES - first);
	heat_destroy(copy);
	heat_destroy(rig.heat);
}

/* Fails when a hot block is not found, or a cold one is. */
static void test_blocks(void **state)
{
	static struct rig rig;
	uint64_t seed = test_seed();
	uint64_t block = 0;
	double heat, min = 3;

	(void)state;
	setup(&rig);
	pass_interval(&rig);
	for (uint64_t i = 0; i < PAGES; i += HEAT_BLOCK) {
		uint64_t n = next_random(&seed) % 40;

		if (n && i + n <= PAGES)
			write_pages(&rig, i, n);
	}
	for (uint64_t i = 0; i < PAGES; i += HEAT_BLOCK) {
		uint64_t n = PAGES - i < HEAT_BLOCK ? PAGES - i : HEAT_BLOCK;
		bool written;
		double sum = expected(&rig, i, n, &written);

		if (sum <= min)
			continue;
		assert_true(
			heat_next_block(rig.heat, &block, rig.now, min, &heat));
		assert_int_equal(block, i / HEAT_BLOCK);
		assert_true(fabs(heat - sum) < 1e-3 * sum);
		block++;
	}
	assert_false(heat_next_block(rig.heat, &block, rig.now, min, &heat));
	heat_destroy(rig.heat);
}

/* Fails when runs are joined over a gap that is too large, or cut at one that
 * is not, or contain pages that are nearly cold at their ends. */
static void test_runs(void **state)
{
	static struct rig rig;
	uint64_t first = 0, npages;

	(void)state;
	setup(&rig);
	pass_interval(&rig);
	write_pages(&rig, 512, 300); /* once, and long ago */
	for (int i = 0; i < 12; i++)
		pass_interval(&rig);
	for (int i = 0; i < 6; i++) {
		pass_interval(&rig);
		write_pages(&rig, 520, 10);
		write_pages(&rig, 530 + HEAT_GAP, 1);
		write_pages(&rig, 531 + HEAT_GAP + HEAT_GAP + 1, 2);
		write_pages(&rig, 1023, 1);
	}
	assert_true(heat_next_run(rig.heat, 1, &first, &npages));
	assert_int_equal(first, 520);
	assert_int_equal(npages, 11 + HEAT_GAP);
	first += npages;
	assert_true(heat_next_run(rig.heat, 1, &first, &npages));
	assert_int_equal(first, 532 + 2 * HEAT_GAP);
	assert_int_equal(npages, 2);
	first += npages;
	assert_true(heat_next_run(rig.heat, 1, &first, &npages));
	assert_int_equal(first, 1023);
	assert_int_equal(npages, 1);
	first += npages;
	assert_false(heat_next_run(rig.heat, 1, &first, &npages));
	heat_destroy(rig.heat);
}

/* Pages of this process. */
static long resident(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	long size, pages;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%ld %ld", &size, &pages), 2);
	(void)fclose(file);
	return pages;
}

/* Fails when a large mapping costs memory before it is written. */
static void test_sparse(void **state)
{
	const uint64_t npages = 1ull << 26; /* 256 GiB */
	long before = resident();
	struct heat *heat = heat_create(npages);
	uint64_t block = 0;
	double sum;
	bool written;

	(void)state;
	assert_non_null(heat);
	assert_int_equal(heat_add(heat, npages - 1, 1, 1), 0);
	assert_true(heat_of(heat, 0, npages, 1, &written) > 0.2);
	assert_true(written);
	assert_true(heat_next_block(heat, &block, 1, 0.1, &sum));
	assert_int_equal(block, npages / HEAT_BLOCK - 1);
	/* A byte a page would be 16384; sanitizers have some of their own. */
	assert_true(resident() - before < 8000);
	heat_destroy(heat);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "a range is the sum of its pages", test_against_model, NULL,
		  NULL, NULL },
		{ "always hot, and half of it later", test_decay, NULL, NULL,
		  NULL },
		{ "a copy stays as it was", test_copy, NULL, NULL, NULL },
		{ "blocks with more heat than that", test_blocks, NULL, NULL,
		  NULL },
		{ "runs in a block", test_runs, NULL, NULL, NULL },
		{ "256 GiB, one page of them", test_sparse, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
