/* SPDX-License-Identifier: MIT */
/*
 * sim_kernel.c - the part of KVM that logs dirty pages, in user space
 *
 * Theory of operation
 * -------------------
 * A page of a slot is unmapped, mapped read-only or mapped writable (with PML:
 * D clear or D set).  A vCPU that has written a page keeps a writable
 * translation in its TLB, and writes through it without being seen, until a
 * flush.  A write without one walks the page table; on a page that is not
 * writable it faults, which marks it dirty (bitmap or ring) and makes it
 * writable.  With PML the walk sets D and puts the page in the vCPU's PML
 * buffer, which is drained into the log when the vCPU leaves guest mode.
 *
 * GET, CLEAR and RESET consume, protect, and flush at the end, as
 * virt/kvm/kvm_main.c and dirty_ring.c do; the hook may write in between.
 *
 * The descriptors are real ones (memfd), so that mmap of a ring and close work
 * without help.
 *
 * Synchronisation: slots_lock serialises calls; mmu_lock covers everything
 * that a write touches, guest memory included.  Ring entries are shared with
 * user space by their flags, acquire and release on both sides.
 */
#include "sim_kernel.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u
#define RING_PAGE_OFFSET 64u
#define RING_RESERVED 64u
#define RING_ENTRIES_MAX 65536u
#define SLOT_IDS 32764u
#define SLOT_PAGES_MAX ((1ull << 31) - 1)
#define ADDRESS_MAX (1ull << 52)
#define VMS_MAX 16
#define PML_MAX 512u
#define MANUAL_BOTH \
	(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET)

enum { PTE_NONE, PTE_READ, PTE_WRITE };

struct sim_slot {
	struct sim_slot *next;
	struct kvm_userspace_memory_region region;
	uint64_t first_gfn, npages;
	uint64_t *bitmap;   /* NULL: not logged, or a ring-only VM */
	unsigned char *pte; /* one a page */
	unsigned char *tlb; /* bit v: vCPU v has it writable */
};

struct sim_vcpu {
	int fd;
	struct kvm_dirty_gfn *ring; /* mapped from fd */
	uint32_t dirty_index, reset_index;
	uint32_t unwatched; /* writes until it looks for a full ring */
	uint32_t pml_count;
	uint64_t pml[PML_MAX];
};

struct sim_vm {
	int fd;
	struct sim_config config;
	pthread_mutex_t slots_lock;
	pthread_mutex_t mmu_lock;
	struct sim_slot *slots;
	struct sim_vcpu vcpus[SIM_VCPUS_MAX];
	uint32_t vcpu_count;
	uint32_t ring_entries; /* 0: no rings */
	uint64_t manual;

	void (*hook)(void *opaque, unsigned long request, enum sim_stage stage);
	void *opaque;

	unsigned long fail_request;
	uint32_t fail_countdown, fail_times;
	int fail_error;
	bool fail_late;
	uint32_t failed;
	uint64_t calls[256]; /* by ioctl number */
	struct kvm_clear_dirty_log last_clear;
};

static struct sim_vm *vms[VMS_MAX];
static pthread_mutex_t vms_lock = PTHREAD_MUTEX_INITIALIZER;

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

/* ---- objects ---- */

static struct sim_vm *vm_by_fd(int fd)
{
	struct sim_vm *found = NULL;

	pthread_mutex_lock(&vms_lock);
	for (int i = 0; i < VMS_MAX; i++)
		if (vms[i] && vms[i]->fd == fd)
			found = vms[i];
	pthread_mutex_unlock(&vms_lock);
	return found;
}

static bool vm_register(struct sim_vm *vm)
{
	bool done = false;

	pthread_mutex_lock(&vms_lock);
	for (int i = 0; i < VMS_MAX && !done; i++) {
		if (!vms[i]) {
			vms[i] = vm;
			done = true;
		}
	}
	pthread_mutex_unlock(&vms_lock);
	return done;
}

