/* SPDX-License-Identifier: MIT */
/*
 * walk_model.c - page-table walks from the manuals' sentences
 *
 * Intel SDM volume 3, tables 4-15 to 4-20 (formats), 4.6.1 (access rights),
 * 4.7 (error code), 4.8 (accessed and dirty).  RISC-V privileged
 * architecture, table "Encoding of PTE R/W/X fields" and the numbered steps of
 * "Virtual Address Translation Process".
 */
#undef NDEBUG
#include <assert.h>
#include <stddef.h>

#include "walk_model.h"

static bool bit(uint64_t value, unsigned int i)
{
	return (value >> i) & 1;
}

static bool any(uint64_t value, unsigned int first, unsigned int last)
{
	for (unsigned int i = first; i <= last; i++)
		if (bit(value, i))
			return true;
	return false;
}

/* Bits first to last of value, as a number. */
static uint64_t field(uint64_t value, unsigned int first, unsigned int last)
{
	uint64_t number = 0;

	for (unsigned int i = last + 1; i > first; i--)
		number = number * 2 + bit(value, i - 1);
	return number;
}

/* Are bits first to 63 all alike? */
static bool sign_extended(uint64_t value, unsigned int first)
{
	for (unsigned int i = first; i < 64; i++)
		if (bit(value, i) != bit(value, first))
			return false;
	return true;
}

struct x86_path {
	uint64_t *word[5];
	int level; /* of the last one */
	bool read_write, user, execute_disable;
};

static bool x86_is_reserved(uint64_t entry, int level, bool nxe)
{
	if (any(entry, 48, 51)) /* 51:M, M = 48 */
		return true;
	if (bit(entry, 63) && !nxe)
		return true;
	switch (level) {
	case 4:
		return bit(entry, 7);
	case 3:
		return bit(entry, 7) && any(entry, 13, 29);
	case 2:
		return bit(entry, 7) && any(entry, 13, 20);
	default:
		return false;
	}
}

static bool x86_allows(const struct x86_path *path, uint32_t flags,
		       enum tide_access what)
{
	bool write = what == TIDE_ACCESS_WRITE;
	bool fetch = what == TIDE_ACCESS_FETCH;

	if (flags & TIDE_PAGING_USER) {
		/* "User-mode accesses: from any supervisor-mode address: not
		 * allowed." */
		if (!path->user)
			return false;
		if (write)
			return path->read_write;
		return !(fetch && path->execute_disable);
	}
	if (fetch) {
		if (path->execute_disable)
			return false;
		return !(path->user && (flags & TIDE_PAGING_SMEP));
	}
	if (path->user && (flags & TIDE_PAGING_SMAP))
		return false;
	if (!write)
		return true;
	/* "If CR0.WP = 0, data may be written to any address." */
	return flags & TIDE_PAGING_WP ? path->read_write : true;
}

static struct model_answer x86_fault(uint32_t flags, enum tide_access what,
				     int p, int rsvd)
{
	bool id = what == TIDE_ACCESS_FETCH &&
		  ((flags & TIDE_PAGING_NX) || (flags & TIDE_PAGING_SMEP));
	struct model_answer answer = { .fault = true };

	answer.code = (uint32_t)p * 1 + (what == TIDE_ACCESS_WRITE) * 2u +
		      !!(flags & TIDE_PAGING_USER) * 4u + (uint32_t)rsvd * 8 +
		      id * 16u;
	return answer;
}

static struct model_answer x86_walk(const struct model_paging *paging,
				    uint64_t gva, enum tide_access what,
				    bool set_bits)
{
	static const unsigned int low_bit[] = { 0, 12, 21, 30, 39 };
	struct x86_path path = { .read_write = true, .user = true };
	uint64_t table = field(paging->root, 12, 63) * 4096;
	bool leaf = false;

	if (!sign_extended(gva, 47))
		return x86_fault(paging->flags, what, 0, 0);
	for (path.level = 5; !leaf;) {
		int level = --path.level;
		uint64_t index = field(gva, low_bit[level], low_bit[level] + 8);
		uint64_t *word =
			paging->word(paging->opaque, table + index * 8);

		if (!word || !bit(*word, 0))
			return x86_fault(paging->flags, what, 0, 0);
		if (x86_is_reserved(*word, level,
				    paging->flags & TIDE_PAGING_NX))
			return x86_fault(paging->flags, what, 1, 1);
		path.word[level] = word;
		path.read_write = path.read_write && bit(*word, 1);
		path.user = path.user && bit(*word, 2);
		path.execute_disable = path.execute_disable || bit(*word, 63);
		table = field(*word, 12, 47) * 4096;
		leaf = level == 1 || bit(*word, 7);
	}
	if (!x86_allows(&path, paging->flags, what))
		return x86_fault(paging->flags, what, 1, 0);

	uint64_t *last = path.word[path.level];
	unsigned int offset_bits = low_bit[path.level];
	struct model_answer answer = { .level = (uint32_t)path.level };

	answer.gpa = field(*last, offset_bits, 47) << offset_bits |
		     field(gva, 0, offset_bits - 1);
	if (set_bits) {
		for (int level = 4; level >= path.level; level--)
			*path.word[level] |= 1ull << 5;
		if (what == TIDE_ACCESS_WRITE)
			*last |= 1ull << 6;
	}
	answer.dirty = bit(*last, 6);
	return answer;
}

