/* SPDX-License-Identifier: MIT */
/*
 * process.c - attach to another process, and ask what is in it
 *
 * Theory of operation
 * -------------------
 * Every writable mapping is a slot, whose gfns are its addresses by pages.
 * Mappings come, go, grow and shrink while the target runs, so the list is read
 * again before each harvest (follow.c).  A mapping that was replaced by another
 * of the same place and size is not seen there; the tracker's scan sees that it
 * is not registered (wp.c).
 *
 * A client of our own keeps the tracker armed from attach to detach.
 *
 * The descriptors that attach needs are of the memory that the process has when
 * they are made.  If it executes another program meanwhile they do not belong
 * together, or to what it is now, and attach begins again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <tidemark/client.h>
#include <tidemark/process.h>
#include <tidemark/space.h>
#include <tidemark/tracker.h>

#include "base/clock.h"
#include "tracker/wp_abi.h"
#include "watch/inject.h"
#include "watch/maps.h"
#include "watch/process_internal.h"

#define TRIES 10u /* each spent on a program that it executes */

static int say(char *why, size_t size, const char *text, int err)
{
	if (why && size)
		snprintf(why, size, "%s", text);
	return err;
}

int process_check(const struct tide_process *process)
{
	uint64_t entry;
	ssize_t n;

	/* Nothing can be read of memory that nobody has any more. */
	n = pread(process->pagemap_fd, &entry, sizeof(entry), 0);
	if (n < 0)
		return -errno;
	return n ? 0 : -ESTALE;
}

/* ---- attach, detach ---- */

static int open_pagemap(struct tide_process *process)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)process->live);
	process->pagemap_fd = open(path, O_RDONLY | O_CLOEXEC);
	return process->pagemap_fd < 0 ? -errno : 0;
}

static int attach_space(struct tide_process *process)
{
	struct tide_wp_config config = {
		.size = sizeof(config),
		.uffd = process->uffd,
		.pagemap_fd = process->pagemap_fd,
	};
	int err = tide_space_create(&process->space);

	if (!err)
		err = tide_space_attach(process->space, TIDE_TRACKER_WP,
					&config);
	if (!err)
		err = tide_client_open(process->space, "keeper",
				       TIDE_START_CLEAN, &process->keeper);
	return err;
}

/* Return: 0; -ESTALE: it has executed another program meanwhile; another
 * negative errno. */
static int open_process(struct tide_process *process, char *why, size_t size)
{
	struct inject_result result;
	uint64_t begin_ns;
	int ret;

	process->live = maps_live_thread(process->pid);
	if (process->live == -EPERM)
		return say(why, size, "no permission to look at its memory",
			   -EPERM);
	if (process->live == -ESRCH)
		return say(why, size,
			   "there is no such process with memory to look at",
			   -ESRCH);
	if (process->live < 0)
		return say(why, size, "its memory cannot be looked at",
			   process->live);
	ret = open_pagemap(process);
	if (ret)
		return say(why, size, "its memory cannot be looked at", ret);
	process->uffd =
		inject_userfaultfd(process->pid, process->live, &result);
	if (process->uffd < 0)
		return say(why, size, result.why, process->uffd);
	process->stats.stopped_ns = result.stopped_ns;
	begin_ns = tide_now_ns();
	ret = attach_space(process);
	if (ret)
		return say(why, size, "the kernel cannot track it", ret);
	ret = tide_process_update(process);
	process->stats.updates = 0;
	process->stats.arm_ns = tide_now_ns() - begin_ns;
	if (ret == -ESTALE)
		return say(why, size, "it executes one program after another",
			   ret);
	if (ret == -ESRCH)
		return say(why, size, "it has ended", ret);
	if (ret < 0)
		return say(why, size, "its mappings cannot be read, or armed",
			   ret);
	if (process->stats.left_out[TIDE_LEFT_REGISTERED].mappings)
		return say(why, size, "its memory is registered already",
			   -EBUSY);
	if (!process->count)
		return say(why, size, "it has no memory that can be tracked",
			   -EOPNOTSUPP);
	return 0;
}

/* As if it had never been opened. */
static void close_process(struct tide_process *process)
{
	tide_client_close(process->keeper);
	tide_space_destroy(process->space);
	if (process->uffd >= 0)
		close(process->uffd);
	if (process->pagemap_fd >= 0)
		close(process->pagemap_fd);
	free(process->tracked);
	*process = (struct tide_process){
		.pid = process->pid,
		.uffd = -1,
		.pagemap_fd = -1,
		.next_slot = 1,
	};
}

int tide_process_attach(pid_t pid, struct tide_process **ret, char *why,
			size_t size)
{
	struct tide_process *process;
	int err = 0;

	if (pid <= 0)
		return say(why, size, "there is no such process", -ESRCH);
	if (pid == getpid())
		return say(why, size, "it is this process itself", -EINVAL);
	process = calloc(1, sizeof(*process));
	if (!process)
		return say(why, size, "no memory", -ENOMEM);
	process->pid = pid;
	process->uffd = process->pagemap_fd = -1;
	process->next_slot = 1;
	for (uint32_t i = 0; i < TRIES; i++) {
		err = open_process(process, why, size);
		if (!err)
			break;
		close_process(process);
		if (err != -ESTALE)
			break;
	}
	if (err) {
		free(process);
		return err;
	}
	*ret = process;
	return say(why, size, "", 0);
}

void tide_process_detach(struct tide_process *process)
{
	if (!process)
		return;
	close_process(process);
	free(process);
}

struct tide_space *tide_process_space(struct tide_process *process)
{
	return process->space;
}

