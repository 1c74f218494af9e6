/* SPDX-License-Identifier: MIT */
/*
 * backend_soft.c - the conformance engine on the software MMU
 *
 * Two vCPUs take turns.  In the shadow modes their writes go through page
 * tables in guest memory that the engine does not see, and that the guest
 * itself rewrites all the time: a page is reached by a 4 KiB mapping at one of
 * two addresses, or by a large one, from one of two roots.  What is mapped
 * where is only changed when the page to write is not there, so that old
 * translations are used as well as new ones.
 *
 * With a backing there are fewer frames than pages; the guest's writes are
 * mixed with swapping out and merging.
 *
 * Errors: a vCPU that stays in guest mode lets every flush time out, and
 * writes on by the translations that it had.  It is on threads of its own:
 * nobody waits for himself.
 */
#include "backends.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tidemark/backing.h>
#include <tidemark/mmu.h>
#include <tidemark/tracker.h>
#include <tidemark/vcpu.h>

#define VCPUS 2
#define FLUSH_TIMEOUT_NS 500000u /* only ever waited for a stuck vCPU */
#define FRAMES 96u
#define BACKING_PAGES 0x140000u /* the largest slots of the engine, and more */

/* The guest's own pages, gfn 0 and up. */
#define OWN_PAGES 0x40u
#define ROOTS 1u    /* two of them */
#define TABLE 3u    /* x86 only: below the root */
#define MIDDLE 4u   /* of both formats: 2 MiB an entry */
#define OWN_LEAF 5u /* maps the guest's own pages */
#define LEAVES 8u
#define LEAF_TABLES 4u
#define SMALL_PAGES (LEAF_TABLES * 512u)
#define LARGE_PAGES 4u
#define NOWHERE UINT64_MAX

/* Everything is in the second GiB of guest virtual memory. */
#define GIB_INDEX 1u
#define AT_SMALL (1ull << 30)
#define AT_OWN (AT_SMALL + (LEAF_TABLES << 21))
#define AT_LARGE (AT_SMALL + (8ull << 21))

struct soft {
	const struct soft_kind *kind;
	struct tide_mmu *mmu;
	struct tide_space *space;
	struct tide_vcpu *vcpu[VCPUS];
	struct tide_vcpu *stuck; /* one of them, in guest mode, or NULL */
	uint64_t random;

	uint64_t *own;		     /* the guest's own memory */
	uint64_t small[SMALL_PAGES]; /* gfn mapped there, or NOWHERE */
	uint64_t large[LARGE_PAGES]; /* the same, in units of 512 */

	struct tide_backing *backing;
	int swap_fd;
	uint64_t given; /* pages of it that slots have */
};

struct soft_kind {
	struct conform_backend backend;
	int get_clears;
	uint64_t chunk_pages;
	uint32_t ring_entries;
	enum tide_paging_mode mode;
	bool backed;
};

static uint64_t draw(struct soft *self, uint64_t below)
{
	self->random =
		self->random * 6364136223846793005u + 1442695040888963407u;
	return (self->random >> 33) % below;
}

/* ---- the guest's page tables ---- */

static uint64_t table_entry(const struct soft *self, uint64_t gfn)
{
	return self->kind->mode == TIDE_PAGING_X86_64
		       ? gfn << 12 | 3	/* present, writable */
		       : gfn << 10 | 1; /* V, no leaf */
}

static uint64_t leaf_entry(const struct soft *self, uint64_t gfn, bool is_large)
{
	return self->kind->mode == TIDE_PAGING_X86_64
		       ? gfn << 12 | 3 | (is_large ? 0x80 : 0)
		       : gfn << 10 | 7; /* V, R, W */
}

static uint64_t *entry_of(struct soft *self, uint64_t page, uint64_t index)
{
	return self->own + (page * 512 + index);
}

static void build_tables(struct soft *self)
{
	bool four = self->kind->mode == TIDE_PAGING_X86_64;

	for (uint64_t root = ROOTS; root < ROOTS + 2; root++)
		*entry_of(self, root, four ? 0 : GIB_INDEX) =
			table_entry(self, four ? TABLE : MIDDLE);
	*entry_of(self, TABLE, GIB_INDEX) = table_entry(self, MIDDLE);
	for (uint64_t i = 0; i < LEAF_TABLES; i++)
		*entry_of(self, MIDDLE, i) = table_entry(self, LEAVES + i);
	*entry_of(self, MIDDLE, LEAF_TABLES) = table_entry(self, OWN_LEAF);
	for (uint64_t i = 0; i < OWN_PAGES; i++)
		*entry_of(self, OWN_LEAF, i) = leaf_entry(self, i, false);
	for (uint64_t i = 0; i < SMALL_PAGES; i++)
		self->small[i] = NOWHERE;
	for (uint64_t i = 0; i < LARGE_PAGES; i++)
		self->large[i] = NOWHERE;
}

