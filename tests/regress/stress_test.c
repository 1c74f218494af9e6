/* SPDX-License-Identifier: MIT */
/*
 * stress_test.c - everything that the software MMU has to survive, at once
 *
 * vCPUs write, read and rewrite their page tables; clients harvest; a device
 * writes; slots come, move and go beside; logging goes off and on, so that
 * large pages come and are split; a backing swaps, merges and discards.
 *
 * The oracle is exact.  Each vCPU, and the device, owns a part of every memory
 * and knows each byte of it; what it loads must be that.  Shared words are
 * added to, and the sums must come out.  Each client copies what it harvests;
 * when everybody has stopped and one more harvest is done, its copies must be
 * the memory.  Meanwhile mmu_check() asserts the invariants.
 *
 * TIDE_LONG=n makes it n times as long; TIDE_STRESS_MS=n goes on with new
 * seeds for n ms.
 */
#undef NDEBUG
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tidemark/client.h>
#include <tidemark/mark.h>
#include <tidemark/space.h>
#include <tidemark/tracker.h>

#include "base/clock.h"
#include "base/rcu.h"
#include "mmu_stage.h"

#define CPUS_MAX 8u
#define CLIENTS_MAX 2u
#ifdef TIDE_TSAN
#define OPS 1000u /* of each vCPU */
#else
#define OPS 3000u
#endif

/* Guest physical: each memory's first gfn, and its pages. */
#define RAM_GFN 0x1000u
#define RAM_OWN 24u    /* of each owner, in a row */
#define RAM_SHARED 16u /* at the end */
#define RAM_PAGES ((CPUS_MAX + 1) * RAM_OWN + RAM_SHARED)
#define BIG_GFN 0x4000u /* two large pages */
#define BIG_OWN 113u
#define BIG_PAGES 1024u
#define ALIAS_GFN 0x6001u /* the same memory, where no large page fits */
#define TABLES_GFN 0x8000u
#define TABLES_EACH 12u
#define TABLES_PAGES (CPUS_MAX * TABLES_EACH)
/* Of the backing: RAM, and the tables where they are on it. */
#define HOST_PAGES (RAM_PAGES + TABLES_PAGES)
#define DUMMY_GFN 0xa000u
#define DUMMY_PAGES 600u

/* Guest virtual, where there is paging. */
#define RAM_GVA 0x40000000ull
#define BIG_GVA 0x80000000ull
#define TABLES_GVA 0xc0000000ull
#define WINDOW_GVA 0x100000000ull
#define WINDOWS 8u /* of each vCPU */
/* One more, which the device changes: to shared page n for its nth change. */
#define DEVICE_WINDOW (CPUS_MAX * WINDOWS)
#define NUMBER_AT 256u /* in a shared page: which one it is, plus 1 */

#define DEVICE CPUS_MAX /* an owner, as the vCPUs are */
_Static_assert((CPUS_MAX + 1) * BIG_OWN <= BIG_PAGES, "everybody's part");

enum { SLOT_RAM, SLOT_BIG, SLOT_ALIAS, SLOT_TABLES, SLOT_DUMMY };

struct setup {
	enum tide_paging_mode mode;
	enum tide_tracker tracker;
	int get_clears;
	uint32_t cpus, clients;
	bool shared_tables, few_tables;
	bool backed_tables; /* the guests' tables may be swapped out, too */
	bool hasty; /* flushes time out, since vCPUs dawdle in guest mode */
	uint64_t seed;
};

struct world {
	struct setup setup;
	struct tide_space *space;
	struct tide_mmu *mmu;
	struct tide_backing *backing;
	int swap_fd;
	uint8_t *big, *tables, *dummy;
	uint64_t window_entry[CPUS_MAX]; /* gpa of the first one's entry */
	uint64_t root[CPUS_MAX];
	uint64_t device_entry; /* gpa, in the first set of tables; 0: none */
	_Atomic uint64_t begun, done; /* the device's changes of it */
	_Atomic uint32_t running;     /* vCPUs */
	struct mrig rig;	      /* for the tables' builder */
};

static struct world world;

struct random {
	uint64_t state;
};

static uint64_t next_random(struct random *random, uint64_t below)
{
	random->state ^= random->state << 13;
	random->state ^= random->state >> 7;
	random->state ^= random->state << 17;
	return (random->state >> 11) % below;
}

static struct random random_of(uint64_t who)
{
	return (struct random){ (world.setup.seed ^ who * 0x9e3779b97f4a7c15u) |
				1 };
}

/* At a pause point: let others in, often for a moment and now and then for
 * longer, so that what rarely happens between two steps does. */
static void stumble(const char *where)
{
	static _Thread_local struct random random;

	(void)where;
	if (!random.state)
		random = random_of((uintptr_t)&random);
	if (!next_random(&random, 300))
		(void)usleep((useconds_t)next_random(&random, 200));
	else if (!next_random(&random, 20))
		(void)sched_yield();
}

