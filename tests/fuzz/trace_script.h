/* SPDX-License-Identifier: MIT */
/*
 * trace_script.h - traces written by hand, right or wrong
 *
 * Records with right sums around any payload; and sums made right in bytes that
 * somebody has changed.
 */
#ifndef TIDE_TESTS_TRACE_SCRIPT_H
#define TIDE_TESTS_TRACE_SCRIPT_H

#include <stddef.h>
#include <stdint.h>

#include "watch/trace_format.h"

struct trace_script {
	struct tide_trace_bytes out;
	uint64_t check; /* where the next sum begins */
};

/* The front and an info: pid 7, "command". */
void trace_script_begin(struct trace_script *script);
void trace_script_record(struct trace_script *script, uint8_t type,
			 uint8_t flags, const void *payload, size_t size);
/* One mapping: id 1, 1000 pages. */
void trace_script_mapping(struct trace_script *script);
void trace_script_end(struct trace_script *script);
/* Compressed, with @prefix. */
void trace_script_zstd(struct trace_script *script, const void *payload,
		       size_t size, const void *prefix, size_t prefix_size);
void trace_script_free(struct trace_script *script);

/* The bytes as a file to read.  close() it. */
int trace_script_fd(const void *bytes, size_t size);

/* Make the sums right, as far as sizes lead from record to record. */
void trace_script_mend(uint8_t *bytes, size_t size);

#endif
