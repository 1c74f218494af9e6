/* SPDX-License-Identifier: MIT */
/* process_faults.c - at the n-th system call of attach, or of what follows */
#undef NDEBUG
#include "process_faults.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of the caller and its helper. */
static struct {
	_Atomic int calls;
	int at;
	enum fault_kind kind;
	int err;
	pid_t victim, owner;
	_Atomic(const char *) hit; /* in both the same address */
} * shared;

static bool armed;

bool faults_init(void)
{
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return shared != MAP_FAILED;
}

void faults_arm(enum fault_kind kind, int n, int err, pid_t victim)
{
	shared->at = n;
	shared->kind = kind;
	shared->err = err;
	shared->victim = victim;
	shared->owner = getpid();
	atomic_store_explicit(&shared->calls, 0, memory_order_seq_cst);
	atomic_store_explicit(&shared->hit, NULL, memory_order_seq_cst);
	armed = true;
}

const char *faults_disarm(void)
{
	armed = false;
	return atomic_load_explicit(&shared->hit, memory_order_seq_cst);
}

static bool is_it(const char *name)
{
	if (atomic_fetch_add_explicit(&shared->calls, 1, memory_order_seq_cst) +
		    1 !=
	    shared->at)
		return false;
	atomic_store_explicit(&shared->hit, name, memory_order_seq_cst);
	return true;
}

/* Return: the call @name is to fail, with errno. */
static bool fails(const char *name)
{
	if (!armed || shared->kind == FAULT_SHORT ||
	    (shared->kind == FAULT_HELPER && getpid() == shared->owner) ||
	    !is_it(name))
		return false;
	if (shared->kind == FAULT_ERRNO) {
		errno = shared->err;
		return true;
	}
	(void)kill(shared->kind == FAULT_HELPER ? getpid() : shared->victim,
		   SIGKILL);
	return false;
}

/* How much of @n is to be moved. */
static size_t shorten(const char *name, size_t n)
{
	return armed && shared->kind == FAULT_SHORT && n > 1 && is_it(name)
		       ? n / 2
		       : n;
}

/* Only for want of memory. */
static bool fails_to_allocate(const char *name)
{
	return armed && shared->kind == FAULT_ERRNO && shared->err == ENOMEM &&
	       fails(name);
}

int __real_ioctl(int fd, unsigned long request, void *argument);
int __wrap_ioctl(int fd, unsigned long request, void *argument);
int __wrap_ioctl(int fd, unsigned long request, void *argument)
{
	return fails("ioctl") ? -1 : __real_ioctl(fd, request, argument);
}

long __real_ptrace(enum __ptrace_request request, pid_t pid, void *address,
		   void *data);
long __wrap_ptrace(enum __ptrace_request request, pid_t pid, void *address,
		   void *data);
long __wrap_ptrace(enum __ptrace_request request, pid_t pid, void *address,
		   void *data)
{
	return fails("ptrace") ? -1
			       : __real_ptrace(request, pid, address, data);
}

pid_t __real_waitpid(pid_t pid, int *status, int options);
pid_t __wrap_waitpid(pid_t pid, int *status, int options);
pid_t __wrap_waitpid(pid_t pid, int *status, int options)
{
	/* The caller's for its helper would leave a zombie; it is only
	 * interrupted. */
	if (armed && !(options & WNOHANG) && shared->kind == FAULT_ERRNO &&
	    shared->err != EINTR)
		return __real_waitpid(pid, status, options);
	return fails("waitpid") ? -1 : __real_waitpid(pid, status, options);
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, int mode);
int __wrap_open64(const char *path, int flags, int mode)
{
	return fails("open") ? -1 : __real_open64(path, flags, mode);
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
	if (armed && shared->kind != FAULT_ERRNO)
		(void)fails("close");
	return __real_close(fd);
}

ssize_t __real_read(int fd, void *to, size_t n);
ssize_t __wrap_read(int fd, void *to, size_t n);
ssize_t __wrap_read(int fd, void *to, size_t n)
{
	return fails("read") ? -1 : __real_read(fd, to, shorten("read", n));
}

ssize_t __real_pread64(int fd, void *to, size_t n, off_t at);
ssize_t __wrap_pread64(int fd, void *to, size_t n, off_t at);
ssize_t __wrap_pread64(int fd, void *to, size_t n, off_t at)
{
	return fails("pread") ? -1 : __real_pread64(fd, to, n, at);
}

ssize_t __real_process_vm_readv(pid_t pid, const struct iovec *to, size_t n,
				const struct iovec *from, size_t m, size_t f);
ssize_t __wrap_process_vm_readv(pid_t pid, const struct iovec *to, size_t n,
				const struct iovec *from, size_t m, size_t f);
ssize_t __wrap_process_vm_readv(pid_t pid, const struct iovec *to, size_t n,
				const struct iovec *from, size_t m, size_t f)
{
	struct iovec less = to[0];

	if (fails("process_vm_readv"))
		return -1;
	less.iov_len = shorten("process_vm_readv", less.iov_len);
	assert(n == 1);
	return __real_process_vm_readv(pid, &less, 1, from, m, f);
}

int __real_poll(struct pollfd *fds, nfds_t n, int ms);
int __wrap_poll(struct pollfd *fds, nfds_t n, int ms);
int __wrap_poll(struct pollfd *fds, nfds_t n, int ms)
{
	return fails("poll") ? -1 : __real_poll(fds, n, ms);
}

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	return fails("sendmsg") ? -1 : __real_sendmsg(fd, message, flags);
}

ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	if (fails("recvmsg"))
		return -1;
	message->msg_iov[0].iov_len =
		shorten("recvmsg", message->msg_iov[0].iov_len);
	return __real_recvmsg(fd, message, flags);
}

int __real_socketpair(int domain, int type, int protocol, int fds[2]);
int __wrap_socketpair(int domain, int type, int protocol, int fds[2]);
int __wrap_socketpair(int domain, int type, int protocol, int fds[2])
{
	return fails("socketpair")
		       ? -1
		       : __real_socketpair(domain, type, protocol, fds);
}

long __real_syscall(long number, long a, long b, long c, long d, long e,
		    long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e,
		    long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	return fails("syscall") ? -1 : __real_syscall(number, a, b, c, d, e, f);
}

DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
DIR *__wrap_opendir(const char *path)
{
	return fails("opendir") ? NULL : __real_opendir(path);
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return fails_to_allocate("malloc") ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return fails_to_allocate("calloc") ? NULL : __real_calloc(n, size);
}

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size)
{
	return fails_to_allocate("realloc") ? NULL : __real_realloc(old, size);
}
