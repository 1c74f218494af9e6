/* SPDX-License-Identifier: MIT */
/*
 * slot_bugs_test.c - slots that come, go, move and change in a round
 *
 * Each test forbids the wrong outcome of one bug that KVM or a VMM once had;
 * tests/regress/README.md lists them with their origin.
 */
#undef NDEBUG
#include <errno.h>

#include "rig.h"

#define GFN(page) (RIG_GFN + (page))

static const enum tide_tracker trackers[] = { TIDE_TRACKER_KVM_GET,
					      TIDE_TRACKER_KVM_CLEAR,
					      TIDE_TRACKER_KVM_RING };

#define EACH_TRACKER(i) for (size_t i = 0; i < 3; i++)

static struct rig_config config_of(enum tide_tracker tracker)
{
	return (struct rig_config){ .tracker = tracker,
				    .sizes = { 100, 65, 30 } };
}

static int add_again(struct rig *rig, uint32_t slot, uint64_t first_gfn)
{
	return tide_slot_add(
		rig->space,
		&(struct tide_slot_config){ .id = slot,
					    .first_gfn = first_gfn,
					    .npages = rig->config.sizes[slot],
					    .host = rig->host[slot] });
}

/* Fails when a removed or moved slot still counts in the overlap test, or a
 * slot overlaps itself, or touching counts as overlapping. */
static void test_k36(void **state)
{
	struct rig_config config = config_of(TIDE_TRACKER_KVM_GET);
	struct rig rig;

	(void)state;
	rig_create(&rig, &config);
	assert_int_equal(tide_slot_move(rig.space, 1, GFN(99)), -EEXIST);
	assert_int_equal(tide_slot_move(rig.space, 1, GFN(166)), -EEXIST);
	assert_int_equal(tide_slot_move(rig.space, 2, GFN(170)), 0);
	assert_int_equal(tide_slot_move(rig.space, 1, GFN(105)), 0);
	assert_int_equal(tide_slot_move(rig.space, 0, GFN(5)), 0);
	assert_int_equal(tide_slot_remove(rig.space, 0), 0);
	assert_int_equal(add_again(&rig, 0, GFN(6)), -EEXIST);
	assert_int_equal(add_again(&rig, 0, GFN(2)), 0);
	rig_destroy(&rig);
}

/* Fails when logging goes off before what was logged has been collected. */
static void test_k39(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	{
		struct rig_config config = config_of(trackers[i]);
		struct tide_client *client;
		struct rig_set set;
		struct rig rig;

		rig_create(&rig, &config);
		client = rig_client(&rig, 0, TIDE_START_CLEAN);
		rig_write(&rig, GFN(3));
		assert_int_equal(
			tide_slot_set_flags(rig.space, 0, TIDE_SLOT_UNLOGGED),
			0);
		assert_int_equal(sim_flags(rig.sim, 0), 0);
		RIG_EXPECT(client, GFN(3));
		rig_write(&rig, GFN(4));
		assert_int_equal(tide_slot_set_flags(rig.space, 0, 0), 0);
		assert_int_equal(rig_harvest(client, &set), 0);
		assert_int_equal(set.count, 100); /* 4 is among them */
		rig_destroy(&rig);
	}
}

/* Fails, by an assertion, when re-arming meets a slot that was created anew
 * since the harvest began; or loses what the new one says. */
static void test_q4(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	{
		struct rig_config config = config_of(trackers[i]);
		struct tide_harvest *harvest;
		struct tide_client *client;
		struct tide_extent e;
		struct rig_set set;
		struct rig rig;

		rig_create(&rig, &config);
		client = rig_client(&rig, 0, TIDE_START_CLEAN);
		rig_write(&rig, GFN(3));
		rig_write(&rig, rig.first_gfn[1]);
		assert_int_equal(tide_harvest_begin(client, &harvest), 0);
		assert_int_equal(tide_slot_remove(rig.space, 1), 0);
		assert_int_equal(add_again(&rig, 1, rig.first_gfn[1]), 0);
		rig_write(&rig, rig.first_gfn[1]);
		while (tide_harvest_next(harvest, &e) > 0)
			assert_true(e.slot == 0 || e.flags);
		assert_int_equal(tide_harvest_commit(harvest), 0);
		assert_int_equal(rig_harvest(client, &set), 0);
		assert_true(rig_has(&set, rig.first_gfn[1]));
		rig_destroy(&rig);
	}
}

