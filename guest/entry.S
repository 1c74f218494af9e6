/* SPDX-License-Identifier: MIT */
/*
 * entry.S - how a guest begins, under the VMM and under QEMU
 *
 * The workloads run in ring 3 of long mode, with IOPL 3 for the ports: a
 * software hypervisor (PVM) runs ring 3 at full speed and ring 0 through an
 * instruction emulator, three hundred times slower.
 *
 * The VMM enters at guest_start, with paging on, in ring 3, and the vCPU's
 * number in RDI.  QEMU's -kernel enters at guest_pvh (note below), in 32-bit
 * protected mode without paging; this maps 4 GiB and joins.  There are no
 * interrupts and no IDT: whatever goes wrong is a triple fault.
 */
#include "params.h"

#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define CR4_PAE 0x20
#define CR0_PG 0x80000000
#define PAGE_USER 0x27	/* present, writable, user, accessed */
#define PAGE_LARGE 0xe7 /* and dirty, 2 MiB: KVM need not set the bits */

	.section .note.pvh, "a", @note
	.balign 4
	.long 2f - 1f, 4f - 3f
	.long 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
1:	.asciz "Xen"
2:	.balign 4
3:	.long guest_pvh
4:	.balign 4

	.text
	.code32
	.globl guest_pvh
guest_pvh:
	cld
	movl $guest_pdpt + PAGE_USER, guest_pml4
	movl $guest_pd + PAGE_USER, %eax
	movl $guest_pdpt, %edi
	movl $4, %ecx
1:	movl %eax, (%edi)
	addl $4096, %eax
	addl $8, %edi
	decl %ecx
	jnz 1b

	movl $PAGE_LARGE, %eax
	movl $guest_pd, %edi
	movl $4 * 512, %ecx
1:	movl %eax, (%edi)
	addl $0x200000, %eax
	addl $8, %edi
	decl %ecx
	jnz 1b

	movl %cr4, %eax
	orl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $guest_pml4, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl %cr0, %eax
	orl $CR0_PG, %eax
	movl %eax, %cr0
	lgdt guest_gdtr
	ljmp $GUEST_KERNEL_CS, $guest_long

	.code64
guest_long:
	movl $GUEST_USER_DS, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	movl $GUEST_KERNEL_DS, %ecx
	movl %ecx, %ss
	movl $guest_stacks_end, %esp
	xorl %edi, %edi
	pushq %rax /* SS */
	pushq $guest_stacks_end
	pushq $GUEST_RFLAGS
	pushq $GUEST_USER_CS
	pushq $guest_start
	iretq

	.globl guest_start
guest_start:
	cld
	movl %edi, %eax
	shll $12, %eax /* GUEST_STACK_SIZE */
	leaq guest_stacks + GUEST_STACK_SIZE(%rax), %rsp
	xorl %ebp, %ebp
	call guest_main
	ud2

/*
 * The writes that the oracles count.  Each is one instruction, whose effect
 * is whole or not there when a vCPU is stopped, and the next one counts it.
 */
	.macro written name
	.globl \name
\name:
	.endm

	/* (page, count) */
	.globl guest_write_byte
guest_write_byte:
	incb (%rdi)
written guest_byte_written
	incq (%rsi)
	ret

	.globl guest_write_locked
guest_write_locked:
	lock incq (%rdi)
written guest_locked_written
	incq (%rsi)
	ret

	.globl guest_write_word
guest_write_word:
	incq (%rdi)
written guest_word_written
	incq (%rsi)
	ret

	/* (word, count, value) */
	.globl guest_write_fill
guest_write_fill:
	movq %rdx, (%rdi)
written guest_fill_written
	incq (%rsi)
	ret

	/* (page, iteration, stamp, count): memory to memory in one go, so that
	 * a vCPU that is stopped and started again never writes an old one */
	.globl guest_write_iteration
guest_write_iteration:
	movsq
written guest_iteration_written
	movq %rdx, (%rdi)
written guest_stamp_written
	incq (%rcx)
	ret

	.section .rodata
	.balign 8
guest_gdt:
	.quad 0
	.quad 0x00af9b000000ffff /* GUEST_KERNEL_CS */
	.quad 0x00cf93000000ffff /* GUEST_KERNEL_DS */
	.quad 0x00cff3000000ffff /* GUEST_USER_DS */
	.quad 0x00affb000000ffff /* GUEST_USER_CS */
guest_gdtr:
	.word . - guest_gdt - 1
	.quad guest_gdt

	.bss
	.balign 4096
guest_pml4:
	.skip 4096
guest_pdpt:
	.skip 4096
guest_pd:
	.skip 4 * 4096
guest_stacks:
	.skip GUEST_VCPUS_MAX * GUEST_STACK_SIZE
guest_stacks_end:

	.section .note.GNU-stack, "", @progbits
