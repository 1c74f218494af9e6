/* SPDX-License-Identifier: MIT */
/*
 * model.c - what every client must and may be told: plain sets
 *
 * One byte of flags for every client and page, and loops over all of them.
 * Slow and simple on purpose: it has to be right by looking at it.
 */
#include "model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int model_fail(struct model *m, const char *format, ...)
{
	va_list args;

	if (m->error[0])
		return -1;
	va_start(args, format);
	vsnprintf(m->error, sizeof(m->error), format, args);
	va_end(args);
	return -1;
}

/* ---- slots ---- */

static void view_free(struct model_view *view)
{
	free(view->state);
	free(view->committed);
	free(view->held);
	*view = (struct model_view){ 0 };
}

static void slot_free(struct model_slot *slot)
{
	if (!slot)
		return;
	for (int c = 0; c < MODEL_CLIENTS; c++)
		view_free(&slot->view[c]);
	free(slot->written_at);
	free(slot->touched);
	free(slot->wild);
	free(slot);
}

void model_fini(struct model *m)
{
	struct model_slot *next;

	for (struct model_slot *s = m->slots; s; s = next) {
		next = s->next;
		slot_free(s);
	}
	m->slots = NULL;
}

static void view_create(const struct model_slot *slot, struct model_view *view)
{
	size_t n = (size_t)slot->npages;

	view->state = calloc(n, 1);
	view->committed = calloc(n, sizeof(uint64_t));
	view->held = calloc(n, sizeof(uint64_t));
	if (!view->state || !view->committed || !view->held)
		abort(); /* a test without memory is no test */
}

struct model_slot *model_slot_add(struct model *m,
				  const struct tide_slot_info *info, bool whole)
{
	struct model_slot *s = calloc(1, sizeof(*s));
	size_t n = (size_t)info->npages;

	if (!s)
		return NULL;
	s->id = info->id;
	s->flags = info->flags;
	s->first_gfn = info->first_gfn;
	s->npages = info->npages;
	s->host = info->host;
	s->whole = whole;
	s->added_at = m->now;
	s->written_at = calloc(n, sizeof(*s->written_at));
	s->touched = calloc(n, 1);
	s->wild = calloc(n, 1);
	if (!s->written_at || !s->touched || !s->wild) {
		slot_free(s);
		return NULL;
	}
	/* Memory may come back with what an earlier slot left in it. */
	memset(s->touched, 1, n <= 4096 ? n : 0);
	for (int c = 0; c < MODEL_CLIENTS; c++)
		if (m->clients[c].open)
			view_create(s, &s->view[c]);
	s->next = m->slots;
	m->slots = s;
	if (!(s->flags & TIDE_SLOT_UNLOGGED))
		model_slot_dirty(m, s, true);
	else
		model_slot_dirty(m, s, false);
	return s;
}

void model_slot_remove(struct model *m, struct model_slot *slot)
{
	slot->gone = true;
	/* All pages may be reported as gone, and what an open harvest has not
	 * handed out may come in it or in the next one. */
	model_slot_dirty(m, slot, false);
	for (int c = 0; c < MODEL_CLIENTS; c++) {
		uint8_t *state = slot->view[c].state;

		for (uint64_t i = 0; state && i < slot->npages; i++)
			state[i] &= (uint8_t)~MODEL_BEGIN;
		slot->view[c].reordered = true;
	}
}

void model_slot_move(struct model *m, struct model_slot *slot,
		     uint64_t first_gfn)
{
	(void)m;
	slot->first_gfn = first_gfn;
	for (int c = 0; c < MODEL_CLIENTS; c++)
		slot->view[c].reordered = true;
}

struct model_slot *model_slot_by_id(struct model *m, uint32_t id)
{
	for (struct model_slot *s = m->slots; s; s = s->next)
		if (!s->gone && s->id == id)
			return s;
	return NULL;
}

struct model_slot *model_slot_by_gfn(struct model *m, uint64_t gfn)
{
	for (struct model_slot *s = m->slots; s; s = s->next)
		if (!s->gone && gfn >= s->first_gfn &&
		    gfn - s->first_gfn < s->npages)
			return s;
	return NULL;
}

