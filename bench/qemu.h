/* SPDX-License-Identifier: MIT */
/*
 * qemu.h - a QEMU with our guest in it, driven over QMP
 *
 * Everything goes through sockets and a memory file that the process
 * inherits, so there is nothing in a file system to clean up; and it dies
 * with us.
 */
#ifndef QEMU_H
#define QEMU_H

#include "control.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct qemu {
	pid_t pid; /* 0: none */
	struct control qmp;
	int serial_fd;
	bool kvm; /* else it emulates */
	/* Wall clock, microseconds, by its own events; 0: not yet. */
	uint64_t stopped_us;
	uint64_t resumed_us;
};

/* What QEMU says of a migration, and what was seen from outside. */
struct qemu_times {
	double total_ms;
	double downtime_ms;
	double outside_total_ms;    /* "migrate" sent to running there */
	double outside_downtime_ms; /* stopped here to running there */
	uint64_t rounds;
};

/* Where it is.  Return: NULL if it is not installed. */
const char *qemu_path(void);

/* "7.2.22" and so on, of one that runs. */
int qemu_version(struct qemu *qemu, char *text, size_t size);

/*
 * qemu_start() - boot, or wait for a guest
 * @kernel_fd: an ELF file of tide_guest_image()
 * @stream_fd: the socket that the guest comes through; -1: boot
 * Return: 0; a negative errno, and one line was printed.
 */
int qemu_start(struct qemu *qemu, int kernel_fd, int stream_fd,
	       uint64_t memory_bytes);
void qemu_end(struct qemu *qemu);

/* Wait until the guest has said 'B' @marks times from now on: it is running
 * and writing.  Return: 0; -ETIMEDOUT; -EINTR. */
int qemu_wait_marks(struct qemu *qemu, unsigned int marks, int timeout_ms);

/* Move the guest through @stream_fd, which stays the caller's.
 * Return: 0; a negative errno, and one line was printed. */
int qemu_migrate(struct qemu *source, struct qemu *destination, int stream_fd,
		 uint64_t downtime_ms, struct qemu_times *ret);

#endif
