/* SPDX-License-Identifier: MIT */
/*
 * slots.c - add, remove, move slots and change their flags
 *
 * Theory of operation
 * -------------------
 * Marks find slots in a table that is replaced as a whole and read under RCU.
 * Every other user holds slots_lock and walks the list.  Many slots may come or
 * go by one new table and one grace period (slots.h); one slot is the case of
 * many that everybody knows.
 *
 * Removing loses nothing.  The slot leaves the table, and after a grace period
 * no mark can reach it.  Then the tracker takes it away from the guest but
 * keeps its log (KVM: MOVE to an unused gfn, which drops every mapping), the
 * writers leave the guest once so that hardware buffers are drained, and what
 * the log holds is collected; only then is it deleted.  QEMU deletes right
 * after collecting and says in a comment that it may lose what is written in
 * between.  If any of these steps cannot be had, the whole slot is dirty.
 *
 * Invariants
 *   I1  slots in the table are the slots of the list that are not removing
 *   I2  gfn ranges of the table do not overlap and are sorted
 *
 * Synchronisation
 *   table.publish   a slot is complete before a mark can find it -> table.read
 *   RCU             the old table is freed, and a removed slot's marks are
 *                   taken, after every mark that could have found it
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "base/rcu.h"
#include "space/slots.h"
#include "space/space_internal.h"

#define SLOT_FLAGS \
	(TIDE_SLOT_UNLOGGED | TIDE_SLOT_READONLY | TIDE_SLOT_ANONYMOUS)

/* The first version of struct tide_slot_config ends with host. */
#define SLOT_CONFIG_FIRST \
	(offsetof(struct tide_slot_config, host) + sizeof(void *))

uint32_t tide_slot_id(const struct tide_slot *slot)
{
	return slot->id;
}

uint32_t tide_slot_flags(const struct tide_slot *slot)
{
	return tide_slot_flags_now(slot);
}

uint64_t tide_slot_first_gfn(const struct tide_slot *slot)
{
	return slot->first_gfn;
}

uint64_t tide_slot_npages(const struct tide_slot *slot)
{
	return slot->npages;
}

void *tide_slot_host(const struct tide_slot *slot)
{
	return slot->host;
}

bool tide_slot_logged(const struct tide_slot *slot)
{
	return slot->logged;
}

uint64_t *tide_slot_scratch(struct tide_slot *slot)
{
	return slot->scratch;
}

struct tide_slot *tide_slot_first(struct tide_space *space)
{
	return space->slots;
}

struct tide_slot *tide_slot_next(struct tide_slot *slot)
{
	return slot->next;
}

struct tide_slot *tide_slot_find(struct tide_space *space, uint32_t id)
{
	struct tide_slot *slot = space->slots;

	while (slot && slot->id != id)
		slot = slot->next;
	return slot;
}

/* As above, for callers from outside: not one that is on its way out. */
static struct tide_slot *find_present(struct tide_space *space, uint32_t id)
{
	struct tide_slot *slot = tide_slot_find(space, id);

	return slot && !slot->removing ? slot : NULL;
}

void tide_slot_put(struct tide_slot *slot)
{
	assert(slot->refs > 0);
	if (--slot->refs)
		return;
	tide_bitmap_fini(&slot->marks);
	tide_page_set_fini(&slot->marked);
	free(slot->known);
	free(slot->scratch);
	free(slot);
}

static bool overlaps(const struct tide_space *space, uint64_t first_gfn,
		     uint64_t npages, const struct tide_slot *except)
{
	for (struct tide_slot *slot = space->slots; slot; slot = slot->next) {
		if (slot != except &&
		    first_gfn < slot->first_gfn + slot->npages &&
		    slot->first_gfn < first_gfn + npages)
			return true;
	}
	return false;
}

static int by_gfn(const void *a, const void *b)
{
	const struct tide_slot_entry *x = a, *y = b;

	return (x->first_gfn > y->first_gfn) - (x->first_gfn < y->first_gfn);
}

/* A table of the list as it is now, with room for @more entries; sorted when it
 * is published. */
static struct tide_slot_table *build_table(struct tide_space *space,
					   uint32_t more)
{
	struct tide_slot_table *table;
	uint32_t count = 0;

	for (struct tide_slot *slot = space->slots; slot; slot = slot->next)
		count++;
	table = malloc(sizeof(*table) +
		       ((size_t)count + more) * sizeof(table->entry[0]));
	if (!table)
		return NULL;
	table->count = 0;
	for (struct tide_slot *slot = space->slots; slot; slot = slot->next) {
		if (slot->removing)
			continue;
		table->entry[table->count++] = (struct tide_slot_entry){
			.first_gfn = slot->first_gfn,
			.npages = slot->npages,
			.slot = slot,
		};
	}
	return table;
}

