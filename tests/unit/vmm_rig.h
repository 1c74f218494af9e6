/* SPDX-License-Identifier: MIT */
/*
 * vmm_rig.h - what the tests of both machines do with a VM
 *
 * Everything asserts that it works.
 */
#ifndef TIDE_TEST_VMM_RIG_H
#define TIDE_TEST_VMM_RIG_H

#include <stdint.h>
#include <tidemark/tidemark.h>

#include "guest/params.h"

#define MIB (1ull << 20)
#define MEMORY (16 * MIB)
#define WORK_END (MEMORY >> TIDE_PAGE_SHIFT)
#define PAGE_BITS (TIDE_PAGE_SIZE * 8)

extern const char *const workload_names[TIDE_WORKLOAD_COUNT];

/* A seed, then what came of it. */
extern uint64_t random_state;
uint64_t random_below(uint64_t limit);

struct tide_vm *create(const struct tide_vm_config *config);
void expect_right(struct tide_vm *vm);
void expect_wrong(struct tide_vm *vm, const char *what);
void expect_sign_of_life(struct tide_vm *vm);

/* Let it run until it has written @writes pages more, and stop it. */
void run_for_writes(struct tide_vm *vm, uint64_t writes);
/* The same for TIDE_WORKLOAD_SCRIPT: a job for each vCPU.  MEMORY bytes. */
void write_some(struct tide_vm *vm, uint32_t vcpus);
/* Either, of a VM with this config. */
void go_on(struct tide_vm *vm, const struct tide_vm_config *config,
	   uint64_t writes);
/* A new one that has run for so many, and that the check approves of. */
struct tide_vm *ran(const struct tide_vm_config *config, uint64_t writes);

/* The destination's side of a migration. */
struct arriving {
	int fd;
	enum tide_tracker tracker;
	int result;
	struct tide_vm *vm; /* NULL: it did not arrive */
	char message[160];
};

/* Sends @vm with these callbacks.  Return: the source's result. */
int transfer(struct tide_vm *vm, const struct tide_migrate_send_config *config,
	     enum tide_tracker to, struct arriving *arriving);

#endif
