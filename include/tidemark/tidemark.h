/* SPDX-License-Identifier: MIT */
/*
 * tidemark/tidemark.h - everything
 *
 * Exactly which pages of memory were written since you last looked, without
 * ever missing one.  See tidemark(7) for the contract.
 */
#ifndef TIDEMARK_TIDEMARK_H
#define TIDEMARK_TIDEMARK_H

#include <tidemark/backing.h>
#include <tidemark/base.h>
#include <tidemark/checkpoint.h>
#include <tidemark/client.h>
#include <tidemark/mark.h>
#include <tidemark/migrate.h>
#include <tidemark/mmu.h>
#include <tidemark/plan.h>
#include <tidemark/probe.h>
#include <tidemark/process.h>
#include <tidemark/rehearse.h>
#include <tidemark/space.h>
#include <tidemark/trace.h>
#include <tidemark/tracker.h>
#include <tidemark/vcpu.h>
#include <tidemark/version.h>
#include <tidemark/vmm.h>

#endif
