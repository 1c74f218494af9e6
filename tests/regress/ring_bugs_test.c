/* SPDX-License-Identifier: MIT */
/*
 * ring_bugs_test.c - dirty rings: order, overflow, signals, hostile content
 *
 * Each test forbids the wrong outcome of one bug that KVM or a VMM once had;
 * tests/regress/README.md lists them with their origin.
 */
#undef NDEBUG
#include <errno.h>
#include <pthread.h>
#include <sys/ioctl.h>

#include "rig.h"

#define GFN(page) (RIG_GFN + (page))

static const struct rig_config ring_config = {
	.tracker = TIDE_TRACKER_KVM_RING,
	.ring_entries = 1024,
	.sizes = { 200, 100 },
};

/* What user space may find in a ring that somebody else wrote to. */
static void plant(struct rig *rig, uint32_t at, uint32_t slot, uint64_t offset)
{
	uint32_t entries;
	struct kvm_dirty_gfn *ring = sim_ring(rig->sim, 1, &entries);

	ring[at].slot = slot;
	ring[at].offset = offset;
	__atomic_store_n(&ring[at].flags, KVM_DIRTY_GFN_F_DIRTY,
			 __ATOMIC_RELEASE);
}

static struct tide_space_stats stats_of(const struct rig *rig)
{
	struct tide_space_stats stats;

	tide_space_stats_get(rig->space, &stats);
	return stats;
}

static void k40_hook(void *opaque, unsigned long request, enum sim_stage stage)
{
	struct rig *rig = opaque;

	if (request == KVM_RESET_DIRTY_RINGS && stage == SIM_TAKEN) {
		sim_hook(rig->sim, NULL, NULL);
		rig_write(rig, GFN(1)); /* through the stale translation */
		rig_write(rig, GFN(2)); /* fills an entry that was reset */
	}
}

/* Fails when entries that arrive while RESET runs are given back without
 * having been read, or taken for those that were reset. */
