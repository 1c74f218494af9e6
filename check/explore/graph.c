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
 * Relations are rows of bits.  hb is worked out backwards, event by event.  Of
 * coherence only pairs at one place are looked at, since eco has no others.
 */
#include "graph.h"

#include <assert.h>
#include <string.h>

/* Rows of bits; n events. */
struct relation {
	struct event_set row[EXPLORE_EVENTS_MAX];
};

/* What is worked out anew for a graph that is checked; large, and there is one
 * exploration at a time. */
static struct {
	struct relation before;	  /* hb, backwards: row b has a if a hb b */
	struct relation after;	  /* hb, forwards */
	struct relation sb_after; /* program order, forwards */
	struct relation sw_from;  /* row b has a if a sw b */
	struct event_set known;	  /* whose row of before is done */
	struct event_set at[LOCATIONS_MAX];
	uint16_t position[EXPLORE_EVENTS_MAX]; /* of a write; of what is read */
} work;

uint16_t graph_find(const struct graph *graph, uint32_t thread, uint32_t index)
{
	for (uint32_t i = 0; i < graph->events; i++) {
		if (graph->event[i].thread == thread &&
		    graph->event[i].index == index)
			return (uint16_t)i;
	}
	return NO_EVENT;
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
	if (this->thread != THREAD_INIT && this->index)
		add_prefix(graph,
			   graph_find(graph, this->thread, this->index - 1u),
			   set);
}

struct event_set graph_prefix(const struct graph *graph, uint16_t event)
{
	struct event_set set = { { 0 } };

	add_prefix(graph, event, &set);
	return set;
}

void graph_restrict(struct graph *graph, const struct event_set *keep)
{
	uint16_t renamed[EXPLORE_EVENTS_MAX];
	uint32_t events = 0;

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
}

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

static bool is_sb(const struct event *a, const struct event *b)
{
	if (a->thread == THREAD_INIT)
		return b->thread != THREAD_INIT;
	return a->thread == b->thread && a->index < b->index;
}

/* The read of the same read-modify-write. */
static uint16_t read_of(const struct graph *graph, uint16_t write)
{
	const struct event *event = &graph->event[write];

	assert(event->kind == EVENT_WRITE && event->exclusive && event->index);
	return graph_find(graph, event->thread, event->index - 1u);
}

/* @release to every acquire that @read stands for. */
static void add_sw_from(const struct graph *graph, uint16_t release,
			uint16_t read)
{
	if (is_acquire(graph->event[read].order))
		set_add(&work.sw_from.row[read], release);
	for (uint32_t f = 0; f < graph->events; f++) {
		const struct event *fence = &graph->event[f];

		if (fence->kind == EVENT_FENCE && is_acquire(fence->order) &&
		    is_sb(&graph->event[read], fence))
			set_add(&work.sw_from.row[f], release);
	}
}

static void add_sw_of_head(const struct graph *graph, uint16_t head,
			   uint16_t read)
{
	if (graph->event[head].order == ORDER_PLAIN)
		return;
	if (is_release(graph->event[head].order))
		add_sw_from(graph, head, read);
	for (uint32_t f = 0; f < graph->events; f++) {
		const struct event *fence = &graph->event[f];

		if (fence->kind == EVENT_FENCE && is_release(fence->order) &&
		    is_sb(fence, &graph->event[head]))
			add_sw_from(graph, (uint16_t)f, read);
	}
}

static void add_sw(const struct graph *graph)
{
	memset(&work.sw_from, 0, sizeof(work.sw_from));
	for (uint16_t read = 0; read < graph->events; read++) {
		const struct event *event = &graph->event[read];
		uint16_t head = event->reads;

		if (event->kind != EVENT_READ || event->order == ORDER_PLAIN)
			continue;
		/* Every head whose sequence the write belongs to. */
		for (;;) {
			const struct event *write = &graph->event[head];

			if (write->thread == THREAD_INIT)
				break;
			add_sw_of_head(graph, head, read);
			if (!write->exclusive)
				break;
			head = graph->event[read_of(graph, head)].reads;
		}
	}
}

