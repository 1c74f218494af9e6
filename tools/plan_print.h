/* SPDX-License-Identifier: MIT */
/* plan_print.h - what tidemark plan has found out, for people and programs */
#ifndef PLAN_PRINT_H
#define PLAN_PRINT_H

#include <stddef.h>
#include <stdint.h>

#include <tidemark/plan.h>
#include <tidemark/trace.h>

struct plan_row {
	uint64_t bandwidth, goal_ns;
	struct tide_plan plan;
};

struct plan_border {
	uint64_t goal_ns;
	int exists;
	uint64_t bandwidth; /* the smallest that converges */
	int extrapolated;
};

struct plan_report {
	struct tide_trace_info trace;
	const struct tide_curve *curve;
	struct tide_curve_info info;
	struct plan_row *rows; /* by downtime, then by bandwidth */
	size_t nrows;
	struct plan_border *borders; /* by downtime */
	size_t nborders;

	/* Of a process that was watched here and now; else 0. */
	int watched;
	double first_write_ns; /* that a caught write takes longer */
	int ended;	       /* before the time was up */
};

void plan_print_lines(const struct plan_report *report);
void plan_print_json(const struct plan_report *report);

#endif
