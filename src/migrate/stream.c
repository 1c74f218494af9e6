/* SPDX-License-Identifier: MIT */
/*
 * stream.c - the frames of a migration, as bytes and as structs
 *
 * Theory of operation
 * -------------------
 * Both directions are a sequence of frames and nothing else.  A frame is a
 * head of 48 bytes, a meta part (small, of a shape fixed by the type), and a
 * data part (pages, state, text).  Numbers are little-endian, offsets are in
 * bytes, reserved fields are zero and a reader refuses anything else.
 *
 *   head   0  u32  magic "TMS1"
 *          4  u16  type
 *          6  u16  flags, reserved
 *          8  u32  sequence: frame number in this direction, from 0
 *         12  u32  meta_size
 *         16  u32  data_size
 *         20  u32  reserved
 *         24  u64  XXH3 of meta
 *         32  u64  XXH3 of data
 *         40  u64  XXH3 of bytes 0 to 39
 *
 *   HELLO, WELCOME   meta 48: 0 u16 version, 2 u16 page_shift, 4 u32 features
 *                    required, 8 u32 features, 12 u32 channels (1), 16 u32
 *                    channel (0), 20 u32 reserved, 24 u64 memory_bytes,
 *                    32 u8[16] transfer
 *   SLOT, _CHANGE    meta 32: 0 u32 id, 4 u32 flags, 8 u64 first_gfn,
 *                    16 u64 npages, 24 u64 reserved
 *   SLOT_GONE        meta 8: 0 u32 id, 4 u32 reserved
 *   ROUND            meta 16: 0 u32 index, 4 u32 last (0, 1), 8 u64 npages
 *   PAGES, ZERO      meta 16 times 1 to 512: 0 u32 slot, 4 u32 npages,
 *                    8 u64 first page in slot; PAGES: data is these pages,
 *                    at most 512, in this order
 *   STATE            meta 40: 0 u8[32] name, 32 u32 index, 36 u32 reserved;
 *                    data is the state, at most 16 MiB
 *   END              meta 32: 0 u64 pages_sent, 8 u64 pages_zero, 16 u32
 *                    rounds, 20 u32 states, 24 u32 slots, 28 u32 reserved
 *   GO, ACK, RUNNING nothing
 *   ERROR            meta 8: 0 u32 code, 4 u32 errno; data is text, at most
 *                    240 bytes
 *
 * The head's own check comes before its sizes are believed, the meta's before
 * its contents are.  The data's check comes after the data has been read to
 * where it belongs: a failed one fails the migration before the guest starts.
 *
 * Pages are named by slot id and index within the slot, not by gfn: that is
 * what stays the same when a slot moves.
 *
 * Which frame may follow which is in protocol.c, what the numbers mean for
 * memory in landing.c; versions, room for growth and the handshake are in
 * docs/stream.md.
 *
 * Invariants
 *   I1  what encode writes, decode accepts and returns unchanged
 *   I2  decode believes no byte whose checksum has not been compared
 *   I3  no size in a struct that decode returned exceeds its limit here
 *
 * Synchronisation
 *   None: pure functions.
 */
#include "migrate/stream.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/xxh3.h"

#define MAGIC 0x31534d54u /* "TMS1" in memory */

enum head_offset {
	HEAD_MAGIC = 0,
	HEAD_TYPE = 4,
	HEAD_FLAGS = 6,
	HEAD_SEQUENCE = 8,
	HEAD_META_SIZE = 12,
	HEAD_DATA_SIZE = 16,
	HEAD_RESERVED = 20,
	HEAD_META_CHECK = 24,
	HEAD_DATA_CHECK = 32,
	HEAD_CHECK = 40
};

#define HELLO_SIZE 48u
#define SLOT_SIZE 32u
#define SLOT_GONE_SIZE 8u
#define ROUND_SIZE 16u
#define STATE_SIZE 40u
#define TOTALS_SIZE 32u
#define COMPLAINT_SIZE 8u

_Static_assert(HEAD_CHECK + 8 == TIDE_HEAD_SIZE, "head layout");
_Static_assert(TIDE_META_MAX >= HELLO_SIZE, "every meta fits");
_Static_assert(TIDE_STATE_NAME_MAX + 8 == STATE_SIZE, "state layout");
_Static_assert(TIDE_FRAME_PAGES_MAX *TIDE_PAGE_SIZE <= UINT32_MAX,
	       "data_size holds a frame of pages");