int sim_vm_create(const struct sim_config *config, struct sim_vm **ret)
{
	struct sim_vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return -ENOMEM;
	vm->config = *config;
	vm->fd = memfd_create("sim-vm", MFD_CLOEXEC);
	if (vm->fd < 0) {
		int err = -errno;

		free(vm);
		return err;
	}
	pthread_mutex_init(&vm->slots_lock, NULL);
	pthread_mutex_init(&vm->mmu_lock, NULL);
	if (!vm_register(vm)) {
		sim_vm_destroy(vm);
		return -ENOMEM;
	}
	*ret = vm;
	return 0;
}

static void slot_free(struct sim_slot *slot)
{
	if (!slot)
		return;
	free(slot->bitmap);
	free(slot->pte);
	free(slot->tlb);
	free(slot);
}

static size_t ring_bytes(const struct sim_vm *vm)
{
	return (size_t)vm->ring_entries * sizeof(struct kvm_dirty_gfn);
}

void sim_vm_destroy(struct sim_vm *vm)
{
	struct sim_slot *next;

	if (!vm)
		return;
	pthread_mutex_lock(&vms_lock);
	for (int i = 0; i < VMS_MAX; i++)
		if (vms[i] == vm)
			vms[i] = NULL;
	pthread_mutex_unlock(&vms_lock);
	for (struct sim_slot *slot = vm->slots; slot; slot = next) {
		next = slot->next;
		slot_free(slot);
	}
	for (uint32_t v = 0; v < vm->vcpu_count; v++) {
		if (vm->vcpus[v].ring)
			munmap(vm->vcpus[v].ring, ring_bytes(vm));
		close(vm->vcpus[v].fd);
	}
	close(vm->fd);
	pthread_mutex_destroy(&vm->slots_lock);
	pthread_mutex_destroy(&vm->mmu_lock);
	free(vm);
}

int sim_vm_fd(const struct sim_vm *vm)
{
	return vm->fd;
}

static int vcpu_map_ring(struct sim_vm *vm, struct sim_vcpu *vcpu)
{
	off_t offset = (off_t)RING_PAGE_OFFSET * PAGE;
	void *ring;

	if (ftruncate(vcpu->fd, offset + (off_t)ring_bytes(vm)))
		return -errno;
	ring = mmap(NULL, ring_bytes(vm), PROT_READ | PROT_WRITE, MAP_SHARED,
		    vcpu->fd, offset);
	if (ring == MAP_FAILED)
		return -errno;
	vcpu->ring = ring;
	return 0;
}

int sim_vcpu_create(struct sim_vm *vm)
{
	struct sim_vcpu *vcpu = &vm->vcpus[vm->vcpu_count];
	int err;

	if (vm->vcpu_count == SIM_VCPUS_MAX)
		return -EINVAL;
	vcpu->fd = memfd_create("sim-vcpu", MFD_CLOEXEC);
	if (vcpu->fd < 0)
		return -errno;
	if (vm->ring_entries) {
		err = vcpu_map_ring(vm, vcpu);
		if (err) {
			close(vcpu->fd);
			return err;
		}
	}
	vm->vcpu_count++;
	return vcpu->fd;
}

static struct sim_slot *slot_by_id(struct sim_vm *vm, uint32_t id)
{
	for (struct sim_slot *slot = vm->slots; slot; slot = slot->next)
		if (slot->region.slot == id)
			return slot;
	return NULL;
}

static struct sim_slot *slot_by_gfn(struct sim_vm *vm, uint64_t gfn)
{
	for (struct sim_slot *slot = vm->slots; slot; slot = slot->next)
		if (gfn >= slot->first_gfn &&
		    gfn - slot->first_gfn < slot->npages)
			return slot;
	return NULL;
}

static size_t bitmap_words(const struct sim_slot *slot)
{
	return (size_t)((slot->npages + 63) / 64);
}

static bool is_logging(const struct sim_slot *slot)
{
	return slot->region.flags & KVM_MEM_LOG_DIRTY_PAGES;
}

static bool bit_test(const struct sim_slot *slot, uint64_t page)
{
	return slot->bitmap[page / 64] >> (page % 64) & 1;
}

/* ---- the guest's side; mmu_lock held ---- */

