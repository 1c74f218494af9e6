/* SPDX-License-Identifier: MIT */
/*
 * protocol_test.c - both sides of a migration against each other, simulated
 *
 * The two machines of protocol.c are driven over a network that loses its end
 * at any moment, with callbacks that fail, deadlines and cancellations that
 * strike anywhere, a clock of its own, and guests that dirty memory at any
 * rate.  After every step of every walk:
 *
 *   at most one guest runs;
 *   the source resumed exactly if it failed before it saw ACK, and stop had
 *   been called;
 *   the pages were given back exactly if it failed before it saw ACK;
 *   -ENOTRECOVERABLE exactly if it failed between ACK and RUNNING;
 *   the guest is not lost: it runs somewhere, or the source says
 *   -ENOTRECOVERABLE;
 *   the destination started only after the source had seen ACK.
 *
 * TIDE_SEED replays a run, TIDE_LONG=n does n times as many walks.
 */
#undef NDEBUG /* a test without its asserts tests nothing */

#include <errno.h>
#include <stdbool.h>

#include "migrate/pace.h"
#include "migrate/protocol.h"
#include "test_support.h"

#define WALKS 20000u
#define QUEUE_MAX 64u
#define LAST_ROUND 0x8000u /* on the wire this flag is inside the frame */

/* Frames on their way in one direction; cut: nothing comes out any more. */
struct queue {
	uint16_t frames[QUEUE_MAX];
	uint32_t put, got;
};

struct world {
	uint64_t random;
	uint64_t now_ns;
	bool cut;		/* the connection is gone */
	uint32_t fault_percent; /* of a fault, at each step */

	struct tide_source source;
	bool source_runs;  /* its guest */
	bool source_ended; /* its machine */
	bool stop_called, resumed, gave_back, saw_ack, saw_running;
	int source_result;
	struct tide_step source_next;
	uint64_t dirty_bytes, dirty_rate, bandwidth;
	uint32_t rounds;
	uint64_t deadline_ns; /* 0: none */

	struct tide_dest dest;
	bool dest_runs, dest_ended;
	int dest_result;
	uint32_t rounds_seen;

	struct queue to_dest, to_source;
};

static uint64_t draw(struct world *world)
{
	uint64_t x = world->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	world->random = x;
	return x * 0x2545f4914f6cdd1dull >> 11;
}

static bool strikes(struct world *world)
{
	return draw(world) % 10000 < world->fault_percent * 100;
}

static bool queue_empty(const struct queue *queue)
{
	return queue->put == queue->got;
}

static void queue_put(struct queue *queue, uint16_t frame)
{
	assert_true(queue->put - queue->got < QUEUE_MAX);
	queue->frames[queue->put++ % QUEUE_MAX] = frame;
}

static uint16_t queue_get(struct queue *queue)
{
	assert_false(queue_empty(queue));
	return queue->frames[queue->got++ % QUEUE_MAX];
}

static void check_world(const struct world *world)
{
	assert_false(world->source_runs && world->dest_runs);
	if (world->dest_runs)
		assert_true(world->saw_ack);
	if (world->resumed)
		assert_false(world->saw_ack);
}

static struct tide_source_event source_fails(int error)
{
	return (struct tide_source_event){
		.type = TIDE_SOURCE_EV_FAIL,
		.error = error,
	};
}

/* One frame out, or an error: the connection may go in the middle. */
static bool source_says(struct world *world, uint16_t frame)
{
	if (world->cut || world->dest_ended)
		return false;
	queue_put(&world->to_dest, frame);
	return true;
}

/* The guest dirties pages while @ns pass. */
static void let_pass(struct world *world, uint64_t ns)
{
	world->now_ns += ns;
	if (!world->source_runs)
		return;

	uint64_t more = tide_mul_div(world->dirty_rate, ns, 1000000000u);

	world->dirty_bytes += more;
	if (world->dirty_bytes > (1ull << 30))
		world->dirty_bytes = 1ull << 30;
}

