/* SPDX-License-Identifier: MIT */
/*
 * memslot_litmus.c - slots come, go, move and are logged while they are used
 *
 * What    src/mmu/{memslot,region,fault,fast_fault,host_page,emulate,...}.c as
 *         shipped: KVM_SET_USER_MEMORY_REGION against vCPUs, devices, emulated
 *         writes and GET.  K1, K25; I10, I11, I16.
 * Claim   when a slot is gone, so is everybody who found it: nothing maps its
 *         memory, which its owner unmaps at once, and nobody marks in a log
 *         that was freed.  When one has moved nothing maps it where it was,
 *         and no mark is lost: a write is in the copy, or in a later harvest
 *         (C1).  From the moment that logging is on every write is found, or
 *         was there before the page was copied.
 * Bounds  one page, one slot, one change of it, or two in a row; one access by
 *         each vCPU or device, or two with a safe point between.  Slots do not
 *         know of each other but by the table, of which a new one is a copy;
 *         pages of one slot have nothing in common that a change of the slot
 *         does not look at for each.
 */
#include "base/atomic.h"

#include "mmu/mmu_internal.h"

#include "check/shim/arena_model.h"
#include "check/shim/rcu_model.h"
#include "litmus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#undef memset

#define POISON 99u
#define ELSEWHERE 4u /* a gfn */

static struct tide_mmu *mmu;
static struct mmu_vcpu *vcpu[2];
static uint64_t *page, *other; /* of the slot; of the one that comes next */
static uint64_t npages;	       /* of each */
static uint64_t copy;

enum mapped {
	NOT_MAPPED,
	BY_READ,
	BY_WRITE,
	IN_TLB /* and in guest mode */
};

struct how {
	bool absent; /* no slot yet */
	bool logged;
	bool initially_set;
	bool large;	    /* two pages, which a large leaf can map */
	bool walks;	    /* the page is vCPU 0's table; not mapped */
	bool leads_on;	    /* it is, and a second page is in its TLB */
	bool of_another;    /* it is vCPU 1's, and not shadowed yet */
	enum mapped mapped; /* by vCPU 0 */
};

/* Sv39, four pages from gfn 0 on: valid, to read, write and execute; A is not
 * set, and the first access has to set it. */
#define TABLE_ENTRY 15u
#define TABLE_AD 192u

static void must(bool done)
{
	if (!done)
		abort();
}

static int set_slot(uint64_t gfn, const uint64_t *memory, uint32_t flags)
{
	const struct mmu_region region = {
		.flags = flags,
		.gpa = gfn << TIDE_PAGE_SHIFT,
		.memory_bytes = memory ? npages * TIDE_PAGE_SIZE : 0,
		.host = (uintptr_t)memory,
	};

	return mmu_set_region(mmu, &region);
}

/* The tables are there in any case: each that a fault has to make is ten
 * events more. */
static void use_page(enum mapped mapped)
{
	struct spte_walk walk;
	uint64_t value;

	must(!tide_vcpu_enter(&vcpu[0]->public));
	if (mapped <= BY_READ)
		must(!tide_vcpu_load(&vcpu[0]->public, 0, 8, &value));
	else
		must(!tide_vcpu_store(&vcpu[0]->public, 0, 8, 0));
	if (mapped == IN_TLB) { /* thread 0's */
		atomic_store_explicit(&vcpu[0]->owner, 1, memory_order_relaxed);
		return;
	}
	must(!tide_vcpu_exit(&vcpu[0]->public));
	if (mapped == BY_READ)
		mmu_vcpu_flush_own(vcpu[0]);
	if (mapped != NOT_MAPPED)
		return;
	must(mmu_walk(vcpu[0], 0, &walk));
	sp_drop_entry(mmu, sp_of(walk.sptep), sp_index(walk.sptep));
	mmu->need_flush = false;
	mmu_vcpu_flush_own(vcpu[0]);
}

