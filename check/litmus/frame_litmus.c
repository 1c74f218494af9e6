/* SPDX-License-Identifier: MIT */
/*
 * frame_litmus.c - who has a frame, while the host takes it away
 *
 * What    src/mmu/{frame,swap,merge,backing}.c as shipped.  Thread 2's pin
 *         (gfn_to_pfn_atomic), and what KVM leaves to the host's mm.
 * Claim   what was written to a page is read from it afterwards, wherever it
 *         was meanwhile: in a frame, in the swap file, in a frame that it
 *         shared.  What is written to one page is never read from another.
 *         Nobody copies, fills or compares a frame while somebody writes to
 *         it.  And the invariants of frame.c hold at the end.
 * Bounds  two pages and one or two frames: what happens to a frame depends on
 *         the pages in it and on at most one that comes after.  A page is one
 *         word here: a page's copy, comparison, or way to the file, is one
 *         plain access to its first word, which races with every other access
 *         that nothing orders; so half a copy is found, too.  One operation on
 *         each of two sides, and a third thread that writes, pins or reads.
 *         References are counted, not named: a second holder does what the
 *         first does, so one or two are as good as any number.
 *         Most have no MMU: who has a reference writes by it.  Those that have
 *         one are about what the two say to each other, with a vCPU or a
 *         device that writes once; the notifier itself is notifier_litmus.c.
 */
#include "litmus.h"

#include <stdlib.h>
#include <string.h>

#include "check/litmus/frame_calls.h"
#include "check/shim/arena_model.h"
#include "check/shim/rcu_model.h"
#include "mmu/backing_internal.h"
#include "mmu/mmu_internal.h"

/* Here they are what they are called. */
#undef memcpy
#undef memset
#undef memcmp

#define PAGES 2u
#define FRAMES 2u
#define HOST 0x10000000ull /* only a name */

static struct tide_backing backing;
static struct backing_page pages[PAGES];
static struct backing_frame frames[FRAMES];
static uint8_t pool[FRAMES][TIDE_PAGE_SIZE]
	__attribute__((aligned(TIDE_PAGE_SIZE)));
static uint64_t file[PAGES];
/* What a thread has seen or done; each by one thread. */
static uint64_t seen;
static bool pinned, written;
/* Of the programs that have an MMU: pages 0 and 1 are at gfn 0 and 1. */
static struct tide_mmu *mmu;
static struct mmu_vcpu *vcpu;
static uint32_t is_over;
static uint64_t mark; /* page 0's, where there is no MMU */

static bool is_frame(const void *at)
{
	return (uintptr_t)at - (uintptr_t)pool < sizeof(pool) &&
	       (uintptr_t)at % TIDE_PAGE_SIZE == 0;
}

/* A buffer is its owner's, and no place that the explorer knows. */
static uint64_t load_page(const void *at)
{
	uint64_t value;

	if (is_frame(at))
		return explore_plain_load(at, 8, EXPLORE_HERE);
	memcpy(&value, at, sizeof(value));
	return value;
}

static void store_page(void *at, uint64_t value)
{
	if (is_frame(at))
		explore_plain_store(at, 8, value, EXPLORE_HERE);
	else
		memcpy(at, &value, sizeof(value));
}

void *frame_memcpy(void *to, const void *from, size_t nbytes)
{
	if (nbytes != TIDE_PAGE_SIZE || (!is_frame(to) && !is_frame(from)))
		return memcpy(to, from, nbytes);
	store_page(to, load_page(from));
	return to;
}

void *frame_memset(void *at, int value, size_t nbytes)
{
	if (nbytes != TIDE_PAGE_SIZE || !is_frame(at))
		return memset(at, value, nbytes);
	store_page(at, 0);
	return at;
}

int frame_memcmp(const void *a, const void *b, size_t nbytes)
{
	if (nbytes != TIDE_PAGE_SIZE || !is_frame(a))
		return memcmp(a, b, nbytes);
	return load_page(a) != load_page(b);
}

ssize_t frame_pread(int fd, void *to, size_t nbytes, off_t offset)
{
	(void)fd;
	store_page(to, explore_plain_load(&file[offset >> TIDE_PAGE_SHIFT], 8,
					  EXPLORE_HERE));
	return (ssize_t)nbytes;
}

