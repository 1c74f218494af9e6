/* SPDX-License-Identifier: MIT */
/*
 * backend_none.c - the conformance engine without a tracker: marks only
 */
#include "backends.h"

#include <errno.h>
#include <stdlib.h>

struct none {
	struct tide_space *space;
};

static int none_create(const struct conform_backend *backend,
		       const struct conform_options *options, uint64_t seed,
		       void **ret_self)
{
	struct none *self = calloc(1, sizeof(*self));
	int err;

	(void)backend;
	(void)options;
	(void)seed;
	if (!self)
		return -ENOMEM;
	err = tide_space_create(&self->space);
	if (err) {
		free(self);
		return err;
	}
	*ret_self = self;
	return 0;
}

static void none_destroy(void *opaque)
{
	struct none *self = opaque;

	tide_space_destroy(self->space);
	free(self);
}

static struct tide_space *none_space(void *opaque)
{
	struct none *self = opaque;

	return self->space;
}

const struct conform_backend conform_none = {
	.name = "none",
	.create = none_create,
	.destroy = none_destroy,
	.space = none_space,
};
