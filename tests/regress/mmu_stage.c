/* SPDX-License-Identifier: MIT */
/* mmu_stage.c - memory, tables and actors for tests of the software MMU */
#undef NDEBUG
#include "mmu_stage.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/rcu.h"

/* Actors */

#define PATIENCE_S 60

static pthread_mutex_t stage = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static _Thread_local struct actor *self;

static void wait_moved(const char *what)
{
	struct timespec until;

	assert(!clock_gettime(CLOCK_REALTIME, &until));
	until.tv_sec += PATIENCE_S;
	if (pthread_cond_timedwait(&moved, &stage, &until)) {
		fprintf(stderr, "# nobody moves: %s\n", what);
		abort();
	}
}

void actor_stop(const char *where)
{
	struct actor *actor = self;

	if (!actor)
		return;
	assert(!pthread_mutex_lock(&stage));
	if (actor->stop && strcmp(actor->stop, where) == 0) {
		actor->held = true;
		(void)pthread_cond_broadcast(&moved);
		while (actor->held)
			wait_moved(where);
	}
	assert(!pthread_mutex_unlock(&stage));
}

static void *act(void *opaque)
{
	struct actor *actor = opaque;

	self = actor;
	actor->run(actor->opaque);
	assert(!pthread_mutex_lock(&stage));
	actor->ended = true;
	(void)pthread_cond_broadcast(&moved);
	assert(!pthread_mutex_unlock(&stage));
	return NULL;
}

void actor_begin(struct actor *actor, const char *stop,
		 void (*run)(void *opaque), void *opaque)
{
	*actor = (struct actor){ .run = run, .opaque = opaque, .stop = stop };
	/* Relaxed: before any thread that looks. */
	if (!atomic_load_explicit(&tide_pause_hook, memory_order_relaxed))
		/* Relaxed: as above. */
		atomic_store_explicit(&tide_pause_hook, actor_stop,
				      memory_order_relaxed);
	assert_int_equal(pthread_create(&actor->thread, NULL, act, actor), 0);
}

bool actor_wait(struct actor *actor)
{
	bool held;

	assert(!pthread_mutex_lock(&stage));
	while (!actor->held && !actor->ended)
		wait_moved(actor->stop ? actor->stop : "the end");
	held = actor->held;
	assert(!pthread_mutex_unlock(&stage));
	return held;
}

static void let_go(struct actor *actor, const char *stop)
{
	assert(!pthread_mutex_lock(&stage));
	actor->held = false;
	actor->stop = stop;
	(void)pthread_cond_broadcast(&moved);
	assert(!pthread_mutex_unlock(&stage));
}

void actor_start(struct actor *actor, const char *stop,
		 void (*run)(void *opaque), void *opaque)
{
	actor_begin(actor, stop, run, opaque);
	if (!actor_wait(actor)) {
		fprintf(stderr, "# ended before %s\n", stop);
		abort();
	}
}

bool actor_on(struct actor *actor, const char *stop)
{
	let_go(actor, stop);
	return actor_wait(actor);
}

void actor_go(struct actor *actor)
{
	let_go(actor, NULL);
}

void actor_end(struct actor *actor)
{
	let_go(actor, NULL);
	(void)actor_wait(actor);
	assert_int_equal(pthread_join(actor->thread, NULL), 0);
}

bool actor_has_ended(struct actor *actor)
{
	bool ended;

	assert(!pthread_mutex_lock(&stage));
	ended = actor->ended;
	assert(!pthread_mutex_unlock(&stage));
	return ended;
}

bool flush_awaits(struct actor *asker, struct tide_vcpu *vcpu)
{
	bool asked = false;

	while (!asked && !actor_has_ended(asker)) {
		(void)usleep(100);
		/* Relaxed: the test orders by the actors. */
		asked = atomic_load_explicit(&vcpu->state,
					     memory_order_relaxed) &
			VCPU_FLUSH;
	}
	/* It must not go on now. */
	for (int i = 0; asked && i < 1000; i++)
		(void)sched_yield();
	return asked && !actor_has_ended(asker);
}

