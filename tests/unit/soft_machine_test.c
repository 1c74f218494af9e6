/* SPDX-License-Identifier: MIT */
/*
 * soft_machine_test.c - native guests on the software MMU
 *
 * Every workload by every paging under both trackers: it runs, stops exactly,
 * moves while it runs and goes on, and a page that is lost on the way is
 * found.  Then what must be refused.  Nothing here needs /dev/kvm, but for
 * the guests that go from one machine to the other.
 */
#undef NDEBUG /* a test without its asserts tests nothing */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <tidemark/mmu.h>
#include <unistd.h>

#include "base/atomic.h"
#include "test_support.h"
#include "vmm/soft_machine.h"
#include "vmm/vm.h"
#include "vmm/vmstate.h"
#include "vmm_rig.h"

/* Of soft_paging.c: where the guests have their tables. */
#define TABLE_PAGES 256u
#define WINDOW_PAGES 33u /* of these, the ones that belong to a vCPU */

#define SOME_WRITES 8000u /* two to every page of MEMORY */

struct way {
	enum tide_workload workload;
	enum tide_paging_mode paging;
	enum tide_tracker tracker;
};

static struct tide_vm_config config_of(const struct way *way, uint32_t vcpus)
{
	return (struct tide_vm_config){
		.size = sizeof(struct tide_vm_config),
		.workload = way->workload,
		.vcpus = vcpus,
		.memory_bytes = MEMORY,
		.slots = 3,
		.seed = random_below(1ull << 32),
		.device = 1,
		.tracker = way->tracker,
		/* The smallest, so that it is full all the time. */
		.ring_entries = 256,
		.paging = way->paging,
	};
}

static void workload_runs_and_checks(void **state)
{
	for (uint32_t vcpus = 1; vcpus <= GUEST_VCPUS_MAX; vcpus += 3) {
		struct tide_vm_config config = config_of(*state, vcpus);
		struct tide_vm *vm = ran(&config, SOME_WRITES);
		struct tide_client *client;

		/* Where a stop catches a vCPU is chance: try it often, and
		 * with logging on, where every page faults once. */
		assert_int_equal(tide_client_open(tide_vm_space(vm), "test",
						  TIDE_START_CLEAN, &client),
				 0);
		for (int i = 0; i < 10; i++) {
			go_on(vm, &config, random_below(1000));
			expect_right(vm);
		}
		expect_sign_of_life(vm);
		tide_client_close(client);
		tide_vm_destroy(vm);
	}
}

static uint64_t table_words(struct tide_vm *vm, uint64_t *ret_sum)
{
	const uint64_t *words = tide_vm_memory(vm, 0);
	uint64_t count = 0;

	*ret_sum = 0;
	for (size_t i = 0; i < TABLE_PAGES * TIDE_PAGE_SIZE / 8; i++)
		count += words[i] != 0;
	for (size_t i = 0; i < WINDOW_PAGES * TIDE_PAGE_SIZE / 8; i++)
		*ret_sum += words[i] * (2 * i + 1);
	return count;
}

/* Otherwise the claims about shadow modes would be about nothing. */
static void tables_are_built_and_change(void **state)
{
	const struct way *way = *state;
	struct tide_vm_config config = config_of(way, 2);
	struct tide_vm *vm = ran(&config, SOME_WRITES);
	uint64_t before, after;
	uint64_t words = table_words(vm, &before);

	go_on(vm, &config, 200);
	expect_right(vm);
	(void)table_words(vm, &after);
	if (way->paging == TIDE_PAGING_NONE) {
		assert_int_equal(words, 0);
	} else {
		/* The identity, and more than a screenful of the windows. */
		assert_true(words > MEMORY / (2 * MIB) + 200);
		assert_true(before != after);
	}
	tide_vm_destroy(vm);
}

