/* SPDX-License-Identifier: MIT */
/*
 * record_file.h - the file of a recording, which has a name when it is whole
 *
 * Until then it has none, so that nothing is left behind by whatever death; or,
 * where the file system cannot do that, it is called FILE.partial.
 */
#ifndef RECORD_FILE_H
#define RECORD_FILE_H

#include <stdint.h>

struct record_file {
	int fd;	    /* to write to */
	char *path; /* NULL: it is stdout */
	char *temporary;
	int named;     /* there is a file of that name */
	int64_t begin; /* position of the first byte; -1: it has none */
};

/* @path: "-" is stdout.  A symbolic link is followed, a file replaced at the
 * end.  Return: -1, or an exit status. */
int record_file_begin(struct record_file *file, const char *path);

/* Bytes until now; -1: nobody knows. */
int64_t record_file_size(const struct record_file *file);

/* Return: -1, or an exit status and there is no file. */
int record_file_end(struct record_file *file);

/* There will be no file. */
void record_file_abandon(struct record_file *file);

#endif
