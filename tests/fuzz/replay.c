/* SPDX-License-Identifier: MIT */
/*
 * replay.c - run a fuzz harness over files, as a test
 *
 * Usage: NAME FILE-OR-DIRECTORY...
 *
 * Linked in place of libFuzzer.  Prints TAP: one test for each directory or
 * file given; what a harness does not like ends the program.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *bytes = NULL;
	size_t size = 0, room = 0;

	if (!file)
		return -1;
	for (;;) {
		if (size == room) {
			room = room ? room * 2 : 65536;

			uint8_t *more = realloc(bytes, room);

			if (!more)
				break;
			bytes = more;
		}

		size_t got = fread(bytes + size, 1, room - size, file);

		if (!got)
			break;
		size += got;
	}

	int failed = ferror(file);

	(void)fclose(file);
	if (!failed) {
		/* Said first, so that the log names the file that kills. */
		printf("# %s\n", path);
		fflush(stdout);
		(void)LLVMFuzzerTestOneInput(bytes, size);
	}
	free(bytes);
	return failed ? -1 : 1;
}

/* Return: how many files were run; -1 for one that cannot be read. */
static int replay(const char *path)
{
	DIR *directory = opendir(path);
	int count = 0;

	if (!directory)
		return replay_file(path);
	for (struct dirent *entry = readdir(directory); entry;
	     entry = readdir(directory)) {
		char name[4096];

		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(name, sizeof(name), "%s/%s", path,
			       entry->d_name);
		if (replay_file(name) < 0) {
			count = -1;
			break;
		}
		count++;
	}
	(void)closedir(directory);
	return count;
}

int main(int argc, char **argv)
{
	int status = 0;

	printf("1..%d\n", argc - 1);
	for (int i = 1; i < argc; i++) {
		int count = replay(argv[i]);

		printf("%s %d - replayed %d inputs of %s\n",
		       count > 0 ? "ok" : "not ok", i, count, argv[i]);
		if (count <= 0)
			status = 1;
	}
	return status;
}
