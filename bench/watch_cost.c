/* SPDX-License-Identifier: MIT */
/*
 * watch_cost.c - what watching costs: a busy server, and the watcher itself
 *
 * The watcher is tidemark watch --json, in a process of its own, with its usual
 * interval of a second.
 *
 * redis-server works for redis-benchmark: SET of a random one of a million
 * keys, 50 clients over a unix socket, all else as redis-benchmark does it.
 * Every key is there before.  How many commands it has done it says itself.  A
 * sample is the ratio of two windows with a watcher to two without, in the
 * order ABBA.  A window with a watcher begins when it has printed its first
 * interval, so it has the faults and the harvests of each second; what
 * attaching costs is attach's to say.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tidemark/tidemark.h>

#define NS_PER_S 1000000000u
#define WINDOW_S 2u
#define SAMPLES 12u
#define FIRST_LINE_MS 30000
#define IDLE_BYTES ((size_t)8 << 30)
#define SPARE_KIB (1u << 20) /* for all else */
#define IDLE_WINDOW_S 10u    /* in which watch has one of its windows, too */
#define IDLE_WINDOWS 3u
#define KEYS "1000000"

static void nap_s(unsigned int seconds)
{
	struct timespec left = { .tv_sec = (time_t)seconds };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

/* @output: its stdout; -1: nothing.  Return: its pid; -1. */
static pid_t run(char *const *argv, int output)
{
	int done[2];
	char byte;
	ssize_t n;
	pid_t pid;

	if (pipe2(done, O_CLOEXEC))
		return -1;
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (dup2(null, 0) == 0 &&
		    dup2(output < 0 ? null : output, 1) == 1 &&
		    dup2(null, 2) == 2)
			execvp(argv[0], argv);
		(void)!write(done[1], "x", 1);
		_exit(127);
	}
	close(done[1]);
	/* The end of exec closes the pipe. */
	n = pid > 0 ? read(done[0], &byte, 1) : 1;
	close(done[0]);
	if (n > 0 && pid > 0)
		(void)waitpid(pid, NULL, 0);
	return n ? -1 : pid;
}

static void end(pid_t pid, int number)
{
	if (pid <= 0)
		return;
	(void)kill(pid, number);
	(void)waitpid(pid, NULL, 0);
}

