/* SPDX-License-Identifier: MIT */
/*
 * cmd_demo.c - tidemark demo: move a running guest and prove it
 *
 * The source guest runs in this process, the destination in a second one.
 * Two proofs: at the hand-over every page is compared byte by byte
 * (prove.h), and after the guest ran on over there its own oracle looks at
 * its memory.
 */
#include "cmdline.h"
#include "destination.h"
#include "interrupt.h"
#include "names.h"
#include "progress.h"
#include "prove.h"
#include "tool.h"
#include "transfer.h"
#include "units.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS 1000000ull
#define DEADLINE_NS (600000 * NS_PER_MS)

struct demo {
	uint64_t memory_bytes;
	uint64_t vcpus;
	uint64_t slots;
	uint64_t seed;
	uint64_t warm_up_ns;
	uint64_t run_on_ns;
	enum tide_workload workload;
	enum tide_tracker tracker;
	enum tide_paging_mode paging;
	const char *paging_text; /* NULL: not asked for */
	int device;
	int json;
	char why[1024]; /* this tracker */

	struct progress progress;
	struct tide_vm *vm;
	struct transfer transfer;
	struct prove_result proof;
	uint64_t writes; /* counted by the guest, at both places */
	int check;	 /* as tide_vm_check() */
	char check_message[256];
};

static int parse(struct demo *demo, int argc, char **argv)
{
	struct transfer *transfer = &demo->transfer;
	const struct option_spec specs[] = {
		{ "tracker", OPTION_GUEST_TRACKER, &demo->tracker, "NAME",
		  "default: the best that works; soft needs no KVM", 0, 0 },
		{ "paging", OPTION_TEXT, &demo->paging_text, "MODE",
		  "of a soft guest: none, x86-64 or sv39", 0, 0 },
		{ "memory", OPTION_SIZE, &demo->memory_bytes, "SIZE",
		  "of the guest, default 256M", 16ull << 20, 1ull << 42 },
		{ "vcpus", OPTION_COUNT, &demo->vcpus, "N", "1 to 4", 1, 4 },
		{ "slots", OPTION_COUNT, &demo->slots, "N",
		  "cut memory into so many slots", 1, 32 },
		{ "workload", OPTION_WORKLOAD, &demo->workload, "NAME",
		  "walker, random, atomic, hot or script", 0, 0 },
		{ "seed", OPTION_COUNT, &demo->seed, "S", "of the workload", 0,
		  0 },
		{ "downtime", OPTION_TIME_MS, &transfer->downtime_ns, "MS",
		  "allowed, default 300", 0, 0 },
		{ "bandwidth", OPTION_SIZE, &transfer->bandwidth, "RATE",
		  "bytes a second at most, such as 100M", 1, 0 },
		{ "rounds", OPTION_COUNT, &transfer->rounds_max, "N",
		  "then stop and send the rest, default 30", 1, 100000 },
		{ "device", OPTION_FLAG, &demo->device, NULL,
		  "a device model writes and marks", 0, 0 },
		{ "warm-up", OPTION_TIME_MS, &demo->warm_up_ns, "MS",
		  "run before moving, default 300", 0, 0 },
		{ "run-on", OPTION_TIME_MS, &demo->run_on_ns, "MS",
		  "run after moving, default 500", 0, 0 },
		{ "lose-page", OPTION_FLAG, &transfer->lose_page, NULL,
		  "lose one on purpose: the verdict must say so", 0, 0 },
		{ "json", OPTION_FLAG, &demo->json, NULL,
		  "one object about everything", 0, 0 },
		{ 0 },
	};
	const struct options options = {
		.usage = "demo [OPTION]...",
		.summary = "Move a running guest to another process and prove "
			   "that not a byte was lost.",
		.specs = specs,
	};
	int first;
	int status = options_parse(&options, argc, argv, &first);

	if (status >= 0)
		return status;
	if (demo->memory_bytes % TIDE_PAGE_SIZE != 0)
		return tool_error("--memory: use a multiple of 4K");
	return names_soft_paging(demo->paging_text, &demo->tracker,
				 &demo->paging);
}

/* Let the guest run.  Return: -1, else the exit status. */
static int pause_for(uint64_t ns)
{
	struct pollfd interrupt = { .fd = interrupt_fd(), .events = POLLIN };

	if (poll(&interrupt, 1, (int)(ns / NS_PER_MS)) > 0)
		return tool_error("interrupted");
	return -1;
}

static int watch(void *opaque, const struct tide_migrate_stats *stats)
{
	struct demo *demo = opaque;

	progress_transfer(&demo->progress, stats->rounds,
			  stats->round_pages_done, stats->round_pages,
			  stats->bandwidth, stats->expected_downtime_ns);
	/* So that the guest's oracle can tell old pages from new ones.  We are
	 * a writer here, and writers have stopped before the last harvest. */
	if (demo->workload == TIDE_WORKLOAD_RANDOM &&
	    stats->phase == TIDE_MIGRATE_PRECOPY)
		tide_vm_iteration(demo->vm, stats->rounds + 1);
	return interrupt_pending();
}

