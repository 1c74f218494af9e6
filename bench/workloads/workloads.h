/* SPDX-License-Identifier: MIT */
/*
 * workloads.h - processes that write in as many ways as processes do
 *
 * Some are loops of our own, at a pace, so that they are the same on every
 * machine; others are programs that people run.
 */
#ifndef WORKLOADS_H
#define WORKLOADS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct running {
	pid_t pid;     /* the one to look at */
	pid_t helper;  /* that gives it work; 0: none */
	char file[64]; /* that is to be removed; "": none */
};

struct workload {
	const char *name;
	/* A loop, in a process of its own; does not return. */
	void (*loop)(void);
	/* Or a program.  Return: 0; -ENOENT: it is not here, and *what. */
	int (*start)(struct running *running, const char **what);
};

extern const struct workload workloads[];
extern const size_t workload_count;

/* Return: 0; or a negative errno, with *what is missing. */
int workload_start(const struct workload *workload, struct running *ret,
		   const char **what);
void workload_stop(struct running *running);

/* ---- for programs ---- */

int program_redis(struct running *running, const char **what);
int program_compiler(struct running *running, const char **what);
int program_sqlite(struct running *running, const char **what);
int program_json(struct running *running, const char **what);
int program_xz(struct running *running, const char **what);
int program_guest(struct running *running, const char **what);

#endif
