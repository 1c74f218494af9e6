/* SPDX-License-Identifier: MIT */
/*
 * ring_test.c - the dirty ring against its promises in log/ring.h
 *
 * Edges, then KVM's batches with what was got wrong about them (K44, K45,
 * K47), then contents that somebody hostile wrote, random calls against a
 * queue that cannot be wrong, and three threads (K40 to K42).  Weak orders
 * show there only under ThreadSanitizer, in the page behind an entry.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

#include "log/ring.h"
#include "test_support.h"

struct seen {
	uint32_t n;
	struct {
		uint32_t slot;
		uint64_t offset;
		uint64_t mask; /* of a batch */
	} at[TIDE_RING_ENTRIES_MAX];
};

static struct seen found, rearmed;

static void note_found(void *opaque, uint32_t slot, uint64_t offset)
{
	struct seen *seen = opaque;

	assert_true(seen->n < TIDE_RING_ENTRIES_MAX);
	seen->at[seen->n].slot = slot;
	seen->at[seen->n++].offset = offset;
}

static void note_batch(void *opaque, uint32_t slot, uint64_t offset,
		       uint64_t mask)
{
	struct seen *seen = opaque;

	assert_true(mask != 0); /* K44 */
	/* No page of a batch lies beyond the last there can be (K47). */
	assert_true(offset <= UINT64_MAX - 63 ||
		    !(mask >> (UINT64_MAX - offset) >> 1));
	assert_true(seen->n < TIDE_RING_ENTRIES_MAX);
	seen->at[seen->n].slot = slot;
	seen->at[seen->n].offset = offset;
	seen->at[seen->n++].mask = mask;
}

static uint32_t collect(struct tide_ring *ring)
{
	found.n = 0;
	return tide_ring_collect(ring, note_found, &found);
}

static uint32_t reset(struct tide_ring *ring, uint32_t max)
{
	rearmed.n = 0;
	return tide_ring_reset(ring, max, note_batch, &rearmed);
}

static void ring_of(struct tide_ring *ring, uint32_t entries)
{
	assert_int_equal(tide_ring_init(ring, entries), 0);
}

static void test_sizes(void **state)
{
	static const uint32_t bad[] = { 0,     1,      64,	 127,
					129,   192,    65535,	 65537,
					98304, 131072, 1u << 31, UINT32_MAX };
	struct tide_ring ring;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(tide_ring_init(&ring, bad[i]), -EINVAL);
	for (uint32_t n = 128; n <= TIDE_RING_ENTRIES_MAX; n *= 2) {
		ring_of(&ring, n);
		assert_int_equal(ring.soft_limit, n - TIDE_RING_RESERVED);
		tide_ring_fini(&ring);
	}
}

static void test_empty(void **state)
{
	struct tide_ring ring;

	(void)state;
	ring_of(&ring, 128);
	assert_int_equal(collect(&ring), 0);
	assert_int_equal(reset(&ring, UINT32_MAX), 0);
	assert_int_equal(rearmed.n, 0); /* K44 */
	assert_true(tide_ring_push(&ring, 1, 2));
	/* Dirty is not harvested. */
	assert_int_equal(reset(&ring, UINT32_MAX), 0);
	assert_int_equal(rearmed.n, 0);
	assert_int_equal(collect(&ring), 1);
	assert_int_equal(collect(&ring), 0);
	assert_int_equal(reset(&ring, 0), 0);
	assert_int_equal(rearmed.n, 0);
	assert_int_equal(reset(&ring, UINT32_MAX), 1);
	assert_int_equal(rearmed.n, 1);
	assert_int_equal(reset(&ring, UINT32_MAX), 0);
	assert_int_equal(rearmed.n, 0);
	tide_ring_fini(&ring);
}

