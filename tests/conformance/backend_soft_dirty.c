/* SPDX-License-Identifier: MIT */
/*
 * backend_soft_dirty.c - the conformance engine on soft-dirty bits
 *
 * The guest is this thread, which writes as backend_wp.c's does, discards pages
 * first, and writes in the hooks: until it has to stand still, and from the
 * moment on when it need not any more.
 *
 * Without huge pages, because one that is written is dirty as a whole: how much
 * that adds is a test of tests/regress/soft_dirty_bugs_test.c.
 *
 * Errors: a hook that fails, and a call into the kernel between them that fails
 * before it did anything, after it did all, is interrupted or cut short.
 */
#include "backends.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SLOTS_MAX 80u

struct soft_dirty {
	struct tide_space *space;
	int memory_fd; /* a file of one value, to be read from */
	uint64_t random;
	/* As they were when the last operation began: in the middle of it they
	 * cannot be asked for. */
	struct tide_slot_info slots[SLOTS_MAX];
	uint32_t slot_count;
};

enum fault {
	FAULT_STOP,
	FAULT_RESUME,
	FAULT_EARLY,
	FAULT_LATE,
	FAULT_INTERRUPTED, /* nobody else hears of this one, or the next */
	FAULT_SHORT,
	FAULT_COUNT
};

/* Of the one run that there is at a time. */
static struct {
	void (*hook)(void *opaque);
	void *opaque;
	bool in_hook;
	bool stopped;	    /* nobody may write */
	uint32_t countdown; /* calls, or hooks, until one fails; 0: none does */
	enum fault fault;
	uint32_t failed;
} kernel;

ssize_t __real_pread64(int fd, void *buffer, size_t nbytes, off_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t nbytes, off_t offset);
ssize_t __real_pwrite64(int fd, const void *buffer, size_t nbytes,
			off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buffer, size_t nbytes,
			off_t offset);

static bool is_due(void)
{
	return kernel.countdown && --kernel.countdown == 0;
}

static ssize_t fail(int error)
{
	kernel.failed += error != EINTR;
	errno = error;
	return -1;
}

ssize_t __wrap_pread64(int fd, void *buffer, size_t nbytes, off_t offset)
{
	if (!kernel.stopped || kernel.fault < FAULT_EARLY || !is_due())
		return __real_pread64(fd, buffer, nbytes, offset);
	if (kernel.fault == FAULT_INTERRUPTED)
		return fail(EINTR);
	if (kernel.fault == FAULT_SHORT)
		return __real_pread64(fd, buffer, (nbytes / 2 + 7) & ~7ul,
				      offset);
	if (kernel.fault == FAULT_LATE)
		(void)__real_pread64(fd, buffer, nbytes, offset);
	return fail(EIO);
}

ssize_t __wrap_pwrite64(int fd, const void *buffer, size_t nbytes, off_t offset)
{
	if (!kernel.stopped || kernel.fault < FAULT_EARLY || !is_due())
		return __real_pwrite64(fd, buffer, nbytes, offset);
	if (kernel.fault == FAULT_INTERRUPTED)
		return fail(EINTR);
	if (kernel.fault == FAULT_LATE)
		(void)__real_pwrite64(fd, buffer, nbytes, offset);
	return fail(ENOMEM);
}

static uint64_t draw(struct soft_dirty *self, uint64_t below)
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

static int stop(void *opaque)
{
	(void)opaque;
	call_hook();
	if (kernel.fault == FAULT_STOP && is_due()) {
		kernel.failed++;
		return -EAGAIN;
	}
	kernel.stopped = true;
	return 0;
}

static int resume(void *opaque)
{
	(void)opaque;
	kernel.stopped = false;
	call_hook();
	if (kernel.fault == FAULT_RESUME && is_due()) {
		kernel.failed++;
		return -EAGAIN;
	}
	return 0;
}

