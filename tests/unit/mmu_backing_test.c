/* SPDX-License-Identifier: MIT */
/*
 * mmu_backing_test.c - guests of four times their frames, on a real MMU
 *
 * Two vCPUs write, fill and discard pages of their own and know what is in
 * each word of them; one thread swaps out, one merges, and one harvests: it
 * copies each page that GET reports.  In the end the copy is the guest's
 * memory, and both are what the vCPUs wrote.
 *
 * In shadow mode the guest's page tables are in the same backing, and are
 * swapped out like any other page.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tidemark/vcpu.h>

#include "base/atomic.h"
#include "mmu/host.h"
#include "mmu/kvm_calls.h"
#include "test_support.h"

#define FRAMES 64u
#define DATA_PAGES 252u
#define PAGES 256u /* the last four: the guest's page tables */
#define WORDS (TIDE_PAGE_SIZE / sizeof(uint64_t))
#define VCPUS 2u

enum disk_kind { DISK_FINE, DISK_EIO, DISK_ENOSPC, DISK_SHORT };

/* What reading, and writing, the swap file do from now on. */
static _Atomic int disk_reads, disk_writes;

ssize_t __real_pread64(int fd, void *buffer, size_t nbytes, off_t at);
ssize_t __wrap_pread64(int fd, void *buffer, size_t nbytes, off_t at);
ssize_t __real_pwrite64(int fd, const void *buffer, size_t nbytes, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *buffer, size_t nbytes, off_t at);

static void disk_set(_Atomic int *calls, int kind)
{
	/* Relaxed: a disk fails when it likes. */
	atomic_store_explicit(calls, kind, memory_order_relaxed);
}

/* Return: how many bytes to do; below 0, and errno is set. */
static ssize_t disk_says(_Atomic int *calls, size_t nbytes)
{
	/* Relaxed: as above. */
	switch (atomic_load_explicit(calls, memory_order_relaxed)) {
	case DISK_SHORT:
		return (ssize_t)nbytes / 2;
	case DISK_EIO:
		errno = EIO;
		return -1;
	case DISK_ENOSPC:
		errno = ENOSPC;
		return -1;
	default:
		return (ssize_t)nbytes;
	}
}

ssize_t __wrap_pread64(int fd, void *buffer, size_t nbytes, off_t at)
{
	ssize_t part = disk_says(&disk_reads, nbytes);

	return part < 0 ? part : __real_pread64(fd, buffer, (size_t)part, at);
}

ssize_t __wrap_pwrite64(int fd, const void *buffer, size_t nbytes, off_t at)
{
	ssize_t part = disk_says(&disk_writes, nbytes);

	return part < 0 ? part : __real_pwrite64(fd, buffer, (size_t)part, at);
}

struct machine {
	struct tide_backing *backing;
	struct tide_mmu *mmu;
	enum tide_paging_mode mode;
	int fd;
	uint8_t *host;
	_Atomic bool stop;
	uint64_t copy[PAGES][WORDS];	      /* the harvester's */
	uint64_t expected[DATA_PAGES][WORDS]; /* of its vCPU's thread */
};

struct cpu {
	struct machine *machine;
	struct tide_vcpu *vcpu;
	pthread_t thread;
	uint32_t index;
	uint64_t seed;
	uint64_t errors;
	bool inside;
};

static uint32_t random_below(uint64_t *seed, uint32_t limit)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*seed >> 33) % limit;
}

static void put_entry(struct machine *machine, uint64_t table, uint64_t index,
		      uint64_t entry)
{
	assert_int_equal(tide_backing_write(machine->backing,
					    machine->host +
						    table * TIDE_PAGE_SIZE +
						    index * sizeof(entry),
					    &entry, sizeof(entry)),
			 0);
}

