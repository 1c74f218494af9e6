/* SPDX-License-Identifier: MIT */
/*
 * prove.h - was every byte moved?
 *
 * The destination forks a copy of itself when the memory has arrived and
 * before the guest may start.  The copy keeps the memory as it was at that
 * moment, however the guest goes on, and sends it all down a socket at
 * leisure, so the proof is not part of the downtime.  The source, whose guest
 * stays stopped, compares that with its own memory byte by byte.
 *
 * Needs guest memory that fork(2) copies: private, not shared.
 */
#ifndef PROVE_H
#define PROVE_H

#include <stdint.h>
#include <sys/types.h>
#include <tidemark/vmm.h>

struct prover {
	pid_t child; /* 0: none */
	int pipe_fd; /* tells it where the memory is */
};

/* Destination: keep memory as it is now, to be sent to @fd.
 * Return: 0 with *ret filled; a negative errno. */
int prove_fork(int fd, struct prover *ret);

/* Destination: the guest is here, @vm's slots are what to send.  NULL: it is
 * not, send nothing.  Return: 0, also without a child; a negative errno. */
int prove_release(struct prover *prover, struct tide_vm *vm);

/* Destination: wait for the child. */
void prove_wait(struct prover *prover);

#define PROVE_FIRST 8

struct prove_result {
	uint64_t pages; /* compared */
	uint64_t lost;	/* of these differ, plus those that never came */
	uint64_t first[PROVE_FIRST]; /* gfns of the first lost pages */
};

/*
 * prove_compare() - source, guest stopped: compare with what comes from @fd
 *
 * Return: 0 with *ret filled, whatever it says; -EPROTO for a stream that
 * does not describe this guest; -ECONNRESET at an early end; another -errno.
 */
int prove_compare(struct tide_vm *vm, int fd, struct prove_result *ret);

#endif
