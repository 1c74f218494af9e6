/* SPDX-License-Identifier: MIT */
/* report_json.h - the figures of a report, for scripts and for its page */
#ifndef REPORT_JSON_H
#define REPORT_JSON_H

#include "report_cells.h"

#include <stdio.h>
#include <tidemark/plan.h>

struct report_figures {
	const struct report_trace *trace;
	const struct report_cells *cells;
	const struct tide_curve *curve;
	int map; /* with the heat map */
};

/*
 * report_json_put() - one object, which may stand in a script element
 *
 * Whatever bytes the trace's texts are of, what is written is ASCII without
 * "<", ">" and "&", and characters that are not seen are replaced.  That it
 * was written is for ferror() to say.
 */
void report_json_put(const struct report_figures *figures, FILE *out);

#endif
