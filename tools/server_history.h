/* SPDX-License-Identifier: MIT */
/*
 * server_history.h - the last intervals, for a map of them
 *
 * A column is what was written in an interval: runs of pages, few enough that
 * a browser can keep up.  Neighbouring runs are joined where there are more,
 * and the sum of their pages is kept.  A segment is a mapping that is in one
 * of the columns.
 */
#ifndef SERVER_HISTORY_H
#define SERVER_HISTORY_H

#include "sample.h"
#include "server_text.h"

struct history; /* opaque */

/* NULL: no memory. */
struct history *history_create(const struct sample *first);
void history_destroy(struct history *history);

/* Return: 0, or -ENOMEM, and then the column is missing. */
int history_add(struct history *history, const struct sample *sample);

/* The number of the newest column; 0: there is none. */
uint64_t history_newest(const struct history *history);

/*
 * Members of a JSON object, without braces: columns after number @since, those
 * that are still there, a limited number of them; if these are not all, more
 * is true.  Segments only if they have changed since.
 */
void history_json(const struct history *history, uint64_t since,
		  struct text *ret);

#endif
