/* SPDX-License-Identifier: MIT */
/*
 * engine.c - random operations on a space, compared with a plain set model
 *
 * Theory of operation
 * -------------------
 * Operation i takes its random numbers from a generator of its own, seeded
 * with (seed, i), and reads them against the state it finds.  So operations
 * can be left out and the rest still makes sense: that is how a failure is
 * made smaller.
 *
 * Every write is told to the model before or with the library's call that
 * makes it official (the mark, or the guest's own store), every extent is
 * given to the model as soon as it is handed out, and the model says what is
 * wrong.  At the end every client harvests until nothing comes, and every
 * page of every slot must be what the client was handed last.
 */
#include "engine.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <tidemark/client.h>
#include <tidemark/mark.h>

#include "model.h"

#define SLOTS_MAX 64
#define LOG_LINES 40
#define LOG_WIDTH 76
#define FIRST_GFN 0x200u
#define SPARSE_GFN 0x100000u			  /* 4 GiB */
#define SPARSE_PAGES (0x100000u + 0x10000u + 63u) /* and a bit more */
#define GFN_END 0x400000u			  /* 16 GiB */
#define BURST 600u

struct place {	    /* a slot that is there, or may come back */
	bool fixed; /* holds what the guest needs: leave it alone */
	struct tide_slot_info info;
};

struct engine {
	const struct conform_backend *backend;
	const struct conform_options *options;
	uint64_t seed;
	void *self;
	struct tide_space *space;
	struct model model;
	struct tide_client *client[MODEL_CLIENTS];
	struct tide_harvest *harvest[MODEL_CLIENTS];
	struct place place[SLOTS_MAX];
	uint32_t places;
	bool owns_memory;

	uint64_t random; /* of the operation that runs */
	uint64_t value;	 /* last one written; every write has its own */
	bool hooked;	 /* in the middle of a call: no calls that lock */
	bool hook_on;
	bool faulty;	   /* an error was injected */
	uint32_t failures; /* that came of it */
	struct conform_report report;

	char log[LOG_LINES][LOG_WIDTH];
	uint32_t logged;
};

/* ---- random numbers and the log ---- */

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static uint64_t draw(struct engine *e, uint64_t below)
{
	e->random = mix(e->random);
	return below ? e->random % below : 0;
}

static bool chance(struct engine *e, uint64_t one_in)
{
	return draw(e, one_in) == 0;
}

__attribute__((format(printf, 2, 3))) static void note(struct engine *e,
						       const char *format, ...)
{
	char *line = e->log[e->logged++ % LOG_LINES];
	va_list args;
	int n = snprintf(line, LOG_WIDTH, "  %5u%s ", e->model.now,
			 e->hooked ? "+" : "");

	va_start(args, format);
	vsnprintf(line + n, LOG_WIDTH - (size_t)n, format, args);
	va_end(args);
}

static int broken(struct engine *e, const char *what, int got, int expected)
{
	return model_fail(&e->model, "%s returned %d, expected %d", what, got,
			  expected);
}

/* ---- set up and tear down ---- */

static uint64_t slot_size(struct engine *e, uint32_t index)
{
	static const uint16_t sizes[] = { 130, 1,   63,	 64,  65, 127,
					  128, 129, 191, 200, 515 };

	if (index == 0 && e->options->flags & CONFORM_SPARSE)
		return SPARSE_PAGES;
	if (e->options->slots == 1)
		return 130 + draw(e, 500);
	return sizes[draw(e, sizeof(sizes) / sizeof(sizes[0]))];
}

