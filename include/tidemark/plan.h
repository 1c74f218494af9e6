/* SPDX-License-Identifier: MIT */
/*
 * tidemark/plan.h - would it converge?  From a trace, before anyone migrates
 *
 * The dirty curve says how many distinct pages are written in a window of a
 * given length, on the average over all windows of a trace, and how much that
 * varies.  It bends: a process that writes the same pages over and over dirties
 * no more in a minute than in a second.  So the pages that are left after a
 * round of pre-copy are read off the curve at the length of the round, and not
 * computed as rate times time, which is wrong both ways.
 *
 * A plan plays pre-copy on the curve by the rules that rehearse.h really
 * follows: send everything; then, while the rest does not fit the downtime,
 * what was written meanwhile; give up after rounds_max, or when the rest does
 * not become smaller any more.
 *
 * What it does not do: windows longer than the trace are extrapolated, which
 * the result says; it cannot know what the process will do next.
 *
 * Threads.  A curve does not change once made; any number of threads may read
 * it.
 *
 * Errors.  0, or a negative errno value.
 *
 * Manual: tide_plan(3).
 */
#ifndef TIDEMARK_PLAN_H
#define TIDEMARK_PLAN_H

#include <tidemark/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tide_curve; /* opaque */
struct tide_trace_reader;

/* Pages that are distinct in a window: the mean over all windows of a length,
 * and the 10th and 90th percentile, between which it need not lie. */
struct tide_curve_point {
	double pages, low, high;
};

struct tide_curve_info {
	uint64_t trace_ns;    /* length of the trace */
	uint64_t interval_ns; /* its mean interval: nothing finer is known */
	uint64_t intervals;
	uint64_t memory_pages;	/* with content, at the end of the trace */
	uint64_t data_pages;	/* of these not all zeros: an estimate */
	uint64_t dirty_pages;	/* distinct, in the whole trace */
	double rate;		/* pages a second, at the shortest window */
	uint64_t written_pages; /* sum over the intervals */
	uint64_t harvest_ns;	/* that looking took, in the whole trace */
	uint64_t held_ns;	/* that the target was stopped */
};

/**
 * tide_curve_create() - the dirty curve of a trace, read to its end
 *
 * Return: 0; -ENODATA: it has no interval; -EOVERFLOW: it has 2^32 of them;
 * -EFBIG: it has mappings of more than 2^36 pages at a time; -ENOMEM; or the
 * reader's error.
 */
TIDE_API TIDE_MUST_CHECK int tide_curve_create(struct tide_trace_reader *reader,
					       struct tide_curve **ret);
TIDE_API void tide_curve_destroy(struct tide_curve *curve); /* NULL is fine */
TIDE_API void tide_curve_info_get(const struct tide_curve *curve,
				  struct tide_curve_info *ret);

/** tide_curve_at() - at a window of @window_ns.  Shorter than an interval:
 * between a straight line to zero and going on as above; longer than the trace:
 * extrapolated. */
TIDE_API void tide_curve_at(const struct tide_curve *curve, uint64_t window_ns,
			    struct tide_curve_point *ret);

struct tide_plan_config {
	size_t size;	      /* of this struct; 0: the first version */
	uint64_t bandwidth;   /* bytes a second; not 0 */
	uint64_t downtime_ns; /* 0: 300 ms */
	uint32_t rounds_max;  /* 0: 30 */
};

struct tide_plan {
	int converges;	  /* on the average; */
	int certain;	  /* and so do the low and the high curve alike */
	int extrapolated; /* a round was longer than the trace */
	uint32_t rounds;  /* sent while it runs; the rest not included */
	uint64_t total_ns, total_ns_low, total_ns_high; /* the rest included */
	uint64_t bytes, bytes_low, bytes_high;
	/* Of the rest, if it was stopped then. */
	uint64_t downtime_ns, downtime_ns_low, downtime_ns_high;
};

/** tide_plan() - Return: 0; -EINVAL: no bandwidth; -E2BIG. */
TIDE_API TIDE_MUST_CHECK int tide_plan(const struct tide_curve *curve,
				       const struct tide_plan_config *config,
				       struct tide_plan *ret);

/**
 * tide_plan_bandwidth() - the smallest bandwidth that converges
 * @config: its bandwidth is not looked at
 *
 * Return: 0; -ERANGE: no bandwidth up to 1 TiB a second does; -E2BIG.
 */
TIDE_API TIDE_MUST_CHECK int
tide_plan_bandwidth(const struct tide_curve *curve,
		    const struct tide_plan_config *config, uint64_t *ret);

#ifdef __cplusplus
}
#endif
#endif
