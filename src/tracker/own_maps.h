/* SPDX-License-Identifier: MIT */
/*
 * own_maps.h - the mappings of this process, while all its threads stand still
 *
 * One of them may have been stopped inside malloc(3) or with a stream locked:
 * nothing here allocates, and no stream is used.
 */
#ifndef TIDE_TRACKER_OWN_MAPS_H
#define TIDE_TRACKER_OWN_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct own_maps {
	int fd;
	size_t at, end; /* of text, what was read and not looked at */
	char text[4096];
};

struct own_mapping {
	uintptr_t start, end;
	bool readable, writable;
	bool is_plain; /* private and anonymous, of ordinary pages */
};

/* Return: 0 or a negative errno. */
int own_maps_open(struct own_maps *maps);
void own_maps_close(struct own_maps *maps);

/* From the first one again.  Return: 0 or a negative errno. */
int own_maps_rewind(struct own_maps *maps);
/* In the order of their addresses.  Return: 1 with *ret filled; 0: there are no
 * more; -EINVAL: a line that makes no sense; the error of read(2). */
int own_maps_next(struct own_maps *maps, struct own_mapping *ret);

#endif
