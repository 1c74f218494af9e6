/* SPDX-License-Identifier: MIT */
/*
 * dirty_log_test.c - GET and CLEAR over a mechanism that can be watched
 *
 * The mechanism is an array: a page is protected or it is not, and every hook
 * says when it was called.  Edges of GET, peek and CLEAR (K31 to K33, K38),
 * flushes that fail, random calls against arrays, and writers that fault and
 * mark while one harvests (K1, K10, K11).
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>

#include "log/dirty_log.h"
#include "test_support.h"

#define PAGES_MAX 10000u

/* What the hooks did, in order: "b" begin, "p" protect (one word), "e" end,
 * "f" flush, "h" one word handed out. */
struct mechanism {
	struct tide_dirty_log log;
	uint64_t npages;
	char calls[64]; /* as far as there is room */
	size_t ncalls;
	int flush_error;
	uint32_t flushes_good;	/* before flush_error */
	uint64_t mark_in_flush; /* this page, by somebody; ~0: none */
	uint8_t protections[PAGES_MAX];
	uint8_t handed[PAGES_MAX];
};

static void note(struct mechanism *mech, char what)
{
	if (mech->ncalls + 1 < sizeof(mech->calls))
		mech->calls[mech->ncalls++] = what;
	mech->calls[mech->ncalls] = 0;
}

static void begin(void *opaque)
{
	note(opaque, 'b');
}

static void count_pages(const struct mechanism *mech, uint8_t *pages,
			uint64_t word, uint64_t bits)
{
	assert_true(bits != 0);
	for (; bits; bits &= bits - 1) {
		uint64_t page = word * 64 + tide_lowest(bits);

		assert_true(page < mech->npages);
		pages[page]++;
	}
}

static void protect(void *opaque, uint64_t word, uint64_t mask)
{
	struct mechanism *mech = opaque;

	note(mech, 'p');
	count_pages(mech, mech->protections, word, mask);
	/* Thread 5: cleared first, protected after (K1). */
	for (uint64_t bits = mask; bits; bits &= bits - 1)
		assert_false(tide_bitmap_test(&mech->log.dirty,
					      word * 64 + tide_lowest(bits)));
}

static void end(void *opaque)
{
	note(opaque, 'e');
}

static int flush(void *opaque)
{
	struct mechanism *mech = opaque;

	note(mech, 'f');
	if (mech->mark_in_flush != ~0ull)
		tide_bitmap_set(&mech->log.dirty, mech->mark_in_flush);
	if (mech->flush_error && mech->flushes_good) {
		mech->flushes_good--;
		return 0;
	}
	return mech->flush_error;
}

static const struct tide_dirty_log_hooks hooks = { begin, protect, end, flush };

static void hand_out(void *opaque, uint64_t word, uint64_t bits)
{
	struct mechanism *mech = opaque;

	note(mech, 'h');
	count_pages(mech, mech->handed, word, bits);
}

static void forget_calls(struct mechanism *mech)
{
	mech->ncalls = 0;
	mech->calls[0] = 0;
	memset(mech->protections, 0, sizeof(mech->protections));
	memset(mech->handed, 0, sizeof(mech->handed));
}

static int get(struct mechanism *mech)
{
	int err;

	forget_calls(mech);
	err = tide_dirty_log_get(&mech->log, &hooks, mech, hand_out, mech);
	assert_int_equal(mech->log.taken_count, 0); /* I1 */
	return err;
}

static void peek(struct mechanism *mech)
{
	forget_calls(mech);
	tide_dirty_log_peek(&mech->log, hand_out, mech);
}

static int clear(struct mechanism *mech, uint64_t first_word, uint64_t npages,
		 const uint64_t *words)
{
	int err;

	forget_calls(mech);
	err = tide_dirty_log_clear(&mech->log, &hooks, mech, first_word, npages,
				   words);
	assert_int_equal(mech->log.taken_count, 0); /* I1 */
	return err;
}

static struct mechanism *mechanism(uint64_t npages)
{
	struct mechanism *mech = calloc(1, sizeof(*mech));

	assert_true(npages <= PAGES_MAX);
	mech->npages = npages;
	mech->mark_in_flush = ~0ull;
	assert_int_equal(tide_dirty_log_init(&mech->log, npages), 0);
	return mech;
}

static void mechanism_free(struct mechanism *mech)
{
	tide_dirty_log_fini(&mech->log);
	free(mech);
}

