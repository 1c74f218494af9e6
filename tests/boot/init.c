/* SPDX-License-Identifier: MIT */
/*
 * init.c - process 1 of a kernel that is booted for tests
 *
 * It mounts what they need, turns on swap, runs each line of /programs, and
 * powers off.  What a program prints goes to the second serial port, between
 *
 *   == begin NAME
 *   == end NAME STATUS
 *
 * where STATUS is as a shell's: 128 and more for a signal.  A line of /programs
 * is "SECONDS NAME PATH [WORD]...", where a WORD with a "=" is for the
 * environment, and any other an argument.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define PORT "/dev/ttyS1"
#define SWAP "/dev/ram0"
#define SWAP_KIB 65536u
#define PAGE 4096u
#define WORDS 16

static int give_up(const char *what)
{
	perror(what);
	return -1;
}

static int mount_at(const char *type, const char *path)
{
	if (mkdir(path, 0755) && errno != EEXIST)
		return give_up(path);
	return mount(type, path, type, 0, NULL) ? give_up(path) : 0;
}

/* Text as it is written, without "\r". */
static int open_port(void)
{
	struct termios settings;
	int fd = open(PORT, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0 || tcgetattr(fd, &settings))
		return give_up(PORT);
	cfmakeraw(&settings);
	(void)cfsetspeed(&settings, B115200);
	return tcsetattr(fd, TCSANOW, &settings) ? give_up(PORT) : fd;
}

static int load_module(const char *path, const char *arguments)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int ret =
		fd < 0 ? -1 : (int)syscall(SYS_finit_module, fd, arguments, 0);

	if (ret)
		(void)give_up(path);
	if (fd >= 0)
		close(fd);
	return ret;
}

/* On a disk in memory. */
static void turn_on_swap(void)
{
	const uint32_t header[] = { 1, SWAP_KIB / 4 - 1, 0 };
	char arguments[64];
	int fd;

	(void)snprintf(arguments, sizeof(arguments), "rd_nr=1 rd_size=%u",
		       SWAP_KIB);
	if (load_module("/brd.ko", arguments))
		return;
	fd = open(SWAP, O_RDWR | O_CLOEXEC);
	if (fd < 0 ||
	    pwrite(fd, header, sizeof(header), 1024) != sizeof(header) ||
	    pwrite(fd, "SWAPSPACE2", 10, PAGE - 10) != 10 || fsync(fd) ||
	    swapon(SWAP, 0))
		(void)give_up(SWAP);
	if (fd >= 0)
		close(fd);
}

struct program {
	unsigned int seconds;
	const char *name;
	char *arguments[WORDS];
	char *environment[WORDS];
};

/* Cuts @line in words.  Return: it is one. */
static int parse(char *line, struct program *ret)
{
	char *rest = NULL;
	const char *seconds = strtok_r(line, " \n", &rest);
	size_t arguments = 0, variables = 0;
	char *word;

	memset(ret, 0, sizeof(*ret));
	ret->name = strtok_r(NULL, " \n", &rest);
	while (arguments + variables < WORDS - 1 &&
	       (word = strtok_r(NULL, " \n", &rest))) {
		if (strchr(word, '='))
			ret->environment[variables++] = word;
		else
			ret->arguments[arguments++] = word;
	}
	if (!arguments)
		return 0;
	ret->seconds = (unsigned int)strtoul(seconds, NULL, 10);
	return 1;
}

__attribute__((noreturn)) static void become(const struct program *program,
					     int port)
{
	(void)setpgid(0, 0);
	(void)dup2(port, STDOUT_FILENO);
	(void)dup2(port, STDERR_FILENO);
	(void)execve(program->arguments[0], program->arguments,
		     program->environment);
	perror(program->arguments[0]);
	_exit(127);
}

/* Return: as a shell's.  Too late: 124, and nothing of it is left. */
static int wait_for(pid_t pid, unsigned int seconds)
{
	const struct timespec limit = { (time_t)seconds, 0 };
	sigset_t child;
	int status, late = 0;

	(void)sigemptyset(&child);
	(void)sigaddset(&child, SIGCHLD);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (sigtimedwait(&child, NULL, &limit) < 0 && errno == EAGAIN) {
			late = 1;
			(void)kill(-pid, SIGKILL);
			(void)waitpid(pid, &status, 0);
			break;
		}
	}
	if (late)
		return 124;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status)
				   : WEXITSTATUS(status);
}

static void run(const struct program *program, int port)
{
	pid_t pid;

	(void)dprintf(port, "\n== begin %s\n", program->name);
	pid = fork();
	if (pid == 0)
		become(program, port);
	(void)dprintf(port, "\n== end %s %d\n", program->name,
		      pid < 0 ? 127 : wait_for(pid, program->seconds));
}

static void run_all(void)
{
	int port = open_port();
	FILE *file = fopen("/programs", "re");
	struct program program;
	char line[4096];

	while (file && port >= 0 && fgets(line, sizeof(line), file)) {
		if (parse(line, &program))
			run(&program, port);
	}
	if (port >= 0)
		(void)tcdrain(port);
}

int main(void)
{
	sigset_t child;

	/* Nothing is mounted there: programs may have been built in it. */
	(void)mkdir("/tmp", 0777);
	/* Blocked, so that sigtimedwait() hears of it. */
	(void)sigemptyset(&child);
	(void)sigaddset(&child, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &child, NULL);
	if (!mount_at("proc", "/proc") && !mount_at("sysfs", "/sys") &&
	    !mount_at("devtmpfs", "/dev")) {
		turn_on_swap();
		run_all();
	}
	(void)fflush(NULL);
	sync();
	(void)reboot(RB_POWER_OFF);
	return 1; /* and the kernel panics, which ends it, too */
}
