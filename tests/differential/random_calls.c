/* SPDX-License-Identifier: MIT */
/*
 * random_calls.c - a random trace of dirty-log calls on two sides
 *
 * Theory of operation
 * -------------------
 * The view holds what both sides have agreed on: slots, options, how much is
 * in the rings.  It serves to make operations that mean something, and to know
 * which pages of a ring the two may tell differently (trace_known).  It is no
 * oracle; the left side is.
 *
 * Each side has a pool of memory of its own; a slot's host memory is a place
 * in the pool, and slots may share it.
 */
#include "random_calls.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096ull
#define OPERATIONS 90u
#define POOL_PAGES 4096u
#define POOL_ALIGN (2ull << 20)
#define SLOT_PAGES_MAX 1280u
#define WORDS_MAX (SLOT_PAGES_MAX / 64)
#define POISON 0x5a5a5a5a5a5a5a5aull
#define KEYS 8u
#define BURST 48u
#define LOG_LINES 48u
#define LOG_WIDTH 160u
#define LOG_FLAG 1u
#define READONLY_FLAG 2u
#define ENTRY_BYTES 16u
#define GPA_LEAST (1ull << 36) /* that every CPU has */
#define GPA_END (1ull << 48)   /* ours */
#define GPA_MOST (1ull << 52)
#define GFN_REACH 0x400000ull /* of the guest's own page tables */
#define PML_RING_BYTES 16384u /* the least with 512 entries of PML */

static const char *const known_text[KNOWN_COUNT] = {
	[KNOWN_GPA_END] =
		"a slot above 2^48 bytes: the kernel's limit is the CPU's "
		"physical width (or 2^52 with shadow paging), ours is what "
		"four levels of tables reach",
	[KNOWN_SPACES] =
		"address space 1: a kernel without SMM has only space 0, ours "
		"always has two",
	[KNOWN_RING_SIZE] =
		"a ring of fewer than 1,024 entries: a kernel with PML keeps "
		"512 more in reserve, we have no PML",
	[KNOWN_TWICE] =
		"entries that name a page twice: the kernel pushes one for "
		"each emulated write, we push one when the page becomes "
		"writable; compared as sets",
	[KNOWN_BEFORE_RESET] =
		"a page that is written again after its entry was taken and "
		"before it was reset: it is still writable, so hardware makes "
		"no entry, and an emulated write does",
	[KNOWN_FILLING] =
		"the write that fills a ring: the kernel makes the entry and "
		"looks at the ring before the write runs, we after it; the "
		"entries are as many",
	[KNOWN_RING_ALL_SET] =
		"logging turned on with a ring and initially all set: the "
		"kernel protects nothing and has no bits, so that hardware "
		"loses writes (K50)",
	[KNOWN_STALE_ENTRY] =
		"entries of an earlier slot with the same id: reset drops the "
		"batch they are in, so that pages of the new slot may stay "
		"writable (K48)",
};

const char *const trace_not_compared[] = {
	"a bad user pointer (-EFAULT): ours are calls, not ioctls",
	"flags of KVM_ENABLE_CAP: ours have no such argument",
	"the ring with a bitmap beside it: arm64 only",
	"the last page below 2^47 as host memory: no process has it",
	"tide_mmu_write(): nobody can ask the kernel for kvm_write_guest()",
	NULL,
};

const char *trace_known_text(enum trace_known known)
{
	return (unsigned int)known < KNOWN_COUNT ? known_text[known] : NULL;
}

/* A slot as both sides have it. */
struct slot {
	bool used;
	uint32_t key; /* address space << 16 | id */
	uint32_t flags;
	uint64_t first_gfn, npages, host_page;
	uint64_t last[WORDS_MAX]; /* of its last GET */
	bool lossy;		  /* in the ring: not comparable any more */
	uint32_t pushed;	  /* entries that may be on their way */
	uint8_t taken[SLOT_PAGES_MAX]; /* harvested, not reset */
	uint8_t maybe[SLOT_PAGES_MAX]; /* written meanwhile */
};

/* One side of the trace. */
struct half {
	const struct side *side;
	void *self;
	uint8_t *pool;
	uint64_t words[WORDS_MAX + 1];
	/* Of one harvest: entries for each page of each key. */
	uint8_t entry[KEYS][SLOT_PAGES_MAX];
	uint32_t strange; /* entries of no slot that ever was */
	int harvested;	  /* entries not reset yet */
};

struct trace {
	const struct trace_options *options;
	struct half half[2];
	struct slot slot[KEYS];
	uint64_t random;
	uint64_t value;
	uint64_t manual;
	uint32_t ring_bytes;
	uint32_t unreset; /* writes since the last reset: entries at most */
	uint32_t vcpus;
	uint32_t spaces;
	bool touched[POOL_PAGES];
	bool ended; /* they may differ from here on */
	struct trace_stats stats;
	char error[512];
	char log[LOG_LINES][LOG_WIDTH];
	uint32_t logged;
	uint32_t now;
};

