/* SPDX-License-Identifier: MIT */
/*
 * target.c - one process that a sampler looks at
 *
 * A mapping that is new is dirty as a whole, which says nothing about what was
 * written: there, what has content is taken.
 */
#include "target.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidemark/client.h>

#define WHY_SIZE 128
#define CHUNK_PAGES (1ull << 18)

/* ---- what is found ---- */

void findings_fini(struct findings *findings)
{
	free(findings->runs);
	free(findings->gone);
}

static int add_run(struct findings *findings, uint32_t row, uint64_t first_page,
		   uint64_t npages)
{
	if (findings->nruns == findings->max_runs) {
		size_t max = findings->max_runs * 2 + 256;
		struct sample_run *runs =
			realloc(findings->runs, max * sizeof(*runs));

		if (!runs)
			return -ENOMEM;
		findings->runs = runs;
		findings->max_runs = max;
	}
	findings->runs[findings->nruns++] = (struct sample_run){
		.row = row,
		.first_page = first_page,
		.npages = npages,
	};
	return 0;
}

static int add_gone(struct findings *findings, uint32_t id)
{
	if (findings->ngone == findings->max_gone) {
		uint32_t max = findings->max_gone * 2 + 64;
		uint32_t *gone = realloc(findings->gone, max * sizeof(*gone));

		if (!gone)
			return -ENOMEM;
		findings->gone = gone;
		findings->max_gone = max;
	}
	findings->gone[findings->ngone++] = id;
	findings->changes++;
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct sample_run *x = a, *y = b;

	if (x->row != y->row)
		return x->row < y->row ? -1 : 1;
	return (x->first_page > y->first_page) -
	       (x->first_page < y->first_page);
}

/* From @first on: sorted, and those that touch joined. */
static void tidy_runs(struct findings *findings, size_t first)
{
	struct sample_run *runs = findings->runs + first;
	size_t count = findings->nruns - first;
	size_t kept = 0;

	if (!count)
		return;
	qsort(runs, count, sizeof(*runs), by_place);
	for (size_t i = 1; i < count; i++) {
		struct sample_run *last = &runs[kept];

		if (runs[i].row == last->row &&
		    runs[i].first_page == last->first_page + last->npages)
			last->npages += runs[i].npages;
		else
			runs[++kept] = runs[i];
	}
	findings->nruns = first + kept + 1;
}

/* ---- mappings ---- */

static int list_mappings(struct target *target, struct target_row **ret,
			 uint32_t *ret_count)
{
	struct target_row *rows = NULL;
	struct tide_mapping mapping;
	uint32_t count = 0, max = 0;

	for (; !tide_process_mapping(target->process, count, &mapping);
	     count++) {
		if (count == max) {
			uint32_t more = max * 2 + 64;
			struct target_row *grown =
				realloc(rows, more * sizeof(*rows));

			if (!grown) {
				free(rows);
				return -ENOMEM;
			}
			rows = grown;
			max = more;
		}
		rows[count] = (struct target_row){
			.mapping = mapping,
			.is_new = 1,
			.in_window = 1,
		};
	}
	*ret = rows;
	*ret_count = count;
	return 0;
}

/* A slot has one place as long as it is there. */
static void carry_over(struct target_row *row, const struct target_row *old)
{
	row->id = old->id;
	row->all_pages = old->all_pages;
	row->in_window = old->in_window;
	row->is_new = 0;
}

static int relist(struct target *target, struct findings *findings)
{
	struct target_row *rows = NULL, *old = target->rows;
	uint32_t count = 0, from = 0;
	int err = list_mappings(target, &rows, &count);

	for (uint32_t i = 0; i < count && !err; i++) {
		const struct tide_mapping *mapping = &rows[i].mapping;

		for (; from < target->nrows && !err &&
		       old[from].mapping.start < mapping->start;
		     from++)
			err = add_gone(findings, old[from].id);
		if (from < target->nrows &&
		    old[from].mapping.slot == mapping->slot) {
			carry_over(&rows[i], &old[from++]);
			continue;
		}
		rows[i].id = findings->next_id++;
		findings->changes++;
	}
	for (; from < target->nrows && !err; from++)
		err = add_gone(findings, old[from].id);
	if (err) {
		free(rows);
		return err;
	}
	free(old);
	target->rows = rows;
	target->nrows = count;
	return 0;
}

