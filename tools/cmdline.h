/* SPDX-License-Identifier: MIT */
/*
 * cmdline.h - a command's options as a table
 *
 * The table is what --help prints and what the parser obeys, so the two
 * cannot differ.  getopt_long(3) does the parsing.
 */
#ifndef CMDLINE_H
#define CMDLINE_H

#include <stdint.h>

enum option_type {
	OPTION_FLAG,	 /* int: 1 when given */
	OPTION_TEXT,	 /* const char * */
	OPTION_COUNT,	 /* uint64_t */
	OPTION_SIZE,	 /* uint64_t, bytes */
	OPTION_TIME_MS,	 /* uint64_t, nanoseconds; a plain number is ms */
	OPTION_TIME_MIN, /* uint64_t, nanoseconds; a plain number is minutes */
	OPTION_TRACKER,	 /* enum tide_tracker */
	OPTION_WORKLOAD, /* enum tide_workload */
	OPTION_GUEST_TRACKER, /* enum tide_tracker, one that guests can have */
};

struct option_spec {
	const char *name; /* without the dashes; NULL ends the table */
	enum option_type type;
	void *value;	      /* untouched when the option is not given */
	const char *argument; /* its name in the help; NULL for a flag */
	const char *help;
	uint64_t min; /* of a number, inclusive; in the value's own unit */
	uint64_t max; /* inclusive; 0: no limit */
};

#define OPTIONS_MAX 32

struct options {
	const char *usage; /* after "tidemark " */
	const char *summary;
	const struct option_spec *specs;
	/* Short forms: the first letter is the first option's, and so on. */
	const char *letters;
	unsigned int operands_max;
};

/*
 * options_parse() - obey @argv
 * @ret_first: index of the first operand in argv
 *
 * Return: -1 to go on; else the exit status (help was printed, or one line
 * about what is wrong).
 */
int options_parse(const struct options *options, int argc, char **argv,
		  int *ret_first);

#endif
