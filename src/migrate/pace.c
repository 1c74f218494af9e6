/* SPDX-License-Identifier: MIT */
/* pace.c - how fast may we send, and how fast do we */
#include "migrate/pace.h"

#include <assert.h>

#define NS_PER_S 1000000000u

/* A wait is long enough to be a sleep, short enough to be smooth. */
#define BURST_PER_S 50u /* 20 ms worth */
#define BURST_MIN (64u << 10)

/* Less is swallowed by socket buffers and says nothing about the line. */
#define METER_BYTES_MIN (1u << 20)

void tide_bucket_init(struct tide_bucket *bucket, uint64_t rate,
		      uint64_t now_ns)
{
	uint64_t burst = rate / BURST_PER_S;

	if (rate > INT64_MAX / 2)
		rate = 0; /* as good as no limit, and safe to add up */
	*bucket = (struct tide_bucket){
		.rate = rate,
		.burst = burst < BURST_MIN ? BURST_MIN : burst,
		.filled_ns = now_ns,
	};
	bucket->tokens = (int64_t)bucket->burst;
}

static void bucket_fill(struct tide_bucket *bucket, uint64_t now_ns)
{
	if (now_ns <= bucket->filled_ns)
		return;

	uint64_t more = tide_mul_div(now_ns - bucket->filled_ns, bucket->rate,
				     NS_PER_S);
	uint64_t room = (uint64_t)((int64_t)bucket->burst - bucket->tokens);

	assert(bucket->tokens <= (int64_t)bucket->burst);
	if (!more)
		return; /* keep the fraction for next time */
	bucket->tokens += (int64_t)(more < room ? more : room);
	bucket->filled_ns = now_ns;
}

uint64_t tide_bucket_wait_ns(struct tide_bucket *bucket, uint64_t now_ns)
{
	if (!bucket->rate)
		return 0;
	bucket_fill(bucket, now_ns);
	if (bucket->tokens > 0)
		return 0;

	uint64_t missing = (uint64_t)-bucket->tokens + 1;

	return tide_mul_div(missing, NS_PER_S, bucket->rate) + 1;
}

void tide_bucket_take(struct tide_bucket *bucket, uint64_t bytes)
{
	if (bucket->rate)
		bucket->tokens -= (int64_t)bytes;
}

void tide_meter_add(struct tide_meter *meter, uint64_t bytes, uint64_t ns)
{
	meter->bytes += bytes;
	meter->ns += ns;
}

uint64_t tide_meter_round(struct tide_meter *meter, uint64_t limit)
{
	if (meter->ns && (meter->bytes >= METER_BYTES_MIN)) {
		meter->bandwidth =
			tide_mul_div(meter->bytes, NS_PER_S, meter->ns);
		if (!meter->bandwidth)
			meter->bandwidth = 1;
		meter->bytes = 0;
		meter->ns = 0;
	}
	if (limit && (!meter->bandwidth || meter->bandwidth > limit))
		return limit;
	return meter->bandwidth;
}
