/* SPDX-License-Identifier: MIT */
/*
 * vmm_client.c - a whole VMM that knows which pages its guest wrote
 *
 * A VM on /dev/kvm with one vCPU and a guest of ten bytes, a "device" that
 * writes to guest memory on its own, and a client that keeps a copy of the
 * memory up to date by copying only what was written.  At the end the copy
 * equals the memory, byte by byte.
 *
 *     cc -o vmm_client vmm_client.c $(pkg-config --cflags --libs tidemark)
 *
 * It is C11 and C++17 at once.  Exit status: 0 the copy is equal; 1 it is
 * not, or a call failed; 77 there is no /dev/kvm to try it on.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <tidemark/tidemark.h>
#include <unistd.h>

#define PAGES 256u
#define BYTES (PAGES * TIDE_PAGE_SIZE)
#define GUEST_ENTRY 0x800u
#define DEVICE_GPA (100 * TIDE_PAGE_SIZE + 0x123)

/* 16-bit code.  Adds 1 to the first byte of each of the first 16 pages, then
 * halts, which is where KVM_RUN returns; the next KVM_RUN starts over. */
static const unsigned char guest_code[] = {
	0xfe, 0x07,	  /* again: incb (%bx) */
	0x80, 0xc7, 0x10, /*        addb $0x10, %bh    the next page */
	0x75, 0xf9,	  /*        jnz again          until it wraps */
	0xf4,		  /*        hlt */
	0xeb, 0xf6,	  /*        jmp again */
};

/* The library reports errors as return values; what to do is up to you. */
static void need(const char *what, int err)
{
	if (err >= 0)
		return;
	fprintf(stderr, "vmm_client: %s: %s\n", what, strerror(-err));
	exit(1);
}

static int kvm(const char *what, int fd, unsigned long request, void *argument)
{
	int result = ioctl(fd, request, argument);

	need(what, result < 0 ? -errno : 0);
	return result;
}

/* Real mode, flat from 0, at the guest's first instruction. */
static void set_registers(int vcpu)
{
	struct kvm_sregs special;
	struct kvm_regs regs;

	kvm("KVM_GET_SREGS", vcpu, KVM_GET_SREGS, &special);
	special.cs.base = 0;
	special.cs.selector = 0;
	kvm("KVM_SET_SREGS", vcpu, KVM_SET_SREGS, &special);
	memset(&regs, 0, sizeof(regs));
	regs.rip = GUEST_ENTRY;
	regs.rflags = 2; /* the bit that is always 1 */
	kvm("KVM_SET_REGS", vcpu, KVM_SET_REGS, &regs);
}

/* Let the guest make one round over its 16 pages. */
static void run_guest(int vcpu, struct kvm_run *run)
{
	kvm("KVM_RUN", vcpu, KVM_RUN, NULL);
	if (run->exit_reason != KVM_EXIT_HLT) {
		fprintf(stderr, "vmm_client: unexpected exit %u\n",
			run->exit_reason);
		exit(1);
	}
	/* With TIDE_TRACKER_KVM_RING expect KVM_EXIT_DIRTY_RING_FULL, too, and
	 * answer it with tide_kvm_ring_full(). */
}

/*
 * A device model, DMA or vhost writes without the guest's page tables, so no
 * tracker can see it.  The order matters: write, then mark.  The other way
 * round, a harvest between the two would take the mark, read the old bytes,
 * and never hear of the new ones.
 */
static void device_write(struct tide_space *space, unsigned char *memory)
{
	static const char text[] = "from the device";

	memcpy(memory + DEVICE_GPA, text, sizeof(text));
	need("tide_mark_bytes",
	     tide_mark_bytes(space, DEVICE_GPA, sizeof(text)));
}

/*
 * The heart of every client.  begin collects what was written; next hands it
 * out run by run.  When next returns, the pages of the run are armed again:
 * whatever the guest writes to them from now on will be in the next harvest,
 * so it is safe to read them while the guest runs.  Never read before.
 */
