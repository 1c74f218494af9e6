/* SPDX-License-Identifier: MIT */
/*
 * cmd_soak.c - tidemark soak: look for lost pages until the time is up
 *
 * Random operations from a seed on every tracker that works here, each run
 * compared with an oracle (the conformance engine of the tests), and now and
 * then a whole migration by tidemark demo, which proves itself.
 */
#include "backends.h"
#include "cmdline.h"
#include "interrupt.h"
#include "names.h"
#include "progress.h"
#include "tool.h"
#include "units.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#define NS_PER_MS 1000000ull
#define MIGRATE_EVERY_NS (15000 * NS_PER_MS)
#define RUN_BACKENDS_MAX 16

struct soak {
	uint64_t time_ns;
	uint64_t seed;
	enum tide_tracker tracker;
	int json;

	const struct conform_backend *backends[RUN_BACKENDS_MAX];
	unsigned int backend_count;
	struct progress progress;
	uint64_t begin_ns;
	uint64_t migrated_ns; /* when the last one ended */
	uint64_t runs;
	uint64_t migrations;
	struct conform_report sum;
	char message[4096]; /* what was lost */
	char how[512];	    /* and how to see it again */
};

/* splitmix64: one step of it is a fine hash of a seed and a number. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static void choose_backend(struct soak *soak,
			   const struct conform_backend *backend)
{
	char why[256];

	if (soak->backend_count == RUN_BACKENDS_MAX)
		return;
	if (soak->tracker != TIDE_TRACKER_NONE &&
	    soak->tracker != backend->tracker)
		return;
	if (names_tracker_works(backend->tracker, why, sizeof(why)))
		soak->backends[soak->backend_count++] = backend;
	else if (!soak->json && soak->tracker == TIDE_TRACKER_NONE)
		printf("%s is left out: %s\n", backend->name, why);
}

static int choose_backends(struct soak *soak)
{
	enum tide_tracker best = soak->tracker;
	char why[256];
	int status = best == TIDE_TRACKER_NONE
			     ? names_best_tracker(&best, why, sizeof(why))
			     : names_usable_tracker(best);

	if (status >= 0)
		return status;
	for (unsigned int i = 0; conform_kvm[i]; i++)
		choose_backend(soak, conform_kvm[i]);
	for (unsigned int i = 0; conform_soft[i]; i++)
		choose_backend(soak, conform_soft[i]);
	if (soak->backend_count == 0)
		return tool_error("no tracker is left to try");
	return -1;
}

static void add_report(struct conform_report *sum,
		       const struct conform_report *report)
{
	sum->writes += report->writes;
	sum->marks += report->marks;
	sum->harvests += report->harvests;
	sum->yielded += report->yielded;
	sum->faults += report->faults;
}

/* One run of the engine.  Return: -1 to go on, else the exit status. */
static int run_once(struct soak *soak, const struct conform_backend *backend,
		    uint64_t seed)
{
	uint64_t shape = mix(seed);
	struct conform_report report = { 0 };
	const struct conform_options options = {
		.operations = 60 + (uint32_t)(shape % 200),
		.slots = 1 + (uint32_t)(shape >> 16) % 8,
		.clients = 1 + (uint32_t)(shape >> 24) % 3,
		.report = &report,
	};
	int result = conform_run(backend, &options, seed, soak->message,
				 sizeof(soak->message));

	if (result < 0)
		return tool_error("%s: %s", backend->name, strerror(-result));
	if (result > 0) {
		(void)snprintf(soak->how, sizeof(soak->how),
			       "%s, run %" PRIu64 " of seed %" PRIu64,
			       backend->name, soak->runs, soak->seed);
		return TOOL_LOST;
	}
	add_report(&soak->sum, &report);
	soak->runs++;
	return -1;
}

/* Of the child process: argv is what "tidemark" was given. */
static int run_self(const char *const *argv)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

		(void)dup2(null_fd, STDOUT_FILENO); /* noise at worst */
		interrupt_child();
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	if (child < 0)
		return tool_error("fork: %s", strerror(errno));
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : TOOL_HOST;
}

static int migrate_once(struct soak *soak)
{
	static const char *const workloads[] = { "walker", "random", "atomic",
						 "hot" };
	uint64_t seed = mix(soak->seed + soak->migrations) >> 1;
	const char *tracker = tide_tracker_name(
		soak->backends[soak->migrations % soak->backend_count]
			->tracker);
	const char *workload = workloads[seed % 4];
	char seed_text[32];
	char vcpus[2] = { (char)('1' + (seed >> 8) % 4), '\0' };
	const char *const argv[] = {
		"tidemark", "demo",
		"--json",   "--memory",
		"32M",	    "--downtime",
		"20",	    "--seed",
		seed_text,  "--tracker",
		tracker,    "--vcpus",
		vcpus,	    "--workload",
		workload,   (seed >> 16) % 2 ? "--device" : NULL,
		NULL,
	};
	int status;

	(void)snprintf(seed_text, sizeof(seed_text), "%" PRIu64, seed);
	status = run_self(argv);
	soak->migrated_ns = tool_now_ns();
	if (status == TOOL_OK) {
		soak->migrations++;
		return -1;
	}
	if (interrupt_pending())
		return -1; /* the same Ctrl-C hit both of us */
	(void)snprintf(soak->how, sizeof(soak->how),
		       "tidemark demo --memory 32M --downtime 20 --seed %s "
		       "--tracker %s --vcpus %s --workload %s%s",
		       seed_text, tracker, vcpus, workload,
		       (seed >> 16) % 2 ? " --device" : "");
	(void)snprintf(soak->message, sizeof(soak->message),
		       "a migration ended with status %d", status);
	return status == TOOL_LOST
		       ? TOOL_LOST
		       : tool_error("%s: %s", soak->how, soak->message);
}

