/* SPDX-License-Identifier: MIT */
/*
 * mmu_corpus.c - writes the seed corpus of the MMU fuzzer
 *
 * Usage: mmu_corpus tests/fuzz/corpus/mmu
 *
 * Random guests that mostly do what makes sense: a fuzzer that begins with
 * noise never gets as far as a second level of tables.
 */
#include "mmu_ops.h"
#include "walk_input.h"

#define SEEDS 64u
#define OPS_MIN 30u

static const char *directory;

static uint64_t random_below(uint64_t *seed, uint64_t end)
{
	uint64_t x = *seed += 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return (x ^ x >> 31) % end;
}

#define PICK(seed, array) \
	((array)[random_below(seed, sizeof(array) / sizeof((array)[0]))])

struct script {
	struct walk_output out;
	uint64_t seed;
	enum tide_paging_mode mode[2];
	enum tide_paging_mode paged; /* the window's */
};

static void put(struct script *script, uint64_t value, unsigned int nbytes)
{
	output_put(&script->out, value, nbytes);
}

static void put_place(struct script *script)
{
	static const uint8_t index[] = { 0, 0, 0, 1, 2, 3, 30, 31, 31, 17 };

	put(script,
	    random_below(&script->seed, 8) << 5 | PICK(&script->seed, index),
	    1);
}

static void put_entry(struct script *script, enum tide_paging_mode mode)
{
	static const uint16_t pages[] = { 1,	 2,	3,     4,     5,
					  6,	 7,	4,     5,     0,
					  20,	 100,	600,   1030,  0x800,
					  0x805, 0x827, 0xc00, 0xc07, 0xffff };
	static const uint16_t blocks[] = { 0, 512, 1024, 2048 };
	static const uint16_t x86[] = { 7,    7,    7,	  3,	5,    1, 0x27,
					0x67, 0x63, 0x87, 0x83, 0x81, 0 };
	static const uint16_t sv39[] = { 1, 1, 1,    0xf,  0x1f, 0xcf, 0xdf,
					 3, 7, 0x13, 0x17, 0xd,	 9,    0 };
	static const uint8_t odd[] = { 0, 0, 0, 0, 0, 0, 0x80, 0x6f };
	bool is_x86 = mode != TIDE_PAGING_SV39;
	uint16_t low =
		is_x86 ? PICK(&script->seed, x86) : PICK(&script->seed, sv39);
	bool large = is_x86 ? low & 0x80 : !random_below(&script->seed, 4);

	output_entry(&script->out, low,
		     large ? PICK(&script->seed, blocks)
			   : PICK(&script->seed, pages),
		     PICK(&script->seed, odd));
}

static void put_gva(struct script *script, enum tide_paging_mode mode)
{
	static const uint16_t offsets[] = { 0, 8, 0x7f8, 4095, 4093, 4088 };
	static const uint8_t index[] = { 0, 0, 0, 1, 2, 3, 30, 31, 31, 17 };
	const uint32_t levels = mode == TIDE_PAGING_X86_64 ? 4 : 3;
	bool window = random_below(&script->seed, 3) == 0;

	put(script, PICK(&script->seed, offsets), 2);
	put(script, PICK(&script->seed, index), 1);
	for (uint32_t level = 2; level <= levels; level++) {
		if (mode == TIDE_PAGING_NONE)
			put(script, random_below(&script->seed, 8), 1);
		else if (window)
			put(script, level == 2 ? 30 : 31, 1);
		else
			put(script, PICK(&script->seed, index), 1);
	}
}

static void put_paging(struct script *script, uint32_t vcpu)
{
	static const uint8_t flags[] = { 6, 6, 6, 7, 2, 0, 0x1e, 0x60, 0x7f };
	static const uint8_t roots[] = { 1, 1, 1, 4, 5, 8 };
	uint64_t which = random_below(&script->seed, 8);

	script->mode[vcpu] =
		which > 1 ? script->paged : (enum tide_paging_mode)which;
	put(script, script->mode[vcpu], 1);
	put(script, PICK(&script->seed, flags), 1);
	put(script, PICK(&script->seed, roots), 1);
}

static void put_guest_op(struct script *script, uint32_t vcpu,
			 enum mmu_fuzz_op op)
{
	static const uint16_t sizes[] = { 1, 8, 100, 4096, 5000 };
	uint64_t *seed = &script->seed;

	put(script, op | vcpu << 7, 1);
	switch ((int)op) {
	case FUZZ_OP_POKE_ENTRY:
	case FUZZ_OP_STORE_ENTRY:
		put_place(script);
		put_entry(script, script->mode[vcpu]);
		break;
	case FUZZ_OP_ACCESS:
		put(script,
		    random_below(seed, 5) | random_below(seed, 4) << 3 |
			    random_below(seed, 2) << 7,
		    1);
		put_gva(script, script->mode[vcpu]);
		put(script, random_below(seed, 256), 1);
		break;
	case FUZZ_OP_BLOCK:
		put(script, 0, 1);
		put(script, PICK(seed, sizes), 2);
		put_gva(script, script->mode[vcpu]);
		break;
	case FUZZ_OP_TRANSLATE:
		put(script, random_below(seed, 3), 1);
		put_gva(script, script->mode[vcpu]);
		break;
	case FUZZ_OP_SET_PAGING:
		put_paging(script, vcpu);
		break;
	case FUZZ_OP_DEVICE:
		put(script, 1, 1);
		put(script, random_below(seed, 9 * 4096), 4);
		put(script, PICK(seed, sizes), 2);
		put(script, random_below(seed, 256), 1);
		break;
	default:
		put(script, random_below(seed, 2), 1);
		break;
	}
}

