/* SPDX-License-Identifier: MIT */
/*
 * log_cost.c - logging on for a large slot, and GET of a larger one
 *
 * log-start: a client is opened, all dirty, on a sparse slot of 64 GiB, of
 * which the guest has touched 1,000 scattered pages; manual protect,
 * initially all set, as a migration would.
 *
 * get-sparse: 1,000 scattered pages of a 1 TiB slot were written.  Ours is a
 * whole harvest, from begin to commit, with a GET that clears: the log is
 * read, the pages are protected, the vCPU is flushed, the client gets them.
 * The flat one is what KVM's loop does to the bitmap of such a slot, 32 MiB
 * with the same 1,000 bits: zero the answer, take each word that is not zero
 * by an exchange, copy the answer out; it protects and flushes nothing.
 *
 * Each is measured after itself.  get-sparse-cold is ours right after the flat
 * one, which has had 96 MiB through the caches; get-sparse-clear is ours with
 * manual protect, where GET copies and CLEAR protects, chunk by chunk.
 */
#include "bench.h"

#include "mmu_bench.h"

#include <string.h>
#include <sys/mman.h>

#include "base/atomic.h"

#define START_PAGES (1ull << 24) /* 64 GiB */
#define GET_PAGES (1ull << 28)	 /* 1 TiB */
#define GET_WORDS (GET_PAGES / 64)
#define GET_BYTES (GET_WORDS * sizeof(uint64_t))
#define DIRTY 1000u

static uint64_t stride(uint64_t npages)
{
	return npages / DIRTY | 1;
}

static int bench_start(const struct bench_options *options)
{
	static struct bench_figure start = {
		.name = "log-start-64g-ms",
		.unit = "ms",
		.against = "opening a client, 64 GiB, 1,000 pages mapped",
		.goal = 1,
	};
	unsigned int rounds = options->rounds ? options->rounds : 51;
	struct bench_guest_config config = { .npages = START_PAGES,
					     .vcpus = 1 };
	struct bench_guest guest = { 0 };
	int err;

	config.memory = bench_memory_map(START_PAGES, BENCH_SPARSE);
	err = bench_guest_create(&guest, &config);
	for (unsigned int i = 0; !err && i < rounds; i++) {
		uint64_t begin_ns;

		err = bench_guest_touch(&guest, 0, DIRTY, stride(START_PAGES));
		if (err)
			break;
		begin_ns = bench_now_ns();
		err = bench_guest_log(&guest, TIDE_START_ALL_DIRTY);
		bench_add(&start, (double)(bench_now_ns() - begin_ns) / 1e6);
		bench_guest_unlog(&guest);
	}
	bench_guest_destroy(&guest);
	bench_memory_unmap(config.memory, START_PAGES);
	if (err)
		return bench_skip(options, start.name, strerror(-err));
	bench_report(options, &start);
	return 0;
}

struct flat {
	_Atomic uint64_t *bits;
	uint64_t *answer; /* the kernel's */
	uint64_t *user;
};

