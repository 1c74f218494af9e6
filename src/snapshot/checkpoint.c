/* SPDX-License-Identifier: MIT */
/*
 * checkpoint.c - keep the content of a space's slots, and bring it back
 *
 * Theory of operation
 * -------------------
 * A checkpoint is a client like any other: what its dirty set does not have is
 * what it was.  A first checkpoint copies all.  A child takes a look at its
 * parent's dirty set, which is what differs from the parent, keeps those pages
 * and gives them back.  A page is looked for from the child up; the first that
 * has it, or else the root, has its content.
 *
 * Rolling back writes, and the tracker sees that.  Nobody else writes
 * meanwhile, so what comes after the copying is the copying's own, and a second
 * harvest takes it away.  Others learn of it as of any write: from the tracker,
 * if it catches the writes of this process, else by a mark.
 *
 * Invariants
 *   I1  a page in no dirty set of the client is as the checkpoint has it
 *   I2  runs are sorted by slot and page, and do not overlap
 */
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <tidemark/checkpoint.h>
#include <tidemark/client.h>
#include <tidemark/mark.h>
#include <tidemark/space.h>
#include <tidemark/tracker.h>

#include "tracker/wp_tracker.h"

/* Pages of a child, adjacent in memory and in its store. */
struct run {
	uint32_t slot; /* index */
	uint64_t page, npages;
	uint64_t at; /* pages, in the store */
};

struct kept_slot {
	struct tide_slot_info info;
	unsigned char *copy; /* of a root; NULL: unlogged, or a child's */
};

struct tide_checkpoint {
	struct tide_space *space;
	struct tide_checkpoint *parent;
	uint32_t refs; /* its owner's, and a child's each */
	struct tide_client *client;
	struct kept_slot *slots; /* in order of gfns */
	uint32_t nslots;

	/* Of a child. */
	struct run *runs;
	size_t nruns, runs_max;
	unsigned char *store;
	uint64_t stored, store_max; /* pages */
};

static size_t bytes_of(uint64_t npages)
{
	return (size_t)npages << TIDE_PAGE_SHIFT;
}

static void put(struct tide_checkpoint *checkpoint)
{
	while (checkpoint && --checkpoint->refs == 0) {
		struct tide_checkpoint *parent = checkpoint->parent;

		tide_client_close(checkpoint->client);
		for (uint32_t i = 0; i < checkpoint->nslots; i++) {
			if (checkpoint->slots[i].copy)
				munmap(checkpoint->slots[i].copy,
				       bytes_of(checkpoint->slots[i]
							.info.npages));
		}
		if (checkpoint->store)
			munmap(checkpoint->store,
			       bytes_of(checkpoint->store_max));
		free(checkpoint->slots);
		free(checkpoint->runs);
		free(checkpoint);
		checkpoint = parent;
	}
}

void tide_checkpoint_destroy(struct tide_checkpoint *checkpoint)
{
	if (!checkpoint)
		return;
	/* Nobody asks it any more what was written since. */
	tide_client_close(checkpoint->client);
	checkpoint->client = NULL;
	put(checkpoint);
}

/* ---- slots ---- */

static int list_slots(struct tide_checkpoint *checkpoint)
{
	struct tide_slot_info info;
	uint32_t count = 0;

	while (!tide_slot_get(checkpoint->space, count, &info))
		count++;
	checkpoint->slots = calloc(count + 1, sizeof(*checkpoint->slots));
	if (!checkpoint->slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		if (tide_slot_get(checkpoint->space, i,
				  &checkpoint->slots[i].info))
			return -ESTALE;
		checkpoint->nslots++;
	}
	return 0;
}

/* Are the slots what they were? */
static int check_slots(const struct tide_checkpoint *checkpoint)
{
	struct tide_slot_info now;
	uint32_t i = 0;

	for (; !tide_slot_get(checkpoint->space, i, &now); i++) {
		const struct tide_slot_info *then = &checkpoint->slots[i].info;

		if (i == checkpoint->nslots || now.id != then->id ||
		    now.flags != then->flags ||
		    now.first_gfn != then->first_gfn ||
		    now.npages != then->npages || now.host != then->host)
			return -ESTALE;
	}
	return i == checkpoint->nslots ? 0 : -ESTALE;
}

static uint32_t slot_of(const struct tide_checkpoint *checkpoint, uint32_t id)
{
	for (uint32_t i = 0; i < checkpoint->nslots; i++) {
		if (checkpoint->slots[i].info.id == id)
			return i;
	}
	assert(!"check_slots() saw it");
	return 0;
}

static unsigned char *memory_of(const struct kept_slot *slot, uint64_t page)
{
	return (unsigned char *)slot->info.host + bytes_of(page);
}

/* ---- what is kept ---- */

static bool is_zero(const unsigned char *page)
{
	return !page[0] && !memcmp(page, page + 1, TIDE_PAGE_SIZE - 1);
}

