/* SPDX-License-Identifier: MIT */
/* trace_read.h - what the library itself asks a reader */
#ifndef TIDE_WATCH_TRACE_READ_H
#define TIDE_WATCH_TRACE_READ_H

#include <stdint.h>

struct tide_trace_reader;

/* The interval that the trace was asked to have. */
uint64_t tide_trace_reader_interval_ns(const struct tide_trace_reader *reader);

#endif
