/* SPDX-License-Identifier: MIT */
/* side_kvm.c - the kernel's answers, by its ioctls and nothing in between */
#include "side.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kvm.h>

#include "small_vm.h"

struct kvm {
	struct small_vm *vm;
	int fd;
	uint32_t ring_entries; /* 0: no ring */
	uint32_t vcpus;
	struct kvm_dirty_gfn *ring[SIDE_VCPUS];
	uint32_t next[SIDE_VCPUS];
};

static int call(const struct kvm *self, unsigned long request, void *argument)
{
	int ret = ioctl(self->fd, request, argument);

	return ret < 0 ? -errno : ret;
}

static void kvm_destroy(void *opaque)
{
	struct kvm *self = opaque;

	for (uint32_t v = 0; v < SIDE_VCPUS; v++)
		if (self->ring[v])
			munmap(self->ring[v],
			       self->ring_entries * sizeof(*self->ring[v]));
	small_vm_destroy(self->vm);
	free(self);
}

static int kvm_create(bool paged, void **ret_self)
{
	struct kvm *self = calloc(1, sizeof(*self));
	int err;

	(void)paged; /* the CPU cannot do without, in long mode */
	if (!self)
		return -ENOMEM;
	err = small_vm_create(&self->vm);
	if (err) {
		free(self);
		return err;
	}
	self->fd = small_vm_fd(self->vm);
	*ret_self = self;
	return 0;
}

static int kvm_region(void *self, const struct side_region *region)
{
	struct kvm_userspace_memory_region argument = {
		.slot = region->slot,
		.flags = region->flags,
		.guest_phys_addr = region->gpa,
		.memory_size = region->bytes,
		.userspace_addr = region->host,
	};

	return call(self, KVM_SET_USER_MEMORY_REGION, &argument);
}

static int kvm_get(void *self, uint32_t slot, uint64_t *words)
{
	struct kvm_dirty_log argument = { .slot = slot, .dirty_bitmap = words };

	return call(self, KVM_GET_DIRTY_LOG, &argument);
}

static int kvm_clear(void *self, uint32_t slot, uint64_t first_page,
		     uint32_t npages, const uint64_t *words)
{
	struct kvm_clear_dirty_log argument = {
		.slot = slot,
		.num_pages = npages,
		.first_page = first_page,
		.padding2 = (uintptr_t)words,
	};

	return call(self, KVM_CLEAR_DIRTY_LOG, &argument);
}

static int enable(void *self, uint32_t cap, uint64_t argument)
{
	struct kvm_enable_cap it = { .cap = cap, .args = { argument } };

	return call(self, KVM_ENABLE_CAP, &it);
}

static int kvm_manual(void *self, uint64_t options)
{
	return enable(self, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, options);
}

static int kvm_ring(void *opaque, uint64_t bytes)
{
	struct kvm *self = opaque;
	int err = enable(self, KVM_CAP_DIRTY_LOG_RING, bytes);

	if (!err)
		self->ring_entries =
			(uint32_t)bytes / sizeof(struct kvm_dirty_gfn);
	return err;
}

static int kvm_reset(void *self)
{
	return call(self, KVM_RESET_DIRTY_RINGS, NULL);
}

static uint32_t kvm_spaces(void *opaque)
{
	const struct kvm *self = opaque;
	int count = ioctl(self->fd, KVM_CHECK_EXTENSION,
			  KVM_CAP_MULTI_ADDRESS_SPACE);

	return count > 1 ? (uint32_t)count : 1;
}

static int kvm_vcpu(void *opaque)
{
	struct kvm *self = opaque;
	int fd = small_vm_vcpu(self->vm);
	void *ring;

	if (fd < 0)
		return fd;
	if (self->ring_entries) {
		ring = mmap(NULL, self->ring_entries * sizeof(**self->ring),
			    PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    KVM_DIRTY_LOG_PAGE_OFFSET * sysconf(_SC_PAGESIZE));
		if (ring == MAP_FAILED)
			return -errno;
		self->ring[self->vcpus] = ring;
	}
	self->vcpus++;
	return 0;
}

static int kvm_write(void *opaque, uint32_t vcpu, const uint64_t *gfns,
		     size_t count, uint64_t value)
{
	struct kvm *self = opaque;

	return small_vm_write(self->vm, vcpu, gfns, count, value);
}

static int kvm_harvest(void *opaque,
		       void (*found)(void *opaque, uint32_t slot,
				     uint64_t offset),
		       void *found_opaque)
{
	struct kvm *self = opaque;
	int count = 0;

	for (uint32_t v = 0; v < self->vcpus && self->ring_entries; v++) {
		for (;; count++) {
			struct kvm_dirty_gfn *entry =
				&self->ring[v]
					   [self->next[v] % self->ring_entries];

			if (__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) !=
			    KVM_DIRTY_GFN_F_DIRTY)
				break;
			found(found_opaque, entry->slot, entry->offset);
			__atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET,
					 __ATOMIC_RELEASE);
			self->next[v]++;
		}
	}
	return count;
}

const struct side side_kvm = {
	.name = "kvm",
	.create = kvm_create,
	.destroy = kvm_destroy,
	.region = kvm_region,
	.get = kvm_get,
	.clear = kvm_clear,
	.manual = kvm_manual,
	.ring = kvm_ring,
	.reset = kvm_reset,
	.spaces = kvm_spaces,
	.vcpu = kvm_vcpu,
	.write = kvm_write,
	.harvest = kvm_harvest,
};
