/* SPDX-License-Identifier: MIT */
/*
 * backends.h - what the conformance engine can run on
 *
 * none     no tracker, marks only
 * sim-*    the KVM trackers on the simulated kernel (sim_kernel.h); needs
 *          -Wl,--wrap=ioctl
 * kvm-*    the KVM trackers on /dev/kvm, with a guest of a few instructions
 *          (small_vm.h) and slots as the engine likes them
 * vm-*     under the project's own VMM (tidemark/vmm.h)
 * soft-*   the software MMU: direct, and through guest page tables in both
 *          formats; soft-swap-*: with fewer frames than pages
 * wp       this process's memory, written by stores and by system calls;
 *          sigsegv: by stores only
 * soft-dirty
 *          the same by soft-dirty bits; needs -Wl,--wrap=pread64 and
 *          -Wl,--wrap=pwrite64
 */
#ifndef TIDE_TEST_BACKENDS_H
#define TIDE_TEST_BACKENDS_H

#include "engine.h"

extern const struct conform_backend conform_none;
extern const struct conform_backend conform_soft_dirty;
/* Ended by NULL. */
extern const struct conform_backend *const conform_sim[];
extern const struct conform_backend *const conform_kvm[];
extern const struct conform_backend *const conform_vm[];
extern const struct conform_backend *const conform_soft[];
extern const struct conform_backend *const conform_wp[];

#endif
