/* SPDX-License-Identifier: MIT */
/*
 * probe_soft.c - the probe's guest on the software MMU
 *
 * This thread is the vCPU: every write goes the way of a software CPU's.
 */
#include <errno.h>
#include <sys/mman.h>

#include <tidemark/mmu.h>
#include <tidemark/vcpu.h>

#include "base/clock.h"
#include "tracker/probe_machine.h"

static int soft_open(struct probe *probe)
{
	const struct tide_mmu_config mmu = { .size = sizeof(mmu) };
	struct tide_soft_config config = { .size = sizeof(config) };
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
	err = tide_mmu_create(&mmu, &probe->mmu);
	if (err)
		return probe_fail(probe, "create an MMU", err);
	config.mmu = probe->mmu;
	err = probe_attach(probe, &config);
	if (!err)
		err = probe_add_slot(probe, &slot);
	if (err)
		return err;
	err = tide_vcpu_create(probe->mmu, &probe->vcpu);
	return err ? probe_fail(probe, "create a vCPU", err) : 0;
}

/* In guest mode, or not any more if it fails. */
static int write_byte(struct probe *probe, uint64_t gpa, uint8_t value)
{
	int why;

	while ((why = tide_vcpu_store(probe->vcpu, gpa, 1, value)) != 0) {
		if (why == TIDE_EXIT_RING_FULL)
			why = tide_soft_ring_full(probe->space);
		else if (why > 0)
			why = -EIO;
		if (why < 0)
			return why;
		why = tide_vcpu_enter(probe->vcpu);
		if (why)
			return why < 0 ? why : -EIO;
	}
	return 0;
}

static int soft_pass(struct probe *probe, uint8_t value, uint64_t *ret_ns)
{
	uint64_t begin_ns = tide_now_ns();
	int err = tide_vcpu_enter(probe->vcpu);

	for (uint64_t i = 0; i < PROBE_PAGES && !err; i++)
		err = write_byte(probe, (PROBE_GFN + i) << TIDE_PAGE_SHIFT,
				 value);
	/* -EPERM when an exit took it out. */
	(void)tide_vcpu_exit(probe->vcpu);
	if (err)
		return probe_fail(probe, "run the guest", err < 0 ? err : -EIO);
	*ret_ns = (tide_now_ns() - begin_ns) / PROBE_PAGES;
	return 0;
}

static void soft_close(struct probe *probe)
{
	tide_vcpu_destroy(probe->vcpu);
	tide_mmu_destroy(probe->mmu);
	if (probe->memory)
		munmap(probe->memory, PROBE_PAGES * TIDE_PAGE_SIZE);
}

const struct probe_machine probe_soft = {
	.open = soft_open,
	.pass = soft_pass,
	.close = soft_close,
};
