/* SPDX-License-Identifier: MIT */
/*
 * space.c - create and destroy a space, attach and detach its tracker
 *
 * Synchronisation: slots_lock; detach waits on sync_over until no thread is
 * inside the tracker's sync, which runs without the lock.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/rcu.h"
#include "space/space_internal.h"

int tide_space_create(struct tide_space **ret_space)
{
	struct tide_slot_table *table = calloc(1, sizeof(*table));
	struct tide_space *space = calloc(1, sizeof(*space));
	int err = -ENOMEM;

	if (!space || !table)
		goto out_free;
	err = tide_lock_init(&space->slots_lock, TIDE_RANK_SPACE_SLOTS);
	if (err)
		goto out_free;
	err = -pthread_cond_init(&space->sync_over, NULL);
	if (err)
		goto out_lock;
	space->asymmetric = tide_fence_probe();
	space->chunk_pages = TIDE_CHUNK_PAGES_DEFAULT;
	space->slots_end = &space->slots;
	atomic_init(&space->table, table);
	*ret_space = space;
	return 0;

out_lock:
	tide_lock_fini(&space->slots_lock);
out_free:
	free(table);
	free(space);
	return err;
}

void tide_space_destroy(struct tide_space *space)
{
	struct tide_slot *slot;

	if (!space)
		return;
	assert(!space->clients);
	/* Without clients there is nobody to tell about an error. */
	(void)tide_space_detach(space);
	while ((slot = space->slots)) {
		space->slots = slot->next;
		tide_slot_put(slot);
	}
	/* Relaxed: the caller has stopped every other user. */
	free(atomic_load_explicit(&space->table, memory_order_relaxed));
	pthread_cond_destroy(&space->sync_over);
	tide_lock_fini(&space->slots_lock);
	free(space);
}

void tide_space_lock(struct tide_space *space) TIDE_ACQUIRES(space->slots_lock)
{
	tide_lock_acquire(&space->slots_lock);
}

void tide_space_unlock(struct tide_space *space)
	TIDE_RELEASES(space->slots_lock)
{
	tide_lock_release(&space->slots_lock);
}

void tide_space_chunk_set(struct tide_space *space, uint64_t pages)
{
	assert(pages >= TIDE_WORD_BITS && !(pages & (pages - 1)));
	tide_space_lock(space);
	space->chunk_pages = pages;
	tide_space_unlock(space);
}

struct tide_space_stats *tide_space_counters(struct tide_space *space)
{
	return &space->stats;
}

void *tide_space_tracker_object(struct tide_space *space,
				enum tide_tracker kind)
{
	return space->ops && space->ops->kind == kind ? space->tracker : NULL;
}

enum tide_tracker tide_space_tracker(struct tide_space *space)
{
	enum tide_tracker kind;

	tide_space_lock(space);
	kind = space->ops ? space->ops->kind : TIDE_TRACKER_NONE;
	tide_space_unlock(space);
	return kind;
}

/* Called with slots_lock held, which is dropped meanwhile. */
bool tide_space_sync(struct tide_space *space) TIDE_MUST_HOLD(space->slots_lock)
{
	const struct tide_tracker_ops *ops = space->ops;
	bool done;

	tide_lock_assert_held(&space->slots_lock);
	if (!ops || !ops->sync)
		return !ops;
	space->syncing++;
	tide_space_unlock(space);
	done = ops->sync(space->tracker);
	tide_space_lock(space);
	if (--space->syncing == 0)
		pthread_cond_broadcast(&space->sync_over);
	return done;
}

/* Forgets the tracker; its slots are not touched. */
static void drop_tracker(struct tide_space *space)
{
	const struct tide_tracker_ops *ops = space->ops;

	space->ops = NULL;
	for (struct tide_slot *slot = space->slots; slot; slot = slot->next) {
		slot->logged = false;
		free(slot->known);
		free(slot->scratch);
		slot->known = NULL;
		slot->scratch = NULL;
		slot->known_any = false;
		tide_page_set_clear(&slot->marked);
	}
	ops->destroy(space->tracker);
	space->tracker = NULL;
}

static int attach_slot(struct tide_slot *slot)
{
	int err = tide_slot_attach(slot);

	if (!err && slot->logged)
		tide_slot_fail_closed(slot);
	return err;
}

int tide_space_attach_ops(struct tide_space *space,
			  const struct tide_tracker_ops *ops, void *tracker)
{
	struct tide_slot *slot;
	int err = 0;

	assert(ops && ops->collect && !ops->manual == !ops->rearm);
	tide_space_lock(space);
	if (space->ops) {
		tide_space_unlock(space);
		ops->destroy(tracker);
		return -EBUSY;
	}
	space->ops = ops;
	space->tracker = tracker;
	for (slot = space->slots; slot && !err; slot = slot->next) {
		err = attach_slot(slot);
		if (err)
			break;
	}
	if (err) {
		/* They stay in the VM, where the embedder may have had them
		 * before us. */
		for (slot = space->slots; slot; slot = slot->next) {
			if (slot->logged)
				(void)tide_slot_log_set(slot, false);
		}
		drop_tracker(space);
	}
	tide_space_unlock(space);
	return err;
}

int tide_space_detach(struct tide_space *space)
{
	int err = 0;

	tide_space_lock(space);
	if (!space->ops) {
		tide_space_unlock(space);
		return 0;
	}
	while (space->syncing)
		tide_lock_wait(&space->slots_lock, &space->sync_over);
	for (struct tide_slot *slot = space->slots; slot; slot = slot->next) {
		int ret = slot->logged ? tide_slot_log_set(slot, false) : 0;

		/* What is written between a last collect and the end of
		 * logging would be nobody's: all of it is dirty. */
		tide_slot_fail_closed(slot);
		if (!err)
			err = ret;
	}
	drop_tracker(space);
	tide_space_unlock(space);
	return err;
}

void tide_space_stats_get(struct tide_space *space,
			  struct tide_space_stats *ret)
{
	tide_space_lock(space);
	*ret = space->stats;
	tide_space_unlock(space);
}