/* The ids that a trace uses: small ones, the highest, one of space 1. */
static const uint32_t keys[KEYS] = { 0, 1, 2, 3, 7, 32763, 0x10000, 0x10001 };

/* ---- random numbers and the log ---- */

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static uint64_t draw(struct trace *t, uint64_t below)
{
	t->random = mix(t->random);
	return below ? t->random % below : t->random;
}

static bool chance(struct trace *t, uint64_t one_in)
{
	return draw(t, one_in) == 0;
}

#define PICK(t, array) ((array)[draw((t), sizeof(array) / sizeof((array)[0]))])

__attribute__((format(printf, 2, 3))) static void note(struct trace *t,
						       const char *format, ...)
{
	char *line = t->log[t->logged++ % LOG_LINES];
	va_list args;
	int n = snprintf(line, LOG_WIDTH, "  %3u ", t->now);

	va_start(args, format);
	vsnprintf(line + n, LOG_WIDTH - (size_t)n, format, args);
	va_end(args);
}

/* Return: -1. */
__attribute__((format(printf, 2, 3))) static int differ(struct trace *t,
							const char *format, ...)
{
	va_list args;

	if (t->error[0])
		return -1;
	va_start(args, format);
	vsnprintf(t->error, sizeof(t->error), format, args);
	va_end(args);
	return -1;
}

/* Both answers to one call.  Return: 0; -1. */
static int same(struct trace *t, const char *what, const int answer[2])
{
	note(t, "%s: %d", what, answer[0]);
	t->stats.errors += answer[0] < 0;
	if (answer[0] == answer[1])
		return 0;
	return differ(t, "%s: %s says %d, %s says %d", what,
		      t->half[0].side->name, answer[0], t->half[1].side->name,
		      answer[1]);
}

static void known(struct trace *t, enum trace_known which)
{
	t->stats.known[which]++;
}

/* ---- slots ---- */

static struct slot *slot_of(struct trace *t, uint32_t key)
{
	for (uint32_t i = 0; i < KEYS; i++)
		if (keys[i] == key)
			return &t->slot[i];
	return NULL;
}

/* One that both sides have, more often than not a logged one; or NULL. */
static struct slot *any_slot(struct trace *t)
{
	uint64_t at = draw(t, KEYS);
	bool logged = chance(t, 2);
	struct slot *found = NULL;

	for (uint32_t i = 0; i < KEYS; i++) {
		struct slot *slot = &t->slot[(at + i) % KEYS];

		if (!slot->used)
			continue;
		if (!logged || slot->flags & LOG_FLAG)
			return slot;
		found = slot;
	}
	return found;
}

static struct slot *slot_at(struct trace *t, uint64_t gfn)
{
	for (uint32_t i = 0; i < KEYS; i++) {
		struct slot *slot = &t->slot[i];

		if (slot->used && slot->key < 0x10000 &&
		    gfn >= slot->first_gfn &&
		    gfn - slot->first_gfn < slot->npages)
			return slot;
	}
	return NULL;
}

struct request {
	uint32_t slot, flags;
	uint64_t gpa, bytes;
	uint64_t host; /* a place in the pool, if @in_pool */
	bool in_pool;
};

static int ask_region(struct half *half, const struct request *request)
{
	struct side_region region = {
		.slot = request->slot,
		.flags = request->flags,
		.gpa = request->gpa,
		.bytes = request->bytes,
		.host = request->in_pool ? (uintptr_t)half->pool + request->host
					 : request->host,
	};

	return half->side->region(half->self, &region);
}

/* Both sides did it. */
static void region_done(struct trace *t, const struct request *request)
{
	struct slot *slot = slot_of(t, request->slot);
	bool ring = t->ring_bytes != 0;
	bool fresh = !slot->used;
	bool on = request->flags & LOG_FLAG && !(slot->flags & LOG_FLAG);

	if (!request->bytes) {
		slot->used = false;
		return;
	}
	if (ring && fresh && slot->pushed) {
		slot->lossy = true;
		known(t, KNOWN_STALE_ENTRY);
	}
	if (ring && !fresh && on && t->manual & 2) {
		slot->lossy = true;
		known(t, KNOWN_RING_ALL_SET);
	}
	if (fresh)
		memset(slot->last, 0, sizeof(slot->last));
	slot->used = true;
	slot->key = request->slot;
	slot->flags = request->flags;
	slot->first_gfn = request->gpa / PAGE;
	slot->npages = request->bytes / PAGE;
	slot->host_page = request->host / PAGE;
}

