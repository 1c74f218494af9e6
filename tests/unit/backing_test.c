/* SPDX-License-Identifier: MIT */
/*
 * backing_test.c - pages, frames, swap and merges against mmu/host.h
 *
 * The guest is backing_rig.c's.  The oracle is the pages' contents: whatever
 * fails, each page is afterwards what the guest wrote last.
 */
#undef NDEBUG
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backing_rig.h"
#include "base/pause_point.h"
#include "test_support.h"

static struct tide_backing_stats stats_of(struct rig *rig)
{
	struct tide_backing_stats stats;

	tide_backing_stats(rig->backing, &stats);
	return stats;
}

static uint32_t random_below(uint64_t *seed, uint32_t limit)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*seed >> 33) % limit;
}

static void refused(uint64_t npages, uint64_t nframes, int fd, int err)
{
	struct tide_backing_config config = { .npages = npages,
					      .nframes = nframes,
					      .swap_fd = fd };
	struct tide_backing *backing = NULL;

	assert_int_equal(tide_backing_create(&config, &backing), err);
	assert_null(backing);
}

static void test_bad_create(void **state)
{
	struct {
		struct tide_backing_config config;
		uint64_t more;
	} longer = { .config = { .size = sizeof(longer),
				 .npages = 1,
				 .nframes = 16,
				 .swap_fd = -1 },
		     .more = 1 };
	struct tide_backing *backing = NULL;
	int fds[2], fd;

	(void)state;
	refused(0, 16, -1, -EINVAL);
	refused((1ull << 31) + 1, 16, -1, -EINVAL);
	refused(1, 15, -1, -EINVAL);
	refused(1, (1ull << 31) + 1, -1, -EINVAL);
	assert_int_equal(tide_backing_create(NULL, &backing), -EINVAL);
	assert_int_equal(tide_backing_create(&longer.config, &backing), -E2BIG);
	longer.more = 0;
	assert_int_equal(tide_backing_create(&longer.config, NULL), -EINVAL);
	assert_int_equal(tide_backing_create(&longer.config, &backing), 0);
	tide_backing_destroy(backing);
	tide_backing_destroy(NULL);

	assert_int_equal(pipe(fds), 0);
	refused(1, 16, fds[0], -EBADF);
	close(fds[0]);
	close(fds[1]);
	refused(1, 16, fds[0], -EBADF);
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	refused(1, 16, fd, -EBADF);
	close(fd);
	fd = memfd_create("append", MFD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_SETFL, O_APPEND), 0);
	refused(1, 16, fd, -EINVAL);
	close(fd);
}

static void test_bad_ranges(void **state)
{
	struct rig rig;
	uint8_t *host, byte = 0;
	const uint64_t end = RIG_PAGES;

	(void)state;
	rig_init(&rig, true);
	host = tide_backing_host(rig.backing);
	assert_int_equal(tide_backing_swap_out(rig.backing, end, 1), -EINVAL);
	assert_int_equal(tide_backing_swap_out(rig.backing, 1, ~0ull), -EINVAL);
	assert_int_equal(tide_backing_swap_out(rig.backing, end, 0), 0);
	assert_int_equal(tide_backing_merge(rig.backing, 1, end), -EINVAL);
	assert_int_equal(tide_backing_merge(rig.backing, ~0ull, 2), -EINVAL);
	assert_int_equal(tide_backing_discard(rig.backing, end, 1), -EINVAL);
	assert_int_equal(tide_backing_discard(rig.backing, 0, ~0ull), -EINVAL);
	assert_int_equal(tide_backing_read(rig.backing, host - 1, &byte, 1),
			 -EFAULT);
	assert_int_equal(tide_backing_read(rig.backing,
					   host + end * TIDE_PAGE_SIZE, &byte,
					   1),
			 -EFAULT);
	assert_int_equal(tide_backing_write(rig.backing,
					    host + end * TIDE_PAGE_SIZE - 1,
					    &byte, 2),
			 -EFAULT);
	assert_int_equal(tide_backing_read(rig.backing, host, &byte, SIZE_MAX),
			 -EFAULT);
	assert_int_equal(tide_backing_write(rig.backing,
					    host + end * TIDE_PAGE_SIZE - 1,
					    &byte, 1),
			 0);
	assert_false(backing_has(rig.backing, rig.host - 1, 1));
	assert_true(backing_has(rig.backing, rig.host, RIG_PAGES));
	assert_false(backing_has(rig.backing, rig.host, RIG_PAGES + 1));
	assert_false(backing_has(rig.backing, rig_host(&rig, 1), ~0ull));
	assert_int_equal(rig.starts, 0);
	rig_fini(&rig);
}

static void test_one_user(void **state)
{
	const struct backing_notifier other = { .written = NULL };
	struct rig rig;

	(void)state;
	rig_init(&rig, true);
	assert_int_equal(backing_set_notifier(rig.backing, &other, NULL),
			 -EBUSY);
	assert_int_equal(backing_set_notifier(rig.backing, NULL, NULL), 0);
	assert_int_equal(backing_set_notifier(rig.backing, &other, NULL), 0);
	rig_fini(&rig);
}

