/* SPDX-License-Identifier: MIT */
/* stream_script.c - write a migration stream by hand, frame by frame */
#undef NDEBUG
#include "stream_script.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PAGE TIDE_PAGE_SIZE

void script_begin(struct script *script)
{
	memset(script, 0, sizeof(*script));

	int err = tide_framing_create(&memory_stream_ops, &script->stream,
				      &script->stream.why, &script->framing);

	assert(!err);
}

void script_end(struct script *script)
{
	tide_framing_destroy(script->framing);
	free(script->stream.out);
}

void put(struct script *script, uint16_t type, const void *meta,
	 size_t meta_size, const void *data, size_t data_size)
{
	struct iovec iov = {
		.iov_base = (void *)(uintptr_t)data,
		.iov_len = data_size,
	};

	int err = tide_framing_send(script->framing, type, meta, meta_size,
				    &iov, data_size ? 1 : 0);

	assert(!err);
}

struct tide_hello good_hello(void)
{
	return (struct tide_hello){
		.version = TIDE_STREAM_VERSION,
		.page_shift = TIDE_PAGE_SHIFT,
		.memory_bytes = 4 * PAGE,
	};
}

void put_hello(struct script *script, struct tide_hello hello)
{
	uint8_t meta[TIDE_META_MAX];

	put(script, TIDE_FRAME_HELLO, meta, tide_hello_encode(&hello, meta),
	    NULL, 0);
}

void put_slot_as(struct script *script, uint16_t type, uint32_t id,
		 uint64_t first_gfn, uint64_t npages, uint32_t flags)
{
	struct tide_slot_info info = {
		.id = id,
		.flags = flags,
		.first_gfn = first_gfn,
		.npages = npages,
	};
	uint8_t meta[TIDE_META_MAX];

	put(script, type, meta, tide_slot_encode(&info, meta), NULL, 0);
	if (type == TIDE_FRAME_SLOT)
		script->totals.slots++;
}

void put_slot(struct script *script, uint32_t id, uint64_t first_gfn,
	      uint64_t npages)
{
	put_slot_as(script, TIDE_FRAME_SLOT, id, first_gfn, npages, 0);
}

void put_slot_gone(struct script *script, uint32_t id)
{
	uint8_t meta[TIDE_META_MAX];

	put(script, TIDE_FRAME_SLOT_GONE, meta, tide_slot_gone_encode(id, meta),
	    NULL, 0);
	script->totals.slots--;
}

void put_round(struct script *script, uint32_t index, bool last)
{
	struct tide_round round = { .index = index, .last = last };
	uint8_t meta[TIDE_META_MAX];

	put(script, TIDE_FRAME_ROUND, meta, tide_round_encode(&round, meta),
	    NULL, 0);
	script->totals.rounds++;
}

void put_zero(struct script *script, uint32_t slot, uint64_t first,
	      uint32_t npages)
{
	struct tide_run run = { slot, npages, first };
	uint8_t meta[TIDE_META_MAX];

	put(script, TIDE_FRAME_ZERO, meta, tide_runs_encode(&run, 1, meta),
	    NULL, 0);
	script->totals.pages_zero += npages;
}

void put_pages(struct script *script, uint32_t slot, uint64_t first,
	       uint32_t npages, uint8_t fill)
{
	struct tide_run run = { slot, npages, first };
	uint8_t meta[TIDE_META_MAX];
	uint8_t *data = malloc(npages * PAGE);

	assert(data);
	memset(data, fill, npages * PAGE);
	put(script, TIDE_FRAME_PAGES, meta, tide_runs_encode(&run, 1, meta),
	    data, npages * PAGE);
	free(data);
	script->totals.pages_sent += npages;
}

void put_state(struct script *script, const char *name, uint32_t index)
{
	struct tide_state_name state = { .index = index };
	uint8_t meta[TIDE_META_MAX];

	strncpy(state.name, name, sizeof(state.name) - 1);
	put(script, TIDE_FRAME_STATE, meta, tide_state_encode(&state, meta),
	    "state", 5);
	script->totals.states++;
}

void put_end(struct script *script)
{
	uint8_t meta[TIDE_META_MAX];

	put(script, TIDE_FRAME_END, meta,
	    tide_totals_encode(&script->totals, meta), NULL, 0);
}

void put_go(struct script *script)
{
	put(script, TIDE_FRAME_GO, NULL, 0, NULL, 0);
}

/* HELLO and slot 0 with four pages at gfn 16. */
void put_opening(struct script *script)
{
	put_hello(script, good_hello());
	put_slot(script, 0, 16, 4);
}

void put_closing(struct script *script)
{
	put_state(script, "vcpu", 0);
	put_end(script);
	put_go(script);
}
