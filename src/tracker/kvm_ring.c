/* SPDX-License-Identifier: MIT */
/*
 * kvm_ring.c - one dirty ring per vCPU, shared with the kernel
 *
 * Theory of operation
 * -------------------
 * The kernel fills entries in order and marks each DIRTY; we read them in
 * order and mark each RESET; KVM_RESET_DIRTY_RINGS re-protects their pages
 * and frees the entries (thread 3: two rings in one).  The pages may be read
 * only after RESET returned (K51), which the space guarantees: nothing is
 * handed out before collect returns, and no harvest begins when it fails.
 *
 * The ring is mapped writable, so what it says is checked: a slot that does
 * not exist any more is counted and dropped, an offset beyond its slot makes
 * that slot dirty, flags that the kernel never writes make everything dirty.
 *
 * A slot's entries must not outlive it: the kernel drops a whole batch of up
 * to 64 pages when one of them lies beyond its slot (K48), and a new, smaller
 * slot with the same id could share a batch with the old one's.  So the rings
 * are emptied once more right after a slot was deleted.
 *
 * Overflow.  The kernel asks the vCPU to leave when 64 entries are left and
 * looks at that request before it enters the guest.  A KVM that emulates many
 * instructions between two looks (seen on a nested one with software paging:
 * 150 page writes) overruns the ring: entries are overwritten, and pages stay
 * writable that nobody knows of (K43).  It shows as a ring without a single
 * free entry, or as a RESET that reports fewer entries than it was given.
 * RESET is written by an exchange, so that neither sign is missed: either it
 * comes before the push that overruns the entry, and the kernel stops there,
 * or it sees that push, and all that were before it.
 *
 * Then logging is turned off and on, which re-arms every page, and every page
 * is dirty for everybody.  The kernel's place in the ring is ahead of ours by
 * what was overwritten; that gap of empty entries is handed back as soon as
 * an entry appears behind it.  How large it is nobody says, so from then on
 * every pass looks for entries in the whole ring.
 *
 * Initially-all-set is never combined with the ring: the kernel would accept
 * it and log nothing (K50).  setup turns manual protect off.
 *
 * Invariants
 *   I1  entries are read in order, each once
 *   I2  unreset counts the entries with RESET that no ioctl has reported yet;
 *       while it is not 0 no harvest begins
 *
 * Synchronisation
 *   ring.take    reads slot and offset after DIRTY    <- KERNEL push
 *   ring.reset   has read them before RESET           -> KERNEL reset
 *                and sees the push that it undoes     <- KERNEL push
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"
#include "tracker/kvm_tracker.h"

_Static_assert(sizeof(struct tide_ring_entry) == sizeof(struct kvm_dirty_gfn) &&
		       offsetof(struct tide_ring_entry, slot) ==
			       offsetof(struct kvm_dirty_gfn, slot) &&
		       offsetof(struct tide_ring_entry, offset) ==
			       offsetof(struct kvm_dirty_gfn, offset),
	       "an entry is the kernel's");

/* Entries that the kernel keeps free: 64 and, with PML, its 512. */
#ifndef KVM_RING_RESERVED /* a checking build has smaller rings */
#define KVM_RING_RESERVED (64u + 512u)
#endif

int tide_kvm_ring_setup(struct tide_kvm *kvm)
{
	const size_t bytes =
		kvm->config.ring_entries * sizeof(struct kvm_dirty_gfn);
	uint32_t cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL;
	int most = tide_kvm_extension(kvm, (int)cap);
	int err;

	if (most <= 0) {
		cap = KVM_CAP_DIRTY_LOG_RING; /* x86 before Linux 6.1 */
		most = tide_kvm_extension(kvm, (int)cap);
	}
	if (most <= 0)
		return -EOPNOTSUPP;
	if (bytes > (size_t)most)
		return -EINVAL;
	if (tide_kvm_extension(kvm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) > 0) {
		err = tide_kvm_enable(kvm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
				      0);
		if (err)
			return err;
	}
	if (!kvm->config.ring_enabled) {
		err = tide_kvm_enable(kvm, cap, bytes);
		if (err)
			return err == -EINVAL ? -EBUSY : err;
	}
	if (tide_kvm_extension(kvm, KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP) > 0) {
		/* Writes without a vCPU (arm64's interrupt tables) would be
		 * lost without it. */
		err = tide_kvm_enable(kvm, KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP,
				      0);
		if (err)
			return err == -EINVAL ? -EBUSY : err;
		kvm->with_bitmap = true;
	}
	kvm->rings = calloc(TIDE_KVM_VCPUS_MAX, sizeof(*kvm->rings));
	return kvm->rings ? 0 : -ENOMEM;
}

