/* SPDX-License-Identifier: MIT */
/*
 * graph.c - execution graphs, and the axioms of RC11
 *
 * The axioms, over program order (sb), reads-from (rf), modification order
 * (co) and what follows from them:
 *
 *   rs    a write, and every read-modify-write that reads from the sequence
 *   sw    a release (the head of a sequence, or a fence before it) to an
 *         acquire (a read of the sequence, or a fence after it)
 *   hb    (sb | sw)+, and initial writes before everything
 *   fr    a read to the writes after the one that it reads
 *   eco   (rf | co | fr)+
 *
 *   coherence    hb; eco?  is irreflexive
 *   atomicity    a read-modify-write's write comes right after what it read
 *   SC           psc_base | psc_F  is acyclic (RC11, section 3.2)
 *
 * That sb | rf is acyclic needs no check: a read is added after the write that
 * it reads, or is turned to a write that does not depend on it.
 *
 * Relations are rows of bits.  Each event has what happens before it, which is
 * worked out when it is added: later events do not change that.  Of coherence
 * only pairs at one place are looked at, since eco has no others.
 *
 * A graph that is checked was allowed before its last event came.  Whatever the
 * axioms forbid now goes through that event.  Nothing follows it by program
 * order or reads-from, so a cycle of psc has to leave it by co or fr; there is
 * none when it is, or reads, the latest write of its place.
 */
#include "graph.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Rows of bits; n events. */
struct relation {
	struct event_set row[EXPLORE_EVENTS_MAX];
};

/* What is worked out anew for a graph that is checked; large, and there is one
 * exploration at a time. */
static struct {
	struct relation after;	  /* hb, forwards */
	struct relation sb_after; /* program order, forwards */
	struct relation apart;	  /* of that, what is at another place */
	struct relation step;	  /* see make_steps() */
	struct event_set at[LOCATIONS_MAX];
	uint16_t position[EXPLORE_EVENTS_MAX]; /* of a write; of what is read */
} work;

/* The lowest event of @set from @first on, or NO_EVENT. */
static uint32_t set_next(const struct event_set *set, uint32_t first)
{
	for (uint32_t word = first / 64; word < SET_WORDS; word++) {
		uint64_t bits = set->word[word];

		if (word == first / 64)
			bits &= ~0ull << (first % 64);
		if (bits)
			return word * 64 + (uint32_t)__builtin_ctzll(bits);
	}
	return NO_EVENT;
}

#define FOR_EACH_IN(event, set)                                    \
	for (uint32_t event = set_next(set, 0); event != NO_EVENT; \
	     event = set_next(set, event + 1))

static bool is_release(uint8_t order)
{
	return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL ||
	       order == __ATOMIC_SEQ_CST;
}