/* Harvesting makes no room, resetting does; several times round. */
static void test_full(void **state)
{
	struct tide_ring ring;

	(void)state;
	ring_of(&ring, 128);
	for (uint32_t round = 0; round < 5; round++) {
		for (uint32_t i = 0; i < 128; i++) {
			assert_int_equal(tide_ring_used(&ring), i);
			assert_int_equal(tide_ring_soft_full(&ring), i >= 64);
			assert_true(tide_ring_push(&ring, round, i * 1000));
		}
		assert_false(tide_ring_push(&ring, 7, 7));
		assert_int_equal(tide_ring_used(&ring), 128);
		assert_int_equal(collect(&ring), 128);
		for (uint32_t i = 0; i < 128; i++) {
			assert_int_equal(found.at[i].slot, round);
			assert_int_equal(found.at[i].offset, i * 1000);
		}
		assert_true(tide_ring_soft_full(&ring));
		assert_false(tide_ring_push(&ring, 7, 7));
		assert_int_equal(reset(&ring, 64), 64);
		assert_true(tide_ring_soft_full(&ring));
		assert_int_equal(reset(&ring, 1), 1);
		assert_false(tide_ring_soft_full(&ring));
		assert_int_equal(reset(&ring, UINT32_MAX), 63);
		assert_int_equal(tide_ring_used(&ring), 0);
	}
	tide_ring_fini(&ring);
}

/* The indices run freely over 2^32. */
static void test_wrap(void **state)
{
	struct tide_ring ring;

	(void)state;
	ring_of(&ring, 128);
	atomic_init(&ring.dirty_index, UINT32_MAX - 50);
	atomic_init(&ring.reset_index, UINT32_MAX - 50);
	ring.fetch_index = UINT32_MAX - 50;
	for (uint32_t i = 0; i < 128; i++) {
		assert_int_equal(tide_ring_used(&ring), i);
		assert_true(tide_ring_push(&ring, 0, i * 64));
	}
	assert_false(tide_ring_push(&ring, 0, 0));
	assert_int_equal(collect(&ring), 128);
	assert_int_equal(reset(&ring, UINT32_MAX), 128);
	assert_int_equal(rearmed.n, 128);
	assert_int_equal(rearmed.at[127].offset, 127 * 64);
	tide_ring_fini(&ring);
}

/* What a third thread may read: two indices of different moments. */
static void test_snapshot(void **state)
{
	struct tide_ring ring;

	(void)state;
	ring_of(&ring, 128);
	atomic_init(&ring.reset_index, 5);
	atomic_init(&ring.dirty_index, 3);
	assert_int_equal(tide_ring_used(&ring), 0);
	atomic_init(&ring.dirty_index, 5 + 1000);
	assert_int_equal(tide_ring_used(&ring), 128);
	tide_ring_fini(&ring);
}

static void reset_and_push(void *opaque, uint32_t slot, uint64_t offset)
{
	struct tide_ring *ring = opaque;

	(void)reset(ring, UINT32_MAX);
	assert_true(tide_ring_push(ring, slot, offset));
}

/* A vCPU and a reset as fast as the harvester. */
static void test_once_round(void **state)
{
	struct tide_ring ring;

	(void)state;
	ring_of(&ring, 128);
	assert_true(tide_ring_push(&ring, 1, 1));
	assert_int_equal(tide_ring_collect(&ring, reset_and_push, &ring), 128);
	assert_int_equal(tide_ring_used(&ring), 1);
	tide_ring_fini(&ring);
}

struct page {
	uint32_t slot;
	uint64_t offset;
};

#define LAST UINT64_MAX

