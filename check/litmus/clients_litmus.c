/* SPDX-License-Identifier: MIT */
/*
 * clients_litmus.c - clients that harvest one log while a guest writes
 *
 * What    src/space/{client,collect,harvest,rearm,page_set,space}.c as shipped,
 *         behind them the kernel of shim/tracker_model.h, with GET that clears
 *         and with GET and CLEAR.  Thread 4; K39, K51, K53; Q1, Q2, Q6, Q7,
 *         Q8, Q23, Q28.
 * Claim   C1 to C7 by content: when everything is over, and after one more
 *         harvest, each client's copies are what the pages are, whatever the
 *         others did, took, put back or failed to do; and what nobody wrote
 *         was not yielded.
 * Bounds  at most two clients, each with one harvest (one of them with two, in
 *         the slow program), and a guest that writes once or twice; one or two
 *         words of pages.  Clients meet in the
 *         kernel's log, in known, and in each other's dirty sets, which are a
 *         bit for each page, and a bit has two states: a third client, or a
 *         second harvest of one, finds them in a state in which one of these
 *         programs has begun.  What came before the threads (a page is
 *         written, one harvest or both are open) stands for what earlier
 *         harvests leave.
 */
#include "litmus.h"

#include "check/shim/tracker_model.h"

static void first_harvests(void)
{
	model_harvest(0);
}

static void second_harvests(void)
{
	model_harvest(1);
}

static void first_harvests_twice(void)
{
	model_harvest(0);
	model_harvest(0);
}

/* With the harvest that was begun. */
static void first_goes_on(void)
{
	model_rest(0);
}

static void second_goes_on(void)
{
	model_rest(1);
}

static void first_aborts(void)
{
	(void)model_next(0);
	model_abort(0);
}

static void first_commits_early(void)
{
	(void)model_next(0);
	model_commit(0);
}

static void first_tries(void)
{
	model_try_harvest(0);
}

static void first_tries_to_go_on(void)
{
	model_try_rest(0);
}

static void second_tries_to_go_on(void)
{
	model_try_rest(1);
}

static void second_tries(void)
{
	model_try_harvest(1);
}

static void first_closes(void)
{
	model_close(0);
}

static void second_opens_clean(void)
{
	model_open(1, TIDE_START_CLEAN);
}

static void second_opens_dirty(void)
{
	model_open(1, TIDE_START_ALL_DIRTY);
	model_harvest(1);
}

static void second_asks_pages(void)
{
	(void)tide_client_pending(model.client[1].client);
}

static void second_asks_stats(void)
{
	struct tide_client_stats stats;

	tide_client_stats_get(model.client[1].client, &stats);
}

static void second_wants_all(void)
{
	tide_client_dirty_all(model.client[1].client);
}

static void somebody_asks_stats(void)
{
	struct tide_space_stats stats;

	tide_space_stats_get(model.space, &stats);
}

static void somebody_asks_tracker(void)
{
	(void)tide_space_tracker(model.space);
}

static void chunks_grow(void)
{
	tide_space_chunk_set(model.space, 128);
}

static void space_detaches(void)
{
	(void)tide_space_detach(model.space);
}

static void guest_writes(void)
{
	(void)model_guest_write(0, 2);
}

static void guest_writes_twice(void)
{
	(void)model_guest_write(0, 2);
	(void)model_guest_write(0, 3);
}

static void guest_writes_neighbour(void)
{
	(void)model_guest_write(2, 2);
}

static void guest_writes_next_chunk(void)
{
	(void)model_guest_write(64, 2);
}

static void guest_writes_both(void)
{
	(void)model_guest_write(64, 2);
	(void)model_guest_write(0, 2);
}

/* Before the threads. */
static void is_written(void)
{
	(void)model_guest_write(0, 1);
}

static void is_begun(void)
{
	is_written();
	model_begin(0);
}

static void both_are_begun(void)
{
	is_begun();
	model_begin(1);
}

static void two_chunks_are_begun(void)
{
	(void)model_guest_write(0, 1);
	(void)model_guest_write(64, 1);
	model_begin(0);
}

static void rearm_will_fail(void)
{
	both_are_begun();
	model.fail_rearm = -5;
	model.may_invent = true;
}

static void collect_will_fail(void)
{
	is_written();
	model.fail_collect = -5;
	model.may_invent = true;
}

