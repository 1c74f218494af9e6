/* SPDX-License-Identifier: MIT */
/*
 * mmu_rig.c - a whole software MMU beside a guest that cannot be wrong
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmu/guest_paging.h"
#include "mmu_rig.h"
#include "walk_model.h"

#define LARGE_BYTES (2u << 20)
#define BLOCK_MAX (4 * TIDE_PAGE_SIZE)
#define FULL_TRIES 4

static const struct {
	uint64_t gfn, npages;
	uint32_t flags;
} layout[RIG_SLOT_COUNT] = {
	[RIG_BIG] = { RIG_BIG_GFN, RIG_BIG_PAGES, 0 },
	[RIG_SMALL] = { RIG_SMALL_GFN, RIG_SMALL_PAGES, 0 },
	[RIG_ROM] = { RIG_ROM_GFN, RIG_ROM_PAGES, MMU_REGION_READONLY },
};

static struct rig_slot *slot_at(struct rig *rig, uint64_t gpa,
				uint64_t *ret_page)
{
	uint64_t gfn = gpa >> TIDE_PAGE_SHIFT;

	for (uint32_t i = 0; i < RIG_SLOT_COUNT; i++) {
		struct rig_slot *slot = &rig->slot[i];

		if (slot->present && gfn >= slot->gfn &&
		    gfn - slot->gfn < slot->npages) {
			*ret_page = gfn - slot->gfn;
			return slot;
		}
	}
	return NULL;
}

static uint8_t *mirror_at(struct rig *rig, uint64_t gpa)
{
	uint64_t page;
	struct rig_slot *slot = slot_at(rig, gpa, &page);

	return slot ? slot->mirror + page * TIDE_PAGE_SIZE +
			       gpa % TIDE_PAGE_SIZE
		    : NULL;
}

static void note_written(struct rig *rig, uint64_t gpa)
{
	uint64_t page;
	struct rig_slot *slot = slot_at(rig, gpa, &page);

	assert(slot && !(slot->flags & MMU_REGION_READONLY));
	assert(rig->pending_count < 64);
	rig->pending[rig->pending_count].slot = slot;
	rig->pending[rig->pending_count++].page = page;
}

static bool logged(const struct rig_slot *slot)
{
	return slot->present && (slot->flags & MMU_REGION_LOG);
}

/* The call is made.  @full: it was stopped by a full ring, which was emptied;
 * what it had written by then has been told, the rest has not, and which is
 * which nobody knows. */
static void settle(struct rig *rig, bool full)
{
	for (uint32_t i = 0; i < rig->pending_count; i++) {
		struct rig_slot *slot = rig->pending[i].slot;

		if (!full && logged(slot))
			slot->written[rig->pending[i].page] = 1;
	}
	rig->pending_count = 0;
}

/* The model's look at an entry. */
static uint64_t *model_word(void *opaque, uint64_t gpa)
{
	struct rig *rig = opaque;
	uint64_t page;
	struct rig_slot *slot = slot_at(rig, gpa, &page);
	uint32_t i = rig->shown_count++;
	uint64_t *word = (uint64_t *)(void *)mirror_at(rig, gpa);

	assert(i < sizeof(rig->shown) / sizeof(rig->shown[0]));
	if (!slot)
		return NULL;
	if (slot->flags & MMU_REGION_READONLY) {
		rig->rom_word[i] = *word;
		word = &rig->rom_word[i];
	}
	rig->shown[i].gpa = gpa;
	rig->shown[i].word = word;
	rig->shown[i].value = *word;
	return word;
}

static struct model_answer ask_model(struct rig *rig, uint32_t vcpu,
				     uint64_t gva, enum tide_access what,
				     bool set_bits)
{
	struct model_paging paging = {
		.mode = rig->paging[vcpu].mode,
		.flags = rig->paging[vcpu].flags,
		.root = rig->paging[vcpu].root,
		.word = model_word,
		.opaque = rig,
	};
	struct model_answer answer;

	memset(rig->shown, 0, sizeof(rig->shown));
	rig->shown_count = 0;
	answer = model_walk(&paging, gva, what, set_bits);
	for (uint32_t i = 0; i < rig->shown_count; i++) {
		uint64_t *word = rig->shown[i].word;

		if (word && *word != rig->shown[i].value &&
		    (word < rig->rom_word || word >= rig->rom_word + 8))
			note_written(rig, rig->shown[i].gpa);
	}
	return answer;
}

