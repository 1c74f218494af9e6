/* SPDX-License-Identifier: MIT */
/*
 * concurrent_test.c - writers, harvesters and slot changes at the same time
 *
 * Two devices write and mark, a guest writes (on the software MMU: two vCPUs,
 * on a thread each), two clients harvest in threads
 * of their own (and abort now and then), and one thread removes, adds and
 * moves a slot.  Then all stop, each client harvests once more, and its copy
 * of every page must be what is in memory (C4).  The threads only mean
 * something under ThreadSanitizer and on several CPUs.
 */
#undef NDEBUG
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mman.h>

#include <tidemark/client.h>
#include <tidemark/mark.h>
#include <tidemark/mmu.h>
#include <tidemark/space.h>
#include <tidemark/vcpu.h>

#include "sim_kernel.h"
#include "small_vm.h"
#include "test_support.h"

#define FIRST_GFN 0x203u
#define PAGES 429u	/* 300 + 65 stay, 64 come and go */
#define CHURN 365u	/* first page of those */
#define LAST_WORD 4088u /* where devices write; the guest writes at 0 */
#define CLIENTS 2
#define DEVICES 2
#define VCPUS 2

struct kind {
	const char *name;
	enum tide_tracker tracker;
	bool real;
	bool soft;
	int get_clears; /* soft */
	struct sim_config sim;
};

struct copy {
	uint64_t guest, device;
};

struct storm;

struct soft_guest {
	struct storm *storm;
	struct tide_vcpu *vcpu;
	uint64_t random;
};

struct harvester {
	struct storm *storm;
	struct tide_client *client;
	struct copy copy[PAGES]; /* committed */
	struct copy held[PAGES];
	unsigned char in_hand[PAGES];
	uint64_t yielded;
};

struct storm {
	const struct kind *kind;
	struct tide_space *space;
	struct sim_vm *sim;
	int vcpu_fd[VCPUS]; /* of the simulated ones */
	struct small_vm *real;
	struct tide_mmu *mmu;
	struct soft_guest soft[VCPUS];
	uint8_t *memory;
	uint64_t seed;
	uint64_t rounds; /* of a harvester, at least */
	int busy;	 /* threads that have not done them */
	struct harvester harvester[CLIENTS];
};

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

static uint64_t *word_at(const struct storm *storm, uint64_t page, size_t at)
{
	return (uint64_t *)(void *)(storm->memory + page * TIDE_PAGE_SIZE + at);
}

static void storm_sync(void *opaque)
{
	struct storm *storm = opaque;

	if (storm->sim)
		sim_kick(storm->sim);
	else
		small_vm_sync(storm->real);
}

/* Round @round of a thread begins, that has @enough to do at least.  False:
 * every thread has done enough. */
static bool go_on(struct storm *storm, uint64_t round, uint64_t enough)
{
	if (round == enough)
		__atomic_fetch_sub(&storm->busy, 1, __ATOMIC_RELEASE);
	return __atomic_load_n(&storm->busy, __ATOMIC_ACQUIRE) > 0;
}

/* ---- writers ---- */

static int mark_one(struct storm *storm, uint64_t page, uint64_t how)
{
	uint64_t gfn = FIRST_GFN + page;

	switch (how % 3) {
	case 0:
		return tide_mark(storm->space, gfn);
	case 1:
		return tide_mark_bytes(storm->space,
				       (gfn << TIDE_PAGE_SHIFT) + LAST_WORD, 8);
	default:
		return tide_mark_host(storm->space,
				      word_at(storm, page, LAST_WORD), 8);
	}
}

static void *device(void *opaque)
{
	struct storm *storm = opaque;
	uint64_t random = storm->seed;

	random ^= (uint64_t)(uintptr_t)&random; /* each thread its own */
	for (uint64_t i = 1; go_on(storm, i, storm->rounds * 32); i++) {
		uint64_t page = next_random(&random) % PAGES;
		int err;

		/* Relaxed: memory, as a device sees it. */
		__atomic_store_n(word_at(storm, page, LAST_WORD), random ^ i,
				 __ATOMIC_RELAXED);
		err = mark_one(storm, page, random >> 7);
		assert_true(!err || (err == -ENOENT && page >= CHURN));
		if (i % 64 == 0)
			sched_yield(); /* or few CPUs see long turns */
	}
	return NULL;
}