static void fail_closed_all(struct tide_kvm *kvm)
{
	for (struct tide_slot *slot = tide_slot_first(kvm->space); slot;
	     slot = tide_slot_next(slot))
		tide_slot_fail_closed(slot);
}

/* The page of an entry, into every client's dirty set. */
static void take_entry(struct tide_kvm *kvm, uint32_t key, uint64_t offset)
{
	struct tide_space_stats *stats = tide_space_counters(kvm->space);
	struct tide_slot *slot = NULL;

	stats->ring_entries++;
	if (key >> 16 == kvm->config.address_space)
		slot = tide_slot_find(kvm->space, key & 0xffff);
	if (!slot) {
		stats->ring_entries_stale++;
	} else if (offset >= tide_slot_npages(slot)) {
		stats->ring_entries_bad++;
		tide_slot_fail_closed(slot);
	} else {
		tide_found_page(slot, offset);
	}
}

static struct tide_ring_entry *entry_of(const struct tide_kvm *kvm,
					const struct tide_kvm_ring *ring,
					uint32_t index)
{
	return &ring->entries[index & (kvm->config.ring_entries - 1)];
}

/* The first entry in [next, end) that is DIRTY, or @end. */
static uint32_t first_dirty(const struct tide_kvm *kvm,
			    const struct tide_kvm_ring *ring, uint32_t end)
{
	uint32_t index = ring->next;

	/* ACQUIRE(ring.seek) pairs with KERNEL(kvm_dirty_ring_push): pushes
	 * are in order, so who sees one sees those before it. */
	while (index != end &&
	       !(atomic_load_explicit(&entry_of(kvm, ring, index)->flags,
				      memory_order_acquire) &
		 KVM_DIRTY_GFN_F_DIRTY))
		index++;
	return index;
}

/* Hands back empty entries, up to @end. */
static void skip_entries(struct tide_kvm *kvm, struct tide_kvm_ring *ring,
			 uint32_t end)
{
	for (; ring->next != end; ring->next++) {
		struct tide_ring_entry *entry = entry_of(kvm, ring, ring->next);

		/* No such slot: RESET skips it.  Relaxed: published by the
		 * flags. */
		atomic_store_explicit(&entry->slot, UINT32_MAX,
				      memory_order_relaxed);
		/* Relaxed: as above. */
		atomic_store_explicit(&entry->offset, 0, memory_order_relaxed);
		/* RELEASE(ring.skip) pairs with KERNEL(kvm_dirty_ring_reset):
		 * the kernel acts on what we wrote here. */
		atomic_store_explicit(&entry->flags, KVM_DIRTY_GFN_F_RESET,
				      memory_order_release);
		kvm->unreset++;
	}
}

/* After an overflow: hands back the empty entries before the next one that
 * is filled, so that ring->next is there.  Return: whether there is one. */
static bool close_gap(struct tide_kvm *kvm, struct tide_kvm_ring *ring,
		      uint32_t end)
{
	uint32_t at = first_dirty(kvm, ring, end);

	if (at == end)
		return false;
	/* Entries before it may have been pushed after we looked at them. */
	skip_entries(kvm, ring, first_dirty(kvm, ring, at));
	return true;
}

/* Takes one filled entry and gives it back. */
static void take_next(struct tide_kvm *kvm, struct tide_kvm_ring *ring,
		      uint32_t flags)
{
	struct tide_ring_entry *entry = entry_of(kvm, ring, ring->next);

	if (flags == KVM_DIRTY_GFN_F_DIRTY) {
		/* Relaxed: both were acquired with the flags.  Who overruns
		 * the ring, or scribbles on it, may be writing them now; so
		 * they are read once, and then checked (K47). */
		uint32_t key = atomic_load_explicit(&entry->slot,
						    memory_order_relaxed);

		/* Relaxed: as above. */
		take_entry(kvm, key,
			   atomic_load_explicit(&entry->offset,
						memory_order_relaxed));
	} else if (!ring->rewound) {
		/* Somebody else writes our ring: what it said before nobody
		 * knows. */
		tide_space_counters(kvm->space)->ring_entries_bad++;
		fail_closed_all(kvm);
	}
	/* ACQ_REL(ring.reset) pairs with KERNEL(kvm_dirty_ring_reset) and
	 * KERNEL(kvm_dirty_ring_push): the entry has been read before the
	 * kernel may reuse it, and our own write of RESET is what it acts on
	 * (K40).  If it has overrun the entry, then either RESET is lost and
	 * the ioctl says so; or we see the push that we undo, and so that all
	 * other entries are filled. */
	(void)atomic_exchange_explicit(&entry->flags, KVM_DIRTY_GFN_F_RESET,
				       memory_order_acq_rel);
	ring->next++;
	kvm->unreset++;
}

