/* SPDX-License-Identifier: MIT */
/*
 * rehearse.c - pre-copy of a running process, without moving it
 *
 * Theory of operation
 * -------------------
 * The client is opened clean, and then it is looked up which pages have
 * content: what comes to have some later is written, and harvested.  Those are
 * the first round.  After a round a harvest says what was written meanwhile;
 * that is the rest, and precopy.c says whether it would be sent with the
 * process stopped, is the next round, or will never be small enough.
 *
 * Harvested are more pages than are sent.  A new mapping is dirty as a whole,
 * but of a page that was never touched the sink has the right contents already,
 * zeros, unless it had others before at the same address.  So what is sent are
 * the harvested pages that have content, or of which the sink holds some.
 *
 * A page that is discarded is harvested, too.  What is there then is zeros, or
 * in a private mapping of a file the file's page.  A hole that somebody else
 * has made in shared memory is not noticed.
 *
 * The process runs, so a page may be gone, or not be readable, when it is its
 * turn.  It is counted as done, but not as sent, and looked at again after the
 * round as if it had been harvested: a process can take away the right to read
 * a page, and give it back, without that being a write.
 *
 * Pages are read into a buffer that stays in the cache, so that what is looked
 * at for zeros, summed and written are the same bytes.
 *
 * Invariants
 *   I1  a page of a mapping that is neither in the sink as it is now, nor zero
 *       and not held, is in dirty or round, or will be harvested
 *
 * Synchronisation
 *   None: one thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include <tidemark/client.h>
#include <tidemark/process.h>
#include <tidemark/rehearse.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/options.h"
#include "migrate/pace.h"
#include "migrate/presence.h"
#include "watch/precopy.h"
#include "watch/process_internal.h"
#include "watch/rehearse_pages.h"
#include "watch/rehearse_sink.h"

#define NS_PER_S 1000000000u
#define TICK_NS 50000000u
#define BATCH_PAGES SINK_RECORDS_MAX
/* Smooth, even if the bandwidth is low: so many batches a second. */
#define BATCHES_PER_S 200u

static const struct pages_chunk no_pages;

struct rehearse {
	struct tide_process *process;
	struct tide_client *client;
	struct tide_rehearse_config config;
	struct tide_rehearse_stats stats;
	struct precopy precopy;
	struct tide_bucket bucket;
	uint64_t begin_ns, tick_ns;

	struct pages dirty; /* harvested, or could not be read */
	struct pages round; /* to be sent */
	struct pages filed; /* of these, in a mapping of a file, or shared */
	/* What the sink has is not what a page is that is not there. */
	struct pages held;

	uint64_t batch_max;
	struct iovec runs[BATCH_PAGES]; /* of the process, to be read */
	uint32_t nruns;
	uint64_t wanted; /* pages in them */
	uint64_t batch;	 /* pages in the buffer, and their gfns */
	uint64_t gfn[BATCH_PAGES];
	unsigned char *buffer;
	struct sink sink;
};

/* ---- who is told, and waiting ---- */

static int report(struct rehearse *rehearse, int round_over)
{
	uint64_t now_ns = tide_now_ns();

	rehearse->stats.total_ns = now_ns - rehearse->begin_ns;
	rehearse->tick_ns = now_ns;
	if (!rehearse->config.progress)
		return 0;
	return rehearse->config.progress(rehearse->config.opaque,
					 &rehearse->stats, round_over)
		       ? -ECANCELED
		       : 0;
}

static int tick(void *opaque)
{
	struct rehearse *rehearse = opaque;

	if (tide_now_ns() - rehearse->tick_ns < TICK_NS)
		return 0;
	return report(rehearse, 0);
}

/* Until what was sent has gone, at the bandwidth. */
static int pace(struct rehearse *rehearse)
{
	uint64_t wait_ns;

	while ((wait_ns = tide_bucket_wait_ns(&rehearse->bucket,
					      tide_now_ns()))) {
		struct timespec nap = { 0 };
		int err = tick(rehearse);

		if (err)
			return err;
		nap.tv_nsec = (long)(wait_ns < TICK_NS ? wait_ns : TICK_NS);
		(void)nanosleep(&nap, NULL); /* or less: looked at again */
	}
	return tick(rehearse);
}

/* Has the process ended, or become another, or was it only the thread by which
 * we look?  Return: @err or what is the matter; -EAGAIN: once more. */
