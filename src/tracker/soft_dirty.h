/* SPDX-License-Identifier: MIT */
/* soft_dirty.h - the tracker on the kernel's soft-dirty bits */
#ifndef TIDE_TRACKER_SOFT_DIRTY_H
#define TIDE_TRACKER_SOFT_DIRTY_H

#include <tidemark/tracker.h>

#include "space/tracker_ops.h"

struct tide_soft_dirty; /* opaque */

/* Takes the bits of this process for @space, after a write to a page of its own
 * was seen, cleared and seen again.  @config NULL: no hooks.
 * Return: 0; a negative errno, and in *ret_why, which may be NULL, the step
 * that failed. */
int tide_soft_dirty_create(struct tide_space *space,
			   const struct tide_soft_dirty_config *config,
			   struct tide_soft_dirty **ret, const char **ret_why);
void tide_soft_dirty_destroy(void *tracker);

extern const struct tide_tracker_ops tide_soft_dirty_ops;

#endif
