/* SPDX-License-Identifier: MIT */
/*
 * vmm_test.c - the guests, the VMM that runs them, and their oracles
 *
 * Every workload must run and check; every oracle must be able to fail, by
 * one bit anywhere and by one page that is one visit old.  Then what must be
 * refused: configs, images, and states in a migration stream.
 */
#undef NDEBUG /* a test without its asserts tests nothing */

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <tidemark/tidemark.h>
#include <unistd.h>

#include "base/atomic.h"
#include "guest/params.h"
#include "test_support.h"
#include "vmm/elf_load.h"
#include "vmm/image.h"
#include "vmm/kvm_machine.h"
#include "vmm/vm.h"
#include "vmm/vmstate.h"
#include "vmm_rig.h"

static void need_kvm(const char *test)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		SKIP(test, "/dev/kvm: %s", strerror(errno));
	assert_int_equal(close(fd), 0);
}

static struct tide_vm_config config_of(enum tide_workload workload,
				       uint32_t vcpus)
{
	return (struct tide_vm_config){
		.size = sizeof(struct tide_vm_config),
		.workload = workload,
		.vcpus = vcpus,
		.memory_bytes = MEMORY,
		.slots = 3,
		.seed = random_below(1ull << 32),
		.device = 1,
	};
}

static struct tide_vm *ran_with(enum tide_workload workload, uint32_t vcpus)
{
	struct tide_vm_config config = config_of(workload, vcpus);

	return ran(&config, 20000);
}

static void workload_runs_and_checks(void **state)
{
	enum tide_workload workload = (enum tide_workload)(uintptr_t)*state;

	need_kvm(workload_names[workload]);
	for (uint32_t vcpus = 1; vcpus <= GUEST_VCPUS_MAX; vcpus += 3) {
		struct tide_vm *vm = ran_with(workload, vcpus);
		/* Where a stop catches a vCPU is chance: try it often. */
		for (int i = 0; i < 50; i++) {
			if (workload == TIDE_WORKLOAD_SCRIPT)
				write_some(vm, vcpus);
			else
				run_for_writes(vm, random_below(2000));
			expect_right(vm);
		}
		expect_sign_of_life(vm);
		tide_vm_destroy(vm);
	}
}

static void one_bit_fails_the_check(void **state)
{
	enum tide_workload workload = (enum tide_workload)(uintptr_t)*state;
	struct tide_vm *vm;

	need_kvm(workload_names[workload]);
	vm = ran_with(workload, 2);
	for (int i = 0; i < 200; i++) {
		/* Half of them where the counters are. */
		uint64_t bit = random_below(i % 2 ? PAGE_BITS : 64);
		uint64_t gfn = GUEST_DEVICE_GFN +
			       random_below(WORK_END - GUEST_DEVICE_GFN);
		uint8_t *byte = (uint8_t *)tide_vm_memory(vm, gfn) + bit / 8;

		*byte ^= (uint8_t)(1u << bit % 8);
		/* An iteration number may be any that fits in. */
		if (workload != TIDE_WORKLOAD_RANDOM || bit >= 64 ||
		    gfn < GUEST_WORK_GFN)
			expect_wrong(vm, "a flipped bit");
		*byte ^= (uint8_t)(1u << bit % 8);
	}
	expect_right(vm);
	tide_vm_destroy(vm);
}

static void one_stale_page_fails_the_check(void **state)
{
	enum tide_workload workload = (enum tide_workload)(uintptr_t)*state;
	uint8_t *before, *memory;
	struct tide_vm *vm;
	int stale = 0;

	need_kvm(workload_names[workload]);
	vm = ran_with(workload, 2);
	memory = tide_vm_memory(vm, 0);
	before = malloc(MEMORY);
	assert_non_null(before);
	memcpy(before, memory, MEMORY);
	if (workload == TIDE_WORKLOAD_SCRIPT)
		write_some(vm, 2);
	else
		run_for_writes(vm, 500); /* less than a visit to each */
	expect_right(vm);

	for (uint64_t gfn = GUEST_DEVICE_GFN; gfn < WORK_END && stale < 200;
	     gfn++) {
		uint8_t *page = memory + gfn * TIDE_PAGE_SIZE;
		uint8_t now[TIDE_PAGE_SIZE];

		memcpy(now, page, sizeof(now));
		memcpy(page, before + gfn * TIDE_PAGE_SIZE, sizeof(now));
		if (memcmp(now, page, sizeof(now)) != 0) {
			expect_wrong(vm, "a stale page");
			stale++;
		}
		memcpy(page, now, sizeof(now));
	}
	assert_true(stale > 100);
	expect_right(vm);
	free(before);
	tide_vm_destroy(vm);
}

