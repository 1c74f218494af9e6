/* SPDX-License-Identifier: MIT */
/*
 * vm.c - create, run, stop, destroy
 *
 * Theory of operation
 * -------------------
 * The order matters: machine, space, tracker (a dirty ring must be on before
 * the first vCPU exists), slots, vCPUs, threads.  A destination goes the same
 * way in the same order, with the slots and the vCPUs' state from the stream
 * (arrival.c).
 *
 * The caller's side changes running and quit and waits on left; the threads
 * wait on go.  Both under one lock, which nobody holds inside the guest.
 *
 * Invariants
 *   I1  not running, and no call to stop under way: every thread is parked
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <tidemark/mark.h>
#include <time.h>

#include "base/atomic.h"
#include "vmm/machine.h"
#include "vmm/vm.h"

#define HUGE_SIZE ((size_t)2 << 20)

void vm_signals_block(sigset_t *ret_old)
{
	sigset_t all;

	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, ret_old); /* cannot fail */
}

void vm_signals_restore(const sigset_t *old)
{
	(void)pthread_sigmask(SIG_SETMASK, old, NULL); /* cannot fail */
}

static int init_lock(struct tide_vm *vm)
{
	pthread_condattr_t attr;
	int err = -pthread_condattr_init(&attr);

	if (err)
		return err;
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* known */
	err = tide_lock_init(&vm->lock, TIDE_RANK_VM);
	if (err)
		goto out_attr;
	err = -pthread_cond_init(&vm->go, &attr);
	if (err)
		goto out_lock;
	err = -pthread_cond_init(&vm->left, &attr);
	if (err)
		goto out_go;
	pthread_condattr_destroy(&attr);
	return 0;

out_go:
	pthread_cond_destroy(&vm->go);
out_lock:
	tide_lock_fini(&vm->lock);
out_attr:
	pthread_condattr_destroy(&attr);
	return err;
}

static void fini_lock(struct tide_vm *vm)
{
	pthread_cond_destroy(&vm->left);
	pthread_cond_destroy(&vm->go);
	tide_lock_fini(&vm->lock);
}

/* Address space for @bytes from a 2 MiB boundary on; no memory yet. */
static int reserve(struct tide_vm *vm, uint64_t bytes)
{
	size_t span = (size_t)bytes + HUGE_SIZE;
	uint8_t *area =
		mmap(NULL, span, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t skip;

	if (area == MAP_FAILED)
		return -errno;
	skip = (HUGE_SIZE - (uintptr_t)area % HUGE_SIZE) % HUGE_SIZE;
	if (skip)
		munmap(area, skip);
	munmap(area + skip + bytes, HUGE_SIZE - skip);
	vm->base = area + skip;
	vm->span = (size_t)bytes;
	return 0;
}

static int open_space(struct tide_vm *vm)
{
	int err = tide_space_create(&vm->space);

	return err ? err : vm->machine->attach(vm);
}

int vm_open(struct tide_vm **ret_vm, uint64_t memory_end,
	    const struct tide_vm_config *config)
{
	struct tide_vm *vm = calloc(1, sizeof(*vm));
	int err;

	if (!vm)
		return -ENOMEM;
	vm->config = *config;
	vm->machine = machine_of(config->tracker);
	vm->kvm_fd = -1;
	vm->vm_fd = -1;
	for (uint32_t i = 0; i < GUEST_VCPUS_MAX; i++)
		vm->vcpu[i].fd = -1;
	err = init_lock(vm);
	if (err) {
		free(vm);
		return err;
	}
	err = reserve(vm, memory_end);
	if (!err)
		err = vm->machine->open(vm);
	if (!err)
		err = open_space(vm);
	if (err) {
		tide_vm_destroy(vm);
		return err;
	}
	*ret_vm = vm;
	return 0;
}

int vm_add_slot(struct tide_vm *vm, uint32_t id, uint64_t first_gfn,
		uint64_t npages, uint32_t flags)
{
	uint64_t gpa = first_gfn << TIDE_PAGE_SHIFT;
	uint64_t bytes = npages << TIDE_PAGE_SHIFT;
	struct tide_slot_config slot = {
		.size = sizeof(slot),
		.id = id,
		.flags = flags,
		.first_gfn = first_gfn,
		.npages = npages,
		.host = vm->base + gpa,
	};
	int err = 0;

	assert(gpa + bytes <= vm->span);
	if (mprotect(slot.host, bytes, PROT_READ | PROT_WRITE))
		return -errno;
	/* Advice only: without huge pages everything works, more slowly. */
	(void)madvise(slot.host, bytes, MADV_HUGEPAGE);
	/* Then nobody else tells the machine. */
	if (vm->config.tracker == TIDE_TRACKER_NONE)
		err = vm->machine->add_memory(vm, id, gpa, bytes);
	if (err)
		return err;
	return tide_slot_add(vm->space, &slot);
}

/* Cut memory into slots of about the same size; one more where a cut would
 * span the hole. */
static int add_slots(struct tide_vm *vm)
{
	const struct vm_layout *layout = &vm->layout;
	uint32_t slots = vm->config.slots;
	uint32_t id = 0;
	int err = 0;

	for (uint32_t i = 0; i < slots && !err; i++) {
		uint64_t begin = layout->pages * i / slots;
		uint64_t end = layout->pages * (i + 1) / slots;
		uint64_t hole = GUEST_HIGH_GFN - layout->low_pages;

		if (begin < layout->low_pages && end > layout->low_pages) {
			err = vm_add_slot(vm, id++, begin,
					  layout->low_pages - begin,
					  TIDE_SLOT_ANONYMOUS);
			begin = layout->low_pages;
		}
		if (begin >= layout->low_pages) {
			begin += hole;
			end += hole;
		}
		if (!err)
			err = vm_add_slot(vm, id++, begin, end - begin,
					  TIDE_SLOT_ANONYMOUS);
	}
	return err;
}

int vm_configure(struct tide_vm *vm, uint64_t params_gpa)
{
	vm->params_gpa = params_gpa;
	vm->params = (void *)(vm->base + params_gpa);
	vm->pace_ns = vm_pace_ns(&vm->config);
	for (uint32_t i = 0; i < vm->config.vcpus; i++) {
		int err = vcpu_create(vm, i);

		if (err)
			return err;
		vm->vcpu_count = i + 1;
	}
	return 0;
}

int vm_start_threads(struct tide_vm *vm)
{
	int err = vm->config.device ? device_start_thread(vm) : 0;

	for (uint32_t i = 0; i < vm->vcpu_count && !err; i++)
		err = vcpu_start_thread(&vm->vcpu[i]);
	return err;
}

int tide_vm_create(const struct tide_vm_config *config, struct tide_vm **ret_vm)
{
	struct tide_vm_config taken;
	struct vm_layout layout;
	struct tide_vm *vm;
	int err = vm_config_take(&taken, config);

	if (err)
		return err;
	vm_layout_set(&layout, &taken);
	err = vm_open(&vm, layout.end_gfn << TIDE_PAGE_SHIFT, &taken);
	if (err)
		return err;
	vm->layout = layout;
	err = add_slots(vm);
	if (!err)
		err = vm->machine->boot(vm);
	if (!err)
		err = vm_start_threads(vm);
	if (err) {
		tide_vm_destroy(vm);
		return err;
	}
	*ret_vm = vm;
	return 0;
}

static void join_threads(struct tide_vm *vm)
{
	tide_lock_acquire(&vm->lock);
	vm->quit = true;
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		vcpu_kick(&vm->vcpu[i]);
	pthread_cond_broadcast(&vm->go);
	tide_lock_release(&vm->lock);

	device_join(vm);
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		vcpu_join(&vm->vcpu[i]);
}

void tide_vm_destroy(struct tide_vm *vm)
{
	if (!vm)
		return;
	join_threads(vm);
	tide_space_destroy(vm->space);
	for (uint32_t i = 0; i < GUEST_VCPUS_MAX; i++)
		vcpu_destroy(&vm->vcpu[i]);
	vm->machine->close(vm);
	if (vm->base)
		munmap(vm->base, vm->span);
	fini_lock(vm);
	free(vm);
}

struct tide_space *tide_vm_space(struct tide_vm *vm)
{
	return vm->space;
}

/* Under vm->lock. */
static int first_error(const struct tide_vm *vm)
{
	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		if (vm->vcpu[i].error)
			return vm->vcpu[i].error;
	}
	return 0;
}