static void running_guest_moves_and_goes_on(void **state)
{
	const struct way *way = *state;
	struct tide_vm_config config = config_of(way, 2);
	struct tide_migrate_send_config send;
	struct arriving arriving;
	struct tide_vm *vm = ran(&config, SOME_WRITES);
	uint64_t writes;

	tide_vm_send_config(vm, &send);
	assert_int_equal(tide_vm_run(vm), 0);
	assert_int_equal(transfer(vm, &send, way->tracker, &arriving), 0);
	assert_int_equal(arriving.result, 0);
	expect_right(vm);
	writes = tide_vm_writes(vm);
	tide_vm_destroy(vm);

	vm = arriving.vm;
	assert_int_equal(tide_vm_stop(vm), 0);
	expect_right(vm);
	assert_true(tide_vm_writes(vm) >= writes);
	go_on(vm, &config, SOME_WRITES);
	expect_right(vm);
	tide_vm_destroy(vm);
}

/* A source that does something else besides. */
struct meddler {
	struct tide_vm *vm;
	struct tide_migrate_send_config base;
	bool lose; /* a write, after the last harvest */

	/* Jobs for a script guest while it moves. */
	bool writes;
	pthread_t writer;
	atomic_bool enough;
	uint32_t jobs; /* the writer's, until it is joined */
};

static void *give_jobs(void *opaque)
{
	struct meddler *meddler = opaque;
	uint64_t gfns[50];

	/* Two at least, one a vCPU.  Relaxed: nothing is handed over by it. */
	while (meddler->jobs < 2 ||
	       !atomic_load_explicit(&meddler->enough, memory_order_relaxed)) {
		for (uint32_t i = 0; i < 50; i++)
			gfns[i] = GUEST_WORK_GFN +
				  random_below(WORK_END - GUEST_WORK_GFN);
		assert_int_equal(tide_vm_write(meddler->vm, meddler->jobs++ % 2,
					       gfns, 50,
					       random_below(1ull << 32)),
				 0);
	}
	return NULL;
}

static int meddler_stop(void *opaque)
{
	struct meddler *meddler = opaque;

	if (meddler->writes) {
		/* Relaxed: see give_jobs(). */
		atomic_store_explicit(&meddler->enough, true,
				      memory_order_relaxed);
		assert_int_equal(pthread_join(meddler->writer, NULL), 0);
	}
	return meddler->base.stop(meddler->base.opaque);
}

static int meddler_resume(void *opaque)
{
	struct meddler *meddler = opaque;

	return meddler->base.resume(meddler->base.opaque);
}

/* The last harvest is done: this is what a tracker that loses one does. */
static int meddler_save(void *opaque, struct tide_migrate *migrate)
{
	struct meddler *meddler = opaque;
	uint64_t *page = tide_vm_memory(meddler->vm, GUEST_WORK_GFN);

	page[0] += meddler->lose;
	return meddler->base.save(meddler->base.opaque, migrate);
}

static void meddle(struct meddler *meddler,
		   struct tide_migrate_send_config *ret_config)
{
	tide_vm_send_config(meddler->vm, &meddler->base);
	*ret_config = meddler->base;
	ret_config->stop = meddler_stop;
	ret_config->resume = meddler_resume;
	ret_config->save = meddler_save;
	ret_config->opaque = meddler;
}

static void lost_page_is_found(void **state)
{
	const struct way *way = *state;
	struct tide_vm_config config = config_of(way, 2);
	struct tide_vm *vm = ran(&config, SOME_WRITES);
	struct meddler meddler = { .vm = vm, .lose = true };
	struct tide_migrate_send_config send;
	struct arriving arriving;

	meddle(&meddler, &send);
	/* One write that nobody sees: what arrives is right ... */
	assert_int_equal(transfer(vm, &send, way->tracker, &arriving), 0);
	assert_int_equal(tide_vm_stop(arriving.vm), 0);
	expect_right(arriving.vm);
	/* ... so it is the source that is one ahead. */
	expect_wrong(vm, "a write that was lost");
	tide_vm_destroy(arriving.vm);
	tide_vm_destroy(vm);
}

/* The oracle does not look at the page tables; a script guest, which is idle
 * when it arrives, can be compared whole. */
