/* SPDX-License-Identifier: MIT */
/*
 * rig.h - a space with slots on a kernel, for tests of one bug each
 *
 * The kernel is the simulated one, where each step can be held and each call
 * can fail, or the real one where there is a /dev/kvm.  Slots are adjacent,
 * from RIG_GFN on, with ids 0, 1, ...
 */
#ifndef TIDE_TEST_RIG_H
#define TIDE_TEST_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include <tidemark/client.h>
#include <tidemark/mark.h>
#include <tidemark/space.h>
#include <tidemark/tracker.h>

#include "sim_kernel.h"
#include "small_vm.h"
#include "test_support.h"

#define RIG_GFN 0x201u /* odd on purpose */
#define RIG_SLOTS 4
#define RIG_CLIENTS 2
#define RIG_SET 8192u

struct rig_config {
	enum tide_tracker tracker; /* NONE: marks only */
	bool real;		   /* on /dev/kvm, or the test is skipped */
	bool no_vcpus;		   /* the test creates them */
	bool no_sync;		   /* without sync_vcpus */
	struct sim_config sim;
	uint64_t chunk_pages;
	uint32_t ring_entries;
	uint64_t sizes[RIG_SLOTS]; /* pages; 0 ends */
	uint32_t flags[RIG_SLOTS];
};

struct rig {
	struct rig_config config;
	struct tide_space *space;
	struct sim_vm *sim;
	struct small_vm *real;
	int vcpu_fd[2];
	uint64_t first_gfn[RIG_SLOTS];
	uint8_t *host[RIG_SLOTS];
	uint32_t slots;
	uint64_t value;
	uint32_t syncs;				 /* calls of sync_vcpus */
	struct tide_client *client[RIG_CLIENTS]; /* closed with the rig */
};

/* Pages that were yielded, and in how many extents. */
struct rig_set {
	uint64_t gfn[RIG_SET];
	bool gone[RIG_SET];
	uint32_t count, extents;
};

/** rig_create() - asserts that it works; skips without /dev/kvm if real */
void rig_create(struct rig *rig, const struct rig_config *config);
void rig_destroy(struct rig *rig);
/** rig_client() - opens client @index */
struct tide_client *rig_client(struct rig *rig, int index,
			       enum tide_start start);
void rig_close(struct rig *rig, int index);

/** rig_write() - the guest writes a new value to the page */
void rig_write(struct rig *rig, uint64_t gfn);
/** rig_value() - the first 8 bytes of a page of slot @slot */
uint64_t rig_value(const struct rig *rig, uint32_t slot, uint64_t page);

/** rig_harvest() - begin, all of it, commit.  Return: 0 or begin's error */
int rig_harvest(struct tide_client *client, struct rig_set *ret);
bool rig_has(const struct rig_set *set, uint64_t gfn);
/** rig_expect() - one whole harvest yields exactly these gfns, ended by 0 */
void rig_expect(struct tide_client *client, const uint64_t *gfns);
#define RIG_EXPECT(client, ...) \
	rig_expect((client), (const uint64_t[]){ __VA_ARGS__, 0 })
/** rig_expect_none() - a whole harvest yields nothing */
void rig_expect_none(struct tide_client *client);

#endif
