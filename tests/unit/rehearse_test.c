/* SPDX-License-Identifier: MIT */
/*
 * rehearse_test.c - what is sent, put together, is what the process has
 *
 * The oracle: after a rehearsal the target is stopped, and the records of the
 * sink are applied in order to an empty image.  Every page of the target that
 * is not in the rest, and was not written since, must be byte-equal; a page
 * that the sink does not mention must be zero, or never touched.  The rest is
 * what the last harvest handed out, and what was written since comes from the
 * rehearsal's own client: the linker wraps its calls (rehearse_link_args), so
 * that it lives on until the target has stopped.
 *
 * The targets change their memory at random, in all ways in which memory
 * changes; each iteration of theirs is one of change_something().
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include <tidemark/client.h>
#include <tidemark/probe.h>
#include <tidemark/process.h>
#include <tidemark/rehearse.h>

#include "test_support.h"
#include "watch/precopy.h"
#include "watch/rehearse_pages.h"
#include "watch/rehearse_sink.h"

#define PAGE TIDE_PAGE_SIZE
#define MEMORY_PAGES 768u /* written, zeroed, discarded, forbidden */
#define PLACE_PAGES 64u	  /* mapped and unmapped */
#define PLACES 6u
#define SHARED_PAGES 64u
#define FILE_PAGES 32u
/* Of the writes that are made to fail: a target under a sanitizer is large. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EACH 17u
#else
#define EACH 1u
#endif
#define MEGABYTE 1000000u
#define SINK_MAX ((size_t)1 << 30)

/* ---- what is wrapped ---- */

int __real_tide_harvest_begin(struct tide_client *client,
			      struct tide_harvest **ret);
int __wrap_tide_harvest_begin(struct tide_client *client,
			      struct tide_harvest **ret);
int __real_tide_harvest_next(struct tide_harvest *harvest,
			     struct tide_extent *ret);
int __wrap_tide_harvest_next(struct tide_harvest *harvest,
			     struct tide_extent *ret);
void __real_tide_client_close(struct tide_client *client);
void __wrap_tide_client_close(struct tide_client *client);
ssize_t __real_process_vm_readv(pid_t pid, const struct iovec *here,
				unsigned long nhere, const struct iovec *there,
				unsigned long nthere, unsigned long flags);
ssize_t __wrap_process_vm_readv(pid_t pid, const struct iovec *here,
				unsigned long nhere, const struct iovec *there,
				unsigned long nthere, unsigned long flags);
ssize_t __real_writev(int fd, const struct iovec *iov, int count);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int count);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);

static struct {
	bool on;
	struct pages rest;	  /* handed out by the last harvest, and */
	struct pages unread;	  /* could not be read before it */
	struct tide_client *kept; /* instead of being closed */
	uint32_t short_max;	  /* bytes of one write; 0: any */
	uint32_t writes;	  /* so far */
	uint32_t fail_write;	  /* this one, from 1; 0: none */
	int error;		  /* with which */
	uint32_t allocations;	  /* to come before one fails; 0: none does */
} wrapped;

int __wrap_tide_harvest_begin(struct tide_client *client,
			      struct tide_harvest **ret)
{
	pages_clear(&wrapped.rest);
	wrapped.rest = wrapped.unread;
	memset(&wrapped.unread, 0, sizeof(wrapped.unread));
	return __real_tide_harvest_begin(client, ret);
}

ssize_t __wrap_process_vm_readv(pid_t pid, const struct iovec *here,
				unsigned long nhere, const struct iovec *there,
				unsigned long nthere, unsigned long flags)
{
	ssize_t n =
		__real_process_vm_readv(pid, here, nhere, there, nthere, flags);
	int saved = errno;

	if (wrapped.on && n < 0)
		assert(!pages_add(&wrapped.unread,
				  (uintptr_t)there->iov_base / PAGE, 1));
	errno = saved;
	return n;
}

int __wrap_tide_harvest_next(struct tide_harvest *harvest,
			     struct tide_extent *ret)
{
	int more = __real_tide_harvest_next(harvest, ret);

	if (wrapped.on && more > 0 && !(ret->flags & TIDE_EXTENT_GONE))
		assert(!pages_add(&wrapped.rest, ret->first_gfn, ret->npages));
	return more;
}

void __wrap_tide_client_close(struct tide_client *client)
{
	if (!wrapped.on || wrapped.kept || !client)
		__real_tide_client_close(client);
	else
		wrapped.kept = client;
}

/* Return: 0: not this one. */
static bool fails(void)
{
	wrapped.writes++;
	if (wrapped.fail_write == wrapped.writes) {
		errno = wrapped.error;
		return true;
	}
	if (wrapped.short_max && wrapped.writes % 3 == 0) {
		errno = EINTR;
		return true;
	}
	return false;
}

ssize_t __wrap_writev(int fd, const struct iovec *iov, int count)
{
	struct iovec first = iov[0];

	if (!wrapped.on)
		return __real_writev(fd, iov, count);
	if (fails())
		return -1;
	if (!wrapped.short_max)
		return __real_writev(fd, iov, count);
	if (first.iov_len > wrapped.short_max)
		first.iov_len = wrapped.short_max;
	return __real_writev(fd, &first, 1);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct iovec first;
	struct msghdr less = *message;

	if (!wrapped.on)
		return __real_sendmsg(fd, message, flags);
	if (fails())
		return -1;
	if (!wrapped.short_max)
		return __real_sendmsg(fd, message, flags);
	first = message->msg_iov[0];
	if (first.iov_len > wrapped.short_max)
		first.iov_len = wrapped.short_max;
	less.msg_iov = &first;
	less.msg_iovlen = 1;
	return __real_sendmsg(fd, &less, flags);
}