static bool is_acquire(uint8_t order)
{
	return order == __ATOMIC_ACQUIRE || order == __ATOMIC_CONSUME ||
	       order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static size_t location_bytes(const struct location *location)
{
	return offsetof(struct location, write) +
	       location->count * sizeof(location->write[0]);
}

void graph_copy(struct graph *to, const struct graph *from)
{
	to->events = from->events;
	to->locations = from->locations;
	memcpy(to->event, from->event, from->events * sizeof(from->event[0]));
	for (uint32_t i = 0; i < from->locations; i++)
		memcpy(&to->location[i], &from->location[i],
		       location_bytes(&from->location[i]));
}

struct packed_graph *graph_pack(const struct graph *graph)
{
	size_t nbytes = sizeof(struct packed_graph) +
			graph->events * sizeof(graph->event[0]);
	struct packed_graph *packed;
	char *at;

	for (uint32_t i = 0; i < graph->locations; i++)
		nbytes += location_bytes(&graph->location[i]);
	packed = malloc(nbytes);
	if (!packed)
		return NULL;
	packed->events = graph->events;
	packed->locations = graph->locations;
	memcpy(packed->event, graph->event,
	       graph->events * sizeof(graph->event[0]));
	at = (char *)&packed->event[graph->events];
	for (uint32_t i = 0; i < graph->locations; i++) {
		nbytes = location_bytes(&graph->location[i]);
		memcpy(at, &graph->location[i], nbytes);
		at += nbytes;
	}
	return packed;
}

void graph_unpack(struct graph *graph, const struct packed_graph *packed)
{
	const char *at = (const char *)&packed->event[packed->events];

	graph->events = packed->events;
	graph->locations = packed->locations;
	memcpy(graph->event, packed->event,
	       packed->events * sizeof(graph->event[0]));
	for (uint32_t i = 0; i < graph->locations; i++) {
		struct location *location = &graph->location[i];

		memcpy(location, at, offsetof(struct location, write));
		memcpy(location, at, location_bytes(location));
		at += location_bytes(location);
	}
}

static void add_with_past(const struct graph *graph, uint16_t event,
			  struct event_set *set)
{
	set_or(set, &graph->event[event].before);
	set_add(set, event);
}

/* What happens before whoever acquires from @write: the past of each release
 * whose sequence the write belongs to. */
static void add_released(const struct graph *graph, uint16_t write,
			 struct event_set *set)
{
	for (;;) {
		const struct event *event = &graph->event[write];
		uint16_t head = write;

		if (event->thread == THREAD_INIT || event->order == ORDER_PLAIN)
			return;
		/* Itself, or the latest release fence before it. */
		while (head != NO_EVENT &&
		       !(is_release(graph->event[head].order) &&
			 (head == write ||
			  graph->event[head].kind == EVENT_FENCE)))
			head = graph->event[head].previous;
		if (head != NO_EVENT)
			add_with_past(graph, head, set);
		if (!event->exclusive)
			return;
		write = graph->event[event->previous].reads;
	}
}

/* Everything before @event, once that is known for what it follows. */
static void settle(struct graph *graph, uint16_t event)
{
	struct event *this = &graph->event[event];
	struct event_set set = { { 0 } };

	for (uint32_t i = 0; i < graph->locations; i++)
		set_add(&set, graph->location[i].write[0]);
	if (this->previous != NO_EVENT)
		add_with_past(graph, this->previous, &set);
	if (this->kind == EVENT_READ && this->reads != NO_EVENT &&
	    this->order != ORDER_PLAIN && is_acquire(this->order))
		add_released(graph, this->reads, &set);
	/* The reads up to the last acquire fence are before that one. */
	for (uint16_t r = this->previous;
	     this->kind == EVENT_FENCE && is_acquire(this->order) &&
	     r != NO_EVENT;
	     r = graph->event[r].previous) {
		const struct event *read = &graph->event[r];

		if (read->kind == EVENT_FENCE && is_acquire(read->order))
			break;
		if (read->kind == EVENT_READ && read->order != ORDER_PLAIN)
			add_released(graph, read->reads, &set);
	}
	this->before = set;
}

uint16_t graph_add(struct graph *graph, const struct event *like)
{
	assert(graph->events < EXPLORE_EVENTS_MAX);
	graph->event[graph->events] = *like;
	settle(graph, (uint16_t)graph->events);
	return (uint16_t)graph->events++;
}

uint16_t graph_location(struct graph *graph, uintptr_t at, uint32_t nbytes,
			uint64_t value)
{
	struct location *location;

	for (uint32_t i = 0; i < graph->locations; i++) {
		location = &graph->location[i];
		if (location->at == at) {
			assert(location->nbytes == nbytes);
			return (uint16_t)i;
		}
		assert(at + nbytes <= location->at ||
		       location->at + location->nbytes <= at);
	}
	assert(graph->locations < LOCATIONS_MAX &&
	       graph->events < EXPLORE_EVENTS_MAX);
	location = &graph->location[graph->locations];
	location->at = at;
	location->nbytes = nbytes;
	location->count = 1;
	location->write[0] = (uint16_t)graph->events;
	graph->event[graph->events++] = (struct event){
		.kind = EVENT_WRITE,
		.thread = THREAD_INIT,
		.order = __ATOMIC_RELAXED,
		.index = (uint16_t)graph->locations,
		.location = (uint16_t)graph->locations,
		.reads = NO_EVENT,
		.previous = NO_EVENT,
		.value = value,
		.where = "initial",
	};
	return (uint16_t)graph->locations++;
}

uint32_t graph_position(const struct graph *graph, uint16_t write)
{
	const struct location *location =
		&graph->location[graph->event[write].location];

	for (uint32_t i = 0; i < location->count; i++) {
		if (location->write[i] == write)
			return i;
	}
	assert(!"a write is in its modification order");
	return 0;
}

void graph_set_read(struct graph *graph, uint16_t read, uint16_t write)
{
	struct event *event = &graph->event[read];

	event->reads = write;
	event->value = graph->event[write].value;
	event->exclusive = false; /* its write comes after it, or not */
	if (event->compares)
		event->order = event->value == event->wanted
				       ? event->order_equal
				       : event->order_other;
	settle(graph, read);
}

static void add_prefix(const struct graph *graph, uint16_t event,
		       struct event_set *set)
{
	const struct event *this = &graph->event[event];

	if (set_has(set, event))
		return;
	set_add(set, event);
	if (this->kind == EVENT_READ && this->reads != NO_EVENT)
		add_prefix(graph, this->reads, set);
	if (this->previous != NO_EVENT)
		add_prefix(graph, this->previous, set);
}

struct event_set graph_prefix(const struct graph *graph, uint16_t event)
{
	struct event_set set = { { 0 } };

	add_prefix(graph, event, &set);
	return set;
}

/* Everything before every event, in an order in which each follows what it
 * needs; program order and reads-from have no cycle. */
static void settle_from(struct graph *graph, uint16_t event,
			struct event_set *done)
{
	const struct event *this = &graph->event[event];

	if (set_has(done, event))
		return;
	set_add(done, event);
	if (this->thread == THREAD_INIT)
		return;
	if (this->previous != NO_EVENT)
		settle_from(graph, this->previous, done);
	if (this->reads != NO_EVENT)
		settle_from(graph, this->reads, done);
	settle(graph, event);
}

void graph_restrict(struct graph *graph, const struct event_set *keep)
{
	uint16_t renamed[EXPLORE_EVENTS_MAX];
	uint32_t events = 0;
	struct event_set done = { { 0 } };

	for (uint32_t i = 0; i < graph->events; i++) {
		renamed[i] = NO_EVENT;
		if (set_has(keep, i) || graph->event[i].thread == THREAD_INIT) {
			renamed[i] = (uint16_t)events;
			graph->event[events++] = graph->event[i];
		}
	}
	graph->events = events;
	for (uint32_t i = 0; i < events; i++) {
		if (graph->event[i].reads != NO_EVENT)
			graph->event[i].reads = renamed[graph->event[i].reads];
		if (graph->event[i].previous != NO_EVENT)
			graph->event[i].previous =
				renamed[graph->event[i].previous];
	}
	for (uint32_t i = 0; i < graph->locations; i++) {
		struct location *location = &graph->location[i];
		uint16_t count = 0;

		for (uint32_t n = 0; n < location->count; n++) {
			uint16_t write = renamed[location->write[n]];

			if (write != NO_EVENT)
				location->write[count++] = write;
		}
		location->count = count;
	}
	for (uint32_t i = 0; i < events; i++)
		settle_from(graph, (uint16_t)i, &done);
}

static void make_places(const struct graph *graph)
{
	memset(work.at, 0, sizeof(work.at[0]) * graph->locations);
	for (uint32_t i = 0; i < graph->locations; i++) {
		const struct location *location = &graph->location[i];

		for (uint16_t n = 0; n < location->count; n++)
			work.position[location->write[n]] = n;
	}
	for (uint32_t e = 0; e < graph->events; e++) {
		const struct event *event = &graph->event[e];

		if (event->kind == EVENT_FENCE)
			continue;
		set_add(&work.at[event->location], e);
		if (event->kind == EVENT_READ)
			work.position[e] = work.position[event->reads];
	}
}

/* hb; eco? is irreflexive: what comes later by hb is not earlier in the
 * modification order of its place, and a write is later than what was read or
 * written before it. */
static bool is_coherent(const struct graph *graph, uint16_t b)
{
	const struct event *event = &graph->event[b];
	struct event_set earlier;

	if (event->kind == EVENT_FENCE)
		return true;
	for (uint32_t i = 0; i < SET_WORDS; i++)
		earlier.word[i] = event->before.word[i] &
				  work.at[event->location].word[i];
	FOR_EACH_IN(a, &earlier)
	{
		if (work.position[a] > work.position[b] ||
		    (event->kind == EVENT_WRITE &&
		     work.position[a] == work.position[b]))
			return false;
	}
	return true;
}

/* The read-modify-writes of a place. */
static bool is_atomic(const struct graph *graph,
		      const struct location *location)
{
	for (uint32_t i = 1; i < location->count; i++) {
		const struct event *write = &graph->event[location->write[i]];

		if (write->exclusive &&
		    work.position[write->previous] + 1u != i)
			return false;
	}
	return true;
}

static bool is_sc(const struct event *event)
{
	return event->order == __ATOMIC_SEQ_CST;
}

static bool is_sc_fence(const struct event *event)
{
	return is_sc(event) && event->kind == EVENT_FENCE;
}

/* Turns 64 rows of 64 bits over. */
static void transpose(uint64_t row[64])
{
	uint64_t mask = 0xffffffffull;

	for (uint32_t step = 32; step; step /= 2, mask ^= mask << step) {
		for (uint32_t i = 0; i < 64; i = (i + step + 1) & ~step) {
			uint64_t swap = (row[i] >> step ^ row[i + step]) & mask;

			row[i + step] ^= swap;
			row[i] ^= swap << step;
		}
	}
}

/* hb the other way round. */
static void make_after(const struct graph *graph)
{
	uint32_t words = (graph->events + 63) / 64;

	memset(work.after.row, 0, words * 64 * sizeof(work.after.row[0]));
	for (uint32_t from = 0; from < words; from++) {
		for (uint32_t to = 0; to < words; to++) {
			uint64_t row[64] = { 0 };

			for (uint32_t i = 0;
			     i < 64 && from * 64 + i < graph->events; i++)
				row[i] = graph->event[from * 64 + i]
						 .before.word[to];
			transpose(row);
			for (uint32_t i = 0; i < 64; i++)
				work.after.row[to * 64 + i].word[from] = row[i];
		}
	}
}

/* Program order forwards.  An initial write is before everything, but no cycle
 * comes back to it.  Events of a thread are added in its order. */
static void make_sb_after(const struct graph *graph)
{
	memset(work.sb_after.row, 0,
	       graph->events * sizeof(work.sb_after.row[0]));
	for (uint32_t e = graph->events; e-- > 0;) {
		uint16_t previous = graph->event[e].previous;

		if (previous == NO_EVENT)
			continue;
		assert(previous < e);
		work.sb_after.row[previous] = work.sb_after.row[e];
		set_add(&work.sb_after.row[previous], e);
	}
}

/* Program order to other places; a fence is at none. */
static void make_apart(const struct graph *graph)
{
	for (uint32_t a = 0; a < graph->events; a++) {
		const struct event *event = &graph->event[a];
		struct event_set *set = &work.apart.row[a];

		*set = work.sb_after.row[a];
		for (uint32_t i = 0;
		     event->kind != EVENT_FENCE && i < SET_WORDS; i++)
			set->word[i] &= ~work.at[event->location].word[i];
	}
}

/* sb | hb=loc | co | fr from each event: scb but for its sb!=loc; hb; sb!=loc.
 */
static void make_steps(const struct graph *graph)
{
	for (uint32_t a = 0; a < graph->events; a++) {
		const struct event *event = &graph->event[a];
		const struct location *location =
			&graph->location[event->location];
		struct event_set *set = &work.step.row[a];

		*set = work.sb_after.row[a];
		if (event->kind == EVENT_FENCE)
			continue;
		for (uint32_t i = 0; i < SET_WORDS; i++)
			set->word[i] |= work.after.row[a].word[i] &
					work.at[event->location].word[i];
		for (uint32_t n = work.position[a] + 1u; n < location->count;
		     n++)
			set_add(set, location->write[n]);
	}
}

/*
 * sb | sb!=loc; hb; sb!=loc | hb=loc | co | fr, from @a
 *
 * What hb leads to from a later event of a thread it also leads to from an
 * earlier one.  And of the events of a thread that are reached, all from some
 * event on, two say everything: the first leads to all that follow it, but for
 * those at its place, and the first at another place leads to the rest.
 */
static struct event_set scb_from(const struct graph *graph, uint32_t a)
{
	struct event_set set = work.step.row[a];
	uint32_t first = set_next(&work.apart.row[a], 0);
	uint32_t place[EXPLORE_THREADS_MAX];
	uint32_t once = 0, twice = 0; /* threads */

	if (first == NO_EVENT)
		return set;
	FOR_EACH_IN(b, &work.after.row[first])
	{
		const struct event *event = &graph->event[b];
		uint32_t thread = 1u << event->thread;

		if (twice & thread ||
		    (once & thread && place[event->thread] == event->location))
			continue;
		twice |=
			(once & thread) | (event->kind == EVENT_FENCE) * thread;
		once |= thread;
		place[event->thread] = event->location;
		set_or(&set, &work.apart.row[b]);
	}
	return set;
}

/* hb?; scb from the fence @a.  What sb!=loc; hb; sb!=loc leads to is reached
 * by hb; sb already. */
static struct event_set scb_from_fence(uint32_t a)
{
	struct event_set set = work.step.row[a];

	FOR_EACH_IN(x, &work.after.row[a])
	set_or(&set, &work.step.row[x]);
	return set;
}

/* By eco from the events of @set: at each place, what is later than the
 * earliest of them in modification order, and what reads that one. */
static struct event_set eco_from(const struct graph *graph,
				 const struct event_set *set)
{
	struct event_set eco = { { 0 } };

	for (uint32_t i = 0; i < graph->locations; i++) {
		uint32_t first = UINT32_MAX;
		struct event_set here;
		bool written;

		for (uint32_t n = 0; n < SET_WORDS; n++)
			here.word[n] = set->word[n] & work.at[i].word[n];
		FOR_EACH_IN(b, &here)
		{
			if (work.position[b] < first)
				first = work.position[b];
		}
		if (first == UINT32_MAX)
			continue;
		written = set_has(&here, graph->location[i].write[first]);
		FOR_EACH_IN(b, &work.at[i])
		{
			if (work.position[b] > first ||
			    (work.position[b] == first && written &&
			     graph->event[b].kind == EVENT_READ))
				set_add(&eco, b);
		}
	}
	return eco;
}

/* hb | hb; eco; hb from the fence @a: psc_F, before it is cut to fences. */
static struct event_set far_from(const struct graph *graph, uint32_t a)
{
	struct event_set set = work.after.row[a];
	struct event_set eco = eco_from(graph, &set);

	FOR_EACH_IN(b, &eco)
	set_or(&set, &work.after.row[b]);
	return set;
}

/* psc_base and psc_F from the SC event @a. */
static struct event_set psc_from(const struct graph *graph, uint32_t a,
				 const struct event_set *sc)
{
	bool fence = is_sc_fence(&graph->event[a]);
	struct event_set to = fence ? scb_from_fence(a) : scb_from(graph, a);
	struct event_set far = { { 0 } }, result = { { 0 } };

	if (fence)
		far = far_from(graph, a);
	FOR_EACH_IN(b, sc)
	{
		const struct event *event = &graph->event[b];
		bool found = set_has(&to, b);

		if (!found && is_sc_fence(event)) {
			found = fence && set_has(&far, b);
			for (uint32_t i = 0; !found && i < SET_WORDS; i++)
				found = (to.word[i] & event->before.word[i]) !=
					0;
		}
		if (found)
			set_add(&result, b);
	}
	return result;
}

/* Is there a way round from @at?  @state: 1 on the way, 2 done. */
static bool has_cycle(const struct relation *psc, uint32_t at, uint8_t *state)
{
	if (state[at])
		return state[at] == 1;
	state[at] = 1;
	FOR_EACH_IN(b, &psc->row[at])
	{
		if (has_cycle(psc, b, state))
			return true;
	}
	state[at] = 2;
	return false;
}

static bool is_sc_consistent(const struct graph *graph)
{
	static struct relation psc;
	uint8_t state[EXPLORE_EVENTS_MAX] = { 0 };
	struct event_set sc = { { 0 } };
	uint32_t found = 0;

	for (uint32_t i = 0; i < graph->events; i++) {
		if (is_sc(&graph->event[i])) {
			set_add(&sc, i);
			found++;
		}
	}
	if (found < 2)
		return true;
	make_after(graph);
	make_sb_after(graph);
	make_apart(graph);
	make_steps(graph);
	FOR_EACH_IN(a, &sc)
	psc.row[a] = psc_from(graph, a, &sc);
	FOR_EACH_IN(a, &sc)
	{
		if (has_cycle(&psc, a, state))
			return false;
	}
	return true;
}

bool graph_is_consistent(const struct graph *graph, uint16_t last,
			 uint16_t read)
{
	const struct event *event = &graph->event[last];
	const struct location *location = &graph->location[event->location];

	if (event->kind == EVENT_FENCE)
		return true;
	make_places(graph);
	if (!is_coherent(graph, last) || !is_atomic(graph, location) ||
	    (read != NO_EVENT && !is_coherent(graph, read)))
		return false;
	return work.position[last] + 1u == location->count ||
	       is_sc_consistent(graph);
}

static bool is_racing(const struct graph *graph, uint32_t a, uint32_t b)
{
	const struct event *ea = &graph->event[a], *eb = &graph->event[b];

	return a != b && (ea->kind == EVENT_WRITE || eb->kind == EVENT_WRITE) &&
	       !set_has(&ea->before, b) && !set_has(&eb->before, a);
}

bool graph_has_race(const struct graph *graph, uint16_t racing[2])
{
	for (uint32_t a = 0; a < graph->events; a++) {
		const struct event *event = &graph->event[a];

		if (event->kind == EVENT_FENCE || event->order != ORDER_PLAIN)
			continue;
		for (uint32_t b = 0; b < graph->events; b++) {
			if (graph->event[b].kind != EVENT_FENCE &&
			    graph->event[b].location == event->location &&
			    is_racing(graph, a, b)) {
				racing[0] = (uint16_t)b;
				racing[1] = (uint16_t)a;
				return true;
			}
		}
	}
	return false;
}

bool graph_happens_before(const struct graph *graph, uint32_t thread,
			  uint32_t after, uint16_t last)
{
	if (last == NO_EVENT)
		return false;
	FOR_EACH_IN(a, &graph->event[last].before)
	{
		if (graph->event[a].thread == thread &&
		    graph->event[a].index >= after)
			return true;
	}
	return false;
}
