/* SPDX-License-Identifier: MIT */
/*
 * tidemark/probe.h - does a mechanism really work on this host?
 *
 * A presence test is not enough: on some kernels a mechanism answers and does
 * nothing.  The probe makes a guest write a page, sees it, clears it, sees it
 * gone, and sees the next write (C8), and times the steps.
 *
 * What it does not do: it does not touch anything of the caller's, but for
 * soft-dirty the bits of this process, which are cleared all at once; if a
 * space uses them they are left alone, and the result says -EBUSY.
 *
 * Threads.  Any; each call builds and destroys its own VM.
 *
 * Errors.  0 also when the mechanism does not work: the result says so.
 *
 * Manual: tide_probe(3), tidemark-probe(1).
 */
#ifndef TIDEMARK_PROBE_H
#define TIDEMARK_PROBE_H

#include <tidemark/tracker.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tide_probe_result {
	enum tide_tracker tracker;
	int supported; /* the kernel says that it has it */
	int works;     /* a write was seen, cleared, and the next one seen */
	int error;     /* negative errno of the step that failed, or 0 */
	char why[128]; /* why not, one line; empty when it works */

	/* Measured, nanoseconds; 0 when not reached.  n = pages below. */
	uint64_t pages;
	uint64_t arm_ns;	   /* logging on, whole slot */
	uint64_t write_ns;	   /* guest writes n armed pages, a page */
	uint64_t write_again_ns;   /* and once more, not armed, a page */
	uint64_t harvest_dirty_ns; /* all n dirty, whole slot */
	uint64_t harvest_clean_ns; /* none dirty, whole slot */
};

/**
 * tide_probe() - try one mechanism
 *
 * Return: 0 with *ret filled; -EINVAL for TIDE_TRACKER_NONE or an unknown one.
 */
TIDE_API TIDE_MUST_CHECK int tide_probe(enum tide_tracker tracker,
					struct tide_probe_result *ret);

#ifdef __cplusplus
}
#endif
#endif
