/* SPDX-License-Identifier: MIT */
/*
 * mmu_internal.h - the objects of the software MMU
 *
 * Theory of operation
 * -------------------
 * A vCPU that misses its TLB walks the shadow page table without a lock, under
 * RCU (tlb.c).  If the entry forbids the access it leaves guest mode and tries
 * the fast page fault (fast_fault.c), which repairs an entry that dirty logging
 * protected, without a lock either; else the slow one (fault.c), which asks the
 * guest's tables and the host, and maps under the mmu_lock (map.c).
 *
 * Whoever takes a right away (GET, CLEAR, RESET, swap, a guest that changes its
 * tables) changes the entries under the mmu_lock and then flushes: it asks each
 * vCPU to forget its TLB and waits until the vCPU has, or is outside guest mode
 * (flush.c).
 *
 * Locks: slots_lock > turn_lock > the backing's lock > mmu_lock
 * (docs/locking.md).  Under the mmu_lock nothing sleeps but a flush.
 *
 * Invariants.  I1 to I19 are those of section 2.13 of the reference that
 * docs/locking.md quotes; mmu_check() asserts what can be seen from outside.
 */
#ifndef TIDE_MMU_MMU_INTERNAL_H
#define TIDE_MMU_MMU_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <tidemark/mmu.h>
#include <tidemark/vcpu.h>

#include "base/atomic.h"
#include "base/lock.h"
#include "log/dirty_log.h"
#include "log/ring.h"
#include "mmu/host.h"
#include "mmu/kvm_calls.h"
#include "mmu/spte.h"

#define MMU_VCPUS_MAX 1024u
#define SP_BUCKETS 16384u
#define NO_GFN UINT64_MAX

/* A list of entries that point to one thing: 0; the only one's address; or
 * that of a struct rmap_more, plus 1. */
struct rmap_head {
	uintptr_t value;
};

/* What 512 guest pages, aligned, have in common. */
struct mmu_block {
	struct rmap_head large; /* leaves at level 2 */
	uint32_t mapped;	/* leaves at level 1 */
	uint32_t tracked;	/* pages with track != 0 */
};

struct mmu_slot {
	/* Constant. */
	uint32_t address_space;
	uint32_t id;
	uint64_t npages;
	uint64_t host; /* address */
	bool backed;   /* by the backing's frames */
	struct mmu_slot *next_free;

	/* MMU_REGION_*; written under slots_lock and mmu_lock. */
	_Atomic uint32_t flags;
	/* Under slots_lock.  Marks use it while they see LOG in flags, under
	 * RCU. */
	struct tide_dirty_log log;
	bool has_log; /* constant while LOG is in flags */

	/* Under mmu_lock. */
	uint64_t base_gfn;	/* also in the table, for those without */
	struct rmap_head *rmap; /* of each page: leaves at level 1 */
	uint16_t *track; /* of each page: shadowed page tables there are */
	struct mmu_block *blocks;
	bool ever_mapped; /* or no translation of it can be anywhere */
};

struct slot_entry {
	uint64_t base_gfn;
	uint64_t npages;
	struct mmu_slot *slot;
};

/* One address space's slots, by gfn; replaced as a whole. */
struct slot_table {
	uint32_t count;
	struct slot_entry entry[];
};

/* What one page of the shadow page table is for. */
struct sp_role {
	uint8_t level;
	bool direct; /* maps a run of gfns, shadows no guest table */
	bool clean;  /* below a large page without its guest's dirty bit */
	uint8_t address_space;
	uint8_t mode;	 /* enum tide_paging_mode */
	bool nx;	 /* x86: the bit in the guest's entries means that */
	uint16_t access; /* GUEST_*: granted by the levels above */
};

struct shadow_page {
	/* Constant once it is linked. */
	spte_t *spt;
	uint64_t gfn; /* direct: first gfn mapped; else: of the guest table */
	struct sp_role role;
	/* Not direct: what each leaf maps to.  Read without the lock. */
	_Atomic uint64_t *gfns;

	/* Under mmu_lock. */
	struct shadow_page *hash_next;
	struct shadow_page *older, *newer; /* all that are valid */
	struct rmap_head parents;	   /* entries that point here */
	uint32_t root_count;		   /* vCPUs whose root it is */
	uint32_t flood; /* guest's writes since a walk came by */
	bool invalid;	/* zapped; waits for its last vCPU, or for RCU */
	struct shadow_page *next_garbage;
};

