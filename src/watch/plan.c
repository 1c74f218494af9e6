/* SPDX-License-Identifier: MIT */
/*
 * plan.c - pre-copy, played on a dirty curve
 *
 * A round sends what is left, and takes its time at the bandwidth; what is
 * left then is read off the curve at that time.  The rules for going on are
 * those of a rehearsal (precopy.h).  The low and the high curve are played as
 * well: what a process writes in a window differs from window to window, and
 * how much the result depends on that is not said by the mean.
 *
 * Not counted are headers: less than a hundredth of a page each, and nearly
 * all that a page of zeros costs.
 */
#include <errno.h>

#include <tidemark/plan.h>

#include "base/options.h"
#include "watch/precopy.h"

#define NS_PER_S 1e9
#define BANDWIDTH_MAX ((uint64_t)1 << 40)
#define CLOSE 100u /* of two bandwidths: a hundredth */

enum which { MEAN, LOW, HIGH };

struct outcome {
	int converges;
	int extrapolated;
	uint32_t rounds;
	double total_ns, bytes, downtime_ns;
};

static uint64_t rounded(double value)
{
	return value < 1.8e19 ? (uint64_t)(value + 0.5) : UINT64_MAX;
}

static double pages_at(const struct tide_curve *curve, double ns,
		       enum which which)
{
	struct tide_curve_point point;

	tide_curve_at(curve, rounded(ns), &point);
	return which == LOW    ? point.low
	       : which == HIGH ? point.high
			       : point.pages;
}

static void play(const struct tide_curve *curve,
		 const struct tide_plan_config *config, enum which which,
		 struct outcome *ret)
{
	const double page_ns =
		(double)TIDE_PAGE_SIZE / (double)config->bandwidth * NS_PER_S;
	struct precopy precopy = { .rounds_max = config->rounds_max };
	struct outcome outcome = { 0 };
	enum precopy_verdict verdict;
	struct tide_curve_info info;
	double rest;

	tide_curve_info_get(curve, &info);
	rest = (double)info.data_pages;
	do {
		double ns = rest * page_ns;

		outcome.bytes += rest * (double)TIDE_PAGE_SIZE;
		outcome.total_ns += ns;
		if (ns > (double)info.trace_ns)
			outcome.extrapolated = 1;
		rest = pages_at(curve, ns, which);
		outcome.downtime_ns = rest * page_ns;
		verdict = precopy_round(&precopy, rounded(outcome.downtime_ns),
					config->downtime_ns);
	} while (verdict == PRECOPY_GO_ON);
	outcome.bytes += rest * (double)TIDE_PAGE_SIZE;
	outcome.total_ns += outcome.downtime_ns;
	outcome.converges = verdict == PRECOPY_CONVERGED;
	outcome.rounds = precopy.rounds;
	*ret = outcome;
}

/* The smallest and the largest of three. */
static void spread(double a, double b, double c, uint64_t *ret_low,
		   uint64_t *ret_high)
{
	double low = a < b ? a : b, high = a < b ? b : a;

	*ret_low = rounded(low < c ? low : c);
	*ret_high = rounded(high > c ? high : c);
}

static int take_config(struct tide_plan_config *to,
		       const struct tide_plan_config *from)
{
	int err = tide_options_copy(to, sizeof(*to), from, sizeof(*from));

	if (err)
		return err;
	if (!to->downtime_ns)
		to->downtime_ns = PRECOPY_DOWNTIME_NS;
	if (!to->rounds_max)
		to->rounds_max = PRECOPY_ROUNDS_MAX;
	return 0;
}

int tide_plan(const struct tide_curve *curve,
	      const struct tide_plan_config *config, struct tide_plan *ret)
{
	struct tide_plan_config ours;
	struct outcome mean, low, high;
	int err = take_config(&ours, config);

	if (err)
		return err;
	if (!ours.bandwidth)
		return -EINVAL;
	play(curve, &ours, MEAN, &mean);
	play(curve, &ours, LOW, &low);
	play(curve, &ours, HIGH, &high);
	*ret = (struct tide_plan){
		.converges = mean.converges,
		.certain = low.converges == mean.converges &&
			   high.converges == mean.converges,
		.extrapolated = mean.extrapolated,
		.rounds = mean.rounds,
		.total_ns = rounded(mean.total_ns),
		.bytes = rounded(mean.bytes),
		.downtime_ns = rounded(mean.downtime_ns),
	};
	spread(mean.total_ns, low.total_ns, high.total_ns, &ret->total_ns_low,
	       &ret->total_ns_high);
	spread(mean.bytes, low.bytes, high.bytes, &ret->bytes_low,
	       &ret->bytes_high);
	spread(mean.downtime_ns, low.downtime_ns, high.downtime_ns,
	       &ret->downtime_ns_low, &ret->downtime_ns_high);
	return 0;
}

static int converges(const struct tide_curve *curve,
		     struct tide_plan_config *config, uint64_t bandwidth)
{
	struct outcome outcome;

	config->bandwidth = bandwidth;
	play(curve, config, MEAN, &outcome);
	return outcome.converges;
}

/* From the largest down, a doubling at a time, until one does not converge;
 * then the border between it and the last one that does. */
int tide_plan_bandwidth(const struct tide_curve *curve,
			const struct tide_plan_config *config, uint64_t *ret)
{
	struct tide_plan_config ours;
	uint64_t good = BANDWIDTH_MAX, bad;
	int err = take_config(&ours, config);

	if (err)
		return err;
	if (!converges(curve, &ours, good))
		return -ERANGE;
	for (bad = good / 2; bad && converges(curve, &ours, bad); bad /= 2)
		good = bad;
	while (good - bad > 1 + good / CLOSE) {
		uint64_t middle = bad + (good - bad) / 2;

		if (converges(curve, &ours, middle))
			good = middle;
		else
			bad = middle;
	}
	*ret = good;
	return 0;
}
