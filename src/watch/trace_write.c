/* SPDX-License-Identifier: MIT */
/*
 * trace_write.c - a trace goes out, record by record
 *
 * Theory of operation
 * -------------------
 * A record is put together in memory and written in one piece, at once: what
 * was put before a crash is in the file.  The runs of an interval are
 * compressed with those of the last interval as a prefix, and stay as they are
 * where that makes them no smaller.
 *
 * Invariants
 *   I1  nothing that breaks the rules is written
 *   I2  after a write that failed nothing is written any more: the reader could
 *       not find the beginning of a record
 *   I3  check is the last sum that was written, before lies what the reader
 *       has as the prefix, too
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zstd.h>

#include <tidemark/trace.h>

#include "watch/trace_format.h"
#include "watch/trace_table.h"

/* Runs repeat, or do not: more effort finds no more. */
#define ZSTD_LEVEL 1

struct tide_trace_writer {
	int fd;
	int err;	/* of the write that failed: I2 */
	uint64_t check; /* I3 */
	struct tide_trace_table table;
	struct tide_trace_bytes payload, before; /* not compressed */
	struct tide_trace_bytes record;
	ZSTD_CCtx *zstd;
};

static int write_all(int fd, const uint8_t *bytes, size_t size)
{
	while (size) {
		ssize_t n = write(fd, bytes, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO; /* it would be for ever */
		bytes += n;
		size -= (size_t)n;
	}
	return 0;
}

/* What follows would have no beginning: I2. */
static int write_or_break(struct tide_trace_writer *writer,
			  const uint8_t *bytes, size_t size)
{
	writer->err = write_all(writer->fd, bytes, size);
	return writer->err;
}

/* The payload is in the record, behind the room for the head. */
static int send_record(struct tide_trace_writer *writer,
		       enum tide_trace_type type, uint8_t flags)
{
	struct tide_trace_bytes *record = &writer->record;
	size_t size = record->size - TIDE_TRACE_HEAD_SIZE;
	struct tide_trace_head head = {
		.size = (uint32_t)size,
		.type = (uint8_t)type,
		.flags = flags,
	};
	uint64_t sum;

	assert(!writer->err); /* I2 */
	assert(size <= TIDE_TRACE_RAW_MAX);
	assert(record->max - record->size >= TIDE_TRACE_TAIL_SIZE);
	tide_trace_head_encode(&head, writer->check, record->bytes);
	sum = tide_trace_sum(record->bytes + TIDE_TRACE_HEAD_SIZE, size,
			     head.check);
	tide_trace_tail_encode(sum, record->bytes + record->size);
	writer->check = sum; /* I3 */
	return write_or_break(writer, record->bytes,
			      record->size + TIDE_TRACE_TAIL_SIZE);
}

/* A record whose payload will have at most @payload_max bytes. */
static int begin_record(struct tide_trace_writer *writer, size_t payload_max)
{
	writer->record.size = 0;
	if (tide_trace_bytes_room(&writer->record,
				  TIDE_TRACE_HEAD_SIZE + payload_max +
					  TIDE_TRACE_TAIL_SIZE))
		return -ENOMEM;
	writer->record.size = TIDE_TRACE_HEAD_SIZE;
	return 0;
}

int tide_trace_create(int fd, const struct tide_trace_info *info,
		      struct tide_trace_writer **ret)
{
	uint8_t front[TIDE_TRACE_FRONT_SIZE + TIDE_TRACE_SMALL_MAX];
	struct tide_trace_writer *writer;
	size_t size;
	int err;

	if (!info->interval_ns ||
	    !memchr(info->command, 0, sizeof(info->command)))
		return -EINVAL;
	writer = calloc(1, sizeof(*writer));
	if (!writer)
		return -ENOMEM;
	writer->fd = fd;
	writer->zstd = ZSTD_createCCtx();
	err = -ENOMEM;
	if (!writer->zstd ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(
		    writer->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL)))
		goto fail;
	size = tide_trace_front_encode(info, front, &writer->check);
	err = write_or_break(writer, front, size);
	if (err)
		goto fail;
	*ret = writer;
	return 0;
fail:
	tide_trace_abandon(writer);
	return err;
}

