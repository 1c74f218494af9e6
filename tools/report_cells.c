/* SPDX-License-Identifier: MIT */
/* report_cells.c - the heat map of a trace, as coarse as it has to be */
#include "report_cells.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The most that a number takes. */
#define NUMBER_BYTES_MAX 10ul

/* ---- rows ---- */

static uint64_t rows_of(const struct report_segment *segment,
			uint64_t cell_pages)
{
	return (segment->npages - 1) / cell_pages + 1;
}

static uint64_t count_rows(const struct report_trace *trace,
			   uint64_t cell_pages)
{
	uint64_t rows = 0;

	for (size_t i = 0; i < trace->nsegments; i++)
		rows += rows_of(&trace->segments[i], cell_pages);
	return rows;
}

/* Gives the segments their rows. */
static void lay_out(struct report_cells *cells, struct report_trace *trace)
{
	cells->nrows = 0;
	for (size_t i = 0; i < trace->nsegments; i++) {
		struct report_segment *segment = &trace->segments[i];

		segment->first_row = cells->nrows;
		cells->nrows += rows_of(segment, cells->cell_pages);
	}
}

int report_cells_init(struct report_cells *cells, struct report_trace *trace)
{
	uint64_t columns;

	cells->cell_pages = 1;
	while (count_rows(trace, cells->cell_pages) > REPORT_ROWS_MAX)
		cells->cell_pages *= 2;
	lay_out(cells, trace);
	cells->column_intervals = (trace->intervals + REPORT_COLUMNS_MAX - 1) /
				  REPORT_COLUMNS_MAX;
	columns = trace->intervals / cells->column_intervals + 1;
	cells->columns = calloc(columns, sizeof(*cells->columns));
	cells->row = calloc(cells->nrows + 1, sizeof(*cells->row));
	return cells->columns && cells->row ? 0 : -ENOMEM;
}

void report_cells_fini(struct report_cells *cells)
{
	free(cells->bytes);
	free(cells->row);
	free(cells->columns);
}

/* ---- columns as bytes ---- */

static void put_number(struct report_cells *cells, uint64_t number)
{
	while (number >= 0x80) {
		cells->bytes[cells->size++] = (unsigned char)(number | 0x80);
		number >>= 7;
	}
	cells->bytes[cells->size++] = (unsigned char)number;
}

static uint64_t get_number(const unsigned char **at)
{
	uint64_t number = 0;

	for (unsigned int shift = 0;; shift += 7) {
		unsigned char byte = *(*at)++;

		number |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return number;
	}
}

static int make_room(struct report_cells *cells)
{
	unsigned char *bytes;
	size_t max = cells->size_max * 2 + 4096;

	if (cells->size_max - cells->size >= 3 * NUMBER_BYTES_MAX)
		return 0;
	bytes = realloc(cells->bytes, max);
	if (!bytes)
		return -ENOMEM;
	cells->bytes = bytes;
	cells->size_max = max;
	return 0;
}

/* The row becomes the bytes of @column, and zero. */
static int encode(struct report_cells *cells, struct report_column *column)
{
	uint64_t zeros = 0;

	column->offset = cells->size;
	for (uint64_t at = 0; at < cells->nrows;) {
		uint64_t value = cells->row[at];
		uint64_t begin = at;

		while (at < cells->nrows && cells->row[at] == value)
			cells->row[at++] = 0;
		if (value == 0) {
			zeros = at - begin;
			continue;
		}
		if (make_room(cells))
			return -ENOMEM;
		put_number(cells, zeros);
		put_number(cells, at - begin - 1);
		put_number(cells, value);
		zeros = 0;
	}
	column->size = cells->size - column->offset;
	return 0;
}

/* Adds a column's bytes to @row; @map: where its rows are, or NULL. */
static void decode(const unsigned char *bytes,
		   const struct report_column *column, uint64_t *row,
		   const uint32_t *map)
{
	const unsigned char *at = bytes + column->offset;
	const unsigned char *end = at + column->size;
	uint64_t index = 0;

	while (at < end) {
		uint64_t count, value;

		index += get_number(&at);
		count = get_number(&at) + 1;
		value = get_number(&at);
		for (; count; count--, index++)
			row[map ? map[index] : index] += value;
	}
}

/* ---- coarser ---- */

/* Where each row goes when two pages become one. */
static uint32_t *coarser_rows(struct report_cells *cells,
			      struct report_trace *trace)
{
	uint32_t *map = calloc(cells->nrows + 1, sizeof(*map));
	uint64_t old = 0;

