/* SPDX-License-Identifier: MIT */
/* wp_tracker.h - the tracker on userfaultfd's asynchronous write-protect */
#ifndef TIDE_TRACKER_WP_TRACKER_H
#define TIDE_TRACKER_WP_TRACKER_H

#include <stdbool.h>

#include <tidemark/tracker.h>

#include "space/tracker_ops.h"
#include "tracker/wp_abi.h"

#define WP_REGIONS 2048u

/* What is kept of a slot. */
struct wp_slot {
	struct tide_slot *slot;
	uint64_t *had, *now; /* a bit a page: wp_content.c; NULL: not needed */
};

struct tide_wp {
	struct tide_space *space;
	bool remote; /* another process's memory, by the caller's descriptors */
	int uffd, pagemap_fd;
	void *by_host;			      /* struct wp_slot (tsearch) */
	struct wp_region regions[WP_REGIONS]; /* of one scan */
};

/* Opens what tracks this process, or takes the caller's (@config not NULL),
 * and turns the features on.  Return: 0 or a negative errno. */
int tide_wp_setup(struct tide_wp *wp, const struct tide_wp_config *config);
void tide_wp_destroy(void *tracker);

/* errno is as it was.  Return: as ioctl(2), or a negative errno. */
int wp_ioctl(int fd, unsigned long request, void *argument);

static inline uint64_t wp_slot_begin(const struct tide_slot *slot)
{
	return (uintptr_t)tide_slot_host(slot);
}

static inline uint64_t wp_slot_bytes(const struct tide_slot *slot)
{
	return tide_slot_npages(slot) << TIDE_PAGE_SHIFT;
}

extern const struct tide_tracker_ops tide_wp_ops;

#endif