static int cpu_ns(pid_t pid, uint64_t *ret)
{
	struct timespec time;
	clockid_t clock;
	int err = clock_getcpuclockid(pid, &clock);

	if (err)
		return -err;
	if (clock_gettime(clock, &time))
		return -errno;
	*ret = (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
	return 0;
}

/* ---- the watcher ---- */

struct watcher {
	pid_t pid;
	int output; /* where it prints, less than there is room for */
};

static void end_watcher(struct watcher *watcher)
{
	end(watcher->pid, SIGINT);
	if (watcher->output >= 0)
		close(watcher->output);
}

/* Return: 0, when it has printed an interval; a negative errno. */
static int watch(pid_t target, struct watcher *ret)
{
	char self[4096], number[16];
	char *argv[] = { self,
			 (char[]){ "watch" },
			 (char[]){ "--json" },
			 (char[]){ "-p" },
			 number,
			 NULL };
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct pollfd line = { .events = POLLIN };
	int output[2];

	*ret = (struct watcher){ .output = -1 };
	if (n < 0 || pipe2(output, O_CLOEXEC))
		return -errno;
	self[n] = '\0';
	(void)snprintf(number, sizeof(number), "%d", (int)target);
	ret->pid = run(argv, output[1]);
	ret->output = line.fd = output[0];
	close(output[1]);
	if (ret->pid > 0 && poll(&line, 1, FIRST_LINE_MS) == 1 &&
	    line.revents & POLLIN)
		return 0;
	end_watcher(ret);
	return -ECHILD;
}

/* ---- redis ---- */

struct redis {
	pid_t server, load;
	int fd; /* to ask the server */
	struct sockaddr_un address;
};

static int connect_to(struct redis *redis)
{
	const struct timespec nap = { .tv_nsec = 20000000 };

	redis->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	for (int i = 0; i < 500; i++) {
		if (!connect(redis->fd,
			     (const struct sockaddr *)&redis->address,
			     sizeof(redis->address)))
			return 0;
		(void)nanosleep(&nap, NULL);
	}
	return -ETIMEDOUT;
}

/* How many commands the server has done. */
static int commands(const struct redis *redis, uint64_t *ret)
{
	static const char ask[] = "INFO stats\r\n";
	static const char field[] = "total_commands_processed:";
	char answer[16384];
	size_t size = 0;
	const char *at = NULL;

	if (send(redis->fd, ask, sizeof(ask) - 1, MSG_NOSIGNAL) < 0)
		return -errno;
	/* It ends with its last field's line and an empty one. */
	while (size < sizeof(answer) - 1) {
		ssize_t n = recv(redis->fd, answer + size,
				 sizeof(answer) - 1 - size, 0);
		size_t length;

		if (n <= 0)
			return -ECONNRESET;
		size += (size_t)n;
		answer[size] = '\0';
		length = strtoull(answer + 1, NULL, 10);
		if (strchr(answer, '\n') &&
		    size >= (size_t)(strchr(answer, '\n') + 1 - answer) +
				    length + 2)
			break;
	}
	at = strstr(answer, field);
	if (!at)
		return -EBADMSG;
	*ret = strtoull(at + sizeof(field) - 1, NULL, 10);
	return 0;
}

static int start_load(struct redis *redis, const char *count,
		      const char *pipeline, pid_t *ret)
{
	char *argv[] = { (char[]){ "redis-benchmark" },
			 (char[]){ "-s" },
			 redis->address.sun_path,
			 (char[]){ "-t" },
			 (char[]){ "set" },
			 (char[]){ "-r" },
			 (char[]){ KEYS },
			 (char[]){ "-n" },
			 strdup(count),
			 (char[]){ "-P" },
			 strdup(pipeline),
			 NULL };

	*ret = argv[8] && argv[10] ? run(argv, -1) : -1;
	free(argv[8]);
	free(argv[10]);
	return *ret < 0 ? -ENOENT : 0;
}

static void stop_redis(struct redis *redis)
{
	end(redis->load, SIGKILL);
	end(redis->server, SIGKILL);
	if (redis->fd >= 0)
		close(redis->fd);
	if (redis->address.sun_path[0])
		(void)unlink(redis->address.sun_path);
}

static int start_redis(struct redis *redis, const char *pipeline)
{
	char *server[] = { (char[]){ "redis-server" },
			   (char[]){ "--port" },
			   (char[]){ "0" },
			   (char[]){ "--unixsocket" },
			   redis->address.sun_path,
			   (char[]){ "--save" },
			   (char[]){ "" },
			   NULL };
	int status, err;
	pid_t fill;

	*redis = (struct redis){ .fd = -1, .address.sun_family = AF_UNIX };
	(void)snprintf(redis->address.sun_path, sizeof(redis->address.sun_path),
		       "/tmp/tidemark-bench-%d.sock", (int)getpid());
	(void)unlink(redis->address.sun_path);
	redis->server = run(server, -1);
	if (redis->server < 0)
		return -ENOENT;
	err = connect_to(redis);
	if (!err)
		err = start_load(redis, "5000000", "64", &fill);
	if (!err && (waitpid(fill, &status, 0) != fill || status))
		err = -EIO;
	if (!err)
		err = start_load(redis, "2000000000", pipeline, &redis->load);
	if (!err)
		nap_s(1);
	return err;
}

struct window {
	double rate; /* commands a second */
	double cost; /* the server's CPU time for one, ns */
};

static int measure(const struct redis *redis, struct window *ret)
{
	uint64_t first, last, cpu, cpu_end, ns = bench_now_ns();
	int err = commands(redis, &first);

	if (!err)
		err = cpu_ns(redis->server, &cpu);
	if (err)
		return err;
	nap_s(WINDOW_S);
	err = commands(redis, &last);
	if (!err)
		err = cpu_ns(redis->server, &cpu_end);
	ns = bench_now_ns() - ns;
	if (!err && last <= first)
		err = -EIO;
	if (err)
		return err;
	ret->rate = (double)(last - first) * NS_PER_S / (double)ns;
	ret->cost = (double)(cpu_end - cpu) / (double)(last - first);
	return 0;
}

static int one_window(const struct redis *redis, bool watched,
		      struct window *ret)
{
	struct watcher watcher = { .output = -1 };
	int err = watched ? watch(redis->server, &watcher) : 0;

	if (!err)
		err = measure(redis, ret);
	end_watcher(&watcher);
	return err;
}

struct redis_figures {
	struct bench_figure *ratio, *cost, *rate;
};

/* Four windows: not watched, watched, watched, not watched; so that what drifts
 * evenly is in both. */
static int four_windows(const struct redis *redis,
			const struct redis_figures *figures)
{
	struct window sum[2] = { { 0, 0 }, { 0, 0 } };

	for (int i = 0; i < 4; i++) {
		bool watched = i == 1 || i == 2;
		struct window window;
		int err = one_window(redis, watched, &window);

		if (err)
			return err;
		sum[watched].rate += window.rate;
		sum[watched].cost += window.cost;
	}
	bench_add(figures->ratio, sum[1].rate / sum[0].rate);
	bench_add(figures->cost, sum[1].cost / sum[0].cost);
	bench_add(figures->rate, sum[0].rate / 2000);
	return 0;
}

static int redis_samples(const char *pipeline, uint32_t samples,
			 const struct redis_figures *figures)
{
	struct redis redis;
	int err = start_redis(&redis, pipeline);

	for (uint32_t i = 0; i < samples && !err; i++)
		err = four_windows(&redis, figures);
	stop_redis(&redis);
	return err;
}

static void report_redis(const struct bench_options *options,
			 const struct redis_figures *figures)
{
	bench_report(options, figures->ratio);
	bench_report(options, figures->cost);
	bench_report(options, figures->rate);
}

static const char *why(int err)
{
	return err == -ENOENT	? "redis-server or redis-benchmark is missing"
	       : err == -ECHILD ? "the watcher could not watch it"
				: strerror(-err);
}

int bench_redis(const struct bench_options *options)
{
	static struct bench_figure figure[] = {
		{ .name = "redis-watched-ratio",
		  .unit = "ratio",
		  .against = "requests a second of SET, not watched",
		  .goal_least = 0.97 },
		{ .name = "redis-watched-cpu-ratio",
		  .unit = "ratio",
		  .against = "the server's CPU time a request, not watched" },
		{ .name = "redis-plain-kops",
		  .unit = "kops",
		  .against = "nothing: not watched" },
		{ .name = "redis-watched-ratio-16",
		  .unit = "ratio",
		  .against = "the same, 16 requests in a pipeline" },
		{ .name = "redis-watched-cpu-ratio-16",
		  .unit = "ratio",
		  .against = "the same, 16 requests in a pipeline" },
		{ .name = "redis-plain-kops-16",
		  .unit = "kops",
		  .against = "nothing: not watched" },
	};
	const struct redis_figures plain = { &figure[0], &figure[1],
					     &figure[2] };
	const struct redis_figures piped = { &figure[3], &figure[4],
					     &figure[5] };
	uint32_t samples = options->rounds ? options->rounds : SAMPLES;
	/* Of one figure's name only the half that has it is run. */
	bool only_piped = options->name && strstr(options->name, "-16");
	bool only_plain = options->name && !only_piped;
	int err = only_piped ? 0 : redis_samples("1", samples, &plain);

	if (!err) {
		report_redis(options, &plain);
		err = only_plain ? 0 : redis_samples("16", samples, &piped);
	}
	if (err)
		return bench_skip(options, "redis", why(err));
	report_redis(options, &piped);
	return 0;
}

/* ---- a process that does nothing ---- */

static bool has_memory(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "MemAvailable:", 13) == 0)
			kib = strtoull(line + 13, NULL, 10);
	}
	if (file)
		(void)fclose(file);
	return kib > IDLE_BYTES / 1024 + SPARE_KIB;
}