/* What an access to at most two pages must lead to. */
struct outlook {
	int reason; /* 0 or an exit's */
	uint32_t code;
	uint64_t gva, gpa; /* of the exit */
	uint32_t nbytes;   /* of an MMIO exit */
	struct {
		uint64_t gpa;
		uint32_t nbytes;
	} part[2];
	uint32_t parts;
};

static bool look_at_part(struct rig *rig, uint32_t vcpu, uint64_t gva,
			 uint32_t nbytes, enum tide_access what,
			 struct outlook *outlook)
{
	struct model_answer answer = ask_model(rig, vcpu, gva, what, true);
	const struct rig_slot *slot;
	uint64_t page;

	outlook->gva = gva;
	outlook->nbytes = nbytes;
	if (answer.fault) {
		outlook->reason = TIDE_EXIT_GUEST_FAULT;
		outlook->code = answer.code;
		return false;
	}
	outlook->gpa = answer.gpa;
	slot = slot_at(rig, answer.gpa, &page);
	if (!slot || (what == TIDE_ACCESS_WRITE &&
		      (slot->flags & MMU_REGION_READONLY))) {
		outlook->reason = TIDE_EXIT_MMIO;
		return false;
	}
	outlook->part[outlook->parts].gpa = answer.gpa;
	outlook->part[outlook->parts].nbytes = nbytes;
	outlook->parts++;
	return true;
}

static struct outlook look_ahead(struct rig *rig, uint32_t vcpu, uint64_t gva,
				 uint32_t nbytes, enum tide_access what)
{
	uint32_t rest = (uint32_t)(TIDE_PAGE_SIZE - gva % TIDE_PAGE_SIZE);
	uint32_t first = nbytes < rest ? nbytes : rest;
	struct outlook outlook = { 0 };

	if (look_at_part(rig, vcpu, gva, first, what, &outlook) &&
	    nbytes > first)
		(void)look_at_part(rig, vcpu, gva + first, nbytes - first, what,
				   &outlook);
	return outlook;
}

static void copy_parts(struct rig *rig, const struct outlook *outlook,
		       void *data, bool write)
{
	uint8_t *bytes = data;

	for (uint32_t i = 0; i < outlook->parts; i++) {
		uint8_t *at = mirror_at(rig, outlook->part[i].gpa);
		uint32_t n = outlook->part[i].nbytes;

		if (write) {
			memcpy(at, bytes, n);
			note_written(rig, outlook->part[i].gpa);
		} else {
			memcpy(bytes, at, n);
		}
		bytes += n;
	}
}

/* Rings, and what is full. */
static void found_entry(void *opaque, uint32_t slot, uint64_t offset)
{
	struct rig *rig = opaque;

	assert(rig->log_is_void || slot < RIG_SLOT_COUNT);
	if (slot < RIG_SLOT_COUNT && offset < rig->slot[slot].npages)
		rig->slot[slot].reported[offset] = 1;
	else
		assert(rig->log_is_void);
}

/* The bitmap beside the rings, with the writes of no vCPU. */
static void get_beside_rings(struct rig *rig, uint32_t i)
{
	struct rig_slot *slot = &rig->slot[i];
	uint64_t words[RIG_BIG_PAGES / 64 + 1] = { 0 };

	assert(mmu_get_dirty_log(rig->mmu, i, words) == 0);
	for (uint64_t page = 0; page < slot->npages; page++)
		if (words[page / 64] >> page % 64 & 1)
			slot->reported[page] = 1;
}

void rig_collect(struct rig *rig)
{
	if (!rig->config.ring)
		return;
	(void)mmu_collect_dirty_rings(rig->mmu, found_entry, rig);
	for (uint32_t i = 0; i < RIG_SLOT_COUNT; i++) {
		struct rig_slot *slot = &rig->slot[i];

		if (!logged(slot))
			continue;
		get_beside_rings(rig, i);
		for (uint64_t page = 0; page < slot->npages; page++)
			assert(rig->log_is_void || !slot->written[page] ||
			       slot->reported[page]);
	}
}