ssize_t frame_pwrite(int fd, const void *from, size_t nbytes, off_t offset)
{
	(void)fd;
	explore_plain_store(&file[offset >> TIDE_PAGE_SHIFT], 8,
			    load_page(from), EXPLORE_HERE);
	return (ssize_t)nbytes;
}

/* Whole pages and words of them: what the guest may race with. */
void frame_guest_copy(void *to, const void *from, size_t nbytes)
{
	uint64_t value;

	(void)nbytes;
	if (is_frame(from))
		value = explore_load(from, 8, __ATOMIC_RELAXED, EXPLORE_HERE);
	else
		value = load_page(from);
	if (is_frame(to))
		explore_store(to, 8, value, __ATOMIC_RELAXED, EXPLORE_HERE);
	else
		store_page(to, value);
}

/* Merging reads pages that are written to, on purpose. */
uint64_t frame_sum(const void *from, size_t nbytes)
{
	(void)nbytes;
	if (is_frame(from))
		return explore_load(from, 8, __ATOMIC_RELAXED, EXPLORE_HERE);
	return load_page(from);
}

static void *host_of(uint32_t page)
{
	return (void *)(uintptr_t)(HOST + page * TIDE_PAGE_SIZE);
}

static uint64_t pfn_of(uint32_t frame)
{
	return (uintptr_t)pool[frame] >> TIDE_PAGE_SHIFT;
}

/* Return: it was written; not, if there was no frame for it. */
static bool write_word(uint32_t page, uint64_t value)
{
	return !tide_backing_write(&backing, host_of(page), &value,
				   sizeof(value));
}

static uint64_t read_word(uint32_t page)
{
	uint64_t value = 0;

	explore_assert(!tide_backing_read(&backing, host_of(page), &value,
					  sizeof(value)),
		       "a page can be read", EXPLORE_HERE);
	return value;
}

static void nothing(const void *how)
{
	(void)how;
}

/* All absent, and frames [0, count) free. */
static void make_backing(uint32_t count)
{
	memset(&backing, 0, sizeof(backing));
	memset(pages, 0, sizeof(pages));
	memset(frames, 0, sizeof(frames));
	for (uint32_t i = 0; i < FRAMES; i++)
		memset(pool[i], 0, sizeof(uint64_t));
	memset(file, 0, sizeof(file));
	backing.npages = PAGES;
	backing.nframes = count;
	backing.host = HOST;
	backing.pool = pool[0];
	backing.pages = pages;
	backing.frames = frames;
	backing.first_free = BACKING_NONE;
	for (uint32_t i = count; i-- > 0;)
		backing_frame_free(&backing, i);
	if (tide_lock_init(&backing.lock, TIDE_RANK_BACKING))
		abort();
}

static void begin(void)
{
	seen = mark = 0;
	is_over = 0;
	pinned = written = false;
	rcu_model_init();
}

static void setup(uint32_t count)
{
	arena_reset(nothing, NULL);
	make_backing(count);
	begin();
}

static void must(bool good)
{
	if (!good)
		abort();
}

/* Page 0 has 5, and a frame to itself. */
static void setup_one(uint32_t count)
{
	setup(count);
	must(write_word(0, 5));
}

static void one_in_one_frame(void)
{
	setup_one(1);
}

/* The file has the same, so that only what is written has to be saved. */
static void one_saved(void)
{
	setup_one(2);
	must(tide_backing_swap_out(&backing, 0, 1) == 1 && read_word(0) == 5);
}

/* Two equal pages with a frame each. */
static void two_equal(void)
{
	setup_one(2);
	must(write_word(1, 5));
}

static void two_shared(void)
{
	two_equal();
	must(tide_backing_merge(&backing, 0, PAGES) == 1);
}

/* One frame for both: the other, free, is not there. */
static void two_shared_in_one_frame(void)
{
	two_shared();
	must(backing.first_free == 1 && page_frame(&backing, 0) == 0);
	backing.nframes = 1;
	backing.first_free = BACKING_NONE;
	backing.stats.frames_free = 0;
}

/* As if page 0 had been 5 all along: the write of 5 makes them equal. */
static void different_and_saved(void)
{
	two_equal();
	must(write_word(0, 3) && tide_backing_swap_out(&backing, 0, 2) == 2 &&
	     read_word(0) == 3 && read_word(1) == 5);
}

