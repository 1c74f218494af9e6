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
 * Relations are rows of bits; closures are Warshall's.
 */
#include "graph.h"

#include <assert.h>
#include <string.h>

struct relation {
	struct event_set row[EXPLORE_EVENTS_MAX];
};

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

static void close_relation(struct relation *relation, uint32_t n)
{
	for (uint32_t k = 0; k < n; k++) {
		for (uint32_t i = 0; i < n; i++) {
			if (set_has(&relation->row[i], k))
				set_or(&relation->row[i], &relation->row[k]);
		}
	}
}

static bool is_irreflexive(const struct relation *relation, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (set_has(&relation->row[i], i))
			return false;
	}
	return true;
}

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
			uint16_t read, struct relation *hb)
{
	if (is_acquire(graph->event[read].order))
		set_add(&hb->row[release], read);
	for (uint32_t f = 0; f < graph->events; f++) {
		const struct event *fence = &graph->event[f];

		if (fence->kind == EVENT_FENCE && is_acquire(fence->order) &&
		    is_sb(&graph->event[read], fence))
			set_add(&hb->row[release], f);
	}
}

static void add_sw_of_head(const struct graph *graph, uint16_t head,
			   uint16_t read, struct relation *hb)
{
	if (graph->event[head].order == ORDER_PLAIN)
		return;
	if (is_release(graph->event[head].order))
		add_sw_from(graph, head, read, hb);
	for (uint32_t f = 0; f < graph->events; f++) {
		const struct event *fence = &graph->event[f];

		if (fence->kind == EVENT_FENCE && is_release(fence->order) &&
		    is_sb(fence, &graph->event[head]))
			add_sw_from(graph, (uint16_t)f, read, hb);
	}
}

static void add_sw(const struct graph *graph, struct relation *hb)
{
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
			add_sw_of_head(graph, head, read, hb);
			if (!write->exclusive)
				break;
			head = graph->event[read_of(graph, head)].reads;
		}
	}
}

static void make_hb(const struct graph *graph, struct relation *hb)
{
	uint32_t n = graph->events;

	memset(hb, 0, sizeof(*hb));
	for (uint32_t a = 0; a < n; a++) {
		for (uint32_t b = 0; b < n; b++) {
			if (is_sb(&graph->event[a], &graph->event[b]))
				set_add(&hb->row[a], b);
		}
	}
	add_sw(graph, hb);
	close_relation(hb, n);
}

static void make_eco(const struct graph *graph, struct relation *co,
		     struct relation *fr, struct relation *eco)
{
	memset(co, 0, sizeof(*co));
	memset(fr, 0, sizeof(*fr));
	for (uint32_t i = 0; i < graph->locations; i++) {
		const struct location *location = &graph->location[i];

		for (uint32_t a = 0; a < location->count; a++) {
			for (uint32_t b = a + 1; b < location->count; b++)
				set_add(&co->row[location->write[a]],
					location->write[b]);
		}
	}
	for (uint32_t r = 0; r < graph->events; r++) {
		if (graph->event[r].kind == EVENT_READ)
			fr->row[r] = co->row[graph->event[r].reads];
	}
	*eco = *co;
	for (uint32_t r = 0; r < graph->events; r++) {
		set_or(&eco->row[r], &fr->row[r]);
		if (graph->event[r].kind == EVENT_READ)
			set_add(&eco->row[graph->event[r].reads], r);
	}
	close_relation(eco, graph->events);
}

static bool is_coherent(const struct graph *graph, const struct relation *hb,
			const struct relation *eco)
{
	if (!is_irreflexive(hb, graph->events) ||
	    !is_irreflexive(eco, graph->events))
		return false;
	for (uint32_t a = 0; a < graph->events; a++) {
		for (uint32_t b = 0; b < graph->events; b++) {
			if (set_has(&hb->row[a], b) && set_has(&eco->row[b], a))
				return false;
		}
	}
	return true;
}

