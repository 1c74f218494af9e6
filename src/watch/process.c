/* SPDX-License-Identifier: MIT */
/*
 * process.c - another process's mappings as the slots of a space
 *
 * Theory of operation
 * -------------------
 * Every writable mapping is a slot, whose gfns are its addresses by pages.
 * Mappings come, go, grow and shrink while the target runs, so the list is read
 * again before each harvest: a slot that is not covered by mappings of its kind
 * any more is removed, and what no slot covers becomes new ones.  A mapping
 * that was replaced by another of the same place and size is not seen here; the
 * tracker's scan sees that it is not registered (wp.c).
 *
 * A client of our own keeps the tracker armed from attach to detach.
 *
 * A mapping that is too large is left out: to protect pages that are not there
 * the kernel makes page tables for them, which for the terabytes that some
 * allocators reserve is more memory than there is.
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

#define MAPPING_BYTES_MAX (256ull << 30)
#define WHY_MAX 96u

struct tracked {
	struct tide_mapping mapping;
	bool seen; /* in the list of this update */
};

struct tide_process {
	pid_t pid;
	pid_t live; /* a thread that has its memory */
	int uffd, pagemap_fd;
	struct tide_space *space;
	struct tide_client *keeper;
	struct tracked *tracked; /* sorted by start */
	uint32_t count, max;
	uint32_t next_slot;
	struct tide_process_stats stats;
};

static int say(char *why, size_t size, const char *text, int err)
{
	if (why && size)
		snprintf(why, size, "%s", text);
	return err;
}

/* ---- slots ---- */

static bool is_wanted(const struct map *map)
{
	return map->writable && map->readable &&
	       map->end - map->start <= MAPPING_BYTES_MAX &&
	       strcmp(map->name, "[vsyscall]") != 0 &&
	       strncmp(map->name, "[vvar", 5) != 0;
}