/* With an MMU.  What is not in the arena is put back from here. */
static struct {
	struct tide_backing backing;
	struct backing_page pages[PAGES];
	struct backing_frame frames[FRAMES];
	uint64_t pool[FRAMES], file[PAGES];
} built;

struct how {
	bool saved;  /* the file has what the pages have */
	bool shared; /* both are in one frame */
	bool logged;
};

static void make_mmu(const struct how *how)
{
	const struct tide_mmu_config config = { .backing = &backing };
	const struct mmu_region region = {
		.flags = how->logged ? MMU_REGION_LOG : 0,
		.memory_bytes = PAGES * TIDE_PAGE_SIZE,
		.host = HOST,
	};
	struct tide_vcpu *public;
	uint64_t value;

	must(!tide_mmu_create(&config, &mmu) && !mmu_set_region(mmu, &region) &&
	     !tide_vcpu_create(mmu, &public));
	vcpu = mmu_vcpu_of(public);
	must(!tide_vcpu_enter(public) &&
	     !tide_vcpu_load(public, 0, 8, &value) && value == 5 &&
	     !tide_vcpu_exit(public));
}

static void build(const void *opaque)
{
	const struct how *how = opaque;

	make_backing(FRAMES);
	must(write_word(0, 5) && write_word(1, 5));
	must(!how->saved || (tide_backing_swap_out(&backing, 0, 2) == 2 &&
			     read_word(0) == 5 && read_word(1) == 5));
	must(!how->shared || tide_backing_merge(&backing, 0, PAGES) == 1);
	make_mmu(how);
	built.backing = backing;
	memcpy(built.pages, pages, sizeof(pages));
	memcpy(built.frames, frames, sizeof(frames));
	memcpy(built.file, file, sizeof(file));
	for (uint32_t i = 0; i < FRAMES; i++)
		memcpy(&built.pool[i], pool[i], sizeof(uint64_t));
}

static void setup_mmu(const struct how *how)
{
	arena_reset(build, how);
	backing = built.backing;
	memcpy(pages, built.pages, sizeof(pages));
	memcpy(frames, built.frames, sizeof(frames));
	memcpy(file, built.file, sizeof(file));
	for (uint32_t i = 0; i < FRAMES; i++)
		memcpy(pool[i], &built.pool[i], sizeof(uint64_t));
	begin();
}

static void mapped_and_saved(void)
{
	static const struct how how = { .saved = true };

	setup_mmu(&how);
}

static void mapped_and_logged(void)
{
	static const struct how how = { .saved = true, .logged = true };

	setup_mmu(&how);
}

static void mapped_and_shared(void)
{
	static const struct how how = { .shared = true };

	setup_mmu(&how);
}

static void expect(uint32_t page, uint64_t value)
{
	explore_assert(read_word(page) == value, "what was written is read",
		       EXPLORE_HERE);
}

static void check_all(void)
{
	backing_check(&backing);
}

/* Threads. */

static void write_0(void)
{
	(void)write_word(0, 1);
}

static void write_1(void)
{
	written = write_word(1, 2);
}

static void write_0_always(void)
{
	explore_assert(write_word(0, 1), "there is a frame", EXPLORE_HERE);
}

static void write_1_always(void)
{
	explore_assert(write_word(1, 2), "there is a frame", EXPLORE_HERE);
}

static void write_0_as_1(void)
{
	explore_assert(write_word(0, 5), "there is a frame", EXPLORE_HERE);
}

static void write_0_again(void)
{
	explore_assert(write_word(0, 2), "there is a frame", EXPLORE_HERE);
}

static void swap_out_0(void)
{
	(void)tide_backing_swap_out(&backing, 0, 1);
}

static void swap_out_and_in_0(void)
{
	swap_out_0();
	explore_assert(read_word(0) == 5, "as it was", EXPLORE_HERE);
}

static void take_stats(void)
{
	struct tide_backing_stats stats;

	tide_backing_stats(&backing, &stats);
	explore_assert(stats.resident + stats.swapped == 1, "in one place",
		       EXPLORE_HERE);
}

/* A fast page fault's pin, with a write for as long as it lasts. */
static void pin_0(void)
{
	pinned = backing_pin(&backing, HOST, pfn_of(0));
	if (!pinned)
		return;
	explore_store(pool[0], 8, 1, __ATOMIC_RELAXED, EXPLORE_HERE);
	backing_page_dirty(&backing, pfn_of(0));
	backing_put(&backing, pfn_of(0));
}

