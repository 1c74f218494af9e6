/* SPDX-License-Identifier: MIT */
/*
 * engine.h - random operations on a space, compared with a plain set model
 *
 * One run: build a space on a backend, do random operations from a seed
 * (writes, marks, harvests, slot changes, injected errors), stop, harvest
 * once more, and compare every page with what each client was handed.  The
 * same seed gives the same operations on every backend.
 *
 * What it does not do: it starts no thread; concurrent writers are
 * concurrent_test.c's.  It uses only the public headers, so that anything
 * that can fill in struct conform_backend can be soaked with it.
 *
 * Threads.  One run, one thread; runs are independent.
 */
#ifndef TIDE_TEST_ENGINE_H
#define TIDE_TEST_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tidemark/space.h>
#include <tidemark/tracker.h>

/* A backend's own slot in the space, unlogged: the engine does not look. */
#define CONFORM_OWN_SLOT 500u

enum conform_property {
	/* Slots and memory are the backend's: the engine adds none of its own
	 * and moves none.  Otherwise it lays out slots as it likes. */
	CONFORM_FIXED = 1 << 0,
	/* Turning logging on makes everything dirty (initially all set). */
	CONFORM_START_ALL = 1 << 1,
	/* A client's re-arm may add its pages to others (C6). */
	CONFORM_SHARED = 1 << 2,
};

enum conform_flags {
	CONFORM_NO_SLOT_CHANGES = 1 << 0,
	CONFORM_NO_FAULTS = 1 << 1, /* inject no errors */
	CONFORM_NO_HOOKS = 1 << 2,  /* no writes in the middle of a call */
	/* A harvest is one operation, so that no write falls into it: the
	 * yielded sets are then the same on every backend. */
	CONFORM_WHOLE_HARVESTS = 1 << 3,
	CONFORM_SPARSE = 1 << 4, /* one slot of more than 4 GiB */
};

struct conform_report {
	uint64_t writes, marks, harvests, yielded, faults;
	uint64_t extras_shared, extras_start, extras_gone;
	/* Of every client's yielded sets, without extras, in order: equal on
	 * every backend with CONFORM_WHOLE_HARVESTS and without faults. */
	uint64_t digest;
};

struct conform_options {
	uint32_t operations;
	uint32_t slots;		       /* 1 to 64 */
	uint32_t clients;	       /* 1 to 3 */
	uint32_t flags;		       /* enum conform_flags */
	struct conform_report *report; /* filled on success; may be NULL */
};

struct conform_backend {
	const char *name;
	enum tide_tracker tracker; /* that it attaches */
	uint32_t properties;	   /* enum conform_property */

	/* create() - a space with its tracker attached; it may have slots.
	 * Return: 0; -EOPNOTSUPP and such: cannot run here. */
	int (*create)(const struct conform_backend *backend,
		      const struct conform_options *options, uint64_t seed,
		      void **ret_self);
	void (*destroy)(void *self);
	struct tide_space *(*space)(void *self);

	/* The rest may be NULL. */

	/* guest_write() - write @value to the first 8 bytes of each page, in
	 * order, as the guest does: unseen but for the tracker.
	 * Return: how many pages were written (fewer: the ring is full); a
	 * negative errno when the machine is broken. */
	int (*guest_write)(void *self, const uint64_t *gfns, size_t count,
			   uint64_t value);
	/* reserved() - may the guest write this page on its own? */
	bool (*reserved)(void *self, uint64_t gfn);
	/* armed() - is every next guest write to the page sure to be seen? */
	bool (*armed)(void *self, uint64_t gfn);
	/* hook() - call @hook in the middle of calls into the kernel; it may
	 * write as guest and mark.  NULL: no longer.  Called again when slots
	 * have changed. */
	void (*hook)(void *self, void (*hook)(void *opaque), void *opaque);
	/* inject() - let one of the next calls into the kernel fail */
	void (*inject)(void *self, uint64_t random);
	/* calm() - no more failures.  Return: how many since inject() */
	uint32_t (*calm)(void *self);

	/* memory() - for a slot of @npages, the backend's until destroy; NULL:
	 * no more.  Without it the engine maps some. */
	void *(*memory)(void *self, uint64_t npages);
	/* Such memory may not be there for everybody.  Return: 0 or an error.
	 * Without them it is. */
	int (*host_read)(void *self, const void *host, void *buffer,
			 size_t nbytes);
	int (*host_write)(void *self, void *host, const void *buffer,
			  size_t nbytes);
};

/**
 * conform_run() - one run of the engine
 * @message: what went wrong, and the last operations; 4096 bytes are plenty
 *
 * Return: 0; 1 when the library broke its contract, with @message filled; a
 * negative errno when the backend could not be created.
 */
int conform_run(const struct conform_backend *backend,
		const struct conform_options *options, uint64_t seed,
		char *message, size_t size);

#endif
