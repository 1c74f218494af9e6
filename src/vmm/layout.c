/* SPDX-License-Identifier: MIT */
/*
 * layout.c - from a config to numbers: where memory lies, what the guest does
 *
 * Pure functions.  A destination works out the same numbers from the config
 * that comes with the stream.
 */
#include <errno.h>
#include <string.h>

#include "base/options.h"
#include "vmm/machine.h"
#include "vmm/vm.h"

_Static_assert(GUEST_WALKER == (int)TIDE_WORKLOAD_WALKER &&
		       GUEST_RANDOM == (int)TIDE_WORKLOAD_RANDOM &&
		       GUEST_ATOMIC == (int)TIDE_WORKLOAD_ATOMIC &&
		       GUEST_HOT == (int)TIDE_WORKLOAD_HOT &&
		       GUEST_SCRIPT == (int)TIDE_WORKLOAD_SCRIPT &&
		       GUEST_WORKLOAD_COUNT == (int)TIDE_WORKLOAD_COUNT,
	       "the guest knows the workloads by the same numbers");

#define NS_PER_S 1000000000ull
#define BATCH_MAX 1024u
#define BATCHES_PER_S 100u
#define WORK_PAGES_MIN 16u

/* What does not fit together is -EINVAL here, so that nothing later has to
 * look again; what comes with a migration stream goes through here too. */
static int config_check(const struct tide_vm_config *config)
{
	uint64_t all =
		(config->memory_bytes >> TIDE_PAGE_SHIFT) - GUEST_WORK_GFN;
	uint64_t work = config->work_pages ? config->work_pages : all;

	if ((unsigned int)config->workload >= TIDE_WORKLOAD_COUNT ||
	    !machine_has(config->tracker))
		return -EINVAL;
	if ((unsigned int)config->paging >= TIDE_PAGING_MODE_COUNT ||
	    (config->paging != TIDE_PAGING_NONE &&
	     machine_of(config->tracker) != &machine_soft))
		return -EINVAL;
	if (config->vcpus > GUEST_VCPUS_MAX)
		return -EINVAL;
	if (config->memory_bytes % TIDE_PAGE_SIZE ||
	    config->memory_bytes < VM_MEMORY_MIN ||
	    config->memory_bytes > VM_MEMORY_MAX)
		return -EINVAL;
	if (config->slots > VM_SLOTS_MAX)
		return -EINVAL;
	if (work < WORK_PAGES_MIN || work > all)
		return -EINVAL;
	if (config->hot_pages > work ||
	    (config->hot_pages && config->hot_pages < config->vcpus))
		return -EINVAL;
	if (config->writes_per_second > NS_PER_S)
		return -EINVAL;
	return 0;
}

static uint64_t default_hot_pages(const struct tide_vm_config *config)
{
	uint64_t hot = (config->memory_bytes >> TIDE_PAGE_SHIFT) / 16;

	return config->work_pages && config->work_pages < hot
		       ? config->work_pages
		       : hot;
}

int vm_config_take(struct tide_vm_config *to, const struct tide_vm_config *from)
{
	struct tide_vm_config config;
	int err = tide_options_copy(&config, sizeof(config), from,
				    sizeof(config));

	if (err)
		return err;
	err = config_check(&config);
	if (err)
		return err;

	if (!config.vcpus)
		config.vcpus = 1;
	if (!config.slots)
		config.slots = 1;
	if (!config.hot_pages)
		config.hot_pages = default_hot_pages(&config);
	*to = config;
	return 0;
}

void vm_layout_set(struct vm_layout *layout,
		   const struct tide_vm_config *config)
{
	uint64_t pages = config->memory_bytes >> TIDE_PAGE_SHIFT;
	uint64_t low = pages < GUEST_HOLE_GFN ? pages : GUEST_HOLE_GFN;

	layout->pages = pages;
	layout->low_pages = low;
	layout->end_gfn = pages == low ? low : GUEST_HIGH_GFN + pages - low;
	layout->work_pages = pages - GUEST_WORK_GFN;
	if (config->work_pages)
		layout->work_pages = config->work_pages;
	layout->work_low_pages = low - GUEST_WORK_GFN;
	if (layout->work_low_pages > layout->work_pages)
		layout->work_low_pages = layout->work_pages;
}

bool vm_layout_has(const struct vm_layout *layout, uint64_t first_gfn,
		   uint64_t npages)
{
	uint64_t end = first_gfn + npages;

	if (end < first_gfn)
		return false;
	return end <= layout->low_pages ||
	       (first_gfn >= GUEST_HIGH_GFN && end <= layout->end_gfn);
}

bool vm_layout_is_work(const struct vm_layout *layout, uint64_t gfn)
{
	return gfn >= GUEST_WORK_GFN && vm_layout_has(layout, gfn, 1);
}

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* Near the golden section of the pages, the seed apart, and prime to them. */
static uint64_t stride_of(uint64_t pages, uint64_t seed)
{
	uint64_t stride = pages / 8 * 5 + seed % (pages / 8);

	while (greatest_common_divisor(stride, pages) != 1)
		stride--;
	return stride;
}

/* A look at the clock about every hundredth of a second, not more often than
 * every write and not more seldom than every 1024th. */
static uint32_t batch_of(uint64_t writes_per_second)
{
	uint64_t batch = writes_per_second / BATCHES_PER_S;

	if (!writes_per_second || batch > BATCH_MAX)
		return BATCH_MAX;
	return batch ? (uint32_t)batch : 1;
}

uint64_t vm_pace_ns(const struct tide_vm_config *config)
{
	if (!config->writes_per_second)
		return 0;
	return batch_of(config->writes_per_second) * NS_PER_S /
	       config->writes_per_second;
}

void vm_params_set(struct guest_params *params,
		   const struct tide_vm_config *config,
		   const struct vm_layout *layout)
{
	params->workload = config->workload;
	params->vcpus = config->vcpus;
	params->batch = batch_of(config->writes_per_second);
	params->pace_port = config->writes_per_second != 0;
	params->ticks_per_batch = 0;
	params->work_pages = layout->work_pages;
	params->low_pages = layout->work_low_pages;
	params->stride = stride_of(layout->work_pages, config->seed);
	params->seed = config->seed;
	params->hot_pages = config->hot_pages;
	params->iteration = 1;
}