void rig_reset(struct rig *rig)
{
	int count;

	if (!rig->config.ring)
		return;
	/* Also what was written since, and needs no new entry; what was
	 * written and is not in a ring yet remains. */
	for (uint32_t i = 0; i < RIG_SLOT_COUNT; i++) {
		struct rig_slot *slot = &rig->slot[i];

		for (uint64_t page = 0; page < slot->npages; page++) {
			slot->written[page] &= !slot->reported[page];
			slot->reported[page] = 0;
		}
	}
	count = mmu_reset_dirty_rings(rig->mmu);
	assert(count >= 0);
}

void rig_scribble(struct rig *rig, uint32_t vcpu, uint32_t index,
		  uint32_t flags, uint32_t slot, uint64_t offset)
{
	struct tide_ring *ring = mmu_vcpu_ring(rig->vcpu[vcpu]);
	struct tide_ring_entry *entry;

	if (!ring)
		return;
	entry = &ring->entries[index % ring->size];
	/* Relaxed: one thread. */
	atomic_store_explicit(&entry->flags, flags, memory_order_relaxed);
	/* Relaxed: as above. */
	atomic_store_explicit(&entry->slot, slot, memory_order_relaxed);
	/* Relaxed: as above. */
	atomic_store_explicit(&entry->offset, offset, memory_order_relaxed);
	rig->log_is_void = true;
}

/* In guest mode, or the rig is stuck. */
static void go_inside(struct rig *rig, uint32_t vcpu)
{
	for (int i = 0; i < FULL_TRIES && !rig->inside[vcpu]; i++) {
		int why = tide_vcpu_enter(rig->vcpu[vcpu]);

		assert(why == 0 || why == TIDE_EXIT_RING_FULL);
		rig->inside[vcpu] = !why;
		if (!why)
			return;
		rig->full++;
		rig_collect(rig);
		rig_reset(rig);
	}
	if (!rig->inside[vcpu]) {
		assert(rig->log_is_void);
		rig->stuck = true;
	}
}

void rig_leave(struct rig *rig, uint32_t vcpu)
{
	if (rig->inside[vcpu])
		assert(tide_vcpu_exit(rig->vcpu[vcpu]) == 0);
	rig->inside[vcpu] = false;
	assert(tide_vcpu_exit(rig->vcpu[vcpu]) == -EPERM);
}

void rig_safe_point(struct rig *rig, uint32_t vcpu)
{
	int why;

	if (!rig->inside[vcpu])
		return;
	why = tide_vcpu_safe_point(rig->vcpu[vcpu]);
	assert(why == 0 || why == TIDE_EXIT_RING_FULL);
	rig->inside[vcpu] = !why;
}

static int perform(struct tide_vcpu *vcpu, const struct rig_access *access,
		   uint64_t *ret_value)
{
	switch (access->op) {
	case RIG_LOAD:
		return tide_vcpu_load(vcpu, access->gva, access->nbytes,
				      ret_value);
	case RIG_FETCH:
		return tide_vcpu_fetch(vcpu, access->gva, access->nbytes,
				       ret_value);
	case RIG_STORE:
		return tide_vcpu_store(vcpu, access->gva, access->nbytes,
				       access->value);
	case RIG_CMPXCHG:
		*ret_value = access->expected;
		return tide_vcpu_cmpxchg(vcpu, access->gva, access->nbytes,
					 ret_value, access->value);
	case RIG_FETCH_ADD:
		return tide_vcpu_fetch_add(vcpu, access->gva, access->nbytes,
					   access->value, ret_value);
	default:
		assert(!"an operation that there is");
		return 0;
	}
}

static enum tide_access access_of(enum rig_op op)
{
	return op == RIG_LOAD	 ? TIDE_ACCESS_READ
	       : op == RIG_FETCH ? TIDE_ACCESS_FETCH
				 : TIDE_ACCESS_WRITE;
}