/* Lets marks see @table; afterwards no mark uses the old one. */
static void publish_table(struct tide_space *space,
			  struct tide_slot_table *table)
{
	/* Relaxed: only holders of slots_lock write it, and we are one. */
	struct tide_slot_table *old =
		atomic_load_explicit(&space->table, memory_order_relaxed);

	tide_lock_assert_held(&space->slots_lock);
	qsort(table->entry, table->count, sizeof(table->entry[0]), by_gfn);
	/* RELEASE(table.publish) pairs with ACQUIRE(table.read): the entries
	 * and their slots are complete before a mark can see them. */
	atomic_store_explicit(&space->table, table, memory_order_release);
	tide_rcu_wait(&space->rcu_tag);
	free(old);
}

/* Should the tracker log a slot with these flags? */
static bool wants_log(const struct tide_space *space, uint32_t flags)
{
	return space->ops && space->clients && !(flags & TIDE_SLOT_UNLOGGED);
}

/* The slot is in the VM now, and logged or not. */
static void log_is(struct tide_slot *slot, bool on)
{
	const struct tide_tracker_ops *ops = slot->space->ops;
	bool all = on && ops->manual && ops->initially_set;

	slot->missing = false;
	slot->logged = on;
	if (slot->known) {
		size_t nwords = tide_words(slot->npages);

		memset(slot->known, all ? 0xff : 0, nwords * sizeof(uint64_t));
		if (all)
			slot->known[nwords - 1] =
				tide_word_mask(slot->npages, nwords - 1);
		slot->known_any = all;
	}
}

int tide_slot_log_set(struct tide_slot *slot, bool on)
{
	struct tide_space *space = slot->space;
	int err;

	tide_lock_assert_held(&space->slots_lock);
	/* What changes a slot also makes it, if it was missing. */
	err = space->ops->slot_log(space->tracker, slot, on);
	if (!err)
		log_is(slot, on);
	return err;
}

/* In one step, so that there is no half of it to undo. */
static int enter_vm(struct tide_slot *slot)
{
	struct tide_space *space = slot->space;
	bool log = wants_log(space, tide_slot_flags_now(slot));
	int err = space->ops->slot_add(space->tracker, slot, log);

	if (!err)
		log_is(slot, log);
	return err;
}

int tide_slot_attach(struct tide_slot *slot)
{
	struct tide_space *space = slot->space;

	if (space->ops->manual) {
		size_t nwords = tide_words(slot->npages);

		slot->known = calloc(nwords, sizeof(uint64_t));
		slot->scratch = calloc(nwords, sizeof(uint64_t));
		if (!slot->known || !slot->scratch)
			return -ENOMEM; /* tide_slot_put frees them */
	}
	return enter_vm(slot);
}

static int check_config(const struct tide_slot_config *config)
{
	if (!config->npages || config->npages > TIDE_SLOT_PAGES_MAX ||
	    config->first_gfn > (UINT64_MAX >> TIDE_PAGE_SHIFT) ||
	    config->npages >
		    (UINT64_MAX >> TIDE_PAGE_SHIFT) - config->first_gfn ||
	    !config->host || (uintptr_t)config->host % TIDE_PAGE_SIZE ||
	    (uintptr_t)config->host >
		    UINTPTR_MAX - config->npages * TIDE_PAGE_SIZE ||
	    config->flags & ~(uint32_t)SLOT_FLAGS)
		return -EINVAL;
	return 0;
}

static int slot_create(struct tide_space *space,
		       const struct tide_slot_config *config,
		       struct tide_slot **ret)
{
	struct tide_slot *slot = calloc(1, sizeof(*slot));

	if (!slot)
		return -ENOMEM;
	slot->refs = 1;
	slot->space = space;
	slot->id = config->id;
	slot->npages = config->npages;
	slot->host = config->host;
	slot->first_gfn = config->first_gfn;
	atomic_init(&slot->flags, config->flags);
	if (tide_bitmap_init(&slot->marks, slot->npages) ||
	    tide_page_set_init(&slot->marked, slot->npages)) {
		tide_slot_put(slot);
		return -ENOMEM;
	}
	*ret = slot;
	return 0;
}

