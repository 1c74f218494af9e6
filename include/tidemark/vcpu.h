/* SPDX-License-Identifier: MIT */
/*
 * tidemark/vcpu.h - a software CPU's way to guest memory
 *
 * Bring your own CPU: an interpreter or a translator reaches memory only by
 * the calls of this header, and every write is caught by the space's tracker.
 * What hits the vCPU's TLB is inline: a load of the entry, a compare and the
 * access.  The rest is the software MMU's page-fault path (tidemark/mmu.h).
 *
 *     for (;;) {
 *             int why = tide_vcpu_enter(vcpu);
 *             while (!why) {
 *                     why = run_some_instructions(vcpu);
 *                     if (!why)
 *                             why = tide_vcpu_safe_point(vcpu);
 *             }
 *             ... look at tide_vcpu_last_exit(vcpu), and go on
 *     }
 *
 * Guest mode.  A vCPU is in guest mode from a successful enter until exit, or
 * until any call returns an enum tide_exit_reason.  In guest mode it calls
 * tide_vcpu_safe_point() often: whoever re-arms pages waits for it there.
 * A host address from tide_vcpu_hit() stays valid until the next safe point, or
 * the next call that is not a hit.
 *
 * What it does not do: it decodes no instruction, injects no fault, knows no
 * registers, and starts no thread.
 *
 * Threads.  A vCPU's calls are made by one thread at a time, except
 * tide_vcpu_kick(), which any thread may make until destroy.
 *
 * Memory order.  Loads and stores of 1, 2, 4 and 8 aligned bytes are single
 * accesses, and no stronger than relaxed; a CPU with a stronger model adds
 * fences.  cmpxchg and fetch_add are sequentially consistent.  An access that
 * is not aligned, or crosses a page, is not single.
 *
 * Errors.  0; an enum tide_exit_reason, greater than 0, and then the access
 * was not made; or a negative errno value for a call that is wrong: -EPERM
 * outside guest mode, -EINVAL for a bad size.
 *
 * Manual: tide_vcpu_create(3), tide_vcpu_enter(3), tide_vcpu_load(3).
 */
#ifndef TIDEMARK_VCPU_H
#define TIDEMARK_VCPU_H

#include <stdbool.h>

#include <tidemark/base.h>

