/* SPDX-License-Identifier: MIT */
/*
 * cmd_bench.c - tidemark bench: measure, against something
 *
 * One benchmark after the other, in this process.  What it was measured on
 * goes first: a figure without its machine says nothing.
 */
#include "bench.h"

#include "cmdline.h"
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <tidemark/version.h>
#include <unistd.h>

#ifdef __OPTIMIZE__
#define OPTIMISED "optimised"
#else
#define OPTIMISED "NOT optimised"
#endif
#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITISED ", sanitized"
#else
#define SANITISED ""
#endif

static const struct bench benches[] = {
	{ "mark", "mark-clean-ratio mark-dirty-ratio", bench_mark },
	{ "empty", "empty-harvest-ratio", bench_empty },
	{ "wp", "wp-ratio-1 wp-ratio-10 wp-ratio-100", bench_wp },
	{ "attach",
	  "attach-p50-us attach-p99-us attach-2000-threads-ms "
	  "attach-10000-mappings-ms",
	  bench_attach },
	{ "redis",
	  "redis-watched-ratio redis-watched-cpu-ratio redis-plain-kops "
	  "redis-watched-ratio-16 redis-watched-cpu-ratio-16 "
	  "redis-plain-kops-16",
	  bench_redis },
	{ "idle", "watch-idle-percent watch-idle-start-ms", bench_idle },
	{ "plan", "plan-median-error-percent plan-verdicts-right", bench_plan },
	{ "trace",
	  "trace-bytes-per-page trace-entropy-ratio "
	  "trace-bytes-per-page-again trace-write-ns trace-read-ns",
	  bench_trace },
	{ "rollback",
	  "rollback-ratio rollback-speedup rollback-p50-us rollback-p99-us",
	  bench_rollback },
	{ "harvest",
	  "harvest-ratio-1 harvest-ratio-10 harvest-ratio-100 "
	  "harvest-ratio-1-kvm-get harvest-ratio-10-kvm-get "
	  "harvest-ratio-100-kvm-get harvest-ratio-1-kvm-ring "
	  "harvest-ratio-10-kvm-ring harvest-ratio-100-kvm-ring",
	  bench_harvest },
	{ "tlb", "tlb-hit-ratio tlb-hit-load-ratio", bench_tlb },
	{ "fault",
	  "fast-fault-speedup fast-fault-ns slow-fault-ns "
	  "fast-fault-speedup-in-order fast-fault-ns-in-order "
	  "slow-fault-ns-in-order",
	  bench_fault },
	{ "scaling", "fault-scaling-2 fault-scaling-2-raw", bench_scaling },
	{ "log",
	  "log-start-64g-ms get-sparse-ratio get-sparse-cold-ratio "
	  "get-sparse-clear-ratio get-sparse-us",
	  bench_log },
	{ "flush",
	  "flush-p50-us flush-p99-us flush-raw-p50-us flush-raw-p99-us",
	  bench_flush },
	{ "overhead", "mmu-overhead-percent mmu-table-percent",
	  bench_overhead },
	{ "tables",
	  "pt-write-ns-1 pt-emulated-1 pt-cycle-us-1 pt-unsync-us-1 "
	  "pt-write-ns-8 pt-emulated-8 pt-cycle-us-8 pt-unsync-us-8 "
	  "pt-write-ns-64 pt-emulated-64 pt-cycle-us-64 pt-unsync-us-64 "
	  "pt-write-ns-512 pt-emulated-512 pt-cycle-us-512 pt-unsync-us-512",
	  bench_tables },
	{ "large",
	  "large-touch-ns small-touch-ns large-log-start-ms "
	  "small-log-start-ms large-log-harvest-ms small-log-harvest-ms "
	  "large-log-touch-ns small-log-touch-ns",
	  bench_large },
	{ "migrate",
	  "migrate-total-ratio migrate-downtime-ratio migrate-total-ms "
	  "migrate-downtime-ms qemu-total-ms qemu-downtime-ms "
	  "qemu-outside-total-ms qemu-outside-downtime-ms "
	  "migrate-total-ratio-full migrate-downtime-ratio-full "
	  "migrate-total-ms-full migrate-downtime-ms-full "
	  "qemu-total-ms-full qemu-downtime-ms-full "
	  "qemu-outside-total-ms-full qemu-outside-downtime-ms-full",
	  bench_migrate },
};
#define BENCHES (sizeof(benches) / sizeof(benches[0]))
#define FIGURES_MAX 128

static char figure_words[BENCHES][512];
static const char *words[FIGURES_MAX]; /* benchmarks, then figures */
static const struct bench *bench_of[FIGURES_MAX];
static unsigned int word_count;

static void add_word(const char *word, const struct bench *bench)
{
	if (word_count == FIGURES_MAX)
		return;
	words[word_count] = word;
	bench_of[word_count++] = bench;
}

