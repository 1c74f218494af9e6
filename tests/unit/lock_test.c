/* SPDX-License-Identifier: MIT */
/*
 * lock_test.c - locks against their promises in base/lock.h
 *
 * What must abort does so in a child, and the parent reads what it said.  The
 * program is linked to the library that checks itself.
 */
#undef NDEBUG
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/lock.h"
#include "test_support.h"

static struct tide_lock slots, mmu, vm;

static int setup(void **state)
{
	(void)state;
	return tide_lock_init(&slots, TIDE_RANK_SPACE_SLOTS) ||
	       tide_lock_init(&mmu, TIDE_RANK_MMU) ||
	       tide_lock_init(&vm, TIDE_RANK_VM);
}

static int teardown(void **state)
{
	(void)state;
	tide_lock_fini(&vm);
	tide_lock_fini(&mmu);
	tide_lock_fini(&slots);
	return 0;
}

/* Runs @mistake in a child.  It must abort and say @words. */
static void expect_abort(void (*mistake)(void), const char *words)
{
	char said[512] = "";
	int ends[2], status;
	size_t n = 0;
	ssize_t got;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	fflush(stdout);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		const struct rlimit no_core = { 0, 0 };

		(void)setrlimit(RLIMIT_CORE, &no_core);
		(void)signal(SIGABRT, SIG_DFL); /* cmocka's, or a sanitizer's */
		(void)alarm(20); /* rather than wait for itself for ever */
		(void)dup2(ends[1], STDERR_FILENO);
		mistake();
		_exit(0);
	}
	close(ends[1]);
	while (n < sizeof(said) - 1 &&
	       (got = read(ends[0], said + n, sizeof(said) - 1 - n)) > 0)
		n += (size_t)got;
	said[n] = 0;
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
		fail_msg("no abort, but status %#x: %s", (unsigned int)status,
			 said);
	said[strlen(words)] = 0; /* an emulator has its say after it */
	assert_string_equal(said, words);
}

static void test_in_order(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		tide_lock_assert_none();
		tide_lock_acquire(&slots);
		tide_lock_acquire(&mmu);
		tide_lock_acquire(&vm);
		tide_lock_assert_held(&slots);
		tide_lock_assert_held(&mmu);
		tide_lock_assert_held(&vm);
		tide_lock_release(&vm);
		tide_lock_release(&mmu);
		tide_lock_release(&slots);
	}
	tide_lock_assert_none();
}

/* Releasing in another order than the reverse is fine. */
static void test_release_in_the_middle(void **state)
{
	(void)state;
	tide_lock_acquire(&slots);
	tide_lock_acquire(&mmu);
	tide_lock_release(&slots);
	tide_lock_assert_held(&mmu);
	tide_lock_acquire(&vm);
	tide_lock_release(&mmu);
	tide_lock_release(&vm);
	tide_lock_assert_none();
}

static void wrong_order(void) TIDE_UNCHECKED
{
	tide_lock_acquire(&slots);
	tide_lock_acquire(&vm);
	tide_lock_acquire(&mmu);
}

static void twice(void) TIDE_UNCHECKED
{
	tide_lock_acquire(&mmu);
	tide_lock_acquire(&mmu);
}

static void two_of_one_rank(void) TIDE_UNCHECKED
{
	struct tide_lock other;

	if (tide_lock_init(&other, TIDE_RANK_MMU))
		_exit(1);
	tide_lock_acquire(&mmu);
	tide_lock_acquire(&other);
}

static void wrong_after_release(void) TIDE_UNCHECKED
{
	tide_lock_acquire(&slots);
	tide_lock_acquire(&mmu);
	tide_lock_acquire(&vm);
	tide_lock_release(&mmu); /* vm is still there */
	tide_lock_acquire(&mmu);
}

static void test_wrong_order(void **state)
{
	(void)state;
	expect_abort(wrong_order, "tidemark: tide_mmu.mmu_lock taken while "
				  "holding tide_vm.lock\n");
	expect_abort(twice, "tidemark: tide_mmu.mmu_lock taken while "
			    "holding tide_mmu.mmu_lock\n");
	expect_abort(two_of_one_rank, "tidemark: tide_mmu.mmu_lock taken while "
				      "holding tide_mmu.mmu_lock\n");
	expect_abort(wrong_after_release,
		     "tidemark: tide_mmu.mmu_lock taken while "
		     "holding tide_vm.lock\n");
}

static void not_held(void) TIDE_UNCHECKED
{
	tide_lock_acquire(&slots);
	tide_lock_release(&vm);
}

static void released_twice(void) TIDE_UNCHECKED
{
	tide_lock_acquire(&slots);
	tide_lock_release(&slots);
	tide_lock_release(&slots);
}