static int why_gone(struct rehearse *rehearse, int err)
{
	int ret = err == -ESRCH ? tide_process_update(rehearse->process) : err;

	return ret > 0 || (!ret && err) ? -EAGAIN : ret;
}

/* ---- what is to be sent ---- */

/* Or shared.  Of a name that was cut only the end is known. */
static bool is_filed(const struct tide_mapping *mapping)
{
	return mapping->shared ||
	       (mapping->name[0] &&
		(mapping->name[0] != '[' ||
		 strlen(mapping->name) == sizeof(mapping->name) - 1));
}

struct choice {
	const struct pages_chunk *dirty; /* NULL: the first look */
	const struct pages_chunk *held;
	struct pages_chunk *filed; /* NULL: the mapping is not */
	uint64_t number;	   /* of the chunk */
	uint64_t begin, end;	   /* in it, the mapping's pages */
};

/* Of the pages of a word that may have to be sent, before it is known which
 * have content. */
static uint64_t candidates(const struct choice *choice, uint64_t word)
{
	uint64_t bits = tide_range_mask(choice->begin, choice->end, word);

	return choice->dirty ? bits & choice->dirty->words[word] : bits;
}

static uint64_t choose(const struct choice *choice, uint64_t word,
		       uint64_t populated)
{
	uint64_t bits = candidates(choice, word) &
			(choice->dirty ? populated | choice->held->words[word]
				       : populated);

	if (choice->filed)
		choice->filed->words[word] |= bits;
	return bits;
}

static int choose_in_chunk(struct rehearse *rehearse,
			   const struct choice *choice)
{
	uint64_t first = choice->number * PAGES_CHUNK;
	uint64_t word = choice->begin / TIDE_WORD_BITS;
	uint64_t end_word = tide_words(choice->end);
	uint64_t words[PAGES_WORDS];
	struct pages_chunk *to;
	int64_t found;

	while (word < end_word && !candidates(choice, word))
		word++;
	while (word < end_word && !candidates(choice, end_word - 1))
		end_word--;
	if (word == end_word)
		return 0;
	found = tide_process_populated(
		rehearse->process, first + word * TIDE_WORD_BITS,
		(end_word - word) * TIDE_WORD_BITS, words + word);
	if (found < 0)
		return (int)found;
	to = pages_make(&rehearse->round, choice->number);
	if (!to)
		return -ENOMEM;
	for (; word < end_word; word++) {
		uint64_t bits = choose(choice, word, words[word]);

		to->words[word] |= bits;
		rehearse->stats.rest_pages += tide_popcount(bits);
	}
	return 0;
}

/* What of a chunk is to be sent, as far as it lies in the mapping. */
static int select_in_chunk(struct rehearse *rehearse,
			   const struct tide_mapping *mapping, uint64_t number,
			   const struct pages_chunk *dirty)
{
	uint64_t first = number * PAGES_CHUNK;
	uint64_t begin = mapping->start >> TIDE_PAGE_SHIFT;
	uint64_t end = mapping->end >> TIDE_PAGE_SHIFT;
	struct choice choice = {
		.dirty = dirty,
		.held = pages_chunk(&rehearse->held, number),
		.number = number,
		.begin = begin > first ? begin - first : 0,
		.end = end - first < PAGES_CHUNK ? end - first : PAGES_CHUNK,
	};

	if (is_filed(mapping)) {
		choice.filed = pages_make(&rehearse->filed, number);
		if (!choice.filed)
			return -ENOMEM;
	}
	if (!choice.held)
		choice.held = &no_pages;
	return choose_in_chunk(rehearse, &choice);
}

static int select_all(struct rehearse *rehearse,
		      const struct tide_mapping *mapping)
{
	uint64_t first = mapping->start >> TIDE_PAGE_SHIFT;
	uint64_t last = (mapping->end - 1) >> TIDE_PAGE_SHIFT;
	int err = 0;

	for (uint64_t number = first / PAGES_CHUNK;
	     number <= last / PAGES_CHUNK && !err; number++)
		err = select_in_chunk(rehearse, mapping, number, NULL);
	return err;
}

