/* SPDX-License-Identifier: MIT */
/*
 * walk_fuzz.c - the walker of guest page tables against any memory
 *
 * The input puts entries into a small memory, walks it, and now and then
 * changes an entry between a walker's look and its mark.  What must hold: the
 * walker ends after a bounded number of loads, asks for entries only where one
 * can be, and does exactly what walk_model.c does, to the tables as well.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "mmu/guest_paging.h"
#include "walk_input.h"
#include "walk_model.h"
#include "walk_ops.h"

#define WORDS (WALK_FUZZ_PAGES * 512u)
#define LOADS_MAX 64u
#define OPS_MAX 1000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct guest {
	uint64_t *word;	 /* what the walker sees */
	uint64_t *model; /* what the model sees */
	uint64_t root;
	uint32_t loads;
	/* Before update number meddle_at, one entry changes. */
	uint32_t updates, meddle_at;
	uint64_t meddle_index, meddle_entry;
	bool meddled;
};

static uint64_t *model_word(void *opaque, uint64_t gpa)
{
	struct guest *guest = opaque;

	return gpa / 8 < WORDS ? &guest->model[gpa / 8] : NULL;
}

static int guest_load(void *opaque, uint64_t gpa, uint64_t *ret_entry)
{
	struct guest *guest = opaque;

	assert(gpa % 8 == 0);
	assert(gpa >> GUEST_PA_BITS == 0 || gpa >> 12 == guest->root >> 12);
	assert(++guest->loads <= LOADS_MAX);
	if (gpa / 8 >= WORDS)
		return -EFAULT;
	*ret_entry = guest->word[gpa / 8];
	return 0;
}

static int guest_update(void *opaque, uint64_t gpa, uint64_t old,
			uint64_t entry)
{
	struct guest *guest = opaque;

	assert(gpa % 8 == 0 && gpa / 8 < WORDS && entry != old);
	/* A mark only adds, and only bits that a guest knows of. */
	assert((entry & old) == old && !((entry ^ old) & ~0xe0ull));
	if (++guest->updates == guest->meddle_at) {
		guest->word[guest->meddle_index] = guest->meddle_entry;
		guest->meddled = true;
	}
	if (guest->word[gpa / 8] != old)
		return -EAGAIN;
	guest->word[gpa / 8] = entry;
	return 0;
}

static const struct guest_walk_ops guest_ops = {
	.load = guest_load,
	.update = guest_update,
};

/* After somebody meddled there is no one right answer, but a translation
 * must still be what the tables say, and bits be set in them. */
static void check_meddled(const struct guest *guest, int err,
			  const struct guest_walk *walk, uint32_t levels,
			  uint64_t gva)
{
	assert(err == 0 || err == TIDE_EXIT_GUEST_FAULT || err == -EAGAIN ||
	       err == -EFAULT);
	for (uint32_t level = levels; !err && level >= walk->level; level--) {
		uint64_t gpa = (walk->table_gfn[level] << 12) +
			       8 * guest_index(gva, level);

		/* Its own change may come after the entry's mark. */
		assert(gpa / 8 == guest->meddle_index ||
		       (guest->word[gpa / 8] & walk->entry[level]) ==
			       walk->entry[level]);
	}
}

static void run_walk(struct guest *guest, struct walk_input *input,
		     enum tide_paging_mode mode)
{
	const struct paging_format *format = paging_format_of(mode);
	struct model_paging paging = {
		.mode = mode,
		.flags = input_byte(input) & 127,
		.root = guest->root,
		.word = model_word,
		.opaque = guest,
	};
	uint8_t how = input_byte(input);
	enum tide_access what = (enum tide_access)(how % TIDE_ACCESS_COUNT);
	bool set_bits = how & 0x80;
	uint64_t gva = input_gva(input, mode);
	struct guest_walk walk;

	guest->loads = 0;
	guest->updates = 0;
	guest->meddled = false;

	int err = guest_walk(format, &guest_ops, guest, guest->root,
			     paging.flags, gva, what, set_bits, &walk);

	if (guest->meddled) {
		check_meddled(guest, err, &walk, format->levels, gva);
		guest->meddle_at = 0;
		memcpy(guest->model, guest->word, WORDS * sizeof(uint64_t));
		return;
	}

	struct model_answer answer = model_walk(&paging, gva, what, set_bits);

	assert(err == 0 || err == TIDE_EXIT_GUEST_FAULT || err == -EFAULT);
	assert(answer.fault == (err != 0));
	if (err) {
		assert(walk.fault_code == answer.code);
	} else {
		assert(walk.gfn == answer.gpa >> 12);
		assert(walk.level == answer.level);
		assert(walk.dirty == answer.dirty);
	}
	assert(!memcmp(guest->model, guest->word, WORDS * sizeof(uint64_t)));
}

static void run_op(struct guest *guest, struct walk_input *input,
		   enum tide_paging_mode mode)
{
	enum walk_op op = (enum walk_op)(input_byte(input) % WALK_OP_COUNT);
	uint64_t index;

	switch (op) {
	case WALK_OP_PUT:
	case WALK_OP_PUT_RAW:
		index = input_take(input, 2) % WORDS;
		guest->word[index] = op == WALK_OP_PUT
					     ? input_entry(input, mode)
					     : input_take(input, 8);
		guest->model[index] = guest->word[index];
		break;
	case WALK_OP_MEDDLE:
		guest->meddle_at = input_byte(input);
		guest->meddle_index = input_take(input, 2) % WORDS;
		guest->meddle_entry = input_entry(input, mode);
		break;
	case WALK_OP_ROOT:
		guest->root = input_take(input, 8);
		break;
	case WALK_OP_WALK:
	case WALK_OP_COUNT:
		run_walk(guest, input, mode);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct walk_input input = { .at = data, .end = data + size };
	struct guest guest = {
		.word = calloc(WORDS, sizeof(uint64_t)),
		.model = calloc(WORDS, sizeof(uint64_t)),
	};
	enum tide_paging_mode mode =
		input_byte(&input) & 1 ? TIDE_PAGING_SV39 : TIDE_PAGING_X86_64;

	assert(guest.word && guest.model);
	for (int i = 0; i < OPS_MAX && input.at < input.end; i++)
		run_op(&guest, &input, mode);
	free(guest.word);
	free(guest.model);
	return 0;
}
