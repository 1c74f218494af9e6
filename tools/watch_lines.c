/* SPDX-License-Identifier: MIT */
/* watch_lines.c - what watch sees, as lines for people */
#include <stdio.h>
#include <stdlib.h>

#include "tool.h"
#include "units.h"
#include "utf8.h"
#include "watch_view.h"

#define TOP 3u
#define NS_PER_S 1e9

/* Those with the most pages, most first.  Return: how many; none has 0. */
static uint32_t find_top(const struct sample *sample, uint32_t top[static TOP])
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < sample->nrows; i++) {
		uint64_t pages = sample->rows[i].pages;
		uint32_t at = count;

		while (at > 0 && sample->rows[top[at - 1]].pages < pages)
			at--;
		if (!pages || at == TOP)
			continue;
		count += count < TOP;
		for (uint32_t j = count - 1; j > at; j--)
			top[j] = top[j - 1];
		top[at] = i;
	}
	return count;
}

static int show_lines(struct view *view, const struct sample *sample)
{
	uint64_t ns = sample->end_ns - sample->begin_ns;
	uint64_t bytes = sample->pages * TIDE_PAGE_SIZE;
	uint32_t top[TOP];
	uint32_t count = find_top(sample, top);

	(void)view;
	printf("%8s  %8llu pages dirty in %s  %s/s",
	       units_time(sample->end_ns).text,
	       (unsigned long long)sample->pages, units_time(ns).text,
	       units_size((uint64_t)((double)bytes * NS_PER_S / (double)ns))
		       .text);
	if (sample->window_ns)
		printf("  %s in %s",
		       units_size(sample->window_pages * TIDE_PAGE_SIZE).text,
		       units_time(sample->window_ns).text);
	printf("  (looked for %s)\n", units_time(sample->harvest_ns).text);
	if (sample->left_out)
		printf("          not looked at: %llu mappings, %s\n",
		       (unsigned long long)sample->left_out,
		       units_size(sample->left_out_bytes).text);
	for (uint32_t i = 0; i < count; i++) {
		const struct sample_row *row = &sample->rows[top[i]];
		char name[UTF8_CLEAN_MAX(sizeof(row->mapping.name))];

		utf8_clean(row->mapping.name, name, sizeof(name));
		printf("          %8llu  %012llx-%012llx  ",
		       (unsigned long long)row->pages,
		       (unsigned long long)row->mapping.start,
		       (unsigned long long)row->mapping.end);
		if (sample->processes > 1)
			printf("%d  ", (int)row->pid);
		puts(name[0] ? name : "anonymous");
	}
	(void)fflush(stdout);
	/* Nobody reads any more, or the disk is full: main says so. */
	return ferror(stdout) ? TOOL_OK : -1;
}

static void close_lines(struct view *view)
{
	free(view);
}

int view_lines_open(const struct watch_info *info, struct view **ret)
{
	struct tide_process_stats stats;
	struct view *view = calloc(1, sizeof(*view));

	if (!view)
		return tool_error("no memory");
	*view = (struct view){
		.show = show_lines,
		.close = close_lines,
		.poll.fd = -1,
	};
	tide_process_stats_get(
		sampler_process(info->sampler, sampler_pid(info->sampler)),
		&stats);
	printf("attached: one thread was held for %s, arming took %s\n",
	       units_time(stats.stopped_ns).text,
	       units_time(stats.arm_ns).text);
	*ret = view;
	return -1;
}