static void *map(uint64_t npages)
{
	void *memory = mmap(NULL, bytes_of(npages), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static int keep_all(struct tide_checkpoint *checkpoint)
{
	for (uint32_t i = 0; i < checkpoint->nslots; i++) {
		struct kept_slot *slot = &checkpoint->slots[i];

		if (slot->info.flags & TIDE_SLOT_UNLOGGED)
			continue;
		slot->copy = map(slot->info.npages);
		if (!slot->copy)
			return -ENOMEM;
		/* What is zero needs no memory. */
		for (uint64_t page = 0; page < slot->info.npages; page++) {
			const unsigned char *from = memory_of(slot, page);

			if (!is_zero(from))
				memcpy(slot->copy + bytes_of(page), from,
				       TIDE_PAGE_SIZE);
		}
	}
	return 0;
}

static int make_room(struct tide_checkpoint *checkpoint, uint64_t npages)
{
	uint64_t max = checkpoint->store_max;

	if (checkpoint->nruns == checkpoint->runs_max) {
		size_t runs_max = checkpoint->runs_max * 2 + 64;
		struct run *runs =
			realloc(checkpoint->runs, runs_max * sizeof(*runs));

		if (!runs)
			return -ENOMEM;
		checkpoint->runs = runs;
		checkpoint->runs_max = runs_max;
	}
	if (npages > max - checkpoint->stored) {
		void *store;

		max = max * 2 + npages;
		store = checkpoint->store
				? mremap(checkpoint->store,
					 bytes_of(checkpoint->store_max),
					 bytes_of(max), MREMAP_MAYMOVE)
				: map(max);
		if (!store || store == MAP_FAILED)
			return -ENOMEM;
		checkpoint->store = store;
		checkpoint->store_max = max;
	}
	return 0;
}

static int keep_extent(struct tide_checkpoint *checkpoint,
		       const struct tide_extent *extent)
{
	uint32_t slot = slot_of(checkpoint, extent->slot);
	int err = make_room(checkpoint, extent->npages);

	if (err)
		return err;
	memcpy(checkpoint->store + bytes_of(checkpoint->stored), extent->host,
	       bytes_of(extent->npages));
	checkpoint->runs[checkpoint->nruns++] = (struct run){
		.slot = slot,
		.page = extent->first_gfn -
			checkpoint->slots[slot].info.first_gfn,
		.npages = extent->npages,
		.at = checkpoint->stored,
	};
	checkpoint->stored += extent->npages;
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct run *x = a, *y = b;

	if (x->slot != y->slot)
		return x->slot < y->slot ? -1 : 1;
	return (x->page > y->page) - (x->page < y->page);
}

/* The slots are what they were: what of one is gone has its place in another
 * of the same name, all dirty, or came after the checkpoint. */
static int next_there(struct tide_harvest *harvest, struct tide_extent *ret)
{
	int err;

	do {
		err = tide_harvest_next(harvest, ret);
	} while (err > 0 && ret->flags & TIDE_EXTENT_GONE);
	return err;
}

/* What differs from the parent, which goes on knowing that it does. */
static int keep_changes(struct tide_checkpoint *checkpoint)
{
	struct tide_harvest *harvest;
	struct tide_extent extent;
	int ret = tide_harvest_begin(checkpoint->parent->client, &harvest);

	if (ret)
		return ret;
	while ((ret = next_there(harvest, &extent)) > 0) {
		ret = keep_extent(checkpoint, &extent);
		if (ret)
			break;
	}
	tide_harvest_abort(harvest);
	if (checkpoint->nruns)
		qsort(checkpoint->runs, checkpoint->nruns,
		      sizeof(*checkpoint->runs), by_place);
	return ret;
}

/* The run that @page is in, or the first behind it; nruns: there is none. */
static size_t find_run(const struct tide_checkpoint *checkpoint, uint32_t slot,
		       uint64_t page)
{
	size_t low = 0, high = checkpoint->nruns;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct run *run = &checkpoint->runs[middle];

		if (run->slot < slot ||
		    (run->slot == slot && run->page + run->npages <= page))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The content of @page, and of up to *@npages from it on: how many lie
 * together there is put into *@npages. */
static const unsigned char *kept(const struct tide_checkpoint *checkpoint,
				 uint32_t slot, uint64_t page, uint64_t *npages)
{
	for (; checkpoint->parent; checkpoint = checkpoint->parent) {
		size_t at = find_run(checkpoint, slot, page);
		const struct run *run = &checkpoint->runs[at];
		uint64_t n;

		if (at == checkpoint->nruns || run->slot != slot)
			continue;
		n = run->page > page ? run->page - page
				     : run->page + run->npages - page;
		if (*npages > n)
			*npages = n;
		if (run->page <= page)
			return checkpoint->store +
			       bytes_of(run->at + page - run->page);
	}
	return checkpoint->slots[slot].copy + bytes_of(page);
}

/* ---- create ---- */

/* Takes what is in the client's dirty set away, unread. */
static int drain(struct tide_client *client)
{
	struct tide_harvest *harvest;
	struct tide_extent extent;
	int ret = tide_harvest_begin(client, &harvest);

	if (ret)
		return ret;
	while ((ret = tide_harvest_next(harvest, &extent)) > 0)
		;
	if (ret) {
		tide_harvest_abort(harvest);
		return ret;
	}
	return tide_harvest_commit(harvest);
}

/* Memory of another process. */
static bool is_elsewhere(struct tide_space *space)
{
	const struct tide_wp *wp =
		tide_space_tracker_object(space, TIDE_TRACKER_WP);

	return wp && wp->remote;
}

static int fill(struct tide_checkpoint *checkpoint)
{
	int err = 0;

	if (is_elsewhere(checkpoint->space))
		err = -EOPNOTSUPP;
	if (!err && checkpoint->parent)
		err = check_slots(checkpoint->parent);
	if (!err)
		err = list_slots(checkpoint);
	if (!err && checkpoint->parent)
		err = keep_changes(checkpoint);
	if (!err)
		err = tide_client_open(checkpoint->space, "checkpoint",
				       TIDE_START_CLEAN, &checkpoint->client);
	/* Of what was written before, the tracker may only tell now. */
	if (!err)
		err = drain(checkpoint->client);
	if (!err && !checkpoint->parent)
		err = keep_all(checkpoint);
	return err;
}

int tide_checkpoint_create(struct tide_space *space,
			   struct tide_checkpoint *parent,
			   struct tide_checkpoint **ret_checkpoint)
{
	struct tide_checkpoint *checkpoint;
	int err;

	if (!space || (parent && parent->space != space))
		return -EINVAL;
	checkpoint = calloc(1, sizeof(*checkpoint));
	if (!checkpoint)
		return -ENOMEM;
	checkpoint->space = space;
	checkpoint->refs = 1;
	checkpoint->parent = parent;
	if (parent)
		parent->refs++;
	err = fill(checkpoint);
	if (err) {
		put(checkpoint);
		return err;
	}
	*ret_checkpoint = checkpoint;
	return 0;
}

/* ---- roll back, compare ---- */

static void restore(const struct tide_checkpoint *checkpoint,
		    const struct tide_extent *extent)
{
	uint32_t slot = slot_of(checkpoint, extent->slot);
	uint64_t first =
		extent->first_gfn - checkpoint->slots[slot].info.first_gfn;
	uint64_t done = 0;

	while (done < extent->npages) {
		uint64_t n = extent->npages - done;
		const unsigned char *from =
			kept(checkpoint, slot, first + done, &n);

		memcpy((unsigned char *)extent->host + bytes_of(done), from,
		       bytes_of(n));
		done += n;
	}
}

int tide_checkpoint_rollback(struct tide_checkpoint *checkpoint,
			     uint64_t *ret_pages)
{
	enum tide_tracker tracker = tide_space_tracker(checkpoint->space);
	bool seen = tracker == TIDE_TRACKER_WP ||
		    tracker == TIDE_TRACKER_SIGSEGV ||
		    tracker == TIDE_TRACKER_SOFT_DIRTY;
	struct tide_harvest *harvest;
	struct tide_extent extent;
	uint64_t pages = 0;
	int ret = check_slots(checkpoint);

	if (!ret)
		ret = tide_harvest_begin(checkpoint->client, &harvest);
	if (ret)
		return ret;
	while ((ret = next_there(harvest, &extent)) > 0) {
		restore(checkpoint, &extent);
		pages += extent.npages;
		if (!seen)
			(void)tide_mark_range(checkpoint->space,
					      extent.first_gfn, extent.npages);
	}
	if (ret) {
		tide_harvest_abort(harvest);
		return ret;
	}
	(void)tide_harvest_commit(harvest); /* next did not fail */
	/* If our own writes cannot be taken away now, they are copied over once
	 * more by the next rollback, that is all. */
	if (pages)
		(void)drain(checkpoint->client);
	if (ret_pages)
		*ret_pages = pages;
	return 0;
}

static int differ(const struct kept_slot *slot, uint64_t page,
		  const unsigned char *want,
		  struct tide_checkpoint_difference *ret)
{
	const unsigned char *have = memory_of(slot, page);
	uint64_t i = 0;

	while (have[i] == want[i])
		i++;
	if (ret)
		*ret = (struct tide_checkpoint_difference){
			.slot = slot->info.id,
			.offset = bytes_of(page) + i,
			.have = have[i],
			.want = want[i],
		};
	return 1;
}

int tide_checkpoint_compare(const struct tide_checkpoint *checkpoint,
			    struct tide_checkpoint_difference *ret)
{
	int err = check_slots(checkpoint);

	for (uint32_t i = 0; i < checkpoint->nslots && !err; i++) {
		const struct kept_slot *slot = &checkpoint->slots[i];
		uint64_t page = 0;

		if (slot->info.flags & TIDE_SLOT_UNLOGGED)
			continue;
		while (page < slot->info.npages && !err) {
			uint64_t n = slot->info.npages - page;
			const unsigned char *want =
				kept(checkpoint, i, page, &n);

			if (memcmp(memory_of(slot, page), want, bytes_of(n)) !=
			    0)
				err = differ(slot, page, want, ret);
			page += n;
		}
	}
	return err;
}
