/* SPDX-License-Identifier: MIT */
/*
 * send.c - the source of a migration
 *
 * Theory of operation
 * -------------------
 * Carries out what protocol.c decides.  A round is one harvest: for each
 * extent the pages are looked at (absent, zero, or with contents), collected
 * into frames, and sent; when all of the round has been handed to the socket
 * the harvest is committed.  Between two rounds a harvest is begun and aborted
 * at once: that collects what the tracker knows and tells exactly how much is
 * dirty, without taking any of it.
 *
 * Live pages are copied before they are sent.  The guest writes while we
 * send, and the checksum must be that of the bytes which leave: pages are
 * gathered in a buffer that stays in the cache (BATCH_PAGES), and checksum
 * and sendmsg both read the copy.  That the copy itself may be torn is fine:
 * the page was re-armed before it was handed out (C2), so the write that tore
 * it makes it dirty again.  In the last round nobody writes, and frames
 * gather straight from guest memory (LAST_PAGES at a time).
 *
 * A page that is zero is sent as part of a zero run, in every round: one that
 * had contents before must be cleared there too.
 *
 * Slots that are not logged are sent whole in the last round, and only then:
 * nobody says which of their pages were written.
 *
 * Slots that come, go or move are announced, see roster.c.  Between stop and
 * the end they must not change; if they do, the migration fails with -EBUSY,
 * or what became dirty by it is sent in the last round, too.
 *
 * Failure before ACK: the harvest is aborted, the guest resumed, and every
 * page made dirty for the client again: rounds that were committed are lost
 * with the destination.  The same is done before the first round, so that it
 * does not matter what the client had consumed before.
 *
 * Invariants
 *   I1  a page is read only after next handed it out, or while stopped
 *   I2  a harvest is committed only after all its pages were handed to the
 *       socket
 *   I3  no frame is sent between a page's collection and its frame that would
 *       change what its slot id means: slots are synced on empty batches
 *   I4  only time inside the socket's write counts as bandwidth
 *
 * Synchronisation
 *   One thread.  Guest memory is read while the guest writes it, by design.
 */
#include <tidemark/migrate.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <tidemark/client.h>

#include "base/clock.h"
#include "base/options.h"
#include "migrate/channel.h"
#include "migrate/framing.h"
#include "migrate/pace.h"
#include "migrate/presence.h"
#include "migrate/protocol.h"
#include "migrate/roster.h"

#define BATCH_PAGES 64u /* 256 KiB: stays in a second-level cache */
#define LAST_PAGES 128u /* straight from guest memory, checked in the cache */
#define PRESENCE_PAGES_MIN 64u	 /* fewer are quicker read than looked up */
#define SYNC_ATTEMPTS_MAX 4	 /* slots that keep returning */
#define HEAR_NS 2000000000u	 /* for the last words of the other side */
#define LAST_WORDS_NS 500000000u /* for ours */
#define DOWNTIME_TARGET_NS 300000000u
#define ROUNDS_MAX 30u

_Static_assert(BATCH_PAGES <= TIDE_FRAME_PAGES_MAX, "a batch is one frame");
_Static_assert(LAST_PAGES <= TIDE_FRAME_PAGES_MAX, "the last ones too");
_Static_assert(TIDE_FRAME_RUNS_MAX >= TIDE_FRAME_PAGES_MAX,
	       "a frame of single pages fits");

/* Pages collected for one frame. */
struct batch {
	uint8_t *copy;	 /* BATCH_PAGES pages */
	bool live;	 /* pages go to copy; else iov points at them */
	uint32_t npages; /* of PAGES */
	uint32_t count;	 /* of runs */
	struct tide_run runs[TIDE_FRAME_RUNS_MAX];
	struct iovec iov[TIDE_FRAME_RUNS_MAX]; /* one for each run */
	uint32_t zero_count;
	struct tide_run zero_runs[TIDE_FRAME_RUNS_MAX];
};

