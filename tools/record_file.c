/* SPDX-License-Identifier: MIT */
/* record_file.c - the file of a recording, which has a name when it is whole */
#include "record_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool.h"

#define FILE_MODE 0666 /* less the umask */
#define PARTIAL ".partial"

static int failed(const struct record_file *file)
{
	return tool_error("%s: %s", file->path ? file->path : "stdout",
			  strerror(errno));
}

static int begin_stdout(struct record_file *file)
{
	if (isatty(STDOUT_FILENO))
		return tool_error("stdout is a terminal, and a trace is not "
				  "for reading: -o FILE, or a pipe");
	file->fd = STDOUT_FILENO;
	file->begin = lseek(file->fd, 0, SEEK_CUR);
	return -1;
}

/* Where it will be: a link leads to a file that may not be there yet. */
static int take_path(struct record_file *file, const char *path)
{
	char *real = realpath(path, NULL);
	size_t length = strlen(path);
	struct stat there;

	/* What else is wrong with a name is found out when it is opened. */
	if (!length || path[length - 1] == '/') {
		free(real);
		return tool_error("'%s' is no name of a file", path);
	}
	if (!real && errno != ENOENT)
		return tool_error("%s: %s", path, strerror(errno));
	if (real && stat(real, &there) == 0 && !S_ISREG(there.st_mode)) {
		free(real);
		return tool_error(
			"%s: %s: -o names a file, or - for stdout", path,
			S_ISDIR(there.st_mode) ? "a directory" : "not a file");
	}
	file->path = real ? real : strdup(path);
	if (file->path) {
		size_t size = strlen(file->path) + sizeof(PARTIAL);

		file->temporary = malloc(size);
		if (file->temporary)
			(void)snprintf(file->temporary, size, "%s%s",
				       file->path, PARTIAL);
	}
	return file->temporary ? -1 : tool_error("%s", strerror(ENOMEM));
}

/* In its folder, without a name. */
static int open_nameless(const struct record_file *file)
{
	char *copy = strdup(file->path);
	int fd = -1;

	if (copy)
		fd = open(dirname(copy), O_TMPFILE | O_WRONLY | O_CLOEXEC,
			  FILE_MODE);
	free(copy);
	return fd;
}

int record_file_begin(struct record_file *file, const char *path)
{
	int status;

	*file = (struct record_file){ .fd = -1 };
	if (strcmp(path, "-") == 0)
		return begin_stdout(file);
	status = take_path(file, path);
	if (status >= 0) {
		record_file_abandon(file);
		return status;
	}
	file->fd = open_nameless(file);
	/* The file system, or the kernel, does not know how. */
	if (file->fd < 0 &&
	    (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		file->fd = open(file->temporary,
				O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC,
				FILE_MODE);
		file->named = file->fd >= 0;
	}
	if (file->fd < 0) {
		status = failed(file);
		record_file_abandon(file);
	}
	return status;
}

int64_t record_file_size(const struct record_file *file)
{
	off_t at = file->begin < 0 ? -1 : lseek(file->fd, 0, SEEK_CUR);

	return at < 0 ? -1 : at - file->begin;
}

static int give_name(struct record_file *file, const char *name)
{
	char link[64];

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", file->fd);
	return linkat(AT_FDCWD, link, AT_FDCWD, name, AT_SYMLINK_FOLLOW);
}

/* Return: 0; -1 with errno. */
static int put_in_place(struct record_file *file)
{
	/* Some file systems tell only now that there was no room. */
	if (fsync(file->fd))
		return -1;
	if (!file->named) {
		if (give_name(file, file->path) == 0)
			return 0;
		/* Another file has the name: it is replaced in one step. */
		if (errno != EEXIST || give_name(file, file->temporary))
			return -1;
		file->named = 1;
	}
	if (rename(file->temporary, file->path))
		return -1;
	file->named = 0;
	return 0;
}

int record_file_end(struct record_file *file)
{
	int status = -1;

	if (file->path && put_in_place(file))
		status = failed(file);
	record_file_abandon(file);
	return status;
}

void record_file_abandon(struct record_file *file)
{
	if (file->path && file->fd >= 0)
		(void)close(file->fd); /* what matters has been asked for */
	if (file->named)
		(void)unlink(file->temporary);
	free(file->path);
	free(file->temporary);
	*file = (struct record_file){ .fd = -1 };
}