static void iterations_reach_the_pages(void **state)
{
	struct tide_vm *vm;

	(void)state;
	need_kvm("iterations");
	vm = ran_with(TIDE_WORKLOAD_RANDOM, 2);
	for (uint64_t iteration = 2; iteration < 20; iteration++) {
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

/* An older iteration number on the page that was written last. */
static void stale_iteration_fails_the_check(void **state)
{
	struct tide_vm_config config = {
		.workload = TIDE_WORKLOAD_RANDOM,
		.memory_bytes = MEMORY,
	};
	struct tide_vm *vm;
	uint64_t *page;
	uint64_t first;

	(void)state;
	need_kvm("stale iteration");
	vm = create(&config);
	tide_vm_iteration(vm, 5);
	run_for_writes(vm, 20000);
	expect_right(vm);
	first = guest_random_page(guest_random_seed(0, 0) * GUEST_LCG_FACTOR +
					  GUEST_LCG_TERM,
				  WORK_END - GUEST_WORK_GFN);
	page = tide_vm_memory(vm, GUEST_WORK_GFN + first);
	assert_int_equal(page[0], 5);
	page[0] = 4;
	expect_wrong(vm, "an iteration that falls");
	page[0] = 6;
	expect_wrong(vm, "an iteration of the future");
	tide_vm_destroy(vm);
}

static void script_writes_what_it_is_told(void **state)
{
	struct tide_vm_config config = {
		.workload = TIDE_WORKLOAD_SCRIPT,
		.vcpus = 2,
		.memory_bytes = MEMORY,
	};
	uint64_t gfns[] = { GUEST_WORK_GFN, WORK_END - 1, GUEST_WORK_GFN };
	uint64_t outside = GUEST_WORK_GFN - 1, beyond = WORK_END;
	struct tide_vm *vm;

	(void)state;
	need_kvm("script");
	vm = create(&config);
	assert_int_equal(tide_vm_write(vm, 0, gfns, 3, 7), -EINVAL);
	assert_int_equal(tide_vm_run(vm), 0);
	assert_int_equal(tide_vm_write(vm, 1, gfns, 3, 7), 0);
	assert_int_equal(tide_vm_writes(vm), 3);
	assert_int_equal(*(uint64_t *)tide_vm_memory(vm, gfns[0]), 7);
	assert_int_equal(*(uint64_t *)tide_vm_memory(vm, gfns[1]), 7);
	assert_int_equal(tide_vm_write(vm, 0, gfns, 1, 8), 0);
	assert_int_equal(*(uint64_t *)tide_vm_memory(vm, gfns[0]), 8);
	assert_int_equal(tide_vm_write(vm, 0, gfns, 0, 9), 0);

	assert_int_equal(tide_vm_write(vm, 2, gfns, 1, 9), -EINVAL);
	assert_int_equal(tide_vm_write(vm, 0, &outside, 1, 9), -EINVAL);
	assert_int_equal(tide_vm_write(vm, 0, &beyond, 1, 9), -EINVAL);
	assert_int_equal(tide_vm_check(vm, NULL, 0), -EINVAL);
	assert_int_equal(tide_vm_stop(vm), 0);
	expect_right(vm);
	assert_null(tide_vm_memory(vm, WORK_END));
	tide_vm_destroy(vm);
}

/* Memory on both sides of the hole, in slots that the hole cuts. */
static void memory_above_the_hole_works(void **state)
{
	struct tide_vm_config config = {
		.workload = TIDE_WORKLOAD_SCRIPT,
		.memory_bytes = (3ull << 30) + 64 * MIB,
		.slots = 7,
	};
	uint64_t last_low = GUEST_HOLE_GFN - 1;
	uint64_t last = GUEST_HIGH_GFN + (64 * MIB >> TIDE_PAGE_SHIFT) - 1;
	uint64_t gfns[] = { last_low, GUEST_HIGH_GFN, last };
	struct tide_slot_info slot;
	struct tide_vm *vm;

	(void)state;
	need_kvm("above 4 GiB");
	vm = create(&config);
	assert_int_equal(tide_slot_get(tide_vm_space(vm), 7, &slot), 0);
	assert_int_equal(slot.first_gfn, GUEST_HIGH_GFN);
	assert_int_equal(slot.npages, 64 * MIB >> TIDE_PAGE_SHIFT);
	assert_int_equal(tide_slot_get(tide_vm_space(vm), 8, &slot), -ENOENT);

	assert_int_equal(tide_vm_run(vm), 0);
	assert_int_equal(tide_vm_write(vm, 0, gfns, 3, 1234), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(*(uint64_t *)tide_vm_memory(vm, gfns[i]),
				 1234);
	assert_null(tide_vm_memory(vm, GUEST_HOLE_GFN));
	assert_null(tide_vm_memory(vm, GUEST_HIGH_GFN - 1));
	assert_null(tide_vm_memory(vm, last + 1));
	gfns[0] = GUEST_HOLE_GFN;
	assert_int_equal(tide_vm_write(vm, 0, gfns, 1, 1), -EINVAL);
	assert_int_equal(tide_vm_stop(vm), 0);
	tide_vm_destroy(vm);
}

static void rate_is_not_exceeded(void **state)
{
	struct tide_vm_config config = {
		.workload = TIDE_WORKLOAD_HOT,
		.memory_bytes = MEMORY,
		.writes_per_second = 5000, /* batches of 50 */
	};
	struct timespec begin, end;
	struct tide_vm *vm;
	double seconds;

	(void)state;
	need_kvm("rate");
	vm = create(&config);
	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &begin), 0);
	run_for_writes(vm, 1500);
	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &end), 0);
	seconds = (double)(end.tv_sec - begin.tv_sec) +
		  (double)(end.tv_nsec - begin.tv_nsec) * 1e-9;
	/* The first batch is free, and one may be made up for. */
	assert_true((double)tide_vm_writes(vm) <= seconds * 5000 + 3 * 50);
	expect_right(vm);
	tide_vm_destroy(vm);
}