/* Fails when what logging needs is made with the slot and not when it is
 * turned on. */
static void test_q5(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	{
		struct rig_config config = config_of(trackers[i]);
		struct tide_client *client;
		struct rig_set set;
		struct rig rig;

		config.flags[0] = TIDE_SLOT_UNLOGGED;
		rig_create(&rig, &config);
		client = rig_client(&rig, 0, TIDE_START_CLEAN);
		assert_int_equal(tide_slot_set_flags(rig.space, 0, 0), 0);
		assert_int_equal(rig_harvest(client, &set), 0);
		rig_write(&rig, GFN(70));
		RIG_EXPECT(client, GFN(70));
		rig_destroy(&rig);
	}
}

/* Fails when an error of the kernel reads as an empty log. */
static void test_q8(void **state)
{
	static const int errors[] = { ENOENT, EIO, EINVAL, ENXIO };

	(void)state;
	for (size_t i = 0; i < 8; i++) {
		struct rig_config config = config_of(trackers[i % 2]);
		struct tide_client *client;
		struct rig_set set;
		struct rig rig;

		rig_create(&rig, &config);
		client = rig_client(&rig, 0, TIDE_START_CLEAN);
		rig_write(&rig, GFN(3));
		sim_fail(rig.sim, KVM_GET_DIRTY_LOG, 1, errors[i / 2], false);
		assert_int_equal(rig_harvest(client, &set), -errors[i / 2]);
		assert_int_equal(rig_harvest(client, &set), 0);
		assert_true(rig_has(&set, GFN(3)));
		rig_destroy(&rig);
	}
}

/* Fails when a slot is deleted and added for flags that KVM can change, or
 * for none at all: vCPUs would run in the hole. */
static void test_q9(void **state)
{
	struct rig_config config = config_of(TIDE_TRACKER_KVM_CLEAR);
	struct rig rig;
	uint64_t calls;

	(void)state;
	rig_create(&rig, &config);
	rig_client(&rig, 0, TIDE_START_CLEAN);
	calls = sim_calls(rig.sim, KVM_SET_USER_MEMORY_REGION);
	assert_int_equal(tide_slot_set_flags(rig.space, 0, 0), 0);
	assert_int_equal(tide_slot_set_flags(rig.space, 0, TIDE_SLOT_ANONYMOUS),
			 0);
	assert_int_equal(sim_calls(rig.sim, KVM_SET_USER_MEMORY_REGION), calls);
	assert_int_equal(tide_slot_set_flags(rig.space, 0, TIDE_SLOT_UNLOGGED),
			 0);
	assert_int_equal(sim_calls(rig.sim, KVM_SET_USER_MEMORY_REGION),
			 calls + 1); /* the flag, nothing else */
	rig_destroy(&rig);
}

static void removed_unread(enum tide_tracker tracker, bool real, bool pml)
{
	struct rig_config config = config_of(tracker);
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;

	config.real = real;
	config.sim.pml_entries = pml ? 20 : 0;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_ALL_DIRTY);
	rig_write(&rig, rig.first_gfn[1] + 7); /* maps it */
	assert_int_equal(rig_harvest(client, &set), 0);
	rig_write(&rig, rig.first_gfn[1] + 7);
	assert_int_equal(tide_mark(rig.space, rig.first_gfn[1] + 64), 0);
	assert_int_equal(tide_slot_remove(rig.space, 1), 0);
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_true(rig_has(&set, rig.first_gfn[1] + 7));
	assert_true(rig_has(&set, rig.first_gfn[1] + 64));
	assert_true(set.gone[0]);
	assert_int_equal(set.count, 2); /* and nothing but these (C6) */
	rig_expect_none(client);
	rig_destroy(&rig);
}

/* Fails when a slot is deleted before its log was read, or while a hardware
 * buffer still holds writes to it. */
