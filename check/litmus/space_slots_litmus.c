/* SPDX-License-Identifier: MIT */
/*
 * space_slots_litmus.c - slots that come, go and change under marks, harvests
 *                        and a guest
 *
 * What    src/space/{slots,mark,collect,harvest,client,space}.c as shipped,
 *         marks alone and with a tracker (shim/tracker_model.h).  K25, K39;
 *         Q4, Q10.
 * Claim   a mark finds a whole slot or none, and if it finds one it is not
 *         lost; the guest's last writes before a slot goes are told to every
 *         client; memory of a slot that is not busy is not read any more; a
 *         change of flags loses nothing that was logged.
 * Bounds  one slot of one page; one change of it, one write, one harvest.  The
 *         table is published once or twice (a removal that fails), and who
 *         reads it reads it once: an old or a new one.  A mark depends on no
 *         other slot than its own, so one is enough.
 */
#include "litmus.h"

#include "check/shim/tracker_model.h"

static void device_writes(void)
{
	(void)model_device_write(0, 1);
}

static void device_writes_range(void)
{
	model_store(0, 1);
	if (tide_mark_range(model.space, 0, 1))
		model.missed = true;
}

static void device_writes_host(void)
{
	model_store(0, 1);
	if (tide_mark_host(model.space, model_slot_config().host, 1))
		model.missed = true;
}

/* At where the slot moves. */
static void device_writes_there(void)
{
	model_store(0, 1);
	if (tide_mark(model.space, MODEL_MOVED_GFN))
		model.missed = true;
}

/* What it writes in vain counts all the same. */
static void device_writes_anyway(void)
{
	model_store(0, 1);
	(void)tide_mark(model.space, 0);
}

static void guest_writes(void)
{
	(void)model_guest_write(0, 2);
}

static void first_harvests(void)
{
	model_harvest(0);
}

static void first_goes_on(void)
{
	model_rest(0);
}

static void first_closes(void)
{
	model_close(0);
}

static void second_opens(void)
{
	model_open(1, TIDE_START_CLEAN);
}

/* Between the two logging is off. */
static void second_follows_first(void)
{
	first_closes();
	second_opens();
}

static void slot_is_added(void)
{
	struct tide_slot_config config = model_slot_config();

	explore_assert(!tide_slot_add(model.space, &config), "add succeeds",
		       EXPLORE_HERE);
}

static void slot_is_removed(void)
{
	explore_assert(tide_slot_remove(model.space, 0) >= 0, "remove succeeds",
		       EXPLORE_HERE);
}

static void slot_stays(void)
{
	explore_assert(tide_slot_remove(model.space, 0) < 0, "remove fails",
		       EXPLORE_HERE);
	explore_assert(model.mapped, "and the guest has the slot",
		       EXPLORE_HERE);
}

/* And cannot be brought back at once. */
static void slot_stays_away(void)
{
	explore_assert(tide_slot_remove(model.space, 0) < 0, "remove fails",
		       EXPLORE_HERE);
}

static void slot_is_recreated(void)
{
	slot_is_removed();
	slot_is_added();
}

/* For a client that has not known the old one. */
static void slot_is_recreated_and_read(void)
{
	slot_is_recreated();
	second_opens();
}

static void slot_is_moved(void)
{
	explore_assert(!tide_slot_move(model.space, 0, MODEL_MOVED_GFN),
		       "move succeeds", EXPLORE_HERE);
}

static void slot_is_moved_and_it_is_said(void)
{
	slot_is_moved();
	explore_store(&model.said, 8, 1, __ATOMIC_RELEASE, EXPLORE_HERE);
}

/* Two extents of one chunk, so that the second takes no lock. */
static void first_reads_gfns(void)
{
	uint64_t said;

	(void)model_next(0);
	said = explore_load(&model.said, 8, __ATOMIC_ACQUIRE, EXPLORE_HERE);
	(void)model_next(0);
	explore_assert(!said || model.client[0].gfn == MODEL_MOVED_GFN + 2,
		       "who knows of a move gets the new gfn", EXPLORE_HERE);
	model_commit(0);
}