static void dirty(struct mechanism *mech, uint64_t page)
{
	tide_bitmap_set(&mech->log.dirty, page);
}

static bool is_dirty(struct mechanism *mech, uint64_t page)
{
	return tide_bitmap_test(&mech->log.dirty, page);
}

static void test_no_pages(void **state)
{
	struct tide_dirty_log log;

	(void)state;
	assert_int_equal(tide_dirty_log_init(&log, 0), -EINVAL);
}

static void test_nothing_dirty(void **state)
{
	static const uint64_t all[2] = { ~0ull, ~0ull };
	struct mechanism *mech = mechanism(128);

	(void)state;
	mech->flush_error = -ETIMEDOUT; /* not even asked */
	assert_int_equal(get(mech), 0);
	assert_string_equal(mech->calls, "be");
	assert_int_equal(clear(mech, 0, 128, all), 0);
	assert_string_equal(mech->calls, "be");
	peek(mech);
	assert_string_equal(mech->calls, "");
	mechanism_free(mech);
}

/* Take and protect all, one flush, then hand out (thread 5). */
static void test_order(void **state)
{
	struct mechanism *mech = mechanism(1000);

	(void)state;
	dirty(mech, 0);
	dirty(mech, 63);
	dirty(mech, 64);
	dirty(mech, 999);
	assert_int_equal(get(mech), 0);
	assert_string_equal(mech->calls, "bpppefhhh");
	for (uint64_t page = 0; page < 1000; page++) {
		bool was = page == 0 || page == 63 || page == 64 || page == 999;

		assert_int_equal(mech->protections[page], was);
		assert_int_equal(mech->handed[page], was);
		assert_false(is_dirty(mech, page));
	}
	assert_int_equal(get(mech), 0);
	assert_string_equal(mech->calls, "be");
	mechanism_free(mech);
}

/* More words than a batch holds: each batch is flushed before it is handed
 * out, and a flush that fails leaves what was not handed out dirty. */
static void test_batches(void **state)
{
	static const uint64_t all[5] = { ~0ull, ~0ull, ~0ull, ~0ull, ~0ull };
	struct mechanism *mech = mechanism(320);

	(void)state;
	mech->log.taken_max = 2;
	tide_bitmap_set_range(&mech->log.dirty, 0, 320);
	assert_int_equal(get(mech), 0);
	assert_string_equal(mech->calls, "bppefhhbppefhhbpefh");

	tide_bitmap_set_range(&mech->log.dirty, 0, 320);
	mech->flush_error = -ETIMEDOUT;
	mech->flushes_good = 1;
	assert_int_equal(get(mech), -ETIMEDOUT);
	for (uint64_t page = 0; page < 320; page++) {
		assert_int_equal(mech->handed[page], page < 128);
		assert_int_equal(is_dirty(mech, page), page >= 128);
	}

	mech->flushes_good = 1;
	assert_int_equal(clear(mech, 0, 320, all), -ETIMEDOUT);
	for (uint64_t page = 0; page < 320; page++)
		assert_int_equal(is_dirty(mech, page), page >= 256);
	mechanism_free(mech);
}

/* What is marked after the bits were taken is the next one's. */
static void test_late_mark(void **state)
{
	struct mechanism *mech = mechanism(1000);

	(void)state;
	dirty(mech, 70);
	mech->mark_in_flush = 71;
	assert_int_equal(get(mech), 0);
	assert_int_equal(mech->handed[70], 1);
	assert_int_equal(mech->handed[71], 0);
	mech->mark_in_flush = ~0ull;
	assert_int_equal(get(mech), 0);
	assert_int_equal(mech->handed[70], 0);
	assert_int_equal(mech->handed[71], 1);
	mechanism_free(mech);
}