static int set_root(struct soft *self, struct tide_vcpu *vcpu)
{
	struct tide_paging paging = {
		.size = sizeof(paging),
		.mode = self->kind->mode,
		.flags = TIDE_PAGING_WP,
		.root = (ROOTS + draw(self, 2)) << TIDE_PAGE_SHIFT,
	};

	return tide_vcpu_set_paging(vcpu, &paging);
}

/* ---- the guest's writes ---- */

/* Return: 0, in guest mode; a negative errno. */
static int enter(struct soft *self, struct tide_vcpu *vcpu)
{
	int why = tide_vcpu_enter(vcpu);

	if (why == TIDE_EXIT_RING_FULL) {
		why = tide_soft_ring_full(self->space);
		if (why >= 0)
			why = tide_vcpu_enter(vcpu);
	}
	return why > 0 ? -EIO : why;
}

/* In guest mode before and after, but for an error.  Return: 0; -EFAULT: no
 * memory there; another negative errno. */
static int store(struct soft *self, struct tide_vcpu *vcpu, uint64_t gva,
		 uint64_t value)
{
	for (;;) {
		int why = tide_vcpu_store(vcpu, gva, sizeof(value), value);

		if (!why && vcpu != self->stuck)
			why = tide_vcpu_safe_point(vcpu);
		switch (why) {
		case 0:
			return 0;
		case TIDE_EXIT_MMIO:
			return -EFAULT;
		case TIDE_EXIT_ERROR:
			return tide_vcpu_last_exit(vcpu)->error;
		case TIDE_EXIT_RING_FULL:
			why = tide_soft_ring_full(self->space);
			if (why >= 0)
				why = enter(self, vcpu);
			break;
		default:
			return why < 0 ? why : -EIO; /* a guest fault */
		}
		if (why < 0)
			return why;
	}
}

/* The guest's kernel: entry @index of table @page of its own becomes @entry. */
static int set_entry(struct soft *self, struct tide_vcpu *vcpu, uint64_t page,
		     uint64_t index, uint64_t entry)
{
	return store(self, vcpu,
		     AT_OWN + (page << TIDE_PAGE_SHIFT) + index * sizeof(entry),
		     entry);
}

/* An address by which the guest reaches @gfn now. */
static int map(struct soft *self, struct tide_vcpu *vcpu, uint64_t gfn,
	       uint64_t *ret_gva)
{
	uint64_t at = (gfn * (1 + 2 * draw(self, 2))) % SMALL_PAGES;
	int err = 0;

	if (draw(self, 8) == 0) {
		at = gfn / 512 % LARGE_PAGES;
		if (self->large[at] != gfn / 512)
			err = set_entry(self, vcpu, MIDDLE, 8 + at,
					leaf_entry(self, gfn & ~511ull, true));
		if (!err)
			self->large[at] = gfn / 512;
		*ret_gva =
			AT_LARGE + ((at * 512 + gfn % 512) << TIDE_PAGE_SHIFT);
		return err;
	}
	if (self->small[at] != gfn)
		err = set_entry(self, vcpu, LEAVES + at / 512, at % 512,
				leaf_entry(self, gfn, false));
	if (!err)
		self->small[at] = gfn;
	*ret_gva = AT_SMALL + (at << TIDE_PAGE_SHIFT);
	return err;
}

/* Frames come and go.  What fails here is tried again by whoever needs it. */
static void churn(struct soft *self)
{
	uint64_t first = draw(self, self->given ? self->given : 1);
	uint64_t npages = 1 + draw(self, 200);

	if (npages > self->given - first)
		npages = self->given - first;
	if (!npages)
		return;
	if (draw(self, 4))
		(void)tide_backing_swap_out(self->backing, first, npages);
	else
		(void)tide_backing_merge(self->backing, first, npages);
}

static int write_all(struct soft *self, struct tide_vcpu *vcpu,
		     const uint64_t *gfns, size_t count, uint64_t value)
{
	int done = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t gva = gfns[i] << TIDE_PAGE_SHIFT;
		int err = 0;

		if (self->kind->mode != TIDE_PAGING_NONE)
			err = map(self, vcpu, gfns[i], &gva);
		if (!err)
			err = store(self, vcpu, gva, value);
		if (err && !done)
			return err;
		if (err)
			break;
		done++;
	}
	return done;
}

struct stuck_write {
	struct soft *self;
	const uint64_t *gfns;
	size_t count;
	uint64_t value;
	int done;
};

