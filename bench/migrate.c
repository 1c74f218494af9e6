/* SPDX-License-Identifier: MIT */
/*
 * migrate.c - moving a guest to another process, against QEMU
 *
 * The same guest on both sides, 1 GiB of which it rewrites 64 MiB as fast as
 * it can: with nothing in the rest, and with pages of which no two are alike.
 * It is moved over a unix socket between two processes, with the same downtime
 * allowed and no limit on bandwidth.  Every sample is a fresh pair of
 * processes; ours and QEMU's take turns.
 *
 * Times.  Ours are from outside: the whole call, logging turned on included,
 * and from before the stop to the destination's word that the guest runs.
 * QEMU's are its own, which are the kinder ones to it: they end at the source,
 * and count whole milliseconds.
 *
 * A host that is itself a guest, with a balloon that reports free memory, may
 * take seconds to find its memory again.  That is neither side's doing, so
 * before each transfer as much as the destination will want is touched and
 * freed.
 */
#include "bench.h"

#include "destination.h"
#include "interrupt.h"
#include "names.h"
#include "qemu.h"
#include "tool.h"
#include "transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEMORY (1ull << 30)
#define FIRMWARE (16ull << 20) /* QEMU's keeps tables at the end of memory */
#define MEMORY_FOUND (MEMORY + MEMORY / 4)
#define HOT_PAGES (64u << 8) /* 64 MiB */
#define DOWNTIME_MS 300u
#define SEED 1u
#define FILL_MS 60000
#define WARM_UP_MS 500
#define WARM_UP_MARKS 5 /* at ten a second */
#define RUN_ON_MS 200
#define RUN_ON_MARKS 2
#define DEADLINE_NS (60 * 1000000000ull)
#define PAIRS 5u

/* What the guest writes. */
struct pattern {
	const char *suffix; /* of the figures' names */
	const char *what;
	struct tide_vm_config config;
};

static const struct pattern patterns[] = {
	{ "",
	  "64 MiB rewritten in a loop, the rest untouched",
	  { .workload = TIDE_WORKLOAD_WALKER, .work_pages = HOT_PAGES } },
	{ "-full",
	  "full of data, 64 MiB hot",
	  { .workload = TIDE_WORKLOAD_HOT,
	    .hot_pages = HOT_PAGES,
	    .seed = SEED } },
};
#define PATTERNS (sizeof(patterns) / sizeof(patterns[0]))

enum figure {
	TOTAL_RATIO,
	DOWNTIME_RATIO,
	TOTAL,
	DOWNTIME,
	QEMU_TOTAL,
	QEMU_DOWNTIME,
	QEMU_OUTSIDE_TOTAL,
	QEMU_OUTSIDE_DOWNTIME,
	FIGURES
};

static struct bench_figure figures[FIGURES] = {
	[TOTAL_RATIO] = { .name = "migrate-total-ratio",
			  .unit = "ratio",
			  .goal = 0.5 },
	[DOWNTIME_RATIO] = { .name = "migrate-downtime-ratio",
			     .unit = "ratio",
			     .goal = 0.5 },
	[TOTAL] = { .name = "migrate-total-ms", .unit = "ms" },
	[DOWNTIME] = { .name = "migrate-downtime-ms", .unit = "ms" },
	[QEMU_TOTAL] = { .name = "qemu-total-ms", .unit = "ms" },
	[QEMU_DOWNTIME] = { .name = "qemu-downtime-ms", .unit = "ms" },
	[QEMU_OUTSIDE_TOTAL] = { .name = "qemu-outside-total-ms",
				 .unit = "ms" },
	[QEMU_OUTSIDE_DOWNTIME] = { .name = "qemu-outside-downtime-ms",
				    .unit = "ms" },
};

struct ours_times {
	double total_ms;
	double downtime_ms;
	struct tide_migrate_stats stats;
};

