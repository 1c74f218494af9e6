/* SPDX-License-Identifier: MIT */
/*
 * trace_malformed_test.c - each validity condition of docs/trace.md
 *
 * A right trace with one thing wrong and the right sums around it, so that it
 * can only be refused for the reason that it names.
 */
#undef NDEBUG /* a test without its asserts tests nothing */

#include <errno.h>
#include <unistd.h>

#include <tidemark/trace.h>

#include "file_faults.h"
#include "test_support.h"
#include "trace_script.h"

/* It is a line, and not an empty one. */
static void is_sentence(const char *why)
{
	assert_true(why[0]);
	assert_null(strchr(why, '\n'));
}

#define M TIDE_TRACE_TYPE_MAPPING
#define G TIDE_TRACE_TYPE_GONE
#define I TIDE_TRACE_TYPE_INTERVAL
#define E TIDE_TRACE_TYPE_END
#define BYTES(text) text, sizeof(text) - 1
#define MANY "\xff\xff\xff\xff\xff\xff\xff\xff\xff"

/* A record after one mapping, id 1, of 1000 pages. */
struct malformed {
	const char *name;
	uint8_t type, flags;
	const char *payload;
	size_t size;
	const char *word; /* of the sentence; NULL: it is right */
};

static const struct malformed malformed[] = {
	{ "a right run", I, 0, BYTES("\x09\x00\x00\x01\x01\x00\x00"), NULL },
	{ "a right mapping", M, 0, BYTES("\x02\x07\x00\x01\x00\x00\x01\x78"),
	  NULL },
	{ "a right gone", G, 0, BYTES("\x01"), NULL },
	{ "type 0", 0, 0, BYTES("\x01"), "no such type" },
	{ "type 5", 5, 0, BYTES("\x01"), "no such type" },
	{ "flag 2", I, 2, BYTES("\x09\x00\x00\x00"), "no such flags" },
	{ "a compressed mapping", M, 1, BYTES("\x02\x07\x00\x01\x00\x00\x01"),
	  "compr" },
	{ "an end with something in it", E, 0, BYTES("\x00"), "too large" },
	{ "what is no frame", I, 1, BYTES("\x09\x00\x00\x00"), "no such size" },

	{ "a mapping of nothing", M, 0, BYTES("\x02"), "not well-formed" },
	{ "a mapping without shared", M, 0, BYTES("\x02\x07\x00\x01\x00\x00"),
	  "not well-formed" },
	{ "shared of 2", M, 0, BYTES("\x02\x07\x00\x01\x00\x00\x02"),
	  "not well-formed" },
	{ "an id of 2^32", M, 0,
	  BYTES("\x80\x80\x80\x80\x10\x07\x00\x01\x00\x00\x00"),
	  "not well-formed" },
	{ "a pid of 2^32", M, 0,
	  BYTES("\x02\x80\x80\x80\x80\x10\x00\x01\x00\x00\x00"),
	  "not well-formed" },
	{ "a varint that is too long", M, 0,
	  BYTES("\x82\x00\x07\x00\x01\x00\x00\x00"), "not well-formed" },
	{ "a number of 2^64", M, 0,
	  BYTES("\x02\x07" MANY "\x02\x01\x00\x00\x00"), "not well-formed" },
	{ "a zero in the name", M, 0,
	  BYTES("\x02\x07\x00\x01\x00\x00\x00\x78\x00"), "name" },
	{ "the same id", M, 0, BYTES("\x01\x07\x00\x01\x00\x00\x00"),
	  "not larger" },
	{ "a smaller id", M, 0, BYTES("\x00\x07\x00\x01\x00\x00\x00"),
	  "not larger" },
	{ "no pages", M, 0, BYTES("\x02\x07\x00\x00\x00\x00\x00"), "no pages" },
	{ "an end beyond", M, 0, BYTES("\x02\x07\x02" MANY "\x01\x00\x00\x00"),
	  "beyond" },
	{ "a beginning beyond", M, 0,
	  BYTES("\x02\x07" MANY "\x01\x02\x00\x00\x00"), "beyond" },
	{ "too many with content", M, 0, BYTES("\x02\x07\x00\x03\x04\x00\x00"),
	  "with content than pages" },
	{ "too many zeros", M, 0, BYTES("\x02\x07\x00\x03\x01\x02\x00"),
	  "of zeros" },

	{ "gone and more", G, 0, BYTES("\x01\x01"), "not well-formed" },
	{ "gone of nothing", G, 0, BYTES("\x80"), "not well-formed" },
	{ "gone that is not there", G, 0, BYTES("\x02"), "not there" },

	{ "an interval of nothing", I, 0, BYTES("\x09\x00\x00"),
	  "not well-formed" },
	{ "no length", I, 0, BYTES("\x00\x00\x00\x00"), "no later" },
	{ "a run that is not there", I, 0, BYTES("\x09\x00\x00\x01"),
	  "more runs" },
	{ "runs without end", I, 0,
	  BYTES("\x09\x00\x00" MANY "\x01\x01\x00\x00"), "more runs" },
	{ "a group of more", I, 0, BYTES("\x09\x00\x00\x01\x01\x01\x00\x00"),
	  "group of runs" },
	{ "a group of 2^64", I, 0,
	  BYTES("\x09\x00\x00\x03\x01\x00\x00\x00" MANY "\x01\x00\x00\x00\x00"),
	  "group of runs" },
	{ "an id beyond 2^32", I, 0,
	  BYTES("\x09\x00\x00\x02\x01\x00\x00\xfe\xff\xff\xff\x0f\x00\x00"),
	  "group of runs" },
	{ "an id that wraps", I, 0,
	  BYTES("\x09\x00\x00\x02\x01\x00\x00" MANY "\x01\x00\x00"),
	  "group of runs" },
	{ "a run without its length", I, 0,
	  BYTES("\x09\x00\x00\x01\x01\x00\x01"), "a run is" },
	{ "a gap that wraps", I, 0,
	  BYTES("\x09\x00\x00\x02\x01\x01\x04" MANY "\x01"), "a run is" },
	{ "a length that wraps", I, 0,
	  BYTES("\x09\x00\x00\x01\x01\x00\x01" MANY "\x01"), "a run is" },
	{ "a run beyond the mapping", I, 0,
	  BYTES("\x09\x00\x00\x01\x01\x00\xd1\x0f\x00"), "beyond its mapping" },
	{ "a run's end beyond the mapping", I, 0,
	  BYTES("\x09\x00\x00\x01\x01\x00\xcf\x0f\x00"), "beyond its mapping" },
	{ "a run of a mapping that is not there", I, 0,
	  BYTES("\x09\x00\x00\x01\x02\x00\x00"), "run's mapping" },
	{ "something after the runs", I, 0,
	  BYTES("\x09\x00\x00\x01\x01\x00\x00\x00"), "more in it" },
};
#define MALFORMED (sizeof(malformed) / sizeof(malformed[0]))

