/* SPDX-License-Identifier: MIT */
/*
 * protocol.c - what each side of a migration does next, as pure functions
 *
 * Theory of operation
 * -------------------
 * The source:
 *
 *   NEW -> HELLO -> PRECOPY -> STOPPING -> LAST_ROUND -> SAVING -> WAIT_ACK
 *                   ^     |                                           |
 *                   +-----+ another round                    ACK, GO  v
 *                                             DONE <- RUNNING - WAIT_RUNNING
 *
 *   FAIL in any state up to WAIT_ACK leads to FAILED: resume if stop was
 *   called, give every page back, tell the destination, return.  FAIL in
 *   WAIT_RUNNING leads to UNKNOWN: the destination may be running, so the
 *   guest must never run here again.
 *
 * The destination:
 *
 *   HELLO -> PAGES -> STATE -> WAIT_GO -> STARTING -> RUNNING
 *
 *   FAIL in any state before RUNNING leads to FAILED and the guest never runs
 *   here.  After start has returned 0 nothing fails any more: that RUNNING
 *   did not reach the source changes nothing for the guest.
 *
 * When to stop the guest.  After each round the source knows what is dirty
 * now and how fast it has been sending.  It stops when that fits into the
 * downtime target and another round would not bring much: while a round at
 * least halves what is left, one more round costs at most half of the last
 * one and saves downtime.  It stops in any case after rounds_max rounds.
 * Both the rounds below the target and their halving are bounded, so the
 * machine ends for every sequence of events.
 *
 * Invariants
 *   I1  at most one of the two guests runs: the source resumes only if it
 *       has not seen ACK, the destination starts only on GO, and GO is sent
 *       only after ACK was seen
 *   I2  resume is asked for exactly if stop was asked for and ACK not seen
 *   I3  -ENOTRECOVERABLE exactly from WAIT_RUNNING
 *   I4  GIVE_BACK on every way to FAILED
 *   I5  after RETURN a machine accepts no event
 *
 * Synchronisation
 *   None: pure functions on the caller's state.
 */
#include "migrate/protocol.h"

#include <assert.h>
#include <errno.h>

#include "migrate/pace.h"

/* Before anything was measured: a slow disk, a fast network of long ago. */
#define BANDWIDTH_GUESS (100u << 20)

/* Not worth another round, whatever the target. */
#define DOWNTIME_FLOOR_NS 1000000u

#define NS_PER_S 1000000000u

void tide_source_init(struct tide_source *source, uint64_t downtime_target_ns,
		      uint32_t rounds_max)
{
	*source = (struct tide_source){
		.phase = TIDE_SOURCE_NEW,
		.rounds_max = rounds_max,
		.downtime_target_ns = downtime_target_ns,
	};
}

bool tide_source_may_cancel(const struct tide_source *source)
{
	return source->phase < TIDE_SOURCE_WAIT_RUNNING;
}

uint64_t tide_transfer_ns(uint64_t bytes, uint64_t bandwidth)
{
	if (!bandwidth)
		bandwidth = BANDWIDTH_GUESS;
	return tide_mul_div(bytes, NS_PER_S, bandwidth);
}

/* Is it time to stop the guest?  See "When to stop" above. */
static bool rest_fits(struct tide_source *source,
		      const struct tide_source_event *event)
{
	uint64_t expected_ns =
		tide_transfer_ns(event->remaining_bytes, event->bandwidth);

	source->expected_downtime_ns = expected_ns;
	if (source->rounds >= source->rounds_max)
		return true;
	if (expected_ns > source->downtime_target_ns)
		return false;
	if (expected_ns <= DOWNTIME_FLOOR_NS)
		return true;
	return event->remaining_bytes > event->round_bytes / 2;
}

static struct tide_step source_go(struct tide_source *source,
				  enum tide_source_phase phase, uint32_t acts)
{
	source->phase = phase;
	return (struct tide_step){ .acts = acts };
}

static struct tide_step source_fail(struct tide_source *source, int error)
{
	struct tide_step step = { .result = error };

