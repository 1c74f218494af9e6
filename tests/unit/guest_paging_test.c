/* SPDX-License-Identifier: MIT */
/*
 * guest_paging_test.c - the formats and the walker of mmu/guest_paging.h
 * against the manuals
 *
 * Tables first: what each bit of an entry means at each level.  Then all
 * permissions with all flags, and random tables, against tests/fuzz's
 * walk_model.c, which was written from the manuals alone.  Then what the walker
 * promises its caller: bits set, entries that change under it, tables that lie
 * nowhere.
 */
#undef NDEBUG
#include <errno.h>

#include "mmu/guest_paging.h"
#include "test_support.h"
#include "walk_model.h"

#define PAGES 16u
#define WORDS (PAGES * 512u)

/* x86 */
#define P 1ull
#define RW 2ull
#define US 4ull
#define A (1ull << 5)
#define D (1ull << 6)
#define PS (1ull << 7)
#define NX (1ull << 63)
/* Sv39 */
#define V 1ull
#define R 2ull
#define W 4ull
#define X 8ull
#define U 16ull
#define SV_A (1ull << 6)
#define SV_D (1ull << 7)

/* A guest's memory, and somebody who meddles with it. */
struct memory {
	uint64_t word[WORDS];
	uint32_t loads, updates;
	/* Before update number change_at (from 1 on), the word at change_gpa
	 * becomes change_to; every update fails while busy. */
	uint32_t change_at;
	uint64_t change_gpa, change_to;
	bool busy;
	/* What the host says at error_gpa. */
	uint64_t error_gpa;
	int load_error, update_error;
};

static uint64_t *word_at(void *opaque, uint64_t gpa)
{
	struct memory *memory = opaque;

	assert_int_equal(gpa % 8, 0);
	return gpa / 8 < WORDS ? &memory->word[gpa / 8] : NULL;
}

static int load(void *opaque, uint64_t gpa, uint64_t *ret_entry)
{
	struct memory *memory = opaque;
	uint64_t *word = word_at(memory, gpa);

	memory->loads++;
	if (memory->load_error && gpa == memory->error_gpa)
		return memory->load_error;
	if (!word)
		return -EFAULT;
	*ret_entry = *word;
	return 0;
}

static int update(void *opaque, uint64_t gpa, uint64_t old, uint64_t entry)
{
	struct memory *memory = opaque;
	uint64_t *word = word_at(memory, gpa);

	memory->updates++;
	if (memory->updates == memory->change_at)
		*word_at(memory, memory->change_gpa) = memory->change_to;
	if (memory->update_error && gpa == memory->error_gpa)
		return memory->update_error;
	assert_non_null(word);
	if (memory->busy || *word != old)
		return -EAGAIN;
	*word = entry;
	return 0;
}

static const struct guest_walk_ops ops = { .load = load, .update = update };

static int walk(struct memory *memory, const struct paging_format *format,
		uint32_t flags, uint64_t gva, enum tide_access what,
		struct guest_walk *ret_walk)
{
	memory->loads = 0;
	memory->updates = 0;
	memset(ret_walk, 0xa5, sizeof(*ret_walk));
	return guest_walk(format, &ops, memory, 0x1000, flags, gva, what, true,
			  ret_walk);
}

/* Tables at pages 1 (root), 2, 3, 4, of their first entries only; the leaf at
 * @level is @leaf; @upper in all above it. */
static void build(struct memory *memory, uint32_t levels, uint32_t level,
		  uint64_t upper, uint64_t leaf)
{
	bool x86 = levels == 4;

	for (uint32_t page = 0; page < PAGES; page++)
		memory->word[page * 512] = 0;
	memset(&memory->loads, 0,
	       sizeof(*memory) - offsetof(struct memory, loads));
	for (uint32_t l = levels, page = 1; l > level; l--, page++)
		memory->word[page * 512] = upper | (uint64_t)(page + 1)
							   << (x86 ? 12 : 10);
	memory->word[(1 + levels - level) * 512] = leaf;
}

static void test_formats(void **state)
{
	(void)state;
	assert_ptr_equal(paging_format_of(TIDE_PAGING_X86_64), &paging_x86_64);
	assert_ptr_equal(paging_format_of(TIDE_PAGING_SV39), &paging_sv39);
	assert_null(paging_format_of(TIDE_PAGING_NONE));
	assert_null(paging_format_of(TIDE_PAGING_MODE_COUNT));
	assert_int_equal(paging_x86_64.mode, TIDE_PAGING_X86_64);
	assert_int_equal(paging_sv39.mode, TIDE_PAGING_SV39);
	assert_int_equal(paging_x86_64.levels, 4);
	assert_int_equal(paging_sv39.levels, 3);
}