static void every_byte_arrives(void **state)
{
	const struct way *way = *state;
	struct tide_vm_config config = config_of(way, 2);
	struct meddler meddler = { .writes = true };
	struct tide_migrate_send_config send;
	struct arriving arriving;

	config.device = 0;
	meddler.vm = ran(&config, SOME_WRITES);
	meddle(&meddler, &send);
	send.bandwidth_max = 64 * MIB; /* a quarter of a second */
	assert_int_equal(tide_vm_run(meddler.vm), 0);
	assert_int_equal(
		pthread_create(&meddler.writer, NULL, give_jobs, &meddler), 0);
	assert_int_equal(transfer(meddler.vm, &send, way->tracker, &arriving),
			 0);
	assert_true(meddler.jobs > 1); /* both vCPUs wrote */
	assert_int_equal(tide_vm_stop(arriving.vm), 0);
	for (uint64_t gfn = 0; gfn < WORK_END; gfn++) {
		if (memcmp(tide_vm_memory(meddler.vm, gfn),
			   tide_vm_memory(arriving.vm, gfn), TIDE_PAGE_SIZE))
			fail_msg("page 0x%jx differs", (uintmax_t)gfn);
	}
	tide_vm_destroy(arriving.vm);
	tide_vm_destroy(meddler.vm);
}

/* Memory on both sides of the hole, reached by all mappings. */
static void memory_above_the_hole_works(void **state)
{
	struct tide_vm_config config = config_of(*state, 2);
	uint64_t gfns[200];
	struct tide_vm *vm;

	config.memory_bytes = (3ull << 30) + 64 * MIB;
	config.slots = 7;
	vm = create(&config);
	assert_int_equal(tide_vm_run(vm), 0);
	for (unsigned int i = 0; i < 200; i++)
		gfns[i] = i % 2 ? GUEST_HOLE_GFN - 1 - i * 511
				: GUEST_HIGH_GFN +
					  (64 * MIB >> TIDE_PAGE_SHIFT) - 1 -
					  i * 61;
	for (uint64_t value = 1; value < 9; value++) {
		assert_int_equal(tide_vm_write(vm, value % 2, gfns, 200, value),
				 0);
		for (unsigned int i = 0; i < 200; i++)
			assert_int_equal(
				*(uint64_t *)tide_vm_memory(vm, gfns[i]),
				value);
	}
	gfns[0] = GUEST_HOLE_GFN;
	assert_int_equal(tide_vm_write(vm, 0, gfns, 1, 1), -EINVAL);
	assert_int_equal(tide_vm_stop(vm), 0);
	tide_vm_destroy(vm);
}

/* Let vCPU @index make @steps steps while its thread is parked. */
static void make_steps(struct tide_vm *vm, uint32_t index, uint64_t steps)
{
	struct soft_vcpu *self = vm->vcpu[index].soft;

	assert_int_equal(tide_vcpu_enter(self->vcpu), 0);
	while (steps--)
		assert_int_equal(soft_workload_step(self), 0);
	assert_int_equal(tide_vcpu_exit(self->vcpu), 0);
}

static void guest_moves_while_it_builds_its_tables(void **state)
{
	const struct way *way = *state;

	for (uint64_t steps = 1; steps < 40; steps += 3) {
		struct tide_vm_config config = config_of(way, 3);
		struct tide_migrate_send_config send;
		struct arriving arriving;
		struct tide_vm *vm = create(&config);

		make_steps(vm, 0, steps % 17);
		make_steps(vm, 1, steps);
		tide_vm_send_config(vm, &send);
		assert_int_equal(transfer(vm, &send, way->tracker, &arriving),
				 0);
		assert_int_equal(arriving.result, 0);
		tide_vm_destroy(vm);
		go_on(arriving.vm, &config, 500);
		expect_right(arriving.vm);
		tide_vm_destroy(arriving.vm);
	}
}