static bool is_atomic(const struct graph *graph)
{
	for (uint16_t w = 0; w < graph->events; w++) {
		const struct event *write = &graph->event[w];

		if (write->kind != EVENT_WRITE || !write->exclusive)
			continue;
		if (graph_position(graph, w) !=
		    graph_position(graph,
				   graph->event[read_of(graph, w)].reads) +
			    1)
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

static bool same_place(const struct event *a, const struct event *b)
{
	return a->kind != EVENT_FENCE && b->kind != EVENT_FENCE &&
	       a->location == b->location;
}

/* sb | sb≠loc; hb; sb≠loc | hb=loc | co | fr */
static void make_scb(const struct graph *graph, const struct relation *hb,
		     const struct relation *co, const struct relation *fr,
		     struct relation *scb)
{
	static struct relation apart; /* sb between different places */
	uint32_t n = graph->events;

	memset(&apart, 0, sizeof(apart));
	for (uint32_t a = 0; a < n; a++) {
		scb->row[a] = co->row[a];
		set_or(&scb->row[a], &fr->row[a]);
		for (uint32_t b = 0; b < n; b++) {
			const struct event *ea = &graph->event[a];
			const struct event *eb = &graph->event[b];

			if (is_sb(ea, eb)) {
				set_add(&scb->row[a], b);
				if (!same_place(ea, eb))
					set_add(&apart.row[a], b);
			}
			if (same_place(ea, eb) && set_has(&hb->row[a], b))
				set_add(&scb->row[a], b);
		}
	}
	for (uint32_t a = 0; a < n; a++) {
		struct event_set reached = { { 0 } };

		for (uint32_t b = 0; b < n; b++) {
			if (set_has(&apart.row[a], b))
				set_or(&reached, &hb->row[b]);
		}
		for (uint32_t b = 0; b < n; b++) {
			if (set_has(&reached, b))
				set_or(&scb->row[a], &apart.row[b]);
		}
	}
}

/* All that lies behind the events of @from by @relation. */
static struct event_set image(const struct relation *relation, uint32_t n,
			      const struct event_set *from)
{
	struct event_set to = { { 0 } };

	for (uint32_t i = 0; i < n; i++) {
		if (set_has(from, i))
			set_or(&to, &relation->row[i]);
	}
	return to;
}

/* psc_base and psc_F from the SC event @a. */
static struct event_set psc_from(const struct graph *graph, uint32_t a,
				 const struct relation *hb,
				 const struct relation *eco,
				 const struct relation *scb)
{
	uint32_t n = graph->events;
	bool fence = is_sc_fence(&graph->event[a]);
	struct event_set from = { { 0 } }, to, far = { { 0 } };
	struct event_set result = { { 0 } };

	set_add(&from, a);
	if (fence) {
		set_or(&from, &hb->row[a]);
		far = image(eco, n, &hb->row[a]);
		far = image(hb, n, &far);
		set_or(&far, &hb->row[a]);
	}
	to = image(scb, n, &from);
	for (uint32_t b = 0; b < n; b++) {
		if (!is_sc(&graph->event[b]))
			continue;
		if (set_has(&to, b))
			set_add(&result, b);
		if (!is_sc_fence(&graph->event[b]))
			continue;
		if (fence && set_has(&far, b))
			set_add(&result, b);
		for (uint32_t y = 0; y < n; y++) {
			if (set_has(&to, y) && set_has(&hb->row[y], b))
				set_add(&result, b);
		}
	}
	return result;
}

static bool is_sc_consistent(const struct graph *graph,
			     const struct relation *hb,
			     const struct relation *co,
			     const struct relation *fr,
			     const struct relation *eco)
{
	static struct relation scb, psc;
	uint32_t found = 0;

	for (uint32_t i = 0; i < graph->events; i++)
		found += is_sc(&graph->event[i]);
	if (found < 2)
		return true;
	make_scb(graph, hb, co, fr, &scb);
	memset(&psc, 0, sizeof(psc));
	for (uint32_t a = 0; a < graph->events; a++) {
		if (is_sc(&graph->event[a]))
			psc.row[a] = psc_from(graph, a, hb, eco, &scb);
	}
	close_relation(&psc, graph->events);
	return is_irreflexive(&psc, graph->events);
}

static bool races(const struct graph *graph, const struct relation *hb,
		  uint32_t a, uint32_t b)
{
	const struct event *ea = &graph->event[a], *eb = &graph->event[b];

	return same_place(ea, eb) &&
	       (ea->order == ORDER_PLAIN || eb->order == ORDER_PLAIN) &&
	       (ea->kind == EVENT_WRITE || eb->kind == EVENT_WRITE) &&
	       !set_has(&hb->row[a], b) && !set_has(&hb->row[b], a);
}

/* Large; one exploration at a time. */
static struct relation hb;

bool graph_happens_before(const struct graph *graph, uint32_t thread,
			  uint32_t after, uint32_t other, uint32_t before)
{
	for (uint32_t a = 0; a < graph->events; a++) {
		const struct event *ea = &graph->event[a];

		if (ea->thread != thread || ea->index < after)
			continue;
		for (uint32_t b = 0; b < graph->events; b++) {
			const struct event *eb = &graph->event[b];

			if (eb->thread == other && eb->index < before &&
			    set_has(&hb.row[a], b))
				return true;
		}
	}
	return false;
}

enum verdict graph_check(const struct graph *graph, uint16_t racing[2])
{
	static struct relation co, fr, eco;

	make_hb(graph, &hb);
	make_eco(graph, &co, &fr, &eco);
	if (!is_coherent(graph, &hb, &eco) || !is_atomic(graph) ||
	    !is_sc_consistent(graph, &hb, &co, &fr, &eco))
		return GRAPH_INCONSISTENT;
	for (uint32_t a = 0; a < graph->events; a++) {
		for (uint32_t b = 0; b < a; b++) {
			if (races(graph, &hb, b, a)) {
				racing[0] = (uint16_t)b;
				racing[1] = (uint16_t)a;
				return GRAPH_RACE;
			}
		}
	}
	return GRAPH_CONSISTENT;
}