static int pause_for(int ms)
{
	struct pollfd interrupt = { .fd = interrupt_fd(), .events = POLLIN };

	return poll(&interrupt, 1, ms) > 0 ? -EINTR : 0;
}

/* So that the host has as much memory at hand as a guest is about to want, in
 * the same large pages. */
static void find_memory(void)
{
	char *memory = mmap(NULL, MEMORY_FOUND, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return;
	(void)madvise(memory, MEMORY_FOUND, MADV_HUGEPAGE); /* a hint */
	for (uint64_t i = 0; i < MEMORY_FOUND; i += TIDE_PAGE_SIZE)
		memory[i] = 1;
	(void)munmap(memory, MEMORY_FOUND);
}

static int watch(void *opaque, const struct tide_migrate_stats *stats)
{
	(void)opaque;
	(void)stats;
	return interrupt_pending();
}

/* Until memory is full and the hot pages are being written.  The guest counts
 * no write before.  Return: 0; a negative errno. */
static int warm_up(struct tide_vm *vm)
{
	uint64_t until_ns = tool_now_ns() + FILL_MS * 1000000ull;
	uint64_t writes;
	int err = 0;

	while (!err && tide_vm_writes(vm) == 0) {
		err = pause_for(10);
		if (!err && tool_now_ns() > until_ns)
			err = -ETIMEDOUT;
	}
	writes = tide_vm_writes(vm);
	if (!err)
		err = pause_for(WARM_UP_MS);
	if (!err && tide_vm_writes(vm) - writes < HOT_PAGES)
		err = -ETIMEDOUT;
	return err;
}

/* Let the guest run on there, then ask its oracle. */
static int check(struct destination *destination)
{
	char message[256] = "";
	uint64_t writes = 0;
	int ret = pause_for(RUN_ON_MS);

	if (!ret)
		ret = destination_stop_guest(destination, message,
					     sizeof(message), &writes);
	if (ret == 1) {
		(void)tool_error("memory is wrong after the migration: %s",
				 message);
		return -EBADMSG;
	}
	return ret;
}

static int move(struct tide_vm *vm, struct destination *destination,
		struct ours_times *ret)
{
	struct transfer transfer = {
		.downtime_ns = DOWNTIME_MS * 1000000ull,
		.deadline_ns = DEADLINE_NS,
		.watch = watch,
	};
	uint64_t began_ns;
	int err;

	find_memory();
	began_ns = tool_now_ns();
	err = transfer_send(&transfer, vm, destination->stream_fd);
	ret->total_ms = (double)(tool_now_ns() - began_ns) / 1e6;
	if (err) {
		(void)tool_error("migration failed: %s", transfer.message);
		return err;
	}
	ret->stats = transfer.stats;
	ret->downtime_ms = (double)transfer.stats.downtime_ns / 1e6;
	return 0;
}

static int sample_ours(const struct pattern *pattern, enum tide_tracker tracker,
		       struct ours_times *ret)
{
	struct tide_vm_config config = pattern->config;
	struct destination destination;
	struct tide_vm *vm = NULL;
	int err;

	config.memory_bytes = MEMORY;
	config.tracker = tracker;
	find_memory();
	/* Before there is a VM to inherit. */
	if (destination_start(tracker, false, &destination) >= 0)
		return -ECHILD;
	err = tide_vm_create(&config, &vm);
	if (!err)
		err = tide_vm_run(vm);
	if (!err)
		err = warm_up(vm);
	if (err && err != -EINTR)
		(void)tool_error("the guest does not run: %s", strerror(-err));
	if (!err)
		err = move(vm, &destination, ret);
	if (!err)
		err = check(&destination);
	tide_vm_destroy(vm);
	destination_end(&destination);
	return err;
}

/* The guest as a file that QEMU can open.  Return: a descriptor or -errno. */
static int make_kernel(const struct pattern *pattern)
{
	struct tide_vm_config config = pattern->config;
	int fd = memfd_create("guest.elf", MFD_CLOEXEC);
	int err = fd < 0 ? -errno : 0;
	void *image;
	int size;

	config.memory_bytes = MEMORY - FIRMWARE;
	size = tide_guest_image(&config, NULL, 0);
	image = size > 0 ? malloc((size_t)size) : NULL;
	if (!err && size < 0)
		err = size;
	if (!err && !image)
		err = -ENOMEM;
	if (!err)
		size = tide_guest_image(&config, image, (size_t)size);
	if (!err && write(fd, image, (size_t)size) != size)
		err = -EIO;
	free(image);
	if (err && fd >= 0)
		close(fd);
	return err ? err : fd;
}

static int await_marks(struct qemu *qemu, unsigned int marks, const char *where)
{
	int err = qemu_wait_marks(qemu, marks, FILL_MS);

	if (err && err != -EINTR)
		(void)tool_error("QEMU: the guest does not run at the %s: %s",
				 where, strerror(-err));
	return err;
}

static int sample_qemu(int kernel_fd, struct qemu_times *ret, bool *ret_kvm)
{
	struct qemu source = { .qmp.fd = -1, .serial_fd = -1 };
	struct qemu destination = source;
	int stream[2];
	int err;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) != 0)
		return -errno;
	find_memory();
	err = qemu_start(&destination, kernel_fd, stream[1], MEMORY);
	close(stream[1]);
	if (!err)
		err = qemu_start(&source, kernel_fd, -1, MEMORY);
	/* The first one says that memory is full. */
	if (!err)
		err = await_marks(&source, 1 + WARM_UP_MARKS, "source");
	if (!err) {
		find_memory();
		err = qemu_migrate(&source, &destination, stream[0],
				   DOWNTIME_MS, ret);
	}
	close(stream[0]);
	if (!err)
		err = await_marks(&destination, RUN_ON_MARKS, "destination");
	*ret_kvm = source.kvm && destination.kvm;
	qemu_end(&source);
	qemu_end(&destination);
	return err;
}

