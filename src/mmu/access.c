/* SPDX-License-Identifier: MIT */
/*
 * access.c - what the vCPU's inline accesses do when they miss
 *
 * reach() gets a host address: from the shadow page table, else after a fast
 * or a slow fault, for which the vCPU leaves guest mode, so that nobody who
 * flushes waits for a fault, and a fault may wait for anybody.  The address
 * stays valid until the vCPU's next safe point or fault.
 */
#include <errno.h>
#include <string.h>

#include "base/rcu.h"
#include "mmu/mmu_internal.h"

/* Beside the exit reasons: outside guest mode; emulate.c has to do it. */
#define REACH_EMULATE (-1000)

static bool in_guest(const struct mmu_vcpu *vcpu)
{
	/* Relaxed: this thread's own bit. */
	return atomic_load_explicit(&vcpu->public.state, memory_order_relaxed) &
	       TIDE_VCPU_IN_GUEST;
}

static bool is_size(size_t nbytes)
{
	return nbytes == 1 || nbytes == 2 || nbytes == 4 || nbytes == 8;
}

static size_t to_page_end(uint64_t gva)
{
	return TIDE_PAGE_SIZE - gva % TIDE_PAGE_SIZE;
}

/* Nobody may push to the ring any more.  A fault pushes a few entries: the
 * page, and the guest's tables where it sets A and D; the reserve is for those
 * (I12). */
static bool is_ring_full(const struct mmu_vcpu *vcpu)
{
	return vcpu->has_ring && tide_ring_soft_full(&vcpu->ring);
}

/* Outside guest mode.  Return: 0: try again; as reach(). */
static int fault(struct mmu_vcpu *vcpu, uint64_t gva, enum tide_access what,
		 uint64_t *ret_gpa)
{
	struct mmu_fault fault = { .gva = gva, .what = what };

	if (is_ring_full(vcpu))
		return mmu_exit_set(vcpu, TIDE_EXIT_RING_FULL, what, gva, 0);
	switch (mmu_slow_fault(vcpu, &fault)) {
	case MMU_FAULT_EXIT:
		return (int)vcpu->exit.reason;
	case MMU_FAULT_EMULATE:
		*ret_gpa = fault.gpa;
		return REACH_EMULATE;
	case MMU_FAULT_FIXED:
	default:
		return 0;
	}
}

/* From the shadow page table, or by a fast page fault; one section of RCU, so
 * that the fault can begin with the entry that the walk has found.  Return:
 * true, in guest mode, and *@ret_at; false, outside guest mode. */
static bool fill_or_repair(struct mmu_vcpu *vcpu, uint64_t gva,
			   enum tide_access what, uint64_t *ret_at)
{
	struct spte_walk walk;
	bool repaired = true;

	tide_rcu_lock();
	while (repaired) {
		*ret_at = mmu_tlb_fill(vcpu, gva, what, &walk);
		if (*ret_at)
			break;
		mmu_vcpu_out_of_guest(vcpu);
		repaired = !is_ring_full(vcpu) &&
			   mmu_fast_fault(vcpu, gva, what, &walk);
		if (repaired)
			mmu_vcpu_into_guest(vcpu);
	}
	tide_rcu_unlock(&vcpu->mmu->rcu_tag);
	return repaired;
}

/* Return: 0, in guest mode, and *@ret_at is a host address; an exit reason;
 * -EPERM; REACH_EMULATE, and *@ret_at is a gpa. */
static int reach(struct mmu_vcpu *vcpu, uint64_t gva, enum tide_access what,
		 uint64_t *ret_at)
{
	int ret;

	if (!in_guest(vcpu))
		return -EPERM;
	if (tide_vcpu_hit(&vcpu->public, gva, 1, what, ret_at))
		return 0;
	for (;;) {
		if (fill_or_repair(vcpu, gva, what, ret_at))
			return 0;
		ret = fault(vcpu, gva, what, ret_at);
		if (ret)
			return ret;
		mmu_vcpu_into_guest(vcpu);
	}
}

/* An exit that the caller sees says how many bytes it was about. */
static int leave(struct mmu_vcpu *vcpu, int ret, size_t nbytes)
{
	if (ret > 0)
		vcpu->exit.nbytes = (uint32_t)nbytes;
	return ret;
}

