/* SPDX-License-Identifier: MIT */
/* options.c - take over an option struct that says its own size */
#include "base/options.h"

#include <errno.h>
#include <string.h>

int tide_options_copy(void *to, size_t known, const void *from, size_t first)
{
	const unsigned char *bytes = from;
	size_t size;

	if (!from)
		return -EINVAL;
	memcpy(&size, from, sizeof(size));
	if (!size)
		size = first;
	if (size < first)
		return -EINVAL;
	for (size_t i = known; i < size; i++) {
		if (bytes[i])
			return -E2BIG;
	}
	memset(to, 0, known);
	memcpy(to, from, size < known ? size : known);
	memcpy(to, &known, sizeof(known));
	return 0;
}
