/* SPDX-License-Identifier: MIT */
/* swap_file.h - swap, for the time of a test */
#ifndef TIDE_TEST_SWAP_FILE_H
#define TIDE_TEST_SWAP_FILE_H

/* 16 MiB of it, in a file in the working directory.
 * Return: 0 when it is in use; an errno value. */
int swap_file_on(void);
void swap_file_off(void);

#endif
