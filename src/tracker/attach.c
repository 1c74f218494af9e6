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
#include "tracker/sigsegv.h"
#include "tracker/soft_dirty.h"
#include "tracker/soft_tracker.h"
#include "tracker/wp_tracker.h"

/* The first versions of the configs end with these members. */
#define KVM_CONFIG_FIRST \
	(offsetof(struct tide_kvm_config, opaque) + sizeof(void *))
#define SOFT_CONFIG_FIRST \
	(offsetof(struct tide_soft_config, ring_entries) + sizeof(uint32_t))
#define WP_CONFIG_FIRST \
	(offsetof(struct tide_wp_config, pagemap_fd) + sizeof(int))
#define SOFT_DIRTY_CONFIG_FIRST \
	(offsetof(struct tide_soft_dirty_config, opaque) + sizeof(void *))

#define CHUNK_PAGES_DEFAULT (1ull << 18)
#define CHUNK_PAGES_MAX (1ull << 31)
#define RING_ENTRIES_MAX 65536u
#define KVM_RING_DEFAULT 65536u /* 1 MiB a vCPU */
#define KVM_RING_MIN 1024u	/* 64 reserved and 512 of PML must fit */
#define SOFT_RING_DEFAULT 4096u
#define SOFT_RING_MIN 256u

static const char *const names[TIDE_TRACKER_COUNT] = {
	[TIDE_TRACKER_NONE] = "none",
	[TIDE_TRACKER_KVM_GET] = "kvm-get",
	[TIDE_TRACKER_KVM_CLEAR] = "kvm-clear",
	[TIDE_TRACKER_KVM_RING] = "kvm-ring",
	[TIDE_TRACKER_SOFT_BITMAP] = "soft-bitmap",
	[TIDE_TRACKER_SOFT_RING] = "soft-ring",
	[TIDE_TRACKER_WP] = "wp",
	[TIDE_TRACKER_SIGSEGV] = "sigsegv",
	[TIDE_TRACKER_SOFT_DIRTY] = "soft-dirty",
};

const char *tide_tracker_name(enum tide_tracker tracker)
{
	return (unsigned int)tracker < TIDE_TRACKER_COUNT ? names[tracker]
							  : NULL;
}

