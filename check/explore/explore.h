/* SPDX-License-Identifier: MIT */
/*
 * explore.h - a stateless model checker for C11 atomics
 *
 * Runs a small program, two to a few threads, in every way that the memory
 * model allows, and says how many executions there are and whether one of them
 * breaks an assertion.  The model is RC11 (Lahav, Vafeiadis, Kang, Hur and
 * Dreyer, PLDI 2017) with the release sequences of C++20, which allow more:
 * relaxed, acquire, release, acq_rel and seq_cst accesses and fences, mixed;
 * read-modify-writes are atomic; no value out of thin air.
 *
 * The algorithm is TruSt (Kokologiannakis, Marmanis, Gladstein and Vafeiadis,
 * POPL 2022): execution graphs are built one event at a time in a fixed order
 * of threads; a write may turn an earlier read to itself.  Each consistent
 * graph is visited once.
 *
 * A program has no other input than its accesses: the same values read make it
 * do the same.  All its shared memory is set up by `init`, before the threads,
 * and looked at by `final`, after them; accesses of 1 to 8 bytes, of one size
 * for each location.  What lies on a thread's stack is that thread's alone.
 *
 * What it does not do: it knows no time and no fairness.  A loop that waits is
 * written with explore_assume(): the thread stops there in executions in which
 * the condition does not hold, and goes on in those in which it does.
 *
 * Bounds.  Graphs have no schedule, so there are no preemptions to bound: all
 * the interleavings of one graph are one execution.  What bounds a program is
 * its text: how often its loops go round, how many threads it has, and that an
 * execution has at most EXPLORE_EVENTS_MAX events, else the exploration fails
 * (-E2BIG) instead of leaving something out.  What is too large even so can be
 * explored at random; that finds mistakes and shows the absence of none.
 *
 * Dead-lock.  A thread waits for a lock, and all that have not ended stand at
 * the latest write of what they have read last.  So an assume that means "not
 * of interest", and not "wait", has to come where no lock is held.
 *
 * Again.  A violation comes with a text that leads to that execution alone,
 * for a debugger with a breakpoint at explore_assert() or where the trace says.
 *
 * Threads.  One exploration at a time in a process.
 */
#ifndef TIDE_CHECK_EXPLORE_H
#define TIDE_CHECK_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPLORE_THREADS_MAX 6
#define EXPLORE_EVENTS_MAX 384 /* of an execution */

struct explore_program {
	const char *name;
	uint32_t threads;
	void (*init)(void);  /* may be NULL */
	void (*final)(void); /* may be NULL */
	void (*thread[EXPLORE_THREADS_MAX])(void);
};

struct explore_result {
	uint64_t executions; /* complete ones */
	uint64_t blocked;    /* that stopped at an assume */
	bool violated;
	bool bounded; /* stopped at executions_max */
	char message[256];
	char trace[8192]; /* of the violation: a column for each thread */
	/* For explore_options: its steps, each a thread's number, and a letter
	 * if what it reads, or its place, is not the latest: how far from it
	 * in modification order. */
	char replay[2 * EXPLORE_EVENTS_MAX + 1];
};

struct explore_options {
	uint64_t executions_max; /* 0: no limit */
	/* That many executions, each with the choices of its thread, of what it
	 * reads and of where it writes made at random by @seed and its number;
	 * 0: all there are. */
	uint64_t random;
	uint64_t seed;
	const char *replay; /* only this execution; NULL: all */
};

/* Return: 0; -EINVAL; -E2BIG: an execution had more events than there is room
 * for.  A violation is a result, not an error. */
int explore(const struct explore_program *program,
	    const struct explore_options *options,
	    struct explore_result *ret_result);

/* Inside a program.  @order: __ATOMIC_RELAXED and so on. */
uint64_t explore_load(const volatile void *at, size_t nbytes, int order,
		      const char *where);
void explore_store(volatile void *at, size_t nbytes, uint64_t value, int order,
		   const char *where);
enum explore_rmw {
	EXPLORE_EXCHANGE,
	EXPLORE_ADD,
	EXPLORE_SUB,
	EXPLORE_OR,
	EXPLORE_AND,
	EXPLORE_XOR
};
/* Return: what was there. */
uint64_t explore_rmw(volatile void *at, size_t nbytes, enum explore_rmw op,
		     uint64_t operand, int order, const char *where);
bool explore_cas(volatile void *at, size_t nbytes, void *expected,
		 uint64_t desired, int order, int failure_order,
		 const char *where);
void explore_fence(int order, const char *where);

/* A plain access; two of one place, one of them a write, that nothing orders
 * are a data race, which is a violation. */
uint64_t explore_plain_load(const volatile void *at, size_t nbytes,
			    const char *where);
void explore_plain_store(volatile void *at, size_t nbytes, uint64_t value,
			 const char *where);

/*
 * Plain accesses that the program does not announce: code that is compiled with
 * -fsanitize=thread calls plain.c before each, instead of the sanitizer's own
 * runtime.  They are made to memory itself, and checked for races when the
 * execution is over.
 */
void explore_touch(const void *at, size_t nbytes, bool write,
		   const void *where);

/* Called before memory changes, whatever the reason; NULL: nobody. */
extern void (*explore_before_write)(const void *at, size_t nbytes);

/* The thread goes on only where @condition holds. */
void explore_assume(bool condition);
/* @condition must hold in every execution. */
void explore_assert(bool condition, const char *text, const char *where);
/* Which thread runs: 0 to threads - 1, and how many there are. */
uint32_t explore_self(void);
uint32_t explore_threads(void);

struct explore_mutex {
	uint32_t word;
};
void explore_lock(struct explore_mutex *mutex, const char *where);
void explore_unlock(struct explore_mutex *mutex, const char *where);

#define EXPLORE_TEXT_(x) #x
#define EXPLORE_TEXT(x) EXPLORE_TEXT_(x)
#define EXPLORE_HERE __FILE__ ":" EXPLORE_TEXT(__LINE__)

#endif