/* The root leads nowhere any more: a fault that nobody handles. */
static void guest_that_breaks_its_tables_dies(void **state)
{
	static const uint8_t nothing[WINDOW_PAGES * TIDE_PAGE_SIZE];
	struct tide_vm_config config = config_of(*state, 1);
	struct tide_vm *vm = ran(&config, SOME_WRITES);
	char message[160];

	assert_int_equal(tide_mmu_write(vm->mmu, 0, nothing, sizeof(nothing)),
			 0);
	assert_int_equal(tide_vm_run(vm), 0);
	while (vm_is_running(vm) && !tide_vm_stop(vm))
		assert_int_equal(tide_vm_run(vm), 0);
	assert_int_equal(tide_vm_stop(vm), -EFAULT);
	assert_int_equal(tide_vm_run(vm), -EFAULT);
	assert_int_equal(tide_vm_check(vm, message, sizeof(message)), 1);
	assert_non_null(strstr(message, "soft exit 1"));
	tide_vm_destroy(vm);
}

static void rate_is_not_exceeded(void **state)
{
	struct tide_vm_config config = config_of(*state, 1);
	struct timespec begin, end;
	struct tide_vm *vm;
	double seconds;

	config.writes_per_second = 5000; /* batches of 50 */
	vm = create(&config);
	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &begin), 0);
	run_for_writes(vm, 1000);
	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &end), 0);
	seconds = (double)(end.tv_sec - begin.tv_sec) +
		  (double)(end.tv_nsec - begin.tv_nsec) * 1e-9;
	/* The first batch is free, and one may be made up for. */
	assert_true((double)tide_vm_writes(vm) <= seconds * 5000 + 3 * 50);
	expect_right(vm);
	tide_vm_destroy(vm);
}

static void iterations_reach_the_pages(void **state)
{
	struct tide_vm_config config = config_of(*state, 2);
	struct tide_vm *vm = ran(&config, SOME_WRITES);

	for (uint64_t iteration = 2; iteration < 10; iteration++) {
		uint64_t newest = 0;

		tide_vm_iteration(vm, iteration);
		run_for_writes(vm, 200);
		expect_right(vm);
		for (uint64_t gfn = GUEST_WORK_GFN; gfn < WORK_END; gfn++) {
			uint64_t value = *(uint64_t *)tide_vm_memory(vm, gfn);

			assert_true(value <= iteration);
			newest += value == iteration;
		}
		assert_true(newest > 0);
	}
	tide_vm_destroy(vm);
}

static void bad_configs_are_refused(void **state)
{
	static const struct way good = { TIDE_WORKLOAD_WALKER, TIDE_PAGING_SV39,
					 TIDE_TRACKER_SOFT_BITMAP };
	struct tide_vm_config bad[4];
	struct tide_vm *vm = NULL;

	(void)state;
	for (unsigned int i = 0; i < 4; i++)
		bad[i] = config_of(&good, 1);
	bad[0].paging = TIDE_PAGING_MODE_COUNT;
	bad[1].tracker = TIDE_TRACKER_KVM_CLEAR;
	bad[2].tracker = TIDE_TRACKER_NONE;
	bad[3].tracker = TIDE_TRACKER_SOFT_RING;
	bad[3].ring_entries = 255;
	for (unsigned int i = 0; i < 4; i++) {
		if (tide_vm_create(&bad[i], &vm) != -EINVAL)
			fail_msg("config %u was not refused", i);
	}
	assert_null(vm);
}

enum forgery {
	FORGE_NOTHING,
	FORGE_VERSION,
	FORGE_WORKLOAD,
	FORGE_PAGING,
	FORGE_OTHER_PAGING,
	FORGE_UNUSED,
	FORGE_BOOTED,
	FORGE_AT,
	FORGE_FILLED,
	FORGE_LEFT_NONE,
	FORGE_LEFT_MUCH,
	FORGE_GREETED,
	FORGE_SIZE,
	FORGE_NO_VCPU,
	FORGE_INDEX,
	FORGE_VM_VERSION,
	FORGE_KVM,
	FORGE_COUNT
};

struct forger {
	struct tide_vm *vm;
	enum forgery forgery;
};

