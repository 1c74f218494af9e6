/* SPDX-License-Identifier: MIT */
/*
 * guest_tables.c - writes to a shadowed guest table, and what tables that go
 * unsync would save
 *
 * The guest runs on x86-64 tables of its own in guest memory: an identity map
 * of 4 MiB by two last-level tables.  All pages of the second are mapped in
 * the shadow.  Then it changes N entries of the second table, for N from 1 to
 * 512, and writes to each of the 512 pages again.
 *
 *   pt-write-ns    one of the N writes
 *   pt-emulated    how many of the N were emulated.  After a few the table's
 *                  shadow is given up, and the rest are plain stores; then
 *                  every page is faulted in anew.
 *   pt-cycle-us    the N writes and the 512
 *   pt-unsync-us   the same for a table that may go unsync (KVM's way), put
 *                  together from parts that are measured here: one
 *                  write-protect fault through the slow path, that of a data
 *                  page of this guest; N stores that hit; at the guest's flush
 *                  512 entries read and compared with what is known of them;
 *                  and the 512 writes with every page mapped and no TLB entry.
 *                  A lower bound: entries that differ cost nothing, nor does
 *                  protecting the table again with its remote flush.
 */
#include "bench.h"

#include "mmu_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"

#define PAGES 4096u /* 16 MiB: twice what is mapped */
#define ENTRIES 512u
#define ROOT 1u /* pages of the guest's tables */
#define DIRECTORY_POINTERS 2u
#define DIRECTORY 3u
#define LOW_TABLE 4u	   /* maps page 0 on: the tables themselves */
#define HIGH_TABLE 5u	   /* maps page 512 on: data */
#define ENTRY_BITS 0x63ull /* present, writable, accessed, dirty */
#define COMPARED 64u	   /* pairs of tables, in turn */

static const unsigned int writes[] = { 1, 8, 64, 512 };
#define COUNTS (sizeof(writes) / sizeof(writes[0]))

struct tables {
	struct bench_guest guest;
	void *memory;
	_Atomic uint64_t (*guest_table)[ENTRIES]; /* COMPARED of them */
	uint64_t (*shadow_table)[ENTRIES];
	unsigned int compared, turn;
	double store_ns, fault_ns, compare_ns, refill_ns;
};

static int put_entry(struct tables *tables, uint64_t table, uint64_t index,
		     uint64_t page)
{
	uint64_t entry = page << TIDE_PAGE_SHIFT | ENTRY_BITS;

	return tide_mmu_write(tables->guest.mmu,
			      (table << TIDE_PAGE_SHIFT) + index * 8, &entry,
			      8);
}

/* Also what a guest's flush of its TLB is. */
static int set_root(struct tables *tables)
{
	struct tide_paging paging = {
		.mode = TIDE_PAGING_X86_64,
		.flags = TIDE_PAGING_WP | TIDE_PAGING_NX,
		.root = ROOT << TIDE_PAGE_SHIFT,
	};

	return tide_vcpu_set_paging(tables->guest.vcpu[0], &paging);
}

static int build_tables(struct tables *tables)
{
	int err = put_entry(tables, ROOT, 0, DIRECTORY_POINTERS);

	if (!err)
		err = put_entry(tables, DIRECTORY_POINTERS, 0, DIRECTORY);
	if (!err)
		err = put_entry(tables, DIRECTORY, 0, LOW_TABLE);
	if (!err)
		err = put_entry(tables, DIRECTORY, 1, HIGH_TABLE);
	for (uint64_t i = 0; !err && i < ENTRIES; i++) {
		err = put_entry(tables, LOW_TABLE, i, i);
		if (!err)
			err = put_entry(tables, HIGH_TABLE, i, ENTRIES + i);
	}
	return err ? err : set_root(tables);
}

/* Every data page once. */
static int touch_data(struct tables *tables)
{
	return bench_guest_touch(&tables->guest, ENTRIES, ENTRIES, 1);
}

/* @count entries of the high table get another frame each. */
static int write_entries(struct tables *tables, unsigned int count)
{
	struct tide_vcpu *vcpu = tables->guest.vcpu[0];
	uint64_t frame = (uint64_t)ENTRIES * (tables->turn++ & 1 ? 1 : 2);
	int ret = tide_vcpu_enter(vcpu);

	for (uint64_t i = 0; !ret && i < count; i++)
		ret = tide_vcpu_store(
			vcpu, (HIGH_TABLE << TIDE_PAGE_SHIFT) + i * 8, 8,
			(frame + i) << TIDE_PAGE_SHIFT | ENTRY_BITS);
	return ret ? bench_exit_error(ret) : tide_vcpu_exit(vcpu);
}

struct sample {
	double write_ns; /* of one */
	double emulated;
	double cycle_ns;
};

static int time_writes(struct tables *tables, unsigned int count,
		       struct sample *ret)
{
	struct tide_mmu_stats before, after;
	uint64_t begin_ns, written_ns;
	int err = touch_data(tables);

	if (err)
		return err;
	tide_mmu_stats(tables->guest.mmu, &before);
	begin_ns = bench_now_ns();
	err = write_entries(tables, count);
	written_ns = bench_now_ns();
	if (!err)
		err = touch_data(tables);
	ret->cycle_ns = (double)(bench_now_ns() - begin_ns);
	ret->write_ns = (double)(written_ns - begin_ns) / count;
	tide_mmu_stats(tables->guest.mmu, &after);
	ret->emulated =
		(double)(after.writes_emulated - before.writes_emulated);
	return err;
}

