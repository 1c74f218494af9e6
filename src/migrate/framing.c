/* SPDX-License-Identifier: MIT */
/*
 * framing.c - whole frames over something that moves bytes
 *
 * Theory of operation
 * -------------------
 * Sending: checksum of data, of meta, then the head, and all three go out in
 * one gathering write.  Receiving: the head, then the meta, then, once the
 * caller has said where to, the data in one scattering read; nothing is
 * copied.  Not one byte beyond the frame is read, so the socket is the
 * caller's again after the last frame.
 *
 * Invariants
 *   I1  sequence_out and sequence_in count the frames of each direction
 *   I2  after a write that failed no byte is written any more: the other
 *       side could not find the beginning of a frame
 *
 * Synchronisation
 *   None: one thread.
 */
#include "migrate/framing.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/xxh3.h"

static size_t iov_size(const struct iovec *iov, uint32_t count)
{
	size_t nbytes = 0;

	for (uint32_t i = 0; i < count; i++)
		nbytes += iov[i].iov_len;
	return nbytes;
}

static uint64_t iov_check(struct tide_framing *framing, const struct iovec *iov,
			  uint32_t count)
{
	if (count == 0)
		return tide_check(NULL, 0);
	if (count == 1)
		return tide_check(iov[0].iov_base, iov[0].iov_len);

	/* Cannot fail with a valid state. */
	(void)XXH3_64bits_reset(framing->hash);
	for (uint32_t i = 0; i < count; i++)
		(void)XXH3_64bits_update(framing->hash, iov[i].iov_base,
					 iov[i].iov_len);
	return XXH3_64bits_digest(framing->hash);
}

int tide_framing_create(const struct tide_framing_ops *ops, void *opaque,
			struct tide_sentence *why, struct tide_framing **ret)
{
	struct tide_framing *framing = calloc(1, sizeof(*framing));

	if (!framing)
		return -ENOMEM;
	framing->hash = XXH3_createState();
	if (!framing->hash) {
		free(framing);
		return -ENOMEM;
	}
	framing->ops = ops;
	framing->opaque = opaque;
	framing->why = why;
	*ret = framing;
	return 0;
}

void tide_framing_destroy(struct tide_framing *framing)
{
	if (!framing)
		return;
	(void)XXH3_freeState(framing->hash); /* always XXH_OK */
	free(framing);
}

int tide_framing_send(struct tide_framing *framing, uint16_t type,
		      const void *meta, size_t meta_size,
		      const struct iovec *data, uint32_t count)
{
	size_t data_size = iov_size(data, count);

	assert(meta_size <= sizeof(framing->meta));
	assert(count <= TIDE_FRAME_RUNS_MAX);
	if (framing->broken_out) /* I2 */
		return tide_say_errno(framing->why, -EPIPE, "connection");

	struct tide_frame frame = {
		.type = type,
		.sequence = framing->sequence_out++, /* I1 */
		.meta_size = (uint32_t)meta_size,
		.data_size = (uint32_t)data_size,
		.meta_check = tide_check(meta, meta_size),
		.data_check = iov_check(framing, data, count),
	};

	tide_frame_encode(&frame, framing->head);
	framing->iov[0].iov_base = framing->head;
	framing->iov[0].iov_len = sizeof(framing->head);
	framing->iov[1].iov_base = (void *)(uintptr_t)meta;
	framing->iov[1].iov_len = meta_size;
	if (count)
		memcpy(&framing->iov[2], data, count * sizeof(*data));

	int err = framing->ops->write(framing->opaque, framing->iov,
				      (int)(2 + count));
	if (err) {
		framing->broken_out = true;
		return err;
	}
	framing->bytes_out += sizeof(framing->head) + meta_size + data_size;
	return 0;
}