static void test_q10(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	{
		removed_unread(trackers[i], false, false);
		removed_unread(trackers[i], false, true);
	}
}

static void test_q10_real(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	removed_unread(trackers[i], true, false);
}

static void q10_hook(void *opaque, unsigned long request, enum sim_stage stage)
{
	struct rig *rig = opaque;

	/* Between the last GET and the DELETE. */
	if (request == KVM_GET_DIRTY_LOG && stage == SIM_DONE)
		(void)sim_write(rig->sim, 0, rig->first_gfn[1] + 9, 1234);
}

/* Fails when the guest can still write the slot after its log was read for
 * the last time (QEMU's comment in kvm_set_phys_mem). */
static void test_q10_gap(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct rig_config config = config_of(trackers[i]);
		struct tide_client *client;
		struct rig_set set;
		struct rig rig;

		rig_create(&rig, &config);
		client = rig_client(&rig, 0, TIDE_START_CLEAN);
		sim_hook(rig.sim, q10_hook, &rig);
		assert_int_equal(tide_slot_remove(rig.space, 1), 0);
		sim_hook(rig.sim, NULL, NULL);
		assert_int_equal(rig_harvest(client, &set), 0);
		if (rig_value(&rig, 1, 9) == 1234)
			assert_true(rig_has(&set, rig.first_gfn[1] + 9));
		rig_destroy(&rig);
	}
}

/* Fails when a removed slot is exact although the writers cannot be made to
 * leave the guest: then all of it is dirty. */
static void test_q10_no_sync(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	{
		struct rig_config config = config_of(trackers[i]);
		struct tide_client *client;
		struct rig_set set;
		struct rig rig;

		config.no_sync = true;
		rig_create(&rig, &config);
		client = rig_client(&rig, 0, TIDE_START_CLEAN);
		assert_int_equal(tide_slot_remove(rig.space, 1), 0);
		assert_int_equal(rig_harvest(client, &set), 0);
		assert_int_equal(set.count, 65);
		rig_destroy(&rig);
	}
}

static bool is_logged(struct rig *rig, uint32_t slot)
{
	int flags = sim_flags(rig->sim, slot);

	return flags >= 0 && (uint32_t)flags & KVM_MEM_LOG_DIRTY_PAGES;
}

/* Fails when logging is not turned on with the first client, for slots that
 * come later too, or not off with the last. */
static void test_q11(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	{
		struct rig_config config = config_of(trackers[i]);
		struct tide_client *client;
		struct rig rig;

		rig_create(&rig, &config);
		assert_false(is_logged(&rig, 0));
		client = rig_client(&rig, 0, TIDE_START_CLEAN);
		assert_true(is_logged(&rig, 0));
		assert_int_equal(tide_slot_remove(rig.space, 1), 0);
		assert_int_equal(add_again(&rig, 1, GFN(500)), 0);
		assert_true(is_logged(&rig, 1));
		/* A migration that fails leaves its harvest open. */
		assert_int_equal(
			tide_harvest_begin(client,
					   &(struct tide_harvest *){ NULL }),
			0);
		rig_close(&rig, 0);
		assert_false(is_logged(&rig, 0));
		assert_false(is_logged(&rig, 1));
		rig_destroy(&rig);
	}
}

/* Fails when a slot of less than a word makes the kernel write beyond the
 * buffer (it always writes whole 64-bit words): ASan sees it. */
static void test_q16(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct rig_config config = { .tracker = trackers[i],
					     .sizes = { 1, 33, 65 } };
		struct tide_client *client;
		struct rig rig;

		rig_create(&rig, &config);
		client = rig_client(&rig, 0, TIDE_START_CLEAN);
		rig_write(&rig, GFN(0));
		rig_write(&rig, GFN(33));
		rig_write(&rig, GFN(98));
		RIG_EXPECT(client, GFN(0), GFN(33), GFN(98));
		rig_destroy(&rig);
	}
}

/* Fails when closing one client stops logging for the other, or when a stop
 * and a start do not make a pair. */
