/* SPDX-License-Identifier: MIT */
/*
 * arena_model.h - memory that is as new for every execution
 *
 * A program over code that allocates builds its state once.  All of it lies in
 * one arena, of which a copy is kept; what an execution has changed is put
 * back before the next one.
 */
#ifndef TIDE_CHECK_ARENA_MODEL_H
#define TIDE_CHECK_ARENA_MODEL_H

#include <stdint.h>

#include "arena_calls.h"

/* In a program's init: calls @build the first time; afterwards everything that
 * it has allocated is as it left it.  Another @build or @how begins anew. */
void arena_reset(void (*build)(const void *how), const void *how);

/* After that: the @number-th calloc from now on finds no memory; 0: each finds
 * some. */
void arena_calloc_fails(uint32_t number);

#endif
