/* SPDX-License-Identifier: MIT */
/*
 * probe.c - does a mechanism really work on this host? (C8)
 *
 * Theory of operation
 * -------------------
 * A VM with a few pages of tables and code and a slot of PAGES pages.  Its
 * vCPU writes a byte to each page and comes out by a port.  A client of a
 * space over that slot must then see exactly those pages, see none when
 * nothing was written, and see them again after the next pass.  Some kernels
 * answer every ioctl and log nothing: only a real write tells.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tidemark/client.h>
#include <tidemark/probe.h>
#include <tidemark/space.h>

#include "base/clock.h"
#include "tracker/kvm_tracker.h"
#include "tracker/long_mode.h"

#define PAGES 64u
#define LOW_PAGES 6u /* tables, then one page of code, from gpa 0 on */
#define CODE_GPA 0x5000u
#define DATA_GFN 0x10u
#define DATA_SLOT 1u
#define PORT 0x10u

_Static_assert(CODE_GPA >= TIDE_LONG_MODE_PD + TIDE_PAGE_SIZE,
	       "the code lies above the tables");

/* The host sets rdi to the first page, bl to the value, ecx to PAGES. */
static const uint8_t code[] = {
	0x88, 0x1f,				  /* mov [rdi], bl */
	0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, /* add rdi, 0x1000 */
	0xff, 0xc9,				  /* dec ecx */
	0x75, 0xf3,				  /* jnz -13 */
	0xe6, PORT,				  /* out PORT, al */
};

struct probe {
	struct tide_probe_result *result;
	int kvm_fd, vm_fd, vcpu_fd;
	struct kvm_run *run;
	size_t run_size;
	unsigned char *memory; /* the low pages, then PAGES of data */
	struct tide_space *space;
	struct tide_client *client;
};

/* Says why it does not work.  Return: @err. */
static int fail(struct probe *probe, const char *step, int err)
{
	const char *description = strerrordesc_np(-err);

	probe->result->error = err;
	snprintf(probe->result->why, sizeof(probe->result->why), "%s: %s", step,
		 description ? description : "unknown error");
	return err;
}

