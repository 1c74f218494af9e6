/* SPDX-License-Identifier: MIT */
/*
 * roster.c - the slots that the destination has been told about
 *
 * Theory of operation
 * -------------------
 * Slots may come, go and move while a guest is migrated.  The source compares
 * the space with what it has announced at the start of each round, when it
 * meets an extent that the announced slots do not explain, and in the last
 * round once the guest is stopped.  The difference goes out as SLOT_GONE,
 * SLOT_CHANGE and SLOT frames, in this order, so that the destination never
 * has two slots on one gfn; a slot that moved onto a place that another slot
 * leaves in the same step is taken back and announced again.
 *
 * tide_slot_get() reads one slot at a time, so a table that changes while it
 * is read can come out wrong: a slot can be missing although it never left.
 * The table is therefore read until two readings in a row are equal, and for
 * the case that even this was fooled twice in the same way there is RETURNED:
 * an id that was announced, taken back and is there again is dirty as a whole
 * for us, whatever the tracker thinks, because the destination dropped it.
 * What is dropped wrongly is thus sent again rather than lost.
 *
 * Invariants
 *   I1  slots[] is what the destination has, once every frame has arrived
 *   I2  a slot in slots[] whose pages the destination dropped is announced
 *       to the caller as RETURNED
 *
 * Synchronisation
 *   None of its own; tide_slot_get() may race with changes, see above.
 */
#include "migrate/roster.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define READ_ATTEMPTS_MAX 100

struct table {
	struct tide_slot_info *slots;
	uint32_t count;
};

static bool slot_equal(const struct tide_slot_info *a,
		       const struct tide_slot_info *b)
{
	return a->id == b->id && a->flags == b->flags &&
	       a->first_gfn == b->first_gfn && a->npages == b->npages &&
	       a->host == b->host;
}

/* The same memory, perhaps at another gfn or with other flags. */
static bool slot_same_memory(const struct tide_slot_info *a,
			     const struct tide_slot_info *b)
{
	return a->id == b->id && a->npages == b->npages && a->host == b->host;
}

static const struct tide_slot_info *find_id(const struct tide_slot_info *slots,
					    uint32_t count, uint32_t id)
{
	for (uint32_t i = 0; i < count; i++) {
		if (slots[i].id == id)
			return &slots[i];
	}
	return NULL;
}

static bool overlaps(const struct tide_slot_info *a,
		     const struct tide_slot_info *b)
{
	return a->first_gfn < b->first_gfn + b->npages &&
	       b->first_gfn < a->first_gfn + a->npages;
}

static int table_read(struct tide_space *space, struct table *table)
{
	uint32_t room = 0;

	table->count = 0;
	table->slots = NULL;
	for (;;) {
		if (table->count == room) {
			room = room ? room * 2 : 16;
			void *more = realloc(table->slots,
					     room * sizeof(*table->slots));

			if (!more)
				return -ENOMEM;
			table->slots = more;
		}

		int err = tide_slot_get(space, table->count,
					&table->slots[table->count]);

		if (err == -ENOENT)
			return 0;
		if (err)
			return err;
		if (++table->count > TIDE_STREAM_SLOTS_MAX)
			return -E2BIG;
	}
}

static bool table_equal(const struct table *a, const struct table *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++) {
		if (!slot_equal(&a->slots[i], &b->slots[i]))
			return false;
	}
	return true;
}

static int table_read_stable(struct tide_space *space, struct table *ret)
{
	struct table last = { 0 };
	int err = table_read(space, &last);

	for (int i = 0; !err && i < READ_ATTEMPTS_MAX; i++) {
		struct table now = { 0 };

		err = table_read(space, &now);
		if (!err && table_equal(&last, &now)) {
			free(last.slots);
			*ret = now;
			return 0;
		}
		free(last.slots);
		last = now;
	}
	free(last.slots);
	return err ? err : -EAGAIN;
}

/* Does @slot lie where another slot of @table, already announced and not yet
 * moved, still is at the destination? */
static bool in_the_way(const struct tide_roster *roster,
		       const struct tide_slot_info *slot)
{
	for (uint32_t i = 0; i < roster->count; i++) {
		if (roster->slots[i].id != slot->id &&
		    overlaps(&roster->slots[i], slot))
			return true;
	}
	return false;
}

static int remember_gone(struct tide_roster *roster, uint32_t id)
{
	void *more = realloc(roster->gone,
			     (roster->gone_count + 1) * sizeof(*roster->gone));

	if (!more)
		return -ENOMEM;
	roster->gone = more;
	roster->gone[roster->gone_count++] = id;
	return 0;
}