static void set_flags(uint32_t flags)
{
	explore_assert(!tide_slot_set_flags(model.space, 0, flags),
		       "set_flags succeeds", EXPLORE_HERE);
}

static void logging_goes_off(void)
{
	set_flags(TIDE_SLOT_UNLOGGED);
}

static void logging_goes_on(void)
{
	set_flags(0);
}

static void slot_is_made_readonly(void)
{
	set_flags(TIDE_SLOT_READONLY);
}

static void somebody_asks(void)
{
	struct tide_slot_info info;

	explore_assert(tide_slot_get(model.space, 0, &info) || !info.first_gfn,
		       "the slot, or none", EXPLORE_HERE);
}

/* The remover unmaps the memory as soon as that is allowed. */
static void memory_is_unmapped(void)
{
	if (tide_slot_remove(model.space, 0))
		explore_assume(!tide_slot_busy(model.space, 0));
	model_unmap();
}

static void first_aborts(void)
{
	(void)model_next(0);
	model_abort(0);
}

static void guest_writes_and_says_so(void)
{
	(void)model_guest_write(0, 2);
	explore_store(&model.said, 8, 1, __ATOMIC_RELEASE, EXPLORE_HERE);
}

static void logging_goes_off_then(void)
{
	explore_assume(
		explore_load(&model.said, 8, __ATOMIC_ACQUIRE, EXPLORE_HERE));
	logging_goes_off();
}

/* Before the threads. */
static void nothing_is_known(void)
{
	model.may_invent = true;
}

static void is_marked(void)
{
	nothing_is_known();
	(void)tide_mark(model.space, 0);
}

static void is_written(void)
{
	nothing_is_known();
	(void)model_guest_write(0, 1);
}

static void is_begun(void)
{
	is_written();
	model_begin(0);
}

static void two_extents_are_begun(void)
{
	(void)model_guest_write(2, 1);
	is_begun();
}

static void removal_will_fail(void)
{
	nothing_is_known();
	model.fail_remove = -5;
}

static void undoing_will_fail(void)
{
	removal_will_fail();
	model.fail_move = -5;
}

static void parking_will_fail(void)
{
	nothing_is_known();
	model.fail_park = -5;
}

static void memory_may_go(void)
{
	is_begun();
	model.may_unmap = true;
}

MODEL_SETUP(empty, .clients = 1, .empty = true, .marks_only = true,
	    .then = nothing_is_known)
MODEL_SETUP(marks, .clients = 1, .marks_only = true)
MODEL_SETUP(marked, .clients = 1, .marks_only = true, .then = is_marked)
MODEL_SETUP(get, .clients = 1)
MODEL_SETUP(clear, .clients = 1, .manual = true)
MODEL_SETUP(closing, .clients = 1, .manual = true, .then = nothing_is_known)
MODEL_SETUP(two, .clients = 2, .manual = true)
MODEL_SETUP(buffered, .clients = 1, .buffered = true)
MODEL_SETUP(begun, .clients = 1, .manual = true, .then = is_begun)
MODEL_SETUP(two_extents_begun, .clients = 1, .npages = 3, .manual = true,
	    .then = two_extents_are_begun)
MODEL_SETUP(failing, .clients = 1, .then = removal_will_fail)
MODEL_SETUP(failing_twice, .clients = 1, .then = undoing_will_fail)
MODEL_SETUP(unparkable, .clients = 1, .then = parking_will_fail)
MODEL_SETUP(unlogged, .clients = 1, .flags = TIDE_SLOT_UNLOGGED,
	    .marks_only = true, .then = nothing_is_known)
MODEL_SETUP(unlogged_get, .clients = 1, .flags = TIDE_SLOT_UNLOGGED,
	    .then = nothing_is_known)
MODEL_SETUP(logged, .clients = 1, .manual = true)
MODEL_SETUP(unmappable, .clients = 1, .manual = true, .then = memory_may_go)
MODEL_SETUP(writable, .clients = 1, .then = is_written)

