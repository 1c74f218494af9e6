/* SPDX-License-Identifier: MIT */
/*
 * interrupt.h - Ctrl-C as something to poll for
 *
 * SIGINT and SIGTERM are blocked in every thread and taken by one of our
 * own, so that no vCPU thread and no half-done write is hit by them.  The
 * second one kills at once.
 */
#ifndef INTERRUPT_H
#define INTERRUPT_H

/* Call before the first other thread starts.  Return: -1, or exit status. */
int interrupt_start(void);

/* Becomes readable, for good, at the first SIGINT or SIGTERM. */
int interrupt_fd(void);
int interrupt_pending(void);

/* At an interrupt, shut this socket down, so that whoever is blocked on it
 * wakes.  -1: none. */
void interrupt_shuts(int fd);

/* What the second one calls before it kills, from a thread of its own; what it
 * does a signal handler may do.  NULL: nothing. */
void interrupt_restores(void (*restore)(void));

/* In a child that is about to exec: signals as they were. */
void interrupt_child(void);

#endif
