/* SPDX-License-Identifier: MIT */
/*
 * bitmap_test.c - the atomic bitmap against its promises in log/bitmap.h
 *
 * Edges first (sizes around a word and a summary word), then random calls
 * against an array that cannot be wrong, then threads that set while one
 * takes.  Weak orders show here only under ThreadSanitizer, and not all of
 * them there: that is what the model checker is for.
 */
#undef NDEBUG
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log/bitmap.h"
#include "test_support.h"

struct taken {
	uint64_t nbits;
	uint8_t *count; /* how often each bit was handed out */
};

static void count_bits(void *opaque, uint64_t word, uint64_t bits)
{
	struct taken *taken = opaque;

	assert_true(bits != 0);
	for (; bits; bits &= bits - 1) {
		uint64_t bit = word * TIDE_WORD_BITS + tide_lowest(bits);

		assert_true(bit < taken->nbits);
		taken->count[bit]++;
	}
}

static const uint64_t sizes[] = {
	1, 63, 64, 65, 4095, 4096, 4097, 1000, 8192, 1u << 18, (1u << 18) + 1
};

static void test_edges(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct tide_bitmap bitmap;
		struct taken taken = { .nbits = sizes[i] };
		const uint64_t last = sizes[i] - 1;

		taken.count = calloc(sizes[i], 1);
		assert_int_equal(tide_bitmap_init(&bitmap, sizes[i]), 0);
		assert_int_equal(tide_bitmap_take(&bitmap, count_bits, &taken),
				 0);
		tide_bitmap_set(&bitmap, last);
		assert_true(tide_bitmap_test(&bitmap, last));
		assert_false(tide_bitmap_looks_empty(&bitmap));
		assert_int_equal(tide_bitmap_take(&bitmap, count_bits, &taken),
				 1);
		assert_int_equal(taken.count[last], 1);
		assert_false(tide_bitmap_test(&bitmap, last));
		assert_true(tide_bitmap_looks_empty(&bitmap));
		tide_bitmap_set_range(&bitmap, 0, sizes[i]);
		assert_int_equal(tide_bitmap_take(&bitmap, count_bits, &taken),
				 sizes[i]);
		tide_bitmap_fini(&bitmap);
		free(taken.count);
	}
}

static void test_no_bits(void **state)
{
	struct tide_bitmap bitmap;

	(void)state;
	assert_int_equal(tide_bitmap_init(&bitmap, 0), -EINVAL);
}

/* Both kinds of fence, and a bit that is marked again after it was taken. */
static void test_marks(void **state)
{
	(void)state;
	for (int asymmetric = 0; asymmetric < 2; asymmetric++) {
		struct tide_bitmap bitmap;
		struct taken taken = { .nbits = 1u << 13 };

		taken.count = calloc(taken.nbits, 1);
		assert_int_equal(tide_bitmap_init(&bitmap, taken.nbits), 0);
		for (int round = 1; round < 4; round++) {
			tide_bitmap_mark(&bitmap, 5000, asymmetric);
			tide_bitmap_mark(&bitmap, 5000, asymmetric);
			assert_int_equal(
				tide_bitmap_take(&bitmap, count_bits, &taken),
				1);
			assert_int_equal(taken.count[5000], round);
		}
		tide_bitmap_fini(&bitmap);
		free(taken.count);
	}
}

/* A summary bit that stands over an empty word, after and_not, must neither
 * hide a later mark nor produce a page. */
static void test_and_not(void **state)
{
	struct tide_bitmap bitmap;
	struct taken taken = { .nbits = 300 };

	(void)state;
	taken.count = calloc(taken.nbits, 1);
	assert_int_equal(tide_bitmap_init(&bitmap, taken.nbits), 0);
	tide_bitmap_set_range(&bitmap, 60, 10);
	assert_true(tide_bitmap_and_not(&bitmap, 1, ~0ull) == 0x3f);
	assert_true(tide_bitmap_and_not(&bitmap, 0, ~0ull) == 0xfull << 60);
	assert_true(tide_bitmap_and_not(&bitmap, 0, ~0ull) == 0);
	assert_int_equal(tide_bitmap_take(&bitmap, count_bits, &taken), 0);
	tide_bitmap_mark(&bitmap, 61, true);
	assert_int_equal(tide_bitmap_and_not(&bitmap, 0, 1ull << 61) != 0, 1);
	tide_bitmap_mark(&bitmap, 62, true);
	assert_int_equal(tide_bitmap_take(&bitmap, count_bits, &taken), 1);
	assert_int_equal(taken.count[62], 1);
	tide_bitmap_fini(&bitmap);
	free(taken.count);
}

