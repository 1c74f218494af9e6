/* SPDX-License-Identifier: MIT */
/*
 * mmu_rig.h - a whole software MMU beside a guest that cannot be wrong
 *
 * Every call is made twice: on the MMU, and on a mirror, plain memory that
 * walk_model.c walks anew for each access.  What a call returns, the exits, the
 * memory with the accessed and dirty bits in it, and the dirty logs are
 * compared; what does not agree ends the program.
 *
 * One thread; its vCPUs take turns.  A call that is compared prints nothing.
 */
#ifndef TIDE_FUZZ_MMU_RIG_H
#define TIDE_FUZZ_MMU_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tidemark/backing.h>
#include <tidemark/mmu.h>
#include <tidemark/vcpu.h>

#include "mmu/kvm_calls.h"

#define RIG_VCPUS 2u
/* Memory of whole 2 MiB blocks and a bit; memory of few pages, in a backing if
 * there is one; read-only memory. */
enum rig_slots { RIG_BIG, RIG_SMALL, RIG_ROM, RIG_SLOT_COUNT };
#define RIG_BIG_PAGES 1040u
#define RIG_SMALL_PAGES 40u
#define RIG_ROM_PAGES 8u
#define RIG_BIG_GFN 0u
#define RIG_SMALL_GFN 0x800u
#define RIG_ROM_GFN 0xc00u
#define RIG_FRAMES 24u
#define RIG_RING_ENTRIES 256u

struct rig_config {
	struct tide_mmu_config mmu; /* without the backing */
	uint64_t manual;	    /* MMU_MANUAL_* */
	bool backed;
	bool ring;
	bool log; /* from the beginning */
};

struct rig_slot {
	bool present;
	uint64_t gfn, npages;
	uint32_t flags; /* MMU_REGION_* */
	uint8_t *host;	/* the MMU's memory, or an address in the backing */
	uint8_t *mirror;
	/* Of each page, since logging was turned on: */
	uint8_t *written;  /* and no log has told */
	uint8_t *reported; /* told, and not yet re-armed */
	uint8_t *seen;	   /* GET told, and CLEAR has not been called */
};

struct rig {
	struct rig_config config;
	struct tide_mmu *mmu;
	struct tide_backing *backing;
	int swap_fd;
	struct tide_vcpu *vcpu[RIG_VCPUS];
	struct tide_paging paging[RIG_VCPUS];
	bool inside[RIG_VCPUS];
	struct rig_slot slot[RIG_SLOT_COUNT];
	/* Rings that somebody scribbled on re-arm what they please. */
	bool log_is_void;
	/* A ring that stays full, because of that: the guest is dead. */
	bool stuck;
	/* Words that the model was shown, to find those it changed. */
	struct {
		uint64_t gpa;
		uint64_t value;
		uint64_t *word;
	} shown[8];
	uint32_t shown_count;
	uint64_t rom_word[8]; /* copies, so that nothing is set in them */
	/* Pages that the call that is being made writes. */
	struct {
		struct rig_slot *slot;
		uint64_t page;
	} pending[64];
	uint32_t pending_count;
	/* What happened; for tests that want to know that it did. */
	uint64_t done, faults, mmios, full, invented;
};

enum rig_op { RIG_LOAD, RIG_STORE, RIG_FETCH, RIG_CMPXCHG, RIG_FETCH_ADD };

struct rig_access {
	enum rig_op op;
	uint64_t gva;
	uint32_t nbytes;
	uint64_t value;	   /* to store, add or exchange for */
	uint64_t expected; /* CMPXCHG */
};

struct rig *rig_create(const struct rig_config *config);
/* Compares all memory once more. */
void rig_destroy(struct rig *rig);

/* Return: 0, an exit reason, or (cmpxchg, fetch_add) -EINVAL; *ret_value is
 * what was there, if not NULL. */
int rig_access(struct rig *rig, uint32_t vcpu, const struct rig_access *access,
	       uint64_t *ret_value);
/* Blocks of bytes; @seed makes the data.  Return: as above. */
int rig_read(struct rig *rig, uint32_t vcpu, uint64_t gva, size_t nbytes);
int rig_write(struct rig *rig, uint32_t vcpu, uint64_t gva, size_t nbytes,
	      uint64_t seed);
int rig_translate(struct rig *rig, uint32_t vcpu, uint64_t gva,
		  enum tide_access what);
void rig_set_paging(struct rig *rig, uint32_t vcpu,
		    const struct tide_paging *paging);
void rig_safe_point(struct rig *rig, uint32_t vcpu);
void rig_leave(struct rig *rig, uint32_t vcpu);

/* A device's. */
int rig_device_write(struct rig *rig, uint64_t gpa, const void *data,
		     size_t nbytes);
int rig_device_read(struct rig *rig, uint64_t gpa, size_t nbytes);
/* A word of the guest's memory, in both; by a device. */
void rig_poke(struct rig *rig, uint64_t gpa, uint64_t value);
/* As it is now. */
uint64_t rig_peek(struct rig *rig, uint64_t gpa);
/* Before any access: also read-only memory. */
void rig_fill(struct rig *rig, uint64_t gpa, uint64_t value);

/* The harvest side. */
void rig_get(struct rig *rig, enum rig_slots slot);
/* CLEAR [first, first + npages) of what GET has told. */
void rig_clear(struct rig *rig, enum rig_slots slot, uint64_t first,
	       uint32_t npages);
void rig_collect(struct rig *rig);
/* @n: harvested entries, all vCPUs. */
void rig_reset(struct rig *rig);
/* Entry @index of a ring becomes this; see log_is_void. */
void rig_scribble(struct rig *rig, uint32_t vcpu, uint32_t index,
		  uint32_t flags, uint32_t slot, uint64_t offset);

/* Return: what mmu_set_region() did, which was foreseen. */
int rig_set_flags(struct rig *rig, enum rig_slots slot, uint32_t flags);
int rig_move(struct rig *rig, enum rig_slots slot, uint64_t gfn);
int rig_delete(struct rig *rig, enum rig_slots slot);
int rig_add(struct rig *rig, enum rig_slots slot, uint64_t gfn, uint32_t flags);

/* The host side, if it is backed: pages of RIG_SMALL. */
void rig_swap_out(struct rig *rig, uint64_t first, uint64_t npages);
void rig_merge(struct rig *rig, uint64_t first, uint64_t npages);
void rig_discard(struct rig *rig, uint64_t first, uint64_t npages);

/* All memory equal, and the MMU's own invariants. */
void rig_check(struct rig *rig);

#endif
