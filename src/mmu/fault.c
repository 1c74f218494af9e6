/* SPDX-License-Identifier: MIT */
/*
 * fault.c - the slow page fault
 *
 * Theory of operation
 * -------------------
 *   1. note the number of slot changes and of host invalidations
 *   2. walk the guest's tables, if it has some; they say which gfn
 *   3. find the slot, and let the host supply the page: may do I/O, no lock
 *   4. under the mmu_lock: if a number changed, begin again; map
 *
 * Step 4 in shadow mode first makes the shadow of each table on the way, which
 * tracks it, flushes if somebody could still write one of them, and then
 * compares the entries with what the walk had read: a table that is not
 * tracked can change under a walk, one that is cannot.
 *
 * Invariants: I16, I17 by the numbers; I7 because mmu_unlock_flush() flushes
 * before the mmu_lock is dropped.
 *
 * Synchronisation
 *   The numbers are read before the page is resolved and compared under the
 *   mmu_lock, where they change.  fault.seq and fault.generation are acquire,
 *   so that what is resolved is not older than they are.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "base/pause_point.h"
#include "base/rcu.h"
#include "mmu/mmu_internal.h"

#define ROUNDS_TOGETHER 4u

struct work {
	struct mmu_vcpu *vcpu;
	struct mmu_fault *fault;
	struct guest_walk walk;
	struct { /* by level: where the walk read the table's entry */
		uint64_t host;
		uint64_t pfn;
		bool backed;
	} table[GUEST_LEVELS_MAX + 1];
	uint64_t gfn;
	uint64_t generation, seq;
	uint64_t host; /* of the page, in its slot */
	bool backed;
	bool readonly;
	struct host_ref ref;
};

enum step { STEP_ON, STEP_AGAIN, STEP_EMULATE, STEP_EXIT };

static int exit_error(struct work *work, int err)
{
	struct mmu_vcpu *vcpu = work->vcpu;

	(void)mmu_exit_set(vcpu, TIDE_EXIT_ERROR, work->fault->what,
			   work->fault->gva, work->gfn << TIDE_PAGE_SHIFT);
	vcpu->exit.error = err;
	return STEP_EXIT;
}

struct place {
	struct mmu_slot *slot; /* only while RCU is held */
	uint64_t page;	       /* in the slot */
	uint64_t host;
	bool backed;
	bool readonly;
};

/* Where the page at @gpa is; under RCU. */
static bool locate(struct mmu_vcpu *vcpu, uint64_t gpa, struct place *ret)
{
	uint64_t gfn = gpa >> TIDE_PAGE_SHIFT, base;
	struct mmu_slot *slot =
		mmu_slot_at(vcpu->mmu, vcpu->paging.address_space, gfn, &base);

	if (!slot)
		return false;
	*ret = (struct place){
		.slot = slot,
		.page = gfn - base,
		.host = slot->host + (gfn - base) * TIDE_PAGE_SIZE,
		.backed = slot->backed,
		.readonly = mmu_slot_flags(slot) & MMU_REGION_READONLY,
	};
	return true;
}

static bool find_host(struct mmu_vcpu *vcpu, uint64_t gpa, uint64_t *ret_host,
		      bool *ret_backed, bool *ret_readonly)
{
	struct place place;
	bool found;

	tide_rcu_lock();
	found = locate(vcpu, gpa, &place);
	tide_rcu_unlock(&vcpu->mmu->rcu_tag);
	if (found) {
		*ret_host = place.host;
		*ret_backed = place.backed;
		*ret_readonly = place.readonly;
	}
	return found;
}

/*
 * The page of a guest's table.  If 0, with RCU held: a slot that goes waits
 * for us before its owner unmaps it.  A backing may have to bring the page in,
 * which is not for under RCU: so look again afterwards.  As for a write, so
 * that the frame is the table's alone; it is looked for again in
 * still_there().
 */
static int table_get(struct mmu_vcpu *vcpu, uint64_t gpa, struct place *place,
		     struct host_ref *ref)
{
	struct tide_mmu *mmu = vcpu->mmu;

	for (;;) {
		struct place now;
		bool found;
		int err;

		tide_rcu_lock();
		found = locate(vcpu, gpa, place);
		tide_rcu_unlock(&mmu->rcu_tag);
		if (!found)
			return -EFAULT;
		err = host_ref_get(mmu, place->host, place->backed, true, ref);
		if (err)
			return err == -EFAULT ? -EIO : err;
		tide_rcu_lock();
		if (locate(vcpu, gpa, &now) && now.slot == place->slot &&
		    now.host == place->host)
			return 0;
		tide_rcu_unlock(&mmu->rcu_tag);
		host_ref_put(mmu, ref);
	}
}