static void test_addresses(void **state)
{
	static const struct {
		const struct paging_format *format;
		uint64_t gva;
		bool valid;
	} cases[] = {
		{ &paging_x86_64, 0, true },
		{ &paging_x86_64, 0x00007fffffffffff, true },
		{ &paging_x86_64, 0x0000800000000000, false },
		{ &paging_x86_64, 0xffff7fffffffffff, false },
		{ &paging_x86_64, 0xffff800000000000, true },
		{ &paging_x86_64, 0x7fff800000000000, false },
		{ &paging_x86_64, 0x8000000000000000, false },
		{ &paging_x86_64, UINT64_MAX, true },
		{ &paging_sv39, 0, true },
		{ &paging_sv39, 0x0000003fffffffff, true },
		{ &paging_sv39, 0x0000004000000000, false },
		{ &paging_sv39, 0xffffffbfffffffff, false },
		{ &paging_sv39, 0xffffffc000000000, true },
		{ &paging_sv39, 0x7fffffc000000000, false },
		{ &paging_sv39, 0x8000000000000000, false },
		{ &paging_sv39, UINT64_MAX, true },
	};
	struct memory *memory = calloc(1, sizeof(*memory));
	struct guest_walk result;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct paging_format *format = cases[i].format;

		assert_int_equal(format->gva_valid(cases[i].gva),
				 cases[i].valid);
		assert_int_equal(walk(memory, format, 0, cases[i].gva,
				      TIDE_ACCESS_FETCH, &result),
				 TIDE_EXIT_GUEST_FAULT);
		assert_int_equal(memory->loads, cases[i].valid);
		assert_int_equal(result.fault_code,
				 format == &paging_sv39 ? 12 : 0);
	}
	free(memory);
}

/* What one bit does that is set beside those that a good entry needs. */
enum effect {
	NOTHING,
	RESERVED,
	WRITABLE,
	USER,
	FORBIDS_EXEC,
	ACCESSED,
	DIRTY,
	ADDRESS,
	IS_LEAF
};

static enum effect x86_effect(uint32_t level, bool large, bool nxe, uint32_t i)
{
	uint32_t address = !large ? 12 : level == 3 ? 30 : 21;

	switch (i) {
	case 1:
		return WRITABLE;
	case 2:
		return USER;
	case 5:
		return ACCESSED;
	case 6:
		return level == 1 || large ? DIRTY : NOTHING;
	case 7:
		return level == 4 ? RESERVED : level > 1 ? IS_LEAF : NOTHING;
	case 12:
		return large ? NOTHING : ADDRESS; /* PAT */
	case 63:
		return nxe ? FORBIDS_EXEC : RESERVED;
	default:
		break;
	}
	if (i < 12 || i >= 52)
		return NOTHING;
	return i >= 48 || i < address ? RESERVED : ADDRESS;
}

static void expect_x86_bit(uint32_t level, bool large, bool nxe, uint32_t i)
{
	uint64_t entry = P | (large ? PS : 0) | 1ull << i;
	struct gpte gpte =
		paging_x86_64.read(entry, level, nxe ? TIDE_PAGING_NX : 0);
	enum effect effect = x86_effect(level, large, nxe, i);
	bool leaf = level == 1 || large || effect == IS_LEAF;
	uint64_t access = GUEST_READ | GUEST_EXEC;

	if (effect == RESERVED) {
		assert_int_equal(gpte.kind, GPTE_RESERVED);
		return;
	}
	access |= effect == WRITABLE ? GUEST_WRITE : 0;
	access |= effect == USER ? GUEST_USER : 0;
	access &= effect == FORBIDS_EXEC ? ~GUEST_EXEC : ~0ull;
	assert_int_equal(gpte.kind, leaf ? GPTE_LEAF : GPTE_TABLE);
	assert_int_equal(gpte.access, access);
	assert_int_equal(gpte.accessed, effect == ACCESSED);
	assert_int_equal(gpte.dirty, effect == DIRTY);
	assert_int_equal(gpte.gfn, effect == ADDRESS ? 1ull << (i - 12) : 0);
}

