/* SPDX-License-Identifier: MIT */
/*
 * call_x86.c - make a stopped thread of another process do one system call
 *
 * Theory of operation
 * -------------------
 * The thread's registers are set to an instruction "syscall" that the target
 * has somewhere, it is stepped over that one instruction, and gets its
 * registers back.  A step ends in a signal's stop, so the kernel looks at the
 * registers again when the thread goes on: if they say that it was in a call
 * that must be restarted, it is.  For our own call they say that there is
 * nothing to restart.  Some calls fail with EINTR when their thread is stopped,
 * though no signal has come; they are made to restart like all others unless
 * one does come.
 *
 * A signal for the thread may come first.  Then the thread gets its own
 * registers and the signal, is stopped again, and all begins anew, so that a
 * handler never runs on our registers.
 */
#include "watch/inject.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#define TRIES 1000u	   /* each spent on a signal */
#define ERESTARTNOHAND 514 /* the kernel's own; seen by no program */
#define EVENT(status) ((status) >> 16)

static int get_registers(pid_t tid, struct user_regs_struct *ret)
{
	struct iovec iov = { ret, sizeof(*ret) };

	if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &iov))
		return -errno;
	/* Of a 32-bit process there are less; cs tells of 32-bit code. */
	return iov.iov_len == sizeof(*ret) && ret->cs == 0x33 ? 0 : -ENOEXEC;
}

static int set_registers(pid_t tid, const struct user_regs_struct *registers)
{
	struct iovec iov = { (void *)(uintptr_t)registers, sizeof(*registers) };

	return ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &iov) ? -errno : 0;
}

static int wait_stop(pid_t tid, int *ret_status)
{
	while (waitpid(tid, ret_status, __WALL) < 0) {
		/* ECHILD: another thread's exec has taken its place. */
		if (errno != EINTR)
			return errno == ECHILD ? -ESRCH : -errno;
	}
	return WIFSTOPPED(*ret_status) ? 0 : -ESRCH;
}

static void let_restart(struct user_regs_struct *own)
{
	static const uint64_t calls[] = {
		SYS_epoll_wait,	     SYS_epoll_pwait, SYS_epoll_pwait2,
		SYS_rt_sigtimedwait, SYS_semop,	      SYS_semtimedop,
		SYS_recvfrom,	     SYS_recvmsg,     SYS_accept,
		SYS_accept4,
	};

	if (own->rax != (uint64_t)-EINTR)
		return;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (own->orig_rax == calls[i])
			own->rax = (uint64_t)-ERESTARTNOHAND;
	}
}

/* Deliver @signal to the thread, whose registers are its own, and stop it
 * once more. */
static int let_signal_through(pid_t tid, int signal)
{
	int status, err;

	if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) ||
	    ptrace(PTRACE_CONT, tid, 0, (long)signal))
		return -errno;
	do {
		err = wait_stop(tid, &status);
		if (err || EVENT(status) == PTRACE_EVENT_STOP)
			break;
		/* Another signal. */
		if (ptrace(PTRACE_CONT, tid, 0, (long)WSTOPSIG(status)))
			err = -errno;
	} while (!err);
	return err;
}

/* Step until the call was made or a signal came.
 * Return: 0: made; a signal; a negative errno. */
static int step(pid_t tid, uint64_t at, struct user_regs_struct *ret)
{
	for (;;) {
		int status, err;

		if (ptrace(PTRACE_SINGLESTEP, tid, 0, 0))
			return -errno;
		err = wait_stop(tid, &status);
		if (!err)
			err = get_registers(tid, ret);
		if (err)
			return err;
		if (ret->rip != at)
			return 0;
		if (EVENT(status) != PTRACE_EVENT_STOP)
			return WSTOPSIG(status);
	}
}

int64_t inject_call(pid_t tid, uint64_t at, uint64_t nr, uint64_t argument,
		    int *ret_err)
{
	struct user_regs_struct own, call;
	int result = 0;

	for (uint32_t i = 0; i < TRIES; i++) {
		*ret_err = get_registers(tid, &own);
		if (*ret_err)
			return 0;
		let_restart(&own);
		call = own;
		call.rip = at;
		call.rax = nr;
		call.rdi = argument;
		call.orig_rax = UINT64_MAX; /* in no call: no restart */
		*ret_err = set_registers(tid, &call);
		if (*ret_err)
			return 0;
		result = step(tid, at, &call);
		*ret_err = set_registers(tid, &own);
		if (!*ret_err && result < 0)
			*ret_err = result;
		if (*ret_err)
			return 0;
		if (!result)
			return (int64_t)call.rax;
		*ret_err = let_signal_through(tid, result);
		if (*ret_err)
			return 0;
	}
	*ret_err = -EAGAIN;
	return 0;
}