static void table_put(struct mmu_vcpu *vcpu, struct host_ref *ref)
{
	tide_rcu_unlock(&vcpu->mmu->rcu_tag);
	host_ref_put(vcpu->mmu, ref);
}

static _Atomic uint64_t *entry_at(uint8_t *page, uint64_t gpa)
{
	return (_Atomic uint64_t *)(void *)(page + gpa % TIDE_PAGE_SIZE);
}

static int walk_load(void *opaque, uint64_t gpa, uint64_t *ret_entry)
{
	struct work *work = opaque;
	uint32_t level = work->walk.level;
	struct host_ref ref;
	struct place place;
	int err = table_get(work->vcpu, gpa, &place, &ref);

	if (err)
		return err;
	work->table[level].host = place.host;
	work->table[level].pfn = ref.pfn;
	work->table[level].backed = place.backed;
	tide_pause("walk.load");
	/* ACQUIRE(guest.entry) pairs with KERNEL(guest): what the guest wrote
	 * before it linked a table is read after the link. */
	*ret_entry = atomic_load_explicit(entry_at(ref.host, gpa),
					  memory_order_acquire);
	table_put(work->vcpu, &ref);
	return 0;
}

static int walk_update(void *opaque, uint64_t gpa, uint64_t old, uint64_t entry)
{
	struct work *work = opaque;
	struct tide_mmu *mmu = work->vcpu->mmu;
	struct host_ref ref;
	struct place place;
	bool done;
	int err = table_get(work->vcpu, gpa, &place, &ref);

	if (err)
		return err;
	if (place.readonly) {
		table_put(work->vcpu, &ref);
		return -EROFS;
	}
	tide_pause("walk.update");
	/* Relaxed: we only add bits.  What the guest released with the entry
	 * is still released with it, since this reads and writes at once.
	 * Relaxed on failure: the walk begins again. */
	done = atomic_compare_exchange_strong_explicit(
		entry_at(ref.host, gpa), &old, entry, memory_order_relaxed,
		memory_order_relaxed);
	if (done && place.backed)
		backing_page_dirty(mmu->config.backing, ref.pfn);
	/* Written, then marked. */
	if (done)
		mmu_mark_dirty(mmu, work->vcpu, place.slot, place.page);
	table_put(work->vcpu, &ref);
	return done ? 0 : -EAGAIN;
}

static const struct guest_walk_ops walk_ops = { walk_load, walk_update };

static int exit_guest_fault(struct work *work)
{
	struct mmu_vcpu *vcpu = work->vcpu;

	(void)mmu_exit_set(vcpu, TIDE_EXIT_GUEST_FAULT, work->fault->what,
			   work->fault->gva, 0);
	vcpu->exit.fault_code = work->walk.fault_code;
	return STEP_EXIT;
}

/* Which gfn the guest means. */
static int find_gfn(struct work *work)
{
	struct mmu_vcpu *vcpu = work->vcpu;
	int ret;

	if (!vcpu->format) {
		work->gfn = work->fault->gva >> TIDE_PAGE_SHIFT;
		return STEP_ON;
	}
	ret = guest_walk(vcpu->format, &walk_ops, work, vcpu->paging.root,
			 vcpu->paging.flags, work->fault->gva,
			 work->fault->what, true, &work->walk);
	if (ret == -EAGAIN)
		return STEP_AGAIN;
	if (ret == TIDE_EXIT_GUEST_FAULT || ret == -EFAULT)
		return exit_guest_fault(work);
	if (ret)
		return exit_error(work, ret);
	work->gfn = work->walk.gfn;
	return STEP_ON;
}

static int find_page(struct work *work)
{
	struct mmu_fault *fault = work->fault;
	bool write = fault->what == TIDE_ACCESS_WRITE;
	int err;

	fault->gpa =
		(work->gfn << TIDE_PAGE_SHIFT) + fault->gva % TIDE_PAGE_SIZE;
	if (!find_host(work->vcpu, fault->gpa, &work->host, &work->backed,
		       &work->readonly) ||
	    (write && work->readonly)) {
		(void)mmu_exit_set(work->vcpu, TIDE_EXIT_MMIO, fault->what,
				   fault->gva, fault->gpa);
		return STEP_EXIT;
	}
	err = host_ref_get(work->vcpu->mmu, work->host, work->backed, write,
			   &work->ref);
	return err ? exit_error(work, err) : STEP_ON;
}