/* Return: what next says of the record after the mapping. */
static int play_script(struct trace_script *script, char *why, size_t size,
		       struct tide_trace_event *ret)
{
	int fd = trace_script_fd(script->out.bytes, script->out.size);
	struct tide_trace_reader *reader;
	struct tide_trace_info info;
	int got;

	assert_int_equal(tide_trace_open(fd, &reader, &info, why, size), 0);
	assert_int_equal(tide_trace_next(reader, ret), 1);
	do {
		got = tide_trace_next(reader, ret);
	} while (got == 1);
	tide_trace_close(reader);
	close(fd);
	return got;
}

static void refuses(void **state)
{
	const struct malformed *one = *state;
	struct trace_script script = { 0 };
	struct tide_trace_event event;
	char why[128];
	int got;

	no_faults();
	trace_script_begin(&script);
	trace_script_mapping(&script);
	trace_script_record(&script, one->type, one->flags, one->payload,
			    one->size);
	trace_script_end(&script);
	got = play_script(&script, why, sizeof(why), &event);
	assert_int_equal(got, one->word ? -EBADMSG : 0);
	if (one->word) {
		is_sentence(why);
		assert_non_null(strstr(why, one->word));
		assert_non_null(strstr(why, "record 2, at byte "));
	}
	trace_script_free(&script);
}