struct syncer {
	struct tide_vm *vm;
	atomic_bool done;
	atomic_uint rounds;
};

static void *sync_for_ever(void *opaque)
{
	struct syncer *syncer = opaque;

	/* Relaxed: nothing is handed over by either. */
	while (!atomic_load_explicit(&syncer->done, memory_order_relaxed)) {
		vcpu_sync_all(syncer->vm);
		/* Relaxed: as above. */
		atomic_fetch_add_explicit(&syncer->rounds, 1,
					  memory_order_relaxed);
	}
	return NULL;
}

static unsigned int rounds_of(struct syncer *syncer)
{
	/* Relaxed: see sync_for_ever(). */
	return atomic_load_explicit(&syncer->rounds, memory_order_relaxed);
}

/* Also while a vCPU is about to enter the guest.  Nothing else takes it out:
 * the one that does not end hangs here. */
static void sync_ends_whenever_it_is_called(void **state)
{
	struct syncer syncer = { 0 };
	pthread_t thread;

	(void)state;
	need_kvm("sync");
	syncer.vm = ran_with(TIDE_WORKLOAD_WALKER, 3);
	assert_int_equal(pthread_create(&thread, NULL, sync_for_ever, &syncer),
			 0);
	for (int i = 0; i < 100; i++) {
		unsigned int rounds = rounds_of(&syncer);

		assert_int_equal(tide_vm_run(syncer.vm), 0);
		while (rounds_of(&syncer) - rounds < 3)
			sched_yield();
		assert_int_equal(tide_vm_stop(syncer.vm), 0);
	}
	/* Relaxed: see sync_for_ever(). */
	atomic_store_explicit(&syncer.done, true, memory_order_relaxed);
	assert_int_equal(pthread_join(thread, NULL), 0);
	expect_right(syncer.vm);
	tide_vm_destroy(syncer.vm);
}

