/* SPDX-License-Identifier: MIT */
/*
 * heat.h - how often the pages of a mapping are written, of late
 *
 * The heat of a page is the share of the last intervals in which it was
 * written, where an interval counts half as much as the one HEAT_HALF_LIFE
 * later: 1 if it was written in every one of them, 0 if it never was.  The heat
 * of a range is the sum of its pages', which is how many of them an interval
 * writes, of late.
 *
 * Intervals are numbered from 1, and time does not go back.
 *
 * Memory: a byte for each page of a block of HEAT_BLOCK pages that was written,
 * and nothing for a mapping that never was.  Asking for a range costs no more
 * for a large one than for a small one.
 */
#ifndef HEAT_H
#define HEAT_H

#include <stdbool.h>
#include <stdint.h>

#define HEAT_HALF_LIFE 3u /* intervals */
#define HEAT_BLOCK 512u	  /* pages */
#define HEAT_GAP 8u	  /* pages */

struct heat; /* opaque */

/* NULL if there is no memory. */
struct heat *heat_create(uint64_t npages);
struct heat *heat_copy(const struct heat *heat);
void heat_destroy(struct heat *heat); /* NULL is fine */

/* These pages were written in interval @now; each is named once in it.
 * Return: 0 or -ENOMEM. */
int heat_add(struct heat *heat, uint64_t first, uint64_t npages, uint32_t now);

/* Return: the heat of these pages.  *ret_written: any was, ever. */
double heat_of(const struct heat *heat, uint64_t first, uint64_t npages,
	       uint32_t now, bool *ret_written);

/* Find, from block *block on, one with more than @min.  Return: true with
 * *block and *ret filled. */
bool heat_next_block(const struct heat *heat, uint64_t *block, uint32_t now,
		     double min, double *ret);

/* Find, from *first on, a run of its pages that are at least a quarter as hot
 * as its hottest, with no more than HEAT_GAP others in a row between them.
 * Return: true with *first and *npages filled. */
bool heat_next_run(const struct heat *heat, uint64_t block, uint64_t *first,
		   uint64_t *npages);

#endif
