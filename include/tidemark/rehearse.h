/* SPDX-License-Identifier: MIT */
/*
 * tidemark/rehearse.h - pre-copy of a running process, without moving it
 *
 * Really reads the memory of a process that is attached to (process.h) and
 * sends it into a sink at a bandwidth: everything, and then in rounds what was
 * written meanwhile, until the rest fits the downtime, or it is seen that it
 * never will.  The process runs on, and is never stopped; so the rest is
 * counted and not sent.
 *
 * What comes out is what a migration would have been.  The sink gets, for each
 * run of pages, a header and their contents: docs/rehearse.md.
 *
 * Threads.  One call at a time for a process; nothing else may harvest into
 * the same sink.
 *
 * Errors.  0, or a negative errno value.
 *
 * Manual: tide_rehearse(3).
 */
#ifndef TIDEMARK_REHEARSE_H
#define TIDEMARK_REHEARSE_H

#include <tidemark/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tide_process;

/* Grows at the end only. */
struct tide_rehearse_stats {
	uint32_t rounds; /* done */
	uint32_t rounds_max;
	uint64_t total_ns;     /* since the beginning */
	uint64_t memory_pages; /* with content, at the beginning */
	uint64_t pages;	       /* sent, and */
	uint64_t zero_pages;   /* of these as "zero" */
	uint64_t bytes;	       /* into the sink, headers included */
	uint64_t round_pages;  /* of this round, to send; */
	uint64_t round_pages_done;
	uint64_t round_zero_pages;
	uint64_t round_bytes;
	uint64_t round_ns;    /* of the round that has ended last */
	uint64_t rest_pages;  /* written meanwhile: after a round */
	uint64_t downtime_ns; /* that the rest would take at the bandwidth */
	uint64_t harvest_ns;  /* in which the process's tables were held */
	int converged;
};

struct tide_rehearse_config {
	size_t size;	      /* of this struct; 0: the first version */
	uint64_t bandwidth;   /* bytes a second; not 0 */
	uint64_t downtime_ns; /* 0: 300 ms */
	uint32_t rounds_max;  /* 0: 30 */
	int fd;		      /* a file, a pipe or a socket; -1: nowhere */
	/* Now and then, and at the end of each round (then round_pages_done is
	 * round_pages, and rest_pages is known).  Other than 0: stop.  May be
	 * NULL. */
	int (*progress)(void *opaque, const struct tide_rehearse_stats *stats,
			int round_over);
	void *opaque;
};

/**
 * tide_rehearse() - pre-copy the memory of @process into the sink
 *
 * Return: 0, and *ret says whether it converged; -EINVAL: no bandwidth; -E2BIG;
 * -ESRCH: the process has ended; -ESTALE: it has executed another program;
 * -ECANCELED: progress said stop; -ENOMEM; the sink's error; or the tracker's.
 */
TIDE_API TIDE_MUST_CHECK int
tide_rehearse(struct tide_process *process,
	      const struct tide_rehearse_config *config,
	      struct tide_rehearse_stats *ret);

#ifdef __cplusplus
}
#endif
#endif
