/* SPDX-License-Identifier: MIT */
/*
 * device.c - a device model that writes to guest memory, and says so
 *
 * A thread that goes round the device's pages and leaves the number of the
 * write in the first word of each, and its complement in the last: first the
 * write, then one mark over the page.  The count of writes is its whole
 * state, and tells what each page must hold.
 */
#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "vmm/machine.h"
#include "vmm/vm.h"

#define PERIOD_NS 2000000ull
#define WRITES_PER_PERIOD 4u
#define NS_PER_S 1000000000ull

#define PAGE_WORDS (TIDE_PAGE_SIZE / sizeof(uint64_t))

/* Odd, so prime to the number of pages: all of them come round. */
#define STRIDE 37u
_Static_assert(GUEST_DEVICE_PAGES % 2 == 0 && STRIDE % 2 == 1,
	       "a power of two and an odd stride");

uint64_t device_page(uint64_t count)
{
	return (count - 1) * STRIDE % GUEST_DEVICE_PAGES;
}

static int write_page(struct tide_vm *vm, uint64_t count)
{
	const uint64_t page[PAGE_WORDS] = {
		[0] = count,
		[PAGE_WORDS - 1] = ~count,
	};
	uint64_t gfn = GUEST_DEVICE_GFN + device_page(count);

	return vm->machine->write(vm, gfn << TIDE_PAGE_SHIFT, page,
				  sizeof(page));
}

static bool park_until_go(struct tide_vm *vm) TIDE_MUST_HOLD(vm->lock)
{
	while (!vm->quit && !vm->running) {
		vm->device.parked = true;
		pthread_cond_broadcast(&vm->left);
		tide_lock_wait(&vm->lock, &vm->go);
		vm->device.parked = false;
	}
	return !vm->quit;
}

static void wait_until(struct tide_vm *vm, uint64_t due_ns)
	TIDE_MUST_HOLD(vm->lock)
{
	struct timespec until = { .tv_sec = (time_t)(due_ns / NS_PER_S),
				  .tv_nsec = (long)(due_ns % NS_PER_S) };

	while (vm->running && !vm->quit && tide_now_ns() < due_ns)
		tide_lock_wait_until(&vm->lock, &vm->go, &until);
}

static void *device_thread(void *opaque)
{
	struct tide_vm *vm = opaque;
	struct device *device = &vm->device;

	tide_lock_acquire(&vm->lock);
	while (park_until_go(vm)) {
		tide_lock_release(&vm->lock);
		for (unsigned int i = 0; i < WRITES_PER_PERIOD; i++) {
			/* Cannot fail: the pages are in a slot.  If it does,
			 * the oracle of a migrated guest finds it. */
			(void)write_page(vm, ++device->count);
		}
		tide_lock_acquire(&vm->lock);
		wait_until(vm, tide_now_ns() + PERIOD_NS);
	}
	device->parked = true;
	pthread_cond_broadcast(&vm->left);
	tide_lock_release(&vm->lock);
	return NULL;
}

int device_start_thread(struct tide_vm *vm)
{
	sigset_t old;
	int err;

	vm_signals_block(&old);
	err = -pthread_create(&vm->device.thread, NULL, device_thread, vm);
	vm_signals_restore(&old);
	vm->device.has_thread = !err;
	return err;
}

void device_join(struct tide_vm *vm)
{
	if (!vm->device.has_thread)
		return;
	(void)pthread_join(vm->device.thread, NULL); /* ours and joinable */
	vm->device.has_thread = false;
}
