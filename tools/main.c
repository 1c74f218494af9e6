/* SPDX-License-Identifier: MIT */
/* main.c - the tidemark command: which subcommand was meant */
#include "tool.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <tidemark/version.h>
#include <unistd.h>

static int cmd_version(int argc, char **argv);
static int cmd_help(int argc, char **argv);

static const struct command commands[] = {
	{ "demo", "move a running guest to another process and prove it",
	  cmd_demo },
	{ "vm", "run a guest, or wait for one to arrive", cmd_vm },
	{ "migrate", "ask a running vm to move its guest", cmd_migrate },
	{ "probe", "which ways of catching writes work on this host",
	  cmd_probe },
	{ "soak", "look for lost pages until the time is up", cmd_soak },
	{ "watch", "see what a running process writes", cmd_watch },
	{ "record", "write down which pages a process writes, and when",
	  cmd_record },
	{ "plan", "would pre-copy of a process converge?", cmd_plan },
	{ "rehearse", "pre-copy a process to nowhere, and see", cmd_rehearse },
	{ "report", "draw what a trace holds, as one HTML file", cmd_report },
	{ "bench", "measure", cmd_bench },
	{ "version", "print the version", cmd_version },
	{ "help", "print help about a command", cmd_help },
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_usage(FILE *out)
{
	fprintf(out, "Usage: tidemark COMMAND [OPTION]...\n"
		     "Exactly which pages of a guest, or of a process, were "
		     "written, and what that is good for.\n\nCommands:\n");
	for (unsigned int i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-9s %s\n", commands[i].name,
			commands[i].summary);
	fprintf(out, "\nExit status: 0 fine; 1 pages were lost or memory is "
		     "wrong; 2 bad usage,\nor this host cannot do it.  "
		     "'tidemark help COMMAND' says more.\n");
}

static const struct command *find(const char *name)
{
	for (unsigned int i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int unknown_command(const char *name)
{
	const char *names[COMMANDS];
	const char *near;

	for (unsigned int i = 0; i < COMMANDS; i++)
		names[i] = commands[i].name;
	near = tool_nearest(name, names, COMMANDS);
	if (near)
		return tool_error("no command '%s': did you mean '%s'?", name,
				  near);
	return tool_error("no command '%s': 'tidemark help' lists them", name);
}

static int cmd_version(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--help") != 0)
		return tool_error("'%s': unexpected: version takes nothing",
				  argv[1]);
	if (argc > 1)
		printf("Usage: tidemark version\nPrint the version.\n");
	else
		printf("tidemark %s\n", tide_version());
	return TOOL_OK;
}

static int cmd_help(int argc, char **argv)
{
	char flag[] = "--help";
	const struct command *command;

	if (argc < 2 || argv[1][0] == '-' || strcmp(argv[1], "help") == 0) {
		print_usage(stdout);
		return TOOL_OK;
	}
	command = find(argv[1]);
	if (!command)
		return unknown_command(argv[1]);
	tool_set_command(command->name);
	return command->run(2, (char *[]){ argv[1], flag, NULL });
}

/* Else the first file that is opened would be stdout, and get what is printed;
 * so printing fails. */
static void fill_standard(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			(void)open("/dev/null", O_RDONLY);
	}
}

int main(int argc, char **argv)
{
	const struct command *command;
	int status;

	fill_standard();
	/* A peer that went away is an error to report, not our end. */
	(void)signal(SIGPIPE, SIG_IGN); /* fails for bad numbers only */

	if (argc < 2) {
		print_usage(stderr);
		return TOOL_HOST;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_usage(stdout);
		return TOOL_OK;
	}
	if (strcmp(argv[1], "--version") == 0)
		return cmd_version(1, argv);
	if (argv[1][0] == '-')
		return tool_error("unknown option '%s': 'tidemark help' shows "
				  "the usage",
				  argv[1]);

	command = find(argv[1]);
	if (!command)
		return unknown_command(argv[1]);
	tool_set_command(command->name);
	status = command->run(argc - 1, argv + 1);
	if ((fflush(stdout) != 0 || ferror(stdout)) && status == TOOL_OK)
		return tool_error("stdout: the output could not be written");
	return status;
}
