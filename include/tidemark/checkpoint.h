/* SPDX-License-Identifier: MIT */
/*
 * tidemark/checkpoint.h - memory as it was, and back to it
 *
 * A checkpoint keeps the content of every logged slot of a space, and has a
 * client of its own that says what was written since.  Rolling back copies
 * those pages and no others, so that it costs what was written and not what
 * there is: a snapshot fuzzer's loop, an attempt that may fail.
 *
 * Checkpoints nest.  A child keeps only the pages that differ from its parent
 * at the moment of its creation.  They form a tree, and one may roll back to
 * any of them, in any order, as often as one likes; a parent that is destroyed
 * stays in memory as long as a child needs it.
 *
 * What it does not do: it stops nobody.  During create, rollback and compare
 * nobody writes to the slots' memory, and slots are not added, removed or moved
 * while there is a checkpoint (-ESTALE).  It keeps memory, not registers, files
 * or kernel state.  Unlogged slots are left alone.
 *
 * Other clients of the space see what a rollback writes as they see any write.
 *
 * Threads.  Calls on the checkpoints of one space are serialised by the caller.
 *
 * Errors.  0 or 1, or a negative errno value.
 *
 * Manual: tide_checkpoint_create(3).
 */
#ifndef TIDEMARK_CHECKPOINT_H
#define TIDEMARK_CHECKPOINT_H

#include <tidemark/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tide_space;
struct tide_checkpoint; /* opaque */

struct tide_checkpoint_difference {
	uint32_t slot;	 /* id */
	uint64_t offset; /* bytes from the slot's first page */
	uint8_t have, want;
};

/**
 * tide_checkpoint_create() - keep the memory as it is now
 * @parent: of the same space: keep only what differs from it; NULL: keep all
 *
 * A checkpoint without a parent takes as much memory as the slots have pages
 * that are not zero.
 *
 * Return: 0; -EINVAL if the parent is another space's; -ESTALE if slots have
 * changed since the parent was created; -EOPNOTSUPP if the memory is another
 * process's; -ENOMEM; or the tracker's error.
 */
TIDE_API TIDE_MUST_CHECK int
tide_checkpoint_create(struct tide_space *space, struct tide_checkpoint *parent,
		       struct tide_checkpoint **ret_checkpoint);

/**
 * tide_checkpoint_rollback() - make the memory what it was
 * @ret_pages: how many pages were copied; may be NULL
 *
 * Return: 0; -ESTALE if slots have changed, and nothing was copied; or the
 * tracker's error: pages may have been copied, none is forgotten, and it may be
 * tried again.
 */
TIDE_API TIDE_MUST_CHECK int
tide_checkpoint_rollback(struct tide_checkpoint *checkpoint,
			 uint64_t *ret_pages);

/**
 * tide_checkpoint_compare() - is the memory what it was?  Looks at every byte,
 * whatever the tracker says
 * @ret: the first byte that is not, in order of gfns; may be NULL
 *
 * Return: 0 if all is equal; 1 with *ret filled; -ESTALE.
 */
TIDE_API TIDE_MUST_CHECK int
tide_checkpoint_compare(const struct tide_checkpoint *checkpoint,
			struct tide_checkpoint_difference *ret);

/** tide_checkpoint_destroy() - forget it; memory stays as it is.  NULL is
 * fine. */
TIDE_API void tide_checkpoint_destroy(struct tide_checkpoint *checkpoint);

#ifdef __cplusplus
}
#endif
#endif