/* Addresses are guest physical, by four tables of x86: present, writable. */
static void make_tables(struct machine *machine)
{
	for (uint64_t level = 0; level < 3; level++)
		put_entry(machine, DATA_PAGES + level, 0,
			  (DATA_PAGES + level + 1) << TIDE_PAGE_SHIFT | 3);
	for (uint64_t page = 0; page < DATA_PAGES; page++)
		put_entry(machine, DATA_PAGES + 3, page,
			  page << TIDE_PAGE_SHIFT | 3);
}

/* @timeout_ns: of a flush, 0: long enough */
static void machine_init(struct machine *machine, enum tide_paging_mode mode,
			 uint64_t timeout_ns)
{
	struct tide_backing_config memory = { .npages = PAGES,
					      .nframes = FRAMES };
	struct tide_mmu_config config = { .flush_timeout_ns = timeout_ns };
	struct mmu_region region = { .flags = MMU_REGION_LOG,
				     .memory_bytes = PAGES * TIDE_PAGE_SIZE };

	memset(machine, 0, sizeof(*machine));
	machine->mode = mode;
	disk_set(&disk_reads, DISK_FINE);
	disk_set(&disk_writes, DISK_FINE);
	machine->fd = memfd_create("swap", MFD_CLOEXEC);
	memory.swap_fd = machine->fd;
	assert_int_equal(tide_backing_create(&memory, &machine->backing), 0);
	machine->host = tide_backing_host(machine->backing);
	make_tables(machine);
	assert_int_equal(tide_backing_read(machine->backing, machine->host,
					   machine->copy,
					   sizeof(machine->copy)),
			 0);
	config.backing = machine->backing;
	assert_int_equal(tide_mmu_create(&config, &machine->mmu), 0);
	region.host = (uintptr_t)machine->host;
	assert_int_equal(mmu_set_region(machine->mmu, &region), 0);
}

static void machine_fini(struct machine *machine)
{
	const struct mmu_region region = { .memory_bytes = 0 };

	mmu_check(machine->mmu);
	backing_check(machine->backing);
	assert_int_equal(mmu_set_region(machine->mmu, &region), 0);
	tide_mmu_destroy(machine->mmu);
	tide_backing_destroy(machine->backing);
	close(machine->fd);
}

static void cpu_init(struct cpu *cpu, struct machine *machine, uint32_t index,
		     uint64_t seed)
{
	struct tide_paging paging = { .mode = machine->mode,
				      .flags = machine->mode ? TIDE_PAGING_WP
							     : 0,
				      .root = DATA_PAGES << TIDE_PAGE_SHIFT };

	*cpu = (struct cpu){ .machine = machine, .index = index, .seed = seed };
	assert_int_equal(tide_vcpu_create(machine->mmu, &cpu->vcpu), 0);
	assert_int_equal(tide_vcpu_set_paging(cpu->vcpu, &paging), 0);
}

static void cpu_leave(struct cpu *cpu)
{
	if (cpu->inside)
		(void)tide_vcpu_exit(cpu->vcpu); /* it is inside */
	cpu->inside = false;
}

static void cpu_fini(struct cpu *cpu)
{
	cpu_leave(cpu);
	tide_vcpu_destroy(cpu->vcpu);
}

static void cpu_enter(struct cpu *cpu)
{
	if (!cpu->inside) {
		int ret = tide_vcpu_enter(cpu->vcpu);

		assert(!ret);
	}
	cpu->inside = true;
}

/* False: an exit for the disk's sake, and the access has to be made again. */
static bool is_done(struct cpu *cpu, int ret)
{
	const struct tide_exit *why = tide_vcpu_last_exit(cpu->vcpu);

	if (!ret)
		return true;
	cpu->inside = false;
	assert(ret == TIDE_EXIT_ERROR && why->reason == TIDE_EXIT_ERROR);
	assert(why->error == -EIO || why->error == -ENOSPC);
	cpu->errors++;
	(void)sched_yield();
	return false;
}

