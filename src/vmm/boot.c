/* SPDX-License-Identifier: MIT */
/*
 * boot.c - a vCPU's first state: long mode, ring 3, everything identity-mapped
 *
 * In the first MiB, below the image: the GDT and the page tables.
 */
#include "tracker/long_mode.h"
#include "vmm/kvm_machine.h"
#include "vmm/vm.h"

#define GIB_PAGES ((uint64_t)1 << 18)
#define GIB_MAX (VM_MEMORY_MAX / (1ull << 30) + 1) /* with the hole */

_Static_assert(TIDE_LONG_MODE_PD + GIB_MAX * TIDE_PAGE_SIZE <= 0x9f000,
	       "the tables stay in the first 640 KiB");
/* guest/entry.S makes the same GDT when QEMU enters it. */
_Static_assert(TIDE_LONG_MODE_USER_CS == GUEST_USER_CS &&
		       TIDE_LONG_MODE_USER_DS == GUEST_USER_DS &&
		       TIDE_LONG_MODE_RFLAGS == GUEST_RFLAGS,
	       "one ring 3 for both hosts");

void boot_write_tables(uint8_t *base, uint64_t end_gfn)
{
	tide_long_mode_tables(base, (end_gfn + GIB_PAGES - 1) / GIB_PAGES);
}

int boot_set_vcpu(const struct vcpu *vcpu, uint64_t entry)
{
	struct kvm_regs regs = { .rip = entry, .rdi = vcpu->index };

	return tide_long_mode_enter(vcpu->fd, &regs);
}