static void forge_vcpu(enum forgery forgery, struct soft_state *state)
{
	switch ((int)forgery) {
	case FORGE_VERSION:
		state->version++;
		break;
	case FORGE_WORKLOAD:
		state->workload = TIDE_WORKLOAD_HOT;
		break;
	case FORGE_PAGING:
		state->paging = TIDE_PAGING_MODE_COUNT;
		break;
	case FORGE_UNUSED:
		state->unused = 1;
		break;
	case FORGE_BOOTED:
		state->regs.booted++;
		break;
	case FORGE_AT:
		state->regs.at = UINT64_MAX;
		break;
	case FORGE_FILLED:
		state->regs.filled = WORK_END;
		break;
	case FORGE_LEFT_NONE:
		state->regs.left = 0;
		break;
	case FORGE_LEFT_MUCH:
		state->regs.left = UINT32_MAX;
		break;
	case FORGE_GREETED:
		state->regs.greeted = 2;
		break;
	default:
		break;
	}
}

static int save_forged_vcpu(const struct forger *forger,
			    struct tide_migrate *migrate, uint32_t index)
{
	enum forgery forgery = forger->forgery;
	struct soft_state state;

	assert_int_equal(machine_soft.save(&forger->vm->vcpu[index], &state),
			 0);
	if (index == 0)
		forge_vcpu(forgery, &state);
	else if (forgery == FORGE_OTHER_PAGING)
		state.paging = TIDE_PAGING_SV39;
	return tide_migrate_put_state(migrate,
				      forgery == FORGE_KVM ? KVM_STATE_NAME
							   : SOFT_STATE_NAME,
				      index + (forgery == FORGE_INDEX), &state,
				      sizeof(state) - (forgery == FORGE_SIZE));
}

static int save_forged(void *opaque, struct tide_migrate *migrate)
{
	const struct forger *forger = opaque;
	struct vmstate_vm vm;
	int err;

	vmstate_save_vm(forger->vm, &vm);
	vm.version += forger->forgery == FORGE_VM_VERSION;
	err = tide_migrate_put_state(migrate, VMSTATE_VM, 0, &vm, sizeof(vm));
	if (!err)
		err = save_forged_vcpu(forger, migrate, 0);
	if (!err && forger->forgery != FORGE_NO_VCPU)
		err = save_forged_vcpu(forger, migrate, 1);
	return err;
}

static int do_nothing(void *opaque)
{
	(void)opaque;
	return 0;
}

static void forged_states_are_refused(void **state)
{
	static const struct way way = { TIDE_WORKLOAD_WALKER,
					TIDE_PAGING_X86_64,
					TIDE_TRACKER_SOFT_BITMAP };
	struct tide_vm_config config = config_of(&way, 2);
	struct tide_vm *vm = ran(&config, SOME_WRITES);

	(void)state;
	for (int i = FORGE_NOTHING; i < FORGE_COUNT; i++) {
		struct forger forger = { vm, (enum forgery)i };
		struct tide_migrate_send_config send = {
			.stop = do_nothing,
			.resume = do_nothing,
			.save = save_forged,
			.opaque = &forger,
		};
		int expected = i == FORGE_NOTHING ? 0
			       : i == FORGE_KVM	  ? -EOPNOTSUPP
						  : -EINVAL;
		struct arriving arriving;
		int result = transfer(vm, &send, way.tracker, &arriving);

		if (arriving.result != expected ||
		    (result == 0) != (expected == 0) ||
		    (arriving.vm != NULL) != (expected == 0))
			fail_msg("forgery %d: source %d, destination %d", i,
				 result, arriving.result);
		if (i == FORGE_KVM)
			assert_string_equal(
				arriving.message,
				"the guest comes from a KVM machine, and this "
				"is a soft machine: choose a tracker of that "
				"kind");
		tide_vm_destroy(arriving.vm);
	}
	tide_vm_destroy(vm);
}