static void add_pair(const struct ours_times *ours,
		     const struct qemu_times *qemu)
{
	bench_add(&figures[TOTAL_RATIO], ours->total_ms / qemu->total_ms);
	bench_add(&figures[DOWNTIME_RATIO],
		  ours->downtime_ms / qemu->downtime_ms);
	bench_add(&figures[TOTAL], ours->total_ms);
	bench_add(&figures[DOWNTIME], ours->downtime_ms);
	bench_add(&figures[QEMU_TOTAL], qemu->total_ms);
	bench_add(&figures[QEMU_DOWNTIME], qemu->downtime_ms);
	bench_add(&figures[QEMU_OUTSIDE_TOTAL], qemu->outside_total_ms);
	bench_add(&figures[QEMU_OUTSIDE_DOWNTIME], qemu->outside_downtime_ms);
}

/* What the ratios come from, for whoever looks into them. */
static void tell_pair(const struct bench_options *options, unsigned int pair,
		      const struct ours_times *ours,
		      const struct qemu_times *qemu)
{
	const struct tide_migrate_stats *stats = &ours->stats;
	FILE *out = options->json ? stderr : stdout;

	fprintf(out,
		"# pair %u: tidemark %.0f ms, down %.1f ms (stop %.1f, last "
		"harvest %.1f,\n"
		"#   state %.1f, hand-over %.1f), %u rounds, %.0f MiB; QEMU "
		"%.0f ms, down %.0f ms,\n"
		"#   %" PRIu64 " rounds; from outside %.0f ms, down %.1f ms\n",
		pair, ours->total_ms, ours->downtime_ms,
		(double)stats->stop_ns / 1e6,
		(double)stats->final_harvest_ns / 1e6,
		(double)stats->state_ns / 1e6, (double)stats->handover_ns / 1e6,
		stats->rounds, (double)stats->bytes_sent / 0x1p20,
		qemu->total_ms, qemu->downtime_ms, qemu->rounds,
		qemu->outside_total_ms, qemu->outside_downtime_ms);
	(void)fflush(out); /* main looks at it again */
}