/* Only one refused it, for a reason that is listed. */
static bool region_known(struct trace *t, const struct request *request,
			 const int answer[2])
{
	if (answer[0] + answer[1] != -EINVAL || (answer[0] && answer[1]) ||
	    request->gpa + request->bytes <= GPA_LEAST)
		return false;
	known(t, KNOWN_GPA_END);
	t->ended = true; /* only one side has it now */
	return true;
}

static int do_region(struct trace *t, const struct request *request)
{
	char what[120];
	int answer[2];

	snprintf(what, sizeof(what),
		 "region slot %#x flags %#x gpa %#" PRIx64 " bytes %#" PRIx64
		 " host %s%#" PRIx64,
		 request->slot, request->flags, request->gpa, request->bytes,
		 request->in_pool ? "+" : "", request->host);
	if (request->slot >> 16 >= t->spaces && request->slot >> 16 < 2) {
		known(t, KNOWN_SPACES);
		return 0;
	}
	for (int i = 0; i < 2; i++)
		answer[i] = ask_region(&t->half[i], request);
	if (region_known(t, request, answer))
		return 0;
	if (same(t, what, answer))
		return -1;
	if (!answer[0])
		region_done(t, request);
	return 0;
}

static struct request as_it_is(const struct slot *slot)
{
	return (struct request){ .slot = slot->key,
				 .flags = slot->flags,
				 .gpa = slot->first_gfn * PAGE,
				 .bytes = slot->npages * PAGE,
				 .host = slot->host_page * PAGE,
				 .in_pool = true };
}

static uint64_t some_gfn(struct trace *t)
{
	switch (draw(t, 4)) {
	case 0:
		return 0x200 + 512 * draw(t, 16);
	case 1:
		return 0x200 + 64 * draw(t, 100);
	case 2:
		return 0x100000 + 512 * draw(t, 8); /* 4 GiB */
	default:
		return SIDE_OWN_PAGES + draw(t, 0x2000);
	}
}

static struct request some_region(struct trace *t)
{
	static const uint16_t sizes[] = { 1,   2,   63,	 64,   65,
					  127, 128, 129, 200,  256,
					  512, 515, 700, 1024, SLOT_PAGES_MAX };
	struct request request = { .slot = PICK(t, keys),
				   .flags = chance(t, 3) ? 0 : LOG_FLAG,
				   .gpa = some_gfn(t) * PAGE,
				   .bytes = PICK(t, sizes) * PAGE,
				   .in_pool = true };
	uint64_t room = POOL_PAGES - request.bytes / PAGE;

	if (chance(t, 12))
		request.flags |= READONLY_FLAG;
	request.host = PAGE * (chance(t, 2) ? draw(t, room / 512) * 512
					    : draw(t, room));
	return request;
}

/* One field that the rules of KVM_SET_USER_MEMORY_REGION are about. */
static void make_bad(struct trace *t, struct request *request)
{
	static const uint32_t slots[] = { 32764,   32766,      0x7fff,
					  0x8000,  0xffff,     0x20000,
					  0x17ffc, 0xffff0000, 0xffffffff };
	static const uint32_t flags[] = { 4,	    8,	      5,  1u << 15,
					  1u << 16, 1u << 31, ~0u };
	static const uint64_t sizes[] = {
		1,
		PAGE - 1,
		PAGE + 1,
		PAGE << 31,
		(PAGE << 31) + PAGE,
		1ull << 63,
		~0ull,
		~(PAGE - 1),
	};
	static const uint64_t gpas[] = {
		0,	  0x3f000,	   1,
		0x200800, ~0ull,	   ~(PAGE - 1),
		GPA_MOST, GPA_MOST - PAGE, ~(PAGE - 1) - PAGE * 100,
		GPA_END,  GPA_END - PAGE,  1ull << 63,
	};
	static const uint64_t hosts[] = { 1ull << 63, 0xffff888000000000u,
					  ~(PAGE - 1), 0x800000000000u };

	switch (draw(t, 6)) {
	case 0:
		request->slot = PICK(t, slots);
		break;
	case 1:
		request->flags = PICK(t, flags);
		break;
	case 2:
		request->bytes = PICK(t, sizes);
		break;
	case 3:
		request->gpa = PICK(t, gpas);
		break;
	case 4:
		request->host += 1 + draw(t, PAGE - 1);
		break;
	default:
		request->host = PICK(t, hosts);
		request->in_pool = false;
		break;
	}
}

