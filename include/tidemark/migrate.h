/* SPDX-License-Identifier: MIT */
/*
 * tidemark/migrate.h - move a running guest to another process, by pre-copy
 *
 * The source sends every page, then in rounds what was written meanwhile,
 * until the rest fits the downtime that is allowed; it stops the writers,
 * harvests once more, sends the rest and the state of vCPUs and devices, and
 * hands over:
 *
 *     source   END ->            all pages and state are sent
 *     dest     <- ACK            all of it is here and in order; not running
 *     source   GO ->             from here on the source never resumes
 *     dest     <- RUNNING        the guest runs here
 *
 * Whatever fails before ACK: the source resumes, every page is back in the
 * client's dirty set, and a second attempt may follow.  After ACK was
 * received the source stays stopped, whatever happens: -ENOTRECOVERABLE then
 * says that the destination may be running.  The destination starts the guest
 * only on GO.  Format: docs/stream.md.
 *
 * What it does not do: it does not connect, compress, encrypt, or start a
 * thread.
 *
 * Threads.  One call owns its socket; the callbacks run on the calling thread.
 *
 * Errors.  0, or a negative errno value, and one sentence in config->message.
 *
 * Manual: tide_migrate_send(3), tide_migrate_receive(3).
 */
#ifndef TIDEMARK_MIGRATE_H
#define TIDEMARK_MIGRATE_H

#include <tidemark/space.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tide_client;
struct tide_migrate; /* opaque: one transfer, valid inside callbacks */

enum tide_migrate_phase {
	TIDE_MIGRATE_SETUP,
	TIDE_MIGRATE_PRECOPY,  /* the guest runs */
	TIDE_MIGRATE_STOPPED,  /* the guest is stopped, last round */
	TIDE_MIGRATE_HANDOVER, /* END is sent */
	TIDE_MIGRATE_DONE,
	TIDE_MIGRATE_FAILED, /* the guest runs on at the source */
	TIDE_MIGRATE_UNKNOWN /* ACK came, RUNNING did not */
};

/* Grows at the end only.  Times are nanoseconds, sizes bytes. */
struct tide_migrate_stats {
	enum tide_migrate_phase phase;
	uint32_t rounds;       /* harvests sent, the last one included */
	uint64_t total_ns;     /* from the call to RUNNING */
	uint64_t downtime_ns;  /* from stop to RUNNING */
	uint64_t memory_bytes; /* of all slots */
	uint64_t bytes_sent;   /* on the wire, headers included */
	uint64_t pages_sent;   /* with their contents */
	uint64_t pages_zero;   /* sent as "zero" */
	uint64_t round_pages;  /* to send in this round */
	uint64_t round_pages_done;
	uint64_t remaining_pages; /* dirty at the last harvest */
	uint64_t bandwidth; /* bytes a second, sending time only: time spent
				   * scanning and collecting is not in it */
	uint64_t expected_downtime_ns;
	uint64_t stop_ns; /* parts of the downtime: stopping writers, */
	uint64_t final_harvest_ns; /* the last harvest and its pages, */
	uint64_t state_ns;	   /* vCPU and device state, */
	uint64_t handover_ns;	   /* END to RUNNING */
};

struct tide_migrate_send_config {
	size_t size; /* of this struct; 0: the first version */

	/* 0: 300 ms.  The source stops the guest when the rest is expected to
	 * fit; below that it goes on while each round at least halves the
	 * rest. */
	uint64_t downtime_target_ns;
	uint64_t bandwidth_max; /* bytes a second, also while the guest is
				 * stopped; 0: no limit */
	uint32_t rounds_max;	/* 0: 30; then stop and send the rest */
	uint64_t deadline_ns;	/* for the whole transfer; 0: none; then it
				 * fails with -ETIMEDOUT */

	/* stop: when it returns 0, no vCPU and no device writes any more and
	 * hardware buffers are drained.  resume: undo it, also what a stop
	 * that failed has done.  save: call tide_migrate_put_state() for each
	 * piece of state.  From stop to the end slots must not change. */
	int (*stop)(void *opaque);
	int (*resume)(void *opaque);
	int (*save)(void *opaque, struct tide_migrate *migrate);
	/* Now and then, and at each change of phase; non-zero cancels the
	 * transfer with -ECANCELED while that is still possible.  May be
	 * NULL. */
	int (*progress)(void *opaque, const struct tide_migrate_stats *stats);
	void *opaque;

