/* SPDX-License-Identifier: MIT */
/*
 * plan_error.c - what a plan says, and what a rehearsal then does
 *
 * Each workload is watched, and a plan made of it; then pre-copy of the same
 * process, which has never stopped, is rehearsed.  Verdicts are easy where a
 * bandwidth is far too small or too large, so it is chosen near the border that
 * the plan names: half of the workloads run at a bandwidth that is said to be
 * a little more than needed, the others at one that is said to be not enough.
 * Only where that would take very long, or is more than a rehearsal can do, is
 * it another.
 */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <tidemark/plan.h>
#include <tidemark/process.h>
#include <tidemark/rehearse.h>
#include <tidemark/trace.h>

#include "recording.h"
#include "sample.h"
#include "tool.h"
#include "units.h"
#include "workloads/workloads.h"

#define NS_PER_S 1000000000ull
#define WARM_NS (1500 * 1000000ull)
#define WATCH_NS (6 * NS_PER_S)
#define INTERVAL_NS 50000000ull
#define DOWNTIME_NS 100000000ull
/* Of the border. */
#define MORE 1.5
#define LESS 0.67
/* Everything is sent in at most so long. */
#define FIRST_ROUND_S 3
#define BANDWIDTH_MAX (400ull << 20)

struct trial {
	struct running running;
	uint64_t memory_pages;
	uint64_t bandwidth;
	struct tide_plan plan;
	struct tide_rehearse_stats real;
	uint64_t real_bytes;
	double error_percent;
};

static void wait_ns(uint64_t ns)
{
	const struct timespec time = {
		.tv_sec = (time_t)(ns / NS_PER_S),
		.tv_nsec = (long)(ns % NS_PER_S),
	};

	(void)nanosleep(&time, NULL);
}

/* ---- before ---- */

static int record(pid_t pid, int fd)
{
	const struct sampler_config config = {
		.pid = pid,
		.command_output = -1,
		.interval_ns = INTERVAL_NS,
		.time_ns = WATCH_NS,
	};
	struct recording *recording = NULL;
	struct sampler *sampler;
	struct sample sample;
	int ret = -1;

	if (sampler_open(&config, &sampler) >= 0)
		return -EIO;
	if (recording_open(sampler, fd, INTERVAL_NS, &recording) < 0) {
		while ((ret = sampler_next(sampler, &sample)) > 0 &&
		       recording_put(recording, &sample) < 0)
			;
	}
	if (!ret && !sampler_is_over(sampler))
		ret = -ESRCH;
	if (ret)
		recording_abandon(recording);
	else if (recording_finish(recording) >= 0)
		ret = -EIO;
	sampler_close(sampler);
	return ret;
}

static int curve_of(pid_t pid, struct tide_curve **ret)
{
	int fd = memfd_create("trace", MFD_CLOEXEC);
	struct tide_trace_reader *reader;
	struct tide_trace_info info;
	int err;

	if (fd < 0)
		return -errno;
	err = record(pid, fd);
	if (!err && lseek(fd, 0, SEEK_SET))
		err = -errno;
	if (!err)
		err = tide_trace_open(fd, &reader, &info, NULL, 0);
	if (!err) {
		err = tide_curve_create(reader, ret);
		tide_trace_close(reader);
	}
	close(fd);
	return err;
}

static uint64_t choose(const struct tide_curve *curve, uint64_t data_pages,
		       double part)
{
	const struct tide_plan_config config = {
		.size = sizeof(config),
		.downtime_ns = DOWNTIME_NS,
	};
	uint64_t least = data_pages * TIDE_PAGE_SIZE / FIRST_ROUND_S;
	uint64_t border = UINT64_MAX;
	double bandwidth;

	if (tide_plan_bandwidth(curve, &config, &border))
		return BANDWIDTH_MAX;
	bandwidth = (double)border * part;
	if (bandwidth < (double)least)
		return least;
	return bandwidth > (double)BANDWIDTH_MAX ? BANDWIDTH_MAX
						 : (uint64_t)bandwidth;
}

static int predict(struct trial *trial, double part)
{
	struct tide_plan_config config = {
		.size = sizeof(config),
		.downtime_ns = DOWNTIME_NS,
	};
	struct tide_curve_info info;
	struct tide_curve *curve = NULL;
	int err = curve_of(trial->running.pid, &curve);

	if (err)
		return err;
	tide_curve_info_get(curve, &info);
	trial->memory_pages = info.memory_pages;
	trial->bandwidth = choose(curve, info.data_pages, part);
	config.bandwidth = trial->bandwidth;
	err = tide_plan(curve, &config, &trial->plan);
	tide_curve_destroy(curve);
	return err;
}

/* ---- after ---- */