struct tide_migrate {
	struct tide_space *space;
	struct tide_client *client;
	struct tide_migrate_send_config config;
	struct tide_source source;
	struct tide_migrate_stats stats;
	struct tide_sentence why;
	struct tide_channel channel;
	struct tide_framing *framing;
	struct tide_roster roster;
	struct tide_harvest *harvest; /* NULL: none open */
	struct tide_bucket bucket;
	struct tide_meter meter;
	struct tide_totals totals;
	uint64_t begin_ns;
	uint64_t stop_at_ns; /* 0: not stopped */
	uint64_t end_at_ns;  /* 0: END is not sent */
	bool saving;	     /* inside the save callback */
	int save_error;	     /* what put_state said first */
	uint8_t meta[TIDE_META_MAX];
	struct tide_presence presence;
	struct batch batch;
};

static int report(struct tide_migrate *migrate)
{
	migrate->stats.total_ns = tide_now_ns() - migrate->begin_ns;
	if (migrate->framing)
		migrate->stats.bytes_sent = migrate->framing->bytes_out;
	if (!migrate->config.progress ||
	    !migrate->config.progress(migrate->config.opaque, &migrate->stats))
		return 0;
	if (!tide_source_may_cancel(&migrate->source))
		return 0; /* too late */
	return tide_say(&migrate->why, -ECANCELED, "cancelled by the caller");
}

static int tick(void *opaque)
{
	return report(opaque);
}

static int enter(struct tide_migrate *migrate, enum tide_migrate_phase phase)
{
	migrate->stats.phase = phase;
	return report(migrate);
}

static int io_failed(struct tide_migrate *migrate, int error, const char *what)
{
	if (error == -ETIMEDOUT && !migrate->why.text[0])
		return tide_say(&migrate->why, error,
				"%s: the deadline has passed", what);
	return tide_say_errno(&migrate->why, error, what);
}

/* What the destination says while it should listen. */
static int hear(struct tide_migrate *migrate, int error)
{
	struct tide_channel *channel = &migrate->channel;
	uint64_t until_ns = tide_now_ns() + HEAR_NS;
	struct tide_frame frame;

	if (!channel->deadline_at_ns || channel->deadline_at_ns > until_ns)
		channel->deadline_at_ns = until_ns;

	int err = tide_framing_receive(migrate->framing, &frame);

	if (!err && frame.type == TIDE_FRAME_ERROR)
		return tide_framing_hear_complaint(migrate->framing, &frame,
						   "destination");
	if (!err)
		return tide_say(&migrate->why, -EPROTO,
				"the destination answers out of turn");
	if (error == -EREMOTEIO) /* it said something; what it was is err */
		error = err;
	return tide_say_errno(&migrate->why, error, "connection");
}

/* After an error of sending: perhaps the destination has said why. */
static int send_failed(struct tide_migrate *migrate, int error)
{
	if (error == -EREMOTEIO || error == -EPIPE || error == -ECONNRESET)
		return hear(migrate, error);
	return io_failed(migrate, error, "sending");
}

/* One frame at the pace that is allowed. */
static int send_frame(struct tide_migrate *migrate, uint16_t type,
		      size_t meta_size, const struct iovec *data,
		      uint32_t count)
{
	uint64_t bytes_before = migrate->framing->bytes_out;
	uint64_t ns_before = migrate->channel.write_ns;
	int err = tide_channel_check(&migrate->channel);

	while (!err) {
		uint64_t ns =
			tide_bucket_wait_ns(&migrate->bucket, tide_now_ns());

		if (!ns)
			break;
		err = tide_channel_pause(&migrate->channel, ns);
	}
	if (!err)
		err = tide_framing_send(migrate->framing, type, migrate->meta,
					meta_size, data, count);
	if (err)
		return send_failed(migrate, err);

	uint64_t bytes = migrate->framing->bytes_out - bytes_before;

	tide_bucket_take(&migrate->bucket, bytes);
	tide_meter_add(&migrate->meter, bytes,
		       migrate->channel.write_ns - ns_before); /* I4 */
	return 0;
}

/* A frame while the destination has nothing to say.  If it does say something
 * it has given up:an early look costs a call a frame and can save minutes. */

static int send_content(struct tide_migrate *migrate, uint16_t type,
			size_t meta_size, const struct iovec *data,
			uint32_t count)
{
	int err = send_frame(migrate, type, meta_size, data, count);

	if (!err && tide_channel_has_input(&migrate->channel))
		err = hear(migrate, -EREMOTEIO);
	return err;
}