static int op_region(struct trace *t)
{
	struct request request = some_region(t);
	struct slot *slot = any_slot(t);
	uint64_t kind = draw(t, 10);

	if (slot && kind >= 3) {
		request = as_it_is(slot);
		if (kind < 6) {
			request.flags ^= LOG_FLAG;
		} else if (kind < 7) {
			request.gpa = some_gfn(t) * PAGE;
			request.flags ^= chance(t, 3) ? LOG_FLAG : 0;
		} else if (kind < 8) {
			request.bytes = 0;
		} else if (kind < 9) {
			/* What a slot that is there may not become. */
			if (chance(t, 3))
				request.flags ^= READONLY_FLAG;
			else if (chance(t, 2))
				request.bytes += PAGE;
			else
				request.host ^= PAGE;
		} else {
			/* Next to the slot before it, or a page into it. */
			request.slot = PICK(t, keys);
			request.gpa += request.bytes;
			request.gpa -= chance(t, 2) ? PAGE : 0;
		}
	}
	if (request.in_pool && request.host + request.bytes > POOL_PAGES * PAGE)
		request.host = 0;
	if (chance(t, 8))
		make_bad(t, &request);
	if (chance(t, 30))
		make_bad(t, &request);
	return do_region(t, &request);
}

/* ---- GET and CLEAR ---- */

static uint32_t some_key(struct trace *t, const struct slot *slot)
{
	static const uint32_t bad[] = { 32764, 0xffff, 0x20000, 5, 0xffffffff };

	if (chance(t, 12))
		return PICK(t, bad);
	return slot && !chance(t, 10) ? slot->key : PICK(t, keys);
}

static bool one_sided(struct trace *t, uint32_t key)
{
	if (key >> 16 != 1 || t->spaces > 1)
		return false;
	known(t, KNOWN_SPACES);
	return true;
}

static int compare_words(struct trace *t, struct slot *slot)
{
	const uint64_t *a = t->half[0].words, *b = t->half[1].words;

	for (uint32_t w = 0; w <= WORDS_MAX; w++) {
		if (a[w] != b[w])
			return differ(t,
				      "GET slot %#x word %u: %s says %#" PRIx64
				      ", %s says %#" PRIx64,
				      slot ? slot->key : 0, w,
				      t->half[0].side->name, a[w],
				      t->half[1].side->name, b[w]);
	}
	return 0;
}

static int do_get(struct trace *t, uint32_t key)
{
	struct slot *slot = slot_of(t, key);
	char what[64];
	int answer[2];

	snprintf(what, sizeof(what), "GET slot %#x", key);
	for (int i = 0; i < 2; i++) {
		struct half *half = &t->half[i];

		for (uint32_t w = 0; w <= WORDS_MAX; w++)
			half->words[w] = POISON;
		answer[i] = half->side->get(half->self, key, half->words);
	}
	if (same(t, what, answer) || compare_words(t, slot))
		return -1;
	if (answer[0] || !slot)
		return 0;
	memcpy(slot->last, t->half[0].words, sizeof(slot->last));
	for (uint64_t w = 0; w < (slot->npages + 63) / 64; w++)
		t->stats.bits += (uint64_t)__builtin_popcountll(slot->last[w]);
	return 0;
}

static int op_get(struct trace *t)
{
	uint32_t key = some_key(t, any_slot(t));

	return one_sided(t, key) ? 0 : do_get(t, key);
}

/* A range that may be cleared, or one that is just not. */
static void some_range(struct trace *t, uint64_t npages, uint64_t *first,
		       uint32_t *count)
{
	uint64_t nwords = (npages + 63) / 64;
	uint64_t rest;

	*first = draw(t, nwords + 1) * 64;
	rest = *first < npages ? npages - *first : 0;
	*count = (uint32_t)(chance(t, 2) ? rest : draw(t, rest / 64 + 1) * 64);
	switch (draw(t, 24)) {
	case 0:
		*first += 1 + draw(t, 63);
		break;
	case 1:
		*count += 1 + (uint32_t)draw(t, 63);
		break;
	case 2:
		*count -= (uint32_t)draw(t, 64); /* it may wrap */
		break;
	case 3:
		*first = ~0ull - draw(t, 2) * 63;
		break;
	case 4:
		*count = ~0u - (uint32_t)draw(t, 64);
		break;
	case 5:
		*first = npages;
		*count = (uint32_t)draw(t, 2);
		break;
	case 6:
		*first = (npages + 63) / 64 * 64;
		*count = (uint32_t)draw(t, 2) * 64;
		break;
	case 7:
		*first = 1ull << 63;
		break;
	default:
		break;
	}
}

static void some_words(struct trace *t, const struct slot *slot, uint64_t first,
		       uint64_t *words)
{
	uint64_t kind = draw(t, 6);

	for (uint64_t w = 0; w < WORDS_MAX; w++) {
		uint64_t from = first / 64 + w;

		if (kind < 3 && slot && from < WORDS_MAX)
			words[w] = slot->last[from];
		else if (kind < 4)
			words[w] = ~0ull;
		else
			words[w] = draw(t, 0) & draw(t, 0);
		if (kind == 2)
			words[w] &= draw(t, 0);
	}
}