_Static_assert(sizeof(((struct tide_hello *)0)->transfer) == 16, "hello");

/* What a head may say about sizes, by type. */
static const struct shape {
	uint16_t type;
	const char *name;
	uint32_t meta_size_min;
	uint32_t meta_size_max;
	uint32_t meta_step;
	uint32_t data_size_min;
	uint32_t data_size_max;
} shapes[] = {
	{ TIDE_FRAME_HELLO, "HELLO", HELLO_SIZE, HELLO_SIZE, 1, 0, 0 },
	{ TIDE_FRAME_SLOT, "SLOT", SLOT_SIZE, SLOT_SIZE, 1, 0, 0 },
	{ TIDE_FRAME_SLOT_CHANGE, "SLOT_CHANGE", SLOT_SIZE, SLOT_SIZE, 1, 0,
	  0 },
	{ TIDE_FRAME_SLOT_GONE, "SLOT_GONE", SLOT_GONE_SIZE, SLOT_GONE_SIZE, 1,
	  0, 0 },
	{ TIDE_FRAME_ROUND, "ROUND", ROUND_SIZE, ROUND_SIZE, 1, 0, 0 },
	{ TIDE_FRAME_PAGES, "PAGES", TIDE_RUN_SIZE, TIDE_META_MAX,
	  TIDE_RUN_SIZE, TIDE_PAGE_SIZE,
	  TIDE_FRAME_PAGES_MAX *(uint32_t)TIDE_PAGE_SIZE },
	{ TIDE_FRAME_ZERO, "ZERO", TIDE_RUN_SIZE, TIDE_META_MAX, TIDE_RUN_SIZE,
	  0, 0 },
	{ TIDE_FRAME_STATE, "STATE", STATE_SIZE, STATE_SIZE, 1, 0,
	  TIDE_STATE_MAX },
	{ TIDE_FRAME_END, "END", TOTALS_SIZE, TOTALS_SIZE, 1, 0, 0 },
	{ TIDE_FRAME_GO, "GO", 0, 0, 1, 0, 0 },
	{ TIDE_FRAME_WELCOME, "WELCOME", HELLO_SIZE, HELLO_SIZE, 1, 0, 0 },
	{ TIDE_FRAME_ACK, "ACK", 0, 0, 1, 0, 0 },
	{ TIDE_FRAME_RUNNING, "RUNNING", 0, 0, 1, 0, 0 },
	{ TIDE_FRAME_ERROR, "ERROR", COMPLAINT_SIZE, COMPLAINT_SIZE, 1, 0,
	  TIDE_ERROR_TEXT_MAX },
};

static void put16(uint8_t *to, uint16_t value)
{
	value = htole16(value);
	memcpy(to, &value, sizeof(value));
}

static void put32(uint8_t *to, uint32_t value)
{
	value = htole32(value);
	memcpy(to, &value, sizeof(value));
}

static void put64(uint8_t *to, uint64_t value)
{
	value = htole64(value);
	memcpy(to, &value, sizeof(value));
}

static uint16_t get16(const uint8_t *from)
{
	uint16_t value;

	memcpy(&value, from, sizeof(value));
	return le16toh(value);
}

static uint32_t get32(const uint8_t *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return le32toh(value);
}

static uint64_t get64(const uint8_t *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof(value));
	return le64toh(value);
}

static const struct shape *shape_of(uint16_t type)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		if (shapes[i].type == type)
			return &shapes[i];
	}
	return NULL;
}

static bool shape_fits(const struct shape *shape, uint32_t meta_size,
		       uint32_t data_size)
{
	return meta_size >= shape->meta_size_min &&
	       meta_size <= shape->meta_size_max &&
	       meta_size % shape->meta_step == 0 &&
	       data_size >= shape->data_size_min &&
	       data_size <= shape->data_size_max;
}

const char *tide_frame_name(uint16_t type)
{
	const struct shape *shape = shape_of(type);

	return shape ? shape->name : "unknown";
}