static void test_k40(void **state)
{
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;

	(void)state;
	rig_create(&rig, &ring_config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_write(&rig, GFN(1));
	sim_hook(rig.sim, k40_hook, &rig);
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_true(rig_has(&set, GFN(1)));
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_true(rig_has(&set, GFN(2)));
	rig_write(&rig, GFN(1));
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_true(rig_has(&set, GFN(1)));
	rig_destroy(&rig);
}

/* Fails when slot and offset are read, and the entry given back, before the
 * flags say that they are there. */
static void test_k41(void **state)
{
	struct tide_client *client;
	struct rig rig;
	struct kvm_dirty_gfn *ring;
	uint32_t entries;

	(void)state;
	rig_create(&rig, &ring_config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	ring = sim_ring(rig.sim, 1, &entries);
	ring[0].slot = 0;
	ring[0].offset = 77; /* filled in, not yet published */
	rig_expect_none(client);
	assert_int_equal(ring[0].flags, 0);
	assert_int_equal(stats_of(&rig).ring_entries, 0);
	rig_destroy(&rig);
}

static void burst(bool real)
{
	struct rig_config config = ring_config;
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;

	config.real = real;
	config.sizes[0] = 3000;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	for (int round = 0; round < 2; round++) {
		for (uint64_t i = 0; i < 3000; i++)
			rig_write(&rig, GFN(i));
		assert_int_equal(rig_harvest(client, &set), 0);
		assert_int_equal(set.count, 3000);
		rig_expect_none(client);
	}
	assert_true(stats_of(&rig).ring_full > 0);
	rig_destroy(&rig);
}

/* Fails when ring_full only harvests and does not RESET (the vCPU would never
 * get on), loses what it harvested, or reads on at the wrong place after the
 * index wrapped. */
static void test_k43(void **state)
{
	(void)state;
	burst(false);
}

static void test_k43_real(void **state)
{
	(void)state;
	burst(true);
}

/*
 * A nested KVM was seen to look at the full ring only every so many writes:
 * entries are overwritten, pages stay writable that no entry tells of, and the
 * kernel's place in the ring runs away from ours, so that the vCPU leaves with
 * "full" for ever.  Fails when an overrun is not noticed, when pages are not
 * armed anew after it, or when the gap is not found.
 */
static void overrun(uint32_t blind)
{
	struct rig_config config = ring_config;
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;

	config.sizes[0] = 3000;
	config.sim.ring_blind = blind;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	for (int round = 0; round < 6; round++) {
		for (uint64_t i = 0; i < 2990; i++)
			rig_write(&rig, GFN(i));
		assert_int_equal(rig_harvest(client, &set), 0);
		assert_true(set.count >= 2990);
		/* Armed, all of them: the next write is seen. */
		for (uint64_t i = 0; i < 3000; i += 7)
			rig_write(&rig, GFN(i));
		assert_int_equal(rig_harvest(client, &set), 0);
		for (uint64_t i = 0; i < 3000; i += 7)
			assert_true(rig_has(&set, GFN(i)));
	}
	assert_true(stats_of(&rig).ring_overflows > 0);
	rig_destroy(&rig);
}

static void test_k43_overrun(void **state)
{
	static const uint32_t blind[] = { 150, 700, 1023, 1024, 1100, 2500 };

	(void)state;
	for (size_t i = 0; i < sizeof(blind) / sizeof(blind[0]); i++)
		overrun(blind[i]);
}

/* Fails when RESET is called with nothing to reset. */
static void test_k44(void **state)
{
	struct tide_client *client;
	struct rig rig;
	uint64_t calls;

	(void)state;
	rig_create(&rig, &ring_config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	calls = sim_calls(rig.sim, KVM_RESET_DIRTY_RINGS);
	rig_expect_none(client);
	assert_int_equal(sim_calls(rig.sim, KVM_RESET_DIRTY_RINGS), calls);
	rig_destroy(&rig);
}

/* Fails when EINTR from RESET is taken for success (pages stay writable
 * unseen) or loses what was harvested. */
static void test_k45(void **state)
{
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;

	(void)state;
	rig_create(&rig, &ring_config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	for (uint64_t i = 0; i < 20; i++)
		rig_write(&rig, GFN(i));
	sim_fail(rig.sim, KVM_RESET_DIRTY_RINGS, 1, EINTR, true);
	if (rig_harvest(client, &set) == -EINTR)
		assert_int_equal(rig_harvest(client, &set), 0);
	assert_true(sim_fail_clear(rig.sim));
	assert_int_equal(set.count, 20);
	for (uint64_t i = 0; i < 20; i++) {
		assert_true(sim_armed(rig.sim, GFN(i)));
		rig_write(&rig, GFN(i));
	}
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_int_equal(set.count, 20);
	rig_destroy(&rig);
}

/* Fails when a RESET that fails lets the harvest begin: its pages are not
 * armed.  The next begin makes up for it. */
static void test_k45_error(void **state)
{
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;

	(void)state;
	rig_create(&rig, &ring_config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_write(&rig, GFN(4));
	sim_fail(rig.sim, KVM_RESET_DIRTY_RINGS, 1, ENOMEM, false);
	assert_int_equal(rig_harvest(client, &set), -ENOMEM);
	rig_write(&rig, GFN(4)); /* not caught: it is still writable */
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_true(rig_has(&set, GFN(4)));
	assert_true(sim_armed(rig.sim, GFN(4)));
	rig_destroy(&rig);
}

struct k46 {
	struct rig *rig;
	pthread_t thread;
	int started, done, done_inside;
};

static void *k46_full(void *opaque)
{
	struct k46 *k46 = opaque;

	__atomic_store_n(&k46->started, 1, __ATOMIC_SEQ_CST);
	assert_true(tide_kvm_ring_full(k46->rig->space, k46->rig->vcpu_fd[0]) >=
		    0);
	__atomic_store_n(&k46->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Entries are free again, their pages are not yet protected. */
static void k46_hook(void *opaque, unsigned long request, enum sim_stage stage)
{
	struct k46 *k46 = opaque;
	struct timespec while_it_could = { 0, 20000000 };

	if (request != KVM_RESET_DIRTY_RINGS || stage != SIM_TAKEN)
		return;
	sim_hook(k46->rig->sim, NULL, NULL);
	assert_int_equal(pthread_create(&k46->thread, NULL, k46_full, k46), 0);
	while (!__atomic_load_n(&k46->started, __ATOMIC_SEQ_CST))
		continue;
	nanosleep(&while_it_could, NULL);
	k46->done_inside = __atomic_load_n(&k46->done, __ATOMIC_SEQ_CST);
}

/* Fails when a second harvester gets through while the first one's RESET has
 * not protected everything: it would hand out pages that are not armed. */
static void test_k46(void **state)
{
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;
	struct k46 k46 = { .rig = &rig };

	(void)state;
	rig_create(&rig, &ring_config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_write(&rig, GFN(4));
	sim_hook(rig.sim, k46_hook, &k46);
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_int_equal(pthread_join(k46.thread, NULL), 0);
	assert_false(k46.done_inside);
	assert_true(rig_has(&set, GFN(4)));
	rig_destroy(&rig);
}

/* Fails, under UBSan or ASan at the latest, when an offset is used before it
 * was compared with the slot; the slot is dirty then. */
static void test_k47(void **state)
{
	static const uint64_t offsets[] = { 0xffffffffffffffc1u, 200,
					    1ull << 32, UINT64_MAX };
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;

	(void)state;
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		rig_create(&rig, &ring_config);
		client = rig_client(&rig, 0, TIDE_START_CLEAN);
		plant(&rig, 0, 0, offsets[i]);
		plant(&rig, 1, 0, 0);
		assert_int_equal(rig_harvest(client, &set), 0);
		assert_int_equal(set.count, 200); /* all of slot 0 */
		assert_int_equal(stats_of(&rig).ring_entries_bad, 1);
		rig_destroy(&rig);
	}
}

/* Fails when an entry of a slot or address space that does not exist stops
 * the harvest, or is taken for another slot's. */
static void test_k47_slot(void **state)
{
	static const uint32_t slots[] = { 7, 1u << 16, 0xffffffffu };
	struct tide_client *client;
	struct rig rig;

	(void)state;
	rig_create(&rig, &ring_config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	for (uint32_t i = 0; i < 3; i++)
		plant(&rig, i, slots[i], 5);
	plant(&rig, 3, 1, 5);
	RIG_EXPECT(client, rig.first_gfn[1] + 5);
	assert_int_equal(stats_of(&rig).ring_entries_stale, 3);
	rig_destroy(&rig);
}

/* The last write before the slot is deleted. */
static void k48_hook(void *opaque, unsigned long request, enum sim_stage stage)
{
	struct rig *rig = opaque;

	if (request == KVM_SET_USER_MEMORY_REGION && stage == SIM_ENTER) {
		sim_hook(rig->sim, NULL, NULL);
		rig_write(rig, GFN(150));
	}
}

/* Fails when entries of a removed slot outlive it: the kernel would drop the
 * batch that the new, smaller slot's entries share with them. */
static void test_k48(void **state)
{
	struct tide_slot_config small = { .id = 0,
					  .first_gfn = RIG_GFN,
					  .npages = 10 };
	struct rig_config config = ring_config;
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;

	(void)state;
	config.no_sync = true; /* the slot cannot be parked */
	rig_create(&rig, &config);
	small.host = rig.host[0];
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	sim_hook(rig.sim, k48_hook, &rig);
	assert_int_equal(tide_slot_remove(rig.space, 0), 0);
	assert_int_equal(rig_value(&rig, 0, 150), rig.value);
	assert_int_equal(tide_slot_add(rig.space, &small), 0);
	assert_int_equal(rig_harvest(client, &set), 0);
	assert_true(rig_has(&set, GFN(150))); /* as gone */
	rig_write(&rig, GFN(9));
	RIG_EXPECT(client, GFN(9));
	assert_int_equal(stats_of(&rig).ring_entries_bad, 0);
	assert_true(sim_armed(rig.sim, GFN(9)));
	rig_destroy(&rig);
}

/* Fails when a write without a running vCPU, which no ring can hold, is lost:
 * its writer marks it. */
static void test_k49(void **state)
{
	struct tide_client *client;
	struct rig rig;

	(void)state;
	rig_create(&rig, &ring_config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	memset(rig.host[0] + 3 * TIDE_PAGE_SIZE, 1, 8);
	assert_int_equal(tide_mark(rig.space, GFN(3)), 0);
	RIG_EXPECT(client, GFN(3));
	rig_destroy(&rig);
}

/* An embedder that has turned on manual protect and initially all set. */
static void all_set_and_ring(bool real)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
				      .args = { 3 } };
	struct tide_kvm_config config = { .size = sizeof(config) };
	struct rig_config rig_config = { .tracker = TIDE_TRACKER_KVM_GET,
					 .real = real,
					 .no_vcpus = true,
					 .sizes = { 20 } };
	struct tide_client *client;
	struct rig rig;
	int fd;

	rig_create(&rig, &rig_config);
	assert_int_equal(tide_space_detach(rig.space), 0);
	config.vm_fd = real ? small_vm_fd(rig.real) : sim_vm_fd(rig.sim);
	if (ioctl(config.vm_fd, KVM_ENABLE_CAP, &cap)) {
		rig_destroy(&rig);
		SKIP("K50", "no initially-all-set here");
	}
	assert_int_equal(
		tide_space_attach(rig.space, TIDE_TRACKER_KVM_RING, &config),
		0);
	if (real)
		small_vm_space(rig.real, rig.space);
	fd = real ? small_vm_vcpu(rig.real) : sim_vcpu_create(rig.sim);
	assert_int_equal(tide_kvm_vcpu_add(rig.space, fd), 0);
	rig_write(&rig, GFN(3)); /* mapped writable before logging is on */
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_write(&rig, GFN(3));
	RIG_EXPECT(client, GFN(3));
	rig_destroy(&rig);
}

/* Fails when the ring is attached without turning manual protect off: the
 * kernel protects nothing at enable, and logs nothing. */
static void test_k50(void **state)
{
	(void)state;
	all_set_and_ring(false);
}

static void test_k50_real(void **state)
{
	(void)state;
	all_set_and_ring(true);
}

/* Fails when pages are handed out after harvesting and before RESET. */
static void test_k51(void **state)
{
	struct tide_harvest *harvest;
	struct tide_client *client;
	struct tide_extent e;
	struct rig rig;

	(void)state;
	rig_create(&rig, &ring_config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_write(&rig, GFN(8));
	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	assert_int_equal(tide_harvest_next(harvest, &e), 1);
	assert_int_equal(e.first_gfn, GFN(8));
	assert_true(sim_armed(rig.sim, GFN(8)));
	rig_write(&rig, GFN(8)); /* after the client read it */
	assert_int_equal(tide_harvest_commit(harvest), 0);
	RIG_EXPECT(client, GFN(8));
	rig_destroy(&rig);
}

/* Fails when the second entry of a page is taken for a repetition and left
 * out: at ring-full the first one was pushed before the write. */
static void test_k52(void **state)
{
	struct tide_client *client;
	struct rig rig;

	(void)state;
	rig_create(&rig, &ring_config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	assert_int_equal(sim_fault(rig.sim, 0, GFN(11)), 0);
	RIG_EXPECT(client, GFN(11)); /* the old content was read */
	rig_write(&rig, GFN(11));    /* now the write runs */
	RIG_EXPECT(client, GFN(11));
	rig_destroy(&rig);
}

/* Fails when begin does not make the vCPUs leave the guest: their PML buffers
 * hold what they wrote. */
static void test_k53(void **state)
{
	struct rig_config config = ring_config;
	struct tide_client *client;
	struct rig rig;

	(void)state;
	config.sim.pml_entries = 512;
	config.ring_entries = 2048;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_ALL_DIRTY);
	rig_write(&rig, GFN(12)); /* maps it */
	assert_int_equal(rig_harvest(client, &(struct rig_set){ 0 }), 0);
	rig_write(&rig, GFN(12)); /* only in the buffer */
	RIG_EXPECT(client, GFN(12));
	assert_true(rig.syncs >= 2);
	rig_destroy(&rig);
}

/* Fails when the mapping or the walk takes bytes for entries: the descriptor
 * ends where the ring does, and an access beyond it is SIGBUS. */
static void test_q13(void **state)
{
	struct tide_client *client;
	struct rig_set set;
	struct rig rig;

	(void)state;
	rig_create(&rig, &ring_config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	for (uint64_t round = 0; round < 12; round++) { /* wraps twice */
		for (uint64_t i = 0; i < 190; i++)
			rig_write(&rig, GFN(i));
		assert_int_equal(rig_harvest(client, &set), 0);
		assert_int_equal(set.count, 190);
	}
	assert_int_equal(stats_of(&rig).ring_entries, 12 * 190);
	rig_destroy(&rig);
}

/* Fails when a vCPU that exists without its ring being mapped is walked, or
 * when one that comes later is not. */
static void test_q14(void **state)
{
	struct rig_config config = ring_config;
	struct tide_client *client;
	struct rig rig;
	int fd;

	(void)state;
	config.no_vcpus = true;
	rig_create(&rig, &config);
	client = rig_client(&rig, 0, TIDE_START_CLEAN);
	rig_expect_none(client);
	fd = sim_vcpu_create(rig.sim);
	rig_expect_none(client);
	assert_int_equal(tide_kvm_vcpu_add(rig.space, fd), 0);
	rig_write(&rig, GFN(1));
	RIG_EXPECT(client, GFN(1));
	rig_destroy(&rig);
}

#define TEST(function, name)                     \
	{                                        \
		name, function, NULL, NULL, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_k40, "K40 entries that come during RESET"),
		TEST(test_k41, "K41 no entry is read before its flags"),
		TEST(test_k43, "K43 a full ring loses nothing"),
		TEST(test_k43_real, "K43 a full ring, real kernel"),
		TEST(test_k43_overrun, "K43 a ring that the kernel overran"),
		TEST(test_k44, "K44 no RESET of nothing"),
		TEST(test_k45, "K45 a signal in RESET"),
		TEST(test_k45_error, "K45 a RESET that fails"),
		TEST(test_k46, "K46 nobody harvests within RESET"),
		TEST(test_k47, "K47 wild offsets make the slot dirty"),
		TEST(test_k47_slot, "K47 wild slots are dropped"),
		TEST(test_k48, "K48 no entry outlives its slot"),
		TEST(test_k49, "K49 writes without a vCPU are marked"),
		TEST(test_k50, "K50 no ring with initially all set"),
		TEST(test_k50_real, "K50 no ring with all set, real kernel"),
		TEST(test_k51, "K51 RESET comes before the data is read"),
		TEST(test_k52, "K52 the second entry counts"),
		TEST(test_k53, "K53 begin drains the hardware buffers"),
		TEST(test_q13, "Q13 the walk stays in the ring"),
		TEST(test_q14, "Q14 a vCPU without a mapped ring"),
	};

	return cmocka_run_group_tests_name("ring bugs", tests, NULL, NULL);
}