static int op_clear(struct trace *t)
{
	struct slot *slot = any_slot(t);
	uint32_t key = some_key(t, slot);
	uint64_t words[WORDS_MAX], first;
	uint32_t count;
	char what[96];
	int answer[2];

	if (one_sided(t, key))
		return 0;
	slot = slot_of(t, key);
	if (slot && !slot->used)
		slot = NULL;
	some_range(t, slot ? slot->npages : 200, &first, &count);
	some_words(t, slot, first, words);
	snprintf(what, sizeof(what), "CLEAR slot %#x pages %" PRIu64 "+%u", key,
		 first, count);
	for (int i = 0; i < 2; i++)
		answer[i] = t->half[i].side->clear(t->half[i].self, key, first,
						   count, words);
	return same(t, what, answer);
}

/* ---- the rings ---- */

static void take_entry(void *opaque, uint32_t key, uint64_t offset)
{
	struct half *half = opaque;

	for (uint32_t i = 0; i < KEYS; i++) {
		if (keys[i] == key && offset < SLOT_PAGES_MAX) {
			if (half->entry[i][offset] < 255)
				half->entry[i][offset]++;
			return;
		}
	}
	half->strange++;
}

static int compare_page(struct trace *t, uint32_t i, uint64_t page)
{
	struct slot *slot = &t->slot[i];
	uint8_t a = t->half[0].entry[i][page], b = t->half[1].entry[i][page];

	if (a != b && a && b)
		known(t, KNOWN_TWICE);
	if (!a != !b && !slot->lossy) {
		if (!slot->maybe[page])
			return differ(t,
				      "harvest: slot %#x page %" PRIu64
				      ": %s has %u entries, %s has %u",
				      keys[i], page, t->half[0].side->name, a,
				      t->half[1].side->name, b);
		known(t, KNOWN_BEFORE_RESET);
	}
	if (a || b)
		slot->taken[page] = 1;
	slot->maybe[page] = 0;
	t->stats.entries += a != 0;
	return 0;
}

static int do_harvest(struct trace *t)
{
	for (int i = 0; i < 2; i++) {
		struct half *half = &t->half[i];
		int count;

		memset(half->entry, 0, sizeof(half->entry));
		count = half->side->harvest(half->self, take_entry, half);
		if (count < 0 || half->strange)
			return differ(t,
				      "harvest: %s says %d, %u make no sense",
				      half->side->name, count, half->strange);
		half->harvested += count;
	}
	note(t, "harvest: %d and %d to reset", t->half[0].harvested,
	     t->half[1].harvested);
	for (uint32_t i = 0; i < KEYS; i++)
		for (uint64_t page = 0; page < SLOT_PAGES_MAX; page++)
			if (compare_page(t, i, page))
				return -1;
	return 0;
}

/* Each side resets what it gave; without rings both answer the same. */
static int do_reset(struct trace *t)
{
	int answer[2];

	for (int i = 0; i < 2; i++) {
		struct half *half = &t->half[i];

		answer[i] = half->side->reset(half->self);
		if (t->ring_bytes && answer[i] != half->harvested)
			return differ(t, "RESET: %s says %d of %d entries",
				      half->side->name, answer[i],
				      half->harvested);
		half->harvested = 0;
	}
	if (!t->ring_bytes)
		return same(t, "RESET without rings", answer);
	note(t, "RESET: %d and %d", answer[0], answer[1]);
	for (uint32_t i = 0; i < KEYS; i++)
		memset(t->slot[i].taken, 0, sizeof(t->slot[i].taken));
	return 0;
}

static int empty_rings(struct trace *t)
{
	if (do_harvest(t) || do_reset(t))
		return -1;
	t->unreset = 0;
	for (uint32_t i = 0; i < KEYS; i++)
		t->slot[i].pushed = 0;
	return 0;
}

static int op_rings(struct trace *t)
{
	if (!t->ring_bytes)
		return do_reset(t);
	if (chance(t, 4))
		return do_harvest(t);
	if (chance(t, 6))
		return do_reset(t);
	return empty_rings(t);
}

/* ---- options and vCPUs ---- */

static int do_manual(struct trace *t, uint64_t options)
{
	char what[64];
	int answer[2];

	snprintf(what, sizeof(what), "manual protect %#" PRIx64, options);
	for (int i = 0; i < 2; i++)
		answer[i] = t->half[i].side->manual(t->half[i].self, options);
	if (same(t, what, answer))
		return -1;
	if (!answer[0])
		t->manual = options;
	return 0;
}

static int do_ring(struct trace *t, uint64_t bytes)
{
	char what[64];
	int answer[2];

	snprintf(what, sizeof(what), "rings of %" PRIu64 " bytes", bytes);
	for (int i = 0; i < 2; i++)
		answer[i] = t->half[i].side->ring(t->half[i].self, bytes);
	if (answer[0] == -EINVAL && !answer[1] &&
	    (uint32_t)bytes < PML_RING_BYTES) {
		known(t, KNOWN_RING_SIZE);
		t->ended = true;
		return 0;
	}
	if (same(t, what, answer))
		return -1;
	if (!answer[0])
		t->ring_bytes = (uint32_t)bytes;
	return 0;
}

