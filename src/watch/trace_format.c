/* SPDX-License-Identifier: MIT */
/*
 * trace_format.c - the records of a trace, as bytes and as structs
 *
 * The format
 * ----------
 * A trace is a front, an info, and records.  Numbers of a fixed size are
 * little-endian, offsets are bytes.  A number without a size is a varint: seven
 * bits a byte, the lowest first, and the highest bit of a byte says that
 * another follows; in its shortest form, and below 2^64.
 *
 *   front   0 u8[8] magic: 89 54 4d 54 0d 0a 1a 0a
 *           8 u16 version: 1          10 u16 page_shift: 12
 *          12 u32 size of the info    16 u64 sum of the info
 *          24 u64 sum of bytes 0 to 23
 *   info    0 u64 start_ns             8 u64 interval_ns
 *          16 u32 pid                 20 command, without its final 0
 *   record  0 u32 size of the payload
 *           4 u8 type                  5 u8 flags: 1: the payload is a frame of
 *                                                  zstd
 *           6 u16 sum of bytes 0 to 5, its lowest 16 bits
 *           8 payload
 *           then u32 sum of the payload, its lowest 32 bits
 *
 * A sum is XXH3, 64 bits.  In the front its seed is 0; that of a record's first
 * sum is the whole sum before it, of the last payload or of the front, and that
 * of its second one is its first.  So a record that is missing, comes twice or
 * in another place is noticed like one that is damaged.
 *
 *   1 MAPPING   id pid first_gfn npages populated_pages zero_pages shared name:
 *               the rest, without its final 0
 *   2 GONE      id
 *   3 INTERVAL  length_ns harvest_ns held_ns, number of runs, groups
 *   4 END       nothing
 *
 * A group is the runs of one mapping: its id less the one after the last
 * group's (the first one's: less 0); how many runs, less 1; and the runs.  A
 * run: (gap * 2 + long), and if long, how many pages less 2; otherwise it is
 * one page.  The gap of the first is the number of its first page, that of
 * another how many pages are between it and the one before, less 1.
 *
 * The payload of an INTERVAL of 64 bytes or more may be compressed, with the
 * payload (not compressed) of the last one of 64 bytes or more as the prefix: a
 * process that writes the same pages again costs next to nothing.
 *
 * docs/trace.md numbers what a reader must check.
 */
#include "watch/trace_format.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/xxh3.h"

#define VARINT_MAX 10u /* bytes of the longest */
#define GROUP_MAX 20u  /* bytes before a group's runs, at most */
#define RUN_BYTES_MAX 20u

static const uint8_t magic[8] = { 0x89, 'T', 'M', 'T', '\r', '\n', 0x1a, '\n' };

_Static_assert(TIDE_TRACE_INFO_SIZE +
			       sizeof(((struct tide_trace_info *)0)->command) <=
		       TIDE_TRACE_SMALL_MAX,
	       "an info is small");
_Static_assert((size_t)7 * VARINT_MAX +
			       sizeof(((struct tide_trace_mapping *)0)->name) <=
		       TIDE_TRACE_SMALL_MAX,
	       "a MAPPING is small");

/* What is left of a payload. */
struct cursor {
	const uint8_t *at, *end;
};

/* ---- numbers ---- */

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

int tide_trace_bytes_room(struct tide_trace_bytes *to, size_t more)
{
	size_t max = to->max ? to->max : 4096;
	uint8_t *bytes;

	/* Never NULL afterwards: it is counted from. */
	if (to->bytes && more <= to->max - to->size)
		return 0;
	while (max - to->size < more)
		max *= 2;
	bytes = realloc(to->bytes, max);
	if (!bytes)
		return -ENOMEM;
	to->bytes = bytes;
	to->max = max;
	return 0;
}

/* There is room. */
static void put_varint(struct tide_trace_bytes *to, uint64_t value)
{
	assert(to->max - to->size >= VARINT_MAX);
	while (value >= 0x80) {
		to->bytes[to->size++] = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	to->bytes[to->size++] = (uint8_t)value;
}

static bool get_varint(struct cursor *from, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned int shift = 0; from->at < from->end; shift += 7) {
		uint8_t byte = *from->at++;

		/* The tenth has one bit to give. */
		if (shift == 63 && byte > 1)
			return false;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte & 0x80)
			continue;
		*ret = value;
		return byte || !shift; /* the shortest form */
	}
	return false;
}

static bool get_id(struct cursor *from, uint32_t *ret)
{
	uint64_t value;

	if (!get_varint(from, &value) || value > UINT32_MAX)
		return false;
	*ret = (uint32_t)value;
	return true;
}