uint64_t tide_check(const void *bytes, size_t nbytes)
{
	return XXH3_64bits(bytes, nbytes);
}

void tide_frame_encode(const struct tide_frame *frame,
		       uint8_t ret[TIDE_HEAD_SIZE])
{
	const struct shape *shape = shape_of(frame->type);

	assert(shape);
	assert(shape_fits(shape, frame->meta_size, frame->data_size)); /* I1 */
	put32(ret + HEAD_MAGIC, MAGIC);
	put16(ret + HEAD_TYPE, frame->type);
	put16(ret + HEAD_FLAGS, 0);
	put32(ret + HEAD_SEQUENCE, frame->sequence);
	put32(ret + HEAD_META_SIZE, frame->meta_size);
	put32(ret + HEAD_DATA_SIZE, frame->data_size);
	put32(ret + HEAD_RESERVED, 0);
	put64(ret + HEAD_META_CHECK, frame->meta_check);
	put64(ret + HEAD_DATA_CHECK, frame->data_check);
	put64(ret + HEAD_CHECK, tide_check(ret, HEAD_CHECK));
}

int tide_frame_decode(const uint8_t head[TIDE_HEAD_SIZE], uint32_t sequence,
		      struct tide_frame *ret, struct tide_sentence *why)
{
	/* The magic comes first: it tells a peer that speaks something else
	 * from a damaged line. */
	if (get32(head + HEAD_MAGIC) != MAGIC)
		return tide_say(why, -EPROTO,
				"this is not a migration stream (magic 0x%08x)",
				get32(head + HEAD_MAGIC));
	if (get64(head + HEAD_CHECK) != tide_check(head, HEAD_CHECK))
		return tide_say(why, -EBADMSG, "frame %u: the head is damaged",
				sequence);

	struct tide_frame frame = {
		.type = get16(head + HEAD_TYPE),
		.sequence = get32(head + HEAD_SEQUENCE),
		.meta_size = get32(head + HEAD_META_SIZE),
		.data_size = get32(head + HEAD_DATA_SIZE),
		.meta_check = get64(head + HEAD_META_CHECK),
		.data_check = get64(head + HEAD_DATA_CHECK),
	};
	const struct shape *shape = shape_of(frame.type);

	if (frame.sequence != sequence)
		return tide_say(why, -EPROTO, "frame %u came in place of %u",
				frame.sequence, sequence);
	if (!shape)
		return tide_say(why, -EPROTO,
				"frame %u is of the unknown type %u", sequence,
				frame.type);
	if (get16(head + HEAD_FLAGS) || get32(head + HEAD_RESERVED))
		return tide_say(why, -EPROTO,
				"frame %u (%s) uses reserved bits", sequence,
				shape->name);
	if (!shape_fits(shape, frame.meta_size, frame.data_size))
		return tide_say(why, -EPROTO,
				"frame %u (%s) has impossible sizes %u and %u",
				sequence, shape->name, frame.meta_size,
				frame.data_size);
	*ret = frame;
	return 0;
}

size_t tide_hello_encode(const struct tide_hello *hello, uint8_t *ret)
{
	put16(ret + 0, hello->version);
	put16(ret + 2, hello->page_shift);
	put32(ret + 4, hello->required);
	put32(ret + 8, hello->features);
	put32(ret + 12, 1); /* channels */
	put32(ret + 16, 0); /* this channel */
	put32(ret + 20, 0);
	put64(ret + 24, hello->memory_bytes);
	memcpy(ret + 32, hello->transfer, sizeof(hello->transfer));
	return HELLO_SIZE;
}

int tide_hello_decode(const uint8_t *meta, struct tide_hello *ret,
		      struct tide_sentence *why)
{
	struct tide_hello hello = {
		.version = get16(meta + 0),
		.page_shift = get16(meta + 2),
		.required = get32(meta + 4),
		.features = get32(meta + 8),
		.memory_bytes = get64(meta + 24),
	};

