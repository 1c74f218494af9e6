/* SPDX-License-Identifier: MIT */
/*
 * wp_content.h - pages whose content went away without a write
 *
 * A page of a file's mapping, or of shared memory, that is discarded keeps the
 * protection that says that nobody has written it (the kernel leaves a marker
 * in its place).  But a private copy is gone, and a hole reads as zeros.  So
 * for such slots it is kept which pages were there at the last look, and one
 * that is not any more is dirty.  What the kernel has reclaimed looks the same,
 * and comes too (C7).
 *
 * Threads.  Under the space's slots_lock.
 */
#ifndef TIDE_TRACKER_WP_CONTENT_H
#define TIDE_TRACKER_WP_CONTENT_H

#include "tracker/wp_tracker.h"

/* The slot has just been armed.  Private anonymous memory, where the kernel
 * reports discards itself, costs nothing afterwards.
 * Return: 0 or a negative errno. */
int wp_content_start(struct tide_wp *wp, struct wp_slot *of);

/* After a scan: reports what is gone.  Return: 0; a negative errno, and then
 * the next look takes it that all pages were there. */
int wp_content_look(struct tide_wp *wp, struct wp_slot *of);

void wp_content_fini(struct wp_slot *of);

#endif
