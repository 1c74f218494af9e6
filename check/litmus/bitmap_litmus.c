/* SPDX-License-Identifier: MIT */
/*
 * bitmap_litmus.c - the dirty bitmap: set, range, take, clear, peek
 *
 * What    src/log/bitmap.c as shipped: its three levels, full runs, and the
 *         summary that a clear lowers.  K10, K11.
 * Claim   nothing that is set is lost: what was written to a page before its
 *         bit was set is in the copy that a take (a clear) made when it found
 *         the bit, or the bit is found by the next take; and a take that
 *         begins after a set has returned finds the bit, whatever other sets
 *         are in the middle of.  Each bit that is set once is found once (C1,
 *         C6).
 * Bounds  one taker, as the bitmap demands; one or two writers, each of one
 *         bit.  Two bits share a word, or a word of level 1, or of level 2
 *         only: further ones meet no word that these do not.  One take beside
 *         the writers and one after them: a take leaves at most a summary bit
 *         too many behind, and the second take begins with that; programs that
 *         begin with such a bit, or with a word that is being cleared, say so.
 */
#include "litmus.h"

#include <string.h>

#include "log/bitmap.h"

#define PAGES 4u
#define NBITS (2u * 64 * 64 + 64)

/* Which bits the programs are about; the page behind each and its copy. */
static const uint64_t bit_of[PAGES] = { 0, 1, 64, 4096 };
static uint64_t page[PAGES], copy[PAGES];
static uint32_t found_count[PAGES];
static uint32_t done;

static struct tide_bitmap bitmap;
static _Atomic uint64_t words[NBITS / 64 + 8];

/* As tide_bitmap_init(), without its malloc. */
static void setup_of(uint64_t nbits)
{
	_Atomic uint64_t *at = words;
	uint64_t n = nbits;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		atomic_init(&words[i], 0);
	bitmap.nbits = nbits;
	for (int level = 0; level < TIDE_BITMAP_LEVELS; level++) {
		n = tide_words(n);
		bitmap.nwords[level] = n;
		bitmap.level[level] = at;
		at += n;
	}
	bitmap.full = at;
	memset(page, 0, sizeof(page));
	memset(copy, 0, sizeof(copy));
	memset(found_count, 0, sizeof(found_count));
	done = 0;
}

static void setup(void)
{
	setup_of(NBITS);
}

static void setup_two_words(void)
{
	setup_of(128);
}

static void write_page(uint32_t i)
{
	explore_store(&page[i], 8, 1, __ATOMIC_RELAXED, EXPLORE_HERE);
}

static void read_pages(uint64_t word, uint64_t bits)
{
	for (uint32_t i = 0; i < PAGES; i++) {
		if (bit_of[i] / 64 != word || !(bits & tide_bit(bit_of[i])))
			continue;
		found_count[i]++;
		copy[i] = explore_load(&page[i], 8, __ATOMIC_RELAXED,
				       EXPLORE_HERE);
	}
}

static void found(void *opaque, uint64_t word, uint64_t bits)
{
	(void)opaque;
	read_pages(word, bits);
}

static void take(void)
{
	(void)tide_bitmap_take(&bitmap, found, NULL);
}

static void clear(uint64_t word, uint64_t bits)
{
	read_pages(word, tide_bitmap_and_not(&bitmap, word, bits));
}

/* The writers have ended, and one more take. */
static void nothing_lost(void)
{
	take();
	for (uint32_t i = 0; i < PAGES; i++)
		explore_assert(copy[i] == page[i], "what is set is found",
			       EXPLORE_HERE);
}

static void found_once(void)
{
	nothing_lost();
	for (uint32_t i = 0; i < PAGES; i++)
		explore_assert(found_count[i] == page[i], "found once",
			       EXPLORE_HERE);
}

/* Writers. */
static void set(uint32_t i)
{
	write_page(i);
	tide_bitmap_set(&bitmap, bit_of[i]);
}

static void set_0(void)
{
	set(0);
}

static void set_1(void)
{
	set(1);
}

static void set_64(void)
{
	set(2);
}

static void set_4096(void)
{
	set(3);
}

static void set_1_is_done(void)
{
	set(1);
	explore_store(&done, 4, 1, __ATOMIC_RELEASE, EXPLORE_HERE);
}

static void wait_until_done(void)
{
	explore_assume(explore_load(&done, 4, __ATOMIC_ACQUIRE, EXPLORE_HERE));
}

/* Beside another's set of the same word, which need not be over. */
static void take_after_it(void)
{
	wait_until_done();
	take();
	explore_assert(copy[1] == 1, "a take finds what was set before it",
		       EXPLORE_HERE);
}