static void *write_stuck(void *opaque)
{
	struct stuck_write *job = opaque;

	job->done = write_all(job->self, job->self->stuck, job->gfns,
			      job->count, job->value);
	return NULL;
}

static int elsewhere(void *(*function)(void *opaque), void *opaque)
{
	pthread_t thread;
	int err = pthread_create(&thread, NULL, function, opaque);

	return err ? -err : -pthread_join(thread, NULL);
}

static int soft_guest_write(void *opaque, const uint64_t *gfns, size_t count,
			    uint64_t value)
{
	struct soft *self = opaque;
	struct tide_vcpu *vcpu = self->vcpu[draw(self, VCPUS)];
	struct stuck_write job = { self, gfns, count, value, 0 };
	int done = 0;

	if (self->backing && draw(self, 3) == 0)
		churn(self);
	if (self->stuck) {
		done = elsewhere(write_stuck, &job);
		return done ? done : job.done;
	}
	if (self->kind->mode != TIDE_PAGING_NONE && draw(self, 4) == 0)
		done = set_root(self, vcpu);
	if (!done)
		done = enter(self, vcpu);
	if (done)
		return done;
	done = write_all(self, vcpu, gfns, count, value);
	(void)tide_vcpu_exit(vcpu); /* an exit may have taken it out */
	return done;
}

/* ---- memory that is larger than its frames ---- */

static void *soft_memory(void *opaque, uint64_t npages)
{
	struct soft *self = opaque;
	char *host = tide_backing_host(self->backing);
	uint64_t first = self->given;

	if (npages > BACKING_PAGES - first)
		return NULL;
	self->given += npages;
	return host + first * TIDE_PAGE_SIZE;
}

static int soft_host_read(void *opaque, const void *host, void *buffer,
			  size_t nbytes)
{
	struct soft *self = opaque;

	return tide_backing_read(self->backing, host, buffer, nbytes);
}

static int soft_host_write(void *opaque, void *host, const void *buffer,
			   size_t nbytes)
{
	struct soft *self = opaque;

	return tide_backing_write(self->backing, host, buffer, nbytes);
}

static int create_backing(struct soft *self)
{
	struct tide_backing_config config = { .size = sizeof(config),
					      .npages = BACKING_PAGES,
					      .nframes = FRAMES };

	self->swap_fd = memfd_create("swap", MFD_CLOEXEC);
	if (self->swap_fd < 0)
		return -errno;
	config.swap_fd = self->swap_fd;
	return tide_backing_create(&config, &self->backing);
}

/* ---- errors ---- */

static void *enter_stuck(void *opaque)
{
	struct soft *self = opaque;

	if (enter(self, self->stuck))
		self->stuck = NULL;
	return NULL; /* and no safe point */
}

static void soft_inject(void *opaque, uint64_t random)
{
	struct soft *self = opaque;

	self->stuck = self->vcpu[random % VCPUS];
	if (elsewhere(enter_stuck, self))
		self->stuck = NULL;
}

static uint32_t soft_calm(void *opaque)
{
	struct soft *self = opaque;
	struct tide_vcpu *vcpu = self->stuck;

	self->stuck = NULL;
	if (vcpu)
		(void)tide_vcpu_exit(vcpu); /* an exit may have done it */
	return vcpu != NULL;
}

/* ---- create and destroy ---- */

static void soft_destroy(void *opaque)
{
	struct soft *self = opaque;

	tide_space_destroy(self->space);
	for (int v = 0; v < VCPUS; v++)
		tide_vcpu_destroy(self->vcpu[v]);
	tide_mmu_destroy(self->mmu);
	tide_backing_destroy(self->backing);
	if (self->swap_fd >= 0)
		close(self->swap_fd);
	if (self->own)
		munmap(self->own, OWN_PAGES * TIDE_PAGE_SIZE);
	free(self);
}

static int create_mmu(struct soft *self)
{
	struct tide_mmu_config config = {
		.size = sizeof(config),
		.flush_timeout_ns = FLUSH_TIMEOUT_NS,
	};
	int err = self->kind->backed ? create_backing(self) : 0;

	if (err)
		return err;
	config.backing = self->backing;
	return tide_mmu_create(&config, &self->mmu);
}

/* The guest's own pages come after: a ring is turned on while there is no slot
 * yet. */
