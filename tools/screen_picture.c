/* SPDX-License-Identifier: MIT */
/* screen_picture.c - what the screen knows of a process, with its past */
#include "screen_picture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidemark/base.h>
#include <unistd.h>

#include "screen_term.h"
#include "screen_text.h"

#define LUKEWARM 0.01 /* of a page; what is less is not hot */

/* ---- pieces and mappings ---- */

static int by_id(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static bool is_same(const struct picture *picture, const struct sample *sample)
{
	if (picture->npieces != sample->nrows)
		return false;
	for (uint32_t i = 0; i < sample->nrows; i++) {
		if (picture->pieces[i].id != sample->rows[i].id)
			return false;
	}
	return true;
}

static void free_pieces(struct piece *pieces, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		heat_destroy(pieces[i].heat);
	free(pieces);
}

/* The old pieces are used up, also if that fails. */
static int set_pieces(struct picture *picture, const struct sample *sample)
{
	struct piece *old = picture->pieces;
	uint32_t nold = picture->npieces;
	struct piece *pieces = calloc(sample->nrows + 1u, sizeof(*pieces));
	int err = pieces ? 0 : -ENOMEM;

	picture->pieces = pieces;
	picture->npieces = 0;
	if (old && nold)
		qsort(old, nold, sizeof(*old), by_id);
	for (uint32_t i = 0; i < sample->nrows && !err; i++) {
		const struct sample_row *row = &sample->rows[i];
		struct piece key = {
			.id = row->id,
			.npages = (row->mapping.end - row->mapping.start) /
				  TIDE_PAGE_SIZE,
		};
		struct piece *found = old && nold ? bsearch(&key, old, nold,
							    sizeof(*old), by_id)
						  : NULL;

		if (found && found->npages == key.npages) {
			key.heat = found->heat;
			found->heat = NULL;
		} else {
			key.heat = heat_create(key.npages);
		}
		err = key.heat ? 0 : -ENOMEM;
		if (!err)
			pieces[picture->npieces++] = key;
	}
	free_pieces(old, nold);
	return err;
}

static bool goes_on(const struct mapping *mapping, const struct sample_row *row)
{
	return mapping->pid == row->pid && mapping->end == row->mapping.start &&
	       mapping->shared == row->mapping.shared &&
	       !strcmp(mapping->name, row->mapping.name);
}

static int set_mappings(struct picture *picture, const struct sample *sample)
{
	struct mapping *mappings =
		calloc(sample->nrows + 1u, sizeof(*mappings));
	uint32_t count = 0;

	if (!mappings)
		return -ENOMEM;
	for (uint32_t i = 0; i < sample->nrows; i++) {
		const struct sample_row *row = &sample->rows[i];
		struct mapping *last = count ? &mappings[count - 1] : NULL;

		if (last && goes_on(last, row)) {
			picture->pieces[i].first = mapping_pages(last);
			last->end = row->mapping.end;
			last->npieces++;
			continue;
		}
		picture->pieces[i].first = 0;
		mappings[count] = (struct mapping){
			.pid = row->pid,
			.start = row->mapping.start,
			.end = row->mapping.end,
			.shared = row->mapping.shared,
			.first_piece = i,
			.npieces = 1,
		};
		memcpy(mappings[count++].name, row->mapping.name,
		       sizeof(row->mapping.name));
	}
	free(picture->mappings);
	picture->mappings = mappings;
	picture->nmappings = count;
	picture->version++;
	return 0;
}

static int set_rows(struct picture *picture, const struct sample *sample)
{
	int err = 0;

	if (!picture->pieces || !is_same(picture, sample)) {
		err = set_pieces(picture, sample);
		if (!err)
			err = set_mappings(picture, sample);
	}
	for (uint32_t i = 0; i < picture->nmappings && !err; i++) {
		struct mapping *mapping = &picture->mappings[i];

		mapping->pages = mapping->all_pages = 0;
		for (uint32_t j = 0; j < mapping->npieces; j++) {
			const struct sample_row *row =
				&sample->rows[mapping->first_piece + j];

			mapping->pages += row->pages;
			mapping->all_pages += row->all_pages;
		}
	}
	return err;
}

/* ---- the hottest ranges ---- */

static int by_heat(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	if (x->heat != y->heat)
		return x->heat < y->heat ? 1 : -1;
	return (x->start > y->start) - (x->start < y->start);
}

static int by_place(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	if (x->piece != y->piece)
		return x->piece < y->piece ? -1 : 1;
	return (x->first > y->first) - (x->first < y->first);
}

/* The hottest of those that are offered. */
struct top {
	struct range ranges[PICTURE_RANGES];
	uint32_t count, least;
};

static void offer(struct top *top, const struct range *range)
{
	if (top->count == PICTURE_RANGES &&
	    range->heat <= top->ranges[top->least].heat)
		return;
	if (top->count < PICTURE_RANGES)
		top->least = top->count++;
	top->ranges[top->least] = *range;
	for (uint32_t i = 0; i < top->count; i++) {
		if (top->ranges[i].heat < top->ranges[top->least].heat)
			top->least = i;
	}
}

/* Blocks; .first is a block's number. */
static void find_blocks(const struct picture *picture, struct top *ret)
{
	for (uint32_t i = 0; i < picture->npieces; i++) {
		const struct heat *heat = picture->pieces[i].heat;
		struct range block = { .piece = i };

		for (;; block.first++) {
			double min = ret->count == PICTURE_RANGES
					     ? ret->ranges[ret->least].heat
					     : LUKEWARM;

			if (!heat_next_block(heat, &block.first, picture->now,
					     min, &block.heat))
				break;
			offer(ret, &block);
		}
	}
}

/* Their parts that are hot, those that go on in the next block as one. */
static void find_runs(const struct picture *picture, struct top *blocks,
		      struct top *ret)
{
	struct range run = { 0 };
	bool written;

	qsort(blocks->ranges, blocks->count, sizeof(blocks->ranges[0]),
	      by_place);
	for (uint32_t i = 0; i < blocks->count; i++) {
		const struct range *block = &blocks->ranges[i];
		const struct heat *heat = picture->pieces[block->piece].heat;
		uint64_t first = 0, npages;

		for (; heat_next_run(heat, block->first, &first, &npages);
		     first += npages) {
			if (run.npages && run.piece == block->piece &&
			    run.first + run.npages == first) {
				run.npages += npages;
			} else {
				if (run.npages)
					offer(ret, &run);
				run = (struct range){ .piece = block->piece,
						      .first = first,
						      .npages = npages };
			}
			run.heat = heat_of(heat, run.first, run.npages,
					   picture->now, &written);
		}
	}
	if (run.npages)
		offer(ret, &run);
}

static void find_ranges(struct picture *picture)
{
	struct top blocks = { 0 }, runs = { 0 };
	uint32_t mapping = 0;

	find_blocks(picture, &blocks);
	find_runs(picture, &blocks, &runs);
	qsort(runs.ranges, runs.count, sizeof(runs.ranges[0]), by_place);
	for (uint32_t i = 0; i < runs.count; i++) {
		struct range *range = &runs.ranges[i];
		const struct mapping *at;

		while (picture->mappings[mapping].first_piece +
			       picture->mappings[mapping].npieces <=
		       range->piece)
			mapping++;
		at = &picture->mappings[mapping];
		range->mapping = mapping;
		range->start =
			at->start +
			(picture->pieces[range->piece].first + range->first) *
				TIDE_PAGE_SIZE;
		picture->ranges[i] = *range;
	}
	picture->nranges = runs.count;
	qsort(picture->ranges, runs.count, sizeof(picture->ranges[0]), by_heat);
}

/* ---- the process ---- */

/* Return: how many bytes, with a 0 behind them; -1 */
static ssize_t read_proc(pid_t pid, const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, size - 1);
	close(fd);
	if (n >= 0)
		text[n] = '\0';
	return n;
}

