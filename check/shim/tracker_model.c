/* SPDX-License-Identifier: MIT */
/* tracker_model.c - a guest, a kernel's log, and clients that keep copies */
#include "tracker_model.h"

#include <stdlib.h>
#include <string.h>

#include "arena_model.h"
#include "membarrier_model.h"
#include "rcu_model.h"
#include "space/space_internal.h"

#define HOST ((uintptr_t)1 << 30) /* never read */

struct model model;
static struct model built_model;
static const struct model_options *built_how;

static uint32_t index_of(uint64_t page)
{
	return page < 64 ? (uint32_t)page / 2 : 2;
}

static uint64_t page_of(uint32_t index)
{
	return index < 2 ? 2 * index : 64;
}

/* A call of the kernel, or a fault. */
static void kernel_enter(void)
{
	explore_assert(!model.destroyed, "a tracker in use is not destroyed",
		       EXPLORE_HERE);
	explore_lock(&model.mmu_lock, "kernel");
}

static void kernel_leave(void)
{
	explore_unlock(&model.mmu_lock, "kernel");
}

static int failure(int *from)
{
	int err = *from;

	*from = 0;
	return err;
}

/* A client's begin or next ends with it. */
static int told_failure(int *from)
{
	int err = failure(from);

	model.failures += err != 0;
	return err;
}

static uint64_t take_log(uint64_t word, uint64_t keep)
{
	return explore_rmw(&model.log[word], 8, EXPLORE_AND, keep,
			   __ATOMIC_RELAXED, "kernel clears") &
	       ~keep;
}

static void set_log(uint64_t word, uint64_t bits)
{
	(void)explore_rmw(&model.log[word], 8, EXPLORE_OR, bits,
			  __ATOMIC_RELAXED, "kernel marks");
}

/* With the mmu_lock. */
static void arm(uint64_t word, uint64_t bits)
{
	for (uint32_t i = 0; i < MODEL_PAGES; i++) {
		uint64_t page = page_of(i);

		if (page / 64 == word && bits >> (page % 64) & 1)
			model.armed[i] = true;
	}
}

bool model_guest_write(uint64_t page, uint64_t value)
{
	uint32_t i = index_of(page);
	bool reached;

	kernel_enter();
	reached = model.mapped && (model.logged || !model.only_logged);
	if (reached && model.logged && model.armed[i]) {
		model.armed[i] = false;
		if (model.buffered)
			model.buffer[page / 64] |= 1ull << (page % 64);
		else
			set_log(page / 64, 1ull << (page % 64));
	}
	if (reached)
		model_store(page, value);
	kernel_leave();
	return reached;
}

void model_store(uint64_t page, uint64_t value)
{
	explore_store(&model.memory[index_of(page)], 8, value, __ATOMIC_RELAXED,
		      "memory");
}

void model_unmap(void)
{
	explore_plain_store(&model.mapping, 8, 1, "unmap");
}

int model_device_write(uint64_t page, uint64_t value)
{
	int err;

	model_store(page, value);
	err = tide_mark(model.space, page);
	if (err)
		model.missed = true;
	return err;
}

static void log_switch(bool on)
{
	bool all = on && model.space->ops->initially_set;

	model.logged = on;
	for (uint64_t word = 0; word < 2; word++) {
		(void)take_log(word, 0);
		model.buffer[word] = 0;
		if (all)
			set_log(word, ~0ull);
		else if (on)
			arm(word, ~0ull);
	}
}

static int slot_add(void *tracker, struct tide_slot *slot, bool log)
{
	(void)tracker;
	(void)slot;
	kernel_enter();
	model.mapped = true;
	log_switch(log);
	kernel_leave();
	return 0;
}

static int slot_remove(void *tracker, struct tide_slot *slot)
{
	int err = failure(&model.fail_remove);

	(void)tracker;
	(void)slot;
	if (err)
		return err;
	kernel_enter();
	model.mapped = false;
	log_switch(false);
	kernel_leave();
	return 0;
}

static int slot_move(void *tracker, struct tide_slot *slot, uint64_t first_gfn)
{
	int err = failure(&model.fail_move);

	(void)tracker;
	(void)slot;
	(void)first_gfn;
	if (err)
		return err;
	kernel_enter();
	model.mapped = true;
	kernel_leave();
	return 0;
}

static int slot_park(void *tracker, struct tide_slot *slot)
{
	int err = failure(&model.fail_park);

	(void)tracker;
	(void)slot;
	if (err)
		return err;
	kernel_enter();
	model.mapped = false;
	kernel_leave();
	return 0;
}