static void large_records_are_not_believed(void **state)
{
	static const struct {
		uint8_t type;
		uint32_t size;
	} cases[] = {
		{ M, TIDE_TRACE_SMALL_MAX + 1 },
		{ G, UINT32_MAX },
		{ I, TIDE_TRACE_RAW_MAX + 1 },
		{ I, UINT32_MAX },
	};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct tide_trace_head head = { .type = cases[i].type,
						.size = cases[i].size };
		struct trace_script script = { 0 };
		struct tide_trace_event event;
		char why[128];

		trace_script_begin(&script);
		trace_script_mapping(&script);
		assert_int_equal(tide_trace_bytes_room(&script.out, 8), 0);
		tide_trace_head_encode(&head, script.check,
				       script.out.bytes + script.out.size);
		script.out.size += 8;
		use_faults();
		assert_int_equal(play_script(&script, why, sizeof(why), &event),
				 -EBADMSG);
		assert_true(faults.largest < 1 << 20);
		no_faults();
		assert_non_null(strstr(why, "too large"));
		trace_script_free(&script);
	}
}

/* 16 MiB of ones are many runs, or many wrong ones, in some hundred bytes. */
static void small_files_do_not_take_gigabytes(void **state)
{
	/* 8 million runs: there are as many bytes, but they are too many. */
	static const uint8_t begin[] = { 9, 0, 0, 0x80, 0xa4, 0xe8, 3, 1, 1 };
	size_t size = TIDE_TRACE_RAW_MAX;
	uint8_t *payload = calloc(1, size + 1);
	char why[128];

	(void)state;
	assert_non_null(payload);
	memcpy(payload, begin, sizeof(begin));
	for (size_t more = 0; more < 2; more++) {
		struct trace_script script = { 0 };
		struct tide_trace_event event;

		trace_script_begin(&script);
		trace_script_mapping(&script);
		trace_script_zstd(&script, payload, size + more, NULL, 0);
		assert_true(script.out.size < 4096);
		use_faults();
		assert_int_equal(play_script(&script, why, sizeof(why), &event),
				 -EBADMSG);
		assert_true(faults.largest <=
			    TIDE_TRACE_RUNS_MAX *
				    sizeof(struct tide_trace_run));
		no_faults();
		is_sentence(why);
		assert_non_null(
			strstr(why, more ? "no such size" : "more runs"));
		trace_script_free(&script);
	}
	free(payload);
}

static void time_has_an_end(void **state)
{
	struct trace_script script = { 0 };
	struct tide_trace_event event;
	char why[128];

	(void)state;
	no_faults();
	trace_script_begin(&script);
	trace_script_mapping(&script);
	trace_script_record(&script, I, 0, "\x09\0\0\0", 4);
	trace_script_record(&script, I, 0, MANY "\x01\0\0\0", 13);
	trace_script_end(&script);
	assert_int_equal(play_script(&script, why, sizeof(why), &event),
			 -EBADMSG);
	assert_non_null(strstr(why, "later than time"));
	trace_script_free(&script);
}

/* Offsets: the top of src/watch/trace_format.c. */
static void bad_infos_are_noticed(void **state)
{
	static const struct {
		size_t at;
		uint8_t value, count; /* bytes that become this */
		const char *word;
	} cases[] = {
		{ TIDE_TRACE_FRONT_SIZE + 8, 0, 8, "interval is 0" },
		{ TIDE_TRACE_FRONT_SIZE + TIDE_TRACE_INFO_SIZE + 2, 0, 1,
		  "zero in it" },
		{ 12, TIDE_TRACE_INFO_SIZE - 1, 1, "no such size" },
		{ 12, TIDE_TRACE_INFO_SIZE + 128, 1, "no such size" },
		{ 15, 1, 1, "no such size" },
	};

	(void)state;
	no_faults();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct trace_script script = { 0 };
		struct tide_trace_reader *reader;
		struct tide_trace_info info;
		char why[128];
		int fd;

		trace_script_begin(&script);
		trace_script_end(&script);
		memset(script.out.bytes + cases[i].at, cases[i].value,
		       cases[i].count);
		trace_script_mend(script.out.bytes, script.out.size);
		fd = trace_script_fd(script.out.bytes, script.out.size);
		assert_int_equal(
			tide_trace_open(fd, &reader, &info, why, sizeof(why)),
			-EBADMSG);
		assert_non_null(strstr(why, cases[i].word));
		close(fd);
		trace_script_free(&script);
	}
}

