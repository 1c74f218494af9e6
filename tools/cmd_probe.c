/* SPDX-License-Identifier: MIT */
/* cmd_probe.c - tidemark probe: which ways of catching writes work here */
#include "cmdline.h"
#include "names.h"
#include "progress.h"
#include "tool.h"
#include "units.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <tidemark/probe.h>

/* A write to a page that is not armed takes nanoseconds, loop included.  Above
 * this, something emulates the guest, and the figures tell of that. */
#define EMULATED_WRITE_AGAIN_NS 1000u

struct probe_args {
	enum tide_tracker tracker;
	int json;
};

static int looks_emulated(const struct tide_probe_result *result)
{
	return result->works &&
	       result->write_again_ns > EMULATED_WRITE_AGAIN_NS;
}

static void put(json_t *object, const char *key, uint64_t value)
{
	(void)json_object_set_new(object, key, json_integer((json_int_t)value));
}

static json_t *to_json(const struct tide_probe_result *result)
{
	json_t *object = json_object();

	(void)json_object_set_new(
		object, "tracker",
		json_string(tide_tracker_name(result->tracker)));
	(void)json_object_set_new(object, "supported",
				  json_boolean(result->supported));
	(void)json_object_set_new(object, "works", json_boolean(result->works));
	(void)json_object_set_new(object, "error", json_integer(result->error));
	(void)json_object_set_new(object, "why", json_string(result->why));
	put(object, "pages", result->pages);
	put(object, "arm_ns", result->arm_ns);
	put(object, "write_ns", result->write_ns);
	put(object, "write_again_ns", result->write_again_ns);
	put(object, "harvest_dirty_ns", result->harvest_dirty_ns);
	put(object, "harvest_clean_ns", result->harvest_clean_ns);
	(void)json_object_set_new(object, "guest_looks_emulated",
				  json_boolean(looks_emulated(result)));
	return object;
}

static void print_row(const struct tide_probe_result *result)
{
	printf("%-11s %-9s %-5s", tide_tracker_name(result->tracker),
	       result->supported ? "yes" : "no", result->works ? "yes" : "no");
	if (!result->works) {
		printf("  %s\n", result->why);
		return;
	}
	printf("  %9s  %9s  %9s  %9s  %9s\n", units_time(result->arm_ns).text,
	       units_time(result->write_ns).text,
	       units_time(result->write_again_ns).text,
	       units_time(result->harvest_dirty_ns).text,
	       units_time(result->harvest_clean_ns).text);
}

static void print_table(const struct tide_probe_result *results,
			unsigned int count)
{
	uint64_t pages = 0;
	int emulated = 0;

	printf("%-11s %-9s %-5s  %9s  %9s  %9s  %9s  %9s\n", "tracker",
	       "supported", "works", "arm", "write", "again", "harvest",
	       "clean");
	for (unsigned int i = 0; i < count; i++) {
		print_row(&results[i]);
		emulated |= looks_emulated(&results[i]);
		if (results[i].works)
			pages = results[i].pages;
	}
	if (pages == 0)
		return;
	printf("\nAs measured on this host with %llu pages.  write: first "
	       "write to an armed page, a page;\nagain: the next write to it; "
	       "arm, harvest (all dirty) and clean (none): the whole slot.\n",
	       (unsigned long long)pages);
	if (emulated)
		printf("A plain write takes over a microsecond here: the "
		       "guest seems to be emulated\n(nested), and write and "
		       "again include the emulator.\n");
}

static int run_probes(const struct probe_args *args,
		      struct tide_probe_result *results, unsigned int *count)
{
	struct progress progress;

	progress_init(&progress, args->json);
	*count = 0;
	for (unsigned int i = TIDE_TRACKER_NONE + 1; i < TIDE_TRACKER_COUNT;
	     i++) {
		enum tide_tracker tracker = (enum tide_tracker)i;
		int err;

		if (args->tracker != TIDE_TRACKER_NONE &&
		    args->tracker != tracker)
			continue;
		progress_draw(&progress, "probe", i - 1, TIDE_TRACKER_COUNT - 1,
			      tide_tracker_name(tracker));
		err = tide_probe(tracker, &results[*count]);
		if (err) {
			progress_clear(&progress);
			return tool_error("%s: %s", tide_tracker_name(tracker),
					  strerror(-err));
		}
		(*count)++;
	}
	progress_clear(&progress);
	return -1;
}

static int report(const struct probe_args *args,
		  const struct tide_probe_result *results, unsigned int count)
{
	unsigned int working = 0;

	for (unsigned int i = 0; i < count; i++)
		working += results[i].works != 0;
	if (args->json) {
		json_t *list = json_array();

		for (unsigned int i = 0; i < count; i++)
			(void)json_array_append_new(list, to_json(&results[i]));
		(void)json_dumpf(list, stdout,
				 JSON_INDENT(2) | JSON_PRESERVE_ORDER);
		putchar('\n');
		json_decref(list);
	} else {
		print_table(results, count);
	}
	if (working)
		return TOOL_OK;
	return tool_error("%s: %s",
			  count == 1 ? tide_tracker_name(results[0].tracker)
				     : "no tracker works on this host",
			  results[0].why);
}

int cmd_probe(int argc, char **argv)
{
	struct tide_probe_result results[TIDE_TRACKER_COUNT];
	struct probe_args args = { .tracker = TIDE_TRACKER_NONE };
	const struct option_spec specs[] = {
		{ .name = "tracker",
		  .type = OPTION_TRACKER,
		  .value = &args.tracker,
		  .argument = "NAME",
		  .help = "this one only" },
		{ .name = "json",
		  .type = OPTION_FLAG,
		  .value = &args.json,
		  .help = "an array with one object a tracker" },
		{ 0 },
	};
	const struct options options = {
		.usage = "probe [--tracker NAME] [--json]",
		.summary = "Try every tracker with a guest that really writes.",
		.specs = specs,
	};
	unsigned int count;
	int first;
	int status = options_parse(&options, argc, argv, &first);

	if (status >= 0)
		return status;
	status = run_probes(&args, results, &count);
	if (status >= 0)
		return status;
	return report(&args, results, count);
}
