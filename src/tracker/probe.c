/* SPDX-License-Identifier: MIT */
/*
 * probe.c - does a mechanism really work on this host? (C8)
 *
 * Theory of operation
 * -------------------
 * A vCPU writes a byte to each page of a slot of PROBE_PAGES pages.  A client
 * of a space over that slot must then see exactly those pages, see none when
 * nothing was written, and see them again after the next pass.  Some kernels
 * answer every ioctl and log nothing: only a real write tells.  For wp, sigsegv
 * and soft-dirty, which track processes, this thread is the vCPU.
 */
#include "tracker/probe_machine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <tidemark/client.h>

#include "base/clock.h"

int probe_fail(struct probe *probe, const char *step, int err)
{
	const char *description = strerrordesc_np(-err);

	probe->result->error = err;
	snprintf(probe->result->why, sizeof(probe->result->why), "%s: %s", step,
		 description ? description : "unknown error");
	return err;
}

int probe_map(struct probe *probe, size_t pages)
{
	probe->memory =
		mmap(NULL, pages * TIDE_PAGE_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (probe->memory == MAP_FAILED) {
		probe->memory = NULL;
		return probe_fail(probe, "map memory", -errno);
	}
	return 0;
}

/* Attaching tells whether the host says that it has the mechanism. */
int probe_attach(struct probe *probe, const void *config)
{
	int err = tide_space_create(&probe->space);

	if (err)
		return probe_fail(probe, "create a space", err);
	err = tide_space_attach(probe->space, probe->result->tracker, config);
	if (err)
		return probe_fail(probe, "the host does not offer it", err);
	probe->result->supported = 1;
	return 0;
}

int probe_add_slot(struct probe *probe, const struct tide_slot_config *slot)
{
	int err = tide_slot_add(probe->space, slot);

	return err ? probe_fail(probe, "add a slot", err) : 0;
}

static int pass(struct probe *probe, uint8_t value, uint64_t *ret_ns)
{
	int err = probe->machine->pass(probe, value, ret_ns);

	for (uint32_t i = 0; i < PROBE_PAGES && !err; i++) {
		if (probe->data[i * TIDE_PAGE_SIZE] != value)
			err = probe_fail(probe, "the guest did not write",
					 -EIO);
	}
	return err;
}

/* One harvest; @expect pages must come, all of the data slot or none. */
static int harvest(struct probe *probe, uint64_t expect, const char *otherwise,
		   uint64_t *ret_ns)
{
	uint64_t begin_ns = tide_now_ns();
	struct tide_harvest *harvest;
	struct tide_extent extent;
	uint64_t pages = 0;
	int ret = tide_harvest_begin(probe->client, &harvest);

	if (ret)
		return probe_fail(probe, "collect the log", ret);
	while ((ret = tide_harvest_next(harvest, &extent)) > 0) {
		if (extent.slot == PROBE_SLOT)
			pages += extent.npages;
	}
	if (ret < 0) {
		tide_harvest_abort(harvest);
		return probe_fail(probe, "re-arm", ret);
	}
	ret = tide_harvest_commit(harvest);
	if (ret)
		return probe_fail(probe, "commit", ret);
	*ret_ns = tide_now_ns() - begin_ns;
	return pages == expect ? 0 : probe_fail(probe, otherwise, -EIO);
}

static const struct probe_machine *machine_of(enum tide_tracker tracker)
{
	if (tracker == TIDE_TRACKER_SOFT_BITMAP ||
	    tracker == TIDE_TRACKER_SOFT_RING)
		return &probe_soft;
	if (tracker == TIDE_TRACKER_SOFT_DIRTY)
		return &probe_soft_dirty;
	return tracker == TIDE_TRACKER_WP || tracker == TIDE_TRACKER_SIGSEGV
		       ? &probe_wp
		       : &probe_kvm;
}

static int try_it(struct probe *probe)
{
	struct tide_probe_result *result = probe->result;
	uint64_t begin_ns, ns;
	int err = pass(probe, 1, &ns); /* maps the pages */

	if (err)
		return err;
	begin_ns = tide_now_ns();
	err = tide_client_open(probe->space, "probe", TIDE_START_CLEAN,
			       &probe->client);
	result->arm_ns = tide_now_ns() - begin_ns;
	if (err)
		return probe_fail(probe, "turn logging on", err);
	err = pass(probe, 2, &result->write_ns);
	if (!err)
		err = pass(probe, 3, &result->write_again_ns);
	if (!err)
		err = harvest(probe, PROBE_PAGES, "a write was not seen",
			      &result->harvest_dirty_ns);
	if (!err)
		err = harvest(probe, 0, "a page did not become clean",
			      &result->harvest_clean_ns);
	if (!err)
		err = pass(probe, 4, &ns);
	if (!err)
		err = harvest(probe, PROBE_PAGES,
			      "a write after clearing was lost", &ns);
	if (err)
		return err;
	result->pages = PROBE_PAGES;
	result->works = 1;
	return 0;
}

int tide_probe(enum tide_tracker tracker, struct tide_probe_result *ret)
{
	struct probe probe = {
		.result = ret,
		.machine = machine_of(tracker),
		.kvm_fd = -1,
		.vm_fd = -1,
		.vcpu_fd = -1,
	};
	int saved = errno;

	if (tracker <= TIDE_TRACKER_NONE || tracker >= TIDE_TRACKER_COUNT)
		return -EINVAL;
	*ret = (struct tide_probe_result){ .tracker = tracker };
	if (!probe.machine->open(&probe))
		(void)try_it(&probe); /* it says why itself */
	tide_client_close(probe.client);
	tide_space_destroy(probe.space);
	probe.machine->close(&probe);
	errno = saved;
	return 0;
}
