/* SPDX-License-Identifier: MIT */
/* screen_cost.h - what the first write to a watched page costs its writer */
#ifndef SCREEN_COST_H
#define SCREEN_COST_H

#include <stdint.h>

/* Measured in memory of our own, on this machine, in a few milliseconds.
 * Return: nanoseconds a page; 0 if it cannot be measured. */
uint64_t cost_of_write_ns(void);

#endif
