/* SPDX-License-Identifier: MIT */
/*
 * process_faults.h - at the n-th system call of attach, or of what follows
 *
 * The calls are wrapped by the linker (process_fault_link_args), in the process
 * that attaches and in its helper, and counted in memory that both share.  The
 * target, which was there before, is left alone.
 */
#ifndef TIDE_TESTS_PROCESS_FAULTS_H
#define TIDE_TESTS_PROCESS_FAULTS_H

#include <stdbool.h>
#include <sys/types.h>

enum fault_kind {
	FAULT_ERRNO,  /* the call fails with that */
	FAULT_SHORT,  /* it moves less than it was asked for */
	FAULT_KILL,   /* before it the victim is killed */
	FAULT_HELPER, /* the same, the helper; only its calls count */
};

bool faults_init(void);
/* From now on, at the n-th call from here; @err or @victim by its kind. */
void faults_arm(enum fault_kind kind, int n, int err, pid_t victim);
/* Return: the call that it was, NULL if there were not so many. */
const char *faults_disarm(void);

#endif
