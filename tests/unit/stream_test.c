/* SPDX-License-Identifier: MIT */
/*
 * stream_test.c - the migration stream against src/migrate/stream.c's table
 *
 * Well-formed streams first, then one case for each way to be malformed: what
 * is fed in, which error comes out, and a word of the sentence.  Each case is
 * built from good frames with one thing wrong, so that it can only fail for
 * the reason it names.
 */
#undef NDEBUG /* a test without its asserts tests nothing */

#include <errno.h>
#include <sys/mman.h>

#include "memory_stream.h"
#include "stream_script.h"
#include "test_support.h"

#define PAGE TIDE_PAGE_SIZE

static int play(struct script *script, struct memory_guest *guest,
		struct tide_sentence *why)
{
	memset(why, 0, sizeof(*why));
	return memory_guest_receive(guest, script->stream.out,
				    script->stream.out_size, why, NULL);
}

/* --- what is right ---------------------------------------------------- */

static void good_stream_arrives(void **state)
{
	struct memory_guest guest = { 0 };
	struct tide_sentence why;
	struct script script;

	(void)state;
	script_begin(&script);
	put_opening(&script);
	put_round(&script, 1, false);
	put_pages(&script, 0, 1, 2, 0xaa);
	put_zero(&script, 0, 3, 1);
	put_round(&script, 2, true);
	put_pages(&script, 0, 2, 1, 0xbb);
	put_state(&script, "device", 7);
	put_closing(&script);
	assert_int_equal(play(&script, &guest, &why), 0);
	assert_string_equal(why.text, "");
	assert_int_equal(guest.starts, 1);
	assert_int_equal(guest.loads, 2);
	assert_string_equal(guest.last_name, "vcpu");
	assert_int_equal(memory_guest_page(&guest, 0, 0)[5], 0);
	assert_int_equal(memory_guest_page(&guest, 0, 1)[PAGE - 1], 0xaa);
	assert_int_equal(memory_guest_page(&guest, 0, 2)[0], 0xbb);
	memory_guest_fini(&guest);
	script_end(&script);
}

static void frames_come_back_as_they_were(void **state)
{
	uint64_t seed = test_seed();
	struct tide_sentence why = { 0 };

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		struct tide_frame in = {
			.type = TIDE_FRAME_PAGES,
			.sequence = (uint32_t)(seed * (i + 1) >> 20),
			.meta_size = 16 * (1 + i % 512),
			.data_size = (uint32_t)PAGE * (1 + i % 512),
			.meta_check = seed * 3 * (i + 1),
			.data_check = seed * 5 * (i + 1),
		};
		struct tide_frame out;
		uint8_t head[TIDE_HEAD_SIZE];

		tide_frame_encode(&in, head);
		assert_int_equal(
			tide_frame_decode(head, in.sequence, &out, &why), 0);
		assert_int_equal(in.type, out.type);
		assert_int_equal(in.meta_size, out.meta_size);
		assert_int_equal(in.data_size, out.data_size);
		assert_true(in.meta_check == out.meta_check);
		assert_true(in.data_check == out.data_check);
	}
}

static void every_cut_is_an_early_end(void **state)
{
	struct tide_sentence why;
	struct script script;

	(void)state;
	script_begin(&script);
	put_opening(&script);
	put_round(&script, 1, true);
	put_pages(&script, 0, 0, 1, 1);
	put_closing(&script);
	for (size_t cut = 0; cut < script.stream.out_size; cut++) {
		struct memory_guest guest = { 0 };

		memset(&why, 0, sizeof(why));
		assert_int_equal(memory_guest_receive(&guest, script.stream.out,
						      cut, &why, NULL),
				 -ECONNRESET);
		assert_int_equal(guest.starts, 0);
		memory_guest_fini(&guest);
	}
	script_end(&script);
}

