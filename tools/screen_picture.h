/* SPDX-License-Identifier: MIT */
/*
 * screen_picture.h - what the screen knows of a process, with its past
 *
 * Mappings that lie side by side and have the same name are one here: a heap
 * that grows comes in pieces.
 *
 * An update costs as much as was written, and a little for each mapping; what
 * drawing asks for costs as much as is drawn.
 */
#ifndef SCREEN_PICTURE_H
#define SCREEN_PICTURE_H

#include <stdbool.h>

#include "heat.h"
#include "sample.h"

#define PICTURE_HISTORY 1024u /* intervals */
#define PICTURE_RANGES 48u

/* A piece of a mapping: a row of the sampler. */
struct piece {
	uint32_t id;
	uint64_t first, npages; /* in its mapping */
	struct heat *heat;
};

struct mapping {
	pid_t pid;
	uint64_t start, end; /* addresses */
	int shared;
	char name[64];
	uint32_t first_piece, npieces;
	uint64_t pages;	    /* written in the last interval */
	uint64_t all_pages; /* the sum over all intervals */
};

struct range {
	uint32_t piece;
	uint32_t mapping; /* its index */
	uint64_t start, npages;
	uint64_t first; /* in the piece */
	double heat;	/* sum over its pages */
};

struct interval {
	uint64_t pages, ns;
};

struct picture {
	uint32_t now; /* intervals seen */
	struct piece *pieces;
	uint32_t npieces;
	struct mapping *mappings; /* by process and address */
	uint32_t nmappings;
	uint64_t version; /* changes with what mappings there are */
	struct range ranges[PICTURE_RANGES]; /* the hottest one first */
	uint32_t nranges;

	uint64_t rates[PICTURE_HISTORY]; /* by number, modulo */
	struct interval last, all;
	uint64_t peak; /* pages a second */
	uint64_t end_ns;
	uint64_t window_pages, window_ns, window_end_ns; /* 0 ns: none yet */
	uint64_t harvest_ns, all_harvest_ns;
	uint64_t held_ns; /* the sum over all attaches */
	uint32_t attaches, processes;
	uint64_t left_out, left_out_bytes; /* mappings */

	pid_t pid;
	char state; /* as ps has it; 0: unknown */
	char command[256];
};

/* The rows before the first interval. */
int picture_init(struct picture *picture, pid_t pid,
		 const struct sample *first);
void picture_fini(struct picture *picture);

/* @asked_ns: how long it should have been.  Return: 0 or -ENOMEM. */
int picture_add(struct picture *picture, const struct sample *sample,
		uint64_t asked_ns);

/* All of it, as it is now.  Return: 0 or -ENOMEM, and *ret is nothing. */
int picture_copy(const struct picture *picture, struct picture *ret);

/* Pages a second, of interval number @back before the last one.
 * Return: false if there is none, or it is forgotten. */
bool picture_rate(const struct picture *picture, uint32_t back, uint64_t *ret);

/* The heat of some pages of a mapping, all of them in it. */
double picture_heat(const struct picture *picture,
		    const struct mapping *mapping, uint64_t first,
		    uint64_t npages, bool *ret_written);

/* The mapping there, or the one after it, or the last one: an index. */
uint32_t picture_find(const struct picture *picture, pid_t pid,
		      uint64_t address);

/* How hot to show that, of so many pages: 0 to TERM_HEAT_LEVELS - 1. */
int picture_level(double heat, uint64_t npages, bool written);

uint64_t mapping_pages(const struct mapping *mapping);
/* The name, or "anonymous". */
const char *mapping_name(const struct mapping *mapping);

#endif
