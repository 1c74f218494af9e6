/* SPDX-License-Identifier: MIT */
/* screen_output.h - what a command writes while the screen is somebody's */
#ifndef SCREEN_OUTPUT_H
#define SCREEN_OUTPUT_H

#include <stddef.h>

/* A file without a name.  Return: a descriptor, or -1, and it has been said. */
int output_open(void);

/* The last line that is not empty, or its end. */
void output_last_line(int fd, char *ret, size_t size);

/* All of it, on stdout; then close.  -1 is fine. */
void output_print(int fd);

#endif