bool model_range_free(struct model *m, const struct model_slot *except,
		      uint64_t first_gfn, uint64_t npages)
{
	for (struct model_slot *s = m->slots; s; s = s->next)
		if (!s->gone && s != except &&
		    first_gfn < s->first_gfn + s->npages &&
		    s->first_gfn < first_gfn + npages)
			return false;
	return true;
}

void model_slot_dirty(struct model *m, struct model_slot *slot, bool must)
{
	uint8_t flags = must ? MODEL_MUST | MODEL_MAY : MODEL_MAY;

	(void)m;
	for (int c = 0; c < MODEL_CLIENTS; c++) {
		uint8_t *state = slot->view[c].state;

		for (uint64_t i = 0; state && i < slot->npages; i++)
			state[i] |= flags;
	}
	/* A hand-out by the same operation does not end it. */
	for (uint64_t i = 0; i < slot->npages; i++)
		slot->written_at[i] = m->now;
}

void model_all_may(struct model *m)
{
	for (struct model_slot *s = m->slots; s; s = s->next)
		model_slot_dirty(m, s, false);
}

int model_busy(struct model *m, uint32_t id)
{
	int count = 0;

	for (int c = 0; c < MODEL_CLIENTS; c++) {
		bool holds = false;

		for (struct model_slot *s = m->slots; s; s = s->next)
			holds |= s->gone && s->id == id && s->view[c].in_hand;
		count += holds;
	}
	return count;
}

/* ---- writes ---- */

void model_write(struct model *m, struct model_slot *slot, uint64_t page)
{
	slot->touched[page] = 1;
	slot->written_at[page] = m->now;
	if (slot->flags & TIDE_SLOT_UNLOGGED)
		return;
	for (int c = 0; c < MODEL_CLIENTS; c++)
		if (slot->view[c].state)
			slot->view[c].state[page] |= MODEL_MUST | MODEL_MAY;
}

uint64_t model_content(struct model *m, const struct model_slot *slot,
		       uint64_t page)
{
	const uint8_t *at = slot->host + (page << TIDE_PAGE_SHIFT);
	uint8_t copy[TIDE_PAGE_SIZE];
	uint64_t sum = 0, word;

	if (!slot->touched[page] && !slot->whole)
		return 0;
	if (m->host_read) {
		int err = m->host_read(m->opaque, at, copy, sizeof(copy));

		if (err) {
			(void)model_fail(m, "host_read returned %d", err);
			return 0;
		}
		at = copy;
	}
	for (size_t i = 0; i < TIDE_PAGE_SIZE; i += sizeof(word)) {
		memcpy(&word, at + i, sizeof(word));
		sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
		if (i == 0 && !slot->whole) /* we write the first and last */
			i = TIDE_PAGE_SIZE - 2 * sizeof(word);
	}
	return sum;
}

/* ---- clients ---- */

void model_client_open(struct model *m, int client, enum tide_start start)
{
	m->clients[client] = (struct model_client){ .open = true };
	for (struct model_slot *s = m->slots; s; s = s->next) {
		struct model_view *view = &s->view[client];
		bool all = start == TIDE_START_ALL_DIRTY;
		bool logged = !(s->flags & TIDE_SLOT_UNLOGGED);

		view_free(view);
		if (s->gone)
			continue;
		view_create(s, view);
		for (uint64_t i = 0; i < s->npages; i++) {
			view->committed[i] = model_content(m, s, i);
			if (all && logged)
				view->state[i] = MODEL_MUST | MODEL_MAY;
			else if (all)
				view->state[i] = MODEL_MAY;
			else if (m->start_is_all || s->written_at[i])
				view->state[i] = MODEL_START;
		}
	}
}

void model_client_close(struct model *m, int client)
{
	for (struct model_slot *s = m->slots; s; s = s->next)
		view_free(&s->view[client]);
	m->clients[client] = (struct model_client){ 0 };
}

void model_before_begin(struct model *m, int client)
{
	for (struct model_slot *s = m->slots; s; s = s->next) {
		struct model_view *view = &s->view[client];

		for (uint64_t i = 0; view->state && i < s->npages; i++)
			if (view->state[i] & MODEL_MUST)
				view->state[i] |= MODEL_BEGIN;
		view->next_page = 0;
		view->in_hand = false;
		view->reordered = false;
	}
	m->clients[client].began = m->now;
}

