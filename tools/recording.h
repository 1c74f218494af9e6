/* SPDX-License-Identifier: MIT */
/*
 * recording.h - samples, written down as a trace
 *
 * A trace begins with the mappings as they are found.  At its end they go and
 * come once more, as new mappings: with the content that they have then, which
 * nobody could tell from what was written.
 *
 * Functions that fail have said why (tool_error).
 */
#ifndef RECORDING_H
#define RECORDING_H

#include <stdint.h>

struct recording; /* opaque */
struct sampler;
struct sample;

/* @fd: stays the caller's.  Return: -1 with *ret filled, or an exit status. */
int recording_open(struct sampler *sampler, int fd, uint64_t interval_ns,
		   struct recording **ret);

/* Return: -1, or an exit status. */
int recording_put(struct recording *recording, const struct sample *sample);

/* The end of the trace.  Return: -1, or an exit status.  The recording is gone,
 * whatever is returned. */
int recording_finish(struct recording *recording);

/* The same without an end.  NULL is fine. */
void recording_abandon(struct recording *recording);

#endif
