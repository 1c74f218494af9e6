/* SPDX-License-Identifier: MIT */
/* left_out.h - what a mutated source calls; see left_out.c */
#ifndef TIDE_CHECK_LEFT_OUT_H
#define TIDE_CHECK_LEFT_OUT_H

#include "base/lock.h"

/* Instead of tide_lock_acquire(). */
void left_out_lock(struct tide_lock *lock);
void left_out_come_by(unsigned int place);

#endif