static int flush_pages(struct tide_migrate *migrate)
{
	struct batch *batch = &migrate->batch;
	struct iovec copy = {
		.iov_base = batch->copy,
		.iov_len = batch->npages * TIDE_PAGE_SIZE,
	};

	if (!batch->npages)
		return 0;

	size_t size =
		tide_runs_encode(batch->runs, batch->count, migrate->meta);
	int err = send_content(migrate, TIDE_FRAME_PAGES, size,
			       batch->live ? &copy : batch->iov,
			       batch->live ? 1 : batch->count);

	if (err)
		return err;
	migrate->totals.pages_sent += batch->npages;
	migrate->stats.pages_sent += batch->npages;
	batch->npages = 0;
	batch->count = 0;
	return 0;
}

static int flush_zero(struct tide_migrate *migrate)
{
	struct batch *batch = &migrate->batch;
	uint64_t npages = 0;

	if (!batch->zero_count)
		return 0;
	for (uint32_t i = 0; i < batch->zero_count; i++)
		npages += batch->zero_runs[i].npages;

	size_t size = tide_runs_encode(batch->zero_runs, batch->zero_count,
				       migrate->meta);
	int err = send_content(migrate, TIDE_FRAME_ZERO, size, NULL, 0);

	if (err)
		return err;
	migrate->totals.pages_zero += npages;
	migrate->stats.pages_zero += npages;
	batch->zero_count = 0;
	return 0;
}

static int flush(struct tide_migrate *migrate)
{
	int err = flush_pages(migrate);

	return err ? err : flush_zero(migrate);
}

static int add_zero(struct tide_migrate *migrate, uint32_t slot, uint64_t page)
{
	struct batch *batch = &migrate->batch;

	if (batch->zero_count) {
		struct tide_run *last =
			&batch->zero_runs[batch->zero_count - 1];

		if (last->slot == slot && last->first + last->npages == page &&
		    last->npages < UINT32_MAX) {
			last->npages++;
			return 0;
		}
	}
	if (batch->zero_count == TIDE_FRAME_RUNS_MAX) {
		int err = flush_zero(migrate);

		if (err)
			return err;
	}
	batch->zero_runs[batch->zero_count++] = (struct tide_run){
		.slot = slot,
		.npages = 1,
		.first = page,
	};
	return 0;
}

static int add_page(struct tide_migrate *migrate, uint32_t slot, uint64_t page,
		    const uint8_t *host)
{
	struct batch *batch = &migrate->batch;

	if (batch->live)
		memcpy(batch->copy + batch->npages * TIDE_PAGE_SIZE, host,
		       TIDE_PAGE_SIZE);

	struct tide_run *last =
		batch->count ? &batch->runs[batch->count - 1] : NULL;

	batch->npages++;
	if (last && last->slot == slot && last->first + last->npages == page) {
		batch->iov[batch->count - 1].iov_len += TIDE_PAGE_SIZE;
		last->npages++;
	} else {
		batch->iov[batch->count].iov_base = (void *)(uintptr_t)host;
		batch->iov[batch->count].iov_len = TIDE_PAGE_SIZE;
		batch->runs[batch->count++] = (struct tide_run){
			.slot = slot,
			.npages = 1,
			.first = page,
		};
	}
	if (batch->npages == (batch->live ? BATCH_PAGES : LAST_PAGES))
		return flush_pages(migrate);
	return 0;
}

/* @npages pages from page @first of @slot on; at most PRESENCE_PAGES_MAX. */
static int add_chunk(struct tide_migrate *migrate,
		     const struct tide_slot_info *slot, uint64_t first,
		     uint32_t npages)
{
	const uint8_t *host =
		(const uint8_t *)slot->host + first * TIDE_PAGE_SIZE;
	bool look = (slot->flags & TIDE_SLOT_ANONYMOUS) &&
		    npages >= PRESENCE_PAGES_MIN;
	int err = tide_channel_check(&migrate->channel);

	if (err)
		return io_failed(migrate, err, "reading memory");
	if (look)
		tide_presence_look(&migrate->presence, host, npages);
	for (uint32_t i = 0; !err && i < npages; i++) {
		const uint8_t *page = host + i * TIDE_PAGE_SIZE;

		if ((look && !tide_presence_has(&migrate->presence, i)) ||
		    tide_page_is_zero(page))
			err = add_zero(migrate, slot->id, first + i);
		else
			err = add_page(migrate, slot->id, first + i, page);
	}
	migrate->stats.round_pages_done += npages;
	return err;
}