static bool is_over(void)
{
	/* Relaxed: to end, some time. */
	return !atomic_load_explicit(&world.running, memory_order_relaxed);
}

/* A vCPU */

/* A run of pages that it owns, and what is in them. */
struct part {
	uint64_t gpa;
	uint32_t pages;
	uint8_t *copy;
};

struct cpu {
	uint32_t number;
	struct tide_vcpu *vcpu;
	struct random random;
	struct part ram, big;
	bool paged; /* at the moment */
	uint64_t sum[RAM_SHARED];
	/* What each window shows: an offset in big's or ram's part. */
	bool window_big[WINDOWS];
	uint32_t window_page[WINDOWS];
	bool window_set[WINDOWS];
	uint64_t failed_exits;
};

/* A call is to be made again, because a vCPU was not where it should be. */
static bool timed_out(int err)
{
	return world.setup.hasty && err == -ETIMEDOUT;
}

static void empty_ring(void)
{
	int ret;

	do
		ret = tide_soft_ring_full(world.space);
	while (timed_out(ret));
	assert(ret >= 0);
}

static void enter(struct cpu *cpu)
{
	int why;

	while ((why = tide_vcpu_enter(cpu->vcpu))) {
		if (why == TIDE_EXIT_RING_FULL)
			empty_ring();
		else
			assert(why == TIDE_EXIT_KICKED);
	}
}

/* True: the access was not made, and has to be made again. */
static bool again(struct cpu *cpu, int why)
{
	const struct tide_exit *last = tide_vcpu_last_exit(cpu->vcpu);

	if (!why)
		return false;
	if (why == TIDE_EXIT_ERROR &&
	    (last->error == -ENOMEM || timed_out(last->error))) {
		cpu->failed_exits++; /* every frame is in use just now */
	} else if (why != TIDE_EXIT_RING_FULL && why != TIDE_EXIT_KICKED) {
		fprintf(stderr, "# vCPU %u: exit %d at %#jx, error %d\n",
			cpu->number, why, (uintmax_t)last->gva, last->error);
		abort();
	}
	if (why == TIDE_EXIT_RING_FULL)
		empty_ring();
	enter(cpu);
	return true;
}

static uint64_t gva_of_ram(const struct cpu *cpu, uint64_t offset)
{
	return cpu->paged ? RAM_GVA + cpu->ram.gpa - MRIG_GPA(RAM_GFN) + offset
			  : cpu->ram.gpa + offset;
}

static uint64_t gva_of_big(struct cpu *cpu, uint64_t offset)
{
	uint64_t at = cpu->big.gpa - MRIG_GPA(BIG_GFN) + offset;

	if (cpu->paged)
		return BIG_GVA + at;
	return next_random(&cpu->random, 4) ? MRIG_GPA(BIG_GFN) + at
					    : MRIG_GPA(ALIAS_GFN) + at;
}

/* Somewhere in what it owns: an address, and where its copy is. */
static uint64_t somewhere(struct cpu *cpu, uint64_t nbytes, bool aligned,
			  uint8_t **ret_copy)
{
	bool big = next_random(&cpu->random, 2);
	const struct part *part = big ? &cpu->big : &cpu->ram;
	uint64_t size = (uint64_t)part->pages * TIDE_PAGE_SIZE;
	uint64_t offset = next_random(&cpu->random, size - nbytes + 1);

	if (aligned)
		offset &= ~(nbytes - 1);
	*ret_copy = part->copy + offset;
	return big ? gva_of_big(cpu, offset) : gva_of_ram(cpu, offset);
}

static void wrong(const struct cpu *cpu, const char *what, uint64_t gva)
{
	fprintf(stderr, "# vCPU %u: wrong %s at %#jx\n", cpu->number, what,
		(uintmax_t)gva);
	abort();
}

static void do_store(struct cpu *cpu)
{
	size_t nbytes = (size_t)1 << next_random(&cpu->random, 4);
	uint64_t value = cpu->random.state;
	uint8_t *copy;
	uint64_t gva =
		somewhere(cpu, nbytes, next_random(&cpu->random, 4), &copy);

	while (again(cpu, tide_vcpu_store(cpu->vcpu, gva, nbytes, value)))
		;
	memcpy(copy, &value, nbytes);
}

static void do_load(struct cpu *cpu)
{
	size_t nbytes = (size_t)1 << next_random(&cpu->random, 4);
	bool fetch = !next_random(&cpu->random, 4);
	uint64_t value = 0, expected = 0;
	uint8_t *copy;
	uint64_t gva =
		somewhere(cpu, nbytes, next_random(&cpu->random, 4), &copy);

	while (again(cpu,
		     fetch ? tide_vcpu_fetch(cpu->vcpu, gva, nbytes, &value)
			   : tide_vcpu_load(cpu->vcpu, gva, nbytes, &value)))
		;
	memcpy(&expected, copy, nbytes);
	if (value != expected)
		wrong(cpu, fetch ? "fetch" : "load", gva);
}