static int select_dirty(struct rehearse *rehearse,
			const struct tide_mapping *mapping)
{
	uint64_t first = mapping->start >> TIDE_PAGE_SHIFT;
	uint64_t last = (mapping->end - 1) >> TIDE_PAGE_SHIFT;
	int err = 0;

	for (uint64_t number = first / PAGES_CHUNK;
	     number <= last / PAGES_CHUNK && !err; number++) {
		const struct pages_chunk *dirty =
			pages_chunk(&rehearse->dirty, number);

		if (dirty)
			err = select_in_chunk(rehearse, mapping, number, dirty);
	}
	return err;
}

/* Makes the round, and counts it as the rest. */
static int select_round(struct rehearse *rehearse,
			int (*select)(struct rehearse *rehearse,
				      const struct tide_mapping *mapping))
{
	struct tide_mapping mapping;
	int err = 0;

	pages_clear(&rehearse->round);
	pages_clear(&rehearse->filed);
	rehearse->stats.rest_pages = 0;
	for (uint32_t i = 0;
	     !err && !tide_process_mapping(rehearse->process, i, &mapping); i++)
		err = select(rehearse, &mapping);
	if (!err)
		pages_clear(&rehearse->dirty);
	return err;
}

/* All of it is in dirty afterwards, re-armed before it is read. */
static int take_harvest(struct rehearse *rehearse)
{
	struct tide_harvest *harvest;
	struct tide_extent extent;
	int ret = tide_harvest_begin(rehearse->client, &harvest);

	if (ret)
		return ret;
	while ((ret = tide_harvest_next(harvest, &extent)) > 0) {
		if (extent.flags & TIDE_EXTENT_GONE)
			continue;
		ret = pages_add(&rehearse->dirty, extent.first_gfn,
				extent.npages);
		if (ret)
			break;
	}
	if (ret) {
		tide_harvest_abort(harvest);
		return ret;
	}
	return tide_harvest_commit(harvest);
}

static int harvest_once(struct rehearse *rehearse)
{
	int err = tide_process_update(rehearse->process);

	if (err >= 0)
		err = take_harvest(rehearse);
	if (!err)
		err = select_round(rehearse, select_dirty);
	return why_gone(rehearse, err);
}

static int harvest(struct rehearse *rehearse)
{
	uint64_t begin_ns = tide_now_ns();
	int err;

	do {
		err = harvest_once(rehearse);
	} while (err == -EAGAIN);
	rehearse->stats.harvest_ns += tide_now_ns() - begin_ns;
	return err;
}

/* ---- sending ---- */

/* The first page of the runs from @at on is in the buffer, or could not be read
 * now; then it is looked at again after the round. */
static int next_page(struct rehearse *rehearse, uint32_t *at, bool read)
{
	struct iovec *run = &rehearse->runs[*at];
	uint64_t gfn = (uintptr_t)run->iov_base >> TIDE_PAGE_SHIFT;

	run->iov_base = (char *)run->iov_base + TIDE_PAGE_SIZE;
	run->iov_len -= TIDE_PAGE_SIZE;
	if (!run->iov_len)
		(*at)++;
	if (!read)
		return pages_add(&rehearse->dirty, gfn, 1);
	rehearse->gfn[rehearse->batch++] = gfn;
	return 0;
}

/* One call for all runs: with one for each, scattered pages take more than
 * twice as long.  It ends where something cannot be read. */
static int read_batch(struct rehearse *rehearse)
{
	uint32_t at = 0;
	int err = 0;

	while (at < rehearse->nruns && !err) {
		uint64_t left = BATCH_PAGES - rehearse->batch;
		const struct iovec here = {
			rehearse->buffer + rehearse->batch * TIDE_PAGE_SIZE,
			left * TIDE_PAGE_SIZE,
		};
		ssize_t n = process_vm_readv(rehearse->process->live, &here, 1,
					     &rehearse->runs[at],
					     rehearse->nruns - at, 0);

		if (n < 0 && errno != EFAULT) {
			err = why_gone(rehearse, -errno);
			err = err == -EAGAIN ? 0 : err;
			continue;
		}
		if (n < (ssize_t)TIDE_PAGE_SIZE)
			err = next_page(rehearse, &at, false);
		for (n >>= TIDE_PAGE_SHIFT; n > 0; n--)
			(void)next_page(rehearse, &at, true);
	}
	rehearse->nruns = 0;
	rehearse->wanted = 0;
	return err;
}

