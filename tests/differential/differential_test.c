/* SPDX-License-Identifier: MIT */
/*
 * differential_test.c - the software MMU against the kernel's, answer by
 * answer
 *
 * Random traces (guest writes, host writes, GET, CLEAR of ranges, harvest and
 * reset of rings, slots added, moved, deleted, logging on and off, options in
 * every order, bad arguments of every kind) run on /dev/kvm and on the
 * software MMU; bits, counts and errno values must be the same.  Where the
 * two may differ is listed in random_calls.c, with the reason, and printed by
 * --help; everything else fails, with the seed, the operations that are
 * enough, and both answers.
 *
 * Usage: differential_test [-n TRACES] [--seed SEED] [--self] [--help]
 */
#undef NDEBUG /* a test without its asserts tests nothing */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>

#include "../conformance/test_support.h"
#include "random_calls.h"

#define TRACES_DEFAULT 300u
#define MESSAGE_SIZE 8192

static struct {
	uint64_t traces, seed;
	const struct side *right;
	struct trace_stats stats;
} run;

/* Every mode gets its share of the traces. */
static void test_mode(void **state)
{
	static char message[MESSAGE_SIZE];
	const enum trace_mode *mode = *state;
	uint64_t share = (run.traces + TRACE_MODES - 1) / TRACE_MODES;

	for (uint64_t i = 0; i < share; i++) {
		const struct trace_options options = {
			.left = &side_kvm,
			.right = run.right,
			.mode = *mode,
			.seed = run.seed + i,
			.stats = &run.stats,
		};
		int result = trace_run(&options, message, sizeof(message));

		if (result < 0)
			SKIP("differential", "/dev/kvm: %s", strerror(-result));
		if (result) {
			printf("# %s", message);
			fail_msg("%s", "the answers differ, see above");
		}
	}
}

static void print_known(FILE *to, const char *indent)
{
	fprintf(to, "%sKnown differences:\n", indent);
	for (unsigned int i = 0; i < KNOWN_COUNT; i++) {
		fprintf(to, "%s%2u %s", indent, i + 1,
			trace_known_text((enum trace_known)i));
		if (run.stats.traces)
			fprintf(to, " (seen %" PRIu64 " times)",
				run.stats.known[i]);
		fputc('\n', to);
	}
	fprintf(to, "%sNot compared:\n", indent);
	for (unsigned int i = 0; trace_not_compared[i]; i++)
		fprintf(to, "%s - %s\n", indent, trace_not_compared[i]);
}

static int usage(FILE *to)
{
	fputs("Usage: differential_test [-n TRACES] [--seed SEED] [--self]\n"
	      "Random traces on /dev/kvm and on the software MMU; every answer "
	      "is compared.\n\n"
	      "  -n TRACES     how many, all modes together (300)\n"
	      "  --seed SEED   of the first of each mode (1)\n"
	      "  --self        the kernel against itself\n\n",
	      to);
	print_known(to, "");
	return to == stdout ? 0 : 2;
}

/* Return: -1 to go on, else the exit status. */
static int parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "self", no_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "n:", options, NULL)) >= 0) {
		switch (option) {
		case 'n':
			run.traces = strtoull(optarg, NULL, 0);
			break;
		case 's':
			run.seed = strtoull(optarg, NULL, 0);
			break;
		case 'k':
			run.right = &side_kvm;
			break;
		default:
			return usage(option == 'h' ? stdout : stderr);
		}
	}
	return optind == argc && run.traces ? -1 : usage(stderr);
}

int main(int argc, char **argv)
{
	static enum trace_mode modes[] = { TRACE_BITMAP, TRACE_MANUAL,
					   TRACE_RING, TRACE_ANY };
	const struct CMUnitTest tests[] = {
		{ "GET: every answer is the kernel's", test_mode, NULL, NULL,
		  &modes[0] },
		{ "manual protect: every answer is the kernel's", test_mode,
		  NULL, NULL, &modes[1] },
		{ "rings: every answer is the kernel's", test_mode, NULL, NULL,
		  &modes[2] },
		{ "options in any order: every answer is the kernel's",
		  test_mode, NULL, NULL, &modes[3] },
	};
	int status;

	run.traces = TRACES_DEFAULT;
	run.seed = 1;
	run.right = &side_soft;
	status = parse(argc, argv);
	if (status >= 0)
		return status;
	status = cmocka_run_group_tests_name("differential", tests, NULL, NULL);
	print_known(stdout, "# ");
	printf("# %" PRIu64 " traces, %" PRIu64 " operations, %" PRIu64
	       " errors, %" PRIu64 " guest writes, %" PRIu64 " bits, %" PRIu64
	       " ring entries, %" PRIu64 " rings filled up\n",
	       run.stats.traces, run.stats.operations, run.stats.errors,
	       run.stats.writes, run.stats.bits, run.stats.entries,
	       run.stats.fills);
	return status;
}