static void guest_write(struct storm *storm, const uint64_t *gfns, size_t count,
			uint64_t value)
{
	int err;

	if (storm->real) {
		err = small_vm_write(storm->real, 0, gfns, count, value);
		assert_true(!err || err == -EFAULT);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		while ((err = sim_write(storm->sim, i & 1, gfns[i], value)) ==
		       -EAGAIN)
			assert_true(tide_kvm_ring_full(storm->space,
						       storm->vcpu_fd[i & 1]) >=
				    0);
		assert_true(!err || err == -EFAULT);
	}
}

static void *guest(void *opaque)
{
	struct storm *storm = opaque;
	uint64_t random = storm->seed + 99;
	uint64_t gfns[32];

	for (uint64_t i = 1; go_on(storm, i, storm->rounds); i++) {
		for (int k = 0; k < 32; k++)
			gfns[k] = FIRST_GFN + next_random(&random) % PAGES;
		guest_write(storm, gfns, 32, i);
	}
	return NULL;
}

/* A vCPU's exit.  Return: it is in guest mode again. */
static int go_back(const struct soft_guest *guest, int why)
{
	if (why == TIDE_EXIT_RING_FULL)
		assert_true(tide_soft_ring_full(guest->storm->space) >= 0);
	else
		assert_int_equal(why, TIDE_EXIT_MMIO); /* no slot just now */
	return tide_vcpu_enter(guest->vcpu);
}

static void *soft_guest(void *opaque)
{
	struct soft_guest *guest = opaque;
	struct storm *storm = guest->storm;

	for (uint64_t i = 1; go_on(storm, i, storm->rounds * 8); i++) {
		int why = tide_vcpu_enter(guest->vcpu);

		for (int k = 0; k < 64; k++) {
			uint64_t gfn =
				FIRST_GFN + next_random(&guest->random) % PAGES;

			while (why)
				why = go_back(guest, why);
			why = tide_vcpu_store(guest->vcpu,
					      gfn << TIDE_PAGE_SHIFT, 8,
					      guest->random);
			if (!why && k % 8 == 0)
				why = tide_vcpu_safe_point(guest->vcpu);
		}
		(void)tide_vcpu_exit(guest->vcpu); /* unless it is out */
		sched_yield();
	}
	return NULL;
}

/* ---- harvesters ---- */

static void hold(struct harvester *h, const struct tide_extent *e)
{
	const struct storm *storm = h->storm;
	uint64_t first;

	if (e->flags & TIDE_EXTENT_GONE)
		return;
	first = (uint64_t)((uint8_t *)e->host - storm->memory) / TIDE_PAGE_SIZE;
	assert_true(first + e->npages <= PAGES);
	for (uint64_t i = first; i < first + e->npages; i++) {
		h->held[i].guest =
			__atomic_load_n(word_at(storm, i, 0), __ATOMIC_RELAXED);
		h->held[i].device = __atomic_load_n(
			word_at(storm, i, LAST_WORD), __ATOMIC_RELAXED);
		h->in_hand[i] = 1;
	}
	h->yielded += e->npages;
}

static void harvest(struct harvester *h, bool commit)
{
	struct tide_harvest *harvest;
	struct tide_extent e;
	int more;

	memset(h->in_hand, 0, sizeof(h->in_hand));
	assert_int_equal(tide_harvest_begin(h->client, &harvest), 0);
	while ((more = tide_harvest_next(harvest, &e)) > 0)
		hold(h, &e);
	assert_int_equal(more, 0);
	if (!commit) {
		tide_harvest_abort(harvest);
		return;
	}
	assert_int_equal(tide_harvest_commit(harvest), 0);
	for (uint64_t i = 0; i < PAGES; i++)
		if (h->in_hand[i])
			h->copy[i] = h->held[i];
}

static void *harvester(void *opaque)
{
	struct harvester *h = opaque;

	for (uint64_t i = 1; go_on(h->storm, i, h->storm->rounds); i++) {
		harvest(h, i % 5 != 4);
		sched_yield(); /* let somebody write */
	}
	return NULL;
}

/* ---- slots ---- */

