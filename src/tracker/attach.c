/* SPDX-License-Identifier: MIT */
/* attach.c - a tracker by its name, and from a caller's config */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/options.h"
#include "tracker/kvm_tracker.h"

/* The first version of struct tide_kvm_config ends with opaque. */
#define KVM_CONFIG_FIRST \
	(offsetof(struct tide_kvm_config, opaque) + sizeof(void *))

#define CHUNK_PAGES_MAX (1ull << 31)
#define RING_ENTRIES_DEFAULT 65536u /* 1 MiB a vCPU */
#define RING_ENTRIES_MIN 1024u	    /* 64 reserved and 512 of PML must fit */
#define RING_ENTRIES_MAX 65536u

static const char *const names[TIDE_TRACKER_COUNT] = {
	[TIDE_TRACKER_NONE] = "none",
	[TIDE_TRACKER_KVM_GET] = "kvm-get",
	[TIDE_TRACKER_KVM_CLEAR] = "kvm-clear",
	[TIDE_TRACKER_KVM_RING] = "kvm-ring",
	[TIDE_TRACKER_SOFT_BITMAP] = "soft-bitmap",
	[TIDE_TRACKER_SOFT_RING] = "soft-ring",
};

const char *tide_tracker_name(enum tide_tracker tracker)
{
	return (unsigned int)tracker < TIDE_TRACKER_COUNT ? names[tracker]
							  : NULL;
}

int tide_tracker_by_name(const char *name, enum tide_tracker *ret)
{
	for (unsigned int i = 0; i < TIDE_TRACKER_COUNT; i++) {
		if (!strcmp(name, names[i])) {
			*ret = (enum tide_tracker)i;
			return 0;
		}
	}
	return -ENOENT;
}

void tide_kvm_destroy(void *tracker)
{
	struct tide_kvm *kvm = tracker;

	for (uint32_t i = 0; i < kvm->nrings; i++)
		munmap(kvm->rings[i].entries,
		       kvm->config.ring_entries * sizeof(struct kvm_dirty_gfn));
	free(kvm->rings);
	free(kvm->words);
	free(kvm);
}

static bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

static int check_config(struct tide_kvm_config *config)
{
	if (!config->chunk_pages)
		config->chunk_pages = 1ull << 18;
	if (!config->ring_entries)
		config->ring_entries = RING_ENTRIES_DEFAULT;
	if (!is_power_of_two(config->chunk_pages) ||
	    config->chunk_pages < TIDE_WORD_BITS ||
	    config->chunk_pages > CHUNK_PAGES_MAX ||
	    !is_power_of_two(config->ring_entries) ||
	    config->ring_entries < RING_ENTRIES_MIN ||
	    config->ring_entries > RING_ENTRIES_MAX ||
	    config->address_space > 0xffff)
		return -EINVAL;
	return sysconf(_SC_PAGESIZE) == (long)TIDE_PAGE_SIZE ? 0 : -EOPNOTSUPP;
}

/* /dev/kvm itself answers KVM_CHECK_EXTENSION too, but has a version. */
static int check_vm_fd(const struct tide_kvm *kvm)
{
	if (tide_kvm_ioctl(kvm->config.vm_fd, KVM_GET_API_VERSION, NULL) > 0)
		return -EBADF;
	return tide_kvm_extension(kvm, KVM_CAP_USER_MEMORY) > 0 ? 0 : -EBADF;
}

static int setup(struct tide_kvm *kvm, enum tide_tracker tracker,
		 const struct tide_tracker_ops **ret_ops)
{
	int err;

	switch (tracker) {
	case TIDE_TRACKER_KVM_GET:
		*ret_ops = &tide_kvm_get_ops;
		return tide_kvm_get_setup(kvm);
	case TIDE_TRACKER_KVM_CLEAR:
		err = tide_kvm_clear_setup(kvm);
		*ret_ops = kvm->initially_set ? &tide_kvm_clear_all_set_ops
					      : &tide_kvm_clear_ops;
		return err;
	case TIDE_TRACKER_KVM_RING:
		*ret_ops = &tide_kvm_ring_ops;
		return tide_kvm_ring_setup(kvm);
	case TIDE_TRACKER_SOFT_BITMAP:
	case TIDE_TRACKER_SOFT_RING:
		return -EOPNOTSUPP;
	case TIDE_TRACKER_NONE:
	case TIDE_TRACKER_COUNT:
	default:
		return -EINVAL;
	}
}

int tide_space_attach(struct tide_space *space, enum tide_tracker tracker,
		      const void *config)
{
	const struct tide_tracker_ops *ops = NULL;
	struct tide_kvm *kvm;
	int err;

	if (tracker <= TIDE_TRACKER_NONE || tracker >= TIDE_TRACKER_COUNT)
		return -EINVAL;
	if (tide_space_tracker(space) != TIDE_TRACKER_NONE)
		return -EBUSY;
	kvm = calloc(1, sizeof(*kvm));
	if (!kvm)
		return -ENOMEM;
	kvm->space = space;
	err = tide_options_copy(&kvm->config, sizeof(kvm->config), config,
				KVM_CONFIG_FIRST);
	if (!err)
		err = check_config(&kvm->config);
	if (!err)
		err = check_vm_fd(kvm);
	if (!err)
		err = setup(kvm, tracker, &ops);
	if (err) {
		tide_kvm_destroy(kvm);
		return err;
	}
	tide_space_chunk_set(space, kvm->config.chunk_pages);
	return tide_space_attach_ops(space, ops, kvm);
}
