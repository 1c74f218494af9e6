/* SPDX-License-Identifier: MIT */
/*
 * trace_table.c - the mappings of a trace that are there, and its rules
 *
 * Theory of operation
 * -------------------
 * Ids only grow, so an array to which mappings are appended is sorted by id.
 * One that goes is only marked; when most are, the array is made dense again,
 * which costs no more than their removal has earned: whatever a file says, a
 * mapping costs a constant.
 *
 * Invariants
 *   I1  entries are sorted by id, and all ids are below next_id
 *   I2  gone <= count; at most TIDE_TRACE_MAPPINGS_MAX are not gone
 */
#include "watch/trace_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "watch/trace_format.h"

#define DENSE_MIN 64u /* entries below which it is not worth it */

static struct tide_trace_entry *entry_of(const struct tide_trace_table *table,
					 uint32_t id)
{
	size_t low = 0, high = table->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table->entries[middle].mapping.id < id)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == table->count || table->entries[low].mapping.id != id ||
	    table->entries[low].gone)
		return NULL;
	return &table->entries[low];
}

const struct tide_trace_mapping *
tide_trace_table_find(const struct tide_trace_table *table, uint32_t id)
{
	const struct tide_trace_entry *entry = entry_of(table, id);

	return entry ? &entry->mapping : NULL;
}

int tide_trace_table_room(struct tide_trace_table *table)
{
	size_t max = table->max ? table->max * 2 : DENSE_MIN;
	struct tide_trace_entry *entries;

	assert(table->gone <= table->count); /* I2 */
	if (table->count - table->gone >= TIDE_TRACE_MAPPINGS_MAX)
		return -E2BIG;
	if (table->count < table->max)
		return 0;
	entries = realloc(table->entries, max * sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	table->entries = entries;
	table->max = max;
	return 0;
}

void tide_trace_table_add(struct tide_trace_table *table,
			  const struct tide_trace_mapping *mapping)
{
	assert(table->count < table->max);
	assert(mapping->id >= table->next_id); /* I1 */
	table->entries[table->count++] =
		(struct tide_trace_entry){ .mapping = *mapping };
	table->next_id = (uint64_t)mapping->id + 1;
}

void tide_trace_table_remove(struct tide_trace_table *table, uint32_t id)
{
	struct tide_trace_entry *entry = entry_of(table, id);
	size_t count = 0;

	assert(entry);
	entry->gone = true;
	table->gone++;
	if (table->count < DENSE_MIN || table->gone <= table->count / 2)
		return;
	for (size_t i = 0; i < table->count; i++)
		if (!table->entries[i].gone)
			table->entries[count++] = table->entries[i];
	table->count = count;
	table->gone = 0;
}

void tide_trace_table_fini(struct tide_trace_table *table)
{
	free(table->entries);
}

const char *tide_trace_mapping_wrong(const struct tide_trace_table *table,
				     const struct tide_trace_mapping *mapping)
{
	if (mapping->id < table->next_id)
		return "the mapping's id is not larger than all before";
	if (!mapping->npages)
		return "the mapping has no pages";
	if (mapping->first_gfn >= TIDE_TRACE_GFN_MAX ||
	    mapping->npages > TIDE_TRACE_GFN_MAX - mapping->first_gfn)
		return "the mapping ends beyond all addresses";
	if (mapping->populated_pages > mapping->npages)
		return "the mapping has more pages with content than pages";
	if (mapping->zero_pages > mapping->populated_pages)
		return "the mapping has more pages of zeros than with content";
	if (!memchr(mapping->name, 0, sizeof(mapping->name)))
		return "the mapping's name has no end";
	return NULL;
}

const char *
tide_trace_interval_wrong(const struct tide_trace_table *table,
			  const struct tide_trace_interval *interval,
			  uint64_t *ret_pages)
{
	const struct tide_trace_mapping *mapping = NULL;
	uint64_t next = 0, pages = 0;

	if (interval->begin_ns != table->end_ns)
		return "it does not begin where the last one ended";
	if (interval->end_ns <= interval->begin_ns)
		return "it ends no later than it begins";
	for (size_t i = 0; i < interval->nruns; i++) {
		const struct tide_trace_run *run = &interval->runs[i];

		if (!mapping || run->mapping != mapping->id) {
			if (mapping && run->mapping < mapping->id)
				return "its runs are not sorted by mapping";
			mapping = tide_trace_table_find(table, run->mapping);
			if (!mapping)
				return "a run's mapping is not there";
			next = 0;
		}
		if (run->first_page < next)
			return "its runs touch, or are not sorted by page";
		if (!run->npages)
			return "a run has no pages";
		if (run->first_page >= mapping->npages ||
		    run->npages > mapping->npages - run->first_page)
			return "a run ends beyond its mapping";
		next = run->first_page + run->npages + 1;
		if (__builtin_add_overflow(pages, run->npages, &pages))
			return "its pages cannot be counted";
	}
	*ret_pages = pages;
	return NULL;
}