static uint64_t harvest(struct tide_client *client, const unsigned char *memory,
			unsigned char *copy)
{
	struct tide_harvest *open;
	struct tide_extent extent;
	uint64_t pages = 0;
	int more;

	need("tide_harvest_begin", tide_harvest_begin(client, &open));
	while ((more = tide_harvest_next(open, &extent)) > 0) {
		size_t offset = (size_t)((unsigned char *)extent.host - memory);

		memcpy(copy + offset, extent.host,
		       extent.npages * TIDE_PAGE_SIZE);
		pages += extent.npages;
	}
	need("tide_harvest_next", more);
	/* The copy is safe.  Had it failed, tide_harvest_abort() would give
	 * all of these pages back to the next harvest. */
	need("tide_harvest_commit", tide_harvest_commit(open));
	return pages;
}

static unsigned char *map(size_t bytes, int flags, int fd)
{
	void *area = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	need("mmap", area == MAP_FAILED ? -errno : 0);
	return (unsigned char *)area;
}

static int make_vcpu(int kvm_fd, int vm, struct tide_space *space,
		     struct kvm_run **ret_run)
{
	int vcpu = kvm("KVM_CREATE_VCPU", vm, KVM_CREATE_VCPU, NULL);
	int bytes = kvm("KVM_GET_VCPU_MMAP_SIZE", kvm_fd,
			KVM_GET_VCPU_MMAP_SIZE, NULL);

	*ret_run =
		(struct kvm_run *)(void *)map((size_t)bytes, MAP_SHARED, vcpu);
	/* For dirty rings; with the other trackers it does nothing. */
	need("tide_kvm_vcpu_add", tide_kvm_vcpu_add(space, vcpu));
	set_registers(vcpu);
	return vcpu;
}

/* A space with the tracker of your choice; tidemark probe tells which work
 * here.  Attach before the first vCPU exists: a dirty ring could not be turned
 * on later. */
static struct tide_space *make_space(int vm, unsigned char *memory)
{
	struct tide_kvm_config config;
	struct tide_slot_config slot;
	struct tide_space *space;

	memset(&config, 0, sizeof(config));
	config.size = sizeof(config);
	config.vm_fd = vm;
	/* sync_vcpus stays NULL: our vCPU runs in this thread, so it is always
	 * out of the guest during a harvest. */
	need("tide_space_create", tide_space_create(&space));
	need("tide_space_attach",
	     tide_space_attach(space, TIDE_TRACKER_KVM_CLEAR, &config));

	/* This replaces KVM_SET_USER_MEMORY_REGION. */
	memset(&slot, 0, sizeof(slot));
	slot.size = sizeof(slot);
	slot.npages = PAGES;
	slot.host = memory;
	slot.flags = TIDE_SLOT_ANONYMOUS;
	need("tide_slot_add", tide_slot_add(space, &slot));
	return space;
}

static void report(const char *when, struct tide_client *client,
		   const unsigned char *memory, unsigned char *copy)
{
	printf("%-10s %3u pages\n", when,
	       (unsigned)harvest(client, memory, copy));
}

int main(void)
{
	int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	unsigned char *memory = map(BYTES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	unsigned char *copy = map(BYTES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct tide_client *client;
	struct kvm_run *run;

	if (kvm_fd < 0) {
		fprintf(stderr, "vmm_client: /dev/kvm: %s\n", strerror(errno));
		return 77;
	}
	int vm = kvm("KVM_CREATE_VM", kvm_fd, KVM_CREATE_VM, NULL);
	struct tide_space *space = make_space(vm, memory);
	int vcpu = make_vcpu(kvm_fd, vm, space, &run);

	memcpy(memory + GUEST_ENTRY, guest_code, sizeof(guest_code));

	/* The copy is empty, so at first every page is dirty for us. */
	need("tide_client_open",
	     tide_client_open(space, "copy", TIDE_START_ALL_DIRTY, &client));
	report("at first", client, memory, copy);
	run_guest(vcpu, run);
	report("one round", client, memory, copy);
	run_guest(vcpu, run);
	device_write(space, memory);
	report("and device", client, memory, copy);
	report("nothing", client, memory, copy);

	/* Every writer has stopped and one more harvest is done: now what was
	 * not yielded is equal, and so is the whole. */
	int equal = memcmp(memory, copy, BYTES) == 0;

	printf("the copy is %s\n", equal ? "equal" : "NOT EQUAL");
	tide_client_close(client);
	tide_space_destroy(space);
	return equal ? 0 : 1;
}