static uint8_t *pointer(uint64_t host)
{
	return (uint8_t *)(uintptr_t)host;
}

/* After REACH_EMULATE: outside guest mode; inside again if it returns 0. */
static int emulate(struct mmu_vcpu *vcpu, uint64_t gva, uint64_t gpa,
		   struct mmu_write *write)
{
	int err = mmu_emulate_write(vcpu->mmu, vcpu, vcpu->paging.address_space,
				    gpa, write);

	if (!err) {
		mmu_vcpu_into_guest(vcpu);
		return 0;
	}
	if (err == -EFAULT)
		return mmu_exit_set(vcpu, TIDE_EXIT_MMIO, TIDE_ACCESS_WRITE,
				    gva, gpa);
	(void)mmu_exit_set(vcpu, TIDE_EXIT_ERROR, TIDE_ACCESS_WRITE, gva, gpa);
	vcpu->exit.error = err;
	return TIDE_EXIT_ERROR;
}

/* Inside one page. */
static int write_in_page(struct mmu_vcpu *vcpu, uint64_t gva,
			 struct mmu_write *write)
{
	uint64_t at;
	int ret = reach(vcpu, gva, TIDE_ACCESS_WRITE, &at);

	if (ret == REACH_EMULATE)
		ret = emulate(vcpu, gva, at, write);
	else if (!ret)
		mmu_write_do(write, pointer(at));
	return leave(vcpu, ret, write->nbytes);
}

static int read_in_page(struct mmu_vcpu *vcpu, uint64_t gva,
			enum tide_access what, void *to, size_t nbytes)
{
	uint64_t at;
	int ret = reach(vcpu, gva, what, &at);

	if (!ret)
		guest_copy(to, pointer(at), nbytes);
	return leave(vcpu, ret, nbytes);
}

int tide_vcpu_load_slow(struct tide_vcpu *public, uint64_t gva, size_t nbytes,
			enum tide_access access, uint64_t *ret_value)
{
	struct mmu_vcpu *vcpu = mmu_vcpu_of(public);
	size_t first = to_page_end(gva);
	uint64_t value = 0;
	int ret;

	if (!is_size(nbytes) ||
	    (access != TIDE_ACCESS_READ && access != TIDE_ACCESS_FETCH))
		return -EINVAL;
	if (first > nbytes)
		first = nbytes;
	ret = read_in_page(vcpu, gva, access, &value, first);
	if (!ret && first < nbytes)
		ret = read_in_page(vcpu, gva + first, access,
				   (uint8_t *)&value + first, nbytes - first);
	if (!ret)
		*ret_value = value;
	return ret;
}

/* One page's part of a store that crosses a page. */
struct piece {
	uint64_t gva;
	bool emulated; /* the page is a table of the guest's */
	uint64_t at;   /* emulated: gpa; else host address */
	struct mmu_write write;
};

/* Return: 0, in guest mode; as reach(). */
static int reach_piece(struct mmu_vcpu *vcpu, struct piece *piece)
{
	int ret = reach(vcpu, piece->gva, TIDE_ACCESS_WRITE, &piece->at);

	piece->emulated = ret == REACH_EMULATE;
	if (piece->emulated) {
		mmu_vcpu_into_guest(vcpu);
		return 0;
	}
	return leave(vcpu, ret, piece->write.nbytes);
}

/* Both at once, in guest mode: after the second fault the first page may be
 * gone again. */
static int reach_both(struct mmu_vcpu *vcpu, struct piece *first,
		      struct piece *second)
{
	for (;;) {
		int ret = reach_piece(vcpu, first);

		if (!ret)
			ret = reach_piece(vcpu, second);
		if (ret)
			return ret;
		if (first->emulated ||
		    tide_vcpu_hit(&vcpu->public, first->gva, 1,
				  TIDE_ACCESS_WRITE, &first->at))
			return 0;
	}
}

/* Where each part goes was looked up before: what is written to a table may
 * change the translation of the other page, and the store is made all the
 * same, as a CPU makes it. */
