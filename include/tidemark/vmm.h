/* SPDX-License-Identifier: MIT */
/*
 * tidemark/vmm.h - a small VMM for the self-checking guests
 *
 * Runs the freestanding guests of guest/ on /dev/kvm: one to four vCPUs, each
 * on a thread that tide_vm_create starts, serial output by port, a device
 * model that writes to guest memory and marks.  It is here so that the demo,
 * the tests and the benchmarks move real guests, and as an example of an
 * embedder: it uses only the public calls of the other headers.
 *
 * With a soft tracker there is no KVM: the vCPUs are native workloads that do
 * what the guests do and reach memory by tidemark/vcpu.h alone.  The tracker
 * says which of the two machines a VM has, and a guest does not go from one
 * to the other.
 *
 * What it does not do: no BIOS, no disk, no interrupts.  KVM's machine is for
 * x86-64 only; elsewhere its trackers, and image, say -EOPNOTSUPP.
 *
 * Memory.  Gfn 0 to 0x1ff hold the page tables, the image and the device's
 * pages; the workload writes from 0x200 on.  As on a PC nothing lies between
 * 3 and 4 GiB, and what does not fit below begins at 4 GiB, gfn 0x100000.
 *
 * Threads.  Calls on one VM are serialised by the caller, except
 * tide_vm_iteration, tide_vm_writes, tide_vm_console and tide_vm_memory.
 * tide_vm_stop may run during tide_vm_write, which then ends early.
 *
 * Signals.  The VM's threads block every signal.  SIGRTMAX, sent to a vCPU's
 * own thread and let through inside KVM_RUN only, takes it out of KVM's guest;
 * no handler is installed.
 *
 * Errors.  0 or a count, or a negative errno value.
 */
#ifndef TIDEMARK_VMM_H
#define TIDEMARK_VMM_H

#include <tidemark/migrate.h>
#include <tidemark/tracker.h>
#include <tidemark/vcpu.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tide_vm; /* opaque */

enum tide_workload {
	/* Increments one byte a page in address order, for ever (QEMU's
	 * migration-test): afterwards memory has exactly one step of -1 per
	 * vCPU's part. */
	TIDE_WORKLOAD_WALKER,
	/* Writes the iteration number, and after it the number of the write,
	 * to random pages of the vCPU's own part; the host checks value
	 * against iteration (dirty_log_test of Linux 6.14). */
	TIDE_WORKLOAD_RANDOM,
	/* Every vCPU adds with locked operations to counters on the same
	 * pages: each page's counter is the sum of the vCPUs' own tallies. */
	TIDE_WORKLOAD_ATOMIC,
	/* Fills memory once, then goes round a small hot set spread over it. */
	TIDE_WORKLOAD_HOT,
	/* Does nothing until told: tide_vm_write(). */
	TIDE_WORKLOAD_SCRIPT,
	TIDE_WORKLOAD_COUNT
};

struct tide_vm_config {
	size_t size; /* of this struct; 0: the first version */
	enum tide_workload workload;
	uint32_t vcpus;	       /* 1 to 4; 0: 1 */
	uint64_t memory_bytes; /* a multiple of 4 KiB, in [16 MiB, 128 GiB] */
	/* Memory is cut into this many, at most 4096; one more if one would
	 * span the hole below 4 GiB; 0: 1. */
	uint32_t slots;
	uint64_t seed; /* of the workload */
	/* TIDE_WORKLOAD_HOT: at least one a vCPU, at most memory less 2 MiB;
	 * 0: 1/16 of memory. */
	uint64_t hot_pages;
	/* Page writes, per vCPU, of any workload but SCRIPT; 0: no limit. */
	uint64_t writes_per_second;
	int device; /* the device model writes and marks */
	enum tide_tracker tracker;
	uint64_t chunk_pages; /* as in struct tide_kvm_config */
	uint32_t ring_entries;
	/* Pages that the workload writes, from its first on; the others stay
	 * untouched; at least 16, at most memory less 2 MiB; 0: all of it. */
	uint64_t work_pages;
	/* soft-bitmap and soft-ring: how the workload reaches memory, by page
	 * tables that it builds and changes in guest memory; x86-64 or Sv39;
	 * TIDE_PAGING_NONE: by guest physical addresses.  The other trackers
	 * take no other. */
	enum tide_paging_mode paging;
};

/** tide_vm_create() - VM, memory, slots and tracker; nothing runs yet.
 * Return: 0; -EINVAL; -ENOMEM; errors of /dev/kvm, of the MMU and of attach. */
