/* SPDX-License-Identifier: MIT */
/*
 * trace_test.c - traces against tidemark/trace.h and docs/trace.md
 *
 * Random traces first, which must come back as they were; then everything that
 * a file, a disk and a caller can do wrong: a cut after every byte, every bit
 * flipped, reads, writes and allocations that fail one after the other, and
 * each rule of the put calls.  What is malformed with right sums around it:
 * trace_malformed_test.c.
 */
#undef NDEBUG /* a test without its asserts tests nothing */

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tidemark/trace.h>

#include "file_faults.h"
#include "test_support.h"
#include "trace_script.h"

#define EVENTS_MAX 4000
#define RUNS_MAX 3000

/* ---- random traces ---- */

/* What was put, and what must come back. */
struct model {
	struct tide_trace_info info;
	struct tide_trace_event *events; /* each with runs of its own */
	size_t count;
	uint64_t state; /* of the numbers */
};

static uint64_t random_number(struct model *model, uint64_t below)
{
	model->state += 0x9e3779b97f4a7c15ull;

	uint64_t z = model->state;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	z ^= z >> 31;
	return below ? z % below : z;
}

/* Small ones are as likely as large ones. */
static uint64_t any_size(struct model *model, uint64_t below)
{
	uint64_t bits = random_number(model, 64);
	uint64_t value = random_number(model, 0) >> bits;

	return value % below;
}

static void any_text(struct model *model, char *to, size_t size)
{
	size_t length = random_number(model, size);

	for (size_t i = 0; i < length; i++)
		to[i] = (char)(1 + random_number(model, 255));
}

static void add_mapping(struct model *model, uint64_t *next_id,
			struct tide_trace_mapping *there, size_t *count)
{
	struct tide_trace_mapping mapping = {
		.id = (uint32_t)(*next_id + random_number(model, 3)),
		.pid = (uint32_t)random_number(model, 1ull << 32),
		.first_gfn = any_size(model, 1ull << 51),
		.npages = 1 + any_size(model, 1ull << 51),
		.shared = (int)random_number(model, 2),
	};

	mapping.populated_pages = any_size(model, mapping.npages + 1);
	mapping.zero_pages = any_size(model, mapping.populated_pages + 1);
	any_text(model, mapping.name, sizeof(mapping.name));
	*next_id = (uint64_t)mapping.id + 1;
	there[(*count)++] = mapping;
	model->events[model->count++] = (struct tide_trace_event){
		.kind = TIDE_TRACE_MAPPING,
		.mapping = mapping,
	};
}

static void add_gone(struct model *model, struct tide_trace_mapping *there,
		     size_t *count)
{
	size_t which = random_number(model, *count);

	model->events[model->count++] = (struct tide_trace_event){
		.kind = TIDE_TRACE_GONE,
		.mapping = there[which],
	};
	(*count)--;
	memmove(&there[which], &there[which + 1],
		(*count - which) * sizeof(*there));
}

/* Runs over some of the mappings, with gaps and lengths of any kind. */
static size_t any_runs(struct model *model,
		       const struct tide_trace_mapping *there, size_t count,
		       struct tide_trace_run *runs, uint64_t *ret_pages)
{
	size_t limit = any_size(model, RUNS_MAX), n = 0;
	uint64_t gaps = 1 + any_size(model, 1 << 20);

	*ret_pages = 0;
	for (size_t i = 0; i < count && n < limit; i++) {
		uint64_t at = random_number(model, gaps);

		if (random_number(model, 3) == 0)
			continue;
		while (n < limit && at < there[i].npages) {
			uint64_t left = there[i].npages - at;
			uint64_t npages = 1 + any_size(model, left);

			if (random_number(model, 4))
				npages = 1;
			runs[n++] = (struct tide_trace_run){
				.mapping = there[i].id,
				.first_page = at,
				.npages = npages,
			};
			*ret_pages += npages;
			at += npages + 1 + random_number(model, gaps);
			if (random_number(model, 200) == 0)
				break;
		}
	}
	return n;
}

static void add_interval(struct model *model, uint64_t *now_ns,
			 const struct tide_trace_mapping *there, size_t count,
			 const struct tide_trace_interval *again)
{
	struct tide_trace_interval interval = {
		.begin_ns = *now_ns,
		.end_ns = *now_ns + 1 + any_size(model, 1ull << 40),
		.harvest_ns = any_size(model, UINT64_MAX),
		.held_ns = any_size(model, UINT64_MAX),
	};
	struct tide_trace_run *runs = calloc(RUNS_MAX, sizeof(*runs));

	assert_non_null(runs);
	if (again) { /* the same pages */
		memcpy(runs, again->runs, again->nruns * sizeof(*runs));
		interval.nruns = again->nruns;
		interval.pages = again->pages;
	} else {
		interval.nruns =
			any_runs(model, there, count, runs, &interval.pages);
	}
	interval.runs = runs;
	*now_ns = interval.end_ns;
	model->events[model->count++] = (struct tide_trace_event){
		.kind = TIDE_TRACE_INTERVAL,
		.interval = interval,
	};
}