void model_begun(struct model *m, int client, int result)
{
	m->clients[client].harvest = result == 0;
	m->clients[client].failed = false;
	if (result == 0)
		m->clients[client].harvests++;
	else
		for (struct model_slot *s = m->slots; s; s = s->next)
			for (uint64_t i = 0;
			     s->view[client].state && i < s->npages; i++)
				s->view[client].state[i] &=
					(uint8_t)~MODEL_BEGIN;
}

void model_share(struct model *m, int client)
{
	for (struct model_slot *s = m->slots; s; s = s->next) {
		const uint8_t *mine = s->view[client].state;

		for (int c = 0; c < MODEL_CLIENTS; c++) {
			uint8_t *state = s->view[c].state;
			uint8_t flags = MODEL_SHARED;

			if (c == client || !state || !mine)
				continue;
			if (m->clients[c].harvest)
				flags |= MODEL_LATER;
			for (uint64_t i = 0; i < s->npages; i++)
				if (mine[i] & ~MODEL_HANDED)
					state[i] |= flags;
		}
	}
}

/* ---- a harvest ---- */

static int yield_page(struct model *m, int client, struct model_slot *slot,
		      uint64_t page)
{
	struct model_view *view = &slot->view[client];
	uint8_t *state = &view->state[page];

	if (*state & MODEL_HANDED && !slot->gone)
		return model_fail(m, "client %d: slot %u page %ju twice",
				  client, slot->id, (uintmax_t)page);
	if (!(*state & MODEL_MAY) && !slot->wild[page]) {
		if (*state & MODEL_START)
			m->extras_start++;
		else if (*state & MODEL_SHARED && m->shared_is_legal)
			m->extras_shared++;
		else
			return model_fail(
				m, "C6: client %d: slot %u page %ju invented",
				client, slot->id, (uintmax_t)page);
	}
	if (slot->gone && !(*state & MODEL_MUST))
		m->extras_gone++;
	/* Written since the harvest began: it may come once more. */
	if (slot->written_at[page] >= m->clients[client].began)
		*state &= MODEL_MAY | MODEL_LATER;
	else
		*state &= MODEL_LATER;
	*state |= MODEL_HANDED;
	if (!slot->gone)
		view->held[page] = model_content(m, slot, page);
	m->clients[client].yielded++;
	return 0;
}

static int yield_range(struct model *m, int client, struct model_slot *slot,
		       const struct tide_extent *e)
{
	struct model_view *view = &slot->view[client];
	uint64_t first = e->first_gfn - slot->first_gfn;

	if (first < view->next_page && !view->reordered)
		return model_fail(m, "client %d: slot %u: page %ju after %ju",
				  client, slot->id, (uintmax_t)first,
				  (uintmax_t)view->next_page - 1);
	view->next_page = first + e->npages;
	for (uint64_t i = 0; i < e->npages; i++)
		if (yield_page(m, client, slot, first + i))
			return -1;
	return 0;
}

static bool covers(const struct model_slot *s, const struct tide_extent *e)
{
	return s->id == e->slot && e->first_gfn >= s->first_gfn &&
	       e->first_gfn - s->first_gfn < s->npages &&
	       e->npages <= s->npages - (e->first_gfn - s->first_gfn);
}

/* How much a report of the page was waited for. */
static int urgency(uint8_t state)
{
	return state & MODEL_BEGIN ? 3 : state & MODEL_MUST ? 2 : 1;
}

/* The removed slot that a report is about: several may have had these gfns.
 * The one that must be reported comes first. */
static struct model_slot *find_gone(struct model *m, int client, uint32_t id,
				    uint64_t gfn)
{
	struct model_slot *found = NULL;
	int most = 0;

	for (struct model_slot *s = m->slots; s; s = s->next) {
		uint64_t page = gfn - s->first_gfn;
		const uint8_t *state = s->view[client].state;

		if (!s->gone || s->id != id || gfn < s->first_gfn ||
		    page >= s->npages || !state || state[page] & MODEL_HANDED ||
		    !(state[page] & MODEL_MAY))
			continue;
		if (urgency(state[page]) > most) {
			most = urgency(state[page]);
			found = s;
		}
	}
	return found;
}

static int yield_gone(struct model *m, int client, const struct tide_extent *e)
{
	for (uint64_t i = 0; i < e->npages; i++) {
		uint64_t gfn = e->first_gfn + i;
		struct model_slot *s = find_gone(m, client, e->slot, gfn);

		if (!s)
			return model_fail(m,
					  "client %d: slot %u gfn %jx gone, "
					  "why?",
					  client, e->slot, (uintmax_t)gfn);
		if (yield_page(m, client, s, gfn - s->first_gfn))
			return -1;
	}
	return 0;
}