static int time_touch(struct tables *tables, double *ret_ns)
{
	uint64_t begin_ns = bench_now_ns();
	int err = touch_data(tables);

	*ret_ns = (double)(bench_now_ns() - begin_ns);
	return err;
}

/* A write-protect fault of a data page; then a store that hits; then the
 * pages with no TLB entry. */
static int time_parts(struct tables *tables)
{
	int err = touch_data(tables);

	if (!err)
		err = bench_guest_harvest(&tables->guest, NULL);
	if (!err)
		err = time_touch(tables, &tables->fault_ns);
	if (!err)
		err = time_touch(tables, &tables->store_ns);
	if (!err)
		err = set_root(tables);
	if (!err)
		err = time_touch(tables, &tables->refill_ns);
	tables->fault_ns /= ENTRIES;
	tables->store_ns /= ENTRIES;
	return err;
}

/* 512 entries read and compared with what is known of them. */
static void time_compare(struct tables *tables)
{
	unsigned int at = tables->compared++ % COMPARED;
	uint64_t begin_ns = bench_now_ns();
	unsigned int differ = 0;

	for (unsigned int i = 0; i < ENTRIES; i++)
		/* Relaxed: as a walk's reads of the guest's entries. */
		differ += atomic_load_explicit(&tables->guest_table[at][i],
					       memory_order_relaxed) !=
			  tables->shadow_table[at][i];
	/* Keeps the compiler from dropping the loop. */
	__asm__ volatile("" : : "r"(differ));
	tables->compare_ns = (double)(bench_now_ns() - begin_ns);
}

static int setup(struct tables *tables)
{
	struct bench_guest_config config = {
		.npages = PAGES,
		.vcpus = 1,
		/* The fault that makes a table unsync is a slow one. */
		.mmu_flags = TIDE_MMU_NO_FAST_FAULT,
		.get_clears = true,
	};
	int err;

	tables->guest_table = calloc(COMPARED, sizeof(*tables->guest_table));
	tables->shadow_table = calloc(COMPARED, sizeof(*tables->shadow_table));
	if (!tables->guest_table || !tables->shadow_table)
		return -ENOMEM;
	tables->memory = bench_memory_map(PAGES, BENCH_POPULATED);
	config.memory = tables->memory;
	err = bench_guest_create(&tables->guest, &config);
	if (!err)
		err = bench_guest_log(&tables->guest, TIDE_START_CLEAN);
	return err ? err : build_tables(tables);
}

enum kind { WRITE, EMULATED, CYCLE, UNSYNC, KINDS };

static const struct {
	const char *name;
	const char *unit;
	const char *against;
} kinds[KINDS] = {
	[WRITE] = { "pt-write-ns", "ns", "a part of pt-cycle-us" },
	[EMULATED] = { "pt-emulated", "writes", "a part of pt-cycle-us" },
	[CYCLE] = { "pt-cycle-us", "us", "pt-unsync-us" },
	[UNSYNC] = { "pt-unsync-us", "us", "a lower bound, from parts" },
};

struct figures {
	struct bench_figure figure[COUNTS][KINDS];
	char name[COUNTS][KINDS][32];
};

static void name_figures(struct figures *figures)
{
	for (size_t i = 0; i < COUNTS; i++)
		for (size_t k = 0; k < KINDS; k++) {
			snprintf(figures->name[i][k], 32, "%s-%u",
				 kinds[k].name, writes[i]);
			figures->figure[i][k] = (struct bench_figure){
				.name = figures->name[i][k],
				.unit = kinds[k].unit,
				.against = kinds[k].against,
			};
		}
}

static int one_round(struct tables *tables, struct figures *figures)
{
	int err = time_parts(tables);

	time_compare(tables);
	for (size_t i = 0; !err && i < COUNTS; i++) {
		struct bench_figure *figure = figures->figure[i];
		struct sample sample = { 0 };

		err = time_writes(tables, writes[i], &sample);
		if (err)
			break;
		bench_add(&figure[WRITE], sample.write_ns);
		bench_add(&figure[EMULATED], sample.emulated);
		bench_add(&figure[CYCLE], sample.cycle_ns / 1e3);
		bench_add(&figure[UNSYNC],
			  (tables->fault_ns + writes[i] * tables->store_ns +
			   tables->compare_ns + tables->refill_ns) /
				  1e3);
	}
	return err;
}

int bench_tables(const struct bench_options *options)
{
	unsigned int rounds = options->rounds ? options->rounds : 201;
	struct tables tables = { 0 };
	static struct figures figures;
	int err = setup(&tables);

	name_figures(&figures);
	for (unsigned int i = 0; !err && i < rounds; i++)
		err = one_round(&tables, &figures);
	bench_guest_destroy(&tables.guest);
	bench_memory_unmap(tables.memory, PAGES);
	free(tables.guest_table);
	free(tables.shadow_table);
	if (err)
		return bench_skip(options, "tables", strerror(-err));
	for (size_t i = 0; i < COUNTS; i++)
		for (size_t k = 0; k < KINDS; k++)
			bench_report(options, &figures.figure[i][k]);
	return 0;
}