static void model_init(struct model *model, uint64_t seed, size_t events)
{
	struct tide_trace_mapping there[100];
	const struct tide_trace_interval *last = NULL;
	uint64_t next_id = 0, now_ns = 0;
	size_t count = 0;

	memset(model, 0, sizeof(*model));
	model->state = seed;
	model->events = calloc(events, sizeof(*model->events));
	assert_non_null(model->events);
	model->info.start_ns = random_number(model, 0);
	model->info.interval_ns = 1 + any_size(model, UINT64_MAX - 1);
	model->info.pid = (uint32_t)random_number(model, 1ull << 32);
	any_text(model, model->info.command, sizeof(model->info.command));
	while (model->count < events) {
		uint64_t what = random_number(model, 100);

		if (what < 20 && count < 100) {
			add_mapping(model, &next_id, there, &count);
		} else if (what < 28 && count) {
			add_gone(model, there, &count);
			last = NULL;
		} else {
			add_interval(model, &now_ns, there, count,
				     what < 60 ? last : NULL);
			last = &model->events[model->count - 1].interval;
		}
	}
}

static void model_fini(struct model *model)
{
	for (size_t i = 0; i < model->count; i++)
		if (model->events[i].kind == TIDE_TRACE_INTERVAL)
			free((void *)(uintptr_t)model->events[i].interval.runs);
	free(model->events);
}

static int put(struct tide_trace_writer *writer,
	       const struct tide_trace_event *event)
{
	switch (event->kind) {
	case TIDE_TRACE_MAPPING:
		return tide_trace_put_mapping(writer, &event->mapping);
	case TIDE_TRACE_GONE:
		return tide_trace_put_gone(writer, event->mapping.id);
	case TIDE_TRACE_INTERVAL:
		return tide_trace_put_interval(writer, &event->interval);
	default:
		return -ENOSYS;
	}
}

/* Return: the first error, of finish if it is that. */
static int write_model(const struct model *model, int fd)
{
	struct tide_trace_writer *writer;
	int err = tide_trace_create(fd, &model->info, &writer);
	int ended;

	if (err)
		return err;
	for (size_t i = 0; i < model->count && !err; i++)
		err = put(writer, &model->events[i]);
	ended = tide_trace_finish(writer);
	if (err && err != -ENOMEM) /* of the write: sticky */
		assert_int_equal(ended, err);
	return err ? err : ended;
}

static void same_mapping(const struct tide_trace_mapping *a,
			 const struct tide_trace_mapping *b)
{
	assert_int_equal(a->id, b->id);
	assert_int_equal(a->pid, b->pid);
	assert_int_equal(a->first_gfn, b->first_gfn);
	assert_int_equal(a->npages, b->npages);
	assert_int_equal(a->populated_pages, b->populated_pages);
	assert_int_equal(a->zero_pages, b->zero_pages);
	assert_int_equal(a->shared, b->shared);
	assert_string_equal(a->name, b->name);
}

static void same_interval(const struct tide_trace_interval *a,
			  const struct tide_trace_interval *b)
{
	assert_int_equal(a->begin_ns, b->begin_ns);
	assert_int_equal(a->end_ns, b->end_ns);
	assert_int_equal(a->harvest_ns, b->harvest_ns);
	assert_int_equal(a->held_ns, b->held_ns);
	assert_int_equal(a->pages, b->pages);
	assert_int_equal(a->nruns, b->nruns);
	for (size_t i = 0; i < a->nruns; i++) {
		assert_int_equal(a->runs[i].mapping, b->runs[i].mapping);
		assert_int_equal(a->runs[i].first_page, b->runs[i].first_page);
		assert_int_equal(a->runs[i].npages, b->runs[i].npages);
	}
}

/* What comes is what was put, up to where it ends.  Return: how it ends. */
static int read_model(const struct model *model, int fd, char *why, size_t size,
		      size_t *ret_count)
{
	struct tide_trace_reader *reader;
	struct tide_trace_event event;
	struct tide_trace_info info;
	size_t count = 0;
	int got = tide_trace_open(fd, &reader, &info, why, size);

	*ret_count = 0;
	if (got)
		return got;
	assert_int_equal(info.start_ns, model->info.start_ns);
	assert_int_equal(info.interval_ns, model->info.interval_ns);
	assert_int_equal(info.pid, model->info.pid);
	assert_string_equal(info.command, model->info.command);
	while ((got = tide_trace_next(reader, &event)) == 1) {
		const struct tide_trace_event *want = &model->events[count++];

		assert_true(count <= model->count);
		assert_int_equal(event.kind, want->kind);
		if (event.kind == TIDE_TRACE_INTERVAL)
			same_interval(&event.interval, &want->interval);
		else
			same_mapping(&event.mapping, &want->mapping);
	}
	/* It stays so. */
	assert_int_equal(tide_trace_next(reader, &event), got);
	tide_trace_close(reader);
	*ret_count = count;
	return got;
}