static void test_q28(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	{
		struct rig_config config = config_of(trackers[i]);
		struct tide_client *two;
		struct rig rig;

		rig_create(&rig, &config);
		rig_client(&rig, 0, TIDE_START_CLEAN);
		two = rig_client(&rig, 1, TIDE_START_CLEAN);
		rig_close(&rig, 0);
		rig_write(&rig, GFN(3));
		RIG_EXPECT(two, GFN(3));
		rig_close(&rig, 1);
		rig_write(&rig, GFN(4)); /* nobody wants to know */
		rig_client(&rig, 0, TIDE_START_CLEAN);
		two = rig_client(&rig, 1, TIDE_START_CLEAN);
		rig_write(&rig, GFN(4));
		RIG_EXPECT(two, GFN(4));
		RIG_EXPECT(rig.client[0], GFN(4));
		rig_destroy(&rig);
	}
}

/* Fails when memory of a removed slot counts as free while an open harvest
 * was given pages of it, whichever slot it has come to since. */
static void test_busy(void **state)
{
	struct rig_config config = config_of(TIDE_TRACKER_KVM_CLEAR);
	struct tide_harvest *harvest;
	struct tide_client *client;
	struct tide_extent e;
	struct rig rig;

	(void)state;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_ALL_DIRTY);
	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(tide_harvest_next(harvest, &e), 1);
	assert_int_equal(e.slot, 1);
	assert_int_equal(tide_slot_remove(rig.space, 0), 1);
	assert_int_equal(tide_slot_remove(rig.space, 2), 0);
	assert_int_equal(tide_slot_busy(rig.space, 0), 1);
	assert_int_equal(tide_harvest_next(harvest, &e), 1);
	assert_int_equal(e.flags, TIDE_EXTENT_GONE); /* slot 2 */
	assert_int_equal(tide_slot_busy(rig.space, 2), 0);
	assert_int_equal(tide_harvest_commit(harvest), 0);
	assert_int_equal(tide_slot_busy(rig.space, 0), 0);
	rig_destroy(&rig);
}

/* Fails when an extent that is handed out after a move has the old gfn. */
static void test_move(void **state)
{
	struct rig_config config = config_of(TIDE_TRACKER_KVM_CLEAR);
	struct tide_harvest *harvest;
	struct tide_client *client;
	struct tide_extent e;
	struct rig rig;

	(void)state;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_write(&rig, GFN(3));
	rig_write(&rig, GFN(9));
	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	assert_int_equal(tide_harvest_next(harvest, &e), 1);
	assert_int_equal(tide_slot_move(rig.space, 0, GFN(1000)), 0);
	assert_int_equal(tide_harvest_next(harvest, &e), 1);
	assert_int_equal(e.first_gfn, GFN(1009));
	tide_harvest_abort(harvest);
	RIG_EXPECT(client, GFN(1003), GFN(1009));
	rig_destroy(&rig);
}

static void flags_fail(uint32_t countdown, uint32_t times)
{
	struct rig_config config = config_of(TIDE_TRACKER_KVM_CLEAR);
	struct tide_slot_info info;
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;

	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	sim_fail(rig.sim, KVM_SET_USER_MEMORY_REGION, countdown, ENOMEM, false);
	sim_fail_times(rig.sim, times);
	assert_int_equal(tide_slot_set_flags(rig.space, 0, TIDE_SLOT_READONLY),
			 -ENOMEM);
	(void)sim_fail_clear(rig.sim);
	if (times == 1) {
		assert_int_equal(tide_slot_get(rig.space, 0, &info), 0);
		assert_int_equal(info.flags, 0);
		rig_write(&rig, GFN(2)); /* it is there, and writable */
	}
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_int_equal(set.count, 100);
	assert_true(is_logged(&rig, 0));
	rig_expect_none(client);
	rig_destroy(&rig);
}

/* Fails when an error in the last of several steps leaves the steps before it
 * done. */
static void test_flags_fail(void **state)
{
	(void)state;
	for (uint32_t step = 1; step <= 2; step++)
		flags_fail(step, 1);
}

/* Fails when a slot whose logging could not be turned on stays unlogged in
 * silence: the next collect mends it, and all of it is dirty. */