static void take_before_and_after_it(void)
{
	take();
	take_after_it();
}

static void clear_before_take_after_it(void)
{
	clear(0, 1);
	take_after_it();
}

/* Summary bits over words that are empty: a writer finds them and leaves them,
 * a taker takes them and looks at the words. */
static void setup_stale_summary(void)
{
	setup();
	tide_bitmap_set(&bitmap, 0);
	tide_bitmap_set(&bitmap, 4096);
	atomic_init(&bitmap.level[0][0], 0);
	atomic_init(&bitmap.level[0][64], 0);
}

static void setup_bit_0(void)
{
	setup();
	tide_bitmap_set(&bitmap, 0);
}

static void clear_0(void)
{
	clear(0, 1);
}

static void clear_what_is_full(void)
{
	explore_assert(tide_bitmap_and_not(&bitmap, 0, 1) == 1,
		       "the caller is told what it cleared", EXPLORE_HERE);
	explore_assert(!tide_bitmap_and_not(&bitmap, 0, 1), "it is cleared",
		       EXPLORE_HERE);
}

static void clear_0_and_take(void)
{
	clear(0, 1);
	take();
}

static void clear_both_of_word_0(void)
{
	clear(0, 3);
}

static void put_back(void *opaque, uint64_t word, uint64_t bits)
{
	(void)opaque;
	tide_bitmap_set_word(&bitmap, word, bits);
}

/* What an error of the flush makes of a GET (log/dirty_log.c). */
static void take_and_put_back(void)
{
	(void)tide_bitmap_take(&bitmap, put_back, NULL);
}

static void take_put_back_and_take(void)
{
	(void)tide_bitmap_take(&bitmap, put_back, NULL);
	take();
}

/* Ranges, and runs that are full. */
static void fill(void)
{
	write_page(0);
	write_page(2);
	tide_bitmap_set_range(&bitmap, 0, bitmap.nbits);
}

static void set_range_over_words(void)
{
	write_page(1);
	write_page(2);
	tide_bitmap_set_range(&bitmap, 1, 64);
}

/* The end of a run, all of the next, and the beginning of the one behind. */
static void set_range_over_runs(void)
{
	write_page(3);
	tide_bitmap_set_range(&bitmap, 4095, 4098);
}

static uint64_t taken_before;

static void take_and_count(void)
{
	taken_before = tide_bitmap_take(&bitmap, found, NULL);
}

static void range_taken_once(void)
{
	uint64_t taken = taken_before;

	taken += tide_bitmap_take(&bitmap, found, NULL);
	explore_assert(taken == 4098 && copy[3] == page[3],
		       "each bit of the range once", EXPLORE_HERE);
}

static void setup_full(void)
{
	setup_two_words();
	tide_bitmap_set_range(&bitmap, 0, bitmap.nbits);
}

static void setup_full_one_word(void)
{
	setup_of(2);
	tide_bitmap_set_range(&bitmap, 0, 2);
}

static void fill_one_word(void)
{
	write_page(0);
	write_page(1);
	tide_bitmap_set_range(&bitmap, 0, 2);
}

static void test_1(void)
{
	explore_assert(tide_bitmap_test(&bitmap, 1), "never cleared",
		       EXPLORE_HERE);
}

/* Peeks. */
static uint64_t peeked;

static void setup_peek(void)
{
	setup();
	peeked = 0;
}

static void setup_peek_full(void)
{
	setup_full_one_word();
	peeked = 0;
}

static void seen(void *opaque, uint64_t word, uint64_t bits)
{
	(void)opaque;
	if (word)
		return;
	peeked |= bits;
	for (uint32_t i = 0; i < 2; i++) {
		if (bits & tide_bit(i))
			explore_assert(
				explore_load(&page[i], 8, __ATOMIC_RELAXED,
					     EXPLORE_HERE) == 1,
				"written before it was set", EXPLORE_HERE);
	}
}

static void peek(void)
{
	tide_bitmap_peek(&bitmap, seen, NULL);
}

static void peek_after_it(void)
{
	wait_until_done();
	explore_assert(!tide_bitmap_looks_empty(&bitmap), "not empty",
		       EXPLORE_HERE);
	explore_assert(tide_bitmap_test(&bitmap, 1), "set", EXPLORE_HERE);
	peek();
	explore_assert(peeked & 2, "a peek finds what was set before it",
		       EXPLORE_HERE);
}

static void seen_full(void *opaque, uint64_t word, uint64_t bits)
{
	(void)opaque;
	(void)word;
	peeked |= bits;
}

static void peek_full(void)
{
	tide_bitmap_peek(&bitmap, seen_full, NULL);
	explore_assert(peeked & 2, "never cleared", EXPLORE_HERE);
}