static int add_pages(struct tide_migrate *migrate,
		     const struct tide_slot_info *slot, uint64_t first,
		     uint64_t npages)
{
	assert(first < slot->npages);
	assert(npages <= slot->npages - first);
	while (npages) {
		uint32_t chunk = npages < TIDE_PRESENCE_PAGES_MAX
					 ? (uint32_t)npages
					 : TIDE_PRESENCE_PAGES_MAX;
		int err = add_chunk(migrate, slot, first, chunk);

		if (err)
			return err;
		first += chunk;
		npages -= chunk;
	}
	return 0;
}

/* Bring the destination's slots up to date.  Return: as tide_roster_sync. */
static int sync_slots(struct tide_migrate *migrate)
{
	int change = flush(migrate); /* I3 */

	if (change)
		return change;
	change = tide_roster_sync(&migrate->roster, migrate->space,
				  migrate->framing);
	if (change < 0 && !migrate->why.text[0])
		return send_failed(migrate, change);
	if (change < 0)
		return change;
	migrate->stats.memory_bytes =
		tide_roster_pages(&migrate->roster) * TIDE_PAGE_SIZE;
	if (change & TIDE_ROSTER_RETURNED)
		tide_client_dirty_all(migrate->client);
	return change;
}

static int add_extent(struct tide_migrate *migrate,
		      const struct tide_extent *extent)
{
	const struct tide_slot_info *slot = NULL;

	if (!(extent->flags & TIDE_EXTENT_GONE))
		slot = tide_roster_find(&migrate->roster, extent->slot,
					extent->host, extent->npages);
	if (!slot) {
		int change = sync_slots(migrate);

		if (change < 0)
			return change;
		if (extent->flags & TIDE_EXTENT_GONE)
			return 0;
		slot = tide_roster_find(&migrate->roster, extent->slot,
					extent->host, extent->npages);
		/* Removed after it was handed out: the destination has been
		 * told, and what is there now instead is dirty as a whole. */
		if (!slot)
			return 0;
	}
	if (slot->flags & TIDE_SLOT_UNLOGGED)
		return 0; /* whole, in the last round */

	uint64_t first = ((uintptr_t)extent->host - (uintptr_t)slot->host) /
			 TIDE_PAGE_SIZE;

	return add_pages(migrate, slot, first, extent->npages);
}

/* Begin a harvest that matches the slots that the destination has. */
static int begin_round(struct tide_migrate *migrate)
{
	for (int i = 0; i < SYNC_ATTEMPTS_MAX; i++) {
		int err =
			tide_harvest_begin(migrate->client, &migrate->harvest);

		if (err) {
			migrate->harvest = NULL;
			return tide_say_errno(&migrate->why, err,
					      "beginning a harvest");
		}

		int change = sync_slots(migrate);

		if (change < 0)
			return change;
		if (!(change & TIDE_ROSTER_RETURNED))
			return 0;
		/* Everything is dirty: begin again to see it. */
		tide_harvest_abort(migrate->harvest);
		migrate->harvest = NULL;
	}
	return tide_say(&migrate->why, -EAGAIN,
			"slots come and go faster than they can be sent");
}

static int send_extents(struct tide_migrate *migrate)
{
	for (;;) {
		struct tide_extent extent;
		int more = tide_harvest_next(migrate->harvest, &extent);

		if (more < 0)
			return tide_say_errno(&migrate->why, more, "harvest");
		if (!more)
			return flush(migrate);

		int err = add_extent(migrate, &extent); /* I1 */

		if (err)
			return err;
	}
}