static int store_crossing(struct mmu_vcpu *vcpu, uint64_t gva, size_t first,
			  const struct mmu_write *write)
{
	const uint8_t *from = (const uint8_t *)&write->value;
	struct piece piece[2] = {
		{ .gva = gva,
		  .write = { .op = MMU_OP_COPY,
			     .nbytes = (uint32_t)first,
			     .from = from } },
		{ .gva = gva + first,
		  .write = { .op = MMU_OP_COPY,
			     .nbytes = write->nbytes - (uint32_t)first,
			     .from = from + first } },
	};
	int ret = reach_both(vcpu, &piece[0], &piece[1]);

	if (ret)
		return ret;
	/* Those first whose address ends with guest mode. */
	for (uint32_t i = 0; i < 2; i++) {
		if (!piece[i].emulated)
			mmu_write_do(&piece[i].write, pointer(piece[i].at));
	}
	for (uint32_t i = 0; !ret && i < 2; i++) {
		if (!piece[i].emulated)
			continue;
		mmu_vcpu_out_of_guest(vcpu);
		ret = leave(vcpu,
			    emulate(vcpu, piece[i].gva, piece[i].at,
				    &piece[i].write),
			    piece[i].write.nbytes);
	}
	return ret;
}

int tide_vcpu_store_slow(struct tide_vcpu *public, uint64_t gva, size_t nbytes,
			 uint64_t value)
{
	struct mmu_vcpu *vcpu = mmu_vcpu_of(public);
	struct mmu_write write = { .op = MMU_OP_STORE,
				   .nbytes = (uint32_t)nbytes,
				   .value = value };

	if (!is_size(nbytes))
		return -EINVAL;
	if (to_page_end(gva) < nbytes)
		return store_crossing(vcpu, gva, to_page_end(gva), &write);
	return write_in_page(vcpu, gva, &write);
}

int tide_vcpu_cmpxchg(struct tide_vcpu *public, uint64_t gva, size_t nbytes,
		      uint64_t *expected, uint64_t desired)
{
	struct mmu_write write = { .op = MMU_OP_CMPXCHG,
				   .nbytes = (uint32_t)nbytes,
				   .value = desired,
				   .expected = *expected };
	int ret;

	if (!is_size(nbytes) || gva % nbytes)
		return -EINVAL;
	ret = write_in_page(mmu_vcpu_of(public), gva, &write);
	if (!ret)
		*expected = write.expected;
	return ret;
}

int tide_vcpu_fetch_add(struct tide_vcpu *public, uint64_t gva, size_t nbytes,
			uint64_t addend, uint64_t *ret_old)
{
	struct mmu_write write = { .op = MMU_OP_FETCH_ADD,
				   .nbytes = (uint32_t)nbytes,
				   .value = addend };
	int ret;

	if (!is_size(nbytes) || gva % nbytes)
		return -EINVAL;
	ret = write_in_page(mmu_vcpu_of(public), gva, &write);
	if (!ret)
		*ret_old = write.expected;
	return ret;
}

static int block(struct mmu_vcpu *vcpu, uint64_t gva, uint8_t *to,
		 const uint8_t *from, size_t nbytes, size_t *ret_done)
{
	size_t done = 0;
	int ret = 0;

	if (nbytes && gva + nbytes - 1 < gva)
		return -EINVAL;
	if (!in_guest(vcpu))
		return -EPERM;
	while (!ret && done < nbytes) {
		size_t n = to_page_end(gva + done);

		if (n > nbytes - done)
			n = nbytes - done;
		if (to) {
			ret = read_in_page(vcpu, gva + done, TIDE_ACCESS_READ,
					   to + done, n);
		} else {
			struct mmu_write write = { .op = MMU_OP_COPY,
						   .nbytes = (uint32_t)n,
						   .from = from + done };

			ret = write_in_page(vcpu, gva + done, &write);
		}
		if (!ret)
			done += n;
	}
	if (ret_done)
		*ret_done = done;
	return ret;
}

int tide_vcpu_read(struct tide_vcpu *public, uint64_t gva, void *buffer,
		   size_t nbytes, size_t *ret_done)
{
	return block(mmu_vcpu_of(public), gva, buffer, NULL, nbytes, ret_done);
}

int tide_vcpu_write(struct tide_vcpu *public, uint64_t gva, const void *buffer,
		    size_t nbytes, size_t *ret_done)
{
	return block(mmu_vcpu_of(public), gva, NULL, buffer, nbytes, ret_done);
}
