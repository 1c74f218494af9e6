/* SPDX-License-Identifier: MIT */
/* bare_vm.c - the smallest VM that writes pages, for raw ioctls */
#include "bare_vm.h"

#include "tracker/long_mode.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <tidemark/base.h>
#include <unistd.h>

#define CODE_GPA 0x100000u
#define LIST_GPA 0x101000u
#define LIST_MAX (1u << 20)
#define LOW_SIZE (LIST_GPA + LIST_MAX * 4u) /* slot 0, from gpa 0 */
#define MEMORY_GPA 0x1000000u		    /* 16 MiB */
#define PORT 0x10

_Static_assert(LOW_SIZE <= MEMORY_GPA, "slot 0 ends before slot 1");

static const unsigned char program[] = {
	0x8b, 0x06,		/* next: mov eax, [rsi] */
	0x48, 0x83, 0xc6, 0x04, /* add rsi, 4 */
	0x89, 0x18,		/* mov [rax], ebx */
	0xff, 0xc9,		/* dec ecx */
	0x75, 0xf4,		/* jnz next */
	0xe6, PORT,		/* out PORT, al */
};

int bare_ioctl(int fd, unsigned long request, const void *argument)
{
	int ret = ioctl(fd, request, argument);

	return ret < 0 ? -errno : ret;
}

/* 2 MiB-aligned, as the gpa is: whether two VMs get large pages must not be
 * left to chance. */
static unsigned char *map_aligned(struct bare_vm *vm)
{
	const size_t large = (size_t)2 << 20;
	uintptr_t at;

	vm->mapped_size = vm->npages * TIDE_PAGE_SIZE + large;
	vm->mapped = mmap(NULL, vm->mapped_size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (vm->mapped == MAP_FAILED)
		return MAP_FAILED;
	at = (uintptr_t)vm->mapped;
	return (unsigned char *)vm->mapped + (large - at % large) % large;
}

int bare_vm_create(struct bare_vm *vm, uint64_t npages)
{
	struct kvm_userspace_memory_region region = {
		.slot = 0,
		.memory_size = LOW_SIZE,
	};

	*vm = (struct bare_vm){ .kvm_fd = -1, .vm_fd = -1, .vcpu_fd = -1 };
	vm->npages = npages;
	vm->first_gfn = MEMORY_GPA >> TIDE_PAGE_SHIFT;
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return -errno;
	vm->vm_fd = bare_ioctl(vm->kvm_fd, KVM_CREATE_VM, NULL);
	if (vm->vm_fd < 0)
		return vm->vm_fd;
	vm->low = mmap(NULL, LOW_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	vm->memory = map_aligned(vm);
	if (vm->low == MAP_FAILED || vm->memory == MAP_FAILED)
		return -ENOMEM;
	tide_long_mode_tables(vm->low, 2);
	memcpy(vm->low + CODE_GPA, program, sizeof(program));
	region.userspace_addr = (uintptr_t)vm->low;
	return bare_ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

int bare_vm_vcpu(struct bare_vm *vm)
{
	vm->vcpu_fd = bare_ioctl(vm->vm_fd, KVM_CREATE_VCPU, NULL);
	if (vm->vcpu_fd < 0)
		return vm->vcpu_fd;
	vm->run_size =
		(size_t)bare_ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
	vm->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       vm->vcpu_fd, 0);
	return vm->run == MAP_FAILED ? -errno : 0;
}

void bare_vm_destroy(struct bare_vm *vm)
{
	if (vm->run)
		munmap(vm->run, vm->run_size);
	if (vm->low)
		munmap(vm->low, LOW_SIZE);
	if (vm->mapped && vm->mapped != MAP_FAILED)
		munmap(vm->mapped, vm->mapped_size);
	if (vm->vcpu_fd >= 0)
		close(vm->vcpu_fd);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
}

/* Lets the port instruction finish, so that registers may be set. */
static int finish_io(struct bare_vm *vm)
{
	struct kvm_run *run = vm->run;
	int err;

	run->immediate_exit = 1;
	err = bare_ioctl(vm->vcpu_fd, KVM_RUN, NULL);
	run->immediate_exit = 0;
	return err == -EINTR ? 0 : err;
}

int bare_vm_write(struct bare_vm *vm, const uint32_t *pages, size_t count,
		  int (*full)(void *opaque), void *opaque)
{
	const struct kvm_run *run = vm->run;
	struct kvm_regs regs = {
		.rip = CODE_GPA,
		.rsi = LIST_GPA,
		.rbx = 0x5eed,
		.rcx = count,
	};
	int err;

	if (!count || count > LIST_MAX)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		uint32_t gpa = MEMORY_GPA + (pages[i] << TIDE_PAGE_SHIFT);

		memcpy(vm->low + LIST_GPA + i * sizeof(gpa), &gpa, sizeof(gpa));
	}
	err = tide_long_mode_enter(vm->vcpu_fd, &regs);
	while (!err) {
		err = bare_ioctl(vm->vcpu_fd, KVM_RUN, NULL);
		if (err == -EINTR)
			err = 0;
		else if (!err && run->exit_reason == KVM_EXIT_IO)
			return finish_io(vm);
		else if (!err && run->exit_reason == KVM_EXIT_DIRTY_RING_FULL)
			err = full(opaque);
		else if (!err)
			err = -EIO;
	}
	return err < 0 ? err : -EIO;
}