static void flush_slot(struct sim_slot *slot)
{
	memset(slot->tlb, 0, (size_t)slot->npages);
}

static void flush_all(struct sim_vm *vm)
{
	for (struct sim_slot *slot = vm->slots; slot; slot = slot->next)
		flush_slot(slot);
}

static bool soft_full(const struct sim_vm *vm, const struct sim_vcpu *vcpu)
{
	uint32_t reserved = RING_RESERVED + vm->config.pml_entries;

	if (vm->config.ring_reserved)
		reserved = vm->config.ring_reserved;
	return vcpu->ring && vcpu->dirty_index - vcpu->reset_index >=
				     vm->ring_entries - reserved;
}

/* kvm_dirty_ring_push(): fields first, flags with release. */
static void ring_push(struct sim_vm *vm, struct sim_vcpu *vcpu,
		      const struct sim_slot *slot, uint64_t page)
{
	struct kvm_dirty_gfn *entry =
		&vcpu->ring[vcpu->dirty_index & (vm->ring_entries - 1)];

	if (vcpu->dirty_index - vcpu->reset_index >= vm->ring_entries &&
	    !vm->config.ring_blind)
		abort(); /* the simulator let a vCPU run with a full ring */
	entry->slot = slot->region.slot;
	entry->offset = page;
	__atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_DIRTY,
			 __ATOMIC_RELEASE);
	vcpu->dirty_index++;
}

static void mark_dirty(struct sim_vm *vm, struct sim_vcpu *vcpu,
		       struct sim_slot *slot, uint64_t page)
{
	if (!is_logging(slot))
		return;
	if (vcpu->ring)
		ring_push(vm, vcpu, slot, page);
	else if (slot->bitmap)
		slot->bitmap[page / 64] |= 1ull << (page % 64);
}

static void pml_drain(struct sim_vm *vm, struct sim_vcpu *vcpu)
{
	for (uint32_t i = 0; i < vcpu->pml_count; i++) {
		struct sim_slot *slot = slot_by_gfn(vm, vcpu->pml[i]);

		if (slot)
			mark_dirty(vm, vcpu, slot,
				   vcpu->pml[i] - slot->first_gfn);
	}
	vcpu->pml_count = 0;
}

static void pml_drain_all(struct sim_vm *vm)
{
	for (uint32_t v = 0; v < vm->vcpu_count; v++)
		pml_drain(vm, &vm->vcpus[v]);
}

/* A walk that finds the page not writable, or its D clear. */
static void write_fault(struct sim_vm *vm, struct sim_vcpu *vcpu,
			struct sim_slot *slot, uint64_t page)
{
	bool pml = vm->config.pml_entries && is_logging(slot);

	if (slot->pte[page] == PTE_NONE || !pml) {
		mark_dirty(vm, vcpu, slot, page); /* then make it writable */
	} else {
		if (vcpu->pml_count == vm->config.pml_entries)
			pml_drain(vm, vcpu); /* the PML-full exit */
		vcpu->pml[vcpu->pml_count++] = slot->first_gfn + page;
	}
	slot->pte[page] = PTE_WRITE;
}

static int write_locked(struct sim_vm *vm, uint32_t v, uint64_t gfn,
			uint64_t value)
{
	struct sim_vcpu *vcpu = &vm->vcpus[v];
	struct sim_slot *slot = slot_by_gfn(vm, gfn);
	uint64_t page;
	uint64_t *at;

	if (vcpu->unwatched) {
		vcpu->unwatched--;
	} else if (soft_full(vm, vcpu)) {
		return -EAGAIN;
	} else {
		vcpu->unwatched = vm->config.ring_blind;
	}
	if (!slot || slot->region.flags & KVM_MEM_READONLY)
		return -EFAULT;
	page = gfn - slot->first_gfn;
	if (!(slot->tlb[page] & 1u << v)) {
		if (slot->pte[page] != PTE_WRITE)
			write_fault(vm, vcpu, slot, page);
		slot->tlb[page] |= (unsigned char)(1u << v);
	}
	at = (uint64_t *)(uintptr_t)(slot->region.userspace_addr + page * PAGE);
	/* Relaxed: memory, as a guest sees it. */
	__atomic_store_n(at, value, __ATOMIC_RELAXED);
	return 0;
}

