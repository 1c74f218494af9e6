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
 * handler never runs on our registers.  A fault of the step itself is not for
 * the thread: the instruction has gone.
 *
 * A thread that stays where it is, as that of a frozen process, is interrupted
 * and gets its registers back.
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

#include "base/clock.h"

#define TRIES 1000u /* each spent on a signal */
#define INSIST 3u
#define STEP_TIMEOUT_NS 500000000u
#define CODE_64 0x33 /* the code segment of 64-bit code */
#define INSTRUCTION 0x050f
#define ERESTARTNOHAND 514 /* the kernel's own; seen by no program */
#define EVENT(status) ((status) >> 16)

/* A thread must not go on with registers that are not its own, nor must what a
 * call has returned be lost: only its end is a reason to give up. */
static int move_registers(enum __ptrace_request request, pid_t tid,
			  struct iovec *iov)
{
	for (uint32_t i = 0; i < INSIST; i++) {
		if (!ptrace(request, tid, NT_PRSTATUS, iov))
			return 0;
		if (errno == ESRCH)
			break;
	}
	return -errno;
}

static int get_registers(pid_t tid, struct user_regs_struct *ret)
{
	struct iovec iov = { ret, sizeof(*ret) };
	int err = move_registers(PTRACE_GETREGSET, tid, &iov);

	if (err)
		return err;
	/* Of a 32-bit process there are less; cs tells of 32-bit code. */
	return iov.iov_len == sizeof(*ret) && ret->cs == CODE_64 ? 0 : -ENOEXEC;
}

static int set_registers(pid_t tid, const struct user_regs_struct *registers)
{
	struct iovec iov = { (void *)(uintptr_t)registers, sizeof(*registers) };

	return move_registers(PTRACE_SETREGSET, tid, &iov);
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
	uint64_t deadline_ns = tide_now_ns() + STEP_TIMEOUT_NS;
	int status, err;

	if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) ||
	    ptrace(PTRACE_CONT, tid, 0, (long)signal))
		return -errno;
	do {
		err = inject_wait(tid, deadline_ns, &status);
		if (err || EVENT(status) == PTRACE_EVENT_STOP)
			break;
		/* Another signal. */
		if (ptrace(PTRACE_CONT, tid, 0, (long)WSTOPSIG(status)))
			err = -errno;
	} while (!err);
	return err;
}

/* Until the step is done, or a signal has come.  Return: 0; -ETIMEDOUT: it was
 * interrupted. */
static int wait_step(pid_t tid, int *ret_status)
{
	int err = inject_wait(tid, tide_now_ns() + STEP_TIMEOUT_NS, ret_status);

	if (err != -ETIMEDOUT)
		return err;
	/* Not let go with our registers, however long it takes. */
	if (!ptrace(PTRACE_INTERRUPT, tid, 0, 0))
		err = inject_wait(tid, UINT64_MAX, ret_status);
	return err ? err : -ETIMEDOUT;
}

/* The signal that the thread stopped with is the step's own fault. */
static bool is_our_fault(pid_t tid, int signal)
{
	siginfo_t info;

	return (signal == SIGSEGV || signal == SIGBUS || signal == SIGILL) &&
	       !ptrace(PTRACE_GETSIGINFO, tid, 0, &info) && info.si_code > 0;
}

/* Step until the call was made or a signal came.
 * Return: 0: made; a signal; a negative errno. */
static int step(pid_t tid, uint64_t at, struct user_regs_struct *ret)
{
	for (;;) {
		int status, err, late;

		if (ptrace(PTRACE_SINGLESTEP, tid, 0, 0))
			return -errno;
		late = wait_step(tid, &status);
		if (late && late != -ETIMEDOUT)
			return late;
		err = get_registers(tid, ret);
		if (err)
			return err;
		if (ret->rip != at)
			return 0;
		if (late)
			return late;
		if (EVENT(status) == PTRACE_EVENT_STOP)
			continue;
		return is_our_fault(tid, WSTOPSIG(status)) ? -ESTALE
							   : WSTOPSIG(status);
	}
}

/* It may have executed another program since it was found. */
static bool is_instruction(pid_t tid, uint64_t at)
{
	long word;

	errno = 0;
	word = ptrace(PTRACE_PEEKTEXT, tid, at, 0);
	return !errno && (word & 0xffff) == INSTRUCTION;
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
		if (!is_instruction(tid, at)) {
			*ret_err = -ESTALE;
			return 0;
		}
		let_restart(&own);
		call = own;
		call.rip = at;
		call.rax = nr;
		call.rdi = argument;
		call.rsi = call.rdx = call.r10 = call.r8 = call.r9 = 0;
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
