/* SPDX-License-Identifier: MIT */
/* pause_point.c - the hook of pause_point.h */
#include "base/pause_point.h"

#ifdef TIDE_CHECKS
_Atomic(void (*)(const char *where)) tide_pause_hook;
#endif
