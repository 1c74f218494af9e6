/* SPDX-License-Identifier: MIT */
/*
 * conformance_test.c - the contract C1 to C7 on every tracker
 *
 * One engine (engine.h), every backend, several shapes of space.  A run that
 * fails prints its seed, the operations that are enough to make it fail, and
 * what the model expected.  TIDE_SEED replays, TIDE_BACKEND picks one
 * backend, TIDE_LONG=n does n times as many runs.
 */
#undef NDEBUG /* a test without its asserts tests nothing */

#include "backends.h"
#include "test_support.h"

#define MESSAGE_SIZE 8192

struct shape {
	const char *name;
	struct conform_options options;
	uint32_t runs;	    /* with the simulated kernel, or none */
	uint32_t real_runs; /* on /dev/kvm, where a guest is slow */
};

static const struct shape shapes[] = {
	{ "one slot, one client", { 120, 1, 1, 0, NULL }, 24, 3 },
	{ "three slots, one client", { 160, 3, 1, 0, NULL }, 24, 3 },
	{ "one slot, three clients", { 200, 1, 3, 0, NULL }, 24, 3 },
	{ "three slots, three clients", { 300, 3, 3, 0, NULL }, 40, 5 },
	{ "forty slots, three clients", { 300, 40, 3, 0, NULL }, 6, 2 },
	{ "quiet: no errors, nothing in the middle",
	  { 300, 3, 3, CONFORM_NO_FAULTS | CONFORM_NO_HOOKS, NULL },
	  10,
	  2 },
	{ "slots stay as they are",
	  { 300, 3, 3, CONFORM_NO_SLOT_CHANGES, NULL },
	  10,
	  2 },
	{ "more than 4 GiB, one client",
	  { 30, 2, 1, CONFORM_SPARSE | CONFORM_NO_SLOT_CHANGES, NULL },
	  1,
	  1 },
};

#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

struct job {
	const struct conform_backend *backend;
	const struct shape *shape;
	bool real;
	uint64_t seed;
};

/* Only what the kernel has to offer may be missing. */
static void skip_real(const struct job *job, int error)
{
	enum tide_tracker tracker = job->backend->tracker;

	if (tracker != TIDE_TRACKER_WP && tracker != TIDE_TRACKER_SOFT_DIRTY &&
	    (!job->real || tracker >= TIDE_TRACKER_SOFT_BITMAP))
		fail_msg("%s: %s", job->backend->name, strerror(-error));
	SKIP(job->backend->name, "%s", strerror(-error));
}

static void test_shape(void **state)
{
	static char message[MESSAGE_SIZE];
	const struct job *job = *state;
	uint32_t runs = job->real ? job->shape->real_runs : job->shape->runs;
	uint64_t shared = 0, start = 0, yielded = 0, faults = 0;

	for (uint32_t i = 0; i < runs * test_long(); i++) {
		struct conform_options options = job->shape->options;
		struct conform_report report;
		int result;

		options.report = &report;
		result = conform_run(job->backend, &options, job->seed + i,
				     message, sizeof(message));
		if (result < 0)
			skip_real(job, result);
		if (result) {
			printf("# TIDE_SEED=%#jx\n%s", (uintmax_t)job->seed + i,
			       message);
			fail_msg("%s", "broke its contract, see above");
		}
		shared += report.extras_shared;
		start += report.extras_start;
		yielded += report.yielded;
		faults += report.faults;
	}
	printf("# %s, %s: %ju pages yielded, extras %ju shared %ju start, "
	       "%ju errors injected\n",
	       job->backend->name, job->shape->name, (uintmax_t)yielded,
	       (uintmax_t)shared, (uintmax_t)start, (uintmax_t)faults);
}

/* The same operations, whole harvests: every tracker yields the same pages,
 * what C6 lets it add not counted. */
static void test_equal(void **state)
{
	static char message[MESSAGE_SIZE];
	const struct job *job = *state;
	struct conform_report expected, report;
	struct conform_options options = {
		.operations = 150,
		.slots = 3,
		.clients = 2,
		.flags = CONFORM_WHOLE_HARVESTS | CONFORM_NO_FAULTS |
			 CONFORM_NO_HOOKS,
	};

	for (uint32_t i = 0; i < 3 * test_long(); i++) {
		int result;

		options.report = &expected;
		result = conform_run(&conform_none, &options, job->seed + i,
				     message, sizeof(message));
		assert_int_equal(result, 0);
		options.report = &report;
		result = conform_run(job->backend, &options, job->seed + i,
				     message, sizeof(message));
		if (result < 0)
			skip_real(job, result);
		if (result)
			fail_msg("%s", message);
		assert_int_equal(report.digest, expected.digest);
	}
}

struct plan {
	struct CMUnitTest tests[256];
	struct job jobs[256];
	size_t count;
	uint64_t seed;
};

static void plan_add(struct plan *plan, CMUnitTestFunction function,
		     const struct conform_backend *backend,
		     const struct shape *shape, bool real)
{
	const char *only = getenv("TIDE_BACKEND");
	struct job *job = &plan->jobs[plan->count];
	char name[128];

	if (only && strcmp(only, backend->name))
		return;
	snprintf(name, sizeof(name), "%s: %s", backend->name,
		 shape ? shape->name : "yields what marks alone would");
	*job = (struct job){ backend, shape, real, plan->seed };
	plan->tests[plan->count++] = (struct CMUnitTest){
		.name = strdup(name),
		.test_func = function,
		.initial_state = job,
	};
}

static void plan_backend(struct plan *plan,
			 const struct conform_backend *backend, bool real)
{
	for (size_t i = 0; i < SHAPES; i++)
		if (!(backend->properties & CONFORM_FIXED &&
		      shapes[i].options.flags & CONFORM_SPARSE))
			plan_add(plan, test_shape, backend, &shapes[i], real);
	if (backend != &conform_none && !(backend->properties & CONFORM_FIXED))
		plan_add(plan, test_equal, backend, NULL, real);
}

int main(void)
{
	static struct plan plan;

	plan.seed = test_seed();
	plan_backend(&plan, &conform_none, false);
	for (size_t i = 0; conform_sim[i]; i++)
		plan_backend(&plan, conform_sim[i], false);
	for (size_t i = 0; conform_kvm[i]; i++)
		plan_backend(&plan, conform_kvm[i], true);
	for (size_t i = 0; conform_vm[i]; i++)
		plan_backend(&plan, conform_vm[i], true);
	for (size_t i = 0; conform_wp[i]; i++)
		plan_backend(&plan, conform_wp[i], false);
	plan_backend(&plan, &conform_soft_dirty, false);
	for (size_t i = 0; conform_soft[i]; i++)
		plan_backend(&plan, conform_soft[i], false);
	return _cmocka_run_group_tests("conformance", plan.tests, plan.count,
				       NULL, NULL);
}
