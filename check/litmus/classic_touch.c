/* SPDX-License-Identifier: MIT */
/* classic_touch.c - accesses that only -fsanitize=thread announces */
#include "classic.h"

uint32_t classic_read(const uint32_t *at)
{
	return *at;
}

void classic_write(uint32_t *at, uint32_t value)
{
	*at = value;
}
