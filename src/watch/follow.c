/* SPDX-License-Identifier: MIT */
/*
 * follow.c - which mappings of a process are slots, from update to update
 *
 * Theory of operation
 * -------------------
 * The list of mappings is read, slots that mappings of their kind do not cover
 * any more are removed, all at once, and what no slot covers becomes new ones,
 * all at once.  Both lists are sorted, so that an update takes time in
 * proportion to them.  The process runs on meanwhile; what has changed again is
 * found by the next update.
 *
 * Compilers and collectors make memory writable for a moment, which no update
 * need ever see.  So private memory without a file is wanted if it can be read,
 * and a slot stays while all of it can; mprotect(2) leaves it registered.
 *
 * To protect pages that are not there the kernel makes page tables for them,
 * 2 MiB for a GiB, and every harvest walks them.  Of a mapping that is larger
 * than WHOLE_BYTES_MAX, as allocators and sanitizers reserve them, only what is
 * populated becomes slots, in blocks of BLOCK_BYTES, and each update looks for
 * more.  Nothing is lost: outside of the slots there is nothing, so whatever is
 * found there later was written since.  That is so of private memory only: a
 * shared page leaves the page tables and is still in the file.  The whole
 * mapping is registered first, because to register a part of it would part it
 * from the rest, and a process may have only so many mappings.
 *
 * What cannot be tracked is left out, counted, and tried again by each update.
 */
#include "watch/process_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "space/slots.h"
#include "tracker/wp_abi.h"
#include "watch/maps.h"

#define WHOLE_BYTES_MAX (16ull << 30)
#define SHARED_BYTES_MAX (1ull << 40) /* 2 GiB of page tables */
#define BLOCK_BYTES (2ull << 20)
#define REGIONS 512u

/* What one update finds. */
struct update {
	struct tide_process *process;
	struct map *maps; /* those that can be read or written */
	size_t map_count, map_max;
	struct tide_mapping *fresh; /* what no slot covers, ascending */
	size_t fresh_count, fresh_max;
};

/* Return: where the next of @count elements goes in @array, which may have
 * moved; NULL: no memory. */
static void *next_of(void **array, size_t *count, size_t *max, size_t size)
{
	if (*count == *max) {
		size_t more = *max * 2 + 64;
		void *moved = realloc(*array, more * size);

		if (!moved)
			return NULL;
		*array = moved;
		*max = more;
	}
	return (char *)*array + size * (*count)++;
}

/* Private, of no file, and not the kernel's own ([vdso] and others).  A long
 * name without its beginning is taken for a file's, which only costs a second
 * look. */
static bool is_anonymous(bool shared, const char *name)
{
	return !shared &&
	       (!*name || !strcmp(name, "[heap]") || !strcmp(name, "[stack]") ||
		!strncmp(name, "[anon:", strlen("[anon:")));
}

static bool is_wanted(const struct map *map)
{
	return (map->writable || is_anonymous(map->shared, map->name)) &&
	       strcmp(map->name, "[vsyscall]") != 0 &&
	       strncmp(map->name, "[vvar", strlen("[vvar")) != 0;
}

static int read_maps(struct update *update)
{
	struct map_file file;
	struct map map, *to;
	uint64_t listed = 0;
	int ret = maps_open(&file, update->process->live);

	if (ret)
		return ret;
	while ((ret = maps_next(&file, &map)) > 0) {
		/* It has become one with what was before it in the list. */
		if (map.start < listed)
			map.start = listed;
		if (map.start >= map.end)
			continue;
		listed = map.end;
		if (!map.readable && !map.writable)
			continue;
		to = next_of((void **)&update->maps, &update->map_count,
			     &update->map_max, sizeof(*to));
		if (!to) {
			ret = -ENOMEM;
			break;
		}
		*to = map;
	}
	maps_close(&file);
	return ret;
}

/* ---- slots that are not covered any more ---- */

/* By maps from number @at on, without a hole. */
static bool is_covered(const struct update *update, size_t at,
		       const struct tide_mapping *mapping)
{
	uint64_t from = mapping->start;

	for (; at < update->map_count && from < mapping->end; at++) {
		const struct map *map = &update->maps[at];

		if (map->start > from || map->shared != mapping->shared ||
		    strcmp(map->name, mapping->name) != 0)
			return false;
		from = map->end;
	}
	return from >= mapping->end;
}

/* Return: how many are not. */
static uint32_t look_for_slots(struct update *update)
{
	struct tide_process *process = update->process;
	uint32_t unseen = 0;
	size_t at = 0;

	for (uint32_t i = 0; i < process->count; i++) {
		struct tracked *tracked = &process->tracked[i];

		while (at < update->map_count &&
		       update->maps[at].end <= tracked->mapping.start)
			at++;
		tracked->seen = is_covered(update, at, &tracked->mapping);
		unseen += !tracked->seen;
	}
	return unseen;
}

