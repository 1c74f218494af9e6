/* SPDX-License-Identifier: MIT */
/*
 * file_faults.h - files and memory that fail on demand
 *
 * read, write, malloc, calloc and realloc are wrapped by the linker
 * (file_fault_link_args).
 */
#ifndef TIDE_TESTS_FILE_FAULTS_H
#define TIDE_TESTS_FILE_FAULTS_H

#include <stddef.h>
#include <stdint.h>

struct file_faults {
	int on;
	uint64_t calls;
	size_t short_max; /* bytes moved by a call; 0: no limit */
	int interrupt;	  /* every other call fails with EINTR */
	uint64_t until;	  /* bytes that get through; then err */
	int err;
	int allocations; /* that succeed; -1: all */
	size_t largest;	 /* that was asked for */
};

extern struct file_faults faults;

/* Off; on, but nothing fails yet. */
void no_faults(void);
void use_faults(void);

#endif