/* MAP_POPULATE: first touches are nobody's cost. */
static void *map_flat(void)
{
	void *words = mmap(NULL, GET_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return words == MAP_FAILED ? NULL : words;
}

static int flat_setup(struct flat *flat)
{
	flat->bits = map_flat();
	flat->answer = map_flat();
	flat->user = map_flat();
	return flat->bits && flat->answer && flat->user ? 0 : -ENOMEM;
}

static void flat_tear_down(struct flat *flat)
{
	if (flat->bits)
		munmap(flat->bits, GET_BYTES);
	if (flat->answer)
		munmap(flat->answer, GET_BYTES);
	if (flat->user)
		munmap(flat->user, GET_BYTES);
}

static double time_flat(struct flat *flat)
{
	uint64_t begin_ns;

	for (uint64_t i = 0, page = 0; i < DIRTY; i++) {
		/* Relaxed: only this thread. */
		atomic_fetch_or_explicit(&flat->bits[page / 64],
					 1ull << page % 64,
					 memory_order_relaxed);
		page += stride(GET_PAGES);
	}
	begin_ns = bench_now_ns();
	memset(flat->answer, 0, GET_BYTES);
	for (uint64_t i = 0; i < GET_WORDS; i++)
		/* Relaxed: only this thread; x86 has one exchange anyway. */
		if (atomic_load_explicit(&flat->bits[i], memory_order_relaxed))
			/* Relaxed: as above. */
			flat->answer[i] = atomic_exchange_explicit(
				&flat->bits[i], 0, memory_order_relaxed);
	memcpy(flat->user, flat->answer, GET_BYTES);
	/* The copy is somebody's to read. */
	__asm__ volatile("" : : "r"(flat->user) : "memory");
	return (double)(bench_now_ns() - begin_ns);
}

static int time_sparse(struct bench_guest *guest, double *ret_ns)
{
	uint64_t begin_ns, npages = 0;
	int err = bench_guest_touch(guest, 0, DIRTY, stride(GET_PAGES));

	if (err)
		return err;
	begin_ns = bench_now_ns();
	err = bench_guest_harvest(guest, &npages);
	*ret_ns = (double)(bench_now_ns() - begin_ns);
	return err ? err : npages == DIRTY ? 0 : -EBADMSG;
}

enum { WARM, COLD, CLEAR, WARM_US, FIGURES };

struct get {
	struct bench_guest guest;  /* GET clears */
	struct bench_guest manual; /* GET copies, CLEAR clears */
	struct flat flat;
	void *memory; /* of both */
};

static int get_setup(struct get *get)
{
	struct bench_guest_config config = {
		.npages = GET_PAGES,
		.vcpus = 1,
		.get_clears = true,
	};
	int err;

	get->memory = bench_memory_map(GET_PAGES, BENCH_SPARSE);
	config.memory = get->memory;
	err = bench_guest_create(&get->guest, &config);
	if (!err)
		err = bench_guest_log(&get->guest, TIDE_START_CLEAN);
	config.get_clears = false;
	if (!err)
		err = bench_guest_create(&get->manual, &config);
	if (!err)
		err = bench_guest_log(&get->manual, TIDE_START_CLEAN);
	return err ? err : flat_setup(&get->flat);
}

static void get_tear_down(struct get *get)
{
	flat_tear_down(&get->flat);
	bench_guest_destroy(&get->manual);
	bench_guest_destroy(&get->guest);
	bench_memory_unmap(get->memory, GET_PAGES);
}

/* Twice: the second is measured after itself. */
static int time_twice(struct bench_guest *guest, double *ret_cold_ns,
		      double *ret_warm_ns)
{
	int err = time_sparse(guest, ret_cold_ns);

	return err ? err : time_sparse(guest, ret_warm_ns);
}

static int get_round(struct get *get, struct bench_figure *figure)
{
	double flat_ns, cold_ns = 0, warm_ns = 0, clear_ns = 0, ns;
	int err;

	(void)time_flat(&get->flat);
	flat_ns = time_flat(&get->flat);
	err = time_twice(&get->guest, &cold_ns, &warm_ns);
	if (!err)
		err = time_twice(&get->manual, &ns, &clear_ns);
	bench_add(&figure[WARM], warm_ns / flat_ns);
	bench_add(&figure[COLD], cold_ns / flat_ns);
	bench_add(&figure[CLEAR], clear_ns / flat_ns);
	bench_add(&figure[WARM_US], warm_ns / 1e3);
	return err;
}

static int bench_get(const struct bench_options *options)
{
	static struct bench_figure figure[FIGURES] = {
		[WARM] = { .name = "get-sparse-ratio",
			   .unit = "ratio",
			   .against = "GET of a flat bitmap, 32 MiB",
			   .goal = 1.0 / 30 },
		[COLD] = { .name = "get-sparse-cold-ratio",
			   .unit = "ratio",
			   .against = "the same, right after it" },
		[CLEAR] = { .name = "get-sparse-clear-ratio",
			    .unit = "ratio",
			    .against = "the same; manual protect" },
		[WARM_US] = { .name = "get-sparse-us",
			      .unit = "us",
			      .against = "a part of get-sparse-ratio" },
	};
	unsigned int rounds = options->rounds ? options->rounds : 51;
	struct get get = { 0 };
	double ns;
	int err = get_setup(&get);

	/* The first of each maps the pages, and is not counted. */
	if (!err)
		err = time_sparse(&get.guest, &ns);
	if (!err)
		err = time_sparse(&get.manual, &ns);
	for (unsigned int i = 0; !err && i < rounds; i++)
		err = get_round(&get, figure);
	get_tear_down(&get);
	if (err == -EBADMSG)
		return err;
	if (err)
		return bench_skip(options, "get-sparse", strerror(-err));
	for (size_t i = 0; i < FIGURES; i++)
		bench_report(options, &figure[i]);
	return 0;
}

int bench_log(const struct bench_options *options)
{
	int start = bench_start(options);
	int get = bench_get(options);

	return get < 0 ? get : start | get;
}
