/* SPDX-License-Identifier: MIT */
/*
 * elf_load.h - put a guest image into memory
 *
 * For x86-64 executables that lie between GUEST_IMAGE_GPA and the device's
 * pages and have a parameter block of ours.  The image is not trusted: what
 * is not exactly that is -ENOEXEC, and then memory is untouched.
 */
#ifndef TIDE_VMM_ELF_LOAD_H
#define TIDE_VMM_ELF_LOAD_H

#include <stddef.h>
#include <stdint.h>

struct elf_image {
	uint64_t entry;		/* guest physical address */
	uint64_t params_gpa;	/* of guest_params */
	uint64_t params_offset; /* of the same in the file */
};

/*
 * Reads @bytes bytes at @image.  @memory: guest physical address 0, at least
 * as far as the device's pages; NULL to look only.
 *
 * Return: 0; -ENOEXEC.
 */
int elf_load(const void *image, size_t bytes, uint8_t *memory,
	     struct elf_image *ret);

#endif