enum sv39_kind { POINTER, PAGE, NOT_FOR_USE };

/* "Encoding of PTE R/W/X fields", X W R. */
static const enum sv39_kind sv39_encoding[2][2][2] = {
	{ { POINTER, PAGE }, { NOT_FOR_USE, PAGE } },
	{ { PAGE, PAGE }, { NOT_FOR_USE, PAGE } },
};

static struct model_answer sv39_fault(enum tide_access what)
{
	struct model_answer answer = { .fault = true };

	answer.code = what == TIDE_ACCESS_FETCH	  ? 12
		      : what == TIDE_ACCESS_WRITE ? 15
						  : 13;
	return answer;
}

static bool sv39_allows(uint64_t pte, uint32_t flags, enum tide_access what)
{
	bool r = bit(pte, 1), w = bit(pte, 2), x = bit(pte, 3);

	if (bit(pte, 4)) {
		/* "the supervisor may not execute code on pages with U=1";
		 * "may only load and store with SUM". */
		if (!(flags & TIDE_PAGING_USER) &&
		    (what == TIDE_ACCESS_FETCH || !(flags & TIDE_PAGING_SUM)))
			return false;
	} else if (flags & TIDE_PAGING_USER) {
		return false;
	}
	switch (what) {
	case TIDE_ACCESS_READ:
		return r || (x && (flags & TIDE_PAGING_MXR));
	case TIDE_ACCESS_WRITE:
		return w;
	case TIDE_ACCESS_FETCH:
		return x;
	case TIDE_ACCESS_COUNT:
		break;
	}
	assert(!"an access is a read, a write or a fetch");
	return false;
}

static struct model_answer sv39_walk(const struct model_paging *paging,
				     uint64_t gva, enum tide_access what,
				     bool set_bits)
{
	/* Step 1. */
	uint64_t a = field(paging->root, 12, 63) * 4096;
	enum sv39_kind kind = POINTER;
	uint64_t *pte = NULL;
	int i = 3;

	if (!sign_extended(gva, 38))
		return sv39_fault(what);
	while (kind == POINTER) {
		/* Step 4's "let i = i - 1; if i < 0, stop". */
		if (--i < 0)
			return sv39_fault(what);

		unsigned int vpn = 12 + 9 * (unsigned int)i;

		/* Steps 2 and 3. */
		pte = paging->word(paging->opaque,
				   a + field(gva, vpn, vpn + 8) * 8);
		if (!pte || !bit(*pte, 0) || any(*pte, 54, 63))
			return sv39_fault(what);
		/* An address that no guest has. */
		if (any(*pte, 46, 53))
			return sv39_fault(what);
		kind = sv39_encoding[bit(*pte, 3)][bit(*pte, 2)][bit(*pte, 1)];
		if (kind == NOT_FOR_USE)
			return sv39_fault(what);
		/* "For non-leaf PTEs, the D, A, and U bits are reserved." */
		if (kind == POINTER &&
		    (bit(*pte, 4) || bit(*pte, 6) || bit(*pte, 7)))
			return sv39_fault(what);
		a = field(*pte, 10, 45) * 4096;
	}
	/* Step 5. */
	if (!sv39_allows(*pte, paging->flags, what))
		return sv39_fault(what);
	/* Step 6: a misaligned superpage. */
	if ((i >= 1 && any(*pte, 10, 18)) || (i == 2 && any(*pte, 19, 27)))
		return sv39_fault(what);
	/* Step 7. */
	if (set_bits) {
		*pte |= 1ull << 6;
		if (what == TIDE_ACCESS_WRITE)
			*pte |= 1ull << 7;
	}

	/* Step 8. */
	unsigned int offset_bits = 12 + 9 * (unsigned int)i;
	struct model_answer answer = { .level = (uint32_t)i + 1,
				       .dirty = bit(*pte, 7) };

	answer.gpa = a + field(gva, 0, offset_bits - 1);
	return answer;
}

struct model_answer model_walk(const struct model_paging *paging, uint64_t gva,
			       enum tide_access what, bool set_bits)
{
	const struct model_answer untranslated = { .gpa = gva, .dirty = true };

	if (paging->mode == TIDE_PAGING_X86_64)
		return x86_walk(paging, gva, what, set_bits);
	if (paging->mode == TIDE_PAGING_SV39)
		return sv39_walk(paging, gva, what, set_bits);
	return untranslated;
}