int sim_write(struct sim_vm *vm, uint32_t vcpu, uint64_t gfn, uint64_t value)
{
	int ret;

	if (vcpu >= vm->vcpu_count)
		return -EINVAL;
	pthread_mutex_lock(&vm->mmu_lock);
	ret = write_locked(vm, vcpu, gfn, value);
	pthread_mutex_unlock(&vm->mmu_lock);
	return ret;
}

int sim_fault(struct sim_vm *vm, uint32_t vcpu, uint64_t gfn)
{
	struct sim_slot *slot;
	int err = -EFAULT;

	pthread_mutex_lock(&vm->mmu_lock);
	slot = slot_by_gfn(vm, gfn);
	if (slot && slot->pte[gfn - slot->first_gfn] != PTE_WRITE) {
		write_fault(vm, &vm->vcpus[vcpu], slot, gfn - slot->first_gfn);
		err = 0;
	}
	pthread_mutex_unlock(&vm->mmu_lock);
	return err;
}

void sim_kick(struct sim_vm *vm)
{
	pthread_mutex_lock(&vm->mmu_lock);
	pml_drain_all(vm);
	pthread_mutex_unlock(&vm->mmu_lock);
}

/* ---- calls ---- */

static void hook(struct sim_vm *vm, unsigned long request, enum sim_stage stage)
{
	if (vm->hook)
		vm->hook(vm->opaque, request, stage);
}

/* Should this call fail now (@late: after its work)? */
static int failure(struct sim_vm *vm, unsigned long request, bool late)
{
	if (vm->fail_request && vm->fail_request != request)
		return 0;
	if (!vm->fail_times || vm->fail_late != late)
		return 0;
	if (vm->fail_countdown && --vm->fail_countdown)
		return 0;
	vm->fail_times--;
	vm->failed++;
	return -vm->fail_error;
}

static void protect(struct sim_slot *slot, uint64_t page)
{
	if (slot->pte[page] == PTE_WRITE)
		slot->pte[page] = PTE_READ;
}

static void protect_word(struct sim_slot *slot, uint64_t word, uint64_t mask)
{
	for (; mask; mask &= mask - 1) {
		uint64_t page = word * 64 + (uint64_t)__builtin_ctzll(mask);

		if (page < slot->npages)
			protect(slot, page);
	}
}

/* Which slot of an as_id << 16 | id, with KVM's order of checks. */
static int log_slot(struct sim_vm *vm, uint32_t id, struct sim_slot **ret)
{
	if (vm->ring_entries)
		return -ENXIO;
	if (id >> 16 || (id & 0xffff) >= SLOT_IDS)
		return -EINVAL;
	*ret = slot_by_id(vm, id);
	return *ret && (*ret)->bitmap ? 0 : -ENOENT;
}

static int call_get(struct sim_vm *vm, struct kvm_dirty_log *log)
{
	struct sim_slot *slot;
	uint64_t *out = log->dirty_bitmap;
	int err = log_slot(vm, log->slot, &slot);

	if (err)
		return err;
	err = failure(vm, KVM_GET_DIRTY_LOG, false);
	if (err)
		return err;
	pthread_mutex_lock(&vm->mmu_lock);
	pml_drain_all(vm);
	memcpy(out, slot->bitmap, bitmap_words(slot) * sizeof(*out));
	if (vm->config.dirty_tail && slot->npages % 64)
		out[bitmap_words(slot) - 1] |= ~0ull << (slot->npages % 64);
	if (!vm->manual) {
		for (size_t w = 0; w < bitmap_words(slot); w++) {
			slot->bitmap[w] = 0;
			protect_word(slot, w, out[w]);
		}
		pthread_mutex_unlock(&vm->mmu_lock);
		hook(vm, KVM_GET_DIRTY_LOG, SIM_TAKEN);
		pthread_mutex_lock(&vm->mmu_lock);
		flush_slot(slot);
	}
	pthread_mutex_unlock(&vm->mmu_lock);
	err = failure(vm, KVM_GET_DIRTY_LOG, true);
	if (err) /* the copy-out fault: what it took is lost */
		memset(out, 0, bitmap_words(slot) * sizeof(*out) / 2);
	return err;
}