int tide_tracker_by_name(const char *name, enum tide_tracker *ret)
{
	if (!strcmp(name, "soft"))
		name = names[TIDE_TRACKER_SOFT_BITMAP];
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

/* Fills in the default.  Return: is it a chunk? */
static bool check_chunk(uint64_t *pages)
{
	if (!*pages)
		*pages = CHUNK_PAGES_DEFAULT;
	return is_power_of_two(*pages) && *pages >= TIDE_WORD_BITS &&
	       *pages <= CHUNK_PAGES_MAX;
}

static bool check_ring(uint32_t *entries, uint32_t normal, uint32_t least)
{
	if (!*entries)
		*entries = normal;
	return is_power_of_two(*entries) && *entries >= least &&
	       *entries <= RING_ENTRIES_MAX;
}

static int check_kvm_config(struct tide_kvm_config *config)
{
	if (!check_chunk(&config->chunk_pages) ||
	    !check_ring(&config->ring_entries, KVM_RING_DEFAULT,
			KVM_RING_MIN) ||
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

static int setup_kvm(struct tide_kvm *kvm, enum tide_tracker tracker,
		     const struct tide_tracker_ops **ret_ops)
{
	int err;

	if (tracker == TIDE_TRACKER_KVM_GET) {
		*ret_ops = &tide_kvm_get_ops;
		return tide_kvm_get_setup(kvm);
	}
	if (tracker == TIDE_TRACKER_KVM_RING) {
		*ret_ops = &tide_kvm_ring_ops;
		return tide_kvm_ring_setup(kvm);
	}
	err = tide_kvm_clear_setup(kvm);
	*ret_ops = kvm->initially_set ? &tide_kvm_clear_all_set_ops
				      : &tide_kvm_clear_ops;
	return err;
}

static int attach_kvm(struct tide_space *space, enum tide_tracker tracker,
		      const void *config)
{
	const struct tide_tracker_ops *ops = NULL;
	struct tide_kvm *kvm = calloc(1, sizeof(*kvm));
	int err;

	if (!kvm)
		return -ENOMEM;
	kvm->space = space;
	err = tide_options_copy(&kvm->config, sizeof(kvm->config), config,
				KVM_CONFIG_FIRST);
	if (!err)
		err = check_kvm_config(&kvm->config);
	if (!err)
		err = check_vm_fd(kvm);
	if (!err)
		err = setup_kvm(kvm, tracker, &ops);
	if (err) {
		tide_kvm_destroy(kvm);
		return err;
	}
	tide_space_chunk_set(space, kvm->config.chunk_pages);
	return tide_space_attach_ops(space, ops, kvm);
}

static int check_soft_config(struct tide_soft_config *config)
{
	if (!config->mmu || config->address_space >= MMU_ADDRESS_SPACES ||
	    !check_chunk(&config->chunk_pages) ||
	    !check_ring(&config->ring_entries, SOFT_RING_DEFAULT,
			SOFT_RING_MIN))
		return -EINVAL;
	return 0;
}

static int setup_soft(struct tide_soft *soft, enum tide_tracker tracker,
		      const struct tide_tracker_ops **ret_ops)
{
	enum mmu_user user = tracker == TIDE_TRACKER_SOFT_RING ? MMU_USER_RING
			     : soft->config.get_clears	       ? MMU_USER_GET
							       : MMU_USER_CLEAR;
	int err = mmu_user_add(soft->config.mmu, soft->config.address_space,
			       user);

	if (err)
		return err;
	soft->added = true; /* tide_soft_destroy() takes it back */
	if (tracker == TIDE_TRACKER_SOFT_RING) {
		*ret_ops = &tide_soft_ring_ops;
		return tide_soft_ring_setup(soft);
	}
	*ret_ops = soft->config.get_clears ? &tide_soft_get_ops
					   : &tide_soft_clear_ops;
	return tide_soft_bitmap_setup(soft);
}

static int attach_soft(struct tide_space *space, enum tide_tracker tracker,
		       const void *config)
{
	const struct tide_tracker_ops *ops = NULL;
	struct tide_soft *soft = calloc(1, sizeof(*soft));
	int err;

	if (!soft)
		return -ENOMEM;
	soft->space = space;
	err = tide_options_copy(&soft->config, sizeof(soft->config), config,
				SOFT_CONFIG_FIRST);
	if (!err)
		err = check_soft_config(&soft->config);
	if (!err)
		err = setup_soft(soft, tracker, &ops);
	if (err) {
		tide_soft_destroy(soft);
		return err;
	}
	tide_space_chunk_set(space, soft->config.chunk_pages);
	return tide_space_attach_ops(space, ops, soft);
}

static int attach_wp(struct tide_space *space, const void *config)
{
	struct tide_wp_config known;
	struct tide_wp *wp;
	int err = 0;

	if (config)
		err = tide_options_copy(&known, sizeof(known), config,
					WP_CONFIG_FIRST);
	if (err)
		return err;
	wp = calloc(1, sizeof(*wp));
	if (!wp)
		return -ENOMEM;
	wp->space = space;
	err = tide_wp_setup(wp, config ? &known : NULL);
	if (err) {
		tide_wp_destroy(wp);
		return err;
	}
	return tide_space_attach_ops(space, &tide_wp_ops, wp);
}

static int attach_sigsegv(struct tide_space *space, const void *config)
{
	struct tide_sigsegv *sigsegv;
	int err = config ? -EINVAL : tide_sigsegv_create(space, &sigsegv);

	return err ? err
		   : tide_space_attach_ops(space, &tide_sigsegv_ops, sigsegv);
}

static int attach_soft_dirty(struct tide_space *space, const void *config)
{
	struct tide_soft_dirty_config known = { .size = sizeof(known) };
	struct tide_soft_dirty *soft_dirty;
	int err = 0;

	if (config)
		err = tide_options_copy(&known, sizeof(known), config,
					SOFT_DIRTY_CONFIG_FIRST);
	if (!err && !known.stop != !known.resume)
		err = -EINVAL;
	if (!err)
		err = tide_soft_dirty_create(space, &known, &soft_dirty, NULL);
	return err ? err
		   : tide_space_attach_ops(space, &tide_soft_dirty_ops,
					   soft_dirty);
}

int tide_space_attach(struct tide_space *space, enum tide_tracker tracker,
		      const void *config)
{
	if (tracker <= TIDE_TRACKER_NONE || tracker >= TIDE_TRACKER_COUNT)
		return -EINVAL;
	if (tide_space_tracker(space) != TIDE_TRACKER_NONE)
		return -EBUSY;
	switch (tracker) {
	case TIDE_TRACKER_KVM_GET:
	case TIDE_TRACKER_KVM_CLEAR:
	case TIDE_TRACKER_KVM_RING:
		return attach_kvm(space, tracker, config);
	case TIDE_TRACKER_SOFT_BITMAP:
	case TIDE_TRACKER_SOFT_RING:
		return attach_soft(space, tracker, config);
	case TIDE_TRACKER_WP:
		return attach_wp(space, config);
	case TIDE_TRACKER_SIGSEGV:
		return attach_sigsegv(space, config);
	case TIDE_TRACKER_SOFT_DIRTY:
		return attach_soft_dirty(space, config);
	case TIDE_TRACKER_NONE:
	case TIDE_TRACKER_COUNT:
	default:
		return -EINVAL;
	}
}