int tide_process_mapping(const struct tide_process *process, uint32_t index,
			 struct tide_mapping *ret)
{
	if (index >= process->count)
		return -ENOENT;
	*ret = process->tracked[index].mapping;
	return 0;
}

/* ---- what is in it ---- */

#define POPULATED_REGIONS 512u
#define ENTRIES 512u
#define ENTRY_SWAPPED (1ull << 62)
#define ENTRY_SWAP_TYPE 0x1fu
#define SWAP_TYPE_MARKER 0x1fu /* the kernel's last one, on every version */

/* What the scan calls swapped may only be the marker that protects a page that
 * is not there.  Who may not see frame numbers cannot tell, and takes all. */
static int64_t add_swapped(const struct tide_process *process, uint64_t gfn,
			   uint64_t end_gfn, uint64_t first_gfn,
			   uint64_t *words)
{
	uint64_t entries[ENTRIES];
	int64_t found = 0;

	while (gfn < end_gfn) {
		uint64_t want =
			end_gfn - gfn < ENTRIES ? end_gfn - gfn : ENTRIES;
		ssize_t n = pread(process->pagemap_fd, entries,
				  want * sizeof(entries[0]),
				  (off_t)(gfn * sizeof(entries[0])));

		if (n < (ssize_t)sizeof(entries[0]))
			return n < 0 ? -errno : -ESRCH;
		n /= (ssize_t)sizeof(entries[0]);
		for (ssize_t i = 0; i < n; i++, gfn++) {
			uint64_t bit = gfn - first_gfn;

			if ((entries[i] & ENTRY_SWAPPED) &&
			    (entries[i] & ENTRY_SWAP_TYPE) == SWAP_TYPE_MARKER)
				continue;
			words[bit / 64] |= UINT64_C(1) << (bit % 64);
			found++;
		}
	}
	return found;
}

/* Where the first slot is that ends behind @address. */
static uint32_t find(const struct tide_process *process, uint64_t address)
{
	uint32_t low = 0, high = process->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (process->tracked[middle].mapping.end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* A page of a file's in a private mapping is the file's still.  One region may
 * be of several mappings. */
static int64_t add_present(const struct tide_process *process,
			   const struct wp_region *region, uint64_t first_gfn,
			   uint64_t *words)
{
	bool file = region->categories & PAGEMAP_FILE;
	uint32_t i = find(process, region->start);
	int64_t found = 0;

	for (; i < process->count; i++) {
		const struct tide_mapping *mapping =
			&process->tracked[i].mapping;
		uint64_t from = mapping->start, to = mapping->end;

		if (from >= region->end)
			break;
		if (file && !mapping->shared)
			continue;
		from = from < region->start ? region->start : from;
		to = to > region->end ? region->end : to;
		for (uint64_t gfn = from >> TIDE_PAGE_SHIFT;
		     gfn < to >> TIDE_PAGE_SHIFT; gfn++) {
			uint64_t bit = gfn - first_gfn;

			words[bit / 64] |= UINT64_C(1) << (bit % 64);
			found++;
		}
	}
	return found;
}

static int64_t add_region(const struct tide_process *process,
			  const struct wp_region *region, uint64_t first_gfn,
			  uint64_t *words)
{
	if (region->categories & PAGEMAP_SWAPPED)
		return add_swapped(process, region->start >> TIDE_PAGE_SHIFT,
				   region->end >> TIDE_PAGE_SHIFT, first_gfn,
				   words);
	return add_present(process, region, first_gfn, words);
}

int64_t tide_process_populated(const struct tide_process *process,
			       uint64_t first_gfn, uint64_t npages,
			       uint64_t *words)
{
	const uint64_t gfn_max = UINT64_MAX >> TIDE_PAGE_SHIFT;
	struct wp_region regions[POPULATED_REGIONS];
	struct wp_scan args = {
		.size = sizeof(args),
		.start = first_gfn << TIDE_PAGE_SHIFT,
		.vec = (uintptr_t)regions,
		.vec_len = POPULATED_REGIONS,
		/* The page of zeros that all share is no content. */
		.category_inverted = PAGEMAP_PFNZERO,
		.category_mask = PAGEMAP_PFNZERO,
		.category_anyof_mask = PAGEMAP_PRESENT | PAGEMAP_SWAPPED,
		.return_mask = PAGEMAP_FILE | PAGEMAP_PRESENT | PAGEMAP_SWAPPED,
	};
	int64_t found = 0;
	int n;

	if (first_gfn > gfn_max || npages > gfn_max - first_gfn)
		return -EINVAL;
	args.end = args.start + (npages << TIDE_PAGE_SHIFT);
	memset(words, 0, (npages + 63) / 64 * sizeof(*words));
	do {
		n = ioctl(process->pagemap_fd, WP_PAGEMAP_SCAN, &args);
		if (n < 0)
			return -errno;
		for (int i = 0; i < n; i++) {
			int64_t ret = add_region(process, &regions[i],
						 first_gfn, words);

			if (ret < 0)
				return ret;
			found += ret;
		}
		if (n)
			args.start = regions[n - 1].end;
	} while ((uint32_t)n == POPULATED_REGIONS && args.start < args.end);
	n = process_check(process);
	if (n)
		return n == -ESTALE ? -ESRCH : n;
	return found;
}

int64_t tide_process_read(const struct tide_process *process, uint64_t address,
			  void *to, size_t nbytes)
{
	struct iovec here = { to, nbytes };
	struct iovec there = { (void *)(uintptr_t)address, nbytes };
	ssize_t n = process_vm_readv(process->live, &here, 1, &there, 1, 0);

	return n < 0 ? -errno : n;
}

void tide_process_stats_get(const struct tide_process *process,
			    struct tide_process_stats *ret)
{
	*ret = process->stats;
}
