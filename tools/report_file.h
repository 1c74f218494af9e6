/* SPDX-License-Identifier: MIT */
/*
 * report_file.h - a file that is there when it is complete, and not before
 *
 * It is written under another name, and takes its own at the end.  From begin
 * to end an interrupt waits, so that nothing is left behind.
 */
#ifndef REPORT_FILE_H
#define REPORT_FILE_H

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

struct report_file {
	FILE *out;
	char *path; /* what it will be */
	char *temporary;
	sigset_t signals; /* that were blocked before */
};

/*
 * report_file_check() - can @path be written?
 * @source: what it must not be
 *
 * A symbolic link is followed: the file that it is of will be replaced.
 *
 * Return: -1 with *ret_path filled, to be freed; else the exit status.
 */
int report_file_check(const char *path, const struct stat *source,
		      char **ret_path);

/* Return: -1, and from there on it has to be ended; or the exit status. */
int report_file_begin(struct report_file *file, const char *path);

/* Return: -1; or the exit status, and the file is not there. */
int report_file_end(struct report_file *file);

#endif
