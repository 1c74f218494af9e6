/* SPDX-License-Identifier: MIT */
/* sample.c - look at a process, again and again */
#include "sample.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "family.h"
#include "interrupt.h"
#include "spawn.h"
#include "target.h"
#include "tool.h"
#include "units.h"

#define NS_PER_S 1000000000ull
#define WHY_SIZE 128

struct sampler {
	struct sampler_config config;
	pid_t pid, child; /* child: the command; 0: none */
	struct family family;
	struct target **targets;
	uint32_t ntargets, max_targets;
	struct findings findings;
	struct sample_row *rows;
	uint32_t max_rows;
	uint64_t begin_ns, last_ns, due_ns, window_began_ns, intervals;
};

static int say(pid_t pid, const char *why)
{
	(void)tool_error("process %d: %s", (int)pid, why);
	return -1;
}

/* ---- processes ---- */

/* Return: 0 or a negative errno. */
static int add_target(struct sampler *sampler, pid_t pid,
		      char why[static WHY_SIZE])
{
	struct target *target;
	int err;

	if (sampler->ntargets == sampler->max_targets) {
		uint32_t max = sampler->max_targets * 2 + 8;
		struct target **targets =
			realloc((void *)sampler->targets,
				max * sizeof(struct target *));

		if (!targets)
			return -ENOMEM;
		sampler->targets = targets;
		sampler->max_targets = max;
	}
	target = calloc(1, sizeof(*target));
	if (!target)
		return -ENOMEM;
	err = target_attach(target, pid, sampler->config.window != 0,
			    &sampler->findings, why);
	if (err) {
		free(target);
		return err;
	}
	sampler->targets[sampler->ntargets++] = target;
	return 0;
}

static void drop_target(struct sampler *sampler, uint32_t index)
{
	struct target *target = sampler->targets[index];

	target_drop(target, &sampler->findings);
	free(target);
	sampler->ntargets--;
	memmove((void *)&sampler->targets[index],
		(void *)&sampler->targets[index + 1],
		(sampler->ntargets - index) * sizeof(struct target *));
}

/* A child that cannot be attached to has ended already, or is somebody's
 * else: the others are looked at all the same. */
static void add_children(struct sampler *sampler)
{
	char why[WHY_SIZE];
	pid_t pid;

	while ((pid = family_next(&sampler->family))) {
		int err =
			pid == sampler->pid ? 0 : add_target(sampler, pid, why);

		if (err && err != -ESRCH)
			(void)say(pid, why);
	}
}

struct tide_process *sampler_process(struct sampler *sampler, pid_t pid)
{
	for (uint32_t i = 0; i < sampler->ntargets; i++) {
		if (sampler->targets[i]->pid == pid)
			return sampler->targets[i]->process;
	}
	return NULL;
}

pid_t sampler_pid(const struct sampler *sampler)
{
	return sampler->pid;
}

/* ---- one sample ---- */

static int fill_rows(struct sampler *sampler, struct sample *ret)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < sampler->ntargets; i++)
		count += sampler->targets[i]->nrows;
	if (count > sampler->max_rows) {
		struct sample_row *rows = realloc(
			sampler->rows, (size_t)count * 2 * sizeof(*rows));

		if (!rows)
			return -ENOMEM;
		sampler->rows = rows;
		sampler->max_rows = count * 2;
	}
	ret->rows = sampler->rows;
	for (uint32_t i = 0; i < sampler->ntargets; i++) {
		const struct target *target = sampler->targets[i];

		for (uint32_t j = 0; j < target->nrows; j++) {
			const struct target_row *row = &target->rows[j];

			ret->rows[ret->nrows++] = (struct sample_row){
				.id = row->id,
				.pid = target->pid,
				.mapping = row->mapping,
				.pages = row->pages,
				.all_pages = row->all_pages,
			};
			ret->pages += row->pages;
		}
	}
	return 0;
}

static void add_left_out(const struct target *target, struct sample *ret)
{
	struct tide_process_stats stats;

	tide_process_stats_get(target->process, &stats);
	for (int i = 0; i < TIDE_LEFT_COUNT; i++) {
		ret->left_out += stats.left_out[i].mappings;
		ret->left_out_bytes += stats.left_out[i].bytes;
	}
}

static void fill(struct sampler *sampler, struct sample *ret)
{
	const struct findings *findings = &sampler->findings;

	for (uint32_t i = 0; i < sampler->ntargets; i++) {
		ret->held_ns += sampler->targets[i]->held_ns;
		sampler->targets[i]->held_ns = 0;
		add_left_out(sampler->targets[i], ret);
	}
	ret->processes = sampler->ntargets;
	ret->runs = findings->runs;
	ret->nruns = findings->nruns;
	ret->gone = findings->gone;
	ret->ngone = findings->ngone;
	ret->changes = findings->changes;
}

static void forget_findings(struct sampler *sampler)
{
	sampler->findings.nruns = 0;
	sampler->findings.ngone = 0;
	sampler->findings.changes = 0;
}

/* Runs name rows of all targets, not of one.
 * Return: 0, or -1 and it has been said. */
static int look_at_each(struct sampler *sampler)
{
	char why[WHY_SIZE] = "";
	uint32_t base = 0;

	for (uint32_t i = 0; i < sampler->ntargets;) {
		struct target *target = sampler->targets[i];
		size_t run = sampler->findings.nruns;
		int err = target_look(target, &sampler->findings, why);

		if (err == -ESRCH) {
			drop_target(sampler, i);
			continue;
		}
		if (err)
			return say(target->pid, why);
		for (; run < sampler->findings.nruns; run++)
			sampler->findings.runs[run].row += base;
		base += target->nrows;
		i++;
	}
	return 0;
}

