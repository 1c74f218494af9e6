/* SPDX-License-Identifier: MIT */
/*
 * migrate.c - moving a guest, against QEMU
 */
#include "bench.h"

int bench_migrate(const struct bench_options *options)
{
	return bench_skip(options, "migrate", "not there");
}
