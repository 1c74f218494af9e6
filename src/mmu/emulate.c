/* SPDX-License-Identifier: MIT */
/*
 * emulate.c - a write that cannot go through the TLB: to a shadowed table
 *
 * Under the mmu_lock: the write itself, by the guest's own instruction (an
 * atomic one stays atomic, K20), then the shadow table follows, then the page
 * is marked (write, then mark).  The flush for entries that were dropped comes
 * before the lock goes.
 *
 * If a vCPU does not come to a safe point the write is done all the same; that
 * vCPU may use the old translation a little longer, as a CPU may until the
 * guest's own shoot-down, and every page that it can write through that was
 * marked when it became writable.
 */
#include <errno.h>

#include "base/pause_point.h"
#include "base/rcu.h"
#include "mmu/mmu_internal.h"

/* One access of each width.  The partners of an atomic one are the guest's
 * other accesses. */
#define DEFINE_OPS(bits)                                                    \
	static void do_##bits(struct mmu_write *write, void *host)          \
	{                                                                   \
		_Atomic uint##bits##_t *at = host;                          \
		uint##bits##_t expected = (uint##bits##_t)write->expected;  \
		uint##bits##_t value = (uint##bits##_t)write->value;        \
                                                                            \
		switch (write->op) {                                        \
		case MMU_OP_CMPXCHG:                                        \
			/* SEQ_CST(guest.cas) pairs with KERNEL(guest) */   \
			(void)atomic_compare_exchange_strong_explicit(      \
				at, &expected, value, memory_order_seq_cst, \
				memory_order_seq_cst);                      \
			write->expected = expected;                         \
			break;                                              \
		case MMU_OP_FETCH_ADD:                                      \
			/* SEQ_CST(guest.add) pairs with KERNEL(guest) */   \
			write->expected = atomic_fetch_add_explicit(        \
				at, value, memory_order_seq_cst);           \
			break;                                              \
		case MMU_OP_STORE:                                          \
		case MMU_OP_COPY:                                           \
		default:                                                    \
			TIDE_STORE_RELAXED(uint##bits##_t, at, value);      \
			break;                                              \
		}                                                           \
	}

DEFINE_OPS(8)
DEFINE_OPS(16)
DEFINE_OPS(32)
DEFINE_OPS(64)

void mmu_write_do(struct mmu_write *write, uint8_t *host)
{
	bool aligned = (uintptr_t)host % write->nbytes == 0;

	if (write->op == MMU_OP_COPY)
		guest_copy(host, write->from, write->nbytes);
	else if (!aligned)
		guest_copy(host, &write->value, write->nbytes);
	else if (write->nbytes == 8)
		do_64(write, host);
	else if (write->nbytes == 4)
		do_32(write, host);
	else if (write->nbytes == 2)
		do_16(write, host);
	else
		do_8(write, host);
}

struct target {
	uint64_t host;
	uint64_t generation, seq;
	bool backed;
};

static int find(struct tide_mmu *mmu, uint32_t address_space, uint64_t gfn,
		struct target *ret)
{
	const struct mmu_slot *slot;
	uint64_t base;
	int err = -EFAULT;

	/* ACQUIRE(emulate.generation) pairs with RELEASE(slots.count) */
	ret->generation = atomic_load_explicit(&mmu->slots_generation,
					       memory_order_acquire);
	/* ACQUIRE(emulate.seq) pairs with RELEASE(invalidate.seq) */
	ret->seq = atomic_load_explicit(&mmu->invalidate_seq,
					memory_order_acquire);
	tide_rcu_lock();
	slot = mmu_slot_at(mmu, address_space, gfn, &base);
	if (slot && !(mmu_slot_flags(slot) & MMU_REGION_READONLY)) {
		ret->host = slot->host + (gfn - base) * TIDE_PAGE_SIZE;
		ret->backed = slot->backed;
		err = 0;
	}
	tide_rcu_unlock(&mmu->rcu_tag);
	return err;
}

/* Under the mmu_lock. */
static void write_and_follow(struct tide_mmu *mmu, struct mmu_vcpu *vcpu,
			     uint32_t address_space, uint64_t gpa,
			     struct mmu_write *write,
			     const struct host_ref *ref)
{
	uint64_t gfn = gpa >> TIDE_PAGE_SHIFT, base;
	uint32_t offset = (uint32_t)(gpa % TIDE_PAGE_SIZE);
	struct mmu_slot *slot = mmu_slot_at(mmu, address_space, gfn, &base);

	assert(slot);
	mmu_write_do(write, ref->host + offset);
	tide_pause("emulate.written");
	if (ref->held)
		backing_page_dirty(mmu->config.backing, ref->pfn);
	sp_guest_wrote(mmu, address_space, gfn, offset, write->nbytes);
	mmu_mark_dirty(mmu, vcpu, slot, gfn - base);
}

int mmu_emulate_write(struct tide_mmu *mmu, struct mmu_vcpu *vcpu,
		      uint32_t address_space, uint64_t gpa,
		      struct mmu_write *write)
{
	bool done = false;

	assert(gpa % TIDE_PAGE_SIZE + write->nbytes <= TIDE_PAGE_SIZE);
	mmu_count_own(&vcpu->writes_emulated);
	while (!done) {
		struct host_ref ref;
		struct target target;
		int err = find(mmu, address_space, gpa >> TIDE_PAGE_SHIFT,
			       &target);

		if (!err)
			err = host_ref_get(mmu, target.host, target.backed,
					   true, &ref);
		if (err)
			return err;
		tide_lock_acquire(&mmu->mmu_lock);
		/* Relaxed: changed under the mmu_lock, which we have. */
		if (atomic_load_explicit(&mmu->slots_generation,
					 memory_order_relaxed) ==
			    target.generation &&
		    !mmu_invalidate_retry(mmu, target.seq, target.host)) {
			write_and_follow(mmu, vcpu, address_space, gpa, write,
					 &ref);
			done = true;
		}
		/* If it fails it is owed; see above. */
		(void)mmu_unlock_flush(mmu);
		host_ref_put(mmu, &ref);
	}
	return 0;
}

void mmu_follow_write(struct tide_mmu *mmu, uint32_t address_space,
		      uint64_t gpa, uint32_t nbytes)
{
	tide_lock_acquire(&mmu->mmu_lock);
	sp_guest_wrote(mmu, address_space, gpa >> TIDE_PAGE_SHIFT,
		       (uint32_t)(gpa % TIDE_PAGE_SIZE), nbytes);
	(void)mmu_unlock_flush(mmu);
}