/* Of @bitmap's bits that are set, by peek, those that @model has not and the
 * other way round. */
static void check_peek(const struct tide_bitmap *bitmap, struct taken *seen,
		       const uint8_t *model)
{
	memset(seen->count, 0, seen->nbits);
	tide_bitmap_peek(bitmap, count_bits, seen);
	assert_memory_equal(seen->count, model, seen->nbits);
}

#define RUN 4096u

/* Whole runs, and what is cut out of them. */
static void test_full_runs(void **state)
{
	static const struct {
		uint64_t first, count;
	} ranges[] = {
		{ 0, RUN },
		{ RUN, 3 * RUN },
		{ 1, 2 * RUN },
		{ RUN - 1, RUN + 2 },
		{ 0, 5 * RUN + 77 },
		{ 5 * RUN, 77 },
		{ 4 * RUN + 1, RUN },
		{ RUN / 2, RUN },
		{ 3 * RUN, 2 * RUN + 76 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		struct tide_bitmap bitmap;
		struct taken taken = { .nbits = 5 * RUN + 77 };
		uint8_t *model = calloc(taken.nbits, 1);
		const uint64_t cut = ranges[i].first + ranges[i].count / 2;

		taken.count = calloc(taken.nbits, 1);
		assert_int_equal(tide_bitmap_init(&bitmap, taken.nbits), 0);
		tide_bitmap_set_range(&bitmap, ranges[i].first,
				      ranges[i].count);
		memset(model + ranges[i].first, 1, ranges[i].count);
		assert_false(tide_bitmap_looks_empty(&bitmap));
		check_peek(&bitmap, &taken, model);
		tide_bitmap_mark(&bitmap, cut, true);
		assert_true(tide_bitmap_and_not(&bitmap, cut / 64,
						1ull << cut % 64) ==
			    1ull << cut % 64);
		assert_true(tide_bitmap_and_not(&bitmap, cut / 64,
						1ull << cut % 64) == 0);
		model[cut] = 0;
		for (uint64_t bit = 0; bit < taken.nbits; bit++)
			assert_int_equal(tide_bitmap_test(&bitmap, bit),
					 model[bit]);
		check_peek(&bitmap, &taken, model);
		memset(taken.count, 0, taken.nbits);
		assert_int_equal(tide_bitmap_take(&bitmap, count_bits, &taken),
				 ranges[i].count - 1);
		assert_memory_equal(taken.count, model, taken.nbits);
		assert_true(tide_bitmap_looks_empty(&bitmap));
		tide_bitmap_fini(&bitmap);
		free(taken.count);
		free(model);
	}
}

/* Pages of the bitmap's memory that exist. */
static size_t resident(const struct tide_bitmap *bitmap)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const size_t npages = bitmap->nwords[0] * 8 / page;
	unsigned char *in = malloc(npages);
	size_t n = 0;

	assert_int_equal(
		mincore((void *)(uintptr_t)bitmap->level[0], npages * page, in),
		0);
	for (size_t i = 0; i < npages; i++)
		n += in[i] & 1;
	free(in);
	return n;
}

static void ignore_bits(void *opaque, uint64_t word, uint64_t bits)
{
	(void)opaque;
	(void)word;
	(void)bits;
}

/* Nearly 2^30 pages are 128 MiB of bits.  Twice: memory that was freed is as
 * good as new. */
static void test_lazy(void **state)
{
	const uint64_t nbits = (1u << 30) - 5; /* the last run is short */

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct tide_bitmap bitmap;

		assert_int_equal(tide_bitmap_init(&bitmap, nbits), 0);
		assert_int_equal(resident(&bitmap), 0);
		tide_bitmap_set_range(&bitmap, 0, nbits);
		assert_true(tide_bitmap_test(&bitmap, nbits / 3));
		assert_int_equal(resident(&bitmap), 0);
		assert_int_equal(tide_bitmap_take(&bitmap, ignore_bits, NULL),
				 nbits);
		assert_int_equal(resident(&bitmap), 0);
		tide_bitmap_set(&bitmap, nbits / 2);
		tide_bitmap_set_range(&bitmap, nbits / 3, 2 * RUN);
		assert_int_equal(tide_bitmap_take(&bitmap, ignore_bits, NULL),
				 2 * RUN + 1);
		assert_in_range(resident(&bitmap), 1, 4);
		tide_bitmap_fini(&bitmap);
	}
}