static int scratch(void)
{
	int fd = memfd_create("trace", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void rewind_fd(int fd)
{
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
}

static size_t size_of(int fd)
{
	off_t size = lseek(fd, 0, SEEK_CUR);

	assert_true(size >= 0);
	return (size_t)size;
}

static void random_traces_come_back(void **state)
{
	uint64_t seed = test_seed();

	(void)state;
	no_faults();
	for (uint32_t i = 0; i < 40 * test_long(); i++) {
		struct model model;
		char why[128] = "";
		size_t count;
		int fd = scratch();

		/* A long one outlives many of its mappings. */
		model_init(&model, seed + i, i % 10 ? 300 : 2000);
		assert_int_equal(write_model(&model, fd), 0);
		rewind_fd(fd);
		assert_int_equal(
			read_model(&model, fd, why, sizeof(why), &count), 0);
		assert_int_equal(count, model.count);
		assert_string_equal(why, "");
		close(fd);
		model_fini(&model);
	}
}

static void short_and_interrupted_calls_do_no_harm(void **state)
{
	static const size_t shorts[] = { 1, 3, 4096 };
	struct model model;
	char why[128];

	(void)state;
	model_init(&model, test_seed(), 60);
	for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++) {
		size_t count;
		int fd = scratch();

		use_faults();
		faults.short_max = shorts[i];
		faults.interrupt = 1;
		assert_int_equal(write_model(&model, fd), 0);
		rewind_fd(fd);
		assert_int_equal(
			read_model(&model, fd, why, sizeof(why), &count), 0);
		assert_int_equal(count, model.count);
		close(fd);
	}
	no_faults();
	model_fini(&model);
}

/* ---- what a file may have suffered ---- */

/* A small trace with everything in it; its bytes. */
static struct model small;
static uint8_t small_bytes[8192];
static size_t small_size;
static size_t small_ends[32]; /* of the front and of each record */

static void make_small(void)
{
	static struct tide_trace_event events[8];
	static struct tide_trace_run runs[120];
	const struct tide_trace_mapping heap = {
		.id = 4,
		.pid = 9,
		.first_gfn = 0x7f0000000,
		.npages = 1000,
		.populated_pages = 500,
		.zero_pages = 100,
		.shared = 1,
		.name = "[heap]",
	};
	struct tide_trace_mapping other = heap;
	struct tide_trace_writer *writer;
	int fd = scratch();

	no_faults();
	other.id = 70000;
	other.name[0] = '\0';
	for (size_t i = 0; i < 120; i++)
		runs[i] = (struct tide_trace_run){
			.mapping = i < 90 ? 4 : 70000,
			.first_page = i % 90 * (3 + i % 5) * 2,
			.npages = 1 + i % 3,
		};
	small.info = (struct tide_trace_info){ 1, 100, 9, "sh -c true" };
	small.events = events;
	small.count = 8;
	events[0].mapping = heap;
	events[1].mapping = other;
	for (size_t i = 2; i < 7; i++) {
		events[i].kind = TIDE_TRACE_INTERVAL;
		events[i].interval = (struct tide_trace_interval){
			.begin_ns = (i - 2) * 100,
			.end_ns = (i - 1) * 100,
			.harvest_ns = 7,
			.held_ns = i == 2 ? 5 : 0,
			.runs = runs,
		};
	}
	/* One alone, some that are not sorted yet, none, and twice many. */
	events[2].interval.nruns = 1;
	events[7].kind = TIDE_TRACE_GONE;
	events[7].mapping = heap;
	for (size_t i = 0; i < 120; i++)
		runs[i].first_page = (i < 90 ? i : i - 90) * 7 + i % 3;
	events[4].interval.nruns = 120;
	events[5].interval.nruns = 120;
	events[6].interval.nruns = 60;
	for (size_t i = 2; i < 7; i++)
		for (size_t j = 0; j < events[i].interval.nruns; j++)
			events[i].interval.pages += runs[j].npages;

	assert_int_equal(tide_trace_create(fd, &small.info, &writer), 0);
	small_ends[0] = size_of(fd);
	for (size_t i = 0; i < small.count; i++) {
		assert_int_equal(put(writer, &events[i]), 0);
		small_ends[i + 1] = size_of(fd);
	}
	assert_int_equal(tide_trace_finish(writer), 0);
	small_size = size_of(fd);
	assert_true(small_size <= sizeof(small_bytes));
	assert_int_equal(pread(fd, small_bytes, small_size, 0), small_size);
	close(fd);
	/* A compressed one is among them. */
	assert_int_equal(small_bytes[small_ends[5] + 5], TIDE_TRACE_ZSTD);
}

static int play(const uint8_t *bytes, size_t size, char *why, size_t why_size,
		size_t *ret_count)
{
	int fd = trace_script_fd(bytes, size);
	int got = read_model(&small, fd, why, why_size, ret_count);

	close(fd);
	return got;
}

/* It is a line, and not an empty one. */
static void is_sentence(const char *why)
{
	assert_true(why[0]);
	assert_null(strchr(why, '\n'));
}

static void every_cut_is_noticed(void **state)
{
	(void)state;
	for (size_t size = 0; size < small_size; size++) {
		size_t count, whole = 0;
		char why[128];

		assert_int_equal(
			play(small_bytes, size, why, sizeof(why), &count),
			-ENODATA);
		is_sentence(why);
		assert_non_null(strstr(why, "cut short"));
		while (whole < small.count && small_ends[whole + 1] <= size)
			whole++;
		assert_int_equal(count, whole);
	}
}

static void every_flipped_bit_is_noticed(void **state)
{
	uint8_t bytes[sizeof(small_bytes)];

	(void)state;
	for (size_t i = 0; i < small_size * 8; i++) {
		size_t count, whole = 0;
		char why[128];
		int got;

		memcpy(bytes, small_bytes, small_size);
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		got = play(bytes, small_size, why, sizeof(why), &count);
		assert_int_equal(got, -EBADMSG);
		is_sentence(why);
		/* What comes before it is as it was. */
		while (whole < small.count && small_ends[whole + 1] <= i / 8)
			whole++;
		assert_int_equal(count, whole);
	}
}

static void record_in_the_wrong_place_is_noticed(void **state)
{
	uint8_t bytes[sizeof(small_bytes) * 2];

	(void)state;
	for (size_t i = 0; i < small.count; i++) {
		size_t begin = small_ends[i], end = small_ends[i + 1], count;
		char why[128];

		/* Missing, */
		memcpy(bytes, small_bytes, begin);
		memcpy(bytes + begin, small_bytes + end, small_size - end);
		assert_int_equal(play(bytes, small_size - (end - begin), why,
				      sizeof(why), &count),
				 -EBADMSG);
		assert_int_equal(count, i);
		/* and twice. */
		memcpy(bytes, small_bytes, end);
		memcpy(bytes + end, small_bytes + begin, small_size - begin);
		assert_int_equal(play(bytes, small_size + (end - begin), why,
				      sizeof(why), &count),
				 -EBADMSG);
		assert_int_equal(count, i + 1);
	}
}

static void what_follows_the_end_is_not_read(void **state)
{
	uint8_t bytes[sizeof(small_bytes) + 100];
	char why[128];
	size_t count;

	(void)state;
	memcpy(bytes, small_bytes, small_size);
	memset(bytes + small_size, 0x55, 100);
	assert_int_equal(
		play(bytes, small_size + 100, why, sizeof(why), &count), 0);
	assert_int_equal(count, small.count);
}

static void other_files_are_no_traces(void **state)
{
	static const char *const others[] = {
		"\n",
		"hello",
		"#!/bin/sh\nexit 0\n",
		"\x89PNG\r\n\x1a\n and so on, for longer than a front",
	};
	struct tide_trace_reader *reader;
	struct tide_trace_info info;
	char why[128];
	size_t count;
	int fd;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(play((const uint8_t *)others[i],
				      strlen(others[i]), why, sizeof(why),
				      &count),
				 -EBADMSG);
		assert_string_equal(why, "it is no trace");
	}
	fd = open("/", O_RDONLY | O_CLOEXEC);
	assert_int_equal(tide_trace_open(fd, &reader, &info, why, sizeof(why)),
			 -EISDIR);
	is_sentence(why);
	close(fd);
	assert_int_equal(tide_trace_open(-1, &reader, &info, NULL, 0), -EBADF);
}