static int clear_check(struct sim_vm *vm, const struct kvm_clear_dirty_log *log,
		       struct sim_slot **ret)
{
	uint64_t npages;
	int err;

	if (!vm->ring_entries && log->first_page & 63)
		return -EINVAL;
	err = log_slot(vm, log->slot, ret);
	if (err)
		return err;
	npages = (*ret)->npages;
	if (log->first_page > npages ||
	    log->num_pages > npages - log->first_page ||
	    (log->num_pages < npages - log->first_page && log->num_pages & 63))
		return -EINVAL;
	return 0;
}

static int call_clear(struct sim_vm *vm, const struct kvm_clear_dirty_log *log)
{
	struct sim_slot *slot;
	const uint64_t *request = log->dirty_bitmap;
	int err = clear_check(vm, log, &slot);

	vm->last_clear = *log;
	if (err)
		return err;
	err = failure(vm, KVM_CLEAR_DIRTY_LOG, false);
	if (err)
		return err;
	pthread_mutex_lock(&vm->mmu_lock);
	pml_drain_all(vm);
	for (uint64_t w = 0; w < (log->num_pages + 63ull) / 64; w++) {
		uint64_t at = log->first_page / 64 + w;
		uint64_t mask = request[w] & slot->bitmap[at];

		slot->bitmap[at] &= ~mask;
		protect_word(slot, at, mask);
	}
	pthread_mutex_unlock(&vm->mmu_lock);
	hook(vm, KVM_CLEAR_DIRTY_LOG, SIM_TAKEN);
	pthread_mutex_lock(&vm->mmu_lock);
	flush_slot(slot);
	pthread_mutex_unlock(&vm->mmu_lock);
	return failure(vm, KVM_CLEAR_DIRTY_LOG, true);
}

/* Harvested entries of one ring, in order, at most *left of them. */
static int reset_ring(struct sim_vm *vm, struct sim_vcpu *vcpu, uint64_t *left)
{
	int count = 0;

	while (vcpu->ring && *left) {
		struct kvm_dirty_gfn *entry =
			&vcpu->ring[vcpu->reset_index & (vm->ring_entries - 1)];
		struct sim_slot *slot;
		uint64_t offset;

		if (!(__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) &
		      KVM_DIRTY_GFN_F_RESET))
			break;
		slot = slot_by_id(vm, entry->slot);
		offset = entry->offset;
		__atomic_store_n(&entry->flags, 0, __ATOMIC_RELEASE);
		vcpu->reset_index++;
		count++;
		(*left)--;
		if (slot && offset < slot->npages)
			protect(slot, offset);
	}
	return count;
}

static int call_reset(struct sim_vm *vm)
{
	uint64_t left = UINT64_MAX;
	int count = 0;
	int err;

	if (!vm->ring_entries)
		return -EINVAL;
	err = failure(vm, KVM_RESET_DIRTY_RINGS, false);
	if (err)
		return err;
	err = failure(vm, KVM_RESET_DIRTY_RINGS, true);
	if (err) { /* a signal: what was done stays done */
		err = -EINTR;
		left = 3;
	}
	pthread_mutex_lock(&vm->mmu_lock);
	for (uint32_t v = 0; v < vm->vcpu_count; v++)
		count += reset_ring(vm, &vm->vcpus[v], &left);
	pthread_mutex_unlock(&vm->mmu_lock);
	hook(vm, KVM_RESET_DIRTY_RINGS, SIM_TAKEN);
	pthread_mutex_lock(&vm->mmu_lock);
	if (count)
		flush_all(vm);
	pthread_mutex_unlock(&vm->mmu_lock);
	return err ? err : count;
}

/* ---- memory regions; slots_lock and mmu_lock held ---- */