static struct tide_source_event source_round(struct world *world, bool last)
{
	uint64_t bytes = world->dirty_bytes;

	if (!source_says(world, last ? TIDE_FRAME_ROUND | LAST_ROUND
				     : TIDE_FRAME_ROUND))
		return source_fails(-EPIPE);
	if (bytes && !source_says(world, TIDE_FRAME_PAGES))
		return source_fails(-EPIPE);
	world->dirty_bytes = 0;
	world->rounds++;
	let_pass(world, tide_transfer_ns(bytes, world->bandwidth));
	if (last)
		assert_int_equal(world->dirty_bytes, 0);
	return (struct tide_source_event){
		.type = last ? TIDE_SOURCE_EV_LAST_SENT
			     : TIDE_SOURCE_EV_ROUND_SENT,
		.round_bytes = bytes,
		.remaining_bytes = world->dirty_bytes,
		.bandwidth = world->bandwidth,
	};
}

/* What the acts do to the world; true: an event is there at once. */
static bool source_acts(struct world *world, struct tide_source_event *ret)
{
	switch (world->source_next.acts) {
	case TIDE_SOURCE_SAY_HELLO:
		if (source_says(world, TIDE_FRAME_HELLO))
			return false;
		*ret = source_fails(-EPIPE);
		return true;
	case TIDE_SOURCE_ROUND:
		*ret = source_round(world, false);
		return true;
	case TIDE_SOURCE_STOP:
		world->stop_called = true;
		world->source_runs = false;
		*ret = strikes(world) ? source_fails(-EIO)
				      : (struct tide_source_event){
						.type = TIDE_SOURCE_EV_STOPPED,
					};
		return true;
	case TIDE_SOURCE_ROUND_LAST:
		*ret = source_round(world, true);
		return true;
	case TIDE_SOURCE_SAVE:
		*ret = strikes(world) || !source_says(world, TIDE_FRAME_STATE)
			       ? source_fails(-EIO)
			       : (struct tide_source_event){
					 .type = TIDE_SOURCE_EV_SAVED,
				 };
		return true;
	case TIDE_SOURCE_SAY_END:
		if (source_says(world, TIDE_FRAME_END))
			return false;
		*ret = source_fails(-EPIPE);
		return true;
	case TIDE_SOURCE_SAY_GO:
		if (source_says(world, TIDE_FRAME_GO))
			return false;
		*ret = source_fails(-EPIPE);
		return true;
	default:
		fail_msg("acts %#x", world->source_next.acts);
		return false;
	}
}

static void source_returns(struct world *world)
{
	const struct tide_step *step = &world->source_next;

	world->source_ended = true;
	world->source_result = step->result;
	if (step->acts & TIDE_SOURCE_RESUME) {
		assert_false(world->source_runs);
		world->resumed = true;
		world->source_runs = true;
	}
	world->gave_back = step->acts & TIDE_SOURCE_GIVE_BACK;
	if (step->acts & TIDE_SOURCE_SAY_ERROR)
		(void)source_says(world, TIDE_FRAME_ERROR);
}

static void source_event(struct world *world, struct tide_source_event event)
{
	if (event.type == TIDE_SOURCE_EV_ACK)
		world->saw_ack = true;
	if (event.type == TIDE_SOURCE_EV_RUNNING)
		world->saw_running = true;
	world->source_next = tide_source_step(&world->source, &event);
	if (world->source_next.acts & TIDE_SOURCE_RETURN)
		source_returns(world);
	check_world(world);
}

static struct tide_source_event answer_event(uint16_t frame)
{
	struct tide_source_event event = { .type = TIDE_SOURCE_EV_RUNNING };

	if (frame == TIDE_FRAME_ERROR)
		return source_fails(-EREMOTEIO);
	if (frame == TIDE_FRAME_WELCOME)
		event.type = TIDE_SOURCE_EV_WELCOME;
	if (frame == TIDE_FRAME_ACK)
		event.type = TIDE_SOURCE_EV_ACK;
	return event;
}

