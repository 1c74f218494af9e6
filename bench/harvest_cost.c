/* SPDX-License-Identifier: MIT */
/*
 * harvest_cost.c - a harvest through the library, against the plain ioctls
 *
 * Two VMs of the same shape, whose guests write the same pages.  The raw one
 * is harvested as a careful programmer would without a library: GET, CLEAR of
 * what was got, then a scan for every bit; GET and scan; or the ring's
 * entries, RESET, and a scan of the bitmap made from them.  Both hand each
 * run of pages to a consumer that adds them up; the sums must be equal.
 */
#include "bench.h"

#include "bare_vm.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <tidemark/tidemark.h>

#define PAGES (1u << 18) /* 1 GiB */
#define WORDS (PAGES / 64)
#define RING_ENTRIES 65536u

struct raw {
	struct bare_vm vm;
	enum tide_tracker tracker;
	uint64_t *bitmap;
	struct kvm_dirty_gfn *ring;
	uint32_t next;
};

struct ours {
	struct bare_vm vm;
	struct tide_space *space;
	struct tide_client *client;
};

struct run {
	struct raw raw;
	struct ours ours;
	uint32_t *pages;
	uint64_t seed;
};

static int raw_region(struct raw *raw)
{
	struct kvm_userspace_memory_region region = {
		.slot = BARE_SLOT,
		.flags = KVM_MEM_LOG_DIRTY_PAGES,
		.guest_phys_addr = raw->vm.first_gfn << TIDE_PAGE_SHIFT,
		.memory_size = (uint64_t)PAGES << TIDE_PAGE_SHIFT,
		.userspace_addr = (uintptr_t)raw->vm.memory,
	};

	return bare_ioctl(raw->vm.vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static int raw_enable(struct raw *raw)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
				      .args = { 3 } }; /* and all set */

	if (raw->tracker == TIDE_TRACKER_KVM_GET)
		return 0;
	if (raw->tracker == TIDE_TRACKER_KVM_RING) {
		cap.cap = KVM_CAP_DIRTY_LOG_RING;
		cap.args[0] = RING_ENTRIES * sizeof(struct kvm_dirty_gfn);
	}
	return bare_ioctl(raw->vm.vm_fd, KVM_ENABLE_CAP, &cap);
}

static int raw_setup(struct raw *raw)
{
	int err = bare_vm_create(&raw->vm, PAGES);

	if (!err)
		err = raw_enable(raw);
	if (!err)
		err = bare_vm_vcpu(&raw->vm);
	if (!err)
		err = raw_region(raw);
	raw->bitmap = calloc(WORDS, sizeof(uint64_t));
	if (!err && !raw->bitmap)
		err = -ENOMEM;
	if (!err && raw->tracker == TIDE_TRACKER_KVM_RING) {
		raw->ring = mmap(
			NULL, RING_ENTRIES * sizeof(struct kvm_dirty_gfn),
			PROT_READ | PROT_WRITE, MAP_SHARED, raw->vm.vcpu_fd,
			KVM_DIRTY_LOG_PAGE_OFFSET * 4096L);
		if (raw->ring == MAP_FAILED)
			err = -errno;
	}
	return err;
}

/* The sum over pages that were dirty, from the bits of @bitmap. */
static uint64_t scan(const uint64_t *bitmap)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < WORDS; i++) {
		uint64_t word = bitmap[i];

		while (word) {
			sum += i * 64 + (uint64_t)__builtin_ctzll(word);
			word &= word - 1;
		}
	}
	return sum;
}

static int raw_reset(void *opaque)
{
	struct raw *raw = opaque;

	for (;; raw->next++) {
		struct kvm_dirty_gfn *entry =
			&raw->ring[raw->next % RING_ENTRIES];
		_Atomic uint32_t *flags = (_Atomic uint32_t *)&entry->flags;

		/* ACQUIRE(bench.take) pairs with
		 * KERNEL(kvm_dirty_ring_push). */
		if (atomic_load_explicit(flags, memory_order_acquire) !=
		    KVM_DIRTY_GFN_F_DIRTY)
			break;
		raw->bitmap[entry->offset / 64] |= 1ull << entry->offset % 64;
		/* RELEASE(bench.reset) pairs with
		 * KERNEL(kvm_dirty_ring_reset). */
		atomic_store_explicit(flags, KVM_DIRTY_GFN_F_RESET,
				      memory_order_release);
	}
	return bare_ioctl(raw->vm.vm_fd, KVM_RESET_DIRTY_RINGS, NULL) < 0 ? -EIO
									  : 0;
}

