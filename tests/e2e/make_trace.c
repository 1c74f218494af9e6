/* SPDX-License-Identifier: MIT */
/*
 * make_trace.c - a trace of what a test says, for tests that know its contents
 *
 * Reads lines from stdin and writes a trace to stdout.  Texts are in hex.
 *
 *   info START_NS INTERVAL_NS PID COMMAND      first of all
 *   mapping ID PID GFN NPAGES POPULATED ZERO SHARED NAME
 *   gone ID
 *   run MAPPING FIRST NPAGES                   of the interval that comes
 *   comb MAPPING FIRST STRIDE COUNT            so many runs of a page
 *   interval BEGIN_NS END_NS HARVEST_NS HELD_NS
 *   end                                        without it, it is cut short
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidemark/trace.h>
#include <unistd.h>

#define RUNS_MAX (1u << 20)

static struct tide_trace_run runs[RUNS_MAX];
static size_t nruns;
static struct tide_trace_writer *writer;

/* "-" is empty.  Return: 0, or -1: it does not fit. */
static int unhex(const char *hex, char *ret, size_t size)
{
	size_t length = strcmp(hex, "-") == 0 ? 0 : strlen(hex) / 2;

	if (length >= size)
		return -1;
	memset(ret, 0, size);
	for (size_t i = 0; i < length; i++) {
		char pair[3] = { hex[2 * i], hex[2 * i + 1], '\0' };

		ret[i] = (char)strtoul(pair, NULL, 16);
	}
	return 0;
}

static int put_info(const char *rest)
{
	struct tide_trace_info info = { 0 };
	char text[512];

	if (sscanf(rest, "%" SCNu64 "%" SCNu64 "%" SCNu32 "%511s",
		   &info.start_ns, &info.interval_ns, &info.pid, text) != 4 ||
	    unhex(text, info.command, sizeof(info.command)))
		return -1;
	return tide_trace_create(STDOUT_FILENO, &info, &writer);
}

static int put_mapping(const char *rest)
{
	struct tide_trace_mapping mapping = { 0 };
	char text[512];

	if (sscanf(rest,
		   "%" SCNu32 "%" SCNu32 "%" SCNu64 "%" SCNu64 "%" SCNu64
		   "%" SCNu64 "%d%511s",
		   &mapping.id, &mapping.pid, &mapping.first_gfn,
		   &mapping.npages, &mapping.populated_pages,
		   &mapping.zero_pages, &mapping.shared, text) != 8 ||
	    unhex(text, mapping.name, sizeof(mapping.name)))
		return -1;
	return tide_trace_put_mapping(writer, &mapping);
}

static int put_run(const char *rest)
{
	struct tide_trace_run *run = &runs[nruns];

	if (nruns == RUNS_MAX ||
	    sscanf(rest, "%" SCNu32 "%" SCNu64 "%" SCNu64, &run->mapping,
		   &run->first_page, &run->npages) != 3)
		return -1;
	nruns++;
	return 0;
}

static int put_comb(const char *rest)
{
	uint64_t first, stride, count;
	uint32_t mapping;

	if (sscanf(rest, "%" SCNu32 "%" SCNu64 "%" SCNu64 "%" SCNu64, &mapping,
		   &first, &stride, &count) != 4 ||
	    count > RUNS_MAX - nruns)
		return -1;
	for (uint64_t i = 0; i < count; i++)
		runs[nruns++] = (struct tide_trace_run){
			.mapping = mapping,
			.first_page = first + i * stride,
			.npages = 1,
		};
	return 0;
}

static int put_interval(const char *rest)
{
	struct tide_trace_interval interval = { .runs = runs, .nruns = nruns };

	if (sscanf(rest, "%" SCNu64 "%" SCNu64 "%" SCNu64 "%" SCNu64,
		   &interval.begin_ns, &interval.end_ns, &interval.harvest_ns,
		   &interval.held_ns) != 4)
		return -1;
	nruns = 0;
	return tide_trace_put_interval(writer, &interval);
}

static int put_line(const char *line)
{
	const char *rest = strchr(line, ' ');
	int err = -1;

	if (strcmp(line, "end\n") == 0) {
		err = tide_trace_finish(writer);
		writer = NULL;
	} else if (rest && strncmp(line, "info ", 5) == 0) {
		err = put_info(rest);
	} else if (rest && strncmp(line, "mapping ", 8) == 0) {
		err = put_mapping(rest);
	} else if (rest && strncmp(line, "gone ", 5) == 0) {
		err = tide_trace_put_gone(writer,
					  (uint32_t)strtoul(rest, NULL, 10));
	} else if (rest && strncmp(line, "run ", 4) == 0) {
		err = put_run(rest);
	} else if (rest && strncmp(line, "comb ", 5) == 0) {
		err = put_comb(rest);
	} else if (rest && strncmp(line, "interval ", 9) == 0) {
		err = put_interval(rest);
	}
	if (err)
		fprintf(stderr, "make_trace: %d: %s", err, line);
	return err;
}

int main(void)
{
	char line[1024];
	int err = 0;

	while (!err && fgets(line, sizeof(line), stdin))
		err = put_line(line);
	tide_trace_abandon(writer);
	return err ? 1 : 0;
}
