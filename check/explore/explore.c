/* SPDX-License-Identifier: MIT */
/*
 * explore.c - visit every execution graph of a program
 *
 * Theory of operation
 * -------------------
 * TruSt.  A graph grows by one event at a time: the lowest thread that can go
 * on makes its next access.
 *
 *   read    one graph for each write that it may read from
 *   write   one graph for each place in the modification order; and, for each
 *           earlier read of the place that does not lead to this write, one in
 *           which that read reads it and all that was added after the read,
 *           and does not lead to the write either, is taken back.  Only if all
 *           of that was the latest of its kind when it was added: so each
 *           graph has one way to come about.
 *
 * Graphs that the model forbids are dropped at once.  The others wait on a
 * stack.  To go on with one the threads run again from the beginning, as
 * coroutines, and get their answers from the graph until it ends.  They run in
 * an order in which every write comes before the reads that read it.  What
 * happens-before orders is then executed in that order, so that plain memory,
 * which is not in the graph, has the right values for a program without races.
 *
 * A thread whose assume fails, or whose lock is taken, stops; when another
 * write comes, its read may be turned to that.  If at the end all threads that
 * have not ended stand at the latest write of what they have read last, nothing
 * will ever wake them; if one of them waits for a lock that is a dead-lock, and
 * a violation.  If one stands at an earlier write, others may wait for it, and
 * it goes on in another execution.
 */
#include "explore.h"

#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "graph.h"

#define STACK_BYTES (64u << 10)
#define RETRIES_MAX 256u  /* of an execution at random */
#define TOUCHES_MAX 4096u /* different ones of an execution */
#define TOUCHED_BYTES 16u /* looked at as one */
#define TOUCHED_LINES 1024u

enum thread_state {
	THREAD_RUNS,
	THREAD_WAITS, /* for the write that its next read reads */
	THREAD_NEW,   /* its next event is not in the graph yet */
	THREAD_ENDED,
	THREAD_BLOCKED,
	THREAD_LOCK
};

struct thread {
	jmp_buf start; /* where it begins anew */
	jmp_buf at;    /* where it has left */
	char *stack;
	enum thread_state state;
	uint16_t done;	/* events so far */
	uint16_t known; /* events that the graph has of it */
	uint16_t event[EXPLORE_EVENTS_MAX];
	uint16_t last_read;
	const uint32_t *wants; /* the lock that it is about to take */
};

/* A plain access, after so many events of its thread. */
struct touch {
	uintptr_t at;
	uint32_t nbytes;
	uint32_t thread;
	uint32_t after;
	bool write;
	const void *where;
};

static struct {
	const struct explore_program *program;
	struct explore_result *result;
	struct graph graph;
	struct packed_graph *waiting;
	jmp_buf scheduler;
	struct thread thread[EXPLORE_THREADS_MAX];
	uint32_t current;
	struct touch touch[TOUCHES_MAX];
	uint32_t touches;
	struct event_set executed;
	bool replaying;
	/* Steps and choices are made for the threads, one execution after the
	 * other: by random, or as steps says. */
	bool guided;
	const char *steps;
	uint32_t choice; /* of the step: how far from the latest */
	uint64_t random;
	/* One of so many guesses leaves the thread, and what is latest. */
	uint32_t thread_steady, read_steady;
	uint32_t retries; /* that are left */
	bool again;	  /* with the graph as it is */
	bool raw;	  /* init or final: memory itself */
	bool dropped;	  /* this graph is not consistent */
	bool too_big;
} run;

void (*explore_before_write)(const void *at, size_t nbytes);

static void leave_thread(void)
{
	if (!_setjmp(run.thread[run.current].at))
		_longjmp(run.scheduler, 1);
}

/* Nothing more from this graph. */
static void drop(void)
{
	run.dropped = true;
	leave_thread();
}

static void print_event(char *line, size_t size, const struct event *event,
			uint16_t number)
{
	static const char *const orders[] = { "rlx", "con", "acq",
					      "rel", "a_r", "sc" };
	const char *order =
		event->order == ORDER_PLAIN ? "plain" : orders[event->order];
	const char *where = strrchr(event->where, '/');

	where = where ? where + 1 : event->where;
	if (event->kind == EVENT_FENCE)
		(void)snprintf(line, size, "%u: fence.%s %s", number, order,
			       where);
	else if (event->kind == EVENT_READ)
		(void)snprintf(
			line, size, "%u: R%s.%s x%u=%llu <-%u %s", number,
			event->exclusive ? "*" : "", order, event->location,
			(unsigned long long)event->value, event->reads, where);
	else
		(void)snprintf(line, size, "%u: W%s.%s x%u=%llu %s", number,
			       event->exclusive ? "*" : "", order,
			       event->location,
			       (unsigned long long)event->value, where);
}