int tide_vm_run(struct tide_vm *vm)
{
	int err;

	tide_lock_acquire(&vm->lock);
	err = first_error(vm);
	if (!err) {
		vm->running = true;
		pthread_cond_broadcast(&vm->go);
	}
	tide_lock_release(&vm->lock);
	return err;
}

int tide_vm_stop(struct tide_vm *vm)
{
	int err;

	tide_lock_acquire(&vm->lock);
	vm->running = false;
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		vcpu_kick(&vm->vcpu[i]);
	pthread_cond_broadcast(&vm->go);
	pthread_cond_broadcast(&vm->left);
	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		while (vm->vcpu[i].place != VCPU_PARKED)
			tide_lock_wait(&vm->lock, &vm->left);
	}
	while (vm->device.has_thread && !vm->device.parked)
		tide_lock_wait(&vm->lock, &vm->left);
	err = first_error(vm);
	tide_lock_release(&vm->lock);
	return err;
}

bool vm_is_running(struct tide_vm *vm)
{
	bool running;

	tide_lock_acquire(&vm->lock);
	running = vm->running;
	tide_lock_release(&vm->lock);
	return running;
}

void tide_vm_iteration(struct tide_vm *vm, uint64_t iteration)
{
	_Atomic uint64_t *word = (void *)&vm->params->iteration;

	/* Relaxed: the guest needs no other data of ours with it. */
	atomic_store_explicit(word, iteration, memory_order_relaxed);
	/* Cannot fail: the block is in a slot. */
	(void)tide_mark_host(vm->space, &vm->params->iteration,
			     sizeof(vm->params->iteration));
}

uint64_t tide_vm_writes(struct tide_vm *vm)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		const _Atomic uint64_t *word =
			(const void *)&vm->params->vcpu[i].writes;

		/* Relaxed: a number to show; exact when stopped. */
		sum += atomic_load_explicit(word, memory_order_relaxed);
	}
	return sum;
}

size_t tide_vm_console(struct tide_vm *vm, char *buffer, size_t size)
{
	size_t bytes = 0;

	if (!size)
		return 0;
	tide_lock_acquire(&vm->lock);
	while (bytes < size - 1 && vm->console_begin != vm->console_end)
		buffer[bytes++] =
			vm->console[vm->console_begin++ % VM_CONSOLE_SIZE];
	tide_lock_release(&vm->lock);
	buffer[bytes] = '\0';
	return bytes;
}

void *tide_vm_memory(struct tide_vm *vm, uint64_t gfn)
{
	if (!vm_layout_has(&vm->layout, gfn, 1))
		return NULL;
	return vm->base + (gfn << TIDE_PAGE_SHIFT);
}
