/* SPDX-License-Identifier: MIT */
/* mmu_bench.c - guests of the software MMU, and memory for them */
#include "mmu_bench.h"

#include <sys/mman.h>
#include <unistd.h>

#define LARGE_BYTES ((size_t)BENCH_LARGE_PAGES * TIDE_PAGE_SIZE)

/* Address space alone, aligned; the ends that are too much are given back. */
static char *reserve(size_t nbytes)
{
	char *all = mmap(NULL, nbytes + LARGE_BYTES, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before;

	if (all == MAP_FAILED)
		return NULL;
	before = (size_t)(-(uintptr_t)all % LARGE_BYTES);
	if (before)
		munmap(all, before);
	if (before != LARGE_BYTES)
		munmap(all + before + nbytes, LARGE_BYTES - before);
	return all + before;
}

static int map_repeated(char *memory, size_t nbytes)
{
	int fd = memfd_create("bench", MFD_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)LARGE_BYTES) != 0)
		err = -errno;
	for (size_t at = 0; !err && at < nbytes; at += LARGE_BYTES)
		if (mmap(memory + at, LARGE_BYTES, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd,
			 0) == MAP_FAILED)
			err = -errno;
	close(fd);
	return err;
}

void *bench_memory_map(uint64_t npages, enum bench_memory kind)
{
	size_t nbytes = npages * TIDE_PAGE_SIZE;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
	char *memory = reserve(nbytes);
	int err = 0;

	if (!memory)
		return NULL;
	if (kind == BENCH_REPEATED)
		err = map_repeated(memory, nbytes);
	else if (mmap(memory, nbytes, PROT_READ | PROT_WRITE,
		      flags | (kind == BENCH_POPULATED ? MAP_POPULATE : 0), -1,
		      0) == MAP_FAILED)
		err = -errno;
	if (!err)
		return memory;
	munmap(memory, nbytes);
	return NULL;
}

void bench_memory_unmap(void *memory, uint64_t npages)
{
	if (memory)
		munmap(memory, npages * TIDE_PAGE_SIZE);
}

int bench_guest_create(struct bench_guest *guest,
		       const struct bench_guest_config *config)
{
	struct tide_mmu_config mmu = { .flags = config->mmu_flags };
	struct tide_soft_config soft = { .get_clears = config->get_clears };
	struct tide_slot_config slot = { .npages = config->npages,
					 .host = config->memory };
	int err;

	*guest = (struct bench_guest){ .npages = config->npages };
	if (!config->memory)
		return -ENOMEM;
	err = tide_mmu_create(&mmu, &guest->mmu);
	if (!err)
		err = tide_space_create(&guest->space);
	soft.mmu = guest->mmu;
	if (!err)
		err = tide_space_attach(guest->space, TIDE_TRACKER_SOFT_BITMAP,
					&soft);
	if (!err)
		err = tide_slot_add(guest->space, &slot);
	for (unsigned int i = 0; !err && i < config->vcpus; i++)
		err = tide_vcpu_create(guest->mmu, &guest->vcpu[i]);
	return err;
}

void bench_guest_destroy(struct bench_guest *guest)
{
	bench_guest_unlog(guest);
	for (unsigned int i = 0; i < BENCH_VCPUS; i++) {
		if (guest->vcpu[i])
			/* After an error it may be in guest mode, or not. */
			(void)tide_vcpu_exit(guest->vcpu[i]);
		tide_vcpu_destroy(guest->vcpu[i]);
	}
	tide_space_destroy(guest->space);
	tide_mmu_destroy(guest->mmu);
	*guest = (struct bench_guest){ 0 };
}

int bench_guest_log(struct bench_guest *guest, enum tide_start start)
{
	return tide_client_open(guest->space, "bench", start, &guest->client);
}

void bench_guest_unlog(struct bench_guest *guest)
{
	tide_client_close(guest->client);
	guest->client = NULL;
}

int bench_guest_harvest(struct bench_guest *guest, uint64_t *ret_pages)
{
	struct tide_harvest *harvest;
	struct tide_extent extent;
	uint64_t npages = 0;
	int ret = tide_harvest_begin(guest->client, &harvest);

	if (ret)
		return ret;
	while ((ret = tide_harvest_next(harvest, &extent)) > 0)
		npages += extent.npages;
	if (ret < 0) {
		tide_harvest_abort(harvest);
		return ret;
	}
	if (ret_pages)
		*ret_pages = npages;
	return tide_harvest_commit(harvest);
}

int bench_guest_touch(struct bench_guest *guest, uint64_t first,
		      uint64_t npages, uint64_t stride)
{
	struct tide_vcpu *vcpu = guest->vcpu[0];
	int ret = tide_vcpu_enter(vcpu);

	for (uint64_t i = 0; !ret && i < npages; i++) {
		uint64_t page = first + i * stride;

		ret = tide_vcpu_store(vcpu, bench_address(page), 8, i);
		if (!ret && i % BENCH_SAFE_POINT == BENCH_SAFE_POINT - 1)
			ret = tide_vcpu_safe_point(vcpu);
	}
	return ret ? bench_exit_error(ret) : tide_vcpu_exit(vcpu);
}