static int start_source(struct demo *demo)
{
	const struct tide_vm_config config = {
		.workload = demo->workload,
		.vcpus = (uint32_t)demo->vcpus,
		.memory_bytes = demo->memory_bytes,
		.slots = (uint32_t)demo->slots,
		.seed = demo->seed,
		.device = demo->device,
		.tracker = demo->tracker,
		.paging = demo->paging,
	};
	int err = tide_vm_create(&config, &demo->vm);

	if (err)
		return tool_error("the guest could not be made: %s",
				  strerror(-err));
	err = tide_vm_run(demo->vm);
	if (err)
		return tool_error("the guest does not run: %s", strerror(-err));
	return pause_for(demo->warm_up_ns);
}

static int move(struct demo *demo, struct destination *destination)
{
	int err = transfer_send(&demo->transfer, demo->vm,
				destination->stream_fd);

	progress_clear(&demo->progress);
	if (err)
		return tool_error("migration failed: %s",
				  demo->transfer.message);

	err = prove_compare(demo->vm, destination->prove_fd, &demo->proof);
	if (err)
		return tool_error("memory could not be compared: %s",
				  strerror(-err));
	return -1;
}

static int run_on(struct demo *demo, struct destination *destination)
{
	int status = pause_for(demo->run_on_ns);

	if (status >= 0)
		return status;
	demo->check = destination_stop_guest(destination, demo->check_message,
					     sizeof(demo->check_message),
					     &demo->writes);
	if (demo->check < 0)
		return tool_error("the guest could not be checked: %s: %s",
				  demo->check_message, strerror(-demo->check));
	return -1;
}

static int all_verified(const struct demo *demo)
{
	return demo->proof.pages << TIDE_PAGE_SHIFT == demo->memory_bytes &&
	       demo->transfer.stats.memory_bytes == demo->memory_bytes;
}

static int verdict(const struct demo *demo)
{
	int good =
		demo->proof.lost == 0 && all_verified(demo) && demo->check == 0;

	return good ? TOOL_OK : TOOL_LOST;
}

static void print_intro(const struct demo *demo)
{
	printf("tracker    %s: %s\n", tide_tracker_name(demo->tracker),
	       demo->why);
	printf("guest      %s, %" PRIu64 " %svCPU%s, %s%s",
	       names_of_workload(demo->workload), demo->vcpus,
	       names_tracker_is_soft(demo->tracker) ? "software " : "",
	       demo->vcpus == 1 ? "" : "s", units_size(demo->memory_bytes).text,
	       demo->device ? ", a device that writes" : "");
	if (demo->paging != TIDE_PAGING_NONE)
		printf(", %s page tables", names_of_paging(demo->paging));
	putchar('\n');
	(void)fflush(stdout); /* main looks at it again */
}

static void print_rounds(const struct transfer *transfer)
{
	for (uint32_t i = 0; i < transfer->round_count; i++) {
		const struct transfer_round *round = &transfer->rounds[i];

		/* A long tail of rounds is of no interest in the middle. */
		if (i >= 6 && i + 3 < transfer->round_count) {
			if (i == 6)
				printf("           ...\n");
			continue;
		}
		printf("round %-4u %8" PRIu64 " pages  sent %s by %s%s\n",
		       i + 1, round->pages, units_size(round->bytes).text,
		       units_time(round->ns).text,
		       i + 1 == transfer->round_count ? "  (guest stopped)"
						      : "");
	}
}

static void print_lost(const struct demo *demo)
{
	if (demo->proof.lost == 0)
		return;
	printf("lost gfns ");
	for (uint64_t i = 0; i < demo->proof.lost && i < PROVE_FIRST; i++)
		printf(" 0x%" PRIx64, demo->proof.first[i]);
	printf("%s\n", demo->proof.lost > PROVE_FIRST ? " ..." : "");
}

static void print_result(const struct demo *demo)
{
	const struct tide_migrate_stats *stats = &demo->transfer.stats;

	print_rounds(&demo->transfer);
	printf("moved      %s in %s at %s/s\n",
	       units_size(stats->bytes_sent).text,
	       units_time(stats->total_ns).text,
	       units_size(stats->bandwidth).text);
	printf("downtime   %s (stop %s, last harvest %s, state %s, hand-over "
	       "%s)\n",
	       units_time(stats->downtime_ns).text,
	       units_time(stats->stop_ns).text,
	       units_time(stats->final_harvest_ns).text,
	       units_time(stats->state_ns).text,
	       units_time(stats->handover_ns).text);
	printf("verified   %" PRIu64 " of %" PRIu64
	       " pages byte by byte, %" PRIu64 " lost\n",
	       demo->proof.pages, demo->memory_bytes >> TIDE_PAGE_SHIFT,
	       demo->proof.lost);
	print_lost(demo);
	printf("ran on     %s, %" PRIu64 " page writes in all: memory is %s%s"
	       "%s\n",
	       units_time(demo->run_on_ns).text, demo->writes,
	       demo->check ? "WRONG" : "right", demo->check ? ": " : "",
	       demo->check_message);
	printf("verdict    %s\n",
	       verdict(demo) == TOOL_OK ? "nothing was lost" : "LOST");
}