/* Every client watches the slot, all of it dirty; the tracker logs it. */
static int slot_start(struct tide_space *space, struct tide_slot *slot)
{
	int err = 0;

	for (struct tide_client *client = space->clients; client && !err;
	     client = client->next) {
		err = tide_watch_create(client, slot);
		if (!err)
			tide_page_set_fill(&slot->watches->dirty);
	}
	if (!err && space->ops)
		err = tide_slot_attach(slot); /* last: it is not undone */
	while (err && slot->watches)
		tide_watch_destroy(slot->watches);
	return err;
}

static int by_id(const void *key, const void *element)
{
	const struct tide_slot *slot = key;
	const struct tide_slot_config *config = element;

	return (slot->id > config->id) - (slot->id < config->id);
}

static int by_range(const void *key, const void *element)
{
	const struct tide_slot *slot = key;
	const struct tide_slot_config *config = element;

	if (slot->first_gfn >= config->first_gfn + config->npages)
		return 1;
	return slot->first_gfn + slot->npages > config->first_gfn ? 0 : -1;
}

/* Is there a slot with one of the ids, or some of the gfns? */
static bool clashes(const struct tide_space *space,
		    const struct tide_slot_config *configs, uint32_t count)
{
	for (struct tide_slot *slot = space->slots; slot; slot = slot->next) {
		if (bsearch(slot, configs, count, sizeof(*configs), by_id) ||
		    bsearch(slot, configs, count, sizeof(*configs), by_range))
			return true;
	}
	return false;
}

static int slot_add_to(struct tide_space *space, struct tide_slot_table *table,
		       const struct tide_slot_config *config)
{
	struct tide_slot *slot;
	int err = slot_create(space, config, &slot);

	if (err)
		return err;
	err = slot_start(space, slot);
	if (err) {
		tide_slot_put(slot);
		return err;
	}
	slot->at = space->slots_end;
	*slot->at = slot;
	space->slots_end = &slot->next;
	table->entry[table->count++] = (struct tide_slot_entry){
		.first_gfn = slot->first_gfn,
		.npages = slot->npages,
		.slot = slot,
	};
	return 0;
}

static int slots_add_locked(struct tide_space *space,
			    const struct tide_slot_config *configs,
			    uint32_t count, int *ret_errs)
{
	struct tide_slot_table *table;
	bool any = false;

	if (clashes(space, configs, count))
		return -EEXIST;
	table = build_table(space, count);
	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		ret_errs[i] = slot_add_to(space, table, &configs[i]);
		any = any || !ret_errs[i];
	}
	if (any)
		publish_table(space, table);
	else
		free(table);
	return 0;
}

int tide_slot_add(struct tide_space *space,
		  const struct tide_slot_config *config)
{
	struct tide_slot_config known;
	int refused = 0;
	int err = tide_options_copy(&known, sizeof(known), config,
				    SLOT_CONFIG_FIRST);

	if (!err)
		err = check_config(&known);
	if (err)
		return err;
	tide_space_lock(space);
	err = slots_add_locked(space, &known, 1, &refused);
	tide_space_unlock(space);
	return err ? err : refused;
}

int tide_slots_add(struct tide_space *space,
		   const struct tide_slot_config *configs, uint32_t count,
		   int *ret_errs)
{
	int err;

	for (uint32_t i = 0; i < count; i++) {
		const struct tide_slot_config *last = &configs[i] - 1;

		if (check_config(&configs[i]) ||
		    (i &&
		     (configs[i].id <= last->id ||
		      configs[i].first_gfn < last->first_gfn + last->npages)))
			return -EINVAL;
	}
	tide_space_lock(space);
	err = slots_add_locked(space, configs, count, ret_errs);
	tide_space_unlock(space);
	return err;
}

static int count_readers(struct tide_space *space, uint32_t id)
{
	int readers = 0;

	for (struct tide_client *client = space->clients; client;
	     client = client->next) {
		const struct tide_watch *watch = client->watches;

		while (watch && !(watch->in_hand && watch->slot->gone &&
				  watch->slot->id == id))
			watch = watch->next_in_client;
		readers += watch != NULL;
	}
	return readers;
}

int tide_slot_busy(struct tide_space *space, uint32_t id)
{
	int readers;

	tide_space_lock(space);
	readers = count_readers(space, id);
	tide_space_unlock(space);
	return readers;
}

/* Reads a slot's log for the last time.  Return: whether it is complete. */
static bool collect_last(struct tide_space *space, struct tide_slot *slot,
			 bool *ret_parked)
{
	bool complete = slot->logged;

	*ret_parked = false;
	if (slot->logged) {
		*ret_parked = !space->ops->slot_park(space->tracker, slot);
		/* Meanwhile the last client may have turned logging off. */
		complete =
			*ret_parked && tide_space_sync(space) && slot->logged;
	} else if (!space->ops) {
		complete = !(tide_slot_flags_now(slot) & TIDE_SLOT_UNLOGGED);
	}
	return !tide_space_collect(space, slot) && complete;
}