/* The graph as columns, in the order in which events were added. */
static void print_trace(void)
{
	struct explore_result *result = run.result;
	size_t used = 0;

	for (uint32_t i = 0; i < run.graph.events; i++) {
		const struct event *event = &run.graph.event[i];
		uint32_t column =
			event->thread == THREAD_INIT ? 0 : event->thread;
		char line[160];
		int n;

		print_event(line, sizeof(line), event, (uint16_t)i);
		n = snprintf(result->trace + used, sizeof(result->trace) - used,
			     "%*s%s\n", (int)(column * 40), "", line);
		if (n < 0 || (size_t)n >= sizeof(result->trace) - used)
			break;
		used += (size_t)n;
	}
}

static char letter_of(uint32_t distance)
{
	return (char)(distance <= 26 ? 'a' - 1 + distance
				     : 'A' - 27 + distance);
}

/* The writes of @location that are in @done and later than @write. */
static uint32_t count_later(const struct location *location, uint16_t write,
			    const struct event_set *done)
{
	uint32_t later = 0;

	for (uint32_t i = location->count; location->write[--i] != write;)
		later += set_has(done, location->write[i]);
	return later;
}

/* The step for @event, after those of @done.  Return: bytes. */
static uint32_t print_step(char *text, uint16_t number,
			   const struct event_set *done)
{
	const struct event *event = &run.graph.event[number];
	uint16_t write = event->kind == EVENT_READ ? event->reads : number;
	uint32_t distance = 0;

	if (event->kind != EVENT_FENCE)
		distance = count_later(&run.graph.location[event->location],
				       write, done);
	text[0] = (char)('0' + event->thread);
	text[1] = letter_of(distance);
	return distance ? 2 : 1;
}

/* May @number come now, after @done? */
static bool is_next(uint16_t number, const struct event_set *done)
{
	const struct event *event = &run.graph.event[number];

	return !set_has(done, number) &&
	       (event->previous == NO_EVENT ||
		set_has(done, event->previous)) &&
	       (event->reads == NO_EVENT || set_has(done, event->reads));
}

/* The graph as steps, each after what leads to it.  The second half of a
 * read-modify-write goes with the first. */
static void print_replay(char *text)
{
	struct event_set done = { { 0 } };
	bool more = true;

	for (uint32_t i = 0; i < run.graph.events; i++) {
		if (run.graph.event[i].thread == THREAD_INIT)
			set_add(&done, i);
	}
	while (more) {
		more = false;
		for (uint16_t i = 0; i < run.graph.events; i++) {
			const struct event *event = &run.graph.event[i];

			if (!is_next(i, &done))
				continue;
			more = true;
			text += print_step(text, i, &done);
			set_add(&done, i);
			if (!event->exclusive || event->kind != EVENT_READ)
				continue;
			for (uint16_t w = 0; w < run.graph.events; w++) {
				if (run.graph.event[w].exclusive &&
				    run.graph.event[w].previous == i)
					set_add(&done, w);
			}
		}
	}
	*text = '\0';
}

static void violate(const char *what, const char *where)
{
	if (!run.result->violated) {
		run.result->violated = true;
		(void)snprintf(run.result->message, sizeof(run.result->message),
			       "%s: %s (%s)", run.program->name, what, where);
		print_trace();
		print_replay(run.result->replay);
	}
}

static void put_aside(const struct graph *graph)
{
	struct packed_graph *packed = graph_pack(graph);

	assert(packed);
	packed->next = run.waiting;
	run.waiting = packed;
}

static bool is_racing(void)
{
	uint16_t racing[2];

	if (!graph_has_race(&run.graph, racing))
		return false;
	violate("data race", run.graph.event[racing[1]].where);
	return true;
}

/* The graph after the event that was added last. */
static void check_now(void)
{
	if (!graph_is_consistent(&run.graph, (uint16_t)(run.graph.events - 1),
				 NO_EVENT) ||
	    is_racing())
		drop();
}

static uint64_t raw_load(const volatile void *at, size_t nbytes)
{
	uint64_t value = 0;

	memcpy(&value, (const void *)(uintptr_t)at, nbytes);
	return value;
}

static void raw_store(volatile void *at, size_t nbytes, uint64_t value)
{
	if (explore_before_write)
		explore_before_write((const void *)(uintptr_t)at, nbytes);
	memcpy((void *)(uintptr_t)at, &value, nbytes);
}

