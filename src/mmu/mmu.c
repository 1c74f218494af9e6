/* SPDX-License-Identifier: MIT */
/* mmu.c - an MMU's life, and its statistics */
#include <errno.h>
#include <stdlib.h>

#include "base/options.h"
#include "mmu/mmu_internal.h"

/* The first version of struct tide_mmu_config ends with backing. */
#define CONFIG_FIRST \
	(offsetof(struct tide_mmu_config, backing) + sizeof(void *))
#define FLUSH_TIMEOUT_NS 10000000000ull
#define TABLE_PAGES_MAX (1ull << 20)
#define TABLE_PAGES_MIN 64u

static int take_config(struct tide_mmu_config *to,
		       const struct tide_mmu_config *from)
{
	int err = tide_options_copy(to, sizeof(*to), from, CONFIG_FIRST);

	if (err)
		return err;
	if (!to->flush_timeout_ns)
		to->flush_timeout_ns = FLUSH_TIMEOUT_NS;
	if (!to->table_pages_max)
		to->table_pages_max = TABLE_PAGES_MAX;
	if (to->table_pages_max < TABLE_PAGES_MIN ||
	    (to->flags &
	     ~(uint32_t)(TIDE_MMU_NO_FAST_FAULT | TIDE_MMU_NO_LARGE_PAGES)))
		return -EINVAL;
	return 0;
}

static int init_locks(struct tide_mmu *mmu)
{
	int err = tide_lock_init(&mmu->slots_lock, TIDE_RANK_MMU_SLOTS);

	if (err)
		return err;
	err = tide_lock_init(&mmu->turn_lock, TIDE_RANK_MMU_TURN);
	if (err)
		goto no_turn_lock;
	err = tide_lock_init(&mmu->mmu_lock, TIDE_RANK_MMU);
	if (err)
		goto no_mmu_lock;
	err = -pthread_cond_init(&mmu->invalidated, NULL);
	if (err)
		goto no_cond;
	return 0;
no_cond:
	tide_lock_fini(&mmu->mmu_lock);
no_mmu_lock:
	tide_lock_fini(&mmu->turn_lock);
no_turn_lock:
	tide_lock_fini(&mmu->slots_lock);
	return err;
}

static void fini_locks(struct tide_mmu *mmu)
{
	(void)pthread_cond_destroy(&mmu->invalidated);
	tide_lock_fini(&mmu->mmu_lock);
	tide_lock_fini(&mmu->turn_lock);
	tide_lock_fini(&mmu->slots_lock);
}

int tide_mmu_create(const struct tide_mmu_config *config,
		    struct tide_mmu **ret_mmu)
{
	struct tide_mmu *mmu = calloc(1, sizeof(*mmu));
	int err;

	if (!mmu)
		return -ENOMEM;
	err = take_config(&mmu->config, config);
	if (err)
		goto no_locks;
	err = init_locks(mmu);
	if (err)
		goto no_locks;
	if (mmu->config.backing)
		err = backing_set_notifier(mmu->config.backing, &mmu_notifier,
					   mmu);
	if (err)
		goto no_notifier;
	*ret_mmu = mmu;
	return 0;
no_notifier:
	fini_locks(mmu);
no_locks:
	free(mmu);
	return err;
}

int mmu_user_add(struct tide_mmu *mmu, uint32_t address_space,
		 enum mmu_user user)
{
	int err = 0;

	assert(address_space < MMU_ADDRESS_SPACES && user != MMU_USER_NONE);
	tide_lock_acquire(&mmu->slots_lock);
	for (uint32_t as = 0; as < MMU_ADDRESS_SPACES; as++) {
		if (mmu->user[as] != MMU_USER_NONE &&
		    (as == address_space || mmu->user[as] != user ||
		     user == MMU_USER_RING))
			err = -EBUSY;
	}
	if (!err)
		mmu->user[address_space] = user;
	tide_lock_release(&mmu->slots_lock);
	return err;
}

void mmu_user_remove(struct tide_mmu *mmu, uint32_t address_space)
{
	tide_lock_acquire(&mmu->slots_lock);
	assert(mmu->user[address_space] != MMU_USER_NONE);
	mmu->user[address_space] = MMU_USER_NONE;
	tide_lock_release(&mmu->slots_lock);
}

