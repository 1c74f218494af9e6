/* SPDX-License-Identifier: MIT */
/*
 * trace_fuzz.c - the reader of traces against any bytes whatsoever
 *
 * The first byte says what the rest is.  PLAIN: a trace, as it is.  MEND: a
 * trace whose sums are made right first, so that what the fuzzer changes is
 * looked at rather than refused at the first comparison.  BUILD: records, each
 * of a type, flags, two bytes of size and the payload, which are put together
 * to a trace, and compressed where the flags say so.
 *
 * What must hold: no crash, an error that the manual names and a sentence with
 * it; and whatever is returned, a writer takes it, and what the writer wrote
 * is the same events again.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "trace_script.h"

#define MEND 1u
#define BUILD 2u

#define PAYLOAD_MAX 8192u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int in_fd = -1, out_fd = -1;

static void refill(int *fd, const void *bytes, size_t size)
{
	if (*fd < 0)
		*fd = memfd_create("trace", MFD_CLOEXEC);
	assert(*fd >= 0);
	assert(!ftruncate(*fd, 0));
	assert(pwrite(*fd, bytes, size, 0) == (ssize_t)size);
	assert(lseek(*fd, 0, SEEK_SET) == 0);
}

static bool known_error(int err)
{
	return err == 0 || err == -EBADMSG || err == -ENODATA ||
	       err == -EPROTONOSUPPORT;
}

static uint64_t mix(uint64_t sum, const void *bytes, size_t size)
{
	return tide_trace_sum(bytes, size, sum);
}

static uint64_t sum_mapping(uint64_t sum,
			    const struct tide_trace_mapping *mapping)
{
	const uint64_t numbers[] = {
		mapping->id,
		mapping->pid,
		mapping->first_gfn,
		mapping->npages,
		mapping->zero_pages,
		mapping->populated_pages,
		(uint64_t)mapping->shared,
	};

	sum = mix(sum, numbers, sizeof(numbers));
	return mix(sum, mapping->name, sizeof(mapping->name));
}

static uint64_t sum_interval(uint64_t sum,
			     const struct tide_trace_interval *interval)
{
	const uint64_t numbers[] = {
		interval->begin_ns, interval->end_ns, interval->harvest_ns,
		interval->held_ns,  interval->pages,  interval->nruns,
	};

	sum = mix(sum, numbers, sizeof(numbers));
	for (size_t i = 0; i < interval->nruns; i++) {
		const uint64_t run[] = {
			interval->runs[i].mapping,
			interval->runs[i].first_page,
			interval->runs[i].npages,
		};

		sum = mix(sum, run, sizeof(run));
	}
	return sum;
}

/* Nothing that comes may break the rules of the put calls. */
static void put(struct tide_trace_writer *writer,
		const struct tide_trace_event *event)
{
	switch (event->kind) {
	case TIDE_TRACE_MAPPING:
		assert(!tide_trace_put_mapping(writer, &event->mapping));
		break;
	case TIDE_TRACE_GONE:
		assert(!tide_trace_put_gone(writer, event->mapping.id));
		break;
	case TIDE_TRACE_INTERVAL:
		assert(!tide_trace_put_interval(writer, &event->interval));
		break;
	default:
		abort(); /* a kind of its own */
	}
}

/* @copy: write what comes to out_fd, too.  Return: a sum of it all. */
static uint64_t play(int fd, bool copy, int *ret_err)
{
	struct tide_trace_writer *writer = NULL;
	struct tide_trace_reader *reader;
	struct tide_trace_event event;
	struct tide_trace_info info;
	uint64_t sum = 0;
	char why[128];
	int got = tide_trace_open(fd, &reader, &info, why, sizeof(why));

	*ret_err = got;
	assert(known_error(got));
	assert(!got || why[0]);
	if (got)
		return 0;
	if (copy) {
		refill(&out_fd, "", 0);
		assert(!tide_trace_create(out_fd, &info, &writer));
	}
	while ((got = tide_trace_next(reader, &event)) == 1) {
		sum = event.kind == TIDE_TRACE_INTERVAL
			      ? sum_interval(sum, &event.interval)
			      : sum_mapping(sum + event.kind, &event.mapping);
		if (copy)
			put(writer, &event);
	}
	assert(known_error(got) && got != -EPROTONOSUPPORT);
	assert(!got || (why[0] && !strchr(why, '\n')));
	assert(tide_trace_next(reader, &event) == got);
	tide_trace_close(reader);
	if (copy)
		assert(!tide_trace_finish(writer));
	*ret_err = got;
	return sum;
}

static void build(const uint8_t *data, size_t size, struct trace_script *script)
{
	const uint8_t *prefix = NULL;
	size_t prefix_size = 0;

	trace_script_begin(script);
	while (size >= 4) {
		uint8_t type = data[0], flags = data[1];
		size_t length = (data[2] | (size_t)data[3] << 8) % PAYLOAD_MAX;

		data += 4;
		size -= 4;
		if (length > size)
			length = size;
		if (type == TIDE_TRACE_TYPE_INTERVAL &&
		    flags == TIDE_TRACE_ZSTD)
			trace_script_zstd(script, data, length, prefix,
					  prefix_size);
		else
			trace_script_record(script, type, flags, data, length);
		if (type == TIDE_TRACE_TYPE_INTERVAL &&
		    length >= TIDE_TRACE_ZSTD_MIN) {
			prefix = data;
			prefix_size = length;
		}
		data += length;
		size -= length;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct trace_script script = { 0 };
	uint64_t sum;
	int err, again;

	if (!size)
		return 0;
	if (data[0] == BUILD) {
		build(data + 1, size - 1, &script);
	} else {
		assert(!tide_trace_bytes_room(&script.out, size));
		memcpy(script.out.bytes, data + 1, size - 1);
		script.out.size = size - 1;
		if (data[0] == MEND)
			trace_script_mend(script.out.bytes, script.out.size);
	}
	refill(&in_fd, script.out.bytes, script.out.size);
	sum = play(in_fd, true, &err);
	if (!err || (err != -EPROTONOSUPPORT && sum)) {
		assert(lseek(out_fd, 0, SEEK_SET) == 0);
		assert(play(out_fd, false, &again) == sum && !again);
	}
	trace_script_free(&script);
	return 0;
}
