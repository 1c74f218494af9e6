/* SPDX-License-Identifier: MIT */
/*
 * trace_read.c - a trace comes in, and nothing in it is believed
 *
 * Theory of operation
 * -------------------
 * Bytes come through a buffer, because most records are small.  A record is
 * looked at in this order: the sum of its head, before its size is believed;
 * the sum of its payload, before zstd or anybody else looks at it; its form;
 * and the rules, which are the writer's own (trace_table.h).  The first thing
 * that is wrong ends the trace, with a sentence.
 *
 * Memory: two payloads and a compressed one of TIDE_TRACE_RAW_MAX,
 * TIDE_TRACE_RUNS_MAX runs and twice TIDE_TRACE_MAPPINGS_MAX mappings; the
 * latter two grow with what is there.
 *
 * Invariants
 *   I1  what is returned keeps the rules of the put calls
 *   I2  after an error, or the end, nothing is read any more
 *   I3  before is the last payload of TIDE_TRACE_ZSTD_MIN bytes or more
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zstd.h>

#include <tidemark/trace.h>

#include "watch/trace_format.h"
#include "watch/trace_read.h"
#include "watch/trace_table.h"

#define BUFFER_SIZE 65536u

struct tide_trace_reader {
	int fd;
	uint64_t interval_ns; /* asked for */
	bool over;	      /* I2 */
	int err;
	char *why;
	size_t why_size;

	uint8_t *buffer;
	size_t at, filled; /* in the buffer */
	uint64_t offset;   /* in the trace */
	uint64_t record, record_offset;

	uint64_t check;
	struct tide_trace_table table;
	struct tide_trace_bytes stored; /* as they came */
	struct tide_trace_bytes payload, before;
	struct tide_trace_runs runs;
	ZSTD_DCtx *zstd;
};

/* ---- what went wrong ---- */

/* The last word; later calls repeat it. */
static int end_with(struct tide_trace_reader *reader, int err)
{
	reader->over = true; /* I2 */
	reader->err = err;
	return err;
}

static int say(struct tide_trace_reader *reader, int err, const char *text)
{
	if (reader->why && reader->why_size)
		(void)snprintf(reader->why, reader->why_size, "%s", text);
	return end_with(reader, err);
}

static int say_record(struct tide_trace_reader *reader, int err,
		      const char *text)
{
	char line[160];

	(void)snprintf(line, sizeof(line),
		       "record %" PRIu64 ", at byte %" PRIu64 ": %s",
		       reader->record, reader->record_offset, text);
	return say(reader, err, line);
}

static int say_cut(struct tide_trace_reader *reader)
{
	char line[96];

	(void)snprintf(line, sizeof(line),
		       "it is cut short: it ends after %" PRIu64
		       " bytes, without an end",
		       reader->offset);
	return say(reader, -ENODATA, line);
}

static int say_errno(struct tide_trace_reader *reader, int err)
{
	const char *text = strerrordesc_np(-err);
	char line[96];

	(void)snprintf(line, sizeof(line), "it cannot be read: %s",
		       text ? text : "an unknown error");
	return say(reader, err, line);
}

/* ---- bytes ---- */

