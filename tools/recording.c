/* SPDX-License-Identifier: MIT */
/* recording.c - samples, written down as a trace */
#include "recording.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tidemark/trace.h>

#include "sample.h"
#include "tool.h"

#define CHUNK_PAGES 32768u
#define NS_PER_S 1000000000ull
/* Of so many pages of a mapping it is looked at whether they are zeros:
 * tidemark-record(1) says what that is worth. */
#define ZERO_LOOKS 1024u

struct recording {
	struct sampler *sampler;
	struct tide_trace_writer *writer;
	struct tide_trace_run *runs;
	size_t max_runs;
	struct sample_row *rows; /* as they are there in the trace, by id */
	uint32_t nrows, max_rows;
	uint32_t next_id;
	uint64_t held_ns; /* before the first interval, until that is put */
};

static int failed(int err)
{
	return tool_error("the trace: %s",
			  err == -E2BIG ? "too many mappings, or an interval "
					  "with too many runs: a shorter one "
					  "has fewer"
					: strerror(-err));
}

/* ---- what a mapping has ---- */

static bool is_zero(struct tide_process *process, uint64_t gfn)
{
	static const unsigned char zeros[TIDE_PAGE_SIZE];
	unsigned char page[TIDE_PAGE_SIZE];

	return tide_process_read(process, gfn * TIDE_PAGE_SIZE, page,
				 sizeof(page)) == sizeof(page) &&
	       memcmp(page, zeros, sizeof(page)) == 0;
}

/* Looks at each page with content whose number is a multiple of @step; 0: only
 * counts. */
static int64_t walk(struct tide_process *process,
		    const struct tide_mapping *mapping, uint64_t step,
		    uint64_t *ret_looks, uint64_t *ret_zeros)
{
	uint64_t words[CHUNK_PAGES / 64];
	uint64_t gfn = mapping->start / TIDE_PAGE_SIZE;
	uint64_t end = mapping->end / TIDE_PAGE_SIZE;
	int64_t found = 0;

	for (uint64_t n; gfn < end; gfn += n) {
		int64_t ret, seen = found;

		n = end - gfn < CHUNK_PAGES ? end - gfn : CHUNK_PAGES;
		ret = tide_process_populated(process, gfn, n, words);
		if (ret < 0)
			return ret;
		found += ret;
		for (uint64_t i = 0; step && seen < found && i < n; i++) {
			if (!(words[i / 64] >> (i % 64) & 1))
				continue;
			if ((uint64_t)seen++ % step)
				continue;
			++*ret_looks;
			*ret_zeros += is_zero(process, gfn + i);
		}
	}
	return found;
}

/* Return: 0; -ESRCH: the process has ended; or the kernel's error. */
static int take_content(struct recording *recording,
			const struct sample_row *row,
			struct tide_trace_mapping *to)
{
	struct tide_process *process =
		sampler_process(recording->sampler, row->pid);
	uint64_t looks = 0, zeros = 0;
	int64_t found;

	if (!process)
		return -ESRCH;
	found = walk(process, &row->mapping, 0, NULL, NULL);
	if (found <= 0)
		return (int)found;
	to->populated_pages = (uint64_t)found;
	found = walk(process, &row->mapping,
		     ((uint64_t)found + ZERO_LOOKS - 1) / ZERO_LOOKS, &looks,
		     &zeros);
	if (found > 0 && looks)
		to->zero_pages = to->populated_pages * zeros / looks;
	return 0;
}

/* ---- mappings that come and go ---- */

static struct tide_trace_mapping mapping_of(const struct sample_row *row)
{
	struct tide_trace_mapping mapping = {
		.id = row->id,
		.pid = (uint32_t)row->pid,
		.first_gfn = row->mapping.start / TIDE_PAGE_SIZE,
		.npages = (row->mapping.end - row->mapping.start) /
			  TIDE_PAGE_SIZE,
		.shared = row->mapping.shared,
	};

	memcpy(mapping.name, row->mapping.name, sizeof(mapping.name));
	return mapping;
}

