/* SPDX-License-Identifier: MIT */
/*
 * process_test.c - attaching to a process, in whatever state it is
 *
 * The targets are children of the test that do one thing and check that nobody
 * has disturbed them: a call that was interrupted, a register that changed or a
 * descriptor that was left behind makes them exit with another status than 0.
 */
#undef NDEBUG
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tidemark/client.h>
#include <tidemark/probe.h>
#include <tidemark/process.h>

#include "test_support.h"

#define PAGE TIDE_PAGE_SIZE
#define PAGES 256u

/* Shared with the targets. */
static struct {
	_Atomic int stop;    /* the target is to end */
	_Atomic int ready;   /* it is where it should be */
	_Atomic int order;   /* page to write + 1; 0: none */
	_Atomic int command; /* for what one target can do */
	_Atomic int signals;
} * shared;

static int get(const _Atomic int *at)
{
	return atomic_load_explicit(at, memory_order_seq_cst);
}

static void set(_Atomic int *at, int value)
{
	atomic_store_explicit(at, value, memory_order_seq_cst);
}

/* The same address in every target, which inherits it. */
static unsigned char *memory;

static void nap_ms(long ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&time, &time) && errno == EINTR)
		;
}

static void need_it(const char *name)
{
	struct tide_probe_result result;

#ifndef __x86_64__
	SKIP(name, "%s", "attach is for x86-64 so far");
#endif
	assert_int_equal(tide_probe(TIDE_TRACKER_WP, &result), 0);
	if (!result.works)
		SKIP(name, "%s", result.why);
}

static pid_t start(void (*body)(void))
{
	pid_t pid;

	memset((void *)shared, 0, sizeof(*shared));
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		body();
		_exit(0);
	}
	for (int i = 0; i < 5000 && !get(&shared->ready); i++)
		nap_ms(1);
	assert_true(get(&shared->ready));
	nap_ms(5); /* into the call that it is about to make */
	return pid;
}

static void finish(pid_t pid)
{
	int status;

	set(&shared->stop, 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Afterwards it is a zombie. */
static void await_end(pid_t pid)
{
	siginfo_t info;

	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static struct tide_process *attach(pid_t pid)
{
	struct tide_process *process;
	char why[128] = "";
	int err = tide_process_attach(pid, &process, why, sizeof(why));

	if (err)
		printf("# attach: %s (%s)\n", why, strerror(-err));
	assert_int_equal(err, 0);
	assert_string_equal(why, "");
	return process;
}

static void refused(pid_t pid, int expected, const char *text)
{
	struct tide_process *process;
	char why[128] = "";

	assert_int_equal(tide_process_attach(pid, &process, why, sizeof(why)),
			 expected);
	if (!strstr(why, text))
		fail_msg("\"%s\" does not say \"%s\"", why, text);
}

static int count_descriptors(pid_t pid)
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

/* ---- targets ---- */

static void write_by_order(void)
{
	set(&shared->ready, 1);
	while (!get(&shared->stop)) {
		int order = get(&shared->order);

		if (order) {
			memory[(unsigned int)(order - 1) * PAGE]++;
			set(&shared->order, 0);
		}
	}
}

static void order(int page)
{
	set(&shared->order, page + 1);
	while (get(&shared->order))
		;
}

static void in_nanosleep(void)
{
	struct timespec time = { 0, 400000000 }, left;

	set(&shared->ready, 1);
	while (!get(&shared->stop)) {
		if (nanosleep(&time, &left))
			_exit(2);
	}
}

static void in_poll(void)
{
	set(&shared->ready, 1);
	while (!get(&shared->stop)) {
		if (poll(NULL, 0, 400))
			_exit(2);
	}
}

static void in_read(void)
{
	int channel[2];
	char byte;
	pid_t other;

	if (pipe(channel))
		_exit(3);
	other = fork();
	if (other == 0) {
		while (!get(&shared->stop))
			nap_ms(10);
		(void)!write(channel[1], "x", 1);
		_exit(0);
	}
	set(&shared->ready, 1);
	if (read(channel[0], &byte, 1) != 1)
		_exit(2);
	(void)waitpid(other, NULL, 0);
}

static void in_futex(void)
{
	static int word;
	struct timespec time = { 0, 400000000 };

	set(&shared->ready, 1);
	while (!get(&shared->stop)) {
		if (syscall(SYS_futex, &word, 0, 0, &time, NULL, 0) != -1 ||
		    errno != ETIMEDOUT)
			_exit(2);
	}
}

/* These fail with EINTR after a stop, where the others go on. */
static void in_epoll(void)
{
	int fd = epoll_create1(0);
	struct epoll_event event;

	set(&shared->ready, 1);
	while (!get(&shared->stop)) {
		if (epoll_wait(fd, &event, 1, 400))
			_exit(2);
	}
}

static void in_sigtimedwait(void)
{
	struct timespec time = { 0, 400000000 };
	sigset_t signals;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGUSR2);
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);
	set(&shared->ready, 1);
	while (!get(&shared->stop)) {
		if (sigtimedwait(&signals, NULL, &time) != -1 ||
		    errno != EAGAIN)
			_exit(2);
	}
}

static void in_receive(void)
{
	struct timeval time = { 0, 400000 };
	int channel[2];
	char byte;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, channel) ||
	    setsockopt(channel[0], SOL_SOCKET, SO_RCVTIMEO, &time,
		       sizeof(time)))
		_exit(3);
	set(&shared->ready, 1);
	while (!get(&shared->stop)) {
		if (recv(channel[0], &byte, 1, 0) != -1 || errno != EAGAIN)
			_exit(2);
	}
}