static int open_vm(struct probe *probe)
{
	probe->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (probe->kvm_fd < 0)
		return fail(probe, "open /dev/kvm", -errno);
	probe->vm_fd = tide_kvm_ioctl(probe->kvm_fd, KVM_CREATE_VM, NULL);
	if (probe->vm_fd < 0)
		return fail(probe, "create a VM", probe->vm_fd);
	probe->memory = mmap(NULL, (LOW_PAGES + PAGES) * TIDE_PAGE_SIZE,
			     PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (probe->memory == MAP_FAILED) {
		probe->memory = NULL;
		return fail(probe, "map memory", -errno);
	}
	tide_long_mode_tables(probe->memory, 1);
	memcpy(probe->memory + CODE_GPA, code, sizeof(code));
	return 0;
}

/* Attaching tells whether the kernel says that it has the mechanism. */
static int attach(struct probe *probe)
{
	struct tide_kvm_config config = { .vm_fd = probe->vm_fd };
	int err = tide_space_create(&probe->space);

	if (err)
		return fail(probe, "create a space", err);
	err = tide_space_attach(probe->space, probe->result->tracker, &config);
	if (err)
		return fail(probe, "the kernel does not offer it", err);
	probe->result->supported = 1;
	return 0;
}

static int add_slots(struct probe *probe)
{
	struct tide_slot_config slot = {
		.id = 0,
		.flags = TIDE_SLOT_UNLOGGED,
		.first_gfn = 0,
		.npages = LOW_PAGES,
		.host = probe->memory,
	};
	int err = tide_slot_add(probe->space, &slot);

	if (err)
		return fail(probe, "add a slot", err);
	slot = (struct tide_slot_config){
		.id = DATA_SLOT,
		.first_gfn = DATA_GFN,
		.npages = PAGES,
		.host = probe->memory + LOW_PAGES * TIDE_PAGE_SIZE,
	};
	err = tide_slot_add(probe->space, &slot);
	return err ? fail(probe, "add a slot", err) : 0;
}

static int create_vcpu(struct probe *probe)
{
	int size = tide_kvm_ioctl(probe->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
	int err;

	if (size < 0)
		return fail(probe, "size of kvm_run", size);
	probe->vcpu_fd = tide_kvm_ioctl(probe->vm_fd, KVM_CREATE_VCPU, NULL);
	if (probe->vcpu_fd < 0)
		return fail(probe, "create a vCPU", probe->vcpu_fd);
	probe->run_size = (size_t)size;
	probe->run = mmap(NULL, probe->run_size, PROT_READ | PROT_WRITE,
			  MAP_SHARED, probe->vcpu_fd, 0);
	if (probe->run == MAP_FAILED) {
		probe->run = NULL;
		return fail(probe, "map kvm_run", -errno);
	}
	err = tide_kvm_vcpu_add(probe->space, probe->vcpu_fd);
	return err ? fail(probe, "map the ring", err) : 0;
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
			return fail(probe, "run the guest", err);
		if (probe->run->exit_reason == KVM_EXIT_IO)
			return 0;
		if (probe->run->exit_reason != KVM_EXIT_DIRTY_RING_FULL)
			return fail(probe, "the guest went astray", -EIO);
		err = tide_kvm_ring_full(probe->space, probe->vcpu_fd);
		if (err < 0)
			return fail(probe, "empty the ring", err);
	}
}

/* The guest writes @value to every page.  Return: 0 or a negative errno. */
static int guest_pass(struct probe *probe, uint8_t value, uint64_t *ret_ns)
{
	const uint8_t *data = probe->memory + LOW_PAGES * TIDE_PAGE_SIZE;
	struct kvm_regs regs = {
		.rip = CODE_GPA,
		.rdi = DATA_GFN << TIDE_PAGE_SHIFT,
		.rbx = value,
		.rcx = PAGES,
	};
	int err = tide_long_mode_enter(probe->vcpu_fd, &regs);
	uint64_t begin_ns = tide_now_ns();

	if (err)
		return fail(probe, "set registers", err);
	err = run_to_port(probe);
	if (err)
		return err;
	*ret_ns = (tide_now_ns() - begin_ns) / PAGES;
	err = finish_io(probe);
	if (err)
		return fail(probe, "run the guest", err);
	for (uint32_t i = 0; i < PAGES; i++) {
		if (data[i * TIDE_PAGE_SIZE] != value)
			return fail(probe, "the guest did not write", -EIO);
	}
	return 0;
}

/* One harvest; @expect pages must come, all of the data slot or none. */
static int harvest(struct probe *probe, uint64_t expect, const char *otherwise,
		   uint64_t *ret_ns)
{
	uint64_t begin_ns = tide_now_ns();
	struct tide_harvest *harvest;
	struct tide_extent extent;
	uint64_t pages = 0;
	int ret = tide_harvest_begin(probe->client, &harvest);

	if (ret)
		return fail(probe, "collect the log", ret);
	while ((ret = tide_harvest_next(harvest, &extent)) > 0) {
		if (extent.slot == DATA_SLOT)
			pages += extent.npages;
	}
	if (ret < 0) {
		tide_harvest_abort(harvest);
		return fail(probe, "re-arm", ret);
	}
	ret = tide_harvest_commit(harvest);
	if (ret)
		return fail(probe, "commit", ret);
	*ret_ns = tide_now_ns() - begin_ns;
	return pages == expect ? 0 : fail(probe, otherwise, -EIO);
}

static int try_it(struct probe *probe)
{
	struct tide_probe_result *result = probe->result;
	uint64_t begin_ns, ns;
	int err = guest_pass(probe, 1, &ns); /* maps the pages */

	if (err)
		return err;
	begin_ns = tide_now_ns();
	err = tide_client_open(probe->space, "probe", TIDE_START_CLEAN,
			       &probe->client);
	result->arm_ns = tide_now_ns() - begin_ns;
	if (err)
		return fail(probe, "turn logging on", err);
	err = guest_pass(probe, 2, &result->write_ns);
	if (!err)
		err = guest_pass(probe, 3, &result->write_again_ns);
	if (!err)
		err = harvest(probe, PAGES, "a write was not seen",
			      &result->harvest_dirty_ns);
	if (!err)
		err = harvest(probe, 0, "a page did not become clean",
			      &result->harvest_clean_ns);
	if (!err)
		err = guest_pass(probe, 4, &ns);
	if (!err)
		err = harvest(probe, PAGES, "a write after clearing was lost",
			      &ns);
	if (err)
		return err;
	result->pages = PAGES;
	result->works = 1;
	return 0;
}

static void clean_up(struct probe *probe)
{
	tide_client_close(probe->client);
	tide_space_destroy(probe->space);
	if (probe->run)
		munmap(probe->run, probe->run_size);
	if (probe->memory)
		munmap(probe->memory, (LOW_PAGES + PAGES) * TIDE_PAGE_SIZE);
	if (probe->vcpu_fd >= 0)
		close(probe->vcpu_fd);
	if (probe->vm_fd >= 0)
		close(probe->vm_fd);
	if (probe->kvm_fd >= 0)
		close(probe->kvm_fd);
}

int tide_probe(enum tide_tracker tracker, struct tide_probe_result *ret)
{
	struct probe probe = {
		.result = ret,
		.kvm_fd = -1,
		.vm_fd = -1,
		.vcpu_fd = -1,
	};
	int saved = errno;
	int err;

	if (tracker <= TIDE_TRACKER_NONE || tracker >= TIDE_TRACKER_COUNT)
		return -EINVAL;
	*ret = (struct tide_probe_result){ .tracker = tracker };
	err = open_vm(&probe);
	if (!err)
		err = attach(&probe);
	if (!err)
		err = add_slots(&probe);
	if (!err)
		err = create_vcpu(&probe);
	if (!err)
		(void)try_it(&probe); /* it says why itself */
	clean_up(&probe);
	errno = saved;
	return 0;
}
