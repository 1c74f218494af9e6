/* SPDX-License-Identifier: MIT */
/*
 * mmu_stage.h - a software MMU with memory, guests' page tables, and threads
 * that stop where the test says
 *
 * The tests call what the trackers call (mmu/kvm_calls.h), so that every step
 * between is theirs.  An actor is a thread that is held at a pause point of
 * the library (base/pause_point.h), or at one of the test's own; the test goes
 * on when it is there.
 */
#ifndef TIDE_TEST_MMU_STAGE_H
#define TIDE_TEST_MMU_STAGE_H

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <tidemark/backing.h>
#include <tidemark/mmu.h>
#include <tidemark/vcpu.h>

#include "base/pause_point.h"
#include "mmu/host.h"
#include "mmu/kvm_calls.h"
#include "mmu/mmu_internal.h"
#include "test_support.h"

#define MRIG_AREAS 6
#define MRIG_VCPUS 8
#define MRIG_WORDS 64 /* of a GET: 4096 pages */
#define MRIG_LARGE ((uint64_t)LARGE_PAGES * TIDE_PAGE_SIZE)
#define MRIG_GPA(gfn) ((uint64_t)(gfn)*TIDE_PAGE_SIZE)

/* A slot, as the test describes it. */
struct mrig_area {
	uint32_t id; /* address space << 16 | id */
	uint64_t gfn;
	uint64_t npages; /* 0 ends */
	uint32_t flags;	 /* MMU_REGION_* */
	/* Where its memory comes from: an area of its own; the backing, from
	 * page @from on; or the area before, from its page @from on. */
	enum { MRIG_OWN, MRIG_BACKED, MRIG_ALIAS } memory;
	uint64_t from;
	/* Pages by which its memory misses a multiple of 2 MiB. */
	uint64_t skew;
};

struct mrig_config {
	struct mrig_area areas[MRIG_AREAS];
	uint32_t mmu_flags;
	uint32_t vcpus; /* 0: two */
	uint64_t backing_pages, frames;
	uint64_t manual;
	uint32_t ring_bytes; /* 0: no ring */
	uint64_t flush_timeout_ms;
	uint64_t table_pages_max;
};

struct mrig {
	struct mrig_config config;
	struct tide_mmu *mmu;
	struct tide_backing *backing;
	int swap_fd;
	struct tide_vcpu *vcpu[MRIG_VCPUS];
	uint32_t vcpus;
	uint8_t *host[MRIG_AREAS];
	struct {
		void *at;
		size_t nbytes;
	} mapping[MRIG_AREAS];
	uint64_t words[MRIG_WORDS]; /* of the last GET */
};

/** mrig_create() - asserts that it works; area i is not in the MMU if its
 * flags have MRIG_LATER */
#define MRIG_LATER (1u << 31)
void mrig_create(struct mrig *rig, const struct mrig_config *config);
/** mrig_destroy() - also checks the invariants */
void mrig_destroy(struct mrig *rig);
/** mrig_region() - KVM_SET_USER_MEMORY_REGION of an area, with other flags or
 * at another gfn; 0 pages: delete */
int mrig_region(struct mrig *rig, int area, uint32_t flags, uint64_t gfn,
		uint64_t npages);
/** mrig_flags() - the same area with these flags */
int mrig_flags(struct mrig *rig, int area, uint32_t flags);

/* Guest accesses of 8 bytes, outside guest mode before and after.  Return: 0;
 * the exit reason. */
int mrig_try_store(struct tide_vcpu *vcpu, uint64_t gva, uint64_t value);
int mrig_try_load(struct tide_vcpu *vcpu, uint64_t gva, uint64_t *ret_value);
/* They must succeed; on any thread. */
void mrig_store(struct tide_vcpu *vcpu, uint64_t gva, uint64_t value);
uint64_t mrig_load(struct tide_vcpu *vcpu, uint64_t gva);
/* By the host: read, and write with mark. */
uint64_t mrig_peek(struct mrig *rig, uint64_t gpa);
void mrig_poke(struct mrig *rig, uint64_t gpa, uint64_t value);

