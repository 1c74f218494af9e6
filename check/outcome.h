/* SPDX-License-Identifier: MIT */
/*
 * outcome.h - what the executions of a program have led to
 *
 * A program's threads put what they saw into registers; its final, for each
 * complete execution, adds all registers as one outcome to a set.  The set is
 * then compared with what the memory model is known to allow: nothing may be
 * missing, nothing invented.
 *
 * An outcome is written as a character for each register, in their order: a
 * digit, '-' for one that was not set.
 */
#ifndef TIDE_CHECK_OUTCOME_H
#define TIDE_CHECK_OUTCOME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUTCOME_REGISTERS_MAX 15

/* Before a program is explored: no outcome, so many registers. */
void outcome_begin(uint32_t registers);
/* In the program's init. */
void outcome_reset(void);
/* @value: 0 to 9 */
void outcome_set(uint32_t number, uint64_t value);
/* In the program's final. */
void outcome_record(void);

/* @expected: outcomes with a blank between two.  @message: what is missing and
 * what was invented.  Return: neither. */
bool outcome_compare(const char *expected, char *message, size_t nbytes);

/* The outcomes that were found, from 0; NULL: there are no more. */
const char *outcome_get(uint32_t number);

#endif
