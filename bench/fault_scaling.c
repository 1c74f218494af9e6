/* SPDX-License-Identifier: MIT */
/*
 * fault_scaling.c - the fault throughput of two vCPUs over that of one
 *
 * Two threads, each on a CPU of its own, with a vCPU each, write to
 * write-protected pages, each to its own half of a slot.  They meet before
 * they start, so that neither measures the other's wake-up; a thread's rate
 * is of its own time.  Nobody harvests meanwhile: three threads on two CPUs
 * would measure the scheduler.
 *
 * What the machine itself scales is measured beside it, by the same threads:
 * the same stores to the same memory, each with one compare-exchange in a
 * table and one fetch-or in a bitmap, both the thread's own.  Two hyperthreads
 * or a shared cache need not reach two.
 */
#include "bench.h"

#include "mmu_bench.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"

#define PART 4096ull /* pages of each thread */
#define STRIDE 1021u /* odd: a permutation of them */
#define THREADS 2u

enum job { END, MMU, RAW };

struct scaling;

struct worker {
	struct scaling *all;
	pthread_t thread;
	bool running;
	sem_t go, done;
	unsigned int index;
	enum job job;		   /* before go */
	unsigned int among;	   /* before go: threads in this round */
	double per_ns;		   /* after done: faults */
	int err;		   /* after done */
	_Atomic uint64_t *entries; /* raw: PART of them */
	_Atomic uint64_t *bits;
};

struct scaling {
	struct bench_guest guest;
	char *memory;
	struct worker worker[THREADS];
	_Atomic unsigned int arrived;
};

/* The threads of this round are on their CPUs now. */
static void meet(struct worker *worker)
{
	_Atomic unsigned int *arrived = &worker->all->arrived;

	/* Relaxed: nothing is handed over; the semaphores did that. */
	atomic_fetch_add_explicit(arrived, 1, memory_order_relaxed);
	/* Relaxed: as above. */
	while (atomic_load_explicit(arrived, memory_order_relaxed) <
	       worker->among)
		;
}

static int write_mmu(struct worker *worker)
{
	struct tide_vcpu *vcpu = worker->all->guest.vcpu[worker->index];
	uint64_t first = worker->index * PART, page = 0;
	int ret = 0;

	for (uint32_t i = 0; !ret && i < PART; i++) {
		ret = tide_vcpu_store(vcpu, bench_address(first + page), 8, i);
		page = (page + STRIDE) % PART;
		if (!ret && i % BENCH_SAFE_POINT == 0)
			ret = tide_vcpu_safe_point(vcpu);
	}
	return ret;
}

static void write_raw(struct worker *worker)
{
	uint64_t first = worker->index * PART, page = 0;

	for (uint32_t i = 0; i < PART; i++) {
		void *to = worker->all->memory + bench_address(first + page);
		uint64_t old = 0;

		/* Relaxed: as a fault's without a partner; on x86 the order
		 * makes no difference to its cost.  The three are this
		 * thread's own. */
		atomic_compare_exchange_strong_explicit(
			&worker->entries[page], &old, 1, memory_order_relaxed,
			memory_order_relaxed);
		/* Relaxed: as above. */
		atomic_fetch_or_explicit(&worker->bits[page / 64],
					 1ull << page % 64,
					 memory_order_relaxed);
		/* Relaxed: as above. */
		atomic_store_explicit((_Atomic(uint64_t) *)to, i,
				      memory_order_relaxed);
		page = (page + STRIDE) % PART;
	}
}

static int work(struct worker *worker)
{
	struct tide_vcpu *vcpu = worker->all->guest.vcpu[worker->index];
	int ret = worker->job == MMU ? tide_vcpu_enter(vcpu) : 0;
	uint64_t begin_ns;

	meet(worker);
	if (ret)
		return bench_exit_error(ret);
	begin_ns = bench_now_ns();
	if (worker->job == MMU)
		ret = write_mmu(worker);
	else
		write_raw(worker);
	worker->per_ns = PART / (double)(bench_now_ns() - begin_ns);
	if (ret)
		return bench_exit_error(ret);
	return worker->job == MMU ? tide_vcpu_exit(vcpu) : 0;
}

static void *worker_main(void *opaque)
{
	struct worker *worker = opaque;

	for (;;) {
		sem_wait(&worker->go);
		if (worker->job == END)
			return NULL;
		worker->err = work(worker);
		sem_post(&worker->done);
	}
}

/* The index-th CPU that this process may use, if there are so many. */
static void pin(pthread_t thread, unsigned int index)
{
	cpu_set_t allowed, one;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		return;
	CPU_ZERO(&one);
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed))
			continue;
		CPU_SET(cpu, &one);
		if (index-- == 0)
			break;
		CPU_CLR(cpu, &one);
	}
	/* Refused, it is only a worse measurement. */
	if (CPU_COUNT(&one))
		(void)pthread_setaffinity_np(thread, sizeof(one), &one);
}

/* @threads from @first on do @job at the same time.  *ret_rate: their rates'
 * sum. */