static void do_block(struct cpu *cpu)
{
	static _Thread_local uint8_t buffer[2 * TIDE_PAGE_SIZE];
	size_t nbytes = 1 + next_random(&cpu->random, sizeof(buffer) - 1);
	uint8_t *copy;
	uint64_t gva = somewhere(cpu, nbytes, false, &copy);

	if (next_random(&cpu->random, 2)) {
		for (size_t i = 0; i < nbytes; i += 61)
			copy[i] = (uint8_t)next_random(&cpu->random, 256);
		while (again(cpu, tide_vcpu_write(cpu->vcpu, gva, copy, nbytes,
						  NULL)))
			;
		return;
	}
	while (again(cpu, tide_vcpu_read(cpu->vcpu, gva, buffer, nbytes, NULL)))
		;
	if (memcmp(buffer, copy, nbytes) != 0)
		wrong(cpu, "block", gva);
}

static uint64_t gva_of_shared(const struct cpu *cpu, uint64_t page)
{
	uint64_t at = (RAM_PAGES - RAM_SHARED + page) * TIDE_PAGE_SIZE + 64;

	return (cpu->paged ? RAM_GVA : MRIG_GPA(RAM_GFN)) + at;
}

static void do_add(struct cpu *cpu)
{
	uint64_t page = next_random(&cpu->random, RAM_SHARED);
	uint64_t addend = next_random(&cpu->random, 1000), old;

	while (again(cpu,
		     tide_vcpu_fetch_add(cpu->vcpu, gva_of_shared(cpu, page), 8,
					 addend, &old)))
		;
	cpu->sum[page] += addend;
}

static void do_cmpxchg(struct cpu *cpu)
{
	size_t nbytes = (size_t)1 << next_random(&cpu->random, 4);
	bool equal = next_random(&cpu->random, 2);
	uint64_t value = cpu->random.state, expected = 0, was = 0;
	uint8_t *copy;
	uint64_t gva = somewhere(cpu, nbytes, true, &copy);

	memcpy(&was, copy, nbytes);
	do
		expected = equal ? was : was ^ 1;
	while (again(cpu, tide_vcpu_cmpxchg(cpu->vcpu, gva, nbytes, &expected,
					    value)));
	if (expected != was)
		wrong(cpu, "cmpxchg", gva);
	if (equal)
		memcpy(copy, &value, nbytes);
}

/* The guest changes a window's entry, by its own mapping of its tables, and
 * looks through it. */
static void do_window(struct cpu *cpu)
{
	uint64_t i = next_random(&cpu->random, WINDOWS), value;
	uint64_t entry = world.window_entry[cpu->number] + 8 * i;
	uint64_t gva =
		WINDOW_GVA + (cpu->number * WINDOWS + i) * TIDE_PAGE_SIZE + 128;
	const struct part *part;
	uint8_t *copy;

	if (!cpu->paged)
		return;
	if (!cpu->window_set[i] || next_random(&cpu->random, 2)) {
		bool big = cpu->window_big[i] = next_random(&cpu->random, 2);
		uint32_t flags = PTE_WRITABLE;

		part = big ? &cpu->big : &cpu->ram;
		cpu->window_page[i] =
			(uint32_t)next_random(&cpu->random, part->pages);
		if (next_random(&cpu->random, 2))
			flags |= PTE_CLEAN;
		value = tables_leaf(world.setup.mode,
				    part->gpa + (uint64_t)cpu->window_page[i] *
							TIDE_PAGE_SIZE,
				    1, flags);
		while (again(cpu, tide_vcpu_store(cpu->vcpu,
						  TABLES_GVA + entry -
							  MRIG_GPA(TABLES_GFN),
						  8, value)))
			;
		cpu->window_set[i] = true;
	}
	part = cpu->window_big[i] ? &cpu->big : &cpu->ram;
	copy = part->copy + (uint64_t)cpu->window_page[i] * TIDE_PAGE_SIZE +
	       128;
	if (next_random(&cpu->random, 2)) {
		value = cpu->random.state;
		while (again(cpu, tide_vcpu_store(cpu->vcpu, gva, 8, value)))
			;
		memcpy(copy, &value, 8);
	}
	while (again(cpu, tide_vcpu_load(cpu->vcpu, gva, 8, &value)))
		;
	if (memcmp(copy, &value, 8) != 0)
		wrong(cpu, "window", gva);
}

static uint64_t count_of(const _Atomic uint64_t *count)
{
	/* SEQ_CST(test.count) pairs with SEQ_CST(test.counted) */
	return atomic_load_explicit(count, memory_order_seq_cst);
}

static void set_count(_Atomic uint64_t *count, uint64_t value)
{
	/* SEQ_CST(test.counted) pairs with SEQ_CST(test.count) */
	atomic_store_explicit(count, value, memory_order_seq_cst);
}

