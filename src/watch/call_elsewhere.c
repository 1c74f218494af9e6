/* SPDX-License-Identifier: MIT */
/* call_elsewhere.c - no calls in other processes yet, on CPUs but x86-64 */
#include "watch/inject.h"

#include <errno.h>

int64_t inject_call(pid_t tid, uint64_t at, uint64_t nr, uint64_t argument,
		    int *ret_err)
{
	(void)tid;
	(void)at;
	(void)nr;
	(void)argument;
	*ret_err = -EOPNOTSUPP;
	return 0;
}