TIDE_API TIDE_MUST_CHECK int tide_vm_create(const struct tide_vm_config *config,
					    struct tide_vm **ret_vm);
/** tide_vm_destroy() - stop and free; every client of the space is closed
 * first by the caller.  NULL is fine. */
TIDE_API void tide_vm_destroy(struct tide_vm *vm);

/** The space, owned by the VM. */
TIDE_API struct tide_space *tide_vm_space(struct tide_vm *vm);

/** tide_vm_run() - let vCPUs and device run.  tide_vm_stop() - when it
 * returns no vCPU is in the guest, no device writes, and everything they
 * wrote is in memory and in the tracker.  Return: 0, also when already so; the
 * error that stopped a vCPU. */
TIDE_API TIDE_MUST_CHECK int tide_vm_run(struct tide_vm *vm);
TIDE_API TIDE_MUST_CHECK int tide_vm_stop(struct tide_vm *vm);

/** tide_vm_write() - TIDE_WORKLOAD_SCRIPT: vCPU @vcpu writes @value to the
 * first 8 bytes of each of @gfns, in order, and the call returns when it has.
 * Return: 0; -EINVAL if it is not running, or for another workload, vCPU or a
 * gfn outside the work area; -ECANCELED if it was stopped meanwhile, and then
 * the rest of what was begun follows when it runs again; the vCPU's error. */
TIDE_API TIDE_MUST_CHECK int tide_vm_write(struct tide_vm *vm, uint32_t vcpu,
					   const uint64_t *gfns, size_t count,
					   uint64_t value);

/** tide_vm_iteration() - TIDE_WORKLOAD_RANDOM: the number that the guest
 * writes from now on: 1 at first, never less than before.  If it is set while
 * the VM is stopped, no page gets an older number from then on. */
TIDE_API void tide_vm_iteration(struct tide_vm *vm, uint64_t iteration);

/** tide_vm_writes() - page writes that the guest has counted so far */
TIDE_API uint64_t tide_vm_writes(struct tide_vm *vm);

/** tide_vm_console() - serial output since the last call; 0-terminated.
 * Return: bytes, at most size - 1. */
TIDE_API size_t tide_vm_console(struct tide_vm *vm, char *buffer, size_t size);

/** tide_vm_check() - VM stopped: is memory what the workload must have left?
 * Exact to the write; reads every page.  @message may be NULL.
 * Return: 0; 1 if not, with one sentence in @message; -EINVAL if running;
 * -ENOMEM; the machine's error. */
TIDE_API TIDE_MUST_CHECK int tide_vm_check(struct tide_vm *vm, char *message,
					   size_t message_size);

/** tide_vm_memory() - host address of a gfn of the VM's memory, or NULL */
TIDE_API void *tide_vm_memory(struct tide_vm *vm, uint64_t gfn);

/** tide_vm_send_config() - the callbacks of a migration source for this VM;
 * the caller fills in limits and progress (opaque is the VM) */
TIDE_API void tide_vm_send_config(struct tide_vm *vm,
				  struct tide_migrate_send_config *ret_config);

/** tide_vm_receive() - build a VM from a migration stream and, on GO, run it.
 * @tracker: for the VM that arrives; -EOPNOTSUPP and a message if it is not of
 * the source's machine.  @limits: limits, progress (with its
 * opaque) and message; its other callbacks are ignored; NULL: no limits.
 * Return: as tide_migrate_receive(), tide_vm_create(). */
TIDE_API TIDE_MUST_CHECK int
tide_vm_receive(int fd, enum tide_tracker tracker,
		const struct tide_migrate_receive_config *limits,
		struct tide_vm **ret_vm, struct tide_migrate_stats *ret_stats);

/**
 * tide_guest_image() - the guest as an ELF file for another hypervisor, to
 * compare with: `qemu-system-x86_64 -kernel FILE` boots it
 * @config: workload, seed, hot_pages, work_pages, writes_per_second (by
 *          counting TSC ticks of this host) and memory_bytes count.  One
 *          vCPU, at most 3 GiB; stay some MiB below its memory, where
 *          firmware keeps tables
 * @buffer: room for @size bytes; NULL with size 0 to ask how many
 *
 * The guest says 'A' on the first serial port, then 'B' about ten times a
 * second.
 *
 * Return: bytes of the file; -EINVAL; -ENOSPC if size is too small.
 */
TIDE_API TIDE_MUST_CHECK int
tide_guest_image(const struct tide_vm_config *config, void *buffer,
		 size_t size);

#ifdef __cplusplus
}
#endif
#endif