static int region_check(struct sim_vm *vm,
			const struct kvm_userspace_memory_region *r,
			const struct sim_slot *old)
{
	uint64_t first = r->guest_phys_addr / PAGE;
	uint64_t n = r->memory_size / PAGE;

	if ((r->slot & 0xffff) >= SLOT_IDS || r->slot >> 16 ||
	    r->flags & ~(uint32_t)(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY))
		return -EINVAL;
	if (r->memory_size % PAGE || r->guest_phys_addr % PAGE ||
	    r->userspace_addr % PAGE || n > SLOT_PAGES_MAX ||
	    r->guest_phys_addr + r->memory_size < r->guest_phys_addr ||
	    r->guest_phys_addr + r->memory_size > ADDRESS_MAX)
		return -EINVAL;
	if (!r->memory_size)
		return old ? 0 : -EINVAL;
	if (old && (old->region.userspace_addr != r->userspace_addr ||
		    old->npages != n ||
		    (old->region.flags ^ r->flags) & KVM_MEM_READONLY))
		return -EINVAL;
	if (old && old->first_gfn == first)
		return 0;
	for (const struct sim_slot *s = vm->slots; s; s = s->next)
		if (s != old && first < s->first_gfn + s->npages &&
		    s->first_gfn < first + n)
			return -EEXIST;
	return 0;
}

static struct sim_slot *slot_create(struct sim_vm *vm, uint64_t npages)
{
	struct sim_slot *slot = calloc(1, sizeof(*slot));

	if (!slot)
		return NULL;
	slot->npages = npages;
	slot->pte = calloc((size_t)npages, 1);
	slot->tlb = calloc((size_t)npages, 1);
	if (!slot->pte || !slot->tlb) {
		slot_free(slot);
		return NULL;
	}
	slot->next = vm->slots;
	vm->slots = slot;
	return slot;
}

static void slot_delete(struct sim_vm *vm, struct sim_slot *slot)
{
	struct sim_slot **link = &vm->slots;

	while (*link != slot)
		link = &(*link)->next;
	*link = slot->next;
	slot_free(slot);
}

/* The flag went on: bitmap, and protection unless initially all set. */
static int log_start(struct sim_vm *vm, struct sim_slot *slot)
{
	if (!vm->ring_entries) {
		slot->bitmap = calloc(bitmap_words(slot), sizeof(uint64_t));
		if (!slot->bitmap)
			return -ENOMEM;
	}
	if (vm->manual & KVM_DIRTY_LOG_INITIALLY_SET) {
		for (uint64_t i = 0; slot->bitmap && i < slot->npages; i++)
			slot->bitmap[i / 64] |= 1ull << (i % 64);
		return 0; /* with a ring: the silent loss of K50 */
	}
	for (uint64_t i = 0; i < slot->npages; i++)
		protect(slot, i);
	flush_slot(slot);
	return 0;
}

static void slot_move(struct sim_slot *slot, uint64_t first_gfn)
{
	slot->first_gfn = first_gfn;
	memset(slot->pte, PTE_NONE, (size_t)slot->npages);
	flush_slot(slot);
}

static int region_set(struct sim_vm *vm,
		      const struct kvm_userspace_memory_region *r)
{
	struct sim_slot *slot = slot_by_id(vm, r->slot);
	int err = region_check(vm, r, slot);
	bool was = slot && is_logging(slot);
	bool is = r->flags & KVM_MEM_LOG_DIRTY_PAGES;

	if (err)
		return err;
	if (!r->memory_size) {
		slot_delete(vm, slot);
		return 0;
	}
	if (!slot)
		slot = slot_create(vm, r->memory_size / PAGE);
	if (!slot)
		return -ENOMEM;
	if (slot->first_gfn != r->guest_phys_addr / PAGE)
		slot_move(slot, r->guest_phys_addr / PAGE);
	slot->region = *r;
	if (is && !was)
		return log_start(vm, slot);
	if (was && !is) { /* unread bits are lost (K39) */
		free(slot->bitmap);
		slot->bitmap = NULL;
	}
	return 0;
}

