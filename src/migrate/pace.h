/* SPDX-License-Identifier: MIT */
/*
 * pace.h - how fast may we send, and how fast do we
 *
 * A token bucket and a bandwidth meter, both told the time by the caller.
 */
#ifndef TIDE_MIGRATE_PACE_H
#define TIDE_MIGRATE_PACE_H

#include <stdint.h>

/* a * b / c without overflow in between; more than 64 bits: UINT64_MAX. */
static inline uint64_t tide_mul_div(uint64_t a, uint64_t b, uint64_t c)
{
	__extension__ unsigned __int128 wide = a;

	wide = wide * b / c;
	return wide > UINT64_MAX ? UINT64_MAX : (uint64_t)wide;
}

/* Tokens are bytes.  A send may overdraw the bucket; the next one waits. */
struct tide_bucket {
	uint64_t rate;	    /* bytes a second; 0: no limit */
	uint64_t burst;	    /* bytes, at most this many are saved up */
	uint64_t filled_ns; /* when tokens was right */
	int64_t tokens;
};

void tide_bucket_init(struct tide_bucket *bucket, uint64_t rate,
		      uint64_t now_ns);
/* How long to wait until something may be sent; 0: now. */
uint64_t tide_bucket_wait_ns(struct tide_bucket *bucket, uint64_t now_ns);
/* @bytes were sent. */
void tide_bucket_take(struct tide_bucket *bucket, uint64_t bytes);

/* Bytes against the time that was spent in sending them, and in nothing
 * else: looking for pages, checking and copying them, and waiting for tokens
 * are not bandwidth.  (Counting them once kept guests from ever stopping:
 * QEMU 8b2395970a.) */
struct tide_meter {
	uint64_t bandwidth; /* bytes a second; 0: not known yet */
	uint64_t bytes;	    /* since the last estimate */
	uint64_t ns;
};

void tide_meter_add(struct tide_meter *meter, uint64_t bytes, uint64_t ns);
/* A round is over: estimate anew if it tells enough.  @limit caps the answer;
 * 0: no limit.  Return: bytes a second, 0 when nothing is known. */
uint64_t tide_meter_round(struct tide_meter *meter, uint64_t limit);

#endif