static void unlink_slot(struct tide_space *space, struct tide_slot *slot)
{
	struct tide_watch *next;

	*slot->at = slot->next;
	if (slot->next)
		slot->next->at = slot->at;
	else
		space->slots_end = slot->at;
	slot->gone = true;
	slot->logged = false;
	/* Clients with nothing to say about it forget it at once. */
	for (struct tide_watch *watch = slot->watches; watch; watch = next) {
		next = watch->next_in_slot;
		if (!watch->client->harvest.open &&
		    tide_page_set_empty(&watch->dirty))
			tide_watch_destroy(watch);
	}
	tide_slot_put(slot);
}

/* The tracker would not let go of it: as if nothing had happened. */
static void undo_remove(struct tide_space *space, struct tide_slot *slot,
			bool parked)
{
	struct tide_slot_table *table;

	/* If it cannot be moved back now, the next collect tries again. */
	if (parked &&
	    space->ops->slot_move(space->tracker, slot, slot->first_gfn))
		slot->logged = false;
	slot->removing = false;
	tide_slot_fail_closed(slot);
	/* Without memory for a table marks of it answer -ENOENT; the next
	 * change of slots mends that. */
	table = build_table(space, 0);
	if (table)
		publish_table(space, table);
}

/* No mark reaches it any more. */
static int slot_finish(struct tide_space *space, struct tide_slot *slot)
{
	bool complete, parked;

	complete = collect_last(space, slot, &parked);
	if (space->ops && !slot->missing) {
		int err = space->ops->slot_remove(space->tracker, slot);

		if (err) {
			undo_remove(space, slot, parked);
			return err;
		}
	}
	if (!complete)
		tide_slot_fail_closed(slot);
	unlink_slot(space, slot);
	return 0;
}