static void *take_slots(void *opaque) TIDE_UNCHECKED
{
	(void)opaque;
	tide_lock_acquire(&slots);
	return NULL;
}

static void another_threads(void) TIDE_UNCHECKED
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, take_slots, NULL) ||
	    pthread_join(thread, NULL))
		_exit(1);
	tide_lock_release(&slots);
}

static void test_not_held(void **state)
{
	(void)state;
	expect_abort(not_held, "tidemark: tide_vm.lock released, but not held"
			       "\n");
	expect_abort(released_twice, "tidemark: tide_space.slots_lock released,"
				     " but not held\n");
	expect_abort(another_threads, "tidemark: tide_space.slots_lock "
				      "released, but not held\n");
}

static void assert_of_another(void) TIDE_UNCHECKED
{
	tide_lock_acquire(&slots);
	tide_lock_assert_held(&mmu);
}

static void assert_none_with_one(void) TIDE_UNCHECKED
{
	tide_lock_acquire(&slots);
	tide_lock_assert_none();
}

static void test_asserts(void **state)
{
	(void)state;
	expect_abort(assert_of_another,
		     "tidemark: tide_mmu.mmu_lock is not held\n");
	expect_abort(assert_none_with_one,
		     "tidemark: locks must not be held here, but so is "
		     "tide_space.slots_lock\n");
}

static pthread_cond_t come = PTHREAD_COND_INITIALIZER;
static bool came;

static void *send(void *opaque)
{
	(void)opaque;
	tide_lock_acquire(&vm);
	came = true;
	pthread_cond_broadcast(&come);
	tide_lock_release(&vm);
	return NULL;
}

/* The other thread gets the lock while this one waits, and this one has it
 * afterwards. */
static void test_wait(void **state)
{
	pthread_t thread;

	(void)state;
	came = false;
	tide_lock_acquire(&vm);
	assert_int_equal(pthread_create(&thread, NULL, send, NULL), 0);
	while (!came)
		tide_lock_wait(&vm, &come);
	tide_lock_assert_held(&vm);
	tide_lock_release(&vm);
	pthread_join(thread, NULL);
	tide_lock_assert_none();
}

static void test_wait_until(void **state)
{
	struct timespec now;

	(void)state;
	assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
	tide_lock_acquire(&vm);
	tide_lock_wait_until(&vm, &come, &now); /* comes back */
	tide_lock_assert_held(&vm);
	tide_lock_release(&vm);
	tide_lock_assert_none();
}

static void wait_of_outer(void) TIDE_UNCHECKED
{
	tide_lock_acquire(&slots);
	tide_lock_acquire(&mmu);
	tide_lock_wait(&slots, &come);
}

static void wait_without(void) TIDE_UNCHECKED
{
	tide_lock_wait(&vm, &come);
}

static void test_wrong_wait(void **state)
{
	(void)state;
	expect_abort(wait_of_outer, "tidemark: tide_space.slots_lock taken "
				    "while holding tide_mmu.mmu_lock\n");
	expect_abort(wait_without,
		     "tidemark: tide_vm.lock released, but not held\n");
}

#define THREADS 4
#define ROUNDS 20000u

static uint64_t counter; /* under mmu */

static void *count(void *opaque)
{
	(void)opaque;
	for (uint32_t i = 0; i < ROUNDS; i++) {
		tide_lock_acquire(&mmu);
		counter++;
		tide_lock_release(&mmu);
	}
	return NULL;
}

/* Each thread has a stack of its own. */
static void test_threads(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	counter = 0;
	tide_lock_acquire(&slots);
	for (int t = 0; t < THREADS; t++)
		assert_int_equal(pthread_create(&threads[t], NULL, count, NULL),
				 0);
	for (int t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	tide_lock_release(&slots);
	assert_int_equal(counter, THREADS * ROUNDS);
	tide_lock_assert_none();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "from the outermost in", test_in_order, setup, teardown,
		  NULL },
		{ "the outer one may go first", test_release_in_the_middle,
		  setup, teardown, NULL },
		{ "taking an outer lock inside an inner one aborts",
		  test_wrong_order, setup, teardown, NULL },
		{ "releasing what is not held aborts", test_not_held, setup,
		  teardown, NULL },
		{ "an assertion that does not hold aborts", test_asserts, setup,
		  teardown, NULL },
		{ "a wait gives the lock up and has it again", test_wait, setup,
		  teardown, NULL },
		{ "a wait ends when its time is up", test_wait_until, setup,
		  teardown, NULL },
		{ "a wait that would break the order aborts", test_wrong_wait,
		  setup, teardown, NULL },
		{ "threads hold locks of their own", test_threads, setup,
		  teardown, NULL },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