static void test_against_model(void **state)
{
	uint64_t seed = test_seed();
	struct tide_bitmap bitmap;
	struct taken taken = { .nbits = (1u << 18) + 77 };
	uint8_t *model = calloc(taken.nbits, 1);

	(void)state;
	taken.count = calloc(taken.nbits, 1);
	assert_int_equal(tide_bitmap_init(&bitmap, taken.nbits), 0);
	for (uint32_t i = 0; i < 20000 * test_long(); i++) {
		uint64_t bit, n;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		bit = (seed >> 20) % taken.nbits;
		n = (seed >> 40) % (seed >> 56 & 15 ? 200 : 20000);
		if (n > taken.nbits - bit)
			n = taken.nbits - bit;
		switch (seed >> 61) {
		case 0:
			tide_bitmap_set_range(&bitmap, bit, n);
			memset(model + bit, 1, n);
			break;
		case 1:
			(void)tide_bitmap_and_not(&bitmap, bit / 64,
						  1ull << bit % 64);
			model[bit] = 0;
			break;
		case 2:
			if (n)
				break;
			check_peek(&bitmap, &taken, model);
			memset(taken.count, 0, taken.nbits);
			(void)tide_bitmap_take(&bitmap, count_bits, &taken);
			assert_memory_equal(taken.count, model, taken.nbits);
			memset(model, 0, taken.nbits);
			break;
		default:
			tide_bitmap_mark(&bitmap, bit, seed & 1);
			model[bit] = 1;
		}
		assert_int_equal(tide_bitmap_test(&bitmap, bit), model[bit]);
	}
	memset(taken.count, 0, taken.nbits);
	(void)tide_bitmap_take(&bitmap, count_bits, &taken);
	assert_memory_equal(taken.count, model, taken.nbits);
	tide_bitmap_fini(&bitmap);
	free(taken.count);
	free(model);
}

#define THREADS 3
#define WORDS 64u
#define ROUNDS 2000u

struct shared {
	struct tide_bitmap bitmap;
	bool asymmetric;
	/* What a bit stands for: thread t owns every THREADS-th. */
	_Atomic uint32_t data[WORDS * 64];
	uint32_t seen[WORDS * 64];
	_Atomic uint32_t running;
};

struct writer {
	struct shared *shared;
	uint32_t index;
	pthread_t thread;
};

static void *write_and_mark(void *opaque)
{
	struct writer *writer = opaque;
	struct shared *shared = writer->shared;

	for (uint32_t round = 1; round <= ROUNDS; round++) {
		for (uint32_t bit = writer->index; bit < WORDS * 64;
		     bit += THREADS * 37) {
			/* Relaxed: the mark orders it. */
			atomic_store_explicit(&shared->data[bit], round,
					      memory_order_relaxed);
			tide_bitmap_mark(&shared->bitmap, bit,
					 shared->asymmetric);
		}
	}
	/* RELEASE(test.done) pairs with ACQUIRE(test.wait): the last marks. */
	atomic_fetch_sub_explicit(&shared->running, 1, memory_order_release);
	return NULL;
}

static bool in_last_take[WORDS * 64];

static void note_bits(void *opaque, uint64_t word, uint64_t bits)
{
	(void)opaque;
	for (; bits; bits &= bits - 1)
		in_last_take[word * 64 + tide_lowest(bits)] = true;
}

static void take_and_read(struct shared *shared)
{
	memset(in_last_take, 0, sizeof(in_last_take));
	(void)tide_bitmap_take(&shared->bitmap, note_bits, NULL);
	assert_int_equal(tide_fence_heavy(shared->asymmetric), 0);
	for (uint32_t bit = 0; bit < WORDS * 64; bit++) {
		if (in_last_take[bit])
			/* Relaxed: the fence orders it. */
			shared->seen[bit] = atomic_load_explicit(
				&shared->data[bit], memory_order_relaxed);
	}
}