static bool is_out(void)
{
	return wrapped.allocations && !--wrapped.allocations;
}

void *__wrap_calloc(size_t count, size_t size)
{
	return is_out() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return is_out() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return is_out() ? NULL : __real_aligned_alloc(align, size);
}

static void wrap(void)
{
	__real_tide_client_close(wrapped.kept); /* of a test that failed */
	pages_clear(&wrapped.rest);
	pages_clear(&wrapped.unread);
	memset(&wrapped, 0, sizeof(wrapped));
	wrapped.on = true;
}

static void unwrap(void)
{
	wrapped.on = false;
	__real_tide_client_close(wrapped.kept);
	wrapped.kept = NULL;
}

/* ---- targets ---- */

static struct {
	_Atomic int ready;
	_Atomic int idle; /* asked for; then it only waits */
	_Atomic int is_idle;
	_Atomic int command; /* of the obedient one */
} * shared;

/* At the same addresses in every target, which inherits them. */
static unsigned char *memory, *places, *common, *from_file;
static uint64_t random_state;

static int get(const _Atomic int *at)
{
	return atomic_load_explicit(at, memory_order_seq_cst);
}

static void set(_Atomic int *at, int value)
{
	atomic_store_explicit(at, value, memory_order_seq_cst);
}

static void nap_us(long us)
{
	struct timespec time = { us / 1000000, us % 1000000 * 1000 };

	while (nanosleep(&time, &time) && errno == EINTR)
		;
}

static uint32_t any(uint32_t below)
{
	random_state =
		random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random_state >> 33) % below;
}

static void scribble(unsigned char *page)
{
	uint64_t word = random_state;

	memcpy(page + any(PAGE / 8) * 8, &word, sizeof(word));
}

/* Mapped, moved, or taken away. */
static void change_place(void)
{
	static bool mapped[PLACES];
	uint32_t i = any(PLACES), j = any(PLACES);
	unsigned char *at = places + i * PLACE_PAGES * PAGE;
	unsigned char *to = places + j * PLACE_PAGES * PAGE;

	if (!mapped[i]) {
		assert(mmap(at, PLACE_PAGES * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			    0) == at);
		mapped[i] = true;
	} else if (!mapped[j]) {
		assert(mremap(at, PLACE_PAGES * PAGE, PLACE_PAGES * PAGE,
			      MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
		mapped[i] = false;
		mapped[j] = true;
		at = to;
	} else if (any(2)) {
		assert(!munmap(at, PLACE_PAGES * PAGE));
		mapped[i] = false;
		return;
	}
	for (uint32_t n = any(20); n; n--)
		scribble(at + any(PLACE_PAGES) * PAGE);
}

/* A run of pages of the memory that nothing may read for a moment. */
static void forbid(void)
{
	unsigned char *at = memory + any(MEMORY_PAGES - 8) * PAGE;
	uint32_t n = 1 + any(8);

	assert(!mprotect(at, n * PAGE, PROT_NONE));
	nap_us(any(3000));
	assert(!mprotect(at, n * PAGE, PROT_READ | PROT_WRITE));
}

static void have_a_child(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		scribble(memory + any(MEMORY_PAGES) * PAGE);
		_exit(0);
	}
	scribble(memory + any(MEMORY_PAGES) * PAGE);
	(void)waitpid(pid, NULL, 0);
}

static void change_something(void)
{
	uint32_t what = any(1000);

	if (what < 700)
		scribble(memory + any(40) * 3 * PAGE);
	else if (what < 850)
		scribble(memory + any(MEMORY_PAGES) * PAGE);
	else if (what < 880)
		memset(memory + any(MEMORY_PAGES) * PAGE, 0, PAGE);
	else if (what < 900)
		assert(!madvise(memory + any(MEMORY_PAGES - 8) * PAGE,
				(1 + any(8)) * PAGE, MADV_DONTNEED));
	else if (what < 930)
		change_place();
	else if (what < 960)
		scribble(common + any(SHARED_PAGES) * PAGE);
	else if (what < 965)
		assert(!madvise(common + any(SHARED_PAGES) * PAGE, PAGE,
				MADV_REMOVE));
	else if (what < 982)
		scribble(from_file + any(FILE_PAGES) * PAGE);
	else if (what < 985)
		memset(from_file + any(FILE_PAGES) * PAGE, 0, PAGE);
	else if (what < 990)
		assert(!madvise(from_file + any(FILE_PAGES) * PAGE, PAGE,
				MADV_DONTNEED));
	else if (what < 996)
		forbid();
	else
		have_a_child();
}

/* And write nothing, not even to the stack. */
static void rest(void)
{
	for (;;)
		pause();
}

static void change_at_random(void)
{
	for (uint32_t i = 0; i < 2000; i++)
		change_something();
	set(&shared->ready, 1);
	while (!get(&shared->idle)) {
		for (uint32_t i = any(60); i; i--)
			change_something();
		nap_us(500);
	}
	set(&shared->is_idle, 1);
	rest();
}

static void do_nothing(void)
{
	set(&shared->ready, 1);
	for (;;)
		pause();
}

static void write_all_the_time(void)
{
	memset(memory, 1, MEMORY_PAGES * PAGE);
	set(&shared->ready, 1);
	for (uint64_t n = 0;; n++)
		memory[n % 400 * PAGE] = (unsigned char)n;
}

#define STEPS 4

static void write_to_files(void)
{
	scribble(from_file + 3 * PAGE);
	memset(from_file + 5 * PAGE, 0, PAGE);
	scribble(common + 3 * PAGE);
}

/* Pages whose discards the kernel hides are discarded, written and discarded.
 * Until then it writes elsewhere, too, so that there is another round. */
static void take_steps(void)
{
	int done = 0;

	write_to_files();
	set(&shared->ready, 1);
	while (done < STEPS) {
		memory[0]++;
		if (get(&shared->command) == done)
			continue;
		done++;
		if (done == 2) {
			write_to_files();
		} else if (done != 3) { /* in which it is sent */
			assert(!madvise(from_file + 3 * PAGE, 20 * PAGE,
					MADV_DONTNEED));
			assert(!madvise(common + 3 * PAGE, PAGE, MADV_REMOVE));
		}
		set(&shared->is_idle, done);
	}
	rest();
}

/* 1: execute another program; 2: end. */
static void obey(void)
{
	memset(memory, 1, MEMORY_PAGES * PAGE);
	set(&shared->ready, 1);
	for (;;) {
		int command = get(&shared->command);

		if (command == 1)
			(void)execl("/bin/sleep", "sleep", "1000", NULL);
		if (command == 2)
			_exit(0);
		nap_us(200);
		for (uint32_t i = 0; i < MEMORY_PAGES; i++)
			memory[i * PAGE]++;
	}
}

static pid_t start(void (*body)(void))
{
	pid_t pid;

	memset((void *)shared, 0, sizeof(*shared));
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		body();
		_exit(0);
	}
	for (int i = 0; i < 10000 && !get(&shared->ready); i++)
		nap_us(1000);
	assert_true(get(&shared->ready));
	return pid;
}

