/* SPDX-License-Identifier: MIT */
/*
 * probe_soft_dirty.c - the probe of soft-dirty: says first what attach found
 *
 * Kernels that are built without the bits still let them be cleared, and some
 * that have them clear them wrongly or not at all.  So the tracker tries them
 * on a page of its own; what that said is the reason here.  Then all is as with
 * wp, which discards a page before it writes it; and pages lose and regain the
 * right to be written, which a kernel may take for the write itself.
 */
#include <errno.h>
#include <sys/mman.h>

#include "tracker/probe_machine.h"
#include "tracker/soft_dirty.h"

static int soft_dirty_open(struct probe *probe)
{
	struct tide_soft_dirty *soft_dirty;
	const char *why = "try the soft-dirty bits";
	int err = tide_soft_dirty_create(NULL, NULL, &soft_dirty, &why);

	if (err)
		return probe_fail(probe, why, err);
	tide_soft_dirty_destroy(soft_dirty);
	return probe_wp.open(probe);
}

static int soft_dirty_pass(struct probe *probe, uint8_t value, uint64_t *ret_ns)
{
	const size_t size = PROBE_PAGES / 2 * TIDE_PAGE_SIZE;

	if (mprotect(probe->data, size, PROT_READ) ||
	    mprotect(probe->data, size, PROT_READ | PROT_WRITE))
		return probe_fail(probe, "protect pages", -errno);
	return probe_wp.pass(probe, value, ret_ns);
}

static void soft_dirty_close(struct probe *probe)
{
	probe_wp.close(probe);
}

const struct probe_machine probe_soft_dirty = {
	.open = soft_dirty_open,
	.pass = soft_dirty_pass,
	.close = soft_dirty_close,
};