void tide_trace_abandon(struct tide_trace_writer *writer)
{
	if (!writer)
		return;
	(void)ZSTD_freeCCtx(writer->zstd); /* always 0 */
	tide_trace_table_fini(&writer->table);
	free(writer->payload.bytes);
	free(writer->before.bytes);
	free(writer->record.bytes);
	free(writer);
}

int tide_trace_put_mapping(struct tide_trace_writer *writer,
			   const struct tide_trace_mapping *mapping)
{
	int err;

	if (writer->err)
		return writer->err;
	if (tide_trace_mapping_wrong(&writer->table, mapping)) /* I1 */
		return -EINVAL;
	err = tide_trace_table_room(&writer->table);
	if (!err)
		err = begin_record(writer, TIDE_TRACE_SMALL_MAX);
	if (!err)
		err = tide_trace_mapping_encode(mapping, &writer->record);
	if (err)
		return err;
	tide_trace_table_add(&writer->table, mapping);
	return send_record(writer, TIDE_TRACE_TYPE_MAPPING, 0);
}

int tide_trace_put_gone(struct tide_trace_writer *writer, uint32_t mapping)
{
	int err;

	if (writer->err)
		return writer->err;
	if (!tide_trace_table_find(&writer->table, mapping)) /* I1 */
		return -ENOENT;
	err = begin_record(writer, TIDE_TRACE_SMALL_MAX);
	if (!err)
		err = tide_trace_gone_encode(mapping, &writer->record);
	if (err)
		return err;
	tide_trace_table_remove(&writer->table, mapping);
	return send_record(writer, TIDE_TRACE_TYPE_GONE, 0);
}

/* The payload goes to the record, if that makes it smaller. */
static bool compress_payload(struct tide_trace_writer *writer)
{
	const struct tide_trace_bytes *payload = &writer->payload;
	size_t size;

	if (payload->size < TIDE_TRACE_ZSTD_MIN)
		return false;
	if (ZSTD_isError(ZSTD_CCtx_refPrefix(writer->zstd, writer->before.bytes,
					     writer->before.size)))
		return false;
	size = ZSTD_compress2(writer->zstd,
			      writer->record.bytes + writer->record.size,
			      payload->size - 1, payload->bytes, payload->size);
	if (ZSTD_isError(size)) {
		/* No smaller, for one.  A session that is gone cannot fail. */
		(void)ZSTD_CCtx_reset(writer->zstd, ZSTD_reset_session_only);
		return false;
	}
	writer->record.size += size;
	return true;
}

static int send_interval(struct tide_trace_writer *writer)
{
	struct tide_trace_bytes *payload = &writer->payload;
	struct tide_trace_bytes before = writer->before;
	bool zstd;
	int err = begin_record(writer, payload->size);

	if (err)
		return err;
	zstd = compress_payload(writer);
	if (!zstd) {
		memcpy(writer->record.bytes + writer->record.size,
		       payload->bytes, payload->size);
		writer->record.size += payload->size;
	}
	if (payload->size >= TIDE_TRACE_ZSTD_MIN) { /* I3 */
		writer->before = *payload;
		*payload = before;
	}
	return send_record(writer, TIDE_TRACE_TYPE_INTERVAL,
			   zstd ? TIDE_TRACE_ZSTD : 0);
}

int tide_trace_put_interval(struct tide_trace_writer *writer,
			    const struct tide_trace_interval *interval)
{
	uint64_t pages;
	int err;

	if (writer->err)
		return writer->err;
	if (tide_trace_interval_wrong(&writer->table, interval, &pages))
		return -EINVAL; /* I1 */
	writer->payload.size = 0;
	err = tide_trace_interval_encode(interval, &writer->payload);
	if (!err)
		err = send_interval(writer);
	if (!err)
		writer->table.end_ns = interval->end_ns;
	return err;
}

int tide_trace_finish(struct tide_trace_writer *writer)
{
	int err = writer->err;

	if (!err)
		err = begin_record(writer, 0);
	if (!err)
		err = send_record(writer, TIDE_TRACE_TYPE_END, 0);
	tide_trace_abandon(writer);
	return err;
}