/* It is the current thread's next. */
static uint16_t add_event(struct event *event)
{
	struct thread *thread = &run.thread[run.current];
	uint16_t number;

	if (run.graph.events == EXPLORE_EVENTS_MAX) {
		run.too_big = true;
		drop();
	}
	event->thread = (uint8_t)run.current;
	event->index = thread->done++;
	event->previous =
		event->index ? thread->event[event->index - 1] : NO_EVENT;
	number = graph_add(&run.graph, event);
	thread->event[thread->known++] = number;
	return number;
}

static void wait_as(enum thread_state state)
{
	run.thread[run.current].state = state;
	leave_thread();
	run.thread[run.current].state = THREAD_RUNS;
}

/* The current thread's next event if the graph has it already.  @second: of a
 * read-modify-write, which nothing comes in between. */
static struct event *replay(bool second)
{
	struct thread *thread = &run.thread[run.current];
	struct event *event;
	uint16_t number;

	if (thread->done == thread->known) {
		/* What others have in the graph comes first. */
		if (run.replaying || (run.guided && !second))
			wait_as(THREAD_NEW);
		return NULL;
	}
	number = thread->event[thread->done];
	event = &run.graph.event[number];
	while (event->kind == EVENT_READ &&
	       run.graph.event[event->reads].thread != THREAD_INIT &&
	       !set_has(&run.executed, event->reads))
		wait_as(THREAD_WAITS);
	set_add(&run.executed, number);
	thread->done++;
	return event;
}

static struct event make_event(enum event_kind kind, int order,
			       const char *where)
{
	return (struct event){ .kind = (uint8_t)kind,
			       .order = (uint8_t)order,
			       .reads = NO_EVENT,
			       .where = where };
}

static uint16_t find_location(const volatile void *at, size_t nbytes)
{
	return graph_location(&run.graph, (uintptr_t)at, (uint32_t)nbytes,
			      raw_load(at, nbytes));
}

static uint32_t choose(uint32_t count)
{
	/* splitmix64 */
	uint64_t z = run.random += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (uint32_t)((z ^ z >> 31) % count);
}

/* One of @count, of which the last is the latest. */
static uint32_t choose_write(uint32_t count)
{
	return choose(run.read_steady) ? count - 1 : choose(count);
}

/* Can the read read number @i of its place, and its write follow? */
static bool is_candidate(uint16_t read, const struct event *like,
			 const struct location *location, uint32_t i)
{
	const struct event *event = &run.graph.event[read];
	bool writes = like->exclusive;

	graph_set_read(&run.graph, read, location->write[i]);
	if (like->compares) {
		writes = event->value == event->wanted;
		if (run.thread[run.current].wants && !writes)
			return false;
	}
	if (writes && i + 1u < location->count &&
	    run.graph.event[location->write[i + 1]].exclusive)
		return false;
	return graph_is_consistent(&run.graph, read, NO_EVENT);
}

static void guide_read(uint16_t read, const struct event *like,
		       const struct location *location)
{
	uint32_t candidate[WRITES_MAX], count = 0, last = location->count - 1u;
	uint32_t chosen = last - (run.choice < last ? run.choice : last);

	for (uint32_t i = 0; !run.steps && i < location->count; i++) {
		if (is_candidate(read, like, location, i))
			candidate[count++] = i;
	}
	if (count)
		chosen = candidate[choose_write(count)];
	graph_set_read(&run.graph, read, location->write[chosen]);
}

/* @like: what it is, but for thread, location and value. */
static uint64_t read_event(const volatile void *at, size_t nbytes,
			   const struct event *like)
{
	struct event *known = replay(false), event = *like;
	const struct location *location;
	uint16_t read;

	if (known) {
		assert(known->kind == EVENT_READ &&
		       run.graph.location[known->location].at == (uintptr_t)at);
		run.thread[run.current].last_read =
			(uint16_t)(known - run.graph.event);
		return known->value;
	}
	event.location = find_location(at, nbytes);
	read = add_event(&event);
	run.thread[run.current].last_read = read;
	location = &run.graph.location[event.location];
	if (run.guided)
		guide_read(read, like, location);
	/* All but the latest write wait. */
	for (uint32_t i = 0; !run.guided && i < location->count; i++) {
		graph_set_read(&run.graph, read, location->write[i]);
		if (i + 1u < location->count &&
		    graph_is_consistent(&run.graph, read, NO_EVENT))
			put_aside(&run.graph);
	}
	check_now();
	return run.graph.event[read].value;
}

