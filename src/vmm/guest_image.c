/* SPDX-License-Identifier: MIT */
/*
 * guest_image.c - the guest as a file for another hypervisor
 *
 * The image inside the library, with its parameter block filled in.  There
 * is no port that waits elsewhere, so a limited rate counts TSC ticks.
 */
#include <errno.h>
#include <string.h>
#include <x86intrin.h>

#include "base/clock.h"
#include "vmm/elf_load.h"
#include "vmm/image.h"
#include "vmm/vm.h"

#define CALIBRATE_NS 10000000ull

/* TSC ticks in @ns, from a short look at this host's. */
static uint64_t ticks_in(uint64_t ns)
{
	uint64_t begin_ns = tide_now_ns();
	uint64_t begin = __rdtsc();
	uint64_t passed_ns;

	if (!ns)
		return 0;
	do {
		passed_ns = tide_now_ns() - begin_ns;
	} while (passed_ns < CALIBRATE_NS);
	return (uint64_t)((double)(__rdtsc() - begin) / (double)passed_ns *
			  (double)ns);
}

int tide_guest_image(const struct tide_vm_config *config, void *buffer,
		     size_t size)
{
	size_t bytes = (size_t)(tide_guest_end - tide_guest_begin);
	struct tide_vm_config taken;
	struct guest_params params;
	struct vm_layout layout;
	struct elf_image image;
	int err = vm_config_take(&taken, config);

	if (err)
		return err;
	vm_layout_set(&layout, &taken);
	/* Nobody starts a second vCPU there, or maps more than 4 GiB. */
	if (taken.vcpus != 1 || layout.pages != layout.low_pages)
		return -EINVAL;
	if (size < bytes)
		return size ? -ENOSPC : (int)bytes;
	err = elf_load(tide_guest_begin, bytes, NULL, &image);
	if (err)
		return err;

	memcpy(&params, tide_guest_begin + image.params_offset, sizeof(params));
	vm_params_set(&params, &taken, &layout);
	params.pace_port = 0;
	params.ticks_per_batch = ticks_in(vm_pace_ns(&taken));
	memcpy(buffer, tide_guest_begin, bytes);
	memcpy((uint8_t *)buffer + image.params_offset, &params,
	       sizeof(params));
	return (int)bytes;
}