static void every_flipped_bit_is_noticed(void **state)
{
	struct tide_sentence why;
	struct script script;

	(void)state;
	script_begin(&script);
	put_opening(&script);
	put_round(&script, 1, true);
	put_pages(&script, 0, 0, 1, 1);
	put_closing(&script);
	for (size_t bit = 0; bit < script.stream.out_size * 8; bit += 3) {
		struct memory_guest guest = { 0 };

		script.stream.out[bit / 8] ^= (uint8_t)(1u << bit % 8);

		int err = play(&script, &guest, &why);

		script.stream.out[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (err != -EBADMSG && err != -EPROTO)
			fail_msg("bit %zu: %d %s", bit, err, why.text);
		assert_int_equal(guest.starts, 0);
		memory_guest_fini(&guest);
	}
	script_end(&script);
}

/* Q48: a zero run over memory that holds something clears it. */
static void page_that_turns_zero_is_cleared(void **state)
{
	struct memory_guest guest = { 0 };
	struct tide_sentence why;
	struct script script;

	(void)state;
	script_begin(&script);
	put_opening(&script);
	put_round(&script, 1, false);
	put_pages(&script, 0, 0, 4, 0xff);
	put_round(&script, 2, true);
	put_zero(&script, 0, 1, 2);
	put_closing(&script);
	assert_int_equal(play(&script, &guest, &why), 0);
	for (uint64_t page = 0; page < 4; page++) {
		uint8_t want = page == 1 || page == 2 ? 0 : 0xff;

		for (size_t i = 0; i < PAGE; i++)
			assert_int_equal(memory_guest_page(&guest, 0, page)[i],
					 want);
	}
	memory_guest_fini(&guest);
	script_end(&script);
}

/* Memory that cannot be touched at all: skipped, or the test dies. */
static void zero_runs_leave_fresh_memory_alone(void **state)
{
	struct memory_guest guest = { .forbid_touch = true };
	struct tide_sentence why;
	struct script script;

	(void)state;
	script_begin(&script);
	put_opening(&script);
	put_round(&script, 1, true);
	put_zero(&script, 0, 0, 4);
	put_closing(&script);
	assert_int_equal(play(&script, &guest, &why), 0);
	memory_guest_fini(&guest);
	script_end(&script);
}

static void aliases_are_cleared_through_either_slot(void **state)
{
	struct memory_guest guest = { 0 };
	struct tide_sentence why;
	struct script script;
	uint8_t *memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_true(memory != MAP_FAILED);
	guest.host = memory;
	script_begin(&script);
	put_opening(&script);
	put_slot(&script, 1, 100, 4);
	put_round(&script, 1, true);
	put_pages(&script, 0, 2, 1, 9);
	put_zero(&script, 1, 2, 1);
	put_closing(&script);
	assert_int_equal(play(&script, &guest, &why), 0);
	assert_int_equal(memory[2 * PAGE + 17], 0);
	memory_guest_fini(&guest);
	munmap(memory, 4 * PAGE);
	script_end(&script);
}

/* Q45: sizes that are no multiple of 64, down to a single page. */
static void odd_sizes_arrive_to_the_last_page(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 63, 64, 65, 127, 128, 129 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct memory_guest guest = { 0 };
		struct tide_sentence why;
		struct script script;
		uint32_t n = sizes[i];

		script_begin(&script);
		put_hello(&script, good_hello());
		put_slot(&script, 3, 0, n);
		put_slot(&script, 4, n, 1);
		put_round(&script, 1, false);
		put_pages(&script, 3, 0, n, 7);
		put_pages(&script, 4, 0, 1, 8);
		put_round(&script, 2, true);
		put_zero(&script, 3, n - 1, 1);
		put_closing(&script);
		assert_int_equal(play(&script, &guest, &why), 0);
		assert_int_equal(memory_guest_page(&guest, 3, n - 1)[0], 0);
		if (n > 1)
			assert_int_equal(memory_guest_page(&guest, 3, n - 2)[0],
					 7);
		assert_int_equal(memory_guest_page(&guest, 4, 0)[PAGE - 1], 8);
		memory_guest_fini(&guest);
		script_end(&script);
	}
}

