/* SPDX-License-Identifier: MIT */
/*
 * trace_format.h - the records of a trace, as bytes and as structs
 *
 * Pure functions: bytes to struct, or what is wrong with them; they look at the
 * form only.  What the records of a trace have to do with each other is
 * trace_table.h's.  The format is at the top of trace_format.c.
 */
#ifndef TIDE_WATCH_TRACE_FORMAT_H
#define TIDE_WATCH_TRACE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include <tidemark/trace.h>

#define TIDE_TRACE_VERSION 1u
#define TIDE_TRACE_FRONT_SIZE 32u /* bytes of the front */
#define TIDE_TRACE_INFO_SIZE 20u  /* bytes of the info before its command */
#define TIDE_TRACE_HEAD_SIZE 8u	  /* bytes before a record's payload */
#define TIDE_TRACE_TAIL_SIZE 4u	  /* and after it */
#define TIDE_TRACE_SMALL_MAX 256u /* payload of all others but INTERVAL */
#define TIDE_TRACE_RAW_MAX (16u << 20)	/* of an INTERVAL, not compressed */
#define TIDE_TRACE_ZSTD_MIN 64u		/* a smaller one is not compressed */
#define TIDE_TRACE_GFN_MAX (1ull << 52) /* exclusive: addresses have 64 bits */

#define TIDE_TRACE_ZSTD 1u /* a record's flag */

enum tide_trace_type {
	TIDE_TRACE_TYPE_MAPPING = 1,
	TIDE_TRACE_TYPE_GONE = 2,
	TIDE_TRACE_TYPE_INTERVAL = 3,
	TIDE_TRACE_TYPE_END = 4
};

struct tide_trace_head {
	uint32_t size; /* of the payload */
	uint8_t type, flags;
	uint64_t check; /* where the payload's sum begins */
};

/* What is being written; zeroed is empty. */
struct tide_trace_bytes {
	uint8_t *bytes;
	size_t size, max;
};

/* Runs that were read; zeroed is empty. */
struct tide_trace_runs {
	struct tide_trace_run *runs;
	size_t count, max;
};

/** tide_trace_bytes_room() - for @more bytes, which may be none; there are
 * bytes afterwards.  Return: 0; -ENOMEM. */
int tide_trace_bytes_room(struct tide_trace_bytes *to, size_t more);

/* The front and the info after it.  Return: their size. */
size_t tide_trace_front_encode(
	const struct tide_trace_info *info,
	uint8_t ret[TIDE_TRACE_FRONT_SIZE + TIDE_TRACE_SMALL_MAX],
	uint64_t *ret_check);

/* How many bytes of a magic number @bytes begins with: @size, if it may be one.
 */
size_t tide_trace_magic(const uint8_t *bytes, size_t size);

/* What is wrong, or NULL; *ret_err says which error it is. */
const char *tide_trace_front_decode(const uint8_t front[TIDE_TRACE_FRONT_SIZE],
				    size_t *ret_size, uint64_t *ret_check,
				    int *ret_err);
const char *tide_trace_info_decode(const uint8_t front[TIDE_TRACE_FRONT_SIZE],
				   const uint8_t *info, size_t size,
				   struct tide_trace_info *ret);

/* @check: where the last record, or the front, ended. */
void tide_trace_head_encode(struct tide_trace_head *head, uint64_t check,
			    uint8_t ret[TIDE_TRACE_HEAD_SIZE]);
const char *tide_trace_head_decode(const uint8_t head[TIDE_TRACE_HEAD_SIZE],
				   uint64_t check, struct tide_trace_head *ret);
/* The sum of a payload, from which the next record's goes on. */
uint64_t tide_trace_sum(const void *payload, size_t size, uint64_t check);
void tide_trace_tail_encode(uint64_t sum, uint8_t ret[TIDE_TRACE_TAIL_SIZE]);
int tide_trace_tail_is(const uint8_t tail[TIDE_TRACE_TAIL_SIZE], uint64_t sum);

/* Payloads.  encode appends.  Return: 0; -ENOMEM; an interval: -E2BIG. */
int tide_trace_mapping_encode(const struct tide_trace_mapping *mapping,
			      struct tide_trace_bytes *to);
int tide_trace_gone_encode(uint32_t id, struct tide_trace_bytes *to);
int tide_trace_interval_encode(const struct tide_trace_interval *interval,
			       struct tide_trace_bytes *to);

/* decode: what is wrong, or NULL; without memory *ret_err is -ENOMEM. */
const char *tide_trace_mapping_decode(const uint8_t *payload, size_t size,
				      struct tide_trace_mapping *ret);
const char *tide_trace_gone_decode(const uint8_t *payload, size_t size,
				   uint32_t *ret_id);
/* @begin_ns: where the last interval ended; the runs go to @runs. */
const char *tide_trace_interval_decode(const uint8_t *payload, size_t size,
				       uint64_t begin_ns,
				       struct tide_trace_runs *runs,
				       struct tide_trace_interval *ret,
				       int *ret_err);

#endif
