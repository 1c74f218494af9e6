/* SPDX-License-Identifier: MIT */
/* gaps.c - how long pages were not written, as a histogram */
#include "watch/gaps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define POINTS ((uint32_t)1 << 20)

int gaps_init(struct gaps *gaps, uint64_t step_ns)
{
	gaps->step_ns = (double)step_ns;
	/* Not touched before it is needed. */
	gaps->pages = calloc(POINTS, sizeof(*gaps->pages));
	return gaps->pages ? 0 : -ENOMEM;
}

void gaps_fini(struct gaps *gaps)
{
	free(gaps->pages);
	gaps->pages = NULL;
}

/* An odd point lies half way between two that stay.  In place: what is read
 * lies at or behind what is written. */
static void coarsen(struct gaps *gaps)
{
	double *pages = gaps->pages;

	pages[0] += pages[1] / 2;
	for (size_t i = 1; i < POINTS / 2; i++)
		pages[i] = pages[2 * i - 1] / 2 + pages[2 * i] +
			   pages[2 * i + 1] / 2;
	memset(pages + POINTS / 2, 0, POINTS / 2 * sizeof(*pages));
	gaps->step_ns *= 2;
}

void gaps_add(struct gaps *gaps, double ns, double pages)
{
	double part;
	uint32_t point;

	/* Nothing is ever at the last point, which coarsening would lose. */
	while (ns >= gaps->step_ns * (POINTS - 2))
		coarsen(gaps);
	point = (uint32_t)(ns / gaps->step_ns);
	part = ns / gaps->step_ns - point;
	gaps->pages[point] += pages * (1 - part);
	gaps->pages[point + 1] += pages * part;
}

uint32_t gaps_points(const struct gaps *gaps, double ns)
{
	double points = ns / gaps->step_ns + 1;

	return points < POINTS ? (uint32_t)points : POINTS;
}

/* With S(w) the pages behind w, the sum at w is that at w + 1 and S(w): no
 * difference of large numbers. */
int gaps_sum(const struct gaps *gaps, uint32_t n, double **ret)
{
	double *sum = malloc(n * sizeof(*sum));
	double all = 0, behind = 0;

	if (!sum)
		return -ENOMEM;
	for (uint32_t i = POINTS; i-- > 0;) {
		all += behind;
		if (i < n)
			sum[i] = all * gaps->step_ns;
		behind += gaps->pages[i];
	}
	*ret = sum;
	return 0;
}