/* Every name that can be asked for. */
static void list_words(void)
{
	for (size_t i = 0; i < BENCHES; i++)
		add_word(benches[i].name, &benches[i]);
	for (size_t i = 0; i < BENCHES; i++) {
		char *save, *word;

		(void)snprintf(figure_words[i], sizeof(figure_words[i]), "%s",
			       benches[i].figures);
		word = strtok_r(figure_words[i], " ", &save);
		for (; word; word = strtok_r(NULL, " ", &save))
			add_word(word, &benches[i]);
	}
}

static void print_list(void)
{
	printf("\nBenchmarks, and their figures:\n");
	for (size_t i = 0; i < BENCHES; i++) {
		printf("  %s\n", benches[i].name);
		for (unsigned int w = BENCHES; w < word_count; w++)
			if (bench_of[w] == &benches[i])
				printf("    %s\n", words[w]);
	}
}

/* The first "model name" of /proc/cpuinfo. */
static void machine_name(char *name, size_t size)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256];

	(void)snprintf(name, size, "unknown CPU");
	while (file && fgets(line, sizeof(line), file)) {
		const char *value = strchr(line, ':');

		if (strncmp(line, "model name", 10) != 0 || !value)
			continue;
		value += strspn(value, ": \t");
		(void)snprintf(name, size, "%.*s", (int)strcspn(value, "\n"),
			       value);
		break;
	}
	if (file)
		(void)fclose(file); /* only read */
}

static void print_header(FILE *out)
{
	struct utsname kernel;
	char machine[128];

	machine_name(machine, sizeof(machine));
	if (uname(&kernel) != 0)
		(void)snprintf(kernel.release, sizeof(kernel.release), "?");
	fprintf(out, "# %s, %ld CPUs; %s; tidemark %s, %s, %s%s\n", machine,
		sysconf(_SC_NPROCESSORS_ONLN), kernel.release, tide_version(),
		COMPILER, OPTIMISED, SANITISED);
	(void)fflush(out); /* main looks at it again */
}

static int find_word(const char *word, unsigned int *ret)
{
	const char *near;

	for (unsigned int i = 0; i < word_count; i++) {
		if (strcmp(words[i], word) == 0) {
			*ret = i;
			return -1;
		}
	}
	near = tool_nearest(word, words, word_count);
	if (near)
		return tool_error("no benchmark '%s': did you mean '%s'?", word,
				  near);
	return tool_error("no benchmark '%s': --help lists them", word);
}

static int exit_status(const char *name, unsigned int ran, int failed)
{
	if (failed == -EBADMSG)
		return TOOL_LOST;
	if (failed)
		return TOOL_HOST;
	if (!ran)
		return tool_error("%s: cannot run here", name);
	return TOOL_OK;
}

/* @only: one benchmark, or NULL for all. */
static int run(const struct bench_options *options, const struct bench *only)
{
	unsigned int ran = 0;
	int failed = 0;

	for (size_t i = 0; i < BENCHES && failed >= 0; i++) {
		int ret;

		if (only && only != &benches[i])
			continue;
		ret = benches[i].run(options);
		if (ret == 0)
			ran++;
		if (ret < 0)
			failed = ret;
	}
	return exit_status(only ? only->name : "bench", ran, failed);
}

int cmd_bench(int argc, char **argv)
{
	struct bench_options wanted = { .against = "qemu" };
	const struct bench *only = NULL;
	uint64_t rounds = 0;
	int json = 0;
	const struct option_spec specs[] = {
		{ "json", OPTION_FLAG, &json, NULL, "one object a figure", 0,
		  0 },
		{ "against", OPTION_TEXT, &wanted.against, "PEER",
		  "of migrate: qemu, the default", 0, 0 },
		{ "rounds", OPTION_COUNT, &rounds, "N",
		  "samples of each figure; each benchmark has its default", 1,
		  BENCH_SAMPLES_MAX },
		{ 0 },
	};
	const struct options options = {
		.usage = "bench [NAME] [OPTION]...",
		.summary = "Measure; NAME is a benchmark or one of its "
			   "figures, default all.",
		.specs = specs,
		.operands_max = 1,
	};
	int first = 0;
	int status = options_parse(&options, argc, argv, &first);

	list_words();
	if (status == TOOL_OK)
		print_list();
	if (status >= 0)
		return status;
	if (strcmp(wanted.against, "qemu") != 0)
		return tool_error("--against: '%s': only qemu is known",
				  wanted.against);
	if (first < argc) {
		unsigned int word = 0;

		status = find_word(argv[first], &word);
		if (status >= 0)
			return status;
		only = bench_of[word];
		wanted.name = word < BENCHES ? NULL : words[word];
	}
	wanted.json = json != 0;
	wanted.rounds = (unsigned int)rounds;
	print_header(json ? stderr : stdout);
	return run(&wanted, only);
}