static int add_slot(struct storm *storm, uint32_t id, uint64_t first,
		    uint64_t npages)
{
	struct tide_slot_config config = {
		.id = id,
		.first_gfn = FIRST_GFN + first,
		.npages = npages,
		.host = storm->memory + first * TIDE_PAGE_SIZE,
	};

	return tide_slot_add(storm->space, &config);
}

static void *changer(void *opaque)
{
	struct storm *storm = opaque;

	for (uint64_t i = 1; go_on(storm, i, storm->rounds / 10); i++) {
		assert_int_equal(
			tide_slot_move(storm->space, 2, FIRST_GFN + 2000), 0);
		assert_int_equal(
			tide_slot_move(storm->space, 2, FIRST_GFN + CHURN), 0);
		assert_true(tide_slot_remove(storm->space, 2) >= 0);
		assert_int_equal(add_slot(storm, 2, CHURN, PAGES - CHURN), 0);
	}
	return NULL;
}

/* ---- the storm ---- */

static void attach(struct storm *storm)
{
	struct tide_kvm_config config = {
		.size = sizeof(config),
		.vm_fd = sim_vm_fd(storm->sim),
		.chunk_pages = 64,
		.ring_entries = 1024,
		.sync_vcpus = storm_sync,
		.opaque = storm,
	};

	assert_int_equal(
		tide_space_attach(storm->space, storm->kind->tracker, &config),
		0);
	for (int v = 0; v < 2; v++) {
		storm->vcpu_fd[v] = sim_vcpu_create(storm->sim);
		assert_int_equal(
			tide_kvm_vcpu_add(storm->space, storm->vcpu_fd[v]), 0);
	}
}

static void attach_soft(struct storm *storm)
{
	struct tide_mmu_config mmu_config = { .size = sizeof(mmu_config) };
	struct tide_soft_config config = { .size = sizeof(config),
					   .get_clears =
						   storm->kind->get_clears,
					   .chunk_pages = 64,
					   .ring_entries = 256 };

	assert_int_equal(tide_mmu_create(&mmu_config, &storm->mmu), 0);
	config.mmu = storm->mmu;
	assert_int_equal(
		tide_space_attach(storm->space, storm->kind->tracker, &config),
		0);
	for (uint64_t v = 0; v < VCPUS; v++) {
		storm->soft[v].storm = storm;
		storm->soft[v].random = storm->seed + v;
		assert_int_equal(
			tide_vcpu_create(storm->mmu, &storm->soft[v].vcpu), 0);
	}
}

static void kernel(struct storm *storm)
{
	const struct kind *kind = storm->kind;

	if (kind->tracker == TIDE_TRACKER_NONE)
		return;
	if (kind->soft) {
		attach_soft(storm);
		return;
	}
	if (!kind->real) {
		assert_int_equal(sim_vm_create(&kind->sim, &storm->sim), 0);
		attach(storm);
		return;
	}
	assert_int_equal(small_vm_create(&storm->real), 0);
	assert_int_equal(small_vm_attach(storm->real, storm->space,
					 kind->tracker, 64, 1024),
			 0);
}

