/* SPDX-License-Identifier: MIT */
/*
 * receive.c - the destination of a migration
 *
 * Theory of operation
 * -------------------
 * Reads a frame, asks protocol.c whether it may come now, takes what is in
 * it, and answers.  The data of PAGES goes from the socket straight to where
 * it belongs (landing.c); the checksum is compared there.  That is safe
 * because nothing runs in this memory before GO, and a migration that failed
 * never gets there.
 *
 * Every number that comes in is compared with a limit before it is used:
 * sizes of frames in stream.c, slots and pages in landing.c.  Memory is asked
 * for only after the slot fits memory_bytes_max.
 *
 * ACK promises that everything is here: END carries the source's counts of
 * pages, rounds, states and slots, and they must equal ours.  Between END and
 * GO the source has nothing to say: bytes that are already there when ACK is
 * about to be sent are an error.
 *
 * Invariants
 *   I1  start is called at most once, after GO, and only in a transfer in
 *       which no check failed
 *   I2  an error is returned only if the guest was not started
 *
 * Synchronisation
 *   One thread.
 */
#include "migrate/receive.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/options.h"
#include "migrate/channel.h"
#include "migrate/landing.h"
#include "migrate/protocol.h"

#define LAST_WORDS_NS 500000000u

struct receiver {
	const struct tide_migrate_receive_config *config;
	struct tide_framing *framing;
	struct tide_channel *channel; /* may be NULL */
	struct tide_migrate_stats *stats;
	struct tide_sentence *why;
	struct tide_dest dest;
	struct tide_landing landing;
	struct tide_totals totals;
	struct tide_round round;
	struct tide_frame frame; /* the one that came last */
	uint64_t begin_ns;
	uint64_t stop_at_ns; /* the last round began; 0: not yet */
	struct tide_run runs[TIDE_FRAME_RUNS_MAX];
	struct iovec iov[TIDE_FRAME_RUNS_MAX];
};

static int report(struct receiver *receiver)
{
	receiver->stats->total_ns = tide_now_ns() - receiver->begin_ns;
	receiver->stats->bytes_sent = receiver->framing->bytes_in;
	receiver->stats->memory_bytes =
		receiver->landing.npages * TIDE_PAGE_SIZE;
	if (!receiver->config->progress ||
	    !receiver->config->progress(receiver->config->opaque,
					receiver->stats))
		return 0;
	if (receiver->dest.phase >= TIDE_DEST_STARTING)
		return 0; /* too late */
	return tide_say(receiver->why, -ECANCELED, "cancelled by the caller");
}

static int enter(struct receiver *receiver, enum tide_migrate_phase phase)
{
	receiver->stats->phase = phase;
	return report(receiver);
}

static int take_hello(struct receiver *receiver)
{
	struct tide_hello hello;
	int err = tide_hello_decode(receiver->framing->meta, &hello,
				    receiver->why);

	if (err)
		return err;
	if (hello.memory_bytes / TIDE_PAGE_SIZE > receiver->landing.npages_max)
		return tide_say(
			receiver->why, -EFBIG,
			"the source has %llu bytes of memory, the "
			"limit is %llu",
			(unsigned long long)hello.memory_bytes,
			(unsigned long long)receiver->config->memory_bytes_max);
	return 0;
}

static int take_slot(struct receiver *receiver)
{
	struct tide_slot_info info;
	int err =
		tide_slot_decode(receiver->framing->meta, &info, receiver->why);

	if (!err)
		err = tide_landing_check(&receiver->landing, &info, NULL);
	if (err)
		return err;

	struct tide_slot_info answer = info;

	err = receiver->config->slot(receiver->config->opaque, &answer);
	if (err)
		return tide_say_errno(receiver->why, err, "slot callback");
	info.host = answer.host; /* nothing else is the callback's */
	return tide_landing_add(&receiver->landing, &info);
}

static int slot_change(struct receiver *receiver,
		       const struct tide_slot_info *was,
		       const struct tide_slot_info *now)
{
	if (!receiver->config->slot_change)
		return tide_say(receiver->why, -EOPNOTSUPP,
				"the source changed slot %u, and this "
				"destination cannot",
				was->id);

	int err = receiver->config->slot_change(receiver->config->opaque, was,
						now);

	if (err)
		return tide_say_errno(receiver->why, err,
				      "slot_change callback");
	return 0;
}