/* ---- front and info ---- */

size_t tide_trace_front_encode(
	const struct tide_trace_info *info,
	uint8_t ret[TIDE_TRACE_FRONT_SIZE + TIDE_TRACE_SMALL_MAX],
	uint64_t *ret_check)
{
	uint8_t *text = ret + TIDE_TRACE_FRONT_SIZE;
	size_t length = strnlen(info->command, sizeof(info->command) - 1);
	size_t size = TIDE_TRACE_INFO_SIZE + length;

	put64(text, info->start_ns);
	put64(text + 8, info->interval_ns);
	put32(text + 16, info->pid);
	memcpy(text + TIDE_TRACE_INFO_SIZE, info->command, length);

	memcpy(ret, magic, sizeof(magic));
	put16(ret + 8, TIDE_TRACE_VERSION);
	put16(ret + 10, TIDE_PAGE_SHIFT);
	put32(ret + 12, (uint32_t)size);
	put64(ret + 16, tide_trace_sum(text, size, 0));
	*ret_check = tide_trace_sum(ret, 24, 0);
	put64(ret + 24, *ret_check);
	return TIDE_TRACE_FRONT_SIZE + size;
}

size_t tide_trace_magic(const uint8_t *bytes, size_t size)
{
	size_t i = 0;

	while (i < size && i < sizeof(magic) && bytes[i] == magic[i])
		i++;
	return i == sizeof(magic) ? size : i;
}

const char *tide_trace_front_decode(const uint8_t front[TIDE_TRACE_FRONT_SIZE],
				    size_t *ret_size, uint64_t *ret_check,
				    int *ret_err)
{
	uint32_t size = get32(front + 12);

	*ret_err = -EBADMSG;
	if (memcmp(front, magic, sizeof(magic)) != 0)
		return "it is no trace";
	*ret_check = tide_trace_sum(front, 24, 0);
	if (get64(front + 24) != *ret_check)
		return "its front is damaged";
	if (get16(front + 8) > TIDE_TRACE_VERSION) {
		*ret_err = -EPROTONOSUPPORT;
		return "it is of a later version of the format";
	}
	if (get16(front + 8) != TIDE_TRACE_VERSION)
		return "there is no such version of the format";
	if (get16(front + 10) != TIDE_PAGE_SHIFT)
		return "its pages have another size";
	if (size < TIDE_TRACE_INFO_SIZE ||
	    size >= TIDE_TRACE_INFO_SIZE +
			    sizeof(((struct tide_trace_info *)0)->command))
		return "its info has no such size";
	*ret_size = size;
	return NULL;
}

const char *tide_trace_info_decode(const uint8_t front[TIDE_TRACE_FRONT_SIZE],
				   const uint8_t *info, size_t size,
				   struct tide_trace_info *ret)
{
	size_t length = size - TIDE_TRACE_INFO_SIZE;

	assert(size >= TIDE_TRACE_INFO_SIZE && length < sizeof(ret->command));
	if (get64(front + 16) != tide_trace_sum(info, size, 0))
		return "its info is damaged";
	if (memchr(info + TIDE_TRACE_INFO_SIZE, 0, length))
		return "its command has a zero in it";
	if (!get64(info + 8))
		return "its interval is 0";
	memset(ret, 0, sizeof(*ret));
	ret->start_ns = get64(info);
	ret->interval_ns = get64(info + 8);
	ret->pid = get32(info + 16);
	memcpy(ret->command, info + TIDE_TRACE_INFO_SIZE, length);
	return NULL;
}

/* ---- head and tail of a record ---- */

uint64_t tide_trace_sum(const void *payload, size_t size, uint64_t check)
{
	return XXH3_64bits_withSeed(payload, size, check);
}

void tide_trace_head_encode(struct tide_trace_head *head, uint64_t check,
			    uint8_t ret[TIDE_TRACE_HEAD_SIZE])
{
	put32(ret, head->size);
	ret[4] = head->type;
	ret[5] = head->flags;
	head->check = tide_trace_sum(ret, 6, check);
	put16(ret + 6, (uint16_t)head->check);
}

