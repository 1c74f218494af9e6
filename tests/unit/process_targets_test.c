/* SPDX-License-Identifier: MIT */
/*
 * process_targets_test.c - attaching to processes that are large, or odd
 *
 * Many mappings and threads, reserved terabytes, memory that is somebody
 * else's, filters that look at arguments, 32-bit code, one program after
 * another; and an embedder that waits for any child.
 */
#undef NDEBUG
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process_rig.h"
#include "test_support.h"
#include "tracker/wp_abi.h"

#define PAGE TIDE_PAGE_SIZE
#define GIB (1ull << 30)

static uint64_t gfn_of(const unsigned char *at)
{
	return (uintptr_t)at >> TIDE_PAGE_SHIFT;
}

static struct tide_process_stats stats_of(struct tide_process *process)
{
	struct tide_process_stats stats;

	tide_process_stats_get(process, &stats);
	return stats;
}

/* ---- ten thousand mappings ---- */

#define MAPPINGS 10000u

/* Every second page is writable, and so a mapping. */
static unsigned char *many;

static void obey_many(int command)
{
	if (command == 1) {
		for (size_t i = 0; i < MAPPINGS; i++)
			many[(2 * i + 1) * PAGE]++;
	} else if (command == 2) {
		munmap(many, MAPPINGS * PAGE);
	} else {
		many[(2 * (size_t)(command - 10) + 1) * PAGE]++;
	}
}

static void have_many(void)
{
	for (size_t i = 0; i < MAPPINGS; i++) {
		if (mprotect(many + 2 * i * PAGE, PAGE, PROT_NONE))
			_exit(3);
	}
	rig_obey(obey_many);
}

static uint32_t count_mappings(struct tide_process *process)
{
	struct tide_mapping mapping;
	uint64_t last = 0;
	uint32_t count = 0;

	while (!tide_process_mapping(process, count, &mapping)) {
		assert_true(mapping.start >= last && mapping.end > last);
		last = mapping.end;
		count++;
	}
	return count;
}

/* Fails when one of many mappings is not tracked, or not exactly. */
static void test_many_mappings(void **state)
{
	static unsigned char has[2 * MAPPINGS];
	struct tide_process *process;
	struct tide_client *client;
	uint32_t before;
	pid_t pid;

	(void)state;
	rig_need("many mappings");
	many = mmap(NULL, 2 * MAPPINGS * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(many != MAP_FAILED);
	pid = rig_start(have_many);
	process = rig_attach(pid);
	before = count_mappings(process);
	assert_true(before >= MAPPINGS);
	assert_int_equal(stats_of(process).left_out[TIDE_LEFT_REFUSED].mappings,
			 0);
	client = rig_client(process);
	for (int i = 0; i < 20; i++) {
		size_t page = (size_t)i * 487 % MAPPINGS;

		rig_command(10 + (int)page);
		assert_true(tide_process_update(process) >= 0);
		assert_int_equal(
			rig_harvest(client, gfn_of(many), sizeof(has), has), 1);
		assert_true(has[2 * page + 1]);
	}
	rig_command(1);
	assert_int_equal(rig_harvest(client, gfn_of(many), sizeof(has), has),
			 MAPPINGS);
	for (size_t i = 0; i < MAPPINGS; i++)
		assert_true(has[2 * i + 1]);
	rig_command(2);
	assert_true(tide_process_update(process) >= (int)MAPPINGS / 2);
	/* Its C library, or a sanitizer, may have made some of its own. */
	assert_true(count_mappings(process) < before - MAPPINGS / 2 + 100);
	rig_command(10 + (int)MAPPINGS - 1);
	assert_int_equal(rig_harvest(client, gfn_of(many), sizeof(has), has),
			 1);
	tide_client_close(client);
	tide_process_detach(process);
	rig_finish(pid);
	munmap(many, 2 * MAPPINGS * PAGE);
}

/* ---- reserved memory ---- */

#define RESERVED_BYTES (512 * GIB)
#define SPOTS 64u

static unsigned char *reserved;
static uint64_t spot[SPOTS]; /* pages, one in each of the first blocks */

static void obey_reserved(int command)
{
	if (command == 1)
		for (size_t i = 0; i < SPOTS; i += 2)
			reserved[spot[i] * PAGE]++;
	else if (command == 2)
		for (size_t i = 1; i < SPOTS; i += 2)
			reserved[spot[i] * PAGE]++;
	else
		(void)madvise(reserved + spot[0] * PAGE, PAGE, MADV_DONTNEED);
}

static void reserve(void)
{
	obey_reserved(1);
	rig_obey(obey_reserved);
}

static uint64_t page_table_kib(pid_t pid)
{
	char path[64], line[128];
	uint64_t kib = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "VmPTE:", 6))
			kib = strtoull(line + 6, NULL, 10);
	}
	fclose(file);
	return kib;
}

