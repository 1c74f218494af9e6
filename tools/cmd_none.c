/* SPDX-License-Identifier: MIT */
/* cmd_none.c - stands in for the benchmarks in a tree without them */
#include "tool.h"

int cmd_bench(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return tool_error("built without benchmarks");
}
