/* SPDX-License-Identifier: MIT */
/*
 * kvm_abi.h - KVM's dirty-log ABI, also where the headers are older
 *
 * From Documentation/virt/kvm/api.rst.  What the running kernel offers is
 * probed, never inferred from here.
 */
#ifndef TIDE_TRACKER_KVM_ABI_H
#define TIDE_TRACKER_KVM_ABI_H

#include <linux/kvm.h>

#ifndef KVM_CAP_DIRTY_LOG_RING_ACQ_REL
#define KVM_CAP_DIRTY_LOG_RING_ACQ_REL 223
#endif
#ifndef KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP
#define KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP 225
#endif

/* Headers older than an architecture's ring (arm64 before Linux 6.3) say 0,
 * where struct kvm_run is.  The pages of the ring begin at 64 on each that has
 * one. */
#if KVM_DIRTY_LOG_PAGE_OFFSET == 0
#undef KVM_DIRTY_LOG_PAGE_OFFSET
#define KVM_DIRTY_LOG_PAGE_OFFSET 64
#endif

_Static_assert(sizeof(struct kvm_dirty_gfn) == 16, "ring entry");
_Static_assert(sizeof(struct kvm_dirty_log) == 16, "KVM_GET_DIRTY_LOG");
_Static_assert(sizeof(struct kvm_clear_dirty_log) == 24, "KVM_CLEAR_DIRTY_LOG");

/* Slot ids share a word with the address space. */
#define TIDE_KVM_SLOT_ID_MAX 0xffffu

#endif
