/* SPDX-License-Identifier: MIT */
/*
 * wp_abi.h - userfaultfd's asynchronous write-protect and PAGEMAP_SCAN
 *
 * From the public ABI (Linux 6.7: Documentation/admin-guide/mm/userfaultfd.rst
 * and pagemap.rst), because the headers that we build with may be older than
 * the kernel that we run on.
 */
#ifndef TIDE_TRACKER_WP_ABI_H
#define TIDE_TRACKER_WP_ABI_H

#include <linux/ioctl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>

#define WP_USER_MODE_ONLY 1 /* a flag of userfaultfd(2) */

#define WP_FEATURE_SHARED (1ull << 12)	    /* WP_HUGETLBFS_SHMEM */
#define WP_FEATURE_UNPOPULATED (1ull << 13) /* pages that are not there too */
#define WP_FEATURE_ASYNC (1ull << 15)	    /* the kernel resolves the fault */

/* Categories. */
#define PAGEMAP_WRITTEN (1ull << 1)
#define PAGEMAP_FILE (1ull << 2) /* or of memory that is shared */
#define PAGEMAP_PRESENT (1ull << 3)
#define PAGEMAP_SWAPPED (1ull << 4)
#define PAGEMAP_PFNZERO (1ull << 5)

#define PAGEMAP_WP_MATCHING (1ull << 0)
#define PAGEMAP_CHECK_WPASYNC (1ull << 1)

struct wp_region {
	uint64_t start, end, categories;
};

struct wp_scan {
	uint64_t size;
	uint64_t flags;
	uint64_t start, end;
	/* Where it says that it stopped.  With more ranges than fit into one of
	 * the kernel's buffers that is not true: see wp.c. */
	uint64_t walk_end;
	uint64_t vec, vec_len; /* struct wp_region */
	uint64_t max_pages;
	uint64_t category_inverted;
	uint64_t category_mask;
	uint64_t category_anyof_mask;
	uint64_t return_mask;
};

#define WP_PAGEMAP_SCAN _IOWR('f', 16, struct wp_scan)

#endif