/* What only a stopped guest allows. */
static int send_unlogged(struct tide_migrate *migrate)
{
	for (uint32_t i = 0; i < migrate->roster.count; i++) {
		const struct tide_slot_info *slot = &migrate->roster.slots[i];

		if (!(slot->flags & TIDE_SLOT_UNLOGGED))
			continue;

		int err = add_pages(migrate, slot, 0, slot->npages);

		if (err)
			return err;
	}

	int change = sync_slots(migrate);

	if (change > 0)
		return tide_say(&migrate->why, -EBUSY,
				"slots changed while the guest was stopped");
	return change;
}

static int commit_round(struct tide_migrate *migrate)
{
	int err = tide_harvest_commit(migrate->harvest); /* I2 */

	migrate->harvest = NULL;
	return err ? tide_say_errno(&migrate->why, err, "harvest") : 0;
}

/*
 * What only a stopped guest allows; and what became dirty behind the last
 * harvest, for which there is no later round.  A slot that was added, or
 * changed and changed back, between that harvest and a look at the slots is
 * announced by then and no change any more, but it is dirty.  So are pages
 * that another client's re-arm gave to all.
 */
static int send_rest(struct tide_migrate *migrate)
{
	for (int i = 0; i < SYNC_ATTEMPTS_MAX; i++) {
		int err = send_unlogged(migrate);

		if (err || !tide_client_pending(migrate->client))
			return err;
		err = commit_round(migrate);
		if (!err)
			err = begin_round(migrate);
		if (!err)
			err = send_extents(migrate);
		if (err)
			return err;
	}
	return tide_say(&migrate->why, -EBUSY,
			"pages became dirty while the guest was stopped");
}

static int send_round(struct tide_migrate *migrate, bool last)
{
	struct tide_round round = {
		.index = migrate->stats.rounds + 1,
		.last = last,
		.npages = migrate->stats.remaining_pages,
	};
	int err = begin_round(migrate);

	if (err)
		return err;
	if (round.index == 1)
		round.npages = tide_roster_pages(&migrate->roster);
	migrate->stats.rounds = round.index;
	migrate->stats.round_pages = round.npages;
	migrate->stats.round_pages_done = 0;
	migrate->batch.live = !last;
	err = send_frame(migrate, TIDE_FRAME_ROUND,
			 tide_round_encode(&round, migrate->meta), NULL, 0);
	if (!err)
		err = send_extents(migrate);
	if (!err && last)
		err = send_rest(migrate);
	return err ? err : commit_round(migrate);
}

/* How much is dirty now?  Collects, takes nothing. */
static int count_dirty(struct tide_migrate *migrate)
{
	int err = tide_harvest_begin(migrate->client, &migrate->harvest);

	if (err) {
		migrate->harvest = NULL;
		return tide_say_errno(&migrate->why, err, "counting");
	}
	tide_harvest_abort(migrate->harvest);
	migrate->harvest = NULL;
	migrate->stats.remaining_pages =
		tide_client_pending(migrate->client) +
		tide_roster_pages_with(&migrate->roster, TIDE_SLOT_UNLOGGED);
	return 0;
}

static struct tide_source_event fail_event(int error)
{
	return (struct tide_source_event){
		.type = TIDE_SOURCE_EV_FAIL,
		.error = error,
	};
}

static struct tide_source_event event_or_fail(int error,
					      enum tide_source_event_type type)
{
	if (error)
		return fail_event(error);
	return (struct tide_source_event){ .type = type };
}

/* Wait for a frame of the destination. */
static struct tide_source_event listen_to_peer(struct tide_migrate *migrate)
{
	struct tide_frame frame;

	migrate->channel.watch_input = false;

	int err = tide_framing_receive(migrate->framing, &frame);

