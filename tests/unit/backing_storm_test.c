/* SPDX-License-Identifier: MIT */
/*
 * backing_storm_test.c - guests, swap, merges and discards at once
 *
 * The first OWN pages belong to one writer each, who fills them with one
 * value, so that there is something to merge, or discards them.  In the others
 * each writer has its word.  Every writer knows what it wrote last, and looks.
 *
 * A guest's accesses are made under the lock of the mappings, as if each were
 * followed by a safe point; those of who holds a reference are not, so that
 * ThreadSanitizer sees a frame that is taken away too early.
 */
#undef NDEBUG
#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/lock.h"
#include "mmu/host.h"
#include "test_support.h"

#define FRAMES 16u
#define WORDS (TIDE_PAGE_SIZE / sizeof(uint64_t))
#define WRITERS 3u
#define OWN 24u
#define PAGES 48u

struct mapping {
	bool present, dirty;
	uint64_t pfn;
};

struct storm {
	struct tide_backing *backing;
	uint64_t host;
	struct tide_lock lock;
	struct mapping map[PAGES];
	uint32_t inside[PAGES], sequence[PAGES];
	_Atomic bool stop;
};

struct storm_writer {
	pthread_t thread;
	struct storm *storm;
	uint32_t index;
	uint64_t seed, expected[PAGES];
};

static uint32_t random_below(uint64_t *seed, uint32_t limit)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*seed >> 33) % limit;
}

static int storm_start(void *opaque, uint64_t host, uint64_t npages)
{
	struct storm *storm = opaque;
	uint64_t page = (host - storm->host) / TIDE_PAGE_SIZE;

	tide_lock_acquire(&storm->lock);
	for (uint64_t i = page; i < page + npages; i++) {
		storm->inside[i]++;
		if (storm->map[i].dirty)
			backing_page_dirty(storm->backing, storm->map[i].pfn);
		storm->map[i] = (struct mapping){ .present = false };
	}
	tide_lock_release(&storm->lock);
	return 0;
}

static void storm_end(void *opaque, uint64_t host, uint64_t npages)
{
	struct storm *storm = opaque;
	uint64_t page = (host - storm->host) / TIDE_PAGE_SIZE;

	tide_lock_acquire(&storm->lock);
	for (uint64_t i = page; i < page + npages; i++) {
		storm->inside[i]--;
		storm->sequence[i]++;
	}
	tide_lock_release(&storm->lock);
}

static void storm_written(void *opaque, uint64_t host, uint64_t npages)
{
	(void)opaque;
	(void)host;
	(void)npages;
}

static _Atomic uint64_t *word_of(uint64_t pfn, uint32_t word)
{
	return (_Atomic uint64_t *)(uintptr_t)(pfn << TIDE_PAGE_SHIFT) + word;
}

static void storm_put_word(uint64_t pfn, uint32_t word, uint64_t value)
{
	/* Relaxed: a guest's store. */
	atomic_store_explicit(word_of(pfn, word), value, memory_order_relaxed);
}

static void storm_map(struct storm *storm, uint32_t page, uint32_t sequence)
{
	struct host_page got;
	int err = backing_get(storm->backing,
			      storm->host + page * TIDE_PAGE_SIZE, true, &got);

	assert(!err && got.writable);
	tide_lock_acquire(&storm->lock);
	if (!storm->inside[page] && storm->sequence[page] == sequence) {
		storm->map[page].present = true;
		storm->map[page].pfn = got.pfn;
	}
	tide_lock_release(&storm->lock);
	backing_put(storm->backing, got.pfn);
}

/* By the mapping, which is made if need be.  @ret_old may be NULL. */
static void storm_access(struct storm *storm, uint32_t page, uint32_t word,
			 uint64_t *ret_old, uint64_t value)
{
	for (;;) {
		struct mapping *map = &storm->map[page];
		uint32_t sequence;

		tide_lock_acquire(&storm->lock);
		sequence = storm->sequence[page];
		if (map->present) {
			if (ret_old)
				/* Relaxed: a guest's load. */
				*ret_old = atomic_load_explicit(
					word_of(map->pfn, word),
					memory_order_relaxed);
			storm_put_word(map->pfn, word, value);
			map->dirty = true;
		}
		bool done = map->present;
		tide_lock_release(&storm->lock);
		if (done)
			return;
		storm_map(storm, page, sequence);
	}
}

/* By a pin of the frame that was mapped a moment ago. */
static bool storm_pinned_store(struct storm *storm, uint32_t page,
			       uint32_t word, uint64_t value)
{
	uint64_t host = storm->host + page * TIDE_PAGE_SIZE;
	uint64_t pfn;

	tide_lock_acquire(&storm->lock);
	pfn = storm->map[page].present ? storm->map[page].pfn : 0;
	tide_lock_release(&storm->lock);
	if (!pfn || !backing_pin(storm->backing, host, pfn))
		return false;
	storm_put_word(pfn, word, value);
	backing_page_dirty(storm->backing, pfn);
	backing_put(storm->backing, pfn);
	return true;
}

static void storm_fill(struct storm_writer *own, uint32_t page)
{
	struct storm *storm = own->storm;
	struct host_page got;
	int err = backing_get(storm->backing,
			      storm->host + page * TIDE_PAGE_SIZE, true, &got);

	assert(!err);
	own->expected[page] = random_below(&own->seed, 3);
	for (uint32_t word = 0; word < WORDS; word++)
		storm_put_word(got.pfn, word, own->expected[page]);
	backing_page_dirty(storm->backing, got.pfn);
	backing_put(storm->backing, got.pfn);
}