static void put(json_t *object, const char *key, uint64_t value)
{
	(void)json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void put_guest(json_t *object, const struct demo *demo)
{
	(void)json_object_set_new(
		object, "workload",
		json_string(names_of_workload(demo->workload)));
	(void)json_object_set_new(object, "paging",
				  json_string(names_of_paging(demo->paging)));
	put(object, "vcpus", demo->vcpus);
	put(object, "slots", demo->slots);
	put(object, "seed", demo->seed);
	(void)json_object_set_new(object, "device", json_boolean(demo->device));
}

static void put_proof(json_t *object, const struct demo *demo)
{
	json_t *gfns = json_array();

	for (uint64_t i = 0; i < demo->proof.lost && i < PROVE_FIRST; i++)
		(void)json_array_append_new(
			gfns, json_integer((json_int_t)demo->proof.first[i]));
	put(object, "pages_verified", demo->proof.pages);
	put(object, "lost_pages", demo->proof.lost);
	(void)json_object_set_new(object, "lost_gfns", gfns);
	put(object, "run_on_ns", demo->run_on_ns);
	put(object, "guest_writes", demo->writes);
	(void)json_object_set_new(object, "check_holds",
				  json_boolean(demo->check == 0));
	(void)json_object_set_new(object, "check_message",
				  json_string(demo->check_message));
	(void)json_object_set_new(object, "verdict",
				  json_string(verdict(demo) == TOOL_OK
						      ? "nothing lost"
						      : "lost"));
}

static void print_json(const struct demo *demo)
{
	json_t *object = json_object();
	json_t *stats = transfer_stats_json(&demo->transfer.stats);

	(void)json_object_set_new(
		object, "tracker",
		json_string(tide_tracker_name(demo->tracker)));
	(void)json_object_set_new(object, "tracker_why",
				  json_string(demo->why));
	put_guest(object, demo);
	(void)json_object_update(object, stats);
	json_decref(stats);
	put(object, "downtime_target_ns", demo->transfer.downtime_ns);
	(void)json_object_set_new(object, "round_list",
				  transfer_rounds_json(&demo->transfer));
	put(object, "hold_ns_max", demo->transfer.space.hold_ns_max);
	(void)json_object_set_new(object, "hold_histogram",
				  transfer_holds_json(&demo->transfer.space));
	put_proof(object, demo);
	(void)json_dumpf(object, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(object);
}

static int choose_tracker(struct demo *demo)
{
	if (demo->tracker == TIDE_TRACKER_NONE)
		return names_best_tracker(&demo->tracker, demo->why,
					  sizeof(demo->why));
	(void)snprintf(demo->why, sizeof(demo->why), "as asked for");
	return names_usable_tracker(demo->tracker);
}

static int run(struct demo *demo, struct destination *destination)
{
	int status = start_source(demo);

	if (status < 0)
		status = move(demo, destination);
	if (status < 0)
		status = run_on(demo, destination);
	return status;
}

int cmd_demo(int argc, char **argv)
{
	static struct demo demo = {
		.memory_bytes = 256ull << 20,
		.vcpus = 1,
		.slots = 1,
		.seed = 1,
		.warm_up_ns = 300 * NS_PER_MS,
		.run_on_ns = 500 * NS_PER_MS,
		.workload = TIDE_WORKLOAD_WALKER,
		.transfer = { .downtime_ns = 300 * NS_PER_MS,
			      .deadline_ns = DEADLINE_NS },
	};
	struct destination destination;
	int status = parse(&demo, argc, argv);

	if (status >= 0)
		return status;
	demo.transfer.watch = watch;
	demo.transfer.opaque = &demo;
	progress_init(&demo.progress, demo.json);

	status = interrupt_start();
	if (status < 0)
		status = choose_tracker(&demo);
	if (status >= 0)
		return status;
	if (!demo.json)
		print_intro(&demo);
	/* Before there are vCPU threads and a VM to inherit. */
	status = destination_start(demo.tracker, true, &destination);
	if (status >= 0)
		return status;
	status = run(&demo, &destination);
	destination_end(&destination);
	tide_vm_destroy(demo.vm);
	if (status >= 0)
		return status;
	if (demo.json)
		print_json(&demo);
	else
		print_result(&demo);
	return verdict(&demo);
}