/* An extent in hand keeps the memory of a removed slot: more may follow, even
 * when the same memory is there again as a new slot, which is not in this
 * harvest. */
static struct model_slot *find_live(struct model *m, int client,
				    const struct tide_extent *e)
{
	struct model_slot *found = NULL;
	int most = 0;

	for (struct model_slot *s = m->slots; s; s = s->next) {
		uint64_t page = e->first_gfn - s->first_gfn;

		if (!covers(s, e) || !s->view[client].state ||
		    (s->gone && !s->view[client].in_hand) ||
		    (!s->gone && s->added_at > m->clients[client].began) ||
		    (uint8_t *)e->host != s->host + (page << TIDE_PAGE_SHIFT))
			continue;
		if (urgency(s->view[client].state[page]) > most) {
			most = urgency(s->view[client].state[page]);
			found = s;
		}
	}
	return found;
}

int model_yield(struct model *m, int client, const struct tide_extent *extent)
{
	struct model_slot *slot;

	if (!extent->npages)
		return model_fail(m, "client %d: an empty extent", client);
	if (extent->flags & ~(uint32_t)TIDE_EXTENT_GONE)
		return model_fail(m, "client %d: extent flags %x", client,
				  extent->flags);
	if (extent->flags & TIDE_EXTENT_GONE) {
		if (extent->host)
			return model_fail(m, "gone, but with memory");
		return yield_gone(m, client, extent);
	}
	slot = find_live(m, client, extent);
	if (!slot)
		return model_fail(
			m, "client %d: slot %u gfn %jx+%ju host %p: no such",
			client, extent->slot, (uintmax_t)extent->first_gfn,
			(uintmax_t)extent->npages, extent->host);
	slot->view[client].in_hand = true;
	return yield_range(m, client, slot, extent);
}

int model_end(struct model *m, int client)
{
	for (struct model_slot *s = m->slots; s; s = s->next) {
		const uint8_t *state = s->view[client].state;

		for (uint64_t i = 0; state && i < s->npages; i++)
			if (state[i] & MODEL_BEGIN)
				return model_fail(
					m,
					"C1: client %d: %sslot %u page %ju "
					"not yielded",
					client, s->gone ? "gone " : "", s->id,
					(uintmax_t)i);
	}
	return 0;
}

static void harvest_over(struct model *m, int client, bool committed)
{
	for (struct model_slot *s = m->slots; s; s = s->next) {
		struct model_view *view = &s->view[client];

		view->in_hand = false;
		for (uint64_t i = 0; view->state && i < s->npages; i++) {
			uint8_t *state = &view->state[i];

			if (*state & MODEL_HANDED && committed)
				view->committed[i] = view->held[i];
			else if (*state & MODEL_HANDED)
				*state |= MODEL_MUST | MODEL_MAY;
			if (*state & MODEL_LATER)
				*state |= MODEL_SHARED;
			*state &= (uint8_t) ~(MODEL_HANDED | MODEL_BEGIN |
					      MODEL_LATER);
		}
	}
	m->clients[client].harvest = false;
	m->clients[client].failed = false;
}

void model_next_failed(struct model *m, int client)
{
	harvest_over(m, client, false);
	m->clients[client].harvest = true;
	m->clients[client].failed = true;
	model_all_may(m);
}

void model_commit(struct model *m, int client)
{
	m->clients[client].commits++;
	harvest_over(m, client, true);
}

void model_abort(struct model *m, int client)
{
	m->clients[client].aborts++;
	harvest_over(m, client, false);
}

int model_at_rest(struct model *m, int client)
{
	for (struct model_slot *s = m->slots; s; s = s->next) {
		struct model_view *view = &s->view[client];

		if (s->gone || s->flags & TIDE_SLOT_UNLOGGED)
			continue;
		for (uint64_t i = 0; i < s->npages; i++)
			if (view->committed[i] != model_content(m, s, i))
				return model_fail(
					m,
					"C4: client %d: slot %u page %ju "
					"changed and was not yielded",
					client, s->id, (uintmax_t)i);
	}
	return 0;
}