static void show(struct soak *soak)
{
	uint64_t gone = tool_now_ns() - soak->begin_ns;
	char text[96];

	(void)snprintf(text, sizeof(text),
		       "%" PRIu64 " runs, %" PRIu64 " migrations", soak->runs,
		       soak->migrations);
	progress_draw(&soak->progress, "soak", gone, soak->time_ns, text);
}

/* Return: -1 when the time is up and nothing was lost, else the status. */
static int soak_on(struct soak *soak)
{
	uint64_t turn = 0;
	int status = -1;

	/* The first whole migration comes soon: a short soak has one, too. */
	while (status < 0 && !interrupt_pending() &&
	       tool_now_ns() - soak->begin_ns < soak->time_ns) {
		unsigned int which = (unsigned int)(turn % soak->backend_count);

		status = run_once(soak, soak->backends[which],
				  mix(soak->seed + turn / soak->backend_count));
		turn++;
		show(soak);
		if (status < 0 &&
		    tool_now_ns() - soak->migrated_ns >= MIGRATE_EVERY_NS)
			status = migrate_once(soak);
	}
	progress_clear(&soak->progress);
	return status;
}

static void print_text(const struct soak *soak, int status)
{
	printf("%" PRIu64 " runs: %" PRIu64 " guest writes, %" PRIu64
	       " marks, %" PRIu64 " harvests, %" PRIu64
	       " pages yielded; %" PRIu64 " migrations; %s\n",
	       soak->runs, soak->sum.writes, soak->sum.marks,
	       soak->sum.harvests, soak->sum.yielded, soak->migrations,
	       units_time(tool_now_ns() - soak->begin_ns).text);
	if (status < 0)
		printf("nothing was lost (seed %" PRIu64 ")\n", soak->seed);
	else
		printf("LOST: %s\n%s\n", soak->how, soak->message);
}

static int runs_on(const struct soak *soak, enum tide_tracker tracker)
{
	for (unsigned int i = 0; i < soak->backend_count; i++)
		if (soak->backends[i]->tracker == tracker)
			return 1;
	return 0;
}

static void print_json(const struct soak *soak, int status)
{
	json_t *object = json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:s, s:s}",
		"seed", (json_int_t)soak->seed, "time_ns",
		(json_int_t)(tool_now_ns() - soak->begin_ns), "runs",
		(json_int_t)soak->runs, "guest_writes",
		(json_int_t)soak->sum.writes, "marks",
		(json_int_t)soak->sum.marks, "harvests",
		(json_int_t)soak->sum.harvests, "pages_yielded",
		(json_int_t)soak->sum.yielded, "migrations",
		(json_int_t)soak->migrations, "lost", status == TOOL_LOST,
		"how", soak->how, "message", soak->message);
	json_t *names = json_array();

	for (unsigned int i = 0; i < TIDE_TRACKER_COUNT; i++) {
		enum tide_tracker tracker = (enum tide_tracker)i;

		if (runs_on(soak, tracker))
			(void)json_array_append_new(
				names, json_string(tide_tracker_name(tracker)));
	}
	(void)json_object_set_new(object, "trackers", names);
	(void)json_dumpf(object, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(object);
}

static int parse(struct soak *soak, int argc, char **argv)
{
	uint64_t no_seed = UINT64_MAX;
	const struct option_spec specs[] = {
		{ "minutes", OPTION_TIME_MIN, &soak->time_ns, "N",
		  "how long; needed; 30s is a time, too", 1, 0 },
		{ "tracker", OPTION_TRACKER, &soak->tracker, "NAME",
		  "this one only", 0, 0 },
		{ "seed", OPTION_COUNT, &soak->seed, "S",
		  "of everything; default: a random one", 0, 0 },
		{ "json", OPTION_FLAG, &soak->json, NULL,
		  "one object about the result", 0, 0 },
		{ 0 },
	};
	const struct options options = {
		.usage = "soak --minutes N [OPTION]...",
		.summary = "Random operations against every tracker, until "
			   "the time is up or a page is lost.",
		.specs = specs,
	};
	int first;
	int status;

	soak->seed = no_seed;
	status = options_parse(&options, argc, argv, &first);
	if (status >= 0)
		return status;
	if (soak->time_ns == 0)
		return tool_error("--minutes: say how long");
	if (soak->seed == no_seed) {
		uint32_t random = 1;

		/* Short, so that people can type it; 1 will do as well. */
		(void)!getrandom(&random, sizeof(random), 0);
		soak->seed = random;
	}
	return -1;
}

int cmd_soak(int argc, char **argv)
{
	static struct soak soak;
	int status = parse(&soak, argc, argv);

	if (status < 0)
		status = interrupt_start();
	if (status < 0)
		status = choose_backends(&soak);
	if (status >= 0)
		return status;

	progress_init(&soak.progress, soak.json);
	soak.begin_ns = tool_now_ns();
	if (!soak.json)
		printf("seed %" PRIu64 "\n", soak.seed);
	(void)fflush(stdout); /* main looks at it again */
	status = soak_on(&soak);
	if (status == TOOL_HOST)
		return status;
	if (soak.json)
		print_json(&soak, status);
	else
		print_text(&soak, status);
	return status < 0 ? TOOL_OK : status;
}