/* Is @event, seen from @previous, the latest of its kind? */
static bool is_maximal(const struct graph *graph, uint16_t event,
		       const struct event_set *previous)
{
	const struct event *this = &graph->event[event];
	const struct location *location;
	uint16_t write = event;

	if (this->kind == EVENT_FENCE)
		return true;
	if (this->kind == EVENT_WRITE) {
		for (uint32_t r = 0; r < graph->events; r++) {
			if (set_has(previous, r) &&
			    graph->event[r].kind == EVENT_READ &&
			    graph->event[r].reads == event)
				return false;
		}
	} else {
		write = this->reads;
	}
	location = &graph->location[this->location];
	for (uint32_t i = graph_position(graph, write) + 1; i < location->count;
	     i++) {
		if (set_has(previous, location->write[i]))
			return false;
	}
	return true;
}

static void insert_write(struct location *location, uint32_t at, uint16_t write)
{
	assert(location->count < WRITES_MAX);
	memmove(&location->write[at + 1], &location->write[at],
		(location->count - at) * sizeof(location->write[0]));
	location->write[at] = write;
	location->count++;
}

static void remove_write(struct location *location, uint32_t at)
{
	location->count--;
	memmove(&location->write[at], &location->write[at + 1],
		(location->count - at) * sizeof(location->write[0]));
}

/* @write comes in between @first and @last of its place. */
static void guide_write(struct graph *graph, uint16_t write, uint32_t first,
			uint32_t last)
{
	struct location *location =
		&graph->location[graph->event[write].location];
	uint32_t candidate[WRITES_MAX], count = 0;
	uint32_t chosen = last;

	if (last - first >= run.choice)
		chosen -= run.choice;
	for (uint32_t i = first; !run.steps && i <= last; i++) {
		insert_write(location, i, write);
		if (graph_is_consistent(graph, write, NO_EVENT))
			candidate[count++] = i;
		remove_write(location, i);
	}
	if (count)
		chosen = candidate[choose_write(count)];
	insert_write(location, chosen, write);
}

/* @write is in no modification order yet: one graph for each place.  The last
 * one stays in @graph if nothing is revisited; the others wait. */
static void place_write(struct graph *graph, uint16_t write, uint16_t revisited)
{
	struct location *location =
		&graph->location[graph->event[write].location];
	const struct event *event = &graph->event[write];
	uint32_t first = 1, last = location->count;

	if (event->exclusive) {
		uint16_t read = graph->event[event->previous].reads;

		first = last = graph_position(graph, read) + 1;
	}
	if (run.guided) {
		guide_write(graph, write, first, last);
		return;
	}
	for (uint32_t i = first; i <= last; i++) {
		insert_write(location, i, write);
		if (i == last && revisited == NO_EVENT)
			return;
		if (graph_is_consistent(graph, write, revisited))
			put_aside(graph);
		remove_write(location, i);
	}
}

/* Turn @read to the new @write, and take back what came after it. */
static void revisit(uint16_t read, uint16_t write,
		    const struct event_set *prefix)
{
	static struct graph graph;
	/* What leads to the write, and what was added so far. */
	struct event_set previous = *prefix, keep;

	for (uint32_t e = 0; e < run.graph.events; e++) {
		if (e < read || run.graph.event[e].thread == THREAD_INIT)
			set_add(&previous, e);
	}
	keep = previous;
	set_add(&keep, read);
	for (uint16_t e = read; e < run.graph.events; e++) {
		if (set_has(&previous, e))
			continue;
		set_add(&previous, e);
		if (!is_maximal(&run.graph, e, &previous))
			return;
	}
	graph_copy(&graph, &run.graph);
	graph_set_read(&graph, read, write);
	graph_restrict(&graph, &keep);
	/* It stays the last one, and the read's place changes with those before
	 * it that are gone. */
	for (uint32_t e = 0, end = read; e < end; e++)
		read = (uint16_t)(read - !set_has(&keep, e));
	place_write(&graph, (uint16_t)(graph.events - 1), read);
}

static void write_event(volatile void *at, size_t nbytes, uint64_t value,
			int order, bool exclusive, const char *where)
{
	struct event *known = replay(exclusive), event;
	struct event_set prefix;
	uint16_t write;

	if (nbytes < 8)
		value &= (1ull << (8 * nbytes)) - 1;
	if (known) {
		assert(known->kind == EVENT_WRITE && known->value == value);
		return;
	}
	event = make_event(EVENT_WRITE, order, where);
	event.location = find_location(at, nbytes);
	event.value = value;
	event.exclusive = exclusive;
	if (exclusive)
		run.graph.event[run.thread[run.current].last_read].exclusive =
			true;
	write = add_event(&event);
	prefix = graph_prefix(&run.graph, write);
	for (uint16_t r = 0; !run.guided && r < write; r++) {
		if (run.graph.event[r].kind == EVENT_READ &&
		    run.graph.event[r].location == event.location &&
		    !set_has(&prefix, r))
			revisit(r, write, &prefix);
	}
	place_write(&run.graph, write, NO_EVENT);
	check_now();
}

