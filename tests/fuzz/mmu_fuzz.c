/* SPDX-License-Identifier: MIT */
/*
 * mmu_fuzz.c - a whole software MMU under a hostile guest
 *
 * The input builds page tables of both formats in guest memory (loops,
 * reserved bits, addresses outside every slot, tables that map themselves),
 * uses them, changes them and harvests, moves slots and swaps meanwhile.
 * mmu_rig.c holds every answer against plain memory and asserts that dirty
 * logs are complete; mmu_check() asserts the MMU's own invariants.
 */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>

#include "mmu_ops.h"
#include "mmu_rig.h"
#include "walk_input.h"

#define OPS_MAX 400
#define CHECK_EVERY 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t index_of(uint8_t byte)
{
	return (byte & 15u) + (byte & 16u ? 496 : 0);
}

static uint64_t take_place(struct walk_input *input)
{
	uint8_t byte = input_byte(input);

	return (uint64_t)(byte >> 5) * TIDE_PAGE_SIZE + index_of(byte) * 8;
}

static uint64_t take_gva(struct walk_input *input, enum tide_paging_mode mode)
{
	const uint32_t levels = mode == TIDE_PAGING_X86_64 ? 4 : 3;
	const uint32_t spare = 64 - 12 - 9 * levels;
	uint64_t gva = input_take(input, 2) & 0xfff;
	uint8_t top = 0;

	for (uint32_t level = 1; level <= levels; level++) {
		top = input_byte(input);
		gva |= (uint64_t)index_of(top) << (12 + 9 * (level - 1));
	}
	if (mode == TIDE_PAGING_NONE) /* near memory */
		return gva & 0xffffff;
	gva = (uint64_t)((int64_t)(gva << spare) >> spare);
	return top & 0x80 ? gva ^ 1ull << 63 : gva;
}

static enum rig_slots take_slot(struct walk_input *input)
{
	return (enum rig_slots)(input_byte(input) % RIG_SLOT_COUNT);
}

static void do_store_entry(struct rig *rig, uint32_t vcpu,
			   struct walk_input *input)
{
	struct rig_access access = { .op = RIG_STORE, .nbytes = 8 };

	access.gva = MMU_FUZZ_WINDOW_GVA + take_place(input);
	if (rig->paging[vcpu].mode == TIDE_PAGING_NONE)
		access.gva -= MMU_FUZZ_WINDOW_GVA;
	access.value = input_entry(input, rig->paging[vcpu].mode);
	(void)rig_access(rig, vcpu, &access, NULL);
}

static void do_access(struct rig *rig, uint32_t vcpu, struct walk_input *input)
{
	uint8_t how = input_byte(input);
	struct rig_access access = {
		.op = (enum rig_op)((how & 7) % 5),
		.nbytes = 1u << (how >> 3 & 3),
	};

	access.gva = take_gva(input, rig->paging[vcpu].mode);
	access.value = input_byte(input) * 0x0101010101010101u;
	access.expected = how & 0x80 ? access.value : 0;
	(void)rig_access(rig, vcpu, &access, NULL);
}

static void do_block(struct rig *rig, uint32_t vcpu, struct walk_input *input)
{
	bool write = input_byte(input) & 1;
	size_t nbytes = input_take(input, 2) % (3 * TIDE_PAGE_SIZE);
	uint64_t gva = take_gva(input, rig->paging[vcpu].mode);

	if (write)
		(void)rig_write(rig, vcpu, gva, nbytes, input_byte(input));
	else
		(void)rig_read(rig, vcpu, gva, nbytes);
}

static void do_set_paging(struct rig *rig, uint32_t vcpu,
			  struct walk_input *input)
{
	struct tide_paging paging = { .size = sizeof(paging) };

	paging.mode = (enum tide_paging_mode)(input_byte(input) %
					      TIDE_PAGING_MODE_COUNT);
	paging.flags = input_byte(input) & 127;
	paging.root = (uint64_t)(input_byte(input) % (MMU_FUZZ_TABLES + 1)) *
		      TIDE_PAGE_SIZE;
	/* One that is in no memory. */
	if (paging.root == MMU_FUZZ_TABLES * TIDE_PAGE_SIZE)
		paging.root = 1ull << 45;
	rig_set_paging(rig, vcpu, &paging);
}

