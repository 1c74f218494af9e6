/* SPDX-License-Identifier: MIT */
/*
 * stream_script.h - write a migration stream by hand, frame by frame
 *
 * Every put_ call appends one well-formed frame; nothing stops the caller from
 * putting them in an order that makes no sense.
 */
#ifndef TIDE_TESTS_STREAM_SCRIPT_H
#define TIDE_TESTS_STREAM_SCRIPT_H

#include "memory_stream.h"

/* A stream in the making. */
struct script {
	struct memory_stream stream;
	struct tide_framing *framing;
	struct tide_totals totals;
};

void script_begin(struct script *script);
void script_end(struct script *script);
void put(struct script *script, uint16_t type, const void *meta,
	 size_t meta_size, const void *data, size_t data_size);
struct tide_hello good_hello(void);
void put_hello(struct script *script, struct tide_hello hello);
void put_slot_as(struct script *script, uint16_t type, uint32_t id,
		 uint64_t first_gfn, uint64_t npages, uint32_t flags);
void put_slot(struct script *script, uint32_t id, uint64_t first_gfn,
	      uint64_t npages);
void put_slot_gone(struct script *script, uint32_t id);
void put_round(struct script *script, uint32_t index, bool last);
void put_zero(struct script *script, uint32_t slot, uint64_t first,
	      uint32_t npages);
void put_pages(struct script *script, uint32_t slot, uint64_t first,
	       uint32_t npages, uint8_t fill);
void put_state(struct script *script, const char *name, uint32_t index);
void put_end(struct script *script);
void put_go(struct script *script);
void put_opening(struct script *script);
void put_closing(struct script *script);

#endif