/* Nothing else uses it any more. */
static void delete_slots(struct tide_mmu *mmu)
{
	for (uint32_t as = 0; as < MMU_ADDRESS_SPACES; as++) {
		for (uint32_t id = 0; id < MMU_SLOT_IDS; id++) {
			const struct mmu_region gone = { .slot = as << 16 |
								 id };

			if (mmu->slots[as][id])
				(void)mmu_set_region(mmu, &gone);
		}
		/* Relaxed: nobody else is here. */
		free(atomic_load_explicit(&mmu->table[as],
					  memory_order_relaxed));
	}
}

void tide_mmu_destroy(struct tide_mmu *mmu)
{
	uint32_t count;

	if (!mmu)
		return;
	for (uint32_t as = 0; as < MMU_ADDRESS_SPACES; as++)
		assert(mmu->user[as] == MMU_USER_NONE); /* detached */
	delete_slots(mmu);
	if (mmu->config.backing)
		(void)backing_set_notifier(mmu->config.backing, NULL, NULL);
	sp_fini(mmu);
	/* Relaxed: nobody else is here. */
	count = atomic_load_explicit(&mmu->vcpu_count, memory_order_relaxed);
	for (uint32_t i = 0; i < count; i++) {
		/* Relaxed: as above. */
		struct mmu_vcpu *vcpu = atomic_load_explicit(
			&mmu->vcpu[i], memory_order_relaxed);

		assert(!vcpu->in_use);
		free(vcpu);
	}
	fini_locks(mmu);
	free(mmu);
}

static uint64_t read_counter(const _Atomic uint64_t *counter)
{
	/* Relaxed: a statistic. */
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add_vcpus(struct tide_mmu *mmu, struct tide_mmu_stats *stats)
{
	/* ACQUIRE(vcpus.stats) pairs with RELEASE(vcpus.counted) */
	uint32_t count =
		atomic_load_explicit(&mmu->vcpu_count, memory_order_acquire);

	for (uint32_t i = 0; i < count; i++) {
		/* Relaxed: acquired with the count. */
		const struct mmu_vcpu *vcpu = atomic_load_explicit(
			&mmu->vcpu[i], memory_order_relaxed);

		stats->faults_fast += read_counter(&vcpu->faults_fast);
		stats->faults_spurious += read_counter(&vcpu->faults_spurious);
		stats->faults_slow += read_counter(&vcpu->faults_slow);
		stats->faults_retried += read_counter(&vcpu->faults_retried);
		stats->writes_emulated += read_counter(&vcpu->writes_emulated);
	}
}

void tide_mmu_stats(struct tide_mmu *mmu, struct tide_mmu_stats *ret_stats)
{
	struct tide_mmu_stats stats = {
		.flushes = read_counter(&mmu->flushes),
		.flush_ns_max = read_counter(&mmu->flush_ns_max),
		.large_splits = read_counter(&mmu->large_splits),
		.zaps = read_counter(&mmu->zaps),
	};

	add_vcpus(mmu, &stats);
	tide_lock_acquire(&mmu->slots_lock);
	for (uint32_t as = 0; as < MMU_ADDRESS_SPACES; as++) {
		/* Relaxed: replaced under slots_lock, which we have. */
		const struct slot_table *table = atomic_load_explicit(
			&mmu->table[as], memory_order_relaxed);

		for (uint32_t i = 0; table && i < table->count; i++)
			stats.table_bytes +=
				mmu_slot_bytes(table->entry[i].slot);
	}
	tide_lock_acquire(&mmu->mmu_lock);
	stats.table_pages = mmu->table_pages;
	/* A table, its description, and for a guest's leaf table the gfns. */
	stats.table_bytes += mmu->table_pages * (TIDE_PAGE_SIZE +
						 sizeof(struct shadow_page)) +
			     read_counter(&mmu->indirect_pages) * SPT_ENTRIES *
				     sizeof(uint64_t) +
			     mmu->rmap_more_bytes;
	tide_lock_release(&mmu->mmu_lock);
	tide_lock_release(&mmu->slots_lock);
	*ret_stats = stats;
}