static void test_absent(void **state)
{
	struct rig rig;
	uint64_t value = 1;

	(void)state;
	rig_init(&rig, false);
	rig_compare(&rig);
	assert_int_equal(stats_of(&rig).resident, 0);
	/* The frame that is next has had other contents. */
	assert_int_equal(rig_store(&rig, 7, 5, 99), 0);
	assert_int_equal(tide_backing_discard(rig.backing, 7, 1), 0);
	rig.model[7][5] = 0;
	assert_int_equal(rig_load(&rig, 8, 5, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(stats_of(&rig).resident, 1);
	rig_compare(&rig);
	rig_fini(&rig);
}

static void test_swap(void **state)
{
	struct rig rig;
	struct tide_backing_stats stats;
	uint64_t value, old_pfn;

	(void)state;
	rig_init(&rig, true);
	assert_int_equal(rig_store(&rig, 3, 1, 33), 0);
	old_pfn = rig.map[3].pfn;
	assert_int_equal(tide_backing_swap_out(rig.backing, 0, RIG_PAGES), 1);
	assert_false(rig.map[3].present);
	/* Reading all of it leaves it in the file. */
	rig_compare(&rig);
	stats = stats_of(&rig);
	assert_int_equal(stats.swapped, 1);
	assert_int_equal(stats.resident, 0);
	assert_int_equal(stats.frames_free, RIG_FRAMES);
	assert_int_equal(stats.swap_outs, 1);
	assert_int_equal(stats.swap_ins, 0);
	/* Another page takes the frame; 3 comes back elsewhere. */
	assert_int_equal(rig_store(&rig, 4, 0, 44), 0);
	assert_int_equal(rig.map[4].pfn, old_pfn);
	assert_int_equal(rig_load(&rig, 3, 1, &value), 0);
	assert_int_equal(value, 33);
	assert_int_not_equal(rig.map[3].pfn, old_pfn);
	assert_int_equal(stats_of(&rig).swap_ins, 1);
	assert_int_equal(stats_of(&rig).swapped, 0);
	rig_compare(&rig);
	rig_fini(&rig);
}

static void test_part_read(void **state)
{
	struct rig rig;
	uint8_t *host, bytes[2 * TIDE_PAGE_SIZE], want[sizeof(bytes)];

	(void)state;
	rig_init(&rig, true);
	host = tide_backing_host(rig.backing);
	for (size_t i = 0; i < sizeof(want); i++)
		want[i] = (uint8_t)(i * 7 + i / 256);
	assert_int_equal(
		tide_backing_write(rig.backing, host + 100, want, sizeof(want)),
		0);
	assert_int_equal(stats_of(&rig).resident, 3);
	assert_int_equal(tide_backing_swap_out(rig.backing, 0, RIG_PAGES), 3);
	assert_int_equal(tide_backing_read(rig.backing, host + 100, bytes,
					   sizeof(bytes)),
			 0);
	assert_memory_equal(bytes, want, sizeof(want));
	/* Only the page in the middle was read as a whole. */
	assert_int_equal(stats_of(&rig).swap_ins, 2);
	assert_int_equal(stats_of(&rig).swapped, 1);
	assert_int_equal(rig.marked[0], 0);
	rig_fini(&rig);
}

static void test_clean(void **state)
{
	struct rig rig;
	uint64_t value;

	(void)state;
	rig_init(&rig, true);
	assert_int_equal(rig_store(&rig, 0, 0, 1), 0);
	assert_int_equal(tide_backing_swap_out(rig.backing, 0, 1), 1);
	assert_int_equal(disk.writes, 1);
	assert_int_equal(rig_load(&rig, 0, 0, &value), 0);
	assert_int_equal(tide_backing_swap_out(rig.backing, 0, 1), 1);
	assert_int_equal(disk.writes, 1);
	/* The D bit is all that says that it was written to. */
	assert_int_equal(rig_load(&rig, 0, 0, &value), 0);
	assert_int_equal(rig_store(&rig, 0, 0, 2), 0);
	assert_int_equal(tide_backing_swap_out(rig.backing, 0, 1), 1);
	assert_int_equal(disk.writes, 2);
	rig_compare(&rig);
	/* So it is for a page that is merged and broken again. */
	assert_int_equal(rig_store(&rig, 1, 0, 2), 0);
	assert_int_equal(rig_touch(&rig, 0, false), 0);
	assert_int_equal(tide_backing_merge(rig.backing, 0, 2), 1);
	assert_int_equal(rig_store(&rig, 0, 0, 3), 0);
	assert_int_equal(tide_backing_swap_out(rig.backing, 0, 2), 2);
	assert_int_equal(disk.writes, 4);
	rig_compare(&rig);
	rig_fini(&rig);
}

static void test_pin(void **state)
{
	struct rig rig;
	uint64_t pfn;

	(void)state;
	rig_init(&rig, true);
	assert_int_equal(rig_store(&rig, 0, 0, 1), 0);
	assert_int_equal(rig_store(&rig, 1, 0, 2), 0);
	pfn = rig.map[0].pfn;
	assert_false(backing_pin(rig.backing, rig_host(&rig, 1), pfn));
	assert_false(backing_pin(rig.backing, rig_host(&rig, 0), pfn + 999));
	assert_false(backing_pin(rig.backing, rig_host(&rig, 0), 0));
	assert_true(backing_pin(rig.backing, rig_host(&rig, 0), pfn));
	assert_int_equal(tide_backing_swap_out(rig.backing, 0, 1), 0);
	assert_int_equal(rig.starts, 0); /* not even its mapping goes */
	backing_put(rig.backing, pfn);
	assert_int_equal(tide_backing_swap_out(rig.backing, 0, 1), 1);
	assert_false(backing_pin(rig.backing, rig_host(&rig, 0), pfn));
	/* The frame is another page's now. */
	assert_int_equal(rig_touch(&rig, 2, true), 0);
	assert_int_equal(rig.map[2].pfn, pfn);
	assert_false(backing_pin(rig.backing, rig_host(&rig, 0), pfn));
	rig_compare(&rig);
	rig_fini(&rig);
}

/* What happens in the middle of a pin of page 0. */
static struct {
	struct rig *rig;
	void (*looked)(struct rig *rig), (*taken)(struct rig *rig);
	uint32_t times_taken;
} halfway;

static void in_the_pin(const char *where)
{
	void (*act)(struct rig *) = halfway.looked;

	if (!strcmp(where, "backing_pin.taken")) {
		act = halfway.taken;
		halfway.times_taken++;
	}
	if (act)
		act(halfway.rig);
}

static void goes_out(struct rig *rig)
{
	assert_int_equal(tide_backing_swap_out(rig->backing, 0, 1), 1);
}

static void stays(struct rig *rig)
{
	assert_int_equal(tide_backing_swap_out(rig->backing, 0, 1), 0);
}

static void goes_and_another_comes(struct rig *rig)
{
	uint64_t pfn = rig->map[0].pfn;

	goes_out(rig);
	assert_int_equal(rig_touch(rig, 1, true), 0);
	assert_int_equal(rig->map[1].pfn, pfn);
}

static void is_discarded(struct rig *rig)
{
	assert_int_equal(tide_backing_discard(rig->backing, 0, 1), 0);
	rig->model[0][0] = 0;
}

/* Return: whether it was pinned; the pin is given back. */
static bool pin_while(void (*looked)(struct rig *rig),
		      void (*taken)(struct rig *rig))
{
	struct rig rig;
	uint64_t pfn;
	bool pinned;

	rig_init(&rig, true);
	assert_int_equal(rig_store(&rig, 0, 0, 1), 0);
	pfn = rig.map[0].pfn;
	halfway.rig = &rig;
	halfway.looked = looked;
	halfway.taken = taken;
	halfway.times_taken = 0;
	/* Relaxed: there is no other thread. */
	atomic_store_explicit(&tide_pause_hook, in_the_pin,
			      memory_order_relaxed);
	pinned = backing_pin(rig.backing, rig_host(&rig, 0), pfn);
	/* Relaxed: as above. */
	atomic_store_explicit(&tide_pause_hook, NULL, memory_order_relaxed);
	if (pinned)
		backing_put(rig.backing, pfn);
	rig_compare(&rig);
	/* No reference is left, or missing. */
	assert_true(tide_backing_swap_out(rig.backing, 0, RIG_PAGES) >= 0);
	assert_int_equal(stats_of(&rig).resident, 0);
	rig_compare(&rig);
	rig_fini(&rig);
	return pinned;
}

static void test_pin_races(void **state)
{
	(void)state;
	assert_true(pin_while(NULL, stays));
	assert_int_equal(halfway.times_taken, 1);
	/* The frame is free: no reference is taken at all. */
	assert_false(pin_while(goes_out, NULL));
	assert_int_equal(halfway.times_taken, 0);
	/* The frame is another page's: it is, and given back. */
	assert_false(pin_while(goes_and_another_comes, NULL));
	assert_int_equal(halfway.times_taken, 1);
	assert_false(pin_while(is_discarded, NULL));
	assert_false(pin_while(NULL, is_discarded));
}

/* Pins a page, once, after its mapping is gone. */
static void pin_in_the_middle(struct rig *rig, uint32_t page)
{
	uint64_t *pfn = rig->opaque;

	rig->middle = NULL;
	assert_true(backing_pin(rig->backing, rig_host(rig, page), *pfn));
	((uint64_t *)rig_memory(*pfn))[9] = 9;
	rig->model[page][9] = 9;
	backing_page_dirty(rig->backing, *pfn);
}

static void test_late_pin(void **state)
{
	struct rig rig;
	uint64_t pfn;

	(void)state;
	rig_init(&rig, true);
	assert_int_equal(rig_store(&rig, 0, 0, 1), 0);
	assert_int_equal(rig_store(&rig, 1, 0, 1), 0);
	assert_int_equal(rig_store(&rig, 1, 9, 9), 0);
	pfn = rig.map[0].pfn;
	rig.opaque = &pfn;
	rig.middle = pin_in_the_middle;
	assert_int_equal(tide_backing_swap_out(rig.backing, 0, 1), 0);
	assert_null(rig.middle);
	rig_compare(&rig);
	/* The frame cannot be merged, either. */
	assert_int_equal(tide_backing_merge(rig.backing, 0, 2), 0);
	backing_put(rig.backing, pfn);
	assert_int_equal(tide_backing_merge(rig.backing, 0, 2), 1);
	rig_compare(&rig);
	rig_fini(&rig);
}

static void test_merge(void **state)
{
	struct rig rig;
	struct tide_backing_stats stats;
	uint64_t value;

	(void)state;
	rig_init(&rig, true);
	for (uint32_t page = 0; page < 4; page++)
		assert_int_equal(rig_store(&rig, page, 3, page == 3 ? 8 : 7),
				 0);
	assert_int_equal(tide_backing_merge(rig.backing, 0, RIG_PAGES), 2);
	assert_int_equal(tide_backing_merge(rig.backing, 0, RIG_PAGES), 0);
	stats = stats_of(&rig);
	assert_int_equal(stats.merged, 3);
	assert_int_equal(stats.merges, 2);
	assert_int_equal(stats.resident, 4);
	assert_int_equal(stats.frames_free, RIG_FRAMES - 2);
	for (uint32_t page = 0; page < 3; page++) {
		assert_int_equal(rig_load(&rig, page, 3, &value), 0);
		assert_int_equal(value, 7);
		assert_false(rig.map[page].writable);
		assert_int_equal(rig.map[page].pfn, rig.map[0].pfn);
		assert_false(backing_pin(rig.backing, rig_host(&rig, page),
					 rig.map[page].pfn));
	}
	/* A write is the page's own; its read-only mapping is dropped. */
	assert_int_equal(rig_store(&rig, 1, 0, 5), 0);
	assert_int_not_equal(rig.map[1].pfn, rig.map[0].pfn);
	rig_compare(&rig);
	assert_int_equal(stats_of(&rig).merged, 2);
	assert_int_equal(rig_store(&rig, 0, 0, 6), 0);
	/* The last one needs no other frame. */
	value = rig.map[2].pfn;
	assert_int_equal(stats_of(&rig).merged, 0);
	assert_int_equal(rig_store(&rig, 2, 0, 4), 0);
	assert_int_equal(rig.map[2].pfn, value);
	assert_int_equal(stats_of(&rig).breaks, 3);
	assert_int_equal(stats_of(&rig).frames_free, RIG_FRAMES - 4);
	rig_compare(&rig);
	rig_fini(&rig);
}

/* Two groups that share a frame each become one. */
static void test_merge_groups(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig, true);
	for (uint32_t page = 0; page < 6; page++)
		assert_int_equal(rig_store(&rig, page, 3, 7), 0);
	assert_int_equal(tide_backing_merge(rig.backing, 0, 3), 2);
	assert_int_equal(tide_backing_merge(rig.backing, 3, 3), 2);
	assert_int_equal(stats_of(&rig).frames_free, RIG_FRAMES - 2);
	assert_int_equal(tide_backing_merge(rig.backing, 0, 6), 1);
	assert_int_equal(stats_of(&rig).merged, 6);
	assert_int_equal(stats_of(&rig).frames_free, RIG_FRAMES - 1);
	rig_compare(&rig);
	rig_fini(&rig);
}

/* The reader of one page has a reference to a frame whose last page is
 * another: that one must not write there. */
static void test_reader_of_shared(void **state)
{
	struct rig rig;
	struct host_page held;
	uint64_t *memory;

	(void)state;
	rig_init(&rig, true);
	for (uint32_t page = 0; page < 2; page++)
		assert_int_equal(rig_store(&rig, page, 3, 7), 0);
	assert_int_equal(tide_backing_merge(rig.backing, 0, 2), 1);
	assert_int_equal(
		backing_get(rig.backing, rig_host(&rig, 0), false, &held), 0);
	assert_false(held.writable);
	memory = rig_memory(held.pfn);
	assert_int_equal(rig_store(&rig, 0, 3, 1), 0);
	assert_int_equal(rig_store(&rig, 1, 3, 2), 0);
	assert_int_equal(memory[3], 7);
	assert_int_not_equal(rig.map[1].pfn, held.pfn);
	/* Nor does anybody get the frame: 13 of 16 are left. */
	for (uint32_t page = 2; page < 15; page++) {
		assert_int_equal(rig_store(&rig, page, 0, page), 0);
		assert_int_not_equal(rig.map[page].pfn, held.pfn);
	}
	assert_int_equal(stats_of(&rig).frames_free, 0);
	assert_int_equal(memory[3], 7);
	backing_check(rig.backing);
	backing_put(rig.backing, held.pfn);
	/* Now it is found, and nothing needs to be swapped out. */
	assert_int_equal(rig_store(&rig, 20, 0, 20), 0);
	assert_int_equal(rig.map[20].pfn, held.pfn);
	assert_int_equal(stats_of(&rig).swap_outs, 0);
	rig_compare(&rig);
	rig_fini(&rig);
}

/* The guest writes to a page after it was hashed. */
static void write_in_the_middle(struct rig *rig, uint32_t page)
{
	uint64_t *pfn = rig->opaque;

	(void)page;
	rig->middle = NULL;
	((uint64_t *)rig_memory(pfn[0]))[511] = 1;
	rig->model[0][511] = 1;
	backing_page_dirty(rig->backing, pfn[0]);
}

static void test_merge_compares(void **state)
{
	struct rig rig;
	uint64_t pfn;

	(void)state;
	rig_init(&rig, true);
	assert_int_equal(rig_touch(&rig, 0, true), 0);
	assert_int_equal(rig_touch(&rig, 1, true), 0);
	pfn = rig.map[0].pfn;
	rig.opaque = &pfn;
	rig.middle = write_in_the_middle;
	assert_int_equal(tide_backing_merge(rig.backing, 0, 2), 0);
	assert_null(rig.middle);
	assert_int_equal(stats_of(&rig).merged, 0);
	rig_compare(&rig);
	rig_fini(&rig);
}

static void test_shared_goes_out(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig, true);
	for (uint32_t page = 0; page < 3; page++)
		assert_int_equal(rig_store(&rig, 2 * page, 3, 7), 0);
	assert_int_equal(tide_backing_merge(rig.backing, 0, RIG_PAGES), 2);
	for (uint32_t page = 0; page < 3; page++)
		assert_int_equal(rig_touch(&rig, 2 * page, false), 0);
	/* One page is asked for, all that share its frame leave it. */
	assert_int_equal(tide_backing_swap_out(rig.backing, 2, 1), 3);
	for (uint32_t page = 0; page < RIG_PAGES; page++)
		assert_false(rig.map[page].present);
	assert_int_equal(stats_of(&rig).swapped, 3);
	assert_int_equal(stats_of(&rig).merged, 0);
	rig_compare(&rig);
	rig_fini(&rig);
}