/* Of a slot that the VM lacks, or has elsewhere, it makes one. */
static int slot_log(void *tracker, struct tide_slot *slot, bool on)
{
	(void)tracker;
	(void)slot;
	kernel_enter();
	model.mapped = true;
	log_switch(on);
	kernel_leave();
	return 0;
}

static void collect_slot(struct tide_slot *slot)
{
	uint64_t words[2] = { 0 }, count = tide_words(tide_slot_npages(slot));

	if (model.space->ops->manual) {
		for (uint64_t w = 0; w < count; w++)
			words[w] = explore_load(&model.log[w], 8,
						__ATOMIC_RELAXED, "GET");
		if (model.sparse) {
			for (uint64_t w = 0; w < count; w++)
				tide_found_bits(slot, w, words[w]);
			return;
		}
		memcpy(tide_slot_scratch(slot), words, 8 * count);
		tide_found_snapshot(slot);
		return;
	}
	kernel_enter();
	for (uint64_t w = 0; w < count; w++) {
		words[w] = take_log(w, 0);
		arm(w, words[w]);
	}
	kernel_leave();
	if (!model.sparse)
		tide_found_words(slot, words);
	else if (words[0] & 1)
		tide_found_page(slot, 0);
}

static int collect(void *tracker, struct tide_slot *only)
{
	struct tide_slot *slot;
	int err = told_failure(&model.fail_collect);

	(void)tracker;
	for (slot = tide_slot_first(model.space); slot;
	     slot = tide_slot_next(slot)) {
		if ((only && slot != only) || !tide_slot_logged(slot))
			continue;
		if (err)
			tide_slot_fail_closed(slot);
		else
			collect_slot(slot);
	}
	return err;
}

/* If it fails, it has cleared and armed nobody knows what: all pages. */
static int rearm(void *tracker, struct tide_slot *slot, uint64_t first,
		 uint64_t npages, const uint64_t *words)
{
	int err = told_failure(&model.fail_rearm);

	(void)tracker;
	(void)slot;
	kernel_enter();
	for (uint64_t w = first / 64; w < tide_words(first + npages); w++) {
		uint64_t bits = err ? ~0ull : words[w - first / 64];

		if (!bits)
			continue;
		(void)take_log(w, ~bits);
		arm(w, bits);
	}
	kernel_leave();
	return err;
}

/* Every vCPU leaves the guest, and what its buffer holds is logged. */
static bool sync_buffers(void *tracker)
{
	(void)tracker;
	explore_touch(&model.destroyed, 1, false, __builtin_return_address(0));
	if (!model.buffered)
		return true;
	kernel_enter();
	for (uint32_t w = 0; w < 2; w++) {
		if (model.buffer[w])
			set_log(w, model.buffer[w]);
		model.buffer[w] = 0;
	}
	kernel_leave();
	return true;
}

static void destroy(void *tracker)
{
	(void)tracker;
	explore_touch(&model.destroyed, 1, true, __builtin_return_address(0));
	model.destroyed = true;
}

static struct tide_tracker_ops ops;

struct tide_slot_config model_slot_config(void)
{
	return (struct tide_slot_config){
		.first_gfn = 0,
		.npages = 1,
		.host = (void *)HOST,
	};
}

static void must(bool right)
{
	if (!right)
		abort();
}

void model_attach(void)
{
	must(!tide_space_attach_ops(model.space, &ops, &model));
}

static void build(const void *how)
{
	const struct model_options *options = how;
	struct tide_slot_config config = model_slot_config();

	must(!tide_space_create(&model.space));
	model.space->asymmetric = !options->symmetric;
	model.buffered = options->buffered;
	model.sparse = options->sparse;
	tide_space_chunk_set(model.space, 64);
	config.flags = options->flags;
	if (options->npages)
		config.npages = options->npages;
	if (!options->empty)
		must(!tide_slot_add(model.space, &config));
	ops = (struct tide_tracker_ops){
		.kind = TIDE_TRACKER_KVM_GET,
		.manual = options->manual,
		.initially_set = options->initially_set,
		.slot_add = slot_add,
		.slot_remove = slot_remove,
		.slot_move = slot_move,
		.slot_park = slot_park,
		.slot_log = slot_log,
		.collect = collect,
		.rearm = options->manual ? rearm : NULL,
		.sync = sync_buffers,
		.destroy = destroy,
	};
	if (!options->marks_only)
		model_attach();
	for (uint32_t i = 0; i < options->clients; i++)
		must(!tide_client_open(model.space, "", TIDE_START_CLEAN,
				       &model.client[i].client));
	if (options->then)
		options->then();
}

void model_reset(const struct model_options *options)
{
	bool first = built_how != options;

	rcu_model_init();
	if (first)
		memset(&model, 0, sizeof(model));
	arena_reset(build, options);
	if (first)
		built_model = model;
	built_how = options;
	model = built_model;
	membarrier_model_error = model.fail_fence;
}

