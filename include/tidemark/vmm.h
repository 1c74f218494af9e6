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
 * What it does not do: no BIOS, no disk, no interrupts.
 *
 * Threads.  Calls on one VM are serialised by the caller, except
 * tide_vm_iteration and tide_vm_console.
 *
 * Errors.  0 or a count, or a negative errno value.
 */
#ifndef TIDEMARK_VMM_H
#define TIDEMARK_VMM_H

#include <tidemark/migrate.h>
#include <tidemark/tracker.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tide_vm; /* opaque */

enum tide_workload {
	/* Increments one byte a page in address order, for ever (QEMU's
	 * migration-test): afterwards memory has exactly one step of -1 per
	 * vCPU's part. */
	TIDE_WORKLOAD_WALKER,
	/* Writes the iteration number to random pages; the host checks value
	 * against iteration (dirty_log_test of Linux 6.14). */
	TIDE_WORKLOAD_RANDOM,
	/* Every vCPU adds with locked operations to counters on the same
	 * pages: each page's counter is the sum of the vCPUs' own tallies. */
	TIDE_WORKLOAD_ATOMIC,
	/* A small hot set inside a large cold one, rate-limited. */
	TIDE_WORKLOAD_HOT,
	/* Does nothing until told: tide_vm_write(). */
	TIDE_WORKLOAD_SCRIPT,
	TIDE_WORKLOAD_COUNT
};

struct tide_vm_config {
	size_t size; /* of this struct; 0: the first version */
	enum tide_workload workload;
	uint32_t vcpus;		    /* 1 to 4; 0: 1 */
	uint64_t memory_bytes;	    /* a multiple of 4 KiB, at least 16 MiB */
	uint32_t slots;		    /* memory cut into this many slots; 0: 1 */
	uint64_t seed;		    /* of the workload */
	uint64_t hot_pages;	    /* TIDE_WORKLOAD_HOT; 0: 1/16 of memory */
	uint64_t writes_per_second; /* of HOT, per vCPU; 0: no limit */
	int device;		    /* the device model writes and marks */
	enum tide_tracker tracker;
	uint64_t chunk_pages; /* as in struct tide_kvm_config */
	uint32_t ring_entries;
};

/** tide_vm_create() - VM, memory, slots and tracker; nothing runs yet.
 * Return: 0; -EINVAL; -ENOMEM; errors of /dev/kvm and of attach. */
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
 * Return: 0; -EINVAL; the vCPU's error. */
TIDE_API TIDE_MUST_CHECK int tide_vm_write(struct tide_vm *vm, uint32_t vcpu,
					   const uint64_t *gfns, size_t count,
					   uint64_t value);

/** tide_vm_iteration() - TIDE_WORKLOAD_RANDOM: the number that the guest
 * writes from now on; tide_vm_iterations counts whole passes so far. */
TIDE_API void tide_vm_iteration(struct tide_vm *vm, uint64_t iteration);

/** tide_vm_writes() - page writes that the guest has counted so far */
TIDE_API uint64_t tide_vm_writes(struct tide_vm *vm);

/** tide_vm_console() - serial output since the last call; 0-terminated.
 * Return: bytes, at most size - 1. */
TIDE_API size_t tide_vm_console(struct tide_vm *vm, char *buffer, size_t size);

/** tide_vm_check() - VM stopped: is memory what the workload must have left?
 * Return: 0; 1 if not, with one sentence in @message; -EINVAL if running. */
TIDE_API TIDE_MUST_CHECK int tide_vm_check(struct tide_vm *vm, char *message,
					   size_t message_size);

/** tide_vm_memory() - host address of a gfn of the VM's memory, or NULL */
TIDE_API void *tide_vm_memory(struct tide_vm *vm, uint64_t gfn);

/** tide_vm_send_config() - the callbacks of a migration source for this VM;
 * the caller fills in limits and progress (opaque is the VM) */
TIDE_API void tide_vm_send_config(struct tide_vm *vm,
				  struct tide_migrate_send_config *ret_config);

/** tide_vm_receive() - build a VM from a migration stream and, on GO, run it.
 * @tracker: for the VM that arrives.  Return: as tide_migrate_receive(). */
TIDE_API TIDE_MUST_CHECK int
tide_vm_receive(int fd, enum tide_tracker tracker,
		const struct tide_migrate_receive_config *limits,
		struct tide_vm **ret_vm, struct tide_migrate_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
