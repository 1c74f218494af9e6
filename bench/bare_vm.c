/* SPDX-License-Identifier: MIT */
/* bare_vm.c - the smallest VM that writes pages, for raw ioctls */
#include "bare_vm.h"

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
#define CODE_SIZE (0x1000u + LIST_MAX * 4u)
#define MEMORY_GPA 0x1000000u /* 16 MiB */
/* A ring that the kernel overran stays full however often it is reset. */
#define FULLS_MAX 10000u

/* next: mov eax, [esi]; add esi, 4; mov [eax], ebx; dec ecx; jnz next; hlt */
static const unsigned char program[] = {
	0x8b, 0x06, 0x83, 0xc6, 0x04, 0x89, 0x18, 0x49, 0x75, 0xf6, 0xf4,
};

int bare_ioctl(int fd, unsigned long request, const void *argument)
{
	int ret = ioctl(fd, request, argument);

	return ret < 0 ? -errno : ret;
}

int bare_vm_create(struct bare_vm *vm, uint64_t npages)
{
	struct kvm_userspace_memory_region region = {
		.slot = 0,
		.guest_phys_addr = CODE_GPA,
		.memory_size = CODE_SIZE,
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
	vm->code = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	vm->memory = mmap(NULL, npages * TIDE_PAGE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (vm->code == MAP_FAILED || vm->memory == MAP_FAILED)
		return -ENOMEM;
	memcpy(vm->code, program, sizeof(program));
	region.userspace_addr = (uintptr_t)vm->code;
	return bare_ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

int bare_vm_vcpu(struct bare_vm *vm)
{
	struct kvm_segment flat = { .limit = 0xffffffff,
				    .selector = 8,
				    .present = 1,
				    .s = 1,
				    .db = 1,
				    .g = 1 };
	struct kvm_sregs sregs;
	int err;

	vm->vcpu_fd = bare_ioctl(vm->vm_fd, KVM_CREATE_VCPU, NULL);
	if (vm->vcpu_fd < 0)
		return vm->vcpu_fd;
	vm->run_size =
		(size_t)bare_ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
	vm->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       vm->vcpu_fd, 0);
	if (vm->run == MAP_FAILED)
		return -errno;
	err = bare_ioctl(vm->vcpu_fd, KVM_GET_SREGS, &sregs);
	if (err)
		return err;
	flat.type = 3;
	sregs.ds = sregs.es = sregs.ss = flat;
	flat.type = 11;
	sregs.cs = flat;
	sregs.cr0 |= 1;
	return bare_ioctl(vm->vcpu_fd, KVM_SET_SREGS, &sregs);
}

void bare_vm_destroy(struct bare_vm *vm)
{
	if (vm->run)
		munmap(vm->run, vm->run_size);
	if (vm->code)
		munmap(vm->code, CODE_SIZE);
	if (vm->memory)
		munmap(vm->memory, vm->npages * TIDE_PAGE_SIZE);
	if (vm->vcpu_fd >= 0)
		close(vm->vcpu_fd);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
}

int bare_vm_write(struct bare_vm *vm, const uint32_t *pages, size_t count,
		  int (*full)(void *opaque), void *opaque)
{
	const struct kvm_run *run = vm->run;
	unsigned int fulls = 0;
	struct kvm_regs regs = {
		.rip = CODE_GPA,
		.rsi = LIST_GPA,
		.rbx = 0x5eed,
		.rcx = count,
		.rflags = 2,
	};
	int err;

	if (!count || count > LIST_MAX)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		uint32_t gpa = MEMORY_GPA + (pages[i] << TIDE_PAGE_SHIFT);

		memcpy(vm->code + (LIST_GPA - CODE_GPA) + i * sizeof(gpa), &gpa,
		       sizeof(gpa));
	}
	err = bare_ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs);
	while (!err) {
		err = bare_ioctl(vm->vcpu_fd, KVM_RUN, NULL);
		if (err == -EINTR)
			err = 0;
		else if (!err && run->exit_reason == KVM_EXIT_HLT)
			return 0;
		else if (!err && run->exit_reason == KVM_EXIT_DIRTY_RING_FULL)
			err = ++fulls > FULLS_MAX ? -ENOBUFS : full(opaque);
		else if (!err)
			err = -EIO;
	}
	return err < 0 ? err : -EIO;
}
