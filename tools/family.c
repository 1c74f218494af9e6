/* SPDX-License-Identifier: MIT */
/*
 * family.c - the processes that descend from one
 *
 * Only processes that were not there at the last look are asked for their
 * parent, so that a look costs a listing of /proc and little more.
 */
#include "family.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int by_pid(const void *a, const void *b)
{
	const pid_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int append(pid_t **list, uint32_t *count, pid_t pid)
{
	/* Full at powers of two. */
	if (!(*count & (*count - 1))) {
		size_t max = *count ? (size_t)*count * 2 : 1;
		pid_t *more = realloc(*list, max * sizeof(*more));

		if (!more)
			return -ENOMEM;
		*list = more;
	}
	(*list)[(*count)++] = pid;
	return 0;
}

/* Return: 0: it has ended. */
static pid_t parent_of(pid_t pid)
{
	char path[64], text[512];
	const char *end;
	int fd, parent;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	end = strrchr(text, ')'); /* the name may hold anything */
	/* NOLINTNEXTLINE(cert-err34-c): the kernel writes numbers here */
	if (!end || sscanf(end + 1, " %*c %d", &parent) != 1)
		return 0;
	return parent;
}

static int is_member(const struct family *family, pid_t pid)
{
	for (uint32_t i = 0; i < family->nmembers; i++) {
		if (family->members[i] == pid)
			return 1;
	}
	return 0;
}

/* Children have larger numbers than their parents, but when the numbers begin
 * anew: so once more as long as somebody is found. */
static int adopt(struct family *family, const pid_t *strangers, uint32_t count)
{
	int found;

	do {
		found = 0;
		for (uint32_t i = 0; i < count; i++) {
			if (is_member(family, strangers[i]) ||
			    !is_member(family, parent_of(strangers[i])))
				continue;
			if (append(&family->members, &family->nmembers,
				   strangers[i]))
				return -ENOMEM;
			found = 1;
		}
	} while (found);
	return 0;
}

/* Their numbers may be strangers' by and by. */
static void forget_ended(struct family *family, const pid_t *now, uint32_t nnow)
{
	uint32_t kept = 0, given = 0;

	for (uint32_t i = 0; i < family->nmembers; i++) {
		pid_t pid = family->members[i];

		if (!nnow || !bsearch(&pid, now, nnow, sizeof(*now), by_pid))
			continue;
		given += i < family->next;
		family->members[kept++] = pid;
	}
	family->nmembers = kept;
	family->next = given;
}

static int list_processes(pid_t **ret, uint32_t *ret_count)
{
	const struct dirent *entry;
	DIR *folder = opendir("/proc");
	int err = folder ? 0 : -errno;

	/* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours alone */
	while (folder && !err && (entry = readdir(folder))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (pid > 0)
			err = append(ret, ret_count, pid);
	}
	if (folder)
		closedir(folder);
	if (*ret_count)
		qsort(*ret, *ret_count, sizeof(**ret), by_pid);
	return err;
}

int family_look(struct family *family)
{
	pid_t *now = NULL, *strangers = NULL;
	uint32_t nnow = 0, nstrangers = 0;
	int err = list_processes(&now, &nnow);

	for (uint32_t i = 0; i < nnow && !err; i++) {
		if (!family->nseen ||
		    !bsearch(&now[i], family->seen, family->nseen,
			     sizeof(now[i]), by_pid))
			err = append(&strangers, &nstrangers, now[i]);
	}
	if (!err) {
		forget_ended(family, now, nnow);
		err = adopt(family, strangers, nstrangers);
	}
	free(strangers);
	if (err) {
		free(now);
		return err;
	}
	free(family->seen);
	family->seen = now;
	family->nseen = nnow;
	return 0;
}

pid_t family_next(struct family *family)
{
	return family->next < family->nmembers ? family->members[family->next++]
					       : 0;
}

int family_init(struct family *family, pid_t first)
{
	int err;

	*family = (struct family){ 0 };
	err = append(&family->members, &family->nmembers, first);
	return err ? err : family_look(family);
}

void family_fini(struct family *family)
{
	free(family->seen);
	free(family->members);
}