static void guests_do_not_change_machines(void **state)
{
	static const enum tide_tracker trackers[] = { TIDE_TRACKER_KVM_GET,
						      TIDE_TRACKER_SOFT_BITMAP,
						      TIDE_TRACKER_KVM_GET };
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	(void)state;
	if (fd < 0)
		SKIP("both machines", "/dev/kvm: %s", strerror(errno));
	assert_int_equal(close(fd), 0);
	for (unsigned int i = 0; i < 2; i++) {
		struct way way = { .tracker = trackers[i] };
		struct tide_vm_config config = config_of(&way, 1);
		struct tide_migrate_send_config send;
		struct arriving arriving;
		struct tide_vm *vm;

		config.ring_entries = 0;
		vm = ran(&config, SOME_WRITES);
		tide_vm_send_config(vm, &send);
		assert_int_not_equal(
			transfer(vm, &send, trackers[i + 1], &arriving), 0);
		assert_int_equal(arriving.result, -EOPNOTSUPP);
		assert_null(arriving.vm);
		assert_non_null(strstr(arriving.message, "machine"));
		/* It runs on where it was. */
		assert_int_equal(tide_vm_stop(vm), 0);
		expect_right(vm);
		tide_vm_destroy(vm);
	}
}

#define WAYS (TIDE_WORKLOAD_COUNT * TIDE_PAGING_MODE_COUNT * 2)
#define TESTS_MAX (WAYS * 8)

static const char *const paging_names[TIDE_PAGING_MODE_COUNT] = {
	"none",
	"x86-64",
	"sv39",
};

struct list {
	struct CMUnitTest tests[TESTS_MAX];
	struct way ways[TESTS_MAX];
	char names[TESTS_MAX][96];
	size_t count;
};

static void add(struct list *list, CMUnitTestFunction test, const char *claim,
		const struct way *way)
{
	size_t at = list->count++;

	assert_true(at < TESTS_MAX);
	list->tests[at] =
		(struct CMUnitTest){ .name = claim, .test_func = test };
	if (!way)
		return;
	list->ways[at] = *way;
	list->tests[at].initial_state = &list->ways[at];
	(void)snprintf(list->names[at], sizeof(list->names[at]),
		       "%s: %s, %s, %s", claim, workload_names[way->workload],
		       paging_names[way->paging],
		       tide_tracker_name(way->tracker));
	list->tests[at].name = list->names[at];
}

#define ADD(list, test, way) add(list, test, #test, way)

static void add_way(struct list *list, const struct way *way)
{
	ADD(list, workload_runs_and_checks, way);
	ADD(list, running_guest_moves_and_goes_on, way);
	if (way->workload == TIDE_WORKLOAD_WALKER) {
		ADD(list, tables_are_built_and_change, way);
		ADD(list, lost_page_is_found, way);
		ADD(list, guest_moves_while_it_builds_its_tables, way);
		ADD(list, rate_is_not_exceeded, way);
		if (way->paging != TIDE_PAGING_NONE)
			ADD(list, guest_that_breaks_its_tables_dies, way);
	}
	if (way->workload == TIDE_WORKLOAD_RANDOM)
		ADD(list, iterations_reach_the_pages, way);
	if (way->workload == TIDE_WORKLOAD_SCRIPT) {
		ADD(list, every_byte_arrives, way);
		ADD(list, memory_above_the_hole_works, way);
	}
}

int main(void)
{
	static struct list list;

	random_state = test_seed();
	for (unsigned int i = 0; i < WAYS; i++) {
		const struct way way = {
			(enum tide_workload)(i / 6),
			(enum tide_paging_mode)(i / 2 % 3),
			i % 2 ? TIDE_TRACKER_SOFT_RING
			      : TIDE_TRACKER_SOFT_BITMAP,
		};

		add_way(&list, &way);
	}
	ADD(&list, bad_configs_are_refused, NULL);
	ADD(&list, forged_states_are_refused, NULL);
	ADD(&list, guests_do_not_change_machines, NULL);
	return _cmocka_run_group_tests("soft_machine", list.tests, list.count,
				       NULL, NULL);
}
