/* SPDX-License-Identifier: MIT */
/*
 * emulator_guest.h - the machine of emulator.c, and its guest, assembled
 *
 * Builds Sv39 tables in the three pages behind its code: devices and RAM where
 * they are, a window with nothing in it yet; turns paging on; then counts in
 * each page of the window, and maps the pages as they fault.
 */
#ifndef EMULATOR_GUEST_H
#define EMULATOR_GUEST_H

#include <stdint.h>

#define RAM 0x80000000u /* guest physical */
#define RAM_PAGES 1024u
#define CONSOLE 0x10000000u /* write a byte */
#define CLOCK 0x10000008u   /* write a gpa: the time is written there */
#define POWER 0x10000010u   /* read: 1 when the button was pressed */
#define WINDOW 0x40000000u  /* guest virtual: the pages with the counters */
#define WINDOW_PAGES 512u
#define S8 24 /* register with the number of rounds */

static const struct {
	uint32_t code[256];
	char hello[32]; /* at 0x400 */
	char bye[32];	/* at 0x420 */
} guest_image = {
	{
		0x00000417, /* start: auipc s0, 0           s0: RAM */
		0x000012b7, /*        lui t0, 1             t0: a page */
		0x005404b3, /*        add s1, s0, t0        s1: root table */
		0x0c700313, /*        addi t1, zero, 0xc7   D A W R V */
		0x0064b023, /*        sd t1, 0(s1)          devices, 1 GiB */
		0x20000337, /*        lui t1, 0x20000 */
		0x0cf30313, /*        addi t1, t1, 0xcf     D A X W R V */
		0x0064b823, /*        sd t1, 16(s1)         RAM, 1 GiB */
		0x00548933, /*        add s2, s1, t0        s2: middle table */
		0x00295313, /*        srli t1, s2, 2 */
		0x00130313, /*        addi t1, t1, 1        V */
		0x0064b423, /*        sd t1, 8(s1)          the window */
		0x005909b3, /*        add s3, s2, t0        s3: leaf table */
		0x0029d313, /*        srli t1, s3, 2 */
		0x00130313, /*        addi t1, t1, 1 */
		0x00693023, /*        sd t1, 0(s2) */
		0x00100337, /*        lui t1, 0x100 */
		0x00640a33, /*        add s4, s0, t1        s4: free page */
		0x0e840313, /*        addi t1, s0, 0xe8     of trap */
		0x10531073, /*        csrw stvec, t1 */
		0x00100313, /*        addi t1, zero, 1 */
		0x03f31313, /*        slli t1, t1, 63       Sv39 */
		0x00c4d393, /*        srli t2, s1, 12 */
		0x00736333, /*        or t1, t1, t2 */
		0x18031073, /*        csrw satp, t1         paging on */
		0x12000073, /*        sfence.vma */
		0x40000ab7, /*        lui s5, 0x40000       s5: window */
		0x10000b37, /*        lui s6, 0x10000       s6: devices */
		0x00598bb3, /*        add s7, s3, t0        s7: for the clock */
		0x00000c13, /*        addi s8, zero, 0      s8: rounds */
		0x00100c93, /*        addi s9, zero, 1 */
		0x40040513, /*        addi a0, s0, 0x400    hello */
		0x050000ef, /*        jal print */
		0x00000293, /* round: addi t0, zero, 0 */
		0x00c29313, /* page:  slli t1, t0, 12 */
		0x01530333, /*        add t1, t1, s5 */
		0x0193302f, /*        amoadd.d zero, s9, (t1)may trap */
		0x00728293, /*        addi t0, t0, 7        7th next page */
		0x1ff2f293, /*        andi t0, t0, 511 */
		0xfe0296e3, /*        bnez t0, page */
		0x001c0c13, /*        addi s8, s8, 1 */
		0x008b8313, /*        addi t1, s7, 8 */
		0x100333af, /* again: lr.d t2, (t1)         counts, too */
		0x00138393, /*        addi t2, t2, 1 */
		0x18733e2f, /*        sc.d t3, t2, (t1) */
		0xfe0e1ae3, /*        bnez t3, again */
		0x017b3423, /*        sd s7, 8(s6)          tell the time */
		0x010b3303, /*        ld t1, 16(s6)         power off? */
		0xfc0302e3, /*        beqz t1, round */
		0x42040513, /*        addi a0, s0, 0x420    good bye */
		0x008000ef, /*        jal print */
		0x00000073, /*        ecall */
		0x00054303, /* print: lbu t1, 0(a0) */
		0x00030863, /*        beqz t1, done */
		0x006b0023, /*        sb t1, 0(s6) */
		0x00150513, /*        addi a0, a0, 1 */
		0xff1ff06f, /*        j print */
		0x00008067, /* done:  ret */
		0x14302873, /* trap:  csrr a6, stval */
		0x00c85813, /*        srli a6, a6, 12 */
		0x1ff87813, /*        andi a6, a6, 511 */
		0x00381813, /*        slli a6, a6, 3 */
		0x01380833, /*        add a6, a6, s3        leaf's entry */
		0x002a5893, /*        srli a7, s4, 2 */
		0x0c788893, /*        addi a7, a7, 0xc7     D A W R V */
		0x01183023, /*        sd a7, 0(a6) */
		0x000018b7, /*        lui a7, 1 */
		0x011a0a33, /*        add s4, s4, a7        next free page */
		0x10200073, /*        sret */
	},
	"paging is on\n",
	"good bye\n",
};

#endif