static void set_up(struct storm *storm, const struct kind *kind, uint64_t seed)
{
	memset(storm, 0, sizeof(*storm));
	storm->kind = kind;
	storm->seed = seed;
	storm->rounds = 40u * test_long();
	storm->memory =
		mmap(NULL, PAGES * TIDE_PAGE_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(storm->memory, MAP_FAILED);
	assert_int_equal(tide_space_create(&storm->space), 0);
	kernel(storm);
	assert_int_equal(add_slot(storm, 0, 0, 300), 0);
	assert_int_equal(add_slot(storm, 1, 300, 65), 0);
	assert_int_equal(add_slot(storm, 2, CHURN, PAGES - CHURN), 0);
	for (int i = 0; i < CLIENTS; i++) {
		storm->harvester[i].storm = storm;
		assert_int_equal(tide_client_open(storm->space, "storm",
						  i ? TIDE_START_ALL_DIRTY
						    : TIDE_START_CLEAN,
						  &storm->harvester[i].client),
				 0);
	}
}

static void run(struct storm *storm)
{
	pthread_t thread[8];
	int n = 0;

	int guests = storm->kind->soft				 ? VCPUS
		     : storm->kind->tracker != TIDE_TRACKER_NONE ? 1
								 : 0;

	storm->busy = DEVICES + CLIENTS + 1 + guests;
	for (int i = 0; i < DEVICES; i++)
		assert_int_equal(
			pthread_create(&thread[n++], NULL, device, storm), 0);
	for (int i = 0; i < guests; i++)
		assert_int_equal(
			pthread_create(&thread[n++], NULL,
				       storm->kind->soft ? soft_guest : guest,
				       storm->kind->soft
					       ? (void *)&storm->soft[i]
					       : storm),
			0);
	for (int i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_create(&thread[n++], NULL, harvester,
						&storm->harvester[i]),
				 0);
	assert_int_equal(pthread_create(&thread[n++], NULL, changer, storm), 0);
	while (n)
		assert_int_equal(pthread_join(thread[--n], NULL), 0);
}

static void check(const struct harvester *h)
{
	for (uint64_t i = 0; i < PAGES; i++) {
		if (h->copy[i].guest != *word_at(h->storm, i, 0) ||
		    h->copy[i].device != *word_at(h->storm, i, LAST_WORD))
			fail_msg("page %ju changed and was not yielded",
				 (uintmax_t)i);
	}
}

static void test_storm(void **state)
{
	static struct storm storm;
	const struct kind *kind = *state;

	if (kind->real) {
		struct small_vm *vm;
		int err = small_vm_create(&vm);

		if (err)
			SKIP(kind->name, "/dev/kvm: %s", strerror(-err));
		small_vm_destroy(vm);
	}
	set_up(&storm, kind, test_seed());
	run(&storm);
	for (int i = 0; i < CLIENTS; i++) {
		harvest(&storm.harvester[i], true);
		check(&storm.harvester[i]);
		printf("# %s: client %d got %ju pages\n", kind->name, i,
		       (uintmax_t)storm.harvester[i].yielded);
		tide_client_close(storm.harvester[i].client);
	}
	tide_space_destroy(storm.space);
	for (int v = 0; v < VCPUS; v++)
		tide_vcpu_destroy(storm.soft[v].vcpu);
	tide_mmu_destroy(storm.mmu);
	sim_vm_destroy(storm.sim);
	small_vm_destroy(storm.real);
	munmap(storm.memory, PAGES * TIDE_PAGE_SIZE);
}

static const struct kind kinds[] = {
	{ .name = "none" },
	{ .name = "sim-get", .tracker = TIDE_TRACKER_KVM_GET },
	{ .name = "sim-clear", .tracker = TIDE_TRACKER_KVM_CLEAR },
	{ .name = "sim-clear-pml",
	  .tracker = TIDE_TRACKER_KVM_CLEAR,
	  .sim = { .pml_entries = 30, .no_initially_set = true } },
	{ .name = "sim-ring", .tracker = TIDE_TRACKER_KVM_RING },
	{ .name = "sim-ring-pml",
	  .tracker = TIDE_TRACKER_KVM_RING,
	  .sim = { .pml_entries = 30, .ring_reserved = 1000 } },
	{ .name = "kvm-get", .tracker = TIDE_TRACKER_KVM_GET, .real = true },
	{ .name = "kvm-clear",
	  .tracker = TIDE_TRACKER_KVM_CLEAR,
	  .real = true },
	{ .name = "kvm-ring", .tracker = TIDE_TRACKER_KVM_RING, .real = true },
	{ .name = "soft-clear",
	  .tracker = TIDE_TRACKER_SOFT_BITMAP,
	  .soft = true },
	{ .name = "soft-get",
	  .tracker = TIDE_TRACKER_SOFT_BITMAP,
	  .soft = true,
	  .get_clears = 1 },
	{ .name = "soft-ring",
	  .tracker = TIDE_TRACKER_SOFT_RING,
	  .soft = true },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

int main(void)
{
	struct CMUnitTest tests[KINDS];
	char names[KINDS][64];

	memset(tests, 0, sizeof(tests));
	for (size_t i = 0; i < KINDS; i++) {
		snprintf(names[i], sizeof(names[i]),
			 "%s: nothing is lost in a storm", kinds[i].name);
		tests[i].name = names[i];
		tests[i].test_func = test_storm;
		tests[i].initial_state = (void *)(uintptr_t)&kinds[i];
	}
	return cmocka_run_group_tests_name("concurrent", tests, NULL, NULL);
}
