/* SPDX-License-Identifier: MIT */
/*
 * protocol.h - what each side of a migration does next, as pure functions
 *
 * step(state, event) -> what to do.  No clock, no I/O, no allocation: the
 * engines in send.c and receive.c carry out what the step says and come back
 * with what happened.  Tests drive both machines against each other over a
 * simulated network.  The machines and their promises are at the top of
 * protocol.c.
 */
#ifndef TIDE_MIGRATE_PROTOCOL_H
#define TIDE_MIGRATE_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/stream.h"

enum tide_source_phase {
	TIDE_SOURCE_NEW,
	TIDE_SOURCE_HELLO,	  /* sent, no answer yet */
	TIDE_SOURCE_PRECOPY,	  /* the guest runs, rounds are sent */
	TIDE_SOURCE_STOPPING,	  /* stop was called */
	TIDE_SOURCE_LAST_ROUND,	  /* stopped, sending the rest */
	TIDE_SOURCE_SAVING,	  /* ... the state */
	TIDE_SOURCE_WAIT_ACK,	  /* END is sent */
	TIDE_SOURCE_WAIT_RUNNING, /* ACK came: no way back */
	TIDE_SOURCE_DONE,
	TIDE_SOURCE_FAILED, /* the guest runs on here */
	TIDE_SOURCE_UNKNOWN /* stopped here, perhaps running there */
};

/* Carried out in the order of the bits. */
enum tide_source_act {
	TIDE_SOURCE_SAY_HELLO = 1u << 0,  /* then: WELCOME or FAIL */
	TIDE_SOURCE_ROUND = 1u << 1,	  /* then: ROUND_SENT or FAIL */
	TIDE_SOURCE_STOP = 1u << 2,	  /* then: STOPPED or FAIL */
	TIDE_SOURCE_ROUND_LAST = 1u << 3, /* then: LAST_SENT or FAIL */
	TIDE_SOURCE_SAVE = 1u << 4,	  /* then: SAVED or FAIL */
	TIDE_SOURCE_SAY_END = 1u << 5,	  /* then: ACK or FAIL */
	TIDE_SOURCE_SAY_GO = 1u << 6,	  /* then: RUNNING or FAIL */
	TIDE_SOURCE_RESUME = 1u << 7,
	TIDE_SOURCE_GIVE_BACK = 1u << 8, /* every page is dirty again */
	TIDE_SOURCE_SAY_ERROR = 1u << 9,
	TIDE_SOURCE_RETURN = 1u << 10 /* result; the machine has stopped */
};

enum tide_source_event_type {
	TIDE_SOURCE_EV_BEGIN,
	TIDE_SOURCE_EV_WELCOME,
	TIDE_SOURCE_EV_ROUND_SENT, /* with what is left and how fast it goes */
	TIDE_SOURCE_EV_STOPPED,
	TIDE_SOURCE_EV_LAST_SENT,
	TIDE_SOURCE_EV_SAVED,
	TIDE_SOURCE_EV_ACK,
	TIDE_SOURCE_EV_RUNNING,
	TIDE_SOURCE_EV_FAIL /* anything else; error says what */
};

struct tide_source_event {
	enum tide_source_event_type type;
	int error;		  /* FAIL: negative errno */
	uint64_t round_bytes;	  /* ROUND_SENT: dirty when it began */
	uint64_t remaining_bytes; /* ROUND_SENT: dirty now */
	uint64_t bandwidth;	  /* bytes a second; 0: not known */
};

struct tide_source {
	enum tide_source_phase phase;
	uint32_t rounds;	     /* sent */
	uint32_t rounds_max;	     /* then stop, whatever is left */
	uint64_t downtime_target_ns; /* stop when the rest fits */
	uint64_t expected_downtime_ns;
};

struct tide_step {
	uint32_t acts;
	int result;	 /* with RETURN */
	const char *why; /* NULL, or a sentence about result */
};

void tide_source_init(struct tide_source *source, uint64_t downtime_target_ns,
		      uint32_t rounds_max);
struct tide_step tide_source_step(struct tide_source *source,
				  const struct tide_source_event *event);
/* Is there a way back?  When not, nothing cancels any more. */
bool tide_source_may_cancel(const struct tide_source *source);
/* How long @bytes take at @bandwidth; a guess when that is 0. */
uint64_t tide_transfer_ns(uint64_t bytes, uint64_t bandwidth);

enum tide_dest_phase {
	TIDE_DEST_HELLO,    /* waits for HELLO */
	TIDE_DEST_PAGES,    /* takes slots, rounds, pages */
	TIDE_DEST_STATE,    /* takes state */
	TIDE_DEST_WAIT_GO,  /* ACK is said */
	TIDE_DEST_STARTING, /* GO came, start was called */
	TIDE_DEST_RUNNING,
	TIDE_DEST_FAILED /* never started, never will be */
};

/* Carried out in the order of the bits. */
enum tide_dest_act {
	TIDE_DEST_TAKE = 1u << 0, /* the frame's contents; FAIL if bad */
	TIDE_DEST_SAY_WELCOME = 1u << 1,
	TIDE_DEST_SAY_ACK = 1u << 2,
	TIDE_DEST_START = 1u << 3, /* then: STARTED or FAIL */
	TIDE_DEST_SAY_RUNNING = 1u << 4,
	TIDE_DEST_SAY_ERROR = 1u << 5,
	TIDE_DEST_RETURN = 1u << 6
};

enum tide_dest_event_type {
	TIDE_DEST_EV_FRAME,
	TIDE_DEST_EV_STARTED,
	TIDE_DEST_EV_FAIL
};

struct tide_dest_event {
	enum tide_dest_event_type type;
	int error;		 /* FAIL: negative errno */
	uint16_t frame;		 /* FRAME: enum tide_frame_type */
	struct tide_round round; /* FRAME, if it is a ROUND */
};

struct tide_dest {
	enum tide_dest_phase phase;
	uint32_t rounds;
	bool last_round;
};

void tide_dest_init(struct tide_dest *dest);
struct tide_step tide_dest_step(struct tide_dest *dest,
				const struct tide_dest_event *event);

#endif