static int take_slot_change(struct receiver *receiver)
{
	struct tide_slot_info info;
	int err =
		tide_slot_decode(receiver->framing->meta, &info, receiver->why);

	if (err)
		return err;

	struct tide_landing_slot *slot =
		tide_landing_find(&receiver->landing, info.id);

	if (!slot || slot->info.npages != info.npages)
		return tide_say(receiver->why, -EPROTO,
				"slot %u cannot be changed into that", info.id);
	err = tide_landing_check(&receiver->landing, &info, slot);
	if (err)
		return err;
	info.host = slot->info.host;
	err = slot_change(receiver, &slot->info, &info);
	if (!err)
		slot->info = info;
	return err;
}

static int take_slot_gone(struct receiver *receiver)
{
	uint32_t id;
	int err = tide_slot_gone_decode(receiver->framing->meta, &id,
					receiver->why);

	if (err)
		return err;

	struct tide_landing_slot *slot =
		tide_landing_find(&receiver->landing, id);

	if (!slot)
		return tide_say(receiver->why, -EPROTO,
				"slot %u goes, but never came", id);
	err = slot_change(receiver, &slot->info, NULL);
	if (!err)
		tide_landing_remove(&receiver->landing, slot);
	return err;
}

static int take_round(struct receiver *receiver)
{
	const struct tide_round *round = &receiver->round;
	bool last = round->last;

	receiver->totals.rounds = round->index;
	receiver->stats->rounds = round->index;
	receiver->stats->round_pages = round->npages;
	receiver->stats->round_pages_done = 0;
	if (last)
		receiver->stop_at_ns = tide_now_ns();
	return enter(receiver,
		     last ? TIDE_MIGRATE_STOPPED : TIDE_MIGRATE_PRECOPY);
}

static int take_pages(struct receiver *receiver)
{
	uint32_t count;
	int err = tide_runs_decode(&receiver->frame, receiver->framing->meta,
				   receiver->runs, &count, receiver->why);

	if (err)
		return err;

	int places = tide_landing_place(&receiver->landing, receiver->runs,
					count, receiver->iov);

	if (places < 0)
		return places;
	err = tide_framing_receive_data(receiver->framing, &receiver->frame,
					receiver->iov, (uint32_t)places);
	if (err)
		return err;

	uint64_t npages = receiver->frame.data_size / TIDE_PAGE_SIZE;

	receiver->totals.pages_sent += npages;
	receiver->stats->pages_sent += npages;
	receiver->stats->round_pages_done += npages;
	return 0;
}

static int take_zero(struct receiver *receiver)
{
	uint32_t count;
	int err = tide_runs_decode(&receiver->frame, receiver->framing->meta,
				   receiver->runs, &count, receiver->why);

	if (!err)
		err = tide_landing_zero(&receiver->landing, receiver->runs,
					count);
	for (uint32_t i = 0; !err && i < count; i++) {
		receiver->totals.pages_zero += receiver->runs[i].npages;
		receiver->stats->pages_zero += receiver->runs[i].npages;
		receiver->stats->round_pages_done += receiver->runs[i].npages;
	}
	return err;
}

/* The load callback failed; it may have said why, in the caller's words. */
static int say_load(struct receiver *receiver, int err)
{
	const struct tide_migrate_receive_config *config = receiver->config;

	if (config->message && config->message_size && config->message[0])
		return tide_say(receiver->why, err, "%s", config->message);
	return tide_say_errno(receiver->why, err, "load callback");
}

static int take_state(struct receiver *receiver)
{
	struct tide_state_name state;
	size_t size = receiver->frame.data_size;
	int err = tide_state_decode(receiver->framing->meta, &state,
				    receiver->why);

	if (err)
		return err;
	assert(size <= TIDE_STATE_MAX);

	uint8_t *data = malloc(size ? size : 1);

	if (!data)
		return tide_say_errno(receiver->why, -ENOMEM, "state");
	if (size) {
		struct iovec iov = { .iov_base = data, .iov_len = size };

		err = tide_framing_receive_data(receiver->framing,
						&receiver->frame, &iov, 1);
	}
	if (!err) {
		err = receiver->config->load(receiver->config->opaque,
					     state.name, state.index, data,
					     size);
		if (err)
			(void)say_load(receiver, err);
	}
	free(data);
	receiver->totals.states++;
	return err;
}

