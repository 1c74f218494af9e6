/* SPDX-License-Identifier: MIT */
/*
 * report_cells.h - the heat map of a trace, as coarse as it has to be
 *
 * Rows of pages by columns of intervals; a cell holds the sum over its
 * intervals of its pages that were written.  As fine as the trace where that
 * fits; rows become coarser while it does not.  Columns are encoded one after
 * another, as triples of numbers in groups of seven bits, lowest first, the
 * eighth set while more follow: rows skipped that are zero, rows that are
 * alike, less one, and what each of them holds.
 */
#ifndef REPORT_CELLS_H
#define REPORT_CELLS_H

#include "report_trace.h"

#define REPORT_ROWS_MAX (1u << 18)
#define REPORT_COLUMNS_MAX 2048u
#define REPORT_CELLS_BYTES_MAX (3u << 20)

struct report_column {
	uint64_t begin_ns, end_ns;
	uint64_t intervals;
	uint64_t pages;		   /* sum over them */
	double rate_min, rate_max; /* pages a second, of one of them */
	size_t offset, size;	   /* of its bytes */
};

struct report_cells {
	uint64_t cell_pages; /* rows have as many, but the last of a segment */
	uint64_t column_intervals;
	struct report_column *columns;
	size_t ncolumns;
	unsigned char *bytes;
	size_t size, size_max;

	uint64_t nrows;
	uint64_t *row; /* of the column that is being filled */
};

/* Return: 0; -ENOMEM */
int report_cells_init(struct report_cells *cells, struct report_trace *trace);

/* One interval more. */
int report_cells_put(struct report_cells *cells, struct report_trace *trace,
		     const struct tide_trace_interval *interval);

/* After the last: finds the hottest cell of each area, too. */
int report_cells_finish(struct report_cells *cells, struct report_trace *trace);

void report_cells_fini(struct report_cells *cells);

#endif
