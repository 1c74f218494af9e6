/* SPDX-License-Identifier: MIT */
/* screen_output.c - what a command writes while the screen is somebody's */
#include "screen_output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool.h"

int output_open(void)
{
	const char *folder = getenv("TMPDIR");
	/* To the end, also for whoever opens it again. */
	const int flags = O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC;
	int fd = open(folder && folder[0] ? folder : "/tmp", flags, 0600);

	if (fd < 0)
		fd = memfd_create("output", MFD_CLOEXEC);
	if (fd < 0)
		(void)tool_error("a file for the command's output: %s",
				 strerror(errno));
	return fd;
}

static bool ends_line(char byte)
{
	return byte == '\n' || byte == '\r';
}

void output_last_line(int fd, char *ret, size_t size)
{
	char text[1024];
	struct stat stat;
	off_t from = 0;
	ssize_t end, begin;

	ret[0] = '\0';
	if (fstat(fd, &stat))
		return;
	if (stat.st_size > (off_t)sizeof(text))
		from = stat.st_size - (off_t)sizeof(text);
	end = pread(fd, text, sizeof(text), from);
	while (end > 0 && ends_line(text[end - 1]))
		end--;
	for (begin = end; begin > 0 && !ends_line(text[begin - 1]);)
		begin--;
	if (end > 0)
		(void)snprintf(ret, size, "%.*s", (int)(end - begin),
			       text + begin);
}

void output_print(int fd)
{
	char text[65536];
	off_t at = 0;
	ssize_t n;

	if (fd < 0)
		return;
	while ((n = pread(fd, text, sizeof(text), at)) > 0) {
		if (fwrite(text, 1, (size_t)n, stdout) != (size_t)n)
			break;
		at += n;
	}
	(void)fflush(stdout);
	close(fd);
}