static void two_extents_are_begun(void)
{
	is_written();
	(void)model_guest_write(2, 1);
	model_begin(0);
}

/* next gives the second client a page. */
static void next_will_tell(void)
{
	model.may_invent = true;
	(void)tide_mark(model.space, 0);
	model_begin(0);
	(void)tide_mark(model.space, 0);
}

/* The VM has the slot already. */
static void guest_runs(void)
{
	model.mapped = true;
	model.may_invent = true;
}

static void logging_may_end(void)
{
	model.only_logged = true;
	model.may_invent = true;
}

static void everything_may_be_dirty(void)
{
	model.may_invent = true;
}

MODEL_SETUP(get, .clients = 1, .npages = 3)
MODEL_SETUP(get_by_two, .clients = 2, .npages = 3)
MODEL_SETUP(get_pages, .clients = 2, .npages = 3, .sparse = true)
MODEL_SETUP(clear, .clients = 1, .npages = 3, .manual = true,
	    .then = is_written)
MODEL_SETUP(clear_by_two, .clients = 2, .npages = 3, .manual = true,
	    .then = is_written)
MODEL_SETUP(begun, .clients = 2, .npages = 3, .manual = true, .then = is_begun)
MODEL_SETUP(begun_sparse, .clients = 2, .npages = 3, .manual = true,
	    .sparse = true, .then = is_begun)
MODEL_SETUP(both_begun, .clients = 2, .npages = 3, .manual = true,
	    .then = both_are_begun)
MODEL_SETUP(long_begun, .clients = 1, .npages = 65, .manual = true,
	    .then = is_begun)
MODEL_SETUP(two_chunks_begun, .clients = 1, .npages = 65, .manual = true,
	    .then = two_chunks_are_begun)
MODEL_SETUP(failing_rearm, .clients = 2, .npages = 3, .manual = true,
	    .then = rearm_will_fail)
MODEL_SETUP(failing_clear, .clients = 2, .manual = true,
	    .then = collect_will_fail)
MODEL_SETUP(failing_get, .clients = 2, .then = collect_will_fail)
MODEL_SETUP(buffered, .clients = 1, .npages = 3, .buffered = true)
MODEL_SETUP(nobody, .npages = 3, .manual = true)
MODEL_SETUP(initially_set, .manual = true, .initially_set = true,
	    .then = everything_may_be_dirty)
MODEL_SETUP(all_dirty, .clients = 1, .manual = true, .then = is_written)
MODEL_SETUP(detached, .clients = 1, .then = logging_may_end)
MODEL_SETUP(unattached, .clients = 1, .marks_only = true, .then = guest_runs)
MODEL_SETUP(two_extents_begun, .clients = 1, .npages = 3, .manual = true,
	    .then = two_extents_are_begun)
MODEL_SETUP(telling, .clients = 2, .manual = true, .then = next_will_tell)

/* The page was written before it opened. */
static void second_hears_nothing(void)
{
	model_at_rest();
	explore_assert(!model.client[1].yields[0],
		       "a client that starts clean does", EXPLORE_HERE);
}

/* The page was written once, before both began. */
static void each_hears_once(void)
{
	model_at_rest();
	explore_assert(model.client[0].yields[0] == 1 &&
			       model.client[1].yields[0] == 1,
		       "what is known is no news", EXPLORE_HERE);
}

#define PROGRAM(title, setup, count, ...)                  \
	{                                                  \
		.program = { .name = title,                \
			     .init = setup,                \
			     .final = model_at_rest,       \
			     MODEL_THREADS(__VA_ARGS__) }, \
		.executions = count                        \
	}