	char *message; /* NULL, or room for one sentence about a failure */
	size_t message_size;
};

/**
 * tide_migrate_send() - the source side; returns when the guest runs there, or
 * runs here again, or (-ENOTRECOVERABLE) is stopped here for good
 * @client: opened by the caller, no harvest open.  Every page becomes dirty for
 *          it at the beginning, and again after a failure.
 * @fd:     a connected stream socket; stays the caller's.  After a failure it
 *          is shut down for writing; a new attempt needs a new connection.
 *
 * Slots may come, go and move until stop is called.  Those that are not logged
 * are sent whole while the guest is stopped.
 *
 * Return: 0; -EINVAL; -E2BIG, also for more than 4096 slots; -ENOTSOCK;
 * -ETIMEDOUT; -ECANCELED; -EPIPE, -ECONNRESET and other errors of the socket;
 * -EPROTO or -EBADMSG for nonsense from the destination; -EREMOTEIO if the
 * destination reports a failure (message says which); -EBUSY if slots changed
 * while the guest was stopped; -ENOTRECOVERABLE; -ENOMEM; or the error of a
 * callback or the tracker.  If resume fails, its error comes in place of the
 * first one, and the guest is stopped.
 */
TIDE_API TIDE_MUST_CHECK int
tide_migrate_send(struct tide_space *space, struct tide_client *client, int fd,
		  const struct tide_migrate_send_config *config,
		  struct tide_migrate_stats *ret_stats);

/**
 * tide_migrate_put_state() - inside save: one piece of state
 * @name: at most 31 bytes, not empty; @index: which one, e.g. the vCPU
 *
 * @nbytes: at most 16 MiB
 *
 * Return: 0; -EINVAL; the socket's error, and then the transfer fails with it
 * whatever save returns.
 */
TIDE_API TIDE_MUST_CHECK int
tide_migrate_put_state(struct tide_migrate *migrate, const char *name,
		       uint32_t index, const void *data, size_t nbytes);

struct tide_migrate_receive_config {
	size_t size; /* of this struct; 0: the first version */

	/* Memory for a slot that the source announces: npages pages, all zero
	 * and untouched (fresh mmap).  info->host is where the answer goes. */
	int (*slot)(void *opaque, struct tide_slot_info *info);
	/* One piece of state, in the order in which it was saved. */
	int (*load)(void *opaque, const char *name, uint32_t index,
		    const void *data, size_t nbytes);
	/* The source moved a slot or changed its flags (now->host is the
	 * memory that slot() gave), or removed it (now is NULL; its memory is
	 * not touched any more).  May be NULL: then a source that does so is
	 * refused with -EOPNOTSUPP. */
	int (*slot_change)(void *opaque, const struct tide_slot_info *was,
			   const struct tide_slot_info *now);
	/* On GO: run.  An error is reported to the source. */
	int (*start)(void *opaque);
	int (*progress)(void *opaque, const struct tide_migrate_stats *stats);
	void *opaque;

	uint64_t memory_bytes_max; /* refuse more; 0: no limit */
	uint64_t deadline_ns;	   /* 0: none */

	/* NULL, or room for one sentence about a failure.  A load that fails
	 * may leave its own there; the source is told it, too. */
	char *message;
	size_t message_size;
};

/**
 * tide_migrate_receive() - the destination side; returns after start
 *
 * The memory that slot supplies is advised to be in huge pages.  Slots that
 * are to share memory must be given the same addresses, not two mappings.
 *
 * Return: 0; -EINVAL; -E2BIG; -ENOTSOCK; -EPROTO or -EBADMSG (checksum) for a
 * malformed stream; -EFBIG beyond memory_bytes_max; -EOPNOTSUPP, see
 * slot_change; -EREMOTEIO if the source gave up (message says why);
 * -ECONNRESET at an early end; -ETIMEDOUT; -ECANCELED; -ENOMEM; or the error
 * of a callback.  On any error the guest was not started.
 */
TIDE_API TIDE_MUST_CHECK int
tide_migrate_receive(int fd, const struct tide_migrate_receive_config *config,
		     struct tide_migrate_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
