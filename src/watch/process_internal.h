/* SPDX-License-Identifier: MIT */
/* process_internal.h - the object behind struct tide_process */
#ifndef TIDE_WATCH_PROCESS_INTERNAL_H
#define TIDE_WATCH_PROCESS_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <tidemark/process.h>

struct tracked {
	struct tide_mapping mapping;
	bool seen; /* in the list of this update */
};

struct tide_process {
	pid_t pid;
	pid_t live; /* a thread that has its memory */
	int uffd, pagemap_fd;
	struct tide_space *space;
	struct tide_client *keeper;
	struct tracked *tracked; /* sorted by start */
	uint32_t count;
	uint32_t next_slot;
	struct tide_process_stats stats;
};

/* Has it the memory that it was attached with?  Return: 0; -ESTALE: it has
 * ended, or has executed another program; a negative errno. */
int process_check(const struct tide_process *process);

#endif