static const struct litmus all[] = {
	/* A write is in the copy, or the page comes again (C1, C2). */
	PROGRAM("guest-and-get", get, 4, guest_writes_twice, first_harvests),
	PROGRAM("guest-and-clear", clear, 6, guest_writes_twice,
		first_harvests),
	/* K53: what a buffer holds is in the log before begin reads that. */
	PROGRAM("buffered", buffered, 7, guest_writes_twice, first_harvests),
	/* No client takes a page from the other (C5). */
	PROGRAM("get-by-two", get_by_two, 424, guest_writes, first_harvests,
		second_harvests),
	PROGRAM("get-by-two-sparse", get_pages, 424, guest_writes,
		first_harvests, second_harvests),
	PROGRAM("clear-by-two", clear_by_two, 1392, guest_writes,
		first_harvests, second_harvests),
	{ .program = { .name = "clear-by-two-and-again",
		       .init = clear_by_two,
		       .final = model_at_rest,
		       MODEL_THREADS(guest_writes_twice, first_harvests_twice,
				     second_harvests) },
	  .executions = 98172,
	  .slow = true },
	/* A page that the first has found is known when the second collects;
	 * re-arming by one, and collecting by the other. */
	PROGRAM("begun-and-begin", begun, 320, guest_writes, first_goes_on,
		second_harvests),
	PROGRAM("begun-and-begin-sparse", begun_sparse, 320, guest_writes,
		first_goes_on, second_harvests),
	{ .program = { .name = "known-is-no-news",
		       .init = begun,
		       .final = each_hears_once,
		       MODEL_THREADS(first_goes_on, second_harvests) },
	  .executions = 56 },
	/* Q7: who re-arms second does not clear by what it saw before. */
	PROGRAM("both-begun", both_begun, 92, guest_writes, first_goes_on,
		second_goes_on),
	/* Q1, Q6: only what is known is cleared. */
	PROGRAM("neighbour", begun, 168, guest_writes_neighbour, first_goes_on,
		second_harvests),
	/* Q2: nothing beyond the chunk is cleared; each chunk is re-armed
	 * before it is read. */
	PROGRAM("next-chunk", long_begun, 2, guest_writes_next_chunk,
		first_goes_on),
	PROGRAM("two-chunks", two_chunks_begun, 9, guest_writes_both,
		first_goes_on),
	/* C3: what is not committed comes back. */
	PROGRAM("abort", begun, 118, guest_writes, first_aborts,
		second_harvests),
	PROGRAM("abort-both-begun", both_begun, 46, guest_writes, first_aborts,
		second_goes_on),
	PROGRAM("commit-early", two_chunks_begun, 5, guest_writes_both,
		first_commits_early),
	PROGRAM("commit-early-in-word", two_extents_begun, 2,
		guest_writes_neighbour, first_commits_early),
	/* C7, Q8: an error loses nothing. */
	PROGRAM("rearm-fails", failing_rearm, 16, guest_writes_neighbour,
		first_tries_to_go_on, second_tries_to_go_on),
	PROGRAM("clear-fails", failing_clear, 18, guest_writes, first_tries,
		second_tries),
	PROGRAM("get-fails", failing_get, 18, guest_writes, first_tries,
		second_tries),
	/* A client that starts clean hears of every write from then on, and of
	 * none before; one that starts dirty has everything. */
	PROGRAM("open-clean", clear, 38, guest_writes, first_harvests,
		second_opens_clean),
	{ .program = { .name = "open-clean-at-rest",
		       .init = clear,
		       .final = second_hears_nothing,
		       MODEL_THREADS(first_harvests, second_opens_clean) },
	  .executions = 6 },
	PROGRAM("open-first", nobody, 4, guest_writes, second_opens_clean),
	PROGRAM("open-first-all-set", initially_set, 4, guest_writes,
		second_opens_clean),
	PROGRAM("open-dirty", all_dirty, 2582, guest_writes, first_harvests,
		second_opens_dirty),
	/* Q28: one client's end is not the other's. */
	PROGRAM("close", both_begun, 30, guest_writes, first_closes,
		second_goes_on),
	/* A tracker that goes is not in use; one that comes has missed
	 * nothing. */
	PROGRAM("detach", detached, 22, guest_writes, first_tries,
		space_detaches),
	PROGRAM("attach", unattached, 10, guest_writes, first_tries,
		model_attach),
	/* Questions do not race with answers. */
	PROGRAM("ask-pages", telling, 4, first_goes_on, second_asks_pages),
	PROGRAM("ask-stats", telling, 4, first_goes_on, second_asks_stats),
	PROGRAM("want-all", telling, 4, first_goes_on, second_wants_all),
	PROGRAM("ask-space-stats", telling, 4, first_goes_on,
		somebody_asks_stats),
	PROGRAM("ask-tracker", detached, 2, space_detaches,
		somebody_asks_tracker),
	PROGRAM("grow-chunks", telling, 4, first_goes_on, chunks_grow),
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