static int by_id(const void *a, const void *b)
{
	const struct tide_slot_removal *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

/* Return: how many have gone; -ENOMEM. */
static int drop_unseen(struct update *update)
{
	struct tide_process *process = update->process;
	uint32_t unseen = look_for_slots(update);
	uint32_t kept = 0, n = 0;
	struct tide_slot_removal *gone;
	int err;

	if (!unseen)
		return 0;
	gone = calloc(unseen, sizeof(*gone));
	if (!gone)
		return -ENOMEM;
	for (uint32_t i = 0; i < process->count; i++) {
		if (!process->tracked[i].seen)
			gone[n++].id = process->tracked[i].mapping.slot;
	}
	err = tide_slots_remove(process->space, gone, n);
	for (uint32_t i = 0; i < process->count && !err; i++) {
		const struct tracked *tracked = &process->tracked[i];
		const struct tide_slot_removal key = {
			.id = tracked->mapping.slot,
		};
		const struct tide_slot_removal *found;

		found = tracked->seen
				? NULL
				: bsearch(&key, gone, n, sizeof(key), by_id);
		if (!found || found->err)
			process->tracked[kept++] = *tracked;
	}
	free(gone);
	if (err)
		return err;
	n = process->count - kept;
	process->count = kept;
	return (int)n;
}

/* ---- memory that no slot covers ---- */

static void leave_out(struct tide_process *process, enum tide_left_out why,
		      uint64_t bytes)
{
	process->stats.left_out[why].mappings++;
	process->stats.left_out[why].bytes += bytes;
}

static int add_fresh(struct update *update, const struct map *map,
		     uint64_t start, uint64_t end)
{
	struct tide_mapping *to =
		next_of((void **)&update->fresh, &update->fresh_count,
			&update->fresh_max, sizeof(*to));

	if (!to)
		return -ENOMEM;
	*to = (struct tide_mapping){
		.start = start,
		.end = end,
		.shared = map->shared,
	};
	memcpy(to->name, map->name, sizeof(to->name));
	return 0;
}

/* The blocks of [@start, @end) in which @region is; the first may be there
 * already. */
static int add_blocks(struct update *update, const struct map *map,
		      uint64_t start, uint64_t end,
		      const struct wp_region *region)
{
	uint64_t first = region->start / BLOCK_BYTES * BLOCK_BYTES;
	uint64_t last =
		(region->end + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
	struct tide_mapping *before = NULL;

	if (first < start)
		first = start;
	if (last > end)
		last = end;
	if (update->fresh_count)
		before = &update->fresh[update->fresh_count - 1];
	if (!before || before->end < first || before->end <= start)
		return add_fresh(update, map, first, last);
	if (before->end < last)
		before->end = last;
	return 0;
}

static int add_populated(struct update *update, const struct map *map,
			 uint64_t start, uint64_t end)
{
	struct wp_region regions[REGIONS];
	struct wp_scan args = {
		.size = sizeof(args),
		.start = start,
		.end = end,
		.vec = (uintptr_t)regions,
		.vec_len = REGIONS,
		.category_inverted = PAGEMAP_PFNZERO,
		.category_mask = PAGEMAP_PFNZERO,
		.category_anyof_mask = PAGEMAP_PRESENT | PAGEMAP_SWAPPED,
		.return_mask = PAGEMAP_PRESENT | PAGEMAP_SWAPPED,
	};
	int n, err = 0;

	do {
		n = ioctl(update->process->pagemap_fd, WP_PAGEMAP_SCAN, &args);
		if (n < 0)
			return -errno;
		for (int i = 0; i < n && !err; i++)
			err = add_blocks(update, map, start, end, &regions[i]);
		if (n)
			args.start = regions[n - 1].end;
	} while (!err && (uint32_t)n == REGIONS && args.start < args.end);
	return err;
}

/* [@start, @end) of the map is in no slot. */
static int look_at_gap(struct update *update, const struct map *map,
		       uint64_t start, uint64_t end)
{
	struct uffdio_register whole = {
		.range = { map->start, map->end - map->start },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	size_t before = update->fresh_count;
	int err;

	if (map->shared && map->end - map->start > SHARED_BYTES_MAX) {
		leave_out(update->process, TIDE_LEFT_REFUSED, end - start);
		return 0;
	}
	if (map->shared || map->end - map->start <= WHOLE_BYTES_MAX)
		return add_fresh(update, map, start, end);
	err = add_populated(update, map, start, end);
	if (err || update->fresh_count == before)
		return err;
	if (!ioctl(update->process->uffd, UFFDIO_REGISTER, &whole))
		return 0;
	leave_out(update->process,
		  errno == EBUSY ? TIDE_LEFT_REGISTERED : TIDE_LEFT_REFUSED,
		  end - start);
	update->fresh_count = before;
	return 0;
}

/* @i: the first slot that may lie in the map or behind it; moves on. */
static int look_at_map(struct update *update, const struct map *map,
		       uint32_t *i)
{
	const struct tide_process *process = update->process;
	uint64_t at = map->start;
	int err = 0;

	while (at < map->end && !err) {
		uint64_t until = map->end;

		while (*i < process->count &&
		       process->tracked[*i].mapping.end <= at)
			++*i;
		if (*i < process->count &&
		    process->tracked[*i].mapping.start < until)
			until = process->tracked[*i].mapping.start;
		if (at < until)
			err = look_at_gap(update, map, at, until);
		at = until < map->end ? process->tracked[*i].mapping.end
				      : until;
	}
	return err;
}

static int look_for_gaps(struct update *update)
{
	uint32_t i = 0;
	int err = 0;

	for (size_t m = 0; m < update->map_count && !err; m++) {
		if (!is_wanted(&update->maps[m]))
			continue;
		/* The analyser forgets here who frees the maps. */
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		err = look_at_map(update, &update->maps[m], &i);
	}
	return err;
}

/* ---- new slots ---- */

/* The first @count of what is fresh are slots now: among the others, where
 * there is room for them. */
static void merge_fresh(struct update *update, size_t count)
{
	struct tide_process *process = update->process;
	struct tracked *tracked = process->tracked;
	size_t old = process->count, to = old + count;

	process->count = (uint32_t)to;
	while (count) {
		const struct tide_mapping *mapping = &update->fresh[count - 1];

		if (old && tracked[old - 1].mapping.start > mapping->start) {
			tracked[--to] = tracked[--old];
			continue;
		}
		tracked[--to] = (struct tracked){ .mapping = *mapping };
		count--;
	}
}

static bool make_room(struct update *update)
{
	struct tide_process *process = update->process;
	struct tracked *tracked = realloc(
		process->tracked,
		(process->count + update->fresh_count) * sizeof(*tracked));

	if (tracked)
		process->tracked = tracked;
	return tracked != NULL;
}

static void describe(const struct update *update,
		     struct tide_slot_config *configs)
{
	for (size_t i = 0; i < update->fresh_count; i++) {
		const struct tide_mapping *mapping = &update->fresh[i];

		configs[i] = (struct tide_slot_config){
			.size = sizeof(configs[i]),
			.id = update->process->next_slot + (uint32_t)i,
			.flags = is_anonymous(mapping->shared, mapping->name)
					 ? TIDE_SLOT_ANONYMOUS
					 : 0,
			.first_gfn = mapping->start >> TIDE_PAGE_SHIFT,
			.npages = (mapping->end - mapping->start) >>
				  TIDE_PAGE_SHIFT,
			.host = (void *)(uintptr_t)mapping->start,
		};
	}
}

/* Keeps what has become a slot.  Return: how many have. */
static int64_t sift(struct update *update,
		    const struct tide_slot_config *configs, const int *errs)
{
	struct tide_process *process = update->process;
	size_t kept = 0;

	for (size_t i = 0; i < update->fresh_count; i++) {
		struct tide_mapping *mapping = &update->fresh[i];

		if (!errs[i]) {
			mapping->slot = configs[i].id;
			process->next_slot = configs[i].id + 1;
			update->fresh[kept++] = *mapping;
			continue;
		}
		/* A device's, or gone already (ENOMEM, too). */
		leave_out(process,
			  errs[i] == -EBUSY ? TIDE_LEFT_REGISTERED
					    : TIDE_LEFT_REFUSED,
			  mapping->end - mapping->start);
	}
	merge_fresh(update, kept);
	return (int64_t)kept;
}

/* Return: how many have come. */
static int add_slots(struct update *update)
{
	size_t count = update->fresh_count;
	struct tide_slot_config *configs;
	int64_t ret;
	int *errs;

	if (!count)
		return 0;
	configs = calloc(count, sizeof(*configs));
	errs = calloc(count, sizeof(*errs));
	ret = -ENOMEM;
	if (configs && errs && make_room(update)) {
		describe(update, configs);
		ret = tide_slots_add(update->process->space, configs,
				     (uint32_t)count, errs);
	}
	if (!ret)
		ret = sift(update, configs, errs);
	free(configs);
	free(errs);
	return (int)ret;
}

/* ---- an update ---- */

/* Return: 0; -ESRCH: it has ended; -ESTALE: it has other memory; a negative
 * errno. */
static int is_there(struct tide_process *process)
{
	pid_t live = maps_live_thread(process->pid);

	if (live < 0)
		return live;
	process->live = live;
	return process_check(process);
}

static int follow(struct update *update)
{
	struct tide_process *process = update->process;
	int gone, came, err = read_maps(update);

	if (err)
		return err;
	gone = drop_unseen(update);
	if (gone < 0)
		return gone;
	if (gone)
		tide_client_forget(process->keeper);
	memset(process->stats.left_out, 0, sizeof(process->stats.left_out));
	err = look_for_gaps(update);
	if (err)
		return err;
	came = add_slots(update);
	if (came < 0)
		return came;
	process->stats.updates += came || gone;
	return came + gone;
}

int tide_process_update(struct tide_process *process)
{
	struct update update = { .process = process };
	int ret = is_there(process);
	int err;

	if (ret)
		return ret;
	ret = follow(&update);
	free(update.maps);
	free(update.fresh);
	/* In the middle, which may be what has failed. */
	err = is_there(process);
	return err ? err : ret;
}
