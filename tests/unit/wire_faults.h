/* SPDX-License-Identifier: MIT */
/*
 * wire_faults.h - a socket that does what sockets may do, on demand
 *
 * sendmsg, recvmsg, ppoll and clock_gettime are wrapped by the linker
 * (wire_fault_link_args).  Faults are per thread: each side of a migration has
 * its own.
 */
#ifndef TIDE_TESTS_WIRE_FAULTS_H
#define TIDE_TESTS_WIRE_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_NEVER UINT64_MAX

struct wire_faults {
	uint64_t cut_at;    /* the connection ends after so many bytes sent */
	uint64_t flip_at;   /* the byte of that number is sent changed */
	uint8_t flip_mask;  /* how */
	uint32_t short_max; /* bytes moved by one call; 0: no limit */
	bool interrupt;	    /* every other call fails with EINTR */
	/* Called before each sendmsg: whatever should happen meanwhile. */
	void (*hook)(void *opaque);
	void *opaque;
	bool clock;	     /* time passes only in sending and pausing */
	uint64_t ns_per_kib; /* with clock: of sending */

	uint64_t sent; /* bytes, so far */
	uint64_t calls;
	uint64_t now_ns; /* with clock */
	uint64_t waited_ns;
};

/* No faults. */
struct wire_faults wire_faults_none(void);

/* The calling thread's faults from now on; NULL: none. */
void wire_faults_use(struct wire_faults *faults);

#endif