struct spt_arena;

struct mmu_vcpu {
	struct tide_vcpu public; /* first */
	struct tide_mmu *mmu;	 /* constant */
	uint32_t number;	 /* constant */

	/* The vCPU's own thread. */
	struct tide_paging paging;
	const struct paging_format *format; /* NULL: direct */
	struct tide_tlb_entry tlb[TIDE_ACCESS_COUNT][TIDE_TLB_ENTRIES];
	/* Of each group of TLB_GROUP entries: may hold something. */
	uint64_t tlb_used[TIDE_ACCESS_COUNT];
	struct tide_exit exit;
	bool has_ring;
	struct tide_ring ring;
	/* Under mmu_lock; its own thread reads it without. */
	struct shadow_page *root;

	bool in_use;		 /* under slots_lock */
	_Atomic uintptr_t owner; /* thread in guest mode */
	/* Counted by its own thread, read by others. */
	_Atomic uint64_t faults_fast, faults_spurious, faults_slow,
		faults_retried, writes_emulated;
};

struct tide_mmu {
	struct tide_mmu_config config; /* constant */
	char rcu_tag;		       /* only its address is used */

	struct tide_lock slots_lock;
	uint64_t manual;       /* MMU_MANUAL_*; under slots_lock */
	uint32_t ring_entries; /* 0: no rings; under slots_lock */
	bool ring_with_bitmap;
	enum mmu_user user[MMU_ADDRESS_SPACES];
	struct mmu_slot *slots[MMU_ADDRESS_SPACES][MMU_SLOT_IDS];
	uint64_t total_pages;

	/* RCU; replaced under slots_lock and mmu_lock. */
	_Atomic(struct slot_table *) table[MMU_ADDRESS_SPACES];

	/* Type-stable: an object once made stays until destroy. */
	_Atomic(struct mmu_vcpu *) vcpu[MMU_VCPUS_MAX];
	_Atomic uint32_t vcpu_count; /* objects made */

	/* Flushes that failed, and those of them that a later one made good. */
	_Atomic uint64_t flush_failed, flush_paid;

	/* Of slow page faults that would go round for ever side by side. */
	struct tide_lock turn_lock;

	struct tide_lock mmu_lock;
	/* Under mmu_lock; read without where atomic. */
	_Atomic uint64_t slots_generation;
	_Atomic uint64_t invalidate_seq;
	uint32_t invalidating; /* invalidate_start without end */
	uint64_t invalidate_first, invalidate_end; /* host addresses, union */
	pthread_cond_t invalidated;		   /* invalidating is 0 */
	struct shadow_page *buckets[SP_BUCKETS];
	struct shadow_page *oldest, *newest;
	uint64_t table_pages;
	/* Shadow pages that shadow a guest table. */
	_Atomic uint64_t indirect_pages;
	struct spt_arena *arenas;
	struct shadow_page *garbage; /* unlinked, not yet past RCU */
	uint32_t garbage_count;
	uint32_t freeing_count; /* taken from garbage, not yet free */
	uint32_t root_pages;	/* with a root_count */
	uint64_t rmap_more_bytes;
	bool need_flush; /* a right was taken; flush before unlock */

	_Atomic uint64_t flushes, flush_ns_max, large_splits, zaps;
	_Atomic uint64_t calls; /* for mmu_check_now_and_then() */
};

static inline struct mmu_vcpu *mmu_vcpu_of(struct tide_vcpu *vcpu)
{
	return (struct mmu_vcpu *)(void *)vcpu;
}

