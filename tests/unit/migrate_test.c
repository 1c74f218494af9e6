/* SPDX-License-Identifier: MIT */
/*
 * migrate_test.c - whole migrations over real sockets, broken everywhere
 *
 * First migrations that work, of every odd shape; then one fault at a time,
 * walked through the whole conversation: the connection cut after each byte
 * count, a bit flipped, every callback failing, every progress call
 * cancelling.  After each failure nobody may have lost anything: the same
 * client migrates again, and memory is compared byte by byte.
 */
#undef NDEBUG /* a test without its asserts tests nothing */

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tidemark/mark.h>

#include "migrate/channel.h"
#include "migrate_rig.h"
#include "test_support.h"

#define PAGE TIDE_PAGE_SIZE
#define SECOND 1000000000u

static const struct rig_options good;

static struct rig *small_rig(uint64_t seed)
{
	struct rig *rig = rig_create(seed);

	rig_slot_add(rig, 0, 0, 9, TIDE_SLOT_ANONYMOUS);
	rig_slot_add(rig, 7, 100, 1, 0);
	rig_slot_add(rig, 3, 200, 3, 0);
	rig->writes = 2;
	rig_fill(rig);
	return rig;
}

static void expect_success(struct rig *rig)
{
	if (rig->source_result || rig->dest_result)
		fail_msg("%d %s, %d %s", rig->source_result,
			 rig->source_message, rig->dest_result,
			 rig->dest_message);
	rig_check_outcome(rig);
}

/* --- what works --- */

static void quiet_space_arrives(void **state)
{
	struct rig *rig = rig_create(test_seed());

	(void)state;
	rig_slot_add(rig, 0, 0, 3000, TIDE_SLOT_ANONYMOUS);
	rig_fill(rig);
	rig_migrate(rig, &good);
	expect_success(rig);
	assert_int_equal(rig->source_stats.rounds, 2);
	assert_true(rig->source_stats.pages_zero > 0);
	assert_int_equal(rig->source_stats.pages_sent,
			 rig->dest_stats.pages_sent);
	assert_int_equal(rig->source_stats.pages_zero,
			 rig->dest_stats.pages_zero);
	assert_int_equal(rig->source_stats.bytes_sent,
			 rig->dest_stats.bytes_sent);
	assert_int_equal(rig->source_stats.memory_bytes, 3000 * PAGE);
	rig_destroy(rig);
}

static void busy_space_arrives(void **state)
{
	uint64_t seed = test_seed();

	(void)state;
	for (uint32_t i = 0; i < 20 * test_long(); i++) {
		struct rig *rig = rig_create(seed + i);
		struct rig_options options = {
			.send = { .downtime_target_ns = 1,
				  .rounds_max = 2 + i % 9 },
		};

		rig_slot_add(rig, 1, 0, 500, TIDE_SLOT_ANONYMOUS);
		rig_slot_add(rig, 0, 1000, 129, 0);
		rig_fill(rig);
		rig->writes = 200;
		rig_migrate(rig, &options);
		expect_success(rig);
		rig_destroy(rig);
	}
}

/* Q41: nothing to send is no reason never to be done. */
static void nothing_to_send_ends(void **state)
{
	struct rig *rig = rig_create(test_seed());

	(void)state;
	rig_migrate(rig, &good);
	expect_success(rig);
	assert_int_equal(rig->source_stats.pages_sent, 0);
	rig_slot_add(rig, 0, 0, 64, TIDE_SLOT_ANONYMOUS);
	rig_migrate(rig, &good);
	expect_success(rig);
	assert_int_equal(rig->source_stats.pages_sent, 0);
	assert_int_equal(rig->source_stats.pages_zero, 64);
	rig_destroy(rig);
}

/* Q45: one page, and sizes around a word of the bitmap. */
static void odd_sizes_arrive(void **state)
{
	static const uint64_t sizes[] = { 1, 63, 64, 65, 127, 513, 2049 };
	uint64_t seed = test_seed();

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct rig *rig = rig_create(seed + i);

		rig_slot_add(rig, 0, 5, sizes[i], TIDE_SLOT_ANONYMOUS);
		rig_slot_add(rig, 1, 5 + sizes[i], 1, 0);
		rig->writes = 5;
		rig_fill(rig);
		rig_write(rig, 0, sizes[i] - 1);
		rig_write(rig, 1, 0);
		rig_migrate(rig, &good);
		expect_success(rig);
		rig_destroy(rig);
	}
}

