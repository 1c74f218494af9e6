/* SPDX-License-Identifier: MIT */
/* names.c - trackers and workloads by name, and which tracker to use */
#include "names.h"

#include "tool.h"

#include <stdio.h>
#include <string.h>
#include <tidemark/probe.h>

static const char *const workload_names[] = {
	[TIDE_WORKLOAD_WALKER] = "walker", [TIDE_WORKLOAD_RANDOM] = "random",
	[TIDE_WORKLOAD_ATOMIC] = "atomic", [TIDE_WORKLOAD_HOT] = "hot",
	[TIDE_WORKLOAD_SCRIPT] = "script",
};
_Static_assert(sizeof(workload_names) / sizeof(workload_names[0]) ==
		       TIDE_WORKLOAD_COUNT,
	       "every workload has a name");

/* Best first: clear re-arms late and in chunks, the ring costs a slot per
 * write, get re-arms a whole slot at once. */
static const enum tide_tracker preference[] = {
	TIDE_TRACKER_KVM_CLEAR,
	TIDE_TRACKER_KVM_RING,
	TIDE_TRACKER_KVM_GET,
};
#define WHY_SIZE 128
#define PREFERENCES (sizeof(preference) / sizeof(preference[0]))

/* "a, b or c" for messages. */
static void list_names(const char *const *names, unsigned int count, char *text,
		       size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (unsigned int i = 0; i < count && used < size; i++) {
		const char *comma = i == 0	     ? ""
				    : i + 1 == count ? " or "
						     : ", ";

		used += (size_t)snprintf(text + used, size - used, "%s%s",
					 comma, names[i]);
	}
}

static int unknown_name(const char *option, const char *text,
			const char *const *names, unsigned int count)
{
	const char *near = tool_nearest(text, names, count);
	char all[256];

	if (near)
		return tool_error("--%s: no '%s': did you mean %s?", option,
				  text, near);
	list_names(names, count, all, sizeof(all));
	return tool_error("--%s: no '%s': use %s", option, text, all);
}

int names_tracker(const char *option, const char *text, enum tide_tracker *ret)
{
	const char *names[TIDE_TRACKER_COUNT];
	unsigned int count = 0;

	for (unsigned int i = TIDE_TRACKER_NONE + 1; i < TIDE_TRACKER_COUNT;
	     i++) {
		names[count] = tide_tracker_name((enum tide_tracker)i);
		if (strcmp(names[count], text) == 0) {
			*ret = (enum tide_tracker)i;
			return -1;
		}
		count++;
	}
	return unknown_name(option, text, names, count);
}

int names_workload(const char *option, const char *text,
		   enum tide_workload *ret)
{
	for (unsigned int i = 0; i < TIDE_WORKLOAD_COUNT; i++) {
		if (strcmp(workload_names[i], text) == 0) {
			*ret = (enum tide_workload)i;
			return -1;
		}
	}
	return unknown_name(option, text, workload_names, TIDE_WORKLOAD_COUNT);
}

const char *names_of_workload(enum tide_workload workload)
{
	return (unsigned int)workload < TIDE_WORKLOAD_COUNT
		       ? workload_names[workload]
		       : NULL;
}

int names_tracker_works(enum tide_tracker tracker, char *why, size_t why_size)
{
	struct tide_probe_result result;
	int err = tide_probe(tracker, &result);

	(void)snprintf(why, why_size, "%s", err ? strerror(-err) : result.why);
	return !err && result.works;
}

int names_usable_tracker(enum tide_tracker tracker)
{
	char why[WHY_SIZE];

	if (names_tracker_works(tracker, why, sizeof(why)))
		return -1;
	return tool_error("%s does not work on this host: %s",
			  tide_tracker_name(tracker), why);
}

int names_best_tracker(enum tide_tracker *ret, char *why, size_t why_size)
{
	char reasons[PREFERENCES][WHY_SIZE];
	char all[PREFERENCES * (WHY_SIZE + 16)] = "";
	size_t used = 0;
	int same = 1;

	for (unsigned int i = 0; i < PREFERENCES; i++) {
		if (names_tracker_works(preference[i], reasons[i], WHY_SIZE)) {
			(void)snprintf(why, why_size,
				       "%sa probe saw it catch a guest's write",
				       all);
			*ret = preference[i];
			return -1;
		}
		same &= strcmp(reasons[i], reasons[0]) == 0;
		used += (size_t)snprintf(
			all + used, sizeof(all) - used, "%s: %s; ",
			tide_tracker_name(preference[i]), reasons[i]);
	}
	if (same)
		return tool_error("no tracker works on this host: %s",
				  reasons[0]);
	return tool_error("no tracker works on this host: %.*s", (int)used - 2,
			  all);
}