static void test_x86_bits(void **state)
{
	(void)state;
	for (uint32_t level = 1; level <= 4; level++) {
		for (uint32_t i = 1; i < 64; i++) {
			for (int nxe = 0; nxe < 2; nxe++) {
				expect_x86_bit(level, false, nxe, i);
				if (level == 2 || level == 3)
					expect_x86_bit(level, true, nxe, i);
			}
			/* Not present: every other bit is the guest's. */
			assert_int_equal(paging_x86_64.read(~P, level, 0).kind,
					 GPTE_NOT_PRESENT);
			assert_int_equal(
				paging_x86_64.read(1ull << i, level, 0).kind,
				GPTE_NOT_PRESENT);
		}
	}
}

static enum effect sv39_effect(uint32_t level, bool leaf, uint32_t i)
{
	switch (i) {
	case 1:
	case 3:
		return IS_LEAF;
	case 2:
		return leaf ? WRITABLE : RESERVED;
	case 4:
		return leaf ? USER : RESERVED;
	case 6:
		return leaf ? ACCESSED : RESERVED;
	case 7:
		return leaf ? DIRTY : RESERVED;
	default:
		break;
	}
	if (i < 10)
		return NOTHING;
	if (i >= 46) /* PPN beyond 48 bits of address, PBMT, N, and the rest */
		return RESERVED;
	return leaf && i < 10 + 9 * (level - 1) ? RESERVED : ADDRESS;
}

static void expect_sv39_bit(uint32_t level, bool leaf, uint32_t i)
{
	uint64_t entry = V | (leaf ? R : 0) | 1ull << i;
	struct gpte gpte = paging_sv39.read(entry, level, 0);
	enum effect effect = sv39_effect(level, leaf, i);
	uint64_t access = entry & R ? GUEST_READ : 0;

	if (effect == RESERVED || (level == 1 && !(entry & (R | X)))) {
		assert_int_equal(gpte.kind, GPTE_RESERVED);
		return;
	}
	if (!leaf && effect != IS_LEAF) {
		assert_int_equal(gpte.kind, GPTE_TABLE);
		assert_int_equal(gpte.access, GUEST_ALL);
		assert_true(gpte.accessed);
	} else {
		access |= i == 3 ? GUEST_EXEC : 0;
		access |= effect == WRITABLE ? GUEST_WRITE : 0;
		access |= effect == USER ? GUEST_USER : 0;
		assert_int_equal(gpte.kind, GPTE_LEAF);
		assert_int_equal(gpte.access, access);
		assert_int_equal(gpte.accessed, effect == ACCESSED);
	}
	assert_int_equal(gpte.dirty, effect == DIRTY);
	assert_int_equal(gpte.gfn, effect == ADDRESS ? 1ull << (i - 10) : 0);
}

static void test_sv39_bits(void **state)
{
	(void)state;
	for (uint32_t level = 1; level <= 3; level++) {
		for (uint32_t i = 1; i < 64; i++) {
			expect_sv39_bit(level, false, i);
			expect_sv39_bit(level, true, i);
			assert_int_equal(
				paging_sv39.read(1ull << i, level, 0).kind,
				GPTE_NOT_PRESENT);
		}
		/* The table "Encoding of PTE R/W/X fields". */
		assert_int_equal(paging_sv39.read(V | W, level, 0).kind,
				 GPTE_RESERVED);
		assert_int_equal(paging_sv39.read(V | W | X, level, 0).kind,
				 GPTE_RESERVED);
		assert_int_equal(paging_sv39.read(V | W | R, level, 0).access,
				 GUEST_READ | GUEST_WRITE);
		assert_int_equal(paging_sv39.read(V | X, level, 0).access,
				 GUEST_EXEC);
		assert_int_equal(paging_sv39.read(V | R | X, level, 0).access,
				 GUEST_READ | GUEST_EXEC);
	}
}

static void test_marks(void **state)
{
	(void)state;
	for (uint32_t level = 1; level <= 4; level++) {
		assert_int_equal(paging_x86_64.mark(0, level, false), A);
		assert_int_equal(paging_x86_64.mark(0, level, true), A | D);
		assert_int_equal(paging_x86_64.mark(~0ull, level, true), ~0ull);
	}
	for (uint32_t level = 1; level <= 3; level++) {
		assert_int_equal(paging_sv39.mark(V | R, level, false),
				 V | R | SV_A);
		assert_int_equal(paging_sv39.mark(V | X, level, true),
				 V | X | SV_A | SV_D);
		assert_int_equal(paging_sv39.mark(V, level, true), V);
	}
}