static int do_vcpu(struct trace *t)
{
	int answer[2];

	if (t->vcpus == SIDE_VCPUS)
		return 0;
	for (int i = 0; i < 2; i++)
		answer[i] = t->half[i].side->vcpu(t->half[i].self);
	for (int i = 0; i < 2; i++) /* a descriptor or 0 */
		answer[i] = answer[i] > 0 ? 0 : answer[i];
	t->vcpus++;
	return same(t, "vcpu", answer);
}

static int op_option(struct trace *t)
{
	static const uint64_t manual[] = { 0, 1, 3, 3, 1,	   0,
					   2, 4, 5, 7, 1ull << 32, ~0ull };
	static const uint64_t good[] = { 16384, 32768, 65536, 1 << 20 };
	static const uint64_t rings[] = { 0,
					  1,
					  16,
					  1024,
					  2048,
					  4096,
					  8192,
					  12345,
					  3 * 8192,
					  1 << 21,
					  1u << 31,
					  ~0ull,
					  (1ull << 32) + 16384,
					  16384 + 1 };

	if (chance(t, 3) && t->options->mode != TRACE_BITMAP)
		return do_manual(t, PICK(t, manual));
	if (chance(t, 8))
		return do_vcpu(t);
	/* A ring that is turned on ends GET and CLEAR. */
	if (t->options->mode == TRACE_RING || t->ring_bytes || t->vcpus ||
	    (t->options->mode == TRACE_ANY && chance(t, 3)))
		return do_ring(t,
			       chance(t, 2) ? PICK(t, good) : PICK(t, rings));
	return do_ring(t, draw(t, PAGE)); /* too small */
}

/* ---- writes ---- */

static uint64_t page_to_write(struct trace *t)
{
	struct slot *slot = any_slot(t);
	uint64_t page;

	if (!slot || slot->key >= 0x10000 ||
	    slot->first_gfn + slot->npages > GFN_REACH || chance(t, 40))
		return some_gfn(t);
	switch (draw(t, 3)) {
	case 0:
		page = slot->npages - 1 -
		       draw(t, slot->npages < 64 ? slot->npages : 64);
		break;
	case 1:
		page = draw(t, slot->npages < 70 ? slot->npages : 70);
		break;
	default:
		page = draw(t, slot->npages);
		break;
	}
	return slot->first_gfn + page;
}

/* What the view learns from a write that was made. */
static void wrote(struct trace *t, uint64_t gfn)
{
	struct slot *slot = slot_at(t, gfn);
	uint64_t page;

	if (!slot)
		return;
	page = gfn - slot->first_gfn;
	t->touched[slot->host_page + page] = true;
	if (!t->ring_bytes || !(slot->flags & LOG_FLAG))
		return;
	slot->pushed++;
	if (slot->taken[page])
		slot->maybe[page] = 1;
}

/* An entry each, at most, must have room on both sides. */
static int make_room(struct trace *t, uint32_t count)
{
	uint32_t entries = t->ring_bytes / ENTRY_BYTES;

	if (!t->ring_bytes)
		return 0;
	t->unreset += count;
	if (t->unreset <= entries / 8)
		return 0;
	if (empty_rings(t))
		return -1;
	t->unreset = count;
	return 0;
}

static int do_write(struct trace *t, uint32_t vcpu, const uint64_t *gfns,
		    uint32_t count)
{
	char what[96];
	int answer[2];

	snprintf(what, sizeof(what),
		 "vcpu %u writes %u pages: %#" PRIx64 " ... %#" PRIx64, vcpu,
		 count, gfns[0], gfns[count - 1]);
	if (make_room(t, count))
		return -1;
	t->value++;
	for (int i = 0; i < 2; i++)
		answer[i] = t->half[i].side->write(t->half[i].self, vcpu, gfns,
						   count, t->value);
	t->stats.writes += count;
	if (same(t, what, answer))
		return -1;
	for (uint32_t i = 0; i < count; i++)
		wrote(t, gfns[i]);
	return answer[0] && answer[0] != -EFAULT
		       ? differ(t, "%s: both say %d", what, answer[0])
		       : 0;
}

static int op_write(struct trace *t)
{
	uint64_t gfns[BURST];
	uint32_t vcpu;
	uint32_t count = 1 + (uint32_t)draw(t, chance(t, 3) ? BURST : 4);
	bool run = chance(t, 2);

	if (!t->vcpus)
		return do_vcpu(t);
	vcpu = (uint32_t)draw(t, t->vcpus);
	gfns[0] = page_to_write(t);
	for (uint32_t i = 1; i < count; i++)
		gfns[i] = run ? gfns[0] + i : page_to_write(t);
	/* A few one by one: each answer counts. */
	for (uint32_t i = 0; i < count && count <= 4; i++)
		if (do_write(t, vcpu, &gfns[i], 1))
			return -1;
	return count <= 4 ? 0 : do_write(t, vcpu, gfns, count);
}

