/* SPDX-License-Identifier: MIT */
/*
 * kvm_clear.c - manual protect: GET copies, CLEAR re-arms what it is told to
 *
 * Theory of operation
 * -------------------
 * GET returns the live bitmap, clears nothing, holds no lock.  CLEAR clears
 * and protects exactly the bits it is given.  Clearing a bit that was not in
 * a GET loses a write and the kernel does not mind; the rule is kept by the
 * space, which passes only what is known (space/collect.c, thread 4).
 *
 * With "initially all set" turning logging on sets every bit and protects
 * nothing, which is true: every page is dirty for a new client.
 */
#include <errno.h>

#include "base/bits.h"
#include "base/clock.h"
#include "tracker/kvm_tracker.h"

int tide_kvm_clear_setup(struct tide_kvm *kvm)
{
	const uint64_t enable = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
	const uint64_t all_set = KVM_DIRTY_LOG_INITIALLY_SET;
	int offered =
		tide_kvm_extension(kvm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);

	if (offered <= 0 || !((uint64_t)offered & enable))
		return -EOPNOTSUPP;
	kvm->initially_set = (uint64_t)offered & all_set;
	return tide_kvm_enable(kvm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
			       (uint64_t)offered & (enable | all_set));
}

static int clear_collect(void *tracker, struct tide_slot *only)
{
	struct tide_kvm *kvm = tracker;
	int err = 0;

	for (struct tide_slot *slot = tide_slot_first(kvm->space); slot;
	     slot = tide_slot_next(slot)) {
		int ret;

		if (!tide_slot_logged(slot) || (only && slot != only))
			continue;
		/* A GET that fails has consumed nothing, but what it would
		 * have said is not known. */
		ret = tide_kvm_get_log(kvm, slot, tide_slot_scratch(slot));
		if (!ret)
			tide_found_snapshot(slot);
		else
			tide_slot_fail_closed(slot);
		if (!err)
			err = ret;
	}
	return err;
}

static int clear_rearm(void *tracker, struct tide_slot *slot, uint64_t first,
		       uint64_t npages, const uint64_t *words)
{
	struct tide_kvm *kvm = tracker;
	struct kvm_clear_dirty_log log = {
		.slot = tide_kvm_slot_key(kvm, slot),
		.num_pages = (uint32_t)npages,
		.first_page = first,
		/* Older headers lack const; the kernel only reads it. */
		.padding2 = (uintptr_t)words,
	};
	uint64_t begin_ns = tide_now_ns();
	int err;

	assert(first % TIDE_WORD_BITS == 0);
	assert(npages % TIDE_WORD_BITS == 0 ||
	       first + npages == tide_slot_npages(slot));
	err = tide_kvm_ioctl(kvm->config.vm_fd, KVM_CLEAR_DIRTY_LOG, &log);
	tide_space_held(kvm->space, begin_ns);
	return err;
}

#define CLEAR_OPS(all_set)                                                 \
	{                                                                  \
		.kind = TIDE_TRACKER_KVM_CLEAR, .manual = true,            \
		.initially_set = (all_set), .slot_add = tide_kvm_slot_add, \
		.slot_remove = tide_kvm_slot_remove,                       \
		.slot_move = tide_kvm_slot_move,                           \
		.slot_park = tide_kvm_slot_park,                           \
		.slot_log = tide_kvm_slot_log, .collect = clear_collect,   \
		.rearm = clear_rearm, .sync = tide_kvm_sync,               \
		.destroy = tide_kvm_destroy,                               \
	}

const struct tide_tracker_ops tide_kvm_clear_ops = CLEAR_OPS(false);
const struct tide_tracker_ops tide_kvm_clear_all_set_ops = CLEAR_OPS(true);