static void test_fault_codes(void **state)
{
	static const struct {
		enum tide_access what;
		uint32_t flags;
		bool present, reserved;
		uint32_t x86, sv39;
	} cases[] = {
		{ TIDE_ACCESS_READ, 0, false, false, 0, 13 },
		{ TIDE_ACCESS_READ, TIDE_PAGING_NX | TIDE_PAGING_SMEP, true,
		  false, 1, 13 },
		{ TIDE_ACCESS_READ, TIDE_PAGING_USER, true, true, 0xd, 13 },
		{ TIDE_ACCESS_READ, 0, false, true, 9, 13 },
		{ TIDE_ACCESS_WRITE, TIDE_PAGING_NX, false, false, 2, 15 },
		{ TIDE_ACCESS_WRITE, TIDE_PAGING_USER, true, false, 7, 15 },
		{ TIDE_ACCESS_WRITE, TIDE_PAGING_WP, true, true, 0xb, 15 },
		{ TIDE_ACCESS_FETCH, 0, false, false, 0, 12 },
		{ TIDE_ACCESS_FETCH, TIDE_PAGING_SMAP | TIDE_PAGING_WP, true,
		  true, 9, 12 },
		{ TIDE_ACCESS_FETCH, TIDE_PAGING_NX, true, false, 0x11, 12 },
		{ TIDE_ACCESS_FETCH, TIDE_PAGING_SMEP, false, false, 0x10, 12 },
		{ TIDE_ACCESS_FETCH, TIDE_PAGING_NX | TIDE_PAGING_USER, true,
		  true, 0x1d, 12 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(paging_x86_64.fault_code(
					 cases[i].what, cases[i].flags,
					 cases[i].present, cases[i].reserved),
				 cases[i].x86);
		assert_int_equal(paging_sv39.fault_code(
					 cases[i].what, cases[i].flags,
					 cases[i].present, cases[i].reserved),
				 cases[i].sv39);
	}
}

/* Both walks on a memory each; everything they say and do must be equal. */
struct pair {
	struct memory real, model;
	uint32_t step;	     /* between words that may differ from 0 */
	uint64_t results[2]; /* walks without and with a fault */
};

static struct pair *new_pair(uint32_t step)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	pair->step = step;
	return pair;
}

static void copy_tables(struct pair *pair)
{
	for (uint32_t i = 0; i < WORDS; i += pair->step)
		pair->model.word[i] = pair->real.word[i];
}

static void expect_permits(const struct paging_format *format,
			   const struct guest_walk *result,
			   struct model_paging *paging, uint64_t gva)
{
	uint32_t flags = paging->flags;

	/* The rights that the walk hands over must do for other accesses and
	 * flags, too; NX alone changes what entries mean. */
	for (uint32_t f = 0; f < 128; f++) {
		paging->flags = (f & ~(uint32_t)TIDE_PAGING_NX) |
				(flags & TIDE_PAGING_NX);
		for (int what = 0; what < TIDE_ACCESS_COUNT; what++) {
			struct model_answer answer = model_walk(
				paging, gva, (enum tide_access)what, false);

			assert_int_equal(format->permits(result->access,
							 (enum tide_access)what,
							 paging->flags),
					 !answer.fault);
		}
	}
	paging->flags = flags;
}

static void expect_equal(struct pair *pair, enum tide_paging_mode mode,
			 uint64_t root, uint32_t flags, uint64_t gva,
			 enum tide_access what, bool set_bits)
{
	const struct paging_format *format = paging_format_of(mode);
	struct model_paging paging = {
		.mode = mode,
		.flags = flags,
		.root = root,
		.word = word_at,
		.opaque = &pair->model,
	};
	struct guest_walk result;

	pair->real.loads = 0;

	int err = guest_walk(format, &ops, &pair->real, root, flags, gva, what,
			     set_bits, &result);
	struct model_answer answer = model_walk(&paging, gva, what, set_bits);