static void put_host_op(struct script *script, uint32_t vcpu,
			enum mmu_fuzz_op op)
{
	static const uint16_t gfns[] = { 0, 0x800, 0x900, 1040, 1024, 0x7f0 };
	uint64_t *seed = &script->seed;

	put(script, op | vcpu << 7, 1);
	switch ((int)op) {
	case FUZZ_OP_GET:
		put(script, random_below(seed, 3), 1);
		break;
	case FUZZ_OP_CLEAR:
		put(script, random_below(seed, 3), 1);
		put(script, random_below(seed, 1040), 2);
		put(script, random_below(seed, 3) * 64, 2);
		break;
	case FUZZ_OP_SCRIBBLE:
		put(script, random_below(seed, 4), 1);
		put(script, random_below(seed, 4), 1);
		put(script, random_below(seed, 4), 1);
		put(script, random_below(seed, 1050), 8);
		break;
	case FUZZ_OP_FLAGS:
		put(script, random_below(seed, 3), 1);
		put(script, random_below(seed, 2), 1);
		break;
	case FUZZ_OP_MOVE:
		put(script, 1 + random_below(seed, 2), 1);
		put(script, PICK(seed, gfns), 2);
		break;
	case FUZZ_OP_DELETE:
		put(script, 1 + random_below(seed, 2), 1);
		break;
	case FUZZ_OP_ADD:
		put(script, random_below(seed, 3), 1);
		put(script, PICK(seed, gfns), 2);
		put(script, 1, 1);
		break;
	case FUZZ_OP_SWAP_OUT:
	case FUZZ_OP_MERGE:
	case FUZZ_OP_DISCARD:
		put(script, random_below(seed, 40), 1);
		put(script, random_below(seed, 40), 1);
		break;
	default:
		break;
	}
}

static void put_op(struct script *script)
{
	static const enum mmu_fuzz_op guest[] = {
		FUZZ_OP_POKE_ENTRY,  FUZZ_OP_POKE_ENTRY,  FUZZ_OP_POKE_ENTRY,
		FUZZ_OP_STORE_ENTRY, FUZZ_OP_STORE_ENTRY, FUZZ_OP_STORE_ENTRY,
		FUZZ_OP_ACCESS,	     FUZZ_OP_ACCESS,	  FUZZ_OP_ACCESS,
		FUZZ_OP_ACCESS,	     FUZZ_OP_ACCESS,	  FUZZ_OP_ACCESS,
		FUZZ_OP_ACCESS,	     FUZZ_OP_ACCESS,	  FUZZ_OP_BLOCK,
		FUZZ_OP_TRANSLATE,   FUZZ_OP_SET_PAGING,  FUZZ_OP_DEVICE,
		FUZZ_OP_GUEST_MODE,
	};
	static const enum mmu_fuzz_op host[] = {
		FUZZ_OP_GET,	  FUZZ_OP_GET,	    FUZZ_OP_GET,
		FUZZ_OP_CLEAR,	  FUZZ_OP_CLEAR,    FUZZ_OP_RESET,
		FUZZ_OP_RESET,	  FUZZ_OP_COLLECT,  FUZZ_OP_COLLECT,
		FUZZ_OP_FLAGS,	  FUZZ_OP_MOVE,	    FUZZ_OP_DELETE,
		FUZZ_OP_ADD,	  FUZZ_OP_ADD,	    FUZZ_OP_MERGE,
		FUZZ_OP_SWAP_OUT, FUZZ_OP_SWAP_OUT, FUZZ_OP_CHECK,
		FUZZ_OP_SCRIBBLE, FUZZ_OP_DISCARD,
	};
	uint32_t vcpu = !random_below(&script->seed, 4);

	if (random_below(&script->seed, 6))
		put_guest_op(script, vcpu, PICK(&script->seed, guest));
	else
		put_host_op(script, vcpu, PICK(&script->seed, host));
}

static void write_guest(uint32_t number)
{
	struct script script = { .seed = number };
	uint8_t setup = (uint8_t)(number & 15) | MMU_FUZZ_WINDOW;
	char name[32];
	uint64_t count;

	setup |= number & 16 ? MMU_FUZZ_SV39 : 0;
	setup |= number & 32 ? MMU_FUZZ_FEW_TABLES : 0;
	script.paged = number & 16 ? TIDE_PAGING_SV39 : TIDE_PAGING_X86_64;
	script.mode[0] = script.mode[1] = script.paged;
	(void)snprintf(name, sizeof(name), "guest-%02u", number);
	script.out = output_open(directory, name);
	put(&script, setup, 1);
	/* A ring that is full, or nearly so, after 192 entries. */
	put(&script,
	    4 | random_below(&script.seed, 4) |
		    (16 + random_below(&script.seed, 9)) << 3,
	    1);
	count = OPS_MIN + random_below(&script.seed, 100);
	for (uint64_t i = 0; i < count; i++)
		put_op(&script);
	output_close(&script.out);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: mmu_corpus DIRECTORY\n");
		return 2;
	}
	directory = argv[1];
	for (uint32_t number = 0; number < SEEDS; number++)
		write_guest(number);
	return 0;
}