static uint64_t low_bytes(uint64_t value, uint32_t nbytes)
{
	return nbytes == 8 ? value : value & ((1ull << 8 * nbytes) - 1);
}

static void expect_exit(struct rig *rig, uint32_t vcpu, int reason,
			const struct outlook *outlook, enum tide_access what)
{
	const struct tide_exit *why = tide_vcpu_last_exit(rig->vcpu[vcpu]);

	assert(reason == outlook->reason);
	assert((int)why->reason == reason);
	assert(why->access == what);
	assert(why->gva == outlook->gva);
	if (reason == TIDE_EXIT_GUEST_FAULT) {
		assert(why->fault_code == outlook->code);
		rig->faults++;
	} else {
		assert(why->gpa == outlook->gpa);
		assert(why->nbytes == outlook->nbytes);
		rig->mmios++;
	}
	rig->inside[vcpu] = false;
}

/* The mirror's side of an access that does not exit. */
static uint64_t apply(struct rig *rig, const struct outlook *outlook,
		      const struct rig_access *access)
{
	uint64_t old = 0, value = access->value;

	copy_parts(rig, outlook, &old, false);
	if (access->op == RIG_LOAD || access->op == RIG_FETCH)
		return old;
	if (access->op == RIG_FETCH_ADD)
		value += old;
	if (access->op == RIG_CMPXCHG &&
	    old != low_bytes(access->expected, access->nbytes))
		value = old;
	copy_parts(rig, outlook, &value, true);
	return old;
}

int rig_access(struct rig *rig, uint32_t vcpu, const struct rig_access *access,
	       uint64_t *ret_value)
{
	const enum tide_access what = access_of(access->op);
	bool atomic = access->op == RIG_CMPXCHG || access->op == RIG_FETCH_ADD;
	uint64_t value = 0, old;
	struct outlook outlook;
	bool full = false;
	int ret;

	go_inside(rig, vcpu);
	if (rig->stuck)
		return 0;
	if (atomic && access->gva % access->nbytes) {
		ret = perform(rig->vcpu[vcpu], access, &value);
		assert(ret == -EINVAL);
		return ret;
	}
	outlook = look_ahead(rig, vcpu, access->gva, access->nbytes, what);
	for (;;) {
		ret = perform(rig->vcpu[vcpu], access, &value);
		if (ret != TIDE_EXIT_RING_FULL)
			break;
		full = true;
		rig->inside[vcpu] = false;
		go_inside(rig, vcpu);
		if (rig->stuck)
			return 0;
	}
	assert(ret >= 0);
	settle(rig, full);
	if (ret || outlook.reason) {
		expect_exit(rig, vcpu, ret, &outlook, what);
		return ret;
	}
	old = apply(rig, &outlook, access);
	settle(rig, false);
	assert(access->op == RIG_STORE || value == old);
	rig->done++;
	if (ret_value)
		*ret_value = old;
	return 0;
}

/* Page by page; what was done before an exit stays done. */
static struct outlook mirror_block(struct rig *rig, uint32_t vcpu, uint64_t gva,
				   uint8_t *data, size_t nbytes, bool write,
				   size_t *ret_done)
{
	struct outlook outlook = { 0 };

	for (*ret_done = 0; *ret_done < nbytes;) {
		uint64_t at = gva + *ret_done;
		size_t rest = TIDE_PAGE_SIZE - at % TIDE_PAGE_SIZE;
		size_t n =
			nbytes - *ret_done < rest ? nbytes - *ret_done : rest;

		outlook = look_ahead(rig, vcpu, at, (uint32_t)n,
				     write ? TIDE_ACCESS_WRITE
					   : TIDE_ACCESS_READ);
		if (outlook.reason)
			break;
		copy_parts(rig, &outlook, data + *ret_done, write);
		*ret_done += n;
	}
	return outlook;
}

