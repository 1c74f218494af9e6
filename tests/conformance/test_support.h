/* SPDX-License-Identifier: MIT */
/*
 * test_support.h - skips that say why, seeds, and long forms
 *
 * Include it in place of cmocka.h.
 */
#ifndef TIDE_TEST_SUPPORT_H
#define TIDE_TEST_SUPPORT_H

/* cmocka.h needs these four first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* Says why, for the log, and leaves the test. */
#define SKIP(name, ...)                      \
	do {                                 \
		printf("# SKIP %s: ", name); \
		printf(__VA_ARGS__);         \
		printf("\n");                \
		fflush(stdout);              \
		skip();                      \
	} while (0)

/* TIDE_SEED replays; otherwise every run has a seed of its own, printed. */
static inline uint64_t test_seed(void)
{
	const char *text = getenv("TIDE_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0)
			     : (uint64_t)time(NULL) * 1000003u;

	printf("# TIDE_SEED=%#jx\n", (uintmax_t)seed);
	fflush(stdout);
	return seed;
}

/* TIDE_LONG=n: n times the work of the short form. */
static inline uint32_t test_long(void)
{
	const char *text = getenv("TIDE_LONG");
	long times = text ? strtol(text, NULL, 0) : 1;

	return times < 1 ? 1 : times > 100000 ? 100000 : (uint32_t)times;
}

#endif