/* Through the window that the device changes: what it shows now, or showed
 * since we began to look. */
static void do_device_window(struct cpu *cpu)
{
	uint64_t gva = WINDOW_GVA + DEVICE_WINDOW * TIDE_PAGE_SIZE + NUMBER_AT;
	uint64_t first = count_of(&world.done), last, value;

	/* A hasty device does not wait until everybody has let go. */
	if (!cpu->paged || !world.device_entry || !first || world.setup.hasty ||
	    world.root[cpu->number] != world.root[0])
		return;
	while (again(cpu, tide_vcpu_load(cpu->vcpu, gva, 8, &value)))
		;
	last = count_of(&world.begun);
	while (first <= last && first % RAM_SHARED + 1 != value)
		first++;
	if (first > last)
		wrong(cpu, "page of the device", gva);
}

/* The slot that comes and goes: an access is made or is a device's. */
static void do_dummy(struct cpu *cpu)
{
	uint64_t gpa = MRIG_GPA(DUMMY_GFN +
				next_random(&cpu->random, 2 * DUMMY_PAGES));
	int why;

	if (cpu->paged)
		return;
	why = tide_vcpu_store(cpu->vcpu, gpa, 8, 1);
	if (why == TIDE_EXIT_MMIO)
		enter(cpu);
	else
		(void)again(cpu, why);
}

static void set_paging(struct cpu *cpu, bool paged)
{
	struct tide_paging paging = {
		.mode = paged ? world.setup.mode : TIDE_PAGING_NONE,
		.flags = TIDE_PAGING_WP,
		.root = paged ? world.root[cpu->number] : 0,
	};

	if (!paged)
		paging.flags = 0;
	assert(!tide_vcpu_set_paging(cpu->vcpu, &paging));
	cpu->paged = paged;
}

static void do_something(struct cpu *cpu)
{
	uint64_t what = next_random(&cpu->random, 100);

	if (what < 35)
		do_store(cpu);
	else if (what < 60)
		do_load(cpu);
	else if (what < 68)
		do_block(cpu);
	else if (what < 78)
		do_add(cpu);
	else if (what < 84)
		do_cmpxchg(cpu);
	else if (what < 96)
		do_window(cpu);
	else if (what < 98)
		do_device_window(cpu);
	else if (what < 99)
		do_dummy(cpu);
	else if (world.setup.mode != TIDE_PAGING_NONE)
		set_paging(cpu, next_random(&cpu->random, 4));
}

static void run_cpu(void *opaque)
{
	struct cpu *cpu = opaque;
	uint64_t ops = (uint64_t)OPS * test_long();

	set_paging(cpu, world.setup.mode != TIDE_PAGING_NONE);
	enter(cpu);
	for (uint64_t i = 0; i < ops; i++) {
		do_something(cpu);
		if (world.setup.hasty && !next_random(&cpu->random, 50))
			(void)usleep(
				(useconds_t)next_random(&cpu->random, 3000));
		while (again(cpu, tide_vcpu_safe_point(cpu->vcpu)))
			;
	}
	(void)tide_vcpu_exit(cpu->vcpu);
	/* Relaxed: a count; the end is a join. */
	(void)atomic_fetch_sub_explicit(&world.running, 1,
					memory_order_relaxed);
}

/* A client */

struct reader {
	struct tide_client *client;
	struct random random;
	uint8_t *ram, *big, *tables;
	uint64_t harvests, pages;
};

/* Where the client keeps its copy of the page; NULL: of the dummy. */
static uint8_t *copy_at(const struct reader *reader, uint64_t gfn)
{
	if (gfn - RAM_GFN < RAM_PAGES)
		return reader->ram + (gfn - RAM_GFN) * TIDE_PAGE_SIZE;
	if (gfn - BIG_GFN < BIG_PAGES)
		return reader->big + (gfn - BIG_GFN) * TIDE_PAGE_SIZE;
	if (gfn - ALIAS_GFN < BIG_PAGES)
		return reader->big + (gfn - ALIAS_GFN) * TIDE_PAGE_SIZE;
	if (gfn - TABLES_GFN < TABLES_PAGES)
		return reader->tables + (gfn - TABLES_GFN) * TIDE_PAGE_SIZE;
	return NULL;
}

static void read_page(uint64_t gfn, uint8_t *to)
{
	int err;

	do
		err = tide_mmu_read(world.mmu, MRIG_GPA(gfn), to,
				    TIDE_PAGE_SIZE);
	while (err == -ENOMEM || timed_out(err));
	assert(!err);
}