static ssize_t read_some(int fd, void *to, size_t size)
{
	ssize_t n;

	do {
		n = read(fd, to, size);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/*
 * The next @size bytes.  Return: how many there were, which is less at the end
 * only; or read's error, said.
 */
static ssize_t take(struct tide_trace_reader *reader, void *to, size_t size)
{
	size_t done = 0;

	while (done < size) {
		size_t have = reader->filled - reader->at;
		ssize_t n;

		if (have) {
			have = have < size - done ? have : size - done;
			memcpy((uint8_t *)to + done,
			       reader->buffer + reader->at, have);
			reader->at += have;
			done += have;
			continue;
		}
		n = read_some(reader->fd, reader->buffer, BUFFER_SIZE);
		if (n < 0)
			return say_errno(reader, (int)n);
		if (n == 0)
			break;
		reader->at = 0;
		reader->filled = (size_t)n;
	}
	reader->offset += done;
	return (ssize_t)done;
}

/* All of them.  Return: 0; or an error, said. */
static int take_all(struct tide_trace_reader *reader, void *to, size_t size)
{
	ssize_t n = take(reader, to, size);

	if (n < 0)
		return (int)n;
	return (size_t)n < size ? say_cut(reader) : 0;
}

/* ---- front ---- */

static int read_front(struct tide_trace_reader *reader,
		      struct tide_trace_info *ret_info)
{
	uint8_t front[TIDE_TRACE_FRONT_SIZE], info[TIDE_TRACE_SMALL_MAX];
	ssize_t n = take(reader, front, sizeof(front));
	const char *wrong;
	size_t size = 0;
	int err;

	if (n < 0)
		return (int)n;
	/* A short file that is something else is not a trace cut short. */
	if (tide_trace_magic(front, (size_t)n) < (size_t)n)
		return say(reader, -EBADMSG, "it is no trace");
	if ((size_t)n < sizeof(front))
		return say_cut(reader);
	wrong = tide_trace_front_decode(front, &size, &reader->check, &err);
	if (wrong)
		return say(reader, err, wrong);
	assert(size <= sizeof(info));
	err = take_all(reader, info, size);
	if (err)
		return err;
	wrong = tide_trace_info_decode(front, info, size, ret_info);
	return wrong ? say(reader, -EBADMSG, wrong) : 0;
}

int tide_trace_open(int fd, struct tide_trace_reader **ret,
		    struct tide_trace_info *ret_info, char *why, size_t size)
{
	struct tide_trace_reader *reader = calloc(1, sizeof(*reader));
	struct tide_trace_info info = { 0 };
	int err;

	if (why && size)
		why[0] = '\0';
	if (!reader) {
		if (why && size)
			(void)snprintf(why, size, "there is no memory");
		return -ENOMEM;
	}
	reader->fd = fd;
	reader->why = why;
	reader->why_size = size;
	reader->buffer = malloc(BUFFER_SIZE);
	reader->zstd = ZSTD_createDCtx();
	if (!reader->buffer || !reader->zstd)
		err = say(reader, -ENOMEM, "there is no memory");
	else
		err = read_front(reader, &info);
	if (err) {
		tide_trace_close(reader);
		return err;
	}
	reader->interval_ns = info.interval_ns;
	*ret = reader;
	*ret_info = info;
	return 0;
}

uint64_t tide_trace_reader_interval_ns(const struct tide_trace_reader *reader)
{
	return reader->interval_ns;
}

void tide_trace_close(struct tide_trace_reader *reader)
{
	if (!reader)
		return;
	(void)ZSTD_freeDCtx(reader->zstd); /* always 0 */
	tide_trace_table_fini(&reader->table);
	free(reader->buffer);
	free(reader->stored.bytes);
	free(reader->payload.bytes);
	free(reader->before.bytes);
	free(reader->runs.runs);
	free(reader);
}

/* ---- records ---- */

static int take_payload(struct tide_trace_reader *reader,
			const struct tide_trace_head *head)
{
	uint8_t tail[TIDE_TRACE_TAIL_SIZE];
	uint64_t sum;
	int err;

	reader->stored.size = 0;
	if (tide_trace_bytes_room(&reader->stored, head->size))
		return say_record(reader, -ENOMEM, "there is no memory");
	err = take_all(reader, reader->stored.bytes, head->size);
	if (!err)
		err = take_all(reader, tail, sizeof(tail));
	if (err)
		return err;
	reader->stored.size = head->size;
	sum = tide_trace_sum(reader->stored.bytes, head->size, head->check);
	if (!tide_trace_tail_is(tail, sum))
		return say_record(reader, -EBADMSG, "it is damaged");
	reader->check = sum;
	return 0;
}

static int mapping_came(struct tide_trace_reader *reader,
			struct tide_trace_event *event)
{
	const char *wrong = tide_trace_mapping_decode(
		reader->stored.bytes, reader->stored.size, &event->mapping);
	int err;

	if (!wrong)
		wrong = tide_trace_mapping_wrong(&reader->table,
						 &event->mapping); /* I1 */
	if (wrong)
		return say_record(reader, -EBADMSG, wrong);
	err = tide_trace_table_room(&reader->table);
	if (err)
		return say_record(
			reader, err == -E2BIG ? -EBADMSG : err,
			err == -E2BIG ? "there are more mappings than can be"
				      : "there is no memory");
	tide_trace_table_add(&reader->table, &event->mapping);
	event->kind = TIDE_TRACE_MAPPING;
	return 1;
}

static int mapping_went(struct tide_trace_reader *reader,
			struct tide_trace_event *event)
{
	const struct tide_trace_mapping *mapping;
	uint32_t id = 0;
	const char *wrong = tide_trace_gone_decode(reader->stored.bytes,
						   reader->stored.size, &id);

	if (wrong)
		return say_record(reader, -EBADMSG, wrong);
	mapping = tide_trace_table_find(&reader->table, id);
	if (!mapping) /* I1 */
		return say_record(reader, -EBADMSG,
				  "a mapping goes that is not there");
	event->mapping = *mapping;
	event->kind = TIDE_TRACE_GONE;
	tide_trace_table_remove(&reader->table, id);
	return 1;
}

/* What zstd made of the payload, with the last one as its prefix. */
static int decompress(struct tide_trace_reader *reader)
{
	const struct tide_trace_bytes *stored = &reader->stored;
	unsigned long long size =
		ZSTD_getFrameContentSize(stored->bytes, stored->size);

	if (size == ZSTD_CONTENTSIZE_ERROR ||
	    size == ZSTD_CONTENTSIZE_UNKNOWN || size > TIDE_TRACE_RAW_MAX ||
	    size < TIDE_TRACE_ZSTD_MIN ||
	    ZSTD_findFrameCompressedSize(stored->bytes, stored->size) !=
		    stored->size)
		return say_record(reader, -EBADMSG,
				  "what is compressed in it has no such size");
	reader->payload.size = 0;
	if (tide_trace_bytes_room(&reader->payload, (size_t)size))
		return say_record(reader, -ENOMEM, "there is no memory");
	if (ZSTD_isError(ZSTD_DCtx_refPrefix(reader->zstd, reader->before.bytes,
					     reader->before.size)) ||
	    ZSTD_decompressDCtx(reader->zstd, reader->payload.bytes,
				(size_t)size, stored->bytes,
				stored->size) != size)
		return say_record(reader, -EBADMSG,
				  "it cannot be decompressed");
	reader->payload.size = (size_t)size;
	return 0;
}

static void swap_bytes(struct tide_trace_bytes *a, struct tide_trace_bytes *b)
{
	struct tide_trace_bytes other = *a;

	*a = *b;
	*b = other;
}

static int interval_came(struct tide_trace_reader *reader, uint8_t flags,
			 struct tide_trace_event *event)
{
	struct tide_trace_bytes *payload = &reader->payload;
	const char *wrong;
	int err;

	if (flags & TIDE_TRACE_ZSTD) {
		err = decompress(reader);
		if (err)
			return err;
	} else {
		swap_bytes(&reader->stored, payload);
	}
	wrong = tide_trace_interval_decode(payload->bytes, payload->size,
					   reader->table.end_ns, &reader->runs,
					   &event->interval, &err);
	if (wrong)
		return say_record(reader, err, wrong);
	wrong = tide_trace_interval_wrong(&reader->table, &event->interval,
					  &event->interval.pages); /* I1 */
	if (wrong)
		return say_record(reader, -EBADMSG, wrong);
	reader->table.end_ns = event->interval.end_ns;
	event->kind = TIDE_TRACE_INTERVAL;
	if (payload->size >= TIDE_TRACE_ZSTD_MIN) /* I3 */
		swap_bytes(payload, &reader->before);
	return 1;
}

int tide_trace_next(struct tide_trace_reader *reader,
		    struct tide_trace_event *ret)
{
	uint8_t bytes[TIDE_TRACE_HEAD_SIZE];
	struct tide_trace_event event = { 0 };
	struct tide_trace_head head;
	const char *wrong;
	int got;

	if (reader->over) /* I2 */
		return reader->err;
	reader->record++;
	reader->record_offset = reader->offset;
	got = take_all(reader, bytes, sizeof(bytes));
	if (got)
		return got;
	wrong = tide_trace_head_decode(bytes, reader->check, &head);
	if (wrong)
		return say_record(reader, -EBADMSG, wrong);
	got = take_payload(reader, &head);
	if (got)
		return got;
	switch (head.type) {
	case TIDE_TRACE_TYPE_MAPPING:
		got = mapping_came(reader, &event);
		break;
	case TIDE_TRACE_TYPE_GONE:
		got = mapping_went(reader, &event);
		break;
	case TIDE_TRACE_TYPE_INTERVAL:
		got = interval_came(reader, head.flags, &event);
		break;
	default:
		assert(head.type == TIDE_TRACE_TYPE_END);
		return end_with(reader, 0);
	}
	if (got == 1)
		*ret = event;
	return got;
}
