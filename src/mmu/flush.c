/* SPDX-License-Identifier: MIT */
/*
 * flush.c - guest mode, and making every vCPU forget its TLB
 *
 * Theory of operation
 * -------------------
 * A vCPU's state is one word: whether it is in guest mode, and what is asked of
 * it.  Every change is a read-modify-write of that word, so enter and a request
 * are ordered by the word itself: either the request comes first, and then
 * enter sees it and flushes before the first access; or enter comes first, and
 * then whoever asks sees guest mode and waits.  KVM has two words, mode and
 * requests, and needs a full barrier on both sides between storing one and
 * loading the other (store buffering; reference F11).
 *
 * A vCPU acknowledges at a safe point, in the same word, where it also counts
 * that it did, after it has made its TLB's entries invalid.  What it did before
 * is visible to whoever sees that: its writes, and its entries in logs.
 *
 * The waiter spins a little and then sleeps on the word (futex), since on a
 * full machine the vCPU that it waits for may need this CPU.
 *
 * A vCPU that does not come to a safe point: after flush_timeout_ns the flush
 * fails and is owed.  The request stays, so that vCPU will flush; but nobody
 * may rely on it until a later flush has succeeded, and every call that needs
 * one tries first what is owed.
 *
 * Synchronisation
 *   guest.request  entries that were changed before -> guest.acknowledge, at
 *                  the latest when the vCPU enters.
 *   guest.enter    into guest mode -> guest.request: whose vCPU it is.
 *   guest.leave    out of guest mode, or acknowledged -> guest.left and
 *                  guest.request: what the vCPU wrote and marked.
 *   owed.fail      a flush failed -> owed.count: whom it had asked.
 *   owed.pay       a flush succeeded -> owed.paid: what it waited for.
 */
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/pause_point.h"
#include "base/relax.h"
#include "base/self.h"
#include "mmu/mmu_internal.h"

#ifndef FLUSH_SPINS /* a checking build has its own */
#define FLUSH_SPINS 8u
#endif

static void futex_wake(_Atomic uint32_t *word)
{
	int saved = errno;

	(void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL,
		      NULL, 0);
	errno = saved;
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t ns)
{
	struct timespec time = { .tv_sec = (time_t)(ns / 1000000000u),
				 .tv_nsec = (long)(ns % 1000000000u) };
	int saved = errno;

	/* However it ends, the caller looks again. */
	(void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &time, NULL,
		      0);
	errno = saved;
}

/* What a vCPU has outside guest mode. */
static const struct tide_tlb_entry nothing[TIDE_TLB_ENTRIES] = {
	{ .tag = TLB_TAG_NONE },
};

/* What is used of it is cleared: a number in each tag, to make them invalid at
 * once, would cost every hit an instruction. */
void mmu_vcpu_flush_own(struct mmu_vcpu *vcpu)
{
	for (int what = 0; what < TIDE_ACCESS_COUNT; what++) {
		struct tide_tlb_entry *tlb = vcpu->tlb[what];

		for (uint64_t used = vcpu->tlb_used[what]; used;
		     used &= used - 1)
			memset(&tlb[(size_t)tide_lowest(used) * TLB_GROUP], 0,
			       TLB_GROUP * sizeof(*tlb));
		tlb[0].tag = TLB_TAG_NONE;
		vcpu->tlb_used[what] = 0;
	}
}

void mmu_vcpu_acknowledge(struct mmu_vcpu *vcpu)
{
	uint32_t old;

	/* Relaxed: a request that comes later is for the next time. */
	if (!(atomic_load_explicit(&vcpu->public.state, memory_order_relaxed) &
	      VCPU_FLUSH))
		return;
	mmu_vcpu_flush_own(vcpu);
	/* Relaxed: the exchange below checks it. */
	old = atomic_load_explicit(&vcpu->public.state, memory_order_relaxed);
	do {
		/* ACQ_REL(guest.acknowledge) pairs with ACQ_REL(guest.request)
		 * and ACQUIRE(guest.left).  Relaxed on failure: it is tried
		 * again. */
	} while (!atomic_compare_exchange_weak_explicit(
		&vcpu->public.state, &old,
		(old & ~(VCPU_FLUSH | VCPU_WAITER)) + VCPU_ACK,
		memory_order_acq_rel, memory_order_relaxed));
	if (old & VCPU_WAITER)
		futex_wake(&vcpu->public.state);
}