/* Payloads of 64 bytes and more are compressed, with the last one before. */
static void frames_must_be_what_they_say(void **state)
{
	uint8_t payload[200] = { 9, 0, 0, 0xb8, 1, 1, 0xb7, 1 };
	struct trace_script script = { 0 }, other;
	struct tide_trace_event event;
	char why[128];
	size_t end;

	(void)state;
	no_faults();
	for (size_t i = 0; i < 184; i++) /* 184 runs */
		payload[8 + i] = (uint8_t)((i * i * 40503 >> 7) % 5 * 2);
	trace_script_begin(&script);
	trace_script_mapping(&script);
	trace_script_zstd(&script, payload, 192, NULL, 0);
	end = script.out.size;
	trace_script_zstd(&script, payload, 192, payload, 192);
	assert_true(script.out.size - end < 60);
	trace_script_end(&script);
	assert_int_equal(play_script(&script, why, sizeof(why), &event), 0);
	assert_int_equal(event.interval.nruns, 184);
	trace_script_free(&script);

	/* Of 63 bytes, with another prefix, cut short, two of them, and one
	 * with something after it that zstd would skip. */
	for (int i = 0; i < 5; i++) {
		static const uint8_t skipped[8] = { 0x50, 0x2a, 0x4d, 0x18 };
		uint8_t frames[600];
		size_t size;

		memset(&other, 0, sizeof(other));
		trace_script_begin(&script);
		trace_script_mapping(&script);
		trace_script_zstd(&script, payload, 192, NULL, 0);
		trace_script_zstd(&other, payload, i == 0 ? 63 : 192, payload,
				  i == 1 ? 100 : 192);
		size = other.out.size - TIDE_TRACE_HEAD_SIZE -
		       TIDE_TRACE_TAIL_SIZE;
		memcpy(frames, other.out.bytes + TIDE_TRACE_HEAD_SIZE, size);
		if (i == 2)
			size--;
		if (i == 3) {
			memcpy(frames + size, frames, size);
			size *= 2;
		}
		if (i == 4) {
			memcpy(frames + size, skipped, sizeof(skipped));
			size += sizeof(skipped);
		}
		trace_script_record(&script, I, TIDE_TRACE_ZSTD, frames, size);
		trace_script_end(&script);
		assert_int_equal(play_script(&script, why, sizeof(why), &event),
				 -EBADMSG);
		/* With another prefix it becomes something else. */
		assert_true(i == 1 || strstr(why, "compressed"));
		trace_script_free(&script);
		trace_script_free(&other);
	}
}

int main(void)
{
	static const struct CMUnitTest plain[] = {
		cmocka_unit_test(large_records_are_not_believed),
		cmocka_unit_test(small_files_do_not_take_gigabytes),
		cmocka_unit_test(time_has_an_end),
		cmocka_unit_test(bad_infos_are_noticed),
		cmocka_unit_test(frames_must_be_what_they_say),
	};
	enum { PLAIN = sizeof(plain) / sizeof(plain[0]) };
	struct CMUnitTest tests[PLAIN + MALFORMED];
	char names[MALFORMED][64];

	memcpy(tests, plain, sizeof(plain));
	for (size_t i = 0; i < MALFORMED; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "%s: %s",
			       malformed[i].word ? "refused" : "taken",
			       malformed[i].name);
		tests[PLAIN + i] = (struct CMUnitTest){
			.name = names[i],
			.test_func = refuses,
			.initial_state = (void *)(uintptr_t)&malformed[i],
		};
	}
	return cmocka_run_group_tests_name("trace_malformed", tests, NULL,
					   NULL);
}