#define PROGRAM(name_, setup_, final_, ...)                                 \
	.program = { .name = (name_),                                       \
		     .threads = sizeof((void (*[])(void)){ __VA_ARGS__ }) / \
				sizeof(void (*)(void)),                     \
		     .init = (setup_),                                      \
		     .final = (final_),                                     \
		     .thread = { __VA_ARGS__ } }

static const struct litmus all[] = {
	/* K10: two writers, one taker. */
	{ PROGRAM("bitmap-one-word", setup, found_once, set_0, set_1, take),
	  .executions = 128 },
	{ PROGRAM("bitmap-two-words", setup, found_once, set_0, set_64, take),
	  .executions = 66 },
	{ PROGRAM("bitmap-two-runs", setup, found_once, set_0, set_4096, take),
	  .executions = 18 },
	{ PROGRAM("bitmap-one-bit", setup, nothing_lost, set_0, set_0, take),
	  .executions = 258 },
	{ PROGRAM("bitmap-stale-summary", setup_stale_summary, found_once,
		  set_0, set_4096, take),
	  .executions = 43 },
	/* While another's set is not over. */
	{ PROGRAM("bitmap-take-after-a-set", setup, nothing_lost, set_0,
		  set_1_is_done, take_after_it),
	  .executions = 64 },
	{ PROGRAM("bitmap-take-before-and-after-a-set", setup, nothing_lost,
		  set_0, set_1_is_done, take_before_and_after_it),
	  .executions = 184 },
	{ PROGRAM("bitmap-clear-before-a-set", setup_bit_0, nothing_lost, set_0,
		  set_1_is_done, clear_before_take_after_it),
	  .executions = 2318 },
	/* K11, and the summary that a clear lowers. */
	{ PROGRAM("bitmap-clear-one-word", setup_bit_0, nothing_lost, set_0,
		  set_1, clear_0),
	  .executions = 1273 },
	{ PROGRAM("bitmap-clear-two-words", setup_bit_0, nothing_lost, set_1,
		  set_64, clear_0_and_take),
	  .executions = 3492 },
	{ PROGRAM("bitmap-clear-two-runs", setup_bit_0, nothing_lost, set_64,
		  set_4096, clear_0),
	  .executions = 144 },
	{ PROGRAM("bitmap-clear-what-is-set", setup, nothing_lost, set_0, set_1,
		  clear_both_of_word_0),
	  .executions = 13582 },
	/* Put back. */
	{ PROGRAM("bitmap-put-back", setup_bit_0, nothing_lost, set_0, set_1,
		  take_and_put_back),
	  .executions = 9880 },
	{ PROGRAM("bitmap-put-back-and-take", setup_bit_0, nothing_lost, set_64,
		  take_put_back_and_take),
	  .executions = 73 },
	/* Ranges and full runs. */
	{ PROGRAM("bitmap-range-over-words", setup_two_words, found_once,
		  set_range_over_words, take),
	  .executions = 6 },
	{ PROGRAM("bitmap-range-over-runs", setup, range_taken_once,
		  set_range_over_runs, take_and_count),
	  .executions = 9 },
	{ PROGRAM("bitmap-fill", setup_two_words, nothing_lost, fill, set_64,
		  take),
	  .executions = 12 },
	{ PROGRAM("bitmap-fill-twice", setup_two_words, nothing_lost, fill,
		  fill, take),
	  .executions = 42 },
	{ PROGRAM("bitmap-fill-and-clear", setup_full_one_word, nothing_lost,
		  fill_one_word, clear_0),
	  .executions = 4 },
	{ PROGRAM("bitmap-full-and-clear", setup_full_one_word, nothing_lost,
		  set_1, clear_0),
	  .executions = 40 },
	{ PROGRAM("bitmap-full-two-words-and-clear", setup_full, nothing_lost,
		  set_64, clear_0_and_take),
	  .executions = 61 },
	{ PROGRAM("bitmap-clear-full", setup_full_one_word, NULL, set_1,
		  clear_what_is_full),
	  .executions = 44 },
	{ PROGRAM("bitmap-full-clear-and-test", setup_full_one_word, NULL,
		  test_1, clear_0),
	  .executions = 3 },
	{ PROGRAM("bitmap-full-clear-and-peek", setup_peek_full, NULL,
		  peek_full, clear_0),
	  .executions = 4 },
	/* Peeks. */
	{ PROGRAM("bitmap-peek-after-a-set", setup_peek, NULL, set_0,
		  set_1_is_done, peek_after_it),
	  .executions = 66 },
	{ PROGRAM("bitmap-peek-and-take", setup_peek, nothing_lost, set_0, take,
		  peek),
	  .executions = 7 },
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
