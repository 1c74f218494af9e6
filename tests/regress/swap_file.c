/* SPDX-License-Identifier: MIT */
/* swap_file.c - swap, for the time of a test */
#undef NDEBUG
#include "swap_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/swap.h>
#include <unistd.h>

#include <tidemark/base.h>

#define PAGES 4096u

static char path[64]; /* nobody else's, who runs this, too */

int swap_file_on(void)
{
	uint32_t header[] = { 1, PAGES - 1, 0 };
	int fd, err;

	snprintf(path, sizeof(path), "swap_file.%d", (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert(fd >= 0);
	err = posix_fallocate(fd, 0, (off_t)PAGES * (off_t)TIDE_PAGE_SIZE);
	if (!err &&
	    (pwrite(fd, header, sizeof(header), 1024) < 0 ||
	     pwrite(fd, "SWAPSPACE2", 10, (off_t)TIDE_PAGE_SIZE - 10) < 0))
		err = errno;
	close(fd);
	if (!err && swapon(path, 0))
		err = errno;
	if (err)
		unlink(path);
	return err;
}

void swap_file_off(void)
{
	int err = swapoff(path);

	assert(!err);
	(void)err;
	unlink(path);
}
