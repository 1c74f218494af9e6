/* SPDX-License-Identifier: MIT */
/*
 * vmstate.h - what a migration carries besides memory
 *
 * Two kinds of pieces, in this order: one VMSTATE_VM, and one for each vCPU,
 * whose name and contents are its machine's (struct machine.state_name).
 * Little-endian, naturally aligned, exactly of their sizes.
 */
#ifndef TIDE_VMM_VMSTATE_H
#define TIDE_VMM_VMSTATE_H

#include <stdint.h>

#define VMSTATE_VM "tidemark-vm"
#define VMSTATE_VERSION 1u

struct tide_vm;

struct vmstate_vm {
	uint32_t version; /* VMSTATE_VERSION */
	uint32_t workload;
	uint32_t vcpus;
	uint32_t device;
	uint64_t memory_bytes;
	uint64_t seed;
	uint64_t hot_pages;
	uint64_t writes_per_second;
	uint64_t params_gpa;
	uint64_t device_count;
	uint64_t work_pages;
};

_Static_assert(sizeof(struct vmstate_vm) == 72, "no padding");

void vmstate_save_vm(const struct tide_vm *vm, struct vmstate_vm *ret);

#endif
