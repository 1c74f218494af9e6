/* SPDX-License-Identifier: MIT */
/*
 * rehearse_sink.h - the records of a rehearsal, and where they go
 *
 * docs/rehearse.md has the format.
 */
#ifndef TIDE_WATCH_REHEARSE_SINK_H
#define TIDE_WATCH_REHEARSE_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define SINK_HEAD_BYTES 40u
#define SINK_RECORDS_MAX 64u /* in one write */
#define SINK_WAIT_NS 50000000u

enum sink_type {
	SINK_ROUND = 1,
	SINK_PAGES = 2,
	SINK_ZERO = 3,
	SINK_END = 4,
};

struct sink {
	int fd; /* -1: nowhere */
	bool is_socket;
	size_t write_max; /* that does not block when poll says so; 0: any */
	/* Called while nothing can be written; other than 0 ends the wait. */
	int (*tick)(void *opaque);
	void *opaque;

	/* To be written, at most SINK_RECORDS_MAX records. */
	uint32_t records, vectors;
	size_t bytes;
	uint8_t heads[SINK_RECORDS_MAX][SINK_HEAD_BYTES];
	struct iovec iov[2 * SINK_RECORDS_MAX];
};

/* Return: 0; -EBADF and its kind. */
int sink_init(struct sink *sink, int fd, int (*tick)(void *opaque),
	      void *opaque);

/* One more record; @data is only looked at here and in sink_flush(). */
void sink_put(struct sink *sink, enum sink_type type, uint64_t first,
	      uint64_t count, const void *data, size_t nbytes);

/* Return: how many bytes were written; the error of the descriptor, or of
 * tick. */
int64_t sink_flush(struct sink *sink);

#endif
