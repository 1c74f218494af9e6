/* SPDX-License-Identifier: MIT */
/*
 * tidemark/base.h - what every public header needs
 *
 * Visibility and compiler attributes, the page size, and the rule about
 * option structs.  It does not declare a single function.
 *
 * Option structs begin with `size`.  Zero there means "the first version of
 * this struct" (so that a designated initialiser may leave it out), and
 * sizeof(struct ...) says how much the caller knows.  A larger size than the
 * library knows is accepted when the unknown tail is zero, else -E2BIG.
 */
#ifndef TIDEMARK_BASE_H
#define TIDEMARK_BASE_H

#include <stddef.h>
#include <stdint.h>

#define TIDE_API __attribute__((visibility("default")))
#define TIDE_MUST_CHECK __attribute__((warn_unused_result))

/* The tracking granule.  Hosts with larger pages are refused at attach. */
#define TIDE_PAGE_SHIFT 12
#define TIDE_PAGE_SIZE ((size_t)1 << TIDE_PAGE_SHIFT)

/* Largest slot, in pages: KVM's KVM_MEM_MAX_NR_PAGES. */
#define TIDE_SLOT_PAGES_MAX (((uint64_t)1 << 31) - 1)

#endif