/* Empties one ring.  Return: entries with pages in them. */
static uint32_t take_ring(struct tide_kvm *kvm, struct tide_kvm_ring *ring)
{
	const uint32_t begin = ring->next;
	const uint32_t end = begin + kvm->config.ring_entries;
	uint32_t taken = 0;

	while (ring->next != end) {
		/* ACQUIRE(ring.take) pairs with KERNEL(kvm_dirty_ring_push):
		 * slot and offset are filled in before DIRTY is set (K41). */
		uint32_t flags = atomic_load_explicit(
			&entry_of(kvm, ring, ring->next)->flags,
			memory_order_acquire);

		if (flags & KVM_DIRTY_GFN_F_MASK) {
			take_next(kvm, ring, flags);
			taken++;
		} else if (!ring->gap || !close_gap(kvm, ring, end)) {
			break;
		}
	}
	ring->given = ring->next - begin;
	ring->rewound = false;
	if (taken)
		ring->stuck = 0;
	if (taken == kvm->config.ring_entries) { /* not one was free */
		ring->gap = true;
		kvm->overflowed = true;
	}
	return taken;
}

static uint32_t flags_at(const struct tide_kvm *kvm,
			 const struct tide_kvm_ring *ring, uint32_t index)
{
	/* Relaxed: our own store, the kernel's 0 after RESET, or what it
	 * pushed instead. */
	return atomic_load_explicit(&entry_of(kvm, ring, index)->flags,
				    memory_order_relaxed);
}

/* RESET stopped short.  Of the entries that we gave back the kernel has made
 * those before its place 0.  That one it has overwritten, so it waits for us to
 * give it back again, and those behind it. */
static void rewind_rings(struct tide_kvm *kvm)
{
	kvm->overflowed = true;
	kvm->unreset = 0;
	for (uint32_t i = 0; i < kvm->nrings; i++) {
		struct tide_kvm_ring *ring = &kvm->rings[i];
		uint32_t place = ring->next - ring->given;

		/* What was reset may be filled again, from the first on. */
		if (!ring->given || !flags_at(kvm, ring, ring->next - 1))
			continue;
		while (place != ring->next - 1 && !flags_at(kvm, ring, place))
			place++;
		ring->next = place;
		ring->rewound = true;
		ring->gap = true;
	}
}

/* Re-protects every page whose entry was given back. */
static int reset_rings(struct tide_kvm *kvm)
{
	bool interrupted = false;

	while (kvm->unreset) {
		uint64_t begin_ns = tide_now_ns();
		int ret = tide_kvm_ioctl(kvm->config.vm_fd,
					 KVM_RESET_DIRTY_RINGS, NULL);

		tide_space_held(kvm->space, begin_ns);
		if (ret == -EINTR) {
			/* A signal.  What it did stays done, but is not
			 * counted. */
			interrupted = true;
		} else if (ret < 0) {
			return ret;
		} else if ((uint64_t)ret >= kvm->unreset ||
			   (!ret && interrupted)) {
			kvm->unreset = 0;
		} else if (!ret) {
			rewind_rings(kvm);
		} else {
			kvm->unreset -= (uint64_t)ret;
		}
	}
	return 0;
}

/* Entries were lost, so pages are writable that nobody knows of: off and on
 * arms all of them. */
static int recover(struct tide_kvm *kvm)
{
	for (struct tide_slot *slot = tide_slot_first(kvm->space); slot;
	     slot = tide_slot_next(slot)) {
		int err;

		if (!tide_slot_logged(slot))
			continue;
		tide_slot_fail_closed(slot);
		err = tide_kvm_slot_log(kvm, slot, false);
		if (!err)
			err = tide_kvm_slot_log(kvm, slot, true);
		if (err)
			return err; /* overflowed stays set: tried again */
	}
	tide_space_counters(kvm->space)->ring_overflows++;
	kvm->overflowed = false;
	return 0;
}

/* Return: entries harvested, or the error of RESET. */
static int harvest_rings(struct tide_kvm *kvm)
{
	int taken = 0;
	int err;

	for (uint32_t i = 0; i < kvm->nrings; i++)
		taken += (int)take_ring(kvm, &kvm->rings[i]);
	err = reset_rings(kvm);
	if (!err && kvm->overflowed)
		err = recover(kvm);
	return err ? err : taken;
}