static int compare_ids(const void *a, const void *b)
{
	const struct tide_slot_removal *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

/* Which slots the removals are of, if there are any. */
static void mark_removing(struct tide_space *space,
			  struct tide_slot_removal *removals, uint32_t count)
{
	for (struct tide_slot *slot = space->slots; slot; slot = slot->next) {
		const struct tide_slot_removal key = { .id = slot->id };
		struct tide_slot_removal *removal = bsearch(
			&key, removals, count, sizeof(key), compare_ids);

		if (!removal || slot->removing)
			continue;
		slot->removing = true;
		removal->slot = slot;
	}
}

static int slots_remove_locked(struct tide_space *space,
			       struct tide_slot_removal *removals,
			       uint32_t count)
{
	struct tide_slot_table *table;

	mark_removing(space, removals, count);
	table = build_table(space, 0);
	for (uint32_t i = 0; i < count && !table; i++) {
		if (removals[i].slot)
			removals[i].slot->removing = false;
	}
	if (!table)
		return -ENOMEM;
	publish_table(space, table); /* from here on no mark reaches them */
	for (uint32_t i = 0; i < count; i++)
		removals[i].err = removals[i].slot
					  ? slot_finish(space, removals[i].slot)
					  : -ENOENT;
	return 0;
}

static int slot_remove_locked(struct tide_space *space, uint32_t id)
{
	struct tide_slot_removal removal = { .id = id };
	int err;

	if (!find_present(space, id))
		return -ENOENT;
	err = slots_remove_locked(space, &removal, 1);
	if (!err)
		err = removal.err;
	return err ? err : count_readers(space, id);
}

int tide_slot_remove(struct tide_space *space, uint32_t id)
{
	int ret;

	tide_space_lock(space);
	ret = slot_remove_locked(space, id);
	tide_space_unlock(space);
	return ret;
}

int tide_slots_remove(struct tide_space *space,
		      struct tide_slot_removal *removals, uint32_t count)
{
	int err;

	for (uint32_t i = 0; i < count; i++)
		removals[i].slot = NULL;
	qsort(removals, count, sizeof(*removals), compare_ids);
	tide_space_lock(space);
	err = slots_remove_locked(space, removals, count);
	tide_space_unlock(space);
	return err;
}

static int slot_move_locked(struct tide_space *space, uint32_t id,
			    uint64_t first_gfn)
{
	struct tide_slot *slot = find_present(space, id);
	struct tide_slot_table *table;
	uint64_t old;
	int err = 0;

	if (!slot)
		return -ENOENT;
	if (slot->npages > (UINT64_MAX >> TIDE_PAGE_SHIFT) ||
	    first_gfn > (UINT64_MAX >> TIDE_PAGE_SHIFT) - slot->npages)
		return -EINVAL;
	if (overlaps(space, first_gfn, slot->npages, slot))
		return -EEXIST;
	old = slot->first_gfn;
	slot->first_gfn = first_gfn;
	table = build_table(space, 0);
	slot->first_gfn = old;
	if (!table)
		return -ENOMEM;
	if (space->ops)
		err = space->ops->slot_move(space->tracker, slot, first_gfn);
	if (err) {
		free(table);
		return err;
	}
	slot->first_gfn = first_gfn;
	slot->missing = false;
	for (struct tide_watch *watch = slot->watches; watch;
	     watch = watch->next_in_slot) {
		struct tide_harvest *harvest = &watch->client->harvest;

		/* Relaxed: as in harvest.c, next_chunk. */
		if (harvest->armed == slot)
			atomic_store_explicit(&harvest->first_gfn, first_gfn,
					      memory_order_relaxed);
	}
	publish_table(space, table);
	return 0;
}

int tide_slot_move(struct tide_space *space, uint32_t id, uint64_t first_gfn)
{
	int err;

	tide_space_lock(space);
	err = slot_move_locked(space, id, first_gfn);
	tide_space_unlock(space);
	return err;
}

static void store_flags(struct tide_slot *slot, uint32_t flags)
{
	/* Relaxed: see tide_slot_flags_now(). */
	atomic_store_explicit(&slot->flags, flags, memory_order_relaxed);
}

/* KVM cannot change READONLY of a slot: out, and in again. */
static int recreate(struct tide_space *space, struct tide_slot *slot,
		    uint32_t flags)
{
	uint32_t old = tide_slot_flags_now(slot);
	int err = 0;

	if (!slot->missing)
		err = space->ops->slot_remove(space->tracker, slot);
	if (err)
		return err;
	slot->missing = true;
	slot->logged = false;
	store_flags(slot, flags);
	err = enter_vm(slot);
	if (err) {
		store_flags(slot, old);
		(void)enter_vm(slot); /* or it is missing until it is mended */
	}
	return err;
}

static int change_flags(struct tide_space *space, struct tide_slot *slot,
			uint32_t flags)
{
	bool log = wants_log(space, flags);
	int err = 0;

	if (space->ops &&
	    (slot->missing ||
	     (tide_slot_flags_now(slot) ^ flags) & TIDE_SLOT_READONLY))
		return recreate(space, slot, flags);
	if (log != slot->logged)
		err = tide_slot_log_set(slot, log);
	if (!err)
		store_flags(slot, flags);
	return err;
}

static int set_flags_locked(struct tide_space *space, uint32_t id,
			    uint32_t flags)
{
	const uint32_t matter = TIDE_SLOT_UNLOGGED | TIDE_SLOT_READONLY;
	struct tide_slot *slot = find_present(space, id);
	uint32_t old;
	int err;

	if (!slot)
		return -ENOENT;
	old = tide_slot_flags_now(slot);
	if (!((old ^ flags) & matter)) {
		store_flags(slot, flags);
		return 0;
	}
	/* What was logged so far must not go with the log (K39). */
	err = tide_space_collect(space, slot);
	if (!err)
		err = change_flags(space, slot, flags);
	/* Marks that saw the old flags are over, and collected. */
	tide_rcu_wait(&space->rcu_tag);
	(void)tide_space_collect(space, slot);
	/* Turned on: what was written meanwhile nobody knows. */
	if (err || !(flags & TIDE_SLOT_UNLOGGED))
		tide_slot_fail_closed(slot);
	return err;
}

int tide_slot_set_flags(struct tide_space *space, uint32_t id, uint32_t flags)
{
	int err;

	if (flags & ~(uint32_t)SLOT_FLAGS)
		return -EINVAL;
	tide_space_lock(space);
	err = set_flags_locked(space, id, flags);
	tide_space_unlock(space);
	return err;
}

int tide_slot_get(struct tide_space *space, uint32_t index,
		  struct tide_slot_info *ret_info)
{
	const struct tide_slot_table *table;
	int err = -ENOENT;

	tide_space_lock(space);
	/* Relaxed: slots_lock is held. */
	table = atomic_load_explicit(&space->table, memory_order_relaxed);
	if (index < table->count) {
		const struct tide_slot *slot = table->entry[index].slot;

		*ret_info = (struct tide_slot_info){
			.id = slot->id,
			.flags = tide_slot_flags_now(slot),
			.first_gfn = slot->first_gfn,
			.npages = slot->npages,
			.host = slot->host,
		};
		err = 0;
	}
	tide_space_unlock(space);
	return err;
}