static const struct {
	const char *name;
	struct page pages[4];
	uint32_t npages;
	uint32_t nbatches;
	uint64_t offset, mask; /* of the first batch */
} batches[] = {
	{ "one", { { 1, 5 } }, 1, 1, 5, 1 },
	{ "the same twice", { { 1, 5 }, { 1, 5 } }, 2, 1, 5, 1 },
	{ "up by 63", { { 1, 5 }, { 1, 68 } }, 2, 1, 5, 1 | 1ull << 63 },
	{ "up by 64", { { 1, 5 }, { 1, 69 } }, 2, 2, 5, 1 },
	{ "down by 63", { { 1, 68 }, { 1, 5 } }, 2, 1, 5, 1 | 1ull << 63 },
	{ "down by 64", { { 1, 69 }, { 1, 5 } }, 2, 2, 69, 1 },
	{ "down, and nothing falls off the top",
	  { { 1, 100 }, { 1, 150 }, { 1, 87 } },
	  3,
	  1,
	  87,
	  1 | 1ull << 13 | 1ull << 63 },
	{ "down, and the top would fall off",
	  { { 1, 100 }, { 1, 150 }, { 1, 86 } },
	  3,
	  2,
	  100,
	  1 | 1ull << 50 },
	{ "another slot", { { 1, 5 }, { 2, 6 } }, 2, 2, 5, 1 },
	{ "another address space",
	  { { 1, 5 }, { 1 | 1 << 16, 6 } },
	  2,
	  2,
	  5,
	  1 },
	{ "a slot and back", { { 1, 5 }, { 2, 6 }, { 1, 6 } }, 3, 3, 5, 1 },
	{ "up to the last page",
	  { { 1, LAST - 63 }, { 1, LAST } },
	  2,
	  1,
	  LAST - 63,
	  1 | 1ull << 63 },
	{ "over the end by 63 (K47)",
	  { { 1, LAST - 62 }, { 1, 0 } },
	  2,
	  2,
	  LAST - 62,
	  1 },
	{ "over the end by one", { { 1, LAST }, { 1, 0 } }, 2, 2, LAST, 1 },
	{ "back over the end", { { 1, 0 }, { 1, LAST } }, 2, 2, 0, 1 },
	{ "back over the end by 63",
	  { { 1, 5 }, { 1, LAST - 57 } },
	  2,
	  2,
	  5,
	  1 },
};

static void test_batches(void **state)
{
	struct tide_ring ring;

	(void)state;
	ring_of(&ring, 128);
	for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
		print_message("# %s\n", batches[i].name);
		for (uint32_t n = 0; n < batches[i].npages; n++)
			assert_true(tide_ring_push(&ring,
						   batches[i].pages[n].slot,
						   batches[i].pages[n].offset));
		assert_int_equal(collect(&ring), batches[i].npages);
		assert_int_equal(reset(&ring, UINT32_MAX), batches[i].npages);
		assert_int_equal(rearmed.n, batches[i].nbatches);
		assert_int_equal(rearmed.at[0].slot, batches[i].pages[0].slot);
		assert_true(rearmed.at[0].offset == batches[i].offset);
		assert_true(rearmed.at[0].mask == batches[i].mask);
	}
	tide_ring_fini(&ring);
}

/* K45: it may stop after any entry. */
static void test_one_at_a_time(void **state)
{
	struct tide_ring ring;

	(void)state;
	ring_of(&ring, 128);
	for (uint64_t i = 0; i < 5; i++)
		assert_true(tide_ring_push(&ring, 3, 60 + i));
	assert_int_equal(collect(&ring), 5);
	for (uint64_t i = 0; i < 5; i++) {
		assert_int_equal(reset(&ring, 1), 1);
		assert_int_equal(rearmed.n, 1);
		assert_int_equal(rearmed.at[0].offset, 60 + i);
		assert_int_equal(rearmed.at[0].mask, 1);
	}
	assert_int_equal(reset(&ring, 1), 0);
	tide_ring_fini(&ring);
}

static void scribble(struct tide_ring *ring, uint32_t index, uint32_t flags)
{
	/* Relaxed: one thread. */
	atomic_store_explicit(&ring->entries[index % ring->size].flags, flags,
			      memory_order_relaxed);
}

/* Entries that were never pushed may say what they like. */
static void test_hostile_flags(void **state)
{
	struct tide_ring ring;

	(void)state;
	ring_of(&ring, 128);
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t flags = 0; flags < 4; flags++) {
			for (uint32_t i = 0; i < 128; i++)
				scribble(&ring, i, flags);
			assert_int_equal(collect(&ring), 0);
			assert_int_equal(reset(&ring, UINT32_MAX), 0);
			assert_int_equal(tide_ring_used(&ring), 0);
		}
		/* And what is pushed then is there once. */
		assert_true(tide_ring_push(&ring, 4, round));
		assert_int_equal(collect(&ring), 1);
		assert_int_equal(found.at[0].offset, round);
		assert_int_equal(reset(&ring, UINT32_MAX), 1);
		assert_int_equal(rearmed.n, 1);
	}
	tide_ring_fini(&ring);
}

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Whatever is written into the entries between any two calls, the producer
 * stays inside the ring and no call goes on for ever. */
