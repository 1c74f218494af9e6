/* SPDX-License-Identifier: MIT */
/* interrupt.c - Ctrl-C as something to poll for */
#include "interrupt.h"

#include "tool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int shut_fd = -1;       /* under lock */
static int interrupted;	       /* under lock */
static void (*restores)(void); /* under lock */
static int event_fd = -1;      /* constant after start */
static sigset_t taken;	       /* constant after start */

static void *wait_for_signals(void *unused)
{
	int number;

	(void)unused;
	if (sigwait(&taken, &number) != 0)
		return NULL;

	pthread_mutex_lock(&lock);
	interrupted = 1;
	if (shut_fd >= 0)
		(void)shutdown(shut_fd, SHUT_RDWR); /* may be gone already */
	pthread_mutex_unlock(&lock);
	(void)eventfd_write(event_fd, 1); /* full is readable, too */

	if (sigwait(&taken, &number) != 0)
		return NULL;
	pthread_mutex_lock(&lock);
	if (restores)
		restores();
	_exit(128 + number);
}

int interrupt_start(void)
{
	pthread_t thread;
	int err;

	sigemptyset(&taken);
	sigaddset(&taken, SIGINT);
	sigaddset(&taken, SIGTERM);
	err = pthread_sigmask(SIG_BLOCK, &taken, NULL);
	if (err)
		return tool_error("signals: %s", strerror(err));
	event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (event_fd < 0)
		return tool_error("eventfd: %s", strerror(errno));
	err = pthread_create(&thread, NULL, wait_for_signals, NULL);
	if (err)
		return tool_error("thread: %s", strerror(err));
	(void)pthread_detach(thread); /* ends with the process */
	return -1;
}

int interrupt_fd(void)
{
	return event_fd;
}

int interrupt_pending(void)
{
	int pending;

	pthread_mutex_lock(&lock);
	pending = interrupted;
	pthread_mutex_unlock(&lock);
	return pending;
}

void interrupt_shuts(int fd)
{
	pthread_mutex_lock(&lock);
	shut_fd = fd;
	if (interrupted && fd >= 0)
		(void)shutdown(fd, SHUT_RDWR);
	pthread_mutex_unlock(&lock);
}

void interrupt_restores(void (*restore)(void))
{
	pthread_mutex_lock(&lock);
	restores = restore;
	pthread_mutex_unlock(&lock);
}

void interrupt_child(void)
{
	(void)sigprocmask(SIG_UNBLOCK, &taken, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
}