static bool is_own_stack(uintptr_t at)
{
	uintptr_t stack = (uintptr_t)run.thread[run.current].stack;

	return at - stack < STACK_BYTES;
}

/* Memory itself: nobody else is there, or can be. */
static bool is_private(const volatile void *at)
{
	return run.raw || is_own_stack((uintptr_t)at);
}

uint64_t explore_load(const volatile void *at, size_t nbytes, int order,
		      const char *where)
{
	struct event like = make_event(EVENT_READ, order, where);

	return is_private(at) ? raw_load(at, nbytes)
			      : read_event(at, nbytes, &like);
}

void explore_store(volatile void *at, size_t nbytes, uint64_t value, int order,
		   const char *where)
{
	if (is_private(at))
		raw_store(at, nbytes, value);
	else
		write_event(at, nbytes, value, order, false, where);
}

uint64_t explore_plain_load(const volatile void *at, size_t nbytes,
			    const char *where)
{
	return explore_load(at, nbytes, ORDER_PLAIN, where);
}

void explore_plain_store(volatile void *at, size_t nbytes, uint64_t value,
			 const char *where)
{
	explore_store(at, nbytes, value, ORDER_PLAIN, where);
}

static uint64_t apply(enum explore_rmw op, uint64_t old, uint64_t operand)
{
	switch (op) {
	case EXPLORE_ADD:
		return old + operand;
	case EXPLORE_SUB:
		return old - operand;
	case EXPLORE_OR:
		return old | operand;
	case EXPLORE_AND:
		return old & operand;
	case EXPLORE_XOR:
		return old ^ operand;
	case EXPLORE_EXCHANGE:
	default:
		return operand;
	}
}

/* The half of a read-modify-write's order that concerns its read. */
static int read_order(int order)
{
	if (order == __ATOMIC_RELEASE)
		return __ATOMIC_RELAXED;
	return order == __ATOMIC_ACQ_REL ? __ATOMIC_ACQUIRE : order;
}

static int write_order(int order)
{
	if (order == __ATOMIC_ACQUIRE || order == __ATOMIC_CONSUME)
		return __ATOMIC_RELAXED;
	return order == __ATOMIC_ACQ_REL ? __ATOMIC_RELEASE : order;
}

uint64_t explore_rmw(volatile void *at, size_t nbytes, enum explore_rmw op,
		     uint64_t operand, int order, const char *where)
{
	struct event like = make_event(EVENT_READ, read_order(order), where);
	uint64_t old;

	if (run.raw) {
		old = raw_load(at, nbytes);
		raw_store(at, nbytes, apply(op, old, operand));
		return old;
	}
	like.exclusive = true;
	old = read_event(at, nbytes, &like);
	write_event(at, nbytes, apply(op, old, operand), write_order(order),
		    true, where);
	return old;
}

bool explore_cas(volatile void *at, size_t nbytes, void *expected,
		 uint64_t desired, int order, int failure_order,
		 const char *where)
{
	struct event like = make_event(EVENT_READ, failure_order, where);
	uint64_t want = raw_load(expected, nbytes), old;

	if (run.raw) {
		old = raw_load(at, nbytes);
		if (old == want)
			raw_store(at, nbytes, desired);
	} else {
		like.compares = true;
		like.wanted = want;
		like.order_equal = (uint8_t)read_order(order);
		like.order_other = (uint8_t)failure_order;
		old = read_event(at, nbytes, &like);
		if (old == want)
			write_event(at, nbytes, desired, write_order(order),
				    true, where);
	}
	if (old != want)
		raw_store(expected, nbytes, old);
	return old == want;
}

void explore_fence(int order, const char *where)
{
	struct event event, *known;

	if (run.raw)
		return;
	known = replay(false);
	if (known) {
		assert(known->kind == EVENT_FENCE);
		return;
	}
	event = make_event(EVENT_FENCE, order, where);
	(void)add_event(&event);
	check_now();
}

static void block(enum thread_state state)
{
	run.thread[run.current].state = state;
	leave_thread();
	assert(!"a blocked thread does not go on");
}

/* Another guess where an assume does not hold: takes back what the thread has
 * read last, on which nothing depends. */