static void clear_in_second_round(struct rig *rig)
{
	if (rig->guest_runs && rig->now.rounds >= 2)
		rig_clear(rig, 0, 3);
}

/* Q47, Q48: a page had contents in round 1 and is zero from round 2 on. */
static void page_that_turns_zero_is_zero_there(void **state)
{
	struct rig *rig = rig_create(test_seed());
	struct rig_options options = {
		.send = { .downtime_target_ns = 1, .rounds_max = 3 },
	};

	(void)state;
	rig_slot_add(rig, 0, 0, 10, 0);
	rig_write(rig, 0, 3);
	rig->writes = 10;
	rig->hook = clear_in_second_round;
	rig_migrate(rig, &options);
	expect_success(rig);
	rig_destroy(rig);
}

static void unlogged_slot_is_sent_when_stopped(void **state)
{
	struct rig *rig = rig_create(test_seed());

	(void)state;
	rig_slot_add(rig, 0, 0, 70, TIDE_SLOT_UNLOGGED);
	rig_slot_add(rig, 1, 70, 5, 0);
	rig->writes = 50; /* marks of an unlogged slot tell nobody */
	rig_fill(rig);
	rig_migrate(rig, &good);
	expect_success(rig);
	rig_destroy(rig);
}

static void change_slots_in(struct rig *rig, uint32_t round)
{
	struct rig_slot *slot;

	switch (round) {
	case 1: /* one more */
		rig_slot_add(rig, 9, 5000, 20, 0);
		rig_write(rig, 9, 19);
		break;
	case 2: /* it moves, clean pages and all */
		slot = rig_slot_find(rig, 9);
		assert_int_equal(tide_slot_move(rig->space, 9, 6000), 0);
		slot->info.first_gfn = 6000;
		break;
	case 3: /* one goes, another comes under its name */
		rig_slot_remove(rig, 3);
		rig_slot_add(rig, 3, 200, 5, 0);
		rig_write(rig, 3, 4);
		break;
	case 4: /* two change places, by way of a third */
		assert_int_equal(tide_slot_move(rig->space, 7, 9000), 0);
		assert_int_equal(tide_slot_move(rig->space, 9, 100), 0);
		assert_int_equal(tide_slot_move(rig->space, 7, 6000), 0);
		rig_slot_find(rig, 9)->info.first_gfn = 100;
		rig_slot_find(rig, 7)->info.first_gfn = 6000;
		break;
	case 5:
		assert_int_equal(
			tide_slot_set_flags(rig->space, 0, TIDE_SLOT_READONLY),
			0);
		rig_slot_find(rig, 0)->info.flags = TIDE_SLOT_READONLY;
		break;
	default:
		break;
	}
}

/* In the middle of a round, between two frames.  Its beginning is reported, but
 * so is, some milliseconds later, how far it is: on a slow machine a round may
 * not be seen before the next. */
static void change_slots(struct rig *rig)
{
	while (rig->now.phase == TIDE_MIGRATE_PRECOPY &&
	       rig->rounds_seen < rig->now.rounds)
		change_slots_in(rig, ++rig->rounds_seen);
}

static void move_a_slot(struct rig *rig)
{
	struct rig_slot *slot = rig_slot_find(rig, 20);

	if (rig->now.rounds >= 1 && slot->info.first_gfn == 20000) {
		slot->info.first_gfn = 50000;
		assert_int_equal(tide_slot_move(rig->space, 20, 50000), 0);
	}
}

static void slots_change_while_it_runs(void **state)
{
	struct rig *rig = small_rig(test_seed());
	struct rig_options options = {
		.send = { .downtime_target_ns = 1, .rounds_max = 8 },
	};

	(void)state;
	/* Enough to keep it from stopping before the sixth round. */
	rig_slot_add(rig, 20, 20000, 4000, 0);
	rig->writes = 3000;
	rig_fill(rig);
	rig->hook = change_slots;
	rig_migrate(rig, &options);
	expect_success(rig);
	assert_true(rig->source_stats.rounds >= 7);

	/* A destination that cannot follow refuses, and nothing is lost. */
	rig->hook = move_a_slot;
	options.no_slot_change = true;
	rig_migrate(rig, &options);
	assert_int_equal(rig->source_result, -EREMOTEIO);
	assert_int_equal(rig->dest_result, -EOPNOTSUPP);
	rig_check_outcome(rig);
	rig->hook = NULL;
	rig_check_again(rig);
	rig_destroy(rig);
}