/* After the writers are done and one more take, what was read last is what
 * was written last (C4). */
static void storm(bool asymmetric)
{
	struct shared *shared = calloc(1, sizeof(*shared));
	struct writer writers[THREADS];
	uint32_t running;

	shared->asymmetric = asymmetric;
	assert_int_equal(tide_bitmap_init(&shared->bitmap, WORDS * 64), 0);
	atomic_init(&shared->running, THREADS);
	for (uint32_t t = 0; t < THREADS; t++) {
		writers[t] = (struct writer){ .shared = shared, .index = t };
		pthread_create(&writers[t].thread, NULL, write_and_mark,
			       &writers[t]);
	}
	do {
		/* ACQUIRE(test.wait) pairs with RELEASE(test.done). */
		running = atomic_load_explicit(&shared->running,
					       memory_order_acquire);
		take_and_read(shared);
	} while (running);
	for (uint32_t bit = 0; bit < WORDS * 64; bit++)
		assert_int_equal(shared->seen[bit],
				 /* Relaxed: the writers are done. */
				 atomic_load_explicit(&shared->data[bit],
						      memory_order_relaxed));
	for (uint32_t t = 0; t < THREADS; t++)
		pthread_join(writers[t].thread, NULL);
	tide_bitmap_fini(&shared->bitmap);
	free(shared);
}

static void test_storm_full_fences(void **state)
{
	(void)state;
	storm(false);
}

static void test_storm_light_fences(void **state)
{
	(void)state;
	if (!tide_fence_probe())
		SKIP("light fences", "this kernel has no membarrier");
	storm(true);
}

#define RUN_WORDS (RUN / 64)

/* Each writer fills its own run, again and again. */
static void *write_and_fill(void *opaque)
{
	struct writer *writer = opaque;
	struct shared *shared = writer->shared;

	for (uint32_t round = 1; round <= ROUNDS; round++) {
		/* Relaxed: the range orders it. */
		atomic_store_explicit(&shared->data[writer->index], round,
				      memory_order_relaxed);
		tide_bitmap_set_range(&shared->bitmap,
				      (uint64_t)writer->index * RUN, RUN);
	}
	/* RELEASE(test.filled) pairs with ACQUIRE(test.wait_filled). */
	atomic_fetch_sub_explicit(&shared->running, 1, memory_order_release);
	return NULL;
}

static void read_run(void *opaque, uint64_t word, uint64_t bits)
{
	struct shared *shared = opaque;

	/* Relaxed: the take orders it. */
	if (bits == ~0ull)
		shared->seen[word] = atomic_load_explicit(
			&shared->data[word / RUN_WORDS], memory_order_relaxed);
}

/* Takes all, or clears each word in its turn, which cuts runs up. */
static void harvest_runs(struct shared *shared, uint32_t round)
{
	if (round & 1) {
		(void)tide_bitmap_take(&shared->bitmap, read_run, shared);
		return;
	}
	for (uint64_t word = 0; word < THREADS * RUN_WORDS; word++)
		read_run(shared, word,
			 tide_bitmap_and_not(&shared->bitmap, word, ~0ull));
}

static void test_storm_runs(void **state)
{
	struct shared *shared = calloc(1, sizeof(*shared));
	struct writer writers[THREADS];
	uint32_t running, round = 0;

	(void)state;
	assert_int_equal(tide_bitmap_init(&shared->bitmap, THREADS * RUN), 0);
	atomic_init(&shared->running, THREADS);
	for (uint32_t t = 0; t < THREADS; t++) {
		writers[t] = (struct writer){ .shared = shared, .index = t };
		pthread_create(&writers[t].thread, NULL, write_and_fill,
			       &writers[t]);
	}
	do {
		/* ACQUIRE(test.wait_filled) pairs with
		 * RELEASE(test.filled). */
		running = atomic_load_explicit(&shared->running,
					       memory_order_acquire);
		harvest_runs(shared, round++);
	} while (running);
	for (uint32_t word = 0; word < THREADS * RUN_WORDS; word++)
		assert_int_equal(shared->seen[word], ROUNDS);
	for (uint32_t t = 0; t < THREADS; t++)
		pthread_join(writers[t].thread, NULL);
	tide_bitmap_fini(&shared->bitmap);
	free(shared);
}

