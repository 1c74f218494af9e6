/* SPDX-License-Identifier: MIT */
/* side_soft.c - the software MMU's answers to the same calls */
#include "side.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "mmu/kvm_calls.h"

#define OWN_BYTES (SIDE_OWN_PAGES * TIDE_PAGE_SIZE)
#define PML4 0x1000u
#define PDPT 0x2000u
#define DIRECTORIES 0x3000u /* 16 pages, 1 GiB each */
#define GIGABYTES 16u
#define PTE_TABLE 0x3u /* present, writable */
#define PTE_LARGE 0x83u

struct soft {
	struct tide_mmu *mmu;
	uint8_t *own;
	bool paged;
	uint32_t vcpus;
	struct tide_vcpu *vcpu[SIDE_VCPUS];
};

/* As small_vm.c's: the first 16 GiB onto themselves by 2 MiB pages. */
static void build_tables(uint8_t *own)
{
	uint64_t *pml4 = (uint64_t *)(void *)(own + PML4);
	uint64_t *pdpt = (uint64_t *)(void *)(own + PDPT);
	uint64_t *pd = (uint64_t *)(void *)(own + DIRECTORIES);

	pml4[0] = PDPT | PTE_TABLE;
	for (uint64_t i = 0; i < GIGABYTES; i++)
		pdpt[i] = (DIRECTORIES + i * TIDE_PAGE_SIZE) | PTE_TABLE;
	for (uint64_t i = 0; i < GIGABYTES * 512; i++)
		pd[i] = i << 21 | PTE_LARGE;
}

static void soft_destroy(void *opaque)
{
	struct soft *self = opaque;

	for (uint32_t v = 0; v < self->vcpus; v++)
		tide_vcpu_destroy(self->vcpu[v]);
	tide_mmu_destroy(self->mmu);
	if (self->own)
		munmap(self->own, OWN_BYTES);
	free(self);
}

static int own_memory(struct soft *self)
{
	struct mmu_region region = { .slot = SIDE_OWN_SLOT,
				     .memory_bytes = OWN_BYTES };

	self->own = mmap(NULL, OWN_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (self->own == MAP_FAILED) {
		self->own = NULL;
		return -ENOMEM;
	}
	build_tables(self->own);
	region.host = (uintptr_t)self->own;
	return mmu_set_region(self->mmu, &region);
}

static int soft_create(bool paged, void **ret_self)
{
	struct tide_mmu_config config = { .size = sizeof(config) };
	struct soft *self = calloc(1, sizeof(*self));
	int err;

	if (!self)
		return -ENOMEM;
	self->paged = paged;
	err = tide_mmu_create(&config, &self->mmu);
	if (!err)
		err = own_memory(self);
	if (err) {
		soft_destroy(self);
		return err;
	}
	*ret_self = self;
	return 0;
}

static int soft_region(void *opaque, const struct side_region *region)
{
	struct soft *self = opaque;
	struct mmu_region argument = {
		.slot = region->slot,
		.flags = region->flags,
		.gpa = region->gpa,
		.memory_bytes = region->bytes,
		.host = region->host,
	};

	return mmu_set_region(self->mmu, &argument);
}

static int soft_get(void *opaque, uint32_t slot, uint64_t *words)
{
	struct soft *self = opaque;

	return mmu_get_dirty_log(self->mmu, slot, words);
}

static int soft_clear(void *opaque, uint32_t slot, uint64_t first_page,
		      uint32_t npages, const uint64_t *words)
{
	struct soft *self = opaque;

	return mmu_clear_dirty_log(self->mmu, slot, first_page, npages, words);
}

static int soft_manual(void *opaque, uint64_t options)
{
	struct soft *self = opaque;

	return mmu_enable_manual_protect(self->mmu, options);
}

static int soft_ring(void *opaque, uint64_t bytes)
{
	struct soft *self = opaque;

	/* The kernel takes args[0] as a u32, too. */
	return mmu_enable_ring(self->mmu, (uint32_t)bytes);
}

static int soft_reset(void *opaque)
{
	struct soft *self = opaque;

	return mmu_reset_dirty_rings(self->mmu);
}

static uint32_t soft_spaces(void *self)
{
	(void)self;
	return MMU_ADDRESS_SPACES;
}

static int soft_vcpu(void *opaque)
{
	struct soft *self = opaque;
	struct tide_paging paging = { .size = sizeof(paging),
				      .mode = TIDE_PAGING_X86_64,
				      .root = PML4 };
	struct tide_vcpu *vcpu;
	int err;

	if (self->vcpus == SIDE_VCPUS)
		return -ENOSPC;
	err = tide_vcpu_create(self->mmu, &vcpu);
	if (err)
		return err;
	self->vcpu[self->vcpus++] = vcpu;
	return self->paged ? tide_vcpu_set_paging(vcpu, &paging) : 0;
}

/* One page, as if by one instruction.  Return: 0; -EFAULT; -ENOSPC. */
static int store(struct tide_vcpu *vcpu, uint64_t gfn, uint64_t value)
{
	int why = tide_vcpu_enter(vcpu);

	if (!why)
		why = tide_vcpu_store(vcpu, gfn << TIDE_PAGE_SHIFT, 8, value);
	switch (why) {
	case 0:
		return tide_vcpu_exit(vcpu);
	case TIDE_EXIT_MMIO:
		return -EFAULT;
	case TIDE_EXIT_RING_FULL:
		return -ENOSPC;
	default:
		return why < 0 ? why : -EIO;
	}
}

static int soft_write(void *opaque, uint32_t v, const uint64_t *gfns,
		      size_t count, uint64_t value)
{
	struct soft *self = opaque;
	int result = 0;

	for (size_t i = 0; i < count; i++) {
		int err = store(self->vcpu[v], gfns[i], value);

		if (err == -EFAULT)
			result = err;
		else if (err)
			return err;
	}
	return result;
}

static int soft_harvest(void *opaque,
			void (*found)(void *opaque, uint32_t slot,
				      uint64_t offset),
			void *found_opaque)
{
	struct soft *self = opaque;

	return mmu_collect_dirty_rings(self->mmu, found, found_opaque);
}

const struct side side_soft = {
	.name = "soft",
	.create = soft_create,
	.destroy = soft_destroy,
	.region = soft_region,
	.get = soft_get,
	.clear = soft_clear,
	.manual = soft_manual,
	.ring = soft_ring,
	.reset = soft_reset,
	.spaces = soft_spaces,
	.vcpu = soft_vcpu,
	.write = soft_write,
	.harvest = soft_harvest,
};