static void build(const void *opaque)
{
	const struct how *how = opaque;
	const struct tide_mmu_config config = { 0 };

	npages = how->large || how->leads_on ? 2 : 1;
	page = arena_aligned_alloc(TIDE_PAGE_SIZE, npages * TIDE_PAGE_SIZE);
	other = arena_aligned_alloc(TIDE_PAGE_SIZE, TIDE_PAGE_SIZE);
	if (how->leads_on)
		other = page + TIDE_PAGE_SIZE / sizeof(*page);
	must(!tide_mmu_create(&config, &mmu));
	if (how->initially_set)
		must(!mmu_enable_manual_protect(
			mmu, MMU_MANUAL_ENABLE | MMU_MANUAL_INITIALLY_SET));
	for (uint32_t i = 0; i < 2; i++) {
		struct tide_vcpu *public;

		must(!tide_vcpu_create(mmu, &public));
		vcpu[i] = mmu_vcpu_of(public);
	}
	must(!set_slot(0, page, how->logged ? MMU_REGION_LOG : 0));
	if (how->walks || how->leads_on) {
		const struct tide_paging paging = { .mode = TIDE_PAGING_SV39 };

		*page = how->walks ? TABLE_ENTRY : TABLE_ENTRY | TABLE_AD;
		must(!tide_vcpu_set_paging(&vcpu[0]->public, &paging));
	}
	if (how->leads_on) {
		must(!tide_vcpu_enter(&vcpu[0]->public) &&
		     !tide_vcpu_store(&vcpu[0]->public, TIDE_PAGE_SIZE, 8, 0));
		atomic_store_explicit(&vcpu[0]->owner, 1, memory_order_relaxed);
	} else if (!how->walks) {
		use_page(how->mapped);
	}
	if (how->of_another) {
		const struct tide_paging paging = { .mode = TIDE_PAGING_SV39 };

		*page = TABLE_ENTRY | TABLE_AD;
		must(!tide_vcpu_set_paging(&vcpu[1]->public, &paging));
	}
	if (how->absent)
		must(!set_slot(0, NULL, 0));
}

static void setup(const struct how *how)
{
	arena_reset(build, how);
	rcu_model_init();
	copy = *page;
}

#define SETUP(name, ...)                                   \
	static void name(void)                             \
	{                                                  \
		static const struct how how = __VA_ARGS__; \
                                                           \
		setup(&how);                               \
	}

SETUP(absent, { .absent = true })
SETUP(not_mapped, { .mapped = NOT_MAPPED })
SETUP(written, { .mapped = BY_WRITE })
SETUP(in_tlb, { .mapped = IN_TLB })
SETUP(logged, { .logged = true, .mapped = BY_READ })
SETUP(logged_not_mapped, { .logged = true })
SETUP(large, { .large = true, .mapped = IN_TLB })
SETUP(large_logged, { .large = true, .logged = true, .mapped = IN_TLB })
SETUP(a_table, { .walks = true })
SETUP(a_table_that_leads_on, { .leads_on = true })
SETUP(anothers_table,
      { .large = true, .logged = true, .of_another = true, .mapped = IN_TLB })
SETUP(a_logged_table, { .walks = true, .logged = true })
SETUP(to_be_set, { .initially_set = true, .mapped = BY_WRITE })

/* Threads that write. */

/* Return: there is memory. */
static bool store(uint64_t gfn, uint64_t value)
{
	int ret = tide_vcpu_store(&vcpu[0]->public, gfn << TIDE_PAGE_SHIFT, 8,
				  value);

	explore_assert(!ret || ret == TIDE_EXIT_MMIO, "written, or no memory",
		       EXPLORE_HERE);
	return !ret;
}

static void enter_and_store(uint64_t gfn, uint64_t value)
{
	explore_assert(!tide_vcpu_enter(&vcpu[0]->public), "enters",
		       EXPLORE_HERE);
	if (store(gfn, value))
		explore_assert(!tide_vcpu_exit(&vcpu[0]->public), "exits",
			       EXPLORE_HERE);
}

static void write_0(void)
{
	enter_and_store(0, 1);
}

static void write_elsewhere(void)
{
	enter_and_store(ELSEWHERE, 1);
}

static void write_on(void)
{
	must(store(0, 1));
	explore_assert(!tide_vcpu_safe_point(&vcpu[0]->public), "goes on",
		       EXPLORE_HERE);
	if (store(0, 2))
		explore_assert(!tide_vcpu_exit(&vcpu[0]->public), "exits",
			       EXPLORE_HERE);
}

static void empty_table(void)
{
	if (store(0, 0))
		explore_assert(!tide_vcpu_exit(&vcpu[0]->public), "exits",
			       EXPLORE_HERE);
}

static void device_writes(void)
{
	const uint64_t value = 1;
	int err = tide_mmu_write(mmu, 0, &value, sizeof(value));

	explore_assert(!err || err == -EFAULT, "written, or no memory",
		       EXPLORE_HERE);
}

static void device_reads(void)
{
	uint64_t value = 0;
	int err = tide_mmu_read(mmu, 0, &value, sizeof(value));

	explore_assert(err == -EFAULT || (!err && value <= 1),
		       "what the guest has, or no memory", EXPLORE_HERE);
}

