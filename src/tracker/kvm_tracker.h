/* SPDX-License-Identifier: MIT */
/*
 * kvm_tracker.h - what the three KVM trackers share
 *
 * Everything is under the space's slots_lock, except kvm_sync.  In the kernel
 * the calls meet kvm->slots_lock, so they never overlap there either.
 */
#ifndef TIDE_TRACKER_KVM_TRACKER_H
#define TIDE_TRACKER_KVM_TRACKER_H

#include <stdbool.h>
#include <stdint.h>

#include "log/ring.h"
#include "space/tracker_ops.h"
#include "tracker/kvm_abi.h"

#define TIDE_KVM_VCPUS_MAX 1024u

struct tide_kvm_ring {
	struct tide_ring_entry *entries; /* shared with the kernel */
	uint32_t next;			 /* free-running; where we read on */
	int vcpu_fd;
	uint32_t stuck; /* "full" in a row without an entry */
	uint32_t given; /* back by the last pass, gaps included */
	bool gap;     /* it overflowed: the kernel may be further on than we */
	bool rewound; /* the next pass meets entries of ours again */
};

struct tide_kvm {
	struct tide_space *space;
	struct tide_kvm_config config;
	bool initially_set; /* kvm-clear: the kernel offers it */

	uint64_t *words;  /* kvm-get, ring with bitmap: where GET writes */
	size_t words_max; /* of the largest slot so far */

	/* kvm-ring */
	struct tide_kvm_ring *rings;
	uint32_t nrings;
	bool with_bitmap;
	uint64_t unreset; /* entries given back, not yet re-armed */
	bool overflowed; /* entries were lost; nothing is sure until re-armed */
};

/* ioctl(2), but -errno on failure. */
int tide_kvm_ioctl(int fd, unsigned long request, void *argument);
/* KVM_CHECK_EXTENSION of the VM. */
int tide_kvm_extension(const struct tide_kvm *kvm, int extension);
int tide_kvm_enable(const struct tide_kvm *kvm, uint32_t cap, uint64_t arg);

/* The address space and id of a slot in one number, as the kernel has it. */
uint32_t tide_kvm_slot_key(const struct tide_kvm *kvm,
			   const struct tide_slot *slot);
/* KVM_GET_DIRTY_LOG into @words. */
int tide_kvm_get_log(struct tide_kvm *kvm, struct tide_slot *slot,
		     uint64_t *words);
/* kvm->words is large enough for the slot. */
int tide_kvm_words_for(struct tide_kvm *kvm, const struct tide_slot *slot);

/* The slot functions of struct tide_tracker_ops. */
int tide_kvm_slot_add(void *tracker, struct tide_slot *slot, bool log);
int tide_kvm_slot_remove(void *tracker, struct tide_slot *slot);
int tide_kvm_slot_move(void *tracker, struct tide_slot *slot,
		       uint64_t first_gfn);
int tide_kvm_slot_park(void *tracker, struct tide_slot *slot);
int tide_kvm_slot_log(void *tracker, struct tide_slot *slot, bool on);
bool tide_kvm_sync(void *tracker);
void tide_kvm_destroy(void *tracker);

/* kvm-get's collect; the ring's too, where it has a bitmap beside it. */
int tide_kvm_get_collect(void *tracker, struct tide_slot *only);

/* One mechanism each: turn it on in the VM.  Return: 0 or a negative errno. */
int tide_kvm_get_setup(struct tide_kvm *kvm);
int tide_kvm_clear_setup(struct tide_kvm *kvm);
int tide_kvm_ring_setup(struct tide_kvm *kvm);
extern const struct tide_tracker_ops tide_kvm_get_ops;
extern const struct tide_tracker_ops tide_kvm_clear_ops;
extern const struct tide_tracker_ops tide_kvm_clear_all_set_ops;
extern const struct tide_tracker_ops tide_kvm_ring_ops;

#endif