/* 16 frames that are all shared can be had. */
static void test_only_shared(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig, true);
	for (uint32_t page = 0; page < 2 * RIG_FRAMES; page += 2) {
		assert_int_equal(rig_store(&rig, page, 0, page), 0);
		assert_int_equal(rig_store(&rig, page + 1, 0, page), 0);
		assert_int_equal(tide_backing_merge(rig.backing, page, 2), 1);
	}
	assert_int_equal(stats_of(&rig).merged, 2 * RIG_FRAMES - 2);
	rig_compare(&rig);
	assert_int_equal(rig_store(&rig, 40, 0, 40), 0);
	assert_int_equal(rig_store(&rig, 5, 1, 40), 0);
	rig_compare(&rig);
	rig_fini(&rig);
}

static void test_sharers_max(void **state)
{
	const struct tide_backing_config config = { .npages = 300,
						    .nframes = 300,
						    .swap_fd = -1 };
	struct tide_backing *backing;
	struct tide_backing_stats stats;
	struct host_page page;
	uint64_t host;

	(void)state;
	assert_int_equal(tide_backing_create(&config, &backing), 0);
	host = (uintptr_t)tide_backing_host(backing);
	for (uint32_t i = 0; i < 300; i++) {
		assert_int_equal(backing_get(backing, host + i * TIDE_PAGE_SIZE,
					     true, &page),
				 0);
		backing_put(backing, page.pfn);
	}
	assert_int_equal(tide_backing_merge(backing, 0, 300), 298);
	backing_check(backing);
	tide_backing_stats(backing, &stats);
	assert_int_equal(stats.merged, 300);
	assert_int_equal(stats.frames_free, 298);
	tide_backing_destroy(backing);
}