static int insert(struct tide_process *process, uint32_t at,
		  const struct tide_mapping *mapping)
{
	if (process->count == process->max) {
		uint32_t max = process->max * 2 + 64;
		struct tracked *tracked =
			realloc(process->tracked, max * sizeof(*tracked));

		if (!tracked)
			return -ENOMEM;
		process->tracked = tracked;
		process->max = max;
	}
	memmove(&process->tracked[at + 1], &process->tracked[at],
		(process->count - at) * sizeof(process->tracked[0]));
	process->tracked[at] =
		(struct tracked){ .mapping = *mapping, .seen = true };
	process->count++;
	return 0;
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

/* [start, end) of the map is covered by no slot.  Return: 1; 0 if it cannot be
 * tracked, and is left out; -ENOMEM, -EBUSY. */
static int track(struct tide_process *process, const struct map *map,
		 uint64_t start, uint64_t end)
{
	struct tide_mapping mapping = {
		.slot = process->next_slot,
		.start = start,
		.end = end,
		.shared = map->shared,
	};
	const struct tide_slot_config slot = {
		.size = sizeof(slot),
		.id = mapping.slot,
		.first_gfn = start >> TIDE_PAGE_SHIFT,
		.npages = (end - start) >> TIDE_PAGE_SHIFT,
		.host = (void *)(uintptr_t)start,
	};
	int err;

	memcpy(mapping.name, map->name, sizeof(mapping.name));
	err = tide_slot_add(process->space, &slot);
	if (err == -EBUSY || err == -ESRCH)
		return err;
	if (err)
		return 0; /* a device's, or gone already: ENOMEM, too */
	process->next_slot++;
	err = insert(process, find(process, start), &mapping);
	if (err) {
		(void)tide_slot_remove(process->space, slot.id);
		return err;
	}
	return 1;
}

static bool is_of(const struct tide_mapping *mapping, const struct map *map)
{
	return mapping->shared == map->shared &&
	       !strcmp(mapping->name, map->name);
}

/* Slots inside the map are kept; the rest of it becomes new ones, when those
 * that are gone have gone.  Return: 0 or how many came; a negative errno. */
static int look_at(struct tide_process *process, const struct map *map,
		   bool add)
{
	uint64_t at = map->start;
	int came = 0;

	while (at < map->end) {
		uint32_t i = find(process, at);
		struct tracked *tracked = &process->tracked[i];
		uint64_t until = map->end;

		if (i < process->count && tracked->mapping.start < until)
			until = tracked->mapping.start;
		if (at < until && add) {
			int ret = track(process, map, at, until);

			if (ret < 0)
				return ret;
			came += ret;
			at = until;
			continue;
		}
		if (at < until) {
			at = until;
			continue;
		}
		if (tracked->mapping.start >= map->start &&
		    tracked->mapping.end <= map->end &&
		    is_of(&tracked->mapping, map))
			tracked->seen = true;
		at = tracked->mapping.end;
	}
	return came;
}

static int pass(struct tide_process *process, bool add)
{
	struct map_file maps;
	struct map map;
	int came = 0;
	int ret = maps_open(&maps, process->live);

	if (ret)
		return ret;
	while ((ret = maps_next(&maps, &map)) > 0) {
		if (!is_wanted(&map))
			continue;
		ret = look_at(process, &map, add);
		if (ret < 0)
			break;
		came += ret;
	}
	maps_close(&maps);
	return ret < 0 ? ret : came;
}

static int drop_unseen(struct tide_process *process)
{
	uint32_t kept = 0;
	int gone = 0;

	for (uint32_t i = 0; i < process->count; i++) {
		struct tracked *tracked = &process->tracked[i];
		int ret = 0;

		if (!tracked->seen)
			ret = tide_slot_remove(process->space,
					       tracked->mapping.slot);
		if (tracked->seen || ret < 0)
			process->tracked[kept++] = *tracked;
		else
			gone++;
	}
	process->count = kept;
	return gone;
}

/* It has executed another program, and has other memory since: nothing can be
 * read by the descriptor of the old one. */
static bool has_executed(const struct tide_process *process)
{
	uint64_t entry;

	return pread(process->pagemap_fd, &entry, sizeof(entry), 0) <= 0;
}

int tide_process_update(struct tide_process *process)
{
	int gone, came;

	process->live = maps_live_thread(process->pid);
	if (process->live < 0)
		return -ESRCH;
	if (has_executed(process))
		return -ESTALE;
	for (uint32_t i = 0; i < process->count; i++)
		process->tracked[i].seen = false;
	came = pass(process, false);
	if (came < 0)
		return came;
	gone = drop_unseen(process);
	came = pass(process, true);
	if (came < 0)
		return came;
	process->stats.updates += came || gone;
	return came + gone;
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

static int open_process(struct tide_process *process, char *why, size_t size)
{
	struct inject_result result;
	uint64_t begin_ns;
	int ret;

	process->live = maps_live_thread(process->pid);
	if (process->live < 0)
		return say(why, size,
			   "there is no such process with memory to look at",
			   -ESRCH);
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
	if (ret == -EBUSY)
		return say(why, size, "its memory is registered already", ret);
	if (ret < 0)
		return say(why, size, "its mappings cannot be read, or armed",
			   ret);
	if (!process->count)
		return say(why, size, "it has no memory that can be tracked",
			   -EOPNOTSUPP);
	return 0;
}

int tide_process_attach(pid_t pid, struct tide_process **ret, char *why,
			size_t size)
{
	struct tide_process *process;
	int err;

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
	err = open_process(process, why, size);
	if (err) {
		tide_process_detach(process);
		return err;
	}
	*ret = process;
	return 0;
}

void tide_process_detach(struct tide_process *process)
{
	if (!process)
		return;
	tide_client_close(process->keeper);
	tide_space_destroy(process->space);
	if (process->uffd >= 0)
		close(process->uffd);
	if (process->pagemap_fd >= 0)
		close(process->pagemap_fd);
	free(process->tracked);
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

static int64_t add_region(const struct tide_process *process,
			  const struct wp_region *region, uint64_t first_gfn,
			  uint64_t *words)
{
	uint64_t gfn = region->start >> TIDE_PAGE_SHIFT;
	uint64_t end_gfn = region->end >> TIDE_PAGE_SHIFT;

	if (region->categories & PAGEMAP_SWAPPED)
		return add_swapped(process, gfn, end_gfn, first_gfn, words);
	for (uint64_t i = gfn - first_gfn; i < end_gfn - first_gfn; i++)
		words[i / 64] |= UINT64_C(1) << (i % 64);
	return (int64_t)(end_gfn - gfn);
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
		.return_mask = PAGEMAP_PRESENT | PAGEMAP_SWAPPED,
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
	return has_executed(process) ? -ESRCH : found;
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