/* Under the mmu_lock: the entry of @level is what the walk saw. */
static bool still_there(struct work *work, uint32_t level)
{
	struct tide_mmu *mmu = work->vcpu->mmu;
	uint64_t gva = work->fault->gva, pfn = work->table[level].pfn;
	uint8_t *page = (uint8_t *)(uintptr_t)(pfn << TIDE_PAGE_SHIFT);
	uint64_t entry;

	if (work->table[level].backed &&
	    !backing_pin(mmu->config.backing, work->table[level].host, pfn))
		return false;
	/* Relaxed: the table is tracked, and whoever could still write it has
	 * been flushed. */
	entry = atomic_load_explicit(
		entry_at(page, guest_index(gva, level) * 8ull),
		memory_order_relaxed);
	if (work->table[level].backed)
		backing_put(mmu->config.backing, pfn);
	return entry == work->walk.entry[level];
}

static int load_root(struct mmu_vcpu *vcpu)
{
	struct sp_role role = {
		.level = SPT_LEVELS,
		.direct = !vcpu->format,
		.address_space = (uint8_t)vcpu->paging.address_space,
		.mode = (uint8_t)vcpu->paging.mode,
		.nx = vcpu->format && (vcpu->paging.flags & TIDE_PAGING_NX),
		.access = (uint16_t)GUEST_ALL,
	};
	struct shadow_page *root;
	int err;

	if (vcpu->root && !vcpu->root->invalid)
		return 0;
	if (vcpu->format)
		role.level = (uint8_t)vcpu->format->levels;
	err = sp_get(vcpu->mmu, vcpu->paging.root >> TIDE_PAGE_SHIFT, role,
		     &root);
	if (err)
		return err;
	if (vcpu->root)
		sp_put_root(vcpu->mmu, vcpu->root);
	sp_take_root(vcpu->mmu, root);
	vcpu->root = root;
	return 0;
}

/* The entry of @sp at @index leads to @gfn's page of @role. */
static int descend(struct tide_mmu *mmu, struct shadow_page **sp,
		   uint32_t index, uint64_t gfn, struct sp_role role)
{
	spte_t *sptep = &(*sp)->spt[index];
	struct shadow_page *child;
	int err = sp_get(mmu, gfn, role, &child);
	uint64_t spte;

	if (err)
		return err;
	spte = spte_read(sptep);
	if (spte_present(spte) && (spte_is_leaf(spte, (*sp)->role.level) ||
				   spte_address(spte) != (uintptr_t)child->spt))
		sp_drop_entry(mmu, *sp, index);
	if (!spte_present(spte_read(sptep)))
		err = sp_link(mmu, sptep, child);
	*sp = child;
	return err;
}

/* Shadows of the tables on the way, down to the leaf's. */
static int shadow_tables(struct work *work, struct shadow_page **ret_sp)
{
	const struct guest_walk *walk = &work->walk;
	struct shadow_page *sp = work->vcpu->root;

	for (uint32_t level = sp->role.level; level > walk->level; level--) {
		struct sp_role role = sp->role;
		int err;

		role.level = (uint8_t)(level - 1);
		role.access = (uint16_t)walk->table_access[level - 1];
		err = descend(work->vcpu->mmu, &sp,
			      guest_index(work->fault->gva, level),
			      walk->table_gfn[level - 1], role);
		if (err)
			return err;
	}
	*ret_sp = sp;
	return 0;
}

/* A large page of the guest's, at @sp. */
static int map_guest_large(struct work *work, struct mmu_map *map,
			   struct shadow_page *sp)
{
	struct tide_mmu *mmu = work->vcpu->mmu;
	uint32_t level = sp->role.level;
	uint32_t index = guest_index(work->fault->gva, level);
	uint64_t mask = guest_leaf_pages(level) - 1;
	uint64_t spte = spte_read(&sp->spt[index]);
	struct sp_role role = sp->role;
	int err;

