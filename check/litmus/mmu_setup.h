/* SPDX-License-Identifier: MIT */
/*
 * mmu_setup.h - what litmus programs over the software MMU share
 *
 * An MMU in direct mode with one slot at gfn 0 that is logged, and vCPUs.  It
 * is built once by the shipped code, outside of any execution; each execution
 * begins with the same memory (arena_model.h).
 *
 * How to keep a program small.  The explorer visits each way in which reads
 * can see writes once, so that only accesses to one place by two threads, one
 * of them a write, that nothing orders, multiply executions; all others cost
 * time, but no execution.
 *
 *   what conflicts                    what to do about it
 *   --------------                    -------------------
 *   a vCPU's state word               each entry into guest mode and each exit
 *     against a flush                 are a place for the request: enter once
 *   the page's entry                  what is meant; other pages do not matter
 *   the log, three words a bit        a bit that is set before the threads
 *                                     begin costs the writer two accesses less
 *   a lock                            two sections are two orders: call the
 *                                     function inside if the lock is not meant
 *   RCU flags                         only with a grace period: each reading
 *                                     section before it is two executions
 *   statistics, rings of other        nothing: one thread's own, or ordered by
 *     vCPUs, the walk's upper levels  a lock
 *
 * So: what is not meant to race is done in the set-up (`mapped`, `vcpus`), or
 * after the threads, in final, where everything is shipped code as well.
 */
#ifndef TIDE_CHECK_MMU_SETUP_H
#define TIDE_CHECK_MMU_SETUP_H

#include "base/atomic.h"

#include "mmu/mmu_internal.h"

#include "check/shim/rcu_model.h"
#include "litmus.h"

#define SETUP_VCPUS_MAX 3u
#define SETUP_PAGES_MAX 2u

enum setup_mapped {
	SETUP_NOT_MAPPED,
	SETUP_READ,   /* by a read: writable but for the log */
	SETUP_WRITTEN /* and dirty */
};

struct mmu_setup {
	uint32_t vcpus;		  /* vCPU i is for thread i */
	bool far_page;		  /* a second one, elsewhere in the log */
	enum setup_mapped mapped; /* by vCPU 0, all pages */
	bool logged_late;	  /* after they were mapped */
	bool unlogged;		  /* never */
	bool in_guest;	     /* vCPU 0, and page 0 is in its TLB to write */
	uint32_t flags;	     /* enum tide_mmu_flags */
	uint64_t manual;     /* MMU_MANUAL_* */
	uint32_t ring_bytes; /* 0: no rings */
	bool ring_with_bitmap;
};

/* Of the execution. */
extern struct tide_mmu *mmu;
extern struct mmu_vcpu *vcpu[SETUP_VCPUS_MAX];
extern struct mmu_slot *slot;
/* The guest's memory: the first word of each page. */
extern uint64_t *page[SETUP_PAGES_MAX];
/* What copy_pages() has read of it. */
extern uint64_t copy[SETUP_PAGES_MAX];

/* In a program's init. */
void mmu_setup(const struct mmu_setup *how);

/* The vCPU's thread: into guest mode; a store to the first word of page
 * @number (of page[]), with whatever faults that takes; out. */
void guest_write(struct mmu_vcpu *self, uint64_t number, uint64_t value);
void guest_enter(struct mmu_vcpu *self);
void guest_store(struct mmu_vcpu *self, uint64_t number, uint64_t value);
void guest_exit(struct mmu_vcpu *self);
/* Enter, or a safe point; it may be kicked.  Return: in guest mode. */
bool guest_enters(struct mmu_vcpu *self);
bool guest_goes_on(struct mmu_vcpu *self);

/* A harvest by the slot's log, or by the rings and, if there is one, the log;
 * every page found is copied.  Return: how many were. */
uint32_t harvest(void);
void harvest_and_copy(void); /* as a thread */

/* In final: no vCPU is in guest mode, so a last harvest finds every page that
 * is not as it was copied (C4), and one more finds nothing. */
void last_harvest_is_complete(void);

#endif
