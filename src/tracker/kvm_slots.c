/* SPDX-License-Identifier: MIT */
/*
 * kvm_slots.c - a space's slots as memory regions of a VM
 *
 * Theory of operation
 * -------------------
 * KVM_SET_USER_MEMORY_REGION creates, deletes, moves and changes the flags of
 * a slot.  A slot that the embedder has added already, with the same gpa, size
 * and address, is taken over by the same call: it changes nothing but flags.
 *
 * Parking.  MOVE keeps the dirty bitmap and drops every mapping, so a slot
 * that was moved to a gfn that the guest does not use is no longer written,
 * and what its log holds can be read in peace before it is deleted.  Without
 * it, what is written between the last GET and the DELETE is lost, as QEMU's
 * comment in kvm_set_phys_mem admits.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/bits.h"
#include "base/clock.h"
#include "tracker/kvm_tracker.h"

int tide_kvm_ioctl(int fd, unsigned long request, void *argument)
{
	int saved = errno;
	int ret = ioctl(fd, request, argument);

	if (ret < 0)
		ret = -errno;
	errno = saved;
	return ret;
}

int tide_kvm_extension(const struct tide_kvm *kvm, int extension)
{
	int saved = errno;
	int ret = ioctl(kvm->config.vm_fd, KVM_CHECK_EXTENSION, extension);

	if (ret < 0)
		ret = -errno;
	errno = saved;
	return ret;
}

int tide_kvm_enable(const struct tide_kvm *kvm, uint32_t cap, uint64_t arg)
{
	struct kvm_enable_cap enable = { .cap = cap, .args = { arg } };

	return tide_kvm_ioctl(kvm->config.vm_fd, KVM_ENABLE_CAP, &enable);
}

uint32_t tide_kvm_slot_key(const struct tide_kvm *kvm,
			   const struct tide_slot *slot)
{
	return kvm->config.address_space << 16 | tide_slot_id(slot);
}

int tide_kvm_get_log(struct tide_kvm *kvm, struct tide_slot *slot,
		     uint64_t *words)
{
	struct kvm_dirty_log log = {
		.slot = tide_kvm_slot_key(kvm, slot),
		.dirty_bitmap = words,
	};

	return tide_kvm_ioctl(kvm->config.vm_fd, KVM_GET_DIRTY_LOG, &log);
}

int tide_kvm_words_for(struct tide_kvm *kvm, const struct tide_slot *slot)
{
	size_t nwords = tide_words(tide_slot_npages(slot));
	uint64_t *words;

	if (nwords <= kvm->words_max)
		return 0;
	words = calloc(nwords, sizeof(*words));
	if (!words)
		return -ENOMEM;
	free(kvm->words);
	kvm->words = words;
	kvm->words_max = nwords;
	return 0;
}

/* The slot as the VM is to have it; @npages 0 deletes it. */
static int set_region(struct tide_kvm *kvm, struct tide_slot *slot,
		      uint64_t first_gfn, uint64_t npages, bool log)
{
	struct kvm_userspace_memory_region region = {
		.slot = tide_kvm_slot_key(kvm, slot),
		.guest_phys_addr = first_gfn << TIDE_PAGE_SHIFT,
		.memory_size = npages << TIDE_PAGE_SHIFT,
		.userspace_addr = (uintptr_t)tide_slot_host(slot),
	};

	if (tide_slot_flags(slot) & TIDE_SLOT_READONLY)
		region.flags |= KVM_MEM_READONLY;
	if (log)
		region.flags |= KVM_MEM_LOG_DIRTY_PAGES;
	return tide_kvm_ioctl(kvm->config.vm_fd, KVM_SET_USER_MEMORY_REGION,
			      &region);
}

int tide_kvm_slot_add(void *tracker, struct tide_slot *slot, bool log)
{
	struct tide_kvm *kvm = tracker;

	if (tide_slot_id(slot) > TIDE_KVM_SLOT_ID_MAX)
		return -EINVAL;
	return set_region(kvm, slot, tide_slot_first_gfn(slot),
			  tide_slot_npages(slot), log);
}

int tide_kvm_slot_remove(void *tracker, struct tide_slot *slot)
{
	return set_region(tracker, slot, tide_slot_first_gfn(slot), 0, false);
}

int tide_kvm_slot_move(void *tracker, struct tide_slot *slot,
		       uint64_t first_gfn)
{
	return set_region(tracker, slot, first_gfn, tide_slot_npages(slot),
			  tide_slot_logged(slot));
}

int tide_kvm_slot_park(void *tracker, struct tide_slot *slot)
{
	/* 64 TiB, 1 TiB, 256 GiB: the highest that this VM can address and
	 * that is free. */
	static const uint64_t gfns[] = { 1ull << 34, 1ull << 28, 1ull << 26 };
	struct tide_kvm *kvm = tracker;
	int err = -EOPNOTSUPP;

	if (!kvm->config.sync_vcpus)
		return -EOPNOTSUPP; /* the log could not be completed */
	for (size_t i = 0; err && i < sizeof(gfns) / sizeof(gfns[0]); i++)
		err = tide_kvm_slot_move(tracker, slot, gfns[i]);
	return err;
}

int tide_kvm_slot_log(void *tracker, struct tide_slot *slot, bool on)
{
	struct tide_kvm *kvm = tracker;
	uint64_t begin_ns = tide_now_ns();
	int err = set_region(kvm, slot, tide_slot_first_gfn(slot),
			     tide_slot_npages(slot), on);

	tide_space_held(kvm->space, begin_ns);
	return err;
}

bool tide_kvm_sync(void *tracker)
{
	const struct tide_kvm *kvm = tracker;

	if (!kvm->config.sync_vcpus)
		return false;
	kvm->config.sync_vcpus(kvm->config.opaque);
	return true;
}
