/* SPDX-License-Identifier: MIT */
/* probe_elsewhere.c - where KVM's probe has no guest to run */
#include <errno.h>
#include <string.h>

#include "tracker/probe_machine.h"

static int elsewhere_open(struct probe *probe)
{
	static const char why[] = "the probe has no guest for this CPU yet";

	probe->result->error = -EOPNOTSUPP;
	memcpy(probe->result->why, why, sizeof(why));
	return -EOPNOTSUPP;
}

static void elsewhere_close(struct probe *probe)
{
	(void)probe;
}

const struct probe_machine probe_kvm = {
	.open = elsewhere_open,
	.close = elsewhere_close,
};