static void emulate(void)
{
	struct mmu_write write = { .op = MMU_OP_STORE,
				   .nbytes = 8,
				   .value = 1 };
	int err = mmu_emulate_write(mmu, vcpu[0], 0, 0, &write);

	explore_assert(!err || err == -EFAULT, "written, or no memory",
		       EXPLORE_HERE);
}

/* By the table, until that is empty. */
static void write_on_by_table(void)
{
	int ret = tide_vcpu_store(&vcpu[0]->public, TIDE_PAGE_SIZE, 8, 1);

	must(!ret);
	explore_assert(!tide_vcpu_safe_point(&vcpu[0]->public), "goes on",
		       EXPLORE_HERE);
	ret = tide_vcpu_store(&vcpu[0]->public, TIDE_PAGE_SIZE, 8, 2);
	explore_assert(!ret || ret == TIDE_EXIT_GUEST_FAULT,
		       "written, or no such page", EXPLORE_HERE);
	if (!ret)
		explore_assert(!tide_vcpu_exit(&vcpu[0]->public), "exits",
			       EXPLORE_HERE);
}

/* Empties the table.  Who knows that can do what he likes with the page that
 * it led to. */
static void device_unmaps(void)
{
	const uint64_t none = 0;

	explore_assert(!tide_mmu_write(mmu, 0, &none, sizeof(none)),
		       "there is memory", EXPLORE_HERE);
	explore_plain_store(other, 8, POISON, EXPLORE_HERE);
}

static void another_unmaps(void)
{
	struct mmu_write write = { .op = MMU_OP_STORE, .nbytes = 8 };

	explore_assert(!mmu_emulate_write(mmu, vcpu[1], 0, 0, &write),
		       "there is memory", EXPLORE_HERE);
	explore_plain_store(other, 8, POISON, EXPLORE_HERE);
}

/* Changes nothing. */
static void walk(void)
{
	uint64_t gpa;
	int ret = tide_vcpu_translate(&vcpu[0]->public, 8, TIDE_ACCESS_READ,
				      &gpa);

	explore_assert(ret == TIDE_EXIT_GUEST_FAULT || ret == TIDE_EXIT_MMIO ||
			       (!ret && gpa == 8),
		       "where it was, or no memory", EXPLORE_HERE);
}

/* Sets A in the table's entry, which is the guest's own page here. */
static void walk_and_read(void)
{
	uint64_t value;
	int ret;

	explore_assert(!tide_vcpu_enter(&vcpu[0]->public), "enters",
		       EXPLORE_HERE);
	ret = tide_vcpu_load(&vcpu[0]->public, 8, 8, &value);
	explore_assert(ret == TIDE_EXIT_GUEST_FAULT || ret == TIDE_EXIT_MMIO ||
			       (!ret && !value),
		       "read, or no memory", EXPLORE_HERE);
	if (!ret)
		explore_assert(!tide_vcpu_exit(&vcpu[0]->public), "exits",
			       EXPLORE_HERE);
}

/* Threads that change the slot. */

static void change(uint64_t gfn, const uint64_t *memory, uint32_t flags)
{
	explore_assert(!set_slot(gfn, memory, flags), "changed", EXPLORE_HERE);
}

/* Its owner unmaps the memory, for which to write to it stands here. */
static void delete (void)
{
	change(0, NULL, 0);
	explore_plain_store(page, 8, POISON, EXPLORE_HERE);
}

static void delete_and_create_another(void)
{
	delete ();
	change(0, other, 0);
}

static void copy_page(void *opaque, uint64_t word, uint64_t bits)
{
	(void)opaque;
	explore_assert(!word && bits == 1, "the page and no other",
		       EXPLORE_HERE);
	copy = explore_load(page, 8, __ATOMIC_RELAXED, EXPLORE_HERE);
}

static void harvest(void)
{
	const uint64_t all[1] = { 1 };

	if (mmu->manual)
		explore_assert(!mmu_clear_dirty_log(mmu, 0, 0, 1, all),
			       "CLEAR succeeds", EXPLORE_HERE);
	else
		explore_assert(!mmu_take_dirty_log(mmu, 0, copy_page, NULL),
			       "GET succeeds", EXPLORE_HERE);
}

static void move_and_harvest(void)
{
	change(ELSEWHERE, page, MMU_REGION_LOG);
	harvest();
}

/* A client starts with everything. */
static void copy_all(void)
{
	copy_page(NULL, 0, 1);
}

static void log_on(void)
{
	change(0, page, MMU_REGION_LOG);
	copy_all();
}

/* The first CLEAR is of bits that were there from the beginning. */
static void log_on_and_clear(void)
{
	change(0, page, MMU_REGION_LOG);
	harvest();
	copy_all();
}