static bool is_zero(const struct rehearse *rehearse, uint64_t page)
{
	return tide_page_is_zero(rehearse->buffer + page * TIDE_PAGE_SIZE);
}

/* Pages of the batch from @first on that make one record. */
static uint64_t record_length(const struct rehearse *rehearse, uint64_t first,
			      bool zero)
{
	uint64_t end = first + 1;

	while (end < rehearse->batch &&
	       rehearse->gfn[end] == rehearse->gfn[first] + (end - first) &&
	       is_zero(rehearse, end) == zero)
		end++;
	return end - first;
}

/* The sink has the page. */
static int hold(struct rehearse *rehearse, uint64_t gfn, bool zero)
{
	const struct pages_chunk *filed =
		pages_chunk(&rehearse->filed, gfn / PAGES_CHUNK);
	uint64_t bit = gfn % PAGES_CHUNK;

	/* Zeros are what a page is that is not there, but for a file's. */
	if (zero &&
	    !(filed && filed->words[bit / TIDE_WORD_BITS] & tide_bit(bit))) {
		pages_drop(&rehearse->held, gfn);
		return 0;
	}
	return pages_add(&rehearse->held, gfn, 1);
}

static int put_record(struct rehearse *rehearse, uint64_t first, uint64_t n,
		      bool zero)
{
	struct tide_rehearse_stats *stats = &rehearse->stats;
	uint64_t gfn = rehearse->gfn[first];
	int err = 0;

	if (zero)
		sink_put(&rehearse->sink, SINK_ZERO, gfn, n, NULL, 0);
	else
		sink_put(&rehearse->sink, SINK_PAGES, gfn, n,
			 rehearse->buffer + first * TIDE_PAGE_SIZE,
			 n * TIDE_PAGE_SIZE);
	stats->pages += n;
	stats->zero_pages += zero ? n : 0;
	stats->round_zero_pages += zero ? n : 0;
	for (uint64_t i = 0; i < n && !err; i++)
		err = hold(rehearse, gfn + i, zero);
	return err;
}

static int flush(struct rehearse *rehearse)
{
	int64_t n = sink_flush(&rehearse->sink);

	if (n < 0)
		return (int)n;
	rehearse->stats.bytes += (uint64_t)n;
	rehearse->stats.round_bytes += (uint64_t)n;
	tide_bucket_take(&rehearse->bucket, (uint64_t)n);
	return pace(rehearse);
}

static int send_batch(struct rehearse *rehearse)
{
	uint64_t n;
	int err = read_batch(rehearse);

	for (uint64_t i = 0; i < rehearse->batch && !err; i += n) {
		bool zero = is_zero(rehearse, i);

		n = record_length(rehearse, i, zero);
		err = put_record(rehearse, i, n, zero);
	}
	rehearse->batch = 0;
	return err ? err : flush(rehearse);
}

/* A line that was idle while we looked does not make up for it. */
static void begin_to_send(struct rehearse *rehearse, uint64_t now_ns)
{
	(void)tide_bucket_wait_ns(&rehearse->bucket, now_ns);
	if (rehearse->bucket.tokens > 0)
		rehearse->bucket.tokens = 0;
}

static int send_round(struct rehearse *rehearse)
{
	struct tide_rehearse_stats *stats = &rehearse->stats;
	uint64_t begin_ns = tide_now_ns(), gfn = 0, n;
	int err;

	begin_to_send(rehearse, begin_ns);
	stats->round_pages = stats->rest_pages;
	stats->round_pages_done = stats->round_zero_pages = 0;
	stats->round_bytes = 0;
	sink_put(&rehearse->sink, SINK_ROUND, stats->rounds + 1,
		 stats->round_pages, NULL, 0);
	err = flush(rehearse);
	while (!err &&
	       (n = pages_next(&rehearse->round, gfn,
			       rehearse->batch_max - rehearse->wanted, &gfn))) {
		rehearse->runs[rehearse->nruns++] = (struct iovec){
			.iov_base = (void *)(gfn << TIDE_PAGE_SHIFT),
			.iov_len = n << TIDE_PAGE_SHIFT,
		};
		rehearse->wanted += n;
		gfn += n;
		stats->round_pages_done += n;
		if (rehearse->wanted == rehearse->batch_max)
			err = send_batch(rehearse);
	}
	if (!err)
		err = send_batch(rehearse);
	stats->round_ns = tide_now_ns() - begin_ns;
	return err;
}