static int try_begin(uint32_t client)
{
	struct model_client *self = &model.client[client];
	int err;

	memset(self->is_fresh, 0, sizeof(self->is_fresh));
	err = tide_harvest_begin(self->client, &self->harvest);
	self->errors += err != 0;
	return err;
}

void model_begin(uint32_t client)
{
	explore_assert(!try_begin(client), "begin succeeds", EXPLORE_HERE);
}

static uint64_t copy_of(uint32_t i)
{
	return explore_load(&model.memory[i], 8, __ATOMIC_RELAXED, "copy");
}

/* As tide_harvest_next. */
static int try_next(uint32_t client)
{
	struct model_client *self = &model.client[client];
	struct tide_extent extent;
	int more = tide_harvest_next(self->harvest, &extent);

	self->errors += more < 0;
	if (more <= 0)
		return more;
	self->in_hand |= extent.host != NULL;
	self->gfn = extent.first_gfn;
	extent.first_gfn %= MODEL_MOVED_GFN;
	for (uint32_t i = 0; i < MODEL_PAGES; i++) {
		if (page_of(i) < extent.first_gfn ||
		    page_of(i) - extent.first_gfn >= extent.npages)
			continue;
		self->is_fresh[i] = true;
		self->fresh[i] = extent.host ? copy_of(i) : MODEL_GONE;
		self->yields[i]++;
	}
	return more;
}

bool model_next(uint32_t client)
{
	int more = try_next(client);

	explore_assert(more >= 0, "next succeeds", EXPLORE_HERE);
	return more > 0;
}

/* It reads what it has in hand, for the last time. */
static void let_go(struct model_client *self)
{
	if (self->in_hand && model.may_unmap)
		(void)explore_plain_load(&model.mapping, 8, "copy");
	self->in_hand = false;
}

void model_commit(uint32_t client)
{
	struct model_client *self = &model.client[client];

	let_go(self);
	explore_assert(!tide_harvest_commit(self->harvest), "commit succeeds",
		       EXPLORE_HERE);
	for (uint32_t i = 0; i < MODEL_PAGES; i++) {
		if (self->is_fresh[i])
			self->copy[i] = self->fresh[i];
	}
}

void model_abort(uint32_t client)
{
	let_go(&model.client[client]);
	tide_harvest_abort(model.client[client].harvest);
}

void model_rest(uint32_t client)
{
	while (model_next(client))
		;
	model_commit(client);
}

void model_harvest(uint32_t client)
{
	model_begin(client);
	model_rest(client);
}

void model_try_rest(uint32_t client)
{
	int more;

	do
		more = try_next(client);
	while (more > 0);
	if (more < 0)
		model_abort(client);
	else
		model_commit(client);
}

void model_try_harvest(uint32_t client)
{
	if (!try_begin(client))
		model_try_rest(client);
}

void model_open(uint32_t client, enum tide_start start)
{
	struct model_client *self = &model.client[client];

	explore_assert(!tide_client_open(model.space, "", start, &self->client),
		       "open succeeds", EXPLORE_HERE);
	self->copy[0] = start == TIDE_START_CLEAN ? copy_of(0) : MODEL_GONE;
}

void model_close(uint32_t client)
{
	tide_client_close(model.client[client].client);
	model.client[client].client = NULL;
}

static void check_copies(const struct model_client *client)
{
	bool gone = !tide_slot_find(model.space, 0);

	for (uint32_t i = 0; i < MODEL_PAGES; i++) {
		uint64_t memory = model.memory[i], copy = client->copy[i];

		explore_assert(copy == memory || model.missed ||
				       (gone && copy == MODEL_GONE),
			       "at rest the copy is what the page is",
			       EXPLORE_HERE);
		explore_assert(memory || model.may_invent || !client->yields[i],
			       "what nobody wrote is not yielded",
			       EXPLORE_HERE);
	}
}

void model_at_rest(void)
{
	if (model.fail_fence && !membarrier_model_error)
		model.failures++;
	explore_assert(model.client[0].errors + model.client[1].errors ==
			       model.failures,
		       "each failure is told once", EXPLORE_HERE);
	for (uint32_t i = 0; i < MODEL_CLIENTS; i++) {
		if (!model.client[i].client)
			continue;
		model_harvest(i);
		check_copies(&model.client[i]);
	}
	for (uint32_t i = 0; i < MODEL_CLIENTS && !model.may_invent; i++) {
		if (!model.client[i].client)
			continue;
		model_begin(i);
		explore_assert(!model_next(i), "nothing is yielded twice",
			       EXPLORE_HERE);
		model_commit(i);
	}
}