static int take_end(struct receiver *receiver)
{
	struct tide_totals totals;
	int err = tide_totals_decode(receiver->framing->meta, &totals,
				     receiver->why);

	if (err)
		return err;
	receiver->totals.slots = receiver->landing.count;
	if (totals.pages_sent != receiver->totals.pages_sent ||
	    totals.pages_zero != receiver->totals.pages_zero ||
	    totals.rounds != receiver->totals.rounds ||
	    totals.states != receiver->totals.states ||
	    totals.slots != receiver->totals.slots)
		return tide_say(receiver->why, -EPROTO,
				"the source counts differently at the end");
	if (receiver->channel && tide_channel_has_input(receiver->channel))
		return tide_say(receiver->why, -EPROTO,
				"something comes behind the end");
	return enter(receiver, TIDE_MIGRATE_HANDOVER);
}

/* What is in the frame that came last. */
static int take(struct receiver *receiver)
{
	switch (receiver->frame.type) {
	case TIDE_FRAME_HELLO:
		return take_hello(receiver);
	case TIDE_FRAME_SLOT:
		return take_slot(receiver);
	case TIDE_FRAME_SLOT_CHANGE:
		return take_slot_change(receiver);
	case TIDE_FRAME_SLOT_GONE:
		return take_slot_gone(receiver);
	case TIDE_FRAME_ROUND:
		return take_round(receiver);
	case TIDE_FRAME_PAGES:
		return take_pages(receiver);
	case TIDE_FRAME_ZERO:
		return take_zero(receiver);
	case TIDE_FRAME_STATE:
		return take_state(receiver);
	case TIDE_FRAME_END:
		return take_end(receiver);
	default:
		assert(!"a frame that protocol.c does not let pass");
		return -EPROTO;
	}
}

static int say(struct receiver *receiver, uint16_t type)
{
	struct tide_hello hello = {
		.version = TIDE_STREAM_VERSION,
		.page_shift = TIDE_PAGE_SHIFT,
	};
	uint8_t meta[TIDE_META_MAX];
	size_t size = type == TIDE_FRAME_WELCOME
			      ? tide_hello_encode(&hello, meta)
			      : 0;
	int err =
		tide_framing_send(receiver->framing, type, meta, size, NULL, 0);

	return err ? tide_say_errno(receiver->why, err, "answering") : 0;
}

static int start(struct receiver *receiver)
{
	int err = receiver->config->start(receiver->config->opaque); /* I1 */

	return err ? tide_say_errno(receiver->why, err, "start callback") : 0;
}

static int io_failed(struct receiver *receiver, int error)
{
	if (error == -ETIMEDOUT && !receiver->why->text[0])
		return tide_say(receiver->why, error,
				"the deadline has passed");
	return tide_say_errno(receiver->why, error, "connection");
}

static struct tide_dest_event fail_event(int error)
{
	return (struct tide_dest_event){
		.type = TIDE_DEST_EV_FAIL,
		.error = error,
	};
}

/* The next frame, as an event. */
static struct tide_dest_event listen_to_peer(struct receiver *receiver)
{
	struct tide_frame *frame = &receiver->frame;
	int err = receiver->channel ? tide_channel_check(receiver->channel) : 0;

	if (!err)
		err = tide_framing_receive(receiver->framing, frame);
	if (err)
		return fail_event(io_failed(receiver, err));
	if (frame->type == TIDE_FRAME_ERROR)
		return fail_event(tide_framing_hear_complaint(receiver->framing,
							      frame, "source"));
	if (frame->type == TIDE_FRAME_ROUND) {
		err = tide_round_decode(receiver->framing->meta,
					&receiver->round, receiver->why);
		if (err)
			return fail_event(err);
	}
	return (struct tide_dest_event){
		.type = TIDE_DEST_EV_FRAME,
		.frame = frame->type,
		.round = receiver->round,
	};
}

/* What the protocol asked for, up to the first failure. */
static struct tide_dest_event act(struct receiver *receiver, uint32_t acts)
{
	int err = 0;