/* Two quiet slots change places while a third keeps the rounds going. */
static void swap_two_slots(struct rig *rig)
{
	if (rig->guest_runs && rig->now.rounds < 4)
		rig_write(rig, 20, rig_draw(rig) % 400);
	if (!rig->guest_runs || rig->now.rounds < 2 ||
	    rig_slot_find(rig, 0)->info.first_gfn)
		return;
	assert_int_equal(tide_slot_move(rig->space, 0, 9000), 0);
	assert_int_equal(tide_slot_move(rig->space, 1, 0), 0);
	assert_int_equal(tide_slot_move(rig->space, 0, 10), 0);
	rig_slot_find(rig, 0)->info.first_gfn = 10;
	rig_slot_find(rig, 1)->info.first_gfn = 0;
}

/* The destination can have no two slots on one gfn, not even for a moment:
 * one of them goes and comes back, and what it held, clean for the tracker,
 * must come with it. */
static void slots_that_change_places_keep_their_pages(void **state)
{
	struct rig *rig = rig_create(test_seed());
	struct rig_options options = {
		.send = { .downtime_target_ns = 1, .rounds_max = 8 },
	};

	(void)state;
	rig_slot_add(rig, 0, 0, 4, 0);
	rig_slot_add(rig, 1, 10, 6, 0);
	rig_slot_add(rig, 20, 20000, 400, 0);
	for (uint64_t page = 0; page < 6; page++) {
		rig_write(rig, 0, page % 4);
		rig_write(rig, 1, page);
	}
	rig->hook = swap_two_slots;
	rig_migrate(rig, &options);
	expect_success(rig);
	assert_int_equal(rig_slot_find(rig, 1)->info.first_gfn, 0);
	rig_destroy(rig);
}

static void add_while_stopped(struct rig *rig)
{
	if (rig->now.phase == TIDE_MIGRATE_STOPPED && !rig_slot_find(rig, 99))
		rig_slot_add(rig, 99, 99000, 1, 0);
}

static void slots_must_not_change_while_it_is_stopped(void **state)
{
	struct rig *rig = small_rig(test_seed());

	(void)state;
	rig->hook = add_while_stopped;
	rig_migrate(rig, &good);
	assert_int_equal(rig->source_result, -EBUSY);
	rig_check_outcome(rig);
	rig->hook = NULL;
	rig_check_again(rig);
	rig_destroy(rig);
}

/* Keeps slot 3 dirty, and replaces it at the beginning of the last round. */
static void replace_while_stopped(struct rig *rig)
{
	if (rig->guest_runs)
		rig_write(rig, 3, 1);
	if (rig->now.phase != TIDE_MIGRATE_STOPPED || rig->rounds_seen)
		return;
	rig->rounds_seen = 1;
	rig_slot_remove(rig, 3);
	rig_slot_add(rig, 3, 200, 5, 0);
	rig_write(rig, 3, 4);
}

/* The old slot's pages make the source look at the slots, so that at the end
 * it finds no change; but no page of the new one was in the harvest. */
static void slot_replaced_while_it_is_stopped_arrives(void **state)
{
	struct rig *rig = small_rig(test_seed());

	(void)state;
	rig->hook = replace_while_stopped;
	rig_migrate(rig, &good);
	assert_int_equal(rig->rounds_seen, 1);
	expect_success(rig);
	rig_destroy(rig);
}

/* Q44: a writer that does not wait for anybody.  A checksum that was taken
 * over other bytes than those that were sent would fail the transfer. */

struct writer {
	struct rig *rig;
	pthread_mutex_t lock; /* held while it writes a page */
	bool quit;
};

static void *write_on(void *opaque)
{
	struct writer *writer = opaque;
	struct rig_slot *slot = rig_slot_find(writer->rig, 0);
	uint64_t count = 1;

	for (bool quit = false; !quit; count++) {
		uint64_t page = count * 7919 % slot->info.npages;
		char *at = (char *)slot->info.host + page * PAGE;

		pthread_mutex_lock(&writer->lock);
		quit = writer->quit;
		if (writer->rig->guest_runs && !quit) {
			memset(at, (int)count, PAGE);
			tide_mark(writer->rig->space,
				  slot->info.first_gfn + page);
		}
		pthread_mutex_unlock(&writer->lock);
	}
	return NULL;
}

/* stop and resume change guest_runs: wait until the writer has seen it. */
static void wait_for_writer(struct rig *rig,
			    const struct tide_migrate_stats *stats)
{
	struct writer *writer = rig->opaque;

	(void)stats;
	pthread_mutex_lock(&writer->lock);
	pthread_mutex_unlock(&writer->lock);
}

