/* SPDX-License-Identifier: MIT */
/*
 * prove.c - was every byte moved?
 *
 * The stream, in the host's byte order (both ends are this host): for each
 * slot a header, then its pages in order; a header without pages ends it.
 */
#include "prove.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAGIC 0x65766f7270646974ull /* "tidprove" */
#define CHUNK_PAGES 64u
#define SLOTS_MAX 64u

_Static_assert(SLOTS_MAX * sizeof(struct tide_slot_info) <= PIPE_BUF,
	       "the slots go through a pipe in one piece");

struct slot_header {
	uint64_t magic;
	uint64_t first_gfn;
	uint64_t npages;
};

static int send_all(int fd, const void *data, size_t size)
{
	const char *at = data;

	while (size > 0) {
		ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		at += sent;
		size -= (size_t)sent;
	}
	return 0;
}

static int receive_all(int fd, void *data, size_t size)
{
	char *at = data;

	while (size > 0) {
		ssize_t got = recv(fd, at, size, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -ECONNRESET;
		at += got;
		size -= (size_t)got;
	}
	return 0;
}

/* In the child, where memory is at the same addresses as in the parent: only
 * system calls, since the locks of other threads may be held for ever. */
static int send_slots(const struct tide_slot_info *slots, unsigned int count,
		      int fd)
{
	struct slot_header header = { .magic = MAGIC };
	int err = 0;

	for (unsigned int i = 0; i < count && !err; i++) {
		header.first_gfn = slots[i].first_gfn;
		header.npages = slots[i].npages;
		err = send_all(fd, &header, sizeof(header));
		if (!err)
			err = send_all(fd, slots[i].host,
				       slots[i].npages * TIDE_PAGE_SIZE);
	}
	if (err)
		return err;
	header.npages = 0;
	return send_all(fd, &header, sizeof(header));
}

static void be_prover(int pipe_fd, int fd)
{
	struct tide_slot_info slots[SLOTS_MAX];
	ssize_t got = read(pipe_fd, slots, sizeof(slots));

	/* One write of at most PIPE_BUF bytes: all of it, or none. */
	if (got <= 0)
		_exit(1);
	_exit(send_slots(slots, (unsigned int)((size_t)got / sizeof(slots[0])),
			 fd)
		      ? 1
		      : 0);
}

int prove_fork(int fd, struct prover *ret)
{
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return -errno;
	child = fork();
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody waits then */
		close(ends[1]);
		be_prover(ends[0], fd);
	}
	close(ends[0]);
	if (child < 0) {
		int err = -errno;

		close(ends[1]);
		return err;
	}
	ret->child = child;
	ret->pipe_fd = ends[1];
	return 0;
}

int prove_release(struct prover *prover, struct tide_vm *vm)
{
	struct tide_slot_info slots[SLOTS_MAX];
	unsigned int count = 0;
	int err = 0;

	if (prover->child == 0)
		return 0;
	while (vm && count < SLOTS_MAX &&
	       tide_slot_get(tide_vm_space(vm), count, &slots[count]) == 0)
		count++;
	if (count &&
	    write(prover->pipe_fd, slots, count * sizeof(slots[0])) < 0)
		err = -errno;
	close(prover->pipe_fd);
	return err;
}

void prove_wait(struct prover *prover)
{
	if (prover->child == 0)
		return;
	/* Its socket said how it went. */
	while (waitpid(prover->child, NULL, 0) < 0 && errno == EINTR)
		;
	prover->child = 0;
}

static void compare_page(const void *mine, const void *theirs, uint64_t gfn,
			 struct prove_result *result)
{
	result->pages++;
	if (memcmp(mine, theirs, TIDE_PAGE_SIZE) == 0)
		return;
	if (result->lost < PROVE_FIRST)
		result->first[result->lost] = gfn;
	result->lost++;
}

static int compare_slot(const struct tide_slot_info *slot, int fd,
			struct prove_result *result)
{
	static char chunk[CHUNK_PAGES << TIDE_PAGE_SHIFT];
	const char *host = slot->host;
	uint64_t done = 0;

	while (done < slot->npages) {
		uint64_t left = slot->npages - done;
		uint64_t count = left < CHUNK_PAGES ? left : CHUNK_PAGES;
		int err = receive_all(fd, chunk, count << TIDE_PAGE_SHIFT);

		if (err)
			return err;
		for (uint64_t i = 0; i < count; i++)
			compare_page(host + ((done + i) << TIDE_PAGE_SHIFT),
				     chunk + (i << TIDE_PAGE_SHIFT),
				     slot->first_gfn + done + i, result);
		done += count;
	}
	return 0;
}

int prove_compare(struct tide_vm *vm, int fd, struct prove_result *ret)
{
	struct prove_result result = { 0 };
	struct slot_header header;
	struct tide_slot_info slot;
	int err;

	for (uint32_t i = 0; tide_slot_get(tide_vm_space(vm), i, &slot) == 0;
	     i++) {
		err = receive_all(fd, &header, sizeof(header));
		if (err)
			return err;
		if (header.magic != MAGIC ||
		    header.first_gfn != slot.first_gfn ||
		    header.npages != slot.npages)
			return -EPROTO;
		err = compare_slot(&slot, fd, &result);
		if (err)
			return err;
	}
	err = receive_all(fd, &header, sizeof(header));
	if (err)
		return err;
	if (header.magic != MAGIC || header.npages != 0)
		return -EPROTO;
	*ret = result;
	return 0;
}
