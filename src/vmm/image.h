/* SPDX-License-Identifier: MIT */
/* image.h - guest/guest.elf, inside the library */
#ifndef TIDE_VMM_IMAGE_H
#define TIDE_VMM_IMAGE_H

#include <stdint.h>

__attribute__((visibility("hidden"))) extern const uint8_t tide_guest_begin[];
__attribute__((visibility("hidden"))) extern const uint8_t tide_guest_end[];

#endif
