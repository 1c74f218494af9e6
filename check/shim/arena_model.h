/* SPDX-License-Identifier: MIT */
/*
 * arena_model.h - memory that is as new for every execution
 *
 * A program over code that allocates builds its state once.  All of it lies in
 * one file in memory, which is mapped again, private, before each execution:
 * what the last one changed or allocated is gone.
 */
#ifndef TIDE_CHECK_ARENA_MODEL_H
#define TIDE_CHECK_ARENA_MODEL_H

/* In a program's init: calls @build the first time; afterwards everything that
 * it has allocated is as it left it.  Another @build begins anew. */
void arena_reset(void (*build)(void));

#endif