#ifdef __cplusplus
extern "C" {
#define TIDE_ATOMIC(type) type
#define TIDE_LOAD_RELAXED(type, from) \
	__atomic_load_n((const type *)(uintptr_t)(from), __ATOMIC_RELAXED)
#define TIDE_STORE_RELAXED(type, to, value) \
	__atomic_store_n((type *)(uintptr_t)(to), value, __ATOMIC_RELAXED)
#else
#include <stdatomic.h>
#define TIDE_ATOMIC(type) _Atomic(type)
/* Relaxed: the guest's own accesses; see "Memory order" above. */
#define TIDE_LOAD_RELAXED(type, from)                                  \
	atomic_load_explicit((const _Atomic(type) *)(uintptr_t)(from), \
			     memory_order_relaxed)
/* Relaxed: as above. */
#define TIDE_STORE_RELAXED(type, to, value)                                    \
	atomic_store_explicit((_Atomic(type) *)(uintptr_t)(to), (type)(value), \
			      memory_order_relaxed)
#endif

struct tide_mmu;

enum tide_access {
	TIDE_ACCESS_READ,
	TIDE_ACCESS_WRITE,
	TIDE_ACCESS_FETCH,
	TIDE_ACCESS_COUNT
};

enum tide_exit_reason {
	/* The guest's page tables forbid the access: inject
	 * tide_exit.fault_code. */
	TIDE_EXIT_GUEST_FAULT = 1,
	/* No slot there, or a write to a read-only one: a device's. */
	TIDE_EXIT_MMIO,
	/* soft-ring: tide_soft_ring_full(), then go on. */
	TIDE_EXIT_RING_FULL,
	/* tide_vcpu_kick() */
	TIDE_EXIT_KICKED,
	/* The host could not supply the page: tide_exit.error.  The access may
	 * be tried again. */
	TIDE_EXIT_ERROR,
	TIDE_EXIT_COUNT
};

/* The last exit of a vCPU. */
struct tide_exit {
	enum tide_exit_reason reason;
	enum tide_access access;
	/* GUEST_FAULT: x86: the page-fault error code.  Sv39: scause (12, 13,
	 * 15). */
	uint32_t fault_code;
	uint32_t nbytes; /* of the access on this page; MMIO */
	int error;	 /* ERROR: a negative errno value */
	uint64_t gva;	 /* the first byte that could not be reached */
	uint64_t gpa;	 /* MMIO, ERROR */
};

enum tide_paging_mode {
	TIDE_PAGING_NONE,   /* addresses are guest physical */
	TIDE_PAGING_X86_64, /* four levels */
	TIDE_PAGING_SV39,   /* RISC-V, three levels */
	TIDE_PAGING_MODE_COUNT
};

enum tide_paging_flags {
	TIDE_PAGING_USER = 1u << 0, /* accesses are the user's (CPL 3, U) */
	TIDE_PAGING_WP = 1u << 1,   /* x86: CR0.WP */
	TIDE_PAGING_NX = 1u << 2,   /* x86: EFER.NXE */
	TIDE_PAGING_SMEP = 1u << 3, /* x86: CR4.SMEP */
	TIDE_PAGING_SMAP = 1u << 4, /* x86: CR4.SMAP, and EFLAGS.AC clear */
	TIDE_PAGING_SUM = 1u << 5,  /* RISC-V: sstatus.SUM */
	TIDE_PAGING_MXR = 1u << 6,  /* RISC-V: sstatus.MXR */
};

struct tide_paging {
	size_t size; /* of this struct; 0: the first version */
	enum tide_paging_mode mode;
	uint32_t flags;		/* enum tide_paging_flags */
	uint64_t root;		/* gpa of the root table; its page offset is
				 * ignored */
	uint32_t address_space; /* 0 or 1, as SMM on x86 */
};

/* The rest is the library's; inline functions read it. */
#define TIDE_TLB_ENTRIES 1024u
#define TIDE_VCPU_IN_GUEST 1u /* of state */
#define TIDE_VCPU_REQUESTS 0xfeu

struct tide_tlb_entry {
	uint64_t tag;	 /* page address; others are not in the guest */
	uint64_t addend; /* host address less gva */
};

struct tide_vcpu {
	TIDE_ATOMIC(uint32_t) state;
	/* TIDE_TLB_ENTRIES each; outside guest mode one that has nothing. */
	const struct tide_tlb_entry *tlb[TIDE_ACCESS_COUNT];
};

/**
 * tide_vcpu_create() - a vCPU of @mmu, outside guest mode, in
 * TIDE_PAGING_NONE, address space 0
 *
 * Return: 0; -ENOSPC beyond 1024 vCPUs; -ENOMEM.
 */
TIDE_API TIDE_MUST_CHECK int tide_vcpu_create(struct tide_mmu *mmu,
					      struct tide_vcpu **ret_vcpu);
/** tide_vcpu_destroy() - outside guest mode (asserted).  NULL is fine.  What
 * its dirty ring still holds goes to the bitmaps of the slots. */
TIDE_API void tide_vcpu_destroy(struct tide_vcpu *vcpu);

/**
 * tide_vcpu_set_paging() - mode, root and flags from now on
 *
 * Also how a CPU says that CR0, CR3, CR4, EFER, satp, sstatus or the privilege
 * changed.  The guest's tables may change at any time: what they say is seen
 * by the next access that follows the change, without a call.
 *
 * Return: 0; -EINVAL for an unknown mode, flag or address space; -E2BIG.
 */
TIDE_API TIDE_MUST_CHECK int
tide_vcpu_set_paging(struct tide_vcpu *vcpu, const struct tide_paging *paging);

/** tide_vcpu_enter() - into guest mode.  Return: 0; TIDE_EXIT_KICKED,
 * TIDE_EXIT_RING_FULL; -EBUSY if it is there already. */
TIDE_API TIDE_MUST_CHECK int tide_vcpu_enter(struct tide_vcpu *vcpu);
/** tide_vcpu_exit() - out of guest mode.  Return: 0; -EPERM if outside. */
TIDE_API int tide_vcpu_exit(struct tide_vcpu *vcpu);
/** tide_vcpu_kick() - the vCPU leaves guest mode at its next safe point, or
 * does not enter, once, with TIDE_EXIT_KICKED */
TIDE_API void tide_vcpu_kick(struct tide_vcpu *vcpu);
/** tide_vcpu_last_exit() - the last exit; until the vCPU's next call */
TIDE_API const struct tide_exit *
tide_vcpu_last_exit(const struct tide_vcpu *vcpu);

/* Behind the inline functions below; same results. */
TIDE_API int tide_vcpu_safe_point_slow(struct tide_vcpu *vcpu);
TIDE_API int tide_vcpu_load_slow(struct tide_vcpu *vcpu, uint64_t gva,
				 size_t nbytes, enum tide_access access,
				 uint64_t *ret_value);
TIDE_API int tide_vcpu_store_slow(struct tide_vcpu *vcpu, uint64_t gva,
				  size_t nbytes, uint64_t value);

/** tide_vcpu_safe_point() - let others re-arm pages.  Return: 0, still in
 * guest mode; an exit reason; -EPERM. */
static inline int tide_vcpu_safe_point(struct tide_vcpu *vcpu)
{
	if (__builtin_expect((TIDE_LOAD_RELAXED(uint32_t, &vcpu->state) &
			      (TIDE_VCPU_IN_GUEST | TIDE_VCPU_REQUESTS)) ==
				     TIDE_VCPU_IN_GUEST,
			     1))
		return 0;
	return tide_vcpu_safe_point_slow(vcpu);
}

/* Does the TLB have @gva, and is it aligned to @nbytes, a power of two up to
 * 8?  Then its host address is *@ret_host. */
static inline bool tide_vcpu_hit(const struct tide_vcpu *vcpu, uint64_t gva,
				 size_t nbytes, enum tide_access access,
				 uint64_t *ret_host)
{
	/* An entry has 16 bytes: one shift and one mask are its offset. */
	const void *at =
		(const char *)vcpu->tlb[access] +
		(gva >> (TIDE_PAGE_SHIFT - 4) &
		 (TIDE_TLB_ENTRIES - 1) * sizeof(struct tide_tlb_entry));
	const struct tide_tlb_entry *entry = (const struct tide_tlb_entry *)at;
	uint64_t tag = gva & (~(TIDE_PAGE_SIZE - 1) | (nbytes - 1));

	if (__builtin_expect(entry->tag != tag, 0))
		return false;
	*ret_host = gva + entry->addend;
	return true;
}

/**
 * tide_vcpu_load() - @nbytes (1, 2, 4, 8) from @gva, zero-extended
 *
 * Return: 0; an exit reason; -EPERM; -EINVAL.
 */
static inline int tide_vcpu_load(struct tide_vcpu *vcpu, uint64_t gva,
				 size_t nbytes, uint64_t *ret_value)
{
	uint64_t host;
	bool hit = tide_vcpu_hit(vcpu, gva, nbytes, TIDE_ACCESS_READ, &host);

	if (hit && nbytes == 8)
		*ret_value = TIDE_LOAD_RELAXED(uint64_t, host);
	else if (hit && nbytes == 4)
		*ret_value = TIDE_LOAD_RELAXED(uint32_t, host);
	else if (hit && nbytes == 2)
		*ret_value = TIDE_LOAD_RELAXED(uint16_t, host);
	else if (hit && nbytes == 1)
		*ret_value = TIDE_LOAD_RELAXED(uint8_t, host);
	else
		return tide_vcpu_load_slow(vcpu, gva, nbytes, TIDE_ACCESS_READ,
					   ret_value);
	return 0;
}

/**
 * tide_vcpu_store() - the low @nbytes (1, 2, 4, 8) of @value to @gva
 *
 * Both pages of a store that crosses a page are looked at before a byte is
 * written.
 *
 * Return: 0; an exit reason; -EPERM; -EINVAL.
 */
static inline int tide_vcpu_store(struct tide_vcpu *vcpu, uint64_t gva,
				  size_t nbytes, uint64_t value)
{
	uint64_t host;
	bool hit = tide_vcpu_hit(vcpu, gva, nbytes, TIDE_ACCESS_WRITE, &host);

	if (hit && nbytes == 8)
		TIDE_STORE_RELAXED(uint64_t, host, value);
	else if (hit && nbytes == 4)
		TIDE_STORE_RELAXED(uint32_t, host, value);
	else if (hit && nbytes == 2)
		TIDE_STORE_RELAXED(uint16_t, host, value);
	else if (hit && nbytes == 1)
		TIDE_STORE_RELAXED(uint8_t, host, value);
	else
		return tide_vcpu_store_slow(vcpu, gva, nbytes, value);
	return 0;
}

/** tide_vcpu_fetch() - @nbytes (1, 2, 4, 8) of an instruction: as load, with
 * permission to execute */
static inline int tide_vcpu_fetch(struct tide_vcpu *vcpu, uint64_t gva,
				  size_t nbytes, uint64_t *ret_value)
{
	uint64_t host;
	bool hit = tide_vcpu_hit(vcpu, gva, nbytes, TIDE_ACCESS_FETCH, &host);

	if (hit && nbytes == 8)
		*ret_value = TIDE_LOAD_RELAXED(uint64_t, host);
	else if (hit && nbytes == 4)
		*ret_value = TIDE_LOAD_RELAXED(uint32_t, host);
	else if (hit && nbytes == 2)
		*ret_value = TIDE_LOAD_RELAXED(uint16_t, host);
	else if (hit && nbytes == 1)
		*ret_value = TIDE_LOAD_RELAXED(uint8_t, host);
	else
		return tide_vcpu_load_slow(vcpu, gva, nbytes, TIDE_ACCESS_FETCH,
					   ret_value);
	return 0;
}

/**
 * tide_vcpu_cmpxchg() - if the @nbytes at @gva equal *@expected, make them
 * @desired; *@expected is what was there
 *
 * The page counts as written, also when they differ (as KVM has it).
 *
 * Return: 0; an exit reason; -EPERM; -EINVAL for a size that is not 1, 2, 4 or
 * 8, or an address that is not aligned to it.
 */
TIDE_API TIDE_MUST_CHECK int tide_vcpu_cmpxchg(struct tide_vcpu *vcpu,
					       uint64_t gva, size_t nbytes,
					       uint64_t *expected,
					       uint64_t desired);

/** tide_vcpu_fetch_add() - add @addend to the @nbytes at @gva; *@ret_old is
 * what was there.  Return: as tide_vcpu_cmpxchg(). */
TIDE_API TIDE_MUST_CHECK int tide_vcpu_fetch_add(struct tide_vcpu *vcpu,
						 uint64_t gva, size_t nbytes,
						 uint64_t addend,
						 uint64_t *ret_old);

/**
 * tide_vcpu_read() - copy @nbytes out of the guest; tide_vcpu_write() - into
 * it; page by page, not single accesses
 * @ret_done: bytes copied before an exit; may be NULL
 *
 * Return: 0; an exit reason, with the address that stopped it in the exit;
 * -EPERM; -EINVAL if the range wraps.
 */
TIDE_API TIDE_MUST_CHECK int tide_vcpu_read(struct tide_vcpu *vcpu,
					    uint64_t gva, void *buffer,
					    size_t nbytes, size_t *ret_done);
TIDE_API TIDE_MUST_CHECK int tide_vcpu_write(struct tide_vcpu *vcpu,
					     uint64_t gva, const void *buffer,
					     size_t nbytes, size_t *ret_done);

/**
 * tide_vcpu_translate() - the guest physical address of @gva for @access
 *
 * Sets no accessed or dirty bit, and needs no guest mode.
 *
 * Return: 0; TIDE_EXIT_GUEST_FAULT; TIDE_EXIT_MMIO if @gva leads out of every
 * slot, or a write to a read-only one (*@ret_gpa is set); -EINVAL for an
 * unknown access; the backing's error.  The vCPU stays where it is.
 */
TIDE_API TIDE_MUST_CHECK int tide_vcpu_translate(struct tide_vcpu *vcpu,
						 uint64_t gva,
						 enum tide_access access,
						 uint64_t *ret_gpa);

#ifdef __cplusplus
}
#endif
#endif