static void test_discard(void **state)
{
	struct rig rig;
	struct host_page held;

	(void)state;
	rig_init(&rig, true);
	for (uint32_t page = 0; page < 6; page++)
		assert_int_equal(rig_store(&rig, page, 0, page / 2), 0);
	assert_int_equal(tide_backing_merge(rig.backing, 2, 2), 1);
	assert_int_equal(tide_backing_swap_out(rig.backing, 4, 2), 2);
	assert_int_equal(tide_backing_discard(rig.backing, 1, 4), 0);
	memset(rig.model[1], 0, 4 * sizeof(rig.model[1]));
	for (uint32_t page = 0; page < 6; page++)
		assert_int_equal(rig.marked[page], page >= 1 && page <= 4);
	rig_compare(&rig);
	assert_int_equal(stats_of(&rig).resident, 1);
	assert_int_equal(stats_of(&rig).swapped, 1);
	assert_int_equal(stats_of(&rig).discards, 4);
	assert_int_equal(stats_of(&rig).frames_free, RIG_FRAMES - 1);

	/* Somebody has a reference: he keeps the frame, the page is gone. */
	assert_int_equal(
		backing_get(rig.backing, rig_host(&rig, 0), true, &held), 0);
	assert_int_equal(tide_backing_discard(rig.backing, 0, 1), 0);
	memset(rig.model[0], 0, sizeof(rig.model[0]));
	rig_compare(&rig);
	assert_false(backing_pin(rig.backing, rig_host(&rig, 0), held.pfn));
	for (uint32_t page = 6; page < 26; page++) {
		assert_int_equal(rig_store(&rig, page, 0, page), 0);
		assert_int_not_equal(rig.map[page].pfn, held.pfn);
	}
	backing_put(rig.backing, held.pfn);
	rig_compare(&rig);
	rig_fini(&rig);
}