/* It cannot be stopped while its child has its memory. */
static void in_vfork(void)
{
	set(&shared->ready, 1);
	while (!get(&shared->stop)) {
		struct timespec time = { 0, 50000000 };
		pid_t pid = vfork();

		if (pid == 0) {
			(void)nanosleep(&time, NULL);
			_exit(0);
		}
		if (waitpid(pid, NULL, 0) != pid)
			_exit(2);
	}
}

static void handler(int number)
{
	(void)number;
	set(&shared->ready, 1);
	while (!get(&shared->stop))
		;
}

static void in_a_handler(void)
{
	(void)signal(SIGUSR1, handler);
	(void)raise(SIGUSR1);
}

static void count_signal(int number)
{
	(void)number;
	(void)atomic_fetch_add_explicit(&shared->signals, 1,
					memory_order_seq_cst);
}

/* All of its registers are in use, and wrong if one of them is disturbed. */
static void under_signals(void)
{
	struct itimerval often = { { 0, 200 }, { 0, 200 } };
	uint64_t a = 1, b = 2, c = 3, d = 4, e = 5, n = 0;

	(void)signal(SIGALRM, count_signal);
	(void)setitimer(ITIMER_REAL, &often, NULL);
	set(&shared->ready, 1);
	while (!get(&shared->stop)) {
		a += 3;
		b += 5;
		c ^= a;
		c ^= a;
		d += 7;
		e += 11;
		n++;
		if (a != 1 + 3 * n || b != 2 + 5 * n || c != 3 ||
		    d != 4 + 7 * n || e != 5 + 11 * n)
			_exit(2);
	}
}

static void be_stopped(void)
{
	set(&shared->ready, 1);
	while (!get(&shared->stop))
		;
}

/* ---- tests ---- */

static uint64_t harvest(struct tide_client *client, unsigned char *has)
{
	uint64_t first = (uintptr_t)memory >> TIDE_PAGE_SHIFT, count = 0;
	struct tide_harvest *harvest;
	struct tide_extent e;

	memset(has, 0, PAGES);
	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	while (tide_harvest_next(harvest, &e) > 0) {
		for (uint64_t i = 0; i < e.npages; i++) {
			uint64_t page = e.first_gfn + i - first;

			if (page < PAGES) {
				has[page] = 1;
				count++;
			}
		}
	}
	assert_int_equal(tide_harvest_commit(harvest), 0);
	return count;
}

/* Fails when a write of the target is lost, or pages it did not write come. */
static void test_writes(void **state)
{
	unsigned char has[PAGES];
	struct tide_process *process;
	struct tide_client *client;
	pid_t pid;

	(void)state;
	need_it("writes");
	pid = start(write_by_order);
	process = attach(pid);
	assert_int_equal(tide_client_open(tide_process_space(process), "test",
					  TIDE_START_CLEAN, &client),
			 0);
	(void)harvest(client, has);
	for (int page = 0; page < (int)PAGES; page += 5) {
		order(page);
		order((page + 77) % (int)PAGES);
		assert_int_equal(tide_process_update(process), 0);
		assert_int_equal(harvest(client, has), 2);
		assert_true(has[page] &&
			    has[((unsigned int)page + 77) % PAGES]);
		assert_int_equal(harvest(client, has), 0);
	}
	tide_client_close(client);
	tide_process_detach(process);
	finish(pid);
}

