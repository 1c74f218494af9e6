/* SPDX-License-Identifier: MIT */
/* report_pages.h - a set of pages, of which most are alike */
#ifndef REPORT_PAGES_H
#define REPORT_PAGES_H

#include <stdint.h>

struct report_pages;

/* NULL: no memory. */
struct report_pages *report_pages_create(uint64_t npages);

/* Put pages in.  *count grows by those that were not.  Return: 0; -ENOMEM. */
int report_pages_set(struct report_pages *pages, uint64_t first,
		     uint64_t npages, uint64_t *count);

void report_pages_destroy(struct report_pages *pages); /* NULL is fine */

#endif
