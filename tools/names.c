/* SPDX-License-Identifier: MIT */
/* names.c - trackers, workloads and paging by name; which tracker to use */
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

static const char *const paging_names[] = {
	[TIDE_PAGING_NONE] = "none",
	[TIDE_PAGING_X86_64] = "x86-64",
	[TIDE_PAGING_SV39] = "sv39",
};
_Static_assert(sizeof(paging_names) / sizeof(paging_names[0]) ==
		       TIDE_PAGING_MODE_COUNT,
	       "every paging mode has a name");

/* Best first: clear re-arms late and in chunks, the ring costs a slot per
 * write, get re-arms a whole slot at once. */
static const enum tide_tracker kvm_trackers[] = {
	TIDE_TRACKER_KVM_CLEAR,
	TIDE_TRACKER_KVM_RING,
	TIDE_TRACKER_KVM_GET,
};
static const enum tide_tracker soft_trackers[] = {
	TIDE_TRACKER_SOFT_BITMAP,
	TIDE_TRACKER_SOFT_RING,
};
#define KVM_TRACKERS (sizeof(kvm_trackers) / sizeof(kvm_trackers[0]))
#define SOFT_TRACKERS (sizeof(soft_trackers) / sizeof(soft_trackers[0]))

#define WHY_SIZE 128
#define ALL_SIZE 512 /* for the reasons of several */

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

	if (strcmp(text, "soft") == 0) {
		*ret = soft_trackers[0];
		return -1;
	}
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

int names_guest_tracker(const char *option, const char *text,
			enum tide_tracker *ret)
{
	int status = names_tracker(option, text, ret);

	if (status < 0 &&
	    (*ret == TIDE_TRACKER_WP || *ret == TIDE_TRACKER_SIGSEGV ||
	     *ret == TIDE_TRACKER_SOFT_DIRTY))
		return tool_error("--%s: %s tracks processes, not guests",
				  option, text);
	return status;
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

static int paging_by_name(const char *text, enum tide_paging_mode *ret)
{
	for (unsigned int i = 0; i < TIDE_PAGING_MODE_COUNT; i++) {
		if (strcmp(paging_names[i], text) == 0) {
			*ret = (enum tide_paging_mode)i;
			return -1;
		}
	}
	return unknown_name("paging", text, paging_names,
			    TIDE_PAGING_MODE_COUNT);
}

const char *names_of_paging(enum tide_paging_mode paging)
{
	return (unsigned int)paging < TIDE_PAGING_MODE_COUNT
		       ? paging_names[paging]
		       : NULL;
}

int names_tracker_is_soft(enum tide_tracker tracker)
{
	return tracker == TIDE_TRACKER_SOFT_BITMAP ||
	       tracker == TIDE_TRACKER_SOFT_RING;
}

const char *names_of_workload(enum tide_workload workload)
{
	return (unsigned int)workload < TIDE_WORKLOAD_COUNT
		       ? workload_names[workload]
		       : NULL;
}

int names_soft_paging(const char *text, enum tide_tracker *tracker,
		      enum tide_paging_mode *ret)
{
	if (!text)
		return -1;
	if (*tracker == TIDE_TRACKER_NONE)
		*tracker = soft_trackers[0];
	if (!names_tracker_is_soft(*tracker))
		return tool_error("--paging: only with --tracker soft: the "
				  "guests of %s have their own",
				  tide_tracker_name(*tracker));
	return paging_by_name(text, ret);
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

/* The first that works, or TIDE_TRACKER_NONE.  @why_not: of those before it,
 * "name: reason; ", or the one reason of all. */
static enum tide_tracker first_that_works(const enum tide_tracker *trackers,
					  unsigned int count, char *why_not)
{
	char first[WHY_SIZE] = "";
	size_t used = 0;
	int same = 1;

	why_not[0] = '\0';
	for (unsigned int i = 0; i < count; i++) {
		char reason[WHY_SIZE];

		if (names_tracker_works(trackers[i], reason, sizeof(reason)))
			return trackers[i];
		if (i == 0)
			memcpy(first, reason, sizeof(first));
		same &= strcmp(reason, first) == 0;
		used += (size_t)snprintf(
			why_not + used, ALL_SIZE - used, "%s: %s; ",
			tide_tracker_name(trackers[i]), reason);
	}
	if (same)
		(void)snprintf(why_not, ALL_SIZE, "%s", first);
	else
		why_not[used - 2] = '\0';
	return TIDE_TRACKER_NONE;
}

int names_best_tracker(enum tide_tracker *ret, char *why, size_t why_size)
{
	char kvm_why[ALL_SIZE], soft_why[ALL_SIZE];

	*ret = first_that_works(kvm_trackers, KVM_TRACKERS, kvm_why);
	if (*ret != TIDE_TRACKER_NONE) {
		(void)snprintf(why, why_size,
			       "%sa probe saw it catch a guest's write",
			       kvm_why);
		return -1;
	}
	*ret = first_that_works(soft_trackers, SOFT_TRACKERS, soft_why);
	if (*ret != TIDE_TRACKER_NONE) {
		(void)snprintf(
			why, why_size,
			"KVM does not work on this host (%s), so the "
			"guest's CPU is software; %sa probe saw it catch "
			"a write",
			kvm_why, soft_why);
		return -1;
	}
	return tool_error("no tracker works on this host: %s; %s", kvm_why,
			  soft_why);
}
