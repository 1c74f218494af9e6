/* SPDX-License-Identifier: MIT */
/*
 * curve.c - distinct pages written, against the length of a window
 *
 * Theory of operation
 * -------------------
 * What is written in an interval is taken to be written at its end: nothing
 * finer is known.  A page counts in a window (x - w, x] if it was written in
 * it, and its mapping is still there at x: what is gone need not be sent.  So a
 * page that is there until v, and was written at t1 < t2 ... < tk, counts in
 *
 *	max(0, v - w) - max(0, t1 - w) - max(0, t2 - t1 - w) - ...
 *		      - max(0, v - tk - w)
 *
 * of all windows: a window without it lies in a gap between its writes.  A
 * histogram of the gaps therefore gives the mean over all windows for every
 * length at once, exactly, in one pass (gaps.h).  The trace is taken to go on
 * without a write for one more mean interval, so that windows of whole
 * intervals are each met once.
 *
 * How much windows of a length differ is counted for some lengths, two an
 * octave, in the windows that end with an interval.  What is kept of it is
 * the 10th and 90th percentile divided by the mean.
 *
 * Shorter than the interval the curve lies between two lines.  The lower one
 * is straight to zero, as if no page were written twice in an interval: nothing
 * that bends as curves do is below it.  On the upper one each halving goes on
 * to lose as few pages as that from two intervals to one: the same pages in
 * every interval may be the same at every moment.  The mean is in the middle,
 * and the percentiles are those of the lines.  Longer than the trace: each
 * doubling goes on to bring as many times more pages as the last one in the
 * trace did, up to what the process has, and its memory to grow as it did.
 *
 * Invariants
 *   I1  the pages of all active windows are those that were written last in
 *       intervals first .. last, and whose mapping is there
 *   I2  age.pages[i] counts the pages that were written last in interval i and
 *       whose mapping is there
 *   I3  a longer window begins no later
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <tidemark/plan.h>
#include <tidemark/trace.h>

#include "watch/gaps.h"
#include "watch/trace_read.h"
#include "watch/written.h"

#define WINDOWS 128u  /* two an octave: more than 64 bits can need */
#define SAMPLES 4096u /* of a window, that are kept */
#define DISJOINT 4    /* percentiles of so many windows say something */
#define LOW 0.1
#define HIGH 0.9

struct window {
	double ns;
	uint32_t first; /* interval that it begins with */
	uint64_t pages;
	uint64_t seen; /* values, and their sum; of them are kept: */
	double sum;
	uint32_t count;
	double *samples;
};

struct spread {
	double ns;
	double low, high; /* divided by the mean */
};

struct tide_curve {
	struct tide_curve_info info;
	double interval_ns;
	double step_ns;
	uint32_t points;
	double *mean; /* at 0, step_ns, ... */
	struct spread spread[WINDOWS];
	uint32_t spreads;
	double growth; /* pages a nanosecond that the memory has grown by */
};

struct builder {
	struct tide_trace_reader *reader;
	struct gaps gaps;
	struct written written;
	struct tally moved;			  /* of one interval */
	struct tally gone;			  /* since the last interval */
	struct tally age;			  /* I2; touched is not used */
	struct window windows[WINDOWS];		  /* by length */
	uint32_t active;			  /* of them */
	uint64_t won[WINDOWS], lost[WINDOWS + 1]; /* in this interval */
	uint64_t *ends_ns;			  /* by interval; 0 for 0 */
	uint32_t max, last;
	uint64_t dirty_pages, written_pages, harvest_ns, held_ns;
	uint64_t random; /* the same for the same trace */
};

/* ---- windows ---- */

/* Each of them is kept with the same probability: one in so many would beat
 * with what the process does in turns. */