/* The row of a page that the space has named. */
static uint32_t row_of(const struct target *target, uint64_t gfn)
{
	uint64_t address = gfn * TIDE_PAGE_SIZE;
	uint32_t low = 0, high = target->nrows;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (target->rows[middle].mapping.end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ---- attach ---- */

static void let_go(struct target *target)
{
	tide_client_close(target->window);
	tide_client_close(target->each);
	tide_process_detach(target->process);
	target->window = target->each = NULL;
	target->process = NULL;
}

static int attach(struct target *target, char why[static WHY_SIZE])
{
	struct tide_process_stats stats;
	struct tide_space *space;
	int err = tide_process_attach(target->pid, &target->process, why,
				      WHY_SIZE);

	if (err)
		return err;
	space = tide_process_space(target->process);
	err = tide_client_open(space, "each", TIDE_START_CLEAN, &target->each);
	if (!err && target->has_windows)
		err = tide_client_open(space, "window", TIDE_START_CLEAN,
				       &target->window);
	if (err) {
		snprintf(why, WHY_SIZE, "%s", strerror(-err));
		let_go(target);
		return err;
	}
	tide_process_stats_get(target->process, &stats);
	target->held_ns += stats.stopped_ns;
	return 0;
}

int target_attach(struct target *target, pid_t pid, int has_windows,
		  struct findings *findings, char why[static 128])
{
	int err;

	*target = (struct target){ .pid = pid, .has_windows = has_windows };
	err = attach(target, why);
	if (err)
		return err;
	err = relist(target, findings);
	if (err) {
		snprintf(why, WHY_SIZE, "%s", strerror(-err));
		let_go(target);
		return err;
	}
	for (uint32_t i = 0; i < target->nrows; i++)
		target->rows[i].in_window = 0;
	return 0;
}

void target_drop(struct target *target, struct findings *findings)
{
	for (uint32_t i = 0; i < target->nrows; i++)
		(void)add_gone(findings, target->rows[i].id);
	let_go(target);
	free(target->rows);
	target->rows = NULL;
	target->nrows = 0;
}

/* ---- look ---- */

static bool has(const uint64_t *words, uint64_t page)
{
	return words[page / 64] >> (page % 64) & 1;
}

static int add_bits(struct findings *findings, uint32_t index, uint64_t first,
		    const uint64_t *words, uint64_t npages)
{
	for (uint64_t i = 0, end; i < npages; i = end) {
		end = i + 1;
		if (!has(words, i))
			continue;
		while (end < npages && has(words, end))
			end++;
		if (add_run(findings, index, first + i, end - i))
			return -ENOMEM;
	}
	return 0;
}

/* What has content in a row is what was written there.  @findings: where runs
 * go; NULL: only count.  Return: how many pages; a negative errno. */
static int64_t take_populated(struct target *target, uint32_t index,
			      struct findings *findings)
{
	uint64_t words[CHUNK_PAGES / 64];
	const struct tide_mapping *mapping = &target->rows[index].mapping;
	uint64_t first_gfn = mapping->start / TIDE_PAGE_SIZE;
	uint64_t npages = mapping->end / TIDE_PAGE_SIZE - first_gfn;
	int64_t found = 0;

	for (uint64_t at = 0; at < npages; at += CHUNK_PAGES) {
		uint64_t n =
			npages - at < CHUNK_PAGES ? npages - at : CHUNK_PAGES;
		int64_t ret = tide_process_populated(target->process,
						     first_gfn + at, n, words);

		if (ret < 0)
			return ret;
		found += ret;
		if (ret && findings && add_bits(findings, index, at, words, n))
			return -ENOMEM;
	}
	return found;
}

static int take_extent(struct target *target, const struct tide_extent *extent,
		       struct findings *findings)
{
	uint32_t index = row_of(target, extent->first_gfn);
	const struct target_row *row;

	if ((extent->flags & TIDE_EXTENT_GONE) || index == target->nrows)
		return 0;
	assert(target->rows); /* or there were none */
	row = &target->rows[index];
	if (row->is_new)
		return 0;
	return add_run(findings, index,
		       extent->first_gfn - row->mapping.start / TIDE_PAGE_SIZE,
		       extent->npages);
}

static int harvest(struct target *target, struct findings *findings)
{
	struct tide_harvest *harvest;
	struct tide_extent extent;
	int ret = tide_harvest_begin(target->each, &harvest);

	if (ret)
		return ret;
	while ((ret = tide_harvest_next(harvest, &extent)) > 0) {
		ret = take_extent(target, &extent, findings);
		if (ret)
			break;
	}
	if (ret) {
		tide_harvest_abort(harvest);
		return ret;
	}
	return tide_harvest_commit(harvest);
}

static int look(struct target *target, struct findings *findings)
{
	int ret = tide_process_update(target->process);

	if (ret > 0)
		ret = relist(target, findings);
	if (!ret)
		ret = harvest(target, findings);
	/* In the middle of it? */
	if (ret == -ESRCH && tide_process_update(target->process) == -ESTALE)
		ret = -ESTALE;
	return ret;
}

/* What has come since the last look, and all of another program. */
static int look_at_new(struct target *target, struct findings *findings)
{
	for (uint32_t i = 0; i < target->nrows; i++) {
		int64_t ret = 0;

		if (target->rows[i].is_new)
			ret = take_populated(target, i, findings);
		if (ret < 0)
			return (int)ret;
	}
	return 0;
}

static void count_rows(struct target *target, const struct findings *findings,
		       size_t first)
{
	for (size_t i = first; i < findings->nruns; i++) {
		const struct sample_run *run = &findings->runs[i];

		target->rows[run->row].pages += run->npages;
		target->rows[run->row].all_pages += run->npages;
	}
}

int target_look(struct target *target, struct findings *findings,
		char why[static 128])
{
	size_t first = findings->nruns;
	int err;

	for (uint32_t i = 0; i < target->nrows; i++) {
		target->rows[i].pages = 0;
		target->rows[i].is_new = 0;
	}
	err = look(target, findings);
	if (err == -ESTALE) {
		findings->nruns = first;
		target_drop(target, findings);
		err = attach(target, why);
		if (err)
			return err;
		err = relist(target, findings);
	}
	if (!err)
		err = look_at_new(target, findings);
	if (err) {
		findings->nruns = first;
		snprintf(why, WHY_SIZE, "%s", strerror(-err));
		return err;
	}
	tidy_runs(findings, first);
	count_rows(target, findings, first);
	return 0;
}

int target_window(struct target *target, uint64_t *ret_pages)
{
	struct tide_harvest *harvest;
	struct tide_extent extent;
	uint64_t pages = 0;
	int ret = tide_harvest_begin(target->window, &harvest);

	if (ret)
		return ret;
	while ((ret = tide_harvest_next(harvest, &extent)) > 0) {
		uint32_t row = row_of(target, extent.first_gfn);

		if (!(extent.flags & TIDE_EXTENT_GONE) && row < target->nrows &&
		    !target->rows[row].in_window)
			pages += extent.npages;
	}
	if (ret) {
		tide_harvest_abort(harvest);
		return ret;
	}
	ret = tide_harvest_commit(harvest);
	for (uint32_t i = 0; i < target->nrows && !ret; i++) {
		int64_t n = 0;

		if (target->rows[i].in_window)
			n = take_populated(target, i, NULL);
		if (n < 0)
			return (int)n;
		pages += (uint64_t)n;
		target->rows[i].in_window = 0;
	}
	*ret_pages = pages;
	return ret;
}
