/* SPDX-License-Identifier: MIT */
/*
 * mmu_bench.h - guests of the software MMU, as small as they get
 *
 * One slot from gfn 0 on, one client, up to two vCPUs.  They reach the library
 * by its public headers only, as an emulator would.
 */
#ifndef MMU_BENCH_H
#define MMU_BENCH_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include <tidemark/tidemark.h>

#define BENCH_VCPUS 2u
#define BENCH_SAFE_POINT 64u /* accesses between two */
#define BENCH_LARGE_PAGES 512u

enum bench_memory {
	BENCH_SPARSE,	 /* nothing is there before it is touched */
	BENCH_POPULATED, /* no first touch of the host's is measured */
	/* 2 MiB again and again, populated: as much address space and as many
	 * pages as asked for, and hardly any memory. */
	BENCH_REPEATED
};

struct bench_guest_config {
	uint64_t npages;
	void *memory;	    /* stays the caller's */
	uint32_t mmu_flags; /* enum tide_mmu_flags */
	unsigned int vcpus;
	bool get_clears; /* tide_soft_config.get_clears */
};

struct bench_guest {
	struct tide_mmu *mmu;
	struct tide_space *space;
	struct tide_client *client; /* by bench_guest_log() */
	struct tide_vcpu *vcpu[BENCH_VCPUS];
	uint64_t npages;
};

/* Aligned to 2 MiB.  NULL: there is none. */
void *bench_memory_map(uint64_t npages, enum bench_memory kind);
void bench_memory_unmap(void *memory, uint64_t npages);

/* Return: 0 or a negative errno; destroy in both cases. */
int bench_guest_create(struct bench_guest *guest,
		       const struct bench_guest_config *config);
void bench_guest_destroy(struct bench_guest *guest);

/* Logging on, and off again. */
int bench_guest_log(struct bench_guest *guest, enum tide_start start);
void bench_guest_unlog(struct bench_guest *guest);
/* One whole harvest.  @ret_pages may be NULL. */
int bench_guest_harvest(struct bench_guest *guest, uint64_t *ret_pages);

/* vCPU 0 stores to each of @npages pages from @first on, @stride apart. */
int bench_guest_touch(struct bench_guest *guest, uint64_t first,
		      uint64_t npages, uint64_t stride);

/* Where in @page a store goes: not all of them into the same sets of the
 * host's caches. */
static inline uint64_t bench_address(uint64_t page)
{
	return page << TIDE_PAGE_SHIFT | (page * 296 & 4088);
}

/* An exit that nothing here asks for is an error. */
static inline int bench_exit_error(int ret)
{
	return ret > 0 ? -EPROTO : ret;
}

#endif
