/* SPDX-License-Identifier: MIT */
/*
 * trace_corpus.c - writes the seed corpus of the trace fuzzer
 *
 * Usage: trace_corpus tests/fuzz/corpus/trace
 *
 * The first byte is the mode of trace_fuzz.c: 0 a trace as it is, 1 one whose
 * sums are mended, 2 records to put together.
 */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace_script.h"

#define RUNS 200u

static const char *directory;

static void keep(const char *name, uint8_t mode, const void *bytes, size_t size)
{
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);

	FILE *file = fopen(path, "wb");

	if (!file) {
		perror(path);
		exit(1);
	}
	assert(fwrite(&mode, 1, 1, file) == 1);
	assert(fwrite(bytes, 1, size, file) == size);
	assert(!fclose(file));
}

static void keep_script(struct trace_script *script, const char *name)
{
	char text[64];

	for (uint8_t mode = 0; mode < 2; mode++) {
		(void)snprintf(text, sizeof(text), "%s-%s", name,
			       mode ? "mended" : "plain");
		keep(text, mode, script->out.bytes, script->out.size);
	}
	trace_script_free(script);
}

/* The payload of an interval of @nruns runs, the pages @step apart. */
static struct tide_trace_bytes interval_of(size_t nruns, uint64_t step)
{
	struct tide_trace_run runs[RUNS];
	const struct tide_trace_interval interval = {
		.end_ns = 100000000,
		.harvest_ns = 200000,
		.held_ns = 50000,
		.runs = runs,
		.nruns = nruns,
	};
	struct tide_trace_bytes payload = { 0 };

	assert(nruns <= RUNS);
	for (size_t i = 0; i < nruns; i++)
		runs[i] = (struct tide_trace_run){
			.mapping = 1,
			.first_page = i * step,
			.npages = 1 + i % (step - 1),
		};
	assert(!tide_trace_interval_encode(&interval, &payload));
	return payload;
}

static void put_interval(struct trace_script *script, size_t nruns,
			 uint64_t step)
{
	struct tide_trace_bytes payload = interval_of(nruns, step);

	trace_script_record(script, TIDE_TRACE_TYPE_INTERVAL, 0, payload.bytes,
			    payload.size);
	free(payload.bytes);
}

static void write_traces(void)
{
	static const uint8_t gone[] = { 1 };
	struct trace_script script = { 0 };
	struct tide_trace_bytes payload;

	trace_script_begin(&script);
	trace_script_end(&script);
	keep_script(&script, "empty");

	trace_script_begin(&script);
	trace_script_mapping(&script);
	put_interval(&script, 0, 2);
	put_interval(&script, 10, 5);
	trace_script_record(&script, TIDE_TRACE_TYPE_GONE, 0, gone, 1);
	put_interval(&script, 0, 2);
	trace_script_end(&script);
	keep_script(&script, "small");

	payload = interval_of(RUNS, 5);
	trace_script_begin(&script);
	trace_script_mapping(&script);
	trace_script_zstd(&script, payload.bytes, payload.size, NULL, 0);
	trace_script_zstd(&script, payload.bytes, payload.size, payload.bytes,
			  payload.size);
	put_interval(&script, 1, 2);
	trace_script_end(&script);
	keep_script(&script, "compressed");
	free(payload.bytes);
}

/* type, flags, size, payload */
static void put_item(struct tide_trace_bytes *to, uint8_t type, uint8_t flags,
		     const void *payload, size_t size)
{
	const uint8_t head[] = { type, flags, (uint8_t)size,
				 (uint8_t)(size >> 8) };

	assert(!tide_trace_bytes_room(to, sizeof(head) + size));
	memcpy(to->bytes + to->size, head, sizeof(head));
	to->size += sizeof(head);
	if (size)
		memcpy(to->bytes + to->size, payload, size);
	to->size += size;
}

static void write_items(void)
{
	static const uint8_t mapping[] = { 1,	 7,    0x80, 1, 0x80,
					   0x10, 0x20, 3,    0, 'm' };
	struct tide_trace_bytes payload, items = { 0 };
	char name[32];

	for (uint8_t flags = 0; flags < 2; flags++) {
		items.size = 0;
		put_item(&items, TIDE_TRACE_TYPE_MAPPING, 0, mapping,
			 sizeof(mapping));
		for (size_t i = 0; i < 4; i++) {
			payload = interval_of(i % 2 ? RUNS : 7, 3 + i);
			put_item(&items, TIDE_TRACE_TYPE_INTERVAL, flags,
				 payload.bytes, payload.size);
			free(payload.bytes);
		}
		put_item(&items, TIDE_TRACE_TYPE_GONE, 0, mapping, 1);
		put_item(&items, TIDE_TRACE_TYPE_END, 0, NULL, 0);
		(void)snprintf(name, sizeof(name), "items-%u", flags);
		keep(name, 2, items.bytes, items.size);
	}
	free(items.bytes);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: trace_corpus DIRECTORY\n");
		return 2;
	}
	directory = argv[1];
	write_traces();
	write_items();
	return 0;
}