	assert_true(err == 0 || err == TIDE_EXIT_GUEST_FAULT || err == -EFAULT);
	assert_int_equal(err != 0, answer.fault);
	/* An entry that maps itself is marked once per level: then its first
	 * marks are seen as changes by the later ones, and it is read again. */
	assert_in_range(pair->real.loads, format->gva_valid(gva) ? 1 : 0,
			8 * format->levels);
	for (uint32_t i = 0; set_bits && i < WORDS; i += pair->step)
		assert_int_equal(pair->real.word[i], pair->model.word[i]);
	pair->results[answer.fault]++;
	if (err) {
		assert_int_equal(result.fault_code, answer.code);
		return;
	}
	assert_int_equal(result.gfn, answer.gpa >> 12);
	assert_int_equal(result.level, answer.level);
	assert_int_equal(result.dirty, answer.dirty);
	if (pair->results[0] % 16 == 0)
		expect_permits(format, &result, &paging, gva);
}

/* Every combination of rights at every level, with every flag, on every
 * access, and the leaf at every level. */
static void test_x86_permissions(void **state)
{
	struct pair *pair = new_pair(512);

	(void)state;
	for (uint32_t combination = 0; combination < 1u << 12; combination++) {
		uint32_t leaf = 1 + combination % 3;

		build(&pair->real, 4, leaf, P, P | (leaf > 1 ? PS : 0));
		for (uint32_t level = leaf; level <= 4; level++) {
			uint32_t rights = combination >> 3 * (level - 1) & 7;

			pair->real.word[(5 - level) * 512] |=
				(rights & 1 ? RW : 0) | (rights & 2 ? US : 0) |
				(rights & 4 ? NX : 0);
		}
		copy_tables(pair);
		for (uint32_t flags = 0; flags < 32; flags++)
			for (int what = 0; what < TIDE_ACCESS_COUNT; what++)
				expect_equal(pair, TIDE_PAGING_X86_64, 0x1000,
					     flags, 0x123,
					     (enum tide_access)what, false);
	}
	assert_true(pair->results[0] > 1000 && pair->results[1] > 1000);
	free(pair);
}

static void test_sv39_permissions(void **state)
{
	struct pair *pair = new_pair(512);

	(void)state;
	for (uint32_t entry = 0; entry < 256; entry++) {
		for (uint32_t leaf = 1; leaf <= 3; leaf++) {
			for (uint32_t flags = 0; flags < 128; flags++) {
				build(&pair->real, 3, leaf, V, entry);
				build(&pair->model, 3, leaf, V, entry);
				for (int what = 0; what < TIDE_ACCESS_COUNT;
				     what++)
					expect_equal(pair, TIDE_PAGING_SV39,
						     0x1000, flags, 0x123,
						     (enum tide_access)what,
						     true);
			}
		}
	}
	assert_true(pair->results[0] > 1000 && pair->results[1] > 1000);
	free(pair);
}