static void sentences_fit_where_they_go(void **state)
{
	(void)state;
	for (size_t size = 1; size < 40; size++) {
		char why[41];
		size_t count;

		memset(why, 'x', sizeof(why));
		assert_int_equal(play(small_bytes, 20, why, size, &count),
				 -ENODATA);
		assert_int_equal(why[size], 'x');
		assert_true(strlen(why) < size);
	}
}

static void later_versions_are_told_from_damage(void **state)
{
	static const struct {
		uint16_t version, shift;
		int want;
	} cases[] = {
		{ 0, 12, -EBADMSG },
		{ 1, 12, 0 },
		{ 1, 14, -EBADMSG },
		{ 2, 12, -EPROTONOSUPPORT },
		{ 2, 14, -EPROTONOSUPPORT },
		{ UINT16_MAX, 12, -EPROTONOSUPPORT },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t bytes[sizeof(small_bytes)];
		char why[128];
		size_t count;

		memcpy(bytes, small_bytes, small_size);
		bytes[8] = (uint8_t)cases[i].version;
		bytes[9] = (uint8_t)(cases[i].version >> 8);
		bytes[10] = (uint8_t)cases[i].shift;
		trace_script_mend(bytes, small_size);
		/* In a version that is known the mended trace is right. */
		assert_int_equal(
			play(bytes, small_size, why, sizeof(why), &count),
			cases[i].want);
		if (cases[i].want)
			is_sentence(why);
	}
}