	memcpy(hello.transfer, meta + 32, sizeof(hello.transfer));
	/* The version first: what follows may mean something else in it. */
	if (hello.version != TIDE_STREAM_VERSION)
		return tide_say(why, -EPROTO,
				"the other side speaks version %u of the "
				"stream, this one %u",
				hello.version, TIDE_STREAM_VERSION);
	if (hello.required & ~TIDE_FEATURES_KNOWN)
		return tide_say(why, -EPROTO,
				"the other side requires unknown features "
				"0x%x",
				hello.required & ~TIDE_FEATURES_KNOWN);
	if (hello.page_shift != TIDE_PAGE_SHIFT)
		return tide_say(why, -EPROTO,
				"the other side has pages of 2^%u bytes",
				hello.page_shift);
	if (get32(meta + 12) != 1 || get32(meta + 16) != 0)
		return tide_say(why, -EPROTO,
				"the other side wants connection %u of %u, "
				"one is supported",
				get32(meta + 16), get32(meta + 12));
	if (get32(meta + 20))
		return tide_say(why, -EPROTO, "HELLO uses reserved bits");
	*ret = hello;
	return 0;
}

size_t tide_slot_encode(const struct tide_slot_info *slot, uint8_t *ret)
{
	put32(ret + 0, slot->id);
	put32(ret + 4, slot->flags);
	put64(ret + 8, slot->first_gfn);
	put64(ret + 16, slot->npages);
	put64(ret + 24, 0);
	return SLOT_SIZE;
}

int tide_slot_decode(const uint8_t *meta, struct tide_slot_info *ret,
		     struct tide_sentence *why)
{
	static const uint32_t known =
		TIDE_SLOT_UNLOGGED | TIDE_SLOT_READONLY | TIDE_SLOT_ANONYMOUS;
	struct tide_slot_info slot = {
		.id = get32(meta + 0),
		.flags = get32(meta + 4),
		.first_gfn = get64(meta + 8),
		.npages = get64(meta + 16),
	};

	if (slot.flags & ~known || get64(meta + 24))
		return tide_say(why, -EPROTO, "slot %u has unknown flags 0x%x",
				slot.id, slot.flags);
	if (!slot.npages || slot.npages > TIDE_SLOT_PAGES_MAX)
		return tide_say(why, -EPROTO, "slot %u has %llu pages", slot.id,
				(unsigned long long)slot.npages);
	if (slot.first_gfn > UINT64_MAX - slot.npages)
		return tide_say(why, -EPROTO,
				"slot %u wraps around the end of the gfns",
				slot.id);
	*ret = slot;
	return 0;
}

size_t tide_slot_gone_encode(uint32_t id, uint8_t *ret)
{
	put32(ret + 0, id);
	put32(ret + 4, 0);
	return SLOT_GONE_SIZE;
}

int tide_slot_gone_decode(const uint8_t *meta, uint32_t *ret_id,
			  struct tide_sentence *why)
{
	if (get32(meta + 4))
		return tide_say(why, -EPROTO, "SLOT_GONE uses reserved bits");
	*ret_id = get32(meta + 0);
	return 0;
}

size_t tide_round_encode(const struct tide_round *round, uint8_t *ret)
{
	put32(ret + 0, round->index);
	put32(ret + 4, round->last);
	put64(ret + 8, round->npages);
	return ROUND_SIZE;
}

int tide_round_decode(const uint8_t *meta, struct tide_round *ret,
		      struct tide_sentence *why)
{
	uint32_t last = get32(meta + 4);

	if (last > 1)
		return tide_say(why, -EPROTO, "ROUND uses reserved bits");
	*ret = (struct tide_round){
		.index = get32(meta + 0),
		.last = last == 1,
		.npages = get64(meta + 8),
	};
	return 0;
}

size_t tide_runs_encode(const struct tide_run *runs, uint32_t count,
			uint8_t *ret)
{
	assert(count && count <= TIDE_FRAME_RUNS_MAX);
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *run = ret + (size_t)i * TIDE_RUN_SIZE;

		assert(runs[i].npages);
		put32(run + 0, runs[i].slot);
		put32(run + 4, runs[i].npages);
		put64(run + 8, runs[i].first);
	}
	return (size_t)count * TIDE_RUN_SIZE;
}