static inline void mmu_count(_Atomic uint64_t *counter)
{
	/* Relaxed: a statistic. */
	(void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* A counter that one thread writes. */
static inline void mmu_count_own(_Atomic uint64_t *counter)
{
	/* Relaxed: a statistic, and this thread's own. */
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

	/* Relaxed: as above. */
	atomic_store_explicit(counter, value + 1, memory_order_relaxed);
}

static inline uint32_t mmu_slot_flags(const struct mmu_slot *slot)
{
	/* ACQUIRE(slot.look) pairs with RELEASE(slot.flags): with LOG, the log
	 * is there.  Who sees no LOG without the mmu_lock is over before
	 * anything is protected. */
	return atomic_load_explicit(&slot->flags, memory_order_acquire);
}

/* check.c: with TIDE_CHECKS every so many calls; no lock held */
#ifdef TIDE_CHECKS
void mmu_check_now_and_then(struct tide_mmu *mmu);
#else
static inline void mmu_check_now_and_then(struct tide_mmu *mmu)
{
	(void)mmu;
}
#endif

/* dirty_calls.c */
int mmu_slot_log_init(const struct tide_mmu *mmu, struct mmu_slot *slot);

/* memslot.c */
int mmu_slot_create(const struct tide_mmu *mmu, const struct mmu_region *region,
		    struct mmu_slot **ret_slot);
void mmu_slot_destroy(struct mmu_slot *slot);
/* Bytes of memory that its arrays occupy now. */
uint64_t mmu_slot_bytes(const struct mmu_slot *slot);
/* Under RCU or mmu_lock; *@ret_base is where it was when that table was
 * made. */
struct mmu_slot *mmu_slot_at(struct tide_mmu *mmu, uint32_t address_space,
			     uint64_t gfn, uint64_t *ret_base);
/* Under slots_lock and mmu_lock: the table with @slot at @base_gfn (NO_GFN:
 * without it).  The old one is for mmu_table_retire() after both.  Return: 0;
 * -ENOMEM. */
int mmu_table_make(const struct tide_mmu *mmu, uint32_t address_space,
		   struct mmu_slot *slot, uint64_t base_gfn,
		   struct slot_table **ret_table);
struct slot_table *mmu_table_publish(struct tide_mmu *mmu,
				     uint32_t address_space,
				     struct slot_table *table);
static inline struct mmu_block *mmu_block_of(const struct mmu_slot *slot,
					     uint64_t gfn)
{
	return &slot->blocks[(gfn / LARGE_PAGES) -
			     (slot->base_gfn / LARGE_PAGES)];
}
static inline uint64_t mmu_slot_block_count(const struct mmu_slot *slot)
{
	return (slot->base_gfn + slot->npages - 1) / LARGE_PAGES -
	       slot->base_gfn / LARGE_PAGES + 1;
}

/* rmap.c; under mmu_lock */
int rmap_add(struct tide_mmu *mmu, struct rmap_head *head, spte_t *sptep);
void rmap_remove(struct tide_mmu *mmu, struct rmap_head *head, spte_t *sptep);
/* The first; then the rest by rmap_next.  The list must not change meanwhile;
 * whoever empties it asks for the first again and again. */
struct rmap_cursor {
	const struct rmap_head *head;
	uint32_t index;
	void *more;
};
spte_t *rmap_first(const struct rmap_head *head, struct rmap_cursor *cursor);
spte_t *rmap_next(struct rmap_cursor *cursor);

/* shadow_page.c; under mmu_lock */
struct shadow_page *sp_of(const spte_t *sptep);
static inline uint32_t sp_index(const spte_t *sptep)
{
	return (uint32_t)((uintptr_t)sptep / sizeof(spte_t)) % SPT_ENTRIES;
}
/* Also without the lock, under RCU, after reading the entry. */
uint64_t sp_leaf_gfn(const struct shadow_page *sp, uint32_t index);
/* Finds or makes; a guest table is tracked from now on, and mmu->need_flush
 * set if somebody may still write it.  Return: 0; -ENOMEM. */
int sp_get(struct tide_mmu *mmu, uint64_t gfn, struct sp_role role,
	   struct shadow_page **ret_sp);
int sp_link(struct tide_mmu *mmu, spte_t *sptep, struct shadow_page *child);
/* Unlinks it from everything, and drops what it maps.  Sets need_flush. */
void sp_zap(struct tide_mmu *mmu, struct shadow_page *sp);
/* Drops one entry, leaf or not.  Sets need_flush. */
void sp_drop_entry(struct tide_mmu *mmu, struct shadow_page *sp,
		   uint32_t index);
void sp_take_root(struct tide_mmu *mmu, struct shadow_page *sp);
void sp_put_root(struct tide_mmu *mmu, struct shadow_page *sp);
/* The guest wrote [offset, offset + nbytes) of the page @gfn. */
void sp_guest_wrote(struct tide_mmu *mmu, uint32_t address_space, uint64_t gfn,
		    uint32_t offset, uint32_t nbytes);
/* Zaps the oldest beyond table_pages_max. */
void sp_make_room(struct tide_mmu *mmu);
void sp_fini(struct tide_mmu *mmu);
/* Without any lock, outside guest mode: frees what is past a grace period, if
 * there is enough of it, or @all. */
void sp_collect_garbage(struct tide_mmu *mmu, bool all);

/* map.c; under mmu_lock */
struct mmu_map {
	struct mmu_vcpu *vcpu; /* who writes */
	struct mmu_slot *slot;
	uint64_t gfn;
	struct host_page page;
	uint64_t access;  /* GUEST_* of all levels */
	bool write;	  /* the fault was one */
	bool guest_dirty; /* the guest's entry has its dirty bit, or none */
};
/* A leaf for map->gfn at @index of @sp (level 1 or LARGE_LEVEL).  Marks first,
 * if it will be writable.  Return: 0; -ENOMEM. */
int mmu_map_leaf(struct tide_mmu *mmu, const struct mmu_map *map,
		 struct shadow_page *sp, uint32_t index);
/* Below @sp, for @gfn: direct pages down to level 1 or LARGE_LEVEL. */
int mmu_map_direct(struct tide_mmu *mmu, const struct mmu_map *map,
		   struct shadow_page *sp);
bool mmu_large_allowed(const struct tide_mmu *mmu, const struct mmu_slot *slot,
		       uint64_t gfn);
/* A leaf goes away: rmap, A and D; its entry is no longer present. */
void mmu_leaf_dropped(struct tide_mmu *mmu, struct shadow_page *sp,
		      uint32_t index, uint64_t old);

/* protect.c; under mmu_lock */
/* Dirty logging: the next write to each page of @mask faults. */
void mmu_protect_pages(struct tide_mmu *mmu, struct mmu_slot *slot,
		       uint64_t first_page, uint64_t mask);
/* A guest table lies there: no write but through us.  Sets need_flush. */
void mmu_protect_table(struct tide_mmu *mmu, struct mmu_slot *slot,
		       uint64_t gfn);
/* These let go of the mmu_lock now and then; under slots_lock. */
void mmu_protect_slot(struct tide_mmu *mmu, struct mmu_slot *slot)
	TIDE_MUST_HOLD(mmu->mmu_lock);
void mmu_recover_large(struct tide_mmu *mmu, struct mmu_slot *slot)
	TIDE_MUST_HOLD(mmu->mmu_lock);
/* Does not let go. */
void mmu_zap_pages(struct tide_mmu *mmu, struct mmu_slot *slot, uint64_t first,
		   uint64_t npages);
/* Splits the large leaves of @block, or drops them without memory. */
void mmu_split_block(struct tide_mmu *mmu, struct mmu_slot *slot,
		     struct mmu_block *block);

/* dirty_sink.c: under RCU, mmu_lock or slots_lock */
/* @vcpu: whose write it is, on its thread; NULL: the host's or a device's. */
void mmu_mark_dirty(struct tide_mmu *mmu, struct mmu_vcpu *vcpu,
		    struct mmu_slot *slot, uint64_t page);

/* flush.c */
/* Return: 0; -ETIMEDOUT, and then it is owed. */
int mmu_flush(struct tide_mmu *mmu);
/* One has failed, and none that began after it has succeeded. */
bool mmu_is_flush_owed(const struct tide_mmu *mmu);
/* Makes it good if so. */
int mmu_flush_owed(struct tide_mmu *mmu);
/* Drops the mmu_lock, after a flush if need_flush. */
int mmu_unlock_flush(struct tide_mmu *mmu) TIDE_RELEASES(mmu->mmu_lock);
/* The vCPU's own thread. */
void mmu_vcpu_into_guest(struct mmu_vcpu *vcpu);
void mmu_vcpu_out_of_guest(struct mmu_vcpu *vcpu);
void mmu_vcpu_flush_own(struct mmu_vcpu *vcpu);
/* Acknowledges a flush request, if there is one. */
void mmu_vcpu_acknowledge(struct mmu_vcpu *vcpu);
#define VCPU_FLUSH 2u
#define VCPU_KICK 4u
#define VCPU_WAITER 16u
#define VCPU_ACK 256u /* counts upwards from here */
#define TLB_GROUP (TIDE_TLB_ENTRIES / 64)
/* Tag of an entry of page 0 that has nothing; those of other pages have 0. */
#define TLB_TAG_NONE 8u

/* host_page.c; no lock held */
struct host_ref {
	uint8_t *host; /* of the page's first byte */
	uint64_t pfn;
	bool writable;
	bool held; /* a backing's reference */
};
int host_ref_get(struct tide_mmu *mmu, uint64_t host, bool backed, bool write,
		 struct host_ref *ret_ref);
void host_ref_put(struct tide_mmu *mmu, struct host_ref *ref);
/* Copies that a guest may race with: single accesses of 8 bytes at most. */
void guest_copy(void *to, const void *from, size_t nbytes);

/* tlb.c; the vCPU's own thread, under RCU */
struct spte_walk {
	spte_t *sptep;
	uint64_t spte;
	uint32_t level;
};
/* The entry for @gva at the lowest level that there is.  True: a leaf. */
bool mmu_walk(const struct mmu_vcpu *vcpu, uint64_t gva,
	      struct spte_walk *walk);
/* In guest mode.  The host address for @gva if the shadow page table permits;
 * else 0, and *@walk is what does not, or has an entry of 0. */
uint64_t mmu_tlb_fill(struct mmu_vcpu *vcpu, uint64_t gva,
		      enum tide_access what, struct spte_walk *walk);

/* fast_fault.c; outside guest mode, no lock, under RCU since the @walk that
 * mmu_tlb_fill() has left.  True: try the access again. */
bool mmu_fast_fault(struct mmu_vcpu *vcpu, uint64_t gva, enum tide_access what,
		    struct spte_walk *walk);

/* fault.c; outside guest mode, no lock */
struct mmu_fault {
	uint64_t gva;
	enum tide_access what;
	/* Set by mmu_slow_fault() for MMU_FAULT_EMULATE. */
	uint64_t gpa;
};
enum mmu_fault_result {
	MMU_FAULT_FIXED,   /* try the access again */
	MMU_FAULT_EMULATE, /* a write to a shadowed table: emulate.c */
	MMU_FAULT_EXIT	   /* vcpu->exit says why */
};
enum mmu_fault_result mmu_slow_fault(struct mmu_vcpu *vcpu,
				     struct mmu_fault *fault);
/* Fills in vcpu->exit.  Return: reason. */
int mmu_exit_set(struct mmu_vcpu *vcpu, enum tide_exit_reason reason,
		 enum tide_access what, uint64_t gva, uint64_t gpa);

/* emulate.c; outside guest mode, no lock.  What is done to at most 8 bytes
 * inside one page, or with COPY to any number inside one. */
enum mmu_op { MMU_OP_STORE, MMU_OP_CMPXCHG, MMU_OP_FETCH_ADD, MMU_OP_COPY };
struct mmu_write {
	enum mmu_op op;
	uint32_t nbytes;
	uint64_t value;	   /* to store, to add, or desired */
	uint64_t expected; /* CMPXCHG; afterwards what was there */
	const void *from;  /* COPY */
};
/* The access itself, at @host. */
void mmu_write_do(struct mmu_write *write, uint8_t *host);
/* Write, follow in the shadow page table, mark; by @vcpu.
 * Return: 0; -EFAULT: no slot there, or a read-only one; the backing's
 * error. */
int mmu_emulate_write(struct tide_mmu *mmu, struct mmu_vcpu *vcpu,
		      uint32_t address_space, uint64_t gpa,
		      struct mmu_write *write);
/* The host wrote inside the page at @gpa: the shadow follows. */
void mmu_follow_write(struct tide_mmu *mmu, uint32_t address_space,
		      uint64_t gpa, uint32_t nbytes);

/* notifier.c */
extern const struct backing_notifier mmu_notifier;
/* Under mmu_lock: may what was resolved at @seq be mapped? */
bool mmu_invalidate_retry(const struct tide_mmu *mmu, uint64_t seq,
			  uint64_t host);

#endif
