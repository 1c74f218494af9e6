/* SPDX-License-Identifier: MIT */
/*
 * walk_corpus.c - writes the seed corpus of the walk fuzzer
 *
 * Usage: walk_corpus tests/fuzz/corpus/walk
 */
#include "walk_input.h"
#include "walk_ops.h"

static const uint16_t zeros[4];

static void put(struct walk_output *output, uint32_t page, uint32_t index,
		uint64_t low, uint64_t target, uint8_t odd)
{
	output_put(output, WALK_OP_PUT, 1);
	output_put(output, page * 512 + index, 2);
	output_entry(output, low, target, odd);
}

static void root(struct walk_output *output, uint64_t gpa)
{
	output_put(output, WALK_OP_ROOT, 1);
	output_put(output, gpa, 8);
}

/* Every access under every flag of @flags. */
static void walks(struct walk_output *output, uint32_t levels,
		  const uint16_t *index, uint8_t flags)
{
	for (uint32_t f = 0; f < 128; f++) {
		if (f & ~(uint32_t)flags)
			continue;
		for (uint32_t what = 0; what < TIDE_ACCESS_COUNT; what++) {
			output_put(output, WALK_OP_WALK, 1);
			output_put(output, f, 1);
			output_put(output, what | 0x80, 1);
			output_gva(output, 0x123, levels, index);
		}
	}
}

/* Tables at pages 1 and up, by their first entries, down to @level. */
static void chain(struct walk_output *output, uint32_t levels, uint32_t level,
		  uint64_t upper, uint64_t leaf, uint8_t odd)
{
	uint32_t page = 1;

	output_put(output, levels == 3, 1);
	root(output, 0x1000);
	for (uint32_t l = levels; l > level; l--, page++)
		put(output, page, 0, upper, page + 1, 0);
	put(output, page, 0, leaf, level == 1 ? 6 : 0, odd);
}

static void write_x86(const char *directory)
{
	for (uint32_t level = 1; level <= 3; level++) {
		char name[32];
		struct walk_output output;

		(void)snprintf(name, sizeof(name), "x86-level-%u", level);
		output = output_open(directory, name);
		chain(&output, 4, level, 7, level > 1 ? 0x87 : 7, 0x80);
		walks(&output, 4, zeros, TIDE_PAGING_NX | TIDE_PAGING_SMEP);
		put(&output, 5 - level, 0, level > 1 ? 0x81 : 1, 0, 0);
		walks(&output, 4, zeros, TIDE_PAGING_USER | TIDE_PAGING_WP);
		/* A reserved bit: bit 48 or, in a large page, 13. */
		put(&output, 5 - level, 0, level > 1 ? 0x87 : 7, 2,
		    level > 1 ? 0 : 0x70);
		walks(&output, 4, zeros, TIDE_PAGING_USER);
		/* PAT, and rights that differ from level to level. */
		put(&output, 5 - level, 0, 0x87, 1, 0);
		walks(&output, 4, zeros, TIDE_PAGING_USER);
		for (uint32_t i = 0; i < 2; i++) {
			put(&output, 1, 0, i ? 3 : 5, 2, (uint8_t)(i << 7));
			walks(&output, 4, zeros,
			      TIDE_PAGING_USER | TIDE_PAGING_WP |
				      TIDE_PAGING_NX | TIDE_PAGING_SMAP);
		}
		output_close(&output);
	}
}

static void write_sv39(const char *directory)
{
	for (uint32_t level = 1; level <= 3; level++) {
		char name[32];
		struct walk_output output;

		(void)snprintf(name, sizeof(name), "sv39-level-%u", level);
		output = output_open(directory, name);
		chain(&output, 3, level, 1, 0x1f, 0);
		walks(&output, 3, zeros, TIDE_PAGING_USER | TIDE_PAGING_SUM);
		put(&output, 4 - level, 0, 9, 0, 0);
		walks(&output, 3, zeros, TIDE_PAGING_MXR);
		put(&output, 4 - level, 0, 0xd, 0, 0);
		walks(&output, 3, zeros, 0);
		put(&output, 4 - level, 0, 7, 1, 0); /* misaligned above 1 */
		walks(&output, 3, zeros, 0);
		output_close(&output);
	}
}

static void write_odd(const char *directory)
{
	static const uint16_t last[4] = { 511, 511, 511, 511 };
	static const uint16_t bad[4] = { 511, 511, 0x81ff, 0x81ff };
	struct walk_output output = output_open(directory, "loop-x86");

	output_put(&output, 0, 1);
	root(&output, 0x2abc);
	put(&output, 2, 511, 3, 2, 0);
	walks(&output, 4, last, TIDE_PAGING_WP);
	walks(&output, 4, bad, 0);
	output_close(&output);

	output = output_open(directory, "loop-sv39");
	output_put(&output, 1, 1);
	root(&output, 0x1000);
	put(&output, 1, 511, 1, 1, 0);
	walks(&output, 3, last, 0);
	walks(&output, 3, bad, 0);
	output_close(&output);

	output = output_open(directory, "outside");
	output_put(&output, 0, 1);
	root(&output, ~0ull);
	walks(&output, 4, zeros, 0);
	root(&output, 0x1000);
	put(&output, 1, 0, 3, 0xffff, 0x6f);
	walks(&output, 4, zeros, TIDE_PAGING_USER);
	output_close(&output);
}

static void write_meddled(const char *directory)
{
	for (uint32_t at = 1; at <= 5; at++) {
		char name[32];
		struct walk_output output;

		(void)snprintf(name, sizeof(name), "meddled-%u", at);
		output = output_open(directory, name);
		chain(&output, 4, 1, 3, 3, 0);
		output_put(&output, WALK_OP_MEDDLE, 1);
		output_put(&output, at, 1);
		output_put(&output, (at % 4 + 1) * 512, 2);
		output_entry(&output, at & 1 ? 1 : 0, 5, 0);
		walks(&output, 4, zeros, TIDE_PAGING_WP);
		output_close(&output);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: walk_corpus DIRECTORY\n");
		return 2;
	}
	write_x86(argv[1]);
	write_sv39(argv[1]);
	write_odd(argv[1]);
	write_meddled(argv[1]);
	return 0;
}