static int ring_collect(void *tracker, struct tide_slot *only)
{
	struct tide_kvm *kvm = tracker;
	int ret = harvest_rings(kvm);
	int err = ret < 0 ? ret : 0;

	/* What was written without a vCPU; after the rings. */
	if (kvm->with_bitmap) {
		ret = tide_kvm_get_collect(tracker, only);
		if (!err)
			err = ret;
	}
	return err;
}

static int ring_slot_add(void *tracker, struct tide_slot *slot, bool log)
{
	struct tide_kvm *kvm = tracker;
	int err = kvm->with_bitmap ? tide_kvm_words_for(kvm, slot) : 0;

	return err ? err : tide_kvm_slot_add(tracker, slot, log);
}

static int ring_slot_remove(void *tracker, struct tide_slot *slot)
{
	int err = tide_kvm_slot_remove(tracker, slot);
	int ret;

	if (err)
		return err;
	/* No entry may outlive its slot, see above. */
	ret = harvest_rings(tracker);
	if (ret < 0)
		fail_closed_all(tracker);
	return 0;
}

static int vcpu_add(struct tide_kvm *kvm, int vcpu_fd)
{
	const size_t bytes =
		kvm->config.ring_entries * sizeof(struct kvm_dirty_gfn);
	const long offset = KVM_DIRTY_LOG_PAGE_OFFSET * sysconf(_SC_PAGESIZE);
	int saved = errno;
	void *entries;
	int err = 0;

	if (kvm->nrings == TIDE_KVM_VCPUS_MAX)
		return -ENOSPC;
	entries = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd,
		       offset);
	if (entries == MAP_FAILED)
		err = -errno;
	else
		kvm->rings[kvm->nrings++] =
			(struct tide_kvm_ring){ .entries = entries,
						.vcpu_fd = vcpu_fd };
	errno = saved;
	return err;
}

/* A KVM tracker of any kind, or NULL. */
static bool has_kvm(struct tide_space *space)
{
	return tide_space_tracker_object(space, TIDE_TRACKER_KVM_GET) ||
	       tide_space_tracker_object(space, TIDE_TRACKER_KVM_CLEAR) ||
	       tide_space_tracker_object(space, TIDE_TRACKER_KVM_RING);
}

int tide_kvm_vcpu_add(struct tide_space *space, int vcpu_fd)
{
	struct tide_kvm *kvm;
	int err;

	tide_space_lock(space);
	kvm = tide_space_tracker_object(space, TIDE_TRACKER_KVM_RING);
	if (kvm)
		err = vcpu_add(kvm, vcpu_fd);
	else
		err = has_kvm(space) ? 0 : -ENODEV;
	tide_space_unlock(space);
	return err;
}

/*
 * The vCPU came back with "full" twice, and nobody found an entry in its ring
 * meanwhile: after an overflow the kernel's place is a whole ring ahead of
 * ours.  At least all but the reserved entries are used, as the kernel says,
 * so that many can be handed back without passing it.
 */
static void skip_used(struct tide_kvm *kvm, struct tide_kvm_ring *ring)
{
	ring->stuck = 0;
	ring->gap = true;
	skip_entries(kvm, ring,
		     ring->next + kvm->config.ring_entries - KVM_RING_RESERVED);
}

static int ring_full(struct tide_kvm *kvm, int vcpu_fd)
{
	struct tide_kvm_ring *ring = kvm->rings;
	int ret;

	while (ring < kvm->rings + kvm->nrings && ring->vcpu_fd != vcpu_fd)
		ring++;
	if (ring == kvm->rings + kvm->nrings)
		return -ENOENT;
	tide_space_counters(kvm->space)->ring_full++;
	ret = harvest_rings(kvm);
	if (ret < 0 || ring->given || ++ring->stuck < 2)
		return ret;
	skip_used(kvm, ring);
	return harvest_rings(kvm);
}

int tide_kvm_ring_full(struct tide_space *space, int vcpu_fd)
{
	struct tide_kvm *kvm;
	int ret;

	tide_space_lock(space);
	kvm = tide_space_tracker_object(space, TIDE_TRACKER_KVM_RING);
	ret = kvm ? ring_full(kvm, vcpu_fd) : -ENODEV;
	tide_space_unlock(space);
	return ret;
}

const struct tide_tracker_ops tide_kvm_ring_ops = {
	.kind = TIDE_TRACKER_KVM_RING,
	.slot_add = ring_slot_add,
	.slot_remove = ring_slot_remove,
	.slot_move = tide_kvm_slot_move,
	.slot_park = tide_kvm_slot_park,
	.slot_log = tide_kvm_slot_log,
	.collect = ring_collect,
	.sync = tide_kvm_sync,
	.destroy = tide_kvm_destroy,
};
