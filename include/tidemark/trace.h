/* SPDX-License-Identifier: MIT */
/*
 * tidemark/trace.h - which pages were written in which interval, as a file
 *
 * What tidemark record writes, and report and plan read.  A trace is a header,
 * then in order of time: mappings that came, mappings that went, and intervals
 * with the runs of pages that were written in them; then an end.  Format, byte
 * by byte: docs/trace.md.  Every record has a checksum.
 *
 * What it does not do: it does not look at a process (process.h), and keeps no
 * contents of pages.
 *
 * Threads.  Calls on one writer or reader are serialised by the caller.
 *
 * Errors.  0 or a count, or a negative errno value.
 *
 * Manual: tide_trace_create(3), tide_trace_open(3).
 */
#ifndef TIDEMARK_TRACE_H
#define TIDEMARK_TRACE_H

#include <tidemark/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tide_trace_writer; /* opaque */
struct tide_trace_reader; /* opaque */

/* Limits: they are what a reader's memory is bounded by. */
#define TIDE_TRACE_RUNS_MAX ((size_t)1 << 22)	  /* of an interval */
#define TIDE_TRACE_MAPPINGS_MAX ((size_t)1 << 18) /* at a time */

struct tide_trace_info {
	uint64_t start_ns;    /* CLOCK_REALTIME of the trace's time 0 */
	uint64_t interval_ns; /* that was asked for */
	uint32_t pid;	      /* the first process */
	char command[128];    /* its command line; ends with a 0 */
};

/* A mapping of a process.  Its id is never used again in the same trace. */
struct tide_trace_mapping {
	uint32_t id;
	uint32_t pid;
	uint64_t first_gfn; /* address / page size */
	uint64_t npages;
	uint64_t populated_pages; /* that had content when it came, */
	uint64_t zero_pages; /* and of these held zeros only: an estimate */
	int shared;
	char name[64]; /* the file's or the kernel's; ends with a 0 */
};

struct tide_trace_run {
	uint32_t mapping;    /* id */
	uint64_t first_page; /* in the mapping */
	uint64_t npages;
};

struct tide_trace_interval {
	uint64_t begin_ns, end_ns; /* since time 0; they follow each other */
	uint64_t harvest_ns;	   /* that looking took */
	uint64_t held_ns; /* that the target was stopped in it: an attach */
	uint64_t pages;	  /* sum of the runs */
	const struct tide_trace_run *runs;
	size_t nruns;
};

/**
 * tide_trace_create() - begin a trace at the current position of @fd, which
 * stays the caller's
 *
 * Return: 0; -EINVAL: an interval of 0, or a command without an end; -ENOMEM;
 * or write(2)'s error.  After such an error, here and below, every later call
 * returns it again.
 */
TIDE_API TIDE_MUST_CHECK int
tide_trace_create(int fd, const struct tide_trace_info *info,
		  struct tide_trace_writer **ret);

/** tide_trace_put_mapping() - it is there from now on.  Return: 0; -EINVAL: no
 * pages, an end beyond 2^64 bytes, more populated pages than there are or more
 * zero ones than populated, a name without an end, or an id that is not larger
 * than all before; -E2BIG: there are TIDE_TRACE_MAPPINGS_MAX; -ENOMEM; or
 * write(2)'s error. */
TIDE_API TIDE_MUST_CHECK int
tide_trace_put_mapping(struct tide_trace_writer *writer,
		       const struct tide_trace_mapping *mapping);

/** tide_trace_put_gone() - the mapping is not there any more.  Return: 0;
 * -ENOENT; -ENOMEM; or write(2)'s error. */
TIDE_API TIDE_MUST_CHECK int
tide_trace_put_gone(struct tide_trace_writer *writer, uint32_t mapping);

/**
 * tide_trace_put_interval() - what was written in it
 * @interval: its runs are of mappings that are there, sorted by mapping and
 *            page, and do not touch; pages is computed here
 *
 * Return: 0; -EINVAL: it does not begin where the last one ended (the first
 * one: at 0), it ends no later than it begins, or its runs break the rules;
 * -E2BIG: more than TIDE_TRACE_RUNS_MAX runs, or they take more than 16 MiB;
 * -ENOMEM; or write(2)'s error.
 */
TIDE_API TIDE_MUST_CHECK int
tide_trace_put_interval(struct tide_trace_writer *writer,
			const struct tide_trace_interval *interval);

/** tide_trace_finish() - the end: without it the trace is cut short.  The
 * writer is gone, whatever is returned. */
TIDE_API TIDE_MUST_CHECK int
tide_trace_finish(struct tide_trace_writer *writer);

/** tide_trace_abandon() - the same without an end; NULL is fine */
TIDE_API void tide_trace_abandon(struct tide_trace_writer *writer);

enum tide_trace_kind {
	TIDE_TRACE_MAPPING,
	TIDE_TRACE_GONE,
	TIDE_TRACE_INTERVAL,
};

struct tide_trace_event {
	enum tide_trace_kind kind;
	struct tide_trace_mapping mapping;   /* GONE: as it came */
	struct tide_trace_interval interval; /* its runs are the reader's, until
					      * the next call */
};

/**
 * tide_trace_open() - read a trace from the current position of @fd, which
 * stays the caller's and need not be seekable
 * @why: of @size bytes: if it fails, here or in next, why, in one line; may be
 *       NULL; it stays in use until close
 *
 * Return: 0; -EBADMSG: it is no trace, or a broken one; -EPROTONOSUPPORT: of a
 * later version; -ENODATA: cut short; -ENOMEM; or read(2)'s error.
 */
TIDE_API TIDE_MUST_CHECK int tide_trace_open(int fd,
					     struct tide_trace_reader **ret,
					     struct tide_trace_info *ret_info,
					     char *why, size_t size);

/**
 * tide_trace_next() - the next event
 *
 * Whatever bytes come, what is returned keeps the rules of the put calls.
 *
 * Return: 1; 0: the end; or an error as from open, which every later call
 * repeats.
 */
TIDE_API TIDE_MUST_CHECK int tide_trace_next(struct tide_trace_reader *reader,
					     struct tide_trace_event *ret);

/** tide_trace_close() - NULL is fine */
TIDE_API void tide_trace_close(struct tide_trace_reader *reader);

#ifdef __cplusplus
}
#endif
#endif