	migrate->channel.watch_input = true;
	if (err)
		return fail_event(
			io_failed(migrate, err, "waiting for the destination"));
	switch (frame.type) {
	case TIDE_FRAME_WELCOME: {
		struct tide_hello hello;

		err = tide_hello_decode(migrate->framing->meta, &hello,
					&migrate->why);
		return event_or_fail(err, TIDE_SOURCE_EV_WELCOME);
	}
	case TIDE_FRAME_ACK:
		return event_or_fail(0, TIDE_SOURCE_EV_ACK);
	case TIDE_FRAME_RUNNING:
		return event_or_fail(0, TIDE_SOURCE_EV_RUNNING);
	case TIDE_FRAME_ERROR:
		err = tide_framing_hear_complaint(migrate->framing, &frame,
						  "destination");
		return fail_event(err);
	default:
		return fail_event(tide_say(&migrate->why, -EPROTO,
					   "the destination sends %s",
					   tide_frame_name(frame.type)));
	}
}

static struct tide_source_event do_hello(struct tide_migrate *migrate)
{
	struct tide_hello hello = {
		.version = TIDE_STREAM_VERSION,
		.page_shift = TIDE_PAGE_SHIFT,
		.features = TIDE_FEATURES_KNOWN,
	};
	int err = enter(migrate, TIDE_MIGRATE_SETUP);

	if (err)
		return fail_event(err);
	tide_client_dirty_all(migrate->client);
	/* Only a label; without randomness it is all zero. */
	(void)getrandom(hello.transfer, sizeof(hello.transfer), GRND_NONBLOCK);
	for (uint32_t i = 0;; i++) {
		struct tide_slot_info slot;

		if (tide_slot_get(migrate->space, i, &slot))
			break;
		hello.memory_bytes += slot.npages * TIDE_PAGE_SIZE;
	}
	migrate->stats.memory_bytes = hello.memory_bytes;
	err = send_frame(migrate, TIDE_FRAME_HELLO,
			 tide_hello_encode(&hello, migrate->meta), NULL, 0);
	return err ? fail_event(err) : listen_to_peer(migrate);
}

static struct tide_source_event do_round(struct tide_migrate *migrate)
{
	uint64_t dirty_before = migrate->stats.remaining_pages;
	int err = enter(migrate, TIDE_MIGRATE_PRECOPY);

	if (!err)
		err = send_round(migrate, false);
	if (!err)
		err = count_dirty(migrate);
	if (err)
		return fail_event(err);
	if (migrate->stats.rounds == 1)
		dirty_before = migrate->stats.round_pages;
	migrate->stats.bandwidth = tide_meter_round(
		&migrate->meter, migrate->config.bandwidth_max);
	migrate->stats.expected_downtime_ns = tide_transfer_ns(
		migrate->stats.remaining_pages * TIDE_PAGE_SIZE,
		migrate->stats.bandwidth);
	return (struct tide_source_event){
		.type = TIDE_SOURCE_EV_ROUND_SENT,
		.round_bytes = dirty_before * TIDE_PAGE_SIZE,
		.remaining_bytes =
			migrate->stats.remaining_pages * TIDE_PAGE_SIZE,
		.bandwidth = migrate->stats.bandwidth,
	};
}

static struct tide_source_event do_stop(struct tide_migrate *migrate)
{
	migrate->stop_at_ns = tide_now_ns();

	int err = migrate->config.stop(migrate->config.opaque);

	migrate->stats.stop_ns = tide_now_ns() - migrate->stop_at_ns;
	if (err)
		return fail_event(
			tide_say_errno(&migrate->why, err, "stop callback"));
	return event_or_fail(enter(migrate, TIDE_MIGRATE_STOPPED),
			     TIDE_SOURCE_EV_STOPPED);
}

static struct tide_source_event do_round_last(struct tide_migrate *migrate)
{
	uint64_t begin_ns = tide_now_ns();
	int err = send_round(migrate, true);

	migrate->stats.final_harvest_ns = tide_now_ns() - begin_ns;
	return event_or_fail(err, TIDE_SOURCE_EV_LAST_SENT);
}

static struct tide_source_event do_save(struct tide_migrate *migrate)
{
	uint64_t begin_ns = tide_now_ns();

	migrate->saving = true;

	int err = migrate->config.save(migrate->config.opaque, migrate);

	migrate->saving = false;
	migrate->stats.state_ns = tide_now_ns() - begin_ns;
	if (migrate->save_error) /* even if the callback forgot it */
		err = migrate->save_error;
	if (err)
		return fail_event(
			tide_say_errno(&migrate->why, err, "save callback"));
	return event_or_fail(0, TIDE_SOURCE_EV_SAVED);
}

