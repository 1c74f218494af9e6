/* SPDX-License-Identifier: MIT */
/* memory_stream.c - a migration stream in memory, and a guest to receive it */
#undef NDEBUG
#include "memory_stream.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "migrate/receive.h"

static int memory_write(void *opaque, struct iovec *iov, int count)
{
	struct memory_stream *stream = opaque;

	for (int i = 0; i < count; i++) {
		if (!iov[i].iov_len)
			continue;
		stream->out =
			realloc(stream->out, stream->out_size + iov[i].iov_len);
		assert(stream->out);
		memcpy(stream->out + stream->out_size, iov[i].iov_base,
		       iov[i].iov_len);
		stream->out_size += iov[i].iov_len;
	}
	return 0;
}

static int memory_read(void *opaque, struct iovec *iov, int count)
{
	struct memory_stream *stream = opaque;

	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len > stream->in_size - stream->in_at)
			return -ECONNRESET;
		if (!iov[i].iov_len)
			continue;
		memcpy(iov[i].iov_base, stream->in + stream->in_at,
		       iov[i].iov_len);
		stream->in_at += iov[i].iov_len;
	}
	return 0;
}

const struct tide_framing_ops memory_stream_ops = {
	.write = memory_write,
	.read = memory_read,
};

static int guest_slot(void *opaque, struct tide_slot_info *info)
{
	struct memory_guest *guest = opaque;
	size_t nbytes = info->npages * TIDE_PAGE_SIZE;

	if (guest->slot_error)
		return guest->slot_error;
	if (guest->count == MEMORY_GUEST_SLOTS)
		return -ENOSPC;
	info->host = guest->host;
	if (!info->host) {
		info->host = mmap(NULL, nbytes,
				  guest->forbid_touch ? PROT_NONE
						      : PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				  -1, 0);
		if (info->host == MAP_FAILED)
			return -ENOMEM;
		guest->mapped[guest->count] = info->host;
	}
	guest->slots[guest->count++] = *info;
	return 0;
}

static int guest_slot_change(void *opaque, const struct tide_slot_info *was,
			     const struct tide_slot_info *now)
{
	struct memory_guest *guest = opaque;

	guest->changes++;
	for (uint32_t i = 0; i < guest->count; i++) {
		struct tide_slot_info *slot = &guest->slots[i];

		if (slot->id != was->id || slot->host != was->host)
			continue;
		assert(slot->first_gfn == was->first_gfn);
		assert(slot->npages == was->npages);
		if (now) {
			*slot = *now;
			return 0;
		}
		if (guest->mapped[i])
			munmap(guest->mapped[i], slot->npages * TIDE_PAGE_SIZE);
		guest->count--;
		*slot = guest->slots[guest->count];
		guest->mapped[i] = guest->mapped[guest->count];
		guest->mapped[guest->count] = NULL;
		return 0;
	}
	assert(!"a slot that was never handed out");
	return -ENOENT;
}

static int guest_load(void *opaque, const char *name, uint32_t index,
		      const void *data, size_t nbytes)
{
	struct memory_guest *guest = opaque;

	assert(!guest->starts);
	assert(strlen(name) > 0 && strlen(name) < sizeof(guest->last_name));
	assert(data);
	guest->loads++;
	memcpy(guest->last_name, name, strlen(name) + 1);
	guest->last_index = index;
	guest->last_size = nbytes;
	return guest->load_error;
}

static int guest_start(void *opaque)
{
	struct memory_guest *guest = opaque;

	guest->starts++;
	return guest->start_error;
}

int memory_guest_receive(struct memory_guest *guest, const uint8_t *bytes,
			 size_t nbytes, struct tide_sentence *why,
			 struct tide_migrate_stats *stats)
{
	struct memory_stream stream = { .in = bytes, .in_size = nbytes };
	struct tide_migrate_stats own_stats = { 0 };
	struct tide_framing *framing = NULL;
	struct tide_migrate_receive_config config = {
		.slot = guest_slot,
		.slot_change = guest->no_slot_change ? NULL : guest_slot_change,
		.load = guest_load,
		.start = guest_start,
		.opaque = guest,
		.memory_bytes_max = guest->memory_bytes_max
					    ? guest->memory_bytes_max
					    : MEMORY_GUEST_BYTES_MAX,
	};

	assert(!tide_framing_create(&memory_stream_ops, &stream, why,
				    &framing));

	int err = tide_receive_run(framing, NULL, &config,
				   stats ? stats : &own_stats);

	tide_framing_destroy(framing);
	free(stream.out);
	/* What every transfer must keep, whatever came in. */
	assert(err <= 0);
	assert(guest->starts <= 1);
	assert(err == 0 ? guest->starts == 1
			: guest->starts == 0 || guest->start_error);
	return err;
}

void memory_guest_fini(struct memory_guest *guest)
{
	for (uint32_t i = 0; i < guest->count; i++) {
		if (guest->mapped[i])
			munmap(guest->mapped[i],
			       guest->slots[i].npages * TIDE_PAGE_SIZE);
	}
	memset(guest, 0, sizeof(*guest));
}

uint8_t *memory_guest_page(const struct memory_guest *guest, uint32_t id,
			   uint64_t page)
{
	for (uint32_t i = 0; i < guest->count; i++) {
		if (guest->slots[i].id == id && page < guest->slots[i].npages)
			return (uint8_t *)guest->slots[i].host +
			       page * TIDE_PAGE_SIZE;
	}
	return NULL;
}

static uint32_t size_at(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return le32toh(value);
}

static void check_at(uint8_t *to, const uint8_t *bytes, size_t nbytes)
{
	uint64_t value = htole64(tide_check(bytes, nbytes));

	memcpy(to, &value, sizeof(value));
}

void memory_stream_mend(uint8_t *bytes, size_t nbytes)
{
	uint32_t sequence = 0;

	/* Offsets: the table at the top of src/migrate/stream.c. */
	while (nbytes >= TIDE_HEAD_SIZE) {
		uint64_t meta_size = size_at(bytes + 12);
		uint64_t data_size = size_at(bytes + 16);
		uint64_t left = nbytes - TIDE_HEAD_SIZE;
		uint32_t number = htole32(sequence++);

		memcpy(bytes, "TMS1", 4);
		memcpy(bytes + 8, &number, sizeof(number));
		if (meta_size + data_size <= left) {
			check_at(bytes + 24, bytes + TIDE_HEAD_SIZE,
				 (size_t)meta_size);
			check_at(bytes + 32, bytes + TIDE_HEAD_SIZE + meta_size,
				 (size_t)data_size);
		}
		check_at(bytes + 40, bytes, 40);
		if (meta_size + data_size > left)
			return;
		bytes += TIDE_HEAD_SIZE + meta_size + data_size;
		nbytes = (size_t)(left - meta_size - data_size);
	}
}
