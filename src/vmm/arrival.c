/* SPDX-License-Identifier: MIT */
/*
 * arrival.c - the destination side: a VM grows from a migration stream
 *
 * The machine and the tracker come first, then each slot when it is announced,
 * then, from VMSTATE_VM, what the source's config says, and the vCPUs.  The
 * stream is not trusted: every piece is held against what came before it, and
 * the guest starts only when nothing is missing.
 */
#include <errno.h>
#include <string.h>

#include "base/options.h"
#include "vmm/machine.h"
#include "vmm/vm.h"
#include "vmm/vmstate.h"

/* Guest physical addresses that a VM may have, the hole included. */
#define END_GFN \
	((VM_MEMORY_MAX >> TIDE_PAGE_SHIFT) + GUEST_HIGH_GFN - GUEST_HOLE_GFN)

#define MESSAGE_SIZE 256u

struct arrival {
	struct tide_vm *vm;
	const struct tide_migrate_receive_config *limits;
	uint32_t slots;
	uint64_t pages;
	uint32_t vcpus; /* whose state has come */
	char *message;	/* of the receive config, for both sides to read */
	size_t message_size;
};

static const struct machine *const machines[] = {
	&machine_kvm,
	&machine_soft,
};

static int take_slot(void *opaque, struct tide_slot_info *info)
{
	struct arrival *arrival = opaque;
	struct tide_vm *vm = arrival->vm;
	int err;

	if (vm->params || arrival->slots > VM_SLOTS_MAX || !info->npages ||
	    info->first_gfn >= END_GFN ||
	    info->npages > END_GFN - info->first_gfn)
		return -EINVAL;
	err = vm_add_slot(vm, info->id, info->first_gfn, info->npages,
			  info->flags);
	if (err)
		return err;
	arrival->slots++;
	arrival->pages += info->npages;
	info->host = vm->base + (info->first_gfn << TIDE_PAGE_SHIFT);
	return 0;
}

/* Slots do not overlap, so if they are inside and as many, they are all. */
static bool slots_fit(const struct arrival *arrival,
		      const struct vm_layout *layout)
{
	struct tide_slot_info slot;

	for (uint32_t i = 0; i < arrival->slots; i++) {
		if (tide_slot_get(arrival->vm->space, i, &slot) ||
		    !vm_layout_has(layout, slot.first_gfn, slot.npages))
			return false;
	}
	return arrival->pages == layout->pages;
}

static bool params_fit(uint64_t gpa)
{
	uint64_t end = (uint64_t)GUEST_DEVICE_GFN << TIDE_PAGE_SHIFT;

	return gpa % _Alignof(struct guest_params) == 0 &&
	       gpa >= GUEST_IMAGE_GPA &&
	       gpa <= end - sizeof(struct guest_params);
}

static int load_vm(struct arrival *arrival, const struct vmstate_vm *state)
{
	struct tide_vm *vm = arrival->vm;
	struct tide_vm_config config = {
		.size = sizeof(config),
		.workload = (enum tide_workload)state->workload,
		.vcpus = state->vcpus,
		.memory_bytes = state->memory_bytes,
		.slots = arrival->slots,
		.seed = state->seed,
		.hot_pages = state->hot_pages,
		.work_pages = state->work_pages,
		.writes_per_second = state->writes_per_second,
		.device = state->device != 0,
		.tracker = vm->config.tracker,
	};
	int err;

	if (vm->params || state->version != VMSTATE_VERSION ||
	    !params_fit(state->params_gpa))
		return -EINVAL;
	/* The hole may have cost a slot more than a config may ask for. */
	if (config.slots == VM_SLOTS_MAX + 1)
		config.slots--;
	err = vm_config_take(&config, &config);
	if (err)
		return err;
	vm_layout_set(&vm->layout, &config);
	if (!slots_fit(arrival, &vm->layout))
		return -EINVAL;
	vm->config = config;
	vm->device.count = state->device_count;
	return vm_configure(vm, state->params_gpa);
}

/* Copied, because nothing is said about data's alignment. */
static int load_vcpu(struct arrival *arrival, uint32_t index, const void *data,
		     size_t nbytes)
{
	struct tide_vm *vm = arrival->vm;
	_Alignas(8) uint8_t state[MACHINE_STATE_MAX];
	int err;

	if (nbytes != vm->machine->state_bytes || index != arrival->vcpus ||
	    index >= vm->vcpu_count)
		return -EINVAL;
	memcpy(state, data, nbytes);
	err = vm->machine->load(&vm->vcpu[index], state);
	if (!err)
		arrival->vcpus++;
	return err;
}

static int load(void *opaque, const char *name, uint32_t index,
		const void *data, size_t nbytes)
{
	struct arrival *arrival = opaque;
	struct vmstate_vm vm;

	if (strcmp(name, VMSTATE_VM) == 0 && nbytes == sizeof(vm)) {
		memcpy(&vm, data, sizeof(vm));
		return load_vm(arrival, &vm);
	}
	if (strcmp(name, arrival->vm->machine->state_name) == 0)
		return load_vcpu(arrival, index, data, nbytes);
	for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
		if (strcmp(name, machines[i]->state_name) != 0)
			continue;
		oracle_say(arrival->message, arrival->message_size,
			   "the guest comes from a %s machine, and this is "
			   "a %s machine: choose a tracker of that kind",
			   machines[i]->name, arrival->vm->machine->name);
		return -EOPNOTSUPP;
	}
	return -EINVAL;
}

static int start(void *opaque)
{
	struct arrival *arrival = opaque;
	struct tide_vm *vm = arrival->vm;
	int err;

	if (!vm->params || arrival->vcpus != vm->vcpu_count)
		return -EINVAL;
	err = vm_start_threads(vm);
	return err ? err : tide_vm_run(vm);
}

static int progress(void *opaque, const struct tide_migrate_stats *stats)
{
	const struct arrival *arrival = opaque;

	return arrival->limits->progress(arrival->limits->opaque, stats);
}

int tide_vm_receive(int fd, enum tide_tracker tracker,
		    const struct tide_migrate_receive_config *limits,
		    struct tide_vm **ret_vm,
		    struct tide_migrate_stats *ret_stats)
{
	static const struct tide_migrate_receive_config none;
	struct tide_vm_config vm_config = { .tracker = tracker };
	struct tide_migrate_receive_config config, taken;
	char message[MESSAGE_SIZE]; /* where the caller has no room */
	struct arrival arrival = { .limits = &taken };
	int err;

	if (!machine_has(tracker))
		return -EINVAL;
	err = tide_options_copy(&taken, sizeof(taken), limits ? limits : &none,
				sizeof(taken));
	if (err)
		return err;
	err = vm_open(&arrival.vm, END_GFN << TIDE_PAGE_SHIFT, &vm_config);
	if (err)
		return err;

	config = taken;
	if (!config.message || !config.message_size) {
		config.message = message;
		config.message_size = sizeof(message);
	}
	arrival.message = config.message;
	arrival.message_size = config.message_size;
	config.slot = take_slot;
	config.load = load;
	config.start = start;
	config.progress = taken.progress ? progress : NULL;
	config.opaque = &arrival;
	err = tide_migrate_receive(fd, &config, ret_stats);
	if (err) {
		tide_vm_destroy(arrival.vm);
		return err;
	}
	*ret_vm = arrival.vm;
	return 0;
}
