/* SPDX-License-Identifier: MIT */
/* cmdline.c - a command's options as a table */
#include "cmdline.h"

#include "names.h"
#include "tool.h"
#include "units.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS 1000000ull
#define NS_PER_MIN (60ull * 1000000000)
#define HELP_VALUE 1000 /* what getopt_long returns for --help */

/* The short form of option number @index, or 0. */
static char letter_of(const struct options *options, size_t index)
{
	const char *letters = options->letters ? options->letters : "";

	if (index >= strlen(letters))
		return '\0';
	return letters[index];
}

static void print_help(const struct options *options)
{
	printf("Usage: tidemark %s\n%s\n\nOptions:\n", options->usage,
	       options->summary);
	for (size_t i = 0; options->specs[i].name; i++) {
		const struct option_spec *s = &options->specs[i];
		char letter = letter_of(options, i);
		char left[64];

		(void)snprintf(left, sizeof(left), "%s%.1s%s--%s%s%s",
			       letter ? "-" : "", &letter, letter ? ", " : "",
			       s->name, s->argument ? " " : "",
			       s->argument ? s->argument : "");
		printf("  %-26s %s\n", left, s->help);
	}
	printf("  %-26s %s\n", "--help", "print this and exit");
}

static int bad_value(const struct option_spec *spec, const char *text,
		     const char *wanted)
{
	return tool_error("--%s: '%s' is not %s", spec->name, text, wanted);
}

/* A limit in the words that the option takes. */
static struct units_text limit_text(const struct option_spec *spec,
				    uint64_t limit)
{
	struct units_text plain;

	if (spec->type == OPTION_SIZE)
		return units_size(limit);
	if (spec->type == OPTION_TIME_MS || spec->type == OPTION_TIME_MIN)
		return units_time(limit);
	snprintf(plain.text, sizeof(plain.text), "%ju", (uintmax_t)limit);
	return plain;
}

static int in_limits(const struct option_spec *spec, const char *text,
		     uint64_t value)
{
	if (value < spec->min)
		return tool_error("--%s: %s is too little: at least %s",
				  spec->name, text,
				  limit_text(spec, spec->min).text);
	if (spec->max && value > spec->max)
		return tool_error("--%s: %s is too much: at most %s",
				  spec->name, text,
				  limit_text(spec, spec->max).text);
	*(uint64_t *)spec->value = value;
	return -1;
}

static int store_number(const struct option_spec *spec, const char *text)
{
	uint64_t value = 0;
	int err;

	if (spec->type == OPTION_COUNT) {
		if (units_parse_count(text, &value))
			return bad_value(spec, text, "a number");
		return in_limits(spec, text, value);
	}
	if (spec->type == OPTION_SIZE) {
		if (units_parse_size(text, &value))
			return bad_value(spec, text, "a size such as 64M");
		return in_limits(spec, text, value);
	}
	err = units_parse_time(
		text, spec->type == OPTION_TIME_MS ? NS_PER_MS : NS_PER_MIN,
		&value);
	if (err)
		return bad_value(spec, text, "a time such as 300ms or 2s");
	return in_limits(spec, text, value);
}

static int store(const struct option_spec *spec, const char *text)
{
	switch (spec->type) {
	case OPTION_FLAG:
		*(int *)spec->value = 1;
		return -1;
	case OPTION_TEXT:
		*(const char **)spec->value = text;
		return -1;
	case OPTION_TRACKER:
		return names_tracker(spec->name, text, spec->value);
	case OPTION_GUEST_TRACKER:
		return names_guest_tracker(spec->name, text, spec->value);
	case OPTION_WORKLOAD:
		return names_workload(spec->name, text, spec->value);
	case OPTION_COUNT:
	case OPTION_SIZE:
	case OPTION_TIME_MS:
	case OPTION_TIME_MIN:
		break;
	}
	return store_number(spec, text);
}

static int unknown(const struct options *options, const char *word)
{
	const char *names[OPTIONS_MAX + 1];
	unsigned int count = 0;
	const char *near;
	size_t length = strcspn(word + strspn(word, "-"), "=");
	char bare[64];

	(void)snprintf(bare, sizeof(bare), "%.*s", (int)length,
		       word + strspn(word, "-"));
	for (const struct option_spec *s = options->specs; s->name; s++)
		names[count++] = s->name;
	names[count++] = "help";
	near = tool_nearest(bare, names, count);
	if (near)
		return tool_error("unknown option '%s': did you mean --%s?",
				  word, near);
	return tool_error("unknown option '%s': --help lists them", word);
}

static void to_getopt(const struct options *options, struct option *table)
{
	unsigned int i = 0;

	for (; i < OPTIONS_MAX && options->specs[i].name; i++)
		table[i] = (struct option){
			.name = options->specs[i].name,
			.has_arg = options->specs[i].type == OPTION_FLAG
					   ? no_argument
					   : required_argument,
			.val = (int)i,
		};
	table[i++] = (struct option){ .name = "help", .val = HELP_VALUE };
	table[i] = (struct option){ 0 };
}

/* ":h", and what has a letter of its own; ':' first tells a missing argument
 * from an unknown option. */
static void to_letters(const struct options *options, char *letters)
{
	*letters++ = ':';
	*letters++ = 'h';
	for (size_t i = 0; options->specs[i].name; i++) {
		char letter = letter_of(options, i);

		if (!letter)
			continue;
		*letters++ = letter;
		if (options->specs[i].type != OPTION_FLAG)
			*letters++ = ':';
	}
	*letters = '\0';
}

/* The spec that getopt's answer is about: an index, or a letter. */
static const struct option_spec *spec_of(const struct options *options, int got)
{
	for (size_t i = 0; options->specs[i].name; i++) {
		if (letter_of(options, i) && letter_of(options, i) == got)
			return &options->specs[i];
	}
	return &options->specs[got];
}

/* The word that getopt has just refused.  It moves operands to the end, so
 * that where it has begun to look says nothing. */
static const char *refused(char **argv, char letter[3])
{
	if (optopt <= ' ' || optopt > '~') /* a long one: its index, or 0 */
		return argv[optind - 1];
	(void)snprintf(letter, 3, "-%c", optopt);
	return letter;
}

int options_parse(const struct options *options, int argc, char **argv,
		  int *ret_first)
{
	struct option table[OPTIONS_MAX + 2];
	char letters[2 * OPTIONS_MAX + 4];
	int got;

	to_letters(options, letters);
	to_getopt(options, table);
	opterr = 0;
	optind = 1;
	for (;;) {
		char letter[3];
		int status;

		got = getopt_long(argc, argv, letters, table, NULL);
		if (got == -1)
			break;
		if (got == HELP_VALUE || got == 'h') {
			print_help(options);
			return TOOL_OK;
		}
		if (got == ':')
			return tool_error("%s: needs a value",
					  refused(argv, letter));
		if (got == '?')
			return unknown(options, refused(argv, letter));
		status = store(spec_of(options, got), optarg);
		if (status >= 0)
			return status;
	}
	*ret_first = optind;
	if ((unsigned int)(argc - optind) > options->operands_max)
		return tool_error(
			"'%s': unexpected: --help shows the usage",
			argv[(unsigned int)optind + options->operands_max]);
	return -1;
}