const char *tide_trace_head_decode(const uint8_t head[TIDE_TRACE_HEAD_SIZE],
				   uint64_t check, struct tide_trace_head *ret)
{
	*ret = (struct tide_trace_head){
		.size = get32(head),
		.type = head[4],
		.flags = head[5],
		.check = tide_trace_sum(head, 6, check),
	};
	if (get16(head + 6) != (uint16_t)ret->check)
		return "its head is damaged";
	if (ret->type < TIDE_TRACE_TYPE_MAPPING ||
	    ret->type > TIDE_TRACE_TYPE_END)
		return "there is no such type";
	if (ret->size > (ret->type == TIDE_TRACE_TYPE_INTERVAL
				 ? TIDE_TRACE_RAW_MAX
				 : TIDE_TRACE_SMALL_MAX) ||
	    (ret->type == TIDE_TRACE_TYPE_END && ret->size))
		return "it is too large";
	if (ret->flags & ~TIDE_TRACE_ZSTD)
		return "there are no such flags";
	if (ret->flags && ret->type != TIDE_TRACE_TYPE_INTERVAL)
		return "it is compressed, and no interval";
	return NULL;
}

void tide_trace_tail_encode(uint64_t sum, uint8_t ret[TIDE_TRACE_TAIL_SIZE])
{
	put32(ret, (uint32_t)sum);
}

int tide_trace_tail_is(const uint8_t tail[TIDE_TRACE_TAIL_SIZE], uint64_t sum)
{
	return get32(tail) == (uint32_t)sum;
}

/* ---- mappings ---- */

int tide_trace_mapping_encode(const struct tide_trace_mapping *mapping,
			      struct tide_trace_bytes *to)
{
	size_t length = strnlen(mapping->name, sizeof(mapping->name) - 1);

	if (tide_trace_bytes_room(to, TIDE_TRACE_SMALL_MAX))
		return -ENOMEM;
	put_varint(to, mapping->id);
	put_varint(to, mapping->pid);
	put_varint(to, mapping->first_gfn);
	put_varint(to, mapping->npages);
	put_varint(to, mapping->populated_pages);
	put_varint(to, mapping->zero_pages);
	put_varint(to, mapping->shared != 0);
	memcpy(to->bytes + to->size, mapping->name, length);
	to->size += length;
	return 0;
}

const char *tide_trace_mapping_decode(const uint8_t *payload, size_t size,
				      struct tide_trace_mapping *ret)
{
	struct cursor from = { payload, payload + size };
	struct tide_trace_mapping mapping = { 0 };
	uint64_t shared;
	size_t length;

	if (!get_id(&from, &mapping.id) || !get_id(&from, &mapping.pid) ||
	    !get_varint(&from, &mapping.first_gfn) ||
	    !get_varint(&from, &mapping.npages) ||
	    !get_varint(&from, &mapping.populated_pages) ||
	    !get_varint(&from, &mapping.zero_pages) ||
	    !get_varint(&from, &shared) || shared > 1)
		return "a number in it is not well-formed";
	mapping.shared = (int)shared;
	length = (size_t)(from.end - from.at);
	if (length >= sizeof(mapping.name) || memchr(from.at, 0, length))
		return "the mapping's name is not well-formed";
	memcpy(mapping.name, from.at, length);
	*ret = mapping;
	return NULL;
}

int tide_trace_gone_encode(uint32_t id, struct tide_trace_bytes *to)
{
	if (tide_trace_bytes_room(to, VARINT_MAX))
		return -ENOMEM;
	put_varint(to, id);
	return 0;
}

const char *tide_trace_gone_decode(const uint8_t *payload, size_t size,
				   uint32_t *ret_id)
{
	struct cursor from = { payload, payload + size };

	if (!get_id(&from, ret_id) || from.at != from.end)
		return "a number in it is not well-formed";
	return NULL;
}

/* ---- intervals ---- */

static size_t group_size(const struct tide_trace_run *runs, size_t nruns)
{
	size_t n = 1;

	while (n < nruns && runs[n].mapping == runs[0].mapping)
		n++;
	return n;
}

static int encode_group(const struct tide_trace_run *runs, size_t count,
			uint64_t base, struct tide_trace_bytes *to)
{
	uint64_t next = 0; /* the first page that a run may begin with */

	if (tide_trace_bytes_room(to, GROUP_MAX))
		return -ENOMEM;
	put_varint(to, runs[0].mapping - base);
	put_varint(to, count - 1);
	for (size_t i = 0; i < count; i++) {
		const struct tide_trace_run *run = &runs[i];

		assert(run->first_page >= next && run->npages); /* the rules */
		if (tide_trace_bytes_room(to, RUN_BYTES_MAX))
			return -ENOMEM;
		put_varint(to,
			   (run->first_page - next) << 1 | (run->npages > 1));
		if (run->npages > 1)
			put_varint(to, run->npages - 2);
		next = run->first_page + run->npages + 1;
	}
	return 0;
}

