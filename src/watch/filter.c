/* SPDX-License-Identifier: MIT */
/*
 * filter.c - would a seccomp filter let a process make a call?
 *
 * Its default answer may be to kill, so it has to be known before.  The filters
 * of a stopped thread can be read by ptrace; they are run here, as the kernel
 * would, on the call in question (Documentation/userspace-api/
 * seccomp_filter.rst).  The strictest of their answers holds.
 */
#include "watch/inject.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ptrace.h>

#define FILTERS_MAX 64u
#define SYSCALL_BYTES 2u /* the call is made when it is behind it */

struct machine {
	uint32_t a, x;
	uint32_t memory[BPF_MEMWORDS];
	struct seccomp_data data;
};

static bool load(struct machine *m, const struct sock_filter *op)
{
	uint32_t *to = BPF_CLASS(op->code) == BPF_LDX ? &m->x : &m->a;

	switch (BPF_MODE(op->code)) {
	case BPF_IMM:
		*to = op->k;
		return true;
	case BPF_MEM:
		if (op->k >= BPF_MEMWORDS)
			return false;
		*to = m->memory[op->k];
		return true;
	case BPF_LEN:
		*to = sizeof(m->data);
		return true;
	case BPF_ABS:
		if (op->k > sizeof(m->data) - sizeof(*to) || op->k % 4)
			return false;
		memcpy(to, (const char *)&m->data + op->k, sizeof(*to));
		return true;
	default:
		return false;
	}
}

static bool compute(struct machine *m, const struct sock_filter *op)
{
	uint32_t b = BPF_SRC(op->code) == BPF_X ? m->x : op->k;

	switch (BPF_OP(op->code)) {
	case BPF_ADD:
		m->a += b;
		return true;
	case BPF_SUB:
		m->a -= b;
		return true;
	case BPF_MUL:
		m->a *= b;
		return true;
	case BPF_DIV:
		m->a = b ? m->a / b : 0;
		return b != 0;
	case BPF_AND:
		m->a &= b;
		return true;
	case BPF_OR:
		m->a |= b;
		return true;
	case BPF_XOR:
		m->a ^= b;
		return true;
	case BPF_LSH:
		m->a = b < 32 ? m->a << b : 0;
		return true;
	case BPF_RSH:
		m->a = b < 32 ? m->a >> b : 0;
		return true;
	case BPF_NEG:
		m->a = -m->a;
		return true;
	default:
		return false;
	}
}

/* How far to jump. */
static uint32_t jump(const struct machine *m, const struct sock_filter *op)
{
	uint32_t b = BPF_SRC(op->code) == BPF_X ? m->x : op->k;
	bool is;

	switch (BPF_OP(op->code)) {
	case BPF_JA:
		return op->k;
	case BPF_JEQ:
		is = m->a == b;
		break;
	case BPF_JGT:
		is = m->a > b;
		break;
	case BPF_JGE:
		is = m->a >= b;
		break;
	default: /* BPF_JSET */
		is = (m->a & b) != 0;
		break;
	}
	return is ? op->jt : op->jf;
}

/* What the filter returns; SECCOMP_RET_KILL_PROCESS for one that we do not
 * understand. */
static uint32_t run(const struct sock_filter *ops, uint32_t count,
		    const struct seccomp_data *data)
{
	struct machine m = { .data = *data };
	bool ok = true;

	for (uint32_t at = 0; ok && at < count; at++) {
		const struct sock_filter *op = &ops[at];

		switch (BPF_CLASS(op->code)) {
		case BPF_LD:
		case BPF_LDX:
			ok = load(&m, op);
			break;
		case BPF_ST:
		case BPF_STX:
			ok = op->k < BPF_MEMWORDS;
			if (ok)
				m.memory[op->k] = BPF_CLASS(op->code) == BPF_ST
							  ? m.a
							  : m.x;
			break;
		case BPF_ALU:
			ok = compute(&m, op);
			break;
		case BPF_JMP:
			at += jump(&m, op);
			break;
		case BPF_RET:
			return BPF_RVAL(op->code) == BPF_A ? m.a : op->k;
		default: /* BPF_MISC */
			if (BPF_MISCOP(op->code) == BPF_TAX)
				m.x = m.a;
			else
				m.a = m.x;
			break;
		}
	}
	return SECCOMP_RET_KILL_PROCESS;
}

static bool allows(const struct sock_filter *ops, uint32_t op_count,
		   struct seccomp_data *data, uint64_t argument, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t action;

		data->args[0] = argument + i;
		action = run(ops, op_count, data) & SECCOMP_RET_ACTION_FULL;
		if (action != SECCOMP_RET_ALLOW && action != SECCOMP_RET_LOG)
			return false;
	}
	return true;
}

int inject_is_allowed(pid_t tid, uint64_t at, uint32_t nr, uint64_t argument,
		      uint32_t count)
{
	static struct sock_filter ops[BPF_MAXINSNS];
	struct seccomp_data data = {
		.nr = (int)nr,
		.arch = AUDIT_ARCH_X86_64,
		.instruction_pointer = at + SYSCALL_BYTES,
	};

	for (uint32_t i = 0; i < FILTERS_MAX; i++) {
		long n = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, i, NULL);

		if (n < 0 && errno == ENOENT)
			return 1; /* that were all */
		if (n < 0)
			return -errno;
		if (n > BPF_MAXINSNS ||
		    ptrace(PTRACE_SECCOMP_GET_FILTER, tid, i, ops) != n)
			return -EINVAL;
		if (!allows(ops, (uint32_t)n, &data, argument, count))
			return 0;
	}
	return 0;
}