static struct tide_source_event do_end(struct tide_migrate *migrate)
{
	migrate->totals.rounds = migrate->stats.rounds;
	migrate->totals.slots = migrate->roster.count;
	migrate->end_at_ns = tide_now_ns();

	int err = send_frame(
		migrate, TIDE_FRAME_END,
		tide_totals_encode(&migrate->totals, migrate->meta), NULL, 0);

	if (!err)
		err = enter(migrate, TIDE_MIGRATE_HANDOVER);
	return err ? fail_event(err) : listen_to_peer(migrate);
}

static struct tide_source_event do_go(struct tide_migrate *migrate)
{
	int err = tide_framing_send(migrate->framing, TIDE_FRAME_GO, NULL, 0,
				    NULL, 0);

	if (err)
		return fail_event(send_failed(migrate, err));
	return listen_to_peer(migrate);
}

/* One act that the protocol asked for, and what came of it. */
static struct tide_source_event act(struct tide_migrate *migrate, uint32_t acts)
{
	switch (acts) {
	case TIDE_SOURCE_SAY_HELLO:
		return do_hello(migrate);
	case TIDE_SOURCE_ROUND:
		return do_round(migrate);
	case TIDE_SOURCE_STOP:
		return do_stop(migrate);
	case TIDE_SOURCE_ROUND_LAST:
		return do_round_last(migrate);
	case TIDE_SOURCE_SAVE:
		return do_save(migrate);
	case TIDE_SOURCE_SAY_END:
		return do_end(migrate);
	case TIDE_SOURCE_SAY_GO:
		return do_go(migrate);
	default:
		assert(!"an act that protocol.c does not ask for");
		return fail_event(-EINVAL);
	}
}

/* The guest runs on here; everything is as if nothing had been sent. */
static int act_failed(struct tide_migrate *migrate, uint32_t acts, int result)
{
	struct tide_sentence first = migrate->why;
	int err = 0;

	tide_harvest_abort(migrate->harvest);
	migrate->harvest = NULL;
	if (acts & TIDE_SOURCE_RESUME)
		err = migrate->config.resume(migrate->config.opaque);
	if (err)
		result = tide_say(&migrate->why, err,
				  "resume failed with %d after: %.160s", -err,
				  first.text);
	if (acts & TIDE_SOURCE_GIVE_BACK)
		tide_client_dirty_all(migrate->client);
	/* Best effort: the destination notices the end of the stream too. */
	migrate->channel.watch_input = false;
	migrate->channel.deadline_at_ns = tide_now_ns() + LAST_WORDS_NS;
	if (acts & TIDE_SOURCE_SAY_ERROR)
		(void)tide_framing_complain(migrate->framing, result);
	tide_channel_part(&migrate->channel);
	return result;
}

static void finish_stats(struct tide_migrate *migrate)
{
	uint64_t now_ns = tide_now_ns();

	if (migrate->stop_at_ns)
		migrate->stats.downtime_ns = now_ns - migrate->stop_at_ns;
	if (migrate->end_at_ns)
		migrate->stats.handover_ns = now_ns - migrate->end_at_ns;
}

static int drive(struct tide_migrate *migrate)
{
	struct tide_source_event event = { .type = TIDE_SOURCE_EV_BEGIN };
	struct tide_step step;

	for (;;) {
		step = tide_source_step(&migrate->source, &event);
		if (step.why && !migrate->why.text[0])
			(void)tide_say(&migrate->why, step.result, "%s",
				       step.why);
		if (step.acts & TIDE_SOURCE_RETURN)
			break;
		event = act(migrate, step.acts);
	}
	finish_stats(migrate);
	if (migrate->source.phase == TIDE_SOURCE_FAILED)
		step.result = act_failed(migrate, step.acts, step.result);
	if (migrate->source.phase == TIDE_SOURCE_UNKNOWN) {
		struct tide_sentence first = migrate->why;

		(void)tide_say(&migrate->why, step.result,
			       "the guest may be running there: %.200s",
			       first.text);
	}
	/* What progress answers now does not matter any more. */
	(void)enter(migrate, migrate->source.phase == TIDE_SOURCE_DONE
				     ? TIDE_MIGRATE_DONE
			     : migrate->source.phase == TIDE_SOURCE_FAILED
				     ? TIDE_MIGRATE_FAILED
				     : TIDE_MIGRATE_UNKNOWN);
	return step.result;
}