/* The spots whose number is @odd or not come, and nothing else of their kind;
 * @exact: no other page does. */
static void expect_spots(struct tide_client *client, size_t odd, bool exact)
{
	struct tide_harvest *harvest;
	struct tide_extent e;
	bool has[SPOTS] = { false };
	uint64_t count = 0;

	assert_int_equal(tide_harvest_begin(client, &harvest), 0);
	while (tide_harvest_next(harvest, &e) > 0) {
		uint64_t page = e.first_gfn - gfn_of(reserved);

		if (page >= RESERVED_BYTES / PAGE)
			continue;
		count += e.npages;
		for (size_t i = 0; i < SPOTS; i++)
			has[i] |= spot[i] >= page && spot[i] < page + e.npages;
	}
	assert_int_equal(tide_harvest_commit(harvest), 0);
	for (size_t i = odd; i < SPOTS; i += 2)
		assert_true(has[i]);
	if (exact)
		assert_int_equal(count, SPOTS / 2);
}

/* Fails when a write to reserved memory is lost, or when tracking it makes page
 * tables for what is not there, or parts the mapping. */
static void test_reserved(void **state)
{
	struct tide_process *process;
	struct tide_client *client;
	uint64_t kib;
	pid_t pid;

	(void)state;
	rig_need("reserved memory");
	srand((unsigned int)test_seed());
	reserved = mmap(NULL, RESERVED_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserved == MAP_FAILED)
		SKIP("reserved memory", "%s", "so much cannot be reserved");
	(void)madvise(reserved, RESERVED_BYTES, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < SPOTS; i++)
		spot[i] = (i * (RESERVED_BYTES / SPOTS) / PAGE) +
			  (unsigned int)rand() % (GIB / PAGE);
	pid = rig_start(reserve);
	kib = page_table_kib(pid);
	process = rig_attach(pid);
	client = rig_client(process);
	rig_command(1);
	assert_int_equal(tide_process_update(process), 0);
	expect_spots(client, 0, true);
	rig_command(2); /* blocks that were not there */
	assert_true(tide_process_update(process) > 0);
	expect_spots(client, 1, false);
	rig_command(2);
	assert_int_equal(tide_process_update(process), 0);
	expect_spots(client, 1, true);
	rig_command(3);
	assert_int_equal(
		rig_harvest(client, gfn_of(reserved) + spot[0], 1, NULL), 1);
	/* One for each block of 2 MiB, and those above them, where all of it
	 * would take a GiB. */
	assert_true(page_table_kib(pid) < kib + 65536);
	tide_client_close(client);
	tide_process_detach(process);
	assert_true(rig_is_as_before(pid, rig_descriptors(pid)));
	rig_finish(pid);
	munmap(reserved, RESERVED_BYTES);
}

/* ---- memory that the target has registered itself ---- */

static void obey_register(int command)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	static int fd;
	void *at;

	if (command == 2) {
		close(fd);
		return;
	}
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | WP_USER_MODE_ONLY);
	at = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	range.range.start = (uintptr_t)at;
	range.range.len = 8 * PAGE;
	if (at == MAP_FAILED || ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &range))
		_exit(3);
	rig_set(&rig_shared->count, 1);
}

static void register_later(void)
{
	rig_obey(obey_register);
}

/* Fails when memory that the target registers later makes each update fail, or
 * is left out when the target has let go of it. */
static void test_registered_later(void **state)
{
	struct tide_process_stats stats;
	struct tide_process *process;
	pid_t pid;

	(void)state;
	rig_need("registered later");
	pid = rig_start(register_later);
	process = rig_attach(pid);
	rig_command(1);
	for (int i = 0; i < 3; i++) {
		assert_true(tide_process_update(process) >= 0);
		stats = stats_of(process);
		assert_int_equal(stats.left_out[TIDE_LEFT_REGISTERED].mappings,
				 1);
		assert_int_equal(stats.left_out[TIDE_LEFT_REGISTERED].bytes,
				 8 * PAGE);
	}
	rig_command(2);
	assert_true(tide_process_update(process) >= 1);
	stats = stats_of(process);
	assert_int_equal(stats.left_out[TIDE_LEFT_REGISTERED].mappings, 0);
	tide_process_detach(process);
	/* Before we came: it is refused, and keeps what it has. */
	rig_command(1);
	rig_refused(pid, -EBUSY, "registered already");
	rig_command(2);
	tide_process_detach(rig_attach(pid));
	rig_finish(pid);
}

