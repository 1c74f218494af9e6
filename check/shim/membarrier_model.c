/* SPDX-License-Identifier: MIT */
/*
 * membarrier_model.c - the heavy half of base/fence.h under the explorer
 *
 * membarrier(2) runs a full fence on every CPU that runs the process, at some
 * moment during the call.  Together with the compiler fence of the light half
 * that is as if both sides ran a full fence, which is what atomics.h makes of
 * the light one, too (Linux Documentation/scheduler/membarrier.rst).
 */
#include "membarrier_model.h"

#include "base/fence.h"

int membarrier_model_error;

bool tide_fence_probe(void)
{
	return true;
}

int tide_fence_heavy(bool asymmetric)
{
	int err = asymmetric ? membarrier_model_error : 0;

	if (err) {
		membarrier_model_error = 0;
		return err;
	}
	atomic_thread_fence(memory_order_seq_cst);
	return 0;
}
