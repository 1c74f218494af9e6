/* SPDX-License-Identifier: MIT */
/* progress.c - one line on a terminal that says how far it is */
#include "progress.h"

#include "tool.h"
#include "units.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAR_WIDTH 24u
#define REDRAW_NS 100000000ull

void progress_init(struct progress *progress, int quiet)
{
	const char *terminal = getenv("TERM");
	int dumb = terminal && strcmp(terminal, "dumb") == 0;

	*progress = (struct progress){
		.on = !quiet && !dumb && isatty(STDERR_FILENO),
	};
}

void progress_draw(struct progress *progress, const char *what, uint64_t done,
		   uint64_t all, const char *text)
{
	uint64_t now = tool_now_ns();
	char bar[BAR_WIDTH + 1];
	unsigned int filled;

	if (!progress->on || now - progress->last_ns < REDRAW_NS)
		return;
	progress->last_ns = now;
	if (!all) {
		fprintf(stderr, "\r%-9.9s %-68.68s", what, text);
		fflush(stderr);
		return;
	}
	if (done > all)
		done = all;
	filled = (unsigned int)(done * BAR_WIDTH / all);
	memset(bar, '.', BAR_WIDTH);
	memset(bar, '#', filled);
	bar[BAR_WIDTH] = '\0';
	fprintf(stderr, "\r%-9.9s [%s] %3u%% %-36.36s", what, bar,
		(unsigned int)(done * 100 / all), text);
	fflush(stderr);
}

void progress_transfer(struct progress *progress, uint64_t round, uint64_t done,
		       uint64_t all, uint64_t bandwidth, uint64_t downtime_ns)
{
	char what[32];
	char text[96] = "";

	(void)snprintf(what, sizeof(what), "round %" PRIu64, round);
	if (bandwidth)
		(void)snprintf(text, sizeof(text), "%s/s, downtime now %s",
			       units_size(bandwidth).text,
			       units_time(downtime_ns).text);
	progress_draw(progress, what, done, all, text);
}

void progress_clear(struct progress *progress)
{
	if (!progress->on || progress->last_ns == 0)
		return;
	fprintf(stderr, "\r%78s\r", "");
	fflush(stderr);
	progress->last_ns = 0;
}
