/* SPDX-License-Identifier: MIT */
/*
 * gaps.h - how long pages were not written, as a histogram
 *
 * Lengths are times.  The histogram has a grid, and a length between two points
 * of it is shared out between them, so that the sum over all lengths t of
 * max(0, t - w) is exact for every w on the grid.  A grid that has become too
 * long is made twice as coarse, by the same rule.
 */
#ifndef TIDE_WATCH_GAPS_H
#define TIDE_WATCH_GAPS_H

#include <stdint.h>

struct gaps {
	double step_ns;
	double *pages; /* by grid point; may be negative */
};

/* Return: 0; -ENOMEM. */
int gaps_init(struct gaps *gaps, uint64_t step_ns);
void gaps_fini(struct gaps *gaps);

void gaps_add(struct gaps *gaps, double ns, double pages);

/* The sum, in nanoseconds, for w = 0, 1 ... @n - 1 grid points.
 * Return: 0; -ENOMEM. */
int gaps_sum(const struct gaps *gaps, uint32_t n, double **ret);

/* Points of the grid up to @ns; at most all. */
uint32_t gaps_points(const struct gaps *gaps, double ns);

#endif