static void writer_thread_arrives(void **state)
{
	struct rig *rig = rig_create(test_seed());
	struct writer writer = { .rig = rig };
	struct rig_options options = { .send = { .rounds_max = 6 } };
	pthread_t thread;

	(void)state;
	pthread_mutex_init(&writer.lock, NULL);
	rig_slot_add(rig, 0, 0, 2000, TIDE_SLOT_ANONYMOUS);
	rig->opaque = &writer;
	rig->progress = wait_for_writer;
	assert_int_equal(pthread_create(&thread, NULL, write_on, &writer), 0);
	for (int i = 0; i < 5; i++) {
		rig_migrate(rig, &options);
		expect_success(rig);
	}
	pthread_mutex_lock(&writer.lock);
	writer.quit = true;
	pthread_mutex_unlock(&writer.lock);
	pthread_join(thread, NULL);
	pthread_mutex_destroy(&writer.lock);
	rig_destroy(rig);
}

static void short_counts_and_interrupts_do_not_matter(void **state)
{
	uint64_t seed = test_seed();

	(void)state;
	for (uint32_t limit = 1; limit < 5000; limit = limit * 3 + 1) {
		struct wire_faults source = wire_faults_none();
		struct wire_faults dest = wire_faults_none();
		struct rig_options options = {
			.source_faults = &source,
			.dest_faults = &dest,
		};
		struct rig *rig = small_rig(seed + limit);

		source.short_max = limit;
		dest.short_max = limit + 1;
		source.interrupt = dest.interrupt = true;
		rig_migrate(rig, &options);
		expect_success(rig);
		rig_destroy(rig);
	}
}

/* --- what fails --- */

static void check_failed(struct rig *rig)
{
	rig_check_outcome(rig);
	if (rig->source_result && rig->source_result != -ENOTRECOVERABLE)
		rig_check_again(rig);
}

/* How long is the conversation, in each direction? */
static void measure(struct rig *rig, uint64_t *source, uint64_t *dest)
{
	struct wire_faults faults[2] = { wire_faults_none(),
					 wire_faults_none() };
	struct rig_options options = {
		.source_faults = &faults[0],
		.dest_faults = &faults[1],
	};

	rig_migrate(rig, &options);
	expect_success(rig);
	*source = faults[0].sent;
	*dest = faults[1].sent;
}

static void cut_after_every_length(void **state)
{
	struct rig *rig = small_rig(test_seed());
	uint32_t step = test_long() > 1 ? 1 : 89;
	uint64_t source_length, dest_length;
	uint32_t failures = 0, unknown = 0;

	(void)state;
	measure(rig, &source_length, &dest_length);
	/* Coarse through the pages, every byte through the handshake. */
	for (uint64_t at = 0; at <= source_length;
	     at += at + 400 > source_length ? 1 : step) {
		struct wire_faults faults = wire_faults_none();
		struct rig_options options = { .source_faults = &faults };

		faults.cut_at = at;
		rig_migrate(rig, &options);
		failures += rig->source_result != 0;
		unknown += rig->source_result == -ENOTRECOVERABLE;
		check_failed(rig);
	}
	for (uint64_t at = 0; at <= dest_length; at++) {
		struct wire_faults faults = wire_faults_none();
		struct rig_options options = { .dest_faults = &faults };

		faults.cut_at = at;
		rig_migrate(rig, &options);
		failures += rig->source_result != 0;
		unknown += rig->source_result == -ENOTRECOVERABLE;
		check_failed(rig);
	}
	printf("# %u failures, %u of them after ACK\n", failures, unknown);
	assert_true(failures > 200);
	assert_true(unknown > 20);
	rig_destroy(rig);
}