	assert(error < 0);
	if (source->phase == TIDE_SOURCE_WAIT_RUNNING) {
		source->phase = TIDE_SOURCE_UNKNOWN;
		step.acts = TIDE_SOURCE_RETURN;
		step.result = -ENOTRECOVERABLE; /* I3 */
		return step;
	}
	/* Also after a stop that failed: it may have stopped some. */
	if (source->phase >= TIDE_SOURCE_STOPPING)
		step.acts |= TIDE_SOURCE_RESUME; /* I2 */
	step.acts |= TIDE_SOURCE_GIVE_BACK | TIDE_SOURCE_SAY_ERROR |
		     TIDE_SOURCE_RETURN;
	source->phase = TIDE_SOURCE_FAILED;
	return step;
}

/* An event that cannot come now: the other side does not keep the rules. */
static struct tide_step source_nonsense(struct tide_source *source)
{
	struct tide_step step = source_fail(source, -EPROTO);

	step.why = "the destination answers out of turn";
	return step;
}

static bool source_expects(const struct tide_source *source,
			   enum tide_source_event_type type)
{
	static const enum tide_source_phase when[] = {
		[TIDE_SOURCE_EV_BEGIN] = TIDE_SOURCE_NEW,
		[TIDE_SOURCE_EV_WELCOME] = TIDE_SOURCE_HELLO,
		[TIDE_SOURCE_EV_ROUND_SENT] = TIDE_SOURCE_PRECOPY,
		[TIDE_SOURCE_EV_STOPPED] = TIDE_SOURCE_STOPPING,
		[TIDE_SOURCE_EV_LAST_SENT] = TIDE_SOURCE_LAST_ROUND,
		[TIDE_SOURCE_EV_SAVED] = TIDE_SOURCE_SAVING,
		[TIDE_SOURCE_EV_ACK] = TIDE_SOURCE_WAIT_ACK,
		[TIDE_SOURCE_EV_RUNNING] = TIDE_SOURCE_WAIT_RUNNING,
	};

	assert(type < TIDE_SOURCE_EV_FAIL);
	return source->phase == when[type];
}

struct tide_step tide_source_step(struct tide_source *source,
				  const struct tide_source_event *event)
{
	assert(source->phase < TIDE_SOURCE_DONE); /* I5 */
	if (event->type == TIDE_SOURCE_EV_FAIL)
		return source_fail(source, event->error);
	if (!source_expects(source, event->type))
		return source_nonsense(source);

	switch (event->type) {
	case TIDE_SOURCE_EV_BEGIN:
		return source_go(source, TIDE_SOURCE_HELLO,
				 TIDE_SOURCE_SAY_HELLO);
	case TIDE_SOURCE_EV_WELCOME:
		return source_go(source, TIDE_SOURCE_PRECOPY,
				 TIDE_SOURCE_ROUND);
	case TIDE_SOURCE_EV_ROUND_SENT:
		source->rounds++;
		if (!rest_fits(source, event))
			return source_go(source, TIDE_SOURCE_PRECOPY,
					 TIDE_SOURCE_ROUND);
		return source_go(source, TIDE_SOURCE_STOPPING,
				 TIDE_SOURCE_STOP);
	case TIDE_SOURCE_EV_STOPPED:
		return source_go(source, TIDE_SOURCE_LAST_ROUND,
				 TIDE_SOURCE_ROUND_LAST);
	case TIDE_SOURCE_EV_LAST_SENT:
		source->rounds++;
		return source_go(source, TIDE_SOURCE_SAVING, TIDE_SOURCE_SAVE);
	case TIDE_SOURCE_EV_SAVED:
		return source_go(source, TIDE_SOURCE_WAIT_ACK,
				 TIDE_SOURCE_SAY_END);
	case TIDE_SOURCE_EV_ACK:
		return source_go(source, TIDE_SOURCE_WAIT_RUNNING,
				 TIDE_SOURCE_SAY_GO);
	case TIDE_SOURCE_EV_RUNNING:
		return source_go(source, TIDE_SOURCE_DONE, TIDE_SOURCE_RETURN);
	case TIDE_SOURCE_EV_FAIL:
		break;
	}
	return source_fail(source, -EINVAL);
}

void tide_dest_init(struct tide_dest *dest)
{
	*dest = (struct tide_dest){ .phase = TIDE_DEST_HELLO };
}

static struct tide_step dest_fail(struct tide_dest *dest, int error,
				  const char *why)
{
	struct tide_step step = {
		.acts = TIDE_DEST_SAY_ERROR | TIDE_DEST_RETURN,
		.result = error,
		.why = why,
	};

	assert(error < 0);
	if (dest->phase == TIDE_DEST_RUNNING) {
		/* RUNNING could not be said; the guest runs all the same. */
		step.acts = TIDE_DEST_RETURN;
		step.result = 0;
		return step;
	}
	dest->phase = TIDE_DEST_FAILED;
	return step;
}

