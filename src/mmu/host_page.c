/* SPDX-License-Identifier: MIT */
/*
 * host_page.c - the host's side of a guest page, and the host's own accesses
 *
 * A device writes first and marks afterwards.  It takes the mmu_lock only
 * where the guest has page tables that are shadowed: then it must not fall
 * between a table being read and its shadow being made.
 *
 *   shadow                                device
 *   count the table (track.count)         write (the data)
 *   read the table's entries              count? (track.look)
 *
 * One of the two must see the other (store buffering, K22).  KVM has a full
 * barrier on each side.  Here both sides change the counter, the device by
 * adding nothing, so that one comes after the other: if the device is second
 * it sees the count and takes the lock, where the shadow is made to follow; if
 * it is first its data, released, is there when the entries are read.  The
 * other way nothing has to be acquired: whoever counts has the lock that the
 * device takes then.
 */
#include <errno.h>
#include <string.h>

#include "base/pause_point.h"
#include "base/rcu.h"
#include "mmu/mmu_internal.h"

int host_ref_get(struct tide_mmu *mmu, uint64_t host, bool backed, bool write,
		 struct host_ref *ret_ref)
{
	struct host_page page = { host >> TIDE_PAGE_SHIFT, true };
	int err = backed ? backing_get(mmu->config.backing, host, write, &page)
			 : 0;

	if (err)
		return err;
	*ret_ref = (struct host_ref){
		.host = (uint8_t *)(uintptr_t)(page.pfn << TIDE_PAGE_SHIFT),
		.pfn = page.pfn,
		.writable = page.writable,
		.held = backed
	};
	return 0;
}

void host_ref_put(struct tide_mmu *mmu, struct host_ref *ref)
{
	if (ref->held)
		backing_put(mmu->config.backing, ref->pfn);
	ref->held = false;
}

/* The largest power of two that divides all three, up to 8. */
static size_t unit_of(uintptr_t to, uintptr_t from, size_t nbytes)
{
	uintptr_t all = to | from | nbytes | 8;

	return all & (~all + 1);
}

static void copy_unit(uint8_t *to, const uint8_t *from, size_t unit)
{
	switch (unit) {
	case 8:
		TIDE_STORE_RELAXED(uint64_t, to,
				   TIDE_LOAD_RELAXED(uint64_t, from));
		break;
	case 4:
		TIDE_STORE_RELAXED(uint32_t, to,
				   TIDE_LOAD_RELAXED(uint32_t, from));
		break;
	case 2:
		TIDE_STORE_RELAXED(uint16_t, to,
				   TIDE_LOAD_RELAXED(uint16_t, from));
		break;
	default:
		TIDE_STORE_RELAXED(uint8_t, to,
				   TIDE_LOAD_RELAXED(uint8_t, from));
		break;
	}
}

void guest_copy(void *to, const void *from, size_t nbytes)
{
	size_t unit = unit_of((uintptr_t)to, (uintptr_t)from, nbytes);

	for (size_t at = 0; at < nbytes; at += unit)
		copy_unit((uint8_t *)to + at, (const uint8_t *)from + at, unit);
}

struct place {
	struct mmu_slot *slot; /* only while RCU is held */
	uint64_t host;	       /* of the page */
	uint64_t page;	       /* in the slot */
	bool backed;
	bool readonly;
};

/* Under RCU. */
static int find(struct tide_mmu *mmu, uint64_t gpa, struct place *ret)
{
	uint64_t gfn = gpa >> TIDE_PAGE_SHIFT, base;

	ret->slot = mmu_slot_at(mmu, 0, gfn, &base);
	if (!ret->slot)
		return -EFAULT;
	ret->page = gfn - base;
	ret->host = ret->slot->host + ret->page * TIDE_PAGE_SIZE;
	ret->backed = ret->slot->backed;
	ret->readonly = mmu_slot_flags(ret->slot) & MMU_REGION_READONLY;
	return 0;
}