/* As it calls itself now: without the folder, and its arguments with blanks
 * between them. */
static void look_at_process(struct picture *picture)
{
	char text[sizeof(picture->command)];
	const char *state, *name;
	ssize_t n = read_proc(picture->pid, "stat", text, sizeof(text));

	picture->state = 0;
	state = n > 0 ? strrchr(text, ')') : NULL;
	if (state && state[1] == ' ')
		picture->state = state[2];
	n = read_proc(picture->pid, "cmdline", text, sizeof(text));
	if (n <= 0)
		return;
	name = strrchr(text, '/');
	name = name && name[1] ? name + 1 : text;
	n -= name - text;
	while (n > 0 && name[n - 1] == '\0')
		n--;
	for (ssize_t i = 0; i < n; i++)
		picture->command[i] = (char)(name[i] ? name[i] : ' ');
	picture->command[n] = '\0';
}

/* ---- the calls ---- */

int picture_init(struct picture *picture, pid_t pid, const struct sample *first)
{
	int err;

	*picture = (struct picture){
		.pid = pid,
		.held_ns = first->held_ns,
		.attaches = first->processes,
		.processes = first->processes,
	};
	look_at_process(picture);
	err = set_rows(picture, first);
	if (err)
		picture_fini(picture);
	return err;
}

void picture_fini(struct picture *picture)
{
	free_pieces(picture->pieces, picture->npieces);
	free(picture->mappings);
	*picture = (struct picture){ 0 };
}

static int add_heat(struct picture *picture, const struct sample *sample)
{
	for (size_t i = 0; i < sample->nruns; i++) {
		const struct sample_run *run = &sample->runs[i];
		int err = heat_add(picture->pieces[run->row].heat,
				   run->first_page, run->npages, picture->now);

		if (err)
			return err;
	}
	return 0;
}