static void test_mend(void **state)
{
	(void)state;
	for (uint32_t times = 2; times <= 4; times++)
		flags_fail(2, times);
}

static int change_missing(struct rig *rig, int change)
{
	switch (change) {
	case 0:
		return tide_slot_set_flags(rig->space, 0, TIDE_SLOT_READONLY);
	case 1:
		return tide_slot_set_flags(rig->space, 0, TIDE_SLOT_UNLOGGED);
	case 2:
		return tide_slot_move(rig->space, 0, GFN(1000));
	default:
		return tide_slot_remove(rig->space, 0);
	}
}

/* Fails when a slot that errors left out of the VM cannot be changed, or a
 * change does not bring it back. */
static void test_missing(void **state)
{
	(void)state;
	for (int change = 0; change < 4; change++) {
		struct rig_config config = config_of(TIDE_TRACKER_KVM_CLEAR);
		struct rig rig;

		rig_create(&rig, &config);
		if (change != 2)
			rig_client(&rig, 0, TIDE_START_CLEAN);
		/* Out; in, back in, and mending it fail. */
		sim_fail(rig.sim, KVM_SET_USER_MEMORY_REGION, 2, ENOMEM, false);
		sim_fail_times(rig.sim, change == 2 ? 2 : 3);
		assert_int_equal(
			tide_slot_set_flags(rig.space, 0, TIDE_SLOT_READONLY),
			-ENOMEM);
		(void)sim_fail_clear(rig.sim);
		assert_int_equal(sim_flags(rig.sim, 0), -1);
		assert_int_equal(change_missing(&rig, change), 0);
		assert_int_equal(sim_flags(rig.sim, 0) >= 0, change < 3);
		if (change == 3)
			assert_int_equal(add_again(&rig, 0, GFN(0)), 0);
		rig_destroy(&rig);
	}
}

/* Fails when an add whose undoing fails too leaves the slot in the VM, where
 * nobody knows of it. */
static void test_add_fails(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	{
		struct rig_config config = config_of(trackers[i]);
		struct rig rig;

		rig_create(&rig, &config);
		rig_client(&rig, 0, TIDE_START_CLEAN);
		for (uint32_t nth = 1; nth <= 2; nth++) {
			assert_int_equal(tide_slot_remove(rig.space, 0), 0);
			sim_fail(rig.sim, KVM_SET_USER_MEMORY_REGION, nth,
				 ENOMEM, false);
			sim_fail_times(rig.sim, 5);
			assert_int_equal(add_again(&rig, 0, GFN(0)),
					 nth == 1 ? -ENOMEM : 0);
			(void)sim_fail_clear(rig.sim);
			assert_int_equal(sim_flags(rig.sim, 0) >= 0, nth == 2);
			if (nth == 1)
				assert_int_equal(add_again(&rig, 0, GFN(0)), 0);
		}
		rig_destroy(&rig);
	}
}

static void opening_sync(void *opaque)
{
	struct rig *rig = opaque;

	sim_kick(rig->sim);
	if (rig->syncs++ == 0)
		rig_client(rig, 1, TIDE_START_CLEAN);
}

static void open_in_remove(enum tide_tracker tracker)
{
	struct rig_config config = config_of(TIDE_TRACKER_NONE);
	struct tide_kvm_config kvm = { .sync_vcpus = opening_sync };
	struct rig_set set;
	struct rig rig;

	rig_create(&rig, &config);
	assert_int_equal(sim_vm_create(&config.sim, &rig.sim), 0);
	kvm.vm_fd = sim_vm_fd(rig.sim);
	kvm.opaque = &rig;
	assert_int_equal(tide_space_attach(rig.space, tracker, &kvm), 0);
	rig.vcpu_fd[0] = sim_vcpu_create(rig.sim);
	assert_int_equal(tide_kvm_vcpu_add(rig.space, rig.vcpu_fd[0]), 0);
	rig_client(&rig, 0, TIDE_START_CLEAN);
	/* Parking works, deleting does not. */
	sim_fail(rig.sim, KVM_SET_USER_MEMORY_REGION, 2, ENOMEM, false);
	assert_int_equal(tide_slot_remove(rig.space, 1), -ENOMEM);
	(void)sim_fail_clear(rig.sim);
	assert_non_null(rig.client[1]);
	for (int i = 0; i < RIG_CLIENTS; i++) {
		assert_int_equal(rig_harvest(rig.client[i], &set), 0);
		assert_int_equal(set.count, 65);
	}
	rig_write(&rig, rig.first_gfn[1] + 6);
	for (int i = 0; i < RIG_CLIENTS; i++)
		RIG_EXPECT(rig.client[i], rig.first_gfn[1] + 6);
	rig_destroy(&rig);
}