static uint64_t random64(uint64_t *seed)
{
	uint64_t x = *seed += 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* Mostly an entry that means something, into this memory or next to it. */
static uint64_t random_entry(uint64_t *seed, bool x86)
{
	const uint32_t shift = x86 ? 12 : 10;
	uint64_t x = random64(seed);
	uint64_t entry = random64(seed) % (PAGES + 1) << shift | 1;

	if (x86)
		entry |= x & (RW | US | A | D);
	else if (x >> 8 & 1)
		entry |= (x & (R | W | X | U)) | SV_A | (x & SV_D);
	if (x >> 9 & 1) /* at home in every level, and allowed most */
		entry |= x86 ? RW | US : x >> 8 & 1 ? R | W | X | U : 0;
	if (!(x >> 10 & 7)) /* large */
		entry = (entry & 0x3ff) | (x86 ? PS : R);
	switch (x >> 16 & 15) {
	case 0:
		return random64(seed);
	case 1:
		return entry ^ 1ull << (x >> 24 & 63);
	case 2:
		return entry | (x86 ? NX : 0);
	default:
		return entry;
	}
}

static void random_tables(struct pair *pair, uint64_t *seed,
			  enum tide_paging_mode mode)
{
	const bool x86 = mode == TIDE_PAGING_X86_64;

	for (uint32_t i = 0; i < WORDS; i++)
		pair->real.word[i] = random_entry(seed, x86);
	copy_tables(pair);
	for (int i = 0; i < 200; i++) {
		uint64_t x = random64(seed), gva = random64(seed);

		if (x >> 20 & 15)
			gva = (uint64_t)((int64_t)(gva << (x86 ? 16 : 25)) >>
					 (x86 ? 16 : 25));
		expect_equal(pair, mode,
			     x % PAGES << 12 | (random64(seed) & 0xfff),
			     x >> 8 & 127, gva,
			     (enum tide_access)((x >> 16) % 3), x >> 24 & 1);
	}
}

static void test_random_tables(void **state)
{
	struct pair *pair = new_pair(1);
	uint64_t seed = test_seed();

	(void)state;
	for (uint32_t i = 0; i < 200 * test_long(); i++)
		random_tables(pair, &seed,
			      i & 1 ? TIDE_PAGING_SV39 : TIDE_PAGING_X86_64);
	/* Random, but not so random that nothing is ever reached. */
	assert_true(pair->results[0] > pair->results[1] / 50);
	assert_true(pair->results[1] > pair->results[0] / 50);
	free(pair);
}

/* Entries alone, with every bit random. */
static void test_random_entries(void **state)
{
	struct pair *pair = new_pair(512);
	uint64_t seed = test_seed();

	(void)state;
	for (uint32_t i = 0; i < 20000 * test_long(); i++) {
		uint64_t x = random64(&seed), entry = random64(&seed);
		bool x86 = x & 1;
		uint32_t levels = x86 ? 4 : 3;

		for (uint64_t n = x >> 1 & 3; n; n--)
			entry &= random64(&seed) | 1;
		build(&pair->real, levels, 1 + (uint32_t)(x >> 4) % levels,
		      x86 ? P | RW | US : V, entry);
		copy_tables(pair);
		expect_equal(pair, x86 ? TIDE_PAGING_X86_64 : TIDE_PAGING_SV39,
			     0x1000, x >> 16 & 127, 0xabc,
			     (enum tide_access)((x >> 24) % 3), true);
	}
	free(pair);
}

/* What a walk says of the tables it went through. */
static void test_results(void **state)
{
	struct memory *memory = calloc(1, sizeof(*memory));
	struct guest_walk result;
	const uint64_t two_megabytes = 512;
	/* Level 4, 3 and 2 by the entries 256, 5 and 511. */
	const uint64_t gva = 0xffff800000000000 | 5ull << 30 | 511ull << 21 |
			     0x1ab << 12 | 0xcde;

	(void)state;
	memory->word[1 * 512 + 256] = 2ull << 12 | P | RW | US;
	memory->word[2 * 512 + 5] = 3ull << 12 | P | US | A;
	memory->word[3 * 512 + 511] =
		7ull * two_megabytes << 12 | P | RW | PS | NX | 1ull << 12;
	assert_int_equal(walk(memory, &paging_x86_64, TIDE_PAGING_NX, gva,
			      TIDE_ACCESS_WRITE, &result),
			 0);
	assert_int_equal(result.level, 2);
	assert_int_equal(result.gfn, 7 * two_megabytes + 0x1ab);
	assert_int_equal(result.table_gfn[4], 1);
	assert_int_equal(result.table_gfn[3], 2);
	assert_int_equal(result.table_gfn[2], 3);
	assert_int_equal(result.table_access[4], GUEST_ALL);
	assert_int_equal(result.table_access[3], GUEST_ALL);
	assert_int_equal(result.table_access[2], GUEST_ALL & ~GUEST_WRITE);
	assert_int_equal(result.access, GUEST_READ);
	assert_true(result.dirty);
	assert_int_equal(memory->loads, 3);
	assert_int_equal(memory->updates, 2);
	for (uint32_t level = 2; level <= 4; level++) {
		uint64_t entry = memory->word[(5 - level) * 512 +
					      guest_index(gva, level)];

		assert_int_equal(result.entry[level], entry);
		assert_true(entry & A);
		assert_int_equal(!!(entry & D), level == 2);
	}
	free(memory);
}

static void test_sv39_gigabyte(void **state)
{
	struct memory *memory = calloc(1, sizeof(*memory));
	struct guest_walk result;

	(void)state;
	memory->word[512 + 511] = 3ull << (18 + 10) | V | R | X;
	assert_int_equal(walk(memory, &paging_sv39, 0, 0xffffffffe0042123,
			      TIDE_ACCESS_FETCH, &result),
			 0);
	assert_int_equal(result.level, 3);
	assert_int_equal(result.gfn, (3ull << 18) + 0x20042);
	assert_int_equal(result.access, GUEST_READ | GUEST_EXEC);
	assert_false(result.dirty);
	assert_int_equal(result.entry[3], 3ull << 28 | V | R | X | SV_A);
	assert_int_equal(memory->word[512 + 511], result.entry[3]);
	free(memory);
}

/* A fault, and a walk that is only a question, leave the tables alone. */
static void test_no_marks(void **state)
{
	struct memory *memory = calloc(1, sizeof(*memory));
	struct guest_walk result;

	(void)state;
	build(memory, 4, 1, P | RW | US, P | US);
	assert_int_equal(walk(memory, &paging_x86_64, TIDE_PAGING_USER, 0,
			      TIDE_ACCESS_WRITE, &result),
			 TIDE_EXIT_GUEST_FAULT);
	assert_int_equal(result.fault_code, 7);
	assert_int_equal(guest_walk(&paging_x86_64, &ops, memory, 0x1000,
				    TIDE_PAGING_USER, 0, TIDE_ACCESS_READ,
				    false, &result),
			 0);
	assert_false(result.dirty);
	assert_int_equal(memory->updates, 0);
	assert_int_equal(result.entry[4], memory->word[512]);
	free(memory);
}

/* What a table outside of memory is, at each level. */
static void test_tables_outside(void **state)
{
	struct memory *memory = calloc(1, sizeof(*memory));
	struct guest_walk result;

	(void)state;
	for (uint32_t level = 1; level <= 3; level++) {
		build(memory, 4, level, P | RW | US, P);
		memory->word[(4 - level) * 512] = (1ull << 47) | P | RW;
		assert_int_equal(walk(memory, &paging_x86_64, TIDE_PAGING_USER,
				      0, TIDE_ACCESS_WRITE, &result),
				 -EFAULT);
		assert_int_equal(result.fault_code, 6);
		assert_int_equal(memory->updates, 0);
	}
	for (uint32_t level = 1; level <= 2; level++) {
		build(memory, 3, level, V, V);
		memory->word[(3 - level) * 512] = (1ull << 45) | V;
		assert_int_equal(walk(memory, &paging_sv39, 0, 0,
				      TIDE_ACCESS_READ, &result),
				 -EFAULT);
		assert_int_equal(result.fault_code, 13);
	}
	/* As far out as a root can be; it has no reserved bits. */
	memory->loads = 0;
	assert_int_equal(guest_walk(&paging_sv39, &ops, memory,
				    1ull << 63 | 0x1000, 0, 0,
				    TIDE_ACCESS_WRITE, true, &result),
			 -EFAULT);
	assert_int_equal(memory->loads, 1);
	assert_int_equal(guest_walk(&paging_sv39, &ops, memory, ~0ull, 0, 0,
				    TIDE_ACCESS_WRITE, true, &result),
			 -EFAULT);
	assert_int_equal(result.fault_code, 15);
	free(memory);
}

static void test_host_errors(void **state)
{
	struct memory *memory = calloc(1, sizeof(*memory));
	struct guest_walk result;

	(void)state;
	for (uint32_t page = 1; page <= 4; page++) {
		build(memory, 4, 1, P | RW, P | RW);
		memory->error_gpa = page << 12;
		memory->load_error = -EIO;
		assert_int_equal(walk(memory, &paging_x86_64, 0, 0,
				      TIDE_ACCESS_READ, &result),
				 -EIO);
		assert_int_equal(memory->updates, 0);
		memory->load_error = 0;
		memory->update_error = -ENOMEM;
		assert_int_equal(walk(memory, &paging_x86_64, 0, 0,
				      TIDE_ACCESS_READ, &result),
				 -ENOMEM);
		assert_int_equal(memory->updates, page);
	}
	free(memory);
}

static void test_readonly_tables(void **state)
{
	struct memory *memory = calloc(1, sizeof(*memory));
	struct guest_walk result;

	(void)state;
	build(memory, 4, 1, P | RW, P | RW);
	memory->error_gpa = 4 << 12;
	memory->update_error = -EROFS;
	assert_int_equal(
		walk(memory, &paging_x86_64, 0, 0, TIDE_ACCESS_READ, &result),
		0);
	assert_int_equal(result.entry[1], P | RW);
	assert_int_equal(memory->word[3 * 512], 4ull << 12 | P | RW | A);
	assert_false(result.dirty);
	/* Written through; there is nothing more that a write could set. */
	assert_int_equal(
		walk(memory, &paging_x86_64, 0, 0, TIDE_ACCESS_WRITE, &result),
		0);
	assert_int_equal(memory->word[4 * 512], P | RW);
	assert_int_equal(result.entry[1], P | RW);
	assert_true(result.dirty);
	free(memory);
}

/* The guest changes an entry between the walker's look and its mark. */
static void test_changing_entries(void **state)
{
	struct memory *memory = calloc(1, sizeof(*memory));
	struct guest_walk result;

	(void)state;
	/* The third mark is of the entry at level 2. */
	build(memory, 4, 1, P | RW, P | RW);
	memory->change_at = 3;
	memory->change_gpa = 3 << 12;
	memory->change_to = 5ull << 12 | P | RW;
	memory->word[5 * 512] = 9ull << 12 | P | RW;
	assert_int_equal(walk(memory, &paging_x86_64, 0, 0x123,
			      TIDE_ACCESS_WRITE, &result),
			 0);
	assert_int_equal(result.table_gfn[1], 5);
	assert_int_equal(result.gfn, 9);
	assert_int_equal(memory->word[3 * 512], 5ull << 12 | P | RW | A);
	assert_int_equal(memory->word[4 * 512], P | RW); /* not touched */
	assert_int_equal(memory->word[5 * 512], 9ull << 12 | P | RW | A | D);
	assert_int_equal(memory->loads, 8);

	/* Write-protected meanwhile: no dirty bit, but a fault. */
	build(memory, 3, 1, V, V | R | W);
	memory->change_at = 1;
	memory->change_gpa = 3 << 12;
	memory->change_to = V | R;
	assert_int_equal(
		walk(memory, &paging_sv39, 0, 0, TIDE_ACCESS_WRITE, &result),
		TIDE_EXIT_GUEST_FAULT);
	assert_int_equal(memory->word[3 * 512], V | R);
	assert_int_equal(result.fault_code, 15);

	/* Gone altogether. */
	build(memory, 4, 1, P | RW, P | RW);
	memory->change_at = 2;
	memory->change_gpa = 2 << 12;
	memory->change_to = 0;
	assert_int_equal(
		walk(memory, &paging_x86_64, 0, 0, TIDE_ACCESS_READ, &result),
		TIDE_EXIT_GUEST_FAULT);
	assert_int_equal(result.fault_code, 0);
	assert_int_equal(memory->word[2 * 512], 0);
	free(memory);
}

static void test_entry_never_still(void **state)
{
	struct memory *memory = calloc(1, sizeof(*memory));
	struct guest_walk result;

	(void)state;
	build(memory, 4, 1, P | RW, P | RW);
	memory->busy = true;
	assert_int_equal(
		walk(memory, &paging_x86_64, 0, 0, TIDE_ACCESS_READ, &result),
		-EAGAIN);
	assert_in_range(memory->updates, 2, 100);
	assert_int_equal(memory->loads, 4 * memory->updates);
	assert_int_equal(memory->word[512], 2ull << 12 | P | RW);
	free(memory);
}

/* A table that is its own next level, down to the page it maps. */
static void test_loops(void **state)
{
	struct memory *memory = calloc(1, sizeof(*memory));
	struct guest_walk result;

	(void)state;
	memory->word[512] = 1ull << 12 | P | RW | US;
	assert_int_equal(walk(memory, &paging_x86_64, 0, 0x18,
			      TIDE_ACCESS_WRITE, &result),
			 0);
	assert_int_equal(result.gfn, 1);
	assert_int_equal(memory->word[512], 1ull << 12 | P | RW | US | A | D);
	for (uint32_t level = 1; level <= 4; level++)
		assert_int_equal(result.table_gfn[level], 1);
	/* In Sv39 an entry cannot be both: the last level must be a leaf. */
	memory->word[512] = 1ull << 10 | V;
	assert_int_equal(
		walk(memory, &paging_sv39, 0, 0x18, TIDE_ACCESS_READ, &result),
		TIDE_EXIT_GUEST_FAULT);
	assert_int_equal(memory->loads, 3);
	free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_x86_bits),
		cmocka_unit_test(test_sv39_bits),
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_fault_codes),
		cmocka_unit_test(test_x86_permissions),
		cmocka_unit_test(test_sv39_permissions),
		cmocka_unit_test(test_random_tables),
		cmocka_unit_test(test_random_entries),
		cmocka_unit_test(test_results),
		cmocka_unit_test(test_sv39_gigabyte),
		cmocka_unit_test(test_no_marks),
		cmocka_unit_test(test_tables_outside),
		cmocka_unit_test(test_host_errors),
		cmocka_unit_test(test_readonly_tables),
		cmocka_unit_test(test_changing_entries),
		cmocka_unit_test(test_entry_never_still),
		cmocka_unit_test(test_loops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
