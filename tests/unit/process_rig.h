/* SPDX-License-Identifier: MIT */
/*
 * process_rig.h - targets for attaching, and what must not be left in them
 *
 * A target is a child of the test that checks itself: whoever disturbs it makes
 * it exit with another status than 0.  It writes pages of rig_memory by order.
 */
#ifndef TIDE_TESTS_PROCESS_RIG_H
#define TIDE_TESTS_PROCESS_RIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <tidemark/client.h>
#include <tidemark/process.h>

#define RIG_PAGES 256u

/* Shared with the targets. */
struct rig_shared {
	_Atomic int stop;    /* the target is to end */
	_Atomic int ready;   /* it is where it should be */
	_Atomic int order;   /* page to write + 1; 0: none */
	_Atomic int command; /* for what a target of one test can do */
	_Atomic int signals;
	_Atomic int count; /* of threads */
};
extern struct rig_shared *rig_shared;
/* The same address in every target, which inherits it. */
extern unsigned char *rig_memory;

int rig_get(const _Atomic int *at);
void rig_set(_Atomic int *at, int value);
void rig_nap_ms(long ms);

/* For main(). */
bool rig_init(void);
/* Skips the test where wp, or x86-64, is missing. */
void rig_need(const char *name);

pid_t rig_start(void (*body)(void));
/* The target has been stopped, and was content. */
void rig_finish(pid_t pid);
struct tide_process *rig_attach(pid_t pid);
void rig_refused(pid_t pid, int expected, const char *text);

/* In a target: for the commands 1.. until it is to stop. */
void rig_obey(void (*obey)(int command));
void rig_command(int command);
/* In a target: write what is ordered, with registers that must stay what they
 * are; and the order. */
void rig_write_by_order(void);
void rig_order(int page);

int rig_descriptors(pid_t pid);
/* No descriptor more than @descriptors, no tracer, no memory registered. */
bool rig_is_as_before(pid_t pid, int descriptors);
/* The same, soon: a helper may be at work. */
void rig_await_as_before(pid_t pid, int descriptors);

struct tide_client *rig_client(struct tide_process *process);
/* Counts the pages of [@first, @first + @npages) that come, and sets
 * has[page - first], unless it is NULL. */
uint64_t rig_harvest(struct tide_client *client, uint64_t first,
		     uint64_t npages, unsigned char *has);

#endif