/* ---- what a disk, a pipe and the memory may do ---- */

static void every_failed_write_is_told(void **state)
{
	(void)state;
	for (uint64_t until = 0; until < small_size; until++) {
		size_t count;
		char why[128];
		int fd = scratch();

		use_faults();
		faults.until = until;
		faults.err = ENOSPC;
		assert_int_equal(write_model(&small, fd), -ENOSPC);
		no_faults();
		assert_int_equal(size_of(fd), until);
		rewind_fd(fd);
		assert_int_equal(
			read_model(&small, fd, why, sizeof(why), &count),
			-ENODATA);
		close(fd);
	}
}

/* What was cut short stays so, though there is room again. */
static void failed_write_is_the_last(void **state)
{
	const struct tide_trace_mapping other = { .id = 80000, .npages = 1 };
	const struct tide_trace_interval later = { .begin_ns = 500,
						   .end_ns = 600 };
	struct tide_trace_writer *writer;
	int fd = scratch();

	(void)state;
	no_faults();
	assert_int_equal(tide_trace_create(fd, &small.info, &writer), 0);
	assert_int_equal(put(writer, &small.events[0]), 0);
	use_faults();
	faults.until = 5;
	faults.err = EDQUOT;
	assert_int_equal(put(writer, &small.events[1]), -EDQUOT);
	no_faults();
	assert_int_equal(tide_trace_put_mapping(writer, &other), -EDQUOT);
	assert_int_equal(tide_trace_put_gone(writer, 4), -EDQUOT);
	assert_int_equal(tide_trace_put_interval(writer, &later), -EDQUOT);
	assert_int_equal(tide_trace_finish(writer), -EDQUOT);
	assert_int_equal(size_of(fd), small_ends[1] + 5);
	close(fd);
}

static void full_disk_is_told(void **state)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	(void)state;
	no_faults();
	if (fd < 0)
		SKIP("full_disk_is_told", "no /dev/full");
	assert_int_equal(write_model(&small, fd), -ENOSPC);
	close(fd);
}

static void every_failed_read_is_told(void **state)
{
	(void)state;
	for (uint64_t until = 0; until < small_size; until += 7) {
		int fd = trace_script_fd(small_bytes, small_size);
		size_t count;
		char why[128];

		use_faults();
		faults.short_max = 5;
		faults.until = until;
		faults.err = EIO;
		assert_int_equal(
			read_model(&small, fd, why, sizeof(why), &count), -EIO);
		is_sentence(why);
		close(fd);
	}
	no_faults();
}

/* Fail the first allocation, then the second, until nothing is left. */
static void every_failed_allocation_is_told(void **state)
{
	char why[128];
	size_t count;
	int err, n;

	(void)state;
	for (n = 0, err = -ENOMEM; err; n++) {
		int fd = scratch();

		use_faults();
		faults.allocations = n;
		err = write_model(&small, fd);
		assert_true(err == 0 || err == -ENOMEM);
		close(fd);
	}
	assert_true(n > 4);
	for (n = 0, err = -ENOMEM; err; n++) {
		int fd = trace_script_fd(small_bytes, small_size);

		use_faults();
		faults.allocations = n;
		err = read_model(&small, fd, why, sizeof(why), &count);
		assert_true(err == 0 || err == -ENOMEM);
		if (err)
			is_sentence(why);
		close(fd);
	}
	assert_true(n > 4);
	no_faults();
}

static void trace_goes_through_a_pipe(void **state)
{
	char why[128];
	size_t count;
	int ends[2];

	(void)state;
	no_faults();
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write_model(&small, ends[1]), 0);
	/* Still open: the end is in the trace, and not that of the pipe. */
	assert_int_equal(read_model(&small, ends[0], why, sizeof(why), &count),
			 0);
	assert_int_equal(count, small.count);
	close(ends[0]);
	close(ends[1]);
}

/* ---- the rules of the put calls ---- */