void mmu_vcpu_into_guest(struct mmu_vcpu *vcpu)
{
	/* Relaxed: only to recognise ourselves in a flush. */
	atomic_store_explicit(&vcpu->owner, tide_self(), memory_order_relaxed);
	/* RELEASE(guest.enter) pairs with ACQ_REL(guest.request): whose it is.
	 * A request that came first is in the word, and acquired below. */
	(void)atomic_fetch_or_explicit(&vcpu->public.state, TIDE_VCPU_IN_GUEST,
				       memory_order_release);
	for (int what = 0; what < TIDE_ACCESS_COUNT; what++)
		vcpu->public.tlb[what] = vcpu->tlb[what];
	mmu_vcpu_acknowledge(vcpu);
}

void mmu_vcpu_out_of_guest(struct mmu_vcpu *vcpu)
{
	uint32_t old;

	for (int what = 0; what < TIDE_ACCESS_COUNT; what++)
		vcpu->public.tlb[what] = nothing;
	/* RELEASE(guest.leave) pairs with ACQ_REL(guest.request) and
	 * ACQUIRE(guest.left) */
	old = atomic_fetch_and_explicit(&vcpu->public.state,
					~(TIDE_VCPU_IN_GUEST | VCPU_WAITER),
					memory_order_release);
	if (old & VCPU_WAITER)
		futex_wake(&vcpu->public.state);
}

/* Since @before, the word as it was when we asked. */
static bool acknowledged(uint32_t before, uint32_t state)
{
	return !(state & TIDE_VCPU_IN_GUEST) || (state ^ before) >= VCPU_ACK;
}

/* UINT64_MAX: never. */
static uint64_t deadline_of(const struct tide_mmu *mmu, uint64_t begin_ns)
{
	uint64_t timeout_ns = mmu->config.flush_timeout_ns;

	return timeout_ns < UINT64_MAX - begin_ns ? begin_ns + timeout_ns
						  : UINT64_MAX;
}

static int wait_for(struct mmu_vcpu *vcpu, uint32_t before,
		    uint64_t deadline_ns)
{
	for (uint32_t spins = 0;; spins++) {
		/* ACQUIRE(guest.left) pairs with RELEASE(guest.leave) and
		 * ACQ_REL(guest.acknowledge) */
		uint32_t state = atomic_load_explicit(&vcpu->public.state,
						      memory_order_acquire);
		uint64_t now_ns;

		if (acknowledged(before, state))
			return 0;
		if (spins < FLUSH_SPINS) {
			tide_relax();
			continue;
		}
		now_ns = tide_now_ns();
		if (now_ns >= deadline_ns)
			return -ETIMEDOUT;
		/* Only where an answer is missing, which takes it away again;
		 * else every safe point would find it.  Relaxed: whoever
		 * answers meets it in the word, or we meet the answer. */
		if (atomic_compare_exchange_strong_explicit(
			    &vcpu->public.state, &state, state | VCPU_WAITER,
			    memory_order_relaxed, memory_order_relaxed))
			futex_wait(&vcpu->public.state, state | VCPU_WAITER,
				   deadline_ns - now_ns);
	}
}

