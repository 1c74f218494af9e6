/* SPDX-License-Identifier: MIT */
/*
 * probe_wp.c - the probe's guest is this thread, its memory the process's own
 *
 * On every third pass, but with sigsegv, the last page is discarded before it
 * is written, because a kernel might forget the page with its content.
 */
#include <errno.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "tracker/probe_machine.h"

static int wp_open(struct probe *probe)
{
	struct tide_slot_config slot = {
		.id = PROBE_SLOT,
		.first_gfn = PROBE_GFN,
		.npages = PROBE_PAGES,
	};
	int err = probe_map(probe, PROBE_PAGES);

	if (err)
		return err;
	probe->data = probe->memory;
	slot.host = probe->data;
	err = probe_attach(probe, NULL);
	return err ? err : probe_add_slot(probe, &slot);
}

static int wp_pass(struct probe *probe, uint8_t value, uint64_t *ret_ns)
{
	volatile unsigned char *data = probe->data;
	uint64_t begin_ns;

	if (value % 3 == 0 && probe->result->tracker != TIDE_TRACKER_SIGSEGV &&
	    madvise(probe->data + (PROBE_PAGES - 1) * TIDE_PAGE_SIZE,
		    TIDE_PAGE_SIZE, MADV_DONTNEED))
		return probe_fail(probe, "discard a page", -errno);
	begin_ns = tide_now_ns();
	for (uint32_t i = 0; i < PROBE_PAGES; i++)
		data[i * TIDE_PAGE_SIZE] = value;
	*ret_ns = (tide_now_ns() - begin_ns) / PROBE_PAGES;
	return 0;
}

static void wp_close(struct probe *probe)
{
	if (probe->memory)
		munmap(probe->memory, PROBE_PAGES * TIDE_PAGE_SIZE);
}

const struct probe_machine probe_wp = {
	.open = wp_open,
	.pass = wp_pass,
	.close = wp_close,
};