static int call_region(struct sim_vm *vm,
		       const struct kvm_userspace_memory_region *region)
{
	int err = failure(vm, KVM_SET_USER_MEMORY_REGION, false);

	if (err)
		return err;
	pthread_mutex_lock(&vm->mmu_lock);
	pml_drain_all(vm);
	err = region_set(vm, region);
	pthread_mutex_unlock(&vm->mmu_lock);
	return err;
}

/* ---- capabilities ---- */

static int check_extension(const struct sim_vm *vm, unsigned long cap)
{
	switch (cap) {
	case KVM_CAP_USER_MEMORY:
	case KVM_CAP_CHECK_EXTENSION_VM:
	case KVM_CAP_ENABLE_CAP_VM:
	case KVM_CAP_READONLY_MEM:
		return 1;
	case KVM_CAP_NR_MEMSLOTS:
		return SLOT_IDS;
	case KVM_CAP_MULTI_ADDRESS_SPACE:
		return 1;
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		if (vm->config.no_manual)
			return 0;
		return vm->config.no_initially_set ? 1 : MANUAL_BOTH;
	case KVM_CAP_DIRTY_LOG_RING:
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
		if (vm->config.no_ring ||
		    (vm->config.no_acq_rel &&
		     cap == KVM_CAP_DIRTY_LOG_RING_ACQ_REL))
			return 0;
		return (int)(RING_ENTRIES_MAX * sizeof(struct kvm_dirty_gfn));
	default:
		return 0;
	}
}

static int enable_ring(struct sim_vm *vm, uint64_t bytes)
{
	uint64_t least = (RING_RESERVED + vm->config.pml_entries) *
			 sizeof(struct kvm_dirty_gfn);

	if (!bytes || bytes & (bytes - 1) || bytes < least || bytes < PAGE)
		return -EINVAL;
	if (bytes > RING_ENTRIES_MAX * sizeof(struct kvm_dirty_gfn))
		return -E2BIG;
	if (vm->ring_entries || vm->vcpu_count)
		return -EINVAL;
	vm->ring_entries = (uint32_t)(bytes / sizeof(struct kvm_dirty_gfn));
	return 0;
}

static int enable_cap(struct sim_vm *vm, const struct kvm_enable_cap *cap)
{
	uint64_t bits = cap->args[0];
	uint64_t offered = (uint64_t)check_extension(vm, cap->cap);

	if (cap->flags || !offered)
		return -EINVAL;
	switch (cap->cap) {
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		if (bits & ~offered || bits == KVM_DIRTY_LOG_INITIALLY_SET)
			return -EINVAL;
		vm->manual = bits;
		return 0;
	case KVM_CAP_DIRTY_LOG_RING:
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
		return enable_ring(vm, bits);
	default:
		return -EINVAL;
	}
}

/* ---- the entry ---- */

static int call_locked(struct sim_vm *vm, unsigned long request, void *arg)
{
	switch (request) {
	case KVM_GET_DIRTY_LOG:
		return call_get(vm, arg);
	case KVM_CLEAR_DIRTY_LOG:
		return call_clear(vm, arg);
	case KVM_RESET_DIRTY_RINGS:
		return call_reset(vm);
	case KVM_SET_USER_MEMORY_REGION:
		return call_region(vm, arg);
	default:
		return -ENOTTY;
	}
}

static int call(struct sim_vm *vm, unsigned long request, void *arg)
{
	int ret;

	__atomic_fetch_add(&vm->calls[_IOC_NR(request)], 1, __ATOMIC_RELAXED);
	switch (request) {
	case KVM_CHECK_EXTENSION:
		return check_extension(vm, (unsigned long)(uintptr_t)arg);
	case KVM_ENABLE_CAP:
		return enable_cap(vm, arg);
	default:
		break;
	}
	hook(vm, request, SIM_ENTER);
	pthread_mutex_lock(&vm->slots_lock);
	ret = call_locked(vm, request, arg);
	pthread_mutex_unlock(&vm->slots_lock);
	hook(vm, request, SIM_DONE);
	return ret;
}

