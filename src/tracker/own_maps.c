/* SPDX-License-Identifier: MIT */
/* own_maps.c - the mappings of this process, without allocating */
#include "tracker/own_maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of a line, all but the end of a long name. */
#define LINE_SIZE 160

int own_maps_open(struct own_maps *maps)
{
	int saved = errno;
	int err = 0;

	maps->at = maps->end = 0;
	maps->fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (maps->fd < 0)
		err = -errno;
	errno = saved;
	return err;
}

void own_maps_close(struct own_maps *maps)
{
	if (maps->fd >= 0)
		close(maps->fd);
	maps->fd = -1;
}

int own_maps_rewind(struct own_maps *maps)
{
	int saved = errno;
	int err = 0;

	maps->at = maps->end = 0;
	if (lseek(maps->fd, 0, SEEK_SET) < 0)
		err = -errno;
	errno = saved;
	return err;
}

/* Return: a character; 0 at the end of the file; a negative errno. */
static int next_char(struct own_maps *maps)
{
	int saved = errno;
	ssize_t n;

	if (maps->at == maps->end) {
		do {
			n = read(maps->fd, maps->text, sizeof(maps->text));
		} while (n < 0 && errno == EINTR);
		if (n <= 0) {
			int err = n ? -errno : 0;

			errno = saved;
			return err;
		}
		maps->at = 0;
		maps->end = (size_t)n;
	}
	return (unsigned char)maps->text[maps->at++];
}

/* Without its end, and cut off where it is too long.
 * Return: its length; 0: there are no more; a negative errno. */
static int next_line(struct own_maps *maps, char line[LINE_SIZE])
{
	int length = 0, c;

	while ((c = next_char(maps)) > 0 && c != '\n') {
		if (length < LINE_SIZE - 1)
			line[length++] = (char)c;
	}
	line[length] = '\0';
	return c < 0 ? c : length;
}

/* What the kernel calls memory that is anonymous.  Its own ([vdso] and others)
 * has such names, too, but not these. */
static bool is_anonymous(const char *name)
{
	return !*name || !strcmp(name, "[heap]") || !strcmp(name, "[stack]") ||
	       !strncmp(name, "[anon:", strlen("[anon:"));
}

static bool parse(const char *line, struct own_mapping *ret)
{
	char permissions[5], *end;
	int name = 0;

	ret->start = strtoull(line, &end, 16);
	if (*end != '-')
		return false;
	ret->end = strtoull(end + 1, &end, 16);
	line = end;
	if (sscanf(line, " %4s %*x %*x:%*x %*u %n", permissions, &name) != 1 ||
	    !name || ret->start >= ret->end || strlen(permissions) != 4)
		return false;
	ret->readable = permissions[0] == 'r';
	ret->writable = permissions[1] == 'w';
	ret->is_plain = permissions[3] == 'p' && is_anonymous(line + name);
	return true;
}

int own_maps_next(struct own_maps *maps, struct own_mapping *ret)
{
	char line[LINE_SIZE];
	int length = next_line(maps, line);

	if (length <= 0)
		return length;
	return parse(line, ret) ? 1 : -EINVAL;
}
