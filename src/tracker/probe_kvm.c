/* SPDX-License-Identifier: MIT */
/*
 * probe_kvm.c - the probe's guest on KVM
 *
 * A VM with a few pages of tables and code, and the slot.  Its vCPU writes to
 * each page and comes out by a port.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "tracker/kvm_tracker.h"
#include "tracker/long_mode.h"
#include "tracker/probe_machine.h"

#define LOW_PAGES 6u /* tables, then one page of code, from gpa 0 on */
#define CODE_GPA 0x5000u
#define PORT 0x10u

_Static_assert(CODE_GPA >= TIDE_LONG_MODE_PD + TIDE_PAGE_SIZE,
	       "the code lies above the tables");

/* The host sets rdi to the first page, bl to the value, ecx to PROBE_PAGES. */
static const uint8_t code[] = {
	0x88, 0x1f,				  /* mov [rdi], bl */
	0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, /* add rdi, 0x1000 */
	0xff, 0xc9,				  /* dec ecx */
	0x75, 0xf3,				  /* jnz -13 */
	0xe6, PORT,				  /* out PORT, al */
};

static int open_vm(struct probe *probe)
{
	probe->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (probe->kvm_fd < 0)
		return probe_fail(probe, "open /dev/kvm", -errno);
	probe->vm_fd = tide_kvm_ioctl(probe->kvm_fd, KVM_CREATE_VM, NULL);
	if (probe->vm_fd < 0)
		return probe_fail(probe, "create a VM", probe->vm_fd);
	return 0;
}

static int load_code(struct probe *probe)
{
	int err = probe_map(probe, LOW_PAGES + PROBE_PAGES);

	if (err)
		return err;
	probe->data = probe->memory + LOW_PAGES * TIDE_PAGE_SIZE;
	tide_long_mode_tables(probe->memory, 1);
	memcpy(probe->memory + CODE_GPA, code, sizeof(code));
	return 0;
}

static int add_slots(struct probe *probe)
{
	const struct tide_slot_config low = {
		.id = 0,
		.flags = TIDE_SLOT_UNLOGGED,
		.first_gfn = 0,
		.npages = LOW_PAGES,
		.host = probe->memory,
	};
	const struct tide_slot_config data = {
		.id = PROBE_SLOT,
		.first_gfn = PROBE_GFN,
		.npages = PROBE_PAGES,
		.host = probe->data,
	};
	int err = probe_add_slot(probe, &low);

	return err ? err : probe_add_slot(probe, &data);
}

static int create_vcpu(struct probe *probe)
{
	int size = tide_kvm_ioctl(probe->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
	int err;

	if (size < 0)
		return probe_fail(probe, "size of kvm_run", size);
	probe->vcpu_fd = tide_kvm_ioctl(probe->vm_fd, KVM_CREATE_VCPU, NULL);
	if (probe->vcpu_fd < 0)
		return probe_fail(probe, "create a vCPU", probe->vcpu_fd);
	probe->run_size = (size_t)size;
	probe->run = mmap(NULL, probe->run_size, PROT_READ | PROT_WRITE,
			  MAP_SHARED, probe->vcpu_fd, 0);
	if (probe->run == MAP_FAILED) {
		probe->run = NULL;
		return probe_fail(probe, "map kvm_run", -errno);
	}
	err = tide_kvm_vcpu_add(probe->space, probe->vcpu_fd);
	return err ? probe_fail(probe, "map the ring", err) : 0;
}

/* Lets the port instruction finish, so that registers may be set. */
static int finish_io(struct probe *probe)
{
	int err;

	probe->run->immediate_exit = 1;
	err = tide_kvm_ioctl(probe->vcpu_fd, KVM_RUN, NULL);
	probe->run->immediate_exit = 0;
	return err == -EINTR ? 0 : err;
}

static int run_to_port(struct probe *probe)
{
	assert(probe->run); /* mapped with the vCPU */
	for (;;) {
		int err = tide_kvm_ioctl(probe->vcpu_fd, KVM_RUN, NULL);

		if (err == -EINTR)
			continue;
		if (err)
			return probe_fail(probe, "run the guest", err);
		if (probe->run->exit_reason == KVM_EXIT_IO)
			return 0;
		if (probe->run->exit_reason != KVM_EXIT_DIRTY_RING_FULL)
			return probe_fail(probe, "the guest went astray", -EIO);
		err = tide_kvm_ring_full(probe->space, probe->vcpu_fd);
		if (err < 0)
			return probe_fail(probe, "empty the ring", err);
	}
}

static int kvm_pass(struct probe *probe, uint8_t value, uint64_t *ret_ns)
{
	struct kvm_regs regs = {
		.rip = CODE_GPA,
		.rdi = PROBE_GFN << TIDE_PAGE_SHIFT,
		.rbx = value,
		.rcx = PROBE_PAGES,
	};
	int err = tide_long_mode_enter(probe->vcpu_fd, &regs);
	uint64_t begin_ns = tide_now_ns();

	if (err)
		return probe_fail(probe, "set registers", err);
	err = run_to_port(probe);
	if (err)
		return err;
	*ret_ns = (tide_now_ns() - begin_ns) / PROBE_PAGES;
	err = finish_io(probe);
	return err ? probe_fail(probe, "run the guest", err) : 0;
}

static int kvm_open(struct probe *probe)
{
	struct tide_kvm_config config = { 0 };
	int err = open_vm(probe);

	if (!err)
		err = load_code(probe);
	config.vm_fd = probe->vm_fd;
	if (!err)
		err = probe_attach(probe, &config);
	if (!err)
		err = add_slots(probe);
	return err ? err : create_vcpu(probe);
}

static void kvm_close(struct probe *probe)
{
	if (probe->run)
		munmap(probe->run, probe->run_size);
	if (probe->memory)
		munmap(probe->memory,
		       (LOW_PAGES + PROBE_PAGES) * TIDE_PAGE_SIZE);
	if (probe->vcpu_fd >= 0)
		close(probe->vcpu_fd);
	if (probe->vm_fd >= 0)
		close(probe->vm_fd);
	if (probe->kvm_fd >= 0)
		close(probe->kvm_fd);
}

const struct probe_machine probe_kvm = {
	.open = kvm_open,
	.pass = kvm_pass,
	.close = kvm_close,
};
