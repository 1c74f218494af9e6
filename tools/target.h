/* SPDX-License-Identifier: MIT */
/* target.h - one process that a sampler looks at */
#ifndef TARGET_H
#define TARGET_H

#include "sample.h"

struct tide_client;

struct target_row {
	uint32_t id;
	struct tide_mapping mapping;
	uint64_t pages, all_pages;
	int is_new;    /* came since the last look */
	int in_window; /* came since the last window ended */
};

struct target {
	pid_t pid;
	struct tide_process *process;
	int has_windows;
	struct tide_client *each;
	struct tide_client *window; /* NULL without: what nobody harvests
				     * grows with every mapping that goes */
	struct target_row *rows;    /* by address */
	uint32_t nrows;
	uint64_t held_ns; /* by attaches since the last look */
};

/* What looks add to. */
struct findings {
	struct sample_run *runs; /* .row is the target's */
	size_t nruns, max_runs;
	uint32_t *gone;
	uint32_t ngone, max_gone;
	uint32_t changes;
	uint32_t next_id; /* for the mappings of all targets */
};

/* @why: of 128 bytes.  Return: 0 or a negative errno, and nothing is left. */
int target_attach(struct target *target, pid_t pid, int has_windows,
		  struct findings *findings, char why[static 128]);

/* Runs come sorted and do not touch.
 * Return: 0; -ESRCH: it has ended; or another error, with *why. */
int target_look(struct target *target, struct findings *findings,
		char why[static 128]);

/* Distinct pages since the last call, or since attach; with windows only.
 * Return: 0 or a negative errno. */
int target_window(struct target *target, uint64_t *ret_pages);

/* Its rows are among what is gone. */
void target_drop(struct target *target, struct findings *findings);

void findings_fini(struct findings *findings);

#endif
