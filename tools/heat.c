/* SPDX-License-Identifier: MIT */
/*
 * heat.c - how often the pages of a mapping are written, of late
 *
 * Theory of operation
 * -------------------
 * An interval lets every heat decay by DECAY, and adds 1 - DECAY to the pages
 * that it writes.  Decay is applied when somebody looks: whatever decays has
 * the number of the interval to which its value belongs.
 *
 * A page is one byte, a logarithm, UNITS to the octave, so that decay is a
 * subtraction; 1 is left of what was written long ago.  The pages of a block
 * have their number in common, that of the block's node.
 *
 * Above them are levels of nodes, each the sum of FAN of the level below, kept
 * by themselves: decay is linear, so sums decay as what they are sums of.  A
 * range is made up of the largest nodes that fit in it, and of pages at its
 * ends.
 *
 * The arrays are allocated as a whole at the first write, as zeros, of which
 * the system provides those that are written.
 *
 * Invariants
 *   I1  a node with the number 0 was never written, and none of its pages
 *   I2  no number is larger than the interval that was added last
 */
#include "heat.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FAN 8u
#define LEVELS 7u /* 2^27 pages to a node of the highest */
#define UNITS 15u
#define FADE (UNITS / HEAT_HALF_LIFE) /* units an interval */
#define HOTTEST 255u
#define FORGOTTEN 1u

_Static_assert(UNITS % HEAT_HALF_LIFE == 0, "decay is whole units");

struct node {
	float sum;
	uint32_t number;
};

struct heat {
	uint64_t npages;
	uint8_t *pages; /* NULL: nothing was written yet */
	struct node *levels[LEVELS];
};

/* ---- tables ---- */

#define DECAYS 64u

static struct tables {
	bool filled;
	double decay[DECAYS]; /* by intervals */
	double value[256];    /* of a byte */
	uint8_t written[256]; /* what a write makes of a byte */
} tables;

static uint8_t byte_of_heat(double heat)
{
	double byte = HOTTEST + UNITS * log2(heat);

	if (byte >= HOTTEST)
		return HOTTEST;
	return byte <= FORGOTTEN ? FORGOTTEN : (uint8_t)lround(byte);
}

static void fill_tables(void)
{
	if (tables.filled)
		return;
	for (unsigned int i = 0; i < DECAYS; i++)
		tables.decay[i] = exp2(-(double)i / HEAT_HALF_LIFE);
	for (int i = FORGOTTEN + 1; i < 256; i++)
		tables.value[i] = exp2((double)(i - (int)HOTTEST) / UNITS);
	for (unsigned int i = 0; i < 256; i++) {
		uint8_t *written = &tables.written[i];

		*written = byte_of_heat(tables.value[i] + 1 - tables.decay[1]);
		/* More than before an interval's decay: what is always written
		 * would not become 1, by rounding. */
		if (*written <= i + FADE && i + FADE < HOTTEST)
			*written = (uint8_t)(i + FADE + 1);
	}
	tables.filled = true;
}

/* After so many that it does not matter: 0. */
static double decay_of(uint32_t intervals)
{
	return intervals < DECAYS ? tables.decay[intervals] : 0;
}

/* ---- blocks and nodes ---- */

static void fade(uint8_t *pages, uint64_t count, uint32_t intervals)
{
	uint32_t by = intervals > HOTTEST / FADE ? HOTTEST : intervals * FADE;

	for (uint64_t i = 0; i < count; i++) {
		uint8_t byte = pages[i];

		if (byte)
			pages[i] = byte > by + FORGOTTEN ? (uint8_t)(byte - by)
							 : FORGOTTEN;
	}
}

/* Pages of a node of that level. */
static uint64_t span_of(unsigned int level)
{
	return (uint64_t)HEAT_BLOCK << (3 * level);
}

_Static_assert(FAN == 1u << 3, "as in span_of()");

static uint64_t nodes_of(uint64_t npages, unsigned int level)
{
	return (npages + span_of(level) - 1) / span_of(level);
}