/* Fails when a client that was opened while a slot was being removed never
 * hears of the slot, although it could not be removed. */
static void test_open_in_remove(void **state)
{
	(void)state;
	EACH_TRACKER(i)
	open_in_remove(trackers[i]);
}

/* Fails when chunks that grew in an open harvest reach back to pages that it
 * has handed out, and take their marks from this client. */
static void test_chunks_grow(void **state)
{
	struct rig_config config = config_of(TIDE_TRACKER_KVM_CLEAR);
	struct tide_kvm_config kvm = { .chunk_pages = 128 };
	struct tide_harvest *harvest;
	struct tide_client *client;
	struct tide_extent e;
	struct rig_set set;
	struct rig rig;

	(void)state;
	config.chunk_pages = 64;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	assert_int_equal(tide_space_detach(rig.space), 0);
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_int_equal(tide_mark(rig.space, GFN(0)), 0);
	assert_int_equal(tide_mark(rig.space, GFN(70)), 0);
	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	assert_int_equal(tide_harvest_next(harvest, &e), 1);
	assert_int_equal(e.first_gfn, GFN(0));

	kvm.vm_fd = sim_vm_fd(rig.sim);
	sim_fail(rig.sim, KVM_SET_USER_MEMORY_REGION, 1, ENOMEM, false);
	assert_int_equal(
		tide_space_attach(rig.space, TIDE_TRACKER_KVM_CLEAR, &kvm),
		-ENOMEM);
	assert_int_equal(tide_mark(rig.space, GFN(0)), 0);
	assert_int_equal(tide_harvest_next(harvest, &e), 1);
	assert_int_equal(e.first_gfn, GFN(70));
	assert_int_equal(tide_harvest_next(harvest, &e), 0);
	assert_int_equal(tide_harvest_commit(harvest), 0);
	RIG_EXPECT(client, GFN(0));
	rig_destroy(&rig);
}

#define TEST(function, name)                     \
	{                                        \
		name, function, NULL, NULL, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_k36, "K36 overlap: moved, removed, itself"),
		TEST(test_k39, "K39 logging goes off after a last look"),
		TEST(test_q4, "Q4 a slot made anew in a harvest"),
		TEST(test_q5, "Q5 logging turned on later"),
		TEST(test_q8, "Q8 an error is not an empty log"),
		TEST(test_q9, "Q9 no hole for flags that can change"),
		TEST(test_q10, "Q10 a removed slot's log is read"),
		TEST(test_q10_real, "Q10 a removed slot, real kernel"),
		TEST(test_q10_gap, "Q10 no write between GET and DELETE"),
		TEST(test_q10_no_sync, "Q10 without a sync all is dirty"),
		TEST(test_q11, "Q11 logging follows the clients"),
		TEST(test_q16, "Q16 whole words for small slots"),
		TEST(test_q28, "Q28 one client's end is not the other's"),
		TEST(test_busy, "T1 memory in hand is busy"),
		TEST(test_move, "T2 a moved slot's extents move"),
		TEST(test_flags_fail, "T3 flags that fail are as before"),
		TEST(test_mend, "T4 logging that an error left off"),
		TEST(test_open_in_remove, "T5 opened in a failed removal"),
		TEST(test_missing, "T17 a slot that the VM lost is changed"),
		TEST(test_add_fails, "T18 an add that fails leaves nothing"),
		TEST(test_chunks_grow, "T6 chunks that grow in a harvest"),
	};

	return cmocka_run_group_tests_name("slot bugs", tests, NULL, NULL);
}