static int receive_bytes(struct tide_framing *framing, void *to, size_t nbytes)
{
	struct iovec iov = { .iov_base = to, .iov_len = nbytes };
	int err = nbytes ? framing->ops->read(framing->opaque, &iov, 1) : 0;

	if (!err)
		framing->bytes_in += nbytes;
	return err;
}

int tide_framing_receive(struct tide_framing *framing, struct tide_frame *ret)
{
	uint8_t head[TIDE_HEAD_SIZE];
	struct tide_frame frame;
	int err = receive_bytes(framing, head, sizeof(head));

	if (err)
		return err;
	err = tide_frame_decode(head, framing->sequence_in, &frame,
				framing->why);
	if (err)
		return err;
	framing->sequence_in++; /* I1 */

	assert(frame.meta_size <= sizeof(framing->meta));
	err = receive_bytes(framing, framing->meta, frame.meta_size);
	if (err)
		return err;
	if (tide_check(framing->meta, frame.meta_size) != frame.meta_check)
		return tide_say(framing->why, -EBADMSG,
				"frame %u (%s): the meta part is damaged",
				frame.sequence, tide_frame_name(frame.type));
	/* Without data there is nothing to read, but a check all the same. */
	if (!frame.data_size && frame.data_check != tide_check(NULL, 0))
		return tide_say(framing->why, -EBADMSG,
				"frame %u (%s): the data is missing",
				frame.sequence, tide_frame_name(frame.type));
	*ret = frame;
	return 0;
}

int tide_framing_receive_data(struct tide_framing *framing,
			      const struct tide_frame *frame,
			      const struct iovec *iov, uint32_t count)
{
	assert(count <= TIDE_FRAME_RUNS_MAX);
	assert(iov_size(iov, count) == frame->data_size);
	memcpy(framing->iov, iov, count * sizeof(*iov));

	int err = framing->ops->read(framing->opaque, framing->iov, (int)count);

	if (err)
		return err;
	framing->bytes_in += frame->data_size;
	if (iov_check(framing, iov, count) != frame->data_check)
		return tide_say(framing->why, -EBADMSG,
				"frame %u (%s): the data is damaged",
				frame->sequence, tide_frame_name(frame->type));
	return 0;
}

int tide_framing_complain(struct tide_framing *framing, int error)
{
	struct tide_complaint complaint = {
		.code = tide_complaint_code(error),
		.error = (uint32_t)-error,
	};
	uint8_t meta[TIDE_META_MAX];
	struct iovec text = {
		.iov_base = framing->why->text,
		.iov_len = strnlen(framing->why->text, TIDE_ERROR_TEXT_MAX),
	};

	if (framing->broken_out)
		return -EPIPE;
	return tide_framing_send(framing, TIDE_FRAME_ERROR, meta,
				 tide_complaint_encode(&complaint, meta), &text,
				 1);
}

int tide_framing_hear_complaint(struct tide_framing *framing,
				const struct tide_frame *frame, const char *who)
{
	char text[TIDE_ERROR_TEXT_MAX + 1] = { 0 };
	struct iovec iov = { .iov_base = text, .iov_len = frame->data_size };
	struct tide_complaint complaint;

	assert(frame->type == TIDE_FRAME_ERROR);
	assert(frame->data_size <= TIDE_ERROR_TEXT_MAX);
	tide_complaint_decode(framing->meta, &complaint);
	if (frame->data_size) {
		int err = tide_framing_receive_data(framing, frame, &iov, 1);

		if (err)
			return tide_say_errno(framing->why, err,
					      "hearing a complaint");
	}
	/* It ends up on terminals and in logs. */
	for (size_t i = 0; i < frame->data_size; i++) {
		if (text[i] < ' ' || text[i] > '~')
			text[i] = '?';
	}
	if (!frame->data_size)
		return tide_say(framing->why, -EREMOTEIO,
				"the %s gave up (code %u, errno %u)", who,
				complaint.code, complaint.error);
	return tide_say(framing->why, -EREMOTEIO, "the %s gave up: %.200s", who,
			text);
}
