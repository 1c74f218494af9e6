/* SPDX-License-Identifier: MIT */
/*
 * small_vm.c - a guest of seven instructions on /dev/kvm
 *
 * Long mode without interrupts; 2 MiB pages map the first 16 GiB to
 * themselves.  Each vCPU has its own list of addresses in the guest's own
 * memory, and halts when it is through.
 */
#include "small_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kvm.h>

#define PAGE 4096u
#define OWN_SLOT 500u
#define OWN_BYTES ((size_t)SMALL_VM_FIRST_GFN * PAGE)
#define CODE 0x0u
#define PML4 0x1000u
#define PDPT 0x2000u
#define DIRECTORIES 0x3000u /* 16 pages, 1 GiB each */
#define GIGABYTES 16u
#define LISTS 0x20000u /* a list each vCPU */
#define PTE_TABLE 0x3u /* present, writable */
#define PTE_LARGE 0x83u
#define CR0_PE_NE_PG 0x80000021u
#define CR4_PAE 0x20u
#define EFER_LME_LMA 0x500u

_Static_assert(LISTS + SMALL_VM_VCPUS * SMALL_VM_LIST * sizeof(uint64_t) <=
		       SMALL_VM_FIRST_GFN * PAGE,
	       "the lists fit in the guest's own memory");

/* rsi: list, rcx: count, rax: value */
static const uint8_t code[] = {
	0x48, 0x8b, 0x3e,	/* next: mov (%rsi), %rdi */
	0x48, 0x89, 0x07,	/*       mov %rax, (%rdi) */
	0x48, 0x83, 0xc6, 0x08, /*       add $8, %rsi */
	0x48, 0xff, 0xc9,	/*       dec %rcx */
	0x75, 0xf1,		/*       jnz next */
	0xf4,			/*       hlt */
};

struct small_vcpu {
	int fd;
	struct kvm_run *run;
	pthread_mutex_t inside; /* held while it is in the guest */
};

struct small_vm {
	int kvm_fd, vm_fd;
	size_t run_size;
	uint8_t *own;
	struct tide_space *space;
	struct small_vcpu vcpus[SMALL_VM_VCPUS];
	uint32_t vcpu_count;
};

static void build_tables(uint8_t *own)
{
	uint64_t *pml4 = (uint64_t *)(void *)(own + PML4);
	uint64_t *pdpt = (uint64_t *)(void *)(own + PDPT);
	uint64_t *pd = (uint64_t *)(void *)(own + DIRECTORIES);

	pml4[0] = PDPT | PTE_TABLE;
	for (uint64_t i = 0; i < GIGABYTES; i++)
		pdpt[i] = (DIRECTORIES + i * PAGE) | PTE_TABLE;
	for (uint64_t i = 0; i < GIGABYTES * 512; i++)
		pd[i] = i << 21 | PTE_LARGE;
	memcpy(own + CODE, code, sizeof(code));
}

static int own_memory(struct small_vm *vm)
{
	struct kvm_userspace_memory_region region = {
		.slot = OWN_SLOT,
		.memory_size = OWN_BYTES,
	};

	vm->own = mmap(NULL, OWN_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vm->own == MAP_FAILED) {
		vm->own = NULL;
		return -ENOMEM;
	}
	build_tables(vm->own);
	region.userspace_addr = (uintptr_t)vm->own;
	return ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) ? -errno
								     : 0;
}

int small_vm_create(struct small_vm **ret)
{
	struct small_vm *vm = calloc(1, sizeof(*vm));
	int size, err;

	if (!vm)
		return -ENOMEM;
	vm->vm_fd = -1;
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		goto failed;
	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0)
		goto failed;
	size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < 0)
		goto failed;
	vm->run_size = (size_t)size;
	err = own_memory(vm);
	if (err) {
		small_vm_destroy(vm);
		return err;
	}
	*ret = vm;
	return 0;
failed:
	err = -errno;
	small_vm_destroy(vm);
	return err;
}

void small_vm_destroy(struct small_vm *vm)
{
	if (!vm)
		return;
	for (uint32_t v = 0; v < vm->vcpu_count; v++) {
		munmap(vm->vcpus[v].run, vm->run_size);
		close(vm->vcpus[v].fd);
		pthread_mutex_destroy(&vm->vcpus[v].inside);
	}
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	if (vm->own)
		munmap(vm->own, OWN_BYTES);
	free(vm);
}

int small_vm_fd(const struct small_vm *vm)
{
	return vm->vm_fd;
}