/* Return: to the end, or as far as it was to go. */
static bool harvest(struct reader *reader, bool to_the_end)
{
	bool abort_it = !to_the_end && !next_random(&reader->random, 8);
	struct tide_harvest *open;
	struct tide_extent e;
	int err;

	do
		err = tide_harvest_begin(reader->client, &open);
	while (timed_out(err));
	assert(!err);
	while ((err = tide_harvest_next(open, &e)) > 0) {
		for (uint64_t i = 0; i < e.npages; i++) {
			uint8_t *copy = copy_at(reader, e.first_gfn + i);

			if (copy && !(e.flags & TIDE_EXTENT_GONE))
				read_page(e.first_gfn + i, copy);
		}
		reader->pages += e.npages;
		if (abort_it && !next_random(&reader->random, 4))
			break;
	}
	if (abort_it || timed_out(err))
		tide_harvest_abort(open);
	else
		assert(!tide_harvest_commit(open));
	reader->harvests++;
	return !timed_out(err);
}

static void run_reader(void *opaque)
{
	struct reader *reader = opaque;

	while (!is_over())
		(void)harvest(reader, false);
}

/* The others */

struct device {
	struct random random;
	struct part ram, big;
};

static void device_writes(struct device *device)
{
	struct part *part =
		next_random(&device->random, 2) ? &device->ram : &device->big;
	uint64_t size = (uint64_t)part->pages * TIDE_PAGE_SIZE;
	uint64_t nbytes = 1 + next_random(&device->random, 6000);
	uint64_t offset = next_random(&device->random, size - nbytes + 1);
	uint8_t *copy = part->copy + offset;
	int err;

	for (uint64_t i = 0; i < nbytes; i += 97)
		copy[i] = (uint8_t)next_random(&device->random, 256);
	if (part == &device->big && next_random(&device->random, 2)) {
		/* Straight to memory, then marked. */
		guest_copy(world.big + part->gpa - MRIG_GPA(BIG_GFN) + offset,
			   copy, nbytes);
		assert(!tide_mark_bytes(world.space, part->gpa + offset,
					nbytes));
		return;
	}
	do
		err = tide_mmu_write(world.mmu, part->gpa + offset, copy,
				     nbytes);
	while (err == -ENOMEM || timed_out(err));
	assert(!err);
}

static uint64_t shared_gpa(uint64_t number)
{
	return MRIG_GPA(RAM_GFN + RAM_PAGES - RAM_SHARED + number % RAM_SHARED);
}

static void device_changes_window(struct device *device)
{
	uint64_t number = count_of(&world.begun) + 1;
	uint64_t entry = tables_leaf(world.setup.mode, shared_gpa(number), 1,
				     (uint32_t)next_random(&device->random, 2) *
					     PTE_CLEAN);

	set_count(&world.begun, number);
	while (timed_out(
		tide_mmu_write(world.mmu, world.device_entry, &entry, 8)))
		;
	set_count(&world.done, number);
}

static void run_device(void *opaque)
{
	struct device *device = opaque;

	while (!is_over()) {
		uint64_t page = next_random(&device->random, RAM_OWN);

		device_writes(device);
		if (world.device_entry)
			device_changes_window(device);
		if (next_random(&device->random, 8))
			continue;
		while (timed_out(tide_backing_discard(
			world.backing, DEVICE * RAM_OWN + page, 1)))
			;
		memset(device->ram.copy + page * TIDE_PAGE_SIZE, 0,
		       TIDE_PAGE_SIZE);
	}
}

static void run_host(void *opaque)
{
	struct random random = random_of(1000);

	(void)opaque;
	while (!is_over()) {
		uint64_t npages = 1 + next_random(&random, 40);
		uint64_t first = next_random(&random, HOST_PAGES - npages);

		int ret = next_random(&random, 4)
				  ? tide_backing_swap_out(world.backing, first,
							  npages)
				  : tide_backing_merge(world.backing, first,
						       npages);

		assert(ret >= 0 || timed_out(ret));
		(void)sched_yield();
	}
}

static int add_slot(uint32_t id, uint64_t gfn, uint64_t npages, void *host)
{
	struct tide_slot_config config = {
		.id = id, .first_gfn = gfn, .npages = npages, .host = host
	};

	return tide_slot_add(world.space, &config);
}

static void log_big(uint32_t flags)
{
	int err;

	do
		err = tide_slot_set_flags(world.space, SLOT_BIG, flags);
	while (timed_out(err));
	assert(!err);
}

/* A slot beside, and logging of the one with large pages. */
static void run_slots(void *opaque)
{
	struct random random = random_of(2000);
	int ret;

	(void)opaque;
	while (!is_over()) {
		do
			ret = add_slot(SLOT_DUMMY, DUMMY_GFN, DUMMY_PAGES,
				       world.dummy);
		while (timed_out(ret));
		if (ret)
			fprintf(stderr, "# slot add: %d\n", ret);
		assert(!ret);
		do
			ret = tide_slot_move(
				world.space, SLOT_DUMMY,
				DUMMY_GFN + next_random(&random, DUMMY_PAGES));
		while (timed_out(ret));
		assert(!ret);
		log_big(TIDE_SLOT_UNLOGGED);
		for (uint64_t i = next_random(&random, 200); i; i--)
			(void)sched_yield();
		log_big(0);
		do
			ret = tide_slot_remove(world.space, SLOT_DUMMY);
		while (timed_out(ret));
		assert(ret >= 0);
		for (uint64_t i = next_random(&random, 200); i; i--)
			(void)sched_yield();
	}
}