static int raw_harvest(struct raw *raw, uint64_t *ret_sum)
{
	struct kvm_dirty_log log = { .slot = BARE_SLOT,
				     .dirty_bitmap = raw->bitmap };
	int err;

	if (raw->tracker == TIDE_TRACKER_KVM_RING) {
		err = raw_reset(raw);
		*ret_sum = scan(raw->bitmap);
		memset(raw->bitmap, 0, WORDS * sizeof(uint64_t));
		return err;
	}
	err = bare_ioctl(raw->vm.vm_fd, KVM_GET_DIRTY_LOG, &log);
	if (!err && raw->tracker == TIDE_TRACKER_KVM_CLEAR) {
		struct kvm_clear_dirty_log clear = {
			.slot = BARE_SLOT,
			.num_pages = PAGES,
			.dirty_bitmap = raw->bitmap,
		};

		err = bare_ioctl(raw->vm.vm_fd, KVM_CLEAR_DIRTY_LOG, &clear);
	}
	*ret_sum = scan(raw->bitmap);
	return err;
}

static int ours_setup(struct ours *ours, enum tide_tracker tracker)
{
	struct tide_kvm_config config = { .ring_entries = RING_ENTRIES };
	struct tide_slot_config slot = { .id = BARE_SLOT, .npages = PAGES };
	int err = bare_vm_create(&ours->vm, PAGES);

	config.vm_fd = ours->vm.vm_fd;
	if (!err)
		err = tide_space_create(&ours->space);
	if (!err)
		err = tide_space_attach(ours->space, tracker, &config);
	if (!err)
		err = bare_vm_vcpu(&ours->vm);
	if (!err)
		err = tide_kvm_vcpu_add(ours->space, ours->vm.vcpu_fd);
	slot.first_gfn = ours->vm.first_gfn;
	slot.host = ours->vm.memory;
	if (!err)
		err = tide_slot_add(ours->space, &slot);
	if (!err)
		err = tide_client_open(ours->space, "bench", TIDE_START_CLEAN,
				       &ours->client);
	return err;
}

static int ours_full(void *opaque)
{
	struct ours *ours = opaque;
	int ret = tide_kvm_ring_full(ours->space, ours->vm.vcpu_fd);

	return ret < 0 ? ret : 0;
}

static int ours_harvest(struct ours *ours, uint64_t *ret_sum)
{
	uint64_t first = ours->vm.first_gfn;
	struct tide_harvest *harvest;
	struct tide_extent extent;
	uint64_t sum = 0;
	int ret = tide_harvest_begin(ours->client, &harvest);

	if (ret)
		return ret;
	while ((ret = tide_harvest_next(harvest, &extent)) > 0) {
		uint64_t n = extent.npages;

		sum += (extent.first_gfn - first) * n + n * (n - 1) / 2;
	}
	if (ret < 0)
		return ret;
	*ret_sum = sum;
	return tide_harvest_commit(harvest);
}

/* A random set of @count different pages, in random order. */
static void choose(struct run *run, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t j;
		uint32_t swap;

		run->seed = run->seed * 6364136223846793005ull + 1;
		j = i + (run->seed >> 33) % (PAGES - i);
		swap = run->pages[i];
		run->pages[i] = run->pages[j];
		run->pages[j] = swap;
	}
}

/* Both guests write; both are harvested, in turn first.  Return: 0. */
static int one_round(struct run *run, size_t count, bool ours_first,
		     bool ours_last, double *ret_ratio)
{
	uint64_t raw_sum = 0, our_sum = 0, begin_ns;
	uint64_t raw_ns = 0, our_ns = 0;
	int err = 0;

	choose(run, count);
	/* Who writes last has the warmer caches: that takes turns, too. */
	for (int turn = 0; !err && turn < 2; turn++) {
		if ((turn == 0) == ours_last)
			err = bare_vm_write(&run->raw.vm, run->pages, count,
					    raw_reset, &run->raw);
		else
			err = bare_vm_write(&run->ours.vm, run->pages, count,
					    ours_full, &run->ours);
	}
	for (int turn = 0; !err && turn < 2; turn++) {
		begin_ns = bench_now_ns();
		if ((turn == 0) == ours_first) {
			err = ours_harvest(&run->ours, &our_sum);
			our_ns = bench_now_ns() - begin_ns;
		} else {
			err = raw_harvest(&run->raw, &raw_sum);
			raw_ns = bench_now_ns() - begin_ns;
		}
	}
	if (!err && raw_sum != our_sum)
		err = -EBADMSG;
	if (!err)
		*ret_ratio = (double)our_ns / (double)raw_ns;
	return err;
}