/** mrig_get() - GET of an area into rig->words.  Return: how many bits */
uint64_t mrig_get(struct mrig *rig, int area);
bool mrig_bit(const struct mrig *rig, uint64_t page);
/** mrig_expect() - GET yields exactly these pages, ended by UINT64_MAX */
void mrig_expect(struct mrig *rig, int area, const uint64_t *pages);
#define MRIG_EXPECT(rig, area, ...) \
	mrig_expect((rig), (area),  \
		    (const uint64_t[]){ __VA_ARGS__, UINT64_MAX })
#define MRIG_EXPECT_NONE(rig, area) \
	mrig_expect((rig), (area), (const uint64_t[]){ UINT64_MAX })
/** mrig_clear() - CLEAR of pages [64 * word, 64 * word + 64) with @mask */
int mrig_clear(struct mrig *rig, int area, uint64_t word, uint64_t mask);
/** mrig_walk() - the leaf that maps @gva for @vcpu, which is not running;
 * false: none */
bool mrig_walk(struct mrig *rig, int vcpu, uint64_t gva, struct spte_walk *ret);
bool mrig_swap_out(struct mrig *rig, uint64_t page);
struct tide_mmu_stats mrig_stats(struct mrig *rig);

/* Page tables of a guest, built at @next and after, where @direct: the host
 * writes them before anybody uses them. */
struct guest_tables {
	struct mrig *rig;
	enum tide_paging_mode mode;
	uint64_t root; /* gpa */
	uint64_t next; /* gpa of the next free table page */
};
#define PTE_WRITABLE 1u
#define PTE_USER 2u
#define PTE_CLEAN 4u /* without accessed and dirty */
void tables_init(struct guest_tables *tables, struct mrig *rig,
		 enum tide_paging_mode mode, uint64_t gpa);
uint64_t tables_leaf(enum tide_paging_mode mode, uint64_t gpa, uint32_t level,
		     uint32_t flags);
/** tables_map() - @gva to @gpa by a leaf at @level.  Return: gpa of the
 * leaf's entry */
uint64_t tables_map(struct guest_tables *tables, uint64_t gva, uint64_t gpa,
		    uint32_t level, uint32_t flags);
/** tables_load() - the vCPU uses these tables */
void tables_load(const struct guest_tables *tables, struct tide_vcpu *vcpu,
		 uint32_t flags);

/* A thread that can be held. */
struct actor {
	pthread_t thread;
	void (*run)(void *opaque);
	void *opaque;
	const char *stop; /* where it is to be held next; NULL: nowhere */
	bool held, ended;
};
/** actor_start() - until it is held at @stop; it must get there */
void actor_start(struct actor *actor, const char *stop,
		 void (*run)(void *opaque), void *opaque);
/** actor_begin() - do not wait for it at all */
void actor_begin(struct actor *actor, const char *stop,
		 void (*run)(void *opaque), void *opaque);
/** actor_on() - go on until it is held at @stop or has ended.  Return: held */
bool actor_on(struct actor *actor, const char *stop);
/** actor_to() - change where a running actor is held, and wait as actor_on */
bool actor_wait(struct actor *actor);
/** actor_go() - go on, and do not wait */
void actor_go(struct actor *actor);
/** actor_end() - go on, to the end */
void actor_end(struct actor *actor);
bool actor_has_ended(struct actor *actor);
/** actor_stop() - a pause point of the test's own, in an actor */
void actor_stop(const char *where);

/* What actors often do. */
struct access {
	struct tide_vcpu *vcpu;
	uint64_t gva, value;
	int result;
};
void run_store(void *access); /* result, not asserted */
void run_load(void *access);  /* the same; into value */
struct get {
	struct mrig *rig;
	int area;
	uint64_t words[MRIG_WORDS];
	int result;
};
void run_get(void *get);
/* A vCPU that stays in guest mode: stores value, is held at "guest", stores
 * value + 1 without a safe point between, is held at "guest.late", and
 * leaves. */
void run_in_guest(void *access);
/** flush_awaits() - @asker is running a call that flushes, and @vcpu is in
 * guest mode.  Return: true when it has been asked to let go and the call waits
 * for it; false when the call is over without */
bool flush_awaits(struct actor *asker, struct tide_vcpu *vcpu);

#define CLAIM(name, function)                    \
	{                                        \
		name, function, NULL, NULL, NULL \
	}
/** mrig_main() - a test may be named on the command line, with * and ? */
int mrig_main(int argc, char **argv);

#endif
