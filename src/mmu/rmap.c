/* SPDX-License-Identifier: MIT */
/*
 * rmap.c - from a guest page to the entries that map it
 *
 * Almost every page is mapped once, so a list of one is the entry's address
 * itself; more are in chunks of 15.  The same lists lead from a page of the
 * shadow page table to its parents.
 *
 * The idea: pte_list of arch/x86/kvm/mmu/mmu.c.
 */
#include <errno.h>
#include <stdlib.h>

#include "mmu/mmu_internal.h"

#define MORE_ENTRIES 14u

struct rmap_more {
	spte_t *sptep[MORE_ENTRIES]; /* the first count of them */
	uint32_t count;
	struct rmap_more *next; /* full */
};

static struct rmap_more *more_of(const struct rmap_head *head)
{
	return head->value & 1 ? (struct rmap_more *)(head->value - 1) : NULL;
}

static struct rmap_more *more_create(struct tide_mmu *mmu)
{
	struct rmap_more *more = calloc(1, sizeof(*more));

	if (more)
		mmu->rmap_more_bytes += sizeof(*more);
	return more;
}

static void more_destroy(struct tide_mmu *mmu, struct rmap_more *more)
{
	mmu->rmap_more_bytes -= sizeof(*more);
	free(more);
}

int rmap_add(struct tide_mmu *mmu, struct rmap_head *head, spte_t *sptep)
{
	struct rmap_more *more = more_of(head);

	tide_lock_assert_held(&mmu->mmu_lock);
	if (!head->value) {
		head->value = (uintptr_t)sptep;
		return 0;
	}
	if (!more || more->count == MORE_ENTRIES) {
		struct rmap_more *fresh = more_create(mmu);

		if (!fresh)
			return -ENOMEM;
		fresh->next = more;
		if (!more)
			fresh->sptep[fresh->count++] = (spte_t *)head->value;
		more = fresh;
		head->value = (uintptr_t)more + 1;
	}
	more->sptep[more->count++] = sptep;
	return 0;
}

static spte_t **find(struct rmap_more *more, const spte_t *sptep)
{
	for (; more; more = more->next) {
		for (uint32_t i = 0; i < more->count; i++) {
			if (more->sptep[i] == sptep)
				return &more->sptep[i];
		}
	}
	return NULL;
}

void rmap_remove(struct tide_mmu *mmu, struct rmap_head *head, spte_t *sptep)
{
	struct rmap_more *more = more_of(head);
	spte_t **place;

	tide_lock_assert_held(&mmu->mmu_lock);
	if (!more) {
		assert(head->value == (uintptr_t)sptep);
		head->value = 0;
		return;
	}
	place = find(more, sptep);
	assert(place);
	/* The last of the first chunk fills the hole. */
	*place = more->sptep[--more->count];
	if (more->count)
		return;
	head->value = more->next ? (uintptr_t)more->next + 1 : 0;
	more_destroy(mmu, more);
}

spte_t *rmap_first(const struct rmap_head *head, struct rmap_cursor *cursor)
{
	struct rmap_more *more = more_of(head);

	cursor->head = head;
	cursor->index = 0;
	cursor->more = more;
	if (!more)
		return (spte_t *)head->value;
	return more->sptep[0];
}

spte_t *rmap_next(struct rmap_cursor *cursor)
{
	struct rmap_more *more = cursor->more;

	if (!more)
		return NULL;
	if (++cursor->index == more->count) {
		more = more->next;
		cursor->more = more;
		cursor->index = 0;
		if (!more)
			return NULL;
	}
	return more->sptep[cursor->index];
}