static int setup(struct run *run, enum tide_tracker tracker)
{
	uint64_t sum;
	int err;

	/* No descriptors yet: what is not set up is torn down, too. */
	*run = (struct run){
		.seed = 42,
		.raw.vm = { .kvm_fd = -1, .vm_fd = -1, .vcpu_fd = -1 },
		.ours.vm = { .kvm_fd = -1, .vm_fd = -1, .vcpu_fd = -1 },
	};
	run->raw.tracker = tracker;
	run->pages = calloc(PAGES, sizeof(*run->pages));
	if (!run->pages)
		return -ENOMEM;
	for (uint32_t i = 0; i < PAGES; i++)
		run->pages[i] = i;
	err = raw_setup(&run->raw);
	if (!err)
		err = ours_setup(&run->ours, tracker);
	/* Every page once, so that what follows is no first touch. */
	if (!err)
		err = bare_vm_write(&run->raw.vm, run->pages, PAGES, raw_reset,
				    &run->raw);
	if (!err)
		err = bare_vm_write(&run->ours.vm, run->pages, PAGES, ours_full,
				    &run->ours);
	if (!err)
		err = raw_harvest(&run->raw, &sum);
	return err ? err : ours_harvest(&run->ours, &sum);
}

static void tear_down(struct run *run)
{
	tide_client_close(run->ours.client);
	tide_space_destroy(run->ours.space);
	bare_vm_destroy(&run->ours.vm);
	if (run->raw.ring && run->raw.ring != MAP_FAILED)
		munmap(run->raw.ring,
		       RING_ENTRIES * sizeof(struct kvm_dirty_gfn));
	bare_vm_destroy(&run->raw.vm);
	free(run->raw.bitmap);
	free(run->pages);
}

static int bench_tracker(const struct bench_options *options,
			 enum tide_tracker tracker, const char *suffix)
{
	static const struct {
		unsigned int percent, rounds;
	} parts[] = { { 1, 101 }, { 10, 31 }, { 100, 9 } };
	struct run run;
	int err = setup(&run, tracker);

	for (size_t p = 0; !err && p < 3; p++) {
		static struct bench_figure figure;
		unsigned int rounds =
			options->rounds ? options->rounds : parts[p].rounds;
		char name[64];

		snprintf(name, sizeof(name), "harvest-ratio-%u%s",
			 parts[p].percent, suffix);
		if (tracker == TIDE_TRACKER_KVM_RING &&
		    parts[p].percent == 100) {
			(void)bench_skip(options, name,
					 "more pages than a ring has entries");
			continue;
		}
		figure = (struct bench_figure){
			.name = name,
			.unit = "ratio",
			.against = "the raw ioctls and a bit scan",
			.goal = 1.1,
		};
		for (unsigned int i = 0; !err && i < rounds; i++) {
			double ratio = 0;

			err = one_round(&run,
					(size_t)PAGES / 100 * parts[p].percent,
					i & 1, i & 2, &ratio);
			bench_add(&figure, ratio);
		}
		if (!err)
			bench_report(options, &figure);
	}
	tear_down(&run);
	return err;
}

int bench_harvest(const struct bench_options *options)
{
	static const struct {
		enum tide_tracker tracker;
		const char *suffix;
	} trackers[] = {
		{ TIDE_TRACKER_KVM_CLEAR, "" },
		{ TIDE_TRACKER_KVM_GET, "-kvm-get" },
		{ TIDE_TRACKER_KVM_RING, "-kvm-ring" },
	};
	int skipped = 0;

	for (size_t i = 0; i < 3; i++) {
		int err = bench_tracker(options, trackers[i].tracker,
					trackers[i].suffix);

		if (err)
			skipped |= bench_skip(
				options, tide_tracker_name(trackers[i].tracker),
				strerror(-err));
	}
	return skipped;
}