static void test_timeouts(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig, true);
	for (uint32_t page = 0; page < RIG_FRAMES; page++)
		assert_int_equal(rig_store(&rig, page, 0, page / 2 + 1), 0);
	rig.fail_count = ~0u;
	rig.fail_start = rig.starts + 1;
	assert_int_equal(tide_backing_swap_out(rig.backing, 0, 4), -ETIMEDOUT);
	assert_int_equal(rig.starts, 1); /* does not wait for each */
	assert_int_equal(tide_backing_merge(rig.backing, 0, 4), -ETIMEDOUT);
	/* The second of two. */
	rig.fail_start = rig.starts + 2;
	assert_int_equal(tide_backing_merge(rig.backing, 0, 4), -ETIMEDOUT);
	rig.fail_start = rig.starts + 1;
	assert_int_equal(tide_backing_discard(rig.backing, 0, 4), -ETIMEDOUT);
	assert_int_equal(rig.marked[0], 0);
	/* No frame is free, none can be had. */
	assert_int_equal(rig_touch(&rig, 20, false), -ETIMEDOUT);
	assert_int_equal(stats_of(&rig).resident, RIG_FRAMES);
	rig_compare(&rig);
	rig.fail_start = 0;
	assert_int_equal(tide_backing_merge(rig.backing, 0, 4), 2);
	assert_int_equal(rig_touch(&rig, 1, false), 0);
	rig.fail_start = rig.starts + 1;
	assert_int_equal(rig_store(&rig, 1, 0, 3), -ETIMEDOUT);
	/* The second of the two pages of a frame. */
	rig.fail_start = rig.starts + 2;
	assert_int_equal(tide_backing_swap_out(rig.backing, 2, 1), -ETIMEDOUT);
	rig_compare(&rig);
	rig.fail_start = 0;
	assert_int_equal(rig_store(&rig, 1, 0, 3), 0);
	assert_int_equal(tide_backing_swap_out(rig.backing, 0, RIG_PAGES),
			 RIG_FRAMES);
	rig_compare(&rig);
	rig_fini(&rig);
}