/* Before and after */

static uint8_t *memory(uint64_t pages)
{
	uint8_t *at = mmap(NULL, pages * TIDE_PAGE_SIZE + MRIG_LARGE,
			   PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	/* The rest goes with the process. */
	return at + (MRIG_LARGE - (uintptr_t)at % MRIG_LARGE) % MRIG_LARGE;
}

static void create_mmu(void)
{
	struct tide_backing_config backing = { .npages = HOST_PAGES,
					       .nframes = RAM_PAGES / 3 };
	struct tide_mmu_config mmu = {
		.flush_timeout_ns =
			world.setup.hasty ? 1000000ull : 100000000000ull,
		.table_pages_max = world.setup.few_tables ? 64 : 0,
	};
	struct tide_soft_config soft = { .get_clears = world.setup.get_clears,
					 .chunk_pages = 64,
					 .ring_entries = 256 };

	uint8_t *tables = world.tables;

	world.swap_fd = memfd_create("tide-test-swap", MFD_CLOEXEC);
	assert_true(world.swap_fd >= 0);
	backing.swap_fd = world.swap_fd;
	assert_int_equal(tide_backing_create(&backing, &world.backing), 0);
	mmu.backing = world.backing;
	if (world.setup.backed_tables)
		tables = (uint8_t *)tide_backing_host(world.backing) +
			 RAM_PAGES * TIDE_PAGE_SIZE;
	assert_int_equal(tide_mmu_create(&mmu, &world.mmu), 0);
	assert_int_equal(tide_space_create(&world.space), 0);
	soft.mmu = world.mmu;
	assert_int_equal(
		tide_space_attach(world.space, world.setup.tracker, &soft), 0);
	assert_int_equal(add_slot(SLOT_RAM, RAM_GFN, RAM_PAGES,
				  tide_backing_host(world.backing)),
			 0);
	assert_int_equal(add_slot(SLOT_BIG, BIG_GFN, BIG_PAGES, world.big), 0);
	assert_int_equal(add_slot(SLOT_ALIAS, ALIAS_GFN, BIG_PAGES, world.big),
			 0);
	assert_int_equal(
		add_slot(SLOT_TABLES, TABLES_GFN, TABLES_PAGES, tables), 0);
}

/* One set of tables: all memory, and every vCPU's windows. */
static void create_tables(uint32_t set)
{
	struct guest_tables tables;
	uint64_t entry = 0;

	world.rig.mmu = world.mmu;
	tables_init(&tables, &world.rig, world.setup.mode,
		    MRIG_GPA(TABLES_GFN + set * TABLES_EACH));
	for (uint64_t page = 0; page < RAM_PAGES; page++)
		(void)tables_map(&tables, RAM_GVA + page * TIDE_PAGE_SIZE,
				 MRIG_GPA(RAM_GFN + page), 1, PTE_WRITABLE);
	for (uint64_t page = 0; page < BIG_PAGES; page += LARGE_PAGES)
		(void)tables_map(&tables, BIG_GVA + page * TIDE_PAGE_SIZE,
				 MRIG_GPA(BIG_GFN + page), 2, PTE_WRITABLE);
	for (uint64_t page = 0; page < TABLES_PAGES; page++)
		(void)tables_map(&tables, TABLES_GVA + page * TIDE_PAGE_SIZE,
				 MRIG_GPA(TABLES_GFN + page), 1, PTE_WRITABLE);
	entry = tables_map(&tables, WINDOW_GVA, MRIG_GPA(RAM_GFN), 1, 0);
	assert_true(tables.next <=
		    MRIG_GPA(TABLES_GFN + (set + 1) * TABLES_EACH));
	if (!set)
		world.device_entry = entry + 8ull * DEVICE_WINDOW;
	for (uint32_t i = 0; i < CPUS_MAX; i++) {
		if (!world.setup.shared_tables && i != set)
			continue;
		world.root[i] = tables.root;
		world.window_entry[i] = entry + 8ull * i * WINDOWS;
	}
}

static void part_create(struct part *part, uint64_t gfn, uint32_t pages)
{
	part->gpa = MRIG_GPA(gfn);
	part->pages = pages;
	part->copy = calloc(pages, TIDE_PAGE_SIZE);
	assert_non_null(part->copy);
}

static void parts_create(struct part *ram, struct part *big, uint32_t owner)
{
	part_create(ram, RAM_GFN + owner * RAM_OWN, RAM_OWN);
	part_create(big, BIG_GFN + owner * BIG_OWN, BIG_OWN);
}

/* What an owner knows is what is there. */
static void part_check(struct part *part)
{
	uint8_t page[TIDE_PAGE_SIZE];

	for (uint32_t i = 0; i < part->pages; i++) {
		read_page((part->gpa >> 12) + i, page);
		assert_memory_equal(page,
				    part->copy + (size_t)i * TIDE_PAGE_SIZE,
				    TIDE_PAGE_SIZE);
	}
	free(part->copy);
}

/* What a client has is what is there, in every page. */
static void reader_check(const struct reader *reader, uint64_t first,
			 uint64_t npages)
{
	uint8_t page[TIDE_PAGE_SIZE];

	for (uint64_t i = 0; i < npages; i++) {
		read_page(first + i, page);
		if (memcmp(page, copy_at(reader, first + i), TIDE_PAGE_SIZE))
			fprintf(stderr, "# gfn %#jx was lost\n",
				(uintmax_t)(first + i));
		assert_memory_equal(page, copy_at(reader, first + i),
				    TIDE_PAGE_SIZE);
	}
}

static void check_sums(const struct cpu *cpus)
{
	uint8_t page[TIDE_PAGE_SIZE];

	for (uint32_t i = 0; i < RAM_SHARED; i++) {
		uint64_t sum = 0, there;

		for (uint32_t n = 0; n < world.setup.cpus; n++)
			sum += cpus[n].sum[i];
		read_page(RAM_GFN + RAM_PAGES - RAM_SHARED + i, page);
		memcpy(&there, page + 64, 8);
		assert_int_equal(there, sum);
	}
}

static struct cpu cpus[CPUS_MAX];
static struct reader readers[CLIENTS_MAX];
static struct device device;

static void create(const struct setup *setup)
{
	memset(&world, 0, sizeof(world));
	world.setup = *setup;
	world.big = memory(BIG_PAGES);
	world.tables = memory(TABLES_PAGES);
	world.dummy = memory(DUMMY_PAGES);
	create_mmu();
	for (uint64_t i = 0; i < RAM_SHARED; i++) {
		uint64_t number = i + 1;

		assert_int_equal(tide_mmu_write(world.mmu,
						shared_gpa(i) + NUMBER_AT,
						&number, 8),
				 0);
	}
	for (uint32_t i = 0; i < (setup->shared_tables ? 1 : setup->cpus);
	     i++) {
		if (setup->mode != TIDE_PAGING_NONE)
			create_tables(i);
	}
	for (uint32_t i = 0; i < setup->cpus; i++) {
		cpus[i] = (struct cpu){ .number = i, .random = random_of(i) };
		parts_create(&cpus[i].ram, &cpus[i].big, i);
		assert_int_equal(tide_vcpu_create(world.mmu, &cpus[i].vcpu), 0);
	}
	for (uint32_t i = 0; i < setup->clients; i++) {
		readers[i] = (struct reader){ .random = random_of(100 + i) };
		readers[i].ram = calloc(RAM_PAGES, TIDE_PAGE_SIZE);
		readers[i].big = calloc(BIG_PAGES, TIDE_PAGE_SIZE);
		readers[i].tables = calloc(TABLES_PAGES, TIDE_PAGE_SIZE);
		assert_true(readers[i].ram && readers[i].big &&
			    readers[i].tables);
		assert_int_equal(tide_client_open(world.space, "stress",
						  TIDE_START_ALL_DIRTY,
						  &readers[i].client),
				 0);
	}
	device = (struct device){ .random = random_of(500) };
	parts_create(&device.ram, &device.big, DEVICE);
}

static void say(void)
{
	struct tide_backing_stats host;
	struct tide_mmu_stats mmu;

	tide_mmu_stats(world.mmu, &mmu);
	tide_backing_stats(world.backing, &host);
	printf("# %u vCPUs, %u clients%s%s: faults %ju fast %ju slow "
	       "%ju again, %ju emulated, %ju flushes, %ju splits, "
	       "%ju zaps, %ju out, %ju merges, %ju harvests of %ju pages\n",
	       world.setup.cpus, world.setup.clients,
	       world.setup.hasty ? ", hasty" : "",
	       world.setup.backed_tables ? ", backed tables" : "",
	       (uintmax_t)mmu.faults_fast, (uintmax_t)mmu.faults_slow,
	       (uintmax_t)mmu.faults_retried, (uintmax_t)mmu.writes_emulated,
	       (uintmax_t)mmu.flushes, (uintmax_t)mmu.large_splits,
	       (uintmax_t)mmu.zaps, (uintmax_t)host.swap_outs,
	       (uintmax_t)host.merges, (uintmax_t)readers[0].harvests,
	       (uintmax_t)readers[0].pages);
}

static void check_and_destroy(void)
{
	say();
	for (uint32_t i = 0; i < world.setup.clients; i++) {
		assert_true(harvest(&readers[i], true));
		reader_check(&readers[i], RAM_GFN, RAM_PAGES);
		reader_check(&readers[i], BIG_GFN, BIG_PAGES);
		reader_check(&readers[i], TABLES_GFN, TABLES_PAGES);
		tide_client_close(readers[i].client);
		free(readers[i].ram);
		free(readers[i].big);
		free(readers[i].tables);
	}
	check_sums(cpus);
	for (uint32_t i = 0; i < world.setup.cpus; i++) {
		part_check(&cpus[i].ram);
		part_check(&cpus[i].big);
	}
	part_check(&device.ram);
	part_check(&device.big);
	mmu_check(world.mmu);
	assert_int_equal(tide_space_detach(world.space), 0);
	for (uint32_t i = 0; i < world.setup.cpus; i++)
		tide_vcpu_destroy(cpus[i].vcpu);
	tide_space_destroy(world.space);
	tide_mmu_destroy(world.mmu);
	tide_backing_destroy(world.backing);
	(void)close(world.swap_fd);
	(void)munmap(world.big, BIG_PAGES * TIDE_PAGE_SIZE);
	(void)munmap(world.tables, TABLES_PAGES * TIDE_PAGE_SIZE);
	(void)munmap(world.dummy, DUMMY_PAGES * TIDE_PAGE_SIZE);
}

static void run_all(void)
{
	struct actor cpu_threads[CPUS_MAX], reader_threads[CLIENTS_MAX];
	struct actor others[3];
	struct random random = random_of(3000);

	/* Relaxed: before the threads. */
	atomic_store_explicit(&tide_pause_hook, stumble, memory_order_relaxed);
	/* Relaxed: as above. */
	atomic_store_explicit(&world.running, world.setup.cpus,
			      memory_order_relaxed);
	for (uint32_t i = 0; i < world.setup.cpus; i++)
		actor_begin(&cpu_threads[i], NULL, run_cpu, &cpus[i]);
	for (uint32_t i = 0; i < world.setup.clients; i++)
		actor_begin(&reader_threads[i], NULL, run_reader, &readers[i]);
	actor_begin(&others[0], NULL, run_device, &device);
	actor_begin(&others[1], NULL, run_host, NULL);
	actor_begin(&others[2], NULL, run_slots, NULL);
	while (!is_over()) {
		tide_vcpu_kick(
			cpus[next_random(&random, world.setup.cpus)].vcpu);
		mmu_check(world.mmu);
		(void)usleep(1000);
	}
	for (uint32_t i = 0; i < world.setup.cpus; i++)
		actor_end(&cpu_threads[i]);
	for (uint32_t i = 0; i < world.setup.clients; i++)
		actor_end(&reader_threads[i]);
	for (int i = 0; i < 3; i++)
		actor_end(&others[i]);
}

static void stress(enum tide_paging_mode mode, uint64_t seed)
{
	static const struct {
		enum tide_tracker tracker;
		int get_clears;
	} how[] = { { TIDE_TRACKER_SOFT_BITMAP, 0 },
		    { TIDE_TRACKER_SOFT_BITMAP, 1 },
		    { TIDE_TRACKER_SOFT_RING, 0 } };
	uint64_t until_ns = 0;
	const char *text = getenv("TIDE_STRESS_MS");

	if (text)
		until_ns = tide_now_ns() + strtoull(text, NULL, 0) * 1000000ull;
	for (uint32_t i = 0; i < 3 || tide_now_ns() < until_ns; i++) {
		struct random random = { (seed + i) * 0x9e3779b97f4a7c15u | 1 };
		struct setup setup = {
			.mode = mode,
			.tracker = how[i % 3].tracker,
			.get_clears = how[i % 3].get_clears,
			.seed = seed + i,
		};

		(void)next_random(&random, 2);
		setup.cpus = 2 + (uint32_t)next_random(&random, CPUS_MAX - 1);
		setup.clients = 1 + (uint32_t)next_random(&random, CLIENTS_MAX);
		setup.shared_tables = next_random(&random, 2);
		setup.few_tables = !next_random(&random, 3);
		setup.hasty = !next_random(&random, 3);
		setup.backed_tables = next_random(&random, 2);
		create(&setup);
		run_all();
		check_and_destroy();
	}
}

static void test_direct(void **state)
{
	stress(TIDE_PAGING_NONE, *(const uint64_t *)*state);
}

static void test_x86(void **state)
{
	stress(TIDE_PAGING_X86_64, *(const uint64_t *)*state);
}

static void test_sv39(void **state)
{
	stress(TIDE_PAGING_SV39, *(const uint64_t *)*state);
}

int main(int argc, char **argv)
{
	uint64_t seed = test_seed();
#define STRESS(name, function)                    \
	{                                         \
		name, function, NULL, NULL, &seed \
	}
	const struct CMUnitTest tests[] = {
		STRESS("everything at once, without paging", test_direct),
		STRESS("everything at once, in x86-64 tables", test_x86),
		STRESS("everything at once, in Sv39 tables", test_sv39),
	};

	mrig_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
