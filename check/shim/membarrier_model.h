/* SPDX-License-Identifier: MIT */
/* membarrier_model.h - a membarrier(2) that can fail */
#ifndef TIDE_CHECK_MEMBARRIER_MODEL_H
#define TIDE_CHECK_MEMBARRIER_MODEL_H

/* A negative errno: the next call says so, and orders nothing. */
extern int membarrier_model_error;

#endif