static void test_no_file(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig, false);
	assert_int_equal(tide_backing_swap_out(rig.backing, 0, 1), -ENODEV);
	for (uint32_t page = 0; page < RIG_FRAMES; page++)
		assert_int_equal(rig_store(&rig, page, 0, 5), 0);
	assert_int_equal(rig_touch(&rig, 20, false), -ENOMEM);
	assert_int_equal(tide_backing_write(
				 rig.backing,
				 (void *)(uintptr_t)rig_host(&rig, 20), "x", 1),
			 -ENOMEM);
	assert_int_equal(tide_backing_discard(rig.backing, 3, 1), 0);
	rig.model[3][0] = 0;
	assert_int_equal(rig_touch(&rig, 20, false), 0);
	assert_int_equal(rig_touch(&rig, 21, false), -ENOMEM);
	assert_true(tide_backing_merge(rig.backing, 0, RIG_PAGES) > 0);
	assert_int_equal(rig_touch(&rig, 21, false), 0);
	rig_compare(&rig);
	rig_fini(&rig);
}

static void test_all_referenced(void **state)
{
	struct rig rig;
	struct host_page held[RIG_FRAMES];

	(void)state;
	rig_init(&rig, true);
	for (uint32_t page = 0; page < RIG_FRAMES; page++)
		assert_int_equal(backing_get(rig.backing, rig_host(&rig, page),
					     true, &held[page]),
				 0);
	assert_int_equal(rig_touch(&rig, 20, false), -ENOMEM);
	backing_put(rig.backing, held[11].pfn);
	assert_int_equal(rig_touch(&rig, 20, false), 0);
	assert_int_equal(rig.map[20].pfn, held[11].pfn);
	for (uint32_t page = 0; page < RIG_FRAMES; page++) {
		if (page != 11)
			backing_put(rig.backing, held[page].pfn);
	}
	rig_compare(&rig);
	rig_fini(&rig);
}

/* Of the frames that are due, those that were asked for since stay. */
static void test_clock(void **state)
{
	struct rig rig;
	struct tide_backing_stats stats;

	(void)state;
	rig_init(&rig, true);
	for (uint32_t page = 0; page < RIG_FRAMES; page++)
		assert_int_equal(rig_store(&rig, page, 0, page), 0);
	/* The whole round is passed by, then page 0 goes. */
	assert_int_equal(rig_touch(&rig, 16, false), 0);
	assert_false(rig.map[0].present);
	backing_page_accessed(rig.backing, rig.map[1].pfn);
	backing_page_accessed(rig.backing, rig.map[2].pfn);
	assert_int_equal(rig_touch(&rig, 17, false), 0);
	assert_true(rig.map[1].present && rig.map[2].present);
	assert_false(rig.map[3].present);
	stats = stats_of(&rig);
	assert_int_equal(stats.swap_outs, 2);
	rig_compare(&rig);
	rig_fini(&rig);
}

static void test_scribble(void **state)
{
	struct rig rig;
	uint8_t byte, page[TIDE_PAGE_SIZE];
	void *host;

	(void)state;
	rig_init(&rig, true);
	host = (void *)(uintptr_t)rig_host(&rig, 5);
	assert_int_equal(rig_store(&rig, 5, 100, 7), 0);
	assert_int_equal(tide_backing_swap_out(rig.backing, 5, 1), 1);
	for (off_t at = 5 * 4096; at < 6 * 4096; at += 1365) {
		assert_int_equal(pread(rig.fd, &byte, 1, at), 1);
		byte ^= 4;
		assert_int_equal(pwrite(rig.fd, &byte, 1, at), 1);
		assert_int_equal(rig_touch(&rig, 5, false), -EBADMSG);
		assert_int_equal(tide_backing_read(rig.backing, host, page,
						   sizeof(page)),
				 -EBADMSG);
		assert_int_equal(tide_backing_write(rig.backing, host, "x", 1),
				 -EBADMSG);
		assert_int_equal(stats_of(&rig).swapped, 1);
		assert_int_equal(stats_of(&rig).frames_free, RIG_FRAMES);
		backing_check(rig.backing);
		byte ^= 4;
		assert_int_equal(pwrite(rig.fd, &byte, 1, at), 1);
	}
	assert_int_equal(stats_of(&rig).swap_errors, 12);
	rig_compare(&rig);
	/* A file that was cut, and filled with zero again. */
	assert_int_equal(ftruncate(rig.fd, 0), 0);
	assert_int_equal(rig_touch(&rig, 5, false), -EIO);
	assert_int_equal(ftruncate(rig.fd, 1 << 20), 0);
	assert_int_equal(rig_touch(&rig, 5, false), -EBADMSG);
	/* Who does not need the page any more is not held up by that. */
	assert_int_equal(tide_backing_discard(rig.backing, 5, 1), 0);
	rig.model[5][100] = 0;
	assert_int_equal(rig_store(&rig, 5, 0, 1), 0);
	rig_compare(&rig);
	rig_fini(&rig);
}

/* Only what the guest asked for may fail, and with what the disk said. */
static bool is_disk_error(int err)
{
	switch (disk.fault) {
	case DISK_EIO:
	case DISK_SHORT:
	case DISK_NOTHING:
		return err == -EIO;
	case DISK_ENOSPC:
		return err == -ENOSPC;
	case DISK_FINE:
	case DISK_EINTR:
	case DISK_FAULTS:
		break;
	}
	return false;
}