static void retry(void)
{
	const struct thread *thread = &run.thread[run.current];
	struct event_set keep = { { 0 } }, gone = { { 0 } };
	uint32_t reads = 0;

	while (reads < thread->known) {
		uint16_t number = thread->event[thread->known - 1u - reads];

		if (run.graph.event[number].kind != EVENT_READ)
			break;
		reads++;
	}
	if (!reads || !run.retries)
		return;
	run.retries--;
	for (uint32_t i = choose(reads) + 1; i-- > 0;)
		set_add(&gone, thread->event[thread->known - 1u - i]);
	for (uint32_t e = 0; e < run.graph.events; e++) {
		if (!set_has(&gone, e))
			set_add(&keep, e);
	}
	graph_restrict(&run.graph, &keep);
	run.again = true;
	drop();
}

void explore_assume(bool condition)
{
	assert(!run.raw || condition);
	if (condition)
		return;
	if (run.guided && !run.steps)
		retry();
	block(THREAD_BLOCKED);
}

void explore_assert(bool condition, const char *text, const char *where)
{
	if (condition)
		return;
	violate(text, where);
	if (!run.raw)
		drop();
}

uint32_t explore_self(void)
{
	return run.current;
}

uint32_t explore_threads(void)
{
	return run.program->threads;
}

void explore_lock(struct explore_mutex *mutex, const char *where)
{
	uint32_t expected = 0;
	bool taken;

	run.thread[run.current].wants = &mutex->word;
	taken = explore_cas(&mutex->word, sizeof(mutex->word), &expected, 1,
			    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED, where);
	run.thread[run.current].wants = NULL;
	if (!taken)
		block(THREAD_LOCK);
}

void explore_unlock(struct explore_mutex *mutex, const char *where)
{
	explore_store(&mutex->word, sizeof(mutex->word), 0, __ATOMIC_RELEASE,
		      where);
}

void explore_touch(const void *at, size_t nbytes, bool write, const void *where)
{
	struct touch touch = { .at = (uintptr_t)at,
			       .nbytes = (uint32_t)nbytes,
			       .thread = run.current,
			       .after = run.thread[run.current].done,
			       .write = write,
			       .where = where };

	if (write && explore_before_write)
		explore_before_write(at, nbytes);
	if (run.raw || !run.program || is_own_stack(touch.at))
		return;
	for (uint32_t i = run.touches; i-- > 0;) {
		const struct touch *old = &run.touch[i];

		if (old->thread != touch.thread || old->after != touch.after)
			break;
		if (old->at == touch.at && old->nbytes == touch.nbytes &&
		    old->write == touch.write)
			return;
	}
	if (run.touches == TOUCHES_MAX)
		run.too_big = true;
	else
		run.touch[run.touches++] = touch;
}

/* Does @a happen before @b? */
static bool is_before(const struct touch *a, const struct touch *b)
{
	uint16_t last =
		b->after ? run.thread[b->thread].event[b->after - 1] : NO_EVENT;

	return graph_happens_before(&run.graph, a->thread, a->after, last);
}

static bool touches_race(const struct touch *a, const struct touch *b)
{
	return a->thread != b->thread && (a->write || b->write) &&
	       a->at < b->at + b->nbytes && b->at < a->at + a->nbytes &&
	       !is_before(a, b) && !is_before(b, a);
}

/* Which threads touch a line of memory, and which write to it; lines may
 * share one. */
struct touched_line {
	uint8_t threads, writers;
};

static uint64_t line_of(uintptr_t at)
{
	return at / TOUCHED_BYTES * 0x9e3779b97f4a7c15ull >> 54;
}

static bool is_shared(const struct touch *touch,
		      const struct touched_line *lines)
{
	for (uintptr_t at = touch->at / TOUCHED_BYTES * TOUCHED_BYTES;
	     at < touch->at + touch->nbytes; at += TOUCHED_BYTES) {
		const struct touched_line *line = &lines[line_of(at)];

		if (line->writers && line->threads & (line->threads - 1))
			return true;
	}
	return false;
}

/* Leaves those of lines that more than one thread touches. */
static void drop_private_touches(void)
{
	static struct touched_line lines[TOUCHED_LINES];
	uint32_t left = 0;

	memset(lines, 0, sizeof(lines));
	for (uint32_t i = 0; i < run.touches; i++) {
		const struct touch *touch = &run.touch[i];

		for (uintptr_t at = touch->at / TOUCHED_BYTES * TOUCHED_BYTES;
		     at < touch->at + touch->nbytes; at += TOUCHED_BYTES) {
			struct touched_line *line = &lines[line_of(at)];

			line->threads |= (uint8_t)(1u << touch->thread);
			if (touch->write)
				line->writers |= (uint8_t)(1u << touch->thread);
		}
	}
	for (uint32_t i = 0; i < run.touches; i++) {
		if (is_shared(&run.touch[i], lines))
			run.touch[left++] = run.touch[i];
	}
	run.touches = left;
}

