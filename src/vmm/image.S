/* SPDX-License-Identifier: MIT */
/* image.S - guest/guest.elf, inside the library */
	.section .rodata
	.balign 64
	.globl tide_guest_begin, tide_guest_end
	.hidden tide_guest_begin, tide_guest_end
tide_guest_begin:
	.incbin "guest.elf"
tide_guest_end:

	.section .note.GNU-stack, "", @progbits