	if (acts & TIDE_DEST_TAKE)
		err = take(receiver);
	if (!err && (acts & TIDE_DEST_SAY_WELCOME))
		err = say(receiver, TIDE_FRAME_WELCOME);
	if (!err && (acts & TIDE_DEST_SAY_ACK))
		err = say(receiver, TIDE_FRAME_ACK);
	if (!err && (acts & TIDE_DEST_START)) {
		err = start(receiver);
		if (!err)
			return (struct tide_dest_event){
				.type = TIDE_DEST_EV_STARTED,
			};
	}
	if (err)
		return fail_event(io_failed(receiver, err));
	return listen_to_peer(receiver);
}

static void part(struct receiver *receiver, uint32_t acts, int result)
{
	struct tide_channel *channel = receiver->channel;

	if (channel)
		channel->deadline_at_ns = tide_now_ns() + LAST_WORDS_NS;
	/* Best effort, all of it: we have failed already. */
	if (acts & TIDE_DEST_SAY_ERROR)
		(void)tide_framing_complain(receiver->framing, result);
	if (channel)
		tide_channel_part(channel);
}

static int drive(struct receiver *receiver)
{
	struct tide_dest_event event;
	struct tide_step step;
	int err = enter(receiver, TIDE_MIGRATE_SETUP);

	event = err ? fail_event(err) : listen_to_peer(receiver);
	for (;;) {
		step = tide_dest_step(&receiver->dest, &event);
		if (step.why)
			(void)tide_say(receiver->why, step.result, "%s (%s)",
				       step.why,
				       tide_frame_name(receiver->frame.type));
		if (step.acts & TIDE_DEST_RETURN)
			break;
		event = act(receiver, step.acts);
	}
	if (step.acts & TIDE_DEST_SAY_RUNNING)
		/* The guest runs whether or not the source learns of it. */
		(void)say(receiver, TIDE_FRAME_RUNNING);
	if (receiver->stop_at_ns)
		receiver->stats->downtime_ns =
			tide_now_ns() - receiver->stop_at_ns;
	if (step.result)
		part(receiver, step.acts, step.result);
	/* What progress answers now does not matter any more. */
	(void)enter(receiver,
		    step.result ? TIDE_MIGRATE_FAILED : TIDE_MIGRATE_DONE);
	return step.result; /* I2 */
}

int tide_receive_run(struct tide_framing *framing, struct tide_channel *channel,
		     const struct tide_migrate_receive_config *config,
		     struct tide_migrate_stats *stats)
{
	struct receiver *receiver = calloc(1, sizeof(*receiver));

	if (!receiver)
		return -ENOMEM;
	receiver->config = config;
	receiver->framing = framing;
	receiver->channel = channel;
	receiver->stats = stats;
	receiver->why = framing->why;
	receiver->begin_ns = tide_now_ns();
	tide_dest_init(&receiver->dest);
	tide_landing_init(&receiver->landing, config->memory_bytes_max,
			  framing->why);
	if (channel)
		channel->opaque = receiver;

	int err = drive(receiver);

	tide_landing_fini(&receiver->landing);
	free(receiver);
	return err;
}

static int tick(void *opaque)
{
	return report(opaque);
}

static int receive(int fd, const struct tide_migrate_receive_config *config,
		   struct tide_migrate_stats *stats, struct tide_sentence *why)
{
	struct tide_framing *framing = NULL;
	struct tide_channel channel;
	int err = tide_channel_init(&channel, fd, config->deadline_ns, tick,
				    NULL);

	if (!err)
		err = tide_framing_create(&tide_channel_ops, &channel, why,
					  &framing);
	if (err)
		return tide_say_errno(why, err, "setup");
	err = tide_receive_run(framing, &channel, config, stats);
	tide_framing_destroy(framing);
	return err;
}

int tide_migrate_receive(int fd,
			 const struct tide_migrate_receive_config *config,
			 struct tide_migrate_stats *ret_stats)
{
	struct tide_migrate_receive_config known;
	struct tide_migrate_stats stats = { 0 };
	struct tide_sentence why = { 0 };
	int err =
		tide_options_copy(&known, sizeof(known), config, sizeof(known));

	if (err)
		return err;
	if (known.message && known.message_size)
		known.message[0] = '\0';
	if (!known.slot || !known.load || !known.start)
		return -EINVAL;
	err = receive(fd, &known, &stats, &why);
	tide_sentence_copy(&why, known.message, known.message_size);
	if (ret_stats)
		*ret_stats = stats;
	return err;
}