	if (level == LARGE_LEVEL &&
	    mmu_large_allowed(mmu, map->slot, map->gfn) &&
	    (!spte_present(spte) || (spte & SPTE_LARGE))) {
		map->page.pfn -= map->gfn & mask;
		map->gfn &= ~mask;
		return mmu_map_leaf(mmu, map, sp, index);
	}
	/* A page that is clean for the guest must not share a table with one
	 * that is dirty (K8).  What they grant does not tell them apart where
	 * the guest's entry is read-only and CR0.WP lets it be written. */
	role.level = (uint8_t)(level - 1);
	role.direct = true;
	role.clean = !map->guest_dirty;
	role.access = (uint16_t)map->access;
	err = descend(mmu, &sp, index, map->gfn & ~mask, role);
	return err ? err : mmu_map_direct(mmu, map, sp);
}

static int map_shadow(struct work *work, struct mmu_map *map)
{
	struct tide_mmu *mmu = work->vcpu->mmu;
	struct shadow_page *sp = NULL;
	int err = shadow_tables(work, &sp);

	if (!err && mmu->need_flush) {
		/* Who may still write to a table that is tracked since now. */
		mmu->need_flush = false;
		err = mmu_flush(mmu);
	}
	if (err)
		return err;
	for (uint32_t level = work->vcpu->root->role.level;
	     level >= work->walk.level; level--) {
		if (!still_there(work, level))
			return -EAGAIN;
	}
	map->access = work->walk.access;
	map->guest_dirty = work->walk.dirty;
	/* The first write has to come by, to set the guest's dirty bit. */
	if (!map->guest_dirty)
		map->access &= ~GUEST_WRITE;
	if (work->walk.level == 1)
		return mmu_map_leaf(mmu, map, sp,
				    guest_index(work->fault->gva, 1));
	return map_guest_large(work, map, sp);
}

static bool is_stale(const struct work *work)
{
	const struct tide_mmu *mmu = work->vcpu->mmu;

	/* Relaxed: changed under the mmu_lock, which we have. */
	return atomic_load_explicit(&mmu->slots_generation,
				    memory_order_relaxed) != work->generation ||
	       mmu_invalidate_retry(mmu, work->seq, work->host) ||
	       /* Somebody may still write to a table that is shadowed. */
	       mmu_is_flush_owed(mmu);
}

/* Under the mmu_lock. */
static int map_page(struct work *work)
{
	struct mmu_vcpu *vcpu = work->vcpu;
	struct tide_mmu *mmu = vcpu->mmu;
	struct mmu_map map = {
		.vcpu = vcpu,
		.gfn = work->gfn,
		.page = { work->ref.pfn, work->ref.writable },
		.access = GUEST_ALL,
		.write = work->fault->what == TIDE_ACCESS_WRITE,
		.guest_dirty = true,
	};
	uint64_t base;
	int err;

	if (is_stale(work))
		return -EAGAIN;
	map.slot =
		mmu_slot_at(mmu, vcpu->paging.address_space, work->gfn, &base);
	assert(map.slot);
	sp_make_room(mmu);
	err = load_root(vcpu);
	if (err)
		return err;
	if (!vcpu->format)
		err = mmu_map_direct(mmu, &map, vcpu->root);
	else
		err = map_shadow(work, &map);
	/* Mapped to be read, or that already. */
	if (!err && map.write && map.slot->track[work->gfn - base])
		return STEP_EMULATE;
	return err;
}

static int map_locked(struct work *work)
{
	struct tide_mmu *mmu = work->vcpu->mmu;
	int ret, err;

	tide_lock_acquire(&mmu->mmu_lock);
	ret = map_page(work);
	err = mmu_unlock_flush(mmu);
	if (ret == -EAGAIN)
		return STEP_AGAIN;
	if (ret < 0 || err)
		return exit_error(work, ret < 0 ? ret : err);
	return ret;
}

static int try_once(struct work *work)
{
	struct tide_mmu *mmu = work->vcpu->mmu;
	int step, err = mmu_flush_owed(mmu);

	if (err)
		return exit_error(work, err);
	/* ACQUIRE(fault.generation) pairs with RELEASE(slots.count): the
	 * table that is read below is not older than the number. */
	work->generation = atomic_load_explicit(&mmu->slots_generation,
						memory_order_acquire);
	/* ACQUIRE(fault.seq) pairs with RELEASE(invalidate.seq): the page that
	 * is resolved below is not older than the number. */
	work->seq = atomic_load_explicit(&mmu->invalidate_seq,
					 memory_order_acquire);
	step = find_gfn(work);
	if (step == STEP_ON)
		step = find_page(work);
	if (step != STEP_ON)
		return step;
	tide_pause("slow_fault.resolved");
	step = map_locked(work);
	host_ref_put(mmu, &work->ref);
	return step;
}

