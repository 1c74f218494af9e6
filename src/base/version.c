/* SPDX-License-Identifier: MIT */
/* version.c - which library this is */
#include <tidemark/version.h>

const char *tide_version(void)
{
	return TIDE_VERSION;
}