static int attach(struct soft *self)
{
	struct tide_soft_config config = {
		.size = sizeof(config),
		.mmu = self->mmu,
		.get_clears = self->kind->get_clears,
		.chunk_pages = self->kind->chunk_pages,
		.ring_entries = self->kind->ring_entries,
	};
	struct tide_slot_config slot = { .id = CONFORM_OWN_SLOT,
					 .flags = TIDE_SLOT_UNLOGGED,
					 .npages = OWN_PAGES };
	int err = tide_space_create(&self->space);

	if (!err)
		err = tide_space_attach(self->space,
					self->kind->backend.tracker, &config);
	if (err)
		return err;
	slot.host =
		mmap(NULL, OWN_PAGES * TIDE_PAGE_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (slot.host == MAP_FAILED)
		return -ENOMEM;
	self->own = slot.host;
	build_tables(self);
	return tide_slot_add(self->space, &slot);
}

static int create_vcpus(struct soft *self)
{
	int err = 0;

	for (int v = 0; v < VCPUS && !err; v++) {
		err = tide_vcpu_create(self->mmu, &self->vcpu[v]);
		if (!err && self->kind->mode != TIDE_PAGING_NONE)
			err = set_root(self, self->vcpu[v]);
	}
	return err;
}

static int soft_create(const struct conform_backend *backend,
		       const struct conform_options *options, uint64_t seed,
		       void **ret_self)
{
	struct soft *self = calloc(1, sizeof(*self));
	int err;

	(void)options;
	if (!self)
		return -ENOMEM;
	/* The backend is the first member. */
	self->kind = (const void *)backend;
	self->random = seed;
	self->swap_fd = -1;
	err = create_mmu(self);
	if (!err)
		err = attach(self);
	if (!err)
		err = create_vcpus(self);
	if (err) {
		soft_destroy(self);
		return err;
	}
	*ret_self = self;
	return 0;
}

static struct tide_space *soft_space(void *opaque)
{
	struct soft *self = opaque;

	return self->space;
}

#define SOFT_BACKEND(its_name, its_tracker, its_properties)     \
	.name = (its_name), .tracker = (its_tracker),           \
	.properties = (its_properties), .create = soft_create,  \
	.destroy = soft_destroy, .space = soft_space,           \
	.guest_write = soft_guest_write, .inject = soft_inject, \
	.calm = soft_calm

/* A bitmap with CLEAR, initially all set; a ring of the smallest size. */
#define SOFT_CLEAR(its_name)                                          \
	.backend = { SOFT_BACKEND(its_name, TIDE_TRACKER_SOFT_BITMAP, \
				  CONFORM_SHARED) },                  \
	.chunk_pages = 128
#define SOFT_RING(its_name)                                               \
	.backend = { SOFT_BACKEND(its_name, TIDE_TRACKER_SOFT_RING, 0) }, \
	.ring_entries = 256
/* Fewer frames than pages. */
#define SOFT_SWAP(its_name)                                              \
	.backend = { SOFT_BACKEND(its_name, TIDE_TRACKER_SOFT_BITMAP,    \
				  CONFORM_SHARED),                       \
		     .memory = soft_memory, .host_read = soft_host_read, \
		     .host_write = soft_host_write },                    \
	.chunk_pages = 128, .backed = true

static const struct soft_kind soft_clear = {
	SOFT_CLEAR("soft-clear"),
};
static const struct soft_kind soft_get = {
	.backend = { SOFT_BACKEND("soft-get", TIDE_TRACKER_SOFT_BITMAP, 0) },
	.get_clears = 1,
};
static const struct soft_kind soft_ring = {
	SOFT_RING("soft-ring"),
};
static const struct soft_kind soft_clear_x86 = {
	SOFT_CLEAR("soft-clear-x86"),
	.mode = TIDE_PAGING_X86_64,
};
static const struct soft_kind soft_clear_sv39 = {
	SOFT_CLEAR("soft-clear-sv39"),
	.mode = TIDE_PAGING_SV39,
};
static const struct soft_kind soft_ring_x86 = {
	SOFT_RING("soft-ring-x86"),
	.mode = TIDE_PAGING_X86_64,
};
static const struct soft_kind soft_ring_sv39 = {
	SOFT_RING("soft-ring-sv39"),
	.mode = TIDE_PAGING_SV39,
};
static const struct soft_kind soft_swap = {
	SOFT_SWAP("soft-swap"),
};
static const struct soft_kind soft_swap_x86 = {
	SOFT_SWAP("soft-swap-x86"),
	.mode = TIDE_PAGING_X86_64,
};

const struct conform_backend *const conform_soft[] = {
	&soft_clear.backend,	  &soft_get.backend,
	&soft_ring.backend,	  &soft_clear_x86.backend,
	&soft_clear_sv39.backend, &soft_ring_x86.backend,
	&soft_ring_sv39.backend,  &soft_swap.backend,
	&soft_swap_x86.backend,	  NULL,
};