static void end(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void stop(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
}

static void need_it(const char *name)
{
	struct tide_probe_result result;

#ifndef __x86_64__
	SKIP(name, "%s", "attach is for x86-64 so far");
#endif
	assert_int_equal(tide_probe(TIDE_TRACKER_WP, &result), 0);
	if (!result.works)
		SKIP(name, "%s", result.why);
}

static struct tide_process *attach(pid_t pid)
{
	struct tide_process *process;
	char why[128] = "";

	if (tide_process_attach(pid, &process, why, sizeof(why)))
		fail_msg("attach: %s", why);
	return process;
}

/* ---- the sink's other end ---- */

/* Not malloc's, which would keep it for the targets to come. */
static void *map_room(size_t nbytes)
{
	void *room = mmap(NULL, nbytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_true(room != MAP_FAILED);
	return room;
}

struct image {
	/* Pages by gfn, in a table of a power of two. */
	struct entry {
		uint64_t gfn;
		const unsigned char *bytes; /* in the sink; NULL: zero */
		bool used;
	} * entries;
	size_t size, used;
	/* As the records count. */
	uint32_t rounds;
	uint64_t pages, zero_pages, rest;
	uint64_t round_pages[64], announced[64];
	bool ended;
};

static struct entry *entry_of(struct image *image, uint64_t gfn)
{
	size_t at = (gfn * 0x9e3779b97f4a7c15u >> 20) & (image->size - 1);

	while (image->entries[at].used && image->entries[at].gfn != gfn)
		at = (at + 1) & (image->size - 1);
	return &image->entries[at];
}

static void put_page(struct image *image, uint64_t gfn,
		     const unsigned char *bytes)
{
	struct entry *entry = entry_of(image, gfn);

	if (!entry->used) {
		assert_true(++image->used < image->size / 2);
		entry->used = true;
		entry->gfn = gfn;
	}
	entry->bytes = bytes;
}

static uint64_t get64(const unsigned char *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* One record; every rule of docs/rehearse.md is asserted. */
static size_t apply_one(struct image *image, const unsigned char *at,
			size_t left)
{
	uint64_t first = get64(at + 8), count = get64(at + 16);
	size_t nbytes;
	uint32_t type;

	assert_true(left >= 40);
	assert_memory_equal(at, "TMR1", 4);
	assert_int_equal(get64(at + 32), XXH3_64bits(at, 32));
	memcpy(&type, at + 4, sizeof(type));
	nbytes = type == 2 ? count * PAGE : 0;
	assert_true(left - 40 >= nbytes);
	assert_int_equal(get64(at + 24), XXH3_64bits(at + 40, nbytes));
	assert_false(image->ended);
	switch (type) {
	case 1:
		assert_int_equal(first, ++image->rounds);
		assert_true(first < 64);
		image->announced[first] = count;
		break;
	case 2:
	case 3:
		assert_true(image->rounds && count && count <= 64);
		for (uint64_t i = 0; i < count; i++)
			put_page(image, first + i,
				 type == 2 ? at + 40 + i * PAGE : NULL);
		image->pages += count;
		image->zero_pages += type == 3 ? count : 0;
		image->round_pages[image->rounds] += count;
		break;
	case 4:
		assert_int_equal(first, image->rounds);
		image->rest = count;
		image->ended = true;
		break;
	default:
		fail_msg("a record of type %u", type);
	}
	return 40 + nbytes;
}

static void apply(struct image *image, const unsigned char *bytes, size_t size)
{
	*image = (struct image){ .size = 1u << 16 };
	image->entries = map_room(image->size * sizeof(*image->entries));
	for (size_t at = 0; at < size;)
		at += apply_one(image, bytes + at, size - at);
}

static void forget(struct image *image)
{
	munmap(image->entries, image->size * sizeof(*image->entries));
}

enum kind { A_FILE, A_PIPE, A_SLEEPY_PIPE, A_SOCKET };

/* Where a rehearsal writes to, and who reads from it. */
struct other_end {
	int fd;
	int from;
	unsigned char *bytes; /* SINK_MAX */
	size_t size;
	pthread_t reader;
};

static void *read_on(void *opaque)
{
	struct other_end *other = opaque;

	for (;;) {
		ssize_t n = read(other->from, other->bytes + other->size,
				 SINK_MAX - other->size);

		if (n <= 0)
			return NULL;
		other->size += (size_t)n;
	}
}

static void other_open(struct other_end *other, enum kind kind)
{
	int ends[2] = { -1, -1 };

	*other = (struct other_end){ .from = -1, .bytes = map_room(SINK_MAX) };
	if (kind == A_FILE) {
		other->fd = memfd_create("sink", MFD_CLOEXEC);
		return;
	}
	if (kind == A_SOCKET)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	else
		assert_int_equal(
			pipe2(ends, kind == A_SLEEPY_PIPE ? O_NONBLOCK : 0), 0);
	other->from = ends[0];
	other->fd = ends[1];
	(void)fcntl(ends[0], F_SETFL, 0); /* only we may wait */
	assert_int_equal(pthread_create(&other->reader, NULL, read_on, other),
			 0);
}

static void other_finish(struct other_end *other)
{
	if (other->from >= 0) {
		close(other->fd);
		assert_int_equal(pthread_join(other->reader, NULL), 0);
		close(other->from);
		return;
	}
	other->size = (size_t)lseek(other->fd, 0, SEEK_END);
	assert_true(other->size < SINK_MAX);
	assert_int_equal(pread(other->fd, other->bytes, other->size, 0),
			 other->size);
	close(other->fd);
}

/* ---- the oracle ---- */

static bool has(const struct pages *pages, uint64_t gfn)
{
	uint64_t at;

	return pages_next(pages, gfn, 1, &at) && at == gfn;
}

/* Nothing has changed since the last harvest. */
static bool rested;

/* Everything that the rehearsal's client has been, or would be, told. */
static void add_unsent(struct tide_process *process)
{
	struct tide_harvest *harvest;
	struct tide_extent extent;
	struct pages before = wrapped.rest;
	int changed;

	memset(&wrapped.rest, 0, sizeof(wrapped.rest));
	changed = tide_process_update(process);
	assert_true(changed >= 0);
	/* Of one that rests, everything had been seen. */
	assert_true(!changed || !rested);
	assert_int_equal(tide_harvest_begin(wrapped.kept, &harvest), 0);
	while (tide_harvest_next(harvest, &extent) > 0)
		;
	assert_int_equal(tide_harvest_commit(harvest), 0);
	for (uint64_t gfn = 0; pages_next(&before, gfn, 1, &gfn); gfn++)
		assert_int_equal(pages_add(&wrapped.rest, gfn, 1), 0);
	pages_clear(&before);
}

/* Return: how many pages were compared. */
static uint64_t compare_mapping(struct tide_process *process,
				struct image *image,
				const struct tide_mapping *mapping)
{
	/* What is discarded there after the last harvest nobody can know. */
	bool hides = mapping->start == (uintptr_t)common ||
		     mapping->start == (uintptr_t)from_file;
	static const unsigned char zeros[PAGE];
	uint64_t first = mapping->start / PAGE, compared = 0;
	uint64_t npages = mapping->end / PAGE - first;
	uint64_t *words = calloc((npages + 63) / 64, sizeof(*words));
	unsigned char there[PAGE];

	assert_true(tide_process_populated(process, first, npages, words) >= 0);
	for (uint64_t i = 0; i < npages; i++) {
		const struct entry *entry = entry_of(image, first + i);
		bool populated = words[i / 64] >> i % 64 & 1;

		if (has(&wrapped.rest, first + i) ||
		    (!entry->used && !populated) ||
		    (hides && !populated && !rested))
			continue;
		assert_int_equal(tide_process_read(process, (first + i) * PAGE,
						   there, PAGE),
				 PAGE);
		if (memcmp(there, entry->bytes ? entry->bytes : zeros, PAGE))
			fail_msg("page %#jx of %jx-%jx %s differs (%s)",
				 (uintmax_t)(first + i),
				 (uintmax_t)mapping->start,
				 (uintmax_t)mapping->end, mapping->name,
				 !entry->used	? "never sent"
				 : entry->bytes ? "sent"
						: "sent as zero");
		compared++;
	}
	free(words);
	return compared;
}

/* The target is stopped.  Return: how many pages were compared. */
static uint64_t compare(struct tide_process *process, struct image *image)
{
	struct tide_mapping mapping;
	uint64_t compared = 0;

	add_unsent(process);
	for (uint32_t i = 0; !tide_process_mapping(process, i, &mapping); i++)
		compared += compare_mapping(process, image, &mapping);
	return compared;
}

/* What the statistics say is what the sink has. */
static void check_stats(const struct tide_rehearse_stats *stats,
			const struct image *image, size_t size)
{
	assert_true(image->ended);
	assert_int_equal(stats->bytes, size);
	assert_int_equal(stats->rounds, image->rounds);
	assert_int_equal(stats->pages, image->pages);
	assert_int_equal(stats->zero_pages, image->zero_pages);
	assert_int_equal(stats->rest_pages, image->rest);
	assert_int_equal(stats->memory_pages, image->announced[1]);
	assert_int_equal(stats->round_pages, image->announced[image->rounds]);
	assert_int_equal(stats->round_pages_done, stats->round_pages);
	for (uint32_t i = 1; i <= image->rounds; i++)
		assert_true(image->round_pages[i] <= image->announced[i]);
}

static int settle(void *opaque, const struct tide_rehearse_stats *stats,
		  int round_over)
{
	const uint32_t *rounds = opaque;

	/* The target rests from the end of that round on. */
	if (round_over && stats->rounds == *rounds) {
		set(&shared->idle, 1);
		while (!get(&shared->is_idle))
			nap_us(1000);
		nap_us(10000);
	}
	return 0;
}

/* Not everything is excused: of a whole mapping that was cut in pieces just
 * when we looked nothing can be said, but that is rare. */
static uint64_t compared_pages, rehearsals;

static void one_rehearsal(enum kind kind, uint64_t bandwidth,
			  uint32_t rest_after, uint32_t short_max)
{
	pid_t pid = start(change_at_random);
	struct tide_process *process = attach(pid);
	struct tide_rehearse_config config = {
		.size = sizeof(config),
		.bandwidth = bandwidth,
		.downtime_ns = 1, /* nothing but no rest fits */
		.rounds_max = 6,
		.progress = settle,
		.opaque = &rest_after,
	};
	struct tide_rehearse_stats stats;
	struct other_end other;
	struct image image;
	uint64_t compared;

	other_open(&other, kind);
	config.fd = other.fd;
	wrap();
	wrapped.short_max = short_max;
	assert_int_equal(tide_rehearse(process, &config, &stats), 0);
	stop(pid);
	other_finish(&other);
	apply(&image, other.bytes, other.size);
	check_stats(&stats, &image, other.size);
	rested = stats.rounds > rest_after;
	compared = compare(process, &image);
	compared_pages += compared;
	rehearsals++;
	assert_true(stats.converged || stats.rest_pages);
	if (rest_after < 5)
		assert_true(stats.converged);
	assert_true(stats.zero_pages);
	unwrap();
	forget(&image);
	munmap(other.bytes, SINK_MAX);
	tide_process_detach(process);
	end(pid);
}

static int take_a_step(void *opaque, const struct tide_rehearse_stats *stats,
		       int round_over)
{
	(void)opaque;
	if (!round_over || stats->rounds > STEPS)
		return 0;
	set(&shared->command, (int)stats->rounds);
	while (get(&shared->is_idle) != (int)stats->rounds)
		nap_us(100);
	nap_us(10000); /* it comes to rest */
	return 0;
}

/* ---- tests ---- */

/* Fails when a discard that the kernel hides is seen once, but not again. */
static void test_hidden_discards(void **state)
{
	struct tide_rehearse_config config = {
		.bandwidth = 40 * (uint64_t)MEGABYTE,
		.downtime_ns = 1,
		.progress = take_a_step,
	};
	struct tide_rehearse_stats stats;
	struct tide_process *process;
	struct other_end other;
	struct image image;
	pid_t pid;

	(void)state;
	need_it("hidden discards");
	pid = start(take_steps);
	process = attach(pid);
	other_open(&other, A_FILE);
	config.fd = other.fd;
	wrap();
	assert_int_equal(tide_rehearse(process, &config, &stats), 0);
	stop(pid);
	other_finish(&other);
	apply(&image, other.bytes, other.size);
	check_stats(&stats, &image, other.size);
	assert_true(stats.converged);
	assert_int_equal(stats.rounds, STEPS + 2);
	assert_int_equal(stats.rest_pages, 0);
	rested = true;
	assert_true(compare(process, &image) > 0);
	unwrap();
	forget(&image);
	munmap(other.bytes, SINK_MAX);
	tide_process_detach(process);
	end(pid);
}

/* Fails when a page is lost, or is not what it was when it was last written. */
static void test_content(void **state)
{
	(void)state;
	need_it("content");
	for (uint32_t i = 0; i < 4 * test_long(); i++) {
		uint64_t bandwidth = (100 + any(600)) * (uint64_t)MEGABYTE;

		one_rehearsal(A_FILE, bandwidth, UINT32_MAX, 0);
		one_rehearsal(A_FILE, bandwidth, 1 + any(3), 0);
	}
	one_rehearsal(A_FILE, UINT64_MAX, 3, 0);
	one_rehearsal(A_FILE, 40000 * (uint64_t)MEGABYTE, UINT32_MAX, 0);
	assert_true(compared_pages / rehearsals > MEMORY_PAGES / 2);
}

/* Fails when a sink that takes little at a time, or nothing now, gets another
 * stream. */
static void test_sinks(void **state)
{
	(void)state;
	need_it("sinks");
	for (int kind = A_FILE; kind <= A_SOCKET; kind++) {
		one_rehearsal((enum kind)kind, 400 * (uint64_t)MEGABYTE,
			      UINT32_MAX, 0);
		one_rehearsal((enum kind)kind, 400 * (uint64_t)MEGABYTE, 2,
			      1 + any(9000));
	}
}

static int count_calls(void *opaque, const struct tide_rehearse_stats *stats,
		       int round_over)
{
	uint32_t *calls = opaque;

	(void)stats;
	(void)round_over;
	(*calls)++;
	return 0;
}

/* Fails when an idle process takes more than one round, or anything is counted
 * twice. */
static void test_idle(void **state)
{
	pid_t pid;
	struct tide_process *process;
	struct tide_rehearse_stats stats, nowhere;
	struct tide_rehearse_config config = { .fd = -1,
					       .bandwidth = 1000000000 };
	struct other_end other;
	struct image image;
	uint32_t calls = 0;

	(void)state;
	need_it("idle");
	memset(memory, 3, 100 * PAGE);
	pid = start(do_nothing);
	process = attach(pid);
	assert_int_equal(tide_rehearse(process, &config, &nowhere), 0);
	other_open(&other, A_FILE);
	config.fd = other.fd;
	config.progress = count_calls;
	config.opaque = &calls;
	assert_int_equal(tide_rehearse(process, &config, &stats), 0);
	other_finish(&other);
	apply(&image, other.bytes, other.size);
	check_stats(&stats, &image, other.size);
	assert_int_equal(stats.bytes, nowhere.bytes);
	assert_int_equal(stats.pages, nowhere.pages);
	assert_true(stats.converged && nowhere.converged);
	assert_int_equal(stats.rounds, 1);
	assert_int_equal(stats.rest_pages, 0);
	assert_int_equal(stats.downtime_ns, 0);
	assert_int_equal(stats.pages, stats.memory_pages);
	assert_true(stats.memory_pages >= 100);
	assert_true(calls);
	forget(&image);
	munmap(other.bytes, SINK_MAX);
	tide_process_detach(process);
	end(pid);
}

/* Fails when much is sent in less time than its bandwidth allows, or a little
 * takes for ever. */
static void test_bandwidth(void **state)
{
	struct tide_rehearse_config config = { .fd = -1 };
	struct tide_rehearse_stats stats;
	struct tide_process *process;
	pid_t pid;

	(void)state;
	need_it("bandwidth");
	memset(memory, 3, MEMORY_PAGES * PAGE);
	pid = start(do_nothing);
	process = attach(pid);
	config.bandwidth = 20 * MEGABYTE;
	assert_int_equal(tide_rehearse(process, &config, &stats), 0);
	assert_true(stats.total_ns >= stats.bytes * 50); /* ns a byte */
	assert_true(stats.round_ns >= stats.round_bytes * 50);
	for (int i = 0; i < 64; i += 9) {
		config.bandwidth = UINT64_MAX >> i;
		if (config.bandwidth < 100 * (uint64_t)MEGABYTE)
			continue;
		assert_int_equal(tide_rehearse(process, &config, &stats), 0);
		assert_true(stats.converged);
	}
	config.bandwidth = 0;
	assert_int_equal(tide_rehearse(process, &config, &stats), -EINVAL);
	tide_process_detach(process);
	end(pid);
}

/* Fails when a process that writes the same pages all the time seems to
 * converge, or is tried for ever. */
static void test_hopeless(void **state)
{
	struct tide_rehearse_config config = {
		.bandwidth = 40 * MEGABYTE,
		.downtime_ns = 10000000, /* 97 pages */
		.fd = -1,
	};
	struct tide_rehearse_stats stats;
	struct tide_process *process;
	pid_t pid;

	(void)state;
	need_it("hopeless");
	pid = start(write_all_the_time);
	process = attach(pid);
	assert_int_equal(tide_rehearse(process, &config, &stats), 0);
	assert_false(stats.converged);
	assert_true(stats.rounds > PRECOPY_STALL_ROUNDS);
	assert_true(stats.rounds < 30);
	assert_true(stats.rest_pages >= 400);
	assert_int_equal(stats.downtime_ns,
			 stats.rest_pages * PAGE * 25); /* ns a byte */
	config.rounds_max = 2;
	assert_int_equal(tide_rehearse(process, &config, &stats), 0);
	assert_false(stats.converged);
	assert_int_equal(stats.rounds, 2);
	/* The same at another downtime goal. */
	config.downtime_ns = 400000000;
	assert_int_equal(tide_rehearse(process, &config, &stats), 0);
	assert_true(stats.converged);
	assert_int_equal(stats.rounds, 1);
	tide_process_detach(process);
	end(pid);
}

struct when {
	uint32_t calls; /* to come */
	int command;
	pid_t pid;
};

static int do_it_then(void *opaque, const struct tide_rehearse_stats *stats,
		      int round_over)
{
	struct when *when = opaque;
	siginfo_t info;

	(void)stats;
	(void)round_over;
	if (--when->calls)
		return 0;
	if (!when->command)
		return 1;
	set(&shared->command, when->command);
	if (when->command == 2)
		(void)waitid(P_PID, (id_t)when->pid, &info, WEXITED | WNOWAIT);
	else
		nap_us(100000);
	return 0;
}

/* Fails when what happens to the target, or what progress says, at any step
 * ends in something else than its error. */
static void test_steps(void **state)
{
	static const int expected[] = { -ECANCELED, -ESTALE, -ESRCH };

	(void)state;
	need_it("steps");
	for (int command = 0; command < 3; command++) {
		for (uint32_t calls = 1; calls < 10; calls++) {
			pid_t pid = start(obey);
			struct tide_process *process = attach(pid);
			struct when when = { calls, command, pid };
			struct tide_rehearse_config config = {
				.bandwidth = 30 * MEGABYTE,
				.downtime_ns = 1,
				.fd = -1,
				.progress = do_it_then,
				.opaque = &when,
			};
			struct tide_rehearse_stats stats;

			assert_int_equal(
				tide_rehearse(process, &config, &stats),
				expected[command]);
			tide_process_detach(process);
			end(pid);
		}
	}
}

/* Fails when an error of the sink, at any write, is not what is returned, or
 * kills us. */
static void test_sink_errors(void **state)
{
	static const int errors[] = { ENOSPC, EIO, EDQUOT };
	struct tide_rehearse_config config = { .bandwidth = UINT64_MAX };
	struct tide_rehearse_stats stats;
	struct tide_process *process;
	int ends[2], err = 0, full;
	pid_t pid;

	(void)state;
	need_it("errors of the sink");
	memset(memory, 3, MEMORY_PAGES * PAGE);
	pid = start(do_nothing);
	process = attach(pid);
	for (uint32_t n = 1; err || n == 1; n += EACH) {
		struct other_end other;

		other_open(&other, n % 2 ? A_FILE : A_SOCKET);
		config.fd = other.fd;
		wrap();
		wrapped.fail_write = n;
		wrapped.error = errors[n % 3];
		err = tide_rehearse(process, &config, &stats);
		if (err)
			assert_int_equal(err, -errors[n % 3]);
		else
			assert_true(n > 8);
		unwrap();
		other_finish(&other);
		munmap(other.bytes, SINK_MAX);
	}
	/* Real ones.  Signals are as they are for every program. */
	(void)signal(SIGPIPE, SIG_DFL);
	assert_int_equal(pipe(ends), 0);
	close(ends[0]);
	config.fd = ends[1];
	assert_int_equal(tide_rehearse(process, &config, &stats), -EPIPE);
	close(ends[1]);
	assert_int_equal(tide_rehearse(process, &config, &stats), -EBADF);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	close(ends[0]);
	config.fd = ends[1];
	assert_int_equal(tide_rehearse(process, &config, &stats), -EPIPE);
	close(ends[1]);
	full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	config.fd = full;
	assert_int_equal(tide_rehearse(process, &config, &stats), -ENOSPC);
	close(full);
	tide_process_detach(process);
	end(pid);
}

/* Fails when a SIGPIPE that was pending before is taken, or one that was
 * blocked comes. */
static void test_signals(void **state)
{
	struct tide_rehearse_config config = { .bandwidth = UINT64_MAX };
	struct tide_rehearse_stats stats;
	struct tide_process *process;
	sigset_t blocked, old, pending;
	int ends[2];
	pid_t pid;

	(void)state;
	need_it("signals");
	pid = start(do_nothing);
	process = attach(pid);
	assert_int_equal(pipe(ends), 0);
	close(ends[0]);
	config.fd = ends[1];
	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGPIPE);
	(void)pthread_sigmask(SIG_BLOCK, &blocked, &old);
	assert_int_equal(tide_rehearse(process, &config, &stats), -EPIPE);
	(void)sigpending(&pending);
	assert_false(sigismember(&pending, SIGPIPE));
	(void)raise(SIGPIPE);
	assert_int_equal(tide_rehearse(process, &config, &stats), -EPIPE);
	(void)sigpending(&pending);
	assert_true(sigismember(&pending, SIGPIPE));
	(void)sigwait(&blocked, &ends[0]);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(ends[1]);
	tide_process_detach(process);
	end(pid);
}

static int stop_soon(void *opaque, const struct tide_rehearse_stats *stats,
		     int round_over)
{
	uint32_t *calls = opaque;

	(void)stats;
	(void)round_over;
	return ++*calls == 5;
}

/* Fails when nobody is heard while the other end does not read. */
static void test_nobody_reads(void **state)
{
	struct tide_rehearse_stats stats;
	struct tide_process *process;
	pid_t pid;

	(void)state;
	need_it("nobody reads");
	memset(memory, 3, MEMORY_PAGES * PAGE);
	pid = start(do_nothing);
	process = attach(pid);
	for (int kind = 0; kind < 2; kind++) {
		int ends[2];
		uint32_t calls = 0;
		struct tide_rehearse_config config = {
			.bandwidth = UINT64_MAX,
			.progress = stop_soon,
			.opaque = &calls,
		};

		if (kind)
			assert_int_equal(
				socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
		else
			assert_int_equal(pipe(ends), 0);
		config.fd = ends[1];
		assert_int_equal(tide_rehearse(process, &config, &stats),
				 -ECANCELED);
		close(ends[0]);
		close(ends[1]);
	}
	tide_process_detach(process);
	end(pid);
}

/* Fails when want of memory, at any place, is not what is returned. */
static void test_no_memory(void **state)
{
	struct tide_rehearse_config config = { .bandwidth = UINT64_MAX,
					       .fd = -1 };
	struct tide_rehearse_stats stats = { .rounds = 77 };
	struct tide_process *process;
	uint32_t n = 1;
	pid_t pid;
	int err;

	(void)state;
	need_it("no memory");
	pid = start(do_nothing);
	process = attach(pid);
	for (; n < 10000; n++) {
		wrapped.allocations = n;
		err = tide_rehearse(process, &config, &stats);
		if (!err)
			break;
		assert_int_equal(err, -ENOMEM);
		assert_int_equal(stats.rounds, 77); /* left alone */
	}
	wrapped.allocations = 0;
	assert_int_equal(err, 0);
	assert_true(n > 5);
	tide_process_detach(process);
	end(pid);
}

/* Fails when a struct of another library is taken for ours. */
static void test_config(void **state)
{
	struct {
		struct tide_rehearse_config config;
		uint64_t later;
	} newer = { .config = { .size = sizeof(newer),
				.bandwidth = 1u << 30,
				.fd = -1 },
		    .later = 1 };
	struct tide_rehearse_stats stats;
	struct tide_process *process;
	pid_t pid;

	(void)state;
	need_it("config");
	pid = start(do_nothing);
	process = attach(pid);
	assert_int_equal(tide_rehearse(process, &newer.config, &stats), -E2BIG);
	newer.later = 0;
	assert_int_equal(tide_rehearse(process, &newer.config, &stats), 0);
	newer.config.size = 8;
	assert_int_equal(tide_rehearse(process, &newer.config, &stats),
			 -EINVAL);
	tide_process_detach(process);
	end(pid);
}

/* Fails when the rules of when to stop change without anybody's saying so. */
static void test_precopy(void **state)
{
	static const struct {
		uint32_t rounds_max;
		uint64_t downtime_ns;
		uint64_t rests[12]; /* after each round; 0 ends */
		uint32_t rounds;    /* expected, and */
		enum precopy_verdict verdict;
	} rows[] = {
		{ 30, 300, { 300 }, 1, PRECOPY_CONVERGED },
		{ 30, 300, { 301, 300 }, 2, PRECOPY_CONVERGED },
		{ 30, 300, { 900, 700, 400, 250 }, 4, PRECOPY_CONVERGED },
		{ 1, 300, { 301 }, 1, PRECOPY_HOPELESS },
		{ 3, 300, { 900, 600, 301 }, 3, PRECOPY_HOPELESS },
		{ 3, 300, { 900, 600, 300 }, 3, PRECOPY_CONVERGED },
		/* Five in a row without a twentieth less. */
		{ 30,
		  1,
		  { 900, 900, 900, 900, 900, 900 },
		  6,
		  PRECOPY_HOPELESS },
		{ 30,
		  1,
		  { 1000, 960, 955, 951, 960, 970 },
		  6,
		  PRECOPY_HOPELESS },
		/* A twentieth of what was the least, not of the last. */
		{ 30,
		  1,
		  { 1000, 980, 961, 951, 949, 949, 949, 949, 949, 949 },
		  10,
		  PRECOPY_HOPELESS },
		{ 30,
		  1,
		  { 1000, 2000, 3000, 4000, 5000, 1 },
		  6,
		  PRECOPY_CONVERGED },
		{ 30, 1, { 1000, 900, 800 }, 3, PRECOPY_GO_ON },
		{ 30, 0, { UINT64_MAX, UINT64_MAX }, 2, PRECOPY_GO_ON },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct precopy precopy = { .rounds_max = rows[i].rounds_max };
		enum precopy_verdict verdict = PRECOPY_GO_ON;
		uint32_t n = 0;

		while (verdict == PRECOPY_GO_ON && rows[i].rests[n])
			verdict = precopy_round(&precopy, rows[i].rests[n++],
						rows[i].downtime_ns);
		if (verdict != rows[i].verdict || n != rows[i].rounds ||
		    rows[i].rests[n])
			fail_msg("row %zu: %d after %u rounds", i, (int)verdict,
				 n);
		assert_int_equal(precopy.rounds, n);
	}
}

#define MODEL_PAGES (3 * PAGES_CHUNK)

/* Fails when a set of pages is not the set that it should be. */
static void test_page_sets(void **state)
{
	unsigned char *model = calloc(MODEL_PAGES, 1);
	const uint64_t base = 5 * (uint64_t)PAGES_CHUNK;
	struct pages pages = { 0 };
	uint64_t gfn = 0, n, at = 0;

	(void)state;
	assert_int_equal(pages_next(&pages, 0, 1, &gfn), 0);
	for (uint32_t i = 0; i < 300; i++) {
		uint64_t first = any(MODEL_PAGES);
		uint64_t count = 1 + any(i % 10 ? 150 : 40000);

		if (count > MODEL_PAGES - first)
			count = MODEL_PAGES - first;
		if (i % 3 < 2) {
			assert_int_equal(pages_add(&pages, base + first, count),
					 0);
			memset(model + first, 1, count);
		} else {
			for (uint64_t k = 0; k < count; k++)
				pages_drop(&pages, base + first + k);
			memset(model + first, 0, count);
		}
	}
	pages_drop(&pages, 0);
	pages_drop(&pages, UINT64_MAX >> 12);
	for (gfn = 0; (n = pages_next(&pages, gfn, 1 + any(500), &gfn));
	     gfn += n) {
		for (; at < gfn - base; at++)
			assert_int_equal(model[at], 0);
		for (; at < gfn - base + n; at++)
			assert_int_equal(model[at], 1);
	}
	for (; at < MODEL_PAGES; at++)
		assert_int_equal(model[at], 0);
	pages_clear(&pages);
	free(model);
}

static bool map_all(void)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	const int rw = PROT_READ | PROT_WRITE;

	for (uint32_t i = 0; i < FILE_PAGES * PAGE; i += 8) {
		uint64_t word = i * 0x9e3779b97f4a7c15u;

		if (pwrite(fd, &word, 8, i) != 8)
			return false;
	}
	shared = mmap(NULL, PAGE, rw, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memory = mmap(NULL, MEMORY_PAGES * PAGE, rw,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	common = mmap(NULL, SHARED_PAGES * PAGE, rw, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	from_file = mmap(NULL, FILE_PAGES * PAGE, rw, MAP_PRIVATE, fd, 0);
	/* Room that nobody else takes. */
	places = mmap(NULL, PLACES * PLACE_PAGES * PAGE, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return shared != MAP_FAILED && memory != MAP_FAILED &&
	       common != MAP_FAILED && from_file != MAP_FAILED &&
	       places != MAP_FAILED;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_precopy),
		cmocka_unit_test(test_page_sets),
		cmocka_unit_test(test_content),
		cmocka_unit_test(test_sinks),
		cmocka_unit_test(test_hidden_discards),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_bandwidth),
		cmocka_unit_test(test_hopeless),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_sink_errors),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_nobody_reads),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_config),
	};

	random_state = test_seed();
	if (!map_all())
		return 1;
	return cmocka_run_group_tests_name("rehearse", tests, NULL, NULL);
}