static void slots_move_and_go(void **state)
{
	struct memory_guest guest = { 0 };
	struct tide_sentence why;
	struct script script;

	(void)state;
	script_begin(&script);
	put_opening(&script);
	put_slot(&script, 1, 100, 2);
	put_round(&script, 1, false);
	put_pages(&script, 0, 0, 4, 1);
	put_pages(&script, 1, 0, 2, 2);
	put_slot_gone(&script, 1);
	put_slot_as(&script, TIDE_FRAME_SLOT_CHANGE, 0, 100, 4,
		    TIDE_SLOT_READONLY);
	put_slot(&script, 1, 16, 1);
	put_round(&script, 2, true);
	put_closing(&script);
	assert_int_equal(play(&script, &guest, &why), 0);
	assert_int_equal(guest.changes, 2);
	assert_int_equal(guest.count, 2);
	assert_int_equal(guest.slots[0].first_gfn, 100);
	assert_int_equal(guest.slots[0].flags, TIDE_SLOT_READONLY);
	assert_int_equal(memory_guest_page(&guest, 0, 3)[0], 1);
	assert_int_equal(memory_guest_page(&guest, 1, 0)[0], 0);
	memory_guest_fini(&guest);
	script_end(&script);
}

/* --- what is wrong ---------------------------------------------------- */

/* Rewrites one byte of the frame that was put last, checksums made right. */
static void edit_last(struct script *script, size_t frame_at, size_t offset,
		      uint8_t value)
{
	uint8_t *out = script->stream.out;

	out[frame_at + offset] = value;
	memory_stream_mend(out, script->stream.out_size);
}

static void bad_magic(struct script *script)
{
	put_opening(script);
	script->stream.out[0] = 'X';
}

static void bad_head(struct script *script)
{
	put_opening(script);
	script->stream.out[41] ^= 1;
}

static void bad_meta(struct script *script)
{
	put_opening(script);
	script->stream.out[TIDE_HEAD_SIZE + 30] ^= 1;
}

static void bad_data(struct script *script)
{
	put_opening(script);
	put_round(script, 1, true);
	put_pages(script, 0, 0, 1, 3);
	script->stream.out[script->stream.out_size - 100] ^= 1;
}

static void bad_sequence(struct script *script)
{
	put_hello(script, good_hello());
	script->framing->sequence_out++;
	put_slot(script, 0, 0, 1);
}

static void bad_type(struct script *script)
{
	size_t at;

	put_hello(script, good_hello());
	at = script->stream.out_size;
	put_go(script);
	edit_last(script, at, 4, 77);
}

static void bad_flags(struct script *script)
{
	put_hello(script, good_hello());
	edit_last(script, 0, 6, 1);
}

static void bad_reserved(struct script *script)
{
	put_hello(script, good_hello());
	edit_last(script, 0, 23, 1);
}

static void bad_meta_size(struct script *script)
{
	put_hello(script, good_hello());
	edit_last(script, 0, 12, 47);
}

static void bad_data_size(struct script *script)
{
	put_hello(script, good_hello());
	edit_last(script, 0, 16, 1);
}

static void bad_version(struct script *script)
{
	struct tide_hello hello = good_hello();

	hello.version = 2;
	put_hello(script, hello);
}

static void bad_features(struct script *script)
{
	struct tide_hello hello = good_hello();

	hello.required = 0x10;
	put_hello(script, hello);
}

static void bad_page_size(struct script *script)
{
	struct tide_hello hello = good_hello();

	hello.page_shift = 14;
	put_hello(script, hello);
}

static void bad_channels(struct script *script)
{
	put_hello(script, good_hello());
	edit_last(script, 0, TIDE_HEAD_SIZE + 12, 2);
}

static void bad_memory(struct script *script)
{
	struct tide_hello hello = good_hello();

	hello.memory_bytes = 1ull << 40;
	put_hello(script, hello);
}

static void bad_opening(struct script *script)
{
	put_slot(script, 0, 0, 1);
}

static void bad_hello_twice(struct script *script)
{
	put_opening(script);
	put_hello(script, good_hello());
}

static void bad_answer(struct script *script)
{
	put_opening(script);
	put(script, TIDE_FRAME_ACK, NULL, 0, NULL, 0);
}

static void bad_slot_empty(struct script *script)
{
	put_hello(script, good_hello());
	put_slot(script, 0, 0, 0);
}

static void bad_slot_long(struct script *script)
{
	put_hello(script, good_hello());
	put_slot(script, 0, 0, TIDE_SLOT_PAGES_MAX + 1);
}

static void bad_slot_wrap(struct script *script)
{
	put_hello(script, good_hello());
	put_slot(script, 0, UINT64_MAX - 1, 4);
}

static void bad_slot_flags(struct script *script)
{
	put_hello(script, good_hello());
	put_slot_as(script, TIDE_FRAME_SLOT, 0, 0, 1, 1u << 9);
}