/* Page 1 was handed out filled: with zero, or what was written then. */
static void pin_1(void)
{
	if (!backing_pin(&backing, HOST + TIDE_PAGE_SIZE, pfn_of(0)))
		return;
	seen = explore_load(pool[0], 8, __ATOMIC_RELAXED, EXPLORE_HERE);
	explore_assert(!seen || seen == 2, "it is in the frame", EXPLORE_HERE);
	backing_put(&backing, pfn_of(0));
}

static void discard_0(void)
{
	explore_assert(!tide_backing_discard(&backing, 0, 1), "no error",
		       EXPLORE_HERE);
}

static void discard_0_write_1(void)
{
	discard_0();
	write_1();
}

static void discard_1_write_0(void)
{
	explore_assert(!tide_backing_discard(&backing, 1, 1), "no error",
		       EXPLORE_HERE);
	write_0_always();
}

static void merge(void)
{
	explore_assert(tide_backing_merge(&backing, 0, PAGES) >= 0, "no error",
		       EXPLORE_HERE);
}

static void merge_and_swap_out(void)
{
	merge();
	(void)tide_backing_swap_out(&backing, 0, PAGES);
}

/* All of it, so that it needs no frame. */
static void read_page_0(void)
{
	static uint64_t buffer[TIDE_PAGE_SIZE / sizeof(uint64_t)];

	explore_assert(!tide_backing_read(&backing, host_of(0), buffer,
					  TIDE_PAGE_SIZE),
		       "a page can be read", EXPLORE_HERE);
	explore_assert(buffer[0] == 5 || buffer[0] == 1, "old or new",
		       EXPLORE_HERE);
}

static void write_0_and_swap_out(void)
{
	write_0_always();
	swap_out_0();
}

static void read_1(void)
{
	seen = read_word(1);
	explore_assert(seen == 5 || seen == 0, "not what is another page's",
		       EXPLORE_HERE);
}

/* The same with an MMU. */

static void guest_writes_0(void)
{
	explore_assert(!tide_vcpu_enter(&vcpu->public) &&
			       !tide_vcpu_store(&vcpu->public, 0, 8, 1) &&
			       !tide_vcpu_exit(&vcpu->public),
		       "writes", EXPLORE_HERE);
}

static void device_writes_0(void)
{
	const uint64_t value = 1;

	explore_assert(!tide_mmu_write(mmu, 0, &value, sizeof(value)), "writes",
		       EXPLORE_HERE);
}

static void device_writes_0_first(void)
{
	device_writes_0();
	explore_store(&is_over, 4, 1, __ATOMIC_RELEASE, EXPLORE_HERE);
}

/* Who knows that a write is over reads it. */
static void guest_reads_0(void)
{
	uint64_t over, value;

	explore_assert(!tide_vcpu_enter(&vcpu->public), "enters", EXPLORE_HERE);
	for (int i = 0; i < 2; i++) {
		over = explore_load(&is_over, 4, __ATOMIC_ACQUIRE,
				    EXPLORE_HERE);
		explore_assert(
			!tide_vcpu_safe_point(&vcpu->public) &&
				!tide_vcpu_load(&vcpu->public, 0, 8, &value),
			"reads", EXPLORE_HERE);
		explore_assert(value == 1 || (!over && value == 5),
			       "as it is now", EXPLORE_HERE);
	}
	explore_assert(!tide_vcpu_exit(&vcpu->public), "exits", EXPLORE_HERE);
}

/* An MMU comes and goes; who is told of a start is told of the end. */
static int started(void *opaque, uint64_t host, uint64_t npages)
{
	uint64_t *count = opaque;

	explore_assert(host == HOST && npages == 1, "page 0", EXPLORE_HERE);
	explore_plain_store(count, 8,
			    explore_plain_load(count, 8, EXPLORE_HERE) + 1,
			    EXPLORE_HERE);
	return 0;
}

static void ended(void *opaque, uint64_t host, uint64_t npages)
{
	uint64_t *count = opaque;

	explore_assert(host == HOST && npages == 1, "page 0", EXPLORE_HERE);
	explore_plain_store(count, 8,
			    explore_plain_load(count, 8, EXPLORE_HERE) - 1,
			    EXPLORE_HERE);
}

