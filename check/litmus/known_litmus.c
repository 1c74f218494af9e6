/* SPDX-License-Identifier: MIT */
/*
 * known_litmus.c - marks from other sources, and what is known (thread 4)
 *
 * What    src/space/{mark,collect,rearm,harvest}.c and src/log/bitmap.c as
 *         shipped, without a tracker and with one (shim/tracker_model.h).
 *         Thread 4: pages that come from vhost or DMA, whose re-arming must
 *         not clear what other clients have not seen.  Q6, Q23, Q24.
 * Claim   a write whose mark has come to an end, skipped or not, is in the copy
 *         of the harvest that takes the mark, or comes again, for each client;
 *         and so is a guest's write to a page that was also marked.
 * Bounds  one page; a device that writes and marks once, a guest that writes
 *         once, two clients with one harvest each.  A mark is skipped in one
 *         state only, its bit set on every level, in which each program
 *         begins; a harvest takes marks in two places, begin and next, and
 *         programs begin before either.
 */
#include "litmus.h"

#include <errno.h>

#include "check/shim/tracker_model.h"

static void device_writes(void)
{
	(void)model_device_write(0, 1);
}

static void device_writes_range(void)
{
	model_store(0, 1);
	(void)tide_mark_range(model.space, 0, 1);
}

/* All of the slot, which a bit for the run stands for. */
static void device_writes_slot(void)
{
	model_store(0, 1);
	model_store(2, 1);
	(void)tide_mark_range(model.space, 0, 3);
}

static void guest_writes(void)
{
	(void)model_guest_write(0, 2);
}

static void guest_writes_neighbour(void)
{
	(void)model_guest_write(2, 2);
}

static void first_harvests(void)
{
	model_harvest(0);
}

static void second_harvests(void)
{
	model_harvest(1);
}

static void first_goes_on(void)
{
	model_rest(0);
}

static void first_aborts(void)
{
	(void)model_next(0);
	model_abort(0);
}

/* begin or next fails, and is tried again. */
static void first_tries(void)
{
	model_try_harvest(0);
	model_harvest(0);
}

static void first_tries_to_go_on(void)
{
	model_try_rest(0);
	model_harvest(0);
}

/* Before the threads. */
static void is_marked(void)
{
	(void)tide_mark(model.space, 0);
	model.may_invent = true;
}

static void is_begun(void)
{
	is_marked();
	model_begin(0);
}

/* With a mark that begin has not taken. */
static void is_late(void)
{
	is_begun();
	is_marked();
}

static void slot_is_late(void)
{
	(void)tide_mark_range(model.space, 0, 3);
	is_begun();
	(void)tide_mark_range(model.space, 0, 3);
}

static void barrier_will_fail(void)
{
	is_marked();
	model.fail_fence = -ENOMEM;
}

static void late_barrier_will_fail(void)
{
	is_late();
	model.fail_fence = -ENOMEM;
}

/* The second client has not seen the mark. */
static void is_begun_by_one(void)
{
	is_begun();
	model_open(1, TIDE_START_CLEAN);
}

static void is_late_for_one(void)
{
	is_begun_by_one();
	is_marked();
}

MODEL_SETUP(unmarked, .clients = 1, .marks_only = true)
MODEL_SETUP(marked, .clients = 1, .marks_only = true, .then = is_marked)
MODEL_SETUP(marked_symmetric, .clients = 1, .marks_only = true,
	    .symmetric = true, .then = is_marked)
MODEL_SETUP(marked_get, .clients = 1, .then = is_marked)
MODEL_SETUP(marked_clear, .clients = 1, .manual = true, .then = is_marked)
MODEL_SETUP(marked_two, .clients = 2, .marks_only = true, .then = is_marked)
MODEL_SETUP(late, .clients = 1, .marks_only = true, .then = is_late)
MODEL_SETUP(no_barrier, .clients = 1, .marks_only = true,
	    .then = barrier_will_fail)
