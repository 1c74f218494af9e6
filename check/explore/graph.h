/* SPDX-License-Identifier: MIT */
/* graph.h - execution graphs, and whether the memory model allows one */
#ifndef TIDE_CHECK_GRAPH_H
#define TIDE_CHECK_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "explore.h"

#define LOCATIONS_MAX 64
#define WRITES_MAX 48 /* of a location */
#define NO_EVENT UINT16_MAX
#define SET_WORDS ((EXPLORE_EVENTS_MAX + 63) / 64)

enum event_kind { EVENT_READ, EVENT_WRITE, EVENT_FENCE };

struct event_set {
	uint64_t word[SET_WORDS];
};

/* An event is named by its place in graph.event, which is the order in which
 * events were added; those that a revisit deletes leave no gap. */
struct event {
	uint8_t kind;	/* enum event_kind */
	uint8_t thread; /* THREAD_INIT: the initial write */
	uint8_t order;	/* __ATOMIC_*; of a plain access ORDER_PLAIN */
	bool exclusive; /* half of a read-modify-write */
	uint16_t index; /* in its thread */
	uint16_t location;
	uint16_t reads;	   /* READ: the write, or NO_EVENT */
	uint16_t previous; /* of its thread, or NO_EVENT */
	/* READ of a compare-exchange: with what it compares, and the orders of
	 * either case. */
	bool compares;
	uint8_t order_equal, order_other;
	uint64_t value;
	uint64_t wanted;
	const char *where;
	struct event_set before; /* by happens-before */
};

#define THREAD_INIT 0xff
#define ORDER_PLAIN 0xff

struct location {
	uintptr_t at;
	uint32_t nbytes;
	/* Its writes in modification order; the first is the initial one. */
	uint16_t count;
	uint16_t write[WRITES_MAX];
};

struct graph {
	uint32_t events;
	uint32_t locations;
	struct event event[EXPLORE_EVENTS_MAX];
	struct location location[LOCATIONS_MAX];
};

static inline bool set_has(const struct event_set *set, uint32_t event)
{
	return set->word[event / 64] >> (event % 64) & 1;
}

static inline void set_add(struct event_set *set, uint32_t event)
{
	set->word[event / 64] |= 1ull << (event % 64);
}

static inline void set_or(struct event_set *set, const struct event_set *other)
{
	for (uint32_t i = 0; i < SET_WORDS; i++)
		set->word[i] |= other->word[i];
}

/* A graph that waits, without the room that it does not use. */
struct packed_graph {
	struct packed_graph *next;
	uint32_t events, locations;
	struct event event[];
	/* The locations follow, each as long as it has writes. */
};

/* Only what is used. */
void graph_copy(struct graph *to, const struct graph *from);
/* malloc'ed; NULL if there is no memory. */
struct packed_graph *graph_pack(const struct graph *graph);
void graph_unpack(struct graph *graph, const struct packed_graph *packed);

/* A new event, the last one, after @like->previous in its thread. */
uint16_t graph_add(struct graph *graph, const struct event *like);
/* The location at @at; made, with its initial write of @value, if new. */
uint16_t graph_location(struct graph *graph, uintptr_t at, uint32_t nbytes,
			uint64_t value);
/* Where the write is in its location's modification order. */
uint32_t graph_position(const struct graph *graph, uint16_t write);
/* The read, which has nothing after it, reads @write now. */
void graph_set_read(struct graph *graph, uint16_t read, uint16_t write);
/* The event and everything before it by program order and reads-from. */
struct event_set graph_prefix(const struct graph *graph, uint16_t event);
/* Leaves only the events of @keep. */
void graph_restrict(struct graph *graph, const struct event_set *keep);

/* Does something that @thread did after its first @after events happen before
 * everything that comes after @last, an event of another thread? */
bool graph_happens_before(const struct graph *graph, uint32_t thread,
			  uint32_t after, uint16_t last);

/* Does the model allow the graph, given that it allows it without @last, and
 * without @read unless that is NO_EVENT, and that nothing comes after them by
 * program order or reads-from, but @read after @last?  Nothing else can be
 * broken, so nothing else is looked at. */
bool graph_is_consistent(const struct graph *graph, uint16_t last,
			 uint16_t read);
/* Does a plain access race?  @racing: the two events. */
bool graph_has_race(const struct graph *graph, uint16_t racing[2]);

#endif