static void every_flipped_bit_is_noticed(void **state)
{
	struct rig *rig = small_rig(test_seed());
	uint32_t step = test_long() > 1 ? 1 : 97;
	uint64_t source_length, dest_length;

	(void)state;
	measure(rig, &source_length, &dest_length);
	rig->writes = 0; /* so that all conversations are equally long */
	measure(rig, &source_length, &dest_length);
	for (uint64_t at = 0;
	     at<source_length; at += at + 150> source_length ? 1 : step) {
		struct wire_faults faults = wire_faults_none();
		struct rig_options options = { .source_faults = &faults };

		faults.flip_at = at;
		faults.flip_mask = (uint8_t)(1u << at % 8);
		rig_migrate(rig, &options);
		if (rig->dest_result != -EBADMSG && rig->dest_result != -EPROTO)
			fail_msg("byte %ju: %d %s", (uintmax_t)at,
				 rig->dest_result, rig->dest_message);
		assert_true(rig->source_result != 0);
		check_failed(rig);
	}
	for (uint64_t at = 0; at < dest_length; at++) {
		struct wire_faults faults = wire_faults_none();
		struct rig_options options = { .dest_faults = &faults };

		faults.flip_at = at;
		faults.flip_mask = (uint8_t)(1u << at % 8);
		rig_migrate(rig, &options);
		assert_true(rig->source_result == -EBADMSG ||
			    rig->source_result == -EPROTO ||
			    rig->source_result == -ENOTRECOVERABLE);
		check_failed(rig);
	}
	rig_destroy(rig);
}

static void expect_failure(struct rig *rig, const struct rig_options *options,
			   int source_result, int dest_result, const char *says)
{
	rig_migrate(rig, options);
	if (rig->source_result != source_result ||
	    rig->dest_result != dest_result)
		fail_msg("%d %s, %d %s", rig->source_result,
			 rig->source_message, rig->dest_result,
			 rig->dest_message);
	if (!strstr(rig->source_message, says))
		fail_msg("no \"%s\" in: %s", says, rig->source_message);
	check_failed(rig);
}

static void every_callback_may_fail(void **state)
{
	struct rig *rig = small_rig(test_seed());

	(void)state;
	expect_failure(rig, &(struct rig_options){ .stop_error = -EIO }, -EIO,
		       -EREMOTEIO, "stop callback");
	expect_failure(rig, &(struct rig_options){ .save_error = -ENODEV },
		       -ENODEV, -EREMOTEIO, "save callback");
	expect_failure(rig, &(struct rig_options){ .slot_error = -ENOMEM },
		       -EREMOTEIO, -ENOMEM, "slot callback");
	expect_failure(rig, &(struct rig_options){ .load_error = -EINVAL },
		       -EREMOTEIO, -EINVAL, "load callback");
	expect_failure(rig, &(struct rig_options){ .start_error = -EBUSY },
		       -ENOTRECOVERABLE, -EBUSY, "start callback");
	expect_failure(rig, &(struct rig_options){ .memory_bytes_max = PAGE },
		       -EREMOTEIO, -EFBIG, "limit");
	rig_destroy(rig);
}

static void failed_resume_is_not_hidden(void **state)
{
	struct rig *rig = small_rig(test_seed());
	struct rig_options options = {
		.save_error = -ENODEV,
		.resume_error = -EIO,
	};

	(void)state;
	rig_migrate(rig, &options);
	assert_int_equal(rig->source_result, -EIO);
	assert_non_null(strstr(rig->source_message, "resume"));
	assert_int_equal(rig->resumes, 1);
	assert_int_equal(rig->starts, 0);
	rig_destroy(rig);
}

static void every_progress_call_may_cancel(void **state)
{
	struct rig *rig = small_rig(test_seed());
	uint32_t cancelled = 0;

	(void)state;
	for (uint32_t at = 1;; at++) {
		struct rig_options options = { .cancel_source_at = at };

		rig_migrate(rig, &options);
		if (rig->source_calls < at)
			break; /* it was never asked that often */
		cancelled += rig->source_result == -ECANCELED;
		check_failed(rig);
	}
	for (uint32_t at = 1;; at++) {
		struct rig_options options = { .cancel_dest_at = at };

		rig_migrate(rig, &options);
		if (rig->dest_calls < at)
			break;
		cancelled += rig->dest_result == -ECANCELED;
		check_failed(rig);
	}
	assert_true(cancelled >= 8);
	rig_destroy(rig);
}

/* V1, V7: rounds that were committed come back too. */
static void failure_after_rounds_gives_everything_back(void **state)
{
	struct rig *rig = rig_create(test_seed());
	struct rig_options options = {
		.send = { .downtime_target_ns = 1, .rounds_max = 4 },
		.load_error = -EIO, /* as late as possible */
	};

	(void)state;
	rig_slot_add(rig, 0, 0, 1000, TIDE_SLOT_ANONYMOUS);
	rig_slot_add(rig, 1, 1000, 77, 0);
	rig_fill(rig);
	rig->writes = 400;
	rig_migrate(rig, &options);
	assert_int_equal(rig->source_result, -EREMOTEIO);
	assert_true(rig->source_stats.rounds >= 3);
	rig_check_outcome(rig);
	assert_int_equal(rig->resumes, 1);
	assert_int_equal(tide_client_pending(rig->client), 1077);
	rig_check_again(rig);
	rig_destroy(rig);
}