static struct tide_trace_writer *writer_to(int fd)
{
	const struct tide_trace_info info = { .interval_ns = 1 };
	struct tide_trace_writer *writer;

	assert_int_equal(tide_trace_create(fd, &info, &writer), 0);
	return writer;
}

static void bad_infos_are_refused(void **state)
{
	struct tide_trace_writer *writer = NULL;
	struct tide_trace_info info = { 0 };
	int fd = scratch();

	(void)state;
	assert_int_equal(tide_trace_create(fd, &info, &writer), -EINVAL);
	info.interval_ns = 1;
	memset(info.command, 'x', sizeof(info.command));
	assert_int_equal(tide_trace_create(fd, &info, &writer), -EINVAL);
	assert_int_equal(size_of(fd), 0);
	assert_null(writer);
	close(fd);
}

static void bad_mappings_are_refused(void **state)
{
	const struct tide_trace_mapping good = {
		.id = 5,
		.first_gfn = 10,
		.npages = 100,
		.populated_pages = 50,
		.zero_pages = 50,
	};
	struct tide_trace_mapping bad[9];
	int fd = scratch();
	struct tide_trace_writer *writer = writer_to(fd);
	size_t size;

	(void)state;
	assert_int_equal(tide_trace_put_mapping(writer, &good), 0);
	size = size_of(fd);
	for (size_t i = 0; i < 9; i++) {
		bad[i] = good;
		bad[i].id = 6;
	}
	bad[0].id = 5;
	bad[1].id = 0;
	bad[2].npages = bad[2].populated_pages = bad[2].zero_pages = 0;
	bad[3].populated_pages = 101;
	bad[4].zero_pages = 51;
	bad[5].first_gfn = TIDE_TRACE_GFN_MAX - 99;
	bad[6].first_gfn = TIDE_TRACE_GFN_MAX;
	bad[7].npages = UINT64_MAX;
	memset(bad[8].name, 'x', sizeof(bad[8].name));
	for (size_t i = 0; i < 9; i++)
		assert_int_equal(tide_trace_put_mapping(writer, &bad[i]),
				 -EINVAL);
	assert_int_equal(size_of(fd), size); /* nothing was written */
	assert_int_equal(tide_trace_put_gone(writer, 4), -ENOENT);
	assert_int_equal(tide_trace_put_gone(writer, 6), -ENOENT);
	assert_int_equal(tide_trace_put_gone(writer, 5), 0);
	assert_int_equal(tide_trace_put_gone(writer, 5), -ENOENT);
	assert_int_equal(tide_trace_put_mapping(writer, &good), -EINVAL);
	assert_int_equal(tide_trace_finish(writer), 0);
	close(fd);
}

/* With one thing wrong; mappings 2 and 5 of 100 pages, and 3 that is gone. */
struct bad_interval {
	uint64_t begin_ns, end_ns;
	struct tide_trace_run runs[2];
};

static const struct bad_interval bad_intervals[] = {
	{ 9, 20, { { 2, 0, 1 }, { 5, 0, 1 } } },
	{ 11, 20, { { 2, 0, 1 }, { 5, 0, 1 } } },
	{ 10, 10, { { 2, 0, 1 }, { 5, 0, 1 } } },
	{ 10, 9, { { 2, 0, 1 }, { 5, 0, 1 } } },
	{ 10, 20, { { 5, 0, 1 }, { 2, 0, 1 } } }, /* not sorted */
	{ 10, 20, { { 2, 9, 1 }, { 2, 0, 1 } } },
	{ 10, 20, { { 2, 9, 1 }, { 2, 9, 1 } } },
	{ 10, 20, { { 2, 9, 2 }, { 2, 10, 1 } } },
	{ 10, 20, { { 2, 9, 1 }, { 2, 10, 1 } } }, /* they touch */
	{ 10, 20, { { 2, 0, 1 }, { 3, 0, 1 } } },  /* gone */
	{ 10, 20, { { 1, 0, 1 }, { 2, 0, 1 } } },  /* never there */
	{ 10, 20, { { 2, 0, 1 }, { 6, 0, 1 } } },
	{ 10, 20, { { 2, 0, 0 }, { 5, 0, 1 } } },
	{ 10, 20, { { 2, 0, 101 }, { 5, 0, 1 } } },
	{ 10, 20, { { 2, 100, 1 }, { 5, 0, 1 } } },
	{ 10, 20, { { 2, UINT64_MAX, 2 }, { 5, 0, 1 } } },
	{ 10, 20, { { 2, 1, UINT64_MAX }, { 5, 0, 1 } } },
};

