/* SPDX-License-Identifier: MIT */
/*
 * ring.c - a dirty ring: KVM's, entry for entry
 *
 * Theory of operation
 * -------------------
 * An entry goes round: invalid, dirty (push), harvested (collect), invalid
 * (reset).  Whose turn it is, its flags say; each of the three sides walks the
 * ring with an index of its own and stops at the first entry whose turn is not
 * its own.  Thread 3: from produced to harvested and from harvested to reset
 * are two rings, each with a release and an acquire of its own.  Reset may run
 * while collect goes on, so that collect's release is not made superfluous by
 * whatever the caller does between the two.
 *
 * The flags, slots and offsets may be anybody's writing.  What keeps us inside
 * the memory, and the producer inside its ring, are the indices, which are
 * ours: nothing at or beyond dirty_index is collected or reset, whatever it
 * says about itself.  To this end push moves dirty_index before it publishes
 * the flags (KVM: after), so that whoever sees the flags sees the index.  Who
 * writes nonsense there can lose pages or stall his own vCPU, as with KVM, and
 * nothing else.
 *
 * Invariants
 *   I1  0 <= dirty_index - reset_index <= size             (modulo 2^32)
 *   I2  a batch never reaches beyond page 2^64 - 1 and always has a page
 *
 * Synchronisation
 *   ring.fill     push publishes slot, offset, dirty_index -> ring.fetch
 *   ring.harvest  collect has read the entry               -> ring.harvested
 *   ring.free     reset is done with the entry             -> ring.reuse
 */
#include "log/ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bits.h"

#define ENTRIES_MIN 128u

_Static_assert(sizeof(struct tide_ring_entry) == 16, "struct kvm_dirty_gfn");
_Static_assert(ENTRIES_MIN > TIDE_RING_RESERVED, "a soft limit of nothing");

int tide_ring_init(struct tide_ring *ring, uint32_t entries)
{
	if (entries < ENTRIES_MIN || entries > TIDE_RING_ENTRIES_MAX ||
	    (entries & (entries - 1)))
		return -EINVAL;
	ring->entries = calloc(entries, sizeof(*ring->entries));
	if (!ring->entries)
		return -ENOMEM;
	ring->size = entries;
	ring->soft_limit = entries - TIDE_RING_RESERVED;
	atomic_init(&ring->dirty_index, 0);
	atomic_init(&ring->reset_index, 0);
	ring->fetch_index = 0;
	return 0;
}

void tide_ring_fini(struct tide_ring *ring)
{
	free(ring->entries);
	ring->entries = NULL;
}

static struct tide_ring_entry *entry_at(const struct tide_ring *ring,
					uint32_t index)
{
	return &ring->entries[index & (ring->size - 1)];
}

bool tide_ring_push(struct tide_ring *ring, uint32_t slot, uint64_t offset)
{
	/* Relaxed: only this thread writes it. */
	uint32_t index =
		atomic_load_explicit(&ring->dirty_index, memory_order_relaxed);
	struct tide_ring_entry *entry = entry_at(ring, index);

	/* ACQUIRE(ring.reuse) pairs with RELEASE(ring.free): reset has read
	 * the entry that we are about to overwrite. */
	if (index - atomic_load_explicit(&ring->reset_index,
					 memory_order_acquire) >=
	    ring->size)
		return false;
	/* Relaxed: all three are published by the flags. */
	atomic_store_explicit(&entry->slot, slot, memory_order_relaxed);
	atomic_store_explicit(&entry->offset, offset, memory_order_relaxed);
	atomic_store_explicit(&ring->dirty_index, index + 1,
			      memory_order_relaxed);
	/* RELEASE(ring.fill) pairs with ACQUIRE(ring.fetch): the entry is
	 * filled before anybody can see that it is (K42). */
	atomic_store_explicit(&entry->flags, TIDE_RING_F_DIRTY,
			      memory_order_release);
	return true;
}

uint32_t tide_ring_used(const struct tide_ring *ring)
{
	/* Relaxed: a snapshot.  The producer's own dirty_index is exact, and
	 * its reset_index is old at worst, which errs on the full side. */
	uint32_t reset =
		atomic_load_explicit(&ring->reset_index, memory_order_relaxed);
	/* Relaxed: as above. */
	uint32_t used =
		atomic_load_explicit(&ring->dirty_index, memory_order_relaxed) -
		reset;

	/* For any other thread the two are of different moments. */
	if (used > UINT32_MAX / 2)
		return 0;
	return used < ring->size ? used : ring->size;
}

bool tide_ring_soft_full(const struct tide_ring *ring)
{
	return tide_ring_used(ring) >= ring->soft_limit;
}

/* Entry @index was pushed.  Asked after its flags were acquired, which show
 * the dirty_index of the push that set them. */
static bool is_pushed(const struct tide_ring *ring, uint32_t index)
{
	/* Relaxed: see above. */
	uint32_t end =
		atomic_load_explicit(&ring->dirty_index, memory_order_relaxed);

	return end != index && end - index <= ring->size;
}