int tide_trace_interval_encode(const struct tide_trace_interval *interval,
			       struct tide_trace_bytes *to)
{
	uint64_t base = 0; /* the first id that a group may have */
	size_t count;

	if (interval->nruns > TIDE_TRACE_RUNS_MAX)
		return -E2BIG;
	if (tide_trace_bytes_room(to, (size_t)VARINT_MAX * 4))
		return -ENOMEM;
	put_varint(to, interval->end_ns - interval->begin_ns);
	put_varint(to, interval->harvest_ns);
	put_varint(to, interval->held_ns);
	put_varint(to, interval->nruns);
	for (size_t i = 0; i < interval->nruns; i += count) {
		const struct tide_trace_run *runs = &interval->runs[i];
		int err;

		count = group_size(runs, interval->nruns - i);
		err = encode_group(runs, count, base, to);
		if (err)
			return err;
		base = (uint64_t)runs[0].mapping + 1;
	}
	return to->size > TIDE_TRACE_RAW_MAX ? -E2BIG : 0;
}

static bool decode_run(struct cursor *from, uint64_t next,
		       struct tide_trace_run *ret)
{
	uint64_t gap, more = 0;

	if (!get_varint(from, &gap))
		return false;
	if ((gap & 1) && !get_varint(from, &more))
		return false;
	ret->npages = 1 + (gap & 1);
	gap >>= 1;
	/* So no sum below can wrap. */
	if (more >= TIDE_TRACE_GFN_MAX)
		return false;
	ret->first_page = next + gap;
	ret->npages += more;
	return ret->first_page + ret->npages <= TIDE_TRACE_GFN_MAX;
}

static const char *decode_groups(struct cursor *from, size_t nruns,
				 struct tide_trace_run *runs)
{
	uint64_t base = 0;

	while (nruns) {
		uint64_t id, count, next = 0;

		if (!get_varint(from, &id) || !get_varint(from, &count) ||
		    id > UINT32_MAX || base + id > UINT32_MAX || count >= nruns)
			return "a group of runs is not well-formed";
		for (uint64_t i = 0; i <= count; i++, runs++) {
			if (!decode_run(from, next, runs))
				return "a run is not well-formed";
			runs->mapping = (uint32_t)(base + id);
			next = runs->first_page + runs->npages + 1;
		}
		nruns -= (size_t)count + 1;
		base += id + 1;
	}
	return from->at == from->end ? NULL : "there is more in it than runs";
}

static int runs_room(struct tide_trace_runs *runs, size_t count)
{
	struct tide_trace_run *more;
	size_t max = runs->max * 2 > count ? runs->max * 2 : count;

	if (count <= runs->max)
		return 0;
	if (max > TIDE_TRACE_RUNS_MAX)
		max = TIDE_TRACE_RUNS_MAX;
	more = realloc(runs->runs, max * sizeof(*more));
	if (!more)
		return -ENOMEM;
	runs->runs = more;
	runs->max = max;
	return 0;
}

const char *tide_trace_interval_decode(const uint8_t *payload, size_t size,
				       uint64_t begin_ns,
				       struct tide_trace_runs *runs,
				       struct tide_trace_interval *ret,
				       int *ret_err)
{
	struct cursor from = { payload, payload + size };
	struct tide_trace_interval interval = { .begin_ns = begin_ns };
	uint64_t length_ns, nruns;
	const char *wrong;

	*ret_err = -EBADMSG;
	if (!get_varint(&from, &length_ns) ||
	    !get_varint(&from, &interval.harvest_ns) ||
	    !get_varint(&from, &interval.held_ns) || !get_varint(&from, &nruns))
		return "a number in it is not well-formed";
	if (length_ns > UINT64_MAX - begin_ns)
		return "it ends later than time does";
	/* Each takes a byte at least: what is there bounds what is believed. */
	if (nruns > TIDE_TRACE_RUNS_MAX ||
	    nruns > (uint64_t)(from.end - from.at))
		return "it has more runs than it can have";
	if (runs_room(runs, (size_t)nruns)) {
		*ret_err = -ENOMEM;
		return "there is no memory for its runs";
	}
	wrong = decode_groups(&from, (size_t)nruns, runs->runs);
	if (wrong)
		return wrong;
	runs->count = (size_t)nruns;
	interval.end_ns = begin_ns + length_ns;
	interval.runs = runs->runs;
	interval.nruns = runs->count;
	*ret = interval;
	return NULL;
}