/* The destination does not read; only the deadline ends it. */
static void deadline_ends_a_transfer_that_hangs(void **state)
{
	struct rig *rig = rig_create(test_seed());
	struct rig_options options = {
		.send = { .deadline_ns = 20000000 },
		.block_slot = true,
	};

	(void)state;
	rig_slot_add(rig, 0, 0, 4000, 0);
	for (uint64_t page = 0; page < 4000; page++)
		rig_write(rig, 0, page); /* more than any socket buffer */
	expect_failure(rig, &options, -ETIMEDOUT, -ECONNRESET, "deadline");
	rig_destroy(rig);
}

/* Megabytes at a crawl: the complaint must be heard long before the end. */
static void complaint_is_heard_early(void **state)
{
	struct rig *rig = rig_create(test_seed());
	struct rig_options options = {
		.send = { .bandwidth_max = 1000 },
		.slot_error = -ENOMEM,
	};

	(void)state;
	rig_slot_add(rig, 0, 0, 4000, 0);
	for (uint64_t page = 0; page < 4000; page++)
		rig_write(rig, 0, page);
	rig_migrate(rig, &options);
	assert_int_equal(rig->source_result, -EREMOTEIO);
	assert_non_null(strstr(rig->source_message, "slot callback"));
	rig_check_outcome(rig);
	rig_check_again(rig);
	rig_destroy(rig);
}

/* --- pace, with a clock of our own --- */

/* Q54: a scan that takes ages is not a slow line. */
static void slow_scan(struct rig *rig, const struct tide_migrate_stats *stats)
{
	struct wire_faults *faults = rig->opaque;

	if (stats->phase != TIDE_MIGRATE_PRECOPY ||
	    stats->rounds == rig->rounds_seen)
		return;
	rig->rounds_seen = stats->rounds;
	faults->now_ns += 100ull * SECOND;
}

static void time_spent_elsewhere_is_not_bandwidth(void **state)
{
	struct rig *rig = rig_create(test_seed());
	struct wire_faults faults = wire_faults_none();
	struct rig_options options = { .source_faults = &faults };

	(void)state;
	faults.clock = true;
	faults.ns_per_kib = 1024; /* 1 GB a second */
	rig_slot_add(rig, 0, 0, 1000, 0);
	for (uint64_t page = 0; page < 1000; page++)
		rig_write(rig, 0, page);
	rig->opaque = &faults;
	rig->progress = slow_scan;
	rig->rounds_seen = UINT32_MAX;
	rig_migrate(rig, &options);
	expect_success(rig);
	assert_true(rig->source_stats.total_ns > 100ull * SECOND);
	/* 4 MB in 100 s would be 40 kB/s. */
	assert_true(rig->source_stats.bandwidth > 900000000);
	assert_true(rig->source_stats.bandwidth < 1100000000);
	rig_destroy(rig);
}

static void bandwidth_limit_holds(void **state)
{
	struct rig *rig = rig_create(test_seed());
	struct wire_faults faults = wire_faults_none();
	struct rig_options options = {
		.source_faults = &faults,
		.send = { .bandwidth_max = 1000000 },
	};

	(void)state;
	faults.clock = true;
	rig_slot_add(rig, 0, 0, 1000, 0);
	for (uint64_t page = 0; page < 1000; page++)
		rig_write(rig, 0, page);
	rig_migrate(rig, &options);
	expect_success(rig);
	/* 4 MB at 1 MB/s, less what the bucket held and the last frame. */
	assert_true(faults.waited_ns > 3ull * SECOND);
	assert_int_equal(rig->source_stats.bandwidth, 1000000);
	rig_destroy(rig);
}

/* --- arguments --- */

static int nothing(void *opaque)
{
	(void)opaque;
	return 0;
}