/* An interval after a late look is short, and what is written all the time is
 * written again in it: that would be a peak that there never was. */
static uint64_t rate_of(const struct interval *interval, uint64_t asked_ns)
{
	uint64_t ns = interval->ns < asked_ns / 2 ? asked_ns : interval->ns;

	return text_rate(interval->pages, ns);
}

int picture_add(struct picture *picture, const struct sample *sample,
		uint64_t asked_ns)
{
	struct interval last = {
		.pages = sample->pages,
		.ns = sample->end_ns - sample->begin_ns,
	};
	uint64_t rate = rate_of(&last, asked_ns);
	int err;

	picture->now++;
	err = set_rows(picture, sample);
	if (!err)
		err = add_heat(picture, sample);
	if (err)
		return err;
	picture->rates[picture->now % PICTURE_HISTORY] = rate;
	picture->last = last;
	picture->all.pages += last.pages;
	picture->all.ns += last.ns;
	if (rate > picture->peak)
		picture->peak = rate;
	picture->end_ns = sample->end_ns;
	picture->harvest_ns = sample->harvest_ns;
	picture->all_harvest_ns += sample->harvest_ns;
	picture->held_ns += sample->held_ns;
	picture->attaches += sample->held_ns != 0;
	picture->processes = sample->processes;
	picture->left_out = sample->left_out;
	picture->left_out_bytes = sample->left_out_bytes;
	if (sample->window_ns) {
		picture->window_ns = sample->window_ns;
		picture->window_pages = sample->window_pages;
		picture->window_end_ns = sample->end_ns;
	}
	look_at_process(picture);
	find_ranges(picture);
	return 0;
}

int picture_copy(const struct picture *picture, struct picture *ret)
{
	*ret = *picture;
	ret->npieces = 0;
	ret->pieces = calloc(picture->npieces + 1u, sizeof(*ret->pieces));
	ret->mappings = calloc(picture->nmappings + 1u, sizeof(*ret->mappings));
	if (!ret->pieces || !ret->mappings)
		goto undo;
	memcpy(ret->mappings, picture->mappings,
	       picture->nmappings * sizeof(*ret->mappings));
	for (uint32_t i = 0; i < picture->npieces; i++) {
		ret->pieces[i] = picture->pieces[i];
		ret->pieces[i].heat = heat_copy(picture->pieces[i].heat);
		if (!ret->pieces[i].heat)
			goto undo;
		ret->npieces++;
	}
	return 0;
undo:
	picture_fini(ret);
	return -ENOMEM;
}

bool picture_rate(const struct picture *picture, uint32_t back, uint64_t *ret)
{
	if (back >= picture->now || back >= PICTURE_HISTORY)
		return false;
	*ret = picture->rates[(picture->now - back) % PICTURE_HISTORY];
	return true;
}

/* The piece that has that page: an index. */
static uint32_t piece_of(const struct picture *picture,
			 const struct mapping *mapping, uint64_t page)
{
	uint32_t low = mapping->first_piece;
	uint32_t high = low + mapping->npieces - 1;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct piece *piece = &picture->pieces[middle];

		if (piece->first + piece->npages <= page)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

double picture_heat(const struct picture *picture,
		    const struct mapping *mapping, uint64_t first,
		    uint64_t npages, bool *ret_written)
{
	uint32_t at = piece_of(picture, mapping, first);
	uint32_t end = mapping->first_piece + mapping->npieces;
	double sum = 0;

	*ret_written = false;
	for (; at < end && npages; at++) {
		const struct piece *piece = &picture->pieces[at];
		uint64_t n = piece->first + piece->npages - first;
		bool written;

		n = n < npages ? n : npages;
		sum += heat_of(piece->heat, first - piece->first, n,
			       picture->now, &written);
		*ret_written |= written;
		first += n;
		npages -= n;
	}
	return sum;
}

uint32_t picture_find(const struct picture *picture, pid_t pid,
		      uint64_t address)
{
	uint32_t first = 0, end = picture->nmappings;
	uint32_t low, high;

	/* Processes are in no order. */
	while (first < end && picture->mappings[first].pid != pid)
		first++;
	for (high = first; high < end && picture->mappings[high].pid == pid;)
		high++;
	for (low = first; low < high;) {
		uint32_t middle = low + (high - low) / 2;

		if (picture->mappings[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < end ? low : end ? end - 1 : 0;
}

int picture_level(double heat, uint64_t npages, bool written)
{
	double share = npages ? heat / (double)npages : 0;
	double least = 0.5;
	int level = TERM_HEAT_LEVELS - 1;

	if (!written)
		return 0;
	for (; level > 1 && share < least; level--)
		least /= 2;
	return level;
}

uint64_t mapping_pages(const struct mapping *mapping)
{
	return (mapping->end - mapping->start) / TIDE_PAGE_SIZE;
}

const char *mapping_name(const struct mapping *mapping)
{
	return mapping->name[0] ? mapping->name : "anonymous";
}