static int window_sample(struct window *window, uint64_t *random)
{
	uint64_t at = window->seen++;

	window->sum += (double)window->pages;
	if (!window->samples) {
		window->samples = malloc(SAMPLES * sizeof(*window->samples));
		if (!window->samples)
			return -ENOMEM;
	}
	if (at >= SAMPLES) {
		*random = *random * 6364136223846793005u + 1442695040888963407u;
		at = (*random >> 32) % window->seen;
	} else {
		window->count++;
	}
	if (at < SAMPLES)
		window->samples[at] = (double)window->pages;
	return 0;
}

/* Intervals are in the window if more than half of them is. */
static bool has_left(const struct builder *builder, const struct window *window)
{
	double middle = ((double)builder->ends_ns[window->first - 1] +
			 (double)builder->ends_ns[window->first]) /
			2;

	return middle <= (double)builder->ends_ns[builder->last] - window->ns &&
	       window->first < builder->last;
}

/* What was won by a window, all shorter ones have won; what was lost, all
 * longer ones have lost. */
static void settle(struct builder *builder)
{
	uint64_t won = 0, lost = 0;

	for (uint32_t i = builder->active; i-- > 0;) {
		won += builder->won[i];
		builder->windows[i].pages += won;
	}
	for (uint32_t i = 0; i < builder->active; i++) {
		lost += builder->lost[i];
		builder->windows[i].pages -= lost;
	}
	memset(builder->won, 0, sizeof(builder->won));
	memset(builder->lost, 0, sizeof(builder->lost));
}

/* Those that are not longer than what there was until now. */
static void activate(struct builder *builder)
{
	while (builder->active < WINDOWS) {
		struct window *window = &builder->windows[builder->active];

		if (window->ns > (double)builder->ends_ns[builder->last])
			break;
		window->first = 1;
		for (uint32_t i = 1; i <= builder->last; i++)
			window->pages += builder->age.pages[i];
		builder->active++;
	}
}

/* All windows of the interval that has ended. */
static int look_back(struct builder *builder)
{
	settle(builder);
	activate(builder);
	for (uint32_t i = 0; i < builder->active; i++) {
		struct window *window = &builder->windows[i];
		int err;

		while (has_left(builder, window))
			window->pages -= builder->age.pages[window->first++];
		err = window_sample(window, &builder->random);
		if (err)
			return err;
	}
	return 0;
}

