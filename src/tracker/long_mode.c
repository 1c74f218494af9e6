/* SPDX-License-Identifier: MIT */
/* long_mode.c - start an x86-64 vCPU in ring 3 of long mode */
#include "tracker/long_mode.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define PTE_TABLE 0x27u /* present, writable, user, accessed */
#define PTE_LARGE 0xe7u /* and dirty, 2 MiB */

#define CR0_PE 0x1u
#define CR0_MP 0x2u
#define CR0_ET 0x10u
#define CR0_NE 0x20u
#define CR0_WP 0x10000u
#define CR0_PG 0x80000000u
#define CR4_PAE 0x20u
#define EFER_LME 0x100u
#define EFER_LMA 0x400u

void tide_long_mode_tables(uint8_t *base, uint64_t gib)
{
	static const uint64_t gdt[] = {
		0,
		0x00af9b000000ffff, /* TIDE_LONG_MODE_KERNEL_CS */
		0x00cf93000000ffff, /* TIDE_LONG_MODE_KERNEL_DS */
		0x00cff3000000ffff, /* TIDE_LONG_MODE_USER_DS */
		0x00affb000000ffff, /* TIDE_LONG_MODE_USER_CS */
	};
	uint64_t *pml4 = (void *)(base + TIDE_LONG_MODE_PML4);
	uint64_t *pdpt = (void *)(base + TIDE_LONG_MODE_PDPT);
	uint64_t *pd = (void *)(base + TIDE_LONG_MODE_PD);

	memcpy(base + TIDE_LONG_MODE_GDT, gdt, sizeof(gdt));
	pml4[0] = TIDE_LONG_MODE_PDPT | PTE_TABLE;
	for (uint64_t i = 0; i < gib; i++)
		pdpt[i] = (TIDE_LONG_MODE_PD + (i << 12)) | PTE_TABLE;
	for (uint64_t i = 0; i < gib * 512; i++)
		pd[i] = i << 21 | PTE_LARGE;
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, uint8_t l)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.dpl = 3,
		.db = !l,
		.s = 1,
		.l = l,
		.g = 1,
	};
}

int tide_long_mode_enter(int vcpu_fd, struct kvm_regs *regs)
{
	struct kvm_segment data = segment(TIDE_LONG_MODE_USER_DS, 3, 0);
	struct kvm_sregs sregs;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cs = segment(TIDE_LONG_MODE_USER_CS, 11, 1);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.gdt.base = TIDE_LONG_MODE_GDT;
	sregs.gdt.limit = 5 * 8 - 1;
	sregs.idt.base = 0;
	sregs.idt.limit = 0;
	sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	sregs.cr3 = TIDE_LONG_MODE_PML4;
	sregs.cr4 = CR4_PAE;
	sregs.efer = EFER_LME | EFER_LMA;
	regs->rflags = TIDE_LONG_MODE_RFLAGS;
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) ||
	    ioctl(vcpu_fd, KVM_SET_REGS, regs))
		return -errno;
	return 0;
}