static int nothing_mapped(void *opaque, uint64_t host, uint64_t npages)
{
	(void)opaque;
	(void)host;
	(void)npages;
	return 0;
}

static void nothing_to_end(void *opaque, uint64_t host, uint64_t npages)
{
	(void)opaque;
	(void)host;
	(void)npages;
}

static void mark_it(void *opaque, uint64_t host, uint64_t npages)
{
	(void)opaque;
	explore_assert(host == HOST && npages == 1, "page 0", EXPLORE_HERE);
	explore_store(&mark, 8, 1, __ATOMIC_RELEASE, EXPLORE_HERE);
}

/* Page 0 is marked, and whoever is told that it was written marks it. */
static void one_marked(void)
{
	static const struct backing_notifier notifier = {
		.invalidate_start = nothing_mapped,
		.invalidate_end = nothing_to_end,
		.written = mark_it,
	};

	setup_one(1);
	mark = 1;
	must(!backing_set_notifier(&backing, &notifier, NULL));
}

static void harvest(void)
{
	if (explore_rmw(&mark, 8, EXPLORE_EXCHANGE, 0, __ATOMIC_ACQUIRE,
			EXPLORE_HERE))
		seen = read_word(0);
}

static void marked_or_seen(void)
{
	check_all();
	explore_assert(mark || seen == read_word(0), "seen as it is, or marked",
		       EXPLORE_HERE);
}

static void attach_and_detach(void)
{
	static const struct backing_notifier notifier = {
		.invalidate_start = started,
		.invalidate_end = ended,
	};

	explore_assert(!backing_set_notifier(&backing, &notifier, &seen),
		       "the only one", EXPLORE_HERE);
	explore_assert(!backing_set_notifier(&backing, NULL, NULL), "detached",
		       EXPLORE_HERE);
	/* Nobody is told any more. */
	explore_assert(!explore_plain_load(&seen, 8, EXPLORE_HERE),
		       "every start has its end", EXPLORE_HERE);
}

/* What must hold afterwards. */

static void written_0(void)
{
	check_all();
	expect(0, 1);
}

static void written_0_or_again(void)
{
	check_all();
	explore_assert(read_word(0) == 1 || read_word(0) == 2,
		       "one of two writes", EXPLORE_HERE);
}

static void pinned_0_written_1(void)
{
	check_all();
	expect(0, pinned ? 1 : 5);
	expect(1, written ? 2 : 0);
}

static void discarded_0(void)
{
	check_all();
	expect(0, 0);
	expect(1, written ? 2 : 0);
}

static void kept_0(void)
{
	check_all();
	expect(0, 5);
}

static void discarded_0_written_1(void)
{
	check_all();
	explore_assert(read_word(0) == 0 || read_word(0) == 1,
		       "discarded, or written then", EXPLORE_HERE);
	expect(1, written ? 2 : 0);
}

static void written_0_kept_1(void)
{
	check_all();
	expect(0, 1);
	expect(1, 5);
}

/* The host learns of it, and may then take the frame away.  No mapping leads
 * elsewhere than to the page's frame. */
static void written_0_by_mmu(void)
{
	struct spte_walk walk;

	check_all();
	if (mmu_walk(vcpu, 0, &walk))
		explore_assert(page_is_resident(&backing, 0) &&
				       spte_pfn(walk.spte) ==
					       pfn_of(page_frame(&backing, 0)),
			       "mapped where it is", EXPLORE_HERE);
	(void)tide_backing_swap_out(&backing, 0, 1);
	written_0_kept_1();
}

static void written_both(void)
{
	check_all();
	expect(0, 1);
	expect(1, 2);
}

static void equal_at_last(void)
{
	check_all();
	expect(0, 5);
	expect(1, 5);
}

static void written_0_discarded_1(void)
{
	check_all();
	expect(0, 1);
	expect(1, 0);
}

static void pinned_0_kept_1(void)
{
	check_all();
	expect(0, pinned ? 1 : 5);
	expect(1, 5);
}

#define PROGRAM(name_, init_, final_, ...)                                  \
	.program = { .name = name_,                                         \
		     .threads = sizeof((void (*[])(void)){ __VA_ARGS__ }) / \
				sizeof(void (*)(void)),                     \
		     .init = init_,                                         \
		     .final = final_,                                       \
		     .thread = { __VA_ARGS__ } }