static uint64_t load(struct cpu *cpu, uint32_t page, uint32_t word)
{
	uint64_t value = 0;
	int ret;

	do {
		cpu_enter(cpu);
		ret = tide_vcpu_load(cpu->vcpu,
				     page * TIDE_PAGE_SIZE + 8ull * word, 8,
				     &value);
	} while (!is_done(cpu, ret));
	return value;
}

static void store(struct cpu *cpu, uint32_t page, uint32_t word, uint64_t value)
{
	int ret;

	do {
		cpu_enter(cpu);
		ret = tide_vcpu_store(cpu->vcpu,
				      page * TIDE_PAGE_SIZE + 8ull * word, 8,
				      value);
	} while (!is_done(cpu, ret));
	cpu->machine->expected[page][word] = value;
}

static void add(struct cpu *cpu, uint32_t page, uint32_t word)
{
	uint64_t *expected = &cpu->machine->expected[page][word], old = 0;
	int ret;

	do {
		cpu_enter(cpu);
		ret = tide_vcpu_fetch_add(cpu->vcpu,
					  page * TIDE_PAGE_SIZE + 8ull * word,
					  8, 3, &old);
	} while (!is_done(cpu, ret));
	assert(old == *expected);
	*expected += 3;
}

/* With one of a few values, so that there is something to merge. */
static void fill(struct cpu *cpu, uint32_t page)
{
	uint64_t *expected = cpu->machine->expected[page];
	uint64_t value = random_below(&cpu->seed, 3);
	int ret;

	for (uint32_t word = 0; word < WORDS; word++)
		expected[word] = value;
	do {
		cpu_enter(cpu);
		ret = tide_vcpu_write(cpu->vcpu, page * TIDE_PAGE_SIZE,
				      expected, TIDE_PAGE_SIZE, NULL);
	} while (!is_done(cpu, ret));
}

static void discard(struct cpu *cpu, uint32_t page)
{
	int ret;

	cpu_leave(cpu);
	ret = tide_backing_discard(cpu->machine->backing, page, 1);
	assert(!ret);
	memset(cpu->machine->expected[page], 0, TIDE_PAGE_SIZE);
}

static void cpu_step(struct cpu *cpu)
{
	uint32_t page = random_below(&cpu->seed, DATA_PAGES / VCPUS) * VCPUS +
			cpu->index;
	uint32_t word = random_below(&cpu->seed, WORDS);

	switch (random_below(&cpu->seed, 16)) {
	case 0:
		discard(cpu, page);
		break;
	case 1:
	case 2:
	case 3:
		fill(cpu, page);
		break;
	case 4:
		add(cpu, page, word);
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		store(cpu, page, word, cpu->seed);
		break;
	default:
		assert(load(cpu, page, word) ==
		       cpu->machine->expected[page][word]);
		break;
	}
	if (cpu->inside) {
		int ret = tide_vcpu_safe_point(cpu->vcpu);

		assert(!ret);
	}
}

static void *cpu_run(void *opaque)
{
	struct cpu *cpu = opaque;

	for (uint32_t i = 0; i < 8000 * test_long(); i++)
		cpu_step(cpu);
	cpu_leave(cpu);
	return NULL;
}

static bool goes_on(struct machine *machine)
{
	/* Relaxed: only to end. */
	return !atomic_load_explicit(&machine->stop, memory_order_relaxed);
}

static bool is_fine(int ret)
{
	return ret >= 0 || ret == -EIO || ret == -ENOSPC;
}

static void *swap_out(void *opaque)
{
	struct machine *machine = opaque;
	uint64_t seed = (uintptr_t)machine->host;

	while (goes_on(machine)) {
		uint32_t first = random_below(&seed, PAGES - 3);
		int ret = tide_backing_swap_out(machine->backing, first, 4);

		assert(is_fine(ret));
		(void)sched_yield();
	}
	return NULL;
}