static int block(struct rig *rig, uint32_t vcpu, uint64_t gva, size_t nbytes,
		 uint8_t *data, bool write)
{
	static uint8_t other[BLOCK_MAX];
	size_t done = 0, expected;
	struct outlook outlook;
	bool full = false;
	int ret;

	assert(nbytes <= BLOCK_MAX);
	go_inside(rig, vcpu);
	if (rig->stuck)
		return 0;
	if (nbytes && gva + nbytes - 1 < gva) {
		ret = write ? tide_vcpu_write(rig->vcpu[vcpu], gva, data,
					      nbytes, &done)
			    : tide_vcpu_read(rig->vcpu[vcpu], gva, other,
					     nbytes, &done);
		assert(ret == -EINVAL);
		return ret;
	}
	outlook = mirror_block(rig, vcpu, gva, data, nbytes, write, &expected);
	for (size_t at = 0;; at += done) {
		ret = write ? tide_vcpu_write(rig->vcpu[vcpu], gva + at,
					      data + at, nbytes - at, &done)
			    : tide_vcpu_read(rig->vcpu[vcpu], gva + at,
					     other + at, nbytes - at, &done);
		if (ret != TIDE_EXIT_RING_FULL) {
			done += at;
			break;
		}
		full = true;
		rig->inside[vcpu] = false;
		go_inside(rig, vcpu);
		if (rig->stuck)
			return 0;
	}
	assert(ret >= 0);
	settle(rig, full);
	assert(done == expected);
	if (!write)
		assert(!memcmp(data, other, done));
	if (ret || outlook.reason)
		expect_exit(rig, vcpu, ret, &outlook,
			    write ? TIDE_ACCESS_WRITE : TIDE_ACCESS_READ);
	return ret;
}

static void make_data(uint8_t *data, size_t nbytes, uint64_t seed)
{
	for (size_t i = 0; i < nbytes; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		data[i] = (uint8_t)(seed >> 56);
	}
}

int rig_read(struct rig *rig, uint32_t vcpu, uint64_t gva, size_t nbytes)
{
	static uint8_t data[BLOCK_MAX];

	return block(rig, vcpu, gva, nbytes, data, false);
}

int rig_write(struct rig *rig, uint32_t vcpu, uint64_t gva, size_t nbytes,
	      uint64_t seed)
{
	static uint8_t data[BLOCK_MAX];

	make_data(data, nbytes, seed);
	return block(rig, vcpu, gva, nbytes, data, true);
}

int rig_translate(struct rig *rig, uint32_t vcpu, uint64_t gva,
		  enum tide_access what)
{
	struct model_answer answer = ask_model(rig, vcpu, gva, what, false);
	uint64_t gpa = 0, page;
	int ret = tide_vcpu_translate(rig->vcpu[vcpu], gva, what, &gpa);
	const struct rig_slot *slot = slot_at(rig, answer.gpa, &page);

	assert(ret >= 0);
	if (answer.fault) {
		assert(ret == TIDE_EXIT_GUEST_FAULT);
		return ret;
	}
	assert(gpa == answer.gpa);
	if (!slot ||
	    (what == TIDE_ACCESS_WRITE && (slot->flags & MMU_REGION_READONLY)))
		assert(ret == TIDE_EXIT_MMIO);
	else
		assert(ret == 0);
	return ret;
}

void rig_set_paging(struct rig *rig, uint32_t vcpu,
		    const struct tide_paging *paging)
{
	assert(tide_vcpu_set_paging(rig->vcpu[vcpu], paging) == 0);
	rig->paging[vcpu] = *paging;
}

int rig_device_write(struct rig *rig, uint64_t gpa, const void *data,
		     size_t nbytes)
{
	const uint8_t *bytes = data;
	int expected = 0, ret;

	ret = tide_mmu_write(rig->mmu, gpa, data, nbytes);
	if (nbytes && gpa + nbytes - 1 < gpa) {
		assert(ret == -EINVAL);
		return ret;
	}
	for (size_t i = 0; i < nbytes; i++) {
		uint64_t page;
		struct rig_slot *slot = slot_at(rig, gpa + i, &page);

		if (!slot || (slot->flags & MMU_REGION_READONLY)) {
			expected = -EFAULT;
			break;
		}
		*mirror_at(rig, gpa + i) = bytes[i];
		note_written(rig, gpa + i);
		settle(rig, false);
	}
	assert(ret == expected);
	return ret;
}

