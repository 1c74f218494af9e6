/* SPDX-License-Identifier: MIT */
/*
 * frame_calls.h - calls of the backing that touch whole pages, led to a model
 *
 * Included ahead of a source by the compiler's -include.  frame_litmus.c has
 * the functions: a page is one word there.
 */
#ifndef TIDE_CHECK_FRAME_CALLS_H
#define TIDE_CHECK_FRAME_CALLS_H

#include <sys/types.h>
#include <unistd.h>

#include "base/xxh3.h"
#include "check/shim/arena_calls.h"

#undef memcpy
#undef memset
#undef memcmp
#undef pread
#undef pwrite
#undef XXH3_64bits

void *frame_memcpy(void *to, const void *from, size_t nbytes);
void *frame_memset(void *at, int value, size_t nbytes);
int frame_memcmp(const void *a, const void *b, size_t nbytes);
ssize_t frame_pread(int fd, void *to, size_t nbytes, off_t offset);
ssize_t frame_pwrite(int fd, const void *from, size_t nbytes, off_t offset);
uint64_t frame_sum(const void *from, size_t nbytes);
void frame_guest_copy(void *to, const void *from, size_t nbytes);

#define memcpy(to, from, nbytes) frame_memcpy(to, from, nbytes)
#define memset(at, value, nbytes) frame_memset(at, value, nbytes)
#define memcmp(a, b, nbytes) frame_memcmp(a, b, nbytes)
#define pread(fd, to, nbytes, offset) frame_pread(fd, to, nbytes, offset)
#define pwrite(fd, from, nbytes, offset) frame_pwrite(fd, from, nbytes, offset)
#define XXH3_64bits(from, nbytes) frame_sum(from, nbytes)
#define guest_copy(to, from, nbytes) frame_guest_copy(to, from, nbytes)

#endif
