/* SPDX-License-Identifier: MIT */
/* options.h - take over an option struct that says its own size */
#ifndef TIDE_BASE_OPTIONS_H
#define TIDE_BASE_OPTIONS_H

#include <stddef.h>

/*
 * Copies the caller's struct @from to @to (ours, @known bytes; @first bytes in
 * the first version), filling up with zero.  Both begin with a size_t size;
 * afterwards to's size is @known.
 *
 * Return: 0; -EINVAL for NULL or a size below the first version; -E2BIG when
 * the caller set something that this library does not know.
 */
int tide_options_copy(void *to, size_t known, const void *from, size_t first);

#endif