/* The source waits: for a frame, the end of the connection, its deadline, or
 * somebody who cancels. */
static bool source_waits(struct world *world, struct tide_source_event *ret)
{
	if (!queue_empty(&world->to_source)) {
		uint16_t frame = queue_get(&world->to_source);

		*ret = answer_event(frame);
		return true;
	}
	if (world->cut || world->dest_ended) {
		*ret = source_fails(-ECONNRESET);
		return true;
	}
	return false;
}

static void source_moves(struct world *world)
{
	struct tide_source_event event;
	bool waiting = world->source_next.acts &
		       (TIDE_SOURCE_SAY_HELLO | TIDE_SOURCE_SAY_END |
			TIDE_SOURCE_SAY_GO);

	if (world->source_ended)
		return;
	/* Nothing can strike between the decision to stop and the call. */
	if (world->source_next.acts == TIDE_SOURCE_STOP) {
		(void)source_acts(world, &event);
		source_event(world, event);
		return;
	}
	if (world->deadline_ns && world->now_ns > world->deadline_ns) {
		source_event(world, source_fails(-ETIMEDOUT));
		return;
	}
	if (strikes(world) && tide_source_may_cancel(&world->source)) {
		source_event(world, source_fails(-ECANCELED));
		return;
	}
	/* acts == 0: said already, now waiting. */
	if (world->source_next.acts) {
		bool now = source_acts(world, &event);

		assert_int_equal(waiting && !now, !now);
		if (!now)
			world->source_next.acts = 0;
		else
			source_event(world, event);
		return;
	}
	if (source_waits(world, &event))
		source_event(world, event);
}

static void dest_says(struct world *world, uint16_t frame)
{
	if (!world->cut)
		queue_put(&world->to_source, frame);
}

static void dest_event(struct world *world, struct tide_dest_event event)
{
	struct tide_step step = tide_dest_step(&world->dest, &event);

	if ((step.acts & TIDE_DEST_TAKE) && strikes(world)) {
		dest_event(world, (struct tide_dest_event){
					  .type = TIDE_DEST_EV_FAIL,
					  .error = -EIO,
				  });
		return;
	}
	if (step.acts & TIDE_DEST_SAY_WELCOME)
		dest_says(world, TIDE_FRAME_WELCOME);
	if (step.acts & TIDE_DEST_SAY_ACK)
		dest_says(world, TIDE_FRAME_ACK);
	if (step.acts & TIDE_DEST_SAY_ERROR)
		dest_says(world, TIDE_FRAME_ERROR);
	if (step.acts & TIDE_DEST_START) {
		struct tide_dest_event next = { .type = TIDE_DEST_EV_STARTED };

		if (strikes(world)) {
			next.type = TIDE_DEST_EV_FAIL;
			next.error = -EIO;
		} else {
			world->dest_runs = true;
			check_world(world);
		}
		dest_event(world, next);
		return;
	}
	if (step.acts & TIDE_DEST_SAY_RUNNING)
		dest_says(world, TIDE_FRAME_RUNNING);
	if (step.acts & TIDE_DEST_RETURN) {
		world->dest_ended = true;
		world->dest_result = step.result;
	}
	check_world(world);
}

static void dest_moves(struct world *world)
{
	struct tide_dest_event event = { .type = TIDE_DEST_EV_FAIL };

	if (world->dest_ended)
		return;
	if (strikes(world)) {
		event.error = -ETIMEDOUT; /* or cancelled, or no memory */
	} else if (!queue_empty(&world->to_dest)) {
		event.type = TIDE_DEST_EV_FRAME;
		event.frame = queue_get(&world->to_dest);
		if (event.frame == TIDE_FRAME_ERROR) {
			event.type = TIDE_DEST_EV_FAIL;
			event.error = -EREMOTEIO;
		}
		if ((event.frame & ~LAST_ROUND) == TIDE_FRAME_ROUND) {
			event.round.index = ++world->rounds_seen;
			event.round.last = event.frame & LAST_ROUND;
			event.frame = TIDE_FRAME_ROUND;
		}
	} else if (world->cut || world->source_ended) {
		event.error = -ECONNRESET;
	} else {
		return;
	}
	dest_event(world, event);
}

