/* SPDX-License-Identifier: MIT */
/* sigsegv.h - the tracker on mprotect(2) and a signal handler */
#ifndef TIDE_TRACKER_SIGSEGV_H
#define TIDE_TRACKER_SIGSEGV_H

#include "space/tracker_ops.h"

struct tide_sigsegv; /* opaque */

/* Installs the handler with the first of them.  Return: 0 or a negative
 * errno. */
int tide_sigsegv_create(struct tide_space *space, struct tide_sigsegv **ret);

extern const struct tide_tracker_ops tide_sigsegv_ops;

#endif
