/* SPDX-License-Identifier: MIT */
/*
 * tool.h - what every subcommand of tidemark shares
 *
 * Exit statuses, the table of commands, and how a command says that
 * something went wrong: one line on stderr,
 * "tidemark: <command>: <what>: <a sentence that says what to do>".
 */
#ifndef TOOL_H
#define TOOL_H

#include <stdint.h>

enum tool_exit {
	TOOL_OK = 0,
	TOOL_LOST = 1, /* pages were lost, or a check found wrong memory */
	TOOL_HOST = 2, /* bad usage, or this host cannot do it */
};

struct command {
	const char *name;
	const char *summary;
	int (*run)(int argc, char **argv); /* argv[0] is the command's name */
};

int cmd_demo(int argc, char **argv);
int cmd_vm(int argc, char **argv);
int cmd_migrate(int argc, char **argv);
int cmd_probe(int argc, char **argv);
int cmd_soak(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_record(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_rehearse(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_bench(int argc, char **argv); /* lives in bench/ */

/* The name that tool_error() prints; set once by main. */
void tool_set_command(const char *name);

/* Print "tidemark: <command>: <text>" on stderr.  Return: TOOL_HOST. */
int tool_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What tool_error() said last, to tell it to somebody else, too. */
const char *tool_last_error(void);

/* The nearest of @names to @word, or NULL when none is near. */
const char *tool_nearest(const char *word, const char *const *names,
			 unsigned int count);

/* Monotonic time, nanoseconds. */
uint64_t tool_now_ns(void);

#endif
