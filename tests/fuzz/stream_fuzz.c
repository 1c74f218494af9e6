/* SPDX-License-Identifier: MIT */
/*
 * stream_fuzz.c - the destination against any bytes whatsoever
 *
 * The first byte says how to play the rest: MEND makes checksums, magic and
 * frame numbers right first, so that what the fuzzer changes is looked at
 * rather than refused at the first comparison; the other bits make callbacks
 * fail or be absent.  Without MEND the checksums themselves are under test.
 *
 * What must hold: no crash, no access outside of the guest's memory, an error
 * that the manual names, and no start after an error (memory_stream.c asserts
 * that).
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory_stream.h"

#define MEND 1u
#define NO_SLOT_CHANGE 2u
#define SLOT_FAILS 4u
#define LOAD_FAILS 8u
#define START_FAILS 16u
#define SHARED 32u /* all slots lie on the same memory */

#define SHARED_BYTES MEMORY_GUEST_BYTES_MAX

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static _Alignas(4096) uint8_t shared[SHARED_BYTES];

static int known_error(int err)
{
	switch (err) {
	case 0:
	case -EPROTO:
	case -EBADMSG:
	case -ECONNRESET:
	case -EREMOTEIO:
	case -EFBIG:
	case -EOPNOTSUPP:
	case -ENOSPC: /* the callbacks' own */
	case -ENOMEM:
	case -EIO:
		return 1;
	default:
		return 0;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct memory_guest guest = { 0 };
	struct tide_sentence why = { 0 };

	if (size < 2)
		return 0;

	uint8_t mode = data[0];
	uint8_t *bytes = malloc(size - 1);

	assert(bytes);
	memcpy(bytes, data + 1, size - 1);
	if (mode & MEND)
		memory_stream_mend(bytes, size - 1);
	guest.no_slot_change = mode & NO_SLOT_CHANGE;
	guest.slot_error = mode & SLOT_FAILS ? -ENOMEM : 0;
	guest.load_error = mode & LOAD_FAILS ? -EIO : 0;
	guest.start_error = mode & START_FAILS ? -EIO : 0;
	guest.host = mode & SHARED ? shared : NULL;

	int err = memory_guest_receive(&guest, bytes, size - 1, &why, NULL);

	assert(known_error(err));
	assert(!err || why.text[0]);
	assert(strnlen(why.text, sizeof(why.text)) < sizeof(why.text));
	memory_guest_fini(&guest);
	free(bytes);
	return 0;
}