/* Everything before @event; no recursion is endless, since program order and
 * reads-from have no cycle. */
static void make_before(const struct graph *graph, uint32_t event)
{
	struct event_set *row = &work.before.row[event];
	const struct event *this = &graph->event[event];

	if (set_has(&work.known, event))
		return;
	set_add(&work.known, event);
	*row = (struct event_set){ { 0 } };
	if (this->thread == THREAD_INIT)
		return;
	for (uint32_t i = 0; i < graph->locations; i++)
		set_add(row, graph->location[i].write[0]);
	if (this->index) {
		uint16_t previous =
			graph_find(graph, this->thread, this->index - 1u);

		make_before(graph, previous);
		set_or(row, &work.before.row[previous]);
		set_add(row, previous);
	}
	FOR_EACH_IN(from, &work.sw_from.row[event])
	{
		make_before(graph, from);
		set_or(row, &work.before.row[from]);
		set_add(row, from);
	}
}

static void make_hb(const struct graph *graph)
{
	add_sw(graph);
	work.known = (struct event_set){ { 0 } };
	for (uint32_t e = 0; e < graph->events; e++)
		make_before(graph, e);
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
static bool is_coherent(const struct graph *graph)
{
	for (uint32_t b = 0; b < graph->events; b++) {
		const struct event *event = &graph->event[b];
		struct event_set earlier;

		if (event->kind == EVENT_FENCE)
			continue;
		for (uint32_t i = 0; i < SET_WORDS; i++)
			earlier.word[i] = work.before.row[b].word[i] &
					  work.at[event->location].word[i];
		FOR_EACH_IN(a, &earlier)
		{
			if (work.position[a] > work.position[b] ||
			    (event->kind == EVENT_WRITE &&
			     work.position[a] == work.position[b]))
				return false;
		}
	}
	return true;
}

static bool is_atomic(const struct graph *graph)
{
	for (uint16_t w = 0; w < graph->events; w++) {
		const struct event *write = &graph->event[w];

		if (write->kind == EVENT_WRITE && write->exclusive &&
		    work.position[w] != work.position[read_of(graph, w)] + 1)
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

/* hb and program order the other way round. */
static void make_after(const struct graph *graph)
{
	memset(&work.after, 0, sizeof(work.after));
	memset(&work.sb_after, 0, sizeof(work.sb_after));
	for (uint32_t b = 0; b < graph->events; b++) {
		FOR_EACH_IN(a, &work.before.row[b])
		{
			set_add(&work.after.row[a], b);
			if (is_sb(&graph->event[a], &graph->event[b]))
				set_add(&work.sb_after.row[a], b);
		}
	}
}

/* Program order to other places; a fence is at none. */
static struct event_set apart_from(const struct graph *graph, uint32_t a)
{
	const struct event *event = &graph->event[a];
	struct event_set set = work.sb_after.row[a];

	for (uint32_t i = 0; event->kind != EVENT_FENCE && i < SET_WORDS; i++)
		set.word[i] &= ~work.at[event->location].word[i];
	return set;
}

/* co and fr: to the writes after it, or after what it reads. */
static void add_later_writes(const struct graph *graph, uint32_t a,
			     struct event_set *set)
{
	const struct event *event = &graph->event[a];
	const struct location *location = &graph->location[event->location];

	if (event->kind == EVENT_FENCE)
		return;
	for (uint32_t n = work.position[a] + 1u; n < location->count; n++)
		set_add(set, location->write[n]);
}

/* eco: those, and what reads them, or what it has written. */
static void add_eco(const struct graph *graph, uint32_t a,
		    struct event_set *set)
{
	const struct event *event = &graph->event[a];

	if (event->kind == EVENT_FENCE)
		return;
	FOR_EACH_IN(b, &work.at[event->location])
	{
		if (work.position[b] > work.position[a] ||
		    (event->kind == EVENT_WRITE && b != a &&
		     work.position[b] == work.position[a]))
			set_add(set, b);
	}
}

/* sb | sb!=loc; hb; sb!=loc | hb=loc | co | fr, from @a */
static struct event_set scb_from(const struct graph *graph, uint32_t a)
{
	const struct event *event = &graph->event[a];
	struct event_set set = work.sb_after.row[a];
	struct event_set apart = apart_from(graph, a), reached = { { 0 } };

	for (uint32_t i = 0; event->kind != EVENT_FENCE && i < SET_WORDS; i++)
		set.word[i] |= work.after.row[a].word[i] &
			       work.at[event->location].word[i];
	add_later_writes(graph, a, &set);
	FOR_EACH_IN(b, &apart)
	set_or(&reached, &work.after.row[b]);
	FOR_EACH_IN(b, &reached)
	{
		apart = apart_from(graph, b);
		set_or(&set, &apart);
	}
	return set;
}

/* hb | hb; eco; hb from the fence @a: psc_F, before it is cut to fences. */
static struct event_set far_from(const struct graph *graph, uint32_t a)
{
	struct event_set set = work.after.row[a], eco = { { 0 } };

	FOR_EACH_IN(b, &work.after.row[a])
	add_eco(graph, b, &eco);
	FOR_EACH_IN(b, &eco)
	set_or(&set, &work.after.row[b]);
	return set;
}

/* psc_base and psc_F from the SC event @a. */
static struct event_set psc_from(const struct graph *graph, uint32_t a,
				 const struct event_set *sc)
{
	bool fence = is_sc_fence(&graph->event[a]);
	struct event_set to = scb_from(graph, a), far = { { 0 } };
	struct event_set result = { { 0 } };

	if (fence) {
		far = far_from(graph, a);
		FOR_EACH_IN(x, &work.after.row[a])
		{
			struct event_set more = scb_from(graph, x);

			set_or(&to, &more);
		}
	}
	FOR_EACH_IN(b, sc)
	{
		bool found = set_has(&to, b);

		if (!found && is_sc_fence(&graph->event[b])) {
			found = fence && set_has(&far, b);
			for (uint32_t i = 0; !found && i < SET_WORDS; i++)
				found = (to.word[i] &
					 work.before.row[b].word[i]) != 0;
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
	FOR_EACH_IN(a, &sc)
	psc.row[a] = psc_from(graph, a, &sc);
	FOR_EACH_IN(a, &sc)
	{
		if (has_cycle(&psc, a, state))
			return false;
	}
	return true;
}

static bool is_racing(const struct graph *graph, uint32_t a, uint32_t b)
{
	const struct event *ea = &graph->event[a], *eb = &graph->event[b];

	return a != b && (ea->kind == EVENT_WRITE || eb->kind == EVENT_WRITE) &&
	       !set_has(&work.before.row[a], b) &&
	       !set_has(&work.before.row[b], a);
}

bool graph_happens_before(const struct graph *graph, uint32_t thread,
			  uint32_t after, uint32_t other, uint32_t before)
{
	uint16_t last;

	/* Who has come far: by the last event that came before. */
	if (!before)
		return false;
	last = graph_find(graph, other, before - 1);
	if (last == NO_EVENT)
		return false;
	FOR_EACH_IN(a, &work.before.row[last])
	{
		if (graph->event[a].thread == thread &&
		    graph->event[a].index >= after)
			return true;
	}
	return false;
}

enum verdict graph_check(const struct graph *graph, uint16_t racing[2])
{
	make_hb(graph);
	make_places(graph);
	if (!is_atomic(graph) || !is_coherent(graph) ||
	    !is_sc_consistent(graph))
		return GRAPH_INCONSISTENT;
	for (uint32_t a = 0; a < graph->events; a++) {
		const struct event *event = &graph->event[a];

		if (event->kind == EVENT_FENCE || event->order != ORDER_PLAIN)
			continue;
		FOR_EACH_IN(b, &work.at[event->location])
		{
			if (is_racing(graph, a, b)) {
				racing[0] = (uint16_t)b;
				racing[1] = (uint16_t)a;
				return GRAPH_RACE;
			}
		}
	}
	return GRAPH_CONSISTENT;
}