static void be_idle(int ready)
{
	volatile unsigned char *memory =
		mmap(NULL, IDLE_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return;
	(void)madvise((void *)(uintptr_t)memory, IDLE_BYTES, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < IDLE_BYTES; at += TIDE_PAGE_SIZE)
		memory[at] = 1;
	(void)!write(ready, "x", 1);
	for (;;)
		pause();
}

static pid_t start_idle(void)
{
	int ready[2];
	char byte;
	ssize_t n;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC))
		return -1;
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		be_idle(ready[1]);
		_exit(1);
	}
	close(ready[1]);
	n = pid > 0 ? read(ready[0], &byte, 1) : 0;
	close(ready[0]);
	if (n == 1)
		return pid;
	end(pid, SIGKILL);
	return -1;
}

static int watch_idle(pid_t target, uint32_t windows,
		      struct bench_figure *percent, struct bench_figure *start)
{
	struct watcher watcher;
	uint64_t before = 0, after = 0;
	int err = watch(target, &watcher);

	if (err)
		return err;
	err = cpu_ns(watcher.pid, &before);
	bench_add(start, (double)before / 1e6);
	for (uint32_t i = 0; i < windows && !err; i++) {
		uint64_t begin_ns = bench_now_ns(), ns;

		nap_s(IDLE_WINDOW_S);
		err = cpu_ns(watcher.pid, &after);
		ns = bench_now_ns() - begin_ns;
		bench_add(percent, (double)(after - before) * 100 / (double)ns);
		before = after;
	}
	end_watcher(&watcher);
	return err;
}

int bench_idle(const struct bench_options *options)
{
	static struct bench_figure percent = {
		.name = "watch-idle-percent",
		.unit = "%",
		.against = "a core; 8 GiB in pages of 4 KiB, looked at each s",
		.goal = 1,
	};
	static struct bench_figure start = {
		.name = "watch-idle-start-ms",
		.unit = "ms",
		.against = "nothing: CPU time up to the first interval",
	};
	pid_t pid;
	int err;

	if (!has_memory())
		return bench_skip(options, "idle", "needs 9 GiB of memory");
	pid = start_idle();
	if (pid < 0)
		return bench_skip(options, "idle", "the target did not start");
	err = watch_idle(pid, options->rounds ? options->rounds : IDLE_WINDOWS,
			 &percent, &start);
	end(pid, SIGKILL);
	if (err)
		return bench_skip(options, "idle", why(err));
	bench_report(options, &percent);
	bench_report(options, &start);
	return 0;
}
