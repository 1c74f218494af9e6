/* SPDX-License-Identifier: MIT */
/* report_file.c - a file that is there when it is complete, and not before */
#include "report_file.h"

#include "tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int report_file_check(const char *path, const struct stat *source,
		      char **ret_path)
{
	char *real = realpath(path, NULL);
	struct stat there;

	if (!real && errno != ENOENT)
		return tool_error("%s: %s", path, strerror(errno));
	if (real && stat(real, &there) == 0) {
		int same = there.st_dev == source->st_dev &&
			   there.st_ino == source->st_ino;

		if (same || !S_ISREG(there.st_mode)) {
			free(real);
			return tool_error(
				"%s: %s", path,
				same ? "that is the trace: -o names another "
				       "file for the report"
				     : "not a file: -o names one");
		}
	}
	*ret_path = real ? real : strdup(path);
	return *ret_path ? -1 : tool_error("%s", strerror(ENOMEM));
}

/* A new file's mode, as everywhere: mkstemp's is for its owner alone. */
static void set_mode(int fd)
{
	mode_t mask = umask(0);

	(void)umask(mask);
	(void)fchmod(fd, 0666 & ~mask); /* readable by fewer is no failure */
}

int report_file_begin(struct report_file *file, const char *path)
{
	sigset_t signals;
	size_t size = strlen(path) + sizeof(".XXXXXX");
	int fd = -1;

	*file = (struct report_file){ .path = strdup(path),
				      .temporary = malloc(size) };
	(void)sigemptyset(&signals); /* these cannot fail */
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &signals, &file->signals);
	if (file->path && file->temporary) {
		(void)snprintf(file->temporary, size, "%s.XXXXXX", path);
		fd = mkstemp(file->temporary);
	}
	if (fd >= 0)
		file->out = fdopen(fd, "w");
	if (file->out) {
		set_mode(fd);
		return -1;
	}
	tool_error("%s: %s", path, strerror(errno));
	if (fd >= 0) {
		(void)close(fd);
		(void)unlink(file->temporary);
	}
	(void)sigprocmask(SIG_SETMASK, &file->signals, NULL);
	free(file->temporary);
	free(file->path);
	return TOOL_HOST;
}

int report_file_end(struct report_file *file)
{
	int failed = ferror(file->out);
	int status = -1;

	failed |= fclose(file->out);
	if (!failed)
		failed = rename(file->temporary, file->path);
	if (failed) {
		status = tool_error("%s: %s", file->path, strerror(errno));
		(void)unlink(file->temporary);
	}
	(void)sigprocmask(SIG_SETMASK, &file->signals, NULL);
	free(file->temporary);
	free(file->path);
	return status;
}
