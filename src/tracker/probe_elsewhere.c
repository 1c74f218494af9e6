/* SPDX-License-Identifier: MIT */
/* probe_elsewhere.c - the probe where it has no guest to run */
#include <errno.h>
#include <string.h>

#include <tidemark/probe.h>

int tide_probe(enum tide_tracker tracker, struct tide_probe_result *ret)
{
	static const char why[] = "the probe has no guest for this CPU yet";

	if (tracker <= TIDE_TRACKER_NONE || tracker >= TIDE_TRACKER_COUNT)
		return -EINVAL;
	*ret = (struct tide_probe_result){
		.tracker = tracker,
		.error = -EOPNOTSUPP,
	};
	memcpy(ret->why, why, sizeof(why));
	return 0;
}