static void *merge(void *opaque)
{
	struct machine *machine = opaque;

	while (goes_on(machine)) {
		int ret = tide_backing_merge(machine->backing, 0, PAGES);

		assert(ret >= 0);
		backing_check(machine->backing);
		(void)sched_yield();
	}
	return NULL;
}

static void *spoil_disk(void *opaque)
{
	struct machine *machine = opaque;
	uint64_t seed = (uintptr_t)machine->host + 1;

	while (goes_on(machine)) {
		disk_set(&disk_reads,
			 random_below(&seed, 8) ? DISK_FINE : DISK_EIO);
		disk_set(&disk_writes,
			 (int)random_below(&seed, 8) - DISK_SHORT - 1);
		for (uint32_t i = random_below(&seed, 64); i; i--)
			(void)sched_yield();
	}
	disk_set(&disk_reads, DISK_FINE);
	disk_set(&disk_writes, DISK_FINE);
	return NULL;
}

static void copy_page(struct machine *machine, uint64_t page)
{
	int ret;

	/* A page that was reported is read, sooner or later. */
	do {
		ret = tide_backing_read(machine->backing,
					machine->host + page * TIDE_PAGE_SIZE,
					machine->copy[page], TIDE_PAGE_SIZE);
		assert(is_fine(ret));
	} while (ret);
}

static void harvest_once(struct machine *machine)
{
	uint64_t words[PAGES / 64];
	int ret = mmu_get_dirty_log(machine->mmu, 0, words);

	assert(!ret);
	for (uint64_t page = 0; page < PAGES; page++) {
		if (words[page / 64] >> page % 64 & 1)
			copy_page(machine, page);
	}
}

static void *harvest(void *opaque)
{
	struct machine *machine = opaque;

	while (goes_on(machine)) {
		harvest_once(machine);
		(void)sched_yield();
	}
	return NULL;
}

static void compare(struct machine *machine)
{
	uint64_t now[WORDS];

	for (uint64_t page = 0; page < PAGES; page++) {
		assert_int_equal(
			tide_backing_read(machine->backing,
					  machine->host + page * TIDE_PAGE_SIZE,
					  now, sizeof(now)),
			0);
		assert_memory_equal(now, machine->copy[page], sizeof(now));
		if (page < DATA_PAGES)
			assert_memory_equal(now, machine->expected[page],
					    sizeof(now));
	}
}

static void report(struct machine *machine, const struct cpu *cpus)
{
	struct tide_backing_stats backing;
	struct tide_mmu_stats mmu;

	tide_backing_stats(machine->backing, &backing);
	tide_mmu_stats(machine->mmu, &mmu);
	printf("# %ju out, %ju in, %ju merged, %ju broken; faults: %ju slow, "
	       "%ju again, %ju fast; %ju exits for the disk\n",
	       (uintmax_t)backing.swap_outs, (uintmax_t)backing.swap_ins,
	       (uintmax_t)backing.merges, (uintmax_t)backing.breaks,
	       (uintmax_t)mmu.faults_slow, (uintmax_t)mmu.faults_retried,
	       (uintmax_t)mmu.faults_fast,
	       (uintmax_t)(cpus[0].errors + cpus[1].errors));
	assert_true(backing.swap_outs > 0 && backing.swap_ins > 0);
}