/* A workload that is given 64 pages leaves the page after them alone. */
static void work_pages_are_a_limit(void **state)
{
	(void)state;
	for (unsigned int w = 0; w < TIDE_WORKLOAD_SCRIPT; w++) {
		const struct tide_vm_config config = {
			.workload = (enum tide_workload)w,
			.memory_bytes = MEMORY,
			.vcpus = 2,
			.work_pages = 64,
		};
		const uint64_t *after;
		struct tide_vm *vm = NULL;

		need_kvm("work pages");
		assert_int_equal(tide_vm_create(&config, &vm), 0);
		assert_int_equal(tide_vm_run(vm), 0);
		while (tide_vm_writes(vm) < 10000)
			;
		assert_int_equal(tide_vm_stop(vm), 0);
		expect_right(vm);
		after = tide_vm_memory(vm, GUEST_WORK_GFN + 64);
		assert_int_equal(*after, 0);
		tide_vm_destroy(vm);
	}
}

static void bad_configs_are_refused(void **state)
{
	const struct tide_vm_config good = { .memory_bytes = MEMORY };
	struct tide_vm_config bad[] = { good, good, good, good, good,
					good, good, good, good, good,
					good, good, good };
	struct tide_vm *vm = NULL;

	(void)state;
	bad[0].workload = TIDE_WORKLOAD_COUNT;
	bad[1].workload = (enum tide_workload) ~0u;
	bad[2].vcpus = GUEST_VCPUS_MAX + 1;
	bad[3].memory_bytes = MEMORY - TIDE_PAGE_SIZE;
	bad[4].memory_bytes = MEMORY + 1;
	bad[5].memory_bytes = VM_MEMORY_MAX + TIDE_PAGE_SIZE;
	bad[6].slots = VM_SLOTS_MAX + 1;
	bad[7].hot_pages = (MEMORY >> TIDE_PAGE_SHIFT) - GUEST_WORK_GFN + 1;
	bad[8].vcpus = 2;
	bad[8].hot_pages = 1;
	bad[9].tracker = TIDE_TRACKER_COUNT;
	bad[10].size = sizeof(size_t);
	bad[11].work_pages = 15;
	bad[12].work_pages = (MEMORY >> TIDE_PAGE_SHIFT) - GUEST_WORK_GFN + 1;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (tide_vm_create(&bad[i], &vm) != -EINVAL)
			fail_msg("config %zu was not refused", i);
	}
	assert_int_equal(tide_vm_create(NULL, &vm), -EINVAL);
	assert_null(vm);
	tide_vm_destroy(NULL);
}

/* A copy of the image that may be spoilt. */
struct copy {
	size_t bytes;
	uint8_t *image;
	Elf64_Ehdr *header;
	Elf64_Phdr *segments;
};

static struct copy copy_image(void)
{
	struct copy copy = {
		.bytes = (size_t)(tide_guest_end - tide_guest_begin),
	};

	copy.image = malloc(copy.bytes);
	assert_non_null(copy.image);
	memcpy(copy.image, tide_guest_begin, copy.bytes);
	copy.header = (void *)copy.image;
	copy.segments = (void *)(copy.image + copy.header->e_phoff);
	return copy;
}

/* Exactly as much memory as the loader may touch. */
static uint8_t *loader_memory(void)
{
	uint8_t *memory = calloc(GUEST_DEVICE_GFN, TIDE_PAGE_SIZE);

	assert_non_null(memory);
	return memory;
}

static void image_is_loaded(void **state)
{
	struct elf_image image;
	uint8_t *memory = loader_memory();
	struct guest_params params;

	(void)state;
	assert_int_equal(elf_load(tide_guest_begin,
				  (size_t)(tide_guest_end - tide_guest_begin),
				  memory, &image),
			 0);
	memcpy(&params, memory + image.params_gpa, sizeof(params));
	assert_true(params.magic == GUEST_MAGIC);
	assert_int_equal(params.workload, GUEST_WALKER);
	assert_true(image.entry >= GUEST_IMAGE_GPA);
	for (int i = 0; i < GUEST_RIP_COUNT; i++)
		assert_true(params.rip[i] > GUEST_IMAGE_GPA);
	free(memory);
}

