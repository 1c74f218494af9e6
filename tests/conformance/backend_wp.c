/* SPDX-License-Identifier: MIT */
/*
 * backend_wp.c - the conformance engine on this process's own memory
 *
 * The guest is this thread.  Some of its writes are the kernel's, by read(2),
 * and some pages are swapped out first, where there is swap.
 *
 * Errors: a scan that fails before it did anything, or after it has protected
 * pages and before anybody hears of them; and a protection that has to be tried
 * again.
 */
#include "backends.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim_kernel.h"
#include "tracker/wp_abi.h"

#define SLOTS_MAX 80u

struct wp {
	struct tide_space *space;
	int memory_fd; /* a file of one value, to be read from */
	uint64_t random;
	bool stores_only;
	/* As they were when the last operation began: in the middle of it they
	 * cannot be asked for. */
	struct tide_slot_info slots[SLOTS_MAX];
	uint32_t slot_count;
};

/* Of the one run that there is at a time. */
static struct {
	void (*hook)(void *opaque);
	void *opaque;
	bool in_hook;
	uint32_t countdown; /* scans until one fails; 0: none does */
	bool late;
	uint32_t failed;
} kernel;

static uint64_t draw(struct wp *self, uint64_t below)
{
	self->random =
		self->random * 6364136223846793005u + 1442695040888963407u;
	return (self->random >> 33) % below;
}

static void call_hook(void)
{
	if (!kernel.hook || kernel.in_hook)
		return;
	kernel.in_hook = true;
	kernel.hook(kernel.opaque);
	kernel.in_hook = false;
}

static int wp_call(int fd, unsigned long request, void *arg)
{
	bool fail;
	int ret;

	if (request != WP_PAGEMAP_SCAN)
		return sim_foreign_real(fd, request, arg);
	call_hook();
	fail = kernel.countdown && --kernel.countdown == 0;
	kernel.failed += fail;
	if (fail && !kernel.late) {
		errno = ENOMEM;
		return -1;
	}
	ret = sim_foreign_real(fd, request, arg);
	call_hook();
	if (fail) {
		errno = EFAULT;
		return -1;
	}
	return ret;
}

static void wp_destroy(void *opaque)
{
	struct wp *self = opaque;

	tide_space_destroy(self->space);
	sim_foreign(NULL);
	if (self->memory_fd >= 0)
		close(self->memory_fd);
	free(self);
}

static int wp_create(const struct conform_backend *backend,
		     const struct conform_options *options, uint64_t seed,
		     void **ret_self)
{
	struct wp *self = calloc(1, sizeof(*self));
	int err;

	(void)options;
	if (!self)
		return -ENOMEM;
	self->random = seed;
	self->stores_only = backend->tracker == TIDE_TRACKER_SIGSEGV;
	self->memory_fd = memfd_create("value", MFD_CLOEXEC);
	memset(&kernel, 0, sizeof(kernel));
	err = self->memory_fd < 0 ? -errno : tide_space_create(&self->space);
	if (!err)
		err = tide_space_attach(self->space, backend->tracker, NULL);
	if (err) {
		wp_destroy(self);
		return err;
	}
	sim_foreign(wp_call);
	*ret_self = self;
	return 0;
}

static struct tide_space *wp_space(void *opaque)
{
	const struct wp *self = opaque;

	return self->space;
}

/* NULL: no slot has it. */
static void *page_of(const struct wp *self, uint64_t gfn)
{
	for (uint32_t i = 0; i < self->slot_count; i++) {
		const struct tide_slot_info *info = &self->slots[i];

		if (gfn - info->first_gfn < info->npages)
			return (unsigned char *)info->host +
			       (gfn - info->first_gfn) * TIDE_PAGE_SIZE;
	}
	return NULL;
}

static void look_at_slots(struct wp *self)
{
	self->slot_count = 0;
	while (self->slot_count < SLOTS_MAX &&
	       !tide_slot_get(self->space, self->slot_count,
			      &self->slots[self->slot_count]))
		self->slot_count++;
}

static int write_page(struct wp *self, void *page, uint64_t value)
{
	if (draw(self, 16) == 0)
		(void)madvise(page, TIDE_PAGE_SIZE, MADV_PAGEOUT);
	if (self->stores_only || draw(self, 4)) {
		*(volatile uint64_t *)page = value;
		return 0;
	}
	if (pwrite(self->memory_fd, &value, sizeof(value), 0) !=
		    sizeof(value) ||
	    pread(self->memory_fd, page, sizeof(value), 0) != sizeof(value))
		return -errno;
	return 0;
}

static int wp_guest_write(void *opaque, const uint64_t *gfns, size_t count,
			  uint64_t value)
{
	struct wp *self = opaque;

	if (!kernel.in_hook)
		look_at_slots(self);
	for (size_t i = 0; i < count; i++) {
		void *page = page_of(self, gfns[i]);
		int err = page ? write_page(self, page, value) : -EFAULT;

		if (err)
			return err;
	}
	return (int)count;
}

static void wp_hook(void *opaque, void (*hook)(void *opaque), void *hook_opaque)
{
	if (hook)
		look_at_slots(opaque);
	kernel.hook = hook;
	kernel.opaque = hook_opaque;
}

static void wp_inject(void *opaque, uint64_t random)
{
	(void)opaque;
	kernel.countdown = 1 + (uint32_t)(random % 4);
	kernel.late = random / 4 % 2;
	kernel.failed = 0;
}

static uint32_t wp_calm(void *opaque)
{
	uint32_t failed = kernel.failed;

	(void)opaque;
	kernel.countdown = kernel.failed = 0;
	return failed;
}

static const struct conform_backend wp = {
	.name = "wp",
	.tracker = TIDE_TRACKER_WP,
	.create = wp_create,
	.destroy = wp_destroy,
	.space = wp_space,
	.guest_write = wp_guest_write,
	.hook = wp_hook,
	.inject = wp_inject,
	.calm = wp_calm,
};

static const struct conform_backend sigsegv = {
	.name = "sigsegv",
	.tracker = TIDE_TRACKER_SIGSEGV,
	.create = wp_create,
	.destroy = wp_destroy,
	.space = wp_space,
	.guest_write = wp_guest_write,
};

const struct conform_backend *const conform_wp[] = { &wp, &sigsegv, NULL };