static void test_failed_flush(void **state)
{
	static const uint64_t some[3] = { 1, 1ull << 3, ~0ull };
	struct mechanism *mech = mechanism(5000);

	(void)state;
	tide_bitmap_set_range(&mech->log.dirty, 0, 5000);
	mech->flush_error = -ETIMEDOUT;
	mech->mark_in_flush = 66;
	assert_int_equal(get(mech), -ETIMEDOUT);
	assert_null(strchr(mech->calls, 'h'));
	for (uint64_t page = 0; page < 5000; page++) {
		assert_int_equal(mech->protections[page], 1);
		assert_true(is_dirty(mech, page));
	}
	assert_int_equal(clear(mech, 1, 192, some), -ETIMEDOUT);
	for (uint64_t page = 0; page < 5000; page++)
		assert_true(is_dirty(mech, page));
	/* Nothing is lost, and nothing is left over. */
	mech->flush_error = 0;
	mech->mark_in_flush = ~0ull;
	assert_int_equal(get(mech), 0);
	for (uint64_t page = 0; page < 5000; page++)
		assert_int_equal(mech->handed[page], 1);
	assert_int_equal(get(mech), 0);
	assert_string_equal(mech->calls, "be");
	mechanism_free(mech);
}

static void test_peek(void **state)
{
	struct mechanism *mech = mechanism(1000);

	(void)state;
	dirty(mech, 5);
	dirty(mech, 700);
	for (int i = 0; i < 2; i++) {
		peek(mech);
		assert_string_equal(mech->calls, "hh");
		assert_int_equal(mech->handed[5], 1);
		assert_int_equal(mech->handed[700], 1);
	}
	assert_int_equal(get(mech), 0);
	assert_int_equal(mech->handed[5], 1);
	peek(mech);
	assert_string_equal(mech->calls, "");
	mechanism_free(mech);
}

/* Only what is set in both is cleared and protected, whatever lies around the
 * range. */
static void test_clear(void **state)
{
	static const uint64_t asked[2] = { 0x5, 1ull << 63 };
	struct mechanism *mech = mechanism(1000);

	(void)state;
	tide_bitmap_set_range(&mech->log.dirty, 0, 1000);
	assert_int_equal(clear(mech, 3, 128, asked), 0);
	assert_string_equal(mech->calls, "bppef");
	for (uint64_t page = 0; page < 1000; page++) {
		bool asked_for = page == 192 || page == 194 || page == 319;

		assert_int_equal(mech->protections[page], asked_for);
		assert_int_equal(is_dirty(mech, page), !asked_for);
		assert_int_equal(mech->handed[page], 0);
	}
	/* Asked for again, they are not set any more: nothing to do. */
	assert_int_equal(clear(mech, 3, 128, asked), 0);
	assert_string_equal(mech->calls, "be");
	assert_int_equal(get(mech), 0);
	assert_int_equal(mech->handed[193], 1);
	assert_int_equal(mech->handed[192], 0);
	mechanism_free(mech);
}

/* Sizes around a word: the tail can be cleared (K32, K33), and bits beyond it
 * are nobody's (K38). */
static void test_clear_tail(void **state)
{
	static const uint64_t sizes[] = { 1, 63, 64, 65, 127, 128, 130, 4097 };
	uint64_t all[65];

	(void)state;
	memset(all, 0xff, sizeof(all));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct mechanism *mech = mechanism(sizes[i]);
		const uint64_t last_word = (sizes[i] - 1) / 64;
		const uint64_t rest = sizes[i] - last_word * 64;

		tide_bitmap_set_range(&mech->log.dirty, 0, sizes[i]);
		/* No pages, anywhere: nothing happens. */
		assert_int_equal(clear(mech, 0, 0, NULL), 0);
		assert_int_equal(clear(mech, last_word, 0, NULL), 0);
		assert_int_equal(clear(mech, (sizes[i] + 63) / 64, 0, NULL), 0);
		assert_string_equal(mech->calls, "be");
		/* The last word alone, exactly read (K31). */
		assert_int_equal(clear(mech, last_word, rest, &all[64]), 0);
		for (uint64_t page = 0; page < sizes[i]; page++)
			assert_int_equal(is_dirty(mech, page),
					 page < last_word * 64);
		tide_bitmap_set_range(&mech->log.dirty, 0, sizes[i]);
		assert_int_equal(clear(mech, 0, sizes[i], all), 0);
		for (uint64_t page = 0; page < sizes[i]; page++)
			assert_int_equal(mech->protections[page], 1);
		assert_int_equal(get(mech), 0);
		assert_string_equal(mech->calls, "be");
		mechanism_free(mech);
	}
}

/* A count that ends inside a word leaves the pages behind it alone, dirty or
 * asked for as they may be. */
