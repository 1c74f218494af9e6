/* SPDX-License-Identifier: MIT */
/*
 * kvm_machine.c - a machine whose vCPUs are KVM's
 *
 * The guest is the image of guest/, booted in long mode.
 */
#include "vmm/kvm_machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <tidemark/mark.h>
#include <unistd.h>

#include "vmm/elf_load.h"
#include "vmm/image.h"
#include "vmm/vm.h"

/* In the hole: three pages that KVM wants for itself on old Intel CPUs. */
#define TSS_GPA 0xfffbd000ul

#define CPUID_ENTRIES 256u

/* Asked once and early: it takes KVM 0.3 ms, and at a destination the vCPUs
 * are made while the guest is down. */
static int get_cpuid(struct tide_vm *vm)
{
	vm->cpuid = calloc(1, sizeof(*vm->cpuid) +
				      CPUID_ENTRIES *
					      sizeof(struct kvm_cpuid_entry2));
	if (!vm->cpuid)
		return -ENOMEM;
	vm->cpuid->nent = CPUID_ENTRIES;
	return ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, vm->cpuid) ? -errno
								     : 0;
}

static int kvm_open(struct tide_vm *vm)
{
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return -errno;
	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0)
		return -errno;
	/* Only Intel CPUs without "unrestricted guest" need it, and what they
	 * lack then shows when a vCPU runs. */
	(void)ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, TSS_GPA);
	return get_cpuid(vm);
}

static int kvm_attach(struct tide_vm *vm)
{
	const struct tide_kvm_config config = {
		.size = sizeof(config),
		.vm_fd = vm->vm_fd,
		.chunk_pages = vm->config.chunk_pages,
		.ring_entries = vm->config.ring_entries,
		.sync_vcpus = vcpu_sync_all,
		.opaque = vm,
	};

	if (vm->config.tracker == TIDE_TRACKER_NONE)
		return 0;
	return tide_space_attach(vm->space, vm->config.tracker, &config);
}

static int kvm_add_memory(struct tide_vm *vm, uint32_t id, uint64_t gpa,
			  uint64_t bytes)
{
	struct kvm_userspace_memory_region region = {
		.slot = id,
		.guest_phys_addr = gpa,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)(vm->base + gpa),
	};

	return ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) ? -errno
								     : 0;
}

static int kvm_boot(struct tide_vm *vm)
{
	struct elf_image image;
	int err = elf_load(tide_guest_begin,
			   (size_t)(tide_guest_end - tide_guest_begin),
			   vm->base, &image);

	if (err)
		return err;
	boot_write_tables(vm->base, vm->layout.end_gfn);
	err = vm_configure(vm, image.params_gpa);
	if (err)
		return err;
	vm_params_set(vm->params, &vm->config, &vm->layout);
	for (uint32_t i = 0; i < vm->vcpu_count && !err; i++)
		err = boot_set_vcpu(&vm->vcpu[i], image.entry);
	return err;
}

static void kvm_close(struct tide_vm *vm)
{
	if (vm->vm_fd >= 0)
		(void)close(vm->vm_fd); /* nothing is buffered */
	if (vm->kvm_fd >= 0)
		(void)close(vm->kvm_fd);
	free(vm->cpuid);
}

static int kvm_write(struct tide_vm *vm, uint64_t gpa, const void *buffer,
		     size_t nbytes)
{
	memcpy(vm->base + gpa, buffer, nbytes);
	return tide_mark_host(vm->space, vm->base + gpa, nbytes);
}

const struct machine machine_kvm = {
	.name = "KVM",
	.state_name = KVM_STATE_NAME,
	.state_bytes = sizeof(struct kvm_state),
	.open = kvm_open,
	.attach = kvm_attach,
	.add_memory = kvm_add_memory,
	.boot = kvm_boot,
	.close = kvm_close,
	.write = kvm_write,
	.vcpu_create = kvm_vcpu_create,
	.vcpu_destroy = kvm_vcpu_destroy,
	.enter = kvm_vcpu_enter,
	.leave = kvm_vcpu_leave,
	.park = kvm_vcpu_park,
	.kick = kvm_vcpu_kick,
	.in_flight = kvm_vcpu_in_flight,
	.save = kvm_state_save,
	.load = kvm_state_load,
};