/* ---- an embedder that waits for any child ---- */

static void count_signal(int number)
{
	(void)number;
	(void)atomic_fetch_add_explicit(&rig_shared->signals, 1,
					memory_order_seq_cst);
}

/* Fails when the embedder sees anything of the helper: by wait, or by SIGCHLD,
 * or when its own signals make attaching fail. */
static void test_any_child(void **state)
{
	struct sigaction count = { .sa_handler = count_signal }, old;
	struct sigaction alarm = { .sa_handler = SIG_IGN }, old_alarm;
	struct itimerval often = { { 0, 100 }, { 0, 100 } };
	struct itimerval never = { { 0, 0 }, { 0, 0 } };
	pid_t pid;

	(void)state;
	rig_need("any child");
	pid = rig_start(rig_write_by_order);
	alarm.sa_handler = count_signal;
	assert_int_equal(sigaction(SIGALRM, &alarm, &old_alarm), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
	for (int i = 0; i < 50; i++)
		tide_process_detach(rig_attach(pid));
	assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
	assert_true(rig_get(&rig_shared->signals) > 0);
	rig_set(&rig_shared->signals, 0);
	assert_int_equal(sigaction(SIGCHLD, &count, &old), 0);
	for (int i = 0; i < 50; i++) {
		tide_process_detach(rig_attach(pid));
		assert_int_equal(waitpid(-1, NULL, WNOHANG), 0);
	}
	assert_int_equal(rig_get(&rig_shared->signals), 0);
	assert_int_equal(sigaction(SIGCHLD, &old, NULL), 0);
	assert_int_equal(sigaction(SIGALRM, &old_alarm, NULL), 0);
	/* Nor is one left that only __WALL finds. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), 0);
	rig_finish(pid);
}

/* ---- filters ---- */

#define WORD(name) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, name))
#define IS(value, yes, no) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))
#define ANSWER(action) BPF_STMT(BPF_RET | BPF_K, (action))

/* The call @nr with the first argument @value gets @is, with another @other. */
static void filter_argument(uint32_t nr, uint32_t value, uint32_t is,
			    uint32_t other)
{
	struct sock_filter ops[] = {
		WORD(nr),	 IS(nr, 0, 3), WORD(args),
		IS(value, 0, 2), ANSWER(is),   ANSWER(SECCOMP_RET_ALLOW),
		ANSWER(other),
	};
	struct sock_fprog program = { sizeof(ops) / sizeof(ops[0]), ops };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(3);
	rig_write_by_order();
}

static void kills_no_flags(void)
{
	filter_argument(SYS_userfaultfd, 0, SECCOMP_RET_KILL_PROCESS,
			SECCOMP_RET_ALLOW);
}

static void kills_flags(void)
{
	filter_argument(SYS_userfaultfd, 0, SECCOMP_RET_ALLOW,
			SECCOMP_RET_KILL_PROCESS);
}

static void kills_close_of_output(void)
{
	filter_argument(SYS_close, 1, SECCOMP_RET_KILL_PROCESS,
			SECCOMP_RET_ALLOW);
}

static void kills_close_of_others(void)
{
	filter_argument(SYS_close, 1, SECCOMP_RET_ALLOW,
			SECCOMP_RET_KILL_PROCESS);
}

/* Fails when a filter is asked about another call than the one that is made. */
static void test_filter_arguments(void **state)
{
	pid_t pid;

	(void)state;
	rig_need("filters");
	pid = rig_start(kills_no_flags);
	tide_process_detach(rig_attach(pid));
	rig_finish(pid);
	pid = rig_start(kills_flags);
	rig_refused(pid, -EPERM, "seccomp");
	rig_finish(pid);
	pid = rig_start(kills_close_of_output);
	tide_process_detach(rig_attach(pid));
	rig_finish(pid);
	pid = rig_start(kills_close_of_others);
	rig_refused(pid, -EPERM, "seccomp");
	rig_finish(pid);
}

/* ---- one program after another ---- */

static const char *own_name;

static int execute_on(const char *left)
{
	char number[16];
	int n = atoi(left);

	if (n <= 0)
		return 0;
	snprintf(number, sizeof(number), "%d", n - 1);
	(void)execl(own_name, own_name, "exec", number, (char *)NULL);
	return 3;
}

static void execute(void)
{
	rig_set(&rig_shared->ready, 1);
	_exit(execute_on("400"));
}

/* Fails when a process that executes others is disturbed, or what is said of it
 * is not so. */
static void test_executes(void **state)
{
	int status, attached = 0;
	pid_t pid;

	(void)state;
	rig_need("one program after another");
	pid = rig_start(execute);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		struct tide_process *process;
		char why[128] = "";
		int err = tide_process_attach(pid, &process, why, sizeof(why));

		if (!err) {
			attached++;
			err = tide_process_update(process);
			assert_true(err >= 0 || err == -ESTALE ||
				    err == -ESRCH);
			tide_process_detach(process);
			continue;
		}
		if (err != -ESRCH && err != -ESTALE)
			fail_msg("%s (%s)", why, strerror(-err));
		assert_true(why[0]);
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	printf("# attached %d times\n", attached);
	assert_true(attached > 0);
}

/* ---- 32-bit ---- */

/* A program that does nothing, for ever. */
static int make_32_bit(void)
{
	const struct {
		Elf32_Ehdr header;
		Elf32_Phdr segment;
		unsigned char code[4];
	} image = {
		.header = {
			.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3,
				     ELFCLASS32, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC,
			.e_machine = EM_386,
			.e_version = EV_CURRENT,
			.e_entry = 0x10000 + sizeof(Elf32_Ehdr) +
				   sizeof(Elf32_Phdr),
			.e_phoff = sizeof(Elf32_Ehdr),
			.e_ehsize = sizeof(Elf32_Ehdr),
			.e_phentsize = sizeof(Elf32_Phdr),
			.e_phnum = 1,
		},
		.segment = {
			.p_type = PT_LOAD,
			.p_vaddr = 0x10000,
			.p_filesz = sizeof(image),
			.p_memsz = sizeof(image),
			.p_flags = PF_R | PF_W | PF_X,
			.p_align = 0x1000,
		},
		.code = { 0xeb, 0xfe }, /* jmp . */
	};
	int fd = memfd_create("32-bit", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, &image, sizeof(image)), sizeof(image));
	return fd;
}

/* Fails when a 32-bit process is called something else, or is disturbed. */
static void test_32_bit(void **state)
{
	char *const none[] = { NULL };
	int fd, status;
	pid_t pid;

	(void)state;
	rig_need("32-bit");
	fd = make_32_bit();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)fexecve(fd, none, none);
		_exit(errno == ENOEXEC ? 77 : 3);
	}
	close(fd);
	rig_nap_ms(50);
	if (waitpid(pid, &status, WNOHANG) == pid) {
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 77);
		SKIP("32-bit", "%s", "the kernel runs no 32-bit programs");
	}
	rig_refused(pid, -EOPNOTSUPP, "32-bit");
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