static void do_device(struct rig *rig, struct walk_input *input)
{
	static uint8_t data[2 * TIDE_PAGE_SIZE];
	bool write = input_byte(input) & 1;
	uint64_t gpa = input_take(input, 4);
	size_t nbytes = input_take(input, 2) % sizeof(data);
	uint8_t seed = input_byte(input);

	if (!write) {
		(void)rig_device_read(rig, gpa, nbytes);
		return;
	}
	for (size_t i = 0; i < nbytes; i++)
		data[i] = (uint8_t)(seed + i * (seed & 3));
	(void)rig_device_write(rig, gpa, data, nbytes);
}

/* Of what the guest does. */
static bool guest_op(struct rig *rig, uint32_t vcpu, enum mmu_fuzz_op op,
		     struct walk_input *input)
{
	uint64_t place;
	uint8_t byte;

	switch ((int)op) {
	case FUZZ_OP_POKE_ENTRY:
		place = take_place(input);
		if (rig->slot[RIG_BIG].present && !rig->slot[RIG_BIG].gfn)
			rig_poke(rig, place,
				 input_entry(input, rig->paging[vcpu].mode));
		break;
	case FUZZ_OP_STORE_ENTRY:
		do_store_entry(rig, vcpu, input);
		break;
	case FUZZ_OP_ACCESS:
		do_access(rig, vcpu, input);
		break;
	case FUZZ_OP_BLOCK:
		do_block(rig, vcpu, input);
		break;
	case FUZZ_OP_TRANSLATE:
		byte = input_byte(input) % TIDE_ACCESS_COUNT;
		(void)rig_translate(rig, vcpu,
				    take_gva(input, rig->paging[vcpu].mode),
				    (enum tide_access)byte);
		break;
	case FUZZ_OP_SET_PAGING:
		do_set_paging(rig, vcpu, input);
		break;
	case FUZZ_OP_DEVICE:
		do_device(rig, input);
		break;
	case FUZZ_OP_GUEST_MODE:
		if (input_byte(input) & 1)
			rig_leave(rig, vcpu);
		else
			rig_safe_point(rig, vcpu);
		break;
	default:
		return false;
	}
	return true;
}

static void harvest_op(struct rig *rig, uint32_t vcpu, enum mmu_fuzz_op op,
		       struct walk_input *input)
{
	enum rig_slots slot;
	uint64_t first;
	uint8_t flags;

	switch ((int)op) {
	case FUZZ_OP_GET:
		rig_get(rig, take_slot(input));
		break;
	case FUZZ_OP_CLEAR:
		slot = take_slot(input);
		first = input_take(input, 2);
		rig_clear(rig, slot, first, (uint32_t)input_take(input, 2));
		break;
	case FUZZ_OP_COLLECT:
		rig_collect(rig);
		break;
	case FUZZ_OP_RESET:
		rig_reset(rig);
		break;
	case FUZZ_OP_SCRIBBLE:
		first = input_byte(input);
		flags = input_byte(input);
		slot = (enum rig_slots)(input_byte(input));
		rig_scribble(rig, vcpu, (uint32_t)first, flags, slot,
			     input_take(input, 8));
		break;
	case FUZZ_OP_CHECK:
	default:
		rig_check(rig);
		break;
	}
}

/* Pages of the small slot. */
static uint64_t take_pages(struct walk_input *input, uint64_t *ret_first)
{
	*ret_first = input_byte(input) % RIG_SMALL_PAGES;
	return 1 + input_byte(input) % (RIG_SMALL_PAGES - *ret_first);
}

/* Return: false for what harvest_op() does. */
static bool host_op(struct rig *rig, enum mmu_fuzz_op op,
		    struct walk_input *input)
{
	enum rig_slots slot;
	uint64_t first, npages;

