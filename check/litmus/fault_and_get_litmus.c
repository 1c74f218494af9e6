/* SPDX-License-Identifier: MIT */
/*
 * fault_and_get_litmus.c - a write that is caught, against a harvest
 *
 * What    src/mmu and src/log as shipped, in direct mode.  Thread 1; K1, K2.
 * Claim   a write that a vCPU has made is in the copy that is read after a
 *         harvest that took the page, or the page is in a later one (C1, C4).
 * Bounds  one page, one write, one harvest beside it and one after it.
 */
#include "mmu_setup.h"

static void protected_page(void)
{
	static const struct mmu_setup how = { .vcpus = 1,
					      .mapped = SETUP_READ };

	mmu_setup(&how);
}

static void write_once(void)
{
	guest_write(vcpu[0], 0, 1);
}

int main(int argc, char **argv)
{
	static const struct litmus all[] = {
		{ .program = { .name = "write-and-get",
			       .threads = 2,
			       .init = protected_page,
			       .final = last_harvest_is_complete,
			       .thread = { write_once, get_and_copy } },
		  .executions = 83 },
	};

	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