static int (*foreign)(int fd, unsigned long request, void *arg);

void sim_foreign(int (*its_call)(int fd, unsigned long request, void *arg))
{
	foreign = its_call;
}

int sim_foreign_real(int fd, unsigned long request, void *arg)
{
	return __real_ioctl(fd, request, arg);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	struct sim_vm *vm = vm_by_fd(fd);
	va_list args;
	void *arg;
	int ret;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (!vm)
		return (foreign ? foreign : sim_foreign_real)(fd, request, arg);
	ret = call(vm, request, arg);
	if (ret < 0) {
		errno = -ret;
		return -1;
	}
	return ret;
}

/* ---- what tests look at ---- */

bool sim_armed(struct sim_vm *vm, uint64_t gfn)
{
	struct sim_slot *slot;
	bool armed = true;

	pthread_mutex_lock(&vm->mmu_lock);
	slot = slot_by_gfn(vm, gfn);
	if (slot && is_logging(slot)) {
		uint64_t page = gfn - slot->first_gfn;

		armed = slot->pte[page] != PTE_WRITE && !slot->tlb[page];
		if (slot->bitmap && bit_test(slot, page))
			armed = true;
		for (uint32_t v = 0; v < vm->vcpu_count && !armed; v++) {
			struct sim_vcpu *vcpu = &vm->vcpus[v];

			for (uint32_t i = 0; i < vcpu->pml_count; i++)
				armed |= vcpu->pml[i] == gfn;
			for (uint32_t i = vcpu->reset_index;
			     vcpu->ring && i != vcpu->dirty_index; i++) {
				struct kvm_dirty_gfn *e =
					&vcpu->ring[i & (vm->ring_entries - 1)];

				armed |= e->slot == slot->region.slot &&
					 e->offset == page &&
					 e->flags == KVM_DIRTY_GFN_F_DIRTY;
			}
		}
	}
	pthread_mutex_unlock(&vm->mmu_lock);
	return armed;
}

void sim_hook(struct sim_vm *vm,
	      void (*new_hook)(void *opaque, unsigned long request,
			       enum sim_stage stage),
	      void *opaque)
{
	vm->hook = new_hook;
	vm->opaque = opaque;
}

void sim_fail(struct sim_vm *vm, unsigned long request, uint32_t countdown,
	      int error, bool late)
{
	vm->fail_request = request;
	vm->fail_countdown = countdown;
	vm->fail_error = error;
	vm->fail_late = late;
	vm->fail_times = 1;
	vm->failed = 0;
}

void sim_fail_times(struct sim_vm *vm, uint32_t times)
{
	vm->fail_times = times;
}

uint32_t sim_fail_clear(struct sim_vm *vm)
{
	vm->fail_times = 0;
	return vm->failed;
}

uint64_t sim_calls(const struct sim_vm *vm, unsigned long request)
{
	return vm->calls[_IOC_NR(request)];
}

struct kvm_clear_dirty_log sim_last_clear(const struct sim_vm *vm)
{
	return vm->last_clear;
}

int sim_flags(struct sim_vm *vm, uint32_t slot)
{
	struct sim_slot *found;
	int flags;

	pthread_mutex_lock(&vm->mmu_lock);
	found = slot_by_id(vm, slot);
	flags = found ? (int)found->region.flags : -1;
	pthread_mutex_unlock(&vm->mmu_lock);
	return flags;
}

struct kvm_dirty_gfn *sim_ring(struct sim_vm *vm, uint32_t vcpu,
			       uint32_t *ret_entries)
{
	*ret_entries = vm->ring_entries;
	return vm->vcpus[vcpu].ring;
}

bool sim_bit(struct sim_vm *vm, uint64_t gfn)
{
	struct sim_slot *slot;
	bool set;

	pthread_mutex_lock(&vm->mmu_lock);
	slot = slot_by_gfn(vm, gfn);
	set = slot && slot->bitmap && bit_test(slot, gfn - slot->first_gfn);
	pthread_mutex_unlock(&vm->mmu_lock);
	return set;
}