static void check_touches(void)
{
	char text[96];

	drop_private_touches();
	for (uint32_t a = 0; a < run.touches; a++) {
		for (uint32_t b = 0; b < a; b++) {
			if (!touches_race(&run.touch[b], &run.touch[a]))
				continue;
			(void)snprintf(text, sizeof(text),
				       "data race, code at %p and %p",
				       run.touch[b].where, run.touch[a].where);
			violate(text, "addr2line -e tells where");
			return;
		}
	}
}

/* Of every execution: the stack is left as it is, and entered here again. */
static void thread_main(void)
{
	if (!_setjmp(run.thread[run.current].start))
		_longjmp(run.scheduler, 1);
	run.program->thread[run.current]();
	run.thread[run.current].state = THREAD_ENDED;
	leave_thread();
}

static bool make_thread(struct thread *thread)
{
	ucontext_t context;

	thread->stack = malloc(STACK_BYTES);
	if (!thread->stack)
		return false;
	(void)getcontext(&context);
	context.uc_stack.ss_sp = thread->stack;
	context.uc_stack.ss_size = STACK_BYTES;
	context.uc_link = NULL;
	makecontext(&context, thread_main, 0);
	run.current = (uint32_t)(thread - run.thread);
	if (!_setjmp(run.scheduler))
		(void)setcontext(&context);
	return true;
}

/* They begin anew, with the events that the graph has. */
static void start_threads(void)
{
	for (uint32_t i = 0; i < run.program->threads; i++) {
		struct thread *thread = &run.thread[i];

		thread->state = THREAD_RUNS;
		thread->done = thread->known = 0;
		thread->last_read = NO_EVENT;
		thread->wants = NULL;
		memcpy(thread->at, thread->start, sizeof(thread->at));
	}
	for (uint32_t e = 0; e < run.graph.events; e++) {
		const struct event *event = &run.graph.event[e];

		if (event->thread == THREAD_INIT)
			continue;
		struct thread *thread = &run.thread[event->thread];

		thread->event[event->index] = (uint16_t)e;
		thread->known++;
	}
}

/* Does it wait for a write that does not come? */
static bool is_stuck(const struct thread *thread)
{
	const struct event *read;
	const struct location *location;

	if (thread->last_read == NO_EVENT)
		return false;
	read = &run.graph.event[thread->last_read];
	location = &run.graph.location[read->location];
	return location->write[location->count - 1] == read->reads;
}

/* Return: one or more threads have not ended. */
static bool check_blocked(void)
{
	const struct event *lock = NULL;
	bool blocked = false, stuck = true;

	for (uint32_t i = 0; i < run.program->threads; i++) {
		const struct thread *thread = &run.thread[i];

		if (thread->state == THREAD_ENDED)
			continue;
		assert(thread->state == THREAD_BLOCKED ||
		       thread->state == THREAD_LOCK ||
		       (run.steps && thread->state == THREAD_NEW));
		blocked = true;
		stuck = stuck && is_stuck(thread);
		if (thread->state == THREAD_LOCK)
			lock = &run.graph.event[thread->last_read];
	}
	if (lock && stuck)
		violate("dead-lock", lock->where);
	return blocked;
}

/* Every place has the value of its last write; final may look. */
static void finish(void)
{
	check_touches();
	if (check_blocked()) {
		run.result->blocked++;
		return;
	}
	run.result->executions++;
	for (uint32_t i = 0; i < run.graph.locations; i++) {
		const struct location *location = &run.graph.location[i];
		uint16_t last = location->write[location->count - 1];

		raw_store((void *)location->at, location->nbytes,
			  run.graph.event[last].value);
	}
	run.raw = true;
	if (run.program->final)
		run.program->final();
	run.raw = false;
}

/* Until it leaves. */
static void enter_thread(uint32_t thread)
{
	run.current = thread;
	if (!_setjmp(run.scheduler))
		_longjmp(run.thread[thread].at, 1);
}

/* Lets every thread in @state go on.  Return: one of them has got further; it
 * may be in the same state for another reason. */
static bool resume(enum thread_state state)
{
	bool moved = false;

	for (uint32_t i = 0; i < run.program->threads && !run.dropped; i++) {
		uint16_t done = run.thread[i].done;

		if (run.thread[i].state != state)
			continue;
		enter_thread(i);
		moved |= run.thread[i].state != state ||
			 run.thread[i].done != done;
	}
	return moved;
}