static void test_clear_part_of_word(void **state)
{
	static const uint64_t all[2] = { ~0ull, ~0ull };
	struct mechanism *mech = mechanism(1000);

	(void)state;
	tide_bitmap_set_range(&mech->log.dirty, 0, 1000);
	assert_int_equal(clear(mech, 1, 70, all), 0);
	for (uint64_t page = 0; page < 1000; page++)
		assert_int_equal(is_dirty(mech, page),
				 page < 64 || page >= 134);
	mechanism_free(mech);
}

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void check_get(struct mechanism *mech, uint8_t *model, int error)
{
	mech->flush_error = error;
	if (memchr(model, 1, mech->npages) && error) {
		assert_int_equal(get(mech), error);
		return;
	}
	assert_int_equal(get(mech), 0);
	assert_memory_equal(mech->handed, model, mech->npages);
	assert_memory_equal(mech->protections, model, mech->npages);
	memset(model, 0, mech->npages);
}

static void check_clear(struct mechanism *mech, uint8_t *model, uint64_t *seed,
			int error)
{
	uint64_t first = next(seed) % tide_words(mech->npages);
	uint64_t n = next(seed) % (mech->npages - first * 64) + 1;
	uint8_t cleared[PAGES_MAX] = { 0 };
	uint64_t words[PAGES_MAX / 64 + 1];
	bool any = false;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		words[i] = next(seed) | next(seed);
	for (uint64_t i = 0; i < n; i++) {
		if (!(words[i / 64] >> i % 64 & 1) || !model[first * 64 + i])
			continue;
		any = true;
		cleared[first * 64 + i] = 1;
		model[first * 64 + i] = error ? 1 : 0;
	}
	mech->flush_error = error;
	assert_int_equal(clear(mech, first, n, words), any ? error : 0);
	assert_memory_equal(mech->protections, cleared, mech->npages);
}

static void test_against_model(void **state)
{
	uint64_t seed = test_seed() | 1;
	struct mechanism *mech = mechanism(9001);
	uint8_t model[PAGES_MAX] = { 0 };

	(void)state;
	for (uint32_t i = 0; i < 3000 * test_long(); i++) {
		uint64_t dice = next(&seed);
		uint64_t page = dice % mech->npages;
		uint64_t n = (dice >> 32) % (dice >> 20 & 15 ? 100 : 9001);
		int error = dice >> 60 ? 0 : -ETIMEDOUT;

		n = n < mech->npages - page ? n : mech->npages - page;
		switch (dice >> 16 & 7) {
		case 0:
			check_get(mech, model, error);
			break;
		case 1:
		case 2:
			check_clear(mech, model, &seed, error);
			break;
		case 3:
			peek(mech);
			assert_memory_equal(mech->handed, model, mech->npages);
			break;
		default:
			tide_bitmap_set_range(&mech->log.dirty, page, n);
			memset(model + page, 1, n);
		}
	}
	check_get(mech, model, 0);
	mechanism_free(mech);
}

/*
 * Writers and one harvester on the same pages.  A writer that finds its page
 * protected faults: under the lock, it marks and makes it writable.  At the
 * end, the copy that the harvester made is what was written last.
 */
#define WRITERS 3u
#define STORM_PAGES 192u
#define ROUNDS 300u

static struct storm {
	struct tide_dirty_log log;
	pthread_mutex_t lock; /* the mechanism's: protection, one fault */
	bool writable[STORM_PAGES];
	_Atomic uint32_t writing[STORM_PAGES]; /* a writer is in this page */
	_Atomic uint32_t data[STORM_PAGES];
	uint32_t copy[STORM_PAGES];
	_Atomic uint32_t running;
	uint32_t flushes;
} * storm;

static void storm_begin(void *opaque)
{
	(void)opaque;
	pthread_mutex_lock(&storm->lock);
}

static void storm_protect(void *opaque, uint64_t word, uint64_t mask)
{
	(void)opaque;
	for (; mask; mask &= mask - 1)
		storm->writable[word * 64 + tide_lowest(mask)] = false;
}

static void storm_end(void *opaque)
{
	(void)opaque;
	pthread_mutex_unlock(&storm->lock);
}

/* Whoever had the page writable is out of it afterwards: a TLB flush.  Every
 * seventh fails, and waits for nobody. */
static int storm_flush(void *opaque)
{
	(void)opaque;
	if (++storm->flushes % 7 == 0)
		return -ETIMEDOUT;
	for (uint32_t page = 0; page < STORM_PAGES; page++) {
		/* ACQUIRE(test.flush) pairs with RELEASE(test.written). */
		while (atomic_load_explicit(&storm->writing[page],
					    memory_order_acquire))
			;
	}
	return 0;
}

