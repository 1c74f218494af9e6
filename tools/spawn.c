/* SPDX-License-Identifier: MIT */
/* spawn.c - a command that we start in order to look at it */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "interrupt.h"
#include "tool.h"

#define END_TRIES 200
#define END_PAUSE_MS 10
#define LOADER_MS 20

static void become(char **command, int output, int done)
{
	int said = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	char failed = 0;

	interrupt_child();
	if (output >= 0) {
		int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);

		(void)dup2(nothing, STDIN_FILENO);
		(void)dup2(output, STDOUT_FILENO);
		(void)dup2(output, STDERR_FILENO);
	}
	execvp(command[0], command);
	(void)dup2(said, STDERR_FILENO);
	tool_error("%s: %s", command[0], strerror(errno));
	(void)!write(done, &failed, 1);
	_exit(127);
}

/* Its memory is made by exec, whose end closes the pipe. */
int spawn_start(char **command, int output, pid_t *ret)
{
	int done[2];
	char failed;
	ssize_t n;
	pid_t pid;

	if (pipe2(done, O_CLOEXEC))
		return tool_error("pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		become(command, output, done[1]);
	close(done[1]);
	if (pid < 0) {
		close(done[0]);
		return tool_error("fork: %s", strerror(errno));
	}
	do {
		n = read(done[0], &failed, 1);
	} while (n < 0 && errno == EINTR);
	close(done[0]);
	if (n > 0) {
		spawn_end(pid);
		return TOOL_HOST; /* it has said why */
	}
	/* The rest of exec, and its libraries. */
	(void)poll(NULL, 0, LOADER_MS);
	*ret = pid;
	return -1;
}

void spawn_end(pid_t pid)
{
	(void)kill(pid, SIGTERM);
	for (int i = 0; i < END_TRIES; i++) {
		if (waitpid(pid, NULL, WNOHANG) != 0)
			return;
		(void)poll(NULL, 0, END_PAUSE_MS);
	}
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}