static struct tide_step dest_round(struct tide_dest *dest,
				   const struct tide_round *round)
{
	if (dest->last_round)
		return dest_fail(dest, -EPROTO,
				 "a round comes after the last one");
	if (round->index != dest->rounds + 1)
		return dest_fail(dest, -EPROTO, "a round is out of order");
	dest->rounds++;
	dest->last_round = round->last;
	return (struct tide_step){ .acts = TIDE_DEST_TAKE };
}

/* Slots, rounds, pages; the first piece of state or END closes it. */
static struct tide_step dest_in_pages(struct tide_dest *dest,
				      const struct tide_dest_event *event)
{
	switch (event->frame) {
	case TIDE_FRAME_SLOT:
	case TIDE_FRAME_SLOT_CHANGE:
	case TIDE_FRAME_SLOT_GONE:
		return (struct tide_step){ .acts = TIDE_DEST_TAKE };
	case TIDE_FRAME_ROUND:
		return dest_round(dest, &event->round);
	case TIDE_FRAME_PAGES:
	case TIDE_FRAME_ZERO:
		if (!dest->rounds)
			return dest_fail(dest, -EPROTO,
					 "pages come before the first round");
		return (struct tide_step){ .acts = TIDE_DEST_TAKE };
	case TIDE_FRAME_STATE:
	case TIDE_FRAME_END:
		if (!dest->last_round)
			return dest_fail(dest, -EPROTO,
					 "the stream ends before a last round");
		if (event->frame == TIDE_FRAME_STATE) {
			dest->phase = TIDE_DEST_STATE;
			return (struct tide_step){ .acts = TIDE_DEST_TAKE };
		}
		dest->phase = TIDE_DEST_WAIT_GO;
		return (struct tide_step){ .acts = TIDE_DEST_TAKE |
						   TIDE_DEST_SAY_ACK };
	default:
		return dest_fail(dest, -EPROTO,
				 "a frame comes that may not come here");
	}
}

static struct tide_step dest_frame(struct tide_dest *dest,
				   const struct tide_dest_event *event)
{
	switch (dest->phase) {
	case TIDE_DEST_HELLO:
		if (event->frame != TIDE_FRAME_HELLO)
			break;
		dest->phase = TIDE_DEST_PAGES;
		return (struct tide_step){ .acts = TIDE_DEST_TAKE |
						   TIDE_DEST_SAY_WELCOME };
	case TIDE_DEST_PAGES:
		return dest_in_pages(dest, event);
	case TIDE_DEST_STATE:
		if (event->frame == TIDE_FRAME_STATE)
			return (struct tide_step){ .acts = TIDE_DEST_TAKE };
		if (event->frame != TIDE_FRAME_END)
			break;
		dest->phase = TIDE_DEST_WAIT_GO;
		return (struct tide_step){ .acts = TIDE_DEST_TAKE |
						   TIDE_DEST_SAY_ACK };
	case TIDE_DEST_WAIT_GO:
		if (event->frame != TIDE_FRAME_GO)
			break;
		dest->phase = TIDE_DEST_STARTING; /* I1 */
		return (struct tide_step){ .acts = TIDE_DEST_START };
	case TIDE_DEST_STARTING:
	case TIDE_DEST_RUNNING:
	case TIDE_DEST_FAILED:
		break;
	}
	return dest_fail(dest, -EPROTO, "a frame comes that may not come here");
}

struct tide_step tide_dest_step(struct tide_dest *dest,
				const struct tide_dest_event *event)
{
	assert(dest->phase != TIDE_DEST_FAILED); /* I5 */
	switch (event->type) {
	case TIDE_DEST_EV_FRAME:
		return dest_frame(dest, event);
	case TIDE_DEST_EV_STARTED:
		assert(dest->phase == TIDE_DEST_STARTING);
		dest->phase = TIDE_DEST_RUNNING;
		return (struct tide_step){ .acts = TIDE_DEST_SAY_RUNNING |
						   TIDE_DEST_RETURN };
	case TIDE_DEST_EV_FAIL:
		break;
	}
	return dest_fail(dest, event->error, NULL);
}