/* ---- the rounds ---- */

/* Return: 1: over; 0: another round. */
static int end_round(struct rehearse *rehearse)
{
	struct tide_rehearse_stats *stats = &rehearse->stats;
	enum precopy_verdict verdict;
	uint64_t rest_bytes;
	int err = harvest(rehearse);

	if (err)
		return err;
	stats->rounds++;
	rest_bytes = stats->rest_pages * TIDE_PAGE_SIZE;
	stats->downtime_ns =
		tide_mul_div(rest_bytes, NS_PER_S, rehearse->config.bandwidth);
	verdict = precopy_round(&rehearse->precopy, stats->downtime_ns,
				rehearse->config.downtime_ns);
	stats->converged = verdict == PRECOPY_CONVERGED;
	err = report(rehearse, 1);
	return err ? err : verdict != PRECOPY_GO_ON;
}

static int look_first(struct rehearse *rehearse)
{
	/* The mappings first: those that come later are new to the client. */
	int err = tide_process_update(rehearse->process);

	if (err >= 0 && !rehearse->client)
		err = tide_client_open(tide_process_space(rehearse->process),
				       "rehearse", TIDE_START_CLEAN,
				       &rehearse->client);
	if (err >= 0)
		err = select_round(rehearse, select_all);
	return why_gone(rehearse, err);
}

static int run(struct rehearse *rehearse)
{
	struct tide_rehearse_stats *stats = &rehearse->stats;
	uint64_t begin_ns = tide_now_ns();
	int ret;

	do {
		ret = look_first(rehearse);
	} while (ret == -EAGAIN);
	stats->harvest_ns = tide_now_ns() - begin_ns;
	stats->memory_pages = stats->rest_pages;
	while (!ret) {
		ret = send_round(rehearse);
		if (!ret)
			ret = end_round(rehearse);
	}
	if (ret < 0)
		return ret;
	sink_put(&rehearse->sink, SINK_END, stats->rounds, stats->rest_pages,
		 NULL, 0);
	ret = flush(rehearse);
	stats->total_ns = tide_now_ns() - rehearse->begin_ns;
	return ret;
}

static int setup(struct rehearse *rehearse)
{
	struct tide_rehearse_config *config = &rehearse->config;
	uint64_t batch = config->bandwidth / BATCHES_PER_S / TIDE_PAGE_SIZE;

	if (!config->bandwidth)
		return -EINVAL;
	if (!config->downtime_ns)
		config->downtime_ns = PRECOPY_DOWNTIME_NS;
	if (!config->rounds_max)
		config->rounds_max = PRECOPY_ROUNDS_MAX;
	rehearse->precopy.rounds_max = config->rounds_max;
	rehearse->stats.rounds_max = config->rounds_max;
	rehearse->batch_max = batch < 1		    ? 1
			      : batch > BATCH_PAGES ? BATCH_PAGES
						    : batch;
	rehearse->buffer =
		aligned_alloc(TIDE_PAGE_SIZE, BATCH_PAGES * TIDE_PAGE_SIZE);
	if (!rehearse->buffer)
		return -ENOMEM;
	rehearse->begin_ns = rehearse->tick_ns = tide_now_ns();
	tide_bucket_init(&rehearse->bucket, config->bandwidth,
			 rehearse->begin_ns);
	return sink_init(&rehearse->sink, config->fd, tick, rehearse);
}

int tide_rehearse(struct tide_process *process,
		  const struct tide_rehearse_config *config,
		  struct tide_rehearse_stats *ret)
{
	struct rehearse *rehearse = calloc(1, sizeof(*rehearse));
	int err;

	if (!rehearse)
		return -ENOMEM;
	rehearse->process = process;
	err = tide_options_copy(&rehearse->config, sizeof(rehearse->config),
				config, sizeof(*config));
	if (!err)
		err = setup(rehearse);
	if (!err)
		err = run(rehearse);
	if (!err)
		*ret = rehearse->stats;
	tide_client_close(rehearse->client);
	pages_clear(&rehearse->dirty);
	pages_clear(&rehearse->round);
	pages_clear(&rehearse->filed);
	pages_clear(&rehearse->held);
	free(rehearse->buffer);
	free(rehearse);
	return err;
}