static void storm(enum tide_paging_mode mode, bool bad_disk)
{
	static void *(*const others[])(void *) = { harvest, swap_out, merge,
						   spoil_disk };
	static struct machine machine;
	const size_t nothers = bad_disk ? 4 : 3;
	struct cpu cpus[VCPUS];
	pthread_t threads[4];
	uint64_t seed = test_seed();

	machine_init(&machine, mode, 0);
	for (uint32_t i = 0; i < VCPUS; i++)
		cpu_init(&cpus[i], &machine, i, seed + i);
	for (size_t i = 0; i < nothers; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, others[i], &machine),
			0);
	for (uint32_t i = 0; i < VCPUS; i++)
		assert_int_equal(pthread_create(&cpus[i].thread, NULL, cpu_run,
						&cpus[i]),
				 0);
	for (uint32_t i = 0; i < VCPUS; i++)
		pthread_join(cpus[i].thread, NULL);
	/* Relaxed: as in goes_on. */
	atomic_store_explicit(&machine.stop, true, memory_order_relaxed);
	/* The disk is fine again before the others wait for it. */
	for (size_t i = nothers; i-- > 0;)
		pthread_join(threads[i], NULL);
	harvest_once(&machine);
	compare(&machine);
	report(&machine, cpus);
	for (uint32_t i = 0; i < VCPUS; i++)
		cpu_fini(&cpus[i]);
	machine_fini(&machine);
}

static void test_direct(void **state)
{
	(void)state;
	storm(TIDE_PAGING_NONE, false);
}

static void test_shadow(void **state)
{
	(void)state;
	storm(TIDE_PAGING_X86_64, false);
}

static void test_bad_disk_storm(void **state)
{
	(void)state;
	storm(TIDE_PAGING_NONE, true);
	storm(TIDE_PAGING_X86_64, true);
}

/* One access while the disk is bad: it is not made, and the vCPU is outside;
 * afterwards it is. */
static void try_bad_disk(struct cpu *cpu, _Atomic int *calls, int kind,
			 int error, uint32_t page)
{
	uint64_t gva = page * TIDE_PAGE_SIZE, value;
	const struct tide_exit *why;

	disk_set(calls, kind);
	cpu_enter(cpu);
	assert_int_equal(tide_vcpu_load(cpu->vcpu, gva, 8, &value),
			 TIDE_EXIT_ERROR);
	why = tide_vcpu_last_exit(cpu->vcpu);
	assert_int_equal(why->reason, TIDE_EXIT_ERROR);
	assert_int_equal(why->error, error);
	assert_int_equal(why->gva, gva);
	assert_int_equal(why->gpa, gva);
	cpu->inside = false;
	assert_int_equal(tide_vcpu_exit(cpu->vcpu), -EPERM);
	/* Again, and for a write. */
	cpu_enter(cpu);
	assert_int_equal(tide_vcpu_store(cpu->vcpu, gva, 8, 1),
			 TIDE_EXIT_ERROR);
	cpu->inside = false;
	disk_set(calls, DISK_FINE);
	assert_true(load(cpu, page, 0) == cpu->machine->expected[page][0]);
	/* No page is clean, or its frame could be had without the disk. */
	store(cpu, page, 1, 1);
}

static void test_bad_disk(void **state)
{
	static struct machine machine;
	struct cpu cpu;

	(void)state;
	machine_init(&machine, TIDE_PAGING_NONE, 0);
	cpu_init(&cpu, &machine, 0, 1);
	for (uint32_t page = 0; page < DATA_PAGES; page++)
		store(&cpu, page, 0, page + 1000);
	cpu_leave(&cpu);
	try_bad_disk(&cpu, &disk_writes, DISK_ENOSPC, -ENOSPC, 0);
	try_bad_disk(&cpu, &disk_writes, DISK_EIO, -EIO, 1);
	try_bad_disk(&cpu, &disk_writes, DISK_SHORT, -EIO, 2);
	cpu_leave(&cpu);
	assert_true(tide_backing_swap_out(machine.backing, 0, PAGES) > 0);
	try_bad_disk(&cpu, &disk_reads, DISK_EIO, -EIO, 10);
	try_bad_disk(&cpu, &disk_reads, DISK_SHORT, -EIO, 11);
	cpu_leave(&cpu);
	harvest_once(&machine);
	compare(&machine);
	cpu_fini(&cpu);
	machine_fini(&machine);
}

