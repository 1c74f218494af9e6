/* SPDX-License-Identifier: MIT */
/*
 * stream_corpus.c - writes the seed corpus of the stream fuzzer
 *
 * Usage: stream_corpus tests/fuzz/corpus/stream
 *
 * One file for each kind of conversation.  The first byte is the mode of
 * stream_fuzz.c; 1 means that checksums are mended before playing.
 */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream_script.h"

static const char *directory;

static void keep(struct script *script, const char *name, uint8_t mode)
{
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);

	FILE *file = fopen(path, "wb");

	if (!file) {
		perror(path);
		exit(1);
	}
	assert(fwrite(&mode, 1, 1, file) == 1);
	assert(fwrite(script->stream.out, 1, script->stream.out_size, file) ==
	       script->stream.out_size);
	assert(!fclose(file));
	script_end(script);
}

static void write_good(void)
{
	struct script script;

	for (uint8_t mode = 0; mode < 64; mode = (uint8_t)(mode * 2 + 1)) {
		char name[32];

		(void)snprintf(name, sizeof(name), "good-%02x", mode);
		script_begin(&script);
		put_opening(&script);
		put_slot(&script, 1, 100, 65);
		put_round(&script, 1, false);
		put_pages(&script, 0, 1, 2, 0xaa);
		put_zero(&script, 1, 0, 65);
		put_round(&script, 2, true);
		put_zero(&script, 0, 1, 1);
		put_closing(&script);
		keep(&script, name, mode);
	}
}

static void write_slots(void)
{
	struct script script;

	script_begin(&script);
	put_opening(&script);
	put_slot(&script, 1, 100, 2);
	put_round(&script, 1, false);
	put_zero(&script, 1, 0, 2);
	put_slot_gone(&script, 1);
	put_slot_as(&script, TIDE_FRAME_SLOT_CHANGE, 0, 100, 4,
		    TIDE_SLOT_READONLY);
	put_slot(&script, 1, 16, 1);
	put_round(&script, 2, true);
	put_closing(&script);
	keep(&script, "slots", 1);

	/* Aliases: both slots on the same memory. */
	script_begin(&script);
	put_opening(&script);
	put_slot(&script, 1, 100, 4);
	put_round(&script, 1, true);
	put_pages(&script, 0, 2, 1, 9);
	put_zero(&script, 1, 2, 1);
	put_closing(&script);
	keep(&script, "aliases", 33);
}

static void write_short(void)
{
	struct tide_complaint complaint = { TIDE_ERROR_CANCELED, 125 };
	uint8_t meta[TIDE_META_MAX];
	struct script script;

	script_begin(&script);
	put_hello(&script, good_hello());
	keep(&script, "hello", 1);

	script_begin(&script);
	put_opening(&script);
	put(&script, TIDE_FRAME_ERROR, meta,
	    tide_complaint_encode(&complaint, meta), "enough", 6);
	keep(&script, "complaint", 1);

	script_begin(&script);
	put_opening(&script);
	put_round(&script, 1, true);
	put_end(&script);
	put_go(&script);
	keep(&script, "empty", 1);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: stream_corpus DIRECTORY\n");
		return 2;
	}
	directory = argv[1];
	write_good();
	write_slots();
	write_short();
	return 0;
}