/* ---- threads ---- */

#define THREADS_MAX 2000u
#define STACK_BYTES 65536u

static uint32_t thread_count;
static unsigned char *thread_memory; /* a page for each */
static int never[2];		     /* a pipe that nobody writes to */

/* Of thousands not so many that the machine does nothing else. */
static long pause_ms(void)
{
	return 20 + thread_count / 5;
}

static void calm(int number)
{
	(void)number;
	while (!rig_get(&rig_shared->stop))
		rig_nap_ms(pause_ms());
}

/* Each of them must not notice: a call that fails is the end. */
static void pass_time(size_t kind)
{
	struct timespec time = { 0, pause_ms() * 1000000 };
	static int word;
	sigset_t signals;
	struct pollfd pipe_end = { .fd = never[0], .events = POLLIN };

	switch (kind) {
	case 0:
		if (nanosleep(&time, NULL))
			_exit(2);
		break;
	case 1:
		if (poll(&pipe_end, 1, (int)pause_ms()))
			_exit(2);
		break;
	case 2:
		if (syscall(SYS_futex, &word, 0, 0, &time, NULL, 0) != -1 ||
		    errno != ETIMEDOUT)
			_exit(2);
		break;
	case 3:
		(void)sigemptyset(&signals);
		(void)sigaddset(&signals, SIGUSR2);
		/* SIGSTOP itself ends this one, with EINTR. */
		if (sigtimedwait(&signals, NULL, &time) != -1 ||
		    (errno != EAGAIN && !rig_get(&rig_shared->signals)))
			_exit(2);
		break;
	case 4:
		(void)pthread_kill(pthread_self(), SIGUSR1);
		break;
	default:
		for (volatile int i = 0; i < 100000; i = i + 1)
			;
		rig_nap_ms(pause_ms());
		break;
	}
}

