/* SPDX-License-Identifier: MIT */
/*
 * page_set_test.c - the set of pages against an array of bytes
 */
#undef NDEBUG
#include "space/page_set.h"
#include "test_support.h"

static bool has(const struct tide_page_set *set, uint64_t page)
{
	return set->word[page / 64] & tide_bit(page);
}

static void add_range(struct tide_page_set *set, uint64_t first, uint64_t end)
{
	for (uint64_t page = first; page < end; page++)
		tide_page_set_add_word(set, page / 64, tide_bit(page));
}

static void expect(const struct tide_page_set *set, const uint8_t *model)
{
	uint64_t pages = 0;

	assert_true(tide_page_set_is_valid(set));
	for (uint64_t page = 0; page < set->npages; page++) {
		assert_int_equal(has(set, page), model[page]);
		pages += model[page];
	}
	assert_int_equal(tide_page_set_count(set), pages);
	assert_int_equal(tide_page_set_empty(set), pages == 0);
}

static void random_call(struct tide_page_set *set, struct tide_page_set *other,
			uint8_t *model, uint64_t seed)
{
	uint64_t first = (seed >> 10) % set->npages;
	uint64_t n = (seed >> 33) % 300;
	uint64_t word = first / 64;
	uint64_t bits = 1ull << first % 64;

	if (n > set->npages - first)
		n = set->npages - first;
	switch (seed >> 61) {
	case 0:
		add_range(set, first, first + n);
		memset(model + first, 1, n);
		break;
	case 1:
		tide_page_set_drop(set, word, bits);
		model[first] = 0;
		break;
	case 2: {
		uint64_t block[64] = { 0 };
		uint64_t at = word / 64;

		block[word % 64] = bits;
		tide_page_set_add_block(set, at, block, 1ull << word % 64);
		model[first] = 1;
		break;
	}
	case 3:
		tide_page_set_clear(other);
		add_range(other, first, first + n);
		tide_page_set_merge(set, other);
		memset(model + first, 1, n);
		break;
	case 4:
		if (n < 5) {
			tide_page_set_clear(set);
			memset(model, 0, set->npages);
		} else if (n < 8) {
			tide_page_set_fill(set);
			memset(model, 1, set->npages);
		}
		break;
	default:
		tide_page_set_add_word(set, word, bits);
		model[first] = 1;
	}
}

static void test_against_model(void **state)
{
	static const uint64_t sizes[] = { 1, 63, 64, 65, 4096, 4097, 300000 };
	uint64_t seed = test_seed();

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct tide_page_set set, other;
		uint8_t *model = calloc(sizes[i], 1);

		assert_int_equal(tide_page_set_init(&set, sizes[i]), 0);
		assert_int_equal(tide_page_set_init(&other, sizes[i]), 0);
		for (uint32_t k = 0; k < 1000 * test_long(); k++) {
			seed = seed * 6364136223846793005ull +
			       1442695040888963407ull;
			random_call(&set, &other, model, seed);
			if (k % 50 == 0)
				expect(&set, model);
		}
		expect(&set, model);
		tide_page_set_fini(&set);
		tide_page_set_fini(&other);
		free(model);
	}
}

/* The one word at the far end of 1 TiB is found without a walk, and the last
 * one is not run past. */
static void test_sparse(void **state)
{
	const uint64_t npages = 1ull << 28;
	struct tide_page_set set;

	(void)state;
	assert_int_equal(tide_page_set_init(&set, npages), 0);
	add_range(&set, npages - 1, npages);
	assert_int_equal(tide_page_set_next(&set, 0), npages / 64 - 1);
	assert_int_equal(tide_page_set_next(&set, npages / 64), npages / 64);
	tide_page_set_clear(&set);
	assert_int_equal(tide_page_set_next(&set, 0), npages / 64);
	tide_page_set_fini(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "random calls match an array", test_against_model, NULL, NULL,
		  NULL },
		{ "one page of 1 TiB", test_sparse, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