/* Fails when a target in one of these states is disturbed, or keeps a
 * descriptor. */
static void test_states(void **state)
{
	static void (*const bodies[])(void) = {
		write_by_order, in_nanosleep,	 in_poll,	in_read,
		in_futex,	in_a_handler,	 under_signals, in_epoll,
		in_vfork,	in_sigtimedwait, in_receive,
	};

	(void)state;
	need_it("states");
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		pid_t pid = start(bodies[i]);
		int descriptors = count_descriptors(pid);

		for (int n = 0; n < 10; n++) {
			struct tide_process *process = attach(pid);

			assert_int_equal(count_descriptors(pid), descriptors);
			tide_process_detach(process);
		}
		finish(pid);
	}
}

/* Fails when attaching runs a process that was stopped. */
static void test_stopped(void **state)
{
	struct tide_process *process;
	int status;
	pid_t pid;

	(void)state;
	need_it("a stopped process");
	pid = start(be_stopped);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	process = attach(pid);
	set(&shared->stop, 1);
	nap_ms(50);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	tide_process_detach(process);
	assert_int_equal(kill(pid, SIGCONT), 0);
	finish(pid);
}

static void *work(void *opaque)
{
	unsigned char *page = opaque;

	while (!get(&shared->stop)) {
		page[0]++;
		nap_ms(20);
	}
	return NULL;
}

#define THREADS 50

static void with_threads(void)
{
	pthread_t thread[THREADS];

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, work,
				   memory + (unsigned int)i * PAGE))
			_exit(3);
	set(&shared->ready, 1);
	for (int i = 0; i < THREADS; i++)
		(void)pthread_join(thread[i], NULL);
}

static void *work_and_end(void *opaque)
{
	(void)work(opaque);
	_exit(0);
}

/* Its first thread has ended, which no thread of the others minds. */
static void without_leader(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, work_and_end, memory))
		_exit(3);
	set(&shared->ready, 1);
	pthread_exit(NULL);
}

static void test_threads(void **state)
{
	unsigned char has[PAGES], all[PAGES] = { 0 };
	int count = 0;
	struct tide_process *process;
	struct tide_client *client;
	pid_t pid;

	(void)state;
	need_it("threads");
	pid = start(with_threads);
	process = attach(pid);
	assert_int_equal(tide_client_open(tide_process_space(process), "test",
					  TIDE_START_CLEAN, &client),
			 0);
	for (int i = 0; i < 100 && count < THREADS; i++) {
		nap_ms(100);
		(void)harvest(client, has);
		count = 0;
		for (size_t page = 0; page < PAGES; page++) {
			all[page] |= has[page];
			count += all[page];
		}
	}
	assert_int_equal(count, THREADS);
	tide_client_close(client);
	tide_process_detach(process);
	finish(pid);
	pid = start(without_leader);
	tide_process_detach(attach(pid));
	finish(pid);
}

static void change_mappings(void)
{
	unsigned char *at = memory + PAGES * PAGE;

	set(&shared->ready, 1);
	while (!get(&shared->stop)) {
		int command = get(&shared->command);

		switch (command) {
		case 0:
			continue;
		case 1: /* new */
			if (mmap(at, 8 * PAGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				 0) != at)
				_exit(3);
			at[3 * PAGE] = 1;
			break;
		case 2: /* smaller */
			munmap(at + 4 * PAGE, 4 * PAGE);
			break;
		case 3: /* another one in its place */
			(void)mmap(at, 4 * PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				   0);
			at[2 * PAGE] = 1;
			break;
		case 4: /* gone */
			munmap(at, 4 * PAGE);
			break;
		default:
			break;
		}
		set(&shared->command, 0);
	}
}

static void command(int number)
{
	set(&shared->command, number);
	while (get(&shared->command))
		;
}

/* How many pages behind memory are yielded, and gone. */
static uint64_t behind(struct tide_client *client, uint64_t *ret_gone)
{
	uint64_t first = ((uintptr_t)memory >> TIDE_PAGE_SHIFT) + PAGES;
	uint64_t count = 0;
	struct tide_harvest *harvest;
	struct tide_extent e;

	*ret_gone = 0;
	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	while (tide_harvest_next(harvest, &e) > 0) {
		for (uint64_t i = 0; i < e.npages; i++) {
			if (e.first_gfn + i - first >= 8)
				continue;
			if (e.flags & TIDE_EXTENT_GONE)
				(*ret_gone)++;
			else
				count++;
		}
	}
	assert_int_equal(tide_harvest_commit(harvest), 0);
	return count;
}