int rig_device_read(struct rig *rig, uint64_t gpa, size_t nbytes)
{
	static uint8_t data[BLOCK_MAX];
	int expected = 0, ret;

	assert(nbytes <= BLOCK_MAX);
	ret = tide_mmu_read(rig->mmu, gpa, data, nbytes);
	if (nbytes && gpa + nbytes - 1 < gpa) {
		assert(ret == -EINVAL);
		return ret;
	}
	for (size_t i = 0; i < nbytes && !expected; i++) {
		const uint8_t *at = mirror_at(rig, gpa + i);

		if (!at)
			expected = -EFAULT;
		else
			assert(*at == data[i]);
	}
	assert(ret == expected);
	return ret;
}

void rig_poke(struct rig *rig, uint64_t gpa, uint64_t value)
{
	assert(rig_device_write(rig, gpa, &value, sizeof(value)) == 0);
}

uint64_t rig_peek(struct rig *rig, uint64_t gpa)
{
	uint64_t value = 0;

	assert(tide_mmu_read(rig->mmu, gpa, &value, sizeof(value)) == 0);
	assert(!memcmp(mirror_at(rig, gpa), &value, sizeof(value)));
	return value;
}

void rig_fill(struct rig *rig, uint64_t gpa, uint64_t value)
{
	uint64_t page;
	struct rig_slot *slot = slot_at(rig, gpa, &page);
	uint8_t *host =
		slot->host + page * TIDE_PAGE_SIZE + gpa % TIDE_PAGE_SIZE;

	memcpy(mirror_at(rig, gpa), &value, sizeof(value));
	if (rig->backing && slot == &rig->slot[RIG_SMALL])
		assert(tide_backing_write(rig->backing, host, &value,
					  sizeof(value)) == 0);
	else
		memcpy(host, &value, sizeof(value));
}

void rig_get(struct rig *rig, enum rig_slots i)
{
	struct rig_slot *slot = &rig->slot[i];
	uint64_t words[RIG_BIG_PAGES / 64 + 1] = { 0 };
	int ret;

	if (rig->config.ring)
		return; /* rig_collect() does */
	ret = mmu_get_dirty_log(rig->mmu, i, words);
	if (!logged(slot)) {
		assert(ret == -ENOENT);
		return;
	}
	assert(ret == 0);
	for (uint64_t page = 0; page < slot->npages; page++) {
		bool bit = words[page / 64] >> page % 64 & 1;

		assert(bit || !slot->written[page]);
		if (rig->config.manual & MMU_MANUAL_ENABLE) {
			assert(bit || !slot->seen[page]);
			slot->seen[page] = bit;
			continue;
		}
		rig->invented += bit && !slot->written[page];
		slot->written[page] = 0;
	}
	for (uint64_t page = slot->npages; page % 64; page++)
		assert(!(words[page / 64] >> page % 64 & 1));
}

void rig_clear(struct rig *rig, enum rig_slots i, uint64_t first,
	       uint32_t npages)
{
	struct rig_slot *slot = &rig->slot[i];
	uint64_t words[RIG_BIG_PAGES / 64 + 1] = { 0 };

	if (!logged(slot) || rig->config.ring)
		return;
	first = first % slot->npages & ~63ull;
	npages &= ~63u;
	if (!npages || npages > slot->npages - first)
		npages = (uint32_t)(slot->npages - first);
	for (uint32_t n = 0; n < npages; n++) {
		if (!slot->seen[first + n])
			continue;
		words[n / 64] |= 1ull << n % 64;
		slot->seen[first + n] = 0;
		slot->written[first + n] = 0;
	}
	assert(mmu_clear_dirty_log(rig->mmu, i, first, npages, words) == 0);
}

static int set_region(struct rig *rig, uint32_t i, uint64_t gfn, uint32_t flags,
		      bool remove)
{
	const struct rig_slot *slot = &rig->slot[i];
	struct mmu_region region = {
		.slot = i,
		.flags = flags,
		.gpa = gfn * TIDE_PAGE_SIZE,
		.memory_bytes = remove ? 0 : slot->npages * TIDE_PAGE_SIZE,
		.host = (uintptr_t)slot->host,
	};

	return mmu_set_region(rig->mmu, &region);
}

