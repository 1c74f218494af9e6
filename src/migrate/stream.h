/* SPDX-License-Identifier: MIT */
/*
 * stream.h - the frames of a migration, as bytes and as structs
 *
 * Pure functions: bytes in, struct out, or an error and a sentence.  The
 * format is at the top of stream.c.
 */
#ifndef TIDE_MIGRATE_STREAM_H
#define TIDE_MIGRATE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tidemark/space.h>

#include "migrate/sentence.h"

#define TIDE_STREAM_VERSION 1u
#define TIDE_FEATURES_KNOWN 0u /* none in version 1 */

#define TIDE_HEAD_SIZE 48u	  /* bytes of a frame's head */
#define TIDE_RUN_SIZE 16u	  /* bytes of one run in PAGES and ZERO */
#define TIDE_FRAME_RUNS_MAX 512u  /* runs of one frame */
#define TIDE_FRAME_PAGES_MAX 512u /* pages of one PAGES frame */
#define TIDE_META_MAX ((size_t)TIDE_FRAME_RUNS_MAX * TIDE_RUN_SIZE)
#define TIDE_STATE_MAX (16u << 20) /* bytes of one piece of state */
#define TIDE_STATE_NAME_MAX 32u	   /* bytes, the final 0 included */
#define TIDE_ERROR_TEXT_MAX 240u   /* bytes */
#define TIDE_STREAM_SLOTS_MAX 4096u

enum tide_frame_type {
	/* source to destination */
	TIDE_FRAME_HELLO = 1,
	TIDE_FRAME_SLOT = 2,
	TIDE_FRAME_SLOT_CHANGE = 3,
	TIDE_FRAME_SLOT_GONE = 4,
	TIDE_FRAME_ROUND = 5,
	TIDE_FRAME_PAGES = 6,
	TIDE_FRAME_ZERO = 7,
	TIDE_FRAME_STATE = 8,
	TIDE_FRAME_END = 9,
	TIDE_FRAME_GO = 10,
	/* destination to source */
	TIDE_FRAME_WELCOME = 64,
	TIDE_FRAME_ACK = 65,
	TIDE_FRAME_RUNNING = 66,
	/* both ways */
	TIDE_FRAME_ERROR = 96
};

/* Why the other side gave up; a number that we do not know is OTHER. */
enum tide_error_code {
	TIDE_ERROR_OTHER = 0,
	TIDE_ERROR_MALFORMED = 1,   /* what came made no sense */
	TIDE_ERROR_CHECKSUM = 2,    /* what came was damaged */
	TIDE_ERROR_UNSUPPORTED = 3, /* version, feature */
	TIDE_ERROR_LIMIT = 4,	    /* more than it is allowed to take */
	TIDE_ERROR_MEMORY = 5,	    /* no memory for the guest */
	TIDE_ERROR_CALLBACK = 6,    /* the program around it refused */
	TIDE_ERROR_CANCELED = 7,
	TIDE_ERROR_TIMEOUT = 8
};

struct tide_frame {
	uint16_t type;
	uint32_t sequence;
	uint32_t meta_size;
	uint32_t data_size;
	uint64_t meta_check;
	uint64_t data_check;
};

struct tide_hello { /* also WELCOME */
	uint16_t version;
	uint16_t page_shift;
	uint32_t required; /* features: without these it makes no sense */
	uint32_t features; /* offered; in WELCOME: accepted */
	uint64_t memory_bytes;
	uint8_t transfer[16];
};

struct tide_run {
	uint32_t slot;	 /* id */
	uint32_t npages; /* never 0 */
	uint64_t first;	 /* index in the slot of the first page */
};

struct tide_round {
	uint32_t index; /* from 1 */
	bool last;
	uint64_t npages; /* dirty when it began; an estimate */
};

struct tide_state_name {
	char name[TIDE_STATE_NAME_MAX];
	uint32_t index;
};

struct tide_totals { /* END */
	uint64_t pages_sent;
	uint64_t pages_zero;
	uint32_t rounds;
	uint32_t states;
	uint32_t slots;
};

struct tide_complaint { /* ERROR, without its text */
	uint32_t code;
	uint32_t error; /* a positive errno, for the curious */
};

/** tide_check() - the checksum of the stream: XXH3, 64 bits, seed 0 */
uint64_t tide_check(const void *bytes, size_t nbytes);

/** tide_frame_encode() - the head of a frame */
void tide_frame_encode(const struct tide_frame *frame,
		       uint8_t ret[TIDE_HEAD_SIZE]);

/**
 * tide_frame_decode() - a head, checked as far as a head can be: checksum,
 * number in sequence, known type, sizes that this type may have
 *
 * Return: 0; -EBADMSG for a wrong checksum; -EPROTO.
 */
int tide_frame_decode(const uint8_t head[TIDE_HEAD_SIZE], uint32_t sequence,
		      struct tide_frame *ret, struct tide_sentence *why);

const char *tide_frame_name(uint16_t type);

/* One pair for each kind of meta.  encode: returns the size, always at most
 * TIDE_META_MAX.  decode: the caller has checked size with
 * tide_frame_decode(); 0, or -EPROTO and a sentence. */
size_t tide_hello_encode(const struct tide_hello *hello, uint8_t *ret);
int tide_hello_decode(const uint8_t *meta, struct tide_hello *ret,
		      struct tide_sentence *why);
size_t tide_slot_encode(const struct tide_slot_info *slot, uint8_t *ret);
int tide_slot_decode(const uint8_t *meta, struct tide_slot_info *ret,
		     struct tide_sentence *why);
size_t tide_slot_gone_encode(uint32_t id, uint8_t *ret);
int tide_slot_gone_decode(const uint8_t *meta, uint32_t *ret_id,
			  struct tide_sentence *why);
size_t tide_round_encode(const struct tide_round *round, uint8_t *ret);
int tide_round_decode(const uint8_t *meta, struct tide_round *ret,
		      struct tide_sentence *why);
size_t tide_runs_encode(const struct tide_run *runs, uint32_t count,
			uint8_t *ret);
/* Also checks that the runs of PAGES account for every byte of its data. */
int tide_runs_decode(const struct tide_frame *frame, const uint8_t *meta,
		     struct tide_run ret[TIDE_FRAME_RUNS_MAX],
		     uint32_t *ret_count, struct tide_sentence *why);
size_t tide_state_encode(const struct tide_state_name *state, uint8_t *ret);
int tide_state_decode(const uint8_t *meta, struct tide_state_name *ret,
		      struct tide_sentence *why);
size_t tide_totals_encode(const struct tide_totals *totals, uint8_t *ret);
int tide_totals_decode(const uint8_t *meta, struct tide_totals *ret,
		       struct tide_sentence *why);
size_t tide_complaint_encode(const struct tide_complaint *complaint,
			     uint8_t *ret);
void tide_complaint_decode(const uint8_t *meta, struct tide_complaint *ret);

/* Which code tells the other side about our error. */
uint32_t tide_complaint_code(int error);

#endif