static void soft_dirty_destroy(void *opaque)
{
	struct soft_dirty *self = opaque;

	tide_space_destroy(self->space);
	(void)prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	if (self->memory_fd >= 0)
		close(self->memory_fd);
	free(self);
}

static int soft_dirty_create(const struct conform_backend *backend,
			     const struct conform_options *options,
			     uint64_t seed, void **ret_self)
{
	const struct tide_soft_dirty_config config = { .size = sizeof(config),
						       .stop = stop,
						       .resume = resume };
	struct soft_dirty *self = calloc(1, sizeof(*self));
	int err;

	(void)options;
	if (!self)
		return -ENOMEM;
	self->random = seed;
	(void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	self->memory_fd = memfd_create("value", MFD_CLOEXEC);
	memset(&kernel, 0, sizeof(kernel));
	err = self->memory_fd < 0 ? -errno : tide_space_create(&self->space);
	if (!err)
		err = tide_space_attach(self->space, backend->tracker, &config);
	if (err) {
		soft_dirty_destroy(self);
		return err;
	}
	*ret_self = self;
	return 0;
}

static struct tide_space *soft_dirty_space(void *opaque)
{
	const struct soft_dirty *self = opaque;

	return self->space;
}

/* NULL: no slot has it. */
static void *page_of(const struct soft_dirty *self, uint64_t gfn)
{
	for (uint32_t i = 0; i < self->slot_count; i++) {
		const struct tide_slot_info *info = &self->slots[i];

		if (gfn - info->first_gfn < info->npages)
			return (unsigned char *)info->host +
			       (gfn - info->first_gfn) * TIDE_PAGE_SIZE;
	}
	return NULL;
}

static void look_at_slots(struct soft_dirty *self)
{
	self->slot_count = 0;
	while (self->slot_count < SLOTS_MAX &&
	       !tide_slot_get(self->space, self->slot_count,
			      &self->slots[self->slot_count]))
		self->slot_count++;
}

static int write_page(struct soft_dirty *self, void *page, uint64_t value)
{
	uint64_t before = draw(self, 16);

	if (before == 0)
		(void)madvise(page, TIDE_PAGE_SIZE, MADV_PAGEOUT);
	if (before == 1)
		(void)madvise(page, TIDE_PAGE_SIZE, MADV_DONTNEED);
	if (draw(self, 4)) {
		*(volatile uint64_t *)page = value;
		return 0;
	}
	if (pwrite(self->memory_fd, &value, sizeof(value), 0) !=
		    sizeof(value) ||
	    pread(self->memory_fd, page, sizeof(value), 0) != sizeof(value))
		return -errno;
	return 0;
}

static int soft_dirty_guest_write(void *opaque, const uint64_t *gfns,
				  size_t count, uint64_t value)
{
	struct soft_dirty *self = opaque;

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

static void soft_dirty_hook(void *opaque, void (*hook)(void *opaque),
			    void *hook_opaque)
{
	if (hook)
		look_at_slots(opaque);
	kernel.hook = hook;
	kernel.opaque = hook_opaque;
}

static void soft_dirty_inject(void *opaque, uint64_t random)
{
	(void)opaque;
	kernel.countdown = 1 + (uint32_t)(random % 5);
	kernel.fault = (enum fault)(random / 5 % FAULT_COUNT);
	kernel.failed = 0;
}

static uint32_t soft_dirty_calm(void *opaque)
{
	uint32_t failed = kernel.failed;

	(void)opaque;
	kernel.countdown = kernel.failed = 0;
	return failed;
}

const struct conform_backend conform_soft_dirty = {
	.name = "soft-dirty",
	.tracker = TIDE_TRACKER_SOFT_DIRTY,
	.create = soft_dirty_create,
	.destroy = soft_dirty_destroy,
	.space = soft_dirty_space,
	.guest_write = soft_dirty_guest_write,
	.hook = soft_dirty_hook,
	.inject = soft_dirty_inject,
	.calm = soft_dirty_calm,
};