static void step_under_faults(struct rig *rig, uint64_t *seed)
{
	uint32_t page = random_below(seed, RIG_PAGES);
	uint64_t value;
	int ret;

	switch (random_below(seed, 8)) {
	case 0:
		ret = tide_backing_swap_out(rig->backing, page,
					    RIG_PAGES - page);
		break;
	case 1:
		ret = tide_backing_merge(rig->backing, 0, RIG_PAGES);
		break;
	case 2:
		ret = rig_load(rig, page, 0, &value);
		if (!ret)
			assert_int_equal(value, rig->model[page][0]);
		break;
	default:
		ret = rig_store(rig, page, random_below(seed, 2),
				random_below(seed, 3));
		break;
	}
	assert_true(ret >= 0 || is_disk_error(ret));
}

/* Return: whether a call failed at all. */
static bool faulty_run(enum disk_fault fault, uint64_t first, uint64_t count,
		       uint64_t seed)
{
	static struct rig rig;
	struct tide_backing_stats stats;
	bool failed;

	rig_init(&rig, true);
	disk.fault = fault;
	disk.first = first;
	disk.count = count;
	for (uint32_t i = 0; i < 100; i++)
		step_under_faults(&rig, &seed);
	failed = disk.failed;
	stats = stats_of(&rig);
	assert_int_equal(stats.swap_errors,
			 fault == DISK_EINTR ? 0 : disk.failed);
	disk_reset();
	rig_compare(&rig);
	/* And everything can be reached. */
	for (uint32_t page = 0; page < RIG_PAGES; page++)
		assert_int_equal(rig_touch(&rig, page, page % 2), 0);
	rig_compare(&rig);
	rig_fini(&rig);
	return failed;
}

static void fault_loop(enum disk_fault fault, uint64_t count)
{
	uint64_t seed = test_seed(), n = 1;

	while (faulty_run(fault, n, count, seed))
		n += count > 1 ? 5 : 1;
	assert_true(n > 3); /* the disk was used at all */
}

static void test_disk_once(void **state)
{
	(void)state;
	fault_loop(DISK_EIO, 1);
	fault_loop(DISK_ENOSPC, 1);
	fault_loop(DISK_SHORT, 1);
	fault_loop(DISK_NOTHING, 1);
}

static void test_disk_for_good(void **state)
{
	(void)state;
	fault_loop(DISK_EIO, ~0ull);
	fault_loop(DISK_ENOSPC, ~0ull);
	fault_loop(DISK_SHORT, ~0ull);
	fault_loop(DISK_NOTHING, ~0ull);
}

static void test_interrupted(void **state)
{
	(void)state;
	fault_loop(DISK_EINTR, 1);
	fault_loop(DISK_EINTR, 3);
}

static void test_first_error(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig, true);
	for (uint32_t page = 0; page < RIG_FRAMES; page++)
		assert_int_equal(rig_store(&rig, page, 0, page), 0);
	disk.fault = DISK_ENOSPC;
	disk.first = 1;
	disk.count = 1;
	/* One frame that cannot be had: another is found. */
	assert_int_equal(rig_store(&rig, 20, 0, 20), 0);
	assert_int_equal(disk.failed, 1);
	assert_int_equal(stats_of(&rig).swap_errors, 1);
	disk.first = disk.calls + 1;
	disk.count = ~0ull;
	assert_int_equal(rig_touch(&rig, 21, false), -ENOSPC);
	assert_int_equal(tide_backing_swap_out(rig.backing, 0, RIG_PAGES),
			 -ENOSPC);
	disk.fault = DISK_FINE;
	rig_compare(&rig);
	assert_int_equal(tide_backing_swap_out(rig.backing, 0, RIG_PAGES),
			 RIG_FRAMES);
	rig_compare(&rig);
	rig_fini(&rig);
}

/* Everything at once, one call after the other, against plain memory. */
struct walk {
	struct rig rig;
	uint64_t seed;
	struct host_page held; /* a reference for writing; pfn 0: none */
	uint32_t held_page;
};

static void write_somewhere(struct walk *walk, uint32_t page)
{
	struct rig *rig = &walk->rig;
	uint32_t at = random_below(&walk->seed, 4096);
	uint32_t nbytes = random_below(&walk->seed, 6000);
	uint8_t bytes[6000];
	uint8_t *host = tide_backing_host(rig->backing);
	uint32_t from = page * 4096 + at;

	if (nbytes > RIG_PAGES * 4096 - from)
		nbytes = RIG_PAGES * 4096 - from;
	memset(bytes, (int)random_below(&walk->seed, 2), sizeof(bytes));
	assert_int_equal(
		tide_backing_write(rig->backing, host + from, bytes, nbytes),
		0);
	memcpy((uint8_t *)rig->model + from, bytes, nbytes);
	assert_int_equal(
		tide_backing_read(rig->backing, host + from, bytes, nbytes), 0);
	assert_memory_equal((uint8_t *)rig->model + from, bytes, nbytes);
}

/* Takes a reference, or writes by the one that there is and gives it back.  A
 * page that was discarded meanwhile is not what the reference is to. */
static void use_reference(struct walk *walk, uint32_t page)
{
	struct rig *rig = &walk->rig;
	uint64_t value = random_below(&walk->seed, 3);

	if (!walk->held.pfn) {
		if (!rig->map[page].present ||
		    !backing_pin(rig->backing, rig_host(rig, page),
				 rig->map[page].pfn))
			assert_int_equal(backing_get(rig->backing,
						     rig_host(rig, page), true,
						     &walk->held),
					 0);
		else
			walk->held.pfn = rig->map[page].pfn;
		walk->held_page = page;
		return;
	}
	((uint64_t *)rig_memory(walk->held.pfn))[3] = value;
	if (backing_pin(rig->backing, rig_host(rig, walk->held_page),
			walk->held.pfn)) {
		rig->model[walk->held_page][3] = value;
		backing_page_dirty(rig->backing, walk->held.pfn);
		backing_put(rig->backing, walk->held.pfn);
	}
	backing_put(rig->backing, walk->held.pfn);
	walk->held.pfn = 0;
}