/* Memory and slots */

static uint8_t *own_memory(struct mrig *rig, int i)
{
	const struct mrig_area *area = &rig->config.areas[i];
	size_t nbytes = area->npages * TIDE_PAGE_SIZE + 2 * MRIG_LARGE;
	uint8_t *memory =
		mmap(NULL, nbytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	rig->mapping[i].at = memory;
	rig->mapping[i].nbytes = nbytes;
	memory += MRIG_LARGE - (uintptr_t)memory % MRIG_LARGE;
	return memory + area->skew * TIDE_PAGE_SIZE;
}

static uint8_t *memory_of(struct mrig *rig, int i)
{
	const struct mrig_area *area = &rig->config.areas[i];
	uint8_t *memory = NULL;

	switch (area->memory) {
	case MRIG_OWN:
		return own_memory(rig, i);
	case MRIG_BACKED:
		memory = tide_backing_host(rig->backing);
		break;
	case MRIG_ALIAS:
		memory = rig->host[i - 1];
		break;
	}
	return memory + area->from * TIDE_PAGE_SIZE;
}

int mrig_region(struct mrig *rig, int area, uint32_t flags, uint64_t gfn,
		uint64_t npages)
{
	struct mmu_region region = {
		.slot = rig->config.areas[area].id,
		.flags = flags,
		.gpa = MRIG_GPA(gfn),
		.memory_bytes = npages * TIDE_PAGE_SIZE,
		.host = (uintptr_t)rig->host[area],
	};

	return mmu_set_region(rig->mmu, &region);
}

int mrig_flags(struct mrig *rig, int area, uint32_t flags)
{
	const struct mrig_area *own = &rig->config.areas[area];

	return mrig_region(rig, area, flags, own->gfn, own->npages);
}

static void create_backing(struct mrig *rig)
{
	struct tide_backing_config config = {
		.npages = rig->config.backing_pages,
		.nframes = rig->config.frames,
	};

	rig->swap_fd = memfd_create("tide-test-swap", MFD_CLOEXEC);
	assert_true(rig->swap_fd >= 0);
	config.swap_fd = rig->swap_fd;
	assert_int_equal(tide_backing_create(&config, &rig->backing), 0);
}

static void create_mmu(struct mrig *rig)
{
	const struct mrig_config *config = &rig->config;
	struct tide_mmu_config mmu = {
		.flags = config->mmu_flags,
		.flush_timeout_ns =
			(config->flush_timeout_ms ? config->flush_timeout_ms
						  : 30000) *
			1000000ull,
		.backing = rig->backing,
		.table_pages_max = config->table_pages_max,
	};

	assert_int_equal(tide_mmu_create(&mmu, &rig->mmu), 0);
	if (config->ring_bytes) {
		assert_int_equal(mmu_enable_ring(rig->mmu, config->ring_bytes),
				 0);
		assert_int_equal(mmu_enable_ring_with_bitmap(rig->mmu), 0);
	}
	if (config->manual)
		assert_int_equal(
			mmu_enable_manual_protect(rig->mmu, config->manual), 0);
}

void mrig_create(struct mrig *rig, const struct mrig_config *config)
{
	memset(rig, 0, sizeof(*rig));
	rig->config = *config;
	if (config->backing_pages)
		create_backing(rig);
	create_mmu(rig);
	for (int i = 0; i < MRIG_AREAS && config->areas[i].npages; i++) {
		rig->host[i] = memory_of(rig, i);
		if (!(config->areas[i].flags & MRIG_LATER))
			assert_int_equal(
				mrig_flags(rig, i, config->areas[i].flags), 0);
	}
	rig->vcpus = config->vcpus ? config->vcpus : 2;
	for (uint32_t i = 0; i < rig->vcpus; i++)
		assert_int_equal(tide_vcpu_create(rig->mmu, &rig->vcpu[i]), 0);
}

void mrig_destroy(struct mrig *rig)
{
	/* Relaxed: every actor has ended. */
	atomic_store_explicit(&tide_pause_hook, NULL, memory_order_relaxed);
	mmu_check(rig->mmu);
	for (uint32_t i = 0; i < rig->vcpus; i++)
		tide_vcpu_destroy(rig->vcpu[i]);
	tide_mmu_destroy(rig->mmu);
	tide_backing_destroy(rig->backing);
	if (rig->backing)
		(void)close(rig->swap_fd);
	for (int i = 0; i < MRIG_AREAS; i++) {
		if (rig->mapping[i].at)
			(void)munmap(rig->mapping[i].at,
				     rig->mapping[i].nbytes);
	}
}

/* Accesses */

int mrig_try_store(struct tide_vcpu *vcpu, uint64_t gva, uint64_t value)
{
	int why = tide_vcpu_enter(vcpu);

	if (!why)
		why = tide_vcpu_store(vcpu, gva, 8, value);
	if (!why)
		(void)tide_vcpu_exit(vcpu);
	return why;
}

int mrig_try_load(struct tide_vcpu *vcpu, uint64_t gva, uint64_t *ret_value)
{
	int why = tide_vcpu_enter(vcpu);

	if (!why)
		why = tide_vcpu_load(vcpu, gva, 8, ret_value);
	if (!why)
		(void)tide_vcpu_exit(vcpu);
	return why;
}

void mrig_store(struct tide_vcpu *vcpu, uint64_t gva, uint64_t value)
{
	int why = mrig_try_store(vcpu, gva, value);

	if (why)
		fprintf(stderr, "# store to %#jx: exit %d\n", (uintmax_t)gva,
			why);
	assert(!why);
}

uint64_t mrig_load(struct tide_vcpu *vcpu, uint64_t gva)
{
	uint64_t value = 0;
	int why = mrig_try_load(vcpu, gva, &value);

	if (why)
		fprintf(stderr, "# load from %#jx: exit %d\n", (uintmax_t)gva,
			why);
	assert(!why);
	return value;
}

uint64_t mrig_peek(struct mrig *rig, uint64_t gpa)
{
	uint64_t value;

	assert_int_equal(tide_mmu_read(rig->mmu, gpa, &value, 8), 0);
	return value;
}

void mrig_poke(struct mrig *rig, uint64_t gpa, uint64_t value)
{
	assert_int_equal(tide_mmu_write(rig->mmu, gpa, &value, 8), 0);
}

/* The log */

uint64_t mrig_get(struct mrig *rig, int area)
{
	uint64_t count = 0;

	assert_true(rig->config.areas[area].npages <= MRIG_WORDS * 64);
	memset(rig->words, 0, sizeof(rig->words));
	assert_int_equal(mmu_get_dirty_log(rig->mmu, rig->config.areas[area].id,
					   rig->words),
			 0);
	for (int i = 0; i < MRIG_WORDS; i++)
		count += (uint64_t)__builtin_popcountll(rig->words[i]);
	return count;
}

bool mrig_bit(const struct mrig *rig, uint64_t page)
{
	return rig->words[page / 64] >> (page % 64) & 1;
}

void mrig_expect(struct mrig *rig, int area, const uint64_t *pages)
{
	uint64_t count = mrig_get(rig, area), expected = 0;

	for (; pages[expected] != UINT64_MAX; expected++) {
		if (!mrig_bit(rig, pages[expected]))
			fprintf(stderr, "# page %ju is missing\n",
				(uintmax_t)pages[expected]);
		assert_true(mrig_bit(rig, pages[expected]));
	}
	assert_int_equal(count, expected);
}

int mrig_clear(struct mrig *rig, int area, uint64_t word, uint64_t mask)
{
	return mmu_clear_dirty_log(rig->mmu, rig->config.areas[area].id,
				   word * 64, 64, &mask);
}

bool mrig_walk(struct mrig *rig, int vcpu, uint64_t gva, struct spte_walk *ret)
{
	bool found;

	tide_rcu_lock();
	found = mmu_walk(mmu_vcpu_of(rig->vcpu[vcpu]), gva, ret);
	tide_rcu_unlock(&rig->mmu->rcu_tag);
	return found;
}

bool mrig_swap_out(struct mrig *rig, uint64_t page)
{
	return tide_backing_swap_out(rig->backing, page, 1) == 1;
}

struct tide_mmu_stats mrig_stats(struct mrig *rig)
{
	struct tide_mmu_stats stats;

	tide_mmu_stats(rig->mmu, &stats);
	return stats;
}

/* Guests' tables */

static uint32_t levels_of(enum tide_paging_mode mode)
{
	return mode == TIDE_PAGING_SV39 ? 3 : 4;
}

void tables_init(struct guest_tables *tables, struct mrig *rig,
		 enum tide_paging_mode mode, uint64_t gpa)
{
	*tables = (struct guest_tables){ rig, mode, gpa, gpa + TIDE_PAGE_SIZE };
}

uint64_t tables_leaf(enum tide_paging_mode mode, uint64_t gpa, uint32_t level,
		     uint32_t flags)
{
	bool writable = flags & PTE_WRITABLE, user = flags & PTE_USER;
	bool clean = flags & PTE_CLEAN;

	if (mode == TIDE_PAGING_SV39)
		return gpa >> 12 << 10 | 1 | 2 | (writable ? 4 : 0) | 8 |
		       (user ? 16 : 0) | (clean ? 0 : 64 | 128);
	return gpa | 1 | (writable ? 2 : 0) | (user ? 4 : 0) |
	       (clean ? 0 : 32 | 64) | (level > 1 ? 128 : 0);
}

static uint64_t table_entry(enum tide_paging_mode mode, uint64_t gpa)
{
	return mode == TIDE_PAGING_SV39 ? gpa >> 12 << 10 | 1
					: gpa | 1 | 2 | 4 | 32;
}

static uint64_t table_gpa(enum tide_paging_mode mode, uint64_t entry)
{
	return mode == TIDE_PAGING_SV39 ? entry >> 10 << 12
					: entry & 0xfffffffff000ull;
}

uint64_t tables_map(struct guest_tables *tables, uint64_t gva, uint64_t gpa,
		    uint32_t level, uint32_t flags)
{
	uint64_t table = tables->root, at;

	for (uint32_t i = levels_of(tables->mode); i > level; i--) {
		at = table + 8ull * guest_index(gva, i);
		table = table_gpa(tables->mode, mrig_peek(tables->rig, at));
		if (table)
			continue;
		table = tables->next;
		tables->next += TIDE_PAGE_SIZE;
		mrig_poke(tables->rig, at, table_entry(tables->mode, table));
	}
	at = table + 8ull * guest_index(gva, level);
	mrig_poke(tables->rig, at,
		  tables_leaf(tables->mode, gpa, level, flags));
	return at;
}

void tables_load(const struct guest_tables *tables, struct tide_vcpu *vcpu,
		 uint32_t flags)
{
	struct tide_paging paging = {
		.mode = tables->mode,
		.flags = flags,
		.root = tables->root,
	};

	assert(!tide_vcpu_set_paging(vcpu, &paging));
}

/* What actors do */

void run_store(void *opaque)
{
	struct access *access = opaque;

	access->result =
		mrig_try_store(access->vcpu, access->gva, access->value);
}

void run_load(void *opaque)
{
	struct access *access = opaque;

	access->result =
		mrig_try_load(access->vcpu, access->gva, &access->value);
}

void run_get(void *opaque)
{
	struct get *get = opaque;

	memset(get->words, 0, sizeof(get->words));
	get->result = mmu_get_dirty_log(get->rig->mmu,
					get->rig->config.areas[get->area].id,
					get->words);
}

void run_in_guest(void *opaque)
{
	struct access *access = opaque;

	access->result = tide_vcpu_enter(access->vcpu);
	if (!access->result)
		access->result = tide_vcpu_store(access->vcpu, access->gva, 8,
						 access->value);
	actor_stop("guest");
	if (!access->result)
		access->result = tide_vcpu_store(access->vcpu, access->gva, 8,
						 access->value + 1);
	actor_stop("guest.late");
	if (!access->result)
		(void)tide_vcpu_exit(access->vcpu);
}

int mrig_main(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return 0;
}