uint32_t tide_ring_collect(struct tide_ring *ring,
			   void (*found)(void *opaque, uint32_t slot,
					 uint64_t offset),
			   void *opaque)
{
	uint32_t n;

	/* Once round at most, or a vCPU and a reset could hold us here. */
	for (n = 0; n < ring->size; n++) {
		struct tide_ring_entry *entry =
			entry_at(ring, ring->fetch_index);
		uint64_t offset;
		uint32_t slot;

		/* ACQUIRE(ring.fetch) pairs with RELEASE(ring.fill): the
		 * fields are this push's (K41). */
		if (atomic_load_explicit(&entry->flags, memory_order_acquire) !=
			    TIDE_RING_F_DIRTY ||
		    !is_pushed(ring, ring->fetch_index))
			break;
		/* Relaxed: both were acquired with the flags. */
		slot = atomic_load_explicit(&entry->slot, memory_order_relaxed);
		offset = atomic_load_explicit(&entry->offset,
					      memory_order_relaxed);
		/* RELEASE(ring.harvest) pairs with ACQUIRE(ring.harvested):
		 * we have read the entry, and a reset that is running already
		 * sees its fields, not older ones (K40). */
		atomic_store_explicit(&entry->flags, TIDE_RING_F_RESET,
				      memory_order_release);
		ring->fetch_index++;
		found(opaque, slot, offset);
	}
	return n;
}

struct batch {
	uint32_t slot;
	uint64_t offset;
	uint64_t mask; /* 0: no batch yet */
};

/* Page @offset of @slot joins the batch.  False: it needs one of its own. */
static bool batch_add(struct batch *batch, uint32_t slot, uint64_t offset)
{
	uint64_t back;

	if (!batch->mask || batch->slot != slot)
		return false;
	/* Compared, not subtracted, first: 2^64 - 1 and 0 are not neighbours
	 * (K47). */
	if (offset >= batch->offset) {
		if (offset - batch->offset >= TIDE_WORD_BITS)
			return false;
		batch->mask |= tide_bit(offset - batch->offset);
		return true;
	}
	back = batch->offset - offset;
	if (back >= TIDE_WORD_BITS ||
	    batch->mask << back >> back != batch->mask)
		return false;
	batch->mask = batch->mask << back | 1;
	batch->offset = offset;
	return true;
}

/* Reads a harvested entry and hands it back to push.  False: there is none. */
static bool take_harvested(struct tide_ring *ring, uint32_t *ret_slot,
			   uint64_t *ret_offset)
{
	/* Relaxed: resets are serialised. */
	uint32_t index =
		atomic_load_explicit(&ring->reset_index, memory_order_relaxed);
	struct tide_ring_entry *entry = entry_at(ring, index);

	/* ACQUIRE(ring.harvested) pairs with RELEASE(ring.harvest): not the
	 * fields from before (K40). */
	if (!(atomic_load_explicit(&entry->flags, memory_order_acquire) &
	      TIDE_RING_F_RESET) ||
	    !is_pushed(ring, index))
		return false;
	/* Relaxed: both were acquired with the flags. */
	*ret_slot = atomic_load_explicit(&entry->slot, memory_order_relaxed);
	*ret_offset =
		atomic_load_explicit(&entry->offset, memory_order_relaxed);
	/* Relaxed: published by the index, which push goes by.  Nobody acts
	 * on an entry because it is invalid. */
	atomic_store_explicit(&entry->flags, 0, memory_order_relaxed);
	/* RELEASE(ring.free) pairs with ACQUIRE(ring.reuse): read, and
	 * invalid before it is dirty again (K40). */
	atomic_store_explicit(&ring->reset_index, index + 1,
			      memory_order_release);
	return true;
}

uint32_t tide_ring_reset(struct tide_ring *ring, uint32_t max,
			 void (*rearm)(void *opaque, uint32_t slot,
				       uint64_t offset, uint64_t mask),
			 void *opaque)
{
	struct batch batch = { 0 };
	uint64_t offset;
	uint32_t slot, n;

	for (n = 0; n < max && take_harvested(ring, &slot, &offset); n++) {
		if (batch_add(&batch, slot, offset))
			continue;
		if (batch.mask)
			rearm(opaque, batch.slot, batch.offset, batch.mask);
		batch = (struct batch){ slot, offset, 1 };
	}
	if (batch.mask) /* K44 */
		rearm(opaque, batch.slot, batch.offset, batch.mask);
	return n;
}

void tide_ring_leftover(const struct tide_ring *ring,
			void (*found)(void *opaque, uint32_t slot,
				      uint64_t offset),
			void *opaque)
{
	/* Relaxed: nobody else is here. */
	uint32_t index =
		atomic_load_explicit(&ring->reset_index, memory_order_relaxed);

	for (uint32_t n = tide_ring_used(ring); n; n--) {
		const struct tide_ring_entry *entry = entry_at(ring, index++);

		/* Relaxed: as above. */
		uint32_t slot = atomic_load_explicit(&entry->slot,
						     memory_order_relaxed);

		/* Relaxed: as above. */
		found(opaque, slot,
		      atomic_load_explicit(&entry->offset,
					   memory_order_relaxed));
	}
}