static void log_off(void)
{
	change(0, page, 0);
}

/* Afterwards vCPU 1 uses the page as a table. */
static void log_off_and_walk(void)
{
	uint64_t value;
	int ret;

	change(0, page, 0);
	explore_assert(!tide_vcpu_enter(&vcpu[1]->public), "enters",
		       EXPLORE_HERE);
	ret = tide_vcpu_load(&vcpu[1]->public, TIDE_PAGE_SIZE, 8, &value);
	explore_assert(!ret || ret == TIDE_EXIT_GUEST_FAULT,
		       "read, or no such page", EXPLORE_HERE);
	if (!ret)
		explore_assert(!tide_vcpu_exit(&vcpu[1]->public), "exits",
			       EXPLORE_HERE);
}

static void log_off_and_on(void)
{
	change(0, page, 0);
	log_on();
}

static void create_logged(void)
{
	change(0, page, MMU_REGION_LOG);
	copy_all();
}

/* GET and a slot that goes: it is there, or it is not. */
static void harvest_if_there(void)
{
	int err = mmu_take_dirty_log(mmu, 0, copy_page, NULL);

	explore_assert(!err || err == -ENOENT, "taken, or no slot",
		       EXPLORE_HERE);
}

/* What must hold afterwards. */

static bool is_mapped(uint64_t gfn, const uint64_t *memory)
{
	struct spte_walk walk;

	return mmu_walk(vcpu[0], gfn << TIDE_PAGE_SHIFT, &walk) &&
	       (!memory || spte_address(walk.spte) == (uintptr_t)memory);
}

static void gone(void)
{
	explore_assert(!is_mapped(0, NULL), "not mapped any more",
		       EXPLORE_HERE);
	explore_assert(*page == POISON, "not written any more", EXPLORE_HERE);
}

static void led_nowhere(void)
{
	explore_assert(!is_mapped(1, NULL), "not mapped any more",
		       EXPLORE_HERE);
	explore_assert(*other == POISON, "not written any more", EXPLORE_HERE);
}

static void shadowed_as_it_is(void)
{
	struct spte_walk walk;

	explore_assert(*page || !mmu_walk(vcpu[1], TIDE_PAGE_SIZE, &walk),
		       "no mapping of a table that is empty", EXPLORE_HERE);
}

static void gone_for_another(void)
{
	explore_assert(!is_mapped(0, page), "not mapped any more",
		       EXPLORE_HERE);
	explore_assert(*page == POISON, "not written any more", EXPLORE_HERE);
	explore_assert(!*other || is_mapped(0, other), "written where it is",
		       EXPLORE_HERE);
}

static void nothing_lost(void)
{
	if (mmu->manual) {
		uint64_t words[1] = { 0 };

		must(!mmu_get_dirty_log(mmu, 0, words));
		if (words[0])
			copy = *page;
	} else {
		harvest();
	}
	explore_assert(copy == *page, "copied as it is, or dirty",
		       EXPLORE_HERE);
}

static void moved(void)
{
	explore_assert(!is_mapped(0, NULL), "not mapped where it was",
		       EXPLORE_HERE);
	nothing_lost();
}

#define PROGRAM(name_, init_, final_, ...)                                  \
	.program = { .name = name_,                                         \
		     .threads = sizeof((void (*[])(void)){ __VA_ARGS__ }) / \
				sizeof(void (*)(void)),                     \
		     .init = init_,                                         \
		     .final = final_,                                       \
		     .thread = { __VA_ARGS__ } }