	switch ((int)op) {
	case FUZZ_OP_FLAGS:
		slot = take_slot(input);
		(void)rig_set_flags(rig, slot, input_byte(input));
		break;
	case FUZZ_OP_MOVE:
		slot = take_slot(input);
		(void)rig_move(rig, slot, input_take(input, 2));
		break;
	case FUZZ_OP_DELETE:
		(void)rig_delete(rig, take_slot(input));
		break;
	case FUZZ_OP_ADD:
		slot = take_slot(input);
		first = input_take(input, 2);
		(void)rig_add(rig, slot, first, input_byte(input));
		break;
	case FUZZ_OP_SWAP_OUT:
		npages = take_pages(input, &first);
		rig_swap_out(rig, first, npages);
		break;
	case FUZZ_OP_MERGE:
		npages = take_pages(input, &first);
		rig_merge(rig, first, npages);
		break;
	case FUZZ_OP_DISCARD:
		npages = take_pages(input, &first);
		rig_discard(rig, first, npages);
		break;
	default:
		return false;
	}
	return true;
}

/* Tables at pages 1 to 3 that show the big slot at MMU_FUZZ_WINDOW_GVA. */
static void build_window(struct rig *rig, bool sv39)
{
	const uint32_t shift = sv39 ? 10 : 12;
	const uint64_t table = sv39 ? 1 : 7;
	const uint64_t large = sv39 ? 0xf : 0x83;
	uint64_t last = sv39 ? 0x2000 : 0x3000;

	rig_fill(rig, 0x1000 + 511 * 8, 2ull << shift | table);
	if (!sv39)
		rig_fill(rig, 0x2000 + 511 * 8, 3ull << shift | table);
	rig_fill(rig, last + 510 * 8, large);
	rig_fill(rig, last + 511 * 8, 512ull << shift | large);
	for (uint32_t vcpu = 0; vcpu < RIG_VCPUS; vcpu++) {
		struct tide_paging paging = {
			.size = sizeof(paging),
			.mode = sv39 ? TIDE_PAGING_SV39 : TIDE_PAGING_X86_64,
			.flags = TIDE_PAGING_WP | TIDE_PAGING_NX,
			.root = 0x1000,
		};

		rig_set_paging(rig, vcpu, &paging);
	}
}

/* So many entries in its ring that little is left until it is full. */
static void fill_ring(struct rig *rig, uint32_t count)
{
	struct rig_access access = { .op = RIG_STORE, .nbytes = 8 };

	for (uint32_t i = 0; i < count; i++) {
		access.gva = (MMU_FUZZ_FILL_GFN + i) * TIDE_PAGE_SIZE;
		(void)rig_access(rig, 0, &access, NULL);
	}
}

static struct rig *set_up(struct walk_input *input)
{
	uint8_t setup = input_byte(input), log = input_byte(input);
	struct rig_config config = {
		.backed = setup & MMU_FUZZ_BACKED,
		.ring = setup & MMU_FUZZ_RING,
		.log = log & 4,
		.manual = log & 1 ? log & 3 : 0,
	};
	struct rig *rig;

	if (setup & MMU_FUZZ_NO_FAST_FAULT)
		config.mmu.flags |= TIDE_MMU_NO_FAST_FAULT;
	if (setup & MMU_FUZZ_NO_LARGE_PAGES)
		config.mmu.flags |= TIDE_MMU_NO_LARGE_PAGES;
	if (setup & MMU_FUZZ_FEW_TABLES)
		config.mmu.table_pages_max = 64;
	rig = rig_create(&config);
	if (config.ring && config.log)
		fill_ring(rig, (log >> 3) * 8u);
	if (setup & MMU_FUZZ_WINDOW)
		build_window(rig, setup & MMU_FUZZ_SV39);
	return rig;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct walk_input input = { .at = data, .end = data + size };
	struct rig *rig;

	if (size < 3)
		return 0;
	rig = set_up(&input);
	for (int i = 1; i <= OPS_MAX && input.at < input.end && !rig->stuck;
	     i++) {
		uint8_t byte = input_byte(&input);
		uint32_t vcpu = byte >> 7;
		enum mmu_fuzz_op op =
			(enum mmu_fuzz_op)((byte & 127) % FUZZ_OP_COUNT);

		if (!guest_op(rig, vcpu, op, &input) &&
		    !host_op(rig, op, &input))
			harvest_op(rig, vcpu, op, &input);
		if (i % CHECK_EVERY == 0)
			mmu_check(rig->mmu);
	}
	rig_destroy(rig);
	return 0;
}
