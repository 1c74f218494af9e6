/* SPDX-License-Identifier: MIT */
/*
 * fuzz_loop.c - a fuzzer that takes its target back instead of starting it anew
 *
 * The target is a machine with 16 MiB of memory that eats one byte of input at
 * a time, scribbles over its memory, and is broken by one input of eight bytes.
 * The fuzzer keeps the machine as it is after its slow start, runs one byte,
 * and rolls back: what a run costs is what it wrote.  A run that got the
 * machine into a new state gets a checkpoint of its own, inside the last, and
 * the next runs go on from there.
 *
 *     cc -o fuzz_loop fuzz_loop.c $(pkg-config --cflags --libs tidemark)
 *
 * It is C11 and C++17 at once.  Exit status: 0 the input was found and every
 * rollback was exact; 1 it was not, or a call failed; 77 this kernel cannot
 * track ordinary memory.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <tidemark/tidemark.h>

#define PAGES 4096u
#define BYTES (PAGES * TIDE_PAGE_SIZE)
#define INPUT 8u
#define RUNS_MAX 100000u

/* All that the target knows is in its memory. */
struct target {
	uint32_t matched; /* bytes of the secret so far */
	uint32_t steps;
	unsigned char input[INPUT];
};

static const char secret[] = "tidemark";

static void need(const char *what, int err)
{
	if (err >= 0)
		return;
	fprintf(stderr, "fuzz_loop: %s: %s\n", what, strerror(-err));
	exit(err == -EOPNOTSUPP || err == -EPERM ? 77 : 1);
}

static void slow_start(unsigned char *memory)
{
	for (uint32_t i = 0; i < BYTES; i++)
		memory[i] = (unsigned char)(i * 2654435761u >> 24);
	memset(memory, 0, sizeof(struct target));
}

static void feed(unsigned char *memory, unsigned char byte)
{
	struct target *target = (struct target *)(void *)memory;
	uint32_t place = 1;

	target->input[target->steps++ % INPUT] = byte;
	/* A heap, say. */
	for (int i = 0; i < 20; i++) {
		place = place * 1664525u + byte + 1013904223u;
		memory[TIDE_PAGE_SIZE + place % (BYTES - TIDE_PAGE_SIZE)] ^= 1;
	}
	if (target->matched < INPUT &&
	    byte == (unsigned char)secret[target->matched])
		target->matched++;
}

int main(void)
{
	struct tide_checkpoint *checkpoint[INPUT + 1] = { NULL };
	struct tide_slot_config slot;
	struct tide_space *space;
	struct tide_checkpoint_difference wrong;
	uint64_t pages, restored = 0;
	uint32_t depth = 0, runs = 0, random = 1;
	struct target *target;
	unsigned char *memory =
		(unsigned char *)mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		need("mmap", -errno);
	target = (struct target *)(void *)memory;
	need("tide_space_create", tide_space_create(&space));
	need("tide_space_attach",
	     tide_space_attach(space, TIDE_TRACKER_WP, NULL));
	memset(&slot, 0, sizeof(slot));
	slot.npages = PAGES;
	slot.host = memory;
	need("tide_slot_add", tide_slot_add(space, &slot));

	slow_start(memory);
	need("tide_checkpoint_create",
	     tide_checkpoint_create(space, NULL, &checkpoint[0]));
	while (target->matched < INPUT && runs < RUNS_MAX) {
		random = random * 1664525u + 1013904223u;
		feed(memory, (unsigned char)(random >> 24));
		runs++;
		if (target->matched > depth) {
			/* New: go on from here. */
			need("tide_checkpoint_create",
			     tide_checkpoint_create(space, checkpoint[depth],
						    &checkpoint[depth + 1]));
			depth++;
			continue;
		}
		need("tide_checkpoint_rollback",
		     tide_checkpoint_rollback(checkpoint[depth], &pages));
		restored += pages;
	}
	printf("found      \"%.8s\" after %u runs\n",
	       (const char *)target->input, runs);
	printf("a rollback %.1f pages of %u, on average\n",
	       (double)restored / (double)(runs - depth), PAGES);

	/* Any of them can be gone back to, and be compared byte by byte. */
	for (uint32_t i = 0; i <= depth; i++) {
		need("tide_checkpoint_rollback",
		     tide_checkpoint_rollback(checkpoint[i], NULL));
		if (tide_checkpoint_compare(checkpoint[i], &wrong)) {
			printf("depth %u: byte %ju is wrong\n", i,
			       (uintmax_t)wrong.offset);
			return 1;
		}
		if (target->matched != i)
			return 1;
	}
	printf("exact      %u checkpoints, every byte\n", depth + 1);
	for (uint32_t i = 0; i <= depth; i++)
		tide_checkpoint_destroy(checkpoint[i]);
	tide_space_destroy(space);
	munmap(memory, BYTES);
	return depth == INPUT ? 0 : 1;
}
