/* SPDX-License-Identifier: MIT */
/*
 * rig.c - a space with slots on a kernel, for tests of one bug each
 */
#undef NDEBUG
#include "rig.h"

#include <errno.h>
#include <sys/mman.h>

static void rig_sync(void *opaque)
{
	struct rig *rig = opaque;

	rig->syncs++;
	if (rig->sim)
		sim_kick(rig->sim);
	else
		small_vm_sync(rig->real);
}

static void rig_kernel(struct rig *rig)
{
	struct tide_kvm_config config = {
		.size = sizeof(config),
		.chunk_pages = rig->config.chunk_pages,
		.ring_entries = rig->config.ring_entries,
		.sync_vcpus = rig->config.no_sync ? NULL : rig_sync,
		.opaque = rig,
	};
	int err;

	if (rig->config.tracker == TIDE_TRACKER_NONE)
		return;
	if (rig->config.real) {
		err = small_vm_create(&rig->real);
		if (err) {
			rig_destroy(rig);
			SKIP("real kernel", "/dev/kvm: %s", strerror(-err));
		}
		config.vm_fd = small_vm_fd(rig->real);
	} else {
		assert_int_equal(sim_vm_create(&rig->config.sim, &rig->sim), 0);
		config.vm_fd = sim_vm_fd(rig->sim);
	}
	err = tide_space_attach(rig->space, rig->config.tracker, &config);
	if (err == -EOPNOTSUPP && rig->config.real) {
		rig_destroy(rig);
		SKIP("real kernel", "it has no %s",
		     tide_tracker_name(rig->config.tracker));
	}
	assert_int_equal(err, 0);
}

static void rig_vcpus(struct rig *rig)
{
	if (rig->real)
		small_vm_space(rig->real, rig->space);
	for (int v = 0; v < 2; v++) {
		int fd = rig->real ? small_vm_vcpu(rig->real)
				   : sim_vcpu_create(rig->sim);

		assert_true(fd >= 0);
		assert_int_equal(tide_kvm_vcpu_add(rig->space, fd), 0);
		rig->vcpu_fd[v] = fd;
	}
}

void rig_create(struct rig *rig, const struct rig_config *config)
{
	uint64_t gfn = RIG_GFN;

	memset(rig, 0, sizeof(*rig));
	rig->config = *config;
	assert_int_equal(tide_space_create(&rig->space), 0);
	rig_kernel(rig);
	for (uint32_t i = 0; i < RIG_SLOTS && config->sizes[i]; i++) {
		size_t bytes = (size_t)config->sizes[i] << TIDE_PAGE_SHIFT;

		rig->host[i] = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_ptr_not_equal(rig->host[i], MAP_FAILED);
		rig->first_gfn[i] = gfn;
		assert_int_equal(
			tide_slot_add(rig->space,
				      &(struct tide_slot_config){
					      .id = i,
					      .flags = config->flags[i],
					      .first_gfn = gfn,
					      .npages = config->sizes[i],
					      .host = rig->host[i] }),
			0);
		gfn += config->sizes[i];
		rig->slots++;
	}
	if (config->tracker != TIDE_TRACKER_NONE && !config->no_vcpus)
		rig_vcpus(rig);
}

void rig_destroy(struct rig *rig)
{
	for (int i = 0; i < RIG_CLIENTS; i++)
		rig_close(rig, i);
	tide_space_destroy(rig->space);
	sim_vm_destroy(rig->sim);
	small_vm_destroy(rig->real);
	for (uint32_t i = 0; i < rig->slots; i++)
		munmap(rig->host[i],
		       (size_t)rig->config.sizes[i] << TIDE_PAGE_SHIFT);
	memset(rig, 0, sizeof(*rig));
}

struct tide_client *rig_client(struct rig *rig, int index,
			       enum tide_start start)
{
	assert_int_equal(
		tide_client_open(rig->space, "rig", start, &rig->client[index]),
		0);
	return rig->client[index];
}

void rig_close(struct rig *rig, int index)
{
	tide_client_close(rig->client[index]);
	rig->client[index] = NULL;
}

void rig_write(struct rig *rig, uint64_t gfn)
{
	int err;

	rig->value++;
	if (rig->real) {
		assert_int_equal(
			small_vm_write(rig->real, 0, &gfn, 1, rig->value), 0);
		return;
	}
	err = sim_write(rig->sim, 0, gfn, rig->value);
	while (err == -EAGAIN) {
		assert_true(tide_kvm_ring_full(rig->space, rig->vcpu_fd[0]) >=
			    0);
		err = sim_write(rig->sim, 0, gfn, rig->value);
	}
	assert_int_equal(err, 0);
}

uint64_t rig_value(const struct rig *rig, uint32_t slot, uint64_t page)
{
	uint64_t value;

	memcpy(&value, rig->host[slot] + (page << TIDE_PAGE_SHIFT),
	       sizeof(value));
	return value;
}

int rig_harvest(struct tide_client *client, struct rig_set *ret)
{
	struct tide_harvest *harvest;
	struct tide_extent e;
	int result = tide_harvest_begin(client, &harvest);

	memset(ret, 0, sizeof(*ret));
	if (result)
		return result;
	while ((result = tide_harvest_next(harvest, &e)) > 0) {
		ret->extents++;
		for (uint64_t i = 0; i < e.npages; i++) {
			assert_true(ret->count < RIG_SET);
			ret->gone[ret->count] = e.flags & TIDE_EXTENT_GONE;
			ret->gfn[ret->count++] = e.first_gfn + i;
		}
	}
	assert_int_equal(result, 0);
	assert_int_equal(tide_harvest_commit(harvest), 0);
	return 0;
}

bool rig_has(const struct rig_set *set, uint64_t gfn)
{
	for (uint32_t i = 0; i < set->count; i++)
		if (set->gfn[i] == gfn)
			return true;
	return false;
}

void rig_expect(struct tide_client *client, const uint64_t *gfns)
{
	struct rig_set set;
	uint32_t n = 0;

	assert_int_equal(rig_harvest(client, &set), 0);
	for (; gfns[n]; n++)
		if (!rig_has(&set, gfns[n]))
			fail_msg("gfn %#jx is missing", (uintmax_t)gfns[n]);
	assert_int_equal(set.count, n);
}

void rig_expect_none(struct tide_client *client)
{
	struct rig_set set;

	assert_int_equal(rig_harvest(client, &set), 0);
	assert_int_equal(set.count, 0);
}