static const struct tide_dirty_log_hooks storm_hooks = {
	storm_begin, storm_protect, storm_end, storm_flush
};

static void storm_copy(void *opaque, uint64_t word, uint64_t bits)
{
	(void)opaque;
	for (; bits; bits &= bits - 1) {
		uint64_t page = word * 64 + tide_lowest(bits);

		/* Relaxed: the flush orders it. */
		storm->copy[page] = atomic_load_explicit(&storm->data[page],
							 memory_order_relaxed);
	}
}

/* Writer t has every WRITERS-th page, so that they share words (K10). */
static void *storm_write(void *opaque)
{
	const uint32_t index = *(const uint32_t *)opaque;

	for (uint32_t round = 1; round <= ROUNDS; round++) {
		for (uint32_t page = index; page < STORM_PAGES;
		     page += WRITERS) {
			pthread_mutex_lock(&storm->lock);
			if (!storm->writable[page]) {
				tide_bitmap_set(&storm->log.dirty, page);
				storm->writable[page] = true;
			}
			/* Relaxed: the lock orders it against a flush. */
			atomic_store_explicit(&storm->writing[page], 1,
					      memory_order_relaxed);
			pthread_mutex_unlock(&storm->lock);
			/* Relaxed: the next store publishes it. */
			atomic_store_explicit(&storm->data[page], round,
					      memory_order_relaxed);
			/* RELEASE(test.written) pairs with
			 * ACQUIRE(test.flush). */
			atomic_store_explicit(&storm->writing[page], 0,
					      memory_order_release);
		}
	}
	/* RELEASE(test.done) pairs with ACQUIRE(test.wait). */
	atomic_fetch_sub_explicit(&storm->running, 1, memory_order_release);
	return NULL;
}

static void test_storm(void **state)
{
	pthread_t threads[WRITERS];
	uint32_t index[WRITERS], running;
	int err;

	(void)state;
	storm = calloc(1, sizeof(*storm));
	assert_int_equal(tide_dirty_log_init(&storm->log, STORM_PAGES), 0);
	pthread_mutex_init(&storm->lock, NULL);
	atomic_init(&storm->running, WRITERS);
	for (uint32_t t = 0; t < WRITERS; t++) {
		index[t] = t;
		pthread_create(&threads[t], NULL, storm_write, &index[t]);
	}
	do {
		/* ACQUIRE(test.wait) pairs with RELEASE(test.done). */
		running = atomic_load_explicit(&storm->running,
					       memory_order_acquire);
		err = tide_dirty_log_get(&storm->log, &storm_hooks, NULL,
					 storm_copy, NULL);
		assert_true(!err || err == -ETIMEDOUT);
	} while (running || err);
	for (uint32_t t = 0; t < WRITERS; t++)
		pthread_join(threads[t], NULL);
	for (uint32_t page = 0; page < STORM_PAGES; page++)
		assert_int_equal(storm->copy[page], ROUNDS);
	tide_dirty_log_fini(&storm->log);
	pthread_mutex_destroy(&storm->lock);
	free(storm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "a log of nothing is refused", test_no_pages, NULL, NULL,
		  NULL },
		{ "nothing dirty: no flush", test_nothing_dirty, NULL, NULL,
		  NULL },
		{ "take, protect, one flush, hand out", test_order, NULL, NULL,
		  NULL },
		{ "a batch is flushed, then handed out", test_batches, NULL,
		  NULL, NULL },
		{ "a mark beside GET is the next one's", test_late_mark, NULL,
		  NULL, NULL },
		{ "a flush that fails loses nothing", test_failed_flush, NULL,
		  NULL, NULL },
		{ "peek changes nothing", test_peek, NULL, NULL, NULL },
		{ "clear takes what is set on both sides", test_clear, NULL,
		  NULL, NULL },
		{ "clear reaches the tail and not beyond", test_clear_tail,
		  NULL, NULL, NULL },
		{ "clear of part of a word leaves the rest",
		  test_clear_part_of_word, NULL, NULL, NULL },
		{ "random calls match an array", test_against_model, NULL, NULL,
		  NULL },
		{ "writers that fault and a harvester lose nothing", test_storm,
		  NULL, NULL, NULL },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
