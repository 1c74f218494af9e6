/* SPDX-License-Identifier: MIT */
/*
 * names.h - trackers, workloads and paging modes by name, and the tracker to
 * use when the user named none
 */
#ifndef NAMES_H
#define NAMES_H

#include <stddef.h>
#include <tidemark/tracker.h>
#include <tidemark/vmm.h>

/* Return: -1 with *ret filled, else the exit status (one line was printed).
 * "soft" is short for soft-bitmap. */
int names_tracker(const char *option, const char *text, enum tide_tracker *ret);
/* The same, but only those that a guest can have. */
int names_guest_tracker(const char *option, const char *text,
			enum tide_tracker *ret);
int names_workload(const char *option, const char *text,
		   enum tide_workload *ret);

/* "walker", "x86-64" and so on; NULL for an unknown one. */
const char *names_of_workload(enum tide_workload workload);
const char *names_of_paging(enum tide_paging_mode paging);

/* Its guests' CPU is software. */
int names_tracker_is_soft(enum tide_tracker tracker);

/*
 * names_soft_paging() - what --paging asks for
 * @text:    its value, or NULL if it was not given
 * @tracker: the one that was asked for, or TIDE_TRACKER_NONE: a soft one then
 *
 * Return: -1, else the exit status.
 */
int names_soft_paging(const char *text, enum tide_tracker *tracker,
		      enum tide_paging_mode *ret);

/*
 * names_best_tracker() - the best tracker that a probe saw working: KVM's, or
 * a soft one where no KVM tracker works
 * @ret:       the tracker
 * @why:       why it and not a better one
 *
 * Return: -1, else the exit status: none works, and one line said why.
 */
int names_best_tracker(enum tide_tracker *ret, char *why, size_t why_size);

/* A probe of @tracker.  Return: 1 if it works; 0 if not, with the reason in
 * @why. */
int names_tracker_works(enum tide_tracker tracker, char *why, size_t why_size);

/* The same, for one that was asked for.
 * Return: -1 if it works, else the exit status. */
int names_usable_tracker(enum tide_tracker tracker);

#endif