/* The host, past both sides: nobody logs it. */
static int op_host_write(struct trace *t)
{
	struct slot *slot = any_slot(t);
	uint64_t page;

	if (!slot)
		return 0;
	page = slot->host_page + draw(t, slot->npages);
	t->value++;
	for (int i = 0; i < 2; i++)
		memcpy(t->half[i].pool + page * PAGE, &t->value,
		       sizeof(t->value));
	t->touched[page] = true;
	note(t, "the host writes page %" PRIu64 " of its memory", page);
	return 0;
}

/* Pages of logged slots, one after the other, until the ring is full. */
static int fill(struct trace *t, uint32_t vcpu, struct half *half,
		const uint64_t *gfns, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		int err = half->side->write(half->self, vcpu, &gfns[i], 1,
					    t->value);

		if (err == -ENOSPC)
			return (int)i;
		if (err)
			return err;
	}
	return -E2BIG;
}

static uint32_t pages_to_fill(struct trace *t, uint64_t *gfns, uint32_t most)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < KEYS && count < most; i++) {
		const struct slot *slot = &t->slot[i];

		if (!slot->used || slot->key >= 0x10000 || slot->lossy ||
		    slot->flags != LOG_FLAG ||
		    slot->first_gfn + slot->npages > GFN_REACH)
			continue;
		for (uint64_t page = 0; page < slot->npages && count < most;
		     page++)
			gfns[count++] = slot->first_gfn + page;
	}
	return count;
}

static int op_fill(struct trace *t)
{
	uint32_t entries = t->ring_bytes / ENTRY_BYTES;
	uint64_t gfns[1024];
	uint32_t count;
	int done[2];

	if (!t->ring_bytes || !t->vcpus || entries > 1024)
		return 0;
	count = pages_to_fill(t, gfns, entries);
	if (count < entries)
		return 0;
	if (empty_rings(t))
		return -1;
	t->value++;
	for (int i = 0; i < 2; i++)
		done[i] = fill(t, 0, &t->half[i], gfns, count);
	note(t, "filled up after %d and %d writes", done[0], done[1]);
	t->stats.writes += (uint64_t)(done[0] > 0 ? done[0] : 0);
	if (done[0] < 0 || done[1] < 0 || abs(done[0] - done[1]) > 1)
		return differ(t, "filling: %s stops at %d, %s at %d",
			      t->half[0].side->name, done[0],
			      t->half[1].side->name, done[1]);
	t->stats.fills++;
	if (done[0] != done[1])
		known(t, KNOWN_FILLING);
	count = (uint32_t)(done[0] > done[1] ? done[0] : done[1]) + 1;
	if (empty_rings(t))
		return -1;
	/* The last ones once more: written on both sides, then. */
	for (uint32_t i = 0; i < count; i++)
		wrote(t, gfns[i]);
	return do_write(t, 0, &gfns[count - 2], 2);
}

/* ---- one trace ---- */

static int op_any(struct trace *t)
{
	uint64_t kind = draw(t, 100);
	static const uint64_t sizes[] = { 4096, 16384, 65536 };
	enum trace_mode mode = t->options->mode;

	/* First of all what can only be turned on early. */
	if (t->now < 4 && mode == TRACE_RING && !t->ring_bytes)
		return kind < 80 ? do_ring(t, PICK(t, sizes)) : op_option(t);
	if (t->now < 4 && mode == TRACE_MANUAL && !t->manual)
		return do_manual(t, 1 + 2 * draw(t, 2));
	if (t->now < 12)
		kind = draw(t, 46);
	if (kind < 30)
		return op_region(t);
	if (kind < 34)
		return op_option(t);
	if (kind < 62)
		return op_write(t);
	if (kind < 64)
		return op_host_write(t);
	if (t->ring_bytes && kind < 92)
		return kind < 66 ? op_fill(t) : op_rings(t);
	if (kind < 80)
		return op_get(t);
	return kind < 98 ? op_clear(t) : op_rings(t);
}

static int compare_memory(struct trace *t)
{
	for (uint32_t page = 0; page < POOL_PAGES; page++) {
		if (t->touched[page] &&
		    memcmp(t->half[0].pool + page * PAGE,
			   t->half[1].pool + page * PAGE, 8))
			return differ(t, "memory: page %u is not the same",
				      page);
	}
	return 0;
}

/* What is left in the logs. */
static int last_answers(struct trace *t)
{
	if (t->ring_bytes && empty_rings(t))
		return -1;
	for (uint32_t i = 0; i < KEYS; i++)
		if (!one_sided(t, keys[i]) && do_get(t, keys[i]))
			return -1;
	return compare_memory(t);
}