static int put_odd_state(void *opaque, struct tide_migrate *migrate)
{
	static const char name31[] = "0123456789012345678901234567890";
	static const char name32[] = "01234567890123456789012345678901";
	uint8_t byte = 1;

	(void)opaque;
	assert_int_equal(tide_migrate_put_state(NULL, "a", 0, &byte, 1),
			 -EINVAL);
	assert_int_equal(tide_migrate_put_state(migrate, "", 0, &byte, 1),
			 -EINVAL);
	assert_int_equal(tide_migrate_put_state(migrate, NULL, 0, &byte, 1),
			 -EINVAL);
	assert_int_equal(tide_migrate_put_state(migrate, name32, 0, &byte, 1),
			 -EINVAL);
	assert_int_equal(tide_migrate_put_state(migrate, "a", 0, NULL, 1),
			 -EINVAL);
	assert_int_equal(
		tide_migrate_put_state(migrate, "a", 0, &byte, (16u << 20) + 1),
		-EINVAL);
	return tide_migrate_put_state(migrate, name31, 0, &byte, 1);
}

static int any_slot(void *opaque, struct tide_slot_info *info)
{
	(void)opaque;
	(void)info;
	return -ENOMEM;
}

static int any_load(void *opaque, const char *name, uint32_t index,
		    const void *data, size_t nbytes)
{
	(void)opaque;
	(void)name;
	(void)index;
	(void)data;
	(void)nbytes;
	return 0;
}

static struct tide_migrate_send_config any_send(void)
{
	return (struct tide_migrate_send_config){
		.stop = nothing,
		.resume = nothing,
		.save = put_odd_state,
	};
}

/* --- a destination that does not keep the rules --- */

struct liar {
	int fd;
	uint16_t early; /* said at once in place of WELCOME, if not 0 */
	uint16_t late;	/* said after WELCOME, in the middle of the rounds */
	uint16_t version;
	bool rubbish;
};

static void liar_says(struct tide_framing *framing, uint16_t type,
		      uint16_t version)
{
	struct tide_hello hello = {
		.version = version,
		.page_shift = TIDE_PAGE_SHIFT,
	};
	uint8_t meta[TIDE_META_MAX];
	size_t size = type == TIDE_FRAME_WELCOME
			      ? tide_hello_encode(&hello, meta)
			      : 0;

	assert_int_equal(tide_framing_send(framing, type, meta, size, NULL, 0),
			 0);
}

static int liar_tick(void *opaque)
{
	(void)opaque;
	return 0;
}

static void *lie(void *opaque)
{
	struct liar *liar = opaque;
	struct tide_sentence why = { 0 };
	struct tide_framing *framing = NULL;
	struct tide_channel channel;
	struct tide_frame frame;
	char rest[4096];

	assert_int_equal(
		tide_channel_init(&channel, liar->fd, 0, liar_tick, NULL), 0);
	assert_int_equal(tide_framing_create(&tide_channel_ops, &channel, &why,
					     &framing),
			 0);
	assert_int_equal(tide_framing_receive(framing, &frame), 0);
	assert_int_equal(frame.type, TIDE_FRAME_HELLO);
	if (liar->rubbish)
		assert_int_equal(send(liar->fd, rest, sizeof(rest), 0),
				 sizeof(rest));
	else if (liar->early)
		liar_says(framing, liar->early, 1);
	else
		liar_says(framing, TIDE_FRAME_WELCOME, liar->version);
	if (liar->late)
		liar_says(framing, liar->late, 1);
	while (recv(liar->fd, rest, sizeof(rest), 0) > 0)
		;
	tide_framing_destroy(framing);
	(void)close(liar->fd);
	return NULL;
}

static void expect_refusal(struct rig *rig, struct liar liar)
{
	struct tide_migrate_send_config send = any_send();
	char message[200] = "";
	pthread_t thread;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	liar.fd = fds[1];
	send.message = message;
	send.message_size = sizeof(message);
	assert_int_equal(pthread_create(&thread, NULL, lie, &liar), 0);
	assert_int_equal(
		tide_migrate_send(rig->space, rig->client, fds[0], &send, NULL),
		-EPROTO);
	assert_true(message[0] != '\0');
	(void)close(fds[0]);
	pthread_join(thread, NULL);
	assert_int_equal(tide_client_pending(rig->client), rig_pages(rig));
}

static void liars_are_refused(void **state)
{
	struct rig *rig = rig_create(test_seed());

	(void)state;
	rig_slot_add(rig, 0, 0, 3000, 0);
	for (uint64_t page = 0; page < 3000; page++)
		rig_write(rig, 0, page);
	expect_refusal(rig, (struct liar){ .rubbish = true });
	expect_refusal(rig, (struct liar){ .early = TIDE_FRAME_ACK });
	expect_refusal(rig, (struct liar){ .early = TIDE_FRAME_RUNNING });
	expect_refusal(rig, (struct liar){ .early = TIDE_FRAME_GO });
	expect_refusal(rig, (struct liar){ .version = 9 });
	expect_refusal(rig,
		       (struct liar){ .version = 1, .late = TIDE_FRAME_ACK });
	expect_refusal(
		rig, (struct liar){ .version = 1, .late = TIDE_FRAME_RUNNING });
	rig_check_again(rig);
	rig_destroy(rig);
}