static void bad_slot_twice(struct script *script)
{
	put_opening(script);
	put_slot(script, 0, 1000, 1);
}

static void bad_slot_overlap(struct script *script)
{
	put_opening(script);
	put_slot(script, 1, 19, 1);
}

static void bad_slot_limit(struct script *script)
{
	put_opening(script);
	put_slot(script, 1, 1000, MEMORY_GUEST_BYTES_MAX / PAGE - 3);
}

static void bad_slot_change(struct script *script)
{
	put_opening(script);
	put_slot_as(script, TIDE_FRAME_SLOT_CHANGE, 0, 16, 5, 0);
}

static void bad_slot_change_unknown(struct script *script)
{
	put_opening(script);
	put_slot_as(script, TIDE_FRAME_SLOT_CHANGE, 9, 16, 4, 0);
}

static void bad_slot_change_overlap(struct script *script)
{
	put_opening(script);
	put_slot(script, 1, 100, 2);
	put_slot_as(script, TIDE_FRAME_SLOT_CHANGE, 1, 15, 2, 0);
}

static void bad_slot_gone(struct script *script)
{
	put_opening(script);
	put_slot_gone(script, 5);
}

static void bad_pages_early(struct script *script)
{
	put_opening(script);
	put_pages(script, 0, 0, 1, 1);
}

static void bad_pages_slot(struct script *script)
{
	put_opening(script);
	put_round(script, 1, true);
	put_pages(script, 1, 0, 1, 1);
}

static void bad_pages_outside(struct script *script)
{
	put_opening(script);
	put_round(script, 1, true);
	put_pages(script, 0, 3, 2, 1);
}

static void bad_pages_far(struct script *script)
{
	put_opening(script);
	put_round(script, 1, true);
	put_pages(script, 0, UINT64_MAX, 1, 1);
}

static void bad_pages_none(struct script *script)
{
	size_t at;

	put_opening(script);
	put_round(script, 1, true);
	at = script->stream.out_size;
	put_zero(script, 0, 0, 1);
	edit_last(script, at, TIDE_HEAD_SIZE + 4, 0);
}

static void bad_pages_count(struct script *script)
{
	size_t at;

	put_opening(script);
	put_round(script, 1, true);
	at = script->stream.out_size;
	put_pages(script, 0, 0, 2, 1);
	edit_last(script, at, TIDE_HEAD_SIZE + 4, 1);
}

static void bad_pages_many(struct script *script)
{
	size_t at;

	put_opening(script);
	put_round(script, 1, true);
	at = script->stream.out_size;
	put_pages(script, 0, 0, 2, 1);
	edit_last(script, at, 18, 0x20); /* 2 MiB and two pages of data */
}

static void bad_zero_outside(struct script *script)
{
	put_opening(script);
	put_round(script, 1, true);
	put_zero(script, 0, 0, UINT32_MAX);
}

static void bad_round_order(struct script *script)
{
	put_opening(script);
	put_round(script, 2, false);
}

static void bad_round_after_last(struct script *script)
{
	put_opening(script);
	put_round(script, 1, true);
	put_round(script, 2, true);
}

static void bad_state_early(struct script *script)
{
	put_opening(script);
	put_round(script, 1, false);
	put_state(script, "vcpu", 0);
}

static void bad_state_nameless(struct script *script)
{
	put_opening(script);
	put_round(script, 1, true);
	put_state(script, "", 0);
}

static void bad_state_endless(struct script *script)
{
	size_t at;

	put_opening(script);
	put_round(script, 1, true);
	at = script->stream.out_size;
	put_state(script, "0123456789012345678901234567890", 0);
	edit_last(script, at, TIDE_HEAD_SIZE + 31, 'x');
}

static void bad_state_behind_name(struct script *script)
{
	size_t at;

	put_opening(script);
	put_round(script, 1, true);
	at = script->stream.out_size;
	put_state(script, "vcpu", 0);
	edit_last(script, at, TIDE_HEAD_SIZE + 20, 'x');
}

static void bad_pages_after_state(struct script *script)
{
	put_opening(script);
	put_round(script, 1, true);
	put_state(script, "vcpu", 0);
	put_zero(script, 0, 0, 1);
}