static void check_end(const struct world *world)
{
	bool failed_early = world->source_result && !world->saw_ack;

	assert_true(world->source_ended && world->dest_ended);
	assert_int_equal(world->source_result == 0, world->saw_running);
	assert_int_equal(world->source_result == -ENOTRECOVERABLE,
			 world->saw_ack && !world->saw_running);
	assert_int_equal(world->resumed, failed_early && world->stop_called);
	assert_int_equal(world->gave_back, failed_early);
	assert_int_equal(world->dest_runs, world->dest_result == 0);
	/* Not lost. */
	if (failed_early)
		assert_true(world->source_runs && !world->dest_runs);
	if (!world->source_result)
		assert_true(world->dest_runs);
	assert_true(world->rounds <= world->source.rounds_max + 1);
}

/* Frames may not be lost inside a connection, only with it: a cut empties
 * what has not arrived, at a random place. */
static void cut(struct world *world)
{
	world->cut = true;
	while (!queue_empty(&world->to_dest) && draw(world) % 2)
		world->to_dest.put--;
	while (!queue_empty(&world->to_source) && draw(world) % 2)
		world->to_source.put--;
}

static void walk(struct world *world)
{
	static const uint32_t faults[] = { 0, 0, 1, 3, 10, 40 };
	bool late = draw(world) % 8 == 0;

	tide_source_init(&world->source, 1 + draw(world) % 500000000,
			 1 + (uint32_t)(draw(world) % 40));
	tide_dest_init(&world->dest);
	world->fault_percent = faults[draw(world) % 6];
	world->source_runs = true;
	world->dirty_bytes = draw(world) % (1ull << 30);
	world->dirty_rate = draw(world) % (1ull << (draw(world) % 34));
	world->bandwidth = draw(world) % (1ull << (20 + draw(world) % 14));
	if (draw(world) % 3 == 0)
		world->deadline_ns = draw(world) % 5000000000u;
	source_event(world, (struct tide_source_event){
				    .type = TIDE_SOURCE_EV_BEGIN,
			    });
	for (uint32_t i = 0; !(world->source_ended && world->dest_ended); i++) {
		assert_true(i < 100000);
		let_pass(world, draw(world) % 1000000);
		if (world->fault_percent && strikes(world) && strikes(world))
			cut(world);
		/* Most cuts come early; the handshake needs its share. */
		if (late && world->dest.phase >= TIDE_DEST_WAIT_GO &&
		    draw(world) % 8 == 0)
			cut(world);
		bool full = world->to_dest.put - world->to_dest.got >=
			    QUEUE_MAX - 4;

		if (draw(world) % 2 && (!full || world->dest_ended))
			source_moves(world);
		else
			dest_moves(world);
	}
	check_end(world);
}

static void no_walk_breaks_a_promise(void **state)
{
	uint64_t seed = test_seed();
	uint32_t results[5] = { 0 };

	(void)state;
	for (uint32_t i = 0; i < WALKS * test_long(); i++) {
		struct world world = {
			.random = (seed * 1000003 + i) * 0x9e3779b97f4a7c15ull |
				  1,
		};

		walk(&world);
		results[!world.source_result			  ? 0
			: world.source_result != -ENOTRECOVERABLE ? 1
			: world.dest_runs			  ? 2
								  : 3]++;
	}
	printf("# %u moved, %u stayed, %u unknown and there, %u unknown and "
	       "stopped\n",
	       results[0], results[1], results[2], results[3]);
	/* The walks must reach every kind of end, or they prove little. */
	for (int i = 0; i < 4; i++)
		assert_true(results[i] > 0);
}