static void *slot_memory(struct engine *e, uint64_t npages)
{
	void *host;

	if (e->backend->memory)
		return e->backend->memory(e->self, npages);
	host = mmap(NULL, npages << TIDE_PAGE_SHIFT, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return host == MAP_FAILED ? NULL : host;
}

static int layout_create(struct engine *e)
{
	uint64_t gfn = FIRST_GFN;

	e->owns_memory = !e->backend->memory;
	for (uint32_t i = 0; i < e->options->slots; i++) {
		struct tide_slot_info *info = &e->place[i].info;
		bool sparse = i == 0 && e->options->flags & CONFORM_SPARSE;

		info->id = i;
		info->npages = slot_size(e, i);
		info->first_gfn = sparse ? SPARSE_GFN : gfn;
		info->host = slot_memory(e, info->npages);
		if (!info->host)
			return -ENOMEM;
		e->places++;
		if (!sparse)
			gfn += info->npages + (chance(e, 2) ? draw(e, 70) : 0);
	}
	return 0;
}

static int layout_add(struct engine *e)
{
	for (uint32_t i = 0; i < e->places; i++) {
		const struct tide_slot_info *info = &e->place[i].info;
		int err = tide_slot_add(e->space,
					&(struct tide_slot_config){
						.id = info->id,
						.first_gfn = info->first_gfn,
						.npages = info->npages,
						.host = info->host });

		if (err)
			return err;
		if (!model_slot_add(&e->model, info, false))
			return -ENOMEM;
	}
	return 0;
}

static bool reserved(struct engine *e, uint64_t gfn)
{
	return e->backend->reserved && e->backend->reserved(e->self, gfn);
}

/* The backend's own slots. */
static int layout_take(struct engine *e)
{
	struct tide_slot_info info;

	while (e->places < SLOTS_MAX &&
	       !tide_slot_get(e->space, e->places, &info)) {
		struct place *place = &e->place[e->places++];
		struct model_slot *slot =
			model_slot_add(&e->model, &info, true);

		if (!slot)
			return -ENOMEM;
		place->info = info;
		for (uint64_t i = 0; i < info.npages; i++) {
			slot->wild[i] = reserved(e, info.first_gfn + i);
			place->fixed |= slot->wild[i];
		}
	}
	return 0;
}

static int engine_create(struct engine *e)
{
	int err;

	e->random = mix(e->seed);
	e->model.shared_is_legal = e->backend->properties & CONFORM_SHARED;
	e->model.start_is_all = e->backend->properties & CONFORM_START_ALL;
	err = e->backend->create(e->backend, e->options, e->seed, &e->self);
	if (err)
		return err;
	e->space = e->backend->space(e->self);
	e->model.host_read = e->backend->host_read;
	e->model.opaque = e->self;
	if (e->backend->properties & CONFORM_FIXED)
		return layout_take(e);
	err = layout_create(e);
	return err ? err : layout_add(e);
}

static void engine_destroy(struct engine *e)
{
	if (e->self && e->backend->hook)
		e->backend->hook(e->self, NULL, NULL);
	for (int c = 0; c < MODEL_CLIENTS; c++)
		tide_client_close(e->client[c]);
	if (e->self)
		e->backend->destroy(e->self);
	for (uint32_t i = 0; e->owns_memory && i < e->places; i++)
		munmap(e->place[i].info.host,
		       e->place[i].info.npages << TIDE_PAGE_SHIFT);
	model_fini(&e->model);
}

/* ---- writes ---- */

/* A page to write: clustered, so that words and extents fill up. */
static struct model_slot *pick_page(struct engine *e, uint64_t *ret_page)
{
	struct model_slot *slot;
	uint64_t page;

	slot = model_slot_by_id(&e->model,
				e->place[draw(e, e->places)].info.id);
	if (!slot)
		return NULL;
	switch (draw(e, 4)) {
	case 0: /* the last word */
		page = slot->npages - 1 -
		       draw(e, slot->npages < 64 ? slot->npages : 64);
		break;
	case 1:
		page = draw(e, slot->npages < 130 ? slot->npages : 130);
		break;
	default:
		page = draw(e, slot->npages);
		break;
	}
	if (reserved(e, slot->first_gfn + page))
		return NULL;
	*ret_page = page;
	return slot;
}

static uint8_t *page_at(const struct model_slot *slot, uint64_t page)
{
	return slot->host + (page << TIDE_PAGE_SHIFT);
}

static int guest_write(struct engine *e, struct model_slot *slot,
		       uint64_t first, uint64_t count)
{
	uint64_t gfns[BURST];
	int done;

	if (slot->flags & TIDE_SLOT_READONLY)
		return 0;
	for (uint64_t i = 0; i < count; i++)
		gfns[i] = slot->first_gfn + first + i;
	note(e, "guest writes slot %u page %ju+%ju", slot->id, (uintmax_t)first,
	     (uintmax_t)count);
	done = e->backend->guest_write(e->self, gfns, (size_t)count,
				       ++e->value);
	/* An error may have left KVM's VM without the slot until the next
	 * collect. */
	if (done == -EFAULT && e->report.faults &&
	    e->backend->tracker <= TIDE_TRACKER_KVM_RING)
		return 0;
	if (done < 0 && !e->faulty)
		return broken(e, "guest_write", done, (int)count);
	if (done != (int)count && !e->hooked && !e->faulty)
		return broken(e, "guest_write", done, (int)count);
	for (int i = 0; i < done; i++)
		model_write(&e->model, slot, first + (uint64_t)i);
	e->report.writes += done > 0 ? (uint64_t)done : 0;
	return 0;
}

/* The mark may find no slot only in the middle of a slot change. */
static int marked(struct engine *e, struct model_slot *slot, uint64_t first,
		  uint64_t count, int result)
{
	bool gone = e->hooked && result == -ENOENT;

	e->report.marks++;
	for (uint64_t i = 0; i < count; i++) {
		slot->touched[first + i] = 1;
		if (!gone)
			model_write(&e->model, slot, first + i);
	}
	return result && !gone ? broken(e, "mark", result, 0) : 0;
}

/* Bytes from the last word of a page to the first byte of the last page. */
static size_t span(uint64_t count)
{
	return count == 1 ? 8 : (count - 2) * TIDE_PAGE_SIZE + 9;
}

static int mark_by(struct engine *e, struct model_slot *slot, uint64_t first,
		   uint64_t count)
{
	uint64_t gfn = slot->first_gfn + first;
	uint64_t words[BURST / 64 + 1] = { 0 };

	switch (draw(e, 5)) {
	case 0:
		for (uint64_t i = 0; i < count; i++) {
			int err = tide_mark(e->space, gfn + i);

			if (err)
				return err;
		}
		return 0;
	case 1:
		return tide_mark_range(e->space, gfn, count);
	case 2:
		return tide_mark_bytes(
			e->space, (gfn << TIDE_PAGE_SHIFT) + 4088, span(count));
	case 3:
		return tide_mark_host(e->space, page_at(slot, first) + 4088,
				      span(count));
	default:
		for (uint64_t i = 0; i < count; i++)
			words[i / 64] |= 1ull << (i % 64);
		/* Bits beyond the end are ignored. */
		if (count % 64)
			words[count / 64] |= ~0ull << (count % 64);
		return tide_mark_bitmap(e->space, gfn, count, words);
	}
}

static int host_write(struct engine *e, uint8_t *at)
{
	if (e->backend->host_write)
		return e->backend->host_write(e->self, at, &e->value,
					      sizeof(e->value));
	memcpy(at, &e->value, sizeof(e->value));
	return 0;
}

/* Write first, mark afterwards, like every device. */
static int device_write(struct engine *e, struct model_slot *slot,
			uint64_t first, uint64_t count)
{
	int result;

	note(e, "device writes slot %u page %ju+%ju", slot->id,
	     (uintmax_t)first, (uintmax_t)count);
	e->value++;
	for (uint64_t i = 0; i < count; i++) {
		int err = host_write(e, page_at(slot, first + i) + 4088);

		if (err && !e->faulty)
			return broken(e, "host_write", err, 0);
		if (err)
			count = i; /* what was written is marked */
	}
	if (!count)
		return 0;
	result = mark_by(e, slot, first, count);
	return marked(e, slot, first, count, result);
}

static int op_write(struct engine *e, int kind)
{
	uint64_t first = 0;
	struct model_slot *slot = pick_page(e, &first);
	uint64_t count = chance(e, 3) ? 1 + draw(e, 70) : 1 + draw(e, 3);
	bool guest = e->backend->guest_write != NULL;

	if (!slot)
		return 0;
	if (kind == 0 && chance(e, 40))
		count = BURST;
	if (count > slot->npages - first)
		count = slot->npages - first;
	for (uint64_t i = 0; i < count; i++)
		if (reserved(e, slot->first_gfn + first + i))
			return 0;
	if (kind == 0 && slot->flags & TIDE_SLOT_READONLY)
		return 0;
	if (kind == 0 && guest)
		return guest_write(e, slot, first, count);
	if (kind == 2 && guest && guest_write(e, slot, first, count))
		return -1;
	return device_write(e, slot, first, count);
}

/* In the middle of a call into the kernel. */
static void hook(void *opaque)
{
	struct engine *e = opaque;

	if (!e->hook_on || e->hooked || draw(e, 3))
		return;
	e->hooked = true;
	for (uint64_t n = 1 + draw(e, 3); n; n--)
		(void)op_write(e, (int)draw(e, 3)); /* the model remembers */
	e->hooked = false;
}

/* ---- harvests ---- */

static int pick_client(struct engine *e)
{
	int c = (int)draw(e, e->options->clients);

	return e->client[c] ? c : -1;
}

/* Re-armed; or, after an error in somebody's begin, written since ours and
 * sure to come once more. */
static bool is_armed(struct engine *e, int c, uint64_t gfn)
{
	const struct model_slot *slot = model_slot_by_gfn(&e->model, gfn);

	if (!slot || e->backend->armed(e->self, gfn))
		return true;
	return (e->faulty || e->report.faults) &&
	       slot->written_at[gfn - slot->first_gfn] >=
		       e->model.clients[c].began;
}

static int check_armed(struct engine *e, int c,
		       const struct tide_extent *extent)
{
	if (!e->backend->armed || extent->flags & TIDE_EXTENT_GONE)
		return 0;
	for (uint64_t i = 0; i < extent->npages; i++) {
		if (i == 200 && extent->npages > 400)
			i = extent->npages - 200;
		if (!is_armed(e, c, extent->first_gfn + i))
			return model_fail(&e->model,
					  "C2: slot %u gfn %jx handed out and "
					  "not armed",
					  extent->slot,
					  (uintmax_t)extent->first_gfn + i);
	}
	return 0;
}

static uint64_t digest_of(struct engine *e, int c,
			  const struct tide_extent *extent)
{
	struct model_slot *slot = model_slot_by_id(&e->model, extent->slot);
	uint64_t sum = 0;

	if (extent->flags & TIDE_EXTENT_GONE || !slot)
		return 0;
	for (uint64_t i = 0; i < extent->npages; i++) {
		uint64_t page = extent->first_gfn - slot->first_gfn + i;

		if (page < slot->npages &&
		    slot->view[c].state[page] & MODEL_MUST)
			sum += mix(mix((uint64_t)c << 32 | slot->id) + page);
	}
	return sum;
}

static int op_begin(struct engine *e, int c)
{
	int result;

	if (c < 0)
		return 0;
	if (e->harvest[c]) {
		struct tide_harvest *second = NULL;

		result = tide_harvest_begin(e->client[c], &second);
		return result == -EBUSY ? 0
					: broken(e, "begin", result, -EBUSY);
	}
	model_before_begin(&e->model, c);
	result = tide_harvest_begin(e->client[c], &e->harvest[c]);
	note(e, "client %d begins: %d", c, result);
	if (result) {
		e->harvest[c] = NULL;
		if (!e->faulty)
			return broken(e, "begin", result, 0);
		model_all_may(&e->model);
	}
	model_begun(&e->model, c, result);
	model_share(&e->model, c);
	e->report.harvests += result == 0;
	return 0;
}

/* Return: 1 for an extent, 0 at the end or after an error, -1. */
static int next_extent(struct engine *e, int c)
{
	struct tide_extent extent;
	int result = tide_harvest_next(e->harvest[c], &extent);

	if (result < 0) {
		note(e, "client %d next: %d", c, result);
		if (!e->faulty && !e->model.clients[c].failed)
			return broken(e, "next", result, 0);
		model_next_failed(&e->model, c);
		return 0;
	}
	if (result == 0)
		return model_end(&e->model, c);
	if (e->model.clients[c].failed)
		return model_fail(&e->model, "next went on after an error");
	if (extent.slot == CONFORM_OWN_SLOT) {
		e->model.clients[c].yielded += extent.npages;
		return 1;
	}
	note(e, "client %d gets slot %u gfn %jx+%ju%s", c, extent.slot,
	     (uintmax_t)extent.first_gfn, (uintmax_t)extent.npages,
	     extent.flags ? " gone" : "");
	e->report.digest += digest_of(e, c, &extent);
	e->report.yielded += extent.npages;
	model_share(&e->model, c);
	if (check_armed(e, c, &extent) || model_yield(&e->model, c, &extent))
		return -1;
	return 1;
}

static int op_next(struct engine *e, int c, uint64_t count)
{
	if (c < 0 || !e->harvest[c] || e->model.clients[c].failed)
		return 0;
	while (count--) {
		int more = next_extent(e, c);

		if (more <= 0)
			return more;
	}
	return 0;
}

static int op_commit(struct engine *e, int c)
{
	bool failed;
	int result;

	if (c < 0 || !e->harvest[c])
		return 0;
	failed = e->model.clients[c].failed;
	result = tide_harvest_commit(e->harvest[c]);
	e->harvest[c] = NULL;
	note(e, "client %d commits: %d", c, result);
	if (result != (failed ? -ECANCELED : 0))
		return broken(e, "commit", result, failed ? -ECANCELED : 0);
	if (failed)
		model_abort(&e->model, c);
	else
		model_commit(&e->model, c);
	return 0;
}

static int op_abort(struct engine *e, int c)
{
	if (c < 0 || !e->harvest[c])
		return 0;
	tide_harvest_abort(e->harvest[c]);
	e->harvest[c] = NULL;
	note(e, "client %d aborts", c);
	model_abort(&e->model, c);
	return 0;
}

/* begin if none is open, next to the end, commit */
static int op_whole(struct engine *e, int c)
{
	if (c < 0)
		return 0;
	if (!e->harvest[c] && op_begin(e, c))
		return -1;
	if (op_next(e, c, UINT64_MAX))
		return -1;
	e->report.digest = mix(e->report.digest);
	return op_commit(e, c);
}

static int op_harvest(struct engine *e)
{
	int c = pick_client(e);

	if (e->options->flags & CONFORM_WHOLE_HARVESTS)
		return op_whole(e, c);
	switch (draw(e, 8)) {
	case 0:
	case 1:
		return op_begin(e, c);
	case 2:
	case 3:
	case 4:
		if (c >= 0 && !e->harvest[c] && op_begin(e, c))
			return -1;
		return op_next(e, c, 1 + draw(e, 6));
	case 5:
		return op_commit(e, c);
	case 6:
		return op_abort(e, c);
	default:
		return op_whole(e, c);
	}
}

/* ---- clients ---- */

static int client_open(struct engine *e, int c)
{
	enum tide_start start =
		chance(e, 3) ? TIDE_START_ALL_DIRTY : TIDE_START_CLEAN;
	char name[16];
	int result;

	snprintf(name, sizeof(name), "client-%d", c);
	result = tide_client_open(e->space, name, start, &e->client[c]);
	note(e, "client %d opens %s: %d", c,
	     start == TIDE_START_CLEAN ? "clean" : "all dirty", result);
	if (result) {
		e->client[c] = NULL;
		model_all_may(&e->model);
		return e->faulty ? 0 : broken(e, "open", result, 0);
	}
	model_client_open(&e->model, c, start);
	return 0;
}

/* The library's counters are the model's. */
static int check_stats(struct engine *e, int c)
{
	const struct model_client *own = &e->model.clients[c];
	struct tide_client_stats stats;

	tide_client_stats_get(e->client[c], &stats);
	if (stats.commits != own->commits ||
	    stats.pages_yielded != own->yielded)
		return model_fail(&e->model,
				  "client %d: stats say %ju commits, %ju "
				  "pages; %ju and %ju it was",
				  c, (uintmax_t)stats.commits,
				  (uintmax_t)stats.pages_yielded,
				  (uintmax_t)own->commits,
				  (uintmax_t)own->yielded);
	return 0;
}

static int op_client(struct engine *e)
{
	int c = (int)draw(e, e->options->clients);

	if (!e->client[c])
		return client_open(e, c);
	if (!chance(e, 3))
		return 0;
	if (!e->harvest[c] && check_stats(e, c))
		return -1;
	tide_client_close(e->client[c]);
	note(e, "client %d closes", c);
	e->client[c] = NULL;
	e->harvest[c] = NULL;
	model_client_close(&e->model, c);
	if (e->faulty)
		model_all_may(&e->model);
	return 0;
}

/* ---- slots ---- */

static int check_slots(struct engine *e)
{
	struct tide_slot_info info;
	uint64_t last = 0;
	uint32_t n = 0, have = 0;

	for (uint32_t i = 0; !tide_slot_get(e->space, i, &info); i++) {
		struct model_slot *s = model_slot_by_id(&e->model, info.id);

		if (info.id == CONFORM_OWN_SLOT)
			continue;
		n++;
		if (!s || s->first_gfn != info.first_gfn ||
		    s->npages != info.npages || s->flags != info.flags ||
		    (void *)s->host != info.host || info.first_gfn < last)
			return model_fail(&e->model,
					  "slot %u is not what it was made",
					  info.id);
		last = info.first_gfn;
	}
	for (struct model_slot *s = e->model.slots; s; s = s->next)
		have += !s->gone;
	return n == have ? 0
			 : model_fail(&e->model, "%u slots, expected %u", n,
				      have);
}

static int slot_add(struct engine *e, struct place *place)
{
	struct tide_slot_info info = place->info;
	bool is_free;
	int result;

	if (!(e->backend->properties & CONFORM_FIXED) && chance(e, 3))
		info.first_gfn = FIRST_GFN + draw(e, 0x8000);
	info.flags = chance(e, 6) ? TIDE_SLOT_UNLOGGED : 0;
	is_free =
		model_range_free(&e->model, NULL, info.first_gfn, info.npages);
	result = tide_slot_add(e->space, &(struct tide_slot_config){
						 .id = info.id,
						 .flags = info.flags,
						 .first_gfn = info.first_gfn,
						 .npages = info.npages,
						 .host = info.host });
	note(e, "add slot %u at %jx+%ju flags %u: %d", info.id,
	     (uintmax_t)info.first_gfn, (uintmax_t)info.npages, info.flags,
	     result);
	if (result && e->faulty)
		return 0;
	if (result != (is_free ? 0 : -EEXIST))
		return broken(e, "add", result, is_free ? 0 : -EEXIST);
	if (result)
		return 0;
	return model_slot_add(&e->model, &info,
			      e->backend->properties & CONFORM_FIXED)
		       ? 0
		       : -1;
}

static int slot_remove(struct engine *e, struct model_slot *slot)
{
	int result = tide_slot_remove(e->space, slot->id);
	uint32_t id = slot->id;
	int busy = 0;

	note(e, "remove slot %u: %d", id, result);
	if (result < 0) {
		if (!e->faulty)
			return broken(e, "remove", result, 0);
		model_slot_dirty(&e->model, slot,
				 !(slot->flags & TIDE_SLOT_UNLOGGED));
		return 0;
	}
	for (int c = 0; c < MODEL_CLIENTS; c++)
		busy += e->harvest[c] && slot->view[c].in_hand;
	model_slot_remove(&e->model, slot);
	if (result < busy)
		return broken(e, "remove", result, busy);
	result = tide_slot_busy(e->space, id);
	busy = model_busy(&e->model, id);
	return result < busy ? broken(e, "busy", result, busy) : 0;
}

static int slot_move(struct engine *e, struct model_slot *slot)
{
	uint64_t gfn = chance(e, 2) ? FIRST_GFN + draw(e, 0x8000)
				    : slot->first_gfn + draw(e, 70);
	bool is_free;
	int result;

	if (gfn + slot->npages > GFN_END)
		gfn = FIRST_GFN;
	is_free = model_range_free(&e->model, slot, gfn, slot->npages);
	result = tide_slot_move(e->space, slot->id, gfn);
	note(e, "move slot %u to %jx: %d", slot->id, (uintmax_t)gfn, result);
	if (result && e->faulty) {
		model_slot_dirty(&e->model, slot, false);
		return 0;
	}
	if (result != (is_free ? 0 : -EEXIST))
		return broken(e, "move", result, is_free ? 0 : -EEXIST);
	if (!result)
		model_slot_move(&e->model, slot, gfn);
	return 0;
}

static uint32_t flags_now(struct engine *e, uint32_t id)
{
	struct tide_slot_info info = { .flags = 0 };

	for (uint32_t i = 0; !tide_slot_get(e->space, i, &info); i++)
		if (info.id == id)
			break;
	return info.flags;
}

/* Return: failures since the injection. */
static uint32_t calm(struct engine *e)
{
	e->failures += e->backend->calm(e->self);
	return e->failures;
}

static int slot_flags(struct engine *e, struct model_slot *slot)
{
	uint32_t flags = (uint32_t)draw(e, 8);
	uint32_t changed = flags ^ slot->flags;
	int result;

	result = tide_slot_set_flags(e->space, slot->id, flags);
	note(e, "slot %u flags %u: %d", slot->id, flags, result);
	if (result) {
		if (!e->faulty)
			return broken(e, "set_flags", result, 0);
		/* Undoing it may have failed too. */
		if (calm(e) > 1)
			slot->flags = flags_now(e, slot->id);
		model_slot_dirty(&e->model, slot,
				 !(slot->flags & TIDE_SLOT_UNLOGGED));
		return 0;
	}
	slot->flags = flags;
	if (changed & TIDE_SLOT_READONLY)
		model_slot_dirty(&e->model, slot, false);
	if (changed & ~flags & TIDE_SLOT_UNLOGGED)
		model_slot_dirty(&e->model, slot, true);
	return 0;
}

/* Between two operations, so that the backend can look at the slots. */
static void set_hook(struct engine *e)
{
	if (e->backend->hook && !(e->options->flags & CONFORM_NO_HOOKS)) {
		e->backend->hook(e->self, hook, e);
		e->hook_on = true;
	}
}

static int op_slot(struct engine *e)
{
	struct place *place = &e->place[draw(e, e->places)];
	struct model_slot *slot;
	int err;

	if (e->options->flags & CONFORM_NO_SLOT_CHANGES || place->fixed)
		return 0;
	slot = model_slot_by_id(&e->model, place->info.id);
	/* Writes in the middle of these calls may be in either half. */
	e->hook_on = false;
	if (!slot)
		err = slot_add(e, place);
	else if (chance(e, 3))
		err = slot_remove(e, slot);
	else if (chance(e, 2) && !(e->backend->properties & CONFORM_FIXED))
		err = slot_move(e, slot);
	else
		err = slot_flags(e, slot);
	set_hook(e);
	return err ? err : check_slots(e);
}

/* ---- one run ---- */

static int op_any(struct engine *e)
{
	uint64_t kind = draw(e, 100);

	if (kind < 45)
		return op_write(e, (int)draw(e, 3));
	if (kind < 84)
		return op_harvest(e);
	if (kind < 92)
		return op_slot(e);
	return op_client(e);
}

static int op_run(struct engine *e, uint32_t index)
{
	int err;

	e->model.now = index + 2;
	e->random = mix(e->seed * 0x2545f4914f6cdd1du + index);
	e->faulty = chance(e, 25) && e->backend->inject &&
		    !(e->options->flags & CONFORM_NO_FAULTS);
	e->failures = 0;
	if (e->faulty) {
		e->backend->inject(e->self, draw(e, UINT64_MAX));
		note(e, "an error is injected");
	}
	err = op_any(e);
	/* It lasts for a while, and the guest goes on. */
	while (!err && e->faulty && chance(e, 2)) {
		model_all_may(&e->model);
		err = chance(e, 2) ? op_any(e) : op_write(e, 0);
	}
	if (e->faulty && calm(e)) {
		e->report.faults++;
		model_all_may(&e->model);
	}
	e->faulty = false;
	return err || e->model.error[0] ? -1 : 0;
}

/* Until nothing comes; the third round has nothing left to add (C6). */
static int at_rest(struct engine *e)
{
	uint64_t before = 0;

	e->hook_on = false;
	for (int c = 0; c < MODEL_CLIENTS; c++)
		if (op_abort(e, e->client[c] ? c : -1))
			return -1;
	for (int round = 0; round < 3; round++) {
		before = e->report.yielded;
		for (int c = 0; c < MODEL_CLIENTS; c++) {
			e->model.now++;
			if (op_whole(e, e->client[c] ? c : -1))
				return -1;
		}
	}
	if (e->report.yielded != before && !e->backend->reserved)
		return model_fail(&e->model, "C6: nobody writes, and a third "
					     "harvest is not empty");
	for (int c = 0; c < MODEL_CLIENTS; c++) {
		if (!e->client[c])
			continue;
		if (model_at_rest(&e->model, c) || check_stats(e, c))
			return -1;
		if (tide_client_pending(e->client[c]) && !e->backend->reserved)
			return model_fail(&e->model, "pending at rest");
	}
	return 0;
}

/* @skip: operations left out, or NULL.  Return: as conform_run(). */
static int run_once(struct engine *e, const bool *skip)
{
	int err = engine_create(e);

	if (err) {
		engine_destroy(e);
		return err;
	}
	set_hook(e);
	e->model.now = 1; /* 0: never */
	for (uint32_t c = 0; c < e->options->clients && !err; c++)
		err = client_open(e, (int)c);
	for (uint32_t i = 0; i < e->options->operations && !err; i++)
		if (!skip || !skip[i])
			err = op_run(e, i);
	if (!err)
		err = at_rest(e);
	engine_destroy(e);
	if (!err && !e->model.error[0]) {
		e->report.extras_shared = e->model.extras_shared;
		e->report.extras_start = e->model.extras_start;
		e->report.extras_gone = e->model.extras_gone;
	}
	return err || e->model.error[0] ? 1 : 0;
}

static void engine_init(struct engine *e, const struct conform_backend *backend,
			const struct conform_options *options, uint64_t seed)
{
	memset(e, 0, sizeof(*e));
	e->backend = backend;
	e->options = options;
	e->seed = seed;
}

/* Leaves out halves, quarters, ... as long as it still fails; e then holds
 * the smallest run that does. */
static void make_smaller(struct engine *e, struct engine *trial, bool *skip)
{
	uint32_t n = e->model.now - 1 < e->options->operations
			     ? e->model.now - 1
			     : e->options->operations;
	int tries = 120;

	for (uint32_t i = n; i < e->options->operations; i++)
		skip[i] = true;
	for (uint32_t step = n / 2; step && tries; step /= 2) {
		for (uint32_t at = 0; at < n && tries; at += step) {
			uint32_t end = at + step < n ? at + step : n;
			bool old[4096];

			if (skip[at] && step == 1)
				continue;
			memcpy(old, skip, sizeof(old));
			memset(skip + at, true, end - at);
			engine_init(trial, e->backend, e->options, e->seed);
			tries--;
			if (run_once(trial, skip) == 1)
				memcpy(e, trial, sizeof(*e));
			else
				memcpy(skip, old, sizeof(old));
		}
	}
}

static void explain(const struct engine *e, uint32_t left, char *message,
		    size_t size)
{
	uint32_t first = e->logged > LOG_LINES ? e->logged - LOG_LINES : 0;
	int n = snprintf(message, size,
			 "%s: seed %#jx: %s\n  (%u operations, %u slots, %u "
			 "clients, flags %#x; %u are enough)\n",
			 e->backend->name, (uintmax_t)e->seed, e->model.error,
			 e->options->operations, e->options->slots,
			 e->options->clients, e->options->flags, left);

	for (uint32_t i = first; i < e->logged; i++)
		if (n > 0 && (size_t)n < size)
			n += snprintf(message + n, size - (size_t)n, "%s\n",
				      e->log[i % LOG_LINES]);
}

int conform_run(const struct conform_backend *backend,
		const struct conform_options *options, uint64_t seed,
		char *message, size_t size)
{
	struct engine *e = malloc(2 * sizeof(*e));
	bool skip[4096] = { false };
	uint32_t left = options->operations;
	int result;

	if (!e)
		return -ENOMEM;
	engine_init(e, backend, options, seed);
	result = run_once(e, NULL);
	if (result == 1 && options->operations <= sizeof(skip)) {
		make_smaller(e, e + 1, skip);
		for (uint32_t i = 0; i < options->operations; i++)
			left -= skip[i];
	}
	if (result == 1)
		explain(e, left, message, size);
	if (result == 0 && options->report)
		*options->report = e->report;
	free(e);
	return result;
}