/*
 * The page's memory, found under RCU and with RCU held: a slot that goes waits
 * for us before its owner unmaps it, and one that moves before its dirty pages
 * are looked for.  A backing may have to bring the page in, which is not for
 * under RCU: so look again afterwards.  Return: 0; -EFAULT; the backing's
 * error.
 */
static int place_get(struct tide_mmu *mmu, uint64_t gpa, bool write,
		     struct place *place, struct host_ref *ref)
{
	for (;;) {
		struct place now;
		int err;

		tide_rcu_lock();
		err = find(mmu, gpa, place);
		tide_rcu_unlock(&mmu->rcu_tag);
		if (err || (write && place->readonly))
			return -EFAULT;
		err = host_ref_get(mmu, place->host, place->backed, write, ref);
		if (err)
			return err;
		tide_rcu_lock();
		err = find(mmu, gpa, &now);
		if (!err && now.slot == place->slot && now.host == place->host)
			return 0;
		tide_rcu_unlock(&mmu->rcu_tag);
		host_ref_put(mmu, ref);
	}
}

static void place_put(struct tide_mmu *mmu, struct host_ref *ref)
{
	tide_rcu_unlock(&mmu->rcu_tag);
	host_ref_put(mmu, ref);
}

/* Inside one page. */
static int write_page(struct tide_mmu *mmu, uint64_t gpa, const uint8_t *from,
		      size_t nbytes)
{
	struct host_ref ref;
	struct place place;
	uint64_t tables;
	int err = place_get(mmu, gpa, true, &place, &ref);

	if (err)
		return err;
	guest_copy(ref.host + gpa % TIDE_PAGE_SIZE, from, nbytes);
	tide_pause("device.written");
	if (place.backed)
		backing_page_dirty(mmu->config.backing, ref.pfn);
	mmu_mark_dirty(mmu, NULL, place.slot, place.page);
	/* RELEASE(track.look) pairs with ACQUIRE(track.count) */
	tables = atomic_fetch_add_explicit(&mmu->indirect_pages, 0,
					   memory_order_release);
	place_put(mmu, &ref);
	if (tables)
		mmu_follow_write(mmu, 0, gpa, (uint32_t)nbytes);
	return 0;
}

static int read_page(struct tide_mmu *mmu, uint64_t gpa, uint8_t *to,
		     size_t nbytes)
{
	struct host_ref ref;
	struct place place;
	int err = place_get(mmu, gpa, false, &place, &ref);

	if (err)
		return err;
	guest_copy(to, ref.host + gpa % TIDE_PAGE_SIZE, nbytes);
	place_put(mmu, &ref);
	return 0;
}

static size_t to_page_end(uint64_t gpa, size_t nbytes)
{
	size_t rest = TIDE_PAGE_SIZE - gpa % TIDE_PAGE_SIZE;

	return rest < nbytes ? rest : nbytes;
}

int tide_mmu_read(struct tide_mmu *mmu, uint64_t gpa, void *buffer,
		  size_t nbytes)
{
	uint8_t *to = buffer;
	int err = 0;

	if (nbytes && gpa + nbytes - 1 < gpa)
		return -EINVAL;
	while (!err && nbytes) {
		size_t n = to_page_end(gpa, nbytes);

		err = read_page(mmu, gpa, to, n);
		gpa += n;
		to += n;
		nbytes -= n;
	}
	return err;
}

int tide_mmu_write(struct tide_mmu *mmu, uint64_t gpa, const void *buffer,
		   size_t nbytes)
{
	const uint8_t *from = buffer;
	int err = 0;

	if (nbytes && gpa + nbytes - 1 < gpa)
		return -EINVAL;
	while (!err && nbytes) {
		size_t n = to_page_end(gpa, nbytes);

		err = write_page(mmu, gpa, from, n);
		gpa += n;
		from += n;
		nbytes -= n;
	}
	return err;
}