static void forget_log(struct rig_slot *slot)
{
	memset(slot->written, 0, slot->npages);
	memset(slot->reported, 0, slot->npages);
	memset(slot->seen, 0, slot->npages);
}

static bool overlaps(const struct rig *rig, uint32_t i, uint64_t gfn)
{
	for (uint32_t j = 0; j < RIG_SLOT_COUNT; j++) {
		const struct rig_slot *other = &rig->slot[j];

		if (j != i && other->present &&
		    gfn < other->gfn + other->npages &&
		    other->gfn < gfn + rig->slot[i].npages)
			return true;
	}
	return false;
}

int rig_set_flags(struct rig *rig, enum rig_slots i, uint32_t flags)
{
	struct rig_slot *slot = &rig->slot[i];
	int ret;

	flags = (flags & MMU_REGION_LOG) | (slot->flags & MMU_REGION_READONLY);
	if (!slot->present)
		return 0;
	ret = set_region(rig, i, slot->gfn, flags, false);
	assert(ret == 0);
	if (flags != slot->flags)
		forget_log(slot);
	slot->flags = flags;
	return 0;
}

int rig_move(struct rig *rig, enum rig_slots i, uint64_t gfn)
{
	struct rig_slot *slot = &rig->slot[i];
	int ret;

	if (!slot->present)
		return 0;
	ret = set_region(rig, i, gfn, slot->flags, false);
	if (overlaps(rig, i, gfn)) {
		assert(ret == -EEXIST);
		return ret;
	}
	assert(ret == 0);
	slot->gfn = gfn;
	return 0;
}

int rig_delete(struct rig *rig, enum rig_slots i)
{
	struct rig_slot *slot = &rig->slot[i];
	int ret = set_region(rig, i, slot->gfn, 0, true);

	if (!slot->present) {
		assert(ret == -EINVAL);
		return ret;
	}
	assert(ret == 0);
	slot->present = false;
	forget_log(slot);
	return 0;
}

int rig_add(struct rig *rig, enum rig_slots i, uint64_t gfn, uint32_t flags)
{
	struct rig_slot *slot = &rig->slot[i];
	int ret;

	if (slot->present)
		return 0;
	flags = (flags & MMU_REGION_LOG) | layout[i].flags;
	ret = set_region(rig, i, gfn, flags, false);
	if (overlaps(rig, i, gfn)) {
		assert(ret == -EEXIST);
		return ret;
	}
	assert(ret == 0);
	slot->present = true;
	slot->gfn = gfn;
	slot->flags = flags;
	return 0;
}

void rig_swap_out(struct rig *rig, uint64_t first, uint64_t npages)
{
	if (rig->backing)
		assert(tide_backing_swap_out(rig->backing, first, npages) >= 0);
}

void rig_merge(struct rig *rig, uint64_t first, uint64_t npages)
{
	if (rig->backing)
		assert(tide_backing_merge(rig->backing, first, npages) >= 0);
}

void rig_discard(struct rig *rig, uint64_t first, uint64_t npages)
{
	struct rig_slot *slot = &rig->slot[RIG_SMALL];

	if (!rig->backing)
		return;
	assert(tide_backing_discard(rig->backing, first, npages) == 0);
	memset(slot->mirror + first * TIDE_PAGE_SIZE, 0,
	       npages * TIDE_PAGE_SIZE);
	if (logged(slot))
		memset(slot->written + first, 1, npages);
}

static void compare_backed(struct rig *rig, const struct rig_slot *slot)
{
	uint8_t bytes[TIDE_PAGE_SIZE];

	for (uint64_t page = 0; page < slot->npages; page++) {
		assert(tide_backing_read(rig->backing,
					 slot->host + page * TIDE_PAGE_SIZE,
					 bytes, sizeof(bytes)) == 0);
		assert(!memcmp(bytes, slot->mirror + page * TIDE_PAGE_SIZE,
			       sizeof(bytes)));
	}
}

void rig_check(struct rig *rig)
{
	for (uint32_t i = 0; i < RIG_SLOT_COUNT; i++) {
		const struct rig_slot *slot = &rig->slot[i];

		if (i == RIG_SMALL && rig->backing)
			compare_backed(rig, slot);
		else
			assert(!memcmp(slot->host, slot->mirror,
				       slot->npages * TIDE_PAGE_SIZE));
	}
	mmu_check(rig->mmu);
}

