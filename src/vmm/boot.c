/* SPDX-License-Identifier: MIT */
/*
 * boot.c - a vCPU's first state: long mode, ring 3, everything identity-mapped
 *
 * In the first MiB, below the image: the GDT, the page tables.  2 MiB pages
 * with accessed and dirty set, so that nobody writes to the tables later.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/vm.h"

#define GDT_GPA 0x1000u
#define PML4_GPA 0x2000u
#define PDPT_GPA 0x3000u
#define PD_GPA 0x4000u /* one page for each GiB */

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

#define GIB_PAGES ((uint64_t)1 << 18)
#define GIB_MAX (VM_MEMORY_MAX / (1ull << 30) + 1) /* with the hole */

_Static_assert(PD_GPA + GIB_MAX * TIDE_PAGE_SIZE <= 0x9f000,
	       "the tables stay in the first 640 KiB");

void boot_write_tables(uint8_t *base, uint64_t end_gfn)
{
	static const uint64_t gdt[] = {
		0,
		0x00af9b000000ffff, /* GUEST_KERNEL_CS */
		0x00cf93000000ffff, /* GUEST_KERNEL_DS */
		0x00cff3000000ffff, /* GUEST_USER_DS */
		0x00affb000000ffff, /* GUEST_USER_CS */
	};
	uint64_t *pml4 = (void *)(base + PML4_GPA);
	uint64_t *pdpt = (void *)(base + PDPT_GPA);
	uint64_t *pd = (void *)(base + PD_GPA);
	uint64_t gib = (end_gfn + GIB_PAGES - 1) / GIB_PAGES;

	memcpy(base + GDT_GPA, gdt, sizeof(gdt));
	pml4[0] = PDPT_GPA | PTE_TABLE;
	for (uint64_t i = 0; i < gib; i++)
		pdpt[i] = (PD_GPA + i * TIDE_PAGE_SIZE) | PTE_TABLE;
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

int boot_set_vcpu(const struct vcpu *vcpu, uint64_t entry)
{
	struct kvm_regs regs = {
		.rip = entry,
		.rdi = vcpu->index,
		.rflags = GUEST_RFLAGS,
	};
	struct kvm_segment data = segment(GUEST_USER_DS, 3, 0);
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cs = segment(GUEST_USER_CS, 11, 1);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.gdt.base = GDT_GPA;
	sregs.gdt.limit = 5 * 8 - 1;
	sregs.idt.base = 0;
	sregs.idt.limit = 0;
	sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	sregs.cr3 = PML4_GPA;
	sregs.cr4 = CR4_PAE;
	sregs.efer = EFER_LME | EFER_LMA;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) ||
	    ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		return -errno;
	return 0;
}
