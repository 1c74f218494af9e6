/* SPDX-License-Identifier: MIT */
/* vmstate.c - the source side: what a migration carries besides memory */
#include "vmm/vmstate.h"

#include "vmm/machine.h"
#include "vmm/vm.h"

void vmstate_save_vm(const struct tide_vm *vm, struct vmstate_vm *ret)
{
	*ret = (struct vmstate_vm){
		.version = VMSTATE_VERSION,
		.workload = vm->config.workload,
		.vcpus = vm->config.vcpus,
		.device = vm->config.device != 0,
		.memory_bytes = vm->config.memory_bytes,
		.seed = vm->config.seed,
		.hot_pages = vm->config.hot_pages,
		.writes_per_second = vm->config.writes_per_second,
		.params_gpa = vm->params_gpa,
		.device_count = vm->device.count,
		.work_pages = vm->config.work_pages,
	};
}

static int save(void *opaque, struct tide_migrate *migrate)
{
	const struct tide_vm *vm = opaque;
	const struct machine *machine = vm->machine;
	_Alignas(8) uint8_t vcpu[MACHINE_STATE_MAX];
	struct vmstate_vm state;
	int err;

	vmstate_save_vm(vm, &state);
	err = tide_migrate_put_state(migrate, VMSTATE_VM, 0, &state,
				     sizeof(state));
	for (uint32_t i = 0; i < vm->vcpu_count && !err; i++) {
		err = machine->save(&vm->vcpu[i], vcpu);
		if (!err)
			err = tide_migrate_put_state(
				migrate, machine->state_name, i, vcpu,
				machine->state_bytes);
	}
	return err;
}

static int stop(void *opaque)
{
	return tide_vm_stop(opaque);
}

static int resume(void *opaque)
{
	return tide_vm_run(opaque);
}

void tide_vm_send_config(struct tide_vm *vm,
			 struct tide_migrate_send_config *ret_config)
{
	*ret_config = (struct tide_migrate_send_config){
		.size = sizeof(*ret_config),
		.stop = stop,
		.resume = resume,
		.save = save,
		.opaque = vm,
	};
}