/* Zeroes, aligned for large pages. */
static uint8_t *map_memory(uint64_t npages)
{
	size_t nbytes = npages * TIDE_PAGE_SIZE;
	uint8_t *memory =
		mmap(NULL, nbytes + LARGE_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *begin;

	assert(memory != MAP_FAILED);
	begin = (uint8_t *)(((uintptr_t)memory + LARGE_BYTES - 1) &
			    ~(uintptr_t)(LARGE_BYTES - 1));
	if (begin != memory)
		(void)munmap(memory, (size_t)(begin - memory));
	(void)munmap(begin + nbytes, (size_t)(memory + LARGE_BYTES - begin));
	return begin;
}

static void create_backing(struct rig *rig)
{
	struct tide_backing_config config = {
		.size = sizeof(config),
		.npages = RIG_SMALL_PAGES,
		.nframes = RIG_FRAMES,
	};

	rig->swap_fd = memfd_create("swap", 0);
	assert(rig->swap_fd >= 0);
	config.swap_fd = rig->swap_fd;
	assert(tide_backing_create(&config, &rig->backing) == 0);
}

static void create_slot(struct rig *rig, uint32_t i)
{
	struct rig_slot *slot = &rig->slot[i];

	slot->npages = layout[i].npages;
	slot->mirror = map_memory(slot->npages);
	slot->written = calloc(slot->npages, 1);
	slot->reported = calloc(slot->npages, 1);
	slot->seen = calloc(slot->npages, 1);
	assert(slot->written && slot->reported && slot->seen);
	slot->host = i == RIG_SMALL && rig->backing
			     ? tide_backing_host(rig->backing)
			     : map_memory(slot->npages);
	assert(rig_add(rig, (enum rig_slots)i, layout[i].gfn,
		       rig->config.log ? MMU_REGION_LOG : 0) == 0);
}

struct rig *rig_create(const struct rig_config *config)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert(rig);
	rig->config = *config;
	if (config->backed)
		create_backing(rig);
	rig->config.mmu.size = sizeof(rig->config.mmu);
	rig->config.mmu.backing = rig->backing;
	assert(tide_mmu_create(&rig->config.mmu, &rig->mmu) == 0);
	if (config->ring) {
		assert(mmu_enable_ring(
			       rig->mmu,
			       RIG_RING_ENTRIES *
				       sizeof(struct tide_ring_entry)) == 0);
		assert(mmu_enable_ring_with_bitmap(rig->mmu) == 0);
	} else {
		assert(mmu_enable_manual_protect(rig->mmu, config->manual) ==
		       0);
	}
	for (uint32_t i = 0; i < RIG_SLOT_COUNT; i++)
		create_slot(rig, i);
	for (uint32_t i = 0; i < RIG_VCPUS; i++)
		assert(tide_vcpu_create(rig->mmu, &rig->vcpu[i]) == 0);
	return rig;
}

void rig_destroy(struct rig *rig)
{
	rig_check(rig);
	for (uint32_t i = 0; i < RIG_VCPUS; i++) {
		rig_leave(rig, i);
		tide_vcpu_destroy(rig->vcpu[i]);
	}
	for (uint32_t i = 0; i < RIG_SLOT_COUNT; i++)
		(void)rig_delete(rig, (enum rig_slots)i);
	tide_mmu_destroy(rig->mmu);
	tide_backing_destroy(rig->backing);
	if (rig->backing)
		(void)close(rig->swap_fd);
	for (uint32_t i = 0; i < RIG_SLOT_COUNT; i++) {
		struct rig_slot *slot = &rig->slot[i];
		size_t nbytes = slot->npages * TIDE_PAGE_SIZE;

		(void)munmap(slot->mirror, nbytes);
		if (i != RIG_SMALL || !rig->backing)
			(void)munmap(slot->host, nbytes);
		free(slot->written);
		free(slot->reported);
		free(slot->seen);
	}
	free(rig);
}
