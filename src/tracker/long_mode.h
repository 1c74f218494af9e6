/* SPDX-License-Identifier: MIT */
/*
 * long_mode.h - start an x86-64 vCPU in ring 3 of long mode
 *
 * Identity-mapped, IOPL 3 so that ports work, no interrupts.  Ring 3, because
 * a software hypervisor (PVM) runs it at full speed, with real write-protect
 * faults, and ring 0 through an instruction emulator.
 */
#ifndef TIDE_TRACKER_LONG_MODE_H
#define TIDE_TRACKER_LONG_MODE_H

#include <linux/kvm.h>
#include <stdint.h>

/* Where the tables lie in guest memory; what is above is the caller's. */
#define TIDE_LONG_MODE_GDT 0x1000u
#define TIDE_LONG_MODE_PML4 0x2000u
#define TIDE_LONG_MODE_PDPT 0x3000u
#define TIDE_LONG_MODE_PD 0x4000u /* one page for each GiB */

#define TIDE_LONG_MODE_KERNEL_CS 0x08u
#define TIDE_LONG_MODE_KERNEL_DS 0x10u
#define TIDE_LONG_MODE_USER_DS 0x1bu
#define TIDE_LONG_MODE_USER_CS 0x23u
#define TIDE_LONG_MODE_RFLAGS 0x3002u /* IOPL 3 */

/* Writes GDT and page tables for @gib GiB to @base, the host address of gpa
 * 0.  2 MiB pages with accessed and dirty set: nobody writes them later. */
void tide_long_mode_tables(uint8_t *base, uint64_t gib);

/* Gives the vCPU these registers (rflags is filled in) in that mode.
 * Return: 0 or a negative errno. */
int tide_long_mode_enter(int vcpu_fd, struct kvm_regs *regs);

#endif
