/* SPDX-License-Identifier: MIT */
/*
 * vm.h - the parts of a VM, and who may touch them
 *
 * Guest physical address 0 is at tide_vm.base and the rest follows, the hole
 * below 4 GiB included, so that an address is one addition away however the
 * memory is cut into slots.
 *
 * tide_vm.lock is a leaf: nothing of the other layers is called under it but
 * marks, which take no lock.
 */
#ifndef TIDE_VMM_VM_H
#define TIDE_VMM_VM_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tidemark/vmm.h>

#include "base/lock.h"
#include "guest/params.h"

struct kvm_cpuid2;
struct kvm_run;
struct machine;
struct soft_vcpu;
struct tide_mmu;

#define VM_MEMORY_MIN (16ull << 20)
#define VM_MEMORY_MAX (128ull << 30) /* what the boot page tables can map */
#define VM_SLOTS_MAX 4096
#define VM_CONSOLE_SIZE 4096

enum vcpu_place {
	VCPU_PARKED, /* waits for run or quit; its state may be read */
	VCPU_HOST,   /* in its thread, outside the guest */
	VCPU_GUEST   /* about to enter, inside, or just out of the guest */
};

struct vcpu {
	/* Constant after create. */
	struct tide_vm *vm;
	uint32_t index;
	pthread_t thread;
	bool has_thread;
	/* Of machine_kvm. */
	int fd;
	struct kvm_run *run;
	size_t run_bytes;
	/* Of machine_soft; the vCPU's own thread, anybody when it is parked. */
	struct soft_vcpu *soft;

	/* Under vm->lock. */
	enum vcpu_place place;
	uint64_t exits;	 /* from the guest */
	bool kicked;	 /* it leaves the guest soon */
	bool idle;	 /* script: nothing to do, or done */
	int error;	 /* what stopped it for good, or 0 */
	uint32_t reason; /* the machine's exit that came with it */

	/* Its own thread; anybody's when it is parked. */
	bool unfinished;      /* KVM: an instruction waits for the next run */
	uint64_t pace_due_ns; /* when the next batch may begin */
};

/* How many pages there are, and where; worked out from the config. */
struct vm_layout {
	uint64_t pages;	    /* of memory */
	uint64_t low_pages; /* below the hole */
	uint64_t end_gfn;   /* of the last page, plus 1 */
	uint64_t work_pages;
	uint64_t work_low_pages;
};

struct device {
	pthread_t thread;
	bool has_thread;
	bool parked;	/* under vm->lock */
	uint64_t count; /* pages written; its thread's, or when it is parked */
};

struct tide_vm {
	/* Constant after create; at a destination, once the state has come. */
	struct tide_vm_config config;
	struct vm_layout layout;
	const struct machine *machine;
	/* Of machine_kvm. */
	int kvm_fd;
	int vm_fd;
	struct kvm_cpuid2 *cpuid; /* for every vCPU */
	/* Of machine_soft. */
	struct tide_mmu *mmu;
	uint8_t *base;
	size_t span; /* bytes of address space at base */
	struct tide_space *space;
	uint64_t params_gpa;
	struct guest_params *params; /* at params_gpa; the guest writes it */
	uint64_t pace_ns;	     /* of one batch; 0: no limit */
	uint32_t vcpu_count;
	struct vcpu vcpu[GUEST_VCPUS_MAX];
	struct device device;

	struct tide_lock lock;
	pthread_cond_t go;   /* running, quit, or a job: for our threads */
	pthread_cond_t left; /* somebody left the guest, parked, is idle */

	/* Under lock. */
	bool running;
	bool quit;
	uint64_t console_begin; /* bytes ever read, or dropped as too old */
	uint64_t console_end;	/* bytes ever written */
	char console[VM_CONSOLE_SIZE];
};

/* vm.c */
int vm_open(struct tide_vm **ret_vm, uint64_t memory_end,
	    const struct tide_vm_config *config);
int vm_add_slot(struct tide_vm *vm, uint32_t id, uint64_t first_gfn,
		uint64_t npages, uint32_t flags);
/* Constants that follow from the config and the image's parameter block. */
int vm_configure(struct tide_vm *vm, uint64_t params_gpa);
/* Threads, and the vCPUs if need be; they are parked. */
int vm_start_threads(struct tide_vm *vm);
bool vm_is_running(struct tide_vm *vm);
void vm_signals_block(sigset_t *ret_old);
void vm_signals_restore(const sigset_t *old);

/* layout.c: pure functions of the config. */
int vm_config_take(struct tide_vm_config *to,
		   const struct tide_vm_config *from);
void vm_layout_set(struct vm_layout *layout,
		   const struct tide_vm_config *config);
void vm_params_set(struct guest_params *params,
		   const struct tide_vm_config *config,
		   const struct vm_layout *layout);
uint64_t vm_pace_ns(const struct tide_vm_config *config);
bool vm_layout_has(const struct vm_layout *layout, uint64_t first_gfn,
		   uint64_t npages);
bool vm_layout_is_work(const struct vm_layout *layout, uint64_t gfn);

/* vcpu_thread.c */
int vcpu_create(struct tide_vm *vm, uint32_t index);
int vcpu_start_thread(struct vcpu *vcpu);
void vcpu_join(struct vcpu *vcpu);
void vcpu_destroy(struct vcpu *vcpu);
/* Under vm->lock: make it leave the guest if it is there. */
void vcpu_kick(struct vcpu *vcpu);
/* Under vm->lock: the guest writes bytes to a port; may wait. */
void vcpu_port_out(struct vcpu *vcpu, uint16_t port, const void *data,
		   size_t nbytes);
/* tide_kvm_config.sync_vcpus; the argument is the VM. */
void vcpu_sync_all(void *opaque);

/* device.c */
int device_start_thread(struct tide_vm *vm);
void device_join(struct tide_vm *vm);
/* The page that write number @count - 1 went to, and what it left there. */
uint64_t device_page(uint64_t count);

/* script.c: the vCPU has nothing to do; called and returns under vm->lock. */
void script_wait(struct vcpu *vcpu);

/* oracle.c */
void oracle_say(char *message, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