/* --- when to stop ------------------------------------------------------- */

static struct tide_step round_sent(struct tide_source *source,
				   uint64_t round_bytes,
				   uint64_t remaining_bytes, uint64_t bandwidth)
{
	struct tide_source_event event = {
		.type = TIDE_SOURCE_EV_ROUND_SENT,
		.round_bytes = round_bytes,
		.remaining_bytes = remaining_bytes,
		.bandwidth = bandwidth,
	};

	return tide_source_step(source, &event);
}

static void precopy_begin(struct tide_source *source, uint64_t target_ns,
			  uint32_t rounds_max)
{
	struct tide_source_event event = { .type = TIDE_SOURCE_EV_BEGIN };

	tide_source_init(source, target_ns, rounds_max);
	assert_int_equal(tide_source_step(source, &event).acts,
			 TIDE_SOURCE_SAY_HELLO);
	event.type = TIDE_SOURCE_EV_WELCOME;
	assert_int_equal(tide_source_step(source, &event).acts,
			 TIDE_SOURCE_ROUND);
}

static void it_stops_when_the_rest_fits(void **state)
{
	struct tide_source source;

	(void)state;
	precopy_begin(&source, 100000000, 30);
	/* 1 s, 0.5 s: too long; 0.09 s: fits, and the round did not halve. */
	assert_int_equal(round_sent(&source, 4000, 1000, 1000).acts,
			 TIDE_SOURCE_ROUND);
	assert_int_equal(round_sent(&source, 1000, 500, 1000).acts,
			 TIDE_SOURCE_ROUND);
	assert_int_equal(round_sent(&source, 150, 90, 1000).acts,
			 TIDE_SOURCE_STOP);
	assert_true(source.expected_downtime_ns == 90000000);
}

static void it_goes_on_below_the_target_while_that_pays(void **state)
{
	struct tide_source source;

	(void)state;
	precopy_begin(&source, 100000000, 30);
	assert_int_equal(round_sent(&source, 1000, 90, 1000).acts,
			 TIDE_SOURCE_ROUND);
	assert_int_equal(round_sent(&source, 90, 45, 1000).acts,
			 TIDE_SOURCE_ROUND);
	assert_int_equal(round_sent(&source, 45, 40, 1000).acts,
			 TIDE_SOURCE_STOP);
}

static void nothing_left_stops_at_once(void **state)
{
	struct tide_source source;

	(void)state;
	precopy_begin(&source, 1, 30);
	assert_int_equal(round_sent(&source, 1 << 30, 0, 1000).acts,
			 TIDE_SOURCE_STOP);
}

/* A guest that never converges is stopped all the same. */
static void the_round_limit_ends_it(void **state)
{
	struct tide_source source;

	(void)state;
	precopy_begin(&source, 1000000, 5);
	for (int i = 0; i < 4; i++)
		assert_int_equal(round_sent(&source, 1 << 30, 1 << 30, 1).acts,
				 TIDE_SOURCE_ROUND);
	assert_int_equal(round_sent(&source, 1 << 30, 1 << 30, 1).acts,
			 TIDE_SOURCE_STOP);
}

static void every_answer_out_of_turn_is_refused(void **state)
{
	static const enum tide_source_event_type answers[] = {
		TIDE_SOURCE_EV_WELCOME,
		TIDE_SOURCE_EV_ACK,
		TIDE_SOURCE_EV_RUNNING,
	};

	(void)state;
	for (int phase = TIDE_SOURCE_HELLO; phase <= TIDE_SOURCE_WAIT_RUNNING;
	     phase++) {
		for (int i = 0; i < 3; i++) {
			struct tide_source source = {
				.phase = (enum tide_source_phase)phase,
				.rounds_max = 30,
			};
			struct tide_source_event event = { .type = answers[i] };
			struct tide_step step;
			bool fits =
				(phase == TIDE_SOURCE_HELLO && i == 0) ||
				(phase == TIDE_SOURCE_WAIT_ACK && i == 1) ||
				(phase == TIDE_SOURCE_WAIT_RUNNING && i == 2);

			step = tide_source_step(&source, &event);
			if (fits)
				assert_int_equal(step.result, 0);
			else
				assert_int_equal(
					step.result,
					phase == TIDE_SOURCE_WAIT_RUNNING
						? -ENOTRECOVERABLE
						: -EPROTO);
		}
	}
}

