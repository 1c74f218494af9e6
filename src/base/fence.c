/* SPDX-License-Identifier: MIT */
/* fence.c - the expensive half of an asymmetric fence, by membarrier(2) */
#include "base/fence.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

static int membarrier(int command)
{
	long ret = syscall(SYS_membarrier, command, 0, 0);

	return ret < 0 ? -errno : (int)ret;
}

bool tide_fence_probe(void)
{
	int saved = errno;
	int mask = membarrier(MEMBARRIER_CMD_QUERY);
	bool have = mask > 0 && (mask & MEMBARRIER_CMD_PRIVATE_EXPEDITED) &&
		    !membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);

	errno = saved;
	return have;
}

int tide_fence_heavy(bool asymmetric)
{
	int saved = errno;
	int err;

	if (!asymmetric) {
		/* SEQ_CST(fence.heavy_full) pairs with
		 * SEQ_CST(fence.light_full): ordinary Dekker. */
		atomic_thread_fence(memory_order_seq_cst);
		return 0;
	}
	/* SEQ_CST(fence.heavy) pairs with SEQ_CST(fence.light): membarrier
	 * runs a full fence on every CPU that runs a thread of this process,
	 * and is one for the caller. */
	atomic_signal_fence(memory_order_seq_cst);
	err = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
	if (err == -EPERM) {
		/* The registration did not come along with a fork. */
		err = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
		if (!err)
			err = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
	}
	errno = saved;
	return err;
}
