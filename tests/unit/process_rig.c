/* SPDX-License-Identifier: MIT */
/* process_rig.c - targets for attaching, and what must not be left in them */
#undef NDEBUG
#include "process_rig.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tidemark/probe.h>
#include <tidemark/tracker.h>

#include "test_support.h"

struct rig_shared *rig_shared;
unsigned char *rig_memory;

int rig_get(const _Atomic int *at)
{
	return atomic_load_explicit(at, memory_order_seq_cst);
}

void rig_set(_Atomic int *at, int value)
{
	atomic_store_explicit(at, value, memory_order_seq_cst);
}

void rig_nap_ms(long ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&time, &time) && errno == EINTR)
		;
}

bool rig_init(void)
{
	rig_shared = mmap(NULL, TIDE_PAGE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	rig_memory =
		mmap(NULL, RIG_PAGES * TIDE_PAGE_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return rig_shared != MAP_FAILED && rig_memory != MAP_FAILED;
}

void rig_need(const char *name)
{
	struct tide_probe_result result;

#ifndef __x86_64__
	SKIP(name, "%s", "attach is for x86-64 so far");
#endif
	assert_int_equal(tide_probe(TIDE_TRACKER_WP, &result), 0);
	if (!result.works)
		SKIP(name, "%s", result.why);
}

pid_t rig_start(void (*body)(void))
{
	static const int deadly[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS };
	pid_t pid;

	memset((void *)rig_shared, 0, sizeof(*rig_shared));
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* Not the test's, which go on with the next test. */
		for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
			(void)signal(deadly[i], SIG_DFL);
		body();
		_exit(0);
	}
	for (int i = 0; i < 60000 && !rig_get(&rig_shared->ready); i++)
		rig_nap_ms(1);
	assert_true(rig_get(&rig_shared->ready));
	return pid;
}

void rig_finish(pid_t pid)
{
	int status;

	rig_set(&rig_shared->stop, 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("the target ended with status %#x", (unsigned)status);
}

struct tide_process *rig_attach(pid_t pid)
{
	struct tide_process *process = NULL;
	char why[128] = "";
	int err = tide_process_attach(pid, &process, why, sizeof(why));

	if (err)
		fail_msg("attach: %s (%s)", why, strerror(-err));
	assert_string_equal(why, "");
	return process;
}

void rig_refused(pid_t pid, int expected, const char *text)
{
	struct tide_process *process;
	char why[128] = "";

	assert_int_equal(tide_process_attach(pid, &process, why, sizeof(why)),
			 expected);
	if (!strstr(why, text))
		fail_msg("\"%s\" does not say \"%s\"", why, text);
}

void rig_obey(void (*obey)(int command))
{
	rig_set(&rig_shared->ready, 1);
	while (!rig_get(&rig_shared->stop)) {
		int command = rig_get(&rig_shared->command);

		if (!command)
			continue;
		obey(command);
		rig_set(&rig_shared->command, 0);
	}
}

/* The target answers at once, if it is there. */
static void await_zero(const _Atomic int *at)
{
	time_t deadline = time(NULL) + 20;

	while (rig_get(at)) {
		if (time(NULL) > deadline)
			fail_msg("the target does not answer");
	}
}

void rig_command(int command)
{
	rig_set(&rig_shared->command, command);
	await_zero(&rig_shared->command);
}

void rig_write_by_order(void)
{
	uint64_t a = 1, b = 2, c = 3, d = 4, n = 0;

	rig_set(&rig_shared->ready, 1);
	while (!rig_get(&rig_shared->stop)) {
		int order = rig_get(&rig_shared->order);

		a += 3;
		b += 5;
		c ^= a;
		c ^= a;
		d += 7;
		n++;
		if (a != 1 + 3 * n || b != 2 + 5 * n || c != 3 ||
		    d != 4 + 7 * n)
			_exit(2);
		if (!order)
			continue;
		rig_memory[(unsigned int)(order - 1) * TIDE_PAGE_SIZE]++;
		rig_set(&rig_shared->order, 0);
	}
}

void rig_order(int page)
{
	rig_set(&rig_shared->order, page + 1);
	await_zero(&rig_shared->order);
}

int rig_descriptors(pid_t pid)
{
	char path[64];
	int count = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	folder = opendir(path);
	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

/* A line of /proc/PID/@file that starts with @start has @text in it. */
static bool says(pid_t pid, const char *file, const char *start,
		 const char *text)
{
	char path[64], line[512];
	bool found = false;
	FILE *stream;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	stream = fopen(path, "re");
	assert_non_null(stream);
	while (!found && fgets(line, sizeof(line), stream))
		found = !strncmp(line, start, strlen(start)) &&
			strstr(line, text);
	fclose(stream);
	return found;
}

bool rig_is_as_before(pid_t pid, int descriptors)
{
	return rig_descriptors(pid) == descriptors &&
	       says(pid, "status", "TracerPid:", "\t0\n") &&
	       !says(pid, "smaps", "VmFlags:", " uw");
}

void rig_await_as_before(pid_t pid, int descriptors)
{
	for (int i = 0; i < 2000 && !kill(pid, 0); i++) {
		if (rig_is_as_before(pid, descriptors))
			return;
		rig_nap_ms(5);
	}
	fail_msg("something is left in the target");
}

struct tide_client *rig_client(struct tide_process *process)
{
	struct tide_client *client;

	assert_int_equal(tide_client_open(tide_process_space(process), "test",
					  TIDE_START_CLEAN, &client),
			 0);
	return client;
}

uint64_t rig_harvest(struct tide_client *client, uint64_t first,
		     uint64_t npages, unsigned char *has)
{
	struct tide_harvest *harvest;
	struct tide_extent e;
	uint64_t count = 0;

	if (has)
		memset(has, 0, npages);
	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	while (tide_harvest_next(harvest, &e) > 0) {
		for (uint64_t i = 0; i < e.npages; i++) {
			uint64_t page = e.first_gfn + i - first;

			if (page >= npages || e.flags & TIDE_EXTENT_GONE)
				continue;
			count++;
			if (has)
				has[page] = 1;
		}
	}
	assert_int_equal(tide_harvest_commit(harvest), 0);
	return count;
}