int tide_runs_decode(const struct tide_frame *frame, const uint8_t *meta,
		     struct tide_run ret[TIDE_FRAME_RUNS_MAX],
		     uint32_t *ret_count, struct tide_sentence *why)
{
	uint32_t count = frame->meta_size / TIDE_RUN_SIZE;
	uint64_t npages = 0;

	assert(count && count <= TIDE_FRAME_RUNS_MAX); /* I3 */
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *run = meta + (size_t)i * TIDE_RUN_SIZE;

		ret[i].slot = get32(run + 0);
		ret[i].npages = get32(run + 4);
		ret[i].first = get64(run + 8);
		if (!ret[i].npages)
			return tide_say(why, -EPROTO,
					"a run in slot %u has no pages",
					ret[i].slot);
		npages += ret[i].npages; /* at most 512 * 2^32 */
	}
	if (frame->type == TIDE_FRAME_PAGES &&
	    npages * TIDE_PAGE_SIZE != frame->data_size)
		return tide_say(why, -EPROTO,
				"%llu pages are announced in %u bytes of data",
				(unsigned long long)npages, frame->data_size);
	*ret_count = count;
	return 0;
}

size_t tide_state_encode(const struct tide_state_name *state, uint8_t *ret)
{
	memset(ret, 0, TIDE_STATE_NAME_MAX);
	memcpy(ret, state->name, strnlen(state->name, TIDE_STATE_NAME_MAX - 1));
	put32(ret + TIDE_STATE_NAME_MAX, state->index);
	put32(ret + TIDE_STATE_NAME_MAX + 4, 0);
	return STATE_SIZE;
}

int tide_state_decode(const uint8_t *meta, struct tide_state_name *ret,
		      struct tide_sentence *why)
{
	size_t length = strnlen((const char *)meta, TIDE_STATE_NAME_MAX);

	if (!length || length == TIDE_STATE_NAME_MAX)
		return tide_say(why, -EPROTO,
				"a piece of state has no proper name");
	for (size_t i = length; i < TIDE_STATE_NAME_MAX; i++) {
		if (meta[i])
			return tide_say(why, -EPROTO,
					"a piece of state has something "
					"behind its name");
	}
	if (get32(meta + TIDE_STATE_NAME_MAX + 4))
		return tide_say(why, -EPROTO, "STATE uses reserved bits");
	memcpy(ret->name, meta, TIDE_STATE_NAME_MAX);
	ret->index = get32(meta + TIDE_STATE_NAME_MAX);
	return 0;
}

size_t tide_totals_encode(const struct tide_totals *totals, uint8_t *ret)
{
	put64(ret + 0, totals->pages_sent);
	put64(ret + 8, totals->pages_zero);
	put32(ret + 16, totals->rounds);
	put32(ret + 20, totals->states);
	put32(ret + 24, totals->slots);
	put32(ret + 28, 0);
	return TOTALS_SIZE;
}

int tide_totals_decode(const uint8_t *meta, struct tide_totals *ret,
		       struct tide_sentence *why)
{
	if (get32(meta + 28))
		return tide_say(why, -EPROTO, "END uses reserved bits");
	*ret = (struct tide_totals){
		.pages_sent = get64(meta + 0),
		.pages_zero = get64(meta + 8),
		.rounds = get32(meta + 16),
		.states = get32(meta + 20),
		.slots = get32(meta + 24),
	};
	return 0;
}

size_t tide_complaint_encode(const struct tide_complaint *complaint,
			     uint8_t *ret)
{
	put32(ret + 0, complaint->code);
	put32(ret + 4, complaint->error);
	return COMPLAINT_SIZE;
}

void tide_complaint_decode(const uint8_t *meta, struct tide_complaint *ret)
{
	ret->code = get32(meta + 0);
	ret->error = get32(meta + 4);
}

uint32_t tide_complaint_code(int error)
{
	switch (error) {
	case -EPROTO:
		return TIDE_ERROR_MALFORMED;
	case -EBADMSG:
		return TIDE_ERROR_CHECKSUM;
	case -EOPNOTSUPP:
		return TIDE_ERROR_UNSUPPORTED;
	case -EFBIG:
		return TIDE_ERROR_LIMIT;
	case -ENOMEM:
		return TIDE_ERROR_MEMORY;
	case -ECANCELED:
		return TIDE_ERROR_CANCELED;
	case -ETIMEDOUT:
		return TIDE_ERROR_TIMEOUT;
	default:
		return TIDE_ERROR_OTHER;
	}
}