static uint8_t *pool_create(void)
{
	const size_t bytes = POOL_PAGES * PAGE + POOL_ALIGN;
	uint8_t *pool =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return pool == MAP_FAILED ? NULL : pool;
}

/* Two pools for all traces of the process, aligned for large pages. */
static uint8_t *pool_of(int side, bool large)
{
	static uint8_t *pools[2];
	uint8_t *pool;

	if (!pools[side])
		pools[side] = pool_create();
	if (!pools[side])
		return NULL;
	pool = pools[side] + (-(uintptr_t)pools[side] & (POOL_ALIGN - 1));
	(void)madvise(pool, POOL_PAGES * PAGE, MADV_DONTNEED);
	(void)madvise(pool, POOL_PAGES * PAGE,
		      large ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return pool;
}

static int trace_create(struct trace *t, const struct trace_options *options)
{
	uint64_t seed =
		mix(options->seed * TRACE_MODES + (uint64_t)options->mode);

	memset(t, 0, sizeof(*t));
	t->options = options;
	for (int i = 0; i < 2; i++) {
		struct half *half = &t->half[i];
		int err;

		half->side = i ? options->right : options->left;
		half->pool = pool_of(i, seed >> 8 & 1);
		if (!half->pool)
			return -ENOMEM;
		err = half->side->create(seed & 1, &half->self);
		if (err && !i)
			return err; /* not here */
		if (err) {
			(void)differ(t, "%s: create says %d", half->side->name,
				     err);
			return 1;
		}
	}
	t->spaces = t->half[0].side->spaces(t->half[0].self);
	return 0;
}

static void trace_destroy(struct trace *t)
{
	for (int i = 0; i < 2; i++)
		if (t->half[i].self)
			t->half[i].side->destroy(t->half[i].self);
}

/* @skip: operations left out, or NULL.  Return: as trace_run(). */
static int run_once(struct trace *t, const struct trace_options *options,
		    const bool *skip)
{
	int err = trace_create(t, options);

	for (uint32_t i = 0; i < OPERATIONS && !err && !t->ended; i++) {
		t->now = i;
		t->random = mix(mix(options->seed * TRACE_MODES +
				    (uint64_t)options->mode) +
				i);
		if (!skip || !skip[i]) {
			err = op_any(t) ? 1 : 0;
			t->stats.operations++;
		}
	}
	t->now = OPERATIONS;
	if (!err && !t->ended)
		err = last_answers(t) ? 1 : 0;
	trace_destroy(t);
	return err;
}

/* Leaves out halves, quarters, ... as long as they still differ. */
static void make_smaller(struct trace *t, const struct trace_options *options,
			 bool *skip)
{
	struct trace *trial = malloc(sizeof(*trial));

	for (uint32_t step = OPERATIONS; step && trial; step /= 2) {
		for (uint32_t at = 0; at < OPERATIONS; at += step) {
			uint32_t end =
				at + step < OPERATIONS ? at + step : OPERATIONS;
			bool old[OPERATIONS];

			memcpy(old, skip, sizeof(old));
			memset(skip + at, true, end - at);
			if (run_once(trial, options, skip) == 1)
				memcpy(t, trial, sizeof(*t));
			else
				memcpy(skip, old, sizeof(old));
		}
	}
	free(trial);
}

static void explain(const struct trace *t, char *message, size_t size)
{
	uint32_t first = t->logged > LOG_LINES ? t->logged - LOG_LINES : 0;
	int n = snprintf(message, size, "--seed %" PRIu64 " -n 1: %s\n",
			 t->options->seed, t->error);

	for (uint32_t i = first; i < t->logged; i++)
		if (n > 0 && (size_t)n < size)
			n += snprintf(message + n, size - (size_t)n, "%s\n",
				      t->log[i % LOG_LINES]);
}

static void add_stats(struct trace_stats *sum, const struct trace_stats *more)
{
	sum->traces++;
	sum->operations += more->operations;
	sum->errors += more->errors;
	sum->writes += more->writes;
	sum->bits += more->bits;
	sum->entries += more->entries;
	sum->fills += more->fills;
	for (int i = 0; i < KNOWN_COUNT; i++)
		sum->known[i] += more->known[i];
}

int trace_run(const struct trace_options *options, char *message, size_t size)
{
	bool skip[OPERATIONS] = { false };
	struct trace *t = malloc(sizeof(*t));
	int result;

	if (!t)
		return -ENOMEM;
	result = run_once(t, options, NULL);
	if (result == 1) {
		make_smaller(t, options, skip);
		explain(t, message, size);
	} else if (!result) {
		add_stats(options->stats, &t->stats);
	}
	free(t);
	return result;
}