#define PROGRAM(title, setup, count, ...)                  \
	{                                                  \
		.program = { .name = title,                \
			     .init = setup,                \
			     .final = model_at_rest,       \
			     MODEL_THREADS(__VA_ARGS__) }, \
		.executions = count                        \
	}

static const struct litmus all[] = {
	/* The table's publication: a slot is whole when a mark finds it. */
	PROGRAM("add-and-mark", empty, 3, slot_is_added, device_writes),
	PROGRAM("add-and-mark-range", empty, 3, slot_is_added,
		device_writes_range),
	PROGRAM("add-and-mark-host", empty, 3, slot_is_added,
		device_writes_host),
	PROGRAM("add-mark-and-harvest", empty, 17, slot_is_added, device_writes,
		first_harvests),
	/* A mark that has found the slot is over when its marks are taken for
	 * the last time. */
	PROGRAM("remove-and-mark", marks, 3, slot_is_removed, device_writes),
	PROGRAM("remove-and-skipped-mark", marked, 3, slot_is_removed,
		device_writes),
	PROGRAM("remove-mark-and-harvest", marks, 16, slot_is_removed,
		device_writes, first_harvests),
	/* The guest's last writes. */
	PROGRAM("remove-and-guest", get, 4, slot_is_removed, guest_writes),
	PROGRAM("remove-and-guest-clear", clear, 57, slot_is_removed,
		guest_writes, first_harvests),
	PROGRAM("remove-and-guest-buffered", buffered, 5, slot_is_removed,
		guest_writes),
	PROGRAM("remove-unparkable", unparkable, 3, slot_is_removed,
		guest_writes),
	PROGRAM("remove-fails", failing, 84, slot_stays, guest_writes,
		first_harvests),
	PROGRAM("remove-fails-twice", failing_twice, 72, slot_stays_away,
		guest_writes, first_harvests),
	PROGRAM("remove-fails-and-mark", failing, 102, slot_stays,
		device_writes_anyway, first_harvests),
	/* While it goes others come and go: its lock is let go once. */
	PROGRAM("remove-and-close", two, 9, slot_is_removed, guest_writes,
		first_closes),
	PROGRAM("remove-and-open", clear, 11, slot_is_removed, guest_writes,
		second_opens),
	PROGRAM("remove-close-and-open", closing, 22, slot_is_removed,
		guest_writes, second_follows_first),
	/* Q4: gone, and another one in its place, between begin and next. */
	PROGRAM("recreate-and-next", begun, 108, slot_is_recreated,
		guest_writes, first_goes_on),
	PROGRAM("recreate-read-and-next", begun, 264,
		slot_is_recreated_and_read, guest_writes, first_goes_on),
	/* Marks before and after a move; extents too. */
	PROGRAM("move-and-mark", marks, 3, slot_is_moved, device_writes),
	PROGRAM("move-and-mark-there", marks, 3, slot_is_moved,
		device_writes_there),
	PROGRAM("move-and-next", begun, 22, slot_is_moved, guest_writes,
		first_goes_on),
	PROGRAM("move-and-next-extent", two_extents_begun, 8,
		slot_is_moved_and_it_is_said, first_reads_gfns),
	/* Logging off takes what was logged (K39), on makes all dirty. */
	PROGRAM("log-off", logged, 9, logging_goes_off_then,
		guest_writes_and_says_so, first_harvests),
	PROGRAM("log-on-and-mark", unlogged, 21, logging_goes_on, device_writes,
		first_harvests),
	PROGRAM("log-on-and-guest", unlogged_get, 19, logging_goes_on,
		guest_writes, first_harvests),
	PROGRAM("readonly-and-guest", writable, 45, slot_is_made_readonly,
		guest_writes, first_harvests),
	/* Memory that is not busy is not read. */
	PROGRAM("unmap-and-next", unmappable, 10, memory_is_unmapped,
		first_goes_on),
	PROGRAM("unmap-and-abort", unmappable, 6, memory_is_unmapped,
		first_aborts),
	/* Questions do not race with answers. */
	PROGRAM("questions", marks, 2, slot_is_removed, somebody_asks),
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
