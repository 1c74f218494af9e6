/* SPDX-License-Identifier: MIT */
/*
 * walk_input.h - bytes of a fuzzer as entries, addresses and operations
 *
 * An operation is a byte and its arguments.  What an input asks for is written
 * by the same header (struct walk_output), for the seed corpus.
 */
#ifndef TIDE_FUZZ_WALK_INPUT_H
#define TIDE_FUZZ_WALK_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <tidemark/vcpu.h>

struct walk_input {
	const uint8_t *at, *end;
};

/* Behind the end there are zeros. */
static inline uint64_t input_take(struct walk_input *input, unsigned int nbytes)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < nbytes && input->at < input->end; i++)
		value |= (uint64_t)*input->at++ << 8 * i;
	return value;
}

static inline uint8_t input_byte(struct walk_input *input)
{
	return (uint8_t)input_take(input, 1);
}

/* Indices from two bytes each, sign-extended as the mode has it; a bit above
 * the last index makes it an address that is not valid. */
static inline uint64_t input_gva(struct walk_input *input,
				 enum tide_paging_mode mode)
{
	const uint32_t levels = mode == TIDE_PAGING_X86_64 ? 4 : 3;
	const uint32_t spare = 64 - 12 - 9 * levels;
	uint64_t gva = input_take(input, 2) & 0xfff;
	uint64_t top = 0;

	for (uint32_t level = 1; level <= levels; level++) {
		top = input_take(input, 2);
		gva |= (top & 511) << (12 + 9 * (level - 1));
	}
	gva = (uint64_t)((int64_t)(gva << spare) >> spare);
	return top & 0x8000 ? gva ^ 1ull << (64 - spare + (top >> 9) % spare)
			    : gva;
}

/* Two bytes of low bits, two of page, one of what is odd about it. */
static inline uint64_t input_entry(struct walk_input *input,
				   enum tide_paging_mode mode)
{
	const bool x86 = mode == TIDE_PAGING_X86_64;
	uint64_t low = input_take(input, 2) & (x86 ? 0xfff : 0x3ff);
	uint64_t page = input_take(input, 2);
	uint8_t odd = input_byte(input);
	uint64_t entry = low | page << (x86 ? 12 : 10);

	if (odd & 0x40)
		entry ^= 1ull << (odd & 63);
	return odd & 0x80 && x86 ? entry | 1ull << 63 : entry;
}

struct walk_output {
	FILE *file;
};

static inline struct walk_output output_open(const char *directory,
					     const char *name)
{
	char path[4096];
	struct walk_output output;

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	output.file = fopen(path, "wb");
	if (!output.file) {
		perror(path);
		exit(1);
	}
	return output;
}

static inline void output_put(struct walk_output *output, uint64_t value,
			      unsigned int nbytes)
{
	for (unsigned int i = 0; i < nbytes; i++)
		if (fputc((int)(value >> 8 * i & 0xff), output->file) == EOF)
			exit(1);
}

/* The indices of levels 4 (or 3) to 1 in @index[3] to [0]. */
static inline void output_gva(struct walk_output *output, uint64_t offset,
			      uint32_t levels, const uint16_t *index)
{
	output_put(output, offset, 2);
	for (uint32_t level = 0; level < levels; level++)
		output_put(output, index[level], 2);
}

static inline void output_entry(struct walk_output *output, uint64_t low,
				uint64_t page, uint8_t odd)
{
	output_put(output, low, 2);
	output_put(output, page, 2);
	output_put(output, odd, 1);
}

static inline void output_close(struct walk_output *output)
{
	if (fclose(output->file)) {
		perror("corpus");
		exit(1);
	}
}

#endif