static int rehearse(struct trial *trial, char *why, size_t size)
{
	const struct tide_rehearse_config config = {
		.size = sizeof(config),
		.bandwidth = trial->bandwidth,
		.downtime_ns = DOWNTIME_NS,
		.fd = -1,
	};
	struct tide_process *process;
	int err = tide_process_attach(trial->running.pid, &process, why, size);

	if (err)
		return err;
	err = tide_rehearse(process, &config, &trial->real);
	tide_process_detach(process);
	trial->real_bytes =
		trial->real.bytes + trial->real.rest_pages * TIDE_PAGE_SIZE;
	return err;
}

static void print_trial(const struct bench_options *options, const char *name,
			const struct trial *trial)
{
	const struct tide_plan *plan = &trial->plan;
	const struct tide_rehearse_stats *real = &trial->real;
	uint64_t real_ns = real->total_ns + real->downtime_ns;

	if (options->json) {
		printf("{\"name\": \"plan-of-%s\", \"value\": %.6g, \"unit\": "
		       "\"percent\", \"memory_pages\": %llu, \"bandwidth\": "
		       "%llu, \"converges\": [%s, %s], \"rounds\": [%u, %u], "
		       "\"total_ns\": [%llu, %llu], \"bytes\": [%llu, %llu]}\n",
		       name, trial->error_percent,
		       (unsigned long long)trial->memory_pages,
		       (unsigned long long)trial->bandwidth,
		       plan->converges ? "true" : "false",
		       real->converged ? "true" : "false", plan->rounds,
		       real->rounds, (unsigned long long)plan->total_ns,
		       (unsigned long long)real_ns,
		       (unsigned long long)plan->bytes,
		       (unsigned long long)trial->real_bytes);
	} else {
		printf("# %-10s %9s at %9s/s  %c%c %c %s  rounds %2u %2u  "
		       "%7s %7s  %9s %9s  %5.1f %%\n",
		       name,
		       units_size(trial->memory_pages * TIDE_PAGE_SIZE).text,
		       units_size(trial->bandwidth).text,
		       plan->converges ? 'y' : 'n', plan->certain ? ' ' : '?',
		       real->converged ? 'y' : 'n',
		       plan->converges == real->converged ? "right" : "WRONG",
		       plan->rounds, real->rounds,
		       units_time(plan->total_ns).text,
		       units_time(real_ns).text, units_size(plan->bytes).text,
		       units_size(trial->real_bytes).text,
		       trial->error_percent);
	}
	(void)fflush(stdout);
}

/* Return: 0; a negative errno, and *what was the matter. */
static int try_one(const struct workload *workload, double part,
		   struct trial *trial, const char **what)
{
	static char why[128];
	int err = workload_start(workload, &trial->running, what);

	if (err)
		return err;
	wait_ns(WARM_NS);
	*what = "it could not be watched";
	err = predict(trial, part);
	if (!err) {
		*what = "it could not be rehearsed";
		why[0] = '\0';
		err = rehearse(trial, why, sizeof(why));
		if (why[0])
			*what = why;
	}
	workload_stop(&trial->running);
	if (!err)
		trial->error_percent = 100 *
				       ((double)trial->plan.bytes -
					(double)trial->real_bytes) /
				       (double)trial->real_bytes;
	return err;
}

int bench_plan(const struct bench_options *options)
{
	static struct bench_figure error = {
		.name = "plan-median-error-percent",
		.unit = "%",
		.against = "the bytes of a rehearsal",
		.goal = 15,
	};
	static struct bench_figure right = {
		.name = "plan-verdicts-right",
		.unit = "of 12",
		.against = "the verdict of a rehearsal",
		.goal_least = 11,
	};
	static char unit[32];
	size_t count = options->rounds ? options->rounds : workload_count;
	size_t done = 0, agreed = 0;

	if (!options->json)
		printf("# workload      memory at bandwidth; planned and "
		       "rehearsed: converges, rounds, time,\n"
		       "#               bytes; error\n");
	for (size_t i = 0; i < workload_count && done < count; i++) {
		struct trial trial = { 0 };
		const char *what = "";

		if (try_one(&workloads[i], i % 2 ? LESS : MORE, &trial,
			    &what)) {
			(void)bench_skip(options, workloads[i].name, what);
			continue;
		}
		print_trial(options, workloads[i].name, &trial);
		bench_add(&error, trial.error_percent < 0
					  ? -trial.error_percent
					  : trial.error_percent);
		agreed += trial.plan.converges == trial.real.converged;
		done++;
	}
	if (!done)
		return bench_skip(options, "plan", "no workload could be run");
	(void)snprintf(unit, sizeof(unit), "of %zu", done);
	right.unit = unit;
	right.goal_least = 11.0 / 12 * (double)done;
	bench_add(&right, (double)agreed);
	bench_report(options, &error);
	bench_report(options, &right);
	return 0;
}