static int put_mapping(struct recording *recording,
		       const struct sample_row *row)
{
	struct tide_trace_mapping mapping = mapping_of(row);
	int err;

	/* What has just ended has nothing. */
	(void)take_content(recording, row, &mapping);
	err = tide_trace_put_mapping(recording->writer, &mapping);
	if (err)
		return err;
	if (recording->nrows == recording->max_rows) {
		uint32_t max = recording->max_rows * 2 + 64;
		struct sample_row *rows =
			realloc(recording->rows, max * sizeof(*rows));

		if (!rows)
			return -ENOMEM;
		recording->rows = rows;
		recording->max_rows = max;
	}
	recording->rows[recording->nrows++] = *row;
	recording->next_id = row->id + 1;
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct sample_row *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

/* New ids are larger than all before, but rows come by address. */
static int put_new(struct recording *recording, const struct sample *sample)
{
	struct sample_row *new;
	uint32_t count = 0;
	int err = 0;

	for (uint32_t i = 0; i < sample->nrows; i++)
		count += sample->rows[i].id >= recording->next_id;
	if (!count)
		return 0;
	new = malloc(count * sizeof(*new));
	if (!new)
		return -ENOMEM;
	count = 0;
	for (uint32_t i = 0; i < sample->nrows; i++)
		if (sample->rows[i].id >= recording->next_id)
			new[count++] = sample->rows[i];
	qsort(new, count, sizeof(*new), by_id);
	for (uint32_t i = 0; i < count && !err; i++)
		err = put_mapping(recording, &new[i]);
	free(new);
	return err;
}

/* One that came and went between two looks was never put. */
static int put_gone(struct recording *recording, uint32_t id)
{
	const struct sample_row key = { .id = id };
	struct sample_row *row =
		recording->nrows ? bsearch(&key, recording->rows,
					   recording->nrows, sizeof(key), by_id)
				 : NULL;
	struct sample_row *end = recording->rows + recording->nrows;

	if (!row)
		return 0;
	memmove(row, row + 1, (size_t)(end - row - 1) * sizeof(*row));
	recording->nrows--;
	return tide_trace_put_gone(recording->writer, id);
}

/* ---- intervals ---- */

static int by_mapping(const void *a, const void *b)
{
	const struct tide_trace_run *x = a, *y = b;

	if (x->mapping != y->mapping)
		return x->mapping < y->mapping ? -1 : 1;
	return (x->first_page > y->first_page) -
	       (x->first_page < y->first_page);
}

static int put_interval(struct recording *recording,
			const struct sample *sample)
{
	struct tide_trace_interval interval = {
		.begin_ns = sample->begin_ns,
		.end_ns = sample->end_ns,
		.harvest_ns = sample->harvest_ns,
		.held_ns = sample->held_ns + recording->held_ns,
		.nruns = sample->nruns,
	};
	bool sorted = true;

	recording->held_ns = 0;
	if (sample->nruns > recording->max_runs) {
		size_t max = sample->nruns * 2;
		struct tide_trace_run *runs =
			realloc(recording->runs, max * sizeof(*runs));

		if (!runs)
			return -ENOMEM;
		recording->runs = runs;
		recording->max_runs = max;
	}
	for (size_t i = 0; i < sample->nruns; i++) {
		const struct sample_run *run = &sample->runs[i];

		recording->runs[i] = (struct tide_trace_run){
			.mapping = sample->rows[run->row].id,
			.first_page = run->first_page,
			.npages = run->npages,
		};
		if (i &&
		    recording->runs[i].mapping < recording->runs[i - 1].mapping)
			sorted = false;
	}
	if (!sorted)
		qsort(recording->runs, sample->nruns, sizeof(*recording->runs),
		      by_mapping);
	interval.runs = recording->runs;
	return tide_trace_put_interval(recording->writer, &interval);
}

int recording_put(struct recording *recording, const struct sample *sample)
{
	int err = 0;

	for (uint32_t i = 0; i < sample->ngone && !err; i++)
		err = put_gone(recording, sample->gone[i]);
	if (!err)
		err = put_new(recording, sample);
	if (!err)
		err = put_interval(recording, sample);
	return err ? failed(err) : -1;
}

/* ---- begin and end ---- */

/* Its arguments, with blanks between them. */
static void command_of(pid_t pid, char *to, size_t size)
{
	char path[64];
	FILE *file;
	size_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return;
	n = fread(to, 1, size - 1, file);
	(void)fclose(file); /* only read */
	while (n && !to[n - 1])
		n--;
	to[n] = '\0';
	for (size_t i = 0; i < n; i++)
		if (!to[i])
			to[i] = ' ';
}

static uint64_t real_time_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

int recording_open(struct sampler *sampler, int fd, uint64_t interval_ns,
		   struct recording **ret)
{
	struct tide_trace_info info = {
		.start_ns = real_time_ns(),
		.interval_ns = interval_ns,
		.pid = (uint32_t)sampler_pid(sampler),
	};
	struct recording *recording = calloc(1, sizeof(*recording));
	struct sample first;
	int err = -ENOMEM, status;

	command_of(sampler_pid(sampler), info.command, sizeof(info.command));
	if (recording) {
		recording->sampler = sampler;
		err = tide_trace_create(fd, &info, &recording->writer);
	}
	if (err) {
		free(recording);
		return failed(err);
	}
	status = sampler_first(sampler, &first);
	if (status < 0) {
		recording->held_ns = first.held_ns;
		err = put_new(recording, &first);
		status = err ? failed(err) : -1;
	}
	if (status >= 0)
		recording_abandon(recording);
	else
		*ret = recording;
	return status;
}

static void release(struct recording *recording)
{
	free(recording->runs);
	free(recording->rows);
	free(recording);
}

/* Those that are there, with the content that they have now. */
static int put_again(struct recording *recording)
{
	int err = 0;

	for (uint32_t i = 0; i < recording->nrows && !err; i++) {
		const struct sample_row *row = &recording->rows[i];
		struct tide_trace_mapping mapping = mapping_of(row);

		if (take_content(recording, row, &mapping))
			continue;
		mapping.id = recording->next_id++;
		err = tide_trace_put_gone(recording->writer, row->id);
		if (!err)
			err = tide_trace_put_mapping(recording->writer,
						     &mapping);
	}
	return err;
}

int recording_finish(struct recording *recording)
{
	int err = put_again(recording);

	if (err)
		tide_trace_abandon(recording->writer);
	else
		err = tide_trace_finish(recording->writer);
	release(recording);
	return err ? failed(err) : -1;
}

void recording_abandon(struct recording *recording)
{
	if (!recording)
		return;
	tide_trace_abandon(recording->writer);
	release(recording);
}