static void test_hostile_contents(void **state)
{
	uint64_t seed = test_seed() | 1;
	struct tide_ring ring;

	(void)state;
	ring_of(&ring, 128);
	for (uint32_t i = 0; i < 100000 * test_long(); i++) {
		uint64_t dice = next(&seed);
		struct tide_ring_entry *entry = &ring.entries[dice >> 57];
		const uint32_t before = tide_ring_used(&ring);
		uint32_t n;

		switch (dice % 5) {
		case 0:
			assert_int_equal(tide_ring_push(&ring, 1, dice >> 8),
					 before < 128);
			break;
		case 1:
			assert_in_range(collect(&ring), 0, 128);
			break;
		case 2:
			n = reset(&ring, dice >> 32 & 255);
			assert_int_equal(before - n, tide_ring_used(&ring));
			break;
		case 3:
			scribble(&ring, (uint32_t)(dice >> 57),
				 (uint32_t)(dice >> 16 & 7));
			break;
		default:
			/* Relaxed: one thread. */
			atomic_store_explicit(&entry->slot, dice >> 8 & 3,
					      memory_order_relaxed);
			/* Relaxed: as above. */
			atomic_store_explicit(&entry->offset,
					      (dice >> 16 & 127) - 64,
					      memory_order_relaxed);
		}
		assert_in_range(tide_ring_used(&ring), 0, 128);
	}
	tide_ring_fini(&ring);
}

/* A queue with three places in it. */
struct model {
	struct page pages[1 << 20];
	uint32_t pushed, collected, reset;
};

static void check_collect(struct tide_ring *ring, struct model *model)
{
	assert_int_equal(collect(ring), model->pushed - model->collected);
	for (uint32_t i = 0; i < found.n; i++) {
		struct page *page = &model->pages[model->collected++];

		assert_int_equal(found.at[i].slot, page->slot);
		assert_true(found.at[i].offset == page->offset);
	}
}

/* Each page of the entries that were reset is in the next batch, and each
 * batch's pages are theirs. */
static void check_reset(struct tide_ring *ring, struct model *model,
			uint32_t max)
{
	uint32_t n = model->collected - model->reset;
	uint64_t covered = 0;
	uint32_t batch = 0;

	n = n < max ? n : max;
	assert_int_equal(reset(ring, max), n);
	for (; n; n--) {
		const struct page *page = &model->pages[model->reset++];
		uint64_t bit = page->offset - rearmed.at[batch].offset;

		if (rearmed.at[batch].slot != page->slot || bit > 63 ||
		    !(rearmed.at[batch].mask >> bit & 1)) {
			assert_true(covered == rearmed.at[batch].mask);
			covered = 0;
			assert_true(++batch < rearmed.n);
			bit = page->offset - rearmed.at[batch].offset;
		}
		assert_int_equal(rearmed.at[batch].slot, page->slot);
		assert_true(bit < 64 && rearmed.at[batch].mask >> bit & 1);
		covered |= 1ull << bit;
	}
	assert_int_equal(rearmed.n ? batch + 1 : 0, rearmed.n);
	if (rearmed.n)
		assert_true(covered == rearmed.at[batch].mask);
}

static void test_against_model(void **state)
{
	struct model *model = calloc(1, sizeof(*model));
	uint64_t seed = test_seed() | 1;
	struct tide_ring ring;

	(void)state;
	ring_of(&ring, 256);
	while (model->pushed < sizeof(model->pages) / sizeof(struct page)) {
		uint64_t dice = next(&seed);
		/* Near each other, near the end, anywhere. */
		struct page page = {
			.slot = dice >> 8 & 7 ? 1 : 2,
			.offset = (next(&seed) & 127) +
				  (dice >> 16 & 1 ? UINT64_MAX - 80 : 80),
		};

		if (dice >> 20 & 7) {
			bool room = model->pushed - model->reset < 256;

			assert_int_equal(
				tide_ring_push(&ring, page.slot, page.offset),
				room);
			if (room)
				model->pages[model->pushed++] = page;
		} else if (dice >> 24 & 1) {
			check_collect(&ring, model);
		} else {
			check_reset(&ring, model, dice >> 32 & 127);
		}
		assert_int_equal(tide_ring_used(&ring),
				 model->pushed - model->reset);
	}
	tide_ring_fini(&ring);
	free(model);
}