static void bad_arguments_are_refused(void **state)
{
	struct rig *rig = small_rig(test_seed());
	struct tide_migrate_send_config send = any_send();
	struct tide_migrate_receive_config receive = {
		.slot = any_slot,
		.load = any_load,
		.start = nothing,
	};
	int pipes[2], datagrams[2];

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams), 0);
	assert_int_equal(tide_migrate_send(rig->space, rig->client, pipes[1],
					   &send, NULL),
			 -ENOTSOCK);
	assert_int_equal(tide_migrate_receive(pipes[0], &receive, NULL),
			 -ENOTSOCK);
	assert_int_equal(tide_migrate_send(rig->space, rig->client,
					   datagrams[0], &send, NULL),
			 -EINVAL);
	assert_int_equal(tide_migrate_receive(-1, &receive, NULL), -EBADF);
	assert_int_equal(
		tide_migrate_send(NULL, rig->client, datagrams[0], &send, NULL),
		-EINVAL);
	assert_int_equal(tide_migrate_send(rig->space, rig->client,
					   datagrams[0], NULL, NULL),
			 -EINVAL);
	send.save = NULL;
	assert_int_equal(tide_migrate_send(rig->space, rig->client,
					   datagrams[0], &send, NULL),
			 -EINVAL);
	receive.start = NULL;
	assert_int_equal(tide_migrate_receive(datagrams[1], &receive, NULL),
			 -EINVAL);
	for (int i = 0; i < 2; i++) {
		(void)close(pipes[i]);
		(void)close(datagrams[i]);
	}
	rig_destroy(rig);
}

/* One side alone, its end of the socket connected to silence. */
static void silence_runs_into_the_deadline(void **state)
{
	struct rig *rig = small_rig(test_seed());
	struct tide_migrate_send_config send = any_send();
	struct tide_migrate_receive_config receive = {
		.slot = any_slot,
		.load = any_load,
		.start = nothing,
		.deadline_ns = 1000000,
	};
	char message[100] = "";
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	send.deadline_ns = 1000000;
	send.message = message;
	send.message_size = sizeof(message);
	assert_int_equal(
		tide_migrate_send(rig->space, rig->client, fds[0], &send, NULL),
		-ETIMEDOUT);
	assert_non_null(strstr(message, "deadline"));
	(void)close(fds[0]);
	(void)close(fds[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(tide_migrate_receive(fds[1], &receive, NULL),
			 -ETIMEDOUT);
	(void)close(fds[0]);
	(void)close(fds[1]);
	rig_check_again(rig);
	rig_destroy(rig);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(quiet_space_arrives),
		cmocka_unit_test(busy_space_arrives),
		cmocka_unit_test(nothing_to_send_ends),
		cmocka_unit_test(odd_sizes_arrive),
		cmocka_unit_test(page_that_turns_zero_is_zero_there),
		cmocka_unit_test(unlogged_slot_is_sent_when_stopped),
		cmocka_unit_test(slots_change_while_it_runs),
		cmocka_unit_test(writer_thread_arrives),
		cmocka_unit_test(short_counts_and_interrupts_do_not_matter),
		cmocka_unit_test(cut_after_every_length),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(every_callback_may_fail),
		cmocka_unit_test(failed_resume_is_not_hidden),
		cmocka_unit_test(every_progress_call_may_cancel),
		cmocka_unit_test(failure_after_rounds_gives_everything_back),
		cmocka_unit_test(deadline_ends_a_transfer_that_hangs),
		cmocka_unit_test(complaint_is_heard_early),
		cmocka_unit_test(time_spent_elsewhere_is_not_bandwidth),
		cmocka_unit_test(bandwidth_limit_holds),
		cmocka_unit_test(slots_that_change_places_keep_their_pages),
		cmocka_unit_test(slots_must_not_change_while_it_is_stopped),
		cmocka_unit_test(slot_replaced_while_it_is_stopped_arrives),
		cmocka_unit_test(liars_are_refused),
		cmocka_unit_test(bad_arguments_are_refused),
		cmocka_unit_test(silence_runs_into_the_deadline),
	};

	return cmocka_run_group_tests_name("migrate", tests, NULL, NULL);
}