static int run(struct scaling *scaling, enum job job, unsigned int first,
	       unsigned int threads, double *ret_rate)
{
	int err = 0;

	/* Relaxed: sem_post orders it. */
	atomic_store_explicit(&scaling->arrived, 0, memory_order_relaxed);
	for (unsigned int i = first; i < first + threads; i++) {
		scaling->worker[i].job = job;
		scaling->worker[i].among = threads;
		sem_post(&scaling->worker[i].go);
	}
	*ret_rate = 0;
	for (unsigned int i = first; i < first + threads; i++) {
		sem_wait(&scaling->worker[i].done);
		*ret_rate += scaling->worker[i].per_ns;
		if (scaling->worker[i].err)
			err = scaling->worker[i].err;
	}
	return err;
}

/* Every page of a round of the MMU is protected first. */
static int rate(struct scaling *scaling, enum job job, unsigned int first,
		unsigned int threads, double *ret_rate)
{
	struct tide_mmu_stats before, after;
	int err = 0;

	for (unsigned int i = 0; i < THREADS; i++)
		for (uint32_t page = 0; job == RAW && page < PART; page++)
			/* Relaxed: the threads are at rest. */
			atomic_store_explicit(&scaling->worker[i].entries[page],
					      0, memory_order_relaxed);
	if (job == MMU)
		err = bench_guest_harvest(&scaling->guest, NULL);
	tide_mmu_stats(scaling->guest.mmu, &before);
	if (!err)
		err = run(scaling, job, first, threads, ret_rate);
	tide_mmu_stats(scaling->guest.mmu, &after);
	if (!err && job == MMU &&
	    after.faults_fast - before.faults_fast <
		    threads * (PART - PART / 100))
		err = -ENOMSG; /* most faults took another path */
	return err;
}

static int start(struct scaling *scaling, unsigned int index)
{
	struct worker *worker = &scaling->worker[index];
	int err;

	worker->all = scaling;
	worker->index = index;
	worker->entries = calloc(PART, sizeof(*worker->entries));
	worker->bits = calloc(PART / 64, sizeof(*worker->bits));
	if (!worker->entries || !worker->bits)
		return -ENOMEM;
	sem_init(&worker->go, 0, 0);
	sem_init(&worker->done, 0, 0);
	err = -pthread_create(&worker->thread, NULL, worker_main, worker);
	worker->running = !err;
	if (!err)
		pin(worker->thread, index);
	return err;
}

static int setup(struct scaling *scaling)
{
	struct bench_guest_config config = { .npages = THREADS * PART,
					     .vcpus = THREADS };
	int err;

	scaling->memory = bench_memory_map(config.npages, BENCH_POPULATED);
	config.memory = scaling->memory;
	err = bench_guest_create(&scaling->guest, &config);
	if (!err)
		err = bench_guest_log(&scaling->guest, TIDE_START_CLEAN);
	if (!err)
		err = bench_guest_touch(&scaling->guest, 0, config.npages, 1);
	for (unsigned int i = 0; !err && i < THREADS; i++)
		err = start(scaling, i);
	return err;
}

static void tear_down(struct scaling *scaling)
{
	for (unsigned int i = 0; i < THREADS; i++) {
		struct worker *worker = &scaling->worker[i];

		if (worker->running) {
			worker->job = END;
			sem_post(&worker->go);
			pthread_join(worker->thread, NULL);
			sem_destroy(&worker->go);
			sem_destroy(&worker->done);
		}
		free(worker->entries);
		free(worker->bits);
	}
	bench_guest_destroy(&scaling->guest);
	bench_memory_unmap(scaling->memory, (uint64_t)THREADS * PART);
}

/* One against both, in turn first, and each thread in turn the one. */
static int one_round(struct scaling *scaling, enum job job, unsigned int turn,
		     double *ret_ratio)
{
	double one = 0, both = 0;
	int err = 0;

	if (turn & 2)
		err = rate(scaling, job, 0, THREADS, &both);
	if (!err)
		err = rate(scaling, job, turn & 1, 1, &one);
	if (!err && !(turn & 2))
		err = rate(scaling, job, 0, THREADS, &both);
	*ret_ratio = both / one;
	return err;
}

int bench_scaling(const struct bench_options *options)
{
	static struct bench_figure mmu = {
		.name = "fault-scaling-2",
		.unit = "times",
		.against = "the same faults by one vCPU",
		.goal_least = 1.8,
	};
	static struct bench_figure raw = {
		.name = "fault-scaling-2-raw",
		.unit = "times",
		.against = "bare stores and atomics by one thread",
	};
	unsigned int rounds = options->rounds ? options->rounds : 201;
	static struct scaling scaling;
	double ratio;
	int err = setup(&scaling);

	for (unsigned int i = 0; !err && i < rounds; i++) {
		err = one_round(&scaling, MMU, i, &ratio);
		bench_add(&mmu, ratio);
		if (!err)
			err = one_round(&scaling, RAW, i, &ratio);
		bench_add(&raw, ratio);
	}
	tear_down(&scaling);
	if (err)
		return bench_skip(options, "scaling", strerror(-err));
	bench_report(options, &mmu);
	bench_report(options, &raw);
	return 0;
}
