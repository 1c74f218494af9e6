/* SPDX-License-Identifier: MIT */
/* maps.c - the mappings of a process, from /proc/PID/maps */
#include "watch/maps.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Return: 1; 0; -EPERM: it may not be looked at. */
static int has_memory(pid_t tid)
{
	struct map_file maps;
	struct map map;
	int ret = maps_open(&maps, tid);

	if (ret)
		return ret == -EACCES || ret == -EPERM ? -EPERM : 0;
	ret = maps_next(&maps, &map);
	maps_close(&maps);
	return ret > 0;
}

pid_t maps_live_thread(pid_t pid)
{
	const struct dirent *entry;
	char path[64];
	pid_t tid = -ESRCH;
	int ret = has_memory(pid);
	DIR *tasks;

	if (ret)
		return ret > 0 ? pid : ret;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours alone */
	while (tasks && tid < 0 && (entry = readdir(tasks))) {
		pid_t id = (pid_t)strtol(entry->d_name, NULL, 10);

		if (id > 0 && has_memory(id) > 0)
			tid = id;
	}
	if (tasks)
		closedir(tasks);
	return tid;
}

int maps_open(struct map_file *maps, pid_t tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)tid);
	*maps = (struct map_file){ .file = fopen(path, "re") };
	if (maps->file)
		return 0;
	return errno == ENOENT ? -ESRCH : -errno;
}

void maps_close(struct map_file *maps)
{
	if (maps->file)
		fclose(maps->file);
	free(maps->line);
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

int maps_next(struct map_file *maps, struct map *ret)
{
	if (getline(&maps->line, &maps->size, maps->file) < 0)
		return 0;
	return maps_parse(maps->line, ret) ? 1 : -EINVAL;
}