/* @most rounds.  Return: STEP_AGAIN if that was not enough. */
static int try_often(struct work *work, uint64_t most)
{
	struct mmu_vcpu *vcpu = work->vcpu;
	int step;

	while ((step = try_once(work)) == STEP_AGAIN) {
		mmu_count_own(&vcpu->faults_retried);
		/* Every round may set bits in tables that are logged, and a
		 * guest can make us go round for as long as it likes (I12). */
		if (vcpu->has_ring && tide_ring_soft_full(&vcpu->ring)) {
			(void)mmu_exit_set(vcpu, TIDE_EXIT_RING_FULL,
					   work->fault->what, work->fault->gva,
					   0);
			return STEP_EXIT;
		}
		if (!--most)
			return STEP_AGAIN;
		(void)sched_yield();
	}
	return step;
}

/* A fault on a backing needs the guest's tables and the page in frames at the
 * same time.  Where the vCPUs together need more frames than there are, each
 * takes them from the others and none comes to an end; so after some rounds
 * they go one after the other. */
static int try_in_turn(struct work *work)
{
	struct tide_mmu *mmu = work->vcpu->mmu;
	int step = try_often(work, ROUNDS_TOGETHER);

	if (step != STEP_AGAIN)
		return step;
	tide_lock_acquire(&mmu->turn_lock);
	step = try_often(work, UINT64_MAX);
	tide_lock_release(&mmu->turn_lock);
	return step;
}

enum mmu_fault_result mmu_slow_fault(struct mmu_vcpu *vcpu,
				     struct mmu_fault *fault)
{
	struct work work = { .vcpu = vcpu, .fault = fault };
	int step;

	tide_lock_assert_none();
	mmu_count_own(&vcpu->faults_slow);
	step = try_in_turn(&work);
	sp_collect_garbage(vcpu->mmu, false);
	switch ((enum step)step) {
	case STEP_EMULATE:
		return MMU_FAULT_EMULATE;
	case STEP_EXIT:
		return MMU_FAULT_EXIT;
	case STEP_ON:
	case STEP_AGAIN:
	default:
		return MMU_FAULT_FIXED;
	}
}

/* A walk that changes nothing.  It may wait for the backing, whose lock's
 * holder may be waiting for the vCPU: so not in guest mode. */
static int walk_outside(struct work *work)
{
	struct mmu_vcpu *vcpu = work->vcpu;
	/* Relaxed: this thread's own bit. */
	bool inside = atomic_load_explicit(&vcpu->public.state,
					   memory_order_relaxed) &
		      TIDE_VCPU_IN_GUEST;
	int ret;

	if (inside)
		mmu_vcpu_out_of_guest(vcpu);
	ret = guest_walk(vcpu->format, &walk_ops, work, vcpu->paging.root,
			 vcpu->paging.flags, work->fault->gva,
			 work->fault->what, false, &work->walk);
	if (inside)
		mmu_vcpu_into_guest(vcpu);
	return ret;
}

int tide_vcpu_translate(struct tide_vcpu *public, uint64_t gva,
			enum tide_access access, uint64_t *ret_gpa)
{
	struct mmu_vcpu *vcpu = mmu_vcpu_of(public);
	struct mmu_fault fault = { .gva = gva, .what = access };
	struct work work = { .vcpu = vcpu, .fault = &fault };
	uint64_t host;
	bool backed, readonly;
	int ret = 0;

	if ((unsigned int)access >= TIDE_ACCESS_COUNT)
		return -EINVAL;
	work.walk.gfn = gva >> TIDE_PAGE_SHIFT;
	if (vcpu->format)
		ret = walk_outside(&work);
	if (ret == TIDE_EXIT_GUEST_FAULT || ret == -EFAULT) {
		(void)exit_guest_fault(&work);
		return TIDE_EXIT_GUEST_FAULT;
	}
	if (ret)
		return ret;
	*ret_gpa = (work.walk.gfn << TIDE_PAGE_SHIFT) + gva % TIDE_PAGE_SIZE;
	if (find_host(vcpu, *ret_gpa, &host, &backed, &readonly) &&
	    !(readonly && access == TIDE_ACCESS_WRITE))
		return 0;
	return mmu_exit_set(vcpu, TIDE_EXIT_MMIO, access, gva, *ret_gpa);
}
