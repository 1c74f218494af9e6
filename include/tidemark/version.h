/* SPDX-License-Identifier: MIT */
/* tidemark/version.h - which library this is, when built and when run */
#ifndef TIDEMARK_VERSION_H
#define TIDEMARK_VERSION_H

#include <tidemark/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TIDE_VERSION "0.1.0"

/** tide_version() - the version of the library in use, as TIDE_VERSION */
TIDE_API const char *tide_version(void);

#ifdef __cplusplus
}
#endif
#endif