/* Mapped read-only while it shares its frame, and its own after a write. */
static void test_merged_guest(void **state)
{
	static struct machine machine;
	struct tide_backing_stats stats;
	struct cpu cpu;

	(void)state;
	machine_init(&machine, TIDE_PAGING_NONE, 0);
	cpu_init(&cpu, &machine, 0, 1);
	for (uint32_t page = 0; page < 10; page++)
		store(&cpu, page, 5, 7);
	cpu_leave(&cpu);
	harvest_once(&machine);
	assert_int_equal(tide_backing_merge(machine.backing, 0, 10), 9);
	for (uint32_t page = 0; page < 10; page++)
		assert_true(load(&cpu, page, 5) == 7);
	store(&cpu, 3, 5, 8);
	store(&cpu, 4, 6, 9);
	for (uint32_t page = 0; page < 10; page++) {
		assert_true(load(&cpu, page, 5) == machine.expected[page][5]);
		assert_true(load(&cpu, page, 6) == machine.expected[page][6]);
	}
	cpu_leave(&cpu);
	tide_backing_stats(machine.backing, &stats);
	assert_int_equal(stats.breaks, 2);
	assert_int_equal(stats.merged, 8);
	/* What was written is all that GET reports. */
	harvest_once(&machine);
	compare(&machine);
	cpu_fini(&cpu);
	machine_fini(&machine);
}

struct stuck {
	struct cpu cpu;
	pthread_barrier_t written, tried;
};

/* A translation that is used without a safe point in between. */
static void *run_stuck(void *opaque)
{
	struct stuck *stuck = opaque;

	store(&stuck->cpu, 0, 0, 1);
	(void)pthread_barrier_wait(&stuck->written);
	(void)pthread_barrier_wait(&stuck->tried);
	store(&stuck->cpu, 0, 0, 2);
	cpu_leave(&stuck->cpu);
	return NULL;
}

static void test_stuck(void **state)
{
	static struct machine machine;
	static struct stuck stuck;

	(void)state;
	machine_init(&machine, TIDE_PAGING_NONE, 1000000);
	cpu_init(&stuck.cpu, &machine, 0, 1);
	assert_int_equal(pthread_barrier_init(&stuck.written, NULL, 2), 0);
	assert_int_equal(pthread_barrier_init(&stuck.tried, NULL, 2), 0);
	assert_int_equal(
		pthread_create(&stuck.cpu.thread, NULL, run_stuck, &stuck), 0);
	(void)pthread_barrier_wait(&stuck.written);
	/* The first attempt drops the mapping, so that the second finds none;
	 * the translation is there all the same. */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(tide_backing_swap_out(machine.backing, 0, 1),
				 -ETIMEDOUT);
		assert_int_equal(tide_backing_discard(machine.backing, 0, 1),
				 -ETIMEDOUT);
	}
	(void)pthread_barrier_wait(&stuck.tried);
	pthread_join(stuck.cpu.thread, NULL);
	assert_int_equal(tide_backing_swap_out(machine.backing, 0, 1), 1);
	harvest_once(&machine);
	compare(&machine);
	(void)pthread_barrier_destroy(&stuck.written);
	(void)pthread_barrier_destroy(&stuck.tried);
	cpu_fini(&stuck.cpu);
	machine_fini(&machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "pages that a guest wrote and the host merged come apart",
		  test_merged_guest, NULL, NULL, NULL },
		{ "a bad disk stops the vCPU, which goes on afterwards",
		  test_bad_disk, NULL, NULL, NULL },
		{ "a page that a stuck vCPU can reach stays in its frame",
		  test_stuck, NULL, NULL, NULL },
		{ "a guest of four times its frames loses nothing", test_direct,
		  NULL, NULL, NULL },
		{ "nor one whose page tables are swapped out", test_shadow,
		  NULL, NULL, NULL },
		{ "nor on a disk that fails now and then", test_bad_disk_storm,
		  NULL, NULL, NULL },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