static bool is_free(const uint32_t *lock)
{
	for (uint32_t i = 0; lock && i < run.graph.locations; i++) {
		const struct location *location = &run.graph.location[i];
		uint16_t last = location->write[location->count - 1];

		if (location->at == (uintptr_t)lock)
			return !run.graph.event[last].value;
	}
	return !lock || !*lock;
}

/* At random one that can go on; who can only find a lock taken does so if no
 * other can.  Return: NULL: none. */
static struct thread *guess_thread(void)
{
	struct thread *candidate[EXPLORE_THREADS_MAX], *waits = NULL;
	uint32_t count = 0;

	for (uint32_t i = 0; i < run.program->threads; i++) {
		struct thread *thread = &run.thread[i];

		if (thread->state != THREAD_NEW)
			continue;
		if (is_free(thread->wants))
			candidate[count++] = thread;
		else
			waits = thread;
	}
	for (uint32_t i = choose(run.thread_steady) ? 0 : count; i < count;
	     i++) {
		if (candidate[i] == &run.thread[run.current])
			return candidate[i];
	}
	return count ? candidate[choose(count)] : waits;
}

/* Who makes the next step. */
static struct thread *next_thread(void)
{
	uint32_t thread = (uint32_t)(run.steps ? *run.steps - '0' : 0);

	if (!run.steps)
		return guess_thread();
	if (thread >= run.program->threads ||
	    run.thread[thread].state != THREAD_NEW)
		return NULL;
	run.choice = 0;
	run.steps++;
	if (*run.steps >= 'a' && *run.steps <= 'z')
		run.choice = (uint32_t)(*run.steps++ - 'a' + 1);
	else if (*run.steps >= 'A' && *run.steps <= 'Z')
		run.choice = (uint32_t)(*run.steps++ - 'A' + 27);
	return &run.thread[thread];
}

static bool make_step(void)
{
	struct thread *thread = next_thread();

	if (thread)
		enter_thread((uint32_t)(thread - run.thread));
	return thread != NULL;
}

/* From the beginning, by the graph as far as it goes, and on. */
static void execute(void)
{
	run.raw = true;
	if (run.program->init)
		run.program->init();
	run.raw = false;
	run.dropped = false;
	run.touches = 0;
	start_threads();
	if (is_racing())
		return;
	run.executed = (struct event_set){ { 0 } };
	run.replaying = true;
	while (!run.dropped && (resume(THREAD_RUNS) || resume(THREAD_WAITS)))
		;
	run.replaying = false;
	while (!run.dropped && (run.guided ? make_step() : resume(THREAD_NEW)))
		;
	if (!run.dropped)
		finish();
}

static void explore_some(const struct explore_options *options)
{
	uint64_t count = options->replay ? 1 : options->random;

	run.result->bounded = true;
	for (uint64_t i = 0; i < count && !run.result->violated && !run.too_big;
	     i++) {
		run.graph.events = run.graph.locations = 0;
		run.steps = options->replay;
		run.random = options->seed;
		run.random = choose(UINT32_MAX) + i;
		run.thread_steady = 1u << (2 * choose(4));
		run.read_steady = 1u << choose(4);
		run.retries = RETRIES_MAX;
		do {
			run.again = false;
			execute();
		} while (run.again);
	}
}

static void explore_all(uint64_t executions_max)
{
	do {
		struct packed_graph *waiting = run.waiting;

		if (executions_max &&
		    run.result->executions >= executions_max) {
			run.result->bounded = true;
			return;
		}
		if (waiting) {
			run.waiting = waiting->next;
			graph_unpack(&run.graph, waiting);
			free(waiting);
		}
		execute();
	} while (run.waiting && !run.result->violated && !run.too_big);
}

int explore(const struct explore_program *program,
	    const struct explore_options *options,
	    struct explore_result *ret_result)
{
	if (!program->threads || program->threads > EXPLORE_THREADS_MAX)
		return -EINVAL;
	memset(ret_result, 0, sizeof(*ret_result));
	run.graph.events = run.graph.locations = 0;
	run.program = program;
	run.result = ret_result;
	run.too_big = false;
	for (uint32_t i = 0; i < program->threads; i++) {
		if (!make_thread(&run.thread[i]))
			return -ENOMEM;
	}
	run.guided = options && (options->random || options->replay);
	run.choice = 0;
	if (run.guided)
		explore_some(options);
	else
		explore_all(options ? options->executions_max : 0);
	while (run.waiting) {
		struct packed_graph *next = run.waiting->next;

		free(run.waiting);
		run.waiting = next;
	}
	for (uint32_t i = 0; i < program->threads; i++)
		free(run.thread[i].stack);
	run.program = NULL;
	return run.too_big ? -E2BIG : 0;
}