static const struct litmus all[] = {
	{ PROGRAM("delete-and-fault", not_mapped, gone, write_0, delete),
	  .executions = 191 },
	{ PROGRAM("delete-and-write", written, gone, write_0, delete),
	  .executions = 76 },
	{ PROGRAM("delete-and-write-on", in_tlb, gone, write_on, delete),
	  .executions = 31 },
	{ PROGRAM("delete-and-fast-fault", logged, gone, write_0, delete),
	  .executions = 240 },
	{ PROGRAM("delete-and-device-write", logged, gone, device_writes,
		  delete),
	  .executions = 6 },
	{ PROGRAM("delete-and-device-read", logged, gone, device_reads, delete),
	  .executions = 6 },
	{ PROGRAM("delete-and-emulated-write", logged, gone, emulate, delete),
	  .executions = 8 },
	{ PROGRAM("delete-and-walk", a_table, gone, walk, delete),
	  .executions = 8 },
	{ PROGRAM("delete-and-walk-that-sets-a", a_table, gone, walk_and_read,
		  delete),
	  .executions = 210 },
	{ PROGRAM("device-unmaps", a_table_that_leads_on, led_nowhere,
		  write_on_by_table, device_unmaps),
	  .executions = 5 },
	{ PROGRAM("another-vcpu-unmaps", a_table_that_leads_on, led_nowhere,
		  write_on_by_table, another_unmaps),
	  .executions = 5 },
	{ PROGRAM("delete-write-and-device", written, gone, write_0, delete,
		  device_reads),
	  .executions = 459 },
	{ PROGRAM("delete-fast-fault-and-device", logged, gone, write_0, delete,
		  device_writes),
	  .executions = 3963 },
	{ PROGRAM("delete-fault-and-device", not_mapped, gone, write_0, delete,
		  device_reads),
	  .executions = 1149 },
	{ PROGRAM("move-device-and-get", logged, moved, device_writes,
		  move_and_harvest, harvest_if_there),
	  .executions = 19 },
	{ PROGRAM("log-on-write-and-device", written, nothing_lost, write_0,
		  log_on, device_writes),
	  .executions = 3119 },
	{ PROGRAM("log-off-fast-fault-and-device", logged, NULL, write_0,
		  log_off, device_writes),
	  .executions = 76 },
	{ PROGRAM("delete-and-get", logged, gone, harvest_if_there, delete),
	  .executions = 2 },
	{ PROGRAM("another-slot-and-fault", not_mapped, gone_for_another,
		  write_0, delete_and_create_another),
	  .executions = 731 },
	{ PROGRAM("create-and-fault", absent, nothing_lost, write_0,
		  create_logged),
	  .executions = 18 },
	{ PROGRAM("create-and-device-write", absent, nothing_lost,
		  device_writes, create_logged),
	  .executions = 6 },
	{ PROGRAM("move-and-fault", logged_not_mapped, moved, write_0,
		  move_and_harvest),
	  .executions = 339 },
	{ PROGRAM("move-and-fault-there", logged_not_mapped, moved,
		  write_elsewhere, move_and_harvest),
	  .executions = 11597 },
	{ PROGRAM("move-and-fast-fault", logged, moved, write_0,
		  move_and_harvest),
	  .executions = 384 },
	{ PROGRAM("move-and-device-write", logged, moved, device_writes,
		  move_and_harvest),
	  .executions = 6 },
	{ PROGRAM("move-and-emulated-write", logged, moved, emulate,
		  move_and_harvest),
	  .executions = 9 },
	{ PROGRAM("move-and-walk-that-sets-a", a_logged_table, moved,
		  walk_and_read, move_and_harvest),
	  .executions = 360 },
	{ PROGRAM("log-on-and-walk-that-sets-a", a_table, nothing_lost,
		  walk_and_read, log_on),
	  .executions = 368 },
	{ PROGRAM("log-on-and-large-leaf", large, nothing_lost, write_on,
		  log_on),
	  .executions = 17 },
	{ PROGRAM("log-off-and-on-and-large-leaf", large_logged, nothing_lost,
		  write_on, log_off_and_on),
	  .executions = 1344 },
	{ PROGRAM("log-on-and-fault", not_mapped, nothing_lost, write_0,
		  log_on),
	  .executions = 476 },
	{ PROGRAM("log-on-and-write", written, nothing_lost, write_0, log_on),
	  .executions = 23 },
	{ PROGRAM("log-on-and-write-on", in_tlb, nothing_lost, write_on,
		  log_on),
	  .executions = 17 },
	{ PROGRAM("log-on-and-device-write", written, nothing_lost,
		  device_writes, log_on),
	  .executions = 10 },
	{ PROGRAM("log-on-and-emulated-write", written, nothing_lost, emulate,
		  log_on),
	  .executions = 10 },
	{ PROGRAM("log-on-initially-set", to_be_set, nothing_lost, write_0,
		  log_on_and_clear),
	  .executions = 23 },
	{ PROGRAM("log-off-and-fault", logged_not_mapped, NULL, write_0,
		  log_off),
	  .executions = 32 },
	{ PROGRAM("log-off-and-a-table", anothers_table, shadowed_as_it_is,
		  empty_table, log_off_and_walk),
	  .executions = 3 },
	{ PROGRAM("log-off-and-fast-fault", logged, NULL, write_0, log_off),
	  .executions = 3 },
	{ PROGRAM("log-off-and-device-write", logged, NULL, device_writes,
		  log_off),
	  .executions = 7 },
	{ PROGRAM("log-off-and-on-and-fast-fault", logged, nothing_lost,
		  write_0, log_off_and_on),
	  .executions = 142 },
};

int main(int argc, char **argv)
{
	return litmus_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}