/* --- pace --------------------------------------------------------------- */

static void the_bucket_holds_the_rate(void **state)
{
	uint64_t seed = test_seed();
	struct world world = { .random = seed | 1 };

	(void)state;
	for (int run = 0; run < 50; run++) {
		uint64_t rate = 1000 + draw(&world) % (1ull << 30);
		uint64_t now_ns = draw(&world) % (1ull << 40);
		uint64_t begin_ns = now_ns, bytes = 0, waits = 0;
		struct tide_bucket bucket;

		tide_bucket_init(&bucket, rate, now_ns);
		for (int i = 0; i < 1000; i++) {
			uint64_t wait_ns = tide_bucket_wait_ns(&bucket, now_ns);
			uint64_t more = 1 + draw(&world) % (256 << 10);

			if (wait_ns) {
				now_ns += wait_ns;
				waits++;
				/* One wait is enough: no spinning. */
				assert_int_equal(
					tide_bucket_wait_ns(&bucket, now_ns),
					0);
			}
			tide_bucket_take(&bucket, more);
			bytes += more;
			now_ns += draw(&world) % 10000;
		}

		uint64_t allowed =
			tide_mul_div(now_ns - begin_ns, rate, 1000000000u) +
			bucket.burst + (256 << 10);

		assert_true(bytes <= allowed);
		assert_true(waits > 0);
	}
}

static void no_limit_never_waits(void **state)
{
	struct tide_bucket bucket;

	(void)state;
	tide_bucket_init(&bucket, 0, 5);
	tide_bucket_take(&bucket, UINT64_MAX);
	assert_int_equal(tide_bucket_wait_ns(&bucket, 5), 0);
	tide_bucket_init(&bucket, UINT64_MAX, 5);
	tide_bucket_take(&bucket, 1u << 30);
	assert_int_equal(tide_bucket_wait_ns(&bucket, 5), 0);
}

/* Q54: what is not spent in sending is not in the bandwidth; a round of
 * which 99 % was looking for pages is as fast as its sending was. */
static void only_sending_is_bandwidth(void **state)
{
	struct tide_meter meter = { 0 };

	(void)state;
	assert_int_equal(tide_meter_round(&meter, 0), 0); /* not known */
	for (int i = 0; i < 10; i++) {
		/* 1 MB in 1 ms of sending; 99 ms of scanning in between are
		 * nobody's business here. */
		tide_meter_add(&meter, 1000000, 1000000);
	}
	assert_int_equal(tide_meter_round(&meter, 0), 1000000000);
	assert_int_equal(tide_meter_round(&meter, 5000), 5000);
	/* A tiny round says nothing: the estimate stays. */
	tide_meter_add(&meter, 100, 1000000000);
	assert_int_equal(tide_meter_round(&meter, 0), 1000000000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_walk_breaks_a_promise),
		cmocka_unit_test(it_stops_when_the_rest_fits),
		cmocka_unit_test(it_goes_on_below_the_target_while_that_pays),
		cmocka_unit_test(nothing_left_stops_at_once),
		cmocka_unit_test(the_round_limit_ends_it),
		cmocka_unit_test(every_answer_out_of_turn_is_refused),
		cmocka_unit_test(the_bucket_holds_the_rate),
		cmocka_unit_test(no_limit_never_waits),
		cmocka_unit_test(only_sending_is_bandwidth),
	};

	return cmocka_run_group_tests_name("protocol", tests, NULL, NULL);
}