static void storm_check(struct storm_writer *own, uint32_t page)
{
	struct storm *storm = own->storm;
	uint64_t words[WORDS];
	const void *host =
		(void *)(uintptr_t)(storm->host + page * TIDE_PAGE_SIZE);
	int err = tide_backing_read(storm->backing, host, words, sizeof(words));

	assert(!err);
	for (uint32_t word = 0; page < OWN && word < WORDS; word++)
		assert(words[word] == own->expected[page]);
	assert(words[own->index] == own->expected[page]);
}

static void storm_step(struct storm_writer *own)
{
	struct storm *storm = own->storm;
	uint32_t page = random_below(&own->seed, PAGES);
	uint64_t value = random_below(&own->seed, 1000), old;
	int err;

	if (page < OWN) {
		page -= page % WRITERS;
		page += own->index;
		switch (random_below(&own->seed, 4)) {
		case 0:
			err = tide_backing_discard(storm->backing, page, 1);
			assert(!err);
			own->expected[page] = 0;
			break;
		case 1:
			storm_check(own, page);
			break;
		default:
			storm_fill(own, page);
			break;
		}
		return;
	}
	switch (random_below(&own->seed, 4)) {
	case 0:
		storm_check(own, page);
		return;
	case 1:
		if (storm_pinned_store(storm, page, own->index, value))
			break;
		return;
	default:
		storm_access(storm, page, own->index, &old, value);
		assert(old == own->expected[page]);
		break;
	}
	own->expected[page] = value;
}

static void *storm_write(void *opaque)
{
	struct storm_writer *own = opaque;

	for (uint32_t i = 0; i < 20000 * test_long(); i++)
		storm_step(own);
	return NULL;
}

static bool storm_goes_on(struct storm *storm)
{
	/* Relaxed: only to end. */
	return !atomic_load_explicit(&storm->stop, memory_order_relaxed);
}

static void *storm_swap(void *opaque)
{
	struct storm *storm = opaque;
	uint64_t seed = storm->host;

	while (storm_goes_on(storm)) {
		uint32_t first = random_below(&seed, PAGES - 3);
		int ret = tide_backing_swap_out(storm->backing, first, 3);

		assert(ret >= 0);
	}
	return NULL;
}

static void *storm_merge(void *opaque)
{
	struct storm *storm = opaque;

	while (storm_goes_on(storm)) {
		int ret = tide_backing_merge(storm->backing, 0, PAGES);

		assert(ret >= 0);
		backing_check(storm->backing);
	}
	return NULL;
}

static void storm_run(struct storm *storm)
{
	struct storm_writer writers[WRITERS] = { 0 };
	pthread_t swapper, merger;
	uint64_t seed = test_seed();

	assert_int_equal(pthread_create(&swapper, NULL, storm_swap, storm), 0);
	assert_int_equal(pthread_create(&merger, NULL, storm_merge, storm), 0);
	for (uint32_t i = 0; i < WRITERS; i++) {
		writers[i].storm = storm;
		writers[i].index = i;
		writers[i].seed = seed + i;
		assert_int_equal(pthread_create(&writers[i].thread, NULL,
						storm_write, &writers[i]),
				 0);
	}
	for (uint32_t i = 0; i < WRITERS; i++)
		pthread_join(writers[i].thread, NULL);
	/* Relaxed: as where it is read. */
	atomic_store_explicit(&storm->stop, true, memory_order_relaxed);
	pthread_join(swapper, NULL);
	pthread_join(merger, NULL);
	for (uint32_t i = 0; i < WRITERS; i++) {
		for (uint32_t page = 0; page < PAGES; page++) {
			if (page >= OWN || page % WRITERS == i)
				storm_check(&writers[i], page);
		}
	}
}

static void test_storm(void **state)
{
	static const struct backing_notifier notifier = {
		.invalidate_start = storm_start,
		.invalidate_end = storm_end,
		.written = storm_written,
	};
	struct tide_backing_config config = { .npages = PAGES,
					      .nframes = FRAMES };
	struct tide_backing_stats stats;
	static struct storm storm;

	(void)state;
	config.swap_fd = memfd_create("swap", MFD_CLOEXEC);
	assert_int_equal(tide_lock_init(&storm.lock, TIDE_RANK_MMU), 0);
	assert_int_equal(tide_backing_create(&config, &storm.backing), 0);
	storm.host = (uintptr_t)tide_backing_host(storm.backing);
	assert_int_equal(backing_set_notifier(storm.backing, &notifier, &storm),
			 0);
	storm_run(&storm);
	backing_check(storm.backing);
	tide_backing_stats(storm.backing, &stats);
	printf("# %ju out, %ju in, %ju merged, %ju broken\n",
	       (uintmax_t)stats.swap_outs, (uintmax_t)stats.swap_ins,
	       (uintmax_t)stats.merges, (uintmax_t)stats.breaks);
	assert_int_equal(backing_set_notifier(storm.backing, NULL, NULL), 0);
	tide_backing_destroy(storm.backing);
	tide_lock_fini(&storm.lock);
	close(config.swap_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "guests, swap, merges and discards at once: no write is lost",
		  test_storm, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