/* Return: must be waited for; *@ret_before is for acknowledged(). */
static bool request(struct mmu_vcpu *vcpu, uint32_t *ret_before)
{
	/* ACQ_REL(guest.request) pairs with RELEASE(guest.enter),
	 * RELEASE(guest.leave) and ACQ_REL(guest.acknowledge) */
	uint32_t old = atomic_fetch_or_explicit(&vcpu->public.state, VCPU_FLUSH,
						memory_order_acq_rel);

	*ret_before = old;
	if (!(old & TIDE_VCPU_IN_GUEST))
		return false;
	/* Relaxed: nobody but we can have stored our own name there. */
	if (atomic_load_explicit(&vcpu->owner, memory_order_relaxed) ==
	    tide_self()) {
		mmu_vcpu_acknowledge(vcpu);
		return false;
	}
	return true;
}

static void raise_to(_Atomic uint64_t *number, uint64_t value)
{
	/* Relaxed: the exchange checks it. */
	uint64_t old = atomic_load_explicit(number, memory_order_relaxed);

	while (value > old) {
		/* RELEASE(owed.pay) pairs with ACQUIRE(owed.paid): what the
		 * flush waited for.  Relaxed on failure: tried again. */
		if (atomic_compare_exchange_weak_explicit(number, &old, value,
							  memory_order_release,
							  memory_order_relaxed))
			return;
	}
}

bool mmu_is_flush_owed(const struct tide_mmu *mmu)
{
	/* ACQUIRE(owed.paid) pairs with RELEASE(owed.pay).  Paid first: it is
	 * never more than failed. */
	uint64_t paid =
		atomic_load_explicit(&mmu->flush_paid, memory_order_acquire);

	/* Relaxed: not older than what was paid; whoever finds something owed
	 * flushes, and that acquires it. */
	return atomic_load_explicit(&mmu->flush_failed, memory_order_relaxed) !=
	       paid;
}

int mmu_flush(struct tide_mmu *mmu)
{
	uint64_t begin_ns = tide_now_ns();
	/* ACQUIRE(owed.count) pairs with RELEASE(owed.fail): those failures are
	 * made good if this succeeds, so it asks every vCPU that they asked. */
	uint64_t failed =
		atomic_load_explicit(&mmu->flush_failed, memory_order_acquire);
	/* ACQUIRE(vcpus.seen) pairs with RELEASE(vcpus.counted).  A vCPU that
	 * is made later has no root; it gets one under the mmu_lock, after
	 * whoever changed the entries that this flush is about. */
	uint32_t count =
		atomic_load_explicit(&mmu->vcpu_count, memory_order_acquire);
	uint32_t before[MMU_VCPUS_MAX];
	struct mmu_vcpu *wait[MMU_VCPUS_MAX];
	uint32_t waits = 0;
	int err = 0;

	for (uint32_t i = 0; i < count; i++) {
		/* Relaxed: acquired with the count. */
		struct mmu_vcpu *vcpu = atomic_load_explicit(
			&mmu->vcpu[i], memory_order_relaxed);

		if (request(vcpu, &before[waits]))
			wait[waits++] = vcpu;
	}
	tide_pause("flush.requested");
	for (uint32_t i = 0; i < waits; i++) {
		int ret = wait_for(wait[i], before[i],
				   deadline_of(mmu, begin_ns));

		if (!err)
			err = ret;
	}
	if (err) {
		/* RELEASE(owed.fail) pairs with ACQUIRE(owed.count) */
		(void)atomic_fetch_add_explicit(&mmu->flush_failed, 1,
						memory_order_release);
	} else {
		raise_to(&mmu->flush_paid, failed);
	}
	mmu_count(&mmu->flushes);
	raise_to(&mmu->flush_ns_max, tide_now_ns() - begin_ns);
	return err;
}

int mmu_flush_owed(struct tide_mmu *mmu)
{
	return mmu_is_flush_owed(mmu) ? mmu_flush(mmu) : 0;
}

int mmu_unlock_flush(struct tide_mmu *mmu)
{
	int err = 0;

	if (mmu->need_flush) {
		mmu->need_flush = false;
		err = mmu_flush(mmu);
	}
	tide_lock_release(&mmu->mmu_lock);
	return err;
}

int mmu_flush_all(struct tide_mmu *mmu)
{
	return mmu_flush(mmu);
}