/*
 * Three threads: the vCPU writes a page and pushes it; the harvester collects;
 * the third resets all the time, as another client's RESET would (K40).  The
 * written page is plain data that the entry alone publishes, so that
 * ThreadSanitizer sees when it does not.  It sees nothing of ring.free, behind
 * which there are atomics only.
 */
#define PUSHES 200000u

static struct shared {
	struct tide_ring ring;
	uint64_t written[PUSHES]; /* by push's thread, read by both others */
	uint64_t found[PUSHES];	  /* by collect's thread, read by reset's */
	uint32_t collected, reset;
	_Atomic bool over;
} * shared;

static uint64_t page_of(uint32_t index)
{
	return (uint64_t)index << 32 | index * 2654435761u;
}

static void *push_all(void *opaque)
{
	uint32_t i = 0;

	(void)opaque;
	while (i < PUSHES) {
		if (tide_ring_soft_full(&shared->ring)) {
			sched_yield();
			continue;
		}
		shared->written[i] = page_of(i);
		if (!tide_ring_push(&shared->ring, i & 3, page_of(i)))
			abort(); /* not full, but refused */
		i++;
	}
	return NULL;
}

static void check_found(void *opaque, uint32_t slot, uint64_t offset)
{
	uint32_t i = shared->collected++;

	(void)opaque;
	assert_int_equal(slot, i & 3);
	assert_true(offset == page_of(i)); /* K41, K42 */
	assert_true(shared->written[i] == offset);
	shared->found[i] = offset;
}

static void check_rearm(void *opaque, uint32_t slot, uint64_t offset,
			uint64_t mask)
{
	uint32_t i = shared->reset++;

	(void)opaque;
	assert(slot == (i & 3));
	assert(offset == page_of(i)); /* K40 */
	assert(shared->written[i] == offset);
	/* The harvester was done with the one before. */
	assert(!i || shared->found[i - 1] == page_of(i - 1));
	assert(mask == 1);
}

static void *reset_all(void *opaque)
{
	bool over;

	(void)opaque;
	do {
		/* ACQUIRE(test.see_over) pairs with RELEASE(test.over). */
		over = atomic_load_explicit(&shared->over,
					    memory_order_acquire);
		(void)tide_ring_reset(&shared->ring, UINT32_MAX, check_rearm,
				      NULL);
		sched_yield();
	} while (!over);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t pusher, resetter;

	(void)state;
	shared = calloc(1, sizeof(*shared));
	ring_of(&shared->ring, 128);
	pthread_create(&pusher, NULL, push_all, NULL);
	pthread_create(&resetter, NULL, reset_all, NULL);
	while (shared->collected < PUSHES) {
		if (!tide_ring_collect(&shared->ring, check_found, NULL))
			sched_yield();
	}
	/* RELEASE(test.over) pairs with ACQUIRE(test.see_over). */
	atomic_store_explicit(&shared->over, true, memory_order_release);
	pthread_join(pusher, NULL);
	pthread_join(resetter, NULL);
	assert_int_equal(shared->reset, PUSHES);
	assert_int_equal(tide_ring_used(&shared->ring), 0);
	tide_ring_fini(&shared->ring);
	free(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "sizes that are powers of two in range", test_sizes, NULL,
		  NULL, NULL },
		{ "an empty ring re-arms nothing (K44)", test_empty, NULL, NULL,
		  NULL },
		{ "a reset makes room, a harvest does not", test_full, NULL,
		  NULL, NULL },
		{ "indices that wrap", test_wrap, NULL, NULL, NULL },
		{ "a snapshot of two moments is in range", test_snapshot, NULL,
		  NULL, NULL },
		{ "a harvest ends, whatever goes on", test_once_round, NULL,
		  NULL, NULL },
		{ "batches as KVM makes them", test_batches, NULL, NULL, NULL },
		{ "a reset that stops goes on where it was", test_one_at_a_time,
		  NULL, NULL, NULL },
		{ "entries that nobody pushed are not believed",
		  test_hostile_flags, NULL, NULL, NULL },
		{ "hostile contents leave the indices alone",
		  test_hostile_contents, NULL, NULL, NULL },
		{ "random calls match a queue", test_against_model, NULL, NULL,
		  NULL },
		{ "push, collect and reset at once keep every entry",
		  test_threads, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