static void bad_end_early(struct script *script)
{
	put_opening(script);
	put_end(script);
}

static void bad_end_totals(struct script *script)
{
	put_opening(script);
	put_round(script, 1, true);
	put_pages(script, 0, 0, 1, 1);
	script->totals.pages_sent++;
	put_end(script);
}

static void bad_go_early(struct script *script)
{
	put_opening(script);
	put_round(script, 1, true);
	put_go(script);
}

static void bad_after_end(struct script *script)
{
	put_opening(script);
	put_round(script, 1, true);
	put_end(script);
	put_round(script, 2, true);
}

static void source_gives_up(struct script *script)
{
	struct tide_complaint complaint = { TIDE_ERROR_CANCELED, ECANCELED };
	uint8_t meta[TIDE_META_MAX];

	put_opening(script);
	put(script, TIDE_FRAME_ERROR, meta,
	    tide_complaint_encode(&complaint, meta), "tired\033[31m\n", 11);
}

static const struct malformed {
	const char *name;
	void (*build)(struct script *script);
	int error;
	const char *says;
} malformed[] = {
	{ "magic", bad_magic, -EPROTO, "not a migration stream" },
	{ "damaged head", bad_head, -EBADMSG, "head is damaged" },
	{ "damaged meta", bad_meta, -EBADMSG, "meta part is damaged" },
	{ "damaged data", bad_data, -EBADMSG, "data is damaged" },
	{ "frame out of sequence", bad_sequence, -EPROTO, "in place of" },
	{ "unknown frame type", bad_type, -EPROTO, "unknown type 77" },
	{ "reserved flags", bad_flags, -EPROTO, "reserved bits" },
	{ "reserved field", bad_reserved, -EPROTO, "reserved bits" },
	{ "meta of a wrong size", bad_meta_size, -EPROTO, "sizes 47" },
	{ "data where none may be", bad_data_size, -EPROTO, "sizes 48 and 1" },
	{ "unknown version", bad_version, -EPROTO, "version 2" },
	{ "unknown required feature", bad_features, -EPROTO, "features 0x10" },
	{ "other page size", bad_page_size, -EPROTO, "2^14" },
	{ "several connections", bad_channels, -EPROTO, "0 of 2" },
	{ "more memory than allowed", bad_memory, -EFBIG, "limit" },
	{ "no HELLO", bad_opening, -EPROTO, "SLOT" },
	{ "HELLO twice", bad_hello_twice, -EPROTO, "HELLO" },
	{ "an answer as a question", bad_answer, -EPROTO, "ACK" },
	{ "slot without pages", bad_slot_empty, -EPROTO, "0 pages" },
	{ "slot with too many pages", bad_slot_long, -EPROTO, "2147483648" },
	{ "slot that wraps", bad_slot_wrap, -EPROTO, "wraps" },
	{ "slot with unknown flags", bad_slot_flags, -EPROTO, "0x200" },
	{ "slot id twice", bad_slot_twice, -EPROTO, "twice" },
	{ "slots overlap", bad_slot_overlap, -EPROTO, "overlap" },
	{ "slots beyond the limit", bad_slot_limit, -EFBIG, "limit" },
	{ "slot changes its size", bad_slot_change, -EPROTO, "changed" },
	{ "unknown slot changes", bad_slot_change_unknown, -EPROTO, "slot 9" },
	{ "slot moves onto another", bad_slot_change_overlap, -EPROTO,
	  "overlap" },
	{ "slot goes that never came", bad_slot_gone, -EPROTO, "never came" },
	{ "pages before a round", bad_pages_early, -EPROTO, "first round" },
	{ "pages of no slot", bad_pages_slot, -EPROTO, "there is not" },
	{ "pages beyond the slot", bad_pages_outside, -EPROTO, "not in slot" },
	{ "pages far beyond the slot", bad_pages_far, -EPROTO, "not in slot" },
	{ "a run of no pages", bad_pages_none, -EPROTO, "no pages" },
	{ "fewer pages than data", bad_pages_count, -EPROTO, "announced" },
	{ "more pages than a frame holds", bad_pages_many, -EPROTO, "sizes" },
	{ "zero run beyond the slot", bad_zero_outside, -EPROTO,
	  "not in slot" },
	{ "round out of order", bad_round_order, -EPROTO, "out of order" },
	{ "round after the last", bad_round_after_last, -EPROTO, "last one" },
	{ "state before the last round", bad_state_early, -EPROTO,
	  "last round" },
	{ "state without a name", bad_state_nameless, -EPROTO, "name" },
	{ "state with an endless name", bad_state_endless, -EPROTO, "name" },
	{ "state with two names", bad_state_behind_name, -EPROTO, "behind" },
	{ "pages after state", bad_pages_after_state, -EPROTO, "ZERO" },
	{ "end before the last round", bad_end_early, -EPROTO, "last round" },
	{ "end that counts wrong", bad_end_totals, -EPROTO, "counts" },
	{ "GO before END", bad_go_early, -EPROTO, "GO" },
	{ "a round after END", bad_after_end, -EPROTO, "ROUND" },
	{ "the source gives up", source_gives_up, -EREMOTEIO,
	  "gave up: tired?[31m?" },
};