static int end_window(struct sampler *sampler, uint64_t now_ns,
		      struct sample *ret)
{
	for (uint32_t i = 0; i < sampler->ntargets; i++) {
		uint64_t pages = 0;
		int err = target_window(sampler->targets[i], &pages);

		if (err && err != -ESRCH)
			return say(sampler->targets[i]->pid, strerror(-err));
		ret->window_pages += pages;
	}
	ret->window_ns = now_ns - sampler->window_began_ns;
	sampler->window_began_ns = now_ns;
	return 0;
}

int sampler_look(struct sampler *sampler, struct sample *ret)
{
	uint64_t now_ns = tool_now_ns();
	int err;

	*ret = (struct sample){
		.begin_ns = sampler->last_ns - sampler->begin_ns,
		.end_ns = now_ns - sampler->begin_ns,
	};
	sampler->last_ns = now_ns;
	sampler->intervals++;
	/* On time, but not so soon after a late one that it says nothing. */
	while (sampler->due_ns < now_ns + sampler->config.interval_ns / 2)
		sampler->due_ns += sampler->config.interval_ns;
	forget_findings(sampler);
	if (look_at_each(sampler))
		return -1;
	if (sampler->config.follow_children) {
		err = family_look(&sampler->family);
		if (err)
			return say(sampler->pid, strerror(-err));
		add_children(sampler);
	}
	if (!sampler->ntargets)
		return 0;
	if (sampler->config.window &&
	    sampler->intervals % sampler->config.window == 0 &&
	    end_window(sampler, now_ns, ret))
		return -1;
	err = fill_rows(sampler, ret);
	if (err)
		return say(sampler->pid, strerror(-err));
	fill(sampler, ret);
	ret->harvest_ns = tool_now_ns() - now_ns;
	return 1;
}

void sampler_set_interval(struct sampler *sampler, uint64_t interval_ns)
{
	sampler->config.interval_ns = interval_ns;
	sampler->due_ns = sampler->last_ns + interval_ns;
}

uint64_t sampler_due_ns(const struct sampler *sampler)
{
	return sampler->due_ns;
}

static void sleep_until(uint64_t due_ns)
{
	struct pollfd interrupt = { .fd = interrupt_fd(), .events = POLLIN };
	uint64_t now_ns = tool_now_ns();
	struct timespec left = { 0 };

	if (due_ns > now_ns) {
		left.tv_sec = (time_t)((due_ns - now_ns) / NS_PER_S);
		left.tv_nsec = (long)((due_ns - now_ns) % NS_PER_S);
	}
	(void)ppoll(&interrupt, 1, &left, NULL);
}

int sampler_is_over(const struct sampler *sampler)
{
	return interrupt_pending() ||
	       (sampler->config.time_ns &&
		sampler->due_ns > sampler->begin_ns + sampler->config.time_ns);
}

int sampler_next(struct sampler *sampler, struct sample *ret)
{
	if (sampler_is_over(sampler))
		return 0;
	sleep_until(sampler->due_ns);
	return interrupt_pending() ? 0 : sampler_look(sampler, ret);
}

/* ---- open, close ---- */

static int start(struct sampler *sampler)
{
	char why[WHY_SIZE] = "";
	int err;

	sampler->pid = sampler->config.pid;
	if (sampler->config.command) {
		int status = spawn_start(sampler->config.command,
					 sampler->config.command_output,
					 &sampler->child);

		if (status >= 0)
			return status;
		sampler->pid = sampler->child;
	}
	err = add_target(sampler, sampler->pid, why);
	if (err)
		return tool_error("process %d: %s", (int)sampler->pid,
				  why[0] ? why : strerror(-err));
	if (sampler->config.follow_children) {
		err = family_init(&sampler->family, sampler->pid);
		if (err)
			return tool_error("/proc: %s", strerror(-err));
		add_children(sampler);
	}
	sampler->begin_ns = sampler->last_ns = tool_now_ns();
	sampler->window_began_ns = sampler->begin_ns;
	sampler->due_ns = sampler->begin_ns + sampler->config.interval_ns;
	return -1;
}

int sampler_open(const struct sampler_config *config, struct sampler **ret)
{
	struct sampler *sampler;
	int status;

	if (config->time_ns && config->time_ns < config->interval_ns)
		return tool_error("--for: %s is less than an interval of %s",
				  units_time(config->time_ns).text,
				  units_time(config->interval_ns).text);
	sampler = calloc(1, sizeof(*sampler));
	if (!sampler)
		return tool_error("%s", strerror(ENOMEM));
	sampler->config = *config;
	status = start(sampler);
	if (status >= 0)
		sampler_close(sampler);
	else
		*ret = sampler;
	return status;
}

int sampler_first(struct sampler *sampler, struct sample *ret)
{
	int err;

	*ret = (struct sample){ 0 };
	err = fill_rows(sampler, ret);
	if (err)
		return tool_error("process %d: %s", (int)sampler->pid,
				  strerror(-err));
	fill(sampler, ret);
	return -1;
}

void sampler_close(struct sampler *sampler)
{
	if (!sampler)
		return;
	/* What the command has left behind would be nobody's. */
	for (uint32_t i = 0; sampler->child > 0 && i < sampler->ntargets; i++) {
		if (sampler->targets[i]->pid != sampler->child)
			(void)kill(sampler->targets[i]->pid, SIGTERM);
	}
	while (sampler->ntargets)
		drop_target(sampler, sampler->ntargets - 1);
	free((void *)sampler->targets);
	family_fini(&sampler->family);
	findings_fini(&sampler->findings);
	free(sampler->rows);
	if (sampler->child > 0)
		spawn_end(sampler->child);
	free(sampler);
}
