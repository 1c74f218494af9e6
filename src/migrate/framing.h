/* SPDX-License-Identifier: MIT */
/*
 * framing.h - whole frames over something that moves bytes
 *
 * Numbers, checksums and sizes of frames are made and compared here.  What
 * moves the bytes is a pair of functions: a socket (channel.c), or an array
 * in a test or a fuzzer.
 */
#ifndef TIDE_MIGRATE_FRAMING_H
#define TIDE_MIGRATE_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "migrate/sentence.h"
#include "migrate/stream.h"

struct tide_framing_ops {
	/* All of it, or a negative errno; iov is used up.  An early end of
	 * the input is -ECONNRESET. */
	int (*write)(void *opaque, struct iovec *iov, int count);
	int (*read)(void *opaque, struct iovec *iov, int count);
};

struct tide_framing {
	const struct tide_framing_ops *ops;
	void *opaque;
	struct tide_sentence *why;
	void *hash; /* XXH3_state_t, for data in several places */
	uint32_t sequence_out;
	uint32_t sequence_in;
	bool broken_out; /* a frame was cut short: nothing can follow */
	uint64_t bytes_out;
	uint64_t bytes_in;
	uint8_t head[TIDE_HEAD_SIZE];
	uint8_t meta[TIDE_META_MAX]; /* of the frame that came last */
	struct iovec iov[2 + TIDE_FRAME_RUNS_MAX];
};

/** tide_framing_create() - Return: 0; -ENOMEM. */
int tide_framing_create(const struct tide_framing_ops *ops, void *opaque,
			struct tide_sentence *why, struct tide_framing **ret);
void tide_framing_destroy(struct tide_framing *framing);

/**
 * tide_framing_send() - one frame; data lies in @count places
 *
 * Data must not change meanwhile: it is read once for the checksum and once
 * to be sent.
 *
 * Return: 0; the error of write.
 */
int tide_framing_send(struct tide_framing *framing, uint16_t type,
		      const void *meta, size_t meta_size,
		      const struct iovec *data, uint32_t count);

/**
 * tide_framing_receive() - the next frame's head and meta, both checked
 *
 * If it has data, exactly one tide_framing_receive_data() must follow.
 *
 * Return: 0; -EBADMSG; -EPROTO; the error of read.
 */
int tide_framing_receive(struct tide_framing *framing, struct tide_frame *ret);

/**
 * tide_framing_receive_data() - the data of that frame, straight to where it
 * belongs, and checked there; iov must add up to frame->data_size
 *
 * Return: 0; -EBADMSG, and then what was written is rubbish; the error of
 * read.
 */
int tide_framing_receive_data(struct tide_framing *framing,
			      const struct tide_frame *frame,
			      const struct iovec *iov, uint32_t count);

/** tide_framing_complain() - an ERROR frame, unless a frame was cut short */
int tide_framing_complain(struct tide_framing *framing, int error);

/**
 * tide_framing_hear_complaint() - the rest of an ERROR frame; the text, made
 * printable, becomes the sentence
 *
 * Return: -EREMOTEIO; or why it could not be read.
 */
int tide_framing_hear_complaint(struct tide_framing *framing,
				const struct tide_frame *frame,
				const char *who);

#endif
