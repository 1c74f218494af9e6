/* SPDX-License-Identifier: MIT */
/* trace_script.c - traces written by hand, right or wrong */
#undef NDEBUG
#include "trace_script.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <zstd.h>

static void append(struct trace_script *script, const void *bytes, size_t size)
{
	assert(!tide_trace_bytes_room(&script->out, size + 1));
	if (size)
		memcpy(script->out.bytes + script->out.size, bytes, size);
	script->out.size += size;
}

void trace_script_begin(struct trace_script *script)
{
	const struct tide_trace_info info = {
		.start_ns = 1,
		.interval_ns = 100000000,
		.pid = 7,
		.command = "command",
	};
	uint8_t front[TIDE_TRACE_FRONT_SIZE + TIDE_TRACE_SMALL_MAX];
	size_t size = tide_trace_front_encode(&info, front, &script->check);

	append(script, front, size);
}

void trace_script_record(struct trace_script *script, uint8_t type,
			 uint8_t flags, const void *payload, size_t size)
{
	struct tide_trace_head head = {
		.size = (uint32_t)size,
		.type = type,
		.flags = flags,
	};
	uint8_t bytes[TIDE_TRACE_HEAD_SIZE], tail[TIDE_TRACE_TAIL_SIZE];

	tide_trace_head_encode(&head, script->check, bytes);
	script->check = tide_trace_sum(payload, size, head.check);
	tide_trace_tail_encode(script->check, tail);
	append(script, bytes, sizeof(bytes));
	append(script, payload, size);
	append(script, tail, sizeof(tail));
}

void trace_script_mapping(struct trace_script *script)
{
	const struct tide_trace_mapping mapping = {
		.id = 1,
		.pid = 7,
		.first_gfn = 16,
		.npages = 1000,
		.populated_pages = 10,
		.zero_pages = 5,
		.name = "[heap]",
	};
	struct tide_trace_bytes payload = { 0 };

	assert(!tide_trace_mapping_encode(&mapping, &payload));
	trace_script_record(script, TIDE_TRACE_TYPE_MAPPING, 0, payload.bytes,
			    payload.size);
	free(payload.bytes);
}

void trace_script_end(struct trace_script *script)
{
	trace_script_record(script, TIDE_TRACE_TYPE_END, 0, NULL, 0);
}

void trace_script_zstd(struct trace_script *script, const void *payload,
		       size_t size, const void *prefix, size_t prefix_size)
{
	size_t room = ZSTD_compressBound(size);
	uint8_t *frame = malloc(room), *before = malloc(prefix_size + 1);
	ZSTD_CCtx *zstd = ZSTD_createCCtx();

	assert(frame && before && zstd);
	/* It would not look at a prefix that is the payload itself. */
	if (prefix_size)
		memcpy(before, prefix, prefix_size);
	assert(!ZSTD_isError(ZSTD_CCtx_refPrefix(zstd, before, prefix_size)));
	room = ZSTD_compress2(zstd, frame, room, payload, size);
	assert(!ZSTD_isError(room));
	trace_script_record(script, TIDE_TRACE_TYPE_INTERVAL, TIDE_TRACE_ZSTD,
			    frame, room);
	(void)ZSTD_freeCCtx(zstd);
	free(before);
	free(frame);
}

void trace_script_free(struct trace_script *script)
{
	free(script->out.bytes);
	memset(script, 0, sizeof(*script));
}

int trace_script_fd(const void *bytes, size_t size)
{
	int fd = memfd_create("trace", MFD_CLOEXEC);

	assert(fd >= 0);
	assert(pwrite(fd, bytes, size, 0) == (ssize_t)size);
	return fd;
}

static uint32_t size_at(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return le32toh(value);
}

static void sum_at(uint8_t *to, uint64_t sum)
{
	sum = htole64(sum);
	memcpy(to, &sum, sizeof(sum));
}

/* Offsets: the top of src/watch/trace_format.c. */
void trace_script_mend(uint8_t *bytes, size_t size)
{
	struct tide_trace_head head;
	uint64_t check;
	size_t at, info;

	if (size < TIDE_TRACE_FRONT_SIZE)
		return;
	info = size_at(bytes + 12);
	at = TIDE_TRACE_FRONT_SIZE + info;
	if (at <= size)
		sum_at(bytes + 16,
		       tide_trace_sum(bytes + TIDE_TRACE_FRONT_SIZE, info, 0));
	check = tide_trace_sum(bytes, 24, 0);
	sum_at(bytes + 24, check);
	while (at <= size && size - at >= TIDE_TRACE_HEAD_SIZE) {
		head.size = size_at(bytes + at);
		head.type = bytes[at + 4];
		head.flags = bytes[at + 5];
		tide_trace_head_encode(&head, check, bytes + at);
		at += TIDE_TRACE_HEAD_SIZE;
		if (head.size > size - at ||
		    size - at - head.size < TIDE_TRACE_TAIL_SIZE)
			return;
		check = tide_trace_sum(bytes + at, head.size, head.check);
		at += head.size;
		tide_trace_tail_encode(check, bytes + at);
		at += TIDE_TRACE_TAIL_SIZE;
	}
}