static void spoil(struct copy *copy, int how)
{
	Elf64_Ehdr *header = copy->header;
	Elf64_Phdr *load = &copy->segments[1];

	assert_int_equal(load->p_type, PT_LOAD);
	switch (how) {
	case 0:
		header->e_ident[EI_MAG0] = 0;
		break;
	case 1:
		header->e_ident[EI_CLASS] = ELFCLASS32;
		break;
	case 2:
		header->e_ident[EI_DATA] = ELFDATA2MSB;
		break;
	case 3:
		header->e_machine = EM_AARCH64;
		break;
	case 4:
		header->e_type = ET_REL;
		break;
	case 5:
		header->e_entry = GUEST_IMAGE_GPA - 1;
		break;
	case 6:
		header->e_entry = UINT64_MAX;
		break;
	case 7:
		header->e_phnum = 0;
		break;
	case 8:
		header->e_phoff = UINT64_MAX - 8;
		break;
	case 9:
		load->p_paddr = GUEST_IMAGE_GPA - TIDE_PAGE_SIZE;
		break;
	case 10:
		load->p_paddr = (GUEST_DEVICE_GFN << 12) - 1;
		break;
	case 11:
		load->p_paddr = UINT64_MAX - 1;
		break;
	case 12:
		load->p_memsz = UINT64_MAX;
		break;
	case 13:
		load->p_filesz = load->p_memsz + 1;
		break;
	case 14:
		load->p_offset = copy->bytes;
		break;
	case 15:
		load->p_offset = UINT64_MAX;
		break;
	case 16: /* no symbol table */
		header->e_shoff = 0;
		header->e_shnum = 0;
		header->e_shstrndx = 0;
		break;
	case 17: /* no segment that the parameter block lies in */
		copy->segments[2].p_type = PT_NOTE;
		break;
	default:
		fail();
	}
}

static void bad_images_are_refused(void **state)
{
	uint8_t *memory = loader_memory();
	struct elf_image image;

	(void)state;
	for (int how = 0; how < 18; how++) {
		struct copy copy = copy_image();

		spoil(&copy, how);
		if (elf_load(copy.image, copy.bytes, memory, &image) !=
		    -ENOEXEC)
			fail_msg("spoilt image %d was loaded", how);
		free(copy.image);
	}
	for (size_t i = 0; i < GUEST_DEVICE_GFN * TIDE_PAGE_SIZE; i++)
		assert_int_equal(memory[i], 0);
	free(memory);
}

/* Cut and garbled at random: refused or loaded, but within bounds, which
 * AddressSanitizer looks at. */
static void garbled_images_do_no_harm(void **state)
{
	uint8_t *memory = loader_memory();
	struct elf_image image;
	uint32_t rounds = 2000 * test_long();

	(void)state;
	for (uint32_t i = 0; i < rounds; i++) {
		struct copy copy = copy_image();
		uint64_t cut = random_below(copy.bytes);
		uint64_t first = i % 3 ? 0 : copy.header->e_shoff;
		uint64_t room = i % 3 ? 64 + 3 * 56 : copy.bytes - first;

		for (uint64_t n = random_below(4) + 1; i % 2 && n; n--)
			copy.image[first + random_below(room)] =
				(uint8_t)random_below(256);
		if (i % 2 == 0)
			assert_int_equal(
				elf_load(copy.image, cut, memory, &image),
				-ENOEXEC);
		else
			(void)elf_load(copy.image, copy.bytes, memory, &image);
		free(copy.image);
	}
	free(memory);
}

static void guest_file_carries_the_config(void **state)
{
	struct tide_vm_config config = {
		.workload = TIDE_WORKLOAD_HOT,
		.memory_bytes = 200 * MIB,
		.seed = 99,
		.writes_per_second = 1000,
	};
	int bytes = tide_guest_image(&config, NULL, 0);
	struct guest_params params;
	struct elf_image image;
	uint8_t *file;

	(void)state;
	assert_true(bytes > 0);
	file = malloc((size_t)bytes);
	assert_non_null(file);
	assert_int_equal(tide_guest_image(&config, file, (size_t)bytes - 1),
			 -ENOSPC);
	assert_int_equal(tide_guest_image(&config, file, (size_t)bytes), bytes);
	assert_int_equal(elf_load(file, (size_t)bytes, NULL, &image), 0);
	memcpy(&params, file + image.params_offset, sizeof(params));
	assert_int_equal(params.workload, GUEST_HOT);
	assert_int_equal(params.seed, 99);
	assert_int_equal(params.work_pages, 198 * MIB >> TIDE_PAGE_SHIFT);
	assert_true(params.ticks_per_batch > 0);
	free(file);
	config.vcpus = 2;
	assert_int_equal(tide_guest_image(&config, NULL, 0), -EINVAL);
}

