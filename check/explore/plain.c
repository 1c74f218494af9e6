/* SPDX-License-Identifier: MIT */
/*
 * plain.c - plain accesses of the shipped code, for the race check
 *
 * gcc's -fsanitize=thread puts a call before every access to memory that is
 * not a local variable.  These are the functions that it calls; the
 * sanitizer's own library is not linked.
 */
#include "explore.h"

#define HERE __builtin_return_address(0)

void __tsan_init(void);
void __tsan_func_entry(void *pc);
void __tsan_func_exit(void);
void __tsan_read_range(void *at, unsigned long nbytes);
void __tsan_write_range(void *at, unsigned long nbytes);

void __tsan_init(void)
{
}

void __tsan_func_entry(void *pc)
{
	(void)pc;
}

void __tsan_func_exit(void)
{
}

#define ACCESS(name, nbytes, write)                     \
	void __tsan_##name(void *at);                   \
	void __tsan_##name(void *at)                    \
	{                                               \
		explore_touch(at, nbytes, write, HERE); \
	}

ACCESS(read1, 1, false)
ACCESS(read2, 2, false)
ACCESS(read4, 4, false)
ACCESS(read8, 8, false)
ACCESS(read16, 16, false)
ACCESS(write1, 1, true)
ACCESS(write2, 2, true)
ACCESS(write4, 4, true)
ACCESS(write8, 8, true)
ACCESS(write16, 16, true)
ACCESS(unaligned_read2, 2, false)
ACCESS(unaligned_read4, 4, false)
ACCESS(unaligned_read8, 8, false)
ACCESS(unaligned_read16, 16, false)
ACCESS(unaligned_write2, 2, true)
ACCESS(unaligned_write4, 4, true)
ACCESS(unaligned_write8, 8, true)
ACCESS(unaligned_write16, 16, true)

void __tsan_read_range(void *at, unsigned long nbytes)
{
	explore_touch(at, nbytes, false, HERE);
}

void __tsan_write_range(void *at, unsigned long nbytes)
{
	explore_touch(at, nbytes, true, HERE);
}