#define MALFORMED (sizeof(malformed) / sizeof(malformed[0]))

static void refuses(void **state)
{
	const struct malformed *one = *state;
	struct memory_guest guest = { 0 };
	struct tide_sentence why;
	struct script script;

	script_begin(&script);
	one->build(&script);

	int err = play(&script, &guest, &why);

	if (err != one->error || !strstr(why.text, one->says))
		fail_msg("%d, not %d: %s", err, one->error, why.text);
	assert_int_equal(guest.starts, 0);
	memory_guest_fini(&guest);
	script_end(&script);
}

static void callbacks_fail_the_transfer(void **state)
{
	(void)state;
	for (int which = 0; which < 4; which++) {
		struct memory_guest guest = { 0 };
		struct tide_sentence why;
		struct script script;

		script_begin(&script);
		put_opening(&script);
		put_round(&script, 1, false);
		put_slot_as(&script, TIDE_FRAME_SLOT_CHANGE, 0, 17, 4, 0);
		put_round(&script, 2, true);
		put_closing(&script);
		guest.slot_error = which == 0 ? -ENOMEM : 0;
		guest.no_slot_change = which == 1;
		guest.load_error = which == 2 ? -EIO : 0;
		guest.start_error = which == 3 ? -EBUSY : 0;
		assert_int_equal(play(&script, &guest, &why),
				 which == 0   ? -ENOMEM
				 : which == 1 ? -EOPNOTSUPP
				 : which == 2 ? -EIO
					      : -EBUSY);
		assert_true(why.text[0] != '\0');
		memory_guest_fini(&guest);
		script_end(&script);
	}
}

static void too_many_slots_are_refused(void **state)
{
	struct memory_guest guest = { 0 };
	struct tide_sentence why;
	struct script script;

	(void)state;
	script_begin(&script);
	put_hello(&script, good_hello());
	for (uint32_t i = 0; i <= MEMORY_GUEST_SLOTS; i++)
		put_slot(&script, i, i, 1);
	assert_int_equal(play(&script, &guest, &why), -ENOSPC);
	memory_guest_fini(&guest);
	script_end(&script);
}

int main(void)
{
	static const struct CMUnitTest right[] = {
		cmocka_unit_test(good_stream_arrives),
		cmocka_unit_test(frames_come_back_as_they_were),
		cmocka_unit_test(every_cut_is_an_early_end),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(page_that_turns_zero_is_cleared),
		cmocka_unit_test(zero_runs_leave_fresh_memory_alone),
		cmocka_unit_test(aliases_are_cleared_through_either_slot),
		cmocka_unit_test(odd_sizes_arrive_to_the_last_page),
		cmocka_unit_test(slots_move_and_go),
		cmocka_unit_test(callbacks_fail_the_transfer),
		cmocka_unit_test(too_many_slots_are_refused),
	};
	enum { RIGHT = sizeof(right) / sizeof(right[0]) };
	struct CMUnitTest tests[RIGHT + MALFORMED];
	char names[MALFORMED][64];

	memcpy(tests, right, sizeof(right));
	for (size_t i = 0; i < MALFORMED; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "refused: %s",
			       malformed[i].name);
		tests[RIGHT + i] = (struct CMUnitTest){
			.name = names[i],
			.test_func = refuses,
			.initial_state = (void *)(uintptr_t)&malformed[i],
		};
	}
	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