static void time_out(struct walk *walk)
{
	struct rig *rig = &walk->rig;

	rig->fail_start = rig->starts + 1 + random_below(&walk->seed, 8);
	rig->fail_count = 1 + random_below(&walk->seed, 3);
}

static void walk_step(struct walk *walk)
{
	struct rig *rig = &walk->rig;
	uint32_t page = random_below(&walk->seed, RIG_PAGES);
	uint32_t npages = random_below(&walk->seed, RIG_PAGES - page + 1);
	uint64_t value;
	int ret = 0;

	switch (random_below(&walk->seed, 16)) {
	case 0:
		ret = tide_backing_swap_out(rig->backing, page, npages);
		break;
	case 1:
	case 2:
		ret = tide_backing_merge(rig->backing, page, npages);
		break;
	case 3:
		ret = tide_backing_discard(rig->backing, page, npages / 8);
		if (!ret)
			memset(rig->model[page], 0,
			       npages / 8 * sizeof(rig->model[0]));
		break;
	case 4:
		rig->fail_start = 0;
		write_somewhere(walk, page);
		break;
	case 5:
	case 6:
		rig->fail_start = 0;
		use_reference(walk, page);
		break;
	case 7:
		time_out(walk);
		break;
	case 8:
	case 9:
	case 10:
		ret = rig_load(rig, page, 3, &value);
		if (!ret)
			assert_int_equal(value, rig->model[page][3]);
		break;
	default:
		ret = rig_store(rig, page, random_below(&walk->seed, 4),
				random_below(&walk->seed, 3));
		break;
	}
	assert_true(ret >= 0 || ret == -ETIMEDOUT);
}

static void test_against_model(void **state)
{
	static struct walk walk;

	(void)state;
	walk.seed = test_seed();
	rig_init(&walk.rig, true);
	for (uint32_t i = 0; i < 10000 * test_long(); i++) {
		walk_step(&walk);
		if (i % 16 == 0) {
			walk.rig.fail_start = 0;
			rig_compare(&walk.rig);
		}
	}
	if (walk.held.pfn)
		use_reference(&walk, 0);
	walk.rig.fail_start = 0;
	rig_compare(&walk.rig);
	/* The steps reached what they are for. */
	assert_true(stats_of(&walk.rig).swap_ins > 0);
	assert_true(stats_of(&walk.rig).merges > 0);
	assert_true(stats_of(&walk.rig).breaks > 0);
	rig_fini(&walk.rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "a bad configuration is refused", test_bad_create, NULL, NULL,
		  NULL },
		{ "a range outside is refused, without a byte touched",
		  test_bad_ranges, NULL, NULL, NULL },
		{ "a backing has one user", test_one_user, NULL, NULL, NULL },
		{ "an absent page reads as zero, whatever its frame held",
		  test_absent, NULL, NULL, NULL },
		{ "a page goes out to the file and comes back elsewhere",
		  test_swap, NULL, NULL, NULL },
		{ "a whole page is read without a frame, a part with one",
		  test_part_read, NULL, NULL, NULL },
		{ "only a page whose D bit was set is written again",
		  test_clean, NULL, NULL, NULL },
		{ "a pinned page stays in its frame", test_pin, NULL, NULL,
		  NULL },
		{ "a pin and a frame that goes: one of them wins",
		  test_pin_races, NULL, NULL, NULL },
		{ "a pin after the mapping is gone keeps the frame too",
		  test_late_pin, NULL, NULL, NULL },
		{ "equal pages share a frame until one is written", test_merge,
		  NULL, NULL, NULL },
		{ "two shared frames become one", test_merge_groups, NULL, NULL,
		  NULL },
		{ "a reader of a shared frame never sees another page's write",
		  test_reader_of_shared, NULL, NULL, NULL },
		{ "a page that changed after it was hashed is not merged",
		  test_merge_compares, NULL, NULL, NULL },
		{ "a shared frame goes out with all its pages",
		  test_shared_goes_out, NULL, NULL, NULL },
		{ "a pool of shared frames only has room", test_only_shared,
		  NULL, NULL, NULL },
		{ "a frame has 256 pages at most", test_sharers_max, NULL, NULL,
		  NULL },
		{ "a discarded page reads as zero and is marked", test_discard,
		  NULL, NULL, NULL },
		{ "a page that may be mapped still stays where it is",
		  test_timeouts, NULL, NULL, NULL },
		{ "without a file, a page without a frame is an error",
		  test_no_file, NULL, NULL, NULL },
		{ "frames that are all referenced stay", test_all_referenced,
		  NULL, NULL, NULL },
		{ "the clock passes by what was asked for", test_clock, NULL,
		  NULL, NULL },
		{ "a file that somebody wrote to is an error", test_scribble,
		  NULL, NULL, NULL },
		{ "no page is lost when one disk call fails", test_disk_once,
		  NULL, NULL, NULL },
		{ "no page is lost when the disk fails for good",
		  test_disk_for_good, NULL, NULL, NULL },
		{ "an interrupted disk call is made again", test_interrupted,
		  NULL, NULL, NULL },
		{ "another frame is tried first, then the first error returned",
		  test_first_error, NULL, NULL, NULL },
		{ "random calls match plain memory", test_against_model, NULL,
		  NULL, NULL },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
