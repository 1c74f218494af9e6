/* SPDX-License-Identifier: MIT */
/* maps.c - the mappings of a process, from /proc/PID/maps */
#include "watch/maps.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Return: 1: the thread has memory; 0: it has none, or is not there; a negative
 * errno. */
static int has_memory(pid_t tid)
{
	struct map_file maps;
	struct map map;
	int ret = maps_open(&maps, tid);

	if (ret)
		return ret == -ESRCH ? 0 : ret;
	ret = maps_next(&maps, &map);
	maps_close(&maps);
	return ret;
}

pid_t maps_live_thread(pid_t pid)
{
	const struct dirent *entry;
	char path[64];
	DIR *tasks;
	pid_t tid = -ESRCH;
	int ret = has_memory(pid);

	if (ret)
		return ret < 0 ? ret : pid;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks)
		return errno == ENOENT ? -ESRCH : -errno;
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours alone */
	while (tid == -ESRCH && (entry = readdir(tasks))) {
		pid_t id = (pid_t)strtol(entry->d_name, NULL, 10);

		ret = id > 0 ? has_memory(id) : 0;
		if (ret)
			tid = ret < 0 ? ret : id;
	}
	closedir(tasks);
	return tid;
}

int maps_open(struct map_file *maps, pid_t tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)tid);
	maps->fd = open(path, O_RDONLY | O_CLOEXEC);
	maps->at = maps->end = 0;
	if (maps->fd >= 0)
		return 0;
	switch (errno) {
	case ENOENT:
		return -ESRCH;
	case EACCES:
		return -EPERM;
	default:
		return -errno;
	}
}

void maps_close(struct map_file *maps)
{
	close(maps->fd);
}

bool maps_parse(const char *line, struct map *ret)
{
	char permissions[5], *end;
	int name = 0;
	size_t length;

	memset(ret, 0, sizeof(*ret));
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
	ret->executable = permissions[2] == 'x';
	ret->shared = permissions[3] == 's';
	line += name;
	length = strcspn(line, "\n");
	if (length >= sizeof(ret->name)) {
		line += length - (sizeof(ret->name) - 1);
		length = sizeof(ret->name) - 1;
	}
	memcpy(ret->name, line, length);
	return true;
}

/* Behind what is there already.  Return: 1: there is more; 0: that was all; a
 * negative errno. */
static int read_more(struct map_file *maps)
{
	ssize_t n;

	memmove(maps->text, maps->text + maps->at, maps->end - maps->at);
	maps->end -= maps->at;
	maps->at = 0;
	if (maps->end == sizeof(maps->text))
		return -EINVAL;
	do {
		n = read(maps->fd, maps->text + maps->end,
			 sizeof(maps->text) - maps->end);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	maps->end += (size_t)n;
	return n > 0;
}

int maps_next(struct map_file *maps, struct map *ret)
{
	char *line, *end;
	int more;

	while (!(end = memchr(maps->text + maps->at, '\n',
			      maps->end - maps->at))) {
		more = read_more(maps);
		if (more < 0)
			return more;
		if (!more)
			return maps->at == maps->end ? 0 : -EINVAL;
	}
	*end = '\0';
	line = maps->text + maps->at;
	maps->at = (size_t)(end - maps->text) + 1;
	return maps_parse(line, ret) ? 1 : -EINVAL;
}