	if (!map)
		return NULL;
	cells->cell_pages *= 2;
	lay_out(cells, trace);
	for (size_t i = 0; i < trace->nsegments; i++) {
		const struct report_segment *segment = &trace->segments[i];
		uint64_t rows = rows_of(segment, cells->cell_pages / 2);

		for (uint64_t row = 0; row < rows; row++)
			map[old + row] =
				(uint32_t)(segment->first_row + row / 2);
		old += rows;
	}
	return map;
}

static int coarsen(struct report_cells *cells, struct report_trace *trace)
{
	struct report_cells old = *cells;
	uint32_t *map = coarser_rows(cells, trace);
	int err = 0;

	if (!map)
		return -ENOMEM;
	cells->bytes = NULL;
	cells->size = cells->size_max = 0;
	/* The row is empty between columns. */
	for (size_t i = 0; !err && i < cells->ncolumns; i++) {
		decode(old.bytes, &cells->columns[i], cells->row, map);
		err = encode(cells, &cells->columns[i]);
	}
	free(old.bytes);
	free(map);
	return err;
}

/* ---- filled ---- */

static void put_run(struct report_cells *cells,
		    const struct report_trace *trace,
		    const struct tide_trace_run *run)
{
	const struct report_mapping *mapping =
		report_trace_mapping(trace, run->mapping);
	const struct report_segment *segment =
		&trace->segments[trace->areas[mapping->area].segment];
	uint64_t page = mapping->mapping.first_gfn - segment->first_gfn +
			run->first_page;
	uint64_t left = run->npages;

	while (left) {
		uint64_t here = cells->cell_pages - page % cells->cell_pages;

		if (here > left)
			here = left;
		cells->row[segment->first_row + page / cells->cell_pages] +=
			here;
		page += here;
		left -= here;
	}
}

/* The column is full. */
static int end_column(struct report_cells *cells, struct report_trace *trace)
{
	int err = encode(cells, &cells->columns[cells->ncolumns]);

	if (err)
		return err;
	cells->ncolumns++;
	while (!err && cells->size > REPORT_CELLS_BYTES_MAX &&
	       cells->nrows > trace->nsegments)
		err = coarsen(cells, trace);
	return err;
}

int report_cells_put(struct report_cells *cells, struct report_trace *trace,
		     const struct tide_trace_interval *interval)
{
	struct report_column *column = &cells->columns[cells->ncolumns];
	uint64_t ns = interval->end_ns - interval->begin_ns;
	double rate = (double)interval->pages * 1e9 / (double)ns;

	if (column->intervals == 0) {
		column->begin_ns = interval->begin_ns;
		column->rate_min = column->rate_max = rate;
	}
	column->end_ns = interval->end_ns;
	column->intervals++;
	column->pages += interval->pages;
	if (rate < column->rate_min)
		column->rate_min = rate;
	if (rate > column->rate_max)
		column->rate_max = rate;
	for (size_t i = 0; i < interval->nruns; i++)
		put_run(cells, trace, &interval->runs[i]);
	if (column->intervals < cells->column_intervals)
		return 0;
	return end_column(cells, trace);
}

/* ---- the hottest ---- */

static void find_hottest(const struct report_cells *cells,
			 const struct report_segment *segment,
			 struct report_area *area)
{
	uint64_t first = area->first_gfn - segment->first_gfn;
	uint64_t begin = first / cells->cell_pages;
	uint64_t end = (first + area->npages - 1) / cells->cell_pages + 1;

	for (uint64_t i = begin; i < end; i++) {
		uint64_t written = cells->row[segment->first_row + i];
		uint64_t page = i * cells->cell_pages;

		if (written <= area->hottest_written_pages)
			continue;
		area->hottest_written_pages = written;
		area->hottest_gfn = segment->first_gfn + page;
		area->hottest_npages = cells->cell_pages;
		if (area->hottest_npages > segment->npages - page)
			area->hottest_npages = segment->npages - page;
	}
}

int report_cells_finish(struct report_cells *cells, struct report_trace *trace)
{
	int err = 0;

	if (cells->columns[cells->ncolumns].intervals)
		err = end_column(cells, trace);
	if (err)
		return err;
	for (size_t i = 0; i < cells->ncolumns; i++)
		decode(cells->bytes, &cells->columns[i], cells->row, NULL);
	for (size_t i = 0; i < trace->nareas; i++) {
		struct report_area *area = &trace->areas[i];
		struct report_segment *segment =
			&trace->segments[area->segment];
		const struct report_area *label = &trace->areas[segment->label];

		if (area->written_pages)
			find_hottest(cells, segment, area);
		if (label->segment != area->segment ||
		    label->written_pages < area->written_pages)
			segment->label = (uint32_t)i;
	}
	return 0;
}