static void migrate_destroy(struct tide_migrate *migrate)
{
	if (!migrate)
		return;
	tide_presence_fini(&migrate->presence);
	tide_roster_fini(&migrate->roster);
	tide_framing_destroy(migrate->framing);
	free(migrate->batch.copy);
	free(migrate);
}

static int migrate_create(int fd, const struct tide_migrate_send_config *config,
			  struct tide_migrate **ret)
{
	struct tide_migrate *migrate = calloc(1, sizeof(*migrate));
	int err = -ENOMEM;

	if (!migrate)
		return err;
	migrate->config = *config;
	migrate->begin_ns = tide_now_ns();
	tide_presence_init(&migrate->presence);
	err = tide_channel_init(&migrate->channel, fd, config->deadline_ns,
				tick, migrate);
	if (err)
		goto fail;
	migrate->channel.watch_input = true;
	err = tide_framing_create(&tide_channel_ops, &migrate->channel,
				  &migrate->why, &migrate->framing);
	if (err)
		goto fail;
	err = -ENOMEM;
	migrate->batch.copy =
		aligned_alloc(TIDE_PAGE_SIZE, BATCH_PAGES * TIDE_PAGE_SIZE);
	if (!migrate->batch.copy)
		goto fail;
	tide_source_init(&migrate->source, config->downtime_target_ns,
			 config->rounds_max);
	tide_bucket_init(&migrate->bucket, config->bandwidth_max,
			 migrate->begin_ns);
	*ret = migrate;
	return 0;
fail:
	migrate_destroy(migrate);
	return err;
}

int tide_migrate_send(struct tide_space *space, struct tide_client *client,
		      int fd, const struct tide_migrate_send_config *config,
		      struct tide_migrate_stats *ret_stats)
{
	struct tide_migrate_send_config known;
	struct tide_migrate *migrate = NULL;
	int err =
		tide_options_copy(&known, sizeof(known), config, sizeof(known));

	if (err)
		return err;
	if (known.message && known.message_size)
		known.message[0] = '\0';
	if (!space || !client || !known.stop || !known.resume || !known.save)
		return -EINVAL;
	if (!known.downtime_target_ns)
		known.downtime_target_ns = DOWNTIME_TARGET_NS;
	if (!known.rounds_max)
		known.rounds_max = ROUNDS_MAX;
	err = migrate_create(fd, &known, &migrate);
	if (err) {
		struct tide_sentence why = { 0 };

		(void)tide_say_errno(&why, err, "setup");
		tide_sentence_copy(&why, known.message, known.message_size);
		return err;
	}
	migrate->space = space;
	migrate->client = client;
	err = drive(migrate);
	tide_sentence_copy(&migrate->why, known.message, known.message_size);
	if (ret_stats)
		*ret_stats = migrate->stats;
	migrate_destroy(migrate);
	return err;
}

int tide_migrate_put_state(struct tide_migrate *migrate, const char *name,
			   uint32_t index, const void *data, size_t nbytes)
{
	struct tide_state_name state = { .index = index };
	struct iovec iov = {
		.iov_base = (void *)(uintptr_t)data,
		.iov_len = nbytes,
	};

	if (!migrate || !migrate->saving || !name || (nbytes && !data))
		return -EINVAL;

	size_t length = strnlen(name, TIDE_STATE_NAME_MAX);

	if (!length || length == TIDE_STATE_NAME_MAX || nbytes > TIDE_STATE_MAX)
		return -EINVAL;
	if (migrate->save_error)
		return migrate->save_error;
	memcpy(state.name, name, length);
	migrate->save_error = send_content(
		migrate, TIDE_FRAME_STATE,
		tide_state_encode(&state, migrate->meta), &iov, nbytes ? 1 : 0);
	if (!migrate->save_error)
		migrate->totals.states++;
	return migrate->save_error;
}
