/* SPDX-License-Identifier: MIT */
/*
 * kvm_get.c - KVM_GET_DIRTY_LOG as it was in 2007: return, clear, re-protect
 *
 * One call takes the snapshot, protects the pages and flushes, all under the
 * mmu lock (thread 5).  If it fails after the bits were cleared (K37: a fault
 * while copying out) the snapshot is lost, so the whole slot is dirty.
 */
#include "base/clock.h"
#include "tracker/kvm_tracker.h"

int tide_kvm_get_setup(struct tide_kvm *kvm)
{
	/* The embedder may have turned manual protect on; GET would then
	 * report the same pages for ever. */
	if (tide_kvm_extension(kvm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) <= 0)
		return 0;
	return tide_kvm_enable(kvm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 0);
}

static int get_slot_add(void *tracker, struct tide_slot *slot, bool log)
{
	int err = tide_kvm_words_for(tracker, slot);

	return err ? err : tide_kvm_slot_add(tracker, slot, log);
}

static int get_slot(struct tide_kvm *kvm, struct tide_slot *slot)
{
	uint64_t begin_ns = tide_now_ns();
	int err = tide_kvm_get_log(kvm, slot, kvm->words);

	tide_space_held(kvm->space, begin_ns);
	if (err)
		tide_slot_fail_closed(slot);
	else
		tide_found_words(slot, kvm->words);
	return err;
}

int tide_kvm_get_collect(void *tracker, struct tide_slot *only)
{
	struct tide_kvm *kvm = tracker;
	int err = 0;

	for (struct tide_slot *slot = tide_slot_first(kvm->space); slot;
	     slot = tide_slot_next(slot)) {
		int ret;

		if (!tide_slot_logged(slot) || (only && slot != only))
			continue;
		ret = get_slot(kvm, slot);
		if (!err)
			err = ret;
	}
	return err;
}

const struct tide_tracker_ops tide_kvm_get_ops = {
	.kind = TIDE_TRACKER_KVM_GET,
	.slot_add = get_slot_add,
	.slot_remove = tide_kvm_slot_remove,
	.slot_move = tide_kvm_slot_move,
	.slot_park = tide_kvm_slot_park,
	.slot_log = tide_kvm_slot_log,
	.collect = tide_kvm_get_collect,
	.sync = tide_kvm_sync,
	.destroy = tide_kvm_destroy,
};