MODEL_SETUP(late_no_barrier, .clients = 1, .marks_only = true,
	    .then = late_barrier_will_fail)
MODEL_SETUP(late_clear, .clients = 1, .manual = true, .then = is_late)
MODEL_SETUP(late_symmetric, .clients = 1, .marks_only = true, .symmetric = true,
	    .then = is_late)
MODEL_SETUP(late_slot, .clients = 1, .npages = 3, .marks_only = true,
	    .then = slot_is_late)
MODEL_SETUP(late_two, .clients = 2, .marks_only = true, .then = is_late)
MODEL_SETUP(late_two_clear, .clients = 2, .manual = true, .then = is_late)
MODEL_SETUP(begun_clear, .clients = 1, .manual = true, .then = is_begun)
MODEL_SETUP(begun_pages, .clients = 1, .npages = 3, .manual = true,
	    .then = is_begun)
MODEL_SETUP(begun_by_one, .clients = 1, .manual = true, .then = is_begun_by_one)
MODEL_SETUP(late_for_one, .clients = 1, .manual = true, .then = is_late_for_one)

#define PROGRAM(title, setup, count, ...)                  \
	{                                                  \
		.program = { .name = title,                \
			     .init = setup,                \
			     .final = model_at_rest,       \
			     MODEL_THREADS(__VA_ARGS__) }, \
		.executions = count                        \
	}

static const struct litmus all[] = {
	/* A mark against the take in begin: set, and skipped, on slots of each
	 * kind. */
	PROGRAM("first-mark", unmarked, 2, device_writes, first_harvests),
	PROGRAM("skipped-mark", marked, 22, device_writes, first_harvests),
	PROGRAM("skipped-mark-get", marked_get, 22, device_writes,
		first_harvests),
	PROGRAM("skipped-mark-clear", marked_clear, 22, device_writes,
		first_harvests),
	PROGRAM("mark-is-never-skipped", marked_symmetric, 12, device_writes,
		first_harvests),
	PROGRAM("range", marked, 4, device_writes_range, first_harvests),
	PROGRAM("skipped-mark-two", marked_two, 3476, device_writes,
		first_harvests, second_harvests),
	/* Against the take in next, of pages about to be handed out. */
	PROGRAM("late-mark", late, 53, device_writes, first_goes_on),
	PROGRAM("late-mark-clear", late_clear, 53, device_writes,
		first_goes_on),
	PROGRAM("late-mark-symmetric", late_symmetric, 28, device_writes,
		first_goes_on),
	PROGRAM("late-mark-abort", late, 53, device_writes, first_aborts),
	PROGRAM("late-range", late, 3, device_writes_range, first_goes_on),
	PROGRAM("late-mark-in-slot", late_slot, 470, device_writes,
		first_goes_on),
	PROGRAM("late-slot", late_slot, 7, device_writes_slot, first_goes_on),
	PROGRAM("late-mark-two", late_two, 3258, device_writes, first_goes_on,
		second_harvests),
	/* A membarrier(2) that fails is made up for (C7). */
	PROGRAM("barrier-fails", no_barrier, 30, device_writes, first_tries),
	PROGRAM("late-barrier-fails", late_no_barrier, 154, device_writes,
		first_tries_to_go_on),
	/* Re-arming what was marked clears what the guest wrote meanwhile. */
	PROGRAM("marked-and-written", begun_clear, 22, guest_writes,
		device_writes, first_goes_on),
	PROGRAM("known-grows", begun_by_one, 278, guest_writes, first_goes_on,
		second_harvests),
	PROGRAM("known-grows-by-that", begun_pages, 2, guest_writes_neighbour,
		first_goes_on),
	PROGRAM("known-grows-late", late_for_one, 340, guest_writes,
		first_goes_on, second_harvests),
	PROGRAM("known-grows-late-two", late_two_clear, 340, guest_writes,
		first_goes_on, second_harvests),
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