static double node_heat(const struct node *node, uint32_t now)
{
	assert(node->number <= now); /* I2 */
	if (!node->number)
		return 0;
	return node->sum * decay_of(now - node->number);
}

static void add_to_node(struct node *node, uint64_t npages, uint32_t now)
{
	double sum = node_heat(node, now);

	node->sum = (float)(sum + (double)npages * (1 - decay_of(1)));
	node->number = now;
}

/* Zeros that take no memory before they are written: calloc(3) clears what it
 * has had before. */
static void *map_zeros(uint64_t bytes)
{
	void *zeros = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return zeros == MAP_FAILED ? NULL : zeros;
}

static void unmap(struct heat *heat)
{
	for (unsigned int i = 0; i < LEVELS; i++) {
		if (heat->levels[i])
			(void)munmap(heat->levels[i],
				     nodes_of(heat->npages, i) *
					     sizeof(struct node));
		heat->levels[i] = NULL;
	}
	if (heat->pages)
		(void)munmap(heat->pages, heat->npages);
	heat->pages = NULL;
}

static int allocate(struct heat *heat)
{
	heat->pages = map_zeros(heat->npages);
	for (unsigned int i = 0; i < LEVELS && heat->pages; i++) {
		heat->levels[i] = map_zeros(nodes_of(heat->npages, i) *
					    sizeof(struct node));
		if (!heat->levels[i])
			unmap(heat);
	}
	return heat->pages ? 0 : -ENOMEM;
}

/* ---- the calls ---- */

struct heat *heat_create(uint64_t npages)
{
	struct heat *heat = calloc(1, sizeof(*heat));

	fill_tables();
	if (heat)
		heat->npages = npages;
	return heat;
}

void heat_destroy(struct heat *heat)
{
	if (!heat)
		return;
	unmap(heat);
	free(heat);
}

/* Only what was written is touched. */
struct heat *heat_copy(const struct heat *heat)
{
	struct heat *copy = heat_create(heat->npages);

	if (!copy || !heat->pages)
		return copy;
	if (allocate(copy)) {
		heat_destroy(copy);
		return NULL;
	}
	for (uint64_t i = 0; i < nodes_of(heat->npages, 0); i++) {
		uint64_t first = i * HEAT_BLOCK;
		uint64_t left = heat->npages - first;

		if (!heat->levels[0][i].number)
			continue;
		memcpy(copy->pages + first, heat->pages + first,
		       left < HEAT_BLOCK ? left : HEAT_BLOCK);
		for (unsigned int level = 0; level < LEVELS; level++) {
			uint64_t at = first / span_of(level);

			copy->levels[level][at] = heat->levels[level][at];
		}
	}
	return copy;
}

/* Inside of one block. */
static void add_in_block(struct heat *heat, uint64_t first, uint64_t npages,
			 uint32_t now)
{
	uint64_t block = first / HEAT_BLOCK;
	uint64_t begin = block * HEAT_BLOCK;
	uint64_t left = heat->npages - begin;
	uint32_t number = heat->levels[0][block].number;

	assert(number <= now); /* I2 */
	if (number && number < now)
		fade(heat->pages + begin, left < HEAT_BLOCK ? left : HEAT_BLOCK,
		     now - number);
	for (uint64_t i = first; i < first + npages; i++)
		heat->pages[i] = tables.written[heat->pages[i]];
	for (unsigned int i = 0; i < LEVELS; i++)
		add_to_node(&heat->levels[i][first / span_of(i)], npages, now);
}

int heat_add(struct heat *heat, uint64_t first, uint64_t npages, uint32_t now)
{
	uint64_t end = first + npages;

	assert(now && first <= end && end <= heat->npages);
	if (!heat->pages) {
		int err = allocate(heat);

		if (err)
			return err;
	}
	while (first < end) {
		uint64_t n = HEAT_BLOCK - first % HEAT_BLOCK;

		if (n > end - first)
			n = end - first;
		add_in_block(heat, first, n, now);
		first += n;
	}
	return 0;
}

