/* SPDX-License-Identifier: MIT */
/*
 * trace_table.h - the mappings of a trace that are there, and its rules
 *
 * What tidemark/trace.h asks of the put calls.  Writer and reader keep the
 * same table and ask the same functions, so that the one writes nothing that
 * the other refuses, and the other returns nothing that the one would not
 * have taken.
 */
#ifndef TIDE_WATCH_TRACE_TABLE_H
#define TIDE_WATCH_TRACE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tidemark/trace.h>

struct tide_trace_entry {
	struct tide_trace_mapping mapping;
	bool gone;
};

/* Zeroed is the table of a trace that begins. */
struct tide_trace_table {
	struct tide_trace_entry *entries; /* by id */
	size_t count, max;
	size_t gone;	  /* of the entries */
	uint64_t next_id; /* larger than all before */
	uint64_t end_ns;  /* of the last interval */
};

/* What is wrong with it, or NULL. */
const char *tide_trace_mapping_wrong(const struct tide_trace_table *table,
				     const struct tide_trace_mapping *mapping);

/* Also computes the sum of its pages. */
const char *
tide_trace_interval_wrong(const struct tide_trace_table *table,
			  const struct tide_trace_interval *interval,
			  uint64_t *ret_pages);

/** tide_trace_table_find() - the mapping, or NULL if it is not there */
const struct tide_trace_mapping *
tide_trace_table_find(const struct tide_trace_table *table, uint32_t id);

/**
 * tide_trace_table_room() - for one mapping more
 *
 * Return: 0; -E2BIG: there are TIDE_TRACE_MAPPINGS_MAX; -ENOMEM.
 */
int tide_trace_table_room(struct tide_trace_table *table);

/* There is room, and nothing is wrong with it. */
void tide_trace_table_add(struct tide_trace_table *table,
			  const struct tide_trace_mapping *mapping);
/* It is there. */
void tide_trace_table_remove(struct tide_trace_table *table, uint32_t id);

void tide_trace_table_fini(struct tide_trace_table *table);

#endif