static const struct litmus all[] = {
	{ PROGRAM("swap-out-and-write", one_saved, written_0, write_0_always,
		  swap_out_0),
	  .executions = 3 },
	{ PROGRAM("swap-out-and-two-writes", one_saved, written_0_or_again,
		  write_0_always, swap_out_0, write_0_again),
	  .executions = 114 },
	{ PROGRAM("pin-and-another-page", one_in_one_frame, pinned_0_written_1,
		  pin_0, write_1),
	  .executions = 66 },
	{ PROGRAM("two-pins-and-another-page", one_in_one_frame,
		  pinned_0_written_1, pin_0, write_1, pin_1),
	  .executions = 10088 },
	{ PROGRAM("discard-and-write", one_in_one_frame, discarded_0_written_1,
		  write_0, discard_0_write_1),
	  .executions = 9 },
	{ PROGRAM("discard-and-pin", one_in_one_frame, discarded_0, pin_0,
		  discard_0_write_1),
	  .executions = 39 },
	{ PROGRAM("read-and-swap-out", one_saved, written_0, read_page_0,
		  write_0_and_swap_out),
	  .executions = 30 },
	{ PROGRAM("stats-and-swap-out", one_saved, kept_0, take_stats,
		  swap_out_0),
	  .executions = 2 },
	{ PROGRAM("check-and-swap-out", one_saved, kept_0, check_all,
		  swap_out_0),
	  .executions = 2 },
	{ PROGRAM("notifier-and-swap-out", one_saved, kept_0, attach_and_detach,
		  swap_out_0),
	  .executions = 3 },
	{ PROGRAM("discard-and-harvest", one_marked, marked_or_seen, harvest,
		  discard_0),
	  .executions = 5 },
	{ PROGRAM("merge-and-write", two_equal, written_0_kept_1,
		  write_0_always, merge),
	  .executions = 11 },
	{ PROGRAM("merge-and-swap-in", two_equal, equal_at_last, merge,
		  swap_out_and_in_0),
	  .executions = 16 },
	{ PROGRAM("merge-and-two-writes", two_equal, written_both,
		  write_0_always, merge, write_1_always),
	  .executions = 111 },
	{ PROGRAM("merge-what-was-saved", different_and_saved, equal_at_last,
		  write_0_as_1, merge_and_swap_out),
	  .executions = 16 },
	{ PROGRAM("merge-and-pin", two_equal, pinned_0_kept_1, pin_0, merge),
	  .executions = 12 },
	{ PROGRAM("break-by-two-writes", two_shared, written_both,
		  write_0_always, write_1_always),
	  .executions = 2 },
	{ PROGRAM("break-by-two-writes-and-swap-out", two_shared, written_both,
		  write_0_always, write_1_always, swap_out_0),
	  .executions = 9 },
	{ PROGRAM("break-and-read", two_shared, written_0_discarded_1, read_1,
		  discard_1_write_0),
	  .executions = 8 },
	{ PROGRAM("guest-writes-and-swap-out", mapped_and_saved,
		  written_0_by_mmu, guest_writes_0, swap_out_0),
	  .executions = 25 },
	{ PROGRAM("guest-faults-fast-and-swap-out", mapped_and_logged,
		  written_0_by_mmu, guest_writes_0, swap_out_0),
	  .executions = 37 },
	{ PROGRAM("device-writes-and-swap-out", mapped_and_saved,
		  written_0_by_mmu, device_writes_0, swap_out_0),
	  .executions = 3 },
	{ PROGRAM("guest-writes-and-merge", mapped_and_saved, written_0_by_mmu,
		  guest_writes_0, merge),
	  .executions = 37 },
	{ PROGRAM("device-writes-and-merge", mapped_and_saved, written_0_by_mmu,
		  device_writes_0, merge),
	  .executions = 11 },
	{ PROGRAM("guest-writes-what-is-shared", mapped_and_shared,
		  written_0_by_mmu, guest_writes_0, swap_out_0),
	  .executions = 61 },
	{ PROGRAM("device-writes-what-is-read", mapped_and_shared,
		  written_0_by_mmu, guest_reads_0, device_writes_0_first),
	  .executions = 319 },
	{ PROGRAM("break-in-one-frame", two_shared_in_one_frame,
		  written_0_kept_1, write_0_always, swap_out_0),
	  .executions = 3 },
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