static void arrived_guest_goes_on(void **state)
{
	enum tide_workload workload = (enum tide_workload)(uintptr_t)*state;
	struct tide_migrate_send_config config;
	struct arriving arriving;
	struct tide_vm *vm;
	uint64_t writes;

	need_kvm(workload_names[workload]);
	vm = ran_with(workload, 2);
	writes = tide_vm_writes(vm);
	tide_vm_send_config(vm, &config);
	assert_int_equal(transfer(vm, &config, TIDE_TRACKER_NONE, &arriving),
			 0);
	assert_int_equal(arriving.result, 0);
	tide_vm_destroy(vm);

	vm = arriving.vm;
	assert_int_equal(tide_vm_stop(vm), 0);
	expect_right(vm);
	assert_true(tide_vm_writes(vm) >= writes);
	if (workload == TIDE_WORKLOAD_SCRIPT)
		write_some(vm, 2);
	else
		run_for_writes(vm, 20000);
	expect_right(vm);
	tide_vm_destroy(vm);
}

static void vcpu_state_comes_back_as_it_was(void **state)
{
	struct kvm_state saved, loaded;
	struct tide_vm *from, *to;

	(void)state;
	need_kvm("vCPU state");
	from = ran_with(TIDE_WORKLOAD_RANDOM, 1);
	to = ran_with(TIDE_WORKLOAD_WALKER, 1);
	assert_int_equal(kvm_state_save(&from->vcpu[0], &saved), 0);
	assert_int_equal(kvm_state_load(&to->vcpu[0], &saved), 0);
	assert_int_equal(kvm_state_save(&to->vcpu[0], &loaded), 0);
	assert_memory_equal(&saved.regs, &loaded.regs, sizeof(saved.regs));
	assert_memory_equal(&saved.sregs, &loaded.sregs, sizeof(saved.sregs));
	assert_memory_equal(&saved.fpu, &loaded.fpu, sizeof(saved.fpu));
	assert_memory_equal(&saved.events, &loaded.events,
			    sizeof(saved.events));
	assert_true(loaded.tsc >= saved.tsc);
	saved.version++;
	assert_int_equal(kvm_state_load(&to->vcpu[0], &saved), -EINVAL);
	tide_vm_destroy(from);
	tide_vm_destroy(to);
}

enum forgery {
	FORGE_NOTHING,
	FORGE_VERSION,
	FORGE_WORKLOAD,
	FORGE_MEMORY_LESS,
	FORGE_MEMORY_MORE,
	FORGE_VCPUS,
	FORGE_PARAMS_LOW,
	FORGE_PARAMS_HIGH,
	FORGE_PARAMS_UNALIGNED,
	FORGE_HOT_PAGES,
	FORGE_SIZE,
	FORGE_NAME,
	FORGE_TWICE,
	FORGE_NO_VM,
	FORGE_NO_VCPU,
	FORGE_VCPU_INDEX,
	FORGE_VCPU_VERSION,
	FORGE_COUNT
};

struct forger {
	struct tide_vm *vm;
	enum forgery forgery;
};

static void forge_vm(enum forgery forgery, struct vmstate_vm *state)
{
	switch ((int)forgery) {
	case FORGE_VERSION:
		state->version++;
		break;
	case FORGE_WORKLOAD:
		state->workload = TIDE_WORKLOAD_COUNT;
		break;
	case FORGE_MEMORY_LESS:
		state->memory_bytes -= TIDE_PAGE_SIZE;
		break;
	case FORGE_MEMORY_MORE:
		state->memory_bytes += TIDE_PAGE_SIZE;
		break;
	case FORGE_VCPUS:
		state->vcpus = GUEST_VCPUS_MAX + 1;
		break;
	case FORGE_PARAMS_LOW:
		state->params_gpa = GUEST_IMAGE_GPA - 64;
		break;
	case FORGE_PARAMS_HIGH:
		state->params_gpa = MEMORY;
		break;
	case FORGE_PARAMS_UNALIGNED:
		state->params_gpa++;
		break;
	case FORGE_HOT_PAGES:
		state->hot_pages = UINT64_MAX;
		break;
	default:
		break;
	}
}