static void bad_intervals_are_refused(void **state)
{
	struct tide_trace_mapping mapping = { .npages = 100 };
	struct tide_trace_interval good = { .end_ns = 10 };
	int fd = scratch();
	struct tide_trace_writer *writer = writer_to(fd);
	struct tide_trace_run runs[2] = { { 2, 0, 100 }, { 5, 99, 1 } };
	size_t size;

	(void)state;
	for (uint32_t id = 2; id < 6; id += id == 3 ? 2 : 1) {
		mapping.id = id;
		assert_int_equal(tide_trace_put_mapping(writer, &mapping), 0);
	}
	assert_int_equal(tide_trace_put_gone(writer, 3), 0);
	assert_int_equal(tide_trace_put_interval(writer, &good), 0);
	size = size_of(fd);
	for (size_t i = 0; i < sizeof(bad_intervals) / sizeof(bad_intervals[0]);
	     i++) {
		const struct bad_interval *bad = &bad_intervals[i];
		const struct tide_trace_interval interval = {
			.begin_ns = bad->begin_ns,
			.end_ns = bad->end_ns,
			.runs = bad->runs,
			.nruns = 2,
		};

		assert_int_equal(tide_trace_put_interval(writer, &interval),
				 -EINVAL);
	}
	assert_int_equal(size_of(fd), size);
	good.begin_ns = 10;
	good.end_ns = 20;
	good.runs = runs;
	good.nruns = 2;
	assert_int_equal(tide_trace_put_interval(writer, &good), 0);
	assert_int_equal(tide_trace_finish(writer), 0);
	close(fd);
}

static void first_interval_begins_at_zero(void **state)
{
	struct tide_trace_interval interval = { .begin_ns = 1, .end_ns = 2 };
	int fd = scratch();
	struct tide_trace_writer *writer = writer_to(fd);

	(void)state;
	assert_int_equal(tide_trace_put_interval(writer, &interval), -EINVAL);
	tide_trace_abandon(writer);
	tide_trace_abandon(NULL);
	tide_trace_close(NULL);
	close(fd);
}

static void huge_numbers_come_back(void **state)
{
	struct tide_trace_event events[6] = { 0 };
	struct tide_trace_run runs[] = {
		{ UINT32_MAX - 1, 0, 1 },
		{ UINT32_MAX - 1, TIDE_TRACE_GFN_MAX - 2, 2 },
		{ UINT32_MAX, 0, TIDE_TRACE_GFN_MAX },
	};
	struct model model = {
		.info = { UINT64_MAX, UINT64_MAX, UINT32_MAX, "" },
		.events = events,
		.count = 5,
	};
	char why[128];
	size_t count;
	int fd = scratch();

	(void)state;
	no_faults();
	for (uint32_t i = 0; i < 2; i++) {
		events[i].mapping = (struct tide_trace_mapping){
			.id = UINT32_MAX - 1 + i,
			.pid = UINT32_MAX,
			.npages = TIDE_TRACE_GFN_MAX,
			.populated_pages = TIDE_TRACE_GFN_MAX,
			.zero_pages = TIDE_TRACE_GFN_MAX,
		};
		memset(events[i].mapping.name, 0xff, 63);
	}
	memset(model.info.command, 0xff, 127);
	events[2].kind = TIDE_TRACE_INTERVAL;
	events[2].interval = (struct tide_trace_interval){
		.end_ns = UINT64_MAX,
		.harvest_ns = UINT64_MAX,
		.held_ns = UINT64_MAX,
		.pages = TIDE_TRACE_GFN_MAX + 3,
		.runs = runs,
		.nruns = 3,
	};
	for (size_t i = 0; i < 2; i++) {
		events[3 + i].kind = TIDE_TRACE_GONE;
		events[3 + i].mapping = events[i].mapping;
	}
	assert_int_equal(write_model(&model, fd), 0);
	rewind_fd(fd);
	assert_int_equal(read_model(&model, fd, why, sizeof(why), &count), 0);
	assert_int_equal(count, 5);
	close(fd);
}