static bool was_gone(const struct tide_roster *roster, uint32_t id)
{
	for (uint32_t i = 0; i < roster->gone_count; i++) {
		if (roster->gone[i] == id)
			return true;
	}
	return false;
}

/* Takes back what is not there any more, or not as it was. */
static int send_gone(struct tide_roster *roster, const struct table *table,
		     struct tide_framing *framing)
{
	uint8_t meta[TIDE_META_MAX];
	uint32_t kept = 0;
	int err = 0;

	for (uint32_t i = 0; i < roster->count; i++) {
		struct tide_slot_info slot = roster->slots[i];
		const struct tide_slot_info *now =
			find_id(table->slots, table->count, slot.id);
		bool moved = now && now->first_gfn != slot.first_gfn;

		if (!err && (!now || !slot_same_memory(now, &slot) ||
			     (moved && in_the_way(roster, now)))) {
			err = remember_gone(roster, slot.id);
			if (!err)
				err = tide_framing_send(
					framing, TIDE_FRAME_SLOT_GONE, meta,
					tide_slot_gone_encode(slot.id, meta),
					NULL, 0);
			continue;
		}
		roster->slots[kept++] = slot;
	}
	roster->count = kept;
	return err;
}

/* Announces what changed (or, with @fresh, what is new): changes first, or a
 * new slot could be put where one that moves still is.
 * Return: 0 or enum tide_roster_change. */
static int send_slots(const struct tide_roster *roster,
		      const struct table *table, bool fresh,
		      struct tide_framing *framing)
{
	uint16_t type = fresh ? TIDE_FRAME_SLOT : TIDE_FRAME_SLOT_CHANGE;
	uint8_t meta[TIDE_META_MAX];
	int change = 0;

	for (uint32_t i = 0; i < table->count; i++) {
		const struct tide_slot_info *slot = &table->slots[i];
		const struct tide_slot_info *was =
			find_id(roster->slots, roster->count, slot->id);

		if (fresh != !was || (was && slot_equal(was, slot)))
			continue;
		change |= TIDE_ROSTER_CHANGED;
		if (!was && was_gone(roster, slot->id))
			change |= TIDE_ROSTER_RETURNED; /* I2 */

		int err = tide_framing_send(framing, type, meta,
					    tide_slot_encode(slot, meta), NULL,
					    0);
		if (err)
			return err;
	}
	return change;
}

int tide_roster_sync(struct tide_roster *roster, struct tide_space *space,
		     struct tide_framing *framing)
{
	struct table table;
	uint32_t gone_before = roster->gone_count;
	int change = table_read_stable(space, &table);

	if (change)
		return tide_say_errno(framing->why, change,
				      "reading the slots");

	int moved = 0;

	change = send_gone(roster, &table, framing);
	if (!change)
		moved = send_slots(roster, &table, false, framing);
	if (!change && moved >= 0)
		change = send_slots(roster, &table, true, framing);
	if (change < 0 || moved < 0) {
		free(table.slots);
		return change < 0 ? change : moved;
	}
	change |= moved;
	if (roster->gone_count != gone_before)
		change |= TIDE_ROSTER_CHANGED;
	free(roster->slots);
	roster->slots = table.slots; /* I1 */
	roster->count = table.count;
	return change;
}

void tide_roster_fini(struct tide_roster *roster)
{
	free(roster->slots);
	free(roster->gone);
	*roster = (struct tide_roster){ 0 };
}

const struct tide_slot_info *tide_roster_find(const struct tide_roster *roster,
					      uint32_t id, const void *host,
					      uint64_t npages)
{
	const struct tide_slot_info *slot =
		find_id(roster->slots, roster->count, id);
	uintptr_t at = (uintptr_t)host;

	if (!slot || at < (uintptr_t)slot->host)
		return NULL;

	uint64_t first = (at - (uintptr_t)slot->host) / TIDE_PAGE_SIZE;

	if (first >= slot->npages || npages > slot->npages - first)
		return NULL;
	return slot;
}

uint64_t tide_roster_pages(const struct tide_roster *roster)
{
	return tide_roster_pages_with(roster, 0);
}

uint64_t tide_roster_pages_with(const struct tide_roster *roster,
				uint32_t flags)
{
	uint64_t npages = 0;

	for (uint32_t i = 0; i < roster->count; i++) {
		if ((roster->slots[i].flags & flags) == flags)
			npages += roster->slots[i].npages;
	}
	return npages;
}