/* The windows that begin after @last: they are the shortest ones (I3). */
static uint32_t windows_after(const struct builder *builder, uint32_t last)
{
	uint32_t low = 0, high = builder->active;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (builder->windows[middle].first > last)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* @npages were written last in @last, and now again; or are @gone.  Windows
 * hear of it in look_back(). */
static void move(struct builder *builder, uint32_t last, uint64_t npages,
		 bool gone)
{
	uint64_t *age = builder->age.pages;
	uint32_t after = windows_after(builder, last);

	if (last)
		age[last] -= npages;
	if (gone) {
		builder->lost[after] += npages;
		return;
	}
	age[builder->last] += npages;
	if (after)
		builder->won[after - 1] += npages;
}

/* ---- one pass ---- */

/* The grid of everything is the interval, as long as it was meant to be: the
 * first one may be far longer. */
static int begin(struct builder *builder, uint64_t first_ns)
{
	uint64_t step_ns = tide_trace_reader_interval_ns(builder->reader);
	uint64_t steps = 1;

	if (step_ns > first_ns)
		step_ns = first_ns;

	for (uint32_t i = 0; i < WINDOWS; i++) {
		builder->windows[i].ns = (double)step_ns * (double)steps;
		/* 1, 2, 3, 4, 6, 8, 12 ...; at the end they are too long. */
		if (steps > UINT64_MAX / 4)
			continue;
		if (steps < 3)
			steps++;
		else if (steps % 3)
			steps += steps / 2;
		else
			steps += steps / 3;
	}
	return gaps_init(&builder->gaps, step_ns);
}

static int grow(struct builder *builder)
{
	uint32_t last = builder->last + 1;
	int err;

	if (last == UINT32_MAX)
		return -EOVERFLOW;
	err = tally_grow(&builder->moved, last);
	if (!err)
		err = tally_grow(&builder->gone, last);
	if (!err)
		err = tally_grow(&builder->age, last);
	if (err)
		return err;
	if (last >= builder->max) {
		size_t max = (size_t)builder->max * 2 + 64;
		uint64_t *ends_ns =
			realloc(builder->ends_ns, max * sizeof(*ends_ns));

		if (!ends_ns)
			return -ENOMEM;
		ends_ns[0] = 0;
		builder->ends_ns = ends_ns;
		builder->max = max > UINT32_MAX ? UINT32_MAX : (uint32_t)max;
	}
	return 0;
}

/* Their life ends with this interval. */
static void bury(struct builder *builder)
{
	struct tally *gone = &builder->gone;
	double now_ns = (double)builder->ends_ns[builder->last];

	for (uint32_t i = 0; i < gone->count; i++) {
		uint32_t last = gone->touched[i];
		uint64_t npages = gone->pages[last];

		if (!last)
			continue; /* never written: never counted */
		gaps_add(&builder->gaps, now_ns, (double)npages);
		gaps_add(&builder->gaps,
			 now_ns - (double)builder->ends_ns[last],
			 -(double)npages);
		move(builder, last, npages, true);
	}
	tally_clear(gone);
}

static int put_interval(struct builder *builder,
			const struct tide_trace_interval *interval)
{
	struct tally *moved = &builder->moved;
	double end_ns = (double)interval->end_ns;
	int err = grow(builder);

	if (!err && !builder->gaps.pages)
		err = begin(builder, interval->end_ns);
	if (err)
		return err;
	builder->ends_ns[++builder->last] = interval->end_ns;
	bury(builder);
	for (size_t i = 0; i < interval->nruns; i++) {
		err = written_run(&builder->written, &interval->runs[i],
				  builder->last, moved);
		if (err)
			return err;
	}
	builder->dirty_pages += moved->pages[0];
	builder->written_pages += interval->pages;
	builder->harvest_ns += interval->harvest_ns;
	builder->held_ns += interval->held_ns;
	for (uint32_t i = 0; i < moved->count; i++) {
		uint32_t last = moved->touched[i];
		uint64_t npages = moved->pages[last];

		gaps_add(&builder->gaps,
			 end_ns - (double)builder->ends_ns[last],
			 -(double)npages);
		move(builder, last, npages, false);
	}
	tally_clear(moved);
	return look_back(builder);
}

static int put(struct builder *builder, const struct tide_trace_event *event)
{
	switch (event->kind) {
	case TIDE_TRACE_MAPPING:
		return written_add(&builder->written, &event->mapping,
				   !builder->last);
	case TIDE_TRACE_GONE: {
		int err = tally_grow(&builder->gone, builder->last);

		if (!err)
			written_gone(&builder->written, event->mapping.id,
				     &builder->gone);
		return err;
	}
	case TIDE_TRACE_INTERVAL:
		return put_interval(builder, &event->interval);
	}
	return -EBADMSG;
}

static int read_trace(struct builder *builder)
{
	int ret;

	for (;;) {
		struct tide_trace_event event;

		ret = tide_trace_next(builder->reader, &event);
		if (ret <= 0)
			break;
		ret = put(builder, &event);
		if (ret)
			break;
	}
	if (ret)
		return ret;
	return builder->last ? 0 : -ENODATA;
}

/* ---- the curve of it ---- */

static int take_mean(struct builder *builder, struct tide_curve *curve)
{
	double trace_ns = (double)curve->info.trace_ns;
	double all_ns = trace_ns + curve->interval_ns;
	int err;

	for (uint32_t i = 1; i <= builder->last; i++) {
		double npages = (double)builder->age.pages[i];

		gaps_add(&builder->gaps, all_ns, npages);
		gaps_add(&builder->gaps, all_ns - (double)builder->ends_ns[i],
			 -npages);
	}
	/* Lengths may have become fewer by the last ones that were added. */
	curve->step_ns = builder->gaps.step_ns;
	curve->points = gaps_points(&builder->gaps, trace_ns);
	err = gaps_sum(&builder->gaps, curve->points, &curve->mean);
	if (err)
		return err;
	for (uint32_t i = 0; i < curve->points; i++) {
		double *mean = &curve->mean[i];

		*mean /= all_ns - i * curve->step_ns;
		if (!i || *mean < 0) /* rounded */
			*mean = 0;
	}
	return 0;
}

static int ascending(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double quantile(const struct window *window, double q)
{
	return window->samples[(uint32_t)(q * (window->count - 1) + 0.5)];
}

static void take_spread(struct builder *builder, struct tide_curve *curve)
{
	double least_ns = curve->interval_ns * 3 / 4;
	double most_ns = (double)curve->info.trace_ns / DISJOINT;

	for (uint32_t i = 0; i < WINDOWS; i++) {
		struct window *window = &builder->windows[i];
		struct spread *spread = &curve->spread[curve->spreads];
		double mean;

		if (!window->seen || (curve->spreads && window->ns > most_ns))
			break;
		mean = window->sum / (double)window->seen;
		if (window->ns < least_ns || mean <= 0)
			continue;
		qsort(window->samples, window->count, sizeof(double),
		      ascending);
		spread->ns = window->ns;
		spread->low = quantile(window, LOW) / mean;
		spread->high = quantile(window, HIGH) / mean;
		curve->spreads++;
	}
}

/* What a mapping has that was there first may or may not have been among what
 * was written of it; where it was not, it has grown. */
static void take_memory(const struct builder *builder, struct tide_curve *curve)
{
	struct tide_curve_info *info = &curve->info;
	uint64_t before = 0, zero = 0;

	for (uint32_t i = 0; i < builder->written.count; i++) {
		const struct written_mapping *mapping =
			&builder->written.mappings[i];

		if (mapping->is_first)
			before += mapping->populated_pages;
		if (mapping->is_gone)
			continue;
		info->memory_pages += mapping->pages > mapping->populated_pages
					      ? mapping->pages
					      : mapping->populated_pages;
		zero += mapping->zero_pages;
	}
	info->data_pages =
		info->memory_pages - (zero < info->memory_pages ? zero : 0);
	if (info->memory_pages > before)
		curve->growth = (double)(info->memory_pages - before) /
				(double)info->trace_ns;
}

static int finish(struct builder *builder, struct tide_curve *curve)
{
	struct tide_curve_info *info = &curve->info;
	struct tide_curve_point point;
	int err;

	info->trace_ns = builder->ends_ns[builder->last];
	info->intervals = builder->last;
	info->interval_ns = info->trace_ns / info->intervals;
	curve->interval_ns = (double)info->trace_ns / builder->last;
	info->dirty_pages = builder->dirty_pages;
	info->written_pages = builder->written_pages;
	info->harvest_ns = builder->harvest_ns;
	info->held_ns = builder->held_ns;
	take_memory(builder, curve);
	err = take_mean(builder, curve);
	if (err)
		return err;
	take_spread(builder, curve);
	tide_curve_at(curve, info->interval_ns, &point);
	info->rate = point.pages / (double)info->interval_ns * 1e9;
	return 0;
}

int tide_curve_create(struct tide_trace_reader *reader, struct tide_curve **ret)
{
	struct builder *builder = calloc(1, sizeof(*builder));
	struct tide_curve *curve = calloc(1, sizeof(*curve));
	int err = -ENOMEM;

	if (builder && curve) {
		builder->reader = reader;
		err = read_trace(builder);
	}
	if (!err)
		err = finish(builder, curve);
	if (builder) {
		for (uint32_t i = 0; i < WINDOWS; i++)
			free(builder->windows[i].samples);
		tally_fini(&builder->moved);
		tally_fini(&builder->gone);
		tally_fini(&builder->age);
		written_fini(&builder->written);
		gaps_fini(&builder->gaps);
		free(builder->ends_ns);
	}
	free(builder);
	if (err) {
		tide_curve_destroy(curve);
		return err;
	}
	*ret = curve;
	return 0;
}

void tide_curve_destroy(struct tide_curve *curve)
{
	if (curve)
		free(curve->mean);
	free(curve);
}

void tide_curve_info_get(const struct tide_curve *curve,
			 struct tide_curve_info *ret)
{
	*ret = curve->info;
}

/* ---- reading it ---- */

/* Between the points of the grid, and not beyond the last of them. */
static double mean_inside(const struct tide_curve *curve, double ns)
{
	double at = ns / curve->step_ns;
	uint32_t point;

	if (curve->points < 2 || at >= curve->points - 1)
		return curve->mean[curve->points - 1];
	point = (uint32_t)at;
	at -= point;
	return curve->mean[point] * (1 - at) + curve->mean[point + 1] * at;
}

/* Nothing is known of shorter windows. */
static double resolution_ns(const struct tide_curve *curve)
{
	return curve->interval_ns > curve->step_ns ? curve->interval_ns
						   : curve->step_ns;
}

/* How many times more there is at twice the window, as far as that is sound. */
static double doubling(double here, double twice)
{
	double times = here > 0 ? twice / here : 1;

	return times < 1 ? 1 : times > 2 ? 2 : times;
}

/* Below the resolution: the lower line and the upper one. */
static void lines_at(const struct tide_curve *curve, double ns,
		     double *ret_lower, double *ret_upper)
{
	double at_ns = resolution_ns(curve);
	double here = mean_inside(curve, at_ns), times = 2;

	*ret_lower = here * ns / at_ns;
	*ret_upper = 0;
	if (ns <= 0)
		return;
	if (2 * at_ns <= (curve->points - 1) * curve->step_ns)
		times = doubling(here, mean_inside(curve, 2 * at_ns));
	while (ns < at_ns / 2) {
		here /= times;
		at_ns /= 2;
	}
	*ret_upper = here / times * (1 + (times - 1) * (2 * ns / at_ns - 1));
}

static double mean_at(const struct tide_curve *curve, double ns)
{
	double last_ns = (curve->points - 1) * curve->step_ns;
	double here, times, most;

	if (ns <= last_ns)
		return mean_inside(curve, ns);
	here = curve->mean[curve->points - 1];
	times = doubling(mean_inside(curve, last_ns / 2), here);
	most = (double)curve->info.memory_pages + curve->growth * ns;
	while (ns > 2 * last_ns && here < most) {
		here *= times;
		last_ns *= 2;
	}
	if (ns <= 2 * last_ns)
		here *= 1 + (times - 1) * (ns / last_ns - 1);
	return here < most ? here : most;
}

void tide_curve_at(const struct tide_curve *curve, uint64_t window_ns,
		   struct tide_curve_point *ret)
{
	const struct spread *after = curve->spread;
	const struct spread *end = curve->spread + curve->spreads;
	double ns = (double)window_ns;
	double low = 1, high = 1;

	while (after < end && after->ns < ns)
		after++;
	if (after == end && after > curve->spread)
		after--;
	if (curve->spreads) {
		low = after->low;
		high = after->high;
	}
	if (after > curve->spread && ns < after->ns) {
		const struct spread *before = after - 1;
		double part = (ns - before->ns) / (after->ns - before->ns);

		low = before->low + (after->low - before->low) * part;
		high = before->high + (after->high - before->high) * part;
	}
	if (ns < resolution_ns(curve)) {
		double lower, upper;

		lines_at(curve, ns, &lower, &upper);
		ret->pages = (lower + upper) / 2;
		ret->low = lower * low;
		ret->high = upper * high;
		return;
	}
	ret->pages = mean_at(curve, ns);
	ret->low = ret->pages * low;
	ret->high = ret->pages * high;
}