static int save_forged_vm(struct tide_migrate *migrate,
			  const struct forger *forger)
{
	struct vmstate_vm state;

	if (forger->forgery == FORGE_NO_VM)
		return 0;
	vmstate_save_vm(forger->vm, &state);
	forge_vm(forger->forgery, &state);
	return tide_migrate_put_state(
		migrate,
		forger->forgery == FORGE_NAME ? "tidemark-what" : VMSTATE_VM, 0,
		&state, sizeof(state) - (forger->forgery == FORGE_SIZE));
}

static int save_forged(void *opaque, struct tide_migrate *migrate)
{
	const struct forger *forger = opaque;
	struct kvm_state vcpu;
	int err = save_forged_vm(migrate, forger);

	if (!err && forger->forgery == FORGE_TWICE)
		err = save_forged_vm(migrate, forger);
	if (err || forger->forgery == FORGE_NO_VCPU)
		return err;
	err = kvm_state_save(&forger->vm->vcpu[0], &vcpu);
	vcpu.version += forger->forgery == FORGE_VCPU_VERSION;
	if (err)
		return err;
	return tide_migrate_put_state(migrate, KVM_STATE_NAME,
				      forger->forgery == FORGE_VCPU_INDEX,
				      &vcpu, sizeof(vcpu));
}

static int do_nothing(void *opaque)
{
	(void)opaque;
	return 0;
}

static void forged_states_are_refused(void **state)
{
	struct tide_vm *vm;

	(void)state;
	need_kvm("forged states");
	vm = ran_with(TIDE_WORKLOAD_WALKER, 1);
	for (int i = FORGE_NOTHING; i < FORGE_COUNT; i++) {
		struct forger forger = { vm, (enum forgery)i };
		struct tide_migrate_send_config config = {
			.stop = do_nothing,
			.resume = do_nothing,
			.save = save_forged,
			.opaque = &forger,
		};
		struct arriving arriving;
		int result =
			transfer(vm, &config, TIDE_TRACKER_NONE, &arriving);

		if (i == FORGE_NOTHING) {
			assert_int_equal(result, 0);
			assert_int_equal(arriving.result, 0);
			tide_vm_destroy(arriving.vm);
			continue;
		}
		if (!result || arriving.result != -EINVAL || arriving.vm)
			fail_msg("forgery %d: source %d, destination %d", i,
				 result, arriving.result);
	}
	tide_vm_destroy(vm);
}

#define PER_WORKLOAD(test, workload)                                \
	{                                                           \
#test ": " #workload, test, NULL, NULL,             \
			(void *)(uintptr_t)TIDE_WORKLOAD_##workload \
	}
#define EVERY_WORKLOAD(test)                                         \
	PER_WORKLOAD(test, WALKER), PER_WORKLOAD(test, RANDOM),      \
		PER_WORKLOAD(test, ATOMIC), PER_WORKLOAD(test, HOT), \
		PER_WORKLOAD(test, SCRIPT)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(image_is_loaded),
		cmocka_unit_test(bad_images_are_refused),
		cmocka_unit_test(garbled_images_do_no_harm),
		cmocka_unit_test(work_pages_are_a_limit),
		cmocka_unit_test(bad_configs_are_refused),
		cmocka_unit_test(guest_file_carries_the_config),
		EVERY_WORKLOAD(workload_runs_and_checks),
		EVERY_WORKLOAD(one_bit_fails_the_check),
		EVERY_WORKLOAD(one_stale_page_fails_the_check),
		cmocka_unit_test(iterations_reach_the_pages),
		cmocka_unit_test(stale_iteration_fails_the_check),
		cmocka_unit_test(script_writes_what_it_is_told),
		cmocka_unit_test(memory_above_the_hole_works),
		cmocka_unit_test(rate_is_not_exceeded),
		cmocka_unit_test(sync_ends_whenever_it_is_called),
		EVERY_WORKLOAD(arrived_guest_goes_on),
		cmocka_unit_test(vcpu_state_comes_back_as_it_was),
		cmocka_unit_test(forged_states_are_refused),
	};

	random_state = test_seed();
	return cmocka_run_group_tests_name("vmm", tests, NULL, NULL);
}