/* Fails when a new mapping is not followed, or one that is gone is kept. */
static void test_mappings(void **state)
{
	struct tide_process *process;
	struct tide_client *client;
	uint64_t gone;
	pid_t pid;

	(void)state;
	need_it("mappings");
	pid = start(change_mappings);
	process = attach(pid);
	assert_int_equal(tide_client_open(tide_process_space(process), "test",
					  TIDE_START_CLEAN, &client),
			 0);
	command(1);
	assert_true(tide_process_update(process) >= 1);
	assert_int_equal(behind(client, &gone), 8);
	assert_int_equal(behind(client, &gone), 0);
	command(2);
	assert_true(tide_process_update(process) >= 1);
	assert_int_equal(behind(client, &gone), 4);
	assert_int_equal(behind(client, &gone), 0);
	command(3);
	(void)tide_process_update(process);
	assert_int_equal(behind(client, &gone), 4);
	assert_int_equal(behind(client, &gone), 0);
	command(4);
	assert_true(tide_process_update(process) >= 1);
	assert_int_equal(behind(client, &gone), 0);
	tide_client_close(client);
	tide_process_detach(process);
	finish(pid);
}

/* Fails when nothing, or another thing, is said of a process that cannot be
 * tracked. */
static void test_refused(void **state)
{
	struct tide_process *process;
	int status;
	pid_t pid;

	(void)state;
	need_it("refused");
	refused(getpid(), -EINVAL, "itself");
	refused(-1, -ESRCH, "no such process");
	refused(4194304, -ESRCH, "no such process");
	pid = start(in_poll);
	process = attach(pid);
	refused(pid, -EBUSY, "registered already");
	tide_process_detach(process);
	assert_int_equal(ptrace(PTRACE_SEIZE, pid, 0, 0), 0);
	refused(pid, -EBUSY, "being traced");
	assert_int_equal(ptrace(PTRACE_INTERRUPT, pid, 0, 0), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(ptrace(PTRACE_DETACH, pid, 0, 0), 0);
	tide_process_detach(attach(pid));
	finish(pid);
	pid = fork();
	if (pid == 0)
		_exit(0);
	await_end(pid);
	refused(pid, -ESRCH, "no such process"); /* a zombie */
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void filter_userfaultfd(uint32_t action)
{
	struct sock_filter ops[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(ops) / sizeof(ops[0]), ops };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(3);
	in_poll();
}

static void behind_kill(void)
{
	filter_userfaultfd(SECCOMP_RET_KILL_PROCESS);
}

static void behind_errno(void)
{
	filter_userfaultfd(SECCOMP_RET_ERRNO | EPERM);
}

static void behind_nothing(void)
{
	filter_userfaultfd(SECCOMP_RET_ALLOW);
}

/* Fails when the target's filter is found out by the target's death. */
static void test_seccomp(void **state)
{
	pid_t pid;

	(void)state;
	need_it("seccomp");
	pid = start(behind_kill);
	refused(pid, -EPERM, "seccomp");
	finish(pid);
	pid = start(behind_errno);
	refused(pid, -EPERM, "seccomp");
	finish(pid);
	pid = start(behind_nothing);
	tide_process_detach(attach(pid));
	finish(pid);
}

/* Fails when the death of whoever attaches, at any moment, leaves anything in
 * the target or disturbs it. */
static void test_killed(void **state)
{
	struct tide_process *process;
	int descriptors, err = -EBUSY;
	pid_t pid;

	(void)state;
	need_it("killed");
	pid = start(under_signals);
	descriptors = count_descriptors(pid);
	for (int i = 0; i < 60 * (int)test_long(); i++) {
		struct timespec moment = { 0, rand() % 4000000 };
		pid_t tool = fork();

		if (tool == 0) {
			(void)!tide_process_attach(pid, &process, NULL, 0);
			pause();
		}
		nanosleep(&moment, NULL);
		assert_int_equal(kill(tool, SIGKILL), 0);
		assert_int_equal(waitpid(tool, NULL, 0), tool);
	}
	/* The last helpers may not be done yet; then nobody is registered. */
	for (int i = 0; i < 1000 && err; i++) {
		nap_ms(10);
		err = tide_process_attach(pid, &process, NULL, 0);
	}
	assert_int_equal(err, 0);
	assert_int_equal(count_descriptors(pid), descriptors);
	tide_process_detach(process);
	finish(pid);
}

/* Fails when the end of the target looks like a process that writes nothing. */
static void test_end(void **state)
{
	struct tide_process *process;
	struct tide_harvest *harvest;
	struct tide_client *client;
	pid_t pid;

	(void)state;
	need_it("the end");
	pid = start(in_poll);
	process = attach(pid);
	assert_int_equal(tide_client_open(tide_process_space(process), "test",
					  TIDE_START_CLEAN, &client),
			 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	await_end(pid);
	assert_int_equal(tide_process_update(process), -ESRCH);
	assert_int_equal(tide_harvest_begin(client, &harvest), -ESRCH);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(tide_process_update(process), -ESRCH);
	tide_client_close(client);
	tide_process_detach(process);
}

/* Of 16 pages of a private mapping of a file all are read, one is written. */
static void *map_file(void)
{
	volatile unsigned char *pages;
	int fd = memfd_create("content", MFD_CLOEXEC);
	unsigned char sum = 0;

	assert_true(fd >= 0 && !ftruncate(fd, 16 * PAGE));
	pages = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
		     0);
	assert_ptr_not_equal(pages, MAP_FAILED);
	close(fd);
	for (int i = 0; i < 16; i++)
		sum |= pages[i * (int)PAGE];
	pages[5 * PAGE] = (unsigned char)(sum + 1);
	return (void *)(uintptr_t)pages;
}

/* What protects a page that is not there is no content. */
static void test_content(void **state)
{
	uint64_t words[PAGES / 64], text = 0;
	struct tide_process *process;
	volatile unsigned char only_read;
	void *file;
	pid_t pid;

	(void)state;
	need_it("content");
	assert_int_equal(madvise(memory, PAGES * PAGE, MADV_DONTNEED), 0);
	memset(memory + 3 * PAGE, 0x5a, PAGE);
	memory[200 * PAGE] = 1;
	only_read = memory[7 * PAGE];
	(void)only_read;
	file = map_file();
	pid = start(write_by_order);
	process = attach(pid);
	order(70);
	assert_int_equal(tide_process_populated(process,
						(uintptr_t)memory / PAGE, PAGES,
						words),
			 3);
	assert_int_equal(words[0], UINT64_C(1) << 3);
	assert_int_equal(words[1], UINT64_C(1) << (70 - 64));
	assert_int_equal(words[2], 0);
	assert_int_equal(words[3], UINT64_C(1) << (200 - 192));
	assert_int_equal(tide_process_populated(process, UINT64_MAX, 1, words),
			 -EINVAL);
	assert_int_equal(tide_process_read(process,
					   (uintptr_t)memory + 3 * PAGE, &text,
					   sizeof(text)),
			 sizeof(text));
	assert_int_equal(text, UINT64_C(0x5a5a5a5a5a5a5a5a));
	assert_int_equal(tide_process_populated(process, (uintptr_t)file / PAGE,
						16, words),
			 1);
	assert_int_equal(words[0], UINT64_C(1) << 5);
	munmap(file, 16 * PAGE);
	/* Up to the end of the memory, and not beyond. */
	assert_int_equal(
		tide_process_read(process,
				  (uintptr_t)memory + (PAGES * PAGE - 4), &text,
				  sizeof(text)),
		4);
	assert_int_equal(tide_process_read(process, PAGE, &text, sizeof(text)),
			 -EFAULT);
	finish(pid);
	assert_int_equal(tide_process_populated(process,
						(uintptr_t)memory / PAGE, PAGES,
						words),
			 -ESRCH);
	tide_process_detach(process);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writes),	 cmocka_unit_test(test_states),
		cmocka_unit_test(test_stopped),	 cmocka_unit_test(test_threads),
		cmocka_unit_test(test_mappings), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_seccomp),	 cmocka_unit_test(test_killed),
		cmocka_unit_test(test_end),	 cmocka_unit_test(test_content),
	};

	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	/* With room behind it for another mapping. */
	memory = mmap(NULL, (PAGES + 8) * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || memory == MAP_FAILED)
		return 1;
	munmap(memory + PAGES * PAGE, 8 * PAGE);
	return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