static void *be_thread(void *opaque)
{
	unsigned char *page = opaque;
	size_t number = (size_t)(page - thread_memory) / PAGE;

	while (!rig_get(&rig_shared->stop))
		pass_time(number % 6);
	page[0]++;
	(void)atomic_fetch_add_explicit(&rig_shared->count, 1,
					memory_order_seq_cst);
	while (!rig_get(&rig_shared->command))
		rig_nap_ms(pause_ms());
	return NULL;
}

static void have_threads(void)
{
	static pthread_t thread[THREADS_MAX];
	pthread_attr_t attributes;

	(void)signal(SIGUSR1, calm);
	(void)pthread_attr_init(&attributes);
	(void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
	for (size_t i = 1; i < thread_count; i++) {
		if (pthread_create(&thread[i], &attributes, be_thread,
				   thread_memory + i * PAGE))
			_exit(4);
	}
	rig_set(&rig_shared->ready, 1);
	(void)be_thread(thread_memory);
	for (size_t i = 1; i < thread_count; i++)
		(void)pthread_join(thread[i], NULL);
}

static void try_threads(uint32_t count)
{
	static unsigned char has[THREADS_MAX];
	struct tide_process *process;
	struct tide_client *client;
	int descriptors;
	pid_t pid;

	thread_count = count;
	pid = rig_start(have_threads);
	descriptors = rig_descriptors(pid);
	for (int i = 0; i < 10; i++) {
		tide_process_detach(rig_attach(pid));
		assert_int_equal(rig_descriptors(pid), descriptors);
	}
	/* Stopped as a whole. */
	rig_set(&rig_shared->signals, 1);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
	process = rig_attach(pid);
	assert_int_equal(kill(pid, SIGCONT), 0);
	client = rig_client(process);
	rig_set(&rig_shared->stop, 1);
	for (int i = 0; i < 4000 && rig_get(&rig_shared->count) < (int)count;
	     i++)
		rig_nap_ms(5);
	assert_int_equal(rig_get(&rig_shared->count), count);
	assert_true(tide_process_update(process) >= 0);
	assert_int_equal(
		rig_harvest(client, gfn_of(thread_memory), THREADS_MAX, has),
		count);
	tide_client_close(client);
	tide_process_detach(process);
	rig_set(&rig_shared->command, 1);
	rig_finish(pid);
}

/* Fails when one of so many threads, in whatever it does, is disturbed, or its
 * write is lost. */
static void test_threads(void **state)
{
	(void)state;
	rig_need("threads");
	assert_int_equal(pipe(never), 0);
	thread_memory = mmap(NULL, THREADS_MAX * PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(thread_memory != MAP_FAILED);
	try_threads(1);
	try_threads(50);
	try_threads(THREADS_MAX);
	munmap(thread_memory, THREADS_MAX * PAGE);
	close(never[0]);
	close(never[1]);
}

static void *come_and_go(void *opaque)
{
	return opaque;
}

/* Threads that are on their way out when they are asked. */
static void churn(void)
{
	pthread_t thread[4];

	rig_set(&rig_shared->ready, 1);
	while (!rig_get(&rig_shared->stop)) {
		for (int i = 0; i < 4; i++) {
			if (pthread_create(&thread[i], NULL, come_and_go, NULL))
				_exit(4);
		}
		for (int i = 0; i < 4; i++)
			(void)pthread_join(thread[i], NULL);
	}
}

static void test_churn(void **state)
{
	pid_t pid;

	(void)state;
	rig_need("threads that come and go");
	pid = rig_start(churn);
	for (int i = 0; i < 50; i++)
		tide_process_detach(rig_attach(pid));
	rig_finish(pid);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_mappings),
		cmocka_unit_test(test_reserved),
		cmocka_unit_test(test_registered_later),
		cmocka_unit_test(test_any_child),
		cmocka_unit_test(test_filter_arguments),
		cmocka_unit_test(test_executes),
		cmocka_unit_test(test_32_bit),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_churn),
	};

	own_name = argv[0];
	if (argc == 3 && !strcmp(argv[1], "exec"))
		_exit(execute_on(argv[2]));
	if (!rig_init())
		return 1;
	return cmocka_run_group_tests_name("process targets", tests, NULL,
					   NULL);
}
