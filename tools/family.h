/* SPDX-License-Identifier: MIT */
/*
 * family.h - the processes that descend from one
 *
 * Found by looking at /proc, so a child whose parent has ended before anybody
 * looked is not found.
 */
#ifndef FAMILY_H
#define FAMILY_H

#include <stdint.h>
#include <sys/types.h>

struct family {
	pid_t *seen; /* every process of the last look, sorted */
	uint32_t nseen;
	pid_t *members; /* those that descend, and the first; in no order */
	uint32_t nmembers;
	uint32_t next; /* of the members, that family_next() gives */
};

/* Return: 0, or a negative errno; in both cases fini is due. */
int family_init(struct family *family, pid_t first);
void family_fini(struct family *family);

/* Look again.  Return: 0 or a negative errno. */
int family_look(struct family *family);
/* A member that has not been given before, the first process included.
 * Return: 0: there is none. */
pid_t family_next(struct family *family);

#endif