static int run_pairs(const struct bench_options *options,
		     const struct pattern *pattern, enum tide_tracker tracker,
		     int kernel_fd, bool *ret_kvm)
{
	unsigned int pairs = options->rounds ? options->rounds : PAIRS;
	int err = 0;

	for (unsigned int i = 0; !err && i < pairs; i++) {
		struct ours_times ours = { 0 };
		struct qemu_times qemu = { 0 };

		err = sample_ours(pattern, tracker, &ours);
		if (!err)
			err = sample_qemu(kernel_fd, &qemu, ret_kvm);
		if (err)
			break;
		tell_pair(options, i + 1, &ours, &qemu);
		add_pair(&ours, &qemu);
	}
	if (interrupt_pending()) {
		(void)tool_error("interrupted");
		err = -EINTR;
	}
	return err;
}

static void report(const struct bench_options *options,
		   const struct pattern *pattern, const char *version, bool kvm)
{
	static char against[160];

	(void)snprintf(against, sizeof(against),
		       "QEMU %s, %s; 1 GiB, %s, downtime at most %u ms",
		       version, kvm ? "KVM" : "TCG: no fair peer",
		       pattern->what, DOWNTIME_MS);
	for (unsigned int i = 0; i < FIGURES; i++) {
		struct bench_figure figure = figures[i];
		char name[64];

		(void)snprintf(name, sizeof(name), "%s%s", figure.name,
			       pattern->suffix);
		figure.name = name;
		figure.against = against;
		bench_report(options, &figure);
		figures[i].n = 0;
	}
}

/* One QEMU without a guest to speak of, to be asked.  Return: as bench. */
static int ask_version(int kernel_fd, char *version, size_t size)
{
	struct qemu qemu;
	int err = qemu_start(&qemu, kernel_fd, -1, MEMORY);

	if (!err)
		err = qemu_version(&qemu, version, size);
	qemu_end(&qemu);
	return err;
}

/* Is a figure of this pattern asked for? */
static bool is_wanted(const struct bench_options *options,
		      const struct pattern *pattern)
{
	char name[64];

	for (unsigned int i = 0; i < FIGURES && options->name; i++) {
		(void)snprintf(name, sizeof(name), "%s%s", figures[i].name,
			       pattern->suffix);
		if (strcmp(name, options->name) == 0)
			return true;
	}
	return !options->name;
}

static int run_pattern(const struct bench_options *options,
		       const struct pattern *pattern, enum tide_tracker tracker)
{
	char version[32] = "";
	bool kvm = false;
	int kernel_fd = make_kernel(pattern);
	int err;

	if (kernel_fd < 0)
		return bench_skip(options, "migrate", strerror(-kernel_fd));
	err = ask_version(kernel_fd, version, sizeof(version));
	if (!err)
		err = run_pairs(options, pattern, tracker, kernel_fd, &kvm);
	close(kernel_fd);
	if (!err)
		report(options, pattern, version, kvm);
	return err;
}

int bench_migrate(const struct bench_options *options)
{
	enum tide_tracker tracker = TIDE_TRACKER_NONE;
	char why[256];
	int err = 0;

	if (access("/dev/kvm", R_OK | W_OK) != 0)
		return bench_skip(options, "migrate",
				  "/dev/kvm cannot be opened");
	if (!qemu_path())
		return bench_skip(options, "migrate",
				  "no QEMU: apt install qemu-system-x86");
	if (interrupt_start() >= 0 ||
	    names_best_tracker(&tracker, why, sizeof(why)) >= 0)
		return bench_skip(options, "migrate", "no tracker works here");
	for (size_t i = 0; !err && i < PATTERNS; i++)
		if (is_wanted(options, &patterns[i]))
			err = run_pattern(options, &patterns[i], tracker);
	return err;
}