void small_vm_space(struct small_vm *vm, struct tide_space *space)
{
	vm->space = space;
}

static void long_mode(struct kvm_sregs *sregs)
{
	struct kvm_segment flat = { .limit = 0xffffffff,
				    .selector = 0x10,
				    .type = 3,
				    .present = 1,
				    .s = 1,
				    .db = 1,
				    .g = 1 };

	sregs->cr3 = PML4;
	sregs->cr4 = CR4_PAE;
	sregs->cr0 = CR0_PE_NE_PG;
	sregs->efer = EFER_LME_LMA;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = flat;
	flat.selector = 0x8;
	flat.type = 11;
	flat.db = 0;
	flat.l = 1;
	sregs->cs = flat;
}

int small_vm_vcpu(struct small_vm *vm)
{
	struct small_vcpu *vcpu = &vm->vcpus[vm->vcpu_count];
	struct kvm_sregs sregs;
	void *run;

	if (vm->vcpu_count == SMALL_VM_VCPUS)
		return -ENOSPC;
	vcpu->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, vm->vcpu_count);
	if (vcpu->fd < 0)
		return -errno;
	run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		   vcpu->fd, 0);
	if (run == MAP_FAILED) {
		close(vcpu->fd);
		return -errno;
	}
	vcpu->run = run;
	pthread_mutex_init(&vcpu->inside, NULL);
	vm->vcpu_count++;
	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return -errno;
	long_mode(&sregs);
	return ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) ? -errno : vcpu->fd;
}

int small_vm_attach(struct small_vm *vm, struct tide_space *space,
		    enum tide_tracker tracker, uint64_t chunk_pages,
		    uint32_t ring_entries)
{
	struct tide_kvm_config config = {
		.size = sizeof(config),
		.vm_fd = vm->vm_fd,
		.chunk_pages = chunk_pages,
		.ring_entries = ring_entries,
		.sync_vcpus = small_vm_sync,
		.opaque = vm,
	};
	int err = tide_space_attach(space, tracker, &config);

	small_vm_space(vm, space);
	for (int v = 0; v < SMALL_VM_VCPUS && !err; v++) {
		int fd = small_vm_vcpu(vm);

		err = fd < 0 ? fd : tide_kvm_vcpu_add(space, fd);
	}
	return err;
}

/* Runs until it halts.  Return: 0; -EFAULT for a write that went nowhere. */
static int run(struct small_vm *vm, struct small_vcpu *vcpu)
{
	int result = 0;

	for (;;) {
		int err;

		pthread_mutex_lock(&vcpu->inside);
		err = ioctl(vcpu->fd, KVM_RUN, 0) ? -errno : 0;
		pthread_mutex_unlock(&vcpu->inside);
		if (err == -EINTR || err == -EAGAIN)
			continue;
		if (err)
			return err;
		switch (vcpu->run->exit_reason) {
		case KVM_EXIT_HLT:
			return result;
		case KVM_EXIT_MMIO:
			result = -EFAULT;
			break;
		case KVM_EXIT_DIRTY_RING_FULL:
			err = vm->space
				      ? tide_kvm_ring_full(vm->space, vcpu->fd)
				      : -ENOSPC;
			if (err < 0)
				return err;
			break;
		default:
			return -EIO;
		}
	}
}

int small_vm_write(struct small_vm *vm, uint32_t v, const uint64_t *gfns,
		   size_t count, uint64_t value)
{
	struct small_vcpu *vcpu = &vm->vcpus[v];
	uint64_t at = LISTS + v * SMALL_VM_LIST * sizeof(uint64_t);
	uint64_t *list = (uint64_t *)(void *)(vm->own + at);
	struct kvm_regs regs = {
		.rip = CODE, .rsi = at, .rcx = count, .rax = value, .rflags = 2
	};

	if (v >= vm->vcpu_count || count > SMALL_VM_LIST)
		return -EINVAL;
	if (!count)
		return 0;
	for (size_t i = 0; i < count; i++)
		list[i] = gfns[i] * PAGE;
	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		return -errno;
	return run(vm, vcpu);
}

/* A list is short: waiting for its end is leaving the guest. */
void small_vm_sync(void *opaque)
{
	struct small_vm *vm = opaque;

	for (uint32_t v = 0; v < vm->vcpu_count; v++) {
		pthread_mutex_lock(&vm->vcpus[v].inside);
		pthread_mutex_unlock(&vm->vcpus[v].inside);
	}
}