/* Inside of one block. */
static double heat_in_block(const struct heat *heat, uint64_t first,
			    uint64_t npages, uint32_t now, bool *ret_written)
{
	uint32_t number = heat->levels[0][first / HEAT_BLOCK].number;
	double sum = 0;

	if (!number)
		return 0; /* I1 */
	for (uint64_t i = first; i < first + npages; i++) {
		sum += tables.value[heat->pages[i]];
		*ret_written |= heat->pages[i] != 0;
	}
	return sum * decay_of(now - number);
}

/* The largest node that begins at @at and ends at @end at the latest.
 * Return: its level, or -1. */
static int level_at(const struct heat *heat, uint64_t at, uint64_t end)
{
	int level = -1;

	for (unsigned int i = 0; i < LEVELS; i++) {
		uint64_t until = at + span_of(i);

		if (at % span_of(i))
			break;
		if (until > end && end != heat->npages)
			break;
		level = (int)i;
	}
	return level;
}

double heat_of(const struct heat *heat, uint64_t first, uint64_t npages,
	       uint32_t now, bool *ret_written)
{
	uint64_t end = first + npages;
	double sum = 0;

	assert(first <= end && end <= heat->npages);
	*ret_written = false;
	if (!heat->pages)
		return 0;
	while (first < end) {
		int level = level_at(heat, first, end);
		uint64_t span = level < 0 ? HEAT_BLOCK - first % HEAT_BLOCK
					  : span_of((unsigned int)level);
		const struct node *node;

		if (span > end - first)
			span = end - first;
		if (level < 0) {
			sum += heat_in_block(heat, first, span, now,
					     ret_written);
		} else {
			node = &heat->levels[level]
					    [first /
					     span_of((unsigned int)level)];
			sum += node_heat(node, now);
			*ret_written |= node->number != 0;
		}
		first += span;
	}
	return sum;
}

bool heat_next_block(const struct heat *heat, uint64_t *block, uint32_t now,
		     double min, double *ret)
{
	uint64_t at = *block, count = nodes_of(heat->npages, 0);

	while (heat->pages && at < count) {
		uint64_t skip = 0;
		double sum;

		/* A node that has no more than that has no such block. */
		for (unsigned int i = LEVELS; --i > 0 && !skip;) {
			uint64_t blocks = span_of(i) / HEAT_BLOCK;

			if (at % blocks == 0 &&
			    node_heat(&heat->levels[i][at / blocks], now) <=
				    min)
				skip = blocks;
		}
		if (skip) {
			at += skip;
			continue;
		}
		sum = node_heat(&heat->levels[0][at], now);
		if (sum > min) {
			*block = at;
			*ret = sum;
			return true;
		}
		at++;
	}
	return false;
}

/* All of a block have decayed alike. */
static uint8_t quarter_of_most(const uint8_t *pages, uint64_t count)
{
	uint8_t most = 0;

	for (uint64_t i = 0; i < count; i++)
		most = pages[i] > most ? pages[i] : most;
	return most > 2 * UNITS + FORGOTTEN ? (uint8_t)(most - 2 * UNITS)
					    : FORGOTTEN;
}

bool heat_next_run(const struct heat *heat, uint64_t block, uint64_t *first,
		   uint64_t *npages)
{
	uint64_t begin = block * HEAT_BLOCK;
	uint64_t left = heat->npages - begin;
	uint64_t end = begin + (left < HEAT_BLOCK ? left : HEAT_BLOCK);
	uint8_t least = quarter_of_most(heat->pages + begin, end - begin);
	uint64_t at = *first > begin ? *first : begin;
	uint64_t last;

	while (at < end && heat->pages[at] < least)
		at++;
	if (at >= end)
		return false;
	last = at;
	for (uint64_t i = at; i < end && i - last <= HEAT_GAP + 1; i++)
		last = heat->pages[i] < least ? last : i;
	*first = at;
	*npages = last + 1 - at;
	return true;
}