static void too_many_are_refused(void **state)
{
	struct tide_trace_mapping mapping = { .npages = 1ull << 40 };
	struct tide_trace_interval interval = {
		.end_ns = 1,
		.nruns = TIDE_TRACE_RUNS_MAX + 1,
	};
	struct tide_trace_run *runs = calloc(interval.nruns, sizeof(*runs));
	int fd = scratch();
	struct tide_trace_writer *writer = writer_to(fd);

	(void)state;
	no_faults();
	assert_non_null(runs);
	for (uint32_t i = 0; i < TIDE_TRACE_MAPPINGS_MAX; i++) {
		mapping.id = i;
		assert_int_equal(tide_trace_put_mapping(writer, &mapping), 0);
	}
	mapping.id++;
	assert_int_equal(tide_trace_put_mapping(writer, &mapping), -E2BIG);
	assert_int_equal(tide_trace_put_gone(writer, 77), 0);
	assert_int_equal(tide_trace_put_mapping(writer, &mapping), 0);

	for (size_t i = 0; i < interval.nruns; i++) {
		runs[i].first_page = i * 2;
		runs[i].npages = 1;
	}
	interval.runs = runs;
	assert_int_equal(tide_trace_put_interval(writer, &interval), -E2BIG);
	interval.nruns--;
	assert_int_equal(tide_trace_put_interval(writer, &interval), 0);
	/* Not too many, but five bytes and more each. */
	for (size_t i = 0; i < interval.nruns; i++)
		runs[i].first_page = i << 17;
	interval.begin_ns++;
	interval.end_ns++;
	assert_int_equal(tide_trace_put_interval(writer, &interval), 0);
	for (size_t i = 0; i < interval.nruns; i++) {
		runs[i].first_page = i << 17;
		runs[i].npages = 1 << 16;
	}
	interval.begin_ns++;
	interval.end_ns++;
	assert_int_equal(tide_trace_put_interval(writer, &interval), -E2BIG);
	assert_int_equal(tide_trace_finish(writer), 0);
	free(runs);
	close(fd);
}

static void same_pages_again_cost_next_to_nothing(void **state)
{
	struct tide_trace_mapping mapping = { .npages = 1 << 20 };
	struct tide_trace_interval interval = { .end_ns = 100, .nruns = 9000 };
	struct tide_trace_run *runs = calloc(interval.nruns, sizeof(*runs));
	struct model random = { .state = test_seed() };
	int fd = scratch();
	struct tide_trace_writer *writer = writer_to(fd);
	size_t first;

	(void)state;
	assert_non_null(runs);
	for (size_t i = 0; i < interval.nruns; i++) {
		runs[i].first_page = i * 100 + random_number(&random, 98);
		runs[i].npages = 1;
	}
	interval.runs = runs;
	assert_int_equal(tide_trace_put_mapping(writer, &mapping), 0);
	assert_int_equal(tide_trace_put_interval(writer, &interval), 0);
	first = size_of(fd);
	interval.begin_ns = 100;
	interval.end_ns = 200;
	assert_int_equal(tide_trace_put_interval(writer, &interval), 0);
	assert_true(size_of(fd) - first < 64);
	assert_true(first > 5000);
	assert_int_equal(tide_trace_finish(writer), 0);
	free(runs);
	close(fd);
}

static void pages_that_cannot_be_counted_are_refused(void **state)
{
	struct tide_trace_mapping mapping = { .npages = TIDE_TRACE_GFN_MAX };
	struct tide_trace_interval interval = { .end_ns = 1 };
	struct tide_trace_run *runs = calloc(4096, sizeof(*runs));
	int fd = scratch();
	struct tide_trace_writer *writer = writer_to(fd);

	(void)state;
	no_faults();
	assert_non_null(runs);
	for (uint32_t i = 0; i < 4096; i++) {
		mapping.id = i;
		assert_int_equal(tide_trace_put_mapping(writer, &mapping), 0);
		runs[i] = (struct tide_trace_run){ i, 0, TIDE_TRACE_GFN_MAX };
	}
	interval.runs = runs;
	interval.nruns = 4096;
	assert_int_equal(tide_trace_put_interval(writer, &interval), -EINVAL);
	interval.nruns = 4095;
	assert_int_equal(tide_trace_put_interval(writer, &interval), 0);
	tide_trace_abandon(writer);
	free(runs);
	close(fd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_traces_come_back),
		cmocka_unit_test(short_and_interrupted_calls_do_no_harm),
		cmocka_unit_test(every_cut_is_noticed),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(record_in_the_wrong_place_is_noticed),
		cmocka_unit_test(what_follows_the_end_is_not_read),
		cmocka_unit_test(other_files_are_no_traces),
		cmocka_unit_test(sentences_fit_where_they_go),
		cmocka_unit_test(later_versions_are_told_from_damage),
		cmocka_unit_test(every_failed_write_is_told),
		cmocka_unit_test(failed_write_is_the_last),
		cmocka_unit_test(full_disk_is_told),
		cmocka_unit_test(every_failed_read_is_told),
		cmocka_unit_test(every_failed_allocation_is_told),
		cmocka_unit_test(trace_goes_through_a_pipe),
		cmocka_unit_test(bad_infos_are_refused),
		cmocka_unit_test(bad_mappings_are_refused),
		cmocka_unit_test(bad_intervals_are_refused),
		cmocka_unit_test(first_interval_begins_at_zero),
		cmocka_unit_test(huge_numbers_come_back),
		cmocka_unit_test(too_many_are_refused),
		cmocka_unit_test(same_pages_again_cost_next_to_nothing),
		cmocka_unit_test(pages_that_cannot_be_counted_are_refused),
	};

	make_small();
	return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
