/* SPDX-License-Identifier: MIT */
/*
 * memory_stream.h - a migration stream in memory, and a guest to receive it
 *
 * For tests and fuzzers: frames are written to and read from arrays, and the
 * destination's callbacks hand out small pieces of memory.
 */
#ifndef TIDE_TESTS_MEMORY_STREAM_H
#define TIDE_TESTS_MEMORY_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tidemark/migrate.h>

#include "migrate/framing.h"

#define MEMORY_GUEST_SLOTS 64
#define MEMORY_GUEST_BYTES_MAX (1u << 20) /* what it lets in by default */

struct memory_stream {
	const uint8_t *in; /* what the reader gets */
	size_t in_size;
	size_t in_at;
	uint8_t *out; /* what the writer wrote; free() it */
	size_t out_size;
	struct tide_sentence why;
};

extern const struct tide_framing_ops memory_stream_ops;

struct memory_guest {
	struct tide_slot_info slots[MEMORY_GUEST_SLOTS];
	void *mapped[MEMORY_GUEST_SLOTS];
	uint32_t count;
	uint64_t memory_bytes_max; /* 0: MEMORY_GUEST_BYTES_MAX */
	bool forbid_touch;	   /* memory of new slots cannot be written */
	bool no_slot_change;
	int slot_error, load_error, start_error;
	void *host; /* next slot's memory, if not NULL */
	uint32_t loads, starts, changes;
	char last_name[32];
	uint32_t last_index;
	size_t last_size;
};

/* The guest receives @bytes.  Return: as tide_migrate_receive(). */
int memory_guest_receive(struct memory_guest *guest, const uint8_t *bytes,
			 size_t nbytes, struct tide_sentence *why,
			 struct tide_migrate_stats *stats);
void memory_guest_fini(struct memory_guest *guest);

/* The memory of page @page of slot @id; NULL if there is none. */
uint8_t *memory_guest_page(const struct memory_guest *guest, uint32_t id,
			   uint64_t page);

/*
 * Make the checksums and numbers of the frames in @bytes right, as far as
 * its sizes lead from head to head: what a fuzzer changes would otherwise
 * never get past the first comparison.
 */
void memory_stream_mend(uint8_t *bytes, size_t nbytes);

#endif
