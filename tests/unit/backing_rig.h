/* SPDX-License-Identifier: MIT */
/*
 * backing_rig.h - a guest of fake mappings on a real backing, and a disk that
 * fails on demand
 *
 * The guest maps pages as an MMU does, by backing_get and backing_put, and
 * drops its mappings when the notifier says so, D and A bits reported.  What
 * it stores it also stores into a model, page by page.
 */
#ifndef TIDE_TESTS_BACKING_RIG_H
#define TIDE_TESTS_BACKING_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include <tidemark/backing.h>

#include "mmu/host.h"

#define RIG_PAGES 48u
#define RIG_FRAMES 16u
#define RIG_WORDS (TIDE_PAGE_SIZE / sizeof(uint64_t))

struct rig_mapping {
	bool present, writable, dirty, accessed;
	uint64_t pfn;
};

struct rig {
	struct tide_backing *backing;
	uint64_t host;
	int fd;
	struct rig_mapping map[RIG_PAGES];
	uint64_t model[RIG_PAGES][RIG_WORDS];
	/* What the notifier was told. */
	uint32_t inside[RIG_PAGES]; /* starts without their end */
	uint32_t starts, ends;
	uint64_t marked[RIG_PAGES];
	/* What it does: fails from the n-th start on, 0: never; or calls. */
	uint32_t fail_start, fail_count;
	void (*middle)(struct rig *rig, uint32_t page);
	void *opaque;
};

/* @swap: with a file. */
void rig_init(struct rig *rig, bool swap);
void rig_fini(struct rig *rig);

uint64_t rig_host(const struct rig *rig, uint32_t page);
void *rig_memory(uint64_t pfn);
/* Return: 0; what backing_get said. */
int rig_touch(struct rig *rig, uint32_t page, bool write);
int rig_store(struct rig *rig, uint32_t page, uint32_t word, uint64_t value);
int rig_load(struct rig *rig, uint32_t page, uint32_t word,
	     uint64_t *ret_value);
/* Every page is what the model says, and the backing in order.  Leaves the
 * pages where they are. */
void rig_compare(struct rig *rig);

/* The disk.  Counts pread and pwrite calls on any file, and makes calls
 * [first, first + count) go wrong; of those calls only reads, or writes. */
enum disk_fault {
	DISK_FINE,
	DISK_EIO,
	DISK_ENOSPC,
	DISK_SHORT,   /* part of it is done */
	DISK_NOTHING, /* 0 bytes */
	DISK_EINTR,
	DISK_FAULTS
};

struct disk {
	enum disk_fault fault;
	uint64_t first, count; /* from 1 on */
	uint64_t calls, reads, writes, failed;
};

extern struct disk disk;

void disk_reset(void);

#endif