/* What is cleared word by word costs a peek and a take no more than what was
 * never set. */
static void test_cleared_is_empty(void **state)
{
	const uint64_t nbits = 3 * RUN + 77;
	struct tide_bitmap bitmap;

	(void)state;
	assert_int_equal(tide_bitmap_init(&bitmap, nbits), 0);
	tide_bitmap_set_range(&bitmap, 0, nbits);
	for (uint64_t word = 0; word < tide_words(nbits); word++) {
		assert_false(tide_bitmap_looks_empty(&bitmap));
		(void)tide_bitmap_and_not(&bitmap, word, 1);
		(void)tide_bitmap_and_not(&bitmap, word, ~1ull);
	}
	assert_true(tide_bitmap_looks_empty(&bitmap));
	tide_bitmap_set(&bitmap, nbits - 1);
	assert_true(tide_bitmap_looks_empty_in(&bitmap, 0, 0));
	assert_false(tide_bitmap_looks_empty(&bitmap));
	tide_bitmap_fini(&bitmap);
}

#define ONCE_BITS (64u * RUN)

struct once {
	struct tide_bitmap bitmap;
	_Atomic uint64_t done; /* bits below are set */
	uint64_t found;
};

static void *set_each_once(void *opaque)
{
	struct once *once = opaque;

	for (uint64_t bit = 0; bit < ONCE_BITS; bit++) {
		tide_bitmap_set(&once->bitmap, bit);
		/* RELEASE(test.once_set) pairs with ACQUIRE(test.once_seen). */
		atomic_store_explicit(&once->done, bit + 1,
				      memory_order_release);
	}
	return NULL;
}

static void count_found(void *opaque, uint64_t word, uint64_t bits)
{
	struct once *once = opaque;

	(void)word;
	once->found += tide_popcount(bits);
}

static void clear_while_set(struct once *once)
{
	pthread_t thread;
	uint64_t done;

	assert_int_equal(pthread_create(&thread, NULL, set_each_once, once), 0);
	do {
		/* ACQUIRE(test.once_seen) pairs with RELEASE(test.once_set). */
		done = atomic_load_explicit(&once->done, memory_order_acquire);
		once->found += tide_popcount(tide_bitmap_and_not(
			&once->bitmap, done % ONCE_BITS / 64, ~0ull));
		if (done % RUN == 0)
			(void)tide_bitmap_take(&once->bitmap, count_found,
					       once);
	} while (done < ONCE_BITS);
	pthread_join(thread, NULL);
	(void)tide_bitmap_take(&once->bitmap, count_found, once);
}

/* The word that is being filled is emptied at the same time.  A summary that
 * got lost between the two would hide what is left from the take. */
static void test_storm_clear(void **state)
{
	(void)state;
	for (uint32_t round = 0; round < 16; round++) {
		struct once *once = calloc(1, sizeof(*once));

		assert_int_equal(tide_bitmap_init(&once->bitmap, ONCE_BITS), 0);
		clear_while_set(once);
		assert_int_equal(once->found, ONCE_BITS);
		tide_bitmap_fini(&once->bitmap);
		free(once);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "sizes around a word and a summary word", test_edges, NULL,
		  NULL, NULL },
		{ "a bitmap of nothing is refused", test_no_bits, NULL, NULL,
		  NULL },
		{ "a mark after a take is taken again", test_marks, NULL, NULL,
		  NULL },
		{ "and-not clears what it is given", test_and_not, NULL, NULL,
		  NULL },
		{ "what was cleared looks empty", test_cleared_is_empty, NULL,
		  NULL, NULL },
		{ "whole runs, and what is cut out of them", test_full_runs,
		  NULL, NULL, NULL },
		{ "what is not written to does not exist", test_lazy, NULL,
		  NULL, NULL },
		{ "random calls match an array", test_against_model, NULL, NULL,
		  NULL },
		{ "writers and a taker, full fences: nothing is lost",
		  test_storm_full_fences, NULL, NULL, NULL },
		{ "writers and a taker, light fences: nothing is lost",
		  test_storm_light_fences, NULL, NULL, NULL },
		{ "runs filled, taken and cut at once: nothing is lost",
		  test_storm_runs, NULL, NULL, NULL },
		{ "a word is cleared while it is set: nothing is lost",
		  test_storm_clear, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
